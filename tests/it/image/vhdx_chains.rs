//! Differencing VHDXs; see [`super::differencing`].

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use replant::image::{BlockSource, ImageError, OpenOptions, SourceError, open};

use super::chains::by_layers;
use super::differencing::{by_python, disk, merged, own_sectors, utf16};
use super::fixture::{Numbers, opened, raw_disk, run, same_as, text};
use super::formats::same_where_there_is_data;
use super::vhdx::seal;

/// dissect.hypervisor, which finds parents itself.
const DISSECT: &str = "\
from pathlib import Path
from dissect.hypervisor.disk.vhdx import VHDX
disk = VHDX(Path(names[0]))
";

/// A block of a differencing VHDX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Absent,
    Undefined,
    Zero,
    Unmapped,
    Full,
    Partial,
}

/// A differencing VHDX on `parent`.
struct Vhdx<'a> {
    entries: &'a [(&'a str, &'a str)],
    block: u64,
    sector: u64,
    size: u64,
    id: u8,
}

/// The GUID by which a VHDX is known to those that stand on it, as a text.
fn linkage(path: &Path) -> String {
    let file = File::open(path).unwrap();
    let headers = [64 << 10, 128 << 10].map(|at| {
        let mut bytes = vec![0; 64];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    });
    let sequence = |bytes: &[u8]| u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    let header = headers.iter().max_by_key(|header| sequence(header)).unwrap();
    let mut id = header[32..48].to_vec();
    id[..4].reverse();
    id[4..6].reverse();
    id[6..8].reverse();
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{{}-{}-{}-{}-{}}}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn guid(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let mut bytes: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap()).collect();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

const MIB: u64 = 1 << 20;

