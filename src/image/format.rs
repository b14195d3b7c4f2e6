//! The names of the formats.

use std::fmt;
use std::str::FromStr;

/// A format of disk images, or of files that hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// The disk's bytes as they are.
    Raw,
    /// VMware's virtual disk, in any of its sub-formats.
    Vmdk,
    /// QEMU's copy-on-write disk, versions 2 and 3.
    Qcow2,
    /// Microsoft's virtual hard disk (Virtual PC, Azure).
    Vhd,
    /// Microsoft's virtual hard disk, second generation (Hyper-V).
    Vhdx,
    /// A virtual appliance in one tar file.
    Ova,
    /// A virtual appliance's description beside its disks.
    Ovf,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Raw, Self::Vmdk, Self::Qcow2, Self::Vhd, Self::Vhdx, Self::Ova, Self::Ovf];

    /// Its name in a configuration and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Vmdk => "vmdk",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Ova => "ova",
            Self::Ovf => "ovf",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no image format: raw, vmdk, qcow2, vhd, vhdx, ova or ovf")]
pub struct ParseFormatError(pub String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| ParseFormatError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_survive_their_text() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("VMDK".parse::<Format>().is_err());
    }
}
