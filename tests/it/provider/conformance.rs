//! EC2's rules, as any provider must keep them. A provider's tests give a [`Subject`] and run
//! every function here by [`conforms`].

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use replant::model::{Architecture, BootMode, ClientToken, InstanceOptions, VolumeType};
use replant::provider::{
    CreateSnapshot, CreateVolume, Filter, InstanceId, InstanceState, InstanceView, ModifyInstance,
    ModifyVolume, Provider, ProviderError, ProviderErrorKind, RunInstance, SnapshotState, StatusCheck,
    TagMap, VolumeId, VolumeState, VolumeView,
};

pub use super::images::{an_image_is_launched_with_its_volumes, images_are_made_of_snapshots};

/// A cloud to put questions to.
pub struct Subject {
    pub provider: Arc<dyn Provider>,
    /// The access node's zone.
    pub zone: String,
    /// Another zone of the region.
    pub other_zone: String,
    /// An address that an instance of the access node's zone can have.
    pub address: std::net::Ipv4Addr,
    /// Ids of volumes and instances that were there before: the access node and what is its own.
    pub foreign: BTreeSet<String>,
    /// What must live as long as the cloud.
    #[allow(dead_code)]
    pub keep: Box<dyn Any>,
}

/// Runs every function of the suite as a test of its own, on a subject made by `$subject`.
macro_rules! conforms {
    ($subject:path: $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                crate::provider::conformance::run(async {
                    let subject = $subject();
                    crate::provider::conformance::$name(&subject).await;
                });
            }
        )*
    };
    ($subject:path) => {
        crate::provider::conformance::conforms! { $subject:
            volumes_become_available tokens_make_one_volume volume_limits attaching detaching
            slots_are_counted zones_are_walls devices_are_proven volumes_only_grow deleting_volumes
            tags_and_filters snapshots_hold_the_moment tokens_make_one_instance instances_live
            the_root_is_swapped terminating_takes_volumes protection_protects addresses_are_unique
            instances_are_checked unknown_things_are_not_found types_are_known
            images_are_made_of_snapshots an_image_is_launched_with_its_volumes
        }
    };
}
pub(crate) use conforms;

/// Runs a test's future.
pub fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

pub fn token() -> ClientToken {
    ClientToken::random().unwrap()
}

pub fn volume_request(zone: &str) -> CreateVolume {
    CreateVolume {
        token: token(),
        zone: zone.to_owned(),
        size: 1,
        volume_type: VolumeType::Gp3,
        iops: None,
        throughput: None,
        encrypted: None,
        kms_key_id: None,
        tags: TagMap::new(),
        raised: false,
    }
}

pub fn run_request(zone: &str) -> RunInstance {
    RunInstance {
        token: token(),
        base_ami: None,
        image_id: None,
        user_data: None,
        user_data_digest: None,
        instance_type: "m6i.large".to_owned(),
        architecture: Architecture::X86_64,
        boot_mode: BootMode::LegacyBios,
        platform: "linux".to_owned(),
        zone: zone.to_owned(),
        subnet_id: None,
        private_ip: None,
        security_group_ids: Vec::new(),
        key_name: None,
        iam_instance_profile: None,
        options: InstanceOptions::default(),
        tags: TagMap::new(),
        console_pattern: None,
        boot_timeout: None,
    }
}

/// Waits until a question has an answer.
#[track_caller]
pub fn until<T, F: Future<Output = Option<T>>>(
    what: &'static str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut pause = Duration::from_millis(10);
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(Instant::now() < deadline, "{place}: {what} never came");
            tokio::time::sleep(pause).await;
            // Many tests ask one server.
            pause = (pause * 2).min(Duration::from_millis(150));
        }
    }
}

pub const SOON: Duration = Duration::from_secs(60);

#[track_caller]
pub fn refused<T: std::fmt::Debug>(answer: Result<T, ProviderError>, kind: ProviderErrorKind, code: &str) {
    let error = answer.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
    assert!(!error.message.is_empty() && !error.operation.is_empty());
}

