//! From a directory to a [`Config`]: parsing, names, order, variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::ast::{Attribute, Block, Expr, ExprKind, StepKind};
use super::functions::FileCache;
use super::lower::Lower;
use super::references::{self, Checker, DataName, InstanceNames, Names, Node, Standing};
use super::schema;
use super::source::{Place, Sources, read_text};
use super::unclosed;
use super::variables::{Reader, Variables};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::model::{AttributePath, Digest, LookupKind};

/// The ending of configuration files.
const SUFFIX: &str = ".replant.hcl";

/// What the command line and the environment give to a configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--var NAME=VALUE`, in their order.
    pub variables: Vec<(String, String)>,
    /// `--var-file FILE` (HCL, or JSON when it ends in `.json`), in their order.
    pub variable_files: Vec<PathBuf>,
    /// The process's `REPLANT_VAR_…` variables with their full names; others are not looked at.
    pub environment: BTreeMap<String, String>,
    /// Whether folders of components may be missing: they are about to be filled.
    pub components_may_be_missing: bool,
}

/// An instance's block, checked.
#[derive(Debug)]
pub(super) struct InstanceBlock {
    pub(super) block: Block,
    /// Said in `depends_on`: names, keys, places.
    pub(super) depends_on: Vec<(Arc<str>, Option<Arc<str>>, Place)>,
    pub(super) spans: BTreeMap<AttributePath, Span>,
    /// Whether anything refers to it.
    pub(super) referenced: bool,
}

/// A configuration whose names, order and variables are checked, not yet evaluated.
#[derive(Debug)]
pub struct Config {
    pub(super) directory: PathBuf,
    pub(super) components_may_be_missing: bool,
    pub(super) sources: Sources,
    pub(super) files: FileCache,
    /// File names and contents.
    texts: Vec<(String, Digest)>,
    pub(super) variables: Variables,
    pub(super) locals: BTreeMap<Arc<str>, Expr>,
    pub(super) instances: BTreeMap<Arc<str>, InstanceBlock>,
    pub(super) data: BTreeMap<DataName, Block>,
    pub(super) outputs: Vec<Block>,
    pub(super) replant: Option<Block>,
    pub(super) provider: Option<Block>,
    pub(super) access_node: Option<Block>,
    /// Locals and instances, dependencies first.
    pub(super) order: Vec<Node>,
    /// Attributes whose names are wrong; evaluating them would say it twice.
    pub(super) faulty: BTreeSet<Place>,
    digest: OnceLock<Digest>,
}

/// A path without a leading `./`, as people write it.
pub(super) fn shown_path(path: &Path) -> PathBuf {
    path.strip_prefix("./").unwrap_or(path).to_owned()
}

/// Parses a file; a mistake in its syntax gets its diagnostic.
pub(super) fn parse_body(
    sources: &Sources,
    path: PathBuf,
    text: String,
    diagnostics: &mut Diagnostics,
) -> Option<Block> {
    let (file, source) = sources.add(path, text);
    let place = Place { file, start: 0, end: 0 };
    match hcl::edit::parser::parse_body(&source.text) {
        Ok(body) => {
            let (attributes, blocks) = Lower { file, text: &source.text }.body(&body, place);
            Some(Block { kind: Arc::from("file"), place, labels: Vec::new(), attributes, blocks })
        }
        Err(error) => {
            let offset = u32::try_from(error.location().offset()).unwrap_or(u32::MAX);
            let word = source.text.get(error.location().offset()..).unwrap_or_default();
            let word = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len()).max(1);
            let end = offset.saturating_add(u32::try_from(word).unwrap_or(1));
            let span = sources.span(Place { file, start: offset, end });
            let message = error.message();
            let unclosed = unclosed::string(&source.text).and_then(|start| u32::try_from(start).ok());
            diagnostics.push(if let Some(start) = unclosed.filter(|start| *start <= offset) {
                Diagnostic::error("config::unclosed_string", "a string is not closed")
                    .at(sources.span(Place { file, start, end: u32::MAX }))
                    .detail("A quoted string ends in its line, and this one does not.")
                    .help("add the closing `\"`")
                    .help("for a text of several lines write <<EOT, the lines, and EOT on a line of its own")
            } else if message.contains("redefined attribute") {
                Diagnostic::error("config::duplicate_attribute", "an attribute stands twice")
                    .at(span)
                    .detail("Its block has this attribute already.")
                    .help("remove one of the two")
            } else {
                let help = if message.contains("nesting depth") || message.contains("chained binary") {
                    "split the expression: give its parts names in `locals`"
                } else if source.text.starts_with('\u{feff}') {
                    "save the file without a byte order mark"
                } else {
                    "mend this place; what follows it in this file has not been looked at"
                };
                Diagnostic::error("config::syntax", "a file is not written correctly")
                    .at(span)
                    .detail(format!("The text cannot be read on from here: {message}."))
                    .help(help)
            });
            None
        }
    }
}

