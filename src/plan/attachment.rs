//! Whether the volumes of an instance are on it, and what becomes of them when it ends.

use super::volume;
use crate::model::InstanceAddress;
use crate::observe::Reality;
use crate::provider::AttachmentView;
use crate::state::format::v1::LaunchPhase;
use crate::state::{InstanceResource, State};

/// The disks of an instance whose volumes exist and are not on it, in its order. Somebody has taken
/// them off, or a `destroy` that was cut off before the instance ended.
#[must_use]
pub fn missing(
    state: &State,
    reality: &Reality,
    address: &InstanceAddress,
    recorded: &InstanceResource,
) -> Vec<String> {
    if !reality.refreshed || !has_its_volumes(recorded) {
        return Vec::new();
    }
    let is_off = |disk: &&String| {
        let volume = volume::of_state(state, &address.volume(disk.as_str()));
        let view = volume.and_then(|volume| reality.volumes.get(&volume.id));
        view.is_some_and(|view| {
            volume::is_alive(view) && !view.attachment.as_ref().is_some_and(|held| is_on(held, recorded))
        })
    };
    recorded.disks.iter().filter(is_off).cloned().collect()
}

/// Whether an attachment is one to this instance, and stays.
fn is_on(held: &AttachmentView, instance: &InstanceResource) -> bool {
    held.instance_id == instance.id && !held.is_detaching()
}

/// Whether a volume ends with the instance that it is on, as the provider has it; `None` where it is
/// not on it, or is not brought to what it shall be yet.
#[must_use]
pub fn fate(held: Option<&AttachmentView>, instance: Option<&InstanceResource>) -> Option<bool> {
    let instance = instance.filter(|instance| has_its_volumes(instance))?;
    held.filter(|held| is_on(held, instance)).map(|held| held.delete_on_termination)
}

/// Whether an instance has come so far that its volumes are to be on it.
fn has_its_volumes(instance: &InstanceResource) -> bool {
    instance.phase != LaunchPhase::Stub && !instance.adopting
}

/// Volumes in words: `volume data is`, `volumes root, data are`.
#[must_use]
pub fn in_words(disks: &[String]) -> String {
    match disks {
        [disk] => format!("volume {disk} is"),
        disks => format!("volumes {} are", disks.join(", ")),
    }
}
