//! The sandbox's init: set the kernel up, take the job, do it, leave the report, power off.

pub mod components;
pub mod examine;
pub mod job;
pub mod session;
pub mod system;

pub use session::main;
