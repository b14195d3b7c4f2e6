//! What a person reads of a Windows guest: its drives, drivers, role, and what is not among the disks.

use std::fs;

use serde_json::Value;

use super::trees::{Guest, guest, make};
use crate::support::{Workspace, replant};

const SYSTEM: &str = "HKEY_LOCAL_MACHINE\\SYSTEM";

/// `.reg` text of `REG_BINARY`.
fn binary(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hex:{}", bytes.join(","))
}

fn drive(letter: char, bytes: &[u8]) -> String {
    format!("\"\\\\DosDevices\\\\{letter}:\"={}\n", binary(bytes))
}

/// A partition of an MBR disk as `MountedDevices` names it.
fn mbr(signature: u32, sector: u64) -> Vec<u8> {
    [&signature.to_le_bytes()[..], &(sector * 512).to_le_bytes()].concat()
}

/// A partition of a GPT disk: its GUID in the order that Windows stores.
fn gpt(guid: [u8; 16]) -> Vec<u8> {
    [b"DMIO:ID:".as_slice(), &guid].concat()
}

/// `E:\pagefile.sys 0 0` as `REG_MULTI_SZ`.
fn pages(file: &str) -> String {
    let text = format!("{file} 0 0\0\0");
    let bytes: Vec<String> =
        text.encode_utf16().flat_map(u16::to_le_bytes).map(|byte| format!("{byte:02x}")).collect();
    format!(
        "[{SYSTEM}\\ControlSet001\\Control\\Session Manager\\Memory Management]\n\"PagingFiles\"=hex(7):{}\n\n",
        bytes.join(",")
    )
}

fn codes(inspection: &Value) -> Vec<&str> {
    let findings = inspection["report"]["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn drives_are_told_by_their_disks() {
    // C: is where the second partition of the disk begins; E: was on a disk of another backup, with the page
    // file; F: is just remembered; D: is a DVD drive.
    let cdrom: Vec<u8> = "\\??\\SCSI#CdRom&Ven_NECVMWar".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let system = format!(
        "[{SYSTEM}\\MountedDevices]\n{}{}{}{}\n{}[{SYSTEM}\\ControlSet001\\Services\\Tcpip\\Parameters]\n\"Domain\"=\"corp.example.com\"\n\n",
        drive('C', &mbr(0x1b2c_3d4e, 26_624)),
        drive('D', &cdrom),
        drive('E', &mbr(0x5566_7788, 2048)),
        drive('F', &gpt([7; 16])),
        pages("E:\\pagefile.sys"),
    );
    let software = "[HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion]\n\"EditionID\"=\"ServerStandardEval\"\n\n";
    let disk =
        make("bios", &Guest { system: Box::leak(system.into_boxed_str()), software, ..guest("2012r2") });
    let output = replant(disk.directory.path(), ["inspect", "disk.raw", "--json"]);
    let inspection: Value = serde_json::from_str(&output.stdout).unwrap();
    let found = codes(&inspection);
    for code in ["guest::windows_page_file", "guest::windows_drive_absent", "guest::windows_edition"] {
        assert_eq!(found.iter().filter(|found| **found == code).count(), 1, "{code} in {found:?}");
    }
    let shown = replant(disk.directory.path(), ["inspect", "disk.raw"]);
    insta::assert_snapshot!("a_windows_guest", shown.stdout);
}

#[test]
fn drives_of_gpt_disks_are_told_by_their_partitions() {
    let c =
        gpt([0x10, 0x2e, 0x3f, 0x8a, 0xc4, 0x77, 0x0b, 0x4d, 0x9e, 0x6a, 0x55, 0x12, 0xf0, 0xc3, 0xd9, 0xb1]);
    let system = format!("[{SYSTEM}\\MountedDevices]\n{}\n{}", drive('C', &c), pages("?:\\pagefile.sys"));
    let disk = make("uefi", &Guest { system: Box::leak(system.into_boxed_str()), ..guest("2022") });
    let output = replant(disk.directory.path(), ["inspect", "disk.raw", "--json"]);
    let inspection: Value = serde_json::from_str(&output.stdout).unwrap();
    let details = inspection["report"]["facts"]["details"].to_string();
    assert!(details.contains("C: on disk root partition 3"), "{details}");
    let found = codes(&inspection);
    assert!(
        !found.iter().any(|code| code.contains("drive_absent") || code.contains("page_file")),
        "{found:?}"
    );
}

#[test]
fn a_drive_grows_with_its_disk_at_the_first_boot() {
    let system = format!("[{SYSTEM}\\MountedDevices]\n{}\n", drive('C', &mbr(0x1b2c_3d4e, 26_624)));
    let disk = make("bios", &Guest { system: Box::leak(system.into_boxed_str()), ..guest("2019") });
    let workspace = Workspace::new(
        "provider \"local\" {}\naccess_node \"dr\" { instance_id = \"self\" }\ninstance \"app\" {\n  image         = \"disk.raw\"\n  instance_type = \"m6i.large\"\n  disk \"root\" {\n    size = 2\n    grow = true\n  }\n}\n",
    );
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 0, "{}", planned.both());
    for shown in ["guest::windows_grow", "select volume C", "[extend C:]"] {
        assert!(planned.both().contains(shown), "{shown}: {}", planned.both());
    }
}
