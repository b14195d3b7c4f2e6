//! Reading all of a disk, to find damage before somebody needs it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::source::{BlockSource, SourceError};

/// How much of a disk a thread takes at once.
const STRIDE: u64 = 64 << 20;
/// How much is read at once.
const PIECE: u64 = 1 << 20;

/// Reads and decodes every byte that a disk's metadata calls data, and gives how many those were.
/// `seen` is told how many bytes of the disk are done, from several threads; it ends the reading
/// with `false`.
///
/// # Errors
/// The first one, by its place on the disk, of those that the threads met.
pub fn read_through(
    disk: &dyn BlockSource,
    threads: usize,
    seen: &(dyn Fn(u64) -> bool + Sync),
) -> Result<u64, SourceError> {
    let size = disk.size();
    let (next, done, data) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let failed: Mutex<Option<(u64, SourceError)>> = Mutex::new(None);
    let work = || {
        let mut piece = vec![0; usize::try_from(PIECE).unwrap_or(usize::MAX)];
        while !stop.load(Ordering::Relaxed) {
            let from = next.fetch_add(STRIDE, Ordering::Relaxed);
            if from >= size {
                break;
            }
            let to = size.min(from.saturating_add(STRIDE));
            match read_data(disk, from..to, &mut piece) {
                Ok(bytes) => {
                    data.fetch_add(bytes, Ordering::Relaxed);
                    if !seen(done.fetch_add(to - from, Ordering::Relaxed) + (to - from)) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) => {
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if failed.as_ref().is_none_or(|(before, _)| from < *before) {
                        *failed = Some((from, error));
                    }
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(data.into_inner()),
    }
}

/// Reads the data of a range; gives how much it was.
fn read_data(
    disk: &dyn BlockSource,
    range: std::ops::Range<u64>,
    piece: &mut [u8],
) -> Result<u64, SourceError> {
    let mut data = 0;
    for run in disk.runs(range)?.into_iter().filter(|run| !run.zero) {
        let mut from = run.range.start;
        while from < run.range.end {
            let length = (run.range.end - from).min(PIECE);
            let part = usize::try_from(length).ok().and_then(|length| piece.get_mut(..length));
            disk.read_at(from, part.unwrap_or_default())?;
            from += length;
        }
        data += run.range.end - run.range.start;
    }
    Ok(data)
}
