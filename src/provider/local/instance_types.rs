//! Instance types: what a name says. Sources: EC2's documentation of instance types and of boot
//! modes. `aws` asks DescribeInstanceTypes; this table serves plans that are made without it, and
//! leaves out what it does not know, so that the plan can say so.

use crate::model::{Architecture, BootMode, Hypervisor};
use crate::provider::types::InstanceTypeFacts;

/// Sizes from `large` by powers of two and what lies between, as multiples of `xlarge`; 0 is
/// `large`.
type Sizes = &'static [u32];

/// Families of one kind share their memory for each processor and their sizes.
struct Kind {
    families: &'static [&'static str],
    hypervisor: Hypervisor,
    architecture: Architecture,
    /// MiB of memory for each processor.
    memory: u64,
    /// `medium` is one processor.
    medium: bool,
    sizes: Sizes,
    /// A `metal` size as large as the largest.
    metal: bool,
}

const LARGE: u32 = 0;
const UP_TO_24: Sizes = &[LARGE, 1, 2, 4, 8, 12, 16, 24];
const UP_TO_32: Sizes = &[LARGE, 1, 2, 4, 8, 12, 16, 24, 32];
const UP_TO_48: Sizes = &[LARGE, 1, 2, 4, 8, 12, 16, 24, 32, 48];
const UP_TO_16: Sizes = &[LARGE, 1, 2, 4, 8, 12, 16];
const UP_TO_96: Sizes = &[LARGE, 1, 2, 4, 8, 12, 16, 24, 32, 48, 96];

/// Volumes of a Nitro instance: 28 attachments, one of them its network interface ("Amazon EBS volume
/// limits for Amazon EC2 instances"; newer types have more, which only EC2 itself says).
const NITRO_VOLUMES: u32 = 27;

const NITRO: Hypervisor = Hypervisor::Nitro;
const XEN: Hypervisor = Hypervisor::Xen;
const X86: Architecture = Architecture::X86_64;
const ARM: Architecture = Architecture::Arm64;

const fn kind(
    families: &'static [&'static str],
    hypervisor: Hypervisor,
    architecture: Architecture,
    memory: u64,
    sizes: Sizes,
) -> Kind {
    Kind { families, hypervisor, architecture, memory, medium: false, sizes, metal: false }
}

const fn with_metal(mut kind: Kind) -> Kind {
    kind.metal = true;
    kind
}

const fn with_medium(mut kind: Kind) -> Kind {
    kind.medium = true;
    kind
}

const C: u64 = 2 << 10;
const M: u64 = 4 << 10;
const R: u64 = 8 << 10;

