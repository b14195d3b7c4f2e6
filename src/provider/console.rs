//! Reading a serial console: keeping it small, making it fit to show, and telling from it
//! whether the guest came up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use regex::Regex;

/// What EC2's GetConsoleOutput returns at most.
pub(super) const SHOWN: u64 = 64 << 10;
/// Lines of evidence.
const EVIDENCE: usize = 20;
/// Most characters of one line of evidence.
const EVIDENCE_LINE: usize = 300;
/// A sign that firmware or an initramfs may still get over counts when nothing followed for so long.
const SILENCE: Duration = Duration::from_secs(15);

/// How sure a sign of failure is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// The guest stays there.
    Final,
    /// It may go on; it did not when the console then fell silent.
    Silent,
}

/// What shows on the console, what it means. Sources: the strings of initramfs-tools, dracut,
/// systemd, the kernel, GRUB, SeaBIOS and EDK2, seen on guests that failed.
const SIGNS: [(&str, Sign, &str); 25] = [
    (
        "Kernel panic - not syncing: VFS: Unable to mount root fs",
        Sign::Final,
        "the kernel found no root filesystem: the disk's or the filesystem's driver is neither built in nor in the initramfs, or the initramfs was not loaded",
    ),
    (
        "Unable to mount root fs",
        Sign::Final,
        "the kernel found no root filesystem: the disk's or the filesystem's driver is neither built in nor in the initramfs, or the initramfs was not loaded",
    ),
    (
        "Kernel panic - not syncing: No working init found",
        Sign::Final,
        "the kernel found no init: the initramfs or the root filesystem is damaged",
    ),
    ("Attempted to kill init", Sign::Final, "the first process ended, so the kernel stopped"),
    ("Kernel panic", Sign::Final, "the kernel stopped (panic)"),
    (
        "Gave up waiting for root",
        Sign::Final,
        "the initramfs found no root disk: it lacks the disk's driver, or root= names a device that does not exist here",
    ),
    (
        "ALERT!",
        Sign::Final,
        "the initramfs found no root disk: it lacks the disk's driver, or root= names a device that does not exist here",
    ),
    ("\n(initramfs)", Sign::Final, "the initramfs gave up and waits at its shell"),
    ("dracut: FATAL", Sign::Final, "dracut could not boot the guest"),
    (
        "Entering emergency mode. Exit the shell to continue",
        Sign::Final,
        "dracut found no root disk: the initramfs lacks the disk's driver, or root= names a device that does not exist here",
    ),
    (
        "Generating \"/run/initramfs/rdsosreport.txt\"",
        Sign::Final,
        "dracut found no root disk: the initramfs lacks the disk's driver, or root= names a device that does not exist here",
    ),
    ("dracut-emergency", Sign::Silent, "dracut gave up and waits at its shell"),
    (
        "You are in emergency mode",
        Sign::Final,
        "systemd stopped in emergency mode: most often a filesystem of /etc/fstab could not be mounted",
    ),
    (
        "Give root password for maintenance",
        Sign::Final,
        "systemd stopped in emergency mode: most often a filesystem of /etc/fstab could not be mounted",
    ),
    (
        "grub rescue>",
        Sign::Final,
        "GRUB did not find its own files: the boot disk is incomplete or in another order",
    ),
    ("grub>", Sign::Silent, "GRUB found no configuration and waits at its prompt"),
    (
        "Missing operating system",
        Sign::Final,
        "the boot disk's master boot record found no boot loader: the disk is incomplete, or boots by UEFI only",
    ),
    (
        "Operating system not found",
        Sign::Final,
        "the boot disk's master boot record found no boot loader: the disk is incomplete, or boots by UEFI only",
    ),
    (
        "Error loading operating system",
        Sign::Final,
        "the boot disk's master boot record found no boot loader: the disk is incomplete, or boots by UEFI only",
    ),
    (
        "BOOTMGR is missing",
        Sign::Final,
        "the boot disk's master boot record found no boot loader: the disk is incomplete, or boots by UEFI only",
    ),
    (
        "the root account is locked",
        Sign::Final,
        "systemd stopped in emergency mode: most often a filesystem of /etc/fstab could not be mounted",
    ),
    (
        "No bootable device",
        Sign::Final,
        "the firmware found nothing to boot: the root disk has no boot loader for BIOS (a UEFI guest?)",
    ),
    (
        "UEFI Interactive Shell",
        Sign::Final,
        "the firmware found nothing to boot: the root disk has no EFI boot loader at the fallback path",
    ),
    ("Boot failed", Sign::Silent, "the firmware could not boot the root disk"),
    ("Gave up waiting", Sign::Silent, "the guest gave up waiting for a device"),
];

/// What the console tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet.
    Unknown,
    /// It is up; the line that says so.
    Up(String),
    /// It will not come up; why.
    Failed(&'static str),
}

/// Reads the console: failures that it shows count unless it came up. `quiet` is how long it has
/// shown nothing new.
pub(super) fn judge(text: &str, up: Option<&Regex>, quiet: Duration) -> Verdict {
    let line = match up {
        Some(pattern) => pattern.find(text).map(|found| found.start()),
        None => login_prompt(text),
    };
    if let Some(start) = line {
        let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[begin..].lines().next().unwrap_or_default();
        return Verdict::Up(line.trim().chars().take(EVIDENCE_LINE).collect());
    }
    SIGNS
        .iter()
        .find(|(sign, weight, _)| text.contains(sign) && (*weight == Sign::Final || quiet >= SILENCE))
        .map_or(Verdict::Unknown, |(_, _, reason)| Verdict::Failed(reason))
}

