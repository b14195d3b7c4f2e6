//! The whole story of a restore with `replant` itself on EC2 that fails by a seed: throttling, 5xx,
//! replies that are lost after the effect, slow states, ids that are not known yet, pages.

use serde_json::json;

use super::story::{Listed, Restore, tags};
use crate::support::command::Output;
use crate::support::seeds;

/// Runs that may fail before one must arrive without faults.
const TRIES: usize = 6;

/// Data that a seed makes may look like any format.
fn configuration(two: bool, changed: bool) -> String {
    let (tag, size) = if changed { ("changed", 2) } else { ("new", 1) };
    let mut text = format!(
        "instance \"web\" {{\n  instance_type = \"m6i.large\"\n  user_data = \"#!/bin/sh\\n\"\n  guest {{ drivers = \"none\" }}\n  disk \"root\" {{\n    image = \"root.raw\"\n    format = \"raw\"\n    restore_throughput = 500\n  }}\n  disk \"data\" {{\n    image = \"data.raw\"\n    format = \"raw\"\n    size = {size}\n  }}\n  tags = {{ Name = \"{tag}\" }}\n}}\n"
    );
    if two {
        text.push_str(
            "instance \"db\" {\n  image = \"root.raw\"\n  image_format = \"raw\"\n  instance_type = \"m6i.large\"\n  state = \"stopped\"\n  guest { drivers = \"none\" }\n}\n",
        );
    }
    text
}

/// The cloud's faults, and how often the SDK tries a call.
fn faults(seed: u64) -> (serde_json::Value, String) {
    let faults = json!({
        "seed": seed,
        "throttled": 20 + 40 * (seed % 3),
        "unavailable": 40 * (seed / 3 % 3),
        "lost": 20 + 40 * (seed / 5 % 3),
    });
    let attempts = [10, 3, 2][(seed / 2 % 3) as usize];
    let settings = json!({ "faults": faults, "hide": seed / 7 % 4, "page": seed / 11 % 2 * 2 });
    (settings, format!("  max_attempts = {attempts}"))
}

fn arrive(restore: &Restore, destroy: bool, faults: &serde_json::Value) {
    let run = || if destroy { restore.destroy() } else { restore.apply() };
    restore.cloud.set(faults);
    let may_fail =
        |output: &Output| ["provider::unavailable"].iter().any(|code| output.both().contains(code));
    for _ in 0..TRIES {
        let output = run();
        if output.code == 0 {
            break;
        }
        assert!(may_fail(&output), "{}", output.both());
    }
    restore.cloud.set(&json!({ "faults": {} }));
    run().success();
    let again = run().success();
    assert!(again.both().contains("No changes."), "{}", again.both());
}

fn story(seed: u64) {
    let two = seed.is_multiple_of(2);
    let (faults, provider) = faults(seed);
    let restore = Restore::new(json!({ "delay": (seed % 2) as f64 * 0.05 }), "", "");
    let root = restore.workspace.raw_image("root.raw", 2, seed + 1);
    let data = restore.workspace.raw_image("data.raw", 1, seed + 2);
    for changed in [false, true] {
        restore.configure(&provider, &configuration(two, changed));
        arrive(&restore, false, &faults);
        let Listed { volumes, instances, snapshots } = restore.listed();
        let counts = (volumes.len(), instances.len(), snapshots.len());
        let wanted = if two { (3, 2, 0) } else { (2, 1, 0) };
        assert_eq!(counts, wanted, "{volumes:#?} {instances:#?}");
        restore.assert_holds("instance.web.volume.root", &root);
        restore.assert_holds("instance.web.volume.data", &data);
        if two {
            restore.assert_holds("instance.db.volume.root", &root);
        }
        restore.assert_no_slot_is_taken();
        for volume in &volumes {
            assert_eq!((&volume["Iops"], &volume["Throughput"]), (&3000.into(), &125.into()), "{volume:#}");
        }
        let web = instances.iter().find(|instance| tags(instance).contains_key("Name")).unwrap();
        assert_eq!(web["UserData"], "IyEvYmluL3NoCg==");
        assert_eq!(tags(web)["Name"], if changed { "changed" } else { "new" });
    }
    arrive(&restore, true, &faults);
    restore.assert_nothing_is_left("the end");
}

#[test]
fn a_restore_arrives_whatever_fails() {
    seeds::each("provider::aws::seeds::a_restore_arrives_whatever_fails", 30, 10, story);
}
