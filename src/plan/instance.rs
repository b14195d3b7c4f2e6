//! What happens to one instance, its volumes decided.

use std::collections::BTreeSet;

use super::attachment;
use super::attributes::{Table, drift};
use super::fit;
use super::modification::{said_as_is, shown_profile};
use super::platform;
use super::{Action, AttributeChange, Change, InstancePlan, LaunchPlan, Reason, Shown, Start, Step};
use crate::guest::report::GuestFacts;
use crate::model::options::shown_groups;
use crate::model::{
    Address, Architecture, BootMode, DesiredState, Digest, Firmware, InstanceAddress, InstanceOptions,
    LaunchMethod, NetworkPolicy, Part,
};
use crate::observe::{Inspection, Machine, Reality};
use crate::provider::{InstanceState, InstanceView, StatusCheck, user_tags};
use crate::state::format::v1::LaunchPhase;
use crate::state::{InstanceResource, Resource, State};

/// Attributes of an instance that cannot change in place.
pub const FORCING: [&str; 8] = [
    "architecture",
    "boot_mode",
    "key_name",
    "network_interface.",
    "platform",
    "private_ip",
    "subnet_id",
    "zone",
];
/// Attributes that a running instance must be stopped for.
pub const STOPPING: [&str; 2] = ["instance_type", "user_data"];

/// What was decided for an instance.
#[derive(Debug)]
pub struct Decision {
    /// For the reviewer.
    pub change: Option<Change>,
    /// The old instance's end.
    pub destroy: Option<Step>,
    /// Launching a stub.
    pub stub: Option<Step>,
    /// Launching or changing the instance.
    pub make: Option<Step>,
}

/// The instance of the state, when there is one.
#[must_use]
pub fn of_state<'a>(state: &'a State, instance: &InstanceAddress) -> Option<&'a InstanceResource> {
    match state.resources.get(&instance.part(Part::Instance)) {
        Some(Resource::Instance(instance)) => Some(instance),
        _ => None,
    }
}

/// The instance of the state, unless the provider says it is gone.
#[must_use]
pub fn alive<'a>(
    state: &'a State,
    reality: &'a Reality,
    instance: &InstanceAddress,
) -> Option<(&'a InstanceResource, Option<&'a InstanceView>)> {
    let recorded = of_state(state, instance)?;
    let view = reality.instances.get(&recorded.id).filter(|view| !view.state.is_ending());
    (view.is_some() || !reality.refreshed).then_some((recorded, view))
}

/// Whether an instance's first start is known to have failed. One that has come up since, that is
/// still coming up (its run was interrupted), or that nobody looked at, is not.
#[must_use]
pub fn is_tainted(recorded: &InstanceResource, reality: &Reality) -> bool {
    recorded.tainted && matches!(reality.statuses.get(&recorded.id), Some(StatusCheck::Impaired { .. }))
}

/// Whether an instance that Replant has not started runs: somebody else started it, and its
/// volumes may hold newer data than the backup.
#[must_use]
pub fn is_started_outside(recorded: &InstanceResource, view: Option<&InstanceView>) -> bool {
    recorded.phase == LaunchPhase::Swapped
        && view.is_some_and(|view| {
            matches!(view.state, InstanceState::Pending | InstanceState::Running | InstanceState::Stopping)
        })
}

fn guest(machine: &Machine) -> Option<&GuestFacts> {
    match &machine.inspection {
        Inspection::Done(prepared) => prepared.report.facts.as_ref(),
        Inspection::Skipped | Inspection::Failed(_) => None,
    }
}