/// Where a line is a host name and `login:`, as getty writes it.
fn login_prompt(text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        let host = words.next().unwrap_or_default();
        // A kernel message may follow on the same line.
        if words.next() == Some("login:")
            && host != "Last"
            && words.next().is_none_or(|word| word.starts_with('['))
        {
            return Some(start);
        }
        start += line.len();
    }
    None
}

/// The console's last lines, blank ones left out.
pub(super) fn evidence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(EVIDENCE)..];
    let cut: Vec<String> =
        last.iter().map(|line| line.trim_end().chars().take(EVIDENCE_LINE).collect()).collect();
    cut.join("\n")
}

/// Reads the last `limit` bytes of a console, fit to show. No console is an empty one.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<String> {
    Ok(clean(&tail(path, limit)?))
}

fn tail(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How long the console has shown nothing new.
pub(super) fn quiet(path: &Path) -> Duration {
    let changed = std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    changed.and_then(|changed| SystemTime::now().duration_since(changed).ok()).unwrap_or(Duration::ZERO)
}

/// Cuts a log that outgrew `limit` down to its last half. QEMU appends, so it goes on at the
/// new end; what it writes in this very moment may be lost.
pub(super) fn trim(path: &Path, limit: u64) -> io::Result<()> {
    let mut file = match OpenOptions::new().append(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() <= limit {
        return Ok(());
    }
    let kept = tail(path, limit / 2)?;
    file.set_len(0)?;
    file.write_all(&kept)
}

/// Text without terminal commands and control characters; every byte that is no UTF-8 is shown
/// as U+FFFD.
pub(super) fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => match characters.next() {
                // Control sequence: ends with a character from @ to ~ (ECMA-48, 5.4).
                Some('[') => {
                    while characters.next_if(|c| !('@'..='~').contains(c) && *c != '\n').is_some() {}
                    characters.next_if(|c| *c != '\n');
                }
                // Operating system command: ends with BEL or ESC \.
                Some(']') => {
                    while characters.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')).is_some() {}
                }
                // Character set: one more character.
                Some('(' | ')') => {
                    characters.next_if(|c| *c != '\n');
                }
                _ => {}
            },
            '\n' | '\t' => cleaned.push(character),
            other if other.is_control() => {}
            other => cleaned.push(other),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn control_characters_go() {
        let raw = b"\x1b[2J\x1b[0;30;47mWelcome\x1b[?25h to\x1b(B GRUB!\r\n\x1b]0;title\x07a\x08\xff\tb\x1b[";
        assert_eq!(clean(raw), "Welcome to GRUB!\na\u{fffd}\tb");
    }

    #[test]
    fn a_login_prompt_is_a_host_and_login() {
        for up in [
            "x\nDebian GNU/Linux 12 web ttyS0\n\nweb login: ",
            "(none) login:",
            "web-1.example.org login: \n",
            "web login: [   12.345678] random: crng init done\n",
        ] {
            assert!(matches!(judge(up, None, Duration::ZERO), Verdict::Up(_)), "{up}");
        }
        for not in ["", "login:", "Last login: Mon", "web login: root", "systemd-logind: x login: y"] {
            assert_eq!(judge(not, None, LONG), Verdict::Unknown, "{not}");
        }
        let pattern = Regex::new("(?m)^SAC>").unwrap();
        assert_eq!(judge("a\nSAC>x\n", Some(&pattern), LONG), Verdict::Up("SAC>x".to_owned()));
        assert_eq!(judge("web login: ", Some(&pattern), LONG), Verdict::Unknown);
    }

    #[test]
    fn known_failures_have_their_reasons() {
        for (text, word) in [
            ("ALERT!  UUID=1 does not exist.  Dropping to a shell!", "initramfs found no root disk"),
            ("BusyBox v1\n(initramfs) ", "waits at its shell"),
            (
                "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                "no root filesystem",
            ),
            ("Kernel panic - not syncing: Attempted to kill init!", "first process ended"),
            ("dracut: FATAL: No or empty root= argument", "dracut"),
            ("You are in emergency mode. After logging in", "emergency mode"),
            ("No bootable device.", "firmware found nothing"),
            ("UEFI Interactive Shell v2.2", "EFI boot loader"),
            ("error: no such device: 1\ngrub rescue> ", "GRUB"),
        ] {
            let Verdict::Failed(reason) = judge(text, None, Duration::ZERO) else { panic!("{text}") };
            assert!(reason.contains(word), "{text}: {reason}");
        }
        assert_eq!(judge("Boot failed: could not read\n", None, Duration::ZERO), Verdict::Unknown);
        assert!(matches!(judge("Boot failed: could not read\n", None, LONG), Verdict::Failed(_)));
        // Debian goes on without its resume device.
        let benign = "Gave up waiting for suspend/resume device\nweb login: ";
        assert!(matches!(judge(benign, None, LONG), Verdict::Up(_)));
    }

    #[test]
    fn a_console_stays_small_while_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("console.log");
        let mut writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for line in 0..1000 {
            writeln!(writer, "line {line}").unwrap();
        }
        trim(&path, 1000).unwrap();
        writeln!(writer, "the end").unwrap();
        let text = read(&path, SHOWN).unwrap();
        assert!(text.len() < 600 && text.ends_with("line 999\nthe end\n"), "{text}");
        assert_eq!(read(&directory.path().join("none"), SHOWN).unwrap(), "");
    }
}
