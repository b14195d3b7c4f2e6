//! What exists now: the machines' images and guests, and the provider's resources.

pub mod adopt;
mod brought;
pub mod data;
pub mod inventory;
pub mod machine;
pub mod pins;
pub mod reality;
pub mod rebuild;
pub mod resolve;
pub mod unsaid;

pub use machine::{DiskImage, Hardware, Inspection, Machine, MachineDisk, Prepared};
pub use pins::{Pins, as_recorded};
pub use reality::Reality;
pub use resolve::{Inspector, resolve};
