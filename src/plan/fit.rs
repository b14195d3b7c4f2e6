//! Whether a guest fits an instance type: processor, firmware, and drivers that are new enough.
//!
//! A function of facts alone, so that neither a recipe nor its cache depends on the type. What the
//! recipe itself depends on (which hypervisor's drivers an initramfs needs) is found in the guest.

use crate::guest::report::{DriverPlace, Finding, FindingSeverity, GuestFacts, KernelFacts};
use crate::model::{Architecture, BootMode, Firmware, Hypervisor};
use crate::provider::InstanceTypeFacts;

/// Types that run 32-bit systems: those of which `SupportedArchitectures` of DescribeInstanceTypes has
/// `i386` (all 1,395 types as moto 5.2.5 recorded them).
const RUNS_I386: [&str; 9] = [
    "t1.micro",
    "t2.nano",
    "t2.micro",
    "t2.small",
    "t2.medium",
    "m1.small",
    "m1.medium",
    "c1.medium",
    "c3.large",
];
/// Families of the sixth generation whose Nitro cards are of the second, which ask no more of ENA
/// than the fifth (EC2's list "Instances built on the Nitro System").
const OLD_CARDS: [&str; 6] = ["c6g", "c6gd", "m6g", "m6gd", "r6g", "r6gd"];
/// Families of smaller numbers with cards of the fourth generation.
const NEW_CARDS: [&str; 7] = ["i4i", "i4g", "im4gn", "is4gen", "x2idn", "x2iedn", "x2iezn"];
/// ENA drivers before this do not attach on Nitro cards of the fourth generation and later (AWS
/// re:Post, "migrating to a sixth generation instance").
const ENA_ATTACHES: (u32, u32, u32) = (1, 2, 0);
/// ENA drivers before this are slow there (the same).
const ENA_FAST: (u32, u32, u32) = (2, 2, 9);
/// The kernel's own ENA driver has what 2.2.9 has since this release (the commit "net: ena: support
/// new LLQ acceleration mode").
const KERNEL_ENA_FAST: (u32, u32) = (5, 9);
/// The first kernel whose NVMe driver AWS supports for EBS on Nitro, but for distributions that
/// carried it back (EC2's documentation, "Amazon EBS volumes and NVMe": SLES 12 SP2 and Ubuntu's
/// linux-aws have 4.4).
const NVME: (u32, u32) = (4, 4);
/// The build of RHEL 7.4's kernel, 3.10.0-693.
const EL7_NVME: u32 = 693;

/// What [`any`] calls itself.
const ANY_NITRO: &str = "any Nitro-based type";
const ANY_XEN: &str = "any Xen-based type";

/// What all types of a hypervisor and architecture have in common, for a guest whose type is not
/// chosen yet.
#[must_use]
pub fn any(hypervisor: Hypervisor, guest: Architecture) -> InstanceTypeFacts {
    let (name, architecture, modes): (_, _, &[BootMode]) = match (hypervisor, guest) {
        (Hypervisor::Xen, _) => (ANY_XEN, Architecture::X86_64, &[BootMode::LegacyBios]),
        (Hypervisor::Nitro, Architecture::Arm64) => (ANY_NITRO, Architecture::Arm64, &[BootMode::Uefi]),
        (Hypervisor::Nitro, _) => (ANY_NITRO, Architecture::X86_64, &[BootMode::LegacyBios, BootMode::Uefi]),
    };
    InstanceTypeFacts {
        name: name.to_owned(),
        hypervisor,
        architecture,
        boot_modes: modes.iter().copied().collect(),
        ena_required: hypervisor == Hypervisor::Nitro,
        vcpus: 0,
        memory: 0,
        max_volumes: None,
        max_interfaces: None,
        shares_limit: false,
        ebs_bandwidth: None,
    }
}

/// The firmware that a guest is started by: its own; of one that boots either way, what its appliance
/// says of the old machine.
#[must_use]
pub fn firmware(guest: &GuestFacts, told: Option<Firmware>) -> Firmware {
    told.filter(|_| guest.boots_either_firmware).unwrap_or(guest.firmware)
}

