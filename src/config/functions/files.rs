//! Files: read once, relative to the configuration's directory, of bounded size.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::arguments::{Arguments, FunctionError, MAX_ELEMENTS, Result};
use crate::config::ast::Expr;
use crate::config::expression::{Evaluation, Evaluator};
use crate::config::lower::Lower;
use crate::config::source::{Place, read_bytes};
use crate::config::value::Value;
use crate::model::Digest;

/// Most files that are kept; a configuration that reads more reads them again.
const MAX_KEPT: usize = 4096;
/// Most bytes that are kept.
const MAX_KEPT_BYTES: usize = 256 << 20;
/// How deep templates may call templates.
const MAX_TEMPLATE_DEPTH: usize = 10;

/// A file's bytes, or why there are none.
pub(in crate::config) type Content = std::result::Result<Arc<[u8]>, Arc<str>>;

/// What has been read from files.
#[derive(Debug, Default)]
pub(in crate::config) struct FileCache {
    contents: Mutex<BTreeMap<PathBuf, Content>>,
    digests: Mutex<BTreeMap<PathBuf, Digest>>,
    templates: Mutex<BTreeMap<PathBuf, Arc<Expr>>>,
    depth: AtomicUsize,
}

/// Counts a template's nesting down when it ends.
pub(super) struct Depth<'a>(&'a AtomicUsize);

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileCache {
    /// The content of a file, or why there is none.
    fn read(&self, path: &Path) -> Content {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = contents.get(path) {
            return content.clone();
        }
        let content: Content =
            read_bytes(path).map(Arc::from).map_err(|error| Arc::from(error.to_string().as_str()));
        let digest = content.as_ref().map_or(Digest::of(b""), |bytes| Digest::of(bytes));
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), digest);
        let kept: usize =
            contents.values().map(|content| content.as_ref().map_or(0, |bytes| bytes.len())).sum();
        let size = content.as_ref().map_or(0, |bytes| bytes.len());
        if contents.len() < MAX_KEPT && kept.saturating_add(size) <= MAX_KEPT_BYTES {
            contents.insert(path.to_owned(), content.clone());
        }
        content
    }

    /// The content of a file whose path is relative to a directory, or why there is none.
    pub(in crate::config) fn read_from(&self, directory: &Path, path: &str) -> Content {
        self.read(&directory.join(&*expand_home(path)))
    }

    /// Every file that was read, and its content's digest.
    pub(in crate::config) fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One level deeper, or nothing when that is too deep.
    pub(super) fn enter_template(&self) -> Option<Depth<'_>> {
        let depth = Depth(&self.depth);
        (self.depth.fetch_add(1, Ordering::Relaxed) < MAX_TEMPLATE_DEPTH).then_some(depth)
    }
}

fn read(arguments: &Arguments<'_>) -> Result<Arc<[u8]>> {
    let path = arguments.string(0)?;
    let full = arguments.directory.join(&*expand_home(&path));
    arguments.files.read(&full).map_err(|why| {
        FunctionError::at(0, format!("cannot read `{path}`: {why}")).help(
            "paths are relative to the configuration's directory; fileexists(…) tells whether there is one",
        )
    })
}

fn text(bytes: &[u8], argument: usize) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| {
        FunctionError::at(argument, "the file is not UTF-8 text").help("read it as base64: filebase64(…)")
    })
}

pub(super) fn file(arguments: &Arguments<'_>) -> Result {
    let bytes = read(arguments)?;
    Ok(Value::string(text(&bytes, 0)?))
}

pub(super) fn filebase64(arguments: &Arguments<'_>) -> Result {
    Ok(Value::string(STANDARD.encode(read(arguments)?)))
}

