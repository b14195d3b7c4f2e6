//! QEMU processes: started so that they outlive us, found again, ended.
//!
//! A machine's directory holds `alive.lock`, whose lock QEMU inherits and holds for as long as it
//! lives: nothing else says so surely whether there is a process. Who it is says the pid file,
//! checked against the process's command line (the pid file's name is unique to one start) and,
//! once recorded, its start time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::failure::Failure;
use super::qmp;
use super::record::{BootRecord, ProcessRecord};

/// The program.
pub(super) const QEMU: &str = "qemu-system-x86_64";
/// The console's log.
pub(super) const CONSOLE: &str = "console.log";
/// The console of the start before.
const CONSOLE_BEFORE: &str = "console.before.log";
/// The control socket, relative to the directory: a socket's path is limited to 107 bytes.
pub(super) const QMP_SOCKET: &str = "qmp.sock";
/// What QEMU said of itself.
pub(super) const QEMU_LOG: &str = "qemu.log";
const ALIVE: &str = "alive.lock";

/// How long QEMU may take until it runs on its own.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long QEMU may take to end after each of: quit, SIGTERM, SIGKILL.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// The file that a start of a machine writes its pid to.
pub(super) fn pid_file(directory: &Path, nonce: &str) -> PathBuf {
    directory.join(format!("{nonce}.pid"))
}

/// Makes a machine's directory ready for a start: the last start's console is set aside.
pub(super) fn prepare(directory: &Path) -> Result<(), Failure> {
    let fail = |error| Failure::file("prepare", directory, error);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(fail)?;
    if directory.join(CONSOLE).exists() {
        fs::rename(directory.join(CONSOLE), directory.join(CONSOLE_BEFORE)).map_err(fail)?;
    }
    for entry in fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let stale =
            path.extension().is_some_and(|extension| extension == "pid") || path.ends_with(QMP_SOCKET);
        if stale {
            fs::remove_file(&path).map_err(fail)?;
        }
    }
    Ok(())
}

/// Starts QEMU in a session of its own and returns when it answers. It keeps `alive.lock` and no
/// other descriptor of ours. (`-daemonize` and a sandbox that forbids to fork exclude each other.)
pub(super) fn start(directory: &Path, arguments: &[String]) -> Result<(), Failure> {
    let alive = lock(directory)?.ok_or_else(|| {
        Failure::state("IncorrectState", format!("a machine still runs in {}", directory.display()))
    })?;
    let log = directory.join(QEMU_LOG);
    let said = File::create(&log).map_err(|error| Failure::file("write", &log, error))?;
    let mut command = Command::new(QEMU);
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(said));
    let kept = alive.as_raw_fd();
    // SAFETY: between fork and exec only three system calls are made, on numbers.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() == -1
                || libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0
                || libc::fcntl(kept, libc::F_SETFD, 0) != 0
            {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = command.spawn().map_err(|error| {
        Failure::program(
            "LocalQemu",
            format!("cannot start {QEMU}: {error} (Debian's package: qemu-system-x86)"),
        )
    })?;
    // From here on QEMU alone holds the lock.
    drop(alive);
    let deadline = Instant::now() + START_TIMEOUT;
    let fail = |error| Failure::file("wait for QEMU in", directory, error);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(fail)? {
            break status;
        }
        if qmp::command(directory, "query-status").is_ok() {
            // While this process lives, QEMU is its child and somebody must take note of its end.
            thread::Builder::new()
                .name("qemu".to_owned())
                .stack_size(64 << 10)
                .spawn(move || child.wait())
                .map_err(fail)?;
            return Ok(());
        }
        if Instant::now() >= deadline {
            child.kill().map_err(fail)?;
            break child.wait().map_err(fail)?;
        }
        thread::sleep(Duration::from_millis(10));
    };
    Err(Failure::program(
        "LocalQemu",
        format!("{QEMU} did not start ({status}): {}", said_of_itself(directory)),
    ))
}

/// QEMU's own messages, shortened.
fn said_of_itself(directory: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(file) = File::open(directory.join(QEMU_LOG)) {
        // An unreadable log says nothing; the exit status is told in any case.
        drop(file.take(4096).read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The lock that says that no QEMU lives here; `None` when one does.
fn lock(directory: &Path) -> Result<Option<File>, Failure> {
    let path = directory.join(ALIVE);
    let fail = |error| Failure::file("lock", &path, error);
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Whether a QEMU lives here.
pub(super) fn is_alive(directory: &Path) -> Result<bool, Failure> {
    if !directory.join(ALIVE).exists() {
        return Ok(false);
    }
    let Some(free) = lock(directory)? else { return Ok(true) };
    // Not by closing it: a child process that was forked meanwhile has it open too, and the next
    // look would take that for a QEMU.
    free.unlock().map_err(|error| Failure::file("unlock", &directory.join(ALIVE), error))?;
    Ok(false)
}

/// The process of a start, when it lives and is proven to be that one.
pub(super) fn find(directory: &Path, boot: &BootRecord) -> Option<ProcessRecord> {
    let path = pid_file(directory, &boot.nonce);
    let pid: u32 = fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    let found = ProcessRecord { pid, start_ticks: start_ticks(pid)? };
    if boot.process.is_some_and(|recorded| recorded != found) {
        return None;
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let path = path.as_os_str().as_encoded_bytes();
    line.split(|byte| *byte == 0).any(|argument| argument == path).then_some(found)
}

/// Field 22 of `/proc/PID/stat`; the command's name before it may hold anything.
fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Asks the guest to power off, as a press on the button would. A guest that does not listen is
/// ended later.
pub(super) fn press_power_button(directory: &Path) {
    // Without an answer the machine is ended when its time is over.
    drop(qmp::command(directory, "system_powerdown"));
}

/// Ends a machine: what its guest wrote is in the files, what it kept in memory is lost.
pub(super) fn end(directory: &Path, boot: &BootRecord) -> Result<(), Failure> {
    drop(qmp::command(directory, "quit"));
    if wait_for_end(directory)? {
        return Ok(());
    }
    for signal in [Signal::TERM, Signal::KILL] {
        // The descriptor names the process that was checked, whatever its number names later.
        if let Some(process) = find(directory, boot)
            && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
            && let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty())
            && find(directory, boot) == Some(process)
        {
            // One that is gone meanwhile is what is wanted.
            pidfd_send_signal(descriptor, signal).ok();
        }
        if wait_for_end(directory)? {
            return Ok(());
        }
    }
    Err(Failure::program("LocalQemu", format!("the machine in {} cannot be ended", directory.display())))
}

fn wait_for_end(directory: &Path) -> Result<bool, Failure> {
    let deadline = Instant::now() + END_TIMEOUT;
    while is_alive(directory)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(true)
}

/// Ends whatever lives in a directory that belongs to no instance any more, and removes it.
pub(super) fn remove(directory: &Path) -> Result<(), Failure> {
    if is_alive(directory)? {
        let nonce = fs::read_dir(directory).ok().into_iter().flatten().flatten().find_map(|entry| {
            let path = entry.path();
            let is_pid = path.extension().is_some_and(|extension| extension == "pid");
            is_pid.then(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned())).flatten()
        });
        let boot = BootRecord { nonce: nonce.unwrap_or_default(), started: 0, process: None };
        end(directory, &boot)?;
    }
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::file("remove", directory, error))
        }
        _ => Ok(()),
    }
}
