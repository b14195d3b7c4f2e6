//! Servers that refuse, fail, die, stall or change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use replant::copy::Manifest;
use replant::image::{BlockSource, SourceError};
use rustix::process::Signal;

use super::server::{Server, opened, workshop};
use crate::copy::support::{MIB, full_disk, same, text};
use crate::support::command::{Output, command, replant};

/// How long a silent server may take to be given up: the book's "two minutes".
const GIVEN_UP: Duration = Duration::from_secs(120);

/// The code of the error with which a location is refused, and what it says.
fn refusal(location: &str) -> (String, String) {
    let error = opened(location.parse::<replant::model::Location>().unwrap()).unwrap_err();
    let told = error.diagnostic();
    (error.code().to_owned(), format!("{} {}", told.detail, told.help.join(" ")))
}

#[test]
fn refusals_teach() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (code, told) = refusal(&format!("nbd+unix:///?socket={}", at("none").display()));
    assert!(code == "image::nbd_connect" && told.contains("No such file"), "{code} {told}");
    let (code, told) = refusal("nbd://127.0.0.1:1/x");
    assert!(code == "image::nbd_connect" && told.contains("nbd://127.0.0.1:1/x"), "{code} {told}");

    fs::write(at("a.raw"), [1; 4096]).unwrap();
    let named = Server::qemu(&at("named"), &["--export-name=a", "--format=raw", text(&at("a.raw"))]);
    let (code, told) = refusal(&named.export("b").to_string());
    assert!(code == "image::nbd_no_export" && told.contains("it has: a"), "{code} {told}");

    fs::write(at("keys"), format!("alice:{:064}\n", 7)).unwrap();
    let keys = format!("--tls-psk={}", text(&at("keys")));
    let tls = Server::nbdkit(&at("tls"), &["--tls=require", &keys, "memory", "1M"]);
    let (code, told) = refusal(&tls.location.to_string());
    assert!(code == "image::nbd_tls" && told.contains("nbds://"), "{code} {told}");

    let failing = Server::nbdkit(&at("failing"), &["eval", "open=exit 1", "get_size=echo 1M"]);
    let (code, told) = refusal(&failing.location.to_string());
    assert!(code.starts_with("image::nbd_"), "{code} {told}");

    // Something else listens there.
    let _other = UnixListener::bind(at("other")).unwrap();
    let listener = _other.try_clone().unwrap();
    thread::spawn(move || {
        use std::io::Write;
        listener.accept().unwrap().0.write_all(b"220 mail ESMTP ready, how may I help you?\r\n").unwrap();
    });
    let (code, told) = refusal(&format!("nbd+unix:///?socket={}", at("other").display()));
    assert!(code == "image::nbd_protocol", "{code} {told}");
}

#[test]
fn a_read_error_is_told_with_its_place_and_a_resume_goes_on() {
    let (directory, raw) = workshop(12 * MIB, 6);
    let trigger = directory.path().join("bad");
    // Reads that touch the byte 6 MiB fail while there is the trigger.
    let read = format!(
        "if [ -e {} ] && [ $4 -le 6291456 ] && [ $(($4 + $3)) -gt 6291456 ]; then echo EIO medium >&2; exit 1; fi; dd if={} bs=64k iflag=skip_bytes,count_bytes skip=$4 count=$3 2>/dev/null",
        trigger.display(),
        raw.display()
    );
    let size = format!("get_size=stat -c %s {}", raw.display());
    let server = Server::nbdkit(
        &directory.path().join("socket"),
        &["eval", &size, &format!("pread={read}"), "thread_model=echo parallel"],
    );
    fs::write(&trigger, "").unwrap();
    let location = server.location.to_string();
    let write = |more: &[&str]| {
        let arguments = [&["write", &location, "out", "--manifest", "m", "--checkpoint", "0"][..], more];
        replant(directory.path(), arguments.concat())
    };
    let failed = write(&[]).code(1);
    assert!(failed.stderr.contains("EIO") && failed.stderr.contains("6291456"), "{}", failed.both());
    assert!(failed.stderr.contains("nbd+unix:///"), "{}", failed.both());
    fs::remove_file(&trigger).unwrap();
    write(&["--resume"]).success();
    same(&directory.path().join("out"), &raw, 12 * MIB);
}

