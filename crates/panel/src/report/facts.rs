//! What the report is made of: the rows of gold with the columns it shows, and what silver adds in words.

use crate::rows::{Rows, RowsError, at, text_at};
use arrow_array::types::{Float64Type, Int32Type};
use lake::day::Day;
use lake::path::silver_month;
use lake::run::Run;
use lake::schema::Row;
use lake::schema::silver::{Coverage, ReserveDay};
use lake::status::{Dataset, Status, UsdStatus};
use lake::store::Lake;
use std::collections::{BTreeMap, BTreeSet};

/// One row of gold, with the columns that the report shows.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    pub(super) csu: String,
    pub(super) date: Day,
    pub(super) protocol: String,
    pub(super) chain: String,
    pub(super) status: Status,
    pub(super) snap_status: Status,
    pub(super) liq_status: Status,
    pub(super) usd_status: UsdStatus,
    pub(super) flags: String,
    pub(super) tvl_usd: Option<f64>,
    pub(super) tvl_net_usd: Option<f64>,
    pub(super) tvl_priced_usd: Option<f64>,
    pub(super) supplied_usd: Option<f64>,
    pub(super) borrowed_usd: Option<f64>,
    pub(super) utilization: Option<f64>,
    pub(super) supply_apr: Option<f64>,
    pub(super) borrow_apr: Option<f64>,
    pub(super) liq_count: Option<i32>,
    pub(super) liq_debt_usd: Option<f64>,
    pub(super) px_protocol_share: Option<f64>,
    pub(super) px_chainlink_share: Option<f64>,
    pub(super) px_other_share: Option<f64>,
}

impl Fact {
    /// Whether nothing is left to do for this row.
    pub(super) fn is_done(&self) -> bool {
        !self.status.is_worth_a_retry()
    }

    /// Whether the CSU was there on that day, so that stocks could be measured.
    pub(super) fn has_stocks(&self) -> bool {
        is_there(self.snap_status)
    }

    /// Whether the CSU was there on that day, so that liquidations could be counted.
    pub(super) fn has_flows(&self) -> bool {
        is_there(self.liq_status)
    }
}

fn is_there(status: Status) -> bool {
    !matches!(status, Status::NotDeployed | Status::Retired | Status::Unsupported | Status::NoBlock)
}

/// The rows of gold in order of CSU and day.
pub(super) struct Facts {
    pub(super) rows: Vec<Fact>,
    pub(super) releases: Vec<String>,
    pub(super) registries: Vec<String>,
}

/// How many CSUs a figure of a day stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) date: Day,
    pub(super) measured: usize,
    pub(super) expected: usize,
}

impl Facts {
    pub(super) fn read(gold: &Rows) -> Result<Self, RowsError> {
        let keys = gold.keys()?;
        let text = |name| gold.text(name);
        let number = |name| gold.numbers::<Float64Type>(name);
        let (protocol, chain, flags) = (text("protocol")?, text("chain")?, text("quality_flags")?);
        let (status, snap, liq) = (text("status")?, text("snap_status")?, text("liq_status")?);
        let usd = text("usd_status")?;
        let (tvl, net, priced) = (number("tvl_usd")?, number("tvl_net_usd")?, number("tvl_priced_usd")?);
        let (supplied, borrowed) = (number("supplied_usd")?, number("borrowed_usd")?);
        let (utilization, supply_apr, borrow_apr) =
            (number("utilization")?, number("supply_apr")?, number("borrow_apr")?);
        let (count, debt) = (gold.numbers::<Int32Type>("liq_count")?, number("liq_debt_usd")?);
        let px = [number("px_protocol_share")?, number("px_chainlink_share")?, number("px_other_share")?];
        let mut rows = Vec::with_capacity(keys.len());
        for (row, (csu, date)) in keys.into_iter().enumerate() {
            let word = |column| text_at(column, row).unwrap_or_default();
            let known = |text: &str| {
                text.parse::<Status>().map_err(|error| gold.damaged(format!("row {row}: {error}")))
            };
            rows.push(Fact {
                csu,
                date,
                protocol: word(protocol).to_owned(),
                chain: word(chain).to_owned(),
                status: known(word(status))?,
                snap_status: known(word(snap))?,
                liq_status: known(word(liq))?,
                usd_status: word(usd).parse().map_err(|error| gold.damaged(format!("row {row}: {error}")))?,
                flags: word(flags).to_owned(),
                tvl_usd: at(tvl, row),
                tvl_net_usd: at(net, row),
                tvl_priced_usd: at(priced, row),
                supplied_usd: at(supplied, row),
                borrowed_usd: at(borrowed, row),
                utilization: at(utilization, row),
                supply_apr: at(supply_apr, row),
                borrow_apr: at(borrow_apr, row),
                liq_count: at(count, row),
                liq_debt_usd: at(debt, row),
                px_protocol_share: at(px[0], row),
                px_chainlink_share: at(px[1], row),
                px_other_share: at(px[2], row),
            });
        }
        rows.sort_by(|one, other| (&one.csu, one.date).cmp(&(&other.csu, other.date)));
        let distinct = |name| -> Result<Vec<String>, RowsError> {
            let words: BTreeSet<&str> = gold.text(name)?.iter().flatten().collect();
            Ok(words.into_iter().map(str::to_owned).collect())
        };
        Ok(Self { rows, releases: distinct("release")?, registries: distinct("registry_hash")? })
    }

    /// First day.
    pub(super) fn first(&self) -> Day {
        self.days().first().copied().unwrap_or(Day::from_days_since_epoch(0))
    }

