//! S3: where a bucket is, and the signing of requests.

use std::fmt;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::{CredentialProvider, RetryConfig};
use reqwest::Url;
use reqwest::header::HeaderMap;

use super::trouble::{Trouble, chain};
use crate::model::S3Location;

/// Whose variables say where S3 is, the first that is set.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
/// Whose variables say which region.
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// The variable for objects that everyone may read: requests are not signed.
const ANONYMOUS: &str = "AWS_SKIP_SIGNATURE";
/// The region of servers that are not Amazon's.
const NO_REGION: &str = "us-east-1";

type Credentials = Arc<dyn CredentialProvider<Credential = AwsCredential>>;

/// The S3 that the environment names.
pub(super) struct Service {
    region: String,
    /// Of another server than Amazon's: scheme, host and port, without a slash at the end.
    endpoint: Option<String>,
    credentials: Option<Credentials>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("region", &self.region).finish_non_exhaustive()
    }
}

fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

impl Service {
    /// The S3 that the environment names, with credentials as it finds them there: from
    /// variables, a web identity, a container's or the instance's role.
    pub(super) fn from_environment(bucket: &str) -> Result<Self, Trouble> {
        let endpoint = variable(&ENDPOINTS).map(|url| url.trim_end_matches('/').to_owned());
        if let Some(endpoint) = &endpoint {
            let is_url = Url::parse(endpoint).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.username().is_empty()
                    && url.password().is_none()
            });
            if !is_url {
                let text = "the endpoint in the environment is no `https://host` or `http://host:port`";
                return Err(Trouble::Refused(text.to_owned()));
            }
        }
        let region = variable(&REGIONS).unwrap_or_else(|| NO_REGION.to_owned());
        let is_anonymous = std::env::var(ANONYMOUS).is_ok_and(|value| matches!(value.as_str(), "true" | "1"));
        let credentials = match is_anonymous {
            true => None,
            false => {
                let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
                let built = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_region(&region)
                    .with_retry(retry)
                    .build()
                    .map_err(|error| {
                        Trouble::Denied(format!("its credentials cannot be used: {}", chain(&error)))
                    })?;
                Some(Arc::clone(built.credentials()))
            }
        };
        Ok(Self { region, endpoint, credentials })
    }

    /// An object's URL.
    pub(super) fn url(&self, object: &S3Location) -> Result<Url, Trouble> {
        let S3Location { bucket, key, version } = object;
        let key = encode(key, true);
        let query = version.as_deref().map(|version| format!("?versionId={}", encode(version, false)));
        let query = query.unwrap_or_default();
        let domain = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let text = match &self.endpoint {
            Some(endpoint) => format!("{endpoint}/{bucket}/{key}{query}"),
            // Amazon's certificates cover names of one level before the region's.
            None if bucket.contains(['.', '_']) => {
                format!("https://s3.{}.{domain}/{bucket}/{key}{query}", self.region)
            }
            None => format!("https://{bucket}.s3.{}.{domain}/{key}{query}", self.region),
        };
        Url::parse(&text).map_err(|error| Trouble::Refused(format!("its URL cannot be built: {error}")))
    }

    /// The headers of a request for this URL with those headers, signed.
    pub(super) async fn sign(&self, url: &Url, headers: HeaderMap) -> Result<HeaderMap, Trouble> {
        let Some(credentials) = &self.credentials else { return Ok(headers) };
        let credential = credentials.get_credential().await.map_err(|error| {
            Trouble::Denied(format!("there are no credentials for S3: {}", chain(&error)))
        })?;
        let parts = [Some(&credential.key_id), Some(&credential.secret_key), credential.token.as_ref()];
        if parts.into_iter().flatten().any(|part| !part.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Trouble::Denied(
                "the credentials for S3 hold blanks or other signs that none have".to_owned(),
            ));
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url
            .as_str()
            .parse()
            .map_err(|error| Trouble::Refused(format!("its URL cannot be signed: {error}")))?;
        *request.headers_mut() = headers;
        AwsAuthorizer::new(&credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| Trouble::Denied(format!("the request cannot be signed: {}", chain(&error))))?;
        Ok(std::mem::take(request.headers_mut()))
    }
}

/// As signatures of version 4 want it: everything but letters, digits and `-._~` in hexadecimal.
fn encode(text: &str, keeps_slashes: bool) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            b'/' if keeps_slashes => "/".to_owned(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(region: &str, endpoint: Option<&str>, bucket: &str, key: &str, version: Option<&str>) -> String {
        let service =
            Service { region: region.to_owned(), endpoint: endpoint.map(str::to_owned), credentials: None };
        let version = version.map(str::to_owned);
        let object = S3Location { bucket: bucket.to_owned(), key: key.to_owned(), version };
        service.url(&object).unwrap().to_string()
    }

    #[test]
    fn objects_have_urls() {
        assert_eq!(
            url("eu-west-1", None, "b", "a b/ü+%20?.ova", Some("v/1")),
            "https://b.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC%2B%2520%3F.ova?versionId=v%2F1"
        );
        assert_eq!(url("cn-north-1", None, "b", "k", None), "https://b.s3.cn-north-1.amazonaws.com.cn/k");
        assert_eq!(url("eu-west-1", None, "b.c", "k", None), "https://s3.eu-west-1.amazonaws.com/b.c/k");
        assert_eq!(url("x", Some("http://localhost:5000"), "b", "k", None), "http://localhost:5000/b/k");
    }
}
