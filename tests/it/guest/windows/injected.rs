//! Components as values: what a guest gets, and what regipy and hivexsh read in hives that were edited so.

use std::fs;
use std::path::Path;
use std::process::Command;

use replant::guest::windows::components::{Inventory, Kind};
use replant::guest::windows::firstboot::{Language, Script};
use replant::guest::windows::hive::{Hive, HiveEdit, HivePlan, edit};
use replant::guest::windows::inject::{Choice, InjectError, Injection, Wishes, choose, inject, unreadable};
use replant::guest::windows::look::{Look, look};
use replant::guest::windows::registry::Planned;
use replant::guest::windows::stage::Staged;
use replant::model::Hypervisor;
use serde_json::Value;
use tempfile::TempDir;

use super::drivers::programs::PROGRAMS;
use super::kit::{hive, msi, regipy, run};
use super::trees::{self, Guest, guest};

pub const NVME: &str = include_str!("drivers/infs/awsnvme.inf");
const ENA: &str = include_str!("drivers/infs/ena.inf");
pub const NO_NVME: &str = "[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\AWSNVMe]\n\n";

/// A user's folder: drivers unpacked, the agents of old and new versions.
pub fn components() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str, content: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("AWSNVMe/AWSNVMe.inf", NVME.as_bytes());
    put("AWSNVMe/AWSNVMe.sys", &PROGRAMS.content("both.sys"));
    put("AWSNVMe/AWSNVMe.cat", b"catalog");
    put("ena/ena.inf", ENA.as_bytes());
    put("ena/ena.sys", &PROGRAMS.content("both.sys"));
    put("ena/ena.cat", b"catalog");
    put("EC2Install.exe", &PROGRAMS.content("both.sys"));
    put("AmazonEC2Launch.msi", &msi("2.0.1"));
    put("AWSPVDriverSetup.msi", &msi("8.3.5"));
    folder
}

struct Hives {
    system: Vec<u8>,
    software: Vec<u8>,
}

impl Hives {
    fn of(guest: &Guest) -> Self {
        Self {
            system: hive("SYSTEM", &trees::system(guest)),
            software: hive("SOFTWARE", &trees::software(guest)),
        }
    }

    fn look(&self) -> Look {
        look(&Hive::read(&self.system).unwrap(), &Hive::read(&self.software).unwrap()).unwrap().unwrap()
    }

    /// The same hives after edits.
    fn edited(&self, injection: &Injection) -> Self {
        let edited = |bytes: &Vec<u8>, planned: &[Planned]| {
            let plan = plan(bytes, planned);
            let directory = tempfile::tempdir().unwrap();
            match plan.is_empty() {
                true => bytes.clone(),
                false => edit(bytes.clone(), || Ok(bytes.clone()), &plan, directory.path()).unwrap(),
            }
        };
        Self {
            system: edited(&self.system, &injection.system),
            software: edited(&self.software, &injection.software),
        }
    }
}

fn plan(bytes: &[u8], planned: &[Planned]) -> HivePlan {
    let edits: Vec<HiveEdit> = planned.iter().map(|planned| planned.edit.clone()).collect();
    HivePlan::new(&Hive::read(bytes).unwrap(), &edits).unwrap()
}

fn chosen(look: &Look, folder: &Path, hypervisor: Hypervisor) -> Choice {
    choose(look, Some(&Inventory::read(folder).unwrap()), hypervisor).unwrap()
}

/// What regipy reads in the second hive that it did not in the first; a lost value is `null`.
fn difference(before: &[u8], after: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| {
        let path = directory.path().join("hive");
        fs::write(&path, bytes).unwrap();
        regipy(&path)
    };
    let (before, after) = (read(before), read(after));
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let differing = keys.into_iter().filter(|key| before.get(*key) != after.get(*key));
    let line = |key: &String| format!("{key} = {}\n", after.get(key).unwrap_or(&Value::Null));
    differing.map(line).collect()
}

fn staged(injection: &Injection) -> String {
    let lines = injection.staged.iter().map(|staged| match staged {
        Staged::Directory { path, .. } => format!("{path}/\n"),
        Staged::File { path, .. } => format!("{path}\n"),
    });
    lines.collect()
}

