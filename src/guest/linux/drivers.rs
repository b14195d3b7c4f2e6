//! Which drivers each kernel has and where, and putting the missing ones into its initramfs.

use std::collections::{BTreeMap, BTreeSet};

use super::boot::entries::Kernel;
use super::initramfs::addition::{self, Addition, version};
use super::initramfs::archive::Archive;
use super::initramfs::hint::Generator;
use super::initramfs::setting::{Setting, Settings};
use super::initramfs::unpack::unpack;
use super::modules::{DRIVERS, ModuleSet, Parameter};
use super::recipe::Extended;
use crate::diagnostic::chain;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::prepare::GuestError;
use crate::guest::report::DriverPlace;
use crate::guest::tree::{Tree, TreeError};
use crate::model::{Bytes, Hypervisor};

/// Driver to where it is.
pub type Places = BTreeMap<String, DriverPlace>;

/// The drivers of disks: what an initramfs needs. The network's come from the root. Where Xen's
/// platform device is a module's (old kernels leave that open), no other driver of Xen's works
/// without it, and nothing in `modules.dep` says so.
const DISK_DRIVERS: [&str; 3] = ["nvme", PLATFORM, "xen-blkfront"];
const PLATFORM: &str = "xen-platform-pci";
/// Bytes that stay free on the boot filesystem: GRUB's environment, logs, the next edit.
const SPARE: u64 = 1 << 20;
/// NVMe first had a module `nvme_core`, and with it `nvme_core.io_timeout`, in 4.6; the parameter
/// has been a uint since 4.15 (distributions carried both back).
const NVME_CORE: (u32, u32) = (4, 6);
const UINT: (u32, u32) = (4, 15);

/// What was seen of the kernels, in their order.
#[derive(Debug, Default)]
pub struct Looked {
    /// Where the drivers are.
    pub places: Vec<Places>,
    /// Path → initramfs, for those that can be read.
    pub archives: BTreeMap<String, Archive>,
    /// What made them.
    pub generators: Vec<&'static str>,
}

/// Reads every listed kernel's initramfs and finds its drivers.
///
/// # Errors
/// When a file cannot be opened.
pub fn look(
    tree: &Tree,
    kernels: &[Kernel],
    sets: &BTreeMap<String, ModuleSet>,
    findings: &mut Findings,
) -> Result<Looked, GuestError> {
    let mut looked = Looked::default();
    for kernel in kernels {
        if let Some(path) = &kernel.initramfs
            && !looked.archives.contains_key(path)
            && let Some(archive) = read(tree, path, findings)?
        {
            let name = Generator::of(&archive).name();
            if !looked.generators.contains(&name) {
                looked.generators.push(name);
            }
            looked.archives.insert(path.clone(), archive);
        }
        let archive = kernel.initramfs.as_ref().and_then(|path| looked.archives.get(path));
        let Some(set) = sets.get(&kernel.release) else { continue };
        if set.is_empty() {
            findings.push(
                warns("modules_missing", "a kernel has no modules in the root filesystem")
                    .seen(format!("{}: no /lib/modules/{}", kernel.image, kernel.release))
                    .advice("Reinstall that kernel in the guest, or take its entry out of the boot loader's menu."),
            );
        }
        looked.places.push(
            DRIVERS
                .iter()
                .map(|(driver, _)| ((*driver).to_owned(), place(tree, set, archive, driver)))
                .collect(),
        );
    }
    Ok(looked)
}

fn read(tree: &Tree, path: &str, findings: &mut Findings) -> Result<Option<Archive>, GuestError> {
    match unpack(tree.open_file(path)?, &addition::keep) {
        Ok(archive) if archive.members.is_empty() => {
            findings.push(
                blocks("initramfs_empty", "an initramfs holds nothing")
                    .seen(path)
                    .advice("Make it again in the guest (update-initramfs -u or dracut -f) and back it up."),
            );
            Ok(None)
        }
        Ok(archive) => Ok(Some(archive)),
        Err(error) => {
            findings.push(
                blocks("initramfs_unreadable", "an initramfs is not what the kernel would unpack")
                    .seen(format!("{path}: {}", chain(&error)))
                    .advice("Make it again in the guest (update-initramfs -u or dracut -f) and back it up."),
            );
            Ok(None)
        }
    }
}

