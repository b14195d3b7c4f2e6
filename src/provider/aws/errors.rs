//! EC2's error codes as kinds that a caller acts on.
//!
//! Source of the codes and of what they mean: "Error codes for the Amazon EC2 API" in the EC2 API
//! Reference; "Common Errors" of the same for what every AWS service answers.

use aws_credential_types::provider::error::CredentialsError;

use crate::diagnostic::chain;
use crate::provider::types::{ProviderError, ProviderErrorKind};

use ProviderErrorKind::{
    IncorrectState, InvalidParameter, LimitExceeded, NotFound, Throttled, Unauthorized, Unavailable,
};

/// What a code means. Codes that follow the shapes of [`by_shape`] are not repeated here.
const CODES: &[(&str, ProviderErrorKind)] = &[
    // Of credentials and permissions.
    ("AccessDenied", Unauthorized),
    ("AccessDeniedException", Unauthorized),
    ("AuthFailure", Unauthorized),
    ("Blocked", Unauthorized),
    ("ExpiredToken", Unauthorized),
    ("ExpiredTokenException", Unauthorized),
    ("IncompleteSignature", Unauthorized),
    ("InvalidAccessKeyId", Unauthorized),
    ("InvalidClientTokenId", Unauthorized),
    ("InvalidSecurity", Unauthorized),
    ("MissingAuthenticationToken", Unauthorized),
    ("NotAuthorized", Unauthorized),
    ("OptInRequired", Unauthorized),
    ("PendingVerification", Unauthorized),
    ("RequestExpired", Unauthorized),
    ("SignatureDoesNotMatch", Unauthorized),
    ("UnauthorizedOperation", Unauthorized),
    ("UnrecognizedClientException", Unauthorized),
    // Too many calls.
    ("EC2ThrottledException", Throttled),
    ("RequestLimitExceeded", Throttled),
    ("RequestThrottled", Throttled),
    ("SlowDown", Throttled),
    ("SnapshotCreationPerVolumeRateExceeded", Throttled),
    ("Throttling", Throttled),
    ("ThrottlingException", Throttled),
    ("TooManyRequestsException", Throttled),
    // The service failed, and what it did is not known.
    ("InternalError", Unavailable),
    ("InternalFailure", Unavailable),
    ("RequestTimeout", Unavailable),
    ("ServiceUnavailable", Unavailable),
    ("Unavailable", Unavailable),
    // Limits, and capacity that is used up; the call had no effect.
    ("InsufficientAddressCapacity", LimitExceeded),
    ("InsufficientCapacity", LimitExceeded),
    ("InsufficientFreeAddressesInSubnet", LimitExceeded),
    ("InsufficientHostCapacity", LimitExceeded),
    ("InsufficientInstanceCapacity", LimitExceeded),
    ("InsufficientReservedInstanceCapacity", LimitExceeded),
    ("InsufficientVolumeCapacity", LimitExceeded),
    ("MaxIOPSLimitExceeded", LimitExceeded),
    ("VolumeModificationRateExceeded", LimitExceeded),
    // The state of things forbids it now.
    ("DependencyViolation", IncorrectState),
    ("EncryptedVolumesNotSupported", IncorrectState),
    ("IdempotentInstanceTerminated", IncorrectState),
    ("IncorrectModificationState", IncorrectState),
    ("InvalidDevice.InUse", IncorrectState),
    ("InvalidIPAddress.InUse", IncorrectState),
    ("InvalidSnapshot.InUse", IncorrectState),
    ("InvalidState", IncorrectState),
    ("OperationNotPermitted", IncorrectState),
    ("UnsupportedOperation", IncorrectState),
    ("VolumeInUse", IncorrectState),
    // A name of the configuration that stands for nothing: its value is wrong.
    ("InvalidZone.NotFound", InvalidParameter),
];

/// The kind of an error code with the status of its answer.
pub(super) fn kind(code: &str, status: Option<u16>) -> ProviderErrorKind {
    let known = CODES.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind);
    known.or_else(|| by_shape(code)).unwrap_or(match status {
        Some(401 | 403) => Unauthorized,
        Some(429) => Throttled,
        Some(500..) => Unavailable,
        _ => InvalidParameter,
    })
}

/// EC2's codes are made of parts that mean the same everywhere.
fn by_shape(code: &str) -> Option<ProviderErrorKind> {
    if code.ends_with(".NotFound") || code.ends_with(".Unknown") {
        return Some(NotFound);
    }
    if code.ends_with("LimitExceeded") || code.ends_with("QuotaExceeded") {
        return Some(LimitExceeded);
    }
    if code.starts_with("Incorrect") && code.ends_with("State") {
        return Some(IncorrectState);
    }
    let prefixes =
        ["Invalid", "Missing", "Malformed", "Unknown", "Unsupported", "IdempotentParameterMismatch"];
    let is_parameter = prefixes.iter().any(|prefix| code.starts_with(prefix));
    is_parameter.then_some(InvalidParameter)
}

/// The codes of one meaning that EC2 gives different names at different times: the documented one.
pub(super) fn documented<'a>(code: &'a str, message: &str) -> &'a str {
    match code {
        // Both are answered for a device name that is taken.
        "InvalidParameterValue" if message.contains("Attachment point") && message.contains("in use") => {
            "InvalidDevice.InUse"
        }
        // An instance that ends and a protected one share a code; a missing address has two.
        "InvalidInstanceId.NotFound" => "InvalidInstanceID.NotFound",
        "InvalidAddress.InUse" => "InvalidIPAddress.InUse",
        other => other,
    }
}

