//! One device of the block server: the state that vhost-user messages build up, and its ring.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use virtio_queue::{Queue, QueueT};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use super::medium::{Medium, SECTOR};
use super::message::{Message, MessageError};
use super::request;

const MAX_QUEUE: u16 = 1024;
const MAX_REGIONS: u32 = 8;
/// Most memory that one region may claim: far more than any job gets.
const MAX_REGION: u64 = 64 << 30;

const F_PROTOCOL_FEATURES: u64 = 1 << 30;
const FEATURES: u64 = 1 << VIRTIO_F_VERSION_1
    | 1 << VIRTIO_RING_F_INDIRECT_DESC
    | 1 << VIRTIO_BLK_F_SEG_MAX
    | 1 << VIRTIO_BLK_F_BLK_SIZE
    | F_PROTOCOL_FEATURES;
/// Besides, of a device that can be written to.
const WRITING: u64 = 1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES;
const PROTOCOL_REPLY_ACK: u64 = 1 << 3;
/// UML registers its interrupt by this feature's socket; without it IRQ 0 clashes (run).
const PROTOCOL_BACKEND_REQUEST: u64 = 1 << 5;
const PROTOCOL_CONFIG: u64 = 1 << 9;
const PROTOCOL_FEATURES: u64 = PROTOCOL_REPLY_ACK | PROTOCOL_BACKEND_REQUEST | PROTOCOL_CONFIG;

mod number {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const RESET_OWNER: u32 = 4;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ERR: u32 = 14;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const SET_BACKEND_REQ_FD: u32 = 21;
    pub const GET_CONFIG: u32 = 24;
    pub const SET_CONFIG: u32 = 25;
}

struct Region {
    user: u64,
    size: u64,
    guest: u64,
}

/// A device that one sandbox sees.
pub struct Device {
    id: String,
    medium: Medium,
    protocol: u64,
    memory: Option<GuestMemoryMmap>,
    regions: Vec<Region>,
    queue: Queue,
    enabled: bool,
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
    // Kept open: UML takes its closing for the end of the device (every request then fails, run).
    backend_request: Option<OwnedFd>,
}

impl Device {
    /// A device that calls itself `id` (at most 20 bytes) to the guest.
    ///
    /// # Errors
    /// Never for this queue size; the ring's type says it can.
    pub fn new(id: String, medium: Medium) -> Result<Self, virtio_queue::Error> {
        Ok(Self {
            id,
            medium,
            protocol: 0,
            memory: None,
            regions: Vec::new(),
            queue: Queue::new(MAX_QUEUE)?,
            enabled: false,
            kick: None,
            call: None,
            backend_request: None,
        })
    }

    /// What stands behind it, once the sandbox is gone.
    pub fn into_medium(self) -> Medium {
        self.medium
    }

