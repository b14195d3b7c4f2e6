//! What a guest gets of what the user has, and what it lacks.

use crate::guest::windows::components::{
    ComponentError, Driver, Installer, Inventory, Kind, MissingComponent, Need, Note, Refused,
};
use crate::guest::windows::inf::{Product, Target};
use crate::guest::windows::look::Look;
use crate::guest::windows::services::DISABLED;
use crate::guest::windows::version::{WINDOWS_8, WINDOWS_8_1, WINDOWS_2008_R2};
use crate::model::Hypervisor;

/// What a guest gets, and what it lacks.
#[derive(Debug, Default)]
pub struct Choice {
    /// Whether the user named a folder of components.
    pub is_asked: bool,
    /// Drivers to install.
    pub drivers: Vec<Driver>,
    /// Agents, and drivers that come as a program, to install.
    pub installers: Vec<Installer>,
    /// What was not found, the gravest first.
    pub missing: Vec<MissingComponent>,
    /// What there is to say of what was found.
    pub notes: Vec<Note>,
    /// Files that could not be taken.
    pub refused: Vec<Refused>,
    /// Installers that are not run in this guest.
    pub withheld: Vec<Installer>,
}

impl Choice {
    /// A component that is installed, for people: its name, its version, where it was found.
    #[must_use]
    pub fn shown(&self, kind: Kind) -> Option<String> {
        let dotted = |version: [u16; 4]| version.map(|part| part.to_string()).join(".");
        let driver = self.drivers.iter().find(|driver| driver.kind == kind);
        let driver = driver.map(|driver| (Some(driver.version.version), &driver.place));
        let installer = || self.installers.iter().find(|installer| installer.kind == kind);
        let (version, place) =
            driver.or_else(|| installer().map(|installer| (installer.version, &installer.file.path)))?;
        let version = version.map(|version| format!(" {}", dotted(version))).unwrap_or_default();
        Some(format!("{}{version}: {place}", kind.name()))
    }

    /// The kinds that are installed.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        let drivers = self.drivers.iter().map(|driver| driver.kind);
        drivers.chain(self.installers.iter().map(|installer| installer.kind))
    }
}

/// Whether the guest has a component already. What Replant put in, and no first boot has finished yet,
/// does not count.
#[must_use]
pub fn has(look: &Look, kind: Kind) -> bool {
    let is_enabled = |name: &str| look.drivers.get(name).is_some_and(|driver| driver.start != DISABLED);
    match kind {
        Kind::Nvme => look.drivers.contains_key("AWSNVMe") && !look.is_injected("AWSNVMe") && is_led_to(look),
        Kind::Ena => is_enabled("ena"),
        Kind::Pv => is_enabled("xennet"),
        Kind::Ec2Config | Kind::Ec2Launch | Kind::Ec2LaunchV2 => {
            look.has_service("Ec2Config") || look.has_service("Amazon EC2Launch") || look.first_launch
        }
        Kind::SsmAgent => look.has_service("AmazonSSMAgent"),
    }
}

/// Whether Windows' own driver finds NVMe disks, however it is started now.
#[must_use]
pub fn has_own_nvme(look: &Look) -> bool {
    look.drivers.contains_key("stornvme") && is_led_to(look)
}

/// Whether a driver for NVMe disks that is there is found by its devices. Before Windows 8 the recipe sees to
/// that; Windows 8.1 and later have it in their own installation.
#[must_use]
pub fn is_led_to(look: &Look) -> bool {
    !(WINDOWS_8..WINDOWS_8_1).contains(&look.version.build) || !look.leads.is_empty()
}

/// Chooses for a guest that comes up on an instance family.
///
/// # Errors
/// A file that was found cannot be read any more.
pub fn choose(
    look: &Look,
    inventory: Option<&Inventory>,
    hypervisor: Hypervisor,
) -> Result<Choice, ComponentError> {
    let is_amd64 = look.processor.is_empty() || look.processor.eq_ignore_ascii_case("AMD64");
    if !is_amd64 || look.version.build < WINDOWS_2008_R2 {
        return Ok(Choice { is_asked: inventory.is_some(), ..Choice::default() });
    }
    let product = match look.product_type.to_ascii_lowercase().as_str() {
        "winnt" => Product::Workstation,
        "lanmannt" => Product::DomainController,
        _ => Product::Server,
    };
    let (major, minor) = look.version.number;
    let target = Target::amd64(major, minor, look.version.build, product);
    let none = Inventory::default();
    let selected = inventory.unwrap_or(&none).select(&target, hypervisor)?;
    let mut choice = Choice {
        is_asked: inventory.is_some(),
        drivers: selected.drivers,
        installers: selected.installers,
        missing: selected.missing,
        notes: selected.notes,
        refused: inventory.map(|inventory| inventory.refused.clone()).unwrap_or_default(),
        withheld: Vec::new(),
    };
    choice.drivers.retain(|driver| !has(look, driver.kind));
    choice.installers.retain(|installer| !has(look, installer.kind));
    choice.missing.retain(|missing| !has(look, missing.kind));
    // Its setup starts it before it can be told to leave Administrator's password alone, and there that
    // is the domain's.
    if look.is_domain_controller() {
        let is_kept = |installer: &Installer| installer.kind != Kind::Ec2Config;
        let (kept, withheld) = choice.installers.into_iter().partition(is_kept);
        (choice.installers, choice.withheld) = (kept, withheld);
        choice.missing.retain(|missing| missing.kind != Kind::Ec2Config);
    }
    choice.notes.retain(|note| !has(look, note.kind));
    // By what is there, not by the version: an update brings Windows 7 one, and images can lack theirs.
    for missing in choice.missing.iter_mut().filter(|missing| missing.kind == Kind::Nvme) {
        missing.need = if has_own_nvme(look) { Need::Recommended } else { Need::Boot };
    }
    choice.missing.sort_by_key(|missing| missing.need);
    Ok(choice)
}
