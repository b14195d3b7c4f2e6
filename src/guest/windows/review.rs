//! What a person should know of a Windows guest before it starts on EC2.

use super::look::Look;
use super::mount::Gate;
use super::remote::{Profile, RDP};
use super::version::{WINDOWS_2008_R2, WINDOWS_2016};
use crate::guest::disk::layout::Layout;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::{Finding, RecipeInputs};
use crate::model::{Hypervisor, NetworkPolicy};

/// What the documents ask for on the system volume: 2 GiB.
const SPACE: u64 = 2 << 30;
/// .NET Framework 4.5's release number (Microsoft, "How to: Determine which .NET Framework versions
/// are installed").
const DOTNET_4_5: u32 = 378_389;
/// The first Windows with a driver of its own for NVMe disks: 8.1 and Server 2012 R2.
const WINDOWS_2012_R2: (u32, u32) = (6, 3);

/// What keeps NTFS from being changed.
#[must_use]
pub fn gate(gate: Gate, place: &str) -> Option<Finding> {
    let found = match gate {
        Gate::Open => return None,
        Gate::Hibernated => blocks(
            "windows_hibernated",
            "Windows was hibernated (or shut down by Fast Startup) when it was backed up, and cannot be prepared",
        )
        .advice(
            "On an instance it would resume with drivers of the old machine, and destroy what was changed beside it. Shut the guest down fully (shutdown /s /f /t 0 with Fast Startup off: powercfg /h off) and make a new backup. To go on without the session, with what was not saved in it lost: guest { accept = [\"windows_hibernated\"] }",
        ),
        Gate::Unclean => blocks(
            "windows_unclean",
            "Windows was running when it was backed up, and the log of its filesystem, in which changes wait, cannot be applied",
        )
        .advice(
            "ntfsrecover, which puts such changes in place, does not understand this log or is not installed here; whatever else changes the filesystem destroys them. Make a backup that quiesces the guest (VMware Tools with VSS, or a shut-down guest). To go on without what waits there, and have Windows check its file system when it first starts: guest { accept = [\"windows_unclean\"] }. To restore it as it is, when it has EC2's drivers already: guest { drivers = \"none\" }",
        ),
        Gate::Damaged(code) => {
            return Some(
                blocks("windows_filesystem", "The Windows volume is damaged, and cannot be prepared")
                    .seen(place)
                    .seen(format!("ntfs-3g.probe ends with {code}"))
                    .advice("Run chkdsk /f in the source machine and make a new backup."),
            );
        }
        Gate::NoTools => blocks(
            "windows_tools",
            "The guest is Windows, and what NTFS is written with is not installed here",
        )
        .advice("Install it and run this again:\napt install ntfs-3g libhivex0"),
    };
    Some(found.seen(place))
}

/// What waits in NTFS's log, and is put in place.
#[must_use]
pub fn log_waits(place: &str, count: u32) -> Finding {
    informs(
        "windows_unclean",
        "Windows was running when it was backed up: changes wait in the log of its filesystem",
    )
    .seen(place)
    .seen(format!("records of the log: {count}"))
    .remedy("the log is applied before anything is changed, as Windows does when it starts")
}

/// Everything else.
pub fn review(look: &Look, inputs: &RecipeInputs, free: u64, findings: &mut Findings) {
    system(look, findings);
    edition(look, findings);
    drivers(look, inputs.hypervisor, findings);
    network(look, inputs.network, findings);
    access(look, findings);
    surroundings(look, free, findings);
}

/// Drives that are on none of the disks: of the guest, or of the backup.
pub fn drives(look: &Look, layout: &Layout, findings: &mut Findings) {
    let absent: Vec<char> = (look.letters.iter())
        .filter(|letter| letter.is_partition() && letter.place(layout).is_none())
        .map(|letter| letter.letter)
        .collect();
    for letter in &absent {
        let drive = format!("{letter}:\\");
        let pages = look.page_files.iter().find(|file| file.to_uppercase().starts_with(&drive));
        let finding = match pages {
            Some(file) => warns("windows_page_file", "A page file is on a disk that is not restored")
                .seen(format!("PagingFiles: {file}"))
                .advice("Windows makes a small one on C: and says so at every log-on. Restore that disk too, or put the page file on C: in the guest."),
            None => informs("windows_drive_absent", "A drive letter belongs to a disk that is not restored")
                .seen(format!("MountedDevices: {letter}:"))
                .advice("Nothing needs doing when that disk is long gone; otherwise restore all disks of the machine together."),
        };
        findings.push(finding);
    }
}

/// Editions that are not what people run on EC2.
fn edition(look: &Look, findings: &mut Findings) {
    let edition = look.edition.to_ascii_lowercase();
    let why = if edition.contains("nano") {
        "Nano Server takes no drivers and no agents by their installers, and EC2 does not import it."
    } else if edition.contains("eval") {
        "An evaluation cannot be activated by EC2's licence, and shuts itself down when it has run out. Convert it in the source:\nDISM /Online /Set-Edition:ServerStandard /ProductKey:KEY /AcceptEula"
    } else if edition.contains("turbine") || edition.contains("azurestack") {
        "The Azure editions may run on Microsoft's cloud and Azure Local only. Convert it to Datacenter in the source, or keep it there."
    } else {
        return;
    };
    let seen = format!("EditionID={}", look.edition);
    findings.push(
        warns("windows_edition", "This edition of Windows is not meant for EC2").seen(seen).advice(why),
    );
}

