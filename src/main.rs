//! The program: arguments, a command, an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    highwater::cli::main()
}
