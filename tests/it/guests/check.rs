//! What is checked of every guest.

use std::path::{Path, PathBuf};

use replant::copy::{
    self, Cancel, Existing, Manifest, OverlayOptions, Silent, Target, TargetOptions, WriteOptions,
};
use replant::guest::report::{GiveUp, RecipeInputs};
use replant::image::{self, BlockSource, OpenOptions, Overlay};
use replant::model::{GuestChanges, Hypervisor, NetworkPolicy};
use replant::sandbox::{Limits, Outcome, Request, SandboxDisk};

use crate::sandbox::machine::in_machine;
use crate::support::guests::{Boot, Guest, Row};
use crate::support::replant;

/// What becomes of a guest's disks as NVMe disks before anything is done to them.
#[derive(Debug)]
pub enum Untouched {
    /// It does not start, and says so in these words.
    Fails(&'static str),
    /// It has the driver, but asks nobody for its address.
    BootsAlone,
}

impl Untouched {
    fn fault(&self, boot: &Boot) -> Result<(), String> {
        match self {
            Self::Fails(words) => {
                same("verdict", &boot.verdict, "failed")?;
                boot.console.contains(words).then_some(()).ok_or(format!("{words:?} is not shown"))
            }
            Self::BootsAlone => {
                same("verdict", &boot.verdict, "login")?;
                same("address", boot.said("address")?, "none")
            }
        }
    }
}

fn same(what: &str, is: &str, wanted: &str) -> Result<(), String> {
    (is == wanted).then_some(()).ok_or(format!("{what} is {is:?}, not {wanted:?}"))
}

/// Boots until it comes to what is wanted, twice at most, and gives that boot.
///
/// An emulated processor on a busy machine is so slow at times that a kernel takes its timer for broken or systemd
/// gives up a device. What a preparation did wrong is wrong at both times; the first is printed.
#[track_caller]
fn boots_to(boot: impl Fn() -> Boot, fault: impl Fn(&Boot) -> Result<(), String>) -> Boot {
    let first = boot();
    let Err(reason) = fault(&first) else { return first };
    eprintln!("{reason}; so it is booted once more. The console:\n{}", first.console);
    let second = boot();
    if let Err(again) = fault(&second) {
        panic!("{again} (and before: {reason}):\n{}", second.console);
    }
    second
}

#[track_caller]
pub fn untouched(boot: impl Fn() -> Boot, expected: &Untouched) {
    boots_to(boot, |boot| expected.fault(boot));
}

/// It comes to its login prompt, gets its address by DHCP (it had a static one of another network on
/// a card that is not there), and mounts all that its fstab names.
#[track_caller]
pub fn comes_up(guest: &Guest, boot: impl Fn() -> Boot) -> Boot {
    boots_to(boot, |boot| came_up(guest, boot))
}

fn came_up(guest: &Guest, boot: &Boot) -> Result<(), String> {
    same("verdict", &boot.verdict, "login")?;
    let prompt = format!("{} login:", guest.fact("HOSTNAME"));
    boot.console.contains(&prompt).then_some(()).ok_or(format!("{prompt:?} is not shown"))?;
    // An address that DHCP gave has an end: `ip` says that it is dynamic.
    let address = boot.said("address")?;
    let leased = address.contains(" 10.0.2.15/24 ") && address.contains("dynamic");
    leased.then_some(()).ok_or(format!("address is {address:?}"))?;
    let mounted: Vec<&str> = boot.said("mounted")?.split(' ').collect();
    let layout = guest.layout();
    for mount in layout.iter().flat_map(Row::mounts) {
        mounted.contains(&mount).then_some(()).ok_or(format!("{mount} is not in {mounted:?}"))?;
    }
    if layout.iter().any(|row| row.kind.starts_with("raid:")) {
        same("arrays", boot.said("arrays")?, "[UU]")?;
    }
    let wanted = layout.iter().filter(|row| row.kind == "swap").count();
    let swap = boot.said("swap")?;
    (swap.split_whitespace().count() == wanted).then_some(()).ok_or(format!("swap is {swap:?}"))
}

/// The disks of a prepared guest.
pub struct Disks {
    files: Vec<PathBuf>,
    directory: tempfile::TempDir,
}

impl Disks {
    /// What `replant prepare` writes of these images.
    #[track_caller]
    pub fn prepared(images: &[PathBuf]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let named = (0..images.len()).map(|index| directory.path().join(format!("disk{index}.raw")));
        let files: Vec<PathBuf> = named.collect();
        let mut arguments = vec!["prepare".as_ref()];
        arguments.extend(images.iter().map(|image| image.as_os_str()));
        files.iter().for_each(|file| arguments.extend(["--write".as_ref(), file.as_os_str()]));
        replant(directory.path(), arguments).success();
        Self { files, directory }
    }

    /// The same with changes that only a configuration can ask for.
    #[track_caller]
    pub fn changed(images: &[PathBuf], changes: &GuestChanges) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let outcome = in_sandbox(images, changes);
        let disks = images.iter().zip(&outcome.overlays).enumerate().map(|(index, (image, overlay))| {
            let file = directory.path().join(format!("disk{index}.raw"));
            written(image, overlay, &file);
            file
        });
        Self { files: disks.collect(), directory }
    }

    pub fn paths(&self) -> Vec<&Path> {
        self.files.iter().map(PathBuf::as_path).collect()
    }

