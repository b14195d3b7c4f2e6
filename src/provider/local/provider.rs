//! The trait's face of the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use super::cloud::{Cloud, Desk};
use super::failure::Failure;
use super::id;
use super::instance_types::instance_type;
use super::record::{InstanceRecord, Record};
use super::settings::Settings;
use crate::model::{AccessNodeSpec, Found, LocalProviderSpec, Lookup};
use crate::provider::Provider;
use crate::provider::preflight::{Concern, Preflight};
use crate::provider::types::{
    AccessNode, ConsoleOutput, CreateSnapshot, CreateVolume, DeviceFacts, Filter, ImageId, ImageView,
    InstanceId, InstanceTypeFacts, InstanceView, ModifyInstance, ModifyVolume, ProviderError,
    ProviderErrorKind, RegisterImage, RunInstance, SnapshotId, SnapshotView, StatusCheck, TagMap, VolumeId,
    VolumeView,
};

/// A cloud in a directory of this machine, which is also its access node.
#[derive(Debug, Clone)]
pub struct LocalProvider {
    cloud: Arc<Cloud>,
}

impl LocalProvider {
    /// Opens the cloud of a configuration, and makes it when it is not there. `base` is what a
    /// relative directory is relative to. What a killed process left undone is finished first.
    ///
    /// The access node is always this machine, whatever id the configuration names (it may be
    /// that of the real one, which is rehearsed here).
    ///
    /// # Errors
    /// When the directory cannot be made or read, or holds a cloud of another version.
    pub fn open(
        spec: &LocalProviderSpec,
        access_node: &AccessNodeSpec,
        base: &Path,
    ) -> Result<Self, ProviderError> {
        Self::open_with(spec, access_node, base, Settings::from_environment())
    }

    /// As [`Self::open`], with other delays and limits.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(
        spec: &LocalProviderSpec,
        access_node: &AccessNodeSpec,
        base: &Path,
        settings: Settings,
    ) -> Result<Self, ProviderError> {
        let cloud = Cloud::open(spec, access_node, base, settings).map_err(|failure| failure.of("Open"))?;
        Ok(Self { cloud: Arc::new(cloud) })
    }

    /// Serves a call on a thread that may block. A call that was begun is finished, also when its
    /// caller stops waiting.
    async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&Desk<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let cloud = Arc::clone(&self.cloud);
        let served = tokio::task::spawn_blocking(move || cloud.serve(operation, call)).await;
        served.unwrap_or_else(|error| {
            Err(ProviderError::new(
                operation,
                ProviderErrorKind::Unavailable,
                "InternalError",
                error.to_string(),
            ))
        })
    }
}

#[async_trait]
impl Provider for LocalProvider {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn preflight(&self, request: &Preflight) -> Vec<Concern> {
        let cloud = Arc::clone(&self.cloud);
        let (starts_instances, data_bytes) = (request.starts, request.data_bytes);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let look = move || {
            let mut found = cloud.preflight(starts_instances, &path);
            found.extend(cloud.no_room(data_bytes));
            found
        };
        let found = tokio::task::spawn_blocking(look).await;
        found.unwrap_or_default().into_iter().map(Concern::provider).collect()
    }

    async fn access_node(&self) -> Result<AccessNode, ProviderError> {
        self.call("DescribeInstances", |desk| desk.describe_access_node()).await
    }

