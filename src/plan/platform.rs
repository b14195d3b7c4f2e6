//! Which platform an instance is launched as. EC2 takes it from the AMI and keeps it for good: by it
//! an instance is billed and, for Windows, licensed and activated.

use super::guest;
use super::instance;
use crate::diagnostic::Diagnostic;
use crate::model::{InstanceAddress, InstanceSpec};
use crate::observe::{Machine, Reality};
use crate::state::State;

/// The platform of what nobody knows anything of.
pub const DEFAULT: &str = "linux";

/// The platform of a guest that was looked into: for EC2 all is Linux that is not Windows.
#[must_use]
pub fn of_guest(machine: &Machine) -> Option<&'static str> {
    let facts = guest::prepared(machine)?.report.facts.as_ref()?;
    Some(if facts.family.eq_ignore_ascii_case("windows") { "windows" } else { DEFAULT })
}

/// The platform that a machine's instance is to have: as configured, as its guest was found, as the
/// instance is that it has, or had. `None`: nobody knows.
#[must_use]
pub fn known(machine: &Machine, state: &State, reality: &Reality) -> Option<String> {
    let configured = || machine.spec.launch.platform.clone();
    let found = || of_guest(machine).map(str::to_owned);
    configured().or_else(found).or_else(|| of_instance(&machine.spec.address, state, reality))
}

/// The platform of an instance of the state.
#[must_use]
pub fn of_instance(address: &InstanceAddress, state: &State, reality: &Reality) -> Option<String> {
    let recorded = instance::of_state(state, address)?;
    let seen = reality.instances.get(&recorded.id).and_then(|view| view.platform.clone());
    seen.or_else(|| recorded.platform.clone())
}

/// A guest that is not what the configuration says that it is.
#[must_use]
pub fn mismatch(machine: &Machine) -> Option<Diagnostic> {
    let spec = &machine.spec;
    let (said, is) = (spec.launch.platform.as_deref()?, of_guest(machine)?);
    (said != is).then(|| {
        Diagnostic::error("plan::platform_mismatch", "A guest of another platform than the one named")
            .detail(format!(
                "{} has launch {{ platform = \"{said}\" }}, and its guest is of the platform {is}. EC2 bills by the platform, and Windows is licensed and activated by it.",
                spec.address
            ))
            .at(spec.span("launch.platform"))
            .about(&spec.address)
            .help("leave platform out: it is what the guest is")
    })
}

/// What is said of a launch whose platform nobody knows.
#[must_use]
pub fn unknown(spec: &InstanceSpec) -> Diagnostic {
    Diagnostic::warning("plan::platform_unknown", "An instance is launched as Linux, and nobody knows whether it is")
        .detail(format!(
            "Nobody has looked into the guest of {}. If it is Windows, EC2 would bill it as Linux, and it would have no licence and not be activated.",
            spec.address
        ))
        .at(spec.span("launch").or_else(|| spec.span("guest.drivers")).or_else(|| spec.span("")))
        .about(&spec.address)
        .help("for a Windows guest:\nlaunch { platform = \"windows\" }")
        .help("for any other, so that this is not said again:\nlaunch { platform = \"linux\" }")
}
