//! Drivers and services as the registry has them.

use super::hive::{Hive, HiveError, Key};

/// Start types (`SERVICE_BOOT_START` … `SERVICE_DISABLED` of Windows' `winnt.h`).
pub const BOOT: u32 = 0;
/// Not started.
pub const DISABLED: u32 = 4;

/// A driver or service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// When it is started.
    pub start: u32,
    /// Whether it has a `StartOverride` key, which Windows 8 and later write when a boot driver was not
    /// needed: its values override the start on this hardware.
    pub has_overrides: bool,
    /// The key's value `0`.
    pub overridden: Option<u32>,
    /// Its program, as it stands there.
    pub image: Option<String>,
}

impl Service {
    /// Whether it is started before the root filesystem is there, whatever the hardware is.
    #[must_use]
    pub fn starts_at_boot(&self) -> bool {
        self.start == BOOT && !self.has_overrides
    }
}

/// A service of a control set (`ControlSet001`); `None` when there is none of that name.
///
/// # Errors
/// When the hive is damaged there.
pub fn service(system: &Hive<'_>, set: &str, name: &str) -> Result<Option<Service>, HiveError> {
    let Some(key) = system.key(&format!("{set}\\Services\\{name}"))? else { return Ok(None) };
    read(key)
}

fn read(key: Key<'_>) -> Result<Option<Service>, HiveError> {
    let Some(start) = key.value("Start")?.and_then(|value| value.number()) else { return Ok(None) };
    let overrides = key.subkey("StartOverride")?;
    let has_overrides = overrides.is_some();
    let overridden = match overrides {
        Some(overrides) => overrides.value("0")?.and_then(|value| value.number()),
        None => None,
    };
    let image = key.value("ImagePath")?.and_then(|value| value.text());
    Ok(Some(Service { start, has_overrides, overridden, image }))
}
