//! What a user wants of a Windows guest, and what they give up to have it prepared.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::kit::{C, Disk, dissect, log_in_use, log_waits, regipy, run, with_c};
use super::trees::{Guest, guest, make};
use crate::support::{Workspace, replant};

fn configuration(wishes: &str) -> String {
    format!(
        "provider \"local\" {{}}\n\naccess_node \"dr\" {{ instance_id = \"self\" }}\n\ninstance \"app\" {{\n  image         = \"disk.raw\"\n  instance_type = \"m6i.large\"\n  state         = \"stopped\"\n  guest {{\n{wishes}\n  }}\n}}\n"
    )
}

fn workspace(disk: &Disk, wishes: &str) -> Workspace {
    let workspace = Workspace::new(&configuration(wishes));
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    workspace
}

#[test]
fn files_and_a_name_come_into_the_volume() {
    let disk = make("uefi", &guest("2022"));
    let wishes = "hostname = \"Web-Drill\"\n file \"c:/Tools/x.txt\" {\n content = \"for me\\n\"\n }\n file \"C:\\\\windows\\\\SYSTEM32\\\\drivers\\\\etc\\\\hosts\" {\n content = \"10.0.0.9 db\\r\\n\"\n }";
    let workspace = workspace(&disk, wishes);
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 0, "{}", planned.both());
    for shown in [
        "C:\\Tools\\x.txt",
        "C:\\WINDOWS\\System32\\drivers\\etc\\hosts",
        "+for me",
        "\"ComputerName\"=\"WEB-DRILL\"",
        "\"NV Hostname\"=\"Web-Drill\"",
        "guest::hostname",
    ] {
        assert!(planned.both().contains(shown), "{shown}: {}", planned.both());
    }
    let applied = workspace.apply();
    assert_eq!(applied.code, 0, "{}", applied.both());
    let volume = workspace.volume_file("instance.app.volume.root");
    let (before, _) = dissect(&disk.image, Some(C));
    let (after, is_dirty) = dissect(&volume, Some(C));
    assert!(!is_dirty);
    let sha256 = |text: &str| {
        let sum = Command::new("bash").args(["-c", "printf %b \"$0\" | sha256sum", text]).output().unwrap();
        String::from_utf8(sum.stdout).unwrap()[..64].to_owned()
    };
    assert_eq!(after["/Tools/x.txt"][1], sha256("for me\\n"));
    assert_eq!(after["/WINDOWS/System32/drivers/etc/hosts"][1], sha256("10.0.0.9 db\\r\\n"));
    // Nothing that everybody may change: mkntfs' root lets users read.
    let entries = after["/Tools/x.txt"][4].to_string();
    assert!(!entries.contains("S-1-1-0") && entries.contains("1200a9 S-1-5-32-545"), "{entries}");
    let differ: Vec<&String> =
        before.iter().filter(|(path, was)| after[*path] != **was).map(|(path, _)| path).collect();
    assert_eq!(differ, ["/WINDOWS/System32/config/SYSTEM"]);
    let directory = tempfile::tempdir().unwrap();
    run(Command::new("bash")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest/windows/read_disk.sh"))
        .arg("uefi")
        .args([volume.as_path(), directory.path()]));
    let hive = regipy(&directory.path().join("windows/WINDOWS/System32/config/SYSTEM"));
    assert_eq!(hive["ControlSet001\\Control\\ComputerName\\ComputerName\\ComputerName"][1], "WEB-DRILL");
    for name in ["Hostname", "NV Hostname"] {
        assert_eq!(hive[&format!("ControlSet001\\Services\\Tcpip\\Parameters\\{name}")][1], "Web-Drill");
    }
    let again = workspace.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(again.code, 0, "{}", again.both());
    // Prepared once more, there is nothing to do.
    fs::copy(&volume, workspace.path().join("disk.raw")).unwrap();
    workspace.configure(&configuration(wishes).replace("\"app\"", "\"again\""));
    let planned = workspace.run(&["plan", "--target", "instance.again"]);
    assert_eq!(planned.code, 0, "{}", planned.both());
    assert!(!planned.both().contains("C:\\Tools"), "{}", planned.both());
}

