//! The `guest` block: its policies, the user's files, the script of the first boot.

use super::attributes::Decoder;
use crate::config::ast::Block;
use crate::config::source::Place;
use crate::model::{
    Content, DriversPolicy, FirstBoot, GuestChanges, GuestFile, GuestSpec, IdentityPolicy, NetworkPolicy,
    WindowsSpec, windows_name_mistake,
};

/// Most bytes of one file or script.
const MOST_FILE: usize = 1 << 20;
/// Most bytes of all files and the script of a guest: they travel into the sandbox at once.
const MOST_FILES: usize = 16 << 20;
/// Most characters of a host name (`HOST_NAME_MAX` of Linux).
const MOST_HOSTNAME: usize = 64;
/// Most bytes of a path (`PATH_MAX` of Linux).
const MOST_PATH: usize = 4095;
/// Directories of which a running system shows something else than what is on the disk.
const FLEETING: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
/// How long a first boot's script may run when nothing is said, in seconds.
const TIMEOUT: u32 = 300;

/// A path of Windows: its drive, and what follows the first separator.
fn drive_and_rest(path: &str) -> Option<(char, &str)> {
    let (drive, rest) = path.split_once(':')?;
    let mut letters = drive.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    if letters.next().is_some() {
        return None;
    }
    Some((letter, rest.strip_prefix(['/', '\\'])?))
}

/// Whether a script's first line names what runs scripts in Windows (the guest's side decides).
fn is_of_windows(program: &str) -> bool {
    let name = program.rsplit(['\\', '/', ' ']).next().unwrap_or_default().to_ascii_lowercase();
    matches!(name.trim_end_matches(".exe"), "powershell" | "pwsh" | "cmd")
}

impl Decoder<'_, '_> {
    pub(super) fn guest(&mut self) -> GuestSpec {
        let network = [("dhcp", NetworkPolicy::Dhcp), ("keep", NetworkPolicy::Keep)];
        let drivers = [("auto", DriversPolicy::Auto), ("none", DriversPolicy::None)];
        let identity = [("keep", IdentityPolicy::Keep), ("new", IdentityPolicy::New)];
        let network = self.word("network", &network).unwrap_or_default();
        let drivers = self.word("drivers", &drivers).unwrap_or_default();
        let identity = self.word("identity", &identity).unwrap_or_default();
        let accept = self.accepted(drivers);
        let hostname = self.hostname();
        self.refuse_sensitive();
        let block = self.block;
        let mut files = Vec::new();
        for inner in block.blocks("file") {
            files.extend(self.within(inner, |decoder| decoder.guest_file()));
        }
        let mut first_boot = None;
        for inner in block.blocks("first_boot").take(1) {
            first_boot = self.within(inner, |decoder| decoder.first_boot());
        }
        let changes = GuestChanges { identity, hostname, files, first_boot };
        let mut windows = WindowsSpec::default();
        for inner in block.blocks("windows").take(1) {
            windows = self.within(inner, |decoder| decoder.windows());
        }
        self.check_changes(drivers, &changes, &windows);
        GuestSpec { network, drivers, accept, changes, windows }
    }

    /// Codes of findings, as a plan shows them or without their area.
    fn accepted(&mut self, drivers: DriversPolicy) -> Vec<String> {
        let Some((codes, place)) = self.strings("accept") else { return Vec::new() };
        if drivers == DriversPolicy::None && !codes.is_empty() {
            self.error(
                place,
                "config::accept_without_findings",
                "findings are accepted of a guest that is not looked into",
                "`drivers = \"none\"` writes the disk as it is: there are no findings.",
                "remove `accept`, or `drivers = \"none\"`",
            );
        }
        let mut accepted = Vec::new();
        for code in codes {
            let word = ["guest::", "disk::"].iter().find_map(|area| code.strip_prefix(area)).unwrap_or(&code);
            let is_word = |word: &str| {
                !word.is_empty()
                    && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            };
            if is_word(word) {
                accepted.push(word.to_owned());
            } else {
                self.error(
                    place,
                    "config::invalid_finding",
                    "this is no code of a finding",
                    &format!("`accept` holds {code:?}. Codes are lower-case words, joined by underscores."),
                    "copy the code from the plan, as in accept = [\"ena_missing\"]",
                );
            }
        }
        accepted
    }

