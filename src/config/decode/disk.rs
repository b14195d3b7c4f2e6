//! The `disk` block, and images.

use std::path::Path;

use super::attributes::Decoder;
use crate::config::limits;
use crate::config::source::Place;
use crate::diagnostic::Diagnostic;
use crate::model::{DiskSpec, ImageSpec, Location, VolumeType};

/// The formats that can be said; `auto` is to look.
const FORMATS: [(&str, Option<&str>); 8] = [
    ("auto", None),
    ("raw", Some("raw")),
    ("vmdk", Some("vmdk")),
    ("qcow2", Some("qcow2")),
    ("vhd", Some("vhd")),
    ("vhdx", Some("vhdx")),
    ("ova", Some("ova")),
    ("ovf", Some("ovf")),
];

impl Decoder<'_, '_> {
    /// An image, its format and its snapshot; the file must exist.
    pub(super) fn image(&mut self, format_name: &str, snapshot_name: &str) -> Option<(ImageSpec, Place)> {
        let format = self.word(format_name, &FORMATS).flatten();
        let snapshot = self.string(snapshot_name).map(|(snapshot, _)| snapshot);
        let (text, place) = self.string("image")?;
        let place_of = self.place_of_image(&text, place)?.within(self.evaluator.directory);
        if let Location::Local(path) = &place_of {
            self.check_file(path, place);
        }
        Some((ImageSpec { path: place_of, format: format.map(str::to_owned), snapshot }, place))
    }

    /// Where an image is: anywhere that needs no credentials in its name.
    fn place_of_image(&mut self, text: &str, place: Place) -> Option<Location> {
        match text.parse::<Location>() {
            Ok(Location::Input) => {
                self.error(
                    place,
                    "config::image_is_input",
                    "an image is standard input",
                    "A configuration is planned and applied many times, and standard input is read once.",
                    "put the image into a file, or write it directly:\nreplant write - TARGET",
                );
                None
            }
            Ok(location) if location.has_secret() => {
                let detail = format!(
                    "{location}: plans and states name their images, and credentials must be in neither. A query may hold some, too, unless it only says which file or version."
                );
                let error = self
                    .evaluator
                    .error(place, "config::image_secret", "an image's URL holds credentials")
                    .detail(detail)
                    .help("leave the credentials out: name an object in S3 as `s3://bucket/key` (credentials come from the environment), or an URL that needs none");
                self.sink.diagnostics.push(without_text(error));
                None
            }
            Ok(location) => Some(location),
            Err(error) => {
                let detail = format!("This names no image: {}.", error.what);
                let help = error.help;
                let error = self
                    .evaluator
                    .error(place, "config::image_place", "an image's place is not one that Replant knows")
                    .detail(detail)
                    .help(help);
                // What is no sound URL may hold credentials all the same.
                let may_hold_secret = text.contains(['@', '?']);
                self.sink.diagnostics.push(if may_hold_secret { without_text(error) } else { error });
                None
            }
        }
    }

    /// A file must be there, and be one.
    fn check_file(&mut self, path: &Path, place: Place) {
        let sensitive = self.sink.sensitive.contains(&format!("{}image", self.prefix));
        let shown = if sensitive { "the image".to_owned() } else { path.display().to_string() };
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                self.error(
                    place,
                    "config::image_is_directory",
                    "an image is a directory",
                    &format!("{shown} is a directory; an image is a file."),
                    "name the image's file: the .ova, the .vmdk descriptor, the .qcow2 …",
                );
            }
            Ok(_) => {}
            Err(error) => {
                self.error(
                    place,
                    "config::missing_image",
                    "an image does not exist",
                    &format!("{shown}: {error}. Paths are relative to the configuration's directory."),
                    "check the path, or copy the image there",
                );
            }
        }
    }

    /// The disk of a block; `brought`: the instance's image brings its content.
    pub(super) fn disk(&mut self, root: bool, brought: bool) -> DiskSpec {
        let mut disk = DiskSpec::new(self.block.label());
        let image = self.image("format", "snapshot");
        disk.image = image.map(|(image, _)| image);
        disk.empty = self.bool("empty").unwrap_or(false);
        let types = VolumeType::ALL.map(|volume_type| (volume_type.as_str(), volume_type));
        if let Some(volume_type) = self.word("type", &types) {
            disk.volume_type = volume_type;
        }
        disk.size = self.whole("size", 1, 65_536, " GiB").map(u64::from);
        disk.grow = self.bool("grow").unwrap_or(false);
        disk.iops = self.whole("iops", 1, 256_000, "");
        disk.throughput = self.whole("throughput", 1, 2_000, " MiB/s");
        disk.restore_iops = self.whole("restore_iops", 1, 256_000, "");
        disk.restore_throughput = self.whole("restore_throughput", 1, 2_000, " MiB/s");
        disk.encrypted = self.bool("encrypted");
        disk.kms_key_id = self.string("kms_key_id").map(|(id, _)| id);
        disk.delete_on_termination = self.bool("delete_on_termination").unwrap_or(true);
        disk.final_snapshot = self.bool("final_snapshot");
        disk.tags = self.tags();
        let has_image = self.block.attribute("image").is_some();
        if disk.empty && has_image {
            self.error(
                self.block.place,
                "config::empty_with_image",
                "an empty disk has an image",
                &format!("The disk `{}` says `empty = true`, and names an image.", disk.name),
                "remove one of the two",
            );
        }
        if !has_image && (disk.empty || !brought) {
            if root && !brought {
                self.error(
                    self.block.place,
                    "config::missing_image",
                    "the root disk has no image",
                    &format!(
                        "The first disk, `{}`, is the one that boots, and nothing says what is on it.",
                        disk.name
                    ),
                    "add `image = \"…\"` to this disk, or to the instance",
                );
            } else if self.block.attribute("size").is_none() {
                self.error(
                    self.block.place,
                    "config::missing_size",
                    "an empty disk has no size",
                    &format!("The disk `{}` has neither an image nor a size.", disk.name),
                    "add `size = …` in GiB for an empty disk, or `image = \"…\"`",
                );
            }
        }
        limits::disk(self, &disk, root);
        disk
    }
}

/// The diagnostic with `"…"` in its source line for the text that it is about.
fn without_text(mut error: Diagnostic) -> Diagnostic {
    if let Some(span) = &mut error.span {
        let (start, length) = (span.column.saturating_sub(1) as usize, span.length as usize);
        let before: String = span.source_line.chars().take(start).collect();
        let after: String = span.source_line.chars().skip(start.saturating_add(length)).collect();
        span.source_line = format!("{before}\"…\"{after}");
        span.length = 3;
    }
    error
}