impl Vhdx<'_> {
    fn locator(&self) -> Vec<u8> {
        let mut item = guid("b04aefb7-d19e-4a81-b789-25b8e9445913");
        item.extend([0, 0]);
        item.extend((self.entries.len() as u16).to_le_bytes());
        let mut texts = Vec::new();
        let first = 20 + self.entries.len() * 12;
        for (key, value) in self.entries {
            let (key, value) = (utf16(key), utf16(value));
            item.extend(((first + texts.len()) as u32).to_le_bytes());
            item.extend(((first + texts.len() + key.len()) as u32).to_le_bytes());
            item.extend((key.len() as u16).to_le_bytes());
            item.extend((value.len() as u16).to_le_bytes());
            texts.extend([key, value].concat());
        }
        [item, texts].concat()
    }

    fn metadata(&self) -> Vec<u8> {
        let items = [
            (
                "caa16737-fa36-4d43-b3b6-33f0aa44e76b",
                4,
                [(self.block as u32).to_le_bytes(), [2, 0, 0, 0]].concat(),
            ),
            ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", 6, self.size.to_le_bytes().to_vec()),
            ("beca12ab-b2e6-4523-93ef-c309e000c746", 6, vec![self.id; 16]),
            ("8141bf1d-a96f-4709-ba47-f233a8faab5f", 6, (self.sector as u32).to_le_bytes().to_vec()),
            ("cda348c7-445d-4471-9cc9-e9885251c556", 6, 4096u32.to_le_bytes().to_vec()),
            ("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", 4, self.locator()),
        ];
        let mut region = b"metadata\0\0".to_vec();
        region.extend((items.len() as u16).to_le_bytes());
        region.resize(32, 0);
        let mut at = 64 << 10;
        for (id, flags, bytes) in &items {
            region.extend(guid(id));
            for number in [at, bytes.len() as u32, *flags, 0] {
                region.extend(number.to_le_bytes());
            }
            at += bytes.len() as u32;
        }
        region.resize(64 << 10, 0);
        items.iter().for_each(|(_, _, bytes)| region.extend(bytes));
        region
    }

    /// Writes it: blocks by number, with their data and which of its sectors are its own.
    fn write(&self, path: &Path, blocks: &[(u64, Block, Vec<u8>, Vec<bool>)]) {
        let file = File::create(path).unwrap();
        let put = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at).unwrap();
        put(0, b"vhdxfile");
        for (at, sequence) in [(64 << 10, 5u64), (128 << 10, 4)] {
            let mut header = b"head\0\0\0\0".to_vec();
            header.extend(sequence.to_le_bytes());
            header.extend([self.id ^ 0x11; 16]);
            header.extend([self.id ^ 0x22; 16]);
            header.extend([0; 16]);
            header.extend([0, 0, 1, 0]);
            header.extend((MIB as u32).to_le_bytes());
            header.extend(MIB.to_le_bytes());
            header.resize(4096, 0);
            seal(&mut header);
            put(at, &header);
        }
        let chunk = (self.sector << 23) / self.block;
        let chunks = self.size.div_ceil(self.block).div_ceil(chunk);
        let table = 3 * MIB;
        let length = (chunks * (chunk + 1) * 8).next_multiple_of(MIB);
        let mut regions = b"regi\0\0\0\0".to_vec();
        regions.extend([2, 0, 0, 0, 0, 0, 0, 0]);
        for (id, at, length) in [
            ("2dc27766-f623-4200-9d64-115e9bfd4a08", table, length),
            ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 2 * MIB, MIB),
        ] {
            regions.extend(guid(id));
            regions.extend(at.to_le_bytes());
            regions.extend((length as u32).to_le_bytes());
            regions.extend([1, 0, 0, 0]);
        }
        regions.resize(64 << 10, 0);
        seal(&mut regions);
        put(192 << 10, &regions);
        put(256 << 10, &regions);
        put(2 * MIB, &self.metadata());
        let mut next = table + length;
        let entry =
            |index: u64, place: u64, state: u64| put(table + index * 8, &(place | state).to_le_bytes());
        let mut bitmaps = std::collections::BTreeMap::new();
        for (number, kind, data, own) in blocks {
            let index = number + number / chunk;
            let state = match kind {
                Block::Absent => 0,
                Block::Undefined => 1,
                Block::Zero => 2,
                Block::Unmapped => 3,
                Block::Full => 6,
                Block::Partial => 7,
            };
            if state < 6 {
                entry(index, 0, state);
                continue;
            }
            let place = next;
            next += self.block;
            entry(index, place, state);
            if *kind == Block::Full {
                put(place, data);
                continue;
            }
            let sector = self.sector as usize;
            for (at, part) in data.chunks(sector).enumerate() {
                put(place + (at * sector) as u64, if own[at] { part } else { &[0xdd; 4096][..part.len()] });
            }
            let bitmap = *bitmaps.entry(number / chunk).or_insert_with(|| {
                next += MIB;
                entry((number / chunk + 1) * chunk + number / chunk, next - MIB, 6);
                next - MIB
            });
            let mut bits = vec![0u8; (self.block / self.sector / 8) as usize];
            own.iter().enumerate().filter(|(_, own)| **own).for_each(|(at, _)| bits[at / 8] |= 1 << (at % 8));
            put(bitmap + number % chunk * (self.block / self.sector / 8), &bits);
        }
        file.set_len(next).unwrap();
    }

    /// Writes it with blocks of every kind of `disk`; gives what it reads as on `parent`.
    fn random(&self, path: &Path, disk: &[u8], parent: &[u8], seed: u64) -> Vec<u8> {
        let mut numbers = Numbers::new(seed);
        let mut content = parent.to_vec();
        content.resize(disk.len(), 0);
        let mut blocks = Vec::new();
        for (number, data) in disk.chunks(self.block as usize).enumerate() {
            use Block::{Absent, Full, Partial, Undefined, Unmapped, Zero};
            let kinds = [Absent, Undefined, Zero, Unmapped, Full, Partial, Partial, Partial];
            let kind = kinds[numbers.below(kinds.len() as u64) as usize];
            let sectors = (self.block / self.sector) as usize;
            let own = own_sectors(sectors, 2 * sectors / 3, seed + number as u64);
            let range = number * self.block as usize..number * self.block as usize + data.len();
            match kind {
                Absent => {}
                Undefined | Zero | Unmapped => content[range].fill(0),
                Full => content[range].copy_from_slice(data),
                Partial => {
                    let merged = merged(
                        data,
                        &content[range.clone()],
                        &own[..data.len().div_ceil(self.sector as usize)],
                        self.sector as usize,
                    );
                    content[range].copy_from_slice(&merged);
                }
            }
            blocks.push((number as u64, kind, data.to_vec(), own));
        }
        self.write(path, &blocks);
        content
    }
}

