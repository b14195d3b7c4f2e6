//! The hidden side of the program: started again with one of two first arguments, it is a helper
//! process of a sandbox. Its standard input is a socket to the process that started it.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use super::blocks::serve::{self, ServedDisk, ServedImage, ServerSpec};
use super::jail::{JailSpec, prison};
use super::link;
use crate::image::format::ParseFormatError;
use crate::image::served::{Files, open_served};
use crate::image::{self, BlockSource, OpenOptions};

/// First argument of the block server.
pub const BLOCKS: &str = "@sandbox-blocks";
/// First argument of the jail.
pub const JAIL: &str = "@sandbox-jail";

/// Runs as a helper process when the arguments (without the program's name) say so.
#[must_use]
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let first = arguments.next()?;
    let code = match first.to_str()? {
        BLOCKS => blocks(),
        JAIL => jail(),
        _ => return None,
    };
    // Whoever types this by hand has no socket as its input, and gets a failure.
    Some(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn control() -> std::io::Result<UnixStream> {
    let input: OwnedFd = rustix::stdio::stdin().try_clone_to_owned()?;
    Ok(input.into())
}

fn blocks() -> std::io::Result<u8> {
    let control = control()?;
    let spec: ServerSpec = link::receive_spec(&control)?;
    let out = rustix::stdio::stdout().as_fd().try_clone_to_owned()?;
    Ok(serve::run(&spec, control, open, out))
}

fn jail() -> std::io::Result<u8> {
    let control = control()?;
    let spec: JailSpec = link::receive_spec(&control)?;
    Ok(prison::run(&spec, control))
}

fn open(
    disk: &ServedDisk,
    files: Option<Arc<dyn Files>>,
) -> Result<Box<dyn BlockSource>, Box<dyn std::error::Error>> {
    let options = options(disk.format.as_deref(), disk.member.as_deref(), disk.snapshot.as_deref())?;
    Ok(Box::new(match (&disk.image, files) {
        (ServedImage::File(path), _) => image::open(path, &options)?,
        (ServedImage::Brokered(called), Some(files)) => open_served(called, files, &options)?,
        (ServedImage::Brokered(_), None) => return Err("there is no line to the image".into()),
    }))
}

/// How to open an image of which the format, the member and the snapshot may be said.
///
/// # Errors
/// When the format's name is unknown.
pub fn options(
    format: Option<&str>,
    member: Option<&str>,
    snapshot: Option<&str>,
) -> Result<OpenOptions, ParseFormatError> {
    Ok(OpenOptions {
        format: format.map(str::parse).transpose()?,
        member: member.map(str::to_owned),
        snapshot: snapshot.map(str::to_owned),
        pinned: None,
    })
}
