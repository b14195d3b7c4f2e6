//! Of which platform a stub is: EC2 takes it from the AMI, and keeps it.

use std::fs;

use serde_json::{Value, json};

use super::story::{Restore, instance};
use crate::support::Workspace;
use crate::support::guests::guest;

/// tests/ec2/amis.json: what boots by BIOS.
const WINDOWS: &str = "ami-0a3000000000000c1";

/// The images that stubs were launched from.
fn launched(restore: &Restore) -> Vec<String> {
    let runs = restore.cloud.parameters("RunInstances");
    runs.iter().map(|run| run["ImageId"].as_str().unwrap().to_owned()).collect()
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_windows_instance_that_is_replaced_stays_one() {
    let said = "  launch { platform = \"windows\" }\n";
    let restore = Restore::new(json!({ "delay": 0.05 }), "", &instance("web", said));
    restore.workspace.raw_image("web.raw", 4, 1);
    let planned = restore.run(&["plan"]).success();
    assert!(words(&planned.stdout).contains("platform = \"windows\""), "{}", planned.stdout);
    assert!(!planned.stdout.contains("plan::platform"), "{}", planned.stdout);
    restore.apply().success();
    assert_eq!(launched(&restore), [WINDOWS]);
    assert_eq!(restore.workspace.state()["resources"]["instance.web"]["platform"], "windows");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    let root = restore.volume("instance.web.volume.root");
    // It is what it is without being told again, and goes on so.
    let moved = |last: u32| {
        let address = restore.cloud.address("eu-central-1a", last);
        restore.configure("", &instance("web", &format!("  private_ip = \"{address}\"\n")));
    };
    moved(77);
    let planned = restore.run(&["plan"]).success();
    assert!(!planned.stdout.contains("platform"), "{}", planned.stdout);
    restore.apply().success();
    // An earlier version's state does not say it; EC2 does.
    let path = restore.workspace.path().join("replant.state.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let web = state["resources"]["instance.web"].as_object_mut().unwrap();
    assert_eq!(web.remove("platform"), Some(json!("windows")));
    fs::write(&path, serde_json::to_string_pretty(&state).unwrap()).unwrap();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    moved(78);
    restore.apply().success();
    assert_eq!(launched(&restore), [WINDOWS; 3]);
    assert_eq!(restore.volume("instance.web.volume.root"), root, "its volume goes over");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);

    // Another one needs another AMI.
    let body = format!(
        "  launch {{ platform = \"linux\" }}\n  private_ip = \"{}\"\n",
        restore.cloud.address("eu-central-1a", 78)
    );
    restore.configure("", &instance("web", &body));
    let planned = restore.run(&["plan"]).success();
    assert!(planned.stdout.contains("platform cannot change in place"), "{}", planned.stdout);
    restore.apply().success();
    assert_ne!(launched(&restore)[3], WINDOWS);
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
}

/// A named AMI decides, and no platform is a difference from it.
#[test]
fn the_platform_of_a_named_ami_is_nobody_s_mistake() {
    let body = instance("web", &format!("  launch {{ base_ami = \"{WINDOWS}\" }}\n"));
    let restore = Restore::new(json!({ "delay": 0.05 }), "", &body);
    restore.workspace.raw_image("web.raw", 4, 1);
    let planned = restore.run(&["plan"]).success();
    assert!(!planned.stdout.contains("plan::platform"), "{}", planned.stdout);
    restore.apply().success();
    assert_eq!(restore.workspace.state()["resources"]["instance.web"]["platform"], "windows");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    restore.configure("", &instance("web", ""));
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
}

#[test]
fn a_platform_that_nobody_knows_is_said() {
    let restore = Restore::new(json!({}), "", &instance("web", ""));
    restore.workspace.raw_image("web.raw", 4, 1);
    let planned = restore.run(&["plan"]).success();
    for part in ["plan::platform_unknown", "launch { platform = \"windows\" }"] {
        assert!(planned.stdout.contains(part), "{part}: {}", planned.stdout);
    }
    restore.configure("", &instance("web", "  launch { platform = \"linux\" }\n"));
    assert!(!restore.run(&["plan"]).success().stdout.contains("plan::platform_unknown"));
    restore.configure("", &instance("web", ""));
    restore.apply().success();
    // From then on it is known.
    let replaced = restore.run(&["plan", "--replace", "instance.web"]).success();
    assert!(!replaced.stdout.contains("plan::platform_unknown"), "{}", replaced.stdout);
}

#[test]
fn a_guest_is_not_of_another_platform_because_somebody_says_so() {
    let image = guest("bios-ext4").raw();
    let body = format!(
        "instance \"web\" {{\n  image = {image:?}\n  instance_type = \"m6i.large\"\n  launch {{ platform = \"windows\" }}\n}}\n"
    );
    let workspace = Workspace::new(&body);
    let refused = workspace.run(&["plan"]).code(1);
    assert!(refused.stderr.contains("plan::platform_mismatch"), "{}", refused.both());
    workspace.configure(&body.replace("windows", "linux"));
    assert!(words(&workspace.run(&["plan"]).success().stdout).contains("platform = \"linux\""));
}
