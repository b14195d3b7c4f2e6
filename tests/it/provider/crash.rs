//! `kill -9` of a process in the middle of its calls leaves a cloud that the next one puts right.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use replant::model::{ClientToken, VolumeType};
use replant::provider::local::{Delays, LocalProvider, Settings};
use replant::provider::{CreateVolume, Filter, InstanceState, Provider, RunInstance, TagMap};
use tempfile::TempDir;

use super::conformance::{run, run_request, volume_request};
use super::local::{access_node, spec};

/// Names the cloud to the process that will be killed.
const VICTIM: &str = "PROVIDER_TEST_VICTIM";
const TURNS: u64 = 25;

fn open(base: &Path) -> LocalProvider {
    let settings = Settings { delays: Delays::all(Duration::ZERO), ..Settings::default() };
    LocalProvider::open_with(&spec(), &access_node(), base, settings).unwrap()
}

fn volume(turn: u64, step: u64) -> CreateVolume {
    CreateVolume {
        token: ClientToken(format!("volume-{turn}-{step}")),
        volume_type: VolumeType::Gp2,
        tags: TagMap::from([("turn".to_owned(), turn.to_string())]),
        ..volume_request("local-1a")
    }
}

fn instance(turn: u64, step: u64) -> RunInstance {
    RunInstance {
        token: ClientToken(format!("instance-{turn}-{step}")),
        tags: TagMap::from([("turn".to_owned(), turn.to_string())]),
        ..run_request("local-1a")
    }
}

/// One round of changes, as `apply` and `destroy` would make them.
async fn work(provider: &LocalProvider, turn: u64, step: u64) {
    let node = provider.access_node().await.unwrap().instance_id;
    let made = provider.create_volume(&volume(turn, step)).await.unwrap();
    let launched = provider.run_instance(&instance(turn, step)).await.unwrap();
    provider.attach_volume(&made.id, &node, "xvdf").await.unwrap();
    provider.detach_volume(&made.id, &node).await.unwrap();
    provider.attach_volume(&made.id, &launched.id, "/dev/sdf").await.unwrap();
    provider.terminate_instance(&launched.id).await.unwrap();
    provider.instances(&Filter::id(&launched.id)).await.unwrap();
    provider.delete_volume(&made.id).await.unwrap();
}

/// No test: what the other one starts and kills.
#[test]
fn the_victim() {
    let Some(base) = std::env::var_os(VICTIM) else { return };
    let turn: u64 = std::env::var("PROVIDER_TEST_TURN").unwrap().parse().unwrap();
    run(async {
        let provider = open(Path::new(&base));
        for step in 0.. {
            work(&provider, turn, step).await;
        }
    });
}

#[test]
fn killed_at_any_moment_the_cloud_is_whole() {
    let base = TempDir::new().unwrap();
    for turn in 0..TURNS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "provider::crash::the_victim", "--nocapture"])
            .env(VICTIM, base.path())
            .env("PROVIDER_TEST_TURN", turn.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Moments that have nothing to do with how long a call takes.
        std::thread::sleep(Duration::from_micros(15_000 + turn * 7919 % 60_000));
        assert!(victim.try_wait().unwrap().is_none(), "the victim ended by itself");
        victim.kill().unwrap();
        victim.wait().unwrap();
        run(check(base.path(), turn));
    }
}

async fn check(base: &Path, turn: u64) {
    let provider = open(base);
    let cloud = base.join("cloud");
    for directory in ["", "volumes", "instances", "snapshots", "tokens", "addresses"] {
        for entry in fs::read_dir(cloud.join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with(".new-"), "{directory}/{name} was left");
            if let Some(id) = name.strip_suffix(".raw") {
                assert!(cloud.join(directory).join(format!("{id}.json")).exists(), "{name} has no record");
            }
        }
    }
    let node = provider.access_node().await.unwrap();
    let tag = Filter::tag("turn", turn);
    let instances = provider.instances(&tag).await.unwrap();
    let live: BTreeSet<_> = instances
        .iter()
        .filter(|instance| instance.state != InstanceState::Terminated)
        .map(|instance| instance.id.clone())
        .collect();
    // One at a time was made: a second one would be a twin.
    assert!(live.len() <= 1, "turn {turn}: {live:?}");
    let volumes = provider.volumes(&tag).await.unwrap();
    assert!(volumes.len() <= 2, "turn {turn}: {volumes:#?}");
    for volume in &volumes {
        assert!(cloud.join(format!("volumes/{}.raw", volume.id)).exists(), "{} lost its file", volume.id);
        if let Some(attachment) = &volume.attachment {
            assert!(attachment.instance_id == node.instance_id || live.contains(&attachment.instance_id));
        }
    }
    for instance in instances.iter().filter(|instance| live.contains(&instance.id)) {
        assert!(instance.volumes.contains_key(&instance.root_device), "{} has no root", instance.id);
    }
    // The next process finishes what is there, by the same tokens, and leaves nothing.
    for instance in live {
        provider.terminate_instance(&instance).await.unwrap();
        provider.instances(&Filter::id(&instance)).await.unwrap();
    }
    for volume in provider.volumes(&tag).await.unwrap() {
        if let Some(attachment) = &volume.attachment {
            provider.detach_volume(&volume.id, &attachment.instance_id).await.unwrap();
        }
        provider.delete_volume(&volume.id).await.unwrap();
    }
    assert!(provider.volumes(&tag).await.unwrap().is_empty());
    let raw = fs::read_dir(cloud.join("volumes")).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "raw")
    });
    assert_eq!(raw.count(), 0);
    assert_eq!(provider.access_node().await.unwrap().free_slots.len(), 21);
}
