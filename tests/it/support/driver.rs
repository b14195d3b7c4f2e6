//! `apply` and `destroy` inside the test, on a provider of the test's choice: what the command does
//! between its arguments and its exit code.
#![allow(dead_code)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use replant::apply::{self, Cancel, Event, Limits, Observer, Receipt};
use replant::cli::apply::{RunArguments, Session, not_about_a_node};
use replant::cli::plan::{has_state, runtime};
use replant::cli::workspace::{Wishes, Workspace, WorkspaceArguments};
use replant::diagnostic::Diagnostics;
use replant::plan::{Overlays, Plan};
use replant::provider::Provider;
use replant::state::{Lock, Store};

/// Keeps what is told.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<Event>>);

impl Observer for Told {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// How it came out: how many steps were planned and what came of them, or why there was no plan.
pub type Outcome = Result<(usize, Receipt), Diagnostics>;

/// Restores what the directory's configuration says (or destroys it), as `replant apply
/// --auto-approve` would; `wrap` stands before the configuration's provider.
pub fn run(
    directory: &Path,
    destroy: bool,
    limits: Limits,
    wrap: &dyn Fn(Arc<dyn Provider>) -> Arc<dyn Provider>,
) -> Outcome {
    let mut workspace = Workspace::open(directory, &WorkspaceArguments::default(), destroy)?;
    workspace.provider = wrap(Arc::clone(&workspace.provider));
    let runtime = runtime()?;
    let failed = |error: replant::state::StateError| Diagnostics::from(error.diagnostic());
    let lock = Lock::acquire(&workspace.paths, "apply").map_err(failed)?;
    let had_state = has_state(&Store::read(&workspace.paths).map_err(failed)?);
    let store = Arc::new(Store::open(&workspace.paths, &lock).map_err(failed)?);
    let cancel = Cancel::default();
    let observer: Arc<dyn Observer> = Arc::new(Told::default());
    let session = Session { workspace: &workspace, store: &store, cancel: &cancel, observer: &observer };
    let context = |plan: Plan, overlays: Overlays| {
        let mut context = session.context(plan, overlays, &RunArguments::quiet());
        context.options.parallelism = 10;
        context.options.limits = limits;
        Arc::new(context)
    };
    let settles = !store.pending().is_empty()
        || store.cut_off().is_some()
        || store.state().resources.values().any(
            |resource| matches!(resource, replant::state::Resource::Volume(volume) if volume.slot.is_some()),
        );
    if settles {
        let node = runtime.block_on(workspace.provider.access_node());
        let node = node.map_err(|error| Diagnostics::from(apply::error::provider(&error)))?;
        let context = context(Plan::nothing(workspace.provider.name(), &node), Overlays::new());
        runtime.block_on(apply::recover(&context)).map_err(|error| not_about_a_node(&error))?;
    }
    store.commit().map_err(failed)?;
    let wishes = Wishes { destroy, ..Wishes::default() };
    let (plan, overlays) = workspace.plan(&runtime, &store.state(), had_state || settles, &wishes)?;
    let steps = plan.nodes.len();
    let receipt = runtime.block_on(apply::run(context(plan, overlays)));
    receipt.map(|receipt| (steps, receipt)).map_err(|error| not_about_a_node(&error))
}