const KINDS: &[Kind] = &[
    // Nitro on Intel and AMD.
    with_metal(kind(&["m5", "m5d", "m5n", "m5dn"], NITRO, X86, M, UP_TO_24)),
    with_metal(kind(&["m5zn"], NITRO, X86, M, &[LARGE, 1, 2, 3, 6, 12])),
    kind(&["m5a", "m5ad"], NITRO, X86, M, UP_TO_24),
    with_metal(kind(&["m6i", "m6id", "m6in", "m6idn"], NITRO, X86, M, UP_TO_32)),
    with_metal(kind(&["m6a"], NITRO, X86, M, UP_TO_48)),
    kind(&["m7i", "m7a"], NITRO, X86, M, UP_TO_48),
    kind(&["m7i-flex"], NITRO, X86, M, UP_TO_16),
    kind(&["m8i", "m8a"], NITRO, X86, M, UP_TO_96),
    kind(&["m8i-flex"], NITRO, X86, M, UP_TO_16),
    with_metal(kind(&["c5", "c5d"], NITRO, X86, C, &[LARGE, 1, 2, 4, 9, 12, 18, 24])),
    kind(&["c5n"], NITRO, X86, 5376 / 2, &[LARGE, 1, 2, 4, 9, 18]),
    kind(&["c5a", "c5ad"], NITRO, X86, C, UP_TO_24),
    with_metal(kind(&["c6i", "c6id", "c6in"], NITRO, X86, C, UP_TO_32)),
    with_metal(kind(&["c6a"], NITRO, X86, C, UP_TO_48)),
    kind(&["c7i", "c7a"], NITRO, X86, C, UP_TO_48),
    kind(&["c7i-flex", "c8i-flex"], NITRO, X86, C, UP_TO_16),
    kind(&["c8i", "c8a"], NITRO, X86, C, UP_TO_96),
    with_metal(kind(&["r5", "r5d", "r5n", "r5dn", "r5b"], NITRO, X86, R, UP_TO_24)),
    kind(&["r5a", "r5ad"], NITRO, X86, R, UP_TO_24),
    with_metal(kind(&["r6i", "r6id", "r6in", "r6idn"], NITRO, X86, R, UP_TO_32)),
    with_metal(kind(&["r6a"], NITRO, X86, R, UP_TO_48)),
    kind(&["r7i", "r7a", "r7iz"], NITRO, X86, R, UP_TO_48),
    kind(&["r8i", "r8a"], NITRO, X86, R, UP_TO_96),
    with_metal(kind(&["z1d"], NITRO, X86, R, &[LARGE, 1, 2, 3, 6, 12])),
    with_metal(kind(&["i3en"], NITRO, X86, R, &[LARGE, 1, 2, 3, 6, 12, 24])),
    with_metal(kind(&["i4i"], NITRO, X86, R, UP_TO_32)),
    with_metal(kind(&["x2idn"], NITRO, X86, 16 << 10, &[16, 24, 32])),
    with_metal(kind(&["x2iedn"], NITRO, X86, 32 << 10, &[1, 2, 4, 8, 16, 24, 32])),
    // Nitro on Graviton.
    with_metal(with_medium(kind(&["a1"], NITRO, ARM, C, &[LARGE, 1, 2, 4]))),
    with_metal(with_medium(kind(&["m6g", "m6gd"], NITRO, ARM, M, UP_TO_16))),
    with_metal(with_medium(kind(&["m7g", "m7gd"], NITRO, ARM, M, UP_TO_16))),
    with_medium(kind(&["m8g", "m8gd"], NITRO, ARM, M, UP_TO_48)),
    with_metal(with_medium(kind(&["c6g", "c6gd"], NITRO, ARM, C, UP_TO_16))),
    with_medium(kind(&["c6gn"], NITRO, ARM, C, UP_TO_16)),
    with_metal(with_medium(kind(&["c7g", "c7gd", "c7gn"], NITRO, ARM, C, UP_TO_16))),
    with_medium(kind(&["c8g", "c8gd", "c8gn"], NITRO, ARM, C, UP_TO_48)),
    with_metal(with_medium(kind(&["r6g", "r6gd"], NITRO, ARM, R, UP_TO_16))),
    with_metal(with_medium(kind(&["r7g", "r7gd"], NITRO, ARM, R, UP_TO_16))),
    with_medium(kind(&["r8g", "r8gd"], NITRO, ARM, R, UP_TO_48)),
    with_metal(with_medium(kind(&["x2gd"], NITRO, ARM, 16 << 10, UP_TO_16))),
    kind(&["i4g"], NITRO, ARM, R, &[LARGE, 1, 2, 4, 8, 16]),
    with_medium(kind(&["im4gn"], NITRO, ARM, M, &[LARGE, 1, 2, 4, 8, 16])),
    with_medium(kind(&["is4gen"], NITRO, ARM, 6 << 10, &[LARGE, 1, 2, 4, 8])),
    // Xen: where memory follows the processors.
    kind(&["r4"], XEN, X86, 7808, &[LARGE, 1, 2, 4, 8, 16]),
    kind(&["r3"], XEN, X86, 7808, &[1, 2, 4, 8]),
    kind(&["i2"], XEN, X86, 7808, &[1, 2, 4, 8]),
    kind(&["i3"], XEN, X86, 7808, &[LARGE, 1, 2, 4, 8, 16]),
    kind(&["d2"], XEN, X86, 7808, &[1, 2, 4]),
    kind(&["m4"], XEN, X86, M, &[LARGE, 1, 2, 4, 16]),
    kind(&["c3", "c4"], XEN, X86, 1920, &[LARGE, 1, 2, 4]),
    kind(&["h1"], XEN, X86, M, &[2, 4, 8, 16]),
    kind(&["x1e"], XEN, X86, 31_232, &[1, 2, 4, 8, 16, 32]),
    kind(&["x1"], XEN, X86, 15_616, &[16, 32]),
    kind(&["f1"], XEN, X86, 15_616, &[2, 4, 16]),
];

/// Types that follow no rule: name, processors, MiB.
struct Single {
    hypervisor: Hypervisor,
    architecture: Architecture,
    types: &'static [(&'static str, u32, u64)],
}

