//! The planner: every machine decided, the decisions put together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AccessNodePlan, Action, Binding, Change, Mode, OutputChange, Plan, Reason, Shown, Step, Summary, VERSION,
    WritePlan, assemble, check, destroy, guest, image, instance, lint, platform, predict, volume,
};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::{DiskShape, Graph, InstanceShape};
use crate::guest::report::FindingSeverity;
use crate::model::{
    Address, ComponentsFacts, DesiredState, Digest, InstanceAddress, LaunchMethod, OutputSpec, Part,
    VolumeType,
};
use crate::observe::{Machine, Reality};
use crate::state::{ImageFacts, State};

/// Everything a plan is made from.
#[derive(Debug)]
pub struct Request<'a> {
    /// What for.
    pub mode: Mode,
    /// The machines of the configuration.
    pub machines: &'a BTreeMap<InstanceAddress, Machine>,
    /// The state.
    pub state: &'a State,
    /// Whether there was a state before.
    pub has_state: bool,
    /// The provider's side.
    pub reality: &'a Reality,
    /// The outputs of the configuration.
    pub outputs: &'a BTreeMap<String, OutputSpec>,
    /// Digest of the configuration.
    pub configuration: Digest,
    /// The provider's name.
    pub provider: &'a str,
    /// What `--replace` names.
    pub replace: &'a BTreeSet<Address>,
    /// What `--target` names; empty for everything.
    pub targets: &'a BTreeSet<InstanceAddress>,
    /// Processors for decoding.
    pub cores: usize,
    /// Whether components may be missing without which a boot is still expected.
    pub allow_missing: bool,
}

/// Makes the plan.
///
/// # Errors
/// All that stands in its way, with warnings.
pub fn plan(request: &Request<'_>) -> Result<Plan, Diagnostics> {
    let mut draft = Draft::new(request);
    draft.check();
    if draft.notes.has_errors() {
        return Err(draft.notes);
    }
    draft.decide();
    draft.refuse_prevented();
    if draft.notes.has_errors() {
        return Err(draft.notes);
    }
    draft.finish()
}

/// What would be done, whatever stands in its way.
pub(super) fn steps(request: &Request<'_>) -> assemble::Steps {
    let mut draft = Draft::new(request);
    draft.targeted();
    draft.decide();
    draft.steps
}

/// What is wrong with all machines but some, for a plan that cannot be made because of those.
#[must_use]
pub fn mistakes(request: &Request<'_>, but: &BTreeSet<InstanceAddress>) -> Diagnostics {
    let mut draft = Draft::new(request);
    let is_wanted = |address: &&InstanceAddress| {
        (request.targets.is_empty() || request.targets.contains(*address)) && !but.contains(*address)
    };
    draft.wanted = request.machines.keys().filter(is_wanted).cloned().collect();
    draft.check_machines();
    draft.notes
}

struct Draft<'a> {
    request: &'a Request<'a>,
    wanted: BTreeSet<InstanceAddress>,
    notes: Diagnostics,
    changes: Vec<Change>,
    steps: assemble::Steps,
    shapes: Vec<InstanceShape>,
    guests: BTreeMap<InstanceAddress, super::GuestPlan>,
    images: BTreeSet<ImageFacts>,
    components: BTreeSet<ComponentsFacts>,
    summary: Summary,
}

impl<'a> Draft<'a> {
    fn new(request: &'a Request<'a>) -> Self {
        Self {
            request,
            wanted: BTreeSet::new(),
            notes: Diagnostics::new(),
            changes: Vec::new(),
            steps: assemble::Steps::default(),
            shapes: Vec::new(),
            guests: BTreeMap::new(),
            images: BTreeSet::new(),
            components: BTreeSet::new(),
            summary: Summary::default(),
        }
    }

    fn of_state(&self) -> BTreeSet<InstanceAddress> {
        self.request.state.resources.keys().map(|address| address.instance.clone()).collect()
    }

