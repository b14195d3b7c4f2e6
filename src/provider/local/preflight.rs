//! What this machine lacks for what is going to be asked of it.

use std::path::{Path, PathBuf};

use super::accelerator;
use super::cloud::Cloud;
use super::launch;
use super::machine::QEMU;
use crate::diagnostic::Diagnostic;
use crate::model::Bytes;

/// The first directory of a search path that holds a program.
fn find(program: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(program)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

impl Cloud {
    /// Whether the filesystem of the cloud's directory has too little room for what will be written.
    pub(super) fn no_room(&self, data_bytes: u64) -> Option<Diagnostic> {
        let volumes = self.store.path("volumes");
        let directory = volumes.parent().unwrap_or(&volumes);
        // What cannot be looked at is no reason to warn.
        let about = rustix::fs::statvfs(&volumes).ok()?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        (data_bytes > free).then(|| {
            Diagnostic::warning("local::no_room", "The volumes will not fit on this machine's disk")
                .detail(format!(
                    "At most {} of data are to be written, and the filesystem of {} has {} free.",
                    Bytes(data_bytes),
                    directory.display(),
                    Bytes(free)
                ))
                .help("make room there, or keep the volumes on another filesystem:\nprovider \"local\" { directory = \"…\" }")
        })
    }

    /// Diagnostics before anything is made; `path` is where programs are looked for.
    pub(super) fn preflight(&self, starts_instances: bool, path: &std::ffi::OsStr) -> Vec<Diagnostic> {
        if !starts_instances {
            return Vec::new();
        }
        if find(QEMU, path).is_none() {
            return vec![
                Diagnostic::error("local::qemu_missing", "QEMU is not installed")
                    .detail(format!(
                        "The local provider starts an instance as a QEMU process, and there is no {QEMU} on the PATH."
                    ))
                    .help("Install it (Debian, Ubuntu):\napt-get install qemu-system-x86")
                    .help("Or restore without starting:\nstate = \"stopped\""),
            ];
        }
        let mut found = Vec::new();
        if launch::firmware().is_none() {
            found.push(
                Diagnostic::note("local::ovmf_missing", "UEFI guests cannot be started on this machine")
                    .detail("QEMU's UEFI firmware is not installed; guests that boot by BIOS do not need it.")
                    .help("Install it (Debian, Ubuntu):\napt-get install ovmf"),
            );
        }
        let kvm = || match self.store.lock() {
            // Held so that two processes do not probe at once.
            Ok(_lock) => accelerator::kvm_works(&self.store).unwrap_or(false),
            Err(_) => false,
        };
        match self.spec.accelerator.as_str() {
            "kvm" if !kvm() => found.push(
                Diagnostic::error("local::kvm_missing", "KVM does not run guests on this machine")
                    .detail(
                        "accelerator = \"kvm\" is set, but a boot sector that was started on /dev/kvm did not answer.",
                    )
                    .help("Let it choose:\naccelerator = \"auto\""),
            ),
            // A probe would take longer than a plan may; the first start makes it.
            "auto" if accelerator::kvm_known(&self.store) == Some(false) => found.push(
                Diagnostic::note("local::emulated", "Guests are emulated, which is slow")
                    .detail("KVM does not run guests on this machine: a Linux guest takes about a minute to its login prompt."),
            ),
            _ => {}
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::{AccessNodeSpec, LocalProviderSpec};
    use crate::provider::local::Settings;

    #[test]
    fn too_little_room_is_said_before_anything_is_written() {
        let base = tempfile::tempdir().unwrap();
        let node =
            AccessNodeSpec { name: "dr".to_owned(), instance_id: "self".to_owned(), max_attachments: None };
        let cloud =
            Cloud::open(&LocalProviderSpec::default(), &node, base.path(), Settings::default()).unwrap();
        assert_eq!(cloud.no_room(1), None);
        let said = cloud.no_room(u64::MAX).unwrap();
        assert_eq!(said.code.as_str(), "local::no_room");
        let directory = base.path().canonicalize().unwrap().join(".replant/cloud");
        assert!(said.detail.contains(&format!("of {} has", directory.display())), "{said:?}");
    }

    #[test]
    fn a_missing_qemu_is_said_with_its_package() {
        let base = tempfile::tempdir().unwrap();
        let node =
            AccessNodeSpec { name: "dr".to_owned(), instance_id: "self".to_owned(), max_attachments: None };
        let spec = LocalProviderSpec { accelerator: "tcg".to_owned(), ..LocalProviderSpec::default() };
        let cloud = Cloud::open(&spec, &node, base.path(), Settings::default()).unwrap();
        let bin = base.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let qemu = bin.join(QEMU);
        let codes = |starts| -> Vec<String> {
            let found = cloud.preflight(starts, bin.as_os_str());
            found.iter().map(|diagnostic| diagnostic.code.to_string()).collect()
        };
        assert_eq!(codes(true), ["local::qemu_missing"]);
        assert!(codes(false).is_empty());
        let said = &cloud.preflight(true, bin.as_os_str())[0];
        assert!(said.is_error() && said.help[0].ends_with("\napt-get install qemu-system-x86"));
        // A file that is no program is none.
        File::create(&qemu).unwrap();
        assert_eq!(codes(true), ["local::qemu_missing"]);
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!codes(true).contains(&"local::qemu_missing".to_owned()));
    }
}
