//! The bill before anything is sent: which requests a run will make, through whom, and what they cost.
//!
//! Counted from the lake (what is there costs nothing), the run's days, each chain's usual block time and each endpoint's
//! log window. Not counted, because nobody knows yet: a header and a batch of oracle reads for each block that holds a
//! liquidation, and requests made again after refusals.

use crate::collect::{Collector, DayTasks, LayoutHistory};
use crate::reads::CALLS_PER_BATCH;
use crate::rpc::budget::Purse;
use crate::rpc::profile::Profile;
use crate::rpc::providers::EndpointConfig;
use crate::rpc::route::seconds_per_block;
use crate::rpc::tally::Purpose;
use crate::rpc::trust::samples;
use comfy_table::{Cell, CellAlignment, Table, presets};
use lake::bronze::{DayBlocks, Record};
use lake::path::BronzeKey;
use lake::registry::Chain;
use lake::status::{AuditLevel, Dataset};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

/// Headers that the search for one boundary reads on a chain of even pace (measured in `boundary`'s tests).
const HEADERS_PER_BOUNDARY: u64 = 5;
/// Steps in which a family's contracts are listed for the first time.
const DISCOVERY_CALLS: u64 = 3;

/// What a run will ask.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// Requests by chain, endpoint and method.
    pub rows: Vec<PlanRow>,
    /// What each key or keyless endpoint will spend.
    pub purses: Vec<PursePlan>,
    /// Chains with something to do and nobody to ask, with the variables that would help.
    pub without_endpoint: BTreeMap<String, Vec<String>>,
    /// Tasks that stand already, by status.
    pub settled: BTreeMap<String, usize>,
    /// Tasks to be done.
    pub open: usize,
}

/// Requests of one method through one endpoint.
#[derive(Debug, Clone, Serialize)]
pub struct PlanRow {
    /// Chain.
    pub chain: String,
    /// Days with something to do.
    pub days: usize,
    /// Label of the endpoint.
    pub endpoint: String,
    /// What they are for.
    pub purpose: Purpose,
    /// Method.
    pub method: &'static str,
    /// Requests.
    pub calls: u64,
    /// Units they cost.
    pub units: u64,
    /// Unit.
    pub unit: String,
}

/// What one purse will spend.
#[derive(Debug, Clone, Serialize)]
pub struct PursePlan {
    /// Variable of the key, or label of the endpoint.
    pub purse: String,
    /// Units.
    pub units: u64,
    /// Unit.
    pub unit: String,
    /// Hours at its pace.
    pub hours: f64,
    /// Units it has spent this month.
    pub spent: u64,
    /// Units of its month, if it has one.
    pub of_month: Option<u64>,
}

