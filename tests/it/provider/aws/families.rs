//! Both hypervisor families, both boot modes and architectures, and a stub that is named: each
//! restored volume lands where its stub's image has its root.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::story::{Restore, mapped, tags};

/// Name, type, `launch` block, image that the stub starts from, its root device, boot mode.
const MACHINES: [(&str, &str, &str, &str, &str, &str); 6] = [
    ("nitro_bios", "m6i.large", "", "ami-0a2000000000000b1", "/dev/xvda", "legacy-bios"),
    ("nitro_uefi", "m6i.large", "boot_mode = \"uefi\"", "ami-0a1000000000000a2", "/dev/xvda", "uefi"),
    // Where the type has no UEFI, an image that prefers it starts by BIOS.
    ("xen", "t2.micro", "", "ami-0a1000000000000a2", "/dev/xvda", "legacy-bios"),
    ("arm", "m6g.large", "", "ami-0a1000000000000a3", "/dev/xvda", "uefi"),
    (
        "windows",
        "m6i.large",
        "base_ami = \"ami-0a3000000000000c1\"",
        "ami-0a3000000000000c1",
        "/dev/sda1",
        "legacy-bios",
    ),
    (
        "windows_uefi",
        "m6i.large",
        "base_ami = \"ami-0a3000000000000c2\"\n    boot_mode = \"uefi\"",
        "ami-0a3000000000000c2",
        "/dev/sda1",
        "uefi",
    ),
];

fn story(restore: &Restore) {
    let mut text = String::new();
    for (name, kind, launch, ..) in MACHINES {
        text.push_str(&format!(
            "instance \"{name}\" {{\n  image = \"web.raw\"\n  instance_type = \"{kind}\"\n  guest {{ drivers = \"none\" }}\n  launch {{\n    {launch}\n  }}\n  disk \"root\" {{}}\n  disk \"data\" {{ size = 1 }}\n  tags = {{ Name = \"{name}\" }}\n}}\n"
        ));
    }
    restore.configure("", &text);
    let image = restore.workspace.raw_image("web.raw", 2, 1);
    restore.apply().success();
    let listed = restore.listed();
    let by_name: BTreeMap<String, &Value> =
        listed.instances.iter().map(|instance| (tags(instance)["Name"].clone(), instance)).collect();
    for (name, kind, _, ami, root, mode) in MACHINES {
        let is = by_name[name];
        assert_eq!((&is["InstanceType"], &is["ImageId"]), (&json!(kind), &json!(ami)), "{name}");
        assert_eq!(
            (&is["RootDeviceName"], &is["State"]["Name"]),
            (&json!(root), &json!("running")),
            "{name}"
        );
        assert_eq!(is["CurrentInstanceBootMode"], mode, "{name}");
        let volume = |disk: &str| restore.volume(&format!("instance.{name}.volume.{disk}"));
        let wanted = [(root, volume("root")), ("/dev/sdf", volume("data"))];
        let wanted = wanted.map(|(device, volume)| (device.to_owned(), (volume, true)));
        assert_eq!(mapped(is), wanted.into(), "{name}");
        restore.assert_holds(&format!("instance.{name}.volume.root"), &image);
    }
    restore.assert_no_slot_is_taken();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    restore.destroy().success();
    restore.assert_nothing_is_left("the end");
}

#[test]
fn from_a_nitro_node() {
    story(&Restore::new(json!({}), "", ""));
}

#[test]
fn from_a_xen_node() {
    story(&Restore::on_xen(json!({}), "", ""));
}
