//! An NBD server for tests that says exactly what a test tells it to say.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::pool::{Failed, Pool};
use super::wire::Limits;
use crate::model::{NbdLocation, NbdServer};

/// Limits that a test can wait for.
pub(super) const SHORT: Limits = Limits {
    connect: Duration::from_millis(500),
    stall: Duration::from_secs(1),
    again: Duration::from_millis(1500),
    answer: Duration::from_secs(5),
    further: Duration::from_secs(1),
};

/// What a scripted server says of its export.
#[derive(Debug, Clone)]
pub(super) struct Says {
    pub size: u64,
    pub structured: bool,
    pub allocation: bool,
    pub multi: bool,
    pub blocks: Option<(u32, u32, u32)>,
    pub description: &'static str,
}

impl Default for Says {
    fn default() -> Self {
        Self {
            size: 1 << 20,
            structured: true,
            allocation: true,
            multi: false,
            blocks: None,
            description: "",
        }
    }
}

/// A request that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub command: u16,
    pub cookie: u64,
    pub offset: u64,
    pub length: u32,
}

/// One client's connection, from the server's side.
pub(super) struct Peer(pub UnixStream);

impl Peer {
    pub(super) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).ok().map(|()| bytes)
    }

    /// Greets as a server of these handshake flags, and takes the client's.
    pub(super) fn hello(&mut self, flags: u16) {
        self.send(b"NBDMAGICIHAVEOPT");
        self.send(&flags.to_be_bytes());
        self.take(4);
    }

    /// The next option and its data.
    pub(super) fn option(&mut self) -> Option<(u32, Vec<u8>)> {
        let head = self.take(16)?;
        assert_eq!(&head[..8], b"IHAVEOPT");
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        Some((word(8), self.take(word(12) as usize)?))
    }

    pub(super) fn reply(&mut self, option: u32, kind: u32, data: &[u8]) {
        let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend(kind.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        self.send(&bytes);
    }

    /// Plays the whole handshake.
    pub(super) fn greet(&mut self, says: &Says) {
        self.hello(3);
        while let Some((option, _)) = self.option() {
            match option {
                8 if says.structured => self.reply(8, 1, b""),
                10 => {
                    if says.allocation {
                        self.reply(10, 4, b"\0\0\0\x07base:allocation");
                    }
                    self.reply(10, 1, b"");
                }
                7 => {
                    let flags = 3 | if says.multi { 1 << 8 } else { 0u16 };
                    let size = says.size.to_be_bytes();
                    self.reply(7, 3, &[&[0, 0][..], &size, &flags.to_be_bytes()].concat());
                    if let Some((minimum, preferred, maximum)) = says.blocks {
                        let sizes = [minimum, preferred, maximum].map(u32::to_be_bytes).concat();
                        self.reply(7, 3, &[&[0, 3][..], &sizes].concat());
                    }
                    self.reply(7, 3, &[&[0, 2][..], says.description.as_bytes()].concat());
                    self.reply(7, 1, b"");
                    return;
                }
                other => self.reply(other, 0x8000_0001, b""),
            }
        }
    }

    /// The next request; `None` when the client has gone or said goodbye.
    pub(super) fn asked(&mut self) -> Option<Asked> {
        let bytes = self.take(28)?;
        assert_eq!(bytes[..4], 0x2560_9513_u32.to_be_bytes());
        let asked = Asked {
            command: u16::from_be_bytes(bytes[6..8].try_into().unwrap()),
            cookie: u64::from_be_bytes(bytes[8..16].try_into().unwrap()),
            offset: u64::from_be_bytes(bytes[16..24].try_into().unwrap()),
            length: u32::from_be_bytes(bytes[24..28].try_into().unwrap()),
        };
        assert!(matches!(asked.command, 0 | 2 | 7), "only reading is asked: {asked:?}");
        (asked.command != 2).then_some(asked)
    }

    pub(super) fn simple(&mut self, cookie: u64, error: u32, data: &[u8]) -> bool {
        let head = [&0x6744_6698_u32.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes()];
        self.send(&[&head.concat(), data].concat())
    }

    pub(super) fn chunk(&mut self, cookie: u64, done: bool, kind: u16, payload: &[u8]) -> bool {
        let head = [
            &0x668e_33ef_u32.to_be_bytes()[..],
            &u16::from(done).to_be_bytes(),
            &kind.to_be_bytes(),
            &cookie.to_be_bytes(),
            &(payload.len() as u32).to_be_bytes(),
        ];
        self.send(&[&head.concat(), payload].concat())
    }

    /// Answers a read with the bytes that [`byte`] says, in one chunk.
    pub(super) fn data(&mut self, asked: Asked) -> bool {
        let content = content(asked.offset, asked.length as usize);
        self.chunk(asked.cookie, true, 1, &[&asked.offset.to_be_bytes()[..], &content].concat())
    }

    /// Answers a question of block status with these lengths and flags, of context 7.
    pub(super) fn extents(&mut self, asked: Asked, extents: &[(u32, u32)]) -> bool {
        let mut payload = 7u32.to_be_bytes().to_vec();
        for (length, flags) in extents {
            payload.extend(length.to_be_bytes());
            payload.extend(flags.to_be_bytes());
        }
        self.chunk(asked.cookie, true, 5, &payload)
    }
}

/// The content of every scripted export, different in every place.
pub(super) fn content(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

/// A server that plays a part for each client, the first, the second, …
pub(super) struct Scripted {
    _directory: TempDir,
    pub path: PathBuf,
}

impl Scripted {
    /// Plays `part` for each client in a thread of its own, for as long as the test runs.
    pub(super) fn new(part: impl Fn(usize, Peer) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let part = std::sync::Arc::new(part);
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let part = std::sync::Arc::clone(&part);
                thread::spawn(move || part(number, Peer(client.unwrap())));
            }
        });
        Self { _directory: directory, path }
    }

    /// The export, opened as usual.
    pub(super) fn pool(&self) -> Pool {
        Pool::open(self.address(), "base:allocation", SHORT).unwrap()
    }

    pub(super) fn address(&self) -> NbdLocation {
        NbdLocation { server: NbdServer::Unix { socket: self.path.clone() }, export: String::new() }
    }
}

/// Reads and compares with what a scripted export holds.
#[track_caller]
pub(super) fn reads(pool: &Pool, offset: u64, length: usize) {
    let mut bytes = vec![0xee; length];
    pool.read(offset, &mut bytes).unwrap();
    assert!(bytes == content(offset, length), "{offset} {length}");
}

/// How a read fails from a server that plays this part for each client.
pub(super) fn failure(part: impl Fn(Peer) + Send + Sync + 'static) -> Failed {
    let server = Scripted::new(move |_, peer| part(peer));
    server.pool().read(0, &mut [0; 4096]).unwrap_err()
}
