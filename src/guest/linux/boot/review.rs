//! Kernel arguments that were made for the old machine: what stops the boot on EC2 is taken out,
//! the rest stays and is said.

use super::arguments;
use super::entries::{Kernel, Loader};
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{DiskFacts, Finding};

/// What an argument is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It switches off what the instance's devices need.
    Hardware,
    /// It forbids a driver that the instance needs.
    Blacklist,
    /// It configures the old machine's network card.
    Network,
    /// It chooses a time source.
    Clock,
    /// It fixes sizes after the old machine.
    Size,
    /// It is for VMware's devices, or for a screen.
    Vmware,
}

/// What is done about an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// It becomes this.
    Replace(String),
}

/// Without ACPI, interrupt controllers or MSI there are no NVMe disks and no ENA card (both speak
/// MSI-X only); Xen's paravirtual disks replace the emulated ones only when those are unplugged.
const HARDWARE: [&str; 13] = [
    "acpi=off",
    "acpi=ht",
    "noacpi",
    "noapic",
    "nolapic",
    "disableapic",
    "pci=off",
    "pci=nomsi",
    "pci=noacpi",
    "xen_nopv",
    "nopv",
    "xen_emul_unplug=never",
    "xen_emul_unplug=unnecessary",
];
/// Arguments that forbid modules, as lists.
const BLACKLISTS: [&str; 5] =
    ["modprobe.blacklist", "module_blacklist", "rd.driver.blacklist", "rdblacklist", "blacklist"];
/// The drivers that an instance needs.
const NEEDED: [&str; 6] = ["nvme", "nvme_core", "ena", "xen_blkfront", "xen_netfront", "ixgbevf"];
/// dracut.cmdline(7), "Network".
const NETWORK: [&str; 7] = ["ifname", "BOOTIF", "bond", "team", "bridge", "vlan", "bootdev"];
const CLOCK: [&str; 10] = [
    "clocksource",
    "clock",
    "tsc",
    "notsc",
    "divider",
    "lpj",
    "no_timer_check",
    "nohpet",
    "hpet",
    "clocksource_failover",
];
const SIZE: [&str; 7] = ["mem", "maxcpus", "nr_cpus", "hugepages", "memmap", "possible_cpus", "isolcpus"];
/// Modules of VMware's devices (`vmw_pvscsi.cmd_per_lun=254`), and words that do nothing on EC2.
const VMWARE: [&str; 8] =
    ["vmw_pvscsi", "vmw_balloon", "vmw_vmci", "vmwgfx", "vmxnet3", "vmxnet", "mptspi", "mptbase"];
const IDLE: [&str; 4] = ["elevator", "vga", "video", "nomodeset"];

/// What is to be said and done about an argument, which stands among others; `None`: nothing.
#[must_use]
pub fn judge(argument: &str, others: &str) -> Option<(Class, Action)> {
    let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
    if HARDWARE.contains(&argument) {
        return Some((Class::Hardware, Action::Remove));
    }
    if BLACKLISTS.contains(&name) {
        let kept: Vec<&str> =
            value.split(',').filter(|module| !NEEDED.contains(&module.replace('-', "_").as_str())).collect();
        return match (kept.len() == value.split(',').count(), kept.is_empty()) {
            (true, _) => None,
            (_, true) => Some((Class::Blacklist, Action::Remove)),
            _ => Some((Class::Blacklist, Action::Replace(format!("{name}={}", kept.join(","))))),
        };
    }
    // `ip=dhcp` asks on any card; with a colon it names a card or an address.
    if NETWORK.contains(&name) || (name == "ip" && value.contains(':')) {
        let network_root = ["root=/dev/nfs", "nfsroot=", "netroot=", "root=nfs", "root=iscsi", "rd.iscsi"];
        let needs_it = network_root.iter().any(|root| others.contains(root));
        return (!needs_it).then_some((Class::Network, Action::Remove));
    }
    let module = name.split_once('.').map_or("", |(module, _)| module);
    if CLOCK.contains(&name) {
        Some((Class::Clock, Action::Keep))
    } else if SIZE.contains(&name) {
        Some((Class::Size, Action::Keep))
    } else if VMWARE.contains(&module.replace('-', "_").as_str()) || IDLE.contains(&name) {
        Some((Class::Vmware, Action::Keep))
    } else {
        None
    }
}

fn finding(class: Class) -> Finding {
    match class {
        Class::Hardware => {
            warns("kernel_arguments_hardware", "a kernel argument switches off what the instance's devices need")
                .remedy("it is taken out")
        }
        Class::Blacklist => {
            warns("kernel_arguments_blacklist", "a kernel argument forbids a driver that the instance needs")
                .remedy("the driver is taken out of it")
        }
        Class::Network => {
            warns("kernel_arguments_network", "kernel arguments set up the old machine's network card")
                .remedy("they are taken out; the initramfs asks DHCP when it needs the network")
        }
        Class::Clock => {
            informs("kernel_arguments_clock", "kernel arguments choose the time source of the old machine")
                .remedy("they stay; the guest boots with them")
                .advice("Take them out after the restore when the guest's clock drifts: EC2's own source is chosen without them.")
        }
        Class::Size => {
            warns("kernel_arguments_size", "kernel arguments fix an amount of memory or processors")
                .remedy("they stay")
                .advice("Choose an instance type that fits them, or take them out in the guest.")
        }
        Class::Vmware => {
            informs("kernel_arguments_vmware", "kernel arguments are for VMware's devices or for a screen")
                .remedy("they stay and do nothing on EC2")
        }
    }
}

