//! A whole file of a web server, written as it comes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED,
    RANGE,
};
use reqwest::{Method, Request, StatusCode, Url};
use tokio::time::{Instant, sleep, timeout};

use super::answer::{content_range, header, refusal, with_body};
use super::client::{Network, network};
use super::fetch::MOST_REFUSAL;
use super::limits::{ATTEMPTS, LONGEST_WAIT, STALLS, STALLS_IN_ALL, WAITS, stall};
use super::trouble::Trouble;

/// So many bytes must come while a silent server would be given up some times over: one that sends
/// a byte now and then is no better.
const LEAST: u64 = 64 << 10;

/// A file could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// There is no such file.
    #[error("the server has no such file")]
    Absent,
    /// The server, or a proxy before it, wants credentials or refuses.
    #[error("{0}")]
    Denied(String),
    /// The server could not be reached, or the connection broke each time.
    #[error("{what} (tried {attempts} times)")]
    Unreachable {
        /// What happened the last time.
        what: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// Whoever answers has no certificate that this machine trusts.
    #[error("{0}")]
    Untrusted(String),
    /// The file has more bytes than it may have.
    #[error("it has more than {most} bytes")]
    TooLarge {
        /// The most.
        most: u64,
    },
    /// The answer cannot be used.
    #[error("{0}")]
    Refused(String),
    /// What came cannot be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
}

impl DownloadError {
    /// Whether trying later can help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether no other file of that server will come either.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Untrusted(_))
    }
}

/// Downloads a file, at most `most` bytes, into an empty one; gives its bytes. What came before a
/// connection broke is kept where the server continues the same version, else it begins anew.
/// `progress` is told what has come and, where the server says it, of how many bytes.
///
/// # Errors
/// [`DownloadError`]; what is in the file then is of no use.
pub fn download(
    url: &str,
    file: &mut File,
    most: u64,
    progress: &mut (dyn FnMut(u64, Option<u64>) + Send),
) -> Result<u64, DownloadError> {
    let network = network().map_err(DownloadError::Refused)?;
    let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let url = url.ok_or_else(|| DownloadError::Refused("its address is no http or https URL".to_owned()))?;
    let mut state = State { file, most, progress, received: 0, version: None };
    network.runtime.block_on(async {
        let (mut attempts, mut stalls) = (0, 0);
        loop {
            attempts += 1;
            let trouble = match attempt(network, &url, &mut state).await {
                Ok(()) => return Ok(state.received),
                Err(Failed::Trouble(trouble)) => trouble,
                Err(Failed::Final(error)) => return Err(error),
            };
            // A firewall that drops what it does not like is waited for as long as a silent server.
            let silent = matches!(trouble, Trouble::Stalled(_) | Trouble::Lost(io::ErrorKind::TimedOut, _));
            stalls += u32::from(silent);
            if !trouble.is_passing() || is_untrusted(&trouble) || attempts >= ATTEMPTS || stalls >= STALLS {
                return Err(error_of(trouble, attempts));
            }
            let wait = WAITS[(attempts as usize - 1).min(WAITS.len() - 1)];
            let asked = match trouble {
                Trouble::Busy(_, Some(asked)) => asked.min(LONGEST_WAIT),
                _ => Duration::ZERO,
            };
            sleep(wait.max(asked)).await;
        }
    })
}

/// Whether it is the server's certificate that is not taken: asking again gives the same.
fn is_untrusted(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Lost(_, text) if text.to_ascii_lowercase().contains("certificate"))
}

fn error_of(trouble: Trouble, attempts: u32) -> DownloadError {
    let untrusted = is_untrusted(&trouble);
    match trouble {
        Trouble::Lost(_, what) if untrusted => DownloadError::Untrusted(what),
        Trouble::Lost(_, what) | Trouble::Busy(what, _) => DownloadError::Unreachable { what, attempts },
        Trouble::Stalled(seconds) => {
            DownloadError::Unreachable { what: format!("no byte came for {seconds} seconds"), attempts }
        }
        Trouble::Absent => DownloadError::Absent,
        Trouble::Denied(what) => DownloadError::Denied(what),
        Trouble::Refused(what) | Trouble::Changed(what) => DownloadError::Refused(what),
        Trouble::NoRanges => DownloadError::Refused("the server gives no ranges".to_owned()),
    }
}

