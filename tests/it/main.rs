//! All of Replant's integration tests, one binary (linking once is quicker than forty times).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod copy;
mod guest;
mod guests;
mod image;
mod layers;
mod sandbox;
mod state;
mod support;
mod ui;
