//! The access node's slots: a counted resource that a machine takes together, so that nothing
//! can deadlock.

use std::collections::{BTreeMap, VecDeque};

use crate::model::InstanceAddress;

/// Who has which slots, and who waits for some.
#[derive(Debug, Default)]
pub struct Slots {
    free: VecDeque<String>,
    held: BTreeMap<InstanceAddress, Vec<String>>,
    waiting: VecDeque<(InstanceAddress, usize)>,
}

impl Slots {
    /// All of them free.
    #[must_use]
    pub fn new(free: Vec<String>) -> Self {
        Self { free: free.into(), ..Self::default() }
    }

    /// Asks for all the slots of a machine. They are granted by [`Slots::grant`], first come,
    /// first served. Asking again while waiting or holding changes nothing.
    pub fn ask(&mut self, machine: &InstanceAddress, count: usize) {
        let known = self.held.contains_key(machine) || self.waiting.iter().any(|(name, _)| name == machine);
        if !known {
            self.waiting.push_back((machine.clone(), count));
        }
    }

    /// Whether a machine has its slots.
    #[must_use]
    pub fn holds(&self, machine: &InstanceAddress) -> bool {
        self.held.contains_key(machine)
    }

    /// Grants slots to whoever waits the longest, as long as there are enough; nobody overtakes,
    /// so that a machine with many disks is not starved by small ones.
    pub fn grant(&mut self) {
        while let Some((_, count)) = self.waiting.front() {
            if *count > self.free.len() {
                return;
            }
            if let Some((machine, count)) = self.waiting.pop_front() {
                let slots = self.free.drain(..count).collect();
                self.held.insert(machine, slots);
            }
        }
    }

    /// One of the slots that a machine holds and has not used yet.
    pub fn take(&mut self, machine: &InstanceAddress) -> Option<String> {
        self.held.get_mut(machine)?.pop()
    }

    /// Another free slot for one that turned out to be somebody else's, which is tried again after
    /// all others; the same one when there is no other.
    pub fn exchange(&mut self, taken: String) -> String {
        self.free.push_back(taken.clone());
        self.free.pop_front().unwrap_or(taken)
    }

    /// A slot is free again.
    pub fn give_back(&mut self, slot: String) {
        self.free.push_back(slot);
    }

    /// A machine needs no slots any more: what it held and did not use is free again.
    pub fn release(&mut self, machine: &InstanceAddress) {
        self.waiting.retain(|(name, _)| name != machine);
        for slot in self.held.remove(machine).unwrap_or_default() {
            self.give_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("s{number}")).collect()
    }

    #[test]
    fn a_machine_takes_its_slots_together() {
        let (a, b) = (InstanceAddress::new("a"), InstanceAddress::new("b"));
        let mut slots = Slots::new(names(3));
        slots.ask(&a, 2);
        slots.ask(&b, 2);
        slots.grant();
        assert!(slots.holds(&a) && !slots.holds(&b));
        let first = slots.take(&a).unwrap();
        let second = slots.take(&a).unwrap();
        assert_eq!(slots.take(&a), None);
        slots.give_back(first);
        slots.grant();
        assert!(slots.holds(&b), "two are free");
        slots.give_back(second);
    }

    #[test]
    fn a_slot_that_somebody_else_took_is_tried_last() {
        let mut slots = Slots::new(names(3));
        let machine = InstanceAddress::new("a");
        slots.ask(&machine, 1);
        slots.grant();
        let first = slots.take(&machine).unwrap();
        let second = slots.exchange(first.clone());
        let third = slots.exchange(second.clone());
        assert_eq!([&first, &second, &third], ["s0", "s1", "s2"]);
        assert_eq!(slots.exchange(third), first);
        let mut none = Slots::new(Vec::new());
        assert_eq!(none.exchange("s7".to_owned()), "s7");
    }

    #[test]
    fn nobody_overtakes() {
        let (a, b, c) = (InstanceAddress::new("a"), InstanceAddress::new("b"), InstanceAddress::new("c"));
        let mut slots = Slots::new(names(2));
        slots.ask(&a, 1);
        slots.ask(&b, 2);
        slots.ask(&c, 1);
        slots.grant();
        assert!(slots.holds(&a) && !slots.holds(&b) && !slots.holds(&c));
        slots.release(&a);
        slots.grant();
        assert!(slots.holds(&b) && !slots.holds(&c));
        slots.release(&b);
        slots.grant();
        assert!(slots.holds(&c));
    }
}
