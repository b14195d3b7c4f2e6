//! Where a path really lies, and whose a file is.

use rustix::fs::{Gid, Mode, OFlags, Uid, XattrFlags, fchmod, fchown, fsetxattr, fstat};

use super::{Kind, Metadata, SELINUX, Tree, TreeError, look, metadata};

/// The most symbolic links of one path (`MAXSYMLINKS` of Linux).
const MOST_LINKS: u32 = 40;

impl Tree {
    /// A path with every link of its directories followed inside the guest; its last part stays
    /// as it is, and so do parts that are not there. `None` when the links do not end.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn real_path(&self, path: &str) -> Result<Option<String>, TreeError> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut real: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    real.pop();
                    continue;
                }
                _ => real.push(part),
            }
            if left.is_empty() {
                break;
            }
            let Some(target) = self.read_link(&format!("/{}", real.join("/")))? else { continue };
            links += 1;
            if links > MOST_LINKS {
                return Ok(None);
            }
            real.pop();
            if target.starts_with('/') {
                real.clear();
            }
            left.extend(target.split('/').rev().map(str::to_owned));
        }
        Ok(Some(format!("/{}", real.join("/"))))
    }

    /// Gives a regular file to an owner and group, with these permission bits.
    ///
    /// # Errors
    /// [`TreeError::Write`], [`TreeError::NotAFile`] and those of looking it up.
    pub fn set_access(&self, path: &str, mode: u32, uid: u32, gid: u32) -> Result<(), TreeError> {
        self.regular(path)?;
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        let failed =
            |errno: rustix::io::Errno| TreeError::Write { path: path.to_owned(), source: errno.into() };
        let now: Metadata = metadata(&fstat(&file).map_err(look(path))?);
        if (now.uid, now.gid) != (uid, gid) {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
        }
        // After the owner: changing that takes set-user-id bits away.
        fchmod(&file, Mode::from_raw_mode(mode & 0o7777)).map_err(failed)
    }

    /// Gives a file the SELinux label of another, when that has one.
    ///
    /// # Errors
    /// [`TreeError::Write`] and those of looking it up.
    pub fn copy_label(&self, path: &str, of: &str) -> Result<(), TreeError> {
        let Some(label) = self.selinux_label(of) else { return Ok(()) };
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        fsetxattr(&file, SELINUX, &label, XattrFlags::empty())
            .map_err(|errno| TreeError::Write { path: path.to_owned(), source: errno.into() })
    }

    /// What stands in the way of a file at a path: the first of its parents that is there and no
    /// directory.
    ///
    /// # Errors
    /// [`TreeError::BadPath`], [`TreeError::Look`].
    pub fn obstacle(&self, path: &str) -> Result<Option<String>, TreeError> {
        for (index, _) in path.match_indices('/').filter(|(index, _)| *index > 0) {
            let parent = &path[..index];
            match self.metadata(parent)? {
                Some(found) if found.kind == Kind::Directory => {}
                // A link that leads nowhere is in the way as well.
                None if self.symlink_metadata(parent)?.is_none() => return Ok(None),
                _ => return Ok(Some(parent.to_owned())),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn guest() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("usr/bin")).unwrap();
        fs::create_dir_all(directory.path().join("run")).unwrap();
        let tree = Tree::open(directory.path()).unwrap();
        (directory, tree)
    }

    #[test]
    fn links_of_directories_are_followed_inside() {
        let (directory, tree) = guest();
        let root = directory.path();
        symlink("usr/bin", root.join("bin")).unwrap();
        fs::create_dir(root.join("var")).unwrap();
        symlink("../run", root.join("var/run")).unwrap();
        symlink("/../../var/run/a/../b", root.join("deep")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("x", root.join("usr/bin/link")).unwrap();
        let real = |path: &str| tree.real_path(path).unwrap();
        assert_eq!(real("/bin/sh").unwrap(), "/usr/bin/sh");
        assert_eq!(real("/bin/link").unwrap(), "/usr/bin/link");
        assert_eq!(real("/var/run/x").unwrap(), "/run/x");
        assert_eq!(real("/deep/x").unwrap(), "/run/b/x");
        assert_eq!(real("/nothing/here").unwrap(), "/nothing/here");
        assert_eq!(real("/loop/x"), None);
    }

    #[test]
    fn what_is_no_directory_is_in_the_way() {
        let (directory, tree) = guest();
        fs::write(directory.path().join("usr/file"), "").unwrap();
        symlink("nowhere", directory.path().join("usr/dangling")).unwrap();
        assert_eq!(tree.obstacle("/usr/bin/x").unwrap(), None);
        assert_eq!(tree.obstacle("/usr/new/deep/x").unwrap(), None);
        assert_eq!(tree.obstacle("/usr/file/x/y").unwrap().unwrap(), "/usr/file");
        assert_eq!(tree.obstacle("/usr/dangling/x").unwrap().unwrap(), "/usr/dangling");
    }

    #[test]
    fn a_file_gets_its_owner_and_mode() {
        let (directory, tree) = guest();
        let path = directory.path().join("usr/file");
        fs::write(&path, "").unwrap();
        tree.set_access("/usr/file", 0o4750, 12, 34).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.mode() & 0o7777, found.uid(), found.gid()), (0o4750, 12, 34));
        assert!(matches!(tree.set_access("/usr/bin", 0o755, 0, 0), Err(TreeError::NotAFile { .. })));
    }
}
