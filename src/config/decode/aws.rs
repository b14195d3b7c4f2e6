//! The `provider "aws"` block.

use std::path::PathBuf;

use super::attributes::{Decoder, Sink};
use crate::config::ast::Block;
use crate::config::expression::{Evaluator, Scope};
use crate::config::schema;
use crate::diagnostic::Diagnostics;
use crate::model::{AssumeRoleSpec, AwsProviderSpec};

/// Most characters of a session's name, and the least (STS, AssumeRole).
const SESSION_NAME: std::ops::RangeInclusive<usize> = 2..=64;

pub(super) fn provider(evaluator: &Evaluator<'_>, block: &Block, sink: &mut Sink) -> AwsProviderSpec {
    let mut found = Diagnostics::new();
    schema::check_body(block, &schema::PROVIDER_AWS, evaluator.sources, &mut found);
    sink.diagnostics.extend(found);
    let scope = Scope::EMPTY;
    let mut spec = AwsProviderSpec::default();
    let mut decoder = Decoder { evaluator, scope: &scope, block, prefix: String::new(), sink };
    if let Some((region, place)) = decoder.string("region") {
        if is_region(&region) {
            spec.region = Some(region);
        } else {
            decoder.error(
                place,
                "config::invalid_region",
                "a region is not written correctly",
                "A region is its name with its number, without the letter of a zone.",
                "write it as in \"eu-central-1\"",
            );
        }
    }
    spec.profile = decoder.string("profile").map(|(profile, _)| profile);
    if let Some((url, place)) = decoder.string("endpoint_url") {
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if host.is_some_and(|host| !host.is_empty() && !url.contains(char::is_whitespace)) {
            spec.endpoint_url = Some(url);
        } else {
            decoder.error(
                place,
                "config::invalid_url",
                "a URL is not written correctly",
                "An endpoint is `https://`, a host, and a port when it is not the usual one.",
                "write it as in \"https://ec2.eu-central-1.amazonaws.com\", or leave it out for EC2's own",
            );
        }
    }
    spec.default_tags = decoder.texts("default_tags");
    if let Some(attempts) = decoder.whole("max_attempts", 1, 20, "") {
        spec.max_attempts = attempts;
    }
    if let Some(seconds) = decoder.whole("boot_timeout", 1, 86_400, " seconds") {
        spec.boot_timeout = seconds;
    }
    for (name, directory) in [
        ("device_directory", &mut spec.device_directory),
        ("sysfs_directory", &mut spec.sysfs_directory),
        ("udev_directory", &mut spec.udev_directory),
    ] {
        if let Some((path, _)) = decoder.string(name) {
            *directory = evaluator.directory.join(PathBuf::from(path));
        }
    }
    if let Some(inner) = block.blocks("assume_role").next() {
        spec.assume_role = assume_role(evaluator, inner, sink);
    }
    spec
}

fn assume_role(evaluator: &Evaluator<'_>, block: &Block, sink: &mut Sink) -> Option<AssumeRoleSpec> {
    let scope = Scope::EMPTY;
    let mut decoder = Decoder { evaluator, scope: &scope, block, prefix: "assume_role.".to_owned(), sink };
    let (role_arn, place) = decoder.string("role_arn")?;
    let is_arn = role_arn.starts_with("arn:") && role_arn.contains(":role/");
    if !is_arn {
        decoder.error(
            place,
            "config::invalid_arn",
            "a role's ARN is not written correctly",
            "A role is named by its ARN, with the account it is in.",
            "write it as in \"arn:aws:iam::123456789012:role/restore\"",
        );
    }
    let external_id = decoder.string("external_id").map(|(id, _)| id);
    let session_name = decoder.string("session_name").and_then(|(name, place)| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_".contains(c);
        if SESSION_NAME.contains(&name.len()) && name.chars().all(allowed) {
            return Some(name);
        }
        decoder.error(
            place,
            "config::invalid_name",
            "a session's name has characters that names do not have",
            "A session's name has 2 to 64 letters, digits and `+=,.@-_`.",
            "give it such a name, or leave it out",
        );
        None
    });
    is_arn.then_some(AssumeRoleSpec { role_arn, external_id, session_name })
}

/// `eu-central-1`, `us-gov-west-1`: words and a number, joined by `-`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    (2..=4).contains(&words.len())
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase()))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_names_and_numbers() {
        for region in ["eu-central-1", "us-gov-west-1", "us-iso-east-1", "ap-southeast-7"] {
            assert!(is_region(region), "{region}");
        }
        for zone in ["eu-central-1a", "eu-central", "EU-central-1", "", "-", "eu--1", "a-b-123"] {
            assert!(!is_region(zone), "{zone}");
        }
    }
}
