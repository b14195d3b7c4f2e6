//! Types: constraints as Terraform writes them, and conversion of values to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::ast::{Expr, ExprKind, Key};
use super::number::Number;
use super::source::Place;
use super::suggest;
use super::value::{Kind, Value};

/// A type constraint.
#[derive(Debug, Clone)]
pub(super) enum Type {
    Any,
    Bool,
    Number,
    String,
    List(Box<Self>),
    Set(Box<Self>),
    Map(Box<Self>),
    Tuple(Vec<Self>),
    Object(BTreeMap<Arc<str>, Field>),
}

/// An attribute of an object type.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) constraint: Type,
    pub(super) optional: bool,
    pub(super) default: Option<Value>,
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any)
            | (Self::Bool, Self::Bool)
            | (Self::Number, Self::Number)
            | (Self::String, Self::String) => true,
            (Self::List(a), Self::List(b)) | (Self::Set(a), Self::Set(b)) | (Self::Map(a), Self::Map(b)) => {
                a == b
            }
            (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && a.constraint == b.constraint)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Bool => f.write_str("bool"),
            Self::Number => f.write_str("number"),
            Self::String => f.write_str("string"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Set(element) => write!(f, "set({element})"),
            Self::Map(element) => write!(f, "map({element})"),
            Self::Tuple(elements) => {
                f.write_str("tuple([")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("])")
            }
            Self::Object(fields) => {
                f.write_str("object({")?;
                for (index, (name, field)) in fields.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    if field.optional {
                        write!(f, "{comma}{name} = optional({})", field.constraint)?;
                    } else {
                        write!(f, "{comma}{name} = {}", field.constraint)?;
                    }
                }
                f.write_str("})")
            }
        }
    }
}

/// A value that does not fit its type.
#[derive(Debug)]
pub(super) struct Mismatch {
    /// Where inside the value: `.disks[0].size`; empty for the value itself.
    pub(super) path: String,
    pub(super) message: String,
}

impl Mismatch {
    fn new(message: impl Into<String>) -> Self {
        Self { path: String::new(), message: message.into() }
    }

    fn under(mut self, step: impl fmt::Display) -> Self {
        self.path.insert_str(0, &step.to_string());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "at `{}`: {}", self.path.trim_start_matches('.'), self.message)
        }
    }
}

fn expected(wanted: &Type, value: &Value) -> Mismatch {
    let wanted = match wanted {
        Type::Bool => "a bool".to_owned(),
        Type::Number => "a number".to_owned(),
        Type::String => "a string".to_owned(),
        other => other.to_string(),
    };
    // A short scalar is shown, because `"40 GiB"` says more than "a string".
    let got = match &value.kind {
        Kind::String(text) if !value.sensitive && text.len() <= 40 => format!("the string {text:?}"),
        Kind::Number(number) if !value.sensitive => format!("the number {number}"),
        Kind::Bool(value_) if !value.sensitive => format!("the bool {value_}"),
        _ => value.describe().to_owned(),
    };
    Mismatch::new(format!("expected {wanted}, got {got}"))
}

/// Converts a value to a type, as Terraform does: between string and number or bool where the
/// text says it, from tuples to lists and sets, from objects to maps and back.
pub(super) fn convert(value: &Value, wanted: &Type) -> Result<Value, Mismatch> {
    convert_shown(value, wanted).map_err(|error| {
        // What is inside a sensitive value carries no mark of its own.
        if value.any_sensitive() {
            Mismatch::new(format!("expected {wanted}, got {} that is sensitive", value.describe()))
        } else {
            error
        }
    })
}

