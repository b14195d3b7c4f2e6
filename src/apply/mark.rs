//! Tags that say what became of a resource, for whoever finds it without its state.

use std::collections::{BTreeMap, BTreeSet};

use super::retry::retry;
use super::{ApplyError, Context};
use crate::model::Address;
use crate::provider::{
    Filter, InstanceView, TAG_ADDRESS, TAG_LAUNCHED, TAG_TOKEN, TAG_WORKSPACE, TagMap, VolumeId, VolumeView,
};
use crate::state::{Operation, VolumeResource};

impl Context {
    /// Says on an instance and its volumes that a guest starts from them: nothing that carries the
    /// tag is ever swept away.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn mark_launched(
        &self,
        address: &Address,
        view: &InstanceView,
        places: &BTreeMap<String, (Address, VolumeResource)>,
    ) -> Result<(), ApplyError> {
        let mark = TagMap::from([(TAG_LAUNCHED.to_owned(), "true".to_owned())]);
        let ids = places.values().map(|(_, volume)| volume.id.to_string()).collect();
        let filter = Filter { ids, ..Filter::default() };
        let mut known: BTreeMap<VolumeId, VolumeView> = BTreeMap::new();
        if !places.is_empty() {
            let views = retry(&self.cancel, || self.provider.volumes(&filter)).await?;
            known.extend(views.into_iter().map(|view| (view.id.clone(), view)));
        }
        for (volume_address, volume) in places.values() {
            if known.get(&volume.id).is_none_or(|view| !view.tags.contains_key(TAG_LAUNCHED)) {
                self.set_tags(volume_address, &volume.id.0, &mark, &BTreeSet::new()).await?;
            }
        }
        if !view.tags.contains_key(TAG_LAUNCHED) {
            self.set_tags(address, &view.id.0, &mark, &BTreeSet::new()).await?;
        }
        Ok(())
    }

    /// Takes a volume out of the workspace: it is the user's from now on. What says whence it came
    /// stays on it.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn unmark(&self, address: &Address, view: &VolumeView) -> Result<(), ApplyError> {
        let ours = [TAG_WORKSPACE, TAG_TOKEN].into_iter().filter(|tag| view.tags.contains_key(*tag));
        let remove: BTreeSet<String> = ours.map(str::to_owned).collect();
        if remove.is_empty() {
            return Ok(());
        }
        self.set_tags(address, &view.id.0, &TagMap::new(), &remove).await
    }

    /// Puts the workspace's tags on what was imported, which counts as launched.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn claim(&self, address: &Address, id: &str) -> Result<(), ApplyError> {
        let tags = TagMap::from([
            (TAG_WORKSPACE.to_owned(), self.store.state().lineage.clone()),
            (TAG_ADDRESS.to_owned(), address.to_string()),
            (TAG_LAUNCHED.to_owned(), "true".to_owned()),
        ]);
        self.set_tags(address, id, &tags, &BTreeSet::new()).await
    }

    /// One change of tags.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn set_tags(
        &self,
        address: &Address,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), ApplyError> {
        let operation = Operation::ChangeTags { id: id.to_owned(), set: set.clone(), remove: remove.clone() };
        self.effect(address, operation, || self.provider.change_tags(id, set, remove), |()| Vec::new()).await
    }
}
