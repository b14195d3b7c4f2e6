//! The instance profile of an instance that exists: EC2 changes it in place, by an association of its
//! own ("Attach an IAM role to an instance", EC2 User Guide).

use std::time::Duration;

use aws_sdk_ec2::types as sdk;

use super::call::{Failed, pages, send};
use super::client::Cloud;
use super::volumes::{PAGE, filters};
use crate::provider::types::{Filter, InstanceId, ProviderError};

/// Looks at an association that is taken away, and the pause between them.
const LOOKS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// The profile that an instance has.
struct Association {
    id: String,
    arn: String,
}

impl Association {
    /// Whether it is of this profile, named as a configuration names one: by name or ARN.
    fn is_of(&self, profile: &str) -> bool {
        self.arn == profile || self.arn.rsplit('/').next() == Some(profile)
    }
}

impl Cloud {
    /// Gives an instance a profile in place of the one that it has, if any; an empty name takes it away.
    pub(super) async fn change_profile(&self, id: &InstanceId, wanted: &str) -> Result<(), ProviderError> {
        let is_so = |has: &Option<Association>| match has {
            Some(has) => has.is_of(wanted),
            None => wanted.is_empty(),
        };
        let has = self.association(id).await?;
        if is_so(&has) {
            return Ok(());
        }
        let Err(failed) = self.associate(id, has, wanted).await else { return Ok(()) };
        // It may be done by an attempt whose answer was lost.
        match self.association(id).await {
            Ok(now) if is_so(&now) => Ok(()),
            _ => Err(failed.into()),
        }
    }

    async fn associate(&self, id: &InstanceId, has: Option<Association>, wanted: &str) -> Result<(), Failed> {
        let ec2 = self.ec2().await?;
        let profile = sdk::IamInstanceProfileSpecification::builder();
        let profile = match wanted.starts_with("arn:") {
            true => profile.arn(wanted),
            false => profile.name(wanted),
        };
        if let Some(has) = has {
            // ReplaceIamInstanceProfileAssociation is for "the specified running instance".
            if !wanted.is_empty() && self.is_running(id).await? {
                let call = ec2.replace_iam_instance_profile_association().association_id(&has.id);
                let call = call.iam_instance_profile(profile.build());
                return send!("ReplaceIamInstanceProfileAssociation", call).map(drop);
            }
            let call = ec2.disassociate_iam_instance_profile().association_id(&has.id);
            send!("DisassociateIamInstanceProfile", call)?;
            for _ in 0..LOOKS {
                if self.association(id).await?.is_none() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let call = ec2.associate_iam_instance_profile().instance_id(&id.0);
        let call = call.iam_instance_profile(profile.build());
        self.fresh
            .settled(&[&id.0], || async { send!("AssociateIamInstanceProfile", call.clone()).map(drop) })
            .await
    }

    /// The profile that an instance has, or still has while it is taken away.
    async fn association(&self, id: &InstanceId) -> Result<Option<Association>, ProviderError> {
        let ec2 = self.ec2().await?;
        let of_instance = filters("instance-id", &Filter::id(id)).into_iter().next();
        let call = ec2.describe_iam_instance_profile_associations().set_filters(of_instance);
        let found = pages!(
            "DescribeIamInstanceProfileAssociations",
            call.max_results(PAGE),
            iam_instance_profile_associations
        );
        let ended = sdk::IamInstanceProfileAssociationState::Disassociated;
        Ok(found.into_iter().filter(|each| each.state() != Some(&ended)).find_map(|each| {
            let arn = each.iam_instance_profile()?.arn()?.to_owned();
            Some(Association { id: each.association_id()?.to_owned(), arn })
        }))
    }

    async fn is_running(&self, id: &InstanceId) -> Result<bool, ProviderError> {
        let found = self.raw_instances(filters("instance-id", &Filter::id(id))).await?;
        let state = found.first().and_then(|instance| instance.state()).and_then(sdk::InstanceState::name);
        Ok(state == Some(&sdk::InstanceStateName::Running))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_a_name_and_an_arn() {
        let arn = "arn:aws:iam::1:instance-profile/team/web".to_owned();
        let has = Association { id: String::new(), arn: arn.clone() };
        assert!(has.is_of("web") && has.is_of(&arn));
        assert!(!has.is_of("eb") && !has.is_of("") && !has.is_of("team/web"));
    }
}
