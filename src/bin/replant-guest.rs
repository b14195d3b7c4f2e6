//! The init of the sandbox: process 1 of a throwaway kernel, and of nothing else.

fn main() -> std::process::ExitCode {
    replant::guest::init::main()
}
