//! Names in expressions, checked without evaluating: every one must exist, also in a branch that
//! is never taken; and who needs whom, in which order, without cycles.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::ast::{Expr, ExprKind, Key, Part, Step, StepKind};
use super::functions;
use super::source::{Place, Sources};
use super::suggest;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::LookupKind;

/// The names that a reference begins with.
pub(super) const ROOTS: [&str; 7] = ["var", "local", "instance", "data", "each", "path", "replant"];

/// What of an instance can be referred to.
pub(super) const INSTANCE_ATTRIBUTES: [&str; 18] = [
    "actual_state",
    "iam_instance_profile",
    "id",
    "image",
    "image_format",
    "image_id",
    "image_snapshot",
    "instance_type",
    "key_name",
    "private_ip",
    "security_group_ids",
    "state",
    "subnet_id",
    "tags",
    "termination_protection",
    "user_data",
    "volume",
    "zone",
];

/// What of a volume can be referred to.
pub(super) const VOLUME_ATTRIBUTES: [&str; 10] = [
    "delete_on_termination",
    "encrypted",
    "grow",
    "id",
    "image",
    "iops",
    "kms_key_id",
    "size",
    "throughput",
    "type",
];

/// How a reference of that root is written in full.
pub(super) fn root_help(root: &str) -> &'static str {
    match root {
        "var" => "write `var.NAME`",
        "local" => "write `local.NAME`",
        "instance" => "write `instance.NAME.ATTRIBUTE`, as in `instance.web.private_ip`",
        "data" => "write `data.KIND.NAME.ATTRIBUTE`, as in `data.subnet.app.id`",
        "each" => "write `each.key` or `each.value`",
        "path" => "write `path.module`, `path.root` or `path.cwd`",
        _ => "write `replant.version`",
    }
}

/// What is known of an instance block before it is evaluated.
#[derive(Debug, Clone)]
pub(super) struct InstanceNames {
    pub(super) each: bool,
    /// Its image may bring disks that the configuration does not name.
    pub(super) image: bool,
    pub(super) disks: BTreeSet<Arc<str>>,
}

/// All names of a configuration.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) variables: BTreeSet<Arc<str>>,
    pub(super) locals: BTreeSet<Arc<str>>,
    pub(super) instances: BTreeMap<Arc<str>, InstanceNames>,
    /// Kind and name, and whether it has `for_each`.
    pub(super) data: BTreeMap<DataName, bool>,
}

/// A data source's kind and name.
pub(super) type DataName = (LookupKind, Arc<str>);

/// Something that is evaluated in an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node {
    Local(Arc<str>),
    Instance(Arc<str>),
    Data(LookupKind, Arc<str>),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) => write!(f, "local.{name}"),
            Self::Instance(name) => write!(f, "instance.{name}"),
            Self::Data(kind, name) => write!(f, "data.{}.{name}", kind.as_str()),
        }
    }
}

/// Where an expression stands, which decides what it may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Anywhere but the places below.
    Plain,
    /// In an instance or data source with `for_each`: `each` is there.
    Each,
    /// In settings, which stand before anything is asked of a cloud: no `instance`, no `data`.
    Settings,
}

/// Checks names; gathers what was used.
pub(super) struct Checker<'a> {
    pub(super) names: &'a Names,
    pub(super) sources: &'a Sources,
    pub(super) diagnostics: &'a mut Diagnostics,
    pub(super) uses: BTreeMap<Node, Place>,
    pub(super) standing: Standing,
}

