//! The registry edits that make a Windows guest boot on EC2 from what it has.

use super::hive::{Data, HiveEdit};
use super::look::{ANY_NVME, AWS_NVME, Look};
use super::registry::Planned;
use super::services::{BOOT, DISABLED};
use super::version::WINDOWS_8;

/// Drivers that find the root disk: NVMe on Nitro-based types, the emulated IDE disk and PV on
/// Xen-based ones.
const STORAGE: [&str; 7] = ["stornvme", "AWSNVMe", "atapi", "intelide", "pciide", "xenbus", "xenvbd"];
/// Services of VMware Tools, which nothing else needs. Their drivers stay: filters of other devices.
const VMWARE: [&str; 3] = ["VMTools", "VGAuthService", "vm3dservice"];
/// The class of disk controllers (`SCSIAdapter`).
pub const DISK_CONTROLLERS: &str = "{4D36E97B-E325-11CE-BFC1-08002BE10318}";
/// `SanPolicy`: every disk that appears is brought online (`VDS_SP_ONLINE`).
const ONLINE_ALL: u32 = 1;

fn set(key: String, name: &str, data: Data, purpose: &'static str) -> Planned {
    Planned { edit: HiveEdit::Set { key, name: name.to_owned(), data }, purpose }
}

/// The edits of the hive `SYSTEM`, in an order that a reviewer follows; none of them changes
/// anything where it is so already.
#[must_use]
pub fn system(look: &Look) -> Vec<Planned> {
    let Look { set: control_set, .. } = look;
    let mut edits = Vec::new();
    for name in STORAGE {
        let Some(driver) = look.drivers.get(name).filter(|driver| !driver.starts_at_boot()) else { continue };
        let key = format!("{control_set}\\Services\\{name}");
        const PURPOSE: &str = "start the drivers of EC2's disks at boot";
        if driver.start != BOOT {
            edits.push(set(key.clone(), "Start", Data::Number(BOOT), PURPOSE));
        }
        if driver.has_overrides {
            let edit = HiveEdit::DeleteKey { key: format!("{key}\\StartOverride") };
            edits.push(Planned { edit, purpose: PURPOSE });
        }
    }
    edits.extend(devices(look));
    edits.push(set(
        format!("{control_set}\\Control\\TimeZoneInformation"),
        "RealTimeIsUniversal",
        Data::Number(1),
        "take the hardware clock for UTC, which it is on EC2",
    ));
    edits.push(set(
        format!("{control_set}\\Control\\CrashControl"),
        "AutoReboot",
        Data::Number(0),
        "stay at a stop error instead of restarting for ever",
    ));
    edits.push(set(
        format!("{control_set}\\Services\\partmgr\\Parameters"),
        "SanPolicy",
        Data::Number(ONLINE_ALL),
        "bring data disks online",
    ));
    for name in VMWARE.into_iter().filter(|name| look.has_service(name)) {
        edits.push(set(
            format!("{control_set}\\Services\\{name}"),
            "Start",
            Data::Number(DISABLED),
            "keep VMware's services from starting where there is no VMware",
        ));
    }
    for card in &look.cards {
        let key = format!("{control_set}\\Services\\Tcpip\\Parameters\\Interfaces\\{}", card.id);
        const PURPOSE: &str = "ask DHCP, which hands out the instance's address";
        edits.push(set(key.clone(), "EnableDHCP", Data::Number(1), PURPOSE));
        for name in ["IPAddress", "SubnetMask", "DefaultGateway", "DefaultGatewayMetric", "NameServer"] {
            let edit = HiveEdit::DeleteValue { key: key.clone(), name: name.to_owned() };
            edits.push(Planned { edit, purpose: PURPOSE });
        }
    }
    edits
}

/// What leads from NVMe disks to a driver that is there, before Windows 8: a driver that was installed on
/// a machine without such a disk has no entry (seen in a Windows 7).
fn devices(look: &Look) -> Vec<Planned> {
    let mut edits = Vec::new();
    if look.version.build >= WINDOWS_8 {
        return edits;
    }
    for (service, devices) in [("AWSNVMe", AWS_NVME.as_slice()), ("stornvme", &[ANY_NVME])] {
        if !look.drivers.contains_key(service) || look.is_injected(service) {
            continue;
        }
        for device in devices.iter().filter(|device| !look.leads.contains(*device)) {
            let key = format!("{}\\Control\\CriticalDeviceDatabase\\PCI#{device}", look.set);
            const PURPOSE: &str = "lead from EC2's disks to the driver that is there";
            edits.push(set(key.clone(), "Service", Data::Text(service.to_owned()), PURPOSE));
            edits.push(set(key, "ClassGUID", Data::Text(DISK_CONTROLLERS.to_owned()), PURPOSE));
        }
    }
    edits
}
