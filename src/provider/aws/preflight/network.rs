//! Subnets, private addresses, security groups.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use aws_sdk_ec2::types as sdk;
use ipnet::Ipv4Net;

use super::survey::Survey;
use crate::diagnostic::Diagnostic;
use crate::model::InstanceAddress;
use crate::provider::aws::call::pages;
use crate::provider::aws::volumes::FILTER_VALUES;
use crate::provider::preflight::{Concern, WantedInstance};
use crate::provider::types::ProviderError;

/// Addresses at a subnet's beginning that are AWS's ("Subnet sizing for IPv4", VPC User Guide); the
/// last one is, too.
const RESERVED: u32 = 4;
/// How many subnets are named as ones that would do.
const NAMED: usize = 5;

/// A subnet as far as a launch depends on it.
struct Subnet {
    id: String,
    zone: String,
    vpc: String,
    network: Option<Ipv4Net>,
    free: usize,
    is_default: bool,
}

/// Who has a private address.
struct Holder {
    interface: String,
    instance: Option<String>,
    description: String,
}

fn filter(name: &str, values: impl IntoIterator<Item = String>) -> sdk::Filter {
    sdk::Filter::builder().name(name).set_values(Some(values.into_iter().collect())).build()
}

/// What a filter takes at once.
fn chunks(values: &BTreeSet<String>) -> impl Iterator<Item = Vec<String>> {
    let values: Vec<String> = values.iter().cloned().collect();
    let chunks: Vec<Vec<String>> = values.chunks(FILTER_VALUES).map(<[String]>::to_vec).collect();
    chunks.into_iter()
}

fn subnet(found: &sdk::Subnet) -> Option<Subnet> {
    Some(Subnet {
        id: found.subnet_id()?.to_owned(),
        zone: found.availability_zone()?.to_owned(),
        vpc: found.vpc_id().unwrap_or_default().to_owned(),
        network: found.cidr_block().and_then(|text| text.parse().ok()),
        free: usize::try_from(found.available_ip_address_count().unwrap_or(i32::MAX)).unwrap_or(0),
        is_default: found.default_for_az().unwrap_or(false),
    })
}