/// A chain of three VHDXs: its files, the top first, and what it and what it stands on hold.
pub fn vhdx_chain(directory: &Path, size: u64) -> (Vec<PathBuf>, Vec<Vec<u8>>) {
    let at = |name: &str| directory.join(name);
    let raw = raw_disk(directory, size, 8);
    run("qemu-img", &["convert", "-O", "vhdx", "-o", "block_size=1M", text(&raw), text(&at("base.vhdx"))]);
    let base = fs::read(&raw).unwrap();
    fs::remove_file(raw).unwrap();
    let id = linkage(&at("base.vhdx"));
    let entries = [
        ("parent_linkage", id.as_str()),
        ("relative_path", ".\\base.vhdx"),
        ("volume_path", "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\vm\\base.vhdx"),
        ("absolute_win32_path", "\\\\?\\c:\\vm\\base.vhdx"),
    ];
    let one = Vhdx { entries: &entries, block: MIB, sector: 512, size, id: 1 };
    let middle = one.random(&at("one.avhdx"), &disk(size, 31), &base, 4);
    let id = linkage(&at("one.avhdx"));
    let entries = [
        ("parent_linkage", id.as_str()),
        ("relative_path", ".\\one.avhdx"),
        ("absolute_win32_path", "\\\\?\\d:\\elsewhere\\one.avhdx"),
    ];
    let two = Vhdx { entries: &entries, block: 2 * MIB, sector: 512, size, id: 2 };
    let top = two.random(&at("two.avhdx"), &disk(size, 32), &middle, 5);
    (["two.avhdx", "one.avhdx", "base.vhdx"].map(at).to_vec(), vec![top, middle, base])
}

#[test]
fn a_chain_of_vhdxs() {
    let directory = tempfile::tempdir().unwrap();
    let (files, contents) = vhdx_chain(directory.path(), 17_000_448);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    for (index, content) in contents.iter().enumerate() {
        same_as(&opened(files[index]), content);
        let theirs = by_python(DISSECT, &files[index..], directory.path());
        assert!(theirs == *content, "dissect reads {} otherwise", files[index].display());
    }
    assert_eq!(opened(files[0]).description(), "vhdx differencing");
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    by_layers(&files, &contents);
}

/// A disk of several chunks, each with a bitmap between the entries of its blocks; sectors of 4 KiB.
#[test]
fn bitmaps_of_several_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let size = 9 << 30;
    let raw = raw_disk(directory.path(), size, 8);
    run("qemu-img", &["convert", "-O", "vhdx", text(&raw), text(&at("base.vhdx"))]);
    let id = linkage(&at("base.vhdx"));
    let entries = [("relative_path", "base.vhdx"), ("parent_linkage", id.as_str())];
    for (block, sector) in [(MIB, 512), (32 * MIB, 512), (2 * MIB, 4096)] {
        let expected = File::options().write(true).open(&raw).unwrap();
        let mut blocks = Vec::new();
        let mut numbers = Numbers::new(block + sector);
        // The first and the last of a chunk, and others.
        let last = size / block - 1;
        let chunk = (sector << 23) / block;
        let mut places = vec![0, chunk - 1, chunk, 2 * chunk - 1, 2 * chunk, last, last / 2, last / 3];
        places.retain(|place| *place <= last);
        places.sort_unstable();
        places.dedup();
        for number in places {
            let mut data = vec![0; block as usize];
            numbers.fill(&mut data[..300_000]);
            let count = (block / sector) as usize;
            let own = own_sectors(count, count, numbers.next() | 3);
            for (at, _) in own.iter().enumerate().filter(|(_, own)| **own) {
                let place = at as u64 * sector;
                let part = &data[place as usize..(place + sector) as usize];
                expected.write_all_at(part, number * block + place).unwrap();
            }
            blocks.push((number, Block::Partial, data, own));
        }
        Vhdx { entries: &entries, block, sector, size, id: 1 }.write(&at("child.vhdx"), &blocks);
        same_where_there_is_data(&opened(&at("child.vhdx")), &raw);
        // The next is made on the base again.
        run("qemu-img", &["convert", "-O", "raw", text(&at("base.vhdx")), text(&raw)]);
    }
}

