//! CreateSnapshot, DescribeSnapshots, DeleteSnapshot.

use std::time::Duration;

use aws_sdk_ec2::config::Builder;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::types as sdk;

use super::call::{Attempts, Failed, pages, send};
use super::client::Cloud;
use super::views;
use super::volumes::{PAGE, filters};
use crate::provider::TAG_TOKEN;
use crate::provider::types::{
    CreateSnapshot, Filter, ProviderError, ProviderErrorKind, SnapshotId, SnapshotView,
};

/// Most characters of a description (CreateSnapshot).
const MAX_DESCRIPTION: usize = 255;
/// How often a snapshot whose reply was lost is looked for, and the pause between.
const LOOKS: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);

impl Cloud {
    /// CreateSnapshot has no client token: ours is a tag, looked for before and after.
    pub(super) async fn create_snapshot(
        &self,
        request: &CreateSnapshot,
    ) -> Result<SnapshotView, ProviderError> {
        if let Some(made) = self.snapshot_of(request).await? {
            return Ok(made);
        }
        let failed = match self.create_snapshot_once(request).await {
            Ok(view) => return Ok(view),
            Err(failed) => failed,
        };
        if failed.is_unknown {
            for _ in 0..LOOKS {
                // A look that fails is none: what the call came to stays open.
                if let Ok(Some(made)) = self.snapshot_of(request).await {
                    return Ok(made);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Err(failed.into())
    }

    /// What an earlier call with this token made.
    async fn snapshot_of(&self, request: &CreateSnapshot) -> Result<Option<SnapshotView>, ProviderError> {
        let found = self.describe_snapshots(&Filter::tag(TAG_TOKEN, &request.token)).await?;
        let Some(made) = found.into_iter().next() else { return Ok(None) };
        if made.volume_id == request.volume_id {
            return Ok(Some(made));
        }
        Err(ProviderError::new(
            "CreateSnapshot",
            ProviderErrorKind::InvalidParameter,
            "IdempotentParameterMismatch",
            format!("The client token '{}' was used for {} of {}", request.token, made.id, made.volume_id),
        ))
    }

    /// Once: a repetition after a lost reply would make a second snapshot.
    async fn create_snapshot_once(&self, request: &CreateSnapshot) -> Result<SnapshotView, Failed> {
        let ec2 = self.ec2().await?;
        let mut tags = self.spec.default_tags.clone();
        tags.extend(request.tags.clone());
        tags.insert(TAG_TOKEN.to_owned(), request.token.to_string());
        let description: String = request.description.chars().take(MAX_DESCRIPTION).collect();
        let call = ec2
            .create_snapshot()
            .volume_id(&request.volume_id.0)
            .description(description)
            .set_tag_specifications(
                views::tag_specification(sdk::ResourceType::Snapshot, &tags).map(|tags| vec![tags]),
            );
        let made = self
            .fresh
            .settled(&[&request.volume_id.0], || async {
                let attempts = Attempts::default();
                let answer = call
                    .clone()
                    .customize()
                    .config_override(Builder::new().retry_config(RetryConfig::disabled()))
                    .interceptor(attempts.clone())
                    .send()
                    .await;
                attempts.judge("CreateSnapshot", answer).map_err(|mut failed| {
                    // The SDK did not repeat it: others may, since it is looked for first.
                    failed.error.exhausted = false;
                    failed
                })
            })
            .await?;
        let id = views::required(made.snapshot_id(), "CreateSnapshot", "the snapshot's id")?;
        self.fresh.note(id);
        Ok(SnapshotView {
            id: SnapshotId(id.to_owned()),
            volume_id: request.volume_id.clone(),
            state: views::snapshot_state(made.state()),
            progress: made.progress().map(str::to_owned),
            tags: views::tags(made.tags()),
        })
    }

    pub(super) async fn describe_snapshots(
        &self,
        filter: &Filter,
    ) -> Result<Vec<SnapshotView>, ProviderError> {
        let ec2 = self.ec2().await?;
        let mut found: Vec<sdk::Snapshot> = Vec::new();
        for filters in filters("snapshot-id", filter) {
            // Without an owner, EC2 describes every public snapshot there is.
            let call = ec2.describe_snapshots().owner_ids("self").set_filters(Some(filters));
            found.extend(pages!("DescribeSnapshots", call.max_results(PAGE), snapshots));
        }
        found.iter().map(views::snapshot).collect()
    }

    pub(super) async fn delete_snapshot(&self, id: &SnapshotId) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        let call = ec2.delete_snapshot().snapshot_id(&id.0);
        self.fresh
            .settled_or_gone(&id.0, || async { send!("DeleteSnapshot", call.clone()).map(drop) })
            .await?;
        Ok(())
    }
}