impl Subject {
    pub fn p(&self) -> &dyn Provider {
        &*self.provider
    }

    /// All volumes that the test made.
    pub async fn volumes(&self) -> Vec<VolumeView> {
        let mut all = self.p().volumes(&Filter::default()).await.unwrap();
        all.retain(|volume| !self.foreign.contains(&volume.id.0));
        all
    }

    /// All instances that the test made.
    pub async fn instances(&self) -> Vec<InstanceView> {
        let mut all = self.p().instances(&Filter::default()).await.unwrap();
        all.retain(|instance| !self.foreign.contains(&instance.id.0));
        all
    }

    pub async fn described(&self, id: &VolumeId) -> Option<VolumeView> {
        let mut found = self.p().volumes(&Filter::id(id)).await.unwrap();
        assert!(found.len() <= 1);
        found.pop()
    }

    pub async fn instance(&self, id: &InstanceId) -> Option<InstanceView> {
        self.p().instances(&Filter::id(id)).await.unwrap().pop()
    }

    pub async fn state(&self, id: &VolumeId, state: VolumeState) {
        until("the volume's state", SOON, || async {
            self.described(id).await.filter(|volume| volume.state == state)
        })
        .await;
    }

    pub async fn instance_state(&self, id: &InstanceId, state: InstanceState) {
        until("the instance's state", SOON, || async {
            self.instance(id).await.filter(|instance| instance.state == state)
        })
        .await;
    }

    pub async fn volume(&self) -> VolumeId {
        let volume = self.p().create_volume(&volume_request(&self.zone)).await.unwrap();
        self.state(&volume.id, VolumeState::Available).await;
        volume.id
    }

    pub async fn node(&self) -> InstanceId {
        self.p().access_node().await.unwrap().instance_id
    }

    pub async fn attach(&self, volume: &VolumeId, instance: &InstanceId, device: &str) {
        self.p().attach_volume(volume, instance, device).await.unwrap();
        until("the attachment", SOON, || async {
            self.described(volume).await?.attachment.filter(|attachment| attachment.state == "attached")
        })
        .await;
    }

    pub async fn detach(&self, volume: &VolumeId, instance: &InstanceId) {
        self.p().detach_volume(volume, instance).await.unwrap();
        self.state(volume, VolumeState::Available).await;
    }

    pub async fn running(&self) -> InstanceView {
        let made = self.p().run_instance(&run_request(&self.zone)).await.unwrap();
        self.instance_state(&made.id, InstanceState::Running).await;
        self.instance(&made.id).await.unwrap()
    }

    pub async fn stop(&self, id: &InstanceId) {
        self.p().stop_instance(id).await.unwrap();
        self.instance_state(id, InstanceState::Stopped).await;
    }
}

fn is_id(prefix: &str, id: &str) -> bool {
    let digits = id.strip_prefix(prefix).unwrap_or("");
    digits.len() == 17 && digits.bytes().all(|c| c.is_ascii_hexdigit())
}

use ProviderErrorKind::{DeviceRefused, IncorrectState, InvalidParameter, LimitExceeded, NotFound};

pub async fn volumes_become_available(subject: &Subject) {
    let mut request = volume_request(&subject.zone);
    request.tags = TagMap::from([("Name".to_owned(), "Wurzel".to_owned())]);
    let made = subject.p().create_volume(&request).await.unwrap();
    assert!(is_id("vol-", &made.id.0), "{}", made.id);
    assert_eq!(made.state, VolumeState::Creating);
    assert_eq!(
        (made.size, made.volume_type, made.iops, made.throughput),
        (1, VolumeType::Gp3, Some(3000), Some(125))
    );
    assert_eq!((&made.zone, made.encrypted, &made.attachment), (&subject.zone, false, &None));
    assert_eq!(made.tags, request.tags);
    subject.state(&made.id, VolumeState::Available).await;
}

