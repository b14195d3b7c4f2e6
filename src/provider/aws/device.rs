//! The proof that a device of this machine is a volume (promise 1).
//!
//! Nitro: EBS volumes are NVMe devices whose serial number is the volume's id without its dash and
//! whose model is `Amazon Elastic Block Store` ("Amazon EBS volumes and NVMe"); the names that
//! Linux gives them say nothing. Xen: a device has the name it was attached under, and nothing
//! else tells it; that this machine is the access node is proven by the metadata service.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::client::Cloud;
use super::imds;
use super::volumes::not_found;
use crate::model::{FileNode, GIB, Hypervisor};
use crate::provider::slots;
use crate::provider::types::{DeviceFacts, DeviceProof, ProviderError, ProviderErrorKind, VolumeId};

/// EBS's model, which NVMe pads with blanks.
pub(super) const MODEL: &str = "Amazon Elastic Block Store";
/// For the kernel to show a volume that EC2 calls attached (seconds; more on a busy machine).
const APPEARS: Duration = Duration::from_secs(60);
/// What to do about a disk that is in use.
const HELD: &str = "the access node has put the guest's disk to use (LVM, md or multipath), as it does with a disk that it finds when it starts: stop that, as in\nvgchange --activate n VOLUME_GROUP\nor\nmdadm --stop /dev/md127\nand apply again";
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Where devices are looked for.
#[derive(Debug, Clone)]
struct Places {
    devices: PathBuf,
    sysfs: PathBuf,
}

/// What a device is looked for by.
#[derive(Debug, Clone)]
struct Wanted {
    id: VolumeId,
    /// The device name it is attached under.
    slot: String,
    hypervisor: Hypervisor,
    /// Bytes.
    size: u64,
}

/// Why there is no proof.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    /// It may still appear.
    NotThere(String),
    /// It never will be this one.
    Wrong(String),
    /// It is the one, and this machine has put it to use.
    Held(String),
}

