//! Outcomes that were computed before, kept beside the configuration: one file each, mode 0600,
//! since an overlay holds the guest's data. A file that is damaged or of another version is as if
//! it were not there.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::blocks::handover;
use super::initrd::tools;
use super::programs::Programs;
use super::request::Request;
use crate::guest::exchange;
use crate::guest::report::{PROTOCOL, RecipeInputs, Report};
use crate::image::{BlockSource, Image, Overlay};
use crate::model::Digest;

const MAGIC: &[u8; 8] = b"RPLNTCA1";

/// A directory of outcomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    directory: PathBuf,
}

/// Everything that an outcome depends on. The limits are left out: they decide whether there is
/// one, not which.
#[derive(Serialize)]
struct KeyContent<'a> {
    version: &'static str,
    protocol: u32,
    guest: Option<(u64, i64, i64)>,
    tools: Vec<Option<(u64, i64, i64)>>,
    prepare: bool,
    inputs: &'a RecipeInputs,
    components: Option<(&'a Path, Digest)>,
    disks: Vec<(&'a str, Digest, u64, u64, bool)>,
}

impl Cache {
    /// A cache in this directory, which is made when it is needed (`.replant/cache`).
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The key of a request for these images, which are the request's disks in order.
    #[must_use]
    pub fn key(request: &Request, images: &[Arc<Image>]) -> Digest {
        // Another build of the guest's program may find or do something else.
        let version = |path: &Path| {
            let about = fs::metadata(path).ok()?;
            Some((about.len(), about.mtime(), about.mtime_nsec()))
        };
        let guest = Programs::guest_beside_this().and_then(|path| version(&path));
        let tools = tools::find().iter().map(|tool| version(&tool.file)).collect();
        let disks = request.disks.iter().zip(images);
        let content = KeyContent {
            version: env!("CARGO_PKG_VERSION"),
            protocol: PROTOCOL,
            guest,
            tools,
            prepare: request.prepare,
            inputs: &request.inputs,
            components: request.components.as_ref().map(|parcel| (parcel.folder(), parcel.digest())),
            disks: disks
                .map(|(disk, image)| {
                    let size = disk.size.max(image.size());
                    (disk.name.as_str(), image.identity().digest(), image.size(), size, disk.grow)
                })
                .collect(),
        };
        // These types always have a JSON form; an empty digest would only mean a missed cache.
        Digest::of_json(&content).unwrap_or(Digest([0; 32]))
    }

    /// The outcome under this key, when there is a sound one.
    #[must_use]
    pub fn get(&self, key: &Digest, request: &Request) -> Option<(Report, Vec<Overlay>)> {
        let file = File::open(self.path(key)).ok()?;
        let mut from =
            Hashing { inner: BufReader::with_capacity(1 << 20, file), hasher: blake3::Hasher::new() };
        let mut start = [0; 8 + exchange::FRAME];
        from.read_exact(&mut start).ok()?;
        let (magic, frame) = start.split_at(8);
        if magic != MAGIC {
            return None;
        }
        let length = exchange::announced(frame, exchange::MAX_REPORT).ok()?;
        let mut message = frame.to_vec();
        message.resize(exchange::FRAME + usize::try_from(length).ok()?, 0);
        from.read_exact(message.get_mut(exchange::FRAME..)?).ok()?;
        let report = exchange::decode(&message, exchange::MAX_REPORT).ok()?;
        let mut budget = request.limits.overlay_bytes;
        let mut overlays = Vec::new();
        for _ in &request.disks {
            overlays.push(handover::read_overlay(&mut from, &mut budget).ok()?);
        }
        let digest = from.hasher.finalize();
        let mut stored = [0; 32];
        from.inner.read_exact(&mut stored).ok()?;
        (digest.as_bytes() == &stored).then_some((report, overlays))
    }

    /// Keeps an outcome. That it cannot be kept costs time later and nothing now.
    pub fn put(&self, key: &Digest, report: &Report, overlays: &[Overlay]) {
        // Whatever fails, the next run computes the outcome again.
        let _not_kept = self.write(key, report, overlays);
    }

    fn write(&self, key: &Digest, report: &Report, overlays: &[Overlay]) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(io::Error::other)?;
        let temporary = self.directory.join(format!(".{}-{:016x}", key.short(), u64::from_le_bytes(suffix)));
        let result =
            write_file(&temporary, report, overlays).and_then(|()| fs::rename(&temporary, self.path(key)));
        if result.is_err() {
            // The first failure is the one that counts.
            let _leftover = fs::remove_file(&temporary);
        }
        result
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.directory.join(format!("inspection-{}", key.hex()))
    }
}

fn write_file(path: &Path, report: &Report, overlays: &[Overlay]) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out =
        Hashing { inner: io::BufWriter::with_capacity(1 << 20, file), hasher: blake3::Hasher::new() };
    out.write_all(MAGIC)?;
    out.write_all(&exchange::encode(report, exchange::MAX_REPORT).map_err(io::Error::other)?)?;
    for overlay in overlays {
        handover::write_overlay(&mut out, overlay)?;
    }
    let digest = out.hasher.finalize();
    out.inner.write_all(digest.as_bytes())?;
    out.inner.flush()
}

/// Digests what passes through.
struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
