//! Silver to gold: builds, documents and shows the daily panel of CSUs.

mod check_command;
mod dictionary_command;
mod diff_command;
mod export_command;
mod release_command;
mod report_command;
mod summary_command;
mod written;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use lake::day::Day;
use lake::run::{Overrides, Run};
use panel::build::{Built, Dropped, Extras};
use panel::show::Look;
use panel::silver::spans;
use panel::{build, show};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// A year is millions of small pieces, made on one thread and let go of on another. How it is set: `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const AFTER: &str = "\
Exit codes:
  0  every row of the frame is done (collected, not_deployed, retired, no_block or unsupported) in
     the run's datasets
  1  built, but some rows are missing: they are listed, and running the stages again may fill them
     (check: a rule is broken; dictionary --check: some pages are stale; diff: the panels differ)
  2  cannot run: the run file, the registry, the lake or silver is not as it must be

The panel is gold/panel_daily.parquet in the run's lake, with panel_daily.csv beside it. It has one row for every \
CSU and every day of the run. A figure is null unless a status word says that it was measured; docs/dictionary tells \
the unit, the meaning and the null rule of every column. Nothing here asks an RPC endpoint.";

/// Silver to gold: builds, documents and shows the daily panel of CSUs.
#[derive(Parser)]
#[command(name = "panel", version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build gold/panel_daily.parquet and its CSV twin from silver.
    ///
    /// Reads the silver tables of the run's months, fills the complete frame (every CSU of the run on every day of the
    /// run) and writes gold/panel_daily.parquet, gold/panel_daily.csv and gold/manifest.json. The same silver gives
    /// the same bytes; files that would not change are left alone. What was written, and which rows are missing, goes
    /// to standard error.
    #[command(after_help = "Examples:
  panel build --run pipelines/runs/2024-12.toml
  panel build --run pipelines/runs/2024-12.toml --csu 'aave_v3_*' --to 2024-12-07
  panel build --run pipelines/runs/2024-12.toml --collected-only --by-asset")]
    Build(BuildArgs),
    /// Check gold against its rules and against silver; write the failing rows into checks/gold.
    ///
    /// Prints a table of the checks with the number of failures and the first of them. Errors say that gold is wrong,
    /// warnings that somebody should look. Each check's failing rows are in checks/gold/<check>.parquet of the lake.
    #[command(after_help = "Exit codes:
  0  every check of level error ran and found nothing
  1  some did not
  2  cannot run: gold or silver is missing, unreadable, or made with another registry

Examples:
  panel check --run pipelines/runs/demo.toml --expect data/demo/expected_panel.csv
  panel check --run pipelines/runs/demo.toml --expect data/demo/expected_panel.csv --bless")]
    Check(check_command::CheckArgs),
    /// Print the panel as a table for people.
    ///
    /// Numbers in US dollars and annual fractions; `-` is a null, and the status beside it says why. On a narrow
    /// terminal the less important columns are left out. NO_COLOR is honoured.
    Show(RunArgs),
    /// Print coverage and headline figures of the panel, one line a CSU and one for all.
    ///
    /// Days by status, means over the days that were measured (and how many those are), sums of liquidations over the days
    /// that were scanned. A `-` has nothing to stand on.
    Summary(RunArgs),
    /// Write or check the data dictionary: every table and column with unit, meaning and null rule.
    ///
    /// Markdown, CSV and a Frictionless data package, all from the one schema; which family fills which column; usage warnings
    /// with stable codes. With --run the codebook is written beside gold: gold/codebook, and gold/datapackage.json with
    /// the sha256 of gold's files.
    #[command(after_help = "Examples:
  panel dictionary --out docs/dictionary
  panel dictionary --check docs/dictionary
  panel dictionary --run pipelines/runs/demo.toml")]
    Dictionary(dictionary_command::DictionaryArgs),
    /// Write the panel for other programs: Stata, CSV, Parquet.
    ///
    /// Takes the rows of the run's CSUs and days from gold. The same gold gives the same bytes. In the Stata file a
    /// null number is `.a` where the archive was unavailable, `.b` no block, `.f` failed, `.n` not deployed, `.p`
    /// partial, `.r` retired, `.t` not attempted, `.u` unsupported, `.x` a price is missing, and `.` otherwise.
    #[command(after_help = "Examples:
  panel export --run pipelines/runs/2024-12.toml --dta panel_daily.dta
  panel export --run pipelines/runs/2024-12.toml --csu 'aave_v3_*' --csv aave.csv --parquet aave.parquet")]
    Export(export_command::ExportArgs),
    /// Tell which rows and columns moved between two panels, by how much, and why.
    ///
    /// Rows are matched by CSU and day. Columns of lineage (release, versions, hashes) are not compared: they are the
    /// reasons. `unexplained` is a change under the same inputs, registry, code and status.
    #[command(after_help = "Exit codes: 0 the same values, 1 they differ, 2 they cannot be compared.

Examples:
  panel diff releases/v2024.12.0 data
  panel diff old.parquet data/demo/lake/gold/panel_daily.parquet --tolerance 1e-9 --json")]
    Diff(diff_command::DiffArgs),
    /// Make a bundle that can be deposited and cited.
    ///
    /// Gold as Parquet, CSV and Stata with `release` set, the codebook, the registry, the rows that fail a check, the
    /// manifests, what moved, a README after the social-science data editors' template, CITATION.cff and SHA256SUMS.
    /// The same lake and arguments give the same bytes. Refuses when gold is not the run's whole frame, or when a
    /// check of level error failed.
    #[command(after_help = "Examples:
  panel release --run pipelines/runs/2024-12.toml --release v2024.12.0 --out releases/v2024.12.0
  panel release --run pipelines/runs/2024-12.toml --release v2024.12.1 --out releases/v2024.12.1 \\
      --previous releases/v2024.12.0 --date 2025-01-15")]
    Release(release_command::ReleaseArgs),
    /// Write the state of the panel as one HTML file for a browser.
    ///
    /// Coverage with the reason of every gap, TVL, utilization, liquidations, price sources, failing checks, a part for
    /// each CSU and the run's bill. The file needs no network and no other file. The same lake gives the same bytes.
    #[command(after_help = "Examples:
  panel report --run pipelines/runs/2024-12.toml --out report.html")]
    Report(report_command::ReportArgs),
}

