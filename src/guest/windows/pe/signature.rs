//! Embedded signatures: what they say the file's digest is, and whether it is.
//!
//! The signer's public key is not used: who may sign drivers is Windows' to decide. What is proved
//! here is that a signature is there, belongs to this file and is whole.

use sha1::Sha1;
use sha2::digest::Output;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::der::{CONTEXT_0, CONTEXT_1, INTEGER, OBJECT, OCTETS, Reader, SEQUENCE, SET, Value};
use super::image::{Pe, PeError};
use crate::guest::windows::bytes::{u16_at, u32_at, utf16};

/// Most signatures of one file, nested ones included.
const MOST_SIGNATURES: usize = 16;
/// Longest signer's name that is kept, in characters.
const LONGEST_NAME: usize = 200;

/// 1.2.840.113549.1.7.2
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.3.6.1.4.1.311.2.1.4
const INDIRECT_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// 1.3.6.1.4.1.311.2.4.1
const NESTED: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x04, 0x01];
/// 1.2.840.113549.1.9.4
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// SHA-1: all that a Windows 7 or Server 2008 R2 without its SHA-2 update takes.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    fn of(object: &[u8]) -> Option<Self> {
        match object {
            // 1.3.14.3.2.26
            [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Some(Self::Sha1),
            // 2.16.840.1.101.3.4.2.1 and following
            [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, last] => match last {
                1 => Some(Self::Sha256),
                2 => Some(Self::Sha384),
                3 => Some(Self::Sha512),
                _ => None,
            },
            _ => None,
        }
    }

    fn compute(self, parts: &[&[u8]]) -> Vec<u8> {
        fn all<D: Digest>(parts: &[&[u8]]) -> Output<D> {
            let mut digest = D::new();
            parts.iter().for_each(|part| digest.update(part));
            digest.finalize()
        }
        match self {
            Self::Sha1 => all::<Sha1>(parts).to_vec(),
            Self::Sha256 => all::<Sha256>(parts).to_vec(),
            Self::Sha384 => all::<Sha384>(parts).to_vec(),
            Self::Sha512 => all::<Sha512>(parts).to_vec(),
        }
    }
}

/// One signature of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// How the file's digest is computed.
    pub algorithm: DigestAlgorithm,
    /// The digest that was signed.
    pub digest: Vec<u8>,
    /// Whether the file still has that digest, and the signer signed that statement.
    pub matches: bool,
    /// Whose key signed: the certificate's common name.
    pub signer: Option<String>,
}

impl Pe<'_> {
    /// The signatures that the file carries, none for an unsigned one.
    ///
    /// # Errors
    /// A signature is there that is damaged, or of an unknown kind.
    pub fn signatures(&self) -> Result<Vec<Signature>, PeError> {
        let Some((entry, offset, size)) = self.certificates else { return Ok(Vec::new()) };
        let damaged = |what| PeError::Signature { what };
        let begin = offset as usize;
        let end = begin.checked_add(size as usize).filter(|end| *end <= self.data.len());
        let end = end.ok_or(damaged("it lies beyond the file's end"))?;
        if begin < entry + 8 || !begin.is_multiple_of(8) {
            return Err(damaged("it lies in the headers"));
        }
        // Bytes after it would be signed by nobody.
        if self.data.len() - end >= 8 {
            return Err(damaged("something follows it"));
        }
        let hashed = [
            &self.data[..self.checksum],
            &self.data[self.checksum + 4..entry],
            &self.data[entry + 8..begin],
            // Signing fills the file up to a multiple of eight.
        ];
        let mut signatures = Vec::new();
        let mut table = &self.data[begin..end];
        while table.len() >= 8 {
            let length = u32_at(table, 0).map_or(0, |length| length as usize);
            let kind = (u16_at(table, 4), u16_at(table, 6));
            let content = table.get(8..length).ok_or(damaged("its length is wrong"))?;
            // PKCS#7 signed data, in either revision.
            if !matches!(kind, (Some(0x100 | 0x200), Some(2))) {
                return Err(damaged("it is no PKCS #7 signature"));
            }
            read(content, &hashed, &mut signatures)?;
            table = table.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        if signatures.is_empty() {
            return Err(damaged("it is empty"));
        }
        Ok(signatures)
    }
}

