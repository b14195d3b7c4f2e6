//! What a configuration comes to: specifications, unknown and sensitive values, dependencies.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use replant::config::{InstanceFacts, KnownFacts, Options, VolumeFacts, check, load};
use replant::model::{
    BootMode, DesiredState, DriversPolicy, IdentityPolicy, InstanceAddress, LaunchMethod, NetworkPolicy,
    ProviderSpec, VolumeType,
};
use serde_json::json;

use super::support::{checked, directory, valid};

const FULL: &str = r##"
replant { required_version = ">= 0.1, < 2" }

provider "local" {
  directory    = ".cloud"
  zone         = "local-1b"
  memory       = 512
  accelerator  = "tcg"
  boot_timeout = 60
}

access_node "dr" {
  instance_id     = "i-0123456789abcdef0"
  max_attachments = 4
}

instance "web" {
  image_format  = "raw"
  instance_type = "m6i.large"
  subnet_id     = "subnet-1"
  private_ip    = "10.20.1.15"
  security_group_ids     = ["sg-1", "sg-2"]
  key_name               = "key"
  iam_instance_profile   = "profile"
  user_data              = "#!/bin/sh\n"
  termination_protection = true
  state                  = "stopped"
  tags = { Name = "web" }

  disk "root" {
    image      = "disk.raw"
    format     = "raw"
    size       = 40
    grow       = true
    iops       = 4000
    throughput = 250
    encrypted  = true
    kms_key_id = "alias/x"
    delete_on_termination = false
    final_snapshot        = true
    tags       = { Kind = "root" }
  }
  disk "data" {
    type = "st1"
    size = 500
  }

  guest {
    network = "keep"
    drivers = "none"
  }
  launch {
    method          = "image"
    base_ami        = "ami-0123456789abcdef0"
    boot_mode       = "legacy-bios"
    console_pattern = "login:"
    boot_timeout    = 120
  }
  lifecycle {
    prevent_destroy         = true
    replace_on_image_change = true
  }
}
"##;

