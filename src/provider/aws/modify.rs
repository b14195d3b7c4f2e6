//! ModifyInstanceAttribute: one attribute a call, so a change may stop half way; all of them may be
//! repeated.

use std::collections::BTreeMap;

use aws_sdk_ec2::operation::modify_instance_attribute::builders::ModifyInstanceAttributeFluentBuilder;
use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types as sdk;

use super::call::send;
use super::client::Cloud;
use crate::provider::slots;
use crate::provider::types::{Filter, InstanceId, ModifyInstance, ProviderError, ProviderErrorKind};

impl Cloud {
    pub(super) async fn modify_instance(
        &self,
        id: &InstanceId,
        request: &ModifyInstance,
    ) -> Result<(), ProviderError> {
        self.refuse_access_node("ModifyInstanceAttribute", id).await?;
        if let Some(seconds) = request.boot_timeout {
            self.known(|known| known.boot_timeouts.insert(id.0.clone(), seconds));
        }
        if let Some(name) = &request.instance_type {
            let value = sdk::AttributeValue::builder().value(name).build();
            self.change(id, |call| call.instance_type(value.clone())).await?;
        }
        if let Some(text) = &request.user_data {
            let value = sdk::SecureBlobAttributeValue::builder().value(Blob::new(text.as_bytes())).build();
            self.change(id, |call| call.user_data(value.clone())).await?;
        }
        if let Some(groups) = &request.security_group_ids
            && !groups.is_empty()
        {
            self.change(id, |call| call.set_groups(Some(groups.clone()))).await?;
        }
        if let Some(protected) = request.termination_protection {
            // Not known while the call is under way.
            self.known(|known| known.protected.remove(&id.0));
            let value = sdk::AttributeBooleanValue::builder().value(protected).build();
            self.change(id, |call| call.disable_api_termination(value.clone())).await?;
            self.known(|known| known.protected.insert(id.0.clone(), protected));
        }
        if let Some(protected) = request.disable_api_stop {
            self.known(|known| known.unstoppable.remove(&id.0));
            let value = sdk::AttributeBooleanValue::builder().value(protected).build();
            self.change(id, |call| call.disable_api_stop(value.clone())).await?;
            self.known(|known| known.unstoppable.insert(id.0.clone(), protected));
        }
        if let Some(profile) = &request.iam_instance_profile {
            self.change_profile(id, profile).await?;
        }
        self.modify_options(id, request).await?;
        self.keep_or_delete(id, &request.delete_on_termination).await
    }

    /// Whether volumes end with the instance, by the device names that EC2 has for them.
    async fn keep_or_delete(
        &self,
        id: &InstanceId,
        wanted: &BTreeMap<String, bool>,
    ) -> Result<(), ProviderError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let view = self.describe_instances(&Filter::id(id)).await?.pop();
        let attached = view.map(|view| view.volumes).unwrap_or_default();
        let mut mappings = Vec::new();
        for (device, delete) in wanted {
            let name = attached
                .keys()
                .find(|name| *name == device || slots::slot(name) == slots::slot(device))
                .ok_or_else(|| unmapped(id, device))?;
            let ebs =
                sdk::EbsInstanceBlockDeviceSpecification::builder().delete_on_termination(*delete).build();
            let mapping =
                sdk::InstanceBlockDeviceMappingSpecification::builder().device_name(name).ebs(ebs).build();
            mappings.push(mapping);
        }
        self.change(id, |call| call.set_block_device_mappings(Some(mappings.clone()))).await
    }

    async fn change(
        &self,
        id: &InstanceId,
        what: impl Fn(ModifyInstanceAttributeFluentBuilder) -> ModifyInstanceAttributeFluentBuilder,
    ) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        let call = what(ec2.modify_instance_attribute().instance_id(&id.0));
        self.fresh
            .settled(&[&id.0], || async { send!("ModifyInstanceAttribute", call.clone()).map(drop) })
            .await?;
        Ok(())
    }
}

fn unmapped(id: &InstanceId, device: &str) -> ProviderError {
    ProviderError::new(
        "ModifyInstanceAttribute",
        ProviderErrorKind::InvalidParameter,
        "InvalidInstanceAttributeValue",
        format!("No device is currently mapped at {device} of '{id}'"),
    )
}
