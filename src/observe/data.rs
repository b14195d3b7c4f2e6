//! Data sources, read: exactly one thing must be what each asks for.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::model::{Found, InstanceAddress, InstanceSpec, Lookup, LookupKind, Part};
use crate::provider::{Provider, ProviderError, ProviderErrorKind};
use crate::state::{Resource, State};

/// Most things that a diagnostic lists.
const SHOWN: usize = 6;
/// How like a name must be to what was asked for, to be offered instead.
const NEAR: f64 = 0.5;

/// Reads data sources. `wanted`: by address, with the place of their blocks.
///
/// # Errors
/// A diagnostic for each that cannot be read or of which there is not exactly one.
pub async fn read(
    provider: &dyn Provider,
    wanted: &BTreeMap<String, (Lookup, Option<Span>)>,
) -> Result<BTreeMap<Lookup, Found>, Diagnostics> {
    let mut read = BTreeMap::new();
    let mut diagnostics = Diagnostics::new();
    for (address, (lookup, span)) in wanted {
        if read.contains_key(lookup) {
            continue;
        }
        let found = match provider.lookup(lookup).await {
            Ok(found) => found,
            Err(error) => {
                diagnostics.push(failed(&error).at(span.clone()).about(address));
                if error.is_of_the_connection() {
                    // The others would say the same, after as long.
                    break;
                }
                continue;
            }
        };
        match choose(lookup, found) {
            Ok(one) => {
                read.insert(lookup.clone(), one);
            }
            Err(found) if found.is_empty() => {
                let near = near(provider, lookup).await;
                diagnostics.push(none(lookup, &near).at(span.clone()).about(address));
            }
            Err(found) => diagnostics.push(several(lookup, &found).at(span.clone()).about(address)),
        }
    }
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok(read) }
}

/// The one that is meant, else all that could be.
fn choose(lookup: &Lookup, mut found: Vec<Found>) -> Result<Found, Vec<Found>> {
    if lookup.most_recent {
        let newest = found.iter().map(|one| one.text("creation_date")).max().flatten().map(str::to_owned);
        found.retain(|one| one.text("creation_date").map(str::to_owned) == newest);
        found.sort_by(|a, b| b.id.cmp(&a.id));
        found.truncate(1);
    }
    match found.len() {
        1 => found.pop().ok_or_else(Vec::new),
        _ => Err(found),
    }
}

fn failed(error: &ProviderError) -> Diagnostic {
    let diagnostic =
        Diagnostic::error("data::unreadable", "A data source cannot be read").detail(error.said());
    match (error.help, error.kind) {
        (Some(help), _) => diagnostic.help(help),
        (None, ProviderErrorKind::InvalidParameter) => {
            diagnostic.help("mend its arguments: a filter's name is one of EC2's, as in \"tag:Name\"")
        }
        (None, _) => diagnostic.help("plan again"),
    }
}

fn listed(found: &[Found]) -> String {
    let mut lines: Vec<String> = found
        .iter()
        .take(SHOWN)
        .map(|one| {
            let facts = ["vpc_id", "availability_zone", "cidr_block", "creation_date"];
            let facts: Vec<&str> =
                one.name().into_iter().chain(facts.iter().filter_map(|name| one.text(name))).collect();
            match facts.is_empty() {
                true => one.id.clone(),
                false => format!("{} ({})", one.id, facts.join(", ")),
            }
        })
        .collect();
    if found.len() > SHOWN {
        lines.push(format!("and {} more", found.len() - SHOWN));
    }
    lines.join("\n")
}

fn several(lookup: &Lookup, found: &[Found]) -> Diagnostic {
    let help = match lookup.kind {
        LookupKind::Ami => "take the newest: most_recent = true",
        LookupKind::Subnet => "ask for more: vpc_id, availability_zone, cidr_block, or another filter",
        LookupKind::SecurityGroup => {
            "ask for more: vpc_id (a name is unique in its VPC only), or another filter"
        }
        LookupKind::NetworkInterface => "ask for more: another filter, or its id",
        LookupKind::KmsKey => "ask by the key's id, ARN or alias",
    };
    Diagnostic::error("data::several", "A data source finds more than one")
        .detail(format!("{} {} match, and one must:\n{}", found.len(), lookup.kind.in_words(), listed(found)))
        .help(help)
}

fn none(lookup: &Lookup, near: &[Found]) -> Diagnostic {
    let asked = asked(lookup);
    let diagnostic = Diagnostic::error("data::nothing", "A data source finds nothing");
    let of = lookup.kind.in_words();
    match near.is_empty() {
        true => diagnostic
            .detail(format!("No {of} match {asked}, in this account and region."))
            .help("look at the region of the provider, and at the spelling: upper and lower case differ"),
        false => diagnostic
            .detail(format!("No {of} match {asked}. There are:\n{}", listed(near)))
            .help("ask for one of these, or mend the provider's region or profile"),
    }
}

/// What was asked for, in words.
fn asked(lookup: &Lookup) -> String {
    let mut parts: Vec<String> = lookup.id.iter().cloned().collect();
    parts.extend(
        lookup.filters.iter().map(|filter| format!("{} = {}", filter.name, filter.values.join(" or "))),
    );
    if !lookup.owners.is_empty() {
        parts.push(format!("owners = {}", lookup.owners.join(" or ")));
    }
    parts.extend(lookup.name_regex.iter().map(|pattern| format!("name_regex = {pattern}")));
    if parts.is_empty() { "anything".to_owned() } else { parts.join(", ") }
}

