//! Data sources and an instance's options: what they come to.

use std::collections::BTreeMap;

use replant::config::{KnownFacts, Options, load};
use replant::model::{CpuCredits, Found, InstanceAddress, Lookup, LookupKind, Tenancy};
use serde_json::json;

use super::support::{directory, valid};

const CHAIN: &str = r#"
variable "name" { default = "app" }
data "subnet" "app" {
  tags = { Name = var.name }
}
locals { vpc = data.subnet.app.vpc_id }
data "security_group" "web" {
  for_each = toset(["web", "db"])
  name     = each.key
  vpc_id   = local.vpc
}
data "ami" "base" { id = "ami-0123456789abcdef0" }
instance "web" {
  instance_type      = data.ami.base.architecture == "arm64" ? "m7g.large" : "m6i.large"
  subnet_id          = data.subnet.app.id
  private_ip         = cidrhost(data.subnet.app.cidr_block, 15)
  security_group_ids = [for group in data.security_group.web : group.id]
  tags               = { Zone = lookup(data.subnet.app.tags, "Zone", "none") }
  disk "root" {
    image = "disk.raw"
    size  = data.subnet.app.available_ip_address_count
  }
}
instance "copy" {
  for_each      = data.subnet.app.tags
  instance_type = "m6i.large"
  disk "root" { image = "disk.raw" }
}
output "zone" { value = data.subnet.app.availability_zone }
"#;

#[test]
fn values_are_unknown_until_they_are_read_and_then_like_any_other() {
    // Nothing is read to validate: what must be known for a plan is not missed yet.
    let evaluated = valid(CHAIN);
    let asked: Vec<&str> = evaluated.data.keys().map(String::as_str).collect();
    // The groups ask by what the subnet says.
    assert_eq!(asked, ["data.ami.base", "data.subnet.app"]);
    assert_eq!(evaluated.outputs["zone"].value, None);

    let directory = directory(CHAIN);
    let config = load(directory.path(), &Options::default()).0.unwrap();
    let mut known = KnownFacts::default();
    let mut rounds = 0;
    let evaluated = loop {
        let (evaluated, diagnostics) = config.evaluate(&known);
        assert!(!diagnostics.has_errors(), "{diagnostics:#?}");
        let unread: Vec<Lookup> = evaluated
            .data
            .values()
            .map(|request| request.lookup.clone())
            .filter(|lookup| !known.data.contains_key(lookup))
            .collect();
        if unread.is_empty() {
            break evaluated;
        }
        rounds += 1;
        known.data.extend(unread.into_iter().map(|lookup| {
            let found = match lookup.kind {
                LookupKind::Subnet => Found::new("subnet-1")
                    .with("vpc_id", Some("vpc-1"))
                    .with("cidr_block", Some("10.20.1.0/24"))
                    .with("availability_zone", Some("eu-central-1a"))
                    .with("available_ip_address_count", Some(40))
                    .with("tags", Some(json!({ "Name": "app" }))),
                LookupKind::SecurityGroup => {
                    assert_eq!(lookup.filter("vpc-id"), Some("vpc-1"));
                    Found::new(format!("sg-{}", lookup.filter("group-name").unwrap()))
                }
                _ => Found::new("ami-0123456789abcdef0").with("architecture", Some("arm64")),
            };
            (lookup, found)
        }));
    };
    assert_eq!(rounds, 2);
    let web = &evaluated.instances[&InstanceAddress::new("web")];
    assert_eq!((web.instance_type.as_str(), web.subnet_id.as_deref()), ("m7g.large", Some("subnet-1")));
    assert_eq!(web.private_ip.unwrap().to_string(), "10.20.1.15");
    assert_eq!(web.security_group_ids, ["sg-db", "sg-web"]);
    assert_eq!((web.tags["Zone"].as_str(), web.disks[0].size), ("none", Some(40)));
    assert!(web.unknown.is_empty() && web.depends_on.is_empty());
    assert!(evaluated.instances.contains_key(&InstanceAddress::with_key("copy", "Name")));
    assert_eq!(evaluated.outputs["zone"].value, Some(json!("eu-central-1a")));
    // What the provider did not say is null.
    assert_eq!(known.data.len(), 4);
}

