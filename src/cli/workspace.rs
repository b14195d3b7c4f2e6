//! What the commands that plan or apply share: configuration, provider, state, planning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;

use super::inspect_guest::SandboxInspector;
use super::variables::Variables;
use super::waiting::Watch;
use crate::apply::Specs;
use crate::config::{self, Config, Evaluated, KnownFacts};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::model::{
    Address, AwsProviderSpec, DataRead, DriversPolicy, Found, InstanceAddress, InstanceSpec,
    LocalProviderSpec, Lookup, ProviderSpec,
};
use crate::observe::data;
use crate::observe::{Inspection, Machine, Pins, Reality, resolve};
use crate::plan::{self, Action, Mode, Overlays, Plan};
use crate::provider::local::LocalProvider;
use crate::provider::{Provider, ProviderError, ProviderErrorKind};
use crate::state::format::v1::{LaunchPhase, Output};
use crate::state::{Paths, Resource, State};

/// Which workspace, and values for its variables.
#[derive(Debug, Clone, Default, Args)]
pub struct WorkspaceArguments {
    /// Values for variables.
    #[command(flatten)]
    pub values: Variables,
    /// The same configuration on the local provider, with a state of its own.
    #[arg(long)]
    pub rehearse: bool,
    /// Whether folders of components may be missing: the command fills them.
    #[arg(skip)]
    pub fills_components: bool,
}

/// What a plan is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Destroy everything.
    pub destroy: bool,
    /// Addresses to replace.
    pub replace: BTreeSet<Address>,
    /// Instances to look at only.
    pub targets: BTreeSet<InstanceAddress>,
    /// Whether the state is believed without asking the provider.
    pub no_refresh: bool,
    /// Whether components may be missing without which a boot is still expected.
    pub allow_missing: bool,
}

/// A configuration with its provider.
pub struct Workspace {
    /// The configuration's directory.
    pub directory: PathBuf,
    /// The state's files.
    pub paths: Paths,
    /// The configuration.
    pub config: Arc<Config>,
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// What the data sources found: each question is asked once in a run.
    data: Mutex<BTreeMap<Lookup, Found>>,
}

impl Workspace {
    /// Loads a directory. Nothing is made before the whole configuration is right.
    ///
    /// # Errors
    /// All mistakes of the configuration; the provider cannot be opened.
    pub fn open(
        directory: &Path,
        arguments: &WorkspaceArguments,
        destroys: bool,
    ) -> Result<Self, Diagnostics> {
        let mut options = arguments.values.options()?;
        options.components_may_be_missing = arguments.fills_components;
        let (checked, diagnostics) = config::check(directory, &options);
        let stops = |diagnostic: &Diagnostic| {
            // Backups go their ways; what was restored from them can be destroyed all the same.
            let is_lost =
                matches!(diagnostic.code.as_str(), "config::missing_image" | "config::missing_components");
            diagnostic.is_error() && !(destroys && is_lost)
        };
        let Some((config, evaluated)) = checked.filter(|_| !diagnostics.as_slice().iter().any(stops)) else {
            return Err(diagnostics);
        };
        // A missing image, or folder of components, is no mistake when everything is to be destroyed; it is reported when
        // something is planned from it.
        drop(diagnostics);
        let provider = open_provider(directory, &evaluated, arguments.rehearse)?;
        Ok(Self {
            directory: directory.to_owned(),
            paths: super::state::paths(directory, arguments.rehearse),
            config: Arc::new(config),
            provider,
            data: Mutex::default(),
        })
    }

