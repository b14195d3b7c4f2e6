//! Variables: what is declared, what is given, and whether they fit.
//!
//! A value given later wins, in Terraform's order: the environment (`REPLANT_VAR_x`), the file
//! `replant.replantvars.hcl`, the files `*.auto.replantvars.hcl` by name, `--var-file`, `--var`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::ast::{Block, Expr};
use super::expression::{Evaluator, Failure, Scope};
use super::functions::FileCache;
use super::load::{Options, parse_body, shown_path};
use super::lower::Lower;
use super::references::{Checker, Names, Standing};
use super::source::{Place, Sources, read_text};
use super::suggest;
use super::types::{self, Type};
use super::value::{Kind, Value};
use crate::diagnostic::{Diagnostic, Diagnostics};

const ENVIRONMENT_PREFIX: &str = "REPLANT_VAR_";
const DEFAULT_FILE: &str = "replant.replantvars.hcl";
const AUTO_SUFFIX: &str = ".auto.replantvars.hcl";

/// A value that was given, and where.
struct Given {
    value: Result<Value, Failure>,
    place: Place,
    /// How it was given, for messages: `--var`, a file's name.
    how: String,
}

/// A declared variable.
struct Declared<'a> {
    block: &'a Block,
    constraint: Type,
    default: Option<Value>,
    sensitive: bool,
    nullable: bool,
    /// Its declaration has mistakes; its value would only add to them.
    faulty: bool,
}

impl Declared<'_> {
    /// Where to point at a value: never at the line of a secret.
    fn shown(&self, place: Place) -> Place {
        if self.sensitive { self.block.place } else { place }
    }
}

/// What the variables come to; `None` for those with mistakes.
pub(super) type Variables = BTreeMap<Arc<str>, Option<Value>>;

