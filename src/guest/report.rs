//! The protocol between the host and `replant-guest`: the job that goes in, the report that
//! comes back. Plain data; the report is hostile input to the host.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Architecture, Digest, Firmware, GuestChanges, Hypervisor, NetworkPolicy};

/// The version of this protocol; host and `replant-guest` must agree.
pub const PROTOCOL: u32 = 3;

/// What the sandbox is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The disks, in the order of the devices (`/dev/vda`, `/dev/vdb` …); the first boots.
    pub disks: Vec<JobDisk>,
    /// Whether to make the recipe's edits, or only to look.
    pub prepare: bool,
    /// What the recipe depends on.
    pub inputs: RecipeInputs,
    /// The user's folder of components; `None` when no folder was named.
    pub parcel: Option<Parcel>,
}

/// A folder of the user's whose files are on a device, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parcel {
    /// What people call the folder.
    pub folder: String,
    /// Its regular files, in the order of their paths.
    pub files: Vec<ParcelFile>,
}

/// One file of a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParcelFile {
    /// The path below the folder, with slashes.
    pub path: String,
    /// Where its bytes begin on the device.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// One disk of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobDisk {
    /// The disk's name in the configuration.
    pub name: String,
    /// The image's size in bytes. The device may be larger, when the disk grows.
    pub image_size: u64,
    /// The device's size in bytes.
    pub size: u64,
    /// Whether the last partition and its filesystem grow to the device's size.
    pub grow: bool,
}

/// Everything beside the image that a recipe depends on. Part of the cache's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecipeInputs {
    /// What the instance type runs on; drivers for both are always put in where the guest has them.
    pub hypervisor: Hypervisor,
    /// The network policy.
    pub network: NetworkPolicy,
    /// What the user wants changed beside that.
    pub changes: GuestChanges,
    /// What the user gives up so that a Windows guest can be prepared.
    #[serde(default)]
    pub give_up: GiveUp,
}

/// What a user gives up so that a Windows guest can be prepared; never without their word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GiveUp {
    /// What waits in the log of an NTFS that was in use (`windows_unclean`).
    pub log: bool,
    /// The session of a hibernated Windows (`windows_hibernated`).
    pub session: bool,
}

impl GiveUp {
    /// What accepting findings of these codes gives up.
    #[must_use]
    pub fn of(accepted: &[String]) -> Self {
        let has = |code: &str| accepted.iter().any(|accepted| accepted == code);
        Self { log: has("windows_unclean"), session: has("windows_hibernated") }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What the guest is; `None` when no known operating system was found.
    pub facts: Option<GuestFacts>,
    /// The disks' partitions and filesystems.
    pub disks: Vec<DiskFacts>,
    /// The RAID arrays and logical volumes on them.
    #[serde(default)]
    pub stacked: Vec<StackedFacts>,
    /// What a person should know.
    pub findings: Vec<Finding>,
    /// What preparation does to the guest, in order; empty when nothing needs doing.
    pub recipe: Recipe,
    /// The recipe's effect on each file, sorted by path, secrets already masked.
    pub diffs: Vec<FileDiff>,
}

/// What a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestFacts {
    /// `linux` or `windows`.
    pub family: String,
    /// The distribution's id of os-release (`debian`, `rhel`, `ubuntu` …).
    pub distribution: String,
    /// Its version id (`12`, `7.9`).
    pub version: String,
    /// What people call it: `Debian GNU/Linux 12 (bookworm)`.
    pub product: String,
    /// Its architecture.
    pub architecture: Architecture,
    /// The firmware it boots under: UEFI when the disk has an EFI system partition with a loader
    /// and no BIOS boot code.
    pub firmware: Firmware,
    /// Both are possible (a hybrid disk).
    pub boots_either_firmware: bool,
    /// Its host name.
    pub hostname: Option<String>,
    /// The kernels that its boot loader lists, the default first.
    pub kernels: Vec<KernelFacts>,
    /// Filesystem of `/`.
    pub root_filesystem: String,
    /// Its network interfaces' static addresses, when it has any: interface to `address/prefix`.
    pub static_addresses: BTreeMap<String, String>,
    /// The interface that its default route is on, when that is known.
    #[serde(default)]
    pub default_interface: Option<String>,
    /// Everything else worth a line in a report: label to text, in order.
    pub details: Vec<(String, String)>,
}

/// A kernel that the boot loader lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelFacts {
    /// `uname -r`'s text.
    pub release: String,
    /// Its file, from the guest's root.
    pub image: String,
    /// Its initramfs, from the guest's root.
    pub initramfs: Option<String>,
    /// Driver (`nvme`, `ena`, `xen-blkfront`, `xen-netfront`) to where it is.
    pub drivers: BTreeMap<String, DriverPlace>,
    /// The version that the ENA driver gives itself (`2.0.3K`); drivers of the kernel's own tree
    /// have none since Linux 5.7.
    #[serde(default)]
    pub ena_version: Option<String>,
}

/// Where a driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriverPlace {
    /// In the kernel itself.
    BuiltIn,
    /// In the initramfs.
    Initramfs,
    /// Only in the root filesystem's modules.
    Root,
    /// Nowhere.
    Missing,
}

/// One disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskFacts {
    /// The disk's name in the job.
    pub name: String,
    /// `gpt`, `mbr` or `none`.
    pub table: String,
    /// Its partitions.
    pub partitions: Vec<PartitionFacts>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionFacts {
    /// Its number, from 1.
    pub number: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Filesystem or use: `ext4`, `xfs`, `btrfs`, `vfat`, `swap`, `lvm2`, `luks`, `bios-grub`, `unknown`.
    pub content: String,
    /// Filesystem UUID, when it has one.
    pub uuid: Option<String>,
    /// Filesystem label, when it has one.
    pub label: Option<String>,
    /// Where the guest mounts it.
    pub mount_point: Option<String>,
}