#[test]
fn where_the_parent_of_a_vhdx_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    for name in ["sub/base.vhdx", "other.vhdx"] {
        run("qemu-img", &["create", "-q", "-f", "vhdx", text(&at(name)), "4M"]);
    }
    let (base, other) = (linkage(&at("sub/base.vhdx")), linkage(&at("other.vhdx")));
    let child = at("child.vhdx");
    let with = |entries: &[(&str, &str)]| {
        let vhdx = Vhdx { entries, block: MIB, sector: 512, size: 4 * MIB, id: 9 };
        vhdx.write(&child, &[(1, Block::Full, vec![7; 1 << 20], Vec::new())]);
        open(&child, &OpenOptions::default())
    };
    let near = ("relative_path", "sub\\base.vhdx");
    let far = ("relative_path", "..\\vm\\base.vhdx");
    let volume = ("volume_path", "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\\vm\\base.vhdx");
    assert_eq!(with(&[near, ("parent_linkage", &base)]).unwrap().layers().len(), 2);
    assert_eq!(with(&[near, ("parent_linkage", &base.to_uppercase())]).unwrap().layers().len(), 2);
    // The first one is of a parent that was merged away.
    let both = [near, ("parent_linkage", other.as_str()), ("parent_linkage2", base.as_str())];
    assert_eq!(with(&both).unwrap().layers().len(), 2);
    for entries in [[far, ("parent_linkage", base.as_str())], [volume, ("parent_linkage", base.as_str())]] {
        let error = with(&entries).unwrap_err();
        assert!(matches!(&error, ImageError::NeedsParent { .. }), "{error:?}");
        assert!(error.diagnostic().help[0].contains("`base.vhdx`"));
        fs::copy(at("sub/base.vhdx"), at("base.vhdx")).unwrap();
        with(&entries).unwrap();
        fs::remove_file(at("base.vhdx")).unwrap();
    }
    // Another content, none at all.
    for entries in
        [vec![near, ("parent_linkage", other.as_str())], vec![near], vec![near, ("parent_linkage", "{x}")]]
    {
        let error = with(&entries).unwrap_err();
        assert!(matches!(&error, ImageError::OtherParent { .. }), "{error:?}");
        assert!(error.diagnostic().help[2].starts_with("Set-VHD"));
    }
    assert!(matches!(with(&[("parent_linkage", &base)]), Err(ImageError::NeedsParent { parent: None, .. })));
    let own = [("relative_path", ".\\child.vhdx"), ("parent_linkage", base.as_str())];
    assert!(matches!(with(&own), Err(ImageError::Cycle { .. })));
    // Written to behind its back: qemu changes the id, as Hyper-V does.
    with(&[near, ("parent_linkage", &base)]).unwrap();
    run("qemu-io", &["-f", "vhdx", "-c", "write -P 1 0 512", text(&at("sub/base.vhdx"))]);
    let error = open(&child, &OpenOptions::default()).unwrap_err();
    assert!(matches!(&error, ImageError::OtherParent { .. }), "{error:?}");
}

