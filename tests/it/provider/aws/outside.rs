//! What somebody else does to a restored machine by EC2's own calls, and what plan and apply make of it.

use replant::provider::types::Protection;
use replant::provider::{Filter, InstanceId, Provider};
use serde_json::{Value, json};

use super::super::conformance::run;
use super::story::{Restore, instance, mapped};
use crate::support::command::Output;

fn web() -> Restore {
    let body = instance("web", "  disk \"root\" {}\n  disk \"data\" {\n    image = \"data.raw\"\n  }\n");
    let restore = Restore::new(json!({ "delay": 0.05 }), "", &body);
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.workspace.raw_image("data.raw", 3, 2);
    restore.apply().success();
    restore
}

/// What boto3 says of the one instance.
fn described(restore: &Restore) -> Value {
    let mut instances = restore.listed().instances;
    assert_eq!(instances.len(), 1, "{instances:#?}");
    instances.remove(0)
}

fn modify(restore: &Restore, attribute: &str, value: bool) {
    let mut params = json!({ "InstanceId": restore.volume("instance.web") });
    params[format!("{attribute}.Value")] = json!(value.to_string());
    restore.cloud.elsewhere("ModifyInstanceAttribute", &params);
}

/// What was said, without its line breaks.
fn words(output: &Output) -> String {
    output.both().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_untouched(restore: &Restore, stops: usize) {
    let web = described(restore);
    assert_eq!((&web["State"]["Name"], mapped(&web).len()), (&json!("running"), 2), "{web:#}");
    assert_eq!(restore.cloud.parameters("StopInstances").len(), stops);
    assert!(restore.cloud.parameters("TerminateInstances").is_empty());
}

#[test]
fn an_instance_that_somebody_protects_is_not_taken_apart() {
    let restore = web();
    let stops = restore.cloud.parameters("StopInstances").len();
    for (attribute, option) in [
        ("DisableApiTermination", "--no-disable-api-termination"),
        ("DisableApiStop", "--no-disable-api-stop"),
    ] {
        modify(&restore, attribute, true);
        for arguments in [
            &["destroy", "--auto-approve"][..],
            &["apply", "--auto-approve", "--replace", "instance.web"],
            &["plan", "--destroy"],
        ] {
            let refused = restore.run(arguments).code(1);
            for part in ["plan::termination_protection", "outside Replant", option] {
                assert!(words(&refused).contains(part), "{arguments:?}: {}", refused.both());
            }
        }
        assert_untouched(&restore, stops);
        modify(&restore, attribute, false);
        // Set after the plan was made.
        restore.run(&["plan", "--destroy", "--out", "end.plan"]).success();
        modify(&restore, attribute, true);
        let refused = restore.run(&["apply", "end.plan"]).code(1);
        for part in ["apply::protected", option] {
            assert!(words(&refused).contains(part), "{}", refused.both());
        }
        assert_untouched(&restore, stops);
        // It is a difference like any other, and taken off by whoever applies the configuration.
        let plan = restore.run(&["plan", "--detailed-exitcode"]).code(2);
        assert!(plan.stdout.contains("was changed outside Replant"), "{}", plan.stdout);
        restore.apply().success();
        restore.run(&["plan", "--detailed-exitcode"]).code(0);
    }
    restore.destroy().success();
    restore.assert_nothing_is_left("after the protection was taken off");
}

/// Between a plan and its approval hours may pass, in one process.
#[test]
fn a_protection_is_asked_for_anew() {
    let restore = web();
    let aws = super::open(&restore.cloud);
    let id = InstanceId(restore.volume("instance.web"));
    run(async {
        let seen = aws.instances(&Filter::id(&id)).await.unwrap().remove(0);
        assert!(!seen.termination_protection && !seen.options.disable_api_stop);
        modify(&restore, "DisableApiTermination", true);
        modify(&restore, "DisableApiStop", true);
        let now = aws.protection(&id).await.unwrap();
        assert!(now.termination && now.stop, "{now:?}");
        let nobody = InstanceId("i-0123456789abcdef0".to_owned());
        assert_eq!(aws.protection(&nobody).await.unwrap(), Protection::default());
    });
}

/// A stop protection of the configuration is no reason to keep what shall end.
#[test]
fn the_configuration_s_own_stop_protection_ends_with_the_instance() {
    let restore = Restore::new(json!({}), "", &instance("web", "  disable_api_stop = true\n"));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.apply().success();
    restore.destroy().success();
    restore.assert_nothing_is_left("with stop protection");
}

#[test]
fn volumes_that_somebody_detaches_are_put_back() {
    let restore = web();
    let places = mapped(&described(&restore));
    let (web, root, data) = (
        restore.volume("instance.web"),
        restore.volume("instance.web.volume.root"),
        restore.volume("instance.web.volume.data"),
    );
    let detach = |volume: &str| {
        restore.cloud.elsewhere("DetachVolume", &json!({ "VolumeId": volume, "InstanceId": web }));
    };
    let stops = restore.cloud.parameters("StopInstances").len();
    detach(&data);
    let plan = restore.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("volume data is detached"), "{}", plan.stdout);
    assert!(plan.stdout.contains("1 to change, 0 to replace, 0 to destroy"), "{}", plan.stdout);
    assert!(!plan.stdout.contains("stopped for this change"), "{}", plan.stdout);
    restore.apply().success();
    assert_eq!(mapped(&described(&restore)), places, "at its place, with its fate");
    assert_eq!(restore.cloud.parameters("StopInstances").len(), stops, "while the guest runs");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);

    // A root comes off only what is stopped.
    restore.cloud.elsewhere("StopInstances", &json!({ "InstanceId.1": web }));
    detach(&root);
    detach(&data);
    let plan = restore.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("volumes root, data are detached"), "{}", plan.stdout);
    restore.apply().success();
    assert_eq!(mapped(&described(&restore)), places);
    assert_eq!(described(&restore)["State"]["Name"], "running");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);

    // Where somebody else has put it, it stays.
    detach(&data);
    let node = &restore.cloud.access_node;
    let elsewhere = json!({ "VolumeId": data, "InstanceId": node, "Device": "/dev/sdb" });
    restore.cloud.elsewhere("AttachVolume", &elsewhere);
    let refused = restore.apply().code(1);
    assert!(refused.both().contains("apply::access_nodes_own"), "{}", refused.both());
    restore.cloud.elsewhere("DetachVolume", &json!({ "VolumeId": data, "InstanceId": node }));
    // Its name is taken by a volume of somebody else's.
    let foreign = restore.cloud.elsewhere(
        "CreateVolume",
        &json!({ "Size": "1", "AvailabilityZone": "eu-central-1a", "VolumeType": "gp3" }),
    );
    let foreign = foreign.split("<volumeId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    let taken = json!({ "VolumeId": foreign, "InstanceId": web, "Device": "/dev/sdf" });
    restore.cloud.elsewhere("AttachVolume", &taken);
    restore.apply().success();
    let now = mapped(&described(&restore));
    assert_eq!(now["/dev/sdg"], (data, true), "{now:?}");
    assert_eq!(now["/dev/sdf"].0, foreign, "{now:?}");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
}