/// The boot mode that a machine's disk needs: as configured, as the guest was found (one that boots
/// either way: as the appliance says), as the appliance says, else by the architecture (facts: an
/// AMI without boot mode means BIOS on x86).
#[must_use]
pub fn boot_mode(
    machine: &Machine,
    architecture: Architecture,
    supported: Option<&BTreeSet<BootMode>>,
) -> BootMode {
    if let Some(mode) = machine.spec.launch.boot_mode {
        return mode;
    }
    let told = machine.hardware.as_ref().and_then(|hardware| hardware.firmware);
    if let Some(guest) = guest(machine) {
        let (mode, other) = match fit::firmware(guest, told) {
            Firmware::Bios => (BootMode::LegacyBios, BootMode::Uefi),
            Firmware::Uefi => (BootMode::Uefi, BootMode::LegacyBios),
        };
        let only_other = supported.is_some_and(|modes| !modes.contains(&mode) && modes.contains(&other));
        return if guest.boots_either_firmware && only_other { other } else { mode };
    }
    match told {
        Some(Firmware::Uefi) => BootMode::Uefi,
        Some(Firmware::Bios) => BootMode::LegacyBios,
        None if architecture == Architecture::Arm64 => BootMode::Uefi,
        None => BootMode::LegacyBios,
    }
}

/// The private address: as configured, or with `network = "keep"` the static one of the interface
/// with the default route, else the first.
fn private_ip(machine: &Machine) -> Option<std::net::Ipv4Addr> {
    machine.spec.private_ip.or_else(|| {
        let guest = (machine.spec.guest.network == NetworkPolicy::Keep).then(|| guest(machine)).flatten()?;
        let default = guest.default_interface.as_ref().and_then(|name| guest.static_addresses.get(name));
        let mut addresses = default.into_iter().chain(guest.static_addresses.values());
        addresses.find_map(|address| address.split('/').next()?.parse().ok())
    })
}

/// The instance that a machine wants.
#[must_use]
pub fn wanted(machine: &Machine, reality: &Reality) -> InstancePlan {
    let spec = &machine.spec;
    let facts = reality.instance_types.get(&spec.instance_type);
    let architecture = guest(machine)
        .map(|guest| guest.architecture)
        .or(facts.map(|facts| facts.architecture))
        .unwrap_or(Architecture::X86_64);
    InstancePlan {
        instance_type: spec.instance_type.clone(),
        architecture,
        boot_mode: boot_mode(machine, architecture, facts.map(|facts| &facts.boot_modes)),
        platform: platform::of_guest(machine).unwrap_or(platform::DEFAULT).to_owned(),
        method: spec.launch.method,
        base_ami: spec.launch.base_ami.clone(),
        zone: reality.access_node.zone.clone(),
        subnet_id: spec.subnet_id.clone(),
        private_ip: private_ip(machine),
        security_group_ids: spec.security_group_ids.clone(),
        key_name: spec.key_name.clone(),
        iam_instance_profile: spec.iam_instance_profile.clone(),
        user_data: spec.user_data.as_ref().map(|text| Digest::of(text.as_bytes())),
        termination_protection: spec.termination_protection,
        options: spec.options.clone(),
        tags: spec.tags.clone(),
        console_pattern: spec.launch.console_pattern.clone(),
        boot_timeout: spec.launch.boot_timeout,
        disks: machine.disks.iter().map(|disk| disk.spec.name.clone()).collect(),
        depends_on: spec.depends_on.clone(),
        prevent_destroy: spec.lifecycle.prevent_destroy,
        unknown: spec.unknown.clone(),
    }
}

/// `knows_platform`: it is not the AMI's, of which nothing is known.
fn wanted_table(plan: &InstancePlan, state: DesiredState, knows_platform: bool) -> Table {
    let mut table = Table::default();
    table.set("instance_type", Some(plan.instance_type.as_str()));
    table.set("architecture", serde_json::to_value(plan.architecture).ok());
    table.set("boot_mode", Some(plan.boot_mode.as_str()));
    table.set("platform", knows_platform.then_some(plan.platform.as_str()));
    table.set("zone", Some(plan.zone.as_str()));
    table.set("subnet_id", plan.subnet_id.as_deref());
    table.set("private_ip", plan.private_ip.map(|address| address.to_string()));
    table.set("key_name", plan.key_name.as_deref());
    table.set("iam_instance_profile", plan.iam_instance_profile.as_deref());
    table.set_hidden("user_data", plan.user_data.map(|digest| digest.short()));
    table.set("termination_protection", plan.termination_protection.then_some(true));
    table.set("prevent_destroy", plan.prevent_destroy.then_some(true));
    table.set("state", Some(state.as_str()));
    table.set("disks", Some(plan.disks.clone()));
    table.set(
        "security_group_ids",
        (!plan.security_group_ids.is_empty()).then(|| plan.security_group_ids.clone()),
    );
    table.set_options(&plan.options);
    table.set_tags(&plan.tags);
    for path in &plan.unknown {
        table.set_unknown(path);
    }
    table
}

