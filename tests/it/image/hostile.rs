//! Damaged and malicious images: a clear error, in bounded time and memory, and no file outside
//! the image's directory.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use replant::image::{BlockSource, Image, ImageError, OpenOptions, SourceError, open, ova};

use super::esx;
use super::fixture::{Numbers, raw_disk, run, text};
use super::vhd_chains::vhd_chain;
use super::vhdx_chains::vhdx_chain;
use super::vmdk::{Build, deflated, written};

fn try_open(path: &Path) -> Result<Image, ImageError> {
    open(path, &OpenOptions::default())
}

/// Opens an image and reads what can be read: either may fail, neither may panic.
fn use_all(path: &Path) -> Result<(), ImageError> {
    let image = try_open(path)?;
    let size = image.size();
    let facts = image.data_bytes();
    let mut buffer = vec![0; 300_000];
    let mut numbers = Numbers::new(size);
    let mut result = facts.map(|_| ());
    for piece in 0..40 {
        let offset = if piece < 16 { piece * 300_000 } else { numbers.below(size) };
        let length = size.saturating_sub(offset).min(300_000) as usize;
        result = result.and(image.read_at(offset.min(size), &mut buffer[..length]));
    }
    Ok(result?)
}

/// Images of every format whose metadata is worth damaging: the file to damage, and the one to open.
fn seeds(directory: &Path) -> Vec<[PathBuf; 2]> {
    let raw = raw_disk(directory, 3_000_320, 4);
    let mut seeds = Vec::new();
    let mut add = |name: &str, format: &str, options: &str, compress: bool| {
        let path = directory.join(name);
        let mut arguments = vec!["convert", "-O", format, "-o", options];
        if compress {
            arguments.push("-c");
        }
        run("qemu-img", &[&arguments[..], &[text(&raw), text(&path)]].concat());
        seeds.push([path.clone(), path]);
    };
    add("sparse.vmdk", "vmdk", "subformat=monolithicSparse", false);
    add("stream.vmdk", "vmdk", "subformat=streamOptimized", false);
    add("split.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse", false);
    add("flat.vmdk", "vmdk", "subformat=monolithicFlat", false);
    add("small.qcow2", "qcow2", "cluster_size=512", false);
    add("packed.qcow2", "qcow2", "cluster_size=4k", true);
    add("zstd.qcow2", "qcow2", "compression_type=zstd", true);
    add("dynamic.vhd", "vpc", "subformat=dynamic,force_size=on", false);
    add("fixed.vhd", "vpc", "subformat=fixed,force_size=on", false);
    add("dynamic.vhdx", "vhdx", "block_size=1M,log_size=1M", false);
    let footer = written(directory, "footer.vmdk", &Build::default().file(&fs::read(&raw).unwrap()));
    seeds.push([footer.clone(), footer]);
    fs::remove_file(raw).unwrap();
    // Chains: of each the top, and what is below it.
    let (snapshots, _) = esx::snapshots(directory, 3 << 20);
    for name in ["vm-000002.vmdk", "vm-000002-sesparse.vmdk", "vm-000001-delta.vmdk", "vm.vmdk"] {
        seeds.push([directory.join(name), snapshots[0].clone()]);
    }
    let (vhds, _) = vhd_chain(directory, 3_000_320, "dynamic", false);
    let (vhdxs, _) = vhdx_chain(directory, 3_000_320);
    for chain in [vhds, vhdxs] {
        seeds.extend(chain.iter().map(|file| [file.clone(), chain[0].clone()]));
    }
    let delta = directory.join("delta.vmdk");
    run("qemu-img", &["create", "-q", "-f", "vmdk", "-b", "sparse.vmdk", "-F", "vmdk", text(&delta)]);
    run("qemu-io", &["-f", "vmdk", "-c", "write -P 3 1M 100k", text(&delta)]);
    seeds.extend([[delta.clone(), delta.clone()], [directory.join("sparse.vmdk"), delta]]);
    seeds
}

/// The places of a file that hold its metadata: its first sectors, its last ones, anywhere.
fn place(numbers: &mut Numbers, length: u64) -> u64 {
    match numbers.below(4) {
        0 => numbers.below(length.min(128)),
        1 => numbers.below(length.min(70_000)),
        2 => length - 1 - numbers.below(length.min(2_000)),
        _ => numbers.below(length),
    }
}