    /// The machines this plan is about: all, or the targets with all that they depend on.
    fn targeted(&mut self) {
        let mut known: BTreeSet<InstanceAddress> = self.request.machines.keys().cloned().collect();
        known.extend(self.of_state());
        self.notes.extend(check::unknown_addresses(self.request.targets, &known, "--target"));
        let mut parts: BTreeSet<Address> = self.request.state.resources.keys().cloned().collect();
        for (address, machine) in self.request.machines {
            parts.insert(address.part(Part::Instance));
            parts.extend(machine.disks.iter().map(|disk| address.volume(disk.spec.name.as_str())));
        }
        self.notes.extend(check::unknown_addresses(self.request.replace, &parts, "--replace"));
        if self.request.targets.is_empty() {
            self.wanted = known;
            return;
        }
        let mut open: Vec<InstanceAddress> = self.request.targets.iter().cloned().collect();
        while let Some(address) = open.pop() {
            if let Some(machine) = self.request.machines.get(&address) {
                open.extend(
                    machine.spec.depends_on.iter().filter(|next| !self.wanted.contains(next)).cloned(),
                );
            }
            self.wanted.insert(address);
        }
        self.notes.push(
            Diagnostic::warning("plan::targeted", "Only a part of the configuration is planned")
                .detail(
                    "--target leaves everything else as it is, also where it differs from the configuration.",
                )
                .help("plan again without --target afterwards"),
        );
    }

    fn machines(&self) -> impl Iterator<Item = &'a Machine> + use<'a> {
        let wanted = self.wanted.clone();
        self.request
            .machines
            .iter()
            .filter(move |(address, _)| wanted.contains(address))
            .map(|(_, machine)| machine)
    }

    /// A provider that knows nothing of the state is more likely another one than emptied.
    fn check_provider(&mut self) {
        let reality = self.request.reality;
        let nothing = reality.volumes.is_empty() && reality.instances.is_empty();
        if reality.refreshed && nothing && !self.request.state.resources.is_empty() {
            self.notes.push(
                Diagnostic::warning("plan::nothing_exists", "Nothing of the state exists in this provider")
                    .detail(
                        "Every volume and instance of the state is gone. Either all were deleted outside Replant, or the provider block names another place than before.",
                    )
                    .help("if the place changed: put the provider block back, destroy there first, then change it"),
            );
        }
    }

    fn check(&mut self) {
        self.targeted();
        self.check_provider();
        self.check_machines();
    }

    fn check_machines(&mut self) {
        let reality = self.request.reality;
        if self.request.mode == Mode::Restore {
            let slots = reality.access_node.free_slots.len();
            for machine in self.machines() {
                self.notes.extend(check::check(
                    machine,
                    self.request.state,
                    reality,
                    slots,
                    self.request.allow_missing,
                ));
            }
            self.notes.extend(check::same_addresses(self.machines(), reality));
            self.notes.extend(check::interfaces(self.machines(), reality));
            self.notes.extend(check::disks(self.machines(), reality));
        }
        self.notes.extend(reality.preflight.iter().cloned());
        self.notes.sort_by_place();
    }

    fn decide(&mut self) {
        let restore = self.request.mode == Mode::Restore;
        for address in self.of_state() {
            let configured = restore && self.request.machines.contains_key(&address);
            if configured || !self.wanted.contains(&address) {
                continue;
            }
            let reason = if restore { Reason::NotConfigured } else { Reason::Destroy };
            let ending = destroy::end(self.request.state, &address, &reason);
            self.changes.extend(ending.changes);
            self.steps.destroy.extend(ending.steps);
        }
        if restore {
            for machine in self.machines() {
                self.decide_machine(machine);
            }
        }
        self.changes.sort_by(|a, b| a.address.cmp(&b.address));
    }

