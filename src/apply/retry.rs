//! Repeating calls that may succeed later, for providers that do not repeat them themselves (`aws`
//! does, in the SDK: its errors say so). Every call of the trait may be repeated (client tokens, or
//! its effect is described first).

use std::future::Future;
use std::time::Duration;

use super::Cancel;
use crate::provider::{ProviderError, ProviderErrorKind};

/// Repetitions: with the pauses below, about two minutes in all (AWS's advice for throttling and
/// eventual consistency).
const ATTEMPTS: u32 = 9;
/// The first pause; each next one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Calls until it succeeds, fails for good, or the attempts are used up. Once an attempt may have
/// taken effect unseen, no later failure is taken to mean that nothing happened.
///
/// # Errors
/// The last error; its kind is [`ProviderErrorKind::Unavailable`] when any attempt's effect is not
/// known.
pub async fn retry<T, F>(cancel: &Cancel, mut call: impl FnMut() -> F) -> Result<T, ProviderError>
where
    F: Future<Output = Result<T, ProviderError>>,
{
    let mut pause = FIRST;
    let mut unknown = false;
    let mut attempt = 1;
    loop {
        let mut error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        unknown |= error.kind == ProviderErrorKind::Unavailable;
        let again = error.is_retryable() && !error.exhausted && attempt < ATTEMPTS && cancel.stage() < 2;
        if !again {
            if unknown {
                error.kind = ProviderErrorKind::Unavailable;
            }
            return Err(error);
        }
        attempt += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.reached(2) => {}
        }
        pause = (pause * 2).min(LONGEST);
    }
}
