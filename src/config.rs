//! The configuration: `*.replant.hcl` read, evaluated and decoded, every mistake collected.
//!
//! [`load`] parses a directory and checks everything that does not depend on values: blocks,
//! attributes, names, cycles, variables. [`Config::evaluate`] evaluates the expressions, with
//! what is known of the instances, and decodes them into [`crate::model::InstanceSpec`]s.
//! [`check`] does both and gives all mistakes of a directory in one go.
//!
//! The parser is `hcl::edit`; evaluation is ours, because values may be *unknown* until apply and
//! may be *sensitive*, and both properties travel through expressions and functions.
//!
//! Paths in expressions (`file("x")`, `image = "x"`) are relative to the configuration's
//! directory, wherever `replant` was started.

mod ast;
mod decode;
mod evaluate;
mod expression;
mod facts;
mod format;

mod functions;
mod limits;
mod load;
mod lower;
mod number;
mod operators;
mod references;
mod schema;
mod source;
mod suggest;
mod template;
mod types;
mod unclosed;
mod value;
mod variables;

pub use evaluate::{DataRequest, Evaluated, check};
pub use facts::{InstanceFacts, KnownFacts, VolumeFacts};

pub use format::format_text;
pub use load::{Config, Options, load};
