//! Data sources on this cloud, which has no networks, images or keys: each answers with one thing
//! that is as it was asked for. What is not asked for follows from the question alone, so the same
//! question has the same answer in every run, and a configuration for EC2 can be rehearsed.

use serde_json::{Map, Value, json};

use super::cloud::Desk;
use super::failure::Failure;
use crate::model::{Digest, Found, Lookup, LookupKind};

/// The account of this cloud, in ARNs.
const ACCOUNT: &str = "000000000000";
/// The network that addresses are given from.
const NETWORK: &str = "172.31.0.0/16";
/// Every image's date.
const CREATED: &str = "2026-01-01T00:00:00.000Z";

/// An id of a question: 17 hexadecimal digits, the first 0, as EC2's.
fn id(prefix: &str, of: &impl serde::Serialize) -> String {
    let digest = Digest::of_json(of).unwrap_or_else(|_| Digest::of(prefix.as_bytes()));
    format!("{prefix}-0{}", hex(&digest, 16))
}

fn hex(digest: &Digest, digits: usize) -> String {
    let text: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
    text.chars().take(digits).collect()
}

/// What a filter's value stands for, where it is a pattern: `*` for nothing, `?` for a letter.
fn plain(pattern: &str) -> String {
    let mut text = String::new();
    let mut letters = pattern.chars();
    while let Some(c) = letters.next() {
        match c {
            '*' => {}
            '?' => text.push('x'),
            '\\' => text.extend(letters.next()),
            other => text.push(other),
        }
    }
    text
}

fn asked(lookup: &Lookup, filter: &str) -> Option<String> {
    lookup.filter(filter).map(plain)
}

fn tags(lookup: &Lookup) -> Value {
    let tags = lookup.filters.iter().filter_map(|filter| {
        let key = filter.name.strip_prefix("tag:")?;
        Some((key.to_owned(), Value::from(plain(filter.values.first()?))))
    });
    Value::Object(tags.collect::<Map<String, Value>>())
}

impl Desk<'_> {
    pub(super) fn lookup(&self, lookup: &Lookup) -> Result<Vec<Found>, Failure> {
        Ok(match lookup.kind {
            LookupKind::Subnet => vec![self.subnet(lookup)],
            LookupKind::SecurityGroup => vec![self.group(lookup)],
            LookupKind::NetworkInterface => vec![self.interface(lookup)?],
            LookupKind::Ami => vec![image(lookup)],
            LookupKind::KmsKey => lookup.id.as_deref().map(|id| self.key(id)).into_iter().collect(),
        })
    }

    /// In use when one of this cloud's instances was launched with it.
    fn interface(&self, lookup: &Lookup) -> Result<Found, Failure> {
        let interface = lookup.id.clone().or_else(|| asked(lookup, "network-interface-id"));
        let interface = interface.unwrap_or_else(|| id("eni", lookup));
        let holder = self.interface_holder(&interface)?;
        let status = if holder.is_some() { "in-use" } else { "available" };
        Ok(Found::new(interface)
            .with("availability_zone", Some(self.spec.zone.as_str()))
            .with("description", Some("rehearsed"))
            .with("instance_id", holder.map(|holder| holder.id.0))
            .with("owner_id", Some(ACCOUNT))
            .with("private_ip", asked(lookup, "private-ip-address"))
            .with("status", Some(status))
            .with("subnet_id", asked(lookup, "subnet-id"))
            .with("tags", Some(tags(lookup)))
            .with("vpc_id", Some(self.vpc(lookup))))
    }

    /// The zone without its letter.
    fn region(&self) -> &str {
        self.spec.zone.trim_end_matches(|c: char| c.is_ascii_lowercase())
    }

    fn arn(&self, service: &str, what: &str, id: &str) -> String {
        format!("arn:aws:{service}:{}:{ACCOUNT}:{what}/{id}", self.region())
    }

    fn vpc(&self, lookup: &Lookup) -> String {
        asked(lookup, "vpc-id").unwrap_or_else(|| id("vpc", &self.region()))
    }

    /// In the cloud's own zone, whichever is asked for: there is one access node, and it is there.
    fn subnet(&self, lookup: &Lookup) -> Found {
        let subnet = lookup.id.clone().or_else(|| asked(lookup, "subnet-id"));
        let subnet = subnet.unwrap_or_else(|| id("subnet", lookup));
        Found::new(&*subnet)
            .with("arn", Some(self.arn("ec2", "subnet", &subnet)))
            .with("availability_zone", Some(self.spec.zone.as_str()))
            .with("availability_zone_id", Some(self.spec.zone.as_str()))
            .with("available_ip_address_count", Some(251))
            .with("cidr_block", Some(asked(lookup, "cidr-block").unwrap_or_else(|| NETWORK.to_owned())))
            .with("default_for_az", Some(asked(lookup, "default-for-az").is_some_and(|is| is == "true")))
            .with("map_public_ip_on_launch", Some(false))
            .with("owner_id", Some(ACCOUNT))
            .with("state", Some("available"))
            .with("tags", Some(tags(lookup)))
            .with("vpc_id", Some(self.vpc(lookup)))
    }

    fn group(&self, lookup: &Lookup) -> Found {
        let group = lookup.id.clone().or_else(|| asked(lookup, "group-id"));
        let group = group.unwrap_or_else(|| id("sg", lookup));
        let name = asked(lookup, "group-name").or_else(|| asked(lookup, "tag:Name"));
        Found::new(&*group)
            .with("arn", Some(self.arn("ec2", "security-group", &group)))
            .with("description", Some("rehearsed"))
            .with("name", Some(name.unwrap_or_else(|| "default".to_owned())))
            .with("owner_id", Some(ACCOUNT))
            .with("tags", Some(tags(lookup)))
            .with("vpc_id", Some(self.vpc(lookup)))
    }

    fn key(&self, asked: &str) -> Found {
        // An id is the last part of its ARN; an alias stands for some key.
        let last = asked.rsplit('/').next().unwrap_or(asked);
        let is_alias = asked.starts_with("alias/") || asked.contains(":alias/");
        let key = if is_alias {
            let digits = hex(&Digest::of(last.as_bytes()), 32);
            let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
            [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
        } else {
            last.to_owned()
        };
        let arn = match asked.starts_with("arn:") && !is_alias {
            true => asked.to_owned(),
            false => self.arn("kms", "key", &key),
        };
        Found::new(&*key)
            .with("arn", Some(arn))
            .with("aws_account_id", Some(ACCOUNT))
            .with("description", Some("rehearsed"))
            .with("enabled", Some(true))
            .with("key_id", Some(key.as_str()))
            .with("key_manager", Some("CUSTOMER"))
            .with("key_state", Some("Enabled"))
            .with("key_usage", Some("ENCRYPT_DECRYPT"))
            .with("multi_region", Some(false))
            .with("origin", Some("AWS_KMS"))
    }
}

