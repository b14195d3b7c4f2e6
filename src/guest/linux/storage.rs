//! What decides which disks become logical volumes, arrays and multipath devices, where that
//! leaves out the instance's disks (`/dev/nvme…`, `/dev/xvd…`).

use std::collections::BTreeMap;
use std::ops::Range;

use regex::RegexBuilder;

use super::devices::{self, Device};
use super::initramfs::archive::Archive;
use super::initramfs::setting::{Setting, Settings};
use super::services;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::DiskFacts;
use crate::guest::tree::TreeError;
use crate::model::Hypervisor;

/// LVM's settings; the initramfs has a copy.
pub const LVM: &str = "/etc/lvm/lvm.conf";
/// mdadm's settings, Red Hat's and SUSE's place and Debian's; the initramfs has a copy.
pub const MDADM: [&str; 2] = ["/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"];
/// Where initramfs-tools is told what to resume from.
const RESUME: &str = "/etc/initramfs-tools/conf.d/resume";
const MULTIPATH: &str = "/etc/multipath.conf";
/// lvm.conf(5): `filter` for commands, `global_filter` for everything.
const FILTERS: [&str; 2] = ["filter", "global_filter"];
/// Most characters of a filter's list, and most lists that are looked at.
const MOST_LIST: usize = 1 << 16;
const MOST_LISTS: usize = 64;
/// Most bytes that a compiled pattern of a guest's may take.
const PATTERN: usize = 1 << 20;

/// Edits the settings, and says which of the archives' copies are to be changed: an initramfs finds
/// the root by its own. `root` is the device that the default kernel is told, `archives` are the
/// initramfs files by path.
///
/// # Errors
/// When a file cannot be read.
pub fn prepare(
    draft: &mut Draft<'_>,
    disks: &[DiskFacts],
    root: &str,
    archives: &BTreeMap<String, Archive>,
    hypervisor: Hypervisor,
    settings: &mut Settings,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    let inside = Inside { disks, root, archives };
    lvm(draft, &inside, hypervisor, settings, findings)?;
    arrays(draft, &inside, settings, findings)?;
    resume(draft, disks, findings)?;
    multipath(draft, root, findings);
    Ok(())
}

/// Whether a member of an initramfs is a copy of such settings.
#[must_use]
pub fn is_setting(path: &str) -> bool {
    [LVM, MDADM[0], MDADM[1]].iter().any(|setting| setting.trim_start_matches('/') == path)
}

fn holds(disks: &[DiskFacts], kinds: &[&str]) -> bool {
    disks
        .iter()
        .flat_map(|disk| &disk.partitions)
        .any(|partition| kinds.contains(&partition.content.as_str()))
}

/// What an initramfs finds the root by.
struct Inside<'i> {
    disks: &'i [DiskFacts],
    root: &'i str,
    archives: &'i BTreeMap<String, Archive>,
}

impl Inside<'_> {
    /// The copies of a file in the initramfs archives: path of the archive, the copy's own, its text.
    fn copies(&self, path: &str) -> impl Iterator<Item = (&String, String, &str)> {
        self.archives.iter().filter_map(move |(archive_path, archive)| {
            let member = archive.resolve(path.trim_start_matches('/'))?;
            let text = std::str::from_utf8(archive.kept.get(&member)?).ok()?;
            Some((archive_path, member, text))
        })
    }
}

