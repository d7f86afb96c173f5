//! Collecting a run: chains side by side, days one after the other, each day's objects whole or not at all.

mod caught;
mod days;
mod standing;

use crate::boundary::{Boundaries, BoundaryError};
use crate::ledger::{self, Effort, Failure, Outcome};
use crate::plan::costs::Costs;
use crate::reads::{ReadMemory, Reader};
use crate::report::{ChainProgress, Progress};
use crate::rpc::journal::Journal;
use crate::rpc::pool::{Pool, PoolError};
use crate::rpc::providers::Providers;
use crate::rpc::recording::Recorder;
use crate::rpc::tally::{Asked, Purpose};
use crate::schedule::{OwnFirst, Schedule};
use days::GoneThrough;
use lake::Lake;
use lake::bronze::{CsuOfDay, DayOfChain, ReadsAtBlock};
use lake::day::{Day, DayWindow};
use lake::path::BronzeKey;
use lake::registry::{Chain, Csu};
use lake::run::Run;
use lake::status::{AuditLevel, Dataset, Reason, Status};
use protocols::{Family, Layout};
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

pub(crate) use days::DayWork;

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
        self.progress.advance(blocks, self.pool.asked());
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
        if let Err(error) = self.lake.sweep_unfinished() {
            collected.warnings.push(error.to_string());
        }
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

    async fn chain(&self, chain: &'a Chain, units: Vec<Unit<'a>>, first: &OwnFirst) -> Collected {
        let own_first = first.begin();
        let (days, settled) = self.open_days(chain, &units).await;
        let mut collected = Collected { outcomes: settled, ..Collected::default() };
        let left = collected.outcomes.iter().filter(|outcome| !outcome.is_done()).map(|outcome| outcome.date);
        let unfinished: BTreeSet<Day> = days.iter().map(|day| day.window.day).chain(left).collect();
        let finished = self.run.days.days().filter(|day| !unfinished.contains(day)).collect();
        if let Err(error) = Journal::sweep(self.lake, &chain.name, &finished).await {
            collected.warnings.push(error.to_string());
        }
        if let Some(share) = self.schedule.share()
            && let Err(error) = share.claims.sweep(self.lake, &chain.name, &finished).await
        {
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

    /// The ledger is a memory: what cannot be written there is told once, and no more.
    async fn record(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            if let Err(error) = ledger::record(self.lake, outcome).await {
                tracing::warn!("{error}");
                return;
            }
        }
    }
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
