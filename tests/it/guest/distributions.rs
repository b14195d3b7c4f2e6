//! Distributions that cannot be booted here, as faithful trees: their own file names and contents
//! after a default installation on VMware, prepared; each diff is a snapshot that was read.

mod amazon;
mod debian;
mod ec2;
pub mod kit;
mod odd;
mod real;
mod red_hat;
mod red_hat_6;
mod settings;
mod suse;
mod ties;
mod ubuntu;
