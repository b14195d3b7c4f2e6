//! What a run says, rendered: for people on a terminal or in a log, and as JSON.
//!
//! Renderers are pure where they can be (value → text); only the progress display writes by
//! itself. Everything else is printed by `cli`.

pub mod components;
pub mod human;
pub mod inspection;
pub mod json;
pub mod progress;
