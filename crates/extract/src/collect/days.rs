//! The days of a chain, one after the other: claimed where the run is divided, collected, and told.

use super::standing::Standing;
use super::{Collector, DayTasks, LayoutHistory, OpenChain, Unit, fail_all};
use crate::claim::Turn;
use crate::ledger::{Failure, Outcome};
use crate::reads::ReadMemory;
use crate::rpc::journal::Journal;
use crate::schedule::ended;
use lake::bronze::{DayOfChain, Header};
use lake::day::Day;
use lake::path;
use lake::span::BlockSpan;
use lake::status::{Dataset, Reason, Status};
use protocols::Answers;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// What became of days that were gone through.
#[derive(Default)]
pub(super) struct GoneThrough<'a> {
    pub(super) outcomes: Vec<Outcome>,
    /// Days that another shard is at work on or has tried, and that shard.
    pub(super) held: Vec<(DayTasks<'a>, String)>,
    /// Days that were not begun, because the run was told to stop.
    pub(super) not_begun: Vec<Day>,
}

/// One day of an open chain, with its blocks.
pub(crate) struct DayWork<'w> {
    pub(crate) open: &'w OpenChain<'w>,
    pub(crate) day: &'w DayOfChain,
    pub(crate) span: BlockSpan,
    /// Last block before the day; `None` on a chain that began on it.
    pub(crate) before: Option<Header>,
    pub(crate) last: Header,
    /// Whether an earlier run was cut off in the day: its answers are in the journal.
    pub(crate) was_cut_off: bool,
}

impl<'a> Collector<'a> {
    /// Collects the days of a chain, one after the other. Each is looked at again when its turn comes: another run on the
    /// lake may have finished it. Where the run is divided, a day is claimed first.
    pub(super) async fn days(
        &self,
        open: &OpenChain<'_>,
        units: &[Unit<'a>],
        days: Vec<DayTasks<'a>>,
    ) -> GoneThrough<'a> {
        let mut layouts: BTreeMap<&str, LayoutHistory> = BTreeMap::new();
        for unit in units {
            layouts.insert(&unit.csu.id, self.remembered_layouts(unit.csu).await);
        }
        let mut gone = GoneThrough::default();
        for mut day in days {
            let (name, date) = (&open.chain.name, day.window.day);
            if self.schedule.is_stopping() {
                gone.not_begun.push(date);
                continue;
            }
            let mut done = Vec::new();
            let mut open_tasks = Vec::new();
            for &(unit, dataset) in &day.tasks {
                match self.standing(open.chain, unit.csu, day.window, dataset).await {
                    Standing::Open => open_tasks.push((unit, dataset)),
                    Standing::Settled(outcome) => {
                        // Another process has done it since the run began, and remembers what it found.
                        let remembered = self.remembered_layouts(unit.csu).await;
                        layouts.entry(&unit.csu.id).or_default().extend(remembered);
                        done.push(outcome);
                    }
                }
            }
            day.wants_prices = day.wants_prices && self.lacks_price_book(open.chain, day.window).await;
            let share = self.schedule.share().filter(|_| !open_tasks.is_empty() || day.wants_prices);
            if let Some(share) = share {
                match share.claims.take(self.lake, name, date, self.schedule.is_own(name, date)).await {
                    Ok(Turn::Ours) => {}
                    Ok(Turn::Theirs(shard)) => {
                        gone.held.push((day, shard));
                        continue;
                    }
                    // A claim saves requests and no more.
                    Err(error) => tracing::warn!("{error}"),
                }
            }
            day.tasks = open_tasks;
            open.progress.begin_day(date);
            match Journal::open(self.lake, name, date).await {
                Err(error) => done.extend(fail_all(&day, &Failure::from(error))),
                Ok(mut journal) => {
                    if self.schedule.choice().forces(date) {
                        // What was answered before is asked again.
                        journal = journal.emptied().await;
                    }
                    let was_cut_off = !journal.is_empty();
                    open.pool.begin(journal);
                    // In its own memory: the state of a day is too large for the stack of a debug build.
                    let work = Box::pin(self.day(open, &day, was_cut_off, &mut layouts));
                    done.extend(match share {
                        None => work.await,
                        Some(share) => share.claims.renewed_during(self.lake, name, date, work).await,
                    });
                }
            }
            self.record(&done).await;
            self.keep_state(open.pool).await;
            let memory = open.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if memory != ReadMemory::default()
                && let Err(error) =
                    self.lake.replace_json(&path::read_memory(&open.chain.name), &memory).await
            {
                tracing::warn!("{error}");
            }
            // Answers that contradict each other must not be believed again; those of an unfinished day are worth keeping.
            let is_contradicted = done.iter().any(|outcome| outcome.reason == Some(Reason::BadAnswer));
            if let Some(journal) = open.pool.end()
                && (is_contradicted || done.iter().all(Outcome::is_done))
                && let Err(error) = journal.close().await
            {
                tracing::warn!("{error}");
            }
            if let Some(share) = share
                && let Err(error) = share.claims.end(self.lake, name, date, ended(&done)).await
            {
                tracing::warn!("{error}");
            }
            self.schedule.note(self.lake, name, date, &done).await;
            if done.iter().any(|outcome| outcome.reason == Some(Reason::Store))
                && let Err(error) = self.lake.check_writable().await
            {
                self.schedule.stop_without_lake(error.to_string());
            }
            open.progress.note(open.pool.asked());
            open.progress.end_day(date, &done);
            gone.outcomes.extend(done);
        }
        gone
    }

