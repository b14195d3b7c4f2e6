//! What a plan finds before anything is made.

use serde_json::{Value, json};

use super::super::ec2::{Cloud, REGION};
use super::story::{Restore, instance, metadata_service};
use crate::support::command::Output;

fn zone(letter: char) -> String {
    format!("{REGION}{letter}")
}

/// A resource that somebody else makes; its id.
fn made(cloud: &Cloud, action: &str, params: &Value, element: &str) -> String {
    let answer = cloud.elsewhere(action, params);
    let (_, rest) =
        answer.split_once(&format!("<{element}>")).unwrap_or_else(|| panic!("{element} in {answer}"));
    rest.split('<').next().unwrap().to_owned()
}

/// What the plan says of one instance with these attributes in a cloud of these settings.
fn said_of(settings: Value, attributes: impl FnOnce(&Cloud) -> String) -> (Restore, Output) {
    let restore = Restore::new(settings, "", "");
    let attributes = attributes(&restore.cloud);
    restore.configure("", &instance("web", &attributes));
    restore.workspace.raw_image("web.raw", 4, 1);
    let output = restore.run(&["plan"]);
    (restore, output)
}

/// Text without its line breaks, which depend on the width.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_says(output: &Output, words: &[&str]) {
    let shown = flat(&output.both());
    for word in words {
        assert!(shown.contains(word), "no `{word}` in\n{}", output.both());
    }
}

/// Every changing call that was not only tried.
fn changing(cloud: &Cloud) -> Vec<String> {
    let actions = cloud.calls().into_iter().map(|call| call["action"].as_str().unwrap().to_owned());
    actions.filter(|action| !action.starts_with("Describe") && !action.starts_with("Get")).collect()
}

