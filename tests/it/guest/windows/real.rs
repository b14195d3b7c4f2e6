//! Registry files of real Windows guests, which the project has none of: whoever has some names their
//! directory, and what was tried by hand is held on them too.
//!
//! `REPLANT_HIVES=DIR cargo test --test it guest::windows::real -- --nocapture` takes every file below DIR
//! that begins as a hive does, with the logs beside it (`SYSTEM`, `SYSTEM.LOG1`, `SYSTEM.LOG2`); files
//! packed by xz are to be unpacked first. Public ones are in the tests of regipy (mkorman90/regipy) and of
//! yarp (msuhanov/yarp); nothing of them is committed, and no test fetches them. Without the variable there
//! is nothing to do.

use std::fs;
use std::path::{Path, PathBuf};

use replant::guest::windows::fuzzing;
use replant::guest::windows::hive::{Data, Hive, HiveEdit, HivePlan, edit, replay};
use replant::guest::windows::look::look;

use super::kit::{hive, regipy};
use super::trees::{self, guest};

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A hive brought up to date, and what was applied of its logs; or why it is none.
fn up_to_date(path: &Path) -> Result<(Vec<u8>, String), String> {
    let log = |suffix: &str| fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
    let logs = [".LOG1", ".LOG2", ".LOG"].map(log);
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    let replayed = replay(fs::read(path).unwrap(), &logs).map_err(|error| error.to_string())?;
    let hive = Hive::read(&replayed.bytes).map_err(|error| error.to_string())?;
    hive.verify().map_err(|error| error.to_string())?;
    Ok((replayed.bytes, format!("{:?}", replayed.applied)))
}

/// How many keys and values regipy reads otherwise after edits.
fn differing(before: &[u8], after: &[u8]) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let read = |bytes: &[u8]| {
        let path = directory.path().join("hive");
        fs::write(&path, bytes).unwrap();
        regipy(&path)
    };
    let (before, after) = (read(before), read(after));
    let lost = before.keys().filter(|key| !after.contains_key(*key)).count();
    lost + after.iter().filter(|(key, value)| before.get(*key) != Some(value)).count()
}

/// Makes the edits; regipy must find what the plan says, and nothing else.
fn hold(path: &Path, before: &[u8], plan: &HivePlan) {
    let directory = tempfile::tempdir().unwrap();
    let after = edit(before.to_vec(), || Ok(before.to_vec()), plan, directory.path()).unwrap();
    assert_eq!(differing(before, &after), plan.differences().len(), "{}", path.display());
}

#[test]
fn real_hives_are_read_and_edited_as_others_read_them() {
    let Some(directory) = std::env::var_os("REPLANT_HIVES") else { return };
    let software = hive("SOFTWARE", &trees::software(&guest("2008r2")));
    let software = Hive::read(&software).unwrap();
    let mut tried = 0;
    for path in files(Path::new(&directory)) {
        let name = path.file_name().unwrap().to_string_lossy().to_uppercase();
        let is_log = name.rsplit_once('.').is_some_and(|(_, end)| end.starts_with("LOG"));
        if is_log || !fs::read(&path).unwrap().starts_with(b"regf") {
            continue;
        }
        println!("{}", path.display());
        tried += 1;
        // What is refused is refused with a reason; a panic fails the test.
        let (bytes, applied) = match up_to_date(&path) {
            Ok(found) => found,
            Err(reason) => {
                println!("  refused: {reason}");
                continue;
            }
        };
        println!("  logs applied: {applied}");
        let before = Hive::read(&bytes).unwrap();
        if let Some(found) = look(&before, &software).unwrap() {
            println!("  {} {:?}", found.set, found.remote);
            println!("  cards: {:?}", found.cards);
            println!("  drivers: {:?}", found.drivers);
        }
        let value = HiveEdit::Set {
            key: "ReplantTest\\Below".to_owned(),
            name: "Value".to_owned(),
            data: Data::Text("written".to_owned()),
        };
        hold(&path, &bytes, &HivePlan::new(&before, &[value]).unwrap());
        let console = fuzzing::console(&before).unwrap();
        println!("  changes of a boot configuration: {}", console.differences().len());
        if !console.is_empty() {
            hold(&path, &bytes, &console);
        }
    }
    assert!(tried > 0, "no hive below {}", Path::new(&directory).display());
}
