//! `extract status`: how far a run is, how fast it goes, when it will be done and what its keys have left.

mod page;

use crate::coverage::{Coverage, Row};
use crate::plan::{right, with_separators};
use crate::rpc::budget::{self, QUOTA_SHARE};
use crate::rpc::providers::Providers;
use crate::schedule::Progress;
use crate::shard::costs;
use comfy_table::{Cell, Table, presets};
use jiff::Timestamp;
use lake::Lake;
use lake::day::Day;
use lake::path;
use lake::run::Run;
use lake::status::{Dataset, Reason, Status};
use lake::store::StoreError;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A process that wrote nothing for so long is not at work any more: a day of a fast chain on one key takes hours.
const AT_WORK_SECONDS: i64 = 12 * 3_600;
/// Reasons shown in words; `--json` has all.
const SHOWN: usize = 12;

/// How far a run is.
#[derive(Debug, Serialize)]
pub struct RunStatus {
    /// Run.
    pub run: String,
    /// Lake.
    pub lake: String,
    /// First and last day.
    pub days: (Day, Day),
    /// Tasks by status.
    pub tasks: BTreeMap<&'static str, usize>,
    /// Share of tasks of which nothing is left to do.
    pub percent: f64,
    /// Expected blocks of the chain-days that are not whole.
    pub blocks_left: u64,
    /// Processes that are at work, or the last that was.
    pub processes: Vec<Progress>,
    /// Blocks an hour that they go through, as measured.
    pub blocks_per_hour: Option<f64>,
    /// Hours until all is done, at that rate.
    pub hours_left: Option<f64>,
    /// What each key has spent this month.
    pub keys: Vec<KeyStatus>,
    /// One row a CSU and dataset.
    pub rows: Vec<RowStatus>,
}

/// One dataset of one CSU.
#[derive(Debug, Serialize)]
pub struct RowStatus {
    /// CSU.
    pub csu: String,
    /// Dataset.
    pub dataset: Dataset,
    /// Days by status.
    pub days: BTreeMap<&'static str, usize>,
    /// Days that were tried and are not there, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// All days of the run in order, those that are alike together.
    #[serde(skip)]
    pub runs: Vec<DayRun>,
}

/// Days after each other that have the same status for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayRun {
    /// Status.
    pub status: Status,
    /// Why.
    pub reason: Option<Reason>,
    /// First day.
    pub from: Day,
    /// Last day.
    pub to: Day,
    /// Days.
    pub days: usize,
}

/// A day that was tried and is not there.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// Day.
    pub date: Day,
    /// Status.
    pub status: Status,
    /// Why.
    pub reason: Option<Reason>,
    /// Why, in words.
    pub message: String,
}

/// What one key has spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Variable of the key, or label of the endpoint.
    pub key: String,
    /// `YYYY-MM`.
    pub month: String,
    /// Unit.
    pub unit: Option<String>,
    /// Units spent this month, by all processes.
    pub spent: u64,
    /// Units that are left of what runs may spend, where the key is set here and has a month.
    pub left: Option<u64>,
}

