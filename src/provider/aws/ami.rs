//! The stub's base image: a public one of the guest's architecture, boot mode and platform.
//!
//! The stub decides three things that stay with the instance for good: the boot mode, the platform
//! (Windows billing and PV drivers follow it) and the name of the root device. What is on its own
//! root volume does not matter: it is deleted before it is ever used.

use aws_sdk_ec2::types as sdk;

use super::call::{pages, send};
use super::client::Cloud;
use super::volumes::PAGE;
use crate::model::{Architecture, BootMode};
use crate::provider::types::{InstanceTypeFacts, ProviderError, ProviderErrorKind, RunInstance};

/// Whose images: Amazon's, Debian's, Canonical's ("Find an AMI", wiki.debian.org/Cloud/AmazonEC2Image,
/// "Find Ubuntu images on AWS").
const LINUX_OWNERS: [&str; 3] = ["amazon", "136693071363", "099720109477"];

/// Names in the order of preference: small, without a price of their own, of long support. Amazon
/// Linux 2 asks for no boot mode, which the newer ones do: so do the old ones at the end, which are
/// for guests that boot by BIOS on types that have UEFI too. That nobody maintains them any more is
/// no matter, since nothing of them is ever run but the start of a stub without the guest's data.
const LINUX: &[&str] = &[
    "al2023-ami-2023.*-kernel-*",
    "al2023-ami-minimal-2023.*-kernel-*",
    "amzn2-ami-kernel-5.10-hvm-2.0.*-gp2",
    "amzn2-ami-hvm-2.0.*-gp2",
    "amzn2-ami-minimal-hvm-2.0.*",
    "debian-13-*",
    "debian-12-*",
    "debian-11-*",
    "debian-10-*",
    "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-*-server-*",
    "ubuntu/images/hvm-ssd/ubuntu-focal-20.04-*-server-*",
    "ubuntu/images/hvm-ssd/ubuntu-bionic-18.04-*-server-*",
    "amzn-ami-hvm-2018.03.*",
];

/// Windows images ask for a boot mode by their names: `TPM-` for UEFI, and from 2025 on all.
const WINDOWS: &[&str] = &[
    "Windows_Server-2022-English-Full-Base-*",
    "Windows_Server-2019-English-Full-Base-*",
    "Windows_Server-2025-English-Full-Base-*",
    "TPM-Windows_Server-2022-English-Full-Base-*",
    "TPM-Windows_Server-2019-English-Full-Base-*",
];

/// Whether a guest's platform is billed as Windows.
pub(super) fn is_windows(platform: &str) -> bool {
    platform.eq_ignore_ascii_case("windows")
}

