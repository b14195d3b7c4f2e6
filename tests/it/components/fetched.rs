//! Downloads.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use replant::guest::windows::components::{Kind, RELEASES, Signing, prove};
use serde_json::Value;
use tempfile::TempDir;

use super::published::{file, published, put, storage, zip};
use crate::guest::windows::kit::msi;
use crate::guest::windows::trees::{guest, make};
use crate::remote::proxy::{Proxy, Weather};
use crate::support::Output;
use crate::support::command::command;

const ALL_2012: [&str; 3] =
    ["EC2Config/EC2Install.zip", "ENA/x64/2.6.0/AwsEnaNetworkDriver.zip", "NVMe/1.5.1/AWSNVMe.zip"];

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn fetch(directory: &Path, mirror: &str, arguments: &[&str]) -> Output {
    let arguments = ["components", "fetch", "--to", "drivers"].iter().chain(arguments);
    let mut command = command(directory, arguments);
    command.env("REPLANT_COMPONENTS_URL", mirror).env("REPLANT_STALL_SECONDS", "1");
    Output::of(command)
}

/// All files below a directory, hidden ones too.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(directory)];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                assert_ne!(entry.file_name(), ".replant-fetch", "nothing half done stays");
                open.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(directory).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_folder_is_filled_once_and_then_kept() {
    let (web, directory) = (published(), directory());
    let drivers = directory.path().join("drivers");
    let dry = fetch(directory.path(), &web.url(""), &["--windows", "2012", "--dry-run"]).success();
    assert!(
        dry.stdout.contains("https://s3.amazonaws.com/ec2-windows-drivers-downloads/NVMe/1.5.1/AWSNVMe.zip")
    );
    assert!(dry.stdout.contains("does not boot without it"), "{}", dry.both());
    assert!(!drivers.exists() && web.requests().is_empty());

    let first = fetch(directory.path(), &web.url(""), &["--windows", "2012"]).success();
    assert_eq!(files(&drivers), ALL_2012, "{}", first.both());
    for said in
        ["version 1.5.1.0", "signed by Amazon Web Services, Inc.", "Components: 3 fetched.", "2.6.0.0"]
    {
        assert!(first.stdout.contains(said), "{said}: {}", first.both());
    }
    for name in ["NVMe/1.5.1/AWSNVMe.zip", "ENA/x64/2.6.0/AwsEnaNetworkDriver.zip"] {
        let published = web.files().join("ec2-windows-drivers-downloads").join(name);
        assert_eq!(fs::read(published).unwrap(), fs::read(drivers.join(name)).unwrap());
    }
    let requests = web.requests().len();
    let second = fetch(directory.path(), &web.url(""), &["--windows", "2012"]).success();
    assert!(second.stdout.contains("Components: 3 kept."), "{}", second.both());
    assert_eq!(web.requests().len(), requests, "nothing is downloaded again");
    let upgraded = fetch(directory.path(), &web.url(""), &["--windows", "2012", "--upgrade"]).success();
    assert!(upgraded.stdout.contains("Components: 3 fetched."), "{}", upgraded.both());

    // Another Windows beside it, with other versions of the same files.
    let more = fetch(directory.path(), &web.url(""), &["--windows", "2022", "--windows", "2012", "--json"])
        .success();
    let more: Value = serde_json::from_str(&more.stdout).unwrap();
    let status = |status: &str| {
        let components = more["components"].as_array().unwrap().iter();
        components.filter(|component| component["status"] == status).count()
    };
    // What was fetched for 2012 runs on 2022 as well, but there is newer.
    assert_eq!((status("kept"), status("fetched")), (3, 4), "{more:#}");
    let launch =
        more["components"].as_array().unwrap().iter().find(|one| one["name"] == "EC2Launch v2").unwrap();
    assert_eq!(launch["signer"], "Amazon Web Services, Inc.");
    assert_eq!(launch["guests"], serde_json::json!(["Windows Server 2022"]));
    assert!(drivers.join("NVMe/Latest/AWSNVMe.zip").exists());
    let xen = ["--windows", "2016", "--hypervisor", "xen", "--dry-run"];
    assert!(
        fetch(directory.path(), &web.url(""), &xen).success().stdout.contains("AWSPV/Latest/AWSPVDriver.zip")
    );
}

