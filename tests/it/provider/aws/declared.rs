//! What a configuration declares of EC2, on moto: data sources and options, from plan to destroy.

use std::path::Path;
use std::process::Command;

use replant::model::{CpuCredits, InstanceOptions, InterfaceSpec, MetadataOptions, PlacementSpec, Tenancy};
use replant::provider::{ModifyInstance, Provider, RunInstance};
use serde_json::{Value, json};

use super::super::conformance::{run, run_request};
use super::super::ec2::{Cloud, REGION, SECRET};
use super::open;
use crate::support::Workspace;
use crate::support::command::Output;

/// Runs Python with `ec2` and `kms` of the cloud; what it puts in `out`.
fn python(cloud: &Cloud, script: &str) -> Value {
    let head = r#"
import boto3, json, sys
def client(name):
    return boto3.client(name, endpoint_url=sys.argv[1], region_name=sys.argv[2],
                        aws_access_key_id=sys.argv[3], aws_secret_access_key=sys.argv[4])
ec2, kms, out = client("ec2"), client("kms"), {}
def tags(kind, **tags):
    return [{"ResourceType": kind, "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
"#;
    let script = format!("{head}{script}\nprint(json.dumps(out, default=str))");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let output = Command::new(python)
        .args(["-c", &script, Cloud::url(), REGION, &cloud.key, SECRET])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Site {
    cloud: Cloud,
    workspace: Workspace,
    made: Value,
}

/// A network with names, as somebody made it.
const NETWORK: &str = r#"
vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
for name, zone, cidr in (("app", "a", "10.20.1.0/24"), ("backup", "a", "10.20.2.0/24"), ("other", "b", "10.20.3.0/24")):
    made = ec2.create_subnet(VpcId=vpc, AvailabilityZone="eu-central-1" + zone, CidrBlock=cidr,
                             TagSpecifications=tags("subnet", Name=name))
    out[name] = made["Subnet"]["SubnetId"]
out["vpc"] = vpc
for name in ("web", "db"):
    out[name] = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
key = kms.create_key(Description="restores")["KeyMetadata"]
kms.create_alias(AliasName="alias/restore", TargetKeyId=key["KeyId"])
out["key"] = key["Arn"]
eni = ec2.create_network_interface(SubnetId=out["backup"], PrivateIpAddress="10.20.2.9")
out["eni"] = eni["NetworkInterface"]["NetworkInterfaceId"]
eni = ec2.create_network_interface(SubnetId=out["other"])
out["far"] = eni["NetworkInterface"]["NetworkInterfaceId"]
"#;

impl Site {
    fn new() -> Self {
        let cloud = Cloud::new(json!({ "delay": 0.1 }));
        let made = python(&cloud, NETWORK);
        let workspace = Workspace::new("");
        workspace.raw_image("web.raw", 3, 7);
        Self { cloud, workspace, made }
    }

    fn configure(&self, text: &str) {
        self.workspace.configure(&(self.cloud.blocks("") + text));
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.workspace.command(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("AWS_ACCESS_KEY_ID", &self.cloud.key).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", self.workspace.path());
        Output::of(command)
    }

    fn made(&self, name: &str) -> &str {
        self.made[name].as_str().unwrap()
    }
}

const DATA: &str = r#"
data "subnet" "app" {
  filter {
    name   = "tag:Name"
    values = ["ap?"]
  }
  vpc_id = data.subnet.backup.vpc_id
}
data "subnet" "backup" { tags = { Name = "backup" } }
data "security_group" "each" {
  for_each = toset(["web", "db"])
  name     = each.key
}
data "kms_key" "restore" { key_id = "alias/restore" }
data "ami" "base" {
  owners      = ["137112412989"]
  name_regex  = "^amzn2-.*x86_64"
  most_recent = true
}
output "zone" { value = data.subnet.app.availability_zone }
"#;

fn web(more: &str) -> String {
    format!(
        r#"
instance "web" {{
  instance_type = "t3.large"
  state         = "stopped"
  guest {{ drivers = "none" }}
  launch {{ base_ami = data.ami.base.id }}
  disk "root" {{
    image      = "web.raw"
    encrypted  = true
    kms_key_id = data.kms_key.restore.arn
  }}
{more}
}}
"#
    )
}

const OPTIONS: &str = r#"
  network_interface {
    device_index       = 0
    subnet_id          = data.subnet.app.id
    private_ip         = cidrhost(data.subnet.app.cidr_block, 15)
    security_group_ids = [data.security_group.each["web"].id]
  }
  network_interface {
    device_index       = 1
    subnet_id          = data.subnet.backup.id
    security_group_ids = [data.security_group.each["db"].id]
    description        = "backup"
  }
  metadata_options { http_put_response_hop_limit = 2 }
  credit_specification { cpu_credits = "standard" }
"#;

#[test]
fn names_become_ids_and_everything_that_is_declared_is_so() {
    let site = Site::new();
    site.configure(&(DATA.to_owned() + &web(&format!("{OPTIONS}  disable_api_stop = true\n"))));
    site.run(&["validate"]).success();
    let plan = site.run(&["plan", "--out", "plan.replant"]).success();
    assert!(plan.stdout.contains(&format!("data.subnet.app: {} (app)", site.made("app"))), "{}", plan.stdout);
    assert!(plan.stdout.contains(&format!("data.security_group.each[\"db\"]: {}", site.made("db"))));
    assert!(plan.stdout.contains("1.subnet_id"), "{}", plan.stdout);
    // What was read is in the plan: nothing is looked up again.
    let looked = |action: &str| site.cloud.parameters(action).len();
    let before = (looked("DescribeSubnets"), looked("DescribeKey"), looked("DescribeSecurityGroups"));
    python(
        &site.cloud,
        &format!("ec2.delete_tags(Resources=[{:?}], Tags=[{{'Key': 'Name'}}])", site.made("app")),
    );
    site.run(&["apply", "plan.replant"]).success();
    assert_eq!(before, (looked("DescribeSubnets"), looked("DescribeKey"), looked("DescribeSecurityGroups")));

    let launched = &site.cloud.parameters("RunInstances")[0];
    for (name, value) in [
        ("ImageId", "ami-0a2000000000000b1"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SubnetId", site.made("app")),
        ("NetworkInterface.1.PrivateIpAddress", "10.20.1.15"),
        ("NetworkInterface.1.SecurityGroupId.1", site.made("web")),
        ("NetworkInterface.2.SubnetId", site.made("backup")),
        ("NetworkInterface.2.SecurityGroupId.1", site.made("db")),
        ("CreditSpecification.CpuCredits", "standard"),
        ("MetadataOptions.HttpPutResponseHopLimit", "2"),
    ] {
        assert_eq!(launched[name], value, "{name} of {launched:#}");
    }
    assert_eq!(site.cloud.parameters("CreateVolume")[0]["KmsKeyId"], site.made("key"));
    // The stub had to be stopped: its protection came after.
    assert!(launched.get("DisableApiStop").is_none());
    let protected = site.cloud.parameters("ModifyInstanceAttribute");
    assert!(protected.iter().any(|call| call["DisableApiStop.Value"] == "true"), "{protected:#?}");
    python(
        &site.cloud,
        &format!(
            "ec2.create_tags(Resources=[{:?}], Tags=[{{'Key': 'Name', 'Value': 'app'}}])",
            site.made("app")
        ),
    );
    let state = site.workspace.state();
    let options = &state["resources"]["instance.web"]["options"];
    assert_eq!(options["network_interfaces"][1]["subnet_id"], site.made("backup"), "{options:#}");
    assert_eq!(state["outputs"]["zone"]["value"], format!("{REGION}a"));
    site.run(&["plan", "--detailed-exitcode"]).code(0);

    // In place: what EC2 changes, and no more.
    let changed = OPTIONS.replace("hop_limit = 2", "hop_limit = 3").replace("\"standard\"", "\"unlimited\"")
        + "  placement { group_name = \"near\" }\n  monitoring = true\n";
    site.configure(&(DATA.to_owned() + &web(&changed)));
    let plan = site.run(&["plan"]).success();
    assert!(plan.stdout.contains("1 to change, 0 to replace"), "{}", plan.stdout);
    site.run(&["apply", "--auto-approve"]).success();
    let call = |action: &str, name: &str| site.cloud.parameters(action)[0][name].clone();
    assert_eq!(call("ModifyInstanceMetadataOptions", "HttpPutResponseHopLimit"), "3");
    assert_eq!(call("ModifyInstanceMetadataOptions", "HttpTokens"), "required");
    assert_eq!(call("ModifyInstancePlacement", "GroupName"), "near");
    let credits = "InstanceCreditSpecification.1.CpuCredits";
    assert_eq!(call("ModifyInstanceCreditSpecification", credits), "unlimited");
    assert_eq!(site.cloud.parameters("MonitorInstances").len(), 1);
    assert_eq!(site.cloud.parameters("RunInstances").len(), 1, "it is the same instance");
    site.run(&["plan", "--detailed-exitcode"]).code(0);

    // What somebody changes outside is seen, and put back.
    let id = site.workspace.state()["resources"]["instance.web"]["id"].as_str().unwrap().to_owned();
    python(
        &site.cloud,
        &format!(
            "ec2.modify_instance_metadata_options(InstanceId={id:?}, HttpTokens='optional', HttpPutResponseHopLimit=3, HttpEndpoint='enabled')"
        ),
    );
    let plan = site.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("http_tokens"), "{}", plan.stdout);
    site.run(&["apply", "--auto-approve"]).success();
    site.run(&["plan", "--detailed-exitcode"]).code(0);
    site.run(&["destroy", "--auto-approve"]).success();
}

/// The groups that EC2 has of the instance's interface at index 1.
fn groups(site: &Site) -> Value {
    let id = site.workspace.state()["resources"]["instance.web"]["id"].as_str().unwrap().to_owned();
    let script = format!(
        "nics = ec2.describe_instances(InstanceIds=[{id:?}])['Reservations'][0]['Instances'][0]['NetworkInterfaces']\nnic = next(nic for nic in nics if nic['Attachment']['DeviceIndex'] == 1)\nout['id'] = nic['NetworkInterfaceId']\nout['groups'] = sorted(group['GroupId'] for group in nic['Groups'])"
    );
    python(&site.cloud, &script)
}

#[test]
fn security_groups_of_every_interface_are_kept_in_place() {
    let site = Site::new();
    site.configure(&(DATA.to_owned() + &web(OPTIONS)));
    site.run(&["apply", "--auto-approve"]).success();
    let made = groups(&site);
    assert_eq!(made["groups"], json!([site.made("db")]));
    // Somebody else gives the second interface another group.
    let script = format!(
        "ec2.modify_network_interface_attribute(NetworkInterfaceId={}, Groups=[{:?}])",
        made["id"],
        site.made("web")
    );
    python(&site.cloud, &script);
    let plan = site.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("1 to change, 0 to replace"), "{}", plan.stdout);
    assert!(plan.stdout.contains("1.security_group_ids"), "{}", plan.stdout);
    site.run(&["apply", "--auto-approve"]).success();
    assert_eq!(groups(&site), made);
    let calls = site.cloud.parameters("ModifyNetworkInterfaceAttribute");
    let call = calls.last().unwrap();
    assert_eq!(
        (&call["NetworkInterfaceId"], &call["SecurityGroupId.1"]),
        (&made["id"], &json!(site.made("db")))
    );
    site.run(&["plan", "--detailed-exitcode"]).code(0);
    // The configuration asks for both; the order is nobody's.
    let both = OPTIONS.replace(
        "[data.security_group.each[\"db\"].id]",
        "[data.security_group.each[\"web\"].id, data.security_group.each[\"db\"].id]",
    );
    assert_ne!(both, OPTIONS);
    site.configure(&(DATA.to_owned() + &web(&both)));
    site.run(&["apply", "--auto-approve"]).success();
    assert_eq!(groups(&site)["groups"].as_array().unwrap().len(), 2);
    site.run(&["plan", "--detailed-exitcode"]).code(0);
    assert_eq!(site.cloud.parameters("RunInstances").len(), 1, "it is the same instance");
    // Another interface is another instance.
    let none = both.split("  network_interface {\n    device_index       = 1").next().unwrap().to_owned();
    site.configure(&(DATA.to_owned() + &web(&none)));
    let plan = site.run(&["plan"]).success();
    assert!(plan.stdout.contains("1 to replace"), "{}", plan.stdout);
    site.run(&["destroy", "--auto-approve"]).success();
}

#[test]
fn an_existing_interface_is_taken_and_left() {
    let site = Site::new();
    let taken = |name: &str| {
        format!(
            "  subnet_id = data.subnet.app.id\n  network_interface {{\n    device_index = 1\n    network_interface_id = {:?}\n  }}\n",
            site.made(name)
        )
    };
    site.configure(&(DATA.to_owned() + &web(&taken("far"))));
    let refused = site.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("data::interface_zone"), "{}", refused.both());
    assert!(refused.stderr.contains("eu-central-1b"), "{}", refused.both());

    site.configure(&(DATA.to_owned() + &web(&taken("eni"))));
    site.run(&["apply", "--auto-approve"]).success();
    let launched = &site.cloud.parameters("RunInstances")[0];
    assert_eq!(launched["NetworkInterface.2.NetworkInterfaceId"], site.made("eni"));
    assert_eq!(launched["NetworkInterface.2.DeleteOnTermination"], "false");
    // The primary one is as the instance says.
    assert_eq!(launched["NetworkInterface.1.SubnetId"], site.made("app"));
    assert!(launched.get("SubnetId").is_none());
    site.run(&["plan", "--detailed-exitcode"]).code(0);
    site.run(&["destroy", "--auto-approve"]).success();
    // It is EC2 that keeps it: nothing of ours deletes interfaces.
    assert!(site.cloud.parameters("DeleteNetworkInterface").is_empty());
}

#[test]
fn a_key_under_another_name_is_the_same_key() {
    let site = Site::new();
    let text = DATA.to_owned() + &web("  subnet_id = data.subnet.app.id");
    site.configure(&text);
    site.run(&["apply", "--auto-approve"]).success();
    let id = site.made("key").rsplit('/').next().unwrap().to_owned();
    for name in ["\"alias/restore\"", &format!("{id:?}"), "data.kms_key.restore.arn"] {
        site.configure(&text.replace("data.kms_key.restore.arn", name));
        let plan = site.run(&["plan", "--detailed-exitcode"]);
        assert_eq!(plan.code, 0, "{name}: {}", plan.both());
    }
    // Another key is another volume.
    let script = "key = kms.create_key()['KeyMetadata']\nkms.create_alias(AliasName='alias/other', TargetKeyId=key['KeyId'])";
    python(&site.cloud, script);
    site.configure(&text.replace("data.kms_key.restore.arn", "\"alias/other\""));
    let plan = site.run(&["plan", "--detailed-exitcode"]).code(2);
    assert!(plan.stdout.contains("to replace"), "{}", plan.both());
}

#[test]
fn an_existing_interface_may_be_the_primary_one() {
    let site = Site::new();
    let taken = format!(
        "  network_interface {{\n    device_index = 0\n    network_interface_id = {:?}\n  }}\n",
        site.made("eni")
    );
    site.configure(&(DATA.to_owned() + &web(&taken)));
    site.run(&["apply", "--auto-approve"]).success();
    let launched = &site.cloud.parameters("RunInstances")[0];
    assert_eq!(launched["NetworkInterface.1.DeviceIndex"], "0");
    assert_eq!(launched["NetworkInterface.1.NetworkInterfaceId"], site.made("eni"));
    // No interface is made, and EC2 takes no tags for one.
    let kinds: Vec<&Value> = launched
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.ends_with("ResourceType"))
        .map(|(_, kind)| kind)
        .collect();
    assert_eq!(kinds, ["instance", "volume"]);
    site.run(&["plan", "--detailed-exitcode"]).code(0);
    site.run(&["destroy", "--auto-approve"]).success();
    // With a second, new one there are tags again.
    let both = format!(
        "{taken}  network_interface {{\n    device_index = 1\n    subnet_id    = data.subnet.app.id\n  }}\n"
    );
    site.configure(&(DATA.to_owned() + &web(&both)));
    site.run(&["apply", "--auto-approve"]).success();
    let launched = &site.cloud.parameters("RunInstances")[1];
    assert_eq!(launched["TagSpecification.3.ResourceType"], "network-interface");
    site.run(&["destroy", "--auto-approve"]).success();
}

#[test]
fn what_does_not_match_exactly_one_is_said_with_what_there_is() {
    let site = Site::new();
    site.configure(
        r#"
data "subnet" "typo" { tags = { Name = "apps" } }
data "subnet" "all" { vpc_id = data.subnet.known.vpc_id }
data "subnet" "known" { tags = { Name = "app" } }
data "kms_key" "typo" { key_id = "alias/restores" }
data "ami" "many" { owners = ["137112412989"] }
data "security_group" "none" { name = "frontend" }
"#,
    );
    let refused = site.run(&["plan"]).code(1);
    let text = refused.stderr.clone();
    for wanted in [
        "data::nothing",
        "data::several",
        "alias/restore",
        "most_recent = true",
        "tag:Name = apps",
        &format!("{} (app, ", site.made("app")),
        "frontend",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    // The same configuration can be rehearsed where nothing of it exists.
    site.run(&["plan", "--rehearse"]).success();
}

#[test]
fn options_have_ec2_s_parameters() {
    let cloud = Cloud::new(json!({}));
    let aws = open(&cloud);
    let zone = format!("{REGION}a");
    run(async {
        let eni = python(
            &cloud,
            &format!(
                "out['id'] = ec2.create_network_interface(SubnetId={:?})['NetworkInterface']['NetworkInterfaceId']",
                cloud.subnet(&zone)
            ),
        );
        let existing = InterfaceSpec {
            network_interface_id: Some(eni["id"].as_str().unwrap().to_owned()),
            ..InterfaceSpec::default()
        };
        let options = InstanceOptions {
            network_interfaces: vec![existing],
            placement: PlacementSpec {
                tenancy: Some(Tenancy::Dedicated),
                group_name: Some("parts".to_owned()),
                partition_number: Some(2),
                ..PlacementSpec::default()
            },
            metadata: MetadataOptions {
                tokens_required: false,
                endpoint: false,
                hop_limit: None,
                tags: Some(true),
            },
            monitoring: true,
            ..InstanceOptions::default()
        };
        let made = aws.run_instance(&RunInstance { options, ..run_request(&zone) }).await.unwrap();
        let sent = &cloud.parameters("RunInstances")[0];
        for (name, value) in [
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.DeleteOnTermination", "false"),
            ("NetworkInterface.1.NetworkInterfaceId", eni["id"].as_str().unwrap()),
            ("Placement.Tenancy", "dedicated"),
            ("Placement.GroupName", "parts"),
            ("Placement.PartitionNumber", "2"),
            ("MetadataOptions.HttpTokens", "optional"),
            ("MetadataOptions.HttpEndpoint", "disabled"),
            ("MetadataOptions.InstanceMetadataTags", "enabled"),
            ("Monitoring.Enabled", "true"),
        ] {
            assert_eq!(sent[name], value, "{name} of {sent:#}");
        }
        // The interface says where it is.
        for name in ["SubnetId", "Placement.AvailabilityZone", "NetworkInterface.1.SubnetId"] {
            assert!(sent.get(name).is_none(), "{name}");
        }
        // Credits that cannot be changed fail in the answer's body.
        let change = ModifyInstance { cpu_credits: Some(CpuCredits::Unlimited), ..ModifyInstance::default() };
        let error = aws.modify_instance(&made.id, &change).await.unwrap_err();
        assert_eq!(error.code, "InstanceCreditSpecification.NotSupported");
        let change = ModifyInstance { monitoring: Some(false), ..ModifyInstance::default() };
        aws.modify_instance(&made.id, &change).await.unwrap();
        assert_eq!(cloud.parameters("UnmonitorInstances")[0]["InstanceId.1"], made.id.0);
    });
}
