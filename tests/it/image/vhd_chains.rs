//! Differencing VHDs; see [`super::differencing`].

use std::fs;
use std::path::{Path, PathBuf};

use replant::image::{ImageError, OpenOptions, SourceError, open};

use super::chains::by_layers;
use super::differencing::{SECTOR, by_python, disk, merged, own_sectors, utf16};
use super::fixture::{opened, raw_disk, run, same_as, text};

/// libvhdi, Debian's, sector by sector: a read of several runs gives the wrong bytes at a disk's end.
const LIBVHDI: &str = "\
import pyvhdi
files = []
for name in names:
    file = pyvhdi.file()
    file.open(name)
    if files: files[-1].set_parent(file)
    files.append(file)
class disk:
    def read(count): return files[0].read_buffer(512)
";

fn sum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let total: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[at..at + 4].copy_from_slice(&(!total).to_be_bytes());
}

/// A differencing VHD on `parent` with those sectors of `disk`.
struct Vhd<'a> {
    parent: &'a Path,
    /// The paths of the parent that it records: platform, text.
    paths: &'a [(&'a [u8; 4], &'a str)],
    block: usize,
    id: u8,
}

impl Vhd<'_> {
    fn write(&self, path: &Path, disk: &[u8], own: &[bool]) {
        let parent = fs::read(self.parent).unwrap();
        let mut footer = parent[parent.len() - 512..].to_vec();
        let parent_id = footer[68..84].to_vec();
        footer[16..24].copy_from_slice(&512u64.to_be_bytes());
        footer[40..48].copy_from_slice(&(disk.len() as u64).to_be_bytes());
        footer[48..56].copy_from_slice(&(disk.len() as u64).to_be_bytes());
        footer[60..64].copy_from_slice(&4u32.to_be_bytes());
        footer[68..84].fill(self.id);
        sum(&mut footer, 64);
        let blocks = disk.len().div_ceil(self.block);
        let mut header = b"cxsparse".to_vec();
        header.extend([0xff; 8]);
        let table = 16 * SECTOR;
        header.extend((table as u64).to_be_bytes());
        for number in [0x0001_0000, blocks as u32, self.block as u32, 0] {
            header.extend(number.to_be_bytes());
        }
        header.extend(parent_id);
        header.extend([0; 8]);
        let name = self.paths.first().map(|(_, path)| *path).unwrap_or_default();
        header.extend(name.encode_utf16().flat_map(u16::to_be_bytes));
        header.resize(576, 0);
        let mut places = Vec::new();
        for (index, (platform, path)) in self.paths.iter().enumerate() {
            let bytes = if **platform == *b"MacX" { path.as_bytes().to_vec() } else { utf16(path) };
            header.extend(**platform);
            for number in [SECTOR as u32, bytes.len() as u32, 0] {
                header.extend(number.to_be_bytes());
            }
            let place = (4 + index) * SECTOR;
            header.extend((place as u64).to_be_bytes());
            places.push((place, bytes));
        }
        header.resize(1024, 0);
        sum(&mut header, 36);
        let mut file = [footer.clone(), header].concat();
        file.resize(table, 0);
        for (place, bytes) in places {
            file[place..place + bytes.len()].copy_from_slice(&bytes);
        }
        file.resize((table + blocks * 4).next_multiple_of(SECTOR), 0xff);
        for (index, own) in own.chunks(self.block / SECTOR).enumerate() {
            if !own.contains(&true) {
                continue;
            }
            let at = ((file.len() / SECTOR) as u32).to_be_bytes();
            file[table + index * 4..table + index * 4 + 4].copy_from_slice(&at);
            let mut bitmap = vec![0u8; (self.block / SECTOR).div_ceil(8).next_multiple_of(SECTOR)];
            let mut data = vec![0xdd; self.block];
            for (sector, _) in own.iter().enumerate().filter(|(_, own)| **own) {
                bitmap[sector / 8] |= 0x80 >> (sector % 8);
                let from = index * self.block + sector * SECTOR;
                data[sector * SECTOR..(sector + 1) * SECTOR].copy_from_slice(&disk[from..from + SECTOR]);
            }
            file.extend(bitmap);
            file.extend(data);
        }
        file.extend(footer);
        fs::write(path, file).unwrap();
    }
}

