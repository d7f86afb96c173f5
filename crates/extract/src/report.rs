//! What a person sees: progress while it runs, and at the end what is done, what is not and why.

use crate::collect::Collected;
use crate::ledger::Outcome;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lake::day::Day;
use lake::status::{Reason, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;

/// Unfinished tasks shown in words; the rest is counted.
const SHOWN: usize = 20;

/// Progress on stderr: a bar a chain on a terminal, a line a day elsewhere.
pub struct Progress {
    bars: Option<MultiProgress>,
}

/// Progress of one chain.
pub struct ChainProgress {
    chain: String,
    days: usize,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress for whatever stderr is.
    pub fn to_stderr() -> Self {
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars }
    }

    /// Begins a chain with so many days.
    pub fn chain(&self, chain: &str, days: usize) -> ChainProgress {
        let style = ProgressStyle::with_template("{prefix:>12} {bar:24} {pos}/{len} {msg} {per_sec} {eta}");
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(0)).with_prefix(chain.to_owned());
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        ChainProgress { chain: chain.to_owned(), days, bar }
    }
}

impl ChainProgress {
    /// Begins a day.
    pub fn begin_day(&self, day: Day) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{day}"));
        }
    }

    /// Begins a scan of so many blocks.
    pub fn begin_scan(&self, blocks: u64) {
        self.begin(blocks);
    }

    /// Begins reads at so many blocks.
    pub fn begin_reads(&self, blocks: u64) {
        self.begin(blocks);
    }

    fn begin(&self, length: u64) {
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(length);
        }
    }

    /// So many more are done.
    pub fn advance(&self, blocks: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(blocks);
        }
    }

    /// Ends a day.
    pub fn end_day(&self, day: Day, outcomes: &[Outcome]) {
        let done = outcomes.iter().filter(|outcome| outcome.is_done()).count();
        let line = format!("{} {day}: {done} of {} tasks done", self.chain, outcomes.len());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for ChainProgress {
    fn drop(&mut self) {
        tracing::debug!("{}: {} days gone through", self.chain, self.days);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A run's result for programs, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Run.
    pub run: String,
    /// Lake.
    pub lake: String,
    /// Tasks by status.
    pub tasks: BTreeMap<String, usize>,
    /// Requests by endpoint label and method.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Tasks that are not done.
    pub unfinished: Vec<UnfinishedTask>,
    /// What a person should know besides.
    pub warnings: Vec<String>,
}

/// A task that is not done.
#[derive(Debug, Serialize)]
pub struct UnfinishedTask {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Dataset.
    pub dataset: &'static str,
    /// Status.
    pub status: Status,
    /// Reason.
    pub reason: Option<Reason>,
    /// Reason in words.
    pub message: String,
}

impl Summary {
    /// The summary of a run.
    pub fn new(run: &str, lake: &str, collected: &Collected) -> Self {
        let mut tasks: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in &collected.outcomes {
            *tasks.entry(outcome.status.to_string()).or_default() += 1;
        }
        let unfinished =
            collected.outcomes.iter().filter(|outcome| !outcome.is_done()).map(|outcome| UnfinishedTask {
                csu: outcome.csu.clone(),
                date: outcome.date,
                dataset: outcome.dataset.as_str(),
                status: outcome.status,
                reason: outcome.reason,
                message: outcome.message.clone(),
            });
        Self {
            run: run.to_owned(),
            lake: lake.to_owned(),
            tasks,
            requests: collected.asked.clone(),
            unfinished: unfinished.collect(),
            warnings: collected.warnings.clone(),
        }
    }

    /// The summary in words. Tasks that share a reason and a message are told once.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        let counts: Vec<String> =
            self.tasks.iter().map(|(status, count)| format!("{count} {status}")).collect();
        let sent: u64 = self.requests.values().flat_map(BTreeMap::values).sum();
        let _ = writeln!(
            text,
            "extract: {}; {sent} requests sent; bronze is in {}",
            counts.join(", "),
            self.lake
        );
        let mut groups: Vec<(&UnfinishedTask, usize)> = Vec::new();
        for task in &self.unfinished {
            let same = |known: &&mut (&UnfinishedTask, usize)| known.0.message == task.message;
            match groups.iter_mut().find(same) {
                Some(group) => group.1 += 1,
                None => groups.push((task, 1)),
            }
        }
        for (task, count) in groups.iter().take(SHOWN) {
            let reason = task.reason.map_or("", Reason::as_str);
            let others = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let _ = writeln!(
                text,
                "missing: {} {} {}{others}: {} ({reason})",
                task.csu, task.date, task.dataset, task.status
            );
            for line in task.message.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        if groups.len() > SHOWN {
            let _ =
                writeln!(text, "... and {} further reasons; --json lists every task", groups.len() - SHOWN);
        }
        text
    }
}
