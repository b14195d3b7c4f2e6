//! Registry hives of Windows guests with their transaction logs, boot configurations, and packages of
//! Windows Installer.

use std::fs;
use std::sync::LazyLock;

use replant::guest::windows::components::{Inventory, entries};
use replant::guest::windows::fuzzing;
use replant::guest::windows::hive::{Data, Hive, HiveEdit, HivePlan, compare, edit as edit_hive, replay};

use super::base::{Base, unpack as bases};
use super::case::Case;
use super::directory::directory;
use super::memory::bounded;
use super::seal;

/// The bases of hives: whole ones, ones with logs of either format, a boot configuration.
pub static HIVE: LazyLock<Vec<Base>> = LazyLock::new(|| bases(include_bytes!("../bases/hive.zst")));
/// The bases of packages.
pub static PACKAGE: LazyLock<Vec<Base>> = LazyLock::new(|| bases(include_bytes!("../bases/package.zst")));

/// Largest file that is made of a case.
const MOST: u64 = 4 << 20;

/// A case's files: a hive and its logs.
fn files(input: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut case = Case::decode(&HIVE, input)?;
    if case.sealed() {
        case.files.iter_mut().for_each(|(_, file)| seal::hive(file));
    }
    let content = case.files.iter().map(|(_, file)| {
        let size = usize::try_from(file.size().min(MOST)).unwrap_or(0);
        file.read(0, size)
    });
    Some(content.collect())
}

/// The bases whose inputs do not come as far as they are for, and why: to the look at a guest, or to the
/// changes of a boot configuration.
#[must_use]
pub fn unreached() -> Vec<String> {
    let mut found = Vec::new();
    for (index, base) in HIVE.iter().enumerate() {
        let head = [u8::try_from(index).unwrap_or(0), 0, 0, 0, 0, 0, 0, 0];
        let mut files = files(&head).expect("a head is a whole input");
        let logs = files.split_off(1);
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let reached = replay(files.remove(0), &logs).and_then(|replayed| {
            let hive = Hive::read(&replayed.bytes)?;
            hive.verify()?;
            let changes = fuzzing::console(&hive).is_ok_and(|plan| plan.differences().len() >= 4);
            Ok(if base.name == "bcd" { changes } else { fuzzing::look(&hive, &hive)? })
        });
        match reached {
            Ok(true) => {}
            Ok(false) => found.push(format!("{}: nothing of a guest in it", base.name)),
            Err(error) => found.push(format!("{}: {error}", base.name)),
        }
    }
    found
}

/// A hive, brought up to date from its logs, then read wherever it leads.
pub fn hive(input: &[u8]) {
    let Some(mut files) = files(input) else { return };
    let logs = files.split_off(1);
    let held: usize = files.iter().chain(&logs).map(Vec::len).sum();
    bounded(held as u64 * 2, || {
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let replayed = match replay(files.remove(0), &logs) {
            Ok(replayed) => replayed,
            Err(error) => return drop(error.to_string()),
        };
        let hive = match Hive::read(&replayed.bytes) {
            Ok(hive) => hive,
            Err(error) => return drop(error.to_string()),
        };
        let verified = hive.verify();
        if let Ok(statistics) = verified {
            assert!(
                statistics.keys * 76 <= replayed.bytes.len() as u64,
                "no more keys than there is room for"
            );
            let differences = compare(&hive, &hive, 0).expect("what was verified can be compared");
            assert!(differences.is_empty(), "a hive differs from itself");
        }
        let looked = fuzzing::look(&hive, &hive);
        assert!(verified.is_err() || looked.is_ok(), "what was verified can be looked at: {looked:?}");
        let _ = fuzzing::console(&hive).map(|plan| plan.is_empty());
    });
}

/// Edits of a hive that was found sound, made by libhivex and read back: what they say is what differs.
pub fn edit(input: &[u8]) {
    let Some(mut files) = files(input) else { return };
    let bytes = files.swap_remove(0);
    let Ok(hive) = Hive::read(&bytes) else { return };
    if hive.verify().is_err() {
        return;
    }
    let services = "ControlSet001\\Services";
    let set = |key: String, name: &str, data| HiveEdit::Set { key, name: name.to_owned(), data };
    let edits = [
        set(format!("{services}\\stornvme"), "Start", Data::Number(0)),
        HiveEdit::DeleteKey { key: format!("{services}\\stornvme\\StartOverride") },
        set(format!("{services}\\new\\below"), "Path", Data::Expand("x".repeat(40))),
        HiveEdit::DeleteValue { key: "Many\\key003".to_owned(), name: String::new() },
    ];
    let plans = [HivePlan::new(&hive, &edits), fuzzing::console(&hive)];
    for plan in plans.into_iter().flatten().filter(|plan| !plan.is_empty()) {
        match edit_hive(bytes.clone(), || Ok(bytes.clone()), &plan, &directory("edit")) {
            Ok(after) => {
                let after = Hive::read(&after).expect("it was read back");
                let found = compare(&hive, &after, 1000).expect("both are sound");
                assert_eq!(found.len(), plan.differences().len(), "what was planned is what differs");
            }
            Err(error) => drop(error.to_string()),
        }
    }
}

/// A package of Windows Installer in a folder: its streams, its signature.
pub fn package(input: &[u8]) {
    let Some(case) = Case::decode(&PACKAGE, input) else { return };
    if case.files[0].1.size() > MOST {
        return;
    }
    let folder = directory("package");
    let (_, file) = &case.files[0];
    let content = file.read(0, usize::try_from(file.size()).unwrap_or(0));
    fs::write(folder.join("AmazonEC2Launch.msi"), &content).expect("files in memory can be written");
    bounded(content.len() as u64 * 4, || {
        let inventory = Inventory::read(&folder).expect("a folder of one file");
        let found = entries(&inventory).expect("files in memory can be read");
        assert_eq!(found.len(), 1);
    });
}
