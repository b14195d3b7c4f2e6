//! Sizes in bytes, shown as people say them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// 1,024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1,024 KiB.
pub const MIB: u64 = 1 << 20;
/// 1,024 MiB.
pub const GIB: u64 = 1 << 30;
/// 1,024 GiB.
pub const TIB: u64 = 1 << 40;

/// A number of bytes. Shown in the largest binary unit that keeps it at 1 or more, with one
/// decimal unless it is whole: `512 B`, `1.5 MiB`, `40 GiB`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The size of `gib` GiB, or `None` when it does not fit 64 bits.
    #[must_use]
    pub fn from_gib(gib: u64) -> Option<Self> {
        gib.checked_mul(GIB).map(Self)
    }

    /// This size in GiB, rounded up (EBS volumes are sized in whole GiB).
    #[must_use]
    pub fn gib_rounded_up(self) -> u64 {
        self.0.div_ceil(GIB)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            TIB.. => (TIB, "TiB"),
            GIB.. => (GIB, "GiB"),
            MIB.. => (MIB, "MiB"),
            KIB.. => (KIB, "KiB"),
            _ => return f.pad(&format!("{} B", self.0)),
        };
        let tenths = (u128::from(self.0) * 10 + u128::from(unit) / 2) / u128::from(unit);
        let text = if tenths % 10 == 0 {
            format!("{} {name}", tenths / 10)
        } else {
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_say_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1536, "1.5 KiB"),
            (40 * GIB, "40 GiB"),
            (GIB + GIB / 4, "1.3 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn gib_round_up() {
        assert_eq!(Bytes(1).gib_rounded_up(), 1);
        assert_eq!(Bytes(GIB).gib_rounded_up(), 1);
        assert_eq!(Bytes(GIB + 1).gib_rounded_up(), 2);
        assert_eq!(Bytes::from_gib(u64::MAX), None);
    }
}
