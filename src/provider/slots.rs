//! Device names: one spelling for the many of one place, and the slots of the access node.
//!
//! Source: "Device names for volumes on Amazon EC2 instances" (HVM: `/dev/sd[f-p]` recommended,
//! `/dev/xvd[f-z]` and `/dev/xvd[b-c][a-z]` available).

/// A device name under the one spelling that all its spellings share: `/dev/sdf`, `/dev/xvdf`
/// and `xvdf` are the same place. `None` for what is no name of an EBS volume.
pub(super) fn slot(device: &str) -> Option<String> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let rest = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd"))?;
    let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &rest[letters.len()..];
    let valid = (1..=2).contains(&letters.len())
        && letters.bytes().all(|c| c.is_ascii_lowercase())
        && digits.len() <= 2
        && !digits.starts_with('0');
    valid.then(|| format!("xvd{rest}"))
}

/// Whether two device names are one place.
#[must_use]
pub fn is_same_device(one: &str, other: &str) -> bool {
    one == other || (slot(one).is_some() && slot(one) == slot(other))
}

/// The access node's slots on every instance type, in the order to use them: xvdf … xvdz.
pub(super) fn slots() -> impl Iterator<Item = String> {
    ('f'..='z').map(|letter| format!("xvd{letter}"))
}

/// Slots beyond xvdz, which Nitro instances have when their type takes more volumes: xvdba … xvdcz.
fn far_slots() -> impl Iterator<Item = String> {
    ('b'..='c').flat_map(|first| ('a'..='z').map(move |second| format!("xvd{first}{second}")))
}

/// Every name that a volume of ours may have on an access node.
pub(super) fn all_slots() -> impl Iterator<Item = String> {
    slots().chain(far_slots())
}

/// Whether a device name of an access node is a slot: what is attached under another name is the
/// node's own.
#[must_use]
pub fn is_slot(device: &str) -> bool {
    slot(device).is_some_and(|slot| all_slots().any(|name| name == slot))
}
