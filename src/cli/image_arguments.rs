//! What a command line says of an image: the same options wherever one is named.

use std::str::FromStr;

use clap::Args;

use crate::image::format::ParseFormatError;
use crate::image::{Format, OpenOptions};

/// A format on the command line; `auto` is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatArgument(pub Option<Format>);

impl FromStr for FormatArgument {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self(None)),
            format => format.parse().map(|format| Self(Some(format))),
        }
    }
}

/// How to read an image.
#[derive(Debug, Clone, Args)]
pub struct ImageArguments {
    /// The image's format; auto finds it out from its content.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub format: FormatArgument,

    /// Which disk of an appliance.
    #[arg(long, value_name = "DISK")]
    pub member: Option<String>,

    /// Which internal snapshot of a qcow2 image, by its name or id, instead of what it holds now.
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<String>,
}

impl ImageArguments {
    /// How to open the image.
    #[must_use]
    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            format: self.format.0,
            member: self.member.clone(),
            snapshot: self.snapshot.clone(),
            pinned: None,
        }
    }
}
