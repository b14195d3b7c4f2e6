//! The whole plan: legend, resources, guests, work, outputs, notes, the summary.

use crate::model::{Bytes, InstanceAddress, Part};
use crate::plan::{Action, Change, Mode, Plan, Reason, Shown, Step};
use crate::ui::human::diagnostics::render_diagnostics_as;
use crate::ui::human::paint::Paint;
use crate::ui::human::text::{Look, hanging, harmless, wrap};
use crate::ui::human::units::count;

use super::{attributes, guest, work};

/// A plan at the default width; `context`: lines around each change of a guest's file.
#[must_use]
pub fn render_plan(plan: &Plan, context: usize, color: bool) -> String {
    render_plan_as(plan, context, Look::colored(color))
}

/// A plan.
#[must_use]
pub fn render_plan_as(plan: &Plan, context: usize, look: Look) -> String {
    let paint = Paint { color: look.color };
    let mut text = String::new();
    text.push_str(&data(plan, paint));
    let changed: Vec<&Change> = plan.changes.iter().filter(|change| change.action != Action::NoOp).collect();
    if !changed.is_empty() {
        text.push_str(&hanging(&legend(plan, &changed, paint), look.width, 0));
        text.push_str("\nReplant will perform the following actions:\n\n");
        for change in &changed {
            text.push_str(&resource(change, paint, look.width));
            text.push('\n');
        }
    }
    // Of guests to which nothing is done there is nothing to say.
    let is_touched = |address: &InstanceAddress| {
        plan.nodes.iter().any(|node| {
            node.address.instance == *address && matches!(node.step, Step::Write(_) | Step::Drivers(_))
        })
    };
    for (address, guest) in plan.guests.iter().filter(|(address, _)| is_touched(address)) {
        text.push_str(&guest::render(&harmless(&address.to_string()), guest, context, look));
        text.push('\n');
    }
    text.push_str(&work::render(plan, look));
    for change in
        plan.changes.iter().filter(|change| change.action == Action::NoOp && !change.notes.is_empty())
    {
        text.push_str(&format!("  # {} stays as it is\n", harmless(&change.address.to_string())));
        text.push_str(&notes(change, paint, look.width));
        text.push('\n');
    }
    text.push_str(&outputs(plan, paint));
    if !plan.notes.is_empty() {
        text.push_str(render_diagnostics_as(&plan.notes, look).trim_end());
        text.push_str("\n\n");
    }
    text.push_str(&summary(plan, paint, look.width));
    text
}

/// What was looked up.
fn data(plan: &Plan, paint: Paint) -> String {
    if plan.data.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", paint.bold("Data sources:"));
    for (address, read) in &plan.data {
        let name = read.found.name().filter(|name| *name != read.found.id);
        let name = name.map(|name| format!(" ({})", harmless(name))).unwrap_or_default();
        text.push_str(&format!("  {}: {}{name}\n", harmless(address), harmless(&read.found.id)));
    }
    text.push('\n');
    text
}

fn glyph(action: Action, paint: Paint) -> String {
    match action {
        Action::NoOp => " ".to_owned(),
        Action::Create => paint.green("+"),
        Action::Update => paint.yellow("~"),
        Action::Delete => paint.red("-"),
        Action::Replace => format!("{}/{}", paint.red("-"), paint.green("+")),
        Action::Forget => paint.red("."),
    }
}

fn legend(plan: &Plan, changed: &[&Change], paint: Paint) -> String {
    let mut text = format!(
        "Replant made this plan for provider {}, access node {} in {}, {} free.\nActions are indicated with the following symbols:\n",
        harmless(&plan.provider),
        harmless(&plan.access_node.instance_id),
        harmless(&plan.access_node.zone),
        count(plan.access_node.slots, "slot"),
    );
    for (action, indent, word) in [
        (Action::Create, "  ", "create"),
        (Action::Update, "  ", "update in-place"),
        (Action::Replace, "", "destroy and then create replacement"),
        (Action::Delete, "  ", "destroy"),
        (Action::Forget, "  ", "forget, without destroying"),
    ] {
        if changed.iter().any(|change| change.action == action) {
            text.push_str(&format!("{indent}{} {word}\n", glyph(action, paint)));
        }
    }
    text
}

fn notes(change: &Change, paint: Paint, width: usize) -> String {
    let mut text = String::new();
    for note in &change.notes {
        for (index, line) in wrap(&harmless(note), width.saturating_sub(10)).lines().enumerate() {
            let label = if index == 0 { "note: " } else { "      " };
            text.push_str(&format!("  # {}\n", paint.yellow(&format!("{label}{line}"))));
        }
    }
    text
}