fn convert_shown(value: &Value, wanted: &Type) -> Result<Value, Mismatch> {
    if value.is_unknown() || value.is_null() {
        return Ok(value.clone());
    }
    let result = match (wanted, &value.kind) {
        (Type::Any, _)
        | (Type::Bool, Kind::Bool(_))
        | (Type::Number, Kind::Number(_))
        | (Type::String, Kind::String(_)) => value.clone(),
        (Type::Bool, Kind::String(text)) => match &**text {
            "true" => Value::bool(true),
            "false" => Value::bool(false),
            _ => return Err(expected(wanted, value)),
        },
        (Type::Number, Kind::String(text)) => {
            Value::number(Number::parse(text).ok_or_else(|| expected(wanted, value))?)
        }
        (Type::String, Kind::Number(number)) => Value::string(number.to_string()),
        (Type::String, Kind::Bool(value)) => Value::string(value.to_string()),
        (Type::List(element) | Type::Set(element), _) => {
            let values = value.elements().ok_or_else(|| expected(wanted, value))?;
            let values = convert_all(values, element)?;
            if matches!(wanted, Type::List(_)) { Value::list(values) } else { Value::set(values) }
        }
        (Type::Map(element), _) => {
            let entries = value.entries().ok_or_else(|| expected(wanted, value))?;
            let values: Vec<Value> = entries.values().cloned().collect();
            let common = common_type(element, &values)?;
            let mut converted = BTreeMap::new();
            for (key, value) in entries {
                let value = convert(value, &common).map_err(|error| error.under(format!("[{key:?}]")))?;
                converted.insert(Arc::clone(key), value);
            }
            Value::map(converted)
        }
        (Type::Tuple(elements), _) => {
            let values = match &value.kind {
                Kind::Tuple(_) | Kind::List(_) => value.elements().unwrap_or_default(),
                _ => return Err(expected(wanted, value)),
            };
            if values.len() != elements.len() {
                return Err(Mismatch::new(format!(
                    "expected {wanted}, got {} elements instead of {}",
                    values.len(),
                    elements.len()
                )));
            }
            let mut converted = Vec::with_capacity(values.len());
            for (index, (value, element)) in values.iter().zip(elements).enumerate() {
                converted.push(convert(value, element).map_err(|error| error.under(format!("[{index}]")))?);
            }
            Value::tuple(converted)
        }
        (Type::Object(fields), _) => {
            let entries = value.entries().ok_or_else(|| expected(wanted, value))?;
            convert_object(entries, fields)?
        }
        _ => return Err(expected(wanted, value)),
    };
    Ok(result.marked(value.sensitive))
}

/// Attributes that the type does not name are dropped, as Terraform drops them.
fn convert_object(
    entries: &BTreeMap<Arc<str>, Value>,
    fields: &BTreeMap<Arc<str>, Field>,
) -> Result<Value, Mismatch> {
    let mut converted = BTreeMap::new();
    for (name, field) in fields {
        let given = entries.get(name).filter(|value| !(field.optional && value.is_null()));
        let value = match given {
            Some(value) => {
                convert(value, &field.constraint).map_err(|error| error.under(format!(".{name}")))?
            }
            None if field.optional => field.default.clone().unwrap_or(Value::NULL),
            None => {
                let near = suggest::nearest(name, entries.keys().map(|key| &**key))
                    .filter(|near| !fields.contains_key(*near))
                    .map(|near| format!(", and `{near}` is none of its attributes"));
                return Err(Mismatch::new(format!(
                    "the attribute `{name}` is required{}",
                    near.unwrap_or_default()
                )));
            }
        };
        converted.insert(Arc::clone(name), value);
    }
    Ok(Value::object(converted))
}

fn common_type(element: &Type, values: &[Value]) -> Result<Type, Mismatch> {
    match element {
        Type::Any => unified(values).ok_or_else(|| Mismatch::new("all elements must have one type")),
        other => Ok(other.clone()),
    }
}

fn convert_all(values: &[Value], element: &Type) -> Result<Vec<Value>, Mismatch> {
    let common = common_type(element, values)?;
    values
        .iter()
        .enumerate()
        .map(|(index, value)| convert(value, &common).map_err(|error| error.under(format!("[{index}]"))))
        .collect()
}

