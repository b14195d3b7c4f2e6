//! The SDK's shapes as the trait's views.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use aws_sdk_ec2::types as sdk;

use super::ami::is_windows;
use super::options;
use crate::model::{BootMode, VolumeType};
use crate::provider::types::{
    AttachmentView, ImageId, ImageState, ImageView, InstanceId, InstanceState, InstanceView, ProviderError,
    ProviderErrorKind, SnapshotId, SnapshotState, SnapshotView, StateReason, TagMap, VolumeId, VolumeState,
    VolumeView,
};

/// Something that EC2 always says and did not.
fn unsaid(operation: &'static str, what: &str) -> ProviderError {
    ProviderError::new(
        operation,
        ProviderErrorKind::Unavailable,
        "Response",
        format!("EC2's answer does not say {what}"),
    )
}

/// An answer's part that must be there.
pub(super) fn required<T>(value: Option<T>, operation: &'static str, what: &str) -> Result<T, ProviderError> {
    value.ok_or_else(|| unsaid(operation, what))
}

pub(super) fn tags(tags: &[sdk::Tag]) -> TagMap {
    let pair = |tag: &sdk::Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

/// Tags as a call carries them.
pub(super) fn tag_list(tags: &TagMap) -> Vec<sdk::Tag> {
    tags.iter().map(|(key, value)| sdk::Tag::builder().key(key).value(value).build()).collect()
}

/// Tags of what a call makes; `None` for no tags, since EC2 refuses an empty list.
pub(super) fn tag_specification(kind: sdk::ResourceType, tags: &TagMap) -> Option<sdk::TagSpecification> {
    (!tags.is_empty())
        .then(|| sdk::TagSpecification::builder().resource_type(kind).set_tags(Some(tag_list(tags))).build())
}

pub(super) fn volume_type(volume_type: VolumeType) -> sdk::VolumeType {
    sdk::VolumeType::from(volume_type.as_str())
}

fn unsigned(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

/// A volume of DescribeVolumes.
pub(super) fn volume(volume: &sdk::Volume) -> Result<VolumeView, ProviderError> {
    const OPERATION: &str = "DescribeVolumes";
    let attachment = volume
        .attachments()
        .iter()
        .find(|attachment| !matches!(attachment.state(), Some(sdk::VolumeAttachmentState::Detached) | None));
    volume_view(
        OPERATION,
        VolumeParts {
            id: volume.volume_id(),
            zone: volume.availability_zone(),
            size: volume.size(),
            volume_type: volume.volume_type(),
            iops: volume.iops(),
            throughput: volume.throughput(),
            encrypted: volume.encrypted(),
            kms_key_id: volume.kms_key_id(),
            state: volume.state(),
            tags: volume.tags(),
        },
        attachment.map(attachment_view).transpose()?,
    )
}

/// The volume of CreateVolume's answer, which has the same fields in a shape of its own.
pub(super) fn created(
    volume: &aws_sdk_ec2::operation::create_volume::CreateVolumeOutput,
) -> Result<VolumeView, ProviderError> {
    volume_view(
        "CreateVolume",
        VolumeParts {
            id: volume.volume_id(),
            zone: volume.availability_zone(),
            size: volume.size(),
            volume_type: volume.volume_type(),
            iops: volume.iops(),
            throughput: volume.throughput(),
            encrypted: volume.encrypted(),
            kms_key_id: volume.kms_key_id(),
            state: volume.state(),
            tags: volume.tags(),
        },
        None,
    )
}

struct VolumeParts<'a> {
    id: Option<&'a str>,
    zone: Option<&'a str>,
    size: Option<i32>,
    volume_type: Option<&'a sdk::VolumeType>,
    iops: Option<i32>,
    throughput: Option<i32>,
    encrypted: Option<bool>,
    kms_key_id: Option<&'a str>,
    state: Option<&'a sdk::VolumeState>,
    tags: &'a [sdk::Tag],
}

fn volume_view(
    operation: &'static str,
    parts: VolumeParts<'_>,
    attachment: Option<AttachmentView>,
) -> Result<VolumeView, ProviderError> {
    let id = required(parts.id, operation, "the volume's id")?;
    let volume_type = required(parts.volume_type, operation, "the volume's type")?;
    let known = VolumeType::ALL.into_iter().find(|known| known.as_str() == volume_type.as_str());
    Ok(VolumeView {
        id: VolumeId(id.to_owned()),
        zone: required(parts.zone, operation, "the volume's zone")?.to_owned(),
        size: required(unsigned(parts.size), operation, "the volume's size")?.into(),
        volume_type: required(known, operation, "a type of volume that is known")?,
        iops: unsigned(parts.iops),
        throughput: unsigned(parts.throughput),
        encrypted: parts.encrypted.unwrap_or(false),
        kms_key_id: parts.kms_key_id.map(str::to_owned),
        state: match required(parts.state, operation, "the volume's state")? {
            sdk::VolumeState::Creating => VolumeState::Creating,
            sdk::VolumeState::Available => VolumeState::Available,
            sdk::VolumeState::InUse => VolumeState::InUse,
            sdk::VolumeState::Deleting => VolumeState::Deleting,
            sdk::VolumeState::Deleted => VolumeState::Deleted,
            _ => VolumeState::Error,
        },
        attachment,
        tags: tags(parts.tags),
    })
}

fn attachment_view(attachment: &sdk::VolumeAttachment) -> Result<AttachmentView, ProviderError> {
    const OPERATION: &str = "DescribeVolumes";
    Ok(AttachmentView {
        instance_id: InstanceId(
            required(attachment.instance_id(), OPERATION, "where the volume is attached")?.to_owned(),
        ),
        device: attachment.device().unwrap_or_default().to_owned(),
        state: attachment.state().map_or("attaching", sdk::VolumeAttachmentState::as_str).to_owned(),
        delete_on_termination: attachment.delete_on_termination().unwrap_or(false),
    })
}

pub(super) fn snapshot_state(state: Option<&sdk::SnapshotState>) -> SnapshotState {
    match state {
        Some(sdk::SnapshotState::Completed) => SnapshotState::Completed,
        Some(sdk::SnapshotState::Error) => SnapshotState::Error,
        _ => SnapshotState::Pending,
    }
}

/// A snapshot of DescribeSnapshots.
pub(super) fn snapshot(snapshot: &sdk::Snapshot) -> Result<SnapshotView, ProviderError> {
    const OPERATION: &str = "DescribeSnapshots";
    let id = required(snapshot.snapshot_id(), OPERATION, "the snapshot's id")?;
    Ok(SnapshotView {
        id: SnapshotId(id.to_owned()),
        volume_id: VolumeId(snapshot.volume_id().unwrap_or_default().to_owned()),
        state: snapshot_state(snapshot.state()),
        progress: snapshot.progress().map(str::to_owned),
        tags: tags(snapshot.tags()),
    })
}

/// An image of DescribeImages.
pub(super) fn image(image: &sdk::Image) -> Result<ImageView, ProviderError> {
    const OPERATION: &str = "DescribeImages";
    let id = required(image.image_id(), OPERATION, "the image's id")?;
    let state = match image.state() {
        Some(sdk::ImageState::Available) => ImageState::Available,
        Some(sdk::ImageState::Error | sdk::ImageState::Failed | sdk::ImageState::Invalid) => {
            ImageState::Failed
        }
        _ => ImageState::Pending,
    };
    let snapshots = image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.snapshot_id());
    Ok(ImageView {
        id: ImageId(id.to_owned()),
        name: image.name().unwrap_or_default().to_owned(),
        state,
        snapshots: snapshots.map(|id| SnapshotId(id.to_owned())).collect(),
        platform: image.platform_details().unwrap_or_default().to_owned(),
        tags: tags(image.tags()),
    })
}