/// What the next test runs under limits, in a process of its own.
#[test]
fn worker_of_the_next() {
    let Some(directory) = std::env::var_os("IMAGE_HOSTILE_DIRECTORY") else { return };
    let list = fs::read_to_string(PathBuf::from(directory).join("seeds")).unwrap();
    let seeds: Vec<[PathBuf; 2]> = list
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(one, two)| [one.into(), two.into()])
        .collect();
    let mut numbers = Numbers::new(20);
    let (mut sound, mut refused) = (0, 0);
    for [seed, opened] in &seeds {
        let whole = fs::read(seed).unwrap();
        let file = fs::File::options().write(true).open(seed).unwrap();
        for round in 0..150 {
            // Only what is damaged is written, and written back.
            let mut from = whole.len();
            let mut put = |at: usize, bytes: &[u8]| {
                file.write_all_at(bytes, at as u64).unwrap();
                from = from.min(at);
            };
            match numbers.below(5) {
                0 => {
                    let length = numbers.below(whole.len() as u64);
                    put(length as usize, &[]);
                    file.set_len(length).unwrap();
                }
                1 => {
                    // A number of 4 bytes becomes an extreme one.
                    let at = place(&mut numbers, whole.len() as u64) as usize & !3;
                    let extreme = [0, u32::MAX, 1, 0x7fff_ffff, 0x8000_0000][numbers.below(5) as usize];
                    let end = whole.len().min(at + 4);
                    put(at, &extreme.to_le_bytes()[..end - at]);
                }
                _ => {
                    for _ in 0..=numbers.below(6) {
                        let at = place(&mut numbers, whole.len() as u64) as usize;
                        put(at, &[whole[at] ^ 1 << numbers.below(8)]);
                    }
                }
            }
            let started = Instant::now();
            match use_all(opened) {
                Ok(()) => sound += 1,
                Err(error) => {
                    refused += 1;
                    let diagnostic = error.diagnostic();
                    assert!(!diagnostic.help.is_empty() && diagnostic.detail.len() > 10);
                }
            }
            let took = started.elapsed();
            assert!(took < Duration::from_secs(10), "round {round}, {}: {took:?}", seed.display());
            file.write_all_at(&whole[from..], from as u64).unwrap();
        }
        use_all(opened).unwrap();
    }
    assert!(sound > 100 && refused > 100, "{sound} sound, {refused} refused");
}

#[test]
fn damaged_images_take_neither_memory_nor_time() {
    let directory = tempfile::tempdir().unwrap();
    let seeds = seeds(directory.path());
    let list: Vec<String> =
        seeds.iter().map(|[seed, opened]| format!("{}\t{}", text(seed), text(opened))).collect();
    fs::write(directory.path().join("seeds"), list.join("\n")).unwrap();
    // The whole process, test harness and all, in 1 GiB of addresses.
    let status = Command::new("prlimit")
        .args(["--as=1073741824", "--core=0"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "image::hostile::worker_of_the_next", "--test-threads=1"])
        .env("IMAGE_HOSTILE_DIRECTORY", directory.path())
        .output()
        .unwrap();
    let both = String::from_utf8_lossy(&status.stdout) + String::from_utf8_lossy(&status.stderr);
    assert!(status.status.success(), "{both}");
    assert!(both.contains("1 passed"), "{both}");
}

#[track_caller]
fn damaged(path: &Path, word: &str) {
    match use_all(path) {
        Err(error @ ImageError::Source(SourceError::Damaged { .. })) => {
            assert!(error.to_string().contains(word), "{error} lacks {word}");
            assert!(!error.is_retryable());
            assert_eq!(error.code(), "image::damaged");
        }
        other => panic!("{word}: {other:?}"),
    }
}

#[track_caller]
fn unsupported(path: &Path, word: &str) {
    match use_all(path) {
        Err(error @ ImageError::Unsupported { .. }) => {
            assert!(error.to_string().contains(word), "{error} lacks {word}");
        }
        other => panic!("{word}: {other:?}"),
    }
}

