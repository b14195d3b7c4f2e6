//! From `hcl::edit`'s tree to ours: formatting dropped, places kept, templates trimmed.

use std::ops::Range;
use std::sync::Arc;

use hcl::edit::expr::{self as edit, Expression, ObjectKey, TraversalOperator};
use hcl::edit::structure::{Body, Structure};
use hcl::edit::template::{Directive, Element, Strip, Template};
use hcl::edit::{Ident, Number as EditNumber, Span as _};

use super::ast::{Attribute, Block, Expr, ExprKind, For, Key, Label, Operator, Part, Step, StepKind};
use super::number::Number;
use super::source::Place;

/// Lowers what one file holds.
pub(super) struct Lower {
    pub(super) file: u32,
}

/// How the literals of a template are tokens: `~` trims only the token beside it, which in a
/// heredoc or a template file is one line, in a quoted string all of it (HCL's scanner).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    Lines,
    Whole,
}

fn name(ident: &Ident) -> Arc<str> {
    Arc::from(ident.as_str())
}

fn number(number: &EditNumber) -> Number {
    if let Some(value) = number.as_i64() {
        return Number::Int(value.into());
    }
    if let Some(value) = number.as_u64() {
        return Number::Int(value.into());
    }
    number.as_f64().and_then(Number::from_f64).unwrap_or(Number::Int(0))
}

impl Lower {
    fn place(&self, span: Option<Range<usize>>, fallback: Place) -> Place {
        let offset = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        span.map_or(fallback, |span| Place {
            file: self.file,
            start: offset(span.start),
            end: offset(span.end),
        })
    }

    fn start(&self) -> Place {
        Place { file: self.file, start: 0, end: 0 }
    }

