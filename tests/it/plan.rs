//! What a plan refuses or warns of, as a user sees it, and what it shows for an appliance.

use std::fs;
use std::process::Command;

use crate::support::Workspace;

/// Plans a configuration over a 3 MiB raw image; what was said of it.
fn said(configuration: &str, code: i32) -> String {
    let workspace = Workspace::new(configuration);
    workspace.raw_image("web.raw", 3, 1);
    let output = workspace.run(&["plan"]).code(code);
    if code == 0 { notes(&output.stdout) } else { output.stderr }
}

/// The diagnostics of a plan that was made.
fn notes(stdout: &str) -> String {
    let begin = stdout.find("warning[").unwrap_or(0);
    let end = stdout.find("Plan: ").unwrap_or(stdout.len());
    stdout[begin..end].to_owned()
}

fn one(attributes: &str) -> String {
    format!(
        "instance \"web\" {{\n  image         = \"web.raw\"\n  instance_type = \"m6i.large\"\n  state         = \"stopped\"\n  guest {{ drivers = \"none\" }}\n{attributes}\n}}\n"
    )
}

#[test]
fn an_instance_type_that_does_not_exist() {
    insta::assert_snapshot!(said(&one("").replace("m6i.large", "m6i.lagre"), 1));
}

#[test]
fn an_instance_type_that_cannot_boot_the_firmware() {
    let configuration = one("  launch {\n    boot_mode = \"uefi\"\n  }").replace("m6i.large", "m4.large");
    insta::assert_snapshot!(said(&configuration, 1));
}

#[test]
fn a_disk_smaller_than_its_image() {
    let workspace = Workspace::new(&one("  disk \"root\" {\n    size = 1\n  }"));
    let image = fs::File::create(workspace.path().join("web.raw")).unwrap();
    image.set_len((1 << 30) + 512).unwrap();
    insta::assert_snapshot!(workspace.run(&["plan"]).code(1).stderr);
}

#[test]
fn a_disk_larger_than_its_image_that_does_not_grow() {
    insta::assert_snapshot!(said(&one("  disk \"root\" {\n    size = 4\n  }"), 0));
}

#[test]
fn an_empty_disk_without_a_size() {
    insta::assert_snapshot!(said(&one("  disk \"root\" {}\n  disk \"scratch\" {}"), 1));
}

#[test]
fn more_disks_than_slots() {
    let node = "access_node \"dr\" {\n  instance_id     = \"self\"\n  max_attachments = 1\n}\n";
    let configuration =
        node.to_owned() + &one("  disk \"root\" {}\n  disk \"data\" {\n    image = \"web.raw\"\n  }");
    insta::assert_snapshot!(said(&configuration, 1));
}

#[test]
fn several_mistakes_at_once() {
    let configuration = one("  disk \"scratch\" {}\n  disk \"more\" {}").replace("m6i.large", "zz.top");
    insta::assert_snapshot!(said(&configuration, 1));
}

const OVF: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
  <References>
    <File ovf:href="shop-disk1.vmdk" ovf:id="file1"/>
    <File ovf:href="shop-disk2.vmdk" ovf:id="file2"/>
  </References>
  <DiskSection>
    <Info>disks</Info>
    <Disk ovf:capacity="6291456" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
    <Disk ovf:capacity="4194304" ovf:diskId="vmdisk2" ovf:fileRef="file2" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="shop">
    <Info>a machine</Info>
    <VirtualHardwareSection>
      <Info>hardware</Info>
      <Item><rasd:Description>CPUs</rasd:Description><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity></Item>
      <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType><rasd:Address>0</rasd:Address></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#;