pub async fn tokens_make_one_volume(subject: &Subject) {
    let request = volume_request(&subject.zone);
    let first = subject.p().create_volume(&request).await.unwrap();
    let second = subject.p().create_volume(&request).await.unwrap();
    assert_eq!(first.id, second.id);
    let other = CreateVolume { size: 2, ..request.clone() };
    refused(subject.p().create_volume(&other).await, InvalidParameter, "IdempotentParameterMismatch");
    assert_eq!(subject.volumes().await.len(), 1);
    let unrelated = subject.p().create_volume(&CreateVolume { token: token(), ..request }).await.unwrap();
    assert_ne!(unrelated.id, first.id);
}

pub async fn volume_limits(subject: &Subject) {
    let base = || volume_request(&subject.zone);
    let value = "InvalidParameterValue";
    for (request, code) in [
        (CreateVolume { size: 0, ..base() }, value),
        (CreateVolume { size: u64::MAX, ..base() }, value),
        (CreateVolume { size: 2, volume_type: VolumeType::Io1, iops: Some(100), ..base() }, value),
        (CreateVolume { size: 124, volume_type: VolumeType::St1, ..base() }, value),
        (CreateVolume { size: 4, volume_type: VolumeType::Io1, ..base() }, "MissingParameter"),
        (
            CreateVolume { volume_type: VolumeType::Gp2, iops: Some(3000), ..base() },
            "InvalidParameterCombination",
        ),
        (CreateVolume { kms_key_id: Some("alias/x".to_owned()), ..base() }, "InvalidParameterDependency"),
        (CreateVolume { zone: "nowhere-9z".to_owned(), ..base() }, "InvalidZone.NotFound"),
    ] {
        refused(subject.p().create_volume(&request).await, InvalidParameter, code);
    }
    assert!(subject.volumes().await.is_empty());
}

pub async fn attaching(subject: &Subject) {
    let node = subject.node().await;
    let request = volume_request(&subject.zone);
    let fresh = subject.p().create_volume(&request).await.unwrap();
    refused(subject.p().attach_volume(&fresh.id, &node, "xvdf").await, IncorrectState, "IncorrectState");
    subject.state(&fresh.id, VolumeState::Available).await;
    subject.p().attach_volume(&fresh.id, &node, "xvdf").await.unwrap();
    let attachment = subject.described(&fresh.id).await.unwrap().attachment.unwrap();
    assert_eq!((&attachment.instance_id, attachment.device.as_str()), (&node, "xvdf"));
    assert!(!attachment.delete_on_termination);
    // The same again is the same.
    subject.attach(&fresh.id, &node, "xvdf").await;
    assert_eq!(subject.described(&fresh.id).await.unwrap().state, VolumeState::InUse);

    refused(subject.p().attach_volume(&fresh.id, &node, "xvdg").await, IncorrectState, "VolumeInUse");
    let second = subject.volume().await;
    refused(subject.p().attach_volume(&second, &node, "xvdf").await, IncorrectState, "InvalidDevice.InUse");
    refused(
        subject.p().attach_volume(&second, &node, "/dev/sdf").await,
        IncorrectState,
        "InvalidDevice.InUse",
    );
    for wrong in ["xvda", "xvde", "nvme1n1", "", "../xvdf"] {
        refused(
            subject.p().attach_volume(&second, &node, wrong).await,
            InvalidParameter,
            "InvalidParameterValue",
        );
    }
    let instance = subject.running().await.id;
    refused(subject.p().attach_volume(&fresh.id, &instance, "/dev/sdf").await, IncorrectState, "VolumeInUse");
    subject.attach(&second, &instance, "/dev/sdf").await;
}

pub async fn detaching(subject: &Subject) {
    let node = subject.node().await;
    let volume = subject.volume().await;
    // What is not attached is detached.
    subject.p().detach_volume(&volume, &node).await.unwrap();
    subject.attach(&volume, &node, "xvdh").await;
    let instance = subject.running().await.id;
    refused(subject.p().detach_volume(&volume, &instance).await, NotFound, "InvalidAttachment.NotFound");
    subject.p().detach_volume(&volume, &node).await.unwrap();
    let attachment = subject.described(&volume).await.unwrap().attachment.unwrap();
    assert_eq!(attachment.state, "detaching");
    // Not free before it is gone.
    refused(subject.p().attach_volume(&volume, &node, "xvdh").await, IncorrectState, "VolumeInUse");
    subject.p().detach_volume(&volume, &node).await.unwrap();
    subject.state(&volume, VolumeState::Available).await;
    subject.attach(&volume, &node, "xvdh").await;
}

