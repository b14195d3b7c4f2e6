//! What a resource has and its configuration does not say, as lines to copy into it.

use super::value::{aligned, hcl};
use crate::observe::unsaid::Body;

/// Spaces of one level.
const LEVEL: usize = 2;

/// The block of an instance with what its own block lacks.
#[must_use]
pub fn render_unsaid(instance: &str, body: &Body) -> String {
    block(&format!("instance {}", super::value::quoted(instance)), body, 0)
}

fn block(header: &str, body: &Body, indent: usize) -> String {
    let outer = " ".repeat(indent);
    let inner = indent + LEVEL;
    let members = body.attributes.iter().map(|(name, value)| (name.clone(), hcl(value, inner)));
    let mut text = format!("{outer}{header} {{\n{}", aligned(members, inner));
    for (header, body) in &body.blocks {
        text.push_str(&block(header, body, inner));
    }
    text.push_str(&format!("{outer}}}\n"));
    text
}
