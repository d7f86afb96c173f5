//! What a person sees: progress while it runs, and at the end what is done, what is not and why.

use crate::collect::{Collected, Elsewhere};
use crate::ledger::Outcome;
use crate::plan::{Basis, Plan, right, with_separators};
use crate::rpc::tally::{Asked, Purpose};
use comfy_table::{Cell, Table, presets};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lake::day::Day;
use lake::status::{Reason, Status};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines about one part of a day.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Unfinished tasks shown in words; the rest is counted.
const SHOWN: usize = 20;

/// Progress on stderr: a bar a chain on a terminal, a line a day elsewhere, or events of the log.
pub struct Progress {
    bars: Option<MultiProgress>,
    as_events: bool,
    asked: Arc<Mutex<BTreeMap<String, Asked>>>,
}

/// Progress of one chain.
pub struct ChainProgress {
    chain: String,
    days: usize,
    bar: Option<ProgressBar>,
    as_events: bool,
    asked: Arc<Mutex<BTreeMap<String, Asked>>>,
    part: Mutex<Part>,
}

/// The part of a day that is under way, for lines on what is no terminal.
struct Part {
    day: Option<Day>,
    length: u64,
    done: u64,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Progress for whatever stderr is.
    pub fn to_stderr() -> Self {
        let bars = std::io::stderr()
            .is_terminal()
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars, as_events: false, asked: Arc::default() }
    }

    /// Progress as events of the log, for those who read it by program.
    pub fn to_log() -> Self {
        Self { bars: None, as_events: true, asked: Arc::default() }
    }

    /// What each endpoint was asked so far, by label.
    pub fn asked(&self) -> BTreeMap<String, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a chain with so many days.
    pub fn chain(&self, chain: &str, days: usize) -> ChainProgress {
        let style = ProgressStyle::with_template(
            "{prefix:>12} {bar:24} {human_pos}/{human_len} {per_sec} {eta} left, {msg}",
        );
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(0)).with_prefix(chain.to_owned());
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let now = Instant::now();
        let part = Mutex::new(Part { day: None, length: 0, done: 0, began: now, told: now });
        let (as_events, asked) = (self.as_events, Arc::clone(&self.asked));
        ChainProgress { chain: chain.to_owned(), days, bar, as_events, asked, part }
    }
}

impl ChainProgress {
    /// Begins a day.
    pub fn begin_day(&self, day: Day) {
        self.part().day = Some(day);
        if let Some(bar) = &self.bar {
            bar.set_message(day.to_string());
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
        let mut part = self.part();
        (part.length, part.done, part.began) = (length, 0, Instant::now());
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(length);
        }
    }

    /// So many blocks more are done, and this is what the chain's endpoints were asked in this run.
    pub fn advance(&self, blocks: u64, asked: BTreeMap<String, Asked>) {
        let units: u64 = asked.values().map(Asked::units).sum();
        let again: u64 = asked.values().map(Asked::again).sum();
        self.note(asked);
        let mut part = self.part();
        part.done = part.done.saturating_add(blocks);
        let day = part.day.map_or_else(String::new, |day| day.to_string());
        if let Some(bar) = &self.bar {
            bar.inc(blocks);
            bar.set_message(format!("{day}, {units} units, {again} made again"));
        } else if part.told.elapsed() >= LINE_EVERY {
            part.told = Instant::now();
            let seconds = part.began.elapsed().as_secs_f64().max(1e-3);
            let rate = part.done as f64 / seconds;
            let left = part.length.saturating_sub(part.done) as f64 / rate.max(1e-9);
            self.tell(&format!(
                "{} {day}: {} of {} blocks, {rate:.0} a second, {left:.0} s left, {units} units, {again} made again",
                self.chain, part.done, part.length
            ));
        }
    }

