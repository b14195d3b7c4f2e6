//! An initramfs as the kernel would have it in memory.

use std::collections::BTreeMap;

use super::compression::Compression;
use crate::model::Digest;

/// How many symbolic links one path may lead through.
const MOST_LINKS: u32 = 40;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A regular file of so many bytes.
    File(u32),
    /// A directory.
    Directory,
    /// A symbolic link and its target.
    Symlink(String),
    /// A device node, FIFO or socket.
    Other,
}

/// One segment: a run of uncompressed archive, or one compressed stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Where it ends: the byte after its last.
    pub end: u64,
    /// Its compression; `None` for a plain archive.
    pub compression: Option<Compression>,
    /// How many members it holds.
    pub members: usize,
    /// Whether it holds nothing outside `kernel/`: early microcode.
    pub early: bool,
}

/// An initramfs as the kernel would have it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its segments in order.
    pub segments: Vec<Segment>,
    /// Path without a leading slash → what stands there after all segments.
    pub members: BTreeMap<String, Member>,
    /// The contents that were asked for.
    pub kept: BTreeMap<String, Vec<u8>>,
    /// The file's length in bytes.
    pub length: u64,
    /// The digest of the file.
    pub digest: Digest,
}

impl Default for Archive {
    fn default() -> Self {
        let (segments, members, kept) = Default::default();
        Self { segments, members, kept, length: 0, digest: Digest::of(&[]) }
    }
}

impl Archive {
    /// The real path of a path: links in it (and at its end) followed inside the archive. What is
    /// not there is taken as it stands. `None` for a loop.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut rest: Vec<String> = parts(path).rev().map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            if let Some(Member::Symlink(target)) = self.members.get(&done.join("/")) {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                rest.extend(parts(target).rev().map(str::to_owned));
            }
        }
        Some(done.join("/"))
    }

    /// Whether what is put behind it cannot change how it itself is read: its last stream ends by
    /// its own format. lz4's legacy format ends with the file, and the kernel's decoders of lzma and
    /// lzo look at what follows.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let last = self.segments.last().map(|segment| segment.compression);
        last.is_some_and(|compression| {
            !matches!(compression, Some(Compression::Lz4 | Compression::Lzma | Compression::Lzo))
        })
    }

    /// What a path leads to, links followed.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Member> {
        self.members.get(&self.resolve(path)?)
    }

    /// The content of a file, when it was kept, links followed.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.kept.get(&self.resolve(path)?).map(Vec::as_slice)
    }
}

/// The parts of a path that name something.
pub(super) fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}
