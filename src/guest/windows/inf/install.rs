//! What installing a model does: files, services, registry; after "INF DDInstall section".

use std::collections::{HashMap, HashSet};

use super::budget::Budget;
use super::decoration::Target;
use super::error::InfError;
use super::models::Model;
use super::parse::{Inf, Line};
use super::registry::RegistryValue;
use super::text::number;

/// Most sections that one section may need, over all depths.
const MOST_NEEDED: usize = 64;
/// Longest path in a package, in bytes (Windows' `MAX_PATH`).
const LONGEST_PATH: usize = 260;
/// Most services that one installation may make.
const MOST_SERVICES: usize = 64;
/// The service is the one that the device starts with (`SPSVCINST_ASSOCSERVICE`).
const ASSOCIATED: u32 = 0x2;

/// Where a file goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Microsoft's number of the directory: 10 Windows, 11 System32, 12 System32\drivers, 13 the
    /// driver store.
    pub number: u32,
    /// The directory below it; mostly empty.
    pub directory: String,
}

impl Destination {
    /// The directory from the system drive's root, with backslashes; `None` for the driver store
    /// and for what has no fixed place.
    #[must_use]
    pub fn path(&self) -> Option<String> {
        let base = match self.number {
            10 => "Windows",
            11 => "Windows\\System32",
            12 => "Windows\\System32\\drivers",
            17 => "Windows\\INF",
            18 => "Windows\\Help",
            20 => "Windows\\Fonts",
            24 | 30 => "",
            _ => return None,
        };
        let below = self.directory.trim_matches('\\');
        Some(match (base, below) {
            (base, "") => base.to_owned(),
            ("", below) => below.to_owned(),
            (base, below) => format!("{base}\\{below}"),
        })
    }
}

/// A file that is copied.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopiedFile {
    /// Where it stands in the package, with backslashes: mostly its name alone.
    pub source: String,
    /// Its name in its destination.
    pub name: String,
    /// Its destination.
    pub destination: Destination,
}

/// A service that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: the key below `Services`.
    pub name: String,
    /// What people call it; may be empty.
    pub display_name: String,
    /// Whether it is the device's own.
    pub associated: bool,
    /// `ServiceType`: 1 is a driver.
    pub kind: u32,
    /// `StartType`: 0 boot, 1 system, 2 automatic, 3 on demand, 4 disabled.
    pub start: u32,
    /// `ErrorControl`.
    pub error_control: u32,
    /// `LoadOrderGroup`; may be empty.
    pub group: String,
    /// `ServiceBinary`'s directory.
    pub binary: Option<(Destination, String)>,
    /// `Dependencies`.
    pub dependencies: Vec<String>,
    /// What it adds to the registry, below the service's key.
    pub registry: Vec<RegistryValue>,
}

/// What installing a model does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The section, with its decoration.
    pub section: String,
    /// The files that are copied.
    pub files: Vec<CopiedFile>,
    /// The services that are made; the device's own first.
    pub services: Vec<Service>,
    /// What is added to the driver's key.
    pub registry: Vec<RegistryValue>,
    /// What is added to the device's hardware key.
    pub hardware: Vec<RegistryValue>,
    /// Windows' own files that it includes.
    pub includes: Vec<String>,
    /// Sections of those that it needs.
    pub needs: Vec<String>,
}

impl Install {
    /// The service that the device starts with.
    #[must_use]
    pub fn service(&self) -> Option<&Service> {
        self.services.iter().find(|service| service.associated)
    }
}

/// A section's entries with those of the sections it needs.
struct Gathered<'a> {
    lines: Vec<&'a Line>,
    includes: Vec<String>,
    needs: Vec<String>,
}

