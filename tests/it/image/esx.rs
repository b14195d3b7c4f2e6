//! Snapshots of ESX hosts: vmfsSparse (COWD) and seSparse extents, which no free program makes.
//! They are made here after VMware's "Virtual Disk Format 1.1" and, for seSparse, the facts in
//! QEMU's reader. QEMU reads both, so that it is the reference.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use replant::image::{BlockSource, Image, ImageError, OpenOptions, SourceError, open};

use super::chains::layers_are;
use super::fixture::{Numbers, opened, raw_disk, run, same_as, same_as_qemu, text};
use super::vmdk::written;

const SECTOR: usize = 512;

/// What a grain of a delta is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// The parent's.
    Absent,
    /// In the file.
    Data,
    /// Zeros (seSparse only).
    Zero,
    /// Discarded by the guest: zeros, too (seSparse only).
    Unmapped,
}

/// The bytes of a grain of a disk, zeros behind its end.
fn grain(disk: &[u8], index: usize, size: usize) -> Vec<u8> {
    let start = index * size;
    let mut bytes = disk[start.min(disk.len())..disk.len().min(start + size)].to_vec();
    bytes.resize(size, 0);
    bytes
}

/// A vmfsSparse extent with those grains of `disk`, each of `sectors`.
fn cowd(disk: &[u8], sectors: usize, kinds: &[Grain]) -> Vec<u8> {
    let tables = kinds.len().div_ceil(4096);
    let mut file = b"COWD".to_vec();
    let put = |file: &mut Vec<u8>, numbers: &[usize]| {
        numbers.iter().for_each(|number| file.extend((*number as u32).to_le_bytes()));
    };
    // Version, flags, capacity, grain, directory, its entries, the next free sector.
    put(&mut file, &[1, 3, disk.len() / SECTOR, sectors, 4, tables, 0]);
    file.resize(4 * SECTOR, 0);
    let directory = file.len();
    file.resize((directory + tables * 4).next_multiple_of(SECTOR), 0);
    for (number, kinds) in kinds.chunks(4096).enumerate() {
        if kinds.iter().all(|kind| *kind == Grain::Absent) {
            continue;
        }
        let table = file.len();
        let entry = ((table / SECTOR) as u32).to_le_bytes();
        file[directory + number * 4..directory + number * 4 + 4].copy_from_slice(&entry);
        file.resize(table + 4096 * 4, 0);
        for (index, _) in kinds.iter().enumerate().filter(|(_, kind)| **kind != Grain::Absent) {
            let entry = ((file.len() / SECTOR) as u32).to_le_bytes();
            file[table + index * 4..table + index * 4 + 4].copy_from_slice(&entry);
            file.extend(grain(disk, number * 4096 + index, sectors * SECTOR));
        }
    }
    file
}

/// The first of an seSparse extent's grains: their numbers are more than 12 bits, which stand
/// apart in an entry.
const FIRST_GRAIN: usize = 4090;
const TABLES_AT: usize = 64;

/// An seSparse extent with those grains of `disk`, written as a sparse file.
fn sesparse(path: &Path, disk: &[u8], kinds: &[Grain]) {
    let tables = kinds.len().div_ceil(4096);
    // One more table than there are, so that their numbers are not those of the directory.
    let grains_at = TABLES_AT + (tables + 1) * 64;
    let file = File::create(path).unwrap();
    let numbers = |at: usize, numbers: &[u64]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.write_all_at(&bytes, at as u64).unwrap();
    };
    let capacity = (disk.len() / SECTOR) as u64;
    numbers(0, &[0xcafe_babe, 0x2_0000_0001, capacity, 8, 64, 0, 0, 0, 0, 0]);
    // Offset and size: volatile header, journal header, journal, directory, tables, free bitmap,
    // back map, grains.
    let regions = [1, 1, 2, 2, 4, 4, 16, 16, TABLES_AT, (tables + 1) * 64, 32, 8, 40, 8, grains_at, 0];
    numbers(80, &regions.map(|number| number as u64));
    numbers(SECTOR, &[0xcafe_cafe, 0, 7, 0]);
    let mut next = FIRST_GRAIN;
    for (number, kinds) in kinds.chunks(4096).enumerate() {
        if kinds.iter().all(|kind| *kind == Grain::Absent) {
            continue;
        }
        numbers(16 * SECTOR + number * 8, &[0x1000_0000_0000_0000 | (number as u64 + 1)]);
        let table = (TABLES_AT + (number + 1) * 64) * SECTOR;
        numbers(table, &vec![0; 4096]);
        for (index, kind) in kinds.iter().enumerate() {
            let entry = match kind {
                Grain::Absent => 0,
                Grain::Unmapped => 1 << 60,
                Grain::Zero => 2 << 60,
                Grain::Data => {
                    let at = (grains_at + next * 8) * SECTOR;
                    file.write_all_at(&grain(disk, number * 4096 + index, 4096), at as u64).unwrap();
                    let place = next as u64;
                    next += 1;
                    3 << 60 | (place & 0xfff) << 48 | place >> 12
                }
            };
            numbers(table + index * 8, &[entry]);
        }
    }
}

