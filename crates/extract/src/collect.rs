//! Collecting a run: chains side by side, days one after the other, each day's objects whole or not at all.

use crate::boundary::{Boundaries, BoundaryError};
use crate::claim::Turn;
use crate::ledger::{self, Effort, Failure, Outcome};
use crate::plan::costs::Costs;
use crate::reads::{ReadMemory, Reader};
use crate::report::{ChainProgress, Progress};
use crate::rpc::journal::Journal;
use crate::rpc::pool::{Pool, PoolError};
use crate::rpc::providers::Providers;
use crate::rpc::recording::Recorder;
use crate::rpc::tally::{Asked, Purpose};
use crate::rpc::trust::Distrust;
use crate::schedule::{OwnFirst, Schedule, ended};
use crate::shard::{Never, never};
use lake::Lake;
use lake::bronze::{
    BronzeError, CallRecord, CsuOfDay, DayBlocks, DayOfChain, Header, LiquidationLogs, ReadsAtBlock, Record,
    TvlSnapshot,
};
use lake::day::{Day, DayWindow};
use lake::ledger::LedgerEntry;
use lake::path::{self, BronzeKey};
use lake::registry::{Chain, Csu};
use lake::run::Run;
use lake::span::BlockSpan;
use lake::status::{AuditLevel, Dataset, Reason, Status};
use protocols::{Answers, Family, Layout};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is needed to collect a run.
pub struct Collector<'a> {
    /// The run.
    pub run: &'a Run,
    /// The lake to write to.
    pub lake: &'a Lake,
    /// The endpoints.
    pub providers: &'a Providers,
    /// Keeps exchanges, for a recording.
    pub recorder: Option<Arc<Recorder>>,
    /// Requests under way at once, a chain; in a scan, an endpoint of those that share it.
    pub at_once: usize,
    /// How far scans are checked against other operators, where there are any.
    pub audit: AuditLevel,
    /// Tells a person how far it is.
    pub progress: &'a Progress,
    /// Which days this process goes through, and in which order.
    pub schedule: &'a Schedule,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Collected {
    /// Every task of the run.
    pub outcomes: Vec<Outcome>,
    /// What each endpoint was asked, by label.
    pub asked: BTreeMap<String, Asked>,
    /// Endpoints that were left out, and why.
    pub warnings: Vec<String>,
    /// Chains that could not begin until a person changes something.
    pub unusable: Vec<PoolError>,
    /// Chains on which something was to be done.
    pub chains_tried: usize,
    /// Days that are another shard's: no gap of this one's.
    pub elsewhere: Vec<Elsewhere>,
    /// Days that were not begun, because the run was told to stop.
    pub not_begun: Vec<(String, Day)>,
}

/// A day of a chain that another shard is at work on, has tried, or will begin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Elsewhere {
    /// Chain.
    pub chain: String,
    /// Day.
    pub date: Day,
    /// The shard, `K/N`.
    pub shard: String,
}

/// A CSU with its family.
#[derive(Clone, Copy)]
pub(crate) struct Unit<'a> {
    pub(crate) csu: &'a Csu,
    pub(crate) family: &'static dyn Family,
}

/// What is to be done on one day of a chain.
pub(crate) struct DayTasks<'a> {
    pub(crate) window: DayWindow,
    pub(crate) tasks: Vec<(Unit<'a>, Dataset)>,
    /// Outcomes of objects that are there, but whose day has lost its blocks object.
    awaiting_blocks: Vec<Outcome>,
    /// Whether the chain's price book is to be collected.
    pub(crate) wants_prices: bool,
}

/// What became of days that were gone through.
#[derive(Default)]
struct GoneThrough<'a> {
    outcomes: Vec<Outcome>,
    /// Days that another shard is at work on or has tried, and that shard.
    held: Vec<(DayTasks<'a>, String)>,
    /// Days that were not begun, because the run was told to stop.
    not_begun: Vec<Day>,
}

