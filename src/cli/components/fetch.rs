//! `replant components fetch`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::download::{Filling, Order};
use super::guests::{Guest, guests};
use super::trouble::{self, Trouble};
use crate::cli::exit::Exit;
use crate::cli::image_arguments::ImageArguments;
use crate::cli::inspect::{HypervisorArgument, json};
use crate::cli::location::LocationParser;
use crate::cli::terminal;
use crate::cli::workspace::WorkspaceArguments;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::guest::windows::components::{
    Inventory, Kind, MissingComponent, RELEASES, Release, Selected, mirrored,
};
use crate::guest::windows::inf::Target;
use crate::model::Location;
use crate::ui::components::{
    Component, Fetching, Guest as GuestLine, PublishedFile, Status, VERSION, dotted, need, signer,
};
use crate::ui::human::components::{render_component, render_end, render_guests};

/// The variable that names a mirror of what Amazon publishes.
const MIRROR: &str = "REPLANT_COMPONENTS_URL";

/// Downloads what Windows guests need into their folders, each file once it is found right.
///
/// Without options the Windows guests of the configuration are looked into, and each gets what it
/// misses. What is there and right is kept. Nothing but sound files gets into a folder: archives are
/// unpacked and their checksums compared, signatures must match and be Amazon's or Microsoft's,
/// drivers must be for that Windows. Where the downloads cannot be reached, each file is named with
/// its address and its place.
#[derive(Debug, Args)]
pub struct Fetch {
    /// For this Windows: 2008-r2, 2012, 2012-r2, 2016, 2019, 2022, 2025, 7, 8.1, 10 or 11; may be
    /// repeated.
    #[arg(long, value_name = "VERSION", conflicts_with = "image")]
    pub windows: Vec<Release>,

    /// For the guest in this image; may be repeated.
    #[arg(long, value_name = "IMAGE", value_parser = LocationParser)]
    pub image: Vec<Location>,

    /// How the images are read.
    #[command(flatten)]
    pub reading: ImageArguments,

    /// The instance type that the guests named here are to run on, as m6i.large.
    #[arg(long, value_name = "TYPE", conflicts_with = "hypervisor")]
    pub instance_type: Option<String>,

    /// What the guests named here come up on, when no type is named.
    #[arg(long, value_enum, default_value_t = HypervisorArgument::Nitro)]
    pub hypervisor: HypervisorArgument,

    /// The folder to fill; by default each guest's own: guest { windows { components = "…" } }.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,

    /// Download also what is there already: Amazon may have published newer ones.
    #[arg(long)]
    pub upgrade: bool,

    /// Only say what is missing, and where it is published.
    #[arg(long)]
    pub dry_run: bool,

    /// What was done as JSON.
    #[arg(long)]
    pub json: bool,

    /// The configuration's variables.
    #[command(flatten)]
    pub workspace: WorkspaceArguments,
}

/// What is needed in a folder.
struct Need {
    kind: Kind,
    target: Target,
    component: Component,
}

/// Fetches, and prints what was done.
#[must_use]
pub fn run(directory: &Path, command: &Fetch) -> Exit {
    match fetch(directory, command) {
        Ok(exit) => exit,
        Err(diagnostics) => {
            terminal::print_diagnostics(&diagnostics, command.json);
            Exit::Failure
        }
    }
}

