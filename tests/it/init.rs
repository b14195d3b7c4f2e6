//! `replant init`: what it writes is a configuration that goes through a plan as it stands.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::support::Workspace;
use crate::support::appliance::two_disks;
use crate::support::guests::guest;
use crate::support::replant;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with `backups/` and no configuration.
fn place() -> Workspace {
    let workspace = Workspace::new("");
    fs::remove_file(workspace.path().join("main.replant.hcl")).unwrap();
    fs::create_dir(workspace.path().join("backups")).unwrap();
    workspace
}

fn written(directory: &Path) -> String {
    fs::read_to_string(directory.join("main.replant.hcl")).unwrap()
}

/// An appliance, a machine of two disks, one on another image: three instances, planned as written.
#[test]
fn a_directory_of_backups_becomes_a_configuration() {
    let workspace = place();
    let backups = workspace.path().join("backups");
    let guest = guest("bios-ext4");
    let data = workspace.raw_image("data.raw", 4, 1);
    let (data, root) = (data.to_str().unwrap(), guest.vmdk());
    two_disks(&backups, "Shop 1", &[guest.vmdk(), data.into()]);
    symlink(&root, backups.join("db.vmdk")).unwrap();
    run(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "vmdk", data, backups.join("db_1.vmdk").to_str().unwrap()],
    );
    // Only the top of a chain is a machine.
    let base = backups.join("base.qcow2");
    run("qemu-img", &["convert", "-O", "qcow2", root.to_str().unwrap(), base.to_str().unwrap()]);
    let top = backups.join("web.qcow2");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", top.to_str().unwrap()],
    );
    fs::write(backups.join("notes.txt"), "no image").unwrap();

    let said = workspace.run(&["init"]).success();
    for line in ["instance.db: ", "instance.shop-1: ", "instance.web: ", "2 disks, ", "replant plan"] {
        assert!(said.stdout.contains(line), "{line}: {}", said.stdout);
    }
    let text = written(workspace.path());
    for part in [
        "directory = \".replant/cloud\"",
        "image         = \"backups/Shop 1.ova\"",
        "instance_type = \"c6i.large\" # 2 processors, 4 GiB of memory",
        "# Its appliance says: 2 processors, 2 GiB of memory.",
        "image = \"backups/db_1.vmdk\"",
        "disk \"data1\" {",
        "# GiB; the image's disk has 4 MiB",
        "# Debian GNU/Linux",
        "network = \"dhcp\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("base.qcow2"), "{text}");
    workspace.run(&["fmt", "--check"]).success();
    workspace.run(&["validate"]).success();
    let plan = workspace.run(&["plan"]).success();
    assert!(
        plan.stdout.contains("3 to restore") && plan.stdout.contains("5 volumes to create"),
        "{}",
        plan.stdout
    );
    assert!(!plan.stdout.contains("warning["), "{}", plan.stdout);

    // What is there is never overwritten, whatever it is called.
    for name in ["main.replant.hcl", "other.replant.hcl"] {
        fs::rename(workspace.path().join("main.replant.hcl"), workspace.path().join(name)).unwrap();
        let refused = workspace.run(&["init"]).code(1);
        assert!(
            refused.stderr.contains("init::exists") && refused.stderr.contains(name),
            "{}",
            refused.stderr
        );
        fs::rename(workspace.path().join(name), workspace.path().join("main.replant.hcl")).unwrap();
    }
    assert_eq!(written(workspace.path()), text);
}

/// For EC2: what only the account knows is left to fill in, and the rehearsal goes through without.
#[test]
fn a_configuration_for_ec2_can_be_rehearsed() {
    let workspace = place();
    let data = workspace.raw_image("backups/scratch.raw", 2, 1);
    let image = guest("bios-ext4").vmdk();
    workspace.run(&["init", "--provider", "aws", image.to_str().unwrap(), data.to_str().unwrap()]).success();
    let text = written(workspace.path());
    for part in ["provider \"aws\"", "variable \"subnet_id\"", "= var.subnet_id", "instance_id = \"self\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // No system is on it: it is restored as it is, as what it is.
    let scratch = text.split("instance \"scratch\"").nth(1).unwrap();
    assert!(
        scratch.contains("drivers = \"none\"") && scratch.contains("image_format       = \"raw\""),
        "{text}"
    );
    workspace.run(&["validate"]).success();
    workspace.run(&["plan", "--rehearse"]).success();
}

#[test]
fn what_is_no_backup_is_refused_and_nothing_is_written() {
    let workspace = place();
    let path = workspace.path();
    let first = replant(path, ["plan"]).code(1);
    assert!(first.stderr.contains("replant init IMAGE"), "{}", first.stderr);
    let nothing = workspace.run(&["init"]).code(1);
    assert!(nothing.stderr.contains("init::no_images"), "{}", nothing.stderr);
    fs::write(path.join("backups/a.vmdk"), [7; 70_000]).unwrap();
    fs::write(path.join("backups/b.qcow2"), b"QFI\xfb").unwrap();
    let both = workspace.run(&["init"]).code(1);
    assert!(both.stderr.contains("a.vmdk") && both.stderr.contains("b.qcow2"), "{}", both.stderr);
    let secret = workspace.run(&["init", "https://example.org/a.vmdk?token=hush"]).code(1);
    assert!(secret.stderr.contains("init::secret") && !secret.stderr.contains("hush"), "{}", secret.stderr);
    let missing = workspace.run(&["-C", "gone", "init", "a.vmdk"]).code(1);
    assert!(missing.stderr.contains("init::directory"), "{}", missing.stderr);
    assert!(!path.join("main.replant.hcl").exists());
}