/// A sparse VMDK with some bytes of it replaced.
fn patched(directory: &Path, build: &Build, patches: &[(usize, &[u8])]) -> PathBuf {
    let mut file = build.file(&vec![7; 300_032]);
    for (at, bytes) in patches {
        file[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    written(directory, "patched.vmdk", &file)
}

#[test]
fn impossible_vmdk_headers() {
    let directory = tempfile::tempdir().unwrap();
    let build = Build { footer: false, ..Build::default() };
    let huge = u64::MAX.to_le_bytes();
    let large = (1u64 << 54).to_le_bytes();
    for (at, bytes, word) in [
        (12, &huge[..], "capacity"),
        (12, &large, "capacity"),
        (20, &0u64.to_le_bytes(), "grain"),
        (20, &100u64.to_le_bytes(), "grain"),
        (20, &huge, "grain"),
        (20, &(1u64 << 14).to_le_bytes(), "grain"),
        (28, &large, "cut short"),
        (36, &large, "descriptor"),
        (44, &0u32.to_le_bytes(), "grain table"),
        (44, &1024u32.to_le_bytes(), "grain table"),
        (56, &large, "cut short"),
        (73, b"\n\n\r\n", "text mode"),
        (0, b"KDMW", "x"),
    ] {
        let path = patched(directory.path(), &build, &[(at, bytes)]);
        if at == 0 {
            assert!(matches!(try_open(&path), Err(ImageError::UnknownFormat { .. })));
        } else {
            damaged(&path, word);
        }
    }
    unsupported(&patched(directory.path(), &build, &[(4, &[9])]), "version 9");
    unsupported(&patched(directory.path(), &build, &[(77, &[5])]), "method 5");
    // The end of the file is missing.
    let whole = Build::default().file(&vec![7; 300_032]);
    damaged(&written(directory.path(), "cut.vmdk", &whole[..whole.len() - 512]), "footer");
    damaged(&written(directory.path(), "cut.vmdk", &whole[..600]), "too short");
}

#[test]
fn impossible_vmdk_tables_and_grains() {
    let directory = tempfile::tempdir().unwrap();
    let build = Build { footer: false, ..Build::default() };
    let sound = build.file(&vec![7; 300_032]);
    let grain = 128 * 512;
    assert_eq!(sound[grain..grain + 8], [0; 8], "the first grain is that of sector 0");
    let path = directory.path();
    // The length that a grain claims.
    damaged(&patched(path, &build, &[(grain + 8, &u32::MAX.to_le_bytes())]), "at most");
    // The sector that it claims.
    damaged(&patched(path, &build, &[(grain, &[9])]), "sector");
    damaged(&patched(path, &build, &[(grain + 20, &[0xff; 30])]), "compressed data");
    // More than a grain in it.
    let bomb = deflated(&vec![0; 10 << 20]);
    let length = (bomb.len() as u32).to_le_bytes();
    let mut file = sound.clone();
    file.splice(grain + 8..grain + 8, length.iter().chain(&bomb).copied());
    file.truncate(sound.len());
    fs::write(path.join("bomb.vmdk"), &file).unwrap();
    let mut image = sound.clone();
    // The bomb goes to the end, and the table's first entry with it.
    let end = image.len() as u32 / 512;
    image.extend([0u64.to_le_bytes().as_slice(), &length, &bomb].concat());
    let table = sound.windows(4).rposition(|four| four == 128u32.to_le_bytes()).unwrap();
    image[table..table + 4].copy_from_slice(&end.to_le_bytes());
    damaged(&written(path, "bomb.vmdk", &image), "more than");
    // An entry that points into the header, and one that points behind the end.
    for entry in [1u32, u32::MAX] {
        let mut image = sound.clone();
        image[table..table + 4].copy_from_slice(&entry.to_le_bytes());
        damaged(&written(path, "entry.vmdk", &image), "");
    }
    // A table behind the end.
    let directory = u64::from_le_bytes(sound[56..64].try_into().unwrap()) as usize * 512;
    let mut image = sound.clone();
    image[directory..directory + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    damaged(&written(path, "table.vmdk", &image), "cut short");
}

#[test]
fn vmdk_descriptors_reach_no_file_outside() {
    let outside = tempfile::tempdir().unwrap();
    let secret = written(outside.path(), "secret.raw", &[1; 4096]);
    let inside = tempfile::tempdir_in(outside.path()).unwrap();
    let path = inside.path();
    symlink(&secret, path.join("link.raw")).unwrap();
    symlink(outside.path(), path.join("linked")).unwrap();
    run("mkfifo", &[text(&path.join("pipe"))]);
    let descriptor = |line: &str| {
        let text = format!("# Disk DescriptorFile\ncreateType=\"custom\"\n{line}\n");
        written(path, "disk.vmdk", text.as_bytes())
    };
    for name in [
        text(&secret),
        "../secret.raw",
        "a/../../secret.raw",
        "link.raw",
        "linked/secret.raw",
        "/proc/self/environ",
        "",
    ] {
        let error = try_open(&descriptor(&format!("RW 8 FLAT \"{name}\" 0"))).unwrap_err();
        assert!(matches!(error, ImageError::Escape { .. } | ImageError::Part { .. }), "{name}: {error:?}");
        assert!(
            name == "a/../../secret.raw" || matches!(error, ImageError::Escape { .. }),
            "{name}: {error:?}"
        );
    }
    let error = try_open(&descriptor("RW 8 FLAT \"missing\" 0")).unwrap_err();
    assert_eq!(error.code(), "image::part_missing");
    let error = try_open(&descriptor("RW 8 FLAT \"pipe\" 0")).unwrap_err();
    assert!(matches!(error, ImageError::NotAFile { .. }), "{error:?}");
    written(path, "small.raw", &[0; 512]);
    damaged(&descriptor("RW 2 FLAT \"small.raw\" 0"), "not within");
    damaged(&descriptor("RW 1 FLAT \"small.raw\" 18446744073709551615"), "not within");
    damaged(&descriptor("RW 18446744073709551615 ZERO"), "large");
    damaged(&descriptor("RW 36028797018963967 ZERO\nRW 36028797018963967 ZERO"), "large");
    damaged(&descriptor(&"RW 1 ZERO\n".repeat(5000)), "more than");
    damaged(&descriptor(&"x".repeat(2 << 20)), "at most");
    damaged(&descriptor("RW 8 SPARSE \"small.raw\""), "");
    // A descriptor that names itself as its extent is only a small file.
    let own = descriptor("RW 1 SPARSE \"disk.vmdk\"");
    assert!(try_open(&own).is_err());
}

#[test]
fn impossible_qcow2_headers() {
    let directory = tempfile::tempdir().unwrap();
    let raw = raw_disk(directory.path(), 3_000_320, 4);
    let path = directory.path().join("disk.qcow2");
    run("qemu-img", &["convert", "-O", "qcow2", text(&raw), text(&path)]);
    let sound = fs::read(&path).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut file = sound.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        written(directory.path(), "patched.qcow2", &file)
    };
    let l1 = u64::from_be_bytes(sound[40..48].try_into().unwrap()) as usize;
    let l2 = (u64::from_be_bytes(sound[l1..l1 + 8].try_into().unwrap()) & 0x00ff_ffff_ffff_fe00) as usize;
    for (at, bytes, word) in [
        (20, &3u32.to_be_bytes()[..], "clusters"),
        (20, &63u32.to_be_bytes(), "clusters"),
        (24, &(1u64 << 40).to_be_bytes(), "too small"),
        (36, &0u32.to_be_bytes(), "too small"),
        (40, &(1u64 << 62).to_be_bytes(), "cut short"),
        (79, &[2], "corrupt"),
        (100, &u32::MAX.to_be_bytes(), "header"),
        (100, &10u32.to_be_bytes(), "header"),
        (116, &u32::MAX.to_be_bytes(), "header"),
        (l1, &(0x200u64 | 1 << 63).to_be_bytes(), "aligned"),
        (l1, &(1u64 << 50).to_be_bytes(), "cut short"),
        (l2, &(0x200u64).to_be_bytes(), "aligned"),
        (l2, &(1u64 << 50).to_be_bytes(), "cut short"),
        (l2, &(1u64 << 62 | 1 << 40).to_be_bytes(), ""),
        (l2, &(1u64 << 62 | 0x10).to_be_bytes(), ""),
    ] {
        damaged(&with(at, bytes), word);
    }
    // Sizes that overflow everything.
    let path = with(24, &u64::MAX.to_be_bytes());
    assert!(use_all(&path).is_err());
    unsupported(&with(7, &[1]), "version 1");
    unsupported(&with(7, &[4]), "version 4");
    unsupported(&with(35, &[2]), "encrypted");
    unsupported(&with(72, &[0x80]), "unknown feature 63");
    unsupported(&with(78, &[0x01]), "unknown feature 8");
    damaged(&written(directory.path(), "short.qcow2", &sound[..50]), "complete");
    // Version 2 has no entries for zeros.
    run("qemu-img", &["convert", "-O", "qcow2", "-o", "compat=0.10", text(&raw), text(&path)]);
    let mut file = fs::read(&path).unwrap();
    file[l2 + 7] |= 1;
    damaged(&written(directory.path(), "zero.qcow2", &file), "version 2");
}

#[test]
fn qcow2_features_that_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let create = |name: &str, options: &str| {
        let path = at(name);
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), "1M"]);
        path
    };
    unsupported(&create("extended", "extended_l2=on,cluster_size=128k"), "subclusters");
    unsupported(&create("external", &format!("data_file={}", text(&at("data")))), "another file");
    // LUKS is only the other number (`with(35, 2)`); QEMU cannot make it on a busy machine.
    let path = at("aes");
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "--object",
            "secret,id=s,data=secret123",
            "-o",
            "encrypt.format=aes,encrypt.key-secret=s",
            text(&path),
            "1M",
        ],
    );
    unsupported(&path, "encrypted");
}

