//! The user's files.

use std::collections::BTreeSet;

use crate::guest::findings::{Findings, blocks};
use crate::guest::tree::TreeError;
use crate::guest::windows::files::Files;
use crate::guest::windows::stage::{Access, StageError, Staged, StagedContent, check, folded, look};
use crate::model::GuestFile;

/// The drive of the volume that Windows is on.
const DRIVE: char = 'C';
/// Where registry hives are, which are edited by their values.
const HIVES: &str = "/windows/system32/config/";

/// The user's files as they are put into the volume. What cannot be is a finding that blocks.
///
/// # Errors
/// When the volume cannot be read.
pub fn staged(
    files: &Files,
    wanted: &[GuestFile],
    findings: &mut Findings,
) -> Result<Vec<Staged>, TreeError> {
    let mut staged = Vec::new();
    let mut taken = BTreeSet::new();
    for file in wanted {
        let why = match place(files, file) {
            Ok(path) if taken.insert(folded(&path)) => {
                let content = StagedContent::Bytes(file.content.bytes().to_vec());
                staged.push(Staged::File {
                    path,
                    content,
                    access: Access::LikeSibling,
                    purpose: "your file",
                });
                continue;
            }
            Ok(path) => format!("another file goes to {} already", files.shown(&path)),
            Err(StageError::File(error)) => return Err(error),
            Err(StageError::Name { why, .. }) => why.to_owned(),
            Err(error) => error.to_string(),
        };
        findings.push(
            blocks("file_not_placed", "a file of yours cannot be put where it is wanted")
                .seen(format!("{}: {why}", file.path))
                .advice("Choose another path, or let `first_boot` make the file."),
        );
    }
    Ok(staged)
}

fn place(files: &Files, file: &GuestFile) -> Result<String, StageError> {
    let wrong = |why| StageError::Name { path: file.path.clone(), why };
    let path = file.windows_path(DRIVE).ok_or_else(|| {
        wrong(match file.drive() {
            Some(_) => "only C:, the volume that Windows is on, is written to",
            None => "the guest is Windows: its paths begin with the drive, as in C:\\Tools\\x.txt",
        })
    })?;
    if file.mode.is_some() || file.owner.is_some() || file.group.is_some() {
        return Err(wrong("files in Windows have no mode, owner or group of this kind"));
    }
    check(&path)?;
    if folded(&path).starts_with(HIVES) {
        return Err(wrong("the registry lies there, which is edited by its values"));
    }
    look(files, &path)?;
    Ok(path)
}
