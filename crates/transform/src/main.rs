//! `transform`: bronze to silver.

mod check_command;
mod progress;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use lake::Lake;
use lake::day::Day;
use lake::run::{Overrides, Run};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Bronze to silver: decodes what the chain answered, prices it at on-chain oracle prices of its own block, and writes
/// Parquet tables. Needs no network and no key.
#[derive(Parser)]
#[command(name = "transform", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the silver of a run's months
    ///
    /// Builds reserve_day, liquidation, reject, price, day_block and coverage for every month that the run's days lie
    /// in, and the tables csu and token, under silver/ in the lake. A month is built from all bronze objects that the
    /// lake has of it for the CSUs of the run's registry, so runs that share a lake do not undo each other. The same
    /// lake, registry and run give the same bytes; a file is written only when its bytes differ.
    ///
    /// A month is built again when its bronze, audits, off-chain prices or ledger, the registry, this program's code or the
    /// tables' definitions changed since it was built, as the digests in silver/manifest.json tell; --all builds every
    /// month of the run, to the same bytes.
    ///
    /// A gap is never a zero: the coverage table says of every CSU, day and dataset what became of it and why, and
    /// missing-prices lists the amounts that have no price.
    #[command(after_long_help = "\
Exit codes:
  0  everything of the run is there, or cannot be (not deployed, retired, no block, unsupported)
  1  silver was built; some of the run is missing or an object is of no use, and is listed
  2  could not run; nothing was built

Examples:
  transform run --run pipelines/runs/demo.toml
  transform run --run pipelines/runs/2024-12.toml --lake /data/lake --from 2024-12-01 --to 2024-12-07
  transform run --run pipelines/runs/2024-12.toml --csu 'aave_v3_*' --csu chain:base --json > silver.json

RUST_LOG=info tells what is read while it is read.")]
    Run(RunArgs),
    /// List the prices that a run lacks, what is most at stake first
    ///
    /// One line a token: how much of it has no price, on how many CSU-days, and why. \"about USD\" is at a price of the
    /// same token at another block of the month, to tell what is worth filling; no figure is made with it. The list is the
    /// one that transform run wrote; extract fill-prices asks an off-chain service for what is on it.
    #[command(after_long_help = "\
Exit codes:
  0  no price is missing
  1  some are missing, and are listed
  2  could not run: the month was not built

Examples:
  transform missing-prices --run pipelines/runs/2024-12.toml
  transform missing-prices --run pipelines/runs/2024-12.toml --csu 'fluid_*' --json")]
    MissingPrices(MissingArgs),
    /// Check bronze and silver of a run's months: B1 to B10 and S1 to S10
    ///
    /// Each check selects the rows that break it into checks/bronze/<check>.parquet or checks/silver/<check>.parquet in the
    /// lake; a check that finds nothing leaves no file. An error says that the layer is wrong, a warning that somebody
    /// should look. Nothing is mended and nothing clipped. docs/checks.md tells each check and why its threshold is what it
    /// is.
    #[command(after_long_help = "\
Exit codes:
  0  every check of level error passed
  1  one found something; the table says which, the first failures follow
  2  could not run

Examples:
  transform check --run pipelines/runs/demo.toml
  transform check --run pipelines/runs/2024-12.toml --json > checks.json")]
    Check(check_command::CheckArgs),
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    what: What,
    /// Decoding threads [default: one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Build every month of the run, also those that nothing changed for
    #[arg(long)]
    all: bool,
    /// Print a summary as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct MissingArgs {
    #[command(flatten)]
    what: What,
    /// Print the list as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct What {
    /// Run file: days, CSUs, registry and lake
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// Lake to work in, instead of the run file's: a directory or a URL
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// First day, instead of the run file's
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    /// Last day, instead of the run file's
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
    /// CSU, pattern, family:NAME or chain:NAME, instead of the run file's; may be given several times
    #[arg(long, value_name = "NAME")]
    csu: Vec<String>,
}

impl What {
    fn load(self) -> Result<(Run, Lake)> {
        let overrides = Overrides { lake: self.lake, from: self.from, to: self.to, csus: self.csu };
        let run = Run::load(&self.run, &overrides)?;
        let lake = run.open_lake()?;
        Ok((run, lake))
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
    let outcome = match cli.command {
        Command::Run(args) => run(args),
        Command::MissingPrices(args) => missing_prices(args),
        Command::Check(args) => check_command::run(args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // The errors of the house carry their hint on a line of its own.
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the threads that read the lake")
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).context("cannot write the result to stdout")?;
    out.write_all(b"\n").context("cannot write the result to stdout")
}

/// Builds, reports, and says whether everything is there.
fn run(args: RunArgs) -> Result<bool> {
    let (run, lake) = args.what.load()?;
    let how = transform::build::How { jobs: args.jobs.map(NonZeroUsize::get), all: args.all };
    let progress = progress::months(run.days.days().map(Day::month));
    let summary = runtime()?
        .block_on(transform::build::run(&run, &lake, how, |month| progress.done(month)))
        .inspect_err(|_| progress.clear())?;
    progress.clear();
    eprint!("{}", transform::report::text(&summary)?);
    if args.json {
        print_json(&summary)?;
    }
    Ok(summary.is_complete())
}

/// Lists what has no price, and says whether nothing is missing.
fn missing_prices(args: MissingArgs) -> Result<bool> {
    let (run, lake) = args.what.load()?;
    let wanted = runtime()?.block_on(transform::missing::of_run(&run, &lake))?;
    if args.json {
        print_json(&wanted)?;
    } else {
        print!("{}", transform::report::missing_prices(&wanted));
    }
    Ok(wanted.is_empty())
}
