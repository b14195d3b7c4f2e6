//! `replant state rebuild`: the state made again from the tags of what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::exit::Exit;
use super::plan::{has_state, runtime};
use super::variables::Variables;
use super::workspace::{Workspace, WorkspaceArguments};
use super::{state, terminal, twins};
use crate::apply;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::InstanceAddress;
use crate::observe::Machine;
use crate::observe::inventory::{Inventory, Others};
use crate::observe::rebuild::{Ground, Rebuilt, rebuild};
use crate::provider::ProviderError;
use crate::state::{Lock, Resource, State, StateChange, Store};

/// Makes a lost state again from the tags of what exists, or brings an old one up to that. Changes
/// nothing but the state.
#[derive(Debug, Clone, Args)]
pub struct Rebuild {
    /// Values for variables.
    #[command(flatten)]
    pub values: Variables,
    /// The workspace's lineage, as its resources' tag replant:workspace says.
    #[arg(long)]
    pub lineage: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub auto_approve: bool,
}

/// Rebuilds.
#[must_use]
pub fn run(directory: &Path, rehearse: bool, command: &Rebuild) -> Exit {
    match rebuilt(directory, rehearse, command) {
        Ok(exit) => exit,
        Err(diagnostics) => {
            terminal::print_diagnostics(&diagnostics, false);
            Exit::Failure
        }
    }
}

fn rebuilt(directory: &Path, rehearse: bool, command: &Rebuild) -> Result<Exit, Diagnostics> {
    let arguments = WorkspaceArguments { values: command.values.clone(), rehearse, fills_components: false };
    let workspace = Workspace::open(directory, &arguments, true)?;
    let runtime = runtime()?;
    let lock = Lock::acquire(&workspace.paths, "state rebuild").map_err(|error| error.diagnostic())?;
    let before = Store::read(&workspace.paths).map_err(|error| error.diagnostic())?;
    let store = Arc::new(Store::open(&workspace.paths, &lock).map_err(|error| error.diagnostic())?);
    if let Some(intent) = store.pending().first() {
        return Err(state::unfinished(intent).into());
    }
    let provider = &*workspace.provider;
    let failed = |error: ProviderError| Diagnostics::from(apply::error::provider(&error));
    let node = runtime.block_on(provider.access_node()).map_err(failed)?;
    let all = runtime.block_on(Inventory::read_all(provider)).map_err(failed)?;
    let lineage = match command.lineage.clone().or(has_state(&before).then(|| before.lineage.clone())) {
        Some(lineage) => lineage,
        None => the_lineage(&all, &workspace.instance_names(&runtime, &before)?)?,
    };
    let others = twins::beside(&workspace, &runtime, &before, &all);
    let inventory = all.of(&lineage);
    store.continue_lineage(&lineage).map_err(|error| error.diagnostic())?;
    let now = store.state();
    // Images may be gone: what cannot be opened only leaves more to the provider to tell.
    let machines: BTreeMap<InstanceAddress, Machine> = workspace.machines(&runtime, &now).unwrap_or_default();
    let names = inventory.instances.iter().map(|view| view.instance_type.clone()).collect();
    let types = runtime.block_on(provider.instance_types(&names)).map_err(failed)?;
    let ground = Ground { state: &now, machines: &machines, types: &types, access_node: &node.instance_id };
    let Rebuilt { mut changes, notes } = rebuild(&inventory, ground);
    let beside: Others = others.into_iter().filter(|(other, _)| *other != lineage).collect();
    terminal::print(&(shown(&lineage, &now, &changes, &notes) + &twins::told(&workspace, &beside)));
    if changes.is_empty() {
        return Ok(Exit::Success);
    }
    if !command.auto_approve && !approved()? {
        terminal::say("\nNothing was done.\n");
        return Ok(Exit::Failure);
    }
    changes.push(StateChange::Provider { name: provider.name().to_owned() });
    store.change(changes).map_err(|error| error.diagnostic())?;
    store.commit().map_err(|error| error.diagnostic())?;
    terminal::print("\nThe state is rebuilt. See what differs from the configuration:\n\n    replant plan\n");
    Ok(Exit::Success)
}

/// The only workspace whose resources have addresses of this configuration.
fn the_lineage(all: &Inventory, configured: &BTreeSet<String>) -> Result<String, Diagnostics> {
    let lineages = all.lineages();
    let fits = |addresses: &BTreeSet<String>| {
        addresses.iter().any(|address| {
            address
                .parse::<crate::model::Address>()
                .is_ok_and(|address| configured.contains(&address.instance.name))
        })
    };
    let fitting: Vec<&String> =
        lineages.iter().filter(|(_, addresses)| fits(addresses)).map(|(lineage, _)| lineage).collect();
    if let [one] = fitting.as_slice() {
        return Ok((*one).clone());
    }
    let listed: Vec<String> = lineages
        .iter()
        .map(|(lineage, addresses)| {
            let some: Vec<&str> = addresses.iter().take(3).map(String::as_str).collect();
            let more = if addresses.len() > 3 { ", …" } else { "" };
            format!("{lineage}: {}{more}", some.join(", "))
        })
        .collect();
    Err(match lineages.is_empty() {
        true => Diagnostic::error("rebuild::nothing", "Nothing here was made by Replant")
            .detail("No volume or instance of this account and region carries the tag replant:workspace.")
            .help("take in what exists by its id:\nreplant import ADDRESS ID"),
        false => Diagnostic::error("rebuild::which", "It is not clear which workspace this is")
            .detail(format!("These workspaces have resources here:\n{}", listed.join("\n")))
            .help("say which:\nreplant state rebuild --lineage LINEAGE"),
    }
    .into())
}

fn shown(lineage: &str, state: &State, changes: &[StateChange], notes: &[String]) -> String {
    let mut text = format!("Workspace {lineage}\n\n");
    for change in changes {
        let StateChange::Put { address, resource } = change else { continue };
        let glyph = if state.resources.contains_key(address) { "~" } else { "+" };
        let more = match resource {
            Resource::Volume(volume) if volume.started => "a guest has run from it",
            Resource::Volume(_) => "no guest has run from it",
            Resource::Instance(instance) => instance.state.as_str(),
            Resource::Snapshot(_) | Resource::Image(_) => "of a restored guest",
        };
        text.push_str(&format!("  {glyph} {address} = {} ({more})\n", resource.id()));
    }
    if changes.is_empty() {
        text.push_str("The state knows all that carries its tags.\n");
    }
    if !notes.is_empty() {
        text.push_str("\nNotes:\n");
        notes
            .iter()
            .for_each(|note| text.push_str(&format!("  - {}\n", crate::ui::human::text::harmless(note))));
    }
    text
}

fn approved() -> Result<bool, Diagnostics> {
    let helps = ["say yes beforehand:\nreplant state rebuild --auto-approve"];
    let question = "Do you want this to be the state?";
    terminal::ask(question, "The state is changed only with a yes", &helps, false)
}
