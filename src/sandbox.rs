//! The host's side of preparation: a throwaway user-mode Linux in a jail, fed block by block by a
//! process of its own, over a copy-on-write overlay (DESIGN.md, "Preparation is an overlay").
//!
//! [`run`] starts two helper processes from this same program ([`helper`]): the block server
//! ([`blocks`]) and the jail ([`jail`]) in which the [`engine`] boots an [`initrd`] whose init is
//! `replant-guest`. What comes back is treated as hostile input.

pub mod blocks;
pub mod broker;
pub mod cache;
pub mod engine;
pub mod error;
pub mod helper;
pub mod initrd;
pub mod jail;
pub mod link;
pub mod parcel;
pub mod programs;
pub mod request;
pub mod run;

pub use cache::Cache;
pub use error::SandboxError;
pub use parcel::{Parcel, ParcelError};
pub use programs::Programs;
pub use request::{Limits, Outcome, Request, SandboxDisk};
pub use run::{run, run_with};