/// Reads and checks the configuration of a directory. All mistakes are collected; without a
/// syntax error there is a [`Config`] even beside errors, so that [`Config::evaluate`] can find
/// the others.
#[must_use]
pub fn load(directory: &Path, options: &Options) -> (Option<Config>, Diagnostics) {
    let mut diagnostics = Diagnostics::new();
    let config = read(directory, options, &mut diagnostics);
    diagnostics.sort_by_place();
    (config, diagnostics)
}

fn discover(directory: &Path, diagnostics: &mut Diagnostics) -> Option<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            diagnostics.push(
                Diagnostic::error(
                    "config::unreadable_directory",
                    "the configuration's directory cannot be read",
                )
                .detail(format!("{}: {error}.", directory.display()))
                .help("name the directory with -C DIR, or change to it"),
            );
            return None;
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            // Editors keep hidden copies beside the files.
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.ends_with(SUFFIX) && !name.starts_with('.'))
        })
        .collect();
    paths.sort();
    if paths.is_empty() {
        diagnostics.push(
            Diagnostic::error("config::no_configuration", "there is no configuration")
                .detail(format!("No file in {} ends in {SUFFIX}.", directory.display()))
                .help("make a first one from the backups:\nreplant init IMAGE…")
                .help("or name the directory of one with -C DIR"),
        );
        return None;
    }
    Some(paths)
}

fn read(directory: &Path, options: &Options, diagnostics: &mut Diagnostics) -> Option<Config> {
    let paths = discover(directory, diagnostics)?;
    let sources = Sources::default();
    let files = FileCache::default();
    let mut texts = Vec::new();
    let mut bodies = Vec::new();
    for path in &paths {
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) => {
                diagnostics.push(
                    Diagnostic::error("config::unreadable_file", "a file cannot be read")
                        .detail(format!("{}: {error}.", shown_path(path).display()))
                        .help("check its permissions, and that it is a text file"),
                );
                continue;
            }
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        texts.push((name, Digest::of(text.as_bytes())));
        bodies.extend(parse_body(&sources, shown_path(path), text, diagnostics));
    }
    if bodies.len() < paths.len() {
        return None;
    }
    let whole = Block {
        kind: Arc::from("file"),
        place: Place { file: 0, start: 0, end: 0 },
        labels: Vec::new(),
        attributes: bodies.iter().flat_map(|body| body.attributes.clone()).collect(),
        blocks: bodies.into_iter().flat_map(|body| body.blocks).collect(),
    };
    schema::check(&whole, &schema::FILE, &sources, diagnostics);
    let all = |kind: &'static str| whole.blocks.iter().filter(move |block| &*block.kind == kind);
    let first = |kind: &'static str| all(kind).next().cloned();

    let mut locals: BTreeMap<Arc<str>, Expr> = BTreeMap::new();
    for Attribute { name, expr, .. } in all("locals").flat_map(|block| &block.attributes) {
        locals.entry(Arc::clone(name)).or_insert_with(|| expr.clone());
    }
    let mut instances: BTreeMap<Arc<str>, InstanceBlock> = BTreeMap::new();
    for block in all("instance").filter(|block| !block.label().is_empty()) {
        let depends_on = depends_on(block, &sources, diagnostics);
        let spans = spans(block, &sources);
        instances.entry(Arc::from(block.label())).or_insert_with(|| InstanceBlock {
            block: block.clone(),
            depends_on,
            spans,
            referenced: false,
        });
    }
    let mut data: BTreeMap<DataName, Block> = BTreeMap::new();
    for block in all("data") {
        if let Some(name) = data_name(block) {
            data.entry(name).or_insert_with(|| block.clone());
        }
    }
    let variable_blocks: Vec<&Block> = all("variable").filter(|block| !block.label().is_empty()).collect();
    let names = Names {
        variables: variable_blocks.iter().map(|block| Arc::from(block.label())).collect(),
        locals: locals.keys().cloned().collect(),
        instances: instances
            .iter()
            .map(|(name, instance)| (Arc::clone(name), instance_names(&instance.block)))
            .collect(),
        data: data
            .iter()
            .map(|(name, block)| (name.clone(), block.attribute("for_each").is_some()))
            .collect(),
    };
    let uses = check_names(&whole, &names, &instances, &sources, diagnostics);
    for (name, instance) in &mut instances {
        instance.referenced = uses.referenced.contains(&Node::Instance(Arc::clone(name)));
    }
    let order = references::order(&uses.needs, &sources, diagnostics);
    let variables =
        Reader { sources: &sources, directory, files: &files, diagnostics }.read(&variable_blocks, options);
    let (outputs, replant, provider, access_node) =
        (all("output").cloned().collect(), first("replant"), first("provider"), first("access_node"));
    Some(Config {
        directory: directory.to_owned(),
        components_may_be_missing: options.components_may_be_missing,
        sources,
        files,
        texts,
        variables,
        locals,
        instances,
        data,
        outputs,
        replant,
        provider,
        access_node,
        order,
        faulty: uses.faulty,
        digest: OnceLock::new(),
    })
}

