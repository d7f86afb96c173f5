//! The command line of `panel check`.

use crate::{RunArgs, runtime};
use anyhow::Result;
use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use lake::failure::Failure;
use lake::status::CheckLevel;
use panel::check::{Outcome, Report, bless, check};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// `panel check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Compare rows and nulls of each CSU-month with this file (CSV, in git).
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Write that file from gold as it is, instead of comparing.
    #[arg(long, requires = "expect")]
    bless: bool,
}

/// Checks gold, prints what was found, and says by the exit code whether every check of level error passed.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    let run = args.run.load()?;
    let lake = run.open_lake()?;
    if let Some(file) = args.expect.as_ref().filter(|_| args.bless) {
        let months = runtime()?.block_on(bless(&lake, file))?;
        eprintln!("wrote {}: {months} CSU-months", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let report = runtime()?.block_on(check(&run, &lake, args.expect.as_deref()))?;
    let mut out = std::io::stdout().lock();
    if args.run.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}", table(&report))?;
        for outcome in &report.checks {
            for line in lines(&report, outcome) {
                writeln!(out, "{line}")?;
            }
        }
    }
    let sound = report.is_sound();
    let warned = report.checks.iter().filter(|check| check.level == CheckLevel::Warn);
    let warnings: usize = warned.filter_map(|check| check.failures).sum();
    let word = if sound { "sound" } else { "not sound" };
    eprintln!("panel {}: {} rows, gold is {word}; warnings: {warnings}", report.run, report.rows);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["check", "level", "failures", "what must hold"]);
    for outcome in &report.checks {
        let failures = outcome.failures.map_or_else(|| "not run".to_owned(), |failures| failures.to_string());
        table.add_row([outcome.check, outcome.level.as_str(), &failures, outcome.what]);
    }
    if let Some(failures) = table.column_mut(2) {
        failures.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The first failures of a check, and where all of them are.
fn lines(report: &Report, outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> =
        outcome.first.iter().map(|failure| format!("{}: {}", outcome.check, line(failure))).collect();
    let more = outcome.failures.unwrap_or_default() - outcome.first.len();
    if let Some(rows) = outcome.rows.as_ref().filter(|_| !lines.is_empty()) {
        let more = if more > 0 { format!("and {more} more, ") } else { String::new() };
        lines.push(format!("{}: {more}all in {}/{rows}", outcome.check, report.lake.trim_end_matches('/')));
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
    if failure.found.is_some() || failure.expected.is_some() {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        line.push_str(&format!(" (is {}, expected {})", text(&failure.found), text(&failure.expected)));
    }
    line
}
