//! The store: reads a state, and records what a run does to it.
//!
//! Many threads record at once: whoever comes while the journal is being fsynced waits, and the
//! next fsync takes all that have gathered (group commit).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::error::StateError;
use super::files;
use super::format::v1::{Intent, IntentId, Operation, Record, Resource, State, StateChange, VERSION};
use super::journal::{self, Base, Replay};
use super::lock::Lock;
use super::parse;
use super::paths::Paths;
use super::validate;
use crate::model::{Address, Digest};

/// The most bytes of a state file that are read: 100,000 resources have about 150 MB.
const LIMIT: u64 = 256 << 20;
/// The most characters of an error's text that are kept.
const ERROR_LIMIT: usize = 2000;

/// A state that is open for changing.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    inner: Mutex<Inner>,
    /// Told when a write of the journal has ended.
    written: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: Arc<State>,
    /// The state file's content.
    base: Option<Arc<State>>,
    /// Digest of the state file's bytes.
    base_digest: Option<Digest>,
    pending: BTreeMap<IntentId, Intent>,
    next_intent: u64,
    /// The journal, when there is one.
    file: Option<Arc<File>>,
    /// Its bytes on disk.
    length: u64,
    /// Lines are counted through all journals of this store; this is the journal's first.
    first: u64,
    /// Lines so far.
    appended: u64,
    /// Lines that are on disk.
    durable: u64,
    /// Lines that are not, encoded.
    buffer: Vec<u8>,
    /// Somebody is writing.
    writing: bool,
    /// The first failure to write; afterwards nothing can be recorded.
    failed: Option<String>,
    /// When the run recorded something last whose journal was found.
    cut_off: Option<SystemTime>,
}

impl Store {
    /// The state as it is: the file and the journal's replay. Changes nothing, needs no lock, and
    /// may run beside a run that changes things. Where there is neither file nor journal, an empty
    /// state whose lineage is empty.
    ///
    /// # Errors
    /// A file is unreadable, damaged, of a newer version, or the two do not belong together.
    pub fn read(paths: &Paths) -> Result<State, StateError> {
        Self::read_with_pending(paths).map(|(state, _)| state)
    }

