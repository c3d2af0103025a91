//! Parses the command line, runs the command, returns its exit code.

use std::alloc::System;
use zeroizing_alloc::ZeroAlloc;

/// Wipes memory as it is given back. The libraries below us copy secrets into buffers of their own (HTTP, TLS, parsers,
/// the AWS SDK) and let go of them as they are; so nothing is left of a secret once nobody holds it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> std::process::ExitCode {
    rekeyd::cli::main()
}
