//! Whole guests that get Amazon's drivers and agents: planned, prepared, read back by ntfs-3g, regipy and
//! hivexsh.

use std::fs;
use std::path::Path;
use std::process::Command;

use replant::guest::windows::firstboot::LAUNCHER;
use serde_json::Value;

use super::drivers::programs::PROGRAMS;
use super::injected::{NO_NVME, NVME, components};
use super::kit::{C, Disk, dissect, regipy, run};
use super::prepared::{codes, copied, inspect, prepared};
use super::trees::{Guest, guest, make};
use crate::support::replant;

/// The findings about components, as a person reads them.
fn about_components(inspection: &Value) -> String {
    let mut text = String::new();
    for finding in inspection["report"]["findings"].as_array().unwrap() {
        let code = finding["code"].as_str().unwrap();
        let is_about =
            ["_missing", "_components", "_component_", "first_boot"].iter().any(|part| code.contains(part));
        if !is_about || code.contains("fallback") {
            continue;
        }
        text.push_str(&format!(
            "{} {code}: {}\n",
            finding["severity"].as_str().unwrap(),
            finding["summary"].as_str().unwrap()
        ));
        for line in finding["evidence"].as_array().unwrap() {
            text.push_str(&format!("  {}\n", line.as_str().unwrap()));
        }
        for (name, label) in [("remedy", "fixed"), ("advice", "to do")] {
            if let Some(said) = finding[name].as_str() {
                text.push_str(&format!("  {label}: {}\n", said.replace('\n', "\n    ")));
            }
        }
    }
    text
}

/// The prepared disk takes the place of the one it was made from.
fn replaced(disk: &Disk) {
    let at = |name: &str| disk.directory.path().join(name);
    fs::rename(at("out.raw"), at("disk.raw")).unwrap();
}

fn edits(inspection: &Value) -> usize {
    inspection["report"]["recipe"]["edits"].as_array().unwrap().len()
}

