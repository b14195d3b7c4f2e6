//! The process's one runtime and its connections.

use std::sync::OnceLock;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder};
use tokio::runtime::{Builder, Runtime};

use super::limits::{CONNECT, REDIRECTIONS};
use super::trouble::chain;

/// Threads of the runtime. They only move bytes; decoding happens in those that read.
const THREADS: usize = 2;

/// What every request of the process goes through.
#[derive(Debug)]
pub(super) struct Network {
    /// Where requests run.
    pub runtime: Runtime,
    /// For web servers: follows redirections.
    pub web: Client,
    /// For signed requests, which are for one server only.
    pub signed: Client,
}

/// The network; made when it is first needed.
///
/// # Errors
/// When the system gives no threads, or its certificates cannot be used.
pub(super) fn network() -> Result<&'static Network, String> {
    static NETWORK: OnceLock<Result<Network, String>> = OnceLock::new();
    NETWORK.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn make() -> Result<Network, String> {
    // Fails when someone in this process chose one already, which is as good.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}"))?;
    let client = |policy: Policy| {
        // Ranges of one file over one HTTP/2 connection would share its window; connections of
        // their own do not.
        let builder: ClientBuilder = Client::builder().http1_only().connect_timeout(CONNECT).redirect(policy);
        builder
            .user_agent(concat!("replant/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| chain(&error.without_url()))
    };
    Ok(Network { runtime, web: client(Policy::custom(redirect))?, signed: client(Policy::none())? })
}

/// Follows a few redirections, but never from an encrypted connection to an open one.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let was_encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > REDIRECTIONS {
        attempt.error("it redirects too often")
    } else if was_encrypted && attempt.url().scheme() != "https" {
        attempt.error("it redirects from https to http")
    } else {
        attempt.follow()
    }
}
