//! The bytes of images that are not files of this machine, brokered: the parent holds network and
//! credentials, the block server parses and decodes without either. Between them, over a socket,
//! go "file, place, length" and bytes.
//!
//! So do the bytes of the user's components: their files are opened when they are needed, which the
//! block server cannot do any more.
//!
//! The parent answers only for files that it opened itself, within their length, at most
//! [`MOST_READ`] bytes at a time and one request at a time: a block server that was taken over
//! can read the image it serves, and nothing else.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::SandboxError;
use super::parcel::Parcel;
use crate::diagnostic::chain;
use crate::image::Image;
use crate::image::served::{Files, ServedFile};

/// Most bytes of one read.
pub const MOST_READ: usize = 1 << 20;
/// Most bytes of a file's name.
const MOST_NAME: usize = 4096;
/// Most bytes of an answer that is no data.
const MOST_TEXT: usize = 64 << 10;

const FIND: u32 = 1;
const READ: u32 = 2;
const NEXT_DATA: u32 = 3;
const NEXT_HOLE: u32 = 4;
const PARCEL: u32 = 5;

const DONE: u32 = 0;
const NOTHING: u32 = 1;
const FAILED: u32 = 2;

/// Bytes of a request, before a name.
const REQUEST: usize = 32;
/// Bytes of an answer, before its content.
const ANSWER: usize = 16;

/// A request: six numbers, little-endian, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    kind: u32,
    disk: u32,
    file: u32,
    length: u32,
    offset: u64,
    limit: u64,
}

impl Request {
    fn encode(self) -> [u8; REQUEST] {
        let mut bytes = [0; REQUEST];
        for (at, number) in [self.kind, self.disk, self.file, self.length].into_iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&number.to_le_bytes());
        }
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes[24..].copy_from_slice(&self.limit.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; REQUEST]) -> Self {
        let (small, large) = bytes.split_at(16);
        let small = small.as_chunks::<4>().0.iter().map(|four| u32::from_le_bytes(*four));
        let large = large.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight));
        let (mut small, mut large) = (small, large);
        let mut next = || small.next().unwrap_or(0);
        let (kind, disk, file, length) = (next(), next(), next(), next());
        let mut next = || large.next().unwrap_or(0);
        Self { kind, disk, file, length, offset: next(), limit: next() }
    }
}

/// The block server's end of the socket.
#[derive(Debug)]
pub struct Line(Mutex<UnixStream>);

impl Line {
    /// The end of the socket that the parent sent.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self(Mutex::new(socket))
    }

    /// Fills the whole of `buffer` from this place of the user's components.
    ///
    /// # Errors
    /// The line broke, or the parent cannot read them.
    pub fn read_parcel(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        for (part, at) in buffer.chunks_mut(MOST_READ).zip((offset..).step_by(MOST_READ)) {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            let request = Request { kind: PARCEL, disk: 0, file: 0, length, offset: at, limit: 0 };
            match self.ask(request, &[], Some(&mut *part))? {
                (DONE, count, _) if count == part.len() as u64 => {}
                (DONE, ..) => return Err(io::ErrorKind::InvalidData.into()),
                (.., content) => return Err(failed(&content)),
            }
        }
        Ok(())
    }

    /// Asks; gives the answer's kind, number and content. `into`: where data goes.
    fn ask(&self, request: Request, name: &[u8], into: Option<&mut [u8]>) -> io::Result<(u32, u64, Vec<u8>)> {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        socket.write_all(&request.encode())?;
        socket.write_all(name)?;
        let mut head = [0; ANSWER];
        socket.read_exact(&mut head)?;
        let [k0, k1, k2, k3, l0, l1, l2, l3, rest @ ..] = head;
        let (kind, length) =
            (u32::from_le_bytes([k0, k1, k2, k3]), u32::from_le_bytes([l0, l1, l2, l3]) as usize);
        match into {
            Some(buffer) if kind == DONE => {
                let part = buffer.get_mut(..length).ok_or(io::ErrorKind::InvalidData)?;
                socket.read_exact(part)?;
                Ok((kind, length as u64, Vec::new()))
            }
            _ if length > MOST_TEXT => Err(io::ErrorKind::InvalidData.into()),
            _ => {
                let mut content = vec![0; length];
                socket.read_exact(&mut content)?;
                Ok((kind, u64::from_le_bytes(rest), content))
            }
        }
    }
}

