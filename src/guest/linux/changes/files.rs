//! The user's files: claimed before anything else looks, placed when everything else is decided.

use std::collections::BTreeSet;

use super::accounts;
use crate::guest::draft::{Access, Draft, MOST_FILE};
use crate::guest::findings::{Findings, blocks, warns};
use crate::guest::linux::fstab::Mount;
use crate::guest::linux::mounts;
use crate::guest::tree::{Kind, Tree, TreeError};
use crate::model::GuestFile;

/// Directories of which a running system shows something else than what is on the disk.
const FLEETING: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
/// The mode of a file that is made, when none is said.
const MODE: u32 = 0o644;

/// A file whose place is known to be right.
#[derive(Debug)]
pub struct Claim<'f> {
    /// The file.
    file: &'f GuestFile,
    /// Its path, links of its directories followed.
    path: String,
    access: Access,
}

/// Looks where the files go and claims these paths. What cannot be is a finding that blocks.
///
/// # Errors
/// When a path cannot be looked up.
pub fn claim<'f>(
    draft: &mut Draft<'_>,
    files: &'f [GuestFile],
    findings: &mut Findings,
) -> Result<Vec<Claim<'f>>, TreeError> {
    let mut claims = Vec::new();
    if files.is_empty() {
        return Ok(claims);
    }
    let mounts = mounts::read(draft.tree())?;
    let mut taken = BTreeSet::new();
    for file in files {
        let path = match place(draft.tree(), &file.path, &mounts)? {
            Ok(path) if taken.insert(path.clone()) => path,
            Ok(path) => {
                findings.push(not_placed(&file.path, &format!("another file goes to {path} already")));
                continue;
            }
            Err(why) => {
                findings.push(not_placed(&file.path, &why));
                continue;
            }
        };
        if let Some(access) = access(draft, file, &path, findings)? {
            draft.claim(&path, file.content.bytes())?;
            claims.push(Claim { file, path, access });
        }
    }
    Ok(claims)
}

/// Puts the claimed files there.
///
/// # Errors
/// When what is there cannot be read.
pub fn place_all(
    draft: &mut Draft<'_>,
    claims: &[Claim<'_>],
    findings: &mut Findings,
) -> Result<(), TreeError> {
    for claim in claims {
        let directory = claim.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let purpose = if directory.is_empty() || draft.tree().is_directory(directory) {
            "your file".to_owned()
        } else {
            format!("your file, in {directory}, which is made")
        };
        draft.place(&claim.path, claim.file.content.bytes(), claim.access, &purpose)?;
    }
    for (path, purpose) in draft.refused() {
        findings.push(
            warns("file_wins", "your file stays as you gave it, where Replant would have changed it")
                .seen(format!("{path}: {purpose}"))
                .advice("Put into it what the guest needs on EC2, or leave it out."),
        );
    }
    Ok(())
}

/// Where a file really goes, or why it cannot.
fn place(tree: &Tree, path: &str, mounts: &[Mount]) -> Result<Result<String, String>, TreeError> {
    if !path.starts_with('/') {
        return Ok(Err(
            "that is a path of Windows, and the guest is a Linux: its paths begin with /".to_owned()
        ));
    }
    let Some(real) = tree.real_path(path)? else {
        return Ok(Err("its directories are links that lead in circles".to_owned()));
    };
    let leads = if real == path { String::new() } else { format!("it leads to {real}; ") };
    if let Some(directory) = FLEETING.iter().find(|directory| is_within(&real, directory)) {
        return Ok(Err(format!(
            "{leads}a running system shows nothing that lies in {directory} on its disk"
        )));
    }
    if let Some(obstacle) = tree.obstacle(&real)? {
        return Ok(Err(format!("{leads}{obstacle} is no directory")));
    }
    match tree.symlink_metadata(&real)? {
        Some(found) if found.kind == Kind::Directory => {
            return Ok(Err(format!("{leads}a directory is there")));
        }
        Some(found) if found.kind == Kind::Other => {
            return Ok(Err(format!("{leads}a device, pipe or socket is there")));
        }
        Some(found) if found.kind == Kind::Symlink && tree.is_directory(&real) => {
            return Ok(Err(format!("{leads}a link to a directory is there")));
        }
        Some(found) if found.kind == Kind::File && found.length > MOST_FILE => {
            return Ok(Err(format!("{leads}a file of {} bytes is there", found.length)));
        }
        _ => {}
    }
    let hiding = mounts.iter().find(|mount| {
        mount.target != "/"
            && mount.target.starts_with('/')
            && !mount.is_swap()
            && !mount.has_option("noauto")
            && is_within(&real, mount.target.trim_end_matches('/'))
            && !is_mounted(tree, &mount.target)
    });
    if let Some(mount) = hiding {
        return Ok(Err(format!(
            "{leads}{} is mounted over it at boot, and is not to be had here (/etc/fstab:{})",
            mount.target, mount.line
        )));
    }
    Ok(Ok(real))
}

fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether another filesystem begins at a directory.
fn is_mounted(tree: &Tree, target: &str) -> bool {
    let target = target.trim_end_matches('/');
    let above = target.rsplit_once('/').map_or("/", |(above, _)| if above.is_empty() { "/" } else { above });
    let device = |path| tree.metadata(path).ok().flatten().map(|found| found.device);
    device(target).is_some() && device(target) != device(above)
}

/// Whose the file will be; `None` when the guest knows no such owner or group.
fn access(
    draft: &Draft<'_>,
    file: &GuestFile,
    path: &str,
    findings: &mut Findings,
) -> Result<Option<Access>, TreeError> {
    let now = draft.tree().symlink_metadata(path)?.filter(|found| found.kind == Kind::File);
    let mut resolve = |name: &Option<String>, kind: &str, found: Option<u32>, now: u32| match (name, found) {
        (None, _) => Some(now),
        (Some(_), Some(number)) => Some(number),
        (Some(name), None) => {
            let database = if kind == "user" { "/etc/passwd" } else { "/etc/group" };
            findings.push(
                blocks("file_owner_unknown", format!("the guest has no {kind} of the name that a file of yours is to belong to"))
                    .seen(format!("{}: {name} is not in {database}", file.path))
                    .advice("Write a name that the guest has, or a number; users of a directory service are known by their numbers only."),
            );
            None
        }
    };
    let user = file.owner.as_ref().and_then(|name| accounts::user(draft, name));
    let group = file.group.as_ref().and_then(|name| accounts::group(draft, name));
    let uid = resolve(&file.owner, "user", user, now.map_or(0, |now| now.uid));
    let gid = resolve(&file.group, "group", group, now.map_or(0, |now| now.gid));
    let mode = file.mode.unwrap_or_else(|| now.map_or(MODE, |now| now.mode));
    Ok(uid.zip(gid).map(|(uid, gid)| Access { mode, uid, gid }))
}

fn not_placed(path: &str, why: &str) -> crate::guest::report::Finding {
    blocks("file_not_placed", "a file of yours cannot be put where it is wanted")
        .seen(format!("{path}: {why}"))
        .advice("Choose another path, or let `first_boot` make the file.")
}
