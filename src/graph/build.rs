//! From the shapes of machines to the graph of one restore.
//!
//! `volume → attachment → write → drivers → detach → instance`, `stub → instance` beside it.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::Topo;

use crate::model::{Address, InstanceAddress, Part};

/// What of a machine decides its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceShape {
    /// Its address.
    pub address: InstanceAddress,
    /// Its disks, the root first.
    pub disks: Vec<DiskShape>,
    /// Whether an instance is wanted (not for standby).
    pub launches: bool,
    /// Whether a stub is launched beside the writes.
    pub stub: bool,
    /// Whether the volumes are snapshotted and an image is made of them.
    pub image: bool,
    /// Whether drivers are injected.
    pub drivers: bool,
    /// What must be up before it.
    pub depends_on: BTreeSet<InstanceAddress>,
    /// Whether it takes values from those it depends on, so that nothing of it can be made before
    /// they are up.
    pub takes_values: bool,
}

/// What of a disk decides its nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskShape {
    /// Its name.
    pub name: String,
    /// Whether it has content to write (an empty disk needs no slot).
    pub has_content: bool,
}

/// Why there is no graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Instances wait for one another.
    #[error("instances depend on one another: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → "))]
    Cycle(Vec<InstanceAddress>),
}

/// The graph. Nodes are in the order of their instances' addresses, then of the steps.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    graph: DiGraph<Address, ()>,
    index: BTreeMap<Address, NodeIndex>,
}

impl Graph {
    /// Builds the graph of these machines; a dependency on a machine that is not among them is
    /// left out (configuration has already refused it, or it is destroyed).
    ///
    /// # Errors
    /// When machines depend on one another in a circle.
    pub fn build(shapes: &[InstanceShape]) -> Result<Self, GraphError> {
        let mut sorted: Vec<_> = shapes.iter().collect();
        sorted.sort_by(|a, b| a.address.cmp(&b.address));
        let mut graph = Self::default();
        for shape in &sorted {
            graph.add_instance(shape);
        }
        for shape in &sorted {
            graph.add_dependencies(shape);
        }
        match petgraph::algo::toposort(&graph.graph, None) {
            Ok(_) => Ok(graph),
            Err(cycle) => Err(GraphError::Cycle(graph.cycle_through(cycle.node_id()))),
        }
    }

    fn add(&mut self, address: Address) -> NodeIndex {
        let node = self.graph.add_node(address.clone());
        self.index.insert(address, node);
        node
    }

    fn edge(&mut self, from: NodeIndex, to: NodeIndex) {
        self.graph.update_edge(from, to, ());
    }

    fn add_instance(&mut self, shape: &InstanceShape) {
        let mut before_drivers = Vec::new();
        let mut last = Vec::new();
        for disk in &shape.disks {
            let part = |part: fn(String) -> Part| shape.address.part(part(disk.name.clone()));
            let volume = self.add(part(Part::Volume));
            if !disk.has_content {
                last.push(volume);
                continue;
            }
            let attachment = self.add(part(Part::Attachment));
            let write = self.add(part(Part::Write));
            self.edge(volume, attachment);
            self.edge(attachment, write);
            before_drivers.push((disk, write));
        }
        let drivers = (shape.drivers && !before_drivers.is_empty()).then(|| {
            let drivers = self.add(shape.address.part(Part::Drivers));
            for (_, write) in &before_drivers {
                self.edge(*write, drivers);
            }
            drivers
        });
        for (disk, write) in &before_drivers {
            let detach = self.add(shape.address.part(Part::Detach(disk.name.clone())));
            self.edge(drivers.unwrap_or(*write), detach);
            last.push(detach);
        }
        if shape.image {
            last = vec![self.add_image(shape, &last)];
        }
        if shape.launches {
            let stub = shape.stub.then(|| self.add(shape.address.part(Part::Stub)));
            let instance = self.add(shape.address.part(Part::Instance));
            for node in last.into_iter().chain(stub) {
                self.edge(node, instance);
            }
        }
    }

