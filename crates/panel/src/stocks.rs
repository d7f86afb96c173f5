//! Stocks: what the reserves of each CSU-day add up to, before any null rule is applied.

use crate::sums::{ByCsuDay, CSU_DAY, Runs, Shares, csu_days, flags, floats, in_order, only_if, texts};
use lake::status::{PriceSource, Role};
use polars::prelude::*;
use std::collections::BTreeSet;

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
    /// USD that can be withdrawn or borrowed now; `None` when a lendable reserve does not tell.
    pub(crate) available: Option<f64>,
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
    /// Whether a price is an off-chain one, fetched later.
    pub(crate) has_fills: bool,
    /// Remarks on the reserves.
    pub(crate) remarks: BTreeSet<String>,
}

impl Stocks {
    /// A CSU-day without reserves: nothing is there, and that is known.
    pub(crate) fn none() -> Self {
        Self { available: Some(0.0), ..Self::default() }
    }
}

/// Order of the rows: that of silver's key, so that sums are added up in it.
pub(crate) const RESERVE_KEY: [&str; 5] = ["csu_at", "date", "market_id", "token", "role"];

/// Adds up a frame of [`reserves`] by CSU and day.
pub(crate) fn stocks(rows: &DataFrame) -> PolarsResult<ByCsuDay<Box<Stocks>>> {
    let days = Runs::of(rows, &CSU_DAY)?;
    let markets = days.by(rows, &RESERVE_KEY[2..3])?;
    // A token that plays two roles in a market is one reserve.
    let reserves = markets.by(rows, &RESERVE_KEY[3..4])?;

    let flag = |name: &str| flags(rows, name);
    let any = |flags: Vec<bool>| {
        days.counts_of(&reserves, |part| flags.get(part).unwrap_or_default().contains(&true))
    };
    let n_markets = days.counts_of(&markets, |_| true);
    let n_reserves = days.counts_of(&reserves, |_| true);
    let (n_with_balance, n_unpriced) = (any(flag("has_balance")?), any(flag("is_unpriced")?));
    let n_excluded = any(flag("is_excluded_balance")?);

    let amounts = |name: &str| Ok::<_, PolarsError>(days.sums(&floats(rows, name)?));
    let count = |name: &str| Ok::<_, PolarsError>(days.counts(&flag(name)?));
    // A sum, null where a row that counts has no value.
    let unless = |gap: &str, name: &str| {
        let pairs = count(gap)?.into_iter().zip(amounts(name)?);
        Ok::<_, PolarsError>(pairs.map(|(gap, sum)| (gap == 0).then_some(sum)).collect::<Vec<_>>())
    };
    // A sum, null where no row has a value.
    let known = |known: &str, sums: Vec<Option<f64>>| {
        let pairs = count(known)?.into_iter().zip(sums);
        Ok::<_, PolarsError>(pairs.map(|(known, sum)| sum.filter(|_| known > 0)).collect::<Vec<_>>())
    };
    let some = |sums: Vec<f64>| sums.into_iter().map(Some).collect::<Vec<_>>();

    let n_incomplete = count("is_incomplete")?;
    let (supplied, collateral) = (floats(rows, "supplied")?, amounts("collateral")?);
    let (borrowed, minted) = (floats(rows, "borrowed")?, amounts("minted")?);
    let available = unless("no_available", "available_usd")?;
    let protocol_reserves = known("reserves_known", unless("no_reserves", "reserves_usd")?)?;
    let deficit = known("deficit_known", some(amounts("deficit_usd")?))?;
    let deficit_kept = count("deficit_kept")?;
    let (stable_supplied, stable_borrowed) = (amounts("stable_supplied")?, amounts("stable_borrowed")?);
    let supply_interest = unless("no_supply_rate", "supply_interest")?;
    let borrow_interest = unless("no_borrow_rate", "borrow_interest")?;
    let stable_supply_interest = unless("no_stable_supply_rate", "stable_supply_interest")?;
    let stable_borrow_interest = unless("no_stable_borrow_rate", "stable_borrow_interest")?;
    let (backing, backing_threshold) = (amounts("backing")?, amounts("backing_threshold")?);
    let backing_bonus = unless("no_bonus", "backing_bonus")?;
    let (by_protocol, by_chainlink) = (amounts("by_protocol")?, amounts("by_chainlink")?);
    let by_other = amounts("by_other")?;
    let filled = count("is_filled")?;

    let ages: Vec<Option<i64>> = rows.column("used_price_age_s")?.i64()?.iter().collect();
    let tokens = texts(rows, "token")?;
    let remarks = texts(rows, "flags")?;
    let (supplied_sums, borrowed_sums) = (days.sums(&supplied), days.sums(&borrowed));
    let csu_days = csu_days(rows)?;

    let mut stocks = ByCsuDay::default();
    for (at, run) in days.ranges().enumerate() {
        let Some(csu_day) = csu_days.get(run.start) else { continue };
        let shares = |amounts: &[f64]| token_shares(&tokens, amounts, run.clone());
        let of = Stocks {
            n_markets: n_markets[at],
            n_reserves: n_reserves[at],
            n_with_balance: n_with_balance[at],
            n_unpriced: n_unpriced[at],
            n_excluded: n_excluded[at],
            n_incomplete: n_incomplete[at],
            supplied: supplied_sums[at],
            collateral: collateral[at],
            borrowed: borrowed_sums[at],
            minted: minted[at],
            available: available[at],
            reserves: protocol_reserves[at],
            deficit: deficit[at],
            keeps_deficit: deficit_kept[at] > 0,
            stable_supplied: stable_supplied[at],
            stable_borrowed: stable_borrowed[at],
            supply_interest: supply_interest[at],
            borrow_interest: borrow_interest[at],
            stable_supply_interest: stable_supply_interest[at],
            stable_borrow_interest: stable_borrow_interest[at],
            backing: backing[at],
            backing_threshold: backing_threshold[at],
            backing_bonus: backing_bonus[at],
            by_protocol: by_protocol[at],
            by_chainlink: by_chainlink[at],
            by_other: by_other[at],
            max_price_age_s: ages.get(run.clone()).unwrap_or_default().iter().copied().flatten().max(),
            supply_tokens: shares(&supplied),
            borrow_tokens: shares(&borrowed),
            has_fills: filled[at] > 0,
            remarks: words(remarks.get(run).unwrap_or_default()),
        };
        stocks.insert(*csu_day, Box::new(of));
    }
    Ok(stocks)
}

