//! Flows: what the liquidations of each CSU-day add up to, before any null rule is applied.
//!
//! A row of silver `liquidation` is a leg. Legs with a debt side make liquidations (one for each `liq_id`); a leg that
//! only books bad debt is an event, but nobody was liquidated by it.

use crate::silver::Silver;
use crate::stocks::{Shares, shares};
use crate::sums::{CSU_DAY, Cells, CsuDay, how_many, only_if, ordered_sums, sorted_by};
use polars::prelude::*;
use std::collections::BTreeMap;

/// Sums and counts over the liquidation legs of one CSU-day. The default is a day without any.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flows {
    /// Liquidations: distinct `liq_id` with a debt side.
    pub(crate) count: i32,
    /// Logs.
    pub(crate) events: i32,
    /// Transactions with a liquidation.
    pub(crate) transactions: i32,
    /// Distinct borrowers of liquidations.
    pub(crate) borrowers: i32,
    /// Distinct liquidators.
    pub(crate) liquidators: i32,
    /// Legs with an amount that has no price.
    pub(crate) n_unpriced: i32,
    /// Liquidation legs that do not name the liquidator.
    pub(crate) n_unnamed: i32,
    /// USD of debt repaid, of the legs that have a price.
    pub(crate) debt: f64,
    /// USD of collateral received, of the legs that have a price.
    pub(crate) collateral: f64,
    /// USD of bad debt booked, of the legs that have a price.
    pub(crate) bad_debt: f64,
    /// USD of debt repaid in the largest liquidation; `None` without one.
    pub(crate) largest: Option<f64>,
    /// Liquidations with every side priced.
    pub(crate) n_priced: i32,
    /// Debt repaid by liquidator.
    pub(crate) by_liquidator: Shares,
}

const LEG_KEY: [&str; 4] = ["chain_id", "block_number", "log_index", "leg"];

/// Adds up `liquidation` by CSU and day. `csus` has the column `csu` of the run's CSUs.
pub(crate) fn flows(silver: &Silver, csus: LazyFrame) -> PolarsResult<BTreeMap<CsuDay, Flows>> {
    let legs = legs(silver, csus).collect()?;
    let mut flows: BTreeMap<CsuDay, Flows> = BTreeMap::new();

    let counted = counts(legs.clone().lazy()).collect()?;
    let cells = Cells(&counted);
    for row in cells.rows() {
        let of = flows.entry(cells.csu_day(row)?).or_default();
        of.count = cells.count("liquidations", row)?;
        of.transactions = cells.count("transactions", row)?;
        of.borrowers = cells.count("borrowers", row)?;
        of.liquidators = cells.count("liquidators", row)?;
        of.n_unpriced = cells.count("unpriced", row)?;
        of.n_unnamed = cells.count("unnamed", row)?;
    }

    let events = events(legs.clone().lazy()).collect()?;
    let cells = Cells(&events);
    for row in cells.rows() {
        flows.entry(cells.csu_day(row)?).or_default().events = cells.count("events", row)?;
    }

    let sums = ordered_sums(&legs, &CSU_DAY, &["debt_usd", "coll_usd", "bad_debt_usd"])?;
    let cells = Cells(&sums);
    for row in cells.rows() {
        let of = flows.entry(cells.csu_day(row)?).or_default();
        of.debt = cells.amount("debt_usd", row)?;
        of.collateral = cells.amount("coll_usd", row)?;
        of.bad_debt = cells.amount("bad_debt_usd", row)?;
    }

    let single = single_liquidations(&legs)?;
    let cells = Cells(&single);
    for row in cells.rows() {
        let of = flows.entry(cells.csu_day(row)?).or_default();
        of.largest = cells.float("largest", row)?;
        of.n_priced = cells.count("priced", row)?;
    }

    let named = legs.lazy().filter(col("is_liquidation").and(col("liquidator").is_not_null())).collect()?;
    for (csu_day, spread) in shares(&named, "liquidator", "debt_usd", &LEG_KEY)? {
        flows.entry(csu_day).or_default().by_liquidator = spread;
    }
    Ok(flows)
}

/// The run's legs by CSU and day, then in order of key.
fn legs(silver: &Silver, csus: LazyFrame) -> LazyFrame {
    let has = |name: &str| col(name).is_not_null();
    let unpriced = |raw: &str, usd: &str| has(raw).and(col(usd).is_null());
    let rows = silver
        .liquidation
        .clone()
        .join(csus.select([col("csu")]), [col("csu")], [col("csu")], JoinArgs::new(JoinType::Inner))
        .with_columns([
            has("debt_raw").alias("is_liquidation"),
            unpriced("debt_raw", "debt_usd")
                .or(unpriced("coll_raw", "coll_usd"))
                .or(unpriced("bad_debt_raw", "bad_debt_usd"))
                .alias("is_unpriced"),
            unpriced("debt_raw", "debt_usd").or(unpriced("coll_raw", "coll_usd")).alias("lacks_a_side"),
        ]);
    sorted_by(rows, &[&CSU_DAY[..], &LEG_KEY].concat())
}

fn counts(legs: LazyFrame) -> LazyFrame {
    let distinct =
        |name: &str| only_if(col("is_liquidation"), col(name)).drop_nulls().n_unique().cast(DataType::Int64);
    legs.group_by(CSU_DAY.map(col)).agg([
        distinct("liq_id").alias("liquidations"),
        distinct("tx_hash").alias("transactions"),
        distinct("borrower").alias("borrowers"),
        distinct("liquidator").alias("liquidators"),
        how_many(col("is_unpriced")).alias("unpriced"),
        how_many(col("is_liquidation").and(col("liquidator").is_null())).alias("unnamed"),
    ])
}

/// A log may have several legs.
fn events(legs: LazyFrame) -> LazyFrame {
    legs.group_by([col("csu"), col("date"), col("block_number"), col("log_index")])
        .agg([col("leg").len().alias("legs")])
        .group_by(CSU_DAY.map(col))
        .agg([col("legs").len().cast(DataType::Int64).alias("events")])
}

/// The largest liquidation of each CSU-day, and how many have a price on every side.
fn single_liquidations(legs: &DataFrame) -> PolarsResult<DataFrame> {
    let key = ["csu", "date", "liq_id"];
    let sorted = sorted_by(legs.clone().lazy(), &[&key[..], &LEG_KEY].concat()).collect()?;
    let debts = ordered_sums(&sorted, &key, &["debt_usd"])?;
    let sides = sorted.lazy().group_by(key.map(col)).agg([
        how_many(col("is_liquidation")).alias("debt_legs"),
        how_many(col("lacks_a_side")).alias("unpriced_legs"),
    ]);
    debts
        .lazy()
        .join(sides, key.map(col), key.map(col), JoinArgs::new(JoinType::Left))
        .filter(col("debt_legs").gt(lit(0)))
        .group_by(CSU_DAY.map(col))
        .agg([
            col("debt_usd").max().alias("largest"),
            how_many(col("unpriced_legs").eq(lit(0))).alias("priced"),
        ])
        .collect()
}
