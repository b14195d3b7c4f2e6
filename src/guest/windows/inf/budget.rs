//! What a reading may take: a few bytes of a file can name long strings again and again.

use super::error::InfError;

/// Most bytes of what is made of one file at a time.
const MOST: usize = 8 << 20;
/// What an entry costs beside its texts.
const ENTRY: usize = 64;

/// Bytes that are left.
pub struct Budget(usize);

impl Budget {
    /// A new one.
    pub fn new() -> Self {
        Self(MOST)
    }

    /// Takes an entry with so many bytes of text.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn take(&mut self, bytes: usize) -> Result<(), InfError> {
        let left = self.0.checked_sub(bytes.saturating_add(ENTRY));
        self.0 = left.ok_or(InfError::TooMany { what: "bytes of entries", most: MOST })?;
        Ok(())
    }

    /// Takes a text, and gives it.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn text(&mut self, text: String) -> Result<String, InfError> {
        self.take(text.len())?;
        Ok(text)
    }
}