fn failed(content: &[u8]) -> io::Error {
    io::Error::other(String::from_utf8_lossy(content).into_owned())
}

/// One disk's files, at the end of the line.
#[derive(Debug)]
pub struct DiskFiles {
    line: Arc<Line>,
    disk: u32,
}

impl DiskFiles {
    /// The files of the disk of this number.
    #[must_use]
    pub fn new(line: Arc<Line>, disk: u32) -> Self {
        Self { line, disk }
    }

    fn request(&self, kind: u32, file: u32, length: usize, offset: u64, limit: u64) -> Request {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        Request { kind, disk: self.disk, file, length, offset, limit }
    }
}

impl Files for DiskFiles {
    fn find(&self, name: &Path) -> io::Result<Option<ServedFile>> {
        let name = name.as_os_str().as_bytes();
        if name.len() > MOST_NAME {
            return Ok(None);
        }
        let (kind, _, content) = self.line.ask(self.request(FIND, 0, name.len(), 0, 0), name, None)?;
        match kind {
            DONE => Ok(Some(serde_json::from_slice(&content)?)),
            NOTHING => Ok(None),
            _ => Err(failed(&content)),
        }
    }

    fn read(&self, number: u32, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(MOST_READ);
        let request = self.request(READ, number, most, offset, 0);
        let (kind, count, content) = self.line.ask(request, &[], Some(&mut buffer[..most]))?;
        match kind {
            DONE => usize::try_from(count).map_err(|_| io::ErrorKind::InvalidData.into()),
            _ => Err(failed(&content)),
        }
    }

    fn next(&self, number: u32, hole: bool, offset: u64, limit: u64) -> Option<u64> {
        let request = self.request(if hole { NEXT_HOLE } else { NEXT_DATA }, number, 0, offset, limit);
        let (kind, found, _) = self.line.ask(request, &[], None).ok()?;
        (kind == DONE).then_some(found)
    }
}

/// The parent's side: the images, and what reading them failed of.
#[derive(Debug)]
pub struct Broker {
    /// By the disks' numbers; `None` for disks that the server opens itself.
    images: Vec<Option<Arc<Image>>>,
    parcel: Option<Arc<Parcel>>,
    failure: Mutex<Option<SandboxError>>,
}

impl Broker {
    /// A broker for these disks and the user's components; `None` where the server opens all that
    /// it serves itself.
    #[must_use]
    pub fn new(images: Vec<Option<Arc<Image>>>, parcel: Option<Arc<Parcel>>) -> Option<Arc<Self>> {
        let is_needed = parcel.is_some() || images.iter().any(Option::is_some);
        is_needed.then(|| Arc::new(Self { images, parcel, failure: Mutex::default() }))
    }

    /// The first error of reading, which the server and the guest only saw as "cannot".
    #[must_use]
    pub fn take_failure(&self) -> Option<SandboxError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Answers until the other end is closed or says what no sound server says.
    pub fn serve(&self, mut socket: UnixStream) {
        let mut buffer = Vec::new();
        // The end of the line: whatever became of the server, its own result tells.
        while self.answer(&mut socket, &mut buffer).is_ok() {}
    }

    fn answer(&self, socket: &mut UnixStream, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut bytes = [0; REQUEST];
        socket.read_exact(&mut bytes)?;
        let request = Request::decode(&bytes);
        let length = request.length as usize;
        let is_sound = match request.kind {
            FIND => length <= MOST_NAME,
            READ | PARCEL => (1..=MOST_READ).contains(&length),
            NEXT_DATA | NEXT_HOLE => length == 0,
            _ => false,
        };
        if request.kind == PARCEL {
            let (true, Some(parcel)) = (is_sound, &self.parcel) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            buffer.resize(length, 0);
            return match parcel.read_at(request.offset, buffer) {
                Ok(()) => tell(socket, DONE, 0, buffer),
                Err(error) => self.fail(socket, error.into()),
            };
        }
        let image = usize::try_from(request.disk).ok().and_then(|disk| self.images.get(disk));
        let (true, Some(Some(image))) = (is_sound, image) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match request.kind {
            FIND => {
                let mut name = vec![0; length];
                socket.read_exact(&mut name)?;
                match image.file_named(Path::new(std::ffi::OsStr::from_bytes(&name))) {
                    Some(found) => tell(socket, DONE, 0, &serde_json::to_vec(&found)?),
                    None => tell(socket, NOTHING, 0, &[]),
                }
            }
            READ => {
                buffer.resize(length, 0);
                match image.read_file(request.file, request.offset, buffer) {
                    Some(Ok(count)) => tell(socket, DONE, 0, &buffer[..count]),
                    Some(Err(error)) => self.fail(socket, SandboxError::Image(Box::new(error.into()))),
                    None => Err(io::ErrorKind::InvalidData.into()),
                }
            }
            kind => {
                let Request { file, offset, limit, .. } = request;
                match image.next_in_file(file, kind == NEXT_HOLE, offset, limit) {
                    Some(found) => tell(socket, DONE, found, &[]),
                    None => tell(socket, NOTHING, 0, &[]),
                }
            }
        }
    }
}

