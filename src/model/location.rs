//! Where an image is: a path, an object, an URL, an export of an NBD server, standard input.

mod error;
mod http;
mod nbd;
mod parse;
mod percent;
mod place;
mod s3;

pub use error::ParseLocationError;
pub use http::HttpLocation;
pub use nbd::{NbdLocation, NbdServer};
pub use place::Location;
pub use s3::S3Location;
