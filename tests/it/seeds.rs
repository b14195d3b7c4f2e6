//! The whole story of a restore (made, changed, destroyed) on a cloud that fails by a seed:
//! throttling, internal errors, lost replies, what is described late or not at all yet. Whatever
//! the seed, it arrives, and makes nothing twice.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use replant::apply::{Limits, NodeOutcome};
use replant::model::{AccessNodeSpec, LocalProviderSpec};
use replant::provider::Provider;
use replant::provider::faulty::{Faults, Faulty};
use replant::provider::local::{Delays, LocalProvider, Settings};

use crate::support::driver::{Outcome, run};
use crate::support::{Workspace, seeds};

/// Runs that may fail before one must arrive without faults.
const TRIES: usize = 6;

/// Data that a seed makes may look like any format.
fn configuration(two: bool, changed: bool) -> String {
    let (tag, size) = if changed { ("changed", 2) } else { ("new", 1) };
    let mut text = format!(
        "instance \"web\" {{\n  instance_type = \"m6i.large\"\n  private_ip = \"10.20.1.15\"\n  state = \"stopped\"\n  guest {{ drivers = \"none\" }}\n  disk \"root\" {{\n    image = \"root.raw\"\n    format = \"raw\"\n    restore_throughput = 500\n  }}\n  disk \"data\" {{\n    image = \"data.raw\"\n    format = \"raw\"\n    size = {size}\n  }}\n  tags = {{ Name = \"{tag}\" }}\n}}\n"
    );
    if two {
        text.push_str(
            "instance \"db\" {\n  image = \"root.raw\"\n  image_format = \"raw\"\n  instance_type = \"m6i.large\"\n  state = \"standby\"\n  guest { drivers = \"none\" }\n}\n",
        );
    }
    text
}

/// Calls in a thousand, and how long the past is described.
fn faults(seed: u64) -> Faults {
    let of = |way: u64, most: u64| u32::try_from((seed / way) % most).unwrap();
    Faults {
        seed,
        throttled: 20 + 40 * of(1, 3),
        unavailable: 40 * of(3, 3),
        lost_replies: 20 + 40 * of(5, 4),
        stale: of(2, 4),
        hidden: of(7, 4),
        ..Faults::default()
    }
}

fn open(workspace: &Workspace, delay: u64) -> Arc<dyn Provider> {
    let delays = Delays::all(Duration::from_millis(delay));
    let spec = LocalProviderSpec::default();
    let node =
        AccessNodeSpec { name: "dr".to_owned(), instance_id: "self".to_owned(), max_attachments: None };
    let settings = Settings { delays, ..Settings::default() };
    Arc::new(LocalProvider::open_with(&spec, &node, workspace.path(), settings).unwrap())
}

/// Why a run did not do everything.
fn why(outcome: &Outcome) -> String {
    match outcome {
        Err(diagnostics) => format!("{diagnostics:?}"),
        Ok((_, receipt)) => {
            let failed =
                receipt.nodes.iter().filter(|node| matches!(node.outcome, NodeOutcome::Failed { .. }));
            failed.map(|node| format!("{}: {:?}\n", node.address, node.outcome)).collect()
        }
    }
}

/// Runs until it arrives; what fails on the way may only be what another run can mend.
fn arrive(workspace: &Workspace, destroy: bool, faulty: &Arc<dyn Provider>, plain: &Arc<dyn Provider>) {
    let limits = Limits::default();
    for _ in 0..TRIES {
        let outcome = run(workspace.path(), destroy, limits, &|_| Arc::clone(faulty));
        if outcome.as_ref().is_ok_and(|(_, receipt)| receipt.complete) {
            break;
        }
        assert!(why(&outcome).contains("provider::unavailable"), "{}", why(&outcome));
    }
    let outcome = run(workspace.path(), destroy, limits, &|_| Arc::clone(plain));
    assert!(outcome.as_ref().is_ok_and(|(_, receipt)| receipt.complete), "{}", why(&outcome));
    let again = run(workspace.path(), destroy, limits, &|_| Arc::clone(plain)).unwrap();
    assert_eq!(again.0, 0, "there is something to do again");
}

fn holds(workspace: &Workspace, address: &str, image: &Path) {
    workspace.assert_holds(address, image);
}

fn story(seed: u64) {
    let two = seed.is_multiple_of(2);
    let workspace = Workspace::new(&configuration(two, false));
    let root = workspace.raw_image("root.raw", 2, seed + 1);
    let data = workspace.raw_image("data.raw", 1, seed + 2);
    let plain = open(&workspace, seed % 3 * 10);
    let faulty: Arc<dyn Provider> = Arc::new(Faulty::new(Arc::clone(&plain), faults(seed)));
    let volumes = if two { 3 } else { 2 };

    for changed in [false, true] {
        workspace.configure(&configuration(two, changed));
        arrive(&workspace, false, &faulty, &plain);
        let counts = (workspace.volumes().len(), workspace.instances().len());
        assert_eq!(counts, (volumes, 1), "{:#?} {:#?}", workspace.volumes(), workspace.instances());
        assert_eq!(workspace.volumes_in_slots(), 0);
        holds(&workspace, "instance.web.volume.root", &root);
        holds(&workspace, "instance.web.volume.data", &data);
        if two {
            holds(&workspace, "instance.db.volume.root", &root);
        }
        for volume in workspace.volumes() {
            assert_eq!((&volume["iops"], &volume["throughput"]), (&3000.into(), &125.into()), "{volume:#}");
        }
    }
    arrive(&workspace, true, &faulty, &plain);
    assert_eq!((workspace.volumes().len(), workspace.instances().len()), (0, 0));
    let manifests = fs::read_dir(workspace.path().join(".replant/manifests"));
    assert_eq!(manifests.map_or(0, Iterator::count), 0, "a manifest of a volume that is gone");
}

#[test]
fn a_restore_arrives_whatever_fails() {
    seeds::each("seeds::a_restore_arrives_whatever_fails", 240, 40, story);
}
