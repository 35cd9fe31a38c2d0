//! The binary: everything it does is in [`rialto::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rialto::cli::run()
}
