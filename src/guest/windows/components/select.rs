//! Which components a guest gets, and which are missing.

use std::cmp::Reverse;

use super::catalog::{Kind, Limit, Need, agents, has_inbox_nvme};
use super::driver::{Driver, Note, Why, judged};
use super::files::ComponentError;
use super::inventory::{Installer, Inventory};
use super::proof::doubted;
use crate::guest::windows::inf::Target;
use crate::model::Hypervisor;

/// An installer that a guest gets.
pub type ChosenInstaller = Installer;

/// A component that a guest should have and that was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingComponent {
    /// Which.
    pub kind: Kind,
    /// What people call it.
    pub name: &'static str,
    /// The files that Amazon publishes it in.
    pub files: &'static [&'static str],
    /// Where they are downloaded, one address for each file.
    pub addresses: Vec<String>,
    /// Where the user puts them, for people.
    pub place: String,
    /// What the guest cannot do without it.
    pub need: Need,
    /// Why it is needed, for people.
    pub why: &'static str,
}

impl MissingComponent {
    /// Whether the guest is expected to boot without it.
    #[must_use]
    pub fn boots_without(&self) -> bool {
        self.need != Need::Boot
    }
}

/// What a guest gets.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// Drivers, at most one of each kind.
    pub drivers: Vec<Driver>,
    /// Installers, at most one of each kind.
    pub installers: Vec<ChosenInstaller>,
    /// What is missing, the gravest first.
    pub missing: Vec<MissingComponent>,
    /// What there is to say of what was found.
    pub notes: Vec<Note>,
}

impl Selected {
    /// The driver of a kind.
    #[must_use]
    pub fn driver(&self, kind: Kind) -> Option<&Driver> {
        self.drivers.iter().find(|driver| driver.kind == kind)
    }

    /// The installer of a kind.
    #[must_use]
    pub fn installer(&self, kind: Kind) -> Option<&ChosenInstaller> {
        self.installers.iter().find(|installer| installer.kind == kind)
    }
}

