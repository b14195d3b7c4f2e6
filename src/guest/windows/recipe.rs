//! The registry edits that make a Windows guest boot on EC2 from what it has.

use super::hive::{Data, HiveEdit};
use super::look::Look;
use super::registry::Planned;
use super::services::BOOT;

/// Drivers that find the root disk: NVMe on Nitro-based types, the emulated IDE disk and PV on
/// Xen-based ones.
const STORAGE: [&str; 7] = ["stornvme", "AWSNVMe", "atapi", "intelide", "pciide", "xenbus", "xenvbd"];
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
        if driver.overridden.is_some() {
            let edit = HiveEdit::DeleteKey { key: format!("{key}\\StartOverride") };
            edits.push(Planned { edit, purpose: PURPOSE });
        }
    }
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
