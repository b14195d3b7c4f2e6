//! Attributes side by side: what a resource has, what it shall have, what that means.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{AttributeChange, Shown};
use crate::model::InstanceOptions;

/// A resource's attributes by path. What is not set is not in it.
#[derive(Debug, Clone, Default)]
pub struct Table {
    values: BTreeMap<String, Shown>,
}

impl Table {
    /// Sets an attribute; `None` leaves it out.
    pub fn set(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.values.insert(path.to_owned(), Shown::Value(value.into()));
        }
    }

    /// Sets an instance's options.
    pub fn set_options(&mut self, options: &InstanceOptions) {
        for (path, value) in options.attributes() {
            self.set(&path, Some(value));
        }
    }

    /// Sets an attribute that is known only after apply.
    pub fn set_unknown(&mut self, path: &str) {
        self.values.insert(path.to_owned(), Shown::Unknown);
    }

    /// Sets an attribute whose value is never shown. `fingerprint` tells two values apart.
    pub fn set_hidden(&mut self, path: &str, fingerprint: Option<String>) {
        self.set(path, fingerprint);
    }

    /// Sets every tag.
    pub fn set_tags(&mut self, tags: &BTreeMap<String, String>) {
        for (key, value) in tags {
            self.set(&format!("tags.{key}"), Some(value.as_str()));
        }
    }

    fn shown(&self, path: &str, sensitive: &BTreeSet<String>) -> Option<Shown> {
        let value = self.values.get(path)?;
        let hidden = sensitive.contains(path)
            || path.split_once('.').is_some_and(|(head, _)| sensitive.contains(head));
        Some(if hidden && *value != Shown::Unknown { Shown::Sensitive } else { value.clone() })
    }

    /// Every attribute that is set, as made anew.
    #[must_use]
    pub fn created(&self, sensitive: &BTreeSet<String>) -> Vec<AttributeChange> {
        self.values
            .keys()
            .map(|path| AttributeChange {
                path: path.clone(),
                before: None,
                after: self.shown(path, sensitive),
                forces_replacement: false,
            })
            .collect()
    }

    /// Every attribute that is set, as removed.
    #[must_use]
    pub fn removed(&self, sensitive: &BTreeSet<String>) -> Vec<AttributeChange> {
        self.created(sensitive)
            .into_iter()
            .map(|change| AttributeChange { before: change.after, after: None, ..change })
            .collect()
    }

    /// The attributes that differ between `self` (before) and `after`, and how many stay.
    /// Those in `forcing` cannot change in place; one that ends in `.` stands for all under it.
    #[must_use]
    pub fn changed(
        &self,
        after: &Self,
        forcing: &[&str],
        sensitive: &BTreeSet<String>,
    ) -> (Vec<AttributeChange>, usize) {
        let paths: BTreeSet<&String> = self.values.keys().chain(after.values.keys()).collect();
        let mut unchanged = 0;
        let mut changes = Vec::new();
        for path in paths {
            if self.values.get(path) == after.values.get(path) {
                unchanged += 1;
                continue;
            }
            changes.push(AttributeChange {
                path: path.clone(),
                before: self.shown(path, sensitive),
                after: after.shown(path, sensitive),
                forces_replacement: forcing
                    .iter()
                    .any(|forcing| *forcing == path || (forcing.ends_with('.') && path.starts_with(forcing))),
            });
        }
        (changes, unchanged)
    }
}

/// A value in words, for reasons: `"m5.large"`, `40`, `(known after apply)`.
#[must_use]
pub fn in_words(shown: Option<&Shown>) -> String {
    match shown {
        None => "not set".to_owned(),
        Some(Shown::Unknown) => "(known after apply)".to_owned(),
        Some(Shown::Sensitive) => "(sensitive value)".to_owned(),
        Some(Shown::Value(value)) => value.to_string(),
    }
}

/// What the provider's view says against the state, for the reason of a change: `size: 40, was 20`.
#[must_use]
pub fn drift(changes: &[AttributeChange]) -> Option<String> {
    (!changes.is_empty()).then(|| {
        changes
            .iter()
            .map(|change| {
                format!(
                    "{}: {}, was {}",
                    change.path,
                    in_words(change.after.as_ref()),
                    in_words(change.before.as_ref())
                )
            })
            .collect::<Vec<_>>()
            .join("; ")
    })
}
