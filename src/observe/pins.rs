//! The formats that the state pinned: an image is read as what it was when it was restored.

use std::collections::BTreeMap;

use crate::image::{Format, OpenOptions};
use crate::model::Location;
use crate::state::{ImageFacts, Resource, State};

/// Formats by the image files that volumes were written from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins(BTreeMap<Location, Format>);

impl Pins {
    /// Those of a state. Where volumes were written from the same file in several formats (the
    /// user said so, then), none is pinned.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut found: BTreeMap<Location, Option<Format>> = BTreeMap::new();
        for resource in state.resources.values() {
            let Resource::Volume(volume) = resource else { continue };
            let Some(image) = volume.write.as_ref().map(|write| &write.image) else { continue };
            let format = image.format.parse().ok();
            let pinned = found.entry(image.path.clone()).or_insert(format);
            if *pinned != format {
                *pinned = None;
            }
        }
        Self(found.into_iter().filter_map(|(path, format)| Some((path, format?))).collect())
    }

    /// The format of an image file.
    #[must_use]
    pub fn get(&self, path: &Location) -> Option<Format> {
        self.0.get(path).copied()
    }
}

/// How to open an image that was planned with or written from: as it was then.
#[must_use]
pub fn as_recorded(facts: &ImageFacts) -> OpenOptions {
    OpenOptions {
        format: facts.format.parse().ok(),
        member: facts.member.clone(),
        snapshot: facts.snapshot.clone(),
        pinned: None,
    }
}
