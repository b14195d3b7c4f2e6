//! Files of a Windows volume: names have no case, and links lead nowhere.

use crate::guest::tree::{Kind, Metadata, Tree, TreeError};

/// A mounted volume.
#[derive(Debug)]
pub struct Files {
    tree: Tree,
    name: &'static str,
}

impl Files {
    /// A volume under the name that people know it by (`C:`).
    #[must_use]
    pub fn new(tree: Tree, name: &'static str) -> Self {
        Self { tree, name }
    }

    /// The tree below.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A path as people write it: `C:\Windows\System32`.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        format!("{}{}", self.name, path.replace('/', "\\"))
    }

    /// The spelling of a path that is there; `None` when it is not, or lies behind a link: a
    /// junction of a guest may lead anywhere, and nothing that Windows needs to boot is behind one.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn find(&self, path: &str) -> Result<Option<String>, TreeError> {
        let mut found = String::new();
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let exact = format!("{found}/{part}");
            found = match self.tree.symlink_metadata(&exact)? {
                Some(_) => exact,
                None => {
                    let list = self.tree.list(if found.is_empty() { "/" } else { &found })?;
                    let folded = part.to_lowercase();
                    match list.entries.iter().find(|entry| entry.name.to_lowercase() == folded) {
                        Some(entry) => format!("{found}/{}", entry.name),
                        None => return Ok(None),
                    }
                }
            };
            let kind = self.tree.symlink_metadata(&found)?.map(|about| about.kind);
            let goes_on = match kind {
                Some(Kind::Directory) => true,
                Some(Kind::File) => parts.peek().is_none(),
                _ => false,
            };
            if !goes_on {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// What is known of a path; `None` when it is not there.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn metadata(&self, path: &str) -> Result<Option<Metadata>, TreeError> {
        match self.find(path)? {
            Some(path) => self.tree.symlink_metadata(&path),
            None => Ok(None),
        }
    }

    /// Whether a path is a regular file. What cannot be looked up is not there.
    #[must_use]
    pub fn is_file(&self, path: &str) -> bool {
        matches!(self.metadata(path), Ok(Some(found)) if found.kind == Kind::File)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_have_no_case_and_links_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("WINDOWS/System32/Config")).unwrap();
        fs::write(root.join("WINDOWS/System32/Config/SYSTEM"), "").unwrap();
        symlink("/etc", root.join("Junction")).unwrap();
        symlink("WINDOWS", root.join("inner")).unwrap();
        let files = Files::new(Tree::open(root).unwrap(), "C:");
        let found = |path: &str| files.find(path).unwrap();
        assert_eq!(found("/windows/system32/config/system").unwrap(), "/WINDOWS/System32/Config/SYSTEM");
        assert_eq!(found("/Windows/none"), None);
        assert_eq!(found("/junction/passwd"), None);
        assert_eq!(found("/inner/system32"), None);
        assert_eq!(found("/windows/system32/config/system/below"), None);
        assert!(files.is_file("/Windows/SYSTEM32/config/system"));
        assert_eq!(files.shown("/Windows/x"), "C:\\Windows\\x");
    }
}
