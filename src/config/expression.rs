//! Evaluation of expressions: [`Evaluator`] holds what names stand for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::ast::{Expr, ExprKind, For, Key, Step, StepKind};
use super::functions::{self, FileCache};
use super::references::{DataName, ROOTS, root_help};
use super::source::{Place, Sources};
use super::suggest;
use super::types::{self, Type};
use super::value::{Kind, Value};
use crate::diagnostic::Diagnostic;
use crate::model::{InstanceAddress, LookupKind};

/// Why an expression has no value.
#[derive(Debug)]
pub(super) enum Failure {
    /// The cause has its diagnostic already.
    Reported,
    /// This is the cause.
    Diagnostic(Box<Diagnostic>),
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Diagnostic(Box::new(diagnostic))
    }
}

pub(super) type Evaluation<T = Value> = Result<T, Failure>;

/// Names bound inside an expression: `for` variables, `each`, a template file's variables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    parent: Option<&'a Self>,
    names: &'a [(Arc<str>, Value)],
    /// A template file sees its own variables and nothing else.
    closed: bool,
}

impl<'a> Scope<'a> {
    pub(super) const EMPTY: Self = Self { parent: None, names: &[], closed: false };

    /// The names of a block: `each`, if it has one.
    pub(super) fn block(names: &'a [(Arc<str>, Value)]) -> Self {
        Self { parent: None, names, closed: false }
    }

    pub(super) fn closed(names: &'a [(Arc<str>, Value)]) -> Self {
        Self { parent: None, names, closed: true }
    }

    pub(super) fn inner(&'a self, names: &'a [(Arc<str>, Value)]) -> Self {
        Self { parent: Some(self), names, closed: self.closed }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let here = self.names.iter().find(|(known, _)| &**known == name).map(|(_, value)| value);
        here.or_else(|| self.parent.and_then(|parent| parent.get(name)))
    }

    fn known(&self) -> Vec<&str> {
        let mut names = self.parent.map(Self::known).unwrap_or_default();
        names.extend(self.names.iter().map(|(name, _)| &**name));
        names
    }
}

/// What `instance.NAME` stands for.
#[derive(Debug, Clone)]
pub(super) enum InstanceValue {
    One(Value),
    /// A map by `for_each` key.
    Each(Value),
    /// Its block has mistakes, already reported.
    Failed,
}

/// A local's value, and the instances that it was computed from.
pub(super) type LocalValue = (Option<Value>, Arc<BTreeSet<InstanceAddress>>);

/// What `data.KIND.NAME` stands for, and the instances that it was computed from.
pub(super) type LocalDataValue = (InstanceValue, Arc<BTreeSet<InstanceAddress>>);

/// Evaluates expressions.
pub(super) struct Evaluator<'a> {
    pub(super) sources: &'a Sources,
    /// The configuration's directory.
    pub(super) directory: &'a Path,
    /// Whether folders of components may be missing.
    pub(super) components_may_be_missing: bool,
    pub(super) files: &'a FileCache,
    pub(super) variables: &'a BTreeMap<Arc<str>, Option<Value>>,
    pub(super) locals: RefCell<BTreeMap<Arc<str>, LocalValue>>,
    pub(super) instances: RefCell<BTreeMap<Arc<str>, InstanceValue>>,
    pub(super) data: RefCell<BTreeMap<DataName, LocalDataValue>>,
    /// Whether a data source that was evaluated is not read yet, so that what is unknown may be
    /// known in the next evaluation.
    pub(super) unread: Cell<bool>,
    /// Expressions whose names are wrong, which has been reported.
    pub(super) faulty: &'a BTreeSet<Place>,
    /// The instances that have been referred to since this was last emptied.
    pub(super) trace: RefCell<BTreeSet<InstanceAddress>>,
}

