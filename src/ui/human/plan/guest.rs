//! What was found in a guest, and what preparation will do to it.

use crate::model::Bytes;
use crate::plan::GuestPlan;
use crate::ui::human::edits::render_edits;
use crate::ui::human::guest::{facts_line, render_finding};
use crate::ui::human::paint::Paint;
use crate::ui::human::text::{Look, hanging};
use crate::ui::human::units::count;

use super::diff::render_diff;

/// A guest's part of the plan.
pub(super) fn render(name: &str, guest: &GuestPlan, context: usize, look: Look) -> String {
    let paint = Paint { color: look.color };
    let mut text = format!("  {}\n", paint.bold(&format!("# Guest of {name}")));
    let what = guest.facts.as_ref().map_or_else(|| "an unknown operating system".to_owned(), facts_line);
    text.push_str(&hanging(&format!("    {what}\n"), look.width, 6));
    for found in &guest.findings {
        text.push_str(&render_finding(found, paint, look.width));
    }
    match guest.recipe {
        _ if guest.edits.is_empty() => {
            text.push_str("    Nothing in it needs to be changed to boot on EC2.\n")
        }
        recipe => {
            let recipe = recipe.map(|recipe| format!(" (recipe {})", recipe.short())).unwrap_or_default();
            let line = format!(
                "    Preparation makes {}{recipe}, {} of changed blocks:\n",
                count(guest.edits.len(), "edit"),
                Bytes(guest.overlay_bytes)
            );
            text.push_str(&hanging(&line, look.width, 6));
            let edits: Vec<(&str, &str)> =
                guest.edits.iter().map(|(path, purpose)| (path.as_str(), purpose.as_str())).collect();
            text.push_str(&render_edits(&edits, &guest.diffs, look, 6));
        }
    }
    for diff in &guest.diffs {
        text.push('\n');
        text.push_str(&render_diff(diff, context, paint, 6));
    }
    text
}
