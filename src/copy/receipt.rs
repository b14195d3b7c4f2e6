//! What a write came to, as data.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Update, VerifyOutcome, WriteOutcome};
use crate::model::Digest;

/// What a finished write came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The image.
    pub image: PathBuf,
    /// Its format.
    pub format: String,
    /// Its identity.
    pub identity: Digest,
    /// The target.
    pub target: PathBuf,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of it in blocks that hold data.
    pub data_bytes: u64,
    /// Bytes of it in blocks that are zero.
    pub zero_bytes: u64,
    /// Bytes of data that this run wrote.
    pub written_bytes: u64,
    /// Bytes of zeros that this run had to write over something else.
    pub zeroed_bytes: u64,
    /// Bytes of the disk that earlier runs had finished.
    pub resumed_bytes: u64,
    /// Bytes of the disk that an update left alone, for the target held them already.
    pub unchanged_bytes: u64,
    /// Bytes that were read of the image.
    pub read_bytes: u64,
    /// What was brought up to the image; `None` for a first write.
    pub update: Option<Update>,
    /// How long this run's writing took, in seconds.
    pub seconds: f64,
    /// The content's digest.
    pub content: Digest,
    /// How long reading back took, in seconds, when it was asked for; it found no difference.
    pub verified_seconds: Option<f64>,
    /// The manifest, when one was asked for.
    pub manifest: Option<PathBuf>,
}

impl Receipt {
    /// The receipt of a write; who writes what where is for the caller to say.
    #[must_use]
    pub fn new(
        (image, format, identity): (PathBuf, String, Digest),
        target: PathBuf,
        outcome: &WriteOutcome,
        verified: Option<VerifyOutcome>,
        manifest: Option<PathBuf>,
    ) -> Self {
        Self {
            image,
            format,
            identity,
            target,
            size: outcome.size,
            data_bytes: outcome.data_bytes,
            zero_bytes: outcome.zero_bytes,
            written_bytes: outcome.written_bytes,
            zeroed_bytes: outcome.zeroed_bytes,
            resumed_bytes: outcome.resumed_bytes,
            unchanged_bytes: outcome.unchanged_bytes,
            read_bytes: outcome.read_bytes,
            update: outcome.update.clone(),
            seconds: outcome.elapsed.as_secs_f64(),
            content: outcome.content,
            verified_seconds: verified.map(|verified| verified.elapsed.as_secs_f64()),
            manifest,
        }
    }
}