    fn decide_machine(&mut self, machine: &'a Machine) {
        let request = self.request;
        let address = &machine.spec.address;
        let prepared = guest::prepared(machine);
        let drivers = prepared.and_then(|prepared| guest::drivers(prepared, &machine.spec.guest.changes));
        let living = instance::alive(request.state, request.reality, address);
        let tainted = living.is_some_and(|(recorded, _)| instance::is_tainted(recorded, request.reality));
        let whole = self.whole_replacement(machine);
        let around = volume::Surroundings {
            machine,
            state: request.state,
            reality: request.reality,
            replace: request.replace,
            recipe: drivers.as_ref().map(|drivers| drivers.recipe),
            tainted,
            started_outside: living
                .is_some_and(|(recorded, view)| instance::is_started_outside(recorded, view)),
            replaced: whole.as_ref(),
        };
        let mut new_volumes = Vec::new();
        let mut touched = Vec::new();
        let mut any_overlay = false;
        let mut any_write = false;
        for disk in &machine.disks {
            self.notes.extend(volume::smaller(&around, disk));
            let decision = volume::decide(&around, disk);
            let volume_address = decision.change.address.clone();
            if matches!(decision.change.action, Action::Create | Action::Replace) {
                new_volumes.push(volume_address.clone());
            }
            any_write |= decision.write;
            any_overlay |= decision.overlay;
            touched.push((disk, decision.write, decision.overlay));
            if let Some(step) = decision.destroy {
                self.steps.destroy.push((volume_address.clone(), step));
            }
            if let Some(step) = decision.make {
                self.steps.make.insert(volume_address, step);
            }
            self.changes.push(decision.change);
        }
        let injected = any_overlay && drivers.is_some();
        self.content_steps(machine, &touched, drivers.as_ref().filter(|_| injected));
        self.gone_disks(machine);
        let written = touched.iter().filter(|(_, write, overlay)| *write || (*overlay && injected));
        let mut renewed: BTreeSet<String> = written.map(|(disk, ..)| disk.spec.name.clone()).collect();
        renewed.extend(new_volumes.iter().filter_map(|volume| volume.part.disk().map(str::to_owned)));
        let decision = instance::decide(&instance::Surroundings {
            machine,
            state: request.state,
            reality: request.reality,
            replace: request.replace,
            new_volumes,
            rewritten: any_write || injected,
            replaced: whole.as_ref(),
        });
        let is_guessed = request.provider == "aws"
            && decision.stub.is_some()
            && machine.spec.launch.base_ami.is_none()
            && platform::known(machine, request.state, request.reality).is_none();
        self.notes.extend(is_guessed.then(|| platform::unknown(&machine.spec)));
        let images = image::decide(&image::Surroundings {
            machine,
            state: request.state,
            reality: request.reality,
            launches: matches!(decision.make, Some(Step::Launch(_))),
            exists: living.is_some() && decision.destroy.is_none(),
            rewritten: renewed,
        });
        self.changes.extend(images.changes);
        self.steps.destroy.extend(images.destroy);
        self.steps.make.extend(images.make);
        let instance_address = address.part(Part::Instance);
        if let Some(step) = decision.destroy {
            self.steps.destroy.push((instance_address.clone(), step));
        }
        if let Some(step) = decision.stub {
            self.steps.make.insert(address.part(Part::Stub), step);
        }
        if let Some(step) = decision.make {
            self.steps.make.insert(instance_address, step);
        }
        self.changes.extend(decision.change);
        if let Some(prepared) = prepared {
            self.components.extend(prepared.components.clone());
            self.guests.insert(address.clone(), guest::section(prepared, injected));
            if any_write || injected {
                self.note_findings(machine, prepared);
            }
        }
        self.shapes.push(shape(machine, drivers.is_some()));
    }

    /// Why everything of a machine is restored anew: its image changed after it started, and its
    /// lifecycle wants that.
    fn whole_replacement(&self, machine: &Machine) -> Option<Reason> {
        if !machine.spec.lifecycle.replace_on_image_change {
            return None;
        }
        machine.disks.iter().find_map(|disk| {
            let image = disk.image.as_ref()?;
            let address = machine.spec.address.volume(disk.spec.name.as_str());
            let recorded = volume::of_state(self.request.state, &address)?;
            let written = &recorded.write.as_ref()?.image;
            let changed = written.identity != image.facts.identity || written.member != image.facts.member;
            (recorded.started && changed).then_some(Reason::ImageChanged)
        })
    }

    fn content_steps(
        &mut self,
        machine: &Machine,
        touched: &[(&crate::observe::MachineDisk, bool, bool)],
        drivers: Option<&super::DriversPlan>,
    ) {
        let address = &machine.spec.address;
        for (disk, write, overlay) in touched {
            let Some(image) = &disk.image else { continue };
            self.images.insert(image.facts.clone());
            let name = disk.spec.name.as_str();
            let blocks =
                drivers.is_some_and(|drivers| drivers.overlays.iter().any(|overlay| overlay.disk == name));
            let needed = *write || (*overlay && blocks);
            if !needed {
                continue;
            }
            let part = |part: fn(String) -> Part| address.part(part(name.to_owned()));
            self.steps.make.insert(part(Part::Attachment), Step::Attach);
            self.steps.make.insert(part(Part::Detach), Step::Detach);
            if *write {
                let zero_bytes = image.facts.size.saturating_sub(image.data_bytes);
                self.summary.data_bytes += image.data_bytes;
                self.summary.zero_bytes += zero_bytes;
                let volume = address.volume(name);
                let is_new = matches!(self.steps.make.get(&volume), Some(Step::CreateVolume(_)));
                let recorded = volume::of_state(self.request.state, &volume).filter(|_| !is_new);
                let write = WritePlan {
                    is_update: recorded.is_some_and(|volume| volume.written && !volume.started),
                    image: image.facts.clone(),
                    data_bytes: image.data_bytes,
                    zero_bytes,
                    volume_size: disk.volume_bytes(),
                };
                self.steps.make.insert(part(Part::Write), Step::Write(Box::new(write)));
            }
        }
        if let Some(drivers) = drivers {
            let mut step = drivers.clone();
            step.overlays.retain(|overlay| {
                touched
                    .iter()
                    .any(|(disk, write, injected)| disk.spec.name == overlay.disk && (*write || *injected))
            });
            self.steps.make.insert(address.part(Part::Drivers), Step::Drivers(step));
        }
    }

