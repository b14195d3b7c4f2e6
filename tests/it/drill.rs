//! The example of a drill, with a real guest: it comes up as another machine and says so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::guests::{guest, one_boot};
use crate::support::replant;

/// What the machine said on its console since it was started last.
fn console(directory: &Path) -> String {
    let machines = fs::read_dir(directory.join(".replant/cloud/machines")).unwrap();
    let logs = machines.map(|machine| machine.unwrap().path().join("console.log")).filter(|log| log.exists());
    logs.map(|log| String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()).collect()
}

/// What debugfs says of a path on the root filesystem of the volume, which begins at 1 MiB.
fn debugfs(volume: &Path, request: &str) -> String {
    let device = format!("{}?offset=1048576", volume.display());
    let output = Command::new("debugfs").args(["-R", request]).arg(device).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The drill's machine; what runs is ended with it.
struct Drill {
    directory: tempfile::TempDir,
}

impl Drill {
    fn begin() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/drill");
        for name in ["main.replant.hcl", "beacon.sh"] {
            fs::copy(example.join(name), directory.path().join(name)).unwrap();
        }
        fs::create_dir(directory.path().join("backups")).unwrap();
        symlink(guest("bios-ext4").vmdk(), directory.path().join("backups/web01.vmdk")).unwrap();
        Self { directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn apply(&self) -> String {
        replant(self.path(), ["apply", "--auto-approve"]).success().stdout
    }

    fn edit(&self, old: &str, new: &str) {
        let path = self.path().join("main.replant.hcl");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{text}");
        fs::write(path, text.replace(old, new)).unwrap();
    }

    fn volume(&self) -> PathBuf {
        let state = fs::read(self.path().join("replant.state.json")).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        let id = state["resources"]["instance.web.volume.root"]["id"].as_str().unwrap();
        self.path().join(".replant/cloud/volumes").join(format!("{id}.raw"))
    }

    /// Boots it, checks what it says and stops it.
    fn comes_up(&self) {
        let applied = self.apply();
        assert!(applied.contains("evidence: beacon of drill monthly: ok"), "{applied}");
        let said = console(self.path());
        assert!(said.contains("web01-drill login:"), "{said}");
        assert_eq!(said.matches("beacon of drill monthly: ok").count(), 1, "{said}");
        let machine = said.lines().find_map(|line| line.trim().strip_prefix("host web01-drill, machine "));
        let machine = machine.unwrap_or_else(|| panic!("{said}"));
        assert!(machine.len() == 32 && machine.chars().all(|c| c.is_ascii_hexdigit()), "{machine}");
        assert_eq!(said.matches("SHA256:").count(), 3, "{said}");
        // ssh-keygen names the machine that made a key; the image's name another one.
        assert_eq!(said.matches(" root@web01-drill (").count(), 3, "{said}");

        self.edit("instance_type =", "state = \"stopped\"\n  instance_type =");
        self.apply();
        let volume = self.volume();
        let log = debugfs(&volume, "cat /var/log/replant-first-boot.log");
        assert!(log.contains("beacon of drill monthly: ok"), "{log}");
        assert!(log.contains("ended with code 0"), "{log}");
        assert!(debugfs(&volume, "cat /etc/machine-id").contains(machine));
        for gone in [
            "/etc/systemd/system/replant-first-boot.service",
            "/etc/systemd/system/multi-user.target.d/replant-first-boot.conf",
            "/usr/local/sbin/replant-first-boot",
            "/usr/local/sbin/replant-first-boot.script",
            "/usr/local/sbin/replant-first-boot.script.running",
        ] {
            let said = debugfs(&volume, &format!("stat {gone}"));
            assert!(said.contains("File not found"), "{gone}: {said}");
        }
        let motd = debugfs(&volume, "cat /etc/motd");
        assert!(motd.contains("Restored by the monthly drill."), "{motd}");

        // It has started: what its block wants now is not done to it.
        self.edit("Restored by", "Restored again by");
        let plan = replant(self.path(), ["plan", "--detailed-exitcode"]).code(0);
        assert!(plan.stdout.contains("it wanted when this volume was written"), "{}", plan.stdout);
        self.edit("Restored again by", "Restored by");
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        replant(self.path(), ["destroy", "--auto-approve"]);
    }
}

#[test]
fn a_drill_comes_up_as_another_machine_and_runs_its_beacon_once() {
    let _one = one_boot();
    Drill::begin().comes_up();
}

#[test]
#[ignore = "make test-matrix"]
fn a_drill_does_not_run_its_beacon_at_a_second_boot() {
    let _one = one_boot();
    let drill = Drill::begin();
    drill.comes_up();
    drill.edit("state = \"stopped\"", "state = \"running\"");
    drill.edit("beacon of drill ${var.drill}: ok\"", "login:\"");
    drill.apply();
    // What would run it would be under way by now.
    std::thread::sleep(std::time::Duration::from_secs(20));
    let said = console(drill.path());
    assert!(said.contains("web01-drill login:") && !said.contains("beacon"), "{said}");
}
