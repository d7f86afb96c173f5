//! Stocks: what the reserves of each CSU-day add up to, before any null rule is applied.

use crate::silver::Silver;
use crate::sums::{CSU_DAY, Cells, CsuDay, how_many, only_if, ordered_sums, sorted_by};
use lake::status::{PriceSource, Role};
use polars::prelude::*;
use std::collections::BTreeMap;

/// Sums and counts over the reserves of one CSU-day. USD amounts leave out reserves of excluded tokens, and count a
/// reserve without a price as nothing: whether a sum is a total is for [`crate::frame`] to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stocks {
    /// Markets, reserves of excluded tokens included.
    pub(crate) n_markets: i32,
    /// Reserves (market and token), those of excluded tokens included.
    pub(crate) n_reserves: i32,
    /// Reserves with a balance, without those of excluded tokens.
    pub(crate) n_with_balance: i32,
    /// Those of them without a price.
    pub(crate) n_unpriced: i32,
    /// Reserves with a balance whose token is excluded from pricing.
    pub(crate) n_excluded: i32,
    /// Rows that keep the sums from being totals.
    pub(crate) n_incomplete: i32,
    /// USD of suppliers of lendable reserves.
    pub(crate) supplied: f64,
    /// USD of deposits that cannot be borrowed.
    pub(crate) collateral: f64,
    /// USD of debt funded by suppliers.
    pub(crate) borrowed: f64,
    /// USD of minted debt.
    pub(crate) minted: f64,
    /// USD that can be withdrawn or borrowed now.
    pub(crate) available: f64,
    /// Lendable reserves that do not tell what is available.
    pub(crate) n_without_available: i32,
    /// USD of the protocol's own share; `None` when a lendable reserve does not tell, or there is none.
    pub(crate) reserves: Option<f64>,
    /// USD of booked bad debt; `None` when no reserve tells.
    pub(crate) deficit: Option<f64>,
    /// Whether the contracts keep a figure for booked bad debt.
    pub(crate) keeps_deficit: bool,
    /// Parts of `supplied` and `borrowed` in stablecoins, USD.
    pub(crate) stable_supplied: f64,
    /// See `stable_supplied`.
    pub(crate) stable_borrowed: f64,
    /// Sum of `supplied` x rate; `None` when a reserve with weight has no rate.
    pub(crate) supply_interest: Option<f64>,
    /// Sum of `borrowed` x rate; `None` when a reserve with weight has no rate.
    pub(crate) borrow_interest: Option<f64>,
    /// `supply_interest` over stablecoins.
    pub(crate) stable_supply_interest: Option<f64>,
    /// `borrow_interest` over stablecoins.
    pub(crate) stable_borrow_interest: Option<f64>,
    /// USD supplied in tokens that may back debt.
    pub(crate) backing: f64,
    /// Sum of `backing` x liquidation threshold.
    pub(crate) backing_threshold: f64,
    /// Sum of `backing` x liquidation bonus; `None` when a reserve with weight has none.
    pub(crate) backing_bonus: Option<f64>,
    /// USD supplied and priced by the protocol's own oracle, by Chainlink, by any other source.
    pub(crate) by_protocol: f64,
    /// See `by_protocol`.
    pub(crate) by_chainlink: f64,
    /// See `by_protocol`.
    pub(crate) by_other: f64,
    /// Age of the oldest price of a reserve with a balance, seconds.
    pub(crate) max_price_age_s: Option<i64>,
    /// `supplied` by token.
    pub(crate) supply_tokens: Shares,
    /// `borrowed` by token.
    pub(crate) borrow_tokens: Shares,
}

/// How an amount is spread over names (tokens, liquidators).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Shares {
    total: f64,
    squares: f64,
    largest: f64,
}

impl Shares {
    /// From the total, the sum of squares and the largest part.
    pub(crate) fn new(total: f64, squares: f64, largest: f64) -> Self {
        Self { total, squares, largest }
    }

