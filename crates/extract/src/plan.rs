//! The bill before anything is sent: which requests a run will make, through whom, and what they cost.
//!
//! Counted from the lake (what is there costs nothing), the run's days, each chain's usual block time and each endpoint's
//! log window. Not counted, because nobody knows yet: a header and a batch of oracle reads for each block that holds a
//! liquidation, and requests made again after refusals.

use crate::collect::{Collector, DayTasks, LayoutHistory};
use crate::reads::CALLS_PER_BATCH;
use crate::rpc::providers::EndpointConfig;
use comfy_table::{Cell, CellAlignment, Table, presets};
use lake::bronze::{DayBlocks, Record};
use lake::path::BronzeKey;
use lake::registry::Chain;
use lake::status::Dataset;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Headers that the search for one boundary reads on a chain of even pace (measured in `boundary`'s tests).
const HEADERS_PER_BOUNDARY: u64 = 6;
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
        let mut spends: BTreeMap<&str, u64> = BTreeMap::new();
        for (chain, units) in self.units_by_chain().0 {
            let (days, settled) = self.open_days(chain, &units).await;
            for outcome in settled {
                *plan.settled.entry(outcome.status.to_string()).or_default() += 1;
            }
            plan.open += days.iter().map(|day| day.tasks.len()).sum::<usize>();
            if days.is_empty() {
                continue;
            }
            let endpoints: Vec<&EndpointConfig> =
                self.providers.endpoints.iter().filter(|endpoint| endpoint.chain == chain.name).collect();
            // Headers and calls go to the most trusted, log scans to the widest: as in `rpc::pool`.
            let widest = endpoints
                .iter()
                .copied()
                .reduce(|best, next| if next.log_window > best.log_window { next } else { best });
            let (Some(first), Some(widest)) = (endpoints.first().copied(), widest) else {
                let keys = self.providers.left_out.iter().filter(|row| row.chain == chain.name);
                plan.without_endpoint
                    .insert(chain.name.clone(), keys.map(|row| row.variable.clone()).collect());
                continue;
            };
            let mut add = |endpoint: &'_ EndpointConfig, method, calls: u64| {
                if calls == 0 {
                    return;
                }
                let cost = endpoint.purse.as_ref().map_or(0, |purse| purse.tariff().cost(method));
                plan.rows.push(PlanRow {
                    chain: chain.name.clone(),
                    days: days.len(),
                    endpoint: endpoint.label.clone(),
                    method,
                    calls,
                    units: calls * u64::from(cost),
                    unit: endpoint.purse.as_ref().map_or(String::new(), |purse| purse.tariff().unit.clone()),
                });
            };
            for endpoint in &endpoints {
                add(endpoint, "eth_chainId", 1);
            }
            let asked = self.requests(chain, &days, widest.log_window).await;
            add(first, "eth_getBlockByNumber", asked.headers);
            add(first, "eth_call", asked.calls);
            add(widest, "eth_getLogs", asked.logs);
        }
        for row in &plan.rows {
            let endpoint = self.providers.endpoints.iter().find(|endpoint| endpoint.label == row.endpoint);
            if let Some(purse) = endpoint.and_then(|endpoint| endpoint.purse.as_ref()) {
                *spends.entry(purse.name()).or_default() += row.units;
            }
        }
        for purse in self.providers.purses() {
            if let Some(&units) = spends.get(purse.name()) {
                plan.purses.push(PursePlan {
                    purse: purse.name().to_owned(),
                    units,
                    unit: purse.tariff().unit.clone(),
                    hours: units as f64 / purse.tariff().pace() / 3_600.0,
                    spent: purse.spent(),
                    of_month: purse.tariff().units_per_month,
                });
            }
        }
        plan
    }

    async fn requests(&self, chain: &Chain, days: &[DayTasks<'_>], log_window: u64) -> Requests {
        let mut asked = Requests { headers: 2, ..Requests::default() };
        let mut boundaries = BTreeSet::new();
        let mut unlisted: BTreeSet<&str> = BTreeSet::new();
        let mut layouts: BTreeMap<&str, LayoutHistory> = BTreeMap::new();
        for day in days {
            let key = BronzeKey::Blocks { chain: chain.name.clone(), date: day.window.day };
            let stored = match self.lake.get(&key.path()).await {
                Ok(Some(bytes)) => DayBlocks::from_bytes(&bytes).ok(),
                Ok(None) | Err(_) => None,
            };
            let blocks = match &stored {
                Some(blocks) => blocks.span().map_or(0, |span| span.count()),
                None => {
                    boundaries.extend([day.window.start, day.window.end]);
                    ((day.window.end - day.window.start) as f64 / chain.block_seconds).ceil() as u64
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
                asked.calls += snapshot_calls.div_ceil(CALLS_PER_BATCH) as u64 + 1;
            }
            if scans {
                // One query more for the log that must exist, and two boundaries around its second.
                asked.logs += blocks.div_ceil(log_window.max(1)) + 1;
                asked.headers += 2 * HEADERS_PER_BOUNDARY;
            }
        }
        asked.headers += boundaries.len() as u64 * HEADERS_PER_BOUNDARY;
        asked.calls += unlisted.len() as u64 * DISCOVERY_CALLS;
        asked
    }
}

#[derive(Default)]
struct Requests {
    headers: u64,
    calls: u64,
    logs: u64,
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
                .set_header(["chain", "days", "endpoint", "method", "requests", "units"]);
            for row in &self.rows {
                table.add_row([
                    Cell::new(&row.chain),
                    right(row.days),
                    Cell::new(&row.endpoint),
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

fn right(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

fn with_separators(number: u64) -> String {
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
