//! `replant inspect` for people: the verdict, the guest in a few lines, what was found, what would
//! change; to be read in ten seconds on 80 columns.

use std::collections::BTreeSet;

use super::paint::Paint;
use super::text::{Look, harmless, wrap};
use crate::guest::report::{
    DiskFacts, DriverPlace, Edit, EditKind, Finding, FindingSeverity, GuestFacts, KernelFacts,
    PartitionFacts, Report, StackedFacts,
};
use crate::model::{Architecture, Bytes, Firmware, Hypervisor};
use crate::ui::inspection::{Inspection, Verdict, blocks};

/// A space at which no line breaks.
const TOGETHER: &str = "\u{a0}";
/// Columns of the labels before the facts.
const LABEL: usize = 9;
/// Most places that are shown of one finding; the JSON has all.
const MOST_PLACES: usize = 4;
const MOST_PLACES_MENDED: usize = 2;
/// The drivers' columns.
const DRIVERS: [&str; 4] = ["nvme", "ena", "xen-blkfront", "xen-netfront"];

/// Text from the guest in one harmless line.
fn line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// The whole report.
#[must_use]
pub fn render_inspection(inspection: &Inspection, look: Look) -> String {
    let paint = Paint { color: look.color };
    let report = &inspection.report;
    let mut text = headline(inspection, paint, look.width);
    text.push('\n');
    text.push_str(&facts(report, paint, look.width));
    for (group, heading) in [
        (Group::Blocks, "In the way"),
        (Group::Warns, "Warnings"),
        (Group::Informs, "Good to know"),
        (Group::Mended, "Mended by Replant"),
    ] {
        let of: Vec<&Finding> =
            report.findings.iter().filter(|finding| Group::of(finding) == group).collect();
        if !of.is_empty() {
            text.push_str(&format!("\n{}\n", paint.bold(heading)));
            of.iter().for_each(|finding| text.push_str(&one(finding, paint, look.width)));
        }
    }
    let edits = &report.recipe.edits;
    if !edits.is_empty() {
        let heading = match inspection.verdict {
            Verdict::Blocked => "What Replant would change if it were not for that",
            _ => "What Replant changes",
        };
        text.push_str(&format!("\n{}\n", paint.bold(heading)));
        text.push_str(&changes(edits, paint, look.width));
        let images: Vec<String> = inspection.images.iter().map(|image| line(image)).collect();
        text.push_str(&format!("\nShow each change:\n  replant prepare --diff {}\n", images.join(" ")));
    }
    text
}

/// Under which heading a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Blocks,
    Warns,
    Informs,
    /// Nobody has to do anything about it.
    Mended,
}

impl Group {
    fn of(finding: &Finding) -> Self {
        match finding.severity {
            FindingSeverity::Blocks => Self::Blocks,
            FindingSeverity::Warns => Self::Warns,
            FindingSeverity::Informs if finding.remedy.is_some() && finding.advice.is_none() => Self::Mended,
            FindingSeverity::Informs => Self::Informs,
        }
    }
}

/// The verdict, and how many findings and edits there are.
fn headline(inspection: &Inspection, paint: Paint, width: usize) -> String {
    let findings = &inspection.report.findings;
    let of = |group| findings.iter().filter(|finding| Group::of(finding) == group).count();
    let in_the_way = findings.iter().filter(|finding| blocks(finding)).count();
    let place = match (inspection.instance_type.as_deref(), inspection.hypervisor) {
        (Some(kind), _) => kind,
        (None, Hypervisor::Nitro) => "EC2",
        (None, Hypervisor::Xen) => "Xen-based types",
    };
    let stand = match in_the_way {
        1 => "1 finding stands in the way".to_owned(),
        more => format!("{more} findings stand in the way"),
    };
    let verdict = match inspection.verdict {
        Verdict::AsItIs => format!("boots on {place} as it is"),
        Verdict::AfterPreparation => format!("boots on {place} after preparation"),
        Verdict::OtherType => format!("does not boot on {place}: {stand}"),
        Verdict::Blocked => format!("cannot be prepared: {stand}"),
    };
    let name = inspection.images.first().map_or("guest", |image| image.rsplit('/').next().unwrap_or(image));
    let name = match inspection.images.len() {
        0 | 1 => line(name),
        more => format!("{} and {} more", line(name), more - 1),
    };
    let colored = if inspection.is_blocked() { paint.red(&verdict) } else { paint.green(&verdict) };
    let mut counts = vec![
        (of(Group::Warns), "warning"),
        (of(Group::Informs), "note"),
        (of(Group::Mended), "thing mended"),
        (shown_edits(&inspection.report.recipe.edits).len(), "file changed"),
    ];
    counts.retain(|(number, _)| *number > 0);
    let counts: Vec<String> = counts.into_iter().map(|(number, word)| several(number, word)).collect();
    let counts = if counts.is_empty() { String::new() } else { counts.join(", ") };
    let together = name.chars().count() + verdict.chars().count() + 2;
    let mut text = format!("{}{}{colored}\n", paint.bold(&name), if together > width { "\n" } else { ": " });
    if !counts.is_empty() {
        text.push_str(&format!("{}\n", paint.dim(&counts)));
    }
    text
}

