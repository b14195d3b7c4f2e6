//! Boot loader specification entries (the UAPI group's "Boot Loader Specification", type 1).

use super::config::Entry;

/// The keys of an entry that matter; `stem` is its file's name without ending. `None` without a
/// kernel.
#[must_use]
pub fn parse(stem: &str, text: &str) -> Option<Entry> {
    let mut entry = Entry { title: stem.to_owned(), id: Some(stem.to_owned()), ..Entry::default() };
    for (line, number) in text.lines().zip(1_u32..) {
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        let value = value.trim();
        match key {
            "title" => entry.title = value.to_owned(),
            "version" => entry.version = Some(value.to_owned()),
            "linux" => entry.kernel = value.to_owned(),
            "initrd" => entry
                .initramfs
                .extend(value.split_whitespace().filter(|path| !path.starts_with('$')).map(str::to_owned)),
            "options" => {
                if entry.line == 0 {
                    entry.line = number;
                }
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

/// Edits the arguments of an entry: each `options` line is rewritten, the first one is also given
/// what is `missing`. An entry without such a line gets one.
#[must_use]
pub fn edit(text: &str, rewrite: &dyn Fn(&str) -> String, missing: &[String]) -> String {
    let mut missing = Some(missing).filter(|missing| !missing.is_empty());
    let lines = text.split_inclusive('\n').map(|line| {
        let body = line.trim_end_matches(['\n', '\r']);
        match body.strip_prefix("options").filter(|rest| rest.starts_with(char::is_whitespace)) {
            Some(rest) => {
                let value = rest.trim_start();
                let changed = super::arguments::append(&rewrite(value), missing.take().unwrap_or_default());
                format!("options{}{changed}{}", &rest[..rest.len() - value.len()], &line[body.len()..])
            }
            None => line.to_owned(),
        }
    });
    let mut edited: String = lines.collect();
    if let Some(missing) = missing {
        if !edited.is_empty() && !edited.ends_with('\n') {
            edited.push('\n');
        }
        edited.push_str(&format!("options {}\n", missing.join(" ")));
    }
    edited
}

/// The pattern of systemd-boot's `loader.conf` that names the default entry's file.
#[must_use]
pub fn default_pattern(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        (key == "default" && !value.trim().starts_with('@')).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let text = "title X\nversion 5\nlinux /vmlinuz-5\ninitrd /initramfs-5.img $tuned_initrd\n\
            options $kernelopts $tuned_params\n";
        let entry = parse("stem", text).unwrap();
        assert_eq!((entry.initramfs.len(), entry.line, entry.version.as_deref()), (1, 5, Some("5")));
        assert!(entry.is_default("stem") && entry.is_default("X"));
        let added = ["x".to_owned()];
        let keep = |options: &str| options.to_owned();
        assert!(edit(text, &keep, &added).contains("options $kernelopts $tuned_params x\n"));
        assert_eq!(edit(text, &keep, &[]), text);
        assert_eq!(edit("linux /v", &keep, &added), "linux /v\noptions x\n");
        let two = "options a\noptions b\n";
        assert_eq!(edit(two, &|options| format!("{options}!"), &added), "options a! x\noptions b!\n");
        assert_eq!(parse("stem", "title no kernel\n"), None);
    }

    #[test]
    fn defaults() {
        assert_eq!(default_pattern("timeout 3\ndefault  debian-*\n"), Some("debian-*"));
        assert_eq!(default_pattern("#default x\ndefault @saved\n"), None);
    }
}
