//! Hives: replayed as others replay them, edited so that others read just the difference, and
//! hostile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use replant::guest::windows::hive::{
    Change, Data, EditError, Hive, HiveEdit, HiveError, HivePlan, compare, edit, replay,
};

use super::kit::{Dirty, entries, hive, pages, regipy, run, sum};
use super::large::{large, touched};
use super::trees;
use crate::corpus::fuzz::bounded;

fn set(key: &str, name: &str, data: Data) -> HiveEdit {
    HiveEdit::Set { key: key.to_owned(), name: name.to_owned(), data }
}

/// A hive after edits.
fn edited(before: &[u8], edits: &[HiveEdit]) -> Result<Vec<u8>, EditError> {
    let plan = HivePlan::new(&Hive::read(before).unwrap(), edits)?;
    let directory = tempfile::tempdir().unwrap();
    edit(before.to_vec(), || Ok(before.to_vec()), &plan, directory.path())
}

/// The same hive at several moments, each larger than the one before.
fn moments() -> Vec<Vec<u8>> {
    let mut moments = vec![hive("SYSTEM", &trees::system(&trees::guest("2019")))];
    for step in 0..4 {
        let edits: Vec<HiveEdit> = (0..40)
            .map(|index| {
                set(
                    &format!("Step{step}\\Key{index}"),
                    "value",
                    Data::Text(format!("{step} {index}").repeat(20)),
                )
            })
            .chain([set("ControlSet001\\Services\\ena", "Start", Data::Number(step))])
            .collect();
        let next = edited(moments.last().unwrap(), &edits).unwrap();
        moments.push(next);
    }
    moments
}

fn replayed(dirty: &Dirty) -> Result<Vec<u8>, HiveError> {
    let logs: Vec<&[u8]> = dirty.logs.iter().map(Vec::as_slice).collect();
    replay(dirty.hive.clone(), &logs).map(|replayed| replayed.bytes)
}

/// A hive whose computer has another last letter: nothing moves.
fn renamed(hive: &[u8], last: char) -> Vec<u8> {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let name = wide("WIN-APP0");
    let at = hive.windows(name.len()).position(|bytes| bytes == name).unwrap() + name.len();
    let mut hive = hive.to_vec();
    hive[at] = last as u8;
    hive
}

fn same(one: &[u8], other: &[u8]) -> bool {
    compare(&Hive::read(one).unwrap(), &Hive::read(other).unwrap(), 1000).unwrap().is_empty()
}

/// What regipy makes of a dirty hive and one log.
fn by_regipy(dirty: &Dirty) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("hive"), &dirty.hive).unwrap();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python"));
    command.args([
        "-c",
        "import sys\nfrom regipy.recovery import apply_transaction_logs\napply_transaction_logs(sys.argv[1], sys.argv[3], secondary_log_path=sys.argv[4] if len(sys.argv) > 4 else None, restored_hive_path=sys.argv[2])",
    ]);
    command.args([at("hive"), at("out")]);
    for (index, log) in dirty.logs.iter().enumerate().filter(|(_, log)| !log.is_empty()) {
        fs::write(at(&format!("log{index}")), log).unwrap();
        command.arg(at(&format!("log{index}")));
    }
    run(&mut command);
    let mut bytes = fs::read(at("out")).unwrap();
    // It leaves the header as it was; only what is in the bins is compared.
    bytes[4] = bytes[8];
    let length = (bytes.len() - 4096) as u32;
    bytes[40..44].copy_from_slice(&length.to_le_bytes());
    sum(&mut bytes);
    bytes
}

#[test]
fn logs_of_entries_are_replayed_as_regipy_does() {
    let moments = moments();
    let last = moments.last().unwrap();
    for in_first in 1..4 {
        let dirty = entries(&moments, in_first);
        assert_eq!(
            Hive::read(&dirty.hive).unwrap_err(),
            HiveError::Unrecoverable("its logs were not applied")
        );
        let bytes = replayed(&dirty).unwrap();
        assert!(same(&bytes, last), "{in_first} in the first log");
        Hive::read(&bytes).unwrap().verify().unwrap();
    }
    // regipy does not let a hive grow.
    let last = moments.last().unwrap();
    let steps = [renamed(last, '1'), renamed(last, '2'), renamed(last, '3')];
    let one_log = entries(&steps, 2);
    let theirs =
        by_regipy(&Dirty { hive: one_log.hive.clone(), logs: [one_log.logs[0].clone(), Vec::new()] });
    let ours = replayed(&one_log).unwrap();
    assert!(theirs[4096..] == ours[4096..] && same(&ours, &steps[2]), "regipy reads the log differently");
}

