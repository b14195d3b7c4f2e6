//! Why a node failed, and what that looks like to a person.

use std::path::PathBuf;

use super::Kept;
use crate::diagnostic::Diagnostic;
use crate::model::Address;
use crate::provider::{InstanceState, ProviderError, ProviderErrorKind, StateReason};
use crate::state::StateError;

/// Why a node failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A call failed.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The journal or the state could not be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// An image could not be opened.
    #[error("cannot open the image")]
    Image(#[source] Box<crate::image::ImageError>),
    /// An appliance's disk is not what its manifest says.
    #[error("the appliance does not pass its manifest")]
    Manifest(#[source] Box<crate::image::ova::ManifestError>),
    /// Writing a volume failed.
    #[error("cannot write the volume")]
    Copy(#[source] Box<crate::copy::CopyError>),
    /// The image is not the one that was planned with.
    #[error("{} changed since the plan was made", path.display())]
    ImageMoved {
        /// Its file.
        path: PathBuf,
    },
    /// Something did not reach a state in time.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
        /// What was seen last.
        last: String,
    },
    /// Something the step needs is not in the state.
    #[error("{address} is not in the state")]
    NotInState {
        /// What.
        address: Address,
    },
    /// EC2 accepted a volume and gave it up.
    #[error("{volume} was given up")]
    VolumeGivenUp {
        /// The volume.
        volume: String,
        /// The key that it was to be encrypted with, when one is named.
        key: Option<String>,
    },
    /// A volume is attached to something that is not ours, or that it does not belong to.
    #[error("{volume} is attached to {instance}, where Replant has not put it")]
    ForeignAttachment {
        /// The volume.
        volume: String,
        /// Where.
        instance: String,
    },
    /// A volume is attached to the access node under a name that is no slot.
    #[error("{volume} is the access node's own {device}")]
    NodesOwn {
        /// The volume.
        volume: String,
        /// Its device name there.
        device: String,
    },
    /// An instance of ours has a volume that is not ours.
    #[error("{volume} on {instance} is not in the state")]
    ForeignVolume {
        /// The volume.
        volume: String,
        /// Where.
        instance: String,
    },
    /// A volume is to be written and its instance, which never started by Replant, runs.
    #[error("{instance} runs")]
    StartedOutside {
        /// The instance.
        instance: String,
    },
    /// An instance that is to end is protected, which nobody knew when the plan was made.
    #[error("{instance} is protected")]
    Protected {
        /// The instance.
        instance: String,
        /// From being stopped, and not from being terminated.
        stop: bool,
    },
    /// EC2 launched or started an instance and gave it up.
    #[error("{instance} is {} and does not run", word(*state))]
    Ended {
        /// The instance.
        instance: String,
        /// What it is now.
        state: InstanceState,
        /// Why, when EC2 says.
        reason: Option<StateReason>,
    },
    /// A started instance did not come up.
    #[error("{instance} did not come up: {reason}")]
    Boot {
        /// The instance.
        instance: String,
        /// What is known of the failure.
        reason: String,
        /// The console's last lines.
        evidence: String,
        /// Its console and its screen, in files.
        kept: Kept,
    },
    /// EC2 takes an image for another platform than the guest's.
    #[error("{image} is taken for {platform}")]
    Platform {
        /// The image.
        image: String,
        /// What EC2 says.
        platform: String,
    },
    /// The configuration does not give a value that the step needs.
    #[error("{}", .0.summary)]
    Values(Box<Diagnostic>),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A task of ours ended badly.
    #[error("a task ended unexpectedly: {0}")]
    Task(String),
}

impl ApplyError {
    /// Whether applying again can help without anybody changing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Provider(error) => error.is_retryable(),
            Self::Copy(error) => error.is_retryable(),
            Self::Ended { reason: Some(reason), .. } => reason.is_retryable(),
            Self::Timeout { .. } | Self::Interrupted => true,
            _ => false,
        }
    }

    /// Whether the user ended it, and nothing went wrong.
    #[must_use]
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Copy(error) => matches!(**error, crate::copy::CopyError::Cancelled { .. }),
            _ => false,
        }
    }

    /// Whether the call that failed certainly changed nothing.
    #[must_use]
    pub fn certainly_had_no_effect(&self) -> bool {
        matches!(self, Self::Provider(error) if error.kind != ProviderErrorKind::Unavailable)
    }

    /// What a person is told.
    #[must_use]
    pub fn diagnostic(&self, address: &Address) -> Diagnostic {
        match self {
            Self::Provider(error) => provider(error),
            Self::State(error) => error.diagnostic(),
            Self::Image(error) => error.diagnostic(),
            Self::Manifest(error) => error.diagnostic(),
            Self::Copy(error) => copying(error),
            Self::ImageMoved { path } => Diagnostic::error("apply::image_moved", "An image changed since the plan")
                .detail(format!(
                    "{} is not the file that the plan was made from, so nothing was written from it.",
                    path.display()
                ))
                .help("plan again, look at what changed, and apply that"),
            Self::Timeout { what, seconds, last } => {
                let diagnostic = Diagnostic::error("apply::timeout", "Something took longer than it may")
                    .detail(format!("{what} was not seen within {seconds} s; last seen: {last}."))
                    .help("apply again: what was made is in the state, and the rest goes on from there");
                match stuck(what, last) {
                    Some(help) => diagnostic.help(help),
                    None => diagnostic,
                }
            }
            Self::NotInState { address } => Diagnostic::error("apply::not_in_state", "A resource is not in the state")
                .detail(format!("{address} should have been made by an earlier step."))
                .help("apply again; if that does not help, this is a mistake in Replant"),
            Self::VolumeGivenUp { volume, key } => {
                let (why, help) = match key {
                    Some(key) => (
                        format!("So it is when the key {key} is disabled or does not exist, or when the role may not use it."),
                        format!("look at the key, and at what the role may do with it (docs/src/iam.md, the statements for KMS):\naws kms describe-key --key-id {key}"),
                    ),
                    None => (
                        "So it is when the account encrypts volumes with a key of its own that cannot be used.".to_owned(),
                        "see which key the account uses:\naws ec2 get-ebs-default-kms-key-id".to_owned(),
                    ),
                };
                Diagnostic::error("apply::volume_given_up", "EC2 gave up a new volume")
                    .detail(format!("{volume} was accepted, and EC2 did not make it. {why} Nothing is left of it."))
                    .help(help)
                    .help("then apply again")
            }
            Self::ForeignAttachment { volume, instance } => {
                Diagnostic::error("apply::foreign_attachment", "A volume is attached elsewhere")
                    .detail(format!(
                        "{volume} is attached to {instance}, and Replant has not put it there. It takes no volume from where somebody else put it."
                    ))
                    .help("detach it there, then apply again")
            }
            Self::NodesOwn { volume, device } => {
                Diagnostic::error("apply::access_nodes_own", "A volume is the access node's own")
                    .detail(format!(
                        "{volume} is attached to the access node as {device}, which is no slot of ours: the node itself may live on it. Nothing of it was touched."
                    ))
                    .help("let the state forget it; this leaves the volume as it is:\nreplant state rm ADDRESS")
            }
            Self::ForeignVolume { volume, instance } => {
                Diagnostic::error("apply::foreign_volume", "An instance has a volume that Replant does not know")
                    .detail(format!(
                        "{volume} is attached to {instance} and is not in this state. Replant neither detaches nor deletes what it does not know."
                    ))
                    .help("detach it, then apply again")
            }
            Self::StartedOutside { instance } => {
                Diagnostic::error("apply::started_outside", "An instance was started outside Replant")
                    .detail(format!(
                        "{instance} runs, and Replant has not started it: its volumes may hold newer data than the backup. Nothing of it was touched."
                    ))
                    .help("to keep what it wrote: set state = \"running\" and apply, which adopts it as it is")
                    .help("to restore it anew: replant apply --replace with its address")
            }
            Self::Protected { instance, stop } => {
                let (from, option) = match stop {
                    true => ("stopped and terminated", "--no-disable-api-stop"),
                    false => ("terminated", "--no-disable-api-termination"),
                };
                Diagnostic::error("apply::protected", "An instance that is to end is protected")
                    .detail(format!(
                        "{instance} was protected from being {from} outside Replant, since the plan was made. Nothing of it was touched."
                    ))
                    .help(format!(
                        "if it may end all the same, take the protection off:\naws ec2 modify-instance-attribute --instance-id {instance} {option}"
                    ))
                    .help("then plan and apply again")
            }
            Self::Ended { instance, state, reason } => {
                let why = match reason {
                    Some(reason) => format!("EC2 says: {reason}."),
                    None => "EC2 says no reason.".to_owned(),
                };
                let diagnostic = Diagnostic::error("apply::instance_ended", "EC2 did not let an instance run")
                    .detail(format!("{instance} should run and is {}. {why}", word(*state)));
                match reason.as_ref().and_then(StateReason::advice) {
                    Some(advice) => diagnostic.help(advice),
                    None => diagnostic.help(format!(
                        "look at what EC2 says of it, mend that, and apply again:\naws ec2 describe-instances --instance-ids {instance}"
                    )),
                }
            }
            Self::Boot { instance, reason, evidence, kept } => {
                let mut detail = format!("{instance}: {reason}\nThe console's last lines:\n{evidence}");
                if let Some(console) = &kept.console {
                    detail.push_str(&format!("\nThe whole console is in {}", console.display()));
                }
                if let Some(screenshot) = &kept.screenshot {
                    detail.push_str(&format!("\nThe screen is in {}", screenshot.display()));
                }
                let mut diagnostic = Diagnostic::error("apply::boot_failed", "An instance did not come up");
                if let Some(advice) = crate::provider::advice(reason) {
                    diagnostic = diagnostic.help(advice);
                }
                diagnostic
                    .detail(detail)
                    .help("everything is left in place; `replant inspect` on its image shows what the guest needs")
                    .help("after a change, apply again: the instance is restored anew")
            }
            Self::Platform { image, platform } => {
                Diagnostic::error("apply::image_platform", "EC2 takes an image for another platform")
                    .detail(format!(
                        "The platform details of {image} are \"{platform}\", which is billed otherwise than Linux. Nothing was launched from it."
                    ))
                    .help("use launch { method = \"swap\" }, where the base AMI decides the platform")
            }
            Self::Values(diagnostic) => (**diagnostic).clone(),
            Self::Interrupted => Diagnostic::error("apply::interrupted", "Interrupted")
                .detail("The state is intact and knows everything that was made.")
                .help("apply again to go on from there, or destroy"),
            Self::Task(what) => Diagnostic::error("apply::task", "A task ended unexpectedly")
                .detail(what.clone())
                .help("this is a mistake in Replant; the state is intact, apply again"),
        }
        .about(address)
    }
}

