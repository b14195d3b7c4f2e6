//! What all versions begin with, and which of them is read.

use std::io::{Read, Write};

use super::super::blocks::Overlay;
use super::error::{FileError, FileLimits};
use super::v1;

/// The first bytes of every version; the version follows as 4 bytes, little-endian.
const MAGIC: &[u8; 16] = b"replant-overlay\n";

impl Overlay {
    /// Writes it in the newest version of its stored form.
    ///
    /// # Errors
    /// When `target` cannot be written to, or the overlay contradicts itself.
    pub fn write_to(&self, mut target: impl Write) -> Result<(), FileError> {
        self.check()?;
        target.write_all(MAGIC).map_err(FileError::Write)?;
        target.write_all(&v1::VERSION.to_le_bytes()).map_err(FileError::Write)?;
        v1::write(self, &mut target)?;
        target.flush().map_err(FileError::Write)
    }

    /// Reads an overlay of any version, and checks all of it.
    ///
    /// # Errors
    /// When it is not whole, damaged, larger than `limits`, or of a newer version.
    pub fn read_from(mut source: impl Read, limits: FileLimits) -> Result<Self, FileError> {
        let mut magic = [0; MAGIC.len()];
        source.read_exact(&mut magic).map_err(FileError::Read)?;
        if &magic != MAGIC {
            return Err(FileError::NotAnOverlay);
        }
        let mut version = [0; 4];
        source.read_exact(&mut version).map_err(FileError::Read)?;
        match u32::from_le_bytes(version) {
            v1::VERSION => v1::read(&mut source, limits),
            found => Err(FileError::Newer { found, known: v1::VERSION }),
        }
    }
}
