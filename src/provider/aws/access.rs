//! The access node: where it is, what it is, which slots are free.

use std::collections::BTreeSet;

use aws_sdk_ec2::types as sdk;

use super::ami::is_windows;
use super::client::Cloud;
use super::views;
use super::volumes::filters;
use crate::model::Hypervisor;
use crate::provider::slots;
use crate::provider::types::{AccessNode, Filter, InstanceState, ProviderError, ProviderErrorKind};

/// The access node with what only its own findings need.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) node: AccessNode,
    pub(super) is_running: bool,
    pub(super) is_windows: bool,
    /// Volumes that are attached to it now.
    pub(super) attached: usize,
    /// The most that its type takes beside the node's network interfaces, when EC2 says.
    pub(super) most: Option<u32>,
}

impl Cloud {
    pub(super) async fn describe_access_node(&self) -> Result<AccessNode, ProviderError> {
        Ok(self.describe_node().await?.node)
    }

    pub(super) async fn describe_node(&self) -> Result<Node, ProviderError> {
        const OPERATION: &str = "DescribeInstances";
        let id = self.node_id().await?;
        let error = |kind, code, message: String| ProviderError::new(OPERATION, kind, code, message);
        let found = self.raw_instances(filters("instance-id", &Filter::id(&id))).await?.pop().ok_or_else(|| {
            let mut error = error(
                ProviderErrorKind::NotFound,
                "InvalidInstanceID.NotFound",
                format!("The access node '{id}' does not exist in this region and account."),
            );
            error.help = Some(
                "correct access_node { instance_id = … }, or the region, profile or role of provider \"aws\"",
            );
            error
        })?;
        // Whether it is protected is no matter: it is never ended.
        let view = views::instance(&found, false)?;
        if !matches!(view.state, InstanceState::Running | InstanceState::Stopped) {
            return Err(error(
                ProviderErrorKind::IncorrectState,
                "IncorrectInstanceState",
                format!("The access node '{id}' is neither running nor stopped."),
            ));
        }
        let types = self.instance_types(&BTreeSet::from([view.instance_type.clone()])).await?;
        let facts = types.get(&view.instance_type);
        let hypervisor = facts.map_or(Hypervisor::Nitro, |facts| facts.hypervisor);
        let interfaces = found.network_interfaces().len();
        let most = facts.and_then(|facts| facts.volumes_beside(interfaces));
        let most = most.and_then(|most| u32::try_from(most).ok());
        let taken: BTreeSet<String> = view.volumes.keys().filter_map(|device| slots::slot(device)).collect();
        let attached = view.volumes.len();
        Ok(Node {
            node: AccessNode {
                instance_id: id,
                zone: view.zone,
                instance_type: view.instance_type,
                hypervisor,
                free_slots: free_slots(hypervisor, most, &taken, attached, self.access_node.max_attachments),
                ebs_bandwidth: facts.and_then(|facts| facts.ebs_bandwidth),
            },
            is_running: view.state == InstanceState::Running,
            is_windows: is_windows(found.platform().map_or("", sdk::PlatformValues::as_str)),
            attached,
            most,
        })
    }
}

/// What the type allows beside what is attached, and no more names than there are.
fn free_slots(
    hypervisor: Hypervisor,
    most: Option<u32>,
    taken: &BTreeSet<String>,
    attached: usize,
    wanted: Option<u32>,
) -> Vec<String> {
    let free = |slot: &String| !taken.contains(slot);
    let left = most.map_or(usize::MAX, |most| (most as usize).saturating_sub(attached));
    let used = slots::all_slots().filter(|slot| taken.contains(slot)).count();
    let wanted = wanted.map_or(usize::MAX, |wanted| (wanted as usize).saturating_sub(used));
    let limit = left.min(wanted);
    match hypervisor {
        Hypervisor::Xen => slots::slots().filter(free).take(limit).collect(),
        // Where EC2 does not say how many a type takes, the names that every type has are enough.
        Hypervisor::Nitro if most.is_none() => slots::slots().filter(free).take(limit).collect(),
        Hypervisor::Nitro => slots::all_slots().filter(free).take(limit).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_what_the_type_allows() {
        let none = BTreeSet::new();
        assert_eq!(free_slots(Hypervisor::Xen, None, &none, 1, None).len(), 21);
        assert_eq!(free_slots(Hypervisor::Nitro, Some(27), &none, 1, None).len(), 26);
        assert_eq!(free_slots(Hypervisor::Nitro, Some(127), &none, 1, None).len(), 73);
        assert_eq!(free_slots(Hypervisor::Nitro, None, &none, 1, Some(4)).len(), 4);
        let taken = BTreeSet::from(["xvdf".to_owned(), "xvda".to_owned()]);
        let free = free_slots(Hypervisor::Nitro, Some(27), &taken, 2, Some(4));
        assert_eq!(free, ["xvdg", "xvdh", "xvdi"]);
        assert!(free_slots(Hypervisor::Nitro, Some(3), &taken, 4, None).is_empty());
    }
}
