//! Menus that wait until somebody chooses, for ever or after a start that failed: an instance has
//! nobody at its keyboard.

use super::entries::{LOADER, Loader};
use super::{assignment, config, defaults, environment, extlinux};
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, informs};
use crate::guest::report::Finding;
use crate::guest::tree::TreeError;

/// Seconds that a menu stands for somebody who is quick; Debian's and Red Hat's default.
const SECONDS: &str = "5";
/// The same after a start that failed, Ubuntu's default since 14.10.
const AFTER_FAILURE: &str = "30";
const PURPOSE: &str = "start without anybody at the keyboard";
/// Settings of grub-mkconfig, and what they become when they wait for ever.
const SETTINGS: [(&str, &str); 2] = [("GRUB_TIMEOUT", SECONDS), (RECORDFAIL, AFTER_FAILURE)];
const RECORDFAIL: &str = "GRUB_RECORDFAIL_TIMEOUT";
/// What Debian's and Alpine's `update-extlinux` read, and their setting: tenths of seconds in the
/// first, seconds in the second.
const EXTLINUX: [(&str, &str, &str); 2] =
    [("/etc/default/extlinux", "EXTLINUX_TIMEOUT", "50"), ("/etc/update-extlinux.conf", "timeout", "5")];

/// Lets each menu start its default entry after a few seconds, in the boot loader's file and in what
/// that is made from.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(draft: &mut Draft<'_>, loader: &Loader, findings: &mut Findings) -> Result<(), TreeError> {
    let mut failing = false;
    for path in &loader.grub2 {
        let Some(text) = draft.text(path) else { continue };
        let edited = grub2(&text);
        failing |= edited.waits.iter().any(|wait| wait.after_failure);
        edited.write(draft, path, 0o600, findings)?;
    }
    settings(draft, failing, findings)?;
    environments(draft, loader, findings)?;
    for path in loader.legacy.iter().filter(|_| loader.grub2.is_empty()) {
        let Some(text) = draft.text(path) else { continue };
        legacy(&text).write(draft, path, 0o600, findings)?;
    }
    extlinux(draft, loader, findings)?;
    for directory in LOADER.iter().filter(|_| loader.systemd_boot) {
        let path = format!("{directory}/loader.conf");
        let Some(text) = draft.text(&path) else { continue };
        systemd_boot(&text).write(draft, &path, 0o644, findings)?;
    }
    Ok(())
}

fn waits() -> Finding {
    informs("boot_menu_waits", "the boot loader's menu waits until somebody chooses")
        .remedy("it starts its default entry after a few seconds")
}

/// A place where a menu is told to wait.
#[derive(Debug, PartialEq, Eq)]
struct Wait {
    line: u32,
    text: String,
    after_failure: bool,
}

/// A file with what was changed in it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edited {
    text: String,
    waits: Vec<Wait>,
}

impl Edited {
    fn write(
        self,
        draft: &mut Draft<'_>,
        path: &str,
        mode: u32,
        findings: &mut Findings,
    ) -> Result<(), TreeError> {
        for wait in &self.waits {
            findings.push(waits().at(path, wait.line, &wait.text));
        }
        if self.waits.is_empty() { Ok(()) } else { draft.write(path, self.text.into_bytes(), mode, PURPOSE) }
    }

    fn keep(&mut self, line: &str) {
        self.text.push_str(line);
    }

    /// Takes a line over with another value behind its keyword.
    fn replace(&mut self, line: &str, number: u32, value: &str, with: &str, after_failure: bool) {
        let indent = line.len() - line.trim_start().len();
        let keyword = line[indent..].find([' ', '\t', '=']).map_or(indent, |end| indent + end);
        let start = line[keyword..].find(value).map_or(line.len(), |at| keyword + at);
        let rest = line.get(start + value.len()..).unwrap_or_default();
        self.text.push_str(&format!("{}{with}{rest}", &line[..start]));
        self.waits.push(Wait { line: number, text: line.trim().to_owned(), after_failure });
    }
}

fn is_negative(value: &str) -> bool {
    value.parse::<i64>().is_ok_and(|value| value < 0)
}

/// `set timeout=-1`, as `00_header` of grub-mkconfig writes it: for every start, or for one after a
/// failure. It also stands where a key is asked for, which is somebody's choice.
fn grub2(text: &str) -> Edited {
    let (mut edited, mut before) = (Edited::default(), "");
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        let body = line.trim();
        let set = body.strip_prefix("set ").map_or(body, str::trim_start);
        let value = set.strip_prefix("timeout=").unwrap_or_default();
        let value = value.split([' ', '\t', ';', '#']).next().unwrap_or_default().trim_matches(['"', '\'']);
        if is_negative(value) && !before.contains("keystatus") {
            let after_failure = before.contains("recordfail");
            let with = if after_failure { AFTER_FAILURE } else { SECONDS };
            edited.replace(line, number, value, with, after_failure);
        } else {
            edited.keep(line);
        }
        if !body.is_empty() {
            before = body;
        }
    }
    edited
}

