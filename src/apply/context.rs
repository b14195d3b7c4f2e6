//! What every node of a run shares, and the way every effect goes: intent, call, record.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::retry::retry;
use super::wait::Limits;
use super::{ApplyError, Cancel, Event, Observer};
use crate::copy;
use crate::diagnostic::Diagnostic;
use crate::model::{Address, ClientToken, InstanceAddress, InstanceSpec, Part};
use crate::plan::{Overlays, Plan};
use crate::provider::{
    InstanceId, Provider, ProviderError, ProviderErrorKind, TAG_ADDRESS, TAG_TOKEN, TAG_WORKSPACE, TagMap,
};
use crate::state::format::v1::Output;
use crate::state::{
    InstanceResource, IntentId, Operation, Resource, State, StateChange, Store, VolumeResource,
};

/// Where a run gets values that are known only while it goes on, and those that are never stored.
pub trait Specs: Send + Sync {
    /// An instance of the configuration, evaluated with what is in the state now.
    ///
    /// # Errors
    /// When it cannot be evaluated, or the configuration has no such instance.
    fn instance(&self, address: &InstanceAddress, state: &State) -> Result<InstanceSpec, Diagnostic>;

    /// The outputs, evaluated with what is in the state now; none for `destroy`.
    ///
    /// # Errors
    /// When they cannot be evaluated.
    fn outputs(&self, state: &State) -> Result<BTreeMap<String, Output>, Diagnostic>;
}

/// How a run goes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes at once.
    pub parallelism: usize,
    /// Read every volume back after writing it.
    pub verify: bool,
    /// The state's directory; manifests lie under `.replant/manifests` in it.
    pub directory: PathBuf,
    /// Decoding threads of each write; `None`: one a processor.
    pub threads: Option<usize>,
    /// How long states are waited for.
    pub limits: Limits,
}

/// What every node of a run shares.
pub struct Context {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Changed blocks of its guests.
    pub overlays: Overlays,
    /// The cloud.
    pub provider: Arc<dyn Provider>,
    /// The state.
    pub store: Arc<Store>,
    /// The configuration's values.
    pub specs: Arc<dyn Specs>,
    /// Who wants to know.
    pub observer: Arc<dyn Observer>,
    /// The interrupt.
    pub cancel: Cancel,
    /// How it goes.
    pub options: Options,
    /// Memory and bandwidth of all writes together.
    pub budget: Arc<copy::Budget>,
    /// Writes at once.
    pub writers: tokio::sync::Semaphore,
    /// Bytes put on volumes, and what showed that instances are up.
    pub tally: Mutex<Tally>,
}

/// What a receipt needs beside the nodes' ends.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes put on volumes.
    pub bytes_written: u64,
    /// What showed that an instance is up, or why it is not.
    pub evidence: BTreeMap<InstanceAddress, String>,
    /// What was kept of their consoles and screens.
    pub kept: BTreeMap<InstanceAddress, Kept>,
}

/// Files that show how an instance came up, or how not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its serial console.
    pub console: Option<PathBuf>,
    /// Its screen, a JPG.
    pub screenshot: Option<PathBuf>,
}

impl Context {
    /// Tells the observer.
    pub fn tell(&self, event: &Event) {
        self.observer.event(event);
    }

    /// Says what a node waits for.
    pub fn progress(&self, address: &Address, what: impl Into<String>) {
        self.tell(&Event::NodeProgress { address: address.clone(), what: what.into() });
    }

