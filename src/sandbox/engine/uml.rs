//! User-mode Linux: Linux as an ordinary program. It traces its guest's processes.

use std::path::PathBuf;

use super::{Boot, Engine};
use crate::sandbox::error::SandboxError;
use crate::sandbox::initrd::{InitrdError, elf};
use crate::sandbox::jail::spec::socket_path;
use crate::sandbox::jail::{JailFile, JailSpec};
use crate::sandbox::programs::Programs;

/// Bytes of the writable directory beside the memory's file: UML's own small files.
const SCRATCH_SLACK: u64 = 16 << 20;

/// User-mode Linux from Debian's package.
#[derive(Debug, Clone)]
pub struct Uml {
    program: PathBuf,
    modules: PathBuf,
}

impl Uml {
    /// The one that was found.
    #[must_use]
    pub fn new(programs: &Programs) -> Self {
        Self { program: programs.uml.clone(), modules: programs.modules.clone() }
    }
}

impl Engine for Uml {
    fn jail(&self, boot: &Boot<'_>) -> Result<JailSpec, SandboxError> {
        let executable = |from: PathBuf, to: String| JailFile { from, to, executable: true };
        let mut files = vec![executable(self.program.clone(), "/linux".to_owned())];
        for library in elf::needed(&self.program).map_err(InitrdError::from)? {
            files.push(executable(library.file, library.place));
        }
        let initrd = boot.initrd.to_owned();
        files.push(JailFile { from: initrd, to: "/initrd".to_owned(), executable: false });
        let mut program = vec![
            "/linux".to_owned(),
            format!("mem={}M", boot.limits.memory_mib),
            "initrd=/initrd".to_owned(),
            "con=null".to_owned(),
            "con0=fd:0,fd:1".to_owned(),
            "quiet".to_owned(),
            "panic=-1".to_owned(),
            // Half the time of starting is a contest between RAID 6 routines, which wait for the
            // clock. Only a btrfs of the RAID 5 and 6 profiles would call the winner.
            "initcall_blacklist=raid6_select_algo".to_owned(),
        ];
        // 2 is virtio's number of block devices.
        program.extend((0..boot.devices).map(|index| format!("virtio_uml.device={}:2", socket_path(index))));
        Ok(JailSpec {
            parent: boot.parent,
            files,
            sockets: boot.devices,
            program,
            // UML panics without a writable HOME, and keeps its memory in TMPDIR (run).
            environment: vec![
                ("HOME".to_owned(), "/tmp".to_owned()),
                ("TMPDIR".to_owned(), "/tmp".to_owned()),
            ],
            scratch_bytes: (u64::from(boot.limits.memory_mib) << 20) + SCRATCH_SLACK,
            seconds: boot.limits.seconds,
        })
    }

    fn modules(&self) -> PathBuf {
        self.modules.clone()
    }
}
