//! A global allocator that counts what a thread holds, so that a parser that takes too much is
//! found also when the memory would have sufficed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::Location;

/// Most bytes that a parser may hold beyond its input.
pub const MOST: u64 = 64 << 20;
/// What is not given at all: the allocation fails, which ends the process with a message.
const NEVER: i64 = 4 << 30;

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// Counts for threads that asked for it, and is the system's allocator otherwise.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Takes a change into account; `false` when it must not be made.
fn count(change: i64) -> bool {
    // A thread that ends has no thread-local values any more; nothing is counted then.
    if !COUNTED.try_with(Cell::get).unwrap_or(false) {
        return true;
    }
    HELD.try_with(|held| {
        let now = held.get().saturating_add(change);
        if change > 0 && now > NEVER {
            return false;
        }
        held.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
        true
    })
    .unwrap_or(true)
}

fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !count(signed(layout.size())) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !count(signed(layout.size())) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !count(signed(size).saturating_sub(signed(layout.size()))) {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs a parser on `input` bytes, and fails when it held more than [`MOST`] bytes beyond them at
/// any time. Only the calling thread is counted.
///
/// # Panics
/// That is the point of it.
#[track_caller]
pub fn bounded<T>(input: u64, parser: impl FnOnce() -> T) -> T {
    HELD.set(0);
    PEAK.set(0);
    COUNTED.set(true);
    let result = parser();
    COUNTED.set(false);
    let peak = u64::try_from(PEAK.get()).unwrap_or(0);
    let limit = MOST + input;
    assert!(
        peak <= limit,
        "{}: {peak} bytes were held at once for an input of {input} bytes, more than {limit}",
        Location::caller()
    );
    result
}