pub async fn slots_are_counted(subject: &Subject) {
    let node = subject.p().access_node().await.unwrap();
    let expected: Vec<String> = ('f'..='z').map(|letter| format!("xvd{letter}")).collect();
    assert_eq!(node.free_slots, expected);
    assert_eq!(node.zone, subject.zone);
    assert!(is_id("i-", &node.instance_id.0));
    let volume = subject.volume().await;
    subject.attach(&volume, &node.instance_id, "xvdg").await;
    let now = subject.p().access_node().await.unwrap();
    assert_eq!(now.instance_id, node.instance_id);
    assert_eq!(now.free_slots.len(), 20);
    assert!(!now.free_slots.contains(&"xvdg".to_owned()));
    let mut volumes = Vec::new();
    for _ in &now.free_slots {
        volumes.push(subject.p().create_volume(&volume_request(&subject.zone)).await.unwrap().id);
    }
    for (slot, volume) in now.free_slots.iter().zip(&volumes) {
        subject.state(volume, VolumeState::Available).await;
        subject.p().attach_volume(volume, &node.instance_id, slot).await.unwrap();
    }
    assert!(subject.p().access_node().await.unwrap().free_slots.is_empty());
    subject.detach(&volume, &node.instance_id).await;
    assert_eq!(subject.p().access_node().await.unwrap().free_slots, ["xvdg"]);
}

pub async fn zones_are_walls(subject: &Subject) {
    let node = subject.node().await;
    let volume = subject.p().create_volume(&volume_request(&subject.other_zone)).await.unwrap();
    subject.state(&volume.id, VolumeState::Available).await;
    refused(
        subject.p().attach_volume(&volume.id, &node, "xvdf").await,
        InvalidParameter,
        "InvalidVolume.ZoneMismatch",
    );
    let elsewhere = subject.p().run_instance(&run_request(&subject.other_zone)).await.unwrap();
    subject.instance_state(&elsewhere.id, InstanceState::Running).await;
    subject.attach(&volume.id, &elsewhere.id, "/dev/sdf").await;
}

pub async fn devices_are_proven(subject: &Subject) {
    let node = subject.node().await;
    let volume = subject.volume().await;
    refused(subject.p().device(&volume).await, DeviceRefused, "DeviceRefused");
    subject.attach(&volume, &node, "xvdf").await;
    let device = subject.p().device(&volume).await.unwrap();
    assert_eq!((&device.volume_id, device.size), (&volume, 1 << 30));
    assert!(device.path.exists());
    subject.detach(&volume, &node).await;
    refused(subject.p().device(&volume).await, DeviceRefused, "DeviceRefused");
    // On another instance it is nobody's to write to.
    let instance = subject.running().await.id;
    subject.attach(&volume, &instance, "/dev/sdf").await;
    refused(subject.p().device(&volume).await, DeviceRefused, "DeviceRefused");
}

pub async fn volumes_only_grow(subject: &Subject) {
    let volume = subject.volume().await;
    let grow = |size| ModifyVolume { size: Some(size), ..ModifyVolume::default() };
    subject.p().modify_volume(&volume, &grow(3)).await.unwrap();
    subject.p().modify_volume(&volume, &grow(3)).await.unwrap();
    refused(subject.p().modify_volume(&volume, &grow(2)).await, InvalidParameter, "InvalidParameterValue");
    let wrong = ModifyVolume { throughput: Some(2000), ..ModifyVolume::default() };
    refused(subject.p().modify_volume(&volume, &wrong).await, InvalidParameter, "InvalidParameterValue");
    let other = ModifyVolume { volume_type: Some(VolumeType::Gp2), ..ModifyVolume::default() };
    // EC2 may still be at work on the change before.
    until("the end of a change", SOON, async || match subject.p().modify_volume(&volume, &other).await {
        Ok(()) => Some(()),
        Err(error) if error.code == "IncorrectModificationState" => None,
        Err(error) => panic!("{error}"),
    })
    .await;
    let node = subject.node().await;
    subject.attach(&volume, &node, "xvdf").await;
    assert_eq!(subject.p().device(&volume).await.unwrap().size, 3 << 30);
    let view = subject.described(&volume).await.unwrap();
    assert_eq!(
        (view.size, view.volume_type, view.iops, view.throughput),
        (3, VolumeType::Gp2, Some(100), None)
    );
}

