//! Thirty machines with 45 disks through the 21 slots of an access node of a Xen type; boto3 lists
//! exactly what the configuration says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::super::ec2::REGION;
use super::story::{Listed, Restore, assert_holds, mapped, tags};

const MACHINES: usize = 30;
/// Every second machine has two disks.
const DISKS: usize = 45;

/// Formats of qemu-img, with what makes them keep the size.
const FORMATS: [(&str, &str, &str); 6] = [
    ("raw", "raw", ""),
    ("qcow2", "qcow2", "compat=1.1"),
    ("vmdk", "vmdk", "subformat=monolithicSparse"),
    ("stream.vmdk", "vmdk", "subformat=streamOptimized"),
    ("vhd", "vpc", "force_size=on"),
    ("vhdx", "vhdx", ""),
];

/// Attributes of a disk and what they make: type, GiB, IOPS, throughput.
const KINDS: [(&str, &str, u64, Option<u64>, Option<u64>); 6] = [
    ("size = 2", "gp3", 2, Some(3000), Some(125)),
    ("type = \"gp3\"\n    size = 8\n    iops = 3500\n    throughput = 250", "gp3", 8, Some(3500), Some(250)),
    ("type = \"gp2\"\n    size = 100", "gp2", 100, Some(300), None),
    ("type = \"io1\"\n    size = 10\n    iops = 400", "io1", 10, Some(400), None),
    ("size = 10\n    restore_throughput = 1000\n    restore_iops = 4000", "gp3", 10, Some(3000), Some(125)),
    ("type = \"st1\"\n    size = 125", "st1", 125, None, None),
];

struct Machine {
    name: String,
    /// Of the machine, and of the images of its disks: source and file.
    instance_type: &'static str,
    running: bool,
    disks: Vec<(PathBuf, String, usize, bool)>,
}

fn machines(directory: &Path, count: usize) -> Vec<Machine> {
    let mut disk = 0;
    let mut next = |machine: usize, number: usize| {
        let format = FORMATS[disk % FORMATS.len()];
        let source = directory.join(format!("source{}.raw", disk % 4));
        let image = format!("disk{}.{}", disk % 12, format.0);
        disk += 1;
        // The last kind cannot be booted from.
        let kind = (machine + 2 * number) % (KINDS.len() + number - 1);
        (source, image, kind, (machine + number).is_multiple_of(3))
    };
    (0..count)
        .map(|index| Machine {
            name: format!("m{index:02}"),
            instance_type: ["m6i.large", "t3.micro", "m4.large", "c5.xlarge"][index % 4],
            running: index.is_multiple_of(2),
            disks: (0..1 + index % 2).map(|number| next(index, number)).collect(),
        })
        .collect()
}

fn configuration(machines: &[Machine], subnet: &str, address: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for (index, machine) in machines.iter().enumerate() {
        let state = if machine.running { "running" } else { "stopped" };
        text.push_str(&format!(
            "instance \"{}\" {{\n  instance_type = \"{}\"\n  subnet_id = \"{subnet}\"\n  private_ip = \"{}\"\n  state = \"{state}\"\n  user_data = \"#!/bin/sh\\necho {index}\\n\"\n  guest {{ drivers = \"none\" }}\n  tags = {{ Name = \"{}\" }}\n",
            machine.name,
            machine.instance_type,
            address(index),
            machine.name
        ));
        for (number, (_, image, kind, keep)) in machine.disks.iter().enumerate() {
            text.push_str(&format!(
                "  disk \"d{number}\" {{\n    image = \"{image}\"\n    {}\n    delete_on_termination = {}\n    tags = {{ Disk = \"{number}\" }}\n  }}\n",
                KINDS[*kind].0, !keep
            ));
        }
        text.push_str("}\n");
    }
    text
}

fn make_images(workspace: &crate::support::Workspace, machines: &[Machine]) {
    for seed in 0..4 {
        workspace.raw_image(&format!("source{seed}.raw"), 1 + seed % 2, seed + 1);
    }
    for (source, image, ..) in machines.iter().flat_map(|machine| &machine.disks) {
        let image = workspace.path().join(image);
        if image.exists() {
            continue;
        }
        let name = image.file_name().unwrap().to_str().unwrap();
        let (_, format, options) =
            FORMATS.iter().find(|(end, ..)| name.split_once('.').unwrap().1 == *end).unwrap();
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", format]);
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        assert!(command.arg(source).arg(&image).status().unwrap().success());
    }
}

fn user_data(index: usize) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(format!("#!/bin/sh\necho {index}\n"))
}

