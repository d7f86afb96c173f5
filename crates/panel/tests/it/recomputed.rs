//! The panel of random silver, against a second computation that shares no code with the program.

use crate::small_lake::*;
use lake::day::Day;
use lake::schema::silver::{Coverage, CsuRow, Liquidation, ReserveDay};
use lake::status::{AuditLevel, Dataset, PriceSource, Role, Status};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};

const EXCLUDED: u8 = 6;

type Place = (&'static str, &'static str);

fn place() -> impl Strategy<Value = Place> {
    (select(vec![ALPHA, BETA]), select(DAYS.to_vec()))
}

fn amount() -> impl Strategy<Value = f64> {
    // Whole millionths, so that raw text and float agree.
    prop_oneof![1 => Just(0.0), 3 => (1_u64..1_000_000_000_000_000).prop_map(|raw| raw as f64 / 1e6)]
}

fn maybe(range: std::ops::Range<f64>) -> impl Strategy<Value = Option<f64>> {
    prop_oneof![1 => Just(None), 9 => range.prop_map(Some)]
}

fn random_reserve() -> impl Strategy<Value = ReserveDay> {
    let identity = (place(), 1..=EXCLUDED, 100_u8..102, select(Role::ALL.to_vec()));
    let amounts =
        (amount(), amount(), amount(), proptest::option::of(amount()), proptest::option::of(amount()));
    let price =
        (maybe(0.01..50_000.0), select(PriceSource::ALL.to_vec()), proptest::option::of(0_i64..9_999));
    let rates = (maybe(0.0..0.2), maybe(0.0..0.4), maybe(0.0..0.9), maybe(0.0..0.15), any::<bool>());
    (identity, amounts, price, rates).prop_map(|(identity, amounts, price, rates)| {
        let ((csu, date), number, market, role) = identity;
        let (supplied, borrowed, available, reserves, deficit) = amounts;
        let (price_usd, source, age) = price;
        let (supply_apr, borrow_apr, liq_threshold, liq_bonus, is_stablecoin) = rates;
        // Not every day may hang on one missing price.
        let price_usd = if date == DAYS[2] { price_usd.or(Some(1.5)) } else { price_usd };
        let raw = |amount: Option<f64>| amount.map(|amount| format!("{:.0}", amount * 1e6));
        let usd = |amount: Option<f64>| {
            amount.and_then(
                |amount| {
                    if amount == 0.0 { Some(0.0) } else { price_usd.map(|price| amount * price) }
                },
            )
        };
        ReserveDay {
            market_id: token(market),
            role,
            reserves_raw: raw(reserves),
            reserves_usd: usd(reserves),
            deficit_raw: raw(deficit),
            deficit_usd: usd(deficit),
            price_source: price_usd.map(|_| source),
            price_age_s: price_usd.and(age),
            supply_apr,
            borrow_apr,
            liq_threshold,
            liq_bonus,
            is_stablecoin,
            ..reserve(csu, date, number, [supplied, borrowed, available], price_usd)
        }
    })
}

/// Legs of one liquidation share transaction and borrower, and a log is of one liquidation, as silver's `liq_id` has it.
fn random_leg() -> impl Strategy<Value = Liquidation> {
    let sides =
        (proptest::option::of(amount()), proptest::option::of(amount()), proptest::option::of(amount()));
    let priced = prop::array::uniform3(prop::bool::weighted(0.95));
    (place(), sides, priced, 0_u8..4, any::<bool>(), 0_i32..2).prop_map(
        |((csu, date), (debt, coll, bad), priced, liq, is_named, log)| {
            let raw = |amount: Option<f64>| amount.map(|amount| format!("{:.0}", amount * 1e6));
            let usd = |amount: Option<f64>, priced: bool| amount.filter(|_| priced);
            Liquidation {
                log_index: i32::from(liq) * 2 + log,
                liq_id: format!("{csu} {liq}"),
                tx_hash: format!("tx{}", liq / 2),
                liquidator: (is_named || log == 0).then(|| token(liq % 3)),
                borrower: Some(token(liq % 3)),
                debt_raw: raw(debt),
                debt_usd: usd(debt, priced[0]),
                coll_raw: raw(coll),
                coll_usd: usd(coll, priced[1]),
                bad_debt_raw: raw(bad),
                bad_debt_usd: usd(bad, priced[2]),
                ..liquidation(csu, date, 0, 0.0, 0.0)
            }
        },
    )
}

