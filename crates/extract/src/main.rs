//! `extract`: chain to bronze.

mod cli;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, Command, DoctorArgs, Everywhere, FillArgs, LogFormat, PlanArgs, RunArgs, StatusArgs};
use extract::checkpoint::Checkpoint;
use extract::collect::Collector;
use extract::coverage::Coverage;
use extract::doctor::registry::{CheckedRow, RegistryCheck};
use extract::doctor::{Doctor, with_noun};
use extract::fill::Filler;
use extract::metrics::{Files, Meter};
use extract::report::Summary;
use extract::rpc::providers::Providers;
use extract::rpc::recording::Recorder;
use extract::rpc::secret::SecretUrl;
use extract::schedule::Schedule;
use extract::shard::Shard;
use extract::status::RunStatus;
use lake::Lake;
use lake::day::Zone;
use lake::registry::{Csu, Registry};
use lake::run::{Overrides, Run};
use lake::status::Reason;
use lake::store::StoreError;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What is paid for is waited for so long. Clusters kill 30 seconds after they asked.
const GRACE: Duration = Duration::from_secs(18);
/// Between two looks at what is under way.
const QUIET: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false);
    match cli.everywhere.log_format {
        LogFormat::Text => log.without_time().with_env_filter(log_filter("warn")).init(),
        LogFormat::Json => log.json().flatten_event(true).with_env_filter(log_filter("info")).init(),
    }
    let everywhere = &cli.everywhere;
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| match cli.command {
            Command::Run(args) => runtime.block_on(run(args, everywhere)),
            Command::Plan(args) => runtime.block_on(plan(args, everywhere)),
            Command::Status(args) => runtime.block_on(status(args, everywhere)),
            Command::Doctor(args) if args.registry => runtime.block_on(check_registry(args, everywhere)),
            Command::Doctor(args) => runtime.block_on(doctor(args, everywhere)),
            Command::FillPrices(args) => runtime.block_on(fill_prices(args, everywhere)),
        });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            match everywhere.log_format {
                LogFormat::Text => eprintln!("error: {error}"),
                LogFormat::Json => tracing::error!("{error}"),
            }
            ExitCode::from(2)
        }
    }
}

/// Our own words only: what libraries log below may hold addresses that are keys. `LENDLAKE_LOG` sets the level; `RUST_LOG`
/// is not read.
fn log_filter(usual: &str) -> tracing_subscriber::EnvFilter {
    let level = std::env::var("LENDLAKE_LOG").unwrap_or_default();
    let known = ["error", "warn", "info", "debug", "trace"].contains(&level.as_str());
    tracing_subscriber::EnvFilter::new(format!("off,extract={}", if known { &level } else { usual }))
}

/// What a run and its plan begin with: the run, its lake, and the endpoints with what their keys have spent.
async fn begin(args: &RunArgs, everywhere: &Everywhere) -> anyhow::Result<(Run, Lake, Providers)> {
    let (run, lake) = args.what.load()?;
    let keys = everywhere.keys()?;
    let file = args.providers.as_ref().unwrap_or(&run.providers);
    let is_in_group = |name: &str| args.keys.as_ref().is_none_or(|group| group.has(name));
    let mut providers = Providers::load(file, |name| keys.get(name).filter(|_| is_in_group(name)))?;
    if let Some(share) = args.rate_share {
        providers = providers.with_share(share);
    }
    let part = args.shard.map(Shard::as_name);
    providers.take_up(&lake, part.as_deref(), args.rate_share).await?;
    Ok((run, lake, providers))
}

