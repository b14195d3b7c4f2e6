//! `/etc/fstab` and `/etc/crypttab` (fstab(5), crypttab(5)): parsed line by line, so that an edit
//! changes one field and leaves every other byte as it stands.

/// The most bytes of such a file that are looked at; what lies behind is left alone.
pub const MOST_BYTES: u64 = 1 << 20;

/// One mount of an fstab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// Its line, from 1.
    pub line: u32,
    /// What is mounted, octal escapes decoded: `/dev/sda1`, `UUID=…`, `LABEL=…`.
    pub source: String,
    /// Where, octal escapes decoded: `/`, `/boot`, `none`, `swap`.
    pub target: String,
    /// The filesystem's type.
    pub filesystem: String,
    /// The mount options, as written; empty when the field is missing.
    pub options: String,
    /// The whole line as it stands, for evidence.
    pub text: String,
}

impl Mount {
    /// Whether an option stands among the comma-separated ones.
    #[must_use]
    pub fn has_option(&self, option: &str) -> bool {
        self.options.split(',').any(|found| found.trim() == option)
    }

    /// Whether its filesystem is another machine's: what mount(8) and systemd take for a network
    /// filesystem, or what says so itself.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        const REMOTE: [&str; 14] = [
            "nfs",
            "nfs4",
            "cifs",
            "smbfs",
            "smb3",
            "ncpfs",
            "glusterfs",
            "fuse.glusterfs",
            "ceph",
            "fuse.ceph",
            "fuse.sshfs",
            "davfs",
            "afs",
            "ocfs2",
        ];
        REMOTE.contains(&self.filesystem.as_str()) || self.has_option("_netdev")
    }

    /// Whether the boot goes on without it.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        ["noauto", "nofail", "nobootwait", "x-systemd.automount"].iter().any(|option| self.has_option(option))
    }

    /// The options that choose a subvolume of a btrfs (`subvol=@`, `subvolid=258`), as mount(2) takes
    /// them; with both, the kernel wants them to mean the same one.
    #[must_use]
    pub fn subvolume(&self) -> Option<String> {
        let chosen = |option: &&str| option.starts_with("subvol=") || option.starts_with("subvolid=");
        let options: Vec<String> = self.options.split(',').filter(chosen).map(decode).collect();
        (!options.is_empty()).then(|| options.join(","))
    }

    /// Whether it is swap space.
    #[must_use]
    pub fn is_swap(&self) -> bool {
        self.filesystem == "swap"
    }
}

/// Parses an fstab: one [`Mount`] a line that names at least source, target and type. Comments,
/// empty and shorter lines and those that are no UTF-8 are passed over.
#[must_use]
pub fn parse(content: &[u8]) -> Vec<Mount> {
    lines(content)
        .filter_map(|(line, text)| {
            let fields = fields(text);
            let [source, target, filesystem, ..] = fields.as_slice() else { return None };
            Some(Mount {
                line,
                source: decode(field(text, *source)),
                target: decode(field(text, *target)),
                filesystem: decode(field(text, *filesystem)),
                options: fields.get(3).map_or_else(String::new, |options| field(text, *options).to_owned()),
                text: text.trim().to_owned(),
            })
        })
        .collect()
}

/// One mapping of a crypttab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Its line, from 1.
    pub line: u32,
    /// The name under `/dev/mapper`.
    pub name: String,
    /// The encrypted device.
    pub source: String,
    /// The options, when the line has that field.
    pub options: Option<String>,
    /// The whole line as it stands.
    pub text: String,
}

/// Parses a crypttab.
#[must_use]
pub fn parse_crypttab(content: &[u8]) -> Vec<Mapping> {
    lines(content)
        .filter_map(|(line, text)| {
            let fields = fields(text);
            let [name, source, ..] = fields.as_slice() else { return None };
            Some(Mapping {
                line,
                name: decode(field(text, *name)),
                source: decode(field(text, *source)),
                options: fields.get(3).map(|options| field(text, *options).to_owned()),
                text: text.trim().to_owned(),
            })
        })
        .collect()
}

/// Whether a path is a directory or something below it.
#[must_use]
pub fn within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Replaces one field (from 0) of one line (from 1), leaving every other byte; `None` when there
/// is no such line or field.
#[must_use]
pub fn replace_field(content: &str, line: u32, index: usize, value: &str) -> Option<String> {
    let mut edited = String::with_capacity(content.len() + value.len());
    let mut found = false;
    for (number, text) in content.split_inclusive('\n').enumerate() {
        let place = fields(text).get(index).copied();
        match place {
            Some((start, end)) if number + 1 == line as usize => {
                edited.push_str(&text[..start]);
                edited.push_str(value);
                edited.push_str(&text[end..]);
                found = true;
            }
            _ => edited.push_str(text),
        }
    }
    found.then_some(edited)
}

/// Adds options to a line (from 1) whose options are the field `index` (from 0); a line that lacks
/// the fields before gets `-` or `none` for them. `None` when there is no such line.
#[must_use]
pub fn add_options(content: &str, line: u32, index: usize, options: &str) -> Option<String> {
    let number = (line as usize).checked_sub(1)?;
    let text = content.split_inclusive('\n').nth(number)?;
    let places = fields(text);
    let last = places.len().checked_sub(1)?;
    if let Some(place) = places.get(index) {
        let old = field(text, *place);
        return replace_field(content, line, index, &format!("{old},{options}"));
    }
    let filling = " none".repeat(index - last - 1);
    let value = format!("{}{filling} {options}", field(text, places[last]));
    replace_field(content, line, last, &value)
}