    /// Last day.
    pub(super) fn last(&self) -> Day {
        self.days().last().copied().unwrap_or(Day::from_days_since_epoch(0))
    }

    /// The days, in order.
    pub(super) fn days(&self) -> Vec<Day> {
        self.rows.iter().map(|row| row.date).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The CSUs, in order, each with its rows in order of day.
    pub(super) fn csus(&self) -> Vec<&[Fact]> {
        self.rows.chunk_by(|one, other| one.csu == other.csu).collect()
    }

    /// The last day on which every CSU's TVL was measured; where there is none, the last of those with the most.
    pub(super) fn best_day(&self) -> Option<Measured> {
        let mut days: BTreeMap<Day, Measured> = BTreeMap::new();
        for row in &self.rows {
            let day = days.entry(row.date).or_insert(Measured { date: row.date, measured: 0, expected: 0 });
            day.measured += usize::from(row.tvl_usd.is_some());
            day.expected += usize::from(row.has_stocks());
        }
        let some = days.into_values().filter(|day| day.measured > 0);
        some.max_by_key(|day| {
            let is_whole = day.measured >= day.expected;
            (is_whole, if is_whole { 0 } else { day.measured }, day.date)
        })
    }
}

/// A reserve on the last day on which its CSU was measured.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    pub(super) symbol: String,
    pub(super) role: String,
    pub(super) supplied_usd: Option<f64>,
    pub(super) borrowed_usd: Option<f64>,
    pub(super) price_usd: Option<f64>,
    pub(super) price_source: Option<String>,
}

/// Why a task did not end as planned: the word and the words.
pub(super) type Cause = (String, String);

/// What silver adds. All of it may be missing: the report is of gold.
#[derive(Default)]
pub(super) struct Silver {
    pub(super) has_coverage: bool,
    /// By CSU, day and dataset.
    pub(super) causes: BTreeMap<(String, Day, Dataset), Cause>,
    /// By CSU.
    pub(super) reserves: BTreeMap<String, Vec<Reserve>>,
}

const COVERAGE: &[&str] = &["csu", "date", "dataset", "reason", "message"];
const RESERVES: &[&str] =
    &["csu", "date", "token", "symbol", "role", "supplied_usd", "borrowed_usd", "price_usd", "price_source"];

impl Silver {
    pub(super) async fn read(run: &Run, lake: &Lake, facts: &Facts) -> Result<Self, super::ReportError> {
        let mut silver = Self::default();
        let months: BTreeSet<String> = run.days.days().map(Day::month).collect();
        let wanted: BTreeMap<&str, Day> = facts
            .csus()
            .into_iter()
            .filter_map(|rows| {
                let last = rows.iter().rfind(|row| row.snap_status == Status::Collected)?;
                Some((last.csu.as_str(), last.date))
            })
            .collect();
        let months_wanted: BTreeSet<String> = wanted.values().map(|day| day.month()).collect();
        for month in &months {
            let path = silver_month(Coverage::TABLE.name, month);
            if let Some(table) = Rows::of_lake(lake, &path, COVERAGE).await? {
                silver.has_coverage = true;
                silver.add_causes(&table)?;
            }
        }
        for month in months_wanted {
            let path = silver_month(ReserveDay::TABLE.name, &month);
            if let Some(table) = Rows::of_lake(lake, &path, RESERVES).await? {
                silver.add_reserves(&table, &wanted)?;
            }
        }
        Ok(silver)
    }

    fn add_causes(&mut self, table: &Rows) -> Result<(), RowsError> {
        let (dataset, reason, message) =
            (table.text("dataset")?, table.text("reason")?, table.text("message")?);
        for (row, (csu, date)) in table.keys()?.into_iter().enumerate() {
            let Some(reason) = text_at(reason, row) else { continue };
            let Some(Ok(dataset)) = text_at(dataset, row).map(str::parse::<Dataset>) else { continue };
            let message = text_at(message, row).unwrap_or_default().to_owned();
            self.causes.insert((csu, date, dataset), (reason.to_owned(), message));
        }
        Ok(())
    }

    fn add_reserves(&mut self, table: &Rows, wanted: &BTreeMap<&str, Day>) -> Result<(), RowsError> {
        let (symbol, token, role) = (table.text("symbol")?, table.text("token")?, table.text("role")?);
        let (supplied, borrowed) =
            (table.numbers::<Float64Type>("supplied_usd")?, table.numbers::<Float64Type>("borrowed_usd")?);
        let (price, source) = (table.numbers::<Float64Type>("price_usd")?, table.text("price_source")?);
        for (row, (csu, date)) in table.keys()?.into_iter().enumerate() {
            if wanted.get(csu.as_str()) != Some(&date) {
                continue;
            }
            let symbol = text_at(symbol, row).or_else(|| text_at(token, row)).unwrap_or_default();
            self.reserves.entry(csu).or_default().push(Reserve {
                symbol: symbol.to_owned(),
                role: text_at(role, row).unwrap_or_default().to_owned(),
                supplied_usd: at(supplied, row),
                borrowed_usd: at(borrowed, row),
                price_usd: at(price, row),
                price_source: text_at(source, row).map(str::to_owned),
            });
        }
        for reserves in self.reserves.values_mut() {
            // Largest first; what has no price last, in order of the table's key.
            reserves.sort_by(|one, other| {
                let size = |reserve: &Reserve| reserve.supplied_usd.unwrap_or(-1.0);
                size(other).total_cmp(&size(one))
            });
        }
        Ok(())
    }
}
