//! Single calls of services that speak JSON over HTTPS, for which an SDK of their own would take
//! minutes to build: KMS. Signed with Signature Version 4 by the SDK's own part for it, repeated as
//! the SDK repeats ("Retry behavior", AWS SDKs and Tools Reference Guide). For reading only: what
//! changes something would need to know whether an attempt took effect unseen.

use std::time::{Duration, SystemTime};

use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ec2::config::http::{HttpRequest, HttpResponse};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::Value;

use super::client::{ATTEMPT, Cloud, Connection, FIRST_PAUSE, LONGEST_PAUSE};
use super::errors;
use crate::provider::types::{ProviderError, ProviderErrorKind};

/// The media type of AWS's JSON protocol ("AWS JSON 1.1 protocol", Smithy).
const JSON: &str = "application/x-amz-json-1.1";
/// Most bytes of an answer that are looked at.
const MOST: usize = 4 << 20;
/// Most characters of a message.
const MOST_TEXT: usize = 4000;

impl Cloud {
    /// One call of a JSON service. `target`: the service's shape and the operation, as in
    /// `TrentService.DescribeKey`.
    ///
    /// # Errors
    /// The service's, under its code; no connection.
    pub(super) async fn signed_json(
        &self,
        service: &'static str,
        target: &'static str,
        body: &Value,
    ) -> Result<Value, ProviderError> {
        let operation = target.split_once('.').map_or(target, |(_, operation)| operation);
        let connection = self.connection().await?;
        let variable = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase().replace('-', "_"));
        let given = std::env::var(variable).ok();
        let url = given
            .or_else(|| same_server(self.spec.endpoint_url.as_deref()))
            .unwrap_or_else(|| endpoint(service, connection.region.as_ref()));
        let call = Call { connection, service, target, operation, url: &url, body: body.to_string() };
        // Made for each call: there are one or two of them in a plan.
        let connector = Connector::builder()
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
            .build();
        let attempts = self.spec.max_attempts.max(1);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let mut error = match call.send(&connector).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if attempt >= attempts || !error.is_retryable() {
                if attempt > 1 {
                    error.message.push_str(&format!(" (tried {attempt} times)"));
                }
                return Err(error);
            }
            tokio::time::sleep(shortened(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(call.error(ProviderErrorKind::Unavailable, "Unavailable", "it was not tried"))
    }
}

/// A random part of a pause, against calls that come together again.
fn shortened(pause: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    pause.mul_f64(f64::from(nanos % 1000) / 1000.0)
}

/// Where another service answers when EC2's endpoint is given: a server that is not AWS's own
/// stands for all of it.
fn same_server(endpoint: Option<&str>) -> Option<String> {
    let url = endpoint?;
    let host = url.split("://").nth(1).unwrap_or(url).split(['/', ':']).next().unwrap_or_default();
    let of_aws =
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu", ".c2s.ic.gov", ".sc2s.sgov.gov"];
    (!of_aws.iter().any(|suffix| host.ends_with(suffix))).then(|| url.to_owned())
}

/// A service's endpoint in a region ("AWS service endpoints"; the suffixes of the partitions are
/// those of the SDK's own rules).
fn endpoint(service: &str, region: &str) -> String {
    let suffix = match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ => "amazonaws.com",
    };
    format!("https://{service}.{region}.{suffix}")
}

/// One call, which may be sent several times.
struct Call<'a> {
    connection: &'a Connection,
    service: &'static str,
    target: &'static str,
    operation: &'static str,
    url: &'a str,
    body: String,
}