fn version(look: &Look) -> String {
    format!("{} ({})", look.product, look.version)
}

fn system(look: &Look, findings: &mut Findings) {
    if look.version.build < WINDOWS_2008_R2 {
        findings.push(
            blocks("windows_too_old", "This version of Windows does not run on EC2")
                .seen(version(look))
                .advice(
                    "The oldest are Windows Server 2008 R2 and Windows 7. Upgrade the guest in the source, or move its service to a newer system.",
                ),
        );
    }
    let is_old = look.version.number < WINDOWS_2012_R2 && look.version.build >= WINDOWS_2008_R2;
    if is_old {
        findings.push(
            warns("windows_old", "This Windows is older than Server 2012 R2, and EC2's current drivers are not for it")
                .seen(version(look))
                .advice("It gets the last versions of AWS's drivers that run on it. Rehearse it on the instance type that it is to have; where it does not come up, upgrade it in the source."),
        );
    }
    if look.processor.eq_ignore_ascii_case("x86") {
        findings.push(
            blocks("windows_32_bit", "This is a 32-bit Windows, for which EC2 has no drivers")
                .seen(format!("PROCESSOR_ARCHITECTURE={}", look.processor))
                .advice("Move its service to a 64-bit Windows in the source."),
        );
    }
    if look.product_type.eq_ignore_ascii_case("WinNT") {
        findings.push(
            warns("windows_client", "This is a desktop Windows, which EC2 runs with your own licence only")
                .seen(version(look))
                .advice(
                    "Microsoft allows it on dedicated hosts or dedicated instances: set placement { tenancy = \"dedicated\" } or a host.",
                ),
        );
    }
    if look.is_domain_controller() {
        findings.push(
            warns("windows_domain_controller", "This is a domain controller: a restored one must be treated as such")
                .seen("ProductType=LanmanNT")
                .advice(
                    "Where other controllers live on, a restored copy rolls back its update numbers: restore only one of them, or restore it isolated from them and follow Microsoft's forest recovery guide. In a drill never let it reach the living domain.",
                ),
        );
    }
}

/// Without one of these the first boot does not come that far; the others are in `inject::findings`.
fn drivers(look: &Look, hypervisor: Hypervisor, findings: &mut Findings) {
    let is_there = |name: &str| look.drivers.contains_key(name);
    if hypervisor == Hypervisor::Xen && !is_there("xenvbd") && !is_there("atapi") {
        findings.push(
            blocks("windows_disk_driver_missing", "Windows has no driver for the disks of a Xen-based type")
                .seen("neither atapi nor xenvbd is installed with its program")
                .advice("Install the AWS PV drivers in the source machine and make a new backup, or choose a Nitro-based instance type."),
        );
    }
}

fn network(look: &Look, policy: NetworkPolicy, findings: &mut Findings) {
    for card in &look.cards {
        let keep = if policy == NetworkPolicy::Keep { ", and the instance takes it" } else { "" };
        findings.push(
            informs("static_address", "A network card has a static address")
                .seen(format!("{}: {}", card.name, card.addresses.join(", ")))
                .remedy(format!("it asks DHCP instead, which on EC2 hands out the instance's address{keep}")),
        );
    }
}

fn access(look: &Look, findings: &mut Findings) {
    remote_desktop(look, findings);
    if look.auto_logon {
        findings.push(
            warns("windows_auto_logon", "Somebody is logged on automatically")
                .seen("Winlogon\\AutoAdminLogon=1")
                .advice("Replant needs no log-on, and leaves it as it is. Whoever sees the instance's screen is logged on: turn it off unless it is wanted."),
        );
    }
    if look.uac || look.legal_notice {
        let mut found = informs(
            "windows_logon_settings",
            "User Account Control or a notice before logging on is set; neither stands in the way, since nobody logs on",
        );
        if look.uac {
            found = found.seen("EnableLUA is not 0");
        }
        if look.legal_notice {
            found = found.seen("legalnoticecaption or legalnoticetext is set");
        }
        findings.push(found);
    }
}

