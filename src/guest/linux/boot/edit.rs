//! The edit of kernel arguments wherever they stand.

use super::arguments::{self, Wanted};
use super::config::{self, Dialect};
use super::defaults;
use super::entries::Loader;
use super::{assignment, bls, environment, extlinux};
use crate::guest::draft::Draft;
use crate::guest::tree::TreeError;

const PURPOSE: &str = "kernel arguments: root by UUID, serial console, NVMe time-out, interface names";

impl Loader {
    /// Edits the arguments wherever they stand. `timeout` gives a kernel's own NVMe argument;
    /// what stands for all kernels gets `wanted`'s.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn edit(
        &self,
        draft: &mut Draft<'_>,
        wanted: &Wanted<'_>,
        timeout: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), TreeError> {
        // What one kernel's line has to say: its own time-out.
        let for_kernel = |path: &str, line: u32| {
            let listed = |listed: &(String, u32)| listed.0 == path && listed.1 == line;
            self.kernels.iter().find(|kernel| listed(&kernel.listed)).map(|kernel| timeout(&kernel.image))
        };
        let of_line = |path: &str, line: u32, arguments: &str| {
            let own = for_kernel(path, line);
            let nvme_timeout = own.as_ref().map_or(wanted.nvme_timeout, |own| own.as_deref());
            arguments::edit(arguments, &Wanted { nvme_timeout, ..*wanted })
        };
        let of_all = |arguments: &str| arguments::edit(arguments, wanted);
        for (paths, dialect) in [(&self.grub2, Dialect::Grub2), (&self.legacy, Dialect::Legacy)] {
            for path in paths {
                let Some(text) = draft.text(path) else { continue };
                let entries = config::entries(&text, dialect);
                let change = |line, arguments: &str| {
                    let starts_linux = entries.iter().any(|entry| entry.line == line && entry.is_linux());
                    starts_linux.then(|| of_line(path, line, arguments))
                };
                let edited = config::edit(&text, dialect, &change);
                let edited = match dialect {
                    Dialect::Grub2 => assignment::edit(&edited, "kernelopts", &of_all),
                    Dialect::Legacy => config::edit_kopt(&edited, &of_all),
                };
                draft.write(path, edited.into_bytes(), 0o600, PURPOSE)?;
            }
        }
        for path in &self.extlinux {
            let Some(text) = draft.text(path) else { continue };
            let (entries, _) = extlinux::entries(&text);
            let change = |line, arguments: &str| {
                let known = entries.iter().any(|entry| entry.line == line && entry.is_linux());
                known.then(|| of_line(path, line, arguments))
            };
            draft.write(path, extlinux::edit(&text, &change).into_bytes(), 0o644, PURPOSE)?;
        }
        self.edit_environments(draft, wanted)?;
        self.edit_specified(draft, wanted, &of_line)?;
        defaults::edit(draft, wanted)
    }

    /// `kernelopts` of GRUB's environment blocks. Where there is no room for all of it, the
    /// devices come first.
    fn edit_environments(&self, draft: &mut Draft<'_>, wanted: &Wanted<'_>) -> Result<(), TreeError> {
        for path in &self.environments {
            let Some(block) = draft.text(path) else { continue };
            let Some(options) = environment::value(&block, "kernelopts") else { continue };
            let edited = [arguments::edit(options, wanted), arguments::rewrite(options, wanted.disks)]
                .iter()
                .find_map(|options| environment::with_value(&block, "kernelopts", options));
            if let Some(edited) = edited {
                draft.write(path, edited.into_bytes(), 0o644, PURPOSE)?;
            }
        }
        Ok(())
    }

    fn edit_specified(
        &self,
        draft: &mut Draft<'_>,
        wanted: &Wanted<'_>,
        of_line: &dyn Fn(&str, u32, &str) -> String,
    ) -> Result<(), TreeError> {
        let mut blocks = self.environments.iter().filter_map(|path| draft.text(path));
        let options = blocks.find_map(|block| environment::value(&block, "kernelopts").map(str::to_owned));
        for path in &self.bls {
            let Some(text) = draft.text(path) else { continue };
            let Some(entry) = bls::parse("", &text) else { continue };
            // What the environment already says is not said again.
            let said = match &options {
                Some(options) => entry.arguments.replace("$kernelopts", options),
                None => entry.arguments.clone(),
            };
            let rewritten = arguments::rewrite(&said, wanted.disks);
            let full = of_line(path, entry.line, &said);
            let missing: Vec<String> = full
                .strip_prefix(rewritten.trim_end())
                .map(|added| arguments::split(added).into_iter().map(str::to_owned).collect())
                .unwrap_or_default();
            let rewrite = |options: &str| arguments::rewrite(options, wanted.disks);
            draft.write(path, bls::edit(&text, &rewrite, &missing).into_bytes(), 0o644, PURPOSE)?;
        }
        Ok(())
    }
}
