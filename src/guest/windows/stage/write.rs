//! Carries it out, and reads everything back.

use super::content::{self, Summary};
use super::{StageError, StagedContent, descriptor};
use crate::guest::tree::TreeError;
use crate::guest::windows::files::Files;

/// What ntfs-3g shows security descriptors as.
pub const SECURITY: &str = "system.ntfs_acl";

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// There is none yet.
    New,
    /// Over the one that is there, which keeps everything else.
    InPlace,
    /// The one that is there loses this name.
    Anew,
}

/// One thing to do.
#[derive(Debug)]
pub enum Step<'s> {
    /// Makes a directory.
    Make { path: String, descriptor: Vec<u8> },
    /// Gives something that is there a security descriptor.
    Secure { path: String, descriptor: Vec<u8> },
    /// Writes a file; without a descriptor it keeps its own.
    Write { path: String, content: &'s StagedContent, after: Summary, how: How, descriptor: Option<Vec<u8>> },
}

/// Does these things.
///
/// # Errors
/// When something cannot be written, or does not read back.
pub fn carry_out(files: &Files, steps: &[Step<'_>]) -> Result<(), StageError> {
    let tree = files.tree();
    for step in steps {
        match step {
            Step::Make { path, descriptor } => {
                tree.make_one_directory(path)?;
                tree.set_attribute(path, SECURITY, descriptor)?;
            }
            Step::Secure { path, descriptor } => tree.set_attribute(path, SECURITY, descriptor)?,
            Step::Write { path, content, after, how, descriptor } => {
                if *how == How::Anew {
                    tree.remove(path)?;
                }
                let file = if *how == How::InPlace { tree.empty_file(path)? } else { tree.create_new(path)? };
                let written = content::copy(content, path, &file)?;
                // A full volume may show only now.
                file.sync_all().map_err(|source| TreeError::Write { path: path.clone(), source })?;
                drop(file);
                if written != *after {
                    return Err(StageError::ReadBack { path: files.shown(path) });
                }
                if let Some(descriptor) = descriptor {
                    tree.set_attribute(path, SECURITY, descriptor)?;
                }
            }
        }
    }
    for (index, step) in steps.iter().enumerate() {
        let (path, wanted) = match step {
            Step::Make { path, descriptor } | Step::Secure { path, descriptor } => (path, Some(descriptor)),
            Step::Write { path, after, descriptor, .. } => {
                if content::of_file(tree, path)? != *after {
                    return Err(StageError::ReadBack { path: files.shown(path) });
                }
                (path, descriptor.as_ref())
            }
        };
        // What a later step gives another is what that gives.
        let again = |step: &Step<'_>| matches!(step, Step::Secure { path: other, .. } if other == path);
        if steps[index + 1..].iter().any(again) {
            continue;
        }
        if let Some(wanted) = wanted
            && tree.attribute(path, SECURITY, descriptor::MOST)?.as_deref() != Some(wanted.as_slice())
        {
            return Err(StageError::ReadBack { path: files.shown(path) });
        }
    }
    Ok(())
}
