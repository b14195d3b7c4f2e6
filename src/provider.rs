//! One narrow trait over a cloud's calls, in EC2's terms. The calls are primitive; what they add
//! up to (waves, the swap, recovery) is `apply`'s.

#[cfg(feature = "aws")]
pub mod aws;
mod console;
pub mod faulty;
mod images;
pub mod local;
pub mod preflight;
mod reason;
mod slots;
pub mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use async_trait::async_trait;

pub use console::advice;
pub use preflight::{ChangedInstance, Changes, Concern, Place, Preflight, WantedInstance, WantedVolume};
pub use slots::{is_same_device, is_slot};
pub use types::{
    AccessNode, AttachmentView, ConsoleOutput, CreateSnapshot, CreateVolume, DeviceFacts, DeviceProof,
    Filter, ImageId, ImageMapping, ImageState, ImageView, InstanceId, InstanceState, InstanceTypeFacts,
    InstanceView, ModifyInstance, ModifyVolume, Protection, ProviderError, ProviderErrorKind, RegisterImage,
    RunInstance, SnapshotId, SnapshotState, SnapshotView, StateReason, StatusCheck, TagMap, VolumeId,
    VolumeShape, VolumeState, VolumeView, is_user_tag, user_tags,
};

use crate::diagnostic::Diagnostic;
use crate::model::{Found, Lookup};

/// Tag that carries the state's lineage.
pub const TAG_WORKSPACE: &str = "replant:workspace";
/// Tag that carries the address.
pub const TAG_ADDRESS: &str = "replant:address";
/// Tag that carries the client token.
pub const TAG_TOKEN: &str = "replant:token";

/// Tag of volumes and instances that a guest has been started from: they may hold data that is
/// nowhere else. It is set before the first start and never taken away.
pub const TAG_LAUNCHED: &str = "replant:launched";

/// A cloud. Calls return when the provider accepted them, not when their effect is complete:
/// states are polled by describing. Repeating a call that carries a client token returns what the
/// first made. Describing never fails for an id that does not exist: it is left out.
#[async_trait]
pub trait Provider: Send + Sync {
    /// `local` or `aws`.
    fn name(&self) -> &'static str;

    /// What stands in the way of what will be asked, known before anything is made: all of it, each
    /// with its place. Makes and changes nothing.
    async fn preflight(&self, request: &Preflight) -> Vec<Concern>;

    /// Why volumes in the access node's slots cannot be written from this machine; `None` where
    /// they can, because it is the access node. Runs before anything is made.
    async fn misplaced(&self) -> Option<Diagnostic> {
        None
    }

    /// The access node: where it is, what it offers.
    async fn access_node(&self) -> Result<AccessNode, ProviderError>;