enum Failed {
    Trouble(Trouble),
    Final(DownloadError),
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// How far a file has come.
struct State<'a> {
    file: &'a mut File,
    most: u64,
    progress: &'a mut (dyn FnMut(u64, Option<u64>) + Send),
    received: u64,
    /// What the server calls this version of the file, for `If-Range`.
    version: Option<HeaderValue>,
}

impl State<'_> {
    fn restart(&mut self) -> Result<(), Failed> {
        self.received = 0;
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(|error| Failed::Final(DownloadError::Write(error)))
    }
}

/// Asks once for what is missing.
async fn attempt(network: &Network, url: &Url, state: &mut State<'_>) -> Result<(), Failed> {
    let patience = stall();
    let stalled = || Trouble::Stalled(patience.as_secs());
    let mut request = Request::new(Method::GET, url.clone());
    let headers = request.headers_mut();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let range = HeaderValue::from_str(&format!("bytes={}-", state.received)).ok();
    if let (1.., Some(range), Some(version)) = (state.received, range, &state.version) {
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, version.clone());
    }
    let request = async { network.web.execute(request).await.map_err(Trouble::lost) };
    let mut response = timeout(patience, request).await.map_err(|_| stalled())??;
    let total = match response.status() {
        StatusCode::OK => {
            state.restart()?;
            state.version = version(response.headers());
            header(response.headers(), CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok())
        }
        StatusCode::PARTIAL_CONTENT => {
            let text = header(response.headers(), CONTENT_RANGE.as_str());
            let found = text.as_deref().and_then(content_range);
            match found.filter(|(range, size)| range.start == state.received && range.end == *size) {
                Some((_, size)) => Some(size),
                None => {
                    state.version = None;
                    state.restart()?;
                    let text = "the server continued at another place".to_owned();
                    return Err(Trouble::Lost(io::ErrorKind::InvalidData, text).into());
                }
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE if state.received > 0 => {
            state.version = None;
            state.restart()?;
            let text = "the file became shorter while it was read".to_owned();
            return Err(Trouble::Lost(io::ErrorKind::InvalidData, text).into());
        }
        status => {
            let trouble = refusal(status, response.headers());
            let mut body = Vec::new();
            while let Ok(Ok(Some(chunk))) = timeout(patience, response.chunk()).await
                && body.len() < MOST_REFUSAL
            {
                body.extend_from_slice(&chunk[..chunk.len().min(MOST_REFUSAL)]);
            }
            return Err(with_body(trouble, &body).into());
        }
    };
    let too_large = || Failed::Final(DownloadError::TooLarge { most: state.most });
    if total.is_some_and(|total| total > state.most) {
        return Err(too_large());
    }
    (state.progress)(state.received, total);
    let mut mark = (Instant::now(), state.received);
    while let Some(chunk) =
        timeout(patience, response.chunk()).await.map_err(|_| stalled())?.map_err(Trouble::lost)?
    {
        if state.received.saturating_add(chunk.len() as u64) > state.most {
            return Err(Failed::Final(DownloadError::TooLarge { most: state.most }));
        }
        state.file.write_all(&chunk).map_err(|error| Failed::Final(DownloadError::Write(error)))?;
        state.received += chunk.len() as u64;
        (state.progress)(state.received, total);
        if mark.0.elapsed() > patience * STALLS_IN_ALL {
            if state.received - mark.1 < LEAST {
                return Err(stalled().into());
            }
            mark = (Instant::now(), state.received);
        }
    }
    match total {
        Some(total) if state.received != total => {
            let text = format!("the answer ended after {} of {total} bytes", state.received);
            Err(Trouble::Lost(io::ErrorKind::UnexpectedEof, text).into())
        }
        _ => Ok(()),
    }
}

/// What `If-Range` takes: a strong entity tag, else the time of the last writing (RFC 9110, 13.1.5).
fn version(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\""));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}
