//! Which of several root filesystems boots, told from what the guest's own files say.

use std::collections::BTreeSet;

/// What a boot loader's default entry, or an fstab's line of `/`, names as the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Where it stands, and what it says.
    pub evidence: String,
    /// The roots that it names, by their places in the list; several when they share a name.
    pub names: BTreeSet<usize>,
    /// Whether it names something that is none of them: a filesystem that could not be looked into.
    pub elsewhere: bool,
    /// Whether it names the btrfs that its own root is on, and no subvolume: any of them may be it.
    pub any_subvolume: bool,
}

impl Claim {
    /// Whether an fstab's own root, with this place in the list, may be what it names.
    fn allows(&self, own: usize) -> bool {
        self.names.is_empty() || self.names.contains(&own) || self.any_subvolume
    }
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// This one boots.
    One {
        /// Its place in the list.
        index: usize,
        /// What says so.
        why: String,
    },
    /// These share the name that the root is mounted by.
    Same(BTreeSet<usize>),
    /// The files contradict each other, or say nothing.
    Undecided,
}

/// Chooses: the boot loaders of the disk that boots decide, unless the fstab of the root that they
/// name says that another is it. Where they name none, the root does that names itself alone.
/// `fstabs` has one for each root, in their order.
#[must_use]
pub fn choose(fstabs: &[Claim], loaders: &[Claim]) -> Choice {
    if let Some(shared) = loaders.iter().find(|claim| claim.names.len() > 1) {
        return Choice::Same(shared.names.clone());
    }
    let named: BTreeSet<usize> = loaders.iter().flat_map(|claim| claim.names.iter().copied()).collect();
    let elsewhere = loaders.iter().any(|claim| claim.elsewhere);
    let mut named = named.into_iter();
    match (named.next(), named.next()) {
        (Some(index), None) if !elsewhere => {
            let own = fstabs.get(index).is_none_or(|own| own.allows(index));
            let why = loaders.iter().find(|claim| claim.names.contains(&index));
            let why = why.map(|claim| claim.evidence.clone()).unwrap_or_default();
            if own { Choice::One { index, why } } else { Choice::Undecided }
        }
        (None, _) if !elsewhere => by_fstab(fstabs),
        _ => Choice::Undecided,
    }
}

fn by_fstab(fstabs: &[Claim]) -> Choice {
    let mut own = fstabs.iter().enumerate().filter(|(index, claim)| claim.names.contains(index));
    match (own.next(), own.next()) {
        (Some((_, claim)), _) if claim.names.len() > 1 => Choice::Same(claim.names.clone()),
        (Some((index, claim)), None) => Choice::One { index, why: claim.evidence.clone() },
        _ => Choice::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(names: &[usize]) -> Claim {
        Claim { evidence: format!("{names:?}"), names: names.iter().copied().collect(), ..Claim::default() }
    }

    fn one(index: usize) -> Choice {
        Choice::One { index, why: format!("[{index}]") }
    }

    #[test]
    fn the_loader_decides_and_the_fstab_may_contradict() {
        let own = [claim(&[0]), claim(&[1])];
        assert_eq!(choose(&own, &[claim(&[1])]), one(1));
        assert_eq!(choose(&own, &[claim(&[1]), claim(&[]), claim(&[1])]), one(1));
        assert_eq!(choose(&[claim(&[]), claim(&[])], &[claim(&[1])]), one(1));
        // A copy whose fstab is the original's, and a loader that starts the copy.
        assert_eq!(choose(&[claim(&[0]), claim(&[0])], &[claim(&[1])]), Choice::Undecided);
        assert_eq!(choose(&[claim(&[0]), claim(&[0])], &[claim(&[0])]), one(0));
        // Snapshots of SUSE's, whose fstab names no subvolume.
        let any = Claim { any_subvolume: true, ..claim(&[0]) };
        assert_eq!(choose(&[any.clone(), any], &[claim(&[1])]), one(1));
        // Two loaders on the disk, each with its own.
        assert_eq!(choose(&own, &[claim(&[0]), claim(&[1])]), Choice::Undecided);
    }

    #[test]
    fn without_a_loader_the_one_that_names_itself() {
        assert_eq!(choose(&[claim(&[]), claim(&[1])], &[]), one(1));
        assert_eq!(choose(&[claim(&[1]), claim(&[1])], &[claim(&[])]), one(1));
        assert_eq!(choose(&[claim(&[0]), claim(&[1])], &[]), Choice::Undecided);
        assert_eq!(choose(&[claim(&[]), claim(&[])], &[]), Choice::Undecided);
        let elsewhere = Claim { elsewhere: true, ..claim(&[]) };
        assert_eq!(choose(&[claim(&[0]), claim(&[])], &[elsewhere]), Choice::Undecided);
    }

    #[test]
    fn one_name_for_two() {
        let both = claim(&[0, 1]);
        let same = Choice::Same([0, 1].into());
        assert_eq!(choose(&[both.clone(), both.clone()], std::slice::from_ref(&both)), same);
        assert_eq!(choose(&[both.clone(), both], &[]), same);
    }
}
