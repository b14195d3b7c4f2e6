//! Blocks of an instance that go to EC2 as they are: interfaces, placement, metadata, credits. All
//! but the primary interface must be known while planning.

use std::net::Ipv4Addr;

use super::attributes::{Decoder, Sink, is_id};
use crate::config::ast::Block;
use crate::config::expression::{Evaluator, Scope};
use crate::config::source::Place;
use crate::model::options::is_burstable;
use crate::model::{CpuCredits, InstanceOptions, InterfaceSpec, MetadataOptions, PlacementSpec, Tenancy};

/// The most interfaces of any type, less one (EC2 User Guide, "Maximum IP addresses per network
/// interface": 15 on a card, and types with several cards have more).
const LAST_INTERFACE: u32 = 31;
/// Hops of the metadata service's answers (ModifyInstanceMetadataOptions).
const HOPS: (u32, u32) = (1, 64);
/// Partitions of a placement group in a zone (EC2 User Guide, "Placement groups").
const PARTITIONS: (u32, u32) = (1, 7);

/// What the instance says of its one interface, and what its primary `network_interface` may say
/// instead.
const OF_THE_PRIMARY: [&str; 3] = ["subnet_id", "private_ip", "security_group_ids"];

/// Subnet, address and security groups of the primary interface.
#[derive(Debug, Default)]
pub(super) struct Primary {
    pub(super) subnet_id: Option<String>,
    pub(super) private_ip: Option<Ipv4Addr>,
    pub(super) security_group_ids: Vec<String>,
}

impl Decoder<'_, '_> {
    /// What the instance's block, or that of an interface, says of the primary interface. Its
    /// values may be known after apply.
    pub(super) fn primary(&mut self) -> Primary {
        Primary {
            subnet_id: self.late_string("subnet_id").map(|(id, _)| id),
            private_ip: self.late_string("private_ip").and_then(|(text, place)| self.address(&text, place)),
            security_group_ids: self.late_strings("security_group_ids"),
        }
    }

    fn address(&mut self, text: &str, place: Place) -> Option<Ipv4Addr> {
        let parsed: Option<Ipv4Addr> = text.parse().ok();
        let usable = parsed.filter(|ip| {
            !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !ip.is_broadcast()
        });
        if usable.is_none() {
            let detail = match parsed {
                Some(_) => "`private_ip` is an address that no machine can have.",
                None => "`private_ip` is an IPv4 address of four numbers.",
            };
            let help = "write one of the subnet's addresses, as in \"10.20.1.15\", or leave it out";
            self.error(place, "config::invalid_address", "an IP address is not valid", detail, help);
        }
        usable
    }

    fn id(&mut self, name: &str, prefix: &str, what: &str) -> Option<String> {
        let (id, place) = self.string(name)?;
        if !is_id(prefix, &id) {
            self.error(
                place,
                "config::invalid_id",
                "an id is not written correctly",
                &format!("{what} is `{prefix}` and hexadecimal digits."),
                "copy it from EC2",
            );
        }
        Some(id)
    }

    /// One interface; `primary`: where its subnet, address and groups go when it is the first.
    fn interface(&mut self, primary: &mut Option<Primary>) -> Option<InterfaceSpec> {
        let device_index = self.whole("device_index", 0, LAST_INTERFACE, "")?;
        let mut spec =
            InterfaceSpec { device_index, delete_on_termination: true, ..InterfaceSpec::default() };
        spec.network_interface_id = self.id("network_interface_id", "eni-", "A network interface's id");
        if self.block.attribute("network_interface_id").is_some() {
            self.existing();
            spec.delete_on_termination = false;
        } else {
            spec.delete_on_termination = self.bool("delete_on_termination").unwrap_or(true);
            spec.description = self.string("description").map(|(text, _)| text);
        }
        if device_index == 0 {
            // Of the instance: there its attributes have their paths, and may be known later.
            let prefix = std::mem::take(&mut self.prefix);
            *primary = Some(self.primary());
            self.prefix = prefix;
            return Some(spec);
        }
        self.prefix = format!("network_interface.{device_index}.");
        spec.subnet_id = self.string("subnet_id").map(|(id, _)| id);
        spec.private_ip = self.string("private_ip").and_then(|(text, place)| self.address(&text, place));
        spec.security_group_ids =
            self.strings("security_group_ids").map(|(texts, _)| texts).unwrap_or_default();
        let needs_subnet = ["network_interface_id", "subnet_id"];
        if needs_subnet.iter().all(|name| self.block.attribute(name).is_none()) {
            self.error(
                self.block.place,
                "config::interface_subnet",
                "a network interface is in no subnet",
                "Beside the primary interface each says its subnet, or which existing interface it is.",
                "add `subnet_id = …` or `network_interface_id = …`",
            );
        }
        Some(spec)
    }

    /// An existing interface has all this already.
    fn existing(&mut self) {
        for name in ["subnet_id", "private_ip", "security_group_ids", "description"] {
            if let Some(attribute) = self.block.attribute(name) {
                self.error(
                    attribute.place,
                    "config::existing_interface",
                    "an existing network interface is described anew",
                    &format!("`network_interface_id` names an interface that has its own `{name}`."),
                    "leave it out, or leave out `network_interface_id` and a new interface is made",
                );
            }
        }
        if self.bool("delete_on_termination") == Some(true)
            && let Some(attribute) = self.block.attribute("delete_on_termination")
        {
            self.error(
                attribute.expr.place,
                "config::existing_interface",
                "an existing network interface would be deleted",
                "An interface that was there before the instance stays when the instance ends.",
                "leave out `delete_on_termination`",
            );
        }
    }