impl Checker<'_> {
    /// Checks an expression.
    pub(super) fn check(&mut self, expr: &Expr) {
        self.expr(expr, &mut Vec::new());
    }

    fn error(&self, place: Place, code: &str, summary: &str) -> Diagnostic {
        Diagnostic::error(code, summary).at(self.sources.span(place))
    }

    fn expr(&mut self, expr: &Expr, bound: &mut Vec<Arc<str>>) {
        match &*expr.kind {
            ExprKind::Null | ExprKind::Bool(_) | ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Tuple(elements) => elements.iter().for_each(|element| self.expr(element, bound)),
            ExprKind::Object(fields) => {
                for (key, value) in fields {
                    if let Key::Expr(key) = key {
                        self.expr(key, bound);
                    }
                    self.expr(value, bound);
                }
            }
            ExprKind::Template(parts) => self.parts(parts, bound),
            ExprKind::Parenthesis(inner) | ExprKind::Not(inner) | ExprKind::Negate(inner) => {
                self.expr(inner, bound);
            }
            ExprKind::Name(name) => self.reference(expr, name, &[], bound),
            ExprKind::Conditional { condition, then, otherwise } => {
                self.expr(condition, bound);
                self.expr(then, bound);
                self.expr(otherwise, bound);
            }
            ExprKind::Call { name, name_place, arguments, expand } => {
                let wrong = functions::check_call(self.sources, name, *name_place, arguments.len(), *expand);
                self.diagnostics.extend(wrong);
                arguments.iter().for_each(|argument| self.expr(argument, bound));
            }
            ExprKind::Traversal(base, steps) => {
                match &*base.kind {
                    ExprKind::Name(name) => self.reference(base, name, steps, bound),
                    _ => self.expr(base, bound),
                }
                self.steps(steps, bound);
            }
            ExprKind::Binary { left, right, .. } => {
                self.expr(left, bound);
                self.expr(right, bound);
            }
            ExprKind::For(each) => {
                self.expr(&each.collection, bound);
                let depth = bound.len();
                bound.extend(each.key_name.clone());
                bound.push(Arc::clone(&each.value_name));
                for inner in each.key.iter().chain([&each.value]).chain(&each.condition) {
                    self.expr(inner, bound);
                }
                bound.truncate(depth);
            }
        }
    }

    fn steps(&mut self, steps: &[Step], bound: &mut Vec<Arc<str>>) {
        for step in steps {
            match &step.kind {
                StepKind::Attribute(_) => {}
                StepKind::Index(index) => self.expr(index, bound),
                StepKind::Splat(inner) => self.steps(inner, bound),
            }
        }
    }

    fn parts(&mut self, parts: &[Part], bound: &mut Vec<Arc<str>>) {
        for part in parts {
            match part {
                Part::Literal(_) => {}
                Part::Interpolation(expr) => self.expr(expr, bound),
                Part::If { condition, then, otherwise } => {
                    self.expr(condition, bound);
                    self.parts(then, bound);
                    self.parts(otherwise, bound);
                }
                Part::For { key_name, value_name, collection, body } => {
                    self.expr(collection, bound);
                    let depth = bound.len();
                    bound.extend(key_name.clone());
                    bound.push(Arc::clone(value_name));
                    self.parts(body, bound);
                    bound.truncate(depth);
                }
            }
        }
    }

    fn reference(&mut self, base: &Expr, root: &str, steps: &[Step], bound: &[Arc<str>]) {
        if bound.iter().any(|name| &**name == root) {
            return;
        }
        let place = base.place;
        let first = match steps.first() {
            Some(Step { kind: StepKind::Attribute(name), place }) => Some((Arc::clone(name), *place)),
            Some(Step { kind: StepKind::Index(index), place }) => match &*index.kind {
                ExprKind::String(name) => Some((Arc::clone(name), *place)),
                _ => None,
            },
            _ => None,
        };
        if !ROOTS.contains(&root) {
            let known = bound.iter().map(|name| &**name).chain(ROOTS);
            let mut error = self
                .error(place, "config::unknown_name", "there is no such name")
                .detail(format!("Nothing is called `{root}` here."));
            error.help.extend(suggest::nearest(root, known).map(|near| format!("did you mean `{near}`?")));
            self.diagnostics.push(error.help(format!("if a text is meant, put it in quotes: \"{root}\"")));
            return;
        }
        if root == "each" && self.standing != Standing::Each {
            let error = self
                .error(place, "config::each_without_for_each", "`each` stands outside a `for_each`")
                .detail("`each.key` and `each.value` exist only inside an instance that has `for_each`.");
            self.diagnostics
                .push(error.help("add `for_each = …` to the instance, or name the value another way"));
            return;
        }
        let Some((name, name_place)) = first else {
            let error = self
                .error(place, "config::incomplete_reference", "a reference is incomplete")
                .detail(format!("`{root}` alone has no value; a name follows it."));
            self.diagnostics.push(error.help(root_help(root)));
            return;
        };
        match root {
            "var" if !self.names.variables.contains(&name) => {
                let mut error = self
                    .error(name_place, "config::unknown_variable", "there is no such variable")
                    .detail(format!("No block declares the variable `{name}`."));
                error.help.extend(
                    suggest::nearest(&name, self.names.variables.iter().map(|name| &**name))
                        .map(|near| format!("did you mean `var.{near}`?")),
                );
                self.diagnostics.push(error.help(format!("declare it: variable \"{name}\" {{}}")));
            }
            "local" => {
                if self.names.locals.contains(&name) {
                    self.uses.entry(Node::Local(name)).or_insert(place);
                } else {
                    let mut error = self
                        .error(name_place, "config::unknown_local", "there is no such local value")
                        .detail(format!("No `locals` block has `{name}`."));
                    error.help.extend(
                        suggest::nearest(&name, self.names.locals.iter().map(|name| &**name))
                            .map(|near| format!("did you mean `local.{near}`?")),
                    );
                    self.diagnostics.push(error.help(format!("add `{name} = …` to a `locals` block")));
                }
            }
            "each" => self.one_of("each", &name, name_place, &["key", "value"]),
            "path" => self.one_of("path", &name, name_place, &["module", "root", "cwd"]),
            "replant" => self.one_of("replant", &name, name_place, &["version"]),
            "instance" => self.instance(&name, place, name_place, steps),
            "data" => self.data(&name, place, name_place, steps),
            _ => {}
        }
    }

    fn one_of(&mut self, root: &str, name: &str, place: Place, known: &[&'static str]) {
        if !known.contains(&name) {
            let mut error = self
                .error(place, "config::unknown_name", "there is no such name")
                .detail(format!("There is no `{root}.{name}`."));
            error.help.extend(suggest::help(name, known.iter().copied()));
            self.diagnostics.push(error);
        }
    }

    fn data(&mut self, kind: &str, place: Place, kind_place: Place, steps: &[Step]) {
        if self.standing == Standing::Settings {
            let error = self
                .error(place, "config::data_in_settings", "settings refer to a data source")
                .detail("The provider and the access node are needed before anything is looked up.");
            self.diagnostics.push(error.help("use a variable or a local value instead"));
            return;
        }
        let Some(known) = LookupKind::named(kind) else {
            let mut error = self
                .error(kind_place, "config::unknown_data_source", "there is no such data source")
                .detail(format!("Nothing of the kind `{kind}` can be looked up."));
            let plain = kind.strip_prefix("aws_").unwrap_or(kind);
            error.help.extend(suggest::help(plain, LookupKind::ALL.map(LookupKind::as_str)));
            self.diagnostics.push(error);
            return;
        };
        let Some(Step { kind: StepKind::Attribute(name), place: name_place }) = steps.get(1) else {
            let error = self
                .error(place, "config::incomplete_reference", "a reference is incomplete")
                .detail(format!("`data.{kind}` alone has no value; a name follows it."));
            self.diagnostics.push(error.help(root_help("data")));
            return;
        };
        let Some(each) = self.names.data.get(&(known, Arc::clone(name))) else {
            let mut error = self
                .error(*name_place, "config::unknown_data_source", "there is no such data source")
                .detail(format!("No block declares the data source `data.{kind}.{name}`."));
            let names = self.names.data.keys().filter(|(of, _)| *of == known).map(|(_, name)| &**name);
            error.help.extend(
                suggest::nearest(name, names).map(|near| format!("did you mean `data.{kind}.{near}`?")),
            );
            self.diagnostics.push(error.help(format!("declare it: data \"{kind}\" \"{name}\" {{ … }}")));
            return;
        };
        self.uses.entry(Node::Data(known, Arc::clone(name))).or_insert(place);
        let mut rest = steps.get(2..).unwrap_or_default();
        let attributes = known.attributes();
        if *each {
            match rest.first().map(|step| (&step.kind, step.place)) {
                Some((StepKind::Index(_), _)) => rest = &rest[1..],
                Some((StepKind::Attribute(attribute), place)) if attributes.contains(&&**attribute) => {
                    let error = self
                        .error(place, "config::missing_key", "a reference names no key")
                        .detail(format!("`data.{kind}.{name}` has `for_each`, so it is a map."));
                    self.diagnostics
                        .push(error.help(format!("name one: data.{kind}.{name}[\"KEY\"].{attribute}")));
                    return;
                }
                _ => return,
            }
        }
        if let Some(Step { kind: StepKind::Attribute(attribute), place }) = rest.first()
            && !attributes.contains(&&**attribute)
        {
            let mut error = self
                .error(*place, "config::unknown_reference", "a data source has no such attribute")
                .detail(format!("`data.{kind}.{name}` has no attribute `{attribute}`."));
            error.help.extend(suggest::help(attribute, attributes.iter().copied()));
            self.diagnostics.push(error);
        }
    }

    fn instance(&mut self, name: &Arc<str>, place: Place, name_place: Place, steps: &[Step]) {
        if self.standing == Standing::Settings {
            let error = self
                .error(place, "config::instance_in_settings", "settings refer to an instance")
                .detail("The provider and the access node are needed before any instance exists.");
            self.diagnostics.push(error.help("use a variable or a local value instead"));
            return;
        }
        let Some(known) = self.names.instances.get(name) else {
            let error = unknown_instance(self.sources, self.names, name, name_place);
            self.diagnostics.push(error);
            return;
        };
        self.uses.entry(Node::Instance(Arc::clone(name))).or_insert(place);
        let mut rest = steps.get(1..).unwrap_or_default();
        if known.each {
            rest = match rest.first().map(|step| &step.kind) {
                Some(StepKind::Index(_)) => &rest[1..],
                Some(StepKind::Attribute(attribute)) if INSTANCE_ATTRIBUTES.contains(&&**attribute) => {
                    let error = self
                        .error(rest[0].place, "config::missing_key", "a reference names no key")
                        .detail(format!("`instance.{name}` has `for_each`, so it is a map of instances."));
                    self.diagnostics.push(
                        error
                            .help(format!("name one: instance.{name}[\"KEY\"].{attribute}"))
                            .help(format!("or take all: [for each in instance.{name} : each.{attribute}]")),
                    );
                    return;
                }
                _ => return,
            };
        } else if let Some(Step { kind: StepKind::Index(index), place }) = rest.first()
            && let ExprKind::String(key) = &*index.kind
            && !INSTANCE_ATTRIBUTES.contains(&&**key)
        {
            let error = self
                .error(*place, "config::unexpected_key", "a reference names a key")
                .detail(format!("`instance.{name}` has no `for_each`, so it has no keys."));
            self.diagnostics.push(error.help(format!("write instance.{name} without brackets")));
            return;
        }
        let Some(Step { kind: StepKind::Attribute(attribute), place: attribute_place }) = rest.first() else {
            return;
        };
        if !INSTANCE_ATTRIBUTES.contains(&&**attribute) {
            let mut error = self
                .error(*attribute_place, "config::unknown_reference", "an instance has no such attribute")
                .detail(format!("`instance.{name}` has no attribute `{attribute}`."));
            error.help.extend(suggest::help(attribute, INSTANCE_ATTRIBUTES));
            self.diagnostics.push(error);
            return;
        }
        if &**attribute != "volume" {
            return;
        }
        let disk = match rest.get(1).map(|step| (&step.kind, step.place)) {
            Some((StepKind::Attribute(disk), place)) => (Arc::clone(disk), place),
            Some((StepKind::Index(index), place)) => match &*index.kind {
                ExprKind::String(disk) => (Arc::clone(disk), place),
                _ => return,
            },
            _ => return,
        };
        if !known.image && !known.disks.contains(&disk.0) {
            let mut error = self
                .error(disk.1, "config::unknown_disk", "an instance has no such disk")
                .detail(format!("`instance.{name}` has no disk `{}`.", disk.0));
            error.help.extend(suggest::help(&disk.0, known.disks.iter().map(|disk| &**disk)));
            self.diagnostics.push(error);
        } else if let Some(Step { kind: StepKind::Attribute(attribute), place }) = rest.get(2)
            && !VOLUME_ATTRIBUTES.contains(&&**attribute)
        {
            let mut error = self
                .error(*place, "config::unknown_reference", "a volume has no such attribute")
                .detail(format!("A volume has no attribute `{attribute}`."));
            error.help.extend(suggest::help(attribute, VOLUME_ATTRIBUTES));
            self.diagnostics.push(error);
        }
    }
}

