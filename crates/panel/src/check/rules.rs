//! Checks of status words and of the null rule, in both directions: G3, G4.

use super::{CheckError, OfGold, Subject};
use crate::frame::{never, unplanned};
use crate::known::BadDebtEvents;
use lake::failure::Failure;
use lake::schema::Kind;
use lake::status::{Dataset, Status};

/// G3: words are what silver's coverage says; where it says nothing, what the registry says.
pub(super) fn statuses(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let columns = ["status", "snap_status", "liq_status", "liq_audit"];
    let words = columns.map(|name| gold.texts(name));
    let mut failures = Vec::new();
    for row in 0..gold.height() {
        let Ok(at) = subject.run.csus.binary_search(&gold.csus[row]) else { continue };
        let Some(csu) = subject.run.registry.csu(&gold.csus[row]) else { continue };
        let Ok(window) = subject.run.zone.window(gold.days[row]) else { continue };
        let key = (at as u32, gold.days[row].days_since_epoch());
        let covered = |dataset| subject.frame.known.covered(dataset, &key);
        let of = |dataset| covered(dataset).map_or_else(|| unplanned(csu, window), |covered| covered.status);
        let (snap, liq) = (of(Dataset::Tvl), of(Dataset::Liquidations));
        let level = covered(Dataset::Liquidations).and_then(|covered| covered.audit_level);
        let expected = [
            Some(snap.max(liq).as_str()),
            Some(snap.as_str()),
            Some(liq.as_str()),
            level.filter(|_| liq == Status::Collected).map(|level| level.as_str()),
        ];
        for ((name, words), expected) in columns.iter().zip(&words).zip(expected) {
            if words[row] != expected {
                let failure = Failure::new("not what coverage implies").of_row(gold, row).column(name);
                failures.push(failure.found_text(words[row]).expected_text(expected));
            }
        }
    }
    Ok(failures)
}

/// What a row says of itself, and its CSU's family.
struct Facts {
    snap: bool,
    complete: bool,
    flows: bool,
    liq_collected: bool,
    scanned_whole: bool,
    supplied: bool,
    borrowed: bool,
    priced: bool,
    liquidations: bool,
    events: bool,
    debt_known: bool,
    debt: bool,
    coll_known: bool,
    /// Known, or never given by the family.
    coll_may_be_known: bool,
    names_borrowers: bool,
    gives_debt: bool,
    bad_debt: BadDebtEvents,
    block: bool,
    expected: bool,
    scanned: bool,
    has_blocks: bool,
}

type Holds = fn(&Facts) -> bool;

/// When a column may have a value, and when it must.
struct Rule(&'static [&'static str], Holds, Holds);

const NEVER: Holds = |_| false;
const SNAP: Holds = |row| row.snap;
const TOTAL: Holds = |row| row.snap && row.complete;
const OF_SUPPLY: Holds = |row| row.snap && row.complete && row.supplied;
const OF_BORROW: Holds = |row| row.snap && row.complete && row.borrowed;
const PRICED: Holds = |row| row.snap && row.priced;
const FLOWS: Holds = |row| row.flows;
const LIQUIDATIONS: Holds = |row| row.flows && row.liquidations;

const RULES: &[Rule] = &[
    Rule(&["n_markets", "n_reserves", "n_reserves_unpriced", "tvl_priced_usd"], SNAP, SNAP),
    Rule(
        &["supplied_usd", "collateral_usd", "borrowed_usd", "minted_usd", "tvl_usd", "tvl_net_usd"],
        TOTAL,
        TOTAL,
    ),
    Rule(
        &["available_usd", "reserves_usd", "deficit_usd", "liq_threshold_wavg", "liq_bonus_wavg"],
        TOTAL,
        NEVER,
    ),
    Rule(&["utilization", "stable_supply_share", "hhi_supply", "top1_supply_share"], OF_SUPPLY, OF_SUPPLY),
    Rule(&["stable_borrow_share", "hhi_borrow"], OF_BORROW, OF_BORROW),
    Rule(&["supply_apr", "supply_apr_stable"], OF_SUPPLY, NEVER),
    Rule(&["borrow_apr", "borrow_apr_stable"], OF_BORROW, NEVER),
    Rule(&["px_protocol_share", "px_chainlink_share", "px_other_share"], PRICED, PRICED),
    Rule(&["px_cov_share", "px_max_age_s"], SNAP, NEVER),
    Rule(&["liq_count", "liq_event_count", "liq_tx_count", "liq_liquidators"], FLOWS, FLOWS),
    Rule(&["liq_borrowers"], |row| row.flows && row.names_borrowers, |row| row.flows && row.names_borrowers),
    Rule(&["liq_coll_usd"], FLOWS, |row| row.flows && !row.events),
    // Amounts are priced together or not at all.
    Rule(
        &["liq_debt_usd"],
        |row| row.flows && row.gives_debt && row.coll_may_be_known,
        |row| row.flows && row.gives_debt && row.coll_known,
    ),
    Rule(&["liq_bonus_usd"], |row| row.debt_known, |row| row.debt_known),
    Rule(
        &["liq_max_usd"],
        |row| row.debt_known && row.liquidations,
        |row| row.debt_known && row.liquidations,
    ),
    Rule(&["hhi_liquidators", "top1_liquidator_share"], |row| row.debt_known && row.debt, NEVER),
    Rule(
        &["bad_debt_usd"],
        |row| row.flows && row.coll_may_be_known && row.bad_debt != BadDebtEvents::Never,
        |row| row.flows && row.coll_known && row.bad_debt == BadDebtEvents::Always,
    ),
    Rule(&["liq_priced_share"], LIQUIDATIONS, LIQUIDATIONS),
    Rule(&["liq_audit"], |row| row.liq_collected, NEVER),
    // Zero liquidations were counted in every block of the day, or not at all.
    Rule(&["log_cov_share"], |row| row.scanned && row.has_blocks, |row| row.scanned && row.has_blocks),
    Rule(&["block_ts", "snap_lag_s"], |row| row.block, |row| row.block),
    Rule(&["blocks_expected"], |_| true, |row| row.liq_collected),
    Rule(&["blocks_scanned"], |row| row.expected, |row| row.liq_collected),
    Rule(&["block_number", "age_days"], |_| true, NEVER),
];