    /// As [`Store::read`], with what was begun and has not ended: by a run that goes on, or by one
    /// that did not end well.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_with_pending(paths: &Paths) -> Result<(State, Vec<Intent>), StateError> {
        let Loaded { base, replay } = load(paths)?;
        Ok(match (replay, base) {
            (Some(replay), _) => (replay.state, replay.pending.into_values().collect()),
            (None, Some((state, _))) => (state, Vec::new()),
            (None, None) => (journal::empty_state(String::new()), Vec::new()),
        })
    }

    /// The lineage of the copy from before the last change, when there is one that can be read.
    #[must_use]
    pub fn lineage_of_backup(paths: &Paths) -> Option<String> {
        let bytes = std::fs::read(&paths.backup).ok()?;
        parse::state(&bytes, &paths.backup).ok().map(|state| state.lineage)
    }

    /// Opens a state for changing, replays its journal and cuts off a torn end. A state that does
    /// not exist yet gets its lineage here; its file comes with the first commit.
    ///
    /// # Errors
    /// As [`Store::read`]; also when the files cannot be written, or the lock is of another state.
    pub fn open(paths: &Paths, lock: &Lock) -> Result<Self, StateError> {
        if lock.path() != paths.lock {
            return Err(StateError::OtherLock { path: lock.path().to_owned() });
        }
        let Loaded { base, replay } = load(paths)?;
        let (base, base_digest) = base.map_or((None, None), |(state, digest)| (Some(state), Some(digest)));
        let base = base.map(Arc::new);
        let mut inner = Inner {
            state: match &base {
                Some(base) => Arc::clone(base),
                None => Arc::new(journal::empty_state(random_lineage()?)),
            },
            base,
            base_digest,
            pending: BTreeMap::new(),
            next_intent: 0,
            file: None,
            length: 0,
            first: 0,
            appended: 0,
            durable: 0,
            buffer: Vec::new(),
            writing: false,
            failed: None,
            cut_off: None,
        };
        if let Some(replay) = replay {
            let at = std::fs::metadata(&paths.journal).and_then(|facts| facts.modified());
            inner.resume(paths, replay)?;
            inner.cut_off = Some(at.unwrap_or_else(|_| SystemTime::now()));
        }
        Ok(Self { paths: paths.clone(), inner: Mutex::new(inner), written: Condvar::new() })
    }

    /// Gives a new state the lineage of one that was lost, whose resources carry it in their tags.
    ///
    /// # Errors
    /// [`StateError::HasLineage`] when there is a state already.
    pub fn continue_lineage(&self, lineage: &str) -> Result<(), StateError> {
        let mut inner = self.lock();
        if inner.state.lineage == lineage {
            return Ok(());
        }
        if inner.base.is_some() || inner.file.is_some() {
            return Err(StateError::HasLineage {
                path: self.paths.state.clone(),
                lineage: inner.state.lineage.clone(),
            });
        }
        Arc::make_mut(&mut inner.state).lineage = lineage.to_owned();
        Ok(())
    }

    /// The state now. A snapshot: it costs nothing to take, but the first change after it copies
    /// the state when the snapshot still lives; for a look at one resource there is
    /// [`Store::resource`].
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.lock().state)
    }

    /// One resource as it is now.
    #[must_use]
    pub fn resource(&self, address: &Address) -> Option<Resource> {
        self.lock().state.resources.get(address).cloned()
    }

    /// What was begun and has not ended, in the order it was begun. Right after opening: what a run
    /// left that did not end well.
    #[must_use]
    pub fn pending(&self) -> Vec<Intent> {
        self.lock().pending.values().cloned().collect()
    }

    /// When the run before recorded something last, if it did not come to its end.
    #[must_use]
    pub fn cut_off(&self) -> Option<SystemTime> {
        self.lock().cut_off
    }

    /// Addresses of what was made, or made anew, since the state file was written.
    #[must_use]
    pub fn made(&self) -> Vec<Address> {
        let inner = self.lock();
        let before = inner.base.as_ref().map(|base| &base.resources);
        let is_new = |address: &Address, resource: &Resource| {
            let known = before.and_then(|before| before.get(address));
            known.is_none_or(|known| known.id() != resource.id())
        };
        let made = inner.state.resources.iter().filter(|(address, resource)| is_new(address, resource));
        made.map(|(address, _)| address.clone()).collect()
    }

    /// Where its files are.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Records that something is about to be done. On disk when this returns.
    ///
    /// # Errors
    /// The journal cannot be written; then nothing may be done.
    pub fn begin(&self, address: &Address, operation: Operation) -> Result<IntentId, StateError> {
        let mut inner = self.lock();
        let id = IntentId(inner.next_intent);
        let intent = Intent { id, address: address.clone(), operation };
        inner.append(&self.paths, Record::Begin { intent: intent.clone() })?;
        inner.next_intent = inner.next_intent.saturating_add(1);
        inner.pending.insert(id, intent);
        self.make_durable(inner)?;
        Ok(id)
    }

    /// Records that an intent was carried out and what it left. On disk when this returns.
    ///
    /// # Errors
    /// The intent is not under way, a change can never be true, the journal cannot be written.
    pub fn finish(&self, id: IntentId, changes: Vec<StateChange>) -> Result<(), StateError> {
        self.end(id, changes, |changes| Record::Finish { id, changes })
    }

    /// Records that an intent certainly had no effect, and what is known now all the same. On disk
    /// when this returns.
    ///
    /// # Errors
    /// As [`Store::finish`].
    pub fn fail(&self, id: IntentId, error: &str, changes: Vec<StateChange>) -> Result<(), StateError> {
        let error = error.chars().take(ERROR_LIMIT).collect();
        self.end(id, changes, |changes| Record::Fail { id, error, changes })
    }

    /// Records changes that need no intent: they have no effect outside. On disk when this returns.
    ///
    /// # Errors
    /// A change can never be true, the journal cannot be written.
    pub fn change(&self, changes: Vec<StateChange>) -> Result<(), StateError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.check(&changes)?;
        let mut inner = self.lock();
        inner.append(&self.paths, Record::Change { changes: changes.clone() })?;
        inner.apply(changes);
        self.make_durable(inner)
    }

    fn end(
        &self,
        id: IntentId,
        changes: Vec<StateChange>,
        record: impl FnOnce(Vec<StateChange>) -> Record,
    ) -> Result<(), StateError> {
        self.check(&changes)?;
        let mut inner = self.lock();
        if !inner.pending.contains_key(&id) {
            return Err(if id.0 < inner.next_intent {
                StateError::IntentEnded(id)
            } else {
                StateError::UnknownIntent(id)
            });
        }
        inner.append(&self.paths, record(changes.clone()))?;
        inner.pending.remove(&id);
        inner.apply(changes);
        self.make_durable(inner)
    }

    fn check(&self, changes: &[StateChange]) -> Result<(), StateError> {
        changes
            .iter()
            .try_for_each(validate::change)
            .map_err(|why| StateError::Invalid { path: self.paths.journal.clone(), why })
    }

    /// Writes the whole state, when its content changed: the serial goes up by one, the state
    /// before is kept as the backup, and the journal is dropped but for intents that are still
    /// under way. Gives whether the content changed. For the end of a run, not for each node.
    ///
    /// # Errors
    /// A file cannot be written, or somebody else changed the state file. Nothing is lost then:
    /// the journal still has all of it.
    pub fn commit(&self) -> Result<bool, StateError> {
        let mut inner = self.lock();
        while inner.writing {
            inner = self.wait(inner);
        }
        inner.write_buffer()?;
        if !inner.content_changed() {
            if inner.file.is_some() && inner.pending.is_empty() {
                inner.restart_journal(&self.paths)?;
            }
            return Ok(false);
        }
        let on_disk = files::read(&self.paths.state, LIMIT)?;
        if on_disk.as_deref().map(Digest::of) != inner.base_digest {
            return Err(StateError::ChangedUnderneath { path: self.paths.state.clone() });
        }
        let mut state = State::clone(&inner.state);
        state.serial = state.serial.saturating_add(1);
        env!("CARGO_PKG_VERSION").clone_into(&mut state.replant_version);
        let mut bytes = serde_json::to_vec_pretty(&state).map_err(StateError::Encode)?;
        bytes.push(b'\n');
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if size > LIMIT {
            return Err(StateError::TooLarge { path: self.paths.state.clone(), size, limit: LIMIT });
        }
        let digest = Digest::of(&bytes);
        // The journal says first what the state file will be, so that a crash between the two
        // files' renames is recognised.
        inner.append(&self.paths, Record::Commit { serial: state.serial, state: digest })?;
        inner.write_buffer()?;
        if let Some(before) = on_disk {
            files::keep_backup(&self.paths.state, &self.paths.backup, &before)?;
        }
        files::replace(&self.paths.state, &bytes)?;
        let state = Arc::new(state);
        inner.base = Some(Arc::clone(&state));
        inner.base_digest = Some(digest);
        inner.state = state;
        inner.restart_journal(&self.paths)?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves nothing half done here: every change of `Inner` is complete
        // before anything that could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.written.wait(inner).unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when all lines appended so far are on disk: writes them, or waits for who does.
    fn make_durable<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> Result<(), StateError> {
        let wanted = inner.appended;
        while inner.durable < wanted {
            inner.check_not_failed()?;
            if inner.writing {
                inner = self.wait(inner);
                continue;
            }
            let Some(file) = inner.file.clone() else { break };
            inner.writing = true;
            let lines = std::mem::take(&mut inner.buffer);
            let (before, upto) = (inner.length, inner.appended);
            drop(inner);
            let result = append_durably(&file, &lines, before);
            inner = self.lock();
            inner.writing = false;
            inner.written(&lines, upto, &result);
            self.written.notify_all();
        }
        inner.check_not_failed()
    }
}