const SINGLES: &[Single] = &[
    Single {
        hypervisor: XEN,
        architecture: X86,
        types: &[
            ("t1.micro", 1, 627),
            ("t2.nano", 1, 512),
            ("t2.micro", 1, 1024),
            ("t2.small", 1, 2048),
            ("t2.medium", 2, 4096),
            ("t2.large", 2, 8192),
            ("t2.xlarge", 4, 16_384),
            ("t2.2xlarge", 8, 32_768),
            ("m1.small", 1, 1740),
            ("m1.medium", 1, 3788),
            ("m1.large", 2, 7680),
            ("m1.xlarge", 4, 15_360),
            ("m2.xlarge", 2, 17_510),
            ("m2.2xlarge", 4, 35_020),
            ("m2.4xlarge", 8, 70_041),
            ("m3.medium", 1, 3840),
            ("m3.large", 2, 7680),
            ("m3.xlarge", 4, 15_360),
            ("m3.2xlarge", 8, 30_720),
            ("m4.10xlarge", 40, 163_840),
            ("c1.medium", 2, 1740),
            ("c1.xlarge", 8, 7168),
            ("c3.8xlarge", 32, 61_440),
            ("c4.8xlarge", 36, 61_440),
            ("cc2.8xlarge", 32, 61_952),
            ("r3.large", 2, 15_360),
            ("d2.8xlarge", 36, 249_856),
            ("g2.2xlarge", 8, 15_360),
            ("g2.8xlarge", 32, 61_440),
            ("g3s.xlarge", 4, 31_232),
            ("g3.4xlarge", 16, 124_928),
            ("g3.8xlarge", 32, 249_856),
            ("g3.16xlarge", 64, 499_712),
            ("p2.xlarge", 4, 62_464),
            ("p2.8xlarge", 32, 499_712),
            ("p2.16xlarge", 64, 749_568),
            ("p3.2xlarge", 8, 62_464),
            ("p3.8xlarge", 32, 249_856),
            ("p3.16xlarge", 64, 499_712),
        ],
    },
    Single {
        hypervisor: NITRO,
        architecture: X86,
        types: &[("i3.metal", 72, 524_288), ("p3dn.24xlarge", 96, 786_432)],
    },
];

/// Families with bursts: processors and MiB by size.
const BURSTABLE: [(&str, u32, u64); 7] = [
    ("nano", 2, 512),
    ("micro", 2, 1024),
    ("small", 2, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16_384),
    ("2xlarge", 8, 32_768),
];

/// What a type is; `None` when this table does not know it.
#[must_use]
pub fn instance_type(name: &str) -> Option<InstanceTypeFacts> {
    for single in SINGLES {
        if let Some((_, vcpus, memory)) = single.types.iter().find(|(known, _, _)| *known == name) {
            return Some(facts(name, single.hypervisor, single.architecture, *vcpus, *memory));
        }
    }
    let (family, size) = name.split_once('.')?;
    let burstable = match family {
        "t3" | "t3a" => Some(X86),
        "t4g" => Some(ARM),
        _ => None,
    };
    if let Some(architecture) = burstable {
        let (_, vcpus, memory) = BURSTABLE.iter().find(|(known, _, _)| *known == size)?;
        return Some(facts(name, NITRO, architecture, *vcpus, *memory));
    }
    let kind = KINDS.iter().find(|kind| kind.families.contains(&family))?;
    let sized_metal = family.as_bytes().get(1).is_some_and(|generation| (b'7'..=b'9').contains(generation));
    let vcpus = kind.vcpus(size, sized_metal)?;
    Some(facts(name, kind.hypervisor, kind.architecture, vcpus, kind.memory * u64::from(vcpus)))
}

impl Kind {
    /// `sized_metal`: from the seventh generation on, `metal` is followed by its size.
    fn vcpus(&self, size: &str, sized_metal: bool) -> Option<u32> {
        let multiple = match size {
            "medium" => return self.medium.then_some(1),
            "large" => LARGE,
            "xlarge" => 1,
            "metal" if self.metal => *self.sizes.last()?,
            _ => {
                let metal = || size.strip_prefix("metal-")?.strip_suffix("xl").filter(|_| sized_metal);
                let digits = size.strip_suffix("xlarge").or_else(metal)?;
                // `01xlarge` and `+2xlarge` are no sizes.
                let plain = digits.bytes().all(|c| c.is_ascii_digit()) && !digits.starts_with('0');
                digits.parse().ok().filter(|multiple| plain && *multiple > 1)?
            }
        };
        self.sizes.contains(&multiple).then(|| (multiple * 4).max(2))
    }
}

