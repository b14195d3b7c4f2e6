//! Stories of launches by image: snapshots, an image, an instance with volumes of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::Workspace;
use crate::support::booting::{LOGIN, Machines, bootable, machines};
use crate::support::workspace::text;

const BY_IMAGE: &str = "  launch { method = \"image\" }\n";

fn configuration(more: &str) -> String {
    crate::support::booting::configuration(&format!("{BY_IMAGE}{more}"))
}

fn counts(workspace: &Workspace) -> [usize; 4] {
    [
        workspace.volumes().len(),
        workspace.instances().len(),
        workspace.records("snapshots").len(),
        workspace.records("images").len(),
    ]
}

#[test]
fn an_instance_runs_from_volumes_of_its_image_and_nothing_is_left_at_the_end() {
    let more = "  user_data = \"#!/bin/sh\\n\"\n  tags = { Name = \"web\" }\n  disk \"root\" { tags = { Role = \"root\" } }\n  disk \"data\" { size = 1 }\n";
    let guarded = Machines(Workspace::new(
        &(configuration(more) + "output \"ami\" { value = instance.web.image_id }\n"),
    ));
    let workspace = &guarded.0;
    bootable(workspace, "web.raw", LOGIN);
    let plan = workspace.run(&["plan"]).success();
    for said in [
        "# instance.web.snapshot.root will be created",
        "# instance.web.image will be created",
        "Plan: 1 to restore, 2 volumes to create, 1 image to register,",
    ] {
        assert!(plan.stdout.contains(said), "{said}: {}", plan.stdout);
    }
    assert!(!plan.stdout.contains("stub"), "{}", plan.stdout);
    let applied = workspace.apply().success();
    assert!(applied.stdout.contains("guest login:"), "{}", applied.stdout);
    assert_eq!((machines(workspace), counts(workspace)), (1, [2, 1, 2, 1]));
    let state = workspace.state();
    let of = |address: &str| state["resources"][address].clone();
    let instance = &workspace.instances()[0];
    for volume in workspace.volumes() {
        assert_eq!(volume["attachment"]["instance"], instance["id"], "the written ones are gone");
        assert_eq!(text(&volume["tags"], "replant:launched"), "true");
    }
    let root = of("instance.web.volume.root");
    let view = workspace.volumes().into_iter().find(|volume| volume["id"] == root["id"]).unwrap();
    assert_eq!((text(&view["tags"], "Role"), text(&view["tags"], "Name")), ("root", "web"));
    assert_eq!(text(&view["tags"], "replant:address"), "instance.web.volume.root");
    assert_eq!((&root["started"], &root["predecessor"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(of("instance.web")["image_id"], of("instance.web.image")["id"]);
    assert_eq!(state["outputs"]["ami"]["value"], of("instance.web.image")["id"]);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    let swept = workspace.run(&["sweep"]).success();
    assert!(swept.stdout.contains("Nothing but what the state knows"), "{}", swept.stdout);

    // In place, as with any instance; and by a new image of what the guest has written.
    workspace.configure(&configuration(&more.replace("\"web\"", "\"www\"")));
    workspace.apply().success();
    assert_eq!(workspace.state()["resources"]["instance.web"]["id"], of("instance.web")["id"]);
    workspace.configure(&configuration(&format!("{more}  subnet_id = \"subnet-2\"\n")));
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("instance.web.image must be"), "{}", plan.stdout);
    assert!(plan.stdout.contains("what is on its volumes stays"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!((machines(workspace), counts(workspace)), (1, [2, 1, 2, 1]));
    assert_ne!(workspace.state()["resources"]["instance.web.image"]["id"], of("instance.web.image")["id"]);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);

    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!((machines(workspace), counts(workspace)), (0, [0; 4]));
}

#[test]
fn a_failed_start_is_restored_anew_by_a_new_image() {
    let guarded = Machines(Workspace::new(&configuration("")));
    let workspace = &guarded.0;
    bootable(workspace, "web.raw", "\r\nALERT!  /dev/sda1 does not exist.  Dropping to a shell!\r\n");
    let failed = workspace.apply().code(1);
    assert!(failed.stdout.contains("apply::boot_failed"), "{}", failed.both());
    // Everything is left in place, what was written too.
    assert_eq!(counts(workspace), [2, 1, 1, 1]);
    assert_eq!(workspace.state()["resources"]["instance.web"]["tainted"], true);
    bootable(workspace, "web.raw", LOGIN);
    workspace.apply().success();
    assert_eq!((machines(workspace), counts(workspace)), (1, [1, 1, 1, 1]));
    assert_eq!(workspace.state()["resources"]["instance.web"]["tainted"], false);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}

#[test]
fn stopped_it_ends_with_the_image_and_runs_from_that_later() {
    let guarded = Machines(Workspace::new(&configuration("  state = \"stopped\"\n")));
    let workspace = &guarded.0;
    let image = bootable(workspace, "web.raw", LOGIN);
    workspace.apply().success();
    assert_eq!((machines(workspace), counts(workspace)), (0, [1, 0, 1, 1]));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    workspace.assert_holds("instance.web.volume.root", &image);
    // Another image of the backup: another image of it.
    let before = workspace.state();
    bootable(workspace, "web.raw", "\r\nnewer login: ");
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("instance.web.snapshot.root must be"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!(counts(workspace), [1, 0, 1, 1]);
    let template = workspace.state();
    for address in ["instance.web.image", "instance.web.snapshot.root"] {
        assert_ne!(template["resources"][address]["id"], before["resources"][address]["id"]);
    }
    // What is lost outside is made again.
    let snapshot = text(&template["resources"]["instance.web.image"], "id").to_owned();
    std::fs::remove_file(workspace.path().join(format!(".replant/cloud/images/{snapshot}.json"))).unwrap();
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("it was deleted outside Replant"), "{}", plan.stdout);
    workspace.apply().success();
    let template = workspace.state();

    workspace.configure(&configuration(""));
    let applied = workspace.apply().success();
    assert!(applied.stdout.contains("newer login:"), "{}", applied.stdout);
    let state = workspace.state();
    assert_eq!(
        state["resources"]["instance.web"]["image_id"],
        template["resources"]["instance.web.image"]["id"]
    );
    assert_eq!((machines(workspace), counts(workspace)), (1, [1, 1, 1, 1]));
    // By the swap from now on: the image is not needed any more.
    workspace.configure(&crate::support::booting::configuration(""));
    workspace.apply().success();
    assert_eq!((machines(workspace), counts(workspace)), (1, [1, 1, 0, 0]));
    workspace.run(&["destroy", "--auto-approve"]).success();
    assert_eq!(counts(workspace), [0; 4]);
}

#[test]
fn a_lost_state_knows_its_image_again() {
    let workspace = Workspace::new(&configuration("  state = \"stopped\"\n"));
    bootable(&workspace, "web.raw", LOGIN);
    workspace.apply().success();
    for name in ["replant.state.json", "replant.state.json.backup", "replant.state.journal"] {
        let _ = std::fs::remove_file(workspace.path().join(name));
    }
    let rebuilt = workspace.run(&["state", "rebuild", "--auto-approve"]).success();
    assert!(rebuilt.stdout.contains("instance.web.image = ami-"), "{}", rebuilt.stdout);
    // Nobody knows any more what is in them.
    let plan = workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("instance.web.image must be"), "{}", plan.stdout);
    workspace.apply().success();
    assert_eq!(counts(&workspace), [1, 0, 1, 1]);
    workspace.run(&["state", "rm", "instance.web"]).success();
    let listed = workspace.run(&["sweep"]).success();
    assert!(listed.stdout.contains("3 resources in no state"), "{}", listed.stdout);
    workspace.run(&["sweep", "--remove", "--auto-approve"]).success();
    assert_eq!(counts(&workspace), [0; 4]);
}

/// Promise 2 for the steps of an image: `kill -9` at moments of a whole run.
fn killed(moments: u32, more: &str, after: [usize; 4], running: usize) {
    let fresh = || {
        let guarded = Machines(Workspace::new(&configuration(more)));
        bootable(&guarded.0, "web.raw", LOGIN);
        guarded
    };
    let begun = Instant::now();
    fresh().0.apply().success();
    let whole = begun.elapsed();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= moments as usize {
                        return;
                    }
                    let moment: Duration = whole.mul_f64((index as f64 + 0.5) / f64::from(moments));
                    let guarded = fresh();
                    let workspace = &guarded.0;
                    let mut child = workspace
                        .command(&["apply", "--auto-approve"])
                        .stdout(std::process::Stdio::null())
                        .spawn()
                        .unwrap();
                    std::thread::sleep(moment);
                    child.kill().unwrap();
                    child.wait().unwrap();
                    let again = workspace.apply();
                    assert_eq!(again.code, 0, "after {moment:?}: {}", again.both());
                    assert_eq!(
                        (machines(workspace), counts(workspace)),
                        (running, after),
                        "after {moment:?}: {}",
                        again.both()
                    );
                    let plan = workspace.run(&["plan", "--detailed-exitcode"]);
                    assert_eq!(plan.code, 0, "after {moment:?}: {}", plan.both());
                    let swept = workspace.run(&["sweep"]).success();
                    assert!(swept.stdout.contains("Nothing but"), "after {moment:?}: {}", swept.stdout);
                    workspace.run(&["destroy", "--auto-approve"]).success();
                    assert_eq!(counts(workspace), [0; 4], "after {moment:?}");
                }
            });
        }
    });
}

#[test]
fn killed_at_any_moment_there_is_one_image_and_one_of_each_snapshot() {
    killed(20, "  state = \"stopped\"\n  disk \"root\" {}\n  disk \"data\" { size = 1 }\n", [2, 0, 2, 1], 0);
}

#[test]
fn killed_at_any_moment_there_is_one_instance_with_its_own_volumes() {
    let more = "  user_data = \"#!/bin/sh\\n\"\n  disk \"root\" {}\n  disk \"data\" { size = 1 }\n";
    killed(14, more, [2, 1, 2, 1], 1);
}