pub(super) fn filesha256(arguments: &Arguments<'_>) -> Result {
    let digest = Sha256::digest(read(arguments)?);
    Ok(Value::string(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

pub(super) fn fileexists(arguments: &Arguments<'_>) -> Result {
    let path = arguments.string(0)?;
    match std::fs::metadata(arguments.directory.join(&*expand_home(&path))) {
        Ok(metadata) if metadata.is_dir() => {
            Err(FunctionError::at(0, format!("`{path}` is a directory, not a file")))
        }
        Ok(metadata) => Ok(Value::bool(metadata.is_file())),
        Err(_) => Ok(Value::bool(false)),
    }
}

pub(super) fn fileset(arguments: &Arguments<'_>) -> Result {
    let directory = arguments.directory.join(&*expand_home(&arguments.string(0)?));
    let pattern = arguments.string(1)?;
    let glob = globset::GlobBuilder::new(&pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| FunctionError::at(1, format!("the pattern is wrong: {}", error.kind())))?
        .compile_matcher();
    let mut found = Vec::new();
    let mut seen = 0usize;
    for entry in walkdir::WalkDir::new(&directory).follow_links(true) {
        // What cannot be read, or is a loop of links, has no files to name.
        let Ok(entry) = entry else { continue };
        seen += 1;
        if seen > MAX_ELEMENTS * 10 {
            return Err(FunctionError::at(0, "the directory holds more than a million files"));
        }
        if let Ok(relative) = entry.path().strip_prefix(&directory)
            && entry.file_type().is_file()
            && glob.is_match(relative)
            && let Some(text) = relative.to_str()
        {
            found.push(Value::string(text));
        }
    }
    super::arguments::check_count(found.len())?;
    Ok(Value::set(found))
}

/// The parsed template of a file, parsed once.
pub(super) fn template(
    evaluator: &Evaluator<'_>,
    path: &str,
    place: Place,
    hidden: bool,
) -> Evaluation<Arc<Expr>> {
    let full = evaluator.directory.join(&*expand_home(path));
    let templates = &evaluator.files.templates;
    if let Some(found) = templates.lock().unwrap_or_else(PoisonError::into_inner).get(&full) {
        return Ok(Arc::clone(found));
    }
    let shown = if hidden { "the file".to_owned() } else { format!("`{path}`") };
    let failed = |why: &str| {
        evaluator
            .error(place, "config::function_failed", "a function failed")
            .detail(format!("`templatefile`: cannot read {shown}: {why}."))
            .help("paths are relative to the configuration's directory")
    };
    let bytes = evaluator.files.read(&full).map_err(|why| failed(&why))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not UTF-8 text"))?;
    let (file, source) = evaluator.sources.add(full.clone(), text.to_owned());
    let parsed = hcl::edit::parser::parse_template(text).map_err(|error| {
        let offset = u32::try_from(error.location().offset()).unwrap_or(u32::MAX);
        evaluator
            .error(
                Place { file, start: offset, end: offset.saturating_add(1) },
                "config::syntax",
                "a template is not written correctly",
            )
            .detail(format!("In the template file: {}.", error.message()))
            .help("`$${` and `%%{` stand for the characters themselves")
    })?;
    let lowered = Arc::new(Lower { file, text }.template_file(&parsed, source.text.len()));
    templates.lock().unwrap_or_else(PoisonError::into_inner).insert(full, Arc::clone(&lowered));
    Ok(lowered)
}

/// `~` and `~/…` with the home directory in its place.
fn expand_home(path: &str) -> std::borrow::Cow<'_, str> {
    match (path.strip_prefix('~'), std::env::var("HOME")) {
        (Some(rest), Ok(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}").into(),
        _ => path.into(),
    }
}

pub(super) fn pathexpand(arguments: &Arguments<'_>) -> Result {
    let path = arguments.string(0)?;
    Ok(Value::string(expand_home(&path).as_ref()))
}

/// The path without `.`, `..` and doubled separators, by its text alone.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => match cleaned.components().next_back() {
                Some(Component::Normal(_)) => {
                    cleaned.pop();
                }
                Some(Component::RootDir) => {}
                _ => cleaned.push(".."),
            },
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

pub(super) fn abspath(arguments: &Arguments<'_>) -> Result {
    let path = arguments.directory.join(&*arguments.string(0)?);
    let absolute = std::path::absolute(&path)
        .map_err(|error| FunctionError::new(format!("the current directory is unknown: {error}")))?;
    Ok(Value::string(clean(&absolute).to_string_lossy()))
}

pub(super) fn basename(arguments: &Arguments<'_>) -> Result {
    let path = arguments.string(0)?;
    let trimmed = path.trim_end_matches('/');
    Ok(Value::string(match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (false, true) => "/",
        (false, false) => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }))
}

pub(super) fn dirname(arguments: &Arguments<'_>) -> Result {
    let path = arguments.string(0)?;
    let directory = path.rfind('/').map_or("", |slash| &path[..=slash]);
    Ok(Value::string(clean(Path::new(directory)).to_string_lossy()))
}
