//! Flows: what the liquidations of each CSU-day add up to, before any null rule is applied.
//!
//! A row of silver `liquidation` is a leg. Legs with a debt side make liquidations (one for each `liq_id`); a leg that
//! only books bad debt is an event, but nobody was liquidated by it. Where a family's events give no debt, every leg but
//! one of bad debt alone makes one.

use crate::stocks::{in_left_order, words};
use crate::sums::{ByCsuDay, CSU_DAY, Runs, Shares, csu_days, flags, floats, in_order, texts};
use lake::status::PriceSource;
use polars::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Sums and counts over the liquidation legs of one CSU-day. The default is a day without any.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flows {
    /// Liquidations.
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
    /// Whether a price is an off-chain one, fetched later.
    pub(crate) has_fills: bool,
    /// Remarks on the legs.
    pub(crate) remarks: BTreeSet<String>,
}

/// Order of the rows: by CSU and day, then in order of silver's key.
const LEG_ORDER: [&str; 6] = ["csu_at", "date", "chain_id", "block_number", "log_index", "leg"];
/// Key of a leg in silver.
pub(crate) const LEG_KEY: [&str; 4] = ["chain_id", "block_number", "log_index", "leg"];

/// Adds up a frame of [`legs`] by CSU and day.
pub(crate) fn flows(legs: &DataFrame) -> PolarsResult<ByCsuDay<Box<Flows>>> {
    let days = Runs::of(legs, &CSU_DAY)?;
    let events = days.counts_of(&days.by(legs, &LEG_ORDER[2..5])?, |_| true);
    let is_liquidation = flags(legs, "is_liquidation")?;
    let lacks_a_side = flags(legs, "lacks_a_side")?;
    let n_unpriced = days.counts(&flags(legs, "is_unpriced")?);
    let filled = days.counts(&flags(legs, "is_filled")?);
    let debts = floats(legs, "debt_usd")?;
    let debt = days.sums(&debts);
    let collateral = days.sums(&floats(legs, "coll_usd")?);
    let bad_debt = days.sums(&floats(legs, "bad_debt_usd")?);
    let [liq_id, tx_hash, borrower, liquidator, remarks] =
        ["liq_id", "tx_hash", "borrower", "liquidator", "flags"].map(|name| texts(legs, name));
    let (liq_id, tx_hash, borrower) = (liq_id?, tx_hash?, borrower?);
    let (liquidator, remarks) = (liquidator?, remarks?);
    let csu_days = csu_days(legs)?;

    let mut flows = ByCsuDay::default();
    for (at, run) in days.ranges().enumerate() {
        let Some(csu_day) = csu_days.get(run.start) else { continue };
        let liquidations: Vec<usize> = run.clone().filter(|row| is_liquidation[*row]).collect();
        let distinct = |names: &[Option<&str>]| {
            let names: BTreeSet<&str> = liquidations.iter().filter_map(|row| names[*row]).collect();
            i32::try_from(names.len()).unwrap_or(i32::MAX)
        };
        let singles = singles(run.clone(), &liq_id, &is_liquidation, &lacks_a_side, &debts);
        let mut by_liquidator: BTreeMap<&str, f64> = BTreeMap::new();
        for row in &liquidations {
            if let Some(name) = liquidator[*row] {
                *by_liquidator.entry(name).or_default() += debts[*row];
            }
        }
        let of = Flows {
            count: distinct(&liq_id),
            events: events[at],
            transactions: distinct(&tx_hash),
            borrowers: distinct(&borrower),
            liquidators: distinct(&liquidator),
            n_unpriced: n_unpriced[at],
            n_unnamed: liquidations.iter().fold(0, |n, row| n + i32::from(liquidator[*row].is_none())),
            debt: debt[at],
            collateral: collateral[at],
            bad_debt: bad_debt[at],
            largest: singles.values().map(|single| single.debt).reduce(f64::max),
            n_priced: singles.values().fold(0, |n, single| n + i32::from(!single.lacks_a_side)),
            by_liquidator: Shares::of(by_liquidator.into_values()),
            has_fills: filled[at] > 0,
            remarks: words(remarks.get(run).unwrap_or_default()),
        };
        flows.insert(*csu_day, Box::new(of));
    }
    Ok(flows)
}

/// One liquidation.
#[derive(Default)]
struct Single {
    debt: f64,
    lacks_a_side: bool,
    counts: bool,
}

/// The liquidations of a run of legs, by `liq_id`.
fn singles<'a>(
    run: std::ops::Range<usize>,
    liq_id: &[Option<&'a str>],
    is_liquidation: &[bool],
    lacks_a_side: &[bool],
    debts: &[f64],
) -> BTreeMap<Option<&'a str>, Single> {
    let mut singles: BTreeMap<_, Single> = BTreeMap::new();
    for row in run {
        let single = singles.entry(liq_id[row]).or_default();
        single.debt += debts[row];
        single.lacks_a_side |= lacks_a_side[row];
        single.counts |= is_liquidation[row];
    }
    singles.retain(|_, single| single.counts);
    singles
}

/// The run's legs by CSU and day, then in order of key.
///
/// `liquidation` is silver's table; `csus` has `csu`, `csu_at` and `gives_debt` (whether the events of the family give the
/// debt repaid) of the run's CSUs.
pub(crate) fn legs(liquidation: LazyFrame, csus: LazyFrame) -> PolarsResult<DataFrame> {
    let has = |name: &str| col(name).is_not_null();
    let unpriced = |raw: &str, usd: &str| has(raw).and(col(usd).is_null());
    let is_filled = |source: &str| col(source).eq_missing(lit(PriceSource::OffChain.as_str()));
    let only_bad_debt = has("bad_debt_raw").and(has("coll_raw").not()).and(has("coll_usd").not());
    let rows = liquidation
        .join(
            csus.select([col("csu"), col("csu_at"), col("gives_debt")]),
            [col("csu")],
            [col("csu")],
            in_left_order(JoinType::Inner),
        )
        .with_columns([
            has("debt_raw").or(col("gives_debt").not().and(only_bad_debt.not())).alias("is_liquidation"),
            unpriced("debt_raw", "debt_usd")
                .or(unpriced("coll_raw", "coll_usd"))
                .or(unpriced("bad_debt_raw", "bad_debt_usd"))
                .alias("is_unpriced"),
            unpriced("debt_raw", "debt_usd").or(unpriced("coll_raw", "coll_usd")).alias("lacks_a_side"),
            is_filled("debt_price_source").or(is_filled("coll_price_source")).alias("is_filled"),
        ])
        .collect()?;
    in_order(rows, &LEG_ORDER)
}
