//! Each finding of Windows guests, on disks that have many at once.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::kit::{self, Disk, log_in_use, run, with_c};
use super::trees::{self, Guest, guest, make};
use crate::support::{Workspace, replant};

/// The codes that an inspection finds, what is wrong with the first of `wanted` that it does not.
fn assert_found(disk: &Disk, more: &[&str], wanted: &[&str]) -> Value {
    let output = replant(disk.directory.path(), [&["inspect", "disk.raw", "--json"][..], more].concat());
    let inspection: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.both()));
    let findings = inspection["report"]["findings"].as_array().unwrap();
    let found: Vec<&str> = findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    for code in wanted {
        assert!(found.contains(code), "{code} in {found:?}");
    }
    inspection
}

const SET: &str = "HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001";
const SOFTWARE: &str = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft";

#[test]
fn a_server_that_needs_a_look() {
    let system = Box::leak(
        format!(
            "[{SET}\\Control\\ProductOptions]\n\"ProductType\"=\"LanmanNT\"\n\n[{SET}\\Control\\Terminal Server]\n\"fDenyTSConnections\"=dword:00000001\n\n[-{SET}\\Services\\atapi]\n\n"
        )
        .into_boxed_str(),
    );
    let software = Box::leak(
        format!(
            "[{SOFTWARE}\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending]\n\n[{SOFTWARE}\\Windows NT\\CurrentVersion\\Winlogon]\n\"AutoAdminLogon\"=\"1\"\n\n[{SOFTWARE}\\NET Framework Setup\\NDP\\v4\\Full]\n\"Release\"=dword:00000001\n\n"
        )
        .into_boxed_str(),
    );
    let disk = make("bios", &Guest { ena: false, system, software, ..guest("2008r2") });
    assert_found(
        &disk,
        &[],
        &[
            "guest::windows_old",
            "guest::windows_domain_controller",
            "guest::windows_rdp_denied",
            "guest::windows_reboot_pending",
            "guest::windows_auto_logon",
            "guest::windows_logon_settings",
            "guest::windows_dotnet",
            "guest::windows_space",
            "guest::windows_clock",
            "guest::windows_auto_reboot",
            "guest::windows_vmware_tools",
            "guest::windows_activation",
            "guest::windows_serial_console",
            "guest::windows_ena_missing",
        ],
    );
    assert_found(
        &disk,
        &["--instance-type", "m3.medium"],
        &["guest::windows_pv_missing", "guest::windows_disk_driver_missing"],
    );
}

#[test]
fn a_system_that_ec2_does_not_run() {
    let system = Box::leak(
        format!(
            "[{SET}\\Control\\ProductOptions]\n\"ProductType\"=\"WinNT\"\n\n[{SET}\\Control\\Session Manager\\Environment]\n\"PROCESSOR_ARCHITECTURE\"=\"x86\"\n\n[-{SET}\\Services\\AWSNVMe]\n\n[-{SET}\\Services\\SharedAccess\\Parameters\\FirewallPolicy\\FirewallRules]\n\n[{SET}\\Control\\Terminal Server\\WinStations\\RDP-Tcp]\n\"PortNumber\"=dword:00000d3e\n\n"
        )
        .into_boxed_str(),
    );
    let software = Box::leak(
        format!("[{SOFTWARE}\\Windows NT\\CurrentVersion]\n\"CurrentBuildNumber\"=\"6002\"\n\n")
            .into_boxed_str(),
    );
    let guest = Guest { system, software, ..guest("2008r2") };
    let directory = tempfile::tempdir().unwrap();
    let (c, boot) = (directory.path().join("c"), directory.path().join("s"));
    let hive = |text: &str, name: &str| kit::hive(name, text);
    trees::windows(&c, &hive(&trees::system(&guest), "SYSTEM"), &hive(&trees::software(&guest), "SOFTWARE"));
    fs::create_dir(c.join("WINDOWS/winsxs")).unwrap();
    fs::write(c.join("WINDOWS/winsxs/pending.xml"), "<PendingTransaction/>").unwrap();
    // A boot manager that names no loader.
    let bcd = trees::bcd().replace(trees::LOADER, "{00000000-0000-0000-0000-000000000000}");
    let bcd = bcd.replace("\"Element\"=\"{00000000-0000-0000-0000-000000000000}\"", "\"Element\"=\"none\"");
    trees::boot(&boot, "bios", &hive(&bcd, "BCD00000000"));
    assert_found(
        &kit::disk("bios", &c, &boot),
        &[],
        &[
            "guest::windows_client",
            "guest::windows_32_bit",
            "guest::windows_too_old",
            "guest::windows_nvme_missing",
            "guest::windows_rdp_blocked",
            "guest::windows_rdp_port",
            "guest::windows_reboot_pending",
            "guest::windows_console",
        ],
    );
    // Two of it, and no boot configuration.
    assert_found(&kit::disk("bios", &c, &c), &[], &["guest::several_windows", "guest::windows_boot_missing"]);
}

