//! What a workspace made and its state does not know, for people.

use super::paint::Paint;
use super::text::{Look, harmless};
use super::units::count;
use crate::observe::inventory::{Stray, StrayKind};

/// The list of strays, those that can be removed first.
#[must_use]
pub fn render_strays(strays: &[Stray], look: Look) -> String {
    if strays.is_empty() {
        return "Nothing but what the state knows carries this workspace's tags.\n".to_owned();
    }
    let (removable, kept): (Vec<&Stray>, Vec<&Stray>) = strays.iter().partition(|stray| stray.kept.is_none());
    let mut text = String::new();
    if !removable.is_empty() {
        text.push_str(&format!(
            "{} in no state, from which no guest ever ran:\n\n",
            count(removable.len(), "resource")
        ));
        removable.iter().for_each(|stray| text.push_str(&line(stray, look)));
    }
    if !kept.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "{} in no state that are never removed here:\n\n",
            count(kept.len(), "resource")
        ));
        kept.iter().for_each(|stray| text.push_str(&line(stray, look)));
    }
    if !removable.is_empty() {
        text.push_str("\nTo remove the first:\n\n    replant sweep --remove\n");
    }
    text
}

fn line(stray: &Stray, look: Look) -> String {
    let kind = match stray.kind {
        StrayKind::Instance => "instance",
        StrayKind::Volume => "volume",
        StrayKind::Snapshot => "snapshot",
        StrayKind::Image => "image",
    };
    let size = stray.size.map(|size| format!(", {size} GiB")).unwrap_or_default();
    let made_for = match &stray.address {
        Some(address) => format!("made for {}", harmless(address)),
        None => "made for what it does not say".to_owned(),
    };
    let why = stray.kept.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let about = Paint { color: look.color }.dim(&format!("({made_for}{size})"));
    format!("  {kind:8}  {}  {about}{why}\n", stray.id)
}
