//! moto's EC2 with what it leaves out (tests/ec2), and the clouds in it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

pub const REGION: &str = "eu-central-1";
pub const SECRET: &str = "tests-own-secret";

/// The URL of the server that all tests share.
fn server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        // A child with a death signal dies with the thread that started it: not a test's.
        std::thread::spawn(move || {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(root.join("target/python/bin/python"))
                .arg(root.join("tests/ec2/server.py"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .stdout(Stdio::piped())
                .spawn()
                .expect("moto (tests/python makes it)");
            for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
                // Whoever waited has it from the first line.
                let _ = send.send(line);
            }
            child.wait()
        });
        receive.recv().expect("the server says its URL")
    })
}

/// A cloud of its own.
pub struct Cloud {
    pub key: String,
    pub access_node: String,
    /// What was there before the test.
    pub volumes: Vec<String>,
    directory: tempfile::TempDir,
    subnets: Value,
    vpcs: Value,
}

impl Cloud {
    /// A cloud with these settings (see tests/ec2/server.py) and an access node whose devices are
    /// files.
    pub fn new(mut settings: Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let key = format!("AKIATEST{:08}", NEXT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        settings["devices"] = json!(directory.path());
        let made = put(&key, &settings);
        let ids = made["volumes"].as_array().unwrap();
        Self {
            key,
            access_node: made["access_node"].as_str().unwrap().to_owned(),
            volumes: ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect(),
            directory,
            subnets: made["subnets"].clone(),
            vpcs: made["vpcs"].clone(),
        }
    }

    pub fn url() -> &'static str {
        server()
    }

    /// Changes settings.
    pub fn set(&self, settings: &Value) {
        put(&self.key, settings);
    }

    /// One of moto's own calls, past all rules: what somebody else does in this account. Its answer
    /// as XML.
    pub fn elsewhere(&self, action: &str, params: &Value) -> String {
        let url = format!("{}/_cloud/{}", server(), self.key);
        let body = json!({ "action": action, "params": params }).to_string();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "-X", "POST", "--data-binary", &body, &url]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// EC2's calls so far, but for those that were only tried.
    pub fn calls(&self) -> Vec<Value> {
        let mut calls = self.all_calls();
        calls.retain(|call| call["params"]["DryRun"] != "true" && call.get("service").is_none());
        calls
    }

    /// All calls so far, tried ones and those of other services too.
    pub fn all_calls(&self) -> Vec<Value> {
        match ask(&self.key, None) {
            Value::Array(calls) => calls,
            other => panic!("{other}"),
        }
    }

    /// The parameters of every call of that action.
    pub fn parameters(&self, action: &str) -> Vec<Value> {
        self.calls()
            .into_iter()
            .filter(|call| call["action"] == action)
            .map(|call| call["params"].clone())
            .collect()
    }

    pub fn subnet(&self, zone: &str) -> &str {
        self.subnets[zone][0].as_str().unwrap()
    }

    /// The VPC of a zone's subnet.
    pub fn vpc(&self, zone: &str) -> &str {
        self.vpcs[self.subnet(zone)].as_str().unwrap()
    }

    /// An address of a zone's subnet, counted from its first.
    pub fn address(&self, zone: &str, number: u32) -> std::net::Ipv4Addr {
        let network = self.subnets[zone][1].as_str().unwrap().split('/').next().unwrap();
        let first: std::net::Ipv4Addr = network.parse().unwrap();
        std::net::Ipv4Addr::from(u32::from(first) + number)
    }

    pub fn devices(&self) -> PathBuf {
        self.directory.path().join("dev")
    }

    pub fn sysfs(&self) -> PathBuf {
        self.directory.path().join("sys")
    }

    pub fn udev(&self) -> PathBuf {
        self.directory.path().join("udev")
    }

    /// The content of a volume that is in no slot.
    pub fn content(&self, volume: &str) -> PathBuf {
        self.directory.path().join("volumes").join(format!("{volume}.raw"))
    }

    /// What a configuration's provider and access node are.
    pub fn blocks(&self, more: &str) -> String {
        format!(
            "provider \"aws\" {{\n  region = \"{REGION}\"\n  endpoint_url = \"{}\"\n  device_directory = {:?}\n  sysfs_directory = {:?}\n  udev_directory = {:?}\n{more}\n}}\n\naccess_node \"dr\" {{ instance_id = \"{}\" }}\n",
            server(),
            self.devices(),
            self.sysfs(),
            self.udev(),
            self.access_node
        )
    }
}

fn put(key: &str, settings: &Value) -> Value {
    ask(key, Some(settings))
}

fn ask(key: &str, settings: Option<&Value>) -> Value {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail"]);
    if let Some(settings) = settings {
        command.args(["-X", "PUT", "--data-binary", &settings.to_string()]);
    }
    let output = command.arg(format!("{}/_cloud/{key}", server())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
