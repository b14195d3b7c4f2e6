//! The user's folder of components: from the configuration into the sandbox, and what it is bound to.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use replant::sandbox::{self, Parcel, ParcelError, SandboxError};
use serde_json::Value;

use super::drivers::packages::{NETWORK, STORAGE};
use super::kit::msi;
use super::trees::{Guest, guest, make};
use crate::support::{Workspace, replant};

fn configuration(windows: &str) -> String {
    format!(
        "provider \"local\" {{}}\n\naccess_node \"dr\" {{ instance_id = \"self\" }}\n\ninstance \"app\" {{\n  image         = \"disk.raw\"\n  instance_type = \"m6i.large\"\n  state         = \"stopped\"\n  guest {{\n    {windows}\n  }}\n}}\n"
    )
}

/// Two packages, one of them in an archive, and an agent.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("ena")).unwrap();
    fs::write(folder.join("ena/replnet.inf"), NETWORK).unwrap();
    fs::write(folder.join("ena/replnet.sys"), "no program").unwrap();
    fs::write(folder.join("AmazonEC2Launch.msi"), msi("2.0.1")).unwrap();
    let script = "import sys, zipfile; zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED).writestr('nvme/ReplStor.inf', sys.stdin.read())";
    let mut python = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(folder.join("AWSNVMe.zip"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), STORAGE.as_bytes()).unwrap();
    assert!(python.wait().unwrap().success());
}

fn cached(workspace: &Workspace) -> usize {
    fs::read_dir(workspace.path().join(".replant/cache")).unwrap().count()
}

#[test]
fn a_plan_is_bound_to_the_folder_of_components() {
    let disk = make("bios", &guest("2022"));
    let workspace = Workspace::new(&configuration("windows { components = \"drivers/\" }"));
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    let folder = workspace.path().join("drivers");
    // A folder that is not there is a mistake of the configuration.
    let missing = workspace.run(&["plan"]);
    assert_eq!(missing.code, 1, "{}", missing.both());
    assert!(missing.stderr.contains("config::missing_components"), "{}", missing.both());
    assert!(missing.stderr.contains("components = \"drivers/\""), "{}", missing.both());
    fill(&folder);
    let plan = |out: &str| {
        let planned = workspace.run(&["plan", "--out", out]);
        assert_eq!(planned.code, 0, "{}", planned.both());
    };
    plan("first.replant");
    assert_eq!(cached(&workspace), 1);
    plan("second.replant");
    assert_eq!(cached(&workspace), 1, "the second plan asks no sandbox");
    // The same size, and other content.
    let agent = folder.join("AmazonEC2Launch.msi");
    let (before, other) = (fs::read(&agent).unwrap(), msi("2.0.2"));
    assert_eq!(before.len(), other.len());
    fs::write(&agent, other).unwrap();
    let refused = workspace.run(&["apply", "first.replant"]);
    assert_eq!(refused.code, 1, "{}", refused.both());
    assert!(refused.stderr.contains("plan::stale"), "{}", refused.both());
    assert!(refused.stderr.contains("components in drivers changed"), "{}", refused.both());
    assert!(workspace.volumes().is_empty());
    plan("third.replant");
    assert_eq!(cached(&workspace), 2);
    // The folder is as it was, and so the first plan is good.
    fs::write(&agent, before).unwrap();
    let applied = workspace.run(&["apply", "first.replant"]);
    assert_eq!(applied.code, 0, "{}", applied.both());
    let again = workspace.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(again.code, 0, "{}", again.both());
    // What was restored is destroyed without the folder, too.
    fs::remove_dir_all(&folder).unwrap();
    let destroyed = workspace.run(&["destroy", "--auto-approve"]);
    assert_eq!(destroyed.code, 0, "{}", destroyed.both());
}

