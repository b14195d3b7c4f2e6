//! JSON, one versioned object a line.

pub mod line;

pub use line::{Line, Said, render_diagnostic, render_diagnostics, render_event, render_plan};
