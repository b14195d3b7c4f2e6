//! `replant` with provider "aws": its workspace, and what boto3, the files behind the volumes and
//! the state say afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};

use super::super::ec2::{Cloud, REGION, SECRET};
use crate::support::Workspace;
use crate::support::command::Output;

/// An instance without a guest that is looked into.
pub fn instance(name: &str, more: &str) -> String {
    format!(
        "instance \"{name}\" {{\n  image = \"{name}.raw\"\n  instance_type = \"m6i.large\"\n  guest {{ drivers = \"none\" }}\n  tags = {{ Name = \"{name}\" }}\n{more}\n}}\n"
    )
}

/// A cloud and a workspace in it.
pub struct Restore {
    pub cloud: Arc<Cloud>,
    pub workspace: Workspace,
    /// Of the machine that the tests run on, when it has one.
    metadata: Option<String>,
}

/// What boto3 lists that was not there before the test.
pub struct Listed {
    pub volumes: Vec<Value>,
    /// Those that are not terminated.
    pub instances: Vec<Value>,
    pub snapshots: Vec<Value>,
}

impl Restore {
    pub fn new(settings: Value, provider: &str, instances: &str) -> Self {
        let cloud = Cloud::new(settings);
        let workspace = Workspace::new(&(cloud.blocks(provider) + instances));
        Self { cloud: Arc::new(cloud), workspace, metadata: None }
    }

    /// Another workspace in the same cloud.
    pub fn another(&self) -> Self {
        Self {
            cloud: Arc::clone(&self.cloud),
            workspace: Workspace::new(""),
            metadata: self.metadata.clone(),
        }
    }

    /// With an access node of a Xen type, which is this machine.
    pub fn on_xen(mut settings: Value, provider: &str, instances: &str) -> Self {
        settings["type"] = json!("m4.large");
        let mut restore = Self::new(settings, provider, instances);
        restore.metadata = Some(metadata_service(&restore.cloud.access_node));
        restore
    }

    pub fn configure(&self, provider: &str, instances: &str) {
        self.workspace.configure(&(self.cloud.blocks(provider) + instances));
    }

    /// The same with fewer slots.
    pub fn configure_slots(&self, slots: usize, instances: &str) {
        let own = format!("instance_id = \"{}\"", self.cloud.access_node);
        let block = format!("access_node \"dr\" {{\n  {own}\n  max_attachments = {slots}\n}}");
        let blocks = self.cloud.blocks("").replace(&format!("access_node \"dr\" {{ {own} }}"), &block);
        assert!(blocks.contains("max_attachments"), "{blocks}");
        self.workspace.configure(&(blocks + instances));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.workspace.command(arguments);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("AWS_ACCESS_KEY_ID", &self.cloud.key).env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("HOME", self.workspace.path());
        match &self.metadata {
            Some(url) => command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", url),
            None => command.env("AWS_EC2_METADATA_DISABLED", "true"),
        };
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    pub fn apply(&self) -> Output {
        self.run(&["apply", "--auto-approve"])
    }

    pub fn destroy(&self) -> Output {
        self.run(&["destroy", "--auto-approve"])
    }

    /// Starts a command that says its process id before it does anything.
    fn spawn(&self, arguments: &[&str]) -> (Child, PathBuf) {
        let pid = self.workspace.path().join("pid");
        let wanted = self.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > pid; exec \"$@\"", "sh"]).arg(wanted.get_program());
        command.args(wanted.get_args()).current_dir(self.workspace.path());
        for (name, value) in wanted.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        (command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), pid)
    }

    /// Runs a command that is ended by `kill -9` at its n-th call from now: before the call has an
    /// effect, or after it and before its reply. Whether it lived as long as that.
    pub fn killed_at(&self, arguments: &[&str], call: usize, after: bool) -> bool {
        let pid = self.workspace.path().join("pid");
        self.cloud.set(&json!({ "kill": { "at": call, "after": after, "pid": pid } }));
        let (mut child, _) = self.spawn(arguments);
        let ended = child.wait().unwrap();
        self.cloud.set(&json!({}));
        ended.code().is_none()
    }

    /// What boto3 lists: volumes and instances that were not there before.
    pub fn listed(&self) -> Listed {
        let mut listed = witness(&self.cloud.key);
        let gone = ["terminated", "shutting-down"];
        let mut all = |kind: &str, name: &str| -> Vec<Value> {
            let Value::Array(all) = listed[kind].take() else { panic!("{listed}") };
            let is_new = |value: &Value| {
                let id = value[name].as_str().unwrap();
                id != self.cloud.access_node && !self.cloud.volumes.iter().any(|volume| volume == id)
            };
            all.into_iter().filter(is_new).collect()
        };
        let mut instances = all("instances", "InstanceId");
        instances.retain(|instance| !gone.contains(&instance["State"]["Name"].as_str().unwrap()));
        let mut volumes = all("volumes", "VolumeId");
        volumes.retain(|volume| volume["State"] != "deleting");
        // moto's Amazon owns what is there before.
        let snapshots = all("snapshots", "SnapshotId");
        Listed { volumes, instances, snapshots }
    }

    pub fn volume(&self, address: &str) -> String {
        let state = self.workspace.state();
        state["resources"][address]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{address} in {state:#}"))
            .to_owned()
    }

    /// Fails the test unless the volume holds the image, and zeros behind it.
    #[track_caller]
    pub fn assert_holds(&self, address: &str, image: &Path) {
        let volume = self.cloud.content(&self.volume(address));
        assert_holds(address, &volume, image);
    }

    /// No volume is left on the access node but its own.
    #[track_caller]
    pub fn assert_no_slot_is_taken(&self) {
        let left: Vec<_> = fs::read_dir(self.cloud.devices()).unwrap().map(|entry| entry.unwrap()).collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Nothing of the restore is left: no volume, instance, snapshot, device, and no content.
    #[track_caller]
    pub fn assert_nothing_is_left(&self, when: &str) {
        let Listed { volumes, instances, snapshots } = self.listed();
        let counts = (volumes.len(), instances.len(), snapshots.len());
        assert_eq!(counts, (0, 0, 0), "{when}: {volumes:#?} {instances:#?}");
        self.assert_no_slot_is_taken();
        let contents = fs::read_dir(self.cloud.content("any").parent().unwrap()).unwrap();
        let left: Vec<_> = contents.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{when}: {left:?}");
    }

    /// The most volumes that were in slots of the access node at once.
    pub fn most_slots(&self) -> usize {
        let (mut held, mut most) = (BTreeSet::new(), 0);
        for call in self.cloud.calls() {
            let params = &call["params"];
            if params["InstanceId"] == self.cloud.access_node.as_str() && call["status"] == 200 {
                let volume = params["VolumeId"].to_string();
                match call["action"].as_str().unwrap() {
                    "AttachVolume" => held.insert(volume),
                    "DetachVolume" => held.remove(&volume),
                    _ => false,
                };
            }
            most = most.max(held.len());
        }
        assert!(held.is_empty(), "{held:?} was not detached");
        most
    }
}

/// Fails the test unless a file holds an image, and zeros behind it.
#[track_caller]
pub fn assert_holds(what: &str, volume: &Path, image: &Path) {
    let size = fs::metadata(image).unwrap().len();
    let output = Command::new("cmp").args(["-n", &size.to_string()]).arg(image).arg(volume).output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stdout));
    let mut file = File::open(volume).unwrap();
    let mut at = size;
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        file.seek(SeekFrom::Start(data)).unwrap();
        let mut bytes = Vec::new();
        (&file).take(end - data).read_to_end(&mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0), "{what}: something is written behind the image");
        at = end;
    }
}