impl Cloud {
    pub(super) async fn device(&self, id: &VolumeId) -> Result<DeviceFacts, ProviderError> {
        const OPERATION: &str = "DescribeVolumes";
        let refused = |why: String| {
            ProviderError::new(
                OPERATION,
                ProviderErrorKind::DeviceRefused,
                "DeviceRefused",
                format!("no device is proven to be {id}: {why}"),
            )
        };
        let node = self.node_id().await?;
        let deadline = Instant::now() + APPEARS;
        let (view, attachment) = loop {
            let mut view = self.volume(id).await?.ok_or_else(|| not_found(OPERATION, id))?;
            let attachment = view.attachment.take().filter(|attachment| attachment.instance_id == node);
            match attachment {
                Some(attachment) if attachment.state == "attached" => break (view, attachment),
                // Not every answer of EC2 is the newest one.
                Some(attachment) if attachment.state == "attaching" && Instant::now() < deadline => {
                    tokio::time::sleep(PAUSE).await;
                }
                Some(attachment) => return Err(refused(format!("it is {}", attachment.state))),
                None => return Err(refused(format!("it is not attached to the access node {node}"))),
            }
        };
        // The access node's own root never has such a name.
        let slot = slots::slot(&attachment.device).filter(|slot| slots::is_slot(slot));
        let Some(slot) = slot else {
            return Err(refused(format!(
                "it is attached as {}, which is no slot of ours: the access node itself may live on it",
                attachment.device
            )));
        };
        let hypervisor = self.describe_access_node().await?.hypervisor;
        if hypervisor == Hypervisor::Xen && imds::this_instance().await.as_ref() != Some(&node) {
            return Err(refused(format!(
                "this machine is not the access node {node}, whose devices have no other mark than their names"
            )));
        }
        let wanted = Wanted { id: id.clone(), slot, hypervisor, size: view.size.saturating_mul(GIB) };
        // After a restart of the access node, whose rules are gone.
        let mut is_new = self.keep_udev_off(id, &node, &wanted.slot).await;
        let places =
            Places { devices: self.spec.device_directory.clone(), sysfs: self.spec.sysfs_directory.clone() };
        loop {
            let (asked, looked) = (wanted.clone(), places.clone());
            let found = tokio::task::spawn_blocking(move || find(&looked, &asked)).await;
            match found.map_err(|error| refused(error.to_string()))? {
                Ok(facts) if is_new => {
                    is_new = false;
                    let udev = self.udev();
                    // Held or not, the next look says.
                    let _ = tokio::task::spawn_blocking(move || udev.look_again(&facts.path)).await;
                }
                Ok(facts) => return Ok(facts),
                Err(Doubt::NotThere(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Err(Doubt::NotThere(why) | Doubt::Wrong(why)) => return Err(refused(why)),
                Err(Doubt::Held(why)) => {
                    let mut error = refused(why);
                    error.help = Some(HELD);
                    return Err(error);
                }
            }
        }
    }

    /// A volume's NVMe device goes when the kernel lets go of it. On Xen, EC2 itself calls a volume
    /// available only then.
    pub(super) async fn is_released(&self, id: &VolumeId) -> Result<bool, ProviderError> {
        let (sysfs, serial) = (self.spec.sysfs_directory.clone(), serial_of(id));
        let found = tokio::task::spawn_blocking(move || with_serial(&sysfs, &serial)).await;
        let is_gone = found.is_ok_and(|found| found.is_ok_and(|names| names.is_empty()));
        if is_gone {
            self.release_udev(id).await;
        }
        Ok(is_gone)
    }
}

/// A volume's serial number: its id without the dash.
pub(super) fn serial_of(id: &VolumeId) -> String {
    id.0.replacen('-', "", 1)
}

fn find(places: &Places, wanted: &Wanted) -> Result<DeviceFacts, Doubt> {
    let (name, proof) = match wanted.hypervisor {
        Hypervisor::Nitro => by_serial(&places.sysfs, &wanted.id)?,
        Hypervisor::Xen => by_name(&places.sysfs, &wanted.slot)?,
    };
    let path = places.devices.join(&name);
    let shown = path.display();
    let wrong = |why: String| Doubt::Wrong(format!("{shown} {why}"));
    let facts = match fs::symlink_metadata(&path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Doubt::NotThere(format!("{shown} is not there")));
        }
        Err(error) => return Err(wrong(format!("cannot be looked at: {error}"))),
    };
    let kind = facts.file_type();
    // A file stands for a device only where somebody said that devices lie elsewhere.
    let is_file = kind.is_file() && places.devices != Path::new("/dev");
    if kind.is_block_device() {
        let (major, minor) = (rustix::fs::major(facts.rdev()), rustix::fs::minor(facts.rdev()));
        let said = read(&places.sysfs.join("block").join(&name).join("dev"));
        if said.as_deref() != Some(&format!("{major}:{minor}")) {
            return Err(wrong(format!(
                "is device {major}:{minor}, and sysfs calls {name} {}",
                said.as_deref().unwrap_or("nothing")
            )));
        }
    } else if !is_file {
        return Err(wrong("is no block device".to_owned()));
    } else if facts.nlink() != 1 {
        return Err(wrong(format!("has {} names", facts.nlink())));
    }
    let size = size_of(&path).map_err(|error| wrong(format!("cannot be opened: {error}")))?;
    if size != wanted.size {
        return Err(wrong(format!("has {size} bytes, the volume {}", wanted.size)));
    }
    if let Some((held, holder)) = holder(&places.sysfs.join("block").join(&name)) {
        return Err(Doubt::Held(format!("{shown} is in use: {holder} is built on {held}")));
    }
    let node = FileNode::of(&facts);
    Ok(DeviceFacts { volume_id: wanted.id.clone(), path, size, is_file, node, proof: Some(proof) })
}

