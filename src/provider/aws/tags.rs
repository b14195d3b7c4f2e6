//! CreateTags and DeleteTags.

use std::collections::BTreeSet;

use aws_sdk_ec2::types as sdk;

use super::call::send;
use super::client::Cloud;
use super::views;
use crate::provider::types::{ProviderError, TagMap};

impl Cloud {
    /// Removes before it sets: a resource has room for 50 tags.
    pub(super) async fn change_tags(
        &self,
        id: &str,
        set: &TagMap,
        remove: &BTreeSet<String>,
    ) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        if !remove.is_empty() {
            let tags = remove.iter().map(|key| sdk::Tag::builder().key(key).build()).collect();
            let call = ec2.delete_tags().resources(id).set_tags(Some(tags));
            self.fresh.settled(&[id], || async { send!("DeleteTags", call.clone()).map(drop) }).await?;
        }
        if !set.is_empty() {
            let call = ec2.create_tags().resources(id).set_tags(Some(views::tag_list(set)));
            self.fresh.settled(&[id], || async { send!("CreateTags", call.clone()).map(drop) }).await?;
        }
        Ok(())
    }
}