fn lvm(
    draft: &mut Draft<'_>,
    inside: &Inside<'_>,
    hypervisor: Hypervisor,
    settings: &mut Settings,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    const SUMMARY: &str = "LVM's filter leaves out the instance's disks";
    let device = match hypervisor {
        Hypervisor::Nitro => "/dev/nvme0n1p2",
        Hypervisor::Xen => "/dev/xvda2",
    };
    if let Some(text) = draft.text(LVM)
        && let Some((line, edited)) = opened_filters(&text, device)
    {
        let evidence = nth(&text, line);
        findings.push(
            informs("lvm_filter", SUMMARY)
                .at(LVM, line, evidence)
                .remedy("they are added to what it accepts"),
        );
        draft.write(LVM, edited.into_bytes(), 0o644, "let LVM find its volumes on the instance's disks")?;
    }
    let Inside { disks, root, .. } = *inside;
    let on_logical = root.starts_with("/dev/mapper/")
        || (root.starts_with("/dev/") && root.matches('/').count() == 3 && !root.starts_with("/dev/disk/"))
        || devices::find(disks, root, "/", None) == Device::Stable && !is_on(disks, root);
    if !holds(disks, &["lvm2"]) || !on_logical {
        return Ok(());
    }
    for (path, member, text) in inside.copies(LVM) {
        const SUMMARY: &str = "LVM's filter in the initramfs leaves out the instance's disks";
        let Some((line, after)) = opened_filters(text, device) else { continue };
        let (place, evidence) = (format!("{path}: {LVM}"), nth(text, line));
        settings.entry(path.clone()).or_default().push(Setting {
            member,
            before: text.to_owned(),
            after,
            only_drivers: false,
            mended: informs("lvm_filter_in_initramfs", SUMMARY)
                .at(&place, line, evidence)
                .remedy("they are added to what it accepts, in the initramfs too"),
            stuck: blocks("lvm_filter_in_initramfs", SUMMARY).at(&place, line, evidence).advice(
                "Let it accept /dev/nvme and /dev/xvd in the guest's lvm.conf, make the initramfs again \
                 (update-initramfs -u or dracut -f) and back the guest up.",
            ),
        });
    }
    Ok(())
}

/// A line of a text, from 1.
fn nth(text: &str, line: u32) -> &str {
    text.lines().nth((line as usize).saturating_sub(1)).unwrap_or_default()
}

/// Whether one of the partitions has the UUID or label that a name says.
fn is_on(disks: &[DiskFacts], name: &str) -> bool {
    let value = name.split_once('=').map_or(name, |(_, value)| value);
    let all = disks.iter().flat_map(|disk| &disk.partitions);
    all.into_iter().any(|partition| {
        partition.uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(value))
            || partition.label.as_deref() == Some(value)
    })
}

/// The text with filters that accept EC2's disks, and the first line that did not; `None` when
/// nothing has to change.
fn opened_filters(text: &str, device: &str) -> Option<(u32, String)> {
    let mut edited = String::with_capacity(text.len());
    let (mut position, mut first) = (0, None);
    for list in lists(text) {
        let patterns = quoted(&text[list.clone()]);
        if accepts(&patterns, device) {
            continue;
        }
        let number = text[..list.start].matches('\n').count() + 1;
        first = first.or_else(|| u32::try_from(number).ok());
        edited.push_str(&text[position..list.start]);
        let body = &text[list.clone()];
        match body.strip_prefix('[') {
            Some(rest) => edited.push_str(&format!("[ \"a|^/dev/nvme|\", \"a|^/dev/xvd|\",{rest}")),
            None => edited.push_str(&format!("[ \"a|^/dev/nvme|\", \"a|^/dev/xvd|\", {body} ]")),
        }
        position = list.end;
    }
    let first = first?;
    edited.push_str(&text[position..]);
    Some((first, edited))
}

/// Where the values of the filters stand: a list in brackets, or one string.
fn lists(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut tried) = (Vec::new(), 0);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let line_start = start;
        start += line.len();
        // One that stands inside a list that was found is none.
        if found.last().is_some_and(|last: &Range<usize>| line_start < last.end) {
            continue;
        }
        let body = line.trim_start();
        let value = FILTERS.iter().find_map(|key| body.strip_prefix(key)?.trim_start().strip_prefix('='));
        let Some(value) = value.map(str::trim_start).filter(|_| tried < MOST_LISTS) else { continue };
        tried += 1;
        let from = line_start + line.len() - value.len();
        let rest = &text[from..];
        let length = match rest.as_bytes().first() {
            Some(b'[') => closing(rest),
            Some(b'"') => rest[1..].find('"').map(|end| end + 2),
            _ => None,
        };
        found.extend(length.map(|length| from..from + length));
    }
    found
}

/// The length of a list in brackets; brackets inside quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    let end = text.char_indices().take(MOST_LIST).find(|(_, character)| {
        quoted ^= *character == '"';
        *character == ']' && !quoted
    });
    end.map(|(position, _)| position + 1)
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// Whether LVM takes a device: the first pattern that matches decides, and none accepts
/// (lvm.conf(5)). A pattern that is not understood is passed over.
fn accepts(patterns: &[&str], device: &str) -> bool {
    for pattern in patterns.iter().take(256) {
        let mut characters = pattern.chars();
        let (Some(action), Some(delimiter)) = (characters.next(), characters.next()) else { continue };
        let expression = characters.as_str();
        let Some(end) = expression.rfind(delimiter) else { continue };
        let compiled = RegexBuilder::new(&expression[..end]).size_limit(PATTERN).build();
        if compiled.is_ok_and(|compiled| compiled.is_match(device)) {
            return action == 'a';
        }
    }
    true
}

