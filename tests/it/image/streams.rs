//! Disks that are read once, from front to back: each must be what `qemu-img` reads of the file,
//! and a stream that was cut, changed or cannot be had in order must be an error.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use replant::image::stream::{Compression, PIECE, Packed, Piece, Unpack};
use replant::image::{Format, ImageError, Stream, StreamError, StreamOptions};

use super::fixture::{Numbers, raw_disk, run, text};
use super::vmdk::{Build, deflated};

const SECTOR: usize = 512;

fn raw() -> StreamOptions {
    StreamOptions { format: Some(Format::Raw), ..StreamOptions::default() }
}

/// All of a stream's disk.
pub fn disk_of(bytes: &[u8], options: &StreamOptions) -> Result<Vec<u8>, StreamError> {
    let mut stream = Stream::reader(Cursor::new(bytes.to_vec()), "the stream", options)?;
    drain(&mut stream)
}

pub fn drain(stream: &mut Stream) -> Result<Vec<u8>, StreamError> {
    let (mut disk, mut buffer, mut packed) = (Vec::new(), vec![0xaa; PIECE as usize], Packed::default());
    while let Some(piece) = stream.next(&mut buffer, &mut packed)? {
        assert!((disk.len() as u64).is_multiple_of(PIECE), "a short piece before the end");
        match piece {
            Piece::Zero { length } => disk.resize(disk.len() + length as usize, 0),
            Piece::Plain { length } => disk.extend(&buffer[..length]),
            Piece::Packed { length } => {
                let at = disk.len();
                disk.resize(at + length, 0x55);
                packed.decode(&mut disk[at..])?;
            }
        }
    }
    assert_eq!(stream.size(), Some(disk.len() as u64));
    Ok(disk)
}

fn vmdk_by_qemu(directory: &Path, raw: &Path) -> Vec<u8> {
    let path = directory.join("by-qemu.vmdk");
    run("qemu-img", &["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", text(raw), text(&path)]);
    fs::read(path).unwrap()
}

/// What a program makes of what is sent to it.
fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect(program);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        stdin.write_all(&input).unwrap();
    });
    let output = child.wait_with_output().unwrap();
    sender.join().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    output.stdout
}

/// As VMware's export writes it: each table behind the grains that it names.
fn exported(disk: &[u8]) -> Vec<u8> {
    let marker = |file: &mut Vec<u8>, sectors: u64, kind: u32| {
        file.extend(sectors.to_le_bytes());
        file.extend([0; 4]);
        file.extend(kind.to_le_bytes());
        file.resize(file.len().next_multiple_of(SECTOR), 0);
    };
    let whole = Build::default().file(disk);
    let mut file = whole[..128 * SECTOR].to_vec();
    let mut directory = Vec::new();
    for (group, bytes) in disk.chunks(512 << 16).enumerate() {
        let mut table = vec![0u32; 512];
        for (slot, grain) in bytes.chunks(1 << 16).enumerate() {
            if grain.iter().all(|byte| *byte == 0) {
                continue;
            }
            let mut grain = grain.to_vec();
            grain.resize(1 << 16, 0);
            let packed = deflated(&grain);
            table[slot] = (file.len() / SECTOR) as u32;
            file.extend((((group * 512 + slot) << 16) as u64 / 512).to_le_bytes());
            file.extend((packed.len() as u32).to_le_bytes());
            file.extend(packed);
            file.resize(file.len().next_multiple_of(SECTOR), 0);
        }
        if table.iter().all(|entry| *entry == 0) {
            directory.extend([0; 4]);
            continue;
        }
        marker(&mut file, 4, 1);
        directory.extend(((file.len() / SECTOR) as u32).to_le_bytes());
        table.iter().for_each(|entry| file.extend(entry.to_le_bytes()));
    }
    directory.resize(directory.len().next_multiple_of(SECTOR), 0);
    marker(&mut file, (directory.len() / SECTOR) as u64, 2);
    let at = (file.len() / SECTOR) as u64;
    file.extend(directory);
    marker(&mut file, 1, 3);
    let mut footer = whole[..SECTOR].to_vec();
    footer[56..64].copy_from_slice(&at.to_le_bytes());
    file.extend(footer);
    marker(&mut file, 0, 0);
    file
}

fn some_disk(size: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    fs::read(raw_disk(directory.path(), size, size)).unwrap()
}

