//! udev on the access node is kept off the guests' disks: when rules come and go, and what Debian's
//! own rules make of a disk with and without them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::story::{Restore, instance};
use crate::support::command::Output;

/// A machine whose udev runs, as far as files tell. `udevadm` says what it is asked, and which
/// rules and devices there are then.
struct Node {
    restore: Restore,
    programs: PathBuf,
}

impl Node {
    fn new(settings: Value) -> Self {
        let restore = Restore::new(settings, "", &instance("web", "  state = \"stopped\""));
        restore.workspace.raw_image("web.raw", 4, 1);
        let udev = restore.cloud.udev();
        fs::create_dir_all(udev.join("rules.d")).unwrap();
        fs::write(udev.join("control"), "").unwrap();
        let programs = restore.workspace.path().join("programs");
        fs::create_dir(&programs).unwrap();
        let script = format!(
            "#!/bin/sh\nset -e\ncd {}\n[ \"$*\" != --version ] || exit 0\necho \"$@\" \"devices:\" $(ls sys/block) >> asked\nmkdir -p kept\ncp udev/rules.d/59-* kept/ 2>/dev/null || true\nif [ -e forget ]; then rm forget udev/rules.d/*; fi\n",
            udev.parent().unwrap().display()
        );
        let program = programs.join("udevadm");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { restore, programs }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.restore.command(arguments);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.programs.display()));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    fn root(&self) -> PathBuf {
        self.restore.cloud.udev().parent().unwrap().to_owned()
    }

    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.root().join("asked")).unwrap_or_default();
        asked.lines().map(str::to_owned).collect()
    }

    fn rules(&self) -> Vec<String> {
        let rules = fs::read_dir(self.restore.cloud.udev().join("rules.d")).unwrap();
        rules.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn a_rule_is_there_before_the_volume_and_goes_after_it() {
    let node = Node::new(json!({}));
    node.run(&["apply", "--auto-approve"]).success();
    let id = node.restore.volume("instance.web.volume.root");
    let serial = id.replacen('-', "", 1);
    let asked = node.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for line in &asked {
        assert!(line.starts_with("control --reload") && line.ends_with("devices:"), "{asked:?}");
    }
    let rule = node.root().join(format!("kept/59-replant-{serial}.rules"));
    let text = fs::read_to_string(&rule).unwrap();
    assert!(text.contains(&format!("ATTRS{{serial}}==\"{serial}\"")), "{text}");
    assert_eq!(fs::metadata(&rule).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(node.rules().is_empty(), "{:?}", node.rules());
    let (without, with) = seen_by_udev(&serial, &rule);
    for (disk, filesystem) in [("lvm", "LVM2_member"), ("raid", "linux_raid_member"), ("ext4", "ext4")] {
        let found = format!("{disk}:ID_FS_TYPE={filesystem}");
        assert!(without.contains(&found), "{disk}\n{without}");
        assert!(!with.contains(&format!("{disk}:ID_FS_")), "{disk}\n{with}");
        assert!(with.contains(&format!("{disk}:SYSTEMD_READY=0")), "{disk}\n{with}");
        assert!(with.contains(&format!("{disk}:UDISKS_IGNORE=1")), "{disk}\n{with}");
    }
    // A partition is what its disk is; another volume is none of it.
    assert!(without.contains("part:ID_FS_TYPE=ext4"), "{without}");
    assert!(!with.contains("part:ID_FS_") && with.contains("part:SYSTEMD_READY=0"), "{with}");
    assert!(with.contains("other:ID_FS_TYPE=LVM2_member"), "{with}");
    assert!(!with.contains("by-uuid"), "{with}");
}

#[test]
fn a_disk_that_was_put_to_use_is_refused_with_what_to_do() {
    let node = Node::new(json!({ "surprise": "held" }));
    let failed = node.run(&["apply", "--auto-approve"]).code(1);
    for words in ["is in use: dm-0 is built on nvme1n1", "vgchange --activate n VOLUME_GROUP"] {
        assert!(failed.both().contains(words), "{}", failed.both());
    }
    // It left its slot, and the rule with it.
    assert!(node.rules().is_empty(), "{:?}", node.rules());
}

#[test]
fn after_a_restart_of_the_access_node_udev_looks_again() {
    let node = Node::new(json!({}));
    // The rule goes as soon as it was read, as with the machine's memory.
    fs::write(node.root().join("forget"), "").unwrap();
    node.run(&["apply", "--auto-approve"]).success();
    let asked = node.asked();
    let block = node.restore.cloud.sysfs().join("block/nvme1n1");
    let again = format!("trigger --action=change --settle --parent-match={} ", block.display());
    assert!(
        asked[0].starts_with("control --reload") && asked[1].starts_with("control --reload"),
        "{asked:?}"
    );
    assert!(asked[2].starts_with(&again), "{asked:?}");
    assert_eq!(asked.iter().filter(|line| line.starts_with("trigger")).count(), 1, "{asked:?}");
    assert!(node.rules().is_empty(), "{:?}", node.rules());
}

#[test]
fn a_plan_says_when_no_rule_can_be_placed() {
    let node = Node::new(json!({}));
    let rules = node.restore.cloud.udev().join("rules.d");
    fs::write(rules.join("69-lvm.rules"), "").unwrap();
    let planned = node.run(&["plan"]).success();
    assert!(!planned.both().contains("aws::udev_not_kept_off"), "{}", planned.both());
    fs::write(node.programs.join("udevadm"), "#!/bin/sh\nexit 1\n").unwrap();
    let planned = node.run(&["plan"]).success().both();
    for words in ["aws::udev_not_kept_off", "lvm2", "udevadm cannot be run", "main.replant.hcl"] {
        assert!(planned.contains(words), "{planned}");
    }
    // Where udev does not run, nothing has to be kept off.
    fs::remove_file(node.restore.cloud.udev().join("control")).unwrap();
    let planned = node.run(&["plan"]).success();
    assert!(!planned.both().contains("aws::udev_not_kept_off"), "{}", planned.both());
}

/// What Debian's rules make of disks: without a rule, and with it. Lines are `DISK:PROPERTY=VALUE`.
/// The disks are files of the right content behind loop devices; sysfs, which says that they are
/// volumes of EBS, and everything that udev writes lie in a mount namespace of their own.
fn seen_by_udev(serial: &str, rule: &Path) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ec2/udev.sh");
    let seen = |rule: &str| {
        let output = Output::of({
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh"]).arg(&script).arg(serial).arg(rule);
            command.current_dir(directory.path());
            command
        });
        output.success().stdout
    };
    (seen(""), seen(rule.to_str().unwrap()))
}
