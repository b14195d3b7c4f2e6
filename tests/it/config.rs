//! The configuration: evaluation against Terraform, every mistake's diagnostic, `replant validate`.

mod invalid;
mod reference;
mod support;
