//! All of Replant's integration tests, one binary (linking once is quicker than forty times).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod config;
mod copy;
mod docs;
mod examples;
mod copy;
mod guest;
mod guests;
mod image;
mod crash;
mod layers;
mod provider;
mod sandbox;
mod state;
mod scenarios;
mod sandbox;
mod state;
mod provider;
mod config;
mod provider;
mod sandbox;
mod state;
mod provider;
mod sandbox;
mod state;
mod support;
mod ui;
