//! A provider that fails as clouds do, by a seed: for tests of everything above the trait.
//!
//! Whether the n-th call of an operation fails, and how, depends on the seed, the operation and n
//! alone, so a run is reproduced by its seed also when ids and tokens are new and calls of
//! different operations come in another order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::Provider;
use super::preflight::{Concern, Preflight};
use super::types::{
    AccessNode, ConsoleOutput, CreateSnapshot, CreateVolume, DeviceFacts, Filter, ImageId, ImageView,
    InstanceId, InstanceTypeFacts, InstanceView, ModifyInstance, ModifyVolume, Protection, ProviderError,
    ProviderErrorKind, RegisterImage, RunInstance, SnapshotId, SnapshotView, StatusCheck, TagMap, VolumeId,
    VolumeView,
};
use crate::diagnostic::Diagnostic;
use crate::model::Digest;
use crate::model::{Found, Lookup};

/// What is done at a crash point. A test ends its process here, or panics.
pub type OnCrash = Arc<dyn Fn() + Send + Sync>;

/// What is done when a device has been proven and nobody has opened it yet.
pub type OnProof = Arc<dyn Fn(&DeviceFacts) + Send + Sync>;

/// What is done when a volume is about to be attached under a device name.
pub type OnAttach = Arc<dyn Fn(&str) + Send + Sync>;

/// Which faults, and how often.
#[derive(Clone, Default)]
pub struct Faults {
    /// Decides which calls fail.
    pub seed: u64,
    /// Calls in a thousand that are refused as too many, without effect.
    pub throttled: u32,
    /// Calls in a thousand that fail with an internal error, without effect.
    pub unavailable: u32,
    /// Changing calls in a thousand that take effect and whose reply is lost.
    pub lost_replies: u32,
    /// How many times a resource is described as it was before its state changed.
    pub stale: u32,
    /// How many times a resource that is new is left out.
    pub hidden: u32,
    /// At which crash point [`OnCrash`] is called. Each changing call has two: before its effect
    /// and after it, before the caller hears of it. They count from 1.
    pub crash: Option<(u64, OnCrash)>,
    /// What somebody does right before a volume is attached; called with the device's name.
    pub rival: Option<OnAttach>,
    /// What somebody does between a device's proof and its use.
    pub meddle: Option<OnProof>,
}

/// A provider with faults.
pub struct Faulty {
    inner: Arc<dyn Provider>,
    faults: Faults,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Calls so far by operation.
    calls: HashMap<&'static str, u64>,
    crash_points: u64,
    volumes: Shown<VolumeView>,
    instances: Shown<InstanceView>,
    snapshots: Shown<SnapshotView>,
    images: Shown<ImageView>,
}

impl Faulty {
    /// Adds faults to a provider.
    #[must_use]
    pub fn new(inner: Arc<dyn Provider>, faults: Faults) -> Self {
        Self { inner, faults, memory: Mutex::default() }
    }

    /// How many crash points were passed.
    #[must_use]
    pub fn crash_points(&self) -> u64 {
        self.remembered(|memory| memory.crash_points)
    }

    fn remembered<T>(&self, use_it: impl FnOnce(&mut Memory) -> T) -> T {
        use_it(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A number below 1,000 for this call.
    fn draw(&self, operation: &'static str) -> u32 {
        let call = self.remembered(|memory| {
            let calls = memory.calls.entry(operation).or_default();
            *calls += 1;
            *calls
        });
        let digest = Digest::of(format!("{}\0{operation}\0{call}", self.faults.seed).as_bytes()).0;
        u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]) % 1000
    }

    fn crash_point(&self) {
        let point = self.remembered(|memory| {
            memory.crash_points += 1;
            memory.crash_points
        });
        if let Some((at, crash)) = &self.faults.crash
            && *at == point
        {
            crash();
        }
    }

    /// A call that changes nothing.
    async fn read<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let drawn = self.draw(operation);
        self.refusal(operation, drawn)?;
        call.await
    }

    /// A call that changes something.
    async fn change<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let drawn = self.draw(operation);
        self.crash_point();
        self.refusal(operation, drawn)?;
        let answer = call.await;
        self.crash_point();
        let before = self.faults.throttled + self.faults.unavailable;
        if answer.is_ok() && (before..before + self.faults.lost_replies).contains(&drawn) {
            return Err(ProviderError::new(
                operation,
                ProviderErrorKind::Unavailable,
                "Unavailable",
                "the reply was lost",
            ));
        }
        answer
    }

    fn refusal(&self, operation: &'static str, drawn: u32) -> Result<(), ProviderError> {
        let (kind, code, message) = if drawn < self.faults.throttled {
            (ProviderErrorKind::Throttled, "RequestLimitExceeded", "Request limit exceeded.")
        } else if drawn < self.faults.throttled + self.faults.unavailable {
            (ProviderErrorKind::Unavailable, "InternalError", "An internal error has occurred")
        } else {
            return Ok(());
        };
        Err(ProviderError::new(operation, kind, code, message))
    }
}

/// What was shown of each resource, by id, and how often it has been asked for since.
struct Shown<V>(HashMap<String, (Option<V>, u32)>);

impl<V> Default for Shown<V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<V: Clone + PartialEq> Shown<V> {
    /// Shows the past of what changed lately.
    fn delay(&mut self, now: Vec<V>, id: impl Fn(&V) -> String, faults: &Faults) -> Vec<V> {
        now.into_iter()
            .filter_map(|view| {
                let (shown, asked) = self.0.entry(id(&view)).or_insert((None, 0));
                let patience = if shown.is_none() { faults.hidden } else { faults.stale };
                if shown.as_ref() == Some(&view) {
                    *asked = 0;
                } else if *asked < patience {
                    *asked += 1;
                } else {
                    *asked = 0;
                    *shown = Some(view);
                }
                shown.clone()
            })
            .collect()
    }
}

