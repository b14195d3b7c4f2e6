//! Looking into guests, in the sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::guest::report::{GiveUp, RecipeInputs};
use crate::model::{Digest, Hypervisor};
use crate::observe::{Inspector, Machine, Prepared};
use crate::provider::InstanceTypeFacts;
use crate::sandbox::{self, Cache, Limits, SandboxDisk};

/// Looks into guests with a sandbox each, remembers what it saw.
pub struct SandboxInspector<'a> {
    cache: PathBuf,
    types: &'a BTreeMap<String, InstanceTypeFacts>,
}

impl<'a> SandboxInspector<'a> {
    /// For the configuration in a directory.
    #[must_use]
    pub fn new(directory: &Path, types: &'a BTreeMap<String, InstanceTypeFacts>) -> Self {
        Self { cache: directory.join(".replant/cache"), types }
    }
}

impl Inspector for SandboxInspector<'_> {
    fn inspect(&self, machine: &Machine) -> Result<Prepared, Diagnostic> {
        let facts = self.types.get(&machine.spec.instance_type);
        let with_content: Vec<_> =
            machine.disks.iter().filter_map(|disk| Some((disk, disk.image.as_ref()?))).collect();
        let request = sandbox::Request {
            disks: with_content
                .iter()
                .map(|(disk, image)| SandboxDisk {
                    name: disk.spec.name.clone(),
                    image: image.facts.path.clone(),
                    format: Some(image.facts.format.clone()),
                    member: image.facts.member.clone(),
                    snapshot: image.facts.snapshot.clone(),
                    size: disk.volume_bytes(),
                    grow: disk.spec.grow,
                })
                .collect(),
            prepare: true,
            inputs: RecipeInputs {
                hypervisor: facts.map_or(Hypervisor::Nitro, |facts| facts.hypervisor),
                network: machine.spec.guest.network,
                changes: machine.spec.guest.changes.clone(),
                give_up: GiveUp::of(&machine.spec.guest.accept),
            },
            limits: Limits::default(),
        };
        let cache = Cache::new(&self.cache);
        let outcome = sandbox::run(&request, Some(&cache)).map_err(|error| error.diagnostic())?;
        let recipe = if outcome.report.recipe.edits.is_empty() {
            None
        } else {
            let digest = Digest::of_json(&outcome.report.recipe).map_err(|error| {
                Diagnostic::error("plan::recipe_digest", "A recipe cannot be digested")
                    .detail(error.to_string())
            })?;
            Some(digest)
        };
        let names = with_content.iter().map(|(disk, _)| disk.spec.name.clone());
        let overlays = match recipe {
            Some(_) => names.zip(outcome.overlays).collect(),
            None => BTreeMap::new(),
        };
        Ok(Prepared { report: outcome.report, recipe, overlays })
    }
}
