//! The tables of a VMDK that is read in order, held against the grains that came.
//!
//! Read from a file, a disk is what its tables say; read as a stream, what its grains say of
//! themselves. Both must be the same, and a stream that was cut between two grains must not pass.
//! The tables may come before the grains, after each group of them, or at the end: of each only a
//! digest is kept, and compared at the end.

use std::collections::BTreeMap;

/// What is kept of a table: the digest of its grains' places, zeros when it has none.
type Digest = [u8; 16];

/// Most tables, redundant ones included: two for each that a disk can have.
const MOST_TABLES: usize = 1 << 19;
/// Most directories: the primary and the redundant one, at either end.
const MOST_DIRECTORIES: usize = 4;

/// The digest of one table's entries, taken in order.
#[derive(Debug, Default)]
struct Running {
    hasher: blake3::Hasher,
    any: bool,
}

impl Running {
    fn entry(&mut self, slot: u64, sector: u32) {
        self.hasher.update(&slot.to_le_bytes());
        self.hasher.update(&sector.to_le_bytes());
        self.any = true;
    }

    fn finish(&self) -> Digest {
        let mut digest = [0; 16];
        if self.any {
            digest.copy_from_slice(&self.hasher.finalize().as_bytes()[..16]);
        }
        digest
    }
}

/// What the grains were and what the tables say.
#[derive(Debug)]
pub(super) struct Tables {
    /// Grains of a table.
    entries: u64,
    /// Whether an entry of 1 stands for a grain of zeros.
    zeroed: bool,
    seen: Vec<Digest>,
    current: (u64, Running),
    claimed: BTreeMap<u32, Digest>,
    directories: Vec<(u64, Vec<u32>)>,
}

impl Tables {
    /// For that many tables of `entries` grains.
    pub(super) fn new(count: usize, entries: u64, zeroed: bool) -> Self {
        Self {
            entries,
            zeroed,
            seen: vec![[0; 16]; count],
            current: (0, Running::default()),
            claimed: BTreeMap::new(),
            directories: Vec::new(),
        }
    }

    /// A grain came, at this sector of the stream. They come in ascending order.
    pub(super) fn grain(&mut self, number: u64, sector: u32) {
        let (table, slot) = (number / self.entries, number % self.entries);
        if table != self.current.0 {
            self.close();
            self.current = (table, Running::default());
        }
        self.current.1.entry(slot, sector);
    }

    fn close(&mut self) {
        if let Some(place) = usize::try_from(self.current.0).ok().and_then(|at| self.seen.get_mut(at)) {
            *place = self.current.1.finish();
        }
    }

    /// A table came, at this sector. `false`: there are more than any disk has.
    pub(super) fn table(&mut self, sector: u32, entries: &[u32]) -> bool {
        let mut running = Running::default();
        for (slot, entry) in (0u64..).zip(entries) {
            if *entry != 0 && !(self.zeroed && *entry == 1) {
                running.entry(slot, *entry);
            }
        }
        self.claimed.insert(sector, running.finish());
        self.claimed.len() <= MOST_TABLES
    }

    /// A directory came, at this sector. `false`: there are more than any disk has.
    pub(super) fn directory(&mut self, sector: u64, tables: Vec<u32>) -> bool {
        self.directories.push((sector, tables));
        self.directories.len() <= MOST_DIRECTORIES
    }

    /// Whether the directory at this sector came.
    pub(super) fn has_directory(&self, sector: u64) -> bool {
        self.directories.iter().any(|(at, _)| *at == sector)
    }

    /// Compares what came with the tables of the directory at this sector; says what differs.
    pub(super) fn check(&mut self, directory: u64) -> Result<(), String> {
        self.close();
        let Some((_, tables)) = self.directories.iter().find(|(at, _)| *at == directory) else {
            return Err(format!("its grain directory should be at sector {directory}, where none came"));
        };
        for (number, (table, seen)) in tables.iter().zip(&self.seen).enumerate() {
            let claimed = match table {
                0 => Some(&[0; 16]),
                table => self.claimed.get(table),
            };
            match claimed {
                Some(claimed) if claimed == seen => {}
                Some(_) => return Err(format!("its grain table {number} names other grains than came")),
                None => {
                    return Err(format!(
                        "its grain table {number} should be at sector {table}, where none came"
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_is_said_must_be_the_same() {
        let of = |entries: &[(usize, u32)]| {
            let mut table = vec![0; 512];
            entries.iter().for_each(|(slot, sector)| table[*slot] = *sector);
            table
        };
        let check = |first: &[(usize, u32)], directory: Vec<u32>| {
            let mut tables = Tables::new(3, 512, true);
            tables.grain(1, 128);
            tables.grain(7, 130);
            tables.grain(1024, 140);
            tables.table(200, &of(first));
            tables.table(204, &of(&[(0, 140), (9, 1)]));
            tables.directory(300, directory);
            tables.check(300)
        };
        assert_eq!(check(&[(1, 128), (7, 130)], vec![200, 0, 204]), Ok(()));
        for (first, directory) in [
            (&[(1, 128)][..], vec![200, 0, 204]),
            (&[(1, 128), (7, 131)], vec![200, 0, 204]),
            (&[(1, 128), (8, 130)], vec![200, 0, 204]),
            (&[(1, 128), (7, 130), (8, 132)], vec![200, 0, 204]),
            (&[(1, 128), (7, 130)], vec![200, 204, 0]),
            (&[(1, 128), (7, 130)], vec![200, 0, 0]),
            (&[(1, 128), (7, 130)], vec![200, 0, 205]),
        ] {
            assert!(check(first, directory).is_err());
        }
        let mut tables = Tables::new(1, 512, true);
        assert!(tables.check(0).is_err());
        tables.directory(9, vec![0]);
        assert_eq!(tables.check(9), Ok(()));
    }
}