/// How an amount is spread over the tokens of a run, added up by token, then in order of token.
fn token_shares(tokens: &[Option<&str>], amounts: &[f64], run: std::ops::Range<usize>) -> Shares {
    let mut parts: Vec<(&str, f64)> = run
        .filter_map(|row| Some(((*tokens.get(row)?)?, *amounts.get(row)?)))
        .filter(|(_, amount)| *amount != 0.0)
        .collect();
    // Stable: amounts of one token stay in order of market and role.
    if !parts.is_sorted_by_key(|part| part.0) {
        parts.sort_by_key(|part| part.0);
    }
    Shares::of(
        parts
            .chunk_by(|one, two| one.0 == two.0)
            .map(|of_token| of_token.iter().fold(0.0, |sum, (_, amount)| sum + amount)),
    )
}

/// The distinct words of remarks that are separated by semicolons.
pub(crate) fn words(remarks: &[Option<&str>]) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut seen: Vec<&str> = Vec::new();
    for remark in remarks.iter().copied().flatten().filter(|remark| !remark.is_empty()) {
        // The reserves of a day mostly share their remarks.
        if seen.contains(&remark) {
            continue;
        }
        seen.push(remark);
        words.extend(remark.split(';').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned));
    }
    words
}

/// The run's reserves in order of key, with each amount under the heading it is added to.
///
/// `reserve_day` is silver's table; `csus` has `csu`, `csu_at` and `chain_id` of the run's CSUs; `excluded` has
/// `chain_id`, `token` and a true `is_excluded` of the tokens that can never be priced.
pub(crate) fn reserves(
    reserve_day: LazyFrame,
    csus: LazyFrame,
    excluded: DataFrame,
) -> PolarsResult<DataFrame> {
    let has = |raw: &str| col(raw).is_not_null().and(col(raw).neq(lit("0")));
    let has_balance = ["borrowed_raw", "available_raw", "reserves_raw", "deficit_raw"]
        .into_iter()
        .fold(has("supplied_raw"), |any, raw| any.or(has(raw)));
    let is_role = |role: Role| col("role").eq(lit(role.as_str()));
    let is_source = |source: PriceSource| col("price_source").eq(lit(source.as_str()));
    let is_funded = || is_role(Role::Reserve).or(is_role(Role::Base));
    let no = |name: &str| col(name).is_null();
    let counts = || col("is_excluded").not();
    let no_rate = |weight: &str, rate: &str| col(weight).gt(lit(0.0)).and(no(rate));

    let of_run = reserve_day.join(csus, [col("csu")], [col("csu")], in_left_order(JoinType::Inner));
    let marked = if excluded.height() == 0 {
        of_run.with_column(lit(false).alias("is_excluded"))
    } else {
        let on = [col("chain_id"), col("token")];
        of_run
            .join(excluded.lazy(), on.clone(), on, in_left_order(JoinType::Left))
            .with_column(col("is_excluded").fill_null(lit(false)))
    };
    let rows = marked
        .with_columns([
            has_balance.alias("any_balance"),
            col("price_usd").is_not_null().alias("is_priced"),
            is_funded().and(counts()).alias("is_funded"),
            only_if(counts(), col("supplied_usd")).alias("supplied_usd"),
            only_if(counts(), col("borrowed_usd")).alias("borrowed_usd"),
            only_if(counts(), col("available_usd")).alias("available_usd"),
            only_if(counts(), col("reserves_usd")).alias("reserves_usd"),
            only_if(counts(), col("deficit_usd")).alias("deficit_usd"),
            counts().and(col("deficit_raw").is_not_null()).alias("deficit_kept"),
            // Without a figure there is no sum, whatever the price.
            is_funded()
                .and(no("supplied_usd").or(no("borrowed_usd")))
                .or(is_role(Role::Collateral).and(no("supplied_usd")))
                .or(is_role(Role::Minted).and(no("borrowed_usd")))
                .alias("lacks_a_figure"),
        ])
        .with_columns([
            col("any_balance").and(counts()).alias("has_balance"),
            col("any_balance").and(col("is_excluded")).alias("is_excluded_balance"),
            col("any_balance").and(counts()).and(col("is_priced").not()).alias("is_unpriced"),
            only_if(col("any_balance").and(counts()).and(col("is_priced")), col("price_age_s"))
                .alias("used_price_age_s"),
            // Nobody lends a token that only backs debt; minted tokens may be supplied, their debt is apart.
            only_if(is_role(Role::Collateral).not(), col("supplied_usd")).alias("supplied"),
            only_if(is_role(Role::Collateral), col("supplied_usd")).alias("collateral"),
            only_if(col("is_funded"), col("borrowed_usd")).alias("borrowed"),
            only_if(is_role(Role::Minted), col("borrowed_usd")).alias("minted"),
            only_if(col("liq_threshold").gt(lit(0.0)), col("supplied_usd")).alias("backing"),
            only_if(is_source(PriceSource::ProtocolOracle), col("supplied_usd")).alias("by_protocol"),
            only_if(is_source(PriceSource::Chainlink), col("supplied_usd")).alias("by_chainlink"),
            when(is_source(PriceSource::ProtocolOracle).or(is_source(PriceSource::Chainlink)))
                .then(lit(NULL))
                .otherwise(col("supplied_usd"))
                .alias("by_other"),
            is_source(PriceSource::OffChain).alias("is_filled"),
            col("is_funded").and(no("available_usd")).alias("no_available"),
            col("is_funded").and(no("reserves_usd")).alias("no_reserves"),
            col("reserves_usd").is_not_null().alias("reserves_known"),
            col("deficit_usd").is_not_null().alias("deficit_known"),
        ])
        .with_columns([
            col("is_unpriced").or(col("lacks_a_figure").and(counts())).alias("is_incomplete"),
            only_if(col("is_stablecoin"), col("supplied")).alias("stable_supplied"),
            only_if(col("is_stablecoin"), col("borrowed")).alias("stable_borrowed"),
            (col("supplied") * col("supply_apr")).alias("supply_interest"),
            (col("borrowed") * col("borrow_apr")).alias("borrow_interest"),
            (col("backing") * col("liq_threshold")).alias("backing_threshold"),
            (col("backing") * col("liq_bonus")).alias("backing_bonus"),
            no_rate("supplied", "supply_apr").alias("no_supply_rate"),
            no_rate("borrowed", "borrow_apr").alias("no_borrow_rate"),
            no_rate("backing", "liq_bonus").alias("no_bonus"),
        ])
        .with_columns([
            only_if(col("is_stablecoin"), col("supply_interest")).alias("stable_supply_interest"),
            only_if(col("is_stablecoin"), col("borrow_interest")).alias("stable_borrow_interest"),
            col("is_stablecoin").and(col("no_supply_rate")).alias("no_stable_supply_rate"),
            col("is_stablecoin").and(col("no_borrow_rate")).alias("no_stable_borrow_rate"),
        ])
        .collect()?;
    in_order(rows, &RESERVE_KEY)
}

/// A join that keeps the rows of the left side in their order.
pub(crate) fn in_left_order(kind: JoinType) -> JoinArgs {
    JoinArgs { maintain_order: MaintainOrderJoin::Left, ..JoinArgs::new(kind) }
}
