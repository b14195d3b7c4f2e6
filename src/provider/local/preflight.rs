//! What this machine lacks for what is going to be asked of it.

use std::path::{Path, PathBuf};

use super::accelerator;
use super::cloud::Cloud;
use super::launch;
use super::machine::QEMU;
use crate::diagnostic::Diagnostic;

/// The first directory of a search path that holds a program.
fn find(program: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(program)).find(|file| is_program(file))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

impl Cloud {
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
            "auto" if !kvm() => found.push(
                Diagnostic::note("local::emulated", "Guests are emulated, which is slow")
                    .detail("KVM does not run guests on this machine: a Linux guest takes about a minute to its login prompt."),
            ),
            _ => {}
        }
        found
    }
}
