//! Appliances that come as a stream: `tar` and `sha256sum` make them, in every order.

use std::fs;
use std::path::PathBuf;

use replant::image::{ImageError, Stream, StreamError, StreamOptions};

use super::fixture::{raw_disk, run, text};
use super::streams::{disk_of, drain};

const OVF: &str = r#"<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="r">
  <References><File ovf:href="ROOT" ovf:id="f1"/><File ovf:href="DATA" ovf:id="f2"/></References>
  <DiskSection>
    <Disk ovf:capacity="3" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="d1" ovf:fileRef="f1"/>
    <Disk ovf:capacity="2" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="d2" ovf:fileRef="f2"/>
  </DiskSection>
  <VirtualSystem ovf:id="web"><VirtualHardwareSection>
    <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
    <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
    <Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d2</rasd:HostResource><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
  </VirtualHardwareSection></VirtualSystem>
</Envelope>
"#;

/// An appliance's files: two disks, a description, a manifest by SHA-256.
struct Parts {
    directory: tempfile::TempDir,
    root: Vec<u8>,
    data: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut disks = Vec::new();
        for (name, size) in [("root.vmdk", 3 << 20), ("data.vmdk", 2 << 20)] {
            let raw = raw_disk(directory.path(), size, size);
            let vmdk = directory.path().join(name);
            run(
                "qemu-img",
                &["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", text(&raw), text(&vmdk)],
            );
            disks.push(fs::read(&raw).unwrap());
        }
        let data = disks.pop().unwrap();
        let parts = Self { directory, root: disks.pop().unwrap(), data };
        fs::write(parts.path("web.ovf"), OVF.replace("ROOT", "root.vmdk").replace("DATA", "data.vmdk"))
            .unwrap();
        parts.manifest("sha256sum", "SHA256", &["web.ovf", "root.vmdk", "data.vmdk"]);
        parts
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn manifest(&self, program: &str, algorithm: &str, names: &[&str]) {
        let line = |name: &&str| {
            let sum = run(program, &[text(&self.path(name))]);
            format!("{algorithm}({name})= {}\n", sum.split_whitespace().next().unwrap())
        };
        fs::write(self.path("web.mf"), names.iter().map(line).collect::<String>()).unwrap();
    }

    fn tar(&self, format: &str, names: &[&str]) -> Vec<u8> {
        let (ova, directory) = (self.path("web.ova"), self.directory.path());
        run("tar", &[&["-C", text(directory), format, "-cf", text(&ova)], names].concat());
        fs::read(ova).unwrap()
    }
}

fn member(name: &str) -> StreamOptions {
    StreamOptions { member: Some(name.to_owned()), ..StreamOptions::default() }
}

/// Whether the disk was compared with a manifest.
fn checked(bytes: &[u8], name: &str) -> bool {
    let mut stream =
        Stream::reader(std::io::Cursor::new(bytes.to_vec()), "the stream", &member(name)).unwrap();
    drain(&mut stream).unwrap();
    stream.is_checked_by_manifest()
}

#[test]
fn the_chosen_disk_wherever_it_stands() {
    let parts = Parts::new();
    for format in ["--format=ustar", "--format=gnu", "--format=pax"] {
        for names in
            [["web.ovf", "web.mf", "root.vmdk", "data.vmdk"], ["web.ovf", "data.vmdk", "root.vmdk", "web.mf"]]
        {
            let bytes = parts.tar(format, &names);
            assert!(disk_of(&bytes, &member("root")).unwrap() == parts.root, "{format} {names:?}");
            assert!(disk_of(&bytes, &member("data.vmdk")).unwrap() == parts.data, "{format} {names:?}");
            assert!(checked(&bytes, "root") && checked(&bytes, "d2"), "{format} {names:?}");
            let which = disk_of(&bytes, &StreamOptions::default()).unwrap_err();
            assert!(matches!(which, StreamError::Image(ImageError::WhichMember { .. })), "{which:?}");
            let none = disk_of(&bytes, &member("nothing")).unwrap_err();
            assert!(matches!(none, StreamError::Image(ImageError::NoMember { .. })), "{none:?}");
        }
    }
    assert!(!checked(&parts.tar("--format=ustar", &["web.ovf", "root.vmdk", "data.vmdk"]), "root"));
    // The whole of it compressed, and a disk compressed in it.
    let ova = parts.tar("--format=ustar", &["web.ovf", "web.mf", "root.vmdk", "data.vmdk"]);
    let packed = parts.path("web.ova.zst");
    fs::write(parts.path("whole.ova"), &ova).unwrap();
    run("zstd", &["-q", "-f", text(&parts.path("whole.ova")), "-o", text(&packed)]);
    assert!(disk_of(&fs::read(&packed).unwrap(), &member("root")).unwrap() == parts.root);
    run("gzip", &["-k", text(&parts.path("root.vmdk"))]);
    fs::write(parts.path("web.ovf"), OVF.replace("ROOT", "root.vmdk.gz").replace("DATA", "data.vmdk"))
        .unwrap();
    parts.manifest("sha512sum", "SHA512", &["web.ovf", "root.vmdk.gz"]);
    let ova = parts.tar("--format=ustar", &["web.ovf", "web.mf", "data.vmdk", "root.vmdk.gz"]);
    assert!(disk_of(&ova, &member("root")).unwrap() == parts.root);
    assert!(checked(&ova, "root"));
}

