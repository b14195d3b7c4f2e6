//! Data sources: DescribeSubnets, DescribeSecurityGroups, DescribeNetworkInterfaces, DescribeImages; DescribeKey and
//! ListAliases of KMS.

use aws_sdk_ec2::types as sdk;
use serde_json::{Map, Value, json};

use super::call::pages;
use super::client::Cloud;
use super::views;
use super::volumes::PAGE;
use crate::model::{Found, Lookup, LookupKind};
use crate::provider::types::{ProviderError, ProviderErrorKind};

/// Most aliases that are looked through for a name that is like one.
const MOST_ALIASES: usize = 1000;

/// The conditions of a lookup, its id among them: in a filter an id that does not exist is no
/// error.
fn filters(id_filter: &str, lookup: &Lookup) -> Option<Vec<sdk::Filter>> {
    let by_id = lookup.id.iter().map(|id| sdk::Filter::builder().name(id_filter).values(id).build());
    let others = lookup.filters.iter().map(|filter| {
        sdk::Filter::builder().name(&filter.name).set_values(Some(filter.values.clone())).build()
    });
    let all: Vec<sdk::Filter> = by_id.chain(others).collect();
    (!all.is_empty()).then_some(all)
}

fn tags(tags: &[sdk::Tag]) -> Value {
    let tags = views::tags(tags).into_iter().map(|(key, value)| (key, Value::from(value)));
    Value::Object(tags.collect::<Map<String, Value>>())
}

