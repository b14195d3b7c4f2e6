//! The steps into confinement, each for the calling process, which has one thread.

use std::io;
use std::path::Path;

use rustix::fs::Mode;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

/// The user and group "nobody" of every Linux (the kernel's overflow id).
const NOBODY: u32 = 65534;

/// A step into confinement that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct ConfineError {
    /// What was tried.
    pub step: &'static str,
    /// Whether it is the making of namespaces, which an administrator can forbid.
    pub namespaces: bool,
    /// What the system said.
    pub source: io::Error,
}

fn failed(step: &'static str) -> impl FnOnce(rustix::io::Errno) -> ConfineError {
    move |errno| ConfineError { step, namespaces: false, source: errno.into() }
}

/// Dies with the parent, leaves no core, ignores no signal.
///
/// # Errors
/// When the parent is already gone.
pub fn follow_parent(parent: i32) -> Result<(), ConfineError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("follow the parent process"))?;
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(failed("find the parent process alive")(rustix::io::Errno::SRCH));
    }
    Ok(())
}

/// Becomes nobody when it is root; otherwise stays the user it is.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_root(parent: i32) -> Result<(), ConfineError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[]).map_err(failed("leave root's groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("leave root's group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("stop being root"))?;
    // Changing the user clears both: the kernel then lets nobody read this process's /proc, which
    // the user namespace's map is written through, and forgets whom to die with.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(failed("open its own /proc entries"))?;
    follow_parent(parent)
}

/// Enters namespaces of its own: user, mount, network, IPC, host name and cgroup, and for its
/// children a new one of process ids.
///
/// # Errors
/// When the kernel or its administrator forbids user namespaces.
pub fn enter_namespaces() -> Result<(), ConfineError> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    let refused = |step| move |source| ConfineError { step, namespaces: true, source };
    // SAFETY: the process has one thread, and no descriptor or path is cached across the change.
    unsafe { rustix::thread::unshare_unsafe(flags) }
        .map_err(|errno| refused("make namespaces")(errno.into()))?;
    let write = |file: &str, text: String| {
        std::fs::write(Path::new("/proc/self").join(file), text).map_err(refused("map the user id"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{NOBODY} {} 1", uid.as_raw()))?;
    write("gid_map", format!("{NOBODY} {} 1", gid.as_raw()))
}

/// Makes an empty filesystem in memory, of at most `bytes`, the root of everything this process
/// can name, and stands in it. `fill` puts in what belongs there; then it becomes read-only.
///
/// # Errors
/// When a mount is refused or `fill` fails.
pub fn enter_empty_root<E: From<ConfineError>>(
    bytes: u64,
    fill: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(failed("keep its mounts to itself"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let options = std::ffi::CString::new(format!("size={bytes},mode=0755")).unwrap_or_default();
    rustix::mount::mount("replant", "/tmp", "tmpfs", flags, options.as_c_str())
        .map_err(failed("mount an empty root"))?;
    rustix::process::chdir("/tmp").map_err(failed("enter the empty root"))?;
    fill()?;
    // Both arguments alike stack the old root on the new one, so that one unmount removes it.
    rustix::process::pivot_root(".", ".").map_err(failed("make the empty root its own"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed("leave the host's root"))?;
    rustix::process::chdir("/").map_err(failed("stand in its own root"))?;
    rustix::mount::mount_remount("/", flags | MountFlags::BIND | MountFlags::RDONLY, c"")
        .map_err(failed("make its root read-only"))?;
    Ok(())
}

/// Mounts a writable directory of at most `bytes` at `path` of the new root.
///
/// # Errors
/// When the mount is refused.
pub fn mount_scratch(path: &str, bytes: u64) -> Result<(), ConfineError> {
    let options = std::ffi::CString::new(format!("size={bytes},mode=0700")).unwrap_or_default();
    rustix::mount::mount("replant", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
        .map_err(failed("mount a writable directory"))
}

/// Gives up every capability and every way to get one again.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_capabilities() -> Result<(), ConfineError> {
    for capability in CapabilitySet::all().iter() {
        // A capability that this kernel does not know cannot be had either.
        let _unknown = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed("give up ambient capabilities"))?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(failed("give up its capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("promise to take no new privileges"))
}

/// Bounds what the process may use. Files need no bound: all it can write is in its scratch
/// directory, which has one (and UML's sparse memory file is longer than its memory).
///
/// # Errors
/// When the kernel refuses.
pub fn limit(seconds: u32) -> Result<(), ConfineError> {
    for (resource, value) in [
        (Resource::Core, 0),
        (Resource::Nofile, 256),
        (Resource::Cpu, u64::from(seconds)),
        (Resource::Memlock, 0),
        (Resource::Msgqueue, 0),
        // Before Linux 5.14 this counts all processes of the user, not only the jail's.
        (Resource::Nproc, 4096),
    ] {
        let current = rustix::process::getrlimit(resource);
        let value = current.maximum.map_or(value, |maximum| value.min(maximum));
        let new = Rlimit { current: Some(value), maximum: Some(value) };
        rustix::process::setrlimit(resource, new).map_err(failed("bound its resources"))?;
    }
    Ok(())
}

/// The mode of a directory or program that everyone in the jail may read.
pub const READABLE: Mode = Mode::from_raw_mode(0o755);

/// Asks the kernel to end this process after so many seconds and a little: a backstop, should the
/// parent hang. (The default action of the signal is to end.)
pub fn alarm(seconds: u32) {
    // SAFETY: sets a timer of this process; takes and gives plain numbers.
    unsafe {
        libc::alarm(seconds.saturating_add(5));
    }
}