/// Findings about the arguments of every listed kernel, and about entries that cannot start.
pub fn inspect(loader: &Loader, disks: &[DiskFacts], findings: &mut Findings) {
    for kernel in &loader.kernels {
        let (path, line) = &kernel.listed;
        for argument in arguments::split(&kernel.arguments) {
            if let Some((class, _)) = judge(argument, &kernel.arguments) {
                findings.push(finding(class).at(path, *line, argument));
            }
        }
    }
    if let Some(kernel) = loader.kernels.first().filter(|kernel| lacks_console(kernel)) {
        findings.push(
            informs("kernel_arguments_console", "the kernel's messages do not reach the serial port")
                .at(&kernel.listed.0, kernel.listed.1, consoles(&kernel.arguments).as_str())
                .remedy("the serial console is added: EC2's console output then shows them"),
        );
    }
    for (path, line, title, is_default) in &loader.hypervisors {
        let summary = "an entry of the boot loader starts the Xen hypervisor, which an instance does not run";
        let finding = if *is_default { blocks("xen_dom0", summary) } else { warns("xen_dom0", summary) };
        findings.push(
            finding.at(path, *line, title).advice(
                "Make an entry that starts the kernel itself the default, and back the guest up again.",
            ),
        );
    }
    if let Some((path, line, title)) = &loader.other_default {
        findings.push(
            blocks("other_system_default", "the boot loader starts another system than this one by default")
                .at(path, *line, title)
                .advice(
                    "Nobody sees its menu on EC2, and the other system is not prepared. Make Linux the default in the \
                     guest (grub-set-default, or GRUB_DEFAULT in /etc/default/grub) and back it up again.",
                ),
        );
    }
    for path in &loader.too_long {
        findings.push(
            warns("boot_menu_too_long", "a file of the boot loader is too long to be read")
                .seen(path.clone())
                .advice("It is left as it is. Make it again in the guest when the boot loader needs it."),
        );
    }
    for path in &loader.unified {
        let summary =
            "a kernel comes with its initramfs and arguments in one signed file, which cannot be extended";
        let finding = if loader.kernels.is_empty() {
            blocks("unified_kernel_image", summary)
        } else {
            warns("unified_kernel_image", summary)
        };
        findings.push(finding.seen(path.clone()).advice(
            "It boots on EC2 when the NVMe driver is in it; make sure of that in the guest, or boot an ordinary entry.",
        ));
    }
    for (path, wanted) in loader.full_environments(disks) {
        findings.push(
            blocks("grubenv_full", "the boot loader's environment has no room for the kernel's arguments")
                .seen(format!("{path}: kernelopts={wanted}"))
                .advice("Shorten kernelopts in the guest and back it up again:\ngrub2-editenv - list"),
        );
    }
}

fn lacks_console(kernel: &Kernel) -> bool {
    !kernel.arguments.is_empty() && !arguments::has_serial_console(&kernel.arguments)
}

fn consoles(all: &str) -> String {
    let named: Vec<&str> =
        arguments::split(all).into_iter().filter(|argument| argument.starts_with("console=")).collect();
    if named.is_empty() { "no console=".to_owned() } else { named.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_old_machine() {
        let judge = |argument| judge(argument, "");
        assert_eq!(judge("pci=nomsi"), Some((Class::Hardware, Action::Remove)));
        assert_eq!(judge("modprobe.blacklist=nvme"), Some((Class::Blacklist, Action::Remove)));
        let kept = Action::Replace("rd.driver.blacklist=nouveau".to_owned());
        assert_eq!(judge("rd.driver.blacklist=xen-blkfront,nouveau"), Some((Class::Blacklist, kept)));
        assert_eq!(judge("modprobe.blacklist=floppy,nouveau"), None);
        assert_eq!(judge("ip=10.0.0.5::10.0.0.1:255.255.255.0:web:ens192:none").unwrap().0, Class::Network);
        assert_eq!(judge("ip=dhcp"), None);
        assert_eq!(super::judge("ip=ens192:dhcp", "root=/dev/nfs ip=ens192:dhcp"), None);
        for (argument, class) in [
            ("clocksource=tsc", Class::Clock),
            ("notsc", Class::Clock),
            ("divider=10", Class::Clock),
            ("vmw_pvscsi.cmd_per_lun=254", Class::Vmware),
            ("elevator=noop", Class::Vmware),
            ("vga=791", Class::Vmware),
            ("mem=4G", Class::Size),
        ] {
            assert_eq!(judge(argument), Some((class, Action::Keep)), "{argument}");
        }
        for argument in ["ro", "quiet", "root=UUID=x", "crashkernel=auto", "console=tty0", "tscale=1", ""] {
            assert_eq!(judge(argument), None, "{argument}");
        }
    }
}
