//! Images that are cut short or damaged, as a user meets them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::support::command::Output;
use crate::support::guests::guest;
use crate::support::{Workspace, replant};

fn convert(from: &Path, to: &Path, options: &[&str]) {
    let mut command = Command::new("qemu-img");
    let output = command.args(["convert", "-f", "raw"]).args(options).arg(from).arg(to).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn configuration(image: &str, more: &str) -> String {
    format!(
        "instance \"web\" {{\n  image         = \"{image}\"\n  instance_type = \"m6i.large\"\n  state         = \"stopped\"\n{more}}}\n"
    )
}

/// The error of a damaged image, and no advice to restore it all the same.
#[track_caller]
fn is_damaged(output: &Output, what: &str) {
    let said = &output.stderr;
    assert!(said.contains("error[image::damaged]"), "{}", output.both());
    // Its lines are broken where they are long.
    let words: Vec<&str> = said.split_whitespace().filter(|word| *word != "|").collect();
    assert!(words.join(" ").contains(what), "{what}: {}", output.both());
    assert!(!said.contains("drivers"), "{}", output.both());
    assert!(said.contains("replant check IMAGE"), "{}", output.both());
}

/// The first part of a backup, whose metadata stands in front: nothing is planned from it.
#[test]
fn a_backup_that_is_cut_short_is_refused_before_anything_is_made() {
    let workspace = Workspace::new("");
    let raw = workspace.raw_image("disk.raw", 24, 1);
    for (name, options) in [
        ("a.vmdk", &["-O", "vmdk", "-o", "subformat=streamOptimized"][..]),
        ("b.vmdk", &["-O", "vmdk", "-o", "subformat=monolithicSparse"]),
        ("c.qcow2", &["-O", "qcow2"]),
        ("d.qcow2", &["-c", "-O", "qcow2"]),
        ("e.vhdx", &["-O", "vhdx", "-o", "subformat=dynamic,block_size=1M"]),
    ] {
        let path = workspace.path().join(name);
        convert(&raw, &path, options);
        let length = fs::metadata(&path).unwrap().len();
        let cut = length / 4 * 3;
        fs::File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let what = format!("is cut short: it has {cut} bytes of at least");
        is_damaged(&workspace.run(&["inspect", name]).code(1), &what);
        for more in ["", "  guest { drivers = \"none\" }\n"] {
            workspace.configure(&configuration(name, more));
            is_damaged(&workspace.run(&["plan"]).code(1), &what);
        }
        let checked = workspace.run(&["check", name]).code(1);
        assert!(checked.stderr.contains("error[image::damaged]"), "{}", checked.both());
    }
}

/// The first grain of a streamOptimized disk, behind its header and tables.
fn damage_first_grain(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let overhead = u64::from_le_bytes(bytes[64..72].try_into().unwrap()) * 512;
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[0xee; 64], overhead + 40).unwrap();
}

/// What the sandbox cannot read is the image's damage, and not a failure of the sandbox.
#[test]
fn damage_that_a_guest_meets_is_the_image_s() {
    let workspace = Workspace::new(&configuration("web.vmdk", ""));
    let image = workspace.path().join("web.vmdk");
    fs::copy(guest("bios-ext4").vmdk(), &image).unwrap();
    damage_first_grain(&image);
    for arguments in [&["inspect", "web.vmdk"][..], &["plan"]] {
        let output = workspace.run(arguments).code(1);
        is_damaged(&output, "web.vmdk is damaged at byte");
        assert!(!output.stderr.contains("sandbox::failed"), "{}", output.both());
    }
}

/// Damage that only reading finds is met while the data is written: what to do is said, and that
/// it does not go away by itself.
#[test]
fn damage_that_is_met_while_writing() {
    let workspace = Workspace::new(&configuration("web.vmdk", "  guest { drivers = \"none\" }\n"));
    let raw = workspace.raw_image("disk.raw", 8, 1);
    let image = workspace.path().join("web.vmdk");
    convert(&raw, &image, &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    damage_first_grain(&image);
    let failed = workspace.apply().code(1);
    let said = failed.both();
    assert!(said.contains("copy::image_damaged") && said.contains("replant check IMAGE"), "{said}");
    assert!(said.contains("When the cause of the failure is out of the way"), "{said}");
    assert!(!said.contains("qemu-img check"), "{said}");
    let found = replant(workspace.path(), ["check", "web.vmdk"]).code(1);
    assert!(found.stderr.contains("image::damaged"), "{}", found.both());
}