/// What differs between two directories, by their names.
fn differing(before: &Path, after: &Path) -> Vec<String> {
    let output = Command::new("diff").arg("-rq").args([before, after]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shown = |line: &str| {
        line.replace(&before.display().to_string(), "BEFORE").replace(&after.display().to_string(), "AFTER")
    };
    text.lines().map(shown).collect()
}

#[test]
fn a_2008_r2_gets_the_driver_it_boots_from() {
    let folder = components();
    let given = ["--components", folder.path().to_str().unwrap()];
    let disk = make("bios", &Guest { ena: false, system: NO_NVME, ..guest("2008r2") });
    // Without a folder: what is missing, from where, and where to put it.
    let (inspection, output) = inspect(&disk, &[]);
    assert_eq!(output.code, 3, "{}", output.both());
    insta::assert_snapshot!("2008r2_without", about_components(&inspection));
    let (inspection, output) = inspect(&disk, &given);
    assert_eq!(output.code, 0, "{}", output.both());
    let found = about_components(&inspection).replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!("2008r2_with", found);
    assert!(codes(&inspection).contains(&"warns guest::windows_agent_settings".to_owned()), "{inspection:#}");
    let diff = prepared(&disk, &given);
    insta::assert_snapshot!("2008r2_equipped", diff);

    let before = copied(&disk.image, "bios");
    let after = copied(&disk.directory.path().join("out.raw"), "bios");
    let at = |path: &str| after.path().join("windows").join(path);
    let program = fs::read(at("WINDOWS/System32/drivers/AWSNVMe.sys")).unwrap();
    assert_eq!(program, PROGRAMS.content("both.sys"));
    assert_eq!(fs::read(at("Replant/firstboot.exe")).unwrap(), LAUNCHER);
    assert_eq!(fs::read(at("Replant/drivers/nvme/AWSNVMe.inf")).unwrap(), NVME.as_bytes());
    assert_eq!(
        differing(&before.path().join("windows"), &after.path().join("windows")),
        [
            "Only in AFTER: Replant",
            "Files BEFORE/WINDOWS/System32/config/SOFTWARE and AFTER/WINDOWS/System32/config/SOFTWARE differ",
            "Files BEFORE/WINDOWS/System32/config/SYSTEM and AFTER/WINDOWS/System32/config/SYSTEM differ",
            "Only in AFTER/WINDOWS/System32/drivers: AWSNVMe.sys",
        ]
    );
    let hive = at("WINDOWS/System32/config/SYSTEM");
    let system = regipy(&hive);
    assert_eq!(system["ControlSet001\\Services\\AWSNVMe\\Start"][1], 0);
    let device = "ControlSet001\\Control\\CriticalDeviceDatabase\\PCI#VEN_1D0F&DEV_8061\\Service";
    assert_eq!(system[device][1], "AWSNVMe");
    let script = disk.directory.path().join("script");
    fs::write(&script, "cd \\ControlSet001\\Services\\ReplantFirstBoot\nlsval\n").unwrap();
    let said = run(Command::new("hivexsh").arg("-f").args([&script, &hive]));
    assert!(said.contains("\"Start\"=dword:00000002"), "{said}");

    // Again there is nothing to do: with the same folder, and without one.
    replaced(&disk);
    let (again, _) = inspect(&disk, &given);
    assert_eq!(edits(&again), 0, "{again:#}");
    let (without, output) = inspect(&disk, &[]);
    assert_eq!((edits(&without), output.code), (0, 0), "{}", output.both());
    assert!(codes(&without).contains(&"informs guest::windows_first_boot_waits".to_owned()), "{without:#}");
}

#[test]
fn only_administrators_get_to_what_is_staged() {
    let folder = components();
    let disk = make("uefi", &Guest { ena: false, ..guest("2016") });
    prepared(&disk, &["--components", folder.path().to_str().unwrap()]);
    let (found, _) = dissect(&disk.directory.path().join("out.raw"), Some(C));
    let mut staged: Vec<&str> = Vec::new();
    for (path, about) in found.iter().filter(|(path, _)| path.starts_with("/Replant")) {
        staged.push(path);
        let entries = about.last().unwrap().as_array().unwrap();
        assert_eq!(entries.len(), 2, "{path}: {about:?}");
        for (entry, sid) in entries.iter().zip(["S-1-5-18", "S-1-5-32-544"]) {
            assert!(entry.as_str().unwrap().ends_with(&format!("1f01ff {sid}")), "{path}: {about:?}");
        }
    }
    assert!(staged.contains(&"/Replant/agents/AmazonEC2Launch.msi"), "{staged:?}");
    assert!(staged.contains(&"/Replant/drivers/ena/ena.sys"), "{staged:?}");
}

#[test]
fn a_2016_gets_its_network_and_its_agent() {
    let folder = components();
    let given = ["--components", folder.path().to_str().unwrap()];
    let disk = make("uefi", &Guest { ena: false, ..guest("2016") });
    insta::assert_snapshot!("2016_equipped", prepared(&disk, &given));
    replaced(&disk);
    let (again, _) = inspect(&disk, &given);
    assert_eq!(edits(&again), 0, "{again:#}");
}

#[test]
fn a_domain_controller_on_a_xen_based_type_gets_its_pv_drivers() {
    let folder = components();
    let given = ["--instance-type", "m3.medium", "--components", folder.path().to_str().unwrap()];
    let system = "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\ProductOptions]\n\"ProductType\"=\"LanmanNT\"\n\n";
    let disk = make("bios", &Guest { ena: false, system, ..guest("2012r2") });
    let (inspection, output) = inspect(&disk, &given);
    assert_eq!(output.code, 0, "{}", output.both());
    let found = about_components(&inspection).replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!("2012r2_xen", found);
    assert!(codes(&inspection).contains(&"warns guest::windows_agent_withheld".to_owned()), "{inspection:#}");
    prepared(&disk, &given);
    let after = copied(&disk.directory.path().join("out.raw"), "bios");
    let software = regipy(&after.path().join("windows/WINDOWS/System32/config/SOFTWARE"));
    assert_eq!(software["Wow6432Node\\Amazon\\AWSPVDriverSetup\\DisableDCCheck"][1], "true");
    let steps = fs::read_to_string(after.path().join("windows/Replant/firstboot.steps")).unwrap();
    assert!(steps.contains(r"msiexec.exe"), "{steps}");
    assert!(after.path().join("windows/Replant/agents/AWSPVDriverSetup.msi").is_file());
    replaced(&disk);
    let (again, _) = inspect(&disk, &given);
    assert_eq!(edits(&again), 0, "{again:#}");
    // No PV drivers are published for 2025.
    let disk = make("uefi", &guest("2025"));
    let (inspection, _) = inspect(&disk, &given);
    assert!(codes(&inspection).contains(&"blocks guest::windows_pv_missing".to_owned()), "{inspection:#}");
}

#[test]
fn what_does_not_fit_or_does_not_run_changes_nothing() {
    let folder = components();
    let given = ["--components", folder.path().to_str().unwrap()];
    let disk = make("bios", &Guest { ena: false, system: NO_NVME, ..guest("2008r2") });
    // More than C: has room for.
    let large = fs::File::create(folder.path().join("EC2Install.exe")).unwrap();
    large.set_len(1).unwrap();
    let large = fs::File::create(folder.path().join("ena/ena.cat")).unwrap();
    large.set_len(100 << 20).unwrap();
    let output =
        replant(disk.directory.path(), [&["prepare", "disk.raw", "--write", "out.raw"][..], &given].concat());
    assert_eq!(output.code, 1, "{}", output.both());
    assert!(output.both().contains("guest::filesystem_full"), "{}", output.both());
    assert!(!disk.directory.path().join("out.raw").exists());
    fs::write(folder.path().join("ena/ena.cat"), "catalog").unwrap();
    // A driver that nobody signed, and an installer that is none.
    fs::write(folder.path().join("AWSNVMe/AWSNVMe.sys"), PROGRAMS.content("unsigned.sys")).unwrap();
    let (inspection, output) = inspect(&disk, &given);
    assert_eq!(output.code, 3, "{}", output.both());
    let found = about_components(&inspection).replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!("2008r2_refused", found);
}
