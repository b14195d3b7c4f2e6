//! Waiting for states, by describing again and again, with a stated limit.

use std::time::Duration;

use tokio::time::Instant;

use super::retry::retry;
use super::{ApplyError, Context};
use crate::model::Address;
use crate::provider::{
    Filter, ImageId, ImageState, InstanceId, InstanceState, InstanceView, SnapshotId, SnapshotState,
    VolumeId, VolumeState, VolumeView,
};

/// How long states are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For volumes and attachments (EC2: seconds; a busy detach can take minutes).
    pub volume: Duration,
    /// For an instance to run, stop or end (EC2: a stop may take minutes).
    pub instance: Duration,
    /// For a snapshot (EC2: hours for terabytes).
    pub snapshot: Duration,
    /// For what was just made to be known everywhere (EC2 gives no limit; two minutes were seen).
    pub new: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { volume: seconds(300), instance: seconds(600), snapshot: seconds(12 * 3600), new: seconds(120) }
    }
}

/// For an image of complete snapshots (EC2: seconds).
pub const IMAGE: Duration = Duration::from_secs(600);

/// The first pause between two looks; each next is longer by half, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(40);
/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_secs(5);
/// Looks that must agree that something does not exist.
pub const MISSING: u32 = 5;

/// Pauses that grow, up to a limit.
pub struct Pauses {
    next: Duration,
    deadline: Instant,
    limit: Duration,
}

impl Pauses {
    /// Pauses for at most this long in all.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { next: FIRST, deadline: Instant::now() + limit, limit }
    }

    /// Pauses.
    ///
    /// # Errors
    /// The limit is reached, or the user interrupts for the second time.
    pub async fn pause(&mut self, context: &Context, what: &str, last: &str) -> Result<(), ApplyError> {
        if Instant::now() >= self.deadline {
            return Err(ApplyError::Timeout {
                what: what.to_owned(),
                seconds: self.limit.as_secs(),
                last: last.to_owned(),
            });
        }
        tokio::select! {
            () = tokio::time::sleep(self.next) => {}
            () = context.cancel.reached(2) => return Err(ApplyError::Interrupted),
        }
        self.next = (self.next + self.next / 2).min(LONGEST);
        Ok(())
    }
}

/// A volume's state and its attachment's, as a person is told them.
fn seen(view: &VolumeView) -> String {
    let attachment = view.attachment.as_ref();
    let attached = attachment.map(|is| format!(", {} on {} as {}", is.state, is.instance_id, is.device));
    format!("{:?}{}", view.state, attached.unwrap_or_default())
}

impl Context {
    /// A volume as it is, when it exists.
    ///
    /// # Errors
    /// The provider's.
    pub async fn describe_volume(&self, id: &VolumeId) -> Result<Option<VolumeView>, ApplyError> {
        let filter = Filter::id(id);
        let found = retry(&self.cancel, || self.provider.volumes(&filter)).await?;
        Ok(found.into_iter().next().filter(|view| view.state != VolumeState::Deleted))
    }

    /// An instance as it is, when it exists.
    ///
    /// # Errors
    /// The provider's.
    pub async fn describe_instance(&self, id: &InstanceId) -> Result<Option<InstanceView>, ApplyError> {
        let found = self.describe_even_terminated(id).await?;
        Ok(found.filter(|view| view.state != InstanceState::Terminated))
    }

    /// An instance as it is; one that ended says why, for a while.
    ///
    /// # Errors
    /// The provider's.
    pub async fn describe_even_terminated(
        &self,
        id: &InstanceId,
    ) -> Result<Option<InstanceView>, ApplyError> {
        let filter = Filter::id(id);
        Ok(retry(&self.cancel, || self.provider.instances(&filter)).await?.into_iter().next())
    }

    /// Waits until a volume is as wanted. Right after its creation it may not exist yet.
    ///
    /// # Errors
    /// A timeout, the provider's, an interrupt.
    pub async fn wait_for_volume(
        &self,
        id: &VolumeId,
        what: &str,
        mut wanted: impl FnMut(Option<&VolumeView>) -> bool,
    ) -> Result<Option<VolumeView>, ApplyError> {
        let mut pauses = Pauses::new(self.options.limits.volume);
        loop {
            let view = self.describe_volume(id).await?;
            if wanted(view.as_ref()) {
                return Ok(view);
            }
            let last = view.map_or_else(|| "it does not exist".to_owned(), |view| seen(&view));
            pauses.pause(self, &format!("{id} {what}"), &last).await?;
        }
    }

