//! What a guest lacks, and what Replant does about it, as a person wants to read it.

use super::choice::{Choice, has, has_own_nvme, is_led_to};
use super::error::InjectError;
use super::injection::Injection;
use crate::diagnostic::chain;
use crate::guest::findings::{Findings, blocks, informs, warns};
use crate::guest::report::Finding;
use crate::guest::windows::components::{Kind, MissingComponent, Need, Note, Why};
use crate::guest::windows::look::Look;
use crate::model::Hypervisor;

/// What a guest must have on an instance family.
struct Necessity {
    kind: Kind,
    code: &'static str,
    summary: &'static str,
    seen: Vec<String>,
}

/// Why a driver does not count as there.
fn seen(look: &Look, services: &[&str], otherwise: &str) -> Vec<String> {
    let absent = services.iter().filter_map(|name| {
        let path = look.absent.get(name)?;
        Some(format!("Services\\{name} is there, and its program is not: {path}"))
    });
    let mut seen: Vec<String> = absent.collect();
    let unled = |name: &&&str| matches!(**name, "stornvme" | "AWSNVMe") && look.drivers.contains_key(**name);
    if !is_led_to(look) {
        seen.extend(services.iter().filter(unled).map(|name| {
            format!(
                "Services\\{name} is there, and nothing in DriverDatabase\\DeviceIds leads from a disk to it"
            )
        }));
    }
    if seen.is_empty() {
        seen.push(otherwise.to_owned());
    }
    seen
}

fn necessities(look: &Look, hypervisor: Hypervisor) -> Vec<Necessity> {
    let nvme = Necessity {
        kind: Kind::Nvme,
        code: "windows_nvme_missing",
        summary: "Windows has no NVMe driver: on a Nitro-based type it would stop with INACCESSIBLE_BOOT_DEVICE (0x7B)",
        seen: seen(
            look,
            &["stornvme", "AWSNVMe"],
            "neither Services\\stornvme nor Services\\AWSNVMe is there",
        ),
    };
    let ena = Necessity {
        kind: Kind::Ena,
        code: "windows_ena_missing",
        summary: "Windows has no ENA driver: on a Nitro-based type it would start, but nobody could reach it",
        seen: seen(look, &["ena"], "Services\\ena is not there or disabled"),
    };
    let pv = Necessity {
        kind: Kind::Pv,
        code: "windows_pv_missing",
        summary: "Windows has no PV network driver: on a Xen-based type nobody could reach it",
        seen: seen(look, &["xennet"], "Services\\xennet is not there or disabled"),
    };
    let all = match hypervisor {
        Hypervisor::Nitro => vec![nvme, ena],
        Hypervisor::Xen => vec![pv],
    };
    let is_lacking = |kind| !(has(look, kind) || kind == Kind::Nvme && has_own_nvme(look));
    all.into_iter().filter(|necessity| is_lacking(necessity.kind)).collect()
}

/// Everything about the components of a guest.
pub fn chosen(
    look: &Look,
    choice: &Choice,
    injection: &Injection,
    hypervisor: Hypervisor,
    findings: &mut Findings,
) {
    if injection.is_left {
        findings.push(
            informs("windows_first_boot_waits", "A first boot that was prepared before has not run yet")
                .seen("Services\\ReplantFirstBoot")
                .remedy("it stays as it was prepared, with its drivers and agents"),
        );
        return;
    }
    let necessities = necessities(look, hypervisor);
    for necessity in &necessities {
        findings.push(needed(necessity, choice));
    }
    let mut installed = informs("windows_components", "Drivers and agents are installed at the first boot")
        .remedy("a service does it without log-on, writes C:\\Replant\\firstboot.log, and removes itself");
    for text in choice.kinds().filter_map(|kind| choice.shown(kind)) {
        installed = installed.seen(text);
    }
    if !installed.evidence.is_empty() {
        findings.push(installed);
    }
    agents(choice, findings);
    recommended(choice, findings);
    for note in &choice.notes {
        findings.push(noted(look, choice, note));
    }
    for refused in &choice.refused {
        findings.push(
            informs("windows_component_refused", "A file among the components cannot be used")
                .seen(format!("{}: {}", refused.path, refused.reason)),
        );
    }
}

/// What launch agents would do to accounts and names.
fn agents(choice: &Choice, findings: &mut Findings) {
    let is_told = |kind: &Kind| matches!(kind, Kind::Ec2Launch | Kind::Ec2LaunchV2);
    let told: Vec<Kind> = choice.kinds().filter(is_told).collect();
    if !told.is_empty() {
        let mut found = informs(
            "windows_agent_settings",
            "A launch agent is installed, which by its own settings gives Administrator a new password",
        );
        for kind in told {
            found = found.seen(kind.name());
        }
        findings.push(found.remedy(
            "it gets settings that leave accounts, the computer's name, the wallpaper and disks as they are",
        ));
    }
    if choice.kinds().any(|kind| kind == Kind::Ec2Config) {
        findings.push(
            warns(
                "windows_agent_settings",
                "EC2Config may give Administrator a new password: its setup starts it with Amazon's settings",
            )
            .seen(Kind::Ec2Config.name())
            .remedy("the first boot turns these settings off as soon as the setup has ended")
            .advice("Take EC2Install out of the components when that is not wanted, or know another account of that machine."),
        );
    }
    for installer in &choice.withheld {
        findings.push(
            warns("windows_agent_withheld", "A launch agent is not installed on a domain controller")
                .seen(format!("{}: {}", installer.kind.name(), installer.file.path))
                .advice("Its setup starts it with Amazon's settings, which give Administrator a new password; here that is the domain's account. Install it by hand when it is wanted, with Ec2SetPassword disabled."),
        );
    }
}