/// The type of a value; what is null or unknown is [`Type::Any`].
pub(super) fn type_of(value: &Value) -> Type {
    let element = |values: &[Value]| Box::new(unified(values).unwrap_or(Type::Any));
    match &value.kind {
        Kind::Null | Kind::Unknown => Type::Any,
        Kind::Bool(_) => Type::Bool,
        Kind::Number(_) => Type::Number,
        Kind::String(_) => Type::String,
        Kind::List(items) => Type::List(element(&items.values)),
        Kind::Set(items) => Type::Set(element(&items.values)),
        Kind::Tuple(items) => Type::Tuple(items.values.iter().map(type_of).collect()),
        Kind::Map(fields) => {
            let values: Vec<Value> = fields.values.values().cloned().collect();
            Type::Map(element(&values))
        }
        Kind::Object(fields) => Type::Object(
            fields
                .values
                .iter()
                .map(|(key, value)| {
                    let field = Field { constraint: type_of(value), optional: false, default: None };
                    (Arc::clone(key), field)
                })
                .collect(),
        ),
    }
}

/// The one type that all values can be converted to.
pub(super) fn unified(values: &[Value]) -> Option<Type> {
    let mut common = Type::Any;
    for value in values {
        let this = type_of(value);
        if this != common {
            common = unify(&common, &this)?;
        }
    }
    Some(common)
}

/// The type that both can be converted to.
pub(super) fn unify(a: &Type, b: &Type) -> Option<Type> {
    use Type::{Any, Bool, List, Map, Number, Object, Set, String, Tuple};
    Some(match (a, b) {
        (a, b) if a == b => a.clone(),
        (Any, other) | (other, Any) => other.clone(),
        (String, Bool | Number) | (Bool | Number, String) => String,
        (List(a), List(b)) => List(Box::new(unify(a, b)?)),
        (Set(a), Set(b)) => Set(Box::new(unify(a, b)?)),
        (List(a), Set(b)) | (Set(a), List(b)) => List(Box::new(unify(a, b)?)),
        (Map(a), Map(b)) => Map(Box::new(unify(a, b)?)),
        (Tuple(a), Tuple(b)) if a.len() == b.len() => {
            Tuple(a.iter().zip(b).map(|(a, b)| unify(a, b)).collect::<Option<_>>()?)
        }
        (Tuple(a), Tuple(b)) => List(Box::new(unify_all(a.iter().chain(b))?)),
        (List(element), Tuple(elements)) | (Tuple(elements), List(element)) => {
            List(Box::new(unify_all(elements.iter().chain([&**element]))?))
        }
        (Set(element), Tuple(elements)) | (Tuple(elements), Set(element)) => {
            Set(Box::new(unify_all(elements.iter().chain([&**element]))?))
        }
        (Object(a), Object(b)) if a.len() == b.len() && a.keys().eq(b.keys()) => {
            let mut fields = BTreeMap::new();
            for ((name, a), b) in a.iter().zip(b.values()) {
                let constraint = unify(&a.constraint, &b.constraint)?;
                fields.insert(Arc::clone(name), Field { constraint, optional: false, default: None });
            }
            Object(fields)
        }
        (Object(a), Object(b)) => {
            Map(Box::new(unify_all(a.values().chain(b.values()).map(|field| &field.constraint))?))
        }
        (Map(element), Object(fields)) | (Object(fields), Map(element)) => {
            Map(Box::new(unify_all(fields.values().map(|field| &field.constraint).chain([&**element]))?))
        }
        _ => return None,
    })
}

fn unify_all<'a>(types: impl IntoIterator<Item = &'a Type>) -> Option<Type> {
    types.into_iter().try_fold(Type::Any, |common, next| unify(&common, next))
}

/// A type constraint that is none.
#[derive(Debug)]
pub(super) struct BadType {
    pub(super) place: Place,
    pub(super) detail: String,
    pub(super) help: String,
}

const HELP: &str =
    "types are string, number, bool, any, list(…), set(…), map(…), tuple([…]) and object({ name = … })";