impl Evaluator<'_> {
    /// An error at a place.
    pub(super) fn error(&self, place: Place, code: &str, summary: &str) -> Diagnostic {
        Diagnostic::error(code, summary).at(self.sources.span(place))
    }

    /// The value of an attribute, unless it is known to be faulty.
    pub(super) fn attribute_value(&self, expr: &Expr, scope: &Scope<'_>) -> Evaluation {
        if self.faulty.contains(&expr.place) {
            return Err(Failure::Reported);
        }
        self.eval(expr, scope)
    }

    /// The value of an expression.
    pub(super) fn eval(&self, expr: &Expr, scope: &Scope<'_>) -> Evaluation {
        let place = expr.place;
        let value = match &*expr.kind {
            ExprKind::Null => Value::NULL,
            ExprKind::Bool(value) => Value::bool(*value),
            ExprKind::Number(number) => Value::number(*number),
            ExprKind::String(text) => Value::string(Arc::clone(text)),
            ExprKind::Parenthesis(inner) => return self.eval(inner, scope),
            ExprKind::Tuple(elements) => {
                let values = elements.iter().map(|element| self.eval(element, scope));
                Value::tuple(values.collect::<Result<_, _>>()?)
            }
            ExprKind::Object(fields) => self.object(fields, scope)?,
            ExprKind::Template(parts) => self.template(parts, scope)?,
            ExprKind::Name(_) => self.root(expr, &[], scope)?.0,
            ExprKind::Traversal(base, steps) => match &*base.kind {
                ExprKind::Name(_) => {
                    let (value, used) = self.root(base, steps, scope)?;
                    self.steps(value, &steps[used..], scope)?
                }
                _ => self.steps(self.eval(base, scope)?, steps, scope)?,
            },
            ExprKind::Conditional { condition, then, otherwise } => {
                self.conditional(condition, then, otherwise, scope)?
            }
            ExprKind::Call { name, name_place, arguments, expand } => {
                functions::call(self, name, *name_place, place, arguments, *expand, scope)?
            }
            ExprKind::Not(inner) => {
                let value = self.eval(inner, scope)?;
                self.boolean(&value, inner.place)?
                    .map_or(Value::UNKNOWN, |known| Value::bool(!known))
                    .marked(value.sensitive)
            }
            ExprKind::Negate(inner) => {
                let value = self.eval(inner, scope)?;
                self.number(&value, inner.place)?
                    .map_or(Value::UNKNOWN, |known| Value::number(known.negate()))
                    .marked(value.sensitive)
            }
            ExprKind::Binary { operator, left, right } => self.binary(*operator, left, right, scope)?,
            ExprKind::For(each) => self.for_expression(each, scope)?,
        };
        if value.is_excessive() {
            return Err(self.excessive(place));
        }
        Ok(value)
    }

    fn excessive(&self, place: Place) -> Failure {
        self.error(place, "config::value_too_large", "a value is too large")
            .detail("The value of this expression has millions of parts, or hundreds of levels.")
            .help("build smaller values; a list that doubles itself grows without bounds")
            .into()
    }

    pub(super) fn wrong_type(&self, place: Place, message: &str) -> Failure {
        let mut letters = message.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase()).unwrap_or_default();
        self.error(place, "config::wrong_type", "a value has the wrong type")
            .detail(format!("{first}{}.", letters.as_str()))
            .help("give a value of that type, or convert it: tostring(…), tonumber(…), tolist(…), toset(…)")
            .into()
    }

    fn object(&self, fields: &[(Key, Expr)], scope: &Scope<'_>) -> Evaluation {
        let mut values = BTreeMap::new();
        let mut sensitive = false;
        for (key, expr) in fields {
            let value = self.eval(expr, scope)?;
            let name = match key {
                Key::Word(word) => Arc::clone(word),
                Key::Expr(key) => {
                    let key_value = self.eval(key, scope)?;
                    sensitive |= key_value.sensitive;
                    match types::convert(&key_value, &Type::String).map(|value| value.kind) {
                        Ok(Kind::String(name)) => name,
                        Ok(Kind::Unknown) => return Ok(Value::UNKNOWN.marked(sensitive)),
                        Ok(_) => return Err(self.wrong_type(key.place, "an object's key cannot be null")),
                        Err(error) => return Err(self.wrong_type(key.place, &error.message)),
                    }
                }
            };
            values.insert(name, value);
        }
        Ok(Value::object(values).marked(sensitive))
    }

    /// What a bare name stands for, and how many of the steps after it belong to that.
    fn root(&self, expr: &Expr, steps: &[Step], scope: &Scope<'_>) -> Evaluation<(Value, usize)> {
        let ExprKind::Name(name) = &*expr.kind else {
            return self.eval(expr, scope).map(|value| (value, 0));
        };
        if let Some(value) = scope.get(name) {
            return Ok((value.clone(), 0));
        }
        if scope.closed {
            let mut error = self
                .error(expr.place, "config::unknown_name", "a template uses an unknown name")
                .detail(format!("The template is not given a variable `{name}`."));
            error.help.extend(suggest::help(name, scope.known()));
            return Err(error.help("give it in the second argument of templatefile").into());
        }
        let first = match steps.first() {
            Some(Step { kind: StepKind::Attribute(first), .. }) => Some(Arc::clone(first)),
            Some(Step { kind: StepKind::Index(index), .. }) => match &*index.kind {
                ExprKind::String(first) => Some(Arc::clone(first)),
                _ => None,
            },
            _ => None,
        };
        match (&**name, first) {
            ("var", Some(first)) => match self.variables.get(&first) {
                Some(Some(value)) => Ok((value.clone(), 1)),
                // Unknown or faulty variables have been reported where they stand.
                _ => Err(Failure::Reported),
            },
            ("local", Some(first)) => match self.locals.borrow().get(&first) {
                Some((Some(value), used)) => {
                    self.trace.borrow_mut().extend(used.iter().cloned());
                    Ok((value.clone(), 1))
                }
                _ => Err(Failure::Reported),
            },
            ("path", Some(first)) => self.path(&first, expr, steps),
            ("replant", Some(first)) if &*first == "version" => {
                Ok((Value::string(env!("CARGO_PKG_VERSION")), 1))
            }
            ("instance", Some(first)) => self.instance(&first, steps, scope),
            ("data", Some(first)) if steps.len() > 1 => self.data(&first, steps),
            (other, first) => {
                let error = if ROOTS.contains(&other) && (first.is_none() || other != "replant") {
                    self.error(expr.place, "config::incomplete_reference", "a reference is incomplete")
                        .detail(format!("`{other}` alone has no value; a name follows it."))
                        .help(root_help(other))
                } else {
                    let mut known = scope.known();
                    known.extend(ROOTS);
                    let mut error = self
                        .error(expr.place, "config::unknown_name", "there is no such name")
                        .detail(format!("Nothing is called `{other}` here."));
                    error
                        .help
                        .extend(suggest::nearest(other, known).map(|near| format!("did you mean `{near}`?")));
                    error.help(format!("if a text is meant, put it in quotes: \"{other}\""))
                };
                Err(error.into())
            }
        }
    }

    fn path(&self, name: &str, expr: &Expr, steps: &[Step]) -> Evaluation<(Value, usize)> {
        match name {
            // Paths are relative to the configuration's directory, so that is where it is.
            "module" | "root" => Ok((Value::string("."), 1)),
            "cwd" => {
                let current = std::env::current_dir().map_err(|error| {
                    self.error(expr.place, "config::path", "the current directory is unknown")
                        .detail(format!("The system says: {error}."))
                        .help("start replant in a directory that exists and may be read")
                })?;
                Ok((Value::string(current.to_string_lossy()), 1))
            }
            other => {
                let place = steps.first().map_or(expr.place, |step| step.place);
                let mut error = self
                    .error(place, "config::unknown_name", "there is no such name")
                    .detail(format!("There is no `path.{other}`."));
                error.help.extend(suggest::help(other, ["module", "root", "cwd"]));
                Err(error.into())
            }
        }
    }

    /// `data.KIND.NAME`.
    fn data(&self, kind: &str, steps: &[Step]) -> Evaluation<(Value, usize)> {
        let (Some(kind), Some(Step { kind: StepKind::Attribute(name), .. })) =
            (LookupKind::named(kind), steps.get(1))
        else {
            return Err(Failure::Reported);
        };
        match self.data.borrow().get(&(kind, Arc::clone(name))) {
            Some((InstanceValue::One(value) | InstanceValue::Each(value), used)) => {
                self.trace.borrow_mut().extend(used.iter().cloned());
                Ok((value.clone(), 2))
            }
            _ => Err(Failure::Reported),
        }
    }

    /// `instance.NAME`, or one of its keys, noted in the trace.
    fn instance(&self, name: &str, steps: &[Step], scope: &Scope<'_>) -> Evaluation<(Value, usize)> {
        let value = self.instances.borrow().get(name).cloned();
        match value {
            None | Some(InstanceValue::Failed) => Err(Failure::Reported),
            Some(InstanceValue::One(value)) => {
                self.trace.borrow_mut().insert(InstanceAddress::new(name));
                Ok((value, 1))
            }
            Some(InstanceValue::Each(value)) => {
                // A key that is named makes it depend on that instance alone.
                if let Some(Step { kind: StepKind::Index(index), .. }) = steps.get(1)
                    && let Ok(Value { kind: Kind::String(key), .. }) = self.eval(index, scope)
                    && let Some(found) = value.entries().and_then(|all| all.get(&key))
                {
                    self.trace.borrow_mut().insert(InstanceAddress::with_key(name, &*key));
                    return Ok((found.clone(), 2));
                }
                let keys = value.entries().into_iter().flat_map(BTreeMap::keys);
                self.trace.borrow_mut().extend(keys.map(|key| InstanceAddress::with_key(name, &**key)));
                Ok((value, 1))
            }
        }
    }

    /// A value after the steps of a traversal.
    pub(super) fn steps(&self, mut value: Value, steps: &[Step], scope: &Scope<'_>) -> Evaluation {
        for step in steps {
            value = match &step.kind {
                StepKind::Attribute(name) => self.attribute(&value, name, step.place)?,
                StepKind::Index(index) => {
                    let key = self.eval(index, scope)?;
                    self.index(&value, &key, index.place)?
                }
                StepKind::Splat(inner) => {
                    let sensitive = value.sensitive;
                    let elements: Vec<Value> = match &value.kind {
                        Kind::Unknown => return Ok(value),
                        Kind::Null => Vec::new(),
                        _ => match value.elements() {
                            Some(elements) => elements.to_vec(),
                            None => vec![value],
                        },
                    };
                    let each = elements.into_iter().map(|element| self.steps(element, inner, scope));
                    Value::tuple(each.collect::<Result<_, _>>()?).marked(sensitive)
                }
            };
        }
        Ok(value)
    }

    fn attribute(&self, value: &Value, name: &str, place: Place) -> Evaluation {
        if value.is_unknown() {
            return Ok(value.clone());
        }
        if let Some(entries) = value.entries() {
            return match entries.get(name) {
                Some(found) => Ok(found.clone().marked(value.sensitive)),
                None => Err(self.no_such_key(value, name, place)),
            };
        }
        // `list.0` came as an index; an attribute of a list is a slip.
        let mut error = self
            .error(place, "config::no_attributes", "a value has no attributes")
            .detail(format!("`.{name}` is asked of {}, which has no attributes.", value.describe()));
        if value.elements().is_some() {
            error = error.help("name an element first, as in `[0]`, or all of them with `[*]`");
        } else if value.is_null() {
            error = error.help("test for null first, or wrap it: try(…, default)");
        } else {
            error = error.help("only objects and maps have attributes");
        }
        Err(error.into())
    }

    fn no_such_key(&self, value: &Value, name: &str, place: Place) -> Failure {
        let shown = if value.sensitive { "that key".to_owned() } else { format!("`{name}`") };
        let mut error =
            self.error(place, "config::no_such_key", "an object or map has no such key").detail(format!(
                "There is no {shown} in this {}.",
                value.describe().trim_start_matches("an ").trim_start_matches("a ")
            ));
        if !value.sensitive {
            let keys = value.entries().into_iter().flat_map(BTreeMap::keys).map(|key| &**key);
            error.help.extend(suggest::help(name, keys));
        }
        if error.help.is_empty() {
            error = error.help("use lookup(map, key, default) where a key may be missing");
        }
        error.into()
    }

    /// `value[key]`.
    pub(super) fn index(&self, value: &Value, key: &Value, place: Place) -> Evaluation {
        let sensitive = value.sensitive || key.sensitive;
        if value.is_unknown() || key.is_unknown() {
            return Ok(Value::UNKNOWN.marked(sensitive));
        }
        if let Some(entries) = value.entries() {
            let Ok(Value { kind: Kind::String(name), .. }) = types::convert(key, &Type::String) else {
                return Err(
                    self.wrong_type(place, &format!("expected a string as key, got {}", key.describe()))
                );
            };
            return match entries.get(&name) {
                Some(found) => Ok(found.clone().marked(sensitive)),
                None => Err(self.no_such_key(value, &name, place)),
            };
        }
        match &value.kind {
            Kind::List(items) | Kind::Tuple(items) => {
                let Ok(Value { kind: Kind::Number(position), .. }) = types::convert(key, &Type::Number)
                else {
                    let message = format!("expected a number as index, got {}", key.describe());
                    return Err(self.wrong_type(place, &message));
                };
                let found = position
                    .as_int()
                    .and_then(|at| usize::try_from(at).ok())
                    .and_then(|at| items.values.get(at));
                found.map(|found| found.clone().marked(sensitive)).ok_or_else(|| {
                    self.error(place, "config::index_out_of_range", "an index is out of range")
                        .detail(format!("Elements count from 0, and there are {}.", items.values.len()))
                        .help("use a smaller index, or try(…, default)")
                        .into()
                })
            }
            Kind::Set(_) => Err(self
                .error(place, "config::no_index", "a set has no order")
                .detail("The elements of a set have no positions.")
                .help("make a list of it first: tolist(…) or sort(…)")
                .into()),
            _ => Err(self
                .error(place, "config::no_index", "a value has no elements")
                .detail(format!("`[…]` is asked of {}, which has no elements.", value.describe()))
                .help("only lists, tuples, maps and objects have elements")
                .into()),
        }
    }

    /// Calls `each` with the names of every element of a collection; `None` when it is unknown.
    pub(super) fn iterate<T>(
        &self,
        collection: &Value,
        place: Place,
        key_name: Option<&Arc<str>>,
        value_name: &Arc<str>,
        mut each: impl FnMut(&[(Arc<str>, Value)]) -> Evaluation<Option<T>>,
    ) -> Evaluation<Option<Vec<T>>> {
        let mut pairs: Vec<(Value, Value)> = Vec::new();
        match &collection.kind {
            Kind::Unknown => return Ok(None),
            Kind::Set(items) => pairs.extend(items.values.iter().map(|value| (value.clone(), value.clone()))),
            Kind::List(items) | Kind::Tuple(items) => {
                pairs.extend(
                    items.values.iter().enumerate().map(|(i, value)| (Value::length(i), value.clone())),
                );
            }
            Kind::Map(fields) | Kind::Object(fields) => {
                let all = fields.values.iter();
                pairs.extend(all.map(|(key, value)| (Value::string(Arc::clone(key)), value.clone())));
            }
            _ => {
                let message =
                    format!("`for` goes through a collection, and this is {}", collection.describe());
                return Err(self.wrong_type(place, &message));
            }
        }
        let mut results = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let mut names = vec![(Arc::clone(value_name), value)];
            if let Some(key_name) = key_name {
                names.push((Arc::clone(key_name), key));
            }
            results.extend(each(&names)?);
        }
        Ok(Some(results))
    }

    fn for_expression(&self, each: &For, scope: &Scope<'_>) -> Evaluation {
        let collection = self.eval(&each.collection, scope)?;
        let mut sensitive = collection.sensitive;
        let mut unknown = false;
        let place = each.collection.place;
        let results =
            self.iterate(&collection, place, each.key_name.as_ref(), &each.value_name, |names| {
                let scope = scope.inner(names);
                if let Some(condition) = &each.condition {
                    let wanted = self.eval(condition, &scope)?;
                    sensitive |= wanted.sensitive;
                    match self.boolean(&wanted, condition.place)? {
                        Some(true) => {}
                        Some(false) => return Ok(None),
                        None => {
                            unknown = true;
                            return Ok(None);
                        }
                    }
                }
                let key = match &each.key {
                    None => None,
                    Some(key) => {
                        let value = self.eval(key, &scope)?;
                        sensitive |= value.sensitive;
                        match types::convert(&value, &Type::String).map(|value| value.kind) {
                            Ok(Kind::String(name)) => Some(name),
                            Ok(Kind::Unknown) => {
                                unknown = true;
                                return Ok(None);
                            }
                            Ok(_) => return Err(self.wrong_type(key.place, "a key cannot be null")),
                            Err(error) => return Err(self.wrong_type(key.place, &error.message)),
                        }
                    }
                };
                Ok(Some((key, self.eval(&each.value, &scope)?)))
            })?;
        let Some(results) = results.filter(|_| !unknown) else {
            return Ok(Value::UNKNOWN.marked(sensitive));
        };
        let Some(key_expr) = &each.key else {
            return Ok(Value::tuple(results.into_iter().map(|(_, value)| value).collect()).marked(sensitive));
        };
        let mut grouped: BTreeMap<Arc<str>, Vec<Value>> = BTreeMap::new();
        for (key, value) in results {
            let group = grouped.entry(key.unwrap_or_default()).or_default();
            group.push(value);
            if group.len() > 1 && !each.grouping {
                return Err(self
                    .error(key_expr.place, "config::duplicate_key", "a `for` expression makes a key twice")
                    .detail("Two elements give the same key.")
                    .help("make the keys differ, or put `...` after the value to gather them in lists")
                    .into());
            }
        }
        let values = grouped.into_iter().map(|(key, mut group)| {
            let value = if each.grouping { Value::tuple(group) } else { group.pop().unwrap_or(Value::NULL) };
            (key, value)
        });
        Ok(Value::object(values.collect()).marked(sensitive))
    }
}
