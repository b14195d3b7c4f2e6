//! EC2's rules that need nothing but the request. Sources: the EC2 API reference (CreateVolume,
//! ModifyVolume, AttachVolume, error codes), the EBS volume types page, the tag restrictions.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use regex::{Regex, RegexBuilder};

use super::failure::Failure;
use crate::model::VolumeType;
use crate::provider::slots;
use crate::provider::types::TagMap;

/// Slots on the access node: xvdf … xvdz.
pub(super) const SLOTS: usize = 21;
/// Most volumes on one restored instance: Nitro's 28 attachments are shared with its network card.
pub(super) const MAX_VOLUMES: usize = 27;
/// Most characters of a client token.
const MAX_TOKEN: usize = 64;
/// Most tags of a resource.
const MAX_TAGS: usize = 50;
/// Most characters of a tag's key.
const MAX_KEY: usize = 128;
/// Most characters of a tag's value.
const MAX_VALUE: usize = 256;

/// A device name under the one spelling that all its spellings share: `/dev/sdf`, `/dev/xvdf`
/// and `xvdf` are the same place.
pub(super) fn slot(device: &str) -> Result<String, Failure> {
    slots::slot(device).ok_or_else(|| {
        Failure::value(format!(
            "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
        ))
    })
}

/// A zone exists when it lies in the region of the cloud's own zone.
pub(super) fn zone(zone: &str, home: &str) -> Result<(), Failure> {
    let region = |zone: &str| {
        let letter = zone.chars().last().filter(char::is_ascii_lowercase)?;
        zone.strip_suffix(letter).map(str::to_owned)
    };
    if zone == home || (region(zone).is_some() && region(zone) == region(home)) {
        return Ok(());
    }
    Err(Failure::parameter(
        "InvalidZone.NotFound",
        format!("The zone '{zone}' does not exist; this cloud's zone is '{home}'"),
    ))
}

/// A client token has at most 64 ASCII characters.
pub(super) fn token(token: &str) -> Result<(), Failure> {
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|c| (b' '..=b'~').contains(&c)) {
        return Err(Failure::value(format!(
            "a client token has 1 to {MAX_TOKEN} ASCII characters, this one is '{}'",
            token.escape_default()
        )));
    }
    Ok(())
}

/// The limits of tags.
pub(super) fn tags(tags: &TagMap) -> Result<(), Failure> {
    if tags.len() > MAX_TAGS {
        return Err(Failure::limit(
            "TagLimitExceeded",
            format!("a resource has at most {MAX_TAGS} tags, these are {}", tags.len()),
        ));
    }
    for (key, value) in tags {
        let length = key.chars().count();
        if length == 0 || length > MAX_KEY {
            return Err(Failure::value(format!(
                "Tag key '{key}' has {length} characters, not 1 to {MAX_KEY}"
            )));
        }
        if value.chars().count() > MAX_VALUE {
            return Err(Failure::value(format!(
                "The value of tag '{key}' has more than {MAX_VALUE} characters"
            )));
        }
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            return Err(Failure::value(format!("Tag keys starting with 'aws:' are reserved: '{key}'")));
        }
    }
    Ok(())
}

/// What a volume type allows.
struct Limits {
    /// GiB.
    size: RangeInclusive<u64>,
    /// Provisioned IOPS, when they can be provisioned.
    iops: Option<RangeInclusive<u32>>,
    /// Most provisioned IOPS a GiB.
    iops_per_gib: u64,
}

fn limits(volume_type: VolumeType) -> Limits {
    match volume_type {
        VolumeType::Gp3 => Limits { size: 1..=65_536, iops: Some(3_000..=80_000), iops_per_gib: 500 },
        VolumeType::Gp2 => Limits { size: 1..=16_384, iops: None, iops_per_gib: 0 },
        VolumeType::Io1 => Limits { size: 4..=16_384, iops: Some(100..=64_000), iops_per_gib: 50 },
        VolumeType::Io2 => Limits { size: 4..=65_536, iops: Some(100..=256_000), iops_per_gib: 1_000 },
        VolumeType::St1 | VolumeType::Sc1 => Limits { size: 125..=16_384, iops: None, iops_per_gib: 0 },
        VolumeType::Standard => Limits { size: 1..=1_024, iops: None, iops_per_gib: 0 },
    }
}

