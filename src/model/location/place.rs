//! The kinds of places, and how they are shown and stored.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::http::HttpLocation;
use super::nbd::NbdLocation;
use super::parse::scheme;
use super::s3::S3Location;

/// Where an image is.
///
/// It is shown and stored as the text that names it. Credentials in an URL are shown as `…`, and a
/// place that holds any cannot be stored: serialising it is an error.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// A file or a block device of this machine.
    Local(PathBuf),
    /// An object in S3, or on a server that speaks its protocol.
    S3(S3Location),
    /// A file on a web server.
    Http(HttpLocation),
    /// An export of an NBD server.
    Nbd(NbdLocation),
    /// Standard input.
    Input,
}

impl Location {
    /// The file, when it is one of this machine.
    #[must_use]
    pub fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }

    /// The same place; a relative path counts from `directory`.
    #[must_use]
    pub fn within(self, directory: &Path) -> Self {
        match self {
            Self::Local(path) => {
                let path = directory.join(path);
                Self::Local(path.strip_prefix("./").map(PathBuf::from).unwrap_or(path))
            }
            other => other,
        }
    }

    /// What messages call it: the path, or the text that names it, without credentials.
    #[must_use]
    pub fn called(&self) -> PathBuf {
        match self {
            Self::Local(path) => path.clone(),
            other => PathBuf::from(other.to_string()),
        }
    }

    /// The name of the file or object; empty for what has none (an NBD export, standard input).
    #[must_use]
    pub fn file_name(&self) -> Cow<'_, str> {
        let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
        match self {
            Self::Local(path) => path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default(),
            Self::S3(object) => Cow::Owned(last(&object.key)),
            Self::Http(file) => {
                let name = last(file.path());
                Cow::Owned(super::percent::decode(&name).unwrap_or(name))
            }
            Self::Nbd(_) | Self::Input => Cow::Borrowed(""),
        }
    }

    /// Whether its name ends so, in whatever case.
    #[must_use]
    pub fn has_extension(&self, extension: &str) -> bool {
        Path::new(&*self.file_name()).extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
    }

    /// Whether it holds (or may hold) credentials.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        matches!(self, Self::Http(file) if file.has_secret())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => {
                let text = path.to_string_lossy();
                // What reads like another kind of place must come back as a path.
                let prefix = if text == "-" || scheme(&text).is_some() { "./" } else { "" };
                write!(f, "{prefix}{text}")
            }
            Self::S3(object) => object.fmt(f),
            Self::Http(file) => file.fmt(f),
            Self::Nbd(export) => export.fmt(f),
            Self::Input => f.write_str("-"),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Local(path.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::Local(path.clone())
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::Local(path)
    }
}