/// A signature and those nested in it, one within the other.
fn read(content: &[u8], file: &[&[u8]], signatures: &mut Vec<Signature>) -> Result<(), PeError> {
    let mut open = vec![content];
    while let Some(content) = open.pop() {
        if signatures.len() == MOST_SIGNATURES {
            return Err(PeError::Signature { what: "it holds too many signatures" });
        }
        let signed =
            Signed::read(content).ok_or(PeError::Signature { what: "it is not DER as it should be" })?;
        let algorithm = DigestAlgorithm::of(signed.algorithm).ok_or(PeError::Digest)?;
        let stated = DigestAlgorithm::of(signed.statement_algorithm).ok_or(PeError::Digest)?;
        signatures.push(Signature {
            algorithm,
            digest: signed.digest.to_vec(),
            matches: algorithm.compute(file) == signed.digest
                && stated.compute(&[signed.statement]) == signed.statement_digest,
            signer: signed.signer(),
        });
        open.extend(&signed.nested);
    }
    Ok(())
}

/// The signature in a Windows Installer package's own stream, and in it nested ones; `file` is what
/// its digest is computed of.
///
/// # Errors
/// It is damaged, or of an unknown kind.
pub fn detached(content: &[u8], file: &[&[u8]]) -> Result<Vec<Signature>, PeError> {
    let mut signatures = Vec::new();
    read(content, file, &mut signatures)?;
    Ok(signatures)
}

/// The parts of PKCS #7 signed data that count here.
struct Signed<'a> {
    /// The file's digest, and how it is computed.
    algorithm: &'a [u8],
    digest: &'a [u8],
    /// What is signed, the signer's digest of it, and how that is computed.
    statement: &'a [u8],
    statement_algorithm: &'a [u8],
    statement_digest: &'a [u8],
    certificates: Option<Value<'a>>,
    /// The signer's certificate: issuer and number.
    issuer: &'a [u8],
    number: &'a [u8],
    nested: Vec<&'a [u8]>,
}

impl<'a> Signed<'a> {
    fn read(content: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(content).one(SEQUENCE)?.inside();
        if outer.one(OBJECT)?.content != SIGNED_DATA {
            return None;
        }
        let mut signed = outer.one(CONTEXT_0)?.inside().one(SEQUENCE)?.inside();
        signed.one(INTEGER)?;
        signed.one(SET)?;
        let mut stated = signed.one(SEQUENCE)?.inside();
        if stated.one(OBJECT)?.content != INDIRECT_DATA {
            return None;
        }
        let statement = stated.one(CONTEXT_0)?.inside().one(SEQUENCE)?;
        let mut indirect = statement.inside();
        indirect.one(SEQUENCE)?;
        let mut digest = indirect.one(SEQUENCE)?.inside();
        let algorithm = digest.one(SEQUENCE)?.inside().one(OBJECT)?.content;
        let digest = digest.one(OCTETS)?.content;
        let certificates = signed.optional(CONTEXT_0);
        signed.optional(CONTEXT_1);
        let mut signer = signed.one(SET)?.inside().one(SEQUENCE)?.inside();
        signer.one(INTEGER)?;
        let mut identity = signer.one(SEQUENCE)?.inside();
        let issuer = identity.one(SEQUENCE)?.whole;
        let number = identity.one(INTEGER)?.content;
        let statement_algorithm = signer.one(SEQUENCE)?.inside().one(OBJECT)?.content;
        let attributes = signer.one(CONTEXT_0)?;
        let statement_digest = attribute(attributes, MESSAGE_DIGEST).next()?;
        let statement_digest = (statement_digest.tag == OCTETS).then_some(statement_digest.content)?;
        signer.one(SEQUENCE)?;
        signer.one(OCTETS)?;
        let nested = match signer.optional(CONTEXT_1) {
            Some(attributes) => attribute(attributes, NESTED).map(|value| value.whole).collect(),
            None => Vec::new(),
        };
        Some(Self {
            algorithm,
            digest,
            statement: statement.content,
            statement_algorithm,
            statement_digest,
            certificates,
            issuer,
            number,
            nested,
        })
    }

