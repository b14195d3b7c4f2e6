//! For people: diagnostics, plans, progress, receipts.

pub mod components;
pub mod diagnostics;
pub mod edits;
pub mod event;
pub mod guest;
pub mod inspection;
pub mod inventory;
pub mod paint;
pub mod plan;
pub mod receipt;
pub mod state;
pub mod text;
pub mod units;
pub mod unsaid;
pub mod value;

pub use diagnostics::{render_diagnostic, render_diagnostics};
pub use plan::render_plan;
pub use text::Look;
