//! The data engine on real files and loop devices, against `cmp` and `qemu-img`.

mod command;
mod contents;
mod failures;
mod killed;
mod media;
mod overlays;
mod refusals;
mod resume;
mod streams;
mod support;
pub mod support;
mod targets;
mod update;
mod verify;
