//! `kill -9` of a process in the middle of its calls leaves a cloud that the next one puts right.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use replant::model::{ClientToken, VolumeType};
use replant::provider::local::{Delays, LocalProvider, Settings};
use replant::provider::{
    CreateVolume, Filter, InstanceState, ModifyInstance, Provider, RegisterImage, RunInstance, TagMap,
    VolumeView,
};
use tempfile::TempDir;

use super::conformance::{run, run_request, until, volume_request};
use super::images::{image_request, snapshot_request};
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
    by_image(provider, &made, turn, step).await;
    provider.delete_volume(&made.id).await.unwrap();
}

/// A snapshot, and an image of it.
async fn by_image(provider: &LocalProvider, made: &VolumeView, turn: u64, step: u64) {
    let tags = TagMap::from([("turn".to_owned(), turn.to_string())]);
    let token = ClientToken(format!("snapshot-{turn}-{step}"));
    let taken = provider.create_snapshot(&snapshot_request(made, token, tags.clone())).await.unwrap();
    let request = RegisterImage { tags, ..image_request(&format!("image-{turn}-{step}"), &[&taken.id]) };
    let image = provider.register_image(&request).await.unwrap();
    provider.deregister_image(&image.id).await.unwrap();
    provider.delete_snapshot(&taken.id).await.unwrap();
}

/// Starts a QEMU on an empty disk, and ends it.
async fn start_and_end(provider: &LocalProvider, turn: u64, step: u64) {
    let made = provider.create_volume(&volume(turn, step)).await.unwrap();
    let launched = provider.run_instance(&instance(turn, step)).await.unwrap();
    provider.stop_instance(&launched.id).await.unwrap();
    provider.detach_volume(&launched.volumes[&launched.root_device], &launched.id).await.unwrap();
    provider.attach_volume(&made.id, &launched.id, &launched.root_device).await.unwrap();
    let dies = [(launched.root_device.clone(), true)].into();
    let change = ModifyInstance { delete_on_termination: dies, ..ModifyInstance::default() };
    provider.modify_instance(&launched.id, &change).await.unwrap();
    provider.start_instance(&launched.id).await.unwrap();
    provider.terminate_instance(&launched.id).await.unwrap();
    provider.instances(&Filter::id(&launched.id)).await.unwrap();
    start_from_an_image(provider, turn, step).await;
}

/// Starts a QEMU from an image of an empty disk, and ends it.
async fn start_from_an_image(provider: &LocalProvider, turn: u64, step: u64) {
    let empty = CreateVolume { token: ClientToken(format!("empty-{turn}-{step}")), ..volume(turn, step) };
    let made = provider.create_volume(&empty).await.unwrap();
    let tags = TagMap::from([("turn".to_owned(), turn.to_string())]);
    let token = ClientToken(format!("snapshot-{turn}-{step}"));
    let taken = provider.create_snapshot(&snapshot_request(&made, token, tags)).await.unwrap();
    let image = image_request(&format!("image-{turn}-{step}"), &[&taken.id]);
    let image = provider.register_image(&image).await.unwrap();
    let request = RunInstance {
        token: ClientToken(format!("from-image-{turn}-{step}")),
        image_id: Some(image.id.clone()),
        ..instance(turn, step)
    };
    let launched = provider.run_instance(&request).await.unwrap();
    provider.terminate_instance(&launched.id).await.unwrap();
    provider.instances(&Filter::id(&launched.id)).await.unwrap();
}

/// No test: what the others start and kill.
#[test]
fn the_victim() {
    let Some(base) = std::env::var_os(VICTIM) else { return };
    let turn: u64 = std::env::var("PROVIDER_TEST_TURN").unwrap().parse().unwrap();
    run(async {
        let provider = open(Path::new(&base));
        let starts = std::env::var_os("PROVIDER_TEST_STARTS").is_some();
        for step in 0.. {
            if starts {
                start_and_end(&provider, turn, step).await;
            } else {
                work(&provider, turn, step).await;
            }
        }
    });
}

/// Starts the victim and kills it after a while.
fn kill_after(base: &Path, turn: u64, starts: bool, time: Duration) {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim
        .args(["--exact", "provider::crash::the_victim", "--nocapture"])
        .env(VICTIM, base)
        .env("PROVIDER_TEST_TURN", turn.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if starts {
        victim.env("PROVIDER_TEST_STARTS", "1");
    }
    let mut victim = victim.spawn().unwrap();
    std::thread::sleep(time);
    assert!(victim.try_wait().unwrap().is_none(), "the victim ended by itself");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn killed_at_any_moment_the_cloud_is_whole() {
    let base = TempDir::new().unwrap();
    for turn in 0..TURNS {
        // Moments that have nothing to do with how long a call takes.
        let time = Duration::from_micros(15_000 + turn * 7919 % 60_000);
        kill_after(base.path(), turn, false, time);
        run(check(base.path(), turn));
    }
}

#[test]
fn killed_while_it_starts_a_machine_it_leaves_one_or_none() {
    let cloud = super::boot::cloud();
    let base = cloud.base.path();
    for turn in 0..8 {
        let time = Duration::from_micros(60_000 + turn * 79_190 % 500_000);
        kill_after(base, turn, true, time);
        run(async {
            let provider = open(base);
            let tag = Filter::tag("turn", turn);
            until("a settled cloud", Duration::from_secs(60), || async {
                let instances = provider.instances(&tag).await.unwrap();
                let settled = instances.iter().all(|one| {
                    matches!(
                        one.state,
                        InstanceState::Running | InstanceState::Stopped | InstanceState::Terminated
                    )
                });
                settled.then_some(())
            })
            .await;
            // A QEMU that was being started when its parent died may still be on its way.
            let live: Vec<_> = provider
                .instances(&tag)
                .await
                .unwrap()
                .into_iter()
                .filter(|instance| instance.state != InstanceState::Terminated)
                .collect();
            assert!(live.len() <= 1 && cloud.processes().len() <= 1, "turn {turn}: {live:#?}");
            for instance in &live {
                provider.terminate_instance(&instance.id).await.unwrap();
                let ended = || async {
                    let found = provider.instances(&Filter::id(&instance.id)).await.unwrap();
                    (found[0].state == InstanceState::Terminated).then_some(())
                };
                until("its end", Duration::from_secs(60), ended).await;
            }
            assert_eq!(cloud.processes(), [0; 0], "turn {turn} left a QEMU");
        });
    }
}

async fn check(base: &Path, turn: u64) {
    let provider = open(base);
    let cloud = base.join("cloud");
    for directory in ["", "volumes", "instances", "snapshots", "images", "tokens", "addresses"] {
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
    let (images, snapshots) = (provider.images(&tag).await.unwrap(), provider.snapshots(&tag).await.unwrap());
    assert!(images.len() <= 1 && snapshots.len() <= 1, "turn {turn}: {images:?} {snapshots:?}");
    for image in images {
        assert_eq!(image.snapshots.iter().next(), snapshots.first().map(|snapshot| &snapshot.id));
        provider.deregister_image(&image.id).await.unwrap();
    }
    for snapshot in snapshots {
        provider.delete_snapshot(&snapshot.id).await.unwrap();
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
