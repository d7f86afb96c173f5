//! The command line of `panel summary`.

use crate::{RunArgs, runtime};
use anyhow::Result;
use panel::summary;
use std::io::Write;
use std::process::ExitCode;

/// Prints the summary.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    let run = args.load()?;
    let lake = run.open_lake()?;
    let summary = runtime()?.block_on(summary::summary(&run, &lake))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &summary).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", summary::text(&summary))?;
    }
    Ok(ExitCode::SUCCESS)
}
