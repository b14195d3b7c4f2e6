//! The jail's helper process: builds the jail, starts the program in it, waits for its end.
//!
//! Three processes: the helper outside (it only waits), process 1 of the jail (it has the jail's
//! filter too, so that tracing it wins nothing, and its end ends all others), and the program.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Component, Path, PathBuf};

use rustix::process::{Signal, WaitOptions};

use super::confine::{self, ConfineError};
use super::filter::{self, FilterError};
use super::spec::{JailSpec, socket_path};
use crate::diagnostic::chain;
use crate::sandbox::link::{MAX_SOCKETS, send_descriptors};

/// First byte of the answer: the sockets follow as descriptors.
pub const READY: u8 = 0;
/// First byte of the answer: it failed; the text follows.
pub const FAILED: u8 = 1;
/// First byte of the answer: namespaces are forbidden here; the text follows.
pub const FORBIDDEN: u8 = 2;

/// Bytes of the empty root beside its files: directories and sockets.
const ROOT_SLACK: u64 = 1 << 20;

/// Why there is no jail.
#[derive(Debug, thiserror::Error)]
pub enum PrisonError {
    /// A step into confinement failed.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The filter is not in place.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A file of the jail cannot be read.
    #[error("cannot read {}", path.display())]
    Open {
        /// The host's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be put into the jail.
    #[error("cannot put {to} into the jail")]
    Fill {
        /// Its path in the jail.
        to: String,
        /// What the system said.
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot {step}")]
    Start {
        /// What was tried.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Builds the jail and runs its program to the end; gives its exit code (128 and the signal's
/// number when one ended it). `control` gets the answer: the sockets, or why not.
pub fn run(spec: &JailSpec, control: UnixStream) -> u8 {
    match outside(spec, &control) {
        Ok(code) => code,
        Err(error) => {
            tell_failure(&control, &error);
            1
        }
    }
}

fn tell_failure(mut control: &UnixStream, error: &PrisonError) {
    let forbidden = matches!(error, PrisonError::Confine(confine) if confine.namespaces);
    let mut text = vec![if forbidden { FORBIDDEN } else { FAILED }];
    text.extend(chain(error).bytes());
    // Nobody else to tell when the parent is gone.
    let _gone = control.write_all(&text);
}

fn outside(spec: &JailSpec, control: &UnixStream) -> Result<u8, PrisonError> {
    confine::follow_parent(spec.parent)?;
    let mut files = Vec::new();
    for file in &spec.files {
        let open = || -> io::Result<(File, u64)> {
            let opened = File::open(&file.from)?;
            let length = opened.metadata()?.len();
            Ok((opened, length))
        };
        files.push(open().map_err(|source| PrisonError::Open { path: file.from.clone(), source })?);
    }
    confine::drop_root(spec.parent)?;
    confine::enter_namespaces()?;
    confine::alarm(spec.seconds);
    match fork()? {
        Some(child) => Ok(wait_for(child)),
        None => {
            let code = match inside(spec, files, control) {
                Ok(code) => code,
                Err(error) => {
                    tell_failure(control, &error);
                    1
                }
            };
            std::process::exit(i32::from(code));
        }
    }
}

/// Process 1 of the jail.
fn inside(spec: &JailSpec, files: Vec<(File, u64)>, control: &UnixStream) -> Result<u8, PrisonError> {
    let start = |step| move |source: io::Error| PrisonError::Start { step, source };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| start("follow its helper")(errno.into()))?;
    confine::alarm(spec.seconds);
    let bytes = files.iter().map(|(_, length)| length.next_multiple_of(4096)).sum::<u64>() + ROOT_SLACK;
    let mut listeners = Vec::new();
    confine::enter_empty_root::<PrisonError>(bytes, || {
        for directory in ["tmp", "s"] {
            make_directory(Path::new(directory))?;
        }
        for ((source, _), file) in files.into_iter().zip(&spec.files) {
            fill(source, &file.to, file.executable)?;
        }
        for index in 0..spec.sockets.min(MAX_SOCKETS) {
            let path = socket_path(index);
            let listener = UnixListener::bind(path.trim_start_matches('/'));
            listeners.push(listener.map_err(|source| PrisonError::Fill { to: path, source })?);
        }
        Ok(())
    })?;
    confine::mount_scratch("/tmp", spec.scratch_bytes)?;
    send_listeners(control, &listeners).map_err(start("hand its sockets over"))?;
    drop(listeners);
    confine::limit(spec.seconds)?;
    confine::drop_capabilities()?;
    let (no_clone3, uml) = (filter::no_clone3()?, filter::uml()?);
    filter::apply(&no_clone3)?;
    filter::apply(&uml)?;
    // The program's input: nothing ever comes, and it never ends (there is no /dev/null here).
    let (silence, _kept_open) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| start("make a pipe")(errno.into()))?;
    match fork()? {
        Some(child) => Ok(wait_for(child)),
        None => {
            let error = execute(spec, &silence);
            // The answer was sent; the console's pipe is the only way left to say why.
            let _gone = rustix::io::write(rustix::stdio::stderr(), error.to_string().as_bytes());
            std::process::exit(127);
        }
    }
}

fn make_directory(path: &Path) -> Result<(), PrisonError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(confine::READABLE.bits())
        .create(path)
        .map_err(|source| PrisonError::Fill { to: path.display().to_string(), source })
}

fn fill(mut source: File, to: &str, executable: bool) -> Result<(), PrisonError> {
    let error = |source| PrisonError::Fill { to: to.to_owned(), source };
    let path: PathBuf =
        Path::new(to).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    let mut target = File::options().write(true).create_new(true).mode(mode).open(&path).map_err(error)?;
    io::copy(&mut source, &mut target).map_err(error)?;
    Ok(())
}

fn send_listeners(control: &UnixStream, listeners: &[UnixListener]) -> io::Result<()> {
    let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    send_descriptors(control, &[READY], &descriptors)
}

/// Starts the program in this process; returns only when that failed.
fn execute(spec: &JailSpec, input: &OwnedFd) -> PrisonError {
    let start = |step, source| PrisonError::Start { step, source };
    if let Err(errno) = rustix::stdio::dup2_stdin(input) {
        return start("set its input", errno.into());
    }
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let arguments: Vec<CString> = spec.program.iter().map(|argument| text(argument)).collect();
    let environment: Vec<CString> =
        spec.environment.iter().map(|(name, value)| text(&format!("{name}={value}"))).collect();
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argument_pointers, environment_pointers) = (pointers(&arguments), pointers(&environment));
    let Some(program) = arguments.first() else {
        return start("start nothing", io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: all three point to texts and null-ended arrays that live until the call returns.
    // Every other descriptor of this process is close-on-exec, as the standard library makes them.
    unsafe {
        libc::execve(program.as_ptr(), argument_pointers.as_ptr(), environment_pointers.as_ptr());
    }
    start("start the program in the jail", io::Error::last_os_error())
}

/// Forks; the child gets `None`.
fn fork() -> Result<Option<rustix::process::Pid>, PrisonError> {
    // SAFETY: the process has one thread, so the child's copy of the heap and locks is consistent.
    match unsafe { libc::fork() } {
        -1 => Err(PrisonError::Start { step: "start a process", source: io::Error::last_os_error() }),
        pid => Ok(rustix::process::Pid::from_raw(pid)),
    }
}

/// Waits for a child's end, reaping whatever else ends meanwhile.
fn wait_for(child: rustix::process::Pid) -> u8 {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == child => {
                let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
                if let Some(code) = code {
                    return u8::try_from(code & 0xff).unwrap_or(1);
                }
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return 1,
        }
    }
}
