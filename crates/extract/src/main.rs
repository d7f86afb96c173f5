//! `extract`: chain to bronze.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use extract::checkpoint::Checkpoint;
use extract::claim::ABANDONED_AFTER;
use extract::collect::Collector;
use extract::coverage::Coverage;
use extract::doctor::Doctor;
use extract::report::{Progress, Summary};
use extract::rpc::providers::Providers;
use extract::rpc::recording::Recorder;
use extract::rpc::share::{KeyGroup, RateShare};
use extract::schedule::Schedule;
use extract::shard::Shard;
use extract::status::RunStatus;
use lake::Lake;
use lake::day::Day;
use lake::registry::Registry;
use lake::run::{Overrides, Run};
use lake::status::{AuditLevel, Reason};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
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
    Plan(RunArgs),
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
    /// Exit codes: 0 every endpoint can be used; 1 some cannot; 2 could not begin.
    ///
    /// Example: extract doctor --run pipelines/runs/2024-12.toml --chain ethereum
    Doctor(DoctorArgs),
}

#[derive(Args)]
struct RunArgs {
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
    /// Endpoints file, in place of the run's. Keys stay in the environment variables that it names.
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
    /// Requests under way at once on each chain.
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
    /// Part of the run that this process begins with, such as 2/5; the first is 1/5. All that work on the run name the same N.
    /// When its own days are done it goes on with days that nobody has begun, or that were abandoned.
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Keys that this process uses, such as 1,4-6: the numbers of ${NAME_*}. Every shard should have keys of its own.
    #[arg(long, value_name = "GROUP")]
    keys: Option<KeyGroup>,
    /// Share of every key's rate, month and day, such as 1/5, where five processes use the same keys.
    #[arg(long, value_name = "1/W")]
    rate_share: Option<RateShare>,
    /// Seconds after which a day that another shard began, and says nothing of any more, counts as abandoned.
    #[arg(long, value_name = "SECONDS", default_value_t = ABANDONED_AFTER.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    abandoned_after: u64,
}

#[derive(Args)]
struct StatusArgs {
    /// Run file.
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// Lake to look at, a directory or URL, in place of the run file's.
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// First day, in place of the run file's.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Day>,
    /// Last day, in place of the run file's.
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<Day>,
    /// CSUs, in place of the run file's. Repeatable.
    #[arg(long, value_name = "NAME")]
    csu: Vec<String>,
    /// Look again every so many seconds, until nothing is left to do.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
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
    /// Print the result as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// What is paid for is waited for so long. Clusters kill 30 seconds after they asked.
const GRACE: Duration = Duration::from_secs(18);
/// Between two looks at what is under way.
const QUIET: Duration = Duration::from_millis(300);

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
            Command::Status(args) => runtime.block_on(status(args)),
            Command::Doctor(args) => runtime.block_on(doctor(args)),
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
    let overrides =
        Overrides { lake: args.lake.clone(), from: args.from, to: args.to, csus: args.csu.clone() };
    let run = Run::load(&args.run, &overrides)?;
    let lake = run.open_lake()?;
    let file = args.providers.as_ref().unwrap_or(&run.providers);
    let is_in_group = |name: &str| args.keys.as_ref().is_none_or(|keys| keys.has(name));
    let mut providers = Providers::load(file, |name| std::env::var(name).ok().filter(|_| is_in_group(name)))?;
    if let Some(share) = args.rate_share {
        providers = providers.with_share(share);
    }
    let part = args.shard.map(Shard::as_name);
    providers.take_up(&lake, part.as_deref(), args.rate_share).await?;
    Ok((run, lake, providers))
}

