//! The panel of random silver, against a second computation that shares no code with the program.

use crate::small_lake::*;
use lake::schema::silver::{Coverage, Liquidation, ReserveDay};
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

fn random_leg() -> impl Strategy<Value = Liquidation> {
    let sides =
        (proptest::option::of(amount()), proptest::option::of(amount()), proptest::option::of(amount()));
    let priced = prop::array::uniform3(prop::bool::weighted(0.95));
    (place(), sides, priced, 0_u8..4, proptest::option::weighted(0.9, 0_u8..3), 0_u8..3, 0_i32..3).prop_map(
        |((csu, date), (debt, coll, bad), priced, liq, liquidator, borrower, log)| {
            let raw = |amount: Option<f64>| amount.map(|amount| format!("{:.0}", amount * 1e6));
            let usd = |amount: Option<f64>, priced: bool| amount.filter(|_| priced);
            Liquidation {
                log_index: log,
                liq_id: format!("{csu} {liq}"),
                tx_hash: format!("tx{}", liq / 2),
                liquidator: liquidator.map(token),
                borrower: Some(token(borrower)),
                debt_raw: raw(debt),
                debt_usd: usd(debt, priced[0]),
                coll_raw: raw(coll),
                coll_usd: usd(coll, priced[1]),
                bad_debt_raw: raw(bad),
                bad_debt_usd: usd(bad, priced[2]),
                ..liquidation(csu, date, log, 0.0, 0.0)
            }
        },
    )
}

fn random_lake() -> impl Strategy<Value = SmallLake> {
    let reserves = prop::collection::vec(random_reserve(), 0..60);
    let legs = prop::collection::vec(random_leg(), 0..30);
    // The lake's chain has blocks on every day.
    let others: Vec<Status> =
        Status::ALL.iter().copied().filter(|status| *status != Status::NoBlock).collect();
    let words = prop_oneof![4 => Just(Status::Collected), 1 => select(others)];
    let level = proptest::option::of(select(AuditLevel::ALL.to_vec()));
    let statuses = prop::collection::vec((words, level), 12);
    (reserves, legs, statuses).prop_map(|(reserves, legs, statuses)| {
        let mut lake = SmallLake::collected();
        let mut seen = BTreeSet::new();
        lake.reserves.extend(reserves.into_iter().filter(|row| {
            seen.insert((row.csu.clone(), row.date, row.market_id.clone(), row.token.clone(), row.role))
        }));
        let mut next_leg: BTreeMap<(i64, i32, String), i32> = BTreeMap::new();
        for mut row in legs {
            // The two CSUs share a chain: logs of one are not logs of the other.
            if row.csu == BETA {
                row.log_index += 10;
            }
            let leg = next_leg.entry((row.block_number, row.log_index, row.csu.clone())).or_default();
            row.leg = *leg;
            *leg += 1;
            lake.liquidations.push(row);
        }
        for (row, (status, level)) in lake.coverage.iter_mut().zip(statuses) {
            *row = coverage(&row.csu, row.date, row.dataset, status);
            row.audit_level = level;
        }
        lake.tokens.push(excluded(EXCLUDED));
        lake
    })
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
    let with_debt: Vec<&Liquidation> = legs.iter().copied().filter(|row| row.debt_raw.is_some()).collect();
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
        ("liq_borrowers", Some(distinct(&|row| row.borrower.clone()))),
        ("liq_liquidators", Some(distinct(&|row| row.liquidator.clone()))),
        ("liq_debt_usd", usd(debt)),
        ("liq_coll_usd", usd(coll)),
        ("liq_bonus_usd", usd(coll - debt)),
        ("liq_max_usd", largest.and_then(usd)),
        // ALPHA's contracts do not tell.
        ("bad_debt_usd", usd(sum(legs.iter().filter_map(|row| row.bad_debt_usd))).filter(|_| csu == BETA)),
        ("hhi_liquidators", hhi.filter(|_| is_priced && all_named)),
        ("top1_liquidator_share", top1.filter(|_| is_priced && all_named)),
        ("liq_priced_share", ratio(n_priced, count)),
    ])
}

fn covered<'a>(lake: &'a SmallLake, csu: &str, date: &str, dataset: Dataset) -> &'a Coverage {
    let found =
        lake.coverage.iter().find(|row| row.csu == csu && row.date == day(date) && row.dataset == dataset);
    found.unwrap()
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
        let panel = lake.panel();
        prop_assert_eq!(panel.0.len(), 6);
        for csu in [ALPHA, BETA] {
            for date in DAYS {
                let row = panel.row(csu, date);
                let snap = covered(&lake, csu, date, Dataset::Tvl).status;
                let scan = covered(&lake, csu, date, Dataset::Liquidations);
                let liq = scan.status;
                prop_assert_eq!(row.text("snap_status"), Some(snap.as_str()));
                prop_assert_eq!(row.text("liq_status"), Some(liq.as_str()));
                let level = scan.audit_level.filter(|_| liq == Status::Collected);
                prop_assert_eq!(row.text("liq_audit"), level.map(AuditLevel::as_str));
                prop_assert_eq!(row.text("status"), Some(snap.max(liq).as_str()));
                let (stocks, word) = stocks(&lake, csu, date);
                let is_snapped = snap == Status::Collected;
                prop_assert_eq!(row.text("usd_status"), Some(if is_snapped { word } else { "none" }));
                check(row, &stocks, is_snapped)?;
                check(row, &flows(&lake, csu, date), liq == Status::Collected)?;
                for (name, value) in row.columns() {
                    if ["share", "hhi_", "top1"].iter().any(|part| name.contains(part)) {
                        let inside = value.is_none_or(|value| (0.0..=1.0).contains(&value.parse::<f64>().unwrap()));
                        prop_assert!(inside, "{} is {:?}", name, value);
                    }
                }
            }
        }
    }
}
