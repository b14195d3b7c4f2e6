//! What goes over the wire: parameters as EC2's documentation has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replant::model::{AwsProviderSpec, BootMode, VolumeType};
use replant::provider::aws::AwsProvider;
use replant::provider::{
    CreateSnapshot, CreateVolume, Filter, InstanceState, ModifyInstance, ModifyVolume, Provider,
    ProviderErrorKind, RunInstance, TagMap, VolumeState,
};
use serde_json::{Value, json};

use super::super::conformance::{Subject, run, run_request, token, volume_request};
use super::super::ec2::{Cloud, REGION};
use super::{open, open_with, spec, subject_of};

fn zone() -> String {
    format!("{REGION}a")
}

/// The subject and what tells of its calls.
pub fn watched(settings: Value) -> (Subject, Arc<AwsProvider>, &'static Cloud) {
    let cloud: &'static Cloud = Box::leak(Box::new(Cloud::new(settings)));
    let subject = Subject {
        provider: open(cloud),
        zone: zone(),
        other_zone: format!("{REGION}b"),
        address: cloud.address(&zone(), 77),
        foreign: BTreeSet::new(),
        keep: Box::new(()),
    };
    (subject, open(cloud), cloud)
}

/// Parameters without what every call has.
pub fn bare(params: &Value) -> BTreeMap<String, String> {
    let texts = params.as_object().unwrap().iter();
    texts
        .filter(|(name, _)| !matches!(name.as_str(), "Action" | "Version"))
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

pub fn pairs(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_volume_is_asked_for_with_everything_it_has() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let token = token();
        let request = CreateVolume {
            token: token.clone(),
            size: 40,
            volume_type: VolumeType::Gp3,
            iops: Some(4000),
            throughput: Some(250),
            encrypted: Some(true),
            kms_key_id: Some("alias/restore".to_owned()),
            tags: TagMap::from([("Name".to_owned(), "web".to_owned())]),
            ..volume_request(&subject.zone)
        };
        let made = aws.create_volume(&request).await.unwrap();
        assert_eq!((made.size, made.iops, made.throughput), (40, Some(4000), Some(250)));
        let wanted = pairs(&[
            ("AvailabilityZone", &subject.zone),
            ("ClientToken", &token.0),
            ("Encrypted", "true"),
            ("Iops", "4000"),
            ("KmsKeyId", "alias/restore"),
            ("Size", "40"),
            ("TagSpecification.1.ResourceType", "volume"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "web"),
            ("Throughput", "250"),
            ("VolumeType", "gp3"),
        ]);
        assert_eq!(bare(&cloud.parameters("CreateVolume")[0]), wanted);

        aws.modify_volume(&made.id, &ModifyVolume { iops: Some(5000), ..ModifyVolume::default() })
            .await
            .unwrap();
        let wanted = pairs(&[("VolumeId", &made.id.0), ("Iops", "5000")]);
        assert_eq!(bare(&cloud.parameters("ModifyVolume")[0]), wanted);

        aws.attach_volume(&made.id, &subject.node().await, "xvdf").await.unwrap();
        let wanted =
            pairs(&[("VolumeId", &made.id.0), ("InstanceId", &cloud.access_node), ("Device", "xvdf")]);
        assert_eq!(bare(&cloud.parameters("AttachVolume")[0]), wanted);
        aws.detach_volume(&made.id, &subject.node().await).await.unwrap();
        // Never by force: what a kernel has not written yet would be lost.
        let wanted = pairs(&[("VolumeId", &made.id.0), ("InstanceId", &cloud.access_node)]);
        assert_eq!(bare(&cloud.parameters("DetachVolume")[0]), wanted);

        let set = TagMap::from([("a".to_owned(), "b".to_owned())]);
        let remove = BTreeSet::from(["Name".to_owned()]);
        aws.change_tags(&made.id.0, &set, &remove).await.unwrap();
        let wanted = pairs(&[("ResourceId.1", &made.id.0), ("Tag.1.Key", "Name")]);
        assert_eq!(bare(&cloud.parameters("DeleteTags")[0]), wanted);
        let wanted = pairs(&[("ResourceId.1", &made.id.0), ("Tag.1.Key", "a"), ("Tag.1.Value", "b")]);
        assert_eq!(bare(&cloud.parameters("CreateTags")[0]), wanted);
    });
}

