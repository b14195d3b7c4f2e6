//! The trait's face of EC2.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ec2::config::Credentials;

use super::client::Cloud;
use crate::diagnostic::Diagnostic;
use crate::model::{AccessNodeSpec, AwsProviderSpec, Found, Lookup};
use crate::provider::Provider;
use crate::provider::preflight::{Concern, Preflight};
use crate::provider::types::{
    AccessNode, ConsoleOutput, CreateSnapshot, CreateVolume, DeviceFacts, Filter, ImageId, ImageView,
    InstanceId, InstanceTypeFacts, InstanceView, ModifyInstance, ModifyVolume, Protection, ProviderError,
    RegisterImage, RunInstance, SnapshotId, SnapshotView, StatusCheck, TagMap, VolumeId, VolumeView,
};

/// Amazon EC2.
#[derive(Debug, Clone)]
pub struct AwsProvider {
    cloud: Arc<Cloud>,
}

impl AwsProvider {
    /// EC2 as a configuration names it. Nothing is asked before the first call.
    #[must_use]
    pub fn new(spec: &AwsProviderSpec, access_node: &AccessNodeSpec) -> Self {
        Self { cloud: Arc::new(Cloud::new(spec.clone(), access_node.clone(), None)) }
    }

    /// As [`Self::new`], with credentials that the caller has instead of those that the SDK finds.
    #[must_use]
    pub fn with_credentials(
        spec: &AwsProviderSpec,
        access_node: &AccessNodeSpec,
        access_key_id: &str,
        secret_access_key: &str,
    ) -> Self {
        let given = Credentials::new(access_key_id, secret_access_key, None, None, "given");
        Self { cloud: Arc::new(Cloud::new(spec.clone(), access_node.clone(), Some(given))) }
    }
}

#[async_trait]
impl Provider for AwsProvider {
    fn name(&self) -> &'static str {
        "aws"
    }

    async fn preflight(&self, request: &Preflight) -> Vec<Concern> {
        self.cloud.preflight(request).await
    }

    async fn misplaced(&self) -> Option<Diagnostic> {
        self.cloud.misplaced().await
    }

    async fn access_node(&self) -> Result<AccessNode, ProviderError> {
        self.cloud.describe_access_node().await
    }

    async fn instance_types(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, InstanceTypeFacts>, ProviderError> {
        self.cloud.instance_types(names).await
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        self.cloud.lookup(lookup).await
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, ProviderError> {
        self.cloud.create_volume(request).await
    }

    async fn volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, ProviderError> {
        self.cloud.describe_volumes(filter).await
    }

    async fn modify_volume(&self, id: &VolumeId, request: &ModifyVolume) -> Result<(), ProviderError> {
        self.cloud.modify_volume(id, request).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), ProviderError> {
        self.cloud.delete_volume(id).await
    }

    async fn attach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ProviderError> {
        self.cloud.attach_volume(id, instance, device).await
    }

    async fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> Result<(), ProviderError> {
        self.cloud.detach_volume(id, instance).await
    }

    async fn device(&self, id: &VolumeId) -> Result<DeviceFacts, ProviderError> {
        self.cloud.device(id).await
    }

    async fn is_released(&self, id: &VolumeId) -> Result<bool, ProviderError> {
        self.cloud.is_released(id).await
    }

    async fn run_instance(&self, request: &RunInstance) -> Result<InstanceView, ProviderError> {
        self.cloud.run_instance(request).await
    }

    async fn instances(&self, filter: &Filter) -> Result<Vec<InstanceView>, ProviderError> {
        self.cloud.describe_instances(filter).await
    }

    async fn start_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.cloud.start_instance(id).await
    }

    async fn stop_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.cloud.stop_instance(id).await
    }

    async fn terminate_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.cloud.terminate_instance(id).await
    }

    async fn modify_instance(&self, id: &InstanceId, request: &ModifyInstance) -> Result<(), ProviderError> {
        self.cloud.modify_instance(id, request).await
    }

    async fn protection(&self, id: &InstanceId) -> Result<Protection, ProviderError> {
        self.cloud.protection(id).await
    }

    async fn instance_status(&self, id: &InstanceId) -> Result<StatusCheck, ProviderError> {
        self.cloud.instance_status(id).await
    }

    async fn console_output(&self, id: &InstanceId) -> Result<ConsoleOutput, ProviderError> {
        self.cloud.console_output(id).await
    }

    async fn console_screenshot(&self, id: &InstanceId) -> Result<Option<Vec<u8>>, ProviderError> {
        self.cloud.console_screenshot(id).await.map(Some)
    }

    async fn change_tags(
        &self,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), ProviderError> {
        self.cloud.change_tags(id, set, remove).await
    }

    async fn create_snapshot(&self, request: &CreateSnapshot) -> Result<SnapshotView, ProviderError> {
        self.cloud.create_snapshot(request).await
    }

    async fn snapshots(&self, filter: &Filter) -> Result<Vec<SnapshotView>, ProviderError> {
        self.cloud.describe_snapshots(filter).await
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ProviderError> {
        self.cloud.delete_snapshot(id).await
    }

    async fn register_image(&self, request: &RegisterImage) -> Result<ImageView, ProviderError> {
        self.cloud.register_image(request).await
    }

    async fn images(&self, filter: &Filter) -> Result<Vec<ImageView>, ProviderError> {
        self.cloud.describe_images(filter).await
    }

    async fn deregister_image(&self, id: &ImageId) -> Result<(), ProviderError> {
        self.cloud.deregister_image(id).await
    }

    fn console_log(&self, _id: &InstanceId) -> Option<PathBuf> {
        None
    }
}