/// gp3's throughput in MiB/s.
const THROUGHPUT: RangeInclusive<u32> = 125..=2_000;
/// gp3's IOPS when none are provisioned.
const GP3_IOPS: u32 = 3_000;

/// A volume's shape as EC2 describes it: with the defaults of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) volume_type: VolumeType,
    /// GiB.
    pub(super) size: u64,
    pub(super) iops: Option<u32>,
    /// MiB/s.
    pub(super) throughput: Option<u32>,
}

impl Shape {
    /// Checks the shape that is asked for and fills in what EC2 would.
    pub(super) fn checked(self) -> Result<Self, Failure> {
        let Self { volume_type, size, iops, throughput } = self;
        let name = volume_type.as_str();
        let limits = limits(volume_type);
        if !limits.size.contains(&size) {
            return Err(Failure::value(format!(
                "Volume of {size}GiB is {} than the {} of {}GiB for volume type {name}",
                if size < *limits.size.start() { "smaller" } else { "larger" },
                if size < *limits.size.start() { "minimum" } else { "maximum" },
                if size < *limits.size.start() { limits.size.start() } else { limits.size.end() },
            )));
        }
        match (&limits.iops, iops) {
            (None, Some(_)) => {
                return Err(Failure::parameter(
                    "InvalidParameterCombination",
                    format!("The parameter iops is not supported for {name} volumes."),
                ));
            }
            (Some(_), None) if matches!(volume_type, VolumeType::Io1 | VolumeType::Io2) => {
                return Err(Failure::parameter(
                    "MissingParameter",
                    format!("The parameter iops must be specified for {name} volumes."),
                ));
            }
            (Some(range), Some(iops)) if !range.contains(&iops) => {
                return Err(Failure::value(format!(
                    "Volume iops of {iops} is not within {} to {} for volume type {name}",
                    range.start(),
                    range.end()
                )));
            }
            (Some(range), Some(iops))
                // gp3's 3,000 come with every size.
                if !(volume_type == VolumeType::Gp3 && iops == *range.start())
                    && u64::from(iops) > limits.iops_per_gib * size =>
            {
                return Err(Failure::value(format!(
                    "Iops to volume size ratio is too high; maximum is {}",
                    limits.iops_per_gib
                )));
            }
            _ => {}
        }
        let described_iops = match volume_type {
            VolumeType::Gp3 => Some(iops.unwrap_or(GP3_IOPS)),
            VolumeType::Gp2 => Some(u32::try_from((size * 3).clamp(100, 16_000)).unwrap_or(16_000)),
            _ => iops,
        };
        let described_throughput = match (volume_type, throughput) {
            (VolumeType::Gp3, None) => Some(*THROUGHPUT.start()),
            (VolumeType::Gp3, Some(wanted)) => {
                if !THROUGHPUT.contains(&wanted) {
                    return Err(Failure::value(format!(
                        "Throughput of {wanted} MiB/s is not within {} to {}",
                        THROUGHPUT.start(),
                        THROUGHPUT.end()
                    )));
                }
                if u64::from(wanted) * 4 > u64::from(described_iops.unwrap_or(GP3_IOPS)) {
                    return Err(Failure::value(
                        "Throughput (MiBps) to iops ratio is too high; maximum is 0.25 MiBps per iops",
                    ));
                }
                Some(wanted)
            }
            (_, Some(_)) => {
                return Err(Failure::parameter(
                    "InvalidParameterCombination",
                    format!("The parameter throughput is not supported for {name} volumes."),
                ));
            }
            (_, None) => None,
        };
        Ok(Self { volume_type, size, iops: described_iops, throughput: described_throughput })
    }
}

/// Addresses that no instance can have. (Which of them a subnet has is not known here.)
pub(super) fn private_ip(address: Ipv4Addr) -> Result<(), Failure> {
    let [first, ..] = address.octets();
    if first == 0 || first >= 224 || address.is_loopback() || address.is_link_local() {
        return Err(Failure::value(format!("Address {address} is not one that an instance can have")));
    }
    Ok(())
}

/// Security groups have ids.
pub(super) fn security_groups(ids: &[String]) -> Result<(), Failure> {
    match ids.iter().find(|id| !id.starts_with("sg-")) {
        Some(id) => Err(Failure::parameter(
            "InvalidGroup.NotFound",
            format!("The security group '{id}' does not exist"),
        )),
        None => Ok(()),
    }
}