    /// Notes what the chain's endpoints were asked so far.
    pub fn note(&self, asked: BTreeMap<String, Asked>) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(asked);
    }

    fn tell(&self, line: &str) {
        match self.as_events {
            true => tracing::info!(chain = self.chain, "{line}"),
            false => eprintln!("{line}"),
        }
    }

    fn part(&self) -> std::sync::MutexGuard<'_, Part> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a day.
    pub fn end_day(&self, day: Day, outcomes: &[Outcome]) {
        let done = outcomes.iter().filter(|outcome| outcome.is_done()).count();
        let line = format!("{} {day}: {done} of {} tasks done", self.chain, outcomes.len());
        match &self.bar {
            Some(bar) => bar.println(line),
            None => self.tell(&line),
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
    /// What was planned and what was sent, by chain, purpose and method.
    pub bill: Vec<BillRow>,
    /// Requests that failed in passing and were made again.
    pub made_again: u64,
    /// Tasks that are not done.
    pub unfinished: Vec<UnfinishedTask>,
    /// Chain-days that another shard has, with that shard.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Elsewhere>,
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
    pub fn new(run: &str, lake: &str, collected: &Collected, plan: &Plan) -> Self {
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
            requests: collected
                .asked
                .iter()
                .map(|(label, asked)| (label.clone(), asked.by_method()))
                .collect(),
            bill: bill(plan, &collected.asked),
            made_again: collected.asked.values().map(Asked::again).sum(),
            unfinished: unfinished.collect(),
            elsewhere: collected.elsewhere.clone(),
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
        let counts = if counts.is_empty() { "no task of its own".to_owned() } else { counts.join(", ") };
        let sent: u64 = self.requests.values().flat_map(BTreeMap::values).sum();
        let _ = writeln!(text, "extract: {counts}; {sent} requests sent; bronze is in {}", self.lake);
        let mut shards: BTreeMap<&str, usize> = BTreeMap::new();
        for day in &self.elsewhere {
            *shards.entry(&day.shard).or_default() += 1;
        }
        for (shard, days) in shards {
            let _ = writeln!(text, "elsewhere: {days} chain-days are with shard {shard}");
        }
        if sent > 0 {
            text.push_str(&bill_in_words(&self.bill, self.made_again));
        }
        let mut groups: Vec<(&UnfinishedTask, usize)> = Vec::new();
        for task in &self.unfinished {
            let same = |known: &&mut (&UnfinishedTask, usize)| known.0.message == task.message;
            match groups.iter_mut().find(same) {
                Some(group) => group.1 += 1,
                None => groups.push((task, 1)),
            }
        }
        for (task, count) in groups.iter().take(SHOWN) {
            let reason = task.reason.map_or_else(String::new, |reason| format!(" ({})", reason.as_str()));
            let others = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            let _ = writeln!(
                text,
                "missing: {} {} {}{others}: {}{reason}",
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

/// Plan against actual, for requests of one purpose and method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BillRow {
    /// What they are for.
    pub purpose: Purpose,
    /// Method.
    pub method: &'static str,
    /// What the plan of them rests on; none for what depends on the day's liquidations, which no plan can know.
    pub basis: Option<Basis>,
    /// Requests planned.
    pub planned: u64,
    /// Requests sent, those that were made again included.
    pub sent: u64,
    /// Unit.
    pub unit: String,
    /// Units planned.
    pub units_planned: u64,
    /// Units spent.
    pub units: u64,
}

impl BillRow {
    fn new(purpose: Purpose, method: &'static str, unit: &str) -> Self {
        // Receipts are those of the logs that were found.
        let is_of_events = purpose == Purpose::Event || method == "eth_getTransactionReceipt";
        let is_search = method == "eth_getBlockByNumber" && purpose != Purpose::Identity;
        let basis = match (is_of_events, is_search) {
            (true, _) => None,
            // How many headers a search takes is an estimate, also where none were thought to be needed.
            (_, true) => Some(Basis::Estimated),
            _ => Some(Basis::Counted),
        };
        let (planned, sent, units_planned, units, unit) = (0, 0, 0, 0, unit.to_owned());
        Self { purpose, method, basis, planned, sent, unit, units_planned, units }
    }
}

fn bill(plan: &Plan, asked: &BTreeMap<String, Asked>) -> Vec<BillRow> {
    let mut rows: BTreeMap<(Purpose, &'static str, String), BillRow> = BTreeMap::new();
    for planned in &plan.rows {
        let (purpose, method, unit) = (planned.purpose, planned.method, planned.unit.as_str());
        let row = rows
            .entry((purpose, method, unit.to_owned()))
            .or_insert_with(|| BillRow::new(purpose, method, unit));
        row.planned += planned.calls;
        row.units_planned += planned.units;
        row.basis = row.basis.max(Some(planned.basis));
    }
    for asked in asked.values() {
        for ((purpose, method), count) in asked.counts() {
            let row = rows
                .entry((*purpose, *method, asked.unit().to_owned()))
                .or_insert_with(|| BillRow::new(*purpose, method, asked.unit()));
            row.sent += count.sent;
            row.units += count.units;
        }
    }
    rows.into_values().collect()
}

fn bill_in_words(rows: &[BillRow], made_again: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "for",
        "method",
        "planned",
        "sent",
        "units planned",
        "units",
    ]);
    for row in rows {
        let planned = |number: u64| match row.basis {
            None => right("-"),
            Some(Basis::Counted) => right(with_separators(number)),
            Some(Basis::Estimated) => right(format!("~{}", with_separators(number))),
        };
        table.add_row([
            Cell::new(row.purpose.as_str()),
            Cell::new(row.method),
            planned(row.planned),
            right(with_separators(row.sent)),
            planned(row.units_planned),
            right(format!("{} {}", with_separators(row.units), row.unit)),
        ]);
    }
    let mut text = format!("{table}\n");
    let units: BTreeSet<&str> = rows.iter().map(|row| row.unit.as_str()).collect();
    for unit in units {
        let of_unit = || rows.iter().filter(|row| row.unit == unit);
        let foreseen = || of_unit().filter(|row| row.basis.is_some());
        // Endpoints that charge nothing are compared by requests.
        let of = |row: &BillRow| {
            if unit.is_empty() { (row.planned, row.sent) } else { (row.units_planned, row.units) }
        };
        let (planned, spent) = foreseen().map(of).fold((0, 0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
        let events: u64 = of_unit().filter(|row| row.basis.is_none()).map(|row| of(row).1).sum();
        let off = 100.0 * (spent as f64 - planned as f64) / (planned.max(1) as f64);
        let name = if unit.is_empty() { "free requests" } else { unit };
        let _ = writeln!(
            text,
            "{name}: {} planned, {} spent ({off:+.1}%); {} more for liquidations, which no plan knows",
            with_separators(planned),
            with_separators(spent),
            with_separators(events)
        );
    }
    let _ = writeln!(text, "{} requests were made again", with_separators(made_again));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_a_task_says_so() {
        let summary = Summary {
            run: "month".to_owned(),
            lake: "data".to_owned(),
            tasks: BTreeMap::new(),
            requests: BTreeMap::new(),
            bill: Vec::new(),
            made_again: 0,
            unfinished: Vec::new(),
            elsewhere: Vec::new(),
            warnings: Vec::new(),
        };
        let told = summary.in_words();
        assert_eq!(
            told.lines().next(),
            Some("extract: no task of its own; 0 requests sent; bronze is in data")
        );
    }
}
