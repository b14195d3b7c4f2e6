//! The instance metadata service, version 2: which instance this machine is.

use std::time::Duration;

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;

use super::client::{Cloud, http_client};
use super::errors;
use crate::provider::types::{InstanceId, ProviderError};

/// For one answer: the service is on the machine itself or is not there at all.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;

/// Asks for this machine's instance id; `None` where no such service answers.
pub(super) async fn this_instance() -> Option<InstanceId> {
    let config = ProviderConfig::without_region().with_http_client(http_client());
    let client = Client::builder()
        .configure(&config)
        .connect_timeout(TIMEOUT)
        .read_timeout(TIMEOUT)
        .max_attempts(ATTEMPTS)
        .build();
    let id = client.get("/latest/meta-data/instance-id").await.ok()?;
    let id = id.as_ref().trim();
    let digits = id.strip_prefix("i-")?;
    let is_id = (8..=17).contains(&digits.len()) && digits.bytes().all(|c| c.is_ascii_hexdigit());
    is_id.then(|| InstanceId(id.to_owned()))
}

impl Cloud {
    /// The access node's id: the configured one, or this machine's.
    pub(super) async fn node_id(&self) -> Result<InstanceId, ProviderError> {
        let find = || async {
            if self.access_node.instance_id != "self" {
                return Ok(InstanceId(self.access_node.instance_id.clone()));
            }
            this_instance().await.ok_or_else(|| {
                errors::connection(
                    "NotAnInstance",
                    "access_node { instance_id = \"self\" } is set, and this machine has no instance metadata service: it is no EC2 instance, or the service is disabled",
                )
            })
        };
        self.node.get_or_try_init(find).await.cloned()
    }
}
