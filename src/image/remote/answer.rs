//! What a server answers: a range of a version of a file, or why not.

use std::ops::Range;
use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED, RETRY_AFTER,
};

use super::trouble::Trouble;

/// What tells one version of a file from another, as its server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    /// Its size in bytes.
    pub size: u64,
    /// Its entity tag, with its quotes.
    pub etag: Option<String>,
    /// When it was last written, as the server wrote that.
    pub modified: Option<String>,
    /// The version's id in a versioned bucket.
    pub id: Option<String>,
}

impl Version {
    /// The entity tag, when it promises equality byte for byte: only such a one can be demanded.
    pub(super) fn strong_etag(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| etag.starts_with('"'))
    }

    /// When it was last written, in seconds since 1970; 0 when the server does not say.
    pub(super) fn modified_seconds(&self) -> i64 {
        let time = self.modified.as_deref().and_then(|text| rfc2822::parse(text).ok());
        time.map_or(0, |time| time.timestamp().as_second())
    }

    /// All that the server says of it but its size and time, as one text.
    pub(super) fn text(&self) -> String {
        let etag = self.etag.as_ref().map(|etag| format!("etag {etag}"));
        let id = self.id.as_ref().map(|id| format!("version {id}"));
        etag.into_iter().chain(id).collect::<Vec<_>>().join(", ")
    }

    /// What is different in another version, in words.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        if self.size != now.size {
            Some(format!("it had {} bytes, now it has {}", self.size, now.size))
        } else if self.etag != now.etag {
            Some(format!("its entity tag was {}, now it is {}", text(&self.etag), text(&now.etag)))
        } else if self.modified != now.modified {
            Some(format!("it was last written at {}, now at {}", text(&self.modified), text(&now.modified)))
        } else if self.id != now.id {
            Some(format!("its version was {}, now it is {}", text(&self.id), text(&now.id)))
        } else {
            None
        }
    }
}

/// A header's text, clean and of bounded length.
pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= 1024).then(|| text.to_owned())
}

fn version(headers: &HeaderMap, size: u64) -> Version {
    Version {
        size,
        etag: header(headers, ETAG.as_str()),
        modified: header(headers, LAST_MODIFIED.as_str()),
        id: header(headers, "x-amz-version-id").filter(|id| id != "null"),
    }
}

/// `bytes 0-99/1000`: the range, and the size when it is said.
pub(super) fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first..last + 1, size))
}

/// What the head of an answer to a request for `asked` says: the range that follows and of which
/// version. The range begins where it was asked to.
pub(super) fn read(
    status: StatusCode,
    headers: &HeaderMap,
    asked: &Range<u64>,
) -> Result<(Range<u64>, Version), Trouble> {
    match status {
        StatusCode::PARTIAL_CONTENT => {}
        // Some servers give an empty file as a whole.
        StatusCode::OK
            if asked.start == 0 && header(headers, CONTENT_LENGTH.as_str()).as_deref() == Some("0") =>
        {
            return Ok((0..0, version(headers, 0)));
        }
        StatusCode::OK => return Err(Trouble::NoRanges),
        StatusCode::RANGE_NOT_SATISFIABLE => return beyond_end(headers, asked),
        other => return Err(refusal(other, headers)),
    }
    if let Some(coding) = header(headers, CONTENT_ENCODING.as_str()).filter(|coding| coding != "identity") {
        return Err(Trouble::Refused(format!("the server packs the file with `{coding}` on its way")));
    }
    let text = header(headers, CONTENT_RANGE.as_str());
    let bad = || {
        let text = text.as_deref().unwrap_or("none");
        let (first, last) = (asked.start, asked.end.saturating_sub(1));
        Trouble::Refused(format!("bytes {first} to {last} were asked for, and its range is: {text}"))
    };
    let (range, size) = text.as_deref().and_then(content_range).ok_or_else(bad)?;
    if range.start != asked.start || range.end > asked.end {
        return Err(bad());
    }
    Ok((range, version(headers, size)))
}

/// An empty file has no first byte; of any other, what was asked for was there when it was opened.
fn beyond_end(headers: &HeaderMap, asked: &Range<u64>) -> Result<(Range<u64>, Version), Trouble> {
    let text = header(headers, CONTENT_RANGE.as_str());
    let size: Option<u64> =
        text.as_deref().and_then(|text| text.strip_prefix("bytes */")).and_then(|size| size.parse().ok());
    match size {
        Some(0) | None if asked.start == 0 => Ok((0..0, version(headers, 0))),
        _ => Err(Trouble::Changed(format!("it became shorter than {} bytes", asked.end))),
    }
}

/// Why there is no file in an answer.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Trouble {
    let said = match status.canonical_reason() {
        Some(reason) => format!("the server answered {} {reason}", status.as_u16()),
        None => format!("the server answered {}", status.as_u16()),
    };
    // S3 redirects nobody who signs: it says where the bucket is.
    if let Some(region) = header(headers, "x-amz-bucket-region")
        && (status.is_redirection() || status == StatusCode::BAD_REQUEST)
    {
        return Trouble::Denied(format!("the bucket is in the region {region}; set AWS_REGION={region}"));
    }
    match status {
        StatusCode::PRECONDITION_FAILED => {
            Trouble::Changed("it is another version than the one that was opened".to_owned())
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Trouble::Absent,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Trouble::Denied(said)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Trouble::Busy(said, retry_after(headers))
        }
        other if other.is_server_error() => Trouble::Busy(said, retry_after(headers)),
        _ => Trouble::Refused(said),
    }
}

