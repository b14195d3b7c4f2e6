//! The block server: a vhost-user-blk backend in a process of its own.
//!
//! It opens the images, then gives up everything it does not need (privileges, namespaces, most
//! system calls) before it talks to the sandbox. UML's messages differ from what the `vhost`
//! crate accepts (72 bytes of memory table for one region, facts of Linux 6.1), so the few
//! messages of the protocol are read here; rings and shared memory are rust-vmm's.

pub mod device;
pub mod handover;
pub mod lockdown;
pub mod medium;
pub mod message;
pub mod request;
pub mod serve;
