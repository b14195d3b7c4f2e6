//! What a user wants of a Windows guest beside what makes it boot, as values.

mod files;
mod identity;
mod look;
mod name;

pub use look::look;
