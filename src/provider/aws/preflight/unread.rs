//! What could not be looked at: said once, and never the end of a plan.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::diagnostic::Diagnostic;
use crate::provider::preflight::Concern;
use crate::provider::types::{ProviderError, ProviderErrorKind};

/// IAM's actions that were refused or failed, with what was said.
#[derive(Debug, Default)]
pub(super) struct Unread(Mutex<BTreeMap<String, (bool, String)>>);

impl Unread {
    /// An answer, or a note that there is none. `service`: IAM's prefix of the operation.
    pub(super) fn read<T>(&self, service: &str, answer: Result<T, ProviderError>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                let is_refused = error.kind == ProviderErrorKind::Unauthorized;
                self.note(&format!("{service}:{}", error.operation), is_refused, &error.message);
                None
            }
        }
    }

    /// Notes an action that gave no answer.
    pub(super) fn note(&self, action: &str, is_refused: bool, why: &str) {
        let mut unread = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unread.entry(action.to_owned()).or_insert_with(|| (is_refused, why.to_owned()));
    }

    /// What a person is told of it.
    pub(super) fn concern(self) -> Option<Concern> {
        let unread = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if unread.is_empty() {
            return None;
        }
        let lines: Vec<String> =
            unread.iter().map(|(action, (_, why))| format!("{action}: {}", first_line(why))).collect();
        let mut diagnostic = Diagnostic::note("aws::not_checked", "Some things could not be looked at")
            .detail(format!(
                "The plan does not depend on them, and EC2 checks them while it is applied.\n{}",
                lines.join("\n")
            ));
        let refused: Vec<&str> = unread
            .iter()
            .filter(|(_, (is_refused, _))| *is_refused)
            .map(|(action, _)| action.as_str())
            .collect();
        if !refused.is_empty() {
            diagnostic = diagnostic
                .help(format!("to have them looked at, allow this to the role:\n{}", statement(&refused)));
        }
        Some(Concern::provider(diagnostic))
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A statement of a policy that allows these actions.
pub(super) fn statement(actions: &[&str]) -> String {
    let actions: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
    format!("{{ \"Effect\": \"Allow\", \"Action\": [{}], \"Resource\": \"*\" }}", actions.join(", "))
}
