//! Windows installations as trees of files: hives made from `.reg` text after documented layouts,
//! programs as short texts under the names that Windows gives them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::kit::{Disk, disk, hive};

/// A version of Windows Server as its registry tells it.
pub struct Server {
    pub name: &'static str,
    pub product: &'static str,
    pub number: &'static str,
    pub build: u32,
    pub ubr: u32,
}

pub const SERVERS: [Server; 7] = [
    Server {
        name: "2008r2",
        product: "Windows Server 2008 R2 Enterprise",
        number: "6.1",
        build: 7601,
        ubr: 0,
    },
    Server { name: "2012", product: "Windows Server 2012 Standard", number: "6.2", build: 9200, ubr: 0 },
    Server { name: "2012r2", product: "Windows Server 2012 R2 Standard", number: "6.3", build: 9600, ubr: 0 },
    Server {
        name: "2016",
        product: "Windows Server 2016 Datacenter",
        number: "6.3",
        build: 14_393,
        ubr: 6897,
    },
    Server {
        name: "2019",
        product: "Windows Server 2019 Datacenter",
        number: "6.3",
        build: 17_763,
        ubr: 5696,
    },
    Server { name: "2022", product: "Windows Server 2022 Standard", number: "6.3", build: 20_348, ubr: 2402 },
    Server {
        name: "2025",
        product: "Windows Server 2025 Datacenter",
        number: "6.3",
        build: 26_100,
        ubr: 1742,
    },
];

/// What of a tree differs from a VMware guest that has EC2's drivers already.
#[derive(Clone, Copy)]
pub struct Guest {
    pub server: &'static Server,
    /// ENA installed.
    pub ena: bool,
    /// More of SYSTEM and SOFTWARE, in `.reg` text.
    pub system: &'static str,
    pub software: &'static str,
}

pub fn server(name: &str) -> &'static Server {
    SERVERS.iter().find(|server| server.name == name).unwrap()
}

pub fn guest(name: &str) -> Guest {
    Guest { server: server(name), ena: true, system: "", software: "" }
}

const CLASS: &str = "{4D36E97B-E325-11CE-BFC1-08002BE10318}";
/// The GUID of the network card.
pub const CARD: &str = "{3F9D1C07-55AA-4E21-9B57-0D6A1C2E4B10}";

fn multi(items: &[&str]) -> String {
    let bytes: Vec<String> = (items.iter().flat_map(|item| item.encode_utf16().chain([0])).chain([0]))
        .flat_map(u16::to_le_bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("hex(7):{}", bytes.join(","))
}

fn expand(text: &str) -> String {
    let bytes: Vec<String> =
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).map(|byte| format!("{byte:02x}")).collect();
    format!("hex(2):{}", bytes.join(","))
}

fn service(text: &mut String, name: &str, start: u32, overridden: Option<u32>) {
    let key = format!("HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\{name}");
    let image = expand(&format!("System32\\drivers\\{name}.sys"));
    write!(
        text,
        "[{key}]\n\"Type\"=dword:00000001\n\"Start\"=dword:{start:08x}\n\"ErrorControl\"=dword:00000001\n\"ImagePath\"={image}\n\"Group\"=\"SCSI miniport\"\n\n"
    )
    .unwrap();
    if let Some(start) = overridden {
        write!(text, "[{key}\\StartOverride]\n\"0\"=dword:{start:08x}\n\n").unwrap();
    }
}