/// A copy's error, with what helps in an apply: the options that its own help names are those of
/// `replant write`.
fn copying(error: &crate::copy::CopyError) -> Diagnostic {
    let mut diagnostic = error.diagnostic();
    diagnostic.help.retain(|help| !help.contains("--"));
    match diagnostic.code.as_str() {
        "copy::target_no_space" => {
            diagnostic.help = vec![
                "make room there, or keep the volumes on another filesystem:\nprovider \"local\" { directory = \"…\" }"
                    .to_owned(),
                "then apply again".to_owned(),
            ];
        }
        "copy::target_holds_data" => {
            diagnostic.help = vec![
                "the volume was made empty, and something else has written to it: look at what that was; if it may be lost, have the volume made anew with apply --replace".to_owned(),
            ];
        }
        _ if diagnostic.help.is_empty() => {
            diagnostic.help = vec![
                "apply again: what is safe on the volume is kept, and only the rest is written".to_owned(),
            ];
        }
        _ => {}
    }
    diagnostic
}

/// A state as a person is told it.
fn word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Pending => "pending",
        InstanceState::Running => "running",
        InstanceState::Stopping => "stopping",
        InstanceState::Stopped => "stopped",
        InstanceState::ShuttingDown => "shutting down",
        InstanceState::Terminated => "terminated",
    }
}