/// What a `data` block is called, when its labels are right.
fn data_name(block: &Block) -> Option<DataName> {
    match block.labels.as_slice() {
        [kind, name] => Some((LookupKind::named(&kind.text)?, Arc::clone(&name.text))),
        _ => None,
    }
}

fn instance_names(block: &Block) -> InstanceNames {
    InstanceNames {
        each: block.attribute("for_each").is_some(),
        image: block.attribute("image").is_some(),
        disks: block.blocks("disk").map(|disk| Arc::from(disk.label())).collect(),
    }
}

/// The expressions of a block and of those in it.
fn expressions<'a>(block: &'a Block, all: &mut Vec<&'a Attribute>) {
    all.extend(&block.attributes);
    for inner in &block.blocks {
        expressions(inner, all);
    }
}

/// What each local and instance needs, and everything that anything needs.
#[derive(Default)]
struct Uses {
    needs: BTreeMap<Node, BTreeMap<Node, Place>>,
    referenced: BTreeSet<Node>,
    /// Attributes whose expression names something that does not exist.
    faulty: BTreeSet<Place>,
}

/// Checks the names in all expressions.
fn check_names(
    file: &Block,
    names: &Names,
    instances: &BTreeMap<Arc<str>, InstanceBlock>,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Uses {
    let mut uses = Uses::default();
    for block in &file.blocks {
        let standing = match &*block.kind {
            "instance" | "data" if block.attribute("for_each").is_some() => Standing::Each,
            "provider" | "access_node" | "replant" => Standing::Settings,
            // A variable's expressions are constants, which their reader checks.
            "variable" => continue,
            _ => Standing::Plain,
        };
        let mut attributes = Vec::new();
        expressions(block, &mut attributes);
        for attribute in attributes {
            if &*attribute.name == "depends_on" {
                continue;
            }
            // `each` is what for_each makes; it is not there yet.
            let standing = if &*attribute.name == "for_each" { Standing::Plain } else { standing };
            let before = diagnostics.as_slice().len();
            let mut checker = Checker { names, sources, diagnostics, uses: BTreeMap::new(), standing };
            checker.check(&attribute.expr);
            let found = checker.uses;
            uses.referenced.extend(found.keys().cloned());
            if diagnostics.as_slice().len() > before {
                uses.faulty.insert(attribute.expr.place);
            }
            let node = match &*block.kind {
                "locals" => Node::Local(Arc::clone(&attribute.name)),
                "instance" => Node::Instance(Arc::from(block.label())),
                "data" => match data_name(block) {
                    Some((kind, name)) => Node::Data(kind, name),
                    None => continue,
                },
                _ => continue,
            };
            uses.needs.entry(node).or_default().extend(found);
        }
    }
    for (kind, name) in names.data.keys() {
        uses.needs.entry(Node::Data(*kind, Arc::clone(name))).or_default();
    }
    for (name, instance) in instances {
        let needs = uses.needs.entry(Node::Instance(Arc::clone(name))).or_default();
        for (other, _, place) in &instance.depends_on {
            if names.instances.contains_key(other) {
                needs.entry(Node::Instance(Arc::clone(other))).or_insert(*place);
            } else {
                diagnostics.push(references::unknown_instance(sources, names, other, *place));
            }
        }
    }
    uses
}

/// What `depends_on` says: a list of `instance.NAME` or `instance.NAME["KEY"]`.
fn depends_on(
    block: &Block,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<(Arc<str>, Option<Arc<str>>, Place)> {
    let Some(attribute) = block.attribute("depends_on") else { return Vec::new() };
    let wrong = |place: Place| {
        Diagnostic::error("config::invalid_depends_on", "`depends_on` names something else than instances")
            .at(sources.span(place))
            .detail("It is a list of instances, named without quotes.")
            .help("write `depends_on = [instance.db]`, or one of several: [instance.db[\"eu\"]]")
    };
    let ExprKind::Tuple(elements) = &*attribute.expr.kind else {
        diagnostics.push(wrong(attribute.expr.place));
        return Vec::new();
    };
    let mut found = Vec::new();
    for element in elements {
        let parsed = match &*element.kind {
            ExprKind::Traversal(base, steps) if matches!(&*base.kind, ExprKind::Name(root) if &**root == "instance") => {
                match steps.as_slice() {
                    [name] => attribute_name(&name.kind).map(|name| (name, None)),
                    [name, key] => match &key.kind {
                        StepKind::Index(index) => match &*index.kind {
                            ExprKind::String(key) => {
                                attribute_name(&name.kind).map(|name| (name, Some(Arc::clone(key))))
                            }
                            _ => None,
                        },
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        };
        match parsed {
            Some((name, key)) => found.push((name, key, element.place)),
            None => diagnostics.push(wrong(element.place)),
        }
    }
    found
}

fn attribute_name(kind: &StepKind) -> Option<Arc<str>> {
    match kind {
        StepKind::Attribute(name) => Some(Arc::clone(name)),
        _ => None,
    }
}

/// Where each attribute of an instance stands.
fn spans(block: &Block, sources: &Sources) -> BTreeMap<AttributePath, Span> {
    let mut spans = BTreeMap::new();
    let mut add = |path: String, place: Place| {
        if let Some(span) = sources.span(place) {
            spans.insert(path, span);
        }
    };
    add(String::new(), block.place);
    let mut pending = vec![(String::new(), block)];
    while let Some((prefix, block)) = pending.pop() {
        for attribute in &block.attributes {
            add(format!("{prefix}{}", attribute.name), attribute.expr.place);
            if let ("tags", ExprKind::Object(fields)) = (&*attribute.name, &*attribute.expr.kind) {
                for (key, value) in fields {
                    if let super::ast::Key::Word(word) = key {
                        add(format!("{prefix}tags.{word}"), value.place);
                    }
                }
            }
        }
        for inner in &block.blocks {
            let path = match inner.labels.first() {
                Some(label) => format!("{prefix}{}.{}", inner.kind, label.text),
                None => format!("{prefix}{}", inner.kind),
            };
            add(path.clone(), inner.place);
            pending.push((format!("{path}."), inner));
        }
    }
    spans
}

impl Config {
    /// The digest that a saved plan is bound to: the configuration files, the variables' values
    /// (only as part of the digest, so that secrets stay out), and the files that its
    /// expressions read while nothing is known of the instances.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let files = FileCache::default();
            let _ = self.evaluate_reading(&super::facts::KnownFacts::default(), &files);
            let variables: BTreeMap<&str, Option<serde_json::Value>> = self
                .variables
                .iter()
                .map(|(name, value)| (&**name, value.as_ref().and_then(super::value::Value::to_json)))
                .collect();
            let read: BTreeMap<String, Digest> = files
                .digests()
                .into_iter()
                .map(|(path, digest)| {
                    let inside =
                        path.strip_prefix(&self.directory).unwrap_or(&path).to_string_lossy().into_owned();
                    (inside, digest)
                })
                .collect();
            Digest::of_json(&(&self.texts, &variables, &read)).unwrap_or_else(|_| Digest::of(b""))
        })
    }
}
