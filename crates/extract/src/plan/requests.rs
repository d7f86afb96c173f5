//! The requests of one chain, day by day, as the engine will make them.

use crate::collect::{Collector, DayTasks, LayoutHistory, Unit};
use crate::history::{KEPT_EVERY, Reaches};
use crate::liquidation::HEADERS_OF_HISTORY;
use crate::plan::costs::Costs;
use crate::plan::{Basis, SnapshotCalls};
use crate::prices::CALLS_PER_FEED;
use crate::reads::{CALLS_PER_BATCH, Means, ReadMemory};
use crate::rpc::journal::{Journal, digest_of};
use crate::rpc::profile::Profile;
use crate::rpc::providers::EndpointConfig;
use crate::rpc::route::seconds_per_block;
use crate::rpc::tally::Purpose;
use crate::rpc::trust::samples;
use crate::witness::WITNESS_BLOCKS;
use lake::bronze::{CallRecord, DayBlocks, LogFilter, Record, TvlSnapshot};
use lake::day::Day;
use lake::path::{self, BronzeKey};
use lake::registry::{Chain, Csu};
use lake::span::{BlockSpan, Coverage};
use lake::status::{AuditLevel, Dataset};
use protocols::Layout;
use std::collections::{BTreeMap, BTreeSet};

const HEADER: &str = "eth_getBlockByNumber";
const LOGS: &str = "eth_getLogs";
const CALL: &str = "eth_call";

/// Requests of one method to one endpoint.
pub(super) struct Asked<'o> {
    pub(super) of: &'o EndpointConfig,
    pub(super) purpose: Purpose,
    pub(super) method: &'static str,
    pub(super) calls: u64,
    pub(super) basis: Basis,
}

/// An endpoint before it is asked anything, with what earlier runs learned of it.
pub(super) struct Offer<'a> {
    config: &'a EndpointConfig,
    profile: Profile,
}

impl Offer<'_> {
    fn seconds(&self, method: &str) -> f64 {
        self.config.purse.as_ref().map_or(0.0, |purse| purse.tariff().seconds(method))
    }

    /// Whether it is asked after all others: its key is spent, or it does not hold the block.
    fn is_last(&self, method: &str, block: Option<u64>) -> bool {
        let newest = if method == LOGS { self.profile.no_logs_at } else { self.profile.no_state_at };
        let lacks = block.zip(newest).is_some_and(|(block, newest)| block <= newest.value);
        lacks || self.config.purse.as_ref().is_some_and(|purse| purse.is_spent(method).is_some())
    }

    /// Requests of a log query whose filter has so many addresses.
    fn parts(&self, addresses: usize) -> u64 {
        let most = self.profile.addresses.map_or(u64::MAX, |learned| learned.value).max(1);
        (addresses as u64).div_ceil(most).max(1)
    }
}

/// A chain's bill, in the making. Estimates have parts of requests, and are rounded at the end.
#[derive(Default)]
struct Bill {
    rows: BTreeMap<(usize, Purpose, &'static str, Basis), f64>,
}

impl Bill {
    fn count(&mut self, offer: usize, purpose: Purpose, method: &'static str, calls: u64) {
        self.add(Basis::Counted, offer, purpose, method, calls as f64);
    }

    fn estimate(&mut self, offer: usize, purpose: Purpose, method: &'static str, calls: f64) {
        self.add(Basis::Estimated, offer, purpose, method, calls);
    }

