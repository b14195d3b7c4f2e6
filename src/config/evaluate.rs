//! Evaluation of a whole configuration, dependencies first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use super::ast::Block;
use super::decode::{self, Decoder, Sink};
use super::expression::{Evaluation, Evaluator, Failure, InstanceValue, Scope};
use super::facts::{KnownFacts, data_value, instance_value};
use super::functions::FileCache;
use super::load::{Config, InstanceBlock, Options, load};
use super::references::Node;
use super::suggest;
use super::types::{self, Type};
use super::value::{Kind, Value};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Span};
use crate::model::{
    AccessNodeSpec, InstanceAddress, InstanceSpec, Lookup, LookupKind, OutputSpec, ProviderSpec,
};

/// What a configuration asks for.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The provider.
    pub provider: ProviderSpec,
    /// The access node.
    pub access_node: AccessNodeSpec,
    /// The instances. After errors, those whose own block is right.
    pub instances: BTreeMap<InstanceAddress, InstanceSpec>,
    /// The outputs.
    pub outputs: BTreeMap<String, OutputSpec>,
    /// The data sources whose arguments are known, by address.
    pub data: BTreeMap<String, DataRequest>,
    /// `required_version` as it is written.
    pub required_version: Option<String>,
    /// Where the provider's block stands, when there is one.
    pub provider_span: Option<Span>,
    /// Where the access node's block stands, when there is one.
    pub access_node_span: Option<Span>,
}

/// A data source, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRequest {
    /// What it asks for.
    pub lookup: Lookup,
    /// Where its block stands.
    pub span: Option<Span>,
}

/// Loads and evaluates a directory with nothing known of its instances: all of its mistakes, each
/// once.
#[must_use]
pub fn check(directory: &Path, options: &Options) -> (Option<(Config, Evaluated)>, Diagnostics) {
    let (config, mut found) = load(directory, options);
    let Some(config) = config else { return (None, found) };
    let (evaluated, more) = config.evaluate(&KnownFacts::default());
    found.extend(more);
    let mut diagnostics = deduplicated(found);
    diagnostics.sort_by_place();
    (Some((config, evaluated)), diagnostics)
}

/// Each mistake once: what many instances of one block have in common is said of the first.
fn deduplicated(found: Diagnostics) -> Diagnostics {
    let mut kept: Vec<(Diagnostic, usize)> = Vec::new();
    let mut seen: HashMap<(Code, Option<Span>, Option<String>), usize> = HashMap::new();
    for diagnostic in found {
        // Without a place, the detail tells two mistakes apart.
        let detail = diagnostic.span.is_none().then(|| diagnostic.detail.clone());
        let key = (diagnostic.code.clone(), diagnostic.span.clone(), detail);
        match seen.get(&key).and_then(|index| kept.get_mut(*index)) {
            Some((first, more)) => *more += usize::from(first.address != diagnostic.address),
            None => {
                seen.insert(key, kept.len());
                kept.push((diagnostic, 0));
            }
        }
    }
    let mut diagnostics = Diagnostics::new();
    diagnostics.extend(kept.into_iter().map(|(mut diagnostic, more)| {
        if more > 0 {
            diagnostic.detail.push_str(&format!(" The same holds for {more} more."));
        }
        diagnostic
    }));
    diagnostics
}

/// What evaluating goes through.
struct Run<'a> {
    config: &'a Config,
    known: &'a KnownFacts,
    evaluator: Evaluator<'a>,
    instances: BTreeMap<InstanceAddress, InstanceSpec>,
    data: BTreeMap<String, DataRequest>,
    /// The keys of each instance with `for_each`, `None` without.
    keys: BTreeMap<Arc<str>, Option<BTreeSet<Arc<str>>>>,
    found: Diagnostics,
}

impl Config {
    /// Evaluates everything. What `known` does not hold is unknown.
    #[must_use]
    pub fn evaluate(&self, known: &KnownFacts) -> (Evaluated, Diagnostics) {
        self.evaluate_reading(known, &self.files)
    }

