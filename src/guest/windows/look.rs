//! What a Windows guest is, read from its registry.

use std::collections::{BTreeMap, BTreeSet};

use super::drives::{self, Letter};
use super::firstboot::{self, Ems, SERVICE};
use super::hive::{Data, Hive, HiveError, Key};
use super::remote::Remote;
use super::services::{Service, service};
use super::version::{Version, WINDOWS_8};

/// Drivers that decide whether a guest boots and is reached on EC2.
const DRIVERS: [&str; 16] = [
    "stornvme", "AWSNVMe", "ena", "xenvbd", "xennet", "xenbus", "xenfilt", "xeniface", "atapi", "intelide",
    "pciide", "storahci", "partmgr", "vmbus", "storvsc", "fvevol",
];
/// EC2's NVMe controllers by Amazon's ids (EBS volumes, instance store), and all NVMe controllers by their
/// class.
pub const AWS_NVME: [&str; 5] =
    ["VEN_1D0F&DEV_0061", "VEN_1D0F&DEV_0065", "VEN_1D0F&DEV_8061", "VEN_1D0F&DEV_CD00", "VEN_1D0F&DEV_CD01"];
/// See [`AWS_NVME`].
pub const ANY_NVME: &str = "CC_010802";
/// The value of the first boot's service that names the drivers which Replant put in for it.
pub const INJECTED: &str = "Injected";
/// Its value that names the switches of the serial console which Replant turned on for it, and the names.
pub const CONSOLE: &str = "SerialConsole";
/// See [`CONSOLE`].
pub const LOADER: &str = "loader";
/// See [`CONSOLE`].
pub const MANAGER: &str = "boot manager";
/// Most services and updates whose names are looked at.
const MOST_NAMES: usize = 100_000;
/// Updates that make Windows 7 and Server 2008 R2 take drivers signed under SHA-256.
const SHA2_UPDATES: [&str; 2] = ["KB3033929", "KB4474419"];
/// Most network cards that are looked at.
const MOST_CARDS: usize = 256;

/// A network card with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticCard {
    /// The interface's GUID, which is its key's name.
    pub id: String,
    /// What people call it (`Ethernet0`).
    pub name: String,
    /// Its addresses, `10.0.0.5/24`.
    pub addresses: Vec<String>,
    /// Its gateways.
    pub gateways: Vec<String>,
}

/// What the registry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The control set that is booted: `ControlSet001`.
    pub set: String,
    /// The version.
    pub version: Version,
    /// `Windows Server 2019 Datacenter`.
    pub product: String,
    /// `ServerDatacenter`.
    pub edition: String,
    /// `WinNT`, `ServerNT` or `LanmanNT`.
    pub product_type: String,
    /// `AMD64`, `x86`, `ARM64`.
    pub processor: String,
    /// Its name.
    pub hostname: Option<String>,
    /// The drivers that matter, those that are there.
    pub drivers: BTreeMap<&'static str, Service>,
    /// Those of them that are services without a program, and where that should be.
    pub absent: BTreeMap<&'static str, String>,
    /// What stands behind `PCI\\` in the ids of EC2's NVMe controllers that lead to a service before
    /// Windows has its driver store.
    pub leads: BTreeSet<&'static str>,
    /// Cards with addresses of their own.
    pub cards: Vec<StaticCard>,
    /// Whether Remote Desktop lets anybody in.
    pub remote: Remote,
    /// Whether the hardware clock is taken for UTC.
    pub clock_is_utc: bool,
    /// .NET's release number, when 4.5 or later is there.
    pub dotnet: Option<u32>,
    /// Whether somebody is logged on automatically.
    pub auto_logon: bool,
    /// Whether User Account Control is on.
    pub uac: bool,
    /// Whether a notice must be read before logging on.
    pub legal_notice: bool,
    /// Whether an update waits for a restart.
    pub reboot_pending: bool,
    /// Whether an update's changes of files wait for one (`WinSxS\pending.xml`), which no hive says.
    pub files_pending: bool,
    /// How new disks are treated (`SanPolicy`): 1 is online.
    pub san_policy: Option<u32>,
    /// Whether it restarts after a stop error.
    pub auto_reboot: bool,
    /// Whether VMware Tools are there.
    pub vmware_tools: bool,
    /// Where Windows pages to: `C:\pagefile.sys`, `?:\pagefile.sys` for a drive of its choice.
    pub page_files: Vec<String>,
    /// Whether shutting down hibernates it (Fast Startup).
    pub fast_startup: bool,
    /// The DNS domain that it is a member of.
    pub domain: Option<String>,
    /// The drive letters it remembers.
    pub letters: Vec<Letter>,
    /// The letter of the drive that Windows is on.
    pub drive: char,
    /// All services and drivers, in upper case.
    pub services: BTreeSet<String>,
    /// Whether a first boot that Replant prepared has not run yet.
    pub first_boot_waits: bool,
    /// What the first boot's program is called: a name that no earlier one has deleted.
    pub program: String,
    /// The drivers that Replant put in for it.
    pub injected: Vec<String>,
    /// The switches of the serial console that Replant turned on for it.
    pub ems: Ems,
    /// Where Windows looks for drivers (`DevicePath`).
    pub device_path: Option<Data>,
    /// Whether an update for SHA-256 signatures is there, which only old versions need.
    pub knows_sha2: bool,
    /// Whether the first EC2Launch is there, which has no service.
    pub first_launch: bool,
}