impl Call<'_> {
    fn error(&self, kind: ProviderErrorKind, code: &str, message: impl Into<String>) -> ProviderError {
        let mut error = ProviderError::new(self.operation, kind, code, message);
        error.help = errors::help(code);
        error.exhausted = true;
        error
    }

    fn malformed(&self, source: impl std::error::Error + Send + Sync + 'static) -> ProviderError {
        let message = format!("the call to {} cannot be made", self.url);
        let mut error = self.error(ProviderErrorKind::InvalidParameter, "Request", message);
        error.source = Some(Box::new(source));
        error
    }

    async fn request(&self) -> Result<HttpRequest, ProviderError> {
        let credentials = self.connection.credentials.provide_credentials().await;
        let identity = credentials.map_err(|error| errors::credentials(self.operation, &error))?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.connection.region.as_ref())
            .name(self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| self.malformed(error))?
            .into();
        let headers = [("content-type", JSON), ("x-amz-target", self.target)];
        let body = SignableBody::Bytes(self.body.as_bytes());
        let signable = SignableRequest::new("POST", self.url, headers.into_iter(), body)
            .map_err(|error| self.malformed(error))?;
        let (signature, _) = sign(signable, &params).map_err(|error| self.malformed(error))?.into_parts();
        let mut request = HttpRequest::new(SdkBody::from(self.body.as_str()));
        request.set_method("POST").map_err(|error| self.malformed(error))?;
        request.set_uri(self.url).map_err(|error| self.malformed(error))?;
        for (name, value) in headers.into_iter().chain(signature.headers()) {
            request
                .headers_mut()
                .try_insert(name.to_owned(), value.to_owned())
                .map_err(|error| self.malformed(error))?;
        }
        Ok(request)
    }

    async fn send(&self, connector: &Connector) -> Result<Value, ProviderError> {
        let request = self.request().await?;
        let unavailable = |code, message| self.error(ProviderErrorKind::Unavailable, code, message);
        let answer = tokio::time::timeout(ATTEMPT, async {
            let response = connector.call(request).await.map_err(|source| {
                let mut error = unavailable("Connection", format!("{} cannot be reached", self.url));
                error.source = Some(Box::new(source));
                error
            })?;
            self.read(response).await
        });
        answer
            .await
            .unwrap_or_else(|_| Err(unavailable("Timeout", format!("{} did not answer in time", self.url))))
    }

    async fn read(&self, response: HttpResponse) -> Result<Value, ProviderError> {
        let status = response.status().as_u16();
        let request = response.headers().get("x-amzn-requestid").map(|id| format!(" (request {id})"));
        let kind = response.headers().get("x-amzn-errortype").map(str::to_owned);
        let incomplete = |message: String| self.error(ProviderErrorKind::Unavailable, "Response", message);
        let mut stream = ByteStream::new(response.into_body());
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| incomplete(format!("the answer broke off: {error}")))?;
            if bytes.len() + chunk.len() > MOST {
                return Err(self.error(
                    ProviderErrorKind::InvalidParameter,
                    "Response",
                    "the answer is too long",
                ));
            }
            bytes.extend_from_slice(&chunk);
        }
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if (200..300).contains(&status) && value.is_object() {
            return Ok(value);
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let code = kind.or_else(|| text("__type")).unwrap_or_else(|| "Unknown".to_owned());
        // `com.amazonaws.kms#NotFoundException:http://…`
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let message = text("message").or_else(|| text("Message")).unwrap_or_default();
        let message: String = message.chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect();
        let message = match message.as_str() {
            "" => format!("{} answered with status {status}", self.service),
            _ => message,
        };
        let kind = match code {
            "NotFoundException" | "NoSuchResourceException" => ProviderErrorKind::NotFound,
            _ => errors::kind(code, Some(status)),
        };
        Err(self.error(kind, code, format!("{message}{}", request.unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_has_its_endpoint() {
        assert_eq!(endpoint("kms", "eu-central-1"), "https://kms.eu-central-1.amazonaws.com");
        assert_eq!(
            endpoint("servicequotas", "cn-north-1"),
            "https://servicequotas.cn-north-1.amazonaws.com.cn"
        );
    }

    #[test]
    fn an_endpoint_of_ec2_s_is_no_other_service_s() {
        assert_eq!(same_server(Some("http://127.0.0.1:5000")).as_deref(), Some("http://127.0.0.1:5000"));
        assert_eq!(same_server(Some("https://ec2.eu-central-1.amazonaws.com")), None);
        assert_eq!(same_server(Some("https://vpce-1.ec2.eu-central-1.vpce.amazonaws.com/")), None);
        assert_eq!(same_server(None), None);
    }
}
