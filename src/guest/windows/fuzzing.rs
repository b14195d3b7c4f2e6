//! What is done with a guest's hives, for the fuzzer (`fuzz/`) and the replay of its corpus.

use super::bcd;
use super::hive::{EditError, Hive, HiveEdit, HiveError, HivePlan};
use super::look;

/// Looks at a guest by its two hives; whether it is a Windows.
///
/// # Errors
/// When one is damaged where it is read.
pub fn look(system: &Hive<'_>, software: &Hive<'_>) -> Result<bool, HiveError> {
    look::look(system, software).map(|look| look.is_some())
}

/// What turns the serial console on in a boot configuration, and its loader's screen.
///
/// # Errors
/// When the hive is damaged.
pub fn console(bcd: &Hive<'_>) -> Result<HivePlan, EditError> {
    let edits: Vec<HiveEdit> = bcd::console(bcd)?
        .into_iter()
        .flat_map(|console| console.edits.into_iter().chain(console.graphics))
        .map(|planned| planned.edit)
        .collect();
    HivePlan::new(bcd, &edits)
}
