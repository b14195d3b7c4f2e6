//! What happens inside the sandbox: inspect a guest, make findings and a recipe, carry it out.
//!
//! Runs in `replant-guest`; its types are also what the host reads back. Knows nothing of
//! plans, states or providers.

pub mod disk;
pub mod draft;
pub mod exchange;
pub mod findings;
pub mod init;
pub mod kernel;
pub mod linux;
pub mod locks;
pub mod mask;
pub mod prepare;
pub mod program;
pub mod report;
pub mod tree;
pub mod windows;
