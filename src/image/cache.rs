//! A small bounded cache of tables and decoded units that many threads share.

use std::sync::{Arc, Mutex, PoisonError};

/// Most slots that a cache has, however small its values.
const MOST_SLOTS: u64 = 1024;
/// Fewest slots: a few threads at neighbouring places must not throw each other's values out.
const FEWEST_SLOTS: u64 = 4;

/// What a value goes by: a file's number, and a number within that.
type Key = (u32, u64);
type Slot<V> = Mutex<Option<(Key, Arc<V>)>>;

/// Values by key, each with one slot it can be in: bounded by construction, and two threads
/// wait for each other only at the same slot and only for a pointer's copy.
#[derive(Debug)]
pub(super) struct Cache<V> {
    slots: Box<[Slot<V>]>,
}

impl<V> Cache<V> {
    /// A cache of at most about `bytes` for values of `each` bytes.
    pub(super) fn new(bytes: u64, each: u64) -> Self {
        let count = (bytes / each.max(1)).clamp(FEWEST_SLOTS, MOST_SLOTS);
        Self { slots: (0..count).map(|_| Mutex::new(None)).collect() }
    }

    /// The value of `key`, loaded when it is not here. Loading happens outside the lock; two
    /// threads may load the same value, which is harmless.
    pub(super) fn get<E>(&self, key: Key, load: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        // Neighbours come to different slots, and so do offsets that are multiples of anything.
        let mixed = (key.1 ^ u64::from(key.0).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slots = self.slots.len() as u128;
        let index = usize::try_from((u128::from(mixed) * slots) >> 64).unwrap_or(0);
        let slot = &self.slots[index];
        if let Some((found, value)) = &*slot.lock().unwrap_or_else(PoisonError::into_inner)
            && *found == key
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new(load()?);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, Arc::clone(&value)));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_loaded_once_and_few_are_kept() {
        let cache = Cache::new(8, 2);
        let mut loads = 0;
        for key in (0..100).flat_map(|key| [key, key]).chain(0..100) {
            let value = cache.get((0, key), || {
                loads += 1;
                Ok::<_, ()>(key * 10)
            });
            assert_eq!(value.map(|value| *value), Ok(key * 10));
        }
        assert!((196..=200).contains(&loads), "four slots keep four values: {loads}");
    }

    #[test]
    fn neighbours_do_not_throw_each_other_out() {
        let cache = Cache::new(8, 2);
        let mut loads = 0;
        for key in (0..1000).flat_map(|key| [key, key + 1, key]) {
            let _ = cache.get((0, key), || {
                loads += 1;
                Ok::<_, ()>(key)
            });
        }
        assert_eq!(loads, 1001);
    }

    #[test]
    fn a_failed_load_leaves_nothing() {
        let cache = Cache::new(8, 2);
        assert_eq!(cache.get((0, 3), || Err::<u8, _>("no")), Err("no"));
        assert_eq!(cache.get((0, 3), || Ok::<_, &str>(7)).map(|value| *value), Ok(7));
    }
}
