//! For people: diagnostics, plans, progress, receipts.

pub mod diagnostics;
pub mod state;
pub mod text;
pub mod value;

pub use diagnostics::{render_diagnostic, render_diagnostics};
pub use text::Look;
