//! Liquidations: the bonus that prices imply, and the day that they are of.

use super::{day_blocks, of_log};
use crate::check::Subject;
use lake::failure::Failure;
use lake::schema::silver::Liquidation;
use std::collections::BTreeMap;

/// What a liquidator may get over what was repaid, as a fraction.
const BONUS: (f64, f64) = (-0.05, 0.25);
/// Liquidations below so many US dollars are left out: the rounding of base units shows in them.
const SMALLEST: f64 = 1.0;

/// S9, the bonus that prices imply. A liquidation of several legs is one.
pub(in crate::check) fn bonus(subject: &Subject<'_>) -> Vec<Failure> {
    struct Sides<'a> {
        first: &'a Liquidation,
        debt: f64,
        coll: f64,
        is_known: bool,
    }
    let mut by_id: BTreeMap<&str, Sides<'_>> = BTreeMap::new();
    for row in &subject.silver.liquidation.rows {
        let sides =
            by_id.entry(&row.liq_id).or_insert(Sides { first: row, debt: 0.0, coll: 0.0, is_known: true });
        sides.is_known &= row.debt_raw.is_none() || row.debt_usd.is_some();
        sides.is_known &= row.coll_raw.is_none() || row.coll_usd.is_some();
        sides.debt += row.debt_usd.unwrap_or(0.0);
        sides.coll += row.coll_usd.unwrap_or(0.0);
    }
    let failure = |sides: Sides<'_>| {
        // One of a side alone (a bad debt that was booked, an absorption) implies nothing.
        if !sides.is_known || sides.debt < SMALLEST || sides.coll <= 0.0 {
            return None;
        }
        let (row, bonus) = (sides.first, sides.coll / sides.debt - 1.0);
        (!(BONUS.0..=BONUS.1).contains(&bonus)).then(|| {
            of_log(&row.csu, row.date, row.block_number, row.log_index, "an unusual bonus")
                .column("coll_usd")
                .found(format!("{bonus:.4}: {} for {}", sides.coll, sides.debt))
                .expected(format!("{} to {}", BONUS.0, BONUS.1))
        })
    };
    by_id.into_values().filter_map(failure).collect()
}

/// S9, the day of an event.
pub(in crate::check) fn event_window(subject: &Subject<'_>) -> Vec<Failure> {
    let days = day_blocks(subject);
    let mut failures = Vec::new();
    let silver = subject.silver;
    let legs = silver
        .liquidation
        .rows
        .iter()
        .map(|row| (&row.csu, row.date, row.block_number, row.log_index, Some(row.block_ts)));
    let rejects =
        silver.reject.rows.iter().map(|row| (&row.csu, row.date, row.block_number, row.log_index, None));
    for (csu, date, block, index, time) in legs.chain(rejects) {
        let Some(row) = subject.registry.csu(csu).and_then(|csu| days.get(&(csu.chain.as_str(), date)))
        else {
            continue;
        };
        let in_blocks =
            row.first_block.zip(row.last_block).is_some_and(|(first, last)| (first..=last).contains(&block));
        let in_time = time.is_none_or(|time| row.day_start_utc <= time && time < row.day_end_utc);
        if !in_blocks || !in_time {
            let text = |block: Option<i64>| block.map_or("none".to_owned(), |block| block.to_string());
            let failure = of_log(csu, date, block, index, "it lies outside its day").column("block_number");
            failures.push(failure.found(block).expected(format!(
                "{} to {}",
                text(row.first_block),
                text(row.last_block)
            )));
        }
    }
    failures
}
