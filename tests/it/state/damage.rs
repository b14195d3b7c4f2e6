//! Damaged, foreign and hostile files: a clear error each, never a panic, never a silent loss.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use replant::diagnostic::Diagnostic;
use replant::state::{Lock, Paths, StateError, Store};
use replant::ui::human::render_diagnostic;

use super::sample::{Open, open, populate};

fn refused(paths: &Paths) -> StateError {
    let read = Store::read(paths).unwrap_err();
    let lock = Lock::acquire(paths, "apply").unwrap();
    let opened = Store::open(paths, &lock).unwrap_err();
    assert_eq!(read.to_string(), opened.to_string());
    let diagnostic = Diagnostic::from(&read);
    assert!(!diagnostic.help.is_empty() || matches!(read, StateError::Open { .. } | StateError::Read { .. }));
    read
}

fn shown(paths: &Paths) -> String {
    let directory = paths.directory.display().to_string();
    let mut diagnostic = refused(paths).diagnostic();
    // Before wrapping, which depends on the name's length.
    diagnostic.detail = diagnostic.detail.replace(&directory, "DIR");
    diagnostic.help = diagnostic.help.iter().map(|help| help.replace(&directory, "DIR")).collect();
    if let Some(span) = &mut diagnostic.span {
        span.file = span.file.strip_prefix(&paths.directory).unwrap().to_owned();
    }
    render_diagnostic(&diagnostic, false)
}

#[test]
fn every_flipped_bit_of_the_journal_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let journal = fs::read(&paths.journal).unwrap();
    let whole = Store::read(&paths).unwrap();
    let last_line = journal[..journal.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for at in 0..journal.len() {
        let mut damaged = journal.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&paths.journal, &damaged).unwrap();
        match Store::read(&paths) {
            Err(StateError::JournalDamaged { .. }) => {}
            // Without its line feed, or with a zero byte, the last line looks torn; it was begun
            // and not more, so the state is the same.
            Ok(state) if at >= last_line => assert_eq!(state, whole),
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn lines_that_are_missing_doubled_or_swapped_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let journal = fs::read_to_string(&paths.journal).unwrap();
    let lines: Vec<&str> = journal.split_inclusive('\n').collect();
    for at in 0..lines.len() - 1 {
        let mut missing = lines.clone();
        missing.remove(at);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        for wrong in [missing, doubled, swapped] {
            fs::write(&paths.journal, wrong.concat()).unwrap();
            assert!(matches!(refused(&paths), StateError::JournalDamaged { .. }), "line {at}");
        }
    }
}

#[test]
fn a_damaged_journal_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let journal = fs::read_to_string(&paths.journal).unwrap();
    fs::write(&paths.journal, journal.replacen("VolumeLimitExceeded", "volumeLimitExceeded", 1)).unwrap();
    insta::assert_snapshot!(shown(&paths));
}

#[test]
fn a_state_that_moved_under_its_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let state = fs::read_to_string(&paths.state).unwrap();
    fs::write(&paths.state, state.replace("eu-central-1a", "eu-central-1b")).unwrap();
    insta::assert_snapshot!(shown(&paths));
    fs::remove_file(&paths.state).unwrap();
    assert!(matches!(refused(&paths), StateError::StateMoved { state_serial: None, .. }));
}

#[test]
fn a_state_of_another_lineage_than_its_journal_is_refused() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = populate(directory.path());
    let foreign = populate(other.path());
    fs::copy(&foreign.journal, &paths.journal).unwrap();
    assert!(matches!(refused(&paths), StateError::OtherLineage { .. }));
}

#[test]
fn a_newer_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::in_directory(directory.path());
    fs::write(&paths.state, r#"{"version": 2, "replant_version": "3.1.4", "anything": ["new"]}"#).unwrap();
    insta::assert_snapshot!(shown(&paths));
}

#[test]
fn a_newer_journal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::in_directory(directory.path());
    let covered = r#""sequence":0,"durable":0,"record":{"record":"open","version":2,"news":1}}"#;
    let line = format!("{{\"crc\":\"{:08x}\",{covered}\n", crc32fast::hash(covered.as_bytes()));
    fs::write(&paths.journal, line).unwrap();
    assert!(matches!(refused(&paths), StateError::Version { found: 2, .. }));
}

