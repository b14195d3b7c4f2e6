//! `replant` from plan to destroy with provider "aws".

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::super::ec2::{Cloud, REGION, SECRET};
use crate::support::Workspace;
use crate::support::command::Output;

/// An instance without a guest that is looked into.
pub fn instance(name: &str, more: &str) -> String {
    format!(
        "instance \"{name}\" {{\n  image = \"{name}.raw\"\n  instance_type = \"m6i.large\"\n  guest {{ drivers = \"none\" }}\n  tags = {{ Name = \"{name}\" }}\n{more}\n}}\n"
    )
}

pub struct Restore {
    pub cloud: Cloud,
    pub workspace: Workspace,
}

impl Restore {
    pub fn new(settings: Value, provider: &str, instances: &str) -> Self {
        let cloud = Cloud::new(settings);
        let workspace = Workspace::new(&(cloud.blocks(provider) + instances));
        Self { cloud, workspace }
    }

    pub fn configure(&self, provider: &str, instances: &str) {
        self.workspace.configure(&(self.cloud.blocks(provider) + instances));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.command(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("AWS_ACCESS_KEY_ID", &self.cloud.key).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", self.workspace.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    pub fn apply(&self) -> Output {
        self.run(&["apply", "--auto-approve"])
    }

    /// What boto3 lists: volumes and instances that were not there before.
    pub fn listed(&self) -> (Vec<Value>, Vec<Value>) {
        let listed = boto3(&self.cloud.key);
        let gone = ["terminated", "shutting-down"];
        let not_before = |value: &Value, name: &str| {
            let id = value[name].as_str().unwrap();
            id != self.cloud.access_node && !self.cloud.volumes.iter().any(|volume| volume == id)
        };
        let all = |kind: &str, name: &str| -> Vec<Value> {
            let all = listed[kind].as_array().unwrap().iter();
            all.filter(|value| not_before(value, name)).cloned().collect()
        };
        let mut instances = all("instances", "InstanceId");
        instances.retain(|instance| !gone.contains(&instance["State"]["Name"].as_str().unwrap()));
        (all("volumes", "VolumeId"), instances)
    }

    pub fn volume(&self, address: &str) -> String {
        let state = self.workspace.state();
        state["resources"][address]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{address} in {state:#}"))
            .to_owned()
    }

    #[track_caller]
    pub fn assert_holds(&self, address: &str, image: &Path) {
        let volume = self.cloud.content(&self.volume(address));
        let size = fs::metadata(image).unwrap().len().to_string();
        let output = Command::new("cmp").args(["-n", &size]).arg(image).arg(&volume).output().unwrap();
        assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// No volume is left on the access node but its own.
    pub fn assert_no_slot_is_taken(&self) {
        assert_eq!(fs::read_dir(self.cloud.devices()).unwrap().count(), 0);
    }
}

pub fn boto3(key: &str) -> Value {
    let script = r#"
import boto3, json, sys
ec2 = boto3.client("ec2", endpoint_url=sys.argv[1], region_name=sys.argv[2],
                   aws_access_key_id=sys.argv[3], aws_secret_access_key=sys.argv[4])
pages = ec2.get_paginator("describe_instances").paginate()
instances = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
volumes = [v for page in ec2.get_paginator("describe_volumes").paginate() for v in page["Volumes"]]
for instance in instances:
    data = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")
    instance["UserData"] = data["UserData"].get("Value")
snapshots = [s for s in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] if s.get("Tags")]
images = ec2.describe_images(Owners=["self"])["Images"]
print(json.dumps({"instances": instances, "volumes": volumes, "snapshots": snapshots, "images": images}, default=str))
"#;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let output =
        Command::new(python).args(["-c", script, Cloud::url(), REGION, key, SECRET]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

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

    let (volumes, instances) = restore.listed();
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
    let (volumes, instances) = restore.listed();
    assert!(instances[0]["Tags"].to_string().contains("www"));
    assert!(volumes.iter().any(|volume| volume["Size"] == 3 && volume["VolumeType"] == "gp2"));

    restore.run(&["destroy", "--auto-approve"]).success();
    let (volumes, instances) = restore.listed();
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
    let blocks = restore.cloud.blocks("");
    let blocks = blocks
        .replace("instance_id =", "max_attachments = 2\n  instance_id =")
        .replace("{ max", "{\n  max")
        .replace("\" }\n", "\"\n}\n");
    restore.workspace.configure(&(blocks + &bodies));
    for (number, name) in names.iter().enumerate() {
        restore.workspace.raw_image(&format!("{name}.raw"), 4, number as u64 + 1);
    }
    restore.cloud.set(&json!({ "faults": { "seed": 7, "throttled": 40, "unavailable": 20, "lost": 40 } }));
    restore.apply().success();
    restore.cloud.set(&json!({ "faults": {} }));
    let (volumes, instances) = restore.listed();
    assert_eq!((volumes.len(), instances.len()), (6, 6), "no twin, no orphan");
    for name in &names {
        let image = restore.workspace.path().join(format!("{name}.raw"));
        restore.assert_holds(&format!("instance.{name}.volume.root"), &image);
    }
    restore.assert_no_slot_is_taken();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    restore.run(&["destroy", "--auto-approve"]).success();
    let (volumes, instances) = restore.listed();
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
    let (volumes, instances) = restore.listed();
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
    assert!(refused.stderr.contains("provider::unauthorized"), "{}", refused.both());
    assert!(refused.stderr.contains("no credentials were found"), "{}", refused.both());
    assert!(refused.stderr.contains("aws configure sso"), "{}", refused.both());
    // Rehearsing needs none.
    let mut command = restore.command(&["plan", "--rehearse"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    Output::of(command).success();
}

/// What somebody else did to the volume before anything of ours was on it.
#[test]
fn a_device_that_is_not_blank_not_free_or_not_the_volume_is_not_written() {
    let restore = Restore::new(json!({ "loops": true }), "", &instance("web", "  state = \"stopped\""));
    let image = restore.workspace.raw_image("web.raw", 4, 1);
    for (surprise, said) in [
        ("table", "a GPT partition table"),
        ("mounted", "is mounted at"),
        ("larger", "the volume 1073741824"),
    ] {
        restore.cloud.set(&json!({ "surprise": surprise }));
        let refused = restore.apply().code(1);
        let shown: String = refused.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(said), "{surprise}: {}", refused.both());
        let volume = restore.cloud.content(&restore.volume("instance.web.volume.root"));
        let before = volume.with_extension("before");
        let same = Command::new("cmp").arg(&before).arg(&volume).output().unwrap();
        assert!(same.status.success(), "{surprise}: {}", String::from_utf8_lossy(&same.stdout));
        restore.assert_no_slot_is_taken();
        restore.cloud.set(&json!({ "surprise": null }));
        restore.run(&["destroy", "--auto-approve"]).success();
    }
    // Without surprises the same block device is written.
    restore.apply().success();
    restore.assert_holds("instance.web.volume.root", &image);
    restore.run(&["destroy", "--auto-approve"]).success();
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

/// A metadata service of version 2 that says this machine is an instance.
fn metadata_service(instance: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let instance = instance.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !text.windows(4).any(|end| end == b"\r\n\r\n") {
                let got = stream.read(&mut buffer).unwrap_or(0);
                if got == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..got]);
            }
            let text = String::from_utf8_lossy(&text).to_lowercase();
            let (status, body) = if text.starts_with("put /latest/api/token") {
                ("200 OK", "the-token")
            } else if !text.contains("x-aws-ec2-metadata-token: the-token") {
                // Version 1 is switched off.
                ("401 Unauthorized", "")
            } else if text.starts_with("get /latest/meta-data/instance-id") {
                ("200 OK", instance.as_str())
            } else {
                ("404 Not Found", "")
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
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
    assert!(refused.stdout.contains("provider::device_refused"), "{}", refused.both());
    restore.workspace.configure(&blocks.replace(&own, "instance_id = \"self\""));
    apply(&metadata_service(&restore.cloud.access_node)).success();
    restore.assert_holds("instance.web.volume.root", &image);
}
