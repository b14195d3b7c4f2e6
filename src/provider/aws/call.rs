//! One call of the SDK: it repeats what may help (throttling, 5xx, lost connections) by its
//! standard rules, and this notes whether any attempt may have taken effect unseen.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::{ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_ec2::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;

use super::errors;
use crate::model::waiting::Wait;
use crate::provider::types::{ProviderError, ProviderErrorKind};

/// Most characters of a message: an encoded authorization failure has about a thousand.
const MOST: usize = 4000;

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// What the last attempt failed with.
    pub(super) error: ProviderError,
    /// Whether any attempt may have taken effect without its reply arriving.
    pub(super) is_unknown: bool,
}

impl Failed {
    pub(super) fn is(&self, code: &str) -> bool {
        self.error.code == code
    }
}

impl From<Failed> for ProviderError {
    /// Once an attempt may have taken effect unseen, no later failure means that nothing happened.
    fn from(failed: Failed) -> Self {
        let mut error = failed.error;
        if failed.is_unknown {
            error.kind = ProviderErrorKind::Unavailable;
        }
        error
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        Self { error, is_unknown: false }
    }
}

#[derive(Debug, Default)]
struct Seen {
    attempts: AtomicU32,
    unknown: AtomicBool,
    /// Whom the last attempt was made to, and the wait for it.
    server: Mutex<(Server, Option<Wait>)>,
}

/// Whom a call is made to.
#[derive(Debug, Clone, Default)]
struct Server {
    region: Option<String>,
    /// `https://ec2.eu-central-1.amazonaws.com`
    endpoint: String,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EC2")?;
        self.region.as_ref().map_or(Ok(()), |region| write!(f, " in {region}"))
    }
}

/// Scheme and host of a URL.
fn endpoint(url: &str) -> &str {
    url.match_indices('/').nth(2).map_or(url, |(at, _)| &url[..at])
}

/// Notes the attempts of one call, whose own errors are `E`.
pub(super) struct Attempts<E> {
    seen: Arc<Seen>,
    _error: PhantomData<fn() -> E>,
}

impl<E> Default for Attempts<E> {
    fn default() -> Self {
        Self { seen: Arc::default(), _error: PhantomData }
    }
}

impl<E> Clone for Attempts<E> {
    fn clone(&self) -> Self {
        Self { seen: Arc::clone(&self.seen), _error: PhantomData }
    }
}

impl<E> fmt::Debug for Attempts<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.seen.fmt(f)
    }
}

impl<E: ProvideErrorMetadata + Error + Send + Sync + 'static> Intercept for Attempts<E> {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let region = config.load::<Region>().map(ToString::to_string);
        let server = Server { region, endpoint: endpoint(context.request().uri()).to_owned() };
        let most = config.load::<RetryConfig>().map_or(1, RetryConfig::max_attempts);
        let attempt = self.seen.attempts.load(Ordering::Relaxed).saturating_add(1);
        let what = format!("{server}, try {attempt} of {most}");
        let mut seen = self.seen.server.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 = server;
        match &seen.1 {
            Some(wait) => wait.goes_on(what),
            None => seen.1 = Some(Wait::begin(what)),
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.seen.attempts.fetch_add(1, Ordering::Relaxed);
        let Some(Err(error)) = context.output_or_error() else { return Ok(()) };
        let status = context.response().map(|response| response.status().as_u16());
        let own = error.as_operation_error().and_then(|error| error.downcast_ref::<E>());
        let is_unknown = match own {
            Some(own) => {
                errors::kind(own.code().unwrap_or_default(), status) == ProviderErrorKind::Unavailable
            }
            None => error.is_connector_error() || error.is_timeout_error() || error.is_response_error(),
        };
        if is_unknown {
            self.seen.unknown.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl<E: ProvideErrorMetadata + Error + Send + Sync + 'static> Attempts<E> {
    /// The answer of a call with what was noted of its attempts.
    pub(super) fn judge<T>(
        &self,
        operation: &'static str,
        answer: Result<T, SdkError<E>>,
    ) -> Result<T, Failed> {
        let server = {
            let mut seen = self.seen.server.lock().unwrap_or_else(PoisonError::into_inner);
            seen.1 = None;
            seen.0.clone()
        };
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let attempts = self.seen.attempts.load(Ordering::Relaxed);
        let is_unknown = self.seen.unknown.load(Ordering::Relaxed);
        Err(Failed { error: translate(operation, error, attempts, &server), is_unknown })
    }
}

fn translate<E>(operation: &'static str, error: SdkError<E>, attempts: u32, server: &Server) -> ProviderError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let request = error.request_id().map(|id| format!(" (request {id})")).unwrap_or_default();
    let tried = if attempts > 1 { format!(" (tried {attempts} times)") } else { String::new() };
    let mut translated = if let Some(service) = error.as_service_error() {
        let message: String =
            service.message().unwrap_or_default().chars().filter(|c| !c.is_control()).take(MOST).collect();
        let code = errors::documented(service.code().unwrap_or("Unknown"), &message);
        let kind = errors::kind(code, status);
        let message = match message.as_str() {
            "" => format!("EC2 answered with status {}", status.unwrap_or_default()),
            _ => message,
        };
        ProviderError::new(operation, kind, code, format!("{message}{request}{tried}"))
    } else if let Some(error) = credentials_error(&error) {
        errors::credentials(operation, error)
    } else {
        let (kind, code, message) = match &error {
            SdkError::TimeoutError(_) => {
                (ProviderErrorKind::Unavailable, "Timeout", format!("{server} did not answer in time"))
            }
            SdkError::DispatchFailure(_) => (
                ProviderErrorKind::Unavailable,
                "Connection",
                format!("{server} cannot be reached at {}", server.endpoint),
            ),
            SdkError::ResponseError(_) => {
                (ProviderErrorKind::Unavailable, "Response", "EC2's answer is not understood".to_owned())
            }
            _ => (ProviderErrorKind::InvalidParameter, "Request", "the call cannot be made".to_owned()),
        };
        let mut translated = ProviderError::new(operation, kind, code, format!("{message}{request}{tried}"));
        translated.source = Some(Box::new(error));
        translated
    };
    translated.help = errors::help(&translated.code);
    // The SDK has repeated it as often as it may: nobody else does.
    translated.exhausted = true;
    translated
}

/// Credentials that could not be had, somewhere below a failed call.
fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<CredentialsError>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Sends a call of the SDK's client.
macro_rules! send {
    ($operation:literal, $request:expr) => {{
        let attempts = $crate::provider::aws::call::Attempts::default();
        let answer = $request.customize().interceptor(attempts.clone()).send().await;
        attempts.judge($operation, answer)
    }};
}

/// Sends a describing call until its last page; what all pages list under `items`, or what a
/// function makes of each and does not leave out. For functions whose errors are made of [`Failed`].
macro_rules! pages {
    ($operation:literal, $request:expr, $items:ident) => {
        $crate::provider::aws::call::pages!($operation, $request, $items, |item| Some(item.clone()))
    };
    ($operation:literal, $request:expr, $items:ident, $each:expr) => {{
        let call = $request;
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = $crate::provider::aws::call::send!($operation, call.clone().set_next_token(next))?;
            found.extend(page.$items().iter().filter_map($each));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break found;
            }
        }
    }};
}
pub(super) use {pages, send};
