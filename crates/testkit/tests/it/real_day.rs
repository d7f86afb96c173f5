//! The real day 2025-11-03 of Aave V3 on Ethereum, from logs to panel, against figures computed independently.

use crate::stages::{ends_with, extract, fill_prices, panel, transform};
use crate::table::{Row, rows};
use alloy_primitives::{Address, U256};
use lake::bronze::{LiquidationLogs, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::contracts::Price;
use testkit::defillama::PriceServer;
use testkit::real_day::{DAY, PROVIDER, RealDay};
use testkit::server::{Policy, Server};
use testkit::setting::{Endpoint, Setting};

const CSU: &str = "aave_v3_ethereum";

fn real_day() -> Option<RealDay> {
    let found = RealDay::find().unwrap();
    if found.is_none() {
        println!("skipped: ../shared/data is not there");
    }
    found
}

struct Case {
    setting: Setting,
    run: PathBuf,
}

impl Case {
    fn new() -> Self {
        let setting =
            Setting::new().unwrap().with_chain("ethereum", 1, 12.07).with_aave_v3(CSU, "ethereum", PROVIDER);
        let run = setting.run_file(DAY, DAY).unwrap();
        Self { setting, run }
    }

    /// The day extracted through an endpoint that grants log scans of `span` blocks.
    fn extracted(&self, day: &RealDay, span: u64) -> PathBuf {
        let server = Server::spawn(&Arc::new(day.chain().unwrap()), Policy::capped(span)).unwrap();
        let name = format!("span{span}");
        let lake = self.setting.lake(&name);
        let endpoint = Endpoint::new(&name, "ethereum", server.url(), span);
        let providers = self.setting.providers(&name, &[endpoint]).unwrap();
        ends_with(&extract(&self.run, &lake, &providers, &["--jobs", "4"]), 0);
        lake
    }
}

fn liquidations(lake: &Path) -> Vec<u8> {
    std::fs::read(lake.join(format!("bronze/liquidations/{CSU}/{DAY}.json"))).unwrap()
}

#[test]
fn the_simulated_ethereum_tells_the_day_as_it_was() {
    let Some(day) = real_day() else { return };
    let chain = day.chain().unwrap();
    assert_eq!(day.logs.len(), 94);
    for (log, expected) in day.logs.iter().zip(day.expected_events().unwrap()) {
        let header = chain.header(log.block_number).unwrap();
        assert_eq!(header.hash, log.block_hash);
        assert_eq!(header.timestamp, expected.timestamp);
        assert_eq!(chain.header(log.block_number + 1).unwrap().parent_hash, log.block_hash);
        assert_eq!((log.block_number, log.log_index), (expected.block_number, expected.log_index));
    }
    let market = day.market().unwrap();
    assert_eq!(market.reserves.len(), 55);
    let last = chain.header(chain.head()).unwrap();
    assert_eq!(market.reserves.iter().filter(|reserve| reserve.price.at(&last).is_some()).count(), 17);
}

#[test]
fn bronze_holds_the_94_logs_whatever_the_span() {
    let Some(day) = real_day() else { return };
    let case = Case::new();
    let wide = liquidations(&case.extracted(&day, 2_000));
    let narrow = liquidations(&case.extracted(&day, 10));
    assert!(wide == narrow, "the span of the scan changed the bytes");
    let record = LiquidationLogs::from_bytes(&wide).unwrap();
    assert_eq!(record.logs, day.logs);
    let read: Vec<_> = record.reads.iter().map(|read| (read.block.number, read.block.timestamp)).collect();
    assert_eq!(read, day.times);
}

#[test]
fn silver_and_gold_hold_the_figures_computed_independently() {
    let Some(day) = real_day() else { return };
    let case = Case::new();
    let lake = case.extracted(&day, 2_000);
    ends_with(&transform(&case.run, &lake), 0);
    let silver = rows(&lake.join("silver/liquidation"));
    compare_events(&day, &silver);
    compare_tokens(&day, &silver);
    compare_silver_day(&day, &silver);
    ends_with(&panel(&case.run, &lake), 0);
    compare_gold(&day, &rows(&lake.join("gold/panel_daily.parquet")));
}

/// The oracle is silent, so that every price is one that was filled: with the very price points that the expected figures
/// were computed with, the day's dollars are theirs to the last digit that they have.
#[test]
fn with_filled_prices_the_days_dollars_are_the_expected_ones_to_a_millionth() {
    let Some(day) = real_day() else { return };
    let mut market = day.market().unwrap();
    market.reserves.iter_mut().for_each(|reserve| reserve.price = Price::Reverts);
    let setting = Setting::new()
        .unwrap()
        .with_chain("ethereum", 1, 12.07)
        .with_aave_v3(CSU, "ethereum", PROVIDER)
        .with_defillama_name("ethereum", "ethereum");
    let run = setting.run_file(DAY, DAY).unwrap();
    let lake = setting.lake("filled");
    let server = Server::spawn(&Arc::new(day.chain_with(market).unwrap()), Policy::capped(2_000)).unwrap();
    let providers =
        setting.providers("silent", &[Endpoint::new("silent", "ethereum", server.url(), 2_000)]).unwrap();
    ends_with(&extract(&run, &lake, &providers, &["--jobs", "4"]), 0);
    ends_with(&transform(&run, &lake), 0);
    let unpriced = rows(&lake.join("silver/liquidation"));
    assert!(unpriced.iter().all(|row| row["price_basis"] == "none" && !row.contains_key("debt_usd")));

    let service = PriceServer::spawn(day.price_points().unwrap(), 0, 500).unwrap();
    // The tokens of the snapshot have price points at the events' times only, some more than six hours before it.
    ends_with(&fill_prices(&run, &lake, &service.url(), &[]), 1);
    ends_with(&transform(&run, &lake), 0);
    ends_with(&panel(&run, &lake), 0);
    let silver = rows(&lake.join("silver/liquidation"));
    for row in &silver {
        assert_eq!(
            (row["debt_price_source"].as_str(), row["price_basis"].as_str()),
            ("off_chain", "event_block")
        );
        assert!(row["flags"].contains("off_chain_price"), "{row:?}");
    }
    compare_tokens(&day, &silver);
    let [gold] = &rows(&lake.join("gold/panel_daily.parquet"))[..] else { panic!("one CSU, one day") };
    let expected = day.expected_day().unwrap();
    assert_eq!(
        (expected.debt_usd_given_prices, expected.collateral_usd_given_prices),
        (1_888_040.492104, 2_045_966.677775)
    );
    for (column, expected) in [
        ("liq_debt_usd", expected.debt_usd_given_prices),
        ("liq_coll_usd", expected.collateral_usd_given_prices),
    ] {
        let found: f64 = gold[column].parse().unwrap();
        assert!((found - expected).abs() <= 1e-6, "{column}: {found} is not {expected}");
    }
    assert!(gold["quality_flags"].contains("off_chain_price"));
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn compare_events(day: &RealDay, silver: &[Row]) {
    let expected = day.expected_events().unwrap();
    assert_eq!(silver.len(), expected.len(), "rows in silver/liquidation");
    let by_place: BTreeMap<(u64, u64), &Row> = silver
        .iter()
        .map(|row| ((row["block_number"].parse().unwrap(), row["log_index"].parse().unwrap()), row))
        .collect();
    for event in expected {
        let place = (event.block_number, event.log_index);
        let row = by_place.get(&place).unwrap_or_else(|| panic!("no row for {place:?}"));
        assert_eq!(event.ny_date, DAY);
        assert_eq!(row["tx_hash"], event.tx_hash.to_string(), "{place:?}");
        assert_eq!(row["block_ts"], (event.timestamp * 1_000_000).to_string(), "{place:?}");
        for (column, expected) in [
            ("coll_token", event.collateral_token),
            ("debt_token", event.debt_token),
            ("borrower", event.borrower),
            ("liquidator", event.liquidator),
        ] {
            assert_eq!(address(&row[column]), expected, "{column} of {place:?}");
        }
        assert_eq!(row["coll_raw"], event.collateral_raw.to_string(), "{place:?}");
        assert_eq!(row["debt_raw"], event.debt_raw.to_string(), "{place:?}");
        let receives_a_token = row["flags"].split(';').any(|flag| flag.trim() == "receive_a_token");
        assert_eq!(receives_a_token, event.receive_a_token == 1, "{place:?}");
        assert_eq!((row["event_name"].as_str(), row["csu"].as_str()), ("LiquidationCall", CSU));
        assert_eq!(row["price_basis"], "event_block", "{place:?}");
    }
}

fn compare_tokens(day: &RealDay, silver: &[Row]) {
    #[derive(Default)]
    struct Sum {
        events: u64,
        raw: U256,
        usd: f64,
        unpriced: u64,
    }
    let mut sums: BTreeMap<(String, Address), Sum> = BTreeMap::new();
    for row in silver {
        for (role, side) in [("collateral", "coll"), ("debt", "debt")] {
            let token = address(&row[&format!("{side}_token")]);
            let sum = sums.entry((role.to_owned(), token)).or_default();
            sum.events += 1;
            sum.raw += row[&format!("{side}_raw")].parse::<U256>().unwrap();
            match row.get(&format!("{side}_usd")) {
                Some(usd) => sum.usd += usd.parse::<f64>().unwrap(),
                None => sum.unpriced += 1,
            }
        }
    }
    let expected = day.expected_tokens().unwrap();
    assert_eq!(sums.len(), expected.len());
    for token in expected {
        let sum = &sums[&(token.role.clone(), token.token)];
        let name = format!("{} {:#x}", token.role, token.token);
        assert_eq!((sum.events, sum.raw), (token.events, token.raw_sum), "{name}");
        assert_eq!(sum.unpriced, token.events_without_price, "{name}");
        close(&name, sum.usd, token.usd_given_prices);
    }
}

fn compare_silver_day(day: &RealDay, silver: &[Row]) {
    let expected = day.expected_day().unwrap();
    let distinct = |column: &str| silver.iter().map(|row| &row[column]).collect::<BTreeSet<_>>().len() as u64;
    assert_eq!(silver.len() as u64, expected.events);
    assert_eq!(distinct("tx_hash"), expected.transactions);
    assert_eq!(distinct("borrower"), expected.unique_borrowers);
    assert_eq!(distinct("liquidator"), expected.unique_liquidators);
    assert_eq!(distinct("block_number"), expected.blocks_with_events);
}

fn compare_gold(day: &RealDay, gold: &[Row]) {
    let expected = day.expected_day().unwrap();
    let [row] = gold else { panic!("{} rows for one CSU and one day", gold.len()) };
    assert_eq!(row["csu"], CSU);
    for (column, expected) in [
        ("liq_event_count", expected.events),
        ("liq_tx_count", expected.transactions),
        ("liq_borrowers", expected.unique_borrowers),
        ("liq_liquidators", expected.unique_liquidators),
    ] {
        assert_eq!(row.get(column), Some(&expected.to_string()), "{column}");
    }
    let number = |column: &str| row[column].parse::<f64>().unwrap();
    close("liq_coll_usd", number("liq_coll_usd"), expected.collateral_usd_given_prices);
    close("liq_debt_usd", number("liq_debt_usd"), expected.debt_usd_given_prices);
    assert_eq!(number("liq_priced_share"), 1.0);
    assert_eq!((row["snap_status"].as_str(), row["liq_status"].as_str()), ("collected", "collected"));
    // 38 of 55 reserves have no price: the totals are unknown, not small.
    assert_eq!((row["usd_status"].as_str(), row.get("tvl_usd")), ("partial", None));
    assert_eq!((row["n_reserves"].as_str(), row["n_reserves_unpriced"].as_str()), ("55", "38"));
    assert_eq!((row["blocks_expected"].as_str(), row["log_cov_share"].as_str()), ("7166", "1"));
}

fn close(name: &str, found: f64, expected: f64) {
    let off = (found - expected).abs() / expected.abs();
    assert!(off < 1e-6, "{name}: {found} is {off:e} off {expected}");
}
