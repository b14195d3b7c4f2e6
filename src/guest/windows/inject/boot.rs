//! A driver that Windows boots from: its program, its service and the devices that lead to it.

use super::database;
use super::error::InjectError;
use crate::guest::windows::components::{Driver, Kind};
use crate::guest::windows::firstboot::Remnant;
use crate::guest::windows::hive::{Data, HiveEdit};
use crate::guest::windows::inf::{RegistryData, RegistryValue, Service};
use crate::guest::windows::look::Look;
use crate::guest::windows::recipe::DISK_CONTROLLERS;
use crate::guest::windows::registry::Planned;
use crate::guest::windows::services;
use crate::guest::windows::stage::{Access, Staged, StagedContent};
use crate::guest::windows::version::WINDOWS_8;

/// What each edit is for.
pub(super) const PURPOSE: &str = "start AWS's NVMe driver with Windows: its disks are NVMe";
/// The load order group of disk controllers, when a setup information file names none.
const GROUP: &str = "SCSI miniport";
/// Longest name of a key, in characters (Microsoft, "Registry element size limits").
const LONGEST_KEY: usize = 255;
/// Values of a service that are not the setup information file's to choose.
const OWN: [&str; 5] = ["Type", "Start", "ErrorControl", "Group", "ImagePath"];

/// A driver that is put in.
#[derive(Debug)]
pub struct BootDriver {
    /// Edits of SYSTEM.
    pub system: Vec<Planned>,
    /// Its program, where Windows loads it from before the driver store is there.
    pub program: Staged,
    /// The name of its service.
    pub service: String,
    /// What the first boot takes away again, when Windows has installed the driver itself.
    pub remnants: Vec<Remnant>,
}

/// A value to be set.
pub(super) fn set(key: &str, name: &str, data: Data) -> Planned {
    let edit = HiveEdit::Set { key: key.to_owned(), name: name.to_owned(), data };
    Planned { edit, purpose: PURPOSE }
}

/// A value of a setup information file below a key; none for what only takes values away or makes keys,
/// since the key is new.
pub(super) fn value(below: &str, value: &RegistryValue) -> Option<Planned> {
    let data = match &value.data {
        RegistryData::Text(text) => Data::Text(text.clone()),
        RegistryData::Expandable(text) => Data::Expand(text.clone()),
        RegistryData::Texts(texts) => Data::List(texts.clone()),
        RegistryData::Number(number) => Data::Number(*number),
        RegistryData::Long(number) => Data::Long(*number),
        RegistryData::Bytes(bytes) => Data::Binary(bytes.clone()),
        RegistryData::Other(kind, bytes) => Data::Other { kind: u32::from(*kind), bytes: bytes.clone() },
        RegistryData::Key | RegistryData::Delete => return None,
    };
    // Other roots are for the installation at the first boot; no driver starts by them.
    (value.root == "HKR").then(|| set(&format!("{below}\\{}", value.key), &value.name, data))
}

/// A name as a part of a key's path.
pub(super) fn part<'n>(driver: &Driver, name: &'n str) -> Result<&'n str, InjectError> {
    let is_name = !name.is_empty()
        && name.chars().count() <= LONGEST_KEY
        && !name.chars().any(|c| c == '\\' || c == '/' || c.is_control());
    if is_name {
        return Ok(name);
    }
    Err(InjectError::Name { place: driver.place.clone(), name: name.to_owned() })
}

/// What stands behind `PCI\` in the ids of EC2's disk controllers that the driver is for.
fn devices(driver: &Driver) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    for id in driver.models.iter().flat_map(|model| model.ids()) {
        let known = (Kind::of_device(id) == Some(driver.kind)).then(|| id.strip_prefix("PCI\\")).flatten();
        let Some(device) = known.filter(|device| part(driver, device).is_ok()) else { continue };
        if !devices.iter().any(|found| found == device) {
            devices.push(device.to_owned());
        }
    }
    devices
}