    /// The common name in the signer's certificate.
    fn signer(&self) -> Option<String> {
        common_name(certificate(self.certificates?, self.issuer, self.number)?.1)
    }
}

/// The certificate with this issuer and number, and its subject.
fn certificate<'a>(all: Value<'a>, issuer: &[u8], number: &[u8]) -> Option<(Value<'a>, Value<'a>)> {
    all.inside().find_map(|certificate| {
        let mut body = certificate.inside().one(SEQUENCE)?.inside();
        body.optional(CONTEXT_0);
        let its_number = body.one(INTEGER)?.content;
        body.one(SEQUENCE)?;
        let its_issuer = body.one(SEQUENCE)?.whole;
        body.one(SEQUENCE)?;
        let subject = body.one(SEQUENCE)?;
        ((its_number, its_issuer) == (number, issuer)).then_some((certificate, subject))
    })
}

/// Who signed a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The signer's certificate, as a `.cer` file holds it (DER).
    pub certificate: Vec<u8>,
    /// Its common name.
    pub name: Option<String>,
}

/// The first signer of PKCS #7 signed data, whatever it says; `None` when that, or the certificate, is not
/// there. Nothing is proved: Windows checks the signature when it installs what the catalog lists.
#[must_use]
pub fn publisher(content: &[u8]) -> Option<Publisher> {
    let mut outer = Reader(content).one(SEQUENCE)?.inside();
    if outer.one(OBJECT)?.content != SIGNED_DATA {
        return None;
    }
    let mut signed = outer.one(CONTEXT_0)?.inside().one(SEQUENCE)?.inside();
    signed.one(INTEGER)?;
    signed.one(SET)?;
    signed.one(SEQUENCE)?;
    let certificates = signed.optional(CONTEXT_0)?;
    signed.optional(CONTEXT_1);
    let mut signer = signed.one(SET)?.inside().one(SEQUENCE)?.inside();
    signer.one(INTEGER)?;
    let mut identity = signer.one(SEQUENCE)?.inside();
    let issuer = identity.one(SEQUENCE)?.whole;
    let number = identity.one(INTEGER)?.content;
    let (certificate, subject) = certificate(certificates, issuer, number)?;
    Some(Publisher { certificate: certificate.whole.to_vec(), name: common_name(subject) })
}

/// The values of the attributes of a kind.
fn attribute<'a>(attributes: Value<'a>, kind: &'static [u8]) -> impl Iterator<Item = Value<'a>> {
    attributes
        .inside()
        .filter_map(move |attribute| {
            let mut parts = attribute.inside();
            (parts.one(OBJECT)?.content == kind).then(|| parts.one(SET))?
        })
        .flat_map(Value::inside)
}

fn common_name(name: Value<'_>) -> Option<String> {
    name.inside().flat_map(Value::inside).find_map(|part| {
        let mut part = part.inside();
        if part.one(OBJECT)?.content != COMMON_NAME {
            return None;
        }
        let value = part.any()?;
        let text = match value.tag {
            // BMPString: UTF-16, the high byte first.
            0x1e => utf16(value.content, u16::from_be_bytes),
            _ => String::from_utf8_lossy(value.content).into_owned(),
        };
        Some(text.chars().filter(|character| !character.is_control()).take(LONGEST_NAME).collect())
    })
}
