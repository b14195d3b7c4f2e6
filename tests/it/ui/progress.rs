//! Progress and receipts.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use replant::apply::{Event, InstanceReceipt, NodeOutcome, NodeReceipt, Observer, Receipt, VolumeReceipt};
use replant::diagnostic::Diagnostic;
use replant::model::{Digest, InstanceAddress};
use replant::plan::Mode;
use replant::ui::human::Look;
use replant::ui::human::receipt::render_receipt;
use replant::ui::progress::board::Board;
use replant::ui::progress::{JsonLines, Live, Plain};

use super::sample::address;

/// A stream that a test can look at.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const GIB: u64 = 1 << 30;

fn started(text: &str, verb: &str) -> Event {
    Event::NodeStarted { address: address(text), verb: verb.to_owned() }
}

fn finished(text: &str, verb: &str, detail: &str, took: u64) -> Event {
    Event::NodeFinished { address: address(text), verb: verb.to_owned(), detail: detail.to_owned(), took }
}

/// A write to a disk of 40 GiB that has put a fourth of the data there.
fn writing(text: &str, done: u64, written: u64, verifying: bool) -> Event {
    written_of(text, (done, written), 4 * written, verifying)
}

fn written_of(text: &str, (done, written): (u64, u64), data: u64, verifying: bool) -> Event {
    let data_left = data - written;
    // Only data takes time: half a GiB a second.
    let time_left = (written > 0 && !verifying).then_some(data_left / (GIB / 2) * 1000);
    let address = address(text);
    Event::WriteProgress { address, done, total: 40 * GIB, written, verifying, data, data_left, time_left }
}

fn failure() -> Box<Diagnostic> {
    Box::new(
        Diagnostic::error("apply::device_refused", "the device is not the volume")
            .detail("/dev/nvme1n1 has the serial vol-x, the state names vol-y.")
            .help("look at the access node's devices:\nlsblk -o NAME,SERIAL"),
    )
}

fn node(text: &str, verb: &str, outcome: NodeOutcome) -> NodeReceipt {
    NodeReceipt { address: address(text), verb: verb.to_owned(), outcome }
}

fn complete() -> Receipt {
    let done = |took, detail: &str| NodeOutcome::Done { took, detail: detail.to_owned() };
    Receipt {
        mode: Mode::Restore,
        complete: true,
        interrupted: false,
        took: 72_345,
        bytes_written: 5 * GIB,
        instances: vec![InstanceReceipt {
            address: InstanceAddress::new("web"),
            id: Some("i-00000000000000001".to_owned()),
            state: "running".to_owned(),
            private_ip: Some("10.20.1.15".to_owned()),
            evidence: Some("Debian GNU/Linux 12 web ttyS0\n\nweb login:\n".to_owned()),
            screenshot: None,
            console_log: Some(".replant/cloud/i-00000000000000001/console.log".into()),
            volumes: vec![VolumeReceipt {
                address: address("instance.web.volume.root"),
                id: "vol-00000000000000001".to_owned(),
                content: Some(Digest::of(b"content")),
                verified: true,
            }],
        }],
        nodes: vec![
            node("instance.web.volume.root", "create volume", done(1200, "vol-00000000000000001")),
            node("instance.web.write.root", "write", done(12_345, "")),
            node("instance.web", "launch", done(50_000, "")),
        ],
    }
}

fn incomplete() -> Receipt {
    let mut receipt = complete();
    receipt.complete = false;
    receipt.nodes[1].outcome = NodeOutcome::Failed { diagnostic: failure() };
    receipt.nodes[2].outcome = NodeOutcome::Skipped { because: "instance.web.write.root failed".to_owned() };
    let instance = &mut receipt.instances[0];
    instance.state = "failed".to_owned();
    (instance.id, instance.private_ip, instance.evidence, instance.console_log) = (None, None, None, None);
    instance.volumes[0].content = None;
    receipt
}

