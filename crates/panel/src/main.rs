//! Silver to gold: builds, documents and shows the daily panel of CSUs.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use lake::day::Day;
use lake::run::{Overrides, Run};
use panel::build::Built;
use panel::show::Look;
use panel::{build, dictionary, show};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

const AFTER: &str = "\
Exit codes:
  0  every row of the frame is done (collected, not_deployed, retired, no_block or unsupported) in
     the run's datasets
  1  built, but some rows are missing: they are listed, and running the stages again may fill them
     (dictionary --check: some pages are stale)
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
  panel build --run pipelines/runs/2024-12.toml --csu 'aave_v3_*' --to 2024-12-07")]
    Build(RunArgs),
    /// Print the panel as a table for people.
    ///
    /// Numbers in US dollars and annual fractions; `-` is a null, and the status beside it says why. On a narrow
    /// terminal the less important columns are left out. NO_COLOR is honoured.
    Show(RunArgs),
    /// Write or check the data dictionary: every table and column with unit, meaning and null rule.
    Dictionary(DictionaryArgs),
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
#[group(required = true, multiple = false)]
struct DictionaryArgs {
    /// Write the pages into this directory.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare the pages in this directory; exit code 1 names the stale ones.
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,
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
        Command::Show(args) => run_show(&args),
        Command::Dictionary(args) => run_dictionary(&args),
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
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

fn run_build(args: &RunArgs) -> Result<ExitCode> {
    let run = args.load()?;
    let lake = run.open_lake()?;
    let built = runtime()?.block_on(build::build(&run, &lake))?;
    report(&built);
    if args.json {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &built).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(if built.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn report(built: &Built) {
    const LISTED: usize = 20;
    for month in &built.months_without_silver {
        eprintln!("note: no silver for {month}; its rows are not_attempted");
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

fn run_dictionary(args: &DictionaryArgs) -> Result<ExitCode> {
    if let Some(directory) = &args.out {
        for path in dictionary::write(directory)? {
            eprintln!("wrote {}", path.display());
        }
    }
    let Some(directory) = &args.check else { return Ok(ExitCode::SUCCESS) };
    let stale = dictionary::stale(directory)?;
    if stale.is_empty() {
        eprintln!("the dictionary in {} is fresh", directory.display());
        return Ok(ExitCode::SUCCESS);
    }
    for name in &stale {
        eprintln!("stale: {}", directory.join(name).display());
    }
    eprintln!("hint: run `panel dictionary --out {}`", directory.display());
    Ok(ExitCode::from(1))
}
