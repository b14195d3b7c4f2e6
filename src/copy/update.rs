//! Bringing a target up to another image: which blocks may differ from what is recorded.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::block::{self, BLOCK, Buffer, Content};
use super::manifest::Ranges;
use super::survey::WINDOW;
use super::{CopyError, Manifest, WriteOptions, retry};
use crate::image::BlockSource;
use crate::model::Digest;

/// How many blocks that are said to be unchanged are read all the same, when that cannot be
/// proven.
const SAMPLE: u64 = 64;

/// What says which parts of an image may differ from the one that a target was written from.
#[derive(Debug, Clone, Default)]
pub enum Changes {
    /// The image itself, where it stands on that one ([`BlockSource::changed_since`]); otherwise
    /// all of it is read.
    #[default]
    OfLayers,
    /// Someone else, who cannot prove it: it is believed when the disk has the size that was
    /// written, and a sample of the blocks that it does not name is as recorded.
    Reported {
        /// Who, for people: `the dirty bitmap backup-1`.
        by: String,
        /// The parts of the disk that may differ, in bytes.
        ranges: Arc<[Range<u64>]>,
    },
    /// Nothing: all of the image is read.
    Unknown,
}

/// What an update read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reading {
    /// The whole image.
    Whole {
        /// Why nothing less would do, for people.
        why: String,
    },
    /// Only what may have changed.
    Changes {
        /// Who says what that is, for people.
        by: String,
    },
}

/// What an update is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// The identity of the image that the target was written from, or was being brought up to.
    pub from: Digest,
    /// What of the new image is read.
    pub reading: Reading,
    /// Bytes of the disk that are looked at: those that may differ. What is left is as it was.
    pub looked_at: u64,
}

/// Begins an update in the manifest, when one is needed to bring its target to the image of
/// `options`.
pub(super) fn begin(
    manifest: &mut Manifest,
    source: &dyn BlockSource,
    options: &WriteOptions,
) -> Result<Option<Update>, CopyError> {
    let (from, size) = (manifest.header().image, source.size());
    let same = from == options.image && manifest.header().disk_size == size;
    let nothing_new = same && source.is_identified() && matches!(options.changes, Changes::OfLayers);
    if nothing_new && manifest.stray().is_empty() {
        return Ok(None);
    }
    let blocks = block::count(size);
    let (mut differ, reading) = match differing(manifest, source, options, nothing_new)? {
        Ok((differ, by)) => (differ, Reading::Changes { by }),
        Err(why) => ([(0, blocks)].into_iter().collect(), Reading::Whole { why }),
    };
    for (first, end) in manifest.stray().iter() {
        differ.insert(first, end.min(blocks));
    }
    manifest.begin_update(options.image, size, &differ)?;
    let looked_at = size - manifest.done_bytes();
    Ok(Some(Update { from, reading, looked_at }))
}

/// The blocks that may differ and who says so, or why that is not known.
fn differing(
    manifest: &Manifest,
    source: &dyn BlockSource,
    options: &WriteOptions,
    nothing_new: bool,
) -> Result<Result<(Ranges, String), String>, CopyError> {
    match &options.changes {
        Changes::Unknown => Ok(Err("it was asked for".to_owned())),
        _ if nothing_new => Ok(Ok((Ranges::default(), "the image's identity".to_owned()))),
        Changes::OfLayers => match of_layers(&manifest.header().image, source)? {
            Some(differ) => Ok(Ok((differ, "the layers of the image".to_owned()))),
            None if !source.is_identified() => {
                Ok(Err("the identity of a device says nothing of its content".to_owned()))
            }
            None => Ok(Err("the image does not stand on the one that was written".to_owned())),
        },
        Changes::Reported { by, ranges } => {
            let differ = blocks_of(ranges);
            Ok(match disbelieve(manifest, source, &differ)? {
                None => Ok((differ, by.clone())),
                Some(why) => Err(format!("{by} does not fit: {why}")),
            })
        }
    }
}

fn of_layers(from: &Digest, source: &dyn BlockSource) -> Result<Option<Ranges>, CopyError> {
    let (size, mut at, mut differ) = (source.size(), 0, Ranges::default());
    while at < size {
        let end = size.min(at.saturating_add(WINDOW));
        let changed = retry::source(|| source.changed_since(from, at..end))
            .map_err(|source| CopyError::Source { offset: at, source })?;
        let Some(changed) = changed else { return Ok(None) };
        for (first, end) in blocks_of(&changed).iter() {
            differ.insert(first, end);
        }
        at = end;
    }
    Ok(Some(differ))
}

fn blocks_of(ranges: &[Range<u64>]) -> Ranges {
    ranges
        .iter()
        .filter(|range| range.start < range.end)
        .map(|range| (range.start / BLOCK, range.end.div_ceil(BLOCK)))
        .collect()
}

/// Why a report of what changed is not to be believed: as far as that can be found out.
fn disbelieve(
    manifest: &Manifest,
    source: &dyn BlockSource,
    differ: &Ranges,
) -> Result<Option<String>, CopyError> {
    let (was, is) = (manifest.header().disk_size, source.size());
    if was != is {
        return Ok(Some(format!("the disk had {was} bytes, now it has {is}")));
    }
    let mut same = manifest.done().clone();
    for (first, end) in differ.iter() {
        same.remove(first, end);
    }
    let mut buffer = Buffer::new();
    for index in manifest.sample_of(&same, SAMPLE)? {
        let offset = index * BLOCK;
        let bytes = buffer.bytes_mut(block::length(index, is) as usize);
        retry::source(|| source.read_at(offset, bytes))
            .map_err(|source| CopyError::Source { offset, source })?;
        if Content::of(bytes) != manifest.content(index)? {
            return Ok(Some(format!("it does not name byte {offset}, and that has changed")));
        }
    }
    Ok(None)
}
