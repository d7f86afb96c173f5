//! Sums over CSUs by day, as tables that the charts are drawn from.

use super::facts::{Fact, Facts};
use crate::numbers;
use std::collections::BTreeMap;

/// Groups of a chart; the smaller ones are put together.
const GROUPS: usize = 8;
/// What the smaller groups are called together.
const OTHERS: &str = "all others";

/// A part of the report: charts of one matter.
pub(super) struct Part {
    pub(super) id: &'static str,
    pub(super) heading: &'static str,
    pub(super) lede: &'static str,
    pub(super) charts: Vec<Chart>,
}

/// A chart and its table.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) kind: &'static str,
    pub(super) unit: &'static str,
    pub(super) heading: &'static str,
    pub(super) remark: &'static str,
    pub(super) caption: &'static str,
    pub(super) groups: Vec<String>,
    pub(super) has_counts: bool,
    pub(super) rows: Vec<DayRow>,
}

/// A day of a table.
pub(super) struct DayRow {
    pub(super) day: String,
    pub(super) cells: Vec<String>,
    pub(super) count: String,
    pub(super) measured: usize,
    pub(super) expected: usize,
}

/// Two sums of a group on a day: what is shown is the first, or the first over the second.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    part: f64,
    whole: f64,
    n: usize,
}

/// What a chart sums.
#[derive(Clone, Copy)]
struct Measure {
    /// The figure of a row, and what it is a share of (1 for plain sums).
    of: fn(&Fact) -> Option<(f64, f64)>,
    /// Whether the row could have one.
    is_expected: fn(&Fact) -> bool,
    /// Whether the first sum over the second is shown.
    is_share: bool,
}

const TVL: Measure =
    Measure { of: |row| row.tvl_usd.map(|tvl| (tvl, 1.0)), is_expected: Fact::has_stocks, is_share: false };
const UTILIZATION: Measure = Measure {
    of: |row| row.borrowed_usd.zip(row.supplied_usd),
    is_expected: Fact::has_stocks,
    is_share: true,
};
const REPAID: Measure = Measure {
    of: |row| row.liq_debt_usd.map(|debt| (debt, 1.0)),
    is_expected: Fact::has_flows,
    is_share: false,
};

fn protocol(row: &Fact) -> String {
    row.protocol.clone()
}

fn chain(row: &Fact) -> String {
    row.chain.clone()
}

pub(super) fn parts(facts: &Facts) -> Vec<Part> {
    let by = |id, kind, unit, heading, remark, caption, measure, group: fn(&Fact) -> String| {
        let (groups, rows) = table(facts, measure, group);
        Chart { id, kind, unit, heading, remark, caption, groups, has_counts: false, rows }
    };
    let usd = "US dollars at the day's last block";
    vec![
        Part {
            id: "tvl",
            heading: "TVL",
            lede: "Gross: what is supplied, and collateral that cannot be borrowed, at on-chain oracle prices. On a day with a grey band not every CSU could be measured; the sum is of those that were, and no gap is filled.",
            charts: vec![
                by(
                    "tvl-protocol",
                    "stack",
                    "usd",
                    "TVL by protocol",
                    usd,
                    "Sum of tvl_usd over the CSUs measured.",
                    TVL,
                    protocol,
                ),
                by(
                    "tvl-chain",
                    "stack",
                    "usd",
                    "TVL by chain",
                    usd,
                    "Sum of tvl_usd over the CSUs measured.",
                    TVL,
                    chain,
                ),
            ],
        },
        Part {
            id: "utilization",
            heading: "Utilization",
            lede: "What is borrowed as a share of what is supplied. Debt that a facilitator mints, such as GHO's, is left out.",
            charts: vec![
                by(
                    "utilization-protocol",
                    "lines",
                    "share",
                    "Utilization by protocol",
                    "weighted by US dollars",
                    "Sum of borrowed_usd over sum of supplied_usd.",
                    UTILIZATION,
                    protocol,
                ),
                by(
                    "utilization-chain",
                    "lines",
                    "share",
                    "Utilization by chain",
                    "weighted by US dollars",
                    "Sum of borrowed_usd over sum of supplied_usd.",
                    UTILIZATION,
                    chain,
                ),
            ],
        },
        Part {
            id: "liquidations",
            heading: "Liquidations",
            lede: "Debt repaid by liquidators each day, on a logarithmic axis: a few days carry most of a year. A hollow ring is a measured zero; a day without any mark was not measured.",
            charts: vec![
                liquidations(facts, "liquidations-protocol", "Debt repaid by protocol", protocol),
                liquidations(facts, "liquidations-chain", "Debt repaid by chain", chain),
            ],
        },
        Part {
            id: "prices",
            heading: "Where prices come from",
            lede: "Shares of each source in the value that could be priced, over all CSUs.",
            charts: vec![prices(facts)],
        },
    ]
}

