//! Blocks of files on the network that were read or will be, for all images of the process:
//! bounded, fetched once however many readers wait, and ahead of readers that go forward.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::address::Address;
use super::answer::Version;
use super::client::Network;
use super::fetch::fetch;
use super::trouble::Trouble;

/// Bytes of a block: a server's answer takes tens of milliseconds to begin, which this is worth.
pub(super) const BLOCK: u64 = 1 << 20;
/// Most blocks that are fetched by one request.
const MOST_AT_ONCE: u64 = 4;
/// How many requests of that size run ahead of a reader of data.
const AHEAD: u64 = 5;
/// How many run ahead of a reader of little pieces (metadata, a guest's files).
const AHEAD_OF_PIECES: u64 = 1;
/// A read of fewer bytes is of a little piece. Blocks of such reads are kept longer than those of
/// data, which is read once.
const PIECE: usize = 64 << 10;
/// Most blocks that are kept.
const KEPT: usize = 64;
/// Most requests that run ahead at the same time, for all readers.
const MOST_AHEAD: usize = 16;

/// All that is known of an open file on the network.
#[derive(Debug)]
pub(super) struct Remote {
    /// Tells it from every other that was opened by this process.
    number: u64,
    pub address: Address,
    pub version: Version,
}

impl Remote {
    pub(super) fn new(address: Address, version: Version) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), address, version }
    }
}

/// What became of a block.
type Outcome = Result<Vec<u8>, (Trouble, u32)>;

/// A block that is here or on its way.
#[derive(Debug, Default)]
struct Block {
    outcome: Mutex<Option<Outcome>>,
    arrived: Condvar,
}

impl Block {
    fn finish(&self, outcome: Outcome) {
        let mut current = lock(&self.outcome);
        if current.is_none() {
            *current = Some(outcome);
            self.arrived.notify_all();
        }
    }

    fn is_finished(&self) -> bool {
        lock(&self.outcome).is_some()
    }