impl Look {
    /// Whether there is a service or driver of this name.
    #[must_use]
    pub fn has_service(&self, name: &str) -> bool {
        self.services.contains(&name.to_uppercase())
    }

    /// Whether Replant put a driver in whose first boot has not run yet.
    #[must_use]
    pub fn is_injected(&self, name: &str) -> bool {
        self.injected.iter().any(|injected| injected.eq_ignore_ascii_case(name))
    }

    /// Whether it is a domain controller.
    #[must_use]
    pub fn is_domain_controller(&self) -> bool {
        self.product_type.eq_ignore_ascii_case("LanmanNT")
    }
}

struct Reader<'h> {
    hive: &'h Hive<'h>,
}

impl<'h> Reader<'h> {
    fn key(&self, path: &str) -> Result<Option<Key<'h>>, HiveError> {
        self.hive.key(path)
    }

    fn number(&self, path: &str, name: &str) -> Result<Option<u32>, HiveError> {
        let value = match self.key(path)? {
            Some(key) => key.value(name)?,
            None => None,
        };
        Ok(value.and_then(|value| value.number()))
    }

    fn text(&self, path: &str, name: &str) -> Result<Option<String>, HiveError> {
        let value = match self.key(path)? {
            Some(key) => key.value(name)?,
            None => None,
        };
        Ok(value
            .and_then(|value| value.text())
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty()))
    }
}