/// Appends and fsyncs. On failure the file is cut back, so that a full disk leaves no torn end.
fn append_durably(mut file: &File, lines: &[u8], before: u64) -> std::io::Result<()> {
    let result = file.write_all(lines).and_then(|()| file.sync_data());
    if result.is_err() {
        let _torn_ends_are_understood_anyway = file.set_len(before);
    }
    result
}

impl Inner {
    fn check_not_failed(&self) -> Result<(), StateError> {
        match &self.failed {
            Some(why) => Err(StateError::JournalFailed { why: why.clone() }),
            None => Ok(()),
        }
    }

    fn content_changed(&self) -> bool {
        let now = &self.state;
        match &self.base {
            Some(base) => {
                (&base.provider, &base.resources, &base.outputs)
                    != (&now.provider, &now.resources, &now.outputs)
            }
            None => now.provider.is_some() || !now.resources.is_empty() || !now.outputs.is_empty(),
        }
    }

    fn apply(&mut self, changes: Vec<StateChange>) {
        if changes.is_empty() {
            return;
        }
        let state = Arc::make_mut(&mut self.state);
        for change in changes {
            journal::apply(state, change);
        }
    }

    /// Goes on where a run left that did not end well.
    fn resume(&mut self, paths: &Paths, replay: Replay) -> Result<(), StateError> {
        self.state = Arc::new(replay.state);
        self.pending = replay.pending;
        self.next_intent = replay.next_intent;
        if replay.folded {
            return self.restart_journal(paths);
        }
        self.file = Some(Arc::new(files::open_to_append(&paths.journal, replay.length)?));
        self.length = replay.length;
        self.appended = replay.lines;
        self.durable = replay.lines;
        Ok(())
    }