/// Kinds of grains at random; `few`: of which a file has two only.
fn kinds(count: usize, seed: u64, few: bool) -> Vec<Grain> {
    let mut numbers = Numbers::new(seed);
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let kind = [Grain::Absent, Grain::Data, Grain::Zero, Grain::Unmapped]
            [numbers.below(if few { 2 } else { 4 }) as usize];
        let run = if numbers.below(4) == 0 { numbers.below(3000) } else { numbers.below(9) };
        kinds.resize(kinds.len() + run as usize, kind);
    }
    kinds.truncate(count);
    kinds
}

/// What is read of `disk` with those grains on a parent.
fn expected(disk: &[u8], parent: &[u8], size: usize, kinds: &[Grain]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        bytes.extend(match kind {
            Grain::Absent => grain(parent, index, size),
            Grain::Data => grain(disk, index, size),
            Grain::Zero | Grain::Unmapped => vec![0; size],
        });
    }
    bytes.truncate(disk.len());
    bytes
}

fn disk(size: u64, seed: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    fs::read(raw_disk(directory.path(), size, seed)).unwrap()
}

/// A descriptor as an ESX host writes it.
fn descriptor(create_type: &str, id: &str, parent: &str, lines: &str) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID={id}\n{parent}\nisNativeSnapshot=\"no\"\n\
        createType=\"{create_type}\"\n# Extent description\n{lines}\n# The Disk Data Base\n#DDB\n\n\
        ddb.longContentID = \"0123456789abcdef0123456789abcdef\"\n"
    )
}

const NO_PARENT: &str = "parentCID=ffffffff";

fn on(id: &str, hint: &str) -> String {
    format!("parentCID={id}\nparentFileNameHint=\"{hint}\"")
}

#[test]
fn vmfs_sparse_extents() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vm-000001.vmdk");
    // One sector, as ESX hosts write it, to a MiB; the largest need several tables.
    for (sectors, size) in [(1, (5 << 20) + 512 * 3), (8, 3 << 20), (2048, 9 << 20)] {
        let data = disk(size, size);
        let kinds = kinds((size as usize).div_ceil(sectors * SECTOR), size, true);
        written(directory.path(), "vm-000001-delta.vmdk", &cowd(&data, sectors, &kinds));
        let line = format!("RW {} VMFSSPARSE \"vm-000001-delta.vmdk\"", size / 512);
        fs::write(&path, descriptor("vmfsSparse", "0000abcd", NO_PARENT, &line)).unwrap();
        let image = opened(&path);
        assert_eq!(image.description(), "vmdk vmfsSparse");
        same_as(&image, &expected(&data, &[], sectors * SECTOR, &kinds));
        same_as_qemu(&path, "vmdk");
    }
}

#[test]
fn se_sparse_extents() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vm-000001.vmdk");
    for size in [512, (3 << 20) + 512 * 5, 40 << 20] {
        let data = disk(size, size);
        let kinds = kinds((size as usize).div_ceil(4096), size ^ 3, false);
        sesparse(&directory.path().join("vm-000001-sesparse.vmdk"), &data, &kinds);
        let line = format!("RW {} SESPARSE \"vm-000001-sesparse.vmdk\"", size / 512);
        fs::write(&path, descriptor("seSparse", "0000abcd", NO_PARENT, &line)).unwrap();
        let image = opened(&path);
        assert_eq!(image.description(), "vmdk seSparse");
        same_as(&image, &expected(&data, &[], 4096, &kinds));
        same_as_qemu(&path, "vmdk");
    }
}