/// What is built on a device or one of its partitions (device-mapper, md, bcache), and on which.
fn holder(device: &Path) -> Option<(String, String)> {
    let entries = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let partitions = entries(device).into_iter().filter(|path| path.join("partition").exists());
    std::iter::once(device.to_owned())
        .chain(partitions)
        .find_map(|place| Some((name(&place), name(entries(&place.join("holders")).first()?))))
}

fn size_of(path: &Path) -> io::Result<u64> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    File::options().read(true).custom_flags(flags).open(path)?.seek(SeekFrom::End(0))
}

/// The text of a file of sysfs, without blanks around it.
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The NVMe device of a volume, and the file that says so.
fn by_serial(sysfs: &Path, id: &VolumeId) -> Result<(String, DeviceProof), Doubt> {
    let serial = serial_of(id);
    let names = with_serial(sysfs, &serial)
        .map_err(|error| Doubt::Wrong(format!("{} cannot be read: {error}", sysfs.display())))?;
    let name = match names.as_slice() {
        [] => {
            return Err(Doubt::NotThere(format!(
                "no block device of this machine has its serial number {serial}; apply runs on the access node itself"
            )));
        }
        [name] => name.clone(),
        several => {
            return Err(Doubt::Wrong(format!(
                "several devices have its serial number {serial}: {}",
                several.join(", ")
            )));
        }
    };
    let device = sysfs.join("block").join(&name).join("device");
    let model = read(&device.join("model")).unwrap_or_default();
    if model != MODEL {
        return Err(Doubt::Wrong(format!(
            "{name} has its serial number and is a \"{model}\", no EBS volume"
        )));
    }
    Ok((name, DeviceProof { path: device.join("serial"), content: serial }))
}

