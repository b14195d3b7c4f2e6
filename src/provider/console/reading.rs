//! Reading a serial console: keeping it small, making it fit to show, and telling from it
//! whether the guest came up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use regex::Regex;

use super::windows;

/// What EC2's GetConsoleOutput returns at most.
pub(in crate::provider) const SHOWN: u64 = 64 << 10;
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

/// A failure that is known: what it is, and what to try.
pub(super) struct Known {
    pub reason: &'static str,
    pub advice: &'static str,
}

/// All that are known but Windows' own. Sources: the strings of initramfs-tools, dracut, systemd,
/// mountall, fsck, the kernel, GRUB, SeaBIOS, EDK2 and cloud-init, most of them seen on guests that
/// failed.
const KNOWN: [(&[(&str, Sign)], Known); 18] = [
    (
        &[
            ("Kernel panic - not syncing: VFS: Unable to mount root fs", Sign::Final),
            ("Unable to mount root fs", Sign::Final),
            ("VFS: Cannot open root device", Sign::Silent),
        ],
        Known {
            reason: "the kernel found no root filesystem: the disk's or the filesystem's driver is neither built in nor in the initramfs, or the initramfs was not loaded",
            advice: "let the guest be prepared (guest { drivers = \"auto\" }); `replant inspect` says which kernels have an initramfs",
        },
    ),
    (
        &[("Kernel panic - not syncing: No working init found", Sign::Final)],
        Known {
            reason: "the kernel found no init: the initramfs or the root filesystem is damaged",
            advice: "restore another recovery point, or check the backup's filesystem where it was made",
        },
    ),
    (
        &[("Attempted to kill init", Sign::Final)],
        Known {
            reason: "the first process ended, so the kernel stopped",
            advice: "the lines above on the console name what is missing, most often a library or a damaged file; try another recovery point",
        },
    ),
    (
        &[("Kernel panic", Sign::Final)],
        Known {
            reason: "the kernel stopped (panic)",
            advice: "the lines above on the console name the cause; an older kernel than the instance type needs is one: try another instance_type",
        },
    ),
    (
        &[("Gave up waiting for root", Sign::Final), ("ALERT!", Sign::Final)],
        Known {
            reason: "the initramfs found no root disk: it lacks the disk's driver, or root= names a device that does not exist here",
            advice: "let the guest be prepared (guest { drivers = \"auto\" }), which adds the driver and names the root by its UUID",
        },
    ),
    (
        &[("\n(initramfs)", Sign::Final)],
        Known {
            reason: "the initramfs gave up and waits at its shell",
            advice: "the lines above on the console say at what; `replant inspect` shows what the guest needs",
        },
    ),
    (
        &[("dracut: FATAL", Sign::Final), ("dracut-emergency", Sign::Silent)],
        Known {
            reason: "dracut could not boot the guest",
            advice: "the line behind \"FATAL\" says why; `replant inspect` shows what the guest needs",
        },
    ),
    (
        &[
            ("Entering emergency mode. Exit the shell to continue", Sign::Final),
            ("Generating \"/run/initramfs/rdsosreport.txt\"", Sign::Final),
        ],
        Known {
            reason: "dracut found no root disk: the initramfs lacks the disk's driver, or root= names a device that does not exist here",
            advice: "let the guest be prepared (guest { drivers = \"auto\" }); with several disks, restore all that the root's LVM or RAID needs",
        },
    ),
    (
        &[
            ("UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY", Sign::Final),
            ("fsck failed with exit code", Sign::Final),
            ("An error occurred during the file system check", Sign::Final),
            ("(Repair filesystem)", Sign::Final),
            ("Serious errors were found while checking the disk drive", Sign::Final),
        ],
        Known {
            reason: "a filesystem check found errors that it does not mend by itself, and waits for a person",
            advice: "the recovery point is of a damaged or not quiesced filesystem: try another one, or mend this in the volume attached elsewhere",
        },
    ),
    (
        &[
            ("You are in emergency mode", Sign::Final),
            ("Give root password for maintenance", Sign::Final),
            ("the root account is locked", Sign::Final),
            ("Press Enter for maintenance", Sign::Final),
            ("Press S to skip mounting or M for manual recovery", Sign::Final),
        ],
        Known {
            reason: "systemd stopped in emergency mode: most often a filesystem of /etc/fstab could not be mounted",
            advice: "restore every disk that /etc/fstab names, or give the missing ones the option nofail",
        },
    ),
    (
        &[
            ("Please enter passphrase", Sign::Silent),
            ("Please unlock disk", Sign::Silent),
            ("Enter passphrase for /dev/", Sign::Silent),
        ],
        Known {
            reason: "the guest waits for the passphrase of an encrypted disk",
            advice: "type it on the EC2 serial console, or let the guest take its key from where it can",
        },
    ),
    (
        &[("grub rescue>", Sign::Final)],
        Known {
            reason: "GRUB did not find its own files: the boot disk is incomplete or in another order",
            advice: "restore the disk that holds /boot too, and name the disk that the machine boots from first",
        },
    ),
    (
        &[("grub>", Sign::Silent)],
        Known {
            reason: "GRUB found no configuration and waits at its prompt",
            advice: "restore the disk that holds /boot too; `replant inspect` shows which filesystems are there",
        },
    ),
    (
        &[
            ("Missing operating system", Sign::Final),
            ("Operating system not found", Sign::Final),
            ("Error loading operating system", Sign::Final),
        ],
        Known {
            reason: "the boot disk's master boot record found no boot loader: the disk is incomplete, or boots by UEFI only",
            advice: "name the disk that the machine boots from first, or set launch { boot_mode = \"uefi\" }",
        },
    ),
    (
        &[("No bootable device", Sign::Final)],
        Known {
            reason: "the firmware found nothing to boot: the root disk has no boot loader for BIOS (a UEFI guest?)",
            advice: "name the disk that the machine boots from first, or set launch { boot_mode = \"uefi\" }",
        },
    ),
    (
        &[("UEFI Interactive Shell", Sign::Final), ("No bootable option or device was found", Sign::Final)],
        Known {
            reason: "the firmware found nothing to boot: the root disk has no EFI boot loader at the fallback path",
            advice: "let the guest be prepared (guest { drivers = \"auto\" }), which puts one there, or set launch { boot_mode = \"legacy-bios\" }",
        },
    ),
    (
        &[("Boot failed", Sign::Silent), ("BdsDxe: failed to load", Sign::Silent)],
        Known {
            reason: "the firmware could not boot the root disk",
            advice: "name the disk that the machine boots from first, and compare launch { boot_mode = … } with the guest's",
        },
    ),
    (
        &[("Gave up waiting", Sign::Silent)],
        Known {
            reason: "the guest gave up waiting for a device",
            advice: "restore the disk that it waits for, or give it the option nofail in /etc/fstab",
        },
    ),
];

