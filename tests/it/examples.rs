//! Every example is a valid configuration, and goes through a plan.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::appliance::two_disks;
use crate::support::guests::guest;
use crate::support::replant;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.ends_with("drivers") {
            copy(&path, &to.join("drivers"));
        }
        if path.is_file() && !path.file_name().unwrap().to_string_lossy().starts_with("replant.state") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// A small empty disk under that name; an appliance's only needs to exist to be valid.
fn backup(path: &Path) {
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f"])
        .arg(if path.extension().is_some_and(|extension| extension == "qcow2") { "qcow2" } else { "vmdk" })
        .arg(path)
        .arg("1M")
        .status()
        .unwrap();
    assert!(made.success());
}

#[test]
fn every_example_is_valid() {
    let backups = [
        ("quickstart", &["web01.vmdk"][..]),
        ("appliance", &["erp.ova"]),
        ("fleet", &["db.vmdk", "web-eu.vmdk", "web-us.vmdk"]),
        ("rehearsal", &["app.qcow2"]),
        ("drill", &["web01.vmdk"]),
        ("ec2", &["db.vmdk"]),
        ("windows", &["app01.vmdk"]),
    ];
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut found: Vec<_> = fs::read_dir(&examples)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut known: Vec<_> = backups.iter().map(|(name, _)| (*name).to_owned()).collect();
    known.sort();
    assert_eq!(found, known, "every example has its backups here");
    for (name, images) in backups {
        let directory = tempfile::tempdir().unwrap();
        copy(&examples.join(name), directory.path());
        fs::create_dir(directory.path().join("backups")).unwrap();
        for image in images {
            backup(&directory.path().join("backups").join(image));
        }
        replant(directory.path(), ["validate"]).success();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A disk of 64 MiB with one ext4.
fn data_disk(path: &Path) {
    let path = path.to_str().unwrap();
    run("truncate", &["-s", "64M", path]);
    run("sh", &["-c", &format!("echo 2048,,L | sfdisk -q {path}")]);
    run("mkfs.ext4", &["-q", "-E", "offset=1048576", path, "63M"]);
}

/// As they stand, of backups of the right kind: a real guest in each format, an appliance of two
/// disks. (The one for Windows needs a Windows.)
#[test]
fn every_example_of_linux_can_be_planned() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let guest = guest("cloud-ext4");
    for (name, options, images, shown) in [
        ("quickstart", &[][..], &["web01.vmdk"][..], "1 to restore"),
        ("appliance", &[], &["erp.ova"], "2 volumes to create"),
        ("fleet", &[], &["db.vmdk", "web-eu.vmdk", "web-us.vmdk"], "3 to restore"),
        ("rehearsal", &[], &["app.qcow2"], "2 volumes to create"),
        ("drill", &[], &["web01.vmdk"], "web01-drill"),
        ("ec2", &["--rehearse"], &["db.vmdk"], "data.subnet.app"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        copy(&examples.join(name), directory.path());
        let backups = directory.path().join("backups");
        fs::create_dir(&backups).unwrap();
        for image in images {
            let path = backups.join(image);
            match image.rsplit_once('.').unwrap().1 {
                "vmdk" => std::os::unix::fs::symlink(guest.vmdk(), &path).unwrap(),
                "qcow2" => {
                    let (from, to) = (guest.vmdk(), path.to_str().unwrap());
                    run("qemu-img", &["convert", "-O", "qcow2", from.to_str().unwrap(), to]);
                }
                _ => {
                    let data = directory.path().join("data.raw");
                    data_disk(&data);
                    two_disks(&backups, "erp", &[guest.vmdk(), data]);
                }
            }
        }
        let plan = replant(directory.path(), ["plan"].iter().chain(options)).success();
        assert!(plan.stdout.contains(shown), "{name}: {}", plan.stdout);
        // What the guest itself has is no matter of the example.
        let warned = plan.stdout.replace("warning[plan::guest_findings]", "").contains("warning[");
        assert!(!warned, "{name}: {}", plan.stdout);
        replant(directory.path(), ["validate"]).success();
    }
}

/// What is named for EC2 is rehearsed where nothing of it exists.
#[test]
fn the_example_for_ec2_is_rehearsed() {
    let directory = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ec2"), directory.path());
    fs::create_dir(directory.path().join("backups")).unwrap();
    backup(&directory.path().join("backups/db.vmdk"));
    // Its disk is empty: nothing is there to be prepared.
    let path = directory.path().join("main.replant.hcl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("  monitoring ", "  guest { drivers = \"none\" }\n  monitoring ")).unwrap();
    let plan = replant(directory.path(), ["plan", "--rehearse", "--out", "ec2.plan"]).success();
    for wanted in [
        "data.subnet.app: subnet-0",
        "data.security_group.of[\"backup\"]: sg-0",
        "data.kms_key.restore: ",
        "\"1.subnet_id\" ",
        "group_name = \"databases\"",
        "\"172.31.0.15\"",
        "http_put_response_hop_limit = 2",
        "cpu_credits = \"unlimited\"",
    ] {
        assert!(plan.stdout.contains(wanted), "{wanted}: {}", plan.stdout);
    }
    replant(directory.path(), ["apply", "--rehearse", "ec2.plan"]).success();
    replant(directory.path(), ["plan", "--rehearse", "--detailed-exitcode"]).code(0);
    replant(directory.path(), ["destroy", "--rehearse", "--auto-approve"]).success();
}

/// `-C` with a relative path: everything is below the configuration's directory, once.
#[test]
fn a_restore_stays_in_its_directory() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("site/dr");
    fs::create_dir_all(&directory).unwrap();
    backup(&directory.join("disk.vmdk"));
    let configuration = r#"
        instance "web" {
          image         = "disk.vmdk"
          instance_type = "m6i.large"
          state         = "stopped"
          guest { drivers = "none" }
        }
    "#;
    fs::write(directory.join("main.replant.hcl"), configuration).unwrap();
    replant(parent.path(), ["-C", "site/dr", "apply", "--auto-approve"]).success();
    assert!(directory.join(".replant/cloud/cloud.json").exists());
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = [".replant", "disk.vmdk", "main.replant.hcl", "replant.state.json", "replant.state.lock"];
    assert_eq!(names, expected);
    replant(parent.path(), ["-C", "site/dr", "destroy", "--auto-approve"]).success();
}