    /// Volumes of the state whose disk left the configuration.
    fn gone_disks(&mut self, machine: &Machine) {
        let names: BTreeSet<&str> = machine.disks.iter().map(|disk| disk.spec.name.as_str()).collect();
        let ending = destroy::end(self.request.state, &machine.spec.address, &Reason::NotConfigured);
        let is_gone =
            |address: &Address| matches!(&address.part, Part::Volume(disk) if !names.contains(disk.as_str()));
        self.changes.extend(ending.changes.into_iter().filter(|change| is_gone(&change.address)));
        self.steps.destroy.extend(ending.steps.into_iter().filter(|(address, _)| is_gone(address)));
    }

    fn note_findings(&mut self, machine: &Machine, prepared: &crate::observe::Prepared) {
        if prepared.report.findings.iter().any(|finding| finding.severity == FindingSeverity::Warns) {
            self.notes.push(
                Diagnostic::warning("plan::guest_findings", "A guest has findings that deserve a look")
                    .detail(format!("They stand with {} above.", machine.spec.address))
                    .about(&machine.spec.address),
            );
        }
    }

    fn refuse_prevented(&mut self) {
        let mut refusals = Vec::new();
        for change in
            self.changes.iter().filter(|change| matches!(change.action, Action::Delete | Action::Replace))
        {
            let machine = (self.request.mode == Mode::Restore)
                .then(|| self.request.machines.get(&change.address.instance))
                .flatten();
            let prevented = machine.map_or_else(
                || destroy::is_prevented(self.request.state, &change.address),
                |machine| machine.spec.lifecycle.prevent_destroy,
            );
            if prevented {
                let span = machine.and_then(|machine| machine.spec.span("lifecycle.prevent_destroy"));
                refusals.push(destroy::refusal(change, span));
            }
        }
        self.notes.extend(refusals);
        self.notes.extend(self.protected_terminations());
    }

    /// EC2 refuses to terminate these; better to say so before anything is done.
    fn protected_terminations(&self) -> Vec<Diagnostic> {
        self.changes
            .iter()
            .filter(|change| matches!(change.action, Action::Delete | Action::Replace))
            .filter(|change| change.address.part == Part::Instance)
            .filter_map(|change| {
                destroy::protected(self.request.state, self.request.reality, &change.address)
            })
            .collect()
    }

    fn outputs(&self) -> BTreeMap<String, OutputChange> {
        let mut outputs: BTreeMap<String, OutputChange> = BTreeMap::new();
        for (name, output) in &self.request.state.outputs {
            let before = match &output.value {
                _ if output.sensitive => Some(Shown::Sensitive),
                value => Some(Shown::Value(value.clone().unwrap_or_default())),
            };
            outputs.insert(name.clone(), OutputChange { before, after: None });
        }
        if self.request.mode == Mode::Restore {
            for (name, output) in self.request.outputs {
                let after = match &output.value {
                    _ if output.sensitive => Shown::Sensitive,
                    Some(value) => Shown::Value(value.clone()),
                    None => Shown::Unknown,
                };
                let change =
                    outputs.entry(name.clone()).or_insert(OutputChange { before: None, after: None });
                change.after = Some(after);
            }
        }
        outputs
    }