/// Reads declarations and values.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) directory: &'a Path,
    pub(super) files: &'a FileCache,
    pub(super) diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// The variables' values.
    pub(super) fn read(&mut self, blocks: &[&Block], options: &Options) -> Variables {
        let mut declared: BTreeMap<Arc<str>, Declared<'_>> = BTreeMap::new();
        for block in blocks {
            if let Some(label) = block.labels.first() {
                let declaration = self.declaration(block);
                declared.entry(Arc::clone(&label.text)).or_insert(declaration);
            }
        }
        let given = self.given(&declared, options);
        let mut variables = Variables::new();
        for (name, declaration) in &declared {
            let value =
                if declaration.faulty { None } else { self.value(name, declaration, given.get(name)) };
            variables.insert(Arc::clone(name), value);
        }
        for (name, declaration) in &declared {
            if !self.validate(name, declaration, &variables) {
                variables.insert(Arc::clone(name), None);
            }
        }
        variables
    }

    fn error(&self, place: Place, code: &str, summary: &str) -> Diagnostic {
        Diagnostic::error(code, summary).at(self.sources.span(place))
    }

    /// Evaluates what may refer to nothing.
    fn constant(&mut self, expr: &Expr, what: &str) -> Option<Value> {
        let names = Names::default();
        let mut found = Diagnostics::new();
        let mut checker = Checker {
            names: &names,
            sources: self.sources,
            diagnostics: &mut found,
            uses: BTreeMap::new(),
            standing: Standing::Settings,
        };
        checker.check(expr);
        if found.has_errors() {
            let first = found.into_iter().next();
            if first.as_ref().is_some_and(|error| {
                error.code.as_str().contains("function") || error.code.as_str().contains("argument")
            }) {
                self.diagnostics.extend(first);
            } else {
                let error = self
                    .error(expr.place, "config::not_constant", "a value must be constant")
                    .detail(format!("{what} cannot refer to anything."));
                self.diagnostics.push(error.help("write the value itself; combine values in `locals`"));
            }
            return None;
        }
        let value =
            evaluator(self.sources, self.directory, self.files, &Variables::new()).eval(expr, &Scope::EMPTY);
        match value {
            Ok(value) => Some(value),
            Err(Failure::Diagnostic(error)) => {
                self.diagnostics.push(*error);
                None
            }
            Err(Failure::Reported) => None,
        }
    }

    fn flag(&mut self, block: &Block, name: &str, default: bool) -> bool {
        let Some(attribute) = block.attribute(name) else { return default };
        let Some(value) = self.constant(&attribute.expr, &format!("`{name}`")) else { return default };
        match types::convert(&value, &Type::Bool).map(|value| value.kind) {
            Ok(Kind::Bool(value)) => value,
            _ => {
                let error = self
                    .error(attribute.expr.place, "config::wrong_type", "a value has the wrong type")
                    .detail(format!("`{name}` is true or false, and this is {}.", value.describe()));
                self.diagnostics.push(error.help(format!("write `{name} = true` or leave it out")));
                default
            }
        }
    }

    fn declaration<'a>(&mut self, block: &'a Block) -> Declared<'a> {
        let before = self.diagnostics.as_slice().len();
        let mut constraint = Type::Any;
        if let Some(attribute) = block.attribute("type") {
            let mut failed = None;
            let parsed = types::parse(&attribute.expr, &mut |expr| {
                self.constant(expr, "A default").ok_or_else(|| {
                    failed = Some(());
                    types::BadType { place: expr.place, detail: String::new(), help: String::new() }
                })
            });
            match parsed {
                Ok(parsed) => constraint = parsed,
                Err(_) if failed.is_some() => {}
                Err(bad) => {
                    let error = self
                        .error(bad.place, "config::invalid_type", "a type constraint is not understood")
                        .detail(bad.detail);
                    self.diagnostics.push(error.help(bad.help));
                }
            }
        }
        let sensitive = self.flag(block, "sensitive", false);
        let nullable = self.flag(block, "nullable", true);
        let mut default = None;
        if let Some(attribute) = block.attribute("default")
            && let Some(value) = self.constant(&attribute.expr, "A default")
        {
            match types::convert(&value, &constraint) {
                Ok(value) => default = Some(value),
                Err(error) => {
                    let place = if sensitive { block.place } else { attribute.expr.place };
                    let error = self
                        .error(place, "config::invalid_default", "a default does not fit the variable's type")
                        .detail(format!("The default of `var.{}`: {error}.", block.label()));
                    self.diagnostics
                        .push(error.help(format!("give a default of type {constraint}, or change the type")));
                }
            }
        }
        for name in ["description"] {
            if let Some(attribute) = block.attribute(name) {
                self.constant(&attribute.expr, &format!("`{name}`"));
            }
        }
        let faulty = self.diagnostics.as_slice()[before..].iter().any(Diagnostic::is_error);
        Declared { block, constraint, default, sensitive, nullable, faulty }
    }

    /// All values that were given, later ones over earlier ones.
    fn given(
        &mut self,
        declared: &BTreeMap<Arc<str>, Declared<'_>>,
        options: &Options,
    ) -> BTreeMap<Arc<str>, Given> {
        let mut given = BTreeMap::new();
        for (key, text) in &options.environment {
            if let Some(name) = key.strip_prefix(ENVIRONMENT_PREFIX)
                && let Some((name, declaration)) = declared.get_key_value(name)
            {
                let value = self.text_value(key, text, declaration);
                given.insert(Arc::clone(name), value);
            }
        }
        let default_file = self.directory.join(DEFAULT_FILE);
        if default_file.exists() {
            self.file(&default_file, declared, &mut given, false);
        }
        for file in auto_files(self.directory) {
            self.file(&file, declared, &mut given, false);
        }
        for file in &options.variable_files {
            self.file(file, declared, &mut given, true);
        }
        for (name, text) in &options.variables {
            let how = format!("--var {name}");
            if let Some((name, declaration)) = declared.get_key_value(name.as_str()) {
                let value = self.text_value(&how, text, declaration);
                given.insert(Arc::clone(name), value);
                continue;
            }
            let mut error = Diagnostic::error(
                "config::undeclared_variable",
                "a value is given to a variable that does not exist",
            )
            .detail(format!("`{how}=…` is given, and no block declares the variable `{name}`."));
            error.help.extend(suggest::help(name, declared.keys().map(|name| &**name)));
            let or = if error.help.is_empty() { "" } else { "or " };
            self.diagnostics.push(error.help(format!("{or}declare it: variable \"{name}\" {{}}")));
        }
        given
    }

    /// A value given as text: itself for a string, number or bool, an expression otherwise.
    fn text_value(&mut self, how: &str, text: &str, declaration: &Declared<'_>) -> Given {
        let shown = if declaration.sensitive { "(sensitive value)".to_owned() } else { text.to_owned() };
        let (file, _) = self.sources.add(format!("<{how}>").into(), shown.clone());
        let end = u32::try_from(shown.len()).unwrap_or(u32::MAX);
        let place = Place { file, start: 0, end };
        let how = how.to_owned();
        if matches!(declaration.constraint, Type::String | Type::Number | Type::Bool | Type::Any) {
            return Given { value: Ok(Value::string(text)), place, how };
        }
        let value = match hcl::edit::parser::parse_expr(text) {
            Ok(expr) => self.constant(&Lower { file, text }.root(&expr), "A variable's value").ok_or(Failure::Reported),
            Err(error) => Err(self
                .error(place, "config::syntax", "a value is not written correctly")
                .detail(format!(
                    "The variable is of type {}, so its value is an expression: {}.",
                    declaration.constraint,
                    error.message()
                ))
                .help("write lists as [\"a\", \"b\"] and maps as { key = \"value\" }, in single quotes for the shell")
                .into()),
        };
        Given { value, place, how }
    }

    fn file(
        &mut self,
        path: &Path,
        declared: &BTreeMap<Arc<str>, Declared<'_>>,
        given: &mut BTreeMap<Arc<str>, Given>,
        asked_for: bool,
    ) {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) => {
                self.diagnostics.push(
                    Diagnostic::error("config::unreadable_file", "a file cannot be read")
                        .detail(format!("The variables file {} cannot be read: {error}.", path.display()))
                        .help("check the path and the permissions"),
                );
                return;
            }
        };
        let how = shown_path(path).display().to_string();
        let mut found: Vec<(Arc<str>, Place, Result<Value, Failure>)> = Vec::new();
        if path.extension().is_some_and(|extension| extension == "json") {
            let parsed: Result<serde_json::Map<_, _>, _> = serde_json::from_str(&text);
            let (file, _) = self.sources.add(shown_path(path), text);
            match parsed {
                Ok(fields) => {
                    let place = Place { file, start: 0, end: 1 };
                    found.extend(
                        fields.iter().map(|(name, json)| {
                            (Arc::from(name.as_str()), place, Ok(Value::from_json(json)))
                        }),
                    );
                }
                Err(error) => {
                    self.diagnostics.push(
                        Diagnostic::error("config::syntax", "a variables file is not written correctly")
                            .detail(format!("{how}: {error}."))
                            .help("the file is one JSON object of variables and their values"),
                    );
                    return;
                }
            }
        } else {
            let Some(body) = parse_body(self.sources, shown_path(path), text, self.diagnostics) else {
                return;
            };
            for block in &body.blocks {
                let error = self
                    .error(block.place, "config::unknown_block", "there is no such block")
                    .detail("A variables file holds only values.");
                self.diagnostics.push(error.help("write `NAME = VALUE`; blocks belong in *.replant.hcl"));
            }
            for attribute in body.attributes {
                let value = self.constant(&attribute.expr, "A variable's value").ok_or(Failure::Reported);
                found.push((attribute.name, attribute.expr.place, value));
            }
        }
        for (name, place, value) in found {
            if declared.contains_key(&name) {
                given.insert(name, Given { value, place, how: how.clone() });
                continue;
            }
            let summary = "a value is given to a variable that does not exist";
            let mut warning = Diagnostic::warning("config::undeclared_variable", summary)
                .at(self.sources.span(place))
                .detail(format!("{how} gives `{name}`, and no block declares that variable."));
            warning.help.extend(suggest::help(&name, declared.keys().map(|name| &**name)));
            if asked_for || warning.help.is_empty() {
                warning = warning.help(format!("declare it: variable \"{name}\" {{}}"));
            }
            self.diagnostics.push(warning);
        }
    }

    fn value(&mut self, name: &str, declaration: &Declared<'_>, given: Option<&Given>) -> Option<Value> {
        let mut value = match given {
            Some(given) => match &given.value {
                Ok(value) => {
                    let value = value.clone().marked(declaration.sensitive);
                    match types::convert(&value, &declaration.constraint) {
                        Ok(value) => Some(value),
                        Err(error) => {
                            let error = self
                                .error(
                                    declaration.shown(given.place),
                                    "config::invalid_variable",
                                    "a variable's value does not fit its type",
                                )
                                .detail(format!("`var.{name}`, given by {}: {error}.", given.how));
                            self.diagnostics
                                .push(error.help(format!("give a value of type {}", declaration.constraint)));
                            return None;
                        }
                    }
                }
                Err(Failure::Diagnostic(error)) => {
                    self.diagnostics.push((**error).clone());
                    return None;
                }
                Err(Failure::Reported) => return None,
            },
            None => None,
        };
        if value.as_ref().is_none_or(Value::is_null) && (value.is_none() || !declaration.nullable) {
            value = declaration.default.clone();
        }
        let Some(value) = value else {
            let label = declaration.block.labels.first().map_or(declaration.block.place, |label| label.place);
            let error = self
                .error(label, "config::missing_variable", "a variable has no value")
                .detail(format!("`var.{name}` has no default, and no value is given."));
            self.diagnostics.push(
                error
                    .help(format!("give one: --var {name}=…, the environment's {ENVIRONMENT_PREFIX}{name}, or a line in {DEFAULT_FILE}"))
                    .help("or add a `default` to its block"),
            );
            return None;
        };
        if value.is_null() && !declaration.nullable {
            let error = self
                .error(
                    declaration.block.place,
                    "config::invalid_variable",
                    "a variable's value does not fit its type",
                )
                .detail(format!("`var.{name}` is null and says `nullable = false`."));
            self.diagnostics.push(error.help("give it a value or a default"));
            return None;
        }
        Some(value.marked(declaration.sensitive))
    }

    /// Whether every validation holds.
    fn validate(&mut self, name: &Arc<str>, declaration: &Declared<'_>, variables: &Variables) -> bool {
        let mut valid = true;
        for block in declaration.block.blocks("validation") {
            let (Some(condition), Some(message)) =
                (block.attribute("condition"), block.attribute("error_message"))
            else {
                continue;
            };
            let before = self.diagnostics.as_slice().len();
            for attribute in [condition, message] {
                let names = Names {
                    variables: variables.keys().cloned().collect::<BTreeSet<_>>(),
                    ..Names::default()
                };
                let mut checker = Checker {
                    names: &names,
                    sources: self.sources,
                    diagnostics: self.diagnostics,
                    uses: BTreeMap::new(),
                    standing: Standing::Settings,
                };
                checker.check(&attribute.expr);
            }
            let faulty = self.diagnostics.as_slice()[before..].iter().any(Diagnostic::is_error);
            if faulty || !matches!(variables.get(name), Some(Some(_))) {
                continue;
            }
            let evaluator = evaluator(self.sources, self.directory, self.files, variables);
            let decided = evaluator
                .eval(&condition.expr, &Scope::EMPTY)
                .and_then(|value| evaluator.boolean(&value, condition.expr.place));
            match decided {
                Ok(Some(true)) => {}
                Ok(_) => {
                    valid = false;
                    let text = evaluator.eval(&message.expr, &Scope::EMPTY).ok();
                    let text = text.filter(|text| !text.any_sensitive()).and_then(|text| match text.kind {
                        Kind::String(text) => Some(text.to_string()),
                        _ => None,
                    });
                    let text = text.unwrap_or_else(|| "The condition is not met.".to_owned());
                    let help = format!(
                        "give `{name}` a value for which this holds: {}",
                        one_line(&self.sources.text(condition.expr.place))
                    );
                    let error = self.error(
                        condition.expr.place,
                        "config::invalid_variable",
                        "a variable's value is not valid",
                    );
                    self.diagnostics.push(error.detail(format!("`var.{name}`: {text}")).help(help));
                }
                Err(Failure::Diagnostic(error)) => {
                    valid = false;
                    self.diagnostics.push(*error);
                }
                Err(Failure::Reported) => valid = false,
            }
        }
        valid
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The reader checks names itself, before it evaluates.
static NONE_FAULTY: BTreeSet<Place> = BTreeSet::new();

fn evaluator<'a>(
    sources: &'a Sources,
    directory: &'a Path,
    files: &'a FileCache,
    variables: &'a Variables,
) -> Evaluator<'a> {
    Evaluator {
        sources,
        directory,
        components_may_be_missing: false,
        files,
        variables,
        locals: RefCell::default(),
        instances: RefCell::default(),
        data: RefCell::default(),
        unread: Cell::new(false),
        faulty: &NONE_FAULTY,
        trace: RefCell::default(),
    }
}

fn auto_files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(AUTO_SUFFIX)))
        .collect();
    files.sort();
    files
}