    /// Herfindahl index, 0..1; null when there is nothing to spread.
    pub(crate) fn hhi(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.squares / (self.total * self.total))
    }

    /// Share of the largest name, 0..1; null when there is nothing to spread.
    pub(crate) fn top1(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.largest / self.total)
    }
}

const SUMS: [&str; 19] = [
    "supplied",
    "collateral",
    "borrowed",
    "minted",
    "available_usd",
    "reserves_usd",
    "deficit_usd",
    "stable_supplied",
    "stable_borrowed",
    "supply_interest",
    "borrow_interest",
    "stable_supply_interest",
    "stable_borrow_interest",
    "backing",
    "backing_threshold",
    "backing_bonus",
    "by_protocol",
    "by_chainlink",
    "by_other",
];

/// Adds up `reserve_day` by CSU and day. `csus` has the columns `csu` and `chain_id` of the run's CSUs.
pub(crate) fn stocks(silver: &Silver, csus: LazyFrame) -> PolarsResult<BTreeMap<CsuDay, Stocks>> {
    let rows = reserves(silver, csus).collect()?;
    let mut stocks: BTreeMap<CsuDay, Stocks> = BTreeMap::new();

    let sizes = sizes(rows.clone().lazy()).collect()?;
    let cells = Cells(&sizes);
    for row in cells.rows() {
        let of = stocks.entry(cells.csu_day(row)?).or_default();
        of.n_markets = cells.count("n_markets", row)?;
        of.n_reserves = cells.count("n_reserves", row)?;
        of.n_with_balance = cells.count("n_with_balance", row)?;
        of.n_unpriced = cells.count("n_unpriced", row)?;
        of.n_excluded = cells.count("n_excluded", row)?;
    }

    let counted = rows.lazy().filter(col("is_excluded").not()).collect()?;
    let sums = ordered_sums(&counted, &CSU_DAY, &SUMS)?;
    // The sums of a CSU-day, null where a count says that they are no total.
    let joined = sums
        .lazy()
        .join(gaps(counted.clone().lazy()), CSU_DAY.map(col), CSU_DAY.map(col), JoinArgs::new(JoinType::Left))
        .collect()?;
    let cells = Cells(&joined);
    for row in cells.rows() {
        let of = stocks.entry(cells.csu_day(row)?).or_default();
        let amount = |name: &str| cells.amount(name, row);
        let unless = |gap: &str, name: &str| -> PolarsResult<Option<f64>> {
            Ok(if cells.count(gap, row)? == 0 { Some(amount(name)?) } else { None })
        };
        of.n_incomplete = cells.count("n_incomplete", row)?;
        of.supplied = amount("supplied")?;
        of.collateral = amount("collateral")?;
        of.borrowed = amount("borrowed")?;
        of.minted = amount("minted")?;
        of.available = amount("available_usd")?;
        of.n_without_available = cells.count("no_available", row)?;
        of.reserves = if cells.count("reserves_known", row)? == 0 {
            None
        } else {
            unless("no_reserves", "reserves_usd")?
        };
        of.deficit =
            if cells.count("deficit_known", row)? == 0 { None } else { Some(amount("deficit_usd")?) };
        of.keeps_deficit = cells.count("deficit_kept", row)? > 0;
        of.stable_supplied = amount("stable_supplied")?;
        of.stable_borrowed = amount("stable_borrowed")?;
        of.supply_interest = unless("no_supply_rate", "supply_interest")?;
        of.borrow_interest = unless("no_borrow_rate", "borrow_interest")?;
        of.stable_supply_interest = unless("no_stable_supply_rate", "stable_supply_interest")?;
        of.stable_borrow_interest = unless("no_stable_borrow_rate", "stable_borrow_interest")?;
        of.backing = amount("backing")?;
        of.backing_threshold = amount("backing_threshold")?;
        of.backing_bonus = unless("no_bonus", "backing_bonus")?;
        of.by_protocol = amount("by_protocol")?;
        of.by_chainlink = amount("by_chainlink")?;
        of.by_other = amount("by_other")?;
        of.max_price_age_s = cells.long("max_price_age_s", row)?;
    }

    for (csu_day, supply) in shares(&counted, "token", "supplied", &["market_id", "role"])? {
        stocks.entry(csu_day).or_default().supply_tokens = supply;
    }
    for (csu_day, borrow) in shares(&counted, "token", "borrowed", &["market_id", "role"])? {
        stocks.entry(csu_day).or_default().borrow_tokens = borrow;
    }
    Ok(stocks)
}