/// What an instance of the state is like.
#[must_use]
pub fn state_table(instance: &InstanceResource, with_address: bool) -> Table {
    let mut table = Table::default();
    table.set("instance_type", Some(instance.instance_type.as_str()));
    table.set("architecture", serde_json::to_value(instance.architecture).ok());
    table.set("boot_mode", Some(instance.boot_mode.as_str()));
    table.set("platform", instance.platform.as_deref());
    table.set("zone", Some(instance.zone.as_str()));
    table.set("subnet_id", instance.subnet_id.as_deref());
    if with_address {
        table.set("private_ip", instance.private_ip.map(|address| address.to_string()));
    }
    table.set("key_name", instance.key_name.as_deref());
    table.set("iam_instance_profile", instance.iam_instance_profile.as_deref());
    table.set_hidden("user_data", instance.user_data.map(|digest| digest.short()));
    table.set("termination_protection", instance.termination_protection.then_some(true));
    table.set("prevent_destroy", instance.prevent_destroy.then_some(true));
    table.set("state", Some(instance.state.as_str()));
    table.set("disks", Some(instance.disks.clone()));
    table.set(
        "security_group_ids",
        (!instance.security_group_ids.is_empty()).then(|| instance.security_group_ids.clone()),
    );
    table.set_options(&instance.options);
    table.set_tags(&instance.tags);
    table
}

/// The state's record brought up to what the provider shows.
pub(super) fn refreshed(recorded: &InstanceResource, view: Option<&InstanceView>) -> InstanceResource {
    let Some(view) = view else { return recorded.clone() };
    let state = match view.state {
        InstanceState::Pending | InstanceState::Running if recorded.phase == LaunchPhase::Started => {
            "running"
        }
        InstanceState::Stopping | InstanceState::Stopped => "stopped",
        _ => recorded.state.as_str(),
    };
    InstanceResource {
        instance_type: view.instance_type.clone(),
        platform: view.platform.clone().or_else(|| recorded.platform.clone()),
        zone: view.zone.clone(),
        private_ip: view.private_ip.or(recorded.private_ip),
        security_group_ids: shown_groups(&recorded.security_group_ids, &view.security_group_ids),
        iam_instance_profile: shown_profile(&recorded.iam_instance_profile, &view.iam_instance_profile),
        termination_protection: view.termination_protection,
        options: recorded.options.refreshed(&view.options),
        state: state.to_owned(),
        tags: user_tags(&view.tags),
        ..recorded.clone()
    }
}

fn start(state: DesiredState) -> Start {
    if state == DesiredState::Running { Start::Running } else { Start::Stopped }
}

/// What an instance's decision depends on.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The state.
    pub state: &'a State,
    /// The provider's side.
    pub reality: &'a Reality,
    /// What `--replace` names.
    pub replace: &'a BTreeSet<Address>,
    /// Its volumes that are made anew, changed or not.
    pub new_volumes: Vec<Address>,
    /// Whether any volume is written or injected again.
    pub rewritten: bool,
    /// Why the whole machine is replaced.
    pub replaced: Option<&'a Reason>,
}

