//! Random runs with random crashes, held against a model that cannot be wrong: two maps.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use proptest::prelude::*;
use replant::state::{IntentId, StateChange, Store};

use super::sample::{Open, address, create_volume, open, put, volume};

#[derive(Debug, Clone)]
enum Action {
    Begin(u8),
    Finish {
        which: usize,
        puts: Option<u8>,
    },
    Fail {
        which: usize,
    },
    Put(u8),
    Remove(u8),
    Commit,
    /// The process ends without a commit, so many bytes into appending another line.
    Crash {
        torn: usize,
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..6u8).prop_map(Action::Begin),
        3 => (any::<usize>(), any::<Option<u8>>()).prop_map(|(which, puts)| Action::Finish {
            which,
            puts: puts.map(|disk| disk % 6)
        }),
        1 => any::<usize>().prop_map(|which| Action::Fail { which }),
        2 => (0..6u8).prop_map(Action::Put),
        1 => (0..6u8).prop_map(Action::Remove),
        1 => Just(Action::Commit),
        2 => (0..200usize).prop_map(|torn| Action::Crash { torn }),
    ]
}

fn name(disk: u8) -> String {
    format!("instance.web.volume.disk{disk}")
}

/// What a store must hold.
#[derive(Debug, Default)]
struct Model {
    resources: BTreeMap<u8, u64>,
    pending: BTreeMap<IntentId, u8>,
    /// The resources as they were last committed.
    committed: BTreeMap<u8, u64>,
    serial: u64,
    numbers: u64,
}

impl Model {
    fn put(&mut self, disk: u8) -> StateChange {
        self.numbers += 1;
        self.resources.insert(disk, self.numbers);
        put(&name(disk), volume(self.numbers))
    }

    fn pick(&self, which: usize) -> Option<IntentId> {
        self.pending.keys().nth(which.checked_rem(self.pending.len())?).copied()
    }

    fn check(&self, open: &Open) {
        let state = open.store.state();
        let mut read = Store::read(&open.paths).unwrap_or_else(|error| panic!("{error}"));
        if !open.paths.state.exists() && !open.paths.journal.exists() {
            // Nothing was recorded yet; the lineage is only in memory.
            assert_eq!(read.lineage, "");
            read.lineage.clone_from(&state.lineage);
        }
        assert_eq!(*state, read, "memory and disk");
        assert_eq!(state.serial, self.serial);
        let wanted: BTreeMap<_, _> =
            self.resources.iter().map(|(disk, number)| (address(&name(*disk)), volume(*number))).collect();
        assert_eq!(state.resources, wanted);
        let pending: Vec<_> =
            open.store.pending().iter().map(|intent| (intent.id, intent.address.clone())).collect();
        let wanted: Vec<_> = self.pending.iter().map(|(id, disk)| (*id, address(&name(*disk)))).collect();
        assert_eq!(pending, wanted);
    }
}

fn run(actions: Vec<Action>) {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    let mut state = open(directory.path());
    for action in actions {
        let store = &state.store;
        match action {
            Action::Begin(disk) => {
                let id = store.begin(&address(&name(disk)), create_volume(disk.into())).unwrap();
                assert!(model.pending.insert(id, disk).is_none());
            }
            Action::Finish { which, puts } => {
                let Some(id) = model.pick(which) else { continue };
                let changes = puts.map(|disk| model.put(disk)).into_iter().collect();
                store.finish(id, changes).unwrap();
                model.pending.remove(&id);
            }
            Action::Fail { which } => {
                let Some(id) = model.pick(which) else { continue };
                store.fail(id, "no", vec![]).unwrap();
                model.pending.remove(&id);
            }
            Action::Put(disk) => store.change(vec![model.put(disk)]).unwrap(),
            Action::Remove(disk) => {
                model.resources.remove(&disk);
                store.change(vec![StateChange::Remove { address: address(&name(disk)) }]).unwrap();
            }
            Action::Commit => {
                let changed = model.committed != model.resources;
                assert_eq!(store.commit().unwrap(), changed);
                model.serial += u64::from(changed);
                model.committed.clone_from(&model.resources);
            }
            Action::Crash { torn } => {
                let Open { paths, lock, store } = state;
                drop((store, lock));
                if let Ok(journal) = std::fs::read(&paths.journal) {
                    let line = journal[..journal.len() - 1].rsplit(|byte| *byte == b'\n').next().unwrap();
                    let torn = &line[..torn.min(line.len() - 1)];
                    OpenOptions::new().append(true).open(&paths.journal).unwrap().write_all(torn).unwrap();
                }
                state = open(directory.path());
            }
        }
        model.check(&state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_run_with_any_crashes_is_what_the_model_says(actions in prop::collection::vec(action(), 1..60)) {
        run(actions);
    }
}
