//! One virtio-blk request (Virtio 1.1, 5.2.6): a header of 16 bytes, data, a status byte.

use std::io::{Read, Write};

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD,
    VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES,
};
use virtio_queue::DescriptorChain;
use vm_memory::GuestMemoryMmap;

use super::medium::{Medium, SECTOR};

/// Most data of one request: 128 segments of the largest size that Linux makes, and then some.
const MAX_DATA: usize = 8 << 20;

/// Most sectors of one range to discard or to make zero (1 GiB).
pub const MAX_RANGE: u32 = 1 << 21;

/// Serves one request; gives the number of bytes written into the guest's memory. A chain that
/// has no room for a status is left as it is: there is nobody to tell.
pub fn serve(
    medium: &mut Medium,
    id: &str,
    memory: &GuestMemoryMmap,
    chain: DescriptorChain<&GuestMemoryMmap>,
) -> u32 {
    let (Ok(mut reader), Ok(mut writer)) = (chain.clone().reader(memory), chain.writer(memory)) else {
        return 0;
    };
    let Some(room) = writer.available_bytes().checked_sub(1) else { return 0 };
    let Ok(mut status_writer) = writer.split_at(room) else { return 0 };
    let mut header = [0u8; 16];
    let outcome = match reader.read_exact(&mut header) {
        Err(_) => Err(VIRTIO_BLK_S_IOERR),
        Ok(()) => {
            let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let sector = u64::from_le_bytes([
                header[8], header[9], header[10], header[11], header[12], header[13], header[14], header[15],
            ]);
            transfer(medium, id, kind, sector, &mut reader, &mut writer, room)
        }
    };
    let (status, written) = match outcome {
        Ok(written) => (VIRTIO_BLK_S_OK, written),
        Err(status) => (status, 0),
    };
    // The status goes to the chain's last byte; a failed write means the memory is gone, and the
    // guest with it.
    let told = status_writer.write_all(&[status as u8]).is_ok();
    u32::try_from(written).unwrap_or(u32::MAX - 1).saturating_add(u32::from(told))
}

fn transfer(
    medium: &mut Medium,
    id: &str,
    kind: u32,
    sector: u64,
    reader: &mut impl ReadPart,
    writer: &mut impl Write,
    room: usize,
) -> Result<usize, u32> {
    let offset = || sector.checked_mul(SECTOR).ok_or(VIRTIO_BLK_S_IOERR);
    match kind {
        VIRTIO_BLK_T_IN => {
            if room > MAX_DATA {
                return Err(VIRTIO_BLK_S_IOERR);
            }
            let mut data = vec![0; room];
            medium.read_at(offset()?, &mut data).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            writer.write_all(&data).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            Ok(room)
        }
        VIRTIO_BLK_T_OUT => {
            let length = reader.left();
            if length > MAX_DATA {
                return Err(VIRTIO_BLK_S_IOERR);
            }
            let mut data = vec![0; length];
            reader.read_exact(&mut data).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            medium.write_at(offset()?, &data).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            Ok(0)
        }
        VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
            // One range: first sector of 64 bits, count and flags of 32 bits each.
            let mut range = [0u8; 16];
            reader.read_exact(&mut range).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            let (first, rest) = range.split_at(8);
            let first = first.try_into().map(u64::from_le_bytes).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            let count = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            if count > MAX_RANGE {
                return Err(VIRTIO_BLK_S_IOERR);
            }
            let offset = first.checked_mul(SECTOR).ok_or(VIRTIO_BLK_S_IOERR)?;
            let length = u64::from(count) * SECTOR;
            let outcome = if kind == VIRTIO_BLK_T_DISCARD {
                medium.discard(offset, length)
            } else {
                medium.write_zeroes(offset, length)
            };
            outcome.map(|()| 0).map_err(|_| VIRTIO_BLK_S_IOERR)
        }
        VIRTIO_BLK_T_FLUSH => Ok(0),
        VIRTIO_BLK_T_GET_ID => {
            let mut name = [0; VIRTIO_BLK_ID_BYTES as usize];
            let length = id.len().min(name.len()).min(room);
            name[..length].copy_from_slice(&id.as_bytes()[..length]);
            let room = room.min(name.len());
            writer.write_all(&name[..room]).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            Ok(room)
        }
        _ => Err(VIRTIO_BLK_S_UNSUPP),
    }
}

/// A reader that knows how much it still holds.
trait ReadPart: Read {
    fn left(&self) -> usize;
}

impl ReadPart for virtio_queue::Reader<'_> {
    fn left(&self) -> usize {
        self.available_bytes()
    }
}