    async fn day(
        &self,
        open: &OpenChain<'_>,
        day: &DayTasks<'a>,
        was_cut_off: bool,
        layouts: &mut BTreeMap<&'a str, LayoutHistory>,
    ) -> Vec<Outcome> {
        if day.tasks.is_empty() && day.awaiting_blocks.is_empty() && !day.wants_prices {
            return Vec::new();
        }
        let blocks = match self.day_blocks(open, day.window).await {
            Ok(blocks) => blocks,
            Err(failure) => return fail_all(day, &failure),
        };
        let (Some(span), Some(last)) = (blocks.span(), blocks.last) else {
            let no_block = |(unit, set): &(Unit<'_>, Dataset)| {
                Outcome::settled(&unit.csu.id, day.window.day, *set, Status::NoBlock)
            };
            return day.tasks.iter().map(no_block).chain(day.awaiting_blocks.iter().cloned()).collect();
        };

        let mut outcomes = day.awaiting_blocks.clone();
        let mut of_set: BTreeMap<Dataset, Vec<Unit<'a>>> = BTreeMap::new();
        for &(unit, set) in &day.tasks {
            if unit.csu.deployed_block.is_some_and(|deployed| deployed > last.number) {
                outcomes.push(Outcome::settled(&unit.csu.id, day.window.day, set, Status::NotDeployed));
            } else {
                of_set.entry(set).or_default().push(unit);
            }
        }
        let work = DayWork { open, day: &blocks.day, span, before: blocks.before, last, was_cut_off };
        // Where no task is open, some CSU's objects are there already.
        if day.wants_prices && (day.tasks.is_empty() || !of_set.is_empty()) {
            self.price_book(&work).await;
        }
        let snapshots = of_set.remove(&Dataset::Tvl).unwrap_or_default();
        // Where logs list the markets, the day's scan comes first: it brings the logs of the day's new markets with it.
        let is_listed_by_logs = |unit: &Unit<'_>| unit.family.history(unit.csu).is_some();
        let (later, at_once): (Vec<_>, Vec<_>) = snapshots.into_iter().partition(is_listed_by_logs);
        let mut confirmed = BTreeMap::new();
        outcomes.extend(self.snapshots(&work, &at_once, layouts, &mut confirmed).await);
        let wanted = of_set.remove(&Dataset::Liquidations).unwrap_or_default();
        let scans = self.with_those_of_their_scan(&work, &wanted).await;
        for unit in &scans {
            let id = unit.csu.id.as_str();
            // A snapshot that was written before shows whether the remembered layout held at its block.
            let known = layouts.get(id).and_then(|history| history.range(..=day.window.day).next_back());
            if let (Some((_, layout)), false) = (known, confirmed.contains_key(id)) {
                let calls = self.stored_calls(unit.csu, day.window.day, last).await;
                if !calls.is_empty() && unit.family.confirm(unit.csu, layout, &Answers::new(&calls)).is_ok() {
                    confirmed.insert(id, layout.clone());
                }
            }
        }
        let scanned = self.liquidations(&work, &scans, &confirmed).await;
        let is_wanted = |outcome: &Outcome| wanted.iter().any(|unit| unit.csu.id == outcome.csu);
        outcomes.extend(scanned.into_iter().filter(is_wanted));
        if !later.is_empty() {
            outcomes.extend(self.snapshots(&work, &later, layouts, &mut confirmed).await);
        }
        outcomes
    }
}
