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
            "{} in no state, and no guest ever ran from {}:\n\n",
            count(removable.len(), "resource"),
            if removable.len() == 1 { "it" } else { "them" },
        ));
        removable.iter().for_each(|stray| text.push_str(&line(stray, look)));
    }
    if !kept.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!(
            "{} in no state that {} never removed here:\n\n",
            count(kept.len(), "resource"),
            if kept.len() == 1 { "is" } else { "are" },
        ));
        kept.iter().for_each(|stray| text.push_str(&line(stray, look)));
    }
    if !removable.is_empty() {
        let which = match (kept.is_empty(), removable.len()) {
            (true, 1) => "it",
            (true, _) => "them",
            (false, _) => "what no guest ran from",
        };
        text.push_str(&format!("\nTo remove {which}:\n\n    replant sweep --remove\n"));
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