impl RunStatus {
    /// The status of a run. `providers` gives the quotas of keys; without them only what was spent is told.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of(run: &Run, lake: &Lake, providers: &Providers) -> Result<Self, StoreError> {
        let coverage = Coverage::of(run, lake).await?;
        let (all, done) = coverage.tasks().fold((0_usize, 0_usize), |(all, done), (_, day)| {
            (all + 1, done + usize::from(!day.status.is_worth_a_retry()))
        });
        let blocks_left = blocks_left(run, &coverage);
        let processes = processes(run, lake).await?;
        let blocks_per_hour = rate(&processes);
        let hours = |rate: f64| blocks_left as f64 / rate;
        Ok(Self {
            run: run.name.clone(),
            lake: lake.location().to_owned(),
            days: (run.days.from(), run.days.to()),
            tasks: coverage.counts().into_iter().map(|(status, count)| (status.as_str(), count)).collect(),
            percent: 100.0 * done as f64 / all.max(1) as f64,
            blocks_left,
            hours_left: blocks_per_hour.map(hours).filter(|hours| hours.is_finite()),
            blocks_per_hour,
            processes,
            keys: keys(lake, providers).await?,
            rows: coverage.rows.iter().map(RowStatus::of).collect(),
        })
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.rows.iter().all(RowStatus::is_done)
    }

    /// The percentage for people: not rounded up to what is not true.
    fn percent_shown(&self) -> f64 {
        if self.is_done() { 100.0 } else { self.percent.min(99.9) }
    }

    /// The status in words: a table of what is not done by CSU, reasons, rate and keys.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        let counts: Vec<String> = self
            .tasks
            .iter()
            .map(|(status, count)| format!("{} {status}", with_separators(*count as u64)))
            .collect();
        let _ = writeln!(
            text,
            "{}, {} to {}: {:.1}% done; {}",
            self.run,
            self.days.0,
            self.days.1,
            self.percent_shown(),
            counts.join(", ")
        );
        let open: Vec<&RowStatus> = self.rows.iter().filter(|row| !row.is_done()).collect();
        if open.is_empty() {
            let _ = writeln!(text, "nothing is left to do");
        } else {
            let _ = writeln!(text, "{}", table(&open));
            let _ = writeln!(
                text,
                "{} of {} rows have everything",
                self.rows.len() - open.len(),
                self.rows.len()
            );
            text.push_str(&reasons(&open));
            text.push_str(&self.time_left());
        }
        for key in &self.keys {
            let unit = key.unit.as_deref().unwrap_or("units");
            let left = key.left.map_or_else(String::new, |left| format!(", {} left", with_separators(left)));
            let _ = writeln!(
                text,
                "key {}: {} {unit} spent in {}{left}",
                key.key,
                with_separators(key.spent),
                key.month
            );
        }
        text
    }

    fn time_left(&self) -> String {
        let blocks = with_separators(self.blocks_left);
        match (self.blocks_per_hour, self.hours_left) {
            (Some(rate), Some(hours)) => {
                let at_work = self.processes.iter().filter(|process| !process.ended).count();
                let who = if at_work == 0 { "the last run".to_owned() } else { format!("{at_work} at work") };
                let rate = with_separators(rate as u64);
                format!("{blocks} blocks left, {rate} an hour ({who}): {hours:.1} hours\n")
            }
            _ => format!("{blocks} blocks left; no rate was measured yet\n"),
        }
    }
}

impl RowStatus {
    fn of(row: &Row) -> Self {
        let mut days: BTreeMap<&'static str, usize> = BTreeMap::new();
        let (mut missing, mut runs) = (Vec::new(), Vec::<DayRun>::new());
        for day in &row.days {
            match runs.last_mut() {
                Some(run) if (run.status, run.reason) == (day.status, day.reason) => {
                    (run.to, run.days) = (day.date, run.days + 1);
                }
                _ => {
                    let (status, reason) = (day.status, day.reason);
                    runs.push(DayRun { status, reason, from: day.date, to: day.date, days: 1 });
                }
            }
            *days.entry(day.status.as_str()).or_default() += 1;
            if day.status.is_worth_a_retry() && (day.reason.is_some() || day.status != Status::NotAttempted) {
                let (date, status, reason) = (day.date, day.status, day.reason);
                missing.push(Missing { date, status, reason, message: day.message.clone() });
            }
        }
        Self { csu: row.csu.clone(), dataset: row.dataset, days, missing, runs }
    }

    fn is_done(&self) -> bool {
        !Status::ALL.iter().any(|status| status.is_worth_a_retry() && self.count(*status) > 0)
    }

    fn count(&self, status: Status) -> usize {
        self.days.get(status.as_str()).copied().unwrap_or_default()
    }
}

fn table(rows: &[&RowStatus]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "csu",
        "dataset",
        "done",
        "partial",
        "failed",
        "no archive",
        "not deployed",
        "not attempted",
    ]);
    for row in rows {
        let number = |count: usize| right(if count == 0 { String::new() } else { count.to_string() });
        let never = row.count(Status::NotDeployed) + row.count(Status::Retired);
        table.add_row([
            Cell::new(&row.csu),
            Cell::new(row.dataset),
            number(row.count(Status::Collected) + row.count(Status::NoBlock)),
            number(row.count(Status::Partial)),
            number(row.count(Status::Failed)),
            number(row.count(Status::ArchiveUnavailable)),
            number(never),
            number(row.count(Status::NotAttempted)),
        ]);
    }
    table
}

/// Tasks that are missing for one reason, and the first of them.
struct Group<'a> {
    status: Status,
    reason: Option<Reason>,
    tasks: usize,
    row: &'a RowStatus,
    first: &'a Missing,
}

