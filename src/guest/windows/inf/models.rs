//! The devices of a file: [Manufacturer] and the sections of models.

use super::budget::Budget;
use super::decoration::{Target, closeness};
use super::error::InfError;
use super::parse::Inf;
use crate::model::Architecture;

/// Longest id, in characters: Windows' own limit.
const LONGEST_ID: usize = 200;
/// Longest name that Windows shows (`LINE_LEN`).
const LONGEST_NAME: usize = 255;

/// A device that a file has a driver for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What people call it.
    pub description: String,
    /// Who makes it.
    pub manufacturer: String,
    /// The section of models it stands in, with its decoration.
    pub section: String,
    /// The section that installs it, undecorated.
    pub install: String,
    /// Its hardware id, upper case: `PCI\VEN_1D0F&DEV_8061`. Empty for a device that nothing
    /// reports.
    pub hardware_id: String,
    /// Further ids that it is compatible with, upper case.
    pub compatible_ids: Vec<String>,
}

impl Model {
    /// The hardware id, then the compatible ones.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.hardware_id).chain(&self.compatible_ids).map(String::as_str)
    }
}

impl Inf {
    /// The models for a Windows: for each manufacturer those of the one section whose decoration
    /// is closest. None when the file excludes this Windows.
    ///
    /// # Errors
    /// No [Manufacturer], or more models than any driver has.
    pub fn models(&self, target: &Target) -> Result<Vec<Model>, InfError> {
        let manufacturers = self
            .section("Manufacturer")
            .ok_or_else(|| InfError::Section { name: "Manufacturer".to_owned() })?;
        let mut budget = Budget::new();
        let mut models = Vec::new();
        for line in &manufacturers.lines {
            budget.take(0)?;
            let manufacturer = self.name(line.key.as_deref().unwrap_or_else(|| line.value(0)));
            let base = self.value(line, 0);
            let decorations = line.values.get(1..).unwrap_or_default();
            let Some(section) = self.models_section(&base, decorations, target) else { continue };
            let Some(found) = self.section(&section) else { continue };
            for line in &found.lines {
                budget.take(0)?;
                let Some(key) = &line.key else { continue };
                let mut ids = Vec::new();
                for id in line.values.iter().skip(1) {
                    let id = self.expand(id).to_ascii_uppercase();
                    if id.len() <= LONGEST_ID {
                        ids.push(budget.text(id)?);
                    }
                }
                let mut ids = ids.into_iter();
                models.push(Model {
                    description: budget.text(self.name(key))?,
                    manufacturer: budget.text(manufacturer.clone())?,
                    section: budget.text(found.name.clone())?,
                    install: budget.text(self.value(line, 0))?,
                    hardware_id: ids.next().unwrap_or_default(),
                    compatible_ids: ids.filter(|id| !id.is_empty()).collect(),
                });
            }
        }
        Ok(models)
    }

    fn name(&self, name: &str) -> String {
        self.expand(name).chars().take(LONGEST_NAME).collect()
    }

    /// The name of the section of models that a Windows takes for a manufacturer.
    fn models_section(&self, base: &str, decorations: &[String], target: &Target) -> Option<String> {
        let known = decorations.iter().map(|decoration| self.expand(decoration));
        let applying = known.filter_map(|decoration| Some((closeness(&decoration, target)?, decoration)));
        match applying.max_by(|(one, _), (other, _)| one.cmp(other)) {
            Some((_, decoration)) => Some(format!("{base}.{}", decoration.trim())),
            // Undecorated models are for x86 alone since Windows Server 2003 SP1.
            None => (target.architecture == Architecture::I386).then(|| base.to_owned()),
        }
    }
}