fn story() -> Vec<Event> {
    vec![
        Event::RunStarted { mode: Mode::Restore, nodes: 9, data_bytes: 5 * GIB },
        Event::Recovered {
            address: address("instance.web.volume.root"),
            what: "vol-1 was made, and is adopted".to_owned(),
        },
        started("instance.web.volume.root", "create volume"),
        Event::NodeProgress {
            address: address("instance.web.volume.root"),
            what: "waiting until it is available".to_owned(),
        },
        finished("instance.web.volume.root", "create volume", "vol-00000000000000001", 1200),
        Event::WaitingForSlots { address: address("instance.web.attachment.root"), wanted: 2 },
        started("instance.web.write.root", "write"),
        writing("instance.web.write.root", 4 * GIB, 2 * GIB, false),
        Event::NodeFailed {
            address: address("instance.web.write.root"),
            verb: "write".to_owned(),
            diagnostic: failure(),
        },
        Event::NodeSkipped {
            address: address("instance.web"),
            because: "instance.web.write.root failed".to_owned(),
        },
        Event::Interrupted { stage: 1 },
        Event::Interrupted { stage: 2 },
        Event::RunFinished { receipt: Box::new(incomplete()) },
    ]
}

#[test]
fn receipts() {
    insta::assert_snapshot!("receipt_complete", render_receipt(&complete(), false));
    insta::assert_snapshot!("receipt_incomplete", render_receipt(&incomplete(), false));
    let mut interrupted = incomplete();
    interrupted.interrupted = true;
    assert!(render_receipt(&interrupted, false).contains("Apply interrupted: 1 step done"));
    let colored = render_receipt(&incomplete(), true);
    let stripped = anstream::adapter::strip_str(&colored).to_string();
    assert_eq!(stripped, render_receipt(&incomplete(), false));
}

#[test]
fn a_log_gets_a_line_for_each_event() {
    let out = Buffer::default();
    let plain = Plain::new(Box::new(out.clone()), Look::PLAIN);
    for event in story() {
        plain.event(&event);
    }
    insta::assert_snapshot!(out.text());
}

#[test]
fn a_log_gets_a_word_about_what_goes_on() {
    let out = Buffer::default();
    let plain = Plain::with_interval(Box::new(out.clone()), Look::PLAIN, Duration::from_millis(50));
    plain.event(&started("instance.web.write.root", "write"));
    plain.event(&started("instance.app", "launch"));
    plain.event(&Event::NodeProgress {
        address: address("instance.app"),
        what: "waiting for the login prompt".to_owned(),
    });
    plain.event(&writing("instance.web.write.root", 4 * GIB, GIB, false));
    std::thread::sleep(Duration::from_millis(400));
    plain.event(&writing("instance.web.write.root", 8 * GIB, 2 * GIB, false));
    std::thread::sleep(Duration::from_millis(200));
    drop(plain);
    let text = out.text();
    assert!(text.contains("instance.app: still waiting for the login prompt [0 ms]\n"), "{text}");
    assert!(
        text.contains("instance.web.write.root: write 25 %, 1 GiB of 4 GiB, 6 s left [0 ms]\n"),
        "{text}"
    );
    let last = text.lines().rfind(|line| line.starts_with("instance.web.write.root")).unwrap();
    assert!(
        last.contains("write 25 %, 2 GiB of 8 GiB, ") && last.contains("/s, ") && last.contains(" left"),
        "{last}"
    );
}

#[test]
fn speeds_and_times_left() {
    let mut board = Board::default();
    let web = "instance.web.write.root";
    board.take(Duration::ZERO, &Event::RunStarted { mode: Mode::Restore, nodes: 4, data_bytes: 20 * GIB });
    board.take(Duration::ZERO, &started(web, "write"));
    for second in 0..=10 {
        let stands = (second * GIB, second * GIB / 2);
        board.take(Duration::from_secs(second), &written_of(web, stands, 12 * GIB, false));
    }
    let described = board.running[&address(web)].writing.as_ref().unwrap().describe();
    assert_eq!(described, "5 GiB of 12 GiB, 512 MiB/s, 14 s left");
    // Another write is still to come.
    assert_eq!(board.total(), "0 of 4 steps, 5 GiB of 20 GiB, 30 s left");
    board.data_bytes = 12 * GIB;
    assert_eq!(board.total(), "0 of 4 steps, 5 GiB of 12 GiB, 14 s left");
    // All data is written, and zeros have to be looked at.
    let write = |done, time_left| Event::WriteProgress {
        address: address(web),
        done,
        total: 40 * GIB,
        written: 12 * GIB,
        verifying: false,
        data: 12 * GIB,
        data_left: 0,
        time_left,
    };
    board.take(Duration::from_secs(11), &write(30 * GIB, Some(50_000)));
    let described = board.running[&address(web)].writing.as_ref().unwrap().describe();
    assert!(described.starts_with("30 GiB of 40 GiB, ") && described.ends_with(", 50 s left"), "{described}");
    assert_eq!(board.total(), "0 of 4 steps, 12 GiB of 12 GiB, 50 s left");
    // Reading back is another speed, and counts nothing twice.
    for second in 11..=13 {
        let stands = ((second - 11) * 10 * GIB, 0);
        board.take(Duration::from_secs(second), &written_of(web, stands, 0, true));
    }
    let described = board.running[&address(web)].writing.as_ref().unwrap().describe();
    assert_eq!(described, "20 GiB of 40 GiB, 10 GiB/s, 2 s left");
    board.take(Duration::from_secs(14), &finished(web, "write", "", 14_000));
    assert_eq!(board.data_done(), 12 * GIB);
    board.take(Duration::from_secs(14), &started("instance.app", "launch"));
    assert_eq!(board.others(Duration::from_secs(20)), "1 running: instance.app launch (6.0 s)");
}

