//! All functions: name, arity, and how unknown and sensitive arguments pass through.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::arguments::{Arguments, Result};
use super::{collections, conversion, encoding, files, network, numbers, sets, strings, time, yaml};

/// What a function needs to know of its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything inside: an unknown or sensitive part makes the result so.
    Strict,
    /// Only the outside: parts pass through with their marks.
    Shallow,
    /// It looks itself.
    Raw,
}

/// A function.
pub(super) struct Function {
    name: &'static str,
    /// Fewest arguments.
    pub(super) least: usize,
    /// Most arguments; `None`: any number.
    pub(super) most: Option<usize>,
    pub(super) mode: Mode,
    /// Whether an argument may be null.
    pub(super) nulls: bool,
    pub(super) run: fn(&Arguments<'_>) -> Result,
}

type Run = fn(&Arguments<'_>) -> Result;

const fn exactly(name: &'static str, count: usize, mode: Mode, run: Run) -> Function {
    Function { name, least: count, most: Some(count), mode, nulls: false, run }
}

const fn between(name: &'static str, least: usize, most: usize, mode: Mode, run: Run) -> Function {
    Function { name, least, most: Some(most), mode, nulls: false, run }
}

const fn at_least(name: &'static str, least: usize, mode: Mode, run: Run) -> Function {
    Function { name, least, most: None, mode, nulls: false, run }
}

const fn nullable(function: Function) -> Function {
    Function { nulls: true, ..function }
}

/// `try`, `can` and `templatefile` are evaluated by their caller, which looks only at the arity.
fn evaluated_by_caller(arguments: &Arguments<'_>) -> Result {
    Ok(arguments.value(0).clone())
}

use Mode::{Raw, Shallow, Strict};

static FUNCTIONS: &[Function] = &[
    exactly("abs", 1, Strict, numbers::abs),
    exactly("abspath", 1, Strict, files::abspath),
    exactly("alltrue", 1, Strict, collections::alltrue),
    exactly("anytrue", 1, Strict, collections::anytrue),
    exactly("base64decode", 1, Strict, encoding::base64decode),
    exactly("base64encode", 1, Strict, encoding::base64encode),
    exactly("base64sha256", 1, Strict, encoding::base64sha256),
    exactly("basename", 1, Strict, files::basename),
    exactly("can", 1, Raw, evaluated_by_caller),
    exactly("ceil", 1, Strict, numbers::ceil),
    exactly("chomp", 1, Strict, strings::chomp),
    exactly("chunklist", 2, Shallow, collections::chunklist),
    exactly("cidrhost", 2, Strict, network::cidrhost),
    exactly("cidrnetmask", 1, Strict, network::cidrnetmask),
    exactly("cidrsubnet", 3, Strict, network::cidrsubnet),
    at_least("cidrsubnets", 1, Strict, network::cidrsubnets),
    nullable(at_least("coalesce", 1, Raw, collections::coalesce)),
    nullable(at_least("coalescelist", 1, Shallow, collections::coalescelist)),
    exactly("compact", 1, Strict, collections::compact),
    at_least("concat", 1, Shallow, collections::concat),
    nullable(exactly("contains", 2, Strict, collections::contains)),
    exactly("csvdecode", 1, Strict, encoding::csvdecode),
    exactly("dirname", 1, Strict, files::dirname),
    exactly("distinct", 1, Strict, collections::distinct),
    exactly("element", 2, Shallow, collections::element),
    exactly("endswith", 2, Strict, strings::endswith),
    exactly("file", 1, Strict, files::file),
    exactly("filebase64", 1, Strict, files::filebase64),
    exactly("fileexists", 1, Strict, files::fileexists),
    exactly("fileset", 2, Strict, files::fileset),
    exactly("filesha256", 1, Strict, files::filesha256),
    exactly("flatten", 1, Shallow, collections::flatten),
    exactly("floor", 1, Strict, numbers::floor),
    nullable(at_least("format", 1, Strict, strings::format)),
    exactly("formatdate", 2, Strict, time::formatdate),
    nullable(at_least("formatlist", 1, Strict, strings::formatlist)),
    exactly("indent", 2, Strict, strings::indent),
    exactly("index", 2, Strict, collections::index),
    nullable(exactly("issensitive", 1, Raw, conversion::issensitive)),
    at_least("join", 2, Strict, strings::join),
    exactly("jsondecode", 1, Strict, encoding::jsondecode),
    nullable(exactly("jsonencode", 1, Strict, encoding::jsonencode)),
    exactly("keys", 1, Shallow, collections::keys),
    exactly("length", 1, Shallow, collections::length),
    exactly("log", 2, Strict, numbers::log),
    nullable(between("lookup", 2, 3, Shallow, collections::lookup)),
    exactly("lower", 1, Strict, strings::lower),
    exactly("matchkeys", 3, Strict, collections::matchkeys),
    at_least("max", 1, Strict, numbers::max),
    nullable(at_least("merge", 0, Shallow, collections::merge)),
    at_least("min", 1, Strict, numbers::min),
    nullable(exactly("nonsensitive", 1, Raw, conversion::nonsensitive)),
    exactly("one", 1, Shallow, collections::one),
    exactly("parseint", 2, Strict, numbers::parseint),
    exactly("pathexpand", 1, Strict, files::pathexpand),
    exactly("pow", 2, Strict, numbers::pow),
    between("range", 1, 3, Strict, collections::range),
    exactly("regex", 2, Strict, strings::regex),
    exactly("regexall", 2, Strict, strings::regexall),
    exactly("replace", 3, Strict, strings::replace),
    exactly("reverse", 1, Shallow, collections::reverse),
    nullable(exactly("sensitive", 1, Raw, conversion::sensitive)),
    at_least("setintersection", 1, Strict, sets::setintersection),
    at_least("setproduct", 2, Strict, sets::setproduct),
    at_least("setsubtract", 2, Strict, sets::setsubtract),
    at_least("setunion", 1, Strict, sets::setunion),
    exactly("sha256", 1, Strict, encoding::sha256),
    exactly("sha512", 1, Strict, encoding::sha512),
    exactly("signum", 1, Strict, numbers::signum),
    exactly("slice", 3, Shallow, collections::slice),
    exactly("sort", 1, Strict, collections::sort),
    exactly("split", 2, Strict, strings::split),
    exactly("startswith", 2, Strict, strings::startswith),
    exactly("strcontains", 2, Strict, strings::strcontains),
    exactly("strrev", 1, Strict, strings::strrev),
    exactly("substr", 3, Strict, strings::substr),
    exactly("sum", 1, Strict, numbers::sum),
    exactly("templatefile", 2, Raw, evaluated_by_caller),
    exactly("timeadd", 2, Strict, time::timeadd),
    exactly("timecmp", 2, Strict, time::timecmp),
    exactly("title", 1, Strict, strings::title),
    nullable(exactly("tobool", 1, Raw, conversion::tobool)),
    nullable(exactly("tolist", 1, Raw, conversion::tolist)),
    nullable(exactly("tomap", 1, Raw, conversion::tomap)),
    nullable(exactly("tonumber", 1, Raw, conversion::tonumber)),
    nullable(exactly("toset", 1, Raw, conversion::toset)),
    nullable(exactly("tostring", 1, Raw, conversion::tostring)),
    exactly("transpose", 1, Strict, collections::transpose),
    exactly("trim", 2, Strict, strings::trim),
    exactly("trimprefix", 2, Strict, strings::trimprefix),
    exactly("trimspace", 1, Strict, strings::trimspace),
    exactly("trimsuffix", 2, Strict, strings::trimsuffix),
    at_least("try", 1, Raw, evaluated_by_caller),
    exactly("upper", 1, Strict, strings::upper),
    exactly("urlencode", 1, Strict, encoding::urlencode),
    exactly("values", 1, Shallow, collections::values),
    exactly("yamldecode", 1, Strict, yaml::yamldecode),
    nullable(exactly("yamlencode", 1, Strict, yaml::yamlencode)),
    exactly("zipmap", 2, Shallow, collections::zipmap),
];

/// Terraform's functions that are not pure, and what to do instead.
pub(super) static IMPURE: &[(&str, &str)] = &[
    ("timestamp", "give the time in a variable: --var now=$(date -u +%FT%TZ)"),
    ("plantimestamp", "give the time in a variable: --var now=$(date -u +%FT%TZ)"),
    ("uuid", "give the id in a variable: --var id=$(uuidgen)"),
    ("bcrypt", "give the hash in a sensitive variable"),
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Function>> =
    LazyLock::new(|| FUNCTIONS.iter().map(|function| (function.name, function)).collect());

/// The function of that name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    BY_NAME.get(name).copied()
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    FUNCTIONS.iter().map(|function| function.name)
}
