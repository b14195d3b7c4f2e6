//! What a plan is about to ask of the provider, so that everything that stands in its way is known
//! before anything is made; and where in the configuration the provider's answers belong.

use std::collections::{BTreeMap, BTreeSet};

use super::guest::prepared;
use super::modification::{modification, said_as_is};
use super::{InstancePlan, Request, Start, Step, VolumePlan, build, instance};
use crate::diagnostic::{Diagnostic, Span};
use crate::model::{Address, ClientToken, InstanceAddress, Part};
use crate::observe::Machine;
use crate::provider::preflight::{ChangedInstance, Concern, Place, Preflight, WantedInstance, WantedVolume};
use crate::provider::{InstanceId, ModifyInstance};

/// How many others a diagnostic names before it counts them.
const NAMED: usize = 3;

/// What the plan of this request would ask for, also where the plan itself is refused.
#[must_use]
pub fn ahead(request: &Request<'_>) -> Preflight {
    let steps = build::steps(request);
    let mut asked = Preflight { workspace: request.state.lineage.clone(), ..Preflight::default() };
    let mut ending = BTreeMap::new();
    for (address, step) in &steps.destroy {
        match step {
            Step::Terminate { id } => {
                asked.changes.terminated.insert(id.clone());
                ending.insert(address.clone(), id.clone());
            }
            Step::DeleteVolume { id, final_snapshot } => {
                asked.changes.deleted.insert(id.clone());
                if *final_snapshot {
                    asked.changes.snapshots.insert(id.clone());
                }
            }
            Step::DeleteSnapshot { id } => {
                asked.changes.deleted_snapshots.insert(id.clone());
            }
            Step::DeregisterImage { id } => {
                asked.changes.deregistered.insert(id.clone());
            }
            _ => {}
        }
    }
    for (address, step) in &steps.make {
        match step {
            Step::CreateVolume(plan) => asked.volumes.extend(volume(address, plan)),
            Step::UpdateVolume(update) => {
                asked.changes.modified.insert(update.id.clone());
            }
            Step::Attach => asked.writes = true,
            Step::Write(write) if !write.is_update => {
                asked.data_bytes = asked.data_bytes.saturating_add(write.data_bytes);
            }
            Step::Snapshot(_) | Step::RegisterImage(_) => asked.images = true,
            Step::Stub(plan) => {
                let replaces = ending.get(&address.instance.part(Part::Instance));
                asked.launches.extend(
                    request
                        .machines
                        .get(&address.instance)
                        .map(|machine| launched(machine, plan, replaces.cloned())),
                );
            }
            Step::Launch(plan) | Step::UpdateInstance(plan) => {
                asked.starts |= plan.start == Start::Running;
                let is_new = asked.launches.iter().any(|launch| launch.address == address.instance)
                    || steps.make.contains_key(&address.instance.part(Part::Stub));
                if !is_new {
                    let changed = changed(&address.instance, &plan.instance, plan.stop_first, request);
                    asked.changes.instances.extend(changed);
                }
            }
            _ => {}
        }
    }
    asked
}

/// The token of a call that is only tried.
fn nothing() -> ClientToken {
    ClientToken(String::new())
}

fn volume(address: &Address, plan: &VolumePlan) -> Option<WantedVolume> {
    Some(WantedVolume {
        instance: address.instance.clone(),
        disk: address.part.disk()?.to_owned(),
        request: plan.request(nothing(), plan.tags.clone().unwrap_or_default()),
    })
}

fn launched(machine: &Machine, plan: &InstancePlan, replaces: Option<InstanceId>) -> WantedInstance {
    let mut unknown = plan.unknown.clone();
    if prepared(machine).is_none() {
        unknown.insert("platform".to_owned());
    }
    WantedInstance {
        address: machine.spec.address.clone(),
        replaces,
        method: machine.spec.launch.method,
        request: plan.request(nothing(), plan.tags.clone()),
        unknown,
    }
}

/// What of an instance that exists becomes other than it is.
fn changed(
    address: &InstanceAddress,
    plan: &InstancePlan,
    stops: bool,
    request: &Request<'_>,
) -> Option<(InstanceId, ChangedInstance)> {
    let (recorded, view) = instance::alive(request.state, request.reality, address)?;
    let is = said_as_is(instance::refreshed(recorded, view), view, plan);
    let user_data = (recorded.user_data != plan.user_data).then(String::new);
    let changed = ChangedInstance {
        address: address.clone(),
        request: ModifyInstance { user_data, ..modification(&is, plan) },
        untags: is.tags.keys().any(|key| !plan.tags.contains_key(key)),
        stops,
    };
    Some((recorded.id.clone(), changed))
}

/// Where the blocks of the configuration stand that no instance has.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    /// The provider's.
    pub provider: Option<Span>,
    /// The access node's.
    pub access_node: Option<Span>,
}

/// A provider's concerns with their places in the configuration. What many instances of one place
/// have in common is said once.
#[must_use]
pub fn placed(
    concerns: Vec<Concern>,
    machines: &BTreeMap<InstanceAddress, Machine>,
    blocks: &Blocks,
) -> Vec<Diagnostic> {
    let mut found: Vec<(Diagnostic, BTreeSet<InstanceAddress>)> = Vec::new();
    for Concern { place, diagnostic } in concerns {
        let (diagnostic, address) = match place {
            Place::Provider => (diagnostic.at(blocks.provider.clone()), None),
            Place::AccessNode => (diagnostic.at(blocks.access_node.clone()), None),
            Place::Attribute { instance, path } => {
                let span = machines.get(&instance).and_then(|machine| machine.spec.span(&path));
                (diagnostic.at(span).about(&instance), Some(instance))
            }
        };
        let same = found.iter_mut().find(|(first, _)| {
            first.code == diagnostic.code && first.span == diagnostic.span && diagnostic.span.is_some()
        });
        match (same, address) {
            (Some((_, others)), Some(address)) => {
                others.insert(address);
            }
            _ => found.push((diagnostic, BTreeSet::new())),
        }
    }
    found.into_iter().map(|(diagnostic, others)| with_others(diagnostic, &others)).collect()
}

fn with_others(mut diagnostic: Diagnostic, others: &BTreeSet<InstanceAddress>) -> Diagnostic {
    if others.is_empty() {
        return diagnostic;
    }
    let named: Vec<String> = others.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match others.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    diagnostic.detail.push_str(&format!(" So it is with {}{more}.", named.join(", ")));
    diagnostic
}
