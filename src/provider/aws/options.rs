//! Options of an instance on the wire: RunInstances' parameters, ModifyInstance… of each, and what
//! DescribeInstances says of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types as sdk;

use super::call::send;
use super::client::Cloud;
use super::volumes::filters;
use crate::model::options::is_burstable;
use crate::model::{CpuCredits, InstanceOptions, InterfaceSpec, MetadataOptions, PlacementSpec, Tenancy};
use crate::provider::types::{
    Filter, InstanceId, ModifyInstance, ProviderError, ProviderErrorKind, RunInstance,
};

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn tokens(required: bool) -> sdk::HttpTokensState {
    if required { sdk::HttpTokensState::Required } else { sdk::HttpTokensState::Optional }
}

fn endpoint(on: bool) -> sdk::InstanceMetadataEndpointState {
    match on {
        true => sdk::InstanceMetadataEndpointState::Enabled,
        false => sdk::InstanceMetadataEndpointState::Disabled,
    }
}

fn tags(on: bool) -> sdk::InstanceMetadataTagsState {
    if on { sdk::InstanceMetadataTagsState::Enabled } else { sdk::InstanceMetadataTagsState::Disabled }
}

/// The parameters of RunInstances that say where a stub is and what its options are. With
/// interfaces, subnet, address and groups are those of the first ("Network interfaces and an
/// instance-level subnet ID may not be specified on the same request"). What protects from a stop
/// comes after the swap, which stops it.
pub(super) fn launched(
    mut call: RunInstancesFluentBuilder,
    request: &RunInstance,
) -> RunInstancesFluentBuilder {
    let options = &request.options;
    let metadata = &options.metadata;
    let metadata = sdk::InstanceMetadataOptionsRequest::builder()
        .http_endpoint(endpoint(metadata.endpoint))
        .http_tokens(tokens(metadata.tokens_required))
        .set_http_put_response_hop_limit(metadata.hop_limit.map(number))
        .set_instance_metadata_tags(metadata.tags.map(tags))
        .build();
    call = call.metadata_options(metadata);
    let groups = (!request.security_group_ids.is_empty()).then(|| request.security_group_ids.clone());
    let has_place = match options.network_interfaces.is_empty() {
        true => {
            call = call
                .set_subnet_id(request.subnet_id.clone())
                .set_private_ip_address(request.private_ip.map(|address| address.to_string()))
                .set_security_group_ids(groups);
            request.subnet_id.is_some()
        }
        false => {
            call = call.set_network_interfaces(Some(interfaces(request)));
            let is_there = options.primary().is_some_and(|primary| primary.network_interface_id.is_some());
            is_there || request.subnet_id.is_some()
        }
    };
    let zone = (!has_place).then(|| request.zone.clone());
    if zone.is_some() || options.placement != PlacementSpec::default() {
        let placement = &options.placement;
        let placement = sdk::Placement::builder()
            .set_availability_zone(zone)
            .set_tenancy(placement.tenancy.map(|tenancy| sdk::Tenancy::from(tenancy.as_str())))
            .set_host_id(placement.host_id.clone())
            .set_group_name(placement.group_name.clone())
            .set_partition_number(placement.partition_number.map(number))
            .set_affinity(placement.affinity.clone())
            .build();
        call = call.placement(placement);
    }
    if let Some(credits) = options.cpu_credits {
        call = call.credit_specification(
            sdk::CreditSpecificationRequest::builder().cpu_credits(credits.as_str()).build(),
        );
    }
    if options.monitoring {
        call = call.monitoring(sdk::RunInstancesMonitoringEnabled::builder().enabled(true).build());
    }
    call
}

/// Whether a launch makes an interface. EC2 takes no tags for interfaces where it makes none ("You
/// cannot specify tags for network interfaces if there are no network interfaces being created by
/// the request").
pub(super) fn makes_interfaces(request: &RunInstance) -> bool {
    let options = &request.options;
    let is_new = |interface: &InterfaceSpec| interface.network_interface_id.is_none();
    options.primary().is_none_or(is_new) || options.network_interfaces.iter().any(is_new)
}

