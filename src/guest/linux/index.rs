//! kmod's binary index, `modules.dep.bin` and `modules.alias.bin`: a trie on disk.
//!
//! The format (from libkmod's reader; all numbers big-endian): magic `B007F457`, version
//! `00020001`, the root's offset; then nodes, children before their parent. A node holds its
//! prefix (NUL-terminated, when there is one), the first and last child's character with an
//! offset each (0: none), and its values (priority and NUL-terminated text). Which of the three
//! it has stands in the top bits of the offset that points to it.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
const HAS_PREFIX: u32 = 0x8000_0000;
const HAS_VALUES: u32 = 0x4000_0000;
const HAS_CHILDREN: u32 = 0x2000_0000;
/// Keys are 7-bit text; kmod knows no other characters.
const MOST_CHARACTER: u8 = 128;

/// A value with its priority.
type Value = (u32, String);
/// A key with its values.
type Key<'k> = (&'k [u8], &'k [Value]);

/// Keys with their values, in the order in which they were added within one priority.
#[derive(Debug, Default)]
pub struct Index {
    values: BTreeMap<Vec<u8>, Vec<Value>>,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value under a key. Keys that kmod cannot hold are passed over.
    pub fn insert(&mut self, key: &str, value: &str, priority: u32) {
        if key.bytes().any(|byte| byte >= MOST_CHARACTER || byte == 0) || value.contains('\0') {
            return;
        }
        let values = self.values.entry(key.as_bytes().to_vec()).or_default();
        // depmod puts a value before the first that is not smaller.
        let place = values.iter().position(|(other, _)| *other >= priority).unwrap_or(values.len());
        values.insert(place, (priority, value.to_owned()));
    }

    /// The index's bytes; `None` when it is too large for its own offsets (256 MiB).
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let keys: Vec<Key<'_>> =
            self.values.iter().map(|(key, values)| (key.as_slice(), values.as_slice())).collect();
        let mut bytes = Vec::new();
        for word in [MAGIC, VERSION, 0] {
            bytes.extend_from_slice(&word.to_be_bytes());
        }
        let root = write_node(&mut bytes, &keys, 0)?;
        bytes[8..12].copy_from_slice(&root.to_be_bytes());
        Some(bytes)
    }
}

/// Writes the node of these keys, which are sorted and share their first `depth` bytes; gives the
/// offset with its flags. The recursion is as deep as the longest key at most.
fn write_node(bytes: &mut Vec<u8>, keys: &[Key<'_>], depth: usize) -> Option<u32> {
    let (first, last) = (keys.first().map_or(&[][..], |key| key.0), keys.last().map_or(&[][..], |key| key.0));
    // Sorted: what the first and the last share, all share.
    let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count().max(depth);
    let prefix = first.get(depth..shared).unwrap_or_default();
    let (own, below) = match keys.first() {
        Some((key, values)) if key.len() == shared => (*values, &keys[1..]),
        _ => (&[][..], keys),
    };
    let mut children = BTreeMap::new();
    let mut rest = below;
    while let Some((key, _)) = rest.first() {
        let character = *key.get(shared)?;
        let count = rest.iter().take_while(|(key, _)| key.get(shared) == Some(&character)).count();
        children.insert(character, write_node(bytes, &rest[..count], shared + 1)?);
        rest = &rest[count..];
    }
    let mut offset = u32::try_from(bytes.len()).ok().filter(|offset| *offset < HAS_CHILDREN >> 1)?;
    if !prefix.is_empty() {
        bytes.extend_from_slice(prefix);
        bytes.push(0);
        offset |= HAS_PREFIX;
    }
    if let (Some((from, _)), Some((to, _))) = (children.first_key_value(), children.last_key_value()) {
        bytes.extend_from_slice(&[*from, *to]);
        for character in *from..=*to {
            bytes.extend_from_slice(&children.get(&character).copied().unwrap_or(0).to_be_bytes());
        }
        offset |= HAS_CHILDREN;
    }
    if !own.is_empty() {
        bytes.extend_from_slice(&u32::try_from(own.len()).ok()?.to_be_bytes());
        for (priority, value) in own {
            bytes.extend_from_slice(&priority.to_be_bytes());
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        offset |= HAS_VALUES;
    }
    Some(offset)
}

/// `modules.dep.bin` of a text `modules.dep`: the module's name leads to its line, the line's
/// number is the priority.
#[must_use]
pub fn dependencies(text: &str) -> Option<Vec<u8>> {
    let mut index = Index::new();
    for (line, priority) in text.lines().zip(0_u32..) {
        if let Some((path, _)) = line.split_once(':') {
            // depmod's own bin has no blank after a lonely colon, its text has none either.
            index.insert(&module_name(path), line, priority);
        }
    }
    index.to_bytes()
}

/// `modules.alias.bin` of a text `modules.alias`; a module's priority is its line in `modules.dep`.
#[must_use]
pub fn aliases(text: &str, dependencies: &str) -> Option<Vec<u8>> {
    let priorities: BTreeMap<String, u32> = dependencies
        .lines()
        .zip(0_u32..)
        .filter_map(|(line, priority)| Some((module_name(line.split_once(':')?.0), priority)))
        .collect();
    let mut index = Index::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next())
            && let Some(alias) = normalize_alias(alias)
        {
            index.insert(&alias, module, priorities.get(module).copied().unwrap_or(0));
        }
    }
    index.to_bytes()
}

/// A module's name from its path: without directories and endings, `-` as `_`.
#[must_use]
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path).trim();
    let stem = file.split_once(".ko").map_or(file, |(stem, _)| stem);
    stem.replace('-', "_")
}

/// `-` becomes `_`, except within brackets; `None` when the brackets do not match.
fn normalize_alias(alias: &str) -> Option<String> {
    let mut inside = false;
    let mut normal = String::with_capacity(alias.len());
    for character in alias.chars() {
        match character {
            '[' => inside = true,
            ']' if !inside => return None,
            ']' => inside = false,
            _ => {}
        }
        normal.push(if character == '-' && !inside { '_' } else { character });
    }
    (!inside).then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(module_name("kernel/drivers/block/xen-blkfront.ko.xz"), "xen_blkfront");
        assert_eq!(module_name("nvme"), "nvme");
        assert_eq!(normalize_alias("pci:v0-d[a-c]x").unwrap(), "pci:v0_d[a-c]x");
        assert_eq!(normalize_alias("a]"), None);
    }

    #[test]
    fn an_empty_index_is_a_lone_root() {
        let bytes = Index::new().to_bytes().unwrap();
        assert_eq!(bytes, [0xB0, 0x07, 0xF4, 0x57, 0, 2, 0, 1, 0, 0, 0, 12]);
    }
}