#[test]
fn wishes_that_cannot_be_say_why() {
    let disk = make("bios", &guest("2019"));
    let workspace = workspace(
        &disk,
        "identity = \"new\"\n hostname = \"longer-than-netbios\"\n file \"/etc/motd\" {\n content = \"x\"\n }\n file \"D:/x\" {\n content = \"x\"\n }\n file \"C:/Windows/System32/Config/SYSTEM\" {\n content = \"x\"\n }\n file \"C:/Users\" {\n content = \"x\"\n }",
    );
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 1, "{}", planned.both());
    for said in [
        "guest::identity_impossible",
        "Sysprep",
        "guest::hostname_impossible",
        "at most 15",
        "guest::file_not_placed",
        "as in C:\\Tools\\x.txt",
        "only C:",
        "the registry lies there",
        "a directory is there",
    ] {
        assert!(planned.both().contains(said), "{said}: {}", planned.both());
    }
    // A controller is known to its domain by its name.
    let system = "[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\ProductOptions]\n\"ProductType\"=\"LanmanNT\"\n\n";
    let disk = make("bios", &Guest { system, ..guest("2019") });
    fs::copy(&disk.image, workspace.path().join("disk.raw")).unwrap();
    workspace.configure(&configuration("hostname = \"other\""));
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 1, "{}", planned.both());
    assert!(planned.both().contains("guest::hostname_impossible"), "{}", planned.both());
    assert!(planned.both().contains("a controller of the domain"), "{}", planned.both());
}

#[test]
fn a_full_volume_gets_none_of_it() {
    let disk = make("bios", &guest("2019"));
    with_c(
        &disk,
        "at=$(mktemp -d)\nntfs-3g $loop $at\ndd if=/dev/zero of=$at/fill bs=64k 2>/dev/null || true\ntruncate -s -$((600 * 1024)) $at/fill\numount $at\nwhile fuser -s $loop 2>/dev/null; do sleep 0.05; done\nrmdir $at",
    );
    let workspace = workspace(&disk, "file \"C:/Tools/x.txt\" {\n content = \"x\"\n }");
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 1, "{}", planned.both());
    assert!(planned.both().contains("guest::filesystem_full"), "{}", planned.both());
}

fn finding<'v>(inspection: &'v Value, code: &str) -> &'v Value {
    let findings = inspection["report"]["findings"].as_array().unwrap();
    findings
        .iter()
        .find(|finding| finding["code"] == code)
        .unwrap_or_else(|| panic!("{code}: {inspection:#}"))
}

fn inspect(disk: &Disk, more: &[&str]) -> Value {
    let output = replant(disk.directory.path(), [&["inspect", "disk.raw", "--json"][..], more].concat());
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.both()))
}

fn kinds(inspection: &Value) -> Vec<&str> {
    let edits = inspection["report"]["recipe"]["edits"].as_array().unwrap();
    edits.iter().map(|edit| edit["kind"]["kind"].as_str().unwrap()).collect()
}

/// Prepares a disk whose C: is closed, as the user accepts, and says what others see of it then.
fn open(disk: &Disk, code: &str) -> std::collections::BTreeMap<String, Vec<Value>> {
    let option = code.strip_prefix("guest::").unwrap();
    let closed = inspect(disk, &[]);
    let blocks = finding(&closed, code);
    assert_eq!(blocks["severity"], "blocks");
    assert!(blocks["advice"].as_str().unwrap().contains(option), "{blocks}");
    assert!(kinds(&closed).is_empty(), "never without the user's word");
    let accepted = inspect(disk, &["--accept", option]);
    let warns = finding(&accepted, code);
    assert_eq!(warns["severity"], "warns");
    assert!(warns["remedy"].as_str().unwrap().contains("lost"), "{warns}");
    assert_eq!(kinds(&accepted)[0], "clear_log");
    assert!(kinds(&accepted).contains(&"set_values"));
    let arguments = ["prepare", "disk.raw", "--write", "out.raw", "--accept", option];
    let prepared = replant(disk.directory.path(), arguments);
    assert_eq!(prepared.code, 0, "{}", prepared.both());
    assert!(prepared.stdout.contains("is lost"), "{}", prepared.both());
    fs::rename(disk.directory.path().join("out.raw"), &disk.image).unwrap();
    with_c(disk, "ntfs-3g.probe --readwrite $loop && ntfsfix --no-action $loop");
    let again = inspect(disk, &["--accept", option]);
    assert!(kinds(&again).is_empty(), "{again:#}");
    let (files, is_dirty) = dissect(&disk.image, Some(C));
    assert!(is_dirty, "Windows is to check it");
    files
}

