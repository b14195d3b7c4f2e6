//! The place of an image on the command line.

use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

use crate::model::Location;

/// Reads the place of an image: a path (in any encoding), or a text that names another place. Its
/// errors never show the text, which may hold credentials.
#[derive(Debug, Clone, Copy)]
pub struct LocationParser;

impl TypedValueParser for LocationParser {
    type Value = Location;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Location, Error> {
        Location::parse(value).map_err(|error| {
            let text = format!("this names no image: {}\n\n  tip: {}\n", error.what, error.help);
            Error::raw(ErrorKind::ValueValidation, text).with_cmd(command)
        })
    }
}
