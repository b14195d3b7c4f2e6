//! Repeating calls that may succeed later. The one place; every call of the trait may be repeated
//! (client tokens, or its effect is described first).

use std::future::Future;
use std::time::Duration;

use super::Cancel;
use crate::provider::ProviderError;

/// Repetitions: with the pauses below, about two minutes in all (AWS's advice for throttling and
/// eventual consistency).
const ATTEMPTS: u32 = 9;
/// The first pause; each next one is twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Calls until it succeeds, fails for good, or the attempts are used up.
///
/// # Errors
/// The last error.
pub async fn retry<T, F>(cancel: &Cancel, mut call: impl FnMut() -> F) -> Result<T, ProviderError>
where
    F: Future<Output = Result<T, ProviderError>>,
{
    let mut pause = FIRST;
    for _ in 1..ATTEMPTS {
        match call().await {
            Err(error) if error.is_retryable() => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = cancel.reached(2) => return Err(error),
                }
                pause = (pause * 2).min(LONGEST);
            }
            result => return result,
        }
    }
    call().await
}
