//! Exports of NBD servers: the plug for whatever another program can serve as a disk.
//!
//! A client of the fixed newstyle protocol (the document `proto.md` of the NBD project) that only
//! ever reads: it sends READ, BLOCK_STATUS and DISC, and nothing else.

mod bitmap;
mod chunk;
mod connection;
pub mod error;
mod export;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod map;
mod pool;
mod read;
#[cfg(test)]
mod scripted;
mod status;
mod wire;

pub(super) use bitmap::dirty;
pub use error::NbdError;
pub(super) use export::open;