    /// Evaluates the configuration with what the state knows, but for the instances that are about
    /// to be made anew; reads the data sources that it comes upon.
    ///
    /// # Errors
    /// All mistakes.
    pub fn evaluate(
        &self,
        runtime: &tokio::runtime::Runtime,
        state: &State,
        renewed: &BTreeSet<InstanceAddress>,
    ) -> Result<(Evaluated, Diagnostics), Diagnostics> {
        // Data sources may ask by what others found: each round reads at least one.
        loop {
            let data = self.read_data();
            let (evaluated, diagnostics) =
                self.config.evaluate(&KnownFacts { data, ..known(state, renewed) });
            if diagnostics.has_errors() {
                return Err(diagnostics);
            }
            let known = self.read_data();
            let unread: BTreeMap<String, (Lookup, Option<Span>)> = evaluated
                .data
                .iter()
                .filter(|(_, request)| !known.contains_key(&request.lookup))
                .map(|(address, request)| (address.clone(), (request.lookup.clone(), request.span.clone())))
                .collect();
            if unread.is_empty() {
                return Ok((evaluated, diagnostics));
            }
            let _watch = Watch::begin();
            let found = runtime.block_on(data::read(&*self.provider, &unread))?;
            self.data.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        }
    }

    fn read_data(&self) -> BTreeMap<Lookup, Found> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the data sources of a configuration found, as its plan holds them.
    fn data_of(&self, evaluated: &Evaluated) -> BTreeMap<String, DataRead> {
        let known = self.read_data();
        let read = evaluated.data.iter().filter_map(|(address, request)| {
            let found = known.get(&request.lookup)?.clone();
            Some((address.clone(), DataRead { lookup: request.lookup.clone(), found }))
        });
        read.collect()
    }

    /// The names of the configuration's instances.
    ///
    /// # Errors
    /// All mistakes.
    pub fn instance_names(
        &self,
        runtime: &tokio::runtime::Runtime,
        state: &State,
    ) -> Result<BTreeSet<String>, Diagnostics> {
        Ok(self.instances(runtime, state)?.into_iter().map(|address| address.name).collect())
    }

    /// The configuration's machines with their images opened, nobody looking into their guests.
    ///
    /// # Errors
    /// All mistakes, and images that cannot be opened.
    pub fn machines(
        &self,
        runtime: &tokio::runtime::Runtime,
        state: &State,
    ) -> Result<BTreeMap<InstanceAddress, Machine>, Diagnostics> {
        let (evaluated, _) = self.evaluate(runtime, state, &BTreeSet::new())?;
        let _watch = Watch::begin();
        let types = BTreeMap::new();
        let inspector = SandboxInspector::new(&self.directory, &types);
        let (machines, diagnostics) = resolve(&evaluated.instances, &Pins::of(state), &inspector, &|_| false);
        if diagnostics.has_errors() { Err(diagnostics) } else { Ok(machines) }
    }

    /// Plans. `has_state`: whether there was a state before.
    ///
    /// # Errors
    /// All that stands in the way.
    pub fn plan(
        &self,
        runtime: &tokio::runtime::Runtime,
        state: &State,
        has_state: bool,
        wishes: &Wishes,
    ) -> Result<(Plan, Overlays), Diagnostics> {
        if wishes.destroy {
            return self
                .plan_once(runtime, state, has_state, wishes, None)
                .map(|(plan, overlays, _)| (plan, overlays));
        }
        let mut renewed = BTreeSet::new();
        let mut inspected = BTreeSet::new();
        let mut cache = None;
        // A renewed instance's values become unknown, which can renew others; each round finds at
        // least one more, and most configurations need one. A started machine that turns out to be
        // written anew is inspected in the next round.
        loop {
            let (evaluated, warnings) = self.evaluate(runtime, state, &renewed)?;
            let (mut plan, overlays, machines) = self.plan_once(
                runtime,
                state,
                has_state,
                wishes,
                Some((&evaluated, cache.take(), &inspected)),
            )?;
            let before = (renewed.len(), inspected.len());
            inspected.extend(written_uninspected(&plan, &machines));
            renewed.extend(plan.changes.iter().filter(|change| is_renewal(change.action)).filter_map(
                |change| {
                    let is_known = state.resources.contains_key(&change.address);
                    is_known.then(|| change.address.instance.clone())
                },
            ));
            if (renewed.len(), inspected.len()) == before {
                plan.notes.splice(0..0, warnings);
                plan.data = self.data_of(&evaluated);
                return Ok((plan, overlays));
            }
            cache = (inspected.len() == before.1).then_some(machines);
        }
    }

