//! A guest's part of a plan.

use super::{DriversPlan, GuestPlan, OverlayPlan};
use crate::model::GuestChanges;
use crate::observe::{Machine, Prepared};

/// What a reviewer sees of a guest; the diffs only when this plan makes them.
#[must_use]
pub fn section(prepared: &Prepared, injected: bool) -> GuestPlan {
    let report = &prepared.report;
    GuestPlan {
        facts: report.facts.clone(),
        findings: report.findings.clone(),
        recipe: prepared.recipe,
        edits: if injected {
            report.recipe.edits.iter().map(|edit| (edit.path.clone(), edit.purpose.clone())).collect()
        } else {
            Vec::new()
        },
        diffs: if injected { report.diffs.clone() } else { Vec::new() },
        overlay_bytes: overlays(prepared).iter().map(|overlay| overlay.bytes).sum(),
    }
}

fn overlays(prepared: &Prepared) -> Vec<OverlayPlan> {
    prepared
        .overlays
        .iter()
        .filter(|(_, overlay)| !overlay.blocks.is_empty())
        .map(|(disk, overlay)| OverlayPlan {
            disk: disk.clone(),
            bytes: overlay.blocks.values().map(|block| block.len() as u64).sum(),
        })
        .collect()
}

/// The drivers step of a machine; `None` when its recipe is empty.
#[must_use]
pub fn drivers(prepared: &Prepared, changes: &GuestChanges) -> Option<DriversPlan> {
    Some(DriversPlan { recipe: prepared.recipe?, wanted: changes.digest(), overlays: overlays(prepared) })
}

/// The prepared guest of a machine, when it was inspected.
#[must_use]
pub fn prepared(machine: &Machine) -> Option<&Prepared> {
    match &machine.inspection {
        crate::observe::Inspection::Done(prepared) => Some(prepared),
        crate::observe::Inspection::Skipped | crate::observe::Inspection::Failed(_) => None,
    }
}