    pub(super) fn evaluate_reading(&self, known: &KnownFacts, files: &FileCache) -> (Evaluated, Diagnostics) {
        let mut run = Run {
            config: self,
            known,
            evaluator: Evaluator {
                sources: &self.sources,
                directory: &self.directory,
                components_may_be_missing: self.components_may_be_missing,
                files,
                variables: &self.variables,
                locals: RefCell::default(),
                instances: RefCell::default(),
                data: RefCell::default(),
                unread: Cell::new(false),
                faulty: &self.faulty,
                trace: RefCell::default(),
            },
            instances: BTreeMap::new(),
            data: BTreeMap::new(),
            keys: BTreeMap::new(),
            found: Diagnostics::new(),
        };
        for node in &self.order {
            match node {
                Node::Local(name) => run.local(name),
                Node::Instance(name) => run.instance_block(name),
                Node::Data(kind, name) => run.data_block(*kind, name),
            }
        }
        run.check_depends_on();
        run.check_addresses();
        let outputs = run.outputs();
        // Settings cannot wait for what is read with them.
        run.evaluator.unread.set(false);
        let mut sink = Sink::default();
        let required_version = decode::required_version(&run.evaluator, self.replant.as_ref(), &mut sink);
        let provider = decode::provider(&run.evaluator, self.provider.as_ref(), &mut sink);
        let access_node = decode::access_node(&run.evaluator, self.access_node.as_ref(), &mut sink);
        run.found.extend(sink.diagnostics);
        if let ProviderSpec::Aws(aws) = &provider {
            for instance in run.instances.values_mut() {
                for (key, value) in &aws.default_tags {
                    instance.tags.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        let span = |block: &Option<Block>| block.as_ref().and_then(|block| self.sources.span(block.place));
        let evaluated = Evaluated {
            provider,
            access_node,
            instances: run.instances,
            data: run.data,
            outputs,
            required_version,
            provider_span: span(&self.provider),
            access_node_span: span(&self.access_node),
        };
        let mut diagnostics = deduplicated(run.found);
        diagnostics.sort_by_place();
        (evaluated, diagnostics)
    }
}

impl Run<'_> {
    fn report(&mut self, failure: Failure) {
        if let Failure::Diagnostic(error) = failure {
            self.found.push(*error);
        }
    }

    /// Evaluates, and tells which instances were referred to.
    fn traced<T>(&self, evaluate: impl FnOnce(&Evaluator<'_>) -> T) -> (T, BTreeSet<InstanceAddress>) {
        let outer = self.evaluator.trace.take();
        let result = evaluate(&self.evaluator);
        (result, self.evaluator.trace.replace(outer))
    }

    fn local(&mut self, name: &Arc<str>) {
        let Some(expr) = self.config.locals.get(name) else { return };
        let (result, used) = self.traced(|evaluator| evaluator.attribute_value(expr, &Scope::EMPTY));
        let value = match result {
            Ok(value) => Some(value),
            Err(failure) => {
                self.report(failure);
                None
            }
        };
        self.evaluator.locals.borrow_mut().insert(Arc::clone(name), (value, Arc::new(used)));
    }

    fn instance_block(&mut self, name: &Arc<str>) {
        let config = self.config;
        let Some(declared) = config.instances.get(name) else { return };
        let value = match declared.block.attribute("for_each") {
            None => {
                self.keys.insert(Arc::clone(name), None);
                let value = self.instance(declared, InstanceAddress::new(&**name), None, &BTreeSet::new());
                value.map_or(InstanceValue::Failed, InstanceValue::One)
            }
            Some(attribute) => {
                let (keys, used) = self.traced(|evaluator| for_each(evaluator, &attribute.expr));
                match keys {
                    Ok(pairs) => {
                        self.keys.insert(
                            Arc::clone(name),
                            Some(pairs.iter().map(|(key, _)| Arc::clone(key)).collect()),
                        );
                        let mut values = BTreeMap::new();
                        let mut complete = true;
                        for (key, value) in pairs {
                            let address = InstanceAddress::with_key(&**name, &*key);
                            let names = each_of(&key, value);
                            match self.instance(declared, address, Some(&names), &used) {
                                Some(value) => {
                                    values.insert(key, value);
                                }
                                None => complete = false,
                            }
                        }
                        if complete {
                            InstanceValue::Each(Value::object(values))
                        } else {
                            InstanceValue::Failed
                        }
                    }
                    Err(failure) => {
                        self.report(failure);
                        InstanceValue::Failed
                    }
                }
            }
        };
        self.evaluator.instances.borrow_mut().insert(Arc::clone(name), value);
    }

    fn data_block(&mut self, kind: LookupKind, name: &Arc<str>) {
        let config = self.config;
        let Some(block) = config.data.get(&(kind, Arc::clone(name))) else { return };
        let address = format!("data.{}.{name}", kind.as_str());
        let mut used = BTreeSet::new();
        let value = match block.attribute("for_each") {
            None => self
                .data_source(kind, block, address, &[], &mut used)
                .map_or(InstanceValue::Failed, InstanceValue::One),
            Some(attribute) => {
                let (keys, from) = self.traced(|evaluator| for_each(evaluator, &attribute.expr));
                used.extend(from);
                match keys {
                    Ok(pairs) => {
                        let mut values = BTreeMap::new();
                        let wanted = pairs.len();
                        for (key, value) in pairs {
                            let address = format!("{address}[{:?}]", &*key);
                            let names = each_of(&key, value);
                            let value = self.data_source(kind, block, address, &names, &mut used);
                            values.extend(value.map(|value| (key, value)));
                        }
                        match values.len() == wanted {
                            true => InstanceValue::Each(Value::object(values)),
                            false => InstanceValue::Failed,
                        }
                    }
                    Err(failure) => {
                        self.report(failure);
                        InstanceValue::Failed
                    }
                }
            }
        };
        self.evaluator.data.borrow_mut().insert((kind, Arc::clone(name)), (value, Arc::new(used)));
    }

    /// Decodes one data source; its value for expressions, if it has no mistakes.
    fn data_source(
        &mut self,
        kind: LookupKind,
        block: &Block,
        address: String,
        names: &[(Arc<str>, Value)],
        used: &mut BTreeSet<InstanceAddress>,
    ) -> Option<Value> {
        let scope = Scope::block(names);
        let mut sink = Sink::default();
        let (lookup, from) = self.traced(|evaluator| decode::data(evaluator, block, kind, &scope, &mut sink));
        used.extend(from);
        let errors = sink.failed || sink.diagnostics.iter().any(Diagnostic::is_error);
        self.found.extend(sink.diagnostics.into_iter().map(|mut diagnostic| {
            diagnostic.address.get_or_insert_with(|| address.clone());
            diagnostic
        }));
        if errors {
            return None;
        }
        let found = match sink.unknown.is_empty() {
            true => self.known.data.get(&lookup).map(|found| data_value(kind, found)),
            // Another data source comes first.
            false => None,
        };
        if sink.unknown.is_empty() {
            let span = self.evaluator.sources.span(block.place);
            self.data.insert(address, DataRequest { lookup, span });
        }
        Some(found.unwrap_or_else(|| {
            self.evaluator.unread.set(true);
            Value::UNKNOWN
        }))
    }

    /// Decodes one instance; its value for expressions, if it has no mistakes.
    fn instance(
        &mut self,
        declared: &InstanceBlock,
        address: InstanceAddress,
        each: Option<&[(Arc<str>, Value)]>,
        used: &BTreeSet<InstanceAddress>,
    ) -> Option<Value> {
        let scope = Scope::block(each.unwrap_or_default());
        let mut sink = Sink::default();
        let (mut spec, mut needs) = self
            .traced(|evaluator| decode::instance(evaluator, declared, address.clone(), &scope, &mut sink));
        let errors = sink.failed || sink.diagnostics.iter().any(Diagnostic::is_error);
        self.found.extend(sink.diagnostics.into_iter().map(|mut diagnostic| {
            diagnostic.address.get_or_insert_with(|| address.to_string());
            diagnostic
        }));
        needs.extend(used.iter().cloned());
        for (other, key, _) in &declared.depends_on {
            match (key, self.keys.get(other)) {
                (Some(key), _) => {
                    needs.insert(InstanceAddress::with_key(&**other, &**key));
                }
                (None, Some(Some(keys))) => {
                    needs.extend(keys.iter().map(|key| InstanceAddress::with_key(&**other, &**key)));
                }
                (None, _) => {
                    needs.insert(InstanceAddress::new(&**other));
                }
            }
        }
        spec.depends_on = needs;
        if errors {
            return None;
        }
        let value = if declared.referenced {
            instance_value(&spec, self.known.instances.get(&address))
        } else {
            Value::NULL
        };
        self.instances.insert(address, spec);
        Some(value)
    }

    /// Keys that `depends_on` names must exist.
    fn check_depends_on(&mut self) {
        let mut wrong = Vec::new();
        for declared in self.config.instances.values() {
            for (other, key, place) in &declared.depends_on {
                let error = |detail: String| {
                    self.evaluator
                        .error(*place, "config::unknown_instance", "there is no such instance")
                        .detail(detail)
                };
                match (key, self.keys.get(other)) {
                    (Some(key), Some(Some(keys))) if !keys.contains(key) => {
                        let mut error = error(format!("`instance.{other}` has no key \"{key}\"."));
                        error.help.extend(suggest::help(key, keys.iter().map(|key| &**key)));
                        wrong.push(error);
                    }
                    (Some(_), Some(None)) => {
                        let error =
                            error(format!("`instance.{other}` has no `for_each`, so it has no keys."));
                        wrong.push(error.help(format!("write instance.{other} without brackets")));
                    }
                    _ => {}
                }
            }
        }
        self.found.extend(wrong);
    }

    /// No two instances may have the same private address.
    fn check_addresses(&mut self) {
        let mut taken: HashMap<(Ipv4Addr, Option<&str>), &InstanceAddress> = HashMap::new();
        for (address, spec) in &self.instances {
            let Some(ip) = spec.private_ip else { continue };
            if let Some(first) = taken.insert((ip, spec.subnet_id.as_deref()), address) {
                let shown = if spec.sensitive.contains("private_ip") {
                    "Its address".to_owned()
                } else {
                    ip.to_string()
                };
                self.found.push(
                    Diagnostic::error(
                        "config::duplicate_address",
                        "two instances have the same private address",
                    )
                    .at(spec.span("private_ip"))
                    .about(address)
                    .detail(format!("{shown} is given to `{first}` and to `{address}`."))
                    .help("give each its own; under for_each, take it from each.value, or leave it out"),
                );
            }
        }
    }

    fn outputs(&mut self) -> BTreeMap<String, OutputSpec> {
        let config = self.config;
        let mut outputs = BTreeMap::new();
        for block in &config.outputs {
            let scope = Scope::EMPTY;
            let mut sink = Sink::default();
            let mut decoder = Decoder {
                evaluator: &self.evaluator,
                scope: &scope,
                block,
                prefix: String::new(),
                sink: &mut sink,
            };
            let sensitive = decoder.bool("sensitive").unwrap_or(false);
            let description = match decoder.value("description", &Type::String, false) {
                Some((Value { kind: Kind::String(text), .. }, _)) => Some(text.to_string()),
                _ => None,
            };
            let value = block
                .attribute("value")
                .and_then(|attribute| Some((decoder.eval(&attribute.expr)?, attribute)));
            self.found.extend(sink.diagnostics);
            let Some((value, attribute)) = value else { continue };
            if value.any_sensitive() && !sensitive {
                self.found.push(
                    self.evaluator
                        .error(attribute.expr.place, "config::sensitive_output", "an output would show a sensitive value")
                        .detail(format!("The value of output \"{}\" comes from a sensitive one.", block.label()))
                        .help("add `sensitive = true` to the output; `replant output NAME` then shows it when asked")
                        .help("or, when it gives no secret away, wrap it: nonsensitive(…)"),
                );
            }
            let spec = OutputSpec { value: value.to_json(), sensitive, description };
            outputs.entry(block.label().to_owned()).or_insert(spec);
        }
        outputs
    }
}

/// What `each` is for one key.
fn each_of(key: &Arc<str>, value: Value) -> [(Arc<str>, Value); 1] {
    let each = [(Arc::from("key"), Value::string(Arc::clone(key))), (Arc::from("value"), value)];
    [(Arc::from("each"), Value::object(BTreeMap::from(each)))]
}

/// The keys and values of a `for_each`.
fn for_each(evaluator: &Evaluator<'_>, expr: &super::ast::Expr) -> Evaluation<Vec<(Arc<str>, Value)>> {
    let value = evaluator.attribute_value(expr, &Scope::EMPTY)?;
    let wrong = |code: &str, summary: &str, detail: String, help: &str| {
        Failure::from(evaluator.error(expr.place, code, summary).detail(detail).help(help))
    };
    let keys_sensitive = value.sensitive || (matches!(value.kind, Kind::Set(_)) && value.any_sensitive());
    if keys_sensitive {
        return Err(wrong(
            "config::sensitive_for_each",
            "`for_each` goes over a sensitive value",
            "Its keys become addresses, which are shown everywhere.".to_owned(),
            "take the keys from something that is not secret, or wrap it: nonsensitive(…)",
        ));
    }
    let unknown = value.is_unknown() || (matches!(value.kind, Kind::Set(_)) && value.any_unknown());
    if unknown && evaluator.unread.get() {
        return Err(Failure::Reported);
    }
    if unknown {
        return Err(wrong(
            "config::unknown_at_plan",
            "a value must be known while planning",
            "`for_each` decides which instances there are, and this value is known only after apply."
                .to_owned(),
            "take the keys from the configuration; values may be unknown, keys not",
        ));
    }
    if let Some(entries) = value.entries() {
        return Ok(entries.iter().map(|(key, value)| (Arc::clone(key), value.clone())).collect());
    }
    match &value.kind {
        Kind::Set(items) => items
            .values
            .iter()
            .map(|element| match types::convert(element, &Type::String).map(|value| value.kind) {
                Ok(Kind::String(key)) => Ok((Arc::clone(&key), Value::string(key))),
                _ => Err(wrong(
                    "config::invalid_for_each",
                    "`for_each` cannot go over this value",
                    format!("The elements of the set are keys, and one is {}.", element.describe()),
                    "use a set of strings, or a map",
                )),
            })
            .collect(),
        Kind::List(_) | Kind::Tuple(_) => Err(wrong(
            "config::invalid_for_each",
            "`for_each` cannot go over this value",
            format!("It goes over a map or a set of strings, and this is {}.", value.describe()),
            "make a set of it, toset(…), or a map: { for each in LIST : each.name => each }",
        )),
        _ => Err(wrong(
            "config::invalid_for_each",
            "`for_each` cannot go over this value",
            format!("It goes over a map or a set of strings, and this is {}.", value.describe()),
            "give it a map or toset([…]); an empty one makes no instance",
        )),
    }
}