#[test]
fn stream_optimized_disks_as_qemu_and_as_vmware_write_them() {
    for size in [3 << 20, (5 << 20) + 512 * 9, (40 << 20) + 512 * 7, 1 << 16, 512] {
        let directory = tempfile::tempdir().unwrap();
        let raw = raw_disk(directory.path(), size, size);
        let reference = fs::read(&raw).unwrap();
        let by_qemu = vmdk_by_qemu(directory.path(), &raw);
        // Where QEMU's image says that its directory is: before the grains.
        assert_ne!(by_qemu[56..64], [0xff; 8]);
        let options = StreamOptions::default();
        assert!(disk_of(&by_qemu, &options).unwrap() == reference, "{size} by QEMU");
        let exported = exported(&reference);
        assert!(disk_of(&exported, &options).unwrap() == reference, "{size} as exported");
        // QEMU reads what the test wrote as the same disk.
        let path = directory.path().join("exported.vmdk");
        fs::write(&path, &exported).unwrap();
        super::fixture::same_as_qemu(&path, "vmdk");
    }
    let disk = some_disk(3 << 20);
    for build in [
        Build::default(),
        Build { version: 1, ..Build::default() },
        Build { zeroed: true, version: 2, ..Build::default() },
        Build { grain: 16, ..Build::default() },
        Build { grain: 2048, ..Build::default() },
    ] {
        let file = build.file(&disk);
        assert!(disk_of(&file, &StreamOptions::default()).unwrap() == disk, "{build:?}");
        let options = StreamOptions { size: Some(disk.len() as u64), ..StreamOptions::default() };
        assert!(disk_of(&file, &options).unwrap() == disk);
        let options = StreamOptions { size: Some(disk.len() as u64 + 512), ..StreamOptions::default() };
        assert!(matches!(disk_of(&file, &options), Err(StreamError::OtherSize { .. })));
    }
    // A disk without a single grain.
    let empty = vec![0; 70 << 20];
    assert!(disk_of(&Build::default().file(&empty), &StreamOptions::default()).unwrap() == empty);
}

#[test]
fn a_stream_that_was_cut_is_never_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = raw_disk(directory.path(), 3 << 20, 77);
    let reference = fs::read(&path).unwrap();
    let by_qemu = vmdk_by_qemu(directory.path(), &path);
    let footer = Build::default().file(&reference);
    let mut numbers = Numbers::new(5);
    for (name, whole) in [("QEMU", &by_qemu), ("footer", &footer), ("exported", &exported(&reference))] {
        // Between any two sectors, and anywhere.
        let sectors = (0..whole.len() / SECTOR).step_by(7).map(|sector| sector * SECTOR);
        let near_the_end = (1..24).map(|back| whole.len() - back * SECTOR);
        let anywhere = (0..60).map(|_| numbers.below(whole.len() as u64) as usize);
        for cut in sectors.chain(near_the_end).chain(anywhere) {
            match disk_of(&whole[..cut], &StreamOptions::default()) {
                Err(StreamError::CutShort { .. } | StreamError::Damaged { .. }) => {}
                // Of the last grain's padding.
                Ok(disk) => {
                    assert!(disk == reference, "{name} cut at {cut}");
                    assert!(whole[cut..].iter().all(|byte| *byte == 0), "{name} cut at {cut}");
                }
                Err(error) => panic!("{name} cut at {cut}: {error:?}"),
            }
        }
        let more = [&whole[..], b"more"].concat();
        assert!(disk_of(&more, &StreamOptions::default()).is_err(), "{name}");
        let padded = [&whole[..], &[0; 10_240]].concat();
        assert!(disk_of(&padded, &StreamOptions::default()).unwrap() == reference, "{name}");
    }
}

#[test]
fn what_the_tables_say_and_what_came_must_agree() {
    let disk = some_disk(3 << 20);
    let whole = Build::default().file(&disk);
    // A grain that comes but is in no table, and one that a table says is elsewhere.
    let footer = whole.len() - 1024;
    let directory = u64::from_le_bytes(whole[footer + 56..footer + 64].try_into().unwrap()) as usize * SECTOR;
    let table = u32::from_le_bytes(whole[directory..directory + 4].try_into().unwrap()) as usize * SECTOR;
    let slot = (0..48).find(|slot| whole[table + slot * 4..table + slot * 4 + 4] != [0; 4]).unwrap();
    for entry in [0u32, 129] {
        let mut wrong = whole.clone();
        wrong[table + slot * 4..table + slot * 4 + 4].copy_from_slice(&entry.to_le_bytes());
        let error = disk_of(&wrong, &StreamOptions::default()).unwrap_err();
        assert!(error.to_string().contains("other grains"), "{error}");
    }
    let mut wrong = whole.clone();
    wrong[directory] ^= 1;
    assert!(matches!(disk_of(&wrong, &StreamOptions::default()), Err(StreamError::Damaged { .. })));
    // Whatever is not in the disk's order.
    let shuffled = Build { shuffled: true, ..Build::default() }.file(&disk);
    let error = disk_of(&shuffled, &StreamOptions::default()).unwrap_err();
    assert!(matches!(error, StreamError::NeedsFile { .. }), "{error:?}");
    assert!(error.diagnostic().help.iter().any(|help| help.contains("in a file first")));
}

