//! Several connections to one export, made as they are needed and again when they are lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::error::NbdError;
use super::handshake::{Export, greet};
use super::wire::{Limits, Wire};
use crate::model::NbdLocation;

/// The most connections to a server that admits several.
const MOST: usize = 8;
/// The most bytes of one request: several of them are under way for one block, so that the
/// server reads ahead of what is received. Measured on two processors: with 1 MiB the server and
/// the client wait for each other, with 128 KiB there are more requests for nothing; eight
/// connections beat one by a third.
const REQUEST: usize = 256 << 10;
/// The wait before the second attempt; each later one is twice as long, up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What remained when trying again did not help.
#[derive(Debug)]
pub(super) struct Failed {
    /// How often it was tried.
    pub attempts: u32,
    /// What went wrong the last time.
    pub error: NbdError,
}

impl From<NbdError> for Failed {
    fn from(error: NbdError) -> Self {
        Self { attempts: 1, error }
    }
}

/// A connection and how many threads use it now.
#[derive(Debug)]
struct Member {
    connection: Connection,
    users: AtomicUsize,
}

/// One thread's use of a connection.
struct Use(Arc<Member>);

impl Use {
    fn of(member: &Arc<Member>) -> Self {
        member.users.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(member))
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct State {
    members: Vec<Arc<Member>>,
    most: usize,
    /// When the last attempt to connect failed, and how.
    failure: Option<(Instant, NbdError)>,
}

/// An open export.
#[derive(Debug)]
pub(super) struct Pool {
    address: NbdLocation,
    context: String,
    limits: Limits,
    /// What the server said of the export at first.
    pub export: Export,
    state: Mutex<State>,
    opening: Mutex<()>,
}

impl Pool {
    /// Connects, and asks for a metadata context.
    pub(super) fn open(address: NbdLocation, context: &str, limits: Limits) -> Result<Self, NbdError> {
        let first = connect(&address, context, &limits, limits)?;
        let export = first.export.clone();
        let most = if export.multi { MOST } else { 1 };
        let members = vec![Arc::new(Member { connection: first, users: AtomicUsize::new(0) })];
        Ok(Self {
            address,
            context: context.to_owned(),
            limits,
            export,
            state: Mutex::new(State { members, most, failure: None }),
            opening: Mutex::new(()),
        })
    }

    /// Fills the buffer from `offset` on.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Failed> {
        self.run(|connection| read(connection, offset, buffer))
    }

    /// Does something on a connection; on another one when that was lost, for a limited time.
    pub(super) fn run<T>(
        &self,
        mut job: impl FnMut(&Connection) -> Result<T, NbdError>,
    ) -> Result<T, Failed> {
        let (mut attempts, mut wait, mut lost) = (0, FIRST_WAIT, None);
        loop {
            attempts += 1;
            match self.take().and_then(|used| job(&used.0.connection)) {
                Ok(done) => return Ok(done),
                Err(error) => {
                    let since: &mut Instant = lost.get_or_insert_with(Instant::now);
                    if !error.is_retryable() || since.elapsed() + wait > self.limits.again {
                        return Err(Failed { attempts, error });
                    }
                    thread::sleep(wait);
                    wait = LAST_WAIT.min(wait * 2);
                }
            }
        }
    }

    /// The connection that is used least; a further one when all are used and the server admits
    /// it.
    fn take(&self) -> Result<Use, NbdError> {
        let (best, more) = {
            let mut state = self.state();
            state.members.retain(|member| !member.connection.is_dead());
            let best = least_used(&state.members);
            (best, state.members.len() < state.most)
        };
        match best {
            Some(best) if !more || best.0.users.load(Ordering::Relaxed) == 1 => Ok(best),
            Some(best) => Ok(self.open_further().unwrap_or(best)),
            None => self.reopen(),
        }
    }

