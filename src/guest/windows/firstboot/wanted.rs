//! What a first boot is to do.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Agent, Script};

/// What VMware Tools are called in the list of installed programs.
pub const VMWARE_TOOLS: &str = "VMware Tools";

/// What a first boot is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirstBoot {
    /// The build of Windows: 7601 for 2008 R2, 14393 for 2016.
    pub build: u32,
    /// Certificates (`.cer`, staged) whose drivers Windows shall take without asking.
    pub publishers: Vec<String>,
    /// Drivers to install.
    pub drivers: Vec<Driver>,
    /// Network adapters to set up. Those that are not named stay as they are; a new one asks DHCP.
    pub network: Vec<Nic>,
    /// Agents to install.
    pub agents: Vec<Agent>,
    /// Programs to remove, by their names: [`VMWARE_TOOLS`].
    pub remove: Vec<&'static str>,
    /// Whether all disks are brought online, writable.
    pub disks_online: bool,
    /// Drives that are extended over the free space behind them.
    pub extend: Vec<char>,
    /// Where the serial console is on for the first boot alone, and turned off again at its end.
    pub ems: Ems,
    /// The user's own script.
    pub script: Option<Script>,
    /// Whether Windows may be restarted, once, at the end when a step asks for it.
    pub may_restart: bool,
}

/// Switches of the serial console (Emergency Management Services) in the boot configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ems {
    /// Windows' own (`bcdedit /ems`).
    pub loader: bool,
    /// The boot manager's (`bootems`).
    pub manager: bool,
}

impl Ems {
    /// Whether it is one of them at least.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.loader || self.manager
    }

    /// Those of either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { loader: self.loader || other.loader, manager: self.manager || other.manager }
    }
}

/// A driver's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Driver {
    /// Its INF file, staged in the first boot's directory: `drivers\ena\ena.inf`.
    pub inf: String,
    /// What Replant wrote into the registry so that Windows could boot with it, which is taken away
    /// when Windows has installed it: left for ever it can block an upgrade of Windows.
    pub stub: Vec<Remnant>,
}

/// A part of the registry to take away or put back, its key from below `HKEY_LOCAL_MACHINE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remnant {
    /// A key with all below it: `SYSTEM\DriverDatabase\DriverPackages\…`.
    Key(String),
    /// A value.
    Value {
        /// Its key.
        key: String,
        /// Its name.
        name: String,
    },
    /// A text that becomes what it was.
    Text {
        /// Its key.
        key: String,
        /// Its name.
        name: String,
        /// Whether it is `REG_EXPAND_SZ`, else `REG_SZ`.
        is_expandable: bool,
        /// What it becomes.
        text: String,
    },
}

/// A network adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its MAC, as the machine will have it.
    pub mac: [u8; 6],
    /// Where its addresses come from.
    pub addressing: Addressing,
}

/// Where addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressing {
    /// All from DHCP.
    Dhcp,
    /// Fixed ones.
    Static {
        /// The address and its network's size.
        address: Ipv4Net,
        /// The default gateway.
        gateway: Option<Ipv4Addr>,
        /// Name servers, the first one first.
        dns: Vec<Ipv4Addr>,
    },
}
