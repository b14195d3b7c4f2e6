//! What is known of instances that exist, and what expressions see of an instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::value::Value;
use crate::model::{DiskSpec, Found, InstanceAddress, InstanceSpec, LaunchMethod, Lookup, LookupKind};

/// What is known of the instances; what is missing is known after apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownFacts {
    /// By address.
    pub instances: BTreeMap<InstanceAddress, InstanceFacts>,
    /// What the data sources found, by what they ask for.
    pub data: BTreeMap<Lookup, Found>,
}

/// What is known of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFacts {
    /// Its id.
    pub id: Option<String>,
    /// Its private address.
    pub private_ip: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// The state it is in (`instance.NAME.actual_state`; `.state` is the one wanted).
    pub state: Option<String>,
    /// The AMI it is launched from, where one is made.
    pub image_id: Option<String>,
    /// Its volumes, by disk.
    pub volumes: BTreeMap<String, VolumeFacts>,
}

/// What is known of one volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeFacts {
    /// Its id.
    pub id: Option<String>,
    /// Its size in GiB.
    pub size: Option<u64>,
}

/// Builds objects from optional parts.
struct Object<'a> {
    spec: &'a InstanceSpec,
    prefix: String,
    fields: BTreeMap<Arc<str>, Value>,
}

impl Object<'_> {
    /// A configured attribute: unknown and sensitive when the specification says so.
    fn configured(&mut self, name: &str, value: Value) {
        let path = format!("{}{name}", self.prefix);
        let value = if self.spec.unknown.contains(&path) { Value::UNKNOWN } else { value };
        self.fields.insert(Arc::from(name), value.marked(self.spec.sensitive.contains(&path)));
    }

    fn add(&mut self, name: &str, value: Value) {
        self.fields.insert(Arc::from(name), value);
    }
}

fn text(value: Option<&str>) -> Value {
    value.map_or(Value::NULL, Value::string)
}

fn known(value: Option<&str>) -> Value {
    value.map_or(Value::UNKNOWN, Value::string)
}

fn tags(spec: &InstanceSpec, prefix: &str, tags: &BTreeMap<String, String>) -> Value {
    let mut object = Object { spec, prefix: format!("{prefix}tags."), fields: BTreeMap::new() };
    for (key, value) in tags {
        object.configured(key, Value::string(value.as_str()));
    }
    Value::map(object.fields)
}

fn volume(spec: &InstanceSpec, disk: &DiskSpec, facts: Option<&VolumeFacts>) -> Value {
    let prefix = format!("disk.{}.", disk.name);
    let mut object = Object { spec, prefix: prefix.clone(), fields: BTreeMap::new() };
    object.add("id", known(facts.and_then(|facts| facts.id.as_deref())));
    let size = facts.and_then(|facts| facts.size).or(disk.size);
    object.configured("size", size.map_or(Value::UNKNOWN, Value::int));
    object.configured("type", Value::string(disk.volume_type.as_str()));
    object.configured("grow", Value::bool(disk.grow));
    object.configured("iops", disk.iops.map_or(Value::NULL, Value::int));
    object.configured("throughput", disk.throughput.map_or(Value::NULL, Value::int));
    object.configured("encrypted", disk.encrypted.map_or(Value::NULL, Value::bool));
    object.configured("kms_key_id", text(disk.kms_key_id.as_deref()));
    object.configured("delete_on_termination", Value::bool(disk.delete_on_termination));
    object.configured("image", text(disk.image.as_ref().map(|image| image.path.to_string()).as_deref()));
    Value::object(object.fields)
}

/// What `data.KIND.NAME` stands for: every attribute of its kind, null where the provider says
/// nothing.
pub(super) fn data_value(kind: LookupKind, found: &Found) -> Value {
    let value = |name: &str| match found.attributes.get(name) {
        // Tags have any keys: `lookup` and `for` go over them.
        Some(serde_json::Value::Object(fields)) => Value::map(
            fields.iter().map(|(key, value)| (Arc::from(key.as_str()), Value::from_json(value))).collect(),
        ),
        Some(value) => Value::from_json(value),
        None => Value::NULL,
    };
    Value::object(kind.attributes().iter().map(|name| (Arc::from(*name), value(name))).collect())
}

/// What `instance.NAME` stands for.
pub(super) fn instance_value(spec: &InstanceSpec, facts: Option<&InstanceFacts>) -> Value {
    let mut object = Object { spec, prefix: String::new(), fields: BTreeMap::new() };
    object.add("id", known(facts.and_then(|facts| facts.id.as_deref())));
    object.add("zone", known(facts.and_then(|facts| facts.zone.as_deref())));
    object.add("actual_state", known(facts.and_then(|facts| facts.state.as_deref())));
    let image = known(facts.and_then(|facts| facts.image_id.as_deref()));
    object.add("image_id", if spec.launch.method == LaunchMethod::Image { image } else { Value::NULL });
    let configured_ip = spec.private_ip.map(|ip| Value::string(ip.to_string()));
    let ip = configured_ip.unwrap_or_else(|| known(facts.and_then(|facts| facts.private_ip.as_deref())));
    object.configured("private_ip", ip);
    object.configured("image", text(spec.image.as_ref().map(|image| image.path.to_string()).as_deref()));
    object.configured("image_format", text(spec.image.as_ref().and_then(|image| image.format.as_deref())));
    object
        .configured("image_snapshot", text(spec.image.as_ref().and_then(|image| image.snapshot.as_deref())));
    object.configured("instance_type", Value::string(spec.instance_type.as_str()));
    object.configured("subnet_id", text(spec.subnet_id.as_deref()));
    let groups = spec.security_group_ids.iter().map(|group| Value::string(group.as_str())).collect();
    object.configured("security_group_ids", Value::list(groups));
    object.configured("key_name", text(spec.key_name.as_deref()));
    object.configured("iam_instance_profile", text(spec.iam_instance_profile.as_deref()));
    object.configured("user_data", text(spec.user_data.as_deref()));
    object.configured("termination_protection", Value::bool(spec.termination_protection));
    object.configured("state", Value::string(spec.state.as_str()));
    object.configured("tags", tags(spec, "", &spec.tags));
    let volume_facts = |disk: &str| facts.and_then(|facts| facts.volumes.get(disk));
    // An image for the whole instance brings disks that only inspection knows.
    let volumes = if spec.image.is_some() && facts.is_none() {
        Value::UNKNOWN
    } else {
        let mut volumes: BTreeMap<Arc<str>, Value> = spec
            .disks
            .iter()
            .map(|disk| (Arc::from(disk.name.as_str()), volume(spec, disk, volume_facts(&disk.name))))
            .collect();
        for (name, facts) in facts.into_iter().flat_map(|facts| &facts.volumes) {
            let brought = DiskSpec::new(name);
            volumes.entry(Arc::from(name.as_str())).or_insert_with(|| volume(spec, &brought, Some(facts)));
        }
        Value::object(volumes)
    };
    object.add("volume", volumes);
    Value::object(object.fields)
}
