//! The demo from recording to gold, compared figure by figure with `data/demo/expected.json`: answers that the recorder
//! got from the contracts and receipts by a path that shares no code with the decoders.

use crate::stages::{ends_with, extract, panel, transform};
use crate::table::{Row, rows};
use std::path::{Path, PathBuf};
use testkit::devnet::expected::{Expected, ExpectedDay, ExpectedLiquidation};
use testkit::devnet::expected_families::{ExpectedAmount, ExpectedCsuDay, ExpectedLeg};

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// All three stages over the recording, into a lake of its own.
fn lake() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let lake = directory.path().join("lake");
    let run = repository().join("pipelines/runs/demo.toml");
    let providers = repository().join("data/demo/registry/providers.toml");
    ends_with(&extract(&run, &lake, &providers, &[]), 0);
    ends_with(&transform(&run, &lake), 0);
    ends_with(&panel(&run, &lake), 0);
    (directory, lake)
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(repository().join("data/demo/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn day_number(day: &str) -> String {
    day.parse::<lake::day::Day>().unwrap().days_since_epoch().to_string()
}

/// Insists that a Float64 in a table is the decimal number expected, but for the last places.
#[track_caller]
fn close(row: &Row, column: &str, expected: &str) {
    let found: f64 = row.get(column).unwrap_or_else(|| panic!("{column} is null")).parse().unwrap();
    let expected: f64 = expected.parse().unwrap();
    assert!((found - expected).abs() <= expected.abs() * 1e-12, "{column}: {found} is not {expected}");
}

#[track_caller]
fn same(row: &Row, column: &str, expected: &str) {
    assert_eq!(row.get(column).map(String::as_str), Some(expected), "{column}");
}

fn lower(address: &str) -> String {
    address.to_lowercase()
}

#[test]
fn every_figure_of_the_demo_is_what_the_contracts_say() {
    let (_directory, lake) = lake();
    let expected = expected();
    compare_silver(&lake, &expected);
    let gold = rows(&lake.join("gold/panel_daily.parquet"));
    for chain in &expected.chains {
        for day in &chain.days {
            let is_today = |row: &&Row| row["csu"] == chain.csu && row["date"] == day_number(&day.day);
            let today: Vec<&Row> = gold.iter().filter(is_today).collect();
            assert_eq!(today.len(), 1);
            compare_gold(day, today[0]);
        }
    }
    for csu in &expected.csus {
        for day in &csu.days {
            let is_today = |row: &&Row| row["csu"] == csu.csu && row["date"] == day_number(&day.day);
            let today: Vec<&Row> = gold.iter().filter(is_today).collect();
            assert_eq!(today.len(), 1);
            compare_gold_of_family(day, today[0]);
        }
    }
    assert_eq!(gold.len(), 20, "there are rows nobody expected");
}

/// A row in the registry is all that a further CSU of a known family takes: the programs are those that ran before.
#[test]
fn a_csu_is_added_by_its_row_alone_and_changes_no_figure_of_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let demo = repository().join("data/demo");
    let registry = directory.path().join("registry");
    std::fs::create_dir_all(registry.join("csus")).unwrap();
    let copy = |file: &str| {
        std::fs::copy(demo.join("registry").join(file), registry.join(file)).unwrap();
    };
    for file in ["chains.toml", "tokens.toml", "feeds.toml", "csus/aave_v3.toml", "csus/compound_v2.toml"] {
        copy(file);
    }
    let run = directory.path().join("run.toml");
    let text = std::fs::read_to_string(repository().join("pipelines/runs/demo.toml")).unwrap();
    let text = text.replace("../../data/demo/registry", "registry").replace("../../data/demo/lake", "lake");
    std::fs::write(&run, text).unwrap();
    let (lake, providers) = (directory.path().join("lake"), demo.join("registry/providers.toml"));
    let gold = || {
        ends_with(&extract(&run, &lake, &providers, &[]), 0);
        ends_with(&transform(&run, &lake), 0);
        ends_with(&panel(&run, &lake), 0);
        let mut gold = rows(&lake.join("gold/panel_daily.parquet"));
        // Digests of the registry, and of rows with such a digest in them.
        gold.iter_mut().for_each(|row| {
            row.retain(|column, _| !["registry_hash", "row_hash"].contains(&column.as_str()))
        });
        gold
    };
    let before = gold();
    assert_eq!(before.len(), 12);

    copy("csus/compound_v3.toml");
    let (added, others): (Vec<Row>, Vec<Row>) =
        gold().into_iter().partition(|row| row["csu"] == "compound_v3_usdc_devnet_c");
    assert_eq!(others, before);
    let expected = expected();
    let csu = expected.csus.iter().find(|csu| csu.csu == "compound_v3_usdc_devnet_c").unwrap();
    assert_eq!(added.len(), csu.days.len());
    for (row, day) in added.iter().zip(&csu.days) {
        compare_gold_of_family(day, row);
    }
}

