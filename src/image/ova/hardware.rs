//! From a description's items to a machine.

use super::appliance::{Appliance, ApplianceDisk, Nic, OsHint};
use super::description::{Description, Item};
use super::units;
use crate::model::{Firmware, MIB};

/// CIM's numbers of kinds of resources.
const PROCESSOR: u64 = 3;
const MEMORY: u64 = 4;
const IDE: u64 = 5;
const SCSI: u64 = 6;
const NETWORK: u64 = 10;
const DISK: u64 = 17;
const OTHER_STORAGE: u64 = 20;

/// The machine of a description; its files are not looked for yet.
pub(super) fn machine(description: &Description) -> Appliance {
    let items =
        |kind: u64| description.items.iter().filter(move |item| item.number("ResourceType") == Some(kind));
    let memory = items(MEMORY).next().and_then(|item| {
        let unit = item.get("AllocationUnits").map_or(Some(MIB), units::bytes)?;
        Some(item.number("VirtualQuantity")?.checked_mul(unit)? / MIB)
    });
    Appliance {
        path: std::path::PathBuf::new(),
        name: description.name.clone(),
        disks: disks(description),
        memory_mib: memory,
        vcpus: items(PROCESSOR).next().and_then(|item| u32::try_from(item.number("VirtualQuantity")?).ok()),
        firmware: description.firmware.as_deref().map(|firmware| {
            // VMware writes `efi`, VirtualBox `EFI`, `EFI64` and the like.
            if firmware.to_ascii_lowercase().contains("efi") { Firmware::Uefi } else { Firmware::Bios }
        }),
        nics: items(NETWORK).map(nic).collect(),
        os: description
            .os_description
            .clone()
            .map(|text| OsHint { id: description.os_id, description: text })
            .or(description.os_id.map(|id| OsHint { id: Some(id), description: String::new() })),
        digests: Vec::new(),
    }
}

fn nic(item: &Item) -> Nic {
    let text = |name: &str| item.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    Nic {
        name: text("ElementName").or_else(|| text("InstanceID")).unwrap_or_default(),
        network: text("Connection"),
        model: text("ResourceSubType"),
        mac: text("Address"),
    }
}

/// The disks in the order of their controllers and places, those first that the machine is told
/// to boot from. Disks that no item attaches come last.
fn disks(description: &Description) -> Vec<ApplianceDisk> {
    let id_of = |item: &Item| item.get("InstanceID").map(str::to_owned);
    let mut found: Vec<((usize, usize, u64), ApplianceDisk)> = description
        .disks
        .iter()
        .filter(|disk| !description.disks.iter().any(|other| other.parent.as_ref() == Some(&disk.id)))
        .map(|disk| {
            let item = description.items.iter().find(|item| attaches(item, &disk.id));
            let place = item.and_then(|item| item.number("AddressOnParent"));
            let controller = item.and_then(|item| item.get("Parent")).and_then(|parent| {
                description.items.iter().position(|item| item.get("InstanceID") == Some(parent))
            });
            let boot = item
                .and_then(id_of)
                .and_then(|id| description.boot_items.iter().position(|boot| *boot == id));
            let order =
                (boot.unwrap_or(usize::MAX), controller.unwrap_or(usize::MAX), place.unwrap_or(u64::MAX));
            let attached_to = controller
                .and_then(|index| description.items.get(index))
                .map(|controller| bus(controller, place))
                .unwrap_or_default();
            let disk = ApplianceDisk {
                id: disk.id.clone(),
                name: String::new(),
                file: disk.file.clone(),
                stored_bytes: 0,
                format: disk.format.clone(),
                capacity: disk.capacity,
                attached_to,
                boot_order: 0,
            };
            (order, disk)
        })
        .collect();
    found.sort_by_key(|(order, _)| *order);
    found
        .into_iter()
        .zip(0u32..)
        .map(|((_, disk), index)| ApplianceDisk {
            name: if index == 0 { "root".to_owned() } else { format!("data{index}") },
            boot_order: index,
            ..disk
        })
        .collect()
}

/// Whether an item is the drive of that disk: `ovf:/disk/vmdisk1`, `/disk/vmdisk1`.
fn attaches(item: &Item, disk: &str) -> bool {
    let is_drive = matches!(item.number("ResourceType"), Some(DISK)) || item.get("ResourceType").is_none();
    is_drive
        && item
            .get("HostResource")
            .is_some_and(|resource| resource.trim_start_matches("ovf:").strip_prefix("/disk/") == Some(disk))
}

fn bus(controller: &Item, place: Option<u64>) -> String {
    let kind = match controller.number("ResourceType") {
        Some(IDE) => "ide",
        Some(SCSI) => "scsi",
        Some(OTHER_STORAGE) => {
            let model = controller.get("ResourceSubType").unwrap_or_default().to_ascii_lowercase();
            if model.contains("nvme") { "nvme" } else { "sata" }
        }
        _ => "other",
    };
    let number = controller.number("Address").unwrap_or(0);
    place.map_or_else(|| format!("{kind} {number}"), |place| format!("{kind} {number}:{place}"))
}
