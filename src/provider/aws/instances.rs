//! DescribeInstances; starting, stopping, terminating.

use aws_sdk_ec2::operation::describe_instance_attribute::DescribeInstanceAttributeOutput;
use aws_sdk_ec2::types as sdk;

use super::call::{pages, send};
use super::client::Cloud;
use super::views;
use super::volumes::{PAGE, filters};
use crate::provider::types::{
    Filter, InstanceId, InstanceView, Protection, ProviderError, ProviderErrorKind,
};

impl Cloud {
    pub(super) async fn describe_instances(
        &self,
        filter: &Filter,
    ) -> Result<Vec<InstanceView>, ProviderError> {
        let mut found = Vec::new();
        for instance in self.raw_instances(filters("instance-id", filter)).await? {
            found.push(self.instance_view(&instance).await?);
        }
        Ok(found)
    }

    pub(super) async fn raw_instances(
        &self,
        filters: Vec<Vec<sdk::Filter>>,
    ) -> Result<Vec<sdk::Instance>, ProviderError> {
        let ec2 = self.ec2().await?;
        let mut found: Vec<sdk::Reservation> = Vec::new();
        for filters in filters {
            let call = ec2.describe_instances().set_filters(Some(filters)).max_results(PAGE);
            found.extend(pages!("DescribeInstances", call, reservations));
        }
        Ok(found.into_iter().flat_map(|reservation| reservation.instances.unwrap_or_default()).collect())
    }

    pub(super) async fn instance_view(
        &self,
        instance: &sdk::Instance,
    ) -> Result<InstanceView, ProviderError> {
        let mut view = views::instance(instance, false)?;
        if view.state.is_ending() {
            return Ok(view);
        }
        view.termination_protection = self.is_protected(&view.id).await?;
        view.options.disable_api_stop = self.is_unstoppable(&view.id).await?;
        view.options.cpu_credits = self.credits(&view.id, &view.instance_type).await?;
        Ok(view)
    }

    /// DescribeInstances does not say it; asked once for each instance, then followed.
    async fn is_protected(&self, id: &InstanceId) -> Result<bool, ProviderError> {
        if let Some(known) = self.known(|known| known.protected.get(&id.0).copied()) {
            return Ok(known);
        }
        let answer = self.attribute(id, sdk::InstanceAttributeName::DisableApiTermination).await?;
        let Some(answer) = answer else { return Ok(false) };
        let protected = answer.disable_api_termination().and_then(|value| value.value()).unwrap_or(false);
        self.known(|known| known.protected.insert(id.0.clone(), protected));
        Ok(protected)
    }

    /// As [`Self::is_protected`], from being stopped.
    async fn is_unstoppable(&self, id: &InstanceId) -> Result<bool, ProviderError> {
        if let Some(known) = self.known(|known| known.unstoppable.get(&id.0).copied()) {
            return Ok(known);
        }
        let answer = self.attribute(id, sdk::InstanceAttributeName::DisableApiStop).await?;
        let Some(answer) = answer else { return Ok(false) };
        let protected = answer.disable_api_stop().and_then(|value| value.value()).unwrap_or(false);
        self.known(|known| known.unstoppable.insert(id.0.clone(), protected));
        Ok(protected)
    }

    /// Both, asked anew: what is known may be of the plan's time.
    pub(super) async fn protection(&self, id: &InstanceId) -> Result<Protection, ProviderError> {
        self.known(|known| {
            known.protected.remove(&id.0);
            known.unstoppable.remove(&id.0);
        });
        Ok(Protection { termination: self.is_protected(id).await?, stop: self.is_unstoppable(id).await? })
    }

    /// One attribute of an instance; `None` when it ended between two calls.
    async fn attribute(
        &self,
        id: &InstanceId,
        name: sdk::InstanceAttributeName,
    ) -> Result<Option<DescribeInstanceAttributeOutput>, ProviderError> {
        let call = self.ec2().await?.describe_instance_attribute().instance_id(&id.0).attribute(name);
        let answer =
            self.fresh.settled(&[&id.0], || async { send!("DescribeInstanceAttribute", call.clone()) }).await;
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(failed) if failed.error.kind == ProviderErrorKind::NotFound => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    pub(super) async fn start_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        let ec2 = self.ec2().await?;
        let call = ec2.start_instances().instance_ids(&id.0);
        self.fresh.settled(&[&id.0], || async { send!("StartInstances", call.clone()).map(drop) }).await?;
        Ok(())
    }

    pub(super) async fn stop_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.refuse_access_node("StopInstances", id).await?;
        let ec2 = self.ec2().await?;
        let call = ec2.stop_instances().instance_ids(&id.0);
        self.fresh.settled(&[&id.0], || async { send!("StopInstances", call.clone()).map(drop) }).await?;
        Ok(())
    }

    pub(super) async fn terminate_instance(&self, id: &InstanceId) -> Result<(), ProviderError> {
        self.refuse_access_node("TerminateInstances", id).await?;
        let ec2 = self.ec2().await?;
        let call = ec2.terminate_instances().instance_ids(&id.0);
        self.fresh
            .settled(&[&id.0], || async { send!("TerminateInstances", call.clone()).map(drop) })
            .await?;
        Ok(())
    }

    /// Whatever a state says, the access node is never stopped, ended or changed.
    pub(super) async fn refuse_access_node(
        &self,
        operation: &'static str,
        id: &InstanceId,
    ) -> Result<(), ProviderError> {
        if *id != self.node_id().await? {
            return Ok(());
        }
        Err(ProviderError::new(
            operation,
            ProviderErrorKind::IncorrectState,
            "OperationNotPermitted",
            format!("'{id}' is the access node"),
        ))
    }
}