fn instance_state(name: &sdk::InstanceStateName) -> InstanceState {
    match name {
        sdk::InstanceStateName::Running => InstanceState::Running,
        sdk::InstanceStateName::Stopping => InstanceState::Stopping,
        sdk::InstanceStateName::Stopped => InstanceState::Stopped,
        sdk::InstanceStateName::ShuttingDown => InstanceState::ShuttingDown,
        sdk::InstanceStateName::Terminated => InstanceState::Terminated,
        _ => InstanceState::Pending,
    }
}

/// The boot mode an instance has: what it runs in, else what its image asks for, else what EC2
/// takes when an image asks for nothing ("Instance boot modes").
fn boot_mode(instance: &sdk::Instance) -> BootMode {
    match instance.current_instance_boot_mode().map(sdk::InstanceBootModeValues::as_str) {
        Some("uefi") => return BootMode::Uefi,
        Some("legacy-bios") => return BootMode::LegacyBios,
        _ => {}
    }
    let is_arm = instance.architecture() == Some(&sdk::ArchitectureValues::Arm64);
    match instance.boot_mode() {
        Some(sdk::BootModeValues::Uefi | sdk::BootModeValues::UefiPreferred) => BootMode::Uefi,
        None if is_arm => BootMode::Uefi,
        _ => BootMode::LegacyBios,
    }
}

