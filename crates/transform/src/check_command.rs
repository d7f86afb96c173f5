//! The command line of `transform check`.

use crate::{What, print_json, runtime};
use anyhow::Result;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use lake::failure::Failure;
use std::num::NonZeroUsize;
use transform::check::{Outcome, Report, check};

/// `transform check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    what: What,
    /// Print the list of checks as Markdown and stop
    #[arg(long)]
    list: bool,
    /// Decoding threads [default: one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Print the outcome as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Checks, prints what was found, and says whether every check of level error passed.
pub(crate) fn run(args: CheckArgs) -> Result<bool> {
    if args.list {
        print!("{}", transform::check::markdown());
        return Ok(true);
    }
    let (run, lake) = args.what.load()?;
    let jobs = args.jobs.map(NonZeroUsize::get);
    let progress = crate::progress::months(run.days.days().map(lake::day::Day::month));
    let report = runtime()?.block_on(check(&run, &lake, jobs, |month| progress.done(month)))?;
    progress.clear();
    if args.json {
        print_json(&report)?;
    } else {
        println!("{}", table(&report));
        for line in report.checks.iter().flat_map(|outcome| lines(&report, outcome)) {
            println!("{line}");
        }
    }
    let word = if report.is_sound() { "sound" } else { "not sound" };
    eprintln!(
        "run {}: {}: bronze and silver are {word}; warnings: {}",
        report.run,
        report.months.join(", "),
        report.warnings()
    );
    Ok(report.is_sound())
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["check", "level", "failures", "what must hold"]);
    for outcome in &report.checks {
        let failures = outcome.failures.to_string();
        table.add_row([outcome.check, outcome.level.as_str(), &failures, outcome.what]);
    }
    if let Some(failures) = table.column_mut(2) {
        failures.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The first failures of a check, why its threshold is what it is, and where all failures are.
fn lines(report: &Report, outcome: &Outcome) -> Vec<String> {
    let name = outcome.check;
    let mut lines: Vec<String> =
        outcome.first.iter().map(|failure| format!("{name}: {}", line(failure))).collect();
    if let Some(rows) = &outcome.rows {
        if !outcome.why.is_empty() {
            lines.push(format!("{name}: the threshold: {}", outcome.why));
        }
        let more = outcome.failures - outcome.first.len();
        let more = if more > 0 { format!("and {more} more, ") } else { String::new() };
        lines.push(format!("{name}: {more}all in {}/{rows}", report.lake.trim_end_matches('/')));
    }
    lines
}

fn line(failure: &Failure) -> String {
    let place = [failure.csu.clone(), failure.date.map(|date| date.to_string()), failure.column.clone()];
    let mut line = place.into_iter().flatten().collect::<Vec<_>>().join(" ");
    if !line.is_empty() {
        line.push_str(": ");
    }
    line.push_str(&failure.why);
    match (&failure.found, &failure.expected) {
        (Some(found), Some(expected)) => line.push_str(&format!(" (is {found}, expected {expected})")),
        (Some(found), None) => line.push_str(&format!(" ({found})")),
        (None, Some(expected)) => line.push_str(&format!(" (expected {expected})")),
        (None, None) => {}
    }
    line
}