impl Broker {
    fn fail(&self, socket: &mut UnixStream, error: SandboxError) -> io::Result<()> {
        let text: String = chain(&error).chars().take(MOST_NAME).collect();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        tell(socket, FAILED, 0, text.as_bytes())
    }
}

fn tell(socket: &mut UnixStream, kind: u32, number: u64, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut head = [0; ANSWER];
    head[..4].copy_from_slice(&kind.to_le_bytes());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..].copy_from_slice(&number.to_le_bytes());
    socket.write_all(&head)?;
    socket.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::served::open_served;
    use crate::image::{BlockSource, Format, OpenOptions, open};

    fn served() -> (tempfile::TempDir, Arc<Broker>, UnixStream) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk.raw");
        let content: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 7) as u8).collect();
        std::fs::write(&path, content).unwrap();
        std::fs::write(directory.path().join("secret"), "no file of the image").unwrap();
        let image = open(&path, &OpenOptions::default()).unwrap();
        let broker = Broker::new(vec![None, Some(Arc::new(image))], None).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = Arc::clone(&broker);
        std::thread::spawn(move || serving.serve(ours));
        (directory, broker, theirs)
    }

    #[test]
    fn an_image_is_read_through_the_line() {
        let (directory, broker, socket) = served();
        let files = Arc::new(DiskFiles::new(Arc::new(Line::new(socket)), 1));
        assert_eq!(files.find(Path::new("secret")).unwrap(), None);
        let options = OpenOptions::default().format(Format::Raw);
        let image = open_served(Path::new("s3://b/disk.raw"), files, &options).unwrap();
        let own = open(directory.path().join("disk.raw"), &options).unwrap();
        assert_eq!(image.identity(), own.identity());
        let (mut through, mut direct) = (vec![0; 3 << 20], vec![0; 3 << 20]);
        image.read_at(0, &mut through).unwrap();
        own.read_at(0, &mut direct).unwrap();
        assert!(through == direct);
        assert!(broker.take_failure().is_none());
    }

    #[test]
    fn what_no_sound_server_says_ends_the_line() {
        let sound = Request { kind: READ, disk: 1, file: 0, length: 512, offset: 0, limit: 0 };
        for bad in [
            Request { kind: 9, ..sound },
            Request { disk: 0, ..sound },
            Request { disk: 2, ..sound },
            Request { disk: u32::MAX, ..sound },
            Request { file: 1, ..sound },
            Request { length: 0, ..sound },
            Request { length: u32::MAX, ..sound },
            Request { length: MOST_READ as u32 + 1, ..sound },
            Request { offset: (3 << 20) - 511, ..sound },
            Request { offset: u64::MAX, ..sound },
            Request { kind: PARCEL, ..sound },
            Request { kind: FIND, length: MOST_NAME as u32 + 1, ..sound },
            Request { kind: NEXT_DATA, length: 1, ..sound },
        ] {
            assert_eq!(Request::decode(&bad.encode()), bad);
            let (_directory, _broker, mut socket) = served();
            socket.write_all(&bad.encode()).unwrap();
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).unwrap();
            assert!(answer.is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn places_beyond_the_end_have_no_holes() {
        let (_directory, _broker, socket) = served();
        let files = DiskFiles::new(Arc::new(Line::new(socket)), 1);
        assert_eq!(files.next(0, true, 0, 3 << 20), Some(3 << 20));
        for (offset, limit) in [(0, (3 << 20) + 1), (5, 4), (u64::MAX, u64::MAX)] {
            assert_eq!(files.next(0, false, offset, limit), None);
        }
    }
}
