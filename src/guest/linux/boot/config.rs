//! Boot loader menus as text: `grub.cfg` and GRUB legacy's `menu.lst`. Parsed by line; the edit of
//! a line leaves every other byte.

/// What one entry of a menu says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its title.
    pub title: String,
    /// Its `--id`, or a BLS file's name without ending.
    pub id: Option<String>,
    /// The submenus it is in, the outermost first: index, title, id.
    pub parents: Vec<Level>,
    /// Its index in its own menu.
    pub index: u32,
    /// The line of its kernel and arguments, from 1.
    pub line: u32,
    /// The kernel's path as it stands.
    pub kernel: String,
    /// The kernel's arguments as they stand.
    pub arguments: String,
    /// The initramfs files' paths as they stand.
    pub initramfs: Vec<String>,
    /// The release, where the entry names it.
    pub version: Option<String>,
    /// Whether a hypervisor starts the kernel (Xen's dom0).
    pub hypervisor: bool,
    /// Whether it starts another boot loader: Windows's, mostly.
    pub chain: bool,
}

/// A submenu.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Level {
    /// Its index in the menu that it is in.
    pub index: u32,
    /// Its title.
    pub title: String,
    /// Its `--id`.
    pub id: Option<String>,
}

impl Level {
    fn is(&self, key: &str) -> bool {
        key == self.title || self.id.as_deref() == Some(key) || key.parse() == Ok(self.index)
    }
}

impl Entry {
    /// Whether it starts Linux: memtest and chain loaders have neither a root nor an initramfs.
    #[must_use]
    pub fn is_linux(&self) -> bool {
        self.arguments.contains("root=") || !self.initramfs.is_empty()
    }

    /// Whether it is the one that a default names: an index, title or id a menu level, joined by
    /// `>` (GRUB's manual, "default").
    #[must_use]
    pub fn is_default(&self, default: &str) -> bool {
        let own = Level { index: self.index, title: self.title.clone(), id: self.id.clone() };
        let mut keys = default.split('>');
        let mut levels = self.parents.iter().chain(std::iter::once(&own));
        levels.all(|level| keys.next().is_some_and(|key| level.is(key))) && keys.next().is_none()
    }
}

/// The dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// GRUB 2.
    Grub2,
    /// GRUB legacy.
    Legacy,
}

/// Most levels of submenus that are followed.
const MOST_LEVELS: usize = 16;

impl Dialect {
    /// The command that a line starts with, and what stands behind it. GRUB legacy also takes
    /// `=` for a blank there.
    fn command(self, body: &str) -> (&str, &str) {
        let end = |character: char| character.is_whitespace() || (self == Self::Legacy && character == '=');
        match body.find(end) {
            Some(end) => (&body[..end], &body[end..]),
            None => (body, ""),
        }
    }

    /// Whether a command loads a kernel with its arguments, or (`module`) may do so under Xen.
    fn is_kernel(self, word: &str) -> bool {
        match self {
            Self::Grub2 => matches!(word, "linux" | "linux16" | "linuxefi" | "module" | "module2"),
            Self::Legacy => matches!(word, "kernel" | "module"),
        }
    }

    fn is_initramfs(self, word: &str) -> bool {
        match self {
            Self::Grub2 => matches!(word, "initrd" | "initrd16" | "initrdefi"),
            Self::Legacy => word == "initrd",
        }
    }
}

/// Where the parts of a kernel line are: its path, and the start of its arguments.
fn kernel_line(line: &str, dialect: Dialect) -> Option<(&str, usize)> {
    let body = line.trim_start();
    let (command, rest) = dialect.command(body);
    if !dialect.is_kernel(command) {
        return None;
    }
    let mut position = line.len() - rest.len();
    loop {
        let rest = &line[position..];
        let word_start = rest.find(|c: char| !c.is_whitespace() && c != '=')?;
        let word = rest[word_start..].split_whitespace().next()?;
        position += word_start + word.len();
        // `--nounzip`, GRUB legacy's `--type=…`.
        if !word.starts_with("--") {
            return Some((word, position));
        }
    }
}

/// All entries of a configuration, in the order of the menu.
#[must_use]
pub fn entries(text: &str, dialect: Dialect) -> Vec<Entry> {
    let mut menu =
        Menu { found: Vec::new(), levels: vec![0], parents: Vec::new(), blocks: Vec::new(), open: None };
    for (line, number) in text.lines().zip(1_u32..) {
        menu.line(line, number, dialect);
    }
    menu.found
}

