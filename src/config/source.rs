//! Source files and places in them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::diagnostic::Span;

/// The largest file that a configuration may consist of or read: 16 MiB.
pub(super) const MAX_FILE: u64 = 16 << 20;

/// A range of bytes in one of the [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    /// From this place's start to the other's end.
    pub(super) fn to(self, other: Self) -> Self {
        Self { end: other.end.max(self.end), ..self }
    }
}

/// One text and the path it is shown under.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The byte offset of each line's start.
    lines: Vec<u32>,
}

impl SourceFile {
    fn new(path: PathBuf, text: String) -> Self {
        let starts = text.bytes().zip(1u32..).filter(|(byte, _)| *byte == b'\n').map(|(_, next)| next);
        let lines = std::iter::once(0).chain(starts).collect();
        Self { path, text, lines }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let start = floor_boundary(&self.text, start);
        let index = self.lines.partition_point(|line| *line as usize <= start).saturating_sub(1);
        let line_start = self.lines.get(index).map_or(0, |line| *line as usize);
        let rest = &self.text[line_start..];
        let source_line = rest.find('\n').map_or(rest, |end| &rest[..end]).trim_end_matches('\r');
        let line_end = line_start + source_line.len();
        let end = floor_boundary(&self.text, end.min(line_end)).max(start);
        let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        Span {
            file: self.path.clone(),
            line: u32::try_from(index + 1).unwrap_or(u32::MAX),
            column: count(&self.text[line_start..start]).saturating_add(1),
            length: count(&self.text[start..end]).max(1),
            source_line: source_line.to_owned(),
        }
    }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// All texts of a configuration; templates that are read while evaluating are added.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: RwLock<Vec<Arc<SourceFile>>>,
}

impl Sources {
    /// Adds a text; gives its number.
    pub(super) fn add(&self, path: PathBuf, text: String) -> (u32, Arc<SourceFile>) {
        let file = Arc::new(SourceFile::new(path, text));
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::clone(&file));
        (u32::try_from(files.len() - 1).unwrap_or(u32::MAX), file)
    }

    /// Where that is, for people.
    pub(super) fn span(&self, place: Place) -> Option<Span> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.get(place.file as usize).map(|file| file.span(place.start as usize, place.end as usize))
    }

    /// The text at that place.
    pub(super) fn text(&self, place: Place) -> String {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files
            .get(place.file as usize)
            .and_then(|file| file.text.get(place.start as usize..place.end as usize))
            .unwrap_or_default()
            .to_owned()
    }
}

/// Why a file of the configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is larger than [`MAX_FILE`].
    #[error("it is larger than 16 MiB, the most that a configuration reads")]
    TooLarge,
    /// It is not UTF-8.
    #[error("it is not UTF-8 text (byte {0} is no part of any character)")]
    NotText(usize),
    /// It is a device, a pipe or the like, from which reading might never end.
    #[error("it is not a regular file")]
    NotAFile,
}

/// Reads a file of bounded size.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ReadError::TooLarge);
    }
    Ok(bytes)
}

/// Reads a text file of bounded size.
pub(super) fn read_text(path: &Path) -> Result<String, ReadError> {
    String::from_utf8(read_bytes(path)?).map_err(|error| ReadError::NotText(error.utf8_error().valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_spans_end_with_their_line() {
        let sources = Sources::default();
        let (file, _) = sources.add("a.hcl".into(), "x = 1\r\nné = \"ü\"\n".to_owned());
        let start = u32::try_from("x = 1\r\nné = ".len()).unwrap();
        let span = sources.span(Place { file, start, end: start + 40 }).unwrap();
        assert_eq!((span.line, span.column, span.length), (2, 6, 3));
        assert_eq!(span.source_line, "né = \"ü\"");
        let first = sources.span(Place { file, start: 0, end: 99 }).unwrap();
        assert_eq!((first.line, first.length, first.source_line.as_str()), (1, 5, "x = 1"));
        assert!(sources.span(Place { file, start: 900, end: 901 }).is_some());
    }
}
