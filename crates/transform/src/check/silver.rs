//! Silver as the checks see it: the rows that lie in the lake, not those that the build had in mind.

mod events;
mod figures;
mod loaded;
mod prices;
mod tables;

pub(super) use events::{bonus, event_window};
pub(super) use figures::{decimals, identity, identity_large, no_decimals, ranges, symbols};
pub(super) use prices::{conflicts, disagree, jumps, pegs, prices};
pub(super) use tables::{conservation, keys, relations, schema};

use super::{CheckError, Subject};
use lake::day::Day;
use lake::failure::Failure;
use lake::path::{silver_month, silver_whole};
use lake::registry::Registry;
use lake::schema::silver::{Coverage, CsuRow, DayBlock, Liquidation, Price, Reject, ReserveDay, TokenRow};
use lake::schema::{Row, Table};
use lake::store::Lake;
use loaded::{Faults, Loaded};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The tables without partitions.
pub(super) struct Whole {
    csu: Loaded<CsuRow>,
    token: Loaded<TokenRow>,
    csus: BTreeSet<String>,
    tokens: HashSet<(i64, String)>,
}

impl Whole {
    pub(super) async fn read(lake: &Lake) -> Result<Self, CheckError> {
        let csu = Loaded::<CsuRow>::read(lake, silver_whole(CsuRow::TABLE.name)).await?;
        let token = Loaded::<TokenRow>::read(lake, silver_whole(TokenRow::TABLE.name)).await?;
        let csus = csu.rows.iter().map(|row| row.csu.clone()).collect();
        let tokens = token.rows.iter().map(|row| (row.chain_id, row.token.clone())).collect();
        Ok(Self { csu, token, csus, tokens })
    }
}

/// Silver of a month.
pub(super) struct Silver {
    day_block: Loaded<DayBlock>,
    reserve_day: Loaded<ReserveDay>,
    liquidation: Loaded<Liquidation>,
    reject: Loaded<Reject>,
    price: Loaded<Price>,
    coverage: Loaded<Coverage>,
}

impl Silver {
    /// What is wrong with each of its files.
    fn faults(&self) -> [&Faults; 6] {
        [
            &self.day_block.faults,
            &self.reserve_day.faults,
            &self.liquidation.faults,
            &self.reject.faults,
            &self.price.faults,
            &self.coverage.faults,
        ]
    }

    pub(super) async fn read(lake: &Lake, month: &str) -> Result<Self, CheckError> {
        let path = |table: &Table| silver_month(table.name, month);
        Ok(Self {
            day_block: Loaded::read(lake, path(&DayBlock::TABLE)).await?,
            reserve_day: Loaded::read(lake, path(&ReserveDay::TABLE)).await?,
            liquidation: Loaded::read(lake, path(&Liquidation::TABLE)).await?,
            reject: Loaded::read(lake, path(&Reject::TABLE)).await?,
            price: Loaded::read(lake, path(&Price::TABLE)).await?,
            coverage: Loaded::read(lake, path(&Coverage::TABLE)).await?,
        })
    }
}

/// What later months are held against.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Decimals and symbol of a token, by chain and address, as first seen.
    tokens: BTreeMap<(String, String), (Option<i32>, Option<String>)>,
    /// Last day and price of a CSU's token.
    prices: BTreeMap<(String, String), (Day, f64)>,
    /// Whether a month was looked at.
    any: bool,
}

impl Before {
    pub(super) fn note(&mut self, silver: &Silver, registry: &Registry) {
        self.any = true;
        for row in in_order_of_day(&silver.reserve_day.rows) {
            if let Some(csu) = registry.csu(&row.csu) {
                let seen = self.tokens.entry((csu.chain.clone(), row.token.clone())).or_default();
                seen.0 = seen.0.or(row.decimals);
                seen.1 = seen.1.take().or_else(|| row.symbol.clone());
            }
            if let Some(price) = row.price_usd {
                self.prices.insert((row.csu.clone(), row.token.clone()), (row.date, price));
            }
        }
    }
}

fn in_order_of_day(rows: &[ReserveDay]) -> Vec<&ReserveDay> {
    let mut rows: Vec<&ReserveDay> = rows.iter().collect();
    rows.sort_by_key(|row| row.date);
    rows
}

/// The tables without partitions, with the first month only: what is wrong with them is told once.
fn whole<'a>(subject: &Subject<'a>) -> Option<&'a Whole> {
    (!subject.before.silver.any).then_some(subject.whole)
}

/// What is wrong with the files of this month, and with those without partitions.
fn all_faults<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Faults> {
    let of_whole = whole(subject).map(|whole| [&whole.csu.faults, &whole.token.faults]);
    of_whole.into_iter().flatten().chain(subject.silver.faults())
}

fn of_reserve(row: &ReserveDay, why: impl Into<String>) -> Failure {
    let why: String = why.into();
    Failure::new(format!("token {} of market {} as {}: {why}", row.token, row.market_id, row.role))
        .csu(&row.csu)
        .date(row.date)
}

fn of_log(csu: &str, date: Day, block: i64, index: i32, why: &str) -> Failure {
    Failure::new(format!("log {index} of block {block}: {why}")).csu(csu).date(date)
}

fn of_price(row: &Price, why: &str) -> Failure {
    Failure::new(format!(
        "token {} of {} at block {} from {} {}: {why}",
        row.token, row.chain, row.block_number, row.source, row.feed
    ))
    .date(row.date)
}

fn day_blocks<'a>(subject: &Subject<'a>) -> BTreeMap<(&'a str, Day), &'a DayBlock> {
    let rows = &subject.silver.day_block.rows;
    rows.iter().map(|row| ((row.chain.as_str(), row.date), row)).collect()
}