    /// Waits for it, and copies bytes from `skip` on; gives how many.
    fn copy(&self, skip: usize, buffer: &mut [u8]) -> Result<usize, (Trouble, u32)> {
        let mut outcome = lock(&self.outcome);
        loop {
            match &*outcome {
                Some(Ok(bytes)) => {
                    let bytes = bytes.get(skip..).unwrap_or_default();
                    let count = bytes.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&bytes[..count]);
                    return Ok(count);
                }
                Some(Err(trouble)) => return Err(trouble.clone()),
                None => outcome = self.arrived.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Blocks that a task will bring. Whatever becomes of the task, nobody waits for ever.
struct Promise {
    file: u64,
    first: u64,
    blocks: Vec<Arc<Block>>,
}

impl Promise {
    fn keep(self, outcome: Result<Vec<u8>, (Trouble, u32)>) {
        if outcome.is_err() {
            // Who waits now gets the error; who comes later asks again.
            let mut slots = lock(&CACHE.slots);
            for (index, block) in (self.first..).zip(&self.blocks) {
                let key = (self.file, index);
                if slots.get(&key).is_some_and(|slot| Arc::ptr_eq(&slot.block, block)) {
                    slots.remove(&key);
                }
            }
        }
        for (number, block) in self.blocks.iter().enumerate() {
            block.finish(match &outcome {
                Ok(bytes) => Ok(bytes.chunks(BLOCK as usize).nth(number).unwrap_or_default().to_vec()),
                Err(trouble) => Err(trouble.clone()),
            });
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        for block in &self.blocks {
            let text = "the request was given up".to_owned();
            block.finish(Err((Trouble::Lost(std::io::ErrorKind::Interrupted, text), 1)));
        }
    }
}

#[derive(Debug)]
struct Slot {
    /// The smaller, the sooner it goes.
    age: u64,
    block: Arc<Block>,
}

/// The blocks by file and number.
struct Cache {
    slots: Mutex<HashMap<(u64, u64), Slot>>,
    clock: AtomicU64,
    ahead: Arc<Semaphore>,
}

static CACHE: LazyLock<Cache> = LazyLock::new(|| Cache {
    slots: Mutex::default(),
    clock: AtomicU64::new(0),
    ahead: Arc::new(Semaphore::new(MOST_AHEAD)),
});

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the first block of a file that opening it brought.
pub(super) fn keep_first(file: &Remote, bytes: Vec<u8>) {
    let block = Arc::new(Block::default());
    block.finish(Ok(bytes));
    let mut slots = lock(&CACHE.slots);
    make_room(&mut slots, 1);
    slots.insert((file.number, 0), Slot { age: now(), block });
}

/// Forgets a file that is closed.
pub(super) fn forget(file: &Remote) {
    lock(&CACHE.slots).retain(|(number, _), _| *number != file.number);
}

/// Reads from a place within the file to at most the end of its block; gives how many bytes.
pub(super) fn read(
    network: &'static Network,
    file: &Arc<Remote>,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, (Trouble, u32)> {
    let first = offset / BLOCK;
    let count = file.version.size.div_ceil(BLOCK);
    let end = offset.saturating_add(buffer.len() as u64).div_ceil(BLOCK);
    let end = end.clamp(first + 1, first + MOST_AT_ONCE).min(count.max(first + 1));
    let is_piece = buffer.len() < PIECE;
    let block = {
        let mut slots = lock(&CACHE.slots);
        for missing in missing(&slots, file.number, first..end) {
            start(network, file, missing, None, &mut slots);
        }
        let goes_forward = first > 0 && slots.contains_key(&(file.number, first - 1));
        if goes_forward || end - first > 1 {
            let runs = if is_piece { AHEAD_OF_PIECES } else { AHEAD };
            run_ahead(network, file, first, runs, count, &mut slots);
        }
        let slot = slots.get_mut(&(file.number, first));
        slot.map(|slot| {
            if is_piece {
                slot.age = now();
            }
            Arc::clone(&slot.block)
        })
    };
    let skip = usize::try_from(offset % BLOCK).unwrap_or(usize::MAX);
    match block {
        Some(block) => block.copy(skip, buffer),
        None => Err((Trouble::Refused("the block is not in the file".to_owned()), 1)),
    }
}

/// Requests the blocks that a reader at `first` will want next.
fn run_ahead(
    network: &'static Network,
    file: &Arc<Remote>,
    first: u64,
    runs: u64,
    count: u64,
    slots: &mut HashMap<(u64, u64), Slot>,
) {
    let run = first / MOST_AT_ONCE;
    for run in run..=run + runs {
        let blocks = (run * MOST_AT_ONCE).max(first + 1)..((run + 1) * MOST_AT_ONCE).min(count);
        for missing in missing(slots, file.number, blocks) {
            let Ok(permit) = Arc::clone(&CACHE.ahead).try_acquire_owned() else { return };
            start(network, file, missing, Some(permit), slots);
        }
    }
}

/// The runs of blocks that are neither here nor on their way.
fn missing(slots: &HashMap<(u64, u64), Slot>, file: u64, blocks: Range<u64>) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for index in blocks.filter(|index| !slots.contains_key(&(file, *index))) {
        match found.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => found.push(index..index + 1),
        }
    }
    found
}

/// Starts a request for blocks.
fn start(
    network: &'static Network,
    file: &Arc<Remote>,
    blocks: Range<u64>,
    permit: Option<OwnedSemaphorePermit>,
    slots: &mut HashMap<(u64, u64), Slot>,
) {
    make_room(slots, usize::try_from(blocks.end - blocks.start).unwrap_or(KEPT));
    let mut promise = Promise { file: file.number, first: blocks.start, blocks: Vec::new() };
    for index in blocks.clone() {
        let block = Arc::new(Block::default());
        promise.blocks.push(Arc::clone(&block));
        slots.insert((file.number, index), Slot { age: now(), block });
    }
    let file = Arc::clone(file);
    let range = blocks.start * BLOCK..(blocks.end * BLOCK).min(file.version.size);
    network.runtime.spawn(async move {
        let fetched = fetch(network, &file.address, range, Some(&file.version)).await;
        promise.keep(fetched.map(|fetched| fetched.bytes));
        drop(permit);
    });
}

/// Lets the oldest blocks go, never one that is still on its way.
fn make_room(slots: &mut HashMap<(u64, u64), Slot>, count: usize) {
    while slots.len() + count > KEPT {
        let oldest =
            slots.iter().filter(|(_, slot)| slot.block.is_finished()).min_by_key(|(_, slot)| slot.age);
        let Some(key) = oldest.map(|(key, _)| *key) else { return };
        slots.remove(&key);
    }
}

fn now() -> u64 {
    CACHE.clock.fetch_add(1, Ordering::Relaxed)
}
