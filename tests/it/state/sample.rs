//! Values to put into states.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use replant::model::{Address, Architecture, BootMode, ClientToken, Digest, InstanceOptions, VolumeType};
use replant::provider::{CreateVolume, InstanceId, VolumeId};
use replant::state::{
    DriversFacts, ImageFacts, InstanceResource, LaunchPhase, Lock, Operation, Output, Paths, Resource,
    StateChange, StateError, Store, VolumeResource, WriteFacts,
};

pub fn address(text: &str) -> Address {
    text.parse().unwrap()
}

pub fn create_volume(number: u64) -> Operation {
    Operation::CreateVolume(Box::new(CreateVolume {
        token: ClientToken(format!("replant-{number:032x}")),
        zone: "eu-central-1a".to_owned(),
        size: 40,
        volume_type: VolumeType::Gp3,
        iops: None,
        throughput: Some(250),
        encrypted: Some(true),
        kms_key_id: None,
        tags: BTreeMap::from([("Name".to_owned(), "web".to_owned())]),
        raised: false,
    }))
}

pub fn volume(number: u64) -> Resource {
    Resource::Volume(Box::new(VolumeResource {
        id: VolumeId(format!("vol-{number:017x}")),
        zone: "eu-central-1a".to_owned(),
        size: 40,
        volume_type: VolumeType::Gp3,
        iops: None,
        throughput: Some(250),
        encrypted: Some(true),
        kms_key_id: None,
        delete_on_termination: true,
        tags: BTreeMap::from([("Name".to_owned(), "web".to_owned())]),
        prevent_destroy: false,
        final_snapshot: None,
        written: false,
        write: Some(WriteFacts {
            image: ImageFacts {
                path: Path::new("backups/web.ova").into(),
                member: Some("web-disk1.vmdk".to_owned()),
                snapshot: None,
                format: "vmdk/streamOptimized".to_owned(),
                size: 42_949_672_960,
                identity: Digest::of(b"image"),
            },
            content: Digest::of(b"content"),
            data_bytes: 5_368_709_120,
            zero_bytes: 37_580_963_840,
            manifest: ".replant/manifests/web.root.manifest".into(),
            verified: true,
            finished_at: "2026-11-22T07:00:00Z".to_owned(),
        }),
        drivers: Some(DriversFacts { recipe: Digest::of(b"recipe"), overlay_bytes: 3_145_728, wanted: None }),
        slot: None,
        started: true,
        raised: false,
        predecessor: None,
        last_snapshot: None,
    }))
}

pub fn instance(number: u64) -> Resource {
    Resource::Instance(Box::new(InstanceResource {
        id: InstanceId(format!("i-{number:017x}")),
        phase: LaunchPhase::Started,
        instance_type: "m6i.large".to_owned(),
        architecture: Architecture::X86_64,
        platform: None,
        boot_mode: BootMode::Uefi,
        zone: "eu-central-1a".to_owned(),
        subnet_id: Some("subnet-0123456789abcdef0".to_owned()),
        private_ip: Some("10.20.1.15".parse().unwrap()),
        security_group_ids: vec!["sg-0123456789abcdef0".to_owned()],
        key_name: None,
        iam_instance_profile: None,
        user_data: Some(Digest::of(b"user data")),
        termination_protection: false,
        options: InstanceOptions::default(),
        state: "running".to_owned(),
        disks: vec!["root".to_owned()],
        tags: BTreeMap::new(),
        depends_on: BTreeSet::from(["instance.db".parse().unwrap()]),
        prevent_destroy: true,
        tainted: false,
        image_id: None,
        base_ami: None,
        adopting: false,
    }))
}

pub fn put(text: &str, resource: Resource) -> StateChange {
    StateChange::Put { address: address(text), resource }
}

pub fn outputs() -> StateChange {
    StateChange::Outputs {
        outputs: BTreeMap::from([
            ("secret".to_owned(), Output { value: None, sensitive: true }),
            ("web_ip".to_owned(), Output { value: Some(serde_json::json!("10.20.1.15")), sensitive: false }),
        ]),
    }
}

/// A state's directory, locked and open.
pub struct Open {
    pub paths: Paths,
    pub lock: Lock,
    pub store: Store,
}

pub fn open(directory: &Path) -> Open {
    let paths = Paths::in_directory(directory);
    // A child that another test is just starting holds a copy of every descriptor until it runs
    // its program, also of a lock that was let go.
    let mut tries = 0;
    let lock = loop {
        match Lock::acquire(&paths, "apply") {
            Ok(lock) => break lock,
            Err(StateError::Locked { .. }) if tries < 200 => tries += 1,
            Err(error) => panic!("{error}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let store = Store::open(&paths, &lock).unwrap();
    Open { paths, lock, store }
}

/// Runs that leave a state of serial 1 and a journal with each kind of record, an intent under way.
pub fn populate(directory: &Path) -> Paths {
    let Open { paths, lock: _lock, store } = open(directory);
    store.change(vec![StateChange::Provider { name: "local".to_owned() }]).unwrap();
    let id = store.begin(&address("instance.web.volume.root"), create_volume(1)).unwrap();
    store.finish(id, vec![put("instance.web.volume.root", volume(1))]).unwrap();
    assert!(store.commit().unwrap());
    let id = store.begin(&address("instance.web.volume.data"), create_volume(2)).unwrap();
    store.finish(id, vec![put("instance.web.volume.data", volume(2))]).unwrap();
    let id = store.begin(&address("instance.web.volume.more"), create_volume(3)).unwrap();
    store.fail(id, "VolumeLimitExceeded", vec![]).unwrap();
    store.change(vec![put("instance.web", instance(1)), outputs()]).unwrap();
    store.begin(&address("instance.web.volume.last"), create_volume(4)).unwrap();
    paths
}