/// Each volume and instance that boto3 lists against the table above.
fn assert_is_configured(restore: &Restore, machines: &[Machine], address: impl Fn(usize) -> String) {
    let Listed { volumes, instances, snapshots } = restore.listed();
    let disks: usize = machines.iter().map(|machine| machine.disks.len()).sum();
    assert_eq!((volumes.len(), instances.len(), snapshots.len()), (disks, machines.len(), 0));
    let by_id: BTreeMap<&str, &Value> =
        volumes.iter().map(|volume| (volume["VolumeId"].as_str().unwrap(), volume)).collect();
    let by_name: BTreeMap<String, &Value> =
        instances.iter().map(|instance| (tags(instance)["Name"].clone(), instance)).collect();
    for (index, machine) in machines.iter().enumerate() {
        let (name, is) = (&machine.name, by_name[&machine.name]);
        assert_eq!(is["InstanceType"], machine.instance_type, "{name}");
        assert_eq!(is["State"]["Name"], if machine.running { "running" } else { "stopped" }, "{name}");
        assert_eq!(is["PrivateIpAddress"], address(index), "{name}");
        assert_eq!(is["UserData"], user_data(index), "{name}");
        assert_eq!(is["MetadataOptions"]["HttpTokens"], "required", "{name}");
        let wanted = [("Name".to_owned(), name.clone()), ("Team".to_owned(), "dr".to_owned())];
        assert_eq!(tags(is), wanted.into(), "{name}");
        let places = mapped(is);
        let root = is["RootDeviceName"].as_str().unwrap().to_owned();
        assert_eq!(places.len(), machine.disks.len(), "{name}: {places:?}");
        for (number, (source, _, kind, keep)) in machine.disks.iter().enumerate() {
            let device = if number == 0 { root.clone() } else { "/dev/sdf".to_owned() };
            let (id, ends) = &places[&device];
            assert_eq!(*ends, !keep, "{name} {device}");
            let volume = by_id[id.as_str()];
            let (_, wanted, size, iops, throughput) = KINDS[*kind];
            assert_eq!((&volume["VolumeType"], &volume["Size"]), (&json!(wanted), &json!(size)), "{name}");
            assert_eq!(volume["Iops"].as_u64(), iops, "{name}: {volume:#}");
            assert_eq!(volume["Throughput"].as_u64(), throughput, "{name}: {volume:#}");
            assert_eq!((&volume["State"], &volume["AvailabilityZone"]), (&json!("in-use"), &json!(zone())));
            assert_eq!(volume["Attachments"][0]["Device"], device, "{name}");
            let mut wanted = tags(is);
            wanted.insert("Disk".to_owned(), number.to_string());
            assert_eq!(tags(volume), wanted, "{name}");
            assert_holds(&format!("{name} {device}"), &restore.cloud.content(id), source);
        }
    }
}

fn zone() -> String {
    format!("{REGION}a")
}

#[test]
fn thirty_machines_with_forty_five_disks_pass_through_twenty_one_slots() {
    let team = "  default_tags = { Team = \"dr\" }";
    let restore = Restore::on_xen(json!({ "delay": 0.03 }), "", "");
    let machines = machines(restore.workspace.path(), MACHINES);
    assert_eq!(machines.iter().map(|machine| machine.disks.len()).sum::<usize>(), DISKS);
    make_images(&restore.workspace, &machines);
    let subnet = restore.cloud.subnet(&zone()).to_owned();
    let address = |index: usize| restore.cloud.address(&zone(), 100 + index as u32).to_string();
    restore.configure(team, &configuration(&machines, &subnet, address));

    let applied = restore.run(&["apply", "--auto-approve", "--parallelism", "32"]).success();
    assert!(applied.stdout.contains("Apply complete!"), "{}", applied.both());
    assert_is_configured(&restore, &machines, address);
    restore.assert_no_slot_is_taken();
    let most = restore.most_slots();
    assert!((15..=21).contains(&most), "{most} slots were used");
    restore.run(&["plan", "--detailed-exitcode"]).code(0);

    let kept: usize = machines.iter().flat_map(|machine| &machine.disks).filter(|(.., keep)| *keep).count();
    restore.run(&["destroy", "--auto-approve", "--parallelism", "32"]).success();
    let left = restore.listed();
    assert_eq!((left.volumes.len(), left.instances.len(), left.snapshots.len()), (kept, 0, 0));
    for volume in &left.volumes {
        assert_eq!(volume["State"], "available", "{volume:#}");
        assert!(!volume["Tags"].to_string().contains("replant:workspace"), "{volume:#}");
    }
    restore.assert_no_slot_is_taken();
}

#[test]
fn block_devices_of_a_nitro_node_hold_what_the_images_hold() {
    let restore = Restore::new(json!({ "delay": 0.03, "loops": true }), "", "");
    let machines = machines(restore.workspace.path(), 6);
    make_images(&restore.workspace, &machines);
    let subnet = restore.cloud.subnet(&zone()).to_owned();
    let address = |index: usize| restore.cloud.address(&zone(), 100 + index as u32).to_string();
    let own = format!("instance_id = \"{}\"", restore.cloud.access_node);
    let blocks = restore.cloud.blocks("  default_tags = { Team = \"dr\" }").replace(
        &format!("access_node \"dr\" {{ {own} }}"),
        &format!("access_node \"dr\" {{\n  {own}\n  max_attachments = 3\n}}"),
    );
    restore.workspace.configure(&(blocks + &configuration(&machines, &subnet, address)));
    restore.run(&["apply", "--auto-approve", "--verify"]).success();
    assert_is_configured(&restore, &machines, address);
    assert_eq!(restore.most_slots(), 3);
    restore.assert_no_slot_is_taken();
    restore.run(&["plan", "--detailed-exitcode"]).code(0);
    restore.destroy().success();
    assert_eq!(restore.listed().instances.len(), 0);
}
