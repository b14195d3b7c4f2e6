//! Why an instance is in its state.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why EC2 changed an instance's state by itself ("StateReason", EC2 API Reference).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateReason {
    /// EC2's code, whose first word says whose doing it was: `Server.InsufficientInstanceCapacity`,
    /// `Client.InternalError`.
    pub code: String,
    /// What EC2 says.
    pub message: String,
}

impl StateReason {
    /// Whether somebody stopped or ended it, or the guest itself; and no failure of EC2's.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        matches!(
            self.code.as_str(),
            "Client.UserInitiatedShutdown"
                | "Client.InstanceInitiatedShutdown"
                | "Client.UserInitiatedHibernate"
                | "Server.ScheduledStop"
        ) || self.code.starts_with("User initiated")
    }

    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.code.starts_with("Server.")
    }

    /// What to do about it, where that is known ("Troubleshoot Amazon EC2 instance launch issues",
    /// EC2 User Guide).
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "Client.InternalError" => {
                "so it is when a volume is encrypted with a key that cannot be used: look at the key, at its policy, and at what the role may do with it (docs/src/iam.md, the statements for KMS):\naws kms describe-key --key-id KEY"
            }
            "Client.VolumeLimitExceeded" => {
                "raise the quota of EBS storage in Service Quotas, or free what is not needed, then apply again"
            }
            "Client.InstanceLimitExceeded" | "Client.VcpuLimitExceeded" => {
                "raise the quota in Service Quotas (EC2), then apply again"
            }
            "Server.InsufficientInstanceCapacity" | "Server.InsufficientHostCapacity" => {
                "the zone has none of this type left now: apply again later, or choose another instance_type or subnet"
            }
            "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown" => {
                "apply again: EC2 took the capacity away"
            }
            code if code.starts_with("Server.") => "apply again later: the failure is EC2's own",
            "Client.UserInitiatedShutdown" => "somebody stopped or terminated it; apply again",
            _ => return None,
        })
    }
}

impl fmt::Display for StateReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // EC2's messages mostly begin with the code.
        match self.message.strip_prefix(&self.code) {
            Some(_) => f.write_str(&self.message),
            None if self.message.is_empty() => f.write_str(&self.code),
            None => write!(f, "{}: {}", self.code, self.message),
        }
    }
}