async fn plan(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (run, lake, providers) = begin(&args).await?;
    let progress = Progress::to_stderr();
    let schedule = Schedule::of(&run, args.shard, Duration::from_secs(args.abandoned_after));
    let collector = Collector {
        run: &run,
        lake: &lake,
        providers: &providers,
        recorder: None,
        at_once: usize::from(args.jobs),
        audit: args.audit,
        progress: &progress,
        schedule: &schedule,
    };
    let plan = collector.plan().await;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        print!("{}", plan.in_words());
    }
    Ok(if plan.without_endpoint.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { lake: args.lake, from: args.from, to: args.to, csus: args.csu };
    let run = Run::load(&args.run, &overrides)?;
    let lake = run.open_lake()?;
    let providers = Providers::load(&run.providers, |name| std::env::var(name).ok())?;
    loop {
        let status = RunStatus::of(&run, &lake, &providers).await?;
        if args.watch.is_some() && std::io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        if args.json {
            println!("{}", serde_json::to_string_pretty(&status)?);
        } else {
            print!("{}", status.in_words());
        }
        match (args.watch, status.is_done()) {
            (_, true) => return Ok(ExitCode::SUCCESS),
            (None, false) => return Ok(ExitCode::from(1)),
            (Some(seconds), false) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }
}

async fn doctor(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { lake: args.lake.clone(), ..Overrides::default() };
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
    let doctor = Doctor {
        chains,
        first_day: run.as_ref().map(|run| run.zone.window(run.days.from())).transpose()?,
        providers: &providers,
        lake: lake.as_ref(),
        told: &|one| eprintln!("{} {}: {} requests", one.chain, one.label, one.requests),
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

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (run, lake, providers) = begin(&args).await?;
    lake.check_writable().await?;
    let recorder = args.record.as_deref().map(Recorder::to_extend).transpose()?.map(Arc::new);
    let progress = Progress::to_stderr();
    let schedule = Schedule::of(&run, args.shard, Duration::from_secs(args.abandoned_after));
    let collector = Collector {
        run: &run,
        lake: &lake,
        providers: &providers,
        recorder: recorder.clone(),
        at_once: usize::from(args.jobs),
        audit: args.audit,
        progress: &progress,
        schedule: &schedule,
    };
    let plan = collector.plan().await;
    let collected = tokio::select! {
        collected = collector.collect() => Some(collected),
        () = stopped(&schedule, &providers) => None,
    };
    if let (Some(recorder), Some(file)) = (recorder, &args.record) {
        recorder.save(file)?;
    }
    for purse in providers.purses() {
        purse.keep().await?;
    }
    schedule.give_back(&lake).await?;
    schedule.write_progress(&lake, true).await?;
    Checkpoint::of(&Coverage::of(&run, &lake).await?).write(&run, &lake).await?;
    let Some(collected) = collected.filter(|collected| collected.not_begun.is_empty()) else {
        eprintln!(
            "interrupted: what was answered is in the lake at {}, and no day is lost\n\
             hint: run the same command again to go on; `extract status --run {}` says how far it is",
            lake.location(),
            args.run.display()
        );
        return Ok(ExitCode::from(75));
    };
    let summary = Summary::new(&run.name, lake.location(), &collected, &plan);
    lake.replace_json(&lake::path::run_report(&schedule.name_of(&run.name)), &summary).await?;
    eprint!("{}", summary.in_words());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
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

/// Ends some seconds after this process was told to stop: no day and no request is begun any more, and what is paid for
/// is waited for. A second signal ends it at once.
async fn stopped(schedule: &Schedule, providers: &Providers) {
    interrupted().await;
    eprintln!("stopping: what is under way is waited for; a second signal stops at once");
    schedule.stop();
    for purse in providers.purses() {
        purse.close();
    }
    let all_answered = async {
        // Twice in a row: an answer that has come is still to be written.
        let mut quiet = 0;
        while quiet < 2 {
            tokio::time::sleep(QUIET).await;
            let under_way: usize = providers.purses().iter().map(|purse| purse.under_way()).sum();
            quiet = if under_way == 0 { quiet + 1 } else { 0 };
        }
    };
    tokio::select! {
        () = all_answered => {}
        () = tokio::time::sleep(GRACE) => {}
        () = interrupted() => {}
    }
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
