//! Files on a web server.

use std::fs;
use std::path::Path;

use replant::image::{BlockSource, ImageError, OpenOptions, SourceError, open};
use replant::model::Location;

use super::servers::Web;
use super::{content, opened};
use crate::copy::support::{MIB, disk, full_disk, run, text};
use crate::support::{Output, command, replant};

fn refused(place: &str) -> ImageError {
    open(place.parse::<Location>().unwrap(), &OpenOptions::default()).unwrap_err()
}

fn convert(from: &Path, to: &Path, arguments: &[&str]) {
    run("qemu-img", &[&["convert"], arguments, &[text(from), text(to)]].concat());
}

#[test]
fn every_kind_of_image_is_read_as_from_a_file() {
    let web = Web::new();
    let at = |name: &str| web.files().join(name);
    disk(&at("disk.raw"), 20 * MIB + 512, 7);
    let raw = fs::read(at("disk.raw")).unwrap();
    convert(&at("disk.raw"), &at("stream.vmdk"), &["-O", "vmdk", "-o", "subformat=streamOptimized"]);
    convert(&at("disk.raw"), &at("disk.qcow2"), &["-O", "qcow2", "-c"]);
    convert(&at("disk.raw"), &at("disk.vhdx"), &["-O", "vhdx"]);
    fs::create_dir(at("my dir")).unwrap();
    convert(
        &at("disk.raw"),
        &at("my dir/split disk.vmdk"),
        &["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
    );
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "disk.qcow2", text(&at("top.qcow2"))],
    );
    for name in
        ["disk.raw", "stream.vmdk", "disk.qcow2", "disk.vhdx", "my%20dir/split%20disk.vmdk", "top.qcow2"]
    {
        let image = opened(&web.url(name));
        let bytes = content(&image);
        assert!(bytes[..raw.len()] == raw, "{name}");
        assert!(bytes[raw.len()..].iter().all(|byte| *byte == 0), "{name}");
        assert!(
            image.identity().files.iter().all(|file| file.version.as_ref().unwrap().starts_with("etag \""))
        );
        assert!(image.identity().files[0].modified_seconds > 1_700_000_000);
        assert_eq!(image.files().count(), 0);
        image.reopen_check().unwrap();
        assert_eq!(opened(&web.url(&format!("moved/{name}"))).size(), image.size());
    }
    // Metadata is read in few requests, however small its pieces are.
    let before = web.requests().len();
    opened(&web.url("disk.qcow2")).data_bytes().unwrap();
    assert!(web.requests().len() - before <= 8, "{:#?}", &web.requests()[before..]);
}

#[test]
fn an_image_names_no_file_outside_its_place() {
    let web = Web::new();
    full_disk(&web.files().join("secret.raw"), MIB, 1);
    fs::create_dir(web.files().join("images")).unwrap();
    let top = web.files().join("images/top.qcow2");
    for name in ["../secret.raw", "/secret.raw", "a/../../secret.raw"] {
        run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", name, text(&top), "1M"]);
        let error = refused(&web.url("images/top.qcow2"));
        assert!(matches!(error, ImageError::Escape { .. }), "{name}: {error}");
    }
    // What reads like a way out to a server is a plain name.
    run(
        "qemu-img",
        &["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "..%2fsecret.raw", text(&top), "1M"],
    );
    let error = refused(&web.url("images/top.qcow2"));
    assert!(matches!(error, ImageError::Part { .. }), "{error}");
    assert!(!web.requests().iter().any(|line| line.contains("secret") && line.contains("206")));
    run(
        "qemu-img",
        &["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "top.qcow2", text(&top), "1M"],
    );
    let error = refused(&web.url("images/top.qcow2"));
    assert!(matches!(error, ImageError::Cycle { .. }), "{error}");
}

#[test]
fn what_cannot_be_read_is_explained() {
    let web = Web::new();
    full_disk(&web.files().join("disk.raw"), MIB, 1);
    fs::write(web.files().join("empty.raw"), "").unwrap();
    for (place, code, help) in [
        (web.url("none.raw"), "image::not_found", "Check bucket"),
        (web.url("denied/disk.raw"), "image::denied", "credentials"),
        (web.url("whole/disk.raw"), "image::no_ranges", "curl --fail"),
        ("http://127.0.0.1:1/disk.raw".to_owned(), "image::unreachable", "try again"),
    ] {
        let diagnostic = refused(&place).diagnostic();
        assert_eq!(diagnostic.code.to_string(), code, "{diagnostic:?}");
        assert!(diagnostic.detail.contains(&place) || code == "image::no_ranges", "{diagnostic:?}");
        assert!(diagnostic.help.iter().any(|line| line.contains(help)), "{diagnostic:?}");
    }
    assert_eq!(opened(&web.url("empty.raw")).size(), 0);
}

#[test]
fn a_file_that_changes_is_noticed() {
    let web = Web::new();
    let path = web.files().join("disk.raw");
    full_disk(&path, 40 * MIB, 1);
    let image = opened(&web.url("disk.raw"));
    let mut byte = [0];
    image.read_at(0, &mut byte).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    full_disk(&path, 40 * MIB, 2);
    let error = image.read_at(30 * MIB, &mut byte).unwrap_err();
    assert!(matches!(&error, SourceError::Changed { offset, .. } if *offset == 30 * MIB), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(ImageError::from(error).code(), "image::changed");
    assert!(image.reopen_check().is_err());
    let other = opened(&web.url("disk.raw"));
    assert_ne!(other.identity().digest(), image.identity().digest());
    fs::remove_file(&path).unwrap();
    let error = other.read_at(20 * MIB, &mut byte).unwrap_err();
    assert!(matches!(error, SourceError::Gone { .. }), "{error}");
}

#[test]
fn credentials_in_urls_are_shown_nowhere() {
    let web = Web::new();
    full_disk(&web.files().join("disk.raw"), MIB, 1);
    let directory = tempfile::tempdir().unwrap();
    let url = |path: &str| format!("http://user:hunter2@127.0.0.1:{}/{path}?sig=hunter2", web.port);
    let done = replant(directory.path(), ["write", &url("disk.raw"), "out.raw", "--json"]).success();
    assert!(!done.both().contains("hunter2"), "{}", done.both());
    assert!(done.stdout.contains("disk.raw?…"), "{}", done.both());
    for bad in [url("none.raw"), url("denied/x"), url("whole/disk.raw"), url("a b"), url("dir/")] {
        let failed = replant(directory.path(), ["write", &bad, "other.raw"]);
        assert_ne!(failed.code, 0);
        assert!(!failed.both().contains("hunter2"), "{}", failed.both());
    }
    let mut dead =
        command::command(directory.path(), ["inspect", "http://user:hunter2@127.0.0.1:1/x?hunter2"]);
    dead.env("REPLANT_STALL_SECONDS", "1");
    let dead = Output::of(dead).code(1);
    assert!(
        dead.stderr.contains("image::unreachable") && !dead.both().contains("hunter2"),
        "{}",
        dead.both()
    );
}
