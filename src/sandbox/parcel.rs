//! The user's folder of components as one read-only device: its files one behind the other, without
//! a copy. What a sandbox reads of it is what was digested, or nothing.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::diagnostic::Diagnostic;
use crate::diagnostic::chain;
use crate::guest::report::{self, ParcelFile};
use crate::guest::windows::components::{ComponentError, Listed, list};
use crate::model::{Bytes, Digest};

/// Files begin at multiples of this, in bytes; what lies between is zero.
pub const ALIGNMENT: u64 = 4096;
/// Most bytes of all files: Amazon's drivers and agents for all Windows have a tenth of it.
pub const MOST_BYTES: u64 = 4 << 30;
/// Bytes that are digested, and proved, together.
const CHUNK: u64 = 128 << 10;
/// Most files that are held open.
const MOST_OPEN: usize = 8;
/// Most files whose digests a process remembers.
const MOST_REMEMBERED: usize = 100_000;

/// Why a folder of components cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// The folder cannot be listed.
    #[error(transparent)]
    List(#[from] ComponentError),
    /// It is neither a folder nor an archive.
    #[error("{} is neither a folder nor a zip archive", path.display())]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// Its files are too large.
    #[error("{} holds {bytes}, and at most {most} are taken", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// Bytes of its files.
        bytes: Bytes,
        /// Most that are taken.
        most: Bytes,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what it was when it was digested.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// Nobody should ask for this.
    #[error("a read of {length} bytes at {offset} goes beyond the parcel's end")]
    OutOfRange {
        /// Where.
        offset: u64,
        /// How much.
        length: u64,
    },
}

impl ParcelError {
    /// Whether trying again at once can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::Interrupted)
    }

    /// What to tell the user.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        let help = match self {
            Self::Changed { .. } => "let nothing write into the folder, and try again",
            Self::TooLarge { .. } => "keep only Amazon's drivers and agents in it",
            Self::NoFolder { .. } => "name a folder, or one zip archive",
            Self::List(ComponentError::TooMany { .. }) => "keep only Amazon's drivers and agents in it",
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path, or make the folder and put Amazon's drivers and agents into it"
            }
            _ => "let the user that runs replant read all of it",
        };
        Diagnostic::error("sandbox::components", "The folder of components cannot be used")
            .detail(chain(self))
            .help(help)
    }
}

/// A folder's files, digested.
pub struct Parcel {
    folder: PathBuf,
    parts: Vec<Part>,
    size: u64,
    digest: Digest,
    /// Those read last, the newest first.
    open: Mutex<Vec<(usize, Arc<File>)>>,
}

struct Part {
    listed: Listed,
    offset: u64,
    chunks: Chunks,
}

/// The digests of a file's chunks, in order.
type Chunks = Arc<[Digest]>;

impl fmt::Debug for Parcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parcel({}, {} files, {})", self.folder.display(), self.parts.len(), self.digest)
    }
}

impl Parcel {
    /// Lists and digests a folder, or the one archive that is named. A file that this process
    /// digested before is not read again while it looks the same.
    ///
    /// # Errors
    /// It cannot be read, is no folder or archive, or holds more than it may.
    pub fn open(folder: &Path) -> Result<Self, ParcelError> {
        Self::open_within(folder, MOST_BYTES)
    }