#[test]
fn what_is_closed_is_looked_into_and_not_changed() {
    // Its log says that Windows was running.
    let disk = make("uefi", &guest("2022"));
    log_in_use(&disk, 1);
    let inspection = assert_found(&disk, &[], &["guest::windows_unclean", "guest::windows_firewall"]);
    assert_eq!(inspection["report"]["facts"]["hostname"], "WIN-APP01", "{inspection:#}");
    assert!(inspection["report"]["recipe"]["edits"].as_array().unwrap().is_empty());
    // Damage that ntfs-3g will not go over: its first sector says another size of clusters.
    let disk = make("bios", &guest("2016"));
    with_c(&disk, "printf '\\003' | dd of=$loop bs=1 seek=13 conv=notrunc status=none");
    let output = replant(disk.directory.path(), ["inspect", "disk.raw"]);
    assert_eq!(output.code, 3, "{}", output.both());
}

#[test]
fn a_disk_that_grows() {
    let disk = make("bios", &guest("2019"));
    let workspace = Workspace::new(
        "provider \"local\" {}\naccess_node \"dr\" { instance_id = \"self\" }\ninstance \"app\" {\n  image         = \"disk.raw\"\n  instance_type = \"m6i.large\"\n  disk \"root\" {\n    size = 2\n    grow = true\n  }\n}\n",
    );
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 0, "{}", planned.both());
    assert!(planned.both().contains("guest::windows_not_grown"), "{}", planned.both());
}

#[test]
fn a_full_system_partition_leaves_no_half_edit() {
    // No room for the boot configuration; none for the boot manager's copy.
    for (left, code) in [(0, "guest::windows_filesystem"), (6144, "guest::windows_boot_unusable")] {
        let disk = make("uefi", &guest("2025"));
        let esp = format!("{}@@1M", disk.image.display());
        run(Command::new("bash").args([
            "-euc",
            "free=$(mdir -i \"$0\" :: | tail -2 | tr -cd 0-9)\nfull=$(mktemp)\nhead -c $((free - $1)) /dev/zero >\"$full\"\nmcopy -i \"$0\" \"$full\" ::/full\nrm \"$full\"",
            &esp,
            &left.to_string(),
        ]));
        let inspection = assert_found(&disk, &[], &["guest::efi_fallback_missing"]);
        let edits = inspection["report"]["recipe"]["edits"].as_array().unwrap().len();
        assert!(edits > 0, "only looking shows what would be");
        let prepared = replant(disk.directory.path(), ["prepare", "disk.raw", "--write", "out.raw"]);
        assert_eq!(prepared.code, 1, "{}", prepared.both());
        assert!(prepared.both().contains(code), "{code}: {}", prepared.both());
        assert!(prepared.both().contains("WIN-APP01"), "{}", prepared.both());
        assert!(!disk.directory.path().join("out.raw").exists());
    }
}

