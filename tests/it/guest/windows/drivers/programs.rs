//! Programs that mingw-w64 makes and osslsigncode signs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::LazyLock;

use replant::guest::windows::pe::{DigestAlgorithm, Machine, Pe, Signature};

use super::super::super::fixtures::shell;

/// A driver of a version, unsigned, and signed in every way that Windows knows.
pub struct Programs(BTreeMap<&'static str, Vec<u8>>);

/// Made once: a compiler, a key and some signatures.
pub static PROGRAMS: LazyLock<Programs> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(
        path.join("driver.c"),
        "long DriverEntry(void *driver, void *path) { return driver == path; }\n",
    )
    .unwrap();
    fs::write(
        path.join("driver.rc"),
        "1 VERSIONINFO FILEVERSION 1,5,1,33 PRODUCTVERSION 9,9,9,9\nBEGIN\nBLOCK \"StringFileInfo\" BEGIN\n\
         BLOCK \"040904b0\" BEGIN VALUE \"FileVersion\", \"x\" END END\nEND\n\
         2 RCDATA BEGIN \"other\" END\n",
    )
    .unwrap();
    shell(&format!(
        "cd {} && x86_64-w64-mingw32-windres driver.rc driver.o && \
         x86_64-w64-mingw32-gcc -nostdlib -shared -O1 -Wl,--subsystem,native -Wl,-e,DriverEntry -o unsigned.sys driver.c driver.o && \
         openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 3650 \
           -subj '/O=Replant/CN=Replant test signer' -addext extendedKeyUsage=codeSigning 2>/dev/null && \
         sign() {{ osslsigncode sign -certs cert.pem -key key.pem \"$@\" >/dev/null; }} && \
         sign -h sha256 -in unsigned.sys -out sha256.sys && \
         sign -h sha1 -in unsigned.sys -out sha1.sys && \
         sign -h sha384 -in unsigned.sys -out sha384.sys && \
         sign -nest -h sha256 -in sha1.sys -out both.sys",
        path.display()
    ));
    let names = ["unsigned.sys", "sha1.sys", "sha256.sys", "sha384.sys", "both.sys"];
    Programs(names.into_iter().map(|name| (name, fs::read(path.join(name)).unwrap())).collect())
});

impl Programs {
    pub fn content(&self, name: &str) -> Vec<u8> {
        self.0[name].clone()
    }
}

fn signatures(content: &[u8]) -> Vec<Signature> {
    Pe::read(content).unwrap().signatures().unwrap()
}

/// What osslsigncode says of a file's digests: those that were signed, those that it computes.
fn verified(content: &[u8]) -> (Vec<String>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sys");
    fs::write(&path, content).unwrap();
    let said = shell(&format!("osslsigncode verify -in {} 2>&1 || true", path.display()));
    let after = |name: &str| {
        let lines = said.lines().filter_map(|line| line.trim().strip_prefix(name)?.trim().strip_prefix(':'));
        lines.map(|digest| digest.split_whitespace().next().unwrap().to_owned()).collect()
    };
    (after("Current message digest"), after("Calculated message digest"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02X}").unwrap();
        text
    })
}

#[test]
fn digests_are_those_that_osslsigncode_computes() {
    for (name, algorithms) in [
        ("sha256.sys", vec![DigestAlgorithm::Sha256]),
        ("sha1.sys", vec![DigestAlgorithm::Sha1]),
        ("sha384.sys", vec![DigestAlgorithm::Sha384]),
        ("both.sys", vec![DigestAlgorithm::Sha1, DigestAlgorithm::Sha256]),
    ] {
        let found = signatures(&PROGRAMS.content(name));
        assert_eq!(
            found.iter().map(|signature| signature.algorithm).collect::<Vec<_>>(),
            algorithms,
            "{name}"
        );
        let (signed, computed) = verified(&PROGRAMS.content(name));
        let digests: Vec<String> = found.iter().map(|signature| hex(&signature.digest)).collect();
        assert!(!signed.is_empty(), "{name}");
        for (signed, computed) in signed.iter().zip(&computed) {
            assert!(
                digests.contains(signed) && signed == computed,
                "{name}: {digests:?} {signed} {computed}"
            );
        }
        for signature in &found {
            assert!(signature.matches, "{name}: {signature:?}");
            assert_eq!(signature.signer.as_deref(), Some("Replant test signer"));
        }
    }
}

#[test]
fn a_changed_program_no_longer_matches() {
    let sound = PROGRAMS.content("both.sys");
    let mut changed = sound.clone();
    let place = changed.len() / 2 - 1000;
    changed[place] ^= 1;
    let (signed, computed) = verified(&changed);
    assert_ne!(signed, computed, "osslsigncode sees it");
    assert!(signatures(&changed).iter().all(|signature| !signature.matches));
    // The checksum is not a part of what is signed.
    let mut other = sound.clone();
    let header = u32::from_le_bytes(other[0x3c..0x40].try_into().unwrap()) as usize;
    other[header + 24 + 64] ^= 0xff;
    assert!(signatures(&other).iter().all(|signature| signature.matches));
    // What stands after the signature was signed by nobody.
    let longer = [sound.as_slice(), &[0; 64]].concat();
    assert!(Pe::read(&longer).unwrap().signatures().is_err());
}

#[test]
fn a_signature_taken_off_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bare.sys");
    fs::write(directory.path().join("signed.sys"), PROGRAMS.content("sha256.sys")).unwrap();
    let (at, bare) = (directory.path().display(), path.display());
    shell(&format!("osslsigncode remove-signature -in {at}/signed.sys -out {bare} >/dev/null"));
    assert_eq!(signatures(&fs::read(path).unwrap()), []);
    assert_eq!(signatures(&PROGRAMS.content("unsigned.sys")), []);
}

#[test]
fn machines_and_versions_are_read() {
    let content = PROGRAMS.content("sha256.sys");
    let pe = Pe::read(&content).unwrap();
    assert_eq!((pe.machine(), pe.file_version()), (Machine::Amd64, Some([1, 5, 1, 33])));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.sys");
    fs::write(&path, &content).unwrap();
    let said = shell(&format!("x86_64-w64-mingw32-objdump -f {}", path.display()));
    assert!(said.contains("pei-x86-64"), "{said}");
}

#[test]
fn damaged_signatures_are_no_panic() {
    let sound = PROGRAMS.content("both.sys");
    let header = u32::from_le_bytes(sound[0x3c..0x40].try_into().unwrap()) as usize;
    let entry = header + 24 + 112 + 32;
    let begin = u32::from_le_bytes(sound[entry..entry + 4].try_into().unwrap()) as usize;
    let mut refused = 0;
    for place in (begin..sound.len()).step_by(3) {
        let mut changed = sound.clone();
        changed[place] = changed[place].wrapping_add(0x41);
        refused += usize::from(Pe::read(&changed).unwrap().signatures().is_err());
    }
    assert!(refused > 10, "{refused}");
    for length in (0..sound.len()).step_by(97) {
        if let Ok(pe) = Pe::read(&sound[..length]) {
            assert!(pe.signatures().map_or(true, |found| found.is_empty()), "{length}");
        }
    }
}
