//! A state for people: resources as blocks of attributes, outputs.

use std::collections::BTreeMap;

use serde_json::Value;

use super::value::{aligned, hcl};
use crate::model::{Address, Part};
use crate::state::{Output, Resource, State};

/// Every resource of a state and its outputs.
#[must_use]
pub fn render_state(state: &State) -> String {
    if state.resources.is_empty() && state.outputs.is_empty() {
        return "The state is empty.\n".to_owned();
    }
    let mut text: Vec<String> =
        state.resources.iter().map(|(address, resource)| render_resource(address, resource)).collect();
    if !state.outputs.is_empty() {
        text.push(format!("Outputs:\n\n{}", render_outputs(&state.outputs)));
    }
    text.join("\n")
}

/// One resource as a block under its address.
#[must_use]
pub fn render_resource(address: &Address, resource: &Resource) -> String {
    let kind = match resource {
        Resource::Volume(_) => "volume",
        Resource::Instance(_) => "instance",
        Resource::Snapshot(_) => "snapshot",
        Resource::Image(_) => "image",
    };
    let label = match &address.part {
        Part::Volume(disk) | Part::Snapshot(disk) => disk,
        _ => &address.instance.name,
    };
    let attributes = match serde_json::to_value(resource) {
        Ok(Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    // `written` is the state's own word: from the first byte on, so that a volume is known as ours.
    let hidden =
        |name: &str| name == "kind" || (name == "written" && matches!(resource, Resource::Volume(_)));
    let lines = attributes
        .iter()
        .filter(|(name, value)| !hidden(name) && !value.is_null())
        .map(|(name, value)| (name.clone(), hcl(value, 4)))
        .chain(content(resource).map(|said| ("content".to_owned(), hcl(&said.into(), 4))));
    format!("# {address}\n{kind} \"{label}\" {{\n{}}}\n", aligned(lines, 4))
}

/// What is to be said of a volume's content beside the facts of its write.
fn content(resource: &Resource) -> Option<&'static str> {
    let Resource::Volume(volume) = resource else { return None };
    match (&volume.write, volume.written, volume.started) {
        (None, true, false) => Some("incomplete: its write began and has not ended"),
        _ => None,
    }
}

/// `name = value` for each output.
#[must_use]
pub fn render_outputs(outputs: &BTreeMap<String, Output>) -> String {
    aligned(outputs.iter().map(|(name, output)| (name.clone(), render_output(output))), 0)
}

/// An output's value as an HCL expression.
#[must_use]
pub fn render_output(output: &Output) -> String {
    match &output.value {
        Some(value) => hcl(value, 0),
        None => "<sensitive>".to_owned(),
    }
}
