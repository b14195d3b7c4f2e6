//! A few words of QMP, QEMU's control protocol (QEMU's documentation, "QEMU Machine Protocol
//! Specification"): one JSON object a line; `return` or `error` answers, events lie between.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::machine::QMP_SOCKET;

/// How long QEMU may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest line that is read.
const MAX_LINE: u64 = 1 << 20;
/// Most events before an answer.
const MAX_EVENTS: usize = 1000;

/// Tells the QEMU of a machine's directory one command without arguments.
pub(super) fn command(directory: &Path, name: &str) -> io::Result<Value> {
    // A socket's path is limited to 107 bytes, the cloud's directory is not: go through /proc.
    let handle = File::open(directory)?;
    let path = Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join(QMP_SOCKET);
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    read_object(&mut answers)?;
    for command in ["qmp_capabilities", name] {
        stream.write_all(format!("{}\n", json!({ "execute": command })).as_bytes())?;
        let answer = answer(&mut answers)?;
        if command == name {
            return Ok(answer);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn answer(answers: &mut impl BufRead) -> io::Result<Value> {
    for _ in 0..MAX_EVENTS {
        let mut object = read_object(answers)?;
        if let Some(value) = object.get_mut("return") {
            return Ok(value.take());
        }
        if let Some(error) = object.get("error") {
            return Err(io::Error::other(error.to_string()));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn read_object(answers: &mut impl BufRead) -> io::Result<Value> {
    let mut line = Vec::new();
    if answers.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(io::Error::from)
}
