//! One connection in its transmission phase, shared by any number of threads.
//!
//! There is no thread of its own. Each thread sends its requests and then waits for its answers;
//! one of those that wait reads from the socket. When what comes is for another thread, that one
//! is woken and goes on reading, so that bytes go from the socket straight into the buffer of
//! whoever asked for them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use super::error::NbdError;
use super::handshake::Export;
use super::read::Piece;
use super::status;
use super::wire::{Limits, Wire};

const REQUEST: u32 = 0x2560_9513;
const SIMPLE_REPLY: u32 = 0x6744_6698;
const CHUNK: u32 = 0x668e_33ef;
const DONE: u16 = 1;

/// Commands. No other is ever sent: an export is only read (promise 4).
const READ: u16 = 0;
const DISCONNECT: u16 = 2;
const BLOCK_STATUS: u16 = 7;

/// The most requests that one thread has outstanding, and the most threads that have some: few
/// enough for a socket's buffer, so that sending never waits for answers to be taken.
const MOST_PIECES: usize = 32;
const MOST_WAITING: usize = 64;
/// Bits of a cookie that number a thread's requests.
const PIECE_BITS: u32 = 8;

/// What it is at when it fails.
pub(super) const ANSWERING: &str = "while an answer was due";

/// The beginning of an answer, or of a part of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    cookie: u64,
    pub kind: Kind,
}

/// What kind of answer it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// All of it at once: an error, or (0) what was asked for.
    Simple(u32),
    /// One chunk of several.
    Chunk {
        /// Its type.
        kind: u16,
        /// Whether it is the last.
        done: bool,
        /// The bytes that follow.
        length: u32,
    },
}

/// A thread that has asked.
#[derive(Debug)]
struct Asker {
    thread: Thread,
    /// All its requests are sent, so that it is free to read.
    sent: bool,
}

#[derive(Debug, Default)]
struct Turn {
    /// Who waits for answers, by the number of what they asked.
    waiting: BTreeMap<u64, Asker>,
    /// A head that was read by another thread than the one that it is for.
    head: Option<Head>,
    /// Someone reads, or has been told to.
    reading: bool,
    dead: Option<NbdError>,
}

/// An open export on one socket.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    pub export: Export,
    limits: Limits,
    sending: Mutex<()>,
    turn: Mutex<Turn>,
    room: Condvar,
    asked: AtomicU64,
}

impl Connection {
    pub(super) fn new(wire: Wire, export: Export, limits: Limits) -> Self {
        let (sending, turn, room, asked) = Default::default();
        Self { wire, export, limits, sending, turn, room, asked }
    }

    /// Whether nothing more comes from it.
    pub(super) fn is_dead(&self) -> bool {
        self.turn().dead.is_some()
    }