/// The lines that can hold an entry, with their numbers; at most [`MOST_BYTES`] are looked at.
fn lines(content: &[u8]) -> impl Iterator<Item = (u32, &str)> {
    let bound = content.len().min(usize::try_from(MOST_BYTES).unwrap_or(usize::MAX));
    content[..bound].split(|byte| *byte == b'\n').zip(1_u32..).filter_map(|(bytes, line)| {
        let text = std::str::from_utf8(bytes).ok()?;
        let trimmed = text.trim_start();
        (!trimmed.is_empty() && !trimmed.starts_with('#')).then_some((line, text))
    })
}

/// Where the fields of a line are. libmount parts them at blanks and tabs; a carriage return of a
/// file edited elsewhere counts as the line's end.
fn fields(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = None;
    for (position, byte) in text.bytes().enumerate() {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match (blank, start) {
            (false, None) => start = Some(position),
            (true, Some(from)) => {
                found.push((from, position));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        found.push((from, text.len()));
    }
    if found.first().is_some_and(|(start, _)| text[*start..].starts_with('#')) {
        found.clear();
    }
    found
}

fn field(text: &str, (start, end): (usize, usize)) -> &str {
    &text[start..end]
}

/// Decodes `\040` and its like (fstab(5): spaces, tabs and backslashes are written in octal), and
/// quotes around a value.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        let octal = bytes.get(position + 1..position + 4).filter(|_| bytes[position] == b'\\');
        let value = octal.and_then(|digits| {
            digits.iter().try_fold(0_u16, |value, digit| {
                matches!(digit, b'0'..=b'7').then(|| value * 8 + u16::from(digit - b'0'))
            })
        });
        if let Some(value) = value.and_then(|value| u8::try_from(value).ok()) {
            decoded.push(value);
            position += 4;
        } else {
            decoded.push(bytes[position]);
            position += 1;
        }
    }
    String::from_utf8_lossy(&decoded).replace('"', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines_are_understood() {
        let text = b"# /etc/fstab\n\n/dev/sda1\t/  ext4 errors=remount-ro 0 1\n  UUID=\"a-b\" /mnt/my\\040disk xfs\n\
            broken\n/dev/sdb1 none swap sw\r\n\xff\xfe /x ext4\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3);
        assert_eq!(
            (mounts[0].line, mounts[0].source.as_str(), mounts[0].target.as_str()),
            (3, "/dev/sda1", "/")
        );
        assert!(mounts[0].has_option("errors=remount-ro"));
        assert_eq!(mounts[1].source, "UUID=a-b");
        assert_eq!(mounts[1].target, "/mnt/my disk");
        assert_eq!(mounts[1].options, "");
        assert!(mounts[2].is_swap());
        assert_eq!(mounts[2].options, "sw");
        assert_eq!(mounts[2].line, 6);
    }

    #[test]
    fn one_field_changes_and_nothing_else() {
        let text = "/dev/sda1\t/  ext4 defaults 0 1\r\n/dev/sda2 none swap\n";
        let edited = replace_field(text, 1, 0, "UUID=1").unwrap();
        assert_eq!(edited, "UUID=1\t/  ext4 defaults 0 1\r\n/dev/sda2 none swap\n");
        assert_eq!(replace_field(text, 2, 3, "sw"), None);
        assert_eq!(replace_field(text, 3, 0, "x"), None);
    }

    #[test]
    fn options_are_added() {
        let text = "a /dev/sda1\r\nb /dev/sdb1 none luks\n/dev/sda1 / ext4";
        assert_eq!(add_options(text, 1, 3, "nofail").unwrap(), text.replace("sda1\r", "sda1 none nofail\r"));
        assert_eq!(add_options(text, 2, 3, "nofail").unwrap(), text.replace("luks", "luks,nofail"));
        assert_eq!(add_options(text, 3, 3, "nofail").unwrap(), format!("{text} nofail"));
        assert_eq!(add_options(text, 4, 3, "nofail"), None);
        assert_eq!(add_options("# c\n", 1, 3, "nofail"), None);
        assert_eq!(add_options(text, 0, 3, "nofail"), None);
    }

    #[test]
    fn mounts_of_other_machines() {
        let remote = |line: &str| parse(line.as_bytes())[0].is_remote();
        assert!(remote("srv:/x /x nfs defaults 0 0") && remote("/dev/sdz /y ext4 _netdev 0 0"));
        assert!(!remote("/dev/sda1 / ext4 defaults") && !remote("/a /b none bind"));
        assert!(parse(b"x /x nfs noauto,ro")[0].is_optional() && !parse(b"x /x nfs hard")[0].is_optional());
    }

    #[test]
    fn subvolumes_are_named_by_path_and_by_id() {
        let subvolume = |options: &str| parse(format!("a /x btrfs {options}").as_bytes())[0].subvolume();
        assert_eq!(subvolume("ro,subvolid=258").as_deref(), Some("subvolid=258"));
        assert_eq!(subvolume("subvolid=258,x,subvol=/@").as_deref(), Some("subvolid=258,subvol=/@"));
        assert_eq!(subvolume("subvol=my\\040own").as_deref(), Some("subvol=my own"));
        assert_eq!(subvolume("defaults"), None);
    }

    #[test]
    fn a_huge_file_is_bounded() {
        let huge = b"/dev/sda1 / ext4 defaults 0 1\n".repeat(200_000);
        let mounts = parse(&huge);
        assert!(mounts.len() < 40_000, "{}", mounts.len());
    }

    #[test]
    fn crypttab() {
        let found = parse_crypttab(b"# c\nroot_crypt /dev/sda3 none luks,discard\nx\n");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].source.as_str(), found[0].line),
            ("root_crypt", "/dev/sda3", 2)
        );
    }
}
