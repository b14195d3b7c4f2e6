//! A directory with a configuration on the local provider, and a look into its cloud.
#![allow(dead_code)]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::command::{self, Output};

/// A configuration in a directory of its own.
pub struct Workspace {
    directory: tempfile::TempDir,
}

impl Workspace {
    /// An empty directory with this configuration.
    pub fn new(configuration: &str) -> Self {
        let workspace = Self { directory: tempfile::tempdir().unwrap() };
        workspace.configure(configuration);
        workspace
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces the configuration.
    pub fn configure(&self, configuration: &str) {
        fs::write(self.path().join("main.replant.hcl"), configuration).unwrap();
    }

    /// A raw image of some MiB with data that depends on `seed`, and holes.
    pub fn raw_image(&self, name: &str, mebibytes: u64, seed: u64) -> PathBuf {
        let path = self.path().join(name);
        let mut file = File::create(&path).unwrap();
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for block in 0..mebibytes {
            if (block + seed).is_multiple_of(3) {
                continue;
            }
            let mut bytes = vec![0u8; 1 << 20];
            for chunk in bytes.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                chunk.copy_from_slice(&state.to_le_bytes());
            }
            file.seek(SeekFrom::Start(block << 20)).unwrap();
            file.write_all(&bytes).unwrap();
        }
        file.set_len(mebibytes << 20).unwrap();
        path
    }

    /// The command, quick delays in its cloud.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command::command(self.path(), arguments);
        command.env("REPLANT_LOCAL_DELAY", "5");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(arguments))
    }

    pub fn apply(&self) -> Output {
        self.run(&["apply", "--auto-approve"])
    }

    pub fn records(&self, kind: &str) -> Vec<Value> {
        let Ok(entries) = fs::read_dir(self.path().join(".replant/cloud").join(kind)) else {
            return Vec::new();
        };
        let mut paths: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        paths.sort();
        paths.iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
    }

    /// Volumes of the cloud that are not being deleted.
    pub fn volumes(&self) -> Vec<Value> {
        let gone = ["deleting", "deleted"];
        self.records("volumes").into_iter().filter(|volume| !gone.contains(&text(volume, "phase"))).collect()
    }

    /// How many volumes are in slots of the access node. (A detachment is settled when
    /// somebody looks after its time: those that have begun do not count.)
    pub fn volumes_in_slots(&self) -> usize {
        let node =
            self.records("instances").into_iter().find(|instance| !instance["request"].is_object()).unwrap();
        let in_slot = |volume: &&Value| {
            volume["attachment"]["instance"] == node["id"]
                && text(&volume["attachment"], "phase") != "detaching"
        };
        self.volumes().iter().filter(in_slot).count()
    }

    /// Instances of the cloud that are not terminated, without the access node.
    pub fn instances(&self) -> Vec<Value> {
        let gone = ["shutting-down", "shutting_down", "terminated"];
        self.records("instances")
            .into_iter()
            .filter(|instance| instance["request"].is_object() && !gone.contains(&text(instance, "phase")))
            .collect()
    }

    /// The file of a volume of the state.
    pub fn volume_file(&self, address: &str) -> PathBuf {
        let state = self.state();
        let id =
            state["resources"][address]["id"].as_str().unwrap_or_else(|| panic!("{address} in {state:#}"));
        self.path().join(".replant/cloud/volumes").join(format!("{id}.raw"))
    }

    pub fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path().join("replant.state.json")).unwrap()).unwrap()
    }

    /// Fails the test unless the volume holds the image and nothing behind it.
    #[track_caller]
    pub fn assert_holds(&self, address: &str, image: &Path) {
        let volume = self.volume_file(address);
        let size = fs::metadata(image).unwrap().len();
        let output =
            Command::new("cmp").args(["-n", &size.to_string()]).arg(image).arg(&volume).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// A text of a record.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
