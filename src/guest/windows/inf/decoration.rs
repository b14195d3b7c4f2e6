//! For which Windows a section of models is: `NTamd64.10.0...14393`.

use super::text::number;
use crate::model::Architecture;

/// The first build of Windows that knows build numbers in decorations.
const FIRST_BUILD: u32 = 14310;

/// What an edition is, by `VER_NT_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// A client: Windows 7, 8, 10, 11.
    Workstation,
    /// A server that is a domain controller.
    DomainController,
    /// Any other server.
    Server,
}

impl Product {
    /// Microsoft's number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Workstation => 1,
            Self::DomainController => 2,
            Self::Server => 3,
        }
    }
}

/// The Windows that a driver is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its processor architecture.
    pub architecture: Architecture,
    /// Major version: 6 up to Windows 8.1, then 10.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Build: 7601, 9200, 9600, 14393, 17763, 20348, 26100.
    pub build: u32,
    /// Client, server or domain controller.
    pub product: Product,
    /// The product suites it has (`VER_SUITE_…`), or 0.
    pub suites: u32,
}

impl Target {
    /// An amd64 Windows without special suites.
    #[must_use]
    pub fn amd64(major: u32, minor: u32, build: u32, product: Product) -> Self {
        Self { architecture: Architecture::X86_64, major, minor, build, product, suites: 0 }
    }

    /// The architecture's name in setup information files.
    #[must_use]
    pub fn platform(&self) -> &'static str {
        match self.architecture {
            Architecture::I386 => "x86",
            Architecture::X86_64 => "amd64",
            Architecture::Arm64 => "arm64",
        }
    }
}

/// How close a decoration is to a target: the greatest that applies is taken. A version goes
/// before a product type and a suite mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closeness {
    version: (u32, u32),
    build: u32,
    product: bool,
    suites: u32,
    platform: bool,
}

/// How close a decoration is to a target; `None` when it is not for it, or when the target's
/// Windows would not understand it.
pub fn closeness(decoration: &str, target: &Target) -> Option<Closeness> {
    let mut fields = decoration.trim().split('.');
    let system = fields.next()?;
    let platform = system.get(2..).filter(|_| system[..2].eq_ignore_ascii_case("nt"))?;
    // Since Windows Server 2003 SP1 only x86 may be left out.
    let left_out = platform.is_empty() && target.architecture == Architecture::I386;
    if !platform.eq_ignore_ascii_case(target.platform()) && !left_out {
        return None;
    }
    let mut field = || match fields.next() {
        None | Some("") => Some(None),
        Some(text) => number(text).map(Some),
    };
    let (major, minor, product, suites, build) = (field()?, field()?, field()?, field()?, field()?);
    if fields.next().is_some() {
        return None;
    }
    let version = (major.unwrap_or(0), minor.unwrap_or(0));
    let own = (target.major, target.minor);
    if version > own
        || product.is_some_and(|product| product != target.product.number())
        || suites.is_some_and(|suites| suites & !target.suites != 0)
    {
        return None;
    }
    if let Some(build) = build {
        let understood = own > (10, 0) || own == (10, 0) && target.build >= FIRST_BUILD;
        let sound = version >= (10, 0) && build >= FIRST_BUILD;
        if !understood || !sound || version == own && build > target.build {
            return None;
        }
    }
    Some(Closeness {
        version,
        build: build.unwrap_or(0),
        product: product.is_some(),
        suites: suites.unwrap_or(0).count_ones(),
        platform: !platform.is_empty(),
    })
}
