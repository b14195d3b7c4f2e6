//! The [Version] section.

use super::decoration::Target;
use super::error::InfError;
use super::parse::Inf;

/// What [Version] says of a driver package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The device class's name: `SCSIAdapter`, `Net`.
    pub class: String,
    /// Its GUID, upper case in braces; empty when the file names none.
    pub class_guid: String,
    /// Who provides the package.
    pub provider: String,
    /// The driver's date: year, month, day.
    pub date: Option<(u16, u8, u8)>,
    /// The driver's version; what is left out is 0.
    pub version: [u16; 4],
    /// The catalog that signs the package's files, for the target's platform.
    pub catalog: Option<String>,
}

impl Inf {
    /// Reads [Version]; the catalog is that of the target's platform.
    ///
    /// # Errors
    /// No such section, or a signature that Windows does not take.
    pub fn version(&self, target: &Target) -> Result<Version, InfError> {
        let section =
            self.section("Version").ok_or_else(|| InfError::Section { name: "Version".to_owned() })?;
        let entry = |key: &str| section.line(key).map(|line| self.value(line, 0)).unwrap_or_default();
        let signature = entry("Signature");
        if !["$Windows NT$", "$Chicago$", "$Windows 95$"]
            .iter()
            .any(|known| signature.eq_ignore_ascii_case(known))
        {
            return Err(InfError::Entry { section: section.name.clone(), entry: "Signature" });
        }
        let driver = section.line("DriverVer");
        let catalogs = [
            format!("CatalogFile.NT{}", target.platform()),
            "CatalogFile.NT".to_owned(),
            "CatalogFile".to_owned(),
        ];
        Ok(Version {
            class: entry("Class"),
            class_guid: entry("ClassGuid").to_ascii_uppercase(),
            provider: entry("Provider"),
            date: driver.and_then(|line| date(&self.value(line, 0))),
            version: driver.map(|line| version(&self.value(line, 1))).unwrap_or_default(),
            catalog: catalogs.iter().map(|key| entry(key)).find(|name| !name.is_empty()),
        })
    }
}

/// `mm/dd/yyyy` or `mm-dd-yyyy`, as the driver's date is written.
fn date(text: &str) -> Option<(u16, u8, u8)> {
    let mut parts = text.trim().split(['/', '-']).map(str::trim);
    let (month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let year = parts.next()?.parse().ok()?;
    let real = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1980;
    (real && parts.next().is_none()).then_some((year, month, day))
}

/// `w.x.y.z`, of which all after the first may be left out.
fn version(text: &str) -> [u16; 4] {
    let mut version = [0; 4];
    for (part, text) in version.iter_mut().zip(text.trim().split('.')) {
        *part = text.trim().parse().unwrap_or(0);
    }
    version
}
