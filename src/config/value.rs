//! Values: what an expression comes to, possibly unknown, possibly sensitive.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::number::Number;

/// What is known of everything inside a collection without walking it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inside {
    /// Something in it is sensitive.
    pub(super) sensitive: bool,
    /// Something in it is unknown.
    pub(super) unknown: bool,
    /// How deep it is nested.
    depth: u32,
    /// How much there is to walk: values, and a share for long strings. Values share their
    /// parts, so this can be far more than the memory they take.
    weight: u64,
}

impl Inside {
    fn add(&mut self, value: &Value) {
        let inner = value.inside();
        self.sensitive |= inner.sensitive || value.sensitive;
        self.unknown |= inner.unknown || matches!(value.kind, Kind::Unknown);
        self.depth = self.depth.max(inner.depth.saturating_add(1));
        self.weight = self.weight.saturating_add(inner.weight);
    }
}

/// The elements of a list, set or tuple.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) values: Vec<Value>,
    inside: Inside,
}

/// The entries of a map or object.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) values: BTreeMap<Arc<str>, Value>,
    inside: Inside,
}

/// The kinds of values. A tuple's or object's parts may differ in type; a list's, set's or map's
/// have one type.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    /// Known after apply.
    Unknown,
    Bool(bool),
    Number(Number),
    String(Arc<str>),
    List(Arc<Items>),
    /// Sorted, each element once.
    Set(Arc<Items>),
    Tuple(Arc<Items>),
    Map(Arc<Fields>),
    Object(Arc<Fields>),
}

/// A value of the language. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) kind: Kind,
    /// It must never be shown.
    pub(super) sensitive: bool,
}

/// The deepest nesting of a value.
const MAX_DEPTH: u32 = 200;
/// The most that a value may weigh, see [`Inside`].
const MAX_WEIGHT: u64 = 8_000_000;

impl Value {
    pub(super) const NULL: Self = Self { kind: Kind::Null, sensitive: false };
    pub(super) const UNKNOWN: Self = Self { kind: Kind::Unknown, sensitive: false };

    fn of(kind: Kind) -> Self {
        Self { kind, sensitive: false }
    }

    pub(super) fn string(text: impl Into<Arc<str>>) -> Self {
        Self::of(Kind::String(text.into()))
    }

    pub(super) fn bool(value: bool) -> Self {
        Self::of(Kind::Bool(value))
    }

    pub(super) fn number(value: Number) -> Self {
        Self::of(Kind::Number(value))
    }

    pub(super) fn int(value: impl Into<i128>) -> Self {
        Self::number(Number::Int(value.into()))
    }

    /// A length or position.
    pub(super) fn length(value: usize) -> Self {
        Self::int(i128::try_from(value).unwrap_or(i128::MAX))
    }

    fn items(values: Vec<Self>) -> Arc<Items> {
        let mut inside = Inside { weight: 1, ..Inside::default() };
        for value in &values {
            inside.add(value);
        }
        Arc::new(Items { values, inside })
    }

    pub(super) fn tuple(values: Vec<Self>) -> Self {
        Self::of(Kind::Tuple(Self::items(values)))
    }

    pub(super) fn list(values: Vec<Self>) -> Self {
        Self::of(Kind::List(Self::items(values)))
    }

    /// A set: sorted, duplicates dropped.
    pub(super) fn set(mut values: Vec<Self>) -> Self {
        values.sort_by(order);
        values.dedup_by(|a, b| equal(a, b));
        Self::of(Kind::Set(Self::items(values)))
    }

    fn fields(values: BTreeMap<Arc<str>, Self>) -> Arc<Fields> {
        let mut inside = Inside { weight: 1, ..Inside::default() };
        for (key, value) in &values {
            inside.add(value);
            inside.weight = inside.weight.saturating_add(weight_of(key));
        }
        Arc::new(Fields { values, inside })
    }

    pub(super) fn object(values: BTreeMap<Arc<str>, Self>) -> Self {
        Self::of(Kind::Object(Self::fields(values)))
    }

