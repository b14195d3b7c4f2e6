//! What an instance has beside its type, disks and place in the network: its interfaces, placement,
//! metadata service, credits. Names and values are EC2's (EC2 API Reference, RunInstances) under
//! Terraform's spelling.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A network interface: an existing one, or one that is made with the instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceSpec {
    /// Its place on the instance; 0 is the primary one. Of that one subnet, address and security
    /// groups are the instance's own.
    pub device_index: u32,
    /// The existing one.
    pub network_interface_id: Option<String>,
    /// The subnet of a new one.
    pub subnet_id: Option<String>,
    /// The private address of a new one.
    pub private_ip: Option<Ipv4Addr>,
    /// The security groups of a new one.
    pub security_group_ids: Vec<String>,
    /// Whether it ends with the instance: always of a new one unless said, never of an existing one.
    pub delete_on_termination: bool,
    /// What a new one is for.
    pub description: Option<String>,
}

/// On whose hardware an instance runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tenancy {
    /// On hardware shared with others.
    Default,
    /// On hardware of this account.
    Dedicated,
    /// On a dedicated host.
    Host,
}

impl Tenancy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Default, Self::Dedicated, Self::Host];

    /// EC2's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Dedicated => "dedicated",
            Self::Host => "host",
        }
    }
}

/// Where an instance runs; `None`: as EC2 chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlacementSpec {
    /// On whose hardware.
    pub tenancy: Option<Tenancy>,
    /// The dedicated host.
    pub host_id: Option<String>,
    /// The placement group's name.
    pub group_name: Option<String>,
    /// The partition of a partition placement group.
    pub partition_number: Option<u32>,
    /// Whether it comes back to its host: `default` or `host`.
    pub affinity: Option<String>,
}

/// The instance metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetadataOptions {
    /// Whether a session's token is required (IMDSv2); it is unless the configuration says
    /// otherwise.
    pub tokens_required: bool,
    /// Whether the service answers at all.
    pub endpoint: bool,
    /// Network hops that an answer may take; `None`: EC2's.
    pub hop_limit: Option<u32>,
    /// Whether the instance's tags can be read there; `None`: EC2's.
    pub tags: Option<bool>,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { tokens_required: true, endpoint: true, hop_limit: None, tags: None }
    }
}

/// What a burstable instance does when its credits are used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CpuCredits {
    /// It goes on at its baseline.
    Standard,
    /// It goes on, and costs more.
    Unlimited,
}

impl CpuCredits {
    /// EC2's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Unlimited => "unlimited",
        }
    }
}

/// Families that have CPU credits (EC2 User Guide, "Burstable performance instances").
const BURSTABLE: [&str; 4] = ["t2", "t3", "t3a", "t4g"];

/// Whether a type has CPU credits.
#[must_use]
pub fn is_burstable(instance_type: &str) -> bool {
    instance_type.split_once('.').is_some_and(|(family, _)| BURSTABLE.contains(&family))
}

