//! Dirty bitmaps of qemu-nbd say what was written.

use std::ops::Range;

use super::server::{Server, opened};
use crate::copy::support::{MIB, convert, full_disk, run, text};
use crate::support::command::replant;

/// The dirty ranges as nbdinfo reads them.
fn by_nbdinfo(location: &str, bitmap: &str) -> Vec<Range<u64>> {
    let map = run("nbdinfo", &[&format!("--map=qemu:dirty-bitmap:{bitmap}"), location]);
    map.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (start, length): (u64, u64) = (words[0].parse().unwrap(), words[1].parse().unwrap());
            (words[2] == "1").then_some(start..start + length)
        })
        .collect()
}

#[test]
fn what_was_written_since_it_was_begun() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    full_disk(&raw, 24 * MIB, 5);
    convert(&raw, &qcow2, "qcow2", "");
    let file = text(&qcow2);
    run("qemu-img", &["bitmap", "--add", file, "monday"]);
    run("qemu-img", &["bitmap", "--add", file, "tuesday"]);
    let writes = ["write -P 1 3M 4k", "write -P 2 9000k 900k", "write -z 23M 64k"];
    run("qemu-io", &[&["-f", "qcow2"][..], &writes.map(|write| ["-c", write]).concat(), &[file]].concat());

    let arguments = ["--shared=8", "--format=qcow2", "--bitmap=monday", file];
    let server = Server::qemu(&directory.path().join("socket"), &arguments);
    let image = opened(server.location.clone()).unwrap();
    let dirty = image.dirty("monday").unwrap();
    assert_eq!(dirty, by_nbdinfo(&server.location.to_string(), "monday"));
    let covers = |place: u64| dirty.iter().any(|range| range.contains(&place));
    assert!(covers(3 * MIB) && covers(9000 << 10) && covers((9900 << 10) - 1) && covers(23 * MIB));
    assert!(!covers(0) && !covers(8 * MIB) && !covers(20 * MIB), "{dirty:?}");

    let error = image.dirty("tuesday").unwrap_err();
    assert_eq!(error.code(), "image::nbd_no_bitmap");
    assert!(error.diagnostic().detail.contains("it has: monday"), "{:?}", error.diagnostic());
    let other = opened(raw).unwrap().dirty("monday").unwrap_err();
    assert_eq!(other.code(), "image::unsupported");
}

#[test]
fn an_update_reads_only_what_is_marked() {
    let directory = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (directory.path().join("disk.raw"), directory.path().join("disk.qcow2"));
    full_disk(&raw, 40 * MIB, 6);
    convert(&raw, &qcow2, "qcow2", "");
    let file = text(&qcow2);
    run("qemu-img", &["bitmap", "--add", file, "since"]);
    let socket = directory.path().join("socket");
    let arguments = ["--shared=8", "--format=qcow2", "--bitmap=since", file];
    let server = Server::qemu(&socket, &arguments);
    let location = server.location.to_string();
    let write = |more: &[&str]| {
        replant(directory.path(), [&["write", &location, "out", "--manifest", "m"][..], more].concat())
    };
    write(&[]).success();
    drop(server);

    run("qemu-io", &["-f", "qcow2", "-c", "write -P 7 5M 100k", "-c", "write -P 8 30M 3M", file]);
    let _server = Server::qemu(&socket, &arguments);
    let done = write(&["--dirty-bitmap", "since", "--verify"]).success();
    assert!(done.stdout.contains("the dirty bitmap since"), "{}", done.both());
    let receipt = write(&["--dirty-bitmap", "since", "--json"]).success();
    let last: serde_json::Value = serde_json::from_str(receipt.stdout.lines().last().unwrap()).unwrap();
    let read = last["said"]["value"]["read_bytes"].as_u64().unwrap();
    assert!((4 * MIB..10 * MIB).contains(&read), "{}", receipt.both());
    run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", file, text(&directory.path().join("out"))]);

    let wrong = write(&["--dirty-bitmap", "other"]).code(1);
    assert!(wrong.stderr.contains("image::nbd_no_bitmap"), "{}", wrong.both());
}