#[test]
fn bad_weather_is_lived_through() {
    let web = published();
    let large = web.files().join("ec2-downloads-windows/EC2Config/EC2Install.zip");
    let filler: Vec<u8> =
        (0..2_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    zip(&large, &[("EC2Install.exe", &file("Amazon.sys")), ("more.bin", &filler)]);
    for weather in [Weather::Fair, Weather::Busy { times: 2 }, Weather::Cuts { bytes: 200_000, times: 3 }] {
        let (proxy, directory) = (Proxy::new(web.port, weather), directory());
        let mirror = format!("http://127.0.0.1:{}", proxy.port);
        let output = fetch(directory.path(), &mirror, &["--windows", "2012"]).success();
        assert_eq!(files(&directory.path().join("drivers")), ALL_2012, "{}", output.both());
        let there = directory.path().join("drivers/EC2Config/EC2Install.zip");
        assert!(fs::read(there).unwrap() == fs::read(&large).unwrap(), "{weather:?}");
        if let Weather::Cuts { .. } = weather {
            let continued = web.requests().iter().filter(|line| line.contains("\" 206 ")).count();
            assert!(continued > 0, "{:#?}", web.requests());
        }
    }
    // A server without ranges: what was cut off begins anew.
    let (proxy, there) = (Proxy::new(web.port, Weather::Cuts { bytes: 200_000, times: 2 }), directory());
    let mirror = format!("http://127.0.0.1:{}/whole", proxy.port);
    fetch(there.path(), &mirror, &["--windows", "2012"]).success();
    assert_eq!(files(&there.path().join("drivers")), ALL_2012);
    // A server that falls silent is given up in the end, and the rest is not waited for.
    let (proxy, silent) = (Proxy::new(web.port, Weather::Stalls { bytes: 10_000 }), directory());
    let output =
        fetch(silent.path(), &format!("http://127.0.0.1:{}", proxy.port), &["--windows", "2012"]).code(1);
    assert!(output.stderr.contains("components::unreachable"), "{}", output.both());
    assert!(output.stderr.contains("no byte came for 1 seconds"), "{}", output.both());
}

#[test]
fn behind_a_firewall_everything_is_named() {
    let directory = directory();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nothing = fetch(directory.path(), &format!("http://{closed}"), &["--windows", "2012"]).code(1);
    for said in [
        "components::unreachable",
        "Connection refused",
        "curl -f --create-dirs -o drivers/NVMe/1.5.1/AWSNVMe.zip https://s3.amazonaws.com/ec2-windows-drivers-downloads/NVMe/1.5.1/AWSNVMe.zip\n",
        "curl -f --create-dirs -o drivers/EC2Config/EC2Install.zip https://s3.amazonaws.com/ec2-downloads-windows/EC2Config/EC2Install.zip\n",
        "HTTPS_PROXY",
    ] {
        assert!(nothing.stderr.contains(said), "{said}: {}", nothing.both());
    }
    assert_eq!(files(&directory.path().join("drivers")), [] as [&str; 0]);
    let unknown = fetch(directory.path(), "http://no-such-host.invalid", &["--windows", "2012"]).code(1);
    assert!(unknown.stderr.contains("components::unreachable"), "{}", unknown.both());
    // Its certificate is its own: nothing is tried again.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    crate::guest::fixtures::shell(&format!(
        "cd {} && openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 9 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null",
        directory.path().display()
    ));
    let mut server = std::process::Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &port.to_string(), "-key", "k", "-cert", "c"])
        .current_dir(directory.path())
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let output = fetch(directory.path(), &format!("https://localhost:{port}"), &["--windows", "2012"]);
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(output.code == 1 && output.stderr.contains("components::untrusted"), "{}", output.both());
}

