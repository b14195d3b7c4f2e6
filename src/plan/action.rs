//! What happens to a resource, and why.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It stays as it is.
    NoOp,
    /// It is made.
    Create,
    /// It is changed in place.
    Update,
    /// It is destroyed, then made anew.
    Replace,
    /// It is destroyed.
    Delete,
    /// It stays where it is and leaves the state.
    Forget,
}

impl Action {
    /// Terraform's glyph.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Self::NoOp => "",
            Self::Create => "+",
            Self::Update => "~",
            Self::Replace => "-/+",
            Self::Delete => "-",
            Self::Forget => ".",
        }
    }
}

/// Why something happens to a resource. Every change carries at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is in the configuration and does not exist yet.
    New,
    /// An earlier run made it and did not finish.
    Unfinished {
        /// What is missing: `its content is not written yet`.
        missing: String,
    },
    /// It is no longer in the configuration.
    NotConfigured,
    /// `destroy` was asked for.
    Destroy,
    /// `--replace` names it.
    AskedToReplace,
    /// Attributes differ from the configuration.
    AttributesChanged,
    /// An attribute changed that cannot change in place.
    CannotChangeInPlace {
        /// Which.
        attribute: String,
    },
    /// The image is not the one that was written, and the instance has not started yet.
    ImageChanged,
    /// What preparation does to the guest changed, and the instance has not started yet.
    RecipeChanged,
    /// It was deleted outside Replant.
    DeletedOutside,
    /// It was changed outside Replant.
    ChangedOutside {
        /// What: `size: 40 GiB, was 20 GiB`.
        what: String,
    },
    /// Its volumes are written, and its first start is still to come.
    VolumesWritten,
    /// Its first start failed.
    Tainted,
    /// An earlier start failed, and it has come up since.
    CameUp,
    /// Something it is made from is replaced.
    Replaced {
        /// Which address.
        address: String,
    },
    /// What it was made from is not what it was.
    SourceChanged {
        /// Which address.
        address: String,
    },
    /// The desired `state` differs from what it is in.
    StateChanged {
        /// From.
        from: String,
        /// To.
        to: String,
    },
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New => write!(f, "it does not exist yet"),
            Self::Unfinished { missing } => write!(f, "an earlier run did not finish: {missing}"),
            Self::NotConfigured => write!(f, "it is no longer in the configuration"),
            Self::Destroy => write!(f, "destroy was asked for"),
            Self::AskedToReplace => write!(f, "--replace asks for it"),
            Self::AttributesChanged => write!(f, "its configuration changed"),
            Self::CannotChangeInPlace { attribute } => write!(f, "{attribute} cannot change in place"),
            Self::ImageChanged => write!(f, "the image is not the one that was written"),
            Self::RecipeChanged => write!(f, "the guest's preparation changed"),
            Self::DeletedOutside => write!(f, "it was deleted outside Replant"),
            Self::ChangedOutside { what } => write!(f, "it was changed outside Replant ({what})"),
            Self::VolumesWritten => write!(f, "its volumes are written before it first starts"),
            Self::Tainted => write!(f, "its first start failed"),
            Self::CameUp => write!(f, "its first start was thought to have failed, and it has come up since"),
            Self::Replaced { address } => write!(f, "{address} is replaced"),
            Self::SourceChanged { address } => write!(f, "{address} is not what it was made from any more"),
            Self::StateChanged { from, to } => write!(f, "it is {from} and shall be {to}"),
        }
    }
}