fn place(tree: &Tree, set: &ModuleSet, archive: Option<&Archive>, driver: &str) -> DriverPlace {
    if set.is_builtin(driver) {
        DriverPlace::BuiltIn
    } else if archive.is_some_and(|archive| addition::holds(archive, driver)) {
        DriverPlace::Initramfs
    } else if set.has_file(tree, driver) {
        DriverPlace::Root
    } else {
        DriverPlace::Missing
    }
}

/// The kernels of a guest, and what belongs to each.
#[derive(Debug)]
pub struct Kernels<'k> {
    /// Those that the boot loader lists, the default first.
    pub listed: &'k [Kernel],
    /// Release → its modules.
    pub sets: &'k BTreeMap<String, ModuleSet>,
    /// Path → initramfs.
    pub archives: BTreeMap<String, Archive>,
    /// What has to change in them.
    pub settings: Settings,
}

/// Drafts the segments for every kernel whose initramfs lacks the hypervisor's disk driver, or has
/// settings that must change.
///
/// # Errors
/// When the free space cannot be learned.
pub fn draft(
    draft: &mut Draft<'_>,
    kernels: Kernels<'_>,
    hypervisor: Hypervisor,
    findings: &mut Findings,
) -> Result<Vec<Extended>, GuestError> {
    let Kernels { listed, sets, mut archives, mut settings } = kernels;
    let tree = draft.tree();
    let mut extended: Vec<Extended> = Vec::new();
    // Device of a filesystem → bytes that the recipe adds to it.
    let mut added: BTreeMap<u64, u64> = BTreeMap::new();
    for (index, kernel) in listed.iter().enumerate() {
        let Some(set) = sets.get(&kernel.release) else { continue };
        let archive = kernel.initramfs.as_ref().and_then(|path| archives.get(path));
        let needed: &[&str] = match hypervisor {
            Hypervisor::Nitro => &["nvme"],
            Hypervisor::Xen => &["xen-blkfront", PLATFORM],
        };
        report(tree, kernel, set, archive, hypervisor, index == 0, findings);
        let (Some(path), Some(archive)) = (&kernel.initramfs, archive) else { continue };
        let mut missing: Vec<&str> = DISK_DRIVERS.to_vec();
        missing.retain(|driver| place(tree, set, Some(archive), driver) == DriverPlace::Root);
        if !needed.iter().any(|driver| missing.contains(driver)) {
            missing.clear();
        }
        let mut changed = settings.remove(path).unwrap_or_default();
        if addition::goes_before(archive, set).is_some() {
            let hinted = !missing.is_empty() && Generator::of(archive) != Generator::Other;
            for setting in changed.drain(..).filter(|setting| !(setting.only_drivers && hinted)) {
                findings.push(setting.stuck);
            }
        }
        if missing.is_empty() && changed.is_empty() {
            continue;
        }
        let addition = match addition::make(draft.tree(), archive, set, &missing, &changed) {
            Ok(addition) => addition,
            Err(error) => {
                findings.push(
                    blocks("drivers_not_added", "drivers could not be put into an initramfs")
                        .seen(format!("{path}: {error}"))
                        .advice("Make the initramfs again in the guest with the NVMe driver in it, and back it up."),
                );
                continue;
            }
        };
        if !fits(draft.tree(), path, addition.bytes.len() as u64, &mut added, findings)? {
            continue;
        }
        if !missing.is_empty() {
            findings.push(
                informs(
                    "initramfs_without_disk_driver",
                    "an initramfs lacks the driver of the instance's disks",
                )
                .seen(format!("{path}: {} only in {}", missing.join(", "), set.directory))
                .remedy("the drivers and what they need are added to it"),
            );
        }
        let purpose = purpose(&addition, archive, &changed);
        let is_changed = |member: &String| changed.iter().any(|setting| setting.member == *member);
        let added = addition.members.iter().filter(|(member, _)| !is_changed(member));
        let lines = added.map(|(member, length)| match length {
            Some(length) => format!("+ {member} ({length} bytes)"),
            None => format!("+ {member}/"),
        });
        let lines = lines.chain(changed.iter().flat_map(Setting::lines)).collect();
        draft.extend(path, archive.length, addition.offset, addition.bytes.clone(), purpose, lines);
        for setting in changed {
            findings.push(setting.mended);
        }
        if let Some(before) = archives.remove(path) {
            extended.push(Extended { path: path.clone(), before, addition });
        }
    }
    Ok(extended)
}

