//! What Windows says on a serial console: its boot manager, its stop codes as Emergency Management
//! Services send them, and that it came up.
//!
//! Sources: Microsoft's "Bug check code reference", "NTSTATUS values" ([MS-ERREF] 2.3.1) and "Advanced
//! troubleshooting for Windows boot problems"; the form of a stop on the Special Administration
//! Console as Windows sends it: `<INSTANCE CLASSNAME="BLUESCREEN">` with the code in hexadecimal.

use super::reading::Known;

/// Before a code, wherever one stands: with EMS, on the screen that EMS repeats, by the boot manager,
/// by the recovery screen of Windows 8 and later.
const STOP: &str = "*** STOP: 0x";
const BLUESCREEN: &str = "CLASSNAME=\"BLUESCREEN\"";
const STOPCODE: &str = "NAME=\"STOPCODE\"";
const STATUS: &str = "Status: 0x";
const ERROR_CODE: &str = "Error code: 0x";
/// How far behind its mark a code stands at most.
const NEAR: usize = 200;

/// Windows runs: its Special Administration Console offers a command prompt once services start.
const UP: &str = "EVENT: The CMD command is now available";
/// Our own service's last words, on the same port (`guest::windows::firstboot` reads its numbers).
const FIRST_BOOT: [&str; 2] = ["Replant first boot: finished: ", "Replant first boot: gives up: "];

/// A failure that the boot manager or a boot sector says in words.
const WORDS: [(&[&str], Known); 4] = [
    (
        &["BOOTMGR is missing", "BOOTMGR image is corrupt", "BOOTMGR is compressed", "NTLDR is missing"],
        Known {
            reason: "the boot sector of Windows' system partition found no boot manager that it can use",
            advice: "restore the disk with the system partition (\"System Reserved\") as the one the machine boots from; if it is there, another recovery point",
        },
    ),
    (
        &["An operating system wasn't found", "A disk read error occurred"],
        Known {
            reason: "the boot disk has no Windows that its firmware can start: another disk came first, or the guest boots by the other firmware",
            advice: "name the disk that the machine boots from first, and compare launch { boot_mode = … } with the firmware that `replant inspect` shows",
        },
    ),
    (
        &["Enter the recovery key", "BitLocker recovery", "Plug in the USB drive that has the BitLocker key"],
        Known {
            reason: "BitLocker wants its recovery key: its key was in the source machine's TPM",
            advice: "type the recovery key on the EC2 serial console or by a screen, or suspend BitLocker in the source before the backup (Suspend-BitLocker)",
        },
    ),
    (
        &["Windows failed to start", "Your PC needs to be repaired", "Your PC/Device needs to be repaired"],
        BOOT_MANAGER,
    ),
];

/// The boot manager gave up, for no reason of the list.
const BOOT_MANAGER: Known = Known {
    reason: "Windows' boot manager did not find what its boot configuration names",
    advice: "restore all of the machine's disks, the one with the system partition first; its line \"Status\" names the cause",
};

/// What the boot manager's codes mean, the first of which stands for all.
const STATUSES: [(&[u32], Known); 7] = [
    (
        &[0xc000_000e, 0xc000_000f, 0xc000_0034],
        Known {
            reason: "Windows' boot manager did not find its boot configuration, or the disk or file that it names",
            advice: "restore all of the machine's disks, the one with the system partition first, and keep their signatures: a clone with another signature is not found",
        },
    ),
    (
        &[0xc000_0098],
        Known {
            reason: "Windows' boot configuration (BCD) names no Windows that can be started (0xc0000098)",
            advice: "the recovery point has a damaged BCD: try another one, or rebuild it with bootrec /rebuildbcd in the volume attached elsewhere",
        },
    ),
    (
        &[0xc000_0225],
        Known {
            reason: "Windows' boot manager misses a part of the system: a driver, or the registry, is not there or damaged (0xc0000225)",
            advice: "the line \"File\" names it; for a driver of Amazon's compare `replant components list` with this Windows, for the registry try another recovery point",
        },
    ),
    (
        &[0xc000_0428, 0xc000_0221, 0xc000_007b],
        Known {
            reason: "Windows refused a file of its start for its signature, or because it is damaged",
            advice: "the line \"File\" names it: for a driver of Amazon's see `replant components list` (Windows Server 2008 R2 needs KB4474419 for SHA-256), else launch from an AMI without Secure Boot, or try another recovery point",
        },
    ),
    (
        &[0xc000_014c, 0xc000_0218],
        Known {
            reason: "Windows' boot manager could not load the registry: it is damaged",
            advice: "try another recovery point; one taken while the registry was written is damaged just so",
        },
    ),
    (
        &[0xc000_00e9, 0xc000_0185, 0xc000_000d],
        Known {
            reason: "Windows' boot manager could not read the disk",
            advice: "see the volume's status in EC2, and read what was written back with --verify",
        },
    ),
    (
        &[0xc021_0000, 0xc021_000a],
        Known {
            reason: "BitLocker did not unlock the disk: its key was in the source machine's TPM",
            advice: "suspend BitLocker in the source before the backup (Suspend-BitLocker), or type the recovery key on the EC2 serial console",
        },
    ),
];

