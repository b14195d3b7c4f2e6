//! Failures before the operation's name is added to them.

use std::io;
use std::path::Path;

use crate::provider::types::{ProviderError, ProviderErrorKind};

/// What a call failed with; [`Failure::of`] adds which call it was.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: ProviderErrorKind,
    pub(super) code: &'static str,
    pub(super) message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    fn new(kind: ProviderErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), source: None }
    }

    /// What the call names is not there.
    pub(super) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::NotFound, code, message)
    }

    /// The state of things forbids the call now.
    pub(super) fn state(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::IncorrectState, code, message)
    }

    /// A parameter is wrong.
    pub(super) fn parameter(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::InvalidParameter, code, message)
    }

    /// `InvalidParameterValue`, EC2's commonest refusal.
    pub(super) fn value(message: impl Into<String>) -> Self {
        Self::parameter("InvalidParameterValue", message)
    }

    /// A limit is reached.
    pub(super) fn limit(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::LimitExceeded, code, message)
    }

    /// The device is not proven to be the volume.
    pub(super) fn device(message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::DeviceRefused, "DeviceRefused", message)
    }

    /// A file of the cloud failed.
    pub(super) fn file(what: &str, path: &Path, source: io::Error) -> Self {
        Self {
            kind: ProviderErrorKind::Io,
            code: "LocalFile",
            message: format!("cannot {what} {}: {source}", path.display()),
            source: Some(Box::new(source)),
        }
    }

    /// A record of the cloud is damaged.
    pub(super) fn damaged(path: &Path, source: serde_json::Error) -> Self {
        Self {
            kind: ProviderErrorKind::Io,
            code: "LocalRecord",
            message: format!("{} is damaged: {source}", path.display()),
            source: Some(Box::new(source)),
        }
    }

    /// A program of this machine failed.
    pub(super) fn program(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ProviderErrorKind::Io, code, message)
    }

    /// The error of the call named `operation`.
    pub(super) fn of(self, operation: &'static str) -> ProviderError {
        let mut error = ProviderError::new(operation, self.kind, self.code, self.message);
        error.source = self.source;
        error
    }
}
