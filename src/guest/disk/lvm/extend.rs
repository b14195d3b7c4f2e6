//! A physical volume that became larger, and a logical volume that takes what it gained: edits of
//! the group's text.

use std::ops::Range;

use super::group::{Group, SegmentKind};
use super::text::{self, Section};

/// Why nothing is extended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtendError {
    /// The physical volume has no room for another extent.
    #[error("there is no room for another extent of LVM's")]
    NoRoom,
    /// The logical volume is not of the simple kind.
    #[error("logical volume {name} is {kind}; only linear volumes grow")]
    Kind {
        /// The volume.
        name: String,
        /// What it is.
        kind: String,
    },
    /// The text cannot be edited.
    #[error("LVM's description cannot be edited")]
    Text,
}

/// What an extension gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended {
    /// The group's new text.
    pub text: String,
    /// The logical volume's old and new size in extents.
    pub extents: (u64, u64),
}

/// Gives all that physical volume `physical` gains at `sectors` sectors to the end of `logical`.
///
/// # Errors
/// [`ExtendError`].
pub fn extend(group: &Group, physical: &str, sectors: u64, logical: &str) -> Result<Extended, ExtendError> {
    let owner = group.physical.iter().find(|found| found.name == physical).ok_or(ExtendError::Text)?;
    let volume = group.logical(logical).ok_or(ExtendError::Text)?;
    let count = sectors.saturating_sub(owner.start) / group.extent;
    let gained = count.checked_sub(owner.count).filter(|gained| *gained > 0).ok_or(ExtendError::NoRoom)?;
    for segment in &volume.segments {
        let kind = match &segment.kind {
            SegmentKind::Striped { areas, .. } if areas.len() == 1 => continue,
            SegmentKind::Striped { .. } => "striped",
            SegmentKind::Raid { level, .. } => level,
            SegmentKind::Mirror { .. } => "mirrored",
            SegmentKind::Thin { .. } | SegmentKind::ThinPool { .. } => "thin",
            SegmentKind::Snapshot { .. } => "a snapshot",
            SegmentKind::Other(kind) => kind,
        };
        return Err(ExtendError::Kind { name: logical.to_owned(), kind: kind.to_owned() });
    }
    let snapshot =
        |kind: &SegmentKind| matches!(kind, SegmentKind::Snapshot { origin, .. } if origin == logical);
    if group.logical.iter().flat_map(|found| &found.segments).any(|segment| snapshot(&segment.kind)) {
        return Err(ExtendError::Kind {
            name: logical.to_owned(),
            kind: "the origin of a snapshot".to_owned(),
        });
    }
    let last = volume.segments.last().ok_or(ExtendError::Text)?;
    let continues = match &last.kind {
        SegmentKind::Striped { areas, .. } => areas
            .first()
            .is_some_and(|(name, first)| name == physical && first.saturating_add(last.count) == owner.count),
        _ => false,
    };
    let mut edits = Edits::new(group).ok_or(ExtendError::Text)?;
    edits.number(&[], "seqno", group.sequence.saturating_add(1))?;
    edits.number(&["physical_volumes", physical], "dev_size", sectors)?;
    edits.number(&["physical_volumes", physical], "pe_count", count)?;
    let path = ["logical_volumes", logical];
    if continues {
        edits.number(&[path[0], path[1], &last.name], "extent_count", last.count.saturating_add(gained))?;
    } else {
        let number = volume.segments.len() + 1;
        edits.number(&path, "segment_count", number as u64)?;
        let text = format!(
            "segment{number} {{\nstart_extent = {}\nextent_count = {gained}\n\ntype = \"striped\"\n\
             stripe_count = 1\n\nstripes = [\n\"{physical}\", {}\n]\n}}\n",
            volume.extents(),
            owner.count
        );
        edits.append(&path, text)?;
    }
    Ok(Extended { text: edits.apply(), extents: (volume.extents(), volume.extents().saturating_add(gained)) })
}

struct Edits<'a> {
    group: &'a Group,
    tree: Section,
    changes: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    fn new(group: &'a Group) -> Option<Self> {
        let tree = text::parse(&group.text).ok()?;
        Some(Self { group, tree, changes: Vec::new() })
    }

    fn section(&self, path: &[&str]) -> Result<(&Section, Range<usize>), ExtendError> {
        let mut section = &self.tree;
        let mut place = 0..self.group.text.len();
        for name in std::iter::once(&self.group.name.as_str()).chain(path) {
            let entry = section.get(name).ok_or(ExtendError::Text)?;
            section = entry.section().ok_or(ExtendError::Text)?;
            place = entry.place.clone();
        }
        Ok((section, place))
    }

    fn number(&mut self, path: &[&str], name: &str, value: u64) -> Result<(), ExtendError> {
        let place = self.section(path)?.0.get(name).ok_or(ExtendError::Text)?.place.clone();
        self.changes.push((place, value.to_string()));
        Ok(())
    }

    fn append(&mut self, path: &[&str], text: String) -> Result<(), ExtendError> {
        let end = self.section(path)?.1.end;
        self.changes.push((end..end, text));
        Ok(())
    }

    fn apply(mut self) -> String {
        self.changes.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let mut text = self.group.text.clone();
        for (place, value) in self.changes {
            text.replace_range(place, &value);
        }
        text
    }
}
