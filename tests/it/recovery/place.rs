//! Where the stories of lost states take place: `local`, and EC2 as moto imitates it.

use std::fs;

use serde_json::Value;

use crate::support::Workspace;
use crate::support::booting::{self, Machines};
use crate::support::command::Output;
use crate::support::workspace::text;

/// A workspace on a provider, and a look into its cloud.
pub trait Place: Sized {
    /// An empty workspace in a cloud of its own.
    fn new() -> Self;
    /// Another workspace in the same cloud.
    fn beside(&self) -> Self;
    fn workspace(&self) -> &Workspace;
    fn run(&self, arguments: &[&str]) -> Output;
    /// Replaces the configuration: the provider's blocks and this.
    fn configure(&self, instances: &str);
    /// Volumes and instances that exist.
    fn left(&self) -> (usize, usize);
    /// IOPS and throughput of a volume.
    fn performance(&self, address: &str) -> (u64, u64);
    /// An address that an instance may have.
    fn address(&self, number: u8) -> String;
    /// An image that a machine comes up from; other content for other words.
    fn bootable(&self, name: &str, says: &str);

    fn apply(&self) -> Output {
        self.run(&["apply", "--auto-approve"])
    }

    fn state(&self) -> Value {
        self.workspace().state()
    }

    fn id(&self, address: &str) -> String {
        text(&self.state()["resources"][address], "id").to_owned()
    }

    fn lose_the_state(&self) {
        for name in ["replant.state.json", "replant.state.json.backup", "replant.state.journal"] {
            let _ = fs::remove_file(self.workspace().path().join(name));
        }
    }
}

/// One machine that starts.
pub fn running(more: &str) -> String {
    format!(
        "instance \"web\" {{\n  image = \"web.raw\"\n  instance_type = \"m6i.large\"\n  guest {{ drivers = \"none\" }}\n{more}\n}}\n"
    )
}

pub struct Local {
    machines: Machines,
    cloud: std::path::PathBuf,
}

impl Place for Local {
    fn new() -> Self {
        let workspace = Workspace::new("");
        let cloud = workspace.path().join(".replant/cloud");
        Self { machines: Machines(workspace), cloud }
    }

    fn beside(&self) -> Self {
        Self { machines: Machines(Workspace::new("")), cloud: self.cloud.clone() }
    }

    fn workspace(&self) -> &Workspace {
        &self.machines.0
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.workspace().run(arguments)
    }

    fn configure(&self, instances: &str) {
        self.workspace().configure(&format!(
            "provider \"local\" {{\n  directory = {:?}\n  accelerator = \"tcg\"\n  memory = 128\n  boot_timeout = 60\n}}\n{instances}",
            self.cloud
        ));
    }

    fn left(&self) -> (usize, usize) {
        (self.workspace().volumes().len(), self.workspace().instances().len())
    }

    fn performance(&self, address: &str) -> (u64, u64) {
        let id = self.id(address);
        let volumes = self.workspace().volumes();
        let volume = volumes.iter().find(|volume| volume["id"] == id.as_str()).unwrap();
        (volume["iops"].as_u64().unwrap(), volume["throughput"].as_u64().unwrap())
    }

    fn address(&self, number: u8) -> String {
        format!("10.20.1.{number}")
    }

    fn bootable(&self, name: &str, says: &str) {
        booting::bootable(self.workspace(), name, says);
    }
}

#[cfg(feature = "aws")]
pub type Ec2 = crate::provider::Restore;

#[cfg(feature = "aws")]
impl Place for Ec2 {
    fn new() -> Self {
        Self::new(serde_json::json!({ "delay": 0.02 }), "", "")
    }

    fn beside(&self) -> Self {
        self.another()
    }

    fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run(arguments)
    }

    fn configure(&self, instances: &str) {
        self.configure("", instances);
    }

    fn left(&self) -> (usize, usize) {
        let listed = self.listed();
        (listed.volumes.len(), listed.instances.len())
    }

    fn performance(&self, address: &str) -> (u64, u64) {
        let (id, listed) = (self.id(address), self.listed());
        let volume = listed.volumes.iter().find(|volume| volume["VolumeId"] == id.as_str()).unwrap();
        (volume["Iops"].as_u64().unwrap(), volume["Throughput"].as_u64().unwrap())
    }

    fn address(&self, number: u8) -> String {
        self.cloud.address(&format!("{}a", crate::provider::REGION), number.into()).to_string()
    }

    fn bootable(&self, name: &str, says: &str) {
        let seed = says.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
        self.workspace.raw_image(name, 2, seed);
    }
}

/// A story for each place.
macro_rules! stories {
    ($($story:ident)*) => {
        mod on_local {
            $(#[test] fn $story() { super::$story::<super::place::Local>(); })*
        }
        #[cfg(feature = "aws")]
        mod on_ec2 {
            $(#[test] fn $story() { super::$story::<super::place::Ec2>(); })*
        }
    };
}
pub(crate) use stories;
