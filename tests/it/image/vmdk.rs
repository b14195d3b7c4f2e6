//! VMDKs that `qemu-img` cannot make, as VMware's own software writes them. QEMU reads them, so
//! that it is still the reference.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use replant::image::{BlockSource, ImageError, OpenOptions, open};

use super::fixture::{Numbers, opened, raw_disk, same_as, same_as_qemu};

const SECTOR: usize = 512;

/// What a hand-made sparse extent is like.
#[derive(Debug, Clone)]
pub struct Build {
    pub version: u32,
    /// Sectors of a grain.
    pub grain: u64,
    /// Whether the grain directory is found by a footer.
    pub footer: bool,
    /// Whether grains are deflated behind a marker, or plain.
    pub compressed: bool,
    /// Whether grains of zeros get an entry of 1 instead of 0.
    pub zeroed: bool,
    /// Whether grains are written in another order than the disk's.
    pub shuffled: bool,
    pub descriptor: String,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            version: 3,
            grain: 128,
            footer: true,
            compressed: true,
            zeroed: false,
            shuffled: false,
            descriptor: "# Disk DescriptorFile\nversion=1\nCID=7b1d2c3e\nparentCID=ffffffff\n\
                createType=\"streamOptimized\"\nRDW 6144 SPARSE \"generated-stream.vmdk\"\n\
                ddb.longContentID = \"00\"\n"
                .to_owned(),
        }
    }
}

pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn pad(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(SECTOR), 0);
}

