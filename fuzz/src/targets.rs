//! The list of targets.

use super::base::Base;
use super::numbers::Numbers;
use super::words::{ARCHIVE, HCL, INF, JSON, LINUX, LOCATION, NBD, PROGRAM};
use super::{config, guest, image, mutate, network, registry, stored, stream, windows};

/// How new inputs are made.
enum Inputs {
    /// Changes of bases.
    Changes(fn() -> &'static [Base]),
    /// Text, with words that often help.
    Text(&'static [&'static str]),
}

/// One parser, or several that belong together.
pub struct Target {
    /// Its name: that of its binary and of its directory in the corpus.
    pub name: &'static str,
    run: fn(&[u8]),
    inputs: Inputs,
}

impl Target {
    /// Runs it on an input.
    ///
    /// # Panics
    /// When it found something.
    pub fn run(&self, input: &[u8]) {
        (self.run)(input);
    }

    /// Changes the input of this length at the beginning of `data`, which may grow up to all of
    /// it; gives the new length.
    pub fn mutate(&self, data: &mut [u8], length: usize, numbers: &mut Numbers) -> usize {
        let length = match self.inputs {
            Inputs::Changes(bases) => mutate::records(bases(), data, length, numbers),
            Inputs::Text(words) => mutate::text(words, data, length, numbers),
        };
        // libFuzzer takes no empty input for a change.
        length.max(1).min(data.len())
    }
}

/// The target of a name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// A target whose inputs are changes of bases.
const fn of_bases(name: &'static str, run: fn(&[u8]), bases: fn() -> &'static [Base]) -> Target {
    Target { name, run, inputs: Inputs::Changes(bases) }
}

/// A target whose inputs are texts or bytes.
const fn of_text(name: &'static str, run: fn(&[u8]), words: &'static [&'static str]) -> Target {
    Target { name, run, inputs: Inputs::Text(words) }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    of_bases("vmdk", image::vmdk, || &image::VMDK),
    of_bases("qcow2", image::qcow2, || &image::QCOW2),
    of_bases("vhd", image::vhd, || &image::VHD),
    of_bases("vhdx", image::vhdx, || &image::VHDX),
    of_bases("ova", image::ova, || &image::OVA),
    of_text(
        "detect",
        image::detect,
        &["# Disk DescriptorFile\n", "<Envelope", "ustar", "conectix", "QFI\u{fb}", "KDMV", "COWD"],
    ),
    of_bases("stream", stream::stream, || &stream::STREAM),
    of_text("nbd", network::nbd, NBD),
    of_text("location", network::location, LOCATION),
    of_text("overlay", stored::overlay, JSON),
    of_bases("manifest", stored::manifest, || &stored::MANIFEST),
    of_text("state", stored::state, JSON),
    of_text("plan", stored::plan, JSON),
    of_text("report", stored::report, JSON),
    of_bases("disk", guest::disk, || &guest::DISK),
    of_text(
        "initramfs",
        guest::initramfs,
        &["070701", "TRAILER!!!", "\0\0\0", "00000000", "lib/modules/", "kernel/"],
    ),
    of_text("texts", guest::texts, LINUX),
    of_text("linux", guest::linux, LINUX),
    of_text("inf", windows::inf, INF),
    of_text("pe", windows::pe, PROGRAM),
    of_text("components", windows::components, ARCHIVE),
    of_bases("hive", registry::hive, || &registry::HIVE),
    of_bases("edit", registry::edit, || &registry::HIVE),
    of_bases("package", registry::package, || &registry::PACKAGE),
    of_text("config", config::config, HCL),
];
