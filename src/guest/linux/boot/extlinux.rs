//! `extlinux.conf` and `syslinux.cfg` (SYSLINUX's documentation, "Configuration"): keywords in any
//! case; `APPEND` holds the arguments, and the initramfs as `initrd=`.

use super::config::Entry;

/// The keyword of a line in capitals, and its value.
#[must_use]
pub fn keyword(line: &str) -> (String, &str) {
    let body = line.trim();
    let (word, value) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
    (word.to_ascii_uppercase(), value.trim())
}

/// All entries, and the label of the default one. An entry's line is that of its arguments.
#[must_use]
pub fn entries(text: &str) -> (Vec<Entry>, Option<String>) {
    let (mut found, mut default): (Vec<Entry>, Option<String>) = (Vec::new(), None);
    for (line, number) in text.lines().zip(1_u32..) {
        let (word, value) = keyword(line);
        match word.as_str() {
            "DEFAULT" | "ONTIMEOUT" => default = default.or_else(|| Some(value.to_owned())),
            "LABEL" => {
                let index = u32::try_from(found.len()).unwrap_or(u32::MAX);
                let id = Some(value.to_owned());
                found.push(Entry { title: value.to_owned(), id, index, ..Entry::default() });
            }
            _ => {
                let Some(entry) = found.last_mut() else { continue };
                match word.as_str() {
                    "KERNEL" | "LINUX" => entry.kernel = value.to_owned(),
                    "INITRD" => entry.initramfs.extend(value.split(',').map(str::to_owned)),
                    "MENU" if value.eq_ignore_ascii_case("default") => default = entry.id.clone(),
                    "APPEND" => {
                        entry.line = number;
                        entry.arguments = value.to_owned();
                        let given = value.split_whitespace().filter_map(|word| word.strip_prefix("initrd="));
                        entry.initramfs.extend(given.flat_map(|given| given.split(',')).map(str::to_owned));
                    }
                    _ => {}
                }
            }
        }
    }
    found.retain(|entry| !entry.kernel.is_empty());
    (found, default)
}

/// Edits the arguments of `APPEND` lines; `change` tells the new ones, or `None` to leave the line.
#[must_use]
pub fn edit(text: &str, change: &dyn Fn(u32, &str) -> Option<String>) -> String {
    let mut edited = String::with_capacity(text.len());
    for (line, number) in text.split_inclusive('\n').zip(1_u32..) {
        let (word, value) = keyword(line);
        let changed = (word == "APPEND").then(|| change(number, value)).flatten();
        match (changed, line.trim_end().len()) {
            (Some(changed), end) => {
                edited.push_str(&line[..end - value.len()]);
                if value.is_empty() && !changed.is_empty() {
                    edited.push(' ');
                }
                edited.push_str(&changed);
                edited.push_str(&line[end..]);
            }
            (None, _) => edited.push_str(line),
        }
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "default l0\nprompt 1\nlabel l0\n\tmenu label Debian\n\tlinux /boot/vmlinuz-6\n\
        \tappend initrd=/boot/initrd.img-6 root=/dev/sda1 ro quiet\n\nLABEL l1\nKERNEL /boot/vmlinuz-5\n\
        INITRD /boot/initrd.img-5\nAPPEND root=/dev/sda1 single  \nlabel local\nlocalboot 0\n";

    #[test]
    fn read_and_edited() {
        let (entries, default) = entries(TEXT);
        assert_eq!(default.as_deref(), Some("l0"));
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| (entry.title.as_str(), entry.line, entry.initramfs.as_slice()))
            .collect();
        let initrd = |version: u32| vec![format!("/boot/initrd.img-{version}")];
        assert_eq!(shown, [("l0", 6, &initrd(6)[..]), ("l1", 11, &initrd(5)[..])]);
        assert_eq!(edit(TEXT, &|_, _| None), TEXT);
        let edited = edit(TEXT, &|line, old| (line == 11).then(|| format!("{old} x")));
        assert_eq!(edited, TEXT.replace("single  ", "single x  "));
        for text in ["append", "label\nappend\n", "é append x", "APPEND\t\u{a0}x"] {
            assert_eq!(edit(text, &|_, old| Some(old.to_owned())), text);
        }
    }
}
