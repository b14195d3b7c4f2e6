//! Graphs as pictures: DOT for Graphviz, Mermaid for pull requests.

use std::fmt::Write;

use super::Graph;
use crate::model::{Address, Part};

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Graphviz.
    Dot,
    /// Mermaid.
    Mermaid,
}

/// The label inside its instance's box.
fn label(address: &Address) -> String {
    match (&address.part, address.part.disk()) {
        (Part::Instance, _) => "instance".to_owned(),
        (part, Some(disk)) => format!("{}.{disk}", part.word()),
        (part, None) => part.word().to_owned(),
    }
}

fn is_resource(address: &Address) -> bool {
    matches!(address.part, Part::Volume(_) | Part::Snapshot(_) | Part::Image | Part::Instance)
}

impl Graph {
    /// Draws the graph, each instance in a box of its own; resources stand out from steps.
    #[must_use]
    pub fn draw(&self, format: Format) -> String {
        let addresses: Vec<&Address> = self.addresses().collect();
        let position = |address: &Address| addresses.binary_search(&address).unwrap_or_default();
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = match format {
            Format::Dot => self.draw_dot(&mut out, &addresses),
            Format::Mermaid => self.draw_mermaid(&mut out, &addresses, &position),
        };
        out
    }

    fn draw_dot(&self, out: &mut String, addresses: &[&Address]) -> std::fmt::Result {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        writeln!(out, "digraph replant {{\n  rankdir = \"LR\";\n  node [fontname = \"sans-serif\"];")?;
        for (number, group) in addresses.chunk_by(|a, b| a.instance == b.instance).enumerate() {
            writeln!(out, "  subgraph cluster_{number} {{")?;
            writeln!(out, "    label = {};", quote(&group[0].instance.to_string()))?;
            for address in group {
                let shape = if is_resource(address) { "box" } else { "ellipse" };
                writeln!(
                    out,
                    "    {} [label = {}, shape = {shape}];",
                    quote(&address.to_string()),
                    quote(&label(address))
                )?;
            }
            writeln!(out, "  }}")?;
        }
        for (from, to) in self.edges() {
            writeln!(out, "  {} -> {};", quote(&from.to_string()), quote(&to.to_string()))?;
        }
        writeln!(out, "}}")
    }

    fn draw_mermaid(
        &self,
        out: &mut String,
        addresses: &[&Address],
        position: &dyn Fn(&Address) -> usize,
    ) -> std::fmt::Result {
        let escape = |text: &str| text.replace('"', "#quot;");
        writeln!(out, "flowchart LR")?;
        for (number, group) in addresses.chunk_by(|a, b| a.instance == b.instance).enumerate() {
            writeln!(out, "  subgraph g{number} [\"{}\"]", escape(&group[0].instance.to_string()))?;
            for address in group {
                let (open, close) = if is_resource(address) { ("[", "]") } else { ("([", "])") };
                writeln!(out, "    n{}{open}\"{}\"{close}", position(address), escape(&label(address)))?;
            }
            writeln!(out, "  end")?;
        }
        for (from, to) in self.edges() {
            writeln!(out, "  n{} --> n{}", position(from), position(to))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{DiskShape, InstanceShape};
    use super::*;
    use crate::model::InstanceAddress;

    fn graph() -> Graph {
        Graph::build(&[InstanceShape {
            address: InstanceAddress::with_key("web", "eu"),
            disks: vec![DiskShape { name: "root".to_owned(), has_content: true }],
            launches: true,
            stub: true,
            image: false,
            drivers: false,
            depends_on: BTreeSet::new(),
            takes_values: false,
        }])
        .unwrap()
    }

    #[test]
    fn dot() {
        insta::assert_snapshot!(graph().draw(Format::Dot));
    }

    #[test]
    fn mermaid() {
        insta::assert_snapshot!(graph().draw(Format::Mermaid));
    }
}
