//! Removing what a workspace made and no state knows.

use std::collections::BTreeSet;

use super::{ApplyError, Context, Event};
use crate::model::{Address, InstanceAddress, Part};
use crate::observe::inventory::{Stray, StrayKind};
use crate::provider::{ImageId, InstanceId, SnapshotId, VolumeId, VolumeState};
use crate::state::Operation;

/// Removes strays, instances before volumes, images before their snapshots. What is to be kept is left alone whatever the caller
/// hands over.
///
/// # Errors
/// The provider's, the journal's, a timeout; what is gone by then stays gone.
pub async fn sweep(context: &Context, strays: &[Stray]) -> Result<BTreeSet<String>, ApplyError> {
    let mut gone = BTreeSet::new();
    let removable = |kind| strays.iter().filter(move |stray| stray.kind == kind && stray.kept.is_none());
    for stray in removable(StrayKind::Instance) {
        let (address, id) = (address(stray), InstanceId(stray.id.clone()));
        let held = context.describe_instance(&id).await?.map(|view| view.volumes).unwrap_or_default();
        let operation = Operation::TerminateInstance { id: id.clone() };
        context
            .effect(&address, operation, || context.provider.terminate_instance(&id), |()| Vec::new())
            .await?;
        context.wait_for_instance(&id, None).await?;
        // Those that go with it go now; the others are free a moment later.
        for volume in held.values() {
            context.wait_until_free(volume).await?;
        }
        told(context, &address, &id.0);
        gone.insert(id.0);
    }
    for stray in removable(StrayKind::Volume) {
        let (address, id) = (address(stray), VolumeId(stray.id.clone()));
        match context.describe_volume(&id).await?.map(|view| view.state) {
            // It goes with its instance, or has gone.
            None | Some(VolumeState::Deleting) => {
                context.wait_for_volume(&id, "gone", |view| view.is_none()).await?;
                context.forget_manifest(&id);
            }
            Some(_) => context.end_volume(&address, &id, Vec::new()).await?,
        }
        told(context, &address, &id.0);
        gone.insert(id.0);
    }
    for stray in removable(StrayKind::Image) {
        let (address, id) = (address(stray), ImageId(stray.id.clone()));
        let operation = Operation::DeregisterImage { id: id.clone() };
        context
            .effect(&address, operation, || context.provider.deregister_image(&id), |()| Vec::new())
            .await?;
        told(context, &address, &id.0);
        gone.insert(id.0);
    }
    for stray in removable(StrayKind::Snapshot) {
        let (address, id) = (address(stray), SnapshotId(stray.id.clone()));
        let operation = Operation::DeleteSnapshot { id: id.clone() };
        context
            .effect(&address, operation, || context.provider.delete_snapshot(&id), |()| Vec::new())
            .await?;
        told(context, &address, &id.0);
        gone.insert(id.0);
    }
    Ok(gone)
}

/// For messages and the journal only: what is removed is named by its id.
fn address(stray: &Stray) -> Address {
    let tagged = stray.address.as_ref().and_then(|address| address.parse().ok());
    tagged.unwrap_or_else(|| InstanceAddress::new("unknown").part(Part::Instance))
}

fn told(context: &Context, address: &Address, id: &str) {
    context.tell(&Event::Recovered { address: address.clone(), what: format!("{id} is gone") });
}
