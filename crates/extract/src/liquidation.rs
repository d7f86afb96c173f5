//! The liquidations of a day: one log scan for all CSUs of a chain, checked against other operators, then the oracle reads
//! at the blocks that hold a log.

use crate::collect::{Collector, DayWork, Unit, collected, csu_of_day, effort_of};
use crate::discovery::{confirm, discover, is_deployed};
use crate::ledger::{Effort, Failure, Outcome};
use crate::reads::Reader;
use crate::rpc::pool::PoolError;
use crate::rpc::scan::Scan;
use crate::rpc::tally::Purpose;
use crate::rpc::trust::{Confirmed, Doubt};
use crate::witness::{Shown, shown};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use lake::bronze::{Audit, AuditedScan, LiquidationLogs, LogFilter, RawLog, ReadsAtBlock, Record};
use lake::path::{BronzeKey, Path};
use lake::span::BlockSpan;
use lake::status::{AuditLevel, Dataset, Reason};
use lake::store::StoreError;
use protocols::{Call, Layout, Witness};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Blocks of a listing's logs whose headers are compared with them, at most.
pub(crate) const HEADERS_OF_HISTORY: usize = 20;

/// A CSU with its contracts and the logs that are its liquidations.
struct Planned<'a> {
    unit: Unit<'a>,
    /// Its contracts at the day's end. Where logs list its markets, empty until the scan has brought them.
    layout: Layout,
    filter: LogFilter,
    /// The logs that list its markets, if logs do.
    history: Vec<RawLog>,
}

