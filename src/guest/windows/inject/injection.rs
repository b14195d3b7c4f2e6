//! Everything that is put into a guest beside the edits that every guest gets.

use super::boot::boot_driver;
use super::choice::{Choice, has_own_nvme};
use super::device_path;
use super::error::InjectError;
use super::place::{Placed, directory, inf};
use crate::guest::windows::components::{Driver as Package, Kind};
use crate::guest::windows::firstboot::{
    Agent, Driver, Ems, FirstBoot, PROGRAM, SERVICE, Script, ServiceData, Settings, VMWARE_TOOLS,
    directory_descriptor, file_descriptor, service_values,
};
use crate::guest::windows::hive::{Data, HiveEdit};
use crate::guest::windows::look::{CONSOLE, INJECTED, LOADER, Look, MANAGER};
use crate::guest::windows::pe;
use crate::guest::windows::registry::Planned;
use crate::guest::windows::stage::{Access, Staged, StagedContent};
use crate::guest::windows::version::WINDOWS_2016;

/// Most bytes of a catalog that is read.
const MOST_CATALOG: u64 = 8 << 20;
const REGISTER: &str = "run the first boot's steps once, without log-on";
const AGENT: &str = "an agent that the first boot installs";
const STEPS: &str = "the first boot's service and its steps";

/// What is wanted of the first boot beside components.
#[derive(Debug, Default)]
pub struct Wishes {
    /// How many disks the guest has.
    pub disks: usize,
    /// Drives that are extended over the free space behind them.
    pub extend: Vec<char>,
    /// The user's own script.
    pub script: Option<Script>,
    /// Whether the registry is edited besides.
    pub is_edited: bool,
    /// The switches of the serial console that are off, or are on for a first boot that waits; `None`: it
    /// cannot be turned on.
    pub ems: Option<Ems>,
}

/// What is put into a guest: values, of which nothing is done yet.
#[derive(Debug, Default)]
pub struct Injection {
    /// Edits of SYSTEM.
    pub system: Vec<Planned>,
    /// Edits of SOFTWARE.
    pub software: Vec<Planned>,
    /// Directories and files.
    pub staged: Vec<Staged>,
    /// What the first boot does; `None` when it has nothing to do.
    pub first_boot: Option<FirstBoot>,
    /// An earlier preparation's first boot has not run yet, and stays as it is.
    pub is_left: bool,
    /// Whether the serial console is turned on. It is for the first boot after a preparation: a guest in
    /// which nothing changes keeps its boot configuration too.
    pub console: bool,
}

fn set(key: &str, name: &str, data: Data, purpose: &'static str) -> Planned {
    Planned { edit: HiveEdit::Set { key: key.to_owned(), name: name.to_owned(), data }, purpose }
}