fn resource(change: &Change, paint: Paint, width: usize) -> String {
    let fate = match change.action {
        Action::NoOp => "stays as it is".to_owned(),
        Action::Create => "will be created".to_owned(),
        Action::Update => "will be updated in-place".to_owned(),
        Action::Replace => format!("must be {}", paint.red("replaced")),
        Action::Delete => format!("will be {}", paint.red("destroyed")),
        Action::Forget => "will no longer be managed by Replant, and not be destroyed".to_owned(),
    };
    let address = harmless(&change.address.to_string());
    let mut text = format!("  {} {}\n", paint.bold(&format!("# {address}")), paint.bold(&fate));
    // That it is new is said by its symbol.
    for reason in change.reasons.iter().filter(|reason| **reason != Reason::New) {
        let line = format!("(because {})", harmless(&reason.to_string()));
        for line in wrap(&line, width.saturating_sub(4)).lines() {
            text.push_str(&format!("  # {line}\n"));
        }
    }
    text.push_str(&notes(change, paint, width));
    let (kind, label) = match &change.address.part {
        Part::Volume(disk) => ("volume", disk.as_str()),
        part if part.word().is_empty() => ("instance", change.address.instance.name.as_str()),
        part => (part.word(), part.disk().unwrap_or(&change.address.instance.name)),
    };
    let indent = if change.action == Action::Replace { "" } else { "  " };
    text.push_str(&format!("{indent}{} {kind} \"{label}\" {{\n", glyph(change.action, paint)));
    text.push_str(&attributes::lines(paint, &change.attributes));
    if change.unchanged > 0 {
        if !change.attributes.is_empty() {
            text.push('\n');
        }
        let hidden = format!("# ({} hidden)", count(change.unchanged, "unchanged attribute"));
        text.push_str(&format!("        {}\n", paint.dim(&hidden)));
    }
    text.push_str("    }\n");
    text
}

fn outputs(plan: &Plan, paint: Paint) -> String {
    let changed: Vec<_> = plan.outputs.iter().filter(|(_, output)| output.changes()).collect();
    if changed.is_empty() {
        return String::new();
    }
    let width = changed.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = "Changes to Outputs:\n".to_owned();
    for (name, output) in changed {
        let symbol = match (&output.before, &output.after) {
            (None, _) => paint.green("+"),
            (_, None) => paint.red("-"),
            _ => paint.yellow("~"),
        };
        let value = match (&output.before, &output.after) {
            // `(sensitive value) -> (sensitive value)` says nothing.
            (Some(Shown::Sensitive), Some(Shown::Sensitive)) => "(sensitive value)".to_owned(),
            (before, after) => attributes::transition(before.as_ref(), after.as_ref(), 4),
        };
        text.push_str(&format!("  {symbol} {name:<width$} = {value}\n"));
    }
    text + "\n"
}

/// The last lines: what it comes to.
fn summary(plan: &Plan, paint: Paint, width: usize) -> String {
    let counts = &plan.summary;
    if plan.is_empty() {
        let (what, detail) = match plan.mode {
            Mode::Restore => ("No changes.", " What exists is what the configuration says."),
            Mode::Destroy => ("No changes.", " There is nothing to destroy."),
        };
        return hanging(&format!("{}{detail}\n", paint.bold(&paint.green(what))), width, 2);
    }
    let resources = [
        counts.restores,
        counts.volumes,
        counts.images,
        counts.changes,
        counts.replacements,
        counts.destructions,
    ];
    if plan.nodes.is_empty() && resources.iter().all(|number| *number == 0) {
        let text = "You can apply this plan to save these new output values to the state, without changing anything else.\n";
        return hanging(text, width, 0);
    }
    let images = match counts.images {
        0 => String::new(),
        number => format!(" {} to register,", count(number, "image")),
    };
    let mut text = format!(
        "{} {} to restore, {} to create,{images} {} to change, {} to replace, {} to destroy.\n",
        paint.bold("Plan:"),
        counts.restores,
        count(counts.volumes, "volume"),
        counts.changes,
        counts.replacements,
        counts.destructions,
    );
    if counts.data_bytes > 0 || counts.zero_bytes > 0 {
        let (most, differs) = match work::updates(plan) {
            true => ("at most ", "; of what is there already, only what differs is written"),
            false => ("", ""),
        };
        text.push_str(&format!(
            "{} {most}{} to write, {} are zero{differs}.\n",
            paint.bold("Data:"),
            Bytes(counts.data_bytes),
            Bytes(counts.zero_bytes),
        ));
    }
    hanging(&text, width, 2)
}
