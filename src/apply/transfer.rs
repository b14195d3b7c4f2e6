//! The way of the data: into a slot, the image's content, the guest's drivers, out of the slot.

use std::path::Path;
use std::sync::Arc;

use super::context::put_volume;
use super::retry::retry;
use super::wait::Pauses;
use super::{ApplyError, Context, Event};
use crate::copy;
use crate::image;
use crate::image::BlockSource;
use crate::model::{Address, Digest};
use crate::observe::as_recorded;
use crate::plan::{DriversPlan, WritePlan};
use crate::provider::{DeviceFacts, ProviderError, ProviderErrorKind, VolumeState};
use crate::state::{DriversFacts, ImageFacts, Operation, VolumeResource, WriteFacts};

fn disk(address: &Address) -> &str {
    address.part.disk().unwrap_or_default()
}

impl Context {
    /// Puts a volume in a slot of the access node.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout; it is attached to something that is not ours.
    pub async fn attach(&self, address: &Address, slot: &str) -> Result<String, ApplyError> {
        let (volume_address, volume) = self.volume(&address.instance, disk(address))?;
        self.refuse_running(&address.instance).await?;
        self.free_volume(address, &volume.id).await?;
        let node = self.access_node();
        let operation = Operation::AttachVolume {
            id: volume.id.clone(),
            instance: node.clone(),
            device: slot.to_owned(),
        };
        let there = put_volume(
            &volume_address,
            VolumeResource { slot: Some(slot.to_owned()), last_snapshot: None, ..volume.clone() },
        );
        self.effect(
            address,
            operation,
            || self.provider.attach_volume(&volume.id, &node, slot),
            |()| vec![there],
        )
        .await?;
        self.wait_for_volume(&volume.id, "attached", |view| {
            view.and_then(|view| view.attachment.as_ref())
                .is_some_and(|attachment| attachment.instance_id == node && attachment.state == "attached")
        })
        .await?;
        Ok(format!("{} in slot {slot}", volume.id))
    }

    /// Nothing is written to the volumes of an instance that runs and that Replant has not started.
    async fn refuse_running(&self, machine: &crate::model::InstanceAddress) -> Result<(), ApplyError> {
        let Some(recorded) = self.instance(machine) else { return Ok(()) };
        let view = self.describe_instance(&recorded.id).await?;
        if crate::plan::instance::is_started_outside(&recorded, view.as_ref()) {
            return Err(ApplyError::StartedOutside { instance: recorded.id.to_string() });
        }
        Ok(())
    }

    /// Takes a volume out of its slot. The slot that became free is the state's.
    ///
    /// # Errors
    /// The provider's, the journal's, a timeout.
    pub async fn detach(&self, address: &Address) -> Result<String, ApplyError> {
        let (volume_address, volume) = self.volume(&address.instance, disk(address))?;
        let node = self.access_node();
        let operation = Operation::DetachVolume { id: volume.id.clone(), instance: node.clone() };
        let out = put_volume(&volume_address, VolumeResource { slot: None, ..volume.clone() });
        self.effect(address, operation, || self.provider.detach_volume(&volume.id, &node), |()| vec![out])
            .await?;
        self.wait_for_volume(&volume.id, "detached", |view| {
            view.is_some_and(|view| view.attachment.is_none() && view.state == VolumeState::Available)
        })
        .await?;
        // Its slot can be used again only when its old device is gone.
        let mut pauses = Pauses::new(self.options.limits.volume);
        while !retry(&self.cancel, || self.provider.is_released(&volume.id)).await? {
            let what = format!("{} released by the kernel", volume.id);
            pauses.pause(self, &what, "its device is still there").await?;
        }
        let mut detail =
            volume.slot.map_or_else(String::new, |slot| format!("{} out of slot {slot}", volume.id));
        if let Some(lowered) = self.lower(&volume_address).await? {
            detail.push_str(&format!(", {lowered}"));
        }
        Ok(detail)
    }