/// What putting these components into a guest takes.
///
/// # Errors
/// When a component's names cannot be put into a registry or on a command line.
pub fn inject(look: &Look, choice: &Choice, wishes: Wishes) -> Result<Injection, InjectError> {
    let mut injection = Injection::default();
    // Without its components it cannot be made again, and it is what an earlier preparation said.
    let is_wanted = wishes.script.is_some() || !wishes.extend.is_empty();
    if look.first_boot_waits && !choice.is_asked && !is_wanted {
        injection.is_left = true;
        return Ok(injection);
    }
    let mut placed = Placed::default();
    let mut first_boot = FirstBoot {
        build: look.version.build,
        remove: if look.vmware_tools { vec![VMWARE_TOOLS] } else { Vec::new() },
        disks_online: wishes.disks > 1,
        extend: wishes.extend,
        script: wishes.script,
        may_restart: true,
        ..FirstBoot::default()
    };
    let mut injected = Vec::new();
    for driver in &choice.drivers {
        let mut stub = Vec::new();
        if driver.kind == Kind::Nvme && !has_own_nvme(look) {
            let boot = boot_driver(driver, look)?;
            injection.system.extend(boot.system);
            injection.staged.push(boot.program);
            injected.push(boot.service);
            stub = boot.remnants;
        }
        placed.package(driver);
        if look.version.build < WINDOWS_2016
            && let Some(publisher) = publisher(driver)?
        {
            let path = format!("{}.cer", directory(driver));
            placed.bytes(
                &path,
                publisher,
                "the publisher of a driver, which Windows is to trust without asking",
            );
            first_boot.publishers.push(path);
        }
        first_boot.drivers.push(Driver { inf: inf(driver), stub });
    }
    let directories: Vec<String> = choice.drivers.iter().map(directory).collect();
    if let (Some((edit, before)), Some(last)) =
        (device_path::with(look, &directories), first_boot.drivers.last_mut())
    {
        injection.software.push(edit);
        last.stub.push(before);
    }
    for installer in &choice.installers {
        let file = format!("agents\\{}", installer.file.name());
        let script = installer.script.as_ref().map(|script| format!("agents\\{}", script.name()));
        // An installer is known by its name before it is chosen.
        let Some(agent) = Agent::known(script.as_deref().unwrap_or(&file)) else { continue };
        placed.found(&file, &installer.file, AGENT);
        if let (Some(path), Some(script)) = (&script, &installer.script) {
            placed.found(path, script, AGENT);
        }
        if agent.settings == Some(Settings::Ec2LaunchV2) {
            injection.staged.extend(launch_settings());
        }
        first_boot.agents.push(agent);
    }
    if look.is_domain_controller() && choice.kinds().any(|kind| kind == Kind::Pv) {
        injection.software.push(set(
            "Wow6432Node\\Amazon\\AWSPVDriverSetup",
            "DisableDCCheck",
            Data::Text("true".to_owned()),
            "let the PV drivers be installed on a domain controller",
        ));
    }
    let has_steps = !first_boot.drivers.is_empty()
        || !first_boot.agents.is_empty()
        || !first_boot.remove.is_empty()
        || first_boot.disks_online
        || !first_boot.extend.is_empty()
        || first_boot.script.is_some();
    if let Some(ems) = wishes.ems.filter(|_| has_steps || wishes.is_edited) {
        injection.console = true;
        first_boot.ems = ems;
    }
    if has_steps || first_boot.ems.is_any() {
        for file in first_boot.files()? {
            let name = if file.name == PROGRAM { &look.program } else { &file.name };
            placed.bytes(name, file.content, STEPS);
        }
        injection.system.extend(service(look, injected, first_boot.ems));
        injection.staged.extend(placed.staged);
        injection.first_boot = Some(first_boot);
    }
    Ok(injection)
}

/// The settings of EC2Launch v2. It runs as LocalSystem what stands there: only administrators get there.
fn launch_settings() -> [Staged; 2] {
    const PURPOSE: &str = "settings that let EC2Launch change no account, name or disk";
    let (path, text) = Settings::Ec2LaunchV2.file();
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
    [
        Staged::Directory {
            path: directory,
            access: Access::Descriptor(directory_descriptor()),
            purpose: PURPOSE,
        },
        Staged::File {
            path: path.to_owned(),
            content: StagedContent::Bytes(text.as_bytes().to_vec()),
            access: Access::Descriptor(file_descriptor()),
            purpose: PURPOSE,
        },
    ]
}

/// The certificate of who signed a driver's catalog: before 2016 Windows asks whether to trust a publisher
/// that it does not know, and nobody is there to answer. Microsoft's own signature asks nothing.
fn publisher(driver: &Package) -> Result<Option<Vec<u8>>, InjectError> {
    let is_catalog = |name: &str| name.to_ascii_lowercase().ends_with(".cat");
    let catalog = driver.files.iter().find(|(name, file)| is_catalog(name) && file.size <= MOST_CATALOG);
    let Some((_, catalog)) = catalog else { return Ok(None) };
    let found = pe::publisher(&catalog.read(MOST_CATALOG)?);
    let is_microsofts =
        |name: &Option<String>| name.as_ref().is_some_and(|name| name.starts_with("Microsoft Windows"));
    Ok(found.filter(|found| !is_microsofts(&found.name)).map(|found| found.certificate))
}

/// The service's key, with the names of the drivers that are put in and of the switches that are turned on.
fn service(look: &Look, injected: Vec<String>, ems: Ems) -> Vec<Planned> {
    let key = format!("{}\\Services\\{SERVICE}", look.set);
    let mut edits: Vec<Planned> = service_values(look.drive, &look.program)
        .into_iter()
        .map(|value| {
            let data = match value.data {
                ServiceData::Number(number) => Data::Number(number),
                ServiceData::Text(text) => Data::Text(text),
                ServiceData::Expand(text) => Data::Expand(text),
            };
            set(&key, value.name, data, REGISTER)
        })
        .collect();
    if !injected.is_empty() {
        edits.push(set(&key, INJECTED, Data::List(injected), REGISTER));
    }
    if ems.is_any() {
        let on = [(ems.loader, LOADER), (ems.manager, MANAGER)].into_iter().filter(|(is_on, _)| *is_on);
        let on = on.map(|(_, name)| name.to_owned()).collect();
        edits.push(set(&key, CONSOLE, Data::List(on), REGISTER));
    }
    edits
}