    fn placement(&mut self) -> PlacementSpec {
        let tenancy = self.word("tenancy", &Tenancy::ALL.map(|tenancy| (tenancy.as_str(), tenancy)));
        let host_id = self.id("host_id", "h-", "A dedicated host's id");
        let group_name = self.string("group_name").map(|(name, _)| name);
        let partition_number = self.whole("partition_number", PARTITIONS.0, PARTITIONS.1, "");
        let affinity = self.word("affinity", &[("default", "default"), ("host", "host")]);
        let on_host = tenancy == Some(Tenancy::Host);
        for (name, of_host) in [("host_id", host_id.is_some()), ("affinity", affinity.is_some())] {
            if let Some(attribute) = self.block.attribute(name).filter(|_| of_host && !on_host) {
                self.error(
                    attribute.expr.place,
                    "config::placement",
                    "parts of a placement do not fit",
                    &format!("`{name}` is for instances on dedicated hosts."),
                    "add tenancy = \"host\", or leave it out",
                );
            }
        }
        if let Some(attribute) = self.block.attribute("partition_number")
            && partition_number.is_some()
            && group_name.is_none()
        {
            self.error(
                attribute.expr.place,
                "config::placement",
                "parts of a placement do not fit",
                "`partition_number` counts the partitions of a placement group, and none is named.",
                "add group_name = \"…\", or leave it out",
            );
        }
        PlacementSpec {
            tenancy,
            host_id,
            group_name,
            partition_number,
            affinity: affinity.map(str::to_owned),
        }
    }

    fn metadata(&mut self) -> MetadataOptions {
        let switch = [("enabled", true), ("disabled", false)];
        let words = [("required", true), ("optional", false)];
        MetadataOptions {
            tokens_required: self.word("http_tokens", &words).unwrap_or(true),
            endpoint: self.word("http_endpoint", &switch).unwrap_or(true),
            hop_limit: self.whole("http_put_response_hop_limit", HOPS.0, HOPS.1, " hops"),
            tags: self.word("instance_metadata_tags", &switch),
        }
    }

    fn credits(&mut self, instance_type: &str) -> Option<CpuCredits> {
        let words = [CpuCredits::Standard, CpuCredits::Unlimited].map(|credits| (credits.as_str(), credits));
        let credits = self.word("cpu_credits", &words)?;
        if !instance_type.is_empty() && !is_burstable(instance_type) {
            self.error(
                self.block.place,
                "config::cpu_credits",
                "an instance type has no CPU credits",
                "`credit_specification` is for burstable types: the families t2, t3, t3a and t4g.",
                "leave the block out, or choose a burstable type",
            );
        }
        Some(credits)
    }
}

/// The options of an instance, and what its primary interface's block says.
pub(super) fn options(
    evaluator: &Evaluator<'_>,
    block: &Block,
    scope: &Scope<'_>,
    sink: &mut Sink,
    instance_type: &str,
) -> (InstanceOptions, Option<Primary>) {
    let mut options = InstanceOptions::default();
    let mut primary = None;
    for inner in block.blocks("network_interface") {
        let prefix = "network_interface.".to_owned();
        let mut decoder = Decoder { evaluator, scope, block: inner, prefix, sink };
        let Some(interface) = decoder.interface(&mut primary) else { continue };
        if options.network_interfaces.iter().any(|other| other.device_index == interface.device_index) {
            decoder.error(
                inner.place,
                "config::duplicate",
                "a device index is used twice",
                &format!("Another network interface has `device_index = {}`.", interface.device_index),
                "number them from 0, which is the primary one",
            );
        }
        options.network_interfaces.push(interface);
    }
    options.network_interfaces.sort_by_key(|interface| interface.device_index);
    for name in OF_THE_PRIMARY {
        if let Some(attribute) = block.attribute(name).filter(|_| primary.is_some()) {
            let mut decoder = Decoder { evaluator, scope, block, prefix: String::new(), sink };
            decoder.error(
                attribute.place,
                "config::mixed_interfaces",
                "the primary network interface is described twice",
                &format!(
                    "`{name}` stands in the instance, and a `network_interface` with index 0 beside it."
                ),
                "say it in one of the two places",
            );
        }
    }
    let mut inner = |kind: &str, decode: &mut dyn FnMut(&mut Decoder<'_, '_>)| {
        for found in block.blocks(kind).take(1) {
            let prefix = format!("{kind}.");
            decode(&mut Decoder { evaluator, scope, block: found, prefix, sink });
        }
    };
    inner("placement", &mut |decoder| options.placement = decoder.placement());
    inner("metadata_options", &mut |decoder| options.metadata = decoder.metadata());
    inner("credit_specification", &mut |decoder| options.cpu_credits = decoder.credits(instance_type));
    let mut decoder = Decoder { evaluator, scope, block, prefix: String::new(), sink };
    options.monitoring = decoder.bool("monitoring").unwrap_or(false);
    options.disable_api_stop = decoder.bool("disable_api_stop").unwrap_or(false);
    (options, primary)
}