    /// Opens the image that was planned with.
    fn open_image(facts: &ImageFacts) -> Result<image::Image, ApplyError> {
        let image = image::open(&facts.path, &as_recorded(facts))
            .map_err(|error| ApplyError::Image(Box::new(error)))?;
        if image.identity().digest() != facts.identity {
            return Err(ApplyError::ImageMoved { path: facts.path.called() });
        }
        Ok(image)
    }

    /// Opens a volume's device for writing: the provider has proven it, the target proves it again.
    fn open_target(
        device: &DeviceFacts,
        image: &image::Image,
        data: u64,
    ) -> Result<copy::Target, ApplyError> {
        let options = copy::TargetOptions {
            size: image.size(),
            data,
            expected_size: Some(device.size),
            image_files: image.files().map(Path::to_owned).collect(),
            existing: copy::Existing::Keep,
            create: false,
            identity: Some(device.volume_id.to_string()),
        };
        let target = copy::Target::open(&device.path, &options)
            .map_err(|error| ApplyError::Copy(Box::new(error.into())))?;
        // Its name could have gone to another device before it was open; now it cannot.
        let is_it = target.is(device.node).map_err(|error| ApplyError::Copy(Box::new(error.into())))?;
        if !is_it || !device.is_still_proven() {
            return Err(ApplyError::Provider(ProviderError::new(
                "DescribeVolumes",
                ProviderErrorKind::DeviceRefused,
                "DeviceRefused",
                format!("{} was {} and is so no longer", device.path.display(), device.volume_id),
            )));
        }
        Ok(target)
    }

    /// Refuses a device that holds something before Replant has put anything on it: somebody else's.
    fn refuse_foreign(device: &DeviceFacts) -> Result<(), ApplyError> {
        let options = copy::TargetOptions {
            expected_size: Some(device.size),
            existing: copy::Existing::Refuse,
            ..copy::TargetOptions::default()
        };
        copy::Target::open(&device.path, &options)
            .map(drop)
            .map_err(|error| ApplyError::Copy(Box::new(error.into())))
    }

    /// Puts an image's content on a volume.
    ///
    /// # Errors
    /// The device is not proven, the image moved, reading or writing fails, the journal's.
    pub async fn write(self: &Arc<Self>, address: &Address, plan: &WritePlan) -> Result<String, ApplyError> {
        let _permit = self.writers.acquire().await.map_err(|error| ApplyError::Task(error.to_string()))?;
        let (volume_address, volume) = self.volume(&address.instance, disk(address))?;
        if volume.started {
            // A guest's writes lie over the content: nothing of it can be taken as written.
            self.forget_manifest(&volume.id);
        }
        let device = self.provider.device(&volume.id).await?;
        let manifest = Self::manifest(&volume.id);
        let is_ours = volume.written
            || volume.write.is_some()
            || volume.started
            || self.options.directory.join(&manifest).exists();
        if !is_ours {
            let device = device.clone();
            self.blocking(move || Self::refuse_foreign(&device)).await?;
        }
        let bare =
            VolumeResource { written: true, write: None, drivers: None, started: false, ..volume.clone() };
        if bare != volume {
            self.change(vec![put_volume(&volume_address, bare.clone())]).await?;
        }
        let operation = Operation::Write {
            id: volume.id.clone(),
            image: plan.image.identity,
            manifest: manifest.clone(),
        };
        let intent = self.begin(address, operation).await?;
        let key = (address.instance.clone(), disk(address).to_owned());
        let expect = self.overlays.get(&key).map(|overlay| overlay.read_set.clone()).unwrap_or_default();
        let (this, job_address, job) = (Arc::clone(self), address.clone(), plan.clone());
        let path = self.options.directory.join(&manifest);
        let result = self
            .blocking(move || {
                let existing = existing_manifest(&path, &job, &volume);
                let write = |existing| this.write_now(&job_address, &job, &device, &path, existing, &expect);
                match write(existing) {
                    // Something else wrote to it: what the manifest says counts for nothing.
                    Err(ApplyError::Copy(error))
                        if existing != copy::ExistingManifest::Replace
                            && matches!(*error, copy::CopyError::TargetMoved { .. }) =>
                    {
                        write(copy::ExistingManifest::Replace)
                    }
                    done => done,
                }
            })
            .await;
        let written = match result {
            Ok(written) => written,
            Err(error) => {
                // What was fsynced stays in the manifest, and the next write goes on from there.
                self.fail(intent, error.to_string(), Vec::new()).await?;
                return Err(error);
            }
        };
        let facts = WriteFacts {
            image: plan.image.clone(),
            content: written.content,
            data_bytes: written.data_bytes,
            zero_bytes: written.zero_bytes,
            manifest,
            verified: self.options.verify,
            finished_at: jiff::Timestamp::now().to_string(),
        };
        self.finish(intent, vec![put_volume(&volume_address, VolumeResource { write: Some(facts), ..bare })])
            .await?;
        self.count(|tally| tally.bytes_written += written.written_bytes);
        let verified = if self.options.verify { ", verified" } else { "" };
        Ok(format!(
            "{} written of {} of data{verified}, content {}",
            crate::model::Bytes(written.written_bytes),
            crate::model::Bytes(plan.data_bytes),
            written.content.short()
        ))
    }

