//! Disks that come as a stream, as a user sends them: the target must be what it is when the same
//! image is written from a file, whatever breaks off, stalls or is sent twice.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use replant::copy::Manifest;

use super::support::{Loop, MIB, Numbers, convert, disk, flip, full_disk, garbage, run, same, text};
use crate::support::command::{Output, command, replant};

/// Runs `replant write - …` with a file's content sent through a pipe.
fn sent(directory: &Path, file: &str, arguments: &[&str]) -> Output {
    sent_bytes(directory, fs::read(directory.join(file)).unwrap(), arguments)
}

fn sent_bytes(directory: &Path, bytes: Vec<u8>, arguments: &[&str]) -> Output {
    let mut child = started(directory, arguments);
    let mut stdin = child.stdin.take().unwrap();
    // It may refuse before it has read all.
    let sender = std::thread::spawn(move || stdin.write_all(&bytes).is_ok());
    let output = child.wait_with_output().unwrap();
    sender.join().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn started(directory: &Path, arguments: &[&str]) -> Child {
    command(directory, [&["write", "-"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ended(mut child: Child, stdin: ChildStdin) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn content(output: &Output) -> &str {
    output.stdout.lines().find(|line| line.contains("content")).unwrap()
}

#[test]
fn a_stream_is_written_as_its_file_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let raw = path.join("disk.raw");
    disk(&raw, 21 * MIB + 1536, 41);
    convert(&raw, &path.join("disk.vmdk"), "vmdk", "subformat=streamOptimized");
    let size = (21 * MIB + 1536).to_string();
    let file = replant(path, ["write", "disk.vmdk", "from-file", "--manifest", "m0"]).success();
    run("zstd", &["-q", text(&path.join("disk.vmdk"))]);
    run("gzip", &["-k", text(&raw)]);
    let sends: [(&str, &[&str]); 4] = [
        ("disk.vmdk", &[]),
        ("disk.vmdk.zst", &[]),
        ("disk.raw", &["--format", "raw"]),
        ("disk.raw", &["--format", "raw", "--size", &size, "--threads", "1"]),
    ];
    for (number, (image, options)) in sends.into_iter().enumerate() {
        let (out, manifest) = (format!("out{number}"), format!("m{}", number + 1));
        let arguments = [&[&out, "--verify", "--manifest", &manifest], options].concat();
        let output = sent(path, image, &arguments).success();
        assert_eq!(content(&output), content(&file), "{image} {options:?}");
        assert!(output.stdout.contains("as a stream"), "{}", output.both());
        run("cmp", &[text(&raw), text(&path.join(out))]);
        let manifest = Manifest::open(&path.join(manifest)).unwrap();
        assert_eq!(manifest.header().disk_size, 21 * MIB + 1536);
        assert!(manifest.finished().is_some());
    }
    // Files that are compressed as a whole, without a word.
    for image in ["disk.raw.gz", "disk.vmdk.zst"] {
        let output = replant(path, ["write", image, "packed", "--force", "--verify"]).success();
        assert_eq!(content(&output), content(&file), "{image}");
        run("cmp", &[text(&raw), text(&path.join("packed"))]);
    }
    // Everywhere else they are refused, with the command that unpacks them.
    let output = replant(path, ["inspect", "disk.raw.gz"]).code(1);
    assert!(output.stderr.contains("gunzip --keep"), "{}", output.both());
}

#[test]
fn a_device_with_stale_bytes_and_one_that_is_too_small() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let raw = path.join("disk.raw");
    disk(&raw, 9 * MIB + 512, 42);
    convert(&raw, &path.join("disk.vmdk"), "vmdk", "subformat=streamOptimized");
    let device = Loop::sized(path, 12 * MIB);
    let options: [(&str, &[&str]); 2] = [("disk.raw", &["--format", "raw"]), ("disk.vmdk", &[])];
    for (image, options) in options {
        garbage(&device.path, 12 * MIB);
        let arguments = [&[text(&device.path), "--verify"], options].concat();
        sent(path, image, &arguments).success();
        same(&raw, &device.path, 9 * MIB + 512);
    }
    drop(device);
    let small = Loop::sized(path, 4 * MIB);
    // Of a known size it is refused before anything is written, else as soon as it is known.
    for (image, options, code) in [
        ("disk.vmdk", &[][..], "copy::target_too_small"),
        ("disk.raw", &["--format", "raw", "--size", "9M"], "copy::target_too_small"),
        ("disk.raw", &["--format", "raw", "--manifest", "m"], "copy::stream_too_long"),
    ] {
        let output = sent(path, image, &[&[text(&small.path)], options].concat()).code(1);
        assert!(output.stderr.contains(code), "{}", output.both());
    }
    let beginning = Manifest::open(&path.join("m")).unwrap();
    assert!(beginning.done_bytes() <= 4 * MIB && beginning.finished().is_none());
}

#[test]
fn a_sender_that_breaks_off_leaves_no_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let raw = path.join("disk.raw");
    full_disk(&raw, 6 * MIB, 43);
    convert(&raw, &path.join("disk.vmdk"), "vmdk", "subformat=streamOptimized");
    let half = |name: &str| {
        let bytes = fs::read(path.join(name)).unwrap();
        bytes[..bytes.len() / 2].to_vec()
    };
    for (bytes, options) in [
        (half("disk.vmdk"), &[][..]),
        (half("disk.raw"), &["--format", "raw", "--size", "6M"]),
        (Vec::new(), &["--format", "raw"]),
    ] {
        let output = sent_bytes(path, bytes, &[&["out"], options].concat()).code(1);
        assert!(output.stderr.contains("image::stream_cut_short"), "{}", output.both());
        assert!(!path.join("out").exists());
    }
    // What is not said cannot be missed.
    let output = sent_bytes(path, half("disk.raw"), &["out", "--format", "raw"]).success();
    assert!(output.stdout.contains("3 MiB"), "{}", output.both());
}

#[test]
fn killed_many_times_and_sent_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let raw = path.join("disk.raw");
    disk(&raw, 40 * MIB + 1536, 44);
    convert(&raw, &path.join("disk.vmdk"), "vmdk", "subformat=streamOptimized");
    for (image, options) in [("disk.vmdk", &[][..]), ("disk.raw", &["--format", "raw"])] {
        let (mut numbers, mut killed) = (Numbers(7), 0);
        let _ = fs::remove_file(path.join("out"));
        let _ = fs::remove_file(path.join("m"));
        loop {
            let mut arguments =
                vec!["write", "-", "out", "--manifest", "m", "--resume", "--checkpoint", "0.03"];
            arguments.extend(["--bandwidth-limit", "20M"]);
            arguments.extend(options);
            let mut child = command(path, arguments)
                .stdin(File::open(path.join(image)).unwrap())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(60 + numbers.below(200 + 60 * killed)));
            let ended = child.try_wait().unwrap();
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            if let Some(status) = ended {
                assert!(status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                break;
            }
            killed += 1;
            assert!(killed < 200, "it never ended");
        }
        assert!(killed >= 2, "{image} was killed only {killed} times");
        run("cmp", &[text(&raw), text(&path.join("out"))]);
        let output =
            sent(path, image, &[&["out", "--manifest", "m", "--resume"], options].concat()).success();
        assert!(output.stdout.contains("were safe on the target already"), "{}", output.both());
        // A target that is finished is compared with all that comes.
        assert!(output.stdout.contains("written   0 B"), "{}", output.both());
    }
}

#[test]
fn another_stream_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    full_disk(&path.join("disk.raw"), 12 * MIB, 45);
    let options = ["out", "--format", "raw", "--manifest", "m", "--resume"];
    let cut = fs::read(path.join("disk.raw")).unwrap()[..7 * MIB as usize + 99].to_vec();
    sent_bytes(path, cut.clone(), &options).success();
    // Longer, shorter, another one behind its beginning, another one from the beginning.
    fs::copy(path.join("disk.raw"), path.join("late.raw")).unwrap();
    flip(&path.join("late.raw"), 5 * MIB + 9);
    fs::copy(path.join("disk.raw"), path.join("early.raw")).unwrap();
    flip(&path.join("early.raw"), 9);
    let late = fs::read(path.join("late.raw")).unwrap()[..cut.len()].to_vec();
    let early = fs::read(path.join("early.raw")).unwrap()[..cut.len()].to_vec();
    for (name, bytes, code) in [
        ("longer", fs::read(path.join("disk.raw")).unwrap(), "copy::other_stream"),
        ("a little longer", [&cut[..], b"x"].concat(), "copy::other_stream"),
        ("shorter", cut[..6 * MIB as usize].to_vec(), "copy::other_stream"),
        ("a little shorter", cut[..cut.len() - 1].to_vec(), "copy::other_stream"),
        ("late", late, "copy::other_stream"),
        ("early", early, "copy::manifest_other_image"),
    ] {
        let output = sent_bytes(path, bytes, &options).code(1);
        assert!(output.stderr.contains(code), "{name}: {}", output.both());
        assert_eq!(fs::metadata(path.join("out")).unwrap().len(), cut.len() as u64, "{name}");
    }
    sent_bytes(path, cut, &options).success();
}

