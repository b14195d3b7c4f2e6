//! The `data` block: arguments under Terraform's names, as conditions under EC2's.

use super::attributes::{Decoder, Sink, is_id};
use crate::config::ast::Block;
use crate::config::expression::{Evaluator, Scope};
use crate::config::source::Place;
use crate::diagnostic::Diagnostic;
use crate::model::{Lookup, LookupFilter, LookupKind};

/// Most values of a filter, and most filters of a call (EC2 API Reference, "List and filter your
/// resources").
const MOST_VALUES: usize = 200;
const MOST_FILTERS: usize = 50;

/// Decodes one data source. What is not known yet leaves its path in the sink, and the lookup
/// incomplete.
pub(in crate::config) fn data(
    evaluator: &Evaluator<'_>,
    block: &Block,
    kind: LookupKind,
    scope: &Scope<'_>,
    sink: &mut Sink,
) -> Lookup {
    let mut lookup = Lookup::of(kind);
    let mut decoder = Decoder { evaluator, scope, block, prefix: String::new(), sink };
    let id = if kind == LookupKind::KmsKey { "key_id" } else { "id" };
    lookup.id = decoder.string(id).map(|(text, place)| {
        decoder.check_id(kind, &text, place);
        text
    });
    for (argument, filter) in [
        ("vpc_id", "vpc-id"),
        ("availability_zone", "availability-zone"),
        ("cidr_block", "cidr-block"),
        ("name", "group-name"),
    ] {
        if let Some((text, place)) = decoder.string(argument) {
            if argument == "cidr_block" {
                decoder.check_network(&text, place);
            }
            lookup.filters.push(exactly(filter, &text));
        }
    }
    if let Some(wanted) = decoder.bool("default_for_az") {
        lookup.filters.push(exactly("default-for-az", if wanted { "true" } else { "false" }));
    }
    lookup.owners = decoder.strings("owners").map(|(texts, _)| texts).unwrap_or_default();
    lookup.most_recent = decoder.bool("most_recent").unwrap_or(false);
    lookup.name_regex = decoder.string("name_regex").map(|(pattern, place)| {
        decoder.check_pattern("name_regex", &pattern, place);
        pattern
    });
    for (key, value) in decoder.texts("tags") {
        lookup.filters.push(exactly(&format!("tag:{key}"), &value));
    }
    for inner in block.blocks("filter") {
        let mut decoder = Decoder { evaluator, scope, block: inner, prefix: "filter.".to_owned(), sink };
        let name = decoder.string("name").map(|(name, _)| name);
        let before = decoder.sink.diagnostics.len();
        let values = decoder.strings("values").map(|(texts, _)| texts).unwrap_or_default();
        let is_read = decoder.sink.unknown.is_empty() && decoder.sink.diagnostics.len() == before;
        if values.is_empty() && is_read && inner.attribute("values").is_some() {
            decoder.nothing_asked(
                inner.place,
                "A filter has at least one value.",
                "name one: values = [\"…\"]",
            );
        }
        if let Some(name) = name {
            lookup.filters.push(LookupFilter { name, values });
        }
    }
    let mut decoder = Decoder { evaluator, scope, block, prefix: String::new(), sink };
    decoder.check_lookup(&lookup);
    lookup
}

/// A condition whose value stands for itself: `*`, `?` and `\` have a meaning there.
fn exactly(name: &str, value: &str) -> LookupFilter {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    LookupFilter { name: name.to_owned(), values: vec![text] }
}

impl Decoder<'_, '_> {
    fn nothing_asked(&mut self, place: Place, detail: &str, help: &str) {
        self.error(place, "config::empty_lookup", "a data source asks for nothing", detail, help);
    }

    fn check_id(&mut self, kind: LookupKind, id: &str, place: Place) {
        let (prefix, what) = match kind {
            LookupKind::Subnet => ("subnet-", "A subnet's id is `subnet-` and hexadecimal digits."),
            LookupKind::SecurityGroup => ("sg-", "A security group's id is `sg-` and hexadecimal digits."),
            LookupKind::NetworkInterface => {
                ("eni-", "A network interface's id is `eni-` and hexadecimal digits.")
            }
            LookupKind::Ami => ("ami-", "An AMI's id is `ami-` and hexadecimal digits."),
            LookupKind::KmsKey => return,
        };
        if !is_id(prefix, id) {
            self.error(
                place,
                "config::invalid_id",
                "an id is not written correctly",
                what,
                "copy it from EC2, or ask by name: filter { name = \"tag:Name\" values = [\"…\"] }",
            );
        }
    }

    fn check_network(&mut self, text: &str, place: Place) {
        if text.parse::<ipnet::Ipv4Net>().is_err() {
            self.error(
                place,
                "config::invalid_network",
                "a network is not written correctly",
                "`cidr_block` is an IPv4 network: its first address, `/` and how many bits it has.",
                "write it as in \"10.20.1.0/24\"",
            );
        }
    }

    /// What only the whole shows.
    fn check_lookup(&mut self, lookup: &Lookup) {
        if !self.sink.sensitive.is_empty() {
            let named: Vec<String> = self.sink.sensitive.iter().map(|path| format!("`{path}`")).collect();
            self.error(
                self.block.place,
                "config::sensitive_lookup",
                "a data source asks by a sensitive value",
                &format!("What is looked up is shown in the plan and saved with it: {}.", named.join(", ")),
                "ask by something that is not secret, or wrap it: nonsensitive(…)",
            );
        }
        let is_whole = !self.sink.failed && self.sink.unknown.is_empty() && self.sink.diagnostics.is_empty();
        if !is_whole {
            return;
        }
        if lookup.filters.len() > MOST_FILTERS
            || lookup.filters.iter().any(|filter| filter.values.len() > MOST_VALUES)
        {
            self.error(
                self.block.place,
                "config::limit",
                "a limit of EC2's is passed",
                &format!("EC2 takes {MOST_FILTERS} filters with {MOST_VALUES} values each."),
                "ask by fewer",
            );
        }
        if lookup.kind != LookupKind::Ami || lookup.id.is_some() {
            return;
        }
        if lookup.owners.is_empty() && lookup.filters.is_empty() && lookup.name_regex.is_none() {
            self.nothing_asked(
                self.block.place,
                "There are a hundred thousand public images, and this block names no `owners`, no `filter` and no `name_regex`.",
                "say whose: owners = [\"self\"], or [\"amazon\"]",
            );
        } else if lookup.owners.is_empty() {
            let warning = Diagnostic::warning("config::any_owner", "an image may be anybody's")
                .at(self.evaluator.sources.span(self.block.place))
                .detail("Without `owners` whoever publishes an image of that name decides what is taken.")
                .help("say whose: owners = [\"self\"], or [\"amazon\"], or an account's number");
            self.sink.diagnostics.push(warning);
        }
    }
}
