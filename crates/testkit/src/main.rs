//! Developer commands: the recorded demo, and simulated providers as servers.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testkit::decode_free_part::{self, DecodeFreePart};
use testkit::record::{self, RecordDemo};
use testkit::serve::{self, Serve};
use testkit::synthetic::{self, SyntheticLake};

/// For developers: record the demo from local chains with the real contracts, or serve simulated providers
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
    Serve(Serve),
    SyntheticLake(SyntheticLake),
    DecodeFreePart(DecodeFreePart),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Cmd::RecordDemo(options) => record::run(&options),
        Cmd::Serve(options) => serve::run(&options),
        Cmd::SyntheticLake(options) => synthetic::run(&options),
        Cmd::DecodeFreePart(options) => decode_free_part::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