#[test]
fn qcow2_chains_end_somewhere() {
    let outside = tempfile::tempdir().unwrap();
    written(outside.path(), "secret", &[1; 1 << 20]);
    let inside = tempfile::tempdir_in(outside.path()).unwrap();
    let path = inside.path();
    let create = |name: &str, on: &str, format: &str| {
        let image = path.join(name);
        run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-b", on, "-F", format, text(&image), "1M"]);
        image
    };
    // Itself, and in a circle of three.
    let error = try_open(&create("self", "self", "qcow2")).unwrap_err();
    assert!(matches!(error, ImageError::Cycle { .. }), "{error:?}");
    create("a", "b", "qcow2");
    create("b", "c", "qcow2");
    let error = try_open(&create("c", "a", "qcow2")).unwrap_err();
    assert!(matches!(error, ImageError::Cycle { .. }), "{error:?}");
    // A circle through a hard link has other names.
    create("d", "e", "qcow2");
    fs::hard_link(path.join("d"), path.join("e")).unwrap();
    let error = try_open(&path.join("d")).unwrap_err();
    assert!(matches!(error, ImageError::Cycle { .. }), "{error:?}");
    // Too long.
    written(path, "0", &[2; 1 << 20]);
    create("1", "0", "raw");
    for number in 2..=33 {
        create(&number.to_string(), &(number - 1).to_string(), "qcow2");
    }
    use_all(&path.join("32")).unwrap();
    let error = try_open(&path.join("33")).unwrap_err();
    assert!(matches!(error, ImageError::TooDeep { most: 32, .. }), "{error:?}");
    // Outside.
    symlink(outside.path().join("secret"), path.join("link")).unwrap();
    for name in [text(&outside.path().join("secret")), "../secret", "link", "./../secret"] {
        let error = try_open(&create("out", name, "raw")).unwrap_err();
        assert!(matches!(error, ImageError::Escape { .. }), "{name}: {error:?}");
    }
    // A format that is not said is not guessed: a guest writes what a raw disk begins with.
    let image = create("said", "0", "raw");
    let mut bytes = fs::read(&image).unwrap();
    let extension = 0xe279_2aca_u32.to_be_bytes();
    let kind = bytes.windows(4).position(|four| four == extension).unwrap();
    bytes[kind] = 0x11;
    fs::write(&image, bytes).unwrap();
    let error = try_open(&image).unwrap_err();
    assert!(matches!(&error, ImageError::Unsupported { help, .. } if help.contains("rebase")), "{error:?}");
    unsupported(&create("json", "json:{\"driver\":\"null-co\"}", "raw"), "no file");
    unsupported(&create("other", "0", "vdi"), "vdi");
    let error = try_open(&create("other", "0", "vmdk")).unwrap_err();
    assert!(matches!(error, ImageError::OtherFormat { .. }), "{error:?}");
}

