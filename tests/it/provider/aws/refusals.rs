//! Promise 1 on block devices: what is not proven to be the volume, and blank or ours, is not
//! written, whatever somebody else did. What is on it is compared before and after.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use replant::apply::Limits;
use replant::provider::Provider;
use replant::provider::faulty::{Faults, Faulty};
use serde_json::json;

use super::open;
use super::story::{Restore, instance};
use crate::support::driver;

fn restore() -> Restore {
    Restore::new(json!({ "loops": true }), "", &instance("web", "  state = \"stopped\""))
}

#[track_caller]
fn assert_same(what: &str, before: &Path, now: &Path) {
    // It knows holes.
    let mut compare = Command::new("qemu-img");
    let same = compare.args(["compare", "-f", "raw", "-F", "raw"]).arg(before).arg(now).output().unwrap();
    assert!(same.status.success(), "{what}: {}", String::from_utf8_lossy(&same.stdout));
}

/// A device that is not what it should be is not written: `apply` says why, and its bytes stay.
fn assert_refused(restore: &Restore, surprise: &str, said: &str) {
    restore.cloud.set(&json!({ "surprise": surprise }));
    let refused = restore.apply().code(1);
    let shown: String = refused.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains(said), "{surprise}: {}", refused.both());
    let volume = restore.cloud.content(&restore.volume("instance.web.volume.root"));
    assert_same(surprise, &volume.with_extension("before"), &volume);
}

#[test]
fn a_device_that_is_not_blank_not_free_or_not_the_volume_is_not_written() {
    let restore = restore();
    let image = restore.workspace.raw_image("web.raw", 4, 1);
    for (surprise, said) in [
        ("table", "a GPT partition table"),
        ("filesystem", "ext"),
        ("btrfs", "a btrfs filesystem"),
        ("xfs", "an XFS filesystem"),
        ("lvm", "LVM"),
        ("zfs", "a ZFS pool's member"),
        ("raid", "a RAID member"),
        ("raid-end", "a RAID member"),
        ("swap", "holds swap space"),
        ("swapon", "is swap space in use"),
        ("mounted", "is mounted at"),
        ("looped", "is in use by /dev/loop"),
        ("held", "dm-0 is built on nvme1n1"),
        ("partition-held", "md127 is built on nvme1n1p1"),
        ("busy", "in use"),
        ("larger", "the volume 1073741824"),
        ("smaller", "the volume 1073741824"),
        ("twins", "several devices have its serial number"),
        ("model", "no EBS volume"),
    ] {
        assert_refused(&restore, surprise, said);
        restore.assert_no_slot_is_taken();
        restore.cloud.set(&json!({ "surprise": null }));
        restore.destroy().success();
    }
    // Without surprises the same block device is written.
    restore.apply().success();
    restore.assert_holds("instance.web.volume.root", &image);
    restore.destroy().success();
}

#[test]
fn a_partition_or_a_pool_of_a_xen_node_is_not_written_either() {
    let restore = Restore::on_xen(json!({ "loops": true }), "", &instance("web", "  state = \"stopped\""));
    restore.workspace.raw_image("web.raw", 4, 1);
    for (surprise, said) in [("held", "dm-0 is built on xvdf"), ("zfs", "a ZFS pool's member")] {
        assert_refused(&restore, surprise, said);
        restore.cloud.set(&json!({ "surprise": null }));
        restore.destroy().success();
    }
}

/// The access node's own root: it is not imported, and a state that has it all the same does not come
/// to detach, write or delete it.
#[test]
fn the_access_node_s_own_volumes_are_left_alone() {
    let restore = Restore::new(json!({}), "", &instance("web", "  state = \"standby\""));
    restore.workspace.raw_image("web.raw", 4, 1);
    let (root, address) = (restore.cloud.volumes[0].clone(), "instance.web.volume.root");
    let refused = restore.run(&["import", address, &root]).code(1);
    assert!(refused.stderr.contains("import::access_nodes_volume"), "{}", refused.both());
    restore.apply().success();
    let file = restore.workspace.path().join("replant.state.json");
    let ours = restore.volume(address);
    fs::write(&file, fs::read_to_string(&file).unwrap().replace(&ours, &root)).unwrap();
    let image = restore.workspace.raw_image("web.raw", 4, 2);
    let before = restore.cloud.calls().len();
    for arguments in [&["apply", "--auto-approve", "--replace", address][..], &["destroy", "--auto-approve"]]
    {
        let refused = restore.run(arguments).code(1);
        assert!(refused.both().contains("apply::access_nodes_own"), "{}", refused.both());
    }
    for call in &restore.cloud.calls()[before..] {
        let is_of_root = call["params"]["VolumeId"] == root.as_str();
        let reads = call["action"].as_str().unwrap().starts_with("Describe");
        assert!(reads || !is_of_root, "{call:#}");
    }
    // A changed image would be written over it.
    assert!(image.exists() && restore.listed().volumes.iter().any(|volume| volume["VolumeId"] == ours));
}

/// A loop device over a file, which goes with it.
struct Loop {
    device: String,
    file: std::path::PathBuf,
}

impl Loop {
    fn new(file: std::path::PathBuf, bytes: u64) -> Self {
        fs::File::create(&file).unwrap().set_len(bytes).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { device: String::from_utf8(output.stdout).unwrap().trim().to_owned(), file }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// Its name leads to another device, of the same size and as blank, once it has been proven.
#[test]
fn a_device_that_is_exchanged_after_its_proof_is_not_written() {
    let restore = restore();
    restore.workspace.raw_image("web.raw", 4, 1);
    let other = Arc::new(Loop::new(restore.workspace.path().join("other"), 1 << 30));
    let exchange = {
        let other = Arc::clone(&other);
        Arc::new(move |facts: &replant::provider::DeviceFacts| {
            let metadata = fs::metadata(&other.device).unwrap();
            assert!(metadata.file_type().is_block_device());
            let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            fs::rename(&facts.path, facts.path.with_extension("its")).unwrap();
            let made = Command::new("mknod")
                .arg(&facts.path)
                .args(["b", &major.to_string(), &minor.to_string()])
                .status();
            assert!(made.unwrap().success());
        })
    };
    let faults = Faults { meddle: Some(exchange), ..Faults::default() };
    let faulty: Arc<dyn Provider> = Arc::new(Faulty::new(open(&restore.cloud), faults));
    let outcome = driver::run(restore.workspace.path(), false, Limits::default(), &|_| Arc::clone(&faulty));
    let said = format!("{outcome:?}");
    assert!(said.contains("provider::device_refused") && said.contains("is so no longer"), "{said}");
    let written = rustix::fs::seek(fs::File::open(&other.file).unwrap(), rustix::fs::SeekFrom::Data(0));
    assert!(written.is_err(), "the other device is written");
    for entry in fs::read_dir(restore.cloud.devices()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    restore.destroy().success();
}