impl Inventory {
    /// Chooses for a guest that comes up on an instance family.
    ///
    /// # Errors
    /// A file that was found cannot be read any more.
    pub fn select(&self, target: &Target, hypervisor: Hypervisor) -> Result<Selected, ComponentError> {
        let mut selected = Selected::default();
        let place = match &self.folder {
            Some(folder) => folder.display().to_string(),
            None => "the folder that guest { windows { components = \"…\" } } names".to_owned(),
        };
        let missing = |kind: Kind, need: Need, why: &'static str| MissingComponent {
            kind,
            name: kind.name(),
            files: kind.files(),
            addresses: kind.addresses(target),
            place: place.clone(),
            need,
            why,
        };
        let nitro = hypervisor == Hypervisor::Nitro;
        if nitro && !self.choose_driver(Kind::Nvme, target, &mut selected)? {
            selected.missing.push(if has_inbox_nvme(target) {
                missing(Kind::Nvme, Need::Recommended, "Windows' own NVMe driver boots the guest; Amazon's knows EBS volumes by their ids and follows changes of their size")
            } else {
                missing(Kind::Nvme, Need::Boot, "this Windows has no driver for NVMe disks, so it stops with 0x7B while it boots")
            });
        }
        let ena = self.choose_driver(Kind::Ena, target, &mut selected)?;
        if nitro && !ena {
            selected.missing.push(missing(Kind::Ena, Need::Network, "Windows has no driver for the network of Nitro-based instances: the guest boots, but cannot be reached"));
        }
        if !nitro {
            if Kind::Pv.limit(target) == Limit::Unsupported {
                selected.notes.push(Note { kind: Kind::Pv, place: String::new(), why: Why::Unsupported });
            } else if !self.choose_installer(Kind::Pv, target, &mut selected)? {
                selected.missing.push(missing(Kind::Pv, Need::Network, "the guest boots from emulated IDE disks; without these drivers they are slow, at most four, and the network may be missing"));
            }
        }
        let agents = agents(target);
        let mut chosen = None;
        for kind in agents {
            if chosen.is_none() && self.choose_installer(*kind, target, &mut selected)? {
                chosen = Some(kind);
            }
        }
        if let (None, Some(kind)) = (chosen, agents.first()) {
            selected.missing.push(missing(
                *kind,
                Need::Recommended,
                "it runs user data, sets routes to EC2's metadata and activates Windows",
            ));
        }
        // EC2Config brings it along.
        let brought = chosen == Some(&Kind::Ec2Config);
        if !self.choose_installer(Kind::SsmAgent, target, &mut selected)? && !brought {
            selected.missing.push(missing(
                Kind::SsmAgent,
                Need::Recommended,
                "Systems Manager reaches the guest through it, without an open port",
            ));
        }
        selected.missing.sort_by_key(|missing| missing.need);
        Ok(selected)
    }

    /// The newest sound package of a kind that runs on this Windows. What is said of packages that
    /// were passed over is kept only when none is taken, or it is damage.
    fn choose_driver(
        &self,
        kind: Kind,
        target: &Target,
        selected: &mut Selected,
    ) -> Result<bool, ComponentError> {
        let mut fitting = Vec::new();
        let mut passed = Vec::new();
        for package in self.packages.iter().filter(|package| package.kinds.contains(&kind)) {
            let note = |why| Note { kind, place: package.file.path.clone(), why };
            match package.driver(kind, target)? {
                Ok((driver, notes)) => {
                    fitting.push((driver, notes.into_iter().map(note).collect::<Vec<_>>()))
                }
                Err(why) => passed.push(note(why)),
            }
        }
        // Amazon's own before a driver for all controllers, then the newest; of the same the first.
        fitting.sort_by_key(|(driver, _)| {
            let own = driver.models.iter().any(|model| model.ids().any(|id| id.starts_with("PCI\\VEN_1D0F")));
            Reverse((own, driver.version.version))
        });
        let chosen = fitting.into_iter().next();
        let found = chosen.is_some();
        passed.retain(|note| !found || !matches!(note.why, Why::NotForThisWindows | Why::TooNew { .. }));
        selected.notes.extend(passed);
        if let Some((driver, notes)) = chosen {
            selected.drivers.push(driver);
            selected.notes.extend(notes);
        }
        Ok(found)
    }

    /// The newest sound installer of a kind that runs on this Windows.
    fn choose_installer(
        &self,
        kind: Kind,
        target: &Target,
        selected: &mut Selected,
    ) -> Result<bool, ComponentError> {
        let note = |installer: &Installer, why| Note { kind, place: installer.file.path.clone(), why };
        let mut fitting = Vec::new();
        let mut passed = Vec::new();
        for installer in self.installers.iter().filter(|installer| installer.kind == kind) {
            match judged(kind, installer.version, target) {
                Some(why) if why.refuses() => passed.push(note(installer, why)),
                _ if kind == Kind::Ec2Launch && installer.script.is_none() => {
                    passed.push(note(installer, Why::NoFile { name: "install.ps1".to_owned() }));
                }
                why => fitting.push((installer, why)),
            }
        }
        fitting.sort_by_key(|(installer, _)| Reverse(installer.version));
        let mut found = false;
        for (installer, why) in fitting {
            match doubted(&installer.file)? {
                Ok(doubt) => {
                    selected.notes.extend(why.into_iter().chain(doubt).map(|why| note(installer, why)));
                    selected.installers.push(installer.clone());
                    found = true;
                    break;
                }
                Err(why) => passed.push(note(installer, why)),
            }
        }
        passed.retain(|note| !found || matches!(note.why, Why::Altered | Why::Damaged { .. }));
        selected.notes.extend(passed);
        Ok(found)
    }
}

/// Whether a guest of this Windows is ever given a component.
pub(super) fn takes(kind: Kind, target: &Target) -> bool {
    match kind {
        Kind::Ec2Config | Kind::Ec2Launch | Kind::Ec2LaunchV2 => agents(target).contains(&kind),
        _ => kind.limit(target) != Limit::Unsupported,
    }
}
