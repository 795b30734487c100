//! `cepa`: a Tor client. All of it is `cepa::app`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cepa::app::main(std::env::args_os().skip(1))
}
