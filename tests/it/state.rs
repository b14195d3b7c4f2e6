//! The state: files, lock, journal; crashes and damage at every place.

mod command;
mod crash;
mod damage;
mod format;
mod model;
mod sample;
mod schemas;
mod store;
