//! `make bench-rpc`: December 2024 against simulated providers, by this engine and by the plan's own algorithm.
//!
//! Both read the same CSUs on the same chains, from providers with the same policies: Alchemy's free plan and each chain's
//! own endpoint. Time is paused, so the hours are those that the providers' limits and latencies make, not this machine's.
//! Exit code 1 says that the engine costs more than it may (`rpc_budget.md` section 4) or left something unread.

mod engine;
mod report;

use anyhow::{Context, ensure};
use clap::Parser;
use report::{Column, Limits, Report};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use testkit::december::round_robin;
use testkit::december::{DAYS, END, LineUp, World};
use testkit::server::TokioClock;
use testkit::server::clock::Clock;

/// The day of the month, counted from zero, on which the crash begins: a short bench begins there.
const CRASH_DAY: u64 = 8;

/// December 2024 against simulated providers: calls, compute units, hours and keys, and what was missed
///
/// Exit codes: 0 within the limits and everything read; 1 not; 2 could not run.
#[derive(Debug, Parser)]
struct Options {
    /// Only so many days, from 2024-12-09 on while there are enough
    #[arg(long, value_name = "N", default_value_t = DAYS, value_parser = clap::value_parser!(u64).range(1..=DAYS))]
    days: u64,
    /// Keys of Alchemy's free plan for the plan's algorithm, again for another column; without it one key, as the engine
    /// has, and as many as its calls cost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    plan_keys: Vec<u16>,
    /// Workers of the plan's algorithm
    #[arg(long, value_name = "N", default_value_t = round_robin::WORKERS)]
    plan_workers: usize,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// As cargo says to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match bench(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn bench(options: &Options) -> anyhow::Result<bool> {
    ensure!(options.plan_workers > 0, "without workers nothing is done");
    let first = CRASH_DAY.min(DAYS - options.days);
    let days = first..=first + options.days - 1;
    let world = World::whole()?;
    let truth = world.liquidations(days.clone());

    let mut keys: Vec<usize> = options.plan_keys.iter().copied().map(usize::from).collect();
    if keys.is_empty() {
        keys = vec![1, usize::try_from(round_robin::keys_needed(&world, days.clone(), report::KEY_MONTH))?];
        keys.dedup();
    }
    let columns = std::thread::scope(|scope| {
        let engine = scope.spawn(|| engine(&world, days.clone()));
        let plans: Vec<_> = keys
            .iter()
            .map(|&keys| {
                scope.spawn({
                    let (world, days) = (&world, days.clone());
                    move || plan(world, days, keys, options.plan_workers)
                })
            })
            .collect();
        std::iter::once(engine)
            .chain(plans)
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a column's thread panicked"))?)
            .collect::<anyhow::Result<Vec<Column>>>()
    })?;
    let report = Report::new(&days, &truth, columns, Limits::of_days(options.days));
    println!("{report}");
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report.failures.is_empty())
}

/// A runtime whose time jumps to whatever comes next.
fn paused() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?)
}

/// The providers, on the day after the month's end. To be made within a runtime.
fn line_up(world: &World, keys: usize) -> LineUp {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::at(END));
    LineUp::new(world, keys, &clock)
}

fn engine(world: &World, days: RangeInclusive<u64>) -> anyhow::Result<Column> {
    let started = Instant::now();
    paused()?.block_on(async {
        let line_up = line_up(world, 1);
        let reading = engine::collect(world, &line_up, days).await?;
        Ok(Column::new("extract", reading, &line_up, started.elapsed()))
    })
}

fn plan(world: &World, days: RangeInclusive<u64>, keys: usize, workers: usize) -> anyhow::Result<Column> {
    let started = Instant::now();
    paused()?.block_on(async {
        let line_up = line_up(world, keys);
        let outcome = round_robin::run(world, &line_up, days, workers).await;
        let name = format!("the plan, {keys} key{}", if keys == 1 { "" } else { "s" });
        Ok(Column::new(&name, outcome.reading, &line_up, started.elapsed()))
    })
}