/// What a console shows of a guest that came up and has no network (`local` reads its own console).
#[cfg(any(feature = "aws", test))]
const NETWORK: [&str; 7] = [
    "Failed to start Raise network interfaces",
    "Failed to start Wait for Network",
    "Failed to start systemd-networkd-wait-online",
    "Failed to start Network Manager Wait Online",
    "No instance datasource found",
    "No working leases in persistent database",
    "Network is unreachable",
];

/// See [`NETWORK`].
const UNREACHABLE: Known = Known {
    reason: "the guest came up, and its network did not",
    advice: "let the guest be prepared (guest { network = \"dhcp\" }), and compare the subnet, the address and the ENA driver with what `replant inspect` shows",
};

/// Of a guest that may have come up and then stands still ("Attached EBS status checks", EC2 User
/// Guide).
const VOLUMES: Known = Known {
    reason: "EC2's attached EBS status check is impaired: the instance does not reach all of its volumes",
    advice: "a stop and a start move the instance to other hardware; see first whether it is one volume of all:\naws ec2 describe-volume-status",
};

/// Why an instance whose own checks pass has not come up, when EC2 says that of its volumes.
#[cfg(feature = "aws")]
pub(in crate::provider) const VOLUMES_UNREACHED: &str = VOLUMES.reason;