    /// The content of a file or block.
    pub(super) fn body(&self, body: &Body, parent: Place) -> (Vec<Attribute>, Vec<Block>) {
        let mut attributes = Vec::new();
        let mut blocks = Vec::new();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => {
                    let place = self.place(attribute.key.span(), self.place(attribute.span(), parent));
                    let expr = self.expr(&attribute.value, place);
                    attributes.push(Attribute { name: name(attribute.key.value()), place, expr });
                }
                Structure::Block(block) => {
                    let mut place = self.place(block.ident.span(), self.place(block.span(), parent));
                    let labels: Vec<_> = block
                        .labels
                        .iter()
                        .map(|label| Label {
                            text: Arc::from(label.as_str()),
                            place: self.place(label.span(), place),
                        })
                        .collect();
                    if let Some(last) = labels.last() {
                        place = place.to(last.place);
                    }
                    let (inner, nested) = self.body(&block.body, place);
                    let kind = name(block.ident.value());
                    blocks.push(Block { kind, place, labels, attributes: inner, blocks: nested });
                }
            }
        }
        (attributes, blocks)
    }

    /// An expression of a file of its own, as a variable on the command line.
    pub(super) fn root(&self, expression: &Expression) -> Expr {
        self.expr(expression, self.start())
    }

    /// A template of a file of its own.
    pub(super) fn template_file(&self, template: &Template, length: usize) -> Expr {
        let place = self.place(Some(0..length.min(1)), self.start());
        Expr { kind: Box::new(ExprKind::Template(self.parts(template, place, Tokens::Lines))), place }
    }

    fn expr(&self, expression: &Expression, parent: Place) -> Expr {
        let place = self.place(expression.span(), parent);
        let sub = |inner: &Expression| self.expr(inner, place);
        let kind = match expression {
            Expression::Null(_) => ExprKind::Null,
            Expression::Bool(value) => ExprKind::Bool(*value.value()),
            Expression::Number(value) => ExprKind::Number(number(value.value())),
            Expression::String(text) => ExprKind::String(Arc::from(text.value().as_str())),
            Expression::Array(array) => ExprKind::Tuple(array.iter().map(sub).collect()),
            Expression::Object(object) => ExprKind::Object(
                object
                    .iter()
                    .map(|(key, value)| {
                        let key = match key {
                            ObjectKey::Ident(ident) => Key::Word(name(ident.value())),
                            ObjectKey::Expression(inner) => Key::Expr(sub(inner)),
                        };
                        (key, sub(value.expr()))
                    })
                    .collect(),
            ),
            Expression::StringTemplate(template) => {
                let mut parts = self.parts(template, place, Tokens::Whole);
                match (parts.len(), parts.pop()) {
                    // A template that is one interpolation is its value, whatever its type.
                    (1, Some(Part::Interpolation(inner))) => ExprKind::Parenthesis(inner),
                    (_, Some(last)) => {
                        parts.push(last);
                        ExprKind::Template(parts)
                    }
                    (_, None) => ExprKind::String(Arc::from("")),
                }
            }
            Expression::HeredocTemplate(heredoc) => {
                ExprKind::Template(self.parts(&heredoc.template, place, Tokens::Lines))
            }
            Expression::Parenthesis(inner) => ExprKind::Parenthesis(sub(inner.inner())),
            Expression::Variable(ident) => ExprKind::Name(name(ident.value())),
            Expression::Conditional(conditional) => ExprKind::Conditional {
                condition: sub(&conditional.cond_expr),
                then: sub(&conditional.true_expr),
                otherwise: sub(&conditional.false_expr),
            },
            Expression::FuncCall(call) => {
                let mut text = String::new();
                for part in &call.name.namespace {
                    text.push_str(part.value().as_str());
                    text.push_str("::");
                }
                text.push_str(call.name.name.value().as_str());
                ExprKind::Call {
                    // `core::` is Terraform's own namespace.
                    name: Arc::from(text.strip_prefix("core::").unwrap_or(&text)),
                    name_place: self.place(call.name.name.span(), place),
                    arguments: call.args.iter().map(sub).collect(),
                    expand: call.args.expand_final(),
                }
            }
            Expression::Traversal(traversal) => {
                let base = sub(&traversal.expr);
                ExprKind::Traversal(base, self.steps(&traversal.operators, place))
            }
            Expression::UnaryOp(operation) => match operation.operator.value() {
                edit::UnaryOperator::Neg => ExprKind::Negate(sub(&operation.expr)),
                edit::UnaryOperator::Not => ExprKind::Not(sub(&operation.expr)),
            },
            Expression::BinaryOp(operation) => ExprKind::Binary {
                operator: operator(*operation.operator.value()),
                left: sub(&operation.lhs_expr),
                right: sub(&operation.rhs_expr),
            },
            Expression::ForExpr(each) => ExprKind::For(For {
                key_name: each.intro.key_var.as_ref().map(|ident| name(ident.value())),
                value_name: name(each.intro.value_var.value()),
                collection: sub(&each.intro.collection_expr),
                key: each.key_expr.as_ref().map(sub),
                value: sub(&each.value_expr),
                condition: each.cond.as_ref().map(|condition| sub(&condition.expr)),
                grouping: each.grouping,
            }),
        };
        Expr { kind: Box::new(kind), place }
    }

    fn steps(&self, operators: &[hcl::edit::Decorated<TraversalOperator>], parent: Place) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut rest = operators.iter();
        while let Some(operator) = rest.next() {
            let place = self.place(operator.value().span().or_else(|| operator.span()), parent);
            let kind = match operator.value() {
                TraversalOperator::GetAttr(ident) => StepKind::Attribute(name(ident.value())),
                TraversalOperator::Index(index) => StepKind::Index(self.expr(index, place)),
                TraversalOperator::LegacyIndex(index) => {
                    let kind = ExprKind::Number(Number::Int((*index.value()).into()));
                    StepKind::Index(Expr { kind: Box::new(kind), place })
                }
                TraversalOperator::AttrSplat(_) => {
                    // Only attributes belong to `.*`; an index after it picks from the result.
                    let slice = rest.as_slice();
                    let inner = slice
                        .iter()
                        .take_while(|operator| matches!(operator.value(), TraversalOperator::GetAttr(_)))
                        .count();
                    rest = slice[inner..].iter();
                    StepKind::Splat(self.steps(&slice[..inner], place))
                }
                TraversalOperator::FullSplat(_) => {
                    let inner = rest.as_slice();
                    rest = [].iter();
                    StepKind::Splat(self.steps(inner, place))
                }
            };
            steps.push(Step { kind, place });
        }
        steps
    }

    /// A template's parts, `~` applied.
    fn parts(&self, template: &Template, parent: Place, tokens: Tokens) -> Vec<Part> {
        self.trimmed(template, parent, tokens, false, false)
    }

    /// The parts of a template whose surroundings may trim its first and last literal.
    fn trimmed(
        &self,
        template: &Template,
        parent: Place,
        tokens: Tokens,
        trim_first: bool,
        trim_last: bool,
    ) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut trim_next = trim_first;
        for element in template {
            let place = self.place(element.span(), parent);
            let (part, before, after) = match element {
                Element::Literal(text) => {
                    let mut text = text.value().clone();
                    if std::mem::take(&mut trim_next) {
                        text = trim_start(&text, tokens);
                    }
                    parts.push(Part::Literal(text));
                    continue;
                }
                Element::Interpolation(inner) => (
                    Part::Interpolation(self.expr(&inner.expr, place)),
                    starts(inner.strip),
                    ends(inner.strip),
                ),
                Element::Directive(directive) => self.directive(directive, place, tokens),
            };
            if before && let Some(Part::Literal(text)) = parts.last_mut() {
                *text = trim_end(text, tokens);
            }
            trim_next = after;
            parts.push(part);
        }
        if trim_last && let Some(Part::Literal(text)) = parts.last_mut() {
            *text = trim_end(text, tokens);
        }
        parts.retain(|part| !matches!(part, Part::Literal(text) if text.is_empty()));
        parts
    }

    /// A directive, and whether it trims what is before and after it.
    fn directive(&self, directive: &Directive, place: Place, tokens: Tokens) -> (Part, bool, bool) {
        match directive {
            Directive::If(each) => {
                let end = each.endif_expr.strip;
                let (then_end, otherwise) = match &each.else_expr {
                    Some(other) => (
                        starts(other.strip),
                        self.trimmed(&other.template, place, tokens, ends(other.strip), starts(end)),
                    ),
                    None => (starts(end), Vec::new()),
                };
                let strip = each.if_expr.strip;
                let then = self.trimmed(&each.if_expr.template, place, tokens, ends(strip), then_end);
                let condition = self.expr(&each.if_expr.cond_expr, place);
                (Part::If { condition, then, otherwise }, starts(strip), ends(end))
            }
            Directive::For(each) => {
                let (strip, end) = (each.for_expr.strip, each.endfor_expr.strip);
                let part = Part::For {
                    key_name: each.for_expr.key_var.as_ref().map(|ident| name(ident.value())),
                    value_name: name(each.for_expr.value_var.value()),
                    collection: self.expr(&each.for_expr.collection_expr, place),
                    body: self.trimmed(&each.for_expr.template, place, tokens, ends(strip), starts(end)),
                };
                (part, starts(strip), ends(end))
            }
        }
    }
}

