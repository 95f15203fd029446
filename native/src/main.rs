//! The `muse` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    muse::memory::keep();
    muse::cli::main()
}
