//! What must come before what: typed nodes and edges on petgraph, deterministic, drawable.

pub mod build;
pub mod render;

pub use build::{DiskShape, Graph, GraphError, InstanceShape};
pub use render::Format;
