//! What a program finds that runs directly in the jail, not through user-mode Linux: as if the
//! guest had broken out of its kernel already. The program is this test binary, its payloads are
//! the ignored tests below.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use super::guests::MIB;
use super::{programs, request};
use replant::model::Content;
use replant::sandbox::SandboxError;
use replant::sandbox::blocks::serve::{ServedDisk, ServerSpec};
use replant::sandbox::initrd::elf;
use replant::sandbox::jail::{JailFile, JailSpec};
use replant::sandbox::link::send_descriptors;
use replant::sandbox::run::{Finished, Session};

/// Runs one of the payloads below in a jail, over an empty disk.
fn run_payload(name: &str, seconds: u32) -> Result<Finished, SandboxError> {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("empty.raw");
    File::create(&image).unwrap().set_len(MIB).unwrap();
    let own = std::env::current_exe().unwrap();
    let executable = |from: &Path, to: &str| JailFile { from: from.into(), to: to.into(), executable: true };
    let mut files = vec![executable(&own, "/payload")];
    for library in elf::needed(&own).unwrap() {
        files.push(executable(&library.file, &library.place));
    }
    let parent = i32::try_from(std::process::id()).unwrap();
    let jail = JailSpec {
        parent,
        files,
        sockets: 2,
        program: ["/payload", "--ignored", "--exact", name, "--nocapture", "--test-threads=1"]
            .map(str::to_owned)
            .into(),
        environment: vec![("REPLANT_PAYLOAD".to_owned(), "1".to_owned())],
        scratch_bytes: 4 * MIB,
        seconds,
    };
    let request = request(&[&image]);
    let server = ServerSpec {
        parent,
        disks: vec![ServedDisk {
            image: image.into(),
            format: Some("raw".to_owned()),
            member: None,
            snapshot: None,
            size: MIB,
        }],
        exchange_size: MIB,
        exchange: Content::default(),
        parcel: None,
        overlay_bytes: MIB,
        seconds,
    };
    Session::start(&programs().unwrap(), &server, None, &jail)?.finish(&request, seconds)
}

fn in_the_jail() -> bool {
    std::env::var_os("REPLANT_PAYLOAD").is_some()
}

#[test]
fn nothing_of_the_host_is_within_reach() {
    // A shared memory segment and a listening socket of the host's, for the payload to look for.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let finished = run_payload("sandbox::jailed::payload_that_looks_around", 60).unwrap();
    drop(listener);
    assert_eq!(finished.code, 0, "{}", finished.console);
    assert!(finished.console.contains("1 passed"), "{}", finished.console);
}

fn files_below(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            files_below(&path, found);
        } else {
            found.push(path.display().to_string());
        }
    }
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_looks_around() {
    if !in_the_jail() {
        return;
    }
    let refused = |what: &str, result: i64| {
        let error = io::Error::last_os_error();
        assert_eq!(result, -1, "{what} succeeded");
        println!("{what}: {error}");
    };
    // Files: its own copies and sockets, nothing else, and nothing can be changed but scratch.
    let mut files = Vec::new();
    files_below(Path::new("/"), &mut files);
    for file in &files {
        let library = file.contains("/lib") && file.contains(".so");
        assert!(file == "/payload" || file.starts_with("/s/") || library, "{file}");
    }
    for path in ["/etc/passwd", "/proc/self/status", "/sys", "/dev/shm", "/dev/null", "/root"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert!(File::create("/evil").is_err());
    assert!(File::options().write(true).open("/payload").is_err());
    fs::write("/tmp/allowed", "x").unwrap();
    assert!(fs::write("/tmp/large", vec![0; 16 << 20]).is_err());
    // Networks and processes of others.
    assert!(TcpStream::connect("127.0.0.1:22").is_err());
    assert!(UnixStream::connect("/run/systemd/private").is_err());
    assert!(std::process::id() < 10, "process ids of its own");
    // SAFETY: plain numbers; each call is refused or has no effect outside the jail.
    unsafe {
        for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
            refused("socket", i64::from(libc::socket(family, libc::SOCK_DGRAM, 0)));
        }
        refused("setuid", i64::from(libc::setuid(0)));
        refused("unshare", i64::from(libc::unshare(libc::CLONE_NEWUSER)));
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        refused("clone", libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0));
        let (none, tmp) = (c"none".as_ptr(), c"/tmp".as_ptr());
        refused("mount", i64::from(libc::mount(none, tmp, c"tmpfs".as_ptr(), 0, std::ptr::null())));
        refused("shmget", i64::from(libc::shmget(libc::IPC_PRIVATE, 4096, 0o600 | libc::IPC_CREAT)));
        for (what, call) in [
            ("bpf", libc::SYS_bpf),
            ("io_uring_setup", libc::SYS_io_uring_setup),
            ("keyctl", libc::SYS_keyctl),
            ("userfaultfd", libc::SYS_userfaultfd),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("init_module", libc::SYS_init_module),
            ("pivot_root", libc::SYS_pivot_root),
            ("setns", libc::SYS_setns),
        ] {
            refused(what, libc::syscall(call, 0, 0, 0, 0, 0));
        }
        assert_eq!(libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        assert_eq!(libc::prctl(libc::PR_CAPBSET_READ, 21), 0, "CAP_SYS_ADMIN is gone");
        // The jail's first process holds the jail together; it does not take signals from within.
        libc::kill(1, libc::SIGKILL);
    }
    println!("{} files", files.len());
}

