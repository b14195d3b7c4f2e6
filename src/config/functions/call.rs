//! Calling a function: its arguments' nulls, unknowns and marks.

use std::sync::Arc;

use super::arguments::{Arguments, FunctionError};
use super::files;
use super::table::{self, Function, Mode};
use crate::config::ast::Expr;
use crate::config::expression::{Evaluation, Evaluator, Failure, Scope};
use crate::config::source::{Place, Sources};
use crate::config::suggest;
use crate::config::value::{Kind, Value};
use crate::diagnostic::Diagnostic;

/// What is wrong with a call that can be seen without evaluating it.
pub(in crate::config) fn check_call(
    sources: &Sources,
    name: &str,
    place: Place,
    count: usize,
    expand: bool,
) -> Option<Diagnostic> {
    let at = |code: &str, summary: &str| Diagnostic::error(code, summary).at(sources.span(place));
    if let Some((_, help)) = table::IMPURE.iter().find(|(impure, _)| *impure == name) {
        return Some(
            at("config::impure_function", "a function would give another value each time")
                .detail(format!(
                    "`{name}` does not exist here: apply does exactly what the plan said, so a value may not change between them."
                ))
                .help(*help),
        );
    }
    let Some(function) = table::find(name) else {
        let mut error = at("config::unknown_function", "there is no such function")
            .detail(format!("There is no function `{name}`."));
        let near = suggest::nearest(name, table::names());
        error = error.help(near.map_or_else(
            || "functions have Terraform's names; those that are not pure do not exist".to_owned(),
            |near| format!("did you mean `{near}`?"),
        ));
        return Some(error);
    };
    let too_few = count < function.least && !expand;
    let too_many = function.most.is_some_and(|most| count > most);
    (too_few || too_many).then(|| {
        let plural = |count: usize| format!("{count} argument{}", if count == 1 { "" } else { "s" });
        let wanted = match function.most {
            Some(most) if most == function.least => plural(most),
            Some(most) => format!("{} to {}", function.least, plural(most)),
            None => format!("at least {}", plural(function.least)),
        };
        at("config::wrong_argument_count", "a function has the wrong number of arguments")
            .detail(format!("`{name}` takes {wanted}, and is given {count}."))
            .help(format!("give `{name}` {wanted}"))
    })
}

/// Evaluates a call.
pub(in crate::config) fn call(
    evaluator: &Evaluator<'_>,
    name: &str,
    name_place: Place,
    place: Place,
    arguments: &[Expr],
    expand: bool,
    scope: &Scope<'_>,
) -> Evaluation {
    match name {
        "try" => return attempt(evaluator, place, arguments, scope),
        "can" => {
            let can = arguments.first().map(|argument| evaluator.eval(argument, scope));
            return Ok(match can {
                Some(Ok(value)) if value.is_unknown() => Value::UNKNOWN,
                Some(Ok(_)) => Value::bool(true),
                _ => Value::bool(false),
            });
        }
        _ => {}
    }
    let mut values = Vec::with_capacity(arguments.len());
    let mut places = Vec::with_capacity(arguments.len());
    let mut expanded_mark = false;
    for (index, argument) in arguments.iter().enumerate() {
        let value = evaluator.eval(argument, scope)?;
        if expand && index + 1 == arguments.len() {
            if value.is_unknown() {
                return Ok(value);
            }
            let Some(elements) = value.elements() else {
                let message = format!("`...` spreads a list, and this is {}", value.describe());
                return Err(evaluator.wrong_type(argument.place, &message));
            };
            expanded_mark = value.sensitive;
            places.extend(elements.iter().map(|_| argument.place));
            values.extend(elements.iter().cloned());
        } else {
            places.push(argument.place);
            values.push(value);
        }
    }
    if let Some(error) = check_call(evaluator.sources, name, name_place, values.len(), false) {
        return Err(error.into());
    }
    let Some(function) = table::find(name) else { return Err(Failure::Reported) };
    let hidden = expanded_mark || values.iter().any(Value::any_sensitive);
    let result = if name == "templatefile" {
        return templatefile(evaluator, &values, &places, place).map(|value| value.marked(expanded_mark));
    } else {
        run(evaluator, function, values)
    };
    result
        .map(|value| value.marked(expanded_mark))
        .map_err(|error| failed(evaluator, name, place, &places, error, hidden))
}

