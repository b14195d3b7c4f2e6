//! Components as values: what a guest gets, and what regipy and hivexsh read in hives that were edited so.

use std::fs;
use std::path::Path;
use std::process::Command;

use replant::guest::windows::components::{Inventory, Kind};
use replant::guest::windows::firstboot::{EC2_LAUNCH_V2, Ems, Language, Script};
use replant::guest::windows::hive::{Hive, HiveEdit, HivePlan, edit};
use replant::guest::windows::inject::{Choice, InjectError, Injection, Wishes, choose, inject, unreadable};
use replant::guest::windows::look::{Look, look};
use replant::guest::windows::registry::Planned;
use replant::guest::windows::stage::{Staged, StagedContent};
use replant::model::Hypervisor;
use serde_json::Value;
use tempfile::TempDir;

use super::super::fixtures::shell;
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
    // EC2Config would change the domain's Administrator.
    assert_eq!(choice.kinds().collect::<Vec<_>>(), [Kind::Ena, Kind::Pv]);
    assert_eq!(choice.withheld.len(), 1, "{:?}", choice.withheld);
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

/// The bytes that are staged at a path.
fn bytes<'i>(injection: &'i Injection, wanted: &str) -> Option<&'i [u8]> {
    injection.staged.iter().find_map(|staged| match staged {
        Staged::File { path, content: StagedContent::Bytes(bytes), .. } if path == wanted => Some(&bytes[..]),
        _ => None,
    })
}

#[test]
fn the_serial_console_is_on_for_a_first_boot_alone() {
    let system = "[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\VMTools]\n\n";
    let hives = Hives::of(&Guest { system, ..guest("2022") });
    let look = hives.look();
    let ems = Some(Ems { loader: true, manager: true });
    // Nothing else is to be done: so nothing is.
    let wishes = Wishes { ems, ..Wishes::default() };
    let none = inject(&look, &Choice::default(), wishes).unwrap();
    assert!(!none.console && none.first_boot.is_none() && none.system.is_empty());
    // The registry is edited: on, and off again by the first boot.
    let wishes = || Wishes { ems, is_edited: true, ..Wishes::default() };
    let on = inject(&look, &Choice::default(), wishes()).unwrap();
    assert!(on.console);
    let steps = steps(&on);
    for off in ["bcdedit.exe\" /ems {{current} off", "bcdedit.exe\" /set {{emssettings} bootems no"] {
        assert!(steps.contains(off), "{steps}");
    }
    // While that waits, it is known who turned it on.
    let after = hives.edited(&on).look();
    assert!(after.first_boot_waits);
    assert_eq!(Some(after.ems), ems);
    // On in the guest itself: it stays so.
    let kept = Wishes { ems: Some(Ems::default()), is_edited: true, ..Wishes::default() };
    assert!(inject(&look, &Choice::default(), kept).unwrap().first_boot.is_none());
}

#[test]
fn a_program_that_windows_is_about_to_delete_gets_another_name() {
    let order: Vec<String> = "\\??\\C:\\Replant\\firstboot.exe\0\0\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let system = format!(
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Session Manager]\n\"PendingFileRenameOperations\"=hex(7):{}\n\n",
        order.join(",")
    );
    let hives = Hives::of(&Guest { system: Box::leak(system.into_boxed_str()), ..guest("2022") });
    let injection = inject(&hives.look(), &Choice::default(), Wishes::default()).unwrap();
    assert!(bytes(&injection, "/Replant/firstboot-2.exe").is_some(), "{}", staged(&injection));
    assert!(bytes(&injection, "/Replant/firstboot.exe").is_none());
    let differ = difference(&hives.system, &hives.edited(&injection).system);
    assert!(differ.contains(r"C:\\Replant\\firstboot-2.exe"), "{differ}");
}

#[test]
fn launch_agents_leave_accounts_alone() {
    let folder = components();
    let of = |name: &str| {
        let look = Hives::of(&guest(name)).look();
        let choice = chosen(&look, folder.path(), Hypervisor::Nitro);
        inject(&look, &choice, Wishes::default()).unwrap()
    };
    let new = of("2022");
    let settings = String::from_utf8(bytes(&new, EC2_LAUNCH_V2).unwrap().to_vec()).unwrap();
    assert!(settings.contains("stage: preReady") && !settings.contains("setAdminAccount"), "{settings}");
    // What reads it is no parser of ours.
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let file = folder.path().join("agent-config.yml");
    fs::write(&file, &settings).unwrap();
    let read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let read: Value = serde_json::from_str(&run(Command::new(python).args(["-c", read]).arg(&file))).unwrap();
    assert_eq!(read["config"][0]["tasks"][0]["inputs"]["activation"]["type"], "amazon");
    assert_eq!(read["config"][1]["tasks"][0]["task"], "startSsm");
    assert!(steps(&new).contains("AmazonEC2Launch_msi.log\" ADDLOCAL=Basic"), "{}", steps(&new));
    let old = of("2008r2");
    assert!(bytes(&old, EC2_LAUNCH_V2).is_none());
    let script = String::from_utf8(bytes(&old, "/Replant/agents/ec2config.ps1").unwrap().to_vec()).unwrap();
    assert!(script.contains("'Ec2SetPassword'"), "{script}");
    let steps = steps(&old);
    assert!(steps.contains("[settings of EC2Config]"), "{steps}");
    assert!(steps.contains("when = succeeded install EC2Install.exe"), "{steps}");
}

#[test]
fn the_publisher_of_a_driver_is_trusted_where_windows_would_ask() {
    let folder = components();
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let catalog = folder.path().join("ena/ena.cat");
    // Two certificates in it, of which one signed: the kind of content is a catalog's.
    let sign = |subject: &str| {
        shell(&format!(
            "cd {at} && for name in other signer; do \
               openssl req -x509 -newkey rsa:2048 -nodes -keyout $name.key -out $name.pem -days 30 \
                 -subj \"/CN={subject} $name\" 2>/dev/null; done && echo list >content && \
             openssl cms -sign -binary -nodetach -in content -signer signer.pem -inkey signer.key \
               -certfile other.pem -econtent_type 1.3.6.1.4.1.311.10.1 -outform DER -out {} && \
             openssl x509 -in signer.pem -outform DER -out signer.cer",
            catalog.display()
        ));
        fs::read(directory.path().join("signer.cer")).unwrap()
    };
    let of = |name: &str| {
        let look = Hives::of(&Guest { ena: false, ..guest(name) }).look();
        let choice = chosen(&look, folder.path(), Hypervisor::Nitro);
        inject(&look, &choice, Wishes::default()).unwrap()
    };
    let certificate = sign("Amazon");
    for name in ["2008r2", "2012r2"] {
        let injection = of(name);
        assert_eq!(bytes(&injection, "/Replant/drivers/ena.cer"), Some(&certificate[..]), "{name}");
        let steps = steps(&injection);
        let trusted = steps.find("-f -addstore TrustedPublisher \"{here}\\drivers\\ena.cer\"").unwrap();
        assert!(trusted < steps.find("pnputil").unwrap(), "{steps}");
    }
    // Later ones do not ask, and nobody asks about Microsoft.
    assert!(bytes(&of("2016"), "/Replant/drivers/ena.cer").is_none());
    sign("Microsoft Windows Hardware Compatibility Publisher");
    assert!(bytes(&of("2012r2"), "/Replant/drivers/ena.cer").is_none());
}
