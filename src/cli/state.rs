//! `replant state`: looking at the state, and the few changes of it that touch nothing outside.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::rebuild::{self, Rebuild};
use super::terminal;
use crate::diagnostic::Diagnostic;
use crate::model::{Address, Part};
use crate::state::{Intent, Lock, Paths, Resource, State, StateChange, Store};
use crate::ui::human::state::render_resource;

/// Looks at the state or changes what it says.
#[derive(Debug, Args)]
pub struct StateCommand {
    /// The state of the rehearsal.
    #[arg(long, global = true)]
    pub rehearse: bool,
    /// What to do.
    #[command(subcommand)]
    pub action: StateAction,
}

/// What can be done with a state.
#[derive(Debug, Subcommand)]
pub enum StateAction {
    /// Lists the addresses of all resources.
    List {
        /// Only these, and what is below them.
        addresses: Vec<Address>,
    },
    /// Shows a resource's attributes.
    Show {
        /// Which.
        address: Address,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prints the whole state as JSON, the journal's replay included.
    Pull,
    /// Gives a resource another address, for when its block was renamed. Nothing outside changes.
    Mv {
        /// The address now.
        from: Address,
        /// The address afterwards.
        to: Address,
    },
    /// Makes a lost state again from the tags of what exists, or brings an old one up to that.
    Rebuild(Box<Rebuild>),
    /// Forgets resources without destroying them.
    Rm {
        /// Which; an instance's volumes go with it.
        #[arg(required = true)]
        addresses: Vec<Address>,
    },
}

/// The files of the state, or of the rehearsal's.
#[must_use]
pub fn paths(directory: &Path, rehearse: bool) -> Paths {
    if rehearse { Paths::named(directory, "rehearsal") } else { Paths::in_directory(directory) }
}

/// Runs it.
#[must_use]
pub fn run(directory: &Path, arguments: &StateCommand) -> Exit {
    let paths = paths(directory, arguments.rehearse);
    let outcome = match &arguments.action {
        StateAction::Rebuild(command) => return rebuild::run(directory, arguments.rehearse, command),
        StateAction::List { addresses } => read(&paths).and_then(|state| list(&state, addresses)),
        StateAction::Show { address, json } => read(&paths).and_then(|state| show(&state, address, *json)),
        StateAction::Pull => read(&paths).and_then(|state| json(&state)),
        StateAction::Mv { from, to } => change(&paths, "state mv", |state| mv(state, from, to)),
        StateAction::Rm { addresses } => change(&paths, "state rm", |state| rm(state, addresses)),
    };
    terminal::finish(outcome, false)
}

fn read(paths: &Paths) -> Result<State, Diagnostic> {
    Ok(Store::read(paths)?)
}

/// Whether `address` is `top` or lies below it.
fn is_below(address: &Address, top: &Address) -> bool {
    address == top || (top.part == Part::Instance && address.instance == top.instance)
}

fn unknown(state: &State, address: &Address) -> Diagnostic {
    let text = address.to_string();
    let nearest = state
        .resources
        .keys()
        .map(|known| (strsim::damerau_levenshtein(&known.to_string(), &text), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let diagnostic = Diagnostic::error("state::unknown_address", "the state has no resource of this address")
        .detail(format!(
            "{address} is not in it. Volumes and instances are; attachments, writes and drivers are steps."
        ));
    match nearest {
        Some((_, known)) => diagnostic.help(format!("did you mean {known}?")),
        None => diagnostic.help("list what is there:\nreplant state list"),
    }
}

fn list(state: &State, addresses: &[Address]) -> Result<String, Diagnostic> {
    for wanted in addresses {
        if !state.resources.keys().any(|address| is_below(address, wanted)) {
            return Err(unknown(state, wanted));
        }
    }
    Ok(state
        .resources
        .keys()
        .filter(|address| addresses.is_empty() || addresses.iter().any(|wanted| is_below(address, wanted)))
        .map(|address| format!("{address}\n"))
        .collect())
}

fn show(state: &State, address: &Address, as_json: bool) -> Result<String, Diagnostic> {
    let resource = state.resources.get(address).ok_or_else(|| unknown(state, address))?;
    if as_json { json(resource) } else { Ok(render_resource(address, resource)) }
}

/// A value as JSON.
///
/// # Errors
/// When it cannot be written.
pub fn json(value: &impl serde::Serialize) -> Result<String, Diagnostic> {
    let mut text = serde_json::to_string_pretty(value).map_err(|error| {
        Diagnostic::error("state::encode", "the state cannot be written as JSON").detail(error.to_string())
    })?;
    text.push('\n');
    Ok(text)
}

/// The refusal to change anything while an earlier run is not settled.
#[must_use]
pub fn unfinished(intent: &Intent) -> Diagnostic {
    Diagnostic::error("state::unfinished", "the last run has to be finished first")
        .about(&intent.address)
        .detail("It was ended in the middle of something; what came of that is found out by the next apply, which needs the addresses as they are.")
        .help("replant apply")
}

/// What a change comes to: what the journal records, and what is said about it.
type Decision = Result<(Vec<StateChange>, String), Diagnostic>;

fn change(
    paths: &Paths,
    command: &str,
    decide: impl FnOnce(&State) -> Decision,
) -> Result<String, Diagnostic> {
    let lock = Lock::acquire(paths, command)?;
    let store = Store::open(paths, &lock)?;
    if let Some(intent) = store.pending().first() {
        return Err(unfinished(intent));
    }
    let (changes, text) = decide(&store.state())?;
    store.change(changes)?;
    store.commit()?;
    Ok(text)
}

fn mv(state: &State, from: &Address, to: &Address) -> Decision {
    let fits = match (&from.part, &to.part) {
        (Part::Instance, Part::Instance) => true,
        (Part::Volume(_), Part::Volume(_)) => from.instance == to.instance,
        _ => false,
    };
    if !fits {
        return Err(Diagnostic::error("state::cannot_move", "this cannot become that")
            .detail(format!("{from} can not become {to}: an instance moves to another instance's address, a volume to another disk's name of the same instance.")));
    }
    if state.resources.keys().any(|address| is_below(address, to)) {
        return Err(Diagnostic::error("state::address_taken", "the new address is taken")
            .detail(format!("{to} is in the state already."))
            .help(format!("forget it first, when it is not wanted any more:\nreplant state rm '{to}'")));
    }
    let mut after: BTreeMap<Address, Resource> = BTreeMap::new();
    let mut moved = Vec::new();
    for (address, resource) in &state.resources {
        if is_below(address, from) {
            let target = match &from.part {
                Part::Instance => to.instance.part(address.part.clone()),
                _ => to.clone(),
            };
            moved.push((address, target.clone()));
            after.insert(target, resource.clone());
        } else {
            after.insert(address.clone(), resource.clone());
        }
    }
    if moved.is_empty() {
        return Err(unknown(state, from));
    }
    for (address, resource) in &mut after {
        let Resource::Instance(instance) = resource else { continue };
        if instance.depends_on.remove(&from.instance) {
            let kept = if from.part == Part::Instance { &to.instance } else { &from.instance };
            instance.depends_on.insert(kept.clone());
        }
        if address.instance == from.instance
            && let (Part::Volume(old), Part::Volume(new)) = (&from.part, &to.part)
        {
            instance.disks.iter_mut().filter(|disk| *disk == old).for_each(|disk| disk.clone_from(new));
        }
    }
    let removed = moved.iter().map(|(address, _)| StateChange::Remove { address: (*address).clone() });
    let put = after
        .into_iter()
        .filter(|(address, resource)| state.resources.get(address) != Some(resource))
        .map(|(address, resource)| StateChange::Put { address, resource });
    let text = moved.iter().map(|(from, to)| format!("{from} is now {to}\n")).collect();
    Ok((removed.chain(put).collect(), text))
}

fn rm(state: &State, addresses: &[Address]) -> Decision {
    let (mut changes, mut text) = (Vec::new(), String::new());
    for wanted in addresses {
        if !state.resources.keys().any(|address| is_below(address, wanted)) {
            return Err(unknown(state, wanted));
        }
    }
    for (address, resource) in &state.resources {
        if !addresses.iter().any(|wanted| is_below(address, wanted)) {
            continue;
        }
        text.push_str(&format!("{address} is forgotten; {} still exists\n", resource.id()));
        changes.push(StateChange::Remove { address: address.clone() });
    }
    Ok((changes, text))
}