fn run(
    evaluator: &Evaluator<'_>,
    function: &Function,
    mut values: Vec<Value>,
) -> Result<Value, FunctionError> {
    let mut mark = false;
    let mut unknown = false;
    if function.mode != Mode::Raw {
        for (index, value) in values.iter_mut().enumerate() {
            if value.is_null() && !function.nulls {
                return Err(FunctionError::at(index, "the argument is null")
                    .help("give it a value, or a default: coalesce(…, default)"));
            }
            if function.mode == Mode::Strict {
                unknown |= value.any_unknown();
                if value.any_sensitive() {
                    mark = true;
                    *value = value.unmarked();
                }
            } else {
                unknown |= value.is_unknown();
                mark |= std::mem::take(&mut value.sensitive);
            }
        }
    }
    if unknown {
        return Ok(Value::UNKNOWN.marked(mark));
    }
    let arguments = Arguments { values, directory: evaluator.directory, files: evaluator.files };
    (function.run)(&arguments).map(|value| value.marked(mark))
}

fn failed(
    evaluator: &Evaluator<'_>,
    name: &str,
    place: Place,
    places: &[Place],
    error: FunctionError,
    hidden: bool,
) -> Failure {
    let place = error.argument.and_then(|index| places.get(index)).copied().unwrap_or(place);
    let detail = if hidden {
        format!("`{name}` failed; the reason is not shown, because an argument is sensitive.")
    } else {
        format!("`{name}`: {}.", error.message)
    };
    evaluator
        .error(place, "config::function_failed", "a function failed")
        .detail(detail)
        .help(
            error.help.unwrap_or_else(|| format!("mend the argument, or fall back: try({name}(…), default)")),
        )
        .into()
}

/// The first argument that has a value.
fn attempt(evaluator: &Evaluator<'_>, place: Place, arguments: &[Expr], scope: &Scope<'_>) -> Evaluation {
    let mut last = None;
    for argument in arguments {
        match evaluator.eval(argument, scope) {
            Ok(value) => return Ok(value),
            Err(failure) => last = Some(failure),
        }
    }
    match last {
        Some(Failure::Diagnostic(error)) => {
            let why = if error.detail.is_empty() { error.summary } else { error.detail };
            Err(evaluator
                .error(place, "config::function_failed", "a function failed")
                .detail(format!("`try`: no argument has a value. The last one: {why}"))
                .help("add a last argument that always has a value")
                .into())
        }
        _ => Err(Failure::Reported),
    }
}

fn templatefile(evaluator: &Evaluator<'_>, values: &[Value], places: &[Place], place: Place) -> Evaluation {
    let argument = |index: usize| {
        (values.get(index).unwrap_or(&Value::NULL), places.get(index).copied().unwrap_or(place))
    };
    let (path, path_place) = argument(0);
    let (variables, variables_place) = argument(1);
    let mark = path.sensitive || variables.sensitive;
    if path.is_unknown() || variables.is_unknown() {
        return Ok(Value::UNKNOWN.marked(mark));
    }
    let Kind::String(path) = &path.kind else {
        return Err(evaluator.wrong_type(path_place, &format!("expected a string, got {}", path.describe())));
    };
    let Some(entries) = variables.entries() else {
        let message = format!("expected an object, got {}", variables.describe());
        return Err(evaluator.wrong_type(variables_place, &message));
    };
    let names: Vec<(Arc<str>, Value)> = entries
        .iter()
        .map(|(name, value)| (Arc::clone(name), value.clone().marked(variables.sensitive)))
        .collect();
    let template = files::template(evaluator, path, path_place, mark)?;
    let Some(_depth) = evaluator.files.enter_template() else {
        return Err(evaluator
            .error(place, "config::function_failed", "a function failed")
            .detail("`templatefile`: templates call templates more than 10 levels deep.")
            .help("a template must not call itself")
            .into());
    };
    evaluator.template_with(&template, &names).map(|value| value.marked(mark))
}
