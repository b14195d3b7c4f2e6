//! Disks to make images of, `qemu-img`, and the comparison.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use replant::image::{BlockSource, Image, OpenOptions, open};

/// A generator of numbers that need only look random (xorshift64*), the same in every run.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next() % end }
    }

    /// Bytes of a kind that a disk may hold: noise, text, one byte over and over, or zeros.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        match self.below(4) {
            0 => bytes.iter_mut().for_each(|byte| *byte = self.next() as u8),
            1 => bytes.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"a line of text "[at % 15]),
            2 => bytes.fill(self.next() as u8),
            _ => bytes.fill(0),
        }
    }
}

/// Runs a program that must succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A sparse raw disk of that size with data at places that test borders: the ends, runs across
/// grains and clusters, holes.
pub fn raw_disk(directory: &Path, size: u64, seed: u64) -> PathBuf {
    let path = directory.join("disk.raw");
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    let mut numbers = Numbers::new(seed);
    let mut place = |offset: u64, length: u64| {
        let length = length.min(size.saturating_sub(offset));
        let mut bytes = vec![0; length as usize];
        numbers.fill(&mut bytes);
        file.write_all_at(&bytes, offset).unwrap();
    };
    place(0, 1000);
    place(size.saturating_sub(700), 700);
    place(65_536 - 512, 1024);
    place(1 << 20, 300_000);
    place(size / 2, 200_000);
    place(size / 3 * 2, 70_000);
    let mut places = Numbers::new(seed ^ 0xabcd);
    for _ in 0..12 {
        let offset = places.below(size);
        let length = places.below(150_000);
        place(offset, length);
    }
    path
}

/// Opens an image whose format is detected.
#[track_caller]
pub fn opened(path: &Path) -> Image {
    open(path, &OpenOptions::default()).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()))
}

/// Reads a whole disk in pieces of `piece` bytes.
#[track_caller]
pub fn content(image: &Image, piece: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; image.size() as usize];
    for (index, part) in bytes.chunks_mut(piece).enumerate() {
        image.read_at((index * piece) as u64, part).unwrap();
    }
    bytes
}

/// What QEMU reads of an image, as a raw file.
#[track_caller]
pub fn by_qemu(image: &Path, format: &str, directory: &Path) -> PathBuf {
    let raw = directory.join("by-qemu.raw");
    run("qemu-img", &["convert", "-f", format, "-O", "raw", text(image), text(&raw)]);
    raw
}

/// Checks that Replant reads an image as QEMU does: whole, in runs, at random places.
#[track_caller]
pub fn same_as_qemu(path: &Path, format: &str) {
    let directory = tempfile::tempdir().unwrap();
    let reference = fs::read(by_qemu(path, format, directory.path())).unwrap();
    same_as(&opened(path), &reference);
}

/// Checks that an image holds those bytes: whole, in runs, at random places.
#[track_caller]
pub fn same_as(image: &Image, reference: &[u8]) {
    let name = image.path().display().to_string();
    assert_eq!(image.size(), reference.len() as u64, "size of {name}");
    assert!(content(image, 1 << 20) == reference, "{name} in pieces of 1 MiB");
    let runs = image.runs(0..image.size()).unwrap();
    let mut end = 0;
    let mut zeros = 0;
    for (index, run) in runs.iter().enumerate() {
        assert_eq!(run.range.start, end, "runs of {name} have a gap");
        assert!(run.range.end > run.range.start);
        assert!(index == 0 || runs[index - 1].zero != run.zero, "runs of {name} are not joined");
        end = run.range.end;
        if run.zero {
            zeros += run.range.end - run.range.start;
            let part = &reference[run.range.start as usize..run.range.end as usize];
            assert!(part.iter().all(|byte| *byte == 0), "a zero run of {name} is not zero: {run:?}");
        }
    }
    assert_eq!(end, image.size());
    assert_eq!(image.zero_bytes().unwrap(), zeros);
    let mut numbers = Numbers::new(reference.len() as u64);
    for _ in 0..200 {
        let offset = numbers.below(image.size() + 1);
        let length = numbers.below((image.size() - offset).min(300_000) + 1);
        let mut bytes = vec![0x55; length as usize];
        image.read_at(offset, &mut bytes).unwrap();
        let expected = &reference[offset as usize..(offset + length) as usize];
        assert!(bytes == expected, "{length} bytes of {name} at {offset}");
        let parts = image.runs(offset..offset + length).unwrap();
        let covered: u64 = parts.iter().map(|run| run.range.end - run.range.start).sum();
        assert_eq!(covered, length);
        for part in parts {
            let whole = runs.iter().find(|run| run.range.contains(&part.range.start)).unwrap();
            assert_eq!(whole.zero, part.zero);
            assert!(part.range.end <= whole.range.end);
        }
    }
    let size = image.size();
    assert!(image.read_at(size, &mut [0]).is_err());
    assert!(image.read_at(u64::MAX, &mut [0, 0]).is_err());
    assert!(image.runs(0..size + 1).is_err());
}
