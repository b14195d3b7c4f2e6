//! A manifest of a disk whose size became known: that of a stream, at its end.

use std::path::{Path, PathBuf};

use super::super::block;
use super::{Header, Manifest, ManifestError};

/// How many blocks are carried over at a time.
const AT_A_TIME: u64 = 32 << 10;

impl Manifest {
    /// The same for a disk of `size` bytes, at most as large as before, in the place of this one:
    /// in the file `path` when it has a name. A crash leaves one or the other.
    ///
    /// # Errors
    /// When blocks beyond the new end are done, or it cannot be read or written.
    pub(crate) fn resized(&self, path: Option<&Path>, size: u64) -> Result<Self, ManifestError> {
        let header = Header { disk_size: size, ..self.header().clone() };
        let blocks = block::count(size);
        let ranges = self.done().all().to_vec();
        if ranges.last().is_some_and(|(_, end)| *end > blocks) {
            let path = self.path().to_owned();
            return Err(ManifestError::OtherImage { path });
        }
        let staged = path.map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".resized");
            PathBuf::from(name)
        });
        let mut new = match &staged {
            Some(staged) => Self::create(staged, header)?,
            None => Self::temporary(header)?,
        };
        for (first, end) in ranges {
            let mut at = first;
            while at < end {
                let until = end.min(at + AT_A_TIME);
                let blocks: Result<Vec<_>, _> =
                    (at..until).map(|index| self.content(index).map(|content| (index, content))).collect();
                new.checkpoint(&mut blocks?)?;
                at = until;
            }
        }
        if let (Some(staged), Some(path)) = (staged, path) {
            new.rename(&staged, path)?;
        }
        Ok(new)
    }
}
