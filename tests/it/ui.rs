//! What people see: plans, progress, receipts.

mod plan;
mod progress;
mod sample;
