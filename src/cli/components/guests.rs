//! For whom components are fetched: versions of Windows that are named, guests in images, or the
//! Windows guests of a configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::fetch::Fetch;
use super::trouble;
use crate::cli::inspect::{MachineArguments, NetworkArgument};
use crate::cli::inspect_guest::SandboxInspector;
use crate::cli::plan::runtime;
use crate::cli::workspace::{Workspace, WorkspaceArguments};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::guest::report::GuestFacts;
use crate::guest::windows::components::Release;
use crate::guest::windows::inf::Target;
use crate::model::{Architecture, Hypervisor, InstanceAddress, InstanceSpec};
use crate::observe::{Inspection, Pins, Reality, resolve};
use crate::sandbox::run as run_sandbox;
use crate::state::Store;

/// A guest that gets components.
pub struct Guest {
    /// Its address, its image, or its version of Windows.
    pub name: String,
    /// Which Windows it is, for people.
    pub windows: String,
    /// Which Windows it is, for drivers.
    pub target: Target,
    /// What it comes up on.
    pub hypervisor: Hypervisor,
    /// The folder of its components.
    pub folder: PathBuf,
    /// The same for people: from the configuration's directory.
    pub shown: PathBuf,
}

/// Those that the command line, or the configuration, names.
///
/// # Errors
/// All that stands in the way of knowing them.
pub fn guests(directory: &Path, command: &Fetch) -> Result<Vec<Guest>, Diagnostics> {
    let one = Diagnostics::from;
    if !command.windows.is_empty() {
        let folder = command.to.clone().ok_or_else(|| one(trouble::no_place()))?;
        let hypervisor = hypervisor(command).map_err(one)?;
        let guest = |release: &Release| Guest {
            name: release.name.to_owned(),
            windows: release.name.to_owned(),
            target: release.target,
            hypervisor,
            folder: directory.join(&folder),
            shown: folder.clone(),
        };
        return Ok(command.windows.iter().map(guest).collect());
    }
    if !command.image.is_empty() {
        let folder = command.to.clone().ok_or_else(|| one(trouble::no_place()))?;
        return of_images(directory, command, &folder).map_err(one);
    }
    of_configuration(directory, command)
}

fn machine(command: &Fetch) -> MachineArguments {
    MachineArguments {
        images: Vec::new(),
        reading: command.reading.clone(),
        instance_type: command.instance_type.clone(),
        hypervisor: command.hypervisor,
        network: NetworkArgument::Dhcp,
        components: None,
        allow_missing: false,
        accept: Vec::new(),
        memory: 512,
    }
}

/// What the type says, or the hypervisor that is named.
fn hypervisor(command: &Fetch) -> Result<Hypervisor, Diagnostic> {
    Ok(machine(command).kind()?.map_or(command.hypervisor.into(), |kind| kind.hypervisor))
}

fn of_images(directory: &Path, command: &Fetch, folder: &Path) -> Result<Vec<Guest>, Diagnostic> {
    let hypervisor = hypervisor(command)?;
    let mut guests = Vec::new();
    for image in &command.image {
        let machine = MachineArguments { images: vec![image.clone()], ..machine(command) };
        let request = machine.request(directory, machine.disks(directory)?, false)?;
        let report = run_sandbox(&request, None).map_err(|error| error.diagnostic())?.report;
        let name = image.to_string();
        let facts = report.facts.ok_or_else(|| trouble::no_guest(&name))?;
        let guest = windows(&facts, name.clone(), hypervisor, &directory.join(folder), folder);
        guests.push(guest.ok_or_else(|| trouble::not_windows(&name, &facts.product))?);
    }
    Ok(guests)
}

fn windows(
    facts: &GuestFacts,
    name: String,
    hypervisor: Hypervisor,
    folder: &Path,
    shown: &Path,
) -> Option<Guest> {
    let target = Target::of_facts(facts).filter(|target| target.architecture == Architecture::X86_64)?;
    Some(Guest {
        name,
        windows: facts.product.clone(),
        target,
        hypervisor,
        folder: folder.to_owned(),
        shown: shown.to_owned(),
    })
}

