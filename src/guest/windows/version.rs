//! Versions of Windows by their build.

use std::fmt;

/// A version, as far as preparation tells them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `6.1`, `6.3`, `10.0`.
    pub number: (u32, u32),
    /// The build, which tells all versions apart.
    pub build: u32,
    /// The update build revision; 0 before Windows 10.
    pub revision: u32,
}

/// The first build of Windows 7 and Server 2008 R2, the oldest that EC2 and its drivers support.
pub const WINDOWS_2008_R2: u32 = 7600;
/// Windows 8 and Server 2012: the first with `DriverDatabase`.
pub const WINDOWS_8: u32 = 9200;
/// Windows 8.1 and Server 2012 R2: the first whose own NVMe driver is in the database as they are installed.
pub const WINDOWS_8_1: u32 = 9600;
/// Windows Server 2016's.
pub const WINDOWS_2016: u32 = 14_393;

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.number.0, self.number.1, self.build)?;
        if self.revision > 0 { write!(f, ".{}", self.revision) } else { Ok(()) }
    }
}
