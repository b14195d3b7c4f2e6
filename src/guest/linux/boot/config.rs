//! Boot loader configurations as text: `grub.cfg`, GRUB legacy's `menu.lst`, boot loader
//! specification entries. Parsed by line; the edit of a line leaves every other byte.

/// What one line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its title, or a BLS file's name without ending.
    pub title: String,
    /// Its `--id`, when it has one.
    pub id: Option<String>,
    /// Its place in the menu: `0`, `1>2`.
    pub place: String,
    /// The line of its kernel, from 1.
    pub line: u32,
    /// The kernel's path as it stands.
    pub kernel: String,
    /// The kernel's arguments as they stand.
    pub arguments: String,
    /// The initramfs files' paths as they stand.
    pub initramfs: Vec<String>,
}

/// The dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// GRUB 2.
    Grub2,
    /// GRUB legacy.
    Legacy,
}

impl Dialect {
    /// The command that starts a line with a kernel and its arguments.
    fn is_kernel(self, word: &str) -> bool {
        match self {
            Self::Grub2 => matches!(word, "linux" | "linux16" | "linuxefi"),
            Self::Legacy => word == "kernel",
        }
    }

    fn is_initramfs(self, word: &str) -> bool {
        match self {
            Self::Grub2 => matches!(word, "initrd" | "initrd16" | "initrdefi"),
            Self::Legacy => word == "initrd",
        }
    }
}

/// Splits a kernel line into what stands before the arguments (blanks, command, path) and the
/// arguments themselves.
fn kernel_line(line: &str, dialect: Dialect) -> Option<(&str, &str, &str)> {
    let body = line.trim_start();
    let indent = line.len() - body.len();
    let command_end = body.find(char::is_whitespace)?;
    if !dialect.is_kernel(&body[..command_end]) {
        return None;
    }
    let rest = &body[command_end..];
    let path_start = command_end + (rest.len() - rest.trim_start().len());
    let path = body[path_start..].split_whitespace().next()?;
    let head = indent + path_start + path.len();
    Some((&line[..head], path, &line[head..]))
}

/// All entries of a configuration, in the order of the menu.
#[must_use]
pub fn entries(text: &str, dialect: Dialect) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    // One counter a menu level; the last belongs to the menu that is open.
    let mut counters = vec![0_u32];
    let mut blocks: Vec<bool> = Vec::new();
    let mut open: Option<(String, Option<String>, String)> = None;
    for (line, number) in text.lines().zip(1_u32..) {
        let body = line.trim();
        let word = body.split_whitespace().next().unwrap_or_default();
        match (dialect, word) {
            (Dialect::Grub2, "menuentry") | (Dialect::Legacy, "title") => {
                open = Some((title(body), id(body), place(&counters)));
                if let Some(counter) = counters.last_mut() {
                    *counter += 1;
                }
                blocks.push(false);
            }
            (Dialect::Grub2, "submenu") if counters.len() < 16 => {
                if let Some(counter) = counters.last_mut() {
                    *counter += 1;
                }
                counters.push(0);
                blocks.push(true);
            }
            (Dialect::Grub2, "}") => match blocks.pop() {
                Some(true) if counters.len() > 1 => {
                    counters.pop();
                }
                _ => open = None,
            },
            _ => {}
        }
        if let Some((_, kernel, arguments)) = kernel_line(line, dialect) {
            let (title, id, place) = open.clone().unwrap_or_default();
            found.push(Entry {
                title,
                id,
                place,
                line: number,
                kernel: kernel.to_owned(),
                arguments: arguments.trim().to_owned(),
                initramfs: Vec::new(),
            });
        } else if dialect.is_initramfs(word)
            && let Some(entry) = found.last_mut()
        {
            entry.initramfs.extend(body.split_whitespace().skip(1).map(str::to_owned));
        }
    }
    found
}

/// `1>2`: an index in each menu, the outer ones already counted on.
fn place(counters: &[u32]) -> String {
    let last = counters.len().saturating_sub(1);
    let indexes = counters.iter().enumerate().map(|(level, counter)| {
        let index = if level < last { counter.saturating_sub(1) } else { *counter };
        index.to_string()
    });
    indexes.collect::<Vec<_>>().join(">")
}

fn title(body: &str) -> String {
    let rest = body.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
    match rest.chars().next() {
        Some(quote @ ('\'' | '"')) => rest[1..].split(quote).next().unwrap_or_default().to_owned(),
        _ => rest.to_owned(),
    }
}