    fn add(&mut self, basis: Basis, offer: usize, purpose: Purpose, method: &'static str, calls: f64) {
        *self.rows.entry((offer, purpose, method, basis)).or_default() += calls;
    }
}

/// The blocks of a day.
#[derive(Debug, Clone, Copy)]
enum Blocks {
    /// As the lake has them proven.
    Proven(BlockSpan),
    /// As many as the chain usually makes in the time; none on a day that is proven to have none.
    Usually(u64),
}

impl Blocks {
    fn count(self) -> u64 {
        match self {
            Self::Proven(span) => span.count(),
            Self::Usually(many) => many,
        }
    }
}

/// The scan of a day.
struct DayScan {
    /// The filter's digest, or nothing when a contract is not listed yet.
    filter: String,
    /// Addresses of the filter, as far as they are known.
    addresses: usize,
    /// Lengths of the spans that are still to be read.
    missing: Vec<u64>,
    /// Windows that the day's journal has.
    had: u64,
    /// The day's first block, if it is known.
    first: Option<u64>,
}

/// What a chain's plan is made from.
struct Known<'a, 'o> {
    chain: &'a Chain,
    offers: &'o [Offer<'a>],
    costs: Costs,
    reads: ReadMemory,
    /// Family and remembered layouts, by CSU.
    layouts: BTreeMap<&'a str, (&'a str, LayoutHistory)>,
    /// CSUs that an earlier day of the plan lists.
    listed: BTreeSet<&'a str>,
    /// View calls of the latest snapshot that was met, and how many of them failed without a word, by CSU.
    snapshots: BTreeMap<&'a str, (usize, usize)>,
    /// CSUs whose history an earlier day of the plan reads.
    with_history: BTreeSet<&'a str>,
    /// View calls of the snapshots of all days, by CSU.
    view_calls: BTreeMap<&'a str, SnapshotCalls>,
    /// Endpoint of single requests, by method.
    headers: usize,
    calls: usize,
}

impl<'a> Known<'a, '_> {
    fn layout(&self, csu: &Csu, day: Day) -> Option<&Layout> {
        self.layouts.get(csu.id.as_str())?.1.range(..=day).next_back().map(|(_, layout)| layout)
    }

    /// View calls of a snapshot on average, by the known layouts of the same family.
    fn usual_calls(&self, unit: Unit<'a>) -> usize {
        let alike = self.layouts.values().filter(|(family, _)| *family == unit.csu.family);
        let newest = alike.filter_map(|(_, history)| history.values().next_back());
        let calls: Vec<usize> = newest.map(|layout| unit.family.snapshot(unit.csu, layout).len()).collect();
        match calls.len() {
            0 => CALLS_PER_BATCH,
            many => calls.iter().sum::<usize>().div_ceil(many),
        }
    }

    /// Requests of so many view calls at once, of which so many will fail without a word and be asked again.
    fn batches(&self, calls: usize, silent: usize) -> u64 {
        let is_to_be_had = |means: &Means| {
            !self.reads.refused().contains(means)
                && (*means != Means::ByAddress || self.chain.multicall3.is_some())
        };
        let means = Means::BATCHES.into_iter().find(is_to_be_had).unwrap_or(Means::OneByOne);
        let size = self.reads.calls_per_batch(means);
        let again = if silent < calls { silent.div_ceil(size) } else { 0 };
        match means {
            Means::JsonBatch | Means::OneByOne => calls as u64,
            _ => (calls.div_ceil(size) + again) as u64,
        }
    }

    /// Counts the scan of a day, the log that must exist, and second opinions. `asked` of the latter are in the journal.
    /// Returns the blocks of a window.
    fn scan(
        &self,
        bill: &mut Bill,
        profiles: &mut [Profile],
        scan: &DayScan,
        audit: AuditLevel,
        asked: u64,
    ) -> u64 {
        let offers = self.offers;
        let window = |profiles: &[Profile], at: usize| {
            profiles.get(at).map_or(1, |profile| profile.window(&scan.filter, offers[at].config.log_window))
        };
        let cost = |at: usize| seconds_per_block(offers[at].seconds(LOGS), window(profiles, at));
        let sharing = best(0..offers.len(), |at| offers[at].is_last(LOGS, scan.first), cost);
        let Some(&leader) = sharing.first() else { return 1 };
        let width = window(profiles, leader);
        let new: u64 = scan.missing.iter().map(|blocks| blocks.div_ceil(width)).sum();
        let all = new + scan.had;
        let sharers = sharing.len().min(usize::try_from(new).unwrap_or(usize::MAX)).max(1);
        let mut asked = asked;
        let mut less = |calls: u64| {
            let left = calls.saturating_sub(asked);
            asked = asked.saturating_sub(calls);
            left
        };
        for (nth, &at) in sharing.iter().take(sharers).enumerate() {
            let (evenly, over) = (new / sharers as u64, new % sharers as u64);
            let share = evenly + u64::from((nth as u64) < over);
            bill.count(at, Purpose::Scan, LOGS, share * offers[at].parts(scan.addresses));
            bill.count(at, Purpose::Witness, LOGS, less(1));
            if let Some(profile) = profiles.get_mut(at).filter(|profile| !profile.dense.is_empty()) {
                for _ in 0..share {
                    profile.accepted(&scan.filter, width, offers[at].config.log_window);
                }
            }
        }
        let operator = &offers[leader].config.operator;
        let others = (0..offers.len()).filter(|at| offers[*at].config.operator != *operator);
        let second = best(
            others,
            |at| offers[at].is_last(LOGS, scan.first),
            |at| seconds_per_block(offers[at].seconds(LOGS), window(profiles, at)),
        );
        let Some(&second) = second.first().filter(|_| audit > AuditLevel::OneSource) else { return width };
        let others_width = window(profiles, second);
        let again = if audit == AuditLevel::Sampled {
            // Of a window that the other takes whole there is one sample.
            let wanted = samples(all);
            if others_width >= width { wanted.min(all) } else { wanted }
        } else {
            let of_span = |blocks: &u64| {
                (blocks / width) * width.div_ceil(others_width) + (blocks % width).div_ceil(others_width)
            };
            scan.missing.iter().map(of_span).sum::<u64>() + scan.had
        };
        bill.count(second, Purpose::Sample, LOGS, less(again) * offers[second].parts(scan.addresses));
        width
    }
}