/// `2 things mended`: the first word takes the plural.
fn several(number: usize, words: &str) -> String {
    let (word, rest) =
        words.split_once(' ').map_or((words, String::new()), |(word, rest)| (word, format!(" {rest}")));
    format!("{number} {word}{}{rest}", if number == 1 { "" } else { "s" })
}

/// A row of facts under a label, wrapped beside it.
fn row(label: &str, content: &str, paint: Paint, width: usize) -> String {
    let mut text = String::new();
    for (index, line) in wrap(&line(content), width.saturating_sub(LABEL + 3)).lines().enumerate() {
        let label = if index == 0 { label } else { "" };
        let line = line.trim_start().replace(TOGETHER, " ");
        text.push_str(&format!("  {} {line}\n", paint.dim(&format!("{label:<LABEL$}"))));
    }
    text
}

fn facts(report: &Report, paint: Paint, width: usize) -> String {
    let mut text = String::new();
    match &report.facts {
        None => text.push_str(&row("System", "none that is known", paint, width)),
        Some(facts) => text.push_str(&system(facts, paint, width)),
    }
    for disk in &report.disks {
        text.push_str(&row("Disk", &disk_text(disk), paint, width));
    }
    for (index, volume) in report.stacked.iter().enumerate() {
        text.push_str(&row(if index == 0 { "Volumes" } else { "" }, &stacked_text(volume), paint, width));
    }
    if let Some(facts) = report.facts.as_ref().filter(|facts| !facts.kernels.is_empty()) {
        text.push('\n');
        text.push_str(&kernels(&facts.kernels, paint, width));
    }
    text
}

fn system(facts: &GuestFacts, paint: Paint, width: usize) -> String {
    let architecture = match facts.architecture {
        Architecture::I386 => "i386",
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    };
    let firmware = match (facts.boots_either_firmware, facts.firmware) {
        (true, _) => "BIOS or UEFI",
        (false, Firmware::Bios) => "BIOS",
        (false, Firmware::Uefi) => "UEFI",
    };
    let mut system = vec![facts.product.clone(), architecture.to_owned()];
    system.extend(facts.hostname.iter().map(|name| format!("host name {name}")));
    let detail =
        |label: &str| facts.details.iter().find(|(known, _)| known == label).map(|(_, text)| text.clone());
    let mut boot = vec![firmware.to_owned()];
    boot.extend(detail("boot loader"));
    boot.extend(detail("initramfs").map(|generator| format!("initramfs by {generator}")));
    let mut network: Vec<String> = detail("network").into_iter().collect();
    let fixed = facts.static_addresses.iter();
    network.extend(fixed.map(|(interface, address)| format!("{address} fixed on {interface}")));
    let mut text = row("System", &system.join(", "), paint, width);
    text.push_str(&row("Boot", &boot.join(", "), paint, width));
    if !network.is_empty() {
        text.push_str(&row("Network", &network.join(", "), paint, width));
    }
    let known = ["boot loader", "initramfs", "network"];
    for (label, detail) in facts.details.iter().filter(|(label, _)| !known.contains(&label.as_str())) {
        text.push_str(&row(&line(label), detail, paint, width));
    }
    text
}

fn volume_text(content: &str, mount_point: Option<&str>, size: u64) -> String {
    match mount_point {
        Some(place) => format!("{content} on {place} {}", Bytes(size)),
        None => format!("{content} {}", Bytes(size)),
    }
    .replace(' ', TOGETHER)
}

/// `root, gpt: 1 bios-grub 1 MiB, 2 ext4 on / 40 GiB`.
fn disk_text(disk: &DiskFacts) -> String {
    let partition = |partition: &PartitionFacts| {
        let text = volume_text(&partition.content, partition.mount_point.as_deref(), partition.size);
        if partition.number == 0 { text } else { format!("{}{TOGETHER}{text}", partition.number) }
    };
    let partitions: Vec<String> = disk.partitions.iter().map(partition).collect();
    let table = match disk.table.as_str() {
        "none" => "no partition table",
        table => table,
    };
    match partitions.is_empty() {
        true => format!("{} ({table})", disk.name),
        false => format!("{} ({table}): {}", disk.name, partitions.join(", ")),
    }
}

fn stacked_text(volume: &StackedFacts) -> String {
    let text = volume_text(&volume.content, volume.mount_point.as_deref(), volume.size);
    let on: Vec<String> = volume.on.iter().map(|place| place.replace(' ', TOGETHER)).collect();
    format!("{}: {text}, on {}", volume.name.replace(' ', TOGETHER), on.join(", "))
}