/// What the CSU's family can tell: borrowers, debt, and bad debt by which method.
fn random_csu(csu: &'static str) -> impl Strategy<Value = CsuRow> {
    let methods = vec!["event", "estimate", "event_if_deficit", "none"];
    (prop::bool::weighted(0.7), prop::bool::weighted(0.7), select(methods)).prop_map(
        move |(borrower, debt, method)| CsuRow { has_debt_amount: debt, ..csu_row(csu, borrower, method) },
    )
}

/// What is known of a day of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundaries {
    Known,
    /// The chain made no block.
    Empty,
    /// Nobody knows.
    Missing,
}

fn random_lake() -> impl Strategy<Value = SmallLake> {
    let reserves = prop::collection::vec(random_reserve(), 0..60);
    let legs = prop::collection::vec(random_leg(), 0..30);
    let others: Vec<Status> =
        Status::ALL.iter().copied().filter(|status| *status != Status::NoBlock).collect();
    // `None`: nobody planned the task.
    let words =
        prop_oneof![6 => Just(Some(Status::Collected)), 2 => select(others).prop_map(Some), 1 => Just(None)];
    let level = proptest::option::of(select(AuditLevel::ALL.to_vec()));
    let statuses = prop::collection::vec((words, level), 12);
    let boundaries = prop_oneof![6 => Just(Boundaries::Known), 1 => Just(Boundaries::Empty), 1 => Just(Boundaries::Missing)];
    let days = prop::array::uniform3(boundaries);
    (reserves, legs, statuses, days, random_csu(ALPHA), random_csu(BETA)).prop_map(
        |(reserves, legs, statuses, days, alpha, beta)| {
            let mut lake = SmallLake::collected();
            let mut seen = BTreeSet::new();
            lake.reserves.extend(reserves.into_iter().filter(|row| {
                seen.insert((row.csu.clone(), row.date, row.market_id.clone(), row.token.clone(), row.role))
            }));
            lake.csus = vec![alpha, beta];
            let boundaries = |date: Day| days[DAYS.iter().position(|text| day(text) == date).unwrap()];
            let mut next_leg: BTreeMap<(i64, i32, String), i32> = BTreeMap::new();
            for mut row in legs.into_iter().filter(|row| boundaries(row.date) != Boundaries::Empty) {
                // The two CSUs share a chain: logs of one are not logs of the other.
                if row.csu == BETA {
                    row.log_index += 10;
                }
                if !lake.csus.iter().any(|csu| csu.csu == row.csu && csu.has_debt_amount) {
                    (row.debt_raw, row.debt_usd) = (None, None);
                }
                let leg = next_leg.entry((row.block_number, row.log_index, row.csu.clone())).or_default();
                row.leg = *leg;
                *leg += 1;
                lake.liquidations.push(row);
            }
            let mut planned = Vec::new();
            for (row, (status, level)) in lake.coverage.iter().zip(statuses) {
                let is_empty = boundaries(row.date) == Boundaries::Empty;
                let status = if is_empty { Some(Status::NoBlock) } else { status };
                let Some(status) = status else { continue };
                let mut row = coverage(&row.csu, row.date, row.dataset, status);
                row.audit_level = level;
                if is_empty && row.dataset == Dataset::Liquidations {
                    (row.blocks_expected, row.blocks_scanned) = (Some(0), Some(0));
                }
                planned.push(row);
            }
            lake.coverage = planned;
            // Something of the month must have been planned.
            if lake.coverage.is_empty() {
                lake.coverage.push(coverage(ALPHA, day(DAYS[0]), Dataset::Tvl, Status::Failed));
            }
            lake.days.retain(|row| boundaries(row.date) != Boundaries::Missing);
            for row in lake.days.iter_mut().filter(|row| boundaries(row.date) == Boundaries::Empty) {
                (row.first_block, row.last_block, row.last_block_ts, row.n_blocks) =
                    (None, None, None, Some(0));
            }
            lake.tokens.push(excluded(EXCLUDED));
            lake
        },
    )
}

fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |sum, value| sum + value)
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    if whole == 0.0 { None } else { Some(part / whole) }
}

/// Weighted mean; null without weight, and null where a weighted value is missing.
fn mean(pairs: &[(f64, Option<f64>)]) -> Option<f64> {
    let mut total = 0.0;
    for (weight, value) in pairs.iter().filter(|(weight, _)| *weight > 0.0) {
        total += weight * (*value)?;
    }
    ratio(total, sum(pairs.iter().map(|pair| pair.0)))
}

fn concentration(parts: &BTreeMap<String, f64>) -> (Option<f64>, Option<f64>) {
    let total = sum(parts.values().copied());
    if total == 0.0 {
        return (None, None);
    }
    let shares: Vec<f64> = parts.values().map(|part| part / total).collect();
    (Some(sum(shares.iter().map(|share| share * share))), shares.iter().copied().reduce(f64::max))
}

type Figures = BTreeMap<&'static str, Option<f64>>;

fn stocks(lake: &SmallLake, csu: &str, date: &str) -> (Figures, &'static str) {
    let all: Vec<&ReserveDay> =
        lake.reserves.iter().filter(|row| row.csu == csu && row.date == day(date)).collect();
    let rows: Vec<&ReserveDay> = all.iter().copied().filter(|row| row.token != token(EXCLUDED)).collect();
    let has_balance = |row: &ReserveDay| {
        [&row.supplied_raw, &row.borrowed_raw, &row.available_raw, &row.reserves_raw, &row.deficit_raw]
            .into_iter()
            .any(|raw| raw.as_deref().is_some_and(|raw| raw != "0"))
    };
    let reserve_ids = |rows: &mut dyn Iterator<Item = &ReserveDay>| -> BTreeSet<(String, String)> {
        rows.map(|row| (row.market_id.clone(), row.token.clone())).collect()
    };
    let n_reserves = reserve_ids(&mut all.iter().copied()).len() as f64;
    let markets: BTreeSet<&str> = all.iter().map(|row| row.market_id.as_str()).collect();
    let balanced = reserve_ids(&mut rows.iter().copied().filter(|row| has_balance(row))).len() as f64;
    let is_unpriced = |row: &ReserveDay| has_balance(row) && row.price_usd.is_none();
    let unpriced = reserve_ids(&mut rows.iter().copied().filter(|row| is_unpriced(row))).len() as f64;

    let is_lent = |row: &&&ReserveDay| matches!(row.role, Role::Reserve | Role::Base);
    let of = |keep: &dyn Fn(&ReserveDay) -> bool, value: &dyn Fn(&ReserveDay) -> Option<f64>| {
        sum(rows.iter().filter(|row| keep(row)).filter_map(|row| value(row)))
    };
    let supplied = of(&|row| row.role != Role::Collateral, &|row| row.supplied_usd);
    let collateral = of(&|row| row.role == Role::Collateral, &|row| row.supplied_usd);
    let borrowed = of(&|row| matches!(row.role, Role::Reserve | Role::Base), &|row| row.borrowed_usd);
    let minted = of(&|row| row.role == Role::Minted, &|row| row.borrowed_usd);
    let gross = supplied + collateral;
    let by = |keep: &dyn Fn(PriceSource) -> bool| {
        // What has no price but no balance either adds nothing.
        ratio(of(&|row| row.price_source.is_some_and(keep), &|row| row.supplied_usd), gross)
    };

    let mut figures: Figures = BTreeMap::from([
        ("n_markets", Some(markets.len() as f64)),
        ("n_reserves", Some(n_reserves)),
        ("n_reserves_unpriced", Some(unpriced)),
        ("tvl_priced_usd", Some(gross)),
        ("px_cov_share", ratio(balanced - unpriced, balanced)),
        ("px_protocol_share", by(&|source| source == PriceSource::ProtocolOracle)),
        ("px_chainlink_share", by(&|source| source == PriceSource::Chainlink)),
        (
            "px_other_share",
            by(&|source| !matches!(source, PriceSource::ProtocolOracle | PriceSource::Chainlink)),
        ),
        (
            "px_max_age_s",
            rows.iter()
                .filter(|row| has_balance(row) && row.price_usd.is_some())
                .filter_map(|row| row.price_age_s)
                .max()
                .map(|age| age as f64),
        ),
    ]);

    let word = if unpriced == 0.0 {
        "complete"
    } else if balanced > unpriced {
        "partial"
    } else {
        "none"
    };
    let complete = word == "complete";
    let total = |value: Option<f64>| value.filter(|_| complete);
    let (mut supply_of, mut borrow_of) = (BTreeMap::new(), BTreeMap::new());
    for row in &rows {
        if row.role != Role::Collateral {
            *supply_of.entry(row.token.clone()).or_insert(0.0) += row.supplied_usd.unwrap_or(0.0);
        }
        if is_lent(&row) {
            *borrow_of.entry(row.token.clone()).or_insert(0.0) += row.borrowed_usd.unwrap_or(0.0);
        }
    }
    let (hhi_supply, top1) = concentration(&supply_of);
    let (hhi_borrow, _) = concentration(&borrow_of);
    let weighted = |stable: bool, side: char| -> Vec<(f64, Option<f64>)> {
        rows.iter()
            .filter(|row| !stable || row.is_stablecoin)
            .filter(|row| if side == 's' { row.role != Role::Collateral } else { is_lent(row) })
            .map(|row| match side {
                's' => (row.supplied_usd.unwrap_or(0.0), row.supply_apr),
                _ => (row.borrowed_usd.unwrap_or(0.0), row.borrow_apr),
            })
            .collect()
    };
    let weight = |pairs: Vec<(f64, Option<f64>)>| sum(pairs.into_iter().map(|pair| pair.0));
    let backing: Vec<&&ReserveDay> =
        rows.iter().filter(|row| row.liq_threshold.is_some_and(|threshold| threshold > 0.0)).collect();
    let backed = |value: &dyn Fn(&ReserveDay) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        backing.iter().map(|row| (row.supplied_usd.unwrap_or(0.0), value(row))).collect()
    };
    let lent: Vec<&&ReserveDay> = rows.iter().filter(is_lent).collect();
    let reserves = (rows.iter().any(|row| row.reserves_usd.is_some())
        && lent.iter().all(|row| row.reserves_usd.is_some()))
    .then(|| sum(rows.iter().filter_map(|row| row.reserves_usd)));
    let deficits: Vec<f64> = rows.iter().filter_map(|row| row.deficit_usd).collect();
    figures.extend([
        ("supplied_usd", total(Some(supplied))),
        ("collateral_usd", total(Some(collateral))),
        ("borrowed_usd", total(Some(borrowed))),
        ("minted_usd", total(Some(minted))),
        ("available_usd", total(Some(sum(rows.iter().filter_map(|row| row.available_usd))))),
        ("tvl_usd", total(Some(supplied + collateral))),
        ("tvl_net_usd", total(Some(supplied + collateral - borrowed))),
        ("reserves_usd", total(reserves)),
        ("deficit_usd", total((!deficits.is_empty()).then(|| sum(deficits)))),
        ("utilization", total(ratio(borrowed, supplied))),
        ("stable_supply_share", total(ratio(weight(weighted(true, 's')), supplied))),
        ("stable_borrow_share", total(ratio(weight(weighted(true, 'b')), borrowed))),
        ("hhi_supply", total(hhi_supply)),
        ("hhi_borrow", total(hhi_borrow)),
        ("top1_supply_share", total(top1)),
        ("supply_apr", total(mean(&weighted(false, 's')))),
        ("borrow_apr", total(mean(&weighted(false, 'b')))),
        ("supply_apr_stable", total(mean(&weighted(true, 's')))),
        ("borrow_apr_stable", total(mean(&weighted(true, 'b')))),
        ("liq_threshold_wavg", total(mean(&backed(&|row| row.liq_threshold)))),
        ("liq_bonus_wavg", total(mean(&backed(&|row| row.liq_bonus)))),
    ]);
    (figures, word)
}