#[test]
fn what_is_wrong_is_not_kept() {
    let web = published();
    let nvme = web.files().join("ec2-windows-drivers-downloads/NVMe/1.5.1/AWSNVMe.zip");
    let sound = fs::read(&nvme).unwrap();
    let refused = |code: &str, why: &str| {
        let directory = directory();
        let output = fetch(directory.path(), &web.url(""), &["--windows", "2012"]).code(1);
        let said = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(code) && said.contains(why), "{why}: {}", output.both());
        assert_eq!(files(&directory.path().join("drivers")), &ALL_2012[..2], "{why}");
    };
    let wrong = "components::wrong";
    fs::write(&nvme, &sound[..sound.len() / 2]).unwrap();
    refused(wrong, "it is no zip archive");
    let mut changed = sound.clone();
    changed[sound.len() / 2] ^= 0x40;
    fs::write(&nvme, changed).unwrap();
    refused(wrong, "AWSNVMe.zip/");
    fs::write(&nvme, "\r\n<!DOCTYPE html><html><body>Log on to the proxy</body></html>").unwrap();
    refused(wrong, "it is a web page");
    fs::write(&nvme, "").unwrap();
    refused(wrong, "it is empty");
    storage(&nvme, "1.8.2.1", "Amazon.sys");
    refused(wrong, "1.5.1 is the last that runs on this Windows");
    storage(&nvme, "1.5.1.0", "plain.sys");
    refused(wrong, "its program carries no signature");
    storage(&nvme, "1.5.1.0", "Somebo.sys");
    refused(wrong, "is signed by Somebody Else, not by Amazon or Microsoft");
    zip(&nvme, &[("readme.txt", b"nothing here")]);
    refused(wrong, "it holds no AWS NVMe driver");
    fs::remove_file(&nvme).unwrap();
    refused("components::absent", "no such file");
    let denied = fetch(directory().path(), &web.url("denied"), &["--windows", "2012"]).code(1);
    assert!(
        denied.stderr.contains("components::denied") && denied.stderr.contains("403"),
        "{}",
        denied.both()
    );
}

#[test]
fn what_is_there_and_wrong_is_replaced() {
    let (web, directory) = (published(), directory());
    let there = directory.path().join("drivers/NVMe/1.5.1/AWSNVMe.zip");
    put(&there, b"half of it");
    storage(&directory.path().join("drivers/AWSNVMe.zip"), "1.8.2.1", "Amazon.sys");
    let dry = fetch(directory.path(), &web.url(""), &["--windows", "2012", "--dry-run"]).success();
    assert!(dry.stdout.contains("is not taken: it is version 1.8.2.1"), "{}", dry.both());
    let output = fetch(directory.path(), &web.url(""), &["--windows", "2012"]).success();
    assert!(output.stdout.contains("3 fetched"), "{}", output.both());
    assert!(fs::read(there).unwrap().starts_with(b"PK"));
}

#[test]
fn command_lines_that_say_too_little() {
    let directory = directory();
    let run = |arguments: &[&str], mirror: &str| {
        let mut command = command(directory.path(), ["components", "fetch"].iter().chain(arguments));
        command.env("REPLANT_COMPONENTS_URL", mirror);
        Output::of(command)
    };
    assert!(run(&["--windows", "2019"], "").code(1).stderr.contains("components::no_place"));
    assert!(run(&["--windows", "2003", "--to", "x"], "").code(2).stderr.contains("2012-r2, 2016"));
    for bad in ["ftp://x", "https://", "https://user:word@host/x", "mirror"] {
        let output = run(&["--windows", "2019", "--to", "x"], bad).code(1);
        assert!(
            output.stderr.contains("components::mirror") && !output.stderr.contains("word@"),
            "{}",
            output.both()
        );
    }
    fs::write(directory.path().join("file"), "").unwrap();
    let output = run(&["--windows", "2019", "--to", "file/below"], "http://127.0.0.1:1").code(1);
    assert!(output.stderr.contains("components::place"), "{}", output.both());
}