pub async fn deleting_volumes(subject: &Subject) {
    let node = subject.node().await;
    let volume = subject.volume().await;
    subject.attach(&volume, &node, "xvdf").await;
    refused(subject.p().delete_volume(&volume).await, IncorrectState, "VolumeInUse");
    subject.detach(&volume, &node).await;
    subject.p().delete_volume(&volume).await.unwrap();
    refused_attach_of_deleted(subject, &volume, &node).await;
    until("its end", SOON, || async { subject.described(&volume).await.is_none().then_some(()) }).await;
    refused(subject.p().delete_volume(&volume).await, NotFound, "InvalidVolume.NotFound");
}

async fn refused_attach_of_deleted(subject: &Subject, volume: &VolumeId, node: &InstanceId) {
    let error = subject.p().attach_volume(volume, node, "xvdf").await.unwrap_err();
    assert!(matches!(error.kind, IncorrectState | NotFound), "{error}");
}

pub async fn tags_and_filters(subject: &Subject) {
    let tagged = |n: &str| CreateVolume {
        tags: TagMap::from([("n".to_owned(), n.to_owned()), ("all".to_owned(), String::new())]),
        ..volume_request(&subject.zone)
    };
    let one = subject.p().create_volume(&tagged("1")).await.unwrap().id;
    let two = subject.p().create_volume(&tagged("2")).await.unwrap().id;
    let ids = async |filter: &Filter| -> BTreeSet<VolumeId> {
        subject.p().volumes(filter).await.unwrap().into_iter().map(|volume| volume.id).collect()
    };
    assert_eq!(ids(&Filter::tag("n", "2")).await, BTreeSet::from([two.clone()]));
    assert_eq!(ids(&Filter::tag("all", "")).await, BTreeSet::from([one.clone(), two.clone()]));
    assert!(ids(&Filter::tag("n", "3")).await.is_empty());
    let both = Filter { ids: BTreeSet::from([one.0.clone()]), ..Filter::tag("n", "2") };
    assert!(ids(&both).await.is_empty());
    let missing = BTreeSet::from([one.0.clone(), "vol-00000000000000000".to_owned()]);
    assert_eq!(ids(&Filter { ids: missing, ..Filter::default() }).await, BTreeSet::from([one.clone()]));

    let set = TagMap::from([("n".to_owned(), "3".to_owned())]);
    subject.p().change_tags(&one.0, &set, &BTreeSet::from(["all".to_owned()])).await.unwrap();
    assert_eq!(subject.described(&one).await.unwrap().tags, set);
    let reserved = TagMap::from([("aws:x".to_owned(), String::new())]);
    let none = BTreeSet::new();
    refused(
        subject.p().change_tags(&one.0, &reserved, &none).await,
        InvalidParameter,
        "InvalidParameterValue",
    );
    let many: TagMap = (0..51).map(|n| (format!("k{n}"), String::new())).collect();
    refused(subject.p().change_tags(&one.0, &many, &none).await, LimitExceeded, "TagLimitExceeded");
    assert_eq!(subject.described(&one).await.unwrap().tags, set);

    let instance = subject.running().await.id;
    subject.p().change_tags(&instance.0, &set, &none).await.unwrap();
    assert_eq!(subject.p().instances(&Filter::tag("n", "3")).await.unwrap()[0].id, instance);
}

