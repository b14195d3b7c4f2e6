//! What is kept of a start, good or bad: the console and the screen, in files of their own.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{ApplyError, Context, Kept};
use crate::guest::windows::firstboot::Outcome;
use crate::model::Address;
use crate::provider::InstanceId;

/// The most bytes of a screenshot that are kept (EC2's are some 100 KB).
const SCREENSHOT: usize = 16 << 20;

/// What a start has shown.
pub struct Evidence {
    /// The files that hold it.
    pub kept: Kept,
    /// What a Windows guest's console says of its first boot, in words; nothing for other guests, and
    /// while it goes on.
    pub first_boot: Option<String>,
}

impl Context {
    /// Keeps an instance's console and screen under `.replant/evidence/`. Nothing depends on it: what
    /// the provider does not give, or what cannot be written, is left out.
    pub async fn keep_evidence(&self, address: &Address, id: &InstanceId) -> Evidence {
        let mut kept = Kept { console: self.provider.console_log(id), screenshot: None };
        let text = self.provider.console_output(id).await.map(|console| console.text).unwrap_or_default();
        let first_boot = Outcome::in_log(&text).map(|outcome| outcome.to_string());
        if kept.console.is_none() && !text.is_empty() {
            kept.console = self.keep(id, "console.txt", text.into_bytes()).await;
        }
        if let Ok(Some(screen)) = self.provider.console_screenshot(id).await
            && (1..=SCREENSHOT).contains(&screen.len())
        {
            kept.screenshot = self.keep(id, "screen.jpg", screen).await;
        }
        let (instance, shown) = (address.instance.clone(), kept.clone());
        self.count(|tally| {
            tally.kept.insert(instance, shown);
        });
        Evidence { kept, first_boot }
    }

    async fn keep(&self, id: &InstanceId, name: &'static str, bytes: Vec<u8>) -> Option<PathBuf> {
        // It becomes part of a path.
        let is_id = id.0.starts_with("i-") && id.0.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let directory = self.options.directory.join(".replant/evidence").join(&id.0);
        let written = self.blocking(move || -> Result<PathBuf, ApplyError> {
            let path = directory.join(name);
            write(&directory, &path, &bytes)
                .map_err(|error| ApplyError::Task(format!("cannot write {}: {error}", path.display())))?;
            Ok(path)
        });
        if is_id { written.await.ok() } else { None }
    }
}

/// Writes a file that only its owner reads: a console may show what nobody else should see.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}