#[test]
fn filters_are_ec2_s() {
    let evaluated = valid(
        r#"
data "subnet" "app" {
  id                = "subnet-0123456789abcdef0"
  vpc_id            = "vpc-1"
  availability_zone = "eu-central-1a"
  cidr_block        = "10.20.1.0/24"
  default_for_az    = false
  tags              = { Name = "a*b", Env = "prod" }
  filter {
    name   = "tag:Team"
    values = ["dr*", "ops"]
  }
}
data "ami" "base" {
  owners      = ["self", "137112412989"]
  name_regex  = "^app-[0-9]+$"
  most_recent = true
}
data "kms_key" "restore" { key_id = "alias/restore" }
"#,
    );
    let lookup = |address: &str| &evaluated.data[address].lookup;
    let filters: BTreeMap<&str, Vec<&str>> = lookup("data.subnet.app")
        .filters
        .iter()
        .map(|filter| (filter.name.as_str(), filter.values.iter().map(String::as_str).collect()))
        .collect();
    let wanted = BTreeMap::from([
        ("availability-zone", vec!["eu-central-1a"]),
        ("cidr-block", vec!["10.20.1.0/24"]),
        ("default-for-az", vec!["false"]),
        ("tag:Env", vec!["prod"]),
        // In a filter `*` stands for anything; in `tags` for itself.
        ("tag:Name", vec!["a\\*b"]),
        ("tag:Team", vec!["dr*", "ops"]),
        ("vpc-id", vec!["vpc-1"]),
    ]);
    assert_eq!(filters, wanted);
    assert_eq!(lookup("data.subnet.app").id.as_deref(), Some("subnet-0123456789abcdef0"));
    let ami = lookup("data.ami.base");
    assert_eq!((ami.owners.len(), ami.most_recent, ami.name_regex.is_some()), (2, true, true));
    assert_eq!(lookup("data.kms_key.restore").id.as_deref(), Some("alias/restore"));
    assert_eq!(evaluated.data["data.ami.base"].span.as_ref().unwrap().line, 14);
}

#[test]
fn options_arrive() {
    let evaluated = valid(
        r#"
instance "web" {
  instance_type    = "t3.large"
  monitoring       = true
  disable_api_stop = true
  network_interface {
    device_index       = 1
    subnet_id          = "subnet-2"
    private_ip         = "10.20.2.15"
    security_group_ids = ["sg-2"]
    description        = "backup"
  }
  network_interface {
    device_index       = 0
    subnet_id          = "subnet-1"
    private_ip         = "10.20.1.15"
    security_group_ids = ["sg-1"]
  }
  network_interface {
    device_index         = 2
    network_interface_id = "eni-0123456789abcdef0"
  }
  placement {
    tenancy          = "dedicated"
    group_name       = "near"
    partition_number = 3
  }
  metadata_options {
    http_tokens                 = "optional"
    http_endpoint               = "enabled"
    http_put_response_hop_limit = 2
    instance_metadata_tags      = "enabled"
  }
  credit_specification { cpu_credits = "unlimited" }
  disk "root" { image = "disk.raw" }
}
instance "plain" {
  instance_type = "m6i.large"
  disk "root" { image = "disk.raw" }
}
"#,
    );
    let web = &evaluated.instances[&InstanceAddress::new("web")];
    // The primary interface is the instance's own.
    assert_eq!((web.subnet_id.as_deref(), web.security_group_ids.len()), (Some("subnet-1"), 1));
    assert_eq!(web.private_ip.unwrap().to_string(), "10.20.1.15");
    let [primary, backup, existing] = web.options.network_interfaces.as_slice() else {
        panic!("{:?}", web.options)
    };
    assert_eq!((primary.device_index, primary.subnet_id.as_deref()), (0, None));
    assert_eq!((backup.device_index, backup.subnet_id.as_deref()), (1, Some("subnet-2")));
    assert_eq!(backup.description.as_deref(), Some("backup"));
    assert!(primary.delete_on_termination && backup.delete_on_termination);
    assert!(!existing.delete_on_termination && existing.network_interface_id.is_some());
    let placement = &web.options.placement;
    assert_eq!((placement.tenancy, placement.partition_number), (Some(Tenancy::Dedicated), Some(3)));
    let metadata = &web.options.metadata;
    assert!(!metadata.tokens_required && metadata.endpoint && metadata.tags == Some(true));
    assert_eq!((metadata.hop_limit, web.options.cpu_credits), (Some(2), Some(CpuCredits::Unlimited)));
    assert!(web.options.monitoring && web.options.disable_api_stop);
    let plain = &evaluated.instances[&InstanceAddress::new("plain")];
    assert!(plain.options.is_default() && plain.options.metadata.tokens_required);
}
