//! Promise 2 on EC2: `kill -9` at any call, before its effect or after it, loses nothing and makes
//! nothing twice. boto3 is the witness.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::story::{Listed, Restore, mapped, tags};

const CONFIGURATION: &str = r##"
instance "web" {
  instance_type = "m6i.large"
  user_data     = "#!/bin/sh\n"
  guest { drivers = "none" }
  disk "root" {
    image              = "root.raw"
    restore_throughput = 500
    tags               = { Role = "root" }
  }
  disk "data" { image = "data.raw" }
  tags = { Name = "web" }
}
"##;

fn restore(settings: Value) -> Restore {
    let restore = Restore::new(settings, "", CONFIGURATION);
    restore.workspace.raw_image("root.raw", 3, 1);
    restore.workspace.raw_image("data.raw", 2, 2);
    restore
}

const APPLY: [&str; 2] = ["apply", "--auto-approve"];
const DESTROY: [&str; 2] = ["destroy", "--auto-approve"];

/// A moment at which a run ends: which of its calls, and whether that has its effect.
#[derive(Debug, Clone, Copy)]
struct Moment {
    call: usize,
    after: bool,
}

/// Every changing call of a whole run from both sides, and each `nth` of the others, where only the
/// journal has moved on.
fn moments(calls: &[Value], nth: usize) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let call_number = index + 1;
        if !call["action"].as_str().unwrap().starts_with("Describe") {
            moments.extend([false, true].map(|after| Moment { call: call_number, after }));
        } else if call_number.is_multiple_of(nth) {
            moments.push(Moment { call: call_number, after: false });
        }
    }
    moments
}

/// Two at a time, since most of the time is spent in pauses.
fn at_each(moments: &[Moment], story: impl Fn(Moment) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(moment) = moments.get(next.fetch_add(1, Ordering::Relaxed)) {
                    story(*moment);
                }
            });
        }
    });
}

#[track_caller]
fn assert_one_of_everything(restore: &Restore, when: &str) {
    let Listed { volumes, instances, snapshots } = restore.listed();
    let counts = (volumes.len(), instances.len(), snapshots.len());
    assert_eq!(counts, (2, 1, 0), "{when}: {volumes:#?} {instances:#?}");
    let (root, data) =
        (restore.volume("instance.web.volume.root"), restore.volume("instance.web.volume.data"));
    let places = mapped(&instances[0]);
    let wanted = [("/dev/sdf", data.as_str()), ("/dev/xvda", root.as_str())];
    let wanted = wanted.map(|(device, volume)| (device.to_owned(), (volume.to_owned(), true)));
    assert_eq!(places, wanted.into(), "{when}");
    assert_eq!(instances[0]["State"]["Name"], "running", "{when}");
    assert_eq!(instances[0]["UserData"], "IyEvYmluL3NoCg==", "{when}");
    assert_eq!(tags(&instances[0]), [("Name".to_owned(), "web".to_owned())].into(), "{when}");
    for volume in &volumes {
        let performance = (volume["Iops"].as_u64(), volume["Throughput"].as_u64());
        assert_eq!(performance, (Some(3000), Some(125)), "{when}: {volume:#}");
        let has_role = tags(volume).contains_key("Role");
        assert_eq!(has_role, volume["VolumeId"] == root.as_str(), "{when}: {volume:#}");
    }
    restore.assert_holds("instance.web.volume.root", &restore.workspace.path().join("root.raw"));
    restore.assert_holds("instance.web.volume.data", &restore.workspace.path().join("data.raw"));
    restore.assert_no_slot_is_taken();
    let plan = restore.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(plan.code, 0, "{when}: {}", plan.both());
}

fn applied_again(restore: &Restore, when: &str) {
    let again = restore.apply();
    assert_eq!(again.code, 0, "{when}: {}", again.both());
    assert_one_of_everything(restore, when);
}

#[test]
fn killed_at_every_call_that_changes_something_and_applied_again() {
    let whole = restore(json!({}));
    whole.apply().success();
    let moments = moments(&whole.cloud.calls(), 4);
    assert!(moments.len() > 40, "{moments:?}");
    at_each(&moments, |moment| {
        let restore = restore(json!({}));
        restore.killed_at(&APPLY, moment.call, moment.after);
        applied_again(&restore, &format!("after {moment:?}"));
    });
}

#[test]
fn killed_again_and_again_it_still_arrives() {
    let restore = restore(json!({ "delay": 0.05 }));
    for call in [7, 12, 9, 17, 11, 23, 14, 29, 31] {
        restore.killed_at(&APPLY, call, call % 2 == 0);
    }
    applied_again(&restore, "many kills");
}

