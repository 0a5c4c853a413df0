//! Parses the command line; nothing else.

use std::process::ExitCode;

/// Injection allocates small and often; glibc's allocator keeps more memory, musl's is several times slower.
#[cfg(all(target_os = "linux", feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    outrigger::cli::run()
}
