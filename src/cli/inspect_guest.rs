//! Looking into guests, in the sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnostic::Diagnostic;
use crate::guest::report::{GiveUp, RecipeInputs};
use crate::model::{ComponentsFacts, Digest, Hypervisor};
use crate::observe::{Inspector, Machine, Prepared};
use crate::provider::InstanceTypeFacts;
use crate::sandbox::{self, Cache, Limits, Parcel, SandboxDisk};

/// Looks into guests with a sandbox each, remembers what it saw.
pub struct SandboxInspector<'a> {
    cache: PathBuf,
    types: &'a BTreeMap<String, InstanceTypeFacts>,
    parcels: Mutex<BTreeMap<PathBuf, Arc<Parcel>>>,
}

impl<'a> SandboxInspector<'a> {
    /// For the configuration in a directory.
    #[must_use]
    pub fn new(directory: &Path, types: &'a BTreeMap<String, InstanceTypeFacts>) -> Self {
        Self { cache: directory.join(".replant/cache"), types, parcels: Mutex::default() }
    }
}

impl SandboxInspector<'_> {
    /// The folder that a machine's `guest` block names.
    fn components(&self, machine: &Machine) -> Result<Option<Arc<Parcel>>, Diagnostic> {
        let Some(folder) = &machine.spec.guest.windows.components else { return Ok(None) };
        // It is digested once, also when several machines are looked into at the same time.
        let mut parcels = self.parcels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parcel) = parcels.get(folder) {
            return Ok(Some(Arc::clone(parcel)));
        }
        let opened = Parcel::open(folder);
        let place = machine.spec.span("guest.windows.components").or_else(|| machine.spec.span("guest"));
        let parcel = Arc::new(opened.map_err(|error| error.diagnostic().at(place))?);
        parcels.insert(folder.clone(), Arc::clone(&parcel));
        Ok(Some(parcel))
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
            components: self.components(machine)?,
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
        let components = request
            .components
            .as_ref()
            .map(|parcel| ComponentsFacts { path: parcel.folder().to_owned(), digest: parcel.digest() });
        Ok(Prepared { report: outcome.report, recipe, overlays, components })
    }
}