/// The user's tags of what boto3 lists, and that ours are there.
#[track_caller]
pub fn tags(resource: &Value) -> BTreeMap<String, String> {
    let mut tags: BTreeMap<String, String> = resource["Tags"]
        .as_array()
        .unwrap_or_else(|| panic!("no tags: {resource:#}"))
        .iter()
        .map(|tag| (tag["Key"].as_str().unwrap().to_owned(), tag["Value"].as_str().unwrap().to_owned()))
        .collect();
    for ours in ["replant:workspace", "replant:address", "replant:token"] {
        assert!(tags.remove(ours).is_some(), "{ours} in {resource:#}");
    }
    tags.remove("replant:launched");
    tags
}

/// Device name → volume and whether it ends with the instance.
pub fn mapped(instance: &Value) -> BTreeMap<String, (String, bool)> {
    let mappings = instance["BlockDeviceMappings"].as_array().unwrap().iter();
    let one = |mapping: &Value| {
        let ebs = &mapping["Ebs"];
        (
            mapping["DeviceName"].as_str().unwrap().to_owned(),
            (ebs["VolumeId"].as_str().unwrap().to_owned(), ebs["DeleteOnTermination"].as_bool().unwrap()),
        )
    };
    mappings.map(one).collect()
}

type Question = (Value, Sender<String>);

/// Asks boto3: one process answers all tests.
pub fn witness(key: &str) -> Value {
    static ASKED: OnceLock<Mutex<Sender<Question>>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let (send, receive) = channel::<Question>();
        // A child with a death signal dies with the thread that started it: not a test's.
        std::thread::spawn(move || {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let mut child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .arg(root.join("target/python/bin/python"))
                .arg(root.join("tests/ec2/witness.py"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("boto3 (tests/python makes it)");
            let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut questions = child.stdin.take().unwrap();
            for (question, to) in receive {
                writeln!(questions, "{question}").unwrap();
                let _ = to.send(answers.next().expect("boto3 answers").unwrap());
            }
            child.wait()
        });
        Mutex::new(send)
    });
    let (send, receive) = channel();
    let question = json!({ "url": Cloud::url(), "region": REGION, "key": key, "secret": SECRET });
    asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).send((question, send)).unwrap();
    serde_json::from_str(&receive.recv().unwrap()).unwrap()
}

/// A metadata service of version 2 that says this machine is an instance.
pub fn metadata_service(instance: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let instance = instance.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !text.windows(4).any(|end| end == b"\r\n\r\n") {
                let got = stream.read(&mut buffer).unwrap_or(0);
                if got == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..got]);
            }
            let text = String::from_utf8_lossy(&text).to_lowercase();
            let (status, body) = if text.starts_with("put /latest/api/token") {
                ("200 OK", "the-token")
            } else if !text.contains("x-aws-ec2-metadata-token: the-token") {
                // Version 1 is switched off.
                ("401 Unauthorized", "")
            } else if text.starts_with("get /latest/meta-data/instance-id") {
                ("200 OK", instance.as_str())
            } else {
                ("404 Not Found", "")
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}