/// What stop codes mean that a move can cause.
const STOPS: [(&[u32], Known); 13] = [
    (
        &[0x7b],
        Known {
            reason: "Windows stopped with 0x7B, INACCESSIBLE_BOOT_DEVICE: it has no driver for the root disk that starts at boot",
            advice: "let the guest be prepared (guest { drivers = \"auto\" }), which starts Windows' own NVMe driver at boot, or puts Amazon's in where there is none (2008 R2, 2012; `replant components fetch` gets it); or try a Xen instance_type such as t2",
        },
    ),
    (
        &[0xed],
        Known {
            reason: "Windows stopped with 0xED, UNMOUNTABLE_BOOT_VOLUME: its file system is damaged",
            advice: "try another recovery point, or run chkdsk on the volume attached to another Windows instance",
        },
    ),
    (
        &[0x24],
        Known {
            reason: "Windows stopped with 0x24, NTFS_FILE_SYSTEM: its file system is damaged",
            advice: "try another recovery point, or run chkdsk on the volume attached to another Windows instance",
        },
    ),
    (
        &[0x74, 0x67, 0x51, 0xc000_0218],
        Known {
            reason: "Windows stopped because it could not load its registry (0x74, 0x67, 0x51 or 0xC0000218)",
            advice: "try another recovery point; one taken while the registry was written is damaged just so",
        },
    ),
    (
        &[0xc000_021a, 0xef, 0xf4],
        Known {
            reason: "Windows stopped because a process that it cannot do without ended (0xC000021A, 0xEF or 0xF4)",
            advice: "most often an update was half installed when the backup was made (`replant inspect` shows a pending restart): take a recovery point made after that restart",
        },
    ),
    (
        &[0xc000_0135, 0xc000_0142, 0x6b],
        Known {
            reason: "Windows stopped because a file of its own is missing or damaged (0xC0000135, 0xC0000142 or 0x6B)",
            advice: "try another recovery point; sfc /scannow in the source says which file",
        },
    ),
    (
        &[0x77, 0x7a],
        Known {
            reason: "Windows stopped because it could not read its disk (0x77 or 0x7A)",
            advice: "see the volume's status in EC2, and read what was written back with --verify",
        },
    ),
    (
        &[0x5d],
        Known {
            reason: "Windows stopped with 0x5D, UNSUPPORTED_PROCESSOR: this Windows does not run on the instance's processor",
            advice: "try another instance_type of the same size: Intel in place of AMD, or an older family",
        },
    ),
    (
        &[0xa5, 0x5c, 0x79],
        Known {
            reason: "Windows stopped because the machine's firmware is not one that it runs on (0xA5, 0x5C or 0x79)",
            advice: "compare launch { boot_mode = … } with the firmware that `replant inspect` shows; Windows before 2012 R2 wants a BIOS",
        },
    ),
    (
        &[0xc4, 0xc9],
        Known {
            reason: "Windows stopped because Driver Verifier is on in the guest, and found a driver at fault (0xC4 or 0xC9)",
            advice: "turn it off in the source (verifier /reset) and make a new backup",
        },
    ),
    (
        &[0x9f, 0x133],
        Known {
            reason: "Windows stopped because a driver did not answer in time (0x9F or 0x133)",
            advice: "the screenshot may name it; compare the versions that `replant components list` shows with this Windows, and remove drivers of the old hypervisor in the source",
        },
    ),
    (
        &[0x7e, 0x1e, 0x50, 0xd1, 0x0a, 0x3b, 0x139],
        Known {
            reason: "Windows stopped because a driver failed (0x7E, 0x1E, 0x50, 0xD1, 0xA, 0x3B or 0x139)",
            advice: "the screenshot may name it: drivers of Amazon's too new for this Windows (`replant components list`), of the old hypervisor, or of security software; remove the latter in the source",
        },
    ),
    (&[], STOPPED),
];

