//! Operators and conditionals.

use super::ast::{Expr, Operator};
use super::expression::{Evaluation, Evaluator, Scope};
use super::number::Number;
use super::source::Place;
use super::types::{self, Type};
use super::value::{self, Kind, Value};

impl Evaluator<'_> {
    /// A bool, or `None` while unknown.
    pub(super) fn boolean(&self, value: &Value, place: Place) -> Evaluation<Option<bool>> {
        match types::convert(value, &Type::Bool).map(|value| value.kind) {
            Ok(Kind::Bool(value)) => Ok(Some(value)),
            Ok(Kind::Unknown) => Ok(None),
            Ok(_) => Err(self.wrong_type(place, "expected a bool, got null")),
            Err(error) => Err(self.wrong_type(place, &error.message)),
        }
    }

    /// A number, or `None` while unknown.
    pub(super) fn number(&self, value: &Value, place: Place) -> Evaluation<Option<Number>> {
        match types::convert(value, &Type::Number).map(|value| value.kind) {
            Ok(Kind::Number(value)) => Ok(Some(value)),
            Ok(Kind::Unknown) => Ok(None),
            Ok(_) => Err(self.wrong_type(place, "expected a number, got null")),
            Err(error) => Err(self.wrong_type(place, &error.message)),
        }
    }

    pub(super) fn conditional(
        &self,
        condition: &Expr,
        then: &Expr,
        otherwise: &Expr,
        scope: &Scope<'_>,
    ) -> Evaluation {
        let decision = self.eval(condition, scope)?;
        let Some(decided) = self.boolean(&decision, condition.place)? else {
            return Ok(Value::UNKNOWN.marked(decision.sensitive));
        };
        let (chosen, other) = if decided { (then, otherwise) } else { (otherwise, then) };
        let value = self.eval(chosen, scope)?;
        // Both results get one type; the branch not taken may fail, as `x == null ? 0 : x.size`.
        let value = match self.eval(other, scope) {
            Ok(other) if !other.is_unknown() => {
                types::unify(&types::type_of(&value), &types::type_of(&other))
                    .and_then(|common| types::convert(&value, &common).ok())
                    .unwrap_or(value)
            }
            _ => value,
        };
        Ok(value.marked(decision.sensitive))
    }

    pub(super) fn binary(
        &self,
        operator: Operator,
        left: &Expr,
        right: &Expr,
        scope: &Scope<'_>,
    ) -> Evaluation {
        let a = self.eval(left, scope)?;
        let b = self.eval(right, scope)?;
        let sensitive = a.sensitive || b.sensitive;
        let result = match operator {
            Operator::Equal | Operator::NotEqual => {
                let sensitive = a.any_sensitive() || b.any_sensitive();
                if a.any_unknown() || b.any_unknown() {
                    return Ok(Value::UNKNOWN.marked(sensitive));
                }
                let same = value::equal(&a, &b);
                return Ok(Value::bool(same == (operator == Operator::Equal)).marked(sensitive));
            }
            Operator::And | Operator::Or => {
                let decided = operator == Operator::Or;
                match (self.boolean(&a, left.place)?, self.boolean(&b, right.place)?) {
                    (Some(a), _) if a == decided => Value::bool(decided),
                    (_, Some(b)) if b == decided => Value::bool(decided),
                    (Some(_), Some(_)) => Value::bool(!decided),
                    _ => Value::UNKNOWN,
                }
            }
            _ => match (self.number(&a, left.place)?, self.number(&b, right.place)?) {
                (Some(a), Some(b)) => self.arithmetic(operator, a, b, right.place)?,
                _ => Value::UNKNOWN,
            },
        };
        Ok(result.marked(sensitive))
    }

    fn arithmetic(&self, operator: Operator, a: Number, b: Number, place: Place) -> Evaluation {
        let result = match operator {
            Operator::Add => a.add(b),
            Operator::Subtract => a.subtract(b),
            Operator::Multiply => a.multiply(b),
            Operator::Divide => a.divide(b),
            Operator::Remainder => a.remainder(b),
            Operator::Less => return Ok(Value::bool(a < b)),
            Operator::LessOrEqual => return Ok(Value::bool(a <= b)),
            Operator::Greater => return Ok(Value::bool(a > b)),
            _ => return Ok(Value::bool(a >= b)),
        };
        result.map(Value::number).ok_or_else(|| {
            let by_zero = b.as_int() == Some(0) && matches!(operator, Operator::Divide | Operator::Remainder);
            let detail =
                if by_zero { "A number is divided by zero." } else { "The result is no finite number." };
            self.error(place, "config::arithmetic", "a calculation has no result")
                .detail(detail)
                .help("test the number first: x == 0 ? … : …")
                .into()
        })
    }
}
