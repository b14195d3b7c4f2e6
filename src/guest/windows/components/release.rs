//! The versions of Windows that people name.

use std::fmt;
use std::str::FromStr;

use crate::guest::report::GuestFacts;
use crate::guest::windows::inf::{Product, Target};

/// A version of Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// What it is called on a command line: `2012-r2`.
    pub id: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// What drivers are chosen for.
    pub target: Target,
}

/// A text names no version of Windows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such Windows; those known are {}", RELEASES.map(|release| release.id).join(", "))]
pub struct UnknownRelease;

const fn release(
    id: &'static str,
    name: &'static str,
    (major, minor, build): (u32, u32, u32),
    product: Product,
) -> Release {
    let architecture = crate::model::Architecture::X86_64;
    Release { id, name, target: Target { architecture, major, minor, build, product, suites: 0 } }
}

/// All that components are published for, the oldest first. Builds after Microsoft's "Windows Server
/// release information" and "Windows 11 release information".
pub const RELEASES: [Release; 11] = [
    release("2008-r2", "Windows Server 2008 R2", (6, 1, 7601), Product::Server),
    release("2012", "Windows Server 2012", (6, 2, 9200), Product::Server),
    release("2012-r2", "Windows Server 2012 R2", (6, 3, 9600), Product::Server),
    release("2016", "Windows Server 2016", (10, 0, 14393), Product::Server),
    release("2019", "Windows Server 2019", (10, 0, 17763), Product::Server),
    release("2022", "Windows Server 2022", (10, 0, 20348), Product::Server),
    release("2025", "Windows Server 2025", (10, 0, 26100), Product::Server),
    release("7", "Windows 7", (6, 1, 7601), Product::Workstation),
    release("8.1", "Windows 8.1", (6, 3, 9600), Product::Workstation),
    release("10", "Windows 10", (10, 0, 19045), Product::Workstation),
    release("11", "Windows 11", (10, 0, 26100), Product::Workstation),
];

impl FromStr for Release {
    type Err = UnknownRelease;

    /// `2012-r2`, also as people write it: `2012R2`, `Windows Server 2012 R2`, `server-2012r2`.
    fn from_str(text: &str) -> Result<Self, UnknownRelease> {
        let plain = |text: &str| -> String {
            let text = text.to_ascii_lowercase().replace("windows", "").replace("server", "");
            text.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '.').collect()
        };
        let wanted = plain(text);
        RELEASES.into_iter().find(|release| plain(release.id) == wanted).ok_or(UnknownRelease)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

impl Target {
    /// The Windows that an inspection found; `None` for other systems.
    #[must_use]
    pub fn of_facts(facts: &GuestFacts) -> Option<Self> {
        if facts.family != "windows" {
            return None;
        }
        let mut parts = facts.version.split('.').map_while(|part| part.parse().ok());
        let (major, minor, build) = (parts.next()?, parts.next()?, parts.next()?);
        let detail =
            |label: &str| facts.details.iter().find(|(own, _)| own == label).map(|(_, text)| text.as_str());
        let product = match detail("domain controller") {
            Some("yes") => Product::DomainController,
            _ if facts.product.contains("Server") => Product::Server,
            _ => Product::Workstation,
        };
        Some(Self { architecture: facts.architecture, major, minor, build, product, suites: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_known_as_people_write_them() {
        for (text, id) in [
            ("2012-r2", "2012-r2"),
            ("2012R2", "2012-r2"),
            ("Windows Server 2008 R2", "2008-r2"),
            ("server-2025", "2025"),
            ("windows 8.1", "8.1"),
            ("11", "11"),
        ] {
            assert_eq!(text.parse::<Release>().map(|release| release.id), Ok(id), "{text}");
        }
        for text in ["", "2003", "r2", "windows", "2012 r3"] {
            assert_eq!(text.parse::<Release>(), Err(UnknownRelease), "{text}");
        }
        assert!(UnknownRelease.to_string().contains("2012-r2, 2016"));
    }
}