/// A chain that is open for questions.
pub(crate) struct OpenChain<'a> {
    pub(crate) chain: &'a Chain,
    pub(crate) pool: &'a Pool,
    pub(crate) boundaries: Boundaries<'a>,
    pub(crate) progress: &'a ChainProgress,
    /// What went wrong with price books.
    pub(crate) without_prices: Mutex<Vec<String>>,
    memory: Arc<Mutex<ReadMemory>>,
    /// Days whose logs were scanned, and listings of contracts.
    pub(crate) scanned: AtomicU64,
    listings: Arc<AtomicU64>,
}

impl OpenChain<'_> {
    /// A reader of the chain's contracts, with what was learned of how to read them.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::new(self.pool, self.chain).remembering(&self.memory).counting(&self.listings)
    }

    /// What the searches and listings of this run have cost, beside what is known. Requests that were made again would
    /// count as cost, so nothing is learned of a purpose that had any.
    fn costs(&self, mut known: Costs) -> Costs {
        let asked = self.pool.asked();
        let sum = |purpose: Purpose, method: &'static str| {
            let is_clean = asked.values().all(|asked| asked.again_for(purpose) == 0);
            let sent = asked.values().filter_map(|asked| asked.counts().get(&(purpose, method)));
            is_clean.then(|| sent.map(|count| count.sent).sum::<u64>())
        };
        let (header, call) = ("eth_getBlockByNumber", "eth_call");
        for (mean, of, requests) in [
            (&mut known.boundary, self.boundaries.searched(), sum(Purpose::Boundary, header)),
            (&mut known.witness, self.scanned.load(Ordering::Relaxed), sum(Purpose::Witness, header)),
            (&mut known.listing, self.listings.load(Ordering::Relaxed), sum(Purpose::Discovery, call)),
        ] {
            if let Some(requests) = requests {
                mean.add(of, requests);
            }
        }
        known
    }

    /// So many blocks more are done, at what cost so far.
    pub(crate) fn advance(&self, blocks: u64) {
        let asked = self.pool.asked();
        let units = asked.values().map(Asked::units).sum();
        let again = asked.values().map(Asked::again).sum();
        self.progress.advance(blocks, units, again);
    }
}

/// Layouts of one CSU by the day at whose end they were found. A day uses the latest that is not later than itself, so
/// that the questions of a day do not depend on which days were collected before.
pub(crate) type LayoutHistory = BTreeMap<Day, Layout>;

impl<'a> Collector<'a> {
    /// The run's CSUs with their families, by chain; and the outcomes of those whose family this build does not know.
    pub(crate) fn units_by_chain(&self) -> (Vec<(&'a Chain, Vec<Unit<'a>>)>, Vec<Outcome>) {
        let mut by_chain: BTreeMap<&str, Vec<Unit<'a>>> = BTreeMap::new();
        let mut outcomes = Vec::new();
        for csu in self.run.csus() {
            if let Some(family) = protocols::family(&csu.family) {
                by_chain.entry(&csu.chain).or_default().push(Unit { csu, family });
                continue;
            }
            let failure = Failure {
                status: Status::Unsupported,
                reason: Reason::DiscoveryFailed,
                message: format!("this build knows no family `{}`", csu.family),
            };
            for day in self.run.days.days() {
                for &set in &self.run.datasets {
                    outcomes.push(Outcome::unfinished(&csu.id, day, set, &failure, Effort::default()));
                }
            }
        }
        let with_chain = |(name, units)| Some((self.run.registry.chain(name)?, units));
        (by_chain.into_iter().filter_map(with_chain).collect(), outcomes)
    }

    /// Collects everything of the run that is not there yet.
    ///
    /// Each task ends as an [`Outcome`]; one task's failure is no other's.
    pub async fn collect(&self) -> Collected {
        let (chains, outcomes) = self.units_by_chain();
        let mut collected = Collected { outcomes, ..Collected::default() };
        let first = OwnFirst::of(chains.len());
        let chains = chains.into_iter();
        let parts =
            futures::future::join_all(chains.map(|(chain, units)| self.chain(chain, units, &first))).await;
        for part in parts {
            collected.outcomes.extend(part.outcomes);
            collected.asked.extend(part.asked);
            collected.warnings.extend(part.warnings);
            collected.unusable.extend(part.unusable);
            collected.chains_tried += part.chains_tried;
            collected.elsewhere.extend(part.elsewhere);
            collected.not_begun.extend(part.not_begun);
        }
        collected.elsewhere.sort();
        collected.outcomes.sort_by(|a, b| (&a.csu, a.date, a.dataset).cmp(&(&b.csu, b.date, b.dataset)));
        collected
    }

