//! Resources of other workspaces at the addresses of this one: most often those of a state that was
//! lost.

use std::collections::BTreeSet;

use super::plan::has_state;
use super::workspace::Workspace;
use crate::apply;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::model::InstanceAddress;
use crate::observe::inventory::{Inventory, Others};
use crate::plan::Plan;
use crate::state::{State, Store};

/// The most resources that are named one by one.
const NAMED: usize = 6;

/// Where there is no state, what a first run would make a second time: of this severity, since a
/// plan only shows it and an apply would do it. A saved plan says itself what it makes: nothing is
/// looked up anew for it.
///
/// # Errors
/// Mistakes of the configuration, the provider's.
pub fn of_lost_state(
    workspace: &Workspace,
    runtime: &tokio::runtime::Runtime,
    state: &State,
    saved: Option<&Plan>,
    severity: Severity,
) -> Result<Option<Diagnostic>, Diagnostics> {
    if has_state(state) {
        return Ok(None);
    }
    let instances = match saved {
        Some(plan) => plan.changes.iter().map(|change| change.address.instance.clone()).collect(),
        None => workspace.instances(runtime, state)?,
    };
    let failed = |error| Diagnostics::from(apply::error::provider(&error));
    let inventory = runtime.block_on(Inventory::read_volumes(&*workspace.provider)).map_err(failed)?;
    let others = inventory.others("", &instances);
    let Some((lineage, resources)) = others.first_key_value() else { return Ok(None) };
    let file = workspace.paths.state.display();
    let mut detail = format!(
        "There is no {file}, so that all of this would be made anew. But there are resources of the same addresses already, made with another state (lineage {lineage}): {}.",
        named(resources)
    );
    if others.len() > 1 {
        detail.push_str(&format!(" {} more lineages have some, too.", others.len() - 1));
    }
    detail.push_str(
        " When that state was lost, this would be a second set beside it, and no state would know the first.",
    );
    let mut diagnostic = match severity {
        Severity::Error => Diagnostic::error("plan::second_set", "What is to be made exists already"),
        _ => Diagnostic::warning("plan::second_set", "What is to be made exists already"),
    }
    .detail(detail);
    let backup = Store::lineage_of_backup(&workspace.paths).filter(|backup| others.contains_key(backup));
    diagnostic = match backup {
        Some(_) => diagnostic.help(format!(
            "put back the copy of the lost state from before its last change, and bring it up to what exists:\ncp {} {file}\nreplant state rebuild",
            workspace.paths.backup.display()
        )),
        None => diagnostic.help(format!(
            "put the lost state back, or make it again from the tags of what exists:\nreplant state rebuild --lineage {lineage}"
        )),
    };
    Ok(Some(diagnostic.help(
        "if those belong to another workspace, and a second set is what you want:\nreplant apply --second-set",
    )))
}

/// What other workspaces have at addresses that this configuration or this state has. Nothing where
/// the configuration cannot be evaluated: then the state alone says which those are.
#[must_use]
pub fn beside(
    workspace: &Workspace,
    runtime: &tokio::runtime::Runtime,
    state: &State,
    inventory: &Inventory,
) -> Others {
    let mut instances = workspace.instances(runtime, state).unwrap_or_default();
    instances.extend(state.resources.keys().map(|address| address.instance.clone()));
    inventory.others(&state.lineage, &instances)
}

/// What is said of those, and how one gets at them; empty when there are none.
#[must_use]
pub fn told(workspace: &Workspace, others: &Others) -> String {
    let mut text = String::new();
    let file = workspace.paths.state.display();
    for (lineage, resources) in others {
        text.push_str(&format!(
            "\nAnother workspace (lineage {lineage}) has resources of the same addresses here: {}.\nIf its state is lost, this makes it again in this directory and ends all of it, guests that have run included:\n\n    mv {file} {file}.own\n    replant state rebuild --lineage {lineage}\n    replant destroy\n    mv {file}.own {file}\n",
            named(resources)
        ));
    }
    text
}

fn named(resources: &[(String, String)]) -> String {
    let mut names: BTreeSet<String> =
        resources.iter().map(|(address, id)| format!("{address} ({id})")).collect();
    let more = names.len().saturating_sub(NAMED);
    while names.len() > NAMED {
        names.pop_last();
    }
    let list: Vec<String> = names.into_iter().collect();
    let list = crate::ui::human::text::harmless(&list.join(", "));
    if more > 0 { format!("{list} and {more} more") } else { list }
}

impl Workspace {
    /// The addresses of the configuration's instances.
    ///
    /// # Errors
    /// All mistakes.
    pub fn instances(
        &self,
        runtime: &tokio::runtime::Runtime,
        state: &State,
    ) -> Result<BTreeSet<InstanceAddress>, Diagnostics> {
        let (evaluated, _) = self.evaluate(runtime, state, &BTreeSet::new())?;
        Ok(evaluated.instances.into_keys().collect())
    }
}
