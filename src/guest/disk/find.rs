//! Finding the guest's root among its filesystems: the one that boots.

use super::choice::{self, Choice, Claim};
use super::findings;
use super::layout::{Layout, Place, Volume};
use super::roots::{self, Candidate};
use super::said::{self, Named, Said};
use crate::guest::report::Finding;

/// Most roots that are told apart.
const MOST_ROOTS: usize = 128;

/// A guest's root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Where it is.
    pub place: Place,
    /// The mount options that choose its subvolume, when it is on a btrfs and not the default one.
    pub subvolume: Option<String>,
}

/// What came of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// The root that boots.
    Found(Root),
    /// There are several, and it cannot be told which of them boots.
    Undecided,
    /// There is no Linux root that can be looked into.
    Nothing,
}

impl Search {
    /// The root.
    #[must_use]
    pub fn found(self) -> Option<Root> {
        match self {
            Self::Found(root) => Some(root),
            Self::Undecided | Self::Nothing => None,
        }
    }
}

/// The roots, and what their own files say of the one that boots.
struct Roots<'l> {
    layout: &'l Layout,
    roots: Vec<Candidate>,
    /// One for each root.
    fstabs: Vec<Claim>,
    /// Of boot loaders on the disk that boots, or of all where it has none.
    loaders: Vec<Claim>,
    /// How all of these name the root.
    sources: Vec<String>,
    /// Whether something that may hold a root could not be looked into.
    closed: bool,
}

/// Finds the root, and says what a person should know of the search.
pub fn root(layout: &Layout, notes: &mut Vec<Finding>) -> Search {
    let found = roots::find(layout);
    let closed = findings::closed(layout);
    let unknown = !(found.unmountable.is_empty() && layout.stack.troubles.is_empty() && closed.is_empty());
    let mut roots = Roots::new(layout, found.roots, unknown);
    let choice = match roots.roots.len() {
        0 => None,
        1 if !roots.wants_proof() => Some(Choice::One { index: 0, why: String::new() }),
        _ => Some(roots.choose()),
    };
    let one = match &choice {
        Some(Choice::One { index, .. }) => roots.roots.get(*index),
        _ => None,
    };
    let root = one.map(|root| Root { place: root.place, subvolume: root.options.clone() });
    // What cannot be looked into may be the root itself, unless this one is known to be it.
    let needed = root.as_ref().is_none_or(|root| unknown && !roots.is_proved(root.place));
    for (place, error) in &found.unmountable {
        notes.extend(
            layout.volume(*place).map(|volume| findings::cannot_mount(layout, volume, error, needed)),
        );
    }
    let troubles = findings::of_stack(layout, needed, root.as_ref().map(|root| root.place));
    match &choice {
        Some(choice) => {
            notes.extend(roots.tell(choice));
            if needed && root.is_some() {
                notes.extend(closed);
            }
            notes.extend(findings::other_systems(layout));
            notes.extend(findings::of_order(layout));
        }
        None if found.unmountable.is_empty() => notes.extend(findings::no_root(layout, !troubles.is_empty())),
        None => {}
    }
    notes.extend(findings::with_errors(layout));
    notes.extend(troubles);
    match (root, choice) {
        (Some(root), _) => Search::Found(root),
        (None, Some(_)) => Search::Undecided,
        (None, None) => Search::Nothing,
    }
}

impl<'l> Roots<'l> {
    fn new(layout: &'l Layout, roots: Vec<Candidate>, closed: bool) -> Self {
        let (fstabs, loaders, sources) = (Vec::new(), Vec::new(), Vec::new());
        Self { layout, roots, fstabs, loaders, sources, closed }
    }

    /// Whether the only root may not be the one that boots: it is not on the disk that boots, there
    /// is what cannot be looked into, or it is one subvolume of many.
    fn wants_proof(&self) -> bool {
        self.closed
            || self.roots.iter().any(|root| root.subvolume.is_some() || !self.is_on_boot_disk(root.place))
    }

    fn is_on_boot_disk(&self, place: Place) -> bool {
        self.layout.disks_of(place).contains(&self.layout.boot_disk())
    }

