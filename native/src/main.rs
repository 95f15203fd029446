//! The `muse` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    muse::cli::main()
}
