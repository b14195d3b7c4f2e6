//! Partition tables: what a disk is divided into. Read by our own parsers, since the kernel's
//! silently passes over what it does not like.

use std::fs::File;

use super::{gpt, mbr};

/// Bytes of a sector. VMware's, Hyper-V's and KVM's disks all have sectors of 512 bytes, and so
/// have EBS volumes; disks of real machines and some storage arrays may have [`LARGE_SECTOR`].
pub const SECTOR: u64 = 512;

/// Bytes of a sector of a "4K native" disk.
const LARGE_SECTOR: u64 = 4096;

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record, with logical partitions.
    Mbr,
    /// No partition table.
    None,
}

impl TableKind {
    /// Its name in a report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
            Self::None => "none",
        }
    }
}

/// What a partition says it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionType {
    /// GPT: the type's GUID as it stands on the disk.
    Guid([u8; 16]),
    /// MBR: the type's byte.
    Byte(u8),
}

/// GPT's BIOS boot partition, 21686148-6449-6E6F-744E-656564454649, as on disk.
const BIOS_BOOT: [u8; 16] =
    [0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49];
/// GPT's EFI system partition, C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as on disk.
const EFI_SYSTEM: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];

/// GPT's partition of a Windows dynamic disk's volumes, AF9B60A0-1431-4F62-BC68-3311714A69AD, and
/// of its database, 5808C8AA-7E8F-42E0-85D2-E1E90434CFB3, as on disk.
const DYNAMIC: [[u8; 16]; 2] = [
    [0xa0, 0x60, 0x9b, 0xaf, 0x31, 0x14, 0x62, 0x4f, 0xbc, 0x68, 0x33, 0x11, 0x71, 0x4a, 0x69, 0xad],
    [0xaa, 0xc8, 0x08, 0x58, 0x8f, 0x7e, 0xe0, 0x42, 0x85, 0xd2, 0xe1, 0xe9, 0x04, 0x34, 0xcf, 0xb3],
];

impl PartitionType {
    /// Whether it is part of a Windows dynamic disk.
    #[must_use]
    pub fn is_dynamic_disk(self) -> bool {
        match self {
            Self::Guid(guid) => DYNAMIC.contains(&guid),
            Self::Byte(byte) => byte == 0x42,
        }
    }

    /// Whether GRUB keeps its core there (GPT only).
    #[must_use]
    pub fn is_bios_boot(self) -> bool {
        self == Self::Guid(BIOS_BOOT)
    }

    /// Whether firmware looks for boot loaders there.
    #[must_use]
    pub fn is_efi_system(self) -> bool {
        self == Self::Guid(EFI_SYSTEM) || self == Self::Byte(0xef)
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// What it says it is for.
    pub kind: PartitionType,
    /// The id that `PARTUUID=` names.
    pub id: Option<String>,
    /// The name that `PARTLABEL=` names.
    pub name: Option<String>,
}

impl Partition {
    /// Where it ends: the byte after its last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.size)
    }
}

/// A disk's partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its kind.
    pub kind: TableKind,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
    /// What is wrong with it, in words; the partitions are what could be read.
    pub problems: Vec<String>,
    /// The GPT behind it, when it is one.
    pub gpt: Option<gpt::Gpt>,
    /// Whether it counts in sectors of 4,096 bytes, so that its partitions are elsewhere for
    /// whoever counts in 512.
    pub large_sectors: bool,
}

/// Reads the table of a disk whose image has `size` bytes (the device may be larger).
#[must_use]
pub fn read(disk: &File, size: u64) -> Table {
    let nothing = Table {
        kind: TableKind::None,
        partitions: Vec::new(),
        problems: Vec::new(),
        gpt: None,
        large_sectors: false,
    };
    let Some(first) = read_sectors(disk, size, 0, 1) else { return nothing };
    let Some(record) = mbr::Record::parse(&first) else { return nothing };
    if record.is_protective() {
        let mut problems = Vec::new();
        if let Some(gpt) = gpt::read(disk, size, &mut problems) {
            let partitions = gpt.partitions(size, &mut problems);
            return Table { kind: TableKind::Gpt, partitions, problems, gpt: Some(gpt), ..nothing };
        }
        if has_large_sectors(disk, size) {
            return Table { kind: TableKind::Gpt, large_sectors: true, ..nothing };
        }
        problems.push("it says that it has a GPT, but neither copy of it can be read".to_owned());
        return Table { kind: TableKind::Gpt, problems, ..nothing };
    }
    let mut problems = Vec::new();
    let partitions = record.partitions(disk, size, &mut problems);
    Table { kind: TableKind::Mbr, partitions, problems, ..nothing }
}

/// Whether the first copy of a GPT stands where it does with large sectors, and says so.
fn has_large_sectors(disk: &File, size: u64) -> bool {
    read_sectors(disk, size, LARGE_SECTOR / SECTOR, 1)
        .is_some_and(|header| header.starts_with(b"EFI PART") && u64_at(&header, 24) == 1)
}