    /// As [`Self::open`], with at most so many bytes.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_within(folder: &Path, most: u64) -> Result<Self, ParcelError> {
        // As people write it, not as it is joined to the current directory.
        let plain = folder.strip_prefix(".").ok().filter(|path| !path.as_os_str().is_empty());
        let folder = plain.unwrap_or(folder);
        let about =
            folder.metadata().map_err(|source| ParcelError::Read { path: folder.to_owned(), source })?;
        let is_archive = folder.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        if !(about.is_dir() || about.is_file() && is_archive) {
            return Err(ParcelError::NoFolder { path: folder.to_owned() });
        }
        let files = list(folder)?;
        let bytes = files.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.size));
        if bytes > most {
            let (bytes, most) = (Bytes(bytes), Bytes(most));
            return Err(ParcelError::TooLarge { path: folder.to_owned(), bytes, most });
        }
        let mut parts = Vec::with_capacity(files.len());
        let mut offset = 0;
        let mut hasher = blake3::Hasher::new();
        for listed in files {
            let chunks = digested(&listed)?;
            hasher.update(&(listed.path.len() as u64).to_le_bytes());
            hasher.update(listed.path.as_bytes());
            hasher.update(&listed.size.to_le_bytes());
            for chunk in chunks.iter() {
                hasher.update(&chunk.0);
            }
            let size = listed.size;
            parts.push(Part { listed, offset, chunks });
            offset += size.next_multiple_of(ALIGNMENT);
        }
        Ok(Self {
            folder: folder.to_owned(),
            parts,
            // A device has at least a block.
            size: offset.max(ALIGNMENT),
            digest: Digest(*hasher.finalize().as_bytes()),
            open: Mutex::default(),
        })
    }

    /// The digest of all files: their paths and contents.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The folder, or the archive.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of the device.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is where on the device.
    #[must_use]
    pub fn contents(&self) -> report::Parcel {
        let file = |part: &Part| ParcelFile {
            path: part.listed.path.clone(),
            offset: part.offset,
            size: part.listed.size,
        };
        report::Parcel {
            folder: self.folder.display().to_string(),
            files: self.parts.iter().map(file).collect(),
        }
    }

    /// Fills the whole of `buffer` from `offset`.
    ///
    /// # Errors
    /// The range is not within the device, or a file is gone or another than was digested.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ParcelError> {
        let length = buffer.len() as u64;
        let end = offset.checked_add(length).filter(|end| *end <= self.size);
        let end = end.ok_or(ParcelError::OutOfRange { offset, length })?;
        buffer.fill(0);
        let first = self.parts.partition_point(|part| part.offset + part.listed.size <= offset);
        let mut chunk = Vec::new();
        for (index, part) in self.parts.iter().enumerate().skip(first) {
            if part.offset >= end {
                break;
            }
            let from = offset.max(part.offset) - part.offset;
            let to = (end - part.offset).min(part.listed.size);
            let mut number = from / CHUNK;
            while number * CHUNK < to {
                self.read_chunk(index, number, &mut chunk)?;
                let start = number * CHUNK;
                let (have, till) = (from.max(start), to.min(start + CHUNK));
                let place = index_of(part.offset + have - offset);
                let piece = &chunk[index_of(have - start)..index_of(till - start)];
                buffer[place..place + piece.len()].copy_from_slice(piece);
                number += 1;
            }
        }
        Ok(())
    }

    /// Reads one chunk of a file whole, and proves it.
    fn read_chunk(&self, index: usize, number: u64, chunk: &mut Vec<u8>) -> Result<(), ParcelError> {
        let part = &self.parts[index];
        let path = || part.listed.file.clone();
        let file = self.file(index).map_err(|source| ParcelError::Read { path: path(), source })?;
        let start = number * CHUNK;
        chunk.resize(index_of((part.listed.size - start).min(CHUNK)), 0);
        match file.read_exact_at(chunk, start) {
            Ok(()) if part.chunks.get(index_of(number)) == Some(&Digest::of(chunk)) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                Err(ParcelError::Read { path: path(), source: error })
            }
            _ => Err(ParcelError::Changed { path: path() }),
        }
    }

    /// A file, opened when it is first needed.
    fn file(&self, index: usize) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match open.iter().position(|(at, _)| *at == index) {
            Some(place) => open.remove(place).1,
            None => Arc::new(File::open(&self.parts[index].listed.file)?),
        };
        open.insert(0, (index, Arc::clone(&file)));
        open.truncate(MOST_OPEN);
        Ok(file)
    }
}

/// A number that is smaller than some buffer in memory.
fn index_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What a file looks like from outside; it looks otherwise after it was written to.
type Look = (u64, u64, u64, i64, i64, i64, i64);

/// The chunks of the files that this process read, by what they looked like.
static REMEMBERED: Mutex<Option<HashMap<Look, Chunks>>> = Mutex::new(None);

