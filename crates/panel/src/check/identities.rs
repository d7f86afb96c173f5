//! Checks within a row: G6, G7.

use super::{CheckError, OfGold, Subject};
use lake::failure::Failure;

/// What floating-point addition may leave of an identity.
const TOLERANCE: f64 = 1e-12;
/// The same for shares, which are divisions.
const OF_SHARES: f64 = 1e-9;

/// An identity: a column and what it is from others. Only where all of them are there.
struct Identity {
    column: &'static str,
    of: &'static [&'static str],
    is: fn(&[f64]) -> f64,
}

const IDENTITIES: &[Identity] = &[
    Identity { column: "tvl_usd", of: &["supplied_usd", "collateral_usd"], is: |of| of[0] + of[1] },
    Identity { column: "tvl_net_usd", of: &["tvl_usd", "borrowed_usd"], is: |of| of[0] - of[1] },
    Identity { column: "tvl_priced_usd", of: &["tvl_usd"], is: |of| of[0] },
    Identity { column: "utilization", of: &["borrowed_usd", "supplied_usd"], is: |of| of[0] / of[1] },
    Identity { column: "liq_bonus_usd", of: &["liq_coll_usd", "liq_debt_usd"], is: |of| of[0] - of[1] },
    Identity { column: "log_cov_share", of: &["blocks_scanned", "blocks_expected"], is: |of| of[0] / of[1] },
];

/// A column that is never above another.
const AT_MOST: &[(&str, &str)] = &[
    ("liq_count", "liq_event_count"),
    ("liq_tx_count", "liq_event_count"),
    ("liq_borrowers", "liq_count"),
    ("liq_liquidators", "liq_count"),
    ("n_reserves_unpriced", "n_reserves"),
    ("n_markets", "n_reserves"),
    ("liq_max_usd", "liq_debt_usd"),
    ("blocks_scanned", "blocks_expected"),
];

/// G6.
pub(super) fn within_rows(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let mut failures = Vec::new();
    for Identity { column, of, is } in IDENTITIES {
        let parts: Vec<_> = of.iter().map(|name| gold.numbers(name)).collect();
        for (row, found) in gold.numbers(column).into_iter().enumerate() {
            let values: Option<Vec<f64>> = parts.iter().map(|part| part[row]).collect();
            let Some((found, values)) = found.zip(values) else { continue };
            let expected = is(&values);
            let size = values.iter().fold(expected.abs(), |size, value| size.max(value.abs()));
            if (found - expected).abs() > TOLERANCE * size {
                let failure = Failure::new(format!("not what {} say", of.join(" and "))).of_row(gold, row);
                failures
                    .push(failure.column(column).found_number(Some(found)).expected_number(Some(expected)));
            }
        }
    }
    let [chainlink, other] = ["px_chainlink_share", "px_other_share"].map(|name| gold.numbers(name));
    for (row, protocol) in gold.numbers("px_protocol_share").into_iter().enumerate() {
        let (Some(protocol), Some(chainlink), Some(other)) = (protocol, chainlink[row], other[row]) else {
            continue;
        };
        let sum = protocol + chainlink + other;
        if (sum - 1.0).abs() > OF_SHARES {
            let failure = Failure::new("shares of price sources do not add up to 1").of_row(gold, row);
            failures
                .push(failure.column("px_other_share").found_number(Some(sum)).expected_number(Some(1.0)));
        }
    }
    for (less, more) in AT_MOST {
        let more_of = gold.numbers(more);
        for (row, found) in gold.numbers(less).into_iter().enumerate() {
            let Some((found, bound)) = found.zip(more_of[row]) else { continue };
            if found > bound * (1.0 + TOLERANCE) {
                let failure = Failure::new(format!("more than {more}")).of_row(gold, row).column(less);
                failures.push(failure.found_number(Some(found)).expected_number(Some(bound)));
            }
        }
    }
    Ok(failures)
}

/// G7: the ranges that the codebook gives.
pub(super) fn ranges(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let mut failures = Vec::new();
    for column in gold.columns() {
        let (low, high) = column.book.range.bounds();
        if (low, high) == (None, None) {
            continue;
        }
        for (row, value) in gold.numbers(column.name).into_iter().enumerate() {
            let Some(value) = value else { continue };
            let is_inside =
                low.is_none_or(|low| value >= low as f64) && high.is_none_or(|high| value <= high as f64);
            if !is_inside {
                let failure = Failure::new("out of its range").of_row(gold, row).column(column.name);
                failures.push(failure.found_number(Some(value)).expected(column.book.range));
            }
        }
    }
    Ok(failures)
}

/// G7's warnings: possible, and worth a look.
pub(super) fn unusual(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let mut failures = Vec::new();
    for (name, is_unusual, why) in [
        ("utilization", (|value| value > 1.0) as fn(f64) -> bool, "more is borrowed than supplied"),
        ("available_usd", |value| value < 0.0, "less than nothing is available"),
    ] {
        for (row, value) in gold.numbers(name).into_iter().enumerate() {
            if value.is_some_and(is_unusual) {
                failures.push(Failure::new(why).of_row(gold, row).column(name).found_number(value));
            }
        }
    }
    Ok(failures)
}
