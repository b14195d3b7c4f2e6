//! DescribeInstanceTypes: what an instance type is.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types as sdk;

use super::call::pages;
use super::client::Cloud;
use crate::model::{Architecture, BootMode, Hypervisor};
use crate::provider::types::{InstanceTypeFacts, ProviderError};

/// Most types of one request (DescribeInstanceTypes: 100 in a page).
const AT_ONCE: usize = 100;

impl Cloud {
    pub(super) async fn instance_types(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, InstanceTypeFacts>, ProviderError> {
        let unknown: Vec<String> = self
            .known(|known| names.iter().filter(|name| !known.types.contains_key(*name)).cloned().collect());
        for names in unknown.chunks(AT_ONCE) {
            self.ask_for_types(names).await?;
        }
        Ok(self.known(|known| {
            names.iter().filter_map(|name| Some((name.clone(), known.types.get(name)?.clone()))).collect()
        }))
    }

    /// By a filter: a name that EC2 does not know is then left out and no error.
    async fn ask_for_types(&self, names: &[String]) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        let filter = sdk::Filter::builder().name("instance-type").set_values(Some(names.to_vec())).build();
        let call = ec2.describe_instance_types().filters(filter);
        let found = pages!("DescribeInstanceTypes", call, instance_types, facts);
        self.known(|known| known.types.extend(found.into_iter().map(|facts| (facts.name.clone(), facts))));
        Ok(())
    }
}

fn facts(info: &sdk::InstanceTypeInfo) -> Option<InstanceTypeFacts> {
    let name = info.instance_type()?.as_str().to_owned();
    let architectures = info.processor_info().map(sdk::ProcessorInfo::supported_architectures);
    let architecture = architectures?.iter().find_map(|architecture| match architecture {
        sdk::ArchitectureType::Arm64 | sdk::ArchitectureType::Arm64Mac => Some(Architecture::Arm64),
        sdk::ArchitectureType::X8664 | sdk::ArchitectureType::X8664Mac => Some(Architecture::X86_64),
        _ => None,
    })?;
    // A bare-metal type names none; its disks and network are Nitro's.
    let hypervisor = match info.hypervisor() {
        Some(sdk::InstanceTypeHypervisor::Xen) => Hypervisor::Xen,
        _ => Hypervisor::Nitro,
    };
    let boot_modes: BTreeSet<BootMode> = info
        .supported_boot_modes()
        .iter()
        .filter_map(|mode| match mode {
            sdk::BootModeType::LegacyBios => Some(BootMode::LegacyBios),
            sdk::BootModeType::Uefi => Some(BootMode::Uefi),
            _ => None,
        })
        .collect();
    let ena = info.network_info().and_then(sdk::NetworkInfo::ena_support);
    let ebs = info.ebs_info();
    let bandwidth = ebs
        .and_then(sdk::EbsInfo::ebs_optimized_info)
        .and_then(sdk::EbsOptimizedInfo::baseline_bandwidth_in_mbps)
        .and_then(|megabits| u32::try_from(megabits).ok());
    Some(InstanceTypeFacts {
        name,
        hypervisor,
        architecture,
        boot_modes,
        ena_required: matches!(ena, Some(sdk::EnaSupport::Required)),
        vcpus: info.v_cpu_info().and_then(|cpus| u32::try_from(cpus.default_v_cpus()?).ok()).unwrap_or(0),
        memory: info.memory_info().and_then(|memory| u64::try_from(memory.size_in_mib()?).ok()).unwrap_or(0),
        // Where network interfaces and instance stores take from the same limit, EC2 has counted the
        // first interface and the stores (seen: 27 for the types that the documentation gives 28
        // attachments, 26 for m5d.large with one store, 19 for i3en.24xlarge with eight).
        max_volumes: ebs.and_then(|ebs| u32::try_from(ebs.maximum_ebs_attachments()?).ok()),
        shares_limit: hypervisor == Hypervisor::Nitro
            && ebs.and_then(sdk::EbsInfo::attachment_limit_type) == Some(&sdk::AttachmentLimitType::Shared),
        max_interfaces: info
            .network_info()
            .and_then(sdk::NetworkInfo::maximum_network_interfaces)
            .and_then(|most| u32::try_from(most).ok()),
        // EC2 says megabits of 10^6 a second.
        ebs_bandwidth: bandwidth
            .map(|megabits| u32::try_from((u64::from(megabits) * 125_000) >> 20).unwrap_or(0)),
    })
}