/// What to do about it, where that is more than its kind says.
pub(super) fn help(code: &str) -> Option<&'static str> {
    Some(match code {
        "CredentialsMissing" => {
            "give credentials in one of the SDK's ways: on the access node an instance profile; elsewhere a profile, as in\naws configure sso\nor the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        }
        "CredentialsFailed" => {
            "look whether the AWS command line gets them, with the same profile:\naws sts get-caller-identity"
        }
        "ExpiredToken" | "ExpiredTokenException" => {
            "the session is over; begin a new one, as in\naws sso login\nand apply again: what was begun is adopted"
        }
        "RequestExpired" => {
            "this machine's clock is wrong, or the session is over; look at the clock:\ntimedatectl status"
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId" => {
            "AWS does not know these credentials; see who they are:\naws sts get-caller-identity"
        }
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            "allow the call that the message names in the policy of this role; an encoded message is read with\naws sts decode-authorization-message --encoded-message MESSAGE"
        }
        "OptInRequired" => "enable this region for the account, or subscribe to the image in AWS Marketplace",
        "Connection" => {
            "look whether this machine resolves that name and has a route there: from a private subnet a NAT gateway or a VPC endpoint for EC2 gives one; and whether region and endpoint_url are right"
        }
        "NotAnInstance" => {
            "to plan on another machine, name the access node:\naccess_node \"dr\" { instance_id = \"i-…\" }"
        }
        "RegionMissing" => "add region = \"eu-central-1\" (or yours) to provider \"aws\", or set AWS_REGION",
        "InsufficientInstanceCapacity" | "InsufficientHostCapacity" => {
            "the zone has none of this type left now: apply again later, or choose another instance_type or subnet"
        }
        "VcpuLimitExceeded" | "InstanceLimitExceeded" | "VolumeLimitExceeded" | "MaxIOPSLimitExceeded" => {
            "raise the quota in Service Quotas (EC2 or EBS), then apply again"
        }
        "VolumeModificationRateExceeded" => {
            "EBS changes a volume up to four times in any 24 hours; apply again when the time is over that it names"
        }
        "IncorrectModificationState" => {
            "EBS still works on an earlier change of this volume; apply again when it is completed:\naws ec2 describe-volumes-modifications"
        }
        _ => return None,
    })
}

/// An error of the connection, before EC2 was asked anything.
pub(super) fn connection(code: &'static str, message: impl Into<String>) -> ProviderError {
    let mut error = ProviderError::new("Connect", Unauthorized, code, message);
    error.help = help(code);
    error
}

/// Credentials that could not be had. What lies below names files and profiles, never a secret.
pub(super) fn credentials(operation: &'static str, error: &CredentialsError) -> ProviderError {
    let (code, message) = match error {
        CredentialsError::CredentialsNotLoaded(_) => (
            "CredentialsMissing",
            "no credentials were found in the environment, a profile or an instance role".to_owned(),
        ),
        other => match chain(other) {
            // The last place of all that the SDK looks at: the others had none.
            why if why.to_ascii_lowercase().contains("imds") => (
                "CredentialsMissing",
                format!(
                    "no credentials were found in the environment, a profile or an instance role (the instance metadata service: {})",
                    last_cause(other)
                ),
            ),
            why => ("CredentialsFailed", format!("the credentials could not be had: {why}")),
        },
    };
    let mut error = ProviderError::new(operation, Unauthorized, code, message);
    error.help = help(code);
    error.exhausted = true;
    error
}

/// The innermost cause, in its own words.
fn last_cause(error: &CredentialsError) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_kinds() {
        for (code, status, wanted) in [
            ("InvalidVolume.NotFound", Some(400), NotFound),
            ("InvalidInstanceID.NotFound", Some(400), NotFound),
            ("InvalidZone.NotFound", Some(400), InvalidParameter),
            ("InvalidAMIID.Malformed", Some(400), InvalidParameter),
            ("InvalidParameterCombination", Some(400), InvalidParameter),
            ("IdempotentParameterMismatch", Some(400), InvalidParameter),
            ("MissingParameter", Some(400), InvalidParameter),
            ("IncorrectInstanceState", Some(400), IncorrectState),
            ("IncorrectState", Some(400), IncorrectState),
            ("VolumeInUse", Some(400), IncorrectState),
            ("AttachmentLimitExceeded", Some(400), LimitExceeded),
            ("VcpuLimitExceeded", Some(400), LimitExceeded),
            // 503 and 500, but nothing happened.
            ("RequestLimitExceeded", Some(503), Throttled),
            ("InsufficientInstanceCapacity", Some(500), LimitExceeded),
            ("InternalError", Some(500), Unavailable),
            ("SomethingNew", Some(500), Unavailable),
            ("SomethingNew", Some(403), Unauthorized),
            ("SomethingNew", Some(400), InvalidParameter),
            ("UnauthorizedOperation", Some(403), Unauthorized),
        ] {
            assert_eq!(kind(code, status), wanted, "{code}");
        }
    }

    #[test]
    fn each_code_stands_once() {
        let mut seen = std::collections::BTreeSet::new();
        for (code, _) in CODES {
            assert!(seen.insert(code), "{code}");
        }
    }

    #[test]
    fn a_device_in_use_has_its_documented_code() {
        let message = "Invalid value '/dev/sdf' for unixDevice. Attachment point /dev/sdf is already in use";
        assert_eq!(documented("InvalidParameterValue", message), "InvalidDevice.InUse");
        assert_eq!(documented("InvalidParameterValue", "Invalid value"), "InvalidParameterValue");
    }
}