/// A table: where each kernel has its drivers for EC2. The first boots.
fn kernels(kernels: &[KernelFacts], paint: Paint, width: usize) -> String {
    let taken: usize = DRIVERS.iter().map(|driver| driver.len().max(9) + 2).sum();
    let longest = kernels.iter().map(|kernel| kernel.release.chars().count()).max().unwrap_or(0);
    let column = longest.clamp("Drivers".len(), width.saturating_sub(taken + 2).max("Drivers".len()));
    let head: String = DRIVERS.iter().map(|driver| format!("  {driver:<9}")).collect();
    let mut text = format!("  {}\n", paint.dim(format!("{:<column$}{head}", "Drivers").trim_end()));
    for kernel in kernels {
        let release = line(&kernel.release);
        let cells: String = DRIVERS
            .iter()
            .map(|driver| {
                let wide = driver.len().max(9);
                let cell = |text: &str| format!("{text:<wide$}");
                let painted = match kernel.drivers.get(*driver) {
                    Some(DriverPlace::BuiltIn) => cell("built in"),
                    Some(DriverPlace::Initramfs) => cell("initramfs"),
                    Some(DriverPlace::Root) => cell("root fs"),
                    Some(DriverPlace::Missing) | None => paint.yellow(&cell("missing")),
                };
                format!("  {painted}")
            })
            .collect();
        if release.chars().count() > column {
            text.push_str(&format!("  {release}\n  {:<column$}{}\n", "", cells.trim_end()));
        } else {
            text.push_str(&format!("  {release:<column$}{}\n", cells.trim_end()));
        }
    }
    text
}

/// One finding: what, where, and who does something about it.
fn one(finding: &Finding, paint: Paint, width: usize) -> String {
    let mark = match finding.severity {
        FindingSeverity::Blocks => paint.red("x"),
        FindingSeverity::Warns => paint.yellow("!"),
        FindingSeverity::Informs if finding.remedy.is_some() => paint.green("+"),
        FindingSeverity::Informs => paint.dim("-"),
    };
    let code = format!("({})", line(&finding.code));
    let mended = Group::of(finding) == Group::Mended;
    let summary = match &finding.remedy {
        Some(remedy) if mended => format!("{}: {} {code}", line(&finding.summary), line(remedy)),
        _ => format!("{} {code}", line(&finding.summary)),
    };
    let mut text = String::new();
    for (index, part) in wrap(&summary, width.saturating_sub(4)).lines().enumerate() {
        let mark = if index == 0 { mark.as_str() } else { " " };
        let part = part.replace(&code, &paint.dim(&code));
        text.push_str(&format!("  {mark} {part}\n"));
    }
    let mut add = |label: &str, content: &str| {
        let mut first = true;
        for part in wrap(&harmless(content), width.saturating_sub(14)).lines() {
            let shown = if first { label.to_owned() } else { " ".repeat(9) };
            text.push_str(&format!("    {shown} {}\n", part.trim_start()));
            first = false;
        }
    };
    let most = if mended { MOST_PLACES_MENDED } else { MOST_PLACES };
    for (index, place) in finding.evidence.iter().take(most).enumerate() {
        let label = if index == 0 { "where    " } else { "         " };
        // What is mended needs no study; of the rest, every word may count.
        let place = if mended { cut(&line(place), width.saturating_sub(14)) } else { line(place) };
        add(&paint.dim(label), &place);
    }
    if finding.evidence.len() > most {
        add(&paint.dim("         "), &format!("and {} more", finding.evidence.len() - most));
    }
    if let Some(remedy) = finding.remedy.as_ref().filter(|_| !mended) {
        add(&paint.green("Replant: "), remedy);
    }
    if let Some(advice) = &finding.advice {
        add(&paint.cyan("you:     "), advice);
    }
    text
}

/// The edits without the copies of old files, which are told with the file itself: place in the
/// recipe, whether a copy is kept.
fn shown_edits(edits: &[Edit]) -> Vec<(&Edit, bool)> {
    let copy_of = |edit: &Edit| edit.purpose.strip_prefix("keep the old ").map(str::to_owned);
    let copies: BTreeSet<String> = edits.iter().filter_map(copy_of).collect();
    let shown =
        edits.iter().filter(|edit| copy_of(edit).is_none_or(|of| !edits.iter().any(|edit| edit.path == of)));
    shown.map(|edit| (edit, copies.contains(&edit.path))).collect()
}

/// The recipe, one line a file.
fn changes(edits: &[Edit], paint: Paint, width: usize) -> String {
    let edits = shown_edits(edits);
    let longest = edits.iter().map(|(edit, _)| line(&edit.path).chars().count()).max().unwrap_or(0);
    let column = longest.min(width / 2);
    let mut text = String::new();
    for (edit, kept) in edits {
        let mark = match &edit.kind {
            EditKind::WriteFile { before: None, .. } | EditKind::MakeDirectory { .. } => paint.green("+"),
            EditKind::RemoveFile { .. } | EditKind::SetAside { .. } | EditKind::RemoveSession => {
                paint.red("-")
            }
            _ => paint.yellow("~"),
        };
        let kept = if kept { "old file kept; " } else { "" };
        let row = format!("{:<column$}  {kept}{}", line(&edit.path), line(&edit.purpose));
        text.push_str(&format!("  {mark} {}\n", cut(&row, width.saturating_sub(4))));
    }
    text
}

/// The first `width` characters, marked where something is left out.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}
