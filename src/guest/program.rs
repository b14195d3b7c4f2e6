//! Other people's programs that the sandbox has, run on the guest's filesystems.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The most that is read of what a program says, in bytes.
const MOST_SAID: u64 = 64 << 10;

/// Runs a program to its end, with what it says; one that takes too long, or says too much, is ended.
///
/// # Errors
/// When it cannot be started, or does not come to its end in this time.
pub fn bounded(command: &mut Command, most: Duration) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let output = child.stdout.take();
    let reader = thread::spawn(move || -> io::Result<Vec<u8>> {
        let mut said = Vec::new();
        if let Some(output) = output {
            output.take(MOST_SAID).read_to_end(&mut said)?;
        }
        Ok(said)
    });
    let end = Instant::now() + most;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(10));
    };
    let said = reader.join().map_err(|_| io::Error::other("what it said cannot be read"))??;
    Ok((status, said))
}