/// Compares every reserve and every liquidation of the demo's days.
pub(crate) fn compare_silver(lake: &Path, expected: &Expected) {
    let reserves = rows(&lake.join("silver/reserve_day"));
    let liquidations = rows(&lake.join("silver/liquidation"));
    let (mut days, mut seen_reserves, mut seen_liquidations) = (0, 0, 0);
    for chain in &expected.chains {
        for day in &chain.days {
            let is_today = |row: &&Row| row["csu"] == chain.csu && row["date"] == day_number(&day.day);
            let today: Vec<&Row> = reserves.iter().filter(is_today).collect();
            assert_eq!(today.len(), day.reserves.len(), "{} {}", chain.csu, day.day);
            compare_reserves(day, &today);
            seen_reserves += today.len();

            let today: Vec<&Row> = liquidations.iter().filter(is_today).collect();
            assert_eq!(today.len(), day.liquidations.len(), "{} {}", chain.csu, day.day);
            for (row, liquidation) in today.iter().zip(&day.liquidations) {
                compare_liquidation(row, liquidation);
            }
            seen_liquidations += today.len();
            days += 1;
        }
        for outside in &chain.liquidations_outside {
            let tx = lower(&outside.tx_hash);
            assert!(liquidations.iter().all(|row| row["tx_hash"] != tx), "{tx} is of no day of the demo");
        }
    }
    assert_eq!((days, seen_reserves, seen_liquidations), (8, 30, 11));
    for csu in &expected.csus {
        for day in &csu.days {
            let is_today = |row: &&Row| row["csu"] == csu.csu && row["date"] == day_number(&day.day);
            let today: Vec<&Row> = reserves.iter().filter(is_today).collect();
            compare_rows(day, &today);
            seen_reserves += today.len();
            let today: Vec<&Row> = liquidations.iter().filter(is_today).collect();
            assert_eq!(today.len(), day.legs.len(), "{} {}", csu.csu, day.day);
            for (row, leg) in today.iter().zip(&day.legs) {
                compare_leg(row, leg);
            }
            seen_liquidations += today.len();
        }
        for outside in &csu.outside {
            let tx = lower(outside);
            assert!(liquidations.iter().all(|row| row["tx_hash"] != tx), "{tx} is of no day of the demo");
        }
    }
    assert_eq!((seen_reserves, seen_liquidations), (30 + 54, 11 + 14));
    let all = (reserves.len(), liquidations.len());
    assert_eq!(all, (seen_reserves, seen_liquidations), "there are rows nobody expected");
}

/// The rows of a day of Venus, Compound III or Morpho Blue.
fn compare_rows(day: &ExpectedCsuDay, found: &[&Row]) {
    assert_eq!(found.len(), day.rows.len(), "{}", day.day);
    for expected in &day.rows {
        let is_it = |row: &&&Row| {
            row["market_id"] == lower(&expected.market)
                && row["token"] == lower(&expected.token)
                && row["role"] == expected.role
        };
        let row = found.iter().find(is_it).unwrap_or_else(|| panic!("no row is {expected:?}"));
        same(row, "block_number", &day.last_block);
        same(row, "symbol", &expected.symbol);
        same(row, "supplied_raw", &expected.supplied);
        assert_eq!(row.get("borrowed_raw"), expected.borrowed.as_ref(), "{row:#?}");
        assert_eq!(row.get("available_raw"), expected.available.as_ref(), "{row:#?}");
        close(row, "price_usd", &expected.price_usd);
    }
}

fn compare_leg(row: &Row, expected: &ExpectedLeg) {
    for (column, value) in [
        ("block_number", expected.block.clone()),
        ("log_index", expected.log_index.clone()),
        ("block_ts", format!("{}000000", expected.timestamp)),
        ("tx_hash", lower(&expected.tx_hash)),
        ("borrower", lower(&expected.borrower)),
        ("liquidator", lower(&expected.liquidator)),
        ("price_basis", "event_block".to_owned()),
    ] {
        same(row, column, &value);
    }
    for (side, amount) in [("debt", &expected.debt), ("coll", &expected.collateral)] {
        let column = |what: &str| format!("{side}_{what}");
        match amount {
            Some(ExpectedAmount { token, raw, usd }) => {
                same(row, &column("token"), &lower(token));
                same(row, &column("raw"), raw);
                close(row, &column("usd"), usd);
            }
            None => assert_eq!(row.get(&column("raw")), None, "{row:#?}"),
        }
    }
    let Some(bad_debt) = &expected.bad_debt else {
        assert_eq!(row.get("bad_debt_raw"), None, "{row:#?}");
        return;
    };
    // Compound III's is an estimate from values of 8 digits in the events: within two hundredths of a cent.
    let margin = if row["csu"].starts_with("compound_v3") { 200 } else { 0 };
    let found: u128 = row["bad_debt_raw"].parse().unwrap();
    assert!(found.abs_diff(bad_debt.raw.parse().unwrap()) <= margin, "{found} is not {bad_debt:?}");
}

