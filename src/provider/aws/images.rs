//! RegisterImage, DescribeImages, DeregisterImage: images of restored guests.

use std::time::Duration;

use aws_sdk_ec2::types as sdk;

use super::call::{Failed, pages, send};
use super::client::Cloud;
use super::views;
use super::volumes::{PAGE, filters, signed};
use crate::model::{Architecture, BootMode};
use crate::provider::TAG_TOKEN;
use crate::provider::types::{
    Filter, ImageId, ImageMapping, ImageState, ImageView, ProviderError, ProviderErrorKind, RegisterImage,
};

/// How often an image whose name is taken is looked for, and the pause between: DescribeImages may
/// lag behind.
const LOOKS: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);

impl Cloud {
    /// RegisterImage has no client token, but a name is given once only: whoever finds it taken by
    /// an image with this token has made that image.
    pub(super) async fn register_image(&self, request: &RegisterImage) -> Result<ImageView, ProviderError> {
        let failed = match self.register(request).await {
            Ok(view) => return Ok(view),
            Err(failed) => failed,
        };
        if !failed.is("InvalidAMIName.Duplicate") {
            return Err(failed.into());
        }
        for _ in 0..LOOKS {
            let found = self.described(vec![vec![named(&request.name)]]).await?;
            if let Some(made) = found.into_iter().find(|image| image.name == request.name) {
                let is_ours = made.tags.get(TAG_TOKEN).is_some_and(|token| *token == request.token.0);
                return if is_ours { Ok(made) } else { Err(failed.into()) };
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(failed.into())
    }

    async fn register(&self, request: &RegisterImage) -> Result<ImageView, Failed> {
        let ec2 = self.ec2().await?;
        let mut tags = self.spec.default_tags.clone();
        tags.extend(request.tags.clone());
        tags.insert(TAG_TOKEN.to_owned(), request.token.to_string());
        let mappings = request.mappings.iter().map(mapping).collect::<Result<Vec<_>, _>>()?;
        let call = ec2
            .register_image()
            .name(&request.name)
            .description(&request.description)
            .architecture(match request.architecture {
                Architecture::Arm64 => sdk::ArchitectureValues::Arm64,
                // A 32-bit guest runs on 64-bit types; its image says what they are.
                Architecture::X86_64 | Architecture::I386 => sdk::ArchitectureValues::X8664,
            })
            .boot_mode(match request.boot_mode {
                BootMode::LegacyBios => sdk::BootModeValues::LegacyBios,
                BootMode::Uefi => sdk::BootModeValues::Uefi,
            })
            .virtualization_type("hvm")
            .ena_support(true)
            .root_device_name(&request.root_device)
            .set_block_device_mappings(Some(mappings))
            .set_tag_specifications(
                views::tag_specification(sdk::ResourceType::Image, &tags).map(|tags| vec![tags]),
            );
        let ids: Vec<&str> = request.mappings.iter().map(|disk| disk.snapshot_id.0.as_str()).collect();
        let answer = self.fresh.settled(&ids, || async { send!("RegisterImage", call.clone()) }).await?;
        let id = views::required(answer.image_id(), "RegisterImage", "the image's id")?;
        self.fresh.note(id);
        Ok(ImageView {
            id: ImageId(id.to_owned()),
            name: request.name.clone(),
            state: ImageState::Pending,
            snapshots: request.mappings.iter().map(|disk| disk.snapshot_id.clone()).collect(),
            platform: String::new(),
            tags,
        })
    }

    pub(super) async fn describe_images(&self, filter: &Filter) -> Result<Vec<ImageView>, ProviderError> {
        self.described(filters("image-id", filter)).await
    }

    async fn described(&self, filters: Vec<Vec<sdk::Filter>>) -> Result<Vec<ImageView>, ProviderError> {
        let ec2 = self.ec2().await?;
        let mut found: Vec<sdk::Image> = Vec::new();
        for filters in filters {
            // Without an owner, EC2 describes every public image there is.
            let call = ec2.describe_images().owners("self").include_deprecated(true);
            let call = call.set_filters(Some(filters)).max_results(PAGE);
            found.extend(pages!("DescribeImages", call, images));
        }
        found.iter().map(views::image).collect()
    }

    pub(super) async fn deregister_image(&self, id: &ImageId) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        let call = ec2.deregister_image().image_id(&id.0);
        let gone =
            self.fresh.settled(&[&id.0], || async { send!("DeregisterImage", call.clone()).map(drop) }).await;
        self.fresh.forget(&id.0);
        match gone {
            // An attempt whose reply was lost has done it.
            Err(failed) if failed.is_unknown && is_gone(&failed) => Ok(()),
            other => other.map_err(ProviderError::from),
        }
    }
}

fn is_gone(failed: &Failed) -> bool {
    failed.error.kind == ProviderErrorKind::NotFound || failed.is("InvalidAMIID.Unavailable")
}

fn named(name: &str) -> sdk::Filter {
    sdk::Filter::builder().name("name").values(name).build()
}

/// A mapping from a snapshot; whether it is encrypted the snapshot says, and the call must not
/// ("EbsBlockDevice": `Encrypted`, `KmsKeyId`).
fn mapping(disk: &ImageMapping) -> Result<sdk::BlockDeviceMapping, ProviderError> {
    const OPERATION: &str = "RegisterImage";
    let number =
        |value: Option<u32>, name| value.map(|value| signed(value.into(), name, OPERATION)).transpose();
    let shape = &disk.shape;
    let ebs = sdk::EbsBlockDevice::builder()
        .snapshot_id(&disk.snapshot_id.0)
        .volume_size(signed(shape.size, "VolumeSize", OPERATION)?)
        .volume_type(sdk::VolumeType::from(shape.volume_type.as_str()))
        .set_iops(number(shape.iops, "Iops")?)
        .set_throughput(number(shape.throughput, "Throughput")?)
        .delete_on_termination(shape.delete_on_termination)
        .build();
    Ok(sdk::BlockDeviceMapping::builder().device_name(&disk.device).ebs(ebs).build())
}