pub async fn snapshots_hold_the_moment(subject: &Subject) {
    let volume = subject.volume().await;
    let request = CreateSnapshot {
        token: token(),
        volume_id: volume.clone(),
        description: "before it goes".to_owned(),
        tags: TagMap::from([("why".to_owned(), "test".to_owned())]),
    };
    let made = subject.p().create_snapshot(&request).await.unwrap();
    assert!(is_id("snap-", &made.id.0));
    assert_eq!(subject.p().create_snapshot(&request).await.unwrap().id, made.id);
    until("the snapshot", SOON, || async {
        let found = subject.p().snapshots(&Filter::tag("why", "test")).await.unwrap();
        assert_eq!(found.len(), 1);
        (found[0].state == SnapshotState::Completed).then_some(())
    })
    .await;
    // It outlives its volume.
    subject.p().delete_volume(&volume).await.unwrap();
    assert_eq!(subject.p().snapshots(&Filter::id(&made.id)).await.unwrap()[0].volume_id, volume);
    subject.p().delete_snapshot(&made.id).await.unwrap();
    assert!(subject.p().snapshots(&Filter::id(&made.id)).await.unwrap().is_empty());
    refused(subject.p().delete_snapshot(&made.id).await, NotFound, "InvalidSnapshot.NotFound");
}

pub async fn tokens_make_one_instance(subject: &Subject) {
    let request = run_request(&subject.zone);
    let first = subject.p().run_instance(&request).await.unwrap();
    let second = subject.p().run_instance(&request).await.unwrap();
    assert_eq!(first.id, second.id);
    let other = RunInstance { instance_type: "m6i.xlarge".to_owned(), ..request.clone() };
    refused(subject.p().run_instance(&other).await, InvalidParameter, "IdempotentParameterMismatch");
    assert_eq!(subject.instances().await.len(), 1);
    assert_eq!(subject.volumes().await.len(), 1);
    subject.p().terminate_instance(&first.id).await.unwrap();
    subject.instance_state(&first.id, InstanceState::Terminated).await;
    refused(subject.p().run_instance(&request).await, IncorrectState, "IdempotentInstanceTerminated");
}

pub async fn instances_live(subject: &Subject) {
    let made = subject.p().run_instance(&run_request(&subject.zone)).await.unwrap();
    assert!(is_id("i-", &made.id.0));
    assert_eq!(made.state, InstanceState::Pending);
    refused(subject.p().stop_instance(&made.id).await, IncorrectState, "IncorrectInstanceState");
    subject.instance_state(&made.id, InstanceState::Running).await;
    subject.p().start_instance(&made.id).await.unwrap();
    let wider =
        |name: &str| ModifyInstance { instance_type: Some(name.to_owned()), ..ModifyInstance::default() };
    refused(
        subject.p().modify_instance(&made.id, &wider("m6i.xlarge")).await,
        IncorrectState,
        "IncorrectInstanceState",
    );
    let data = ModifyInstance { user_data: Some("#!".to_owned()), ..ModifyInstance::default() };
    refused(subject.p().modify_instance(&made.id, &data).await, IncorrectState, "IncorrectInstanceState");

    subject.p().stop_instance(&made.id).await.unwrap();
    assert_eq!(subject.instance(&made.id).await.unwrap().state, InstanceState::Stopping);
    refused(subject.p().start_instance(&made.id).await, IncorrectState, "IncorrectInstanceState");
    subject.p().stop_instance(&made.id).await.unwrap();
    subject.instance_state(&made.id, InstanceState::Stopped).await;
    subject.p().stop_instance(&made.id).await.unwrap();
    subject.p().modify_instance(&made.id, &wider("m6i.xlarge")).await.unwrap();
    subject.p().modify_instance(&made.id, &data).await.unwrap();
    assert_eq!(subject.instance(&made.id).await.unwrap().instance_type, "m6i.xlarge");
    refused(
        subject.p().modify_instance(&made.id, &wider("m6g.large")).await,
        InvalidParameter,
        "InvalidParameterCombination",
    );
    subject.p().start_instance(&made.id).await.unwrap();
    subject.instance_state(&made.id, InstanceState::Running).await;
}