fn steps(injection: &Injection) -> String {
    let files = injection.first_boot.as_ref().unwrap().files().unwrap();
    let list = files.into_iter().find(|file| file.name == "firstboot.steps").unwrap();
    let text = String::from_utf8(list.content).unwrap();
    let shown =
        |line: &&str| line.starts_with('[') || line.starts_with("run =") || line.starts_with("when =");
    text.lines().filter(shown).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_boot_driver_is_put_in_as_each_version_wants_it() {
    let folder = components();
    for name in ["2008r2", "2012"] {
        let before = Hives::of(&Guest { ena: false, system: NO_NVME, ..guest(name) });
        let look = before.look();
        let choice = chosen(&look, folder.path(), Hypervisor::Nitro);
        assert_eq!(choice.drivers.len(), 2, "{choice:?}");
        let injection = inject(&look, &choice, Wishes { disks: 2, ..Wishes::default() }).unwrap();
        let after = before.edited(&injection);
        insta::assert_snapshot!(
            format!("{name}_hives"),
            format!(
                "SYSTEM\n{}\nSOFTWARE\n{}",
                difference(&before.system, &after.system),
                difference(&before.software, &after.software)
            )
        );
        insta::assert_snapshot!(
            format!("{name}_steps"),
            format!("{}\n{}", staged(&injection), steps(&injection))
        );
        // hivex's own shell finds its way too.
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("hive"), &after.system).unwrap();
        fs::write(at("script"), "cd \\ControlSet001\\Services\\AWSNVMe\nlsval\n").unwrap();
        let said = run(Command::new("hivexsh").arg("-f").args([at("script"), at("hive")]));
        assert!(said.contains("\"Start\"=dword:00000000"), "{said}");
        // A second time there is nothing to do, by the look at what was made.
        let look = after.look();
        assert!(look.first_boot_waits && look.is_injected("awsnvme"), "{look:?}");
        let choice = chosen(&look, folder.path(), Hypervisor::Nitro);
        let again = inject(&look, &choice, Wishes { disks: 2, ..Wishes::default() }).unwrap();
        assert!(plan(&after.system, &again.system).is_empty());
        assert!(plan(&after.software, &again.software).is_empty());
        assert_eq!(again.first_boot, injection.first_boot);
        assert_eq!(again.staged, injection.staged);
        // Without its components it stays as it is.
        let left = inject(&look, &Choice::default(), Wishes { disks: 2, ..Wishes::default() }).unwrap();
        assert!(left.is_left && left.staged.is_empty() && left.system.is_empty());
    }
}

#[test]
fn a_guest_that_has_all_is_left_alone() {
    let folder = components();
    let services = |names: &[&str]| {
        names
            .iter()
            .map(|name| {
                format!("[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\{name}]\n\"Start\"=dword:00000002\n\n")
            })
            .collect::<String>()
    };
    let mut system = services(&["Ec2Config", "AmazonSSMAgent"]);
    system.push_str("[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\VMTools]\n\n");
    let hives = Hives::of(&Guest { system: Box::leak(system.into_boxed_str()), ..guest("2008r2") });
    let look = hives.look();
    let choice = chosen(&look, folder.path(), Hypervisor::Nitro);
    assert_eq!((choice.kinds().count(), choice.missing.len()), (0, 0), "{choice:?}");
    let injection = inject(&look, &choice, Wishes { disks: 1, ..Wishes::default() }).unwrap();
    assert!(injection.first_boot.is_none() && injection.staged.is_empty());
    assert!(injection.system.is_empty() && injection.software.is_empty());
    // A script of the user's is reason enough.
    let script = Script { language: Language::Batch, content: b"echo".to_vec(), timeout: 60 };
    let injection =
        inject(&look, &choice, Wishes { disks: 1, script: Some(script), ..Wishes::default() }).unwrap();
    assert!(staged(&injection).contains("/Replant/first_boot.cmd"), "{}", staged(&injection));
}

#[test]
fn a_domain_controller_gets_its_pv_drivers() {
    let folder = components();
    let hives = Hives::of(&Guest {
        system: "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\ProductOptions]\n\"ProductType\"=\"LanmanNT\"\n\n",
        software: "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion]\n\"DevicePath\"=\"C:\\\\Windows\\\\inf;D:\\\\more\"\n\n",
        ena: false,
        ..guest("2008r2")
    });
    let look = hives.look();
    let choice = chosen(&look, folder.path(), Hypervisor::Xen);
    assert_eq!(choice.kinds().collect::<Vec<_>>(), [Kind::Ena, Kind::Pv, Kind::Ec2Config]);
    let injection = inject(&look, &choice, Wishes::default()).unwrap();
    let after = hives.edited(&injection);
    let differ = difference(&hives.software, &after.software);
    assert!(differ.contains("AWSPVDriverSetup\\DisableDCCheck = [\"REG_SZ\",\"true\"]"), "{differ}");
    assert!(
        differ.contains(r#"DevicePath = ["REG_SZ","C:\\Windows\\inf;D:\\more;C:\\Replant\\drivers\\ena"]"#),
        "{differ}"
    );
    // PV restarts Windows, so it is last; the path becomes what it was, in its own type.
    let steps = steps(&injection);
    let back = r#"/v DevicePath /t REG_SZ /d C:\Windows\inf;D:\more /f"#;
    assert!(steps.contains(back), "{steps}");
    assert!(steps.find("AWSPVDriverSetup").unwrap() > steps.find(back).unwrap(), "{steps}");
}

#[test]
fn a_package_that_would_take_anothers_place_is_refused() {
    let folder = components();
    let inf = folder.path().join("AWSNVMe/AWSNVMe.inf");
    let hives = Hives::of(&Guest { system: NO_NVME, ..guest("2008r2") });
    let refused = |text: String| {
        fs::write(&inf, text).unwrap();
        let look = hives.look();
        inject(&look, &chosen(&look, folder.path(), Hypervisor::Nitro), Wishes::default()).unwrap_err()
    };
    let taken = refused(NVME.replace("AddService = AWSNVMe", "AddService = PartMgr"));
    assert!(matches!(&taken, InjectError::Taken { name, .. } if name == "PartMgr"), "{taken}");
    let named = refused(NVME.replace("AddService = AWSNVMe", "AddService = \"a\\..\\b\""));
    assert!(matches!(named, InjectError::Name { .. }), "{named}");
    assert_eq!(unreadable(&named).code, "guest::windows_component_unusable");
}
