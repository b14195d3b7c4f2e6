//! `replant plan`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::Exit;
use super::terminal;
use super::twins;
use super::workspace::{Wishes, Workspace, WorkspaceArguments};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::model::{Address, InstanceAddress};
use crate::plan::{Overlays, Plan, saved};
use crate::state::{State, Store};
use crate::ui::human::plan::render_plan_as;
use crate::ui::json;

/// What a plan is asked for, on the command line.
#[derive(Debug, Clone, Default, Args)]
pub struct PlanArguments {
    /// Plan the end of everything.
    #[arg(long)]
    pub destroy: bool,
    /// Look at this instance and what it depends on only; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub target: Vec<InstanceAddress>,
    /// Make this instance or volume anew; may be repeated.
    #[arg(long, value_name = "ADDRESS")]
    pub replace: Vec<Address>,
    /// Whether the provider is asked what exists now.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub refresh: bool,
    /// Go on without components that a Windows guest should have, where it is expected to boot
    /// without them.
    #[arg(long)]
    pub allow_missing: bool,
    /// Without a state, make everything even though another workspace has resources of the same
    /// addresses here.
    #[arg(long)]
    pub second_set: bool,
    /// Lines of context around changes in guest files.
    #[arg(long, value_name = "LINES", default_value_t = 3)]
    pub context: usize,
    /// The configuration's variables.
    #[command(flatten)]
    pub variables: WorkspaceArguments,
}

impl PlanArguments {
    /// What stands beside: see [`twins::of_lost_state`]. Nothing in a rehearsal, whose sets harm
    /// nobody, and when a second set was asked for.
    ///
    /// # Errors
    /// As there.
    pub fn twins(
        &self,
        workspace: &Workspace,
        runtime: &tokio::runtime::Runtime,
        state: &State,
        saved: Option<&Plan>,
        severity: Severity,
    ) -> Result<Option<Diagnostic>, Diagnostics> {
        if self.second_set || self.destroy || self.variables.rehearse {
            return Ok(None);
        }
        twins::of_lost_state(workspace, runtime, state, saved, severity)
    }

    /// As the planner wants them.
    #[must_use]
    pub fn wishes(&self) -> Wishes {
        Wishes {
            destroy: self.destroy,
            replace: self.replace.iter().cloned().collect(),
            targets: self.target.iter().cloned().collect(),
            no_refresh: !self.refresh,
            allow_missing: self.allow_missing,
        }
    }
}

/// Shows what `apply` would do, down to the files inside the guests.
#[derive(Debug, Clone, Args)]
pub struct PlanCommand {
    /// What to plan.
    #[command(flatten)]
    pub plan: PlanArguments,
    /// Save the plan, for `replant apply FILE`. It holds blocks of the guests: keep it private.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 2 when there is something to do.
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// A runtime for the provider's calls and the executor.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Diagnostics> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Diagnostics::from(
            Diagnostic::error("run::no_threads", "No threads can be started")
                .detail(error.to_string())
                .help("raise the limit of processes (ulimit -u) and try again"),
        )
    })
}

/// Plans and prints.
#[must_use]
pub fn run(directory: &Path, command: &PlanCommand) -> Exit {
    match plan(directory, command) {
        Ok((plan, overlays)) => show(&plan, &overlays, command),
        Err(diagnostics) => {
            terminal::print_diagnostics(&diagnostics, command.json);
            Exit::Failure
        }
    }
}

fn plan(directory: &Path, command: &PlanCommand) -> Result<(Plan, Overlays), Diagnostics> {
    let workspace = Workspace::open(directory, &command.plan.variables, command.plan.destroy)?;
    let runtime = runtime()?;
    let state = Store::read(&workspace.paths).map_err(|error| Diagnostics::from(error.diagnostic()))?;
    let (mut plan, overlays) = workspace.plan(&runtime, &state, has_state(&state), &command.plan.wishes())?;
    plan.notes.extend(command.plan.twins(&workspace, &runtime, &state, None, Severity::Warning)?);
    Ok((plan, overlays))
}

/// Whether a state that was read exists: one that does not has no lineage yet.
#[must_use]
pub fn has_state(state: &State) -> bool {
    !state.lineage.is_empty()
}

fn show(plan: &Plan, overlays: &Overlays, command: &PlanCommand) -> Exit {
    if command.json {
        terminal::print(&json::render_plan(plan));
    } else {
        terminal::print(&render_plan_as(plan, command.plan.context, terminal::stdout_look()));
    }
    if let Some(path) = &command.out {
        if let Err(error) = saved::save(path, plan, overlays) {
            terminal::print_diagnostic(&error.diagnostic(), command.json);
            return Exit::Failure;
        }
        if !command.json {
            terminal::print(&format!(
                "\nThe plan is saved. It holds blocks of the guests' disks: keep it private. To do exactly this:\n\n    replant apply {}\n",
                shell_word(&path.to_string_lossy())
            ));
        }
    } else if !command.json && !plan.is_empty() {
        terminal::print(
            "\nNote: this plan was not saved (--out FILE), so `replant apply` plans again and shows what it will do then.\n",
        );
    }
    if command.detailed_exitcode && !plan.is_empty() { Exit::Changes } else { Exit::Success }
}

/// A word that a shell takes as one.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