/// A console pattern is a regular expression; lines are matched one by one or across (`^` and `$`
/// are a line's ends).
pub(super) fn pattern(pattern: &str) -> Result<Regex, Failure> {
    RegexBuilder::new(pattern)
        .multi_line(true)
        .build()
        .map_err(|error| Failure::value(format!("Invalid value '{pattern}' for console pattern: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(
        volume_type: VolumeType,
        size: u64,
        iops: Option<u32>,
        throughput: Option<u32>,
    ) -> Result<Shape, &'static str> {
        Shape { volume_type, size, iops, throughput }.checked().map_err(|failure| failure.code)
    }

    #[test]
    fn types_have_their_limits_and_defaults() {
        use VolumeType::{Gp2, Gp3, Io1, Io2, Sc1, St1, Standard};
        let value = Err("InvalidParameterValue");
        let combination = Err("InvalidParameterCombination");
        let shaped = |volume_type, size, iops, throughput| Ok(Shape { volume_type, size, iops, throughput });
        for (asked, expected) in [
            (shape(Gp3, 8, None, None), shaped(Gp3, 8, Some(3_000), Some(125))),
            (shape(Gp3, 8, Some(4_000), Some(1_000)), shaped(Gp3, 8, Some(4_000), Some(1_000))),
            (shape(Gp3, 8, Some(3_000), Some(1_000)), value),
            (shape(Gp3, 8, Some(4_001), None), value),
            (shape(Gp3, 1, Some(3_000), None), shaped(Gp3, 1, Some(3_000), Some(125))),
            (shape(Gp3, 0, None, None), value),
            (shape(Gp3, 65_537, None, None), value),
            (shape(Gp2, 1, None, None), shaped(Gp2, 1, Some(100), None)),
            (shape(Gp2, 1_000, None, None), shaped(Gp2, 1_000, Some(3_000), None)),
            (shape(Gp2, 10, Some(3_000), None), combination),
            (shape(Gp2, 10, None, Some(125)), combination),
            (shape(Io1, 10, None, None), Err("MissingParameter")),
            (shape(Io1, 100, Some(5_001), None), value),
            (shape(Io2, 100, Some(5_001), None), shaped(Io2, 100, Some(5_001), None)),
            (shape(Io1, 4, Some(201), None), value),
            (shape(Io2, 3, Some(100), None), value),
            (shape(St1, 124, None, None), value),
            (shape(Sc1, 125, None, None), shaped(Sc1, 125, None, None)),
            (shape(Standard, 1_025, None, None), value),
        ] {
            assert_eq!(asked, expected);
        }
    }

    #[test]
    fn a_device_has_one_spelling() {
        for (device, expected) in [
            ("xvdf", "xvdf"),
            ("/dev/xvdf", "xvdf"),
            ("/dev/sdf", "xvdf"),
            ("/dev/sda1", "xvda1"),
            ("/dev/xvdba", "xvdba"),
        ] {
            assert_eq!(slot(device).unwrap(), expected);
        }
        for wrong in ["", "/dev/", "nvme0n1", "xvd", "/dev/../xvdf", "xvdF", "xvdabc", "sda0", "hda"] {
            assert_eq!(slot(wrong).unwrap_err().code, "InvalidParameterValue", "{wrong}");
        }
    }

    #[test]
    fn zones_lie_in_the_region() {
        assert!(zone("local-1a", "local-1a").is_ok());
        assert!(zone("local-1b", "local-1a").is_ok());
        for wrong in ["", "local-2a", "local-1", "local-1é", "elsewhere"] {
            assert_eq!(zone(wrong, "local-1a").unwrap_err().code, "InvalidZone.NotFound", "{wrong}");
        }
    }

    #[test]
    fn tags_have_limits() {
        let many: TagMap = (0..=50).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(tags(&many).unwrap_err().code, "TagLimitExceeded");
        for (key, value) in [("", ""), ("AWS:x", ""), (&*"k".repeat(129), ""), ("k", &*"v".repeat(257))] {
            let one = TagMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(tags(&one).unwrap_err().code, "InvalidParameterValue", "{key}");
        }
        assert!(tags(&TagMap::from([("ü".repeat(128), "ü".repeat(256))])).is_ok());
    }
}
