//! Findings as they are made: stable codes, masked evidence, each said once.

use super::mask;
use super::report::{Finding, FindingSeverity};

/// Longest evidence line kept, in characters: a hostile file must not fill the report.
const MOST_EVIDENCE: usize = 200;
/// Most evidence lines of one finding.
const MOST_LINES: usize = 20;
/// Most findings of one report.
const MOST_FINDINGS: usize = 500;

/// A finding with this code and summary.
#[must_use]
pub fn finding(severity: FindingSeverity, code: &str, summary: impl Into<String>) -> Finding {
    Finding {
        code: format!("guest::{code}"),
        severity,
        summary: shown(&summary.into()),
        evidence: Vec::new(),
        remedy: None,
        advice: None,
    }
}

/// The guest would not come up.
#[must_use]
pub fn blocks(code: &str, summary: impl Into<String>) -> Finding {
    finding(FindingSeverity::Blocks, code, summary)
}

/// Something that is wanted will not work.
#[must_use]
pub fn warns(code: &str, summary: impl Into<String>) -> Finding {
    finding(FindingSeverity::Warns, code, summary)
}

/// Worth knowing.
#[must_use]
pub fn informs(code: &str, summary: impl Into<String>) -> Finding {
    finding(FindingSeverity::Informs, code, summary)
}

impl Finding {
    /// Names a place: `/etc/fstab:3: the line`, secrets masked.
    #[must_use]
    pub fn at(mut self, path: &str, line: u32, text: &str) -> Self {
        let masked = mask::text(path, text);
        self.evidence.push(shown(&format!("{path}:{line}: {}", masked.trim())));
        self.evidence.truncate(MOST_LINES);
        self
    }

    /// Names a file or another place without a line.
    #[must_use]
    pub fn seen(mut self, place: impl Into<String>) -> Self {
        self.evidence.push(shown(&place.into()));
        self.evidence.truncate(MOST_LINES);
        self
    }

    /// Says what Replant does about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(shown(&remedy.into()));
        self
    }

    /// Says what the user must do.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// What guests write, made fit to show: control characters escaped, cut where it is too long.
fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MOST_EVIDENCE {
            shown.push('…');
            break;
        }
        match character {
            '\t' => shown.push(' '),
            _ if character.is_control() => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    shown
}

/// Findings in the order they were made, each code and text once.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. What says the same of another place becomes one more line of evidence; beyond
    /// 500 findings the rest is dropped.
    pub fn push(&mut self, finding: Finding) {
        let same = |known: &&mut Finding| {
            known.code == finding.code
                && known.severity == finding.severity
                && known.summary == finding.summary
                && known.remedy == finding.remedy
                && known.advice == finding.advice
        };
        if let Some(known) = self.0.iter_mut().find(same) {
            for line in finding.evidence {
                if known.evidence.len() < MOST_LINES && !known.evidence.contains(&line) {
                    known.evidence.push(line);
                }
            }
        } else if self.0.len() < MOST_FINDINGS {
            self.0.push(finding);
        }
    }

    /// All of them: the heaviest first, else in the order they were made.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort_by_key(|finding| finding.severity);
        self.0
    }
}
