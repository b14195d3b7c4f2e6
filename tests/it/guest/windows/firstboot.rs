//! The first boot's service: built anew and compared, and run under Wine, whose service manager finds it
//! registered offline as Windows' does.
//!
//! What Wine does not show, because it is laxer than Windows or has none of it: a restart (Wine notes that
//! it was asked for one and goes on), disks (`PhysicalDrive…` has no attributes), drivers (pnputil does
//! nothing), jobs of Windows before 8 (which do not nest), the 30 seconds in which a service must answer
//! the service manager, Windows Installer's own service (which a killed msiexec leaves at work), access
//! rights of any kind.

mod wine;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use replant::guest::windows::firstboot::{
    Action, Bounds, CommandLine, LAUNCHER, Outcome, Step, VMWARE_TOOLS, When, directory_descriptor,
    file_descriptor, fresh_state, render,
};

use wine::{Wine, compile};

/// What a launcher may import, and the oldest Windows that has it: nothing later than Vista.
const IMPORTS: &str = "AdjustTokenPrivileges AssignProcessToJobObject ChangeServiceConfigW CloseHandle \
    CloseServiceHandle CreateEventW CreateFileW CreateJobObjectW CreatePipe CreateProcessW DeleteFileW \
    DeleteService DeviceIoControl EnterCriticalSection ExitProcess FlushFileBuffers GetCommState \
    GetCurrentProcess GetExitCodeProcess GetFileSizeEx GetLastError GetModuleFileNameW GetProcAddress \
    GetProcessHeap GetStdHandle GetSystemDirectoryW GetSystemTime GetTickCount64 HeapAlloc HeapFree \
    InitializeCriticalSection InitiateSystemShutdownExW LeaveCriticalSection LoadLibraryW \
    LookupPrivilegeValueW MoveFileExW MultiByteToWideChar OpenProcessToken OpenSCManagerW OpenServiceW \
    PeekNamedPipe QueryInformationJobObject ReadFile RegCloseKey RegEnumKeyExW RegOpenKeyExW \
    RegQueryValueExW RegisterServiceCtrlHandlerExW ResumeThread SetCommState SetCommTimeouts SetEvent \
    SetHandleInformation SetInformationJobObject SetLastError SetServiceStatus Sleep \
    StartServiceCtrlDispatcherW TerminateJobObject TerminateProcess WaitForMultipleObjects \
    WaitForSingleObject WideCharToMultiByte WriteFile lstrcmpiW";

#[test]
fn the_launcher_is_what_its_sources_make_and_starts_on_2008_r2() {
    let directory = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("firstboot");
    let built = ["one.exe", "two.exe"].map(|name| {
        let path = directory.path().join(name);
        assert!(Command::new(source.join("build")).arg(&path).status().unwrap().success());
        fs::read(path).unwrap()
    });
    assert!(built[0] == built[1], "each build gives other bytes");
    assert!(built[0] == LAUNCHER, "firstboot/launcher.exe is not of these sources: run firstboot/build");

    let output =
        Command::new("x86_64-w64-mingw32-objdump").arg("-p").arg(source.join("launcher.exe")).output();
    let dump = String::from_utf8(output.unwrap().stdout).unwrap();
    let field = |name: &str| dump.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!((field("MajorSubsystemVersion"), field("MinorSubsystemVersion")), ("6".into(), "1".into()));
    assert_eq!((field("MajorOSystemVersion"), field("MinorOSystemVersion")), ("6".into(), "1".into()));
    assert_eq!(field("Time/Date"), "Thu Jan  1 00:00:00 1970");
    let libraries: Vec<&str> =
        dump.lines().filter_map(|line| line.trim().strip_prefix("DLL Name: ")).collect();
    assert_eq!(libraries, ["ADVAPI32.dll", "KERNEL32.dll"]);
    let mut imports: Vec<&str> = dump
        .lines()
        .skip_while(|line| !line.contains("DLL Name: "))
        .take_while(|line| !line.starts_with("PE File Base Relocations"))
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [address, hint, name]
                if u32::from_str_radix(address, 16).is_ok() && hint.parse::<u32>().is_ok() =>
            {
                Some(name)
            }
            _ => None,
        })
        .collect();
    imports.sort_unstable();
    assert_eq!(imports, IMPORTS.split_whitespace().collect::<Vec<_>>());
}

fn step(name: &str, action: Action) -> Step {
    let bounds = Bounds { timeout: 20, attempts: 1, pause: 0 };
    Step {
        name: name.into(),
        action,
        when: When::Always,
        bounds,
        success: &[0, 3010],
        restarts: None,
        optional: false,
    }
}