fn arrays(
    draft: &mut Draft<'_>,
    inside: &Inside<'_>,
    settings: &mut Settings,
    findings: &mut Findings,
) -> Result<(), TreeError> {
    const SUMMARY: &str = "mdadm looks for arrays on the old machine's disks only";
    for path in MDADM {
        if let Some(text) = draft.text(path)
            && let Some((line, edited)) = opened_devices(&text)
        {
            let evidence = nth(&text, line);
            findings.push(
                informs("mdadm_devices", SUMMARY)
                    .at(path, line, evidence)
                    .remedy("it looks at all disks and knows the arrays by their UUIDs"),
            );
            draft.write(
                path,
                edited.into_bytes(),
                0o644,
                "let mdadm find its arrays on the instance's disks",
            )?;
        }
        let Inside { disks, root, .. } = *inside;
        let on_array = root.starts_with("/dev/md") || (!is_on(disks, root) && !root.starts_with("/dev/sd"));
        if !holds(disks, &["md", "raid"]) || !on_array {
            continue;
        }
        for (archive, member, text) in inside.copies(path) {
            const SUMMARY: &str = "mdadm in the initramfs looks for arrays on the old machine's disks only";
            let Some((line, after)) = opened_devices(text) else { continue };
            let (place, evidence) = (format!("{archive}: {path}"), nth(text, line));
            settings.entry(archive.clone()).or_default().push(Setting {
                member,
                before: text.to_owned(),
                after,
                only_drivers: false,
                mended: informs("mdadm_devices_in_initramfs", SUMMARY)
                    .at(&place, line, evidence)
                    .remedy("it looks at all disks, in the initramfs too"),
                stuck: blocks("mdadm_devices_in_initramfs", SUMMARY).at(&place, line, evidence).advice(
                    "Write `DEVICE partitions` into the guest's mdadm.conf, make the initramfs again \
                     (update-initramfs -u or dracut -f) and back the guest up.",
                ),
            });
        }
    }
    Ok(())
}

/// mdadm.conf(5) with `DEVICE partitions` for a list of device names, and without `devices=` for
/// arrays that have a UUID; the first line that changes. `None` when none does.
fn opened_devices(text: &str) -> Option<(u32, String)> {
    let mut first = None;
    let lines = text.split_inclusive('\n').zip(1_u32..).map(|(line, number)| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let keyword = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        let ending = &line[line.trim_end().len()..];
        let old = |word: &&&str| ["/dev/sd", "/dev/hd", "/dev/vd"].iter().any(|name| word.contains(name));
        let changed = match keyword.as_str() {
            "DEVICE" if words.iter().any(|word| old(&word)) && !words.contains(&"partitions") => {
                Some("DEVICE partitions".to_owned())
            }
            "ARRAY" if words.iter().any(|word| word.to_ascii_lowercase().starts_with("uuid=")) => {
                let kept: Vec<&str> = words
                    .iter()
                    .filter(|word| !word.to_ascii_lowercase().starts_with("devices="))
                    .copied()
                    .collect();
                (kept.len() < words.len()).then(|| kept.join(" "))
            }
            _ => None,
        };
        match changed {
            Some(changed) => {
                first.get_or_insert(number);
                changed + ending
            }
            None => line.to_owned(),
        }
    });
    let edited: String = lines.collect();
    first.map(|first| (first, edited))
}

