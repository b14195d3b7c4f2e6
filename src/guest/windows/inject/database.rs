//! `DriverDatabase` of Windows 8 and later: what leads from a device to its service before the driver
//! store is there. Laid out as in hives of machines with third-party disk drivers; a stub of it is
//! enough to boot, and is taken away when Windows has installed the driver itself.

use jiff::civil::Date;

use super::boot::{class, part, set, value};
use super::error::InjectError;
use crate::guest::windows::components::Driver;
use crate::guest::windows::firstboot::Remnant;
use crate::guest::windows::hive::Data;
use crate::guest::windows::registry::Planned;
use crate::model::Digest;

/// How `Version` of a package for amd64 begins (seen in every such package).
const HEADER: [u8; 8] = [0, 0xff, 9, 0, 0, 0, 0, 0];
/// How well an id fits (seen for hardware ids).
const RANK: [u8; 4] = [1, 0xff, 0, 0];
/// 100-nanosecond intervals in a day.
const DAY: u64 = 864_000_000_000;

/// A package in the database.
pub struct Stub {
    /// Edits of SYSTEM.
    pub edits: Vec<Planned>,
    /// What goes away again.
    pub remnants: Vec<Remnant>,
}

/// A package whose devices (`VEN_1D0F&DEV_8061`) have this service.
pub fn stub(driver: &Driver, service: &str, devices: &[String]) -> Result<Stub, InjectError> {
    let file = driver.files.first().map(|(name, _)| name.to_ascii_lowercase()).unwrap_or_default();
    let inf = part(driver, &file)?;
    let configuration = part(driver, &driver.install.section)?;
    // Another form makes `pnputil /e` fail with error 87.
    let told = format!("{inf} {:?} {devices:?}", driver.version);
    let digest = Digest::of(told.as_bytes()).hex();
    let package = format!("{inf}_amd64_{}", digest.get(..16).unwrap_or(&digest));
    let files = format!("DriverDatabase\\DriverInfFiles\\{inf}");
    let key = format!("DriverDatabase\\DriverPackages\\{package}");
    let configured = format!("{key}\\Configurations\\{configuration}");
    let mut edits = vec![
        set(&files, "", Data::List(vec![package.clone()])),
        set(&files, "Active", Data::Text(package.clone())),
        set(&files, "Configurations", Data::List(vec![configuration.to_owned()])),
        set(&key, "Version", Data::Binary(version(driver))),
        set(&configured, "ConfigFlags", Data::Number(0)),
        set(&configured, "Service", Data::Text(service.to_owned())),
    ];
    // The device's own values: that it may interrupt by messages.
    let hardware = driver.install.hardware.iter();
    edits.extend(hardware.filter_map(|added| value(&format!("{configured}\\Device"), added)));
    let mut remnants = vec![Remnant::Key(format!("SYSTEM\\{key}")), Remnant::Key(format!("SYSTEM\\{files}"))];
    for device in devices {
        let descriptor = format!("{key}\\Descriptors\\PCI\\{device}");
        edits.push(set(&descriptor, "Configuration", Data::Text(configuration.to_owned())));
        let id = format!("DriverDatabase\\DeviceIds\\PCI\\{device}");
        edits.push(set(&id, inf, Data::Binary(RANK.to_vec())));
        remnants.push(Remnant::Value { key: format!("SYSTEM\\{id}"), name: inf.to_owned() });
    }
    Ok(Stub { edits, remnants })
}

/// 48 bytes: the header, the class, the driver's date, its version from the last part to the first.
fn version(driver: &Driver) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    bytes.extend(guid(class(driver)).unwrap_or_default());
    bytes.extend(driver.version.date.map_or(0, file_time).to_le_bytes());
    bytes.extend(driver.version.version.iter().rev().flat_map(|part| part.to_le_bytes()));
    bytes.extend([0; 8]);
    bytes
}

/// Midnight of a day as Windows counts, from 1601 on.
fn file_time((year, month, day): (u16, u8, u8)) -> u64 {
    let date = |year: u16, month: u8, day: u8| {
        Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    };
    let days = date(1601, 1, 1)
        .zip(date(year, month, day))
        .and_then(|(first, this)| u64::try_from((this - first).get_days()).ok());
    days.and_then(|days| days.checked_mul(DAY)).unwrap_or_default()
}

/// `{4D36E97B-E325-11CE-BFC1-08002BE10318}` as Windows keeps it.
fn guid(text: &str) -> Option<[u8; 16]> {
    let mut parts = text.strip_prefix('{')?.strip_suffix('}')?.split('-');
    let mut next = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        u64::from_str_radix(part, 16).ok()
    };
    let (one, two, three) = (next(8)?, next(4)?, next(4)?);
    let (four, five) = (next(4)?, next(12)?);
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(one.to_le_bytes().get(..4)?);
    bytes[4..6].copy_from_slice(two.to_le_bytes().get(..2)?);
    bytes[6..8].copy_from_slice(three.to_le_bytes().get(..2)?);
    bytes[8..10].copy_from_slice(four.to_be_bytes().get(6..)?);
    bytes[10..].copy_from_slice(five.to_be_bytes().get(2..)?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_classes_are_as_windows_keeps_them() {
        // 2021-08-30, in the Version of a package seen in the wild: 00 40 c3 f9 31 9d d7 01.
        assert_eq!(file_time((2021, 8, 30)).to_le_bytes(), [0, 0x40, 0xc3, 0xf9, 0x31, 0x9d, 0xd7, 1]);
        assert_eq!(file_time((2021, 2, 31)), 0);
        let class = [0x7b, 0xe9, 0x36, 0x4d, 0x25, 0xe3, 0xce, 0x11, 0xbf, 0xc1, 8, 0, 0x2b, 0xe1, 3, 0x18];
        assert_eq!(guid("{4D36E97B-E325-11CE-BFC1-08002BE10318}"), Some(class));
        assert_eq!(guid("{4D36E97B-E325-11CE-BFC1}"), None);
        assert_eq!(guid("4D36E97B"), None);
    }
}
