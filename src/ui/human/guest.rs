//! A guest as inspection found it, for people: what it is, what was found, what would change.

use std::path::Path;

use super::edits::render_edits;
use super::paint::Paint;
use super::plan::diff::render_diff;
use super::text::{Look, hanging, harmless, wrap};
use super::units::count;
use crate::guest::report::{FileDiff, Finding, FindingSeverity, GuestFacts, Report};
use crate::model::{Architecture, Bytes, Firmware};

/// Text from the guest in one harmless line.
fn line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// A guest in one line: what it is, its architecture, firmware, root filesystem, kernel and name.
#[must_use]
pub fn facts_line(facts: &GuestFacts) -> String {
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
    line(&parts.join(", "))
}

/// One finding: its weight and code, where it shows, what happens about it.
#[must_use]
pub fn render_finding(finding: &Finding, paint: Paint, width: usize) -> String {
    let weight = match finding.severity {
        FindingSeverity::Blocks => paint.red("blocks"),
        FindingSeverity::Warns => paint.yellow("warns"),
        FindingSeverity::Informs => paint.dim("note"),
    };
    let title = format!("    {weight}[{}]: {}\n", harmless(&finding.code), line(&finding.summary));
    let mut text = hanging(&title, width, 6);
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

/// All findings, the heaviest first.
#[must_use]
pub fn render_findings(findings: &[Finding], look: Look) -> String {
    let paint = Paint { color: look.color };
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    sorted.iter().map(|finding| render_finding(finding, paint, look.width)).collect()
}

/// The changes of files as unified diffs, with `context` lines around what changes.
#[must_use]
pub fn render_diffs(diffs: &[FileDiff], context: usize, look: Look) -> String {
    let paint = Paint { color: look.color };
    let texts: Vec<String> = diffs.iter().map(|diff| render_diff(diff, context, paint, 4)).collect();
    texts.join("\n")
}

/// What preparation does to the guest of an image: the edits, and with `context` their diffs.
#[must_use]
pub fn render_preparation(
    image: &Path,
    report: &Report,
    overlay_bytes: u64,
    context: Option<usize>,
    look: Look,
) -> String {
    let paint = Paint { color: look.color };
    let mut text = format!("{}\n", paint.bold(&format!("Preparation of {}", image.display())));
    let what = report.facts.as_ref().map_or_else(|| "an unknown operating system".to_owned(), facts_line);
    text.push_str(&hanging(&format!("  {what}\n"), look.width, 4));
    text.push_str(&render_findings(&report.findings, look));
    if report.recipe.edits.is_empty() {
        text.push_str("  Nothing in it needs to be changed.\n");
        return text;
    }
    text.push_str(&format!(
        "  {}, {} of changed blocks:\n",
        count(report.recipe.edits.len(), "edit"),
        Bytes(overlay_bytes)
    ));
    let edits: Vec<(&str, &str)> =
        report.recipe.edits.iter().map(|edit| (edit.path.as_str(), edit.purpose.as_str())).collect();
    text.push_str(&render_edits(&edits, &report.diffs, look, 4));
    if let Some(context) = context {
        text.push('\n');
        text.push_str(&render_diffs(&report.diffs, context, look));
    }
    text
}