    pub(super) fn map(values: BTreeMap<Arc<str>, Self>) -> Self {
        Self::of(Kind::Map(Self::fields(values)))
    }

    /// This value, sensitive if `mark`, or if it was.
    pub(super) fn marked(mut self, mark: bool) -> Self {
        self.sensitive |= mark;
        self
    }

    pub(super) fn inside(&self) -> Inside {
        match &self.kind {
            Kind::List(items) | Kind::Set(items) | Kind::Tuple(items) => items.inside,
            Kind::Map(fields) | Kind::Object(fields) => fields.inside,
            Kind::String(text) => Inside { weight: weight_of(text), ..Inside::default() },
            _ => Inside { weight: 1, ..Inside::default() },
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self.kind, Kind::Unknown)
    }

    /// Whether it, or anything in it, is unknown.
    pub(super) fn any_unknown(&self) -> bool {
        self.is_unknown() || self.inside().unknown
    }

    /// Whether it, or anything in it, is sensitive.
    pub(super) fn any_sensitive(&self) -> bool {
        self.sensitive || self.inside().sensitive
    }

    /// Whether it is nested too deeply or too large to be worked with.
    pub(super) fn is_excessive(&self) -> bool {
        let inside = self.inside();
        inside.depth > MAX_DEPTH || inside.weight > MAX_WEIGHT
    }

    /// The elements of a list, set or tuple.
    pub(super) fn elements(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::List(items) | Kind::Set(items) | Kind::Tuple(items) => Some(&items.values),
            _ => None,
        }
    }

    /// The entries of a map or object.
    pub(super) fn entries(&self) -> Option<&BTreeMap<Arc<str>, Self>> {
        match &self.kind {
            Kind::Map(fields) | Kind::Object(fields) => Some(&fields.values),
            _ => None,
        }
    }

    /// Without any sensitive mark, also inside.
    pub(super) fn unmarked(&self) -> Self {
        if !self.any_sensitive() {
            return self.clone();
        }
        let all = |items: &Arc<Items>| items.values.iter().map(Self::unmarked).collect();
        let each =
            |fields: &Arc<Fields>| fields.values.iter().map(|(k, v)| (Arc::clone(k), v.unmarked())).collect();
        match &self.kind {
            Kind::List(items) => Self::list(all(items)),
            Kind::Set(items) => Self::set(all(items)),
            Kind::Tuple(items) => Self::tuple(all(items)),
            Kind::Map(fields) => Self::map(each(fields)),
            Kind::Object(fields) => Self::object(each(fields)),
            other => Self::of(other.clone()),
        }
    }

    /// The kind in a user's words.
    pub(super) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Unknown => "a value known only after apply",
            Kind::Bool(_) => "a bool",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Set(_) => "a set",
            Kind::Tuple(_) => "a tuple",
            Kind::Map(_) => "a map",
            Kind::Object(_) => "an object",
        }
    }

    /// As JSON; `None` when anything in it is unknown.
    pub(super) fn to_json(&self) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match &self.kind {
            Kind::Null => Json::Null,
            Kind::Unknown => return None,
            Kind::Bool(value) => Json::Bool(*value),
            Kind::Number(number) => number_to_json(*number),
            Kind::String(text) => Json::String(text.to_string()),
            Kind::List(items) | Kind::Set(items) | Kind::Tuple(items) => {
                Json::Array(items.values.iter().map(Self::to_json).collect::<Option<_>>()?)
            }
            Kind::Map(fields) | Kind::Object(fields) => Json::Object(
                fields
                    .values
                    .iter()
                    .map(|(key, value)| Some((key.to_string(), value.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
        })
    }

    /// From JSON: arrays become tuples, objects objects.
    pub(super) fn from_json(json: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::NULL,
            Json::Bool(value) => Self::bool(*value),
            Json::Number(number) => number
                .as_i64()
                .map(Self::int)
                .or_else(|| number.as_u64().map(Self::int))
                .or_else(|| number.as_f64().and_then(Number::from_f64).map(Self::number))
                .unwrap_or(Self::NULL),
            Json::String(text) => Self::string(text.as_str()),
            Json::Array(values) => Self::tuple(values.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::object(
                fields.iter().map(|(key, value)| (Arc::from(key.as_str()), Self::from_json(value))).collect(),
            ),
        }
    }
}

fn weight_of(text: &str) -> u64 {
    1 + text.len() as u64 / 16
}

fn number_to_json(number: Number) -> serde_json::Value {
    match number {
        Number::Int(value) => i64::try_from(value)
            .map(serde_json::Value::from)
            .or_else(|_| u64::try_from(value).map(serde_json::Value::from))
            .unwrap_or_else(|_| serde_json::Value::from(number.as_f64())),
        Number::Float(_) => {
            serde_json::Value::from(number.to_string().parse::<f64>().unwrap_or(number.as_f64()))
        }
    }
}

/// Equality as `==` has it: types differ → not equal.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::Null, Kind::Null) => true,
        (Kind::Bool(a), Kind::Bool(b)) => a == b,
        (Kind::Number(a), Kind::Number(b)) => a == b,
        (Kind::String(a), Kind::String(b)) => a == b,
        (Kind::List(a), Kind::List(b)) | (Kind::Set(a), Kind::Set(b)) | (Kind::Tuple(a), Kind::Tuple(b)) => {
            a.values.len() == b.values.len() && a.values.iter().zip(&b.values).all(|(a, b)| equal(a, b))
        }
        (Kind::Map(a), Kind::Map(b)) | (Kind::Object(a), Kind::Object(b)) => {
            a.values.len() == b.values.len()
                && a.values.iter().zip(&b.values).all(|((ka, a), (kb, b))| ka == kb && equal(a, b))
        }
        _ => false,
    }
}

