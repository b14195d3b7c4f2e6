//! What a target has where the disk has nothing.

use super::block::{BLOCK, Buffer};
use super::{Cancel, CopyError, Manifest, Target};

/// How much is made zero between two looks whether to stop.
const STEP: u64 = 64 << 20;

/// Makes zero what may be something else beyond the disk's end: an overlay's blocks, or the end of
/// a larger disk. Says how many bytes had to be written for that.
pub(super) fn clear_stray(target: &Target, manifest: &Manifest, cancel: &Cancel) -> Result<u64, CopyError> {
    let size = manifest.header().disk_size;
    let (mut buffer, mut written) = (Buffer::new(), 0);
    for (first, end) in manifest.stray().iter() {
        let (begin, end) = ((first * BLOCK).max(size), (end * BLOCK).min(target.size()));
        written += clear(target, begin, end, &mut buffer, &|| {
            let (done, total) = (manifest.done_bytes(), size);
            if cancel.is_cancelled() { Err(CopyError::Cancelled { done, total }) } else { Ok(()) }
        })?;
    }
    Ok(written)
}

/// Makes the first and the last MiB beyond the disk's end zero: where partition tables,
/// filesystems and volume managers leave their marks. Says how many bytes had to be written.
pub(super) fn clear_ends(target: &Target, size: u64) -> Result<u64, CopyError> {
    let (mut buffer, end) = (Buffer::new(), target.size());
    let first = end.min(size.saturating_add(BLOCK));
    let written = clear(target, size, first, &mut buffer, &|| Ok(()))?;
    Ok(written + clear(target, first.max(end.saturating_sub(BLOCK)), end, &mut buffer, &|| Ok(()))?)
}

fn clear(
    target: &Target,
    mut offset: u64,
    end: u64,
    buffer: &mut Buffer,
    go_on: &dyn Fn() -> Result<(), CopyError>,
) -> Result<u64, CopyError> {
    let mut written = 0;
    while offset < end {
        go_on()?;
        // Up to the next multiple, so that all steps but the first begin aligned.
        let until = end.min((offset + 1).next_multiple_of(STEP));
        written += target.zero(offset, until - offset, buffer).map_err(|source| CopyError::Write {
            path: target.path().to_owned(),
            offset,
            source,
        })?;
        offset = until;
    }
    Ok(written)
}

/// Makes everything from the disk's end up to `end` zero.
pub(super) fn clear_up_to(
    target: &Target,
    manifest: &Manifest,
    end: u64,
    cancel: &Cancel,
    buffer: &mut Buffer,
) -> Result<u64, CopyError> {
    let total = manifest.header().disk_size;
    clear(target, total, end, buffer, &|| match cancel.is_cancelled() {
        true => Err(CopyError::Cancelled { done: manifest.done_bytes(), total }),
        false => Ok(()),
    })
}