fn serve(socket: &Path, raw: &Path) -> Server {
    Server::nbdkit(socket, &["file", text(raw)])
}

/// Begins to write slowly in the background, and comes back when some of it is safe.
fn begin(directory: &Path, location: &str) -> Child {
    let pace = ["--checkpoint", "0.1", "--bandwidth-limit", "3M"];
    let arguments = [&["write", location, "out", "--manifest", "m", "--resume"][..], &pace].concat();
    let child = command(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let written = || fs::metadata(directory.join("out")).map_or(0, |out| out.blocks() * 512);
    while written() < 3 * MIB {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is written");
        thread::sleep(Duration::from_millis(20));
    }
    // Time for a checkpoint: the manifest itself is locked while it is written to.
    thread::sleep(Duration::from_millis(500));
    child
}

fn end(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn served_disk() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (raw, socket) = (directory.path().join("disk.raw"), directory.path().join("socket"));
    full_disk(&raw, 24 * MIB, 8);
    (directory, raw, socket)
}

#[test]
fn a_server_that_comes_back_in_time_is_not_noticed() {
    let (directory, raw, socket) = served_disk();
    let mut server = serve(&socket, &raw);
    let write = begin(directory.path(), &server.location.to_string());
    server.kill();
    let _server = serve(&socket, &raw);
    let done = end(write).success();
    assert!(done.stdout.contains("Wrote"), "{}", done.both());
    same(&directory.path().join("out"), &raw, 24 * MIB);
}

#[test]
fn a_server_that_died_is_given_up_in_time_and_a_resume_works() {
    let (directory, raw, socket) = served_disk();
    let mut server = serve(&socket, &raw);
    let location = server.location.to_string();
    let write = begin(directory.path(), &location);
    server.kill();
    let begun = Instant::now();
    let failed = end(write).code(1);
    assert!(begun.elapsed() < GIVEN_UP, "{:?}", begun.elapsed());
    assert!(failed.stderr.contains("at byte") && failed.stderr.contains("--resume"), "{}", failed.both());
    let safe = Manifest::open(&directory.path().join("m")).unwrap().done_bytes();
    assert!((MIB..24 * MIB).contains(&safe), "{safe}");

    let _server = serve(&socket, &raw);
    let arguments = ["write", &location, "out", "--manifest", "m", "--resume"];
    let resumed = replant(directory.path(), arguments).success();
    assert!(resumed.stdout.contains("were safe on the target already"), "{}", resumed.both());
    same(&directory.path().join("out"), &raw, 24 * MIB);
}

#[test]
fn a_server_that_stalls_is_given_up_in_time() {
    let (directory, raw, socket) = served_disk();
    let server = serve(&socket, &raw);
    let write = begin(directory.path(), &server.location.to_string());
    server.signal(Signal::STOP);
    let begun = Instant::now();
    let failed = end(write).code(1);
    server.signal(Signal::CONT);
    assert!(begun.elapsed() < GIVEN_UP, "{:?}", begun.elapsed());
    let told = failed.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("sent nothing for 30 seconds"), "{}", failed.both());
}

#[test]
fn a_disk_that_changed_its_size_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let mut server = Server::nbdkit(&socket, &["pattern", "1M"]);
    let image = opened(server.location.clone()).unwrap();
    let identity = image.identity().clone();
    image.still_is(&identity).unwrap();
    server.kill();
    let mut server = Server::nbdkit(&socket, &["pattern", "2M"]);
    let error = image.read_at(0, &mut [0; 512]).unwrap_err();
    assert!(matches!(&error, SourceError::Changed { what, .. } if what.contains("1048576")), "{error:?}");

    // Other content where the samples are is noticed too.
    server.kill();
    let mut server = Server::nbdkit(&socket, &["memory", "1M"]);
    assert_eq!(image.reopen_check().unwrap_err().code(), "image::changed");
    let other = opened(server.location.clone()).unwrap();
    assert_eq!(other.still_is(&identity).unwrap_err().code(), "image::changed");
    server.kill();
}
