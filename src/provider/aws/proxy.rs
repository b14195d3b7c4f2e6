//! The proxy that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, in
//! either case: "Using an HTTP proxy", AWS CLI User Guide). The services of the machine itself, which
//! give its name and its credentials, are asked past it: a proxy would answer for its own machine.

use aws_sdk_ec2::config::http::HttpRequest;
use aws_sdk_ec2::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};

/// Names of the variables that name a proxy.
const VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
/// Where the services of the machine itself are: instance metadata, and credentials of containers
/// (AWS SDKs and Tools Reference Guide, "IMDS credential provider", "Container credential provider").
const OF_THE_MACHINE: [&str; 3] = ["169.254.", "[fd00:ec2:", "fd00:ec2:"];
/// Other places of these services, by the variables that name them (the same guide).
const PLACES: [&str; 2] = ["AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

/// A client that goes through the environment's proxy, when it names one.
pub(super) fn client(direct: SharedHttpClient) -> SharedHttpClient {
    let is_named = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !VARIABLES.iter().any(is_named) {
        return direct;
    }
    let proxied = Builder::new().build_with_connector_fn(|settings, components| {
        let mut builder = Connector::builder().proxy_config(ProxyConfig::from_env());
        builder.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            builder.set_sleep_impl(components.sleep_impl());
        }
        builder.tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).build()
    });
    let places = PLACES.iter().filter_map(|name| std::env::var(name).ok());
    let places = places.filter_map(|url| host(&url).map(str::to_owned)).collect();
    SharedHttpClient::new(ByHost { direct, proxied, places })
}

/// The host of a URL, with its port.
fn host(url: &str) -> Option<&str> {
    let host = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = host.rsplit('@').next()?;
    (!host.is_empty()).then_some(host)
}

fn is_of_the_machine(url: &str, places: &[String]) -> bool {
    let Some(host) = host(url) else { return false };
    OF_THE_MACHINE.iter().any(|start| host.starts_with(start)) || places.iter().any(|place| place == host)
}

/// Two clients, by whom they ask.
#[derive(Debug)]
struct ByHost {
    direct: SharedHttpClient,
    proxied: SharedHttpClient,
    places: Vec<String>,
}

impl HttpClient for ByHost {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connection {
            direct: self.direct.http_connector(settings, components),
            proxied: self.proxied.http_connector(settings, components),
            places: self.places.clone(),
        })
    }
}

#[derive(Debug)]
struct Connection {
    direct: SharedHttpConnector,
    proxied: SharedHttpConnector,
    places: Vec<String>,
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match is_of_the_machine(request.uri(), &self.places) {
            true => self.direct.call(request),
            false => self.proxied.call(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_own_services_are_asked_directly() {
        let places = ["127.0.0.1:4567".to_owned()];
        for url in [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://[fd00:ec2::254]/latest/meta-data/",
            "http://127.0.0.1:4567/latest/meta-data/",
        ] {
            assert!(is_of_the_machine(url, &places), "{url}");
        }
        for url in
            ["https://ec2.eu-central-1.amazonaws.com/", "http://127.0.0.1:5000/", "nothing", "http:///x"]
        {
            assert!(!is_of_the_machine(url, &places), "{url}");
        }
    }
}