    /// Changes the tally.
    pub fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Runs something that blocks, on a thread of its own.
    ///
    /// # Errors
    /// What it gives, or that its thread ended badly.
    pub async fn blocking<T: Send + 'static, E: Into<ApplyError> + Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApplyError> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| ApplyError::Task(error.to_string()))?
            .map_err(Into::into)
    }

    /// Records an intent.
    ///
    /// # Errors
    /// The journal's.
    pub async fn begin(&self, address: &Address, operation: Operation) -> Result<IntentId, ApplyError> {
        let (store, address) = (Arc::clone(&self.store), address.clone());
        self.blocking(move || store.begin(&address, operation)).await
    }

    /// Records that an intent was carried out.
    ///
    /// # Errors
    /// The journal's.
    pub async fn finish(&self, id: IntentId, changes: Vec<StateChange>) -> Result<(), ApplyError> {
        let store = Arc::clone(&self.store);
        self.blocking(move || store.finish(id, changes)).await
    }

    /// Records that an intent certainly had no effect.
    ///
    /// # Errors
    /// The journal's.
    pub async fn fail(
        &self,
        id: IntentId,
        error: String,
        changes: Vec<StateChange>,
    ) -> Result<(), ApplyError> {
        let store = Arc::clone(&self.store);
        self.blocking(move || store.fail(id, &error, changes)).await
    }

    /// Records changes without an effect outside.
    ///
    /// # Errors
    /// The journal's.
    pub async fn change(&self, changes: Vec<StateChange>) -> Result<(), ApplyError> {
        let store = Arc::clone(&self.store);
        self.blocking(move || store.change(changes)).await
    }

    /// One effect: intent, call (repeated while that can help), record. An error that leaves open
    /// whether the call took effect leaves the intent in the journal, for the next run to settle.
    ///
    /// # Errors
    /// The call's or the journal's.
    pub async fn effect<T, F>(
        &self,
        address: &Address,
        operation: Operation,
        call: impl FnMut() -> F,
        left: impl FnOnce(&T) -> Vec<StateChange>,
    ) -> Result<T, ApplyError>
    where
        F: Future<Output = Result<T, ProviderError>>,
    {
        let id = self.begin(address, operation).await?;
        match retry(&self.cancel, call).await {
            Ok(value) => {
                self.finish(id, left(&value)).await?;
                Ok(value)
            }
            Err(error) => {
                if error.kind != ProviderErrorKind::Unavailable {
                    self.fail(id, error.to_string(), Vec::new()).await?;
                }
                Err(error.into())
            }
        }
    }

    /// A volume of the state.
    ///
    /// # Errors
    /// When it is not there.
    pub fn volume(
        &self,
        instance: &InstanceAddress,
        disk: &str,
    ) -> Result<(Address, VolumeResource), ApplyError> {
        let address = instance.volume(disk);
        match self.store.resource(&address) {
            Some(Resource::Volume(volume)) => Ok((address, *volume)),
            _ => Err(ApplyError::NotInState { address }),
        }
    }

    /// An instance of the state, when it is there.
    #[must_use]
    pub fn instance(&self, instance: &InstanceAddress) -> Option<InstanceResource> {
        match self.store.resource(&instance.part(Part::Instance)) {
            Some(Resource::Instance(instance)) => Some(*instance),
            _ => None,
        }
    }

    /// The access node's id.
    #[must_use]
    pub fn access_node(&self) -> InstanceId {
        InstanceId(self.plan.access_node.instance_id.clone())
    }

    /// The user's tags with ours.
    #[must_use]
    pub fn tags(&self, user: &TagMap, address: &Address, token: &ClientToken) -> TagMap {
        let mut tags = user.clone();
        tags.insert(TAG_WORKSPACE.to_owned(), self.store.state().lineage.clone());
        tags.insert(TAG_ADDRESS.to_owned(), address.to_string());
        tags.insert(TAG_TOKEN.to_owned(), token.to_string());
        tags
    }

    /// A fresh client token.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn token(&self) -> Result<ClientToken, ApplyError> {
        ClientToken::random().map_err(|error| ApplyError::Task(format!("no random bytes: {error}")))
    }
}

/// The change that a volume of the state is now this.
#[must_use]
pub fn put_volume(address: &Address, volume: VolumeResource) -> StateChange {
    StateChange::Put { address: address.clone(), resource: Resource::Volume(Box::new(volume)) }
}

/// The change that an instance of the state is now this.
#[must_use]
pub fn put_instance(instance: &InstanceAddress, resource: InstanceResource) -> StateChange {
    StateChange::Put {
        address: instance.part(Part::Instance),
        resource: Resource::Instance(Box::new(resource)),
    }
}