/// Adds what S3 says in the body of a refusal (`<Code>…</Code>`).
pub(super) fn with_body(trouble: Trouble, body: &[u8]) -> Trouble {
    let text = String::from_utf8_lossy(body);
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (content, _) = rest.split_once(&format!("</{name}>"))?;
        let clean: String = content.chars().filter(|c| !c.is_control()).take(200).collect();
        (!clean.is_empty()).then_some(clean)
    };
    let Some(code) = element("Code") else { return trouble };
    let told = match element("Message") {
        Some(message) => format!("{code}: {message}"),
        None => code.clone(),
    };
    match trouble {
        Trouble::Denied(said) => Trouble::Denied(format!("{said} ({told})")),
        Trouble::Busy(said, wait) => Trouble::Busy(format!("{said} ({told})"), wait),
        Trouble::Refused(said)
            if matches!(code.as_str(), "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") =>
        {
            Trouble::Denied(format!("{said} ({told})"))
        }
        Trouble::Refused(said) => Trouble::Refused(format!("{said} ({told})")),
        other => other,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    header(headers, RETRY_AFTER.as_str())?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn answer(
        status: u16,
        headers: &[(&'static str, &str)],
        asked: Range<u64>,
    ) -> Result<(Range<u64>, Version), Trouble> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (reqwest::header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        read(StatusCode::from_u16(status).unwrap(), &headers, &asked)
    }

    #[test]
    fn a_range_of_a_version() {
        let headers = [
            ("content-range", "bytes 4-7/100"),
            ("etag", "\"a\""),
            ("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT"),
            ("x-amz-version-id", "v1"),
        ];
        let (range, version) = answer(206, &headers, 4..10).unwrap();
        assert_eq!((range, version.size, version.modified_seconds()), (4..8, 100, 1_445_412_480));
        assert_eq!(version.text(), "etag \"a\", version v1");
        assert_eq!(version.strong_etag(), Some("\"a\""));
        let weak = answer(206, &[("content-range", "bytes 0-0/1"), ("etag", "W/\"a\"")], 0..1).unwrap().1;
        assert_eq!((weak.strong_etag(), weak.text().as_str()), (None, "etag W/\"a\""));
    }

    #[test]
    fn ranges_that_lie_are_refused() {
        for text in [
            "",
            "bytes 5-7/100",
            "bytes 4-10/100",
            "bytes 7-4/100",
            "bytes 4-7/7",
            "bytes 4-7/*",
            "bytes 4-99999999999999999999/100",
            "4-7/100",
            "bytes 4-18446744073709551615/18446744073709551615",
        ] {
            let result = answer(206, &[("content-range", text)], 4..10);
            assert!(matches!(result, Err(Trouble::Refused(_))), "{text}: {result:?}");
        }
        assert!(matches!(answer(206, &[], 0..1), Err(Trouble::Refused(_))));
        let packed = [("content-range", "bytes 0-0/1"), ("content-encoding", "gzip")];
        assert!(matches!(answer(206, &packed, 0..1), Err(Trouble::Refused(_))));
        assert!(matches!(answer(200, &[], 0..1), Err(Trouble::NoRanges)));
    }

    #[test]
    fn empty_files_and_files_that_shrank() {
        assert_eq!(answer(416, &[("content-range", "bytes */0")], 0..10).unwrap().1.size, 0);
        assert_eq!(answer(200, &[("content-length", "0")], 0..10).unwrap().1.size, 0);
        assert!(matches!(answer(416, &[("content-range", "bytes */5")], 8..10), Err(Trouble::Changed(_))));
    }

    #[test]
    fn refusals_are_told_apart() {
        assert!(matches!(answer(404, &[], 0..1), Err(Trouble::Absent)));
        assert!(matches!(answer(403, &[], 0..1), Err(Trouble::Denied(_))));
        assert!(matches!(answer(412, &[], 0..1), Err(Trouble::Changed(_))));
        let Err(Trouble::Busy(said, wait)) = answer(503, &[("retry-after", "7")], 0..1) else { panic!() };
        assert_eq!(
            (said.as_str(), wait),
            ("the server answered 503 Service Unavailable", Some(Duration::from_secs(7)))
        );
        let Err(Trouble::Denied(said)) = answer(301, &[("x-amz-bucket-region", "eu-west-1")], 0..1) else {
            panic!()
        };
        assert!(said.contains("AWS_REGION=eu-west-1"));
        let body = b"<Error><Code>ExpiredToken</Code><Message>It has\x07 expired</Message></Error>";
        let told = with_body(answer(400, &[], 0..1).unwrap_err(), body);
        let Trouble::Denied(said) = told else { panic!("{told:?}") };
        assert_eq!(said, "the server answered 400 Bad Request (ExpiredToken: It has expired)");
    }
}
