//! What is said where AWS cannot be asked at all: no network, no credentials, no EC2 instance.

use std::net::TcpListener;
use std::time::Duration;

use crate::support::{Output, Workspace};

const NODE: &str = "access_node \"dr\" { instance_id = \"i-0123456789abcdef0\" }";
const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret")];

/// Plans, with this environment beside an empty one.
fn run(configuration: &str, environment: &[(&str, &str)]) -> Output {
    let workspace = Workspace::new(configuration);
    workspace.raw_image("web.raw", 3, 1);
    let mut command = workspace.command(&["plan"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", workspace.path()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(environment.iter().copied());
    Output::of(command).code(1)
}

/// A plan with two data sources on a cloud at this endpoint.
fn plan(endpoint: &str, environment: &[(&str, &str)]) -> Output {
    let configuration = format!(
        r#"provider "aws" {{
  region       = "eu-central-1"
  endpoint_url = "{endpoint}"
  max_attempts = 2
}}
{NODE}
data "subnet" "one" {{ id = "subnet-0123456789abcdef0" }}
data "subnet" "other" {{ id = "subnet-0123456789abcdef1" }}
instance "web" {{
  image         = "web.raw"
  instance_type = "m6i.large"
  subnet_id     = data.subnet.one.id
  tags          = {{ Other = data.subnet.other.id }}
}}
"#
    );
    run(&configuration, environment)
}

/// A plan without data sources, at the usual endpoint.
fn plan_without_data(access_node: &str, environment: &[(&str, &str)]) -> Output {
    let configuration = format!(
        r#"provider "aws" {{ region = "eu-central-1" }}
{access_node}
instance "web" {{
  image         = "web.raw"
  instance_type = "m6i.large"
}}
"#
    );
    run(&configuration, environment)
}

/// All that was said, without the breaks of its lines.
fn words(output: &Output) -> String {
    output.stderr.replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The URL of a server that listens, with its socket.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

#[test]
fn an_endpoint_that_does_not_answer_is_named_once_with_region_and_cause() {
    // A port that nobody listens on any more.
    let (gone, endpoint) = listener();
    drop(gone);
    let refused = plan(&endpoint, KEYS);
    let said = words(&refused);
    let expected = format!("EC2 in eu-central-1 cannot be reached at {endpoint} (tried 2 times)");
    assert_eq!(said.matches(&expected).count(), 1, "{}", refused.both());
    assert!(said.to_lowercase().contains("connection refused"), "{}", refused.both());
    assert!(said.contains("main.replant.hcl:"), "{}", refused.both());
    for inside in ["DescribeSubnets:", "Connection:", "dispatch failure"] {
        assert!(!said.contains(inside), "{inside}: {}", refused.both());
    }
}

#[test]
fn a_server_that_says_nothing_is_waited_for_aloud() {
    let (silent, endpoint) = listener();
    // Each connection is held for some seconds, and then closed without an answer.
    std::thread::spawn(move || {
        for connection in silent.incoming() {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(6));
                drop(connection);
            });
        }
    });
    let given_up = plan(&endpoint, KEYS);
    let said = &given_up.stderr;
    assert!(said.contains("Waiting for EC2 in eu-central-1, try 1 of 2 ("), "{}", given_up.both());
}

#[test]
fn no_credentials_are_said_to_be_none_and_once() {
    let expected = "no credentials were found in the environment, a profile or an instance role";
    let refused = plan("http://127.0.0.1:9", &[]);
    let said = words(&refused);
    assert_eq!(said.matches(expected).count(), 1, "{}", refused.both());
    assert!(!said.contains("Connect:") && !said.contains("CredentialsMissing"), "{}", refused.both());
    let said = words(&plan_without_data(NODE, &[]));
    assert!(
        said.contains("error[provider::no_credentials]: There are no AWS credentials to work with"),
        "{said}"
    );
    assert!(said.contains(expected) && said.contains("main.replant.hcl:1:"), "{said}");
}

#[test]
fn a_machine_that_is_no_instance_is_not_unauthorised() {
    let said = words(&plan_without_data("", KEYS));
    assert!(said.contains("error[provider::not_an_instance]: This machine is no EC2 instance"), "{said}");
    assert!(said.contains("main.replant.hcl:1:"), "{said}");
    assert!(!said.contains("Connect:") && !said.contains("is set, and"), "{said}");
}