/// How what hangs is freed by hand ("Troubleshoot Amazon EBS volume attachment issues", "Troubleshoot
/// stopping your instance" in EC2's and EBS's guides).
fn stuck(what: &str, last: &str) -> Option<String> {
    let id = what.split_whitespace().find(|word| word.starts_with("vol-") || word.starts_with("i-"))?;
    let is = |state: &str| last.to_lowercase().contains(state);
    if id.starts_with("vol-") && (is("attaching") || is("detaching") || is("busy")) {
        return Some(format!(
            "if it stays so on EC2, free it by force; what its machine has not written to it by then is lost:\naws ec2 detach-volume --force --volume-id {id}"
        ));
    }
    if id.starts_with("i-") && is("stopping") {
        return Some(format!(
            "if it stays so on EC2, stop it by force:\naws ec2 stop-instances --force --instance-ids {id}"
        ));
    }
    None
}

/// A provider's error for a person.
#[must_use]
pub fn provider(error: &ProviderError) -> Diagnostic {
    let (code, summary, help) = match error.kind {
        ProviderErrorKind::NotFound => (
            "provider::not_found",
            "Something does not exist",
            "plan again: it may have been deleted outside",
        ),
        // A protection, a root that is in use, the access node: waiting does not help.
        ProviderErrorKind::IncorrectState if error.code == "OperationNotPermitted" => (
            "provider::incorrect_state",
            "Something is in the wrong state",
            "take off the protection that the message names, then apply again",
        ),
        ProviderErrorKind::IncorrectState => (
            "provider::incorrect_state",
            "Something is in the wrong state",
            "apply again when it has settled",
        ),
        ProviderErrorKind::InvalidParameter => (
            "provider::invalid_parameter",
            "The provider refuses a value",
            "correct the configuration, plan and apply again",
        ),
        ProviderErrorKind::LimitExceeded => (
            "provider::limit_exceeded",
            "A limit is reached",
            "free what is not needed or raise the limit, then apply again",
        ),
        ProviderErrorKind::Unauthorized => match error.code.as_str() {
            "NotAnInstance" => {
                ("provider::not_an_instance", "This machine is no EC2 instance", "name the access node")
            }
            "CredentialsMissing" | "CredentialsFailed" => {
                ("provider::no_credentials", "There are no AWS credentials to work with", "give credentials")
            }
            "RegionMissing" => ("provider::no_region", "No AWS region is named", "name the region"),
            _ => {
                ("provider::unauthorized", "A call is not permitted", "allow it to this role, then try again")
            }
        },
        ProviderErrorKind::Throttled | ProviderErrorKind::Unavailable => (
            "provider::unavailable",
            "The provider did not answer",
            "try again: what an apply has begun, the next one finishes or adopts",
        ),
        ProviderErrorKind::DeviceRefused => (
            "provider::device_refused",
            "A device is not proven to be the volume",
            "nothing was written; look at the access node's devices before applying again",
        ),
        ProviderErrorKind::Io => (
            "provider::io",
            "A file or program of this machine failed",
            "mend what the message names, then try again",
        ),
    };
    Diagnostic::error(code, summary).detail(error.said()).help(error.help.unwrap_or(help))
}
