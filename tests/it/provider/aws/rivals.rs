//! Two workspaces that restore through one access node at the same time.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::story::{Restore, instance};

fn begin(restore: &Restore) -> Child {
    let mut command = restore.command(&["apply", "--auto-approve", "--second-set"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What two workspaces come to that choose their slots in the same moment, of so many that there are;
/// the attachments that EC2 refused.
fn together(slots: usize) -> Vec<Value> {
    let first = Restore::new(json!({ "stuck": ["creating"] }), "", "");
    let second = first.another();
    let mut images = Vec::new();
    for (restore, seed) in [(&first, 1), (&second, 2)] {
        restore.configure_slots(slots, &instance("web", "  state = \"stopped\""));
        images.push(restore.workspace.raw_image("web.raw", 3, seed));
    }
    // Both have seen which slots are free when they wait for their volumes.
    let (mut one, mut other) = (begin(&first), begin(&second));
    let deadline = Instant::now() + Duration::from_secs(120);
    while first.cloud.parameters("CreateVolume").len() < 2 {
        assert!(Instant::now() < deadline, "{:#?}", first.cloud.calls());
        assert!(one.try_wait().unwrap().is_none() && other.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
    first.cloud.set(&json!({ "stuck": [] }));
    for child in [one, other] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let calls = first.cloud.calls();
    for (restore, image) in [(&first, &images[0]), (&second, &images[1])] {
        restore.assert_holds("instance.web.volume.root", image);
        restore.run(&["plan", "--detailed-exitcode"]).code(0);
    }
    first.assert_no_slot_is_taken();
    for restore in [&first, &second] {
        restore.destroy().success();
    }
    first.assert_nothing_is_left("the end");
    calls.into_iter().filter(|call| call["action"] == "AttachVolume" && call["status"] == 400).collect()
}

#[test]
fn two_workspaces_that_choose_the_same_slot_both_arrive() {
    assert!(!together(21).is_empty(), "they never met");
}

#[test]
fn the_only_slot_is_waited_for() {
    assert!(!together(1).is_empty(), "they never met");
}