/// Everything that stands between a guest and an instance type: what blocks first.
#[must_use]
pub fn judge(guest: &GuestFacts, kind: &InstanceTypeFacts) -> Vec<Finding> {
    let mode = match guest.firmware {
        Firmware::Bios => BootMode::LegacyBios,
        Firmware::Uefi => BootMode::Uefi,
    };
    let other = kind.boot_modes.iter().next().copied().filter(|_| guest.boots_either_firmware);
    let mode = if kind.boot_modes.contains(&mode) { mode } else { other.unwrap_or(mode) };
    shape(guest.architecture, mode, kind).into_iter().chain(drivers(guest, kind)).collect()
}

/// What of processor and firmware the type does not have.
#[must_use]
pub fn shape(architecture: Architecture, mode: BootMode, kind: &InstanceTypeFacts) -> Option<Finding> {
    self::architecture(architecture, kind)
        .or_else(|| (!kind.boot_modes.contains(&mode)).then(|| boot_mode(mode, kind)))
}

/// Which drivers of the default kernel are too old for the type.
#[must_use]
pub fn drivers(guest: &GuestFacts, kind: &InstanceTypeFacts) -> Vec<Finding> {
    let Some(kernel) = guest.kernels.first() else { return Vec::new() };
    let has_nvme = kind.hypervisor == Hypervisor::Nitro && guest.architecture != Architecture::Arm64;
    let nvme = has_nvme.then(|| nvme(kernel, kind)).flatten();
    nvme.into_iter().chain(ena(kernel, kind)).collect()
}

fn finding(severity: FindingSeverity, code: &str, summary: &str, evidence: String, advice: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        summary: summary.to_owned(),
        evidence: vec![evidence],
        remedy: None,
        advice: Some(advice.to_owned()),
    }
}

fn called(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::I386 => "32-bit x86",
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    }
}

fn architecture(guest: Architecture, kind: &InstanceTypeFacts) -> Option<Finding> {
    let listed = RUNS_I386.contains(&kind.name.as_str()) || kind.name == ANY_XEN;
    let runs_i386 = kind.architecture == Architecture::X86_64 && listed;
    let fits = match guest {
        Architecture::I386 => kind.architecture == Architecture::I386 || runs_i386,
        other => other == kind.architecture,
    };
    (!fits).then(|| {
        finding(
            FindingSeverity::Blocks,
            "plan::architecture_mismatch",
            "An instance type of another architecture than the guest",
            format!("the guest is {}; {} is {}", called(guest), kind.name, called(kind.architecture)),
            match guest {
                Architecture::Arm64 => "use a Graviton type, as \"m7g.large\"",
                Architecture::X86_64 => "use an Intel or AMD type, as \"m6i.large\"",
                Architecture::I386 => "use a type that runs 32-bit systems, as \"t2.medium\" or \"c3.large\"; or move the service to a 64-bit system",
            },
        )
    })
}

/// A type that does not boot so.
fn boot_mode(mode: BootMode, kind: &InstanceTypeFacts) -> Finding {
    let supported: Vec<&str> = kind.boot_modes.iter().map(|mode| mode.as_str()).collect();
    let why = match kind.hypervisor {
        Hypervisor::Xen => "Xen-based types boot by BIOS only",
        Hypervisor::Nitro => "the type does not offer it",
    };
    finding(
        FindingSeverity::Blocks,
        "plan::boot_mode",
        "An instance type that cannot boot the guest's firmware",
        format!(
            "the guest boots by {}; {} supports {} ({why})",
            mode.as_str(),
            kind.name,
            supported.join(", ")
        ),
        match mode {
            BootMode::Uefi => "use a Nitro-based type that supports UEFI, as \"m6i.large\" or \"t3.medium\"",
            BootMode::LegacyBios => {
                "use an Intel or AMD type that supports BIOS, as \"m6i.large\" or \"t3.medium\""
            }
        },
    )
}

/// An NVMe driver that is there and older than what AWS supports.
fn nvme(kernel: &KernelFacts, kind: &InstanceTypeFacts) -> Option<Finding> {
    let missing = kernel.drivers.get("nvme").is_none_or(|place| *place == DriverPlace::Missing);
    let version = release(&kernel.release)?;
    let is_new = if kernel.release.contains(".el7") && version == (3, 10) {
        el7_build(&kernel.release).is_none_or(|build| build >= EL7_NVME)
    } else {
        version >= NVME
    };
    (!missing && !is_new).then(|| {
        finding(
            FindingSeverity::Warns,
            "plan::nvme_driver_old",
            "The guest's NVMe driver is older than what AWS supports on Nitro-based types",
            format!("kernel {}; {} has NVMe disks", kernel.release, kind.name),
            "drill it first, or use a Xen-based type (t2, m4, c4, r4). Supported from RHEL and CentOS 7.4, SLES 12 SP2, Debian 9, Ubuntu 14.04 with linux-aws on",
        )
    })
}