/// What the next grub-mkconfig reads. Ubuntu's before 14.10 waits for ever after a failure unless
/// it is told otherwise.
fn settings(draft: &mut Draft<'_>, failing: bool, findings: &mut Findings) -> Result<(), TreeError> {
    let files = defaults::files(draft)?;
    let is_told = files.iter().any(|(_, text)| assignment::assigns(text, RECORDFAIL));
    for (path, text) in files {
        let mut edited = text.clone();
        for (name, with) in SETTINGS {
            let change = |value: &str| if is_negative(value) { with } else { value }.to_owned();
            let changed = assignment::edit(&edited, name, &change);
            if changed != edited {
                findings.push(waits().seen(format!("{path}: {name}")));
            }
            edited = changed;
        }
        if failing && !is_told && path == defaults::DEFAULTS {
            edited = assignment::add(&edited, RECORDFAIL, &[AFTER_FAILURE.to_owned()]);
        }
        draft.write(&path, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}

/// Ubuntu's note of a start that did not come up, which a backup may have been made behind.
fn environments(draft: &mut Draft<'_>, loader: &Loader, findings: &mut Findings) -> Result<(), TreeError> {
    for path in &loader.environments {
        let Some(block) = draft.text(path) else { continue };
        let Some(value) = environment::value(&block, "recordfail").filter(|value| !value.is_empty()) else {
            continue;
        };
        let Some(edited) = environment::without(&block, "recordfail") else { continue };
        let line = block.lines().zip(1_u32..).find(|(line, _)| line.starts_with("recordfail="));
        findings.push(
            informs(
                "boot_recordfail",
                "the boot loader remembers a start that failed, and waits longer for it",
            )
            .at(path, line.map_or(0, |(_, number)| number), &format!("recordfail={value}"))
            .remedy("it is forgotten"),
        );
        draft.write(path, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}

/// GRUB legacy shows its menu for ever unless `timeout` stands before the first entry with a number.
fn legacy(text: &str) -> Edited {
    let mut edited = Edited::default();
    if config::entries(text, config::Dialect::Legacy).is_empty() {
        return edited;
    }
    let (mut done, mut place) = (false, 0);
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        let (word, value) = config::legacy_command(line);
        match word {
            "title" if !done => {
                // Behind the last command of the head, so that a comment of the entry stays with it.
                edited.text.insert_str(place, &format!("timeout={SECONDS}\n"));
                edited.waits.push(Wait {
                    line: number,
                    text: "no timeout before it".to_owned(),
                    after_failure: false,
                });
                done = true;
                edited.keep(line);
            }
            "timeout" if !done => {
                done = true;
                if value.starts_with(|first: char| first.is_ascii_digit()) {
                    edited.keep(line);
                } else if value.is_empty() {
                    edited.text.push_str(&format!("timeout={SECONDS}\n"));
                    edited.waits.push(Wait {
                        line: number,
                        text: line.trim_end().to_owned(),
                        after_failure: false,
                    });
                } else {
                    edited.replace(line, number, value, SECONDS, false);
                }
            }
            _ => edited.keep(line),
        }
        if !done && !word.is_empty() && !word.starts_with('#') {
            place = edited.text.len();
        }
    }
    edited
}

/// EXTLINUX waits at its prompt or menu (`PROMPT 1`, `UI`, `DEFAULT menu.c32`) for ever when
/// `TIMEOUT`, in tenths of seconds, is 0 or missing, and `TOTALTIMEOUT` too.
fn extlinux(draft: &mut Draft<'_>, loader: &Loader, findings: &mut Findings) -> Result<(), TreeError> {
    let texts: Vec<(&String, String)> =
        loader.extlinux.iter().filter_map(|path| Some((path, draft.text(path)?))).collect();
    let said = |wanted: &[&str], is: &dyn Fn(&str) -> bool| {
        let lines = texts.iter().flat_map(|(_, text)| text.lines());
        lines.map(extlinux::keyword).any(|(word, value)| wanted.contains(&word.as_str()) && is(value))
    };
    let is_set = |value: &str| value.parse::<u32>().is_ok_and(|value| value > 0);
    let asks = said(&["PROMPT"], &is_set)
        || said(&["UI"], &|value| !value.is_empty())
        || said(&["DEFAULT"], &|value| value.contains("menu.c32"));
    if !asks || said(&["TIMEOUT", "TOTALTIMEOUT"], &is_set) {
        return Ok(());
    }
    let Some((path, text)) = texts.first() else { return Ok(()) };
    let mut edited = Edited::default();
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        match extlinux::keyword(line) {
            (word, value) if word == "TIMEOUT" && !value.is_empty() => {
                edited.replace(line, number, value, "50", false);
            }
            _ => edited.keep(line),
        }
    }
    if edited.waits.is_empty() {
        edited.text.insert_str(0, "TIMEOUT 50\n");
        edited.waits.push(Wait { line: 1, text: "no TIMEOUT".to_owned(), after_failure: false });
    }
    edited.write(draft, path, 0o644, findings)?;
    for (path, name, with) in EXTLINUX {
        let Some(text) = draft.text(path) else { continue };
        let edited = assignment::edit(&text, name, &|_| with.to_owned());
        draft.write(path, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}

/// `timeout menu-force` of systemd-boot (loader.conf(5)).
fn systemd_boot(text: &str) -> Edited {
    let mut edited = Edited::default();
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        match line.trim().split_once(char::is_whitespace) {
            Some(("timeout", value)) if value.trim() == "menu-force" => {
                edited.replace(line, number, "menu-force", SECONDS, false);
            }
            _ => edited.keep(line),
        }
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As grub-mkconfig of Ubuntu 12.04 and 16.04, of Debian 12 and with a hidden menu writes it.
    #[test]
    fn headers_of_grub_mkconfig() {
        let precise = "if [ \"${recordfail}\" = 1 ]; then\n  set timeout=-1\nelse\n  set timeout=10\nfi\n";
        let edited = grub2(precise);
        assert_eq!(edited.text, precise.replace("-1", "30"));
        assert!(edited.waits[0].after_failure && edited.waits[0].line == 2);
        let later = "if [ \"${recordfail}\" = 1 ] ; then\n  set timeout=30\nelse\n  \
            if [ x$feature_timeout_style = xy ] ; then\n    set timeout_style=menu\n    set timeout=TIME\n  \
            # Fallback normal timeout code\n  else\n    set timeout=TIME\n  fi\nfi\n";
        let edited = grub2(&later.replace("TIME", "-1"));
        assert_eq!(edited.text, later.replace("TIME", "5"));
        assert_eq!(edited.waits.iter().map(|wait| wait.line).collect::<Vec<_>>(), [6, 9]);
        let hidden = "if [ \"x${timeout}\" != \"x-1\" ]; then\n  if keystatus; then\n    \
            if keystatus --shift; then\n      set timeout=-1\n    else\n      set timeout=0\n    fi\n  fi\nfi\n";
        for text in [hidden, "set timeout=5\n", "set timeout=${x}\n", "set timeout=", "timeout_style=-1\n"] {
            assert_eq!(grub2(text), Edited { text: text.to_owned(), waits: Vec::new() });
        }
        for (text, expected) in [
            ("timeout=\"-1\"", "timeout=\"5\""),
            ("\tset timeout=-1 # wait\r\n", "\tset timeout=5 # wait\r\n"),
            ("set timeout='-10';", "set timeout='5';"),
        ] {
            assert_eq!(grub2(text).text, expected);
        }
    }

    #[test]
    fn heads_of_grub_legacy() {
        let head =
            "# comment\ndefault=0\nhiddenmenu\n\n## of the entry\ntitle X\n\tkernel /v root=/dev/sda1\n";
        let edited = legacy(head);
        assert_eq!(edited.text, head.replace("hiddenmenu\n", "hiddenmenu\ntimeout=5\n"));
        assert_eq!(legacy(&edited.text).waits, []);
        let waiting = head.replace("hiddenmenu", "timeout=-1");
        assert_eq!(legacy(&waiting).text, head.replace("hiddenmenu", "timeout=5"));
        let bare = "title X\nkernel /v root=x\ntimeout 7\n";
        assert_eq!(legacy(bare).text, format!("timeout=5\n{bare}"));
        assert_eq!(legacy("timeout t # t\ntitle X\nkernel /v root=x\n").waits.len(), 1);
        for text in [
            "timeout=5 # s\ntitle X\nkernel /v root=x\n",
            "timeout 8\ntitle X\nkernel /v root=x\n",
            "timeout\t\t5\ntitle X\nkernel /v root=x\n",
        ] {
            assert_eq!(legacy(text).waits, []);
        }
        assert_eq!(legacy("default=0\n"), Edited::default());
        assert_eq!(
            legacy("timeout\ntitle X\nkernel /v root=x\n").text,
            "timeout=5\ntitle X\nkernel /v root=x\n"
        );
    }

    #[test]
    fn systemd_boots_word() {
        let text = "default x\ntimeout  menu-force\n";
        assert_eq!(systemd_boot(text).text, "default x\ntimeout  5\n");
        for text in ["timeout 3\n", "timeout menu-hidden\n", "#timeout menu-force\n", "timeout"] {
            assert_eq!(systemd_boot(text).waits, []);
        }
    }
}
