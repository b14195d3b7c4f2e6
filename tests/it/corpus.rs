//! The fuzzer's corpus, run through its own functions without it, and a few changes of each input
//! that are the same every time. `fuzz/README.md` says how to run the fuzzer itself.

#[path = "../../fuzz/src/lib.rs"]
pub mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuzz::{Numbers, TARGETS, Target};

/// How long a target may go on with changed inputs, after all of its corpus.
const TIME: Duration = Duration::from_millis(1500);
/// Most changed inputs of a target.
const MOST_CHANGED: u64 = 4000;
/// The variable that says for how many seconds to go on instead, with other changes each time.
const SECONDS: &str = "REPLANT_CORPUS_SECONDS";
/// Most bytes of a changed input.
const MOST_BYTES: usize = 4096;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs an input; when it fails, says which it was.
fn run(target: &Target, name: &str, input: &[u8]) {
    let result = std::panic::catch_unwind(|| target.run(input));
    if result.is_err() {
        let kept = std::env::temp_dir().join(format!("replant-corpus-{}", target.name));
        fs::write(&kept, input).unwrap();
        panic!("{} fails with {name}; the input is kept in {}", target.name, kept.display());
    }
}

fn replay(target: &Target) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    for (path, input) in &corpus {
        run(target, &path.display().to_string(), input);
    }
    let longer = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(3, |now| now.as_secs());
    let (seed, time, most) = longer.map_or((3, TIME, MOST_CHANGED), |time| (now, time, u64::MAX));
    let mut numbers = Numbers::new(seed);
    let began = Instant::now();
    let mut buffer = vec![0; MOST_BYTES];
    for number in 0..most {
        if began.elapsed() > time {
            break;
        }
        let (_, input) = &corpus[numbers.index(corpus.len())];
        let mut length = input.len().min(MOST_BYTES);
        buffer[..length].copy_from_slice(&input[..length]);
        for _ in 0..=numbers.below(3) {
            length = target.mutate(&mut buffer, length, &mut numbers);
        }
        run(target, &format!("changed input {number}"), &buffer[..length]);
    }
}

#[test]
fn bases_are_sound() {
    let unsound = [fuzz::unsound(), fuzz::unreached()].concat();
    assert!(unsound.is_empty(), "{unsound:#?}");
}

/// A test for each target, so that they run side by side.
macro_rules! replays {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                replay(fuzz::target(stringify!($name)).unwrap());
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

replays! {
    vmdk qcow2 vhd vhdx ova detect stream nbd location overlay manifest state plan report disk initramfs texts linux
    inf pe components hive edit package config
}
