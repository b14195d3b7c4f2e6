//! What must hold of every finished plan, whoever made it. A saved plan is hostile input.

use std::collections::BTreeSet;

use super::{Action, Plan, Step, VERSION};
use crate::model::{Address, Part};

/// Everything that is wrong with a plan; empty for a sound one.
#[must_use]
pub fn lint(plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    if plan.version != VERSION {
        wrong.push(format!("version {} is not {VERSION}", plan.version));
    }
    let mut seen = BTreeSet::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        for need in node.needs.iter().filter(|need| **need >= index) {
            wrong.push(format!(
                "node {index} ({}) needs node {need}, which does not stand before it",
                node.address
            ));
        }
        if !seen.insert((&node.address, node.step.verb())) {
            wrong.push(format!("{} is to {} twice", node.address, node.step.verb()));
        }
        let fits = match node.step {
            Step::CreateVolume(_)
            | Step::UpdateVolume(_)
            | Step::DeleteVolume { .. }
            | Step::ForgetVolume { .. } => {
                matches!(node.address.part, Part::Volume(_))
            }
            Step::Snapshot(_) | Step::DeleteSnapshot { .. } => {
                matches!(node.address.part, Part::Snapshot(_))
            }
            Step::RegisterImage(_) | Step::DeregisterImage { .. } => node.address.part == Part::Image,
            Step::Attach => matches!(node.address.part, Part::Attachment(_)),
            Step::Write(_) => matches!(node.address.part, Part::Write(_)),
            Step::Drivers(_) => node.address.part == Part::Drivers,
            Step::Detach => matches!(node.address.part, Part::Detach(_)),
            Step::Stub(_) => node.address.part == Part::Stub,
            Step::Launch(_) | Step::UpdateInstance(_) | Step::Terminate { .. } => {
                node.address.part == Part::Instance
            }
        };
        if !fits {
            wrong.push(format!("{} cannot {}", node.address, node.step.verb()));
        }
    }
    let addresses: BTreeSet<&Address> = plan.nodes.iter().map(|node| &node.address).collect();
    for node in plan.nodes.iter().filter(|node| matches!(node.step, Step::Write(_))) {
        let disk = node.address.part.disk().unwrap_or_default().to_owned();
        for part in [Part::Attachment(disk.clone()), Part::Detach(disk)] {
            let address = node.address.instance.part(part);
            if !addresses.contains(&address) {
                wrong.push(format!("{} is written without {address}", node.address));
            }
        }
    }
    for change in &plan.changes {
        if (change.action == Action::NoOp) != change.reasons.is_empty() {
            wrong.push(format!(
                "{} has an action without a reason, or a reason without an action",
                change.address
            ));
        }
    }
    wrong
}
