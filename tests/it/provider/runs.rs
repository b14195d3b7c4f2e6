//! Runs on `local` where somebody else acts at the wrong moment, and where what was just made is not
//! known yet.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replant::apply::Limits;
use replant::model::{AccessNodeSpec, LocalProviderSpec};
use replant::provider::faulty::{Faults, Faulty};
use replant::provider::local::{Delays, LocalProvider, Settings};
use replant::provider::{Provider, VolumeId};

use super::conformance::volume_request;
use crate::support::Workspace;
use crate::support::driver::run;

const CONFIGURATION: &str = "instance \"web\" {\n  image = \"web.raw\"\n  image_format = \"raw\"\n  instance_type = \"m6i.large\"\n  state = \"stopped\"\n  guest { drivers = \"none\" }\n}\n";

fn open(directory: &Path) -> Arc<dyn Provider> {
    let settings = Settings { delays: Delays::all(Duration::from_millis(20)), ..Settings::default() };
    let node =
        AccessNodeSpec { name: "dr".to_owned(), instance_id: "self".to_owned(), max_attachments: None };
    Arc::new(LocalProvider::open_with(&LocalProviderSpec::default(), &node, directory, settings).unwrap())
}

/// Somebody else's calls, from within a call.
fn elsewhere<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> T {
    let own = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(call)
    });
    own.join().unwrap()
}

async fn attached_elsewhere(plain: Arc<dyn Provider>, device: String) -> VolumeId {
    let id = plain.create_volume(&volume_request("local-1a")).await.unwrap().id;
    let node = plain.access_node().await.unwrap().instance_id;
    while let Err(error) = plain.attach_volume(&id, &node, &device).await {
        assert_eq!(error.code, "IncorrectState", "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    id
}

#[test]
fn a_slot_that_somebody_else_takes_first_is_left_for_the_next() {
    let workspace = Workspace::new(CONFIGURATION);
    let image = workspace.raw_image("web.raw", 3, 1);
    let plain = open(workspace.path());
    let taken = Arc::new(Mutex::new(Vec::new()));
    // Twice in the moment before our own attachment.
    let rival = {
        let (plain, taken, left) = (Arc::clone(&plain), Arc::clone(&taken), AtomicU32::new(2));
        Arc::new(move |device: &str| {
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let id = elsewhere(attached_elsewhere(Arc::clone(&plain), device.to_owned()));
                taken.lock().unwrap().push((device.to_owned(), id));
            }
        })
    };
    let faults = Faults { rival: Some(rival), ..Faults::default() };
    let faulty: Arc<dyn Provider> = Arc::new(Faulty::new(Arc::clone(&plain), faults));
    let (_, receipt) = run(workspace.path(), false, Limits::default(), &|_| Arc::clone(&faulty)).unwrap();
    assert!(receipt.complete, "{receipt:#?}");
    workspace.assert_holds("instance.web.volume.root", &image);
    let taken = taken.lock().unwrap();
    let devices: Vec<&str> = taken.iter().map(|(device, _)| device.as_str()).collect();
    assert_eq!(devices, ["xvdf", "xvdg"]);
    // What the other one has there is where it was.
    assert_eq!(workspace.volumes_in_slots(), 2);
}

#[test]
fn what_a_failed_run_has_just_made_is_waited_for_and_not_made_again() {
    let workspace = Workspace::new(CONFIGURATION);
    let image = workspace.raw_image("web.raw", 3, 1);
    let plain = open(workspace.path());
    let faults = Faults { hidden: 6, ..Faults::default() };
    let faulty: Arc<dyn Provider> = Arc::new(Faulty::new(plain, faults));
    let impatient = Limits { volume: Duration::ZERO, instance: Duration::ZERO, ..Limits::default() };
    let (_, receipt) = run(workspace.path(), false, impatient, &|_| Arc::clone(&faulty)).unwrap();
    assert!(!receipt.complete);
    let made: Vec<_> = workspace.volumes().iter().map(|volume| volume["id"].clone()).collect();
    assert!(workspace.path().join("replant.state.journal").exists(), "the next run has to know");
    let (_, receipt) = run(workspace.path(), false, Limits::default(), &|_| Arc::clone(&faulty)).unwrap();
    assert!(receipt.complete, "{receipt:#?}");
    assert!(!workspace.path().join("replant.state.journal").exists());
    let now = workspace.volumes();
    assert_eq!((now.len(), workspace.instances().len()), (1, 1), "a twin: {now:#?}");
    assert!(made.contains(&now[0]["id"]));
    workspace.assert_holds("instance.web.volume.root", &image);
}
