//! Files on the network: objects in S3, files on web servers.
//!
//! Formats and decoders stay synchronous. Below them, a small runtime of its own fetches blocks
//! ahead of their readers into a cache that all images of the process share ([`blocks`]). Each
//! request asks for a range of the version that was opened ([`answer`]); what fails is tried again
//! in one place, within stated limits ([`fetch`], [`limits`]).

mod address;
mod answer;
mod blocks;
mod client;
mod download;
mod fetch;
mod file;
mod limits;
mod s3;
mod trouble;

pub use download::{DownloadError, download};
pub(super) use file::open;
