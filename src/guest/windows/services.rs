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
    /// What overrides that on this hardware: the value `0` of its `StartOverride` key, which Windows 8
    /// and later write when a boot driver was not needed.
    pub overridden: Option<u32>,
    /// Its program, as it stands there.
    pub image: Option<String>,
}

impl Service {
    /// Whether it is started before the root filesystem is there.
    #[must_use]
    pub fn starts_at_boot(&self) -> bool {
        self.start == BOOT && self.overridden.is_none_or(|start| start == BOOT)
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
    let overridden = match key.subkey("StartOverride")? {
        Some(overrides) => overrides.value("0")?.and_then(|value| value.number()),
        None => None,
    };
    let image = key.value("ImagePath")?.and_then(|value| value.text());
    Ok(Some(Service { start, overridden, image }))
}