    #[allow(clippy::type_complexity)]
    fn plan_once(
        &self,
        runtime: &tokio::runtime::Runtime,
        state: &State,
        has_state: bool,
        wishes: &Wishes,
        desired: Option<(&Evaluated, Option<BTreeMap<InstanceAddress, Machine>>, &BTreeSet<InstanceAddress>)>,
    ) -> Result<(Plan, Overlays, BTreeMap<InstanceAddress, Machine>), Diagnostics> {
        let _watch = Watch::begin();
        let specs = desired.as_ref().map(|(evaluated, ..)| evaluated.instances.clone()).unwrap_or_default();
        let outputs = desired.as_ref().map(|(evaluated, ..)| evaluated.outputs.clone()).unwrap_or_default();
        let types = specs.values().map(|spec| spec.instance_type.clone()).collect();
        let blocks = desired.as_ref().map(|(evaluated, ..)| plan::Blocks {
            provider: evaluated.provider_span.clone(),
            access_node: evaluated.access_node_span.clone(),
        });
        let blocks = blocks.unwrap_or_default();
        let mut reality = runtime
            .block_on(Reality::read(&*self.provider, state, &types, !wishes.no_refresh))
            .map_err(|error| unread(&error, &blocks))?;
        runtime.block_on(reality.read_keys(&*self.provider, state, &specs));
        let interfaces = data::check_interfaces(&*self.provider, &specs, state, &reality.access_node.zone);
        let interfaces = runtime.block_on(interfaces).map_err(|error| unread(&error, &blocks))?;
        let (cache, inspected) =
            desired.map_or_else(Default::default, |(_, cache, inspected)| (cache, inspected.clone()));
        let mut missing = Diagnostics::new();
        let mut machines = match cache {
            Some(mut machines) => {
                for (address, spec) in &specs {
                    if let Some(machine) = machines.get_mut(address) {
                        machine.spec = spec.clone();
                    }
                }
                machines
            }
            None => {
                let inspector = SandboxInspector::new(&self.directory, &reality.instance_types);
                let (machines, diagnostics) = resolve(&specs, &Pins::of(state), &inspector, &|machine| {
                    inspected.contains(&machine.spec.address) || !has_started(machine, state)
                });
                missing = diagnostics;
                machines
            }
        };
        // Also of machines whose images are missing: what is wrong is said in one go.
        let left_out =
            if missing.has_errors() { add_missing(&mut machines, &specs) } else { BTreeSet::new() };
        let request = plan::Request {
            mode: if wishes.destroy { Mode::Destroy } else { Mode::Restore },
            machines: &machines,
            state,
            has_state,
            reality: &reality,
            outputs: &outputs,
            configuration: self.config.digest(),
            provider: self.provider.name(),
            replace: &wishes.replace,
            targets: &wishes.targets,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            allow_missing: wishes.allow_missing,
        };
        let asked = plan::ahead(&request);
        let concerns = runtime.block_on(self.provider.preflight(&asked));
        let mut preflight = plan::placed(concerns, &machines, &blocks);
        preflight.extend(interfaces);
        let reality = Reality { preflight, ..reality.clone() };
        let request = plan::Request { reality: &reality, ..request };
        if missing.has_errors() {
            missing.extend(plan::mistakes(&request, &left_out));
            missing.sort_by_place();
            return Err(missing);
        }
        let plan = plan::plan(&request)?;
        Ok((plan, overlays_of(&machines), machines))
    }

    /// Refuses, before anything is made, what this machine cannot do for want of being the access
    /// node. Plans that write nothing run anywhere.
    ///
    /// # Errors
    /// The plan attaches volumes to the access node, and this machine is another one.
    pub fn refuse_elsewhere(
        &self,
        runtime: &tokio::runtime::Runtime,
        plan: &Plan,
    ) -> Result<(), Diagnostics> {
        if !plan.nodes.iter().any(|node| matches!(node.step, plan::Step::Attach)) {
            return Ok(());
        }
        runtime.block_on(self.provider.misplaced()).map_or(Ok(()), |why| Err(why.into()))
    }

