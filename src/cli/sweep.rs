//! `replant sweep`: what a workspace made and its state does not know.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::apply::{RunArguments, Session};
use super::exit::Exit;
use super::plan::{has_state, runtime};
use super::terminal;
use super::twins;
use super::workspace::{Workspace, WorkspaceArguments};
use crate::apply::{self, Cancel};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::observe::inventory::{Inventory, Others, Stray};
use crate::plan::{Overlays, Plan};
use crate::state::{Intent, Lock, Operation, Store};
use crate::ui::human::inventory::render_strays;

/// The version of the JSON that `--json` prints.
const VERSION: u32 = 1;

/// Lists what carries this workspace's tags and is in no state; removes, when told to, what no guest
/// ever ran from.
#[derive(Debug, Clone, Args)]
pub struct Sweep {
    /// Which workspace.
    #[command(flatten)]
    pub workspace: WorkspaceArguments,
    /// Remove what no guest ever ran from.
    #[arg(long)]
    pub remove: bool,
    /// Do not ask.
    #[arg(long, requires = "remove")]
    pub auto_approve: bool,
    /// The list as JSON.
    #[arg(long, conflicts_with = "remove")]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    version: u32,
    lineage: &'a str,
    strays: &'a [Stray],
    /// What other workspaces have at the same addresses.
    others: &'a Others,
}

/// Sweeps.
#[must_use]
pub fn run(directory: &Path, command: &Sweep) -> Exit {
    match sweep(directory, command) {
        Ok(exit) => exit,
        Err(diagnostics) => {
            terminal::print_diagnostics(&diagnostics, command.json);
            Exit::Failure
        }
    }
}

fn sweep(directory: &Path, command: &Sweep) -> Result<Exit, Diagnostics> {
    let workspace = Workspace::open(directory, &command.workspace, true)?;
    let runtime = runtime()?;
    let one = |diagnostic: Diagnostic| Diagnostics::from(diagnostic);
    let lock = match command.remove {
        true => Some(Lock::acquire(&workspace.paths, "sweep").map_err(|error| one(error.diagnostic()))?),
        false => None,
    };
    let (state, pending) =
        Store::read_with_pending(&workspace.paths).map_err(|error| one(error.diagnostic()))?;
    if !has_state(&state) {
        return Err(Diagnostic::error("sweep::no_state", "There is no state")
            .detail("What belongs to a workspace is known by its state's lineage.")
            .help("make a lost state again from the tags of what exists:\nreplant state rebuild")
            .into());
    }
    let store = match &lock {
        Some(lock) => {
            if let Some(intent) = pending.first() {
                return Err(one(super::state::unfinished(intent)));
            }
            let store = Store::open(&workspace.paths, lock).map_err(|error| one(error.diagnostic()))?;
            Some(Arc::new(store))
        }
        None => None,
    };
    let failed = |error| Diagnostics::from(apply::error::provider(&error));
    let node = runtime.block_on(workspace.provider.access_node()).map_err(failed)?;
    let all = runtime.block_on(Inventory::read_all(&*workspace.provider)).map_err(failed)?;
    let others = twins::beside(&workspace, &runtime, &state, &all);
    let inventory = all.of(&state.lineage);
    let strays = inventory.strays(&state, &begun(&pending), &node.instance_id);
    if command.json {
        let listing = Listing { version: VERSION, lineage: &state.lineage, strays: &strays, others: &others };
        terminal::print(&super::state::json(&listing).map_err(one)?);
        return Ok(Exit::Success);
    }
    let shown = render_strays(&strays, terminal::stdout_look());
    terminal::print(&(shown + &twins::told(&workspace, &others)));
    let Some(store) = store else { return Ok(Exit::Success) };
    let removable = strays.iter().filter(|stray| stray.kept.is_none()).count();
    if removable == 0 {
        return Ok(Exit::Success);
    }
    if !command.auto_approve && !approved()? {
        terminal::say("\nNothing was done.\n");
        return Ok(Exit::Failure);
    }
    let (cancel, observer) = (Cancel::default(), terminal::observer(false));
    let session = Session { workspace: &workspace, store: &store, cancel: &cancel, observer: &observer };
    let nothing = Plan::nothing(workspace.provider.name(), &node);
    let context = session.context(nothing, Overlays::new(), &RunArguments::quiet());
    let gone = runtime.block_on(apply::sweep::sweep(&context, &strays)).map_err(|error| {
        store
            .commit()
            .err()
            .map_or_else(|| super::apply::not_about_a_node(&error), |failed| one(failed.diagnostic()))
    })?;
    store.commit().map_err(|error| one(error.diagnostic()))?;
    terminal::print(&format!("\nSweep complete: {} removed.\n", gone.len()));
    Ok(Exit::Success)
}

/// Tokens of calls that were begun and not ended.
fn begun(pending: &[Intent]) -> BTreeSet<String> {
    let tokens = pending.iter().filter_map(|intent| match &intent.operation {
        Operation::CreateVolume(request) => Some(request.token.to_string()),
        Operation::RunInstance(request) => Some(request.token.to_string()),
        Operation::CreateSnapshot(request) => Some(request.token.to_string()),
        Operation::RegisterImage(request) => Some(request.token.to_string()),
        _ => None,
    });
    tokens.collect()
}

fn approved() -> Result<bool, Diagnostics> {
    let helps = [
        "look at the list first:\nreplant sweep",
        "then say yes beforehand:\nreplant sweep --remove --auto-approve",
    ];
    let question = "Do you really want to remove these? There is no undo.";
    terminal::ask(question, "The removal needs a yes", &helps, false)
}