/// The hive SYSTEM of a VMware guest.
pub fn system(guest: &Guest) -> String {
    let build = guest.server.build;
    let mut text = String::new();
    const SET: &str = "HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001";
    write!(
        text,
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\Select]\n\"Current\"=dword:00000001\n\"Default\"=dword:00000001\n\"Failed\"=dword:00000000\n\"LastKnownGood\"=dword:00000001\n\n\
         [{SET}\\Control\\ProductOptions]\n\"ProductType\"=\"ServerNT\"\n\n\
         [{SET}\\Control\\ComputerName\\ComputerName]\n\"ComputerName\"=\"WIN-APP01\"\n\n\
         [{SET}\\Control\\Session Manager\\Environment]\n\"PROCESSOR_ARCHITECTURE\"=\"AMD64\"\n\n\
         [{SET}\\Control\\Terminal Server]\n\"fDenyTSConnections\"=dword:00000000\n\n\
         [{SET}\\Control\\TimeZoneInformation]\n\"Bias\"=dword:ffffffc4\n\"TimeZoneKeyName\"=\"W. Europe Standard Time\"\n\n\
         [{SET}\\Control\\CrashControl]\n\"AutoReboot\"=dword:00000001\n\"CrashDumpEnabled\"=dword:00000007\n\n"
    )
    .unwrap();
    for name in ["atapi", "intelide", "pciide"] {
        let (start, overridden) = if build >= 9200 { (0, Some(3)) } else { (3, None) };
        service(&mut text, name, start, overridden);
    }
    service(&mut text, "LSI_SAS", 0, None);
    service(&mut text, "partmgr", 0, None);
    write!(text, "[{SET}\\Services\\partmgr\\Parameters]\n\"SanPolicy\"=dword:00000003\n\n").unwrap();
    service(&mut text, "VMTools", 2, None);
    if build >= 9600 {
        service(&mut text, "stornvme", 0, Some(3));
        write!(text, "[HKEY_LOCAL_MACHINE\\SYSTEM\\DriverDatabase\\DeviceIds\\PCI\\CC_010802]\n\"stornvme.inf\"=hex:01,ff,00,00\n\n").unwrap();
    } else {
        write!(text, "[{SET}\\Control\\CriticalDeviceDatabase\\PCI#VEN_1000&DEV_0054]\n\"Service\"=\"LSI_SAS\"\n\"ClassGUID\"=\"{CLASS}\"\n\n").unwrap();
        service(&mut text, "AWSNVMe", 3, None);
        if build >= 9200 {
            write!(text, "[HKEY_LOCAL_MACHINE\\SYSTEM\\DriverDatabase\\DeviceIds\\PCI\\VEN_1D0F&DEV_8061]\n\"oem5.inf\"=hex:01,ff,00,00\n\n").unwrap();
        }
    }
    if guest.ena {
        service(&mut text, "ena", 3, None);
    }
    let interface = format!("{SET}\\Services\\Tcpip\\Parameters\\Interfaces\\{CARD}");
    write!(
        text,
        "[{interface}]\n\"EnableDHCP\"=dword:00000000\n\"IPAddress\"={}\n\"SubnetMask\"={}\n\"DefaultGateway\"={}\n\"NameServer\"=\"10.0.0.2,10.0.0.3\"\n\n\
         [{SET}\\Control\\Network\\{{4D36E972-E325-11CE-BFC1-08002BE10318}}\\{CARD}\\Connection]\n\"Name\"=\"Ethernet0\"\n\n",
        multi(&["10.0.0.15"]),
        multi(&["255.255.255.0"]),
        multi(&["10.0.0.1"]),
    )
    .unwrap();
    const POLICY: &str = "Services\\SharedAccess\\Parameters\\FirewallPolicy";
    for profile in ["DomainProfile", "StandardProfile", "PublicProfile"] {
        write!(text, "[{SET}\\{POLICY}\\{profile}]\n\"EnableFirewall\"=dword:00000001\n\n").unwrap();
    }
    write!(
        text,
        "[{SET}\\{POLICY}\\FirewallRules]\n\"RemoteDesktop-UserMode-In-TCP\"=\"v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\\\system32\\\\svchost.exe|Name=@FirewallAPI.dll,-28775|\"\n\n{}",
        guest.system
    )
    .unwrap();
    text
}

/// The hive SOFTWARE.
pub fn software(guest: &Guest) -> String {
    let Server { product, number, build, ubr, .. } = guest.server;
    const KEY: &str = "HKEY_LOCAL_MACHINE\\SOFTWARE";
    let mut text = format!(
        "[{KEY}\\Microsoft\\Windows NT\\CurrentVersion]\n\"ProductName\"=\"{product}\"\n\"CurrentVersion\"=\"{number}\"\n\"CurrentBuildNumber\"=\"{build}\"\n\"EditionID\"=\"ServerStandard\"\n\"InstallationType\"=\"Server\"\n"
    );
    if *build >= 10_240 {
        write!(text, "\"CurrentMajorVersionNumber\"=dword:0000000a\n\"CurrentMinorVersionNumber\"=dword:00000000\n\"UBR\"=dword:{ubr:08x}\n").unwrap();
    }
    write!(
        text,
        "\n[{KEY}\\Microsoft\\NET Framework Setup\\NDP\\v4\\Full]\n\"Release\"=dword:00080ff4\n\n\
         [{KEY}\\Microsoft\\Windows\\CurrentVersion\\Policies\\System]\n\"EnableLUA\"=dword:00000001\n\"legalnoticecaption\"=\"\"\n\n{}",
        guest.software
    )
    .unwrap();
    text
}

