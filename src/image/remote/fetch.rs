//! Fetching a range, again where that can help: the one place of retries on the network.

use std::ops::Range;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::address::Address;
use super::answer::{self, Version};
use super::client::Network;
use super::limits::{ATTEMPTS, LONGEST_WAIT, STALLS, STALLS_IN_ALL, WAITS, stall};
use super::trouble::Trouble;
use crate::model::waiting::Wait;

/// Most bytes that are read of the body of a refusal.
pub(super) const MOST_REFUSAL: usize = 8 << 10;

/// Bytes of a file, and of which version they are.
#[derive(Debug)]
pub(super) struct Fetched {
    pub bytes: Vec<u8>,
    pub version: Version,
}

/// Fetches `range` (not empty, at most a few MiB): of the version that is expected, all of it; of
/// whatever there is, at most up to its end. Gives the last trouble and how often it was tried.
pub(super) async fn fetch(
    network: &Network,
    address: &Address,
    range: Range<u64>,
    expected: Option<&Version>,
) -> Result<Fetched, (Trouble, u32)> {
    let mut state = State { range, bytes: Vec::new(), version: expected.cloned() };
    let (mut attempts, mut stalls) = (0, 0);
    let said = |attempt: u32| format!("{}, try {attempt} of {ATTEMPTS}", address.called().display());
    let wait = Wait::begin(said(1));
    loop {
        attempts += 1;
        wait.goes_on(said(attempts));
        let trouble = match attempt(network, address, &mut state).await {
            Ok(version) => return Ok(Fetched { bytes: state.bytes, version }),
            Err(trouble) => trouble,
        };
        stalls += u32::from(matches!(trouble, Trouble::Stalled(_)));
        if !trouble.is_passing() || attempts >= ATTEMPTS || stalls >= STALLS {
            return Err((trouble, attempts));
        }
        let wait = WAITS[(attempts as usize - 1).min(WAITS.len() - 1)];
        let asked = match trouble {
            Trouble::Busy(_, Some(asked)) => asked.min(LONGEST_WAIT),
            _ => Duration::ZERO,
        };
        sleep(wait.max(asked)).await;
    }
}

/// How far a range has come: what was received before a connection broke is kept.
struct State {
    range: Range<u64>,
    bytes: Vec<u8>,
    version: Option<Version>,
}

/// Asks once for what is missing.
async fn attempt(network: &Network, address: &Address, state: &mut State) -> Result<Version, Trouble> {
    let patience = stall();
    let stalled = || Trouble::Stalled(patience.as_secs());
    let end = Instant::now() + patience * STALLS_IN_ALL;
    let missing = state.range.start + state.bytes.len() as u64..state.range.end;
    let request = async {
        let request = address.request(&missing, state.version.as_ref()).await?;
        address.client(network).execute(request).await.map_err(Trouble::lost)
    };
    let mut response = timeout(patience, request).await.map_err(|_| stalled())??;
    let head = answer::read(response.status(), response.headers(), &missing);
    let (range, version) = match head {
        Ok(head) => head,
        Err(trouble) => {
            let mut body = Vec::new();
            // What the server says of its refusal is good to have, and nothing to fail for.
            while let Ok(Ok(Some(chunk))) = timeout(patience, response.chunk()).await
                && body.len() < MOST_REFUSAL
            {
                body.extend_from_slice(&chunk[..chunk.len().min(MOST_REFUSAL)]);
            }
            return Err(answer::with_body(trouble, &body));
        }
    };
    if let Some(what) = state.version.as_ref().and_then(|expected| expected.difference(&version)) {
        return Err(Trouble::Changed(what));
    }
    // The first answer says which version the rest has to be of.
    state.version = Some(version.clone());
    let wanted = missing.end.min(version.size) - missing.start;
    let before = state.bytes.len() as u64;
    state.bytes.reserve(usize::try_from(wanted).unwrap_or(0));
    let promised = (range.end - range.start).min(wanted);
    loop {
        let received = state.bytes.len() as u64 - before;
        if received >= promised {
            break;
        }
        let next = (Instant::now() + patience).min(end);
        let chunk = timeout_at(next, response.chunk()).await.map_err(|_| stalled())?;
        let Some(chunk) = chunk.map_err(Trouble::lost)? else {
            let text = format!("the answer ended after {received} of {promised} bytes");
            return Err(Trouble::Lost(std::io::ErrorKind::UnexpectedEof, text));
        };
        let take = chunk.len().min(usize::try_from(promised - received).unwrap_or(usize::MAX));
        state.bytes.extend_from_slice(&chunk[..take]);
    }
    if promised < wanted {
        let text = format!("the server gave {promised} of {wanted} bytes");
        return Err(Trouble::Lost(std::io::ErrorKind::UnexpectedEof, text));
    }
    Ok(version)
}