/// Decides what happens to an instance.
#[must_use]
pub fn decide(around: &Surroundings<'_>) -> Decision {
    let spec = &around.machine.spec;
    let mut plan = wanted(around.machine, around.reality);
    let recorded = of_state(around.state, &spec.address);
    let living = alive(around.state, around.reality, &spec.address);
    if let (None, Some(recorded)) = (guest(around.machine), recorded) {
        // Nobody looked into the guest again; it is what it was.
        plan.architecture = recorded.architecture;
        plan.boot_mode = spec.launch.boot_mode.unwrap_or(recorded.boot_mode);
        if spec.guest.network == NetworkPolicy::Keep && plan.private_ip.is_none() {
            plan.private_ip = recorded.private_ip;
        }
    }
    let platform = platform::known(around.machine, around.state, around.reality);
    // The AMI that is named decides it, whatever the guest is.
    let knows_platform = platform.is_some() || plan.base_ami.is_none();
    plan.platform = platform.unwrap_or_else(|| platform::DEFAULT.to_owned());
    if spec.state == DesiredState::Standby {
        return standby(around, recorded.zip(Some(living.is_some())));
    }
    let launch = |plan: InstancePlan, stop_first, attach| {
        Box::new(LaunchPlan { instance: plan, start: start(spec.state), stop_first, attach })
    };
    let after = wanted_table(&plan, spec.state, knows_platform);
    let address = spec.address.part(Part::Instance);
    let stub =
        |plan: &InstancePlan| (plan.method == LaunchMethod::Swap).then(|| Step::Stub(Box::new(plan.clone())));
    let Some((recorded, view)) = living else {
        if is_template(&plan, spec.state) {
            return template(around, recorded);
        }
        let reason = if recorded.is_some() { Reason::DeletedOutside } else { Reason::New };
        return Decision {
            change: Some(Change {
                address,
                action: Action::Create,
                reasons: vec![reason],
                attributes: after.created(&spec.sensitive),
                unchanged: 0,
                notes: kept_volumes_note(around),
            }),
            destroy: None,
            stub: stub(&plan),
            make: Some(Step::Launch(launch(plan, false, Vec::new()))),
        };
    };
    let now = refreshed(recorded, view);
    let asks_for_address = plan.private_ip.is_some() || plan.unknown.contains("private_ip");
    let mut said = said_as_is(now.clone(), view, &plan);
    if plan.base_ami.is_some() || said.platform.is_none() {
        // It has the AMI's, or what nobody has recorded, and keeps that.
        said.platform = knows_platform.then(|| plan.platform.clone());
    }
    let before_now = InstanceResource { platform: now.platform.clone(), ..recorded.clone() };
    let before = state_table(&said, asks_for_address);
    let drifted =
        drift(&state_table(&before_now, true).changed(&state_table(&now, true), &[], &spec.sensitive).0);
    let (mut attributes, unchanged) = before.changed(&after, &FORCING, &spec.sensitive);
    for change in attributes.iter_mut().filter(|change| change.path == "placement.tenancy") {
        change.forces_replacement = !stays_dedicated(change);
    }
    for change in attributes.iter_mut().filter(|change| change.path.ends_with(".security_group_ids")) {
        change.forces_replacement = !stays_an_interface(&change.path, &said, &plan);
    }
    let started_outside = is_started_outside(recorded, view);
    let started = recorded.phase == LaunchPhase::Started || started_outside;

    if !started && other_base(recorded, &plan) {
        let shown = |ami: &Option<String>| ami.as_deref().map(|ami| Shown::Value(ami.into()));
        attributes.push(AttributeChange {
            path: "launch.base_ami".to_owned(),
            before: shown(&recorded.base_ami),
            after: shown(&plan.base_ami),
            forces_replacement: true,
        });
    }
    let mut replacing = Vec::new();
    if around.replace.contains(&address) {
        replacing.push(Reason::AskedToReplace);
    }
    replacing.extend(around.replaced.cloned());
    if is_tainted(recorded, around.reality) {
        replacing.push(Reason::Tainted);
    }
    for change in attributes.iter().filter(|change| change.forces_replacement) {
        replacing.push(Reason::CannotChangeInPlace { attribute: change.path.clone() });
    }
    if started {
        if attributes.iter().any(|change| change.path == "disks") {
            replacing.push(Reason::CannotChangeInPlace { attribute: "the list of disks".to_owned() });
        }
        let replaced =
            around.new_volumes.iter().map(|volume| Reason::Replaced { address: volume.to_string() });
        replacing.extend(replaced);
    }
    if !replacing.is_empty() {
        if is_template(&plan, spec.state) {
            return Decision {
                change: Some(Change {
                    address,
                    action: Action::Delete,
                    reasons: replacing,
                    attributes: removed(recorded),
                    unchanged: 0,
                    notes: vec![TEMPLATE.to_owned()],
                }),
                destroy: Some(Step::Terminate { id: recorded.id.clone() }),
                stub: None,
                make: None,
            };
        }
        return Decision {
            change: Some(Change {
                address,
                action: Action::Replace,
                reasons: replacing,
                attributes,
                unchanged,
                notes: kept_volumes_note(around),
            }),
            destroy: Some(Step::Terminate { id: recorded.id.clone() }),
            stub: stub(&plan),
            make: Some(Step::Launch(launch(plan, false, Vec::new()))),
        };
    }

    let mut notes = base_note(recorded, &plan, &address);
    let mut reasons = Vec::new();
    if recorded.tainted {
        let is_up = matches!(around.reality.statuses.get(&recorded.id), Some(StatusCheck::Ok { .. }));
        reasons.push(if is_up {
            Reason::CameUp
        } else {
            Reason::Unfinished { missing: "it is still coming up".to_owned() }
        });
    }
    if started_outside {
        reasons.push(Reason::ChangedOutside { what: "it was started".to_owned() });
    }
    if recorded.phase == LaunchPhase::Stub {
        reasons.push(Reason::Unfinished { missing: "its volumes are not attached".to_owned() });
    } else if !started && (around.rewritten || !around.new_volumes.is_empty()) {
        reasons.push(Reason::VolumesWritten);
    }
    let missing = match reasons.is_empty() || started {
        true => attachment::missing(around.state, around.reality, &spec.address, recorded),
        // Launching puts all of them where they belong.
        false => Vec::new(),
    };
    if !missing.is_empty() {
        let what = attachment::in_words(&missing);
        notes.push(format!(
            "{what} attached again; a destroy that did not come to its end leaves an instance so too"
        ));
        reasons.push(Reason::ChangedOutside { what: format!("{what} detached") });
    }
    let unfinished = !reasons.is_empty();
    if now.state != spec.state.as_str() && !unfinished {
        let to = spec.state.as_str().to_owned();
        reasons.push(match (&drifted, recorded.state == spec.state.as_str()) {
            (Some(what), true) => Reason::ChangedOutside { what: what.clone() },
            _ => Reason::StateChanged { from: now.state.clone(), to },
        });
    }
    let others = attributes.iter().any(|change| change.path != "state");
    if others {
        reasons.push(drifted.map_or(Reason::AttributesChanged, |what| Reason::ChangedOutside { what }));
    }
    if reasons.is_empty() {
        return Decision {
            change: Some(Change {
                address,
                action: Action::NoOp,
                reasons,
                attributes: Vec::new(),
                unchanged,
                notes,
            }),
            destroy: None,
            stub: None,
            make: None,
        };
    }
    let running = started && now.state == "running";
    let stops = |path: &str| STOPPING.contains(&path) || path.starts_with("placement.");
    // A root is not attached to what runs; nor is anything where the provider has no hot plug.
    let replugs =
        missing.iter().any(|disk| !around.reality.hot_plugs || recorded.disks.first() == Some(disk));
    let stop_first = running && (replugs || attributes.iter().any(|change| stops(&change.path)));
    notes.extend(stop_first.then(|| "the instance is stopped for this change and started again".to_owned()));
    let step = if started { Step::UpdateInstance } else { Step::Launch };
    Decision {
        change: Some(Change { address, action: Action::Update, reasons, attributes, unchanged, notes }),
        destroy: None,
        stub: None,
        make: Some(step(launch(plan, stop_first, if started { missing } else { Vec::new() }))),
    }
}