#[test]
fn a_state_that_is_cut_short_is_shown_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    let Open { store, .. } = open(directory.path());
    store.pending().into_iter().for_each(|intent| store.fail(intent.id, "no", vec![]).unwrap());
    store.commit().unwrap();
    drop(store);
    let state = fs::read_to_string(&paths.state).unwrap();
    for length in 0..state.len() - 2 {
        fs::write(&paths.state, &state[..length]).unwrap();
        assert!(matches!(Store::read(&paths), Err(StateError::Syntax { .. })), "{length}");
    }
    fs::write(&paths.state, state.replacen("\"size\": 40", "\"size\": \"forty\"", 1)).unwrap();
    let text = shown(&paths);
    assert!(text.contains("\"forty\"") && text.contains('^') && text.contains(".backup"), "{text}");
}

#[test]
fn nonsense_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::in_directory(directory.path());
    let deep = "[".repeat(1_000_000);
    for text in ["", "null", "{}", "\u{0}\u{0}", "{\"version\": -1}", "not json", &deep] {
        fs::write(&paths.state, text).unwrap();
        assert!(matches!(refused(&paths), StateError::Syntax { .. }), "{}", &text[..text.len().min(20)]);
    }
    fs::remove_file(&paths.state).unwrap();
    for text in ["null\n", "{}\n", "not json\n", "\n", "{\"crc\":\"00000000\",\n"] {
        fs::write(&paths.journal, text).unwrap();
        assert!(matches!(refused(&paths), StateError::JournalDamaged { .. }), "{text}");
    }
}

#[test]
fn a_state_that_can_never_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let paths = populate(directory.path());
    fs::remove_file(&paths.journal).unwrap();
    let state = fs::read_to_string(&paths.state).unwrap();
    for (right, wrong) in [
        (".replant/manifests/", "../../"),
        ("\"instance.web.volume.root\"", "\"instance.web.drivers\""),
        ("\"lineage\": \"", "\"lineage\": \"/../"),
    ] {
        fs::write(&paths.state, state.replacen(right, wrong, 1)).unwrap();
        assert!(matches!(refused(&paths), StateError::Invalid { .. }), "{wrong}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::in_directory(directory.path());
    for path in [&paths.state, &paths.journal] {
        fs::create_dir(path).unwrap();
        assert!(matches!(refused(&paths), StateError::NotAFile { .. }));
        fs::remove_dir(path).unwrap();

        let pipe = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(pipe.success());
        assert!(matches!(refused(&paths), StateError::NotAFile { .. }));
        fs::remove_file(path).unwrap();

        symlink("/etc/passwd", path).unwrap();
        assert!(matches!(refused(&paths), StateError::SymbolicLink { .. }));
        fs::remove_file(path).unwrap();

        let huge = File::create(path).unwrap();
        huge.set_len(2 << 30).unwrap();
        assert!(matches!(refused(&paths), StateError::TooLarge { .. }));
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn somebody_elses_edit_during_a_run_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    populate(directory.path());
    let Open { store, paths, .. } = open(directory.path());
    let state = fs::read_to_string(&paths.state).unwrap();
    fs::write(&paths.state, state.replace("gp3", "gp2")).unwrap();
    assert!(matches!(store.commit(), Err(StateError::ChangedUnderneath { .. })));
    assert!(fs::read_to_string(&paths.state).unwrap().contains("gp2"), "the edit is not overwritten");
    fs::write(&paths.state, state).unwrap();
    assert!(store.commit().unwrap());
}

#[test]
fn a_link_in_place_of_the_backup_is_replaced_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    populate(directory.path());
    let Open { store, paths, .. } = open(directory.path());
    let victim = directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, &paths.backup).unwrap();
    store.commit().unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(&paths.backup).unwrap().is_file());
}

#[test]
fn a_full_disk_stops_the_run_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(mounted.success(), "tests run as root");
    let outcome = std::panic::catch_unwind(|| {
        let mut safe = 0;
        let Open { store, .. } = open(directory.path());
        let error = loop {
            let text = format!("instance.n{safe}.volume.root");
            let begun = store.begin(&super::sample::address(&text), super::sample::create_volume(safe));
            match begun {
                Ok(_) => safe += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StateError::JournalFailed { .. }), "{error}");
        assert!(matches!(store.commit(), Err(StateError::JournalFailed { .. })));
        drop(store);
        let Open { store, .. } = open(directory.path());
        assert_eq!(store.pending().len() as u64, safe);
        assert!(safe > 10);
    });
    let unmounted = std::process::Command::new("umount").arg(directory.path()).status().unwrap();
    assert!(unmounted.success());
    outcome.unwrap();
}
