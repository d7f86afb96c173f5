//! `extract`: chain to bronze.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use extract::collect::Collector;
use extract::doctor::registry::{CheckedRow, RegistryCheck};
use extract::doctor::{Doctor, with_noun};
use extract::fill::{DEFILLAMA, Filler};
use extract::report::{Progress, Summary};
use extract::rpc::providers::Providers;
use extract::rpc::recording::Recorder;
use extract::rpc::secret::SecretUrl;
use lake::Lake;
use lake::day::{Day, Zone};
use lake::registry::{Csu, Registry};
use lake::run::{Overrides, Run};
use lake::status::{AuditLevel, Reason};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

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
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
struct What {
    /// Run file: days, CSUs, datasets, registry and lake.
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// Lake to write to, a directory or URL, in place of the run file's.
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// First day, in place of the run file's.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Day>,
    /// Last day, in place of the run file's.
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Day>,
    /// CSUs, in place of the run file's: an id, a pattern such as aave_v3_*, family:NAME or chain:NAME. Repeatable.
    #[arg(long, value_name = "NAME")]
    csu: Vec<String>,
}

impl What {
    fn load(&self) -> anyhow::Result<(Run, Lake)> {
        let (lake, csus) = (self.lake.clone(), self.csu.clone());
        let run = Run::load(&self.run, &Overrides { lake, from: self.from, to: self.to, csus })?;
        let lake = run.open_lake()?;
        Ok((run, lake))
    }
}

#[derive(Args)]
struct FillArgs {
    #[command(flatten)]
    what: What,
    /// Off-chain service.
    #[arg(long, value_name = "NAME", default_value = "defillama")]
    source: String,
    /// Where the service is, in place of its free address. It may hold a key, and appears in no output.
    #[arg(long, value_name = "URL", default_value = DEFILLAMA, hide_default_value = true)]
    base_url: String,
    /// Requests a second, at most.
    #[arg(long, value_name = "N", default_value = "2")]
    per_second: NonZeroU32,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    what: What,
    /// Endpoints file, in place of the run's. Keys stay in the environment variables that it names.
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
    /// Requests under way at once on each chain; in a scan, on each of the endpoints that share it.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// How far log scans are checked against other operators: one_source, sampled, two_operators or receipts.
    #[arg(long, value_name = "LEVEL", default_value = "sampled")]
    audit: AuditLevel,
    /// Keep every exchange in FILE, besides those that are there, for endpoints with `url = "replay:FILE"` to answer from.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct PlanArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Print each CSU with the view calls of its snapshots, or why nothing is asked for it.
    #[arg(long)]
    by_csu: bool,
}

#[derive(Args)]
struct DoctorArgs {
    /// Run file: its chains are examined, down to its first day, and its lake keeps what was found.
    #[arg(long, value_name = "FILE")]
    run: Option<PathBuf>,
    /// Endpoints file, in place of the run's. Without a run, its chains are those of the chains.toml beside it.
    /// [default without a run: pipelines/registry/providers.toml]
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
    /// Chains, in place of the run's, or of all that have an endpoint. Repeatable.
    #[arg(long, value_name = "NAME")]
    chain: Vec<String>,
    /// Lake to keep it in, a directory or URL, in place of the run file's. Without either nothing is kept.
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// Check the rows of the registry, not the endpoints.
    #[arg(long)]
    registry: bool,
    /// Rows to check, in place of the run's or of all: an id, a pattern such as aave_v3_*, family:NAME or chain:NAME.
    /// Repeatable.
    #[arg(long, value_name = "NAME", requires = "registry")]
    csu: Vec<String>,
    /// Day at whose last block the rows are looked at, in the run's time zone or New York's. [default: the last final block]
    #[arg(long, value_name = "YYYY-MM-DD", requires = "registry")]
    day: Option<Day>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        // Our own words only: what libraries log below may hold addresses that are keys.
        .with_env_filter(tracing_subscriber::EnvFilter::new(log_filter()))
        .init();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| match cli.command {
            Command::Run(args) => runtime.block_on(run(args)),
            Command::Plan(args) => runtime.block_on(plan(args)),
            Command::Doctor(args) if args.registry => runtime.block_on(check_registry(args)),
            Command::Doctor(args) => runtime.block_on(doctor(args)),
            Command::FillPrices(args) => runtime.block_on(fill_prices(args)),
        });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// `LENDLAKE_LOG` sets the level of this program's own messages. `RUST_LOG` is not read.