impl<'a> Collector<'a> {
    /// One log scan for all the CSUs, then the oracle reads at the blocks that hold a log.
    pub(crate) async fn liquidations(
        &self,
        work: &DayWork<'_>,
        units: &[Unit<'a>],
        confirmed: &BTreeMap<&'a str, Layout>,
    ) -> Vec<Outcome> {
        let set = Dataset::Liquidations;
        let reader = work.open.reader();
        let (mut planned, mut outcomes) = self.planned(work, &reader, units, confirmed).await;
        if planned.is_empty() {
            return outcomes;
        }
        let listings: Vec<LogFilter> =
            planned.iter().filter_map(|plan| plan.unit.family.history(plan.unit.csu)).collect();
        let filter = LogFilter::union(planned.iter().map(|plan| &plan.filter).chain(&listings));
        work.open.scanned.fetch_add(1, Ordering::Relaxed);
        let witness = self.witness(work, planned.iter().map(|plan| plan.unit)).await;
        let (scan, checked) = self.checked_scan(work, work.span, &filter, witness.as_ref()).await;
        let logs = scan.logs();
        let read = match scan_failure(&scan, work.span) {
            None => {
                outcomes.extend(self.list_markets(work, &reader, &mut planned, &scan).await);
                self.event_reads(work, &reader, &planned, &logs).await
            }
            Some(failure) => Err(failure),
        };
        let covered = scan.covered();
        let scanned = Effort {
            blocks_expected: Some(work.span.count()),
            blocks_scanned: Some(covered.count()),
            endpoints: scan.labels().union(&reader.labels()).cloned().collect(),
            logs_from: scan.labels(),
            ..Effort::default()
        };
        let mut records: Vec<(Unit<'a>, LiquidationLogs, Effort)> = Vec::new();
        for Planned { unit, filter, .. } in planned {
            let reads = match &read {
                Err(failure) => Err(failure.clone()),
                Ok(reads) => reads.get(unit.csu.id.as_str()).cloned().unwrap_or_else(|| Ok(Vec::new())),
            };
            match reads {
                Ok(reads) => {
                    let asked = effort_of(&reads.iter().collect::<Vec<_>>());
                    let Effort { calls_planned, calls_ok, .. } = asked;
                    let effort = Effort { calls_planned, calls_ok, ..scanned.clone() };
                    let record = LiquidationLogs {
                        of: csu_of_day(unit.csu, work.day.clone()),
                        blocks: Some(work.span),
                        logs: logs.iter().filter(|log| filter.matches(log)).cloned().collect(),
                        filter,
                        scanned: covered.clone(),
                        reads,
                    };
                    records.push((unit, record, effort));
                }
                Err(failure) => outcomes.push(Outcome::unfinished(
                    &unit.csu.id,
                    work.day.date,
                    set,
                    &failure,
                    scanned.clone(),
                )),
            }
        }
        if !records.is_empty() {
            // Before the objects: an audit without its object says nothing, an object without its audit would stay so.
            let csus = records.iter().map(|(unit, _, _)| unit.csu.id.clone()).collect();
            if let Err(failure) = self.write_audit(work, &scan, csus, &checked).await {
                tracing::warn!("{}", failure.message);
            }
        }
        for (unit, record, effort) in records {
            let key = BronzeKey::of(set, &unit.csu.id, work.day.date);
            outcomes.push(match self.write(&key, &record).await {
                Ok(()) => collected(unit.csu, work.day.date, set, effort),
                Err(failure) => Outcome::unfinished(&unit.csu.id, work.day.date, set, &failure, effort),
            });
        }
        outcomes
    }

    /// The CSUs to scan for, with those of which a scan that was cut off between its objects has written the logs. It is taken
    /// up as it was: so the journal answers it, for which a scan for fewer would be another, and its audit is that of a scan
    /// that nobody cut off.
    pub(crate) async fn with_those_of_their_scan(
        &self,
        work: &DayWork<'_>,
        wanted: &[Unit<'a>],
    ) -> Vec<Unit<'a>> {
        if !work.was_cut_off || wanted.is_empty() {
            return wanted.to_vec();
        }
        let is_wanted = |id: &String| wanted.iter().any(|unit| unit.csu.id == *id);
        // Without it, what is missing is scanned for and no more.
        let audit = self.stored_audit(work).await.unwrap_or_default();
        let scans = audit.map(|audit| audit.scans).unwrap_or_default();
        let cut_off = scans.iter().filter(|scan| scan.csus.iter().any(is_wanted));
        let of_scans: BTreeSet<&String> = cut_off.flat_map(|scan| &scan.csus).collect();
        if of_scans.is_empty() {
            return wanted.to_vec();
        }
        // In the order of the run, as they were scanned for.
        let csus = self.run.csus().filter(|csu| csu.chain == work.day.chain);
        csus.filter(|csu| is_wanted(&csu.id) || of_scans.contains(&csu.id))
            .filter_map(|csu| Some(Unit { csu, family: protocols::family(&csu.family)? }))
            .collect()
    }

    /// The CSUs with their contracts, and the outcomes of those whose contracts are not found.
    async fn planned(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        units: &[Unit<'a>],
        confirmed: &BTreeMap<&'a str, Layout>,
    ) -> (Vec<Planned<'a>>, Vec<Outcome>) {
        let (mut planned, mut outcomes) = (Vec::new(), Vec::new());
        for unit in units {
            match self.plan_of(work, reader, *unit, confirmed.get(unit.csu.id.as_str())).await {
                Ok(plan) => planned.push(plan),
                Err(failure) => outcomes.push(unlisted(work, *unit, &failure)),
            }
        }
        (planned, outcomes)
    }

    /// A CSU's contracts at the day's end, and the filter for the emitters of its whole day.
    async fn plan_of(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        unit: Unit<'a>,
        confirmed: Option<&Layout>,
    ) -> Result<Planned<'a>, Failure> {
        if unit.family.history(unit.csu).is_some() {
            let filter = unit.family.filter(unit.csu, &[]);
            return Ok(Planned { unit, layout: Layout::default(), filter, history: Vec::new() });
        }
        let layout = match confirmed {
            Some(layout) => layout.clone(),
            None => {
                let known = self.stored_calls(unit.csu, work.day.date, work.last).await;
                discover(reader, unit, work.last, known, &[]).await?
            }
        };
        let at_start = self.layout_at_start(work, reader, unit).await?;
        let layouts: Vec<&Layout> = at_start.iter().chain([&layout]).collect();
        let filter = unit.family.filter(unit.csu, &layouts);
        Ok(Planned { unit, layout, filter, history: Vec::new() })
    }

    /// The contracts before the day's first block, where emitters come and go: one that goes in the day may still have emitted
    /// in it. `None` where that cannot be, or where the deployment was not there yet.
    async fn layout_at_start(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        unit: Unit<'a>,
    ) -> Result<Option<Layout>, Failure> {
        let Some(before) = work.before.filter(|_| unit.family.has_changing_emitters()) else {
            return Ok(None);
        };
        if unit.csu.deployed_block.is_some_and(|deployed| deployed > before.number) {
            return Ok(None);
        }
        let known = self.stored_calls(unit.csu, work.day.date.previous(), before).await;
        match discover(reader, unit, before, known, &[]).await {
            Ok(layout) => Ok(Some(layout)),
            Err(failure) if failure.reason != Reason::DiscoveryFailed => Err(failure),
            // The registry does not know when it was deployed. Its code tells.
            Err(failure) => match is_deployed(work, unit, before).await {
                Ok(false) => Ok(None),
                Ok(true) => Err(failure),
                Err(error) => Err(Failure::from(&error)),
            },
        }
    }

    /// Lists the markets of the CSUs whose logs do so, from the day's whole scan and what was read before. Those that cannot be
    /// listed are taken out of the plan, and their outcomes returned.
    async fn list_markets(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        planned: &mut Vec<Planned<'a>>,
        scan: &Scan,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut listed = Vec::new();
        for mut plan in std::mem::take(planned) {
            let unit = plan.unit;
            if unit.family.history(unit.csu).is_some() {
                self.carry_on_history(unit, work.span, scan).await;
                let layout = match self.listing_logs(work, unit).await {
                    Ok(history) => {
                        plan.history = history;
                        discover(reader, unit, work.last, Vec::new(), &plan.history).await
                    }
                    Err(failure) => Err(failure),
                };
                match layout {
                    Ok(layout) => plan.layout = layout,
                    Err(failure) => {
                        outcomes.push(unlisted(work, unit, &failure));
                        continue;
                    }
                }
            }
            listed.push(plan);
        }
        *planned = listed;
        outcomes
    }

    /// A scan, and how far it was checked. Endpoints that are caught on the way are left out, and what they said is
    /// read again elsewhere. `witness` is a log that must exist.
    pub(crate) async fn checked_scan(
        &self,
        work: &DayWork<'_>,
        span: BlockSpan,
        filter: &LogFilter,
        witness: Option<&Witness>,
    ) -> (Scan, Checked) {
        let pool = work.open.pool;
        let mut scan = Scan::default();
        let mut checked = Checked::default();
        work.open.progress.begin_scan(span.count());
        let day = format!("{} {}", work.day.chain, work.day.date);
        // Each round without success leaves one endpoint fewer, so the rounds end.
        loop {
            // Each of the keys that share the scan has its own pace to be kept busy.
            let at_once = self.at_once * pool.sharing_scan(filter, span.first()).max(1);
            pool.scan(&mut scan, filter, span, at_once, |blocks| work.open.advance(blocks)).await;
            if scan.failure.is_some() {
                return (scan, checked);
            }
            let shown = match shown(work, &scan, span, witness).await {
                Ok(shown) => shown,
                Err(error) => {
                    // Unproven: none of its blocks counts as read.
                    scan.give_up(error);
                    return (scan, checked);
                }
            };
            checked.witnessed = shown == Shown::Witness;
            if shown != Shown::Caught {
                // A day's logs are read at, and their headers asked for anyway; those that list markets are not.
                let (purpose, headers) = match span == work.span {
                    true => (Purpose::Event, usize::MAX),
                    false => (Purpose::Sample, HEADERS_OF_HISTORY),
                };
                let asked_again = match pool.hashes_hold(&scan, purpose, headers, self.at_once).await {
                    Ok(()) => pool.ask_again(&scan, filter, self.audit, &day).await,
                    Err(doubt) => Err(doubt),
                };
                match asked_again {
                    Ok(confirmed) => {
                        checked.confirmed = confirmed;
                        return (scan, checked);
                    }
                    Err(Doubt::Undecided(error)) => {
                        scan.give_up(error);
                        return (scan, checked);
                    }
                    Err(Doubt::Caught(caught)) => pool.distrust(caught).await,
                }
            }
            for caught in pool.distrusted() {
                scan.forget(&caught.refusal.label);
            }
        }
    }

    /// Puts how far the scan was checked into the chain's audit of the day.
    async fn write_audit(
        &self,
        work: &DayWork<'_>,
        scan: &Scan,
        mut csus: Vec<String>,
        checked: &Checked,
    ) -> Result<(), Failure> {
        csus.sort();
        let Confirmed { operators, blocks, windows, logs_in_receipts, level } = checked.confirmed.clone();
        let entry = AuditedScan {
            csus,
            level: level.unwrap_or(AuditLevel::OneSource),
            operators: work.open.pool.operators(&scan.labels()).into_iter().collect(),
            asked_again: operators.into_iter().collect(),
            blocks: work.span.count(),
            blocks_asked_again: blocks.min(work.span.count()),
            windows: scan.windows().count() as u64,
            windows_asked_again: windows,
            logs: scan.logs().len() as u64,
            logs_in_receipts,
            witnessed: checked.witnessed,
        };
        let known = self.stored_audit(work).await?;
        let audit = known.unwrap_or_else(|| Audit { day: work.day.clone(), scans: Vec::new() }).with(entry);
        let bytes = audit.to_bytes().map_err(|error| Failure::new(Reason::BadAnswer, error))?;
        Ok(self.lake.replace(&audit_path(work), bytes).await?)
    }

    /// The audit of the day's earlier scans. One that cannot be read, or that is of other blocks, is as good as none.
    async fn stored_audit(&self, work: &DayWork<'_>) -> Result<Option<Audit>, StoreError> {
        let audit = self.lake.get(&audit_path(work)).await?.and_then(|bytes| Audit::from_bytes(&bytes).ok());
        Ok(audit.filter(|audit| audit.day == *work.day))
    }

    /// Oracle reads at every block that holds a log, by CSU. One batch a block, for all CSUs with a log in it.
    async fn event_reads(
        &self,
        work: &DayWork<'_>,
        reader: &Reader<'_>,
        planned: &[Planned<'a>],
        logs: &[RawLog],
    ) -> Result<EventReads<'a>, Failure> {
        let blocks: BTreeSet<u64> = logs
            .iter()
            .filter(|log| planned.iter().any(|plan| plan.filter.matches(log)))
            .map(|log| log.block_number)
            .collect();
        work.open.progress.begin_reads(blocks.len() as u64);
        let batch = &work.open.pool.batch(blocks.len() as u64);
        let at_block = |number: u64| async move {
            let header =
                work.open.pool.header(Purpose::Event, number).await.map_err(|error| Failure::from(&error))?;
            let here = || logs.iter().filter(move |log| log.block_number == number);
            if let Some(log) = here().find(|log| log.block_hash != header.hash) {
                let message = format!(
                    "block {number} has hash {} in its header and {} in its logs\nhint: endpoints disagree; run again",
                    header.hash, log.block_hash
                );
                return Err(Failure::new(Reason::BadAnswer, message));
            }
            let plans: Vec<(&Planned<'a>, Vec<&RawLog>, Vec<Call>)> = planned
                .iter()
                .filter_map(|plan| {
                    let own: Vec<&RawLog> = here().filter(|log| plan.filter.matches(log)).collect();
                    let calls = self.event_calls(work, plan.unit, &plan.layout, &own);
                    (!own.is_empty()).then_some((plan, own, calls))
                })
                .collect();
            let all_calls = plans.iter().flat_map(|(_, _, calls)| calls.iter().cloned()).collect();
            let mut answers = reader
                .read(Purpose::Event, all_calls, number)
                .await
                .map_err(|error| Failure::from(&error))?
                .into_iter();
            let mut reads = Vec::new();
            for (Planned { unit, layout, history, .. }, own, calls) in plans {
                let records = answers.by_ref().take(calls.len()).collect();
                let asked = ReadsAtBlock { block: header, calls: records };
                let again = |layout: &Layout| self.event_calls(work, *unit, layout, &own);
                let confirmed =
                    confirm(reader, Purpose::Event, *unit, layout.clone(), history, asked, again).await;
                reads.push((unit.csu.id.as_str(), confirmed.map(|(_, reads)| reads)));
            }
            batch.one_done();
            work.open.advance(1);
            Ok(reads)
        };
        let mut by_csu: EventReads<'a> = BTreeMap::new();
        // Boxed: the compiler cannot name the lifetimes of a stream of borrowing futures otherwise.
        let tasks: Vec<BoxFuture<'_, Result<ReadsOfBlock<'a>, Failure>>> =
            blocks.into_iter().map(|number| at_block(number).boxed()).collect();
        // In any order: else one that is late holds up all that come after it.
        let mut groups = futures::stream::iter(tasks).buffer_unordered(self.at_once.max(1));
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
        for all in by_csu.values_mut().flatten() {
            all.sort_by_key(|reads| reads.block.number);
        }
        Ok(by_csu)
    }
}

fn audit_path(work: &DayWork<'_>) -> Path {
    BronzeKey::Audit { chain: work.day.chain.clone(), date: work.day.date }.path()
}

fn unlisted(work: &DayWork<'_>, unit: Unit<'_>, failure: &Failure) -> Outcome {
    let set = Dataset::Liquidations;
    Outcome::unfinished(&unit.csu.id, work.day.date, set, failure, Effort::default())
}

/// How far a scan was checked.
#[derive(Default)]
pub(crate) struct Checked {
    confirmed: Confirmed,
    witnessed: bool,
}

/// Reads at event blocks by CSU, or why a CSU has none.
type EventReads<'a> = BTreeMap<&'a str, Result<Vec<ReadsAtBlock>, Failure>>;

/// Reads at one event block by CSU.
type ReadsOfBlock<'a> = Vec<(&'a str, Result<ReadsAtBlock, Failure>)>;

/// Why a scan does not hold exactly these blocks.
pub(crate) fn scan_failure(scan: &Scan, span: BlockSpan) -> Option<Failure> {
    let covered = scan.covered();
    if covered.is_exactly(span) {
        return None;
    }
    let missing = covered.missing_in(span);
    let spans: Vec<String> = missing.iter().take(3).map(ToString::to_string).collect();
    let more = missing.len().saturating_sub(spans.len());
    let why = scan.failure.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    // A spent budget is no fault of the blocks: the rest is read when the next month begins.
    let reason = match scan.failure.as_ref().map(PoolError::reason) {
        Some(reason) if covered.count() == 0 || reason == Reason::Budget => reason,
        _ => Reason::BlocksMissing,
    };
    let more = if more == 0 { String::new() } else { format!(" and {more} more spans") };
    Some(Failure::new(reason, format!("blocks {}{more} were not scanned{why}", spans.join(", "))))
}
