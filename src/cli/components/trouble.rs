//! What is said when components cannot be had.

use std::fmt::Write;
use std::io;
use std::path::Path;

use crate::diagnostic::{Diagnostic, chain};
use crate::guest::windows::components::ComponentError;
use crate::ui::components::{Component, PublishedFile};

/// Why a component was not fetched: the code of its diagnostic, and what happened.
pub struct Trouble {
    /// The code.
    pub code: &'static str,
    /// What happened, for people.
    pub what: String,
    /// Whether no other file will come either.
    pub ends: bool,
}

/// A folder cannot be looked through.
pub fn folder(folder: &Path, error: &ComponentError) -> Diagnostic {
    Diagnostic::error("components::folder", "The folder of components cannot be read")
        .detail(format!("{}: {}.", folder.display(), chain(error)))
        .help("name the folder that guest { windows { components = \"…\" } } names")
}

/// Whether a path can hold components at all: a folder, or a zip archive. `shown`: the same for
/// people.
///
/// # Errors
/// It is neither, or is not there.
pub fn no_components(shown: &Path, path: &Path) -> Result<(), Diagnostic> {
    let is_archive = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
    let what = match path.metadata() {
        Ok(about) if about.is_dir() || (about.is_file() && is_archive) => return Ok(()),
        Ok(_) => "it is neither a folder nor a zip archive".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "there is no such folder".to_owned(),
        Err(error) => error.to_string(),
    };
    let diagnostic = Diagnostic::error("components::folder", "The folder of components cannot be read");
    Err(diagnostic
        .detail(format!("{}: {what}.", shown.display()))
        .help("name the folder that guest { windows { components = \"…\" } } names"))
}

/// An instance names a folder that is not there, and its guest needs none.
pub fn needless_folder(address: &str, product: &str, folder: &Path) -> Diagnostic {
    Diagnostic::error("components::not_windows", "The guest needs no components")
        .detail(format!(
            "{address} names the folder {}, which is not there, and its guest is {product}; components are for 64-bit Windows, so that nothing would be fetched into it.",
            folder.display()
        ))
        .help("leave `components` out of its guest { windows { … } }: guests of other systems bring their drivers along")
}

/// A folder cannot be made or locked.
pub fn place(folder: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::error("components::place", "The folder of components cannot be written")
        .detail(format!("{}: {error}.", folder.display()))
        .help("make the folder yourself, or name another one with --to")
}

/// Somebody else is at it.
pub fn busy(folder: &Path) -> Diagnostic {
    Diagnostic::error("components::busy", "Another run fetches into this folder")
        .detail(format!("{} is locked by it.", folder.display()))
        .help("wait for it to end, and try again")
}

/// Nobody said where to.
pub fn no_place() -> Diagnostic {
    Diagnostic::error("components::no_place", "There is no folder to fetch into")
        .detail("Where a version of Windows or an image is named, the folder has to be named too.")
        .help("name it, as in:\nreplant components fetch --windows 2019 --to drivers")
}

/// An instance names no folder.
pub fn no_folder(address: &str) -> Diagnostic {
    Diagnostic::error("components::no_folder", "A Windows guest names no folder of components")
        .detail(format!("{address} is a Windows guest, and its `guest` block has no `components`."))
        .help(
            "name a folder in its instance block:\n  guest {\n    windows { components = \"drivers\" }\n  }",
        )
        .help("or fetch into one that the command line names:\nreplant components fetch --to drivers")
}

/// No guest was found in an image.
pub fn no_guest(image: &str) -> Diagnostic {
    Diagnostic::error("components::no_guest", "No guest was found in the image")
        .detail(format!("{image} holds no operating system that Replant knows."))
        .help(format!("see what is there:\nreplant inspect {image}"))
}

/// Another system than Windows on 64-bit x86.
pub fn not_windows(image: &str, product: &str) -> Diagnostic {
    Diagnostic::error("components::not_windows", "The guest needs no components")
        .detail(format!("{image} holds {product}; components are for 64-bit Windows."))
        .help("guests of other systems bring their drivers along")
}

/// The mirror's address is none.
pub fn mirror(variable: &str) -> Diagnostic {
    Diagnostic::error("components::mirror", "The mirror's address cannot be used")
        .detail(format!(
            "{variable} is no http or https URL, or holds a user's name, which would stand in messages."
        ))
        .help("set it to where the mirror has Amazon's directories, as in:\nREPLANT_COMPONENTS_URL=https://mirror.example/aws")
}

/// All components that were not fetched, those of the same cause together, each file with how to
/// get it by hand.
pub fn not_fetched(components: &[Component]) -> Vec<Diagnostic> {
    let mut codes: Vec<&str> = Vec::new();
    for code in components.iter().filter_map(|component| component.code.as_deref()) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes.into_iter().map(|code| of_code(code, components)).collect()
}

fn of_code(code: &str, components: &[Component]) -> Diagnostic {
    let of_code: Vec<&Component> =
        components.iter().filter(|component| component.code.as_deref() == Some(code)).collect();
    let mut detail = String::new();
    for component in &of_code {
        let error = component.error.as_deref().unwrap_or_default();
        let _ = writeln!(detail, "{}: {error}.", component.name);
    }
    let files = of_code.iter().flat_map(|component| &component.files);
    let by_hand = by_hand(files);
    let diagnostic = match code {
        "components::unreachable" => {
            Diagnostic::error("components::unreachable", "Components cannot be downloaded from here")
                .help("behind a firewall, name its proxy in HTTPS_PROXY, or a mirror of Amazon's files in REPLANT_COMPONENTS_URL")
        }
        "components::untrusted" => {
            Diagnostic::error("components::untrusted", "The server's certificate is not trusted").help(
                "a proxy that looks into encrypted connections has a certificate of its own: add it to this machine's (update-ca-certificates), or name its file in SSL_CERT_FILE",
            )
        }
        "components::denied" => {
            Diagnostic::error("components::denied", "The download of components is refused")
                .help("a proxy that wants a name and password takes them in HTTPS_PROXY")
        }
        "components::absent" => {
            Diagnostic::error("components::absent", "A published component is not where it should be")
                .help("a mirror (REPLANT_COMPONENTS_URL) needs Amazon's directories as they are")
        }
        "components::wrong" => {
            Diagnostic::error("components::wrong", "What was downloaded is not what it should be")
                .help("nothing of it was kept; try again, past proxies and mirrors that change files")
        }
        "components::too_large" => {
            Diagnostic::error("components::too_large", "What is downloaded is too large for a component")
                .help("a proxy or mirror answers with something else; compare the address in a browser")
        }
        "components::no_network" => {
            Diagnostic::error("components::no_network", "This program was built without downloads")
                .help("build it with the feature `remote`, which is on unless it is turned off")
        }
        _ => Diagnostic::error("components::store", "A component cannot be stored")
            .help("make room in the folder, or name another one with --to"),
    };
    diagnostic
        .detail(detail.trim_end().to_owned())
        .help(format!("or download by hand, on any machine, and put the files where they belong:\n{by_hand}"))
}

/// Commands to copy, one for each file.
fn by_hand<'a>(files: impl Iterator<Item = &'a PublishedFile>) -> String {
    let mut text = String::new();
    for file in files {
        if let Some(address) = &file.address {
            let path = shell_word(&file.path.to_string_lossy());
            let _ = writeln!(text, "curl -f --create-dirs -o {path} {address}");
        }
    }
    text.trim_end().to_owned()
}

/// A word that a shell takes as one.
fn shell_word(text: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