#[test]
fn every_attribute_arrives() {
    let directory = directory(FULL);
    let (found, diagnostics) = check(directory.path(), &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let (_, evaluated) = found.unwrap();
    let ProviderSpec::Local(provider) = &evaluated.provider else { panic!("{evaluated:?}") };
    assert_eq!(provider.directory, directory.path().join(".cloud"));
    assert_eq!((provider.zone.as_str(), provider.memory, provider.boot_timeout), ("local-1b", 512, 60));
    assert_eq!(evaluated.access_node.name, "dr");
    assert_eq!(evaluated.access_node.max_attachments, Some(4));
    assert_eq!(evaluated.required_version.as_deref(), Some(">= 0.1, < 2"));
    assert_eq!(evaluated.provider_span.unwrap().line, 4);
    let web = &evaluated.instances[&InstanceAddress::new("web")];
    assert_eq!(web.private_ip.unwrap().to_string(), "10.20.1.15");
    assert_eq!(web.security_group_ids, ["sg-1", "sg-2"]);
    assert_eq!(web.user_data.as_deref(), Some("#!/bin/sh\n"));
    assert!(
        web.termination_protection && web.lifecycle.prevent_destroy && web.lifecycle.replace_on_image_change
    );
    assert_eq!(web.state, DesiredState::Stopped);
    assert_eq!((web.guest.network, web.guest.drivers), (NetworkPolicy::Keep, DriversPolicy::None));
    assert_eq!((web.launch.method, web.launch.boot_mode), (LaunchMethod::Image, Some(BootMode::LegacyBios)));
    assert_eq!(web.launch.console_pattern.as_deref(), Some("login:"));
    let [root, data] = web.disks.as_slice() else { panic!("{:?}", web.disks) };
    assert_eq!(root.image.as_ref().unwrap().path, directory.path().join("disk.raw").into());
    assert_eq!(root.image.as_ref().unwrap().format.as_deref(), Some("raw"));
    assert_eq!((root.size, root.iops, root.throughput), (Some(40), Some(4000), Some(250)));
    assert!(root.grow && !root.delete_on_termination && root.final_snapshot == Some(true));
    assert_eq!(root.tags["Kind"], "root");
    assert_eq!((data.volume_type, data.size), (VolumeType::St1, Some(500)));
    assert_eq!(web.span("disk.root.size").unwrap().source_line.trim(), "size       = 40");
    assert_eq!(web.span("disk.root.nothing").unwrap().source_line.trim(), "disk \"root\" {");
    assert_eq!(web.span("tags.Name").unwrap().column, 19);
    assert!(web.unknown.is_empty() && web.sensitive.is_empty());
}

#[test]
fn what_is_wanted_in_a_guest_arrives() {
    let directory = directory(
        r#"
        variable "site" { default = "dr" }
        instance "web" {
          for_each      = toset(["a", "b"])
          image         = "disk.raw"
          instance_type = "m6i.large"
          guest {
            identity = "new"
            accept   = ["ena_missing", "disk::raid"]
            hostname = "web-${each.key}.example.com"
            file "/etc/motd.d/50 drill.txt" {
              content = "of ${var.site}, ${each.key}\n"
              mode    = 640
              owner   = "www-data"
              group   = "12"
            }
            file "/etc/logo" { source = "files/logo" }
            file "/etc/empty" { content = "" }
            first_boot { script = file("files/beacon.sh") }
          }
        }
        "#,
    );
    fs::create_dir(directory.path().join("files")).unwrap();
    fs::write(directory.path().join("files/logo"), [0, 255]).unwrap();
    fs::write(directory.path().join("files/beacon.sh"), "#!/bin/sh\n").unwrap();
    let (found, diagnostics) = check(directory.path(), &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let (config, evaluated) = found.unwrap();
    let web = &evaluated.instances[&"instance.web[\"b\"]".parse().unwrap()];
    assert_eq!(web.guest.accept, ["ena_missing", "raid"]);
    let changes = &web.guest.changes;
    assert_eq!(changes.identity, IdentityPolicy::New);
    assert_eq!(changes.hostname.as_deref(), Some("web-b.example.com"));
    let [motd, logo, empty] = changes.files.as_slice() else { panic!("{:?}", changes.files) };
    assert_eq!((motd.path.as_str(), motd.content.bytes()), ("/etc/motd.d/50 drill.txt", &b"of dr, b\n"[..]));
    assert_eq!(
        (motd.mode, motd.owner.as_deref(), motd.group.as_deref()),
        (Some(0o640), Some("www-data"), Some("12"))
    );
    assert_eq!((logo.content.bytes(), logo.mode), (&[0, 255][..], None));
    assert_eq!(empty.content.bytes(), b"");
    assert_eq!(changes.first_boot.as_ref().unwrap().timeout, 300);
    assert_eq!(
        web.span("guest.file./etc/logo.source").unwrap().source_line.trim(),
        "file \"/etc/logo\" { source = \"files/logo\" }"
    );

    // A saved plan is bound to the files' contents.
    let digest = config.digest();
    fs::write(directory.path().join("files/logo"), [1]).unwrap();
    let (found, _) = check(directory.path(), &Options::default());
    assert_ne!(found.unwrap().0.digest(), digest);
}

const WEB: &str = "instance_type = \"m6i.large\"\n  disk \"root\" {\n    image = \"disk.raw\"\n  }\n";

#[test]
fn what_is_known_after_apply_travels_and_is_filled_in() {
    let text = format!(
        r#"
instance "db" {{
  {WEB}
}}
locals {{ url = "postgres://${{instance.db.private_ip}}/x" }}
instance "web" {{
  {WEB}
  user_data = upper(local.url)
  tags      = {{ Name = "web", Db = instance.db.id, Volume = instance.db.volume.root.id }}
}}
output "type" {{ value = instance.db.instance_type }}
output "url" {{ value = local.url }}
output "maybe" {{ value = instance.db.id == "i-1" ? 1 : 2 }}
output "count" {{ value = length(instance.web.tags) }}
"#
    );
    let directory = directory(&text);
    let (config, diagnostics) = load(directory.path(), &Options::default());
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let config = config.unwrap();
    let (planned, diagnostics) = config.evaluate(&KnownFacts::default());
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let web = &planned.instances[&InstanceAddress::new("web")];
    assert_eq!(web.unknown.iter().collect::<Vec<_>>(), ["tags.Db", "tags.Volume", "user_data"]);
    assert_eq!((web.user_data.as_deref(), web.tags["Db"].as_str()), (None, ""));
    assert_eq!(web.depends_on.iter().map(ToString::to_string).collect::<Vec<_>>(), ["instance.db"]);
    assert_eq!(planned.outputs["type"].value, Some(json!("m6i.large")));
    assert_eq!(planned.outputs["url"].value, None);
    assert_eq!(planned.outputs["maybe"].value, None);
    assert_eq!(planned.outputs["count"].value, Some(json!(3)));

    let facts = InstanceFacts {
        id: Some("i-1".into()),
        private_ip: Some("10.0.0.9".into()),
        volumes: BTreeMap::from([("root".into(), VolumeFacts { id: Some("vol-1".into()), size: Some(8) })]),
        ..InstanceFacts::default()
    };
    let known = KnownFacts {
        instances: BTreeMap::from([(InstanceAddress::new("db"), facts)]),
        ..KnownFacts::default()
    };
    let (applied, diagnostics) = config.evaluate(&known);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let web = &applied.instances[&InstanceAddress::new("web")];
    assert!(web.unknown.is_empty());
    assert_eq!(web.user_data.as_deref(), Some("POSTGRES://10.0.0.9/X"));
    assert_eq!((web.tags["Db"].as_str(), web.tags["Volume"].as_str()), ("i-1", "vol-1"));
    assert_eq!(applied.outputs["maybe"].value, Some(json!(1)));
}

#[test]
fn for_each_makes_instances_that_depend_on_what_they_name() {
    let evaluated = valid(&format!(
        r#"
locals {{ sites = {{ eu = "10.0.0.5", us = "10.0.1.5" }} }}
instance "db" {{
  for_each = local.sites
  {WEB}
  tags = {{ Site = each.key }}
}}
instance "web" {{
  for_each   = local.sites
  {WEB}
  private_ip = each.value
  user_data  = instance.db[each.key].id
}}
instance "all" {{
  {WEB}
  user_data  = join(",", [for key, db in instance.db : db.tags.Site])
  depends_on = [instance.web["us"]]
}}
output "ips" {{ value = {{ for key, web in instance.web : key => web.private_ip }} }}
"#
    ));
    let needs = |address: InstanceAddress| {
        evaluated.instances[&address].depends_on.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(evaluated.instances.len(), 5);
    assert_eq!(needs(InstanceAddress::with_key("web", "eu")), ["instance.db[\"eu\"]"]);
    assert_eq!(
        needs(InstanceAddress::new("all")),
        ["instance.db[\"eu\"]", "instance.db[\"us\"]", "instance.web[\"us\"]"]
    );
    assert_eq!(evaluated.outputs["ips"].value, Some(json!({ "eu": "10.0.0.5", "us": "10.0.1.5" })));
    assert_eq!(evaluated.instances[&InstanceAddress::new("all")].user_data.as_deref(), Some("eu,us"));
}

#[test]
fn secrets_are_marked_wherever_they_go() {
    let evaluated = valid(&format!(
        r#"
variable "password" {{
  default   = "hunter2"
  sensitive = true
}}
locals {{
  all   = {{ user = "x", password = var.password }}
  lines = [for key, value in local.all : "${{key}}=${{value}}"]
}}
instance "web" {{
  {WEB}
  user_data = join("\n", local.lines)
  key_name  = local.all.user
  tags      = {{ Name = "web", Secret = base64encode(var.password) }}
}}
output "secret" {{
  value     = instance.web.user_data
  sensitive = true
}}
output "length" {{ value = nonsensitive(length(var.password)) }}
output "user" {{ value = local.all.user }}
"#
    ));
    let web = &evaluated.instances[&InstanceAddress::new("web")];
    assert_eq!(web.sensitive.iter().collect::<Vec<_>>(), ["tags.Secret", "user_data"]);
    assert!(evaluated.outputs["secret"].sensitive);
    assert_eq!(evaluated.outputs["length"].value, Some(json!(7)));
}

#[test]
fn variables_come_from_everywhere_and_the_last_wins() {
    let directory = directory(
        r#"
variable "a" { default = 1 }
variable "b" { default = 1 }
variable "c" { default = 1 }
variable "d" { default = 1 }
variable "e" { default = 1 }
variable "list" { type = list(string) }
variable "object" {
  type = object({ name = string, size = optional(number, 8), tags = optional(map(string)) })
}
output "all" { value = [var.a, var.b, var.c, var.d, var.e] }
output "list" { value = var.list }
output "object" { value = var.object }
"#,
    );
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("replant.replantvars.hcl", "b = 2\nc = 2\nd = 2\ne = 2\n");
    write("x.auto.replantvars.hcl", "c = 3\nd = 3\ne = 3\nobject = { name = 5 }\n");
    write("given.json", r#"{ "d": 4, "e": 4 }"#);
    let options = Options {
        variables: vec![("e".into(), "5".into()), ("list".into(), "[\"x\", 1]".into())],
        variable_files: vec![directory.path().join("given.json")],
        environment: BTreeMap::from([
            ("REPLANT_VAR_a".into(), "env".into()),
            ("REPLANT_VAR_b".into(), "env".into()),
            ("REPLANT_VAR_nobody".into(), "x".into()),
        ]),
        ..Options::default()
    };
    let (found, diagnostics) = check(directory.path(), &options);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let outputs = found.unwrap().1.outputs;
    assert_eq!(outputs["all"].value, Some(json!(["env", 2, 3, 4, "5"])));
    assert_eq!(outputs["list"].value, Some(json!(["x", "1"])));
    assert_eq!(outputs["object"].value, Some(json!({ "name": "5", "size": 8, "tags": null })));
}

#[test]
fn an_undeclared_variable_is_an_error_on_the_command_line_and_a_warning_in_a_file() {
    let directory = directory("variable \"region\" { default = \"eu\" }\n");
    let given = |options: Options| check(directory.path(), &options).1;
    let found = given(Options { variables: vec![("regoin".into(), "x".into())], ..Options::default() });
    assert!(found.has_errors());
    assert_eq!(found.as_slice()[0].help[0], "did you mean `region`?");
    fs::write(directory.path().join("a.auto.replantvars.hcl"), "regoin = 1\n").unwrap();
    let found = given(Options::default());
    assert!(!found.has_errors() && found.as_slice().len() == 1, "{found:#?}");
}

#[test]
fn all_mistakes_come_at_once_and_in_order() {
    let (_, found) = checked(
        r#"
instance "a" {
  instance_type = "m6i.large"
  imagee        = "x"
  subnet_id     = var.nothing
  disk "root" {
    image = "nowhere.vmdk"
    size  = "x"
  }
}
instance "b" {
  for_each      = toset(["x", "y", "z"])
  instance_type = upper(each.key)
  disk "root" { image = "disk.raw" }
}
output "o" { value = 1 / 0 }
"#,
    );
    let lines: Vec<u32> = found.as_slice().iter().map(|each| each.span.as_ref().unwrap().line).collect();
    assert_eq!(lines, [4, 5, 7, 8, 13, 16], "{found:#?}");
    assert!(found.as_slice()[4].detail.ends_with("The same holds for 2 more."), "{found:#?}");
}

#[test]
fn a_digest_changes_with_everything_that_matters() {
    let text = "variable \"v\" { default = \"a\" }\noutput \"f\" { value = file(\"x.txt\") }\n";
    let directory = directory(text);
    let path = directory.path();
    fs::write(path.join("x.txt"), "one").unwrap();
    let digest = |value: &str| {
        let options = Options { variables: vec![("v".into(), value.into())], ..Options::default() };
        load(path, &options).0.unwrap().digest()
    };
    let first = digest("a");
    assert_eq!(first, digest("a"));
    assert_ne!(first, digest("b"));
    fs::write(path.join("x.txt"), "two").unwrap();
    assert_ne!(first, digest("a"));
    fs::write(path.join("x.txt"), "one").unwrap();
    assert_eq!(first, digest("a"));
    fs::write(path.join("main.replant.hcl"), format!("{text}# note\n")).unwrap();
    assert_ne!(first, digest("a"));
}

#[test]
fn hostile_configurations_end_in_a_diagnostic() {
    let doubling: String = (1..60).map(|i| format!("  a{i} = [local.a{0}, local.a{0}]\n", i - 1)).collect();
    let text_doubling: String =
        (1..60).map(|i| format!("  a{i} = \"${{local.a{0}}}${{local.a{0}}}\"\n", i - 1)).collect();
    let chain: String = (1..5000).map(|i| format!("  a{i} = [local.a{}]\n", i - 1)).collect();
    let operators = format!("locals {{\n  x = {}1\n}}\n", "1 + ".repeat(5000));
    let parentheses = format!("locals {{\n  x = {}1{}\n}}\n", "(".repeat(5000), ")".repeat(5000));
    let blocks = format!("{}{}", "a {\n".repeat(5000), "}\n".repeat(5000));
    for text in [
        format!("locals {{\n  a0 = 1\n{doubling}}}\n"),
        format!("locals {{\n  a0 = \"abcdefgh\"\n{text_doubling}}}\n"),
        format!("locals {{\n  a0 = 1\n{chain}}}\n"),
        operators,
        parentheses,
        blocks,
        "locals {\n  x = file(\"/dev/zero\")\n}\n".to_owned(),
        "locals {\n  x = templatefile(\"main.replant.hcl\", {})\n  y = \"${nothing}\"\n}\n".to_owned(),
        "locals {\n  x = format(\"%999999999d\", 1)\n}\n".to_owned(),
        format!("locals {{\n  x = regex(\"{}\", \"a\")\n}}\n", "(a{1000}){1000}"),
        "locals {\n  x = jsondecode(\"".to_owned() + &"[".repeat(5000) + "\")\n}\n",
        "locals {\n  x = yamldecode(\"a: &a [x, x]\\nb: &b [*a, *a, *a, *a]\\nc: &c [*b, *b, *b, *b]\\nd: &d [*c, *c, *c, *c]\\ne: &e [*d, *d, *d, *d]\\nf: &f [*e, *e, *e, *e]\\ng: &g [*f, *f, *f, *f]\\nh: &h [*g, *g, *g, *g]\\ni: &i [*h, *h, *h, *h]\\nj: [*i, *i, *i, *i]\\n\")\n}\n".to_owned(),
        "\u{0}\u{1}".to_owned(),
        "locals { x = cidrsubnet(\"0.0.0.0/0\", 33, 1) }\n".to_owned(),
        "locals { x = 170141183460469231731687303715884105727 * 1e300 * 1e300 }\n".to_owned(),
    ] {
        let started = Instant::now();
        let (_, found) = checked(&text);
        assert!(found.has_errors(), "{}", &text[..text.len().min(80)]);
        assert!(started.elapsed().as_secs() < 10, "{}", &text[..text.len().min(80)]);
    }
}

#[test]
fn two_thousand_instances_are_quick() {
    let text = r#"
locals {
  rows     = jsondecode(file("rows.json"))
  machines = { for row in local.rows : row.name => row }
}
instance "web" {
  for_each      = local.machines
  instance_type = lookup({ small = "m6i.large", large = "m6i.xlarge" }, each.value.kind, "t3.micro")
  subnet_id     = "subnet-${each.key}"
  private_ip    = each.value.ip
  tags          = merge({ Name = each.key }, each.value.tags)
  disk "root" {
    image = "disk.raw"
    size  = each.value.size
  }
}
output "ips" { value = { for key, web in instance.web : key => web.private_ip } }
"#;
    let directory = directory(text);
    let rows: Vec<_> = (0..2000)
        .map(|i| json!({ "name": format!("m{i}"), "kind": "small", "ip": format!("10.0.{}.{}", i / 250, i % 250 + 1), "size": 10 + i % 7, "tags": { "Row": i.to_string() } }))
        .collect();
    fs::write(directory.path().join("rows.json"), serde_json::to_vec(&rows).unwrap()).unwrap();
    let started = Instant::now();
    let (found, diagnostics) = check(directory.path(), &Options::default());
    let took = started.elapsed();
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    assert_eq!(found.unwrap().1.instances.len(), 2000);
    eprintln!("2,000 instances: {took:?}");
    // A bound that only quadratic behaviour breaks: a debug build on a busy machine needs 1 s.
    assert!(took.as_secs() < 20, "{took:?}");
}
