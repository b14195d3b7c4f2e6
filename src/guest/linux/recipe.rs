//! The preparation of a Linux guest as named stages: look, then draft the edits.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use super::access::{self, Surroundings};
use super::boot::arguments::{self, Wanted};
use super::boot::efi;
use super::boot::entries::{Kernel, Loader};
use super::boot::leftovers;
use super::boot::review;
use super::boot::waiting;
use super::changes::{files, first_boot, hostname, identity};
use super::drivers::{Kernels, Timeout};
use super::initramfs::addition::{Addition, AdditionError};
use super::initramfs::archive::Archive;
use super::initramfs::setting::Settings;
use super::initramfs::unpack::{unpack, unpack_behind};
use super::modules::ModuleSet;
use super::network::policy;
use super::network::udev;
use super::release::{self, Release};
use super::{drivers, modprobe, mounts, storage, system, units};
use crate::guest::disk::boot_code::BootCode;
use crate::guest::draft::Draft;
use crate::guest::findings::{Findings, blocks, warns};
use crate::guest::prepare::GuestError;
use crate::guest::report::{DiskFacts, GuestFacts, KernelFacts, RecipeInputs};
use crate::guest::tree::{Tree, TreeError};
use crate::model::{Architecture, Digest, IdentityPolicy};

/// What was found and drafted.
#[derive(Debug)]
pub struct Prepared {
    /// The guest.
    pub facts: GuestFacts,
    extended: Vec<Extended>,
}

/// An initramfs that is extended.
#[derive(Debug)]
pub struct Extended {
    /// Its path from the guest's root.
    pub path: String,
    /// As it was.
    pub before: Archive,
    /// What is put in.
    pub addition: Addition,
}

impl Prepared {
    /// Reads every extended initramfs back from the guest, strictly as the kernel unpacks it. What
    /// stands before the addition was unpacked when the guest was looked at: that it is the same by
    /// its digest is enough where nothing behind it can change how it is read.
    ///
    /// # Errors
    /// [`GuestError::Initramfs`].
    pub fn check_written(&self, tree: &Tree) -> Result<(), GuestError> {
        self.check(|extended| {
            let file = tree.open_file(&extended.path)?;
            if !extended.is_behind() {
                return Ok(unpack(file, &|_| false).map_err(AdditionError::ReadBack));
            }
            let mut start = (&file).take(extended.before.length);
            let digest = digest(&mut start)
                .map_err(|source| TreeError::Read { path: extended.path.clone(), source })?;
            if digest != extended.before.digest {
                return Ok(Err(AdditionError::Changed));
            }
            Ok(unpack_behind(&extended.before, &file).map_err(AdditionError::ReadBack))
        })
    }

    /// The same before anything is written, on what would be.
    ///
    /// # Errors
    /// [`GuestError::Initramfs`].
    pub fn check_unwritten(&self, tree: &Tree) -> Result<(), GuestError> {
        self.check(|extended| {
            let old = || tree.open_file(&extended.path);
            let offset = extended.addition.offset;
            let ours = Cursor::new(&extended.addition.bytes);
            let read = if extended.is_behind() {
                unpack_behind(&extended.before, ours)
            } else {
                let mut tail = old()?;
                std::io::Seek::seek(&mut tail, std::io::SeekFrom::Start(offset))
                    .map_err(|source| TreeError::Read { path: extended.path.clone(), source })?;
                unpack(old()?.take(offset).chain(ours).chain(tail), &|_| false)
            };
            Ok(read.map_err(AdditionError::ReadBack))
        })
    }

    fn check(
        &self,
        read: impl Fn(&Extended) -> Result<Result<Archive, AdditionError>, TreeError>,
    ) -> Result<(), GuestError> {
        for extended in &self.extended {
            let failed = |source| GuestError::Initramfs { path: extended.path.clone(), source };
            let after = read(extended)?.map_err(failed)?;
            extended.addition.check(&extended.before, &after).map_err(failed)?;
        }
        Ok(())
    }
}

impl Extended {
    /// Whether the addition goes behind an archive that it cannot change.
    fn is_behind(&self) -> bool {
        self.addition.appends(&self.before) && self.before.is_closed()
    }
}

