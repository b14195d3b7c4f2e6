//! Replant restores backed-up virtual machines onto Amazon EC2, as code.
//!
//! Data flows one way: `config` → `graph` → `plan` → `apply` → `state`. [`model`] and
//! [`diagnostic`] are leaves; [`image`], [`copy`], `sandbox` and [`guest`] know no plans, states or
//! providers; only `ui` and `cli` print; only `provider::aws` names the AWS SDK. A test reads the
//! `use crate::` lines and enforces this.

pub mod apply;
pub mod cli;
pub mod config;
pub mod copy;
pub mod diagnostic;
pub mod graph;
pub mod guest;
pub mod image;
pub mod model;
pub mod observe;
pub mod plan;
pub mod provider;
pub mod sandbox;
pub mod state;
pub mod ui;
