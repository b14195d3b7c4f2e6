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
            // This thread goes on by itself; when it is done, another one must: one that waits,
            // which this one does no longer.
            if left == 0 {
                turn.waiting.remove(&number);
                if let Some(next) = turn.waiting.values().find(|asker| asker.sent) {
                    next.thread.unpark();
                }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::super::scripted::{Asked, Peer, Says, Scripted, content, failure, reads};
    use super::*;

    #[test]
    fn many_threads_share_one_connection_whatever_the_order_of_answers() {
        let server = Scripted::new(|number, mut peer| {
            assert_eq!(number, 0, "one connection is allowed, one is made");
            peer.greet(&Says { size: 64 << 20, ..Says::default() });
            // Gathers what has come and answers the latest first, each in two parts and a hole.
            while let Some(first) = peer.asked() {
                let mut asked = vec![first];
                peer.0.set_nonblocking(true).unwrap();
                let mut peeked = [0; 28];
                while asked.len() < 5
                    && matches!(
                        rustix::net::recv(&peer.0, &mut peeked[..], rustix::net::RecvFlags::PEEK),
                        Ok((28, _))
                    )
                {
                    asked.extend(peer.asked());
                }
                peer.0.set_nonblocking(false).unwrap();
                for one in asked.iter().rev() {
                    let half = u64::from(one.length / 2);
                    let (low, high) = (one.offset, one.offset + half);
                    let rest = (u64::from(one.length) - half) as usize;
                    peer.chunk(
                        one.cookie,
                        false,
                        1,
                        &[&high.to_be_bytes()[..], &content(high, rest)].concat(),
                    );
                    if half > 0 {
                        peer.chunk(
                            one.cookie,
                            false,
                            1,
                            &[&low.to_be_bytes()[..], &content(low, half as usize)].concat(),
                        );
                    }
                }
                for one in &asked {
                    peer.chunk(one.cookie, true, 0, b"");
                }
            }
        });
        let pool = server.pool();
        thread::scope(|scope| {
            for thread in 0..12u64 {
                let pool = &pool;
                scope.spawn(move || {
                    for step in 0..20u64 {
                        let offset = (thread * 7919 + step * 104_729) % (60 << 20);
                        reads(pool, offset, 1 + (step as usize * 77_777) % 700_000);
                    }
                });
            }
        });
    }

    #[test]
    fn a_servers_error_is_given_at_once_and_leaves_the_connection_usable() {
        let server = Scripted::new(|number, mut peer| {
            assert_eq!(number, 0);
            peer.greet(&Says::default());
            while let Some(asked) = peer.asked() {
                match asked.offset {
                    0 => {
                        peer.chunk(asked.cookie, true, 0x8002, b"\0\0\0\x05\0\x0abad sector\0\0\0\0\0\0\0\0")
                    }
                    4096 => peer.simple(asked.cookie, 1, b""),
                    8192 => {
                        peer.chunk(asked.cookie, false, 0x8fff, b"\0\0\0\x63\0\0");
                        peer.chunk(asked.cookie, true, 0, b"")
                    }
                    _ => peer.data(asked),
                };
            }
        });
        let pool = server.pool();
        let error = |offset| pool.read(offset, &mut [0; 512]).unwrap_err().error;
        assert_eq!(
            error(0).to_string(),
            "the server answered EIO: an input/output error and says: bad sector"
        );
        assert!(matches!(error(4096), NbdError::Denied { .. }));
        assert!(matches!(error(8192), NbdError::Answer { name, .. } if name == "error 99"));
        reads(&pool, 16384, 4096);
    }

    #[test]
    fn hostile_answers_are_refused() {
        type Part = fn(&mut Peer, Asked) -> bool;
        let parts: [(&str, Part); 13] = [
            ("cookie", |peer, asked| peer.chunk(asked.cookie + 1, true, 0, b"")),
            ("other thread's cookie", |peer, asked| peer.chunk(asked.cookie + 256, true, 0, b"")),
            ("simple", |peer, asked| peer.simple(asked.cookie, 0, &[0; 4096])),
            ("nothing came", |peer, asked| peer.chunk(asked.cookie, true, 0, b"")),
            ("magic", |peer, _| peer.send(&[0x55; 64])),
            ("too long", |peer, asked| peer.chunk(asked.cookie, true, 1, &[0; 8 + 4097])),
            ("before", |peer, asked| peer.chunk(asked.cookie, true, 1, &[0xff; 8 + 16])),
            ("empty", |peer, asked| peer.chunk(asked.cookie, true, 1, &[0; 8])),
            ("huge hole", |peer, asked| {
                peer.chunk(asked.cookie, true, 2, &[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0])
            }),
            ("overlap", |peer, asked| {
                peer.chunk(asked.cookie, false, 1, &[0; 8 + 512]);
                peer.chunk(asked.cookie, true, 1, &[0; 8 + 4096])
            }),
            ("unknown type", |peer, asked| peer.chunk(asked.cookie, true, 99, &[0; 100])),
            ("no error", |peer, asked| peer.chunk(asked.cookie, true, 0x8001, &[0; 6])),
            ("endless", |peer, asked| {
                while peer.chunk(asked.cookie, false, 0x8001, b"\0\0\0\x05\0\0") {}
                false
            }),
        ];
        for (name, part) in parts {
            let failed = failure(move |mut peer| {
                peer.greet(&Says::default());
                if let Some(asked) = peer.asked() {
                    part(&mut peer, asked);
                    while peer.asked().is_some() {}
                }
            });
            assert!(matches!(failed.error, NbdError::Protocol { .. }), "{name}: {failed:?}");
            assert_eq!(failed.attempts, 1, "{name}");
        }
    }

    #[test]
    fn goodbye_is_said() {
        let heard = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&heard);
        let server = Scripted::new(move |_, mut peer| {
            peer.greet(&Says::default());
            let bytes = peer.take(28).unwrap();
            told.store(bytes[6..8] == [0, 2], Ordering::SeqCst);
        });
        drop(server.pool());
        let begun = Instant::now();
        while !heard.load(Ordering::SeqCst) {
            assert!(begun.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(5));
        }
    }
}
