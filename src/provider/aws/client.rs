//! The connection: region, credentials, retries. Made at the first call, so that nothing is asked
//! of anybody when a command needs no cloud.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::config::{
    AppName, Credentials, ProvideCredentials, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use tokio::sync::OnceCell;

use super::errors;
use super::fresh::Fresh;
use super::proxy;
use crate::model::waiting::Wait;
use crate::model::{AccessNodeSpec, AwsProviderSpec, CpuCredits};
use crate::provider::types::{InstanceId, InstanceTypeFacts, ProviderError};

/// The first pause before a call is repeated; the SDK doubles it, up to [`LONGEST_PAUSE`], and
/// takes a random part of it (AWS's advice against calls that come together again).
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause. With the default of ten attempts a call is given up after 36 seconds of pauses
/// in the mean, 72 at most; where nothing answers, each attempt takes [`CONNECT`] beside.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// For a TCP connection to EC2.
const CONNECT: Duration = Duration::from_secs(5);
/// For one attempt. EC2 answers within seconds; DescribeImages over many images is the slowest.
pub(super) const ATTEMPT: Duration = Duration::from_secs(60);

/// EC2, as the configuration names it.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) spec: AwsProviderSpec,
    pub(super) access_node: AccessNodeSpec,
    pub(super) fresh: Fresh,
    given: Option<Credentials>,
    connection: OnceCell<Connection>,
    pub(super) node: OnceCell<InstanceId>,
    /// Which instance this machine is.
    pub(super) here: OnceCell<Option<InstanceId>>,
    known: Mutex<Known>,
}

/// What every call needs.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    pub(super) region: Region,
    pub(super) credentials: SharedCredentialsProvider,
}

/// What saves calls, and nothing else.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Facts of instance types, which do not change.
    pub(super) types: BTreeMap<String, InstanceTypeFacts>,
    /// Whether EC2 refuses to terminate an instance.
    pub(super) protected: HashMap<String, bool>,
    /// Whether EC2 refuses to stop an instance.
    pub(super) unstoppable: HashMap<String, bool>,
    /// What a burstable instance does without credits.
    pub(super) credits: HashMap<String, CpuCredits>,
    /// Public images by what they were asked for.
    pub(super) images: HashMap<String, Vec<aws_sdk_ec2::types::Image>>,
    /// Seconds that an instance may take to come up.
    pub(super) boot_timeouts: HashMap<String, u32>,
}

impl Cloud {
    pub(super) fn new(
        spec: AwsProviderSpec,
        access_node: AccessNodeSpec,
        given: Option<Credentials>,
    ) -> Self {
        Self {
            spec,
            access_node,
            fresh: Fresh::default(),
            given,
            connection: OnceCell::new(),
            node: OnceCell::new(),
            here: OnceCell::new(),
            known: Mutex::default(),
        }
    }

    /// Looks at what is known, or adds to it.
    pub(super) fn known<T>(&self, use_it: impl FnOnce(&mut Known) -> T) -> T {
        use_it(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// EC2's client.
    ///
    /// # Errors
    /// No region, no credentials.
    pub(super) async fn ec2(&self) -> Result<&Client, ProviderError> {
        Ok(&self.connection().await?.client)
    }

    /// Region and credentials, for the calls that are not EC2's.
    ///
    /// # Errors
    /// No region, no credentials.
    pub(super) async fn connection(&self) -> Result<&Connection, ProviderError> {
        self.connection.get_or_try_init(|| self.connect()).await
    }

    async fn load(&self) -> SdkConfig {
        let retries = RetryConfig::standard()
            .with_max_attempts(self.spec.max_attempts.max(1))
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(proxy::client(http_client()))
            .retry_config(retries)
            .timeout_config(timeouts);
        if let Ok(name) = AppName::new(concat!("replant-", env!("CARGO_PKG_VERSION"))) {
            loader = loader.app_name(name);
        }
        if let Some(region) = &self.spec.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(profile) = &self.spec.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(credentials) = &self.given {
            loader = loader.credentials_provider(credentials.clone());
        }
        loader.load().await
    }

    async fn connect(&self) -> Result<Connection, ProviderError> {
        let base = self.load().await;
        let Some(region) = base.region().cloned() else {
            return Err(errors::connection(
                "RegionMissing",
                "neither the configuration nor the environment, the profile or this machine names a region",
            ));
        };
        let credentials = match &self.spec.assume_role {
            None => base.credentials_provider(),
            Some(role) => {
                let name = role.session_name.as_deref().unwrap_or("replant");
                let mut builder =
                    AssumeRoleProvider::builder(&role.role_arn).session_name(name).configure(&base);
                if let Some(id) = &role.external_id {
                    builder = builder.external_id(id);
                }
                Some(SharedCredentialsProvider::new(builder.build().await))
            }
        };
        let Some(credentials) = credentials else {
            return Err(errors::connection(
                "CredentialsMissing",
                "no credentials were found in the environment, a profile or an instance role",
            ));
        };
        // Asked once here, so that what is wrong with them is said as such.
        let _wait = Wait::begin("AWS credentials");
        credentials.provide_credentials().await.map_err(|error| errors::credentials("Connect", &error))?;
        let mut config = aws_sdk_ec2::config::Builder::from(&base).credentials_provider(credentials.clone());
        if let Some(url) = &self.spec.endpoint_url {
            config = config.endpoint_url(url);
        }
        Ok(Connection { client: Client::from_conf(config.build()), region, credentials })
    }
}

/// HTTPS with the TLS that images from the web use, and the system's certificates; past every proxy.
pub(super) fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build_https()
}
