//! Images on servers: nginx, and moto as S3, with a proxy between that breaks connections.

mod faults;
pub mod proxy;
mod s3;
pub mod servers;
mod web;

use std::path::Path;

use replant::image::{BlockSource, Image, OpenOptions};
use replant::model::Location;

/// Opens what a text names.
pub fn opened(place: &str) -> Image {
    replant::image::open(place.parse::<Location>().unwrap(), &OpenOptions::default())
        .unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// All bytes of a disk, read in pieces of an odd size.
pub fn content(image: &Image) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(image.size()).unwrap()];
    let mut offset = 0;
    for piece in bytes.chunks_mut(700_001) {
        image.read_at(offset, piece).unwrap();
        offset += piece.len() as u64;
    }
    bytes
}

/// Fails the test unless both files are equal.
#[track_caller]
pub fn assert_equal(one: &Path, other: &Path) {
    let output = std::process::Command::new("cmp").arg(one).arg(other).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