fn needed(necessity: &Necessity, choice: &Choice) -> Finding {
    let Necessity { kind, code, summary, ref seen } = *necessity;
    let with_seen = |finding: Finding| seen.iter().fold(finding, |finding, line| finding.seen(line.clone()));
    if let Some(text) = choice.shown(kind) {
        let remedy = match kind {
            Kind::Nvme => "it is put in, so that Windows starts with it, and is installed at the first boot",
            _ => "it is installed at the first boot",
        };
        return with_seen(informs(code, summary)).seen(text).remedy(remedy);
    }
    let found = with_seen(blocks(code, summary));
    match choice.missing.iter().find(|missing| missing.kind == kind) {
        Some(missing) => {
            let found = files(found, missing);
            passed(choice, missing).into_iter().fold(found, Finding::seen).advice(download(choice, missing))
        }
        None => found.advice(
            "Amazon publishes none for this Windows. Choose an instance type of the other kind (Nitro-based or Xen-based), or move its service to another Windows.",
        ),
    }
}

/// What lies in the folder under a missing component's name, and why it is not taken: who has
/// downloaded it already must not be told only to download it.
fn passed(choice: &Choice, missing: &MissingComponent) -> Vec<String> {
    let notes = choice.notes.iter().filter(|note| note.kind == missing.kind && note.why.refuses());
    let notes = notes.map(|note| match note.place.as_str() {
        "" => format!("not taken: {}", note.why),
        place => format!("{place} is not taken: {}", note.why),
    });
    let is_named = |path: &str| {
        path.split('/').any(|part| missing.files.iter().any(|file| file.eq_ignore_ascii_case(part)))
    };
    let refused = choice.refused.iter().filter(|refused| is_named(&refused.path));
    notes.chain(refused.map(|refused| format!("{} is not taken: {}", refused.path, refused.reason))).collect()
}

/// The files of a component and where they are published.
fn files(mut finding: Finding, missing: &MissingComponent) -> Finding {
    for (file, address) in missing.files.iter().zip(&missing.addresses) {
        finding = finding.seen(format!("{}: {file} from {address}", missing.name));
    }
    finding
}

/// Where downloaded files go.
fn download(choice: &Choice, missing: &MissingComponent) -> String {
    let files = missing.files.join(" and ");
    let place = if choice.is_asked {
        format!("Download {files} and put it, as it is or unpacked, into\n{}", missing.place)
    } else {
        format!(
            "Download {files} into a folder, as it is or unpacked, and name the folder:\nguest {{ windows {{ components = \"drivers\" }} }}"
        )
    };
    format!(
        "{place}\nOr let Replant download what is missing into the folder that is named:\nreplant components fetch"
    )
}

fn recommended(choice: &Choice, findings: &mut Findings) {
    let mut missing = choice.missing.iter().filter(|missing| missing.need == Need::Recommended).peekable();
    if missing.peek().is_none() {
        return;
    }
    let mut found = informs(
        "windows_recommended_missing",
        "Drivers or agents that Amazon recommends for this guest are neither in it nor among the components",
    );
    for missing in missing {
        found = files(found, missing);
    }
    let place = if choice.is_asked { "the components" } else { "guest { windows { components = \"…\" } }" };
    findings.push(
        found.advice(format!("It starts without them. What lies in {place} is installed at the first boot.")),
    );
}

fn noted(look: &Look, choice: &Choice, note: &Note) -> Finding {
    let line = match note.place.as_str() {
        "" => format!("{}: {}", note.kind.name(), note.why),
        place => format!("{}: {place}: {}", note.kind.name(), note.why),
    };
    if note.why.refuses() {
        let is_replaced = choice.kinds().any(|kind| kind == note.kind);
        let make = if is_replaced { informs } else { warns };
        return make("windows_component_refused", "A component was found that this guest cannot take")
            .seen(line);
    }
    match &note.why {
        Why::Sha2 if look.knows_sha2 => informs("windows_component_doubt", "A driver is signed under SHA-256, which this guest knows").seen(line),
        Why::Sha2 => warns("windows_component_doubt", "A driver is signed under SHA-256, which this guest may not know: Windows would not start it")
            .seen(line)
            .seen("neither KB3033929 nor KB4474419 is among its updates")
            .advice("Install KB4474419 in the source, or see that an update that contains it is there, and make a new backup."),
        Why::TooOld { .. } => warns("windows_component_doubt", "A driver is taken that is known to lose data")
            .seen(line)
            .advice("Put a newer one among the components."),
        Why::NoCatalog => warns("windows_component_doubt", "A driver has no catalog: Windows may refuse to install it")
            .seen(line)
            .advice("Put all files of its package among the components."),
        Why::Signer { .. } | Why::NoSignature => warns("windows_component_doubt", "An installer is not signed by Amazon or Microsoft, and the first boot runs it as LocalSystem")
            .seen(line)
            .advice("Take it out of the components unless you know where it comes from. Replant downloads what Amazon publishes:\nreplant components fetch"),
        _ => informs("windows_component_doubt", "A component was found of which there is something to say").seen(line),
    }
}

/// Components that cannot be put in.
#[must_use]
pub fn unreadable(error: &InjectError) -> Finding {
    blocks("windows_component_unusable", "The components cannot be put into this guest").seen(chain(error)).advice(
        "Take the file that is named out of the components, or replace it by the one that Amazon publishes.",
    )
}
