//! G5: the panel's sums and counts, asked of silver again by plain lazy queries that share nothing with those that made it.
//! `crates/panel/checks/g5.sql` asks a third time, in DuckDB.

use super::{CheckError, OfGold, Subject};
use crate::silver::{Month, Silver};
use lake::day::Day;
use lake::failure::Failure;
use lake::registry::Csu;
use lake::run::Run;
use lake::status::{AssetClass, PriceSource, Role};
use polars::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Relative difference that the order of addition may make.
const TOLERANCE: f64 = 1e-9;

/// Columns that are sums, means or shares, and those that are counts.
const SUMS: [&str; 25] = [
    "supplied_usd",
    "collateral_usd",
    "borrowed_usd",
    "minted_usd",
    "available_usd",
    "tvl_priced_usd",
    "reserves_usd",
    "deficit_usd",
    "stable_supply_share",
    "stable_borrow_share",
    "hhi_supply",
    "hhi_borrow",
    "top1_supply_share",
    "supply_apr",
    "borrow_apr",
    "liq_threshold_wavg",
    "liq_bonus_wavg",
    "px_protocol_share",
    "px_chainlink_share",
    "px_other_share",
    "liq_debt_usd",
    "liq_coll_usd",
    "liq_bonus_usd",
    "liq_max_usd",
    "bad_debt_usd",
];
const COUNTS: [&str; 8] = [
    "n_markets",
    "n_reserves",
    "n_reserves_unpriced",
    "liq_count",
    "liq_event_count",
    "liq_tx_count",
    "liq_borrowers",
    "liq_liquidators",
];

