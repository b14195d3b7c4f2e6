//! The algorithms of manifests.

use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// What a file is digested with. SHA-1 was VMware's for years: it finds damage, and a forger who
/// can change the file can change the manifest beside it under any algorithm.
#[derive(Debug, Clone)]
pub(in super::super) enum Hasher {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// The algorithm that a manifest calls so; `None` when it is not known.
    pub(in super::super) fn named(algorithm: &str) -> Option<Self> {
        match algorithm.to_ascii_uppercase().replace('-', "").as_str() {
            "SHA1" => Some(Self::Sha1(Sha1::new())),
            "SHA256" => Some(Self::Sha256(Sha256::new())),
            "SHA384" => Some(Self::Sha384(Sha384::new())),
            "SHA512" => Some(Self::Sha512(Sha512::new())),
            _ => None,
        }
    }

    pub(in super::super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hasher) => hasher.update(bytes),
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha384(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest, in lowercase hexadecimal digits.
    pub(in super::super) fn finish(self) -> String {
        let digest = match self {
            Self::Sha1(hasher) => hasher.finalize().to_vec(),
            Self::Sha256(hasher) => hasher.finalize().to_vec(),
            Self::Sha384(hasher) => hasher.finalize().to_vec(),
            Self::Sha512(hasher) => hasher.finalize().to_vec(),
        };
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of FIPS 180 for "abc", their first and last bytes.
    #[test]
    fn known_answers() {
        for (name, begin, end) in [
            ("SHA1", "a9993e36", "9cd0d89d"),
            ("sha-256", "ba7816bf", "f20015ad"),
            ("SHA384", "cb00753f", "34c825a7"),
            ("SHA-512", "ddaf35a1", "a54ca49f"),
        ] {
            let mut hasher = Hasher::named(name).unwrap();
            hasher.update(b"a");
            hasher.update(b"bc");
            let digest = hasher.finish();
            assert!(digest.starts_with(begin) && digest.ends_with(end), "{name}: {digest}");
        }
        assert!(Hasher::named("MD5").is_none());
    }
}
