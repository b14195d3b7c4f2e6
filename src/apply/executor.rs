//! The executor: runs whatever is ready, as many at once as allowed; what failed stops only what
//! needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;

use super::recover::is_all_known;
use super::seat::Seat;
use super::slots::Slots;
use super::{ApplyError, Context, Event, NodeOutcome, Receipt, receipt};
use crate::model::{Address, InstanceAddress, LaunchMethod, Part};
use crate::plan::{Node, Step};

/// Why nodes are skipped after a Ctrl-C.
const INTERRUPTED: &str = "the run was interrupted";

/// What a node that ended tells the executor.
struct Ended {
    index: usize,
    took: u64,
    result: Result<String, ApplyError>,
    /// A slot that is free again.
    slot: Option<String>,
}

/// Does what the plan says.
///
/// # Errors
/// Only when the state itself cannot be written; every node's failure is in the receipt.
pub async fn run(context: Arc<Context>) -> Result<Receipt, ApplyError> {
    let begun = Instant::now();
    let data_bytes = context.plan.summary.data_bytes;
    let nodes = context.plan.nodes.len();
    context.tell(&Event::RunStarted { mode: context.plan.mode, nodes, data_bytes });
    let free = context.provider.access_node().await?.free_slots;
    let provider = context.plan.provider.clone();
    if context.store.state().provider.as_deref() != Some(provider.as_str()) && nodes > 0 {
        context.change(vec![crate::state::StateChange::Provider { name: provider }]).await?;
    }
    let mut execution = Execution::new(Arc::clone(&context), Slots::new(free));
    execution.run().await;
    let outcomes = std::mem::take(&mut execution.outcomes);
    let complete = outcomes.iter().all(|outcome| matches!(outcome, Some(NodeOutcome::Done { .. })));
    if complete && context.cancel.stage() == 0 {
        let outputs = context.specs.outputs(&context.store.state());
        match outputs {
            Ok(outputs) => context.change(vec![crate::state::StateChange::Outputs { outputs }]).await?,
            Err(diagnostic) => return Err(ApplyError::Values(Box::new(diagnostic))),
        }
    }
    if complete || is_all_known(&context).await {
        let store = Arc::clone(&context.store);
        context.blocking(move || store.commit()).await?;
    }
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let receipt = receipt::receipt(&context, outcomes, took);
    context.tell(&Event::RunFinished { receipt: Box::new(receipt.clone()) });
    Ok(receipt)
}

struct Execution {
    context: Arc<Context>,
    slots: Arc<Mutex<Slots>>,
    /// How many slots each machine takes together.
    wanted_slots: BTreeMap<InstanceAddress, usize>,
    dependents: Vec<Vec<usize>>,
    /// Needs that have not ended.
    open_needs: Vec<usize>,
    /// Why a node cannot run: the first need that was not done.
    poisoned: Vec<Option<String>>,
    ready: BTreeSet<usize>,
    outcomes: Vec<Option<NodeOutcome>>,
    running: JoinSet<Ended>,
    told_waiting: BTreeSet<InstanceAddress>,
}

