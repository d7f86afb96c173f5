//! The prices that a month of silver lacks, for people and for `extract fill-prices`.
//!
//! One entry a chain, token and block where a row has an amount and no price. `transform run` writes them with each month
//! it builds; [`Wanted`] is what `transform missing-prices` makes of them: one line a token, what is most at stake first.

use crate::prices::{At, PriceBook};
use crate::read::Month;
use crate::reserves::is_excluded;
use lake::Address;
use lake::day::Day;
use lake::missing::{MissingPrice, MissingPrices};
use lake::path::missing_prices;
use lake::registry::Registry;
use lake::run::Run;
use lake::schema::silver::{Liquidation, ReserveDay};
use lake::store::{Lake, StoreError};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Why the list cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MissingError {
    /// The lake cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A month has no list.
    #[error(
        "there is no {path} in the lake at {location}\nhint: transform run builds the month and writes it"
    )]
    NotBuilt {
        /// Path of the list.
        path: String,
        /// The lake.
        location: String,
    },
    /// A list is not one.
    #[error("{path}: {why}\nhint: transform run writes it anew")]
    Unreadable {
        /// Path of the list.
        path: String,
        /// The parser's words.
        why: String,
    },
}

/// The prices that these rows of a month lack.
pub fn of_month(
    name: &str,
    registry: &Registry,
    month: &Month,
    prices: &PriceBook,
    reserves: &[ReserveDay],
    legs: &[Liquidation],
) -> MissingPrices {
    let mut list = List { registry, prices, found: BTreeMap::new() };
    for row in reserves {
        let Some(chain) = registry.csu(&row.csu).map(|csu| csu.chain.as_str()) else { continue };
        let blocks = month.blocks.get(&(chain.to_owned(), row.date)).and_then(|object| object.sound());
        let Some(last) = blocks.and_then(|blocks| blocks.last) else { continue };
        let raws =
            [&row.supplied_raw, &row.borrowed_raw, &row.available_raw, &row.reserves_raw, &row.deficit_raw];
        let has_amount = raws.into_iter().flatten().any(|raw| raw != "0");
        if row.price_usd.is_some() || !has_amount {
            continue;
        }
        let amounts = [row.supplied, row.borrowed, row.available, row.reserves.map(f64::abs), row.deficit];
        let at =
            Place { chain, block: last.number, timestamp: last.timestamp, date: row.date, csu: &row.csu };
        list.add(at, &row.token, row.symbol.as_deref(), amounts.into_iter().flatten().reduce(f64::max));
    }
    for row in legs {
        let Some(chain) = registry.csu(&row.csu).map(|csu| csu.chain.as_str()) else { continue };
        let (Ok(block), Ok(timestamp)) = (u64::try_from(row.block_number), u64::try_from(row.block_ts.0))
        else {
            continue;
        };
        let at = Place { chain, block, timestamp, date: row.date, csu: &row.csu };
        let has = |raw: &Option<String>| raw.as_deref().is_some_and(|raw| raw != "0");
        if let Some(token) = &row.debt_token
            && row.debt_price_usd.is_none()
            && (has(&row.debt_raw) || has(&row.bad_debt_raw))
        {
            list.add(at, token, None, row.debt);
        }
        if let Some(token) = &row.coll_token
            && row.coll_price_usd.is_none()
            && has(&row.coll_raw)
        {
            list.add(at, token, None, row.coll);
        }
    }
    let missing = list.found.into_values().collect();
    MissingPrices { schema: MissingPrices::SCHEMA.to_owned(), month: name.to_owned(), missing }
}

#[derive(Clone, Copy)]
struct Place<'a> {
    chain: &'a str,
    block: u64,
    timestamp: u64,
    date: Day,
    csu: &'a str,
}

struct List<'a> {
    registry: &'a Registry,
    prices: &'a PriceBook,
    found: BTreeMap<(String, u64, Address), MissingPrice>,
}

impl List<'_> {
    fn add(&mut self, place: Place<'_>, token: &str, symbol: Option<&str>, tokens: Option<f64>) {
        let Ok(token) = token.parse::<Address>() else { return };
        if is_excluded(self.registry, place.chain, token) {
            return;
        }
        let chain_id = self.registry.chain(place.chain).map_or(0, |chain| chain.chain_id);
        let at = At { chain_id, block: place.block };
        // A price that is there but not used is not missing: the row lacks something else.
        let Some(why) = self.prices.why_not(at, token) else { return };
        let key = (place.chain.to_owned(), place.block, token);
        let entry = self.found.entry(key).or_insert_with(|| MissingPrice {
            chain: place.chain.to_owned(),
            block: place.block,
            token,
            symbol: None,
            date: place.date,
            timestamp: place.timestamp,
            why: why.as_str().to_owned(),
            csus: BTreeSet::new(),
            tokens: None,
            price_nearby: self.prices.nearby(at, token),
        });
        entry.csus.insert(place.csu.to_owned());
        entry.symbol = entry.symbol.take().or(symbol.map(str::to_owned));
        entry.tokens = entry.tokens.into_iter().chain(tokens).reduce(|sum, more| sum + more);
    }
}

