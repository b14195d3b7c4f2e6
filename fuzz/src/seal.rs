//! Checksums made right again after changes, so that what lies behind them is reached too.

use super::sparse::Sparse;

/// Most bytes that one checksum is made of here.
const MOST: u64 = 1 << 20;

fn little(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn little_half(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The sum of a VHD structure: all bytes but the sum's own, complemented.
fn vhd_part(file: &mut Sparse, place: u64, length: usize, sum_at: usize) {
    let mut bytes = file.read(place, length);
    bytes[sum_at..sum_at + 4].fill(0);
    let sum = !bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    file.write(place + sum_at as u64, &sum.to_be_bytes());
}

/// The sums of a VHD: its footer, the footer's copy, a dynamic disk's header.
pub fn vhd(file: &mut Sparse) {
    for place in [file.size().saturating_sub(512), 0] {
        let footer = file.read(place, 512);
        if !footer.starts_with(b"conectix") {
            continue;
        }
        let header = little(&footer, 16).swap_bytes();
        if header < MOST && file.read(header, 8) == b"cxsparse" {
            vhd_part(file, header, 1024, 36);
        }
        vhd_part(file, place, 512, 64);
    }
}

/// CRC-32C, bit by bit with a table of one byte.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0u32, |crc, byte| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8))
}

/// Makes a VHDX structure's sum right when a change broke it.
fn vhdx_part(file: &mut Sparse, original: Option<&Sparse>, place: u64, magic: &[u8], length: usize) {
    let mut bytes = file.read(place, length);
    let is_changed = original.is_none_or(|original| original.read(place, length) != bytes);
    if is_changed && bytes.starts_with(magic) {
        bytes[4..8].fill(0);
        file.write(place + 4, &crc32c(&bytes).to_le_bytes());
    }
}

/// The sums of a VHDX: headers, region tables, the log's entries. What is as it was in the base
/// is left alone.
pub fn vhdx(file: &mut Sparse, original: Option<&Sparse>) {
    for header in [64 << 10, 128 << 10] {
        vhdx_part(file, original, header, b"head", 4 << 10);
        let bytes = file.read(header, 128);
        let (length, log) = (u64::from(little_half(&bytes, 68)).min(MOST), little(&bytes, 72));
        let lines = file.lines(4096);
        for entry in lines.into_iter().filter(|line| (log..log.saturating_add(length)).contains(line)) {
            let head = file.read(entry, 64);
            let size = u64::from(little_half(&head, 8));
            if head.starts_with(b"loge") && (64..=MOST).contains(&size) {
                vhdx_part(file, original, entry, b"loge", usize::try_from(size).unwrap_or(0));
            }
        }
    }
    for table in [192 << 10, 256 << 10] {
        vhdx_part(file, original, table, b"regi", 64 << 10);
    }
}

/// The sums of a tar archive's headers.
pub fn tar(file: &mut Sparse) {
    for place in file.lines(512) {
        let mut header = file.read(place, 512);
        if header[257..262] != *b"ustar" {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        file.write(place + 148, format!("{sum:06o}\0 ").as_bytes());
    }
}

/// The sums of a GPT and of its copy.
pub fn gpt(file: &mut Sparse) {
    for place in [512, file.size().saturating_sub(512)] {
        let mut header = file.read(place, 512);
        if !header.starts_with(b"EFI PART") {
            continue;
        }
        let count = u64::from(little_half(&header, 80)) * u64::from(little_half(&header, 84));
        if count <= MOST {
            let entries = little(&header, 72).wrapping_mul(512);
            let sum = crc32fast::hash(&file.read(entries, usize::try_from(count).unwrap_or(0)));
            header[88..92].copy_from_slice(&sum.to_le_bytes());
        }
        let length = usize::try_from(little_half(&header, 12)).unwrap_or(0).clamp(92, 512);
        header[16..20].fill(0);
        let sum = crc32fast::hash(&header[..length]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        file.write(place, &header);
    }
}

/// LVM's digest of bytes: CRC-32 with a start of its own, without the last inversion.
fn lvm_digest(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!0xf597_a6cf);
    hasher.update(bytes);
    !hasher.finalize()
}

/// The digests of an LVM physical volume: its label, its first area's header and text.
pub fn lvm(file: &mut Sparse) {
    for place in (0..4).map(|sector| sector * 512) {
        let label = file.read(place, 512);
        if label.starts_with(b"LABELONE") {
            file.write(place + 16, &lvm_digest(&label[20..]).to_le_bytes());
        }
    }
    for place in file.lines(512).into_iter().take(32) {
        let mut header = file.read(place, 512);
        if header[4..20] != *b" LVM2 x[5A%r0N*>" {
            continue;
        }
        let (text, length) = (little(&header, 40), little(&header, 48).min(MOST));
        let text = file.read(place.saturating_add(text), usize::try_from(length).unwrap_or(0));
        header[56..60].copy_from_slice(&lvm_digest(&text).to_le_bytes());
        let digest = lvm_digest(&header[4..]);
        header[..4].copy_from_slice(&digest.to_le_bytes());
        file.write(place, &header);
    }
}

/// The digest of a manifest's header, and the checks of its log's records.
pub fn manifest(file: &mut Sparse) {
    let head = file.read(0, 4096);
    let length = usize::try_from(little_half(&head, 20)).unwrap_or(0);
    if let Some(json) = head.get(56..).and_then(|rest| rest.get(..length)) {
        file.write(24, blake3::hash(json).as_bytes());
    }
    // The log begins where the header's size of the disk says; the base's is found by its records.
    let Some(size) = disk_size(&head) else { return };
    let blocks = size.div_ceil(1 << 20);
    let Some(table) = blocks.checked_mul(32).and_then(|bytes| bytes.checked_add(4096)) else { return };
    let Some(log) = table.checked_next_multiple_of(4096).filter(|log| *log < file.size()) else { return };
    for position in 0..64 {
        let place = log + position * 64;
        let record = file.read(place, 64);
        if record.iter().all(|byte| *byte == 0) {
            continue;
        }
        if record[..8] == 1u64.to_le_bytes() {
            let (first, count) = (little(&record, 8), little(&record, 16));
            if let Some(slots) = first.checked_mul(32).filter(|_| count <= 1024) {
                let slots =
                    file.read(4096u64.saturating_add(slots), usize::try_from(count).unwrap_or(0) * 32);
                file.write(place + 24, blake3::hash(&slots).as_bytes());
            }
        }
        let record = file.read(place, 56);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&record).update(&position.to_le_bytes());
        file.write(place + 56, &hasher.finalize().as_bytes()[..8]);
    }
}

fn disk_size(head: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(head);
    let (_, rest) = text.split_once("\"disk_size\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The checksums of a journal's lines.
#[must_use]
pub fn journal(text: &[u8]) -> Vec<u8> {
    const PREFIX: &[u8] = b"{\"crc\":\"";
    let covered = PREFIX.len() + 10;
    let lines = text.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let mut line = line.to_vec();
        let end = line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
        if line.starts_with(PREFIX) && end >= covered {
            let crc = format!("{:08x}\",", crc32fast::hash(&line[covered..end]));
            line[PREFIX.len()..covered].copy_from_slice(crc.as_bytes());
        }
        line
    });
    lines.flatten().collect()
}

/// The sums of a hive or of its log: the base block's, and the hashes of a log's entries.
pub fn hive(file: &mut Sparse) {
    let head = file.read(0, 512);
    if !head.starts_with(b"regf") {
        return;
    }
    let sum = head[..508].as_chunks::<4>().0.iter().fold(0, |sum, word| sum ^ u32::from_le_bytes(*word));
    let sum = match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    file.write(508, &sum.to_le_bytes());
    let mut at = 512;
    while at < file.size().min(MOST) {
        let head = file.read(at, 40);
        let size = little_half(&head, 4);
        if !head.starts_with(b"HvLE") || size < 512 || u64::from(size) > MOST {
            break;
        }
        let body = file.read(at + 40, size as usize - 40);
        file.write(at + 24, &marvin(&body).to_le_bytes());
        let head = file.read(at, 32);
        file.write(at + 32, &marvin(&head).to_le_bytes());
        at += u64::from(size);
    }
}

/// Marvin32 under the seed of registry logs.
fn marvin(bytes: &[u8]) -> u64 {
    let (mut low, mut high) = (0x7a4e_55c5_u32, 0x82ef_4d88_u32);
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(4) + 4, 0);
    for word in padded.as_chunks::<4>().0 {
        low = low.wrapping_add(u32::from_le_bytes(*word));
        high ^= low;
        low = low.rotate_left(20).wrapping_add(high);
        high = high.rotate_left(9) ^ low;
        low = low.rotate_left(27).wrapping_add(high);
        high = high.rotate_left(19);
    }
    u64::from(high) << 32 | u64::from(low)
}