    async fn instance_types(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, InstanceTypeFacts>, ProviderError> {
        Ok(names.iter().filter_map(|name| Some((name.clone(), instance_type(name)?))).collect())
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        let lookup = lookup.clone();
        self.call("DescribeSubnets", move |desk| desk.lookup(&lookup)).await
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, ProviderError> {
        let request = request.clone();
        self.call("CreateVolume", move |desk| desk.create_volume(&request)).await
    }

    async fn volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, ProviderError> {
        let filter = filter.clone();
        self.call("DescribeVolumes", move |desk| desk.describe_volumes(&filter)).await
    }

    async fn modify_volume(&self, id: &VolumeId, request: &ModifyVolume) -> Result<(), ProviderError> {
        let (id, request) = (id.clone(), request.clone());
        self.call("ModifyVolume", move |desk| desk.modify_volume(&id, &request)).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), ProviderError> {
        let id = id.clone();
        self.call("DeleteVolume", move |desk| desk.delete_volume(&id)).await
    }

    async fn attach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ProviderError> {
        let (id, instance, device) = (id.clone(), instance.clone(), device.to_owned());
        self.call("AttachVolume", move |desk| desk.attach_volume(&id, &instance, &device)).await
    }

    async fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> Result<(), ProviderError> {
        let (id, instance) = (id.clone(), instance.clone());
        self.call("DetachVolume", move |desk| desk.detach_volume(&id, &instance)).await
    }

    fn hot_plugs(&self) -> bool {
        false
    }

    async fn device(&self, id: &VolumeId) -> Result<DeviceFacts, ProviderError> {
        let id = id.clone();
        self.call("DescribeVolumes", move |desk| desk.device(&id)).await
    }

    async fn run_instance(&self, request: &RunInstance) -> Result<InstanceView, ProviderError> {
        let request = request.clone();
        self.call("RunInstances", move |desk| desk.run_instance(&request)).await
    }

    async fn instances(&self, filter: &Filter) -> Result<Vec<InstanceView>, ProviderError> {
        let filter = filter.clone();
        self.call("DescribeInstances", move |desk| desk.describe_instances(&filter)).await
    }

    async fn start_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let id = id.clone();
        self.call("StartInstances", move |desk| desk.start_instance(&id)).await
    }

    async fn stop_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let id = id.clone();
        self.call("StopInstances", move |desk| desk.stop_instance(&id)).await
    }

    async fn terminate_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let id = id.clone();
        self.call("TerminateInstances", move |desk| desk.terminate_instance(&id)).await
    }

    async fn modify_instance(&self, id: &InstanceId, request: &ModifyInstance) -> Result<(), ProviderError> {
        let (id, request) = (id.clone(), request.clone());
        self.call("ModifyInstanceAttribute", move |desk| desk.modify_instance(&id, &request)).await
    }

    async fn instance_status(&self, id: &InstanceId) -> Result<StatusCheck, ProviderError> {
        let id = id.clone();
        self.call("DescribeInstanceStatus", move |desk| desk.instance_status(&id)).await
    }

    async fn console_output(&self, id: &InstanceId) -> Result<ConsoleOutput, ProviderError> {
        let id = id.clone();
        self.call("GetConsoleOutput", move |desk| desk.console_output(&id)).await
    }

    async fn change_tags(
        &self,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), ProviderError> {
        let (id, set, remove) = (id.to_owned(), set.clone(), remove.clone());
        self.call("CreateTags", move |desk| desk.change_tags(&id, &set, &remove)).await
    }

    async fn create_snapshot(&self, request: &CreateSnapshot) -> Result<SnapshotView, ProviderError> {
        let request = request.clone();
        self.call("CreateSnapshot", move |desk| desk.create_snapshot(&request)).await
    }

    async fn snapshots(&self, filter: &Filter) -> Result<Vec<SnapshotView>, ProviderError> {
        let filter = filter.clone();
        self.call("DescribeSnapshots", move |desk| desk.describe_snapshots(&filter)).await
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ProviderError> {
        let id = id.clone();
        self.call("DeleteSnapshot", move |desk| desk.delete_snapshot(&id)).await
    }

    async fn register_image(&self, request: &RegisterImage) -> Result<ImageView, ProviderError> {
        let request = request.clone();
        self.call("RegisterImage", move |desk| desk.register_image(&request)).await
    }

    async fn images(&self, filter: &Filter) -> Result<Vec<ImageView>, ProviderError> {
        let filter = filter.clone();
        self.call("DescribeImages", move |desk| desk.describe_images(&filter)).await
    }

    async fn deregister_image(&self, id: &ImageId) -> Result<(), ProviderError> {
        let id = id.clone();
        self.call("DeregisterImage", move |desk| desk.deregister_image(&id)).await
    }

    fn console_log(&self, id: &InstanceId) -> Option<PathBuf> {
        id::is_id(InstanceRecord::PREFIX, &id.0).then(|| self.cloud.console_path(&id.0))
    }
}