impl Collector<'_> {
    /// What the run will ask. Nothing is sent.
    pub async fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        for (chain, units) in self.units_by_chain().0 {
            let (days, settled) = self.open_days(chain, &units).await;
            let (days, _) = self.schedule.divide(&chain.name, days, |day| day.window.day);
            for outcome in settled {
                *plan.settled.entry(outcome.status.to_string()).or_default() += 1;
            }
            plan.open += days.iter().map(|day| day.tasks.len()).sum::<usize>();
            if days.is_empty() {
                continue;
            }
            let endpoints: Vec<Offer<'_>> = self.offers(chain).await;
            if endpoints.is_empty() {
                let keys = self.providers.left_out.iter().filter(|row| row.chain == chain.name);
                plan.without_endpoint
                    .insert(chain.name.clone(), keys.map(|row| row.variable.clone()).collect());
                continue;
            }
            for (offer, purpose, method, calls) in self.requests(chain, &days, &endpoints).await {
                let tariff = offer.config.purse.as_ref().map(|purse| purse.tariff());
                plan.rows.push(PlanRow {
                    chain: chain.name.clone(),
                    days: days.len(),
                    endpoint: offer.config.label.clone(),
                    purpose,
                    method,
                    calls,
                    units: calls * tariff.map_or(0, |tariff| u64::from(tariff.cost(method))),
                    unit: tariff.map_or(String::new(), |tariff| tariff.unit.clone()),
                });
            }
        }
        plan.purses = self.purse_plans(&plan.rows);
        plan
    }

    /// The chain's endpoints, with what earlier runs learned of them.
    async fn offers(&self, chain: &Chain) -> Vec<Offer<'_>> {
        let now = self.providers.clock.timestamp();
        let mut offers = Vec::new();
        for config in self.providers.endpoints.iter().filter(|config| config.chain == chain.name) {
            let kept = self.lake.get(&lake::path::endpoint_profile(&config.label)).await.ok().flatten();
            let profile = kept.and_then(|bytes| serde_json::from_slice::<Profile>(&bytes).ok());
            let profile = profile.unwrap_or_default().without_stale_limits(now);
            let window = profile.log_window.map_or(config.log_window, |learned| learned.value).max(1);
            offers.push(Offer { config, window });
        }
        offers
    }

    fn purse_plans(&self, rows: &[PlanRow]) -> Vec<PursePlan> {
        let mut spends: BTreeMap<&str, u64> = BTreeMap::new();
        for row in rows {
            let endpoint = self.providers.endpoints.iter().find(|endpoint| endpoint.label == row.endpoint);
            if let Some(purse) = endpoint.and_then(|endpoint| endpoint.purse.as_ref()) {
                *spends.entry(purse.name()).or_default() += row.units;
            }
        }
        let plan = |purse: &Arc<Purse>| {
            let units = *spends.get(purse.name())?;
            Some(PursePlan {
                purse: purse.name().to_owned(),
                units,
                unit: purse.tariff().unit.clone(),
                hours: units as f64 / purse.tariff().pace() / 3_600.0,
                spent: purse.spent(),
                of_month: purse.tariff().units_per_month,
            })
        };
        self.providers.purses().into_iter().filter_map(plan).collect()
    }

    async fn requests<'o>(
        &self,
        chain: &Chain,
        days: &[DayTasks<'_>],
        offers: &'o [Offer<'o>],
    ) -> Vec<(&'o Offer<'o>, Purpose, &'static str, u64)> {
        let of_request = |method: &'static str| cheapest(offers.iter(), |offer| offer.seconds(method));
        let of_scan = |offer: &Offer<'_>| seconds_per_block(offer.seconds("eth_getLogs"), offer.window);
        let (headers, calls, logs) =
            (of_request("eth_getBlockByNumber"), of_request("eth_call"), cheapest(offers.iter(), of_scan));
        let (Some(headers), Some(calls), Some(logs)) = (headers, calls, logs) else { return Vec::new() };
        let others = offers.iter().filter(|offer| offer.config.operator != logs.config.operator);
        let second = cheapest(others, of_scan).filter(|_| self.audit > AuditLevel::OneSource);

        let mut bill = Bill::default();
        for offer in offers {
            bill.add(offer, Purpose::Identity, "eth_chainId", 1);
        }
        bill.add(headers, Purpose::Identity, "eth_getBlockByNumber", 2);
        let mut boundaries = BTreeSet::new();
        let mut proven = BTreeSet::new();
        let mut unlisted: BTreeSet<&str> = BTreeSet::new();
        let mut layouts: BTreeMap<&str, LayoutHistory> = BTreeMap::new();
        for day in days {
            let key = BronzeKey::Blocks { chain: chain.name.clone(), date: day.window.day };
            let stored = match self.lake.get(&key.path()).await {
                Ok(Some(bytes)) => DayBlocks::from_bytes(&bytes).ok(),
                Ok(None) | Err(_) => None,
            };
            let edges = [day.window.start, day.window.end];
            let blocks = match &stored {
                Some(blocks) => {
                    proven.extend(edges);
                    blocks.span().map_or(0, |span| span.count())
                }
                None => {
                    boundaries.extend(edges);
                    ((day.window.end - day.window.start) as f64 / chain.block_seconds).round() as u64
                }
            };
            let mut snapshot_calls = 0;
            let mut scans = false;
            for (unit, dataset) in &day.tasks {
                scans |= *dataset == Dataset::Liquidations;
                if *dataset == Dataset::Tvl {
                    let id = unit.csu.id.as_str();
                    if !layouts.contains_key(id) {
                        layouts.insert(id, self.remembered_layouts(unit.csu).await);
                    }
                    let known = layouts.get(id);
                    match known.and_then(|history| history.range(..=day.window.day).next_back()) {
                        Some((_, layout)) => snapshot_calls += unit.family.snapshot(unit.csu, layout).len(),
                        None => {
                            unlisted.insert(&unit.csu.id);
                            snapshot_calls += CALLS_PER_BATCH;
                        }
                    }
                }
            }
            if snapshot_calls > 0 {
                // One batch more for calls that failed without a word.
                let batches = snapshot_calls.div_ceil(CALLS_PER_BATCH) as u64 + 1;
                bill.add(calls, Purpose::Snapshot, "eth_call", batches);
            }
            if scans {
                let windows = blocks.div_ceil(logs.window);
                bill.add(logs, Purpose::Scan, "eth_getLogs", windows);
                // The log that must exist, and the two boundaries around its second.
                bill.add(logs, Purpose::Witness, "eth_getLogs", 1);
                bill.add(headers, Purpose::Witness, "eth_getBlockByNumber", 2 * HEADERS_PER_BOUNDARY);
                if let Some(second) = second {
                    let again = match self.audit {
                        AuditLevel::Sampled => samples(windows),
                        _ => windows * logs.window.min(blocks).div_ceil(second.window),
                    };
                    bill.add(second, Purpose::Sample, "eth_getLogs", again);
                }
            }
        }
        let searched = boundaries.difference(&proven).count() as u64;
        bill.add(headers, Purpose::Boundary, "eth_getBlockByNumber", searched * HEADERS_PER_BOUNDARY);
        bill.add(calls, Purpose::Discovery, "eth_call", unlisted.len() as u64 * DISCOVERY_CALLS);
        bill.rows
    }
}

