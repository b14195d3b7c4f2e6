//! EC2's limits, so far as they follow from the configuration alone.
//!
//! Volume limits: the EBS user guide, "Amazon EBS volume types" (2026). Tags: the EC2 user
//! guide, "Tag restrictions". User data: 16 KB before encoding.

use std::collections::BTreeMap;

use super::decode::Decoder;
use super::source::Place;
use super::suggest;
use crate::model::{DiskSpec, VolumeType};

/// MiB/s that gp3 can be given.
const GP3_THROUGHPUT: (u32, u32) = (125, 2_000);
/// gp3 gives a quarter MiB/s of throughput for each IOPS.
const GP3_IOPS_PER_THROUGHPUT: u64 = 4;
/// The IOPS of a gp3 volume for which none are provisioned.
const GP3_BASE_IOPS: u32 = 3_000;

impl Decoder<'_, '_> {
    /// Where an attribute's value stands, else its block.
    fn place(&self, name: &str) -> Place {
        self.block.attribute(name).map_or(self.block.place, |attribute| attribute.expr.place)
    }

    fn limit(&mut self, name: &str, code: &str, summary: &str, detail: String, help: String) {
        let error = self.evaluator.error(self.place(name), code, summary).detail(detail).help(help);
        self.sink.diagnostics.push(error);
    }
}

/// Checks a disk's volume.
pub(super) fn disk(decoder: &mut Decoder<'_, '_>, disk: &DiskSpec, root: bool) {
    let name = disk.volume_type.as_str();
    let a = if suggest::article(name) == "an" { "An" } else { "A" };
    let limits = disk.volume_type.limits();
    if root && !limits.boots {
        decoder.limit(
            "type",
            "config::volume_type_cannot_boot",
            "a volume type cannot be booted from",
            format!("EC2 boots from no {name} volume, and `{}` is the root disk.", disk.name),
            "use gp3, or make another disk the first".to_owned(),
        );
        return;
    }
    if let Some(size) = disk.size
        && !(limits.size.0..=limits.size.1).contains(&size)
    {
        decoder.limit(
            "size",
            "config::volume_size",
            "a volume has a size that its type does not have",
            format!("{a} {name} volume has {} to {} GiB, and this one {size}.", limits.size.0, limits.size.1),
            "change the size or the type".to_owned(),
        );
        return;
    }
    match (disk.iops, limits.iops) {
        (Some(_), None) => decoder.limit(
            "iops",
            "config::volume_iops",
            "a volume cannot have these IOPS",
            format!("The IOPS of a {name} volume cannot be provisioned."),
            "remove `iops`, or use gp3, io1 or io2".to_owned(),
        ),
        (Some(iops), Some((least, most))) if !(least..=most).contains(&iops) => decoder.limit(
            "iops",
            "config::volume_iops",
            "a volume cannot have these IOPS",
            format!("{a} {name} volume has {least} to {most} IOPS, and this one {iops}."),
            "give a number in that range".to_owned(),
        ),
        (Some(iops), Some((least, _))) => {
            // Every size has the type's least IOPS.
            let most = disk.size.map(|size| size.saturating_mul(limits.iops_per_gib).max(u64::from(least)));
            if let (Some(most), Some(size)) = (most, disk.size)
                && u64::from(iops) > most
            {
                decoder.limit(
                    "iops",
                    "config::volume_iops",
                    "a volume cannot have these IOPS",
                    format!("{a} {name} volume has at most {} IOPS for each GiB: {most} at {size} GiB, and this one {iops}.", limits.iops_per_gib),
                    format!("use at most {most} IOPS, or at least {} GiB", u64::from(iops).div_ceil(limits.iops_per_gib)),
                );
            }
        }
        (None, Some(_)) if matches!(disk.volume_type, VolumeType::Io1 | VolumeType::Io2) => {
            // An attribute that is there and wrong has its diagnostic.
            if decoder.block.attribute("iops").is_none() {
                decoder.limit(
                    "type",
                    "config::volume_iops",
                    "a volume cannot have these IOPS",
                    format!("{a} {name} volume is made with provisioned IOPS, and `{}` has none.", disk.name),
                    "add `iops = …`, or use gp3".to_owned(),
                );
            }
        }
        (None, _) => {}
    }
    if let Some(throughput) = disk.throughput {
        check_throughput(decoder, disk, throughput);
    }
    check_restore(decoder, disk);
    if disk.kms_key_id.is_some() && disk.encrypted == Some(false) {
        decoder.limit(
            "encrypted",
            "config::key_without_encryption",
            "a volume has a key and is not encrypted",
            format!("`{}` has a `kms_key_id` and `encrypted = false`.", disk.name),
            "write `encrypted = true`, or remove `kms_key_id`".to_owned(),
        );
    }
}

