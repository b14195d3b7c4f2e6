//! Stories of formats: what an image is found to be is pinned, what it becomes is noticed; a
//! snapshot is restored by its name.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Workspace;
use crate::support::workspace::text;

const WEB: &str = r#"
instance "web" {
  image         = "web.img"
  instance_type = "m6i.large"
  state         = "stopped"
  guest { drivers = "none" }
}
"#;

fn qemu_img(arguments: &[&str], directory: &Path) {
    let output = Command::new("qemu-img").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn pinned(workspace: &Workspace) -> String {
    let state = workspace.state();
    text(&state["resources"]["instance.web.volume.root"]["write"]["image"], "format").to_owned()
}

/// A guest writes a qcow2 header on its raw disk that names a secret of the host; the next backup
/// of that disk must not be read as what it pretends to be.
#[test]
fn a_raw_disk_that_turns_into_qcow2_is_refused_until_somebody_says_what_it_is() {
    let workspace = Workspace::new(WEB);
    let raw = workspace.raw_image("web.img", 3, 1);
    workspace.apply().success();
    assert_eq!(pinned(&workspace), "raw");

    workspace.raw_image("secret.raw", 3, 2);
    let hostile = ["create", "-q", "-f", "qcow2", "-b", "secret.raw", "-F", "raw", "web.img"];
    qemu_img(&hostile, workspace.path());
    for command in [&["plan"][..], &["apply", "--auto-approve"], &["graph"]] {
        let refused = workspace.run(command).code(1);
        for part in ["image::format_moved", "restored as raw before", "is qcow2 now", "`format = \"qcow2\"`"]
        {
            assert!(refused.stderr.contains(part), "{part}: {}", refused.both());
        }
    }

    // Said to be raw, it is read as before; said to be qcow2, it is accepted, and pinned anew.
    workspace.configure(&WEB.replace("web.img\"", "web.img\"\n  image_format = \"raw\""));
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &raw);
    assert_eq!(pinned(&workspace), "raw");
    workspace.configure(&WEB.replace("web.img\"", "web.img\"\n  image_format = \"qcow2\""));
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &workspace.path().join("secret.raw"));
    assert_eq!(pinned(&workspace), "qcow2");
    workspace.configure(WEB);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}

#[test]
fn an_image_that_is_replaced_by_one_of_another_format_is_refused() {
    let configuration = WEB.replace("web.img", "web.backup");
    let workspace = Workspace::new(&configuration);
    workspace.raw_image("web.raw", 3, 1);
    let convert = |format: &str| {
        qemu_img(&["convert", "-f", "raw", "-O", format, "web.raw", "web.backup"], workspace.path());
    };
    convert("vmdk");
    workspace.apply().success();
    assert_eq!(pinned(&workspace), "vmdk");

    convert("qcow2");
    let refused = workspace.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("restored as vmdk before, but is qcow2 now"), "{}", refused.both());
    fs::copy(workspace.path().join("web.raw"), workspace.path().join("web.backup")).unwrap();
    let refused = workspace.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("`format = \"raw\"`"), "{}", refused.both());

    // Another file is another matter: nothing is pinned for it, as when "auto" is written.
    fs::rename(workspace.path().join("web.backup"), workspace.path().join("web.backup.dd")).unwrap();
    let other = configuration.replace("web.backup\"", "web.backup.dd\"\n  image_format = \"auto\"");
    workspace.configure(&other);
    workspace.apply().success();
    assert_eq!(pinned(&workspace), "raw");
    workspace.run(&["destroy", "--auto-approve"]).success();
}

#[test]
fn a_new_backup_in_the_same_format_is_an_ordinary_change() {
    let workspace = Workspace::new(&WEB.replace("web.img", "web.qcow2"));
    for seed in [1, 2] {
        let raw = workspace.raw_image("web.raw", 3, seed);
        qemu_img(&["convert", "-O", "qcow2", "web.raw", "web.qcow2"], workspace.path());
        workspace.apply().success();
        workspace.assert_holds("instance.web.volume.root", &raw);
        assert_eq!(pinned(&workspace), "qcow2");
    }
}

#[test]
fn a_snapshot_is_restored_and_another_one_is_another_image() {
    let at = |name: &str| WEB.replace("web.img\"", &format!("web.qcow2\"\n  image_snapshot = \"{name}\""));
    let workspace = Workspace::new(&at("before"));
    let before = workspace.raw_image("before.raw", 3, 1);
    qemu_img(&["convert", "-O", "qcow2", "before.raw", "web.qcow2"], workspace.path());
    qemu_img(&["snapshot", "-c", "before", "web.qcow2"], workspace.path());
    let status = Command::new("qemu-io")
        .args(["-f", "qcow2", "-c", "write -P 7 0 3M", "web.qcow2"])
        .current_dir(workspace.path())
        .output()
        .unwrap()
        .status;
    assert!(status.success());
    qemu_img(&["snapshot", "-c", "after", "web.qcow2"], workspace.path());
    let after = workspace.path().join("after.raw");
    fs::write(&after, vec![7; 3 << 20]).unwrap();

    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("web.qcow2, snapshot before"), "{}", plan.stdout);
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &before);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    workspace.configure(&at("after"));
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &after);

    // In a disk's block, too.
    let block = "  disk \"root\" {\n    image = \"web.qcow2\"\n    format = \"qcow2\"\n    snapshot = \"before\"\n  }\n";
    workspace.configure(&WEB.replace("  image         = \"web.img\"\n", block));
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &before);

    workspace.configure(&at("none"));
    let refused = workspace.run(&["plan"]).code(1);
    for part in ["image::no_snapshot", "`before` (id 1), `after` (id 2)"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.both());
    }
}
