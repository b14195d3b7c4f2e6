//! The receipt: what was done, what was not, and why; what stands now and what proves it.

use crate::apply::{InstanceReceipt, NodeOutcome, NodeReceipt, Receipt};
use crate::model::Bytes;
use crate::plan::Mode;

use super::diagnostics::render_diagnostics_as;
use super::paint::Paint;
use super::text::{Look, harmless};
use super::units::{count, duration};

/// The most steps that are listed one by one.
const LISTED: usize = 100;

/// A receipt at the default width.
#[must_use]
pub fn render_receipt(receipt: &Receipt, color: bool) -> String {
    render_receipt_as(receipt, Look::colored(color))
}

/// A receipt.
#[must_use]
pub fn render_receipt_as(receipt: &Receipt, look: Look) -> String {
    let paint = Paint { color: look.color };
    let mut text = String::new();
    for instance in &receipt.instances {
        text.push_str(&instance_lines(instance, paint));
    }
    if !receipt.instances.is_empty() {
        text.push('\n');
    }
    text.push_str(&steps(receipt, paint));
    let failures: Vec<_> = receipt
        .nodes
        .iter()
        .filter_map(|node| match &node.outcome {
            NodeOutcome::Failed { diagnostic } => {
                let mut diagnostic = diagnostic.as_ref().clone();
                diagnostic.address.get_or_insert_with(|| node.address.to_string());
                Some(diagnostic)
            }
            _ => None,
        })
        .collect();
    if !failures.is_empty() {
        text.push_str(render_diagnostics_as(&failures, look).trim_end());
        text.push_str("\n\n");
    }
    text + &closing(receipt, paint)
}

fn clean(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

fn instance_lines(instance: &InstanceReceipt, paint: Paint) -> String {
    let state = match instance.state.as_str() {
        "failed" => paint.red("failed"),
        "destroyed" => paint.dim("destroyed"),
        other => paint.green(&clean(other)),
    };
    let mut heading = format!("{}  {state}", paint.bold(&clean(&instance.address.to_string())));
    for part in [&instance.id, &instance.private_ip].into_iter().flatten() {
        heading.push_str(&format!("  {}", clean(part)));
    }
    let mut text = format!("{heading}\n");
    let width =
        instance.volumes.iter().map(|volume| volume.address.to_string().chars().count()).max().unwrap_or(0);
    for volume in &instance.volumes {
        let content = match &volume.content {
            Some(content) if volume.verified => format!("  {content} (read back and compared)"),
            Some(content) => format!("  {content}"),
            None => String::new(),
        };
        let address = clean(&volume.address.to_string());
        text.push_str(&format!("  {address:<width$}  {}{content}\n", clean(&volume.id)));
    }
    if let Some(evidence) = &instance.evidence {
        let cleaned = harmless(evidence);
        let lines = cleaned.lines().filter(|line| !line.trim().is_empty());
        for (index, line) in lines.enumerate() {
            let label = if index == 0 { "evidence:" } else { "         " };
            text.push_str(&format!("  {label} {line}\n"));
        }
    }
    if let Some(log) = &instance.console_log {
        text.push_str(&format!("  console:  {}\n", clean(&log.display().to_string())));
    }
    if let Some(screenshot) = &instance.screenshot {
        text.push_str(&format!("  screen:   {}\n", clean(&screenshot.display().to_string())));
    }
    text
}

/// The steps that were done, when something else was not; then what was not, and why.
fn steps(receipt: &Receipt, paint: Paint) -> String {
    if receipt.complete {
        return String::new();
    }
    let mut text = String::new();
    let width = receipt.nodes.iter().map(|node| node.address.to_string().chars().count()).max().unwrap_or(0);
    let mut list = |title: String, line: &dyn Fn(&NodeReceipt) -> Option<String>| {
        let lines: Vec<_> =
            receipt.nodes.iter().filter_map(|node| line(node).map(|said| (node, said))).collect();
        if lines.is_empty() {
            return;
        }
        text.push_str(&format!("{title}\n"));
        for (node, said) in lines.iter().take(LISTED) {
            let address = clean(&node.address.to_string());
            text.push_str(&format!("  {address:<width$}  {:<15}  {}\n", node.verb, clean(said)));
        }
        if lines.len() > LISTED {
            text.push_str(&format!("  (and {} more)\n", lines.len() - LISTED));
        }
        text.push('\n');
    };
    list(paint.green("Done:"), &|node| match &node.outcome {
        NodeOutcome::Done { took, detail } => {
            Some(format!("{}  {detail}", duration(*took)).trim_end().to_owned())
        }
        _ => None,
    });
    list(paint.red("Failed:"), &|node| match &node.outcome {
        NodeOutcome::Failed { diagnostic } => Some(format!("{} ({})", diagnostic.summary, diagnostic.code)),
        _ => None,
    });
    list(paint.yellow("Not run:"), &|node| match &node.outcome {
        NodeOutcome::Skipped { because } => Some(because.clone()),
        _ => None,
    });
    text
}

fn closing(receipt: &Receipt, paint: Paint) -> String {
    let done = receipt.nodes.iter().filter(|node| matches!(node.outcome, NodeOutcome::Done { .. })).count();
    let failed =
        receipt.nodes.iter().filter(|node| matches!(node.outcome, NodeOutcome::Failed { .. })).count();
    let skipped = receipt.nodes.len().saturating_sub(done).saturating_sub(failed);
    let (what, command) = match receipt.mode {
        Mode::Restore => ("Apply", "replant apply"),
        Mode::Destroy => ("Destroy", "replant destroy"),
    };
    let took = duration(receipt.took);
    let written = if receipt.bytes_written > 0 {
        format!(", {} written", Bytes(receipt.bytes_written))
    } else {
        String::new()
    };
    if receipt.complete {
        let title = paint.bold(&paint.green(&format!("{what} complete!")));
        return format!("{title} {} done in {took}{written}.\n", count(done, "step"));
    }
    let word = if receipt.interrupted { "interrupted" } else { "incomplete" };
    let title = paint.bold(&paint.red(&format!("{what} {word}:")));
    let next = if failed > 0 {
        "What was done is in the state. When the cause of the failure is out of the way, this goes on from there:"
    } else {
        "What was done is in the state; this goes on from there:"
    };
    format!(
        "{title} {} done, {failed} failed, {skipped} not run, after {took}{written}.\n{next}\n{command}\n",
        count(done, "step"),
    )
}
