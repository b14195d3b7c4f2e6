//! Disks that are read once, from front to back.

use std::io::Cursor;
use std::sync::LazyLock;

use replant::image::stream::{PIECE, Packed, Piece, Stream, StreamOptions};
use replant::image::{BlockSource, Format, OpenOptions, open};

use super::base::{Base, unpack};
use super::case::Case;
use super::directory::directory;
use super::guest::packed as compressed;
use super::memory::bounded;
use super::seal;

/// The bases of streams: what senders make.
pub static STREAM: LazyLock<Vec<Base>> = LazyLock::new(|| unpack(include_bytes!("../bases/stream.zst")));

/// The largest file that is sent; packing larger ones takes longer than reading them.
const MOST_SIZE: u64 = 4 << 20;
/// Most pieces that are taken.
const MOST_PIECES: usize = 256;

/// A forward stream: a streamOptimized VMDK, an appliance or a raw disk, compressed or not. What
/// both can read must be the same disk as the one that is read by position.
pub fn stream(input: &[u8]) {
    let Some(mut case) = Case::decode(&STREAM, input) else { return };
    if case.sealed() {
        seal::tar(&mut case.files[0].1);
    }
    let file = &case.files[0].1;
    if file.size() > MOST_SIZE {
        return;
    }
    let bytes = file.read(0, usize::try_from(file.size()).unwrap_or(0));
    let sent = compressed(case.options >> 1 & 7, &bytes);
    let mut options = StreamOptions::default();
    if case.options & 16 != 0 {
        options.format = Some(Format::Raw);
    }
    if case.options & 32 != 0 {
        options.size = Some(1 << 20);
    }
    if case.options & 64 != 0 {
        options.member = Some("disk1".to_owned());
    }
    let length = sent.len() as u64;
    let is_raw = options.format.is_some();
    let member = options.member.clone();
    let disk = bounded(length, || read(sent, &options));
    // The file on its own says the same, when both take it.
    let Some((disk, mut content)) = disk.filter(|_| !is_raw) else { return };
    let path = case.store(&directory("stream")).expect("files in memory can be written");
    let options = OpenOptions { member, ..OpenOptions::default() };
    let Ok(image) = open(&path, &options) else { return };
    assert_eq!(disk, image.size(), "the disk's size by position");
    let mut by_position = vec![0; content.len()];
    if image.read_at(0, &mut by_position).is_ok() {
        content.truncate(by_position.len());
        assert!(content == by_position, "the disk's content by position");
    }
}

/// Reads a stream to its end; its size and content when it is sound and not too large.
fn read(sent: Vec<u8>, options: &StreamOptions) -> Option<(u64, Vec<u8>)> {
    let mut stream = match Stream::reader(Cursor::new(sent), "a stream", options) {
        Ok(stream) => stream,
        Err(error) => {
            drop(error.to_string());
            return None;
        }
    };
    let mut content = Vec::new();
    let mut buffer = vec![0; usize::try_from(PIECE).unwrap_or(0)];
    let mut unpacked = buffer.clone();
    let mut units = Packed::default();
    let mut done: u64 = 0;
    for _ in 0..MOST_PIECES {
        let (length, bytes) = match stream.next(&mut buffer, &mut units) {
            Ok(None) => {
                assert_eq!(stream.size(), Some(done), "all of the disk came");
                return Some((done, content));
            }
            Ok(Some(Piece::Zero { length })) => (length, None),
            Ok(Some(Piece::Plain { length })) => (length as u64, Some(&buffer[..length])),
            Ok(Some(Piece::Packed { length })) => match units.decode(&mut unpacked[..length]) {
                Ok(()) => (length as u64, Some(&unpacked[..length])),
                Err(error) => {
                    drop(error.to_string());
                    return None;
                }
            },
            Err(error) => {
                drop(error.to_string());
                return None;
            }
        };
        done = done.saturating_add(length);
        let room = (16 << 20) - content.len();
        match bytes {
            Some(bytes) => content.extend(&bytes[..bytes.len().min(room)]),
            None => content.resize(content.len() + usize::try_from(length).unwrap_or(room).min(room), 0),
        }
    }
    None
}
