//! `panel report`.

use crate::written::write_file;
use crate::{RunArgs, runtime};
use anyhow::Result;
use clap::Args;
use panel::report::report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Of which run, and where to.
#[derive(Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    run: RunArgs,
    /// File to write.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode> {
    let run = args.run.load()?;
    let lake = run.open_lake()?;
    let page = runtime()?.block_on(report(&run, &lake))?;
    write_file(&args.out, page.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