#[test]
fn a_log_of_pages_is_replayed_as_regipy_does() {
    let moments = moments();
    let dirty = pages(&moments[0], &moments[2]);
    let bytes = replayed(&dirty).unwrap();
    assert!(same(&bytes, &moments[2]));
    let within = pages(&renamed(&moments[2], '1'), &renamed(&moments[2], '2'));
    assert!(
        by_regipy(&within)[4096..] == replayed(&within).unwrap()[4096..],
        "regipy reads the log differently"
    );
}

#[test]
fn replay_ends_where_windows_ends_it() {
    let moments = moments();
    // An entry that is torn: what stands before it counts.
    let mut torn = entries(&moments, 4);
    let second = torn.logs[0].windows(4).enumerate().filter(|(_, bytes)| *bytes == b"HvLE").nth(2).unwrap().0;
    torn.logs[0][second + 100] ^= 1;
    assert!(same(&replayed(&torn).unwrap(), &moments[2]));
    // A second log that does not go on where the first ends.
    let mut gap = entries(&moments, 2);
    let mut later = entries(&moments, 3);
    std::mem::swap(&mut gap.logs[1], &mut later.logs[1]);
    assert!(same(&replayed(&gap).unwrap(), &moments[2]));
    // The order of the files says nothing.
    let mut swapped = entries(&moments, 2);
    swapped.logs.swap(0, 1);
    assert!(same(&replayed(&swapped).unwrap(), moments.last().unwrap()));
    // A header that was torn comes from the log.
    let mut header = entries(&moments, 4);
    header.hive[100] ^= 1;
    assert!(same(&replayed(&header).unwrap(), moments.last().unwrap()));
    // No log at all, and one of another time.
    let lost = Dirty { logs: [Vec::new(), Vec::new()], ..entries(&moments, 2) };
    assert!(matches!(replayed(&lost), Err(HiveError::Unrecoverable(_))));
    let mut other = pages(&moments[0], &moments[1]);
    other.logs[0][12] ^= 1;
    sum(&mut other.logs[0]);
    assert!(matches!(replayed(&other), Err(HiveError::Unrecoverable("its log belongs to another time"))));
    // A clean hive is left alone, whatever its logs hold.
    let logs = entries(&moments, 2).logs;
    let clean = replay(moments[0].clone(), &[&logs[0], &logs[1]]).unwrap();
    assert_eq!((clean.bytes, clean.applied.len()), (moments[0].clone(), 0));
}

#[test]
fn an_edited_hive_differs_for_others_in_just_that() {
    let before = hive("SYSTEM", &trees::system(&trees::guest("2019")));
    let edits = [
        set("controlset001\\SERVICES\\StorNVMe", "start", Data::Number(1)),
        HiveEdit::DeleteKey { key: "ControlSet001\\Services\\stornvme\\StartOverride".to_owned() },
        HiveEdit::DeleteValue {
            key: "ControlSet001\\Services\\VMTools".to_owned(),
            name: "Group".to_owned(),
        },
        HiveEdit::DeleteValue { key: "ControlSet001\\Services\\None".to_owned(), name: "x".to_owned() },
        set("DriverDatabase\\DriverInfFiles\\oem7.inf", "", Data::List(vec!["a".into(), "b".into()])),
        set("DriverDatabase\\DriverInfFiles\\oem7.inf", "Active", Data::Text("a".into())),
        set("ControlSet001\\Control\\CrashControl", "AutoReboot", Data::Number(1)),
    ];
    let after = edited(&before, &edits).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        regipy(&path)
    };
    let (old, new) = (read("before", &before), read("after", &after));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ: Vec<String> = (keys.into_iter())
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| {
            let shown = |map: &serde_json::Map<_, serde_json::Value>| {
                map.get(key).map_or("-".to_owned(), ToString::to_string)
            };
            format!("{key}: {} -> {}", shown(&old), shown(&new))
        })
        .collect();
    insta::assert_snapshot!(differ.join("\n"));
    // hivexsh opens it too.
    let path = directory.path().join("after");
    let said = run(Command::new("bash").args(["-c", "printf 'cd DriverDatabase\\\\DriverInfFiles\\\\oem7.inf\\nlsval Active\\nquit\\n' | hivexsh \"$0\""]).arg(&path));
    assert!(said.contains('a'), "{said}");
    // A second time there is nothing to do.
    assert!(HivePlan::new(&Hive::read(&after).unwrap(), &edits).unwrap().is_empty());
    // What libhivex would write wrongly is refused, and so are edits that exclude each other.
    let long = edited(&before, &[set("A", "b", Data::Binary(vec![0; 16_345]))]);
    assert!(matches!(long, Err(EditError::LongValue { .. })), "{long:?}");
    let both = [
        HiveEdit::DeleteKey { key: "ControlSet001\\Services".to_owned() },
        set("ControlSet001\\Services\\x", "y", Data::Number(1)),
    ];
    assert!(matches!(edited(&before, &both), Err(EditError::Contradiction { .. })));
}