/// An instance that no block declares.
pub(super) fn unknown_instance(sources: &Sources, names: &Names, name: &str, place: Place) -> Diagnostic {
    let mut error = Diagnostic::error("config::unknown_instance", "there is no such instance")
        .at(sources.span(place))
        .detail(format!("No block declares the instance `{name}`."));
    let near = suggest::nearest(name, names.instances.keys().map(|name| &**name));
    error.help.extend(near.map(|near| format!("did you mean `instance.{near}`?")));
    error.help(format!("declare it: instance \"{name}\" {{ … }}"))
}

/// The order in which to evaluate, dependencies first; what is in a cycle is left out of it, and
/// each cycle is named whole.
pub(super) fn order(
    uses: &BTreeMap<Node, BTreeMap<Node, Place>>,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<Node> {
    let mut graph: DiGraph<&Node, ()> = DiGraph::new();
    let indices: HashMap<&Node, NodeIndex> = uses.keys().map(|node| (node, graph.add_node(node))).collect();
    for (node, needs) in uses {
        for need in needs.keys() {
            if let (Some(from), Some(to)) = (indices.get(node), indices.get(need)) {
                graph.add_edge(*from, *to, ());
            }
        }
    }
    let mut ordered = Vec::with_capacity(uses.len());
    for component in kosaraju_scc(&graph) {
        let mut members: Vec<&Node> = component.iter().map(|index| graph[*index]).collect();
        members.sort();
        let Some(first) = members.first().copied() else { continue };
        let own = uses.get(first).is_some_and(|needs| needs.contains_key(first));
        if members.len() == 1 && !own {
            ordered.push(first.clone());
        } else {
            diagnostics.push(cycle(first, &members.iter().copied().collect(), uses, sources));
        }
    }
    ordered
}

/// The shortest cycle through a node of a strongly connected component.
fn cycle(
    first: &Node,
    members: &BTreeSet<&Node>,
    uses: &BTreeMap<Node, BTreeMap<Node, Place>>,
    sources: &Sources,
) -> Diagnostic {
    let needs = |node: &Node| uses.get(node).into_iter().flat_map(BTreeMap::keys);
    let mut came_from: BTreeMap<&Node, &Node> = BTreeMap::new();
    let mut queue = VecDeque::from([first]);
    let mut path = vec![first.to_string()];
    while let Some(node) = queue.pop_front() {
        if needs(node).any(|need| need == first) {
            let mut back = vec![node];
            while let Some(previous) = came_from.get(back.last().copied().unwrap_or(first)) {
                back.push(previous);
            }
            path = back.iter().rev().map(ToString::to_string).collect();
            path.push(first.to_string());
            break;
        }
        for need in needs(node) {
            if members.contains(need) && need != first && !came_from.contains_key(need) {
                came_from.insert(need, node);
                queue.push_back(need);
            }
        }
    }
    let place = uses
        .get(first)
        .and_then(|needs| needs.iter().find(|(need, _)| members.contains(need)).map(|(_, place)| *place));
    let itself = path.len() <= 2;
    let error = Diagnostic::error(
        "config::cycle",
        if itself { "something needs itself" } else { "things need each other in a circle" },
    )
    .at(place.and_then(|place| sources.span(place)))
    .detail(format!("Each of these needs the next before it has a value: {}.", path.join(" → ")));
    error.help("break the circle: remove one of these references or `depends_on` entries")
}
