//! EC2's rules of images, as any provider must keep them (part of the suite in conformance.rs).

use std::collections::{BTreeMap, BTreeSet};

use replant::model::{Architecture, BootMode, ClientToken, Digest, VolumeType};
use replant::provider::{
    CreateSnapshot, CreateVolume, Filter, ImageId, ImageMapping, ImageState, ImageView, InstanceState,
    ModifyInstance, ProviderErrorKind, RegisterImage, RunInstance, SnapshotId, SnapshotState, TagMap,
    VolumeId, VolumeShape, VolumeView,
};

use super::conformance::{SOON, Subject, refused, run_request, token, until, volume_request};

pub fn snapshot_request(volume: &VolumeView, token: ClientToken, tags: TagMap) -> CreateSnapshot {
    CreateSnapshot { token, volume_id: volume.id.clone(), description: "for an image".to_owned(), tags }
}

/// An image of these snapshots, each for a volume of 2 GiB; the first is the root.
pub fn image_request(name: &str, snapshots: &[&SnapshotId]) -> RegisterImage {
    let devices = ["/dev/xvda", "/dev/sdf", "/dev/sdg"];
    let mapping = |(device, snapshot): (&str, &&SnapshotId)| ImageMapping {
        device: device.to_owned(),
        snapshot_id: (*snapshot).clone(),
        shape: VolumeShape {
            size: 2,
            volume_type: VolumeType::Gp3,
            iops: Some(3000),
            throughput: Some(250),
            delete_on_termination: device == "/dev/xvda",
        },
    };
    RegisterImage {
        name: name.to_owned(),
        token: ClientToken(format!("token-of-{name}")),
        description: "a restored guest".to_owned(),
        architecture: Architecture::X86_64,
        boot_mode: BootMode::LegacyBios,
        root_device: "/dev/xvda".to_owned(),
        mappings: devices.into_iter().zip(snapshots).map(mapping).collect(),
        tags: TagMap::from([("why".to_owned(), "test".to_owned())]),
    }
}

impl Subject {
    async fn snapshot_of(&self, volume: &VolumeId) -> SnapshotId {
        let view = self.described(volume).await.unwrap();
        let request = snapshot_request(&view, token(), TagMap::new());
        let made = self.p().create_snapshot(&request).await.unwrap();
        until("the snapshot", SOON, || async {
            let found = self.p().snapshots(&Filter::id(&made.id)).await.unwrap();
            found.first().filter(|view| view.state == SnapshotState::Completed).map(drop)
        })
        .await;
        made.id
    }

    async fn available(&self, id: &ImageId) -> ImageView {
        until("the image", SOON, || async {
            let found = self.p().images(&Filter::id(id)).await.unwrap().pop();
            found.filter(|view| view.state == ImageState::Available)
        })
        .await
    }
}

pub async fn images_are_made_of_snapshots(subject: &Subject) {
    let volume = subject.volume().await;
    let snapshot = subject.snapshot_of(&volume).await;
    let request = image_request("replant-test-1", &[&snapshot]);
    for (wrong, kind, code) in [
        (
            RegisterImage { name: "a\"b".to_owned(), ..request.clone() },
            ProviderErrorKind::InvalidParameter,
            "InvalidAMIName.Malformed",
        ),
        (
            image_request("replant-test-2", &[&SnapshotId("snap-0123456789abcdef0".to_owned())]),
            ProviderErrorKind::NotFound,
            "InvalidSnapshot.NotFound",
        ),
        (
            RegisterImage { root_device: "/dev/sda1".to_owned(), ..request.clone() },
            ProviderErrorKind::InvalidParameter,
            "InvalidBlockDeviceMapping",
        ),
    ] {
        refused(subject.p().register_image(&wrong).await, kind, code);
    }
    let made = subject.p().register_image(&request).await.unwrap();
    assert!(made.id.0.starts_with("ami-"), "{}", made.id);
    // It has no client token: its name makes it one.
    assert_eq!(subject.p().register_image(&request).await.unwrap().id, made.id);
    let other = RegisterImage { token: token(), ..request.clone() };
    let taken = subject.p().register_image(&other).await;
    refused(taken, ProviderErrorKind::InvalidParameter, "InvalidAMIName.Duplicate");
    let view = subject.available(&made.id).await;
    assert_eq!((view.name.as_str(), view.platform.as_str()), ("replant-test-1", "Linux/UNIX"));
    assert_eq!((view.snapshots, &view.tags["why"]), (BTreeSet::from([snapshot.clone()]), &"test".to_owned()));
    assert_eq!(subject.p().images(&Filter::tag("why", "test")).await.unwrap().len(), 1);
    let set = TagMap::from([("more".to_owned(), "1".to_owned())]);
    subject.p().change_tags(&made.id.0, &set, &BTreeSet::new()).await.unwrap();
    assert_eq!(subject.p().images(&Filter::tag("more", "1")).await.unwrap().len(), 1);

    let in_use = subject.p().delete_snapshot(&snapshot).await;
    refused(in_use, ProviderErrorKind::IncorrectState, "InvalidSnapshot.InUse");
    subject.p().deregister_image(&made.id).await.unwrap();
    assert!(subject.p().images(&Filter::id(&made.id)).await.unwrap().is_empty());
    subject.p().delete_snapshot(&snapshot).await.unwrap();
    let never = ImageId("ami-0123456789abcdef0".to_owned());
    let unknown = subject.p().deregister_image(&never).await;
    refused(unknown, ProviderErrorKind::NotFound, "InvalidAMIID.NotFound");
    let from_it = RunInstance { image_id: Some(never), ..run_request(&subject.zone) };
    refused(subject.p().run_instance(&from_it).await, ProviderErrorKind::NotFound, "InvalidAMIID.NotFound");
}