#[test]
fn the_log_of_a_windows_that_was_running_is_given_up_by_word_only() {
    for version in [1, 2] {
        let disk = make("uefi", &guest("2022"));
        log_in_use(&disk, version);
        let files = open(&disk, "guest::windows_unclean");
        assert!(files.contains_key("/WINDOWS/System32/ntoskrnl.exe"));
    }
}

/// The log is made by hand after the documented structures, and what ntfsrecover does with it is upstream's;
/// that logs of Windows' own making are read as well is its word.
#[test]
fn what_waits_in_the_log_of_a_windows_that_was_running_is_put_in_place() {
    let (old, new) = ("from before the log", "from the log of NTFS");
    let new = &new[..old.len()];
    for version in [1, 2] {
        let disk = make("uefi", &guest("2022"));
        log_waits(&disk, version, old, new);
        let inspection = inspect(&disk, &[]);
        let informs = finding(&inspection, "guest::windows_unclean");
        assert_eq!(informs["severity"], "informs", "{informs}");
        assert!(informs["evidence"].to_string().contains("records of the log: 3"), "{informs}");
        assert_eq!(kinds(&inspection)[0], "apply_log");
        // Nothing is given up, whatever is accepted.
        assert_eq!(kinds(&inspect(&disk, &["--accept", "windows_unclean"]))[0], "apply_log");
        let prepared =
            replant(disk.directory.path(), ["prepare", "disk.raw", "--write", "out.raw"]).success();
        assert!(prepared.stdout.contains("apply NTFS's log"), "{}", prepared.both());
        assert!(prepared.stdout.contains("RealTimeIsUniversal"), "{}", prepared.both());
        let note = |disk: &Disk, text: &str| {
            with_c(disk, &format!("[ \"$(ntfscat -f $loop note.txt)\" = '{text}' ]"))
        };
        note(&disk, old);
        fs::rename(disk.directory.path().join("out.raw"), &disk.image).unwrap();
        note(&disk, new);
        with_c(&disk, "ntfs-3g.probe --readwrite $loop && ntfsfix --no-action $loop");
        let (files, is_dirty) = dissect(&disk.image, Some(C));
        assert!(!is_dirty && files.contains_key("/note.txt"));
        assert!(kinds(&inspect(&disk, &[])).is_empty(), "once prepared there is nothing to do");
        // Nor is there where only the log waits: Windows applies it by itself.
        log_waits(&disk, version, new, old);
        let again = inspect(&disk, &[]);
        assert_eq!(finding(&again, "guest::windows_unclean")["severity"], "informs");
        assert!(kinds(&again).is_empty(), "{again:#}");
    }
}

#[test]
fn the_session_of_a_hibernated_windows_is_given_up_by_word_only() {
    let disk = make("uefi", &guest("2022"));
    with_c(
        &disk,
        "at=$(mktemp -d)\nntfs-3g $loop $at\n(printf hibr; head -c 8188 /dev/zero) >$at/hiberfil.sys\numount $at\nwhile fuser -s $loop 2>/dev/null; do sleep 0.05; done\nrmdir $at",
    );
    // What a running Windows gives up does not open it.
    let other = inspect(&disk, &["--accept", "windows_unclean"]);
    assert_eq!(finding(&other, "guest::windows_hibernated")["severity"], "blocks");
    assert!(kinds(&other).is_empty());
    let files = open(&disk, "guest::windows_hibernated");
    assert!(!files.contains_key("/hiberfil.sys"));
}

#[test]
fn a_configuration_says_so_too() {
    let disk = make("uefi", &guest("2022"));
    log_in_use(&disk, 2);
    let workspace = workspace(&disk, "");
    let refused = workspace.run(&["plan"]);
    assert_eq!(refused.code, 1, "{}", refused.both());
    assert!(refused.both().contains("accept = [\"windows_unclean\"]"), "{}", refused.both());
    workspace.configure(&configuration("accept = [\"windows_unclean\"]"));
    let planned = workspace.run(&["plan"]);
    assert_eq!(planned.code, 0, "{}", planned.both());
    for said in ["guest::windows_unclean", "clear NTFS's log", "chkdsk"] {
        assert!(planned.both().contains(said), "{said}: {}", planned.both());
    }
    let applied = workspace.apply();
    assert_eq!(applied.code, 0, "{}", applied.both());
    let (_, is_dirty) = dissect(&workspace.volume_file("instance.app.volume.root"), Some(C));
    assert!(is_dirty);
}