    /// Waits until a volume is attached to nothing. That it is not described means that it is gone only
    /// when that is said again and again: EC2 may not know everywhere yet what came with an instance.
    ///
    /// # Errors
    /// A timeout, the provider's, an interrupt.
    pub async fn wait_until_free(&self, id: &VolumeId) -> Result<(), ApplyError> {
        let mut pauses = Pauses::new(self.options.limits.volume);
        let mut missing = 0;
        loop {
            let view = self.describe_volume(id).await?;
            let last = match &view {
                Some(view) if view.attachment.is_none() && view.state != VolumeState::InUse => return Ok(()),
                Some(view) => seen(view),
                None if missing == MISSING => return Ok(()),
                None => "it does not exist".to_owned(),
            };
            missing = if view.is_none() { missing + 1 } else { 0 };
            pauses.pause(self, &format!("{id} detached"), &last).await?;
        }
    }

    /// Waits until an instance is in a state (or gone, for `None`).
    ///
    /// # Errors
    /// A timeout, the provider's, an interrupt; it ended, or fell back to stopped, and should not.
    pub async fn wait_for_instance(
        &self,
        id: &InstanceId,
        wanted: Option<InstanceState>,
    ) -> Result<(), ApplyError> {
        let mut pauses = Pauses::new(self.options.limits.instance);
        let what = wanted.map_or_else(|| format!("{id} terminated"), |state| format!("{id} {state:?}"));
        loop {
            let view = self.describe_even_terminated(id).await?;
            let state = view.as_ref().map(|view| view.state).filter(|is| *is != InstanceState::Terminated);
            if state == wanted {
                return Ok(());
            }
            if let (Some(wanted), Some(view)) = (wanted, view)
                && (view.state.is_ending()
                    || (wanted, view.state) == (InstanceState::Running, InstanceState::Stopped))
            {
                return Err(ApplyError::Ended {
                    instance: id.to_string(),
                    state: view.state,
                    reason: view.state_reason,
                });
            }
            let last = state.map_or_else(|| "it does not exist".to_owned(), |state| format!("{state:?}"));
            pauses.pause(self, &what, &last).await?;
        }
    }

    /// Waits until an image can be launched from; gives its platform.
    ///
    /// # Errors
    /// It failed, a timeout, the provider's, an interrupt.
    pub async fn wait_for_image(&self, id: &ImageId) -> Result<String, ApplyError> {
        let mut pauses = Pauses::new(IMAGE);
        let filter = Filter::id(id);
        loop {
            let found = retry(&self.cancel, || self.provider.images(&filter)).await?;
            let state = match found.into_iter().next() {
                Some(view) if view.state == ImageState::Available => return Ok(view.platform),
                Some(view) if view.state == ImageState::Failed => {
                    return Err(ApplyError::Task(format!("the image {id} failed at the provider")));
                }
                view => view.map(|view| view.state),
            };
            pauses.pause(self, &format!("the image {id} available"), &format!("{state:?}")).await?;
        }
    }

    /// Waits until a snapshot is complete, and says how far it is.
    ///
    /// # Errors
    /// It failed, a timeout, the provider's, an interrupt.
    pub async fn wait_for_snapshot(&self, address: &Address, id: &SnapshotId) -> Result<(), ApplyError> {
        let mut pauses = Pauses::new(self.options.limits.snapshot);
        let mut told = None;
        let filter = Filter::id(id);
        loop {
            let found = retry(&self.cancel, || self.provider.snapshots(&filter)).await?;
            let view = found.into_iter().next();
            let state = view.as_ref().map(|view| view.state);
            let progress = view.and_then(|view| view.progress);
            if progress.is_some() && progress != told {
                let so_far = progress.as_deref().unwrap_or_default();
                self.progress(address, format!("the snapshot {id} is taken: {so_far}"));
                told = progress;
            }
            match state {
                Some(SnapshotState::Completed) => return Ok(()),
                Some(SnapshotState::Error) => {
                    return Err(ApplyError::Task(format!("the snapshot {id} failed at the provider")));
                }
                Some(SnapshotState::Pending) | None => {}
            }
            pauses.pause(self, &format!("the snapshot {id} completed"), &format!("{state:?}")).await?;
        }
    }
}