/// The names of the largest groups, then [`OTHERS`] if there are more.
fn largest(facts: &Facts, measure: Measure, group: fn(&Fact) -> String) -> Vec<String> {
    let mut sizes: BTreeMap<String, f64> = BTreeMap::new();
    for row in &facts.rows {
        // By what a share is of, so that a small group does not come first for a large share.
        let size = (measure.of)(row).map_or(0.0, |(part, whole)| if measure.is_share { whole } else { part });
        *sizes.entry(group(row)).or_insert(0.0) += size;
    }
    let mut names: Vec<(String, f64)> = sizes.into_iter().collect();
    names.sort_by(|one, other| other.1.total_cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let mut names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    if names.len() > GROUPS {
        names.truncate(GROUPS - 1);
        names.push(OTHERS.to_owned());
    }
    names
}

fn table(facts: &Facts, measure: Measure, group: fn(&Fact) -> String) -> (Vec<String>, Vec<DayRow>) {
    let groups = largest(facts, measure, group);
    let mut days: BTreeMap<_, (Vec<Sums>, usize, usize)> = BTreeMap::new();
    for row in &facts.rows {
        let (sums, measured, expected) =
            days.entry(row.date).or_insert_with(|| (vec![Sums::default(); groups.len()], 0, 0));
        *expected += usize::from((measure.is_expected)(row));
        let Some((part, whole)) = (measure.of)(row) else { continue };
        *measured += 1;
        let name = group(row);
        let at = groups.iter().position(|known| *known == name).unwrap_or(groups.len() - 1);
        if let Some(sum) = sums.get_mut(at) {
            sum.part += part;
            sum.whole += whole;
            sum.n += 1;
        }
    }
    let shown = |sum: &Sums| {
        if measure.is_share {
            numbers::fraction((sum.whole > 0.0).then(|| sum.part / sum.whole))
        } else {
            numbers::usd((sum.n > 0).then_some(sum.part))
        }
    };
    let rows = days.into_iter().map(|(date, (sums, measured, expected))| DayRow {
        day: date.to_string(),
        cells: sums.iter().map(shown).collect(),
        count: String::new(),
        measured,
        expected,
    });
    (groups, rows.collect())
}

fn liquidations(facts: &Facts, id: &'static str, heading: &'static str, group: fn(&Fact) -> String) -> Chart {
    let (groups, mut rows) = table(facts, REPAID, group);
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for row in &facts.rows {
        if let Some(count) = row.liq_count {
            *counts.entry(row.date.to_string()).or_insert(0) += i64::from(count);
        }
    }
    for row in &mut rows {
        row.count =
            counts.get(&row.day).map_or_else(|| numbers::NULL.to_owned(), |count| numbers::whole(*count));
    }
    Chart {
        id,
        kind: "log",
        unit: "usd",
        heading,
        remark: "US dollars a day, logarithmic",
        caption: "Sum of liq_debt_usd over the CSUs whose day was scanned and priced, and the number of liquidations.",
        groups,
        has_counts: true,
        rows,
    }
}

fn prices(facts: &Facts) -> Chart {
    let mut days: BTreeMap<_, ([f64; 3], f64, usize, usize)> = BTreeMap::new();
    for row in &facts.rows {
        let (sums, priced, measured, expected) = days.entry(row.date).or_insert(([0.0; 3], 0.0, 0, 0));
        *expected += usize::from(row.has_stocks());
        let shares = [row.px_protocol_share, row.px_chainlink_share, row.px_other_share];
        let Some(value) = row.tvl_priced_usd else { continue };
        *measured += 1;
        *priced += value;
        for (sum, share) in sums.iter_mut().zip(shares) {
            // Null only where nothing has a price, and then the value is 0.
            if let Some(share) = share {
                *sum += share * value;
            }
        }
    }
    let rows = days.into_iter().map(|(date, (sums, priced, measured, expected))| DayRow {
        day: date.to_string(),
        cells: sums.iter().map(|sum| numbers::fraction((priced > 0.0).then(|| sum / priced))).collect(),
        count: String::new(),
        measured,
        expected,
    });
    Chart {
        id: "prices-source",
        kind: "stack",
        unit: "share",
        heading: "Price sources",
        remark: "share of the priced value",
        caption: "px_*_share weighted by tvl_priced_usd.",
        groups: ["protocol's oracle", "Chainlink", "other"].map(str::to_owned).to_vec(),
        has_counts: false,
        rows: rows.collect(),
    }
}
