//! What a run came to.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::{Context, InstanceReceipt, Kept, NodeOutcome, NodeReceipt, Receipt, VolumeReceipt};
use crate::model::InstanceAddress;
use crate::plan::image as plan_image;
use crate::plan::instance as plan_instance;
use crate::plan::{Mode, Node, Step};
use crate::state::{Resource, State};

/// Puts the receipt together from the nodes' ends and the state.
#[must_use]
pub fn receipt(context: &Context, outcomes: Vec<Option<NodeOutcome>>, took: u64) -> Receipt {
    let plan = &context.plan;
    let nodes: Vec<NodeReceipt> = plan
        .nodes
        .iter()
        .zip(outcomes)
        .map(|(node, outcome)| NodeReceipt {
            address: node.address.clone(),
            verb: node.step.verb().to_owned(),
            outcome: outcome
                .unwrap_or_else(|| NodeOutcome::Skipped { because: "the run ended before it".to_owned() }),
        })
        .collect();
    let complete = nodes.iter().all(|node| matches!(node.outcome, NodeOutcome::Done { .. }));
    let state = context.store.state();
    let (bytes_written, evidence, kept) = {
        let mut tally = context.tally.lock().unwrap_or_else(PoisonError::into_inner);
        (tally.bytes_written, std::mem::take(&mut tally.evidence), std::mem::take(&mut tally.kept))
    };
    Receipt {
        mode: plan.mode,
        complete,
        interrupted: context.cancel.stage() > 0,
        took,
        bytes_written,
        instances: instances(context, &state, &nodes, &Shown { evidence, kept }),
        nodes,
    }
}

/// What instances showed.
struct Shown {
    evidence: BTreeMap<InstanceAddress, String>,
    kept: BTreeMap<InstanceAddress, Kept>,
}

fn instances(context: &Context, state: &State, nodes: &[NodeReceipt], shown: &Shown) -> Vec<InstanceReceipt> {
    let mut of: BTreeMap<&InstanceAddress, Vec<(&Node, &NodeReceipt)>> = BTreeMap::new();
    for pair in context.plan.nodes.iter().zip(nodes) {
        of.entry(&pair.0.address.instance).or_default().push(pair);
    }
    of.into_iter()
        .map(|(address, nodes)| {
            let recorded = plan_instance::of_state(state, address);
            let failed =
                nodes.iter().any(|(_, receipt)| matches!(receipt.outcome, NodeOutcome::Failed { .. }));
            let skipped =
                nodes.iter().any(|(_, receipt)| matches!(receipt.outcome, NodeOutcome::Skipped { .. }));
            let ended = nodes.iter().all(|(node, _)| {
                matches!(
                    node.step,
                    Step::Terminate { .. } | Step::DeleteVolume { .. } | Step::ForgetVolume { .. }
                )
            });
            let volumes = volumes(state, address);
            let state_word = match recorded {
                _ if failed => "failed",
                _ if skipped => "unfinished",
                None if ended && (context.plan.mode == Mode::Destroy || volumes.is_empty()) => "destroyed",
                None if plan_image::of_state(state, address).is_some() => "image",
                None => "standby",
                Some(instance) => instance.state.as_str(),
            };
            InstanceReceipt {
                address: address.clone(),
                id: recorded.map(|instance| instance.id.to_string()),
                state: state_word.to_owned(),
                private_ip: recorded.and_then(|instance| instance.private_ip).map(|ip| ip.to_string()),
                evidence: shown.evidence.get(address).cloned(),
                console_log: shown
                    .kept
                    .get(address)
                    .and_then(|kept| kept.console.clone())
                    .or_else(|| recorded.and_then(|instance| context.provider.console_log(&instance.id))),
                screenshot: shown.kept.get(address).and_then(|kept| kept.screenshot.clone()),
                volumes,
            }
        })
        .collect()
}

fn volumes(state: &State, instance: &InstanceAddress) -> Vec<VolumeReceipt> {
    state
        .resources
        .iter()
        .filter(|(address, _)| address.instance == *instance)
        .filter_map(|(address, resource)| match resource {
            Resource::Volume(volume) => Some(VolumeReceipt {
                address: address.clone(),
                id: volume.id.to_string(),
                content: volume.write.as_ref().map(|write| write.content),
                verified: volume.write.as_ref().is_some_and(|write| write.verified),
            }),
            Resource::Instance(_) | Resource::Snapshot(_) | Resource::Image(_) => None,
        })
        .collect()
}
