//! What reserves say: decimals, symbols, the accounting identity and ranges.

use super::{in_order_of_day, of_log, of_reserve, whole};
use crate::check::Subject;
use lake::failure::Failure;
use lake::schema::silver::{ReserveDay, TokenRow};
use lake::{I256, U256};
use std::collections::HashMap;

/// The identity may be off by this share of what was supplied.
const IDENTITY: f64 = 1e-5;
/// Beyond this share it is an error.
const IDENTITY_LARGE: f64 = 1e-3;
/// What the identity may be off by whatever was supplied, in tokens: dust that lies in every pool.
const IDENTITY_DUST: f64 = 1e-6;
/// Largest rate, as a fraction a year.
const LARGEST_RATE: f64 = 10.0;

/// The first facts of a token that this month's rows are held against, in order of day.
fn against_first<T: PartialEq + Clone + ToString>(
    subject: &Subject<'_>,
    column: &str,
    earlier: impl Fn(&(Option<i32>, Option<String>)) -> Option<T>,
    of: impl Fn(&ReserveDay) -> Option<T>,
) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut first: HashMap<(String, &str), T> = HashMap::new();
    for row in in_order_of_day(&subject.silver.reserve_day.rows) {
        let (Some(found), Some(csu)) = (of(row), subject.registry.csu(&row.csu)) else { continue };
        let known = subject.before.silver.tokens.get(&(csu.chain.clone(), row.token.clone()));
        let expected = first
            .entry((csu.chain.clone(), row.token.as_str()))
            .or_insert_with(|| known.and_then(&earlier).unwrap_or_else(|| found.clone()));
        if found != *expected {
            let failure =
                of_reserve(row, format!("another {column} than when it was first seen")).column(column);
            failures.push(failure.found(found.to_string()).expected(expected.to_string()));
        }
    }
    failures
}

/// S4, decimals.
pub(in crate::check) fn decimals(subject: &Subject<'_>) -> Vec<Failure> {
    let not_read =
        |row: &&TokenRow| row.decimals.is_some() != (row.decimals_source.as_deref() == Some("onchain"));
    let tokens = whole(subject).into_iter().flat_map(|whole| &whole.token.rows);
    let mut failures: Vec<Failure> = tokens
        .filter(not_read)
        .map(|row| {
            Failure::new(format!(
                "token {} of {}: its decimals were not read on the chain",
                row.token, row.chain
            ))
            .column("decimals_source")
        })
        .collect();
    failures.extend(against_first(subject, "decimals", |seen| seen.0, |row| row.decimals));
    failures
}

/// S4, amounts that nobody can read in whole tokens.
pub(in crate::check) fn no_decimals(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let of_reserves = silver
        .reserve_day
        .rows
        .iter()
        .filter(|row| row.decimals.is_none() && (row.supplied_raw.is_some() || row.borrowed_raw.is_some()))
        .map(|row| of_reserve(row, "its decimals are not known").column("decimals"));
    let of_legs = silver.liquidation.rows.iter().flat_map(|row| {
        let sides = [("debt_raw", &row.debt_raw, row.debt), ("coll_raw", &row.coll_raw, row.coll)];
        sides.into_iter().filter(|(_, raw, whole)| raw.is_some() && whole.is_none()).map(
            |(column, raw, _)| {
                let why = "the decimals of its token are not known";
                let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, why).column(column);
                failure.found(raw.clone().unwrap_or_default())
            },
        )
    });
    of_reserves.chain(of_legs).collect()
}

/// S4, symbols.
pub(in crate::check) fn symbols(subject: &Subject<'_>) -> Vec<Failure> {
    against_first(subject, "symbol", |seen| seen.1.clone(), |row| row.symbol.clone())
}

fn off_by_more_than(subject: &Subject<'_>, share: f64) -> Vec<Failure> {
    let failure = |row: &ReserveDay| {
        let (gap, supplied) = row.identity_gap.zip(row.supplied)?;
        let limit = (share * supplied).max(IDENTITY_DUST);
        (gap.abs() > limit).then(|| {
            let failure = of_reserve(row, "the accounting identity does not hold").column("identity_gap");
            failure.found(gap).expected(format!("at most {limit}"))
        })
    };
    subject.silver.reserve_day.rows.iter().filter_map(failure).collect()
}

/// S5.
pub(in crate::check) fn identity(subject: &Subject<'_>) -> Vec<Failure> {
    off_by_more_than(subject, IDENTITY)
}

/// S5, beyond what any rounding explains.
pub(in crate::check) fn identity_large(subject: &Subject<'_>) -> Vec<Failure> {
    off_by_more_than(subject, IDENTITY_LARGE)
}

/// S6.
pub(in crate::check) fn ranges(subject: &Subject<'_>) -> Vec<Failure> {
    let silver = subject.silver;
    let mut failures = Vec::new();
    for faults in [&silver.reserve_day.faults, &silver.liquidation.faults, &silver.price.faults] {
        failures.extend_from_slice(&faults.ranges);
    }
    let is_amount =
        |raw: &Option<String>| raw.as_ref().is_none_or(|raw| U256::from_str_radix(raw, 10).is_ok());
    for row in &silver.reserve_day.rows {
        let mut must = |holds: bool, column: &str, found: String| {
            if !holds {
                failures.push(of_reserve(row, "out of range").column(column).found(found));
            }
        };
        for (column, raw) in [
            ("supplied_raw", &row.supplied_raw),
            ("borrowed_raw", &row.borrowed_raw),
            ("available_raw", &row.available_raw),
            ("deficit_raw", &row.deficit_raw),
        ] {
            must(is_amount(raw), column, raw.clone().unwrap_or_default());
        }
        let signed = row.reserves_raw.as_ref().is_none_or(|raw| raw.parse::<I256>().is_ok());
        must(signed, "reserves_raw", row.reserves_raw.clone().unwrap_or_default());
        let share = |value: Option<f64>| value.is_none_or(|value| (0.0..=1.0).contains(&value));
        let text = |value: Option<f64>| value.map_or("null".to_owned(), |value| value.to_string());
        for (column, value) in
            [("ltv", row.ltv), ("liq_threshold", row.liq_threshold), ("reserve_factor", row.reserve_factor)]
        {
            must(share(value), column, text(value));
        }
        let in_order = row.ltv.zip(row.liq_threshold).is_none_or(|(ltv, threshold)| ltv <= threshold);
        must(in_order, "ltv", format!("{} above liq_threshold {}", text(row.ltv), text(row.liq_threshold)));
        for (column, rate) in [
            ("supply_apr", row.supply_apr),
            ("borrow_apr", row.borrow_apr),
            ("borrow_apr_stable_mode", row.borrow_apr_stable_mode),
        ] {
            must(rate.is_none_or(|rate| (0.0..=LARGEST_RATE).contains(&rate)), column, text(rate));
        }
    }
    for row in &silver.liquidation.rows {
        for (column, raw) in
            [("debt_raw", &row.debt_raw), ("coll_raw", &row.coll_raw), ("bad_debt_raw", &row.bad_debt_raw)]
        {
            if !is_amount(raw) {
                let failure = of_log(&row.csu, row.date, row.block_number, row.log_index, "out of range");
                failures.push(failure.column(column).found(raw.clone().unwrap_or_default()));
            }
        }
    }
    failures
}