/// The `693` of `3.10.0-693.el7.x86_64`.
fn el7_build(release: &str) -> Option<u32> {
    let build = release.split_once('-')?.1;
    build.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// An ENA driver that is too old for the newest network cards.
fn ena(kernel: &KernelFacts, kind: &InstanceTypeFacts) -> Option<Finding> {
    if !has_new_card(&kind.name)
        || kernel.drivers.get("ena").is_none_or(|place| *place == DriverPlace::Missing)
    {
        return None;
    }
    let evidence = |version: &str| format!("kernel {}: ENA {version}; {}", kernel.release, kind.name);
    let older = "use a type of the fifth generation (m5, c5, r5, t3), or install a newer kernel in the guest";
    let fast = |evidence| {
        finding(
            FindingSeverity::Warns,
            "plan::ena_driver_slow",
            "The guest's ENA driver is slow on this generation of types",
            evidence,
            "install a newer kernel or AWS's ENA driver 2.2.9 or later in the guest for full speed; or use a type of the fifth generation",
        )
    };
    match kernel.ena_version.as_deref() {
        Some(text) => {
            let version = version(text)?;
            if version < ENA_ATTACHES {
                Some(finding(
                    FindingSeverity::Warns,
                    "plan::ena_driver_old",
                    "The guest's ENA driver does not attach on this generation of types: no network",
                    evidence(text),
                    older,
                ))
            } else {
                (version < ENA_FAST).then(|| fast(evidence(text)))
            }
        }
        // Drivers of the kernel's own tree have no version since 5.7; older ones without a version
        // were carried back by their distribution.
        None => {
            let release = release(&kernel.release)?;
            ((5, 7)..KERNEL_ENA_FAST).contains(&release).then(|| fast(evidence("of the kernel's own tree")))
        }
    }
}

/// Whether a type has a Nitro card of the fourth generation or later, by its name.
fn has_new_card(name: &str) -> bool {
    let family = name.split('.').next().unwrap_or_default();
    let digits = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let generation =
        digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse::<u32>().ok());
    NEW_CARDS.contains(&family)
        || (generation.is_some_and(|generation| generation >= 6) && !OLD_CARDS.contains(&family))
}