/// Every interface, the primary one first, which is as the instance itself says.
fn interfaces(request: &RunInstance) -> Vec<sdk::InstanceNetworkInterfaceSpecification> {
    let own = InterfaceSpec { delete_on_termination: true, ..InterfaceSpec::default() };
    let primary = request.options.primary().unwrap_or(&own);
    let primary = InterfaceSpec {
        subnet_id: request.subnet_id.clone(),
        private_ip: request.private_ip,
        security_group_ids: request.security_group_ids.clone(),
        ..primary.clone()
    };
    let others = request.options.network_interfaces.iter().filter(|interface| interface.device_index != 0);
    std::iter::once(&primary)
        .chain(others)
        .map(|interface| {
            let builder = sdk::InstanceNetworkInterfaceSpecification::builder()
                .device_index(number(interface.device_index))
                .delete_on_termination(interface.delete_on_termination);
            if let Some(id) = &interface.network_interface_id {
                return builder.network_interface_id(id).build();
            }
            let groups = &interface.security_group_ids;
            builder
                .set_subnet_id(interface.subnet_id.clone())
                .set_private_ip_address(interface.private_ip.map(|address| address.to_string()))
                .set_groups((!groups.is_empty()).then(|| groups.clone()))
                .set_description(interface.description.clone())
                .build()
        })
        .collect()
}

/// What DescribeInstances says; credits and protection are asked for apart.
pub(super) fn described(instance: &sdk::Instance) -> InstanceOptions {
    let placement = instance.placement();
    let metadata = instance.metadata_options();
    let unsigned = |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok());
    let text = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(str::to_owned);
    let is_on = |state: &sdk::MonitoringState| {
        matches!(state, sdk::MonitoringState::Enabled | sdk::MonitoringState::Pending)
    };
    InstanceOptions {
        network_interfaces: instance.network_interfaces().iter().filter_map(interface).collect(),
        placement: PlacementSpec {
            tenancy: placement.and_then(sdk::Placement::tenancy).and_then(|tenancy| {
                Tenancy::ALL.into_iter().find(|known| known.as_str() == tenancy.as_str())
            }),
            host_id: text(placement.and_then(sdk::Placement::host_id)),
            group_name: text(placement.and_then(sdk::Placement::group_name)),
            partition_number: unsigned(placement.and_then(sdk::Placement::partition_number)),
            affinity: text(placement.and_then(sdk::Placement::affinity)),
        },
        metadata: match metadata {
            None => MetadataOptions::default(),
            Some(metadata) => MetadataOptions {
                tokens_required: metadata.http_tokens() != Some(&sdk::HttpTokensState::Optional),
                endpoint: metadata.http_endpoint() != Some(&sdk::InstanceMetadataEndpointState::Disabled),
                hop_limit: unsigned(metadata.http_put_response_hop_limit()),
                tags: metadata
                    .instance_metadata_tags()
                    .map(|state| *state == sdk::InstanceMetadataTagsState::Enabled),
            },
        },
        cpu_credits: None,
        monitoring: instance.monitoring().and_then(sdk::Monitoring::state).is_some_and(is_on),
        disable_api_stop: false,
    }
}

fn interface(interface: &sdk::InstanceNetworkInterface) -> Option<InterfaceSpec> {
    let attachment = interface.attachment()?;
    Some(InterfaceSpec {
        device_index: u32::try_from(attachment.device_index()?).ok()?,
        network_interface_id: interface.network_interface_id().map(str::to_owned),
        subnet_id: interface.subnet_id().map(str::to_owned),
        private_ip: interface.private_ip_address().and_then(|address| address.parse::<Ipv4Addr>().ok()),
        security_group_ids: interface
            .groups()
            .iter()
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect(),
        delete_on_termination: attachment.delete_on_termination().unwrap_or(false),
        description: interface.description().map(str::to_owned),
    })
}

