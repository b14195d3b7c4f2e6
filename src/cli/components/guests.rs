//! For whom components are fetched: versions of Windows that are named, guests in images, or the
//! Windows guests of a configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::fetch::Fetch;
use super::trouble;
use crate::cli::inspect::{MachineArguments, NetworkArgument};
use crate::cli::inspect_guest::SandboxInspector;
use crate::cli::plan::runtime;
use crate::cli::workspace::Workspace;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::guest::report::GuestFacts;
use crate::guest::windows::components::Release;
use crate::guest::windows::inf::Target;
use crate::model::{Architecture, Hypervisor};
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
    let workspace = Workspace::open(directory, &command.workspace, false)?;
    let runtime = runtime()?;
    let state = Store::read(&workspace.paths).map_err(|error| Diagnostics::from(error.diagnostic()))?;
    let (evaluated, _) = workspace.evaluate(&runtime, &state, &BTreeSet::new())?;
    let types = evaluated.instances.values().map(|spec| spec.instance_type.clone()).collect();
    let reality = runtime.block_on(Reality::read(&*workspace.provider, &state, &types, false));
    let reality = reality.map_err(|error| Diagnostics::from(crate::apply::error::provider(&error)))?;
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
        let Some(facts) = facts.filter(|facts| facts.family == "windows") else { continue };
        let kind = reality.instance_types.get(&machine.spec.instance_type);
        let hypervisor = kind.map_or(Hypervisor::Nitro, |kind| kind.hypervisor);
        match &command.to {
            Some(shown) => {
                guests.extend(windows(facts, name, hypervisor, &directory.join(shown), shown));
            }
            None => troubles.push(trouble::no_folder(&machine.spec.address.to_string())),
        }
    }
    if troubles.has_errors() { Err(troubles) } else { Ok(guests) }
}