async fn plan(PlanArgs { run: args, by_csu }: PlanArgs, everywhere: &Everywhere) -> anyhow::Result<ExitCode> {
    let (run, lake, providers) = begin(&args, everywhere).await?;
    let progress = everywhere.progress();
    let schedule = args.schedule(&run)?;
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
        if by_csu {
            print!("{}", plan.csus_in_words());
        }
        print!("{}", plan.in_words());
    }
    Ok(if plan.without_endpoint.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn status(args: StatusArgs, everywhere: &Everywhere) -> anyhow::Result<ExitCode> {
    let (run, lake) = args.what.load()?;
    let keys = everywhere.keys()?;
    let providers = Providers::load(&run.providers, |name| keys.get(name))?;
    loop {
        let status = RunStatus::of(&run, &lake, &providers).await?;
        if args.watch.is_some() && std::io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        if let Some(file) = &args.html {
            std::fs::write(file, status.as_html()?)
                .map_err(|error| anyhow::anyhow!("cannot write the page to {}: {error}", file.display()))?;
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

/// What a doctor begins with: the endpoints and the registry, of a run or of files.
struct Practice {
    run: Option<Run>,
    providers: Providers,
    registry: Registry,
    lake: Option<Lake>,
}

async fn practice(args: &DoctorArgs, everywhere: &Everywhere) -> anyhow::Result<Practice> {
    let overrides = Overrides { lake: args.lake.clone(), csus: args.csu.clone(), ..Overrides::default() };
    let run = args.run.as_deref().map(|file| Run::load(file, &overrides)).transpose()?;
    let file = match (&args.providers, &run) {
        (Some(file), _) => file.clone(),
        (None, Some(run)) => run.providers.clone(),
        (None, None) => PathBuf::from("pipelines/registry/providers.toml"),
    };
    let keys = everywhere.keys()?;
    let providers = Providers::load(&file, |name| keys.get(name))?;
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

async fn doctor(args: DoctorArgs, everywhere: &Everywhere) -> anyhow::Result<ExitCode> {
    let Practice { run, providers, registry, lake } = practice(&args, everywhere).await?;
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
        told: &|one| {
            let asked = with_noun(one.requests, "question");
            everywhere.say(&format!("{} {}: {asked}\n", one.chain, one.label));
        },
    };
    let bill = doctor.bill();
    everywhere.say(&bill.in_words());
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
            everywhere.say("error: there is no endpoint to ask\n");
            ExitCode::from(2)
        }
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}

async fn check_registry(args: DoctorArgs, everywhere: &Everywhere) -> anyhow::Result<ExitCode> {
    let Practice { run, providers, registry, lake } = practice(&args, everywhere).await?;
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
    let told = |row: &CheckedRow| everywhere.say(&format!("{}: {}\n", row.csu, row.soundness.in_words()));
    let check =
        RegistryCheck { registry: &registry, csus, day, providers: &providers, lake: &lake, told: &told };
    everywhere.say(&check.bill());
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

async fn fill_prices(args: FillArgs, everywhere: &Everywhere) -> anyhow::Result<ExitCode> {
    let (run, lake) = args.what.load()?;
    lake.check_writable().await?;
    let base_url = SecretUrl::new(args.base_url);
    let filler = Filler { run: &run, lake: &lake, source: &args.source, base_url, pace: args.per_second };
    let filled = tokio::select! {
        filled = filler.fill() => filled?,
        () = interrupted() => {
            everywhere.say("interrupted: what is in the lake stays; run the same command again to go on\n");
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

async fn run(args: RunArgs, everywhere: &Everywhere) -> anyhow::Result<ExitCode> {
    let (run, lake, providers) = begin(&args, everywhere).await?;
    lake.check_writable().await?;
    let recorder = args.record.as_deref().map(Recorder::to_extend).transpose()?.map(Arc::new);
    let progress = everywhere.progress();
    let schedule = args.schedule(&run)?;
    let files = Files { json_lines: args.metrics.clone(), prometheus: args.metrics_prometheus.clone() };
    let meter = Meter::begin(files, &schedule, &providers, &progress)?;
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
        () = stopped(&schedule, &providers, everywhere) => None,
        never = meter.keep_writing() => match never {},
    };
    if let (Some(recorder), Some(file)) = (recorder, &args.record) {
        recorder.save(file)?;
    }
    if let Err(error) = meter.write() {
        tracing::warn!("{error}");
    }
    if let Err(error) = keep_state(&run, &lake, &providers, &schedule).await {
        tracing::warn!("{error}");
    }
    if let Some(why) = schedule.lost_lake() {
        anyhow::bail!(
            "the run stopped, for its lake takes nothing any more: {why}\n\
             hint: make room or mend the store, then run the same command again: what was written stays"
        );
    }
    let Some(collected) = collected.filter(|collected| collected.not_begun.is_empty()) else {
        everywhere.say(&format!(
            "interrupted: what was answered is in the lake at {}, and no day is lost\n\
             hint: run the same command again to go on; `extract status --run {}{}` says how far it is\n",
            lake.location(),
            args.what.run.display(),
            args.what.lake.as_ref().map(|lake| format!(" --lake {lake}")).unwrap_or_default()
        ));
        return Ok(ExitCode::from(75));
    };
    let summary = Summary::new(&run.name, lake.location(), &collected, &plan);
    let report = lake::path::run_report(&schedule.name_of(&run.name));
    if let Err(error) = lake.replace_json(&report, &summary).await {
        tracing::warn!("{error}");
    }
    everywhere.say(&summary.in_words());
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

/// Writes what the next run begins with, and what others read of this one. All of it is memory: a run whose objects are
/// there has done its work without it.
async fn keep_state(
    run: &Run,
    lake: &Lake,
    providers: &Providers,
    schedule: &Schedule,
) -> Result<(), StoreError> {
    for purse in providers.purses() {
        purse.keep().await?;
    }
    schedule.give_back(lake).await?;
    schedule.write_progress(lake, true).await?;
    Checkpoint::of(&Coverage::of(run, lake).await?).write(run, lake).await
}

/// Ends some seconds after this process was told to stop: no day and no request is begun any more, and what is paid for
/// is waited for. A second signal ends it at once.
async fn stopped(schedule: &Schedule, providers: &Providers, everywhere: &Everywhere) {
    interrupted().await;
    everywhere.say("stopping: what is under way is waited for; a second signal stops at once\n");
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
