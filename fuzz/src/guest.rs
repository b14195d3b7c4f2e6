//! What is on a guest's disks, and its files.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use replant::guest::disk::boot_code::BootCode;
use replant::guest::disk::findings;
use replant::guest::disk::layout::Layout;
use replant::guest::disk::lvm::group::Group;
use replant::guest::disk::lvm::label;
use replant::guest::disk::md::superblock;
use replant::guest::linux::boot::{arguments, assignment, bls, config, environment, extlinux};
use replant::guest::linux::initramfs::archive::Member;
use replant::guest::linux::initramfs::unpack;
use replant::guest::linux::initramfs::{addition, hint};
use replant::guest::linux::{fstab, index, release};
use replant::guest::report::{GiveUp, Job, JobDisk, PROTOCOL, RecipeInputs};
use replant::guest::tree::Tree;
use replant::guest::{mask, prepare};
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};

use super::base::{Base, unpack as bases};
use super::case::Case;
use super::directory::directory;
use super::memory::bounded;
use super::{seal, text};

/// The bases of disks with partitions and filesystems.
pub static DISK: LazyLock<Vec<Base>> = LazyLock::new(|| bases(include_bytes!("../bases/disk.zst")));

/// Partition tables and superblocks.
pub fn disk(input: &[u8]) {
    let Some(mut case) = Case::decode(&DISK, input) else { return };
    if case.sealed() {
        seal::gpt(&mut case.files[0].1);
        seal::lvm(&mut case.files[0].1);
    }
    let path = case.store(&directory("disk")).expect("files in memory can be written");
    let size = case.files[0].1.size();
    let image_size = if case.options & 2 == 0 { size } else { size / 2 };
    let job = JobDisk { name: "root".to_owned(), image_size, size, grow: false };
    bounded(case.stored(), || {
        let layout = Layout::read(&[job], &[path]).expect("a file can be opened");
        let _ = layout.facts();
        let _ = findings::of_tables(&layout).len() + findings::no_root(&layout, false).len();
        for volume in &layout.volumes {
            let _ = layout.name(volume.place);
            let offset = volume.partition.as_ref().map_or(0, |partition| partition.offset);
            let _ = superblock::read(&layout.disks[0].device.file, offset, volume.size);
        }
        physical(&layout.disks[0].device.file, image_size);
        for source in ["UUID=1234-5678", "LABEL=root", "PARTUUID=1", "/dev/sda1", "/dev/vda", "PARTLABEL=x"] {
            let _ = layout.resolve(source);
        }
    });
}

/// A disk that is an LVM physical volume as a whole: its label, areas and group.
fn physical(device: &File, size: u64) {
    let Ok(label) = label::read(device, size) else { return };
    for area in &label.areas {
        if let Ok(Some(text)) = label::read_text(device, *area) {
            let _ = Group::parse(text).map_err(|error| error.to_string());
        }
    }
}

/// An initramfs: as it is, or a cpio archive packed by a real packer, which the first byte names.
pub fn initramfs(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let packed = packed(mode & 7, rest);
    bounded(packed.len() as u64, || {
        let archive = match unpack::unpack(packed.as_slice(), &addition::keep) {
            Ok(archive) => archive,
            Err(error) => return drop(error.to_string()),
        };
        assert_eq!(archive.length, packed.len() as u64, "all of it was read");
        let _ = (archive.get("init").is_some(), hint::Generator::of(&archive).hint_path(&archive));
        for path in archive.members.keys().take(64) {
            let _ = (archive.resolve(path), archive.get(path), archive.content(path));
        }
        let _ = addition::holds(&archive, "nvme");
        let links = archive.members.values().filter(|member| matches!(member, Member::Symlink(_)));
        let _ = links.count();
    });
}

/// Packed by a real packer: gzip, zstd, bzip2, xz, a part of it plain; else as it is.
#[must_use]
pub fn packed(mode: u8, content: &[u8]) -> Vec<u8> {
    match mode {
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            let _ = encoder.write_all(content);
            encoder.finish().unwrap_or_default()
        }
        2 => zstd::encode_all(content, 1).unwrap_or_default(),
        3 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            let _ = encoder.write_all(content);
            encoder.finish().unwrap_or_default()
        }
        4 => liblzma::encode_all(content, 0).unwrap_or_default(),
        // A plain archive before a packed one, as early microcode stands.
        5 => {
            let mut early = content.to_vec();
            early.resize(content.len().next_multiple_of(512), 0);
            early.extend(packed(1, content));
            early
        }
        _ => content.to_vec(),
    }
}

