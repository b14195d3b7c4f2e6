//! Objects of S3 and of servers that speak its protocol.

use std::fmt;

use super::error::ParseLocationError;

const FORM: &str = "Write `s3://bucket/key`, or `s3://bucket/key?versionId=…` for one version of the object.";

/// An object. Its key stands as it is, without `%20` and the like, as in the AWS command line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct S3Location {
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// One version of it; `None` for the newest.
    pub version: Option<String>,
}

impl S3Location {
    /// Reads what stands behind `s3://`.
    pub(super) fn parse(rest: &str) -> Result<Self, ParseLocationError> {
        let bad = |what: &str| ParseLocationError::new(what, FORM);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            return Err(ParseLocationError::new(
                "an S3 location holds no credentials, region or port",
                "Credentials, region and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL_S3.",
            ));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if bucket.is_empty() || !bucket.bytes().all(is_name) || bucket.starts_with('.') {
            return Err(bad(
                "an S3 location names its bucket first, by lower-case letters, digits, `-` and `.`",
            ));
        }
        let (key, version) = match key.rsplit_once("?versionId=") {
            Some((key, version)) => (key, Some(version)),
            None => (key, None),
        };
        if key.is_empty() || key.ends_with('/') {
            return Err(bad("an S3 location names an object, not a bucket or a prefix"));
        }
        if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad(
                "an S3 key with an empty, `.` or `..` part between its slashes is not supported",
            ));
        }
        let is_version = |version: &str| {
            !version.is_empty()
                && !version.contains(['&', '/', '?'])
                && version.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if version.is_some_and(|version| !is_version(version)) {
            return Err(bad("an S3 version id is letters, digits and a few signs"));
        }
        if key.chars().any(char::is_control) || key.len() > 1024 {
            return Err(bad("an S3 key has at most 1024 bytes and no control characters"));
        }
        if key.contains("X-Amz-Signature=") {
            return Err(ParseLocationError::new(
                "this looks like a presigned URL under `s3://`",
                "Presigned URLs begin with `https://`.",
            ));
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), version: version.map(str::to_owned) })
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)?;
        match &self.version {
            Some(version) => write!(f, "?versionId={version}"),
            None => Ok(()),
        }
    }
}