#[test]
fn an_appliance_brings_its_disks_and_a_disk_block_changes_one() {
    let workspace = Workspace::new(
        "instance \"shop\" {\n  image         = \"shop.ova\"\n  instance_type = \"t3.large\"\n  state         = \"stopped\"\n  guest { drivers = \"none\" }\n  disk \"data1\" {\n    type       = \"gp3\"\n    throughput = 250\n  }\n}\n",
    );
    let directory = workspace.path();
    for (number, mebibytes) in [(1, 6), (2, 4)] {
        let raw = workspace.raw_image(&format!("disk{number}.raw"), mebibytes, number);
        let status = Command::new("qemu-img")
            .args(["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"])
            .args([raw, directory.join(format!("shop-disk{number}.vmdk"))])
            .status();
        assert!(status.unwrap().success());
    }
    fs::write(directory.join("shop.ovf"), OVF).unwrap();
    let status = Command::new("tar")
        .current_dir(directory)
        .args(["-cf", "shop.ova", "--format=ustar", "shop.ovf", "shop-disk1.vmdk", "shop-disk2.vmdk"])
        .status();
    assert!(status.unwrap().success());

    workspace.apply().success();
    let state = workspace.state();
    assert_eq!(state["resources"]["instance.shop.volume.data1"]["throughput"], 250);
    assert_eq!(state["resources"]["instance.shop"]["disks"], serde_json::json!(["root", "data1"]));
    workspace.assert_holds("instance.shop.volume.root", &directory.join("disk1.raw"));
    workspace.assert_holds("instance.shop.volume.data1", &directory.join("disk2.raw"));
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);

    // What EC2 changes in place is changed in place; a size that shrinks replaces.
    let configuration = fs::read_to_string(directory.join("main.replant.hcl")).unwrap();
    workspace.configure(&configuration.replace("throughput = 250", "throughput = 300\n    size       = 2"));
    let before = workspace.state()["resources"]["instance.shop.volume.data1"]["id"].clone();
    workspace.apply().success();
    let state = workspace.state();
    let volume = &state["resources"]["instance.shop.volume.data1"];
    assert_eq!((&volume["id"], &volume["throughput"], &volume["size"]), (&before, &300.into(), &2.into()));
    workspace.configure(&configuration);
    let plan = workspace.run(&["plan"]).success();
    assert!(plan.stdout.contains("# forces replacement"), "{}", plan.stdout);
    workspace.apply().success();
    assert_ne!(workspace.state()["resources"]["instance.shop.volume.data1"]["id"], before);
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (2, 1));
    workspace.assert_holds("instance.shop.volume.data1", &directory.join("disk2.raw"));
}

#[test]
fn one_image_as_two_disks() {
    let disks = "  disk \"root\" {}\n  disk \"copy\" { image = \"web.raw\" }";
    let said = said(&one(disks), 0);
    assert!(said.contains("warning[plan::same_image]"), "{said}");
    assert!(said.contains("\"root\" and \"copy\" of instance.web"), "{said}");
}

#[test]
fn another_image_before_the_first_start_is_an_update_of_what_is_there() {
    let workspace = Workspace::new(&one(""));
    workspace.raw_image("web.raw", 3, 1);
    let first = workspace.run(&["plan"]).success().stdout;
    assert!(first.contains("Data: 2 MiB to write, 1 MiB are zero.\n"), "{first}");
    workspace.apply().success();
    let shown = workspace.run(&["show"]).success().stdout;
    assert!(shown.contains("finished_at") && !shown.contains("written "), "{shown}");
    let nothing = workspace.run(&["plan"]).success().stdout;
    assert!(nothing.starts_with("No changes."), "{nothing}");
    workspace.raw_image("web.raw", 3, 2);
    let plan = workspace.run(&["plan"]).success().stdout;
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "(because its volumes are written before it first starts)",
        "at most 2 MiB of 3 MiB",
        "at most about 1 s",
        "Data: at most 2 MiB to write, 1 MiB are zero; of what is there already, only what differs is written.",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert!(!plan.contains("an earlier run did not finish"), "{plan}");
    let applied = workspace.apply().success().stdout;
    assert!(applied.contains("written of 2 MiB of data"), "{applied}");
}