/// A RAID array or logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackedFacts {
    /// What people call it: `logical volume vg/root`, `RAID 1 array md0`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Filesystem or use, as of a partition.
    pub content: String,
    /// Filesystem UUID, when it has one.
    pub uuid: Option<String>,
    /// Filesystem label, when it has one.
    pub label: Option<String>,
    /// Where the guest mounts it.
    pub mount_point: Option<String>,
    /// What it is on: `disk root partition 2`.
    pub on: Vec<String>,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingSeverity {
    /// The guest would not come up on EC2.
    Blocks,
    /// It comes up, but something a person wants will not work.
    Warns,
    /// Worth knowing.
    Informs,
}

/// One result of inspecting a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A stable code, as `guest::fstab_device_names`.
    pub code: String,
    /// How much it weighs.
    pub severity: FindingSeverity,
    /// What was found, in one line.
    pub summary: String,
    /// Where: `/etc/fstab:3`, with what stands there; empty when there is no one place.
    pub evidence: Vec<String>,
    /// What Replant will do about it, when it will.
    pub remedy: Option<String>,
    /// What the user must do, when they must.
    pub advice: Option<String>,
}

/// The list of edits that injection makes. Its digest is what a lock pins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recipe {
    /// In order.
    pub edits: Vec<Edit>,
}

/// One edit, by content and not by blocks, so that the same guest gives the same recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Edit {
    /// The path from the guest's root; for a partition or filesystem, `disk root partition 1`.
    pub path: String,
    /// What is done, in a few words: `append nvme, xen-blkfront and 8 dependencies`.
    pub purpose: String,
    /// What kind of edit.
    pub kind: EditKind,
}

/// What an edit does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EditKind {
    /// The file's content is replaced, or the file created.
    WriteFile {
        /// Digest of the old content; `None` when there was none.
        before: Option<Digest>,
        /// Digest of the new content.
        after: Digest,
    },
    /// Bytes are added to the end of a file.
    AppendFile {
        /// The old length in bytes, to which undo truncates.
        old_length: u64,
        /// The new length in bytes.
        new_length: u64,
        /// Digest of what is appended.
        appended: Digest,
    },
    /// Bytes are put into a file at an offset, what follows moves back.
    InsertFile {
        /// Where, in bytes from the file's start.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// Digest of what is inserted.
        inserted: Digest,
    },
    /// Bytes of a file or device are replaced by as many others.
    Overwrite {
        /// Where, in bytes from the start.
        offset: u64,
        /// Digest of what they are.
        before: Digest,
        /// Digest of what they become.
        after: Digest,
    },
    /// The file is renamed (set aside).
    SetAside {
        /// The new path from the guest's root.
        to: String,
    },
    /// Values of a Windows registry key are set or removed, with keys as far as they need.
    SetValues {
        /// Digest of the values before, as lines of a `.reg` file.
        before: Digest,
        /// Digest of the values after.
        after: Digest,
    },
    /// The file gets an owner, a group and permission bits.
    SetAccess {
        /// Permission bits.
        mode: u32,
        /// The owner's number.
        owner: u32,
        /// The group's number.
        group: u32,
    },
    /// What waits in the log of an NTFS is put in place, as Windows does when it mounts the volume.
    ApplyLog,
    /// The log of an NTFS is cleared, and the volume marked so that Windows checks it when it starts.
    ClearLog,
    /// The session of a hibernated Windows (`hiberfil.sys`) is removed.
    RemoveSession,
    /// A directory of a Windows volume is made.
    MakeDirectory {
        /// Digest of the security descriptor that it gets.
        access: Digest,
    },
    /// A file or directory of a Windows volume gets another security descriptor.
    SetSecurity {
        /// Digest of the old descriptor; `None` when there was none that could be read.
        before: Option<Digest>,
        /// Digest of the new descriptor.
        after: Digest,
    },
    /// The file is removed.
    RemoveFile {
        /// Digest of what it held.
        before: Digest,
    },
    /// A partition or filesystem is made larger.
    Grow {
        /// The old size in bytes.
        old_size: u64,
        /// The new size in bytes.
        new_size: u64,
    },
    /// A partition is put at another place of its disk.
    Move {
        /// The old place of its first byte.
        old_offset: u64,
        /// The new place of its first byte.
        new_offset: u64,
    },
    /// The disk's backup partition table is put at its new end.
    MoveBackupTable {
        /// The new size of the disk in bytes.
        disk_size: u64,
    },
}

/// What the recipe does to one file. `old` and `new` are masked text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDiff {
    /// The path from the guest's root.
    pub path: String,
    /// The content before and after.
    pub change: FileChange,
}

/// A file's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FileChange {
    /// Both sides are text of at most 1 MiB; `None` where there is no file.
    Text {
        /// Before.
        old: Option<String>,
        /// After.
        new: Option<String>,
    },
    /// The file is binary or long: what changed, in lines.
    Binary {
        /// Bytes before; `None` where there was no file.
        old_length: Option<u64>,
        /// Bytes after; `None` where there is no file any more.
        new_length: Option<u64>,
        /// A line for each thing a reviewer wants to know (each member of an appended archive
        /// with its size).
        lines: Vec<String>,
    },
    /// Renamed, content unchanged.
    Renamed {
        /// The new path.
        to: String,
    },
}
