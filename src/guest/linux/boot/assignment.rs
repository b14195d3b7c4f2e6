//! Shell assignments in configuration files that are sourced by scripts: `NAME="value"`.

use std::ops::Range;

/// One assignment's value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Assignment {
    /// Where the value stands in the text, quotes excluded.
    value: Range<usize>,
    /// Whether it stands in quotes.
    quoted: bool,
    /// `NAME+=`.
    adds: bool,
}

/// All assignments to a name that stand at the beginning of a line. A value may go on over lines
/// inside its quotes.
fn all(text: &str, name: &str) -> Vec<Assignment> {
    let mut found = Vec::new();
    let mut position = 0;
    while position < text.len() {
        let end = text[position..].find('\n').map_or(text.len(), |end| position + end + 1);
        let next = match assignment(&text[position..], end - position, name) {
            Some(assignment) => {
                let value = position + assignment.value.start..position + assignment.value.end;
                let after = value.end;
                found.push(Assignment { value, ..assignment });
                // The rest of the line that the value ends on.
                text[after..].find('\n').map_or(text.len(), |end| after + end + 1)
            }
            None => end,
        };
        position = next.max(end);
    }
    found
}

/// The assignment that a text starts with; its first line ends at `line_end`.
fn assignment(text: &str, line_end: usize, name: &str) -> Option<Assignment> {
    let line = text.get(..line_end)?;
    let mut body = line.trim_start();
    for prefix in ["set ", "export "] {
        body = body.strip_prefix(prefix).map_or(body, str::trim_start);
    }
    let rest = body.strip_prefix(name)?;
    let adds = rest.starts_with('+');
    let value = rest.strip_prefix('+').unwrap_or(rest).strip_prefix('=')?;
    let start = line.len() - value.len();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let mut escaped = false;
            let end = text[start + 1..].find(|character: char| {
                let ends = character == quote && !escaped;
                escaped = character == '\\' && quote == '"' && !escaped;
                ends
            })?;
            Some(Assignment { value: start + 1..start + 1 + end, quoted: true, adds })
        }
        _ => {
            let end = value.find(char::is_whitespace).unwrap_or(value.len());
            Some(Assignment { value: start..start + end, quoted: false, adds })
        }
    }
}

/// What a name holds after a text was sourced, when it held `before`; references to the name
/// itself are followed, no others.
#[must_use]
pub fn effective(text: &str, name: &str, before: &str) -> String {
    let mut held = before.to_owned();
    for assignment in all(text, name) {
        let value = &text[assignment.value];
        let refers = [format!("${{{name}}}"), format!("${name}")];
        held = match refers.iter().find(|refers| value.contains(refers.as_str())) {
            Some(refers) => value.replace(refers.as_str(), &held),
            None if assignment.adds => format!("{held}{value}"),
            None => value.to_owned(),
        };
    }
    held
}

/// Whether a text assigns to a name at all.
#[must_use]
pub fn assigns(text: &str, name: &str) -> bool {
    !all(text, name).is_empty()
}

/// Edits the values of all assignments to a name.
#[must_use]
pub fn edit(text: &str, name: &str, change: &dyn Fn(&str) -> String) -> String {
    edit_some(text, name, change, |_, _| true)
}

/// Edits the value of the last assignment to a name, the one that counts.
#[must_use]
pub fn edit_last(text: &str, name: &str, change: &dyn Fn(&str) -> String) -> String {
    edit_some(text, name, change, |index, count| index + 1 == count)
}

fn edit_some(
    text: &str,
    name: &str,
    change: &dyn Fn(&str) -> String,
    chosen: impl Fn(usize, usize) -> bool,
) -> String {
    let mut edited = String::with_capacity(text.len());
    let mut position = 0;
    let found = all(text, name);
    let count = found.len();
    for (index, assignment) in found.into_iter().enumerate() {
        edited.push_str(&text[position..assignment.value.start]);
        position = assignment.value.end;
        let value = &text[assignment.value];
        if !chosen(index, count) {
            edited.push_str(value);
            continue;
        }
        let changed = change(value);
        let quote = if assignment.quoted || !changed.contains(char::is_whitespace) { "" } else { "\"" };
        edited.push_str(&format!("{quote}{changed}{quote}"));
    }
    edited + &text[position..]
}

/// Adds words to what a name holds: to its last assignment, or on a line of its own.
#[must_use]
pub fn add(text: &str, name: &str, words: &[String]) -> String {
    if words.is_empty() {
        return text.to_owned();
    }
    if assigns(text, name) {
        return edit_last(text, name, &|value| super::arguments::append(value, words));
    }
    let mut edited = text.to_owned();
    if !edited.is_empty() && !edited.ends_with('\n') {
        edited.push('\n');
    }
    // What was not understood above still counts.
    let before = if mentions(text, name) { format!("${name} ") } else { String::new() };
    edited + &format!("{name}=\"{before}{}\"\n", words.join(" "))
}

/// Whether a name stands in a text as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let of_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    text.match_indices(name).any(|(position, _)| {
        !text[..position].ends_with(of_word) && !text[position + name.len()..].starts_with(of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_edited() {
        let text = "A=1\n  GRUB_CMDLINE_LINUX=\"a b\" # c\nGRUB_CMDLINE_LINUX_DEFAULT='q'\n";
        assert_eq!(effective(text, "GRUB_CMDLINE_LINUX", ""), "a b");
        assert_eq!(effective(text, "GRUB_CMDLINE_LINUX_DEFAULT", ""), "q");
        assert_eq!(effective(text, "GRUB_CMDLINE", "x"), "x");
        let more = |value: &str| format!("{value} c");
        assert_eq!(edit(text, "A", &more), text.replace("A=1", "A=\"1 c\""));
        assert_eq!(edit(text, "GRUB_CMDLINE_LINUX", &more), text.replace("a b", "a b c"));
        assert_eq!(edit(text, "B", &more), text);
    }

    #[test]
    fn later_assignments_count() {
        let text = "X=\"a\"\nX=\"$X b\"\nX+=\" c\"\n";
        assert_eq!(effective(text, "X", "z"), "a b c");
        assert_eq!(effective("X=\"${X} more\"\n", "X", "z"), "z more");
        let words = ["d".to_owned()];
        assert_eq!(add(text, "X", &words), "X=\"a\"\nX=\"$X b\"\nX+=\" c d\"\n");
        assert_eq!(add("#X=\ny=1", "Z", &words), "#X=\ny=1\nZ=\"d\"\n");
        assert_eq!(add("X_Y=1\n", "X", &words), "X_Y=1\nX=\"d\"\n");
        assert_eq!(add("[ -z \"$X\" ] && X=1\n", "X", &words), "[ -z \"$X\" ] && X=1\nX=\"$X d\"\n");
    }

    #[test]
    fn values_over_several_lines() {
        let text = "X=\"a \\\n  X=b\"\nY=1\n";
        assert_eq!(effective(text, "X", ""), "a \\\n  X=b");
        assert_eq!(add(text, "X", &["c".to_owned()]), "X=\"a \\\n  X=b c\"\nY=1\n");
        assert_eq!(effective("X=\"never ends\nY=1\n", "X", "z"), "z");
        assert_eq!(effective("X=\"a \\\" b\"\n", "X", ""), "a \\\" b");
        let many = "X=\"\n".repeat(20_000);
        assert!(edit(&many, "X", &str::to_owned) == many);
        assert_eq!(edit("X=é\nX=", "X", &str::to_owned), "X=é\nX=");
    }
}
