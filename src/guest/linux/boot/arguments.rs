//! A kernel's arguments: what EC2 needs is changed or added, everything else stays as it stands.

use super::review::{self, Action};
use crate::guest::linux::devices::{self, Device};
use crate::guest::report::DiskFacts;

/// The serial console of an EC2 instance, whose output `GetConsoleOutput` gives.
const CONSOLES: [&str; 2] = ["console=tty0", "console=ttyS0,115200n8"];
/// Arguments that keep the kernel's own names (`eth0`) for network interfaces.
const PLAIN_NAMES: [&str; 2] = ["net.ifnames=0", "biosdevname=0"];

/// What the arguments have to say.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// The guest's disks, for `root=` and `resume=`.
    pub disks: &'w [DiskFacts],
    /// The longest time-out of NVMe requests that the kernel accepts, as a whole argument.
    pub nvme_timeout: Option<&'w str>,
    /// Whether interfaces must be called `eth0` and so on.
    pub plain_names: bool,
    /// Whether a serial console is added.
    pub console: bool,
}

/// Parts arguments at blanks outside double and single quotes.
#[must_use]
pub fn split(arguments: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut quote) = (None, None);
    for (position, character) in arguments.char_indices() {
        match (character, quote) {
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            _ => {}
        }
        let blank = quote.is_none() && character.is_ascii_whitespace();
        match (blank, start) {
            (false, None) => start = Some(position),
            (true, Some(from)) => {
                found.push(&arguments[from..position]);
                start = None;
            }
            _ => {}
        }
    }
    found.extend(start.map(|from| &arguments[from..]));
    found
}

/// The value of the last argument with this name.
#[must_use]
pub fn value<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    split(arguments).into_iter().rev().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}

/// Whether the kernel's messages reach the serial port.
#[must_use]
pub fn has_serial_console(arguments: &str) -> bool {
    split(arguments).iter().any(|argument| argument.starts_with("console=ttyS0"))
}

/// An argument that names a device whose meaning changes, and what it leads to.
#[must_use]
pub fn changing_devices<'a>(arguments: &'a str, disks: &[DiskFacts]) -> Vec<(&'a str, Device)> {
    split(arguments)
        .into_iter()
        .filter_map(|argument| Some((argument, device(argument, disks)?)))
        .filter(|(_, device)| *device != Device::Stable)
        .collect()
}

/// `root=`; `resume=` of hibernation; `boot=`, which dracut's FIPS check mounts.
fn device(argument: &str, disks: &[DiskFacts]) -> Option<Device> {
    let (name, device) = argument.split_once('=')?;
    match name {
        "root" => Some(devices::find(disks, device, "/", None)),
        "boot" => Some(devices::find(disks, device, "/boot", None)),
        "resume" => Some(devices::find(disks, device, "none", Some("swap"))),
        _ => None,
    }
}

/// Whether anything in the arguments has to be changed or taken out, additions apart.
#[must_use]
pub fn must_change(arguments: &str, disks: &[DiskFacts]) -> bool {
    rewrite(arguments, disks) != arguments
}

/// Replaces device names, takes out what stops the boot on EC2 (see [`review::judge`]) and a
/// device to resume from that is on no disk: every other byte stays.
#[must_use]
pub fn rewrite(arguments: &str, disks: &[DiskFacts]) -> String {
    let mut edited = arguments.to_owned();
    for argument in split(arguments) {
        let with = match (device(argument, disks), argument.split_once('=')) {
            (Some(Device::Renamed(uuid)), Some((name, _))) => Some(format!("{name}={uuid}")),
            (Some(Device::Unknown), Some(("resume", _))) => Some(String::new()),
            (Some(_), _) => None,
            (None, _) => match review::judge(argument, arguments) {
                Some((_, Action::Remove)) => Some(String::new()),
                Some((_, Action::Replace(with))) => Some(with),
                Some((_, Action::Keep)) | None => None,
            },
        };
        if let Some(with) = with {
            edited = replace_word(&edited, argument, &with);
        }
    }
    edited
}

