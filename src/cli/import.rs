//! `replant import`: takes an instance or a volume that exists into the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::apply::{RunArguments, Session};
use super::exit::Exit;
use super::plan::runtime;
use super::workspace::{Workspace, WorkspaceArguments};
use super::{state, terminal};
use crate::apply::{self, Cancel, Context};
use crate::config::format_text;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::{Address, Part};
use crate::observe::unsaid::{self, Body};
use crate::observe::{Machine, adopt};
use crate::plan::{Overlays, Plan};
use crate::provider::{
    AccessNode, Filter, InstanceId, Provider, ProviderError, TAG_ADDRESS, TAG_WORKSPACE, TagMap, VolumeId,
    VolumeView,
};
use crate::state::format::v1::LaunchPhase;
use crate::state::{Lock, Resource, State, StateChange, Store};
use crate::ui::human::unsaid::render_unsaid;
use crate::ui::human::value::quoted;

/// Takes an instance with its volumes, or one volume, that exists already into the state. Nothing of
/// it changes but its tags.
#[derive(Debug, Clone, Args)]
pub struct Import {
    /// Which workspace.
    #[command(flatten)]
    pub workspace: WorkspaceArguments,
    /// The address in the configuration: `instance.web`, `instance.web.volume.data`.
    pub address: Address,
    /// The instance's or volume's id.
    pub id: String,
    /// Which volume is which disk, where their order does not tell.
    #[arg(long = "disk", value_name = "NAME=VOLUME", value_parser = disk)]
    pub disks: Vec<(String, String)>,
    /// Take it though it carries another workspace's tags.
    #[arg(long)]
    pub take_over: bool,
}

fn disk(text: &str) -> Result<(String, String), String> {
    let (name, id) = text.split_once('=').ok_or("say NAME=VOLUME, as in data=vol-0123456789abcdef0")?;
    Ok((name.to_owned(), id.to_owned()))
}

/// Imports.
#[must_use]
pub fn run(directory: &Path, command: &Import) -> Exit {
    terminal::finish(import(directory, command), false)
}

fn import(directory: &Path, command: &Import) -> Result<String, Diagnostics> {
    let workspace = Workspace::open(directory, &command.workspace, false)?;
    let runtime = runtime()?;
    let lock = Lock::acquire(&workspace.paths, "import").map_err(|error| error.diagnostic())?;
    let store = Arc::new(Store::open(&workspace.paths, &lock).map_err(|error| error.diagnostic())?);
    if let Some(intent) = store.pending().first() {
        return Err(state::unfinished(intent).into());
    }
    let now = store.state();
    let machines = workspace.machines(&runtime, &now)?;
    let machine = machines.get(&command.address.instance).ok_or_else(|| not_configured(&command.address))?;
    let provider = &*workspace.provider;
    let failed = |error: ProviderError| Diagnostics::from(apply::error::provider(&error));
    let node = runtime.block_on(provider.access_node()).map_err(failed)?;
    let wanted = Wanted { command, machine, state: &now, node: &node, provider };
    let found = match command.address.part {
        Part::Instance => runtime.block_on(wanted.instance()),
        Part::Volume(_) => runtime.block_on(wanted.volume()),
        _ => Err(Failure::from(
            Diagnostic::error("import::no_resource", "This is no resource")
                .detail(format!("{} is a step; instances and volumes can be imported.", command.address))
                .help(format!("replant import '{}' {}", command.address.instance, command.id)),
        )),
    };
    let found = found.map_err(|failure| match failure {
        Failure::Refused(diagnostic) => Diagnostics::from(*diagnostic),
        Failure::Provider(error) => failed(error),
    })?;
    let (cancel, observer) = (Cancel::default(), terminal::observer(false));
    let session = Session { workspace: &workspace, store: &store, cancel: &cancel, observer: &observer };
    let nothing = Plan::nothing(provider.name(), &node);
    let context = session.context(nothing, Overlays::new(), &RunArguments::quiet());
    let name = provider.name().to_owned();
    let recorded = runtime.block_on(record(&context, name, &found.resources));
    store.commit().map_err(|error| error.diagnostic())?;
    recorded.map_err(|error| super::apply::not_about_a_node(&error))?;
    Ok(said(&found, machine))
}

/// Tags first: whatever is in the state also says so itself.
async fn record(
    context: &Context,
    provider: String,
    found: &[(Address, Resource)],
) -> Result<(), apply::ApplyError> {
    for (address, resource) in found {
        context.claim(address, resource.id()).await?;
    }
    let puts = found
        .iter()
        .map(|(address, resource)| StateChange::Put { address: address.clone(), resource: resource.clone() });
    context.change(puts.chain([StateChange::Provider { name: provider }]).collect()).await
}

