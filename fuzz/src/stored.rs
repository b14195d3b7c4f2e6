//! What Replant stores itself, and what a guest's sandbox reports: hostile all the same.

use std::fs;
use std::sync::LazyLock;

use replant::copy::Manifest;
use replant::guest::exchange;
use replant::guest::report::Report;
use replant::image::Overlay;
use replant::image::overlay::FileLimits;
use replant::plan::saved;
use replant::state::{Paths, Store};

use super::base::{Base, unpack};
use super::case::Case;
use super::directory::directory;
use super::memory::bounded;
use super::seal;

/// The bases of manifests.
pub static MANIFEST: LazyLock<Vec<Base>> = LazyLock::new(|| unpack(include_bytes!("../bases/manifest.zst")));

/// A stored overlay. The first byte: how its blocks are given; packed as they are stored, or plain.
pub fn overlay(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = rest.to_vec();
    // Behind the magic, the version and a header of the length that stands there.
    let length = rest.get(20..24).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes);
    let at = usize::try_from(length).unwrap_or(0).saturating_add(24);
    if mode & 1 == 1 && at <= rest.len() {
        let blocks = rest[at..].repeat(1 + usize::from(mode >> 4) * 16);
        bytes.truncate(at);
        bytes.extend(zstd::encode_all(blocks.as_slice(), 1).unwrap_or_default());
    }
    let limits = FileLimits { blocks: 8 << 20, header: 1 << 20 };
    bounded(bytes.len() as u64, || match Overlay::read_from(bytes.as_slice(), limits) {
        Ok(overlay) => {
            let mut again = Vec::new();
            overlay.write_to(&mut again).expect("what was read can be written");
            let again = Overlay::read_from(again.as_slice(), FileLimits::default());
            assert_eq!(again.expect("what was written can be read"), overlay, "an overlay survives");
        }
        Err(error) => {
            let _ = (error.to_string(), error.is_retryable());
        }
    });
}

/// A copy's manifest.
pub fn manifest(input: &[u8]) {
    let Some(mut case) = Case::decode(&MANIFEST, input) else { return };
    if case.sealed() {
        seal::manifest(&mut case.files[0].1);
    }
    let path = case.store(&directory("manifest")).expect("files in memory can be written");
    bounded(case.stored(), || match Manifest::open(&path) {
        Ok(manifest) => {
            let blocks = manifest.header().disk_size.div_ceil(manifest.header().block_size);
            for index in [0, 1, blocks / 2, blocks.saturating_sub(1)] {
                if manifest.is_done(index) {
                    let _ = manifest.content(index);
                }
            }
            assert!(manifest.done_bytes() <= manifest.header().disk_size, "no more than there is");
            let _ = (manifest.finished(), manifest.overlay(), manifest.sample(7));
        }
        Err(error) => {
            let _ = error.to_string();
        }
    });
}

/// A state and its journal.
pub fn state(input: &[u8]) {
    let paths = Paths::in_directory(directory("state"));
    let mut files = input.splitn(2, |byte| *byte == super::text::DIVIDER);
    let (state, journal) = (files.next().unwrap_or_default(), files.next().unwrap_or_default());
    // Without a state the journal stands alone.
    if state.is_empty() {
        let _ = fs::remove_file(&paths.state);
    } else {
        fs::write(&paths.state, state).expect("files in memory can be written");
    }
    fs::write(&paths.journal, seal::journal(journal)).expect("files in memory can be written");
    bounded(input.len() as u64, || match Store::read(&paths) {
        Ok(state) => {
            let _ = state.resources.len();
        }
        Err(error) => {
            let _ = error.to_string();
        }
    });
}

/// A saved plan: its JSON and what follows it, digested right; or, by the first byte, a whole file.
pub fn plan(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let bytes = if mode & 1 == 1 { rest.to_vec() } else { plan_file(rest) };
    let path = directory("plan").join("file.plan");
    fs::write(&path, &bytes).expect("files in memory can be written");
    bounded(bytes.len() as u64, || {
        if let Err(error) = saved::load(&path) {
            let _ = error.diagnostic();
        }
    });
}

/// A plan file of its JSON and, behind a divider each, its overlays.
#[must_use]
pub fn plan_file(parts: &[u8]) -> Vec<u8> {
    let mut bytes = b"replant-plan\n\0\0\0".to_vec();
    bytes.extend(replant::plan::VERSION.to_le_bytes());
    for part in parts.split(|byte| *byte == super::text::DIVIDER) {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    bytes.extend(blake3::hash(&bytes).as_bytes());
    bytes
}

/// A guest's report as it comes out of the sandbox: its JSON in a frame, or a whole frame.
pub fn report(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut frame = Vec::new();
    if mode & 1 == 0 {
        frame = exchange::encode(&(), u64::MAX).unwrap_or_default();
        frame.truncate(8);
        frame.extend((rest.len() as u64).to_le_bytes());
        frame.extend(blake3::hash(rest).as_bytes());
    }
    frame.extend(rest);
    bounded(frame.len() as u64, || {
        if let Err(error) = exchange::decode::<Report>(&frame, 16 << 20) {
            let _ = error.to_string();
        }
    });
}
