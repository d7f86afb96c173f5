//! Prices: above zero and fresh, without contradiction, near each other, near yesterday's, near the peg.

use super::{in_order_of_day, of_price, of_reserve};
use crate::check::Subject;
use crate::prices::NoPrice;
use crate::prices::rule::{DISAGREEMENT, HEARTBEATS};
use lake::Address;
use lake::day::Day;
use lake::failure::Failure;
use lake::schema::silver::{Price, ReserveDay};
use lake::status::PriceSource;
use std::collections::BTreeMap;

/// Largest change of a price from day to day, in logarithm.
const JUMP: f64 = 0.3;
/// What a stablecoin may cost.
const PEG: (f64, f64) = (0.95, 1.05);

/// S7.
pub(in crate::check) fn prices(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    for row in &subject.silver.price.rows {
        let is_ok = row.status == "ok";
        if is_ok != row.price_usd.is_some() {
            failures.push(of_price(row, "status and price disagree").column("status").found(&row.status));
        }
        if let Some(price) = row.price_usd.filter(|price| *price <= 0.0) {
            failures.push(of_price(row, "it is not above zero").column("price_usd").found(price));
        }
        if row.is_selected && !is_ok {
            failures.push(of_price(row, "it is selected and is no price").column("is_selected"));
        }
        let heartbeat =
            row.feed.parse::<Address>().ok().and_then(|feed| subject.registry.feed(&row.chain, feed));
        let heartbeat = heartbeat.filter(|_| row.source == PriceSource::Chainlink);
        if let (Some(feed), Some(age), true) = (heartbeat, row.age_s, is_ok) {
            let limit = HEARTBEATS * i64::from(feed.heartbeat_s);
            if age > limit {
                failures.push(
                    of_price(row, "it is stale and not called so").column("age_s").found(age).expected(limit),
                );
            }
        }
    }
    failures
}

/// S7, objects that disagree. The build believes neither and marks the answer.
pub(in crate::check) fn conflicts(subject: &Subject<'_>) -> Vec<Failure> {
    let of_two = subject.silver.price.rows.iter().filter(|row| row.status == NoPrice::Conflict.as_str());
    of_two.map(|row| of_price(row, "two objects of bronze give two answers").column("answer_raw")).collect()
}

/// S7, sources that disagree.
pub(in crate::check) fn disagree(subject: &Subject<'_>) -> Vec<Failure> {
    type AtBlock<'a> = (i64, &'a str, i64);
    let mut of_block: BTreeMap<AtBlock<'_>, Vec<(&Price, f64)>> = BTreeMap::new();
    for row in &subject.silver.price.rows {
        if let Some(price) = row.price_usd.filter(|price| *price > 0.0) {
            of_block.entry((row.chain_id, &row.token, row.block_number)).or_default().push((row, price));
        }
    }
    let failure = |rows: Vec<(&Price, f64)>| {
        let lowest = rows.iter().min_by(|one, other| one.1.total_cmp(&other.1))?;
        let highest = rows.iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
        let spread = highest.1 / lowest.1 - 1.0;
        (spread > DISAGREEMENT).then(|| {
            let other = format!("{} {} says {}", highest.0.source, highest.0.feed, highest.1);
            of_price(lowest.0, &format!("{:.1}% below another source", spread * 100.0))
                .column("price_usd")
                .found(lowest.1)
                .expected(other)
        })
    };
    of_block.into_values().filter_map(failure).collect()
}

/// S8, jumps.
pub(in crate::check) fn jumps(subject: &Subject<'_>) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut last: BTreeMap<(&str, &str), (Day, f64)> = BTreeMap::new();
    for ((csu, token), seen) in &subject.before.silver.prices {
        last.insert((csu, token), *seen);
    }
    for row in in_order_of_day(&subject.silver.reserve_day.rows) {
        let Some(price) = row.price_usd.filter(|price| *price > 0.0) else { continue };
        let Some((day, earlier)) = last.insert((&row.csu, &row.token), (row.date, price)) else { continue };
        let change = (price / earlier).ln();
        if day.next() == row.date && change.abs() > JUMP {
            let failure = of_reserve(row, format!("its price moved by {change:.3} in logarithm"));
            failures.push(failure.column("price_usd").found(price).expected(format!("about {earlier}")));
        }
    }
    failures
}

/// S8, pegs.
pub(in crate::check) fn pegs(subject: &Subject<'_>) -> Vec<Failure> {
    let failure = |row: &ReserveDay| {
        let price = row.price_usd.filter(|price| row.is_stablecoin && !(PEG.0..=PEG.1).contains(price))?;
        Some(of_reserve(row, "a stablecoin away from its peg").column("price_usd").found(price))
    };
    subject.silver.reserve_day.rows.iter().filter_map(failure).collect()
}
