//! `panel export`.

use crate::written::write_file;
use crate::{RunArgs, runtime};
use anyhow::{Result, bail};
use clap::Args;
use lake::schema::Row;
use lake::schema::gold::PanelDaily;
use lake::table_file::batch_bytes;
use panel::export::csv_of;
use panel::rows::Rows;
use panel::stata::dta_bytes;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to write, and of which run.
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    files: Files,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Files {
    /// Write a Stata file (release 118, Stata 14 and later).
    #[arg(long, value_name = "FILE")]
    dta: Option<PathBuf>,
    /// Write CSV after RFC 4180; a null is an empty field.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write Parquet.
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
}

pub(crate) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let run = args.run.load()?;
    let lake = run.open_lake()?;
    let gold = runtime()?.block_on(Rows::of_gold(&lake))?;
    let gold =
        gold.rows_where(|csu, date| run.csus.iter().any(|of_run| of_run == csu) && run.days.contains(date))?;
    if gold.height() == 0 {
        bail!(
            "{} has no row of this run ({})\nhint: run `panel build` (make gold) for it first",
            gold.name,
            run.days
        );
    }
    // All bytes are made before the first is written.
    let mut files = Vec::new();
    if let Some(path) = &args.files.parquet {
        files.push((path, batch_bytes(PanelDaily::TABLE.name, &gold.batch)?));
    }
    if let Some(path) = &args.files.csv {
        files.push((path, csv_of(&gold.batch)?));
    }
    if let Some(path) = &args.files.dta {
        files.push((path, dta_bytes(&gold)?));
    }
    for (path, bytes) in files {
        write_file(path, &bytes)?;
    }
    Ok(ExitCode::SUCCESS)
}