fn facts(
    name: &str,
    hypervisor: Hypervisor,
    architecture: Architecture,
    vcpus: u32,
    memory: u64,
) -> InstanceTypeFacts {
    let boot_modes: &[BootMode] = match (hypervisor, architecture) {
        (Hypervisor::Xen, _) => &[BootMode::LegacyBios],
        (Hypervisor::Nitro, Architecture::Arm64) => &[BootMode::Uefi],
        (Hypervisor::Nitro, _) => &[BootMode::LegacyBios, BootMode::Uefi],
    };
    InstanceTypeFacts {
        name: name.to_owned(),
        hypervisor,
        architecture,
        boot_modes: boot_modes.iter().copied().collect(),
        ena_required: hypervisor == Hypervisor::Nitro,
        vcpus,
        memory,
        max_volumes: (hypervisor == Hypervisor::Nitro).then_some(NITRO_VOLUMES),
        max_interfaces: Some(max_interfaces(name)),
        // One limit for all Nitro types here, whatever else is attached.
        shares_limit: false,
        ebs_bandwidth: None,
    }
}

/// The most network interfaces of a size (EC2 User Guide, "Maximum IP addresses per network
/// interface"; some families have fewer or more).
fn max_interfaces(name: &str) -> u32 {
    let (family, size) = name.split_once('.').unwrap_or_default();
    match size {
        "nano" | "micro" => 2,
        "small" => 3,
        "medium" if family.starts_with('t') => 3,
        "medium" => 2,
        "large" => 3,
        "xlarge" | "2xlarge" => 4,
        "4xlarge" | "8xlarge" | "9xlarge" | "10xlarge" | "12xlarge" => 8,
        _ => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_what_ec2_says() {
        for (name, hypervisor, architecture, vcpus, gib) in [
            ("m6i.large", NITRO, X86, 2, 8),
            ("m5.24xlarge", NITRO, X86, 96, 384),
            ("m5.metal", NITRO, X86, 96, 384),
            ("m6i.metal", NITRO, X86, 128, 512),
            ("m6a.metal", NITRO, X86, 192, 768),
            ("m7i.metal-24xl", NITRO, X86, 96, 384),
            ("c5.9xlarge", NITRO, X86, 36, 72),
            ("r6g.medium", NITRO, ARM, 1, 8),
            ("t3.micro", NITRO, X86, 2, 1),
            ("t4g.2xlarge", NITRO, ARM, 8, 32),
            ("t2.micro", XEN, X86, 1, 1),
            ("m4.10xlarge", XEN, X86, 40, 160),
            ("r4.2xlarge", XEN, X86, 8, 61),
            ("x1e.32xlarge", XEN, X86, 128, 3904),
            ("i3.metal", NITRO, X86, 72, 512),
            ("i3.16xlarge", XEN, X86, 64, 488),
        ] {
            let facts = instance_type(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(
                (facts.hypervisor, facts.architecture, facts.vcpus),
                (hypervisor, architecture, vcpus),
                "{name}"
            );
            assert_eq!(facts.memory >> 10, gib, "{name}");
        }
    }

    #[test]
    fn boot_modes_follow_the_machine() {
        let modes = |name| instance_type(name).unwrap().boot_modes.into_iter().collect::<Vec<_>>();
        assert_eq!(modes("t2.micro"), [BootMode::LegacyBios]);
        assert_eq!(modes("m6i.large"), [BootMode::LegacyBios, BootMode::Uefi]);
        assert_eq!(modes("m7g.large"), [BootMode::Uefi]);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        for name in [
            "",
            "m6i",
            "m6i.",
            ".large",
            "m99.large",
            "m6i.huge",
            "m6i.3xlarge",
            "m6i.02xlarge",
            "m6i.1xlarge",
            "m6i.0xlarge",
            "m6i.+2xlarge",
            "m6i.medium",
            "m5a.metal",
            "m5.metal-24xl",
            "m6i.99999999999xlarge",
            "m6i.large.large",
        ] {
            assert_eq!(instance_type(name), None, "{name}");
        }
    }
}