impl Execution {
    fn new(context: Arc<Context>, slots: Slots) -> Self {
        let nodes = &context.plan.nodes;
        let mut dependents = vec![Vec::new(); nodes.len()];
        let mut wanted_slots = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for need in &node.needs {
                dependents[*need].push(index);
            }
            if matches!(node.step, Step::Attach) {
                *wanted_slots.entry(node.address.instance.clone()).or_insert(0) += 1;
            }
        }
        let open_needs: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
        let ready = (0..nodes.len()).filter(|index| open_needs[*index] == 0).collect();
        Self {
            slots: Arc::new(Mutex::new(slots)),
            wanted_slots,
            dependents,
            open_needs,
            poisoned: vec![None; nodes.len()],
            ready,
            outcomes: vec![None; nodes.len()],
            running: JoinSet::new(),
            told_waiting: BTreeSet::new(),
            context,
        }
    }

    async fn run(&mut self) {
        let mut told = 0;
        loop {
            self.start_ready();
            let stage = self.context.cancel.stage();
            if stage > told {
                told = stage;
                self.context.tell(&Event::Interrupted { stage });
            }
            if self.running.is_empty() {
                if self.ready.is_empty() {
                    return;
                }
                // Nothing runs and nothing that is ready can start: interrupted, or slots that
                // will never be free.
                self.skip_the_rest();
                continue;
            }
            tokio::select! {
                ended = self.running.join_next() => {
                    if let Some(Ok(ended)) = ended {
                        self.end(ended);
                    }
                }
                () = self.context.cancel.reached(told.saturating_add(1)), if told < 2 => {}
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, index: usize) -> Address {
        self.context.plan.nodes[index].address.clone()
    }

    /// Starts every ready node that may start.
    fn start_ready(&mut self) {
        let plan = Arc::clone(&self.context.plan);
        let mut from = 0;
        while let Some(index) = self.ready.range(from..).next().copied() {
            if self.running.len() >= self.context.options.parallelism.max(1) {
                return;
            }
            let skipped = self.consider(index, &plan.nodes[index]);
            // A skipped node may have made an earlier one ready.
            from = if skipped { 0 } else { index + 1 };
        }
    }

    /// Starts or skips a ready node, or leaves it ready; whether it was skipped.
    fn consider(&mut self, index: usize, node: &Node) -> bool {
        let cleanup = matches!(node.step, Step::Detach) && self.is_attached(&node.address);
        let interrupted = self.context.cancel.stage() > 0;
        if let Some(because) = self.poisoned[index].clone().filter(|_| !cleanup) {
            self.ready.remove(&index);
            self.skip(index, because);
            return true;
        }
        if interrupted && !(cleanup && self.context.cancel.stage() == 1) {
            self.ready.remove(&index);
            self.skip(index, INTERRUPTED.to_owned());
            return true;
        }
        let mut slot = None;
        if matches!(node.step, Step::Attach) {
            let machine = &node.address.instance;
            let wanted = self.wanted_slots.get(machine).copied().unwrap_or(1);
            let mut slots = self.slots();
            slots.ask(machine, wanted);
            slots.grant();
            let is_granted = slots.holds(machine);
            slot = slots.take(machine);
            drop(slots);
            if !is_granted {
                if self.told_waiting.insert(machine.clone()) {
                    self.context.tell(&Event::WaitingForSlots { address: node.address.clone(), wanted });
                }
                return false;
            }
        }
        self.ready.remove(&index);
        self.spawn(index, node.clone(), slot);
        false
    }

    /// Whether the volume of a detach step is in a slot.
    fn is_attached(&self, address: &Address) -> bool {
        in_slot(&self.context, address)
    }

    fn spawn(&mut self, index: usize, node: Node, slot: Option<String>) {
        let (context, slots) = (Arc::clone(&self.context), Arc::clone(&self.slots));
        context
            .tell(&Event::NodeStarted { address: node.address.clone(), verb: node.step.verb().to_owned() });
        self.running.spawn(async move {
            let begun = Instant::now();
            let held = match &node.step {
                Step::Detach => context
                    .volume(&node.address.instance, node.address.part.disk().unwrap_or_default())
                    .ok()
                    .and_then(|(_, volume)| volume.slot),
                _ => None,
            };
            let mut seat = Seat { slot: slot.unwrap_or_default(), slots };
            let result = tokio::select! {
                result = perform(&context, &node, &mut seat) => result,
                () = stopped(&context, &node) => Err(ApplyError::Interrupted),
            };
            let freed = match (&node.step, &result) {
                (Step::Detach, Ok(_)) => held,
                (Step::Attach, Err(error))
                    if error.certainly_had_no_effect() && !in_slot(&context, &node.address) =>
                {
                    Some(seat.slot)
                }
                _ => None,
            };
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            Ended { index, took, result, slot: freed }
        });
    }

    fn end(&mut self, ended: Ended) {
        let Ended { index, took, result, slot } = ended;
        let address = self.address(index);
        let verb = self.context.plan.nodes[index].step.verb().to_owned();
        if let Some(slot) = slot {
            self.slots().give_back(slot);
        }
        match result {
            Ok(detail) => {
                self.context.tell(&Event::NodeFinished { address, verb, detail: detail.clone(), took });
                let because = self.poisoned[index].clone();
                self.outcomes[index] = Some(NodeOutcome::Done { took, detail });
                self.release(index, because);
            }
            Err(error) if error.is_interruption() => self.skip(index, INTERRUPTED.to_owned()),
            Err(error) => {
                let diagnostic = Box::new(error.diagnostic(&address));
                let because = format!("{address} failed");
                self.context.tell(&Event::NodeFailed { address, verb, diagnostic: diagnostic.clone() });
                self.outcomes[index] = Some(NodeOutcome::Failed { diagnostic });
                self.release(index, Some(because));
            }
        }
    }

    fn skip(&mut self, index: usize, because: String) {
        let address = self.address(index);
        self.context.tell(&Event::NodeSkipped { address, because: because.clone() });
        self.outcomes[index] = Some(NodeOutcome::Skipped { because: because.clone() });
        self.release(index, Some(because));
    }

    /// A node ended: what waited for it may be ready; `because` says why it cannot run.
    fn release(&mut self, index: usize, because: Option<String>) {
        let address = self.address(index);
        if let (Some(_), Part::Attachment(_)) = (&because, &address.part) {
            self.slots().release(&address.instance);
        }
        for dependent in self.dependents[index].clone() {
            if self.poisoned[dependent].is_none() {
                self.poisoned[dependent].clone_from(&because);
            }
            self.open_needs[dependent] = self.open_needs[dependent].saturating_sub(1);
            if self.open_needs[dependent] == 0 {
                self.ready.insert(dependent);
            }
        }
    }

    fn skip_the_rest(&mut self) {
        let because = if self.context.cancel.stage() > 0 {
            INTERRUPTED
        } else {
            "no slot of the access node became free"
        };
        for index in std::mem::take(&mut self.ready) {
            self.skip(index, because.to_owned());
        }
    }
}

/// Whether the state says that a step's volume is in a slot.
fn in_slot(context: &Context, address: &Address) -> bool {
    context
        .volume(&address.instance, address.part.disk().unwrap_or_default())
        .is_ok_and(|(_, volume)| volume.slot.is_some())
}

/// A second interrupt ends what waits; a write ends by itself, at its next block, with a
/// checkpoint.
async fn stopped(context: &Context, node: &Node) {
    if matches!(node.step, Step::Write(_) | Step::Drivers(_)) {
        std::future::pending::<()>().await;
    }
    context.cancel.reached(2).await;
}

async fn perform(context: &Arc<Context>, node: &Node, seat: &mut Seat) -> Result<String, ApplyError> {
    let address = &node.address;
    match &node.step {
        Step::CreateVolume(plan) => context.create_volume(address, plan).await,
        Step::UpdateVolume(update) => context.update_volume(address, update).await,
        Step::DeleteVolume { id, final_snapshot } => {
            context.delete_volume(address, id, *final_snapshot).await
        }
        Step::ForgetVolume { id } => context.forget_volume(address, id).await,
        Step::Attach => context.attach_where_free(address, seat).await,
        Step::Write(plan) => context.write(address, plan).await,
        Step::Drivers(plan) => context.inject(address, plan).await,
        Step::Detach => context.detach(address).await,
        Step::Snapshot(plan) => context.snapshot_disk(address, plan).await,
        Step::RegisterImage(plan) => context.register_image(address, plan).await,
        Step::DeleteSnapshot { id } => context.delete_snapshot(address, id).await,
        Step::DeregisterImage { id } => context.deregister_image(address, id).await,
        Step::Launch(plan) if plan.instance.method == LaunchMethod::Image => {
            context.launch_image(address, plan).await
        }
        Step::Stub(plan) => context.stub(address, plan).await,
        Step::Launch(plan) => context.launch(address, plan).await,
        Step::UpdateInstance(plan) => context.update_instance(address, plan).await,
        Step::Terminate { id } => context.terminate(address, id).await,
    }
}