#[test]
fn a_driver_without_its_program_or_its_device_is_none() {
    let evidence = |inspection: &Value| {
        let findings = inspection["report"]["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["code"] == "guest::windows_nvme_missing").unwrap();
        assert_eq!(found["severity"], "blocks");
        found["evidence"].to_string()
    };
    // A service that starts at boot, and nothing to start.
    let system = Box::leak(
        format!("[-{SET}\\Services\\AWSNVMe]\n\n[{SET}\\Services\\stornvme]\n\"Type\"=dword:00000001\n\"Start\"=dword:00000000\n\"ImagePath\"=\"\\\\SystemRoot\\\\System32\\\\drivers\\\\gone.sys\"\n\n")
            .into_boxed_str(),
    );
    let disk = make("bios", &Guest { system, ..guest("2008r2") });
    let seen = evidence(&assert_found(&disk, &[], &["guest::windows_nvme_missing"]));
    assert!(seen.contains(r"Services\\stornvme is there, and its program is not"), "{seen}");
    assert!(seen.contains("gone.sys"), "{seen}");
    // With its program, and no device that leads to it.
    let system = "[-HKEY_LOCAL_MACHINE\\SYSTEM\\DriverDatabase\\DeviceIds\\PCI\\VEN_1D0F&DEV_8061]\n\n";
    let disk = make("bios", &Guest { system, ..guest("2012") });
    let seen = evidence(&assert_found(&disk, &[], &["guest::windows_nvme_missing"]));
    assert!(seen.contains("DeviceIds"), "{seen}");
}

#[test]
fn the_boot_configuration_is_found_on_another_disk() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let guest = guest("2016");
    for name in ["empty", "c", "s"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("empty/x"), "x").unwrap();
    let hive = |text: &str, name: &str| kit::hive(name, text);
    trees::windows(
        &at("c"),
        &hive(&trees::system(&guest), "SYSTEM"),
        &hive(&trees::software(&guest), "SOFTWARE"),
    );
    trees::boot(&at("s"), "bios", &hive(&trees::bcd(), "BCD00000000"));
    let first = kit::disk("bios", &at("empty"), &at("s"));
    let second = kit::disk("bios", &at("c"), &at("empty"));
    let of = |disks: [&Disk; 2]| {
        let images = disks.map(|disk| disk.image.to_str().unwrap());
        let output = replant(directory.path(), [&["inspect", "--json"][..], &images].concat());
        let inspection: Value = serde_json::from_str(&output.stdout).unwrap();
        let findings = inspection["report"]["findings"].as_array().unwrap();
        let codes: Vec<String> =
            findings.iter().map(|found| found["code"].as_str().unwrap().to_owned()).collect();
        (codes, inspection["report"]["recipe"].to_string())
    };
    let (codes, recipe) = of([&first, &second]);
    assert!(!codes.iter().any(|code| code.starts_with("guest::windows_boot_")), "{codes:?}");
    assert!(recipe.contains("BCD"), "{recipe}");
    // Not the first: an instance would not start from it.
    let (codes, _) = of([&second, &first]);
    assert!(codes.contains(&"guest::windows_boot_disk".to_owned()), "{codes:?}");
}

#[test]
fn a_boot_configuration_that_cannot_be_read_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (c, boot) = (directory.path().join("c"), directory.path().join("s"));
    let guest = guest("2016");
    let hive = |text: &str, name: &str| kit::hive(name, text);
    trees::windows(&c, &hive(&trees::system(&guest), "SYSTEM"), &hive(&trees::software(&guest), "SOFTWARE"));
    let newest = hive(&trees::bcd(), "BCD00000000");
    let old = hive(&trees::bcd().replace("hex:00", "hex:01"), "BCD00000000");
    // What was to be written is in a log that is not there.
    trees::boot(&boot, "bios", &kit::entries(&[old, newest], 1).hive);
    let disk = kit::disk("bios", &c, &boot);
    let inspection = assert_found(&disk, &[], &["guest::windows_console"]);
    let recipe = inspection["report"]["recipe"].to_string();
    assert!(recipe.contains("RealTimeIsUniversal") || recipe.contains("TimeZoneInformation"), "{recipe}");
    assert!(!recipe.contains("BCD"), "{recipe}");
    let prepared = replant(disk.directory.path(), ["prepare", "disk.raw", "--write", "out.raw"]);
    assert_eq!(prepared.code, 0, "{}", prepared.both());
}