/// What an image is chosen for.
pub(super) struct Wanted<'a> {
    is_arm: bool,
    boot_mode: BootMode,
    windows: bool,
    facts: Option<&'a InstanceTypeFacts>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(request: &RunInstance, facts: Option<&'a InstanceTypeFacts>) -> Self {
        Self {
            is_arm: request.architecture == Architecture::Arm64,
            boot_mode: request.boot_mode,
            windows: is_windows(&request.platform),
            facts,
        }
    }

    /// A 32-bit guest runs on a 64-bit stub: EC2 looks at the image, not at the volume.
    fn architecture(&self) -> &'static str {
        if self.is_arm { "arm64" } else { "x86_64" }
    }

    /// What of an image that the user names does not fit; each as the end of "it …". Whose guest was
    /// not looked into says by the image what it is (`knows_platform` is false).
    pub(super) fn misfits(&self, image: &sdk::Image, knows_platform: bool) -> Vec<String> {
        let mut found = Vec::new();
        let architecture = image.architecture().map_or("", sdk::ArchitectureValues::as_str);
        if architecture != self.architecture() {
            found.push(format!("is for {architecture}, and the guest needs {}", self.architecture()));
        } else if !self.boots(image) {
            let mode = image.boot_mode().map_or("no boot mode", sdk::BootModeValues::as_str);
            found.push(format!("has {mode}, and the guest boots by {}", self.boot_mode.as_str()));
        }
        let is_of_windows = is_windows(image.platform().map_or("", sdk::PlatformValues::as_str));
        if knows_platform && self.windows != is_of_windows {
            let (is, guest) = if self.windows { ("Linux", "Windows") } else { ("Windows", "Linux") };
            found.push(format!("is an image of {is}, and the guest is {guest}: EC2 bills by the image"));
        }
        if self.facts.is_some_and(|facts| facts.ena_required) && image.ena_support() != Some(true) {
            found.push("does not have ENA, which the instance type needs".to_owned());
        }
        if image.root_device_type().is_some_and(|kind| *kind != sdk::DeviceType::Ebs) {
            found.push("has no EBS root volume that could be swapped".to_owned());
        }
        let further = further_volumes(image);
        if !further.is_empty() {
            found.push(format!(
                "brings further volumes along ({}), which would stand in the way of the restored ones",
                further.join(", ")
            ));
        }
        if image.virtualization_type().is_some_and(|kind| *kind != sdk::VirtualizationType::Hvm) {
            found.push("is paravirtual, and restored guests are HVM".to_owned());
        }
        let state = image.state().map_or("", sdk::ImageState::as_str);
        if !matches!(state, "available" | "") {
            found.push(format!("is {state}"));
        }
        found
    }
    /// Whether an instance of this image starts in the wanted mode ("Instance boot modes": without
    /// a mode x86 starts by BIOS and ARM by UEFI; `uefi-preferred` is UEFI where the type has it).
    fn boots(&self, image: &sdk::Image) -> bool {
        let has_uefi =
            self.facts.is_none_or(|facts| facts.boot_modes.contains(&BootMode::Uefi)) || self.is_arm;
        let mode = match image.boot_mode() {
            None if self.is_arm => BootMode::Uefi,
            None => BootMode::LegacyBios,
            Some(sdk::BootModeValues::Uefi) => BootMode::Uefi,
            Some(sdk::BootModeValues::UefiPreferred) if has_uefi => BootMode::Uefi,
            Some(_) => BootMode::LegacyBios,
        };
        mode == self.boot_mode
    }
}

fn filter(name: &str, values: &[&str]) -> sdk::Filter {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    sdk::Filter::builder().name(name).set_values(Some(values)).build()
}

impl Cloud {
    /// The id of the image that a stub starts from.
    pub(super) async fn base_image(
        &self,
        request: &RunInstance,
        facts: Option<&InstanceTypeFacts>,
    ) -> Result<String, ProviderError> {
        if let Some(id) = &request.image_id {
            return Ok(id.0.clone());
        }
        if let Some(id) = &request.base_ami {
            return Ok(id.clone());
        }
        let wanted = Wanted::of(request, facts);
        let (owners, names) =
            if wanted.windows { (&LINUX_OWNERS[..1], WINDOWS) } else { (&LINUX_OWNERS[..], LINUX) };
        let architecture = wanted.architecture();
        // Deprecated images can be launched, and are shown to whoever asks for them: the stub takes
        // one where no other fits.
        for deprecated in [false, true] {
            let key =
                format!("{architecture} {} {} {deprecated}", request.boot_mode.as_str(), wanted.windows);
            let images =
                self.public_images(&key, owners, names, architecture, wanted.windows, deprecated).await?;
            if let Some(id) = choose(&images, names, &wanted) {
                return Ok(id);
            }
        }
        Err(none_fits(request, architecture))
    }

    /// The images of these ids that there are.
    pub(super) async fn images_of(&self, ids: Vec<String>) -> Result<Vec<sdk::Image>, ProviderError> {
        // One that is named is named, deprecated or not.
        let call = self.ec2().await?.describe_images().include_deprecated(true);
        let by_id = sdk::Filter::builder().name("image-id").set_values(Some(ids)).build();
        Ok(send!("DescribeImages", call.filters(by_id))?.images.unwrap_or_default())
    }

