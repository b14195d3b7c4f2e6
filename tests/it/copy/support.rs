//! Disks to copy, loop devices to copy to, and the usual ways to call the engine.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use replant::copy::{
    self, Cancel, CopyError, Existing, Silent, Target, TargetError, TargetOptions, VerifyOptions,
    VerifyOutcome, WriteOptions, WriteOutcome,
};
use replant::image::{BlockSource, Image, OpenOptions, open};
use replant::model::Digest;

pub const MIB: u64 = 1 << 20;

/// A generator of numbers that need only look random (SplitMix64), the same in every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Runs a program that must succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A raw disk about half of which is noise, in runs of 4 KiB to 3 MiB; the rest is holes and
/// zeros that were written.
pub fn disk(path: &Path, size: u64, seed: u64) {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    let mut numbers = Numbers(seed);
    let mut offset = 0;
    while offset < size {
        let limit = if numbers.below(3) == 0 { 3 * MIB } else { 100_000 };
        let length = (4096 + numbers.below(limit)).min(size - offset);
        match numbers.below(4) {
            0 | 1 => file.write_all_at(&numbers.noise(length as usize), offset).unwrap(),
            2 => file.write_all_at(&vec![0; length as usize], offset).unwrap(),
            _ => {}
        }
        offset += length;
    }
    // A disk with data in its very last byte.
    if size > 0 {
        file.write_all_at(&[1], size - 1).unwrap();
    }
}

/// A raw disk without a single zero block.
pub fn full_disk(path: &Path, size: u64, seed: u64) {
    fs::write(path, Numbers(seed).noise(size as usize)).unwrap();
}

/// The same disk in another format.
pub fn convert(raw: &Path, image: &Path, format: &str, options: &str) {
    let mut arguments = vec!["convert", "-f", "raw", "-O", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    run("qemu-img", &[&arguments[..], &[text(raw), text(image)]].concat());
}

/// Fills a file or device with something that is not zero.
pub fn garbage(path: &Path, size: u64) {
    let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
    let bytes = vec![0xa5; MIB as usize];
    let mut offset = 0;
    while offset < size {
        let length = MIB.min(size - offset);
        file.write_all_at(&bytes[..length as usize], offset).unwrap();
        offset += length;
    }
    file.sync_all().unwrap();
}

/// Fails unless the first `size` bytes are the same, by `cmp`; caches are dropped first.
#[track_caller]
pub fn same(left: &Path, right: &Path, size: u64) {
    run("cmp", &["-n", &size.to_string(), text(left), text(right)]);
}

/// A loop device over a file, detached when dropped.
pub struct Loop {
    pub path: PathBuf,
    pub backing: PathBuf,
}

impl Loop {
    pub fn new(backing: &Path, options: &[&str]) -> Self {
        let arguments = [&["--find", "--show"], options, &[text(backing)]].concat();
        let path = PathBuf::from(run("losetup", &arguments));
        Self { path, backing: backing.to_owned() }
    }

    /// A device of that size over a new sparse file.
    pub fn sized(directory: &Path, size: u64) -> Self {
        let backing = directory.join("loop.backing");
        File::create(&backing).unwrap().set_len(size).unwrap();
        Self::new(&backing, &[])
    }

    pub fn partition(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}p{number}", self.path.display()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", text(&self.path)]).status();
    }
}

pub fn opened(path: &Path) -> Image {
    open(path, &OpenOptions::default()).unwrap()
}

/// What a target for an image has to be; nothing there may be lost.
pub fn wanted(source: &dyn BlockSource) -> TargetOptions {
    TargetOptions { size: source.size(), create: true, ..TargetOptions::default() }
}

pub fn target(path: &Path, source: &dyn BlockSource, existing: Existing) -> Result<Target, TargetError> {
    Target::open(path, &TargetOptions { existing, ..wanted(source) })
}

pub fn options() -> WriteOptions {
    WriteOptions::new(Digest::of(b"the image's identity"))
}

/// Writes with nobody watching.
pub fn write(
    source: &dyn BlockSource,
    target: &Target,
    options: &WriteOptions,
) -> Result<WriteOutcome, CopyError> {
    copy::write(source, target, options, &Silent, &Cancel::new())
}

/// Verifies with nobody watching.
pub fn verify(target: &Target, outcome: &WriteOutcome) -> Result<VerifyOutcome, CopyError> {
    copy::verify(target, &outcome.manifest, None, &VerifyOptions::default(), &Silent, &Cancel::new())
}

/// Changes one byte.
pub fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
    file.sync_all().unwrap();
}

/// Bytes that a file takes on its filesystem.
pub fn allocated(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks() * 512
}
