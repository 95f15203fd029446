//! The `muse` program.

use std::process::ExitCode;

/// A step makes and drops hundreds of megabytes of tensors; glibc's allocator gives them back to the system each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    muse::cli::main()
}
