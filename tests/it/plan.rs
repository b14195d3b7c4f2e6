//! What a plan refuses or warns of, as a user sees it, and what it shows for an appliance.

use std::fs;
use std::path::PathBuf;

use crate::support::Workspace;
use crate::support::appliance::two_disks;

/// Plans a configuration over a 3 MiB raw image; what was said of it.
fn said(configuration: &str, code: i32) -> String {
    let workspace = Workspace::new(configuration);
    workspace.raw_image("web.raw", 3, 1);
    let output = workspace.run(&["plan"]).code(code);
    if code == 0 { notes(&output.stdout) } else { output.stderr }
}

/// The diagnostics of a plan that was made.
fn notes(stdout: &str) -> String {
    let begin = stdout.find("warning[").unwrap_or(0);
    let end = stdout.find("Plan: ").unwrap_or(stdout.len());
    stdout[begin..end].to_owned()
}

fn one(attributes: &str) -> String {
    format!(
        "instance \"web\" {{\n  image         = \"web.raw\"\n  instance_type = \"m6i.large\"\n  state         = \"stopped\"\n  guest {{ drivers = \"none\" }}\n{attributes}\n}}\n"
    )
}

#[test]
fn an_instance_type_that_does_not_exist() {
    insta::assert_snapshot!(said(&one("").replace("m6i.large", "m6i.lagre"), 1));
}

#[test]
fn an_instance_type_that_cannot_boot_the_firmware() {
    let configuration = one("  launch {\n    boot_mode = \"uefi\"\n  }").replace("m6i.large", "m4.large");
    insta::assert_snapshot!(said(&configuration, 1));
}

#[test]
fn a_disk_smaller_than_its_image() {
    let workspace = Workspace::new(&one("  disk \"root\" {\n    size = 1\n  }"));
    let image = fs::File::create(workspace.path().join("web.raw")).unwrap();
    image.set_len((1 << 30) + 512).unwrap();
    insta::assert_snapshot!(workspace.run(&["plan"]).code(1).stderr);
}

#[test]
fn a_disk_larger_than_its_image_that_does_not_grow() {
    insta::assert_snapshot!(said(&one("  disk \"root\" {\n    size = 4\n  }"), 0));
}

#[test]
fn an_empty_disk_without_a_size() {
    insta::assert_snapshot!(said(&one("  disk \"root\" {}\n  disk \"scratch\" {}"), 1));
}

#[test]
fn more_disks_than_slots() {
    let node = "access_node \"dr\" {\n  instance_id     = \"self\"\n  max_attachments = 1\n}\n";
    let configuration =
        node.to_owned() + &one("  disk \"root\" {}\n  disk \"data\" {\n    image = \"web.raw\"\n  }");
    insta::assert_snapshot!(said(&configuration, 1));
}

#[test]
fn several_mistakes_at_once() {
    let configuration = one("  disk \"scratch\" {}\n  disk \"more\" {}").replace("m6i.large", "zz.top");
    insta::assert_snapshot!(said(&configuration, 1));
}

/// `shop.ova` of two disks, 6 and 4 MiB; `disk1.raw` and `disk2.raw` are what they hold.
fn appliance(workspace: &Workspace) -> PathBuf {
    let disks = [(1, 6), (2, 4)]
        .map(|(number, mebibytes)| workspace.raw_image(&format!("disk{number}.raw"), mebibytes, number));
    two_disks(workspace.path(), "shop", &disks)
}

/// A disk block of another name would become one more volume, and the data what nobody said.
#[test]
fn a_disk_that_the_appliance_does_not_have() {
    let workspace = Workspace::new("");
    appliance(&workspace);
    let plan = |disks: &str, code: i32| {
        workspace.configure(&format!(
            "instance \"shop\" {{\n  image         = \"shop.ova\"\n  instance_type = \"t3.large\"\n  state         = \"stopped\"\n  guest {{ drivers = \"none\" }}\n{disks}}}\n"
        ));
        workspace.run(&["plan"]).code(code)
    };
    let refused = plan(
        "  disk \"disk1\" { type = \"gp3\" }\n  disk \"vmdisk2\" {\n    size      = 60\n    encrypted = true\n  }\n  disk \"dat1\" {}\n",
        1,
    );
    insta::assert_snapshot!(refused.stderr);
    let added = plan("  disk \"logs\" {\n    empty = true\n    size  = 3\n  }\n", 0);
    assert!(added.stdout.contains("3 volumes to create"), "{}", added.stdout);
    let lost = plan("  disk \"data1\" {\n    empty = true\n    size  = 3\n  }\n", 1);
    assert!(lost.stderr.contains("plan::disk_not_empty"), "{}", lost.stderr);
    let sizeless = plan("  disk \"logs\" { empty = true }\n", 1);
    assert!(sizeless.stderr.contains("config::missing_size"), "{}", sizeless.stderr);
    let both =
        plan("  disk \"logs\" {\n    empty = true\n    size  = 3\n    image = \"disk1.raw\"\n  }\n", 1);
    assert!(both.stderr.contains("config::empty_with_image"), "{}", both.stderr);

    // Of a single image, the first disk that is not said to be empty takes it.
    workspace.configure(
        &one("  disk \"logs\" {\n    empty = true\n    size  = 3\n  }\n").replace("web.raw", "disk1.raw"),
    );
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("instance.web.volume.root"), "{}", plan.stdout);

    // Its disks have the same names everywhere.
    let checked = workspace.run(&["check", "shop.ova"]).success();
    assert!(checked.stdout.contains("  data1 "), "{}", checked.stdout);
    let named = workspace.run(&["check", "shop.ova", "--member", "vmdisk1"]).success();
    assert!(named.stdout.contains("  root "), "{}", named.stdout);
    let other = workspace.run(&["check", "shop.ova", "--member", "nope"]).code(1);
    assert!(other.stderr.contains("root (vmdisk1), data1 (vmdisk2)"), "{}", other.stderr);
}

