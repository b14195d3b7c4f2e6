//! Inspects a guest whose filesystems are mounted, makes the recipe, carries it out when asked.

use super::disk::boot_code::BootCode;
use super::draft::{Draft, DraftError};
use super::findings::{Findings, blocks};
use super::linux::initramfs::addition::AdditionError;
use super::linux::recipe;
use super::linux::release::{self, Release};
use super::report::{DiskFacts, Job, PROTOCOL, Recipe, Report};
use super::tree::{Tree, TreeError};

/// Why a guest could not be inspected or prepared. Retrying gives the same: the guest's blocks
/// decide.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file of the guest cannot be read.
    #[error("the guest cannot be read")]
    Read(#[from] TreeError),
    /// The recipe could not be carried out, or does not read back.
    #[error("the guest could not be prepared")]
    CarryOut(#[from] DraftError),
    /// An initramfs that was extended does not hold what it must.
    #[error("{path} could not be extended")]
    Initramfs {
        /// The path from the guest's root.
        path: String,
        /// Why.
        source: AdditionError,
    },
}

/// Inspects the guest under `tree`, whose disks are `disks` with this code for a BIOS; makes its
/// findings and recipe; with
/// `job.prepare` makes the edits and reads each one back before it counts.
///
/// A second preparation of a prepared guest gives an empty recipe, and so does a guest that
/// already boots on EC2.
///
/// # Errors
/// [`GuestError`]. What is wrong with the guest itself is a finding, not an error.
pub fn run(tree: &Tree, disks: &[DiskFacts], boot_code: BootCode, job: &Job) -> Result<Report, GuestError> {
    let mut findings = Findings::new();
    let Some(release) = Release::detect(tree) else {
        findings.push(unknown(tree));
        return Ok(Report {
            protocol: PROTOCOL,
            facts: None,
            disks: disks.to_vec(),
            stacked: Vec::new(),
            findings: findings.into_sorted(),
            recipe: Recipe::default(),
            diffs: Vec::new(),
        });
    };
    let mut draft = Draft::new(tree);
    let prepared = recipe::make(&mut draft, disks, boot_code, &job.inputs, &release, &mut findings)?;
    if job.prepare {
        draft.carry_out()?;
        prepared.check_written(tree)?;
    } else {
        prepared.check_unwritten(tree)?;
    }
    Ok(Report {
        protocol: PROTOCOL,
        facts: Some(prepared.facts),
        disks: disks.to_vec(),
        stacked: Vec::new(),
        findings: findings.into_sorted(),
        recipe: draft.recipe(),
        diffs: draft.diffs(),
    })
}

/// No operating system: what was looked for, and what is there instead.
fn unknown(tree: &Tree) -> super::report::Finding {
    let names = tree.list("/").unwrap_or_default().entries;
    let shown: Vec<&str> = names.iter().take(12).map(|entry| entry.name.as_str()).collect();
    blocks("unknown_system", "no operating system that Replant knows was found")
        .seen(format!("looked for {}", release::FILES.join(", ")))
        .seen(format!(
            "the root holds: {}",
            if shown.is_empty() { "nothing".to_owned() } else { shown.join(" ") }
        ))
        .advice(
            "Check that the first disk is the one that boots. To write the disks as they are, set\n\
             guest { drivers = \"none\" }",
        )
}