/// G4: measured if and only if status and applicability say so.
pub(super) fn nulls(subject: &Subject<'_>) -> Result<Vec<Failure>, CheckError> {
    let gold = subject.gold;
    let mut failures = Vec::new();
    for column in gold.columns().iter().filter(|column| column.kind == Kind::Float64) {
        for (row, value) in gold.numbers(column.name).into_iter().enumerate() {
            if value.is_some_and(|value| !value.is_finite()) {
                failures.push(
                    Failure::new("no number").of_row(gold, row).column(column.name).found_number(value),
                );
            }
        }
    }
    let facts = facts(subject);
    for Rule(columns, may, must) in RULES {
        for name in *columns {
            let is_there = gold.is_there(name);
            for (row, facts) in facts.iter().enumerate() {
                let Some((facts, never)) = facts else { continue };
                let (may, must) =
                    if never.contains(name) { (false, false) } else { (may(facts), must(facts)) };
                let why = match is_there[row] {
                    true if !may => {
                        "there, though the row's status or the family says that it was not measured"
                    }
                    false if must => "null, though the row's status and the family say that it was measured",
                    _ => continue,
                };
                let found = if is_there[row] { gold.numbers(name)[row] } else { None };
                failures.push(Failure::new(why).of_row(gold, row).column(name).found_number(found));
            }
        }
    }
    for (row, facts) in facts.iter().enumerate() {
        let Some((facts, _)) = facts else { continue };
        if facts.liq_collected && !facts.scanned_whole {
            let why = "counts as scanned, though not every block of the day was";
            failures
                .push(Failure::new(why).of_row(gold, row).column("log_cov_share").expected_number(Some(1.0)));
        }
    }
    Ok(failures)
}

/// The facts of each row and the columns that its family never fills; `None` for a row that is not of the run.
fn facts(subject: &Subject<'_>) -> Vec<Option<(Facts, Vec<&'static str>)>> {
    let gold = subject.gold;
    let word = |name: &str, word: &'static str| -> Vec<bool> {
        gold.texts(name).iter().map(|text| *text == Some(word)).collect()
    };
    let positive = |name: &str| -> Vec<bool> {
        gold.numbers(name).iter().map(|value| value.is_some_and(|value| value > 0.0)).collect()
    };
    let there = |name: &str| gold.is_there(name);
    let (snap, complete) = (word("snap_status", "collected"), word("usd_status", "complete"));
    let (collected, no_block) = (word("liq_status", "collected"), word("liq_status", "no_block"));
    let (supplied, borrowed) = (positive("supplied_usd"), positive("borrowed_usd"));
    let (priced, liquidations) = (positive("tvl_priced_usd"), positive("liq_count"));
    let (events, debt) = (positive("liq_event_count"), positive("liq_debt_usd"));
    let (debt_known, coll_known) = (there("liq_debt_usd"), there("liq_coll_usd"));
    let (block, expected, scanned) =
        (there("block_number"), there("blocks_expected"), there("blocks_scanned"));
    let (n_expected, n_scanned) = (gold.numbers("blocks_expected"), gold.numbers("blocks_scanned"));
    let has_blocks = positive("blocks_expected");
    let of_row = |row: usize| {
        let at = subject.run.csus.binary_search(&gold.csus[row]).ok()?;
        let csu = subject.run.registry.csu(&gold.csus[row])?;
        let never = never(csu);
        let can = subject.frame.known.abilities.get(at).and_then(Option::as_ref);
        let facts = Facts {
            snap: snap[row],
            complete: complete[row],
            flows: collected[row] || no_block[row],
            liq_collected: collected[row],
            scanned_whole: n_expected[row].is_some() && n_expected[row] == n_scanned[row],
            supplied: supplied[row],
            borrowed: borrowed[row],
            priced: priced[row],
            liquidations: liquidations[row],
            events: events[row],
            debt_known: debt_known[row],
            debt: debt[row],
            coll_known: coll_known[row],
            coll_may_be_known: coll_known[row] || never.contains(&"liq_coll_usd"),
            names_borrowers: can.is_some_and(|can| can.names_borrowers),
            gives_debt: can.is_some_and(|can| can.gives_debt),
            bad_debt: can.map_or(BadDebtEvents::Never, |can| can.bad_debt),
            block: block[row],
            expected: expected[row],
            scanned: scanned[row],
            has_blocks: has_blocks[row],
        };
        Some((facts, never))
    };
    (0..gold.height()).map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::schema::Row;
    use lake::schema::gold::PanelDaily;

    #[test]
    fn every_column_that_can_be_null_has_one_rule() {
        for column in PanelDaily::TABLE.columns {
            let rules = RULES.iter().filter(|Rule(columns, ..)| columns.contains(&column.name)).count();
            assert_eq!(rules, usize::from(column.nullable), "{}", column.name);
        }
        let known = |name: &&str| PanelDaily::TABLE.columns.iter().any(|column| column.name == *name);
        assert!(RULES.iter().flat_map(|Rule(columns, ..)| columns.iter()).all(known));
    }
}
