//! A conversation with a server whose every word is given, for the fuzzer (`fuzz/`) and the
//! replay of its corpus.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::connection::Connection;
use super::error::NbdError;
use super::handshake::greet;
use super::pool;
use super::wire::{Limits, Wire};

/// The most that the server says: what a socket holds while nobody reads.
const MOST: usize = 64 << 10;
/// How many bytes of the export are read at most.
const READ: u64 = 64 << 10;

/// How long words are waited for, which are all there already.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of a conversation.
#[derive(Debug)]
pub struct Outcome {
    /// The status of so many bytes was asked for.
    pub asked: u64,
    /// Where the extents that came end.
    pub told: u64,
    /// How long they are together.
    pub extents: u64,
    /// How many bytes were read.
    pub read: usize,
}

/// Greets the server, asks what is zero, and reads.
///
/// # Errors
/// As a real server's words would give.
pub fn converse(words: &[u8]) -> Result<Outcome, NbdError> {
    let failed = |source| NbdError::Connect { source };
    let (ours, mut server) = UnixStream::pair().map_err(failed)?;
    server.write_all(&words[..words.len().min(MOST)]).map_err(failed)?;
    server.shutdown(Shutdown::Write).map_err(failed)?;
    let mut wire = Wire::over(ours, PATIENCE).map_err(failed)?;
    let export = greet(&wire, "disk", "base:allocation")?;
    wire.greeted(PATIENCE).map_err(failed)?;
    let (size, context) = (export.size, export.context);
    let connection = Connection::new(wire, export, Limits::USUAL);
    let mut outcome = Outcome { asked: size.min(u64::from(u32::MAX)), told: 0, extents: 0, read: 0 };
    if let Some(context) = context
        && outcome.asked > 0
    {
        let mut extents = 0;
        outcome.told = connection.status(&(0..outcome.asked), context, &mut |length, _| extents += length)?;
        outcome.extents = extents;
    }
    let mut buffer = vec![0; usize::try_from(size.min(READ)).unwrap_or(0)];
    pool::read(&connection, 0, &mut buffer)?;
    outcome.read = buffer.len();
    Ok(outcome)
}