/// Each reason once, with how many tasks it has and one of them.
fn groups<'a>(rows: &[&'a RowStatus]) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<(Status, Option<Reason>), Group<'a>> = BTreeMap::new();
    for &row in rows {
        for first in &row.missing {
            let (status, reason) = (first.status, first.reason);
            let group = Group { status, reason, tasks: 0, row, first };
            groups.entry((status, reason)).or_insert(group).tasks += 1;
        }
    }
    groups.into_values().collect()
}

fn reasons(rows: &[&RowStatus]) -> String {
    let mut text = String::new();
    for Group { status, reason, tasks, row, first } in groups(rows).iter().take(SHOWN) {
        let reason = reason.map_or("no reason kept", Reason::as_str);
        let message = first.message.lines().next().unwrap_or_default();
        let _ = writeln!(
            text,
            "{status} ({reason}): {tasks}, such as {} {} {}: {message}",
            row.csu, first.date, row.dataset
        );
    }
    text
}

fn blocks_left(run: &Run, coverage: &Coverage) -> u64 {
    let open: BTreeSet<(&str, Day)> = coverage
        .tasks()
        .filter(|(_, day)| day.status.is_worth_a_retry())
        .map(|(row, day)| (row.chain.as_str(), day.date))
        .collect();
    costs(run)
        .iter()
        .filter(|((chain, date), _)| open.contains(&(chain.as_str(), *date)))
        .map(|(_, blocks)| blocks)
        .sum()
}

/// Processes of the run that are at work; where there is none, the one that was at work last.
async fn processes(run: &Run, lake: &Lake) -> Result<Vec<Progress>, StoreError> {
    let mut all: Vec<Progress> = Vec::new();
    for path in lake.list(&path::progress_prefix()).await? {
        let Some(bytes) = lake.get(&path).await? else { continue };
        // One that cannot be read is of another version.
        let Ok(progress) = serde_json::from_slice::<Progress>(&bytes) else { continue };
        if progress.run == run.name {
            all.push(progress);
        }
    }
    let now = Timestamp::now().as_second();
    let is_at_work = |process: &Progress| {
        let updated = process.updated.parse::<Timestamp>().map_or(0, Timestamp::as_second);
        !process.ended && now - updated < AT_WORK_SECONDS
    };
    let (at_work, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_at_work);
    if !at_work.is_empty() {
        return Ok(at_work);
    }
    Ok(others
        .into_iter()
        .filter(|process| process.blocks > 0)
        .max_by_key(|process| process.updated.clone())
        .into_iter()
        .collect())
}

/// Blocks an hour of all processes together; none while nothing is measured.
fn rate(processes: &[Progress]) -> Option<f64> {
    let of = |process: &Progress| {
        let began = process.began.parse::<Timestamp>().ok()?;
        let updated = process.updated.parse::<Timestamp>().ok()?;
        let hours = updated.duration_since(began).as_secs_f64() / 3_600.0;
        (hours > 0.0).then(|| process.blocks as f64 / hours)
    };
    let rate: f64 = processes.iter().filter_map(of).sum();
    (rate > 0.0).then_some(rate)
}

async fn keys(lake: &Lake, providers: &Providers) -> Result<Vec<KeyStatus>, StoreError> {
    let spent = budget::spent(lake).await?;
    let (month, _) = budget::periods(Timestamp::now());
    let tariffs: BTreeMap<&str, _> =
        providers.purses().into_iter().map(|purse| (purse.name(), purse.tariff())).collect();
    let names: BTreeSet<&str> = spent.keys().map(String::as_str).chain(tariffs.keys().copied()).collect();
    let status = |name: &str| {
        let spent = spent.get(name).and_then(|months| months.get(&month)).copied().unwrap_or_default();
        let tariff = tariffs.get(name);
        let of = tariff.and_then(|tariff| tariff.units_per_month);
        let may_spend = of.map(|units| (units as f64 * QUOTA_SHARE) as u64);
        KeyStatus {
            key: name.to_owned(),
            month: month.clone(),
            unit: tariff.map(|tariff| tariff.unit.clone()),
            spent,
            left: may_spend.map(|units| units.saturating_sub(spent)),
        }
    };
    // Endpoints without a key have no month and keep no book.
    Ok(names.into_iter().map(status).filter(|key| key.spent > 0 || key.left.is_some()).collect())
}