    fn summarize(&mut self) {
        let standby = |address: &Address| {
            self.request
                .machines
                .get(&address.instance)
                .is_some_and(|machine| machine.spec.state == DesiredState::Standby)
        };
        let mut standbys = BTreeSet::new();
        for change in &self.changes {
            let is_volume = matches!(change.address.part, Part::Volume(_));
            match change.action {
                Action::Create if matches!(change.address.part, Part::Snapshot(_)) => {}
                Action::Create if change.address.part == Part::Image => self.summary.images += 1,
                Action::Create if is_volume => {
                    self.summary.volumes += 1;
                    if standby(&change.address) {
                        standbys.insert(change.address.instance.clone());
                    }
                }
                Action::Create => self.summary.restores += 1,
                Action::Update => self.summary.changes += 1,
                Action::Replace => self.summary.replacements += 1,
                Action::Delete => self.summary.destructions += 1,
                Action::NoOp | Action::Forget => {}
            }
        }
        self.summary.restores += standbys.len();
    }

    fn finish(mut self) -> Result<Plan, Diagnostics> {
        self.summarize();
        let graph = Graph::build(&self.shapes).map_err(|cycle| {
            Diagnostics::from(
                Diagnostic::error("plan::cycle", "A circle of dependencies").detail(cycle.to_string()),
            )
        })?;
        let outputs = self.outputs();
        let request = self.request;
        let nodes = assemble::nodes(std::mem::take(&mut self.steps), &graph, request.state);
        let node = &request.reality.access_node;
        let volume_type = |address: &Address| -> Option<(VolumeType, Option<u32>)> {
            let machine = request.machines.get(&address.instance)?;
            let disk =
                machine.disks.iter().find(|disk| Some(disk.spec.name.as_str()) == address.part.disk())?;
            let volume = address.instance.volume(disk.spec.name.as_str());
            let is_raised = nodes.iter().any(|node| {
                node.address == volume
                    && matches!(&node.step, Step::CreateVolume(plan) if plan.raised.is_some())
            }) || volume::of_state(request.state, &volume)
                .is_some_and(|recorded| recorded.raised);
            let raised = disk
                .spec
                .raised_at(disk.volume_gib())
                .filter(|_| is_raised)
                .map(|(_, throughput)| throughput);
            Some((disk.spec.volume_type, raised.or(disk.spec.throughput)))
        };
        let links = predict::Links { cores: request.cores, ebs_bandwidth: node.ebs_bandwidth };
        let plan = Plan {
            version: VERSION,
            replant_version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: request.mode,
            binding: Binding {
                configuration: request.configuration,
                lineage: request.has_state.then(|| request.state.lineage.clone()),
                serial: request.state.serial,
                resources: resources_digest(request.state)?,
                images: self.images.into_iter().collect(),
                components: self.components.into_iter().collect(),
            },
            provider: request.provider.to_owned(),
            access_node: AccessNodePlan {
                instance_id: node.instance_id.to_string(),
                zone: node.zone.clone(),
                slots: node.free_slots.len(),
            },
            data: BTreeMap::new(),
            changes: self.changes,
            guests: self.guests,
            waves: assemble::waves(&nodes, &node.free_slots),
            prediction: predict::predict(&nodes, &volume_type, links),
            nodes,
            outputs,
            notes: self.notes.into_iter().collect(),
            summary: self.summary,
        };
        let wrong = lint::lint(&plan);
        if wrong.is_empty() {
            return Ok(plan);
        }
        Err(Diagnostics::from(
            Diagnostic::error("plan::unsound", "The plan is not sound")
                .detail(wrong.join("\n"))
                .help("this is a mistake in Replant, not in your configuration; nothing was changed"),
        ))
    }
}

/// The digest that binds a plan to the state's resources.
///
/// # Errors
/// When the state cannot be written as JSON.
pub fn resources_digest(state: &State) -> Result<Digest, Diagnostics> {
    Digest::of_json(&state.resources).map_err(|error| {
        Diagnostics::from(
            Diagnostic::error("plan::state_digest", "The state cannot be digested").detail(error.to_string()),
        )
    })
}

/// What of a machine decides its nodes.
#[must_use]
pub fn shape(machine: &Machine, drivers: bool) -> InstanceShape {
    let launches = machine.spec.state != DesiredState::Standby;
    InstanceShape {
        address: machine.spec.address.clone(),
        disks: machine
            .disks
            .iter()
            .map(|disk| DiskShape { name: disk.spec.name.clone(), has_content: disk.image.is_some() })
            .collect(),
        launches,
        stub: launches && machine.spec.launch.method == LaunchMethod::Swap,
        image: launches && machine.spec.launch.method == LaunchMethod::Image,
        drivers,
        depends_on: machine.spec.depends_on.clone(),
        takes_values: !machine.spec.unknown.is_empty(),
    }
}
