//! Reading and writing again where it can help: bounded, and never by skipping.

use std::io;
use std::time::Duration;

use crate::image::SourceError;

/// Waits before the second, third and fourth attempt. Longer troubles are for whoever runs us:
/// a resume costs nothing.
const WAITS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_millis(1000)];

/// Reads from a source, again when its error says that this can help at once.
///
/// # Errors
/// The last attempt's.
pub fn source<T>(mut attempt: impl FnMut() -> Result<T, SourceError>) -> Result<T, SourceError> {
    with_waits(&WAITS, &mut attempt, SourceError::is_retryable_at_once)
}

/// Does I/O on a target, again when it was interrupted or timed out.
///
/// # Errors
/// The last attempt's.
pub(crate) fn target<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    with_waits(&WAITS, &mut attempt, |error| {
        matches!(
            error.kind(),
            io::ErrorKind::Interrupted | io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        )
    })
}

fn with_waits<T, E>(
    waits: &[Duration],
    attempt: &mut dyn FnMut() -> Result<T, E>,
    again: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for wait in waits {
        match attempt() {
            Err(error) if again(&error) => std::thread::sleep(*wait),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_help_is_tried_again() {
        let mut calls = 0;
        let waits = [Duration::ZERO; 3];
        let mut work = || {
            calls += 1;
            if calls < 3 { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(calls) }
        };
        assert_eq!(with_waits(&waits, &mut work, |e| e.kind() == io::ErrorKind::TimedOut).unwrap(), 3);

        let mut calls = 0;
        let mut work = || -> io::Result<()> {
            calls += 1;
            Err(io::Error::from(io::ErrorKind::InvalidData))
        };
        assert!(with_waits(&waits, &mut work, |e| e.kind() == io::ErrorKind::TimedOut).is_err());
        assert_eq!(calls, 1);
    }
}