#[test]
fn compressed_by_real_tools() {
    let directory = tempfile::tempdir().unwrap();
    let path = raw_disk(directory.path(), (4 << 20) + 1536, 31);
    let disk = fs::read(&path).unwrap();
    let vmdk = vmdk_by_qemu(directory.path(), &path);
    let packers: [(&str, &[&str], Compression); 9] = [
        ("gzip", &["-c"], Compression::Gzip),
        ("gzip", &["-1", "-c"], Compression::Gzip),
        ("zstd", &["-c"], Compression::Zstd),
        ("zstd", &["-T2", "--long=27", "-c"], Compression::Zstd),
        ("zstd", &["--no-check", "-19", "-c"], Compression::Zstd),
        ("xz", &["--threads=2", "--block-size=1MiB", "-c"], Compression::Xz),
        ("xz", &["--check=none", "-9", "-c"], Compression::Xz),
        ("bzip2", &["-c"], Compression::Bzip2),
        ("lz4", &["-c"], Compression::Lz4),
    ];
    let mut numbers = Numbers::new(8);
    for (program, arguments, compression) in packers {
        let said = StreamOptions { unpack: Unpack::With(compression), ..raw() };
        let packed = through(program, arguments, &disk);
        assert_eq!(Compression::of_head(&packed), Some(compression));
        assert!(disk_of(&packed, &said).unwrap() == disk, "{program} {arguments:?}");
        // Several members, frames or streams, as pigz, pzstd and `cat` make them.
        let middle = (1 << 20) + 77;
        let parts: Vec<u8> = [&disk[..middle], &[], &disk[middle..]]
            .iter()
            .flat_map(|part| through(program, arguments, part))
            .collect();
        assert!(disk_of(&parts, &said).unwrap() == disk, "{program} in parts");
        let of_vmdk = through(program, arguments, &vmdk);
        assert!(disk_of(&of_vmdk, &StreamOptions::default()).unwrap() == disk, "{program} of a VMDK");
        // Cut anywhere, even between two parts' bytes; something behind it.
        for _ in 0..25 {
            let cut = numbers.below(packed.len() as u64) as usize;
            assert!(disk_of(&packed[..cut], &said).is_err(), "{program} cut at {cut} of {}", packed.len());
        }
        for back in 1..9 {
            assert!(disk_of(&packed[..packed.len() - back], &said).is_err(), "{program} without {back}");
        }
        assert!(disk_of(&[&packed[..], b"xyz"].concat(), &said).is_err(), "{program} and more");
        let of_vmdk_and_more = [&of_vmdk[..], b"\0xyz"].concat();
        assert!(disk_of(&of_vmdk_and_more, &StreamOptions::default()).is_err(), "{program} and more");
    }
    let padded = [&through("gzip", &["-c"], &disk)[..], &[0; 3000]].concat();
    assert!(
        disk_of(&padded, &StreamOptions { unpack: Unpack::With(Compression::Gzip), ..raw() }).unwrap()
            == disk
    );
}

#[test]
fn a_window_or_memory_that_is_too_large_is_refused() {
    let disk = some_disk(2 << 20);
    let long = through("zstd", &["--long=30", "-c"], &disk);
    let options = StreamOptions { unpack: Unpack::With(Compression::Zstd), ..raw() };
    let error = disk_of(&long, &options).unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    let large = through("xz", &["--lzma2=dict=512MiB", "-c"], &disk);
    let options = StreamOptions { unpack: Unpack::With(Compression::Xz), ..raw() };
    let error = disk_of(&large, &options).unwrap_err();
    assert!(error.to_string().contains("unpacked"), "{error}");
}

