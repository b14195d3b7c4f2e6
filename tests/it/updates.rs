//! docs/src/updates.md on the local provider: every row of its tables, as it is planned for a
//! machine that runs. (The calls that EC2 gets are looked at in provider/aws/launch.rs.)

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::Workspace;
use crate::support::booting::{LOGIN, Machines, bootable};

/// What a cloud cannot be told to change (its zone), what only another image changes, and what needs
/// a network of its own (provider/aws/declared.rs).
const ELSEWHERE: [&str; 3] = ["zone", "architecture", "network_interface.N.security_group_ids"];

/// Row → lines of the instance, lines of its root disk.
const CHANGES: [(&str, &str, &str); 30] = [
    ("tags", "tags = { Role = \"x\" }", ""),
    ("security_group_ids", "security_group_ids = [\"sg-0123456789abcdef0\"]", ""),
    ("termination_protection", "termination_protection = true", ""),
    ("prevent_destroy", "lifecycle { prevent_destroy = true }", ""),
    ("metadata_options", "metadata_options { http_put_response_hop_limit = 3 }", ""),
    ("monitoring", "monitoring = true", ""),
    ("credit_specification", "credit_specification { cpu_credits = \"standard\" }", ""),
    ("disable_api_stop", "disable_api_stop = true", ""),
    ("instance_type", "instance_type = \"t3.large\"", ""),
    ("user_data", "user_data = \"x\"", ""),
    ("placement", "placement { group_name = \"close\" }", ""),
    ("subnet_id", "subnet_id = \"subnet-0123456789abcdef0\"", ""),
    (
        "network_interface.",
        "network_interface {\n    device_index = 1\n    subnet_id = \"subnet-0123456789abcdef1\"\n  }",
        "",
    ),
    ("private_ip", "private_ip = \"10.0.0.77\"", ""),
    ("key_name", "key_name = \"ops\"", ""),
    ("iam_instance_profile", "iam_instance_profile = \"web\"", ""),
    ("base_ami", "launch { base_ami = \"ami-0123456789abcdef0\" }", ""),
    ("boot_mode", "launch { boot_mode = \"uefi\" }", ""),
    ("platform", "launch { platform = \"windows\" }", ""),
    ("tags", "", "tags = { Role = \"x\" }"),
    ("size", "", "size = 16"),
    ("type", "", "type = \"gp2\""),
    ("iops", "", "iops = 4000"),
    ("throughput", "", "throughput = 300"),
    ("delete_on_termination", "", "delete_on_termination = false"),
    ("final_snapshot", "", "final_snapshot = true"),
    ("encrypted", "", "encrypted = true"),
    ("kms_key_id", "", "encrypted = true\n    kms_key_id = \"alias/backups\""),
    ("size down", "", "size = 4"),
    ("launch", "launch { boot_timeout = 90 }", ""),
];

fn configuration(instance: &str, disk: &str) -> String {
    let kind = if instance.contains("instance_type") { "" } else { "  instance_type = \"t3.medium\"\n" };
    let size = if disk.contains("size") { "" } else { "    size = 8\n" };
    format!(
        "provider \"local\" {{\n  accelerator = \"tcg\"\n  memory = 128\n  boot_timeout = 60\n}}\ninstance \"web\" {{\n  image = \"web.raw\"\n{kind}  guest {{ drivers = \"none\" }}\n  {instance}\n  disk \"root\" {{\n{size}    {disk}\n  }}\n}}\n"
    )
}

/// The rows of a page's table: attribute and way.
fn rows(page: &str, heading: &str) -> Vec<(String, String)> {
    let section = page.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let row = |line: &str| {
        let (name, way) = line.strip_prefix("| `")?.split_once('|')?;
        Some((name.split('`').next()?.to_owned(), way.trim().trim_end_matches('|').trim().to_owned()))
    };
    section.lines().filter_map(row).collect()
}

/// How a plan says that it makes a change.
fn way(plan: &str) -> &'static str {
    if plan.contains("stopped for this change") {
        "stop and start"
    } else if plan.contains("# forces replacement") {
        "replacement"
    } else if plan.contains(" to change, 0 to replace, 0 to destroy") && !plan.contains(" 0 to change,") {
        "in place"
    } else {
        "nothing"
    }
}