fn said(taken: &Taken, machine: &Machine) -> String {
    let found = &taken.resources;
    let mut text = String::new();
    for (address, resource) in found {
        text.push_str(&format!("{address} is {}\n", resource.id()));
    }
    let missing: Vec<&str> = machine
        .disks
        .iter()
        .map(|disk| disk.spec.name.as_str())
        .filter(|name| !found.iter().any(|(address, _)| address.part.disk() == Some(name)))
        .collect();
    if found.len() > 1 && !missing.is_empty() {
        text.push_str(&format!("without a volume: disk {}\n", missing.join(", ")));
    }
    if !taken.unsaid.is_empty() {
        text.push_str(
            "\nIt has what the configuration does not say. What shall stay so, copy into its block; of the rest, what Replant manages is changed by the next apply, as its plan shows:\n\n",
        );
        let block = render_unsaid(&machine.spec.address.name, &taken.unsaid);
        text.push_str(&format_text("import".into(), &block).unwrap_or(block));
    }
    text.push_str(
        "\nWhat is on it counts as newer than any backup: it is never written to unless --replace asks for it.\nSee what differs from the configuration:\n\n    replant plan\n",
    );
    text
}

fn not_configured(address: &Address) -> Diagnostics {
    let name = &address.instance.name;
    Diagnostic::error("import::not_configured", "The configuration has no such instance")
        .detail(format!("{} is not in it; what is imported is compared with its block from then on.", address.instance))
        .help(format!(
            "write its block first:\ninstance \"{name}\" {{\n  instance_type = \"…\"\n  disk \"root\" {{}}\n}}"
        ))
        .into()
}

enum Failure {
    Refused(Box<Diagnostic>),
    Provider(ProviderError),
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Refused(Box::new(diagnostic))
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

/// What is taken into the state, and what of it the configuration does not say.
struct Taken {
    resources: Vec<(Address, Resource)>,
    unsaid: Body,
}

/// What is asked for.
struct Wanted<'a> {
    command: &'a Import,
    machine: &'a Machine,
    state: &'a State,
    node: &'a AccessNode,
    provider: &'a dyn Provider,
}