fn image(lookup: &Lookup) -> Found {
    let image = lookup.id.clone().or_else(|| asked(lookup, "image-id")).unwrap_or_else(|| id("ami", lookup));
    let name = asked(lookup, "name").or_else(|| asked(lookup, "tag:Name"));
    let number = |owner: &String| owner.chars().all(|c| c.is_ascii_digit());
    let owner = lookup.owners.iter().find(|owner| number(owner)).map_or(ACCOUNT, String::as_str);
    let architecture = asked(lookup, "architecture").unwrap_or_else(|| "x86_64".to_owned());
    let windows = asked(lookup, "platform").is_some_and(|platform| platform == "windows");
    let mode = asked(lookup, "boot-mode").or_else(|| (architecture == "arm64").then(|| "uefi".to_owned()));
    Found::new(image)
        .with("architecture", Some(architecture))
        .with("boot_mode", mode)
        .with("creation_date", Some(CREATED))
        .with("description", Some("rehearsed"))
        .with("ena_support", Some(true))
        .with("name", Some(name.unwrap_or_else(|| "rehearsed".to_owned())))
        .with("owner_id", Some(owner))
        .with("platform_details", Some(if windows { "Windows" } else { "Linux/UNIX" }))
        .with("public", Some(false))
        .with("root_device_name", Some(if windows { "/dev/sda1" } else { "/dev/xvda" }))
        .with("state", Some("available"))
        .with("tags", Some(json!(tags(lookup))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LookupFilter;

    #[test]
    fn the_same_question_has_the_same_answer() {
        let filter =
            |value: &str| LookupFilter { name: "tag:Name".to_owned(), values: vec![value.to_owned()] };
        let mut lookup = Lookup::of(LookupKind::Ami);
        lookup.filters.push(filter("app-*"));
        let first = image(&lookup);
        assert_eq!(first, image(&lookup));
        assert!(first.id.starts_with("ami-0") && first.id.len() == 21, "{}", first.id);
        assert_eq!(first.text("name"), Some("app-"));
        lookup.filters[0] = filter("db-*");
        assert_ne!(first.id, image(&lookup).id);
        let known: Vec<&str> = first.attributes.keys().map(String::as_str).collect();
        assert!(known.iter().all(|name| LookupKind::Ami.attributes().contains(name)), "{known:?}");
    }

    #[test]
    fn a_pattern_is_what_it_can_stand_for() {
        assert_eq!(plain("app-*-?"), "app--x");
        assert_eq!(plain("a\\*b"), "a*b");
    }
}