#[test]
fn a_stub_is_asked_for_with_all_that_cannot_be_changed_later() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let request = RunInstance {
            subnet_id: Some(cloud.subnet(&subject.zone).to_owned()),
            private_ip: Some(subject.address),
            key_name: Some("ops".to_owned()),
            tags: TagMap::from([("Name".to_owned(), "web".to_owned())]),
            ..run_request(&subject.zone)
        };
        aws.run_instance(&request).await.unwrap();
        let mut wanted = pairs(&[
            ("ClientToken", &request.token.0),
            ("ImageId", "ami-0a2000000000000b1"),
            ("InstanceInitiatedShutdownBehavior", "stop"),
            ("InstanceType", "m6i.large"),
            ("KeyName", "ops"),
            ("MaxCount", "1"),
            ("MetadataOptions.HttpEndpoint", "enabled"),
            ("MetadataOptions.HttpTokens", "required"),
            ("MinCount", "1"),
            ("PrivateIpAddress", &subject.address.to_string()),
            ("SubnetId", cloud.subnet(&subject.zone)),
        ]);
        for (number, kind) in ["instance", "volume", "network-interface"].iter().enumerate() {
            let prefix = format!("TagSpecification.{}", number + 1);
            wanted.insert(format!("{prefix}.ResourceType"), (*kind).to_owned());
            wanted.insert(format!("{prefix}.Tag.1.Key"), "Name".to_owned());
            wanted.insert(format!("{prefix}.Tag.1.Value"), "web".to_owned());
        }
        assert_eq!(bare(&cloud.parameters("RunInstances")[0]), wanted);
        // Without a subnet, the zone decides.
        aws.run_instance(&run_request(&subject.other_zone)).await.unwrap();
        let second = bare(&cloud.parameters("RunInstances")[1]);
        assert_eq!(second["Placement.AvailabilityZone"], subject.other_zone);
        assert!(!second.contains_key("SubnetId"));
    });
}

#[test]
fn the_stub_s_image_fits_the_guest() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let base = || run_request(&subject.zone);
        for (request, image) in [
            (RunInstance { boot_mode: BootMode::Uefi, ..base() }, "ami-0a1000000000000a2"),
            (base(), "ami-0a2000000000000b1"),
            // Where the type has no UEFI, what prefers it starts by BIOS.
            (RunInstance { instance_type: "t2.micro".to_owned(), ..base() }, "ami-0a1000000000000a2"),
            (
                RunInstance {
                    instance_type: "m6g.large".to_owned(),
                    architecture: replant::model::Architecture::Arm64,
                    boot_mode: BootMode::Uefi,
                    ..base()
                },
                "ami-0a1000000000000a3",
            ),
            (RunInstance { platform: "windows".to_owned(), ..base() }, "ami-0a3000000000000c1"),
            (
                RunInstance { platform: "windows".to_owned(), boot_mode: BootMode::Uefi, ..base() },
                "ami-0a3000000000000c2",
            ),
            (
                RunInstance { base_ami: Some("ami-0a4000000000000d1".to_owned()), ..base() },
                "ami-0a4000000000000d1",
            ),
        ] {
            let made = aws.run_instance(&request).await.unwrap();
            assert_eq!(made.boot_mode, request.boot_mode, "{request:?}");
            let calls = cloud.parameters("RunInstances");
            assert_eq!(calls.last().unwrap()["ImageId"], image, "{request:?}");
        }
        // The images are asked for once for each kind.
        assert_eq!(cloud.parameters("DescribeImages").len(), 5);
        let unknown = RunInstance {
            instance_type: "m6g.large".to_owned(),
            architecture: replant::model::Architecture::Arm64,
            boot_mode: BootMode::Uefi,
            platform: "windows".to_owned(),
            ..base()
        };
        let error = aws.run_instance(&unknown).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::InvalidParameter, "NoBaseImage"));
        assert!(error.help.unwrap().contains("base_ami"));
    });
}

