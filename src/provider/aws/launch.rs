//! RunInstances of one stub, or of one restored guest from its image.

use std::collections::BTreeSet;

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types as sdk;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::call::{Failed, send};
use super::client::Cloud;
use super::options;
use super::views;
use crate::model::Architecture;
use crate::provider::types::{
    InstanceTypeFacts, InstanceView, ProviderError, ProviderErrorKind, RunInstance,
};

/// What a stub makes beside itself, all of it tagged as it is.
const TAGGED: [sdk::ResourceType; 3] =
    [sdk::ResourceType::Instance, sdk::ResourceType::Volume, sdk::ResourceType::NetworkInterface];

impl Cloud {
    pub(super) async fn run_instance(&self, request: &RunInstance) -> Result<InstanceView, ProviderError> {
        let types = self.instance_types(&BTreeSet::from([request.instance_type.clone()])).await?;
        let facts = types.get(&request.instance_type);
        if let Some(facts) = facts {
            check_type(request, facts)?;
        }
        let image = self.base_image(request, facts).await?;
        let made = match self.run(request, &image).await {
            // A newer base image came out since a call with this token: the token stands for the
            // image that was chosen then.
            Err(failed)
                if failed.is("IdempotentParameterMismatch")
                    && request.base_ami.is_none()
                    && request.image_id.is_none() =>
            {
                match self.image_of(request).await? {
                    Some(earlier) if earlier != image => self.run(request, &earlier).await?,
                    _ => return Err(failed.into()),
                }
            }
            Err(failed) => return Err(failed.into()),
            Ok(made) => made,
        };
        let id = views::required(made.instance_id(), "RunInstances", "the instance's id")?;
        self.fresh.note(id);
        self.known(|known| {
            if let Some(seconds) = request.boot_timeout {
                known.boot_timeouts.insert(id.to_owned(), seconds);
            }
        });
        if made.state().and_then(sdk::InstanceState::name) == Some(&sdk::InstanceStateName::Terminated) {
            return Err(terminated(request, id));
        }
        // Nothing is asked from here on: a question that failed would look as if nothing was made.
        views::instance(&made, false)
    }

    /// The image of the instance that a token made.
    async fn image_of(&self, request: &RunInstance) -> Result<Option<String>, ProviderError> {
        let by_token = sdk::Filter::builder().name("client-token").values(&request.token.0).build();
        let found = self.raw_instances(vec![vec![by_token]]).await?;
        Ok(found.first().and_then(|instance| instance.image_id().map(str::to_owned)))
    }

    async fn run(&self, request: &RunInstance, image: &str) -> Result<sdk::Instance, Failed> {
        let call = self.ec2().await?.run_instances();
        let answer = send!("RunInstances", stub(call, request, image))?;
        let made = answer.instances.unwrap_or_default().into_iter().next();
        Ok(views::required(made, "RunInstances", "which instance was made")?)
    }
}

/// What EC2 would refuse of the image that is chosen for the guest.
fn check_type(request: &RunInstance, facts: &InstanceTypeFacts) -> Result<(), ProviderError> {
    let refused = |code, message| {
        Err(ProviderError::new("RunInstances", ProviderErrorKind::InvalidParameter, code, message))
    };
    let is_arm = |architecture| architecture == Architecture::Arm64;
    if is_arm(request.architecture) != is_arm(facts.architecture) {
        return refused(
            "InvalidParameterValue",
            format!("The instance type {} does not run guests of another architecture.", facts.name),
        );
    }
    if !facts.boot_modes.contains(&request.boot_mode) {
        return refused(
            "InvalidParameterCombination",
            format!("The instance type {} does not boot in {} mode.", facts.name, request.boot_mode.as_str()),
        );
    }
    Ok(())
}

/// The parameters of a stub: everything of the instance that cannot be changed later, and without
/// the guest's user data, which its own first boot is to see. A guest that is launched from its
/// image has it from the beginning.
pub(super) fn stub(
    call: RunInstancesFluentBuilder,
    request: &RunInstance,
    image: &str,
) -> RunInstancesFluentBuilder {
    let makes_interfaces = options::makes_interfaces(request);
    let tags = TAGGED
        .into_iter()
        .filter(|kind| *kind != sdk::ResourceType::NetworkInterface || makes_interfaces)
        .filter_map(|kind| views::tag_specification(kind, &request.tags))
        .collect();
    let mut call = options::launched(call, request)
        .client_token(&request.token.0)
        .image_id(image)
        .instance_type(sdk::InstanceType::from(request.instance_type.as_str()))
        .min_count(1)
        .max_count(1)
        .instance_initiated_shutdown_behavior(sdk::ShutdownBehavior::Stop)
        .set_user_data(request.user_data.as_ref().map(|text| STANDARD.encode(text)))
        .set_key_name(request.key_name.clone())
        .set_tag_specifications(Some(tags));
    if let Some(profile) = &request.iam_instance_profile {
        let builder = sdk::IamInstanceProfileSpecification::builder();
        let is_arn = profile.starts_with("arn:");
        call = call
            .iam_instance_profile(if is_arn { builder.arn(profile) } else { builder.name(profile) }.build());
    }
    call
}

fn terminated(request: &RunInstance, id: &str) -> ProviderError {
    ProviderError::new(
        "RunInstances",
        ProviderErrorKind::IncorrectState,
        "IdempotentInstanceTerminated",
        format!("The client token '{}' launched {id}, which is terminated", request.token),
    )
}