fn digest(source: &mut impl Read) -> std::io::Result<Digest> {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 256 << 10]);
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(Digest(*hasher.finalize().as_bytes())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Looks at the guest and drafts its recipe.
///
/// # Errors
/// When a file that matters cannot be read.
pub fn make(
    draft: &mut Draft<'_>,
    disks: &[DiskFacts],
    boot_code: BootCode,
    inputs: &RecipeInputs,
    release: &Release,
    findings: &mut Findings,
) -> Result<Prepared, GuestError> {
    let tree = draft.tree();
    let wanted = &inputs.changes;
    let claims = files::claim(draft, &wanted.files, findings)?;
    let architecture = release::architecture(tree);
    let loader = Loader::read(tree)?;
    let ways = efi::ways(tree, boot_code);
    boot_findings(&loader, ways, disks, findings);
    review::inspect(&loader, disks, findings);
    leftovers::inspect(draft, findings);
    let sets = module_sets(tree, &loader.kernels)?;

    let looked = drivers::look(tree, &loader.kernels, &sets, findings)?;
    let default_arguments = loader.kernels.first().map_or("", |kernel| kernel.arguments.as_str());
    let root = arguments::value(default_arguments, "root").unwrap_or_default();
    let mut settings = Settings::new();
    let archives = &looked.archives;
    storage::prepare(draft, disks, root, archives, inputs.hypervisor, &mut settings, findings)?;
    modprobe::prepare(draft, archives, inputs.hypervisor, &mut settings, findings)?;
    let kernels = Kernels { listed: &loader.kernels, sets: &sets, archives: looked.archives, settings };
    let extended = drivers::draft(draft, kernels, inputs.hypervisor, findings)?;
    drivers::keep_for_updates(draft, &extended)?;

    mounts::prepare(draft, disks, findings)?;
    units::prepare(draft, disks, findings)?;

    let old_names = udev::keeps_kernel_names(tree);
    let plain_names = old_names || arguments::split(default_arguments).contains(&"net.ifnames=0");
    let network = policy::prepare(draft, findings, release, inputs.hypervisor, plain_names)?;

    system::prepare(draft, release, findings)?;
    let beside = match ways.uefi {
        true => efi::prepare(draft, ways, architecture.unwrap_or(Architecture::X86_64), release, findings)?,
        false => Vec::new(),
    };

    edit_arguments(draft, &loader, &sets, disks, network.wants_plain_names && !old_names, findings)?;
    waiting::prepare(draft, &loader, findings)?;
    efi::configure(draft, &beside, findings)?;
    if let Some(name) = &wanted.hostname {
        hostname::prepare(draft, release, name)?;
    }
    if wanted.identity == IdentityPolicy::New {
        identity::prepare(draft, findings)?;
    }
    if let Some(script) = &wanted.first_boot {
        first_boot::prepare(draft, script, findings)?;
    }
    files::place_all(draft, &claims, findings)?;
    system::label(draft, findings)?;
    let around = Surroundings {
        addresses: &network.addresses,
        policy: inputs.network,
        plain_names: plain_names || network.wants_plain_names,
        hypervisor: inputs.hypervisor,
    };
    access::inspect(draft, &around, findings)?;
    system::inspect(draft, disks, architecture, ways, &around, findings)?;
    system::room(draft, findings)?;
    system::review(draft, findings)?;

    let facts = GuestFacts {
        family: "linux".to_owned(),
        distribution: release.id.clone(),
        version: release.version.clone(),
        product: release.product.clone(),
        architecture: architecture.unwrap_or(Architecture::X86_64),
        firmware: ways.firmware(),
        boots_either_firmware: ways.bios && ways.uefi,
        hostname: release::hostname(tree),
        kernels: kernel_facts(tree, &loader.kernels, &sets, looked.places),
        root_filesystem: system::root_filesystem(tree, disks).unwrap_or_else(|| "unknown".to_owned()),
        static_addresses: network.addresses,
        default_interface: network.default_interface,
        details: details(&loader, &network.stacks, looked.generators),
    };
    Ok(Prepared { facts, extended })
}

/// Console and time-out come along with other edits, or when there is no serial console: a guest
/// that boots on EC2 as it is has nothing to change.
fn edit_arguments(
    draft: &mut Draft<'_>,
    loader: &Loader,
    sets: &BTreeMap<String, ModuleSet>,
    disks: &[DiskFacts],
    plain_names: bool,
    findings: &mut Findings,
) -> Result<(), GuestError> {
    let tree = draft.tree();
    let default = loader.kernels.first().map_or("", |kernel| kernel.arguments.as_str());
    let needed = !draft.is_empty()
        || plain_names
        || !arguments::has_serial_console(default)
        || loader.kernels.iter().any(|kernel| arguments::must_change(&kernel.arguments, disks));
    if !needed {
        return Ok(());
    }
    let timeouts: BTreeMap<&str, Timeout> = loader
        .kernels
        .iter()
        .filter_map(|kernel| {
            Some((kernel.image.as_str(), drivers::timeout(tree, sets.get(&kernel.release)?)))
        })
        .collect();
    // What stands for all kernels must suit each: the smallest type wins, and one that knows no such
    // argument forbids it.
    let refused = timeouts.values().any(|timeout| *timeout == Timeout::Refused);
    let all = timeouts.values().filter_map(Timeout::argument).filter(|_| !refused);
    let common = all.min_by_key(|timeout| timeout.len()).map(str::to_owned);
    let wanted = Wanted { disks, nvme_timeout: common.as_deref(), plain_names, console: true };
    loader.edit(draft, &wanted, &|image| timeouts.get(image)?.argument().map(str::to_owned))?;
    leftovers::prepare(draft, findings);
    Ok(())
}

fn module_sets(tree: &Tree, kernels: &[Kernel]) -> Result<BTreeMap<String, ModuleSet>, GuestError> {
    let mut sets = BTreeMap::new();
    for kernel in kernels {
        if !sets.contains_key(&kernel.release) {
            sets.insert(kernel.release.clone(), ModuleSet::load(tree, &kernel.release)?);
        }
    }
    Ok(sets)
}

fn boot_findings(loader: &Loader, ways: efi::Ways, disks: &[DiskFacts], findings: &mut Findings) {
    if loader.name().is_none() {
        findings.push(
            blocks("boot_loader_missing", "no boot loader configuration that is known was found")
                .seen("looked for grub.cfg, grub.conf and menu.lst in /boot and on the EFI system partition")
                .advice(
                    "Install GRUB in the guest and back it up again, or restore with `drivers = \"none\"`.",
                ),
        );
    }
    if loader.name().is_some() && !ways.bios && !ways.uefi {
        findings.push(
            warns("boot_code_unknown", "how the firmware starts the boot loader was not recognized")
                .seen(ways.missing())
                .advice("It is restored as a BIOS guest; check in a drill that it boots, or set\nlaunch { boot_mode = \"uefi\" }"),
        );
    }
    if loader.kernels.is_empty() {
        findings.push(
            blocks("kernel_missing", "the boot loader lists no kernel that is on the disk")
                .seen("looked where the boot loader's menu says, and for /boot/vmlinuz-*")
                .advice("Reinstall the guest's kernel, or restore all disks of the machine."),
        );
    }
    for (path, line, kernel) in &loader.dangling {
        findings.push(
            warns("kernel_dangling", "the boot loader lists a kernel that is not on the disk")
                .at(path, *line, kernel)
                .advice("The entry will not boot; take it out when it is not needed."),
        );
    }
    for (path, line, argument) in loader.lost_devices(disks) {
        let finding = if argument.starts_with("root=") {
            blocks("root_unmatched", "the root filesystem is named by a device that no disk holds").advice(
                "Name it by UUID in the boot loader's configuration, or restore all disks of the machine.",
            )
        } else {
            warns("resume_unmatched", "the device to resume from is on no restored disk")
                .remedy("`resume=` is taken out, so that the boot does not wait for it")
        };
        findings.push(finding.at(&path, line, &argument));
    }
}

fn kernel_facts(
    tree: &Tree,
    kernels: &[Kernel],
    sets: &BTreeMap<String, ModuleSet>,
    mut places: Vec<drivers::Places>,
) -> Vec<KernelFacts> {
    places.resize_with(kernels.len(), BTreeMap::new);
    let facts = kernels.iter().zip(places).map(|(kernel, drivers)| KernelFacts {
        release: kernel.release.clone(),
        image: kernel.image.clone(),
        initramfs: kernel.initramfs.clone(),
        drivers,
        ena_version: sets.get(&kernel.release).and_then(|set| set.version(tree, "ena")),
    });
    facts.collect()
}

fn details(loader: &Loader, stacks: &[&str], generators: Vec<&'static str>) -> Vec<(String, String)> {
    let mut details = Vec::new();
    let mut add = |label: &str, text: String| {
        if !text.is_empty() {
            details.push((label.to_owned(), text));
        }
    };
    add("boot loader", loader.name().unwrap_or_default().to_owned());
    add("initramfs", generators.join(", "));
    add("network", stacks.join(", "));
    details
}