    /// The part of a write that blocks: the job that an access node does.
    fn write_now(
        &self,
        address: &Address,
        plan: &WritePlan,
        device: &DeviceFacts,
        manifest: &Path,
        existing_manifest: copy::ExistingManifest,
        expect: &image::ReadSet,
    ) -> Result<Written, ApplyError> {
        let image = Self::open_image(&plan.image)?;
        if self.options.verify {
            // Damage is found before anything of it is on the volume.
            let stop = || self.cancel.stage() > 0;
            image.check_manifest(&stop).map_err(|error| ApplyError::Manifest(Box::new(error)))?;
        }
        let target = Self::open_target(device, &image, plan.data_bytes)?;
        let failed = |error| ApplyError::Copy(Box::new(error));
        if let Some(parent) = manifest.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|error| ApplyError::Task(format!("cannot make {}: {error}", parent.display())))?;
        }
        let options = copy::WriteOptions {
            existing_manifest,
            manifest: Some(manifest.to_owned()),
            expect: expect.clone(),
            threads: self.options.threads,
            budget: Arc::clone(&self.budget),
            ..copy::WriteOptions::new(plan.image.identity)
        };
        let watcher = Watcher { context: self, address, total: plan.image.size, data: plan.data_bytes };
        let cancel = self.cancel.copies();
        let outcome = copy::write(&image, &target, &options, &watcher, &cancel).map_err(failed)?;
        if self.options.verify {
            let options =
                copy::VerifyOptions { threads: self.options.threads, budget: Arc::clone(&self.budget) };
            copy::verify(&target, &outcome.manifest, None, &options, &watcher, &cancel).map_err(failed)?;
        }
        Ok(Written {
            content: outcome.content,
            data_bytes: outcome.data_bytes,
            zero_bytes: outcome.zero_bytes,
            written_bytes: outcome.written_bytes,
        })
    }

    /// Makes the guest bootable: writes the changed blocks over the content.
    ///
    /// # Errors
    /// The device is not proven, reading or writing fails, the journal's.
    pub async fn inject(
        self: &Arc<Self>,
        address: &Address,
        plan: &DriversPlan,
    ) -> Result<String, ApplyError> {
        let mut bytes = 0;
        for overlay in &plan.overlays {
            bytes += overlay.bytes;
            self.inject_disk(address, plan, &overlay.disk, overlay.bytes).await?;
        }
        let state = self.store.state();
        let untouched: Vec<_> = state
            .resources
            .keys()
            .filter(|volume| volume.instance == address.instance)
            .filter_map(|volume| volume.part.disk())
            .filter(|disk| !plan.overlays.iter().any(|overlay| overlay.disk == *disk))
            .map(str::to_owned)
            .collect();
        drop(state);
        let mut changes = Vec::new();
        for disk in untouched {
            let (volume_address, volume) = self.volume(&address.instance, &disk)?;
            if volume.write.is_some() && volume.drivers.is_none() {
                let drivers =
                    Some(DriversFacts { recipe: plan.recipe, overlay_bytes: 0, wanted: plan.wanted });
                changes.push(put_volume(&volume_address, VolumeResource { drivers, ..volume }));
            }
        }
        self.change(changes).await?;
        Ok(format!("{} of changed blocks", crate::model::Bytes(bytes)))
    }

    async fn inject_disk(
        self: &Arc<Self>,
        address: &Address,
        plan: &DriversPlan,
        disk: &str,
        bytes: u64,
    ) -> Result<(), ApplyError> {
        let (volume_address, volume) = self.volume(&address.instance, disk)?;
        let device = self.provider.device(&volume.id).await?;
        let facts = volume.write.as_ref().map(|write| write.image.clone());
        let facts = facts.ok_or_else(|| ApplyError::NotInState { address: volume_address.clone() })?;
        let operation = Operation::WriteOverlay { id: volume.id.clone(), recipe: plan.recipe };
        let intent = self.begin(address, operation).await?;
        let (this, machine, name) = (Arc::clone(self), address.instance.clone(), disk.to_owned());
        let manifest = self.options.directory.join(Self::manifest(&volume.id));
        let result = self
            .blocking(move || {
                let overlay = this.overlays.get(&(machine.clone(), name.clone())).ok_or_else(|| {
                    ApplyError::Task(format!("the plan carries no blocks for disk {name} of {machine}"))
                })?;
                let failed = |error| ApplyError::Copy(Box::new(error));
                let image = Self::open_image(&facts)?;
                let target = Self::open_target(&device, &image, 0)?;
                let mut manifest = copy::Manifest::open(&manifest).map_err(|error| failed(error.into()))?;
                let options = copy::OverlayOptions::default();
                copy::write_overlay(&target, overlay, &image, &mut manifest, &options, &this.cancel.copies())
                    .map_err(failed)
            })
            .await;
        match result {
            Ok(_) => {
                let drivers =
                    Some(DriversFacts { recipe: plan.recipe, overlay_bytes: bytes, wanted: plan.wanted });
                let now = put_volume(&volume_address, VolumeResource { drivers, ..volume });
                self.finish(intent, vec![now]).await
            }
            Err(error) => {
                // Some of the blocks may be there: the content is written anew next time.
                self.forget_manifest(&volume.id);
                let now =
                    put_volume(&volume_address, VolumeResource { write: None, drivers: None, ..volume });
                self.fail(intent, error.to_string(), vec![now]).await?;
                Err(error)
            }
        }
    }
}