fn helper(arguments: &[&str]) -> CommandLine {
    arguments
        .iter()
        .fold(CommandLine::of_staged("step.exe").unwrap(), |line, text| line.argument(text).unwrap())
}

fn run(name: &str, arguments: &[&str]) -> Step {
    step(name, Action::Run(helper(arguments)))
}

fn bounded(mut step: Step, timeout: u32, attempts: u32) -> Step {
    step.bounds = Bounds { timeout, attempts, pause: 1 };
    step
}

fn when(mut step: Step, when: When) -> Step {
    step.when = when;
    step
}

/// An Ethernet adapter that Wine shows: one of the machine's, which has an address.
fn ethernet() -> Option<[u8; 6]> {
    let all = fs::read_dir("/sys/class/net").ok()?.filter_map(Result::ok);
    let up = all.filter(|entry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("type").trim() == "1" && read("operstate").trim() == "up" && entry.file_name() != "lo"
    });
    let text = up.map(|entry| fs::read_to_string(entry.path().join("address")).unwrap()).next()?;
    let bytes: Vec<u8> = text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().ok()
}

/// The steps of the service that does everything.
fn every_kind() -> Vec<Step> {
    let on = |mac| Action::RunOnAdapter { mac, command: helper(&["print"]).words("index={adapter}") };
    let mut steps = vec![
        run("prints", &["print", r#"a "b" \"#, "{here} %PATH% & ^ é", "", r"C:\x\"]),
        bounded(run("third time", &["count", "count.txt", "3"]), 20, 4),
        bounded(run("hangs", &["hang", "beat.txt"]), 2, 1),
        bounded(run("floods", &["flood"]), 5, 1),
        run("wants a restart", &["exit", "3010"]),
        when(run("after success", &["exit", "0"]), When::Succeeded("third time".into())),
        when(run("after failure", &["exit", "0"]), When::Succeeded("hangs".into())),
        bounded(run("fails", &["exit", "5"]), 20, 2),
        step("is absent", Action::Run(CommandLine::of_staged("absent.exe").unwrap())),
        step(
            "no such adapter",
            Action::RunOnAdapter { mac: [2, 3, 4, 5, 6, 7], command: helper(&["print"]) },
        ),
        step("nothing to remove", Action::Uninstall("Nothing of this name")),
        step("removes", Action::Uninstall(VMWARE_TOOLS)),
        Step { optional: true, ..run("is tried", &["exit", "6"]) },
        when(run("not tidied up", &["exit", "0"]), When::AllSucceeded),
    ];
    steps.extend(ethernet().map(|mac| step("adapter", on(mac))));
    steps
}

fn check_every_kind(log: &str, directory: &Path, console: &str) {
    for said in [
        "start 1 of 5,",
        r#"| <a "b" \>"#,
        r"| <{here} %PATH% & ^ ",
        r"| <>",
        r"| <C:\x\>",
        "step [third time] begins, attempt 3 of 4",
        "exit code 7 after",
        "step [third time] succeeded",
        "| not ended",
        "killed with its children after",
        "step [hangs] failed",
        "|  [2J flood",
        "| (it prints more, which is left out)",
        "step [floods] failed",
        "exit code 3010 after",
        "step [wants a restart] succeeded",
        "step [after success] succeeded",
        "step [after failure] skipped",
        "step [fails] begins, attempt 2 of 2",
        "step [fails] failed",
        "cannot be started: Windows error 2",
        "there is no network adapter 02:03:04:05:06:07",
        "nothing of Windows Installer's is called Nothing of this name",
        "step [nothing to remove] succeeded",
        r#"system32\msiexec.exe" /x {0A1B2C3D-1111-2222-3333-0123456789AB} /quiet /norestart /l*v "C:\Replant\"#,
        // Windows Installer knows no such product: 1605.
        "exit code 1605 after",
        "step [is tried] failed",
        "step [not tidied up] skipped",
        "restarts Windows once, as a step asked for",
    ] {
        assert!(log.contains(said), "{said}\n{log}");
    }
    assert!(!log.contains('\x1b') && !log.contains("attempt 4 of 4"), "{log}");
    let succeeded = if ethernet().is_some() {
        assert!(log.contains("| <index=") && !log.contains("| <index=0>"), "{log}");
        6
    } else {
        5
    };
    assert_eq!(
        Outcome::in_log(log),
        Some(Outcome::Finished { succeeded, failed: 6, skipped: 2, in_vain: 1 }),
        "{log}"
    );
    // The child of what hung is dead too.
    let beats = || fs::metadata(directory.join("beat.txt")).unwrap().len();
    let before = beats();
    assert!(before > 0);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(beats(), before);
    // Lines went to the serial port too, as they are in the log.
    let line = log.lines().find(|line| line.contains("restarts Windows once")).unwrap();
    assert!(console.contains(line), "{console}");
}

/// Command lines of all kinds of arguments, as they stand once their tokens are replaced.
fn hostile_lines() -> Vec<(Vec<String>, String)> {
    let text = prop_oneof![r#"[ab"\\ %&^{}]{0,8}"#, r"[^\x00-\x1f\x7f-\x9f]{0,12}"];
    let arguments = proptest::collection::vec(text, 0..5);
    let mut runner = TestRunner::deterministic();
    (0..400)
        .map(|_| {
            let arguments = arguments.new_tree(&mut runner).unwrap().current();
            let line = helper(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            let line = line.text().unwrap().replace("{here}", r"C:\Replant").replace("{{", "{");
            (arguments, line)
        })
        .collect()
}

#[test]
fn under_wine() {
    let began = Instant::now();
    let mut wine = Wine::new();
    compile(Path::new("tests/it/guest/windows/firstboot/step.c"), &wine.drive().join("step.exe"));
    wine.product("{0A1B2C3D-1111-2222-3333-0123456789AB}", VMWARE_TOOLS);

    let list = |steps: &[Step]| render(steps, 5, true).unwrap();
    let begun = |list: &[u8], state: &[u8]| [&fresh_state(list), state].concat();
    wine.service("Replant", &list(&every_kind()), b"");
    let one = [run("one", &["count", "count.txt", "1"])];
    let mut damaged = list(&one);
    damaged[80] ^= 1;
    wine.service("Damaged", &damaged, b"");
    wine.service("Short", &list(&one)[..60], b"");
    wine.service("TooOften", &list(&one), &begun(&list(&one), &b"start\r\n".repeat(5)));
    // A backup of a guest that was restored before: its first boot failed, and kept its state and its log.
    let tried = Step { optional: true, ..run("tried", &["exit", "6"]) };
    let tidy = when(run("tidy up", &["count", "tidy.txt", "1"]), When::AllSucceeded);
    let again = [one[0].clone(), tried, tidy];
    let old = b"start\r\nbegan one\r\nfailed one\r\n".repeat(5);
    wine.service("Again", &list(&again), &begun(&list(&every_kind()), &old));
    let old = "x Replant first boot: finished: 0 succeeded, 1 failed, 0 skipped\r\n";
    fs::write(wine.drive().join("Again/firstboot.log"), old).unwrap();
    // What crashes left: cut lines, NULs, names of no step. The step that took the machine down has no
    // attempt left, one that restarts Windows has succeeded when its service is there, and is tried again
    // when it is not; the last goes on where it was.
    let restarts = |name, service| Step {
        restarts: Some(service),
        ..bounded(run(name, &["count", "count.txt", "1"]), 20, 2)
    };
    let cut = [
        run("crashed", &["count", "count.txt", "1"]),
        restarts("restarts", "Stopped"),
        restarts("was cut short", "Absent"),
        run("done", &["exit", "1"]),
        one[0].clone(),
    ];
    let state = b"start\r\n\r\nbegan crashed\r\nbegan restarts\r\nbegan was cut short\r\nsucceeded done\r\nbegan none\r\n\0\0\xff\xfesuccee";
    wine.service("Cut", &list(&cut), &begun(&list(&cut), state));
    // Its starts cannot be counted: a directory is in the way.
    wine.service("Uncounted", &list(&one), b"");
    let uncounted = wine.drive().join("Uncounted/firstboot.state");
    fs::remove_file(&uncounted).unwrap();
    fs::create_dir(&uncounted).unwrap();
    wine.service("Stopped", &list(&[run("long", &["hang", "beat.txt"])]), b"");
    let hostile = hostile_lines();
    let lines: Vec<&str> = hostile.iter().map(|(_, line)| line.as_str()).collect();
    fs::write(wine.drive().join("lines.txt"), lines.join("\n")).unwrap();
    fs::write(wine.drive().join("directory.sd"), directory_descriptor()).unwrap();
    fs::write(wine.drive().join("file.sd"), file_descriptor()).unwrap();

    let prepared = began.elapsed();
    wine.start();
    wine.run(&[r"C:\step.exe", "split", r"C:\lines.txt", r"C:\split.txt"]);
    let directory = wine.run(&[r"C:\step.exe", "sddl", r"C:\directory.sd"]);
    let file = wine.run(&[r"C:\step.exe", "sddl", r"C:\file.sd"]);
    wine.wait_for("Stopped", |log| log.contains("step [long] begins"));
    wine.run(&["net", "stop", "Stopped"]);
    let stopped = wine.wait_for("Stopped", |log| log.contains("goes on when Windows starts next"));
    assert!(stopped.contains("killed with its children"), "{stopped}");
    let ended = |log: &str| Outcome::in_log(log).is_some();

    let log = wine.wait_for("Damaged", ended);
    let damaged = "firstboot.steps is damaged, none of its steps is run: its checksum is missing or wrong";
    assert_eq!(Outcome::in_log(&log), Some(Outcome::GaveUp(damaged.into())));
    assert_eq!(Outcome::in_log(&wine.wait_for("Short", ended)), Some(Outcome::GaveUp(damaged.into())));
    let log = wine.wait_for("TooOften", ended);
    assert_eq!(Outcome::in_log(&log), Some(Outcome::GaveUp("it was started too often".into())));
    let log = wine.wait_for("Uncounted", ended);
    assert_eq!(Outcome::in_log(&log), Some(Outcome::GaveUp("its starts cannot be counted".into())));
    for service in ["Damaged", "Short", "TooOften", "Uncounted"] {
        assert!(!wine.drive().join(service).join("count.txt").exists(), "{service}");
    }

    let log = wine.wait_for("Cut", ended);
    assert_eq!(
        Outcome::in_log(&log),
        Some(Outcome::Finished { succeeded: 4, failed: 1, skipped: 0, in_vain: 0 }),
        "{log}"
    );
    assert!(log.contains("start 2 of 5, 5 steps"), "{log}");
    assert!(!log.contains("step [crashed] begins") && !log.contains("step [restarts] begins"), "{log}");
    assert!(log.contains("the service Absent, which it installs, is not there"), "{log}");
    assert!(log.contains("step [was cut short] begins, attempt 2 of 2"), "{log}");
    assert_eq!(fs::read(wine.drive().join("Cut/count.txt")).unwrap(), b"xx");

    // Its log begins with the end of the other one.
    let log = wine.wait_for("Again", |log| log.contains("start 1 of 5") && ended(log));
    let all = Outcome::Finished { succeeded: 2, failed: 0, skipped: 0, in_vain: 1 };
    assert_eq!(Outcome::in_log(&log), Some(all), "{log}");
    assert!(log.starts_with(old) && log.contains("begins anew") && log.contains("start 1 of 5"), "{log}");
    assert_eq!(fs::read(wine.drive().join("Again/count.txt")).unwrap(), b"x");
    assert!(!wine.drive().join("Again/firstboot.state").exists());

    let log = wine.wait_for("Replant", |log| log.contains("restarts Windows once"));
    let console = wine.console("restarts Windows once");
    check_every_kind(&log, &wine.drive().join("Replant"), &console);

    let split = fs::read_to_string(wine.drive().join("split.txt")).unwrap();
    assert_eq!(split.lines().count(), hostile.len());
    for ((arguments, line), taken) in hostile.iter().zip(split.split('\n')) {
        let taken: Vec<&str> = taken.split_terminator('\x1f').skip(1).collect();
        assert_eq!(&taken, arguments, "{line}");
    }
    assert_eq!(directory, "O:BAG:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)");
    assert_eq!(file, "O:BAG:SYD:P(A;;FA;;;SY)(A;;FA;;;BA)");

    // Services that ended are gone; the one that was stopped starts again, and its attempt is used up.
    let registry = wine.stop();
    for service in ["Replant", "Damaged", "Short", "TooOften", "Again", "Cut", "Uncounted"] {
        assert!(!registry.contains(&format!(r"\\Services\\{service}]")), "{service} is still there");
    }
    assert!(registry.contains(r"\\Services\\Stopped]"));
    let first = began.elapsed();
    wine.start();
    let log = wine.wait_for("Stopped", ended);
    assert!(
        log.contains("start 2 of 5, 1 steps") && log.contains("cut short by the end of an earlier start"),
        "{log}"
    );
    assert_eq!(
        Outcome::in_log(&log),
        Some(Outcome::Finished { succeeded: 0, failed: 1, skipped: 0, in_vain: 0 }),
        "{log}"
    );
    wine.stop();
    eprintln!("prefix {prepared:?}, first start {first:?}, all {:?}", began.elapsed());
}