/// Reads the two hives that tell what a guest is; `None` when they are no Windows'.
///
/// # Errors
/// When a hive is damaged where it is read.
pub fn look(system: &Hive<'_>, software: &Hive<'_>) -> Result<Option<Look>, HiveError> {
    let (system, software) = (Reader { hive: system }, Reader { hive: software });
    let Some(current) = system.number("Select", "Current")? else { return Ok(None) };
    let set = format!("ControlSet{current:03}");
    let control = format!("{set}\\Control");
    const WINDOWS: &str = "Microsoft\\Windows NT\\CurrentVersion";
    let Some(build) = software.text(WINDOWS, "CurrentBuildNumber")?.and_then(|text| text.parse().ok()) else {
        return Ok(None);
    };
    let number = number(&software, WINDOWS)?;
    let revision = software.number(WINDOWS, "UBR")?.unwrap_or_default();
    let mut drivers = BTreeMap::new();
    for name in DRIVERS {
        if let Some(found) = service(system.hive, &set, name)? {
            drivers.insert(name, found);
        }
    }
    let mut services = BTreeSet::new();
    if let Some(key) = system.key(&format!("{set}\\Services"))? {
        services.extend(key.subkeys()?.iter().take(MOST_NAMES).map(|key| key.name().to_uppercase()));
    }
    let first_boot = system.key(&format!("{set}\\Services\\{SERVICE}"))?;
    const POLICIES: &str = "Microsoft\\Windows\\CurrentVersion\\Policies\\System";
    let notice = |name| software.text(POLICIES, name);
    Ok(Some(Look {
        version: Version { number, build, revision },
        product: software.text(WINDOWS, "ProductName")?.unwrap_or_else(|| "Windows".to_owned()),
        edition: software.text(WINDOWS, "EditionID")?.unwrap_or_default(),
        product_type: system.text(&format!("{control}\\ProductOptions"), "ProductType")?.unwrap_or_default(),
        processor: system
            .text(&format!("{control}\\Session Manager\\Environment"), "PROCESSOR_ARCHITECTURE")?
            .unwrap_or_default(),
        hostname: system.text(&format!("{control}\\ComputerName\\ComputerName"), "ComputerName")?,
        drivers,
        absent: BTreeMap::new(),
        leads: leads(&system, &set, build)?,
        cards: cards(&system, &set)?,
        remote: Remote::read(system.hive, software.hive, &set)?,
        clock_is_utc: system.number(&format!("{control}\\TimeZoneInformation"), "RealTimeIsUniversal")?
            == Some(1),
        dotnet: software.number("Microsoft\\NET Framework Setup\\NDP\\v4\\Full", "Release")?,
        auto_logon: software.text(&format!("{WINDOWS}\\Winlogon"), "AutoAdminLogon")?.as_deref() == Some("1"),
        uac: software.number(POLICIES, "EnableLUA")? != Some(0),
        legal_notice: notice("legalnoticecaption")?.is_some() || notice("legalnoticetext")?.is_some(),
        reboot_pending: software
            .key("Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending")?
            .is_some(),
        files_pending: false,
        san_policy: system.number(&format!("{set}\\Services\\partmgr\\Parameters"), "SanPolicy")?,
        auto_reboot: system.number(&format!("{control}\\CrashControl"), "AutoReboot")? != Some(0),
        vmware_tools: services.contains("VMTOOLS"),
        drive: drive(software.text(WINDOWS, "SystemRoot")?.as_deref()),
        first_boot_waits: first_boot.is_some(),
        program: match system.key(&format!("{control}\\Session Manager"))? {
            Some(key) => {
                let deletions = key.value("PendingFileRenameOperations")?;
                firstboot::program(&deletions.map(|value| value.bytes).unwrap_or_default())
            }
            None => firstboot::PROGRAM.to_owned(),
        },
        injected: names(first_boot, INJECTED)?,
        ems: {
            let on = names(first_boot, CONSOLE)?;
            let is_on = |switch: &str| on.iter().any(|name| name == switch);
            Ems { loader: is_on(LOADER), manager: is_on(MANAGER) }
        },
        device_path: match software.key("Microsoft\\Windows\\CurrentVersion")? {
            Some(key) => key.value("DevicePath")?.map(|value| value.data()),
            None => None,
        },
        knows_sha2: build >= WINDOWS_8 || has_update(&software)?,
        first_launch: false,
        page_files: page_files(&system, &control)?,
        fast_startup: system
            .number(&format!("{control}\\Session Manager\\Power"), "HiberbootEnabled")?
            .is_some_and(|enabled| enabled != 0),
        domain: system.text(&format!("{set}\\Services\\Tcpip\\Parameters"), "Domain")?,
        letters: drives::letters(system.hive)?,
        services,
        set,
    }))
}

/// A list of names in a key that may be there.
fn names(key: Option<Key<'_>>, value: &str) -> Result<Vec<String>, HiveError> {
    Ok(match key.map(|key| key.value(value)).transpose()?.flatten().map(|value| value.data()) {
        Some(Data::List(names)) => names,
        _ => Vec::new(),
    })
}

