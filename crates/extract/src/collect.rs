//! Collecting a run: chains side by side, days one after the other, each day's objects whole or not at all.

use crate::boundary::{Boundaries, BoundaryError};
use crate::ledger::{self, Effort, Failure, Outcome};
use crate::reads::Reader;
use crate::report::{ChainProgress, Progress};
use crate::rpc::pool::{Pool, PoolError, Scan};
use crate::rpc::providers::Providers;
use crate::rpc::recording::Recorder;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lake::Lake;
use lake::bronze::{
    BronzeError, CallRecord, CsuOfDay, DayBlocks, DayOfChain, Header, LiquidationLogs, LogFilter, RawLog,
    ReadsAtBlock, Record, TvlSnapshot,
};
use lake::day::{Day, DayWindow};
use lake::path::{self, BronzeKey};
use lake::registry::{Chain, Csu};
use lake::run::Run;
use lake::span::{BlockSpan, Coverage};
use lake::status::{Dataset, Reason, Status};
use protocols::{Answers, Call, Discovery, Family, Layout};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Steps of discovery after which a family is taken to be going in circles.
const DISCOVERY_STEPS: usize = 16;
/// A day so many seconds before the registry's day of deployment is before it, however rough that date is.
const DEPLOYMENT_DATE_SLACK: i64 = 3 * 86_400;

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
    /// Requests under way at once, a chain.
    pub at_once: usize,
    /// Tells a person how far it is.
    pub progress: &'a Progress,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct Collected {
    /// Every task of the run.
    pub outcomes: Vec<Outcome>,
    /// Requests sent, by endpoint label and method.
    pub asked: BTreeMap<String, BTreeMap<String, u64>>,
    /// Endpoints that were left out, and why.
    pub warnings: Vec<String>,
    /// Chains that could not begin until a person changes something.
    pub unusable: Vec<PoolError>,
    /// Chains on which something was to be done.
    pub chains_tried: usize,
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
}

