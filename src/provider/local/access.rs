//! The access node: this machine, with the slots of an EC2 instance.

use std::collections::BTreeSet;

use super::cloud::{ACCESS_NODE_TYPE, Desk};
use super::failure::Failure;
use super::rules;
use crate::model::Hypervisor;
use crate::provider::slots;
use crate::provider::types::AccessNode;

impl Desk<'_> {
    pub(super) fn describe_access_node(&self) -> Result<AccessNode, Failure> {
        let record = self.access_node_record()?;
        let mut taken = BTreeSet::new();
        for device in self.attached(&record)?.keys() {
            taken.insert(rules::slot(device)?);
        }
        Ok(AccessNode {
            free_slots: slots::slots()
                .filter(|slot| !taken.contains(slot))
                .take(self.slots.saturating_sub(taken.len()))
                .collect(),
            instance_id: record.id,
            zone: record.zone,
            instance_type: ACCESS_NODE_TYPE.to_owned(),
            hypervisor: Hypervisor::Nitro,
            ebs_bandwidth: None,
        })
    }
}
