//! What was found in a guest, and what preparation will do to it.

use crate::guest::report::{Finding, FindingSeverity, GuestFacts};
use crate::model::{Architecture, Bytes, Firmware};
use crate::plan::GuestPlan;
use crate::ui::human::paint::Paint;
use crate::ui::human::text::{Look, harmless, wrap};
use crate::ui::human::units::count;

use super::diff::render_diff;

fn facts(facts: &GuestFacts) -> String {
    let architecture = match facts.architecture {
        Architecture::I386 => "i386",
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    let firmware = match (facts.boots_either_firmware, facts.firmware) {
        (true, _) => "boots under BIOS and UEFI",
        (false, Firmware::Bios) => "BIOS",
        (false, Firmware::Uefi) => "UEFI",
    };
    let mut parts = vec![facts.product.clone(), architecture.to_owned(), firmware.to_owned()];
    if !facts.root_filesystem.is_empty() {
        parts.push(format!("{} root", facts.root_filesystem));
    }
    if let Some(kernel) = facts.kernels.first() {
        parts.push(match facts.kernels.len() {
            1 => format!("kernel {}", kernel.release),
            more => format!("kernel {} and {} more", kernel.release, more - 1),
        });
    }
    if let Some(hostname) = &facts.hostname {
        parts.push(format!("host name {hostname}"));
    }
    harmless(&parts.join(", ")).replace('\n', " ")
}

/// One finding: its weight and code, where it shows, what happens about it.
pub(super) fn finding(finding: &Finding, paint: Paint, width: usize) -> String {
    let weight = match finding.severity {
        FindingSeverity::Blocks => paint.red("blocks"),
        FindingSeverity::Warns => paint.yellow("warns"),
        FindingSeverity::Informs => paint.dim("note"),
    };
    let mut text = format!("    {weight}[{}]: {}\n", harmless(&finding.code), harmless(&finding.summary));
    let mut add = |label: &str, content: &str| {
        let wrapped = wrap(&harmless(content), width.saturating_sub(14));
        for (index, line) in wrapped.lines().enumerate() {
            let label = if index == 0 { label } else { "" };
            text.push_str(&format!("      {label:<7} {line}\n"));
        }
    };
    for place in &finding.evidence {
        add("at:", place);
    }
    if let Some(remedy) = &finding.remedy {
        add("fixed:", remedy);
    }
    if let Some(advice) = &finding.advice {
        add("to do:", advice);
    }
    text
}

/// A guest's part of the plan.
pub(super) fn render(name: &str, guest: &GuestPlan, context: usize, look: Look) -> String {
    let paint = Paint { color: look.color };
    let mut text = format!("  {}\n", paint.bold(&format!("# Guest of {name}")));
    let what = guest.facts.as_ref().map_or_else(|| "an unknown operating system".to_owned(), facts);
    text.push_str(&format!("    {what}\n"));
    for found in &guest.findings {
        text.push_str(&finding(found, paint, look.width));
    }
    match guest.recipe {
        None if guest.edits.is_empty() => {
            text.push_str("    Nothing in it needs to be changed to boot on EC2.\n")
        }
        recipe => {
            let recipe = recipe.map(|recipe| format!(" (recipe {})", recipe.short())).unwrap_or_default();
            text.push_str(&format!(
                "    Preparation makes {}{recipe}, {} of changed blocks:\n",
                count(guest.edits.len(), "edit"),
                Bytes(guest.overlay_bytes)
            ));
            for (path, purpose) in &guest.edits {
                let line = harmless(&format!("{path}: {purpose}")).replace('\n', " ");
                text.push_str(&format!("      {} {line}\n", paint.yellow("~")));
            }
        }
    }
    for diff in &guest.diffs {
        text.push('\n');
        text.push_str(&render_diff(diff, context, paint, 6));
    }
    text
}