/// What the swap does: the stub's root out, the restored volume in.
pub async fn the_root_is_swapped(subject: &Subject) {
    let view = subject.running().await;
    let stub = view.volumes[&view.root_device].clone();
    assert!(matches!(view.root_device.as_str(), "/dev/xvda" | "/dev/sda1"), "{}", view.root_device);
    assert!(subject.described(&stub).await.unwrap().attachment.unwrap().delete_on_termination);
    until("its checks", SOON, || async {
        let status = subject.p().instance_status(&view.id).await.unwrap();
        matches!(status, StatusCheck::Ok { .. }).then_some(())
    })
    .await;
    refused(subject.p().detach_volume(&stub, &view.id).await, IncorrectState, "OperationNotPermitted");
    subject.stop(&view.id).await;
    subject.detach(&stub, &view.id).await;
    refused(subject.p().start_instance(&view.id).await, InvalidParameter, "InvalidParameterValue");
    let restored = subject.volume().await;
    subject.attach(&restored, &view.id, &view.root_device).await;
    let data = subject.volume().await;
    subject.attach(&data, &view.id, "/dev/sdf").await;
    let volumes = subject.instance(&view.id).await.unwrap().volumes;
    assert_eq!(
        volumes,
        BTreeMap::from([(view.root_device.clone(), restored.clone()), ("/dev/sdf".to_owned(), data)])
    );
    subject.p().delete_volume(&stub).await.unwrap();
    let change = ModifyInstance {
        delete_on_termination: BTreeMap::from([(view.root_device.clone(), true)]),
        ..ModifyInstance::default()
    };
    subject.p().modify_instance(&view.id, &change).await.unwrap();
    assert!(subject.described(&restored).await.unwrap().attachment.unwrap().delete_on_termination);
    let wrong = ModifyInstance {
        delete_on_termination: BTreeMap::from([("/dev/sdz".to_owned(), true)]),
        ..ModifyInstance::default()
    };
    refused(
        subject.p().modify_instance(&view.id, &wrong).await,
        InvalidParameter,
        "InvalidInstanceAttributeValue",
    );
}

pub async fn terminating_takes_volumes(subject: &Subject) {
    let view = subject.running().await;
    let stub = view.volumes[&view.root_device].clone();
    let (goes, stays) = (subject.volume().await, subject.volume().await);
    subject.attach(&goes, &view.id, "/dev/sdf").await;
    subject.attach(&stays, &view.id, "/dev/sdg").await;
    let change = ModifyInstance {
        delete_on_termination: BTreeMap::from([("/dev/sdf".to_owned(), true)]),
        ..ModifyInstance::default()
    };
    subject.p().modify_instance(&view.id, &change).await.unwrap();
    subject.p().terminate_instance(&view.id).await.unwrap();
    assert_eq!(subject.instance(&view.id).await.unwrap().state, InstanceState::ShuttingDown);
    // Asked only about the volumes, it comes to the same.
    subject.state(&stays, VolumeState::Available).await;
    for gone in [stub, goes] {
        until("its end", SOON, || async { subject.described(&gone).await.is_none().then_some(()) }).await;
    }
    subject.instance_state(&view.id, InstanceState::Terminated).await;
    assert!(subject.instance(&view.id).await.unwrap().volumes.is_empty());
    subject.p().terminate_instance(&view.id).await.unwrap();
    refused(subject.p().start_instance(&view.id).await, IncorrectState, "IncorrectInstanceState");
    refused(subject.p().stop_instance(&view.id).await, IncorrectState, "IncorrectInstanceState");
    refused(subject.p().attach_volume(&stays, &view.id, "/dev/sdf").await, IncorrectState, "IncorrectState");
}