/// What there is that is like what was asked for, the nearest first.
async fn near(provider: &dyn Provider, lookup: &Lookup) -> Vec<Found> {
    let public = |owner: &String| matches!(owner.as_str(), "amazon" | "aws-marketplace");
    let mut wider = Lookup::of(lookup.kind);
    if lookup.kind == LookupKind::Ami {
        // All that Amazon publishes is too much to look through.
        if lookup.owners.is_empty() || lookup.owners.iter().any(public) {
            return Vec::new();
        }
        wider.owners.clone_from(&lookup.owners);
    }
    // It only adds to a message.
    let Ok(all) = provider.lookup(&wider).await else { return Vec::new() };
    let mut wanted: Vec<String> = lookup.id.iter().cloned().collect();
    wanted.extend(lookup.filters.iter().flat_map(|filter| filter.values.iter().cloned()));
    let likeness = |one: &Found| {
        let texts =
            [Some(one.id.as_str()), one.name(), one.text("name"), one.text("cidr_block"), one.text("vpc_id")];
        let pairs = texts.iter().flatten().flat_map(|text| wanted.iter().map(move |wanted| (*text, wanted)));
        pairs
            .filter(|(text, wanted)| text.len() <= 256 && wanted.len() <= 256)
            .map(|(text, wanted)| {
                strsim::normalized_damerau_levenshtein(&text.to_lowercase(), &wanted.to_lowercase())
            })
            .fold(0.0, f64::max)
    };
    let mut near: Vec<(f64, Found)> = all.into_iter().map(|one| (likeness(&one), one)).collect();
    near.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.id.cmp(&right.id)));
    let is_few = near.len() <= SHOWN;
    near.into_iter().filter(|(likeness, _)| is_few || *likeness >= NEAR).map(|(_, one)| one).collect()
}

/// Whether the existing network interfaces of a configuration can be taken: there, free, and where
/// its instances will be. What the state's own instances hold they may keep.
///
/// # Errors
/// The provider's.
pub async fn check_interfaces(
    provider: &dyn Provider,
    specs: &BTreeMap<InstanceAddress, InstanceSpec>,
    state: &State,
    zone: &str,
) -> Result<Vec<Diagnostic>, ProviderError> {
    let mut wrong = Vec::new();
    let mut taken: BTreeMap<&str, &InstanceAddress> = BTreeMap::new();
    for (address, spec) in specs {
        for id in spec.options.network_interfaces.iter().filter_map(|one| one.network_interface_id.as_deref())
        {
            let at = |diagnostic: Diagnostic| diagnostic.at(spec.span("network_interface")).about(address);
            if let Some(first) = taken.insert(id, address) {
                wrong.push(at(Diagnostic::error(
                    "data::interface_twice",
                    "Two instances take the same network interface",
                )
                .detail(format!("{id} is given to {first} and to {address}."))
                .help("give each its own")));
                continue;
            }
            let mut lookup = Lookup::of(LookupKind::NetworkInterface);
            lookup.id = Some(id.to_owned());
            let Some(found) = provider.lookup(&lookup).await?.pop() else {
                wrong.push(at(none(&lookup, &near(provider, &Lookup { id: None, ..lookup.clone() }).await)));
                continue;
            };
            let own = state.resources.get(&address.part(Part::Instance)).map(Resource::id);
            let holder = found.text("instance_id");
            if found.text("status") == Some("in-use") && (holder.is_none() || holder != own) {
                let by = holder.map(|holder| format!(" by {holder}")).unwrap_or_default();
                wrong.push(at(Diagnostic::error("data::interface_in_use", "A network interface is in use")
                    .detail(format!("{id} is attached{by}; an interface belongs to one instance at a time."))
                    .help("detach it first, or name another")));
            }
            let of = found.text("availability_zone").filter(|of| *of != zone);
            if let Some(of) = of {
                wrong.push(at(Diagnostic::error(
                    "data::interface_zone",
                    "A network interface is in another zone",
                )
                .detail(format!(
                    "{id} is in {of}; the access node and so the volumes and the instance are in {zone}."
                ))
                .help(format!("name an interface of {zone}, or use an access node in {of}"))));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, date: &str) -> Found {
        Found::new(id).with("creation_date", Some(date)).with("name", Some(format!("app-{date}")))
    }

    #[test]
    fn the_newest_is_one() {
        let all = || vec![image("ami-1", "2025-01"), image("ami-2", "2026-01"), image("ami-3", "2026-01")];
        let mut lookup = Lookup::of(LookupKind::Ami);
        assert_eq!(choose(&lookup, all()).unwrap_err().len(), 3);
        lookup.most_recent = true;
        assert_eq!(choose(&lookup, all()).unwrap().id, "ami-3");
        assert!(choose(&lookup, Vec::new()).unwrap_err().is_empty());
    }

    #[test]
    fn many_are_cut() {
        let many: Vec<Found> = (0..9).map(|n| image(&format!("ami-{n}"), "2026")).collect();
        let text = several(&Lookup::of(LookupKind::Ami), &many).detail;
        assert!(text.ends_with("and 3 more") && text.contains("ami-0 (app-2026, 2026)"), "{text}");
    }
}