/// Reads a type constraint; `constant` evaluates the default of an `optional(type, default)`.
pub(super) fn parse(
    expr: &Expr,
    constant: &mut dyn FnMut(&Expr) -> Result<Value, BadType>,
) -> Result<Type, BadType> {
    let bad = |detail: String| BadType { place: expr.place, detail, help: HELP.to_owned() };
    match &*expr.kind {
        ExprKind::Name(name) => Ok(match &**name {
            "string" => Type::String,
            "number" => Type::Number,
            "bool" => Type::Bool,
            "any" => Type::Any,
            "list" => Type::List(Box::new(Type::Any)),
            "set" => Type::Set(Box::new(Type::Any)),
            "map" => Type::Map(Box::new(Type::Any)),
            other => {
                let known = ["string", "number", "bool", "any", "list", "set", "map", "object", "tuple"];
                let near = suggest::nearest(other, known);
                return Err(BadType {
                    place: expr.place,
                    detail: format!("There is no type `{other}`."),
                    help: near.map_or(HELP.to_owned(), |near| format!("did you mean `{near}`?")),
                });
            }
        }),
        ExprKind::String(text) => Err(BadType {
            place: expr.place,
            detail: "A type is written without quotes.".to_owned(),
            help: format!("write `{text}` instead of `\"{text}\"`"),
        }),
        ExprKind::Call { name, arguments, .. } => match (&**name, arguments.as_slice()) {
            ("list", [element]) => Ok(Type::List(Box::new(parse(element, constant)?))),
            ("set", [element]) => Ok(Type::Set(Box::new(parse(element, constant)?))),
            ("map", [element]) => Ok(Type::Map(Box::new(parse(element, constant)?))),
            ("tuple", [elements]) => match &*elements.kind {
                ExprKind::Tuple(elements) => Ok(Type::Tuple(
                    elements.iter().map(|element| parse(element, constant)).collect::<Result<_, _>>()?,
                )),
                _ => Err(bad("`tuple` takes a list of types.".to_owned())),
            },
            ("object", [object]) => match &*object.kind {
                ExprKind::Object(fields) => parse_object(fields, constant).map(Type::Object),
                _ => Err(bad("`object` takes its attributes in braces.".to_owned())),
            },
            ("optional", _) => Err(bad("`optional` stands only inside `object({ … })`.".to_owned())),
            (name @ ("list" | "set" | "map" | "tuple" | "object"), _) => {
                Err(bad(format!("`{name}` takes exactly one argument.")))
            }
            (name, _) => Err(bad(format!("There is no type `{name}(…)`."))),
        },
        _ => Err(bad("This is not a type.".to_owned())),
    }
}

fn parse_object(
    fields: &[(Key, Expr)],
    constant: &mut dyn FnMut(&Expr) -> Result<Value, BadType>,
) -> Result<BTreeMap<Arc<str>, Field>, BadType> {
    let mut parsed = BTreeMap::new();
    for (key, value) in fields {
        let name = match key {
            Key::Word(name) => Arc::clone(name),
            Key::Expr(expr) => match &*expr.kind {
                ExprKind::String(name) => Arc::clone(name),
                _ => {
                    return Err(BadType {
                        place: expr.place,
                        detail: "An attribute of an object type is a name.".to_owned(),
                        help: HELP.to_owned(),
                    });
                }
            },
        };
        let field = match &*value.kind {
            ExprKind::Call { name: call, arguments, .. } if &**call == "optional" => {
                let (constraint, default) = match arguments.as_slice() {
                    [constraint] => (parse(constraint, constant)?, None),
                    [constraint, default] => {
                        let constraint = parse(constraint, constant)?;
                        let given = constant(default)?;
                        let converted = convert(&given, &constraint).map_err(|error| BadType {
                            place: default.place,
                            detail: format!("The default of `{name}` does not fit its type: {error}."),
                            help: format!("give a default of type {constraint}"),
                        })?;
                        (constraint, Some(converted))
                    }
                    _ => {
                        return Err(BadType {
                            place: value.place,
                            detail: "`optional` takes a type and, if wanted, a default.".to_owned(),
                            help: "write `optional(string)` or `optional(string, \"…\")`".to_owned(),
                        });
                    }
                };
                Field { constraint, optional: true, default }
            }
            _ => Field { constraint: parse(value, constant)?, optional: false, default: None },
        };
        parsed.insert(name, field);
    }
    Ok(parsed)
}