/// What to try about a failure, by its reason.
#[must_use]
pub fn advice(reason: &str) -> Option<&'static str> {
    let known = KNOWN.iter().map(|(_, known)| known).chain([&UNREACHABLE, &VOLUMES]).chain(windows::known());
    known.filter(|known| known.reason == reason).map(|known| known.advice).next()
}

/// Why a guest that shows a login prompt cannot be reached, when its console says so.
#[cfg(any(feature = "aws", test))]
#[must_use]
pub(in crate::provider) fn unreachable(text: &str) -> Option<&'static str> {
    let cut_off = text.lines().any(|line| line.contains("ci-info:") && line.contains("| False |"));
    (cut_off || NETWORK.iter().any(|sign| text.contains(sign))).then_some(UNREACHABLE.reason)
}

/// What the console tells.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::provider) enum Verdict {
    /// Nothing yet.
    Unknown,
    /// It is up; the line that says so.
    Up(String),
    /// It will not come up; why.
    Failed(&'static str),
}

/// Reads the console: failures that it shows count unless it came up. `quiet` is how long it has
/// shown nothing new.
pub(in crate::provider) fn judge(text: &str, up: Option<&Regex>, quiet: Duration) -> Verdict {
    let line = match up {
        Some(pattern) => pattern.find(text).map(|found| found.start()),
        None => login_prompt(text),
    };
    let failure = windows::failure(text);
    // What Windows got over stands before the sign that it is up, what it did not behind it.
    let windows = windows::up(text).filter(|_| up.is_none());
    let windows = windows.filter(|up| failure.as_ref().is_none_or(|(failed, _)| failed < up));
    if let Some(start) = line.or(windows) {
        let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[begin..].lines().next().unwrap_or_default();
        return Verdict::Up(line.trim().chars().take(EVIDENCE_LINE).collect());
    }
    let shows =
        |(sign, weight): &(&str, Sign)| text.contains(sign) && (*weight == Sign::Final || quiet >= SILENCE);
    KNOWN
        .iter()
        .find(|(signs, _)| signs.iter().any(shows))
        .map(|(_, known)| known)
        .or(failure.map(|(_, known)| known))
        .map_or(Verdict::Unknown, |known| Verdict::Failed(known.reason))
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
pub(in crate::provider) fn evidence(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(EVIDENCE)..];
    let cut: Vec<String> =
        last.iter().map(|line| line.trim_end().chars().take(EVIDENCE_LINE).collect()).collect();
    cut.join("\n")
}