fn purpose(addition: &Addition, archive: &Archive, changed: &[Setting]) -> String {
    let mut purposes = Vec::new();
    if !addition.drivers.is_empty() {
        purposes.push(format!(
            "{} {} and {}",
            if addition.appends(archive) { "append" } else { "insert" },
            addition.drivers.join(", "),
            match addition.dependencies {
                0 => "the module index".to_owned(),
                1 => "1 module that they need".to_owned(),
                count => format!("{count} modules that they need"),
            }
        ));
    }
    if !changed.is_empty() {
        let members: Vec<&str> = changed.iter().map(|setting| setting.member.as_str()).collect();
        purposes.push(format!("change {}", members.join(", ")));
    }
    purposes.join("; ")
}

/// What the drivers of one kernel mean for the restored machine.
fn report(
    tree: &Tree,
    kernel: &Kernel,
    set: &ModuleSet,
    archive: Option<&Archive>,
    hypervisor: Hypervisor,
    is_default: bool,
    findings: &mut Findings,
) {
    let (disk, network) = match hypervisor {
        Hypervisor::Nitro => ("nvme", "ena"),
        Hypervisor::Xen => ("xen-blkfront", "xen-netfront"),
    };
    let seen = format!("{} ({})", kernel.image, kernel.release);
    let missing = |driver| place(tree, set, archive, driver) == DriverPlace::Missing;
    let weigh =
        |code: &str, summary: &str| if is_default { blocks(code, summary) } else { warns(code, summary) };
    if missing(disk) {
        let code = if disk == "nvme" { "nvme_missing" } else { "xen_blkfront_missing" };
        findings.push(
            weigh(code, &format!("a kernel has no {disk} driver, without which the instance has no disks"))
                .seen(seen.clone())
                .advice(match hypervisor {
                    Hypervisor::Nitro => "Install a kernel with NVMe in the guest (RHEL and CentOS from 7.4, SLES from 12 SP2), or choose a Xen instance type (t2, m4).",
                    Hypervisor::Xen => "Install the distribution's full kernel in the guest, or choose a Nitro instance type.",
                }),
        );
    } else if place(tree, set, archive, disk) == DriverPlace::Root && kernel.initramfs.is_none() {
        findings.push(
            weigh(
                "initramfs_missing",
                "a kernel boots without an initramfs and has the disk driver only as a module",
            )
            .seen(seen.clone())
            .advice("Make an initramfs for it in the guest and back it up again."),
        );
    }
    if missing(network) && (network == "ena" || missing("ena")) {
        let code = if network == "ena" { "ena_missing" } else { "xen_netfront_missing" };
        findings.push(
            weigh(
                code,
                &format!("a kernel has no {network} driver, without which the instance has no network"),
            )
            .seen(seen)
            .advice(match hypervisor {
                Hypervisor::Nitro => "Choose a Xen instance type (t2, m4, c4, r4), or install a kernel that has it (RHEL and CentOS from 7.4, SLES from 12 SP2, Debian from 9, Ubuntu from 16.04 or linux-aws) or AWS's driver in the guest. Without a network only the EC2 serial console reaches the machine.",
                Hypervisor::Xen => "Choose a Nitro instance type, or install the distribution's full kernel in the guest. Without a network only the console's output shows what the machine does.",
            }),
        );
    }
}

