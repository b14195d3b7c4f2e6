//! The messages of the vhost-user protocol that a block device needs, as QEMU's specification
//! "Vhost-user Protocol" lays them out: request, flags and size of 32 bits each, then the payload;
//! descriptors ride along with the first byte.

use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Most payload bytes that are accepted; the largest message in use is the memory table.
const MAX_PAYLOAD: usize = 1024;
/// Most descriptors in one message: one for each memory region.
const MAX_DESCRIPTORS: usize = 8;

const VERSION: u32 = 1;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;

/// Why a connection is given up.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The socket gave an error or ended within a message.
    #[error("the connection to the sandbox broke")]
    Socket(#[from] std::io::Error),
    /// A message that the protocol does not know or that is too long.
    #[error("message {request} of {size} bytes makes no sense")]
    Senseless {
        /// The request's number.
        request: u32,
        /// The payload's bytes.
        size: u32,
    },
}

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// The request's number.
    pub request: u32,
    /// Whether the sender waits for an acknowledgement (REPLY_ACK).
    pub need_reply: bool,
    /// What came with it.
    pub payload: Vec<u8>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

impl Message {
    /// Receives one message; `None` when the other side closed the connection.
    ///
    /// # Errors
    /// When the connection breaks or the message cannot be one of this protocol.
    pub fn receive(socket: &mut UnixStream) -> Result<Option<Self>, MessageError> {
        let mut header = [0u8; 12];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(
                &*socket,
                &mut [IoSliceMut::new(&mut header)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        })
        .map_err(std::io::Error::from)?;
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        socket.read_exact(&mut header[received.bytes..])?;
        let [request, flags, size] = [0, 4, 8].map(|at| u32_at(&header, at).unwrap_or_default());
        if flags & 3 != VERSION || size as usize > MAX_PAYLOAD {
            return Err(MessageError::Senseless { request, size });
        }
        let mut payload = vec![0; size as usize];
        socket.read_exact(&mut payload)?;
        Ok(Some(Self { request, need_reply: flags & FLAG_NEED_REPLY != 0, payload, descriptors }))
    }

    /// The error for a message that does not hold what its request demands.
    pub fn senseless(&self) -> MessageError {
        MessageError::Senseless { request: self.request, size: self.payload.len() as u32 }
    }

    /// The little-endian number of 32 bits at an offset of the payload.
    ///
    /// # Errors
    /// When the payload is shorter.
    pub fn u32_at(&self, offset: usize) -> Result<u32, MessageError> {
        u32_at(&self.payload, offset).ok_or_else(|| self.senseless())
    }

    /// The little-endian number of 64 bits at an offset of the payload.
    ///
    /// # Errors
    /// When the payload is shorter.
    pub fn u64_at(&self, offset: usize) -> Result<u64, MessageError> {
        let bytes = self.payload.get(offset..offset.saturating_add(8)).and_then(|part| part.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or_else(|| self.senseless())
    }

    /// Sends a reply to this message.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn reply(&self, socket: &mut UnixStream, payload: &[u8]) -> Result<(), MessageError> {
        let mut bytes = Vec::with_capacity(12 + payload.len());
        for number in [self.request, VERSION | FLAG_REPLY, payload.len() as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(payload);
        Ok(socket.write_all(&bytes)?)
    }
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset.checked_add(4)?).and_then(|part| part.try_into().ok()).map(u32::from_le_bytes)
}
