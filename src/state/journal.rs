//! The journal: lines to bytes, bytes to a replay. Nothing here touches a file.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::StateError;
use super::format::v1::{Intent, IntentId, JournalLine, Record, State, StateChange, VERSION};
use super::validate;
use crate::model::Digest;

/// The most bytes of a journal that are read: far beyond a run of 100,000 nodes.
pub(super) const LIMIT: u64 = 512 << 20;
/// The most bytes of one line.
pub(super) const LINE_LIMIT: usize = 16 << 20;

/// `{"crc":"0123abcd",` – what stands before the bytes that the checksum covers.
const PREFIX: &[u8] = b"{\"crc\":\"";
const COVERED_FROM: usize = PREFIX.len() + 8 + 2;

/// One line, with its line feed.
pub(super) fn encode(sequence: u64, durable: u64, record: Record) -> Result<Vec<u8>, StateError> {
    let line = JournalLine { crc: "00000000".to_owned(), sequence, durable, record };
    let mut bytes = serde_json::to_vec(&line).map_err(StateError::Encode)?;
    if bytes.len() >= LINE_LIMIT {
        return Err(StateError::RecordTooLarge {
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            limit: u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX),
        });
    }
    let crc = format!("{:08x}", crc32fast::hash(&bytes[COVERED_FROM..]));
    bytes[PREFIX.len()..PREFIX.len() + 8].copy_from_slice(crc.as_bytes());
    bytes.push(b'\n');
    Ok(bytes)
}

/// The bytes that a line's checksum covers, when it has one and it is right.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let covered = line.get(COVERED_FROM..)?;
    let crc = format!("{:08x}\",", crc32fast::hash(covered));
    (line.starts_with(PREFIX) && &line[PREFIX.len()..COVERED_FROM] == crc.as_bytes()).then_some(covered)
}

fn decode(line: &[u8]) -> Result<JournalLine, String> {
    if line.len() >= LINE_LIMIT {
        return Err("it is too long".to_owned());
    }
    checked(line).ok_or("its checksum is wrong")?;
    serde_json::from_slice(line).map_err(|error| error.to_string())
}

/// What a journal comes to, on the state that it continues.
#[derive(Debug)]
pub(super) struct Replay {
    /// The state now.
    pub state: State,
    /// What was begun and has not ended.
    pub pending: BTreeMap<IntentId, Intent>,
    /// The number for the next intent.
    pub next_intent: u64,
    /// How many whole lines there are.
    pub lines: u64,
    /// How many bytes they have; what follows is a torn end.
    pub length: u64,
    /// The state file holds all of the journal's changes already: it was written, and the crash
    /// came before the journal could be dropped.
    pub folded: bool,
}

/// The state file as it is: nothing, or a state and its bytes' digest.
pub(super) type Base = Option<(State, Digest)>;

struct Point {
    serial: u64,
    digest: Option<Digest>,
    /// Index of the first record after it.
    next: usize,
}

/// Replays a journal's bytes. `None` when there is no journal: an empty file, or one whose very
/// first line is torn, which means that nothing was ever recorded in it.
///
/// # Errors
/// A damaged line that is no torn end, an illegal transition, another lineage, a newer version, a
/// state that is none of those the journal knows.
pub(super) fn replay(
    bytes: &[u8],
    base: &Base,
    journal: &Path,
    state: &Path,
) -> Result<Option<Replay>, StateError> {
    let (lines, length) = split(bytes, journal)?;
    let mut lines = lines.into_iter();
    let Some(first) = lines.next() else { return Ok(None) };
    let Record::Open { version, replant_version, lineage, serial, state: opened } = first.record else {
        return Err(damaged(journal, 0, "it is not the line that a journal begins with"));
    };
    if version != VERSION {
        return Err(StateError::Version {
            path: journal.to_owned(),
            found: version.into(),
            writer: Some(replant_version),
        });
    }
    validate::lineage(&lineage).map_err(|why| damaged(journal, 0, &why))?;
    if let Some((state, _)) = base
        && state.lineage != lineage
    {
        return Err(StateError::OtherLineage {
            journal: journal.to_owned(),
            journal_lineage: lineage,
            state_lineage: state.lineage.clone(),
        });
    }

    let records: Vec<Record> = lines.map(|line| line.record).collect();
    let mut points = vec![Point { serial, digest: opened, next: 0 }];
    for (index, record) in records.iter().enumerate() {
        if let Record::Commit { serial, state } = record {
            points.push(Point { serial: *serial, digest: Some(*state), next: index + 1 });
        }
    }
    let here = base.as_ref().map(|(_, digest)| *digest);
    // The last point wins: after it, the state file already has what stands before it.
    let Some(point) = points.iter().rev().find(|point| point.digest == here) else {
        return Err(StateError::StateMoved {
            state: state.to_owned(),
            journal: journal.to_owned(),
            journal_serial: points.last().map_or(serial, |point| point.serial),
            state_serial: base.as_ref().map(|(state, _)| state.serial),
        });
    };

    let mut replay = Replay {
        state: match base {
            Some((state, _)) => state.clone(),
            None => empty_state(lineage),
        },
        pending: BTreeMap::new(),
        next_intent: 0,
        lines: u64::try_from(records.len()).unwrap_or(u64::MAX).saturating_add(1),
        length,
        folded: point.next > 0,
    };
    let fresh = point.next;
    for (index, record) in records.into_iter().enumerate() {
        step(&mut replay, record, index >= fresh).map_err(|why| {
            damaged(journal, u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1), &why)
        })?;
    }
    Ok(Some(replay))
}

