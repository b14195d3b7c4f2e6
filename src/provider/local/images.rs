//! Images: registered from snapshots, and instances that are launched from them.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::cloud::Desk;
use super::failure::Failure;
use super::id;
use super::record::{
    AttachmentPhase, AttachmentRecord, ImageRecord, ImageVolume, InstancePhase, InstanceRecord, Record,
    SnapshotRecord, VolumePhase, VolumeRecord,
};
use super::rules::{self, Shape};
use super::snapshots::copied;
use super::store::remove_file;
use super::views::tagged;
use crate::model::{Architecture, GIB};
use crate::provider::types::{
    Filter, ImageId, ImageMapping, ImageState, ImageView, InstanceView, RegisterImage, RunInstance,
    SnapshotId, SnapshotState, VolumeId,
};

/// Characters of an image's name (RegisterImage).
const NAME: std::ops::RangeInclusive<usize> = 3..=128;

impl Desk<'_> {
    pub(super) fn image(&self, id: &ImageId) -> Result<ImageRecord, Failure> {
        self.store.read::<ImageRecord>(&id.0)?.ok_or_else(|| {
            Failure::not_found("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))
        })
    }

    fn all_images(&self) -> Result<Vec<ImageRecord>, Failure> {
        let mut images = Vec::new();
        for id in self.store.ids::<ImageRecord>()? {
            images.extend(self.store.read::<ImageRecord>(&id)?);
        }
        Ok(images)
    }

    /// An image that is made of a snapshot.
    pub(super) fn image_of(&self, snapshot: &SnapshotId) -> Result<Option<ImageId>, Failure> {
        let is_of =
            |image: &ImageRecord| image.request.mappings.iter().any(|disk| disk.snapshot_id == *snapshot);
        Ok(self.all_images()?.into_iter().find(is_of).map(|image| image.id))
    }

    pub(super) fn register_image(&self, request: &RegisterImage) -> Result<ImageView, Failure> {
        rules::token(&request.token.0)?;
        rules::tags(&request.tags)?;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
        if !NAME.contains(&request.name.chars().count()) || !request.name.chars().all(is_allowed) {
            return Err(Failure::parameter(
                "InvalidAMIName.Malformed",
                "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'",
            ));
        }
        if let Some(made) = self.all_images()?.into_iter().find(|image| image.request.name == request.name) {
            if made.request == *request {
                return Ok(image_view(&made));
            }
            return Err(Failure::parameter(
                "InvalidAMIName.Duplicate",
                format!("AMI name {} is already in use by AMI {}", request.name, made.id),
            ));
        }
        if request.architecture == Architecture::Arm64
            && request.boot_mode == crate::model::BootMode::LegacyBios
        {
            return Err(Failure::value("arm64 images boot by UEFI"));
        }
        self.check_mappings(request)?;
        let image = ImageRecord {
            id: ImageId(id::random(ImageRecord::PREFIX)?),
            request: request.clone(),
            since: self.now,
            tags: request.tags.clone(),
        };
        self.store.write(&image)?;
        Ok(image_view(&image))
    }

    fn check_mappings(&self, request: &RegisterImage) -> Result<(), Failure> {
        let mut slots = std::collections::BTreeSet::new();
        for mapping in &request.mappings {
            if !slots.insert(rules::slot(&mapping.device)?) {
                return Err(Failure::value(format!("{} is mapped twice", mapping.device)));
            }
            let snapshot = self.snapshot(&mapping.snapshot_id)?;
            if self.snapshot_view(&snapshot).state != SnapshotState::Completed {
                return Err(Failure::state(
                    "IncorrectState",
                    format!("Snapshot '{}' is not 'completed'.", snapshot.id),
                ));
            }
            if mapping.shape.size < snapshot.size {
                return Err(Failure::parameter(
                    "InvalidBlockDeviceMapping",
                    format!(
                        "Volume of size {}GB is smaller than snapshot '{}', expect size >= {}GB",
                        mapping.shape.size, snapshot.id, snapshot.size
                    ),
                ));
            }
            shape(mapping)?;
        }
        if !slots.contains(&rules::slot(&request.root_device)?) {
            return Err(Failure::parameter(
                "InvalidBlockDeviceMapping",
                format!("the root device {} has no snapshot", request.root_device),
            ));
        }
        Ok(())
    }

    pub(super) fn describe_images(&self, filter: &Filter) -> Result<Vec<ImageView>, Failure> {
        let mut found = self.all_images()?;
        found.retain(|image| filter.ids.is_empty() || filter.ids.contains(&image.id.0));
        Ok(found.iter().filter(|image| tagged(filter, &image.tags)).map(image_view).collect())
    }

    pub(super) fn deregister_image(&self, id: &ImageId) -> Result<(), Failure> {
        self.image(id)?;
        self.store.remove::<ImageRecord>(&id.0)
    }

    /// An instance whose volumes are made from its image's snapshots; it starts at once.
    pub(super) fn run_image(
        &self,
        request: &RunInstance,
        image: &ImageId,
        id: String,
    ) -> Result<InstanceView, Failure> {
        let image = self.image(image)?.request;
        if request.architecture != image.architecture || request.boot_mode != image.boot_mode {
            return Err(Failure::value(format!(
                "The architecture or boot mode of {id} is not that of its image {}",
                image.name
            )));
        }
        if request.platform != "linux" {
            return Err(Failure::parameter(
                "InvalidParameterCombination",
                "an image that is registered from snapshots is Linux",
            ));
        }
        let mut image_volumes = Vec::new();
        for mapping in &image.mappings {
            let snapshot = self.snapshot(&mapping.snapshot_id)?;
            image_volumes.push(ImageVolume {
                id: VolumeId(id::random(VolumeRecord::PREFIX)?),
                mapping: mapping.clone(),
                encrypted: snapshot.encrypted,
                kms_key_id: snapshot.kms_key_id,
            });
        }
        let address = self.claim_address(request.private_ip, &id)?;
        let mut slots = std::collections::BTreeMap::new();
        for volume in &image_volumes {
            slots.insert(rules::slot(&volume.mapping.device)?, volume.id.clone());
        }
        let mut instance = InstanceRecord {
            slots,
            image_volumes,
            ..self.launched(id, request, address, &image.root_device)
        };
        self.store.write(&instance)?;
        self.finish_image_volumes(&instance)?;
        if let Err(failure) = self.launch(&mut instance) {
            // Nothing of it ever ran; EC2 terminates what it cannot launch.
            instance.phase = InstancePhase::ShuttingDown;
            self.store.write(&instance)?;
            return Err(failure);
        }
        self.instance_view(&instance)
    }

    /// Makes those of an instance's volumes that are not made yet.
    pub(super) fn finish_image_volumes(&self, instance: &InstanceRecord) -> Result<(), Failure> {
        for volume in &instance.image_volumes {
            if self.store.read::<VolumeRecord>(&volume.id.0)?.is_none() {
                self.make_image_volume(instance, volume)?;
            }
        }
        Ok(())
    }

    fn make_image_volume(&self, instance: &InstanceRecord, volume: &ImageVolume) -> Result<(), Failure> {
        let shape = shape(&volume.mapping)?;
        self.store.write(&VolumeRecord {
            inode: self.content_of(&volume.mapping.snapshot_id, &volume.id, shape.size)?,
            id: volume.id.clone(),
            request: None,
            zone: instance.zone.clone(),
            size: shape.size,
            volume_type: shape.volume_type,
            iops: shape.iops,
            throughput: shape.throughput,
            encrypted: volume.encrypted,
            kms_key_id: volume.kms_key_id.clone(),
            phase: VolumePhase::Available,
            since: instance.since,
            attachment: Some(AttachmentRecord {
                instance: instance.id.clone(),
                device: volume.mapping.device.clone(),
                phase: AttachmentPhase::Attaching,
                since: instance.since,
                delete_on_termination: volume.mapping.shape.delete_on_termination,
            }),
            growing: false,
            modified: None,
            tags: instance.tags.clone(),
        })
    }

    /// A volume's file with what a snapshot holds; its inode.
    fn content_of(&self, snapshot: &SnapshotId, id: &VolumeId, gib: u64) -> Result<u64, Failure> {
        let from = self.store.content::<SnapshotRecord>(&snapshot.0);
        let to = self.store.content::<VolumeRecord>(&id.0);
        let fail = |error| Failure::file("copy to", &to, error);
        remove_file(&to)?;
        let size = gib.checked_mul(GIB).ok_or_else(|| Failure::value(format!("{gib} GiB is too large")))?;
        let (temporary, target) = copied(&from, &to, Some(size))?;
        let inode = target.metadata().map_err(fail)?.ino();
        fs::rename(&temporary, &to).map_err(fail)?;
        Ok(inode)
    }
}

fn shape(mapping: &ImageMapping) -> Result<Shape, Failure> {
    let shape = &mapping.shape;
    let (volume_type, size, iops, throughput) = (shape.volume_type, shape.size, shape.iops, shape.throughput);
    Shape { volume_type, size, iops, throughput }.checked()
}

fn image_view(image: &ImageRecord) -> ImageView {
    ImageView {
        id: image.id.clone(),
        name: image.request.name.clone(),
        state: ImageState::Available,
        snapshots: image.request.mappings.iter().map(|mapping| mapping.snapshot_id.clone()).collect(),
        platform: "Linux/UNIX".to_owned(),
        tags: image.tags.clone(),
    }
}
