//! What the types of a state cannot say: texts that become tags and paths, addresses that fit
//! their resources. Checked on everything that is read and on every change before it is recorded.

use std::path::{Component, Path};

use super::format::v1::{Output, Resource, State, StateChange};
use crate::model::{Address, Part};

/// Whether a path stays in the directory it is joined to.
fn stays_inside(path: &Path) -> bool {
    let mut components = path.components().peekable();
    components.peek().is_some() && components.all(|component| matches!(component, Component::Normal(_)))
}

/// A lineage goes into tags and file names.
pub(super) fn lineage(text: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits { Ok(()) } else { Err("the lineage is no UUID".to_owned()) }
}

fn resource(address: &Address, resource: &Resource) -> Result<(), String> {
    match (&address.part, resource) {
        (Part::Volume(_), Resource::Volume(volume)) => match &volume.write {
            Some(write) if !stays_inside(&write.manifest) => {
                Err(format!("the manifest of {address} lies outside of the state's directory"))
            }
            _ => Ok(()),
        },
        (Part::Instance, Resource::Instance(_))
        | (Part::Snapshot(_), Resource::Snapshot(_))
        | (Part::Image, Resource::Image(_)) => Ok(()),
        (Part::Volume(_) | Part::Instance | Part::Snapshot(_) | Part::Image, _) => {
            Err(format!("{address} holds a resource of another kind"))
        }
        _ => Err(format!("{address} is a step, not a resource")),
    }
}

fn output(name: &str, output: &Output) -> Result<(), String> {
    if output.sensitive && output.value.is_some() {
        return Err(format!("the sensitive output {name} carries a value"));
    }
    Ok(())
}

/// Whether a change can be recorded.
pub(super) fn change(change: &StateChange) -> Result<(), String> {
    match change {
        StateChange::Put { address, resource: value } => resource(address, value),
        StateChange::Remove { .. } | StateChange::Provider { .. } => Ok(()),
        StateChange::Outputs { outputs } => outputs.iter().try_for_each(|(name, value)| output(name, value)),
    }
}

/// Whether a state that was read can be true.
pub(super) fn state(state: &State) -> Result<(), String> {
    lineage(&state.lineage)?;
    state.resources.iter().try_for_each(|(address, value)| resource(address, value))?;
    state.outputs.iter().try_for_each(|(name, value)| output(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_are_seen() {
        for inside in ["a", ".replant/m.json", "a/b/c"] {
            assert!(stays_inside(Path::new(inside)), "{inside}");
        }
        for outside in ["", "/etc/passwd", "../x", "a/../../x"] {
            assert!(!stays_inside(Path::new(outside)), "{outside}");
        }
    }

    #[test]
    fn lineages_go_into_tags() {
        assert!(lineage("0b0f7f0e-3b53-4a8e-8f0e-2b1d8a3c9d10").is_ok());
        for text in ["", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(lineage(text).is_err(), "{text}");
        }
    }
}
