//! The syntax tree that evaluation works on: HCL's, without its formatting, with a place for
//! every expression.

use std::sync::Arc;

use super::number::Number;
use super::source::Place;

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) kind: Box<ExprKind>,
    pub(super) place: Place,
}

#[derive(Debug, Clone)]
pub(super) enum ExprKind {
    Null,
    Bool(bool),
    Number(Number),
    String(Arc<str>),
    Tuple(Vec<Expr>),
    Object(Vec<(Key, Expr)>),
    Template(Vec<Part>),
    Parenthesis(Expr),
    Name(Arc<str>),
    Conditional { condition: Expr, then: Expr, otherwise: Expr },
    Call { name: Arc<str>, name_place: Place, arguments: Vec<Expr>, expand: bool },
    Traversal(Expr, Vec<Step>),
    Not(Expr),
    Negate(Expr),
    Binary { operator: Operator, left: Expr, right: Expr },
    For(For),
}

/// An object's key: a bare word is itself, anything else is evaluated.
#[derive(Debug, Clone)]
pub(super) enum Key {
    Word(Arc<str>),
    Expr(Expr),
}

/// One step of a traversal.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    pub(super) place: Place,
}

#[derive(Debug, Clone)]
pub(super) enum StepKind {
    Attribute(Arc<str>),
    Index(Expr),
    /// `[*]` or `.*` with the steps that go on inside it.
    Splat(Vec<Step>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
}

/// A `for` expression.
#[derive(Debug, Clone)]
pub(super) struct For {
    pub(super) key_name: Option<Arc<str>>,
    pub(super) value_name: Arc<str>,
    pub(super) collection: Expr,
    /// With a key the result is an object.
    pub(super) key: Option<Expr>,
    pub(super) value: Expr,
    pub(super) condition: Option<Expr>,
    /// `...`: equal keys gather their values in a list.
    pub(super) grouping: bool,
}

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Literal(String),
    Interpolation(Expr),
    If { condition: Expr, then: Vec<Part>, otherwise: Vec<Part> },
    For { key_name: Option<Arc<str>>, value_name: Arc<str>, collection: Expr, body: Vec<Part> },
}

/// `name = expression`.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) name: Arc<str>,
    /// The name's place.
    pub(super) place: Place,
    pub(super) expr: Expr,
}

/// A label of a block.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) text: Arc<str>,
    pub(super) place: Place,
}

/// `kind "label" { … }`.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) kind: Arc<str>,
    /// The kind and the labels.
    pub(super) place: Place,
    pub(super) labels: Vec<Label>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) blocks: Vec<Block>,
}

impl Block {
    /// The attribute of that name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| &*attribute.name == name)
    }

    /// The blocks of that kind.
    pub(super) fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| &*block.kind == kind)
    }

    /// The first label's text, or nothing.
    pub(super) fn label(&self) -> &str {
        self.labels.first().map_or("", |label| &label.text)
    }
}