/// Reads whole sectors; `None` beyond the end or when the device fails.
pub(super) fn read_sectors(disk: &File, size: u64, first: u64, count: u64) -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let offset = first.checked_mul(SECTOR)?;
    let length = count.checked_mul(SECTOR)?;
    if offset.checked_add(length)? > size {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    disk.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// The little-endian number of 32 bits at an offset; 0 beyond the end.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at.saturating_add(4)).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The little-endian number of 64 bits at an offset; 0 beyond the end.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at.saturating_add(8)).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A GUID's text, of its bytes on disk (UEFI: the first three fields little-endian).
pub(super) fn guid_text(bytes: &[u8; 16]) -> String {
    let b = bytes;
    format!(
        "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{}",
        b[3],
        b[2],
        b[1],
        b[0],
        b[5],
        b[4],
        b[7],
        b[6],
        b[8],
        b[9],
        b[10..].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::guest::disk::probe;

    const SIZE: u64 = 16 << 20;

    /// A disk divided by sfdisk.
    fn disk(script: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let mut child = Command::new("sfdisk")
            .args(["-q", "--no-reread", "--no-tell-kernel"])
            .arg(file.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        file
    }

    const LOGICAL: &str = "label: dos\nstart=2048, size=4096\nstart=8192, size=20000, type=5\n\
                           start=10240, size=2048\nstart=14336, size=4096, type=82\n";
    const GPT: &str = "label: gpt\nsize=4096, name=\"first\"\nsize=8192, type=uefi\n";

    #[test]
    fn logical_partitions_are_found() {
        let table = read(disk(LOGICAL).as_file(), SIZE);
        let found: Vec<_> = table
            .partitions
            .iter()
            .map(|found| (found.number, found.offset / SECTOR, found.size / SECTOR))
            .collect();
        assert_eq!(found, [(1, 2048, 4096), (5, 10240, 2048), (6, 14336, 4096)]);
        assert_eq!((table.kind, table.problems.len()), (TableKind::Mbr, 0));
    }

    #[test]
    fn the_backup_stands_in_for_a_damaged_gpt() {
        let disk = disk(GPT);
        let whole = read(disk.as_file(), SIZE);
        assert_eq!(whole.partitions[0].name.as_deref(), Some("first"));
        assert!(whole.partitions[1].kind.is_efi_system());
        disk.as_file().write_all_at(&[0; 512], SECTOR).unwrap();
        let mended = read(disk.as_file(), SIZE);
        assert_eq!(mended.partitions, whole.partitions);
        assert_eq!(mended.problems.len(), 1);
        // Written at a larger size, both copies are sound to another tool.
        let larger = SIZE + (8 << 20);
        disk.as_file().set_len(larger).unwrap();
        mended.gpt.unwrap().write(disk.as_file(), larger).unwrap();
        let verdict = Command::new("sgdisk").arg("-v").arg(disk.path()).output().unwrap();
        let text = String::from_utf8_lossy(&verdict.stdout);
        assert!(text.contains("No problems found"), "{text}");
        disk.as_file().write_all_at(&[0; 512], SECTOR).unwrap();
        assert_eq!(read(disk.as_file(), larger).partitions, whole.partitions);
    }

    #[test]
    fn large_sectors_are_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let mut child = Command::new("fdisk")
            .args(["-b", "4096"])
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"g\nn\n\n\n\nw\n").unwrap();
        assert!(child.wait().unwrap().success());
        let table = read(file.as_file(), SIZE);
        assert!(table.large_sectors && table.partitions.is_empty() && table.problems.is_empty(), "{table:?}");
        assert!(!read(disk(GPT).as_file(), SIZE).large_sectors);
    }

    #[test]
    fn a_chain_that_leads_back_ends() {
        let disk = disk(LOGICAL);
        // The second table's link points to the first again.
        let place = 12288 * SECTOR;
        let mut sector = [0; 512];
        disk.as_file().read_exact_at(&mut sector, place).unwrap();
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector[446 + 16 + 4] = 5;
        sector[446 + 16 + 8..446 + 16 + 16].copy_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
        disk.as_file().write_all_at(&sector, place).unwrap();
        let table = read(disk.as_file(), SIZE);
        assert!(table.partitions.len() <= 3);
        assert!(table.problems.iter().any(|problem| problem.contains("themselves")), "{table:?}");
    }

    /// Whatever bytes stand in a table or superblock, reading ends, without a panic.
    #[test]
    fn hostile_bytes_end_in_a_table_or_none() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for script in [LOGICAL, GPT] {
            let disk = disk(script);
            for round in 0..400_u64 {
                let places =
                    [446 + random() % 66, 512 + random() % 96, 1024 + random() % 512, 10240 * SECTOR + 446];
                let place = places[(round % 4) as usize];
                disk.as_file().write_all_at(&random().to_le_bytes(), place).unwrap();
                disk.as_file().write_all_at(&[0x55, 0xaa], 510).unwrap();
                let table = read(disk.as_file(), SIZE);
                for partition in &table.partitions {
                    assert!(partition.end() <= SIZE);
                    let _content = probe::probe(disk.as_file(), partition.offset, partition.size);
                }
            }
        }
        let noise = tempfile::NamedTempFile::new().unwrap();
        for magic in [&b"XFSB"[..], b"LABELONE", b"LUKS\xba\xbe"] {
            let bytes: Vec<u8> = (0..0x12000).map(|_| random() as u8).collect();
            noise.as_file().write_all_at(&bytes, 0).unwrap();
            noise.as_file().write_all_at(magic, 0).unwrap();
            noise.as_file().write_all_at(&[0x53, 0xef], 1024 + 0x38).unwrap();
            for size in [0, 1, 511, 4096, 70_000] {
                let _content = probe::probe(noise.as_file(), 0, size);
            }
        }
        let tiny = File::open("/dev/null").unwrap();
        assert_eq!(read(&tiny, 0).kind, TableKind::None);
    }
}
