//! What of an instance's attributes is changed in place or while it is stopped, as the call that
//! does it.

use std::collections::BTreeMap;

use super::InstancePlan;
use crate::provider::ModifyInstance;
use crate::state::InstanceResource;

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