fn look(about: &Metadata) -> Look {
    (
        about.dev(),
        about.ino(),
        about.len(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
    )
}

fn digested(listed: &Listed) -> Result<Chunks, ParcelError> {
    let failed = |source| ParcelError::Read { path: listed.file.clone(), source };
    let changed = || ParcelError::Changed { path: listed.file.clone() };
    let file = File::open(&listed.file).map_err(failed)?;
    let before = look(&file.metadata().map_err(failed)?);
    if before.2 != listed.size {
        return Err(changed());
    }
    let remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(chunks) = remembered.as_ref().and_then(|files| files.get(&before)) {
        return Ok(Arc::clone(chunks));
    }
    drop(remembered);
    let mut chunks = Vec::new();
    let mut left = listed.size;
    let mut chunk = Vec::new();
    while left > 0 {
        chunk.clear();
        let length = left.min(CHUNK);
        (&file).take(length).read_to_end(&mut chunk).map_err(failed)?;
        if chunk.len() as u64 != length {
            return Err(changed());
        }
        chunks.push(Digest::of(&chunk));
        left -= length;
    }
    if look(&file.metadata().map_err(failed)?) != before {
        return Err(changed());
    }
    let chunks: Chunks = chunks.into();
    let mut remembered = REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner);
    let files = remembered.get_or_insert_default();
    if files.len() >= MOST_REMEMBERED {
        files.clear();
    }
    files.insert(before, Arc::clone(&chunks));
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::time::SystemTime;

    use super::*;
    use crate::sandbox::blocks::medium::Medium;
    use crate::sandbox::broker::{Broker, Line};
    use crate::sandbox::error::SandboxError;

    const SIZES: [usize; 12] = [0, 1, 511, 4095, 4096, 4097, 131_071, 131_072, 131_073, 400_000, 3 << 20, 7];

    /// Files of many sizes, in directories, one of them reached through a link.
    fn folder() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (number, size) in SIZES.into_iter().enumerate() {
            let place = directory.path().join(format!("{}", number % 3));
            fs::create_dir_all(&place).unwrap();
            let content: Vec<u8> = (0..size).map(|at| (at / 3 + number * 7) as u8).collect();
            fs::write(place.join(format!("file {number}.bin")), content).unwrap();
        }
        std::os::unix::fs::symlink("0/file 9.bin", directory.path().join("link.bin")).unwrap();
        directory
    }

    /// The files as `cat` gives them, each filled up to the next one's place.
    fn concatenated(parcel: &Parcel) -> Vec<u8> {
        let mut whole = Vec::new();
        for file in parcel.contents().files {
            assert_eq!(whole.len() as u64, file.offset);
            let cat = Command::new("cat").arg(parcel.folder().join(&file.path)).output().unwrap();
            assert_eq!(cat.stdout.len() as u64, file.size);
            whole.extend(cat.stdout);
            whole.resize(whole.len().next_multiple_of(4096), 0);
        }
        whole
    }

    /// The parcel as a device, behind the line that the block server has.
    fn device(parcel: &Arc<Parcel>) -> (Arc<Broker>, Medium) {
        let broker = Broker::new(Vec::new(), Some(Arc::clone(parcel))).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = Arc::clone(&broker);
        std::thread::spawn(move || serving.serve(ours));
        (broker, Medium::Parcel(Arc::new(Line::new(theirs)), parcel.size()))
    }

    #[test]
    fn the_device_is_the_files_one_behind_the_other() {
        let folder = folder();
        let parcel = Arc::new(Parcel::open(folder.path()).unwrap());
        assert_eq!(parcel.contents().files.len(), SIZES.len() + 1);
        let expected = concatenated(&parcel);
        assert_eq!(parcel.size(), expected.len() as u64);
        let (broker, mut device) = device(&parcel);
        let mut whole = vec![1; expected.len()];
        device.read_at(0, &mut whole).unwrap();
        assert!(whole == expected);
        // Ranges that begin and end anywhere, over several files.
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        for _ in 0..300 {
            let from = next(expected.len());
            let length = 1 + next((expected.len() - from).min(300_000));
            let mut part = vec![1; length];
            device.read_at(from as u64, &mut part).unwrap();
            assert!(part == expected[from..from + length], "{length} bytes at {from}");
        }
        assert!(device.read_at(parcel.size() - 1, &mut [0; 2]).is_err());
        assert!(device.read_at(u64::MAX, &mut [0; 2]).is_err());
        assert!(device.write_at(0, &[0; 512]).is_err());
        assert!(device.write_zeroes(0, 512).is_err() && device.discard(0, 512).is_err());
        assert!(broker.take_failure().is_none());
        assert!(parcel.read_at(parcel.size(), &mut [0]).is_err());
        assert!(parcel.open.lock().unwrap().len() <= MOST_OPEN);
    }

    #[test]
    fn a_file_that_changes_is_an_error_and_never_other_bytes() {
        let folder = folder();
        let path = folder.path().join("1/file 10.bin");
        let find = |parcel: &Parcel| {
            let files = parcel.contents().files;
            files.into_iter().find(|file| file.path == "1/file 10.bin").unwrap().offset
        };
        let old = fs::read(&path).unwrap();
        let when = fs::metadata(&path).unwrap().modified().unwrap();
        let mut flipped = old.clone();
        flipped[2 << 20] ^= 1;
        for content in [&old[..1 << 20], &flipped] {
            let parcel = Arc::new(Parcel::open(folder.path()).unwrap());
            let (broker, mut device) = device(&parcel);
            let place = find(&parcel);
            let mut read = vec![0; 3 << 20];
            device.read_at(place, &mut read).unwrap();
            assert!(read == old);
            // The same size and time do not hide it.
            fs::write(&path, content).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(when).unwrap();
            assert!(device.read_at(place, &mut read).is_err());
            let failure = broker.take_failure().unwrap();
            assert!(
                matches!(&failure, SandboxError::Components(ParcelError::Changed { path: found }) if *found == path),
                "{failure:?}"
            );
            assert!(failure.diagnostic().detail.contains("file 10.bin changed"), "{failure:?}");
            // What did not change is still there.
            device.read_at(place, &mut read[..4096]).unwrap();
            assert!(read[..4096] == old[..4096]);
            assert_ne!(Parcel::open(folder.path()).unwrap().digest(), parcel.digest());
            fs::write(&path, &old).unwrap();
        }
        let parcel = Parcel::open(folder.path()).unwrap();
        fs::remove_file(&path).unwrap();
        let gone = parcel.read_at(find(&parcel), &mut [0; 512]).unwrap_err();
        assert!(matches!(gone, ParcelError::Read { .. }), "{gone:?}");
    }

    #[test]
    fn a_digest_is_of_paths_and_contents() {
        let folder = folder();
        let digest = || Parcel::open(folder.path()).unwrap().digest();
        let path = |name: &str| folder.path().join(name);
        let first = digest();
        File::options()
            .write(true)
            .open(path("1/file 10.bin"))
            .unwrap()
            .set_modified(SystemTime::now())
            .unwrap();
        assert_eq!(digest(), first, "times are not content");
        fs::rename(path("1/file 10.bin"), path("1/other.bin")).unwrap();
        let renamed = digest();
        assert_ne!(renamed, first);
        fs::rename(path("1/other.bin"), path("1/file 10.bin")).unwrap();
        assert_eq!(digest(), first);
        fs::write(path("new"), "").unwrap();
        assert_ne!(digest(), first);
    }

    #[test]
    fn what_is_no_folder_of_components_is_refused() {
        let folder = folder();
        let bytes: usize = SIZES.iter().sum::<usize>() + 400_000;
        assert!(Parcel::open_within(folder.path(), bytes as u64).is_ok());
        let large = Parcel::open_within(folder.path(), bytes as u64 - 1).unwrap_err();
        assert!(matches!(large, ParcelError::TooLarge { .. }), "{large:?}");
        let file = Parcel::open(&folder.path().join("0/file 9.bin")).unwrap_err();
        assert!(matches!(file, ParcelError::NoFolder { .. }), "{file:?}");
        let nothing = Parcel::open(&folder.path().join("nothing")).unwrap_err();
        assert!(matches!(nothing, ParcelError::Read { .. }), "{nothing:?}");
        // One archive alone.
        let zip = folder.path().join("one.ZIP");
        fs::write(&zip, "x").unwrap();
        let files = Parcel::open(&zip).unwrap().contents().files;
        assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["one.ZIP"]);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Parcel::open(empty.path()).unwrap().size(), ALIGNMENT);
    }

    #[test]
    fn sparse_gigabytes_stay_out_of_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file =
            |name: &str, size: u64| File::create(folder.path().join(name)).unwrap().set_len(size).unwrap();
        file("a.bin", 64 << 20);
        file("b.bin", MOST_BYTES);
        let large = Parcel::open(folder.path()).unwrap_err();
        assert!(matches!(large, ParcelError::TooLarge { .. }), "{large:?}");
    }
}
