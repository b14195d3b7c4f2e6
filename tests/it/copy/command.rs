//! `replant write` as a user meets it.

use std::fs;
use std::os::unix::fs::FileExt;

use super::support::{MIB, disk, full_disk, run, text};
use crate::support::command::{command, replant};

#[test]
fn writes_verifies_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    disk(&directory.path().join("disk.raw"), 5 * MIB + 1, 1);
    let output =
        replant(directory.path(), ["write", "disk.raw", "out", "--verify", "--manifest", "m"]).success();
    for part in
        ["Wrote disk.raw (raw, 5 MiB) to out.", "content   blake3:", "read back and equal", "manifest  m"]
    {
        assert!(output.stdout.contains(part), "{}", output.both());
    }
    run("cmp", &[text(&directory.path().join("disk.raw")), text(&directory.path().join("out"))]);
    // Once more is refused without a word of permission, and goes on with one.
    let again = replant(directory.path(), ["write", "disk.raw", "out"]).code(1);
    assert!(
        again.stderr.contains("copy::target_holds_data") && again.stderr.contains("--force"),
        "{}",
        again.both()
    );
    let resumed =
        replant(directory.path(), ["write", "disk.raw", "out", "--manifest", "m", "--resume"]).success();
    assert!(resumed.stdout.contains("were safe on the target already"), "{}", resumed.both());
    replant(directory.path(), ["write", "disk.raw", "out", "--force"]).success();
}

#[test]
fn json_is_an_event_a_line_and_a_receipt() {
    let directory = tempfile::tempdir().unwrap();
    disk(&directory.path().join("disk.raw"), 5 * MIB + 1, 2);
    let output = replant(directory.path(), ["write", "disk.raw", "out", "--verify", "--json"]).success();
    let lines: Vec<serde_json::Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = |name: &str| lines.iter().find(|line| line["said"]["value"]["event"] == name).unwrap();
    assert_eq!(event("started")["said"]["value"]["total"], 5 * MIB + 1);
    assert_eq!(event("verifying")["said"]["kind"], "copy");
    let receipt = lines.last().unwrap();
    assert_eq!((&receipt["version"], &receipt["said"]["kind"]), (&1.into(), &"written".into()));
    let value = &receipt["said"]["value"];
    assert_eq!(value["size"], 5 * MIB + 1);
    assert_eq!(value["content"], event("finished")["said"]["value"]["content"]);
    assert!(value["verified_seconds"].is_number());
    assert_eq!(output.stderr, "");

    let refused = replant(directory.path(), ["write", "disk.raw", "disk.raw", "--json"]).code(1);
    let line: serde_json::Value = serde_json::from_str(refused.stdout.trim()).unwrap();
    assert_eq!(line["said"]["value"]["code"], "copy::target_is_image");
}

#[test]
fn a_failed_write_leaves_nothing_that_looks_whole() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    let image = directory.path().join("disk.vmdk");
    full_disk(&raw, 4 * MIB, 3);
    super::support::convert(&raw, &image, "vmdk", "subformat=streamOptimized");
    // The data of some grain, after the metadata that opening reads.
    let length = fs::metadata(&image).unwrap().len();
    let file = fs::File::options().write(true).open(&image).unwrap();
    file.write_all_at(&[0xee; 4096], length / 2 / 512 * 512).unwrap();
    let output = replant(directory.path(), ["write", "disk.vmdk", "out"]).code(1);
    assert!(output.stderr.contains("copy::image_damaged"), "{}", output.both());
    assert!(output.stderr.contains("replant check IMAGE"), "{}", output.both());
    assert!(output.stderr.contains("The unfinished file was removed."), "{}", output.both());
    assert!(!directory.path().join("out").exists());
    // With a manifest, what is there can be completed, so it stays.
    let output = replant(directory.path(), ["write", "disk.vmdk", "out", "--manifest", "m"]).code(1);
    assert!(output.stderr.contains("What is written is kept"), "{}", output.both());
    assert!(directory.path().join("out").exists());
}

/// What is said of what is left is what is left.
#[test]
fn an_interrupted_write_says_what_is_left_of_it() {
    let directory = tempfile::tempdir().unwrap();
    full_disk(&directory.path().join("disk.raw"), 16 * MIB, 4);
    for (manifest, says) in [(&[][..], "The unfinished file was removed."), (&["--manifest", "m"], "is kept")]
    {
        let arguments = ["write", "disk.raw", "out", "--bandwidth-limit", "1M"];
        let mut child = command(directory.path(), arguments.iter().chain(manifest))
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while !fs::metadata(directory.path().join("out")).is_ok_and(|out| out.len() > 0) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(child.try_wait().unwrap().is_none());
        }
        std::thread::sleep(std::time::Duration::from_millis(500));
        run("kill", &["-INT", &child.id().to_string()]);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains(says) && said.contains("--resume") && !said.contains("safe"), "{said}");
        assert_eq!(directory.path().join("out").exists(), !manifest.is_empty());
    }
}

#[test]
fn a_two_tebibyte_disk_takes_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    let file = fs::File::create(&raw).unwrap();
    file.set_len(2 << 40).unwrap();
    let noise = super::support::Numbers(9).noise(MIB as usize);
    for place in 0..24u64 {
        file.write_all_at(&noise, place * (80 << 30) + place * 777).unwrap();
    }
    let mut child =
        command(directory.path(), ["write", "disk.raw", "out", "--threads", "32", "--manifest", "m"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
    assert!(peak > 0 && peak < 256 << 10, "{peak} KiB");
    let manifest = replant::copy::Manifest::open(&directory.path().join("m")).unwrap();
    assert!(manifest.finished().unwrap().data >= 24 * MIB);
    assert!(super::support::allocated(&directory.path().join("out")) < 64 * MIB);
}

#[test]
fn an_interrupt_stops_in_order() {
    let directory = tempfile::tempdir().unwrap();
    full_disk(&directory.path().join("disk.raw"), 64 * MIB, 4);
    let child = command(
        directory.path(),
        ["write", "disk.raw", "out", "--manifest", "m", "--bandwidth-limit", "20M"],
    )
    .stdout(std::process::Stdio::piped())
    .stderr(std::process::Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(900));
    run("kill", &["-INT", &child.id().to_string()]);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("copy::cancelled"), "{stderr}");
    let done = replant::copy::Manifest::open(&directory.path().join("m")).unwrap().done_bytes();
    assert!(done >= 4 * MIB, "{done}");
}