fn id(body: &str) -> Option<String> {
    let rest = body.split_once("--id ").or_else(|| body.split_once("$menuentry_id_option "))?.1;
    Some(rest.split_whitespace().next()?.trim_matches(['\'', '"']).to_owned())
}

/// Edits the arguments of every kernel line.
#[must_use]
pub fn edit(text: &str, dialect: Dialect, change: &dyn Fn(u32, &str) -> String) -> String {
    let mut edited = String::with_capacity(text.len());
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        let (body, ending) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        match kernel_line(body, dialect) {
            Some((head, _, arguments)) => {
                let trimmed = arguments.trim_start();
                edited.push_str(head);
                let changed = change(number, trimmed);
                // A kernel without arguments has no blank behind it.
                let gap = &arguments[..arguments.len() - trimmed.len()];
                edited.push_str(if gap.is_empty() && !changed.is_empty() { " " } else { gap });
                edited.push_str(&changed);
            }
            None => edited.push_str(body),
        }
        edited.push_str(ending);
    }
    edited
}

/// Which entry a GRUB 2 configuration starts by itself: the literal default, or the saved one.
#[must_use]
pub fn default_entry(text: &str, saved: Option<&str>) -> Option<String> {
    let uses_saved = text.contains("${saved_entry}");
    let literal = text.lines().find_map(|line| {
        let value =
            line.trim().strip_prefix("set default=").or_else(|| line.trim().strip_prefix("default="))?;
        let value = value.trim_matches(['"', '\'']);
        (!value.contains('$')).then(|| value.to_owned())
    });
    saved.filter(|saved| uses_saved && !saved.is_empty()).map(str::to_owned).or(literal)
}

/// Whether an entry is the one that a default names.
#[must_use]
pub fn is_default(entry: &Entry, default: &str) -> bool {
    let last = default.rsplit('>').next().unwrap_or(default);
    entry.place == default || entry.title == last || entry.id.as_deref() == Some(last)
}

/// A boot loader specification entry: the keys that matter. `None` without a kernel.
#[must_use]
pub fn bls(stem: &str, text: &str) -> Option<Entry> {
    let mut entry = Entry {
        title: stem.to_owned(),
        id: Some(stem.to_owned()),
        place: String::new(),
        line: 0,
        kernel: String::new(),
        arguments: String::new(),
        initramfs: Vec::new(),
    };
    for (line, number) in text.lines().zip(1_u32..) {
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        let value = value.trim();
        match key {
            "linux" => entry.kernel = value.to_owned(),
            "initrd" => entry
                .initramfs
                .extend(value.split_whitespace().filter(|path| !path.starts_with('$')).map(str::to_owned)),
            "options" => {
                entry.line = number;
                if !entry.arguments.is_empty() {
                    entry.arguments.push(' ');
                }
                entry.arguments.push_str(value);
            }
            _ => {}
        }
    }
    (!entry.kernel.is_empty()).then_some(entry)
}