    /// A second preparation finds nothing to do.
    #[track_caller]
    pub fn need_nothing_more(&self) {
        let arguments = ["prepare", "--json"].map(std::ffi::OsStr::new);
        let arguments = arguments.into_iter().chain(self.files.iter().map(|file| file.as_os_str()));
        let output = replant(self.directory.path(), arguments).success();
        let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
        let edits = report["recipe"]["edits"].as_array().unwrap_or_else(|| panic!("{report:#}"));
        assert!(edits.is_empty(), "{edits:#?}");
    }

    /// Every filesystem passes its own fsck. Last of all: an array's superblocks are written.
    #[track_caller]
    pub fn are_clean(&self, guest: &Guest) {
        let mut script = "module dm-mod; module raid1\n".to_owned();
        let layout = guest.layout();
        for row in &layout {
            let Some(array) = row.kind.strip_prefix("raid:") else { continue };
            if !script.contains(&format!("/dev/{array} ")) {
                let members = layout.iter().filter(|member| member.kind == row.kind).map(device);
                let members: Vec<String> = members.collect();
                script.push_str(&format!("mdadm --assemble -q /dev/{array} {}\n", members.join(" ")));
            }
        }
        if layout.iter().any(|row| row.kind.starts_with("pv:")) {
            script.push_str("lvm_ vgchange -qq -ay\n");
        }
        let mut checks = 0;
        for row in &layout {
            let checker = match row.kind.as_str() {
                "ext2" | "ext3" | "ext4" => "e2fsck -fn",
                "xfs" | "xfs4" => "xfs_repair -n",
                "btrfs" => "btrfs check",
                "jfs" => "fsck.jfs -n",
                "esp" => "fsck.vfat -n",
                _ => continue,
            };
            checks += 1;
            script.push_str(&format!("{checker} {}\n", device(row)));
        }
        script.push_str("lvm_ vgchange -qq -an; mdadm --stop -q --scan || true\n");
        assert!(checks > 0);
        in_machine(&self.paths(), &script);
    }
}

/// How the machine that checks them names it: its disks are `ubda`, `ubdb` …
fn device(row: &Row) -> String {
    match row.device.strip_prefix("sd") {
        Some(rest) => format!("/dev/ubd{rest}"),
        None => format!("/dev/{}", row.device),
    }
}

/// What the library makes of a guest.
#[track_caller]
fn in_sandbox(images: &[PathBuf], changes: &GuestChanges) -> Outcome {
    let disk = |(index, image): (usize, &PathBuf)| SandboxDisk {
        name: format!("disk{index}"),
        image: image.as_path().into(),
        format: None,
        member: None,
        snapshot: None,
        size: 0,
        grow: false,
    };
    let outcome = crate::sandbox::run(&Request {
        disks: images.iter().enumerate().map(disk).collect(),
        prepare: true,
        inputs: RecipeInputs {
            hypervisor: Hypervisor::Nitro,
            network: NetworkPolicy::Dhcp,
            changes: changes.clone(),
            give_up: GiveUp::default(),
        },
        components: None,
        limits: Limits::default(),
    });
    assert!(!outcome.report.recipe.edits.is_empty());
    outcome
}

/// Writes an image and its overlay to a file.
#[track_caller]
fn written(path: &Path, overlay: &Overlay, file: &Path) -> Manifest {
    let image = image::open(path, &OpenOptions::default()).unwrap();
    let target = target(file, image.size());
    let write =
        WriteOptions { expect: overlay.read_set.clone(), ..WriteOptions::new(image.identity().digest()) };
    let mut written = copy::write(&image, &target, &write, &Silent, &Cancel::new()).unwrap();
    let options = OverlayOptions::default();
    copy::write_overlay(&target, overlay, &image, &mut written.manifest, &options, &Cancel::new()).unwrap();
    written.manifest
}

/// It locks what it has open.
fn target(file: &Path, size: u64) -> Target {
    let options = TargetOptions { size, create: true, existing: Existing::Keep, ..TargetOptions::default() };
    Target::open(file, &options).unwrap()
}

/// Written, prepared and taken back, each disk is as its image, by qemu-img's judgement.
#[track_caller]
pub fn undone(images: &[PathBuf]) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let outcome = in_sandbox(images, &GuestChanges::default());
    let file = directory.path().join("disk.raw");
    for (path, overlay) in images.iter().zip(&outcome.overlays) {
        let mut manifest = written(path, overlay, &file);
        // 0 says that they are the same, 1 that they differ, else it did not get to compare them.
        let compared = || {
            let mut compare = std::process::Command::new("qemu-img");
            compare.args(["compare", "-U", "-f", "vmdk", "-F", "raw"]).arg(path).arg(&file);
            let output = compare.output().unwrap();
            (output.status.code(), format!("{output:?}"))
        };
        let (code, said) = compared();
        assert_eq!(code, Some(i32::from(!overlay.blocks.is_empty())), "{said}");
        let image = image::open(path, &OpenOptions::default()).unwrap();
        let target = target(&file, image.size());
        copy::undo_overlay(&target, overlay, &image, &mut manifest, &Cancel::new()).unwrap();
        drop(target);
        let (code, said) = compared();
        assert_eq!(code, Some(0), "{}: {said}", path.display());
        std::fs::remove_file(&file).unwrap();
    }
}