/// Figures of silver: for each CSU and day number, by column.
#[derive(Default)]
pub(super) struct Figures(HashMap<(String, i32), HashMap<&'static str, f64>>);

/// G5 for the panel. Where gold has no figure there is nothing to compare: whether it should is G4's.
pub(super) fn panel(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let none = HashMap::new();
    let of_row: Vec<&HashMap<&'static str, f64>> = gold
        .csus
        .iter()
        .zip(&gold.days)
        .map(|(csu, day)| subject.figures.0.get(&(csu.clone(), day.days_since_epoch())).unwrap_or(&none))
        .collect();
    let mut failures = Vec::new();
    for (names, is_exact) in [(&SUMS[..], false), (&COUNTS[..], true)] {
        for name in names {
            for (row, found) in gold.numbers(name).into_iter().enumerate() {
                let Some(found) = found else { continue };
                // Silver without a row of that day: nothing there, nothing happened.
                let expected = of_row[row].get(name).copied().unwrap_or_default();
                if if is_exact { found != expected } else { !is_close(found, expected) } {
                    let failure =
                        Failure::new("not what silver's rows add up to").of_row(gold, row).column(name);
                    failures.push(failure.found_number(Some(found)).expected_number(Some(expected)));
                }
            }
        }
    }
    Ok(failures)
}

fn is_close(one: f64, two: f64) -> bool {
    (one - two).abs() <= TOLERANCE * one.abs().max(two.abs()).max(1e-6)
}

/// What the queries need besides a month.
pub(super) struct Asker {
    csus: DataFrame,
    can: DataFrame,
    excluded: DataFrame,
}

impl Asker {
    pub(super) fn of(run: &Run, silver: &Silver) -> Result<Self, CheckError> {
        let chain_id =
            |csu: &Csu| run.registry.chain_of(csu).and_then(|chain| i64::try_from(chain.chain_id).ok());
        let chain_ids: Vec<Option<i64>> = run.csus().map(chain_id).collect();
        let tokens = silver.token.clone().lazy().filter(col("pricing").eq(lit("excluded")));
        Ok(Self {
            csus: df!("csu" => run.csus.clone(), "chain_id" => chain_ids)?,
            can: silver.csu.select(["csu", "has_debt_amount"])?,
            excluded: tokens.select([col("chain_id"), col("token"), lit(true).alias("out")]).collect()?,
        })
    }

    /// Adds the figures of a month.
    pub(super) fn ask(&self, month: &Month, figures: &mut Figures) -> Result<(), CheckError> {
        let stocks = stock_queries(month, self.csus.clone().lazy(), self.excluded.clone().lazy());
        for query in stocks.into_iter().chain(flow_queries(month, self.can.clone().lazy())) {
            figures.add(&query.collect()?)?;
        }
        Ok(())
    }
}

impl Figures {
    /// Takes in the columns of a query, by CSU and day.
    fn add(&mut self, rows: &DataFrame) -> Result<(), CheckError> {
        let keys: Vec<(String, i32)> = (rows.column("csu")?.str()?.iter())
            .zip(rows.column("date")?.i32()?.iter())
            .map(|(csu, day)| (csu.unwrap_or_default().to_owned(), day.unwrap_or_default()))
            .collect();
        for name in SUMS.iter().chain(&COUNTS) {
            let Ok(column) = rows.column(name) else { continue };
            let values = column.cast(&DataType::Float64)?;
            for (key, value) in keys.iter().zip(values.f64()?.iter()) {
                if let Some(value) = value {
                    self.0.entry(key.clone()).or_default().insert(name, value);
                }
            }
        }
        Ok(())
    }
}

fn by_day() -> [Expr; 2] {
    [col("csu"), col("date")]
}

fn sum_where(condition: Expr, value: &str) -> Expr {
    when(condition).then(col(value)).otherwise(lit(0.0)).sum()
}

fn rows_where(condition: Expr) -> Expr {
    condition.cast(DataType::Int64).sum()
}

fn stock_queries(month: &Month, csus: LazyFrame, excluded: LazyFrame) -> Vec<LazyFrame> {
    let all = month.reserve_day.clone().lazy();
    let role = |role: Role| col("role").eq(lit(role.as_str()));
    let source = |source: PriceSource| col("price_source").eq(lit(source.as_str()));
    let on = [col("chain_id"), col("token")];
    let counted = all
        .clone()
        .join(csus, [col("csu")], [col("csu")], JoinArgs::new(JoinType::Inner))
        .join(excluded, on.clone(), on, JoinArgs::new(JoinType::Left))
        .filter(col("out").is_null())
        .with_columns([
            role(Role::Collateral).not().alias("is_supply"),
            role(Role::Reserve).or(role(Role::Base)).alias("is_lent"),
            (col("supplied_usd") * col("supply_apr")).alias("interest_in"),
            (col("borrowed_usd") * col("borrow_apr")).alias("interest_out"),
            (col("supplied_usd") * col("liq_threshold")).alias("thresholds"),
            (col("supplied_usd") * col("liq_bonus")).alias("bonuses"),
        ]);
    let backs = || col("liq_threshold").gt(lit(0.0));
    let sums = counted.clone().group_by(by_day()).agg([
        sum_where(col("is_supply"), "supplied_usd").alias("supplied_usd"),
        sum_where(col("is_supply").not(), "supplied_usd").alias("collateral_usd"),
        sum_where(col("is_lent"), "borrowed_usd").alias("borrowed_usd"),
        sum_where(role(Role::Minted), "borrowed_usd").alias("minted_usd"),
        col("available_usd").sum(),
        col("supplied_usd").sum().alias("tvl_priced_usd"),
        col("reserves_usd").sum(),
        col("deficit_usd").sum(),
        sum_where(col("is_supply").and(col("is_stablecoin")), "supplied_usd").alias("stable_in"),
        sum_where(col("is_lent").and(col("is_stablecoin")), "borrowed_usd").alias("stable_out"),
        sum_where(col("is_supply"), "interest_in").alias("interest_in"),
        sum_where(col("is_lent"), "interest_out").alias("interest_out"),
        sum_where(backs(), "supplied_usd").alias("backing"),
        sum_where(backs(), "thresholds").alias("thresholds"),
        sum_where(backs(), "bonuses").alias("bonuses"),
        sum_where(source(PriceSource::ProtocolOracle), "supplied_usd").alias("by_protocol"),
        sum_where(source(PriceSource::Chainlink), "supplied_usd").alias("by_chainlink"),
    ]);
    let over = |part: &str, whole: &str, name: &str| (col(part) / col(whole)).alias(name);
    let sums = sums.with_columns([
        over("stable_in", "supplied_usd", "stable_supply_share"),
        over("stable_out", "borrowed_usd", "stable_borrow_share"),
        over("interest_in", "supplied_usd", "supply_apr"),
        over("interest_out", "borrowed_usd", "borrow_apr"),
        over("thresholds", "backing", "liq_threshold_wavg"),
        over("bonuses", "backing", "liq_bonus_wavg"),
        over("by_protocol", "tvl_priced_usd", "px_protocol_share"),
        over("by_chainlink", "tvl_priced_usd", "px_chainlink_share"),
        (lit(1.0) - (col("by_protocol") + col("by_chainlink")) / col("tvl_priced_usd"))
            .alias("px_other_share"),
    ]);
    let spread = |keep: Expr, amount: &str, hhi: &str, top: &str| {
        let by_token = counted.clone().filter(keep).group_by([col("csu"), col("date"), col("token")]);
        let square = col("part") * col("part");
        by_token.agg([col(amount).sum().alias("part")]).group_by(by_day()).agg([
            (square.sum() / (col("part").sum() * col("part").sum())).alias(hhi),
            (col("part").max() / col("part").sum()).alias(top),
        ])
    };
    let has = |raw: &str| col(raw).is_not_null().and(col(raw).neq(lit("0")));
    let has_balance = ["supplied_raw", "borrowed_raw", "available_raw", "reserves_raw", "deficit_raw"]
        .map(has)
        .into_iter()
        .fold(lit(false), Expr::or);
    let unpriced = counted
        .clone()
        .group_by([col("csu"), col("date"), col("market_id"), col("token")])
        .agg([rows_where(has_balance.and(col("price_usd").is_null())).gt(lit(0)).alias("is_unpriced")])
        .group_by(by_day())
        .agg([rows_where(col("is_unpriced")).alias("n_reserves_unpriced")]);
    let sizes = all
        .group_by([col("csu"), col("date"), col("market_id"), col("token")])
        .agg([len().alias("roles")])
        .group_by(by_day())
        .agg([col("market_id").n_unique().alias("n_markets"), len().alias("n_reserves")]);
    vec![
        sums,
        spread(col("is_supply"), "supplied_usd", "hhi_supply", "top1_supply_share"),
        spread(col("is_lent"), "borrowed_usd", "hhi_borrow", "top1_borrow_share"),
        unpriced,
        sizes,
    ]
}

fn flow_queries(month: &Month, can: LazyFrame) -> Vec<LazyFrame> {
    let there = |name: &str| col(name).is_not_null();
    let legs = month.liquidation.clone().lazy();
    let only_bad_debt = there("bad_debt_raw").and(col("coll_raw").is_null()).and(col("coll_usd").is_null());
    let counted = legs
        .clone()
        .join(can, [col("csu")], [col("csu")], JoinArgs::new(JoinType::Inner))
        .filter(there("debt_raw").or(col("has_debt_amount").not().and(only_bad_debt.not())));
    let distinct = |name: &str| col(name).drop_nulls().n_unique();
    let of_counted = counted.clone().group_by(by_day()).agg([
        distinct("liq_id").alias("liq_count"),
        distinct("tx_hash").alias("liq_tx_count"),
        distinct("borrower").alias("liq_borrowers"),
        distinct("liquidator").alias("liq_liquidators"),
    ]);
    let events = legs
        .clone()
        .group_by([col("csu"), col("date"), col("block_number"), col("log_index")])
        .agg([len().alias("legs")])
        .group_by(by_day())
        .agg([len().alias("liq_event_count")]);
    let sums = legs
        .group_by(by_day())
        .agg([
            col("debt_usd").sum().alias("liq_debt_usd"),
            col("coll_usd").sum().alias("liq_coll_usd"),
            col("bad_debt_usd").sum(),
        ])
        .with_column((col("liq_coll_usd") - col("liq_debt_usd")).alias("liq_bonus_usd"));
    let largest = counted
        .group_by([col("csu"), col("date"), col("liq_id")])
        .agg([col("debt_usd").sum().alias("debt")])
        .group_by(by_day())
        .agg([col("debt").max().alias("liq_max_usd")]);
    vec![of_counted, events, sums, largest]
}

/// Columns of `panel_daily_asset` that add up to those of the panel.
const ADDED: [&str; 11] = [
    "n_reserves_unpriced",
    "supplied_usd",
    "collateral_usd",
    "borrowed_usd",
    "minted_usd",
    "available_usd",
    "tvl_usd",
    "tvl_net_usd",
    "tvl_priced_usd",
    "reserves_usd",
    "deficit_usd",
];

/// The classes of a CSU-day are all there, and add up to its row of the panel.
pub(super) fn assets(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let Some(assets) = subject.assets else { return Ok(Vec::new()) };
    let gold = subject.gold;
    let mut failures = Vec::new();
    let mut rows: BTreeMap<(&str, Day), Vec<usize>> = BTreeMap::new();
    for (row, (csu, day)) in assets.csus.iter().zip(&assets.days).enumerate() {
        rows.entry((csu, *day)).or_default().push(row);
    }
    let classes = assets.texts("asset_class");
    let of_panel: Vec<Vec<usize>> = (0..gold.height())
        .map(|row| rows.remove(&(gold.csus[row].as_str(), gold.days[row])).unwrap_or_default())
        .collect();
    for (row, parts) in of_panel.iter().enumerate() {
        let mut found: Vec<&str> = parts.iter().filter_map(|part| classes[*part]).collect();
        found.sort_unstable();
        let mut expected = AssetClass::WORDS.to_vec();
        expected.sort_unstable();
        if found != expected {
            let failure = Failure::new("not every class once").of_row(gold, row).column("asset_class");
            failures.push(failure.found(found.join(" ")).expected(expected.join(" ")));
        }
    }
    failures
        .extend(rows.keys().map(|(csu, day)| Failure::new("the panel has no such day").csu(csu).date(*day)));
    for name in ADDED {
        let (totals, parts) = (gold.numbers(name), assets.numbers(name));
        for (row, of_row) in of_panel.iter().enumerate() {
            let Some(total) = totals[row] else { continue };
            let sum = of_row.iter().filter_map(|part| parts[*part]).fold(0.0, |sum, part| sum + part);
            if !is_close(sum, total) {
                let failure =
                    Failure::new("the classes do not add up to the panel").of_row(gold, row).column(name);
                failures.push(failure.found_number(Some(sum)).expected_number(Some(total)));
            }
        }
    }
    Ok(failures)
}