/// An endpoint before it is asked anything.
struct Offer<'a> {
    config: &'a EndpointConfig,
    window: u64,
}

impl Offer<'_> {
    fn seconds(&self, method: &str) -> f64 {
        self.config.purse.as_ref().map_or(0.0, |purse| purse.tariff().seconds(method))
    }
}

/// The cheapest, and of equals the most trusted: as in [`crate::rpc::route`].
fn cheapest<'o>(
    offers: impl Iterator<Item = &'o Offer<'o>>,
    cost: impl Fn(&Offer<'_>) -> f64,
) -> Option<&'o Offer<'o>> {
    offers.min_by(|one, other| cost(one).total_cmp(&cost(other)))
}

/// Requests by endpoint, purpose and method.
#[derive(Default)]
struct Bill<'o> {
    rows: Vec<(&'o Offer<'o>, Purpose, &'static str, u64)>,
}

impl<'o> Bill<'o> {
    fn add(&mut self, offer: &'o Offer<'o>, purpose: Purpose, method: &'static str, calls: u64) {
        let is_same = |row: &&mut (&Offer<'_>, Purpose, &str, u64)| {
            (row.0.config.label.as_str(), row.1, row.2) == (offer.config.label.as_str(), purpose, method)
        };
        match self.rows.iter_mut().find(is_same) {
            Some(row) => row.3 += calls,
            None if calls > 0 => self.rows.push((offer, purpose, method, calls)),
            None => {}
        }
    }
}

impl Plan {
    /// The plan in words and tables, for a terminal.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        let settled: Vec<String> =
            self.settled.iter().map(|(status, count)| format!("{count} {status}")).collect();
        let _ = writeln!(
            text,
            "{} tasks to do; {}",
            self.open,
            if settled.is_empty() { "none done".into() } else { settled.join(", ") }
        );
        if !self.rows.is_empty() {
            let mut table = Table::new();
            table
                .load_style(presets::UTF8_FULL_CONDENSED)
                .set_header(["chain", "days", "endpoint", "for", "method", "requests", "units"]);
            for row in &self.rows {
                table.add_row([
                    Cell::new(&row.chain),
                    right(row.days),
                    Cell::new(&row.endpoint),
                    Cell::new(row.purpose.as_str()),
                    Cell::new(row.method),
                    right(with_separators(row.calls)),
                    right(format!("{} {}", with_separators(row.units), row.unit)),
                ]);
            }
            let _ = writeln!(text, "{table}");
            let mut table = Table::new();
            table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
                "key or endpoint",
                "units",
                "hours",
                "of the month",
            ]);
            for purse in &self.purses {
                let month = purse.of_month.map_or("-".to_owned(), |of| {
                    let share = |units: u64| 100.0 * units as f64 / of.max(1) as f64;
                    format!("{:.1}% (spent so far {:.1}%)", share(purse.units), share(purse.spent))
                });
                table.add_row([
                    Cell::new(&purse.purse),
                    right(format!("{} {}", with_separators(purse.units), purse.unit)),
                    right(format!("{:.2}", purse.hours)),
                    right(month),
                ]);
            }
            let _ = writeln!(text, "{table}");
            let _ = writeln!(
                text,
                "Not counted: a header and a batch of oracle reads for each block with a liquidation; requests made again."
            );
        }
        for (chain, keys) in &self.without_endpoint {
            let hint = if keys.is_empty() {
                "add an [[endpoint]] for it".to_owned()
            } else {
                format!("set {}", keys.join(" or "))
            };
            let _ = writeln!(text, "{chain} has nobody to ask: {hint}");
        }
        text
    }
}

pub(crate) fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

pub(crate) fn with_separators(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_threes() {
        assert_eq!([0, 999, 1_000, 14_100_000].map(with_separators), ["0", "999", "1,000", "14,100,000"]);
    }
}
