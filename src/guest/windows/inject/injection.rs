//! Everything that is put into a guest beside the edits that every guest gets.

use super::boot::boot_driver;
use super::choice::{Choice, has_own_nvme};
use super::device_path;
use super::error::InjectError;
use super::place::{Placed, directory, inf};
use crate::guest::windows::components::Kind;
use crate::guest::windows::firstboot::{
    Agent, Driver, FirstBoot, SERVICE, Script, ServiceData, VMWARE_TOOLS, service_values,
};
use crate::guest::windows::hive::{Data, HiveEdit};
use crate::guest::windows::look::{INJECTED, Look};
use crate::guest::windows::registry::Planned;
use crate::guest::windows::stage::Staged;

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
    if has_steps {
        for file in first_boot.files()? {
            placed.bytes(&file.name, file.content, STEPS);
        }
        injection.system.extend(service(look, injected));
        injection.staged.extend(placed.staged);
        injection.first_boot = Some(first_boot);
    }
    Ok(injection)
}

/// The service's key, with the names of the drivers that are put in.
fn service(look: &Look, injected: Vec<String>) -> Vec<Planned> {
    let key = format!("{}\\Services\\{SERVICE}", look.set);
    let mut edits: Vec<Planned> = service_values(look.drive)
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
    edits
}
