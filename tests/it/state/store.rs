//! The store's promises without crashes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::Instant;

use replant::state::{IntentId, Lock, Paths, Resource, StateChange, StateError, Store};

use super::sample::{Open, address, create_volume, instance, open, outputs, populate, put, volume};

#[test]
fn what_was_recorded_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let state = Store::read(&paths).unwrap();
    assert_eq!(state.serial, 1);
    assert_eq!(state.resources.len(), 3);
    assert_eq!(state.resources[&address("instance.web")], instance(1));
    assert_eq!(state.provider.as_deref(), Some("local"));
    assert_eq!(state.outputs["web_ip"].value, Some(serde_json::json!("10.20.1.15")));

    let Open { store, lock: _lock, .. } = open(directory.path());
    assert_eq!(*store.state(), state);
    let pending = store.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].address, address("instance.web.volume.last"));
    assert_eq!(pending[0].operation, create_volume(4));
}

#[test]
fn nothing_is_an_empty_state() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::in_directory(directory.path());
    let state = Store::read(&paths).unwrap();
    assert_eq!((state.serial, state.lineage.as_str(), state.resources.len()), (0, "", 0));
    let Open { store, lock, .. } = open(directory.path());
    assert_eq!(store.state().lineage.len(), 36);
    assert!(!store.commit().unwrap());
    drop(store);
    drop(lock);
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["replant.state.lock"], "a run that does nothing leaves no state");
}

#[test]
fn the_lineage_of_a_first_run_outlives_its_crash() {
    let directory = tempfile::tempdir().unwrap();
    let Open { store, lock, paths } = open(directory.path());
    store.begin(&address("instance.web.volume.root"), create_volume(1)).unwrap();
    let lineage = store.state().lineage.clone();
    drop((store, lock));
    assert!(!paths.state.exists());
    assert_eq!(Store::read(&paths).unwrap().lineage, lineage);
    assert_eq!(open(directory.path()).store.state().lineage, lineage);
}

#[test]
fn the_serial_counts_changes_of_content_only() {
    let directory = tempfile::tempdir().unwrap();
    let Open { store, paths, .. } = open(directory.path());
    store.change(vec![put("instance.web.volume.root", volume(1))]).unwrap();
    assert!(store.commit().unwrap());
    let before = (fs::read(&paths.state).unwrap(), fs::metadata(&paths.state).unwrap().ino());
    assert!(!store.commit().unwrap());
    // There and back again, and an intent that came to nothing.
    store.change(vec![StateChange::Remove { address: address("instance.web.volume.root") }]).unwrap();
    store.change(vec![put("instance.web.volume.root", volume(1))]).unwrap();
    let id = store.begin(&address("instance.web.volume.root"), create_volume(1)).unwrap();
    store.fail(id, "no", vec![]).unwrap();
    assert!(!store.commit().unwrap());
    assert!(!paths.journal.exists());
    assert_eq!((fs::read(&paths.state).unwrap(), fs::metadata(&paths.state).unwrap().ino()), before);
    store.change(vec![outputs()]).unwrap();
    assert!(store.commit().unwrap());
    assert_eq!(Store::read(&paths).unwrap().serial, 2);
    assert_eq!(fs::read(&paths.backup).unwrap(), before.0, "the state before is kept");
}

#[test]
fn intents_that_are_under_way_survive_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    populate(directory.path());
    let Open { store, lock, paths } = open(directory.path());
    let pending = store.pending();
    assert!(store.commit().unwrap());
    assert_eq!(store.pending(), pending);
    drop((store, lock));
    let Open { store, .. } = open(directory.path());
    assert_eq!(store.pending(), pending);
    assert_eq!(store.state().serial, 2);
    let next = store.begin(&address("instance.x.volume.root"), create_volume(9)).unwrap();
    assert!(next > pending[0].id, "numbers are not used again");
    store.finish(pending[0].id, vec![put("instance.web.volume.last", volume(4))]).unwrap();
    store.fail(next, "no", vec![]).unwrap();
    assert!(store.commit().unwrap());
    assert!(!paths.journal.exists());
    assert_eq!(Store::read(&paths).unwrap().resources.len(), 4);
}

#[test]
fn illegal_transitions_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let Open { store, .. } = open(directory.path());
    let id = store.begin(&address("instance.web.volume.root"), create_volume(1)).unwrap();
    assert!(matches!(store.finish(IntentId(id.0 + 1), vec![]), Err(StateError::UnknownIntent(_))));
    store.finish(id, vec![]).unwrap();
    assert!(matches!(store.finish(id, vec![]), Err(StateError::IntentEnded(_))));
    assert!(matches!(store.fail(id, "", vec![]), Err(StateError::IntentEnded(_))));
    let wrong_kind = put("instance.web", volume(1));
    assert!(matches!(store.change(vec![wrong_kind]), Err(StateError::Invalid { .. })));
    let step = put("instance.web.write.root", volume(1));
    assert!(matches!(store.change(vec![step]), Err(StateError::Invalid { .. })));
    let Resource::Volume(mut escaping) = volume(1) else { unreachable!() };
    escaping.write.as_mut().unwrap().manifest = "../../etc/passwd".into();
    let escaping = put("instance.web.volume.root", Resource::Volume(escaping));
    assert!(matches!(store.change(vec![escaping]), Err(StateError::Invalid { .. })));
}

#[test]
fn a_store_needs_the_lock_of_its_own_state() {
    let directory = tempfile::tempdir().unwrap();
    let lock = Lock::acquire(&Paths::named(directory.path(), "rehearsal"), "apply").unwrap();
    let error = Store::open(&Paths::in_directory(directory.path()), &lock).unwrap_err();
    assert!(matches!(error, StateError::OtherLock { .. }));
}

#[test]
fn files_are_private_and_nothing_else_is_left() {
    let directory = tempfile::tempdir().unwrap();
    populate(directory.path());
    let Open { store, .. } = open(directory.path());
    store.commit().unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().into_string().unwrap());
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{names:?}");
    }
    names.sort();
    assert_eq!(
        names,
        ["replant.state.journal", "replant.state.json", "replant.state.json.backup", "replant.state.lock"]
    );
}

#[test]
fn ten_thousand_nodes_from_many_threads() {
    let directory = tempfile::tempdir().unwrap();
    let Open { store, paths, .. } = open(directory.path());
    let store = Arc::new(store);
    let (threads, each) = (64, 157);
    let begun = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                for node in 0..each {
                    let text = format!("instance.web[\"{thread}-{node}\"].volume.root");
                    let id = store.begin(&address(&text), create_volume(node)).unwrap();
                    store.finish(id, vec![put(&text, volume(node))]).unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let journalled = begun.elapsed();
    store.commit().unwrap();
    eprintln!("{} nodes: journal {journalled:?}, with the commit {:?}", threads * each, begun.elapsed());
    let state = Store::read(&paths).unwrap();
    assert_eq!(state.resources.len(), usize::try_from(threads * each).unwrap());
    assert_eq!(state.serial, 1);
}
