//! The edits of a guest's preparation, a line each, those with one purpose together.

use std::collections::BTreeMap;

use super::paint::Paint;
use super::text::{Look, hanging, harmless};
use crate::guest::report::{FileChange, FileDiff};

/// The edits (path and purpose, in order), each with the symbol of what its diff does, indented
/// by so many spaces.
#[must_use]
pub fn render_edits(edits: &[(&str, &str)], diffs: &[FileDiff], look: Look, indent: usize) -> String {
    let paint = Paint { color: look.color };
    // A file that is edited twice has its diffs in the order of its edits.
    let mut changes: BTreeMap<&str, Vec<&FileChange>> = BTreeMap::new();
    for diff in diffs.iter().rev() {
        changes.entry(&diff.path).or_default().push(&diff.change);
    }
    let spaces = " ".repeat(indent);
    let line = |text: &str| harmless(text).replace('\n', " ");
    let mut text = String::new();
    for group in edits.chunk_by(|(_, one), (_, other)| one == other) {
        let alone = group.len() == 1;
        if let (false, Some((_, purpose))) = (alone, group.first()) {
            text.push_str(&hanging(&format!("{spaces}{}:\n", line(purpose)), look.width, indent + 2));
        }
        for (path, purpose) in group {
            let symbol = symbol(changes.get_mut(path).and_then(Vec::pop), paint);
            let path = line(path);
            text.push_str(&match alone {
                true => {
                    let edit = format!("{spaces}{symbol} {path}: {}\n", line(purpose));
                    hanging(&edit, look.width, indent + 4)
                }
                false => format!("{spaces}  {symbol} {path}\n"),
            });
        }
    }
    text
}

fn symbol(change: Option<&FileChange>, paint: Paint) -> String {
    match change {
        Some(
            FileChange::Text { old: None, new: Some(_) }
            | FileChange::Binary { old_length: None, new_length: Some(_), .. },
        ) => paint.green("+"),
        Some(
            FileChange::Text { old: Some(_), new: None }
            | FileChange::Binary { old_length: Some(_), new_length: None, .. },
        ) => paint.red("-"),
        _ => paint.yellow("~"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_with_one_purpose_stand_together_under_it() {
        let text = |old: Option<&str>, new: Option<&str>| FileChange::Text {
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let diff = |path: &str, change| FileDiff { path: path.to_owned(), change };
        let diffs = [
            diff("/a", FileChange::Renamed { to: "/.a".to_owned() }),
            diff("/a", text(None, Some("x"))),
            diff("/b", text(Some("x"), None)),
            diff("/c", text(Some("x"), Some("y"))),
        ];
        let edits = [("/a", "aside"), ("/a", "keys"), ("/b", "keys"), ("/c", "name\n"), ("/d", "none")];
        let shown = render_edits(&edits, &diffs, Look::PLAIN, 2);
        assert_eq!(shown, "  ~ /a: aside\n  keys:\n    + /a\n    - /b\n  ~ /c: name \n  ~ /d: none\n");
    }
}
