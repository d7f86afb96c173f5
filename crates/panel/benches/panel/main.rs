//! `make bench-panel`: a year of 224 CSUs, made up, through `panel build`; beside it DuckDB and Polars on the same silver.
//!
//! The lake lies under the target directory and is made once: its bytes depend on the arguments alone. The three are run in
//! turn, several times, each as a process of its own, by `race.py`; that prints times, memory and ratios, and compares
//! the figures, so that all three are known to have answered the same question.

mod lake_of;

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What a build of the whole year may take on two cores, and how much memory.
const SECONDS: &str = "2.0";
const MEGABYTES: &str = "500";

/// A year of made-up silver through `panel build`, DuckDB and Polars
///
/// Exit codes: 0 within the limits; 1 not, or the figures differ; 2 could not run.
#[derive(Debug, Parser)]
struct Options {
    /// CSUs
    #[arg(long, value_name = "N", default_value_t = 224)]
    csus: u16,
    /// Days from 2024-01-01 on
    #[arg(long, value_name = "N", default_value_t = 366)]
    days: u16,
    /// How often each is run
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u8,
    /// Python with duckdb, polars and pyarrow; without it `panel build` runs alone
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Write the figures as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// As cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn bench(options: &Options) -> Result<ExitCode> {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-panel-{}x{}", options.csus, options.days));
    let made = lake_of::made_up(&directory, options.csus, options.days)?;
    eprintln!(
        "silver: {} reserve rows, {} liquidation legs, {} bytes in {}",
        made.reserves,
        made.legs,
        made.bytes,
        directory.display()
    );
    let panel = env!("CARGO_BIN_EXE_panel");
    let run = directory.join("run.toml");
    let Some(python) = &options.python else {
        for _ in 0..options.rounds {
            let began = Instant::now();
            let status = Command::new(panel)
                .args(["build", "--run"])
                .arg(&run)
                .status()
                .context("cannot run panel")?;
            eprintln!("panel build: {:.3} s, {status}", began.elapsed().as_secs_f64());
        }
        return Ok(ExitCode::SUCCESS);
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/panel");
    let mut race = Command::new(python);
    race.arg(here.join("race.py"))
        .args(["--panel", panel])
        .arg("--run")
        .arg(&run)
        .arg("--lake")
        .arg(directory.join("lake"));
    race.args(["--rounds", &options.rounds.to_string()]);
    if let Some(json) = &options.json {
        race.arg("--json").arg(json);
    }
    // The limits are for the whole year.
    if (options.csus, options.days) == (224, 366) {
        race.args(["--seconds", SECONDS, "--megabytes", MEGABYTES]);
    }
    let status = race.status().with_context(|| format!("cannot run {}", python.display()))?;
    match status.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(1) => Ok(ExitCode::from(1)),
        code => bail!("race.py ended with {code:?}"),
    }
}