    /// The configuration as `apply` asks it, with what the plan's data sources found.
    #[must_use]
    pub fn specs(&self, plan: &Plan) -> Arc<dyn Specs> {
        let data = plan.data.values().map(|read| (read.lookup.clone(), read.found.clone())).collect();
        Arc::new(ConfigSpecs { config: Arc::clone(&self.config), destroys: plan.mode == Mode::Destroy, data })
    }
}

/// Adds the machines whose images cannot be opened, without disks; which they are.
fn add_missing(
    machines: &mut BTreeMap<InstanceAddress, Machine>,
    specs: &BTreeMap<InstanceAddress, InstanceSpec>,
) -> BTreeSet<InstanceAddress> {
    let missing: BTreeSet<InstanceAddress> =
        specs.keys().filter(|address| !machines.contains_key(*address)).cloned().collect();
    for (address, spec) in specs.iter().filter(|(address, _)| missing.contains(*address)) {
        let bare = Machine {
            spec: spec.clone(),
            disks: Vec::new(),
            hardware: None,
            inspection: Inspection::Skipped,
        };
        machines.insert(address.clone(), bare);
    }
    missing
}

/// Why the provider could not be read, at the block that names what was looked for.
fn unread(error: &ProviderError, blocks: &plan::Blocks) -> Diagnostics {
    let is_node = error.code == "NotAnInstance"
        || (error.kind == ProviderErrorKind::NotFound && error.code.starts_with("InvalidInstanceI"));
    // Without an access_node block, it is the provider's.
    let span = blocks.access_node.clone().filter(|_| is_node).or_else(|| blocks.provider.clone());
    crate::apply::error::provider(error).at(span).into()
}

/// The provider that the configuration names, or the one that it is rehearsed on.
fn open_provider(
    directory: &Path,
    evaluated: &Evaluated,
    rehearse: bool,
) -> Result<Arc<dyn Provider>, Diagnostics> {
    let settings = match &evaluated.provider {
        ProviderSpec::Local(settings) => settings.clone(),
        // The cloud to rehearse in keeps EC2's rules; it has zones of its own.
        ProviderSpec::Aws(_) if rehearse => LocalProviderSpec::default(),
        ProviderSpec::Aws(settings) => return open_aws(settings, evaluated),
    };
    let settings = match rehearse {
        true => LocalProviderSpec { directory: directory.join(".replant/rehearsal"), ..settings },
        false => settings,
    };
    // The cloud's directory is already joined to the configuration's.
    let provider =
        LocalProvider::open(&settings, &evaluated.access_node, Path::new("")).map_err(|error| {
            let span = evaluated.provider_span.clone();
            Diagnostics::from(crate::apply::error::provider(&error).at(span))
        })?;
    Ok(Arc::new(provider))
}

#[cfg(feature = "aws")]
fn open_aws(settings: &AwsProviderSpec, evaluated: &Evaluated) -> Result<Arc<dyn Provider>, Diagnostics> {
    Ok(Arc::new(crate::provider::aws::AwsProvider::new(settings, &evaluated.access_node)))
}

#[cfg(not(feature = "aws"))]
fn open_aws(_: &AwsProviderSpec, evaluated: &Evaluated) -> Result<Arc<dyn Provider>, Diagnostics> {
    Err(Diagnostics::from(
        Diagnostic::error("config::provider_missing", "this build does not have the provider")
            .at(evaluated.provider_span.clone())
            .detail("This Replant was built without the feature `aws`, so it cannot speak to EC2.")
            .help("use a build with it:\ncargo install --path . --features aws")
            .help("or rehearse the restore on this machine:\nreplant apply --rehearse"),
    ))
}

fn is_renewal(action: Action) -> bool {
    matches!(action, Action::Create | Action::Replace)
}