/// The pure parsers of a Linux guest's texts: the first byte says which.
pub fn texts(input: &[u8]) {
    let Some((which, content)) = input.split_first() else { return };
    let lossy = String::from_utf8_lossy(content);
    let text: &str = &lossy;
    bounded(input.len() as u64, || match which % 9 {
        0 => {
            for mount in fstab::parse(content) {
                let _ = (mount.has_option("noauto"), mount.is_swap());
                let _ = fstab::replace_field(text, mount.line, 0, "UUID=0000");
            }
            let _ = fstab::parse_crypttab(content);
        }
        1 => {
            let _ = mask::text("/etc/shadow", text);
            let _ = mask::text("/etc/netplan/x.yaml", text);
        }
        2 => {
            let _ = bls::parse("stem", text);
            let _ = bls::default_pattern(text);
            assert_eq!(bls::edit(text, &str::to_owned, &[]), text, "an edit that changes nothing");
            let name = "GRUB_CMDLINE_LINUX";
            let _ = assignment::effective(text, name, "");
            assert_eq!(assignment::edit(text, name, &str::to_owned), text, "an edit that changes nothing");
            let _ = assignment::add(text, name, &["more".to_owned()]);
        }
        3..=5 => {
            for dialect in [config::Dialect::Grub2, config::Dialect::Legacy] {
                let entries = config::entries(text, dialect);
                let same = config::edit(text, dialect, &|_, arguments| Some(arguments.to_owned()));
                assert_eq!(same, text, "an edit that changes nothing");
                let default = config::default_entry(text, &|_| Some("0".to_owned()));
                let default = default.or_else(|| config::legacy_default(text, Some("1")));
                for entry in &entries {
                    let _ = entry.is_default(default.as_deref().unwrap_or("0"));
                }
            }
            assert_eq!(config::edit_kopt(text, &str::to_owned), text, "an edit that changes nothing");
            let _ = extlinux::entries(text);
            let same = extlinux::edit(text, &|_, arguments| Some(arguments.to_owned()));
            assert_eq!(same, text, "an edit that changes nothing");
        }
        6 => {
            let _ = (arguments::split(text).len(), arguments::value(text, "root"));
            let _ = (arguments::has_serial_console(text), arguments::rewrite(text, &[]));
            let _ = environment::value(text, "kernelopts");
            let _ = environment::with_value(text, "kernelopts", "root=/dev/x");
            let _ = release::value(text, "ID");
        }
        7 => {
            let _ = Group::parse(text.to_owned()).map_err(|error| error.to_string());
        }
        _ => {
            let (dependencies, aliases) = text.split_once('\u{1e}').unwrap_or((text, text));
            let _ = index::dependencies(dependencies);
            let _ = index::aliases(aliases, dependencies);
            let _ = index::module_name(text);
        }
    });
}

/// The files of a guest that inputs can give.
pub const FILES: [&str; 32] = [
    "etc/os-release",
    "etc/fstab",
    "boot/grub/grub.cfg",
    "etc/default/grub",
    "boot/loader/entries/x-6.1.0.conf",
    "boot/grub2/grubenv",
    "boot/initrd.img-6.1.0",
    "lib/modules/6.1.0/modules.dep",
    "lib/modules/6.1.0/modules.alias",
    "lib/modules/6.1.0/modules.softdep",
    "lib/modules/6.1.0/modules.builtin",
    "boot/config-6.1.0",
    "etc/netplan/50-cloud-init.yaml",
    "etc/network/interfaces",
    "etc/sysconfig/network-scripts/ifcfg-eth0",
    "etc/NetworkManager/system-connections/eth0.nmconnection",
    "etc/systemd/network/10-eth0.network",
    "etc/cloud/cloud.cfg",
    "etc/udev/rules.d/70-persistent-net.rules",
    "etc/crypttab",
    "etc/ssh/sshd_config",
    "etc/passwd",
    "etc/shadow",
    "etc/hostname",
    "boot/extlinux/extlinux.conf",
    "etc/kernel/cmdline",
    "boot/grub/menu.lst",
    "etc/modprobe.d/x.conf",
    "lib/modules/6.1.0/modules.builtin.modinfo",
    "lib/modules/6.1.0/kernel/nvme.ko",
    "etc/selinux/config",
    "boot/vmlinuz-6.1.0",
];

/// A whole Linux guest: its files by their number, then inspection as it happens in the sandbox.
pub fn linux(input: &[u8]) {
    let root = directory("linux").join("root");
    let _ = fs::remove_dir_all(&root);
    for directory in ["etc", "boot", "lib/modules/6.1.0", "usr/bin", "var/lib", "sbin"] {
        fs::create_dir_all(root.join(directory)).expect("directories in memory can be made");
    }
    write(&root, "etc/os-release", b"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n");
    write(&root, "boot/vmlinuz-6.1.0", b"kernel");
    for (name, content) in text::files(&FILES, input).take(64) {
        write(&root, name, content);
    }
    let job = Job {
        protocol: PROTOCOL,
        disks: vec![JobDisk { name: "root".to_owned(), image_size: 1 << 30, size: 1 << 30, grow: false }],
        prepare: false,
        inputs: RecipeInputs {
            hypervisor: Hypervisor::Nitro,
            network: NetworkPolicy::Dhcp,
            changes: GuestChanges::default(),
            give_up: GiveUp::default(),
        },
        parcel: None,
    };
    bounded(input.len() as u64, || {
        let tree = Tree::open(&root).expect("the root is there");
        match prepare::run(&tree, &[], BootCode::Unknown, &job) {
            Ok(report) => {
                // It must fit through the protocol, whatever the guest says.
                let _ = serde_json::to_vec(&report).expect("a report can be sent");
            }
            Err(error) => drop(error.to_string()),
        }
    });
}

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    let file = File::create(&path).or_else(|_| {
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        File::create(&path)
    });
    file.and_then(|mut file| file.write_all(content)).expect("files in memory can be written");
}
