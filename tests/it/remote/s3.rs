//! Objects in S3, as moto serves them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::assert_equal;
use super::servers::{moto_environment, put};
use crate::copy::support::{MIB, disk, run, text};
use crate::support::command::Output;
use crate::support::{Workspace, command};

/// A machine with one disk.
const DESCRIPTION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
  <References><File ovf:href="root.vmdk" ovf:id="file1"/></References>
  <DiskSection>
    <Info>disks</Info>
    <Disk ovf:capacity="6291456" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="web">
    <Info>a machine</Info>
    <VirtualHardwareSection>
      <Info>hardware</Info>
      <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>lsilogic</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType><rasd:Address>0</rasd:Address></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#;

fn on_moto(mut command: Command) -> Output {
    command.envs(moto_environment());
    Output::of(command)
}

fn convert(from: &Path, to: &Path, arguments: &[&str]) {
    run("qemu-img", &[&["convert"], arguments, &[text(from), text(to)]].concat());
}

#[test]
fn objects_and_their_versions_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    disk(&at("one.raw"), 9 * MIB, 1);
    disk(&at("two.raw"), 9 * MIB, 2);
    convert(&at("one.raw"), &at("one.vmdk"), &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    convert(&at("two.raw"), &at("two.vmdk"), &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    put("versions", None, "");
    put(
        "versions?versioning",
        None,
        "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    );
    let first = put("versions/a%20b/%C3%BC%2B.vmdk", Some(&at("one.vmdk")), "");
    let first =
        first.lines().find_map(|line| line.strip_prefix("x-amz-version-id: ")).unwrap().trim().to_owned();
    put("versions/a%20b/%C3%BC%2B.vmdk", Some(&at("two.vmdk")), "");
    let write = |place: &str, target: &str| {
        on_moto(command::command(directory.path(), ["write", place, target, "--verify"]))
    };
    write("s3://versions/a b/ü+.vmdk", "newest.raw").success();
    assert_equal(&at("newest.raw"), &at("two.raw"));
    write(&format!("s3://versions/a b/ü+.vmdk?versionId={first}"), "first.raw").success();
    assert_equal(&at("first.raw"), &at("one.raw"));
    for place in ["s3://versions/none.vmdk", "s3://no-such-bucket/x.vmdk"] {
        let failed = write(place, "none.raw").code(1);
        assert!(
            failed.stderr.contains("image::not_found") && failed.stderr.contains(place),
            "{}",
            failed.both()
        );
        assert!(!failed.both().contains("tests-own-secret"));
    }
}

#[test]
fn an_appliance_in_s3_is_planned_restored_and_then_changed() {
    let workspace = Workspace::new("");
    let at = |name: &str| workspace.path().join(name);
    workspace.raw_image("root.raw", 6, 1);
    convert(&at("root.raw"), &at("root.vmdk"), &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    fs::write(at("web.ovf"), DESCRIPTION).unwrap();
    run(
        "tar",
        &[
            "--format=ustar",
            "-C",
            text(workspace.path()),
            "-cf",
            text(&at("web.ova")),
            "web.ovf",
            "root.vmdk",
        ],
    );
    put("backups", None, "");
    put("backups/web.ova", Some(&at("web.ova")), "");
    put("backups/dir/web.ovf", Some(&at("web.ovf")), "");
    put("backups/dir/root.vmdk", Some(&at("root.vmdk")), "");
    for image in ["s3://backups/web.ova", "s3://backups/dir/web.ovf"] {
        workspace.configure(&format!(
            r#"provider "local" {{ directory = ".replant/cloud" }}
               instance "web" {{
                 image = "{image}"
                 instance_type = "m6i.large"
                 state = "stopped"
                 guest {{ drivers = "none" }}
               }}"#
        ));
        let plan = on_moto(workspace.command(&["plan", "--out", "web.plan"])).success();
        assert!(plan.stdout.contains(image), "{}", plan.both());
        on_moto(workspace.command(&["apply", "web.plan"])).success();
        workspace.assert_holds("instance.web.volume.root", &at("root.raw"));
        let again = on_moto(workspace.command(&["plan", "--detailed-exitcode"]));
        assert_eq!(again.code, 0, "{}", again.both());
        let state = fs::read_to_string(at("replant.state.json")).unwrap();
        assert!(state.contains(image) && !state.contains("tests-own-secret"));
        on_moto(workspace.command(&["destroy", "--auto-approve"])).success();
    }
    // A plan is of the object as it was.
    on_moto(workspace.command(&["plan", "--out", "web.plan"])).success();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    workspace.raw_image("root.raw", 6, 2);
    convert(&at("root.raw"), &at("root.vmdk"), &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    put("backups/dir/root.vmdk", Some(&at("root.vmdk")), "");
    let stale = on_moto(workspace.command(&["apply", "web.plan"]));
    assert!(stale.code != 0 && stale.stderr.contains("plan::stale"), "{}", stale.both());
}
