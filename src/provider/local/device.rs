//! The proof that a file is a volume (promise 1), for a cloud whose devices are files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::cloud::Desk;
use super::failure::Failure;
use super::record::{AttachmentPhase, VolumeRecord};
use crate::model::{FileNode, GIB};
use crate::provider::types::{DeviceFacts, VolumeId};

impl Desk<'_> {
    /// Refuses unless the volume is attached to the access node and its file is the very one
    /// that was made for it: a regular file, no symlink and no second name, of the recorded inode
    /// and the exact size, and locked by nobody (QEMU locks what it opens).
    pub(super) fn device(&self, id: &VolumeId) -> Result<DeviceFacts, Failure> {
        let volume = self.volume(id)?;
        match &volume.attachment {
            Some(attachment) if attachment.instance != self.access_node => {
                return Err(Failure::device(format!(
                    "{id} is attached to {}, not to the access node {}",
                    attachment.instance, self.access_node
                )));
            }
            Some(attachment) if attachment.phase == AttachmentPhase::Attached => {}
            _ => {
                return Err(Failure::device(format!(
                    "{id} is not attached to the access node {}",
                    self.access_node
                )));
            }
        }
        let path = self.store.content::<VolumeRecord>(&id.0);
        let shown = path.display();
        let refused = |why: String| Failure::device(format!("{shown} is not proven to be {id}: {why}"));
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(|error| refused(format!("cannot open it: {error}")))?;
        let facts = file.metadata().map_err(|error| refused(format!("cannot look at it: {error}")))?;
        let size = volume.size.saturating_mul(GIB);
        if !facts.is_file() {
            return Err(refused("it is no regular file".to_owned()));
        }
        if facts.ino() != volume.inode {
            return Err(refused("another file was put in its place".to_owned()));
        }
        if facts.nlink() != 1 {
            return Err(refused(format!("the file has {} names", facts.nlink())));
        }
        if facts.len() != size {
            return Err(refused(format!("it has {} bytes, the volume {size}", facts.len())));
        }
        if is_locked(&file).map_err(|error| refused(format!("cannot ask for its locks: {error}")))? {
            return Err(refused("another process has it locked".to_owned()));
        }
        let node = FileNode::of(&facts);
        Ok(DeviceFacts { volume_id: id.clone(), path, size, is_file: true, node, proof: None })
    }
}

/// Whether anybody holds a record lock on a file, of either kind. (rustix has no F_OFD_GETLK, and
/// its F_GETLK takes the -1 that stands for an open file description's lock for a process id.)
fn is_locked(file: &File) -> io::Result<bool> {
    // SAFETY: `flock` is plain integers, for which zeros are valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and the call reads and writes one `flock`, which lives
    // across it.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        0 => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(io::Error::last_os_error()),
    }
}