#[test]
fn a_file_that_is_not_the_manifests_is_found_out() {
    let parts = Parts::new();
    let orders =
        [["web.ovf", "web.mf", "root.vmdk", "data.vmdk"], ["web.ovf", "data.vmdk", "root.vmdk", "web.mf"]];
    // Sound in itself, and not what the manifest is of.
    let lines = fs::read_to_string(parts.path("web.mf")).unwrap();
    for wrong in ["root.vmdk", "web.ovf"] {
        let changed: String = lines
            .lines()
            .map(|line| match line.contains(wrong) {
                true => format!("SHA256({wrong})= {}\n", "0".repeat(64)),
                false => format!("{line}\n"),
            })
            .collect();
        fs::write(parts.path("web.mf"), changed).unwrap();
        for names in orders {
            let bytes = parts.tar("--format=ustar", &names);
            let error = disk_of(&bytes, &member("root")).unwrap_err();
            assert!(matches!(&error, StreamError::Digest { file, .. } if file == wrong), "{error:?}");
            assert!(error.diagnostic().help[0].contains("must not be used"));
        }
    }
    // Only what is used is looked at.
    fs::write(parts.path("web.mf"), format!("SHA256(data.vmdk)= {}\n", "0".repeat(64))).unwrap();
    let bytes = parts.tar("--format=ustar", &orders[0]);
    assert!(disk_of(&bytes, &member("root")).unwrap() == parts.root);
}

#[test]
fn orders_and_ends_that_cannot_be() {
    let parts = Parts::new();
    let late = parts.tar("--format=ustar", &["root.vmdk", "web.ovf", "data.vmdk"]);
    let error = disk_of(&late, &member("root")).unwrap_err();
    assert!(matches!(error, StreamError::NeedsFile { .. }), "{error:?}");
    assert!(disk_of(&late, &member("data1")).unwrap() == parts.data);
    let error = disk_of(&parts.tar("--format=ustar", &["root.vmdk"]), &member("root")).unwrap_err();
    assert!(error.to_string().contains("without an OVF"), "{error}");
    let error =
        disk_of(&parts.tar("--format=ustar", &["web.ovf", "data.vmdk"]), &member("root")).unwrap_err();
    assert!(matches!(error, StreamError::Image(ImageError::Part { .. })), "{error:?}");
    // Cut anywhere, behind the disk too.
    let whole = parts.tar("--format=ustar", &["web.ovf", "root.vmdk", "data.vmdk", "web.mf"]);
    let content = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for cut in (1..content).step_by(content / 90) {
        assert!(disk_of(&whole[..cut], &member("root")).is_err(), "cut at {cut} of {}", whole.len());
    }
    // Nothing of its end is there; two blocks of zeros would be.
    let padded = content.next_multiple_of(512);
    let error = disk_of(&whole[..padded], &member("root")).unwrap_err();
    assert!(matches!(error, StreamError::CutShort { .. }), "{error:?}");
    assert!(disk_of(&[&whole[..], b"more"].concat(), &member("root")).is_err());
}