/// A stop with a code of no move.
const STOPPED: Known = Known {
    reason: "Windows stopped with a stop code (blue screen)",
    advice: "look the stop code up in Microsoft's \"Bug check code reference\"; the screenshot shows it",
};

/// Names of stop codes that a blue screen shows in place of the number, since Windows 8.
const NAMES: [(&str, u32); 14] = [
    ("INACCESSIBLE_BOOT_DEVICE", 0x7b),
    ("INACCESSIBLE BOOT DEVICE", 0x7b),
    ("UNMOUNTABLE_BOOT_VOLUME", 0xed),
    ("UNMOUNTABLE BOOT VOLUME", 0xed),
    ("NTFS_FILE_SYSTEM", 0x24),
    ("BAD_SYSTEM_CONFIG_INFO", 0x74),
    ("CONFIG_INITIALIZATION_FAILED", 0x67),
    ("CRITICAL_PROCESS_DIED", 0xef),
    ("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED", 0x7e),
    ("KMODE_EXCEPTION_NOT_HANDLED", 0x1e),
    ("DRIVER_IRQL_NOT_LESS_OR_EQUAL", 0xd1),
    ("UNSUPPORTED_PROCESSOR", 0x5d),
    ("Your PC ran into a problem", u32::MAX),
    ("Your device ran into a problem", u32::MAX),
];

/// All failures, for their advice.
pub(super) fn known() -> impl Iterator<Item = &'static Known> {
    let words = WORDS.iter().map(|(_, known)| known);
    words.chain(STATUSES.iter().map(|(_, known)| known)).chain(STOPS.iter().map(|(_, known)| known))
}

/// Where a text shows a failure of Windows, and which: the last one, since what Windows got over
/// stands before what it did not.
pub(super) fn failure(text: &str) -> Option<(usize, &'static Known)> {
    let stops = after(text, STOP).chain(bluescreens(text)).map(|(at, code)| (at, stop(code)));
    let names = NAMES.iter().filter_map(|(name, code)| Some((text.rfind(name)?, stop(*code))));
    // Other programs have lines of that name too: these codes are the boot manager's alone.
    let statuses = after(text, STATUS).chain(after(text, ERROR_CODE));
    let statuses = statuses.filter_map(|(at, code)| Some((at, status(code)?)));
    let words = WORDS.iter().flat_map(|(words, known)| words.iter().map(move |word| (*word, known)));
    let words = words.filter_map(|(word, known)| Some((text.rfind(word)?, known)));
    // On one screen the words come first: the code behind them says more.
    stops.chain(names).chain(statuses).chain(words).max_by_key(|(at, _)| *at)
}

/// Where Windows says that it is up, and the line that says most.
pub(super) fn up(text: &str) -> Option<usize> {
    let ours = FIRST_BOOT.iter().filter_map(|sign| text.rfind(sign)).max();
    ours.or_else(|| text.rfind(UP))
}

fn stop(code: u32) -> &'static Known {
    STOPS.iter().find(|(codes, _)| codes.contains(&code)).map_or(&STOPPED, |(_, known)| known)
}

fn status(code: u32) -> Option<&'static Known> {
    STATUSES.iter().find(|(codes, _)| codes.contains(&code)).map(|(_, known)| known)
}

/// The hexadecimal numbers behind a mark, with where the mark is.
fn after<'a>(text: &'a str, mark: &'static str) -> impl Iterator<Item = (usize, u32)> + 'a {
    text.match_indices(mark).filter_map(move |(at, _)| Some((at, hexadecimal(&text[at + mark.len()..])?)))
}

