//! The command line: what each command takes, and what it says of itself.

use clap::{Args, Parser, Subcommand, ValueEnum};
use extract::choice::{Choice, Which};
use extract::claim::ABANDONED_AFTER;
use extract::fill::DEFILLAMA;
use extract::report::Progress;
use extract::rpc::keys::Keys;
use extract::rpc::share::{KeyGroup, RateShare};
use extract::schedule::Schedule;
use extract::shard::Shard;
use lake::Lake;
use lake::day::Day;
use lake::run::{Overrides, Run};
use lake::status::AuditLevel;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// Reads lending protocols from EVM chains into bronze: the raw answers of view calls and raw liquidation logs, one JSON
/// object for each CSU (lending deployment) and day.
///
/// A run goes on where an earlier one stopped: days whose objects are in the lake cost no request. A day counts as done
/// only when every call was answered and every one of its blocks was scanned; what is missing is listed with its reason.
///
/// Exit codes: 0 everything is there; 1 finished, some is missing and listed; 2 could not run; 75 interrupted or
/// out of budget, run again.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) everywhere: Everywhere,
}

/// What every command takes.
#[derive(Args)]
pub(crate) struct Everywhere {
    /// File with keys as NAME=value lines, mode 600. What it does not name is looked for in the environment.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,
    /// What is said on stderr: text for people, or one JSON object a line. LENDLAKE_LOG sets the level.
    #[arg(long, value_name = "FORMAT", global = true, default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// The form of what is said on stderr.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Everywhere {
    pub(crate) fn keys(&self) -> anyhow::Result<Keys> {
        Ok(self.key_file.as_deref().map(Keys::load).transpose()?.unwrap_or_default())
    }

    pub(crate) fn progress(&self) -> Progress {
        match self.log_format {
            LogFormat::Text => Progress::to_stderr(),
            LogFormat::Json => Progress::to_log(),
        }
    }

    /// Says something to whoever reads stderr.
    pub(crate) fn say(&self, text: &str) {
        match self.log_format {
            LogFormat::Text => eprint!("{text}"),
            LogFormat::Json => tracing::info!("{}", text.trim_end()),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Collect what the lake lacks of a run.
    ///
    /// Example: extract run --run pipelines/runs/2024-12.toml --csu aave_v3_ethereum --from 2024-12-01 --to 2024-12-03
    Run(RunArgs),
    /// Print the bill of a run before anything is sent: requests by method, units, hours, share of each key's month.
    ///
    /// Example: extract plan --run pipelines/runs/2024-12.toml
    ///
    /// Example: extract plan --run pipelines/runs/2024-12.toml --csu '*' --by-csu
    Plan(PlanArgs),
    /// Say how far a run is: done, failed and why, not deployed, not attempted; percent, rate and time left; what each key has
    /// spent. Reads listings and no data: it may be asked at any time, from any machine that sees the lake.
    ///
    /// Exit codes: 0 nothing is left to do; 1 something is missing; 2 could not look.
    ///
    /// Example: extract status --run pipelines/runs/2024-12.toml --watch
    Status(StatusArgs),
    /// Ask every endpoint what it can do, and keep it for later runs: chain, head, how old its state and logs are, log
    /// window, state overrides, batch size. Says what is wrong and what to do, and what the lake's store can promise.
    ///
    /// With --registry, check the rows of the registry instead: whether each contract is there since the block that its row
    /// says and at the last final block (or the last of a day), and whether every role that its family finds answers a view
    /// call.
    ///
    /// Exit codes: 0 every endpoint can be used, or every row is as the registry says; 1 some are not, or it is not known;
    /// 2 could not begin.
    ///
    /// Example: extract doctor --run pipelines/runs/2024-12.toml --chain ethereum
    ///
    /// Example: extract doctor --registry --csu family:aave_v3 --day 2024-12-31 --lake data/lake
    Doctor(DoctorArgs),
    /// Ask an off-chain service for the prices that silver lacks, and for no others.
    ///
    /// What is missing is what `transform run` listed (see `transform missing-prices`). What the service answered is kept in
    /// bronze/fills in its own words, apart from the chain's prices, and is never changed by a later fill. Run transform
    /// again afterwards: figures made with such a price have price_source = off_chain and the flag off_chain_price.
    ///
    /// Exit codes: 0 nothing is missing any more; 1 some is, and is listed; 2 could not begin.
    ///
    /// Example: extract fill-prices --run pipelines/runs/2024-12.toml --source defillama
    FillPrices(FillArgs),
}

/// What a run is over.
#[derive(Args)]
pub(crate) struct What {
    /// Run file: days, CSUs, datasets, registry and lake.
    #[arg(long, value_name = "FILE")]
    pub(crate) run: PathBuf,
    /// The lake, a directory or URL, in place of the run file's.
    #[arg(long, value_name = "URL")]
    pub(crate) lake: Option<String>,
    /// First day, in place of the run file's.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) from: Option<Day>,
    /// Last day, in place of the run file's.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) to: Option<Day>,
    /// CSUs, in place of the run file's: an id, a pattern such as aave_v3_*, family:NAME or chain:NAME. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) csu: Vec<String>,
}

impl What {
    pub(crate) fn load(&self) -> anyhow::Result<(Run, Lake)> {
        let (lake, csus) = (self.lake.clone(), self.csu.clone());
        let run = Run::load(&self.run, &Overrides { lake, from: self.from, to: self.to, csus })?;
        let lake = run.open_lake()?;
        Ok((run, lake))
    }
}

#[derive(Args)]
pub(crate) struct FillArgs {
    #[command(flatten)]
    pub(crate) what: What,
    /// Off-chain service.
    #[arg(long, value_name = "NAME", default_value = "defillama")]
    pub(crate) source: String,
    /// Where the service is, in place of its free address. It may hold a key, and appears in no output.
    #[arg(long, value_name = "URL", default_value = DEFILLAMA, hide_default_value = true)]
    pub(crate) base_url: String,
    /// Requests a second, at most.
    #[arg(long, value_name = "N", default_value = "2")]
    pub(crate) per_second: NonZeroU32,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) what: What,
    /// Endpoints file, in place of the run's. Keys stay in the environment variables that it names.
    #[arg(long, value_name = "FILE")]
    pub(crate) providers: Option<PathBuf>,
    /// Requests under way at once on each chain; in a scan, on each of the endpoints that share it.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// How far log scans are checked against other operators: one_source, sampled, two_operators or receipts.
    #[arg(long, value_name = "LEVEL", default_value = "sampled")]
    pub(crate) audit: AuditLevel,
    /// Keep every exchange in FILE, besides those that are there, for endpoints with `url = "replay:FILE"` to answer from.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// Part of the run that this process begins with, such as 2/5; the first is 1/5. All that work on the run name the same N.
    /// When its own days are done it goes on with days that nobody has begun, or that were abandoned.
    #[arg(long, value_name = "K/N")]
    pub(crate) shard: Option<Shard>,
    /// Keys that this process uses, such as 1,4-6: the numbers of ${NAME_*}. Every shard should have keys of its own.
    #[arg(long, value_name = "GROUP")]
    pub(crate) keys: Option<KeyGroup>,
    /// Share of every key's rate, month and day, such as 1/5, where five processes use the same keys.
    #[arg(long, value_name = "1/W")]
    pub(crate) rate_share: Option<RateShare>,
    /// Seconds after which a day that another shard began, and says nothing of any more, counts as abandoned.
    #[arg(long, value_name = "SECONDS", default_value_t = ABANDONED_AFTER.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) abandoned_after: u64,
    /// Of what is missing, do only what was tried and failed.
    #[arg(long, conflicts_with = "only_missing")]
    pub(crate) retry_failed: bool,
    /// Of what is missing, do only what nobody has tried, or what was put off: days that were not final, keys that were spent.
    #[arg(long)]
    pub(crate) only_missing: bool,
    /// Collect a day of the run anew, though it is there. Where the bytes are others than before, the old object is told and kept
    /// in state/replaced. Repeatable.
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "shard")]
    pub(crate) force_date: Vec<Day>,
    /// Add a line of JSON to FILE every ten seconds: requests, units, tasks, blocks, memory.
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Write the same to FILE in Prometheus' text form, for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_prometheus: Option<PathBuf>,
}

