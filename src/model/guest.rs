//! What a user wants of a guest beside what makes it boot: files of their own, a script for the
//! first boot, an identity and a name of its own.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;

/// Bytes; base64 where they are written as text.
#[derive(Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct Content(pub Arc<[u8]>);

impl Content {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<T: Into<Arc<[u8]>>> From<T> for Content {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self::from).map_err(serde::de::Error::custom)
    }
}

/// Whether the guest goes on as the machine it was, or as another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IdentityPolicy {
    /// What tells it from other machines stays.
    #[default]
    Keep,
    /// Machine id, SSH host keys, random seed and what DHCP clients remember are made anew.
    New,
}

/// A `file` block: a file of the user's own in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestFile {
    /// Its path from the guest's root: absolute, without empty, `.` and `..` parts. In Windows guests
    /// with its drive, as `C:\Tools\x.txt`.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Its permission bits; `None`: a file that is there keeps its own, a new one gets 0644.
    pub mode: Option<u32>,
    /// Its owner, a name or number of the guest's; `None`: as it is, root for a new one.
    pub owner: Option<String>,
    /// Its group, likewise.
    pub group: Option<String>,
}

impl GuestFile {
    /// The drive that a path of Windows begins with, in upper case; `None`: it is none of Windows.
    #[must_use]
    pub fn drive(&self) -> Option<char> {
        let mut characters = self.path.chars();
        let letter = characters.next().filter(char::is_ascii_alphabetic)?;
        (characters.next() == Some(':') && matches!(characters.next(), Some('/' | '\\')))
            .then(|| letter.to_ascii_uppercase())
    }

    /// The path below this drive's root, with slashes; `None`: it is on another, or none of Windows.
    #[must_use]
    pub fn windows_path(&self, drive: char) -> Option<String> {
        self.drive().filter(|found| *found == drive)?;
        Some(self.path.get(2..)?.replace('\\', "/"))
    }
}

/// A `first_boot` block: a script that the guest runs once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstBoot {
    /// The script, which begins with `#!`.
    pub script: Content,
    /// Seconds after which it is ended.
    pub timeout: u32,
}

/// Everything that a `guest` block wants changed beside the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestChanges {
    /// Whether it gets an identity of its own.
    pub identity: IdentityPolicy,
    /// Its new host name.
    pub hostname: Option<String>,
    /// The user's files, in the order of the configuration.
    pub files: Vec<GuestFile>,
    /// What it runs once.
    pub first_boot: Option<FirstBoot>,
}

impl GuestChanges {
    /// Tells two wishes apart; `None` when nothing is wanted.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        if *self == Self::default() {
            return None;
        }
        // These types always have a JSON form.
        Digest::of_json(self).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_windows_begin_with_a_drive() {
        let path = |path: &str| GuestFile {
            path: path.to_owned(),
            content: Content::default(),
            mode: None,
            owner: None,
            group: None,
        };
        assert_eq!(path(r"c:\Tools\x.txt").windows_path('C').unwrap(), "/Tools/x.txt");
        assert_eq!(path("D:/x").windows_path('C'), None);
        assert_eq!(path("D:/x").drive(), Some('D'));
        for other in ["/etc/motd", "C:", "C:x", "", "1:/x", "ä:/x"] {
            assert_eq!(path(other).drive(), None, "{other}");
        }
    }

    #[test]
    fn content_survives_as_text() {
        let content = Content::from(vec![0, 255, 10]);
        let text = serde_json::to_string(&content).unwrap();
        assert_eq!(text, "\"AP8K\"");
        assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content);
        assert!(serde_json::from_str::<Content>("\"%\"").is_err());
    }
}