/// Whether anybody gets in by Remote Desktop.
fn remote_desktop(look: &Look, findings: &mut Findings) {
    let remote = &look.remote;
    if !remote.closed.is_empty() {
        let found =
            remote.closed.iter().fold(warns("windows_rdp_denied", "Remote Desktop is off"), Finding::seen);
        findings.push(found.advice("There is no other screen on EC2 than the serial console. Turn it on in the source and make a new backup, or reach the guest by what it offers (WinRM, SSM)."));
        return;
    }
    if remote.port != RDP {
        findings.push(
            informs("windows_rdp_port", "Remote Desktop listens on a port of its own")
                .seen(format!("WinStations\\RDP-Tcp\\PortNumber is {}", remote.port))
                .advice(format!(
                    "Let TCP port {} in by the instance's security groups, and name it to the client.",
                    remote.port
                )),
        );
    }
    if remote.firewall.is_empty() {
        return;
    }
    let on: Vec<&str> = remote.firewall.iter().map(|profile| profile.name()).collect();
    let on = format!("firewall on for: {}", on.join(", "));
    // The instance's network card is a new one: its network is public until somebody says otherwise, or a
    // controller of the domain answers.
    let needed =
        if look.domain.is_some() { &[Profile::Domain, Profile::Public][..] } else { &[Profile::Public] };
    let shut: Vec<&str> =
        needed.iter().filter(|profile| !remote.is_open(**profile)).map(|profile| profile.name()).collect();
    if shut.is_empty() {
        findings.push(
            informs(
                "windows_firewall",
                "The Windows firewall is on, and stays so: it lets Remote Desktop in",
            )
            .seen(on),
        );
        return;
    }
    let why = if look.domain.is_some() {
        "the instance's network is public, or the domain's where its controller answers"
    } else {
        "the instance's network is a new one, and comes up as public"
    };
    let found = warns(
        "windows_rdp_blocked",
        "The Windows firewall is on, and lets Remote Desktop in from nowhere, or not where the instance will be",
    )
    .seen(on)
    .seen(format!("no rule lets everybody in over TCP port {} when the network is: {}", remote.port, shut.join(", ")))
    .seen(why);
    findings.push(remote.limited.iter().fold(found, Finding::seen).advice(format!(
        "Run this in the guest before its backup, or as its first_boot script (#!cmd); the instance's security groups still decide who gets there:\nnetsh advfirewall firewall add rule name=\"Remote Desktop\" dir=in action=allow protocol=TCP localport={} profile=any",
        remote.port
    )));
}

fn surroundings(look: &Look, free: u64, findings: &mut Findings) {
    if !look.clock_is_utc {
        findings.push(
            informs("windows_clock", "Windows takes the hardware clock for local time; on EC2 it is UTC")
                .seen("TimeZoneInformation\\RealTimeIsUniversal is not 1")
                .remedy("it is set, so that the time is right and status checks pass"),
        );
    }
    if look.auto_reboot {
        findings.push(
            informs("windows_auto_reboot", "Windows restarts after a stop error, which hides it")
                .seen("CrashControl\\AutoReboot is not 0")
                .remedy("it stays at the error, so that EC2's screenshot shows it"),
        );
    }
    if look.version.build < WINDOWS_2016 && look.dotnet.is_none_or(|release| release < DOTNET_4_5) {
        findings.push(
            warns("windows_dotnet", "There is no .NET Framework 4.5, which EC2's agents need")
                .seen("NDP\\v4\\Full\\Release is less than 378389 or not there")
                .advice("The guest runs without them. Install .NET Framework 4.5 or later in the source when EC2Config or EC2Launch is wanted."),
        );
    }
    if free < SPACE {
        findings.push(
            warns("windows_space", "There is little room on C:")
                .seen(format!("{} free", crate::model::Bytes(free)))
                .advice("Windows and EC2's agents want 2 GiB. Make room in the source, or set a larger size and extend C: in the guest."),
        );
    }
    let waits = [
        (look.reboot_pending, "Component Based Servicing\\RebootPending"),
        (look.files_pending, "C:\\Windows\\WinSxS\\pending.xml"),
    ];
    let waits: Vec<&str> =
        waits.into_iter().filter(|(is_there, _)| *is_there).map(|(_, seen)| seen).collect();
    if !waits.is_empty() {
        findings.push(
            waits.into_iter().fold(warns("windows_reboot_pending", "An update waits for a restart, which it finishes at the first boot"), Finding::seen)
                .advice("Restart the guest in the source before its backup where that can be; else let the first boot take its time: launch { boot_timeout = 1800 }"),
        );
    }
    if look.vmware_tools {
        findings.push(
            informs("windows_vmware_tools", "VMware Tools are installed, and do nothing on EC2")
                .seen("Services\\VMTools")
                .remedy("their services are disabled, and the first boot tries to remove them: it tries once, since their uninstaller is known to fail without VMware, and goes on without"),
        );
    }
    findings.push(informs(
        "windows_activation",
        "Windows activates itself against EC2's licence servers (169.254.169.250) when the instance's platform is Windows; a licence of your own goes by its terms",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_says_what_to_do() {
        assert_eq!(gate(Gate::Open, "disk root partition 2"), None);
        let code = |closed| {
            gate(closed, "disk root partition 2").map(|finding| (finding.code, finding.advice.is_some()))
        };
        assert_eq!(code(Gate::Damaged(12)), Some(("guest::windows_filesystem".to_owned(), true)));
        assert_eq!(code(Gate::NoTools), Some(("guest::windows_tools".to_owned(), true)));
    }
}