#[test]
fn a_deprecated_image_serves_where_no_other_fits() {
    let (subject, aws, cloud) = watched(json!({ "deprecated": ["ami-0a2000000000000b1"] }));
    run(async {
        let base = || run_request(&subject.zone);
        // By BIOS on a type that has UEFI too, only the deprecated one starts.
        aws.run_instance(&base()).await.unwrap();
        aws.run_instance(&RunInstance { boot_mode: BootMode::Uefi, ..base() }).await.unwrap();
        let images: Vec<Value> =
            cloud.parameters("RunInstances").iter().map(|call| call["ImageId"].clone()).collect();
        assert_eq!(images, ["ami-0a2000000000000b1", "ami-0a1000000000000a2"]);
        let asked: Vec<bool> = cloud
            .parameters("DescribeImages")
            .iter()
            .map(|call| call["IncludeDeprecated"] == "true")
            .collect();
        assert_eq!(asked, [false, true, false]);
    });
}

#[test]
fn changes_of_an_instance_are_calls_of_one_attribute_each() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let view = subject.running().await;
        subject.stop(&view.id).await;
        let request = ModifyInstance {
            instance_type: Some("m6i.xlarge".to_owned()),
            user_data: Some("#!/bin/sh\n".to_owned()),
            termination_protection: Some(true),
            delete_on_termination: BTreeMap::from([(view.root_device.clone(), false)]),
            ..ModifyInstance::default()
        };
        aws.modify_instance(&view.id, &request).await.unwrap();
        let calls: Vec<_> = cloud.parameters("ModifyInstanceAttribute").iter().map(bare).collect();
        let id = ("InstanceId", view.id.0.as_str());
        assert_eq!(
            calls,
            [
                pairs(&[id, ("InstanceType.Value", "m6i.xlarge")]),
                pairs(&[id, ("UserData.Value", "IyEvYmluL3NoCg==")]),
                pairs(&[id, ("DisableApiTermination.Value", "true")]),
                pairs(&[
                    id,
                    ("BlockDeviceMapping.1.DeviceName", &view.root_device),
                    ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "false"),
                ]),
            ]
        );
    });
}

#[test]
fn describing_goes_through_all_pages_by_filters() {
    let (subject, aws, cloud) = watched(json!({ "page": 2 }));
    run(async {
        let mut ids = BTreeSet::new();
        for _ in 0..5 {
            ids.insert(aws.create_volume(&volume_request(&subject.zone)).await.unwrap().id.0);
        }
        let filter = Filter { ids: ids.clone(), ..Filter::default() };
        let found: BTreeSet<String> =
            aws.volumes(&filter).await.unwrap().into_iter().map(|view| view.id.0).collect();
        assert_eq!(found, ids);
        let calls = cloud.parameters("DescribeVolumes");
        assert_eq!(calls.len(), 3);
        assert_eq!(calls[2]["NextToken"], "page-4");
        assert_eq!(calls[0]["Filter.1.Name"], "volume-id");
        assert!(calls[0].get("VolumeId.1").is_none(), "an unknown id would be an error");
        for _ in 0..3 {
            aws.run_instance(&run_request(&subject.zone)).await.unwrap();
        }
        assert_eq!(aws.instances(&Filter::default()).await.unwrap().len(), 4);
        // Only our own snapshots: EC2 describes every public one otherwise.
        aws.snapshots(&Filter::default()).await.unwrap();
        assert_eq!(cloud.parameters("DescribeSnapshots")[0]["Owner.1"], "self");
    });
}

#[test]
fn a_new_id_that_is_not_known_everywhere_is_waited_for() {
    let subject = subject_of(Cloud::new(json!({ "hide": 2 })));
    run(async {
        // Three volumes: the calls that come first differ.
        let node = subject.node().await;
        let attached = subject.provider.create_volume(&volume_request(&subject.zone)).await.unwrap().id;
        subject.provider.attach_volume(&attached, &node, "xvdf").await.unwrap();
        let deleted = subject.provider.create_volume(&volume_request(&subject.zone)).await.unwrap().id;
        subject.provider.delete_volume(&deleted).await.unwrap();
        let error = subject.provider.delete_volume(&deleted).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::NotFound);
        let described = subject.provider.create_volume(&volume_request(&subject.zone)).await.unwrap().id;
        assert!(subject.described(&described).await.is_none());
        subject.state(&described, VolumeState::Available).await;
        let instance = subject.provider.run_instance(&run_request(&subject.zone)).await.unwrap().id;
        subject.instance_state(&instance, InstanceState::Running).await;
    });
}