    /// Snapshots wait for the whole machine, so that all of them are of one moment.
    fn add_image(&mut self, shape: &InstanceShape, ready: &[NodeIndex]) -> NodeIndex {
        let snapshots: Vec<NodeIndex> = shape
            .disks
            .iter()
            .map(|disk| {
                let snapshot = self.add(shape.address.part(Part::Snapshot(disk.name.clone())));
                for node in ready {
                    self.edge(*node, snapshot);
                }
                snapshot
            })
            .collect();
        let image = self.add(shape.address.part(Part::Image));
        for snapshot in snapshots {
            self.edge(snapshot, image);
        }
        image
    }

    /// The nodes that another machine waits for: the instance, or all that a standby has.
    fn ends(&self, instance: &InstanceAddress) -> Vec<NodeIndex> {
        if let Some(node) = self.index.get(&instance.part(Part::Instance)) {
            return vec![*node];
        }
        self.of_instance(instance).filter(|node| self.graph.edges(*node).next().is_none()).collect()
    }

    fn of_instance<'a>(&'a self, instance: &'a InstanceAddress) -> impl Iterator<Item = NodeIndex> + 'a {
        self.index
            .range(instance.part(Part::Volume(String::new()))..)
            .take_while(move |(address, _)| &address.instance == instance)
            .map(|(_, node)| *node)
    }

    fn add_dependencies(&mut self, shape: &InstanceShape) {
        let starts: Vec<NodeIndex> = if shape.takes_values {
            self.of_instance(&shape.address)
                .filter(|node| self.graph.edges_directed(*node, Direction::Incoming).next().is_none())
                .collect()
        } else {
            match self.index.get(&shape.address.part(Part::Instance)) {
                Some(instance) => vec![*instance],
                None => return,
            }
        };
        for dependency in &shape.depends_on {
            for end in self.ends(dependency) {
                for start in &starts {
                    self.edge(end, *start);
                }
            }
        }
    }

    /// The instances of a circle through a node, beginning and ending with the same.
    fn cycle_through(&self, start: NodeIndex) -> Vec<InstanceAddress> {
        let components = petgraph::algo::tarjan_scc(&self.graph);
        let component: BTreeSet<NodeIndex> = components
            .into_iter()
            .find(|component| component.contains(&start))
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut path = vec![start];
        let mut seen = BTreeSet::from([start]);
        while let Some(next) = path
            .last()
            .and_then(|node| self.graph.neighbors(*node).filter(|next| component.contains(next)).min())
        {
            path.push(next);
            if !seen.insert(next) {
                break;
            }
        }
        let close = path.last().copied();
        let begin = path.iter().position(|node| Some(*node) == close).unwrap_or(0);
        let mut instances: Vec<InstanceAddress> = Vec::new();
        for node in &path[begin..] {
            let instance = &self.graph[*node].instance;
            if instances.last() != Some(instance) {
                instances.push(instance.clone());
            }
        }
        if instances.len() > 1 && instances.first() == instances.last() {
            instances.pop();
        }
        let smallest = (0..instances.len()).min_by_key(|index| &instances[*index]).unwrap_or(0);
        instances.rotate_left(smallest);
        instances.extend(instances.first().cloned());
        instances
    }

    /// All addresses in an order in which everything stands after what it needs; the same for the
    /// same machines, whatever order they came in.
    #[must_use]
    pub fn order(&self) -> Vec<Address> {
        let mut topological = Topo::new(&self.graph);
        let mut order = Vec::with_capacity(self.graph.node_count());
        while let Some(node) = topological.next(&self.graph) {
            order.push(self.graph[node].clone());
        }
        order
    }

    /// What must directly come before an address, sorted.
    #[must_use]
    pub fn needs(&self, address: &Address) -> Vec<&Address> {
        self.neighbours(address, Direction::Incoming)
    }

    /// What directly waits for an address, sorted.
    #[must_use]
    pub fn dependents(&self, address: &Address) -> Vec<&Address> {
        self.neighbours(address, Direction::Outgoing)
    }

    fn neighbours(&self, address: &Address, direction: Direction) -> Vec<&Address> {
        let Some(node) = self.index.get(address) else { return Vec::new() };
        let mut found: Vec<&Address> =
            self.graph.neighbors_directed(*node, direction).map(|node| &self.graph[node]).collect();
        found.sort();
        found
    }