/// What a write left, without the manifest that it holds open.
struct Written {
    content: Digest,
    data_bytes: u64,
    zero_bytes: u64,
    written_bytes: u64,
}

/// What to do with a volume's manifest: what it vouches for is believed where the state has it
/// that nobody else can have written to the volume since.
fn existing_manifest(path: &Path, plan: &WritePlan, volume: &VolumeResource) -> copy::ExistingManifest {
    use copy::ExistingManifest::{Replace, Resume, Update};
    let Ok(manifest) = copy::Manifest::open(path) else { return Replace };
    if volume.started {
        return Replace;
    }
    let same = manifest.header().image == plan.image.identity;
    let written = volume.write.as_ref().map(|write| write.content);
    match manifest.finished() {
        Some(_) if same && manifest.overlay().is_none() => Resume,
        Some(finished) if written == Some(finished.content) => Update,
        None if manifest.is_updating() => Update,
        None if same => Resume,
        _ => Replace,
    }
}

/// Passes a copy's events on as the run's.
struct Watcher<'a> {
    context: &'a Context,
    address: &'a Address,
    total: u64,
    data: u64,
}

impl copy::Observer for Watcher<'_> {
    fn event(&self, event: &copy::Event) {
        let (address, total) = (self.address.clone(), self.total);
        self.context.tell(&match *event {
            copy::Event::Progress { done, written, data_left, time_left, .. } => Event::WriteProgress {
                address,
                done,
                total,
                written,
                verifying: false,
                data: self.data,
                data_left: data_left.unwrap_or(0),
                time_left,
            },
            copy::Event::Verified { done } => Event::WriteProgress {
                address,
                done,
                total,
                written: 0,
                verifying: true,
                data: 0,
                data_left: 0,
                time_left: None,
            },
            _ => return,
        });
    }
}