#[test]
fn json_says_how_far_a_write_is_once_a_second_and_at_its_end() {
    let out = Buffer::default();
    let json = JsonLines::new(Box::new(out.clone()));
    for event in story() {
        json.event(&event);
    }
    for step in 0..=1000 {
        json.event(&writing("instance.app.write.root", step * 40 * GIB / 1000, 0, false));
    }
    let text = out.text();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["version"] == 1 && line["said"]["kind"] == "event"));
    let of_app: Vec<_> =
        lines.iter().filter(|line| line["said"]["value"]["address"] == "instance.app.write.root").collect();
    assert!((2..10).contains(&of_app.len()), "{}", of_app.len());
    assert_eq!(of_app.last().unwrap()["said"]["value"]["done"], 40 * GIB);
    for (line, event) in lines.iter().zip(story()) {
        assert_eq!(serde_json::from_value::<Event>(line["said"]["value"].clone()).unwrap(), event);
    }
}

#[test]
fn a_terminal_gets_bars_that_go_away() {
    let terminal = InMemoryTerm::new(20, 120);
    let out = Buffer::default();
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    let live = Live::new(target, Box::new(out.clone()), Look::PLAIN);
    live.event(&story()[1]);
    live.event(&Event::RunStarted { mode: Mode::Restore, nodes: 9, data_bytes: 5 * GIB });
    live.event(&finished("instance.web.volume.root", "create volume", "vol-1", 1200));
    live.event(&started("instance.web.write.root", "write"));
    live.event(&started("instance.app", "launch"));
    live.event(&written_of("instance.web.write.root", (0, 0), 4 * GIB, false));
    std::thread::sleep(Duration::from_millis(300));
    live.event(&writing("instance.web.write.root", 10 * GIB, GIB, false));
    std::thread::sleep(Duration::from_millis(600));
    let screen = terminal.contents();
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!(
        lines[0], "instance.web.volume.root: left by an earlier run: vol-1 was made, and is adopted",
        "{screen}"
    );
    assert_eq!(lines[1], "instance.web.volume.root: create volume done after 1.2 s [vol-1]", "{screen}");
    assert!(lines[2].starts_with("instance.web.write.root [=====") && lines[2].contains("=> "), "{screen}");
    assert!(lines[2].contains("25 % 1 GiB of 4 GiB, ") && lines[2].contains(" left"), "{screen}");
    assert!(lines[3].starts_with("2 running: instance.app launch ("), "{screen}");
    assert!(lines[4].starts_with("1 of 9 steps, 1 GiB of 5 GiB"), "{screen}");
    // Nothing but the write runs, and a line comes: no old bar stays above it.
    live.event(&finished("instance.app", "launch", "", 2000));
    std::thread::sleep(Duration::from_millis(600));
    live.event(&Event::Interrupted { stage: 1 });
    std::thread::sleep(Duration::from_millis(300));
    let screen = terminal.contents();
    assert_eq!(screen.matches("instance.web.write.root [").count(), 1, "{screen}");
    assert!(screen.contains("\n1 running\n"), "{screen}");
    live.event(&Event::NodeFailed {
        address: address("instance.web.write.root"),
        verb: "write".to_owned(),
        diagnostic: failure(),
    });
    live.event(&Event::RunFinished { receipt: Box::new(incomplete()) });
    let screen = terminal.contents();
    assert_eq!(screen.lines().count(), 5, "{screen}");
    assert!(
        screen.lines().nth(4).unwrap().contains("write failed: the device is not the volume"),
        "{screen}"
    );
    assert!(out.text().contains("Apply incomplete:"));
}