/// A machine's disk and its snapshots as a datastore holds them: the descriptors, the newest first,
/// and what it holds.
pub fn snapshots(directory: &Path, size: u64) -> (Vec<PathBuf>, Vec<u8>) {
    let at = |name: &str| directory.join(name);
    let line = |kind: &str, name: &str, size: u64| format!("RW {} {kind} \"{name}\"", size / 512);
    let mut content = disk(size, 3);
    written(directory, "vm-flat.vmdk", &content);
    fs::write(at("vm.vmdk"), descriptor("vmfs", "a0000001", NO_PARENT, &line("VMFS", "vm-flat.vmdk", size)))
        .unwrap();

    let data = disk(size, 4);
    let grains = kinds(data.len().div_ceil(512), 5, true);
    written(directory, "vm-000001-delta.vmdk", &cowd(&data, 1, &grains));
    let lines = line("VMFSSPARSE", "vm-000001-delta.vmdk", size);
    let text = descriptor("vmfsSparse", "a0000002", &on("a0000001", "vm.vmdk"), &lines);
    fs::write(at("vm-000001.vmdk"), text).unwrap();
    content = expected(&data, &content, 512, &grains);

    // The disk was made larger. The hint is a path of the host's.
    let larger = size + (3 << 20);
    let data = disk(larger, 6);
    let grains = kinds(data.len().div_ceil(4096), 7, false);
    sesparse(&at("vm-000002-sesparse.vmdk"), &data, &grains);
    let lines = line("SESPARSE", "vm-000002-sesparse.vmdk", larger);
    let hint = "/vmfs/volumes/5f3a-1/vm/vm-000001.vmdk";
    fs::write(at("vm-000002.vmdk"), descriptor("seSparse", "a0000003", &on("a0000002", hint), &lines))
        .unwrap();
    content = expected(&data, &content, 4096, &grains);
    (["vm-000002.vmdk", "vm-000001.vmdk", "vm.vmdk"].map(at).to_vec(), content)
}

#[test]
fn a_chain_of_snapshots() {
    let directory = tempfile::tempdir().unwrap();
    let (files, content) = snapshots(directory.path(), (20 << 20) + 512 * 9);
    same_as(&opened(&files[0]), &content);
    same_as_qemu(&files[1], "vmdk");
    layers_are(&[(files[1].clone(), "vmdk"), (files[2].clone(), "vmdk")]);
    let alone: Vec<_> = files.iter().map(|file| opened(file).identity().digest()).collect();
    assert_eq!(opened(&files[0]).layers(), alone);
    assert_eq!(opened(&files[0]).files().count(), 6);
    // QEMU follows a hint to the letter.
    let near = fs::read_to_string(&files[0]).unwrap().replace("/vmfs/volumes/5f3a-1/vm/", "");
    fs::write(&files[0], near).unwrap();
    same_as_qemu(&files[0], "vmdk");
    layers_are(&files.iter().map(|file| (file.clone(), "vmdk")).collect::<Vec<_>>());
    // A hosted delta on top of it all.
    let top = directory.path().join("top.vmdk");
    run("qemu-img", &["create", "-q", "-f", "vmdk", "-b", "vm-000002.vmdk", "-F", "vmdk", text(&top)]);
    run("qemu-io", &["-f", "vmdk", "-c", "write -P 9 1M 100k", text(&top)]);
    same_as_qemu(&top, "vmdk");
    assert_eq!(opened(&top).layers()[1..], *opened(&files[0]).layers());
}

fn try_open(path: &Path) -> Result<Image, ImageError> {
    let image = open(path, &OpenOptions::default())?;
    image.data_bytes()?;
    Ok(image)
}

#[track_caller]
fn unsupported(path: &Path, word: &str) {
    match try_open(path) {
        Err(error @ ImageError::Unsupported { .. }) => {
            assert!(error.to_string().contains(word), "{error} lacks {word}");
        }
        other => panic!("{word}: {other:?}"),
    }
}

#[track_caller]
fn damaged(path: &Path, word: &str) {
    match try_open(path) {
        Err(error @ ImageError::Source(SourceError::Damaged { .. })) => {
            assert!(error.to_string().contains(word), "{error} lacks {word}");
        }
        other => panic!("{word}: {other:?}"),
    }
}

#[test]
fn extents_are_no_disks_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    snapshots(directory.path(), 1 << 20);
    for name in ["vm-000001-delta.vmdk", "vm-000002-sesparse.vmdk"] {
        unsupported(&directory.path().join(name), "not a disk by itself");
    }
}

#[test]
fn impossible_vmfs_sparse_extents() {
    let directory = tempfile::tempdir().unwrap();
    let size = 3 << 20;
    let data = disk(size, 1);
    let sound = cowd(&data, 1, &kinds(6144, 2, true));
    let path = directory.path().join("vm.vmdk");
    fs::write(&path, descriptor("vmfsSparse", "1", NO_PARENT, "RW 6144 VMFSSPARSE \"delta.vmdk\"")).unwrap();
    let with = |at: usize, number: u32| {
        let mut file = sound.clone();
        file[at..at + 4].copy_from_slice(&number.to_le_bytes());
        written(directory.path(), "delta.vmdk", &file);
        path.clone()
    };
    try_open(&with(28, 5)).unwrap();
    unsupported(&with(4, 2), "version 2");
    damaged(&with(12, 6143), "descriptor says");
    damaged(&with(12, u32::MAX), "too small");
    damaged(&with(16, 0), "grain");
    damaged(&with(16, 3), "grain");
    damaged(&with(16, 1 << 20), "grain");
    damaged(&with(20, u32::MAX), "cut short");
    damaged(&with(24, 1), "too small");
    // A table behind the end.
    damaged(&with(2048, u32::MAX), "cut short");
    // A grain behind the end, and one in the header.
    let table = u32::from_le_bytes(sound[2048..2052].try_into().unwrap()) as usize * SECTOR;
    damaged(&with(table, 1), "header");
    damaged(&with(table, u32::MAX), "cut short");
}

