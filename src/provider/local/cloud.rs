//! The open cloud, and the desk at which one call at a time is served.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::id;
use super::machine;
use super::record::{
    CloudRecord, InstancePhase, InstanceRecord, Millis, Record, SnapshotRecord, VERSION, VolumeRecord,
};
use super::rules;
use super::settings::Settings;
use super::store::{MACHINES, Store, remove_file};
use crate::model::{AccessNodeSpec, BootMode, InstanceOptions, LocalProviderSpec};
use crate::provider::types::{InstanceId, ProviderError};

/// The type that the access node says it has: it is this machine.
pub(super) const ACCESS_NODE_TYPE: &str = "local";

/// A cloud in a directory.
#[derive(Debug)]
pub(super) struct Cloud {
    pub(super) store: Store,
    pub(super) spec: LocalProviderSpec,
    pub(super) settings: Settings,
    pub(super) access_node: InstanceId,
    /// The most volumes at once on the access node.
    pub(super) slots: usize,
}

/// The cloud while its lock is held.
pub(super) struct Desk<'a> {
    cloud: &'a Cloud,
    /// The moment of this call.
    pub(super) now: Millis,
}

impl Deref for Desk<'_> {
    type Target = Cloud;

    fn deref(&self) -> &Cloud {
        self.cloud
    }
}

impl Cloud {
    pub(super) fn open(
        spec: &LocalProviderSpec,
        access_node: &AccessNodeSpec,
        base: &Path,
        settings: Settings,
    ) -> Result<Self, Failure> {
        let store = Store::open(&base.join(&spec.directory))?;
        let lock = store.lock()?;
        store.remove_temporary()?;
        let record = match store.read_file::<CloudRecord>("cloud.json")? {
            Some(record) if record.version == VERSION => record,
            Some(record) => {
                return Err(Failure::program(
                    "LocalVersion",
                    format!(
                        "{} holds a cloud of version {}, this Replant knows version {VERSION}",
                        spec.directory.display(),
                        record.version
                    ),
                ));
            }
            None => {
                let record = CloudRecord { version: VERSION, access_node: InstanceId(id::random("i")?) };
                store.write_file("cloud.json", &record)?;
                record
            }
        };
        let slots =
            access_node.max_attachments.map_or(rules::SLOTS, |most| (most as usize).min(rules::SLOTS));
        let cloud = Self { store, spec: spec.clone(), settings, access_node: record.access_node, slots };
        cloud.desk().sweep()?;
        drop(lock);
        Ok(cloud)
    }

    /// The directory of an instance's QEMU.
    pub(super) fn machine_directory(&self, id: &str) -> PathBuf {
        self.store.path(MACHINES).join(id)
    }

    /// Where an instance's console is kept.
    pub(super) fn console_path(&self, id: &str) -> PathBuf {
        self.machine_directory(id).join(machine::CONSOLE)
    }

    fn desk(&self) -> Desk<'_> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Desk { cloud: self, now: u64::try_from(now.as_millis()).unwrap_or(u64::MAX) }
    }

    /// Serves one call while nobody else changes the cloud.
    pub(super) fn serve<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&Desk<'_>) -> Result<T, Failure>,
    ) -> Result<T, ProviderError> {
        let served = self.store.lock().and_then(|lock| {
            let served = call(&self.desk());
            drop(lock);
            served
        });
        served.map_err(|failure| failure.of(operation))
    }
}

impl Desk<'_> {
    /// Whether what began at `since` has lasted this long. A clock that went backwards ends waits
    /// rather than prolonging them.
    pub(super) fn past(&self, since: Millis, delay: Duration) -> bool {
        self.now < since || u128::from(self.now - since) >= delay.as_millis()
    }

    /// Finishes what killed processes left undone, and forgets what is long gone.
    fn sweep(&self) -> Result<(), Failure> {
        for id in self.store.ids::<InstanceRecord>()? {
            self.instance_by_id(&id)?;
        }
        for id in self.store.ids::<VolumeRecord>()? {
            self.volume_by_id(&id)?;
        }
        self.remove_strays::<VolumeRecord>()?;
        self.remove_strays::<SnapshotRecord>()?;
        for name in self.store.names(MACHINES)? {
            if id::is_id(InstanceRecord::PREFIX, &name) && self.store.read::<InstanceRecord>(&name)?.is_none()
            {
                machine::remove(&self.machine_directory(&name))?;
            }
        }
        Ok(())
    }

    /// Removes content without a record. One that holds data is left for a person to judge,
    /// unless it is a snapshot's, which only a copy can have filled.
    fn remove_strays<R: Record>(&self) -> Result<(), Failure> {
        for name in self.store.names(R::DIRECTORY)? {
            let Some(id) = name.strip_suffix(".raw").filter(|id| id::is_id(R::PREFIX, id)) else { continue };
            let path = self.store.content::<R>(id);
            let record = self.store.path(R::DIRECTORY).join(format!("{id}.json"));
            let empty = fs::symlink_metadata(&path).is_ok_and(|facts| facts.blocks() == 0);
            if !record.exists() && (empty || R::PREFIX == SnapshotRecord::PREFIX) {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The access node's record: made on first use, in the zone of today's configuration.
    pub(super) fn access_node_record(&self) -> Result<InstanceRecord, Failure> {
        let stored = self.store.read::<InstanceRecord>(&self.access_node.0)?;
        let mut record = stored.unwrap_or_else(|| InstanceRecord {
            id: self.access_node.clone(),
            request: None,
            instance_type: ACCESS_NODE_TYPE.to_owned(),
            zone: String::new(),
            subnet_id: None,
            private_ip: None,
            security_group_ids: Vec::new(),
            boot_mode: BootMode::LegacyBios,
            phase: InstancePhase::Running,
            since: self.now,
            root_device: "/dev/xvda".to_owned(),
            stub_root: None,
            image_volumes: Vec::new(),
            options: InstanceOptions::default(),
            slots: std::collections::BTreeMap::new(),
            termination_protection: true,
            profile: None,
            console_pattern: None,
            boot_timeout: None,
            boot: None,
            paused: false,
            ended: None,
            tags: crate::provider::types::TagMap::new(),
        });
        record.zone.clone_from(&self.spec.zone);
        Ok(record)
    }
}
