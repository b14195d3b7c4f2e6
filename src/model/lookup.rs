//! Data sources: what a configuration names and does not manage, asked of the provider while
//! planning. Their names, arguments and attributes are Terraform's (`aws_subnet`,
//! `aws_security_group`, `aws_network_interface`, `aws_ami`, `aws_kms_key` of its AWS provider).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LookupKind {
    /// A subnet.
    Subnet,
    /// A security group.
    SecurityGroup,
    /// A network interface.
    NetworkInterface,
    /// An Amazon machine image.
    Ami,
    /// A key of the Key Management Service.
    KmsKey,
}

impl LookupKind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Subnet, Self::SecurityGroup, Self::NetworkInterface, Self::Ami, Self::KmsKey];

    /// The first label of its block.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subnet => "subnet",
            Self::SecurityGroup => "security_group",
            Self::NetworkInterface => "network_interface",
            Self::Ami => "ami",
            Self::KmsKey => "kms_key",
        }
    }

    /// In a sentence, of several.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Subnet => "subnets",
            Self::SecurityGroup => "security groups",
            Self::NetworkInterface => "network interfaces",
            Self::Ami => "images",
            Self::KmsKey => "keys",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The attributes of what is found, sorted.
    #[must_use]
    pub fn attributes(self) -> &'static [&'static str] {
        match self {
            Self::Subnet => &[
                "arn",
                "availability_zone",
                "availability_zone_id",
                "available_ip_address_count",
                "cidr_block",
                "default_for_az",
                "id",
                "map_public_ip_on_launch",
                "owner_id",
                "state",
                "tags",
                "vpc_id",
            ],
            Self::SecurityGroup => &["arn", "description", "id", "name", "owner_id", "tags", "vpc_id"],
            Self::NetworkInterface => &[
                "availability_zone",
                "description",
                "id",
                "instance_id",
                "owner_id",
                "private_ip",
                "security_groups",
                "status",
                "subnet_id",
                "tags",
                "vpc_id",
            ],
            Self::Ami => &[
                "architecture",
                "arn",
                "boot_mode",
                "creation_date",
                "description",
                "ena_support",
                "id",
                "name",
                "owner_id",
                "platform_details",
                "public",
                "root_device_name",
                "state",
                "tags",
            ],
            Self::KmsKey => &[
                "arn",
                "aws_account_id",
                "description",
                "enabled",
                "id",
                "key_id",
                "key_manager",
                "key_state",
                "key_usage",
                "multi_region",
                "origin",
            ],
        }
    }
}

/// One condition, under the name of EC2's filter: any of the values, in which `*` and `?` stand
/// for anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupFilter {
    /// EC2's name: `tag:Name`, `vpc-id`.
    pub name: String,
    /// One of these.
    pub values: Vec<String>,
}

/// What a data source asks for. All that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// Of which kind.
    pub kind: LookupKind,
    /// The id; for a key its id, ARN or alias.
    pub id: Option<String>,
    /// Conditions.
    pub filters: Vec<LookupFilter>,
    /// Whose images: account ids, `self`, `amazon`, `aws-marketplace`.
    pub owners: Vec<String>,
    /// A regular expression that an image's name matches.
    pub name_regex: Option<String>,
    /// Of several images, the newest.
    pub most_recent: bool,
}

impl Lookup {
    /// Everything of a kind.
    #[must_use]
    pub fn of(kind: LookupKind) -> Self {
        Self { kind, id: None, filters: Vec::new(), owners: Vec::new(), name_regex: None, most_recent: false }
    }

    /// The first value of a filter.
    #[must_use]
    pub fn filter(&self, name: &str) -> Option<&str> {
        let found = self.filters.iter().find(|filter| filter.name == name)?;
        found.values.first().map(String::as_str)
    }
}

/// Something that a provider has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its attributes, of those in [`LookupKind::attributes`].
    pub attributes: BTreeMap<String, Value>,
}

impl Found {
    /// With an id and nothing else.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        let attributes = BTreeMap::from([("id".to_owned(), Value::from(id.as_str()))]);
        Self { id, attributes }
    }

    /// With an attribute, when it has a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.attributes.insert(name.to_owned(), value.into());
        }
        self
    }

    /// An attribute that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    /// What people call it: its tag `Name`, else its name or description.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let tag = self.attributes.get("tags").and_then(|tags| tags.get("Name")).and_then(Value::as_str);
        tag.or_else(|| self.text("name")).or_else(|| self.text("description")).filter(|name| !name.is_empty())
    }
}

/// A data source that was read, as a plan holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataRead {
    /// What was asked for.
    pub lookup: Lookup,
    /// What was found.
    pub found: Found,
}