    async fn public_images(
        &self,
        key: &str,
        owners: &[&str],
        names: &[&str],
        architecture: &str,
        windows: bool,
        deprecated: bool,
    ) -> Result<Vec<sdk::Image>, ProviderError> {
        if let Some(images) = self.known(|known| known.images.get(key).cloned()) {
            return Ok(images);
        }
        let ec2 = self.ec2().await?;
        let mut filters = vec![
            filter("name", names),
            filter("architecture", &[architecture]),
            filter("state", &["available"]),
            filter("root-device-type", &["ebs"]),
            filter("virtualization-type", &["hvm"]),
            filter("image-type", &["machine"]),
        ];
        if windows {
            filters.push(filter("platform", &["windows"]));
        }
        let owners: Vec<String> = owners.iter().map(|owner| (*owner).to_owned()).collect();
        let call = ec2.describe_images().set_owners(Some(owners)).set_filters(Some(filters));
        let call = call.set_include_deprecated(deprecated.then_some(true));
        let found = pages!("DescribeImages", call.max_results(PAGE), images);
        self.known(|known| known.images.insert(key.to_owned(), found.clone()));
        Ok(found)
    }
}

/// Device names of an image's volumes beside its root: a stub would bring them along, and the swap
/// takes no volume off an instance that is neither its root nor the state's.
fn further_volumes(image: &sdk::Image) -> Vec<&str> {
    let root = image.root_device_name();
    let volumes = image.block_device_mappings().iter().filter(|mapping| mapping.ebs().is_some());
    let names = volumes.filter_map(sdk::BlockDeviceMapping::device_name);
    names.filter(|name| Some(*name) != root).collect()
}

/// The newest image of the name that is preferred and fits.
fn choose(images: &[sdk::Image], names: &[&str], wanted: &Wanted<'_>) -> Option<String> {
    names.iter().find_map(|pattern| {
        images
            .iter()
            .filter(|image| image.name().is_some_and(|name| matches(pattern, name)))
            .filter(|image| {
                wanted.windows == is_windows(image.platform().map_or("", sdk::PlatformValues::as_str))
            })
            .filter(|image| wanted.boots(image) && further_volumes(image).is_empty())
            .max_by_key(|image| (image.creation_date(), image.image_id()))
            .and_then(|image| image.image_id().map(str::to_owned))
    })
}

/// Whether a name is of a pattern, whose `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(found) = left.find(part) else { return false };
        left = &left[found + part.len()..];
    }
    left.ends_with(last)
}