#[test]
fn each_row_of_the_table_is_what_is_planned() {
    let guarded = Machines(Workspace::new(&configuration("", "")));
    let workspace = &guarded.0;
    bootable(workspace, "web.raw", LOGIN);
    workspace.apply().success();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/updates.md")).unwrap();
    let (instance, volume) = (rows(&page, "## An instance"), rows(&page, "## A volume"));
    let mut wrong = Vec::new();
    for (name, lines, disk) in CHANGES {
        workspace.configure(&configuration(lines, disk));
        let planned = workspace.run(&["plan"]);
        if name == "size down" {
            assert!(planned.code == 1 && planned.both().contains("plan::size_down"), "{}", planned.both());
            continue;
        }
        let said = way(&planned.stdout);
        let table = if disk.is_empty() { &instance } else { &volume };
        let wanted = table.iter().find(|(row, _)| row == name).map_or("nothing", |(_, way)| way.as_str());
        if planned.code != 0 || !wanted.starts_with(said) {
            wrong.push(format!("{name}: {said} instead of {wanted}: {}", planned.both()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let tried: BTreeSet<&str> = CHANGES.iter().map(|(name, ..)| *name).chain(ELSEWHERE).collect();
    let untried: Vec<&String> = instance
        .iter()
        .chain(&volume)
        .map(|(row, _)| row)
        .filter(|row| !tried.contains(row.as_str()))
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}

/// Before its first start an instance is what its base AMI made it; afterwards that is only said.
#[test]
fn another_base_ami_replaces_only_what_has_never_run() {
    let base = |ami: &str| format!("launch {{ base_ami = \"ami-{ami}\" }}");
    let stopped = |ami: &str| configuration(&format!("state = \"stopped\"\n  {}", base(ami)), "");
    let guarded = Machines(Workspace::new(&stopped("0123456789abcdef0")));
    let workspace = &guarded.0;
    bootable(workspace, "web.raw", LOGIN);
    workspace.apply().success();
    let (volume, instance) = (workspace.volumes()[0]["id"].clone(), workspace.instances()[0]["id"].clone());
    workspace.configure(&stopped("0123456789abcdef1"));
    let planned = workspace.run(&["plan"]).success();
    assert_eq!(way(&planned.stdout), "replacement", "{}", planned.stdout);
    assert!(planned.stdout.contains("base_ami"), "{}", planned.stdout);
    workspace.apply().success();
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    assert_eq!(workspace.volumes()[0]["id"], volume, "what is restored goes over");
    assert_ne!(workspace.instances()[0]["id"], instance);
    // Replant's own choice is no other one.
    workspace.configure(&configuration("state = \"stopped\"", ""));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);

    workspace.configure(&configuration(&base("0123456789abcdef1"), ""));
    workspace.apply().success();
    let instance = workspace.instances()[0]["id"].clone();
    workspace.configure(&configuration(&base("0123456789abcdef2"), ""));
    let planned = workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    let said: String =
        planned.stdout.split_whitespace().filter(|word| *word != "#").collect::<Vec<_>>().join(" ");
    for word in ["launched from ami-0123456789abcdef1", "replant apply --replace 'instance.web'"] {
        assert!(said.contains(word), "{word}: {}", planned.stdout);
    }
    // A change of something else does not make it forgotten.
    workspace.configure(&configuration(
        &format!(
            "termination_protection = false\n  tags = {{ Role = \"x\" }}\n  {}",
            base("0123456789abcdef2")
        ),
        "",
    ));
    workspace.apply().success();
    assert!(workspace.run(&["plan"]).success().stdout.contains("ami-0123456789abcdef1"));
    workspace.run(&["apply", "--auto-approve", "--replace", "instance.web"]).success();
    assert_ne!(workspace.instances()[0]["id"], instance);
    let planned = workspace.run(&["plan", "--detailed-exitcode"]).code(0);
    assert!(!planned.stdout.contains("base_ami"), "{}", planned.stdout);
}
