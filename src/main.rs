//! The program `mimamori`. Everything is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mimamori::cli::main()
}