/// Which NVMe controllers lead to a service: in `CriticalDeviceDatabase`, in `DriverDatabase` later.
fn leads(system: &Reader<'_>, set: &str, build: u32) -> Result<BTreeSet<&'static str>, HiveError> {
    let mut leads = BTreeSet::new();
    for device in AWS_NVME.into_iter().chain([ANY_NVME]) {
        let leads_on = if build < WINDOWS_8 {
            let key = format!("{set}\\Control\\CriticalDeviceDatabase\\PCI#{device}");
            system.text(&key, "Service")?.is_some()
        } else {
            match system.key(&format!("DriverDatabase\\DeviceIds\\PCI\\{device}"))? {
                Some(key) => key.values()?.next().is_some(),
                None => false,
            }
        };
        if leads_on {
            leads.insert(device);
        }
    }
    Ok(leads)
}

/// The drive of `C:\\Windows`.
fn drive(root: Option<&str>) -> char {
    let mut characters = root.unwrap_or_default().chars();
    match (characters.next(), characters.next()) {
        (Some(letter), Some(':')) if letter.is_ascii_alphabetic() => letter.to_ascii_uppercase(),
        _ => 'C',
    }
}

/// Whether an update for SHA-256 signatures is installed.
fn has_update(software: &Reader<'_>) -> Result<bool, HiveError> {
    const PACKAGES: &str = "Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\Packages";
    let Some(packages) = software.key(PACKAGES)? else { return Ok(false) };
    let names = packages.subkeys()?;
    let is_one = |name: &str| SHA2_UPDATES.iter().any(|update| name.contains(update));
    Ok(names.iter().take(MOST_NAMES).any(|key| is_one(&key.name())))
}

/// The page files without their sizes (`C:\\pagefile.sys 1024 4096`).
fn page_files(system: &Reader<'_>, control: &str) -> Result<Vec<String>, HiveError> {
    let Some(key) = system.key(&format!("{control}\\Session Manager\\Memory Management"))? else {
        return Ok(Vec::new());
    };
    let Some(Data::List(files)) = key.value("PagingFiles")?.map(|value| value.data()) else {
        return Ok(Vec::new());
    };
    let path = |file: &String| file.split(' ').next().filter(|path| !path.is_empty()).map(str::to_owned);
    Ok(files.iter().filter_map(path).collect())
}

fn number(software: &Reader<'_>, key: &str) -> Result<(u32, u32), HiveError> {
    // From Windows 10 on; `CurrentVersion` has stayed at 6.3.
    if let Some(major) = software.number(key, "CurrentMajorVersionNumber")? {
        return Ok((major, software.number(key, "CurrentMinorVersionNumber")?.unwrap_or_default()));
    }
    let text = software.text(key, "CurrentVersion")?.unwrap_or_default();
    let (major, minor) = text.split_once('.').unwrap_or((&text, "0"));
    Ok((major.parse().unwrap_or_default(), minor.parse().unwrap_or_default()))
}

fn cards(system: &Reader<'_>, set: &str) -> Result<Vec<StaticCard>, HiveError> {
    let mut cards = Vec::new();
    let Some(interfaces) = system.key(&format!("{set}\\Services\\Tcpip\\Parameters\\Interfaces"))? else {
        return Ok(cards);
    };
    for key in interfaces.subkeys()?.into_iter().take(MOST_CARDS) {
        let list = |name: &str| -> Result<Vec<String>, HiveError> {
            Ok(match key.value(name)?.map(|value| value.data()) {
                Some(Data::List(items)) => items,
                Some(Data::Text(text)) if !text.is_empty() => vec![text],
                _ => Vec::new(),
            })
        };
        let is_dhcp = key.value("EnableDHCP")?.and_then(|value| value.number()) != Some(0);
        let addresses = list("IPAddress")?;
        if is_dhcp || addresses.iter().all(|address| address == "0.0.0.0") {
            continue;
        }
        let masks = list("SubnetMask")?;
        let with_prefix = |(index, address): (usize, &String)| {
            let mask = masks.get(index).and_then(|mask| mask.parse::<std::net::Ipv4Addr>().ok());
            match mask {
                Some(mask) => format!("{address}/{}", mask.to_bits().leading_ones()),
                None => address.clone(),
            }
        };
        let id = key.name();
        let name = system
            .text(
                &format!(
                    "{set}\\Control\\Network\\{{4D36E972-E325-11CE-BFC1-08002BE10318}}\\{id}\\Connection"
                ),
                "Name",
            )?
            .unwrap_or_else(|| id.clone());
        let gateways = list("DefaultGateway")?.into_iter().filter(|gateway| !gateway.is_empty()).collect();
        cards.push(StaticCard {
            addresses: addresses.iter().enumerate().map(with_prefix).collect(),
            gateways,
            id,
            name,
        });
    }
    Ok(cards)
}
