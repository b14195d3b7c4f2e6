//! Which images there are, and which of them belong to one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::image::{self, OpenOptions, ova};
use crate::model::Location;

/// Endings of what is looked for in a directory.
const ENDINGS: [&str; 9] = ["ova", "ovf", "vmdk", "qcow2", "vhd", "vhdx", "vpc", "raw", "img"];

/// The images that are named, directories replaced by the images in them. Files that other images
/// there consist of (extents, parents, an appliance's disks) are no images of their own.
///
/// # Errors
/// A directory cannot be read, there is no image, or a place holds credentials.
pub fn expand(directory: &Path, named: &[Location]) -> Result<Vec<Location>, Diagnostic> {
    let mut images = Vec::new();
    for location in named {
        match location.local() {
            Some(path) if directory.join(path).is_dir() => images.extend(within(directory, path)?),
            _ if location.has_secret() => {
                return Err(Diagnostic::error("init::secret", "An image's URL holds credentials")
                    .detail(format!("{location}: the configuration would hold them, too."))
                    .help("leave the credentials out, or copy the image here first"));
            }
            _ => images.push(location.clone()),
        }
    }
    if images.is_empty() {
        let places: Vec<String> =
            named.iter().map(|place| directory.join(place.called()).display().to_string()).collect();
        return Err(Diagnostic::error("init::no_images", "There are no images")
            .detail(format!(
                "No file in {} is called like an image: .{}.",
                places.join(", "),
                ENDINGS.join(", .")
            ))
            .help("name the backups:\nreplant init IMAGE…"));
    }
    Ok(images)
}

/// The images of a directory, in the order of their names.
fn within(directory: &Path, path: &Path) -> Result<Vec<Location>, Diagnostic> {
    let place = directory.join(path);
    let failed = |error: std::io::Error| {
        Diagnostic::error("init::directory", "The directory cannot be read")
            .detail(format!("{}: {error}.", place.display()))
            .help("check the path and its permissions")
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&place)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            let ending = file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
            file.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
        })
        .collect();
    files.sort();
    let parts: BTreeSet<PathBuf> = files.iter().flat_map(|file| parts(file)).collect();
    let own = files.iter().filter(|file| !parts.contains(&real(file)));
    // As a configuration in that directory names them.
    let names = own.filter_map(|file| file.file_name());
    let base = if path == Path::new(".") { Path::new("") } else { path };
    Ok(names.map(|name| Location::Local(base.join(name))).collect())
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The other files that an image consists of; none of one that cannot be opened, which is said when
/// it is examined.
fn parts(file: &Path) -> Vec<PathBuf> {
    if let Ok(appliance) = ova::read(file) {
        let beside = |name: &String| real(&file.with_file_name(name));
        return appliance.disks.iter().filter_map(|disk| disk.file.as_ref()).map(beside).collect();
    }
    let Ok(image) = image::open(file, &OpenOptions::default()) else { return Vec::new() };
    let own = real(file);
    image.files().map(real).filter(|part| *part != own).collect()
}

/// The images of each machine, its root disk first, with a name for it.
#[must_use]
pub fn machines(images: &[Location]) -> Vec<(String, Vec<Location>)> {
    let stems: BTreeSet<String> = images.iter().map(stem).collect();
    let mut order: Vec<String> = Vec::new();
    let mut groups: BTreeMap<String, Vec<(u32, &Location)>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        let whole = stem(image);
        let appliance = image.has_extension("ova") || image.has_extension("ovf");
        let (base, number) = match disk_number(&whole, &stems) {
            Some(found) if !appliance => found,
            _ => (whole, 0),
        };
        // Machines of one name in two directories are two machines.
        let place = image.called().parent().map(|parent| parent.display().to_string()).unwrap_or_default();
        let key = if appliance { format!("{place}/{base}/{index}") } else { format!("{place}/{base}") };
        if !groups.contains_key(&key) {
            order.push(key.clone());
        }
        groups.entry(key).or_default().push((number, image));
    }
    let group = |key: String| {
        let mut images = groups.remove(&key)?;
        images.sort_by_key(|(number, _)| *number);
        let (_, first) = *images.first()?;
        let whole = stem(first);
        let name = disk_number(&whole, &stems).filter(|_| images.len() > 1).map_or(whole, |(base, _)| base);
        Some((named(&name), images.into_iter().map(|(_, image)| image.clone()).collect()))
    };
    order.into_iter().filter_map(group).collect()
}

/// A file's name without its ending.
fn stem(image: &Location) -> String {
    let name = image.file_name().into_owned();
    name.rsplit_once('.').map_or(name.clone(), |(stem, _)| stem.to_owned())
}

/// The machine and the number of a disk that is called `web-disk1`, or `web_1` beside `web`.
fn disk_number(stem: &str, others: &BTreeSet<String>) -> Option<(String, u32)> {
    let base = stem.trim_end_matches(|last: char| last.is_ascii_digit());
    let number = stem.get(base.len()..)?.parse().ok()?;
    let lower = base.trim_end_matches(['-', '_']).to_ascii_lowercase();
    if let Some(machine) = lower.strip_suffix("disk").filter(|machine| machine.ends_with(['-', '_', '.'])) {
        let machine = stem.get(..machine.len() - 1).filter(|machine| !machine.is_empty())?;
        return Some((machine.to_owned(), number));
    }
    let machine = base.strip_suffix('_').filter(|machine| others.contains(*machine))?;
    Some((machine.to_owned(), number))
}

/// A name as instances have them.
fn named(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' })
        .take(60)
        .collect();
    let name = name.trim_matches('-');
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name.to_owned(),
        Some(_) => format!("m-{name}"),
        None => "machine".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(names: &[&str]) -> Vec<(String, Vec<String>)> {
        let images: Vec<Location> = names.iter().map(|name| Location::Local(PathBuf::from(name))).collect();
        let groups = machines(&images).into_iter();
        groups.map(|(name, images)| (name, images.iter().map(ToString::to_string).collect())).collect()
    }

    #[test]
    fn disks_of_one_machine_stand_together() {
        let own = |name: &str, images: &[&str]| {
            (name.to_owned(), images.iter().map(|&image| image.to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            grouped(&[
                "b/web01.vmdk",
                "b/web02.vmdk",
                "b/db_2.vmdk",
                "b/db.vmdk",
                "b/db_1.vmdk",
                "x_1.qcow2"
            ]),
            [
                own("web01", &["b/web01.vmdk"]),
                own("web02", &["b/web02.vmdk"]),
                own("db", &["b/db.vmdk", "b/db_1.vmdk", "b/db_2.vmdk"]),
                own("x_1", &["x_1.qcow2"]),
            ]
        );
        assert_eq!(
            grouped(&["ERP-Disk2.vmdk", "ERP-Disk1.vmdk", "a/ERP-disk1.vmdk", "1 old.ova", ".raw"]),
            [
                own("erp", &["ERP-Disk1.vmdk", "ERP-Disk2.vmdk"]),
                own("erp-disk1", &["a/ERP-disk1.vmdk"]),
                own("m-1-old", &["1 old.ova"]),
                own("machine", &[".raw"]),
            ]
        );
    }
}
