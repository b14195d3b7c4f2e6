//! From decisions to the execution graph: the graph's order, without the nodes that have nothing
//! to do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Node, Step, Wave};
use crate::graph::Graph;
use crate::model::{Address, InstanceAddress, Part};
use crate::state::{Resource, State};

/// The steps of a plan before they are in order.
#[derive(Debug, Default)]
pub struct Steps {
    /// Ends of old resources.
    pub destroy: Vec<(Address, Step)>,
    /// Everything else.
    pub make: BTreeMap<Address, Step>,
}

/// Puts the steps in order. `graph` is the whole restore's graph of the machines that are made.
#[must_use]
pub fn nodes(steps: Steps, graph: &Graph, state: &State) -> Vec<Node> {
    let mut assembly = Assembly { nodes: Vec::new(), ended: BTreeMap::new() };
    assembly.destroy(steps.destroy, state);
    assembly.make(steps.make, graph, state);
    assembly.nodes
}

struct Assembly {
    nodes: Vec<Node>,
    /// Ended resources by address.
    ended: BTreeMap<Address, usize>,
}

impl Assembly {
    fn push(&mut self, address: Address, step: Step, needs: BTreeSet<usize>) -> usize {
        self.nodes.push(Node { address, step, needs: needs.into_iter().collect() });
        self.nodes.len() - 1
    }

    /// Instances end before what they depend on, images after their instance, snapshots after the
    /// image that is made of them, volumes after their instance.
    fn destroy(&mut self, steps: Vec<(Address, Step)>, state: &State) {
        let (instances, volumes): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|(address, _)| address.part == Part::Instance);
        let mut waiting: BTreeMap<InstanceAddress, (Address, Step)> = instances
            .into_iter()
            .map(|(address, step)| (address.instance.clone(), (address, step)))
            .collect();
        let dependents = dependents(state);
        while !waiting.is_empty() {
            // A circle cannot be configured; a damaged state's is cut at its smallest address.
            let next = waiting
                .keys()
                .find(|name| {
                    dependents
                        .get(*name)
                        .is_none_or(|names| !names.iter().any(|name| waiting.contains_key(name)))
                })
                .or_else(|| waiting.keys().next())
                .cloned();
            let Some((address, step)) = next.and_then(|name| waiting.remove(&name)) else { break };
            let needs = dependents
                .get(&address.instance)
                .into_iter()
                .flatten()
                .filter_map(|name| self.ended.get(&name.part(Part::Instance)).copied())
                .collect();
            let index = self.push(address.clone(), step, needs);
            self.ended.insert(address, index);
        }
        let mut rest = volumes;
        rest.sort_by_key(|(address, _)| address.part != Part::Image);
        for (address, step) in rest {
            let before = match &address.part {
                Part::Snapshot(_) => &[Part::Instance, Part::Image][..],
                _ => &[Part::Instance],
            };
            let ended = before.iter().filter_map(|part| self.ended.get(&address.instance.part(part.clone())));
            let needs = ended.copied().collect();
            let index = self.push(address.clone(), step, needs);
            self.ended.insert(address, index);
        }
    }

    fn make(&mut self, mut steps: BTreeMap<Address, Step>, graph: &Graph, state: &State) {
        let addresses_freed = addresses_freed(state, &self.ended);
        let mut made: BTreeMap<Address, BTreeSet<usize>> = BTreeMap::new();
        for address in graph.order() {
            let mut needs: BTreeSet<usize> = graph
                .needs(&address)
                .into_iter()
                .filter_map(|need| made.get(need))
                .flatten()
                .copied()
                .collect();
            let Some(step) = steps.remove(&address) else {
                made.insert(address, needs);
                continue;
            };
            let after_end = match &step {
                Step::Stub(_) | Step::Launch(_) | Step::UpdateInstance(_) => {
                    address.instance.part(Part::Instance)
                }
                Step::Attach | Step::Snapshot(_) => address.instance.part(Part::Instance),
                _ => address.clone(),
            };
            needs.extend(self.ended.get(&after_end));
            if matches!(step, Step::Launch(_) | Step::UpdateInstance(_)) {
                let ended = self.ended.iter().filter(|(ended, _)| ended.instance == address.instance);
                needs.extend(ended.map(|(_, index)| *index));
            }
            if let Step::Snapshot(_) = &step {
                needs.extend(self.ended.get(&address));
            }
            // What is changed of a volume on its instance is changed when that is there, or has ended.
            if let Step::CreateVolume(_) | Step::UpdateVolume(_) = &step {
                needs.extend(self.ended.get(&address.instance.part(Part::Instance)));
            }
            let launched = match &step {
                Step::Stub(plan) => Some(&**plan),
                Step::Launch(plan) => Some(&plan.instance),
                _ => None,
            };
            if let Some(plan) = launched {
                needs.extend(plan.private_ip.and_then(|ip| addresses_freed.get(&ip)));
            }
            let index = self.push(address.clone(), step, needs);
            made.insert(address, BTreeSet::from([index]));
        }
    }
}

/// Who depends on whom, by the state.
fn dependents(state: &State) -> BTreeMap<InstanceAddress, BTreeSet<InstanceAddress>> {
    let mut dependents: BTreeMap<InstanceAddress, BTreeSet<InstanceAddress>> = BTreeMap::new();
    for (address, resource) in &state.resources {
        if let Resource::Instance(instance) = resource {
            for dependency in &instance.depends_on {
                dependents.entry(dependency.clone()).or_default().insert(address.instance.clone());
            }
        }
    }
    dependents
}

/// The private addresses that become free, and by which node.
fn addresses_freed(state: &State, ended: &BTreeMap<Address, usize>) -> BTreeMap<Ipv4Addr, usize> {
    ended
        .iter()
        .filter_map(|(address, index)| match state.resources.get(address) {
            Some(Resource::Instance(instance)) => Some((instance.private_ip?, *index)),
            _ => None,
        })
        .collect()
}

/// How the attachments go through the slots: machines in the plan's order, each with all its
/// volumes, as many at a time as fit.
#[must_use]
pub fn waves(nodes: &[Node], slots: &[String]) -> Vec<Wave> {
    let mut machines: Vec<(&InstanceAddress, Vec<&Address>)> = Vec::new();
    let mut position: BTreeMap<&InstanceAddress, usize> = BTreeMap::new();
    for node in nodes.iter().filter(|node| matches!(node.step, Step::Attach)) {
        let index = *position.entry(&node.address.instance).or_insert_with(|| {
            machines.push((&node.address.instance, Vec::new()));
            machines.len() - 1
        });
        machines[index].1.push(&node.address);
    }
    let mut waves: Vec<Wave> = Vec::new();
    for (machine, attachments) in machines {
        let fits = waves.last().is_some_and(|wave| wave.volumes.len() + attachments.len() <= slots.len());
        if !fits {
            waves.push(Wave { volumes: Vec::new() });
        }
        let Some(wave) = waves.last_mut() else { continue };
        for attachment in attachments {
            let slot = slots.get(wave.volumes.len()).cloned().unwrap_or_default();
            wave.volumes.push((machine.volume(attachment.part.disk().unwrap_or_default()), slot));
        }
    }
    waves
}