/// A raw disk whose guest wrote another format's header on it is never taken for that format.
#[test]
fn the_format_is_never_guessed_from_a_raw_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&path), "1M"]);
    let error = try_open(&path).unwrap_err();
    assert!(matches!(error, ImageError::AmbiguousFormat { .. }), "{error:?}");
    let said = |format: &str| open(&path, &OpenOptions::default().format(format.parse().unwrap()));
    assert_eq!(said("qcow2").unwrap().size(), 1 << 20);
    assert_eq!(said("raw").unwrap().size(), fs::metadata(&path).unwrap().len());
    assert!(matches!(said("vmdk"), Err(ImageError::OtherFormat { .. })));
    fs::write(&path, [0; 4096]).unwrap();
    assert!(matches!(said("qcow2"), Err(ImageError::OtherFormat { .. })));
    let nameless = written(directory.path(), "disk", &[0; 4096]);
    assert!(matches!(try_open(&nameless), Err(ImageError::UnknownFormat { .. })));
}

#[test]
fn what_is_no_image_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    assert_eq!(try_open(&path).unwrap_err().code(), "image::open");
    assert_eq!(try_open(directory.path()).unwrap_err().code(), "image::not_a_file");
    run("mkfifo", &[text(&path)]);
    assert_eq!(try_open(&path).unwrap_err().code(), "image::not_a_file");
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![3; 10_000]).unwrap();
    for (program, suffix, word) in [
        ("gzip", "gz", "gunzip"),
        ("xz", "xz", "unxz"),
        ("zstd", "zst", "unzstd"),
        ("bzip2", "bz2", "bunzip2"),
    ] {
        run(program, &["-k", text(&path)]);
        let packed = directory.path().join(format!("disk.raw.{suffix}"));
        let error = try_open(&packed).unwrap_err();
        let diagnostic = error.diagnostic();
        assert_eq!(diagnostic.code.as_str(), "image::compressed");
        assert!(diagnostic.help[1].starts_with(word), "{diagnostic:?}");
        assert!(diagnostic.help[1].ends_with(text(&packed)), "{diagnostic:?}");
    }
    let error = open(&path, &OpenOptions::default().member("root")).unwrap_err();
    assert_eq!(error.code(), "image::not_an_appliance");
    assert!(matches!(ova::read(&path), Err(ImageError::OtherFormat { .. })));
}

