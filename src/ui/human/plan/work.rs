//! The work: what is written, how the volumes go through the slots, how long it takes.

use crate::model::Bytes;
use crate::plan::{Plan, Step, Wave};
use crate::ui::human::paint::Paint;
use crate::ui::human::text::{Look, hanging, harmless};
use crate::ui::human::units::{about, count};

/// The most writes and volumes of waves that are listed one by one.
const LISTED: usize = 50;

fn hidden(number: usize, word: &str, paint: Paint) -> String {
    if number > LISTED {
        format!("    {}\n", paint.dim(&format!("(and {} more)", count(number - LISTED, word))))
    } else {
        String::new()
    }
}

fn writes(plan: &Plan, paint: Paint) -> String {
    let writes: Vec<_> = plan
        .nodes
        .iter()
        .filter_map(|node| match &node.step {
            Step::Write(write) => Some((harmless(&node.address.to_string()), write)),
            _ => None,
        })
        .collect();
    if writes.is_empty() {
        return String::new();
    }
    let mut text = format!("  {}\n", paint.bold("# Data to write"));
    let width = writes.iter().take(LISTED).map(|(address, _)| address.chars().count()).max().unwrap_or(0);
    for (address, write) in writes.iter().take(LISTED) {
        let member = write.image.member.as_ref().map(|member| format!(" ({member})")).unwrap_or_default();
        let image = harmless(&format!("{}{member}, {}", write.image.path, write.image.format));
        let most = if write.is_update { "at most " } else { "" };
        text.push_str(&format!(
            "    {address:<width$}  {} of {}, {} are zero, from {}\n",
            paint.bold(&format!("{most}{}", Bytes(write.data_bytes))),
            Bytes(write.image.size),
            Bytes(write.zero_bytes),
            image.replace('\n', " "),
        ));
    }
    text + &hidden(writes.len(), "write", paint) + "\n"
}

fn waves(waves: &[Wave], slots: usize, paint: Paint) -> String {
    let volumes: usize = waves.iter().map(|wave| wave.volumes.len()).sum();
    if volumes == 0 {
        return String::new();
    }
    let mut text = format!(
        "  {}\n",
        paint.bold(&format!(
            "# Slots: {} in {}, {slots} free",
            count(volumes, "volume"),
            count(waves.len(), "wave")
        ))
    );
    let mut left = LISTED;
    for (number, wave) in waves.iter().enumerate() {
        if left == 0 {
            break;
        }
        text.push_str(&format!("    wave {}:\n", number + 1));
        for (address, slot) in wave.volumes.iter().take(left) {
            text.push_str(&format!("      {slot}  {}\n", harmless(&address.to_string())));
        }
        left = left.saturating_sub(wave.volumes.len());
    }
    text + &hidden(volumes, "volume", paint) + "\n"
}

/// Whether a write is an update, of which nobody knows how much it will write.
pub(super) fn updates(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| matches!(&node.step, Step::Write(write) if write.is_update))
}

/// All of it; empty when no data is written.
pub(super) fn render(plan: &Plan, look: Look) -> String {
    let paint = Paint { color: look.color };
    let mut text = hanging(&writes(plan, paint), look.width, 8);
    text.push_str(&waves(&plan.waves, plan.access_node.slots, paint));
    if let Some(prediction) = &plan.prediction {
        text.push_str(&format!(
            "  {}\n    {} {}; the slowest link is {}\n\n",
            paint.bold("# Predicted time for the data"),
            if updates(plan) { "at most about" } else { "about" },
            about(prediction.seconds),
            harmless(&prediction.slowest_link),
        ));
    }
    text
}