/// Whether an initramfs can grow by so much; a finding when not.
fn fits(
    tree: &Tree,
    path: &str,
    bytes: u64,
    added: &mut BTreeMap<u64, u64>,
    findings: &mut Findings,
) -> Result<bool, TreeError> {
    let space = tree.space(path)?;
    let device = tree.metadata(path)?.map_or(0, |found| found.device);
    let sum = added.entry(device).or_default();
    // Whole blocks, and one more for the file's own map.
    let rounded = bytes.div_ceil(space.block).saturating_add(1).saturating_mul(space.block);
    if space.read_only {
        findings.push(
            blocks("boot_read_only", "the boot filesystem could only be mounted read-only")
                .seen(path)
                .advice("Check the filesystem in the guest and back it up again."),
        );
        return Ok(false);
    }
    if sum.saturating_add(rounded).saturating_add(SPARE) > space.free {
        findings.push(
            blocks("boot_full", "the boot filesystem has no room for the drivers")
                .seen(format!(
                    "{path}: {} free, {} needed",
                    Bytes(space.free),
                    Bytes(sum.saturating_add(rounded + SPARE))
                ))
                .advice("Remove an old kernel in the guest and back it up again."),
        );
        return Ok(false);
    }
    *sum += rounded;
    Ok(true)
}

/// Tells the generator to put the drivers into the archives of later kernels too.
///
/// # Errors
/// When a file cannot be read.
pub fn keep_for_updates(draft: &mut Draft<'_>, extended: &[Extended]) -> Result<(), TreeError> {
    const PURPOSE: &str = "keep the disk drivers when the initramfs is made again";
    const COMMENT: &str = "# Replant: the disk drivers of EC2 instances.\n";
    const MODULES: &str = "/etc/initramfs-tools/modules";
    const DRACUT_FILE: &str = "/etc/dracut.conf";
    const DRACUT_PARTS: &str = "/etc/dracut.conf.d";
    const SUSE_KERNEL: &str = "/etc/sysconfig/kernel";
    let drivers: BTreeSet<&str> =
        extended.iter().flat_map(|extended| extended.addition.drivers.iter().map(String::as_str)).collect();
    if drivers.is_empty() {
        return Ok(());
    }
    if draft.tree().is_directory("/etc/initramfs-tools") {
        let text = draft.text(MODULES).unwrap_or_default();
        let listed: BTreeSet<String> = text.lines().map(|line| line.trim().replace('_', "-")).collect();
        let missing: String = drivers
            .iter()
            .filter(|driver| !listed.contains(**driver))
            .map(|driver| format!("{driver}\n"))
            .collect();
        if !missing.is_empty() {
            let text = added(text, &format!("{COMMENT}{missing}"));
            draft.write(MODULES, text.into_bytes(), 0o644, PURPOSE)?;
        }
    }
    let tree = draft.tree();
    let directory = |path: &str| tree.is_directory(path);
    // Debian's packages bring parts for dracut along where initramfs-tools makes the archives.
    let program =
        ["/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut"].iter().any(|p| draft.tree().exists(p));
    let only_parts = directory("/etc/initramfs-tools") && !program;
    let dracut = !only_parts && (directory("/usr/lib/dracut") || directory("/usr/share/dracut"));
    if dracut || (directory(DRACUT_PARTS) && !only_parts) {
        let list: Vec<&str> = drivers.iter().copied().collect();
        let line = format!("add_drivers+=\" {} \"\n", list.join(" "));
        // dracut 004 as it was released reads one file; EL6's reads the directory, which it ships.
        if directory(DRACUT_PARTS) || !tree.is_file(DRACUT_FILE) {
            let path = format!("{DRACUT_PARTS}/replant.conf");
            draft.write(&path, format!("{COMMENT}{line}").into_bytes(), 0o644, PURPOSE)?;
        } else if let Some(text) = draft.text(DRACUT_FILE).filter(|text| !text.contains(&line)) {
            draft.write(
                DRACUT_FILE,
                added(text, &format!("{COMMENT}{line}")).into_bytes(),
                0o644,
                PURPOSE,
            )?;
        }
    }
    if directory("/lib/mkinitrd")
        && let Some(text) = draft.text(SUSE_KERNEL)
        && let Some(edited) = in_initrd_modules(&text, &drivers)
    {
        draft.write(SUSE_KERNEL, edited.into_bytes(), 0o644, PURPOSE)?;
    }
    Ok(())
}

