//! Which instance this machine is: by what Nitro shows of it, else by the instance metadata service,
//! version 2 ("Detect whether a host is an EC2 instance", EC2 User Guide).

use std::time::Duration;

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;

use super::client::{Cloud, http_client};
use super::errors;
use crate::provider::types::{InstanceId, ProviderError};

/// For one answer: the service is on the machine itself or is not there at all.
const TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 2;
/// Below sysfs: Nitro's instances have their id there (the same page, "Inspect the system UUID").
const ASSET_TAG: &str = "devices/virtual/dmi/id/board_asset_tag";
/// Says "true" where the service must not be asked (AWS SDKs and Tools Reference Guide, "IMDS
/// credential provider").
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// Asks for this machine's instance id; `None` where no such service answers.
pub(super) async fn this_instance() -> Option<InstanceId> {
    if std::env::var(DISABLED).is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let config = ProviderConfig::without_region().with_http_client(http_client());
    let client = Client::builder()
        .configure(&config)
        .connect_timeout(TIMEOUT)
        .read_timeout(TIMEOUT)
        .max_attempts(ATTEMPTS)
        .build();
    let id = client.get("/latest/meta-data/instance-id").await.ok()?;
    instance_id(id.as_ref())
}

fn instance_id(text: &str) -> Option<InstanceId> {
    let id = text.trim();
    let digits = id.strip_prefix("i-")?;
    let is_id = (8..=17).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| InstanceId(id.to_owned()))
}

impl Cloud {
    /// Which instance this machine is; `None` where nothing says that it is one.
    pub(super) async fn this_machine(&self) -> Option<&InstanceId> {
        let find = || async {
            let tag = std::fs::read_to_string(self.spec.sysfs_directory.join(ASSET_TAG));
            match tag.ok().as_deref().and_then(instance_id) {
                Some(id) => Some(id),
                None => this_instance().await,
            }
        };
        self.here.get_or_init(find).await.as_ref()
    }

    /// The access node's id: the configured one, or this machine's.
    pub(super) async fn node_id(&self) -> Result<InstanceId, ProviderError> {
        let find = || async {
            if self.access_node.instance_id != "self" {
                return Ok(InstanceId(self.access_node.instance_id.clone()));
            }
            self.this_machine().await.cloned().ok_or_else(|| {
                errors::connection(
                    "NotAnInstance",
                    "the access node is this machine (access_node { instance_id = \"self\" }, which also holds where there is no such block), and no instance metadata service answers here: it is no EC2 instance, or the service is disabled",
                )
            })
        };
        self.node.get_or_try_init(find).await.cloned()
    }
}