fn flows(lake: &SmallLake, csu: &str, date: &str) -> Figures {
    let legs: Vec<&Liquidation> =
        lake.liquidations.iter().filter(|row| row.csu == csu && row.date == day(date)).collect();
    let can = lake.csus.iter().find(|row| row.csu == csu).unwrap();
    let counts = |row: &Liquidation| {
        let is_only_bad_debt = row.bad_debt_raw.is_some() && row.coll_raw.is_none() && row.coll_usd.is_none();
        if can.has_debt_amount { row.debt_raw.is_some() } else { !is_only_bad_debt }
    };
    let with_debt: Vec<&Liquidation> = legs.iter().copied().filter(|row| counts(row)).collect();
    let tells_bad_debt = match can.bad_debt_method.as_str() {
        "none" => false,
        "event_if_deficit" => {
            let snap = covered(lake, csu, date, Dataset::Tvl).map(|row| row.status);
            let keeps = |row: &&ReserveDay| row.deficit_raw.is_some() && row.token != token(EXCLUDED);
            let of_day = lake.reserves.iter().filter(|row| row.csu == csu && row.date == day(date));
            snap == Some(Status::Collected) && of_day.filter(|row| keeps(row)).count() > 0
        }
        _ => true,
    };
    let distinct = |value: &dyn Fn(&Liquidation) -> Option<String>| {
        with_debt.iter().filter_map(|row| value(row)).collect::<BTreeSet<_>>().len() as f64
    };
    let liquidations: BTreeSet<&str> = with_debt.iter().map(|row| row.liq_id.as_str()).collect();
    let count = liquidations.len() as f64;
    let events: BTreeSet<_> = legs.iter().map(|row| (row.block_number, row.log_index)).collect();
    let side_lacks = |row: &Liquidation| {
        (row.debt_raw.is_some() && row.debt_usd.is_none())
            || (row.coll_raw.is_some() && row.coll_usd.is_none())
    };
    let is_priced =
        legs.iter().all(|row| !side_lacks(row) && (row.bad_debt_raw.is_none() || row.bad_debt_usd.is_some()));
    let usd = |value: f64| is_priced.then_some(value);
    let owed = |value: f64| usd(value).filter(|_| can.has_debt_amount);
    let debt = sum(legs.iter().filter_map(|row| row.debt_usd));
    let coll = sum(legs.iter().filter_map(|row| row.coll_usd));
    let of_liquidation =
        |id: &str| -> Vec<&Liquidation> { legs.iter().copied().filter(|row| row.liq_id == id).collect() };
    let largest = liquidations
        .iter()
        .map(|id| sum(of_liquidation(id).iter().filter_map(|row| row.debt_usd)))
        .reduce(f64::max);
    let n_priced =
        liquidations.iter().filter(|id| of_liquidation(id).iter().all(|row| !side_lacks(row))).count() as f64;
    let mut by_liquidator = BTreeMap::new();
    for row in &with_debt {
        let name = row.liquidator.clone().unwrap_or_default();
        *by_liquidator.entry(name).or_insert(0.0) += row.debt_usd.unwrap_or(0.0);
    }
    let all_named = with_debt.iter().all(|row| row.liquidator.is_some());
    let (hhi, top1) = concentration(&by_liquidator);
    BTreeMap::from([
        ("liq_count", Some(count)),
        ("liq_event_count", Some(events.len() as f64)),
        ("liq_tx_count", Some(distinct(&|row| Some(row.tx_hash.clone())))),
        ("liq_borrowers", Some(distinct(&|row| row.borrower.clone())).filter(|_| can.has_borrower)),
        ("liq_liquidators", Some(distinct(&|row| row.liquidator.clone()))),
        ("liq_debt_usd", owed(debt)),
        ("liq_coll_usd", usd(coll)),
        ("liq_bonus_usd", owed(coll - debt)),
        ("liq_max_usd", largest.and_then(owed)),
        ("bad_debt_usd", usd(sum(legs.iter().filter_map(|row| row.bad_debt_usd))).filter(|_| tells_bad_debt)),
        ("hhi_liquidators", hhi.filter(|_| is_priced && all_named && can.has_debt_amount)),
        ("top1_liquidator_share", top1.filter(|_| is_priced && all_named && can.has_debt_amount)),
        ("liq_priced_share", ratio(n_priced, count)),
    ])
}

