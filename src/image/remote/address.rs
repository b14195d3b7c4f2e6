//! Whom to ask for a file, and how.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use reqwest::{Client, Method, Request, Url};

use super::answer::Version;
use super::client::Network;
use super::s3::Service;
use super::trouble::Trouble;
use crate::model::{HttpLocation, Location, S3Location};

/// Whom to ask for a file.
#[derive(Debug, Clone)]
pub(super) enum Address {
    /// A web server.
    Web(HttpLocation),
    /// S3.
    Object(Arc<Service>, S3Location),
}

impl Address {
    /// The address of a place; `None` when it is not on a server of these kinds.
    pub(super) fn of(location: &Location) -> Result<Option<Self>, Trouble> {
        Ok(match location {
            Location::Http(file) => Some(Self::Web(file.clone())),
            Location::S3(object) => {
                Some(Self::Object(Arc::new(Service::from_environment(&object.bucket)?), object.clone()))
            }
            Location::Local(_) | Location::Nbd(_) | Location::Input => None,
        })
    }

    /// What messages call it.
    pub(super) fn called(&self) -> PathBuf {
        match self {
            Self::Web(file) => PathBuf::from(file.to_string()),
            Self::Object(_, object) => PathBuf::from(object.to_string()),
        }
    }

    /// The address of a file beneath the place where this one is. The names are not empty, and neither `.` nor `..`.
    pub(super) fn beside(&self, names: &[&str]) -> Self {
        match self {
            Self::Web(file) => Self::Web(file.beside(names)),
            Self::Object(service, object) => {
                let before = object.key.rfind('/').map_or("", |at| &object.key[..=at]);
                let key = format!("{before}{}", names.join("/"));
                let object = S3Location { bucket: object.bucket.clone(), key, version: None };
                Self::Object(Arc::clone(service), object)
            }
        }
    }

    /// Which connections it is asked over.
    pub(super) fn client<'n>(&self, network: &'n Network) -> &'n Client {
        match self {
            Self::Web(_) => &network.web,
            Self::Object(..) => &network.signed,
        }
    }

    /// The request for a range (not empty) of it, of that version when it is known.
    pub(super) async fn request(
        &self,
        range: &Range<u64>,
        version: Option<&Version>,
    ) -> Result<Request, Trouble> {
        let url = match self {
            Self::Web(file) => Url::parse(file.url())
                .map_err(|error| Trouble::Refused(format!("its URL cannot be used: {error}")))?,
            Self::Object(service, object) => service.url(object)?,
        };
        let mut headers = HeaderMap::new();
        let mut set = |name, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(RANGE, &format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        set(ACCEPT_ENCODING, "identity");
        if let Some(version) = version {
            match (version.strong_etag(), &version.modified) {
                (Some(etag), _) => set(IF_MATCH, etag),
                (None, Some(modified)) => set(IF_UNMODIFIED_SINCE, modified),
                (None, None) => {}
            }
        }
        if let Self::Object(service, _) = self {
            headers = service.sign(&url, headers).await?;
        }
        let mut request = Request::new(Method::GET, url);
        *request.headers_mut() = headers;
        Ok(request)
    }
}
