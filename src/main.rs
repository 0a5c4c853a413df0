//! Runs the command line.

use std::process::ExitCode;

/// Injection makes many small allocations. glibc's allocator keeps more memory, and musl's is several times slower.
#[cfg(all(target_os = "linux", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    outrigger::cli::run()
}
