//! Components of Windows guests, for people.

use super::paint::Paint;
use super::text::{Look, harmless};
use super::units::count;
use crate::model::{Bytes, Hypervisor};
use crate::ui::components::{Component, Fetching, Folder, Found, Guest, Status};

/// For whom is fetched.
#[must_use]
pub fn render_guests(guests: &[Guest], look: Look) -> String {
    let mut text = String::new();
    for guest in guests {
        let on = match guest.hypervisor {
            Hypervisor::Nitro => "Nitro",
            Hypervisor::Xen => "Xen",
        };
        let name = Paint { color: look.color }.bold(&harmless(&guest.name));
        let windows = match guest.windows == guest.name {
            true => String::new(),
            false => format!(": {}", harmless(&guest.windows)),
        };
        let folder = harmless(&guest.folder.display().to_string());
        text.push_str(&format!("{name}{windows} on {on}, components in {folder}\n"));
    }
    text
}

/// One component, with what became of it.
#[must_use]
pub fn render_component(component: &Component, look: Look) -> String {
    let paint = Paint { color: look.color };
    let mark = match component.status {
        Status::Missing => paint.yellow("?"),
        Status::Kept => "=".to_owned(),
        Status::Fetched => paint.green("+"),
        Status::Failed => paint.red("!"),
    };
    let mut said = Vec::new();
    said.extend(component.version.as_ref().map(|version| format!("version {version}")));
    let bytes: Option<u64> = component.files.iter().map(|file| file.bytes).sum();
    said.extend(bytes.map(|bytes| Bytes(bytes).to_string()));
    said.extend(component.signer.as_ref().map(|signer| format!("signed by {}", harmless(signer))));
    said.push(
        match component.status {
            Status::Missing => match component.need {
                Some("boot") => "missing: the guest does not boot without it",
                Some("network") => "missing: the guest is not reached without it",
                _ => "missing",
            },
            Status::Kept => "kept",
            Status::Fetched => "fetched",
            Status::Failed => "not fetched",
        }
        .to_owned(),
    );
    let mut text = format!("  {mark} {:18} {}\n", component.name, said.join(", "));
    for file in &component.files {
        let path = harmless(&file.path.display().to_string());
        match (&file.address, component.status) {
            (Some(address), Status::Missing) => {
                text.push_str(&format!("      {address}\n        to {path}\n"));
            }
            _ => text.push_str(&paint.dim(&format!("      {path}\n"))),
        }
    }
    for note in &component.notes {
        text.push_str(&format!("      {} {}\n", paint.yellow("note:"), harmless(note)));
    }
    text
}

/// How many of each.
#[must_use]
pub fn render_end(fetching: &Fetching) -> String {
    let of = |status| fetching.components.iter().filter(|component| component.status == status).count();
    let (missing, fetched, kept, failed) =
        (of(Status::Missing), of(Status::Fetched), of(Status::Kept), of(Status::Failed));
    let mut parts = Vec::new();
    for (number, what) in [(fetched, "fetched"), (kept, "kept"), (missing, "missing"), (failed, "failed")] {
        if number > 0 {
            parts.push(format!("{number} {what}"));
        }
    }
    if parts.is_empty() {
        return "\nNothing is needed.\n".to_owned();
    }
    let mut text = format!("\nComponents: {}.\n", parts.join(", "));
    if missing > 0 {
        text.push_str("\nTo download what is missing, the same without `--dry-run`.\n");
    }
    text
}

/// Versions of Windows, servers shortened: `2012-r2 to 2022, 10, 11`.
fn windows(ids: &[&str]) -> String {
    const SERVERS: [&str; 7] = ["2008-r2", "2012", "2012-r2", "2016", "2019", "2022", "2025"];
    let mut parts: Vec<String> = Vec::new();
    let mut run: Option<(usize, usize)> = None;
    let close = |run: &mut Option<(usize, usize)>, parts: &mut Vec<String>| {
        if let Some((first, last)) = run.take() {
            parts.push(match last - first {
                0 => SERVERS[first].to_owned(),
                1 => format!("{}, {}", SERVERS[first], SERVERS[last]),
                _ => format!("{} to {}", SERVERS[first], SERVERS[last]),
            });
        }
    };
    for (number, server) in SERVERS.iter().enumerate() {
        match (ids.contains(server), &mut run) {
            (true, Some((_, last))) => *last = number,
            (true, none) => *none = Some((number, number)),
            (false, _) => close(&mut run, &mut parts),
        }
    }
    close(&mut run, &mut parts);
    parts.extend(ids.iter().filter(|id| !SERVERS.contains(id)).map(|id| (*id).to_owned()));
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// What a folder holds, as a table.
#[must_use]
pub fn render_folder(folder: &Folder, look: Look) -> String {
    let paint = Paint { color: look.color };
    let (taken, others): (Vec<&Found>, Vec<&Found>) =
        folder.components.iter().partition(|found| found.is_taken());
    let place = harmless(&folder.folder.display().to_string());
    let mut text = match taken.len() {
        0 => format!("{place} holds no component that a guest could be given.\n"),
        number => format!("{place} holds {}:\n\n", count(number, "component")),
    };
    let rows: Vec<[String; 5]> = taken.iter().map(|found| row(found)).collect();
    if !rows.is_empty() {
        let head = ["component", "version", "for Windows", "signed by", "file"].map(str::to_owned);
        let width = |column: usize| {
            let cells = rows.iter().chain([&head]).map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let line = |row: &[String; 5]| {
            let cells = row[..4].iter().enumerate();
            let cells: String = cells.map(|(column, cell)| format!("{cell:0$}  ", width(column))).collect();
            format!("  {cells}{}", row[4])
        };
        text.push_str(&format!("{}\n", paint.dim(&line(&head))));
        for (found, row) in taken.iter().zip(&rows) {
            text.push_str(&format!("{}\n", line(row)));
            text.push_str(&notes(found, paint));
        }
    }
    if !others.is_empty() {
        text.push_str(&format!(
            "\n{}:\n\n",
            match others.len() {
                1 => "1 file is not taken".to_owned(),
                number => format!("{number} files are not taken"),
            }
        ));
        for found in others {
            let about = found.name.map(|name| format!(" ({name})")).unwrap_or_default();
            text.push_str(&format!("  {} {}{about}\n", paint.red("!"), harmless(&found.path)));
            text.push_str(&notes(found, paint));
        }
    }
    text
}

fn notes(found: &Found, paint: Paint) -> String {
    let lines =
        found.notes.iter().map(|note| format!("      {} {}\n", paint.yellow("note:"), harmless(note)));
    lines.collect()
}

fn row(found: &Found) -> [String; 5] {
    let signed = match (&found.signer, found.signature) {
        (Some(signer), _) => harmless(signer),
        (None, Some("signed")) => "somebody".to_owned(),
        (None, Some(other)) => format!("({other})"),
        (None, None) => "-".to_owned(),
    };
    [
        found.name.unwrap_or("?").to_owned(),
        found.version.clone().unwrap_or_else(|| "?".to_owned()),
        windows(&found.windows),
        signed,
        harmless(&found.path),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_shortened() {
        assert_eq!(windows(&["2008-r2", "2012", "2012-r2", "7"]), "2008-r2 to 2012-r2, 7");
        assert_eq!(windows(&["2012", "2012-r2", "2022"]), "2012, 2012-r2, 2022");
        assert_eq!(windows(&["10", "11"]), "10, 11");
        assert_eq!(windows(&[]), "none");
    }
}
