//! `replant apply` and `replant destroy`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Args;

use super::exit::Exit;
use super::plan::{PlanArguments, has_state, runtime};
use super::terminal;
use super::workspace::Workspace;
use crate::apply::{self, Cancel, Context, Limits, Observer, Options, Receipt, Tally};
use crate::copy::Budget;
use crate::diagnostic::chain;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::image;
use crate::observe::as_recorded;
use crate::plan::build::resources_digest;
use crate::plan::{Mode, Overlays, Plan, saved};
use crate::sandbox::Parcel;
use crate::state::{Lock, Resource, State, Store};
use crate::ui::human::plan::render_plan_as;

/// Writes at once: each has threads and buffers of its own, and two keep a link busy while one of
/// them flushes.
const WRITES: usize = 3;
/// Memory of all writes together.
const MEMORY: u64 = 128 << 20;

/// How a run goes.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Do not ask.
    #[arg(long)]
    pub auto_approve: bool,
    /// Steps at once.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub parallelism: usize,
    /// Read every volume back after writing it.
    #[arg(long)]
    pub verify: bool,
    /// Most bytes a second that are written in all, in MiB.
    #[arg(long, value_name = "MIB")]
    pub bandwidth_limit: Option<std::num::NonZeroU64>,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

impl RunArguments {
    /// For commands that change single resources and write no disks.
    #[must_use]
    pub fn quiet() -> Self {
        Self { auto_approve: true, parallelism: 1, verify: false, bandwidth_limit: None, json: false }
    }
}

/// Does what the plan says: a saved one, or one that it makes and shows first.
#[derive(Debug, Clone, Args)]
pub struct ApplyCommand {
    /// A saved plan.
    #[arg(value_name = "PLAN")]
    pub saved: Option<PathBuf>,
    /// What to plan, without a saved plan.
    #[command(flatten)]
    pub plan: PlanArguments,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArguments,
}

/// Destroys everything that is in the state.
#[derive(Debug, Clone, Args)]
pub struct DestroyCommand {
    /// What to plan.
    #[command(flatten)]
    pub plan: PlanArguments,
    /// How the run goes.
    #[command(flatten)]
    pub run: RunArguments,
}

/// Destroys.
#[must_use]
pub fn destroy(directory: &Path, command: &DestroyCommand) -> Exit {
    let plan = PlanArguments { destroy: true, ..command.plan.clone() };
    run(directory, &ApplyCommand { saved: None, plan, run: command.run.clone() })
}

/// Applies.
#[must_use]
pub fn run(directory: &Path, command: &ApplyCommand) -> Exit {
    match apply(directory, command) {
        Ok(exit) => exit,
        Err(diagnostics) => {
            terminal::print_diagnostics(&diagnostics, command.run.json);
            Exit::Failure
        }
    }
}

fn apply(directory: &Path, command: &ApplyCommand) -> Result<Exit, Diagnostics> {
    let one = |diagnostic: Diagnostic| Diagnostics::from(diagnostic);
    let saved = match &command.saved {
        Some(path) => Some(saved::load(path).map_err(|error| one(error.diagnostic()))?),
        None => None,
    };
    let workspace = Workspace::open(directory, &command.plan.variables, command.plan.destroy)?;
    let runtime = runtime()?;
    let verb = if command.plan.destroy { "destroy" } else { "apply" };
    let lock = Lock::acquire(&workspace.paths, verb).map_err(|error| one(error.diagnostic()))?;
    let before = Store::read(&workspace.paths).map_err(|error| one(error.diagnostic()))?;
    let had_state = has_state(&before);
    if let Some((plan, _)) = &saved {
        check_binding(plan, &before, had_state, &workspace)?;
    }
    let planned = saved.as_ref().map(|(plan, _)| plan);
    if let Some(diagnostic) = command.plan.twins(&workspace, &runtime, &before, planned, Severity::Error)? {
        return Err(one(diagnostic));
    }
    let store = Arc::new(Store::open(&workspace.paths, &lock).map_err(|error| one(error.diagnostic()))?);
    let cancel = Cancel::default();
    let observer = terminal::observer(command.run.json);
    let session = Session { workspace: &workspace, store: &store, cancel: &cancel, observer: &observer };
    let context = |plan: Plan, overlays: Overlays| session.context(plan, overlays, &command.run);
    let settles = !store.pending().is_empty() || store.cut_off().is_some() || left_work(&store.state());
    if settles {
        let nothing = runtime
            .block_on(workspace.provider.access_node())
            .map_err(|error| one(apply::error::provider(&error)))?;
        let context = context(Plan::nothing(workspace.provider.name(), &nothing), Overlays::new());
        runtime.block_on(apply::recover(&context)).map_err(|error| not_about_a_node(&error))?;
        if let Some((plan, _)) = &saved
            && plan.binding.resources != resources_digest(&store.state())?
        {
            store.commit().map_err(|error| one(error.diagnostic()))?;
            return Err(stale(
                "an earlier run had not ended, and what it had begun is settled now".to_owned(),
            ));
        }
    }
    // A crashed run's journal becomes the state before anything new is begun.
    store.commit().map_err(|error| one(error.diagnostic()))?;
    let is_saved = saved.is_some();
    let (plan, overlays) = match saved {
        Some(saved) => saved,
        None => workspace.plan(&runtime, &store.state(), had_state || settles, &command.plan.wishes())?,
    };
    if !is_saved && !command.run.json {
        terminal::print(&render_plan_as(&plan, command.plan.context, terminal::stdout_look()));
    }
    workspace.refuse_elsewhere(&runtime, &plan)?;
    let nothing_to_do = plan.is_empty();
    if nothing_to_do && !command.run.json {
        return Ok(Exit::Success);
    }
    if !is_saved && !nothing_to_do && !command.run.auto_approve && !approve(&plan, command.run.json)? {
        terminal::say("\nNothing was done.\n");
        return Ok(Exit::Failure);
    }
    let context = Arc::new(context(plan, overlays));
    let receipt = runtime.block_on(async {
        let watcher = tokio::spawn(interrupts(cancel.clone()));
        let receipt = apply::run(context).await;
        watcher.abort();
        receipt
    });
    let receipt = receipt.map_err(|error| not_about_a_node(&error))?;
    Ok(exit_of(&receipt))
}

