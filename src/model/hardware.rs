//! What a machine is made of, in EC2's terms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A processor architecture, under EC2's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 32-bit x86.
    I386,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Arm64,
}

/// The firmware a guest was installed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// PC BIOS: boots from the master boot record.
    Bios,
    /// UEFI: boots from an EFI system partition.
    Uefi,
}

/// EC2's boot mode of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// BIOS.
    LegacyBios,
    /// UEFI.
    Uefi,
}

impl BootMode {
    /// EC2's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LegacyBios => "legacy-bios",
            Self::Uefi => "uefi",
        }
    }
}

/// What an instance type runs on; it decides which disk and network drivers boot it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hypervisor {
    /// NVMe disks, ENA network.
    Nitro,
    /// xen-blkfront disks; xen-netfront, ENA or ixgbevf network.
    Xen,
}
