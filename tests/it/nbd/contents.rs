//! What is read of an export is what other clients read of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use replant::image::{BlockSource, Format, OpenOptions, open};

use super::server::{Server, opened, workshop};
use crate::copy::support::{MIB, convert, run, same, text};
use crate::support::Workspace;
use crate::support::command::replant;

/// Writes an export with `replant write` and gives what it printed.
#[track_caller]
fn written(directory: &Path, server: &Server, export: &str, out: &str) -> String {
    let location = server.export(export).to_string();
    replant(directory, ["write", &location, out, "--verify"]).success().stdout
}

#[test]
fn a_qcow2_behind_qemu_nbd_by_its_exports_name() {
    let (directory, raw) = workshop(40 * MIB, 1);
    let qcow2 = directory.path().join("disk.qcow2");
    convert(&raw, &qcow2, "qcow2", "");
    let socket = directory.path().join("socket");
    let arguments = ["--shared=8", "--export-name=web disk", "--format=qcow2", text(&qcow2)];
    let server = Server::qemu(&socket, &arguments);
    let said = written(directory.path(), &server, "web disk", "out");
    assert!(said.contains("web%20disk?socket=") && said.contains("(raw, 40 MiB)"), "{said}");
    same(&directory.path().join("out"), &raw, 40 * MIB);

    // What the server knows to be zero is not read, and nothing else is left out.
    let image = opened(server.export("web disk")).unwrap();
    let data = image.data_bytes().unwrap();
    let map = run("nbdinfo", &["--map", "--totals", &server.export("web disk").to_string()]);
    let allocated: u64 = map
        .lines()
        .filter(|line| !line.contains("zero"))
        .map(|line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(data, allocated, "{map}");
    assert!(data < 30 * MIB, "{data}");
}

#[test]
fn over_tcp_with_a_size_of_odd_sectors() {
    let (directory, raw) = workshop(7 * MIB + 512, 2);
    let server = Server::tcp(|port| {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--read-only", "--bind=127.0.0.1", "--format=raw"]);
        command.arg(format!("--port={port}")).arg(&raw);
        command
    });
    written(directory.path(), &server, "", "out");
    same(&directory.path().join("out"), &raw, 7 * MIB + 512);
}

#[test]
fn what_nbdcopy_reads() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let server = Server::nbdkit(&socket, &["sparse-random", "size=700M", "seed=7", "percent=5"]);
    written(directory.path(), &server, "", "out");
    let other = directory.path().join("other");
    run("nbdcopy", &[&server.location.to_string(), text(&other)]);
    same(&directory.path().join("out"), &other, 700 * MIB);
}

#[test]
fn servers_of_all_ages_and_limits() {
    const SIZE: u64 = 3 * MIB + 17;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let size = format!("size={SIZE}");
    let plain = Server::nbdkit(&at("plain"), &["pattern", &size]);
    run("nbdcopy", &[&plain.location.to_string(), text(&at("expected"))]);
    let cases: [(&str, &[&str]); 7] = [
        ("oldstyle", &["--oldstyle", "pattern"]),
        ("newstyle", &["--mask-handshake=0", "pattern"]),
        ("simple", &["--no-sr", "pattern"]),
        ("unknowing", &["--filter=noextents", "pattern"]),
        ("alone", &["--filter=multi-conn", "pattern", "multi-conn-mode=disable"]),
        ("serial", &["--filter=noparallel", "pattern"]),
        ("slow", &["--filter=delay", "pattern", "rdelay=20ms"]),
    ];
    for (name, arguments) in cases {
        let server = Server::nbdkit(&at(name), &[arguments, &[&size]].concat());
        written(directory.path(), &server, "", "out");
        same(&at("out"), &at("expected"), SIZE);
        fs::remove_file(at("out")).unwrap();
    }
}

#[test]
fn blocks_as_large_as_the_server_demands() {
    let directory = tempfile::tempdir().unwrap();
    let policy = [
        "--filter=blocksize-policy",
        "pattern",
        "3M",
        "blocksize-minimum=4096",
        "blocksize-preferred=8192",
        "blocksize-maximum=64K",
        "blocksize-error-policy=error",
    ];
    let server = Server::nbdkit(&directory.path().join("socket"), &policy);
    let image = opened(server.location.clone()).unwrap();
    // The pattern is each eighth byte's offset, big-endian.
    let expected: Vec<u8> = (0..3 * MIB / 8).flat_map(|word| (word * 8u64).to_be_bytes()).collect();
    for (offset, length) in
        [(0, 3 * MIB as usize), (1, 1), (4095, 70_000), (65_537, 1 << 20), (3 * MIB - 5, 5)]
    {
        let mut bytes = vec![0; length];
        image.read_at(offset, &mut bytes).unwrap();
        assert!(bytes == expected[offset as usize..][..length], "{offset} {length}");
    }
}

#[test]
fn an_image_file_that_is_served_as_it_is_needs_its_format_said() {
    let (directory, raw) = workshop(5 * MIB, 3);
    let qcow2 = directory.path().join("disk.qcow2");
    convert(&raw, &qcow2, "qcow2", "");
    let server = Server::nbdkit(&directory.path().join("socket"), &["file", text(&qcow2)]);
    // What a guest wrote on its disk is never taken for a format.
    let as_is = opened(server.location.clone()).unwrap();
    assert_eq!((as_is.format(), as_is.size()), (Format::Raw, fs::metadata(&qcow2).unwrap().len()));
    let image = open(server.location.clone(), &OpenOptions::default().format(Format::Qcow2)).unwrap();
    let mut bytes = vec![0; 5 * MIB as usize];
    image.read_at(0, &mut bytes).unwrap();
    assert!(bytes == fs::read(&raw).unwrap());

    // Nor does it lead to files of this machine.
    let overlay = directory.path().join("overlay.qcow2");
    let arguments = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", text(&raw), text(&overlay)];
    run("qemu-img", &arguments);
    let server = Server::nbdkit(&directory.path().join("other"), &["file", text(&overlay)]);
    let error = open(server.location.clone(), &OpenOptions::default().format(Format::Qcow2)).unwrap_err();
    assert!(matches!(error.code(), "image::escape" | "image::unsupported"), "{error:?}");
}

#[test]
fn two_tebibytes_that_are_nearly_empty() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::nbdkit(&directory.path().join("socket"), &["memory", "2T"]);
    let image = opened(server.location.clone()).unwrap();
    assert_eq!((image.size(), image.data_bytes().unwrap()), (2 << 40, 0));
}

#[test]
fn a_machine_is_restored_from_an_export() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("web.raw");
    crate::copy::support::disk(&raw, 9 * MIB, 4);
    let server = Server::qemu(
        &directory.path().join("socket"),
        &["--shared=8", "--export-name=web", "--format=raw", text(&raw)],
    );
    let workspace = Workspace::new(&format!(
        "instance \"web\" {{\n  image = \"{}\"\n  instance_type = \"m6i.large\"\n  state = \"stopped\"\n  guest {{ drivers = \"none\" }}\n}}\n",
        server.export("web")
    ));
    workspace.run(&["plan", "--detailed-exitcode"]).code(2);
    workspace.apply().success();
    workspace.assert_holds("instance.web.volume.root", &raw);
    workspace.run(&["plan", "--detailed-exitcode"]).code(0);
}
