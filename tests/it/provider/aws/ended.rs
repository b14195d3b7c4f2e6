//! Instances that EC2 gives up by itself: the run ends at once, with EC2's reason and what to do.

use std::time::{Duration, Instant};

use serde_json::json;

use super::story::{Restore, instance};

const KEY: &str = "Client.InternalError";

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn restore(fails: &serde_json::Value) -> Restore {
    let restore = Restore::new(json!({ "delay": 0.2, "fails": fails }), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore
}

#[test]
fn a_stub_that_ends_while_it_is_pending_says_why() {
    for (code, message, helps, again) in [
        (
            KEY,
            "Client.InternalError: Client error on launch",
            "aws kms describe-key",
            "Client error on launch",
        ),
        (
            "Client.VolumeLimitExceeded",
            "Volume limit exceeded",
            "quota of EBS storage",
            "VolumeLimitExceeded",
        ),
        ("Server.InternalError", "Internal error on launch", "apply again later", "Server.InternalError"),
    ] {
        let restore = restore(&json!({ "launch": { "code": code, "message": message } }));
        let begun = Instant::now();
        let failed = restore.apply().code(1);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        let said = flat(&failed.both());
        for words in ["apply::instance_ended", "should run and is terminated", helps, again] {
            assert!(said.contains(words), "{words}: {}", failed.both());
        }
        // Nothing is in the way of the next one.
        restore.cloud.set(&json!({ "fails": {} }));
        restore.apply().success();
        restore.assert_no_slot_is_taken();
        let listed = restore.listed();
        assert_eq!((listed.volumes.len(), listed.instances.len()), (1, 1));
        restore.destroy().success();
        restore.assert_nothing_is_left(code);
    }
}

#[test]
fn an_instance_that_falls_back_to_stopped_did_not_stop_by_itself() {
    let message = "Client.InternalError: Client error on launch";
    let restore = restore(&json!({ "start": { "code": KEY, "message": message } }));
    let failed = restore.apply().code(1);
    let said = flat(&failed.both());
    for words in ["apply::instance_ended", "should run and is stopped", message, "aws kms describe-key"] {
        assert!(said.contains(words), "{words}: {}", failed.both());
    }
    assert!(!said.contains("it stopped by itself"), "{}", failed.both());
    restore.cloud.set(&json!({ "fails": {} }));
    restore.apply().success();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
}
