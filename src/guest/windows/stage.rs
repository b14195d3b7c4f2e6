//! Directories and files that are put into a Windows volume, with the access that Windows needs of
//! them. Values first: [`Staged`] is what is wanted, [`stage`] says what that changes and does it.

mod content;
mod descriptor;
mod error;
mod place;
mod plan;
mod room;
mod staged;
mod write;

pub use content::copy_to;
pub use error::StageError;
pub use place::{check, folded, look};
pub use plan::{Outcome, stage};
pub use staged::{Access, Staged, StagedContent};