/// Whether a machine has started from its volumes, so that nothing in its guest is changed by a
/// plan and nobody needs to look.
fn has_started(machine: &Machine, state: &State) -> bool {
    let instance = plan::instance::of_state(state, &machine.spec.address);
    let all_volumes = machine.disks.iter().all(|disk| {
        let address = machine.spec.address.volume(disk.spec.name.as_str());
        plan::volume::of_state(state, &address).is_some_and(|volume| volume.started)
    });
    all_volumes
        && instance.is_some_and(|instance| instance.phase == LaunchPhase::Started && !instance.tainted)
}

/// Machines that a plan writes although nobody looked into their guests.
fn written_uninspected(
    plan: &Plan,
    machines: &BTreeMap<InstanceAddress, Machine>,
) -> BTreeSet<InstanceAddress> {
    plan.nodes
        .iter()
        .filter(|node| matches!(node.step, plan::Step::Write(_)))
        .map(|node| &node.address.instance)
        .filter(|address| {
            machines.get(*address).is_some_and(|machine| {
                machine.spec.guest.drivers == DriversPolicy::Auto
                    && matches!(machine.inspection, Inspection::Skipped)
            })
        })
        .cloned()
        .collect()
}

fn overlays_of(machines: &BTreeMap<InstanceAddress, Machine>) -> Overlays {
    let mut overlays = Overlays::new();
    for (address, machine) in machines {
        if let Inspection::Done(prepared) = &machine.inspection {
            for (disk, overlay) in &prepared.overlays {
                overlays.insert((address.clone(), disk.clone()), overlay.clone());
            }
        }
    }
    overlays
}

/// What the state knows, as the configuration's references see it.
#[must_use]
pub fn known(state: &State, renewed: &BTreeSet<InstanceAddress>) -> KnownFacts {
    let mut known = KnownFacts::default();
    for (address, resource) in &state.resources {
        if renewed.contains(&address.instance) {
            continue;
        }
        let facts = known.instances.entry(address.instance.clone()).or_default();
        match resource {
            Resource::Instance(instance) => {
                facts.id = Some(instance.id.to_string());
                facts.private_ip = instance.private_ip.map(|ip| ip.to_string());
                facts.zone = Some(instance.zone.clone());
                facts.state = Some(instance.state.clone());
            }
            Resource::Volume(volume) => {
                let disk = address.part.disk().unwrap_or_default().to_owned();
                let facts = facts.volumes.entry(disk).or_default();
                facts.id = Some(volume.id.to_string());
                facts.size = Some(volume.size);
            }
            Resource::Image(image) => facts.image_id = Some(image.id.to_string()),
            Resource::Snapshot(_) => {}
        }
    }
    known
}

struct ConfigSpecs {
    config: Arc<Config>,
    destroys: bool,
    data: BTreeMap<Lookup, Found>,
}

impl ConfigSpecs {
    fn evaluate(&self, state: &State) -> Result<Evaluated, Diagnostic> {
        let known = KnownFacts { data: self.data.clone(), ..known(state, &BTreeSet::new()) };
        let (evaluated, diagnostics) = self.config.evaluate(&known);
        match diagnostics.into_iter().find(Diagnostic::is_error) {
            Some(error) => Err(error),
            None => Ok(evaluated),
        }
    }
}

impl Specs for ConfigSpecs {
    fn instance(&self, address: &InstanceAddress, state: &State) -> Result<InstanceSpec, Diagnostic> {
        self.evaluate(state)?.instances.remove(address).ok_or_else(|| {
            Diagnostic::error("apply::not_configured", "An instance is not in the configuration")
                .detail(format!("{address} is in the plan and not in the configuration."))
                .help("plan again")
        })
    }

    fn outputs(&self, state: &State) -> Result<BTreeMap<String, Output>, Diagnostic> {
        if self.destroys {
            return Ok(BTreeMap::new());
        }
        let outputs = self.evaluate(state)?.outputs;
        Ok(outputs
            .into_iter()
            .map(|(name, output)| {
                let value = output.value.filter(|_| !output.sensitive);
                (name, Output { value, sensitive: output.sensitive })
            })
            .collect())
    }
}
