//! Starting an instance and watching it come up.

use std::time::Duration;

use super::retry::retry;
use super::wait::Pauses;
use super::{ApplyError, Context};
use crate::model::Address;
use crate::provider::{InstanceId, InstanceState, StatusCheck};
use crate::state::Operation;

/// The longest that anything is waited for to come up; the provider gives up earlier by its own
/// limit and says why.
const LONGEST: Duration = Duration::from_secs(2 * 3600);

impl Context {
    /// Starts an instance; does not wait for it.
    ///
    /// # Errors
    /// The provider's, the journal's.
    pub async fn start(&self, address: &Address, id: &InstanceId) -> Result<(), ApplyError> {
        let operation = Operation::StartInstance { id: id.clone() };
        self.effect(address, operation, || self.provider.start_instance(id), |()| Vec::new()).await
    }

    /// Waits until a started instance is up; gives what showed it.
    ///
    /// # Errors
    /// The provider's, a guest that does not come up, an interrupt.
    pub async fn watch(&self, address: &Address, id: &InstanceId) -> Result<String, ApplyError> {
        self.progress(address, format!("{id} is started; waiting until it is up"));
        let mut pauses = Pauses::new(LONGEST);
        loop {
            match retry(&self.cancel, || self.provider.instance_status(id)).await? {
                StatusCheck::Ok { evidence } => {
                    let shown = self.keep_evidence(address, id).await;
                    let evidence = match shown.first_boot {
                        Some(outcome) => format!("{evidence}\n{outcome}"),
                        None => evidence,
                    };
                    self.count(|tally| {
                        tally.evidence.insert(address.instance.clone(), evidence.clone());
                    });
                    return Ok(evidence);
                }
                StatusCheck::Impaired { reason, evidence } => {
                    self.count(|tally| {
                        tally.evidence.insert(address.instance.clone(), reason.clone());
                    });
                    let kept = self.keep_evidence(address, id).await.kept;
                    return Err(ApplyError::Boot { instance: id.to_string(), reason, evidence, kept });
                }
                StatusCheck::Initializing => {
                    let view = self.describe_even_terminated(id).await?;
                    let state = view.as_ref().map(|view| view.state);
                    if !matches!(state, Some(InstanceState::Pending | InstanceState::Running)) {
                        // That it ended at all, EC2 says before it says why.
                        if let Some(view) = view
                            && view.state_reason.as_ref().is_some_and(|reason| !reason.is_wanted())
                        {
                            return Err(ApplyError::Ended {
                                instance: id.to_string(),
                                state: view.state,
                                reason: view.state_reason,
                            });
                        }
                        return Err(ApplyError::Boot {
                            instance: id.to_string(),
                            reason: "it stopped by itself".to_owned(),
                            evidence: self.provider.console_output(id).await?.text,
                            kept: self.keep_evidence(address, id).await.kept,
                        });
                    }
                    pauses.pause(self, &format!("{id} up"), "its status checks are not complete").await?;
                }
            }
        }
    }
}