/// Edits the first `options` line of a BLS entry.
#[must_use]
pub fn edit_bls(text: &str, change: &dyn Fn(&str) -> String) -> String {
    let mut done = false;
    let lines = text.split_inclusive('\n').map(|line| {
        let (body, ending) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        match body.strip_prefix("options").filter(|rest| !done && rest.starts_with(char::is_whitespace)) {
            Some(rest) => {
                done = true;
                let value = rest.trim_start();
                format!("options{}{}{ending}", &rest[..rest.len() - value.len()], change(value))
            }
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// Edits the value of a shell assignment, `NAME="value"`, on its own line; `None` when there is
/// no such line, or it is written in a way that is not understood.
#[must_use]
pub fn edit_assignment(text: &str, name: &str, change: &dyn Fn(&str) -> String) -> Option<String> {
    let mut done = false;
    let lines: String = text
        .split_inclusive('\n')
        .map(|line| match assignment(line, name).filter(|_| !done) {
            Some((start, end)) => {
                done = true;
                let quoted = line[..start].ends_with(['"', '\'']);
                let changed = change(&line[start..end]);
                let quote = if quoted || !changed.contains(' ') { "" } else { "\"" };
                format!("{}{quote}{changed}{quote}{}", &line[..start], &line[end..])
            }
            None => line.to_owned(),
        })
        .collect();
    done.then_some(lines)
}

/// The value of a shell assignment on its own line.
#[must_use]
pub fn assigned<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split_inclusive('\n').find_map(|line| assignment(line, name).map(|(start, end)| &line[start..end]))
}

/// Where the value of an assignment stands in a line, quotes excluded.
fn assignment(line: &str, name: &str) -> Option<(usize, usize)> {
    let body = line.trim_start();
    let body = body.strip_prefix("set ").map_or(body, str::trim_start);
    let value = body.strip_prefix(name)?.strip_prefix('=')?;
    let start = line.len() - value.len();
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let end = value[1..].find(quote)? + 1;
            Some((start + 1, start + end))
        }
        _ => {
            let end = value.find(char::is_whitespace).unwrap_or(value.len());
            Some((start, start + end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &str = "set default=\"0\"\nmenuentry 'Debian' --class x $menuentry_id_option 'gnulinux-simple' {\n\
        \tlinux\t/boot/vmlinuz-6 root=/dev/sda1 ro  quiet\n\tinitrd\t/boot/initrd.img-6\n}\n\
        submenu 'Advanced' {\n  menuentry \"Old\" --id old {\n    linux /boot/vmlinuz-5\n  }\n}\n\
        menuentry 'Memtest' {\n  linux16 /memtest\n}\n";

    #[test]
    fn a_menu_is_read() {
        let entries = entries(CFG, Dialect::Grub2);
        let shown: Vec<_> =
            entries.iter().map(|entry| (entry.title.as_str(), entry.place.as_str(), entry.line)).collect();
        assert_eq!(shown, [("Debian", "0", 3), ("Old", "1>0", 8), ("Memtest", "2", 12)]);
        assert_eq!(entries[0].id.as_deref(), Some("gnulinux-simple"));
        assert_eq!(entries[0].initramfs, ["/boot/initrd.img-6"]);
        assert!(
            is_default(&entries[0], "0")
                && is_default(&entries[1], "1>0")
                && is_default(&entries[1], "x>old")
        );
        assert_eq!(default_entry(CFG, Some("old")).as_deref(), Some("0"));
        assert_eq!(default_entry("set default=\"${saved_entry}\"\n", Some("old")).as_deref(), Some("old"));
    }

    #[test]
    fn only_the_arguments_change() {
        let edited = edit(CFG, Dialect::Grub2, &|_, arguments| format!("{arguments} +"));
        assert!(edited.contains("\tlinux\t/boot/vmlinuz-6 root=/dev/sda1 ro  quiet +\n"), "{edited}");
        assert!(edited.contains("linux /boot/vmlinuz-5  +\n"), "{edited}");
        assert_eq!(edit(CFG, Dialect::Grub2, &|_, arguments| arguments.to_owned()), CFG);
    }

    #[test]
    fn legacy_bls_and_assignments() {
        let legacy = "default=1\ntitle CentOS (2.6)\n\troot (hd0,0)\n\tkernel /vmlinuz-2.6 ro root=/dev/sda2\n\tinitrd /initramfs-2.6.img\n";
        let found = entries(legacy, Dialect::Legacy);
        assert_eq!((found[0].title.as_str(), found[0].kernel.as_str()), ("CentOS (2.6)", "/vmlinuz-2.6"));
        assert_eq!(default_entry(legacy, None).as_deref(), Some("1"));
        let text = "title X\nlinux /vmlinuz-5\ninitrd /initramfs-5.img $tuned_initrd\noptions $kernelopts $tuned_params\n";
        let entry = bls("stem", text).unwrap();
        assert_eq!((entry.initramfs.len(), entry.line), (1, 4));
        assert!(
            edit_bls(text, &|options| format!("{options} x"))
                .contains("options $kernelopts $tuned_params x\n")
        );
        let text = "A=1\nGRUB_CMDLINE_LINUX=\"a b\" # c\n";
        assert_eq!(assigned(text, "GRUB_CMDLINE_LINUX"), Some("a b"));
        let edited = edit_assignment(text, "GRUB_CMDLINE_LINUX", &|value| format!("{value} c")).unwrap();
        assert_eq!(edited, "A=1\nGRUB_CMDLINE_LINUX=\"a b c\" # c\n");
        assert_eq!(edit_assignment("X=a\n", "X", &|_| "a b".to_owned()).unwrap(), "X=\"a b\"\n");
        assert_eq!(edit_assignment(text, "GRUB_CMDLINE", &|_| String::new()), None);
    }
}
