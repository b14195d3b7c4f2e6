//! What `replant inspect` gives: the report on a guest and what it comes to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guest::report::{Finding, FindingSeverity, Report};
use crate::model::Hypervisor;

/// The version of [`Inspection`]'s JSON.
pub const VERSION: u32 = 1;

/// A guest as inspection found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Inspection {
    /// [`VERSION`].
    pub version: u32,
    /// The version of Replant that looked.
    pub replant_version: String,
    /// The images, without secrets, in the order of the machine's disks.
    pub images: Vec<String>,
    /// The instance type that it was judged for, when one was named.
    pub instance_type: Option<String>,
    /// What the instance runs on.
    pub hypervisor: Hypervisor,
    /// What it comes to.
    pub verdict: Verdict,
    /// Facts, findings and recipe. The findings about the instance type are among the findings.
    pub report: Report,
}

/// What an inspection comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It boots on EC2 as it is.
    AsItIs,
    /// It boots once the recipe's edits are made.
    AfterPreparation,
    /// It is a guest that can be prepared, but not for this instance type.
    OtherType,
    /// It cannot be made to boot.
    Blocked,
}

/// Whether a finding stands in the way: it blocks, and Replant does nothing about it.
#[must_use]
pub fn blocks(finding: &Finding) -> bool {
    finding.severity == FindingSeverity::Blocks && finding.remedy.is_none()
}

impl Inspection {
    /// A report on these images, with what an instance type adds to its findings.
    #[must_use]
    pub fn new(
        images: Vec<String>,
        instance_type: Option<String>,
        hypervisor: Hypervisor,
        mut report: Report,
        fit: Vec<Finding>,
    ) -> Self {
        let blocked = report.findings.iter().any(blocks);
        let verdict = if blocked {
            Verdict::Blocked
        } else if fit.iter().any(blocks) {
            Verdict::OtherType
        } else if report.recipe.edits.is_empty() {
            Verdict::AsItIs
        } else {
            Verdict::AfterPreparation
        };
        report.findings.extend(fit);
        report.findings.sort_by_key(|finding| finding.severity);
        let replant_version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version: VERSION, replant_version, images, instance_type, hypervisor, verdict, report }
    }

    /// Whether anything stands in the way of booting.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        matches!(self.verdict, Verdict::OtherType | Verdict::Blocked)
    }
}
