//! The configuration: evaluation against Terraform, every mistake's diagnostic, `replant validate`.

mod command;
mod declared;
mod format;
mod invalid;
mod reference;
mod support;
mod values;