fn fetch(directory: &Path, command: &Fetch) -> Result<Exit, Diagnostics> {
    let mirror = mirror()?;
    let guests = guests(directory, command)?;
    let look = terminal::stdout_look();
    let lines: Vec<GuestLine> = guests.iter().map(line).collect();
    if !command.json {
        terminal::print(&match lines.is_empty() {
            true => "No Windows guest is here that needs components.\n".to_owned(),
            false => render_guests(&lines, look) + "\n",
        });
    }
    let mut fetching = Fetching { version: VERSION, guests: lines, components: Vec::new() };
    let mut folders: BTreeMap<(&Path, &Path), Vec<&Guest>> = BTreeMap::new();
    for guest in &guests {
        folders.entry((&guest.folder, &guest.shown)).or_default().push(guest);
    }
    let mut ended: Option<Trouble> = None;
    for ((folder, shown), guests) in folders {
        let mut needs = needs(folder, shown, &guests, command.upgrade)?;
        // What is there first, then the gravest.
        needs.sort_by_key(|need| need.component.status != Status::Kept);
        let missing = needs.iter().any(|need| need.component.status == Status::Missing);
        let filling = match missing && !command.dry_run {
            true => Some(Filling::begin(folder, shown)?),
            false => None,
        };
        for mut need in needs {
            if let (Some(filling), Status::Missing) = (&filling, need.component.status) {
                fetch_one(filling, &mut need, mirror.as_deref(), &mut ended, command.json);
            }
            if !command.json {
                terminal::print(&render_component(&need.component, look));
            }
            fetching.components.push(need.component);
        }
    }
    if command.json {
        terminal::print(&json(&fetching)?);
    } else if !fetching.guests.is_empty() {
        terminal::print(&render_end(&fetching));
    }
    let failed = trouble::not_fetched(&fetching.components);
    if failed.is_empty() {
        return Ok(Exit::Success);
    }
    if !command.json {
        let mut diagnostics = Diagnostics::new();
        diagnostics.extend(failed);
        terminal::print_diagnostics(&diagnostics, false);
    }
    Ok(Exit::Failure)
}

/// The mirror that the environment names.
fn mirror() -> Result<Option<String>, Diagnostic> {
    let Some(mirror) = std::env::var(MIRROR).ok().filter(|mirror| !mirror.is_empty()) else {
        return Ok(None);
    };
    let rest = mirror.strip_prefix("https://").or_else(|| mirror.strip_prefix("http://"));
    let is_plain = rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        !host.is_empty() && !rest.contains(['@', '?', '#', ' ']) && !rest.contains(char::is_control)
    });
    if is_plain { Ok(Some(mirror)) } else { Err(trouble::mirror(MIRROR)) }
}

fn line(guest: &Guest) -> GuestLine {
    GuestLine {
        name: guest.name.clone(),
        windows: guest.windows.clone(),
        hypervisor: guest.hypervisor,
        folder: guest.shown.clone(),
    }
}

/// What guests need in a folder: what is there, and what is missing.
fn needs(folder: &Path, shown: &Path, guests: &[&Guest], upgrade: bool) -> Result<Vec<Need>, Diagnostic> {
    let unreadable = |error| trouble::folder(shown, &error);
    let inventory = match upgrade || !folder.exists() {
        true => Inventory::default(),
        false => Inventory::read(folder).map_err(unreadable)?,
    };
    let mut needs: Vec<Need> = Vec::new();
    let mut add = |guest: &Guest, need: Need| {
        let same = |other: &&mut Need| {
            other.kind == need.kind
                && other.component.files.iter().map(|file| &file.path).eq(need
                    .component
                    .files
                    .iter()
                    .map(|file| &file.path))
        };
        match needs.iter_mut().find(same) {
            Some(other) => other.component.guests.push(guest.name.clone()),
            None => needs.push(need),
        }
    };
    for guest in guests {
        let selected = inventory.select(&guest.target, guest.hypervisor).map_err(unreadable)?;
        let mut others = Vec::new();
        for component in kept(guest, shown, &selected) {
            match is_of_another(&component, shown) {
                true => others.push(component.kind),
                false => add(guest, component),
            }
        }
        let all = Inventory::default().select(&guest.target, guest.hypervisor).map_err(unreadable)?;
        let newer = all.missing.iter().filter(|missing| others.contains(&missing.kind));
        // It brings the other along.
        let brings = selected.missing.iter().any(|missing| missing.kind == Kind::Ec2Config);
        let missing =
            selected.missing.iter().filter(|missing| !brings || missing.kind != Kind::SsmAgent).chain(newer);
        for missing in missing {
            let mut component = of_missing(guest, shown, missing);
            let notes =
                selected.notes.iter().filter(|note| note.kind == missing.kind && !note.place.is_empty());
            let said = notes.map(|note| format!("{} is not taken: {}", note.place, note.why));
            component.component.notes.extend(said);
            add(guest, component);
        }
    }
    Ok(needs)
}