    /// Opens one more connection, unless another thread is just at that. A server that admits no
    /// more leaves them unanswered; it is not asked again.
    fn open_further(&self) -> Option<Use> {
        let _one = self.opening.try_lock().ok()?;
        let limits = Limits { connect: self.limits.further, stall: self.limits.further, ..self.limits };
        match connect(&self.address, &self.context, &limits, self.limits) {
            Ok(connection) if self.check(&connection.export).is_ok() => Some(self.join(connection)),
            _ => {
                let mut state = self.state();
                state.most = state.members.len().max(1);
                None
            }
        }
    }

    /// Connects again when no connection is left. Threads that come while one tries share what
    /// comes of it.
    fn reopen(&self) -> Result<Use, NbdError> {
        let begun = Instant::now();
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let state = self.state();
            if let Some(best) = least_used(&state.members) {
                return Ok(best);
            }
            if let Some((when, failure)) = &state.failure
                && *when > begun
            {
                return Err(failure.again());
            }
        }
        let connected = connect(&self.address, &self.context, &self.limits, self.limits)
            .and_then(|connection| self.check(&connection.export).map(|()| connection));
        match connected {
            Ok(connection) => Ok(self.join(connection)),
            Err(error) => {
                self.state().failure = Some((Instant::now(), error.again()));
                Err(error)
            }
        }
    }

    fn join(&self, connection: Connection) -> Use {
        let member = Arc::new(Member { connection, users: AtomicUsize::new(0) });
        let used = Use::of(&member);
        self.state().members.push(member);
        used
    }

    /// Whether a new connection sees the export that the first one saw.
    fn check(&self, now: &Export) -> Result<(), NbdError> {
        let what = if now.size != self.export.size {
            format!("it had {} bytes, now it has {}", self.export.size, now.size)
        } else if now.description != self.export.description {
            format!("it was described as `{}`, now as `{}`", self.export.description, now.description)
        } else {
            return Ok(());
        };
        Err(NbdError::Changed { what })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects within some limits to a connection that lives within others.
fn connect(
    address: &NbdLocation,
    context: &str,
    greeting: &Limits,
    limits: Limits,
) -> Result<Connection, NbdError> {
    let mut wire = Wire::connect(address, greeting)?;
    let export = greet(&wire, &address.export, context)?;
    wire.greeted(limits.stall).map_err(|source| NbdError::Connect { source })?;
    Ok(Connection::new(wire, export, limits))
}

fn least_used(members: &[Arc<Member>]) -> Option<Use> {
    members.iter().min_by_key(|member| member.users.load(Ordering::Relaxed)).map(Use::of)
}

/// Reads on one connection, in the blocks that the server demands.
pub(super) fn read(connection: &Connection, offset: u64, buffer: &mut [u8]) -> Result<(), NbdError> {
    let export = &connection.export;
    let minimum = u64::from(export.minimum);
    let request = REQUEST.min(export.maximum as usize).max(export.minimum as usize);
    let mut offset = offset;
    let mut buffer = buffer;
    while !buffer.is_empty() {
        let skip = offset % minimum;
        let whole = buffer.len() as u64 - buffer.len() as u64 % minimum;
        let length = if skip == 0 && whole > 0 {
            // What ends with the export may be no whole block.
            let ends = offset + buffer.len() as u64 == export.size;
            let (part, _) = buffer.split_at_mut(if ends { buffer.len() } else { whole as usize });
            connection.read(offset, part, request)?;
            part.len()
        } else {
            let start = offset - skip;
            let block = minimum.min(export.size.saturating_sub(start)) as usize;
            let mut bytes = vec![0; block];
            connection.read(start, &mut bytes, request)?;
            let part = bytes.get(skip as usize..).unwrap_or_default();
            let length = part.len().min(buffer.len());
            buffer[..length].copy_from_slice(&part[..length]);
            // Only a read beyond the end has nothing here; it was refused before.
            length.max(1)
        };
        buffer = buffer.get_mut(length..).unwrap_or_default();
        offset += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{Says, Scripted, content, failure, reads};
    use super::*;

    #[test]
    fn several_connections_where_the_server_admits_them() {
        let clients = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&clients);
        let server = Scripted::new(move |number, mut peer| {
            if number >= 3 {
                // As qemu-nbd with --shared=3: connected, but never served.
                thread::sleep(Duration::from_secs(30));
                return;
            }
            seen.fetch_add(1, Ordering::SeqCst);
            peer.greet(&Says { multi: true, ..Says::default() });
            while let Some(asked) = peer.asked() {
                thread::sleep(Duration::from_millis(5));
                peer.data(asked);
            }
        });
        let pool = server.pool();
        let begun = Instant::now();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|step| reads(&pool, step * 4096, 4096)));
            }
        });
        assert_eq!(clients.load(Ordering::SeqCst), 3);
        assert!(begun.elapsed() < Duration::from_secs(20), "the further connection is given up soon");
    }

    #[test]
    fn blocks_are_as_the_server_demands() {
        let server = Scripted::new(|_, mut peer| {
            let size = (1 << 20) + 100;
            peer.greet(&Says { size, blocks: Some((4096, 4096, 8192)), ..Says::default() });
            while let Some(asked) = peer.asked() {
                let end = asked.offset + u64::from(asked.length);
                assert!(asked.offset % 4096 == 0 && (end % 4096 == 0 || end == size), "{asked:?}");
                assert!(asked.length <= 8192, "{asked:?}");
                peer.data(asked);
            }
        });
        let pool = server.pool();
        for (offset, length) in [
            (0, 1 << 20),
            (1, 1),
            (4095, 2),
            (4095, 20_000),
            (100, 4096),
            (8192, 5),
            (1 << 20, 100),
            ((1 << 20) + 99, 1),
            (5000, (1 << 20) - 4900),
        ] {
            reads(&pool, offset, length);
        }
    }

    #[test]
    fn a_lost_connection_is_made_again() {
        let server = Scripted::new(|number, mut peer| {
            peer.greet(&Says { structured: number != 1, ..Says::default() });
            let mut left = 3;
            while let Some(asked) = peer.asked() {
                match (number, left) {
                    (0 | 1, 0) => return,
                    (1, _) => peer.simple(asked.cookie, 0, &content(asked.offset, asked.length as usize)),
                    _ => peer.data(asked),
                };
                left -= i32::from(number < 2);
            }
        });
        let pool = server.pool();
        (0..10).for_each(|step| reads(&pool, step * 4096, 4096));
    }

    #[test]
    fn a_server_that_is_gone_is_given_up_in_time() {
        let server = Scripted::new(|number, mut peer| {
            if number == 0 {
                peer.greet(&Says::default());
                peer.asked();
            }
        });
        let pool = server.pool();
        let begun = Instant::now();
        let failed = pool.read(4096, &mut [0; 512]).unwrap_err();
        assert!(failed.attempts > 1 && failed.error.is_retryable(), "{failed:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_server_that_stays_silent_is_given_up_in_time() {
        let begun = Instant::now();
        let failed = failure(|mut peer| {
            peer.greet(&Says::default());
            while peer.asked().is_some() {}
        });
        assert!(matches!(failed.error, NbdError::Stalled { .. }), "{failed:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn another_export_behind_the_same_name_is_noticed() {
        for (size, description) in [(2 << 20, ""), (1 << 20, "another")] {
            let server = Scripted::new(move |number, mut peer| {
                match number {
                    0 => peer.greet(&Says::default()),
                    _ => peer.greet(&Says { size, description, ..Says::default() }),
                }
                peer.asked();
            });
            let failed = server.pool().read(0, &mut [0; 512]).unwrap_err();
            assert!(matches!(failed.error, NbdError::Changed { .. }), "{failed:?}");
        }
    }
}