/// Names of block devices with this serial number.
pub(super) fn with_serial(sysfs: &Path, serial: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(sysfs.join("block")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        // A device that goes while it is looked at is not there.
        if read(&entry.path().join("device/serial")).as_deref() == Some(serial)
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

/// The Xen device that was attached under a name. Some kernels count the letters of `sd` names
/// from another place, so only the same name is taken.
fn by_name(sysfs: &Path, slot: &str) -> Result<(String, DeviceProof), Doubt> {
    let directory = sysfs.join("block").join(slot);
    let number = read(&directory.join("dev"))
        .ok_or_else(|| Doubt::NotThere(format!("this machine has no block device {slot}")))?;
    if let Some(serial) = read(&directory.join("device/serial")) {
        return Err(Doubt::Wrong(format!("{slot} has a serial number, {serial}: it is no Xen device")));
    }
    Ok((slot.to_owned(), DeviceProof { path: directory.join("dev"), content: number }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "vol-0123456789abcdef0";

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(machine.0.path().join("sys/block")).unwrap();
            fs::create_dir_all(machine.0.path().join("dev")).unwrap();
            machine
        }

        /// A device of sysfs, with a file of this many bytes behind it.
        fn device(&self, name: &str, serial: Option<&str>, model: &str, size: u64) -> PathBuf {
            let directory = self.0.path().join("sys/block").join(name);
            fs::create_dir_all(directory.join("device")).unwrap();
            fs::write(directory.join("dev"), "259:1\n").unwrap();
            if let Some(serial) = serial {
                fs::write(directory.join("device/serial"), format!("{serial}  \n")).unwrap();
                fs::write(directory.join("device/model"), format!("{model}   \n")).unwrap();
            }
            let path = self.0.path().join("dev").join(name);
            File::create(&path).unwrap().set_len(size).unwrap();
            path
        }

        fn find(&self, hypervisor: Hypervisor) -> Result<DeviceFacts, Doubt> {
            let places = Places { devices: self.0.path().join("dev"), sysfs: self.0.path().join("sys") };
            let wanted =
                Wanted { id: VolumeId(ID.to_owned()), slot: "xvdf".to_owned(), hypervisor, size: 4096 };
            find(&places, &wanted)
        }

        fn refusal(&self, hypervisor: Hypervisor) -> String {
            match self.find(hypervisor).unwrap_err() {
                Doubt::Wrong(why) | Doubt::Held(why) => why,
                Doubt::NotThere(why) => panic!("only missing: {why}"),
            }
        }
    }

    #[test]
    fn the_serial_number_finds_it_whatever_its_name() {
        let machine = Machine::new();
        machine.device("nvme0n1", Some("vol0aaaaaaaaaaaaaaaa"), MODEL, 4096);
        assert!(matches!(machine.find(Hypervisor::Nitro), Err(Doubt::NotThere(_))));
        let path = machine.device("nvme7n1", Some("vol0123456789abcdef0"), MODEL, 4096);
        let facts = machine.find(Hypervisor::Nitro).unwrap();
        assert_eq!((&facts.path, facts.size, facts.is_file), (&path, 4096, true));
        assert!(facts.is_still_proven());
        // The name is given to another volume.
        machine.device("nvme7n1", Some("vol0bbbbbbbbbbbbbbbb"), MODEL, 4096);
        assert!(!facts.is_still_proven());
    }

    #[test]
    fn doubts_are_refusals() {
        let machine = Machine::new();
        let serial = Some("vol0123456789abcdef0");
        machine.device("nvme1n1", serial, "Amazon EC2 NVMe Instance Storage", 4096);
        assert!(machine.refusal(Hypervisor::Nitro).contains("no EBS volume"));
        machine.device("nvme1n1", serial, MODEL, 8192);
        assert!(machine.refusal(Hypervisor::Nitro).contains("has 8192 bytes"));
        let path = machine.device("nvme1n1", serial, MODEL, 4096);
        fs::hard_link(&path, machine.0.path().join("other")).unwrap();
        assert!(machine.refusal(Hypervisor::Nitro).contains("2 names"));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(machine.0.path().join("other"), &path).unwrap();
        assert!(machine.refusal(Hypervisor::Nitro).contains("no block device"));
        machine.device("nvme2n1", serial, MODEL, 4096);
        assert!(machine.refusal(Hypervisor::Nitro).contains("several devices"));
    }

    #[test]
    fn what_something_is_built_on_is_refused() {
        let machine = Machine::new();
        machine.device("nvme1n1", Some("vol0123456789abcdef0"), MODEL, 4096);
        let block = machine.0.path().join("sys/block/nvme1n1");
        fs::create_dir_all(block.join("holders")).unwrap();
        fs::create_dir_all(block.join("nvme1n1p2/holders")).unwrap();
        // A directory like `queue` is no partition.
        fs::create_dir_all(block.join("queue/holders/dm-9")).unwrap();
        fs::write(block.join("nvme1n1p2/partition"), "2\n").unwrap();
        assert!(machine.find(Hypervisor::Nitro).is_ok());
        fs::create_dir(block.join("nvme1n1p2/holders/md127")).unwrap();
        assert!(machine.refusal(Hypervisor::Nitro).contains("md127 is built on nvme1n1p2"));
        fs::create_dir(block.join("holders/dm-0")).unwrap();
        assert!(machine.refusal(Hypervisor::Nitro).contains("dm-0 is built on nvme1n1"));
    }

    #[test]
    fn a_xen_device_has_its_slot_s_name() {
        let machine = Machine::new();
        machine.device("xvdj", None, "", 4096);
        assert!(matches!(machine.find(Hypervisor::Xen), Err(Doubt::NotThere(_))));
        let path = machine.device("xvdf", None, "", 4096);
        assert_eq!(machine.find(Hypervisor::Xen).unwrap().path, path);
        machine.device("xvdf", Some("vol0123456789abcdef0"), MODEL, 4096);
        assert!(machine.refusal(Hypervisor::Xen).contains("no Xen device"));
    }
}