/// A configuration as it is read.
struct Menu {
    found: Vec<Entry>,
    /// The next index of each menu that is open.
    levels: Vec<u32>,
    parents: Vec<Level>,
    /// Whether each open block is a submenu.
    blocks: Vec<bool>,
    /// The entry that is open; its kernel is not yet known.
    open: Option<Entry>,
}

impl Menu {
    fn line(&mut self, line: &str, number: u32, dialect: Dialect) {
        let body = line.trim();
        let (word, rest) = dialect.command(body);
        match (dialect, word) {
            (Dialect::Grub2, "menuentry") | (Dialect::Legacy, "title") => {
                let index = self.next_index();
                let parents = self.parents.clone();
                let entry = Entry { title: title(rest), id: id(body), parents, index, ..Entry::default() };
                self.open = Some(entry);
                self.blocks.push(false);
            }
            (Dialect::Grub2, "submenu") if self.levels.len() < MOST_LEVELS => {
                let index = self.next_index();
                self.parents.push(Level { index, title: title(rest), id: id(body) });
                self.levels.push(0);
                self.blocks.push(true);
            }
            (Dialect::Grub2, "}") => match self.blocks.pop() {
                Some(true) if self.levels.len() > 1 => {
                    self.levels.pop();
                    self.parents.pop();
                }
                _ => self.open = None,
            },
            (Dialect::Grub2, "multiboot" | "multiboot2") => self.under_hypervisor(),
            (Dialect::Grub2, "chainloader" | "ntldr") | (Dialect::Legacy, "chainloader") => {
                if let Some(entry) = self.open.take() {
                    self.found.push(Entry { line: number, chain: true, ..entry });
                }
            }
            _ => {}
        }
        if let Some((path, arguments)) = kernel_line(line, dialect) {
            self.kernel(word, path, line[arguments..].trim(), number);
        } else if dialect.is_initramfs(word)
            && let Some(entry) = self.found.last_mut()
        {
            let blank = |c: char| c.is_whitespace() || c == '=';
            entry.initramfs.extend(rest.split(blank).filter(|path| !path.is_empty()).map(str::to_owned));
        }
    }

    fn next_index(&mut self) -> u32 {
        let Some(next) = self.levels.last_mut() else { return 0 };
        *next = next.saturating_add(1);
        *next - 1
    }

    fn under_hypervisor(&mut self) {
        if let Some(entry) = &mut self.open {
            entry.hypervisor = true;
        }
    }

    fn kernel(&mut self, command: &str, path: &str, arguments: &str, number: u32) {
        let file = path.rsplit('/').next().unwrap_or(path);
        // GRUB legacy loads Xen by `kernel`, and the kernel by `module`.
        if command == "kernel" && file.starts_with("xen") {
            self.under_hypervisor();
            return;
        }
        if command.starts_with("module") {
            let open = self.open.as_ref().filter(|open| open.hypervisor);
            let Some(open) = open else { return };
            let known = self.found.last_mut().filter(|entry| {
                entry.hypervisor && entry.index == open.index && entry.parents == open.parents
            });
            if let Some(entry) = known {
                entry.initramfs.push(path.to_owned());
                return;
            }
        }
        let entry = self.open.clone().unwrap_or_default();
        let (kernel, arguments) = (path.to_owned(), arguments.to_owned());
        self.found.push(Entry { line: number, kernel, arguments, ..entry });
    }
}

fn title(rest: &str) -> String {
    let rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '=').trim_end();
    match rest.chars().next() {
        Some(quote @ ('\'' | '"')) => rest[1..].split(quote).next().unwrap_or_default().to_owned(),
        _ => rest.to_owned(),
    }
}

fn id(body: &str) -> Option<String> {
    let rest = body.split_once("--id ").or_else(|| body.split_once("$menuentry_id_option "))?.1;
    Some(rest.split_whitespace().next()?.trim_matches(['\'', '"']).to_owned())
}

/// Edits the arguments of kernel lines; `change` tells the new ones, or `None` to leave the line.
#[must_use]
pub fn edit(text: &str, dialect: Dialect, change: &dyn Fn(u32, &str) -> Option<String>) -> String {
    let mut edited = String::with_capacity(text.len());
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        let body = line.trim_end_matches(['\n', '\r']);
        let parts = kernel_line(body, dialect).and_then(|(_, start)| {
            let trimmed = body[start..].trim_start();
            Some((start, trimmed, change(number, trimmed)?))
        });
        match parts {
            Some((start, trimmed, changed)) => {
                edited.push_str(&body[..start]);
                // A kernel without arguments has no blank behind it.
                let gap = &body[start..body.len() - trimmed.len()];
                edited.push_str(if gap.is_empty() && !changed.is_empty() { " " } else { gap });
                edited.push_str(&changed);
                edited.push_str(&line[body.len()..]);
            }
            None => edited.push_str(line),
        }
    }
    edited
}