/// What a run changes things with.
pub struct Session<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// Its state, locked.
    pub store: &'a Arc<Store>,
    /// The interrupt.
    pub cancel: &'a Cancel,
    /// Who wants to know.
    pub observer: &'a Arc<dyn Observer>,
}

impl Session<'_> {
    /// The executor's context for a plan.
    #[must_use]
    pub fn context(&self, plan: Plan, overlays: Overlays, run: &RunArguments) -> Context {
        Context {
            specs: self.workspace.specs(&plan),
            plan: Arc::new(plan),
            overlays,
            provider: Arc::clone(&self.workspace.provider),
            store: Arc::clone(self.store),
            observer: Arc::clone(self.observer),
            cancel: self.cancel.clone(),
            options: Options {
                parallelism: run.parallelism,
                verify: run.verify,
                directory: self.workspace.directory.clone(),
                threads: None,
                limits: Limits::default(),
            },
            budget: Arc::new(Budget::new(
                MEMORY,
                run.bandwidth_limit.map(|mib| mib.saturating_mul(MEBIBYTE)),
            )),
            writers: tokio::sync::Semaphore::new(WRITES),
            tally: Mutex::new(Tally::default()),
        }
    }
}

/// Bytes of a MiB.
const MEBIBYTE: std::num::NonZeroU64 = std::num::NonZeroU64::MIN.saturating_add((1 << 20) - 1);

/// Whether an earlier run left volumes in slots, or an instance from an image half recorded.
fn left_work(state: &State) -> bool {
    state.resources.values().any(|resource| match resource {
        Resource::Volume(volume) => volume.slot.is_some() || volume.predecessor.is_some(),
        Resource::Instance(instance) => instance.adopting,
        Resource::Snapshot(_) | Resource::Image(_) => false,
    })
}

/// What an error says that is about no node of a plan.
#[must_use]
pub fn not_about_a_node(error: &apply::ApplyError) -> Diagnostics {
    let nowhere = crate::model::InstanceAddress::new("unknown").part(crate::model::Part::Instance);
    let mut diagnostic = error.diagnostic(&nowhere);
    diagnostic.address = None;
    diagnostic.into()
}

fn exit_of(receipt: &Receipt) -> Exit {
    match receipt {
        Receipt { interrupted: true, .. } => Exit::Interrupted,
        Receipt { complete: true, .. } => Exit::Success,
        Receipt { .. } => Exit::Failure,
    }
}

/// The first Ctrl-C lets running steps finish, the second stops at once.
async fn interrupts(cancel: Cancel) {
    loop {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        cancel.interrupt();
    }
}

/// Asks; only `yes` is yes.
fn approve(plan: &Plan, json: bool) -> Result<bool, Diagnostics> {
    let question = match plan.mode {
        Mode::Restore => "Do you want to do this?",
        Mode::Destroy => "Do you really want to destroy all of this? There is no undo.",
    };
    let helps = [
        "look at a saved plan first, then apply exactly that:\nreplant plan --out plan.replant",
        "or say yes beforehand: --auto-approve",
    ];
    terminal::ask(question, "The plan needs a yes", &helps, json)
}

/// A saved plan runs only on exactly what it was made from (promise 3).
fn check_binding(
    plan: &Plan,
    state: &State,
    has_state: bool,
    workspace: &Workspace,
) -> Result<(), Diagnostics> {
    let binding = &plan.binding;
    let mut moved = Vec::new();
    if binding.configuration != workspace.config.digest() {
        moved.push("the configuration or a variable's value changed".to_owned());
    }
    if plan.provider != workspace.provider.name() {
        moved.push(format!("it is for the provider \"{}\"", plan.provider));
    }
    let lineage = has_state.then(|| state.lineage.clone());
    if binding.lineage != lineage {
        moved.push("the state is another one".to_owned());
    } else if binding.serial != state.serial || binding.resources != resources_digest(state)? {
        moved.push(format!(
            "the state changed (serial {}, the plan's is {}); a plan runs once",
            state.serial, binding.serial
        ));
    }
    for image in &binding.images {
        match image::open(&image.path, &as_recorded(image)) {
            Ok(opened) if opened.identity().digest() == image.identity => {}
            Ok(_) => moved.push(format!("{} is another file, or changed", image.path)),
            Err(error) => moved.push(format!("{}: {error}", image.path)),
        }
    }
    for components in &binding.components {
        let folder = components.path.display();
        match Parcel::open(&components.path) {
            Ok(parcel) if parcel.digest() == components.digest => {}
            Ok(_) => moved.push(format!("the components in {folder} changed")),
            Err(error) => moved.push(chain(&error)),
        }
    }
    if moved.is_empty() { Ok(()) } else { Err(stale(moved.join("\n"))) }
}

fn stale(moved: String) -> Diagnostics {
    Diagnostic::error("plan::stale", "What the plan was made from moved")
        .detail(moved)
        .help("plan again, look at it, and apply that:\nreplant plan --out plan.replant")
        .into()
}