/// What is said of an instance that is not launched from its image.
const TEMPLATE: &str = "state = \"stopped\": its image is made, and nothing is launched from it, because EC2 starts whatever it launches; state = \"running\" launches it";

/// Whether an instance that does not exist ends with its image: EC2 starts whatever it launches
/// ("RunInstances"), so that a guest which shall not run cannot be launched.
fn is_template(plan: &InstancePlan, state: DesiredState) -> bool {
    plan.method == LaunchMethod::Image && state == DesiredState::Stopped
}

fn template(around: &Surroundings<'_>, recorded: Option<&InstanceResource>) -> Decision {
    let change = recorded.map(|recorded| Change {
        address: around.machine.spec.address.part(Part::Instance),
        action: Action::Delete,
        reasons: vec![Reason::DeletedOutside],
        attributes: removed(recorded),
        unchanged: 0,
        notes: vec![TEMPLATE.to_owned()],
    });
    let destroy = recorded.map(|recorded| Step::Terminate { id: recorded.id.clone() });
    Decision { change, destroy, stub: None, make: None }
}

/// Whether a tenancy changes between hardware of the account and a host, which EC2 does in place
/// (ModifyInstancePlacement); from and to shared hardware it does not.
fn stays_dedicated(change: &AttributeChange) -> bool {
    let own = |shown: &Option<Shown>| match shown {
        Some(Shown::Value(value)) => matches!(value.as_str(), Some("dedicated" | "host")),
        _ => false,
    };
    own(&change.before) && own(&change.after)
}