    /// Every node's address, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.index.keys()
    }

    /// Every edge, sorted.
    #[must_use]
    pub fn edges(&self) -> Vec<(&Address, &Address)> {
        let mut edges: Vec<_> = self
            .graph
            .edge_indices()
            .filter_map(|edge| self.graph.edge_endpoints(edge))
            .map(|(from, to)| (&self.graph[from], &self.graph[to]))
            .collect();
        edges.sort();
        edges
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, disks: &[&str], depends_on: &[&str]) -> InstanceShape {
        InstanceShape {
            address: InstanceAddress::new(name),
            disks: disks
                .iter()
                .map(|name| DiskShape { name: (*name).to_owned(), has_content: true })
                .collect(),
            launches: true,
            stub: true,
            image: false,
            drivers: true,
            depends_on: depends_on.iter().map(|name| InstanceAddress::new(*name)).collect(),
            takes_values: false,
        }
    }

    fn text(graph: &Graph) -> Vec<String> {
        graph.edges().iter().map(|(from, to)| format!("{from} → {to}")).collect()
    }

    #[test]
    fn one_machine_of_one_disk() {
        let graph = Graph::build(&[shape("web", &["root"], &[])]).unwrap();
        assert_eq!(
            text(&graph),
            [
                "instance.web.volume.root → instance.web.attachment.root",
                "instance.web.attachment.root → instance.web.write.root",
                "instance.web.write.root → instance.web.drivers",
                "instance.web.drivers → instance.web.detach.root",
                "instance.web.detach.root → instance.web",
                "instance.web.stub → instance.web",
            ]
        );
    }

    #[test]
    fn an_image_is_made_of_snapshots_of_one_moment() {
        let mut machine = shape("web", &["root", "data"], &[]);
        (machine.stub, machine.image) = (false, true);
        let graph = Graph::build(&[machine]).unwrap();
        let needs = |address: &str| -> Vec<String> {
            graph.needs(&address.parse().unwrap()).into_iter().map(ToString::to_string).collect()
        };
        assert_eq!(needs("instance.web"), ["instance.web.image"]);
        assert_eq!(needs("instance.web.image"), ["instance.web.snapshot.data", "instance.web.snapshot.root"]);
        assert_eq!(
            needs("instance.web.snapshot.root"),
            ["instance.web.detach.data", "instance.web.detach.root"]
        );
    }

    #[test]
    fn drivers_wait_for_every_disk() {
        let graph = Graph::build(&[shape("db", &["root", "data"], &[])]).unwrap();
        let needs: Vec<_> = graph
            .needs(&"instance.db.drivers".parse().unwrap())
            .into_iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(needs, ["instance.db.write.data", "instance.db.write.root"]);
    }

    #[test]
    fn an_application_starts_after_its_database_but_is_written_beside_it() {
        let graph = Graph::build(&[shape("app", &["root"], &["db"]), shape("db", &["root"], &[])]).unwrap();
        assert!(text(&graph).contains(&"instance.db → instance.app".to_owned()));
        assert_eq!(graph.needs(&"instance.app.volume.root".parse().unwrap()), Vec::<&Address>::new());
    }

    #[test]
    fn a_machine_that_takes_values_waits_with_everything() {
        let mut app = shape("app", &["root"], &["db"]);
        app.takes_values = true;
        let graph = Graph::build(&[app, shape("db", &["root"], &[])]).unwrap();
        let edges = text(&graph);
        assert!(edges.contains(&"instance.db → instance.app.volume.root".to_owned()), "{edges:?}");
        assert!(edges.contains(&"instance.db → instance.app.stub".to_owned()), "{edges:?}");
    }

    #[test]
    fn circles_are_named() {
        let error =
            Graph::build(&[shape("a", &["root"], &["b"]), shape("b", &["root"], &["a"])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "instances depend on one another: instance.a → instance.b → instance.a"
        );
    }

    #[test]
    fn the_order_does_not_depend_on_the_input_s() {
        let a = Graph::build(&[shape("a", &["root", "data"], &["b"]), shape("b", &["root"], &[])]).unwrap();
        let b = Graph::build(&[shape("b", &["root"], &[]), shape("a", &["root", "data"], &["b"])]).unwrap();
        assert_eq!(a.order(), b.order());
        assert_eq!(a.order().len(), a.len());
    }
}