/// A text with lines at its end.
fn added(mut text: String, lines: &str) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text + lines
}

/// SUSE's `/etc/sysconfig/kernel` with the drivers in `INITRD_MODULES`; `None` when they are there
/// or there is no such line.
fn in_initrd_modules(text: &str, drivers: &BTreeSet<&str>) -> Option<String> {
    const KEY: &str = "INITRD_MODULES=";
    let line = text.lines().rfind(|line| line.starts_with(KEY))?;
    let value = line[KEY.len()..].trim().trim_matches(['"', '\'']);
    let listed: BTreeSet<String> = value.split_whitespace().map(|word| word.replace('_', "-")).collect();
    let missing: Vec<&str> = drivers.iter().copied().filter(|driver| !listed.contains(*driver)).collect();
    if missing.is_empty() {
        return None;
    }
    let all: Vec<&str> = value.split_whitespace().chain(missing).collect();
    let edited = format!("{KEY}\"{}\"", all.join(" "));
    let lines = text.split_inclusive('\n').map(|other| {
        if other.trim_end_matches(['\n', '\r']) == line {
            other.replace(line, &edited)
        } else {
            other.to_owned()
        }
    });
    Some(lines.collect())
}

/// The longest time-out of NVMe requests that a kernel accepts (AWS: the highest value, so that a
/// slow volume never turns into an I/O error).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timeout {
    /// It has no NVMe driver: the argument is nothing to it.
    Ignored,
    /// Its driver has no such parameter; before 3.11 a module with an unknown one is not loaded.
    Refused,
    /// As an argument.
    Argument(String),
}

impl Timeout {
    /// What its command line gets.
    #[must_use]
    pub fn argument(&self) -> Option<&str> {
        match self {
            Self::Argument(argument) => Some(argument),
            Self::Ignored | Self::Refused => None,
        }
    }
}

/// The longest time-out that a kernel accepts.
#[must_use]
pub fn timeout(tree: &Tree, set: &ModuleSet) -> Timeout {
    if place(tree, set, None, "nvme") == DriverPlace::Missing {
        return Timeout::Ignored;
    }
    let version = version(&set.release).unwrap_or((0, 0));
    let has_core = set.path("nvme-core").is_some() || set.is_builtin("nvme-core") || version >= NVME_CORE;
    let driver = if has_core { "nvme-core" } else { "nvme" };
    let wide = match set.parameter(tree, driver, "io_timeout") {
        Parameter::Absent => return Timeout::Refused,
        Parameter::Typed(kind) => kind == "uint",
        Parameter::Unknown => has_core && version >= UINT,
    };
    let most = if wide { "4294967295" } else { "255" };
    Timeout::Argument(format!("{}.io_timeout={most}", driver.replace('-', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suses_list_of_modules() {
        let drivers = BTreeSet::from(["nvme", "xen-blkfront"]);
        let text = "## Type: string\nINITRD_MODULES=\"ata_piix mptspi\"\nDOMU_INITRD_MODULES=\"xennet\"\n";
        let edited = in_initrd_modules(text, &drivers).unwrap();
        assert_eq!(edited, text.replace("mptspi", "mptspi nvme xen-blkfront"));
        assert_eq!(in_initrd_modules(&edited, &drivers), None);
        assert_eq!(in_initrd_modules("INITRD_MODULES='xen_blkfront nvme'", &drivers), None);
        assert_eq!(
            in_initrd_modules("INITRD_MODULES=", &drivers).unwrap(),
            "INITRD_MODULES=\"nvme xen-blkfront\""
        );
        assert_eq!(in_initrd_modules("nothing", &drivers), None);
    }
}