impl Inf {
    /// What installing a model on a Windows does.
    ///
    /// # Errors
    /// No section installs it, sections need each other without an end, or more files than any
    /// driver has.
    pub fn install(&self, model: &Model, target: &Target) -> Result<Install, InfError> {
        let names = [
            format!("{}.NT{}", model.install, target.platform()),
            format!("{}.NT", model.install),
            model.install.clone(),
        ];
        let section = names.iter().find_map(|name| self.section(name));
        let section = section.ok_or_else(|| InfError::Section { name: model.install.clone() })?;
        let name = section.name.clone();
        let budget = &mut Budget::new();
        let Gathered { lines, mut includes, mut needs } = self.gather(&name, budget)?;
        let services = self.gather(&format!("{name}.Services"), budget)?;
        let hardware = self.gather(&format!("{name}.HW"), budget)?;
        let mut copies =
            Copies { inf: self, sources: self.sources(target, budget)?, files: Vec::new(), budget };
        for line in directives(&lines, "CopyFiles") {
            for value in &line.values {
                copies.of_value(&self.expand(value))?;
            }
        }
        let mut files = copies.files;
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        let mut made = Vec::new();
        for line in directives(&services.lines, "AddService") {
            if made.len() == MOST_SERVICES {
                return Err(InfError::TooMany { what: "services", most: MOST_SERVICES });
            }
            made.extend(self.service(line, budget)?);
        }
        made.sort_by_key(|service| !service.associated);
        for (more, needed) in [(services.includes, services.needs), (hardware.includes, hardware.needs)] {
            includes.extend(more);
            needs.extend(needed);
        }
        includes.sort();
        includes.dedup();
        needs.sort();
        needs.dedup();
        Ok(Install {
            registry: self.added(&lines, budget)?,
            hardware: self.added(&hardware.lines, budget)?,
            section: name,
            files,
            services: made,
            includes,
            needs,
        })
    }

    /// A section's entries and those of the sections that it needs, here or in Windows' own files.
    fn gather(&self, name: &str, budget: &mut Budget) -> Result<Gathered<'_>, InfError> {
        let mut gathered = Gathered { lines: Vec::new(), includes: Vec::new(), needs: Vec::new() };
        let mut seen = HashSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(next) = open.pop() {
            if !seen.insert(next.to_ascii_lowercase()) {
                continue;
            }
            if seen.len() > MOST_NEEDED {
                return Err(InfError::Needs { name: name.to_owned() });
            }
            let Some(section) = self.section(&next) else {
                if seen.len() > 1 {
                    gathered.needs.push(next);
                }
                continue;
            };
            for line in &section.lines {
                budget.take(0)?;
                let include = line.has_key("Include");
                if !include && !line.has_key("Needs") {
                    gathered.lines.push(line);
                    continue;
                }
                for value in &line.values {
                    let value = budget.text(self.expand(value))?;
                    if value.is_empty() {
                        continue;
                    }
                    if include {
                        gathered.includes.push(value.to_ascii_lowercase());
                    } else {
                        open.push(value);
                    }
                }
            }
        }
        Ok(gathered)
    }

    fn added(&self, lines: &[&Line], budget: &mut Budget) -> Result<Vec<RegistryValue>, InfError> {
        let mut seen = HashSet::new();
        let mut values = Vec::new();
        for section in directives(lines, "AddReg").flat_map(|line| &line.values) {
            let section = budget.text(self.expand(section).to_ascii_lowercase())?;
            if seen.insert(section.clone()) {
                values.extend(self.registry(&section, budget)?);
            }
        }
        Ok(values)
    }

    /// Where a section's files go: [DestinationDirs], else Windows' System32.
    fn destination(&self, section: &str) -> Destination {
        let directories = self.section("DestinationDirs");
        let line = directories.and_then(|found| found.line(section).or_else(|| found.line("DefaultDestDir")));
        match line {
            Some(line) => Destination {
                number: number(&self.value(line, 0)).unwrap_or(11),
                directory: self.value(line, 1),
            },
            None => Destination { number: 11, directory: String::new() },
        }
    }

    /// Where files stand in the package, by their names in lower case: the disk's path, then the
    /// file's. What is said for the platform goes first.
    fn sources(&self, target: &Target, budget: &mut Budget) -> Result<HashMap<String, String>, InfError> {
        let tables = |table: &str| {
            let of_platform = self.section(&format!("{table}.{}", target.platform()));
            let lines = [of_platform, self.section(table)].into_iter().flatten();
            lines.flat_map(|section| &section.lines).filter_map(|line| {
                let key = self.expand(line.key.as_deref()?).to_ascii_lowercase();
                (key.len() <= LONGEST_PATH).then_some((key, line))
            })
        };
        let short = |line: &Line, index: usize| {
            let path = self.value(line, index);
            if path.len() <= LONGEST_PATH { path } else { String::new() }
        };
        let mut disks = HashMap::new();
        for (disk, line) in tables("SourceDisksNames") {
            budget.take(disk.len())?;
            disks.entry(disk).or_insert_with(|| short(line, 3));
        }
        let mut sources = HashMap::new();
        for (name, line) in tables("SourceDisksFiles") {
            let disk = disks.get(&self.value(line, 0).to_ascii_lowercase());
            let parts = [disk.cloned().unwrap_or_default(), short(line, 1)];
            let parts = parts
                .iter()
                .map(|part| part.trim_matches(['\\', '/']))
                .filter(|part| !matches!(*part, "" | "."));
            let path = parts.collect::<Vec<_>>().join("\\");
            budget.take(name.len() + path.len())?;
            sources.entry(name).or_insert(path);
        }
        Ok(sources)
    }

    fn service(&self, line: &Line, budget: &mut Budget) -> Result<Option<Service>, InfError> {
        let name = self.value(line, 0);
        let Some(section) = self.section(&self.value(line, 2)).filter(|_| !name.is_empty()) else {
            return Ok(None);
        };
        let entry = |key: &str| section.line(key).map(|line| self.value(line, 0)).unwrap_or_default();
        let whole = |key: &str, default: u32| number(&entry(key)).unwrap_or(default);
        let lines: Vec<&Line> = section.lines.iter().collect();
        let mut dependencies = Vec::new();
        for value in directives(&lines, "Dependencies").flat_map(|line| &line.values) {
            dependencies.push(budget.text(self.expand(value))?);
        }
        Ok(Some(Service {
            name,
            display_name: entry("DisplayName"),
            associated: number(&self.value(line, 1)).unwrap_or(0) & ASSOCIATED != 0,
            kind: whole("ServiceType", 1),
            start: whole("StartType", 3),
            error_control: whole("ErrorControl", 1),
            group: entry("LoadOrderGroup"),
            binary: binary(&entry("ServiceBinary")),
            dependencies,
            registry: self.added(&lines, budget)?,
        }))
    }
}