/// The loader that the boot manager starts.
pub const LOADER: &str = "{7d1f6a1e-2c53-11ee-9b1f-806e6f6e6963}";

/// The boot configuration data.
pub fn bcd() -> String {
    const OBJECTS: &str = "HKEY_LOCAL_MACHINE\\BCD00000000\\Objects";
    format!(
        "[HKEY_LOCAL_MACHINE\\BCD00000000\\Description]\n\"KeyName\"=\"BCD00000000\"\n\"System\"=dword:00000001\n\n\
         [{OBJECTS}\\{{9dea862c-5cdd-4e70-acc1-f32b344d4795}}\\Description]\n\"Type\"=dword:10100002\n\n\
         [{OBJECTS}\\{{9dea862c-5cdd-4e70-acc1-f32b344d4795}}\\Elements\\23000003]\n\"Element\"=\"{LOADER}\"\n\n\
         [{OBJECTS}\\{LOADER}\\Description]\n\"Type\"=dword:10200003\n\n\
         [{OBJECTS}\\{LOADER}\\Elements\\12000004]\n\"Element\"=\"Windows Server\"\n\n\
         [{OBJECTS}\\{LOADER}\\Elements\\16000046]\n\"Element\"=hex:01\n\n\
         [{OBJECTS}\\{{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}}\\Description]\n\"Type\"=dword:20100000\n\n\
         [{OBJECTS}\\{{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}}\\Elements\\16000020]\n\"Element\"=hex:00\n\n"
    )
}

/// A directory as C:, in the spelling of old installations.
pub fn windows(root: &Path, system: &[u8], software: &[u8]) {
    let config = root.join("WINDOWS/System32/config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("SYSTEM"), system).unwrap();
    fs::write(config.join("SOFTWARE"), software).unwrap();
    let drivers = root.join("WINDOWS/System32/drivers");
    fs::create_dir_all(&drivers).unwrap();
    let programs = ["stornvme", "atapi", "intelide", "pciide", "LSI_SAS", "partmgr", "ntfs", "ena"];
    for name in programs.map(|name| format!("{name}.sys")) {
        fs::write(drivers.join(&name), format!("MZ {name}")).unwrap();
    }
    fs::create_dir_all(root.join("Users/Public")).unwrap();
    fs::write(root.join("WINDOWS/System32/ntoskrnl.exe"), "MZ kernel").unwrap();
}

/// A directory as the partition that Windows is started from.
pub fn boot(root: &Path, how: &str, bcd: &[u8]) {
    let directory = if how == "bios" { "Boot" } else { "EFI/Microsoft/Boot" };
    fs::create_dir_all(root.join(directory)).unwrap();
    fs::write(root.join(directory).join("BCD"), bcd).unwrap();
    match how {
        "bios" => fs::write(root.join("bootmgr"), "bootmgr").unwrap(),
        _ => fs::write(root.join(directory).join("bootmgfw.efi"), "MZ bootmgfw").unwrap(),
    }
}

/// A whole guest on a disk.
pub fn make(how: &str, guest: &Guest) -> Disk {
    let directory = tempfile::tempdir().unwrap();
    let (c, system_partition) = (directory.path().join("c"), directory.path().join("s"));
    windows(&c, &hive("SYSTEM", &system(guest)), &hive("SOFTWARE", &software(guest)));
    if guest.server.build < 9600
        && !guest.system.contains("[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Services\\AWSNVMe]")
    {
        fs::write(c.join("WINDOWS/System32/drivers/AWSNVMe.sys"), "MZ AWSNVMe.sys").unwrap();
    }
    boot(&system_partition, how, &hive("BCD00000000", &bcd()));
    disk(how, &c, &system_partition)
}