/// The run's reserves in order of key, with each amount under the heading it is added to.
fn reserves(silver: &Silver, csus: LazyFrame) -> LazyFrame {
    let excluded = silver.token.clone().filter(col("pricing").eq(lit("excluded"))).select([
        col("chain_id"),
        col("token"),
        lit(true).alias("is_excluded"),
    ]);
    let on = [col("chain_id"), col("token")];

    let has = |raw: &str| col(raw).is_not_null().and(col(raw).neq(lit("0")));
    let has_balance = ["borrowed_raw", "available_raw", "reserves_raw", "deficit_raw"]
        .into_iter()
        .fold(has("supplied_raw"), |any, raw| any.or(has(raw)));
    let is_role = |role: Role| col("role").eq(lit(role.as_str()));
    let is_source = |source: PriceSource| col("price_source").eq(lit(source.as_str()));
    let is_funded = || is_role(Role::Reserve).or(is_role(Role::Base));
    let no = |name: &str| col(name).is_null();

    let rows = silver
        .reserve_day
        .clone()
        .join(csus, [col("csu")], [col("csu")], JoinArgs::new(JoinType::Inner))
        .join(excluded, on.clone(), on, JoinArgs::new(JoinType::Left))
        .with_columns([
            col("is_excluded").fill_null(lit(false)),
            has_balance.alias("has_balance"),
            col("price_usd").is_not_null().alias("is_priced"),
            is_funded().alias("is_funded"),
            // Nobody lends a token that only backs debt; minted tokens may be supplied, their debt is apart.
            only_if(is_role(Role::Collateral).not(), col("supplied_usd")).alias("supplied"),
            only_if(is_role(Role::Collateral), col("supplied_usd")).alias("collateral"),
            only_if(is_funded(), col("borrowed_usd")).alias("borrowed"),
            only_if(is_role(Role::Minted), col("borrowed_usd")).alias("minted"),
            only_if(col("liq_threshold").gt(lit(0.0)), col("supplied_usd")).alias("backing"),
            // Without a figure there is no sum, whatever the price.
            is_funded()
                .and(no("supplied_usd").or(no("borrowed_usd")))
                .or(is_role(Role::Collateral).and(no("supplied_usd")))
                .or(is_role(Role::Minted).and(no("borrowed_usd")))
                .alias("lacks_a_figure"),
            only_if(is_source(PriceSource::ProtocolOracle), col("supplied_usd")).alias("by_protocol"),
            only_if(is_source(PriceSource::Chainlink), col("supplied_usd")).alias("by_chainlink"),
            when(is_source(PriceSource::ProtocolOracle).or(is_source(PriceSource::Chainlink)))
                .then(lit(NULL))
                .otherwise(col("supplied_usd"))
                .alias("by_other"),
        ])
        .with_columns([
            only_if(col("is_stablecoin"), col("supplied")).alias("stable_supplied"),
            only_if(col("is_stablecoin"), col("borrowed")).alias("stable_borrowed"),
            (col("supplied") * col("supply_apr")).alias("supply_interest"),
            (col("borrowed") * col("borrow_apr")).alias("borrow_interest"),
            (col("backing") * col("liq_threshold")).alias("backing_threshold"),
            (col("backing") * col("liq_bonus")).alias("backing_bonus"),
        ])
        .with_columns([
            only_if(col("is_stablecoin"), col("supply_interest")).alias("stable_supply_interest"),
            only_if(col("is_stablecoin"), col("borrow_interest")).alias("stable_borrow_interest"),
        ]);
    sorted_by(rows, &["csu", "date", "market_id", "token", "role"])
}

