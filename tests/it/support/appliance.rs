//! Appliances of two disks, made by qemu-img and tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DESCRIPTION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
  <References>
    <File ovf:href="NAME-disk1.vmdk" ovf:id="file1"/>
    <File ovf:href="NAME-disk2.vmdk" ovf:id="file2"/>
  </References>
  <DiskSection>
    <Info>disks</Info>
    <Disk ovf:capacity="ROOT" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
    <Disk ovf:capacity="DATA" ovf:diskId="vmdisk2" ovf:fileRef="file2" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <VirtualSystem ovf:id="NAME">
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

#[track_caller]
fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `NAME.ova` in this directory of two disks (raw or VMDK), the first one to boot from.
#[track_caller]
pub fn two_disks(directory: &Path, name: &str, disks: &[PathBuf; 2]) -> PathBuf {
    let mut description = DESCRIPTION.replace("NAME", name);
    let files = [1, 2].map(|number| format!("{name}-disk{number}.vmdk"));
    for ((disk, file), capacity) in disks.iter().zip(&files).zip(["ROOT", "DATA"]) {
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-O", "vmdk", "-o", "subformat=streamOptimized"]);
        done(convert.arg(disk).arg(directory.join(file)));
        let info = Command::new("qemu-img").args(["info", "--output=json"]).arg(disk).output().unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        description = description.replace(capacity, &info["virtual-size"].to_string());
    }
    let [root, data] = &files;
    let ovf = format!("{name}.ovf");
    fs::write(directory.join(&ovf), description).unwrap();
    let ova = directory.join(format!("{name}.ova"));
    let mut tar = Command::new("tar");
    done(tar.current_dir(directory).arg("-cf").arg(&ova).args(["--format=ustar", &ovf, root, data]));
    for file in [&ovf, root, data] {
        fs::remove_file(directory.join(file)).unwrap();
    }
    ova
}
