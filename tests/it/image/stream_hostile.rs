//! Damaged and malicious streams: an error or the disk that the file is, in bounded time and
//! memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use replant::image::stream::Unpack;
use replant::image::{BlockSource, Format, OpenOptions, StreamOptions, open};

use super::fixture::{Numbers, raw_disk, run, text};
use super::streams::disk_of;
use super::vmdk::Build;

/// Streams of every kind: their names say how they are read.
fn seeds(directory: &Path) -> Vec<PathBuf> {
    let raw = raw_disk(directory, 3_000_320, 4);
    let vmdk = directory.join("a.vmdk");
    run("qemu-img", &["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", text(&raw), text(&vmdk)]);
    let footer = directory.join("footer.vmdk");
    fs::write(&footer, Build::default().file(&fs::read(&raw).unwrap())).unwrap();
    let ovf = r#"<Envelope xmlns:o="o"><References><File o:href="a.vmdk" o:id="f"/></References>
        <DiskSection><Disk o:capacity="1" o:diskId="d" o:fileRef="f"/></DiskSection>
        <VirtualSystem o:id="x"/></Envelope>"#;
    fs::write(directory.join("a.ovf"), ovf).unwrap();
    let sum = run("sha256sum", &[text(&vmdk)]);
    fs::write(directory.join("a.mf"), format!("SHA256(a.vmdk)= {}\n", &sum[..64])).unwrap();
    let ova = directory.join("a.ova");
    run("tar", &["-C", text(directory), "--format=pax", "-cf", text(&ova), "a.ovf", "a.vmdk", "a.mf"]);
    let mut seeds = vec![vmdk, footer, ova];
    for (program, options, extension) in [
        ("gzip", &["-k"][..], "gz"),
        ("zstd", &["-q"], "zst"),
        ("xz", &["-k"], "xz"),
        ("bzip2", &["-k"], "bz2"),
        ("lz4", &["-q", "-m"], "lz4"),
    ] {
        run(program, &[options, &[text(&raw)]].concat());
        seeds.push(directory.join(format!("disk.raw.{extension}")));
    }
    fs::remove_file(raw).unwrap();
    seeds
}

fn options_of(seed: &Path) -> StreamOptions {
    let is_packed_raw = text(seed).contains(".raw.");
    StreamOptions {
        format: is_packed_raw.then_some(Format::Raw),
        unpack: match seed.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Unpack::With("gzip".parse().unwrap()),
            Some("zst") => Unpack::With("zstd".parse().unwrap()),
            Some("xz") => Unpack::With("xz".parse().unwrap()),
            Some("bz2") => Unpack::With("bzip2".parse().unwrap()),
            Some("lz4") => Unpack::With("lz4".parse().unwrap()),
            _ => Unpack::Auto,
        },
        ..StreamOptions::default()
    }
}

/// What the same bytes hold as a file; `None` when they are no image.
fn as_file(path: &Path, size: usize) -> Option<Vec<u8>> {
    let image = open(path, &OpenOptions::default()).ok()?;
    if image.size() != size as u64 {
        return None;
    }
    let mut disk = vec![0; size];
    disk.chunks_mut(1 << 20)
        .enumerate()
        .try_for_each(|(index, part)| image.read_at((index as u64) << 20, part))
        .ok()?;
    Some(disk)
}

/// What the next test runs under limits, in a process of its own.
#[test]
fn worker_of_the_next_streams() {
    let Some(directory) = std::env::var_os("STREAM_HOSTILE_DIRECTORY") else { return };
    let list = fs::read_to_string(PathBuf::from(directory).join("seeds")).unwrap();
    let seeds: Vec<PathBuf> = list.lines().map(PathBuf::from).collect();
    let mut numbers = Numbers::new(21);
    let (mut sound, mut refused) = (0, 0);
    for seed in &seeds {
        let whole = fs::read(seed).unwrap();
        let options = options_of(seed);
        let reference = disk_of(&whole, &options).unwrap();
        let is_vmdk = seed.extension().is_some_and(|extension| extension == "vmdk");
        for round in 0..if is_vmdk { 150 } else { 40 } {
            let mut bytes = whole.clone();
            let length = bytes.len() as u64;
            let place = |numbers: &mut Numbers| match numbers.below(4) {
                0 => numbers.below(length.min(128)),
                1 => numbers.below(length.min(70_000)),
                2 => length - 1 - numbers.below(length.min(3_000)),
                _ => numbers.below(length),
            };
            match numbers.below(5) {
                0 => bytes.truncate(numbers.below(length) as usize),
                1 => {
                    let at = place(&mut numbers) as usize & !3;
                    let extreme = [0, u32::MAX, 1, 0x7fff_ffff, 0x8000_0000][numbers.below(5) as usize];
                    let end = bytes.len().min(at + 4);
                    bytes[at..end].copy_from_slice(&extreme.to_le_bytes()[..end - at]);
                }
                _ => {
                    for _ in 0..=numbers.below(6) {
                        let at = place(&mut numbers) as usize;
                        bytes[at] ^= 1 << numbers.below(8);
                    }
                }
            }
            let started = Instant::now();
            match disk_of(&bytes, &options) {
                Ok(disk) => {
                    sound += 1;
                    if disk == reference {
                        continue;
                    }
                    // Another disk can only be one that the file is, too.
                    assert!(is_vmdk, "round {round}: another disk out of {}", seed.display());
                    let path = seed.with_extension("changed.vmdk");
                    fs::write(&path, &bytes).unwrap();
                    let file = as_file(&path, disk.len());
                    assert!(file.is_some_and(|file| file == disk), "round {round}, {}", seed.display());
                }
                Err(error) => {
                    refused += 1;
                    let diagnostic = error.diagnostic();
                    assert!(!diagnostic.help.is_empty() && diagnostic.detail.len() > 10);
                }
            }
            let took = started.elapsed();
            assert!(took < Duration::from_secs(10), "round {round}, {}: {took:?}", seed.display());
        }
    }
    assert!(sound > 40 && refused > 200, "{sound} sound, {refused} refused");
}

#[test]
fn damaged_streams_take_neither_memory_nor_time() {
    let directory = tempfile::tempdir().unwrap();
    let seeds = seeds(directory.path());
    let list: Vec<&str> = seeds.iter().map(|seed| text(seed)).collect();
    fs::write(directory.path().join("seeds"), list.join("\n")).unwrap();
    // The whole process, test harness and all, in 1 GiB of addresses.
    let output = Command::new("prlimit")
        .args(["--as=1073741824", "--core=0"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "image::stream_hostile::worker_of_the_next_streams", "--test-threads=1"])
        .env("STREAM_HOSTILE_DIRECTORY", directory.path())
        .output()
        .unwrap();
    let both = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{both}");
    assert!(both.contains("1 passed"), "{both}");
}
