//! A connection's bytes: connecting, sending and receiving within limits of time.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::error::NbdError;
use crate::model::{NbdLocation, NbdServer};

/// How slow a server may be while it sends what it began: bytes a second.
const SLOWEST: u64 = 8 << 10;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until a connection stands, for each of a host's addresses; a name's resolution.
    pub connect: Duration,
    /// Without a byte of an answer that is due.
    pub stall: Duration,
    /// How long a read whose connection was lost is tried again.
    pub again: Duration,
    /// How long an answer may be outstanding while the server answers others.
    pub answer: Duration,
    /// The handshake of a further connection, which the server may not admit and then leaves open.
    pub further: Duration,
}

impl Limits {
    /// A server silent for good is given up after at most 30 s of silence, 30 s of new attempts,
    /// and 30 s of silence in the last of these.
    pub(super) const USUAL: Self = Self {
        connect: Duration::from_secs(10),
        stall: Duration::from_secs(30),
        again: Duration::from_secs(30),
        answer: Duration::from_secs(300),
        further: Duration::from_secs(5),
    };
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected socket whose every wait is bounded.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    stall: Duration,
    /// When the handshake must be over.
    greeted_by: Option<Instant>,
}

impl Wire {
    /// Connects to a server.
    pub(super) fn connect(address: &NbdLocation, limits: &Limits) -> Result<Self, NbdError> {
        let failed = |source| NbdError::Connect { source };
        let stream = match &address.server {
            NbdServer::Tcp { host, port } => {
                let stream = tcp(host, *port, limits.connect).map_err(failed)?;
                // Requests are a few bytes each and must not wait for one another.
                stream.set_nodelay(true).map_err(failed)?;
                Stream::Tcp(stream)
            }
            NbdServer::Unix { socket } => Stream::Unix(UnixStream::connect(socket).map_err(failed)?),
        };
        Self::new(stream, limits.stall).map_err(failed)
    }

    /// A connection over a socket that stands already.
    pub(super) fn over(stream: UnixStream, stall: Duration) -> io::Result<Self> {
        Self::new(Stream::Unix(stream), stall)
    }

    /// Over a socket that stands, for a handshake that takes no longer than this.
    fn new(stream: Stream, stall: Duration) -> io::Result<Self> {
        let mut wire = Self { stream, stall, greeted_by: None };
        wire.greeted(stall)?;
        wire.greeted_by = Some(Instant::now() + stall);
        Ok(wire)
    }

    /// The handshake is over: each wait is bounded by this from now on, not all of them together.
    pub(super) fn greeted(&mut self, stall: Duration) -> io::Result<()> {
        self.stall = stall;
        self.greeted_by = None;
        match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(stall))?;
                stream.set_write_timeout(Some(stall))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(stall))?;
                stream.set_write_timeout(Some(stall))
            }
        }
    }

    /// Fills the whole buffer, in time: silence ends it, and so does trickling.
    pub(super) fn fill(&self, buffer: &mut [u8], doing: &'static str) -> Result<(), NbdError> {
        let begun = Instant::now();
        let most = self.stall + Duration::from_secs(buffer.len() as u64 / SLOWEST);
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let read = match &self.stream {
                Stream::Tcp(stream) => (&*stream).read(rest),
                Stream::Unix(stream) => (&*stream).read(rest),
            };
            match read {
                Ok(0) => return Err(NbdError::Lost { doing, source: io::ErrorKind::UnexpectedEof.into() }),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error, doing)),
            }
            if done < buffer.len() && begun.elapsed() > most {
                return Err(NbdError::Stalled { doing, seconds: most.as_secs() });
            }
            if self.greeted_by.is_some_and(|end| Instant::now() > end) {
                return Err(NbdError::Stalled { doing, seconds: self.stall.as_secs() });
            }
        }
        Ok(())
    }

    /// Fills an array.
    pub(super) fn array<const N: usize>(&self, doing: &'static str) -> Result<[u8; N], NbdError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, doing)?;
        Ok(bytes)
    }

    /// Sends all of these bytes.
    pub(super) fn send(&self, bytes: &[u8], doing: &'static str) -> Result<(), NbdError> {
        let sent = match &self.stream {
            Stream::Tcp(stream) => (&*stream).write_all(bytes),
            Stream::Unix(stream) => (&*stream).write_all(bytes),
        };
        sent.map_err(|error| self.failed(error, doing))
    }

    fn failed(&self, source: io::Error, doing: &'static str) -> NbdError {
        match source.kind() {
            // What a socket's time limit gives.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                NbdError::Stalled { doing, seconds: self.stall.as_secs() }
            }
            _ => NbdError::Lost { doing, source },
        }
    }

    /// Ends the connection for whoever waits on it.
    pub(super) fn hang_up(&self) {
        // What fails here was ended before.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// Connects to the first of a host's addresses that answers.
fn tcp(host: &str, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host's name has no address");
    for address in resolve(host, port, limit)? {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A host's addresses. The system's resolver knows no limit of time, so it is asked in a thread
/// that may be left behind.
fn resolve(host: &str, port: u16, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    const MOST: usize = 8;
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, wait) = mpsc::channel();
    let host = host.to_owned();
    thread::Builder::new().name("nbd-resolve".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // Nobody listens any more when it took too long.
        let _ = answer.send(found.map(|found| found.take(MOST).collect()));
    })?;
    wait.recv_timeout(limit).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the host's name was not resolved in time"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    fn silence_and_a_broken_connection_are_told_apart() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let wire = Wire::over(ours, SHORT).unwrap();
        assert!(matches!(wire.array::<4>("here"), Err(NbdError::Stalled { .. })));
        drop(theirs);
        assert!(matches!(wire.array::<4>("here"), Err(NbdError::Lost { .. })));
        assert!(matches!(wire.send(b"x", "here"), Err(NbdError::Lost { .. })));
    }

    #[test]
    fn a_trickle_is_no_answer() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let wire = Wire::over(ours, SHORT).unwrap();
        let drip = thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                thread::sleep(SHORT / 4);
            }
        });
        let begun = Instant::now();
        assert!(matches!(wire.fill(&mut [0; 1000], "here"), Err(NbdError::Stalled { .. })));
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(wire);
        drip.join().unwrap();
    }

    #[test]
    fn a_server_that_does_not_read_is_silent_too() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let wire = Wire::over(ours, SHORT).unwrap();
        let sent = wire.send(&vec![0; 16 << 20], "here");
        assert!(matches!(sent, Err(NbdError::Stalled { .. })), "{sent:?}");
    }
}
