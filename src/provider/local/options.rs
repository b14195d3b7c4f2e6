//! EC2's rules of an instance's options (EC2 API Reference: RunInstances, ModifyInstancePlacement,
//! ModifyInstanceCreditSpecification).

use super::cloud::Desk;
use super::failure::Failure;
use super::record::{InstancePhase, InstanceRecord};
use super::rules;
use crate::model::options::is_burstable;
use crate::model::{CpuCredits, InstanceOptions, PlacementSpec, Tenancy};
use crate::provider::types::ModifyInstance;

fn combination(message: impl Into<String>) -> Failure {
    Failure::parameter("InvalidParameterCombination", message)
}

/// What a launch may ask for.
pub(super) fn check(
    options: &InstanceOptions,
    instance_type: &str,
    max_interfaces: Option<u32>,
) -> Result<(), Failure> {
    let interfaces = &options.network_interfaces;
    let count = interfaces.len() + usize::from(options.primary().is_none());
    if let Some(most) = max_interfaces.filter(|most| count > *most as usize) {
        return Err(Failure::limit(
            "AttachmentLimitExceeded",
            format!("Interface count {count} exceeds the limit for {instance_type}: {most}"),
        ));
    }
    for (index, interface) in interfaces.iter().enumerate() {
        if interfaces.iter().take(index).any(|other| other.device_index == interface.device_index) {
            return Err(Failure::value(format!(
                "Each network interface requires a unique device index: {}",
                interface.device_index
            )));
        }
        rules::security_groups(&interface.security_group_ids)?;
        interface.private_ip.map_or(Ok(()), rules::private_ip)?;
        match &interface.network_interface_id {
            Some(id) if !id.starts_with("eni-") => {
                return Err(Failure::parameter(
                    "InvalidNetworkInterfaceID.NotFound",
                    format!("The networkInterface ID '{id}' does not exist"),
                ));
            }
            Some(_) if interface.subnet_id.is_some() || interface.private_ip.is_some() => {
                return Err(combination(
                    "A network interface may not specify both a network interface ID and a subnet or address",
                ));
            }
            _ => {}
        }
    }
    placement(&options.placement)?;
    credits(options.cpu_credits, instance_type)
}

fn placement(placement: &PlacementSpec) -> Result<(), Failure> {
    if placement.host_id.is_some() && placement.tenancy != Some(Tenancy::Host) {
        return Err(combination("A host ID needs the tenancy 'host'"));
    }
    if placement.partition_number.is_some() && placement.group_name.is_none() {
        return Err(combination("A partition number needs a placement group"));
    }
    Ok(())
}

fn credits(credits: Option<CpuCredits>, instance_type: &str) -> Result<(), Failure> {
    if credits.is_some() && !is_burstable(instance_type) {
        return Err(combination(format!(
            "The instance type {instance_type} does not support a credit specification"
        )));
    }
    Ok(())
}

/// Changes what ModifyInstance says of the options.
pub(super) fn change(instance: &mut InstanceRecord, request: &ModifyInstance) -> Result<(), Failure> {
    if let Some(wanted) = &request.placement {
        if instance.phase != InstancePhase::Stopped {
            return Err(Failure::state(
                "IncorrectInstanceState",
                format!("The instance '{}' is not in the 'stopped' state.", instance.id),
            ));
        }
        placement(wanted)?;
        instance.options.placement = wanted.clone();
    }
    if let Some(wanted) = request.cpu_credits {
        credits(Some(wanted), &instance.instance_type)?;
        instance.options.cpu_credits = Some(wanted);
    }
    if let Some(wanted) = &request.metadata {
        instance.options.metadata = wanted.clone();
    }
    for (index, groups) in &request.interface_groups {
        rules::security_groups(groups)?;
        let id = instance.id.clone();
        let mut interfaces = instance.options.network_interfaces.iter_mut();
        let interface = interfaces.find(|one| one.device_index == *index).ok_or_else(|| {
            Failure::parameter(
                "InvalidNetworkInterfaceID.NotFound",
                format!("'{id}' has no network interface at device index {index}"),
            )
        })?;
        interface.security_group_ids.clone_from(groups);
    }
    let options = &mut instance.options;
    options.monitoring = request.monitoring.unwrap_or(options.monitoring);
    options.disable_api_stop = request.disable_api_stop.unwrap_or(options.disable_api_stop);
    Ok(())
}

impl Desk<'_> {
    /// The live instance that an existing interface belongs to.
    pub(super) fn interface_holder(&self, interface: &str) -> Result<Option<InstanceRecord>, Failure> {
        let holds = |instance: &InstanceRecord| {
            let mut ids = instance
                .options
                .network_interfaces
                .iter()
                .filter_map(|one| one.network_interface_id.as_deref());
            instance.phase != InstancePhase::Terminated && ids.any(|id| id == interface)
        };
        Ok(self.all_instances()?.into_iter().find(holds))
    }

    /// An interface belongs to one instance.
    pub(super) fn check_interfaces(&self, options: &InstanceOptions) -> Result<(), Failure> {
        for id in options.network_interfaces.iter().filter_map(|one| one.network_interface_id.as_deref()) {
            if let Some(holder) = self.interface_holder(id)? {
                return Err(Failure::state(
                    "InvalidNetworkInterface.InUse",
                    format!("Interface: [{id}] in use by {}", holder.id),
                ));
            }
        }
        Ok(())
    }
}
