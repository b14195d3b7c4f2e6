//! Appliances: the machine that they describe, and their disks read where they lie.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use replant::image::{BlockSource, Format, ImageError, OpenOptions, open, ova};
use replant::model::Firmware;

use super::fixture::{raw_disk, run, same_as, text};

/// As VMware exports a machine with two disks on one controller, the second one listed first.
const VMWARE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope vmw:buildId="build-1" xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="DATA" ovf:id="file1" ovf:size="1"/>
    <File ovf:href="ROOT" ovf:id="file2" ovf:size="99999999999"/>
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
    <Disk ovf:capacity="8" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk2" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized" ovf:populatedSize="0"/>
    <Disk ovf:capacity="3145728" ovf:diskId="vmdisk1" ovf:fileRef="file2" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
    <Disk ovf:capacity="1" ovf:capacityAllocationUnits="byte * 2^30" ovf:diskId="empty" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection><Info>nets</Info><Network ovf:name="VM Network"/></NetworkSection>
  <VirtualSystem ovf:id="web-01">
    <Info>A virtual machine</Info>
    <Name>web &amp; more</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian11_64Guest">
      <Info>The kind of installed guest operating system</Info>
      <Description>Debian GNU/Linux 11 (64-bit)</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System><vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType></System>
      <Item><rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity></Item>
      <Item><rasd:AllocationUnits>byte * 2^30</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
      <Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk2</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>5</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
      <Item><rasd:AddressOnParent>7</rasd:AddressOnParent><rasd:Connection>VM Network</rasd:Connection><rasd:ElementName>Network adapter 1</rasd:ElementName><rasd:InstanceID>6</rasd:InstanceID><rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType><rasd:ResourceType>10</rasd:ResourceType></Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#;

const ROOT: u64 = 3_145_728;
const DATA: u64 = 8 << 20;

/// The files of an appliance in a directory, under these names in it.
pub struct Parts {
    pub directory: tempfile::TempDir,
    root: String,
    data: String,
}