#[async_trait]
impl Provider for Faulty {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn preflight(&self, request: &Preflight) -> Vec<Concern> {
        self.inner.preflight(request).await
    }

    async fn misplaced(&self) -> Option<Diagnostic> {
        self.inner.misplaced().await
    }

    async fn access_node(&self) -> Result<AccessNode, ProviderError> {
        self.read("DescribeAccessNode", self.inner.access_node()).await
    }

    async fn instance_types(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, InstanceTypeFacts>, ProviderError> {
        self.read("DescribeInstanceTypes", self.inner.instance_types(names)).await
    }

    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError> {
        self.read("DescribeSubnets", self.inner.lookup(lookup)).await
    }

    async fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, ProviderError> {
        self.change("CreateVolume", self.inner.create_volume(request)).await
    }

    async fn volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, ProviderError> {
        let now = self.read("DescribeVolumes", self.inner.volumes(filter)).await?;
        Ok(self.remembered(|memory| memory.volumes.delay(now, |view| view.id.0.clone(), &self.faults)))
    }

    async fn modify_volume(&self, id: &VolumeId, request: &ModifyVolume) -> Result<(), ProviderError> {
        self.change("ModifyVolume", self.inner.modify_volume(id, request)).await
    }

    async fn delete_volume(&self, id: &VolumeId) -> Result<(), ProviderError> {
        self.change("DeleteVolume", self.inner.delete_volume(id)).await
    }

    async fn attach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ProviderError> {
        if let Some(rival) = &self.faults.rival {
            rival(device);
        }
        self.change("AttachVolume", self.inner.attach_volume(id, instance, device)).await
    }

    async fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> Result<(), ProviderError> {
        self.change("DetachVolume", self.inner.detach_volume(id, instance)).await
    }

    async fn device(&self, id: &VolumeId) -> Result<DeviceFacts, ProviderError> {
        let facts = self.inner.device(id).await?;
        if let Some(meddle) = &self.faults.meddle {
            meddle(&facts);
        }
        Ok(facts)
    }

    fn hot_plugs(&self) -> bool {
        self.inner.hot_plugs()
    }

    async fn is_released(&self, id: &VolumeId) -> Result<bool, ProviderError> {
        self.inner.is_released(id).await
    }

    async fn run_instance(&self, request: &RunInstance) -> Result<InstanceView, ProviderError> {
        self.change("RunInstances", self.inner.run_instance(request)).await
    }

    async fn instances(&self, filter: &Filter) -> Result<Vec<InstanceView>, ProviderError> {
        let now = self.read("DescribeInstances", self.inner.instances(filter)).await?;
        Ok(self.remembered(|memory| memory.instances.delay(now, |view| view.id.0.clone(), &self.faults)))
    }

    async fn start_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.change("StartInstances", self.inner.start_instance(id)).await
    }

    async fn stop_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.change("StopInstances", self.inner.stop_instance(id)).await
    }

    async fn terminate_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.change("TerminateInstances", self.inner.terminate_instance(id)).await
    }

    async fn modify_instance(&self, id: &InstanceId, request: &ModifyInstance) -> Result<(), ProviderError> {
        self.change("ModifyInstanceAttribute", self.inner.modify_instance(id, request)).await
    }

    async fn protection(&self, id: &InstanceId) -> Result<Protection, ProviderError> {
        self.read("DescribeInstanceAttribute", self.inner.protection(id)).await
    }

    async fn instance_status(&self, id: &InstanceId) -> Result<StatusCheck, ProviderError> {
        self.read("DescribeInstanceStatus", self.inner.instance_status(id)).await
    }

    async fn console_output(&self, id: &InstanceId) -> Result<ConsoleOutput, ProviderError> {
        self.read("GetConsoleOutput", self.inner.console_output(id)).await
    }

    async fn console_screenshot(&self, id: &InstanceId) -> Result<Option<Vec<u8>>, ProviderError> {
        self.read("GetConsoleScreenshot", self.inner.console_screenshot(id)).await
    }

    async fn change_tags(
        &self,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), ProviderError> {
        self.change("CreateTags", self.inner.change_tags(id, set, remove)).await
    }

    async fn create_snapshot(&self, request: &CreateSnapshot) -> Result<SnapshotView, ProviderError> {
        self.change("CreateSnapshot", self.inner.create_snapshot(request)).await
    }

    async fn snapshots(&self, filter: &Filter) -> Result<Vec<SnapshotView>, ProviderError> {
        let now = self.read("DescribeSnapshots", self.inner.snapshots(filter)).await?;
        Ok(self.remembered(|memory| memory.snapshots.delay(now, |view| view.id.0.clone(), &self.faults)))
    }

    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ProviderError> {
        self.change("DeleteSnapshot", self.inner.delete_snapshot(id)).await
    }

    async fn register_image(&self, request: &RegisterImage) -> Result<ImageView, ProviderError> {
        self.change("RegisterImage", self.inner.register_image(request)).await
    }

    async fn images(&self, filter: &Filter) -> Result<Vec<ImageView>, ProviderError> {
        let now = self.read("DescribeImages", self.inner.images(filter)).await?;
        Ok(self.remembered(|memory| memory.images.delay(now, |view| view.id.0.clone(), &self.faults)))
    }

    async fn deregister_image(&self, id: &ImageId) -> Result<(), ProviderError> {
        self.change("DeregisterImage", self.inner.deregister_image(id)).await
    }

    fn console_log(&self, id: &InstanceId) -> Option<PathBuf> {
        self.inner.console_log(id)
    }
}
