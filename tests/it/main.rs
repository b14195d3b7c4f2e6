//! All of Replant's integration tests, one binary (linking once is quicker than forty times).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

#[cfg(feature = "remote")]
mod components;
mod config;
mod copy;
mod corpus;
mod crash;
mod damaged;
mod docs;
mod drill;
mod examples;
mod guest;
mod guests;
mod image;
mod imaging;
mod init;
mod layers;
mod nbd;
mod permissions;
mod pinning;
mod plan;
mod provider;
mod recovery;
#[cfg(feature = "remote")]
mod remote;
mod running;
mod sandbox;
mod scenarios;
mod seeds;
mod state;
mod support;
mod ui;
mod updates;
