//! From `hcl::edit`'s tree to ours: formatting dropped, places kept, templates trimmed.

use std::ops::Range;
use std::sync::Arc;

use hcl::edit::expr::{self as edit, Expression, ObjectKey, TraversalOperator};
use hcl::edit::structure::{Body, Structure};
use hcl::edit::template::{Directive, Element, Strip, Template};
use hcl::edit::{Ident, Number as EditNumber, Span as _, Spanned};

use super::ast::{Attribute, Block, Expr, ExprKind, For, Key, Label, Operator, Part, Step, StepKind};
use super::number::Number;
use super::source::Place;

/// Lowers what one file holds.
pub(super) struct Lower<'a> {
    pub(super) file: u32,
    /// The file's text.
    pub(super) text: &'a str,
}

/// How the literals of a template are tokens. `~` trims only the token beside it, and `<<-` strips
/// tokens that begin a line (HCL's scanner and parser).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tokens {
    /// A quoted string: a literal is one token.
    Whole,
    /// A heredoc or a template file: each line of a literal is one.
    Lines,
    /// A heredoc that begins with `<<-`.
    Flush,
}

/// A token of a template.
enum Token {
    Literal(String),
    /// `${…}` or `%{…}`; whether it trims before and after itself.
    Control {
        before: bool,
        after: bool,
    },
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

impl Lower<'_> {
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
                let start = place.start as usize;
                let flush = self.text.get(start..).is_some_and(|text| text.starts_with("<<-"));
                let tokens = if flush { Tokens::Flush } else { Tokens::Lines };
                ExprKind::Template(self.parts(&heredoc.template, place, tokens))
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

    /// A template's parts, trimmed.
    fn parts(&self, template: &Template, parent: Place, tokens: Tokens) -> Vec<Part> {
        let mut all = Vec::new();
        self.tokens(template, tokens, &mut all);
        trim(&mut all);
        if tokens == Tokens::Flush {
            flush(&mut all);
        }
        self.build(template, parent, tokens, &mut all.into_iter())
    }

    /// The tokens of a literal.
    fn literals(&self, literal: &Spanned<String>, tokens: Tokens) -> Vec<String> {
        let lines = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect();
        match (tokens, literal.span().and_then(|span| self.text.get(span))) {
            (Tokens::Whole, _) => vec![literal.value().clone()],
            // The parser has stripped it already, by a simpler rule.
            (Tokens::Flush, Some(raw)) => lines(&raw.replace("$${", "${").replace("%%{", "%{")),
            _ => lines(literal.value()),
        }
    }

    /// All tokens in the order of the text, those inside directives too.
    fn tokens(&self, template: &Template, tokens: Tokens, all: &mut Vec<Token>) {
        let control = |strip| Token::Control { before: starts(strip), after: ends(strip) };
        for element in template {
            match element {
                Element::Literal(literal) => {
                    all.extend(self.literals(literal, tokens).into_iter().map(Token::Literal));
                }
                Element::Interpolation(inner) => all.push(control(inner.strip)),
                Element::Directive(directive) => match &**directive {
                    Directive::If(each) => {
                        all.push(control(each.if_expr.strip));
                        self.tokens(&each.if_expr.template, tokens, all);
                        if let Some(other) = &each.else_expr {
                            all.push(control(other.strip));
                            self.tokens(&other.template, tokens, all);
                        }
                        all.push(control(each.endif_expr.strip));
                    }
                    Directive::For(each) => {
                        all.push(control(each.for_expr.strip));
                        self.tokens(&each.for_expr.template, tokens, all);
                        all.push(control(each.endfor_expr.strip));
                    }
                },
            }
        }
    }

    /// The parts, with the literals that the tokens have become.
    fn build(
        &self,
        template: &Template,
        parent: Place,
        tokens: Tokens,
        all: &mut dyn Iterator<Item = Token>,
    ) -> Vec<Part> {
        let mut parts = Vec::new();
        for element in template {
            let place = self.place(element.span(), parent);
            match element {
                Element::Literal(literal) => {
                    let mut text = String::new();
                    for _ in 0..self.literals(literal, tokens).len() {
                        if let Some(Token::Literal(token)) = all.next() {
                            text.push_str(&token);
                        }
                    }
                    if !text.is_empty() {
                        parts.push(Part::Literal(text));
                    }
                }
                Element::Interpolation(inner) => {
                    all.next();
                    parts.push(Part::Interpolation(self.expr(&inner.expr, place)));
                }
                Element::Directive(directive) => parts.push(self.directive(directive, place, tokens, all)),
            }
        }
        parts
    }

    fn directive(
        &self,
        directive: &Directive,
        place: Place,
        tokens: Tokens,
        all: &mut dyn Iterator<Item = Token>,
    ) -> Part {
        all.next();
        let part = match directive {
            Directive::If(each) => {
                let then = self.build(&each.if_expr.template, place, tokens, all);
                let otherwise = match &each.else_expr {
                    Some(other) => {
                        all.next();
                        self.build(&other.template, place, tokens, all)
                    }
                    None => Vec::new(),
                };
                Part::If { condition: self.expr(&each.if_expr.cond_expr, place), then, otherwise }
            }
            Directive::For(each) => Part::For {
                key_name: each.for_expr.key_var.as_ref().map(|ident| name(ident.value())),
                value_name: name(each.for_expr.value_var.value()),
                collection: self.expr(&each.for_expr.collection_expr, place),
                body: self.build(&each.for_expr.template, place, tokens, all),
            },
        };
        all.next();
        part
    }
}

/// Applies `~`.
fn trim(all: &mut [Token]) {
    for index in 0..all.len() {
        let Some(Token::Control { before, after }) = all.get(index) else { continue };
        let (before, after) = (*before, *after);
        if before
            && let Some(Token::Literal(text)) = index.checked_sub(1).and_then(|index| all.get_mut(index))
        {
            text.truncate(text.trim_end().len());
        }
        if after && let Some(Token::Literal(text)) = all.get_mut(index + 1) {
            *text = text.trim_start().to_owned();
        }
    }
}

/// Strips what all lines are indented by, as `<<-` asks. A line that `~` has joined to the one
/// before it does not begin one any more.
fn flush(all: &mut [Token]) {
    let mut least = usize::MAX;
    let mut adjusted = Vec::new();
    let mut begins = true;
    for (index, token) in all.iter().enumerate() {
        if std::mem::take(&mut begins) {
            match token {
                Token::Literal(text) if text.trim_start().is_empty() && text.ends_with('\n') => {}
                Token::Literal(text) => {
                    least = least.min(text.chars().take_while(|letter| letter.is_whitespace()).count());
                    adjusted.push(index);
                }
                Token::Control { .. } => least = 0,
            }
        }
        begins = matches!(token, Token::Literal(text) if text.ends_with('\n'));
    }
    for index in adjusted {
        if let Some(Token::Literal(text)) = all.get_mut(index) {
            *text = text.chars().skip(least).collect();
        }
    }
}

fn starts(strip: Strip) -> bool {
    matches!(strip, Strip::Start | Strip::Both)
}

fn ends(strip: Strip) -> bool {
    matches!(strip, Strip::End | Strip::Both)
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