impl RunArgs {
    /// Which of the run's tasks are done.
    pub(crate) fn choice(&self, run: &Run) -> anyhow::Result<Choice> {
        let which = match (self.retry_failed, self.only_missing) {
            (true, _) => Which::Failed,
            (false, true) => Which::Untried,
            (false, false) => Which::All,
        };
        let forced: BTreeSet<Day> = self.force_date.iter().copied().collect();
        if let Some(day) = forced.iter().find(|day| !run.days.contains(**day)) {
            anyhow::bail!(
                "--force-date {day}: the run is of {} to {}\nhint: name a day of the run, or widen it with --from and --to",
                run.days.from(),
                run.days.to()
            );
        }
        Ok(Choice { which, forced })
    }

    pub(crate) fn schedule(&self, run: &Run) -> anyhow::Result<Schedule> {
        let schedule = Schedule::of(run, self.shard, Duration::from_secs(self.abandoned_after));
        Ok(schedule.choosing(self.choice(run)?))
    }
}

#[derive(Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print each CSU with the view calls of its snapshots, or why nothing is asked for it.
    #[arg(long)]
    pub(crate) by_csu: bool,
}

#[derive(Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) what: What,
    /// Look again every so many seconds, until nothing is left to do.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) watch: Option<u64>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// Write it as one HTML page to FILE as well: no script, no network.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Run file: its chains are examined, down to its first day, and its lake keeps what was found.
    #[arg(long, value_name = "FILE")]
    pub(crate) run: Option<PathBuf>,
    /// Endpoints file, in place of the run's. Without a run, its chains are those of the chains.toml beside it.
    /// [default without a run: pipelines/registry/providers.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) providers: Option<PathBuf>,
    /// Chains, in place of the run's, or of all that have an endpoint. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) chain: Vec<String>,
    /// Lake to keep it in, a directory or URL, in place of the run file's. Without either nothing is kept.
    #[arg(long, value_name = "URL")]
    pub(crate) lake: Option<String>,
    /// Check the rows of the registry, not the endpoints.
    #[arg(long)]
    pub(crate) registry: bool,
    /// Rows to check, in place of the run's or of all: an id, a pattern such as aave_v3_*, family:NAME or chain:NAME.
    /// Repeatable.
    #[arg(long, value_name = "NAME", requires = "registry")]
    pub(crate) csu: Vec<String>,
    /// Day at whose last block the rows are looked at, in the run's time zone or New York's. [default: the last final block]
    #[arg(long, value_name = "YYYY-MM-DD", requires = "registry")]
    pub(crate) day: Option<Day>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}