    /// The descriptor that becomes readable when the guest has put requests in the ring.
    pub fn kick(&self) -> Option<BorrowedFd<'_>> {
        self.kick.as_ref().map(AsFd::as_fd)
    }

    /// Acts on one message.
    ///
    /// # Errors
    /// When the message makes no sense; the connection is then given up.
    pub fn handle(&mut self, message: &mut Message, socket: &mut UnixStream) -> Result<(), MessageError> {
        let mut answer: Option<Vec<u8>> = None;
        match message.request {
            number::GET_FEATURES => answer = Some(self.features().to_le_bytes().into()),
            number::GET_PROTOCOL_FEATURES => answer = Some(PROTOCOL_FEATURES.to_le_bytes().into()),
            number::GET_QUEUE_NUM => answer = Some(1u64.to_le_bytes().into()),
            number::SET_FEATURES => {
                if message.u64_at(0)? & F_PROTOCOL_FEATURES == 0 {
                    self.enabled = true;
                }
            }
            number::SET_PROTOCOL_FEATURES => self.protocol = message.u64_at(0)? & PROTOCOL_FEATURES,
            number::SET_OWNER | number::SET_VRING_ERR | number::SET_CONFIG => {}
            number::RESET_OWNER => self.stop(),
            number::SET_BACKEND_REQ_FD => self.backend_request = message.descriptors.pop(),
            number::SET_MEM_TABLE => self.set_memory(message)?,
            number::SET_VRING_NUM => {
                self.ring(message)?;
                let size = u16::try_from(message.u32_at(4)?).map_err(|_| message.senseless())?;
                self.queue.set_size(size);
            }
            number::SET_VRING_ADDR => {
                self.ring(message)?;
                let [descriptors, used, available] =
                    [8, 16, 24].map(|at| message.u64_at(at).map(|user| self.guest_address(user)));
                self.set_addresses(descriptors?, available?, used?).ok_or_else(|| message.senseless())?;
            }
            number::SET_VRING_BASE => {
                self.ring(message)?;
                let base = message.u32_at(4)? as u16;
                self.queue.set_next_avail(base);
                self.queue.set_next_used(base);
            }
            number::GET_VRING_BASE => {
                self.ring(message)?;
                let mut state = vec![0; 4];
                state.extend(u32::from(self.queue.next_avail()).to_le_bytes());
                self.stop();
                answer = Some(state);
            }
            number::SET_VRING_KICK => {
                self.ring(message)?;
                self.kick = message.descriptors.pop();
            }
            number::SET_VRING_CALL => {
                self.ring(message)?;
                self.call = message.descriptors.pop();
            }
            number::SET_VRING_ENABLE => {
                self.ring(message)?;
                self.enabled = message.u32_at(4)? == 1;
            }
            number::GET_CONFIG => answer = Some(self.configuration(message)?),
            _ => return Err(message.senseless()),
        }
        match answer {
            Some(payload) => message.reply(socket, &payload)?,
            None if message.need_reply && self.protocol & PROTOCOL_REPLY_ACK != 0 => {
                message.reply(socket, &0u64.to_le_bytes())?;
            }
            None => {}
        }
        // What was queued before the ring was complete is served now.
        if matches!(message.request, number::SET_VRING_ENABLE | number::SET_VRING_KICK) {
            self.serve();
        }
        Ok(())
    }

    /// Serves what the guest has put in the ring and tells it so.
    pub fn serve(&mut self) {
        if !self.enabled || self.kick.is_none() {
            return;
        }
        let Some(memory) = &self.memory else { return };
        if !self.queue.is_valid(memory) {
            return;
        }
        let mut served = false;
        while let Some(chain) = self.queue.pop_descriptor_chain(memory) {
            let head = chain.head_index();
            let written = request::serve(&mut self.medium, &self.id, memory, chain);
            if self.queue.add_used(memory, head, written).is_err() {
                self.enabled = false;
                return;
            }
            served = true;
        }
        if served && let Some(call) = &self.call {
            // UML's end is a pipe that it reads dry; when it is full, it has been told already.
            let _full = rustix::io::write(call, &1u64.to_ne_bytes());
        }
    }

    fn features(&self) -> u64 {
        FEATURES | if self.medium.is_writable() { WRITING } else { 1 << VIRTIO_BLK_F_RO }
    }

    fn stop(&mut self) {
        self.enabled = false;
        self.kick = None;
        self.call = None;
        self.queue.set_ready(false);
    }

    /// This device has one ring; a descriptor message carries its number in the low byte.
    fn ring(&self, message: &Message) -> Result<(), MessageError> {
        if message.u32_at(0)? & 0xff == 0 { Ok(()) } else { Err(message.senseless()) }
    }

    fn set_memory(&mut self, message: &mut Message) -> Result<(), MessageError> {
        let count = message.u32_at(0)?;
        if count == 0 || count > MAX_REGIONS || message.descriptors.len() != count as usize {
            return Err(message.senseless());
        }
        let mut regions = Vec::new();
        let mut mapped = Vec::new();
        let descriptors = std::mem::take(&mut message.descriptors);
        for (index, descriptor) in descriptors.into_iter().enumerate() {
            let at = 8 + index * 32;
            let [guest, size, user, offset] = [0, 8, 16, 24].map(|part| message.u64_at(at + part));
            let region = Region { guest: guest?, size: size?, user: user? };
            if region.size > MAX_REGION || region.user.checked_add(region.size).is_none() {
                return Err(message.senseless());
            }
            let length = usize::try_from(region.size).map_err(|_| message.senseless())?;
            let file = FileOffset::new(descriptor.into(), offset?);
            let mapping = MmapRegion::from_file(file, length).map_err(|_| message.senseless())?;
            mapped.push(
                GuestRegionMmap::new(mapping, GuestAddress(region.guest))
                    .ok_or_else(|| message.senseless())?,
            );
            regions.push(region);
        }
        self.memory = Some(GuestMemoryMmap::from_regions(mapped).map_err(|_| message.senseless())?);
        self.regions = regions;
        Ok(())
    }

    /// The guest's address of an address in the sandbox's own memory.
    fn guest_address(&self, user: u64) -> Option<u64> {
        self.regions
            .iter()
            .find(|region| user >= region.user && user - region.user < region.size)
            .and_then(|region| region.guest.checked_add(user - region.user))
    }

    fn set_addresses(
        &mut self,
        descriptors: Option<u64>,
        available: Option<u64>,
        used: Option<u64>,
    ) -> Option<()> {
        let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
        let (descriptors, available, used) = (halves(descriptors?), halves(available?), halves(used?));
        self.queue.set_desc_table_address(descriptors.0, descriptors.1);
        self.queue.set_avail_ring_address(available.0, available.1);
        self.queue.set_used_ring_address(used.0, used.1);
        self.queue.set_ready(true);
        Some(())
    }

    /// The device's configuration space (Virtio 1.1, 5.2.4), as much of it as is asked for.
    fn configuration(&self, message: &Message) -> Result<Vec<u8>, MessageError> {
        let mut space = [0u8; 256];
        space[..8].copy_from_slice(&(self.medium.size() / SECTOR).to_le_bytes());
        space[12..16].copy_from_slice(&126u32.to_le_bytes());
        space[20..24].copy_from_slice(&(SECTOR as u32).to_le_bytes());
        // Discard and write zeroes: most sectors, most segments, each; alignment; may unmap.
        for (place, value) in [(36, request::MAX_RANGE), (40, 1), (44, 8), (48, request::MAX_RANGE), (52, 1)]
        {
            space[place..place + 4].copy_from_slice(&value.to_le_bytes());
        }
        space[56] = 1;
        let (offset, size) = (message.u32_at(0)? as usize, message.u32_at(4)? as usize);
        let part = offset.checked_add(size).and_then(|end| space.get(offset..end));
        let mut answer = message.payload.get(..12).ok_or_else(|| message.senseless())?.to_vec();
        answer.extend(part.ok_or_else(|| message.senseless())?);
        Ok(answer)
    }
}
