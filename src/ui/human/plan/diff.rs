//! What preparation does to a guest's files, as unified diffs.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use crate::guest::report::{FileChange, FileDiff};
use crate::model::Bytes;
use crate::ui::human::paint::Paint;
use crate::ui::human::text::harmless;

/// How long one file may be compared for the smallest diff; a larger one comes after that.
const PATIENCE: Duration = Duration::from_millis(500);
/// The most lines that one file's diff takes; the JSON form has all of it.
const LINES: usize = 400;

/// One file's change, each line indented by `indent` spaces, with `context` lines around what
/// changes.
#[must_use]
pub fn render_diff(diff: &FileDiff, context: usize, paint: Paint, indent: usize) -> String {
    let path = harmless(&diff.path).replace('\n', " ");
    let lines = match &diff.change {
        FileChange::Text { old, new } => unified(&path, old.as_deref(), new.as_deref(), context, paint),
        FileChange::Binary { old_length, new_length, lines } => {
            let length =
                |length: &Option<u64>| length.map_or("none".to_owned(), |bytes| Bytes(bytes).to_string());
            let heading = match (old_length, new_length) {
                (None, Some(new)) => format!("{} {path} ({})", paint.green("+"), Bytes(*new)),
                (Some(old), None) => format!("{} {path} ({})", paint.red("-"), Bytes(*old)),
                (Some(old), Some(new)) if old == new => {
                    format!("{} {path} ({})", paint.yellow("~"), Bytes(*new))
                }
                _ => {
                    format!("{} {path} ({} -> {})", paint.yellow("~"), length(old_length), length(new_length))
                }
            };
            let mut all = vec![heading];
            all.extend(lines.iter().map(|line| format!("    {}", harmless(line).replace('\n', " "))));
            all
        }
        FileChange::Renamed { to } => {
            vec![format!("{} {path} -> {}", paint.yellow("~"), harmless(to).replace('\n', " "))]
        }
    };
    let spaces = " ".repeat(indent);
    let hidden = lines.len().saturating_sub(LINES);
    let mut text: String = lines.iter().take(LINES).map(|line| format!("{spaces}{line}\n")).collect();
    if hidden > 0 {
        text.push_str(&format!(
            "{spaces}{}\n",
            paint.dim(&format!("({hidden} more lines; --json has all of them)"))
        ));
    }
    text
}

fn unified(path: &str, old: Option<&str>, new: Option<&str>, context: usize, paint: Paint) -> Vec<String> {
    // A path of Windows begins with a drive.
    let slash = if path.starts_with('/') { "" } else { "/" };
    let name = |side: &str, text: Option<&str>| match text {
        Some(_) => format!("{side}{slash}{path}"),
        None => "/dev/null".to_owned(),
    };
    let mut lines =
        vec![paint.bold(&format!("--- {}", name("a", old))), paint.bold(&format!("+++ {}", name("b", new)))];
    let difference =
        TextDiff::configure().timeout(PATIENCE).diff_lines(old.unwrap_or_default(), new.unwrap_or_default());
    for hunk in difference.unified_diff().context_radius(context).iter_hunks() {
        lines.push(paint.cyan(&hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let text = harmless(change.value().trim_end_matches(['\n', '\r']));
            lines.push(match change.tag() {
                ChangeTag::Equal => format!(" {text}"),
                ChangeTag::Delete => paint.red(&format!("-{text}")),
                ChangeTag::Insert => paint.green(&format!("+{text}")),
            });
            if change.missing_newline() {
                lines.push(paint.dim("\\ No newline at end of file"));
            }
        }
    }
    lines
}