fn covered<'a>(lake: &'a SmallLake, csu: &str, date: &str, dataset: Dataset) -> Option<&'a Coverage> {
    lake.coverage.iter().find(|row| row.csu == csu && row.date == day(date) && row.dataset == dataset)
}

fn check(row: &PanelRow, expected: &Figures, measured: bool) -> Result<(), TestCaseError> {
    for (column, value) in expected {
        let value = value.filter(|_| measured);
        let found = row.number(column);
        let is_close = match (found, value) {
            (Some(found), Some(value)) => {
                (found - value).abs() <= 1e-9 * value.abs().max(found.abs()).max(1e-6)
            }
            (None, None) => true,
            _ => false,
        };
        prop_assert!(is_close, "{column}: the panel has {found:?}, recomputed {value:?}");
    }
    Ok(())
}

/// Each case runs the program once, so few by default; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_figure_can_be_recomputed(lake in random_lake()) {
        let ran = lake.write().run("build", &["--by-asset"]);
        prop_assert!(ran.code < 2, "{}", ran.stderr);
        let panel = lake.read_panel();
        prop_assert_eq!(panel.0.len(), 6);
        for csu in [ALPHA, BETA] {
            for date in DAYS {
                let row = panel.row(csu, date);
                let status_of = |dataset| covered(&lake, csu, date, dataset).map_or(Status::NotAttempted, |row| row.status);
                let (snap, liq) = (status_of(Dataset::Tvl), status_of(Dataset::Liquidations));
                let scan = covered(&lake, csu, date, Dataset::Liquidations);
                let level = scan.and_then(|scan| scan.audit_level).filter(|_| liq == Status::Collected);
                prop_assert_eq!(row.text("liq_audit"), level.map(AuditLevel::as_str));
                prop_assert_eq!(row.text("status"), Some(snap.max(liq).as_str()));
                let (stocks, word) = stocks(&lake, csu, date);
                let is_snapped = snap == Status::Collected;
                prop_assert_eq!(row.text("usd_status"), Some(if is_snapped { word } else { "none" }));
                check(row, &stocks, is_snapped)?;
                let is_scanned = matches!(liq, Status::Collected | Status::NoBlock);
                check(row, &flows(&lake, csu, date), is_scanned)?;
                let days = lake.days.iter().find(|row| row.date == day(date));
                prop_assert_eq!(row.number("block_number"), days.and_then(|row| row.last_block).map(|number| number as f64));
                let whole = row.number("blocks_expected") == row.number("blocks_scanned");
                prop_assert!(row.text("liq_count").is_none() || whole, "zero only where every block was scanned");
                for (name, value) in row.columns() {
                    if ["share", "hhi_", "top1"].iter().any(|part| name.contains(part)) {
                        let inside = value.is_none_or(|value| (0.0..=1.0).contains(&value.parse::<f64>().unwrap()));
                        prop_assert!(inside, "{} is {:?}", name, value);
                    }
                    prop_assert!(!["NaN", "inf", "-inf"].contains(&value.unwrap_or_default()), "{}", name);
                }
            }
        }
        // The checks ask silver by queries of their own, and hold every rule against every row.
        let checked = lake.run("check", &[]);
        prop_assert_eq!(checked.code, 0, "{}", checked.stdout);
    }
}