fn compare_gold_of_family(day: &ExpectedCsuDay, row: &Row) {
    for (column, value) in [
        ("status", "collected"),
        ("usd_status", "complete"),
        ("block_number", &day.last_block),
        ("blocks_scanned", &day.blocks),
        ("liq_count", &day.liquidations_count),
        ("liq_event_count", &day.legs.len().to_string()),
    ] {
        same(row, column, value);
    }
    for (column, value) in [
        ("supplied_usd", &day.supplied_usd),
        ("collateral_usd", &day.collateral_usd),
        ("borrowed_usd", &day.borrowed_usd),
        ("liq_debt_usd", &day.liq_debt_usd),
        ("liq_coll_usd", &day.liq_coll_usd),
    ] {
        close(row, column, value);
    }
    match &day.bad_debt_usd {
        Some(expected) => {
            let (found, expected): (f64, f64) =
                (row["bad_debt_usd"].parse().unwrap(), expected.parse().unwrap());
            assert!((found - expected).abs() < 0.000_3, "bad_debt_usd: {found} is not {expected}");
        }
        None => assert_eq!(row.get("bad_debt_usd"), None),
    }
}

fn compare_reserves(day: &ExpectedDay, found: &[&Row]) {
    for reserve in &day.reserves {
        let row =
            found.iter().find(|row| row["token"] == lower(&reserve.token)).expect("the reserve is there");
        same(row, "block_number", &day.last_block.number);
        same(row, "symbol", &reserve.symbol);
        same(row, "decimals", &reserve.decimals);
        same(row, "supplied_raw", &reserve.a_token_supply);
        let debt: u128 =
            reserve.stable_debt.parse::<u128>().unwrap() + reserve.variable_debt.parse::<u128>().unwrap();
        same(row, "borrowed_raw", &debt.to_string());
        same(row, "available_raw", &reserve.cash);
        let scaled = |raw: &str, divisor: f64| (raw.parse::<f64>().unwrap() / divisor).to_string();
        close(row, "price_usd", &scaled(&reserve.price, 1e8));
        close(row, "supply_apr", &scaled(&reserve.liquidity_rate, 1e27));
        close(row, "borrow_apr", &scaled(&reserve.variable_borrow_rate, 1e27));
        close(row, "ltv", &scaled(&reserve.ltv, 1e4));
        close(row, "liq_threshold", &scaled(&reserve.liquidation_threshold, 1e4));
        // What is left over is the treasury's share (10 to 20 %) of the interest since the reserve was last touched, days ago at
        // most, and rounding.
        let gap: f64 = row["identity_gap"].parse().unwrap();
        let supplied: f64 = row["supplied"].parse().unwrap();
        assert!(gap.abs() <= supplied * 1e-4, "{}: {gap} of {supplied} is unaccounted for", reserve.symbol);
    }
}

fn compare_liquidation(row: &Row, expected: &ExpectedLiquidation) {
    for (column, value) in [
        ("block_number", expected.block.clone()),
        ("log_index", expected.log_index.clone()),
        ("block_ts", format!("{}000000", expected.timestamp)),
        ("tx_hash", lower(&expected.tx_hash)),
        ("borrower", lower(&expected.user)),
        ("liquidator", lower(&expected.liquidator)),
        ("debt_token", lower(&expected.debt)),
        ("coll_token", lower(&expected.collateral)),
        ("debt_raw", expected.debt_to_cover.clone()),
        ("coll_raw", expected.liquidated_collateral.clone()),
        ("price_basis", "event_block".to_owned()),
    ] {
        same(row, column, &value);
    }
    assert_eq!(row["flags"].contains("receive_a_token"), expected.receive_a_token);
    close(row, "debt_usd", &expected.debt_usd);
    close(row, "coll_usd", &expected.collateral_usd);
}

fn compare_gold(day: &ExpectedDay, row: &Row) {
    same(row, "status", "collected");
    same(row, "usd_status", "complete");
    same(row, "block_number", &day.last_block.number);
    same(row, "blocks_scanned", &day.blocks);
    let start: i64 = day.day_start.parse().unwrap();
    let end: i64 = day.day_end.parse().unwrap();
    same(row, "day_hours", &((end - start) / 3600).to_string());
    same(row, "n_reserves", &day.reserves.len().to_string());
    same(row, "liq_count", &day.liquidations_count);
    close(row, "supplied_usd", &day.supplied_usd);
    close(row, "tvl_usd", &day.supplied_usd);
    close(row, "borrowed_usd", &day.borrowed_usd);
    close(row, "liq_debt_usd", &day.liq_debt_usd);
    close(row, "liq_coll_usd", &day.liq_coll_usd);
    // Aave 3.0 books no bad debt: unknown, not zero.
    assert_eq!((row.get("bad_debt_usd"), row.get("deficit_usd")), (None, None));
}