    /// Decodes a block inside this one; what it says must not be sensitive.
    fn within<T>(&mut self, block: &Block, decode: impl FnOnce(&mut Decoder<'_, '_>) -> T) -> T {
        let label = block.labels.first().map(|label| format!("{}.", label.text)).unwrap_or_default();
        let prefix = format!("{}{}.{label}", self.prefix, block.kind);
        let mut inner =
            Decoder { evaluator: self.evaluator, scope: self.scope, block, prefix, sink: &mut *self.sink };
        let decoded = decode(&mut inner);
        inner.refuse_sensitive();
        decoded
    }

    /// What is put into a guest is shown in the plan and lies in its blocks (promise 8).
    fn refuse_sensitive(&mut self) {
        for attribute in &self.block.attributes {
            if self.sink.sensitive.contains(&format!("{}{}", self.prefix, attribute.name)) {
                self.error(
                    attribute.expr.place,
                    "config::sensitive_in_guest",
                    "a sensitive value would be put into a guest's files",
                    &format!(
                        "`{}` comes from a sensitive value. The plan shows what changes in a guest, and saved plans and caches hold the changed blocks.",
                        attribute.name
                    ),
                    "let the guest fetch secrets when it is up, with its instance profile or from `user_data`; if it is no secret: nonsensitive(…)",
                );
            }
        }
    }

    /// What the whole block asks for must be possible.
    fn check_changes(&mut self, drivers: DriversPolicy, changes: &GuestChanges, windows: &WindowsSpec) {
        let place = self.block.place;
        if drivers == DriversPolicy::None && (*changes != GuestChanges::default() || !windows.is_empty()) {
            self.error(
                place,
                "config::guest_not_prepared",
                "a guest that is not prepared cannot be changed",
                "`drivers = \"none\"` writes the disk as it is, and this block also wants something changed in it.",
                "remove `drivers = \"none\"`, or `identity`, `hostname`, `file`, `first_boot` and `windows`",
            );
        }
        let files = changes.files.iter().map(|file| &file.content);
        let scripts = changes.first_boot.iter().map(|first_boot| &first_boot.script);
        let bytes: usize = files.chain(scripts).map(|content| content.bytes().len()).sum();
        if bytes > MOST_FILES {
            self.error(
                place,
                "config::guest_file_too_large",
                "a guest's files are too large",
                &format!("All files of a guest hold at most {MOST_FILES} bytes, and these {bytes}."),
                "let the guest fetch what is large when it is up",
            );
        }
    }

    /// A host name of RFC 1123, as long as Linux takes it.
    fn hostname(&mut self) -> Option<String> {
        let (name, place) = self.string("hostname")?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if name.len() > MOST_HOSTNAME || !name.split('.').all(label) {
            self.error(
                place,
                "config::guest_hostname",
                "a host name is not written correctly",
                &format!(
                    "A host name has letters, digits and `-`, in parts of at most 63 that dots separate, {MOST_HOSTNAME} characters in all."
                ),
                "write it as in \"web-drill\" or \"web.example.com\"",
            );
            return None;
        }
        Some(name)
    }

    /// The `windows` block: the folder must exist, or be an archive.
    fn windows(&mut self) -> WindowsSpec {
        let Some((text, place)) = self.string("components") else { return WindowsSpec::default() };
        let path = self.evaluator.directory.join(&text);
        let hidden = self.sink.sensitive.contains(&format!("{}components", self.prefix));
        let shown = if hidden { "the path".to_owned() } else { path.display().to_string() };
        let is_archive = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        let wrong = match std::fs::metadata(&path) {
            Ok(about) if about.is_dir() || (about.is_file() && is_archive) => None,
            Ok(_) => Some((
                format!("{shown} is neither a folder nor a zip archive."),
                "name the folder that holds what you downloaded from Amazon, as it was downloaded",
            )),
            Err(error) => Some((
                format!("{shown}: {error}. Paths are relative to the configuration's directory."),
                "check the path, or make the folder and put Amazon's drivers and agents into it; `replant plan` says which",
            )),
        };
        if let Some((detail, help)) = wrong {
            let summary = "there is no such folder of components";
            self.error(place, "config::missing_components", summary, &detail, help);
        }
        WindowsSpec { components: Some(path) }
    }