fn resume(draft: &mut Draft<'_>, disks: &[DiskFacts], findings: &mut Findings) -> Result<(), TreeError> {
    let Some(text) = draft.text(RESUME) else { return Ok(()) };
    let found = text.lines().zip(1_u32..).find_map(|(line, number)| {
        Some((
            line.trim().strip_prefix("RESUME=")?.trim_matches(['"', '\'']).to_owned(),
            line.to_owned(),
            number,
        ))
    });
    let Some((device, line, number)) = found else { return Ok(()) };
    let with = match devices::find(disks, &device, "none", Some("swap")) {
        Device::Renamed(uuid) => uuid,
        Device::Unknown => "none".to_owned(),
        _ if devices::is_missing(disks, &device) => "none".to_owned(),
        _ => return Ok(()),
    };
    let finding = if with == "none" {
        warns("resume_unmatched", "the device to resume from is on no restored disk")
            .remedy("`resume=` is taken out, so that the boot does not wait for it")
    } else {
        informs("resume_device_name", "the device to resume from is named by its controller's device")
            .remedy("it is named by its UUID")
    };
    findings.push(finding.at(RESUME, number, &line));
    let edited = text.replacen(&line, &format!("RESUME={with}"), 1);
    draft.write(RESUME, edited.into_bytes(), 0o644, "what to resume from, for the next initramfs")
}

fn multipath(draft: &Draft<'_>, root: &str, findings: &mut Findings) {
    let tree = draft.tree();
    let on_root = root.starts_with("/dev/mapper/mpath") || root.starts_with("/dev/mapper/3600");
    if on_root {
        findings.push(
            blocks(
                "multipath_root",
                "the root filesystem is on a multipath device, which the instance's disk does not become",
            )
            .seen(format!("root={root}"))
            .advice(
                "Name it by UUID or by its logical volume in the guest's boot loader, and back it up again.",
            ),
        );
    } else if services::starts(tree, &["multipathd.service"]) && draft.exists(MULTIPATH) {
        findings.push(
            informs("multipath", "multipathd runs in the guest; EC2's disks have one path")
                .seen(MULTIPATH)
                .advice("Disable it after the restore; with `find_multipaths no` it may hold disks that should be mounted."),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_leave_disks_out_are_opened() {
        let nvme = "/dev/nvme0n1p2";
        let text = "devices {\n\t# filter = [ \"r|.*|\" ]\n\tfilter = [ \"a|/dev/sd.*|\", \"r|.*|\" ]\n\
                    \tglobal_filter = [\n\t\t\"a/sd[a-z]/\",\n\t\t\"r/.*/\"\n\t]\n}\n";
        let (line, edited) = opened_filters(text, nvme).unwrap();
        assert_eq!(line, 3);
        assert_eq!(
            edited,
            text.replace(
                "\tfilter = [ \"a|/dev/sd",
                "\tfilter = [ \"a|^/dev/nvme|\", \"a|^/dev/xvd|\", \"a|/dev/sd"
            )
            .replace("r = [\n", "r = [ \"a|^/dev/nvme|\", \"a|^/dev/xvd|\",\n")
        );
        assert_eq!(opened_filters(&edited, nvme), None);
        assert_eq!(opened_filters(&edited, "/dev/xvda2"), None);
        let (_, one) = opened_filters("filter = \"r|nvme|\"\n", nvme).unwrap();
        assert_eq!(one, "filter = [ \"a|^/dev/nvme|\", \"a|^/dev/xvd|\", \"r|nvme|\" ]\n");
        for open in [
            "filter = [ \"a|.*|\" ]\n",
            "filter = [ \"r|/dev/cdrom|\" ]\n",
            "filter=[\"a|/dev/disk|\",\"a|nvme|\",\"r|.*|\"]",
            "filter = [ \"r|(|\" ]",
            "filter = [ \"r|.*|\"",
            "filter = ",
            "filter = [ \"\", \"a\", \"é\" ]",
        ] {
            assert_eq!(opened_filters(open, nvme), None, "{open}");
        }
        let many = "filter = [\n".repeat(20_000);
        assert_eq!(opened_filters(&many, nvme), None);
    }

    #[test]
    fn arrays_are_found_on_any_disk() {
        let text = "# mdadm.conf\nDEVICE /dev/sd[ab]1\nMAILADDR root\n\
                    ARRAY /dev/md0 devices=/dev/sda1,/dev/sdb1 UUID=a:b:c:d\nARRAY /dev/md1 devices=/dev/sda2\n";
        let (line, edited) = opened_devices(text).unwrap();
        assert_eq!(line, 2);
        assert_eq!(
            edited,
            "# mdadm.conf\nDEVICE partitions\nMAILADDR root\nARRAY /dev/md0 UUID=a:b:c:d\n\
             ARRAY /dev/md1 devices=/dev/sda2\n"
        );
        assert_eq!(opened_devices(&edited), None);
        assert_eq!(opened_devices("DEVICE partitions containers\n"), None);
    }
}