/// The files that an installation copies.
struct Copies<'a> {
    inf: &'a Inf,
    sources: HashMap<String, String>,
    files: Vec<CopiedFile>,
    budget: &'a mut Budget,
}

impl Copies<'_> {
    /// The files of `@name`, or of a section of files.
    fn of_value(&mut self, value: &str) -> Result<(), InfError> {
        if value.is_empty() {
            return Ok(());
        }
        if let Some(name) = value.strip_prefix('@') {
            return self.add(name, name, &self.inf.destination("DefaultDestDir"));
        }
        let section = self.inf.section(value);
        let section = section.ok_or_else(|| InfError::Section { name: value.to_owned() })?;
        let destination = self.inf.destination(value);
        for line in &section.lines {
            let name = match &line.key {
                Some(key) => self.inf.expand(key),
                None => self.inf.value(line, 0),
            };
            let source = self.inf.value(line, usize::from(line.key.is_none()));
            let source = if source.is_empty() { name.clone() } else { source };
            self.add(&name, &source, &destination)?;
        }
        Ok(())
    }

    fn add(&mut self, name: &str, source: &str, destination: &Destination) -> Result<(), InfError> {
        let directory = self.sources.get(&source.to_ascii_lowercase()).map_or("", String::as_str);
        let source = if directory.is_empty() { source.to_owned() } else { format!("{directory}\\{source}") };
        self.budget.take(source.len() + name.len() + destination.directory.len())?;
        let file = CopiedFile { source, name: name.to_owned(), destination: destination.clone() };
        if !name.is_empty() {
            self.files.push(file);
        }
        Ok(())
    }
}

fn directives<'a>(lines: &'a [&'a Line], key: &'a str) -> impl Iterator<Item = &'a Line> {
    lines.iter().copied().filter(move |line| line.has_key(key))
}

/// `%12%\name.sys`, or `%SystemRoot%\System32\drivers\name.sys` as older files have it.
fn binary(path: &str) -> Option<(Destination, String)> {
    let (token, below) = path.strip_prefix('%')?.split_once('%')?;
    let below = below.trim_start_matches('\\');
    let (directory, name) = below.rsplit_once('\\').unwrap_or(("", below));
    if name.is_empty() {
        return None;
    }
    let number = if token.eq_ignore_ascii_case("SystemRoot") { 10 } else { number(token)? };
    Some((Destination { number, directory: directory.to_owned() }, name.to_owned()))
}