#[test]
fn inspection_takes_a_folder_or_an_archive() {
    let disk = make("bios", &guest("2022"));
    let path = disk.directory.path();
    fill(&path.join("drivers"));
    let inspect =
        |components: &str| replant(path, ["inspect", "disk.raw", "--json", "--components", components]);
    let found = |components: &str| {
        let output = inspect(components);
        let report: Value =
            serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.both()));
        let details = report["report"]["facts"]["details"].as_array().unwrap().clone();
        let row = details.into_iter().find(|row| row[0] == "components").unwrap();
        row[1].as_str().unwrap().to_owned()
    };
    assert_eq!(found("drivers"), "driver packages: 2, installers: 1");
    assert_eq!(found("drivers/AWSNVMe.zip"), "driver packages: 1, installers: 0");
    fs::create_dir(path.join("other")).unwrap();
    assert_eq!(found("other"), "nothing of Amazon's");
    for wrong in ["nothing", "disk.raw"] {
        let output = inspect(wrong);
        assert_eq!(output.code, 1, "{}", output.both());
        assert!(output.stdout.contains("sandbox::components"), "{}", output.both());
        assert!(output.stdout.contains(wrong), "{}", output.both());
    }
    // What changes while the sandbox reads it is no finding about the guest.
    let request = || {
        let parcel = Parcel::open(&path.join("drivers")).unwrap();
        sandbox::Request {
            components: Some(Arc::new(parcel)),
            ..crate::sandbox::request(&[disk.image.as_path()])
        }
    };
    assert!(crate::sandbox::try_run(&request()).is_ok());
    let before = request();
    let inf = fs::File::options().write(true).open(path.join("drivers/ena/replnet.inf")).unwrap();
    inf.set_len(100).unwrap();
    let error = crate::sandbox::try_run(&before).unwrap_err();
    assert!(
        matches!(&error, SandboxError::Components(ParcelError::Changed { path }) if path.ends_with("ena/replnet.inf")),
        "{error:?}"
    );
}

#[test]
fn what_a_boot_does_not_need_may_be_missing() {
    let disk = make("bios", &Guest { ena: false, ..guest("2022") });
    let workspace = Workspace::new(&configuration(""));
    let place = workspace.path().join("disk.raw");
    fs::copy(&disk.image, &place).unwrap();
    let blocked = workspace.run(&["plan"]);
    assert_eq!(blocked.code, 1, "{}", blocked.both());
    for shown in ["error[guest::windows_ena_missing]", "replant plan --allow-missing"] {
        assert!(blocked.stderr.contains(shown), "{shown}: {}", blocked.both());
    }
    // Who has it already is told why it is not taken.
    fs::create_dir(workspace.path().join("drivers")).unwrap();
    fs::write(workspace.path().join("drivers/AwsEnaNetworkDriver.zip"), "half a download").unwrap();
    workspace.configure(&configuration("windows { components = \"drivers\" }"));
    let blocked = workspace.run(&["plan"]);
    assert!(
        blocked.stderr.contains("AwsEnaNetworkDriver.zip is not taken: it is no zip archive"),
        "{}",
        blocked.both()
    );
    workspace.configure(&configuration(""));
    let allowed = workspace.run(&["plan", "--allow-missing", "--out", "plan.replant"]);
    assert_eq!(allowed.code, 0, "{}", allowed.both());
    for shown in ["warning[guest::windows_ena_missing]", "--allow-missing accepts this finding"] {
        assert!(allowed.both().contains(shown), "{shown}: {}", allowed.both());
    }
    assert_eq!(replant(workspace.path(), ["inspect", "disk.raw"]).code, 3);
    assert_eq!(replant(workspace.path(), ["inspect", "disk.raw", "--allow-missing"]).code, 0);
    assert_eq!(replant(workspace.path(), ["prepare", "disk.raw", "--allow-missing"]).code, 0);
    let applied = workspace.run(&["apply", "plan.replant"]);
    assert_eq!(applied.code, 0, "{}", applied.both());
    // The disk's driver is another matter.
    let system = "[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\AWSNVMe]\n\n";
    let disk = make("bios", &Guest { system, ..guest("2008r2") });
    let workspace = Workspace::new(&configuration(""));
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    let blocked = workspace.run(&["plan", "--allow-missing"]);
    assert_eq!(blocked.code, 1, "{}", blocked.both());
    assert!(blocked.stderr.contains("error[guest::windows_nvme_missing]"), "{}", blocked.both());
    assert!(!blocked.stderr.contains("replant plan --allow-missing"), "{}", blocked.both());
}