#[test]
fn a_killed_destroy_is_finished() {
    let whole = restore(json!({}));
    whole.apply().success();
    let before = whole.cloud.calls().len();
    whole.destroy().success();
    let moments = moments(&whole.cloud.calls()[before..], 5);
    assert!(moments.len() > 12, "{moments:?}");
    at_each(&moments, |moment| {
        let restore = restore(json!({}));
        restore.apply().success();
        restore.killed_at(&DESTROY, moment.call, moment.after);
        let again = restore.destroy();
        assert_eq!(again.code, 0, "after {moment:?}: {}", again.both());
        restore.assert_nothing_is_left(&format!("after {moment:?}"));
    });
}

/// Whoever changes his mind in the middle of a `destroy` gets back what is not gone, as it was, and the
/// rest restored anew.
#[test]
fn a_killed_destroy_is_taken_back_by_apply() {
    let whole = restore(json!({}));
    whole.apply().success();
    let before = whole.cloud.calls().len();
    whole.destroy().success();
    let moments = moments(&whole.cloud.calls()[before..], 6);
    assert!(moments.len() > 12, "{moments:?}");
    at_each(&moments, |moment| {
        let restore = restore(json!({ "delay": 0.05 }));
        restore.apply().success();
        let (root, web) = (restore.volume("instance.web.volume.root"), restore.volume("instance.web"));
        restore.killed_at(&DESTROY, moment.call, moment.after);
        let listed = restore.listed();
        let is_there = |all: &[Value], key: &str, id: &str| all.iter().any(|one| one[key] == id);
        let left =
            (is_there(&listed.volumes, "VolumeId", &root), is_there(&listed.instances, "InstanceId", &web));
        applied_again(&restore, &format!("destroy was cut off at {moment:?}"));
        let is = (restore.volume("instance.web.volume.root") == root, restore.volume("instance.web") == web);
        // What was just about to go may have gone.
        assert!(left.0 >= is.0 && left.1 >= is.1, "{moment:?}: {left:?} {is:?}");
        let terminates =
            restore.cloud.parameters("TerminateInstances").iter().any(|p| p["InstanceId.1"] == web);
        assert!(is.1 || terminates, "{moment:?}: it was replaced");
    });
}

/// The calls of a whole run that make something.
fn making(nth: usize) -> Vec<Moment> {
    let whole = restore(json!({}));
    whole.apply().success();
    let calls = whole.cloud.calls();
    let makes = |call: &Value| ["CreateVolume", "RunInstances"].contains(&call["action"].as_str().unwrap());
    let numbers: Vec<usize> =
        calls.iter().enumerate().filter(|(_, call)| makes(call)).map(|(n, _)| n + 1).collect();
    assert_eq!(numbers.len(), 3);
    numbers.into_iter().map(|number| Moment { call: number + nth, after: nth == 0 }).collect()
}

/// "Eventual consistency": what was made right before the end is not described at first.
#[test]
fn what_is_not_known_everywhere_yet_is_not_made_again() {
    let moments: Vec<Moment> = [0, 1, 2].into_iter().flat_map(making).collect();
    at_each(&moments, |moment| {
        let restore = restore(json!({ "hide": 4 }));
        restore.killed_at(&APPLY, moment.call, moment.after);
        applied_again(&restore, &format!("after {moment:?}, while new ids are hidden"));
    });
}

/// Client tokens are kept for a day; who comes back later finds by its tags what was begun.
#[test]
fn what_was_begun_is_found_when_its_token_is_forgotten() {
    at_each(&making(0), |moment| {
        let restore = restore(json!({}));
        assert!(restore.killed_at(&APPLY, moment.call, moment.after));
        restore.cloud.set(&json!({ "forgets": true }));
        applied_again(&restore, &format!("after {moment:?}, tokens being forgotten"));
    });
}

/// Credentials that have expired say nothing of what was begun.
#[test]
fn what_was_begun_is_not_given_up_by_whoever_may_not_ask() {
    let restore = restore(json!({}));
    assert!(restore.killed_at(&APPLY, making(0)[0].call, true));
    let mut command = restore.command(&APPLY);
    command.env("AWS_ACCESS_KEY_ID", "AKIANOBODY");
    let refused = crate::support::command::Output::of(command).code(1);
    assert!(refused.both().contains("provider::unauthorized"), "{}", refused.both());
    applied_again(&restore, "a run without permission");
}
