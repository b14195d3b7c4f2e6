//! What differs between two hives, in keys and values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::HiveError;
use super::key::{Hive, Key};
use super::name;
use super::value::Value;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key's path from the root, `\` between names; empty for the root.
    pub key: String,
    /// What differs there.
    pub change: Change,
}

/// What differs in a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the second hive has the key (its values follow).
    Added,
    /// Only the first hive has the key, and all below it.
    Removed {
        /// The key's own values.
        values: Vec<Value>,
    },
    /// Its class or who may do what with it.
    Security,
    /// A value.
    Value {
        /// In the first hive.
        before: Option<Value>,
        /// In the second.
        after: Option<Value>,
    },
}

/// Every difference, sorted by key; more than `most` is an error.
///
/// # Errors
/// When either is damaged, or they differ in more than `most` places.
pub fn compare(before: &Hive<'_>, after: &Hive<'_>, most: usize) -> Result<Vec<Difference>, HiveError> {
    let mut found = Found { differences: Vec::new(), most };
    let mut rest = vec![(String::new(), Some(before.root()?), Some(after.root()?))];
    while let Some((path, left, right)) = rest.pop() {
        let pairs = match (left, right) {
            (Some(left), Some(right)) => {
                if left.security()? != right.security()? || left.class()? != right.class()? {
                    found.push(&path, Change::Security)?;
                }
                found.values(&path, Some(left), right)?;
                pairs(left.subkeys()?, right.subkeys()?)
            }
            (None, Some(right)) => {
                found.push(&path, Change::Added)?;
                found.values(&path, None, right)?;
                pairs(Vec::new(), right.subkeys()?)
            }
            (Some(left), None) => {
                let values = left.values()?.collect::<Result<Vec<Value>, HiveError>>()?;
                found.push(&path, Change::Removed { values })?;
                Vec::new()
            }
            (None, None) => Vec::new(),
        };
        // The last is looked at first.
        for (left, right) in pairs.into_iter().rev() {
            let name = right.or(left).map(|key| key.name()).unwrap_or_default();
            let path = if path.is_empty() { name } else { format!("{path}\\{name}") };
            rest.push((path, left, right));
        }
    }
    Ok(found.differences)
}

struct Found {
    differences: Vec<Difference>,
    most: usize,
}

impl Found {
    fn push(&mut self, key: &str, change: Change) -> Result<(), HiveError> {
        if self.differences.len() == self.most {
            return Err(HiveError::Unrecoverable("it differs in more places than were to be changed"));
        }
        self.differences.push(Difference { key: key.to_owned(), change });
        Ok(())
    }

    fn values(&mut self, path: &str, left: Option<Key<'_>>, right: Key<'_>) -> Result<(), HiveError> {
        let mut before = BTreeMap::new();
        if let Some(left) = left {
            for value in left.values()? {
                let value = value?;
                before.insert(value.name.to_uppercase(), value);
            }
        }
        for after in right.values()? {
            let after = after?;
            let before = before.remove(&after.name.to_uppercase());
            if before.as_ref() != Some(&after) {
                self.push(path, Change::Value { before, after: Some(after) })?;
            }
        }
        for value in before.into_values() {
            self.push(path, Change::Value { before: Some(value), after: None })?;
        }
        Ok(())
    }
}

type Pair<'h> = (Option<Key<'h>>, Option<Key<'h>>);

/// Keys of two lists that are in order, those of one name together.
fn pairs<'h>(left: Vec<Key<'h>>, right: Vec<Key<'h>>) -> Vec<Pair<'h>> {
    let mut pairs = Vec::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let which = match (left.peek(), right.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => name::order(&left.name(), &right.name()),
        };
        pairs.push(match which {
            Ordering::Less => (left.next(), None),
            Ordering::Greater => (None, right.next()),
            Ordering::Equal => (left.next(), right.next()),
        });
    }
}
