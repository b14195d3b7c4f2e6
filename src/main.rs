//! The `replant` command: arguments → run → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    replant::cli::main()
}