#[test]
fn an_appliance_brings_its_disks_and_a_disk_block_changes_one() {
    let workspace = Workspace::new(
        "instance \"shop\" {\n  image         = \"shop.ova\"\n  instance_type = \"t3.large\"\n  state         = \"stopped\"\n  guest { drivers = \"none\" }\n  disk \"data1\" {\n    type       = \"gp3\"\n    throughput = 250\n  }\n}\n",
    );
    let directory = workspace.path();
    let _ova = appliance(&workspace);

    workspace.apply().success();
    let state = workspace.state();
    assert_eq!(state["resources"]["instance.shop.volume.data1"]["throughput"], 250);
    assert_eq!(state["resources"]["instance.shop"]["disks"], serde_json::json!(["root", "data1"]));
    workspace.assert_holds("instance.shop.volume.root", &directory.join("disk1.raw"));
    workspace.assert_holds("instance.shop.volume.data1", &directory.join("disk2.raw"));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);

    // What EC2 changes in place is changed in place; a size that shrinks replaces.
    let configuration = fs::read_to_string(directory.join("main.replant.hcl")).unwrap();
    workspace.configure(&configuration.replace("throughput = 250", "throughput = 300\n    size       = 2"));
    let before = workspace.state()["resources"]["instance.shop.volume.data1"]["id"].clone();
    workspace.apply().success();
    let state = workspace.state();
    let volume = &state["resources"]["instance.shop.volume.data1"];
    assert_eq!((&volume["id"], &volume["throughput"], &volume["size"]), (&before, &300.into(), &2.into()));
    workspace.configure(&configuration);
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("# forces replacement"), "{}", plan.stdout);
    workspace.apply().success();
    assert_ne!(workspace.state()["resources"]["instance.shop.volume.data1"]["id"], before);
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (2, 1));
    workspace.assert_holds("instance.shop.volume.data1", &directory.join("disk2.raw"));
}

#[test]
fn one_image_as_two_disks() {
    let disks = "  disk \"root\" {}\n  disk \"copy\" { image = \"web.raw\" }";
    let said = said(&one(disks), 0);
    assert!(said.contains("warning[plan::same_image]"), "{said}");
    assert!(said.contains("\"root\" and \"copy\" of instance.web"), "{said}");
}

#[test]
fn another_image_before_the_first_start_is_an_update_of_what_is_there() {
    let workspace = Workspace::new(&one(""));
    workspace.raw_image("web.raw", 3, 1);
    let first = workspace.run(&["plan"]).success().stdout;
    assert!(first.contains("Data: 2 MiB to write, 1 MiB are zero.\n"), "{first}");
    workspace.apply().success();
    let shown = workspace.run(&["show"]).success().stdout;
    assert!(shown.contains("finished_at") && !shown.contains("written "), "{shown}");
    let nothing = workspace.run(&["plan"]).success().stdout;
    assert!(nothing.starts_with("No changes."), "{nothing}");
    workspace.raw_image("web.raw", 3, 2);
    let plan = workspace.run(&["plan"]).success().stdout;
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "(because its volumes are written before it first starts)",
        "at most 2 MiB of 3 MiB",
        "at most about 1 s",
        "Data: at most 2 MiB to write, 1 MiB are zero; of what is there already, only what differs is written.",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert!(!plan.contains("an earlier run did not finish"), "{plan}");
    let applied = workspace.apply().success().stdout;
    assert!(applied.contains("written of 2 MiB of data"), "{applied}");
}