#[test]
fn killing_everything_kills_only_the_jail() {
    let started = Instant::now();
    let finished = run_payload("sandbox::jailed::payload_that_kills", 60).unwrap();
    assert_eq!(finished.code, 128 + libc::SIGKILL, "{}", finished.console);
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_kills() {
    if in_the_jail() {
        // SAFETY: plain numbers. All processes of the jail but its first get the signal.
        unsafe {
            libc::kill(-1, libc::SIGKILL);
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
    }
}

#[test]
fn a_busy_jail_is_ended_in_time() {
    let started = Instant::now();
    let outcome = run_payload("sandbox::jailed::payload_that_never_ends", 3);
    assert!(matches!(outcome, Err(SandboxError::TimedOut { .. })), "{outcome:?}");
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_never_ends() {
    while in_the_jail() {
        // More than anybody keeps.
        println!("{}", "x".repeat(4096));
    }
}

/// What a guest makes the sandbox's kernel start (mount helpers, ntfs-3g, the threads of its drivers)
/// is a process or thread in the jail: there is an end to them, for the jail alone, and a jail that
/// is full of them ends in time like any other.
#[test]
fn processes_have_an_end_and_a_full_jail_is_ended_in_time() {
    let finished = run_payload("sandbox::jailed::payload_that_multiplies", 60).unwrap();
    assert_eq!(finished.code, 0, "{}", finished.console);
    let count = finished.console.split_once(" more were started").expect("a count").0;
    let count: u32 = count.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    // Itself, the jail's first process and the test's own threads count too.
    assert!((4000..4096).contains(&count), "{count}");

    let started = Instant::now();
    let outcome = run_payload("sandbox::jailed::payload_that_multiplies_and_stays", 5);
    assert!(matches!(outcome, Err(SandboxError::TimedOut { .. })), "{outcome:?}");
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Starts threads until the kernel refuses one, and tells how many. (It counts them as it counts
/// processes; these take less memory.)
fn multiply() -> u32 {
    let mut count = 0;
    let refused = loop {
        let sleeping = || loop {
            std::thread::park();
        };
        match std::thread::Builder::new().stack_size(16 << 10).spawn(sleeping) {
            Ok(_) if count < 10_000 => count += 1,
            Ok(_) => panic!("{count} and no end"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "{refused}");
    // SAFETY: a child, if there is one against expectation, ends at once.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        assert_eq!(child, -1, "a process beyond the limit");
    }
    count
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_multiplies() {
    if in_the_jail() {
        println!("{} more were started", multiply());
    }
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_multiplies_and_stays() {
    if in_the_jail() {
        multiply();
        loop {
            std::thread::park();
        }
    }
}

/// A guest that broke out of its kernel speaks to the block server itself: it hands over memory,
/// truncates it, and lets the server touch it.
#[test]
fn truncated_shared_memory_ends_only_the_block_server() {
    let outcome = run_payload("sandbox::jailed::payload_that_truncates", 60);
    assert!(matches!(outcome, Err(SandboxError::Blocks(_))), "{outcome:?}");
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_truncates() {
    if !in_the_jail() {
        return;
    }
    let memory = File::options().read(true).write(true).create_new(true).open("/tmp/memory").unwrap();
    memory.set_len(MIB).unwrap();
    let mut socket = UnixStream::connect("/s/0").unwrap();
    let mut send = |request: u32, numbers: &[u64], descriptor: Option<&OwnedFd>| {
        let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let mut message = Vec::new();
        for number in [request, 1, payload.len() as u32] {
            message.extend(number.to_le_bytes());
        }
        message.extend(payload);
        match descriptor {
            Some(descriptor) => send_descriptors(&socket, &message, &[descriptor.as_fd()]).unwrap(),
            None => socket.write_all(&message).unwrap(),
        }
    };
    // SAFETY: makes a descriptor, which is owned right away.
    let kick: OwnedFd = unsafe {
        let descriptor = libc::eventfd(0, 0);
        assert!(descriptor >= 0);
        std::os::fd::FromRawFd::from_raw_fd(descriptor)
    };
    let shared: OwnedFd = memory.try_clone().unwrap().into();
    send(2, &[1 << 30 | 1 << 32], None);
    send(5, &[1, 0, MIB, 0, 0], Some(&shared));
    send(8, &[16 << 32], None);
    send(9, &[0, 0x1000, 0x3000, 0x2000, 0], None);
    send(10, &[0], None);
    send(12, &[0], Some(&kick));
    memory.set_len(0).unwrap();
    send(18, &[1 << 32], None);
    // SAFETY: writes 8 bytes that are there.
    unsafe {
        libc::write(kick.as_raw_fd(), [1u8; 8].as_ptr().cast(), 8);
    }
    // The server is gone: the connection ends.
    let mut rest = Vec::new();
    let _ended = socket.read_to_end(&mut rest);
}

/// Messages that make no sense end a connection, not the server.
#[test]
fn a_babbling_guest_is_hung_up_on() {
    let finished = run_payload("sandbox::jailed::payload_that_babbles", 60).unwrap();
    assert_eq!(finished.code, 0, "{}", finished.console);
    assert!(finished.handover.overlays[0].blocks.is_empty());
    assert!(finished.handover.exchange.iter().all(|byte| *byte == 0));
}

#[test]
#[ignore = "runs in the jail"]
fn payload_that_babbles() {
    if !in_the_jail() {
        return;
    }
    let mut socket = UnixStream::connect("/s/0").unwrap();
    // GET_FEATURES is answered; a memory table of a thousand regions without one descriptor is not.
    socket.write_all(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let mut answer = [0; 20];
    socket.read_exact(&mut answer).unwrap();
    socket.write_all(&[5, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0]).unwrap();
    assert_eq!(socket.read(&mut answer).unwrap(), 0);
    let mut socket = UnixStream::connect("/s/1").unwrap();
    socket.write_all(&[0xff; 4096]).unwrap();
    let ended = socket.read(&mut answer);
    assert!(matches!(ended, Ok(0) | Err(_)));
}
