//! The lines of a resource's block: each attribute that is made, changed or removed.

use serde_json::Value;

use crate::plan::{AttributeChange, Shown};
use crate::ui::human::paint::Paint;
use crate::ui::human::value::{hcl, key};

/// Lists up to so many characters stay on one line.
const INLINE: usize = 60;

/// One line's symbol.
fn glyph(paint: Paint, change: &AttributeChange) -> String {
    match (&change.before, &change.after) {
        (None, _) => paint.green("+"),
        (Some(_), None) => paint.red("-"),
        (Some(before), Some(after)) if before == after => " ".to_owned(),
        _ => paint.yellow("~"),
    }
}

/// A list of plain values on one line, when it is short; else [`hcl`].
fn value(value: &Value, indent: usize) -> String {
    if let Value::Array(elements) = value
        && elements.iter().all(|element| !element.is_array() && !element.is_object())
    {
        let line: Vec<_> = elements.iter().map(|element| hcl(element, 0)).collect();
        let line = format!("[{}]", line.join(", "));
        if line.chars().count() <= INLINE {
            return line;
        }
    }
    hcl(value, indent)
}

fn shown(what: &Shown, indent: usize) -> String {
    match what {
        Shown::Value(known) => value(known, indent),
        Shown::Unknown => "(known after apply)".to_owned(),
        Shown::Sensitive => "(sensitive value)".to_owned(),
    }
}

/// `before -> after`, or the one of the two that there is.
pub(super) fn transition(before: Option<&Shown>, after: Option<&Shown>, indent: usize) -> String {
    match (before, after) {
        (None, None) => "null".to_owned(),
        (None, Some(after)) => shown(after, indent),
        (Some(before), None) => format!("{} -> null", shown(before, indent)),
        (Some(before), Some(after)) => format!("{} -> {}", shown(before, indent), shown(after, indent)),
    }
}

/// The lines of all attributes. Attributes below the same name (`tags.Name`, `tags.Role`) stand
/// together in braces.
pub(super) fn lines(paint: Paint, changes: &[AttributeChange]) -> String {
    let mut text = String::new();
    let parted = |change: &AttributeChange| match change.path.split_once('.') {
        Some((outer, inner)) => (outer.to_owned(), Some(inner.to_owned())),
        None => (change.path.clone(), None),
    };
    let width = changes.iter().map(|change| key(&parted(change).0).chars().count()).max().unwrap_or(0);
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let (outer, inner) = parted(first);
        let group = match inner {
            None => 1,
            Some(_) => rest
                .iter()
                .take_while(|next| matches!(parted(next), (name, Some(_)) if name == outer))
                .count(),
        };
        let (members, after) = rest.split_at(group);
        rest = after;
        let name = key(&outer);
        if parted(first).1.is_none() {
            line(paint, &mut text, 6, &format!("{name:<width$}"), first);
            continue;
        }
        let all_new = members.iter().all(|member| member.before.is_none());
        let all_gone = members.iter().all(|member| member.after.is_none());
        let symbol = match (all_new, all_gone) {
            (true, _) => paint.green("+"),
            (_, true) => paint.red("-"),
            _ => paint.yellow("~"),
        };
        text.push_str(&format!("      {symbol} {name:<width$} = {{\n"));
        let inner_key = |member: &AttributeChange| key(&parted(member).1.unwrap_or_default());
        let inner_width = members.iter().map(|member| inner_key(member).chars().count()).max().unwrap_or(0);
        for member in members {
            line(paint, &mut text, 10, &format!("{:<inner_width$}", inner_key(member)), member);
        }
        text.push_str("        }\n");
    }
    text
}

fn line(paint: Paint, text: &mut String, indent: usize, name: &str, change: &AttributeChange) {
    let spaces = " ".repeat(indent);
    let values = transition(change.before.as_ref(), change.after.as_ref(), indent + 2);
    let forces = if change.forces_replacement { paint.red(" # forces replacement") } else { String::new() };
    text.push_str(&format!("{spaces}{} {name} = {values}{forces}\n", glyph(paint, change)));
}
