//! What a resource that exists has and its configuration does not say: for `import`, so that it can
//! be said.
//!
//! What every such resource has by itself is left out (EC2 API Reference, RunInstances and
//! CreateVolume: the defaults).

use std::collections::BTreeMap;

use serde_json::Value;

use super::Machine;
use crate::model::options::is_burstable;
use crate::model::{GP3_BASE, InstanceSpec, VolumeType};
use crate::provider::{InstanceView, VolumeView, user_tags};

/// The body of a block: attributes, and blocks in it by what stands before their `{`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// By name.
    pub attributes: BTreeMap<String, Value>,
    /// Headers and bodies, in order.
    pub blocks: Vec<(String, Body)>,
}

impl Body {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.blocks.is_empty()
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.attributes.insert(name.to_owned(), value.into());
    }

    fn block(&mut self, header: &str) -> &mut Self {
        let at = self.blocks.iter().position(|(other, _)| other == header).unwrap_or_else(|| {
            self.blocks.push((header.to_owned(), Self::default()));
            self.blocks.len() - 1
        });
        &mut self.blocks[at].1
    }
}

fn is_said(spec: &InstanceSpec, path: &str) -> bool {
    spec.spans.contains_key(path)
}

/// Of an instance.
#[must_use]
pub fn instance(view: &InstanceView, spec: &InstanceSpec) -> Body {
    let mut body = Body::default();
    let mut text = |name: &str, value: Option<&String>| {
        if let Some(value) = value.filter(|_| !is_said(spec, name)) {
            body.set(name, value.as_str());
        }
    };
    let primary = spec.options.primary().is_some();
    text("subnet_id", view.subnet_id.as_ref().filter(|_| !primary && spec.subnet_id.is_none()));
    let address = view.private_ip.map(|address| address.to_string());
    text("private_ip", address.as_ref().filter(|_| !primary && spec.private_ip.is_none()));
    text("key_name", view.key_name.as_ref());
    text("iam_instance_profile", view.iam_instance_profile.as_ref());
    if spec.security_group_ids.is_empty() && !view.security_group_ids.is_empty() {
        body.set("security_group_ids", view.security_group_ids.clone());
    }
    if view.termination_protection && !is_said(spec, "termination_protection") {
        body.set("termination_protection", true);
    }
    options(view, spec, &mut body);
    interfaces(view, spec, &mut body);
    tags(&view.tags, &spec.tags, &mut body);
    body
}

/// What has attributes of its own in `options`, and no interfaces.
fn options(view: &InstanceView, spec: &InstanceSpec, body: &mut Body) {
    let credits = if view.instance_type.starts_with("t2.") { "standard" } else { "unlimited" };
    for (path, value) in view.options.attributes() {
        let is_usual = match path.as_str() {
            "placement.tenancy" | "placement.affinity" => value == "default",
            "metadata_options.http_put_response_hop_limit" => value == 1,
            "metadata_options.instance_metadata_tags" => value == "disabled",
            "credit_specification.cpu_credits" => value == credits || !is_burstable(&view.instance_type),
            _ => path.starts_with("network_interface."),
        };
        if is_usual || is_said(spec, &path) {
            continue;
        }
        match path.split_once('.') {
            Some((block, name)) => body.block(block).set(name, value),
            None => body.set(&path, value),
        }
    }
}

/// Interfaces beside the primary one. One that the configuration has not at all is there already,
/// and so is named by its id.
fn interfaces(view: &InstanceView, spec: &InstanceSpec, body: &mut Body) {
    for interface in view.options.network_interfaces.iter().filter(|one| one.device_index != 0) {
        let index = interface.device_index;
        let said = spec.options.network_interfaces.iter().find(|one| one.device_index == index);
        let mut block = Body::default();
        match said {
            None => {
                if let Some(id) = &interface.network_interface_id {
                    block.set("network_interface_id", id.as_str());
                }
            }
            Some(said) if said.network_interface_id.is_none() => {
                if said.security_group_ids.is_empty() && !interface.security_group_ids.is_empty() {
                    block.set("security_group_ids", interface.security_group_ids.clone());
                }
            }
            Some(_) => {}
        }
        if !block.is_empty() {
            block.set("device_index", index);
            body.blocks.push(("network_interface".to_owned(), block));
        }
    }
}

/// Of a disk's volume; `None` when the configuration has no such disk. `of_instance`: the tags that
/// its instance has or shall have, which every volume of it has too.
#[must_use]
pub fn volume(
    view: &VolumeView,
    machine: &Machine,
    disk: &str,
    of_instance: &BTreeMap<String, String>,
) -> Option<Body> {
    let of_machine = machine.disks.iter().find(|other| other.spec.name == disk)?;
    let (disk, spec) = (&of_machine.spec, &machine.spec);
    let said = |name: &str| is_said(spec, &format!("disk.{}.{name}", disk.name));
    let mut body = Body::default();
    if !said("type") && view.volume_type != disk.volume_type {
        body.set("type", view.volume_type.as_str());
    }
    if !said("size") && view.size != of_machine.volume_gib() {
        body.set("size", view.size);
    }
    let usual = match view.volume_type {
        VolumeType::Gp3 => (Some(GP3_BASE.0), Some(GP3_BASE.1)),
        // EC2 says what follows from the size.
        VolumeType::Gp2 => (view.iops, None),
        _ => (None, None),
    };
    if let Some(iops) = view.iops.filter(|iops| !said("iops") && usual.0 != Some(*iops)) {
        body.set("iops", iops);
    }
    let throughput = view.throughput.filter(|throughput| usual.1 != Some(*throughput));
    if let Some(throughput) = throughput.filter(|_| !said("throughput")) {
        body.set("throughput", throughput);
    }
    if view.encrypted && !said("encrypted") {
        body.set("encrypted", true);
    }
    if let Some(key) = view.kms_key_id.as_ref().filter(|_| view.encrypted && !said("kms_key_id")) {
        body.set("kms_key_id", key.as_str());
    }
    let ends = view.attachment.as_ref().map(|attachment| attachment.delete_on_termination);
    if let Some(ends) =
        ends.filter(|ends| !said("delete_on_termination") && *ends != disk.delete_on_termination)
    {
        body.set("delete_on_termination", ends);
    }
    let mut inherited = of_instance.clone();
    inherited.retain(|key, value| view.tags.get(key) == Some(value));
    inherited.extend(spec.tags.clone());
    inherited.extend(disk.tags.clone());
    tags(&view.tags, &inherited, &mut body);
    Some(body)
}

/// The user's tags that are not said.
fn tags(has: &BTreeMap<String, String>, said: &BTreeMap<String, String>, body: &mut Body) {
    let mut rest: serde_json::Map<String, Value> = serde_json::Map::new();
    for (key, value) in user_tags(has).into_iter().filter(|(key, _)| !said.contains_key(key)) {
        rest.insert(key, value.into());
    }
    if !rest.is_empty() {
        body.set("tags", rest);
    }
}
