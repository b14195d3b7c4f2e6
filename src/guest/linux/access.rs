//! Whether a person can reach the restored guest: sshd, its firewall, a way to log in.

mod firewall;
mod login;
mod look;
mod ssh;
mod sshd_config;

pub use look::{Surroundings, inspect};
