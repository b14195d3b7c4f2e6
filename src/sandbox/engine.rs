//! What boots the sandbox's kernel. User-mode Linux today; the seam is for QEMU, where there is
//! none.

pub mod uml;

use std::path::{Path, PathBuf};

use super::error::SandboxError;
use super::jail::JailSpec;
use super::request::Limits;

/// What an engine is to boot.
#[derive(Debug, Clone)]
pub struct Boot<'a> {
    /// The initial filesystem.
    pub initrd: &'a Path,
    /// How many devices, the job disk included; each has a socket in the jail.
    pub devices: usize,
    /// What it may use.
    pub limits: Limits,
    /// The process that the jail must not outlive.
    pub parent: i32,
}

/// Something that boots a kernel in a jail, with vhost-user-blk disks.
pub trait Engine {
    /// The jail to boot in, and the command that boots.
    ///
    /// # Errors
    /// When a program or library it needs is missing.
    fn jail(&self, boot: &Boot<'_>) -> Result<JailSpec, SandboxError>;

    /// Where its kernel's modules are, one directory a version.
    fn modules(&self) -> PathBuf;
}