#[test]
fn all_mistakes_are_said_in_one_go_each_with_its_line() {
    let restore = Restore::new(
        json!({ "profiles": ["web"], "keys": { "alias/off": { "KeyState": "Disabled" }, "alias/on": {} } }),
        "",
        "",
    );
    let cloud = &restore.cloud;
    let (subnet, address) = (cloud.subnet(&zone('a')), |number| cloud.address(&zone('a'), number));
    let vpc = made(cloud, "CreateVpc", &json!({ "CidrBlock": "10.9.0.0/16" }), "vpcId");
    let group = json!({ "GroupName": "far", "GroupDescription": "far", "VpcId": vpc });
    let foreign_group = made(cloud, "CreateSecurityGroup", &group, "groupId");
    let interface = json!({
        "SubnetId": subnet, "PrivateIpAddress": address(40).to_string(), "Description": "load balancer of sales",
    });
    made(cloud, "CreateNetworkInterface", &interface, "networkInterfaceId");
    let mistakes = [
        (
            "m01",
            format!("  subnet_id = \"{}\"", cloud.subnet(&zone('b'))),
            "aws::subnet_elsewhere",
            "subnet_id",
        ),
        ("m02", "  subnet_id = \"subnet-0123456789abcdef0\"".to_owned(), "aws::subnet_missing", "subnet_id"),
        ("m03", "  private_ip = \"192.0.2.1\"".to_owned(), "aws::address_outside_subnet", "private_ip"),
        ("m04", format!("  private_ip = \"{}\"", address(2)), "aws::address_reserved", "private_ip"),
        ("m05", format!("  private_ip = \"{}\"", address(40)), "aws::address_taken", "private_ip"),
        (
            "m06",
            "  security_group_ids = [\"sg-0123456789abcdef0\"]".to_owned(),
            "aws::security_group_missing",
            "security_group_ids",
        ),
        (
            "m07",
            format!("  security_group_ids = [\"{foreign_group}\"]"),
            "aws::security_group_vpc",
            "security_group_ids",
        ),
        ("m08", "  key_name = \"nobody\"".to_owned(), "aws::key_pair_missing", "key_name"),
        (
            "m09",
            "  launch { base_ami = \"ami-0a1000000000000a3\" }".to_owned(),
            "aws::base_ami_unfit",
            "base_ami",
        ),
        (
            "m10",
            "  launch { base_ami = \"ami-0123456789abcdef0\" }".to_owned(),
            "aws::base_ami_missing",
            "base_ami",
        ),
        (
            "m11",
            "  disk \"root\" { kms_key_id = \"alias/off\" }".to_owned(),
            "aws::kms_key_unusable",
            "kms_key_id",
        ),
        (
            "m12",
            "  disk \"root\" { kms_key_id = \"alias/none\" }".to_owned(),
            "aws::kms_key_missing",
            "kms_key_id",
        ),
        (
            "m13",
            "  iam_instance_profile = \"nobody\"".to_owned(),
            "aws::instance_profile_missing",
            "iam_instance_profile",
        ),
        ("m14", "TYPE f2.6xlarge".to_owned(), "aws::type_not_offered", "instance_type"),
        ("m15", "TYPE m6i.enormous".to_owned(), "plan::unknown_instance_type", "instance_type"),
        ("m16", "  disk \"root\" { iops = 5000 }".to_owned(), "plan::volume_iops", "iops"),
    ];
    let mut bodies = String::new();
    for (name, attribute, ..) in &mistakes {
        restore.workspace.raw_image(&format!("{name}.raw"), 2, 1);
        bodies += &match attribute.strip_prefix("TYPE ") {
            Some(kind) => instance(name, "").replace("m6i.large", kind),
            None => instance(name, attribute),
        };
    }
    // What is right beside them.
    restore.workspace.raw_image("right.raw", 2, 1);
    let right = format!(
        "  subnet_id = \"{subnet}\"\n  private_ip = \"{}\"\n  iam_instance_profile = \"web\"\n  disk \"root\" {{ kms_key_id = \"alias/on\" }}",
        address(77)
    );
    restore.configure("", &(bodies + &instance("right", &right)));
    let refused = restore.run(&["plan"]).code(1);
    let text = std::fs::read_to_string(restore.workspace.path().join("main.replant.hcl")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (name, attribute, code, word) in &mistakes {
        let block = lines.iter().position(|line| *line == format!("instance \"{name}\" {{")).unwrap();
        let line = block + lines[block..].iter().position(|line| line.contains(word)).unwrap() + 1;
        let place = format!("main.replant.hcl:{line}:");
        let mark = format!("[{code}]");
        assert!(
            refused.stderr.split(&mark).skip(1).any(|part| part
                .split("\nerror")
                .next()
                .unwrap()
                .contains(&place)),
            "{name} {attribute}: no {code} at {place}\n{}",
            refused.stderr
        );
    }
    assert_eq!(refused.stderr.matches("instance.right").count(), 0, "{}", refused.stderr);
    assert_says(
        &refused,
        &[
            "load balancer of sales",
            "eu-central-1b, eu-central-1c",
            "aws kms enable-key",
            &format!("use a subnet in {}: {subnet}", zone('a')),
            "is for arm64, and the guest needs x86_64",
        ],
    );
    assert!(changing(cloud).is_empty(), "a plan makes nothing: {:?}", changing(cloud));
}

#[test]
fn a_plan_of_many_instances_makes_few_calls() {
    let restore = Restore::new(json!({ "keys": { "alias/on": {} } }), "", "");
    let subnet = restore.cloud.subnet(&zone('a')).to_owned();
    let body = format!(
        "instance \"web\" {{\n  for_each = toset([for number in range(200) : tostring(number)])\n  image = \"web.raw\"\n  instance_type = \"m6i.large\"\n  subnet_id = \"{subnet}\"\n  private_ip = cidrhost(\"{}/20\", 100 + tonumber(each.key))\n  guest {{ drivers = \"none\" }}\n  disk \"root\" {{ kms_key_id = \"alias/on\" }}\n}}\n",
        restore.cloud.address(&zone('a'), 0)
    );
    restore.configure("", &body);
    restore.workspace.raw_image("web.raw", 1, 1);
    restore.run(&["plan"]).success();
    let calls = restore.cloud.all_calls();
    let actions: Vec<&str> = calls.iter().map(|call| call["action"].as_str().unwrap()).collect();
    assert!(actions.len() <= 32, "{} calls: {actions:?}", actions.len());
    // A subnet that is wrong for all of them is said once.
    restore.configure("", &body.replace(&subnet, restore.cloud.subnet(&zone('b'))));
    let refused = restore.run(&["plan"]).code(1);
    assert_eq!(refused.stderr.matches("aws::subnet_elsewhere").count(), 1, "{}", refused.stderr);
    assert_says(&refused, &["and 196 more"]);
}

#[test]
fn a_subnet_has_an_address_for_each() {
    let restore = Restore::new(json!({}), "", "");
    let vpc = restore.cloud.vpc(&zone('a')).to_owned();
    let small = json!({ "VpcId": vpc, "CidrBlock": "172.31.240.0/28", "AvailabilityZone": zone('a') });
    let subnet = made(&restore.cloud, "CreateSubnet", &small, "subnetId");
    let body = |count: u32| {
        format!(
            "instance \"web\" {{\n  for_each = toset([for number in range({count}) : tostring(number)])\n  image = \"web.raw\"\n  instance_type = \"m6i.large\"\n  subnet_id = \"{subnet}\"\n  guest {{ drivers = \"none\" }}\n}}\n"
        )
    };
    restore.workspace.raw_image("web.raw", 1, 1);
    restore.configure("", &body(11));
    restore.run(&["plan"]).success();
    restore.configure("", &body(12));
    let refused = restore.run(&["plan"]).code(1);
    assert_says(&refused, &["aws::subnet_full", "12 instances", "11 free addresses"]);
}

#[test]
fn permissions_are_tried_and_the_missing_ones_said_together() {
    let denied = ["ec2:CreateVolume", "ec2:RunInstances", "kms:DescribeKey", "ec2:DescribeKeyPairs"];
    let settings = json!({ "denied": denied, "keys": { "alias/on": {} } });
    let (restore, refused) = said_of(settings, |_| {
        "  key_name = \"ops\"\n  disk \"root\" { kms_key_id = \"alias/on\" }".to_owned()
    });
    let refused = refused.code(1);
    assert_eq!(refused.stderr.matches("aws::permissions_missing").count(), 1, "{}", refused.stderr);
    assert_says(
        &refused,
        &[
            r#"{ "Effect": "Allow", "Action": ["ec2:CreateVolume", "ec2:RunInstances"], "Resource": "*" }"#,
            "aws::not_checked",
            r#""Action": ["ec2:DescribeKeyPairs", "kms:DescribeKey"]"#,
        ],
    );
    assert!(changing(&restore.cloud).is_empty());
    // A launch with a profile passes its role.
    let (_, refused) =
        said_of(json!({ "denied": ["iam:PassRole"] }), |_| "  iam_instance_profile = \"web\"".to_owned());
    assert_says(&refused.code(1), &["aws::permissions_missing", r#""Action": ["iam:PassRole"]"#]);
    // Conditions on tags are never met by what does not exist yet: no proof, and no error.
    let (restore, planned) = said_of(json!({ "conditions": true }), |_| String::new());
    assert_says(&planned.success(), &["aws::permissions_unclear", "ec2:AttachVolume"]);
    restore.apply().success();
    // What exists can be tried.
    restore.cloud.set(&json!({ "denied": ["ec2:DeleteVolume", "ec2:TerminateInstances"] }));
    let refused = restore.run(&["plan", "--destroy"]).code(1);
    assert_says(&refused, &[r#""Action": ["ec2:DeleteVolume", "ec2:TerminateInstances"]"#]);
    restore.cloud.set(&json!({ "denied": [] }));
    restore.run(&["destroy", "--auto-approve"]).success();
}

#[test]
fn what_only_some_plans_call_is_tried_by_those() {
    let denied = ["ec2:RegisterImage", "ec2:CreateSnapshot"];
    let image = "  launch { method = \"image\" }";
    let (restore, planned) = said_of(json!({ "denied": denied }), |_| image.to_owned());
    let words = ["aws::permissions_unclear", "ec2:CreateSnapshot, ec2:RegisterImage"];
    assert_says(&planned.success(), &words);
    // A swap calls neither.
    restore.configure("", &instance("web", ""));
    let planned = restore.run(&["plan"]).success();
    assert!(!planned.both().contains("aws::permissions"), "{}", planned.both());
    restore.cloud.set(&json!({ "denied": [] }));
    restore.configure("", &instance("web", image));
    restore.apply().success();
    // What exists is tried itself.
    let denied = ["ec2:DeregisterImage", "ec2:DeleteSnapshot"];
    restore.cloud.set(&json!({ "denied": denied }));
    let refused = restore.run(&["plan", "--destroy"]).code(1);
    assert_says(&refused, &[r#""Action": ["ec2:DeleteSnapshot", "ec2:DeregisterImage"]"#]);
    let denied = ["ec2:ModifyInstanceMetadataOptions", "ec2:MonitorInstances", "ec2:DeleteTags"];
    restore.cloud.set(&json!({ "denied": denied }));
    let changed = "  launch { method = \"image\" }\n  monitoring = true\n  metadata_options { http_tokens = \"optional\" }";
    let changed = instance("web", changed).replace("{ Name = \"web\" }", "{}");
    restore.configure("", &changed);
    let refused = restore.run(&["plan"]).code(1);
    let wanted = r#"["ec2:DeleteTags", "ec2:ModifyInstanceMetadataOptions", "ec2:MonitorInstances"]"#;
    assert_says(&refused, &[wanted]);
    assert!(restore.cloud.parameters("MonitorInstances").is_empty());
    restore.cloud.set(&json!({ "denied": [] }));
    restore.apply().success();
    restore.destroy().success();
}

#[test]
fn optional_reads_that_are_refused_stop_nothing() {
    let denied =
        ["servicequotas:GetServiceQuota", "ec2:DescribeSubnets", "ec2:DescribeInstanceTypeOfferings"];
    let (restore, planned) = said_of(json!({ "denied": denied }), |_| String::new());
    let planned = planned.success();
    assert_eq!(planned.both().matches("aws::not_checked").count(), 1, "{}", planned.both());
    assert_says(&planned, &["servicequotas:GetServiceQuota", "ec2:DescribeSubnets"]);
    restore.apply().success();
}

#[test]
fn quotas_are_held_against_what_there_is() {
    // The access node has two processors and eight GiB.
    let quotas = json!({ "quotas": { "L-1216C47A": 3.0, "L-7A658B76": 0.0005 } });
    let (restore, planned) = said_of(quotas, |_| String::new());
    assert_says(
        &planned.success(),
        &[
            "aws::vcpu_quota",
            "have 2 vCPUs of the class Standard",
            "2 run already, and the quota is 3",
            "--quota-code L-1216C47A --desired-value 4",
            "aws::storage_quota",
            "--service-code ebs --quota-code L-7A658B76",
        ],
    );
    restore.cloud.set(&json!({ "quotas": { "L-1216C47A": 4.0, "L-7A658B76": 1.0 } }));
    let planned = restore.run(&["plan"]).success();
    assert!(!planned.both().contains("_quota"), "{}", planned.both());
}

#[test]
fn a_key_that_fails_later_is_explained_and_leaves_nothing() {
    let settings = json!({
        "delay": 0.2, "denied": ["kms:DescribeKey"], "keys": { "alias/off": { "KeyState": "Disabled" } },
    });
    let (restore, planned) =
        said_of(settings, |_| "  disk \"root\" { kms_key_id = \"alias/off\" }".to_owned());
    assert_says(&planned.success(), &["aws::not_checked", "kms:DescribeKey"]);
    let failed = restore.apply().code(1);
    assert_says(
        &failed,
        &["apply::volume_given_up", "the key alias/off is disabled", "aws kms describe-key"],
    );
    restore.cloud.set(&json!({ "keys": { "alias/off": {} } }));
    restore.apply().success();
}

#[test]
fn apply_runs_on_the_access_node_and_plans_run_anywhere() {
    let restore = Restore::new(json!({}), "", &instance("web", "  state = \"stopped\""));
    restore.workspace.raw_image("web.raw", 4, 1);
    let tag = restore.cloud.sysfs().join("devices/virtual/dmi/id/board_asset_tag");
    let planned = restore.run(&["plan", "--out", "here.plan"]).success();
    assert!(!planned.both().contains("aws::planned_elsewhere"), "{}", planned.both());
    // Another instance, by its firmware.
    std::fs::write(&tag, "i-0aaaaaaaaaaaaaaaa\n").unwrap();
    let planned = restore.run(&["plan", "--out", "web.plan"]).success();
    assert_says(&planned, &["aws::planned_elsewhere", "This machine is the instance i-0aaaaaaaaaaaaaaaa"]);
    for arguments in [&["apply", "--auto-approve"][..], &["apply", "web.plan"]] {
        let refused = restore.run(arguments).code(1);
        let start = format!("aws ssm start-session --target {}", restore.cloud.access_node);
        assert_says(&refused, &["aws::not_the_access_node", &start]);
    }
    // No instance at all.
    std::fs::remove_file(&tag).unwrap();
    let refused = restore.run(&["apply", "--auto-approve"]).code(1);
    assert_says(&refused, &["aws::not_the_access_node", "is no EC2 instance"]);
    assert!(changing(&restore.cloud).is_empty());
    // The metadata service tells where the firmware does not.
    let mut command = restore.command(&["apply", "--auto-approve"]);
    let url = metadata_service(&restore.cloud.access_node);
    command.env_remove("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    Output::of(command).success();
    // Destroying writes to no device, and runs anywhere.
    restore.run(&["destroy", "--auto-approve"]).success();
}

#[test]
fn the_access_node_itself_is_looked_at() {
    // A type of few attachments, all taken.
    let restore = Restore::new(json!({}), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    let cloud = &restore.cloud;
    cloud.elsewhere("StopInstances", &json!({ "InstanceId.1": cloud.access_node }));
    assert_says(&restore.run(&["plan"]).success(), &["aws::access_node_stopped", "aws ec2 start-instances"]);
    cloud.elsewhere("StartInstances", &json!({ "InstanceId.1": cloud.access_node }));
    let blocks = restore.cloud.blocks("").replace("{ instance_id", "{\n  max_attachments = 1\n  instance_id");
    let blocks = blocks.replace("\" }\n", "\"\n}\n");
    restore.workspace.configure(&(blocks + &instance("web", "")));
    let volume = json!({ "AvailabilityZone": zone('a'), "Size": "1" });
    let volume = made(cloud, "CreateVolume", &volume, "volumeId");
    let attach = json!({ "VolumeId": volume, "InstanceId": cloud.access_node, "Device": "xvdf" });
    cloud.elsewhere("AttachVolume", &attach);
    let refused = restore.run(&["plan"]).code(1);
    assert_says(&refused, &["aws::no_free_slot", "has 2 volumes attached", "main.replant.hcl"]);
    assert!(!refused.both().contains("plan::not_enough_slots"), "{}", refused.both());
    // One that is not there.
    let other = restore.cloud.blocks("").replace(&cloud.access_node, "i-0aaaaaaaaaaaaaaaa");
    restore.workspace.configure(&(other + &instance("web", "")));
    assert_says(&restore.run(&["plan"]).code(1), &["does not exist in this region", "access_node \"dr\""]);
}

#[test]
fn an_account_that_encrypts_by_default_replaces_nothing() {
    let body = instance("web", "  state = \"stopped\"\n  disk \"root\" { encrypted = false }");
    let restore = Restore::new(json!({}), "", &body);
    restore.workspace.raw_image("web.raw", 4, 1);
    assert!(!restore.run(&["plan"]).success().both().contains("aws::encrypted_by_default"));
    restore.cloud.elsewhere("EnableEbsEncryptionByDefault", &json!({}));
    let planned = restore.run(&["plan"]).success();
    assert_says(
        &planned,
        &["aws::encrypted_by_default", "disable-ebs-encryption-by-default", "main.replant.hcl"],
    );
    restore.apply().success();
    assert_eq!(restore.listed().volumes[0]["Encrypted"], true);
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    // Saying what it is anyway replaces nothing either.
    restore.configure("", &body.replace("encrypted = false", "encrypted = true"));
    restore.apply().success();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    assert_eq!(restore.cloud.parameters("CreateVolume").len(), 1);
}

#[test]
fn a_windows_access_node_is_refused() {
    let settings = json!({ "image": "ami-0a3000000000000c1" });
    let (_, refused) = said_of(settings, |_| String::new());
    assert_says(&refused.code(1), &["aws::access_node_windows", "main.replant.hcl"]);
}

#[test]
fn a_rehearsal_takes_every_attribute_of_ec2() {
    let attributes = "  subnet_id = \"subnet-0123456789abcdef0\"\n  private_ip = \"10.20.1.15\"\n  security_group_ids = [\"sg-0123456789abcdef0\"]\n  key_name = \"ops\"\n  iam_instance_profile = \"web\"\n  launch { base_ami = \"ami-0123456789abcdef0\" }\n  state = \"stopped\"\n  disk \"root\" { kms_key_id = \"alias/off\" }";
    let (restore, _) = said_of(json!({}), |_| attributes.to_owned());
    let mut command = restore.command(&["apply", "--rehearse", "--auto-approve"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    Output::of(command).success();
    assert!(changing(&restore.cloud).is_empty());
}