/// A token without a price on some days of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wanted {
    /// Chain.
    pub chain: String,
    /// Token.
    pub token: String,
    /// Symbol, as the contract gives it.
    pub symbol: Option<String>,
    /// US dollars at stake over all days, at the price of another block of the month: a measure of what is worth filling.
    pub about_usd: Option<f64>,
    /// CSU-days with an amount of it and no price.
    pub csu_days: usize,
    /// Blocks at which a price is missing.
    pub blocks: usize,
    /// Whole tokens at stake, the most of any block.
    pub tokens: Option<f64>,
    /// First and last day.
    pub days: (Day, Day),
    /// Why, by word of `price.status`.
    pub why: BTreeMap<String, usize>,
    /// CSUs.
    pub csus: BTreeSet<String>,
}

/// The prices that a run's days and CSUs lack, as its lake lists them: what is most at stake first.
///
/// # Errors
/// [`MissingError`].
pub async fn of_run(run: &Run, lake: &Lake) -> Result<Vec<Wanted>, MissingError> {
    let months: BTreeSet<String> = run.days.days().map(Day::month).collect();
    let mut missing = Vec::new();
    for month in months {
        let path = missing_prices(&month);
        let Some(bytes) = lake.get(&path).await? else {
            let location = lake.location().to_owned();
            return Err(MissingError::NotBuilt { path: path.to_string(), location });
        };
        let list: MissingPrices = serde_json::from_slice(&bytes)
            .map_err(|error| MissingError::Unreadable { path: path.to_string(), why: error.to_string() })?;
        missing.extend(list.missing);
    }
    let of_run = |missing: &MissingPrice| {
        run.days.days().any(|day| day == missing.date)
            && missing.csus.iter().any(|csu| run.csus.contains(csu))
    };
    Ok(wanted(missing.into_iter().filter(of_run)))
}

fn wanted(missing: impl Iterator<Item = MissingPrice>) -> Vec<Wanted> {
    let mut by_token: BTreeMap<(String, Address), Vec<MissingPrice>> = BTreeMap::new();
    for one in missing {
        by_token.entry((one.chain.clone(), one.token)).or_default().push(one);
    }
    let mut all: Vec<Wanted> =
        by_token.into_iter().filter_map(|((chain, token), blocks)| of_token(chain, token, &blocks)).collect();
    // Dollars where they can be told, then days, then tokens; Float64 in the order of its bits, which is that of its values
    // for amounts.
    all.sort_by_cached_key(|one| {
        let bits = |amount: Option<f64>| amount.map_or(0, f64::to_bits);
        (Reverse((bits(one.about_usd), one.csu_days, bits(one.tokens))), one.chain.clone(), one.token.clone())
    });
    all
}

fn of_token(chain: String, token: Address, blocks: &[MissingPrice]) -> Option<Wanted> {
    let days = || blocks.iter().map(|one| one.date);
    let at_stake = blocks.iter().filter_map(|one| Some(lake::amount::usd(one.tokens?, one.price_nearby?)));
    let csu_days: BTreeSet<(&str, Day)> =
        blocks.iter().flat_map(|one| one.csus.iter().map(|csu| (csu.as_str(), one.date))).collect();
    let mut why: BTreeMap<String, usize> = BTreeMap::new();
    for one in blocks {
        *why.entry(one.why.clone()).or_default() += 1;
    }
    Some(Wanted {
        chain,
        token: protocols::token::item(token),
        symbol: blocks.iter().find_map(|one| one.symbol.clone()),
        about_usd: at_stake.reduce(|sum, more| sum + more),
        csu_days: csu_days.len(),
        blocks: blocks.len(),
        tokens: blocks.iter().filter_map(|one| one.tokens).reduce(f64::max),
        days: (days().min()?, days().max()?),
        why,
        csus: blocks.iter().flat_map(|one| one.csus.iter().cloned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(token: u8, date: &str, tokens: Option<f64>, price_nearby: Option<f64>) -> MissingPrice {
        MissingPrice {
            chain: "ethereum".into(),
            block: 7,
            token: Address::repeat_byte(token),
            symbol: None,
            date: date.parse().unwrap(),
            timestamp: 1,
            why: "stale".into(),
            csus: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            tokens,
            price_nearby,
        }
    }

    #[test]
    fn what_is_most_at_stake_comes_first() {
        let days = ["2024-12-01", "2024-12-02"];
        let list = wanted(
            [
                one(1, days[0], Some(9e9), None),
                one(2, days[0], Some(5.0), Some(2.0)),
                one(2, days[1], Some(6.0), Some(2.0)),
                one(3, days[0], None, None),
                one(3, days[1], None, None),
                one(4, days[0], Some(3.0), Some(1_000.0)),
            ]
            .into_iter(),
        );
        let order: Vec<(&str, Option<f64>, usize, Option<f64>)> =
            list.iter().map(|one| (&one.token[2..4], one.about_usd, one.csu_days, one.tokens)).collect();
        let expected = [
            ("04", Some(3_000.0), 2, Some(3.0)),
            ("02", Some(22.0), 4, Some(6.0)),
            ("03", None, 4, None),
            ("01", None, 2, Some(9e9)),
        ];
        assert_eq!(order, expected);
        assert_eq!(list[1].days, (days[0].parse().unwrap(), days[1].parse().unwrap()));
        assert_eq!(list[1].why, BTreeMap::from([("stale".to_owned(), 2)]));
    }
}