impl Survey<'_> {
    pub(super) async fn network(&self) -> Vec<Concern> {
        let (subnets, holders, groups) = tokio::join!(self.subnets(), self.holders(), self.groups());
        let subnets = self.unread.read("ec2", subnets);
        let holders = self.unread.read("ec2", holders).unwrap_or_default();
        let mut found = Vec::new();
        let mut asked: BTreeMap<&str, Vec<&InstanceAddress>> = BTreeMap::new();
        let mut of = BTreeMap::new();
        for launch in &self.request.launches {
            let Some(subnets) = &subnets else { break };
            match self.subnet_of(launch, subnets) {
                Ok(Some(subnet)) => {
                    of.insert(&launch.address, subnet);
                    found.extend(self.address(launch, subnet, &holders));
                    if launch.replaces.is_none() {
                        asked.entry(&subnet.id).or_default().push(&launch.address);
                    }
                }
                Ok(None) => {}
                Err(concern) => found.push(*concern),
            }
        }
        for (id, instances) in asked {
            found.extend(
                subnets
                    .iter()
                    .flatten()
                    .find(|subnet| subnet.id == id)
                    .and_then(|subnet| full(subnet, &instances)),
            );
        }
        if let Some(groups) = self.unread.read("ec2", groups) {
            found.extend(self.wrong_groups(&groups, &of));
        }
        self.with_advice(found).await
    }

    /// The named subnets, and the zone's default one when an instance names none.
    async fn subnets(&self) -> Result<Vec<Subnet>, ProviderError> {
        let launches = &self.request.launches;
        let named: BTreeSet<String> =
            launches.iter().filter_map(|launch| launch.request.subnet_id.clone()).collect();
        let ec2 = self.cloud.ec2().await?;
        let mut found: Vec<sdk::Subnet> = Vec::new();
        for ids in chunks(&named) {
            found.extend(pages!(
                "DescribeSubnets",
                ec2.describe_subnets().filters(filter("subnet-id", ids)),
                subnets
            ));
        }
        if launches.iter().any(|launch| launch.request.subnet_id.is_none() && !launch.is_unknown("subnet_id"))
        {
            let call = ec2
                .describe_subnets()
                .filters(filter("availability-zone", [self.node.node.zone.clone()]))
                .filters(filter("default-for-az", ["true".to_owned()]));
            found.extend(pages!("DescribeSubnets", call, subnets));
        }
        Ok(found.iter().filter_map(subnet).collect())
    }

    /// Who has the addresses that are asked for, in which subnet.
    async fn holders(&self) -> Result<BTreeMap<(String, Ipv4Addr), Holder>, ProviderError> {
        let launches = &self.request.launches;
        let wanted: BTreeSet<String> =
            launches.iter().filter_map(|launch| Some(launch.request.private_ip?.to_string())).collect();
        let ec2 = self.cloud.ec2().await?;
        let mut holders = BTreeMap::new();
        for addresses in chunks(&wanted) {
            let call =
                ec2.describe_network_interfaces().filters(filter("addresses.private-ip-address", addresses));
            let found: Vec<sdk::NetworkInterface> =
                pages!("DescribeNetworkInterfaces", call, network_interfaces);
            for interface in &found {
                let of_interface = interface
                    .private_ip_addresses()
                    .iter()
                    .filter_map(|address| address.private_ip_address());
                for address in interface.private_ip_address().into_iter().chain(of_interface) {
                    let Ok(address) = address.parse() else { continue };
                    let attachment = interface.attachment();
                    let holder = Holder {
                        interface: interface.network_interface_id().unwrap_or_default().to_owned(),
                        instance: attachment
                            .and_then(|attachment| attachment.instance_id())
                            .map(str::to_owned),
                        description: interface.description().unwrap_or_default().to_owned(),
                    };
                    holders.insert((interface.subnet_id().unwrap_or_default().to_owned(), address), holder);
                }
            }
        }
        Ok(holders)
    }

    /// The security groups that are asked for: whose, at which attribute, which.
    fn wanted_groups(&self) -> Vec<(&InstanceAddress, String, &Vec<String>)> {
        let own = || "security_group_ids".to_owned();
        let of = |index: u32| format!("network_interface.{index}.security_group_ids");
        let mut wanted = Vec::new();
        for launch in &self.request.launches {
            wanted.push((&launch.address, own(), &launch.request.security_group_ids));
            let others = launch.request.options.network_interfaces.iter();
            let others = others.filter(|interface| interface.device_index != 0);
            wanted.extend(others.map(|interface| {
                (&launch.address, of(interface.device_index), &interface.security_group_ids)
            }));
        }
        for changed in self.request.changes.instances.values() {
            wanted
                .extend(changed.request.security_group_ids.iter().map(|ids| (&changed.address, own(), ids)));
            let others = changed.request.interface_groups.iter();
            wanted.extend(others.map(|(index, groups)| (&changed.address, of(*index), groups)));
        }
        wanted
    }

    /// The VPCs of the security groups.
    async fn groups(&self) -> Result<BTreeMap<String, String>, ProviderError> {
        let wanted: BTreeSet<String> =
            self.wanted_groups().into_iter().flat_map(|(.., groups)| groups).cloned().collect();
        let ec2 = self.cloud.ec2().await?;
        let mut groups = BTreeMap::new();
        for ids in chunks(&wanted) {
            let call = ec2.describe_security_groups().filters(filter("group-id", ids));
            let found: Vec<sdk::SecurityGroup> = pages!("DescribeSecurityGroups", call, security_groups);
            groups.extend(found.iter().filter_map(|group| {
                Some((group.group_id()?.to_owned(), group.vpc_id().unwrap_or_default().to_owned()))
            }));
        }
        Ok(groups)
    }

    /// The subnet that an instance will be in; `None` where that is known only later.
    fn subnet_of<'s>(
        &self,
        launch: &WantedInstance,
        subnets: &'s [Subnet],
    ) -> Result<Option<&'s Subnet>, Box<Concern>> {
        let (address, zone) = (&launch.address, &self.node.node.zone);
        if launch.is_unknown("subnet_id") {
            return Ok(None);
        }
        let Some(id) = &launch.request.subnet_id else {
            let default = subnets.iter().find(|subnet| subnet.is_default && subnet.zone == *zone);
            return default.map(Some).ok_or_else(|| {
                let diagnostic = Diagnostic::error("aws::no_default_subnet", "No subnet is named, and the zone has no default one")
                    .detail(format!("{address} names no subnet, and {zone} has none that instances are launched in by default."))
                    .help(format!("add subnet_id = \"…\", a subnet in {zone}"));
                Box::new(Concern::at(address, "", diagnostic))
            });
        };
        let Some(subnet) = subnets.iter().find(|subnet| subnet.id == *id) else {
            let diagnostic = Diagnostic::error("aws::subnet_missing", "A subnet that does not exist")
                .detail(format!(
                    "{address} wants the subnet {id}, which this account does not have in this region."
                ))
                .help("see which there are:\naws ec2 describe-subnets --output table");
            return Err(Box::new(Concern::at(address, "subnet_id", diagnostic)));
        };
        if subnet.zone != *zone {
            let diagnostic = Diagnostic::error("aws::subnet_elsewhere", "A subnet in another zone than the access node")
                .detail(format!(
                    "{address} wants {id}, which is in {}. The access node {} is in {zone}, and a volume can be attached only within its own zone.",
                    subnet.zone, self.node.node.instance_id
                ))
                .help(format!("or use an access node in {}", subnet.zone));
            return Err(Box::new(Concern::at(address, "subnet_id", diagnostic)));
        }
        Ok(Some(subnet))
    }

    /// What is wrong with a private address.
    fn address(
        &self,
        launch: &WantedInstance,
        subnet: &Subnet,
        holders: &BTreeMap<(String, Ipv4Addr), Holder>,
    ) -> Option<Concern> {
        let wanted = launch.request.private_ip?;
        let network = subnet.network?;
        let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
        let (lowest, highest) =
            (Ipv4Addr::from(first.saturating_add(RESERVED)), Ipv4Addr::from(last.saturating_sub(1)));
        let (address, id) = (&launch.address, &subnet.id);
        let range = format!("choose one from {lowest} to {highest}, or leave private_ip out");
        let diagnostic = if !network.contains(&wanted) {
            Diagnostic::error("aws::address_outside_subnet", "A private address outside its subnet")
                .detail(format!("{address} wants {wanted}, and its subnet {id} is {network}."))
                .help(range)
                .help("or name the subnet that the address is of")
        } else if wanted < lowest || wanted > highest {
            Diagnostic::error("aws::address_reserved", "A private address that AWS keeps for itself")
                .detail(format!(
                    "{address} wants {wanted}. The first four addresses and the last one of every subnet are AWS's, and {id} is {network}."
                ))
                .help(range)
        } else {
            let holder =
                holders.get(&(id.clone(), wanted)).filter(|holder| !self.is_leaving(launch, holder))?;
            let who = match (&holder.instance, holder.description.as_str()) {
                (Some(instance), _) => format!("the instance {instance} ({})", holder.interface),
                (None, "") => format!("the network interface {}", holder.interface),
                (None, description) => format!("the network interface {} ({description})", holder.interface),
            };
            Diagnostic::error("aws::address_taken", "A private address that is taken")
                .detail(format!("{address} wants {wanted} in {id}, and {who} has it."))
                .help("choose another private_ip, or leave it out")
                .help("or free it: an address belongs to its interface also while the instance is stopped")
        };
        Some(Concern::at(address, "private_ip", diagnostic))
    }

    /// Whether who has an address ends before it is needed.
    fn is_leaving(&self, launch: &WantedInstance, holder: &Holder) -> bool {
        let Some(instance) = &holder.instance else { return false };
        let replaced = launch.replaces.as_ref().is_some_and(|replaced| replaced.0 == *instance);
        replaced || self.request.changes.terminated.iter().any(|ended| ended.0 == *instance)
    }

    fn wrong_groups(
        &self,
        groups: &BTreeMap<String, String>,
        subnets: &BTreeMap<&InstanceAddress, &Subnet>,
    ) -> Vec<Concern> {
        let mut found = Vec::new();
        for (address, path, wanted) in self.wanted_groups() {
            let missing: Vec<&str> =
                wanted.iter().filter(|id| !groups.contains_key(*id)).map(String::as_str).collect();
            if !missing.is_empty() {
                let diagnostic =
                    Diagnostic::error("aws::security_group_missing", "A security group that does not exist")
                        .detail(format!(
                            "{address} wants {}, which this account does not have in this region.",
                            missing.join(", ")
                        ))
                        .help("see which there are:\naws ec2 describe-security-groups --output table");
                found.push(Concern::at(address, path.clone(), diagnostic));
            }
            // All interfaces of an instance are in one VPC ("Elastic network interfaces").
            let Some(subnet) = subnets.get(address) else { continue };
            let foreign: Vec<String> = wanted
                .iter()
                .filter_map(|id| Some((id, groups.get(id).filter(|vpc| **vpc != subnet.vpc)?)))
                .map(|(id, vpc)| format!("{id} is in {vpc}"))
                .collect();
            if !foreign.is_empty() {
                let diagnostic = Diagnostic::error(
                    "aws::security_group_vpc",
                    "A security group of another VPC than the subnet",
                )
                .detail(format!(
                    "{} of {address}, and its subnet {} is in {}.",
                    foreign.join(", "),
                    subnet.id,
                    subnet.vpc
                ))
                .help(format!("use security groups of {}, or a subnet of the groups' VPC", subnet.vpc));
                found.push(Concern::at(address, path, diagnostic));
            }
        }
        found
    }

    /// Adds to what is in the wrong zone which subnets would do.
    async fn with_advice(&self, mut found: Vec<Concern>) -> Vec<Concern> {
        if !found.iter().any(|concern| concern.diagnostic.code.as_str() == ELSEWHERE) {
            return found;
        }
        let zone = &self.node.node.zone;
        let fitting = self.unread.read("ec2", self.subnets_of(zone).await).unwrap_or_default();
        let advice = if fitting.is_empty() {
            format!("use a subnet in {zone} (there is none yet)")
        } else {
            format!("use a subnet in {zone}: {}", fitting.join(", "))
        };
        for concern in found.iter_mut().filter(|concern| concern.diagnostic.code.as_str() == ELSEWHERE) {
            concern.diagnostic.help.insert(0, advice.clone());
        }
        found
    }

    async fn subnets_of(&self, zone: &str) -> Result<Vec<String>, ProviderError> {
        let ec2 = self.cloud.ec2().await?;
        let call = ec2.describe_subnets().filters(filter("availability-zone", [zone.to_owned()]));
        let found: Vec<sdk::Subnet> = pages!("DescribeSubnets", call, subnets);
        let shown = found.iter().take(NAMED);
        Ok(shown
            .filter_map(|subnet| Some(format!("{} ({})", subnet.subnet_id()?, subnet.cidr_block()?)))
            .collect())
    }
}

/// What is said of a subnet in the wrong zone.
const ELSEWHERE: &str = "aws::subnet_elsewhere";

/// More instances than a subnet has addresses left.
fn full(subnet: &Subnet, instances: &[&InstanceAddress]) -> Option<Concern> {
    let beyond = instances.get(subnet.free)?;
    let diagnostic = Diagnostic::error("aws::subnet_full", "A subnet without enough free addresses")
        .detail(format!(
            "{} instances are to be launched in {}, which has {} free addresses; the first without one is {beyond}.",
            instances.len(),
            subnet.id,
            subnet.free
        ))
        .help("put some of them into another subnet of the same zone, or free addresses");
    Some(Concern::at(beyond, "subnet_id", diagnostic))
}