#[test]
fn a_stall_and_an_interrupt_end_the_wait() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let noise = Numbers(3).noise(3 * MIB as usize);
    let options = ["out", "--format", "raw", "--manifest", "m", "--stall-timeout", "1"];
    let mut child = started(path, &options);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise).unwrap();
    let output = ended(child, stdin);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("image::stream_stalled") && output.stderr.contains("1 seconds"),
        "{}",
        output.both()
    );
    // What came whole is safe.
    assert_eq!(Manifest::open(&path.join("m")).unwrap().done_bytes(), 3 * MIB);

    let mut child = started(path, &["other", "--format", "raw", "--manifest", "m2", "--stall-timeout", "0"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    run("kill", &["-INT", &child.id().to_string()]);
    let output = ended(child, stdin);
    assert_eq!(output.code, 130, "{}", output.both());
    assert!(output.stderr.contains("copy::cancelled"), "{}", output.both());
    assert_eq!(Manifest::open(&path.join("m2")).unwrap().done_bytes(), 3 * MIB);
}

#[test]
fn the_first_error_teaches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    full_disk(&path.join("disk.raw"), 2 * MIB, 46);
    let output = sent(path, "disk.raw", &["out"]).code(1);
    assert!(output.stderr.contains("replant write - TARGET --format raw --size BYTES"), "{}", output.both());
    // Where a person sits, nothing is sent.
    let program = env!("CARGO_BIN_EXE_replant");
    let shown =
        run("script", &["-qc", &format!("cd {} && {program} write - out; true", text(path)), "/dev/null"]);
    assert!(shown.contains("image::stream_terminal") && shown.contains("restic dump"), "{shown}");
    // A file that is sent to itself.
    let output = command(path, ["write", "-", "disk.raw", "--force", "--format", "raw"])
        .stdin(File::open(path.join("disk.raw")).unwrap())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("copy::target_is_image"), "{stderr}");
    assert_eq!(fs::metadata(path.join("disk.raw")).unwrap().len(), 2 * MIB);
    assert!(!path.join("out").exists());
}

#[test]
fn events_say_what_has_come() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    full_disk(&path.join("disk.raw"), 2 * MIB, 47);
    for (options, total) in
        [(&["--size", "2M"][..], serde_json::Value::from(2 * MIB)), (&[], serde_json::Value::Null)]
    {
        let arguments = [&["out", "--force", "--format", "raw", "--json"], options].concat();
        let output = sent(path, "disk.raw", &arguments).success();
        let lines: Vec<serde_json::Value> =
            output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let event = |name: &str| lines.iter().rfind(|line| line["said"]["value"]["event"] == name).unwrap();
        assert_eq!(event("streaming")["said"]["value"]["total"], total);
        assert_eq!(event("received")["said"]["value"]["bytes"], 2 * MIB);
        assert_eq!(lines.last().unwrap()["said"]["value"]["size"], 2 * MIB);
    }
}
