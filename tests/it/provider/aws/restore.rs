//! `replant` from plan to destroy with provider "aws".

use serde_json::{Value, json};

use super::super::ec2::{Cloud, REGION};
use super::story::{Listed, Restore, instance, metadata_service};
use crate::support::command::Output;

#[test]
fn a_machine_is_restored_by_the_swap_and_destroyed_without_a_trace() {
    let restore = Restore::new(json!({ "delay": 0.2 }), "  default_tags = { Team = \"dr\" }", "");
    let address = restore.cloud.address(&format!("{REGION}a"), 99);
    let subnet = restore.cloud.subnet(&format!("{REGION}a")).to_owned();
    let more = format!(
        "  subnet_id = \"{subnet}\"\n  private_ip = \"{address}\"\n  user_data = \"#!/bin/sh\\n\"\n  termination_protection = false\n  disk \"data\" {{\n    image = \"data.raw\"\n    type = \"gp2\"\n    size = 2\n    delete_on_termination = false\n  }}\n"
    );
    let body = instance("web", &more).replace("image = \"web.raw\"", "disk \"root\" { image = \"web.raw\" }")
        + "output \"ip\" { value = instance.web.private_ip }\n";
    restore.configure("  default_tags = { Team = \"dr\" }", &body);
    let root = restore.workspace.raw_image("web.raw", 9, 1);
    let data = restore.workspace.raw_image("data.raw", 5, 2);

    let plan = restore.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("Plan: 1 to restore, 2 volumes to create"), "{}", plan.stdout);
    assert!(plan.stdout.contains("\"Team\"") || plan.stdout.contains("Team"), "{}", plan.stdout);
    let changing = |call: &Value| !call["action"].as_str().unwrap().starts_with("Describe");
    assert!(!restore.cloud.calls().iter().any(changing), "a plan makes nothing");

    let applied = restore.apply().success();
    assert!(applied.stdout.contains("Apply complete!"), "{}", applied.both());
    assert!(applied.stdout.contains("status checks passed"), "{}", applied.both());
    restore.assert_holds("instance.web.volume.root", &root);
    restore.assert_holds("instance.web.volume.data", &data);
    restore.assert_no_slot_is_taken();

    let Listed { volumes, instances, .. } = restore.listed();
    assert_eq!((volumes.len(), instances.len()), (2, 1), "the stub's own root is gone: {volumes:#?}");
    let web = &instances[0];
    assert_eq!(web["State"]["Name"], "running");
    assert_eq!(web["PrivateIpAddress"], address.to_string());
    assert_eq!(web["UserData"], "IyEvYmluL3NoCg==");
    assert_eq!(web["MetadataOptions"]["HttpTokens"], "required");
    let mut mapped: Vec<(&str, &str, bool)> = web["BlockDeviceMappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mapping| {
            (
                mapping["DeviceName"].as_str().unwrap(),
                mapping["Ebs"]["VolumeId"].as_str().unwrap(),
                mapping["Ebs"]["DeleteOnTermination"].as_bool().unwrap(),
            )
        })
        .collect();
    mapped.sort_unstable();
    let (root_id, data_id) =
        (restore.volume("instance.web.volume.root"), restore.volume("instance.web.volume.data"));
    assert_eq!(mapped, [("/dev/sdf", data_id.as_str(), false), ("/dev/xvda", root_id.as_str(), true)]);
    for resource in volumes.iter().chain(&instances) {
        let tags = resource["Tags"].to_string();
        for tag in ["Team", "replant:workspace", "replant:address", "replant:token"] {
            assert!(tags.contains(tag), "{tag} in {tags}");
        }
    }
    // The guest's user data is set when the guest is in place.
    let calls = restore.cloud.calls();
    let position = |action: &str, has: &str| {
        calls
            .iter()
            .rposition(|call| call["action"] == action && call["params"].get(has).is_some())
            .unwrap_or_else(|| panic!("{action} {has}"))
    };
    assert!(position("AttachVolume", "Device") < position("ModifyInstanceAttribute", "UserData.Value"));
    assert!(restore.cloud.parameters("RunInstances")[0].get("UserData").is_none());

    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    // What is changed outside shows, and is put right.
    restore.cloud.set(&json!({}));
    let changed = body.replace("Name = \"web\"", "Name = \"www\"").replace("size = 2", "size = 3");
    restore.configure("  default_tags = { Team = \"dr\" }", &changed);
    let updated = restore.apply().success();
    assert!(updated.stdout.contains("Apply complete!"), "{}", updated.both());
    let Listed { volumes, instances, .. } = restore.listed();
    assert!(instances[0]["Tags"].to_string().contains("www"));
    assert!(volumes.iter().any(|volume| volume["Size"] == 3 && volume["VolumeType"] == "gp2"));

    restore.run(&["destroy", "--auto-approve"]).success();
    let Listed { volumes, instances, .. } = restore.listed();
    // What does not end with its instance stays, and nothing else.
    let ids: Vec<&str> = volumes.iter().map(|volume| volume["VolumeId"].as_str().unwrap()).collect();
    assert_eq!((ids, instances.len()), (vec![data_id.as_str()], 0));
    restore.assert_no_slot_is_taken();
}

