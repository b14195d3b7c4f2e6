//! What Amazon publishes: which version runs on which Windows, and where it is downloaded.
//!
//! From the EC2 user guide: "AWS NVMe Windows driver version history", "ENA Windows driver version
//! history", "Paravirtual drivers for Windows instances", "Install the latest version of EC2Config",
//! "… EC2Launch", "… EC2Launch v2", and the Systems Manager user guide.

use crate::guest::windows::inf::{Product, Target};

/// A component that Amazon publishes for Windows guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The driver of disks on Nitro-based instances.
    Nvme,
    /// The driver of the network on Nitro-based and some Xen-based instances.
    Ena,
    /// The drivers of disks and network on Xen-based instances.
    Pv,
    /// The agent up to Windows Server 2012 R2.
    Ec2Config,
    /// The first agent of Windows Server 2016 and 2019.
    Ec2Launch,
    /// The agent of today.
    Ec2LaunchV2,
    /// The agent of Systems Manager.
    SsmAgent,
}

/// Which versions of a component run on a Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// All of them.
    Latest,
    /// None after this one.
    UpTo([u16; 3]),
    /// None at all.
    Unsupported,
}

/// What a guest cannot do without a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Boot.
    Boot,
    /// Be reached over the network.
    Network,
    /// What only makes it better.
    Recommended,
}

/// Where everything is published, and a mirror has the same below another address.
const ORIGIN: &str = "https://s3.amazonaws.com/";
/// Where drivers are published.
const DRIVERS: &str = "https://s3.amazonaws.com/ec2-windows-drivers-downloads";
/// Where agents are.
const AGENTS: &str = "https://s3.amazonaws.com/ec2-downloads-windows";
/// The build of Windows Server 2025 and Windows 11 24H2.
const BUILD_2025: u32 = 26100;