/// A writer that died left the change of a bitmap in the log, and nothing of it in its place.
#[test]
fn a_log_changes_bitmaps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("child.vhdx");
    let base = directory.path().join("base.vhdx");
    run("qemu-img", &["create", "-q", "-f", "vhdx", text(&base), "4M"]);
    let id = linkage(&base);
    let entries = [("relative_path", "base.vhdx"), ("parent_linkage", id.as_str())];
    let child = Vhdx { entries: &entries, block: MIB, sector: 512, size: 4 * MIB, id: 9 };
    let mut own = vec![false; 2048];
    own[3..900].fill(true);
    child.write(&path, &[(2, Block::Partial, vec![7; 1 << 20], own)]);
    let sound = fs::read(&path).unwrap();
    let expected = super::fixture::content(&opened(&path), 1 << 20);
    assert_eq!(expected.iter().filter(|byte| **byte == 7).count(), 897 * 512);
    // The bitmap is the file's last MiB, behind the block.
    let bitmap = sound.len() - (1 << 20);
    let with_log = |target: u64| {
        let mut file = sound.clone();
        let (entry, data) = ((1 << 20), (1 << 20) + 4096);
        let log = [0x33; 16];
        let mut bytes = b"loge\0\0\0\0".to_vec();
        bytes.extend(8192u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(log);
        bytes.extend((file.len() as u64).to_le_bytes());
        bytes.extend((file.len() as u64).to_le_bytes());
        let changed = &sound[bitmap..bitmap + 4096];
        bytes.extend(b"desc");
        bytes.extend(&changed[4092..]);
        bytes.extend(&changed[..8]);
        bytes.extend(target.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.resize(4096, 0);
        bytes.extend(b"data\0\0\0\0");
        bytes.extend(&changed[8..4092]);
        bytes.extend(1u32.to_le_bytes());
        seal(&mut bytes);
        file[entry..data + 4096].copy_from_slice(&bytes);
        file[bitmap..bitmap + 4096].fill(0);
        for header in [64 << 10, 128 << 10] {
            file[header + 48..header + 64].copy_from_slice(&log);
            seal(&mut file[header..header + 4096]);
        }
        fs::write(&path, file).unwrap();
        open(&path, &OpenOptions::default())
    };
    same_as(&with_log(bitmap as u64).unwrap(), &expected);
    // The block's own data is no metadata.
    let error = with_log(bitmap as u64 - MIB).unwrap_err();
    assert!(matches!(error, ImageError::Source(SourceError::Damaged { .. })), "{error:?}");
}

#[test]
fn impossible_differencing_vhdxs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("child.vhdx");
    let base = directory.path().join("base.vhdx");
    run("qemu-img", &["create", "-q", "-f", "vhdx", text(&base), "4M"]);
    let id = linkage(&base);
    let entries = [("relative_path", "base.vhdx"), ("parent_linkage", id.as_str())];
    Vhdx { entries: &entries, block: MIB, sector: 512, size: 4 * MIB, id: 9 }
        .write(&path, &[(2, Block::Partial, vec![7; 1 << 20], vec![true; 2048])]);
    let sound = fs::read(&path).unwrap();
    let with = |at: u64, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        fs::write(&path, file).unwrap();
        let image = open(&path, &OpenOptions::default())?;
        let mut all = vec![0; image.size() as usize];
        Ok::<_, ImageError>(image.read_at(0, &mut all)?)
    };
    with(0, b"v").unwrap();
    let (table, chunk) = (3 * MIB, 4096);
    let items = 2 * MIB + (64 << 10) + 44;
    for (what, at, bytes) in [
        ("no bitmap", table + chunk * 8, 0u64.to_le_bytes().as_slice()),
        ("a bitmap behind the end", table + chunk * 8, &(1u64 << 50 | 6).to_le_bytes()),
        ("a block behind the end", table + 16, &(1u64 << 50 | 7).to_le_bytes()),
        ("another kind of locator", items, &[0; 4]),
        ("more entries than there are", items + 18, &[0xff, 0xff]),
        ("a name behind the end", items + 20, &[0xff; 4]),
        ("an item behind the end", 2 * MIB + 32 + 5 * 32 + 20, &[0xff, 0xff, 0xff, 0]),
    ] {
        let result = with(at, bytes);
        assert!(matches!(result, Err(ImageError::Source(SourceError::Damaged { .. }))), "{what}: {result:?}");
    }
    // It says that it has a parent, but nothing of it.
    let result = with(2 * MIB + 32 + 5 * 32, &[9; 16]);
    assert!(
        matches!(result, Err(ImageError::Unsupported { .. } | ImageError::NeedsParent { .. })),
        "{result:?}"
    );
}