/// A chain that is open for questions.
struct OpenChain<'a> {
    chain: &'a Chain,
    pool: &'a Pool,
    boundaries: Boundaries<'a>,
    progress: &'a ChainProgress,
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
        let chains = chains.into_iter();
        let parts = futures::future::join_all(chains.map(|(chain, units)| self.chain(chain, units))).await;
        for part in parts {
            collected.outcomes.extend(part.outcomes);
            collected.asked.extend(part.asked);
            collected.warnings.extend(part.warnings);
            collected.unusable.extend(part.unusable);
            collected.chains_tried += part.chains_tried;
        }
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
            if !tasks.is_empty() || !awaiting_blocks.is_empty() {
                days.push(DayTasks { window, tasks, awaiting_blocks });
            }
        }
        (days, settled)
    }

    async fn chain(&self, chain: &'a Chain, units: Vec<Unit<'a>>) -> Collected {
        let (days, settled) = self.open_days(chain, &units).await;
        let mut collected = Collected { outcomes: settled, ..Collected::default() };
        if days.is_empty() {
            return collected;
        }
        collected.chains_tried = 1;
        let pool =
            Pool::open(chain, &self.providers.endpoints, &self.providers.left_out, self.recorder.clone())
                .await;
        let outcomes = match &pool {
            Err(error) => {
                let failure = Failure::from(error);
                days.iter().flat_map(|day| fail_all(day, &failure)).collect()
            }
            Ok(pool) => match pool.finalized(chain.finality_blocks).await {
                Err(error) => {
                    let failure = Failure::from(&error);
                    days.iter().flat_map(|day| fail_all(day, &failure)).collect()
                }
                Ok(head) => {
                    let progress = self.progress.chain(&chain.name, days.len());
                    let boundaries = Boundaries::new(pool, chain, head);
                    let open = OpenChain { chain, pool, boundaries, progress: &progress };
                    self.days(&open, &days).await
                }
            },
        };
        for outcome in &outcomes {
            if let Err(error) = ledger::record(self.lake, outcome).await {
                collected.warnings.push(error.to_string());
            }
        }
        collected.outcomes.extend(outcomes);
        match pool {
            Ok(pool) => {
                collected.asked = pool.asked();
                collected.warnings.extend(pool.warnings());
            }
            Err(error) if error.is_configuration() => collected.unusable.push(error),
            Err(_) => {}
        }
        collected
    }

    async fn days(&self, open: &OpenChain<'_>, days: &[DayTasks<'a>]) -> Vec<Outcome> {
        let mut layouts: BTreeMap<&str, LayoutHistory> = BTreeMap::new();
        for (unit, _) in days.iter().flat_map(|day| &day.tasks) {
            if !layouts.contains_key(unit.csu.id.as_str()) {
                layouts.insert(&unit.csu.id, self.remembered_layouts(unit.csu).await);
            }
        }
        let mut outcomes = Vec::new();
        for day in days {
            open.progress.begin_day(day.window.day);
            let done = self.day(open, day, &mut layouts).await;
            open.progress.end_day(day.window.day, &done);
            for purse in self.providers.purses() {
                if let Err(error) = purse.keep(self.lake).await {
                    tracing::warn!("{error}");
                }
            }
            outcomes.extend(done);
        }
        for (csu, history) in layouts {
            // Only a memory: what is not saved is found again.
            if let Err(error) = self.lake.replace_json(&path::layout_cache(csu), &history).await {
                tracing::warn!("{error}");
            }
        }
        outcomes
    }

    async fn day(
        &self,
        open: &OpenChain<'_>,
        day: &DayTasks<'a>,
        layouts: &mut BTreeMap<&'a str, LayoutHistory>,
    ) -> Vec<Outcome> {
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
        let work = DayWork { open, day: &blocks.day, span, last };
        let snapshots = of_set.remove(&Dataset::Tvl).unwrap_or_default();
        let mut confirmed = BTreeMap::new();
        outcomes.extend(self.snapshots(&work, &snapshots, layouts, &mut confirmed).await);
        let scans = of_set.remove(&Dataset::Liquidations).unwrap_or_default();
        outcomes.extend(self.liquidations(&work, &scans, &confirmed).await);
        outcomes
    }

    /// What stands already, from the lake and the registry alone.
    async fn standing(&self, chain: &Chain, csu: &Csu, window: DayWindow, dataset: Dataset) -> Standing {
        let settled = |status| Standing::Settled(Outcome::settled(&csu.id, window.day, dataset, status));
        if csu.retired_date.is_some_and(|retired| retired < window.day) {
            return settled(Status::Retired);
        }
        if let Some(deployed) = csu.deployed_date {
            let slack = if csu.deployed_block.is_some() { DEPLOYMENT_DATE_SLACK } else { 0 };
            if window.end + slack <= i64::from(deployed.days_since_epoch()) * 86_400 {
                return settled(Status::NotDeployed);
            }
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

    fn day_of_chain(&self, chain: &Chain, window: DayWindow) -> DayOfChain {
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
        let key = BronzeKey::Blocks { chain: open.chain.name.clone(), date: window.day };
        let blocks =
            open.boundaries.of_day(window, &self.run.zone).await.map_err(|error| failure_of(&error))?;
        self.write(&key, &blocks).await?;
        Ok(blocks)
    }

    async fn write(&self, key: &BronzeKey, record: &impl Record) -> Result<(), Failure> {
        let bytes = record.to_bytes().map_err(|error: BronzeError| Failure::new(Reason::BadAnswer, error))?;
        self.lake.put_once(&key.path(), bytes).await?;
        Ok(())
    }

    /// One batch of view calls for all the CSUs, at the snapshot block.
    async fn snapshots(
        &self,
        work: &DayWork<'_>,
        units: &[Unit<'a>],
        layouts: &mut BTreeMap<&'a str, LayoutHistory>,
        confirmed: &mut BTreeMap<&'a str, Layout>,
    ) -> Vec<Outcome> {
        let reader = Reader::new(work.open.pool, work.open.chain);
        let mut outcomes = Vec::new();
        let unfinished = |unit: &Unit<'_>, failure: &Failure| {
            Outcome::unfinished(&unit.csu.id, work.day.date, Dataset::Tvl, failure, Effort::default())
        };
        let mut planned: Vec<(Unit<'a>, Layout, Vec<Call>)> = Vec::new();
        for unit in units {
            match self.layout_for(work, &reader, *unit, layouts).await {
                Ok(layout) => {
                    let calls = unit.family.snapshot(unit.csu, &layout);
                    planned.push((*unit, layout, calls));
                }
                Err(failure) => outcomes.push(unfinished(unit, &failure)),
            }
        }
        let all_calls = planned.iter().flat_map(|(_, _, calls)| calls.iter().cloned()).collect();
        let mut answers = match reader.read(all_calls, work.last.number).await {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                let failure = Failure::from(&error);
                outcomes.extend(planned.iter().map(|(unit, _, _)| unfinished(unit, &failure)));
                return outcomes;
            }
        };
        for (unit, layout, calls) in planned {
            let records = answers.by_ref().take(calls.len()).collect();
            let reads = ReadsAtBlock { block: work.last, calls: records };
            let again = |layout: &Layout| unit.family.snapshot(unit.csu, layout);
            let written = match confirm(&reader, unit, layout, reads, again).await {
                Ok((layout, reads)) => {
                    remember(layouts.entry(&unit.csu.id).or_default(), work.day.date, &layout);
                    confirmed.insert(&unit.csu.id, layout);
                    let effort = Effort { endpoints: reader.labels(), ..effort_of(&[&reads]) };
                    let record = TvlSnapshot { of: csu_of_day(unit.csu, work.day.clone()), reads };
                    let key = BronzeKey::of(Dataset::Tvl, &unit.csu.id, work.day.date);
                    self.write(&key, &record).await.map(|()| effort)
                }
                Err(failure) => Err(failure),
            };
            outcomes.push(match written {
                Ok(effort) => collected(unit.csu, work.day.date, Dataset::Tvl, effort),
                Err(failure) => unfinished(&unit, &failure),
            });
        }
        outcomes
    }

    /// The layout for a snapshot: the latest known for the day, or found at the snapshot block.
    async fn layout_for(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        unit: Unit<'a>,
        layouts: &BTreeMap<&'a str, LayoutHistory>,
    ) -> Result<Layout, Failure> {
        let known =
            layouts.get(unit.csu.id.as_str()).and_then(|history| history.range(..=work.day.date).next_back());
        match known {
            Some((_, layout)) => Ok(layout.clone()),
            None => discover(reader, unit, work.last, Vec::new()).await,
        }
    }

    /// One log scan for all the CSUs, then the oracle reads at the blocks that hold a log.
    async fn liquidations(
        &self,
        work: &DayWork<'_>,
        units: &[Unit<'a>],
        confirmed: &BTreeMap<&'a str, Layout>,
    ) -> Vec<Outcome> {
        let reader = Reader::new(work.open.pool, work.open.chain);
        let mut outcomes = Vec::new();
        let mut planned: Vec<(Unit<'a>, Layout, LogFilter)> = Vec::new();
        for unit in units {
            let layout = match confirmed.get(unit.csu.id.as_str()) {
                Some(layout) => Ok(layout.clone()),
                None => {
                    discover(&reader, *unit, work.last, self.stored_calls(unit.csu, work.day.date).await)
                        .await
                }
            };
            match layout {
                Ok(layout) => {
                    let filter = unit.family.filter(unit.csu, &[&layout]);
                    planned.push((*unit, layout, filter));
                }
                Err(failure) => outcomes.push(Outcome::unfinished(
                    &unit.csu.id,
                    work.day.date,
                    Dataset::Liquidations,
                    &failure,
                    Effort::default(),
                )),
            }
        }
        if planned.is_empty() {
            return outcomes;
        }
        let filter = LogFilter::union(planned.iter().map(|(_, _, filter)| filter));
        let witness = match self.witness(work, &planned).await {
            Ok(witness) => witness,
            Err(failure) => {
                outcomes.extend(planned.iter().map(|(unit, _, _)| {
                    let set = Dataset::Liquidations;
                    Outcome::unfinished(&unit.csu.id, work.day.date, set, &failure, Effort::default())
                }));
                return outcomes;
            }
        };
        work.open.progress.begin_scan(work.span.count());
        let scan = loop {
            let advance = |blocks| work.open.progress.advance(blocks);
            let mut scan = work.open.pool.scan(&filter, work.span, self.at_once, advance).await;
            // Each round without success leaves one endpoint fewer, so the rounds end.
            match &witness {
                Some((filter, span)) if scan.failure.is_none() => {
                    match work.open.pool.have_logs(&scan.endpoints, filter, *span).await {
                        Ok(true) => break scan,
                        Ok(false) => {}
                        Err(error) => {
                            // Unproven: none of its blocks counts as read.
                            scan.covered = Coverage::default();
                            scan.failure = Some(error);
                            break scan;
                        }
                    }
                }
                _ => break scan,
            }
        };
        let read = match scan_failure(&scan, work.span) {
            None => self.event_reads(work, &reader, &planned, &scan.logs).await,
            Some(failure) => Err(failure),
        };
        let scanned = Effort {
            blocks_expected: Some(work.span.count()),
            blocks_scanned: Some(scan.covered.count()),
            endpoints: scan.endpoints.union(&reader.labels()).cloned().collect(),
            ..Effort::default()
        };
        for (unit, _, filter) in planned {
            let result = match &read {
                Err(failure) => Err((failure.clone(), scanned.clone())),
                Ok(reads) => match reads.get(unit.csu.id.as_str()) {
                    Some(Err(failure)) => Err((failure.clone(), scanned.clone())),
                    reads => {
                        let reads = reads.and_then(|reads| reads.as_ref().ok()).cloned().unwrap_or_default();
                        let asked = effort_of(&reads.iter().collect::<Vec<_>>());
                        let effort = Effort {
                            calls_planned: asked.calls_planned,
                            calls_ok: asked.calls_ok,
                            ..scanned.clone()
                        };
                        let record = LiquidationLogs {
                            of: csu_of_day(unit.csu, work.day.clone()),
                            blocks: Some(work.span),
                            logs: scan.logs.iter().filter(|log| filter.matches(log)).cloned().collect(),
                            filter,
                            scanned: scan.covered.clone(),
                            reads,
                        };
                        let key = BronzeKey::of(Dataset::Liquidations, &unit.csu.id, work.day.date);
                        match self.write(&key, &record).await {
                            Ok(()) => Ok(effort),
                            Err(failure) => Err((failure, effort)),
                        }
                    }
                },
            };
            outcomes.push(match result {
                Ok(effort) => collected(unit.csu, work.day.date, Dataset::Liquidations, effort),
                Err((failure, effort)) => {
                    Outcome::unfinished(&unit.csu.id, work.day.date, Dataset::Liquidations, &failure, effort)
                }
            });
        }
        outcomes
    }

    /// Where a log must be, by the word of a CSU's own state at the end of the day: an empty answer is no evidence, but an
    /// endpoint that has this one holds the day's logs. `None` when nothing was touched that day, or no snapshot is there.
    async fn witness(
        &self,
        work: &DayWork<'_>,
        planned: &[(Unit<'a>, Layout, LogFilter)],
    ) -> Result<Option<(LogFilter, BlockSpan)>, Failure> {
        let since = u64::try_from(work.day.day_start).unwrap_or(0);
        for (unit, _, _) in planned {
            let reads =
                ReadsAtBlock { block: work.last, calls: self.stored_calls(unit.csu, work.day.date).await };
            if let Some(witness) = unit.family.witness(unit.csu, &reads, since) {
                let blocks = work.open.boundaries.blocks_at(witness.timestamp).await;
                return Ok(blocks.map_err(|error| failure_of(&error))?.map(|span| (witness.filter, span)));
            }
        }
        Ok(None)
    }

    /// Oracle reads at every block that holds a log, by CSU. One batch a block, for all CSUs with a log in it.
    async fn event_reads(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        planned: &[(Unit<'a>, Layout, LogFilter)],
        logs: &[RawLog],
    ) -> Result<EventReads<'a>, Failure> {
        let blocks: BTreeSet<u64> = logs
            .iter()
            .filter(|log| planned.iter().any(|(_, _, filter)| filter.matches(log)))
            .map(|log| log.block_number)
            .collect();
        work.open.progress.begin_reads(blocks.len() as u64);
        let at_block = |number: u64| async move {
            let header = work.open.pool.header(number).await.map_err(|error| Failure::from(&error))?;
            let here = || logs.iter().filter(move |log| log.block_number == number);
            if let Some(log) = here().find(|log| log.block_hash != header.hash) {
                let message = format!(
                    "block {number} has hash {} in its header and {} in its logs\nhint: endpoints disagree; run again",
                    header.hash, log.block_hash
                );
                return Err(Failure::new(Reason::BadAnswer, message));
            }
            let plans: Vec<(Unit<'a>, &Layout, Vec<&RawLog>, Vec<Call>)> = planned
                .iter()
                .filter_map(|(unit, layout, filter)| {
                    let own: Vec<&RawLog> = here().filter(|log| filter.matches(log)).collect();
                    let calls = unit.family.event_reads(unit.csu, layout, &own);
                    (!own.is_empty()).then_some((*unit, layout, own, calls))
                })
                .collect();
            let all_calls = plans.iter().flat_map(|(_, _, _, calls)| calls.iter().cloned()).collect();
            let mut answers =
                reader.read(all_calls, number).await.map_err(|error| Failure::from(&error))?.into_iter();
            let mut reads = Vec::new();
            for (unit, layout, own, calls) in plans {
                let records = answers.by_ref().take(calls.len()).collect();
                let asked = ReadsAtBlock { block: header, calls: records };
                let again = |layout: &Layout| unit.family.event_reads(unit.csu, layout, &own);
                let confirmed = confirm(reader, unit, layout.clone(), asked, again).await;
                reads.push((unit.csu.id.as_str(), confirmed.map(|(_, reads)| reads)));
            }
            work.open.progress.advance(1);
            Ok(reads)
        };
        let mut by_csu: EventReads<'a> = BTreeMap::new();
        // Boxed: the compiler cannot name the lifetimes of a stream of borrowing futures otherwise.
        let tasks: Vec<BoxFuture<'_, Result<ReadsOfBlock<'a>, Failure>>> =
            blocks.into_iter().map(|number| at_block(number).boxed()).collect();
        let mut groups = futures::stream::iter(tasks).buffered(self.at_once.max(1));
        while let Some(group) = groups.next().await {
            for (csu, reads) in group? {
                let all = by_csu.entry(csu).or_insert_with(|| Ok(Vec::new()));
                match (all.as_mut(), reads) {
                    (Ok(all), Ok(reads)) => all.push(reads),
                    (Ok(_), Err(failure)) => *all = Err(failure),
                    (Err(_), _) => {}
                }
            }
        }
        Ok(by_csu)
    }

    /// The calls of the day's stored snapshot, from which the layout of that block can be told without asking again.
    async fn stored_calls(&self, csu: &Csu, date: Day) -> Vec<CallRecord> {
        let key = BronzeKey::of(Dataset::Tvl, &csu.id, date);
        match self.lake.get(&key.path()).await {
            Ok(Some(bytes)) => {
                TvlSnapshot::from_bytes(&bytes).map(|snapshot| snapshot.reads.calls).unwrap_or_default()
            }
            Ok(None) | Err(_) => Vec::new(),
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

/// Reads at event blocks by CSU, or why a CSU has none.
type EventReads<'a> = BTreeMap<&'a str, Result<Vec<ReadsAtBlock>, Failure>>;

/// Reads at one event block by CSU.
type ReadsOfBlock<'a> = Vec<(&'a str, Result<ReadsAtBlock, Failure>)>;

enum Standing {
    Settled(Outcome),
    Open,
}

/// One day of an open chain, with its blocks.
struct DayWork<'w> {
    open: &'w OpenChain<'w>,
    day: &'w DayOfChain,
    span: BlockSpan,
    last: Header,
}

/// Keeps a layout from this day on, unless the day would use the same one anyway.
fn remember(history: &mut LayoutHistory, day: Day, layout: &Layout) {
    if history.range(..=day).next_back().is_none_or(|(_, known)| known != layout) {
        history.insert(day, layout.clone());
    }
}

/// Asks a family's discovery questions at a block until it has the layout, beginning with answers already there.
async fn discover(
    reader: &Reader<'_>,
    unit: Unit<'_>,
    block: Header,
    mut answers: Vec<CallRecord>,
) -> Result<Layout, Failure> {
    for _ in 0..DISCOVERY_STEPS {
        let step = unit.family.discover(unit.csu, &Answers::new(&answers));
        match step.map_err(|error| Failure::new(Reason::DiscoveryFailed, error))? {
            Discovery::Found(layout) => return Ok(layout),
            Discovery::Ask(calls) => {
                answers
                    .extend(reader.read(calls, block.number).await.map_err(|error| Failure::from(&error))?);
            }
        }
    }
    let message = format!("no layout after {DISCOVERY_STEPS} steps at block {}", block.number);
    Err(Failure::new(Reason::DiscoveryFailed, message))
}

/// The reads, if they confirm the layout they were planned with; else the layout as it is at their block, and the reads
/// planned anew.
async fn confirm(
    reader: &Reader<'_>,
    unit: Unit<'_>,
    layout: Layout,
    reads: ReadsAtBlock,
    plan: impl Fn(&Layout) -> Vec<Call>,
) -> Result<(Layout, ReadsAtBlock), Failure> {
    let drift = match unit.family.confirm(unit.csu, &layout, &Answers::new(&reads.calls)) {
        Ok(()) => return Ok((layout, reads)),
        Err(drift) => drift,
    };
    tracing::info!("{}: {drift}; listing its contracts again at block {}", unit.csu.id, reads.block.number);
    let layout = discover(reader, unit, reads.block, Vec::new()).await?;
    let calls =
        reader.read(plan(&layout), reads.block.number).await.map_err(|error| Failure::from(&error))?;
    let reads = ReadsAtBlock { block: reads.block, calls };
    unit.family.confirm(unit.csu, &layout, &Answers::new(&reads.calls)).map_err(|drift| {
        let message =
            format!("block {}: {drift}, although they were listed at this very block", reads.block.number);
        Failure::new(Reason::BadAnswer, message)
    })?;
    Ok((layout, reads))
}

fn scan_failure(scan: &Scan, span: BlockSpan) -> Option<Failure> {
    if scan.covered.is_exactly(span) {
        return None;
    }
    let missing = scan.covered.missing_in(span);
    let spans: Vec<String> = missing.iter().take(3).map(ToString::to_string).collect();
    let more = missing.len().saturating_sub(spans.len());
    let why = scan.failure.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let reason = match &scan.failure {
        Some(error) if scan.covered.count() == 0 => error.reason(),
        _ => Reason::BlocksMissing,
    };
    let more = if more == 0 { String::new() } else { format!(" and {more} more spans") };
    Some(Failure::new(reason, format!("blocks {}{more} were not scanned{why}", spans.join(", "))))
}

fn failure_of(error: &BoundaryError) -> Failure {
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

fn collected(csu: &Csu, date: Day, dataset: Dataset, effort: Effort) -> Outcome {
    Outcome { effort: Some(effort), ..Outcome::settled(&csu.id, date, dataset, Status::Collected) }
}

fn effort_of(reads: &[&ReadsAtBlock]) -> Effort {
    let calls = || reads.iter().flat_map(|reads| &reads.calls);
    Effort {
        calls_planned: calls().count() as u64,
        calls_ok: calls().filter(|call| call.ok && !call.output.is_empty()).count() as u64,
        ..Effort::default()
    }
}

fn csu_of_day(csu: &Csu, day: DayOfChain) -> CsuOfDay {
    CsuOfDay { csu: csu.id.clone(), family: csu.family.clone(), entry: csu.entry, day }
}

fn bad_object(key: &BronzeKey, why: &str) -> Failure {
    let message = format!("{key} cannot be used: {why}\nhint: look at it, then delete it and run again");
    Failure::new(Reason::BadObject, message)
}
