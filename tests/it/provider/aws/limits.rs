//! How many volumes fit: on what is restored, and on the access node.

use replant::model::AccessNodeSpec;
use replant::provider::Provider;
use replant::provider::aws::AwsProvider;
use serde_json::json;

use super::super::conformance::run;
use super::super::ec2::{Cloud, REGION, SECRET};
use super::story::Restore;
use super::{access_node, spec};

/// A machine with this many disks; all but the first are empty.
fn machine(kind: &str, disks: usize, more: &str) -> String {
    let empty: String = (1..disks).map(|n| format!("  disk \"d{n}\" {{ size = 1 }}\n")).collect();
    format!(
        "instance \"web\" {{\n  instance_type = \"{kind}\"\n  guest {{ drivers = \"none\" }}\n  disk \"root\" {{ image = \"web.raw\" }}\n{empty}{more}}}\n"
    )
}

#[test]
fn more_disks_than_the_type_takes_are_no_plan() {
    let restore = Restore::new(json!({}), "", "");
    restore.workspace.raw_image("web.raw", 4, 1);
    let subnet = restore.cloud.subnet(&format!("{REGION}a")).to_owned();
    let two = format!(
        "  subnet_id = \"{subnet}\"\n  network_interface {{\n    device_index = 1\n    subnet_id = \"{subnet}\"\n  }}\n"
    );
    let by = "  state = \"standby\"\n";
    for (kind, disks, more, refusal) in [
        ("m6i.large", 27, "", None),
        ("m6i.large", 28, "", Some("has 28 disks; m6i.large takes 27 volumes.")),
        ("m6i.large", 27, two.as_str(), Some("m6i.large takes 26 volumes beside 2 network interfaces")),
        ("m6id.large", 27, "", Some("m6id.large takes 26 volumes.")),
        // Limits of its own.
        ("m7i.large", 32, two.as_str(), None),
        // No instance.
        ("m6i.large", 28, by, None),
    ] {
        restore.configure("", &machine(kind, disks, more));
        let planned = restore.run(&["plan"]);
        let said = planned.both().split_whitespace().collect::<Vec<_>>().join(" ");
        match refusal {
            None => assert!(!said.contains("plan::too_many_disks"), "{kind} {disks}: {}", planned.both()),
            Some(words) => {
                assert_eq!(planned.code, 1, "{kind} {disks}: {}", planned.both());
                assert!(said.contains("plan::too_many_disks") && said.contains(words), "{}", planned.both());
            }
        }
    }
}

#[test]
fn network_interfaces_of_the_access_node_take_slots() {
    let free = |kind: &str, interfaces: u32| {
        let cloud = Cloud::new(json!({ "type": kind }));
        for index in 1..=interfaces {
            let subnet = json!({ "SubnetId": cloud.subnet(&format!("{REGION}a")) });
            let made = cloud.elsewhere("CreateNetworkInterface", &subnet);
            let id = made.split("<networkInterfaceId>").nth(1).unwrap().split('<').next().unwrap();
            let attach = json!({
                "NetworkInterfaceId": id, "InstanceId": cloud.access_node, "DeviceIndex": index.to_string(),
            });
            cloud.elsewhere("AttachNetworkInterface", &attach);
        }
        let node = AccessNodeSpec { max_attachments: None, ..access_node(&cloud) };
        let aws = AwsProvider::with_credentials(&spec(&cloud), &node, &cloud.key, SECRET);
        let mut free = 0;
        run(async { free = aws.access_node().await.unwrap().free_slots.len() });
        free
    };
    // 27 beside the first interface, less the node's own root.
    assert_eq!(free("m6i.large", 0), 26);
    assert_eq!(free("m6i.large", 2), 24);
    // One instance store, which EC2 has counted.
    assert_eq!(free("m6id.large", 1), 24);
    // A limit of its own.
    assert_eq!(free("m7i.large", 2), 31);
}