fn starts(strip: Strip) -> bool {
    matches!(strip, Strip::Start | Strip::Both)
}

fn ends(strip: Strip) -> bool {
    matches!(strip, Strip::End | Strip::Both)
}

fn trim_start(text: &str, tokens: Tokens) -> String {
    match tokens {
        Tokens::Whole => text.trim_start().to_owned(),
        Tokens::Lines => {
            let end = text.find('\n').map_or(text.len(), |end| end + 1);
            format!("{}{}", text[..end].trim_start(), &text[end..])
        }
    }
}

fn trim_end(text: &str, tokens: Tokens) -> String {
    match tokens {
        Tokens::Whole => text.trim_end().to_owned(),
        Tokens::Lines => {
            let body = text.strip_suffix('\n').unwrap_or(text);
            let start = body.rfind('\n').map_or(0, |start| start + 1);
            format!("{}{}", &text[..start], text[start..].trim_end())
        }
    }
}

fn operator(operator: edit::BinaryOperator) -> Operator {
    use edit::BinaryOperator as Edit;
    match operator {
        Edit::Plus => Operator::Add,
        Edit::Minus => Operator::Subtract,
        Edit::Mul => Operator::Multiply,
        Edit::Div => Operator::Divide,
        Edit::Mod => Operator::Remainder,
        Edit::Eq => Operator::Equal,
        Edit::NotEq => Operator::NotEqual,
        Edit::Less => Operator::Less,
        Edit::LessEq => Operator::LessOrEqual,
        Edit::Greater => Operator::Greater,
        Edit::GreaterEq => Operator::GreaterOrEqual,
        Edit::And => Operator::And,
        Edit::Or => Operator::Or,
    }
}