    /// Facts of these instance types; unknown names are left out.
    async fn instance_types(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, InstanceTypeFacts>, ProviderError>;

    /// What a data source asks for: all that matches, however many. For a question without
    /// conditions everything of its kind.
    async fn lookup(&self, lookup: &Lookup) -> Result<Vec<Found>, ProviderError>;

    /// Makes an empty volume.
    async fn create_volume(&self, request: &CreateVolume) -> Result<VolumeView, ProviderError>;
    /// The volumes that a filter names.
    async fn volumes(&self, filter: &Filter) -> Result<Vec<VolumeView>, ProviderError>;
    /// Changes a volume in place.
    async fn modify_volume(&self, id: &VolumeId, request: &ModifyVolume) -> Result<(), ProviderError>;
    /// Deletes a volume that is not attached.
    async fn delete_volume(&self, id: &VolumeId) -> Result<(), ProviderError>;
    /// Attaches a volume to an instance (the access node or a restored one) under a device name.
    /// Attaching what is already attached just so succeeds.
    async fn attach_volume(
        &self,
        id: &VolumeId,
        instance: &InstanceId,
        device: &str,
    ) -> Result<(), ProviderError>;
    /// Detaches a volume from an instance. Detaching what is not attached succeeds.
    async fn detach_volume(&self, id: &VolumeId, instance: &InstanceId) -> Result<(), ProviderError>;
    /// The block device (or file) of a volume that is attached to the access node, proven to be
    /// that volume (promise 1). Runs on the access node.
    async fn device(&self, id: &VolumeId) -> Result<DeviceFacts, ProviderError>;

    /// Whether volumes can be attached to an instance whose guest runs.
    fn hot_plugs(&self) -> bool {
        true
    }

    /// Whether the access node's kernel has let go of a volume that is detached from it: its device
    /// is no longer there, so that its slot can be used again. Runs on the access node.
    async fn is_released(&self, id: &VolumeId) -> Result<bool, ProviderError> {
        let _ = id;
        Ok(true)
    }

    /// Launches a stub instance, or a restored guest from its image.
    async fn run_instance(&self, request: &RunInstance) -> Result<InstanceView, ProviderError>;
    /// The instances that a filter names.
    async fn instances(&self, filter: &Filter) -> Result<Vec<InstanceView>, ProviderError>;
    /// Starts a stopped instance.
    async fn start_instance(&self, id: &InstanceId) -> Result<(), ProviderError>;
    /// Stops a running instance. Stopping a stopped one succeeds.
    async fn stop_instance(&self, id: &InstanceId) -> Result<(), ProviderError>;
    /// Terminates an instance; its volumes with `delete_on_termination` go with it. Terminating a
    /// terminated one succeeds.
    async fn terminate_instance(&self, id: &InstanceId) -> Result<(), ProviderError>;
    /// Changes an instance; some changes need it stopped.
    async fn modify_instance(&self, id: &InstanceId, request: &ModifyInstance) -> Result<(), ProviderError>;
    /// What an instance is protected from, asked anew: nothing that saves calls is believed. One that
    /// does not exist is not protected.
    async fn protection(&self, id: &InstanceId) -> Result<Protection, ProviderError> {
        let found = self.instances(&Filter::id(id)).await?;
        Ok(found.first().map_or_else(Protection::default, |view| Protection {
            termination: view.termination_protection,
            stop: view.options.disable_api_stop,
        }))
    }
    /// Whether a started instance came up.
    async fn instance_status(&self, id: &InstanceId) -> Result<StatusCheck, ProviderError>;
    /// What its serial console showed.
    async fn console_output(&self, id: &InstanceId) -> Result<ConsoleOutput, ProviderError>;

    /// What its screen shows, as a JPG, when the provider has such a thing.
    async fn console_screenshot(&self, id: &InstanceId) -> Result<Option<Vec<u8>>, ProviderError> {
        let _ = id;
        Ok(None)
    }

    /// Sets and removes tags of a volume, instance, snapshot or image.
    async fn change_tags(
        &self,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), ProviderError>;

    /// Snapshots a volume.
    async fn create_snapshot(&self, request: &CreateSnapshot) -> Result<SnapshotView, ProviderError>;
    /// The snapshots that a filter names.
    async fn snapshots(&self, filter: &Filter) -> Result<Vec<SnapshotView>, ProviderError>;
    /// Deletes a snapshot that no image is made of.
    async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ProviderError>;

    /// Makes an image of complete snapshots. Repeating it with the same name and token returns the
    /// same image.
    async fn register_image(&self, request: &RegisterImage) -> Result<ImageView, ProviderError>;
    /// The images of this account that a filter names.
    async fn images(&self, filter: &Filter) -> Result<Vec<ImageView>, ProviderError>;
    /// Takes an image away; its snapshots and what was launched from it stay.
    async fn deregister_image(&self, id: &ImageId) -> Result<(), ProviderError>;

    /// Where evidence of a boot is kept on this machine, when it is a file.
    fn console_log(&self, id: &InstanceId) -> Option<PathBuf>;
}
