//! Templates: text with interpolations and directives.

use std::sync::Arc;

use super::ast::{Expr, Part};
use super::expression::{Evaluation, Evaluator, Scope};
use super::source::Place;
use super::types::{self, Type};
use super::value::{Kind, Value};

/// The longest text that a template may make: 16 MiB.
const MAX_TEXT: usize = 16 << 20;

/// What a template has come to so far.
#[derive(Default)]
struct Text {
    text: String,
    unknown: bool,
    sensitive: bool,
}

impl Evaluator<'_> {
    /// The text of a template.
    pub(super) fn template(&self, parts: &[Part], scope: &Scope<'_>) -> Evaluation {
        let mut text = Text::default();
        self.parts(parts, scope, &mut text)?;
        let value = if text.unknown { Value::UNKNOWN } else { Value::string(text.text) };
        Ok(value.marked(text.sensitive))
    }

    fn parts(&self, parts: &[Part], scope: &Scope<'_>, text: &mut Text) -> Evaluation<()> {
        for part in parts {
            match part {
                Part::Literal(literal) => text.text.push_str(literal),
                Part::Interpolation(expr) => self.interpolation(expr, scope, text)?,
                Part::If { condition, then, otherwise } => {
                    let value = self.eval(condition, scope)?;
                    text.sensitive |= value.sensitive;
                    match self.boolean(&value, condition.place)? {
                        Some(true) => self.parts(then, scope, text)?,
                        Some(false) => self.parts(otherwise, scope, text)?,
                        None => text.unknown = true,
                    }
                }
                Part::For { key_name, value_name, collection, body } => {
                    let value = self.eval(collection, scope)?;
                    text.sensitive |= value.sensitive;
                    let place = collection.place;
                    let done = self.iterate(&value, place, key_name.as_ref(), value_name, |names| {
                        self.parts(body, &scope.inner(names), text)?;
                        Ok(Some(()))
                    })?;
                    text.unknown |= done.is_none();
                }
            }
        }
        Ok(())
    }

    fn interpolation(&self, expr: &Expr, scope: &Scope<'_>, text: &mut Text) -> Evaluation<()> {
        let value = self.eval(expr, scope)?;
        text.sensitive |= value.sensitive;
        match types::convert(&value, &Type::String).map(|value| value.kind) {
            Ok(Kind::String(inner)) => text.text.push_str(&inner),
            Ok(Kind::Unknown) => text.unknown = true,
            Ok(_) => return Err(self.not_text(expr.place, "null")),
            Err(_) => return Err(self.not_text(expr.place, value.describe())),
        }
        if text.text.len() > MAX_TEXT {
            return Err(self
                .error(expr.place, "config::value_too_large", "a value is too large")
                .detail("The text that this template makes is longer than 16 MiB.")
                .help("build a smaller text")
                .into());
        }
        Ok(())
    }

    fn not_text(&self, place: Place, got: &str) -> super::expression::Failure {
        self.error(place, "config::wrong_type", "a value has the wrong type")
            .detail(format!("A template takes a string, number or bool, and this is {got}."))
            .help("pick a part of it, or write it as text: join(\",\", …), jsonencode(…)")
            .into()
    }

    /// A template file's text with these variables.
    pub(super) fn template_with(&self, template: &Expr, variables: &[(Arc<str>, Value)]) -> Evaluation {
        self.eval(template, &Scope::closed(variables))
    }
}
