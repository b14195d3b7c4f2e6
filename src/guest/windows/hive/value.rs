//! A value's name, type and data.

use super::name;

/// Data of a value, as far as it can be read under its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// `REG_SZ`.
    Text(String),
    /// `REG_EXPAND_SZ`.
    Expand(String),
    /// `REG_MULTI_SZ`.
    List(Vec<String>),
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_QWORD`.
    Long(u64),
    /// `REG_BINARY`.
    Binary(Vec<u8>),
    /// Any other type, or data that does not fit its type.
    Other {
        /// The type's number.
        kind: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its name; empty for the key's default value.
    pub name: String,
    /// Its type's number.
    pub kind: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Text up to its first NUL: what is behind it Windows does not show.
fn text(bytes: &[u8]) -> Option<String> {
    bytes.len().is_multiple_of(2).then(|| {
        let text = name::wide(bytes);
        text.split('\0').next().unwrap_or_default().to_owned()
    })
}

fn list(bytes: &[u8]) -> Option<Vec<String>> {
    bytes.len().is_multiple_of(2).then(|| {
        let text = name::wide(bytes);
        text.split('\0').take_while(|item| !item.is_empty()).map(str::to_owned).collect()
    })
}

fn units(text: &str) -> impl Iterator<Item = u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes)
}

impl Data {
    /// Reads bytes under a type's number.
    #[must_use]
    pub fn read(kind: u32, bytes: &[u8]) -> Self {
        let read = match kind {
            1 => text(bytes).map(Self::Text),
            2 => text(bytes).map(Self::Expand),
            3 => Some(Self::Binary(bytes.to_vec())),
            4 => bytes.try_into().ok().map(|bytes| Self::Number(u32::from_le_bytes(bytes))),
            7 => list(bytes).map(Self::List),
            11 => bytes.try_into().ok().map(|bytes| Self::Long(u64::from_le_bytes(bytes))),
            _ => None,
        };
        read.unwrap_or_else(|| Self::Other { kind, bytes: bytes.to_vec() })
    }

    /// The type's number.
    #[must_use]
    pub fn kind(&self) -> u32 {
        match self {
            Self::Text(_) => 1,
            Self::Expand(_) => 2,
            Self::Binary(_) => 3,
            Self::Number(_) => 4,
            Self::List(_) => 7,
            Self::Long(_) => 11,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// The bytes as Windows writes them: texts end in a NUL, lists in two.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) | Self::Expand(text) => units(text).chain([0, 0]).collect(),
            Self::List(items) => {
                items.iter().flat_map(|item| units(item).chain([0, 0])).chain([0, 0]).collect()
            }
            Self::Number(number) => number.to_le_bytes().to_vec(),
            Self::Long(number) => number.to_le_bytes().to_vec(),
            Self::Binary(bytes) | Self::Other { bytes, .. } => bytes.clone(),
        }
    }
}

impl Value {
    /// Its data under its type.
    #[must_use]
    pub fn data(&self) -> Data {
        Data::read(self.kind, &self.bytes)
    }

    /// Its number, when it is a `REG_DWORD` of four bytes.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        match self.data() {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Its text, when it is `REG_SZ` or `REG_EXPAND_SZ`.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match self.data() {
            Data::Text(text) | Data::Expand(text) => Some(text),
            _ => None,
        }
    }
}
