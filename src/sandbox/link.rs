//! The socket between the parent and its helper processes: a specification in, descriptors across.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};

/// Most sockets of a jail: one for each disk of a machine and one for the job.
pub const MAX_SOCKETS: usize = 32;

/// Receives bytes (at most 4,096) with the descriptors that ride along.
///
/// # Errors
/// When the socket broke.
pub fn receive_descriptors(socket: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(socket.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    bytes.truncate(received.bytes);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((bytes, descriptors))
}

/// Most bytes of a helper's specification.
const MAX_SPEC: u32 = 64 << 20;

/// Sends a helper its specification.
///
/// # Errors
/// When it cannot be written as JSON or the socket broke.
pub fn send_spec<T: Serialize>(mut socket: &UnixStream, spec: &T) -> io::Result<()> {
    let text = serde_json::to_vec(spec)?;
    socket.write_all(&(text.len() as u32).to_le_bytes())?;
    socket.write_all(&text)
}

/// Receives a helper's specification.
///
/// # Errors
/// When the socket broke or what came is no specification.
pub fn receive_spec<T: for<'de> Deserialize<'de>>(mut socket: &UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut text = vec![0; u32::from_le_bytes(length).min(MAX_SPEC) as usize];
    socket.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Sends bytes with descriptors riding along.
///
/// # Errors
/// When the socket refuses or there are more than [`MAX_SOCKETS`].
pub fn send_descriptors(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