/// Reads the last `limit` bytes of a console, fit to show. No console is an empty one.
pub(in crate::provider) fn read(path: &Path, limit: u64) -> io::Result<String> {
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
pub(in crate::provider) fn quiet(path: &Path) -> Duration {
    let changed = std::fs::metadata(path).and_then(|facts| facts.modified()).ok();
    changed.and_then(|changed| SystemTime::now().duration_since(changed).ok()).unwrap_or(Duration::ZERO)
}

/// Cuts a log that outgrew `limit` down to its last half. QEMU appends, so it goes on at the
/// new end; what it writes in this very moment may be lost.
pub(in crate::provider) fn trim(path: &Path, limit: u64) -> io::Result<()> {
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
pub(in crate::provider) fn clean(bytes: &[u8]) -> String {
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
        for (known, words) in [
            (include_str!("dracut.txt"), "dracut found no root disk"),
            (include_str!("fsck.txt"), "filesystem check found errors"),
            (include_str!("mountall.txt"), "filesystem check found errors"),
            (include_str!("emergency.txt"), "emergency mode"),
            (include_str!("panic.txt"), "no root filesystem"),
            (include_str!("initramfs.txt"), "initramfs found no root disk"),
            (include_str!("grub.txt"), "GRUB did not find"),
            (include_str!("windows-7b.txt"), "0x7B"),
            (include_str!("windows-ed.txt"), "0xED"),
            (include_str!("windows-bcd.txt"), "boot manager"),
            (include_str!("passphrase.txt"), "passphrase"),
        ] {
            let Verdict::Failed(reason) = judge(known, None, LONG) else { panic!("{known}") };
            assert!(reason.contains(words), "{known}: {reason}");
            assert!(advice(reason).is_some_and(|advice| !advice.is_empty()), "{reason}");
        }
        for text in [
            include_str!("dracut.txt"),
            include_str!("fsck.txt"),
            include_str!("mountall.txt"),
            include_str!("emergency.txt"),
            include_str!("panic.txt"),
            include_str!("initramfs.txt"),
            include_str!("grub.txt"),
            include_str!("passphrase.txt"),
            include_str!("network.txt"),
        ] {
            assert!(windows::failure(text).is_none() && windows::up(text).is_none(), "no Windows: {text}");
        }
        assert_eq!(unreachable(include_str!("network.txt")), Some(UNREACHABLE.reason));
        assert!(advice(UNREACHABLE.reason).is_some() && advice("something else").is_none());
        assert!(matches!(judge(include_str!("network.txt"), None, LONG), Verdict::Up(_)));
        assert_eq!(judge("Boot failed: could not read\n", None, Duration::ZERO), Verdict::Unknown);
        assert!(matches!(judge("Boot failed: could not read\n", None, LONG), Verdict::Failed(_)));
        // Debian goes on without its resume device.
        let benign = "Gave up waiting for suspend/resume device\nweb login: ";
        assert!(matches!(judge(benign, None, LONG), Verdict::Up(_)));
    }

    #[test]
    fn windows_is_up_or_stopped() {
        let sac = "Computer is booting, SAC started and initialized.\n\nUse the \"ch -?\" command for information about using channels.\n\nSAC>\n";
        assert_eq!(judge(sac, None, LONG), Verdict::Unknown, "its kernel runs, no more");
        let up = format!("{sac}EVENT: The CMD command is now available.\nSAC>");
        let said = "EVENT: The CMD command is now available.";
        assert_eq!(judge(&up, None, Duration::ZERO), Verdict::Up(said.to_owned()));
        let first = "2026-11-22T16:50:30Z Replant first boot: finished: 3 succeeded, 1 failed, 0 skipped";
        assert_eq!(judge(&format!("{up}\n{first}\nSAC>"), None, LONG), Verdict::Up(first.to_owned()));
        let stop = "\x07\x07\x07<?xml>\x07<BP>\r\n<INSTANCE CLASSNAME=\"BLUESCREEN\">\r\n<PROPERTY NAME=\"STOPCODE\" TYPE=\"string\"><VALUE>\"0x7E\"</VALUE></PROPERTY>\r\n</INSTANCE>\r\n</BP>\x07";
        let stop = clean(stop.as_bytes());
        let Verdict::Failed(reason) = judge(&format!("{up}\n{stop}\n!SAC>"), None, LONG) else { panic!() };
        assert!(reason.contains("a driver failed") && advice(reason).is_some(), "{reason}");
        // A start that failed, and one after it that did not.
        assert!(matches!(judge(&format!("{stop}\n{up}"), None, LONG), Verdict::Up(_)));
        let pattern = Regex::new("never").unwrap();
        assert_eq!(judge(&up, Some(&pattern), LONG), Verdict::Unknown, "the user's own sign counts alone");
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