impl Kind {
    /// What people call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvme => "AWS NVMe driver",
            Self::Ena => "Amazon ENA driver",
            Self::Pv => "AWS PV drivers",
            Self::Ec2Config => "EC2Config",
            Self::Ec2Launch => "EC2Launch",
            Self::Ec2LaunchV2 => "EC2Launch v2",
            Self::SsmAgent => "SSM Agent",
        }
    }

    /// The files that Amazon publishes it in; all of them are needed.
    #[must_use]
    pub fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nvme => &["AWSNVMe.zip"],
            Self::Ena => &["AwsEnaNetworkDriver.zip"],
            Self::Pv => &["AWSPVDriver.zip"],
            Self::Ec2Config => &["EC2Install.zip"],
            Self::Ec2Launch => &["EC2-Windows-Launch.zip", "install.ps1"],
            Self::Ec2LaunchV2 => &["AmazonEC2Launch.msi"],
            Self::SsmAgent => &["AmazonSSMAgentSetup.exe"],
        }
    }

    /// The component that a file of this name installs, whatever its case.
    #[must_use]
    pub fn of_installer(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "awspvdriversetup.msi" => Some(Self::Pv),
            "ec2install.exe" => Some(Self::Ec2Config),
            "ec2-windows-launch.zip" => Some(Self::Ec2Launch),
            "amazonec2launch.msi" => Some(Self::Ec2LaunchV2),
            "amazonssmagentsetup.exe" => Some(Self::SsmAgent),
            _ => None,
        }
    }

    /// The driver whose package names this device (upper case); a longer id names it too.
    #[must_use]
    pub fn of_device(id: &str) -> Option<Self> {
        let device = id.strip_prefix("PCI\\VEN_1D0F&DEV_").and_then(|rest| rest.get(..4));
        match device {
            Some("0061" | "0065" | "8061" | "CD00" | "CD01") => Some(Self::Nvme),
            Some("0EC2" | "1EC2" | "EC20" | "EC21") => Some(Self::Ena),
            // The class of NVMe controllers: a driver for all of them.
            None if id.starts_with("PCI\\CC_010802") => Some(Self::Nvme),
            _ => None,
        }
    }

    /// Which versions run on a Windows.
    #[must_use]
    pub fn limit(self, target: &Target) -> Limit {
        let version = (target.major, target.minor);
        let (seven, eight) = (version <= (6, 1), version <= (6, 3));
        match self {
            Self::Nvme if seven => Limit::UpTo([1, 3, 2]),
            Self::Nvme if eight => Limit::UpTo([1, 5, 1]),
            Self::Ena if seven => Limit::UpTo([2, 2, 3]),
            Self::Ena if eight => Limit::UpTo([2, 6, 0]),
            Self::Pv if seven => Limit::UpTo([8, 3, 5]),
            Self::Pv if eight => Limit::UpTo([8, 4, 3]),
            Self::Pv if target.build >= BUILD_2025 => Limit::Unsupported,
            Self::Ec2Config if !eight => Limit::Unsupported,
            Self::Ec2Launch if !has_first_launch(target) => Limit::Unsupported,
            Self::Ec2LaunchV2 if seven => Limit::Unsupported,
            _ => Limit::Latest,
        }
    }

    /// The oldest version without a known loss of data: before 1.3.2, changing a volume in use
    /// could damage it.
    #[must_use]
    pub fn oldest_sound(self) -> Option<[u16; 3]> {
        (self == Self::Nvme).then_some([1, 3, 2])
    }

    /// Where its files for a Windows are downloaded, one address for each of [`Self::files`].
    #[must_use]
    pub fn addresses(self, target: &Target) -> Vec<String> {
        let version = match self.limit(target) {
            Limit::UpTo([one, two, three]) => Some(format!("{one}.{two}.{three}")),
            Limit::Latest | Limit::Unsupported => None,
        };
        let directory = match (self, version) {
            (Self::Nvme, None) => format!("{DRIVERS}/NVMe/Latest"),
            (Self::Nvme, Some(version)) => format!("{DRIVERS}/NVMe/{version}"),
            (Self::Ena, None) => format!("{DRIVERS}/ENA/Latest"),
            (Self::Ena, Some(version)) => format!("{DRIVERS}/ENA/x64/{version}"),
            (Self::Pv, None) => format!("{DRIVERS}/AWSPV/Latest"),
            (Self::Pv, Some(version)) => format!("{DRIVERS}/AWSPV/{version}"),
            (Self::Ec2Config, _) => format!("{AGENTS}/EC2Config"),
            (Self::Ec2Launch, _) => format!("{AGENTS}/EC2Launch/latest"),
            (Self::Ec2LaunchV2, _) => {
                "https://s3.amazonaws.com/amazon-ec2launch-v2/windows/amd64/latest".to_owned()
            }
            (Self::SsmAgent, _) => format!("{AGENTS}/SSMAgent/latest/windows_amd64"),
        };
        self.files().iter().map(|file| format!("{directory}/{file}")).collect()
    }

    /// The directory in a folder where its files for a Windows go: as Amazon has them, so that
    /// those of several versions stand side by side.
    #[must_use]
    pub fn directory(self, target: &Target) -> String {
        let address = self.addresses(target).swap_remove(0);
        let (directory, _) = address.rsplit_once('/').unwrap_or((&address, ""));
        let below = [DRIVERS, AGENTS].iter().find_map(|base| directory.strip_prefix(base));
        below
            .map_or_else(|| "EC2LaunchV2/latest".to_owned(), |below| below.trim_start_matches('/').to_owned())
    }
}

/// Where a mirror (`https://mirror.example/aws`) has what is published at an address.
#[must_use]
pub fn mirrored(address: &str, mirror: &str) -> String {
    let below = address.strip_prefix(ORIGIN).unwrap_or(address);
    format!("{}/{below}", mirror.trim_end_matches('/'))
}

/// EC2's agents that run on a Windows, the one to prefer first.
pub(super) fn agents(target: &Target) -> &'static [Kind] {
    match (target.major, target.minor) {
        (..=6, ..=1) => &[Kind::Ec2Config],
        (..=6, _) => &[Kind::Ec2Config, Kind::Ec2LaunchV2],
        _ if has_first_launch(target) => &[Kind::Ec2LaunchV2, Kind::Ec2Launch],
        _ => &[Kind::Ec2LaunchV2],
    }
}

/// Whether Windows has a driver of its own for NVMe disks: since 8.1 and Server 2012 R2.
pub(super) fn has_inbox_nvme(target: &Target) -> bool {
    (target.major, target.minor) >= (6, 3)
}

/// Windows Server 2016 and 2019, and what lies between them.
fn has_first_launch(target: &Target) -> bool {
    target.major == 10 && target.product != Product::Workstation && target.build < 20348
}