/// A state that holds nothing.
pub(super) fn empty_state(lineage: String) -> State {
    State {
        version: VERSION,
        replant_version: env!("CARGO_PKG_VERSION").to_owned(),
        lineage,
        serial: 0,
        provider: None,
        resources: BTreeMap::new(),
        outputs: BTreeMap::new(),
    }
}

/// Carries one record out; `fresh`: its changes are not in the state yet.
fn step(replay: &mut Replay, record: Record, fresh: bool) -> Result<(), String> {
    let changes = match record {
        Record::Open { .. } => return Err("a second beginning".to_owned()),
        Record::Commit { .. } => return Ok(()),
        Record::Begin { intent } => {
            if intent.id.0 < replay.next_intent {
                return Err(format!("intent {} is begun twice", intent.id.0));
            }
            replay.next_intent = intent.id.0.checked_add(1).ok_or("the intents' numbers run out")?;
            replay.pending.insert(intent.id, intent);
            return Ok(());
        }
        Record::Finish { id, changes } | Record::Fail { id, changes, .. } => {
            replay.pending.remove(&id).ok_or_else(|| format!("intent {} ends but is not under way", id.0))?;
            changes
        }
        Record::Change { changes } => changes,
    };
    for change in changes {
        validate::change(&change)?;
        if fresh {
            apply(&mut replay.state, change);
        }
    }
    Ok(())
}

/// Changes a state.
pub(super) fn apply(state: &mut State, change: StateChange) {
    match change {
        StateChange::Put { address, resource } => {
            state.resources.insert(address, resource);
        }
        StateChange::Remove { address } => {
            state.resources.remove(&address);
        }
        StateChange::Outputs { outputs } => state.outputs = outputs,
        StateChange::Provider { name } => state.provider = Some(name),
    }
}

fn damaged(journal: &Path, index: u64, why: &str) -> StateError {
    StateError::JournalDamaged {
        path: journal.to_owned(),
        line: index.saturating_add(1),
        why: why.to_owned(),
    }
}

/// The whole lines from the beginning, and how many bytes they have.
///
/// A line that is not right is a *torn end* when it can have been left by a crash while it was
/// being appended: it has no line feed, or holds zero bytes where pages did not reach the disk,
/// and no right line after it says that it was on disk already. Anything else is damage.
fn split(bytes: &[u8], journal: &Path) -> Result<(Vec<JournalLine>, u64), StateError> {
    let mut lines = Vec::new();
    let mut position = 0;
    while position < bytes.len() {
        let rest = &bytes[position..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let sequence = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let why = match decode(line) {
            Ok(decoded) if end.is_some() && decoded.sequence == sequence => {
                lines.push(decoded);
                position += line.len() + 1;
                continue;
            }
            Ok(decoded) if decoded.sequence != sequence => {
                return Err(damaged(
                    journal,
                    sequence,
                    &format!("it is number {} where {sequence} belongs", decoded.sequence),
                ));
            }
            // All but its line feed: torn.
            Ok(_) => String::new(),
            Err(why) => why,
        };
        let can_be_torn = end.is_none() || line.contains(&0);
        let was_durable = rest
            .split(|byte| *byte == b'\n')
            .skip(1)
            .filter_map(|later| decode(later).ok())
            .any(|later| later.durable > sequence);
        if !can_be_torn || was_durable {
            return Err(version_of(line).map_or_else(
                || damaged(journal, sequence, &why),
                |found| StateError::Version { path: journal.to_owned(), found, writer: None },
            ));
        }
        break;
    }
    Ok((lines, u64::try_from(position).unwrap_or(u64::MAX)))
}

/// The version that a first line of another version gives, when its checksum is right.
fn version_of(line: &[u8]) -> Option<u64> {
    checked(line)?;
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value.pointer("/record/version")?.as_u64().filter(|version| *version != u64::from(VERSION))
}