/// Replaces whole arguments that equal `word`; one that becomes nothing goes with a blank.
fn replace_word(arguments: &str, word: &str, with: &str) -> String {
    let mut edited = String::with_capacity(arguments.len());
    let mut rest = arguments;
    while let Some(position) = rest.find(word) {
        let (before, after) = (&rest[..position], &rest[position + word.len()..]);
        edited.push_str(before);
        let whole = edited.chars().next_back().is_none_or(char::is_whitespace)
            && after.chars().next().is_none_or(|next| next.is_whitespace() || next == '"' || next == '\'');
        edited.push_str(if whole { with } else { word });
        rest = after;
        if whole && with.is_empty() {
            if edited.is_empty() {
                rest = rest.strip_prefix(' ').unwrap_or(rest);
            } else {
                edited.pop();
            }
        }
    }
    edited + rest
}

/// The arguments that are wanted and missing, in order. `others` also count as present.
#[must_use]
pub fn missing(arguments: &str, others: &str, wanted: &Wanted<'_>) -> Vec<String> {
    let present: Vec<&str> = split(arguments).into_iter().chain(split(others)).collect();
    let mut missing = Vec::new();
    if wanted.console && !has_serial_console(arguments) && !has_serial_console(others) {
        let needed = CONSOLES.iter().filter(|console| !present.contains(console));
        missing.extend(needed.map(|console| (*console).to_owned()));
    }
    if let Some(timeout) = wanted.nvme_timeout
        && let Some((name, _)) = timeout.split_once('=')
        && !present.iter().any(|argument| argument.split_once('=').is_some_and(|(other, _)| other == name))
    {
        missing.push(timeout.to_owned());
    }
    if wanted.plain_names {
        let needed = PLAIN_NAMES.iter().filter(|name| !present.contains(name));
        missing.extend(needed.map(|name| (*name).to_owned()));
    }
    missing
}

/// The arguments of one kernel line as they have to be.
#[must_use]
pub fn edit(arguments: &str, wanted: &Wanted<'_>) -> String {
    append(&rewrite(arguments, wanted.disks), &missing(arguments, "", wanted))
}

/// Adds arguments at the end, before trailing blanks.
#[must_use]
pub fn append(arguments: &str, added: &[String]) -> String {
    let kept = arguments.trim_end();
    let mut edited = kept.to_owned();
    for argument in added {
        if !edited.is_empty() {
            edited.push(' ');
        }
        edited.push_str(argument);
    }
    edited + &arguments[kept.len()..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::report::PartitionFacts;

    #[test]
    fn what_is_needed_is_added_and_the_rest_stays() {
        let disks = [DiskFacts {
            name: "root".to_owned(),
            table: "mbr".to_owned(),
            partitions: vec![PartitionFacts {
                number: 1,
                offset: 0,
                size: 0,
                content: "ext4".to_owned(),
                uuid: Some("u".to_owned()),
                label: None,
                mount_point: Some("/".to_owned()),
            }],
        }];
        let wanted = Wanted {
            disks: &disks,
            nvme_timeout: Some("nvme_core.io_timeout=255"),
            plain_names: true,
            console: true,
        };
        let edited = edit("root=/dev/sda1  ro dyndbg=\"file a b\" quiet ", &wanted);
        assert_eq!(
            edited,
            "root=UUID=u  ro dyndbg=\"file a b\" quiet console=tty0 console=ttyS0,115200n8 \
             nvme_core.io_timeout=255 net.ifnames=0 biosdevname=0 "
        );
        assert_eq!(edit(&edited, &wanted), edited);
        let kept = "root=/dev/mapper/a-b console=ttyS0 nvme_core.io_timeout=7";
        assert_eq!(edit(kept, &Wanted { plain_names: false, ..wanted }), kept);
        assert_eq!(value("a=1 a=2 b", "a"), Some("2"));
        assert_eq!(rewrite("root=/dev/sda1 resume=/dev/sdb2 quiet", &disks), "root=UUID=u quiet");
        assert_eq!(rewrite("resume=/dev/sdb2 quiet", &disks), "quiet");
        assert_eq!(rewrite("ro  acpi=off", &disks), "ro ");
        assert_eq!(rewrite("acpi=off", &disks), "");
        assert_eq!(rewrite("xacpi=off acpi=offx", &disks), "xacpi=off acpi=offx");
        assert!(must_change("root=/dev/sda1", &disks) && !must_change("root=UUID=u vga=791", &disks));
        assert_eq!(
            edit("", &Wanted { nvme_timeout: None, plain_names: false, ..wanted }),
            CONSOLES.join(" ")
        );
    }
}
