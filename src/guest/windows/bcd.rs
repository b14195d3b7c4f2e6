//! The boot configuration data: a hive of objects by GUID, with elements by number (facts on real
//! BCDs; element numbers after Microsoft's "BCD reference").

use super::firstboot::Ems;
use super::hive::{Data, Hive, HiveEdit, HiveError};
use super::registry::Planned;

/// The boot manager's object.
const BOOTMGR: &str = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
/// Settings of the Emergency Management Services.
const EMS_SETTINGS: &str = "{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}";
/// The boot manager's default entry: the GUID of a loader.
const DEFAULT: &str = "23000003";
/// Whether the loader speaks on the serial console.
const LOADER_EMS: &str = "260000b0";
/// Whether the boot manager does.
const BOOTMGR_EMS: &str = "16000020";
/// Whether the loader keeps off the firmware's graphics (`graphicsmodedisabled`).
const NO_GRAPHICS: &str = "16000046";
/// The serial port's number and speed.
const PORT: &str = "15000022";
const SPEED: &str = "15000023";

const PURPOSE: &str = "speak on the serial console, which EC2 shows (EMS on COM1)";

fn element(object: &str, number: &str) -> String {
    format!("Objects\\{object}\\Elements\\{number}")
}

fn set(object: &str, number: &str, bytes: Vec<u8>) -> Planned {
    let edit =
        HiveEdit::Set { key: element(object, number), name: "Element".to_owned(), data: Data::Binary(bytes) };
    Planned { edit, purpose: PURPOSE }
}

/// The serial console in a boot configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// The switches that are off.
    pub off: Ems,
    /// The edits that turn it on.
    pub edits: Vec<Planned>,
    /// What lets the loader draw on the screen that UEFI gives it, where it is forbidden.
    pub graphics: Option<Planned>,
}

fn is_on(bcd: &Hive<'_>, object: &str, number: &str) -> Result<bool, HiveError> {
    let value = match bcd.key(&element(object, number))? {
        Some(key) => key.value("Element")?,
        None => None,
    };
    Ok(value.is_some_and(|value| value.data() == Data::Binary(vec![1])))
}

/// How the consoles of the loader stand; `None` when the hive has no default loader.
///
/// # Errors
/// When the hive is damaged there.
pub fn console(bcd: &Hive<'_>) -> Result<Option<Console>, HiveError> {
    let Some(loader) = loader(bcd)? else { return Ok(None) };
    let mut off = Ems { loader: !is_on(bcd, &loader, LOADER_EMS)?, manager: false };
    let mut edits = vec![set(&loader, LOADER_EMS, vec![1])];
    // Part of every BCD that Windows' setup made; one without it has other settings to inherit.
    if bcd.key(&format!("Objects\\{EMS_SETTINGS}"))?.is_some() {
        off.manager = !is_on(bcd, EMS_SETTINGS, BOOTMGR_EMS)?;
        edits.push(set(EMS_SETTINGS, BOOTMGR_EMS, vec![1]));
        edits.push(set(EMS_SETTINGS, PORT, 1_u64.to_le_bytes().to_vec()));
        edits.push(set(EMS_SETTINGS, SPEED, 115_200_u64.to_le_bytes().to_vec()));
    }
    // UEFI has no other screen; a guest whose BIOS had one can forbid it (facts from imports of Windows guests).
    let no_graphics = element(&loader, NO_GRAPHICS);
    let graphics = bcd.key(&no_graphics)?.map(|_| Planned {
        edit: HiveEdit::DeleteKey { key: no_graphics.clone() },
        purpose: "let Windows draw on the screen that UEFI gives it",
    });
    Ok(Some(Console { off, edits, graphics }))
}

/// The loader that the boot manager starts; `None` when it names none that is there.
fn loader(bcd: &Hive<'_>) -> Result<Option<String>, HiveError> {
    let Some(default) = bcd.key(&element(BOOTMGR, DEFAULT))? else { return Ok(None) };
    let loader = default.value("Element")?.and_then(|value| value.text());
    let is_guid = |loader: &String| loader.len() == 38 && loader.starts_with('{') && loader.ends_with('}');
    let Some(loader) = loader.filter(is_guid) else { return Ok(None) };
    Ok(bcd.key(&format!("Objects\\{loader}"))?.map(|_| loader))
}