/// Security groups as recorded, brought up to what the provider shows, which has them in an order of
/// its own. What was left to EC2 stays so.
#[must_use]
pub fn shown_groups(recorded: &[String], now: &[String]) -> Vec<String> {
    let set = |groups: &[String]| groups.iter().cloned().collect::<BTreeSet<String>>();
    match recorded.is_empty() || set(recorded) == set(now) {
        true => recorded.to_vec(),
        false => now.to_vec(),
    }
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceOptions {
    /// Its network interfaces, by their places; empty: one, as the instance's own attributes say.
    pub network_interfaces: Vec<InterfaceSpec>,
    /// Where it runs.
    pub placement: PlacementSpec,
    /// Its metadata service.
    pub metadata: MetadataOptions,
    /// What it does without credits; `None`: as its type does.
    pub cpu_credits: Option<CpuCredits>,
    /// Whether CloudWatch gets its metrics each minute, and not only every five.
    pub monitoring: bool,
    /// Whether EC2 refuses to stop it.
    pub disable_api_stop: bool,
}

impl InstanceOptions {
    /// Whether nothing of it is set.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The primary interface, when it is said.
    #[must_use]
    pub fn primary(&self) -> Option<&InterfaceSpec> {
        self.network_interfaces.iter().find(|interface| interface.device_index == 0)
    }

    /// What is recorded, brought up to what the provider shows. What was left to EC2 stays so:
    /// only what somebody asked for can drift.
    #[must_use]
    pub fn refreshed(&self, now: &Self) -> Self {
        let placement = &self.placement;
        Self {
            network_interfaces: self
                .network_interfaces
                .iter()
                .filter_map(|recorded| {
                    let is_it = |shown: &&InterfaceSpec| shown.device_index == recorded.device_index;
                    now.network_interfaces.iter().find(is_it).map(|shown| recorded.refreshed(shown))
                })
                .collect(),
            placement: PlacementSpec {
                tenancy: placement.tenancy.and(now.placement.tenancy),
                host_id: placement.host_id.as_ref().and(now.placement.host_id.clone()),
                group_name: placement.group_name.as_ref().and(now.placement.group_name.clone()),
                partition_number: placement.partition_number.and(now.placement.partition_number),
                affinity: placement.affinity.as_ref().and(now.placement.affinity.clone()),
            },
            metadata: MetadataOptions {
                tokens_required: now.metadata.tokens_required,
                endpoint: now.metadata.endpoint,
                hop_limit: self.metadata.hop_limit.and(now.metadata.hop_limit),
                tags: self.metadata.tags.and(now.metadata.tags),
            },
            cpu_credits: self.cpu_credits.and(now.cpu_credits),
            monitoring: now.monitoring,
            disable_api_stop: now.disable_api_stop,
        }
    }

    /// The attributes that are set, by the paths that a configuration has for them.
    #[must_use]
    pub fn attributes(&self) -> Vec<(String, Value)> {
        let mut all: Vec<(String, Value)> = Vec::new();
        let mut add = |path: &str, value: Option<Value>| {
            all.extend(value.map(|value| (path.to_owned(), value)));
        };
        for interface in &self.network_interfaces {
            interface.attributes(&mut add);
        }
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let placement = &self.placement;
        add("placement.tenancy", placement.tenancy.map(|tenancy| tenancy.as_str().into()));
        add("placement.host_id", text(&placement.host_id));
        add("placement.group_name", text(&placement.group_name));
        add("placement.partition_number", placement.partition_number.map(Value::from));
        add("placement.affinity", text(&placement.affinity));
        let enabled = |on: bool| Value::from(if on { "enabled" } else { "disabled" });
        let metadata = &self.metadata;
        add("metadata_options.http_tokens", (!metadata.tokens_required).then(|| "optional".into()));
        add("metadata_options.http_endpoint", (!metadata.endpoint).then(|| enabled(false)));
        add("metadata_options.http_put_response_hop_limit", metadata.hop_limit.map(Value::from));
        add("metadata_options.instance_metadata_tags", metadata.tags.map(enabled));
        add("credit_specification.cpu_credits", self.cpu_credits.map(|credits| credits.as_str().into()));
        add("monitoring", self.monitoring.then_some(true.into()));
        add("disable_api_stop", self.disable_api_stop.then_some(true.into()));
        all
    }
}

impl InterfaceSpec {
    /// Which interface it is and where, and its security groups, as asked for and as it is now. What
    /// else may be changed about it outside is no reason to make the instance anew.
    fn refreshed(&self, now: &Self) -> Self {
        Self {
            network_interface_id: self.network_interface_id.as_ref().and(now.network_interface_id.clone()),
            subnet_id: self.subnet_id.as_ref().and(now.subnet_id.clone()),
            private_ip: self.private_ip.and(now.private_ip),
            security_group_ids: shown_groups(&self.security_group_ids, &now.security_group_ids),
            ..self.clone()
        }
    }

    fn attributes(&self, add: &mut impl FnMut(&str, Option<Value>)) {
        let mut at = |name: &str, value: Option<Value>| {
            add(&format!("network_interface.{}.{name}", self.device_index), value);
        };
        at("network_interface_id", self.network_interface_id.as_deref().map(Value::from));
        at("subnet_id", self.subnet_id.as_deref().map(Value::from));
        at("private_ip", self.private_ip.map(|address| address.to_string().into()));
        let groups = &self.security_group_ids;
        at("security_group_ids", (!groups.is_empty()).then(|| groups.clone().into()));
        let stays = self.network_interface_id.is_none() && !self.delete_on_termination;
        at("delete_on_termination", stays.then_some(false.into()));
        at("description", self.description.as_deref().map(Value::from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_drifts() {
        let asked = InstanceOptions {
            network_interfaces: vec![
                InterfaceSpec {
                    device_index: 1,
                    subnet_id: Some("subnet-1".into()),
                    ..InterfaceSpec::default()
                },
                InterfaceSpec { device_index: 2, ..InterfaceSpec::default() },
            ],
            ..InstanceOptions::default()
        };
        let shown = |index: u32| InterfaceSpec {
            device_index: index,
            network_interface_id: Some(format!("eni-{index}")),
            subnet_id: Some("subnet-1".into()),
            private_ip: Some(Ipv4Addr::new(10, 0, 0, 9)),
            ..InterfaceSpec::default()
        };
        let now = InstanceOptions {
            network_interfaces: vec![shown(0), shown(1)],
            placement: PlacementSpec { tenancy: Some(Tenancy::Default), ..PlacementSpec::default() },
            metadata: MetadataOptions { hop_limit: Some(1), tags: Some(false), ..MetadataOptions::default() },
            cpu_credits: Some(CpuCredits::Unlimited),
            monitoring: true,
            disable_api_stop: false,
        };
        let fresh = asked.refreshed(&now);
        let wanted = InstanceOptions {
            // The third was taken away.
            network_interfaces: asked.network_interfaces[..1].to_vec(),
            monitoring: true,
            ..asked
        };
        assert_eq!(fresh, wanted);
    }

    #[test]
    fn security_groups_have_no_order() {
        let groups = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<String>>();
        let recorded = groups(&["sg-2", "sg-1"]);
        assert_eq!(shown_groups(&recorded, &groups(&["sg-1", "sg-2"])), recorded);
        assert_eq!(shown_groups(&recorded, &groups(&["sg-1"])), ["sg-1"]);
        assert!(shown_groups(&[], &groups(&["sg-1"])).is_empty());
    }

    #[test]
    fn what_is_not_set_has_no_attribute() {
        assert!(InstanceOptions::default().attributes().is_empty());
        let read: InstanceOptions = serde_json::from_str("{}").unwrap();
        assert!(read.is_default() && read.metadata.tokens_required);
    }
}
