//! Putting a preparation's blocks over a disk's content, and taking them off again.
//!
//! Both may be interrupted anywhere and done again: until they have finished, the manifest says
//! that the target holds a mixture, and each place of the overlay may hold either what the image
//! has there or what the overlay has.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{self, BLOCK, Buffer, Content};
use super::manifest::Ranges;
use super::{Cancel, CopyError, Manifest, ManifestError, Target, beyond, work};
use crate::image::overlay::{OVERLAY_BLOCK, READ_CHUNK};
use crate::image::{BlockSource, Overlay};
use crate::model::Digest;

const CHUNKS: u64 = BLOCK / READ_CHUNK;
const PIECES: u64 = BLOCK / OVERLAY_BLOCK;

/// How to put an overlay on.
#[derive(Debug, Clone, Copy, Default)]
pub struct OverlayOptions {
    /// The write before it compared the overlay's read set while it copied, in this process:
    /// the chunks need not be read again from the target.
    pub read_set_checked: bool,
}

/// What putting an overlay on came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayOutcome {
    /// The overlay's digest.
    pub overlay: Digest,
    /// Bytes written.
    pub written_bytes: u64,
}

/// Writes an overlay's blocks over the content that `manifest` describes; flushed when this
/// returns. Before the first byte is written, every block that it touches or was computed from
/// is read back from the target and compared with the manifest and the overlay's read set.
/// Writing it twice is the same as once.
///
/// Where the disk has grown, preparation saw zeros beyond the image's end and left no record of
/// them; all of that is made zero where it is not (see [`Target`] for what that costs).
///
/// # Errors
/// When the manifest is of an unfinished write or says that another overlay lies there, the
/// overlay does not fit, the target does not hold what it should, or cannot be read, written or
/// flushed.
pub fn write_overlay(
    target: &Target,
    overlay: &Overlay,
    source: &dyn BlockSource,
    manifest: &mut Manifest,
    options: &OverlayOptions,
    cancel: &Cancel,
) -> Result<OverlayOutcome, CopyError> {
    let digest = prepare(target, overlay, source, manifest)?;
    let mut buffer = Buffer::new();
    check_below(target, overlay, source, manifest, *options, cancel, &mut buffer)?;
    manifest.overlay_begins(digest, &touched(overlay))?;

    let mut written = beyond::clear_up_to(target, manifest, overlay.size, cancel, &mut buffer)?;
    each_block(overlay, &mut |index, pieces| {
        stop(cancel, manifest)?;
        for (start, length) in pieces.spans() {
            let bytes = buffer.bytes_mut(length);
            pieces.copy_span(start, bytes);
            put(target, index * BLOCK + start as u64, bytes)?;
            written += length as u64;
        }
        Ok(())
    })?;
    flush(target)?;
    manifest.overlay_done(digest)?;
    Ok(OverlayOutcome { overlay: digest, written_bytes: written })
}

/// Writes the image's own blocks back in the overlay's places (zeros beyond the image's end);
/// flushed when this returns. Undoing it twice is the same as once.
///
/// # Errors
/// As [`write_overlay`]; also when the image cannot be read, or does not hold what was written
/// from it.
pub fn undo_overlay(
    target: &Target,
    overlay: &Overlay,
    source: &dyn BlockSource,
    manifest: &mut Manifest,
    cancel: &Cancel,
) -> Result<OverlayOutcome, CopyError> {
    let digest = prepare(target, overlay, source, manifest)?;
    let mut buffer = Buffer::new();
    let options = OverlayOptions { read_set_checked: true };
    check_below(target, overlay, source, manifest, options, cancel, &mut buffer)?;
    manifest.overlay_begins(digest, &touched(overlay))?;

    let (size, mut written) = (manifest.header().disk_size, 0);
    let end = size.max(overlay.size);
    each_block(overlay, &mut |index, pieces| {
        stop(cancel, manifest)?;
        let offset = index * BLOCK;
        let bytes = buffer.bytes_mut(block::length(index, end) as usize);
        read(target, offset, bytes)?;
        pieces.put_image(source, offset, bytes).map_err(|source| CopyError::Source { offset, source })?;
        for (start, length) in pieces.spans() {
            let piece = &bytes[start..start + length];
            put(target, offset + start as u64, piece)?;
            written += length as u64;
        }
        Ok(())
    })?;
    flush(target)?;
    manifest.overlay_undone(digest)?;
    Ok(OverlayOutcome { overlay: digest, written_bytes: written })
}

/// The blocks of the copy in which an overlay has something.
fn touched(overlay: &Overlay) -> Ranges {
    overlay.blocks.keys().map(|index| (index / PIECES, index / PIECES + 1)).collect()
}

/// Refuses a manifest that says something else of overlays than what is given.
pub(super) fn check_recorded(manifest: &Manifest, overlay: Option<&Overlay>) -> Result<(), ManifestError> {
    let recorded = manifest.overlay();
    let given = overlay.map(|overlay| (overlay.digest(), true));
    if recorded == given {
        return Ok(());
    }
    let say = |state: Option<(Digest, bool)>| match state {
        None => "nothing lies".to_owned(),
        Some((overlay, true)) => format!("the overlay {} lies", overlay.short()),
        Some((overlay, false)) => format!("part of the overlay {} lies", overlay.short()),
    };
    Err(ManifestError::OtherOverlay {
        path: manifest.path().to_owned(),
        recorded: say(recorded),
        given: say(given),
    })
}

