//! Snapshots: copies that share blocks where the filesystem can, and keep holes where not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::cloud::Desk;
use super::failure::Failure;
use super::machine;
use super::qmp;
use super::record::{InstancePhase, SnapshotRecord, VolumePhase, VolumeRecord};
use super::rules;
use super::settle::token_key;
use super::store::{TOKENS, create, publish, remove_file, temporary};
use crate::provider::types::{CreateSnapshot, SnapshotId, SnapshotView};

/// Bytes copied at once.
const BLOCK: usize = 1 << 20;
/// Most characters of a description.
const MAX_DESCRIPTION: usize = 255;

impl Desk<'_> {
    pub(super) fn snapshot(&self, id: &SnapshotId) -> Result<SnapshotRecord, Failure> {
        self.store.read::<SnapshotRecord>(&id.0)?.ok_or_else(|| {
            Failure::not_found("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist."))
        })
    }

    /// Copies the volume before it answers: what is written afterwards is not in the snapshot.
    pub(super) fn create_snapshot(&self, request: &CreateSnapshot) -> Result<SnapshotView, Failure> {
        rules::token(&request.token.0)?;
        rules::tags(&request.tags)?;
        if request.description.chars().count() > MAX_DESCRIPTION {
            return Err(Failure::value(format!("A description has at most {MAX_DESCRIPTION} characters")));
        }
        let id = self.claim::<SnapshotRecord>("CreateSnapshot", &request.token)?;
        if let Some(made) = self.store.read::<SnapshotRecord>(&id)? {
            if made.request != *request {
                return Err(Failure::parameter(
                    "IdempotentParameterMismatch",
                    format!("The client token '{}' was used with other parameters", request.token),
                ));
            }
            return Ok(self.snapshot_view(&made));
        }
        let volume = self.volume(&request.volume_id)?;
        if volume.phase != VolumePhase::Available {
            return Err(Failure::state(
                "IncorrectState",
                format!("Volume '{}' is neither 'available' nor 'in-use'.", volume.id),
            ));
        }
        self.copy_at_rest(&volume, &id)?;
        let snapshot = SnapshotRecord {
            id: SnapshotId(id),
            request: request.clone(),
            size: volume.size,
            encrypted: volume.encrypted,
            kms_key_id: volume.kms_key_id.clone(),
            since: self.now,
            tags: request.tags.clone(),
        };
        self.store.write(&snapshot)?;
        Ok(self.snapshot_view(&snapshot))
    }

    /// Copies a volume while no guest writes to it: a running one is paused, which is noted first.
    fn copy_at_rest(&self, volume: &VolumeRecord, snapshot: &str) -> Result<(), Failure> {
        let instance = match &volume.attachment {
            Some(attachment) if attachment.instance != self.access_node => {
                self.instance_by_id(&attachment.instance.0)?
            }
            _ => None,
        };
        let running = instance.filter(|instance| {
            instance.boot.is_some()
                && !matches!(instance.phase, InstancePhase::Stopped | InstancePhase::Terminated)
        });
        let Some(mut instance) = running else { return self.copy(volume, snapshot) };
        let directory = self.machine_directory(&instance.id.0);
        instance.paused = true;
        self.store.write(&instance)?;
        let copied = match qmp::command(&directory, "stop") {
            Ok(_) => self.copy(volume, snapshot),
            Err(_) if !machine::is_alive(&directory)? => self.copy(volume, snapshot),
            Err(error) => Err(Failure::program(
                "LocalQemu",
                format!("cannot pause {} for a snapshot: {error}", instance.id),
            )),
        };
        self.resume(&mut instance)?;
        copied
    }

    fn copy(&self, volume: &VolumeRecord, snapshot: &str) -> Result<(), Failure> {
        let from = self.store.content::<VolumeRecord>(&volume.id.0);
        let to = self.store.content::<SnapshotRecord>(snapshot);
        let (temporary, _) = copied(&from, &to, None)?;
        publish(&temporary, &to)
    }

    pub(super) fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), Failure> {
        let snapshot = self.snapshot(id)?;
        if let Some(image) = self.image_of(id)? {
            return Err(Failure::state(
                "InvalidSnapshot.InUse",
                format!("The snapshot {id} is currently in use by {image}"),
            ));
        }
        self.store.remove::<SnapshotRecord>(&id.0)?;
        remove_file(&self.store.content::<SnapshotRecord>(&id.0))?;
        self.store.remove_name(TOKENS, &token_key("CreateSnapshot", &snapshot.request.token))
    }
}

/// A file's copy under the temporary name of what it is to be, of that many bytes when they are said.
pub(super) fn copied(from: &Path, to: &Path, size: Option<u64>) -> Result<(PathBuf, File), Failure> {
    let temporary = temporary(to);
    let fail = |error: io::Error| Failure::file("copy to", to, error);
    let source = File::open(from).map_err(|error| Failure::file("open", from, error))?;
    let target = create(&temporary).map_err(fail)?;
    let copied = copy_sparse(&source, &target)
        .and_then(|()| size.map_or(Ok(()), |size| target.set_len(size)))
        .and_then(|()| target.sync_all());
    if let Err(error) = copied {
        // A full disk must not stay full.
        remove_file(&temporary)?;
        return Err(fail(error));
    }
    Ok((temporary, target))
}

/// Copies a file's data and keeps its holes; in one step where the filesystem shares blocks.
fn copy_sparse(mut source: &File, mut target: &File) -> io::Result<()> {
    if ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut buffer = vec![0; BLOCK];
    let mut position = 0;
    while position < length {
        let data = match seek(source, SeekFrom::Data(position)) {
            Ok(data) => data,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, SeekFrom::Hole(data))?.min(length);
        seek(source, SeekFrom::Start(data))?;
        seek(target, SeekFrom::Start(data))?;
        position = data;
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(BLOCK).min(BLOCK);
            let got = source.read(&mut buffer[..wanted])?;
            if got == 0 {
                return Ok(());
            }
            target.write_all(&buffer[..got])?;
            position += got as u64;
        }
    }
    Ok(())
}