impl Cloud {
    /// The options of ModifyInstance, each by its own call.
    pub(super) async fn modify_options(
        &self,
        id: &InstanceId,
        request: &ModifyInstance,
    ) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        if let Some(metadata) = &request.metadata {
            let call = ec2
                .modify_instance_metadata_options()
                .instance_id(&id.0)
                .http_tokens(tokens(metadata.tokens_required))
                .http_endpoint(endpoint(metadata.endpoint))
                .set_http_put_response_hop_limit(metadata.hop_limit.map(number))
                .set_instance_metadata_tags(metadata.tags.map(tags));
            self.fresh
                .settled(&[&id.0], || async {
                    send!("ModifyInstanceMetadataOptions", call.clone()).map(drop)
                })
                .await?;
        }
        if !request.interface_groups.is_empty() {
            self.modify_interface_groups(id, &request.interface_groups).await?;
        }
        if let Some(credits) = request.cpu_credits {
            self.modify_credits(id, credits).await?;
        }
        match request.monitoring {
            Some(true) => {
                let call = ec2.monitor_instances().instance_ids(&id.0);
                self.fresh
                    .settled(&[&id.0], || async { send!("MonitorInstances", call.clone()).map(drop) })
                    .await?;
            }
            Some(false) => {
                let call = ec2.unmonitor_instances().instance_ids(&id.0);
                self.fresh
                    .settled(&[&id.0], || async { send!("UnmonitorInstances", call.clone()).map(drop) })
                    .await?;
            }
            None => {}
        }
        if let Some(placement) = &request.placement {
            // An empty name takes it out of its group (ModifyInstancePlacement).
            let leaves = *placement == PlacementSpec::default();
            let group = placement.group_name.clone().or(leaves.then(String::new));
            let call = ec2
                .modify_instance_placement()
                .instance_id(&id.0)
                .set_tenancy(placement.tenancy.map(|tenancy| sdk::HostTenancy::from(tenancy.as_str())))
                .set_host_id(placement.host_id.clone())
                .set_group_name(group)
                .set_partition_number(placement.partition_number.map(number))
                .set_affinity(placement.affinity.as_deref().map(sdk::Affinity::from));
            self.fresh
                .settled(&[&id.0], || async { send!("ModifyInstancePlacement", call.clone()).map(drop) })
                .await?;
        }
        Ok(())
    }

    /// Security groups of interfaces that are not the primary one; each is a resource of its own.
    async fn modify_interface_groups(
        &self,
        id: &InstanceId,
        wanted: &BTreeMap<u32, Vec<String>>,
    ) -> Result<(), ProviderError> {
        const OPERATION: &str = "ModifyNetworkInterfaceAttribute";
        let instance = self.raw_instances(filters("instance-id", &Filter::id(id))).await?.pop();
        let options = instance.as_ref().map(described).unwrap_or_default();
        for (index, groups) in wanted {
            let mut interfaces = options.network_interfaces.iter();
            let interface = interfaces.find(|interface| interface.device_index == *index);
            let Some(interface) = interface.and_then(|interface| interface.network_interface_id.as_ref())
            else {
                return Err(ProviderError::new(
                    OPERATION,
                    ProviderErrorKind::NotFound,
                    "InvalidNetworkInterfaceID.NotFound",
                    format!("'{id}' has no network interface at device index {index}"),
                ));
            };
            let call = self.ec2().await?.modify_network_interface_attribute();
            let call = call.network_interface_id(interface).set_groups(Some(groups.clone()));
            self.fresh
                .settled(&[&id.0], || async {
                    send!("ModifyNetworkInterfaceAttribute", call.clone()).map(drop)
                })
                .await?;
        }
        Ok(())
    }

    async fn modify_credits(&self, id: &InstanceId, credits: CpuCredits) -> Result<(), ProviderError> {
        self.known(|known| known.credits.remove(&id.0));
        let specification = sdk::InstanceCreditSpecificationRequest::builder()
            .instance_id(&id.0)
            .cpu_credits(credits.as_str())
            .build();
        let call = self
            .ec2()
            .await?
            .modify_instance_credit_specification()
            .instance_credit_specifications(specification);
        let answer = self
            .fresh
            .settled(&[&id.0], || async { send!("ModifyInstanceCreditSpecification", call.clone()) })
            .await?;
        // What failed is in the answer, not in its status.
        let failed =
            answer.unsuccessful_instance_credit_specifications().iter().find_map(|item| item.error());
        match failed {
            None => Ok(()),
            Some(error) => Err(ProviderError::new(
                "ModifyInstanceCreditSpecification",
                ProviderErrorKind::IncorrectState,
                error.code().map_or("Unknown", |code| code.as_str()),
                error.message().unwrap_or("the credit option was not changed"),
            )),
        }
    }

    /// What a burstable instance does without credits; asked once for each, then followed.
    pub(super) async fn credits(
        &self,
        id: &InstanceId,
        instance_type: &str,
    ) -> Result<Option<CpuCredits>, ProviderError> {
        if !is_burstable(instance_type) {
            return Ok(None);
        }
        if let Some(known) = self.known(|known| known.credits.get(&id.0).copied()) {
            return Ok(Some(known));
        }
        let call = self.ec2().await?.describe_instance_credit_specifications().instance_ids(&id.0);
        let answer = self
            .fresh
            .settled(&[&id.0], || async { send!("DescribeInstanceCreditSpecifications", call.clone()) })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            // It ended between the two calls.
            Err(failed) if failed.error.kind == ProviderErrorKind::NotFound => return Ok(None),
            Err(failed) => return Err(failed.into()),
        };
        let words = answer.instance_credit_specifications().iter().find_map(|each| each.cpu_credits());
        let credits = match words {
            Some("unlimited") => Some(CpuCredits::Unlimited),
            Some("standard") => Some(CpuCredits::Standard),
            _ => None,
        };
        if let Some(credits) = credits {
            self.known(|known| known.credits.insert(id.0.clone(), credits));
        }
        Ok(credits)
    }
}
