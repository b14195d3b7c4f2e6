//! The `replant`, `provider` and `access_node` blocks.

use super::attributes::{Decoder, Sink};
use crate::config::ast::Block;
use crate::config::expression::{Evaluator, Scope};
use crate::config::schema;
use crate::config::suggest;
use crate::diagnostic::Diagnostics;
use crate::model::{AccessNodeSpec, LocalProviderSpec, ProviderSpec};

/// The providers that a configuration may name.
const PROVIDERS: [&str; 2] = ["aws", "local"];

/// The provider; `local` with its defaults when none is named.
pub(in crate::config) fn provider(
    evaluator: &Evaluator<'_>,
    block: Option<&Block>,
    sink: &mut Sink,
) -> ProviderSpec {
    let mut spec = LocalProviderSpec::default();
    spec.directory = evaluator.directory.join(&spec.directory);
    let Some(block) = block else { return ProviderSpec::Local(spec) };
    let label = block.label();
    if label == "aws" {
        return ProviderSpec::Aws(super::aws::provider(evaluator, block, sink));
    }
    if !PROVIDERS.contains(&label) {
        if let Some(place) = block.labels.first().map(|label| label.place) {
            let mut error = evaluator
                .error(place, "config::unknown_provider", "there is no such provider")
                .detail(format!("There is no provider `{label}`."));
            error.help.extend(suggest::help(label, PROVIDERS));
            sink.diagnostics.push(error);
        }
        return ProviderSpec::Local(spec);
    }
    let mut found = Diagnostics::new();
    schema::check_body(block, &schema::PROVIDER_LOCAL, evaluator.sources, &mut found);
    sink.diagnostics.extend(found);
    let scope = Scope::EMPTY;
    let mut decoder = Decoder { evaluator, scope: &scope, block, prefix: String::new(), sink };
    if let Some((directory, _)) = decoder.string("directory") {
        spec.directory = evaluator.directory.join(directory);
    }
    if let Some((zone, place)) = decoder.string("zone") {
        if zone.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            spec.zone = zone;
        } else {
            decoder.error(
                place,
                "config::invalid_zone",
                "a zone is not written correctly",
                "A zone's name has letters, digits and `-`.",
                "write it as in \"local-1a\"",
            );
        }
    }
    if let Some(memory) = decoder.whole("memory", 128, 1 << 20, " MiB") {
        spec.memory = memory;
    }
    let accelerators = ["auto", "kvm", "tcg"].map(|word| (word, word));
    if let Some(accelerator) = decoder.word("accelerator", &accelerators) {
        accelerator.clone_into(&mut spec.accelerator);
    }
    if let Some(seconds) = decoder.whole("boot_timeout", 1, 86_400, " seconds") {
        spec.boot_timeout = seconds;
    }
    ProviderSpec::Local(spec)
}

/// The access node; the one that Replant runs on when none is named.
pub(in crate::config) fn access_node(
    evaluator: &Evaluator<'_>,
    block: Option<&Block>,
    sink: &mut Sink,
) -> AccessNodeSpec {
    let mut spec =
        AccessNodeSpec { name: "local".to_owned(), instance_id: "self".to_owned(), max_attachments: None };
    let Some(block) = block else { return spec };
    block.label().clone_into(&mut spec.name);
    let scope = Scope::EMPTY;
    let mut decoder = Decoder { evaluator, scope: &scope, block, prefix: String::new(), sink };
    if let Some((id, place)) = decoder.string("instance_id") {
        let digits = id.strip_prefix("i-");
        if id != "self"
            && !digits
                .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit()))
        {
            decoder.error(
                place,
                "config::invalid_id",
                "an id is not written correctly",
                "An instance's id is `i-` and hexadecimal digits.",
                "copy it from EC2, or write \"self\" for the machine that apply runs on",
            );
        }
        spec.instance_id = id;
    }
    spec.max_attachments = decoder.whole("max_attachments", 1, 73, "");
    spec
}

/// Checks `required_version` against this build; gives it as written.
pub(in crate::config) fn required_version(
    evaluator: &Evaluator<'_>,
    block: Option<&Block>,
    sink: &mut Sink,
) -> Option<String> {
    let block = block?;
    let scope = Scope::EMPTY;
    let mut decoder = Decoder { evaluator, scope: &scope, block, prefix: String::new(), sink };
    let (text, place) = decoder.string("required_version")?;
    let this = env!("CARGO_PKG_VERSION");
    match parse_version(this).and_then(|(version, _)| satisfies(version, &text)) {
        Some(true) => {}
        Some(false) => decoder.error(
            place,
            "config::required_version",
            "this version of Replant is not the one required",
            &format!("The configuration requires {text}, and this is {this}."),
            "install a version that fits, or change the constraint",
        ),
        None => decoder.error(
            place,
            "config::invalid_version",
            "a version constraint is not understood",
            "A constraint is an operator (=, !=, >, >=, <, <=, ~>) and a version; several are separated by commas.",
            "write it as in \">= 0.1, < 2.0\" or \"~> 0.1\"",
        ),
    }
    Some(text)
}

/// A version of up to three numbers, and how many were written.
fn parse_version(text: &str) -> Option<([u64; 3], usize)> {
    let mut numbers = [0; 3];
    let mut count = 0;
    for part in text.split('.') {
        if !part.chars().all(|c| c.is_ascii_digit()) {
            return None;
        }
        *numbers.get_mut(count)? = part.parse().ok()?;
        count += 1;
    }
    Some((numbers, count))
}

/// Whether a version fits every constraint; `None` when they cannot be read.
fn satisfies(version: [u64; 3], constraints: &str) -> Option<bool> {
    let mut fits = true;
    for constraint in constraints.split(',') {
        let constraint = constraint.trim();
        let digits = constraint.find(|c: char| c.is_ascii_digit())?;
        let (wanted, count) = parse_version(constraint[digits..].trim())?;
        fits &= match constraint[..digits].trim() {
            "" | "=" => version == wanted,
            "!=" => version != wanted,
            ">" => version > wanted,
            ">=" => version >= wanted,
            "<" => version < wanted,
            "<=" => version <= wanted,
            // The last number written may grow, those before it may not.
            "~>" => version >= wanted && version[..count.max(2) - 1] == wanted[..count.max(2) - 1],
            _ => return None,
        };
    }
    Some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_terraforms() {
        for (constraint, fits) in [
            ("0.1.0", Some(true)),
            (">= 0.1", Some(true)),
            ("~> 0.1", Some(true)),
            ("~> 0.0.9", Some(false)),
            ("~> 0.1.0, != 0.1.0", Some(false)),
            ("> 0.1.0", Some(false)),
            (">= 0.1, < 2", Some(true)),
            ("latest", None),
            (">= 1.x", None),
            ("=> 0.1", None),
            ("", None),
        ] {
            assert_eq!(satisfies([0, 1, 0], constraint), fits, "{constraint}");
        }
    }
}