/// The stop codes that EMS sent.
fn bluescreens(text: &str) -> impl Iterator<Item = (usize, u32)> + '_ {
    text.match_indices(BLUESCREEN).map(|(at, _)| {
        let rest = &text[at..];
        let code = rest.find(STOPCODE).filter(|place| *place < NEAR).and_then(|place| {
            let rest = &rest[place..];
            let number = rest.find("0x").filter(|place| *place < NEAR)?;
            hexadecimal(&rest[number + 2..])
        });
        // Without a code that can be read it is a stop all the same.
        (at, code.unwrap_or(u32::MAX))
    })
}

fn hexadecimal(text: &str) -> Option<u32> {
    let length = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    u32::from_str_radix(&text[..length], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> &'static str {
        failure(text).unwrap_or_else(|| panic!("{text}")).1.reason
    }

    #[test]
    fn stops_are_known_in_every_form() {
        for code in
            [0x7b_u32, 0xed, 0x24, 0x74, 0xc000_021a, 0x5d, 0x7e, 0xd1, 0x9f, 0xc4, 0xa5, 0x7a, 0xc000_0135]
        {
            let known = stop(code);
            assert_ne!(known.reason, STOPPED.reason, "{code:#x}");
            let xml = format!(
                "<?xml><BP>\n<INSTANCE CLASSNAME=\"BLUESCREEN\">\n<PROPERTY NAME=\"STOPCODE\" TYPE=\"string\"><VALUE>\"0x{code:X}\"</VALUE></PROPERTY><machine-info>\n</INSTANCE>\n</BP>!SAC>"
            );
            assert_eq!(reason(&xml), known.reason);
            assert_eq!(reason(&format!("*** STOP: 0x{code:08X} (0x1,0x2,0x3,0x4)")), known.reason);
        }
        assert_eq!(reason("*** STOP: 0x000000FC (0x1,0x2,0x3,0x4)"), STOPPED.reason);
        assert_eq!(reason("<INSTANCE CLASSNAME=\"BLUESCREEN\">"), STOPPED.reason);
        assert_eq!(reason(":( Your PC ran into a problem"), STOPPED.reason);
        assert!(
            reason(":( Your PC ran into a problem ... Stop code: INACCESSIBLE_BOOT_DEVICE").contains("0x7B")
        );
    }

    #[test]
    fn the_boot_manager_is_understood() {
        let says = |status: &str| {
            format!(
                "Windows Boot Manager\nWindows failed to start. A recent hardware or\nsoftware change might be the cause.\n    File: \\Boot\\BCD\n    Status: {status}\n    Info: An error occurred"
            )
        };
        for status in ["0xc000000f", "0xc000000e", "0xc0000034"] {
            assert!(reason(&says(status)).contains("did not find its boot configuration"));
        }
        assert!(reason(&says("0xc0000098")).contains("BCD"));
        assert!(reason(&says("0xC0000225")).contains("misses a part"));
        assert!(reason(&says("0xc0000428")).contains("signature"));
        assert_eq!(reason(&says("0xc0009999")), BOOT_MANAGER.reason);
        assert!(
            reason("Your PC/Device needs to be repaired\nFile: \\BCD\nError code: 0xc0000098")
                .contains("BCD")
        );
        for words in ["BOOTMGR is missing", "BOOTMGR image is corrupt", "NTLDR is missing"] {
            assert!(
                reason(&format!("Booting from Hard Disk...\n{words}\nPress Ctrl+Alt+Del to restart"))
                    .contains("boot sector")
            );
        }
        assert!(
            reason("An operating system wasn't found. Try disconnecting any drives").contains("no Windows")
        );
    }

    #[test]
    fn codes_of_other_programs_are_none() {
        for text in [
            "Status: 0x0",
            "HTTP Status: 0x1f",
            "exit Status: 0xc0000005",
            "mce: 0x7B",
            "a\u{e4}*** STOP: 0x",
        ] {
            assert!(failure(text).is_none(), "{text}");
        }
    }

    #[test]
    fn all_have_advice_and_reasons_of_their_own() {
        let all: Vec<&Known> = known().collect();
        for (index, one) in all.iter().enumerate() {
            assert!(!one.advice.is_empty() && !one.advice.ends_with('.'), "{}", one.reason);
            let others = all[index + 1..].iter().filter(|other| other.reason == one.reason);
            assert_eq!(others.count(), 0, "{}", one.reason);
        }
    }
}