#[test]
fn packages_of_windows_installer_are_as_osslsigncode_says() {
    let directory = directory();
    let path = directory.path().join("AmazonEC2Launch.msi");
    let target = RELEASES.iter().find(|release| release.id == "2022").unwrap().target;
    let prove = || prove(directory.path(), Kind::Ec2LaunchV2, &target);
    for name in ["Amazon.msi", "Amazon-dse.msi"] {
        fs::write(&path, file(name)).unwrap();
        assert_eq!(prove().unwrap().signing, Signing::By("Amazon Web Services, Inc.".to_owned()), "{name}");
    }
    fs::write(&path, file("plain.msi")).unwrap();
    assert_eq!(prove().unwrap().signing, Signing::Unsigned);
    fs::write(&path, file("Somebo.msi")).unwrap();
    assert!(prove().unwrap_err().to_string().contains("signed by Somebody Else"));
    // A byte in the middle is one of the cabinet's.
    let mut changed = file("Amazon.msi");
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&path, &changed).unwrap();
    let said =
        crate::guest::fixtures::shell(&format!("osslsigncode verify -in {} 2>&1 || true", path.display()));
    assert!(said.contains("MISMATCH") || said.contains("failed"), "{said}");
    assert!(prove().unwrap_err().to_string().contains("changed after it was signed"));
    for (length, why) in
        [(changed.len() * 2 / 3, "shorter"), (700, "shorter"), (100, "sectors"), (4, "does not begin")]
    {
        fs::write(&path, &file("Amazon.msi")[..length]).unwrap();
        let error = prove().unwrap_err().to_string();
        assert!(error.contains("no Windows Installer package"), "{why}: {error}");
    }
}

#[test]
fn a_package_that_does_not_run_there_is_refused() {
    let directory = directory();
    let package = msi("8.4.3");
    zip(&directory.path().join("AWSPVDriver.zip"), &[("AWSPVDriverSetup.msi", &package)]);
    let prove = |id: &str| {
        let target = RELEASES.iter().find(|release| release.id == id).unwrap().target;
        prove(directory.path(), Kind::Pv, &target)
    };
    let error = prove("2008-r2").unwrap_err().to_string();
    assert!(error.contains("8.3.5 is the last that runs"), "{error}");
    assert_eq!(prove("2012-r2").unwrap().version, Some([8, 4, 3, 0]));
}

#[test]
fn a_configurations_windows_guests_get_what_they_miss() {
    let disk = make("uefi", &guest("2022"));
    let web = published();
    let configuration = "provider \"local\" {}\n\naccess_node \"dr\" { instance_id = \"self\" }\n\ninstance \"app\" {\n  image         = \"disk.raw\"\n  instance_type = \"m6i.large\"\n  guest {\n    windows { components = \"drivers/app\" }\n  }\n}\n";
    let workspace = crate::support::Workspace::new(configuration);
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = command(workspace.path(), ["components", "fetch"].iter().chain(arguments));
        command.env("REPLANT_COMPONENTS_URL", web.url(""));
        Output::of(command)
    };
    let folder = workspace.path().join("drivers/app");
    let dry = run(&["--dry-run"]).success();
    assert!(dry.stdout.contains("instance.app: Windows Server 2022"), "{}", dry.both());
    assert!(dry.stdout.contains("to drivers/app/NVMe/Latest/AWSNVMe.zip"), "{}", dry.both());
    assert!(!folder.exists(), "nothing is left of asking");
    let fetched = run(&[]).success();
    assert!(fetched.stdout.contains("Components: 4 fetched."), "{}", fetched.both());
    assert_eq!(files(&folder).len(), 4);
    assert!(run(&[]).success().stdout.contains("Components: 4 kept."));
    // A single image, for another family.
    let image =
        run(&["--image", "disk.raw", "--instance-type", "t2.micro", "--to", "drivers/xen", "--dry-run"]);
    assert!(image.success().stdout.contains("drivers/xen/AWSPV/Latest/AWSPVDriver.zip"));
    // Without a folder it is said how to name one.
    workspace.configure(&configuration.replace("windows { components = \"drivers/app\" }", ""));
    let none = run(&[]).code(1);
    assert!(none.stderr.contains("components::no_folder"), "{}", none.both());
}