/// Images are only read: the files are open for nothing else.
#[test]
fn files_are_open_for_reading_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = raw_disk(directory.path(), 1 << 20, 1);
    let image = try_open(&path).unwrap();
    let mut found = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target == path) {
            let number = entry.file_name().into_string().unwrap();
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap();
            let flags = u32::from_str_radix(flags, 8).unwrap();
            assert_eq!(flags & 3, 0, "read only");
            assert_ne!(flags & 0o2_000_000, 0, "closed in children");
            found += 1;
        }
    }
    assert_eq!(found, 1);
    assert_eq!(image.size(), 1 << 20);
}

/// Numbers of a VHD that are impossible, its checksums made right again.
#[test]
fn impossible_vhd_headers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.vhd");
    run("qemu-img", &["create", "-q", "-f", "vpc", "-o", "force_size=on", text(&path), "8M"]);
    let sound = fs::read(&path).unwrap();
    let footer = sound.len() - 512;
    let with = |structure: usize, length: usize, sum: usize, patches: &[(usize, &[u8])]| {
        let mut file = sound.clone();
        for (at, bytes) in patches {
            file[structure + at..structure + at + bytes.len()].copy_from_slice(bytes);
        }
        file[structure + sum..structure + sum + 4].fill(0);
        let total: u32 = file[structure..structure + length].iter().map(|byte| u32::from(*byte)).sum();
        file[structure + sum..structure + sum + 4].copy_from_slice(&(!total).to_be_bytes());
        written(directory.path(), "patched.vhd", &file)
    };
    let in_footer = |patches: &[(usize, &[u8])]| with(footer, 512, 64, patches);
    let in_header = |patches: &[(usize, &[u8])]| with(512, 1024, 36, patches);
    damaged(&in_footer(&[(63, &[9])]), "kind 9");
    damaged(&in_footer(&[(16, &[0x7f])]), "cut short");
    damaged(&in_footer(&[(63, &[2]), (48, &[0x7f])]), "not within");
    damaged(&in_footer(&[(48, &[0x7f])]), "too small");
    damaged(&in_header(&[(0, b"x")]), "header");
    damaged(&in_header(&[(16, &[0x7f])]), "cut short");
    damaged(&in_header(&[(32, &[0, 0, 0, 0])]), "block");
    damaged(&in_header(&[(32, &[0x80, 0, 0, 0])]), "block");
    damaged(&in_header(&[(28, &[0, 0, 0, 0])]), "too small");
    let error = try_open(&in_footer(&[(63, &[4])])).unwrap_err();
    assert!(matches!(error, ImageError::NeedsParent { .. }), "{error:?}");
    let mut file = sound.clone();
    file[footer + 50] ^= 1;
    damaged(&written(directory.path(), "sum.vhd", &file), "checksum");
    damaged(&written(directory.path(), "cut.vhd", &sound[..footer]), "end of the file is missing");
}
