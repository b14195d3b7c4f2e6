//! What a registry hive of 200 MB with 300,000 keys takes: processor time and memory of each thing
//! that is done with one, libhivex's included. `cargo bench --bench hives`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, dead_code)]

#[path = "../tests/it/guest/windows/kit.rs"]
mod kit;
#[path = "../tests/it/guest/windows/large.rs"]
mod large;

use std::fs;
use std::time::Instant;

use replant::guest::windows::hive::{Data, Hive, HiveEdit, HivePlan, compare, edit, replay};

/// A number of this process, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Runs a step, and prints how long it took and how much memory the process held at most.
fn row<T>(what: &str, step: impl FnOnce() -> T) -> T {
    // What was held most is counted from now on (proc(5)).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (began, before) = (Instant::now(), status("VmRSS"));
    let result = step();
    let (took, peak) = (began.elapsed(), status("VmHWM"));
    println!(
        "{what:44} {:6.2} s  {:5} MiB at most, {:5} MiB before",
        took.as_secs_f64(),
        peak >> 10,
        before >> 10
    );
    result
}

fn main() {
    let hive = large::large(300_000, 500);
    println!("a hive of {} MB with 300,000 keys", hive.len() / 1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("SOFTWARE");
    let dirty = kit::entries(&[hive.clone(), large::touched(&hive, 64 << 20)], 1);
    let logs = dirty.logs.clone().map(|log| log.len());
    for (name, content) in [("hive", &dirty.hive), ("LOG1", &dirty.logs[0]), ("LOG2", &dirty.logs[1])] {
        fs::write(directory.path().join(name), content).unwrap();
    }
    fs::write(&path, &hive).unwrap();
    drop((hive, dirty));
    // Each step holds what it reads itself, as in the sandbox.
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    row("read and verify", || {
        let bytes = read("SOFTWARE");
        assert_eq!(Hive::read(&bytes).unwrap().verify().unwrap().keys, 300_301);
    });
    row("compare with itself", || {
        let bytes = read("SOFTWARE");
        let hive = Hive::read(&bytes).unwrap();
        assert!(compare(&hive, &hive, 0).unwrap().is_empty());
    });
    row(&format!("replay of a log of {} MB, verify", logs[0] / 1_000_000), || {
        let (hive, one, two) = (read("hive"), read("LOG1"), read("LOG2"));
        let replayed = replay(hive, &[&one, &two]).unwrap();
        drop((one, two));
        Hive::read(&replayed.bytes).unwrap().verify().unwrap();
    });
    let set = |key: &str, data| HiveEdit::Set { key: key.to_owned(), name: "v".to_owned(), data };
    let edits = [
        set("GROUP00000150\\KEY00000500\\New", Data::Number(1)),
        set("GROUP00000299\\KEY00000999", Data::Binary(vec![1])),
    ];
    row("two edits by libhivex, read back, compared", || {
        let bytes = read("SOFTWARE");
        let plan = HivePlan::new(&Hive::read(&bytes).unwrap(), &edits).unwrap();
        edit(bytes, || Ok(read("SOFTWARE")), &plan, directory.path()).unwrap();
    });
}