    /// The days of a chain on which something is to be done, and the outcomes that stand already.
    pub(crate) async fn open_days(
        &self,
        chain: &'a Chain,
        units: &[Unit<'a>],
    ) -> (Vec<DayTasks<'a>>, Vec<Outcome>) {
        let (mut days, mut settled) = (Vec::new(), Vec::new());
        for day in self.run.days.days() {
            // The run was loaded with windows for all its days.
            let Ok(window) = self.run.zone.window(day) else { continue };
            let (mut tasks, mut stored, mut awaiting_blocks) = (Vec::new(), Vec::new(), Vec::new());
            for unit in units {
                for &dataset in &self.run.datasets {
                    match self.standing(chain, unit.csu, window, dataset).await {
                        Standing::Open => tasks.push((*unit, dataset)),
                        Standing::Settled(outcome) if outcome.status == Status::Collected => {
                            stored.push(outcome)
                        }
                        Standing::Settled(outcome) => settled.push(outcome),
                    }
                }
            }
            let has_state = !tasks.is_empty() || !stored.is_empty();
            let wants_prices = has_state && self.lacks_price_book(chain, window).await;
            if !stored.is_empty() {
                // An object without its day's proven blocks is of no use to `transform`.
                match self.stored_blocks(chain, window).await {
                    Ok(Some(_)) => settled.append(&mut stored),
                    Ok(None) => awaiting_blocks = stored,
                    Err(failure) => {
                        settled.extend(stored.iter().map(|outcome| without_blocks(outcome, &failure)))
                    }
                }
            }
            if !tasks.is_empty() || !awaiting_blocks.is_empty() || wants_prices {
                days.push(DayTasks { window, tasks, awaiting_blocks, wants_prices });
            }
        }
        (days, settled)
    }

    async fn chain(&self, chain: &'a Chain, units: Vec<Unit<'a>>, first: &OwnFirst) -> Collected {
        let own_first = first.begin();
        let (days, settled) = self.open_days(chain, &units).await;
        let mut collected = Collected { outcomes: settled, ..Collected::default() };
        let unfinished = days.iter().map(|day| day.window.day).collect();
        if let Err(error) = Journal::sweep(self.lake, &chain.name, &unfinished).await {
            collected.warnings.push(error.to_string());
        }
        collected.warnings.extend(self.price_book_warnings(chain).await);
        if days.is_empty() {
            return collected;
        }
        let until = days.iter().map(|day| day.window.end).max().unwrap_or(0);
        let (own, others) = self.schedule.divide(&chain.name, days, |day| day.window.day);
        collected.chains_tried = usize::from(!own.is_empty());
        let pool = match Pool::open(chain, self.providers, self.lake, self.recorder.clone()).await {
            Ok(pool) => pool,
            Err(error) => {
                collected.outcomes.extend(self.fail_days(&own, &Failure::from(&error)).await);
                collected.elsewhere.extend(others.iter().map(|day| self.left_to_its_owner(chain, day)));
                if error.is_configuration() && !own.is_empty() {
                    collected.unusable.push(error);
                }
                return collected;
            }
        };
        match pool.finalized(chain.finality_blocks, until).await {
            Err(error) => {
                collected.outcomes.extend(self.fail_days(&own, &Failure::from(&error)).await);
                collected.elsewhere.extend(others.iter().map(|day| self.left_to_its_owner(chain, day)));
            }
            Ok(head) => {
                let progress = self.progress.chain(&chain.name, own.len());
                let boundaries = Boundaries::new(&pool, chain, head);
                let memory = Arc::new(Mutex::new(self.remembered_reads(chain).await));
                let open = OpenChain {
                    chain,
                    pool: &pool,
                    boundaries,
                    progress: &progress,
                    memory,
                    without_prices: Mutex::default(),
                    scanned: AtomicU64::new(0),
                    listings: Arc::default(),
                };
                let mut gone = self.days(&open, &units, own).await;
                drop(own_first);
                let is_spent = gone.outcomes.iter().any(|outcome| outcome.reason == Some(Reason::Budget));
                if is_spent {
                    collected.elsewhere.extend(others.iter().map(|day| self.left_to_its_owner(chain, day)));
                } else if !others.is_empty() || !gone.held.is_empty() {
                    first.all_done().await;
                    self.take_over(&open, &units, others, &mut gone).await;
                }
                collected.outcomes.extend(gone.outcomes);
                self.again_without_the_caught(&open, &units, &mut collected.outcomes).await;
                let name = || chain.name.clone();
                let elsewhere = gone.held.into_iter().map(|(day, shard)| Elsewhere {
                    chain: name(),
                    date: day.window.day,
                    shard,
                });
                collected.elsewhere.extend(elsewhere);
                collected.not_begun.extend(gone.not_begun.into_iter().map(|day| (name(), day)));
                let costs = open.costs(Costs::of(self.lake, &chain.name).await);
                if let Err(error) = costs.keep(self.lake, &chain.name).await {
                    tracing::warn!("{error}");
                }
                let without_prices = open.without_prices.into_inner();
                collected.warnings.extend(without_prices.unwrap_or_else(PoisonError::into_inner));
            }
        }
        collected.asked = pool.asked();
        collected.warnings.extend(pool.warnings());
        self.keep_state(&pool).await;
        collected
    }

    /// Goes through days of other shards that nobody has begun, that were abandoned or ran out of budget, until a round finds
    /// none.
    async fn take_over(
        &self,
        open: &OpenChain<'_>,
        units: &[Unit<'a>],
        others: Vec<DayTasks<'a>>,
        gone: &mut GoneThrough<'a>,
    ) {
        let mut days: Vec<DayTasks<'a>> =
            std::mem::take(&mut gone.held).into_iter().map(|(day, _)| day).chain(others).collect();
        loop {
            let asked = days.len();
            let round = self.days(open, units, days).await;
            gone.outcomes.extend(round.outcomes);
            gone.not_begun.extend(round.not_begun);
            if round.held.is_empty() || round.held.len() == asked || self.schedule.is_stopping() {
                gone.held = round.held;
                return;
            }
            days = round.held.into_iter().map(|(day, _)| day).collect();
        }
    }

    fn left_to_its_owner(&self, chain: &Chain, day: &DayTasks<'_>) -> Elsewhere {
        let (chain, date) = (chain.name.clone(), day.window.day);
        let shard = self.schedule.share().map_or_else(String::new, |share| share.owner(&chain, date));
        Elsewhere { chain, date, shard }
    }

    /// Keeps what was spent and what was learned. Both are memories: what cannot be written is told, and no more.
    async fn keep_state(&self, pool: &Pool) {
        for purse in self.providers.purses() {
            if let Err(error) = purse.keep().await {
                tracing::warn!("{error}");
            }
        }
        if let Err(error) = pool.keep(self.lake).await {
            tracing::warn!("{error}");
        }
    }

    async fn fail_days(&self, days: &[DayTasks<'a>], failure: &Failure) -> Vec<Outcome> {
        let outcomes: Vec<Outcome> = days.iter().flat_map(|day| fail_all(day, failure)).collect();
        self.record(&outcomes).await;
        outcomes
    }

    /// The ledger is a memory: what cannot be written there is told, and no more.
    async fn record(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Err(error) = ledger::record(self.lake, outcome).await {
                tracing::warn!("{error}");
            }
        }
    }

    /// Collects the days of a chain, one after the other. Each is looked at again when its turn comes: another run on the
    /// lake may have finished it. Where the run is divided, a day is claimed first.
    async fn days(
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
                    Standing::Settled(outcome) => done.push(outcome),
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
                Ok(journal) => {
                    open.pool.begin(journal);
                    let work = self.day(open, &day, &mut layouts);
                    done.extend(match share {
                        None => work.await,
                        Some(share) => tokio::select! {
                            done = work => done,
                            never = share.claims.renew(self.lake, name, date) => match never {},
                        },
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
            if let Some(journal) = open.pool.journal()
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
            open.progress.end_day(date, &done);
            gone.outcomes.extend(done);
        }
        gone
    }

    /// Collects again, without the endpoints that were caught, what rests on their answers: days of this run whose objects
    /// were written before, by this or by an earlier run.
    async fn again_without_the_caught(
        &self,
        open: &OpenChain<'_>,
        units: &[Unit<'a>],
        outcomes: &mut Vec<Outcome>,
    ) {
        let mut known: BTreeSet<(String, Distrust)> = BTreeSet::new();
        loop {
            let caught = open.pool.distrusted().into_iter().map(|caught| (caught.refusal.label, caught.of));
            let caught: BTreeSet<(String, Distrust)> =
                caught.filter(|caught| !known.contains(caught)).collect();
            if caught.is_empty() {
                return;
            }
            known.extend(caught.iter().cloned());
            let doubtful = self.resting_on(&caught, outcomes).await;
            let doubtful_books = self.price_books_resting_on(open.chain, &caught).await;
            if doubtful.is_empty() && doubtful_books.is_empty() {
                continue;
            }
            for date in &doubtful_books {
                let key = BronzeKey::Prices { chain: open.chain.name.clone(), date: *date };
                if let Err(error) = self.lake.delete(&key.path()).await {
                    tracing::warn!("{error}");
                }
            }
            for (csu, date, dataset) in &doubtful {
                let path = BronzeKey::of(*dataset, csu, *date).path();
                if let Err(error) = self.lake.delete(&path).await {
                    tracing::warn!("{error}");
                }
            }
            let is_doubtful =
                |csu: &str, date: Day, set: Dataset| doubtful.contains(&(csu.to_owned(), date, set));
            let (mut days, _) = self.open_days(open.chain, units).await;
            for day in &mut days {
                let date = day.window.day;
                day.tasks.retain(|(unit, set)| is_doubtful(&unit.csu.id, date, *set));
                day.awaiting_blocks.clear();
                day.wants_prices &= doubtful_books.contains(&date);
            }
            days.retain(|day| !day.tasks.is_empty() || day.wants_prices);
            outcomes.retain(|outcome| !is_doubtful(&outcome.csu, outcome.date, outcome.dataset));
            outcomes.extend(self.days(open, units, days).await.outcomes);
        }
    }

    /// Collected tasks that rest on what these endpoints are not believed, as this run knows or the ledger remembers.
    async fn resting_on(
        &self,
        caught: &BTreeSet<(String, Distrust)>,
        outcomes: &[Outcome],
    ) -> BTreeSet<(String, Day, Dataset)> {
        let mut doubtful = BTreeSet::new();
        for outcome in outcomes.iter().filter(|outcome| outcome.status == Status::Collected) {
            let (rests_on, logs_from) = match &outcome.effort {
                Some(effort) => (effort.endpoints.clone(), effort.logs_from.clone()),
                None => {
                    let path = path::ledger_entry(outcome.dataset, &outcome.csu, outcome.date);
                    let Ok(Some(bytes)) = self.lake.get(&path).await else { continue };
                    let Ok(entry) = serde_json::from_slice::<LedgerEntry>(&bytes) else { continue };
                    // The ledger does not say who gave the logs and who the reads: it may have been any of them.
                    let all: BTreeSet<String> = entry.endpoints.into_iter().collect();
                    (all.clone(), all)
                }
            };
            let is_doubtful = |(label, of): &(String, Distrust)| match (of, outcome.dataset) {
                (Distrust::Everything, _) => rests_on.contains(label),
                (Distrust::Logs, Dataset::Liquidations) => logs_from.contains(label),
                (Distrust::Logs, Dataset::Tvl) => false,
            };
            if caught.iter().any(is_doubtful) {
                doubtful.insert((outcome.csu.clone(), outcome.date, outcome.dataset));
            }
        }
        doubtful
    }

    async fn day(
        &self,
        open: &OpenChain<'_>,
        day: &DayTasks<'a>,
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
        let work = DayWork { open, day: &blocks.day, span, before: blocks.before, last };
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
        let scans = of_set.remove(&Dataset::Liquidations).unwrap_or_default();
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
        outcomes.extend(self.liquidations(&work, &scans, &confirmed).await);
        if !later.is_empty() {
            outcomes.extend(self.snapshots(&work, &later, layouts, &mut confirmed).await);
        }
        outcomes
    }

    /// What stands already, from the lake and the registry alone.
    async fn standing(&self, chain: &Chain, csu: &Csu, window: DayWindow, dataset: Dataset) -> Standing {
        let settled = |status| Standing::Settled(Outcome::settled(&csu.id, window.day, dataset, status));
        match never(chain, csu, window) {
            Some(Never::Retired) => return settled(Status::Retired),
            Some(Never::NotDeployed) => return settled(Status::NotDeployed),
            None => {}
        }
        let of = csu_of_day(csu, self.day_of_chain(chain, window));
        let standing = match dataset {
            Dataset::Tvl => {
                self.stored::<TvlSnapshot>(dataset, csu, window.day, |record| record.of == of).await
            }
            Dataset::Liquidations => {
                self.stored::<LiquidationLogs>(dataset, csu, window.day, |record| record.of == of).await
            }
        };
        match standing {
            Ok(true) => settled(Status::Collected),
            Ok(false) => Standing::Open,
            Err(failure) => Standing::Settled(Outcome::unfinished(
                &csu.id,
                window.day,
                dataset,
                &failure,
                Effort::default(),
            )),
        }
    }

    /// Whether a sound object of exactly this task is in the lake.
    async fn stored<R: Record>(
        &self,
        dataset: Dataset,
        csu: &Csu,
        date: Day,
        is_of: impl Fn(&R) -> bool,
    ) -> Result<bool, Failure> {
        let key = BronzeKey::of(dataset, &csu.id, date);
        let Some(bytes) = self.lake.get(&key.path()).await? else { return Ok(false) };
        let record = R::from_bytes(&bytes).map_err(|error| bad_object(&key, &error.to_string()))?;
        if is_of(&record) {
            return Ok(true);
        }
        Err(bad_object(&key, "it is of another CSU, chain, day or time zone than its path and the run say"))
    }

    pub(crate) fn day_of_chain(&self, chain: &Chain, window: DayWindow) -> DayOfChain {
        DayOfChain {
            chain: chain.name.clone(),
            chain_id: chain.chain_id,
            date: window.day,
            zone: self.run.zone.name().to_owned(),
            day_start: window.start,
            day_end: window.end,
        }
    }

    /// The day's blocks object, if there is a sound one of exactly this day.
    async fn stored_blocks(&self, chain: &Chain, window: DayWindow) -> Result<Option<DayBlocks>, Failure> {
        let key = BronzeKey::Blocks { chain: chain.name.clone(), date: window.day };
        let Some(bytes) = self.lake.get(&key.path()).await? else { return Ok(None) };
        let blocks = DayBlocks::from_bytes(&bytes).map_err(|error| bad_object(&key, &error.to_string()))?;
        if blocks.day != self.day_of_chain(chain, window) {
            let why = "it is of another chain, day or time zone than its path and the run say";
            return Err(bad_object(&key, why));
        }
        Ok(Some(blocks))
    }

    async fn day_blocks(&self, open: &OpenChain<'_>, window: DayWindow) -> Result<DayBlocks, Failure> {
        if let Some(blocks) = self.stored_blocks(open.chain, window).await? {
            return Ok(blocks);
        }
        // Neighbouring days share a boundary, and theirs is proven.
        for day in [window.day.previous(), window.day.next()] {
            if let Ok(window) = self.run.zone.window(day)
                && let Ok(Some(blocks)) = self.stored_blocks(open.chain, window).await
            {
                open.boundaries.know(&blocks);
            }
        }
        let key = BronzeKey::Blocks { chain: open.chain.name.clone(), date: window.day };
        let blocks =
            open.boundaries.of_day(window, &self.run.zone).await.map_err(|error| failure_of(&error))?;
        self.write(&key, &blocks).await?;
        Ok(blocks)
    }

    pub(crate) async fn write(&self, key: &BronzeKey, record: &impl Record) -> Result<(), Failure> {
        let bytes = record.to_bytes().map_err(|error: BronzeError| Failure::new(Reason::BadAnswer, error))?;
        self.lake.put_once(&key.path(), bytes).await?;
        Ok(())
    }

    /// The calls of a day's stored snapshot, if it is of this block: from them the layout of that block can be told without
    /// asking again.
    pub(crate) async fn stored_calls(&self, csu: &Csu, date: Day, block: Header) -> Vec<CallRecord> {
        let key = BronzeKey::of(Dataset::Tvl, &csu.id, date);
        // Only a shortcut: what cannot be read is asked for.
        let Ok(Some(bytes)) = self.lake.get(&key.path()).await else { return Vec::new() };
        match TvlSnapshot::from_bytes(&bytes) {
            Ok(snapshot) if snapshot.reads.block == block => snapshot.reads.calls,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    pub(crate) async fn remembered_reads(&self, chain: &Chain) -> ReadMemory {
        // As with layouts: what cannot be read is learned again.
        match self.lake.get(&path::read_memory(&chain.name)).await {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) | Err(_) => ReadMemory::default(),
        }
    }

    pub(crate) async fn remembered_layouts(&self, csu: &Csu) -> LayoutHistory {
        // A memory that cannot be read is no memory: the contracts are found again.
        match self.lake.get(&path::layout_cache(&csu.id)).await {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(None) | Err(_) => LayoutHistory::new(),
        }
    }
}

enum Standing {
    Settled(Outcome),
    Open,
}

/// One day of an open chain, with its blocks.
pub(crate) struct DayWork<'w> {
    pub(crate) open: &'w OpenChain<'w>,
    pub(crate) day: &'w DayOfChain,
    pub(crate) span: BlockSpan,
    /// Last block before the day; `None` on a chain that began on it.
    pub(crate) before: Option<Header>,
    pub(crate) last: Header,
}

pub(crate) fn failure_of(error: &BoundaryError) -> Failure {
    match error {
        BoundaryError::Pool(pool) => Failure::from(pool),
        BoundaryError::NotFinal { .. } => Failure::new(Reason::NotFinal, error),
        BoundaryError::Disorder { .. } => Failure::new(Reason::BadAnswer, error),
    }
}

fn fail_all(day: &DayTasks<'_>, failure: &Failure) -> Vec<Outcome> {
    let unfinished = |(unit, set): &(Unit<'_>, Dataset)| {
        Outcome::unfinished(&unit.csu.id, day.window.day, *set, failure, Effort::default())
    };
    let awaiting = day.awaiting_blocks.iter().map(|outcome| without_blocks(outcome, failure));
    day.tasks.iter().map(unfinished).chain(awaiting).collect()
}

/// The outcome of an object that is there, on a day whose blocks cannot be had.
fn without_blocks(outcome: &Outcome, failure: &Failure) -> Outcome {
    Outcome::unfinished(&outcome.csu, outcome.date, outcome.dataset, failure, Effort::default())
}

pub(crate) fn collected(csu: &Csu, date: Day, dataset: Dataset, effort: Effort) -> Outcome {
    Outcome { effort: Some(effort), ..Outcome::settled(&csu.id, date, dataset, Status::Collected) }
}

pub(crate) fn effort_of(reads: &[&ReadsAtBlock]) -> Effort {
    let calls = || reads.iter().flat_map(|reads| &reads.calls);
    Effort {
        calls_planned: calls().count() as u64,
        calls_ok: calls().filter(|call| call.ok && !call.output.is_empty()).count() as u64,
        ..Effort::default()
    }
}

pub(crate) fn csu_of_day(csu: &Csu, day: DayOfChain) -> CsuOfDay {
    CsuOfDay { csu: csu.id.clone(), family: csu.family.clone(), entry: csu.entry, day }
}

pub(crate) fn bad_object(key: &BronzeKey, why: &str) -> Failure {
    let message = format!("{key} cannot be used: {why}\nhint: look at it, then delete it and run again");
    Failure::new(Reason::BadObject, message)
}
