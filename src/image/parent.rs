//! Finding and opening the image that another stands on.

use std::io::ErrorKind;
use std::path::Path;

use super::detect::detect;
use super::error::ImageError;
use super::format::Format;
use super::identity::Identity;
use super::open::open_as;
use super::opener::Opener;
use super::window::Window;

/// A parent that was opened.
pub(super) struct Parent {
    pub identity: Identity,
    /// Its file, for messages.
    pub file: String,
}

/// Opens the image that `file` stands on, which has exactly this name and format. From then on
/// [`Place::Parent`](super::extent::Place) in the extents of `file` leads there.
pub(super) fn open_named(
    opener: &mut Opener,
    name: &[u8],
    format: Format,
    file: &Window,
) -> Result<Parent, ImageError> {
    let parent = opener.descend(name, file.path())?;
    detect(&parent, Some(format), false)?;
    let path = parent.path().display().to_string();
    let found = open_as(format, opener, parent)?;
    Ok(Parent { identity: opener.ascend(found), file: path })
}

/// As [`open_named`], of the first file that there is of the `recorded` paths, best first. They
/// were written where the image was made: also a path that leads nowhere here is good for its last
/// part, the name of a file that was copied along. The caller must check that it is the right one.
pub(super) fn open_recorded(
    opener: &mut Opener,
    recorded: &[Vec<u8>],
    format: Format,
    file: &Window,
) -> Result<Parent, ImageError> {
    for name in candidates(recorded) {
        match open_named(opener, &name, format, file) {
            // Of this file, not of one that the parent names in turn.
            Err(ImageError::Part { file: by, source, .. })
                if by == file.path()
                    && matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            other => return other,
        }
    }
    let parent = recorded.first().map(|name| String::from_utf8_lossy(name).into_owned());
    Err(ImageError::NeedsParent { file: file.path().to_owned(), parent })
}

/// The names to look for: the paths that are relative, then the last parts of all of them.
fn candidates(recorded: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut add = |name: Vec<u8>| {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    // Windows' separators; no hypervisor puts one into a file's name.
    let paths: Vec<Vec<u8>> = recorded
        .iter()
        .map(|path| path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect())
        .collect();
    for path in &paths {
        let within = !path.starts_with(b"/") && path.split(|byte| *byte == b'/').all(|part| part != b"..");
        if within {
            add(path.clone());
        }
    }
    for path in &paths {
        add(path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec());
    }
    names.retain(|name| !matches!(name.as_slice(), b"." | b".."));
    names
}

/// What to say of a parent that is not there: its name, and where it belongs.
pub(super) fn advice(file: &Path, parent: Option<&str>) -> Vec<String> {
    let name = parent.and_then(|parent| parent.rsplit(['/', '\\']).next()).filter(|name| !name.is_empty());
    let directory = file.parent().map(|directory| directory.display().to_string());
    let place = match directory.filter(|directory| !matches!(directory.as_str(), "" | "." | "./")) {
        Some(directory) => format!("into `{directory}`"),
        None => "beside it, into this directory".to_owned(),
    };
    let place = match name {
        Some(name) => {
            format!("Put its parent `{name}`, with all that this one stands on in turn, {place}.")
        }
        None => "It does not say which image its parent is.".to_owned(),
    };
    vec![
        place,
        "Or restore from the backup's full image, or consolidate the snapshots in the source first."
            .to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_parent_belongs_is_no_row_of_dots() {
        let said = |file: &str| advice(Path::new(file), Some("/vmfs/vm/base.vmdk")).swap_remove(0);
        let end = |file: &str| said(file).split("in turn, ").nth(1).unwrap().to_owned();
        assert_eq!(end("web.vmdk"), "beside it, into this directory.");
        assert_eq!(end("./web.vmdk"), "beside it, into this directory.");
        assert_eq!(end("backups/web.vmdk"), "into `backups`.");
    }

    #[test]
    fn recorded_paths_are_looked_for_in_the_images_directory() {
        let names = |recorded: &[&str]| -> Vec<String> {
            let recorded: Vec<Vec<u8>> = recorded.iter().map(|path| path.as_bytes().to_vec()).collect();
            candidates(&recorded).into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
        };
        assert_eq!(names(&["base.vmdk"]), ["base.vmdk"]);
        assert_eq!(names(&["sub/base.vmdk"]), ["sub/base.vmdk", "base.vmdk"]);
        assert_eq!(names(&["/vmfs/volumes/5f/vm/base.vmdk"]), ["base.vmdk"]);
        assert_eq!(names(&["../vm/base.vmdk"]), ["base.vmdk"]);
        assert_eq!(names(&[".\\a.vhd", "C:\\vm\\a.vhd"]), ["./a.vhd", "C:/vm/a.vhd", "a.vhd"]);
        assert_eq!(names(&["", "..", "x/..", "/", "."]), Vec::<String>::new());
    }
}