fn marker(file: &mut Vec<u8>, sectors: u64, kind: u32) {
    file.extend(sectors.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    file.extend(kind.to_le_bytes());
    pad(file);
}

impl Build {
    fn header(&self, capacity: u64, directory: u64, descriptor: u64) -> Vec<u8> {
        let mut header = b"KDMV".to_vec();
        let flags = 1 | if self.zeroed { 4 } else { 0 } | if self.compressed { 0x3_0000 } else { 0 };
        header.extend(self.version.to_le_bytes());
        header.extend(u32::to_le_bytes(flags));
        for number in [capacity, self.grain, 1, descriptor] {
            header.extend(number.to_le_bytes());
        }
        header.extend(512u32.to_le_bytes());
        for number in [0, directory, 128] {
            header.extend(number.to_le_bytes());
        }
        header.extend(b"\0\n \r\n");
        header.extend(u16::from(self.compressed).to_le_bytes());
        header.resize(SECTOR, 0);
        header
    }

    /// The file of a disk, in the order that VMware writes: header, descriptor, grains, tables,
    /// directory, footer, end.
    pub fn file(&self, disk: &[u8]) -> Vec<u8> {
        let capacity = (disk.len() / SECTOR) as u64;
        let mut descriptor = self.descriptor.clone().into_bytes();
        pad(&mut descriptor);
        let mut file = self.header(capacity, u64::MAX, (descriptor.len() / SECTOR) as u64);
        file.extend(&descriptor);
        file.resize(128 * SECTOR, 0);
        let grain = self.grain as usize * SECTOR;
        let count = disk.len().div_ceil(grain);
        let mut entries = vec![0u32; count.next_multiple_of(512)];
        let mut order: Vec<usize> = (0..count).collect();
        if self.shuffled {
            let mut numbers = Numbers::new(77);
            order.sort_by_cached_key(|_| numbers.next());
        }
        for index in order {
            let start = index * grain;
            let mut bytes = disk[start..disk.len().min(start + grain)].to_vec();
            bytes.resize(grain, 0);
            if bytes.iter().all(|byte| *byte == 0) {
                entries[index] = u32::from(self.zeroed);
                continue;
            }
            entries[index] = (file.len() / SECTOR) as u32;
            if self.compressed {
                let packed = deflated(&bytes);
                file.extend((start as u64 / SECTOR as u64).to_le_bytes());
                file.extend((packed.len() as u32).to_le_bytes());
                file.extend(packed);
                pad(&mut file);
            } else {
                file.extend(bytes);
            }
        }
        let mut directory = Vec::new();
        for table in entries.chunks(512) {
            if table.iter().all(|entry| *entry == 0) {
                directory.extend(0u32.to_le_bytes());
                continue;
            }
            marker(&mut file, 4, 1);
            directory.extend(((file.len() / SECTOR) as u32).to_le_bytes());
            table.iter().for_each(|entry| file.extend(entry.to_le_bytes()));
        }
        pad(&mut directory);
        marker(&mut file, (directory.len() / SECTOR) as u64, 2);
        let at = (file.len() / SECTOR) as u64;
        file.extend(directory);
        let footer = self.header(capacity, at, (descriptor.len() / SECTOR) as u64);
        if self.footer {
            marker(&mut file, 1, 3);
            file.extend(&footer);
            marker(&mut file, 0, 0);
        } else {
            file[..SECTOR].copy_from_slice(&footer);
        }
        file
    }
}

fn disk(size: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    fs::read(raw_disk(directory.path(), size, size)).unwrap()
}

pub fn written(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn streams_as_vmware_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let small = disk(3 << 20);
    let odd = disk((40 << 20) + 512 * 7);
    let base = Build::default();
    // Of a large one, which has two tables, the rest is holes.
    let path = written(directory.path(), "stream.vmdk", &base.file(&odd));
    same_as(&opened(&path), &odd);
    same_as_qemu(&path, "vmdk");
    for build in [
        Build { version: 1, ..base.clone() },
        Build { footer: false, ..base.clone() },
        Build { shuffled: true, ..base.clone() },
        Build { zeroed: true, version: 2, ..base.clone() },
        Build { grain: 16, ..base.clone() },
        Build { compressed: false, zeroed: true, version: 1, footer: false, ..base.clone() },
        Build { compressed: false, shuffled: true, version: 1, footer: false, ..base.clone() },
    ] {
        let path = written(directory.path(), "stream.vmdk", &build.file(&small));
        same_as(&opened(&path), &small);
        same_as_qemu(&path, "vmdk");
    }
}

/// Several pieces of incompressible grains: what is stored is longer than what it holds.
#[test]
fn grains_that_deflate_makes_longer() {
    let mut numbers = Numbers::new(3);
    let disk: Vec<u8> = (0..1 << 16).flat_map(|_| numbers.next().to_le_bytes()).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = written(directory.path(), "noise.vmdk", &Build::default().file(&disk));
    same_as(&opened(&path), &disk);
}

/// The last grain of a disk may hold only what is left of the disk.
#[test]
fn a_short_last_grain() {
    let disk = disk((1 << 20) + 512 * 5);
    let mut file = Build::default().file(&disk);
    let packed = deflated(&disk[1 << 20..]);
    // The last grain stored before the table is that of the disk's end.
    let sector = (1u64 << 20) / 512;
    let at = file.windows(8).rposition(|bytes| bytes == sector.to_le_bytes()).unwrap();
    file[at + 8..at + 12].copy_from_slice(&(packed.len() as u32).to_le_bytes());
    file[at + 12..at + 12 + packed.len()].copy_from_slice(&packed);
    let directory = tempfile::tempdir().unwrap();
    same_as(&opened(&written(directory.path(), "short.vmdk", &file)), &disk);
}

#[test]
fn a_delta_is_refused_with_its_parents_name() {
    let descriptor = "# Disk DescriptorFile\nCID=11111111\nparentCID=22222222\n\
        parentFileNameHint=\"base.vmdk\"\ncreateType=\"monolithicSparse\"\n";
    let build = Build { descriptor: descriptor.to_owned(), ..Build::default() };
    let directory = tempfile::tempdir().unwrap();
    let path = written(directory.path(), "delta.vmdk", &build.file(&disk(1 << 20)));
    let error = open(&path, &OpenOptions::default()).unwrap_err();
    assert!(
        matches!(&error, ImageError::NeedsParent { parent: Some(parent), .. } if parent == "base.vmdk"),
        "{error:?}"
    );
}

/// A descriptor as an ESX host writes it, with an extent at an offset and one of zeros.
#[test]
fn a_descriptor_with_every_kind_of_extent() {
    let directory = tempfile::tempdir().unwrap();
    let flat = disk(2 << 20);
    let sparse = disk(3 << 20);
    written(directory.path(), "x-flat.vmdk", &flat);
    fs::create_dir(directory.path().join("sub")).unwrap();
    let build = Build { compressed: false, footer: false, version: 1, ..Build::default() };
    written(&directory.path().join("sub"), "y.vmdk", &build.file(&sparse));
    written(
        directory.path(),
        "x.vmdk",
        b"\xef\xbb\xbf# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=fffffffe\nparentCID=FFFFFFFF\n\
        createType=\"vmfs\"\n\n# Extent description\nRW 1000 FLAT \"x-flat.vmdk\" 100\nRW 77 ZERO\n\
        RW 6144 SPARSE \"sub/y.vmdk\"\nRW 4096 VMFS \"x-flat.vmdk\"\n",
    );
    let image = opened(&directory.path().join("x.vmdk"));
    let zeros = vec![0; 77 * SECTOR];
    same_as(&image, &[&flat[100 * SECTOR..1100 * SECTOR], &zeros, &sparse, &flat].concat());
    assert_eq!(image.files().count(), 3);
    assert_eq!(image.size() % 512, 0);
}

/// A stream's header is written before the disk is known: the footer counts.
#[test]
fn a_footer_counts_for_more_than_its_header() {
    let disk = disk((2 << 20) + 512 * 3);
    let sound = Build::default().file(&disk);
    let directory = tempfile::tempdir().unwrap();
    let footer = sound.len() - 1024;
    for (at, number) in [(12, 7u64), (12, 1 << 40), (12, u64::MAX), (28, 0), (20, 16)] {
        let mut file = sound.clone();
        file[at..at + 8].copy_from_slice(&number.to_le_bytes());
        let path = written(directory.path(), "stream.vmdk", &file);
        // A header that is impossible by itself is damage nonetheless.
        if number == u64::MAX {
            assert!(open(&path, &OpenOptions::default()).is_err());
            continue;
        }
        same_as(&opened(&path), &disk);
        same_as_qemu(&path, "vmdk");
        if at == 28 {
            file[footer + at..footer + at + 16].fill(0);
            let path = written(directory.path(), "stream.vmdk", &file);
            same_as(&opened(&path), &disk);
        }
    }
    // The footer may leave it to the header where the descriptor is.
    let mut file = sound.clone();
    file[footer + 28..footer + 44].fill(0);
    let path = written(directory.path(), "stream.vmdk", &file);
    same_as(&opened(&path), &disk);
    assert_eq!(opened(&path).description(), "vmdk streamOptimized");
    // Its capacity is the disk's: what its tables cannot hold is no disk.
    let mut file = sound;
    file[footer + 12..footer + 20].copy_from_slice(&(1u64 << 50).to_le_bytes());
    let path = written(directory.path(), "stream.vmdk", &file);
    assert!(open(&path, &OpenOptions::default()).is_err());
}

/// What an embedded descriptor says of the size may be old: QEMU and VMware go by the header.
#[test]
fn an_embedded_descriptor_of_another_size() {
    let disk = disk(3 << 20);
    let directory = tempfile::tempdir().unwrap();
    for sectors in ["1", "6145", "99999999999"] {
        let descriptor = Build::default().descriptor.replace("6144", sectors);
        let build = Build { descriptor, ..Build::default() };
        let path = written(directory.path(), "stream.vmdk", &build.file(&disk));
        same_as(&opened(&path), &disk);
        same_as_qemu(&path, "vmdk");
    }
}
