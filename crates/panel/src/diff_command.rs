//! `panel diff`.

use crate::runtime;
use anyhow::Result;
use clap::Args;
use panel::diff::{Compared, Tolerance, compare, panel_at, table};
use std::io::Write;
use std::process::ExitCode;

/// Which two panels.
#[derive(Args)]
pub(crate) struct DiffArgs {
    /// The earlier panel: a Parquet file, a lake or a release.
    #[arg(value_name = "A")]
    before: String,
    /// The later panel: a Parquet file, a lake or a release.
    #[arg(value_name = "B")]
    after: String,
    /// Do not count numbers as changed that differ by less than this share of the larger one.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    tolerance: f64,
    /// Print every changed row and cell as JSON on standard output, for programs.
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to below 1, for example 1e-9".to_owned())
}

pub(crate) fn run(args: &DiffArgs) -> Result<ExitCode> {
    let (before, after) = runtime()?
        .block_on(async { anyhow::Ok((panel_at(&args.before).await?, panel_at(&args.after).await?)) })?;
    let compared: Compared = compare(&before, &after, Tolerance(args.tolerance))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &compared).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&compared))?;
    }
    Ok(if compared.is_same() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