#[test]
fn many_machines_pass_through_few_slots_with_faults() {
    let names: Vec<String> = (0..6).map(|number| format!("m{number}")).collect();
    let bodies: String = names.iter().map(|name| instance(name, "  state = \"stopped\"")).collect();
    let restore = Restore::new(json!({ "delay": 0.1 }), "", "");
    restore.configure_slots(2, &bodies);
    for (number, name) in names.iter().enumerate() {
        restore.workspace.raw_image(&format!("{name}.raw"), 4, number as u64 + 1);
    }
    restore.cloud.set(&json!({ "faults": { "seed": 7, "throttled": 40, "unavailable": 20, "lost": 40 } }));
    restore.apply().success();
    restore.cloud.set(&json!({ "faults": {} }));
    let Listed { volumes, instances, .. } = restore.listed();
    assert_eq!((volumes.len(), instances.len()), (6, 6), "no twin, no orphan");
    for name in &names {
        let image = restore.workspace.path().join(format!("{name}.raw"));
        restore.assert_holds(&format!("instance.{name}.volume.root"), &image);
    }
    restore.assert_no_slot_is_taken();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    restore.run(&["destroy", "--auto-approve"]).success();
    let Listed { volumes, instances, .. } = restore.listed();
    assert_eq!((volumes.len(), instances.len()), (0, 0));
}

#[test]
fn a_guest_that_does_not_answer_leaves_everything_in_place() {
    let restore = Restore::new(json!({ "delay": 0.1 }), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    restore.cloud.set(&json!({
        "impaired": ["*"],
        "console": "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n",
    }));
    let failed = restore.apply().code(1);
    for said in ["apply::boot_failed", "no root filesystem", "Unable to mount root fs"] {
        assert!(failed.stdout.contains(said), "{}", failed.both());
    }
    let Listed { volumes, instances, .. } = restore.listed();
    assert_eq!((volumes.len(), instances.len()), (1, 1));
    restore.cloud.set(&json!({ "impaired": [] }));
    restore.apply().success();
}

#[test]
fn missing_credentials_are_explained() {
    let restore = Restore::new(json!({}), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    let mut command = restore.command(&["plan"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let refused = Output::of(command).code(1);
    assert!(refused.stderr.contains("provider::no_credentials"), "{}", refused.both());
    assert!(refused.stderr.contains("no credentials were found"), "{}", refused.both());
    assert!(refused.stderr.contains("aws configure sso"), "{}", refused.both());
    // Rehearsing needs none.
    let mut command = restore.command(&["plan", "--rehearse"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    Output::of(command).success();
}

#[test]
fn a_role_is_taken_before_ec2_is_called() {
    let role = "  assume_role {\n    role_arn = \"arn:aws:iam::123456789012:role/restore\"\n    external_id = \"partner-7\"\n    session_name = \"drill\"\n  }";
    let restore = Restore::new(json!({}), role, &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    let mut command = restore.command(&["plan"]);
    command.env("AWS_ENDPOINT_URL_STS", Cloud::url());
    Output::of(command).success();
    let taken = &restore.cloud.parameters("AssumeRole")[0];
    assert_eq!(taken["RoleArn"], "arn:aws:iam::123456789012:role/restore");
    assert_eq!((&taken["ExternalId"], &taken["RoleSessionName"]), (&json!("partner-7"), &json!("drill")));
}

#[test]
fn the_access_node_knows_itself() {
    let restore = Restore::new(json!({ "type": "m4.large" }), "", "");
    let own = format!("instance_id = \"{}\"", restore.cloud.access_node);
    let blocks = restore.cloud.blocks("") + &instance("web", "  state = \"stopped\"");
    let image = restore.workspace.raw_image("web.raw", 4, 1);

    restore.workspace.configure(&blocks.replace(&own, "instance_id = \"self\""));
    let mut command = restore.command(&["plan"]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let refused = Output::of(command).code(1);
    assert!(refused.stderr.contains("instance metadata service"), "{}", refused.both());

    // On a Xen type a device has no mark but its name: the machine itself is proven.
    restore.workspace.configure(&blocks);
    let apply = |url: &str| {
        let mut command = restore.command(&["apply", "--auto-approve"]);
        command.env_remove("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
        Output::of(command)
    };
    let refused = apply(&metadata_service("i-0aaaaaaaaaaaaaaaa")).code(1);
    assert!(refused.stderr.contains("aws::not_the_access_node"), "{}", refused.both());
    assert!(restore.cloud.parameters("CreateVolume").is_empty(), "nothing is made elsewhere");
    restore.workspace.configure(&blocks.replace(&own, "instance_id = \"self\""));
    apply(&metadata_service(&restore.cloud.access_node)).success();
    restore.assert_holds("instance.web.volume.root", &image);
}
