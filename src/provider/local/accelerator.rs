//! Whether KVM really runs guests here: `/dev/kvm` can be there and not do so (a nested machine,
//! a container), so a boot sector is run on it and must answer.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::machine::QEMU;
use super::store::Store;

/// How long the boot sector may take. On a KVM that works it takes about 0.2 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Where the answer is kept: it holds until the machine boots again.
const CACHE: &str = "accelerator.json";
/// `isa-debug-exit` ends QEMU with twice the written value plus one.
const ANSWER: u8 = 0x10;
const EXIT_CODE: i32 = (ANSWER as i32) * 2 + 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cached {
    boot_id: String,
    kvm: bool,
}

/// Processors of this machine.
pub(super) fn processors() -> u32 {
    thread::available_parallelism().ok().and_then(|count| u32::try_from(count.get()).ok()).unwrap_or(1)
}

/// `kvm` or `tcg`, by the configuration's word. `auto` probes.
pub(super) fn choose(word: &str, store: &Store) -> Result<&'static str, Failure> {
    match word {
        "kvm" => Ok("kvm"),
        "tcg" => Ok("tcg"),
        "auto" => Ok(if kvm_works(store)? { "kvm" } else { "tcg" }),
        other => Err(Failure::value(format!("Invalid value '{other}' for accelerator: auto, kvm or tcg"))),
    }
}

/// Whether KVM runs guests here, as far as it is known without a probe.
pub(super) fn kvm_known(store: &Store) -> Option<bool> {
    if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Some(false);
    }
    // A cache that cannot be read is no cache.
    let cached = store.read_file::<Cached>(CACHE).ok().flatten()?;
    (cached.boot_id == boot_id()).then_some(cached.kvm)
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether KVM runs guests here, probed once for each boot of this machine and cloud.
pub(super) fn kvm_works(store: &Store) -> Result<bool, Failure> {
    if let Some(known) = kvm_known(store) {
        return Ok(known);
    }
    let path = store.path(".new-probe.img");
    fs::write(&path, boot_sector()).map_err(|error| Failure::file("write", &path, error))?;
    let kvm = answers("kvm", &path);
    fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, error))?;
    store.write_file(CACHE, &Cached { boot_id: boot_id(), kvm })?;
    Ok(kvm)
}

/// `mov al, ANSWER; out 0xf4, al; hlt`, with a boot sector's signature.
fn boot_sector() -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..5].copy_from_slice(&[0xb0, ANSWER, 0xe6, 0xf4, 0xf4]);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn answers(accelerator: &str, image: &std::path::Path) -> bool {
    let Some(image) = image.to_str() else { return false };
    let drive = format!("file={},format=raw,if=floppy,readonly=on", image.replace(',', ",,"));
    let child = Command::new(QEMU)
        .args(["-accel", accelerator, "-nodefaults", "-no-user-config", "-display", "none", "-m", "16"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", &drive, "-boot", "a"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    let deadline = Instant::now() + PROBE_TIMEOUT;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status.code() == Some(EXIT_CODE),
            Ok(None) => thread::sleep(Duration::from_millis(10)),
            Err(_) => break,
        }
    }
    // It hangs; a failure to end it leaves nothing more to try.
    drop(child.kill());
    drop(child.wait());
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_sector_answers_on_an_accelerator_that_works() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("probe, with a comma.img");
        fs::write(&image, boot_sector()).unwrap();
        assert!(answers("tcg", &image));
        assert!(!answers("no-such-accelerator", &image));
        fs::write(&image, [0; 512]).unwrap();
        assert!(!answers("tcg", &image));
    }

    #[test]
    fn the_probe_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let works = kvm_works(&store).unwrap();
        assert_eq!(kvm_known(&store), Some(works));
        assert_eq!(choose("auto", &store).unwrap(), if works { "kvm" } else { "tcg" });
        assert_eq!(choose("fast", &store).unwrap_err().code, "InvalidParameterValue");
        // What another boot of this machine found does not count.
        if store.path(CACHE).exists() {
            store.write_file(CACHE, &Cached { boot_id: "before".to_owned(), kvm: works }).unwrap();
            assert_eq!(kvm_known(&store), None);
        }
    }
}
