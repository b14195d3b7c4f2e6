//! From a text to a place.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::ParseLocationError;
use super::http::HttpLocation;
use super::nbd::NbdLocation;
use super::place::Location;
use super::s3::S3Location;

const FORMS: &str = "An image is a path, `s3://bucket/key`, `https://host/path`, `nbd://host/export`, `nbd+unix:///export?socket=/path`, or `-` for standard input. A file whose name holds `://` is written with `./` before it.";

impl Location {
    /// The place that a text names, which need not be UTF-8 when it is a path.
    ///
    /// # Errors
    /// When it begins like an URL and is none that Replant knows.
    pub fn parse(text: &OsStr) -> Result<Self, ParseLocationError> {
        match text.to_str() {
            Some(text) => text.parse(),
            None => Ok(Self::Local(PathBuf::from(text))),
        }
    }
}

/// What stands before `://`, when it can be a scheme (RFC 3986, section 3.1).
pub(super) fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

impl FromStr for Location {
    type Err = ParseLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-" {
            return Ok(Self::Input);
        }
        if text.is_empty() {
            return Err(ParseLocationError::new("an image's place is empty", FORMS));
        }
        let Some((scheme, rest)) = scheme(text) else { return Ok(Self::Local(PathBuf::from(text))) };
        match scheme.to_ascii_lowercase().as_str() {
            "s3" => S3Location::parse(rest).map(Self::S3),
            scheme @ ("http" | "https") => HttpLocation::parse(scheme, rest).map(Self::Http),
            "nbd" => NbdLocation::parse_tcp(rest).map(Self::Nbd),
            "nbd+unix" => NbdLocation::parse_unix(rest).map(Self::Nbd),
            "file" => Err(ParseLocationError::new("a file is named by its path, not by an URL", FORMS)),
            "nbds" | "nbds+unix" => Err(ParseLocationError::new(
                "NBD over TLS is not supported",
                "Reach the server through a tunnel, for example:\nssh -L 10809:localhost:10809 server",
            )),
            other => {
                Err(ParseLocationError::new(format!("Replant reads no images from `{other}://`"), FORMS))
            }
        }
    }
}
