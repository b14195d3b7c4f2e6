//! Crashes: a child killed at any moment, a journal cut at every byte, a commit cut at every file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use replant::state::{Lock, Paths, Store};

use super::sample::{Open, address, create_volume, open, populate, put, volume};

const CHILD: &str = "REPLANT_TEST_STATE_CHILD";

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_journal_cut_at_every_byte_recovers() {
    let original = tempfile::tempdir().unwrap();
    let paths = populate(original.path());
    let journal = fs::read(&paths.journal).unwrap();
    let whole = Store::read(&paths).unwrap();
    let lines: Vec<usize> =
        journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    let directory = tempfile::tempdir().unwrap();
    copy(original.path(), directory.path());
    let cut = Paths::in_directory(directory.path());
    let mut states = Vec::new();
    for length in 0..=journal.len() {
        fs::write(&cut.journal, &journal[..length]).unwrap();
        let state = Store::read(&cut).unwrap_or_else(|error| panic!("{length}: {error}"));
        if states.last() != Some(&state) {
            states.push(state.clone());
        }
        // Opening for change costs fsyncs; each line's end and its neighbours are enough.
        if lines.iter().any(|end| length.abs_diff(*end) <= 1) || length % 97 == 0 {
            let Open { store, .. } = open(directory.path());
            assert_eq!(*store.state(), state, "{length}");
            let id = store.begin(&address("instance.new.volume.root"), create_volume(7)).unwrap();
            let pending = store.pending();
            drop(store);
            let Open { store, .. } = open(directory.path());
            assert_eq!(store.pending(), pending, "{length}");
            store.finish(id, vec![put("instance.new.volume.root", volume(7))]).unwrap();
            assert_eq!(Store::read(&cut).unwrap().resources.len(), state.resources.len() + 1);
        }
    }
    assert_eq!(states.last(), Some(&whole));
    assert_eq!(states.len(), 3, "base, the second volume, the instance and the outputs");
}

#[test]
fn lost_pages_at_the_end_are_a_torn_end() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let before = Store::read(&paths).unwrap();
    let mut journal = fs::read(&paths.journal).unwrap();
    journal.extend_from_slice(&[0; 4096]);
    journal.extend_from_slice(b"\"half of a record\"}\n");
    fs::write(&paths.journal, &journal).unwrap();
    assert_eq!(Store::read(&paths).unwrap(), before);
    let Open { store, .. } = open(directory.path());
    store.change(vec![put("instance.new.volume.root", volume(7))]).unwrap();
    assert_eq!(Store::read(&paths).unwrap().resources.len(), before.resources.len() + 1);
}

/// Between the renames of a commit: the state is new, the journal old.
#[test]
fn a_commit_cut_between_its_files_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let old_state = fs::read(&paths.state).unwrap();
    let Open { store, lock, .. } = open(directory.path());
    let pending = store.pending();
    // A journal that ends in the commit's announcement: hide what `commit` does to it afterwards.
    let hidden = directory.path().join("hidden");
    fs::hard_link(&paths.journal, &hidden).unwrap();
    store.commit().unwrap();
    let committed = Store::read(&paths).unwrap();
    drop((store, lock));
    fs::rename(&hidden, &paths.journal).unwrap();
    assert!(String::from_utf8(fs::read(&paths.journal).unwrap()).unwrap().contains("\"record\":\"commit\""));

    assert_eq!(Store::read(&paths).unwrap(), committed, "folded in once, not twice");
    let new_state = fs::read(&paths.state).unwrap();

    // The crash came before the state's rename: the announcement does not count.
    fs::write(&paths.state, &old_state).unwrap();
    let replayed = Store::read(&paths).unwrap();
    assert_eq!((replayed.serial, &replayed.resources), (1, &committed.resources));

    fs::write(&paths.state, &new_state).unwrap();
    let Open { store, .. } = open(directory.path());
    assert_eq!(*store.state(), committed);
    assert_eq!(store.pending(), pending);
    assert!(!store.commit().unwrap());
    assert_eq!(Store::read(&paths).unwrap().serial, 2);
}

#[test]
fn a_child_killed_at_any_moment_loses_nothing_that_it_was_told_is_safe() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let directory = tempfile::tempdir().unwrap();
    let mut safe: BTreeMap<String, bool> = BTreeMap::new();
    for round in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::crash::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env(CHILD, directory.path())
            .env("REPLANT_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut rest = String::new();
        for _ in 0..random() % 80 {
            output.read_line(&mut rest).unwrap();
        }
        std::thread::sleep(Duration::from_micros(random() % 2_000));
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut rest).unwrap();
        for said in rest.lines() {
            match said.split_once(' ') {
                Some(("begun", what)) => safe.entry(what.to_owned()).or_insert(false),
                Some(("finished", what)) => {
                    safe.entry(what.to_owned()).and_modify(|done| *done = true).or_insert(true)
                }
                _ => continue,
            };
        }
        let Open { store, .. } = open(directory.path());
        let (state, pending) = (store.state(), store.pending());
        for (what, finished) in &safe {
            let here = state.resources.contains_key(&address(what));
            let under_way = pending.iter().any(|intent| intent.address == address(what));
            assert!(here || (!finished && under_way), "round {round}: {what} is lost");
        }
        for intent in pending {
            store.finish(intent.id, vec![put(&intent.address.to_string(), volume(1))]).unwrap();
        }
    }
    assert!(safe.len() > 100, "the child got somewhere: {}", safe.len());
}

/// Run by the test above in a process of its own, which is killed.
#[test]
#[ignore = "the child of another test"]
#[allow(clippy::print_stdout)]
fn child() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let round = std::env::var("REPLANT_TEST_ROUND").unwrap();
    let paths = Paths::in_directory(directory);
    let lock = Lock::acquire(&paths, "apply").unwrap();
    println!();
    let store = Store::open(&paths, &lock).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, round) = (&store, &round);
            scope.spawn(move || {
                for node in 0..1000 {
                    let text = format!("instance.r{round}t{thread}n{node}.volume.root");
                    let id = store.begin(&address(&text), create_volume(node)).unwrap();
                    println!("begun {text}");
                    store.finish(id, vec![put(&text, volume(node))]).unwrap();
                    println!("finished {text}");
                    if node % 7 == 6 {
                        store.commit().unwrap();
                    }
                }
            });
        }
    });
}