/// The best of some offers, all that are as good, by what a task costs: as in [`crate::rpc::route`].
fn best(
    offers: impl Iterator<Item = usize>,
    is_last: impl Fn(usize) -> bool,
    cost: impl Fn(usize) -> f64,
) -> Vec<usize> {
    let mut order: Vec<(bool, f64, usize)> = offers.map(|at| (is_last(at), cost(at), at)).collect();
    order.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let first = order.first().map(|(last, cost, _)| (*last, *cost));
    let as_good = order.into_iter().take_while(|(last, cost, _)| Some((*last, *cost)) == first);
    as_good.map(|(_, _, at)| at).collect()
}

impl<'a> Collector<'a> {
    /// The chain's endpoints, with what earlier runs learned of them.
    pub(super) async fn offers(&self, chain: &Chain) -> Vec<Offer<'a>> {
        let now = self.providers.clock.timestamp();
        let mut offers = Vec::new();
        for config in self.providers.endpoints.iter().filter(|config| config.chain == chain.name) {
            let kept = self.lake.get(&path::endpoint_profile(&config.label)).await.ok().flatten();
            let profile = kept.and_then(|bytes| serde_json::from_slice::<Profile>(&bytes).ok());
            offers.push(Offer { config, profile: profile.unwrap_or_default().without_stale_limits(now) });
        }
        offers
    }

    /// The requests of a chain's open days, and the view calls of its CSUs' snapshots.
    pub(super) async fn requests(
        &self,
        chain: &'a Chain,
        days: &[DayTasks<'a>],
        offers: &[Offer<'a>],
    ) -> (Vec<Asked<'a>>, BTreeMap<&'a str, SnapshotCalls>) {
        let cheapest = |method: &'static str| {
            let of =
                best(0..offers.len(), |at| offers[at].is_last(method, None), |at| offers[at].seconds(method));
            of.first().copied().unwrap_or(0)
        };
        let mut known = Known {
            chain,
            offers,
            costs: Costs::of(self.lake, &chain.name).await,
            reads: self.remembered_reads(chain).await,
            layouts: BTreeMap::new(),
            listed: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            with_history: BTreeSet::new(),
            view_calls: BTreeMap::new(),
            headers: cheapest(HEADER),
            calls: cheapest(CALL),
        };
        for unit in days.iter().flat_map(|day| day.tasks.iter().map(|(unit, _)| unit)) {
            if !known.layouts.contains_key(unit.csu.id.as_str()) {
                let history = self.remembered_layouts(unit.csu).await;
                known.layouts.insert(&unit.csu.id, (&unit.csu.family, history));
            }
        }
        // As they change while windows are accepted.
        let mut profiles: Vec<Profile> = offers.iter().map(|offer| offer.profile.clone()).collect();
        let mut bill = Bill::default();
        for offer in 0..offers.len() {
            bill.count(offer, Purpose::Identity, "eth_chainId", 1);
        }
        bill.count(known.headers, Purpose::Identity, HEADER, 1);
        let mut proven: BTreeSet<i64> = BTreeSet::new();
        let mut has_searches = false;
        for day in days {
            // A day that was begun has answers already; what cannot be read counts as none.
            let journal = Journal::open(self.lake, &chain.name, day.window.day).await.ok();
            let answers = |method: &str| journal.as_ref().map_or(0, |journal| journal.answers_to(method));
            let (blocks, searched) = self.blocks_of(chain, day, &mut proven).await;
            self.snapshot(&mut bill, &mut known, day).await;
            let of_boundaries = searched as f64 * known.costs.boundary(chain.block_seconds);
            let mut of_witness = 0.0;
            let scanned: Vec<Unit<'a>> = of_set(day, Dataset::Liquidations).collect();
            if !scanned.is_empty() {
                let scan = self.day_scan(&known, day, &scanned, blocks, journal.as_ref());
                self.histories(&mut bill, &mut known, &profiles, day, (&scanned, blocks)).await;
                let window = known.scan(&mut bill, &mut profiles, &scan, self.audit, answers(LOGS));
                // It is looked for when all has been scanned, and nowhere in particular where one query has the day.
                let is_over = scan.missing.is_empty() || blocks.count() <= window.min(WITNESS_BLOCKS);
                of_witness = if is_over { 0.0 } else { known.costs.witness(chain.block_seconds) };
            }
            let boundary = (of_boundaries - answers(HEADER) as f64).max(0.0);
            bill.estimate(known.headers, Purpose::Boundary, HEADER, boundary);
            bill.estimate(known.headers, Purpose::Witness, HEADER, of_witness);
            has_searches |= searched > 0;
        }
        // Below the chain's first block no search goes.
        bill.count(known.headers, Purpose::Identity, HEADER, u64::from(has_searches));
        let rows = bill.rows.into_iter().filter_map(|((at, purpose, method, basis), calls)| {
            let asked =
                Asked { of: offers.get(at)?.config, purpose, method, calls: calls.round() as u64, basis };
            (asked.calls > 0).then_some(asked)
        });
        (rows.collect(), known.view_calls)
    }

    /// The blocks of a day, if they are known, or else how many there usually are; and how many boundaries must be searched
    /// for.
    async fn blocks_of(
        &self,
        chain: &Chain,
        day: &DayTasks<'_>,
        proven: &mut BTreeSet<i64>,
    ) -> (Blocks, u64) {
        let edges = [day.window.start, day.window.end];
        if let Some(blocks) = self.blocks_object(chain, day.window.day).await {
            proven.extend(edges);
            return (blocks.span().map_or(Blocks::Usually(0), Blocks::Proven), 0);
        }
        for neighbour in [day.window.day.previous(), day.window.day.next()] {
            if let Some(blocks) = self.blocks_object(chain, neighbour).await {
                proven.extend([blocks.day.day_start, blocks.day.day_end]);
            }
        }
        let searched = edges.into_iter().filter(|edge| proven.insert(*edge)).count() as u64;
        let seconds = (day.window.end - day.window.start) as f64;
        (Blocks::Usually((seconds / chain.block_seconds).round() as u64), searched)
    }

    async fn blocks_object(&self, chain: &Chain, date: Day) -> Option<DayBlocks> {
        let key = BronzeKey::Blocks { chain: chain.name.clone(), date };
        let bytes = self.lake.get(&key.path()).await.ok().flatten()?;
        DayBlocks::from_bytes(&bytes).ok()
    }

    /// The snapshot of a day, with the listing of contracts that are not known.
    async fn snapshot(&self, bill: &mut Bill, known: &mut Known<'a, '_>, day: &DayTasks<'a>) {
        let date = day.window.day;
        let (mut calls, mut silent, mut is_known) = (0, 0, true);
        let mut listings = 0;
        for unit in of_set(day, Dataset::Tvl) {
            if let Some(before) = self.snapshot_object(unit.csu, date.previous()).await {
                // They are asked again each day.
                let is_silent = |call: &&CallRecord| !call.ok && call.output.is_empty();
                let silent = before.reads.calls.iter().filter(is_silent).count();
                known.snapshots.insert(&unit.csu.id, (before.reads.calls.len(), silent));
            }
            let before = known.snapshots.get(unit.csu.id.as_str()).copied();
            // Most versions of most families have some that do.
            silent += before.map_or(1, |(_, silent)| silent);
            let of_layout =
                known.layout(unit.csu, date).map(|layout| unit.family.snapshot(unit.csu, layout).len());
            let is_anew = unit.family.history(unit.csu).is_some();
            let is_of_this_known = of_layout.is_some() && before.is_some();
            is_known &= is_of_this_known;
            listings += usize::from(is_anew || (of_layout.is_none() && known.listed.insert(&unit.csu.id)));
            let of_snapshot = before.map(|(calls, _)| calls);
            let of_this = of_layout.or(of_snapshot).unwrap_or_else(|| known.usual_calls(unit));
            calls += of_this;
            let nothing = SnapshotCalls { calls: 0, basis: Basis::Counted };
            let all_days = known.view_calls.entry(&unit.csu.id).or_insert(nothing);
            all_days.calls += of_this as u64;
            if !is_of_this_known {
                all_days.basis = Basis::Estimated;
            }
        }
        for unit in of_set(day, Dataset::Liquidations) {
            // A snapshot of the day, in the lake or in this run, tells the contracts; another of the day before, what they were
            // when it began.
            let is_there = async |date: Day| {
                let of_day =
                    |(of, set): &(Unit<'_>, Dataset)| of.csu.id == unit.csu.id && *set == Dataset::Tvl;
                (date == day.window.day && day.tasks.iter().any(of_day))
                    || self.snapshot_object(unit.csu, date).await.is_some()
            };
            let has_layout = is_there(date).await || unit.family.history(unit.csu).is_some();
            let changes = unit.family.has_changing_emitters() && unit.family.history(unit.csu).is_none();
            let is_carried = known.listed.contains(unit.csu.id.as_str()) || is_there(date.previous()).await;
            listings += usize::from(!has_layout) + usize::from(changes && !is_carried);
        }
        if calls > 0 {
            let basis = if is_known { Basis::Counted } else { Basis::Estimated };
            bill.add(basis, known.calls, Purpose::Snapshot, CALL, known.batches(calls, silent) as f64);
        }
        if day.wants_prices {
            let of_feeds = self.run.registry.feeds(&known.chain.name).count() * CALLS_PER_FEED;
            bill.count(known.calls, Purpose::Snapshot, CALL, known.batches(of_feeds, 0));
        }
        bill.estimate(known.calls, Purpose::Discovery, CALL, listings as f64 * known.costs.listing());
    }

    async fn snapshot_object(&self, csu: &Csu, date: Day) -> Option<TvlSnapshot> {
        let bytes = self.lake.get(&BronzeKey::of(Dataset::Tvl, &csu.id, date).path()).await.ok().flatten()?;
        TvlSnapshot::from_bytes(&bytes).ok()
    }

    /// What is left of the scan of a day.
    fn day_scan(
        &self,
        known: &Known<'a, '_>,
        day: &DayTasks<'_>,
        units: &[Unit<'a>],
        blocks: Blocks,
        journal: Option<&Journal>,
    ) -> DayScan {
        let filter_of = |unit: &Unit<'a>| match unit.family.history(unit.csu) {
            Some(_) => Some(unit.family.filter(unit.csu, &[])),
            None => {
                let layout = known.layout(unit.csu, day.window.day)?;
                Some(unit.family.filter(unit.csu, &[layout]))
            }
        };
        let filters: Option<Vec<LogFilter>> = units.iter().map(filter_of).collect();
        let listings: Vec<LogFilter> =
            units.iter().filter_map(|unit| unit.family.history(unit.csu)).collect();
        let union = filters.map(|filters| LogFilter::union(filters.iter().chain(&listings)));
        let filter = union.as_ref().map(digest_of).unwrap_or_default();
        let mut covered = Coverage::default();
        let mut had = 0;
        for window in journal.map(|journal| journal.windows(&filter)).unwrap_or_default() {
            // Two runs may have left windows that overlap: one of them counts.
            had += u64::from(covered.add(window.span).is_ok());
        }
        DayScan {
            addresses: union.map_or(1, |union| union.addresses.len()),
            filter,
            missing: match blocks {
                Blocks::Proven(span) => covered.missing_in(span).iter().map(|span| span.count()).collect(),
                Blocks::Usually(many) => vec![many],
            },
            had,
            first: match blocks {
                Blocks::Proven(span) => Some(span.first()),
                Blocks::Usually(_) => None,
            },
        }
    }

    /// The logs since a deployment that list its markets, where they are not read yet.
    async fn histories(
        &self,
        bill: &mut Bill,
        known: &mut Known<'a, '_>,
        profiles: &[Profile],
        day: &DayTasks<'_>,
        (units, blocks): (&[Unit<'a>], Blocks),
    ) {
        for unit in units {
            let Some(reaches) = self.history_reaches(*unit).await else { continue };
            // Once it is read, the scans of the days carry it on.
            if !known.with_history.insert(&unit.csu.id) {
                continue;
            }
            let missing = match (blocks, reaches) {
                (Blocks::Proven(span), Reaches::Through(block)) if block + 1 == span.first() => 0,
                (Blocks::Proven(span), Reaches::Through(block)) => span.last().saturating_sub(block),
                (Blocks::Proven(span), Reaches::Nothing { from }) => (span.last() + 1).saturating_sub(from),
                (Blocks::Usually(_), Reaches::Through(_)) => 0,
                (Blocks::Usually(_), Reaches::Nothing { .. }) => {
                    let deployed =
                        unit.csu.deployed_date.map(|date| i64::from(date.days_since_epoch()) * 86_400);
                    let seconds = deployed.map_or(0, |deployed| (day.window.end - deployed).max(0));
                    (seconds as f64 / known.chain.block_seconds) as u64
                }
            };
            let Some(filter) = unit.family.history(unit.csu).filter(|_| missing > 0) else { continue };
            // Each piece is a scan of its own, with its own witness and samples.
            let pieces = missing.div_ceil(KEPT_EVERY);
            let piece = DayScan {
                filter: digest_of(&filter),
                addresses: filter.addresses.len(),
                missing: vec![missing.div_ceil(pieces)],
                had: 0,
                first: None,
            };
            let mut of_piece = Bill::default();
            known.scan(&mut of_piece, &mut profiles.to_vec(), &piece, self.audit, 0);
            for ((at, purpose, method, _), calls) in of_piece.rows {
                bill.estimate(at, purpose, method, calls * pieces as f64);
            }
            // One for each block with a listing's log, and so many at most: a listing of any age has as many.
            let headers = HEADERS_OF_HISTORY as f64 * pieces as f64;
            bill.estimate(known.headers, Purpose::Sample, HEADER, headers);
            // No state names a log of a listing: a block with logs is looked for.
            let witness = known.costs.witness(known.chain.block_seconds) * pieces as f64;
            bill.estimate(known.headers, Purpose::Witness, HEADER, witness);
        }
    }
}

/// The CSUs of a day's tasks of one dataset.
fn of_set<'d, 'a>(day: &'d DayTasks<'a>, set: Dataset) -> impl Iterator<Item = Unit<'a>> + 'd {
    day.tasks.iter().filter(move |(_, of)| *of == set).map(|(unit, _)| *unit)
}