impl From<&Self> for Location {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        if self.has_secret() {
            return Err(S::Error::custom(format!("{self} holds credentials, which are never stored")));
        }
        if self.local().is_some_and(|path| path.to_str().is_none()) {
            return Err(S::Error::custom("a path that is not UTF-8 cannot be stored"));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Location {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Location".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Location {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn places_survive_their_text_and_json() {
        for text in [
            "disk.vmdk",
            "/a/b c.ova",
            "./s3://odd",
            "a:b://c",
            "s3://bucket/a/b c%20+.ova",
            "s3://bucket/what?.raw",
            "s3://bucket/key?versionId=3HL4kqtJ.x_-",
            "https://host/disk.vmdk",
            "http://[2001:db8::1]:8080/a/b%20c.vmdk?versionId=7&file=x",
            "nbd://host/",
            "nbd://host:10810/my%20disk",
            "nbd://[::1]/x",
            "nbd+unix:///?socket=/run/nbd.sock",
            "nbd+unix:///disk?socket=/run/my%20sock",
            "-",
        ] {
            let place = parsed(text);
            assert_eq!(place.to_string(), text);
            let json = serde_json::to_string(&place).unwrap();
            assert_eq!(serde_json::from_str::<Location>(&json).unwrap(), place, "{json}");
        }
        for path in ["-", "s3://x/y", "https://user:pass@host/disk"] {
            let place = Location::from(Path::new(path));
            assert_eq!(parsed(&place.to_string()).within(Path::new("")).local().unwrap(), Path::new(path));
        }
        assert_eq!(parsed("HTTPS://host/x").to_string(), "https://host/x");
        assert_eq!(parsed("nbd://host:10809").to_string(), "nbd://host/");
    }

    #[test]
    fn relative_paths_count_from_the_directory() {
        let within = |text: &str| parsed(text).within(Path::new("/etc/dr")).to_string();
        assert_eq!(within("web.ova"), "/etc/dr/web.ova");
        assert_eq!(within("/b/web.ova"), "/b/web.ova");
        assert_eq!(within("s3://b/web.ova"), "s3://b/web.ova");
        assert_eq!(parsed("web.ova").within(Path::new(".")).to_string(), "web.ova");
    }

    #[test]
    fn names_and_extensions() {
        for text in ["a/web.OVA", "s3://b/p/web.OVA?versionId=1", "https://h/p/web.OVA?X-Amz-Signature=1"] {
            assert_eq!(parsed(text).file_name(), "web.OVA");
            assert!(parsed(text).has_extension("ova"));
        }
        assert_eq!(parsed("https://h/my%20disk.raw").file_name(), "my disk.raw");
        assert_eq!(parsed("nbd://h/disk.raw").file_name(), "");
    }

    #[test]
    fn credentials_are_neither_shown_nor_stored() {
        for (text, shown) in [
            ("https://user:hunter2@host/disk.vmdk", "https://…@host/disk.vmdk"),
            ("https://hunter2@host/disk.vmdk", "https://…@host/disk.vmdk"),
            ("https://host/disk?X-Amz-Credential=a&X-Amz-Signature=hunter2", "https://host/disk?…"),
            ("https://host/disk?version=1&sig=hunter2", "https://host/disk?…"),
            ("https://host/disk?hunter2", "https://host/disk?…"),
            ("https://a@b@host/disk?hunter2", "https://…@host/disk?…"),
        ] {
            let place = parsed(text);
            assert_eq!(place.to_string(), shown);
            assert!(place.has_secret());
            assert!(!format!("{place:?} {place:#?}").contains("hunter2"));
            let error = serde_json::to_string(&place).unwrap_err().to_string();
            assert!(error.contains("never stored") && !error.contains("hunter2"), "{error}");
            let Location::Http(file) = &place else { panic!("{place}") };
            assert_eq!(file.url(), text);
        }
    }

    #[test]
    fn files_beside_a_file_on_a_server() {
        let beside = |text: &str| match parsed(text) {
            Location::Http(file) => file.beside(&["d 1", "disk?.vmdk"]),
            other => panic!("{other}"),
        };
        assert_eq!(beside("https://h/a/web.ovf").url(), "https://h/a/d%201/disk%3F.vmdk");
        assert_eq!(beside("https://h/a/web.ovf?sig=1/2").url(), "https://h/a/d%201/disk%3F.vmdk");
        let with_user = beside("https://u:p@h/a/web.ovf");
        assert_eq!(with_user.url(), "https://u:p@h/a/d%201/disk%3F.vmdk");
        assert_eq!(with_user.to_string(), "https://…@h/a/d%201/disk%3F.vmdk");
        assert_eq!(with_user.path(), "/a/d%201/disk%3F.vmdk");
    }

    #[test]
    fn what_is_no_place_is_explained() {
        for (text, what) in [
            ("", "empty"),
            ("ftp://host/x", "`ftp://`"),
            ("file:///x", "by its path"),
            ("nbds://host/x", "TLS"),
            ("s3://", "bucket"),
            ("s3://bucket", "not a bucket"),
            ("s3://bucket/dir/", "not a bucket or a prefix"),
            ("s3://bucket/a//b", "empty"),
            ("s3://bucket/../b", "`..`"),
            ("s3://key:secret@bucket/b", "no credentials"),
            ("s3://bucket/b?versionId=", "version id"),
            ("https://", "server"),
            ("https://host", "not a server"),
            ("https://host/dir/", "directory"),
            ("https://host/a b", "blanks"),
            ("https://host/a#b", "`#`"),
            ("https://host:99999/a", "server"),
            ("https://[::g]/a", "server"),
            ("nbd:///x", "server"),
            ("nbd://u:p@h/x", "no users"),
            ("nbd://h/x?a=b", "parameters"),
            ("nbd://h/%zz", "hexadecimal"),
            ("nbd+unix:///x", "which socket"),
            ("nbd+unix://host/x?socket=/s", "three slashes"),
            ("nbd+unix:///x?socket=s", "absolute"),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(error.what.contains(what), "{text}: {error}");
            assert!(error.help.ends_with(['.', 'r', 'S']), "{text}: {}", error.help);
            assert!(!error.what.contains("secret"));
        }
    }
}