/// What must hold before an overlay is put on or taken off.
fn prepare(
    target: &Target,
    overlay: &Overlay,
    source: &dyn BlockSource,
    manifest: &Manifest,
) -> Result<Digest, CopyError> {
    if manifest.finished().is_none() {
        return Err(ManifestError::Unfinished { path: manifest.path().to_owned() }.into());
    }
    let digest = overlay.digest();
    if manifest.overlay().is_some_and(|(recorded, _)| recorded != digest) {
        check_recorded(manifest, Some(overlay))?;
    }
    let misfit = |what: String| Err(CopyError::OverlayMisfit { what });
    if source.size() != manifest.header().disk_size {
        return misfit("the image is not the size of the disk that was written".to_owned());
    }
    if overlay.size > target.size() {
        return misfit(format!("it needs {} bytes, the target has {}", overlay.size, target.size()));
    }
    if let Err(wrong) = overlay.check() {
        return misfit(wrong.to_string());
    }
    let end = manifest.header().disk_size.div_ceil(READ_CHUNK);
    match overlay.read_set.chunks.keys().next_back() {
        Some(chunk) if *chunk >= end => {
            misfit(format!("it was computed from chunk {chunk}, beyond the image"))
        }
        _ => Ok(digest),
    }
}

/// Reads back each block that the overlay touches or was computed from, and compares it.
fn check_below(
    target: &Target,
    overlay: &Overlay,
    source: &dyn BlockSource,
    manifest: &Manifest,
    options: OverlayOptions,
    cancel: &Cancel,
    buffer: &mut Buffer,
) -> Result<(), CopyError> {
    let size = manifest.header().disk_size;
    let mut blocks: BTreeSet<u64> = overlay.blocks.keys().map(|index| index / PIECES).collect();
    if !options.read_set_checked {
        blocks.extend(overlay.read_set.chunks.keys().map(|chunk| chunk / CHUNKS));
    }
    for index in blocks.into_iter().filter(|index| *index < block::count(size)) {
        stop(cancel, manifest)?;
        let offset = index * BLOCK;
        let bytes = buffer.bytes_mut(block::length(index, size) as usize);
        read(target, offset, bytes)?;
        let recorded = manifest.content(index)?;
        if Content::of(bytes) != recorded {
            // Perhaps the overlay, or part of it, is there already.
            Pieces::of_block(overlay, index)
                .put_image(source, offset, bytes)
                .map_err(|source| CopyError::Source { offset, source })?;
            if Content::of(bytes) != recorded {
                return Err(CopyError::TargetMoved { path: target.path().to_owned(), offset });
            }
        }
        if !options.read_set_checked
            && let Some((offset, expected, found)) = work::mismatch(&overlay.read_set, index, bytes)
        {
            return Err(CopyError::ImageMoved { offset, expected, found });
        }
    }
    Ok(())
}

fn each_block(
    overlay: &Overlay,
    each: &mut dyn FnMut(u64, &Pieces<'_>) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut next = 0;
    while let Some((index, _)) = overlay.blocks.range(next..).next() {
        let index = index / PIECES;
        each(index, &Pieces::of_block(overlay, index))?;
        next = (index + 1) * PIECES;
    }
    Ok(())
}

fn read(target: &Target, offset: u64, bytes: &mut [u8]) -> Result<(), CopyError> {
    target.read(offset, bytes).map_err(|source| CopyError::ReadBack {
        path: target.path().to_owned(),
        offset,
        source,
    })
}

fn put(target: &Target, offset: u64, bytes: &[u8]) -> Result<(), CopyError> {
    target.write(offset, bytes).map_err(|source| CopyError::Write {
        path: target.path().to_owned(),
        offset,
        source,
    })
}

fn flush(target: &Target) -> Result<(), CopyError> {
    target.sync().map_err(|source| CopyError::Sync { path: target.path().to_owned(), source })
}

fn stop(cancel: &Cancel, manifest: &Manifest) -> Result<(), CopyError> {
    match cancel.is_cancelled() {
        true => Err(CopyError::Cancelled { done: manifest.done_bytes(), total: manifest.header().disk_size }),
        false => Ok(()),
    }
}

/// An overlay's blocks within one block of the copy: where in it each begins, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Pieces<'a>(BTreeMap<usize, &'a [u8]>);

impl<'a> Pieces<'a> {
    pub(super) fn of_block(overlay: &'a Overlay, index: u64) -> Self {
        let first = index.saturating_mul(PIECES);
        let pieces = overlay.blocks.range(first..first.saturating_add(PIECES));
        Self(pieces.map(|(at, bytes)| (((at - first) * OVERLAY_BLOCK) as usize, bytes.as_slice())).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &'a [u8])> + '_ {
        self.0.iter().map(|(start, bytes)| (*start, *bytes))
    }

    /// Whether a block read from the target holds the overlay's bytes in all its places.
    pub(super) fn match_target(&self, bytes: &[u8]) -> bool {
        self.iter().all(|(start, piece)| bytes.get(start..start + piece.len()) == Some(piece))
    }

    /// Neighbouring places joined: where each begins, and how many bytes.
    fn spans(&self) -> Vec<(usize, usize)> {
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for (start, bytes) in self.iter() {
            match spans.last_mut() {
                Some((begin, length)) if *begin + *length == start => *length += bytes.len(),
                _ => spans.push((start, bytes.len())),
            }
        }
        spans
    }

    /// Fills `bytes` with the overlay's from `start`, a span.
    fn copy_span(&self, start: usize, bytes: &mut [u8]) {
        let end = start + bytes.len();
        for (at, piece) in self.0.range(start..end) {
            bytes[at - start..at - start + piece.len()].copy_from_slice(piece);
        }
    }
}
