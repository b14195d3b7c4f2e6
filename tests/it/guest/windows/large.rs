//! Large hives: cells written one behind the other, as the specification of the format has them;
//! made by libhivex through our edits they would take long. The benchmark has them too.

use std::ops::Range;

/// The header's checksum put right.
pub fn sum(bytes: &mut [u8]) {
    let words = bytes[..508].chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum = match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// A hive of many keys, each with a value of so many bytes.
pub fn large(keys: u32, filler: usize) -> Vec<u8> {
    let mut bins = vec![0; 32];
    let cell = |bins: &mut Vec<u8>, content: &[u8]| {
        let size = (content.len() + 4).next_multiple_of(8);
        let offset = bins.len() as u32;
        bins.extend((-(size as i32)).to_le_bytes());
        bins.extend_from_slice(content);
        bins.resize(offset as usize + size, 0);
        offset
    };
    let node =
        |parent: u32, name: &str, subkeys: (u32, u32), values: (u32, u32), security: u32, flags: u16| {
            let mut node = vec![0; 76];
            node[..2].copy_from_slice(b"nk");
            node[2..4].copy_from_slice(&flags.to_le_bytes());
            for (at, value) in [
                (16, parent),
                (20, subkeys.0),
                (28, subkeys.1),
                (32, u32::MAX),
                (36, values.0),
                (40, values.1),
                (44, security),
                (48, u32::MAX),
            ] {
                node[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            node[72..74].copy_from_slice(&(name.len() as u16).to_le_bytes());
            node.extend(name.bytes());
            node
        };
    let mut security = b"sk".to_vec();
    security.resize(20, 0);
    security[4..8].copy_from_slice(&32_u32.to_le_bytes());
    security[8..12].copy_from_slice(&32_u32.to_le_bytes());
    security[12..16].copy_from_slice(&(keys + keys / 1000 + 1).to_le_bytes());
    security[16..20].copy_from_slice(&20_u32.to_le_bytes());
    security.extend([1, 0, 0, 0x80]);
    security.resize(40, 0);
    let security = cell(&mut bins, &security);
    assert_eq!(security, 32);
    const EACH: u32 = 1000;
    let groups = keys / EACH;
    let root = cell(&mut bins, &node(0, "root", (groups, 0), (0, u32::MAX), security, 0x2c));
    let leaf = |bins: &mut Vec<u8>, of: u32, names: &[(String, u32)]| {
        let mut list = b"lh".to_vec();
        list.extend((names.len() as u16).to_le_bytes());
        for (name, key) in names {
            let hash =
                name.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(37).wrapping_add(u32::from(byte)));
            list.extend(key.to_le_bytes());
            list.extend(hash.to_le_bytes());
        }
        let list = cell(bins, &list);
        let at = of as usize + 4 + 28;
        bins[at..at + 4].copy_from_slice(&list.to_le_bytes());
    };
    let mut top = Vec::new();
    for group in 0..groups {
        let name = format!("GROUP{group:08}");
        let above = cell(&mut bins, &node(root, &name, (EACH, 0), (0, u32::MAX), security, 0x20));
        top.push((name, above));
        let mut names = Vec::new();
        for index in 0..EACH {
            let data = cell(&mut bins, &vec![b'x'; filler]);
            let mut value = b"vk".to_vec();
            value.extend(1_u16.to_le_bytes());
            for word in [filler as u32, data, 3, 1] {
                value.extend(word.to_le_bytes());
            }
            value.extend(b"v");
            let value = cell(&mut bins, &value);
            let values = cell(&mut bins, &value.to_le_bytes());
            let name = format!("KEY{index:08}");
            let key = cell(&mut bins, &node(above, &name, (0, u32::MAX), (1, values), security, 0x20));
            names.push((name, key));
        }
        leaf(&mut bins, above, &names);
    }
    leaf(&mut bins, root, &top);
    let size = bins.len().next_multiple_of(4096);
    let rest = (size - bins.len()) as i32;
    if rest > 0 {
        bins.extend(rest.to_le_bytes());
        bins.resize(size, 0);
    }
    bins[..4].copy_from_slice(b"hbin");
    bins[8..12].copy_from_slice(&(size as u32).to_le_bytes());
    let mut hive = vec![0; 4096];
    hive[..4].copy_from_slice(b"regf");
    for (at, value) in [(4, 1_u32), (8, 1), (20, 1), (24, 5), (32, 1), (36, root), (40, size as u32), (44, 1)]
    {
        hive[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    sum(&mut hive);
    hive.extend(bins);
    hive
}

/// The same hive with other data on every page of its first bytes.
pub fn touched(hive: &[u8], bytes: usize) -> Vec<u8> {
    let mut touched = hive.to_vec();
    let pages = (4096..bytes.min(hive.len())).step_by(4096).map(|at| at..(at + 4096).min(hive.len()));
    let data = |page: Range<usize>| {
        let at = hive[page.clone()].windows(16).position(|bytes| bytes == [b'x'; 16])?;
        Some(page.start + at + 8)
    };
    pages.filter_map(data).for_each(|at| touched[at] = b'y');
    touched
}