/// Edits the arguments that Debian's update-grub makes new entries of GRUB legacy from: `# kopt=`
/// with one `#` is a setting, not a comment.
#[must_use]
pub fn edit_kopt(text: &str, change: &dyn Fn(&str) -> String) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let body = line.trim_end_matches(['\n', '\r']);
        match body.strip_prefix("# kopt=") {
            Some(value) => format!("# kopt={}{}", change(value), &line[body.len()..]),
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// Which entry a GRUB 2 configuration starts by itself, as its variables stand: the one for the
/// next boot only, the saved one where it asks for that, else the literal default.
#[must_use]
pub fn default_entry(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name: &str| {
        let uses = text.lines().any(|line| {
            let value = line.trim().strip_prefix("set default=").map(|value| value.trim_matches(['"', '\'']));
            value.is_some_and(|value| value == format!("${{{name}}}") || value == format!("${name}"))
        });
        variable(name).filter(|value| uses && !value.is_empty())
    };
    let literal = || {
        text.lines().find_map(|line| {
            let line = line.trim();
            let value = line.strip_prefix("set default=").or_else(|| line.strip_prefix("default="))?;
            let value = value.trim_matches(['"', '\'']);
            (!value.contains('$')).then(|| value.to_owned())
        })
    };
    set("next_entry").or_else(|| set("saved_entry")).or_else(literal)
}

/// The command of a line of GRUB legacy's, and its value.
#[must_use]
pub fn legacy_command(line: &str) -> (&str, &str) {
    let (word, rest) = Dialect::Legacy.command(line.trim());
    (word, rest.trim_matches(|c: char| c.is_whitespace() || c == '='))
}

/// Which entry a GRUB legacy configuration starts by itself. `saved` is the content of
/// `/boot/grub/default`, whose first line is an index.
#[must_use]
pub fn legacy_default(text: &str, saved: Option<&str>) -> Option<String> {
    text.lines().find_map(|line| match legacy_command(line) {
        ("default", "saved") => saved.and_then(|saved| Some(saved.lines().next()?.trim().to_owned())),
        ("default", value) => value.split_whitespace().next().map(str::to_owned),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &str = "set default=\"0\"\nmenuentry 'Debian' --class x $menuentry_id_option 'gnulinux-simple' {\n\
        \tlinux\t/boot/vmlinuz-6 root=/dev/sda1 ro  quiet\n\tinitrd\t/boot/initrd.img-6\n}\n\
        submenu 'Advanced' --id adv {\n  menuentry \"Old\" --id old {\n    linux /boot/vmlinuz-5\n  }\n}\n\
        menuentry 'Memtest' {\n  linux16 /memtest\n}\n";

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_menu_is_read() {
        let entries = entries(CFG, Dialect::Grub2);
        let shown: Vec<_> =
            entries.iter().map(|entry| (entry.title.as_str(), entry.index, entry.line)).collect();
        assert_eq!(shown, [("Debian", 0, 3), ("Old", 0, 8), ("Memtest", 2, 12)]);
        assert_eq!(entries[0].id.as_deref(), Some("gnulinux-simple"));
        assert_eq!(entries[0].initramfs, ["/boot/initrd.img-6"]);
        assert!(entries[0].is_linux() && !entries[2].is_linux());
        for default in ["1>0", "Advanced>Old", "adv>old", "1>old", "adv>0"] {
            assert!(entries[1].is_default(default) && !entries[0].is_default(default), "{default}");
        }
        assert!(entries[0].is_default("0") && entries[0].is_default("gnulinux-simple"));
        assert!(!entries[1].is_default("old") && !entries[1].is_default("x>old"));
        assert_eq!(default_entry(CFG, &|_| Some("old".to_owned())).as_deref(), Some("0"));
    }

    #[test]
    fn the_default_may_be_saved() {
        let text = "if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\nelse\n   \
            set default=\"${saved_entry}\"\nfi\n";
        let saved = |name: &str| (name == "saved_entry").then(|| "old".to_owned());
        assert_eq!(default_entry(text, &saved).as_deref(), Some("old"));
        let next = |name: &str| Some(if name == "next_entry" { "once" } else { "old" }.to_owned());
        assert_eq!(default_entry(text, &next).as_deref(), Some("once"));
        assert_eq!(default_entry(text, &none), None);
        for (text, expected) in [
            ("default=1\n", Some("1")),
            ("default\t\t2\n", Some("2")),
            ("default saved\n", Some("3")),
            ("timeout 8\n", None),
            ("# default 1\n", None),
        ] {
            assert_eq!(legacy_default(text, Some("3\n#\n#\n")).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_the_arguments_change() {
        let edited = edit(CFG, Dialect::Grub2, &|_, arguments| Some(format!("{arguments} +")));
        assert!(edited.contains("\tlinux\t/boot/vmlinuz-6 root=/dev/sda1 ro  quiet +\n"), "{edited}");
        assert!(edited.contains("linux /boot/vmlinuz-5  +\n"), "{edited}");
        assert_eq!(edit(CFG, Dialect::Grub2, &|_, arguments| Some(arguments.to_owned())), CFG);
        let crlf = "linux /v root=x\r\n";
        assert_eq!(edit(crlf, Dialect::Grub2, &|_, old| Some(format!("{old} y"))), "linux /v root=x y\r\n");
    }

    #[test]
    fn legacy_dialects() {
        let text = "default=1\ntitle CentOS (2.6)\n\troot (hd0,0)\n\tkernel /vmlinuz-2.6 ro root=/dev/sda2\n\
            \tinitrd /initramfs-2.6.img\ntitle\t\tDebian\nuuid\t\tabc\n\
            kernel\t\t--type=linux (hd0,1)/boot/vmlinuz-2.6.26 root=/dev/hda1 ro quiet\ninitrd\t\t/boot/initrd.img\n\
            title=Gentoo\nkernel=/boot/kernel root=/dev/sda3\n";
        let found = entries(text, Dialect::Legacy);
        let shown: Vec<_> = found
            .iter()
            .map(|entry| (entry.title.as_str(), entry.kernel.as_str(), entry.arguments.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("CentOS (2.6)", "/vmlinuz-2.6", "ro root=/dev/sda2"),
                ("Debian", "(hd0,1)/boot/vmlinuz-2.6.26", "root=/dev/hda1 ro quiet"),
                ("Gentoo", "/boot/kernel", "root=/dev/sda3"),
            ]
        );
        let kopt = "## ## Start Default Options ##\n# kopt=root=/dev/hda1 ro\n## kopt=x\n";
        assert_eq!(
            edit_kopt(kopt, &|value| format!("{value} +")),
            "## ## Start Default Options ##\n# kopt=root=/dev/hda1 ro +\n## kopt=x\n"
        );
    }

    #[test]
    fn kernels_that_xen_starts() {
        let text = "menuentry 'Xen' {\n\tmultiboot2\t/boot/xen-4.17-amd64.gz placeholder\n\
            \tmodule2\t/boot/vmlinuz-6 placeholder root=/dev/sda1 ro\n\tmodule2\t--nounzip   /boot/initrd.img-6\n}\n\
            menuentry 'Plain' {\n\tlinux /boot/vmlinuz-6 root=/dev/sda1\n}\n";
        let found = entries(text, Dialect::Grub2);
        assert_eq!(found.len(), 2);
        assert!(found[0].hypervisor && !found[1].hypervisor);
        assert_eq!(
            (found[0].kernel.as_str(), found[0].initramfs.as_slice()),
            ("/boot/vmlinuz-6", &["/boot/initrd.img-6".to_owned()][..])
        );
        let legacy = "title Xen\n\tkernel /xen.gz-2.6.18 crashkernel=1\n\tmodule /vmlinuz-2.6.18xen ro root=/dev/sda2\n\
            \tmodule /initrd-2.6.18xen.img\n";
        let found = entries(legacy, Dialect::Legacy);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].initramfs.len(), found[0].hypervisor), (3, 1, true));
    }

    #[test]
    fn hostile_menus_end() {
        let deep = "submenu 'x' {\n".repeat(50_000) + &"}\n".repeat(60_000);
        assert_eq!(entries(&deep, Dialect::Grub2), []);
        for text in [
            "linux",
            "linux ",
            "linux --a",
            "menuentry",
            "title",
            "kernel=",
            "}\n}\nlinux /x",
            "menuentry 'é",
        ] {
            let _ = entries(text, Dialect::Grub2);
            let _ = entries(text, Dialect::Legacy);
            assert_eq!(edit(text, Dialect::Legacy, &|_, old| Some(old.to_owned())), text);
        }
    }
}
