//! YAML, written as Terraform writes it, read by YAML 1.2's rules: a bare `yes` or `on` is a text
//! (to Terraform, a bool).

use serde_yaml_ng::Value as Yaml;

use super::arguments::{Arguments, FunctionError, Result, bounded};
use super::encoding::json_text;
use crate::config::number::Number;
use crate::config::value::{Kind, Value};

pub(super) fn yamldecode(arguments: &Arguments<'_>) -> Result {
    let text = arguments.string(0)?;
    let yaml: Yaml = serde_yaml_ng::from_str(&text)
        .map_err(|error| FunctionError::at(0, format!("this is not YAML: {error}")))?;
    from_yaml(yaml)
}

fn from_yaml(yaml: Yaml) -> Result {
    Ok(match yaml {
        Yaml::Null => Value::NULL,
        Yaml::Bool(value) => Value::bool(value),
        Yaml::Number(number) => {
            let whole = number.as_i64().map(Value::int).or_else(|| number.as_u64().map(Value::int));
            whole
                .or_else(|| number.as_f64().and_then(Number::from_f64).map(Value::number))
                .ok_or_else(|| FunctionError::at(0, "a number is not finite"))?
        }
        Yaml::String(text) => Value::string(text),
        Yaml::Sequence(elements) => Value::tuple(elements.into_iter().map(from_yaml).collect::<Result<_>>()?),
        Yaml::Mapping(mut mapping) => {
            mapping.apply_merge_key();
            let mut fields = std::collections::BTreeMap::new();
            for (key, value) in mapping {
                let key = match key {
                    Yaml::String(text) => text,
                    Yaml::Number(number) => number.to_string(),
                    Yaml::Bool(value) => value.to_string(),
                    _ => return Err(FunctionError::at(0, "the key of a mapping is not a scalar")),
                };
                fields.insert(key.into(), from_yaml(value)?);
            }
            Value::object(fields)
        }
        Yaml::Tagged(tagged) => {
            return Err(FunctionError::at(0, format!("the tag {} is not supported", tagged.tag)));
        }
    })
}

/// Merging of `<<` keys into a mapping.
trait ApplyMergeKey {
    fn apply_merge_key(&mut self);
}

impl ApplyMergeKey for serde_yaml_ng::Mapping {
    fn apply_merge_key(&mut self) {
        let merged = match self.remove("<<") {
            Some(Yaml::Mapping(one)) => vec![one],
            Some(Yaml::Sequence(many)) => many
                .into_iter()
                .filter_map(|each| if let Yaml::Mapping(one) = each { Some(one) } else { None })
                .collect(),
            _ => Vec::new(),
        };
        for mut mapping in merged {
            mapping.apply_merge_key();
            for (key, value) in mapping {
                self.entry(key).or_insert(value);
            }
        }
    }
}

pub(super) fn yamlencode(arguments: &Arguments<'_>) -> Result {
    let mut text = String::new();
    write(arguments.value(0), 0, &mut text)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    bounded(text)
}

/// Writes a value whose first line goes on where the text stands.
fn write(value: &Value, indent: usize, text: &mut String) -> Result<()> {
    let spaces = " ".repeat(indent);
    if let Some(entries) = value.entries().filter(|entries| !entries.is_empty()) {
        for (position, (key, inner)) in entries.iter().enumerate() {
            if position > 0 {
                text.push_str(&spaces);
            }
            text.push_str(&json_text(&Value::string(key.clone()))?);
            text.push(':');
            if is_filled(inner) {
                text.push('\n');
                // A list stands at its key's own depth.
                let deeper = if inner.elements().is_some() { indent } else { indent + 2 };
                text.push_str(&" ".repeat(deeper));
                write(inner, deeper, text)?;
            } else {
                text.push(' ');
                write(inner, indent + 2, text)?;
                text.push('\n');
            }
        }
        return Ok(());
    }
    if let Some(elements) = value.elements().filter(|elements| !elements.is_empty()) {
        for (position, inner) in elements.iter().enumerate() {
            if position > 0 {
                text.push_str(&spaces);
            }
            text.push_str("- ");
            write(inner, indent + 2, text)?;
            if !is_filled(inner) {
                text.push('\n');
            }
        }
        return Ok(());
    }
    match &value.kind {
        Kind::String(inner) if inner.contains('\n') && is_block(inner) => {
            text.push('|');
            text.push_str(match (inner.ends_with("\n\n"), inner.ends_with('\n')) {
                (true, _) => "+",
                (false, true) => "",
                (false, false) => "-",
            });
            for line in inner.strip_suffix('\n').unwrap_or(inner).split('\n') {
                text.push('\n');
                if !line.is_empty() {
                    text.push_str(&spaces);
                    text.push_str(line);
                }
            }
        }
        _ => text.push_str(&json_text(value)?),
    }
    Ok(())
}

/// Whether a text can stand as a `|` block: its first line says how deep the block is.
fn is_block(text: &str) -> bool {
    !text.starts_with([' ', '\n']) && text.chars().all(|letter| letter == '\n' || !letter.is_control())
}

fn is_filled(value: &Value) -> bool {
    value.elements().is_some_and(|elements| !elements.is_empty())
        || value.entries().is_some_and(|entries| !entries.is_empty())
}
