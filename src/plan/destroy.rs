//! The end of what is in the state: for `destroy`, and for what left the configuration.

use super::{Action, Change, Reason, Step, image, instance, volume};
use crate::diagnostic::Diagnostic;
use crate::model::{Address, InstanceAddress, Part};
use crate::observe::Reality;
use crate::state::{Resource, State};

/// What ends of one machine.
#[derive(Debug, Default)]
pub struct Ending {
    /// For the reviewer.
    pub changes: Vec<Change>,
    /// The steps.
    pub steps: Vec<(Address, Step)>,
}

/// Ends everything the state has of a machine.
#[must_use]
pub fn end(state: &State, machine: &InstanceAddress, reason: &Reason) -> Ending {
    let mut ending = Ending::default();
    for (address, resource) in state.resources.iter().filter(|(address, _)| address.instance == *machine) {
        let (action, attributes, step, notes) = match resource {
            Resource::Instance(instance) => (
                Action::Delete,
                instance::removed(instance),
                Step::Terminate { id: instance.id.clone() },
                Vec::new(),
            ),
            Resource::Snapshot(snapshot) => (
                Action::Delete,
                image::removed_snapshot(snapshot),
                Step::DeleteSnapshot { id: snapshot.id.clone() },
                Vec::new(),
            ),
            Resource::Image(image) => (
                Action::Delete,
                image::removed(image),
                Step::DeregisterImage { id: image.id.clone() },
                Vec::new(),
            ),
            Resource::Volume(volume) if !volume.delete_on_termination => (
                Action::Forget,
                volume::removed(volume),
                Step::ForgetVolume { id: volume.id.clone() },
                vec![format!(
                    "{} stays, because delete_on_termination = false; Replant forgets it",
                    volume.id
                )],
            ),
            Resource::Volume(volume) => {
                let final_snapshot = volume.final_snapshot.unwrap_or(false);
                let note = match (volume.started, final_snapshot) {
                    (_, true) => Some("a final snapshot is taken first".to_owned()),
                    (true, false) => Some(
                        "everything the guest wrote since its restore is lost (final_snapshot = true would keep a snapshot)"
                            .to_owned(),
                    ),
                    (false, false) => None,
                };
                (
                    Action::Delete,
                    volume::removed(volume),
                    Step::DeleteVolume { id: volume.id.clone(), final_snapshot },
                    note.into_iter().collect(),
                )
            }
        };
        ending.changes.push(Change {
            address: address.clone(),
            action,
            reasons: vec![reason.clone()],
            attributes,
            unchanged: 0,
            notes,
        });
        ending.steps.push((address.clone(), step));
    }
    ending
}

/// Whether the state remembers that this resource must not be destroyed.
#[must_use]
pub fn is_prevented(state: &State, address: &Address) -> bool {
    match state.resources.get(address) {
        Some(Resource::Instance(instance)) => instance.prevent_destroy,
        Some(Resource::Volume(volume)) => volume.prevent_destroy,
        Some(Resource::Snapshot(snapshot)) => snapshot.prevent_destroy,
        Some(Resource::Image(image)) => image.prevent_destroy,
        None => false,
    }
}

/// The refusal to end an instance that EC2 would refuse to terminate, by the state or by what the
/// provider shows: both are given it by somebody who does not want it to end.
#[must_use]
pub fn protected(state: &State, reality: &Reality, address: &Address) -> Option<Diagnostic> {
    let (recorded, view) = instance::alive(state, reality, &address.instance)?;
    let refusal = || {
        Diagnostic::error("plan::termination_protection", "A protected instance would be terminated")
            .about(address)
    };
    if recorded.termination_protection {
        return Some(
            refusal()
                .detail(format!("{address} has termination_protection = true."))
                .help("set termination_protection = false and apply that first"),
        );
    }
    let view = view?;
    // EC2 does not terminate what may not be stopped either ("Enable stop protection").
    let (what, option) = match (view.termination_protection, view.options.disable_api_stop) {
        (true, _) => ("termination protection", "--no-disable-api-termination"),
        (false, true) if !recorded.options.disable_api_stop => ("stop protection", "--no-disable-api-stop"),
        _ => return None,
    };
    Some(
        refusal()
            .detail(format!(
                "{address} is {}, which was given {what} outside Replant: EC2 would refuse to terminate it.",
                recorded.id
            ))
            .help(format!(
                "if it may end all the same, take that off:\naws ec2 modify-instance-attribute --instance-id {} {option}",
                recorded.id
            )),
    )
}

/// The refusal to destroy what `prevent_destroy` protects.
#[must_use]
pub fn refusal(change: &Change, span: Option<crate::diagnostic::Span>) -> Diagnostic {
    let name = &change.address.instance.name;
    let what = match change.address.part {
        Part::Instance => "The instance",
        Part::Snapshot(_) => "The snapshot",
        Part::Image => "The image",
        _ => "The volume",
    };
    let because: Vec<String> = change.reasons.iter().map(ToString::to_string).collect();
    Diagnostic::error("plan::prevent_destroy", "A protected resource would be destroyed")
        .detail(format!(
            "{what} {} would be destroyed, because {}. Its lifecycle says prevent_destroy = true, which the state remembers even when the block is gone.",
            change.address,
            because.join(", and ")
        ))
        .at(span)
        .about(&change.address)
        .help(format!(
            "to let it go: set prevent_destroy = false in the lifecycle block of instance \"{name}\" and apply that first"
        ))
        .help("to keep it: undo what asks for the destruction")
}
