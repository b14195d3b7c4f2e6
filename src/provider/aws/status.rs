//! DescribeInstanceStatus and GetConsoleOutput: whether a started instance came up.

use std::time::{Duration, SystemTime};

use aws_sdk_ec2::types as sdk;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::call::send;
use super::client::Cloud;
use super::volumes::filters;
use crate::provider::console::{self, Verdict};
use crate::provider::types::{
    ConsoleOutput, Filter, InstanceId, ProviderError, ProviderErrorKind, StatusCheck,
};

impl Cloud {
    /// Both status checks, and the console when they do not pass.
    pub(super) async fn instance_status(&self, id: &InstanceId) -> Result<StatusCheck, ProviderError> {
        let Some(instance) = self.raw_instances(filters("instance-id", &Filter::id(id))).await?.pop() else {
            return Ok(StatusCheck::Initializing);
        };
        let state = instance.state().and_then(sdk::InstanceState::name);
        if !matches!(state, Some(sdk::InstanceStateName::Running | sdk::InstanceStateName::Pending)) {
            return Ok(StatusCheck::Initializing);
        }
        let ec2 = self.ec2().await?;
        // Without this, an instance that is not running yet is left out.
        let call = ec2.describe_instance_status().include_all_instances(true).instance_ids(&id.0);
        let answer =
            self.fresh.settled(&[&id.0], || async { send!("DescribeInstanceStatus", call.clone()) }).await?;
        let checks = answer.instance_statuses().first().map(|status| {
            let word = |summary: Option<&sdk::InstanceStatusSummary>| {
                summary.and_then(sdk::InstanceStatusSummary::status).map(|word| word.as_str().to_owned())
            };
            let volumes = status.attached_ebs_status().and_then(sdk::EbsStatusSummary::status);
            let volumes = volumes.map(|word| word.as_str().to_owned());
            (word(status.system_status()), word(status.instance_status()), volumes)
        });
        let (system, guest, volumes) = checks.unwrap_or_default();
        let are_reached = (system.as_deref(), guest.as_deref()) == (Some("ok"), Some("ok"));
        // Only Nitro instances have a check of their volumes ("Attached EBS status checks").
        match volumes.as_deref() {
            Some("ok") if are_reached => {
                return Ok(StatusCheck::Ok {
                    evidence: "EC2's system, instance and attached EBS status checks passed".to_owned(),
                });
            }
            Some("impaired" | "initializing") => {}
            _ if are_reached => {
                return Ok(StatusCheck::Ok {
                    evidence: "EC2's system and instance status checks passed".to_owned(),
                });
            }
            _ => {}
        }
        let limit = self.known(|known| known.boot_timeouts.get(&id.0).copied());
        let limit = limit.unwrap_or(self.spec.boot_timeout);
        let is_late = started_before(&instance, Duration::from_secs(limit.into()));
        let volumes_fail = volumes.as_deref() == Some("impaired");
        if guest.as_deref() != Some("impaired") && !volumes_fail && !is_late {
            return Ok(StatusCheck::Initializing);
        }
        // A guest that cannot be reached yet may still come; a console that shows why not decides.
        let console = self.console_output(id).await.map(|output| output.text).unwrap_or_default();
        let evidence = console::evidence(&console);
        let word = |check: Option<String>| check.unwrap_or_else(|| "not known".to_owned());
        let reason = match console::judge(&console, None, Duration::MAX) {
            Verdict::Failed(reason) => reason.to_owned(),
            Verdict::Up(_) if is_late && console::unreachable(&console).is_some() => {
                console::unreachable(&console).unwrap_or_default().to_owned()
            }
            _ if is_late && volumes_fail && are_reached => console::VOLUMES_UNREACHED.to_owned(),
            _ if is_late => format!(
                "EC2's checks did not pass within {limit} s: system {}, instance {}, attached EBS volumes {}",
                word(system),
                word(guest),
                word(volumes)
            ),
            _ => return Ok(StatusCheck::Initializing),
        };
        Ok(StatusCheck::Impaired { reason, evidence })
    }

    pub(super) async fn console_output(&self, id: &InstanceId) -> Result<ConsoleOutput, ProviderError> {
        let ec2 = self.ec2().await?;
        let ask = async |latest: bool| {
            let call = ec2.get_console_output().instance_id(&id.0).set_latest(latest.then_some(true));
            self.fresh.settled(&[&id.0], || async { send!("GetConsoleOutput", call.clone()) }).await
        };
        let answer = match ask(true).await {
            // Only Nitro instances have the latest; others have what was there after the start.
            Err(failed) if failed.is("UnsupportedOperation") => ask(false).await,
            other => other,
        }?;
        let encoded: String =
            answer.output().unwrap_or_default().chars().filter(|c| !c.is_whitespace()).collect();
        let bytes = STANDARD.decode(encoded).map_err(|error| {
            ProviderError::new(
                "GetConsoleOutput",
                ProviderErrorKind::Unavailable,
                "Response",
                format!("the console is no base64: {error}"),
            )
        })?;
        let shown = usize::try_from(console::SHOWN).unwrap_or(usize::MAX);
        Ok(ConsoleOutput { text: console::clean(&bytes[bytes.len().saturating_sub(shown)..]) })
    }
}

/// Whether its last start is longer ago (`LaunchTime` is the time of the last start).
fn started_before(instance: &sdk::Instance, limit: Duration) -> bool {
    let started = instance.launch_time().and_then(|time| SystemTime::try_from(*time).ok());
    started.is_some_and(|started| started.elapsed().is_ok_and(|elapsed| elapsed >= limit))
}
