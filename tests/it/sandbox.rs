//! The sandbox with its real parts: user-mode Linux, real filesystems, and other people's fsck.

mod changes;
mod commands;
mod evil;
mod filesystems;
mod findings;
mod growth;
pub mod guests;
mod hostile;
mod jailed;
mod layout;
mod lvm;
pub mod machine;
mod raid;
#[cfg(feature = "remote")]
mod remote;
mod roots;

use std::path::{Path, PathBuf};

use replant::guest::report::{GiveUp, RecipeInputs};
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};
use replant::sandbox::{self, Limits, Outcome, Programs, Request, SandboxDisk, SandboxError};

/// The programs that this test run built.
pub fn programs() -> Result<Programs, SandboxError> {
    Programs::with(
        PathBuf::from(env!("CARGO_BIN_EXE_replant")),
        PathBuf::from(env!("CARGO_BIN_EXE_replant-guest")),
    )
}

/// A request for raw images, of their own size.
pub fn request(images: &[&Path]) -> Request {
    let disk = |(index, image): (usize, &&Path)| SandboxDisk {
        name: format!("disk{index}"),
        image: Path::new(image).into(),
        format: Some("raw".to_owned()),
        member: None,
        snapshot: None,
        size: 0,
        grow: false,
    };
    Request {
        disks: images.iter().enumerate().map(disk).collect(),
        prepare: true,
        inputs: RecipeInputs {
            hypervisor: Hypervisor::Nitro,
            network: NetworkPolicy::Dhcp,
            changes: GuestChanges::default(),
            give_up: GiveUp::default(),
        },
        components: None,
        limits: Limits { seconds: 120, ..Limits::default() },
    }
}

pub fn try_run(request: &Request) -> Result<Outcome, SandboxError> {
    sandbox::run_with(&programs, request, None)
}

#[track_caller]
pub fn run(request: &Request) -> Outcome {
    match try_run(request) {
        Ok(outcome) => outcome,
        Err(SandboxError::NoReport { console, source, .. }) => panic!("{source}\n{console}"),
        Err(error) => panic!("{:#?}", error.diagnostic()),
    }
}