impl Wanted<'_> {
    async fn instance(&self) -> Result<Taken, Failure> {
        let (address, id) = (&self.command.address, InstanceId(self.command.id.clone()));
        self.refuse_known(address, &id.0)?;
        if id == self.node.instance_id {
            return Err(Diagnostic::error("import::access_node", "The access node cannot be imported")
                .detail(format!("{id} is the access node: Replant would come to destroy what it runs on."))
                .into());
        }
        let found = self.provider.instances(&Filter::id(&id)).await?;
        let view = found
            .into_iter()
            .find(|view| !view.state.is_ending())
            .ok_or_else(|| not_found(&id.0, "instance"))?;
        self.refuse_foreign(&id.0, &view.tags)?;
        let names = self.names(&adopt::in_order(&view))?;
        let ids = names.values().map(ToString::to_string).collect();
        let volumes = match names.is_empty() {
            true => Vec::new(),
            false => self.provider.volumes(&Filter { ids, ..Filter::default() }).await?,
        };
        let mut resources = Vec::new();
        let mut unsaid = unsaid::instance(&view, &self.machine.spec);
        let tags = view.tags.clone();
        for (disk, id) in &names {
            let view =
                volumes.iter().find(|view| view.id == *id).ok_or_else(|| not_found(&id.0, "volume"))?;
            let address = address.instance.volume(disk.as_str());
            self.refuse_known(&address, &id.0)?;
            self.refuse_foreign(&id.0, &view.tags)?;
            resources.push((address, self.adopted(view, disk)));
            self.unsaid(view, disk, &tags, &mut unsaid);
        }
        let types = self.provider.instance_types(&[view.instance_type.clone()].into()).await?;
        let disks = self.machine.disks.iter().map(|disk| disk.spec.name.clone()).collect();
        let facts = types.get(&view.instance_type);
        let instance = adopt::instance(&view, facts, Some(&self.machine.spec), disks, LaunchPhase::Started);
        resources.insert(0, (address.clone(), Resource::Instance(Box::new(instance))));
        Ok(Taken { resources, unsaid })
    }

    /// Adds what the configuration does not say of a disk's volume.
    fn unsaid(&self, view: &VolumeView, disk: &str, of_instance: &TagMap, to: &mut Body) {
        let body = unsaid::volume(view, self.machine, disk, of_instance);
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            to.blocks.push((format!("disk {}", quoted(disk)), body));
        }
    }

    async fn volume(&self) -> Result<Taken, Failure> {
        let (address, id) = (&self.command.address, VolumeId(self.command.id.clone()));
        let disk = address.part.disk().unwrap_or_default();
        if !self.machine.disks.iter().any(|known| known.spec.name == disk) {
            return Err(Diagnostic::error("import::no_such_disk", "The instance has no such disk")
                .detail(format!("{} has {}.", address.instance, self.disk_names()))
                .help(format!("add a block to it:\ndisk \"{disk}\" {{}}"))
                .into());
        }
        self.refuse_known(address, &id.0)?;
        let found = self.provider.volumes(&Filter::id(&id)).await?;
        let view = found
            .into_iter()
            .find(|view| !view.state.is_ending())
            .ok_or_else(|| not_found(&id.0, "volume"))?;
        self.refuse_foreign(&id.0, &view.tags)?;
        self.refuse_nodes_own(&view)?;
        let mut unsaid = Body::default();
        self.unsaid(&view, disk, &self.machine.spec.tags, &mut unsaid);
        Ok(Taken { resources: vec![(address.clone(), self.adopted(&view, disk))], unsaid })
    }

    /// What the access node runs from, or is in one of its slots for somebody else.
    fn refuse_nodes_own(&self, view: &VolumeView) -> Result<(), Failure> {
        let attachment = view.attachment.as_ref();
        let Some(at) = attachment.filter(|at| at.instance_id == self.node.instance_id) else {
            return Ok(());
        };
        Err(Diagnostic::error("import::access_nodes_volume", "The access node's volumes cannot be imported")
            .detail(format!(
                "{} is attached to the access node {} as {}: Replant would come to write to what it runs on.",
                view.id, at.instance_id, at.device
            ))
            .help("when it is not the node's own, detach it there first")
            .into())
    }

    fn adopted(&self, view: &VolumeView, disk: &str) -> Resource {
        Resource::Volume(Box::new(adopt::volume(view, Some(self.machine), disk, true)))
    }

    fn disk_names(&self) -> String {
        let names: Vec<&str> = self.machine.disks.iter().map(|disk| disk.spec.name.as_str()).collect();
        format!("the disks {}", names.join(", "))
    }

    /// Which volume is which disk: as said, else in order.
    fn names(&self, attached: &[(String, VolumeId)]) -> Result<BTreeMap<String, VolumeId>, Failure> {
        let mut names: BTreeMap<String, VolumeId> = BTreeMap::new();
        for (disk, id) in &self.command.disks {
            let is_disk = self.machine.disks.iter().any(|known| known.spec.name == *disk);
            let is_attached = attached.iter().any(|(_, known)| known.0 == *id);
            if !is_disk || !is_attached {
                let what =
                    if is_disk { "no volume of this instance" } else { "no disk of the configuration" };
                return Err(Diagnostic::error("import::no_such_disk", "A disk is matched with nothing")
                    .detail(format!(
                        "--disk {disk}={id} names {what}. The instance has {}; the configuration has {}.",
                        listed(attached),
                        self.disk_names()
                    ))
                    .into());
            }
            names.insert(disk.clone(), VolumeId(id.clone()));
        }
        let rest = attached.iter().filter(|(_, id)| !names.values().any(|known| known == id));
        let rest: Vec<(String, VolumeId)> = rest.cloned().collect();
        let mut free = self.machine.disks.iter().map(|disk| &disk.spec.name);
        for (device, id) in rest {
            let Some(disk) = free.by_ref().find(|disk| !names.contains_key(*disk)) else {
                return Err(Diagnostic::error(
                    "import::unknown_volume",
                    "The instance has more volumes than disks",
                )
                .detail(format!(
                    "{id} ({device}) matches no disk: the instance has {}, the configuration has {}.",
                    listed(attached),
                    self.disk_names()
                ))
                .help("add a disk block for it, or detach it first")
                .into());
            };
            names.insert(disk.clone(), id);
        }
        Ok(names)
    }

    /// Nothing is in the state twice, and nothing in it is replaced by an import.
    fn refuse_known(&self, address: &Address, id: &str) -> Result<(), Failure> {
        let known =
            self.state.resources.iter().find(|(known, resource)| **known == *address || resource.id() == id);
        let Some((known, resource)) = known else { return Ok(()) };
        Err(Diagnostic::error("import::known", "It is in the state already")
            .about(known)
            .detail(format!("{known} is {}.", resource.id()))
            .help(format!("when the state is wrong, let it forget that first:\nreplant state rm '{known}'"))
            .into())
    }

    fn refuse_foreign(&self, id: &str, tags: &TagMap) -> Result<(), Failure> {
        let Some(lineage) = tags.get(TAG_WORKSPACE).filter(|lineage| **lineage != self.state.lineage) else {
            return Ok(());
        };
        if self.command.take_over {
            return Ok(());
        }
        let made_for = tags.get(TAG_ADDRESS).map(|address| format!(" as {address}")).unwrap_or_default();
        Err(Diagnostic::error("import::other_workspace", "It belongs to another workspace")
            .detail(format!("{id} carries the tags of the workspace {lineage}{made_for}. Two states that hold one resource undo each other's work."))
            .help("let the other state forget it (replant state rm, there), then say so here: --take-over")
            .into())
    }
}

fn listed(attached: &[(String, VolumeId)]) -> String {
    let volumes: Vec<String> = attached.iter().map(|(device, id)| format!("{id} ({device})")).collect();
    match volumes.is_empty() {
        true => "no volumes".to_owned(),
        false => format!("the volumes {}", volumes.join(", ")),
    }
}

fn not_found(id: &str, kind: &str) -> Failure {
    Diagnostic::error("import::not_found", "There is no such resource")
        .detail(format!("The provider knows no {kind} {id}, in this account and region."))
        .into()
}
