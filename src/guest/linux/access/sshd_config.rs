//! `sshd_config` (sshd_config(5)): keywords in any case, the first value counts, `Include` takes
//! its place, what follows a `Match` holds for some connections only and is left out.

use crate::guest::draft::Draft;
use crate::guest::tree::TreeError;

/// The main file.
pub const MAIN: &str = "/etc/ssh/sshd_config";
/// How deep files include each other, as in sshd.
const DEPTH: u32 = 16;
/// Most files and settings that are read.
const MOST: usize = 512;

/// One setting, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// In lower case.
    pub keyword: String,
    /// All that follows, without quotes.
    pub value: String,
    /// The file.
    pub path: String,
    /// Its line, from 1.
    pub line: u32,
    /// The line as it stands.
    pub text: String,
}

/// The settings that hold for every connection, in the order in which sshd reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(Vec<Setting>);

impl Settings {
    /// Reads the configuration; empty when there is none.
    ///
    /// # Errors
    /// When a directory of included files cannot be listed.
    pub fn read(draft: &Draft<'_>) -> Result<Self, TreeError> {
        let mut settings = Vec::new();
        let mut files = 0;
        add(draft, MAIN, DEPTH, &mut files, &mut settings)?;
        Ok(Self(settings))
    }

    /// The one that counts of a keyword (in lower case) that has one value.
    #[must_use]
    pub fn first(&self, keyword: &str) -> Option<&Setting> {
        self.all(keyword).next()
    }

    /// All of a keyword that may stand several times.
    pub fn all<'s>(&'s self, keyword: &str) -> impl Iterator<Item = &'s Setting> {
        let keyword = keyword.to_owned();
        self.0.iter().filter(move |setting| setting.keyword == keyword)
    }

    /// Whether the value that counts is this one, in any case.
    #[must_use]
    pub fn is(&self, keyword: &str, value: &str) -> bool {
        self.first(keyword).is_some_and(|setting| setting.value.eq_ignore_ascii_case(value))
    }
}

fn add(
    draft: &Draft<'_>,
    path: &str,
    depth: u32,
    files: &mut usize,
    settings: &mut Vec<Setting>,
) -> Result<(), TreeError> {
    *files += 1;
    if *files > MOST {
        return Ok(());
    }
    for (text, line) in draft.text(path).unwrap_or_default().lines().zip(1_u32..) {
        let text = text.trim();
        let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
        let (keyword, value) = text.split_at(end);
        let keyword = keyword.to_ascii_lowercase();
        let value = value.trim_start_matches(|c: char| c.is_whitespace() || c == '=').replace('"', "");
        match keyword.as_str() {
            "" => {}
            _ if keyword.starts_with('#') => {}
            "match" => return Ok(()),
            "include" if depth > 0 => {
                for pattern in value.split_whitespace() {
                    for included in included(draft, pattern)? {
                        add(draft, &included, depth - 1, files, settings)?;
                    }
                }
            }
            _ if settings.len() < MOST => {
                let (path, text) = (path.to_owned(), text.to_owned());
                settings.push(Setting { keyword, value, path, line, text });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The files of a pattern, whose last part may hold `*` and `?`, sorted as sshd reads them.
fn included(draft: &Draft<'_>, pattern: &str) -> Result<Vec<String>, TreeError> {
    let pattern = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/ssh/{pattern}") };
    let Some((directory, name)) = pattern.rsplit_once('/') else { return Ok(Vec::new()) };
    let Ok(glob) = globset::Glob::new(name) else { return Ok(Vec::new()) };
    let matcher = glob.compile_matcher();
    let entries = draft.tree().list(directory)?.entries.into_iter().take(MOST);
    let names = entries.map(|entry| entry.name).filter(|name| !name.starts_with('.'));
    Ok(names.filter(|name| matcher.is_match(name)).map(|name| format!("{directory}/{name}")).collect())
}
