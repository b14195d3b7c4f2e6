//! The `aws` provider on moto's EC2 over HTTP.

mod calls;
mod crash;
mod declared;
mod ended;
mod families;
mod launch;
mod limits;
mod outside;
mod platform;
mod preflight;
mod proxy;
mod refusals;
mod restore;
mod rivals;
mod scale;
mod seeds;
mod story;
mod stuck;
mod suite;
mod udev;
mod unreachable;
mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use replant::model::{AccessNodeSpec, AwsProviderSpec};
use replant::provider::aws::AwsProvider;
use serde_json::json;

use super::conformance::Subject;
use super::ec2::{Cloud, REGION, SECRET};
pub use story::Restore;

pub fn spec(cloud: &Cloud) -> AwsProviderSpec {
    AwsProviderSpec {
        region: Some(REGION.to_owned()),
        endpoint_url: Some(Cloud::url().to_owned()),
        device_directory: cloud.devices(),
        sysfs_directory: cloud.sysfs(),
        udev_directory: cloud.udev(),
        ..AwsProviderSpec::default()
    }
}

pub fn access_node(cloud: &Cloud) -> AccessNodeSpec {
    AccessNodeSpec {
        name: "dr".to_owned(),
        instance_id: cloud.access_node.clone(),
        max_attachments: Some(21),
    }
}

pub fn open(cloud: &Cloud) -> Arc<AwsProvider> {
    open_with(cloud, &spec(cloud))
}

pub fn open_with(cloud: &Cloud, spec: &AwsProviderSpec) -> Arc<AwsProvider> {
    Arc::new(AwsProvider::with_credentials(spec, &access_node(cloud), &cloud.key, SECRET))
}

/// The suite looks at states between: they must last while a busy machine answers.
pub fn subject() -> Subject {
    subject_of(Cloud::new(json!({ "delay": 0.6 })))
}

pub fn subject_of(cloud: Cloud) -> Subject {
    let mut foreign: BTreeSet<String> = cloud.volumes.iter().cloned().collect();
    foreign.insert(cloud.access_node.clone());
    Subject {
        provider: open(&cloud),
        zone: format!("{REGION}a"),
        other_zone: format!("{REGION}b"),
        address: cloud.address(&format!("{REGION}a"), 77),
        foreign,
        keep: Box::new(cloud),
    }
}