    /// Encodes a record for the next write, making the journal when there is none.
    fn append(&mut self, paths: &Paths, record: Record) -> Result<(), StateError> {
        self.check_not_failed()?;
        if self.file.is_none() {
            self.create_journal(paths)?;
        }
        let line = journal::encode(self.appended - self.first, self.durable - self.first, record)?;
        let size =
            self.length.saturating_add(u64::try_from(self.buffer.len() + line.len()).unwrap_or(u64::MAX));
        if size > journal::LIMIT {
            return Err(StateError::TooLarge { path: paths.journal.clone(), size, limit: journal::LIMIT });
        }
        self.buffer.extend_from_slice(&line);
        self.appended += 1;
        Ok(())
    }

    /// Makes a journal that continues the state file, with the intents that are under way. Nothing
    /// may wait to be written.
    fn create_journal(&mut self, paths: &Paths) -> Result<(), StateError> {
        let opening = Record::Open {
            version: VERSION,
            replant_version: env!("CARGO_PKG_VERSION").to_owned(),
            lineage: self.state.lineage.clone(),
            serial: self.base.as_ref().map_or(0, |base| base.serial),
            state: self.base_digest,
        };
        let begun = self.pending.values().map(|intent| Record::Begin { intent: intent.clone() });
        let mut bytes = Vec::new();
        let mut lines = 0;
        for record in std::iter::once(opening).chain(begun) {
            bytes.extend(journal::encode(lines, 0, record)?);
            lines += 1;
        }
        files::replace(&paths.journal, &bytes)?;
        self.length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.file = Some(Arc::new(files::open_to_append(&paths.journal, self.length)?));
        self.first = self.appended;
        self.appended += lines;
        self.durable = self.appended;
        Ok(())
    }

    /// Drops the journal, whose changes the state file holds; intents that are under way go into
    /// a new one.
    fn restart_journal(&mut self, paths: &Paths) -> Result<(), StateError> {
        self.file = None;
        if self.pending.is_empty() { files::remove(&paths.journal) } else { self.create_journal(paths) }
    }

    fn written(&mut self, lines: &[u8], upto: u64, result: &std::io::Result<()>) {
        match result {
            Ok(()) => {
                self.length = self.length.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
                self.durable = upto;
            }
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    /// Writes what has gathered while nobody else writes.
    fn write_buffer(&mut self) -> Result<(), StateError> {
        self.check_not_failed()?;
        if let Some(file) = self.file.clone()
            && !self.buffer.is_empty()
        {
            let lines = std::mem::take(&mut self.buffer);
            let result = append_durably(&file, &lines, self.length);
            self.written(&lines, self.appended, &result);
        }
        self.check_not_failed()
    }
}

/// What lies on disk.
struct Loaded {
    base: Base,
    replay: Option<Replay>,
}

/// Reads the journal, then the state. A run beside us may commit in between; then the two do not
/// fit, and reading again helps.
fn load(paths: &Paths) -> Result<Loaded, StateError> {
    let mut bytes = files::read(&paths.journal, journal::LIMIT)?;
    loop {
        let base = read_base(paths)?;
        let replayed = match &bytes {
            Some(bytes) => journal::replay(bytes, &base, &paths.journal, &paths.state),
            None => Ok(None),
        };
        match replayed {
            Ok(replay) => return Ok(Loaded { base, replay }),
            Err(error @ (StateError::StateMoved { .. } | StateError::OtherLineage { .. })) => {
                let again = files::read(&paths.journal, journal::LIMIT)?;
                if again == bytes {
                    return Err(error);
                }
                bytes = again;
            }
            Err(error) => return Err(error),
        }
    }
}

fn read_base(paths: &Paths) -> Result<Base, StateError> {
    let Some(bytes) = files::read(&paths.state, LIMIT)? else { return Ok(None) };
    let state = parse::state(&bytes, &paths.state)?;
    Ok(Some((state, Digest::of(&bytes))))
}

/// A random UUID (version 4).
fn random_lineage() -> Result<String, StateError> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(StateError::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