    /// Reads what every root says; a root that only a boot loader or an fstab names is one more.
    fn choose(&mut self) -> Choice {
        let mut loaders: Vec<(Place, Named)> = Vec::new();
        let mut index = 0;
        while let Some(root) = self.roots.get(index).filter(|_| index < MOST_ROOTS).cloned() {
            // What cannot be mounted again says nothing.
            let Said { fstab, loader } = said::read(self.layout, &root).unwrap_or_default();
            let mut claim = fstab.as_ref().map(|named| self.claim(named)).unwrap_or_default();
            claim.any_subvolume = fstab.as_ref().is_some_and(|named| {
                let volumes = self.layout.named(&named.source);
                let own = |volume: &&Volume| roots::first(self.layout, volume).place == root.place;
                root.subvolume.is_some() && named.subvolume.is_none() && volumes.iter().any(own)
            });
            if claim.names.contains(&index) {
                self.sources.extend(fstab.map(|named| named.source));
            }
            self.fstabs.push(claim);
            if let Some((place, named)) = loader {
                self.claim(&named);
                loaders.push((place, named));
            }
            index += 1;
        }
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            loaders.into_iter().partition(|(place, _)| self.is_on_boot_disk(*place));
        for (_, named) in if here.is_empty() { elsewhere } else { here } {
            let claim = self.claim(&named);
            self.loaders.push(claim);
            self.sources.push(named.source);
        }
        if self.roots.len() == 1 {
            return Choice::One { index: 0, why: String::new() };
        }
        match choice::choose(&self.fstabs, &self.loaders) {
            Choice::One { index, why } => self.unless_copied(index, why),
            other => other,
        }
    }

    /// Preparation names by its UUID what is named by its controller: the copies have that too.
    fn unless_copied(&self, index: usize, why: String) -> Choice {
        let Some(root) = self.roots.get(index) else { return Choice::Undecided };
        let own = |source: &String| {
            source.starts_with("/dev/")
                && !source.starts_with("/dev/disk/by-part")
                && root.place.disk().is_some()
        };
        let copies = roots::copies(self.layout, root.place);
        if copies.is_empty() || !self.sources.iter().any(own) {
            return Choice::One { index, why };
        }
        let copied = |(_, other): &(usize, &Candidate)| copies.contains(&other.place);
        let others = self.roots.iter().enumerate().filter(copied).map(|(index, _)| index);
        Choice::Same(others.chain([index]).collect())
    }

    /// The roots that are named. One that was not found before is found by its name.
    fn claim(&mut self, named: &Named) -> Claim {
        let mut claim = Claim { evidence: named.evidence.clone(), ..Claim::default() };
        let volumes = self.layout.named(&named.source);
        // Controllers' names are not looked up on what is not there.
        let lasting = named.source.contains('=') || named.source.starts_with("/dev/mapper/");
        claim.elsewhere = volumes.is_empty() && lasting && self.closed;
        for volume in volumes {
            let volume = roots::first(self.layout, volume);
            let found = match volume.content.kind {
                "btrfs" => roots::at(self.layout, volume, named.subvolume.as_deref()).ok().flatten(),
                _ => self.roots.iter().find(|root| root.place == volume.place).cloned(),
            };
            let Some(found) = found else {
                claim.elsewhere |= volume.content.kind != "btrfs";
                continue;
            };
            let index = self.roots.iter().position(|root| root.is(&found)).unwrap_or_else(|| {
                self.roots.push(found);
                self.roots.len() - 1
            });
            claim.names.insert(index);
        }
        claim
    }

    /// Whether the root's own files say that it boots, or it is on the disk that boots and none
    /// says otherwise.
    fn is_proved(&self, place: Place) -> bool {
        let of_place = |index: &usize| self.roots.get(*index).is_some_and(|root| root.place == place);
        let names = |claim: &Claim| claim.names.iter().any(of_place);
        if self.loaders.iter().any(|claim| claim.elsewhere) {
            return false;
        }
        self.loaders.iter().any(names) || self.is_on_boot_disk(place)
    }

    fn tell(&self, choice: &Choice) -> Option<Finding> {
        let name = |root: &Candidate| root.name(self.layout);
        match choice {
            Choice::One { .. } if self.roots.len() == 1 => None,
            Choice::One { index, why } => {
                let others = self.roots.iter().enumerate().filter(|(other, _)| other != index);
                let others: Vec<String> = others.map(|(_, root)| name(root)).collect();
                Some(findings::one_of_several(&name(self.roots.get(*index)?), why, &others))
            }
            Choice::Same(same) => {
                let same = same.iter().filter_map(|index| self.roots.get(*index));
                Some(findings::root_twice(&same.map(name).collect::<Vec<_>>()))
            }
            Choice::Undecided => {
                let evidence = |claim: &Claim| claim.evidence.clone();
                let said = self.loaders.iter().chain(&self.fstabs).map(evidence);
                let mut lines: Vec<String> = self.roots.iter().map(name).collect();
                for line in said.filter(|line| !line.is_empty()) {
                    if !lines.contains(&line) {
                        lines.push(line);
                    }
                }
                Some(findings::several_roots(&lines))
            }
        }
    }
}