/// A chain of three VHDs: its files, the top first, and what they hold. `whole`: runs of sectors
/// end with a byte of the bitmap.
pub fn vhd_chain(directory: &Path, size: u64, base: &str, whole: bool) -> (Vec<PathBuf>, Vec<Vec<u8>>) {
    let at = |name: &str| directory.join(name);
    let raw = raw_disk(directory, size, 8);
    let options = format!("subformat={base},force_size=on");
    run("qemu-img", &["convert", "-O", "vpc", "-o", &options, text(&raw), text(&at("base.vhd"))]);
    let mut contents = vec![fs::read(&raw).unwrap()];
    fs::remove_file(raw).unwrap();
    for (name, parent, paths, block, seed) in [
        // As Hyper-V writes it; a block of 512 KiB.
        (
            "one.avhd",
            "base.vhd",
            [(b"W2ru", ".\\base.vhd"), (b"W2ku", "C:\\vm\\base.vhd")].as_slice(),
            512 << 10,
            1,
        ),
        // As XenServer does.
        ("two.vhd", "one.avhd", &[(b"MacX", "file://./one.avhd")], 2 << 20, 2),
    ] {
        let data = disk(size, 70 + seed);
        let mut own = own_sectors(data.len() / SECTOR, block / SECTOR, seed);
        if whole {
            let ends = |at: &usize| !at.is_multiple_of(8);
            (1..own.len()).filter(ends).for_each(|at| own[at] |= own[at - 1]);
        }
        Vhd { parent: &at(parent), paths, block, id: seed as u8 }.write(&at(name), &data, &own);
        contents.insert(0, merged(&data, &contents[0], &own, SECTOR));
    }
    (["two.vhd", "one.avhd", "base.vhd"].map(at).to_vec(), contents)
}

#[test]
fn a_chain_of_vhds() {
    for base in ["dynamic", "fixed"] {
        for whole in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (files, contents) = vhd_chain(directory.path(), 5_000_192, base, whole);
            let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            for (index, content) in contents.iter().enumerate() {
                same_as(&opened(files[index]), content);
                // libvhdi takes what is left of a bitmap's byte behind a run for a part of the run.
                if whole {
                    let theirs = by_python(LIBVHDI, &files[index..], directory.path());
                    assert!(theirs == *content, "libvhdi reads {} otherwise", files[index].display());
                }
            }
            assert_eq!(opened(files[0]).description(), "vhd differencing");
            let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            by_layers(&files, &contents);
        }
    }
}

#[test]
fn where_the_parent_of_a_vhd_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    for name in ["sub/base.vhd", "other.vhd"] {
        run("qemu-img", &["create", "-q", "-f", "vpc", "-o", "force_size=on", text(&at(name)), "4M"]);
    }
    let child = at("child.vhd");
    let with = |parent: &str, paths: &[(&[u8; 4], &str)]| {
        let vhd = Vhd { parent: &at(parent), paths, block: 2 << 20, id: 9 };
        vhd.write(&child, &[7; 4 << 20], &[true; 5]);
        open(&child, &OpenOptions::default())
    };
    let near: &[(&[u8; 4], &str)] = &[(b"W2ku", "D:\\x\\nowhere.vhd"), (b"W2ru", "sub\\base.vhd")];
    assert_eq!(with("sub/base.vhd", near).unwrap().layers().len(), 2);
    // Not with the first name it has, but by its last part.
    let far: &[(&[u8; 4], &str)] = &[(b"W2ru", "..\\up\\base.vhd"), (b"W2ku", "\\\\host\\share\\base.vhd")];
    let error = with("sub/base.vhd", far).unwrap_err();
    assert!(matches!(&error, ImageError::NeedsParent { .. }), "{error:?}");
    assert!(error.diagnostic().help[0].contains("`base.vhd`"), "{:?}", error.diagnostic().help);
    fs::copy(at("sub/base.vhd"), at("base.vhd")).unwrap();
    with("sub/base.vhd", far).unwrap();
    with("sub/base.vhd", &[(b"MacX", "file:///vm/base%2evhd")]).unwrap();
    // Another disk under that name.
    let error = with("other.vhd", far).unwrap_err();
    assert!(matches!(&error, ImageError::OtherParent { .. }), "{error:?}");
    assert_eq!(error.code(), "image::other_parent");
    // No path at all, itself, a path that is not in the file.
    assert!(matches!(with("sub/base.vhd", &[]), Err(ImageError::NeedsParent { parent: None, .. })));
    assert!(matches!(with("sub/base.vhd", &[(b"W2ru", ".\\child.vhd")]), Err(ImageError::Cycle { .. })));
    with("sub/base.vhd", near).unwrap();
    let sound = fs::read(&child).unwrap();
    for (place, number) in [(576 + 16, u64::MAX), (576 + 16, 1 << 40), (576 + 8, 0x7fff_ffff_0000_0000)] {
        let mut file = sound.clone();
        file[512 + place..512 + place + 8].copy_from_slice(&number.to_be_bytes());
        sum(&mut file[512..1536], 36);
        fs::write(&child, file).unwrap();
        let error = open(&child, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, ImageError::Source(SourceError::Damaged { .. })), "{place}: {error:?}");
    }
}