/// Whether security groups are those of an interface that the instance has and keeps.
fn stays_an_interface(path: &str, is: &InstanceResource, plan: &InstancePlan) -> bool {
    let is_of = |options: &InstanceOptions| {
        let mut interfaces = options.network_interfaces.iter();
        interfaces.any(|one| path == format!("network_interface.{}.security_group_ids", one.device_index))
    };
    is_of(&is.options) && is_of(&plan.options)
}

/// Whether the configuration names another base AMI than the instance was launched from. Of that
/// one an instance keeps its platform and what it is billed as, until it is launched anew.
fn other_base(recorded: &InstanceResource, plan: &InstancePlan) -> bool {
    plan.method == LaunchMethod::Swap
        && recorded.image_id.is_none()
        && plan.base_ami.is_some()
        && plan.base_ami != recorded.base_ami
}

/// What is said of another base AMI, once a guest has run.
fn base_note(recorded: &InstanceResource, plan: &InstancePlan, address: &Address) -> Vec<String> {
    if !other_base(recorded, plan) {
        return Vec::new();
    }
    let wanted = plan.base_ami.as_deref().unwrap_or_default();
    let from = recorded.base_ami.as_deref().unwrap_or("an AMI that Replant chose");
    vec![format!(
        "launch {{ base_ami }} is {wanted}, and it was launched from {from}, whose platform and billing it keeps; launched anew, with its volumes as they are, it takes those of {wanted}: replant apply --replace '{address}'"
    )]
}

/// When an instance is made around volumes that hold newer data than the backup.
fn kept_volumes_note(around: &Surroundings<'_>) -> Vec<String> {
    let kept: Vec<String> = around
        .machine
        .disks
        .iter()
        .map(|disk| around.machine.spec.address.volume(disk.spec.name.as_str()))
        .filter(|address| !around.new_volumes.contains(address))
        .filter_map(|address| super::volume::of_state(around.state, &address))
        .filter(|volume| volume.started)
        .map(|volume| volume.id.to_string())
        .collect();
    if kept.is_empty() || around.rewritten {
        return Vec::new();
    }
    vec![format!("what is on its volumes stays: {} go over to the new instance", kept.join(", "))]
}

fn standby(around: &Surroundings<'_>, recorded: Option<(&InstanceResource, bool)>) -> Decision {
    let address = around.machine.spec.address.part(Part::Instance);
    let nothing = Decision { change: None, destroy: None, stub: None, make: None };
    let Some((recorded, _)) = recorded else { return nothing };
    Decision {
        change: Some(Change {
            address,
            action: Action::Delete,
            reasons: vec![Reason::StateChanged { from: recorded.state.clone(), to: "standby".to_owned() }],
            attributes: removed(recorded),
            unchanged: 0,
            notes: vec!["its volumes stay".to_owned()],
        }),
        destroy: Some(Step::Terminate { id: recorded.id.clone() }),
        ..nothing
    }
}

/// The attributes of an instance that is destroyed.
#[must_use]
pub fn removed(instance: &InstanceResource) -> Vec<AttributeChange> {
    let mut table = state_table(instance, true);
    table.set("id", Some(instance.id.0.as_str()));
    table.removed(&BTreeSet::new())
}