#[test]
fn lost_replies_and_throttling_are_the_sdk_s_to_repeat() {
    for seed in 0..3 {
        let faults = json!({ "seed": seed, "throttled": 150, "unavailable": 100, "lost": 150 });
        let cloud = Cloud::new(json!({}));
        cloud.set(&json!({ "faults": faults }));
        let subject = subject_of(cloud);
        run(async {
            let node = subject.node().await;
            let mut ids = BTreeSet::new();
            for number in 0..4 {
                let id = subject.provider.create_volume(&volume_request(&subject.zone)).await.unwrap().id;
                let slot = format!("xvd{}", char::from(b'f' + number));
                subject.provider.attach_volume(&id, &node, &slot).await.unwrap();
                subject.provider.detach_volume(&id, &node).await.unwrap();
                ids.insert(id.0);
            }
            let made: BTreeSet<String> = subject.volumes().await.into_iter().map(|view| view.id.0).collect();
            assert_eq!(made, ids, "seed {seed}: a twin or an orphan");
            let volume = replant::provider::VolumeId(ids.first().unwrap().clone());
            let request = CreateSnapshot {
                token: token(),
                volume_id: volume,
                description: String::new(),
                tags: TagMap::new(),
            };
            // Not repeated inside: it has no client token at EC2.
            while subject.provider.create_snapshot(&request).await.is_err() {}
            assert_eq!(subject.provider.snapshots(&Filter::default()).await.unwrap().len(), 1, "seed {seed}");
            for id in ids {
                subject.provider.delete_volume(&replant::provider::VolumeId(id)).await.unwrap();
            }
            assert!(subject.volumes().await.is_empty());
        });
    }
}

#[test]
fn what_fails_to_the_end_says_how_often_it_was_tried() {
    let cloud = Cloud::new(json!({}));
    let aws = open_with(&cloud, &AwsProviderSpec { max_attempts: 2, ..spec(&cloud) });
    cloud.set(&json!({ "faults": { "throttled": 1000 } }));
    run(async {
        let error = aws.volumes(&Filter::default()).await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Throttled, "RequestLimitExceeded"));
        assert!(
            error.exhausted && error.is_retryable() && error.message.contains("tried 2 times"),
            "{error}"
        );
        assert!(error.message.contains("request "), "{error}");
        assert_eq!(cloud.parameters("DescribeVolumes").len(), 2);
        cloud.set(&json!({ "faults": { "unavailable": 1000 } }));
        let error = aws.create_volume(&volume_request(&zone())).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Unavailable);
    });
}

#[test]
fn credentials_that_ec2_does_not_know_are_said_to_be_so() {
    let cloud = Cloud::new(json!({}));
    let aws = AwsProvider::with_credentials(
        &spec(&cloud),
        &super::access_node(&cloud),
        "AKIANOBODY",
        "secret-word",
    );
    run(async {
        let error = aws.access_node().await.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ProviderErrorKind::Unauthorized, "AuthFailure"));
        assert!(error.help.unwrap().contains("aws sts get-caller-identity"));
        assert!(!format!("{error:?} {aws:?}").contains("secret-word"));
    });
}

#[test]
fn the_access_node_s_own_disks_are_no_target_and_it_is_never_ended() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let node = subject.node().await;
        let root = replant::provider::VolumeId(cloud.volumes[0].clone());
        let error = aws.device(&root).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::DeviceRefused);
        assert!(error.message.contains("no slot of ours"), "{error}");
        for answer in [aws.stop_instance(&node).await, aws.terminate_instance(&node).await] {
            assert_eq!(answer.unwrap_err().code, "OperationNotPermitted");
        }
        let change = ModifyInstance { user_data: Some(String::new()), ..ModifyInstance::default() };
        assert_eq!(aws.modify_instance(&node, &change).await.unwrap_err().code, "OperationNotPermitted");
        assert!(cloud.parameters("StopInstances").is_empty());
    });
}

#[test]
fn a_device_stays_until_the_kernel_lets_go_of_it() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let volume = subject.volume().await;
        let node = subject.node().await;
        subject.attach(&volume, &node, "xvdf").await;
        let device = aws.device(&volume).await.unwrap();
        assert!(device.path.starts_with(cloud.devices()) && device.is_still_proven());
        assert!(!aws.is_released(&volume).await.unwrap());
        subject.detach(&volume, &node).await;
        assert!(aws.is_released(&volume).await.unwrap() && !device.is_still_proven());
    });
}