/// `Platform` is said of Windows only (DescribeInstances).
fn platform(instance: &sdk::Instance) -> &'static str {
    let is_windows = instance.platform().is_some_and(|platform| is_windows(platform.as_str()));
    if is_windows { "windows" } else { "linux" }
}

/// Why its state last changed; where there is no reason with a code, the words alone.
fn state_reason(instance: &sdk::Instance) -> Option<StateReason> {
    let reason = instance.state_reason();
    let code = reason.and_then(sdk::StateReason::code).filter(|code| !code.is_empty());
    let words = instance.state_transition_reason().filter(|words| !words.is_empty());
    match code {
        Some(code) => Some(StateReason {
            code: code.to_owned(),
            message: reason.and_then(sdk::StateReason::message).unwrap_or_default().to_owned(),
        }),
        None => words.map(|words| StateReason { code: words.to_owned(), message: String::new() }),
    }
}

/// An instance of DescribeInstances; what its attributes say beside is `protected`.
pub(super) fn instance(instance: &sdk::Instance, protected: bool) -> Result<InstanceView, ProviderError> {
    const OPERATION: &str = "DescribeInstances";
    let id = required(instance.instance_id(), OPERATION, "the instance's id")?;
    let state = instance.state().and_then(sdk::InstanceState::name);
    let state = instance_state(required(state, OPERATION, "the instance's state")?);
    let zone = instance.placement().and_then(sdk::Placement::availability_zone);
    let volumes: BTreeMap<String, VolumeId> = instance
        .block_device_mappings()
        .iter()
        .filter_map(|mapping| {
            let volume = mapping.ebs()?.volume_id()?;
            Some((mapping.device_name()?.to_owned(), VolumeId(volume.to_owned())))
        })
        .collect();
    Ok(InstanceView {
        id: InstanceId(id.to_owned()),
        instance_type: instance.instance_type().map(|name| name.as_str().to_owned()).unwrap_or_default(),
        // A terminated instance no longer says where it was.
        zone: zone.unwrap_or_default().to_owned(),
        subnet_id: instance.subnet_id().map(str::to_owned),
        private_ip: instance.private_ip_address().and_then(|address| address.parse::<Ipv4Addr>().ok()),
        security_group_ids: instance
            .security_groups()
            .iter()
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect(),
        key_name: instance.key_name().filter(|name| !name.is_empty()).map(str::to_owned),
        iam_instance_profile: instance
            .iam_instance_profile()
            .and_then(|profile| Some(profile.arn()?.rsplit('/').next()?.to_owned())),
        state,
        state_reason: state_reason(instance),
        root_device: instance.root_device_name().unwrap_or_default().to_owned(),
        volumes: if state == InstanceState::Terminated { BTreeMap::new() } else { volumes },
        boot_mode: boot_mode(instance),
        platform: Some(platform(instance).to_owned()),
        termination_protection: protected,
        options: options::described(instance),
        tags: tags(instance.tags()),
    })
}