/// The Windows guests of a configuration. Other guests need none, and those that cannot be looked
/// into are named.
fn of_configuration(directory: &Path, command: &Fetch) -> Result<Vec<Guest>, Diagnostics> {
    let arguments = WorkspaceArguments { fills_components: true, ..command.workspace.clone() };
    let workspace = Workspace::open(directory, &arguments, false)?;
    let runtime = runtime()?;
    let state = Store::read(&workspace.paths).map_err(|error| Diagnostics::from(error.diagnostic()))?;
    let (evaluated, _) = workspace.evaluate(&runtime, &state, &BTreeSet::new())?;
    let types = evaluated.instances.values().map(|spec| spec.instance_type.clone()).collect();
    let reality = runtime.block_on(Reality::read(&*workspace.provider, &state, &types, false));
    let reality = reality.map_err(|error| Diagnostics::from(crate::apply::error::provider(&error)))?;
    // The inspection takes what is there along: nothing yet.
    let made = Made::of(&evaluated.instances)?;
    let inspector = SandboxInspector::new(&workspace.directory, &reality.instance_types);
    let (machines, mut troubles) = resolve(&evaluated.instances, &Pins::of(&state), &inspector, &|_| true);
    let mut guests = Vec::new();
    for machine in machines.values() {
        let name = machine.spec.address.to_string();
        let facts = match &machine.inspection {
            Inspection::Done(prepared) => prepared.report.facts.as_ref(),
            Inspection::Skipped => None,
            Inspection::Failed(diagnostic) => {
                troubles.push((**diagnostic).clone().about(&machine.spec.address));
                None
            }
        };
        let Some(facts) = facts else { continue };
        let own = machine.spec.guest.windows.components.as_deref();
        let is_windows = facts.family == "windows";
        // A plan asks for the folder that is named, and nothing will come into it.
        let needs_none = !is_windows || Target::of_facts(facts).is_none();
        if let Some(folder) = own.filter(|folder| needs_none && made.0.iter().any(|made| made == folder)) {
            let shown = folder.strip_prefix(directory).unwrap_or(folder);
            troubles.push(trouble::needless_folder(&name, &facts.product, shown));
            continue;
        }
        if !is_windows {
            continue;
        }
        let kind = reality.instance_types.get(&machine.spec.instance_type);
        let hypervisor = kind.map_or(Hypervisor::Nitro, |kind| kind.hypervisor);
        match (&command.to, own) {
            (Some(shown), _) => {
                guests.extend(windows(facts, name, hypervisor, &directory.join(shown), shown));
            }
            (None, Some(folder)) => {
                // As people wrote it: from the configuration's directory.
                let shown = folder.strip_prefix(directory).unwrap_or(folder);
                guests.extend(windows(facts, name, hypervisor, folder, shown));
            }
            (None, None) => troubles.push(trouble::no_folder(&name)),
        }
    }
    if troubles.has_errors() { Err(troubles) } else { Ok(guests) }
}

/// Folders of the configuration that were made so that it is right; they go again when nothing came
/// into them.
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes the folders that machines name and that are missing: they are about to be filled.
    ///
    /// # Errors
    /// One cannot be made.
    fn of(machines: &BTreeMap<InstanceAddress, InstanceSpec>) -> Result<Self, Diagnostics> {
        let mut made = Self(Vec::new());
        for spec in machines.values() {
            if let Some(folder) = spec.guest.windows.components.as_ref().filter(|folder| !folder.exists()) {
                fs::create_dir_all(folder).map_err(|error| trouble::place(folder, &error))?;
                made.0.push(folder.clone());
            }
        }
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in &self.0 {
            // One that is not empty stays.
            let _ = fs::remove_dir(folder);
        }
    }
}
