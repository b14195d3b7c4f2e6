//! A throwaway kernel for what the host's cannot do: LVM, RAID and JFS disks are made and judged
//! inside user-mode Linux by the host's own tools.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// What every script may use: `module NAME`, `lvm_ COMMAND`, `subvolumes PATH…`, and `$m`, an empty
/// directory.
const START: &str = r#"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C LVM_SYSTEM_DIR=
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mkdir /run/m /run/lock
m=/run/m
module() {
    local d=/usr/lib/uml/modules/$(uname -r) line file
    line=$(grep "/$1\.ko:" $d/modules.dep)
    for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do insmod "$d/$file" 2>/dev/null || true; done
}
subvolumes() {
    local path
    for path; do btrfs -q subvolume create "$path" >/dev/null; done
}
lvm_() {
    local command=$1
    shift
    lvm "$command" --config 'devices { obtain_device_list_from_udev=0 use_devicesfile=0 } backup { backup=0 archive=0 }
        activation { udev_sync=0 udev_rules=0 monitoring=0 thin_pool_autoextend_threshold=100 } global { event_activation=0 }' "$@"
}
"#;

/// Runs a script with these disks as `/dev/ubda`, `/dev/ubdb` …, gives what it printed; fails the
/// test when the script fails. Files of the host are there as they are.
#[track_caller]
pub fn in_machine(disks: &[&Path], script: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let program = format!(
        "#!/bin/bash\n{START}\n( set -euo pipefail\n{script}\n sync; touch {done} ) >{out} 2>&1\n\
         cd /; sync; perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'\n",
        done = at("done").display(),
        out = at("out").display(),
    );
    fs::write(at("init"), program).unwrap();
    fs::set_permissions(at("init"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("linux.uml");
    command.args(["mem=256M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", "quiet"]);
    command.args(["con=null", "con0=null,fd:1", &format!("init={}", at("init").display())]);
    for (index, disk) in disks.iter().enumerate() {
        command.arg(format!("ubd{index}={}", disk.display()));
    }
    command.env("HOME", directory.path()).env("TMPDIR", directory.path());
    let console = command.stdin(Stdio::null()).output().unwrap();
    let text = fs::read_to_string(at("out")).unwrap_or_default();
    let console = String::from_utf8_lossy(&console.stdout).into_owned();
    assert!(at("done").exists(), "{script}\n{text}\n{console}");
    text
}
