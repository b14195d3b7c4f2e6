//! `kill -9` anywhere in an update, and the next run goes on, even with yet another image.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use replant::copy::{Content, Manifest};

use super::support::{Loop, MIB, Numbers, convert, disk, run, same, text};
use crate::support::command::{command, replant};

const SIZE: u64 = 40 * MIB + 1536;

/// How often the update is killed at least.
const KILLS: u32 = 60;
/// How many of the kills have to come in the middle of an update. Where the machine is slow, more are needed
/// until so many did.
const INTERRUPTED: u32 = 15;

/// Changes a tenth of the blocks: data, and zeros where there was data.
fn change(raw: &Path, numbers: &mut Numbers) {
    let file = File::options().write(true).open(raw).unwrap();
    for _ in 0..4 {
        let offset = numbers.below(SIZE - 100_000);
        let bytes = match numbers.below(3) {
            0 => vec![0; 100_000],
            _ => numbers.noise(5000),
        };
        file.write_all_at(&bytes, offset).unwrap();
    }
}

/// Every block that the manifest vouches for is on the target.
fn holds_what_it_claims(manifest: &Path, target: &Path) -> bool {
    let manifest = Manifest::open(manifest).unwrap();
    let file = File::open(target).unwrap();
    let size = manifest.header().disk_size;
    for index in 0..size.div_ceil(MIB) {
        if manifest.is_done(index) {
            let mut bytes = vec![0; MIB.min(size - index * MIB) as usize];
            file.read_exact_at(&mut bytes, index * MIB).unwrap();
            assert_eq!(Content::of(&bytes), manifest.content(index).unwrap(), "block {index}");
        }
    }
    manifest.is_updating()
}

/// Kills updates with images that change all the time, then lets one end.
fn story(directory: &Path, target: &str, seed: u64, image: &dyn Fn(&Path) -> String) {
    let (raw, manifest) = (directory.join("disk.raw"), directory.join("m"));
    let mut numbers = Numbers(seed);
    disk(&raw, SIZE, seed);
    replant(directory, ["write", &image(&raw), target, "--manifest", "m"]).success();
    let (mut interrupted, mut kill) = (0, 0);
    while kill < KILLS || (interrupted < INTERRUPTED && kill < 5 * KILLS) {
        kill += 1;
        // Now and then the same image again.
        let named = match kill % 3 {
            0 => image(&raw),
            _ => {
                change(&raw, &mut numbers);
                image(&raw)
            }
        };
        let arguments =
            ["write", &named, target, "--manifest", "m", "--checkpoint", "0.02", "--bandwidth-limit", "40M"];
        let mut child = command(directory, arguments).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 + numbers.below(220)));
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += u32::from(holds_what_it_claims(&manifest, Path::new(target)));
    }
    assert!(interrupted >= INTERRUPTED, "only {interrupted} of {kill} came in the middle of an update");
    change(&raw, &mut numbers);
    let last = image(&raw);
    replant(directory, ["write", &last, target, "--manifest", "m", "--verify"]).success();
    let expected = directory.join("expected.raw");
    run("qemu-img", &["convert", "-O", "raw", text(&directory.join(last)), text(&expected)]);
    same(&expected, Path::new(target), SIZE);
}

#[test]
fn a_file_that_follows_a_raw_disk() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("out");
    story(directory.path(), text(&target), 51, &|raw| raw.file_name().unwrap().to_str().unwrap().to_owned());
}

#[test]
fn a_device_that_follows_compressed_images() {
    let directory = tempfile::tempdir().unwrap();
    let device = Loop::sized(directory.path(), 48 * MIB);
    story(directory.path(), text(&device.path), 52, &|raw| {
        let image = raw.with_extension("vmdk");
        if image.exists() {
            fs::remove_file(&image).unwrap();
        }
        convert(raw, &image, "vmdk", "subformat=streamOptimized");
        "disk.vmdk".to_owned()
    });
}

#[test]
fn a_chain_whose_layers_say_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (mut numbers, target) = (Numbers(53), path("out"));
    disk(&path("disk.raw"), SIZE, 53);
    convert(&path("disk.raw"), &path("0.qcow2"), "qcow2", "");
    replant(directory.path(), ["write", "0.qcow2", "out", "--manifest", "m"]).success();
    let (mut interrupted, mut newest, mut kill) = (0, 0, 0);
    while kill < KILLS / 2 || (interrupted < 3 && kill < 5 * KILLS) {
        kill += 1;
        // An overlay on the newest, or on the one before it: a change that is taken back.
        let below = if numbers.below(4) == 0 { newest - newest.min(1) } else { newest };
        if newest < 25 {
            newest += 1;
            let (below, image) = (format!("{below}.qcow2"), path(&format!("{newest}.qcow2")));
            run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &below, "-F", "qcow2", text(&image)]);
            let writes = [0; 3].map(|_| {
                let (pattern, at) = (numbers.below(200) + 1, numbers.below(SIZE / 4096 - 20) * 4096);
                format!("write -P {pattern} {at} 64k")
            });
            let commands = writes.iter().flat_map(|write| ["-c", write.as_str()]).collect::<Vec<_>>();
            run("qemu-io", &[&["-f", "qcow2"], &commands[..], &[text(&image)]].concat());
        }
        let named = format!("{newest}.qcow2");
        let arguments =
            ["write", &named, "out", "--manifest", "m", "--checkpoint", "0.02", "--bandwidth-limit", "20M"];
        let mut child = command(directory.path(), arguments).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 + numbers.below(160)));
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += u32::from(holds_what_it_claims(&path("m"), &target));
    }
    assert!(interrupted >= 3, "only {interrupted} came in the middle of an update");
    let last = format!("{newest}.qcow2");
    replant(directory.path(), ["write", &last, "out", "--manifest", "m", "--verify"]).success();
    run("qemu-img", &["convert", "-O", "raw", text(&path(&last)), text(&path("expected.raw"))]);
    same(&path("expected.raw"), &target, SIZE);
}