/// Numbers of markets and reserves. A token that plays two roles in a market is one reserve.
fn sizes(rows: LazyFrame) -> LazyFrame {
    let counts = col("is_excluded").not();
    rows.group_by([col("csu"), col("date"), col("market_id"), col("token")])
        .agg([
            col("has_balance").and(counts.clone()).any(true).alias("with_balance"),
            col("has_balance").and(counts).and(col("is_priced").not()).any(true).alias("unpriced"),
            col("has_balance").and(col("is_excluded")).any(true).alias("excluded"),
        ])
        .group_by(CSU_DAY.map(col))
        .agg([
            col("market_id").n_unique().cast(DataType::Int64).alias("n_markets"),
            col("token").len().cast(DataType::Int64).alias("n_reserves"),
            how_many(col("with_balance")).alias("n_with_balance"),
            how_many(col("unpriced")).alias("n_unpriced"),
            how_many(col("excluded")).alias("n_excluded"),
        ])
}

/// What keeps the sums of a CSU-day from being totals.
fn gaps(counted: LazyFrame) -> LazyFrame {
    let no_rate = |weight: &str, rate: &str| col(weight).gt(lit(0.0)).and(col(rate).is_null());
    let unpriced = col("has_balance").and(col("is_priced").not());
    counted.group_by(CSU_DAY.map(col)).agg([
        how_many(unpriced.or(col("lacks_a_figure"))).alias("n_incomplete"),
        how_many(col("is_funded").and(col("available_usd").is_null())).alias("no_available"),
        how_many(col("is_funded").and(col("reserves_usd").is_null())).alias("no_reserves"),
        how_many(col("reserves_usd").is_not_null()).alias("reserves_known"),
        how_many(col("deficit_usd").is_not_null()).alias("deficit_known"),
        how_many(col("deficit_raw").is_not_null()).alias("deficit_kept"),
        how_many(no_rate("supplied", "supply_apr")).alias("no_supply_rate"),
        how_many(no_rate("borrowed", "borrow_apr")).alias("no_borrow_rate"),
        how_many(no_rate("stable_supplied", "supply_apr")).alias("no_stable_supply_rate"),
        how_many(no_rate("stable_borrowed", "borrow_apr")).alias("no_stable_borrow_rate"),
        how_many(no_rate("backing", "liq_bonus")).alias("no_bonus"),
        only_if(col("has_balance").and(col("is_priced")), col("price_age_s")).max().alias("max_price_age_s"),
    ])
}

/// How `amount` is spread over the names in column `by`, for each CSU-day; `then` settles the order of addition.
pub(crate) fn shares(
    rows: &DataFrame,
    by: &str,
    amount: &str,
    then: &[&str],
) -> PolarsResult<BTreeMap<CsuDay, Shares>> {
    let order: Vec<&str> = [&CSU_DAY[..], &[by], then].concat();
    let sorted = sorted_by(rows.clone().lazy(), &order).collect()?;
    let parts = ordered_sums(&sorted, &["csu", "date", by], &[amount])?
        .lazy()
        .with_column((col(amount) * col(amount)).alias("square"))
        .collect()?;
    let totals = ordered_sums(&parts, &CSU_DAY, &[amount, "square"])?;
    let largest = parts.lazy().group_by(CSU_DAY.map(col)).agg([col(amount).max().alias("largest")]);
    let joined = totals
        .lazy()
        .join(largest, CSU_DAY.map(col), CSU_DAY.map(col), JoinArgs::new(JoinType::Left))
        .collect()?;
    let cells = Cells(&joined);
    cells
        .rows()
        .map(|row| {
            let of = |name: &str| cells.amount(name, row);
            Ok((cells.csu_day(row)?, Shares::new(of(amount)?, of("square")?, of("largest")?)))
        })
        .collect()
}
