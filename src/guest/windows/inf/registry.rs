//! Sections that add to the registry, after "INF AddReg directive".

use super::budget::Budget;
use super::error::InfError;
use super::parse::{Inf, Line};
use super::text::number;

/// A value's data, by type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryData {
    /// `REG_SZ`.
    Text(String),
    /// `REG_EXPAND_SZ`.
    Expandable(String),
    /// `REG_MULTI_SZ`.
    Texts(Vec<String>),
    /// `REG_DWORD`.
    Number(u32),
    /// `REG_QWORD`.
    Long(u64),
    /// `REG_BINARY`.
    Bytes(Vec<u8>),
    /// Another type: the low word is its number, the bytes as they stand.
    Other(u16, Vec<u8>),
    /// The key alone is made.
    Key,
    /// The value is taken away.
    Delete,
}

/// One entry of a section that adds to the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryValue {
    /// The root: `HKR` (the device's, driver's or service's key), `HKLM`, `HKCR`, `HKCU`, `HKU`.
    pub root: String,
    /// The key below it; may be empty.
    pub key: String,
    /// The value's name; empty is the key's default value.
    pub name: String,
    /// Its data.
    pub data: RegistryData,
    /// A value that is there already stays.
    pub keep: bool,
    /// The texts are added to those that are there.
    pub append: bool,
}

/// Not written over what is there.
const KEEP: u32 = 0x2;
/// Takes the value away.
const DELETE: u32 = 0x4;
/// Adds to a multiple text.
const APPEND: u32 = 0x8;
/// The key alone.
const KEY_ONLY: u32 = 0x10;

impl Inf {
    /// What a section adds to the registry; a section that is not there adds nothing.
    pub(super) fn registry(
        &self,
        section: &str,
        budget: &mut Budget,
    ) -> Result<Vec<RegistryValue>, InfError> {
        let lines = self.section(section).map(|section| section.lines.as_slice()).unwrap_or_default();
        let mut values = Vec::new();
        for line in lines {
            // The longest that its values can become.
            let long = line
                .values
                .iter()
                .map(|value| if value.contains('%') { self.expand(value).len() } else { value.len() });
            budget.take(long.sum::<usize>() + line.values.len() * size_of::<String>())?;
            values.extend(self.registry_value(line));
        }
        Ok(values)
    }

    fn registry_value(&self, line: &Line) -> Option<RegistryValue> {
        let root = self.value(line, 0).to_ascii_uppercase();
        if !["HKR", "HKLM", "HKCR", "HKCU", "HKU"].contains(&root.as_str()) {
            return None;
        }
        let flags = number(&self.value(line, 3)).unwrap_or(0);
        let values = line.values.get(4..).unwrap_or_default();
        let texts = || values.iter().map(|value| self.expand(value));
        let text = || texts().next().unwrap_or_default();
        let bytes = || texts().filter_map(|byte| hex(&byte)).collect::<Vec<u8>>();
        let data = match flags & 0xffff_0001 {
            _ if flags & KEY_ONLY != 0 => RegistryData::Key,
            _ if flags & DELETE != 0 => RegistryData::Delete,
            0x0000_0000 => RegistryData::Text(text()),
            0x0001_0000 => RegistryData::Texts(texts().collect()),
            0x0002_0000 => RegistryData::Expandable(text()),
            0x0000_0001 => RegistryData::Bytes(bytes()),
            0x0001_0001 if values.len() == 4 => {
                let bytes = bytes();
                RegistryData::Number(u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
            0x0001_0001 => RegistryData::Number(signed(&text())),
            0x000b_0001 => RegistryData::Long(long(&text())),
            other => RegistryData::Other(u16::try_from(other >> 16).unwrap_or_default(), bytes()),
        };
        Some(RegistryValue {
            root,
            key: self.value(line, 1),
            name: self.value(line, 2),
            data,
            keep: flags & KEEP != 0,
            append: flags & APPEND != 0,
        })
    }
}

/// A byte of binary data: hexadecimal, with or without `0x`.
fn hex(text: &str) -> Option<u8> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    u8::from_str_radix(digits, 16).ok()
}

/// A number that may be written as a negative one.
fn signed(text: &str) -> u32 {
    let negative = || text.trim().parse::<i32>().ok().map(i32::cast_unsigned);
    number(text).or_else(negative).unwrap_or(0)
}

fn long(text: &str) -> u64 {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    }
}
