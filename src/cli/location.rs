//! The place of an image on the command line.

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::model::Location;

/// Reads the place of an image: a path (in any encoding), or a text that names another place.
#[must_use]
pub fn location() -> impl TypedValueParser<Value = Location> {
    OsStringValueParser::new()
        .try_map(|text| Location::parse(&text).map_err(|error| format!("{}. {}", error.what, error.help)))
}