fn log_filter() -> String {
    let level = std::env::var("LENDLAKE_LOG").unwrap_or_default();
    let known = ["error", "warn", "info", "debug", "trace"].contains(&level.as_str());
    format!("off,extract={}", if known { &level } else { "warn" })
}

/// What a run and its plan begin with: the run, its lake, and the endpoints with what their keys have spent.
async fn begin(args: &RunArgs) -> anyhow::Result<(Run, Lake, Providers)> {
    let (run, lake) = args.what.load()?;
    let file = args.providers.as_ref().unwrap_or(&run.providers);
    let providers = Providers::load(file, |name| std::env::var(name).ok())?;
    for purse in providers.purses() {
        purse.take_up(&lake).await?;
    }
    Ok((run, lake, providers))
}

async fn plan(PlanArgs { run: args, by_csu }: PlanArgs) -> anyhow::Result<ExitCode> {
    let (run, lake, providers) = begin(&args).await?;
    let progress = Progress::to_stderr();
    let collector = Collector {
        run: &run,
        lake: &lake,
        providers: &providers,
        recorder: None,
        at_once: usize::from(args.jobs),
        audit: args.audit,
        progress: &progress,
    };
    let plan = collector.plan().await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        if by_csu {
            print!("{}", plan.csus_in_words());
        }
        print!("{}", plan.in_words());
    }
    Ok(if plan.without_endpoint.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What a doctor begins with: the endpoints and the registry, of a run or of files.
struct Practice {
    run: Option<Run>,
    providers: Providers,
    registry: Registry,
    lake: Option<Lake>,
}

async fn practice(args: &DoctorArgs) -> anyhow::Result<Practice> {
    let overrides = Overrides { lake: args.lake.clone(), csus: args.csu.clone(), ..Overrides::default() };
    let run = args.run.as_deref().map(|file| Run::load(file, &overrides)).transpose()?;
    let file = match (&args.providers, &run) {
        (Some(file), _) => file.clone(),
        (None, Some(run)) => run.providers.clone(),
        (None, None) => PathBuf::from("pipelines/registry/providers.toml"),
    };
    let providers = Providers::load(&file, |name| std::env::var(name).ok())?;
    let registry = match &run {
        Some(run) => run.registry.clone(),
        None => Registry::load(file.parent().unwrap_or(Path::new("")))?,
    };
    let lake = match (&run, &args.lake) {
        (Some(run), _) => Some(run.open_lake()?),
        (None, Some(location)) => Some(Lake::open(location)?),
        (None, None) => None,
    };
    if let Some(lake) = &lake {
        for purse in providers.purses() {
            purse.take_up(lake).await?;
        }
    }
    Ok(Practice { run, providers, registry, lake })
}

async fn doctor(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let Practice { run, providers, registry, lake } = practice(&args).await?;
    let names: BTreeSet<&str> = match (&run, args.chain.as_slice()) {
        (Some(run), []) => run.csus().map(|csu| csu.chain.as_str()).collect(),
        (None, []) => providers.endpoints.iter().map(|config| config.chain.as_str()).collect(),
        (_, chosen) => chosen.iter().map(String::as_str).collect(),
    };
    let chains = names.into_iter().map(|name| {
        let unknown =
            || anyhow::anyhow!("no chain is called `{name}`\nhint: the registry's chains.toml lists them");
        registry.chain(name).with_context(unknown)
    });
    let chains = chains.collect::<anyhow::Result<Vec<_>>>()?;
    let doctor = Doctor {
        chains,
        first_day: run.as_ref().map(|run| run.zone.window(run.days.from())).transpose()?,
        providers: &providers,
        lake: lake.as_ref(),
        told: &|one| eprintln!("{} {}: {}", one.chain, one.label, with_noun(one.requests, "question")),
    };
    let bill = doctor.bill();
    eprint!("{}", bill.in_words());
    let report = doctor.examine().await?;
    if lake.is_some() {
        for purse in providers.purses() {
            purse.keep().await?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "bill": bill, "report": report }))?);
    } else {
        print!("{}", report.in_words());
    }
    Ok(match (report.endpoints.is_empty(), report.is_well()) {
        (true, _) => {
            eprintln!("error: there is no endpoint to ask");
            ExitCode::from(2)
        }
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}

async fn check_registry(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let Practice { run, providers, registry, lake } = practice(&args).await?;
    let csus = match &run {
        Some(run) => run.csus().collect(),
        None if args.csu.is_empty() => registry.csus().collect(),
        None => registry.select(&args.csu)?,
    };
    let csus: Vec<&Csu> = csus;
    let is_chosen = |csu: &&Csu| args.chain.is_empty() || args.chain.contains(&csu.chain);
    let csus: Vec<&Csu> = csus.into_iter().filter(is_chosen).collect();
    anyhow::ensure!(!csus.is_empty(), "no row of the registry is on {}", args.chain.join(", "));
    let served = |csu: &&Csu| providers.endpoints.iter().any(|config| config.chain == csu.chain);
    anyhow::ensure!(
        csus.iter().any(served),
        "no chain of these rows has an endpoint\nhint: set a key that the providers file names, or add an [[endpoint]]"
    );
    let zone = match &run {
        Some(run) => run.zone.clone(),
        None => Zone::named("America/New_York")?,
    };
    let day = args.day.map(|day| zone.window(day).map(|window| (zone.clone(), window))).transpose()?;
    let is_kept = lake.is_some();
    let lake = lake.map_or_else(|| Lake::open("memory:///"), Ok)?;
    let told = |row: &CheckedRow| eprintln!("{}: {}", row.csu, row.soundness.in_words());
    let check =
        RegistryCheck { registry: &registry, csus, day, providers: &providers, lake: &lake, told: &told };
    eprint!("{}", check.bill());
    let report = check.check().await?;
    for purse in providers.purses().into_iter().filter(|_| is_kept) {
        purse.keep().await?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.in_words());
        match is_kept {
            true => println!("kept in {}/{}", lake.location(), lake::path::registry_check()),
            false => println!("nothing was kept: name a lake with --lake, or a run with --run"),
        }
    }
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn fill_prices(args: FillArgs) -> anyhow::Result<ExitCode> {
    let (run, lake) = args.what.load()?;
    lake.check_writable().await?;
    let base_url = SecretUrl::new(args.base_url);
    let filler = Filler { run: &run, lake: &lake, source: &args.source, base_url, pace: args.per_second };
    let filled = tokio::select! {
        filled = filler.fill() => filled?,
        () = interrupted() => {
            eprintln!("interrupted: what is in the lake stays; run the same command again to go on");
            return Ok(ExitCode::from(75));
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&filled)?);
    } else {
        print!("{}", filled.in_words());
    }
    Ok(if filled.is_complete() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (run, lake, providers) = begin(&args).await?;
    lake.check_writable().await?;
    let recorder = args.record.as_deref().map(Recorder::to_extend).transpose()?.map(Arc::new);
    let progress = Progress::to_stderr();
    let collector = Collector {
        run: &run,
        lake: &lake,
        providers: &providers,
        recorder: recorder.clone(),
        at_once: usize::from(args.jobs),
        audit: args.audit,
        progress: &progress,
    };
    let plan = collector.plan().await;
    let collected = tokio::select! {
        collected = collector.collect() => collected,
        () = interrupted() => {
            eprintln!("interrupted: what is in the lake stays; run the same command again to go on");
            return Ok(ExitCode::from(75));
        }
    };
    if let (Some(recorder), Some(file)) = (recorder, &args.record) {
        recorder.save(file)?;
    }
    let summary = Summary::new(&run.name, lake.location(), &collected, &plan);
    lake.replace_json(&lake::path::run_report(&run.name), &summary).await?;
    eprint!("{}", summary.in_words());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    }
    for purse in providers.purses() {
        purse.keep().await?;
    }
    let is_out_of_budget = summary.unfinished.iter().any(|task| task.reason == Some(Reason::Budget));
    let could_not_run = !collected.unusable.is_empty() && collected.unusable.len() == collected.chains_tried;
    Ok(match (could_not_run, summary.unfinished.is_empty()) {
        (true, _) => ExitCode::from(2),
        (false, _) if is_out_of_budget => ExitCode::from(75),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}

/// Ends with the first of Ctrl-C and the signal by which clusters stop a job.
async fn interrupted() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
