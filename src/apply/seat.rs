//! Attaching where somebody else takes slots too: another workspace restores through the same access
//! node, and chose the same free slot in the same moment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::slots::Slots;
use super::wait::Pauses;
use super::{ApplyError, Context};
use crate::model::Address;

/// A slot that a node has, and where it gets another one.
#[derive(Debug)]
pub struct Seat {
    /// The slot.
    pub slot: String,
    /// All of the run.
    pub slots: Arc<Mutex<Slots>>,
}

impl Seat {
    fn exchange(&mut self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        self.slot = slots.exchange(std::mem::take(&mut self.slot));
    }
}

impl Context {
    /// Puts a volume in a slot of the access node: in another one when it is taken, and when all of
    /// them are, as soon as one is free, for as long as is waited for a volume.
    ///
    /// # Errors
    /// As [`Context::attach`]; no slot became free.
    pub async fn attach_where_free(&self, address: &Address, seat: &mut Seat) -> Result<String, ApplyError> {
        let mut pauses = Pauses::new(self.options.limits.volume);
        let mut tried = BTreeSet::new();
        loop {
            let error = match self.attach(address, &seat.slot).await {
                Err(ApplyError::Provider(error)) if error.is_slot_taken() => error,
                other => return other,
            };
            if self.cancel.stage() > 0 {
                return Err(ApplyError::Interrupted);
            }
            let taken = seat.slot.clone();
            tried.insert(taken.clone());
            seat.exchange();
            if tried.contains(&seat.slot) {
                self.progress(address, "somebody else has the access node's slots; waiting for one");
                tried.clear();
                pauses.pause(self, "a free slot of the access node", &error.message).await?;
            } else {
                self.progress(address, format!("{taken} was taken by somebody else; trying {}", seat.slot));
            }
        }
    }
}
