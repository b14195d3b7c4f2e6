//! Every call that the provider can make has been seen on the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use replant::provider::{CreateSnapshot, Filter, Provider, TagMap};
use serde_json::json;

use super::super::conformance::{run, token, volume_request};
use super::wire::{bare, pairs, watched};

/// Words after a prefix in the sources of a directory, up to the quotation mark.
fn named(directory: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for prefix in prefixes {
            for part in text.split(prefix).skip(1) {
                let name = part.split('"').next().unwrap();
                if name.starts_with(|c: char| c.is_ascii_uppercase())
                    && name.bytes().all(|c| c.is_ascii_alphanumeric())
                {
                    names.insert(name.to_owned());
                }
            }
        }
    }
    names
}

/// Calls that only read, and whose parameters are judged by what they find (declared.rs).
const JUDGED_BY_WHAT_THEY_FIND: [&str; 4] = [
    "DescribeInstanceCreditSpecifications",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSubnets",
];

/// A call without a test of its parameters is a call that nobody knows EC2 takes.
#[test]
fn every_call_s_parameters_are_looked_at() {
    let made = named("src/provider/aws", &["send!(\"", "judge(\""]);
    let looked_at = named("tests/it/provider/aws", &["parameters(\"", "call(\""]);
    assert!(made.len() >= 22, "{made:?}");
    let missing = made.difference(&looked_at);
    let missing: Vec<_> = missing.filter(|call| !JUDGED_BY_WHAT_THEY_FIND.contains(&call.as_str())).collect();
    assert!(missing.is_empty(), "no test in tests/it/provider/aws looks at the parameters of {missing:?}");
}

#[test]
fn an_instance_s_life_and_a_snapshot_s() {
    let (subject, aws, cloud) = watched(json!({}));
    run(async {
        let view = subject.running().await;
        let id = pairs(&[("InstanceId", view.id.0.as_str())]);
        let first = pairs(&[("InstanceId.1", view.id.0.as_str())]);
        subject.stop(&view.id).await;
        assert_eq!(bare(&cloud.parameters("StopInstances")[0]), first, "neither forced nor hibernated");
        aws.start_instance(&view.id).await.unwrap();
        assert_eq!(bare(&cloud.parameters("StartInstances")[0]), first);
        let filtered = pairs(&[
            ("Filter.1.Name", "instance-id"),
            ("Filter.1.Value.1", view.id.0.as_str()),
            ("MaxResults", "500"),
        ]);
        assert_eq!(bare(cloud.parameters("DescribeInstances").last().unwrap()), filtered);
        let attribute = |name: &str| {
            let mut wanted = id.clone();
            wanted.insert("Attribute".to_owned(), name.to_owned());
            wanted
        };
        let asked = cloud.parameters("DescribeInstanceAttribute");
        assert!(asked.iter().any(|call| bare(call) == attribute("disableApiTermination")), "{asked:?}");
        aws.instance_status(&view.id).await.unwrap();
        let mut wanted = first.clone();
        wanted.insert("IncludeAllInstances".to_owned(), "true".to_owned());
        assert_eq!(bare(&cloud.parameters("DescribeInstanceStatus")[0]), wanted);
        aws.console_output(&view.id).await.unwrap();
        let mut wanted = id.clone();
        wanted.insert("Latest".to_owned(), "true".to_owned());
        assert_eq!(bare(&cloud.parameters("GetConsoleOutput")[0]), wanted);
        let types = bare(&cloud.parameters("DescribeInstanceTypes")[0]);
        assert_eq!(types, pairs(&[("Filter.1.Name", "instance-type"), ("Filter.1.Value.1", "m6i.large")]));
        let images = bare(&cloud.parameters("DescribeImages")[0]);
        let filters: BTreeMap<&str, &str> = (1..=6)
            .map(|n| {
                (
                    images[&format!("Filter.{n}.Name")].as_str(),
                    images[&format!("Filter.{n}.Value.1")].as_str(),
                )
            })
            .filter(|(name, _)| *name != "name")
            .collect();
        let wanted = [
            ("architecture", "x86_64"),
            ("image-type", "machine"),
            ("root-device-type", "ebs"),
            ("state", "available"),
            ("virtualization-type", "hvm"),
        ];
        assert_eq!(filters, wanted.into());
        assert_eq!(images["Owner.1"], "amazon");
        aws.terminate_instance(&view.id).await.unwrap();
        assert_eq!(bare(&cloud.parameters("TerminateInstances")[0]), first);

        let volume = aws.create_volume(&volume_request(&subject.zone)).await.unwrap().id;
        let token = token();
        let tags = TagMap::from([("Name".to_owned(), "web".to_owned())]);
        let request = CreateSnapshot {
            token: token.clone(),
            volume_id: volume.clone(),
            description: "last".to_owned(),
            tags,
        };
        let snapshot = aws.create_snapshot(&request).await.unwrap().id;
        let wanted = pairs(&[
            ("Description", "last"),
            ("TagSpecification.1.ResourceType", "snapshot"),
            ("TagSpecification.1.Tag.1.Key", "Name"),
            ("TagSpecification.1.Tag.1.Value", "web"),
            ("TagSpecification.1.Tag.2.Key", "replant:token"),
            ("TagSpecification.1.Tag.2.Value", &token.0),
            ("VolumeId", &volume.0),
        ]);
        assert_eq!(bare(&cloud.parameters("CreateSnapshot")[0]), wanted);
        aws.delete_snapshot(&snapshot).await.unwrap();
        assert_eq!(bare(&cloud.parameters("DeleteSnapshot")[0]), pairs(&[("SnapshotId", &snapshot.0)]));
        aws.delete_volume(&volume).await.unwrap();
        assert_eq!(bare(&cloud.parameters("DeleteVolume")[0]), pairs(&[("VolumeId", &volume.0)]));
        // All that carries a tag, by EC2's filter and not by reading everything.
        aws.volumes(&Filter::tag_key("replant:workspace")).await.unwrap();
        let asked = bare(cloud.parameters("DescribeVolumes").last().unwrap());
        let wanted =
            [("Filter.1.Name", "tag-key"), ("Filter.1.Value.1", "replant:workspace"), ("MaxResults", "500")];
        assert_eq!(asked, pairs(&wanted));
    });
}