impl Cloud {
    pub(super) async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        match lookup.kind {
            LookupKind::Subnet => self.find_subnets(lookup).await,
            LookupKind::SecurityGroup => self.find_groups(lookup).await,
            LookupKind::NetworkInterface => self.find_interfaces(lookup).await,
            LookupKind::Ami => self.find_images(lookup).await,
            LookupKind::KmsKey => self.find_keys(lookup).await,
        }
    }

    async fn find_subnets(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        let call = self.ec2().await?.describe_subnets().set_filters(filters("subnet-id", lookup));
        Ok(pages!("DescribeSubnets", call.max_results(PAGE), subnets, subnet))
    }

    async fn find_groups(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        let call = self.ec2().await?.describe_security_groups().set_filters(filters("group-id", lookup));
        Ok(pages!("DescribeSecurityGroups", call.max_results(PAGE), security_groups, group))
    }

    async fn find_interfaces(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        let call = self
            .ec2()
            .await?
            .describe_network_interfaces()
            .set_filters(filters("network-interface-id", lookup));
        Ok(pages!("DescribeNetworkInterfaces", call.max_results(PAGE), network_interfaces, interface))
    }

    async fn find_images(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        let pattern = match &lookup.name_regex {
            Some(pattern) => {
                Some(regex::RegexBuilder::new(pattern).size_limit(4 << 20).build().map_err(|error| {
                    let kind = ProviderErrorKind::InvalidParameter;
                    ProviderError::new("DescribeImages", kind, "InvalidParameterValue", error.to_string())
                })?)
            }
            None => None,
        };
        let ec2 = self.ec2().await?;
        let owners = (!lookup.owners.is_empty()).then(|| lookup.owners.clone());
        let call = ec2.describe_images().set_owners(owners).set_filters(filters("image-id", lookup));
        let fitting = |found: &sdk::Image| {
            let fits = pattern
                .as_ref()
                .is_none_or(|pattern| found.name().is_some_and(|name| pattern.is_match(name)));
            if fits { image(found) } else { None }
        };
        Ok(pages!("DescribeImages", call.max_results(PAGE), images, fitting))
    }

    async fn find_keys(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        let Some(id) = &lookup.id else { return self.find_aliases().await };
        let asked = json!({ "KeyId": id });
        match self.signed_json("kms", "TrentService.DescribeKey", &asked).await {
            Ok(answer) => Ok(key(&answer["KeyMetadata"]).into_iter().collect()),
            Err(error) if error.kind == ProviderErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Every alias, as what a key may be asked for by.
    async fn find_aliases(&self) -> Result<Vec<Found>, ProviderError> {
        let mut found = Vec::new();
        let mut asked = json!({ "Limit": 100 });
        loop {
            let answer = self.signed_json("kms", "TrentService.ListAliases", &asked).await?;
            for alias in answer["Aliases"].as_array().into_iter().flatten() {
                if let Some(name) = alias["AliasName"].as_str() {
                    let arn = alias["AliasArn"].as_str();
                    found.push(Found::new(name).with("arn", arn));
                }
            }
            let marker =
                answer["NextMarker"].as_str().filter(|_| answer["Truncated"].as_bool() == Some(true));
            match marker {
                Some(marker) if found.len() < MOST_ALIASES => {
                    asked = json!({ "Limit": 100, "Marker": marker });
                }
                _ => return Ok(found),
            }
        }
    }
}

fn subnet(subnet: &sdk::Subnet) -> Option<Found> {
    let found = Found::new(subnet.subnet_id()?)
        .with("arn", subnet.subnet_arn())
        .with("availability_zone", subnet.availability_zone())
        .with("availability_zone_id", subnet.availability_zone_id())
        .with("available_ip_address_count", subnet.available_ip_address_count())
        .with("cidr_block", subnet.cidr_block())
        .with("default_for_az", subnet.default_for_az())
        .with("map_public_ip_on_launch", subnet.map_public_ip_on_launch())
        .with("owner_id", subnet.owner_id())
        .with("state", subnet.state().map(sdk::SubnetState::as_str))
        .with("vpc_id", subnet.vpc_id());
    Some(found.with("tags", Some(tags(subnet.tags()))))
}

fn group(group: &sdk::SecurityGroup) -> Option<Found> {
    let found = Found::new(group.group_id()?)
        .with("arn", group.security_group_arn())
        .with("description", group.description())
        .with("name", group.group_name())
        .with("owner_id", group.owner_id())
        .with("vpc_id", group.vpc_id());
    Some(found.with("tags", Some(tags(group.tags()))))
}

fn interface(interface: &sdk::NetworkInterface) -> Option<Found> {
    let groups: Vec<&str> = interface.groups().iter().filter_map(sdk::GroupIdentifier::group_id).collect();
    let attachment = interface.attachment();
    let found = Found::new(interface.network_interface_id()?)
        .with("availability_zone", interface.availability_zone())
        .with("description", interface.description())
        .with("instance_id", attachment.and_then(sdk::NetworkInterfaceAttachment::instance_id))
        .with("owner_id", interface.owner_id())
        .with("private_ip", interface.private_ip_address())
        .with("security_groups", Some(groups))
        .with("status", interface.status().map(sdk::NetworkInterfaceStatus::as_str))
        .with("subnet_id", interface.subnet_id())
        .with("vpc_id", interface.vpc_id());
    Some(found.with("tags", Some(tags(interface.tag_set()))))
}

fn image(image: &sdk::Image) -> Option<Found> {
    let found = Found::new(image.image_id()?)
        .with("architecture", image.architecture().map(sdk::ArchitectureValues::as_str))
        .with("boot_mode", image.boot_mode().map(sdk::BootModeValues::as_str))
        .with("creation_date", image.creation_date())
        .with("description", image.description())
        .with("ena_support", image.ena_support())
        .with("name", image.name())
        .with("owner_id", image.owner_id())
        .with("platform_details", image.platform_details())
        .with("public", image.public())
        .with("root_device_name", image.root_device_name())
        .with("state", image.state().map(sdk::ImageState::as_str));
    Some(found.with("tags", Some(tags(image.tags()))))
}

/// `KeyMetadata` of DescribeKey.
fn key(metadata: &Value) -> Option<Found> {
    let id = metadata["KeyId"].as_str()?;
    let text = |name: &str| metadata[name].as_str();
    Some(
        Found::new(id)
            .with("arn", text("Arn"))
            .with("aws_account_id", text("AWSAccountId"))
            .with("description", text("Description"))
            .with("enabled", metadata["Enabled"].as_bool())
            .with("key_id", Some(id))
            .with("key_manager", text("KeyManager"))
            .with("key_state", text("KeyState"))
            .with("key_usage", text("KeyUsage"))
            .with("multi_region", metadata["MultiRegion"].as_bool())
            .with("origin", text("Origin")),
    )
}