/// The processor time of this thread: other tests run beside it.
fn worked() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// What a run of everything that is done with a hive holds and takes; libhivex's copy comes in
/// addition, while no other is there.
#[test]
fn a_hive_of_200_mb_and_300_000_keys() {
    const MOST: Duration = Duration::from_secs(10);
    let before = large(300_000, 500);
    let size = before.len() as u64;
    assert!(size > 190_000_000, "{size}");
    let began = worked();
    let took = |what: &str| {
        let took = worked().saturating_sub(began);
        println!("{what} ends after {took:?}");
        assert!(took < MOST, "{what}: {took:?}");
    };
    bounded(0, || {
        let statistics = Hive::read(&before).unwrap().verify().unwrap();
        assert_eq!((statistics.keys, statistics.values), (300_301, 300_000));
    });
    took("verify");
    let edits = [
        set("GROUP00000150\\KEY00000500\\New", "x", Data::Number(1)),
        set("GROUP00000299\\KEY00000999", "v", Data::Binary(vec![1])),
    ];
    // What `edited` copies for itself, its two copies, and nothing that grows with the keys.
    let after = bounded(2 * size, || edited(&before, &edits).unwrap());
    took("edit");
    assert_eq!(Hive::read(&after).unwrap().verify().unwrap().keys, 300_302);
    drop(after);
    let changed = touched(&before, 64 << 20);
    let dirty = entries(&[before, changed], 1);
    let logs: Vec<&[u8]> = dirty.logs.iter().map(Vec::as_slice).collect();
    assert!(logs[0].len() > 60 << 20, "{}", logs[0].len());
    let began = worked();
    // The hive comes in, and goes out.
    let replayed = bounded(0, || replay(dirty.hive, &logs).unwrap());
    let took = worked().saturating_sub(began);
    println!("replay of {} MB takes {took:?}", logs[0].len() / 1_000_000);
    assert!(took < MOST, "replay: {took:?}");
    assert_eq!(Hive::read(&replayed.bytes).unwrap().verify().unwrap().keys, 300_301);
}

#[test]
fn hostile_hives_end_in_an_error() {
    let before = hive("SYSTEM", &trees::system(&trees::guest("2012")));
    let dirty = entries(&[before.clone(), edited(&before, &[set("A", "b", Data::Number(1))]).unwrap()], 1);
    // A key that is its own parent's child again.
    let mut cyclic = before.clone();
    let root = 4096 + 0x20 + 4;
    let list = u32::from_le_bytes(cyclic[root + 28..root + 32].try_into().unwrap()) as usize;
    cyclic[4096 + list + 4 + 4..4096 + list + 4 + 8].copy_from_slice(&0x20_u32.to_le_bytes());
    assert!(matches!(Hive::read(&cyclic).unwrap().verify(), Err(HiveError::Damaged { .. })));
    // Sizes from nowhere, in bits that a small generator chooses.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let (mut whole, mut refused) = (0, 0);
    for _ in 0..1500 {
        let (mut hive, mut logs) = (dirty.hive.clone(), dirty.logs.clone());
        for _ in 0..next() % 6 + 1 {
            let at = next() % hive.len().min(12_000);
            hive[at] = if next() % 3 == 0 { 0xff } else { next() as u8 };
            let at = next() % logs[0].len();
            logs[0][at] = next() as u8;
        }
        if next() % 2 == 0 {
            sum(&mut hive);
            sum(&mut logs[0]);
        }
        let outcome = replay(hive, &[&logs[0], &logs[1]]).and_then(|replayed| {
            let hive = Hive::read(&replayed.bytes)?;
            hive.verify()?;
            compare(&Hive::read(&before)?, &hive, 50)
        });
        match outcome {
            Ok(differences) => {
                whole +=
                    usize::from(differences.iter().all(|difference| difference.change != Change::Security))
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100 && whole + refused <= 1500, "{whole} {refused}");
}