#[test]
fn impossible_se_sparse_extents() {
    let directory = tempfile::tempdir().unwrap();
    let data = disk(3 << 20, 1);
    let mut grains = kinds(768, 2, false);
    grains[0] = Grain::Data;
    let extent = directory.path().join("sesparse.vmdk");
    let path = directory.path().join("vm.vmdk");
    fs::write(&path, descriptor("seSparse", "1", NO_PARENT, "RW 6144 SESPARSE \"sesparse.vmdk\"")).unwrap();
    let with = |at: usize, number: u64| {
        sesparse(&extent, &data, &grains);
        File::options()
            .write(true)
            .open(&extent)
            .unwrap()
            .write_all_at(&number.to_le_bytes(), at as u64)
            .unwrap();
        path.clone()
    };
    try_open(&with(96, 2)).unwrap();
    // It was not closed.
    unsupported(&with(SECTOR + 24, 1), "journal");
    let help = try_open(&path).unwrap_err().diagnostic().help;
    assert!(help[0].contains("consolidate"), "{help:?}");
    unsupported(&with(8, 0x3_0000_0001), "version");
    unsupported(&with(40, 1), "features");
    unsupported(&with(72, 1), "features");
    unsupported(&with(300, 1), "not known");
    unsupported(&with(SECTOR + 100, 1), "not known");
    damaged(&with(0, 7), "begin");
    damaged(&with(SECTOR, 7), "second header");
    damaged(&with(24, 16), "grains");
    damaged(&with(32, 8), "grains");
    damaged(&with(16, 6000), "descriptor says");
    damaged(&with(16, 1 << 40), "capacity");
    damaged(&with(16, u64::MAX), "capacity");
    damaged(&with(16, 1 << 30), "too small");
    for field in [80, 128, 136, 144, 192] {
        damaged(&with(field, u64::MAX), "absurdly");
    }
    for field in [80, 128] {
        damaged(&with(field, 1 << 40), "cut short");
    }
    // Entries: of the directory, of a table.
    damaged(&with(16 * SECTOR, 1), "directory's entry");
    damaged(&with(16 * SECTOR, 2 << 60 | 1), "directory's entry");
    damaged(&with(16 * SECTOR, 0x1000_0000_ffff_ffff), "cut short");
    let table = (TABLES_AT + 64) * SECTOR;
    damaged(&with(table, 1), "grain's entry");
    damaged(&with(table, 4 << 60), "grain's entry");
    damaged(&with(table, u64::MAX), "grain's entry");
    for entry in [3 << 60 | 0xffff_ffff_ffff, 3 << 60 | 0x0fff_0000_0000_0000, 0x3fff_ffff_ffff_ffff] {
        let read = try_open(&with(table, entry)).and_then(|image| Ok(image.read_at(0, &mut [0; 512])?));
        assert!(matches!(read, Err(ImageError::Source(SourceError::Damaged { .. }))), "{entry:x}: {read:?}");
    }
    // The same extent thousands of times: directories do not fill the memory.
    let lines = "RW 6144 SESPARSE \"sesparse.vmdk\"\n".repeat(4096);
    with(96, 2);
    fs::write(&path, descriptor("seSparse", "1", NO_PARENT, &lines)).unwrap();
    assert_eq!(try_open(&path).unwrap().size(), 4096 * (3 << 20));
}

/// What a raw device map points to is on a device of the host's, not in the backup.
#[test]
fn raw_device_maps_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vm.vmdk");
    for (kind, line) in [
        ("vmfsRDM", "RW 8 VMFSRDM \"vm-rdm.vmdk\""),
        ("vmfsPassthroughRawDeviceMap", "RW 8 VMFSRDM \"vm-rdmp.vmdk\""),
        ("vmfs", "RW 8 VMFSRAW \"vm-raw.vmdk\""),
        ("fullDevice", "RW 8 FLAT \"\\\\.\\PhysicalDrive0\" 0"),
        ("partitionedDevice", "RW 8 FLAT \"/dev/sda\" 0"),
    ] {
        fs::write(&path, descriptor(kind, "1", NO_PARENT, line)).unwrap();
        unsupported(&path, "raw device");
    }
}
