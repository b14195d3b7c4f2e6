//! Frozen files of every version of the stored formats are read for ever.

use std::fs;
use std::path::{Path, PathBuf};

use replant::state::{Paths, Resource, Store, VolumeResource};
use replant::ui::human::state::render_resource;

use super::sample::{Open, address, create_volume, instance, open, populate, volume};

fn frozen() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/v1")
}

/// Files of version 1, written once when it was made. They are never written again: what reads
/// them must stay.
#[test]
fn version_1_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::in_directory(directory.path());
    fs::copy(frozen().join("replant.state.json"), &paths.state).unwrap();
    let state = Store::read(&paths).unwrap();
    assert_eq!((state.serial, state.resources.len()), (1, 1));
    assert_eq!(state.resources[&address("instance.web.volume.root")], volume(1));

    fs::copy(frozen().join("replant.state.journal"), &paths.journal).unwrap();
    let state = Store::read(&paths).unwrap();
    assert_eq!((state.serial, state.resources.len(), state.outputs.len()), (1, 3, 2));
    assert_eq!(state.resources[&address("instance.web")], instance(1));
    let Open { store, .. } = open(directory.path());
    assert_eq!(store.pending().len(), 1);
    assert_eq!(store.pending()[0].operation, create_volume(4));
    store.commit().unwrap();
    assert_eq!(Store::read(&paths).unwrap().serial, 2);
}

#[test]
fn every_operation_of_version_1_is_read() {
    let text = fs::read_to_string(frozen().join("operations.json")).unwrap();
    let operations: Vec<replant::state::Operation> = serde_json::from_str(&text).unwrap();
    assert_eq!(operations.len(), 15);
    let again = serde_json::to_value(&operations).unwrap();
    assert_eq!(again, serde_json::from_str::<serde_json::Value>(&text).unwrap());
}

/// Makes the frozen files of a version, once: `cargo test --test it state::format::freeze -- --ignored`
/// with REPLANT_TEST_FREEZE set to the directory.
#[test]
#[ignore = "makes the frozen files of a new version"]
fn freeze() {
    let Some(target) = std::env::var_os("REPLANT_TEST_FREEZE") else { return };
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    fs::create_dir_all(&target).unwrap();
    for path in [&paths.state, &paths.journal] {
        fs::copy(path, Path::new(&target).join(path.file_name().unwrap())).unwrap();
    }
}

/// `written` is true from the first byte on: a person is told what is on the volume.
#[test]
fn a_volume_whose_write_has_not_ended_is_not_shown_as_written() {
    let Resource::Volume(mut volume) = volume(1) else { unreachable!() };
    let at = address("instance.web.volume.root");
    let shown = |volume: &VolumeResource| render_resource(&at, &Resource::Volume(Box::new(volume.clone())));
    (volume.written, volume.started) = (true, false);
    let whole = shown(&volume);
    assert!(whole.contains("finished_at") && !whole.contains("incomplete"), "{whole}");
    volume.write = None;
    let begun = shown(&volume);
    assert!(begun.contains("\"incomplete: its write began and has not ended\""), "{begun}");
    volume.written = false;
    let bare = shown(&volume);
    for text in [whole, begun, bare.clone()] {
        assert!(!text.lines().any(|line| line.trim_start().starts_with("written ")), "{text}");
    }
    assert!(!bare.contains("incomplete"), "{bare}");
}
