//! `replant components`: downloads from a web server that has files as Amazon has them, through
//! weather of every kind, and what a folder holds. Drivers come from a compiler, packages from wixl,
//! signatures from osslsigncode.

mod fetched;
mod listed;
mod published;