/// A total order, for sets: by kind, then by content.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    fn rank(kind: &Kind) -> u8 {
        match kind {
            Kind::Null => 0,
            Kind::Unknown => 1,
            Kind::Bool(_) => 2,
            Kind::Number(_) => 3,
            Kind::String(_) => 4,
            Kind::List(_) => 5,
            Kind::Set(_) => 6,
            Kind::Tuple(_) => 7,
            Kind::Map(_) => 8,
            Kind::Object(_) => 9,
        }
    }
    match (&a.kind, &b.kind) {
        (Kind::Bool(a), Kind::Bool(b)) => a.cmp(b),
        (Kind::Number(a), Kind::Number(b)) => a.cmp(b),
        (Kind::String(a), Kind::String(b)) => a.cmp(b),
        (kind_a, kind_b) if rank(kind_a) != rank(kind_b) => rank(kind_a).cmp(&rank(kind_b)),
        _ => {
            if let (Some(a), Some(b)) = (a.elements(), b.elements()) {
                let by_element = a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne());
                return by_element.unwrap_or_else(|| a.len().cmp(&b.len()));
            }
            if let (Some(a), Some(b)) = (a.entries(), b.entries()) {
                let by_entry = a
                    .iter()
                    .zip(b)
                    .map(|((ka, a), (kb, b))| ka.cmp(kb).then_with(|| order(a, b)))
                    .find(|o| o.is_ne());
                return by_entry.unwrap_or_else(|| a.len().cmp(&b.len()));
            }
            Ordering::Equal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_is_known_without_walking() {
        let secret = Value::string("x").marked(true);
        let outer = Value::tuple(vec![Value::tuple(vec![secret]), Value::UNKNOWN]);
        assert!(!outer.sensitive && outer.any_sensitive() && outer.any_unknown());
        assert!(!outer.unmarked().any_sensitive());
    }

    #[test]
    fn shared_parts_weigh_as_often_as_they_are_seen() {
        let mut value = Value::tuple(vec![Value::string("x")]);
        for _ in 0..40 {
            value = Value::tuple(vec![value.clone(), value]);
        }
        assert!(value.is_excessive());
    }

    #[test]
    fn sets_are_sorted_and_hold_each_element_once() {
        let set = Value::set(["b", "a", "b"].map(Value::string).to_vec());
        assert_eq!(set.to_json(), Some(serde_json::json!(["a", "b"])));
    }
}
