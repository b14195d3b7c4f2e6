//! A small bounded cache of tables and decoded units that many threads share.

use std::sync::{Arc, Mutex, PoisonError};

/// Most slots that a cache has, however small its values.
const MOST_SLOTS: u64 = 1024;
/// Fewest slots: a few threads at neighbouring places must not throw each other's values out.
const FEWEST_SLOTS: u64 = 4;

type Slot<V> = Mutex<Option<(u64, Arc<V>)>>;

/// Values by number, each with one slot it can be in: bounded by construction, and two threads
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
    pub(super) fn get<E>(&self, key: u64, load: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        let index = usize::try_from(key % self.slots.len() as u64).unwrap_or(0);
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
    fn a_value_is_loaded_once_until_its_slot_is_taken() {
        let cache = Cache::new(8, 2);
        let mut loads = 0;
        for key in [1, 1, 5, 1] {
            let value = cache.get(key, || {
                loads += 1;
                Ok::<_, ()>(key * 10)
            });
            assert_eq!(value.map(|value| *value), Ok(key * 10));
        }
        assert_eq!(loads, 3, "5 takes the slot of 1 in a cache of 4");
    }

    #[test]
    fn a_failed_load_leaves_nothing() {
        let cache = Cache::new(8, 2);
        assert_eq!(cache.get(3, || Err::<u8, _>("no")), Err("no"));
        assert_eq!(cache.get(3, || Ok::<_, &str>(7)).map(|value| *value), Ok(7));
    }
}