impl Parts {
    pub fn new(root: &str, data: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let parts = Self { directory, root: root.to_owned(), data: data.to_owned() };
        for (name, size) in [(root, ROOT), (data, DATA)] {
            let raw = raw_disk(parts.directory.path(), size, size);
            let (raw, vmdk) = (text(&raw), parts.path(name));
            run("qemu-img", &["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, text(&vmdk)]);
            fs::rename(raw, parts.directory.path().join(format!("{name}.raw"))).unwrap();
        }
        fs::write(parts.path("web.ovf"), VMWARE.replace("ROOT", root).replace("DATA", data)).unwrap();
        parts
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn raw(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(&format!("{name}.raw"))).unwrap()
    }

    pub fn tar(&self, options: &[&str], names: &[&str]) -> PathBuf {
        let ova = self.path("web.ova");
        let directory = self.directory.path();
        let first = ["-C", text(directory), "-cf", text(&ova)];
        run("tar", &[options, &first, names].concat());
        ova
    }

    pub fn ova(&self) -> PathBuf {
        self.tar(&["--format=ustar"], &["web.ovf", &self.data, &self.root])
    }
}

pub fn member(path: &Path, name: &str) -> Result<replant::image::Image, ImageError> {
    open(path, &OpenOptions::default().member(name))
}

#[test]
fn an_ova_is_described_and_read_in_place() {
    let parts = Parts::new("web-disk1.vmdk", "web-disk2.vmdk");
    let path = parts.ova();
    let appliance = ova::read(&path).unwrap();
    insta::assert_debug_snapshot!("appliance", appliance_without_sizes(appliance));
    for (by, name, id) in [
        ("root", "web-disk1.vmdk", "vmdisk1"),
        ("vmdisk1", "web-disk1.vmdk", "vmdisk1"),
        ("web-disk1.vmdk", "web-disk1.vmdk", "vmdisk1"),
        ("data1", "web-disk2.vmdk", "vmdisk2"),
    ] {
        let image = member(&path, by).unwrap();
        assert_eq!(image.format(), Format::Vmdk);
        assert_eq!(image.identity().member.as_deref(), Some(id));
        same_as(&image, &parts.raw(name));
    }
    let error = open(&path, &OpenOptions::default()).unwrap_err();
    assert!(
        matches!(&error, ImageError::WhichMember { disks, .. } if disks == &["root", "data1"]),
        "{error}"
    );
    let error = member(&path, "data7").unwrap_err();
    assert!(matches!(error, ImageError::NoMember { .. }), "{error}");
}

fn appliance_without_sizes(mut appliance: ova::Appliance) -> ova::Appliance {
    appliance.path = PathBuf::from("web.ova");
    for disk in &mut appliance.disks {
        assert!(disk.stored_bytes > 10_000 || disk.file.is_none());
        disk.stored_bytes = 0;
    }
    appliance
}

#[test]
fn an_ovf_is_read_beside_its_disks() {
    let parts = Parts::new("web-disk1.vmdk", "web%20disk2.vmdk");
    fs::rename(parts.path("web%20disk2.vmdk"), parts.path("web disk2.vmdk")).unwrap();
    let path = parts.path("web.ovf");
    assert_eq!(ova::read(&path).unwrap().disks.len(), 3);
    same_as(&member(&path, "root").unwrap(), &parts.raw("web-disk1.vmdk"));
    let image = member(&path, "data1").unwrap();
    same_as(&image, &parts.raw("web%20disk2.vmdk"));
    assert_eq!(image.files().count(), 2);
}

#[test]
fn every_flavour_of_tar() {
    let long = format!("{}-disk1.vmdk", "n".repeat(180));
    let parts = Parts::new(&long, "d.vmdk");
    for options in [["--format=gnu"], ["--format=pax"]] {
        let path = parts.tar(&options, &["web.ovf", "./d.vmdk", &long]);
        same_as(&member(&path, "root").unwrap(), &parts.raw(&long));
        assert_eq!(member(&path, "data1").unwrap().size(), DATA);
    }
}

#[test]
fn disks_in_other_formats_are_recognised() {
    let parts = Parts::new("a.vmdk", "b.img");
    run(
        "qemu-img",
        &["convert", "-O", "qcow2", text(&parts.path("a.vmdk.raw")), text(&parts.path("a.vmdk"))],
    );
    fs::copy(parts.path("b.img.raw"), parts.path("b.img")).unwrap();
    let path = parts.ova();
    let image = member(&path, "root").unwrap();
    assert_eq!(image.format(), Format::Qcow2);
    same_as(&image, &parts.raw("a.vmdk"));
    let image = member(&path, "data1").unwrap();
    assert_eq!(image.format(), Format::Raw);
    same_as(&image, &parts.raw("b.img"));
}

/// An appliance whose description is changed.
fn changed(from: &str, to: &str) -> ImageError {
    let parts = Parts::new("a.vmdk", "b.vmdk");
    let ovf = fs::read_to_string(parts.path("web.ovf")).unwrap();
    assert!(ovf.contains(from), "{from}");
    fs::write(parts.path("web.ovf"), ovf.replace(from, to)).unwrap();
    let in_archive = member(&parts.ova(), "root").unwrap_err();
    let beside = member(&parts.path("web.ovf"), "root").unwrap_err();
    assert_eq!(in_archive.code() == "image::compressed", beside.code() == "image::compressed");
    beside
}

#[test]
fn what_is_not_read_is_refused_clearly() {
    let error = changed("ovf:id=\"file2\"", "ovf:id=\"file2\" ovf:compression=\"gzip\"");
    assert!(matches!(error, ImageError::Compressed { .. }), "{error:?}");
    let error = changed("href=\"a.vmdk\"", "href=\"a.vmdk.gz\"");
    assert!(matches!(&error, ImageError::Compressed { command, .. } if command.contains("gunzip")));
    let error = changed("ovf:id=\"file2\"", "ovf:id=\"file2\" ovf:chunkSize=\"100\"");
    assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
    let error = changed("href=\"a.vmdk\"", "href=\"missing.vmdk\"");
    assert!(matches!(error, ImageError::Part { .. }), "{error:?}");
    let error = changed("ovf:id=\"file2\"", "ovf:id=\"file9\"");
    assert!(matches!(error, ImageError::Part { .. }), "{error:?}");
    let error = changed("</VirtualSystem>", "</VirtualSystem><VirtualSystem ovf:id=\"b\"/>");
    assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
    let error = changed("</VirtualSystem>", "");
    assert!(matches!(error, ImageError::Source(_)), "{error:?}");
    let error = changed("capacity=\"8\"", "capacity=\"99999999999999999999\"");
    assert!(matches!(error, ImageError::Source(_)), "{error:?}");
}

#[test]
fn an_appliance_reaches_no_file_outside() {
    for name in ["/etc/passwd", "../secret.vmdk", "a/../../secret.vmdk", "https://example.org/a.vmdk"] {
        let parts = Parts::new("a.vmdk", "b.vmdk");
        let ovf = fs::read_to_string(parts.path("web.ovf")).unwrap();
        fs::write(parts.path("web.ovf"), ovf.replace("href=\"a.vmdk\"", &format!("href=\"{name}\"")))
            .unwrap();
        let error = member(&parts.path("web.ovf"), "root").unwrap_err();
        assert!(matches!(error, ImageError::Escape { .. } | ImageError::Part { .. }), "{name}: {error:?}");
    }
    let parts = Parts::new("a.vmdk", "b.vmdk");
    fs::rename(parts.path("a.vmdk"), parts.path("real.vmdk")).unwrap();
    symlink("real.vmdk", parts.path("a.vmdk")).unwrap();
    let error = member(&parts.path("web.ovf"), "root").unwrap_err();
    assert!(matches!(error, ImageError::Escape { .. }), "{error:?}");
    // A link in the archive is no file of it.
    let error = member(&parts.ova(), "root").unwrap_err();
    assert!(matches!(error, ImageError::Part { .. }), "{error:?}");
    // A descriptor in the archive must not name files beside the archive.
    fs::remove_file(parts.path("a.vmdk")).unwrap();
    let descriptor = "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"b.vmdk.raw\" 0\n";
    fs::write(parts.path("a.vmdk"), descriptor).unwrap();
    let error = member(&parts.ova(), "root").unwrap_err();
    assert!(matches!(error, ImageError::Unsupported { .. }), "{error:?}");
}

#[test]
fn damaged_archives_give_errors() {
    let parts = Parts::new("a.vmdk", "b.vmdk");
    let whole = fs::read(parts.ova()).unwrap();
    let path = parts.path("cut.ova");
    for cut in [300, 512, 700, 5_000, 20_000, whole.len() / 2, whole.len() - 40_000] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(member(&path, "root").is_err(), "cut to {cut}");
    }
    // A name that claims to be 8 GiB long.
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(8 << 30);
    header.set_cksum();
    fs::write(&path, header.as_bytes()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(9 << 30).unwrap();
    let error = member(&path, "root").unwrap_err();
    assert!(matches!(error, ImageError::Source(_)), "{error:?}");
    // An archive without a description.
    fs::write(&path, &whole[..0]).unwrap();
    let path = parts.tar(&[], &["a.vmdk"]);
    assert!(matches!(member(&path, "root"), Err(ImageError::Source(_))));
    // A description that nests without end, and one that is a billion laughs.
    let deep = format!("<Envelope>{}", "<a>".repeat(1_000_000));
    let laughs = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><Envelope>&b;</Envelope>";
    for text in [&deep, laughs] {
        fs::write(parts.path("web.ovf"), text).unwrap();
        let error = member(&parts.path("web.ovf"), "root").unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn firmware_of_virtualbox() {
    let parts = Parts::new("a.vmdk", "b.vmdk");
    let ovf = fs::read_to_string(parts.path("web.ovf")).unwrap();
    let none = ovf.replace("<vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" vmw:value=\"efi\"/>", "");
    fs::write(parts.path("web.ovf"), &none).unwrap();
    assert_eq!(ova::read(parts.path("web.ovf")).unwrap().firmware, None);
    let vbox = none.replace(
        "</VirtualSystem>",
        "<vbox:Machine xmlns:vbox=\"http://www.virtualbox.org/ovf/machine\"><Hardware><Firmware type=\"EFI\"/></Hardware></vbox:Machine></VirtualSystem>",
    );
    fs::write(parts.path("web.ovf"), vbox).unwrap();
    assert_eq!(ova::read(parts.path("web.ovf")).unwrap().firmware, Some(Firmware::Uefi));
}