    /// Fills the buffer from `offset` on, asking for at most `request` bytes at a time. Offset
    /// and length are as the export's minimum demands.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8], request: usize) -> Result<(), NbdError> {
        let mut offset = offset;
        for batch in buffer.chunks_mut(request.saturating_mul(MOST_PIECES)) {
            let length = batch.len() as u64;
            let mut pieces: Vec<Piece<'_>> = Vec::with_capacity(batch.len().div_ceil(request));
            for part in batch.chunks_mut(request) {
                pieces.push(Piece::new(
                    offset + (pieces.len() * request) as u64,
                    part,
                    self.export.structured,
                ));
            }
            let requests: Vec<_> = pieces.iter().map(|piece| (piece.offset, piece.length())).collect();
            self.ask(READ, &requests, &mut |piece, kind| pieces[piece].take(kind, &self.wire))?;
            for piece in pieces {
                piece.finish()?;
            }
            offset += length;
        }
        Ok(())
    }

    /// Asks for the status of a range of less than 4 GiB; tells each extent's length and flags,
    /// in order from the range's start on, and gives where they end: at least one extent on, and
    /// at most the range's end.
    pub(super) fn status(
        &self,
        range: &Range<u64>,
        context: u32,
        found: &mut dyn FnMut(u64, u32),
    ) -> Result<u64, NbdError> {
        let length = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
        let mut answer = status::Answer::new(range.start, u64::from(length), context);
        self.ask(BLOCK_STATUS, &[(range.start, length)], &mut |_, kind| {
            answer.take(kind, &self.wire, found)
        })?;
        answer.finish()
    }

    /// Sends requests and hands their answers to `take` as they come, which reads what follows
    /// the head and says whether that request is answered. Its errors are the connection's end.
    fn ask(
        &self,
        command: u16,
        requests: &[(u64, u32)],
        take: &mut dyn FnMut(usize, Kind) -> Result<bool, NbdError>,
    ) -> Result<(), NbdError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut bytes = Vec::with_capacity(requests.len() * 28);
        for (piece, (offset, length)) in requests.iter().enumerate() {
            encode(&mut bytes, command, number << PIECE_BITS | piece as u64, *offset, *length);
        }
        self.enter(number)?;
        let answered = self.send(&bytes).and_then(|()| {
            if let Some(asker) = self.turn().waiting.get_mut(&number) {
                asker.sent = true;
            }
            self.answers(number, requests.len(), take)
        });
        let mut turn = self.turn();
        turn.waiting.remove(&number);
        self.room.notify_one();
        if let Err(error) = &answered
            && turn.dead.is_none()
        {
            turn.dead = Some(error.again());
            self.wire.hang_up();
            self.room.notify_all();
            turn.waiting.values().for_each(|asker| asker.thread.unpark());
        }
        answered
    }

    /// Takes a place among those who wait for answers.
    fn enter(&self, number: u64) -> Result<(), NbdError> {
        let mut turn = self.turn();
        loop {
            if let Some(death) = &turn.dead {
                return Err(death.again());
            }
            if turn.waiting.len() < MOST_WAITING {
                turn.waiting.insert(number, Asker { thread: thread::current(), sent: false });
                return Ok(());
            }
            turn = self.room.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NbdError> {
        let _one = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        self.wire.send(bytes, "while a request was sent")
    }

    fn answers(
        &self,
        number: u64,
        requests: usize,
        take: &mut dyn FnMut(usize, Kind) -> Result<bool, NbdError>,
    ) -> Result<(), NbdError> {
        let begun = Instant::now();
        let mut answered = vec![false; requests];
        let mut left = requests;
        while left > 0 {
            let head = self.head(number, begun)?;
            let piece = usize::try_from(head.cookie & ((1 << PIECE_BITS) - 1)).unwrap_or(usize::MAX);
            match answered.get_mut(piece) {
                Some(done) if !*done => *done = take(piece, head.kind)?,
                _ => return Err(unasked(head.cookie)),
            }
            left -= usize::from(answered[piece]);
            let mut turn = self.turn();
            turn.reading = false;
            // This thread goes on by itself; when it is done, another one must.
            let other = |(waiting, asker): &(&u64, &Asker)| **waiting != number && asker.sent;
            if left == 0
                && let Some((_, next)) = turn.waiting.iter().find(other)
            {
                next.thread.unpark();
            }
        }
        Ok(())
    }

    /// Waits for the head of an answer to `number`. Whoever gets it must read what follows, and
    /// then let others read.
    fn head(&self, number: u64, begun: Instant) -> Result<Head, NbdError> {
        loop {
            let mut turn = self.turn();
            if let Some(death) = &turn.dead {
                return Err(death.again());
            }
            if let Some(head) = turn.head.take_if(|head| head.cookie >> PIECE_BITS == number) {
                return Ok(head);
            }
            if begun.elapsed() > self.limits.answer {
                return Err(NbdError::Stalled { doing: ANSWERING, seconds: self.limits.answer.as_secs() });
            }
            if turn.reading {
                drop(turn);
                thread::park_timeout(self.limits.stall);
                continue;
            }
            turn.reading = true;
            drop(turn);
            let head = self.read_head()?;
            let owner = head.cookie >> PIECE_BITS;
            if owner == number {
                return Ok(head);
            }
            let mut turn = self.turn();
            match turn.waiting.get(&owner) {
                Some(asker) => asker.thread.unpark(),
                None => return Err(unasked(head.cookie)),
            }
            turn.head = Some(head);
        }
    }

    fn read_head(&self) -> Result<Head, NbdError> {
        let bytes: [u8; 16] = self.wire.array(ANSWERING)?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let cookie = u64::from(word(8)) << 32 | u64::from(word(12));
        let kind = match word(0) {
            SIMPLE_REPLY => Kind::Simple(word(4)),
            CHUNK if self.export.structured => Kind::Chunk {
                kind: (word(4) & 0xffff) as u16,
                done: (word(4) >> 16) as u16 & DONE != 0,
                length: u32::from_be_bytes(self.wire.array(ANSWERING)?),
            },
            other => {
                let what = format!("an answer begins with {other:#010x}");
                return Err(NbdError::Protocol { what });
            }
        };
        Ok(Head { cookie, kind })
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    /// Says goodbye, so that the server does not log a client that vanished.
    fn drop(&mut self) {
        if !self.is_dead() {
            let mut bytes = Vec::new();
            encode(&mut bytes, DISCONNECT, 0, 0, 0);
            // A server that is gone needs no goodbye.
            let _ = self.send(&bytes);
        }
    }
}

fn encode(bytes: &mut Vec<u8>, command: u16, cookie: u64, offset: u64, length: u32) {
    bytes.extend(REQUEST.to_be_bytes());
    bytes.extend(0u16.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
}

fn unasked(cookie: u64) -> NbdError {
    NbdError::Protocol { what: format!("it answers what was not asked (cookie {cookie:#x})") }
}