/// Whether a volume ends with its instance is EC2's to do, so it is EC2's word that counts.
#[test]
fn what_becomes_of_a_volume_is_looked_at_and_set() {
    let restore = web();
    let web = restore.volume("instance.web");
    let fate = || mapped(&described(&restore))["/dev/sdf"].1;
    let keep = |keep: &str| {
        let disk = format!("    image = \"data.raw\"\n{keep}");
        instance("web", &format!("  disk \"root\" {{}}\n  disk \"data\" {{\n{disk}\n  }}\n"))
    };
    restore.configure("", &keep("    delete_on_termination = false"));
    restore.apply().success();
    assert!(!fate(), "the configuration reaches EC2");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    restore.cloud.elsewhere(
        "ModifyInstanceAttribute",
        &json!({
            "InstanceId": web,
            "BlockDeviceMapping.1.DeviceName": "/dev/sdf",
            "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
        }),
    );
    assert!(fate());
    let plan = restore.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("delete_on_termination"), "{}", plan.stdout);
    assert!(plan.stdout.contains("was changed outside Replant"), "{}", plan.stdout);
    restore.apply().success();
    assert!(!fate());
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
}

/// A profile is changed by an association of its own, while the instance is what it was.
#[test]
fn an_instance_profile_is_changed_in_place() {
    let of = |profile: &str| instance("web", &format!("  iam_instance_profile = \"{profile}\"\n"));
    let restore = Restore::new(json!({ "delay": 0.05 }), "", &of("web"));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.apply().success();
    let web = restore.volume("instance.web");
    let has = || {
        described(&restore)["IamInstanceProfile"]["Arn"]
            .as_str()
            .map(|arn| arn.rsplit('/').next().unwrap().to_owned())
    };
    let reached = |wanted: Option<&str>| {
        let plan = restore.run(&["plan", "--detailed-exitcode"]).code(2);
        assert!(plan.stdout.contains("1 to change, 0 to replace, 0 to destroy"), "{}", plan.stdout);
        restore.apply().success();
        assert_eq!(has().as_deref(), wanted);
        assert_eq!(restore.volume("instance.web"), web);
        restore.run(&["plan", "--detailed-exitcode"]).code(0);
    };
    assert_eq!(has().as_deref(), Some("web"));
    // Another, while it runs; and by its ARN.
    restore.configure("", &of("ops"));
    reached(Some("ops"));
    let replaced = &restore.cloud.parameters("ReplaceIamInstanceProfileAssociation")[0];
    assert_eq!(replaced["IamInstanceProfile.Name"], "ops");
    assert!(replaced["AssociationId"].as_str().unwrap().starts_with("iip-assoc-"), "{replaced}");
    let asked = &restore.cloud.parameters("DescribeIamInstanceProfileAssociations")[0];
    assert_eq!(
        (&asked["Filter.1.Name"], &asked["Filter.1.Value.1"]),
        (&json!("instance-id"), &json!(web)),
        "{asked}"
    );
    restore.configure("", &of("arn:aws:iam::123456789012:instance-profile/team/db"));
    reached(Some("db"));
    // None, and again one.
    restore.configure("", &instance("web", ""));
    reached(None);
    let taken = &restore.cloud.parameters("DisassociateIamInstanceProfile")[0];
    assert!(taken["AssociationId"].as_str().unwrap().starts_with("iip-assoc-"), "{taken}");
    restore.configure("", &of("web"));
    reached(Some("web"));
    let given = &restore.cloud.parameters("AssociateIamInstanceProfile")[0];
    assert_eq!((&given["InstanceId"], &given["IamInstanceProfile.Name"]), (&json!(web), &json!("web")));
    // What somebody else gives it is seen, and taken back.
    restore.cloud.set(&json!({ "associate": { &web: "theirs" } }));
    assert_eq!(has().as_deref(), Some("theirs"));
    reached(Some("web"));
    // One that is stopped has to lose the old one first.
    restore.configure("", &of("ops").replace("  iam", "  state = \"stopped\"\n  iam"));
    reached(Some("ops"));
    assert_eq!(described(&restore)["State"]["Name"], "stopped");
    assert_eq!(restore.cloud.parameters("DisassociateIamInstanceProfile").len(), 2);
    // A profile that nobody asked for is somebody else's.
    let restore = Restore::new(json!({}), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.apply().success();
    restore.cloud.set(&json!({ "associate": { restore.volume("instance.web"): "theirs" } }));
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
}
