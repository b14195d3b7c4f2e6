//! Servers and networks that fail.

use std::time::{Duration, Instant};

use super::proxy::{Proxy, Weather};
use super::servers::Web;
use super::{assert_equal, content, opened};
use crate::copy::support::{MIB, full_disk};
use crate::support::{Output, command};

#[test]
fn cut_answers_and_busy_servers_are_asked_again() {
    let web = Web::new();
    let path = web.files().join("disk.raw");
    full_disk(&path, 12 * MIB, 3);
    let proxy = Proxy::new(web.port, Weather::Busy { times: 3 });
    let url = format!("http://127.0.0.1:{}/disk.raw", proxy.port);
    let expected = std::fs::read(&path).unwrap();
    assert!(content(&opened(&url)) == expected);
    assert_eq!(proxy.times(), 3);
    proxy.set(Weather::Cuts { bytes: 300_000, times: 4 });
    assert!(content(&opened(&url)) == expected);
    assert!(proxy.times() > 0);
}

/// A write that fails in this weather within some seconds, says so, and goes on when it is fair.
#[track_caller]
fn fails_and_resumes(weather: Weather, seconds: u64, said: &[&str]) {
    let web = Web::new();
    let path = web.files().join("disk.raw");
    full_disk(&path, 64 * MIB, 4);
    let proxy = Proxy::new(web.port, weather);
    let url = format!("http://127.0.0.1:{}/disk.raw", proxy.port);
    let directory = tempfile::tempdir().unwrap();
    let write = |more: &[&str]| {
        let arguments = ["write", &url, "out.raw", "--manifest", "m", "--checkpoint", "0.01"];
        let mut command = command::command(directory.path(), arguments.iter().chain(more));
        command.env("REPLANT_STALL_SECONDS", "1");
        Output::of(command)
    };
    let begun = Instant::now();
    let failed = write(&[]).code(1);
    assert!(begun.elapsed() < Duration::from_secs(seconds), "{:?}", begun.elapsed());
    // Messages are wrapped to the terminal's width.
    let text = failed.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in said {
        assert!(text.contains(words), "{words}: {}", failed.both());
    }
    assert!(failed.stderr.contains(&url) && failed.stderr.contains("--resume"), "{}", failed.both());
    proxy.set(Weather::Fair);
    let done = write(&["--resume", "--verify"]).success();
    assert!(done.stdout.contains("were safe on the target already"), "{}", done.both());
    assert_equal(&path, &directory.path().join("out.raw"));
}

#[test]
fn a_server_that_stalls_is_reported_and_the_write_resumes() {
    let said = ["its server sent nothing for 1 seconds", "at byte "];
    fails_and_resumes(Weather::Stalls { bytes: 20 << 20 }, 60, &said);
}

#[test]
fn a_server_that_dies_is_reported_and_the_write_resumes() {
    fails_and_resumes(Weather::Dies { bytes: 20 << 20 }, 60, &["tried 5 times", "at byte "]);
}