/// The class's GUID, upper case in braces.
pub(super) fn class(driver: &Driver) -> &str {
    match driver.version.class_guid.as_str() {
        // When a setup information file names none.
        "" => DISK_CONTROLLERS,
        named => named,
    }
}

/// A driver as values that make Windows boot with it.
///
/// # Errors
/// When its setup information file names what no registry can hold, or a service that the guest has.
pub fn boot_driver(driver: &Driver, look: &Look) -> Result<BootDriver, InjectError> {
    let none = || InjectError::NoDevice { place: driver.place.clone() };
    let service = driver.install.service().ok_or_else(none)?;
    let (_, program) = service.binary.as_ref().ok_or_else(none)?;
    let name = part(driver, &service.name)?;
    let devices = devices(driver);
    if devices.is_empty() {
        return Err(none());
    }
    // One of Amazon's without a program, or that no device leads to, is put in anew.
    let is_amazons = name.eq_ignore_ascii_case("AWSNVMe");
    if look.has_service(name) && !look.is_injected(name) && !is_amazons {
        return Err(InjectError::Taken { place: driver.place.clone(), name: name.to_owned() });
    }
    let mut system =
        service_values(&format!("{}\\Services\\{name}", look.set), service, part(driver, program)?);
    if look.has_service(name) {
        let key = format!("{}\\Services\\{name}\\StartOverride", look.set);
        system.push(Planned { edit: HiveEdit::DeleteKey { key }, purpose: PURPOSE });
    }
    let mut remnants = Vec::new();
    if look.version.build < WINDOWS_8 {
        for device in &devices {
            let key = format!("{}\\Control\\CriticalDeviceDatabase\\PCI#{device}", look.set);
            system.push(set(&key, "Service", Data::Text(name.to_owned())));
            system.push(set(&key, "ClassGUID", Data::Text(class(driver).to_owned())));
        }
    } else {
        let stub = database::stub(driver, name, &devices)?;
        system.extend(stub.edits);
        remnants = stub.remnants;
    }
    let program = Staged::File {
        path: format!("/Windows/System32/drivers/{program}"),
        content: StagedContent::Found(driver.program.clone()),
        access: Access::LikeSibling,
        purpose: PURPOSE,
    };
    Ok(BootDriver { system, program, service: name.to_owned(), remnants })
}

fn service_values(key: &str, service: &Service, program: &str) -> Vec<Planned> {
    let group = if service.group.is_empty() { GROUP } else { &service.group };
    let mut values = vec![
        set(key, "Type", Data::Number(service.kind)),
        set(key, "Start", Data::Number(services::BOOT)),
        set(key, "ErrorControl", Data::Number(service.error_control)),
        set(key, "Group", Data::Text(group.to_owned())),
        set(key, "ImagePath", Data::Expand(format!("system32\\drivers\\{program}"))),
    ];
    if !service.display_name.is_empty() {
        values.push(set(key, "DisplayName", Data::Text(service.display_name.clone())));
    }
    // A group's name stands behind a plus sign ("INF AddService directive").
    let (groups, others): (Vec<&String>, _) =
        service.dependencies.iter().filter(|name| !name.is_empty()).partition(|name| name.starts_with('+'));
    let groups: Vec<String> = groups.into_iter().map(|name| name[1..].to_owned()).collect();
    let others: Vec<String> = others.into_iter().cloned().collect();
    for (name, list) in [("DependOnService", others), ("DependOnGroup", groups)] {
        if !list.is_empty() {
            values.push(set(key, name, Data::List(list)));
        }
    }
    let is_own = |value: &&RegistryValue| {
        value.key.trim_matches('\\').is_empty() && OWN.iter().any(|own| own.eq_ignore_ascii_case(&value.name))
    };
    values
        .extend(service.registry.iter().filter(|value| !is_own(value)).filter_map(|added| value(key, added)));
    values
}