/// Which run, and what to put in place of its words.
#[derive(Args)]
struct RunArgs {
    /// Run file: days, CSUs, registry and lake.
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// Lake to use instead of the run file's: a directory or a URL.
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// First day, instead of the run file's (YYYY-MM-DD).
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: Option<Day>,
    /// Last day, instead of the run file's (YYYY-MM-DD).
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: Option<Day>,
    /// CSU, instead of the run file's: a name, a pattern, family:NAME or chain:NAME. May be given again.
    #[arg(long = "csu", value_name = "NAME")]
    csus: Vec<String>,
    /// Print JSON on standard output, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct BuildArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Write the unbalanced panel, too: the rows whose status is `collected`, into gold/panel_daily_collected.
    #[arg(long)]
    collected_only: bool,
    /// Write the stocks by class of assets, too (stablecoin, eth, btc, other), into gold/panel_daily_asset.
    #[arg(long)]
    by_asset: bool,
}

fn day(text: &str) -> Result<Day, String> {
    // clap sets its own words around this one line.
    text.parse().map_err(|_| "write it as YYYY-MM-DD, for example 2024-12-01".to_owned())
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Errors of the lake carry their cause and a line `hint: ...` in their own words.
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// `panel show | head` ends early, and that is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Build(args) => run_build(&args),
        Command::Check(args) => check_command::run(&args),
        Command::Show(args) => run_show(&args),
        Command::Summary(args) => summary_command::run(&args),
        Command::Dictionary(args) => dictionary_command::run(&args),
        Command::Export(args) => export_command::run(&args),
        Command::Diff(args) => diff_command::run(&args),
        Command::Release(args) => release_command::run(&args),
        Command::Report(args) => report_command::run(&args),
    }
}

impl RunArgs {
    fn load(&self) -> Result<Run> {
        let overrides =
            Overrides { lake: self.lake.clone(), from: self.from, to: self.to, csus: self.csus.clone() };
        Ok(Run::load(&self.run, &overrides)?)
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    // Files are read on one thread: each thread that read some keeps memory of their size for itself.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    Ok(runtime.worker_threads(1).max_blocking_threads(1).enable_all().build()?)
}

fn run_build(args: &BuildArgs) -> Result<ExitCode> {
    let run = args.run.load()?;
    let lake = run.open_lake()?;
    let extras = Extras { collected_only: args.collected_only, by_asset: args.by_asset };
    let built = runtime()?.block_on(build::build(&run, &lake, extras))?;
    report(&built);
    if args.run.json {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &built).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(if built.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn report(built: &Built) {
    const LISTED: usize = 20;
    for months in spans(&built.months_without_silver) {
        eprintln!(
            "note: no silver for {months}; those rows are not_attempted, or not_deployed or retired as the registry says"
        );
    }
    for row in built.missing.iter().take(LISTED) {
        eprintln!(
            "missing: {} {} (snapshot {}, liquidations {})",
            row.csu, row.date, row.snap_status, row.liq_status
        );
    }
    if let Some(more) = built.missing.len().checked_sub(LISTED).filter(|more| *more > 0) {
        eprintln!("missing: and {more} more rows");
    }
    for path in &built.removed {
        eprintln!("removed {path}: an earlier build made it, this one was not asked for it");
    }
    if let Some(dropped) = &built.dropped {
        report_dropped(built.rows, dropped);
    }
    for file in &built.files {
        eprintln!("wrote {}/{} ({} bytes)", built.lake.trim_end_matches('/'), file.path, file.bytes);
    }
    let words: Vec<_> = built.by_status.iter().map(|(status, rows)| format!("{status} {rows}")).collect();
    eprintln!(
        "panel {}: {} rows ({} CSUs, {} to {}): {}",
        built.run,
        built.rows,
        built.csus,
        built.from,
        built.to,
        words.join(", ")
    );
}

/// What the unbalanced panel leaves out, so that nobody takes it for the complete one.
fn report_dropped(rows: usize, dropped: &Dropped) {
    let words: Vec<_> = dropped.by_status.iter().map(|(status, rows)| format!("{status} {rows}")).collect();
    let words = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
    eprintln!("collected only: {} of {rows} rows kept, {} dropped{words}", dropped.kept, rows - dropped.kept);
    eprintln!("collected only: {} CSUs have every day", dropped.csus_whole);
    if !dropped.csus_without_rows.is_empty() {
        eprintln!("collected only: no row of {}", dropped.csus_without_rows.join(", "));
    }
}

fn run_show(args: &RunArgs) -> Result<ExitCode> {
    let run = args.load()?;
    let lake = run.open_lake()?;
    let rows = runtime()?.block_on(show::rows(&run, &lake))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &rows).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_terminal = std::io::stdout().is_terminal();
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let width = if is_terminal { comfy_table::Table::new().width().map(usize::from) } else { None };
    let (table, left_out) = show::table(&rows, Look { width, colour: is_terminal && !no_colour });
    writeln!(out, "{table}")?;
    if !left_out.is_empty() {
        writeln!(out, "no room for: {}", left_out.join(", "))?;
    }
    for file in show::files(&lake) {
        writeln!(out, "{file}")?;
    }
    Ok(ExitCode::SUCCESS)
}