/// Whether what is there was fetched for an older Windows: it runs, but there is a newer one for
/// this.
fn is_of_another(need: &Need, shown: &Path) -> bool {
    let own = need.kind.directory(&need.target);
    let path = need.component.files.first().map(|file| file.path.as_path());
    path.is_some_and(|path| {
        let is_in = |directory: &str| path.starts_with(shown.join(directory));
        let others = RELEASES.iter().map(|release| need.kind.directory(&release.target));
        !is_in(&own) && others.into_iter().any(|directory| is_in(&directory))
    })
}

fn component(guest: &Guest, kind: Kind, status: Status, files: Vec<PublishedFile>) -> Need {
    let component = Component {
        name: kind.name(),
        guests: vec![guest.name.clone()],
        need: None,
        why: None,
        files,
        status,
        version: None,
        signer: None,
        notes: Vec::new(),
        code: None,
        error: None,
    };
    Need { kind, target: guest.target, component }
}

/// What a guest would be given of what is there.
fn kept(guest: &Guest, shown: &Path, selected: &Selected) -> Vec<Need> {
    let found = |kind: Kind, place: &str, version: Option<[u16; 4]>| {
        let file = PublishedFile { address: None, path: shown.join(place), bytes: None };
        let mut need = component(guest, kind, Status::Kept, vec![file]);
        need.component.version = version.as_ref().map(dotted);
        let notes = selected.notes.iter().filter(|note| note.kind == kind && note.place == place);
        need.component.notes.extend(notes.map(|note| note.why.to_string()));
        need
    };
    let drivers =
        selected.drivers.iter().map(|driver| found(driver.kind, &driver.place, Some(driver.version.version)));
    let installers = selected
        .installers
        .iter()
        .map(|installer| found(installer.kind, &installer.file.path, installer.version));
    drivers.chain(installers).collect()
}

fn of_missing(guest: &Guest, shown: &Path, missing: &MissingComponent) -> Need {
    let directory = shown.join(missing.kind.directory(&guest.target));
    let files = missing.files.iter().zip(&missing.addresses).map(|(name, address)| PublishedFile {
        address: Some(address.clone()),
        path: directory.join(name),
        bytes: None,
    });
    let mut new = component(guest, missing.kind, Status::Missing, files.collect());
    new.component.need = Some(need(missing.need));
    new.component.why = Some(missing.why);
    new
}

/// Fetches a component, and writes down what came of it. Once the server is found unreachable, no
/// other file is waited for.
fn fetch_one(
    filling: &Filling,
    need: &mut Need,
    mirror: Option<&str>,
    ended: &mut Option<Trouble>,
    json: bool,
) {
    let component = &mut need.component;
    let result = match ended {
        Some(trouble) => {
            Err(Trouble { code: trouble.code, what: "it was not tried any more".to_owned(), ends: true })
        }
        None => {
            let addresses: Vec<String> = (component.files.iter())
                .filter_map(|file| file.address.as_deref())
                .map(|address| mirror.map_or_else(|| address.to_owned(), |mirror| mirrored(address, mirror)))
                .collect();
            let directory = need.kind.directory(&need.target);
            let order = Order {
                kind: need.kind,
                target: &need.target,
                addresses: &addresses,
                directory: Path::new(&directory),
            };
            filling.fetch(&order, json)
        }
    };
    match result {
        Ok(fetched) => {
            component.status = Status::Fetched;
            component.version = fetched.proof.version.as_ref().map(dotted);
            component.signer = signer(&fetched.proof.signing);
            // What was said of what was there before is over.
            component.notes = fetched.proof.notes;
            for (file, bytes) in component.files.iter_mut().zip(fetched.bytes) {
                file.bytes = Some(bytes);
            }
        }
        Err(trouble) => {
            component.status = Status::Failed;
            component.code = Some(trouble.code.to_owned());
            component.error = Some(trouble.what.clone());
            if trouble.ends && ended.is_none() {
                *ended = Some(trouble);
            }
        }
    }
}