#[test]
fn what_a_stream_may_be_taken_for() {
    let disk = some_disk(2 << 20);
    let options = |format, unpack| StreamOptions { format, unpack, ..StreamOptions::default() };
    let gz = through("gzip", &["-c"], &disk);
    let auto = StreamOptions::default();
    assert!(matches!(disk_of(&disk, &auto), Err(StreamError::Unknown { compression: None, .. })));
    let error = disk_of(&gz, &auto).unwrap_err();
    assert!(error.diagnostic().help.iter().any(|help| help.contains("--format raw --compression gzip")));
    assert!(matches!(disk_of(&gz, &raw()), Err(StreamError::RawOrCompressed { .. })));
    assert!(disk_of(&gz, &options(Some(Format::Raw), Unpack::Never)).unwrap() == gz);
    assert!(disk_of(&disk, &raw()).unwrap() == disk);
    let wrong = options(Some(Format::Raw), Unpack::With(Compression::Xz));
    assert!(matches!(disk_of(&gz, &wrong), Err(StreamError::NotCompressed { .. })));
    assert!(matches!(disk_of(&disk, &wrong), Err(StreamError::NotCompressed { .. })));
    let vmdk = Build::default().file(&disk);
    let qcow2 = options(Some(Format::Qcow2), Unpack::Auto);
    assert!(matches!(disk_of(&vmdk, &qcow2), Err(StreamError::OtherFormat { .. })));
    assert!(matches!(disk_of(&disk, &qcow2), Err(StreamError::OtherFormat { .. })));
    // Said to be raw, it is: a guest's own disk may begin like anything.
    assert!(disk_of(&vmdk, &raw()).unwrap() == vmdk);
    let twice = through("xz", &["-c"], &gz);
    let error = disk_of(&twice, &auto).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    assert!(matches!(disk_of(b"", &raw()), Err(StreamError::CutShort { .. })));
    assert!(matches!(disk_of(&through("zstd", &["-c"], b""), &auto), Err(StreamError::CutShort { .. })));
    let member = StreamOptions { member: Some("root".to_owned()), ..StreamOptions::default() };
    assert!(matches!(disk_of(&vmdk, &member), Err(StreamError::Image(ImageError::NotAnAppliance { .. }))));
    for (size, expected) in [(disk.len() as u64 - 1, "goes on"), (disk.len() as u64 + 1, "cut short")] {
        let error = disk_of(&disk, &StreamOptions { size: Some(size), ..raw() }).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn formats_that_do_not_come_in_order_are_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), 3 << 20, 6);
    for (name, format, options) in [
        ("a.qcow2", "qcow2", "compat=1.1"),
        ("a.vhdx", "vhdx", "block_size=1M"),
        ("a.vhd", "vpc", "subformat=dynamic"),
        ("sparse.vmdk", "vmdk", "subformat=monolithicSparse"),
        ("flat.vmdk", "vmdk", "subformat=monolithicFlat"),
        ("a.vdi", "vdi", "static=off"),
    ] {
        let path = directory.path().join(name);
        run("qemu-img", &["convert", "-O", format, "-o", options, text(&raw), text(&path)]);
        let bytes = fs::read(&path).unwrap();
        for bytes in [bytes.clone(), through("zstd", &["-c"], &bytes)] {
            let error = disk_of(&bytes, &StreamOptions::default()).unwrap_err();
            let diagnostic = error.diagnostic();
            assert!(
                matches!(
                    error,
                    StreamError::NeedsFile { .. } | StreamError::Image(ImageError::Unsupported { .. })
                ),
                "{name}: {error:?}"
            );
            assert!(diagnostic.help.iter().any(|help| help.contains("file")), "{name}: {diagnostic:?}");
        }
    }
}

/// Files as they are told from their names.
#[test]
fn compressed_files_are_streams_and_names_count() {
    let directory = tempfile::tempdir().unwrap();
    let path = raw_disk(directory.path(), 2 << 20, 9);
    let disk = fs::read(&path).unwrap();
    let put = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let auto = StreamOptions::default();
    let is = replant::image::stream::is_for_stream;
    let gz = through("gzip", &["-c"], &disk);
    let packed = put("disk.raw.gz", &gz);
    for options in [&auto, &raw()] {
        assert!(is(&packed, options));
        let mut stream = Stream::path(&packed, options).unwrap();
        assert_eq!(stream.paths(), std::slice::from_ref(&packed));
        assert_eq!(stream.description(), "raw, gzip");
        assert!(drain(&mut stream).unwrap() == disk);
    }
    // The name says nothing of what is inside.
    let unnamed = put("disk.gz", &gz);
    assert!(is(&unnamed, &auto));
    assert!(matches!(Stream::path(&unnamed, &auto), Err(StreamError::Unknown { .. })));
    // A disk that is said to be raw is one, whatever it begins with.
    let misnamed = put("disk.img", &gz);
    assert!(!is(&misnamed, &auto) && !is(&misnamed, &raw()));
    assert!(!is(&path, &auto) && !is(&put("x.gz", &disk), &auto));
    assert!(!is(&packed, &StreamOptions { unpack: Unpack::Never, ..auto.clone() }));
    // A guest's raw disk that begins like an image.
    let vmdk = Build::default().file(&disk);
    let hostile = put("guest.raw.xz", &through("xz", &["-c"], &vmdk));
    let refused = Stream::path(&hostile, &auto);
    assert!(matches!(refused, Err(StreamError::Image(ImageError::AmbiguousFormat { .. }))));
    let mut stream = Stream::path(&hostile, &raw()).unwrap();
    assert!(drain(&mut stream).unwrap() == vmdk);
    // A file that changes while it is read.
    let mut stream = Stream::path(&packed, &auto).unwrap();
    fs::File::options().append(true).open(&packed).unwrap().set_len(gz.len() as u64 + 600).unwrap();
    let error = drain(&mut stream).unwrap_err();
    assert!(matches!(error, StreamError::Image(ImageError::Changed { .. })), "{error:?}");
}