/// An instance gets volumes of its own, as its image says; the image is not needed any more.
pub async fn an_image_is_launched_with_its_volumes(subject: &Subject) {
    let request = CreateVolume { encrypted: Some(true), ..volume_request(&subject.zone) };
    let root = subject.p().create_volume(&request).await.unwrap().id;
    subject.state(&root, replant::provider::VolumeState::Available).await;
    let data = subject.volume().await;
    let (of_root, of_data) = (subject.snapshot_of(&root).await, subject.snapshot_of(&data).await);
    let image = image_request("replant-test-3", &[&of_root, &of_data]);
    let image = subject.p().register_image(&image).await.unwrap().id;
    subject.available(&image).await;
    let text = "#!/bin/sh\n".to_owned();
    let request = RunInstance {
        image_id: Some(image.clone()),
        user_data_digest: Some(Digest::of(text.as_bytes())),
        user_data: Some(text),
        private_ip: Some(subject.address),
        tags: TagMap::from([("Name".to_owned(), "web".to_owned())]),
        ..run_request(&subject.zone)
    };
    let made = subject.p().run_instance(&request).await.unwrap();
    assert_eq!(subject.p().run_instance(&request).await.unwrap().id, made.id);
    let view = until("its volumes", SOON, || async {
        subject.instance(&made.id).await.filter(|view| view.volumes.len() == 2)
    })
    .await;
    assert_eq!((view.root_device.as_str(), view.private_ip), ("/dev/xvda", Some(subject.address)));
    for (device, of, encrypted, dies) in [("/dev/xvda", &root, true, true), ("/dev/sdf", &data, false, false)]
    {
        let volume = subject.described(&view.volumes[device]).await.unwrap();
        assert_ne!(volume.id, *of);
        let shape = (volume.size, volume.volume_type, volume.iops, volume.throughput, volume.encrypted);
        assert_eq!(shape, (2, VolumeType::Gp3, Some(3000), Some(250), encrypted), "{device}");
        assert_eq!(volume.attachment.unwrap().delete_on_termination, dies, "{device}");
        assert_eq!(volume.tags["Name"], "web", "{device}");
    }
    subject.instance_state(&made.id, InstanceState::Running).await;
    let protect = ModifyInstance { termination_protection: Some(true), ..ModifyInstance::default() };
    subject.p().modify_instance(&made.id, &protect).await.unwrap();
    let free = ModifyInstance { termination_protection: Some(false), ..ModifyInstance::default() };
    subject.p().modify_instance(&made.id, &free).await.unwrap();
    subject.p().deregister_image(&image).await.unwrap();
    for snapshot in [of_root, of_data] {
        subject.p().delete_snapshot(&snapshot).await.unwrap();
    }
    subject.p().terminate_instance(&made.id).await.unwrap();
    subject.instance_state(&made.id, InstanceState::Terminated).await;
    let mut left = subject.volumes().await;
    left.retain(|view| !view.state.is_ending());
    let left: BTreeMap<_, _> = left.into_iter().map(|view| (view.id, view.size)).collect();
    assert_eq!(left, BTreeMap::from([(root, 1), (data, 1), (view.volumes["/dev/sdf"].clone(), 2)]));
}
