//! Addresses: `instance.web`, `instance.web["eu"].volume.root`, `instance.web.drivers`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The key that `for_each` gave an instance. (`count` does not exist: a position is no identity.)
pub type InstanceKey = String;

/// An instance: its name and, under `for_each`, its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceAddress {
    /// The block's label.
    pub name: String,
    /// The `for_each` key.
    pub key: Option<InstanceKey>,
}

impl InstanceAddress {
    /// The address of an instance without `for_each`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), key: None }
    }

    /// The address of one instance of a `for_each`.
    #[must_use]
    pub fn with_key(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { name: name.into(), key: Some(key.into()) }
    }

    /// The address of one of its parts.
    #[must_use]
    pub fn part(&self, part: Part) -> Address {
        Address { instance: self.clone(), part }
    }

    /// The address of one of its volumes.
    #[must_use]
    pub fn volume(&self, disk: impl Into<String>) -> Address {
        self.part(Part::Volume(disk.into()))
    }
}

/// What of an instance is meant. The strings are disk names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The EBS volume (or local file) that a disk is restored to. A resource.
    Volume(String),
    /// That volume in a slot of the access node. A step.
    Attachment(String),
    /// Putting the disk's content on the volume. A step.
    Write(String),
    /// Making the guest bootable on EC2. A step.
    Drivers,
    /// Taking the volume out of its slot. A step.
    Detach(String),
    /// A snapshot of that volume, for an image. A resource.
    Snapshot(String),
    /// The AMI of these snapshots. A resource.
    Image,
    /// Launching the stub while data is written. A step.
    Stub,
    /// The instance itself. A resource.
    Instance,
}

impl Part {
    /// The disk it is about, when it is about one.
    #[must_use]
    pub fn disk(&self) -> Option<&str> {
        match self {
            Self::Volume(disk)
            | Self::Attachment(disk)
            | Self::Write(disk)
            | Self::Detach(disk)
            | Self::Snapshot(disk) => Some(disk),
            Self::Drivers | Self::Image | Self::Stub | Self::Instance => None,
        }
    }

    /// The word in an address; empty for the instance itself.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Volume(_) => "volume",
            Self::Attachment(_) => "attachment",
            Self::Write(_) => "write",
            Self::Drivers => "drivers",
            Self::Detach(_) => "detach",
            Self::Snapshot(_) => "snapshot",
            Self::Image => "image",
            Self::Stub => "stub",
            Self::Instance => "",
        }
    }
}

/// An instance or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Whose.
    pub instance: InstanceAddress,
    /// Which part.
    pub part: Part,
}

impl fmt::Display for InstanceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instance.{}", self.name)?;
        match &self.key {
            Some(key) => write!(f, "[\"{}\"]", key.replace('\\', "\\\\").replace('"', "\\\"")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.instance.fmt(f)?;
        match (&self.part, self.part.disk()) {
            (Part::Instance, _) => Ok(()),
            (part, Some(disk)) => write!(f, ".{}.{disk}", part.word()),
            (part, None) => write!(f, ".{}", part.word()),
        }
    }
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// It does not begin with `instance.` and a name.
    #[error("an address begins with `instance.` and a name, as in `instance.web`")]
    NotAnInstance,
    /// The key in brackets is not a quoted string.
    #[error("a key is a quoted string in brackets, as in `instance.web[\"eu\"]`")]
    BadKey,
    /// What follows the instance is no part of one.
    #[error(
        "`{0}` is no part of an instance: volume, attachment, write, detach, snapshot (each with a disk's name), drivers, image, stub"
    )]
    UnknownPart(String),
}

/// Whether a label, disk name or the like can stand in an address: a letter or `_` first, then
/// letters, digits, `_` and `-`.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_' || next == '-')
}

/// Splits a quoted key and its closing bracket off the text that follows `["`.
fn split_key(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => key.push(characters.next()?.1),
            '"' => return text[index..].strip_prefix("\"]").map(|rest| (key, rest)),
            _ => key.push(character),
        }
    }
    None
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("instance.").ok_or(ParseAddressError::NotAnInstance)?;
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, mut rest) = rest.split_at(end);
        if !is_identifier(name) {
            return Err(ParseAddressError::NotAnInstance);
        }
        let mut instance = InstanceAddress::new(name);
        if let Some(bracketed) = rest.strip_prefix('[') {
            let quoted = bracketed.strip_prefix('"').ok_or(ParseAddressError::BadKey)?;
            let (key, after) = split_key(quoted).ok_or(ParseAddressError::BadKey)?;
            instance.key = Some(key);
            rest = after;
        }
        let part = match rest.strip_prefix('.') {
            None if rest.is_empty() => Part::Instance,
            None => return Err(ParseAddressError::BadKey),
            Some("drivers") => Part::Drivers,
            Some("image") => Part::Image,
            Some("stub") => Part::Stub,
            Some(words) => {
                let unknown = || ParseAddressError::UnknownPart(words.to_owned());
                let (word, disk) = words.split_once('.').ok_or_else(unknown)?;
                if !is_identifier(disk) {
                    return Err(unknown());
                }
                let disk = disk.to_owned();
                match word {
                    "volume" => Part::Volume(disk),
                    "attachment" => Part::Attachment(disk),
                    "write" => Part::Write(disk),
                    "detach" => Part::Detach(disk),
                    "snapshot" => Part::Snapshot(disk),
                    _ => return Err(unknown()),
                }
            }
        };
        Ok(Self { instance, part })
    }
}

impl FromStr for InstanceAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<Address>()? {
            Address { instance, part: Part::Instance } => Ok(instance),
            Address { part, .. } => Err(ParseAddressError::UnknownPart(part.word().to_owned())),
        }
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^instance\\." })
            }
        }
    };
}

as_text!(Address);
as_text!(InstanceAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in [
            "instance.web",
            "instance.web.volume.root",
            "instance.web[\"eu\"].write.data-1",
            "instance.web[\"a\\\"b].c\\\\\"].drivers",
            "instance.web.stub",
            "instance.web.snapshot.root",
            "instance.web.image",
            "instance.db_1.detach.root",
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "web",
            "instance.",
            "instance.1",
            "instance.web[eu]",
            "instance.web[\"eu\"",
            "instance.web.disk.root",
            "instance.web.volume",
            "instance.web.volume.a.b",
            "instance.web[\"a\"]x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
