//! Whole guests: inspected and prepared by the commands, read back by ntfs-3g's programs and regipy.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::kit::{self, Disk, regipy, run};
use super::trees::{self, CARD, Guest, LOADER, SERVERS, guest, make};
use crate::support::{Output, replant};

/// What the tests of this file do with a partition: its files, copied out by ntfs-3g or mtools.
pub fn copied(image: &Path, how: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    run(Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest/windows/read_disk.sh"))
        .args([how.as_ref(), image.as_os_str(), directory.path().as_os_str()]));
    directory
}

pub fn inspect(disk: &Disk, more: &[&str]) -> (Value, Output) {
    let arguments = [&["inspect", "disk.raw", "--json"][..], more].concat();
    let output = replant(disk.directory.path(), arguments);
    (serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.both())), output)
}

pub fn codes(inspection: &Value) -> Vec<String> {
    let findings = inspection["report"]["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| {
            format!("{} {}", finding["severity"].as_str().unwrap(), finding["code"].as_str().unwrap())
        })
        .collect()
}

/// Prepares a disk into `out.raw`.
fn prepare(disk: &Disk) -> String {
    prepared(disk, &[])
}

/// Prepares a disk into `out.raw`, with more said.
pub fn prepared(disk: &Disk, more: &[&str]) -> String {
    let arguments = [&["prepare", "disk.raw", "--write", "out.raw", "--diff"][..], more].concat();
    let output = replant(disk.directory.path(), arguments);
    assert_eq!(output.code, 0, "{}", output.both());
    // How many blocks ntfs-3g changes, and how long it all took, is not the recipe's.
    let blocks = regex::Regex::new(r"\S+ .iB of changed blocks").unwrap();
    let shown = blocks.replace_all(&output.stdout, "some changed blocks");
    // Drivers are signed anew in each run.
    let digests = regex::Regex::new("blake3:[0-9a-f]{64}").unwrap();
    let shown = digests.replace_all(&shown, "blake3:DIGEST");
    shown.lines().filter(|line| !line.starts_with("Wrote ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_version_is_told_and_prepared() {
    for server in SERVERS {
        let how = if server.build >= 17_763 { "uefi" } else { "bios" };
        let server = trees::server(server.name);
        let disk = make(how, &Guest { server, ..guest("2019") });
        let (inspection, _) = inspect(&disk, &[]);
        let facts = &inspection["report"]["facts"];
        assert_eq!(facts["product"], server.product);
        assert_eq!(facts["firmware"], how);
        assert_eq!(facts["hostname"], "WIN-APP01");
        insta::assert_snapshot!(format!("{}_findings", server.name), codes(&inspection).join("\n"));
        let diff = prepare(&disk);
        insta::assert_snapshot!(format!("{}_diff", server.name), diff);
        // A second preparation has nothing to do.
        fs::rename(disk.directory.path().join("out.raw"), disk.directory.path().join("disk.raw")).unwrap();
        let (again, _) = inspect(&disk, &[]);
        assert_eq!(again["report"]["recipe"]["edits"].as_array().unwrap().len(), 0, "{again:#}");
    }
}

#[test]
fn others_read_what_was_written_and_nothing_else_differs() {
    for how in ["bios", "uefi"] {
        let disk = make(how, &guest("2022"));
        prepare(&disk);
        let before = copied(&disk.image, how);
        let after = copied(&disk.directory.path().join("out.raw"), how);
        let at = |root: &tempfile::TempDir, path: &str| root.path().join(path);
        let hive = "windows/WINDOWS/System32/config/SYSTEM";
        let (old, new) = (regipy(&at(&before, hive)), regipy(&at(&after, hive)));
        let mut differ: Vec<&String> =
            old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).collect();
        differ.sort();
        differ.dedup();
        let set = "ControlSet001";
        let mut wanted = vec![
            format!("{set}\\Control\\CrashControl\\AutoReboot"),
            format!("{set}\\Control\\TimeZoneInformation\\RealTimeIsUniversal"),
            format!("{set}\\Services\\partmgr\\Parameters\\SanPolicy"),
        ];
        for name in ["atapi", "intelide", "pciide", "stornvme"] {
            wanted.push(format!("{set}\\Services\\{name}\\StartOverride\\"));
            wanted.push(format!("{set}\\Services\\{name}\\StartOverride\\0"));
        }
        for name in ["EnableDHCP", "IPAddress", "SubnetMask", "DefaultGateway", "NameServer"] {
            wanted.push(format!("{set}\\Services\\Tcpip\\Parameters\\Interfaces\\{CARD}\\{name}"));
        }
        // What removes VMware Tools.
        let service = format!("{set}\\Services\\ReplantFirstBoot\\");
        for name in
            ["", "Description", "DisplayName", "ErrorControl", "ImagePath", "ObjectName", "Start", "Type"]
        {
            wanted.push(format!("{service}{name}"));
        }
        wanted.push(format!("{service}SerialConsole"));
        wanted.push(format!("{set}\\Services\\VMTools\\Start"));
        wanted.sort();
        assert_eq!(differ.into_iter().cloned().collect::<Vec<_>>(), wanted);
        let bcd = if how == "bios" { "system/Boot/BCD" } else { "system/EFI/Microsoft/Boot/BCD" };
        let bcd = regipy(&at(&after, bcd));
        let ems = &bcd[&format!("Objects\\{LOADER}\\Elements\\260000b0\\Element")];
        assert_eq!(ems[1], "01", "{ems}");
        if how == "uefi" {
            let fallback = fs::read(at(&after, "system/EFI/Boot/bootx64.efi")).unwrap();
            assert_eq!(fallback, b"MZ bootmgfw");
        }
        // Every other file is as it was.
        let differ = Command::new("diff").args(["-rq"]).args([before.path(), after.path()]).output().unwrap();
        let differ = String::from_utf8(differ.stdout).unwrap();
        let lines: Vec<&str> =
            differ.lines().filter(|line| !line.contains("/SYSTEM ") && !line.contains("/BCD ")).collect();
        let is_new = |line: &str| line.contains("EFI: Boot") || line.ends_with("windows: Replant");
        let rest: Vec<&&str> = lines.iter().filter(|line| !is_new(line)).collect();
        assert!(rest.is_empty(), "{rest:?}");
        let placed = fs::read_dir(at(&after, "windows/Replant")).unwrap();
        let mut placed: Vec<String> =
            placed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        placed.sort();
        assert_eq!(placed, ["firstboot.exe", "firstboot.state", "firstboot.steps"]);
        let steps = fs::read_to_string(at(&after, "windows/Replant/firstboot.steps")).unwrap();
        let off = "bcdedit.exe\" /ems {{current} off";
        assert!(steps.contains(off), "{steps}");
    }
}

#[test]
fn a_registry_whose_newest_part_is_in_its_logs() {
    let guest = guest("2016");
    let newest = kit::hive("SYSTEM", &trees::system(&guest));
    // As it was before the network card got its address.
    let old_text =
        trees::system(&guest).replace("\"EnableDHCP\"=dword:00000000", "\"EnableDHCP\"=dword:00000001");
    let old = kit::hive("SYSTEM", &old_text);
    let dirty = kit::entries(&[old, newest], 1);
    let directory = tempfile::tempdir().unwrap();
    let (c, boot) = (directory.path().join("c"), directory.path().join("s"));
    trees::windows(&c, &dirty.hive, &kit::hive("SOFTWARE", &trees::software(&guest)));
    fs::write(c.join("WINDOWS/System32/config/SYSTEM.LOG1"), &dirty.logs[0]).unwrap();
    fs::write(c.join("WINDOWS/System32/config/SYSTEM.LOG2"), &dirty.logs[1]).unwrap();
    trees::boot(&boot, "bios", &kit::hive("BCD00000000", &trees::bcd()));
    let disk = kit::disk("bios", &c, &boot);
    let (inspection, _) = inspect(&disk, &[]);
    assert!(
        codes(&inspection).contains(&"informs guest::windows_registry_logs".to_owned()),
        "{inspection:#}"
    );
    assert_eq!(inspection["report"]["facts"]["static_addresses"]["Ethernet0"], "10.0.0.15/24");
    prepare(&disk);
    let after = copied(&disk.directory.path().join("out.raw"), "bios");
    let hive = regipy(&after.path().join("windows/WINDOWS/System32/config/SYSTEM"));
    assert_eq!(
        hive[&format!("ControlSet001\\Services\\Tcpip\\Parameters\\Interfaces\\{CARD}\\EnableDHCP")][1],
        1
    );
    // Without its logs it is not touched.
    fs::remove_file(c.join("WINDOWS/System32/config/SYSTEM.LOG1")).unwrap();
    let disk = kit::disk("bios", &c, &boot);
    let (inspection, output) = inspect(&disk, &[]);
    assert_eq!(output.code, 3);
    assert!(codes(&inspection).contains(&"blocks guest::windows_registry".to_owned()), "{inspection:#}");
    assert!(inspection["report"]["recipe"]["edits"].as_array().unwrap().is_empty());
}

#[test]
fn what_stands_in_the_way_is_found() {
    let system = "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\ProductOptions]\n\"ProductType\"=\"LanmanNT\"\n\n\
        [HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Terminal Server]\n\"fDenyTSConnections\"=dword:00000001\n\n";
    let software = "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending]\n\n\
        [HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Winlogon]\n\"AutoAdminLogon\"=\"1\"\n\n\
        [HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Policies\\System]\n\"legalnoticecaption\"=\"Notice\"\n\n";
    let disk = make("bios", &Guest { ena: false, system, software, ..guest("2012r2") });
    let (inspection, output) = inspect(&disk, &[]);
    assert_eq!(output.code, 3);
    insta::assert_snapshot!(codes(&inspection).join("\n"));
    // The same on a Xen-based type: other drivers are missing.
    let (inspection, _) = inspect(&disk, &["--instance-type", "m3.medium"]);
    let found = codes(&inspection);
    assert!(found.contains(&"blocks guest::windows_pv_missing".to_owned()), "{found:?}");
    assert!(!found.iter().any(|code| code.ends_with("windows_ena_missing")), "{found:?}");
}

#[test]
fn a_hibernated_windows_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (c, boot) = (directory.path().join("c"), directory.path().join("s"));
    let guest = guest("2022");
    trees::windows(
        &c,
        &kit::hive("SYSTEM", &trees::system(&guest)),
        &kit::hive("SOFTWARE", &trees::software(&guest)),
    );
    let mut image = b"hibr".to_vec();
    image.resize(8192, 0);
    fs::write(c.join("hiberfil.sys"), image).unwrap();
    trees::boot(&boot, "uefi", &kit::hive("BCD00000000", &trees::bcd()));
    let disk = kit::disk("uefi", &c, &boot);
    let (inspection, output) = inspect(&disk, &[]);
    assert_eq!(output.code, 3);
    let found = codes(&inspection);
    assert!(found.contains(&"blocks guest::windows_hibernated".to_owned()), "{found:?}");
    assert_eq!(inspection["report"]["facts"]["hostname"], "WIN-APP01");
    assert!(inspection["report"]["recipe"]["edits"].as_array().unwrap().is_empty());
}
