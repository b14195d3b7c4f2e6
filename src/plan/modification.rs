//! What of an instance's attributes is changed in place or while it is stopped, as the call that
//! does it.

use std::collections::BTreeMap;

use super::InstancePlan;
use crate::model::options::shown_groups;
use crate::model::{InstanceOptions, MetadataOptions, PlacementSpec};
use crate::provider::{InstanceView, ModifyInstance};
use crate::state::InstanceResource;

/// An instance's record with what was left to EC2 until now and is asked for: saying what it already
/// is changes nothing.
#[must_use]
pub fn said_as_is(
    is: InstanceResource,
    view: Option<&InstanceView>,
    wanted: &InstancePlan,
) -> InstanceResource {
    let Some(view) = view else { return is };
    let text = |recorded: &Option<String>, has: &Option<String>, wanted: &Option<String>| {
        let is_it = |name: &String| has.as_ref().is_some_and(|has| is_named(has, name));
        recorded.clone().or_else(|| wanted.clone().filter(is_it))
    };
    let security_group_ids = match is.security_group_ids.is_empty() {
        true => shown_groups(&wanted.security_group_ids, &view.security_group_ids),
        false => is.security_group_ids.clone(),
    };
    InstanceResource {
        subnet_id: text(&is.subnet_id, &view.subnet_id, &wanted.subnet_id),
        key_name: text(&is.key_name, &view.key_name, &wanted.key_name),
        iam_instance_profile: text(
            &is.iam_instance_profile,
            &view.iam_instance_profile,
            &wanted.iam_instance_profile,
        ),
        security_group_ids,
        options: options_as_is(&is.options, wanted.options.refreshed(&view.options)),
        ..is
    }
}

/// Whether a configuration's name for a thing is that of what EC2 shows: a profile may be named by its
/// ARN.
fn is_named(has: &str, name: &str) -> bool {
    name == has || (name.starts_with("arn:") && name.ends_with(&format!("/{has}")))
}

/// The instance profile that an instance has, as it was named while it is that one; `None` also where
/// it was left to others.
#[must_use]
pub fn shown_profile(recorded: &Option<String>, has: &Option<String>) -> Option<String> {
    let recorded = recorded.as_ref()?;
    match has {
        Some(has) if is_named(has, recorded) => Some(recorded.clone()),
        other => other.clone(),
    }
}

/// What is recorded, and of the rest what is asked for, as it is.
fn options_as_is(is: &InstanceOptions, asked: InstanceOptions) -> InstanceOptions {
    let mut network_interfaces = is.network_interfaces.clone();
    for interface in asked.network_interfaces {
        let known = network_interfaces.iter_mut().find(|one| one.device_index == interface.device_index);
        match known {
            None => network_interfaces.push(interface),
            Some(known) if known.security_group_ids.is_empty() => {
                known.security_group_ids = interface.security_group_ids;
            }
            Some(_) => {}
        }
    }
    network_interfaces.sort_by_key(|interface| interface.device_index);
    let placement = &is.placement;
    InstanceOptions {
        network_interfaces,
        placement: PlacementSpec {
            tenancy: placement.tenancy.or(asked.placement.tenancy),
            host_id: placement.host_id.clone().or(asked.placement.host_id),
            group_name: placement.group_name.clone().or(asked.placement.group_name),
            partition_number: placement.partition_number.or(asked.placement.partition_number),
            affinity: placement.affinity.clone().or(asked.placement.affinity),
        },
        metadata: MetadataOptions {
            hop_limit: is.metadata.hop_limit.or(asked.metadata.hop_limit),
            tags: is.metadata.tags.or(asked.metadata.tags),
            ..is.metadata.clone()
        },
        cpu_credits: is.cpu_credits.or(asked.cpu_credits),
        ..is.clone()
    }
}

/// What must change in the provider, so that an instance is as planned; not its user data, whose
/// text is in no plan, and not the fates of its volumes.
#[must_use]
pub fn modification(is: &InstanceResource, wanted: &InstancePlan) -> ModifyInstance {
    let (has, options) = (&is.options, &wanted.options);
    ModifyInstance {
        instance_type: (is.instance_type != wanted.instance_type).then(|| wanted.instance_type.clone()),
        user_data: None,
        security_group_ids: (!wanted.security_group_ids.is_empty()
            && is.security_group_ids != wanted.security_group_ids)
            .then(|| wanted.security_group_ids.clone()),
        interface_groups: interface_groups(is, wanted),
        iam_instance_profile: (is.iam_instance_profile != wanted.iam_instance_profile)
            .then(|| wanted.iam_instance_profile.clone().unwrap_or_default()),
        termination_protection: (is.termination_protection != wanted.termination_protection)
            .then_some(wanted.termination_protection),
        metadata: (has.metadata != options.metadata).then(|| options.metadata.clone()),
        cpu_credits: options.cpu_credits.filter(|credits| has.cpu_credits != Some(*credits)),
        monitoring: (has.monitoring != options.monitoring).then_some(options.monitoring),
        placement: (has.placement != options.placement).then(|| options.placement.clone()),
        disable_api_stop: (has.disable_api_stop != options.disable_api_stop)
            .then_some(options.disable_api_stop),
        delete_on_termination: BTreeMap::new(),
        console_pattern: wanted.console_pattern.clone(),
        boot_timeout: wanted.boot_timeout,
    }
}

/// The groups of the interfaces that have others than they shall. The primary one's are the
/// instance's own.
fn interface_groups(is: &InstanceResource, wanted: &InstancePlan) -> BTreeMap<u32, Vec<String>> {
    let has = |index| is.options.network_interfaces.iter().find(|one| one.device_index == index);
    wanted
        .options
        .network_interfaces
        .iter()
        .filter(|interface| interface.device_index != 0 && !interface.security_group_ids.is_empty())
        .filter(|interface| {
            has(interface.device_index)
                .is_some_and(|has| has.security_group_ids != interface.security_group_ids)
        })
        .map(|interface| (interface.device_index, interface.security_group_ids.clone()))
        .collect()
}