pub async fn protection_protects(subject: &Subject) {
    let instance = subject.running().await.id;
    let protect = |on| ModifyInstance { termination_protection: Some(on), ..ModifyInstance::default() };
    subject.p().modify_instance(&instance, &protect(true)).await.unwrap();
    assert!(subject.instance(&instance).await.unwrap().termination_protection);
    refused(subject.p().terminate_instance(&instance).await, IncorrectState, "OperationNotPermitted");
    subject.stop(&instance).await;
    refused(subject.p().terminate_instance(&instance).await, IncorrectState, "OperationNotPermitted");
    subject.p().modify_instance(&instance, &protect(false)).await.unwrap();
    subject.p().terminate_instance(&instance).await.unwrap();
}

pub async fn addresses_are_unique(subject: &Subject) {
    let wanted = subject.address;
    let request = || RunInstance { private_ip: Some(wanted), ..run_request(&subject.zone) };
    let first = subject.p().run_instance(&request()).await.unwrap();
    assert_eq!(first.private_ip, Some(wanted));
    refused(subject.p().run_instance(&request()).await, IncorrectState, "InvalidIPAddress.InUse");
    subject.p().terminate_instance(&first.id).await.unwrap();
    subject.instance_state(&first.id, InstanceState::Terminated).await;
    let second = subject.p().run_instance(&request()).await.unwrap();
    let other = subject.p().run_instance(&run_request(&subject.zone)).await.unwrap();
    assert!(
        other.private_ip.is_some_and(|address| address.is_private()) && other.private_ip != second.private_ip
    );
}

pub async fn instances_are_checked(subject: &Subject) {
    let base = || run_request(&subject.zone);
    for (request, code) in [
        (RunInstance { instance_type: "m99.huge".to_owned(), ..base() }, "InvalidParameterValue"),
        (RunInstance { architecture: Architecture::Arm64, ..base() }, "InvalidParameterValue"),
        (
            RunInstance { instance_type: "t2.micro".to_owned(), boot_mode: BootMode::Uefi, ..base() },
            "InvalidParameterCombination",
        ),
        (RunInstance { zone: "nowhere-9z".to_owned(), ..base() }, "InvalidZone.NotFound"),
        (RunInstance { base_ami: Some("debian".to_owned()), ..base() }, "InvalidAMIID.Malformed"),
    ] {
        refused(subject.p().run_instance(&request).await, InvalidParameter, code);
    }
    assert!(subject.instances().await.is_empty());
}

pub async fn unknown_things_are_not_found(subject: &Subject) {
    let node = subject.node().await;
    let real = subject.volume().await;
    let volume = VolumeId("vol-0123456789abcdef0".to_owned());
    let instance = InstanceId("i-0123456789abcdef0".to_owned());
    let found = "InvalidVolume.NotFound";
    refused(subject.p().attach_volume(&volume, &node, "xvdf").await, NotFound, found);
    refused(subject.p().detach_volume(&volume, &node).await, NotFound, found);
    refused(subject.p().delete_volume(&volume).await, NotFound, found);
    refused(subject.p().modify_volume(&volume, &ModifyVolume::default()).await, NotFound, found);
    refused(subject.p().device(&volume).await, NotFound, found);
    let found = "InvalidInstanceID.NotFound";
    refused(subject.p().attach_volume(&real, &instance, "xvdf").await, NotFound, found);
    refused(subject.p().start_instance(&instance).await, NotFound, found);
    refused(subject.p().stop_instance(&instance).await, NotFound, found);
    refused(subject.p().terminate_instance(&instance).await, NotFound, found);
    refused(subject.p().console_output(&instance).await, NotFound, found);
    assert!(subject.described(&volume).await.is_none());
    assert!(subject.instance(&instance).await.is_none());
}

pub async fn types_are_known(subject: &Subject) {
    let names = BTreeSet::from(["m6i.large", "t2.micro", "m99.huge"].map(str::to_owned));
    let found = subject.p().instance_types(&names).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["m6i.large", "t2.micro"]);
    assert_eq!((found["m6i.large"].vcpus, found["m6i.large"].memory), (2, 8192));
    assert_eq!(found["t2.micro"].boot_modes, BTreeSet::from([BootMode::LegacyBios]));
}
