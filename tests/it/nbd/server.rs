//! NBD servers that run for as long as a test holds them.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use replant::image::{Image, ImageError, OpenOptions, open};
use replant::model::Location;

/// A server, killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens, without an export's name.
    pub location: Location,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// qemu-nbd on a socket, read-only, with further arguments.
    pub fn qemu(socket: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--read-only", "--socket"]).arg(socket).args(arguments);
        Self::on(socket, command)
    }

    /// nbdkit on a socket, with further arguments.
    pub fn nbdkit(socket: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("nbdkit");
        command.args(["--foreground", "--exit-with-parent", "--unix"]).arg(socket).args(arguments);
        Self::on(socket, command)
    }

    fn on(socket: &Path, command: Command) -> Self {
        // A server that was killed leaves its socket.
        let _ = fs::remove_file(socket);
        let location = format!("nbd+unix:///?socket={}", socket.display());
        Self::start(command, &location, || UnixStream::connect(socket).is_ok())
    }

    /// A server on a free TCP port, which `command` is told.
    pub fn tcp(command: impl FnOnce(u16) -> Command) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let location = format!("nbd://127.0.0.1:{port}/");
        Self::start(command(port), &location, || TcpStream::connect(("127.0.0.1", port)).is_ok())
    }

    fn start(mut command: Command, location: &str, is_up: impl Fn() -> bool) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, location: location.parse().unwrap() };
        let begun = Instant::now();
        while !is_up() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{command:?} does not listen");
            assert!(server.child.try_wait().unwrap().is_none(), "{command:?} ended");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Where an export of it is.
    pub fn export(&self, name: &str) -> Location {
        let Location::Nbd(mut export) = self.location.clone() else { panic!("{}", self.location) };
        export.export = name.to_owned();
        Location::Nbd(export)
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it from answering (or lets it go on) without ending it.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, signal).unwrap();
    }
}

pub fn opened(location: impl Into<Location>) -> Result<Image, ImageError> {
    open(location, &OpenOptions::default())
}

/// A directory with a raw disk of about half data, and its size.
pub fn workshop(size: u64, seed: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("disk.raw");
    crate::copy::support::disk(&raw, size, seed);
    (directory, raw)
}