    fn guest_file(&mut self) -> Option<GuestFile> {
        let path = self.guest_path();
        let content = self.guest_content();
        let mode = self.mode();
        let owner = self.account("owner");
        let group = self.account("group");
        let file = GuestFile { path: path?, content: content?, mode, owner, group };
        if file.drive().is_some() && (file.mode.is_some() || file.owner.is_some() || file.group.is_some()) {
            self.error(
                self.block.place,
                "config::guest_file_access",
                "a file of a Windows guest has no mode, owner or group",
                "Its path begins with a drive, so the guest is Windows. There the file gets the access of the files of its kind beside it, or what its directory hands down; one that is replaced keeps its own.",
                "remove `mode`, `owner` and `group`; icacls in `first_boot` sets another access",
            );
            return None;
        }
        Some(file)
    }

    /// The block's label: where the file goes.
    fn guest_path(&mut self) -> Option<String> {
        let label = self.block.labels.first()?;
        let path = label.text.to_string();
        if let Some((drive, rest)) = drive_and_rest(&path) {
            let parts: Vec<&str> = rest.split(['/', '\\']).collect();
            let Some(why) = parts.iter().find_map(|part| windows_name_mistake(part)) else {
                return Some(format!("{}:\\{}", drive.to_ascii_uppercase(), parts.join("\\")));
            };
            self.error(
                label.place,
                "config::guest_file_path",
                "a file cannot be put there",
                &format!("This is a path of Windows: {why}. This is `{}`.", path.escape_debug()),
                "write it as in \"C:/Tools/x.txt\"",
            );
            return None;
        }
        let fleeting = FLEETING.iter().find(|directory| {
            path.strip_prefix(**directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let (detail, help) = if !path.starts_with('/') {
            (
                "A file's path begins with `/`, at the guest's root; in Windows guests with a drive."
                    .to_owned(),
                "write it as in \"/etc/motd\" or \"C:/Tools/x.txt\"",
            )
        } else if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
            (
                "A file's path has no empty parts, no `.` and no `..`.".to_owned(),
                "write the path as it is without them",
            )
        } else if path.len() > MOST_PATH || path.split('/').any(|part| part.len() > 255) {
            (
                format!("A path has at most {MOST_PATH} bytes, and each part 255."),
                "put the file into another place",
            )
        } else if path.chars().any(char::is_control) {
            ("A file's path has no control characters.".to_owned(), "write it without them")
        } else if let Some(directory) = fleeting {
            (
                format!(
                    "{directory} of a running system is not what lies there on its disk, or is cleared at boot."
                ),
                "put the file into another place; `first_boot` can make files there",
            )
        } else {
            return Some(path);
        };
        self.error(
            label.place,
            "config::guest_file_path",
            "a file cannot be put there",
            &format!("{detail} This is `{}`.", path.escape_debug()),
            help,
        );
        None
    }

    /// What the file holds: said, or another file's content.
    fn guest_content(&mut self) -> Option<Content> {
        let before = (self.sink.diagnostics.len(), self.sink.failed);
        let content = self.text("content", false);
        let source = self.string("source");
        if before != (self.sink.diagnostics.len(), self.sink.failed) {
            return None;
        }
        let (content, place) = match (content, source) {
            (Some((text, place)), None) => (Content::from(text.into_bytes()), place),
            (None, Some((path, place))) => (self.read_source(&path, place)?, place),
            (both, _) => {
                let (place, detail) = match both {
                    Some((_, place)) => (place, "This file has `content` and `source`."),
                    None => (self.block.place, "This file has neither `content` nor `source`."),
                };
                self.error(
                    place,
                    "config::guest_file_content",
                    "a file has one content",
                    detail,
                    "give it either: content = \"…\", or source = \"files/motd\" for a file as it is",
                );
                return None;
            }
        };
        self.check_size(&content, place)?;
        Some(content)
    }

    fn read_source(&mut self, path: &str, place: Place) -> Option<Content> {
        let hidden = self.sink.sensitive.contains(&format!("{}source", self.prefix));
        match self.evaluator.files.read_from(self.evaluator.directory, path) {
            Ok(bytes) => Some(Content(bytes)),
            Err(why) => {
                let shown = if hidden { "the file".to_owned() } else { format!("`{path}`") };
                self.error(
                    place,
                    "config::guest_file_source",
                    "a file's source cannot be read",
                    &format!("{shown}: {why}."),
                    "check the path; it is relative to the configuration's directory",
                );
                None
            }
        }
    }

    fn check_size(&mut self, content: &Content, place: Place) -> Option<()> {
        let bytes = content.bytes().len();
        if bytes <= MOST_FILE {
            return Some(());
        }
        self.error(
            place,
            "config::guest_file_too_large",
            "a guest's files are too large",
            &format!("A file of a guest holds at most {MOST_FILE} bytes, and this one {bytes}."),
            "let the guest fetch what is large when it is up",
        );
        None
    }

    /// Permission bits in octal, as text or number.
    fn mode(&mut self) -> Option<u32> {
        let (text, place) = self.string("mode")?;
        let octal = matches!(text.len(), 3 | 4) && text.chars().all(|c| ('0'..='7').contains(&c));
        let mode = u32::from_str_radix(&text, 8).ok().filter(|_| octal);
        if mode.is_none() {
            self.error(
                place,
                "config::guest_file_mode",
                "a file's mode is not written correctly",
                "A mode is three or four octal digits.",
                "write it as in \"0644\"",
            );
        }
        mode
    }

    /// The name or number of a user or group; only the guest knows which there are.
    fn account(&mut self, attribute: &str) -> Option<String> {
        let (name, place) = self.string(attribute)?;
        let good = name.len() <= 256
            && !name.starts_with('-')
            && !name.contains([':', ',', '/'])
            && !name.chars().any(|c| c.is_control() || c.is_whitespace())
            // A number is a user's or group's id; the highest means "none" (chown(2)).
            && (!name.chars().all(|c| c.is_ascii_digit())
                || name.parse::<u32>().is_ok_and(|id| id != u32::MAX));
        if !good {
            self.error(
                place,
                "config::guest_file_owner",
                "an owner or group is not written correctly",
                &format!("`{attribute}` is the name or the number of one that the guest has."),
                "write it as in \"root\" or \"1000\"",
            );
            return None;
        }
        Some(name)
    }

    fn first_boot(&mut self) -> Option<FirstBoot> {
        let timeout = self.whole("timeout", 1, 86_400, " seconds").unwrap_or(TIMEOUT);
        let (text, place) = self.text("script", false)?;
        let first = text.split('\n').next().unwrap_or_default();
        let program = first.strip_prefix("#!").map(str::trim).unwrap_or_default();
        let is_windows = is_of_windows(program);
        let mistake = if text.trim().is_empty() {
            Some(("The script is empty.", "give it what is to be run: script = file(\"beacon.sh\")"))
        } else if first.ends_with('\r') && !is_windows {
            Some((
                "Its first line ends in a carriage return, which becomes part of the interpreter's name.",
                "save the script with the line endings of Unix: replace(file(\"beacon.sh\"), \"\\r\", \"\")",
            ))
        } else if !program.starts_with('/') && !is_windows {
            Some((
                "Nothing says which program runs it: the first line is not `#!` and the program's path, or `#!powershell` or `#!cmd` in a Windows guest.",
                "begin it with #!/bin/sh; for Windows with #!powershell",
            ))
        } else if text.contains('\0') {
            Some(("It holds a zero byte.", "give a script's text"))
        } else {
            None
        };
        if let Some((detail, help)) = mistake {
            self.error(place, "config::first_boot_script", "a script cannot be run", detail, help);
            return None;
        }
        let script = Content::from(text.into_bytes());
        self.check_size(&script, place)?;
        Some(FirstBoot { script, timeout })
    }
}
