//! For people: diagnostics, plans, progress, receipts.

pub mod diagnostics;
pub mod text;

pub use diagnostics::{render_diagnostic, render_diagnostics};
pub use text::Look;
