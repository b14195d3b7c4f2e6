//! The init of the sandbox.

fn main() {}