/// The first two numbers of a kernel's release.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// `2.0.3K`, `1.1.2`, `2.2.9g`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    Some((next()?, next()?, next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn guest(architecture: Architecture, firmware: Firmware, release: &str, ena: Option<&str>) -> GuestFacts {
        let drivers = ["nvme", "ena"].map(|driver| (driver.to_owned(), DriverPlace::Root));
        GuestFacts {
            family: "linux".to_owned(),
            distribution: "centos".to_owned(),
            version: "7".to_owned(),
            product: "CentOS".to_owned(),
            architecture,
            firmware,
            boots_either_firmware: false,
            hostname: None,
            kernels: vec![KernelFacts {
                release: release.to_owned(),
                image: "/boot/vmlinuz".to_owned(),
                initramfs: None,
                drivers: BTreeMap::from(drivers),
                ena_version: ena.map(str::to_owned),
            }],
            root_filesystem: "xfs".to_owned(),
            static_addresses: BTreeMap::new(),
            default_interface: None,
            details: Vec::new(),
        }
    }

    fn kind(name: &str, hypervisor: Hypervisor, architecture: Architecture) -> InstanceTypeFacts {
        let modes: &[BootMode] = match (hypervisor, architecture) {
            (Hypervisor::Xen, _) => &[BootMode::LegacyBios],
            (_, Architecture::Arm64) => &[BootMode::Uefi],
            _ => &[BootMode::LegacyBios, BootMode::Uefi],
        };
        InstanceTypeFacts {
            name: name.to_owned(),
            hypervisor,
            architecture,
            boot_modes: modes.iter().copied().collect::<BTreeSet<_>>(),
            ena_required: hypervisor == Hypervisor::Nitro,
            vcpus: 2,
            memory: 4096,
            max_volumes: None,
            max_interfaces: None,
            shares_limit: false,
            ebs_bandwidth: None,
        }
    }

    fn codes(guest: &GuestFacts, kind: &InstanceTypeFacts) -> Vec<String> {
        judge(guest, kind)
            .into_iter()
            .map(|found| found.code.trim_start_matches("plan::").to_owned())
            .collect()
    }

    #[test]
    fn processor_and_firmware() {
        use Architecture::{Arm64, I386, X86_64};
        let nitro = |name| kind(name, Hypervisor::Nitro, X86_64);
        let xen = |name| kind(name, Hypervisor::Xen, X86_64);
        let new = "5.14.0-427.el9.x86_64";
        for (architecture, firmware, kind, expected) in [
            (X86_64, Firmware::Bios, nitro("m6i.large"), &[][..]),
            (X86_64, Firmware::Uefi, nitro("m6i.large"), &[]),
            (X86_64, Firmware::Uefi, xen("t2.large"), &["boot_mode"]),
            (X86_64, Firmware::Bios, kind("m7g.large", Hypervisor::Nitro, Arm64), &["architecture_mismatch"]),
            (Arm64, Firmware::Uefi, kind("m7g.large", Hypervisor::Nitro, Arm64), &[]),
            (Arm64, Firmware::Uefi, nitro("m6i.large"), &["architecture_mismatch"]),
            (I386, Firmware::Bios, nitro("m6i.large"), &["architecture_mismatch"]),
            (I386, Firmware::Bios, xen("t2.medium"), &[]),
            (I386, Firmware::Bios, xen("t2.large"), &["architecture_mismatch"]),
        ] {
            assert_eq!(codes(&guest(architecture, firmware, new, None), &kind), expected, "{}", kind.name);
        }
        let mut hybrid = guest(X86_64, Firmware::Bios, new, None);
        hybrid.boots_either_firmware = true;
        assert_eq!(codes(&hybrid, &xen("t2.large")), [""; 0]);
        assert_eq!(firmware(&hybrid, Some(Firmware::Uefi)), Firmware::Uefi);
        assert_eq!(firmware(&hybrid, None), Firmware::Bios);
        let bios = guest(X86_64, Firmware::Bios, new, None);
        assert_eq!(firmware(&bios, Some(Firmware::Uefi)), Firmware::Bios);
    }

    #[test]
    fn drivers_and_their_floors() {
        for (release, ena, name, expected) in [
            ("3.10.0-1160.el7.x86_64", Some("2.0.3K"), "m5.large", &[][..]),
            ("3.10.0-1160.el7.x86_64", Some("2.0.3K"), "m6i.large", &["ena_driver_slow"]),
            ("3.10.0-693.el7.x86_64", Some("1.0.2"), "m6i.large", &["ena_driver_old"]),
            ("3.10.0-514.el7.x86_64", Some("1.0.2"), "m5.large", &["nvme_driver_old"]),
            ("2.6.32-754.el6.x86_64", None, "m5.large", &["nvme_driver_old"]),
            ("4.18.0-553.el8.x86_64", None, "m7i.large", &[]),
            ("5.8.0-63-generic", None, "c6i.large", &["ena_driver_slow"]),
            ("5.15.0-105-generic", None, "r7a.large", &[]),
            ("4.9.0-19-amd64", Some("1.0.2"), "t3.large", &[]),
            ("4.9.0-19-amd64", Some("1.0.2"), "i4i.large", &["ena_driver_old"]),
            ("4.4.0-1100-aws", Some("2.2.10g"), "m6a.large", &[]),
            ("3.16.0-6-amd64", None, "m5.large", &["nvme_driver_old"]),
            ("garbage", Some("garbage"), "m7i.large", &[]),
        ] {
            let guest = guest(Architecture::X86_64, Firmware::Bios, release, ena);
            let kind = kind(name, Hypervisor::Nitro, Architecture::X86_64);
            assert_eq!(codes(&guest, &kind), expected, "{release} on {name}");
        }
        let arm = guest(Architecture::Arm64, Firmware::Uefi, "4.18.0-553.el8.aarch64", Some("1.1.0"));
        assert_eq!(codes(&arm, &kind("m6g.large", Hypervisor::Nitro, Architecture::Arm64)), [""; 0]);
        assert_eq!(
            codes(&arm, &kind("m7g.large", Hypervisor::Nitro, Architecture::Arm64)),
            ["ena_driver_old"]
        );
        let old = guest(Architecture::X86_64, Firmware::Bios, "2.6.32-754.el6.x86_64", None);
        assert_eq!(codes(&old, &kind("t2.large", Hypervisor::Xen, Architecture::X86_64)), [""; 0]);
    }
}
