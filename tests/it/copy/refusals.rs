//! What `replant write` says when a manifest does not fit: each refusal teaches.

use std::fs;
use std::path::Path;

use super::support::{Loop, MIB, flip, full_disk, run, text};
use crate::support::command::{command, replant};

/// The refusal of a write, without the numbers that differ from run to run.
#[track_caller]
fn refused(directory: &Path, arguments: &[&str]) -> String {
    let output = replant(directory, arguments).code(1);
    let (mut said, mut number) = (String::new(), String::new());
    for letter in output.stderr.replace(text(directory), "DIR").chars().chain(['\n']) {
        match letter {
            '0'..='9' => number.push(letter),
            _ => {
                said.push_str(if number.len() > 3 { "N" } else { &number });
                number.clear();
                said.push(letter);
            }
        }
    }
    said
}

#[test]
fn a_manifest_that_does_not_fit_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    full_disk(&at("disk.raw"), 64 * MIB, 61);
    let write = ["write", "disk.raw", "out", "--manifest", "m"];

    let mut child = command(directory.path(), [&write[..], &["--bandwidth-limit", "20M"]].concat())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !at("m").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    insta::assert_snapshot!("first_write_unfinished", refused(directory.path(), &write));
    full_disk(&at("newer.raw"), 64 * MIB, 62);
    let other = ["write", "newer.raw", "out", "--manifest", "m", "--resume"];
    insta::assert_snapshot!("first_write_of_another_image", refused(directory.path(), &other));
    replant(directory.path(), [&write[..], &["--resume"]].concat()).success();

    fs::copy(at("out"), at("copy")).unwrap();
    let elsewhere = ["write", "newer.raw", "copy", "--manifest", "m"];
    insta::assert_snapshot!("another_target", refused(directory.path(), &elsewhere));
    let nowhere = ["write", "newer.raw", "nothing", "--manifest", "m"];
    insta::assert_snapshot!("no_target", refused(directory.path(), &nowhere));
    flip(&at("out"), 7);
    let onto = ["write", "newer.raw", "out", "--manifest", "m"];
    insta::assert_snapshot!("a_target_that_moved", refused(directory.path(), &onto));

    let held = fs::read(at("m")).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = held.clone();
        change(&mut bytes);
        fs::write(at("m"), bytes).unwrap();
        refused(directory.path(), &onto)
    };
    insta::assert_snapshot!("a_newer_manifest", with(&|bytes| bytes[16] = 3));
    insta::assert_snapshot!("a_damaged_manifest", with(&|bytes| bytes[60] ^= 1));
    insta::assert_snapshot!("no_manifest_at_all", with(&|bytes| bytes.truncate(100)));
    run("cmp", &["-i", "8", text(&at("disk.raw")), text(&at("out"))]);
}

#[test]
fn a_disk_that_has_outgrown_its_device() {
    let directory = tempfile::tempdir().unwrap();
    let device = Loop::sized(directory.path(), 4 * MIB);
    let raw = directory.path().join("disk.raw");
    full_disk(&raw, 4 * MIB, 63);
    let write = ["write", "disk.raw", text(&device.path), "--manifest", "m"];
    replant(directory.path(), write).success();
    full_disk(&raw, 5 * MIB, 64);
    let said = refused(directory.path(), &write).replace(text(&device.path), "DEVICE");
    insta::assert_snapshot!("an_outgrown_device", said);
}