fn none_fits(request: &RunInstance, architecture: &str) -> ProviderError {
    let mut error = ProviderError::new(
        "DescribeImages",
        ProviderErrorKind::InvalidParameter,
        "NoBaseImage",
        format!(
            "no public image was found for {architecture}, {} and {} on {}",
            request.boot_mode.as_str(),
            request.platform,
            request.instance_type
        ),
    );
    error.help =
        Some("name one of this architecture, boot mode and platform: launch { base_ami = \"ami-…\" }");
    error
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::Hypervisor;

    fn image(id: &str, name: &str, mode: Option<sdk::BootModeValues>, date: &str) -> sdk::Image {
        sdk::Image::builder().image_id(id).name(name).set_boot_mode(mode).creation_date(date).build()
    }

    fn facts(modes: &[BootMode]) -> InstanceTypeFacts {
        InstanceTypeFacts {
            name: "x".to_owned(),
            hypervisor: Hypervisor::Nitro,
            architecture: Architecture::X86_64,
            boot_modes: BTreeSet::from_iter(modes.iter().copied()),
            ena_required: true,
            vcpus: 2,
            memory: 8192,
            max_volumes: None,
            max_interfaces: None,
            shares_limit: false,
            ebs_bandwidth: None,
        }
    }

    #[test]
    fn the_image_starts_as_the_guest_must() {
        let images = [
            image(
                "ami-1",
                "al2023-ami-2023.1-kernel-6.1-x86_64",
                Some(sdk::BootModeValues::UefiPreferred),
                "2026-01",
            ),
            image("ami-2", "amzn2-ami-hvm-2.0.1-x86_64-gp2", None, "2025-01"),
            image("ami-3", "amzn2-ami-hvm-2.0.2-x86_64-gp2", None, "2025-06"),
            image("ami-4", "debian-12-amd64-1", Some(sdk::BootModeValues::LegacyBios), "2026-06"),
            image("ami-5", "debian-12-amd64-2", Some(sdk::BootModeValues::Uefi), "2026-06"),
        ];
        let both = facts(&[BootMode::LegacyBios, BootMode::Uefi]);
        let bios_only = facts(&[BootMode::LegacyBios]);
        let chosen = |boot_mode, facts, images: &[sdk::Image]| {
            choose(images, LINUX, &Wanted { is_arm: false, boot_mode, windows: false, facts: Some(facts) })
        };
        assert_eq!(chosen(BootMode::Uefi, &both, &images).as_deref(), Some("ami-1"));
        assert_eq!(chosen(BootMode::LegacyBios, &both, &images).as_deref(), Some("ami-3"));
        // Where the type has no UEFI, what prefers it starts by BIOS.
        assert_eq!(chosen(BootMode::LegacyBios, &bios_only, &images).as_deref(), Some("ami-1"));
        assert_eq!(chosen(BootMode::LegacyBios, &both, &images[3..]).as_deref(), Some("ami-4"));
        assert_eq!(chosen(BootMode::Uefi, &both, &images[3..]).as_deref(), Some("ami-5"));
        assert_eq!(chosen(BootMode::LegacyBios, &both, &images[4..]), None);
        let windows = Wanted { is_arm: false, boot_mode: BootMode::Uefi, windows: true, facts: None };
        assert_eq!(choose(&images, LINUX, &windows), None);
    }

    #[test]
    fn an_image_with_further_volumes_is_no_base() {
        let disk = |name: &str| {
            let ebs = sdk::EbsBlockDevice::builder().volume_size(8).build();
            sdk::BlockDeviceMapping::builder().device_name(name).ebs(ebs).build()
        };
        let store =
            sdk::BlockDeviceMapping::builder().device_name("/dev/sdc").virtual_name("ephemeral0").build();
        let named = |id: &str, name: &str, disks: Vec<sdk::BlockDeviceMapping>| {
            sdk::Image::builder()
                .image_id(id)
                .name(name)
                .architecture(sdk::ArchitectureValues::X8664)
                .ena_support(true)
                .root_device_name("/dev/xvda")
                .set_block_device_mappings(Some(disks))
                .build()
        };
        let images = [
            named("ami-1", "amzn2-ami-hvm-2.0.2-x86_64-gp2", vec![disk("/dev/xvda"), disk("/dev/sdb")]),
            named("ami-2", "amzn2-ami-hvm-2.0.1-x86_64-gp2", vec![disk("/dev/xvda"), store]),
        ];
        let both = facts(&[BootMode::LegacyBios, BootMode::Uefi]);
        let wanted =
            Wanted { is_arm: false, boot_mode: BootMode::LegacyBios, windows: false, facts: Some(&both) };
        assert_eq!(choose(&images, LINUX, &wanted).as_deref(), Some("ami-2"));
        assert_eq!(wanted.misfits(&images[1], true), Vec::<String>::new());
        let said = wanted.misfits(&images[0], true).join("; ");
        assert!(said.contains("(/dev/sdb)"), "{said}");
    }

    #[test]
    fn patterns_are_ec2_s() {
        assert!(matches("a*c", "abc") && matches("a*", "a") && matches("abc", "abc"));
        assert!(matches("al2023-ami-2023.*-kernel-*", "al2023-ami-2023.5.2-kernel-6.1-arm64"));
        assert!(!matches("a*c", "ab") && !matches("abc", "abcd") && !matches("x*", "ax"));
    }
}