fn check_throughput(decoder: &mut Decoder<'_, '_>, disk: &DiskSpec, throughput: u32) {
    let summary = "a volume cannot have this throughput";
    let code = "config::volume_throughput";
    if disk.volume_type != VolumeType::Gp3 {
        decoder.limit(
            "throughput",
            code,
            summary,
            format!(
                "Only the throughput of gp3 volumes is provisioned, and this is {}.",
                disk.volume_type.as_str()
            ),
            "remove `throughput`, or use gp3".to_owned(),
        );
    } else if !(GP3_THROUGHPUT.0..=GP3_THROUGHPUT.1).contains(&throughput) {
        decoder.limit(
            "throughput",
            code,
            summary,
            format!(
                "A gp3 volume has {} to {} MiB/s, and this one {throughput}.",
                GP3_THROUGHPUT.0, GP3_THROUGHPUT.1
            ),
            "give a number in that range".to_owned(),
        );
    } else {
        let iops = disk.iops.unwrap_or(GP3_BASE_IOPS);
        if u64::from(throughput) * GP3_IOPS_PER_THROUGHPUT > u64::from(iops) {
            let needed = u64::from(throughput) * GP3_IOPS_PER_THROUGHPUT;
            decoder.limit(
                "throughput",
                code,
                summary,
                format!("A gp3 volume has 0.25 MiB/s for each of its IOPS: {} at {iops} IOPS, and this one {throughput}.", iops / 4),
                format!("add `iops = {needed}`, or use at most {} MiB/s", iops / 4),
            );
        }
    }
}

/// Checks what a volume has while it is written.
fn check_restore(decoder: &mut Decoder<'_, '_>, disk: &DiskSpec) {
    let Some((iops, throughput)) = disk.raised() else { return };
    let name = if disk.restore_throughput.is_some() { "restore_throughput" } else { "restore_iops" };
    let mut wrong = |name: &str, detail: String, help: String| {
        let summary = "a volume cannot have this performance while it is written";
        decoder.limit(name, "config::restore_performance", summary, detail, help);
    };
    let most_iops = VolumeType::Gp3.limits().iops.unwrap_or_default();
    let low =
        |kept: Option<u32>, wanted: Option<u32>| wanted.filter(|wanted| kept.is_some_and(|k| k > *wanted));
    if disk.volume_type != VolumeType::Gp3 {
        let detail =
            format!("Only gp3 volumes are raised for the write, and this is {}.", disk.volume_type.as_str());
        wrong(name, detail, format!("remove `{name}`, or use gp3"));
    } else if disk.restore_iops.is_some_and(|iops| !(most_iops.0..=most_iops.1).contains(&iops)) {
        let detail =
            format!("A gp3 volume has {} to {} IOPS, and this one {iops}.", most_iops.0, most_iops.1);
        wrong("restore_iops", detail, "give a number in that range".to_owned());
    } else if disk.restore_throughput.is_some_and(|t| !(GP3_THROUGHPUT.0..=GP3_THROUGHPUT.1).contains(&t)) {
        let (least, most) = GP3_THROUGHPUT;
        let detail = format!("A gp3 volume has {least} to {most} MiB/s, and this one {throughput}.");
        wrong("restore_throughput", detail, "give a number in that range".to_owned());
    } else if low(disk.iops, disk.restore_iops).or(low(disk.throughput, disk.restore_throughput)).is_some() {
        let detail = "It has less while it is written than afterwards.".to_owned();
        wrong(name, detail, format!("raise or remove `{name}`"));
    } else if u64::from(throughput) * GP3_IOPS_PER_THROUGHPUT > u64::from(iops) {
        let needed = u64::from(throughput) * GP3_IOPS_PER_THROUGHPUT;
        let detail = format!(
            "A gp3 volume has 0.25 MiB/s for each of its IOPS: {} at {iops} IOPS, and this one {throughput}.",
            iops / 4
        );
        wrong(name, detail, format!("add `restore_iops = {needed}`"));
    }
}

/// Checks tags.
pub(super) fn tags(decoder: &mut Decoder<'_, '_>, tags: &BTreeMap<String, String>) {
    let summary = "a tag is not one that EC2 takes";
    let mut wrong = |detail: String, help: &str| {
        decoder.limit("tags", "config::invalid_tag", summary, detail, help.to_owned());
    };
    // Replant's own three tags count as well.
    if tags.len() > 47 {
        wrong(
            format!("A resource has at most 50 tags, of which Replant needs 3; these are {}.", tags.len()),
            "use at most 47 tags",
        );
    }
    for (key, value) in tags {
        let short: String = key.chars().take(40).collect();
        if key.is_empty() || key.chars().count() > 128 {
            wrong(
                format!("A tag's key has 1 to 128 characters, and `{short}` has {}.", key.chars().count()),
                "use another key",
            );
        } else if key.to_ascii_lowercase().starts_with("aws:") {
            wrong(format!("`{short}`: keys that begin with `aws:` belong to AWS."), "use another key");
        } else if key.starts_with("replant:") {
            wrong(
                format!("`{short}`: keys that begin with `replant:` belong to Replant."),
                "use another key",
            );
        } else if value.chars().count() > 256 {
            wrong(
                format!(
                    "A tag's value has at most 256 characters, and that of `{short}` has {}.",
                    value.chars().count()
                ),
                "use a shorter value",
            );
        }
    }
}

/// Checks user data: at most 16 KiB.
pub(super) fn user_data(decoder: &mut Decoder<'_, '_>, text: Option<&str>) {
    if let Some(size) = text.map(str::len).filter(|size| *size > 16 << 10) {
        decoder.limit(
            "user_data",
            "config::user_data_too_large",
            "user data is too large",
            format!("EC2 takes at most 16384 bytes of user data, and these are {size}."),
            "let the user data fetch what it needs".to_owned(),
        );
    }
}
