//! Developer commands around the devnet and the recorded demo.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testkit::record::{self, RecordDemo};

/// For developers: record the demo from local chains with the real contracts
#[derive(Debug, Parser)]
#[command(name = "testkit", version)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Play the demo's story on two local chains and record it
    RecordDemo(RecordDemo),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Cmd::RecordDemo(options) => record::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
