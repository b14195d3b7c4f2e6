//! What a copy tells while it runs, and how it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Update;
use crate::model::Digest;

/// What happens in a copy. All numbers are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The target was written before, and is brought up to the image: only what differs will be
    /// written.
    Updating(Update),
    /// The source was surveyed; writing begins.
    Started {
        /// The disk's size.
        total: u64,
        /// Bytes that the image's metadata calls data (they may still be zeros), in blocks that
        /// are not done.
        data: u64,
        /// Bytes that it calls zero there.
        zero: u64,
        /// Bytes that an earlier run has finished already.
        resumed: u64,
    },
    /// A stream is being read, of which nothing is known but perhaps its disk's size; writing
    /// begins.
    Streaming {
        /// The disk's size, when it is known.
        total: Option<u64>,
        /// Bytes that an earlier run has finished already: they are read again and compared.
        resumed: u64,
    },
    /// How much of a stream has come; at most ten a second.
    Received {
        /// Bytes of the stream as they come: compressed ones count as such.
        bytes: u64,
    },
    /// Where it stands; at most ten a second.
    Progress {
        /// Bytes of the disk that are finished, those of earlier runs and those that an update
        /// need not look at included.
        done: u64,
        /// Bytes of data that this run wrote.
        written: u64,
        /// Bytes that this run found to be zero.
        zero: u64,
        /// Bytes that this run looked at and found on the target already.
        unchanged: u64,
        /// Bytes of data that are not dealt with yet, of those that [`Started`](Self::Started)
        /// counts; unknown of a stream.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data_left: Option<u64>,
        /// Milliseconds until the end, by what data and zeros have cost lately; unknown of a
        /// stream, and at first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_left: Option<u64>,
    },
    /// The target was flushed and the manifest says so: a crash loses nothing of it.
    Checkpoint {
        /// Bytes of the disk that are safe.
        done: u64,
    },
    /// Everything is written; reading back begins.
    Verifying {
        /// The disk's size.
        total: u64,
    },
    /// Where reading back stands; at most ten a second.
    Verified {
        /// Bytes compared.
        done: u64,
    },
    /// The content is on the target and flushed.
    Finished {
        /// The content's digest.
        content: Digest,
        /// Bytes that are data.
        data: u64,
        /// Bytes that are zero.
        zero: u64,
    },
}

/// Someone who wants to know. Called from one thread at a time, a few times a second.
pub trait Observer: Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event) {}
}

/// A request to stop, shared by whoever asks and whoever works. Work stops at the next block,
/// with a last checkpoint.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Not asked for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request that is the given flag (one that a signal sets, say).
    #[must_use]
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether someone asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
