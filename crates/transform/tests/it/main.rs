//! The program `transform` on lakes made by hand: what goes into silver, and what is said of what does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod bad_input;
mod chain;
mod check;
mod house;
mod prices;
mod stale;

use chain::{DAY, Pool, deficit, header, liquidation, reserve, usdc, weth};
use house::{House, Row, audit_path, cell, cells, csu_row, object, token_row};
use lake::bronze::{Audit, AuditedScan, Record};
use lake::ledger::LedgerEntry;
use lake::manifest::Manifest;
use lake::path::{BronzeKey, ledger_entry};
use lake::span::{BlockSpan, Coverage};
use lake::status::{AuditLevel, Dataset, Reason, Status};
use lake::{Address, Bytes, U256};
use protocols::token::item;

const USDC_FACTS: &str = "asset_class = \"stablecoin\"\nis_stablecoin = true\npricing = \"oracle\"";

fn only(rows: Vec<Row>) -> Row {
    let [row] = <[Row; 1]>::try_from(rows).unwrap();
    row
}

fn of_token(rows: &[Row], token: Address) -> &Row {
    rows.iter().find(|row| cell(row, "token") == item(token)).unwrap()
}

#[test]
fn a_day_with_liquidations_becomes_silver() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.write("registry/tokens.toml", token_row(usdc().asset, USDC_FACTS).as_bytes());
    house.put_day(&pool, DAY);
    // At the event's block WETH stands at 3,100 and not, as at the day's end, at 4,000.
    let mut at_event = pool.clone();
    at_event.reserves[1].price = Some(310_000_000_000);
    let mut foreign = pool.log(&liquidation(0xa3), DAY, 12, 7, 9);
    foreign.data = Bytes::from(foreign.data[..96].to_vec());
    let logs = vec![
        pool.log(&deficit(0xa1), DAY, 10, 5, 0),
        pool.log(&liquidation(0xa1), DAY, 10, 5, 1),
        pool.log(&liquidation(0xa2), DAY, 12, 6, 4),
        foreign,
    ];
    house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &at_event));
    let stderr = house.build(0);
    assert!(stderr.contains("run test: 2024-12 2 tasks (2 collected)"), "{stderr}");

    let reserves = house.rows("reserve_day");
    assert_eq!(reserves.len(), 2);
    let usdc_row = of_token(&reserves, usdc().asset);
    assert_eq!(
        cells(usdc_row, ["symbol", "decimals", "supplied_raw", "supplied", "borrowed", "available", "role"]),
        ["USDC", "6", "1000000000", "1000", "250", "750", "reserve"]
    );
    assert_eq!(
        cells(usdc_row, ["price_usd", "price_source", "supplied_usd", "borrowed_usd", "deficit_usd"]),
        ["0.99", "protocol_oracle", "990", "247.5", "null"]
    );
    assert_eq!(
        cells(usdc_row, ["asset_class", "is_stablecoin", "flags", "status", "identity_gap", "borrow_apr"]),
        ["stablecoin", "true", "available_by_balance", "collected", "0", "0.043"]
    );
    let weth_row = of_token(&reserves, weth().asset);
    assert_eq!(
        cells(weth_row, ["supplied_usd", "flags", "asset_class"]),
        ["40000", "available_by_balance;unlisted_token", "other"]
    );

    let legs = house.rows("liquidation");
    assert_eq!(legs.len(), 3);
    assert_eq!(
        cells(&legs[0], ["event_name", "debt_raw", "debt_token", "bad_debt_raw", "bad_debt_usd", "coll_usd"]),
        ["DeficitCreated", "null", &item(usdc().asset), "25000000", "24.75", "null"]
    );
    assert_eq!(
        cells(&legs[1], ["debt", "debt_usd", "coll", "coll_usd", "coll_price_usd", "price_basis", "flags"]),
        ["1500", "1485", "0.5", "1550", "3100", "event_block", ""]
    );
    assert_eq!(cell(&legs[0], "liq_id"), cell(&legs[1], "liq_id"));
    assert_ne!(cell(&legs[1], "liq_id"), cell(&legs[2], "liq_id"));
    assert_eq!(cell(&legs[1], "liq_id").len(), 32);
    assert_eq!(
        cells(&legs[1], ["borrower", "liquidator", "log_index", "tx_index", "bad_debt_usd"]),
        [&item(Address::repeat_byte(0xa1)), &item(Address::repeat_byte(0xee)), "1", "3", "null"]
    );
    let reject = only(house.rows("reject"));
    assert_eq!(cells(&reject, ["csu", "log_index", "why"]), [pool.csu, "9", "96 bytes of data, not 128"]);

    let prices = house.rows("price");
    assert_eq!(prices.len(), 6, "two tokens at three blocks");
    let unselected: Vec<_> = prices.iter().filter(|row| cell(row, "is_selected") != "true").collect();
    assert!(unselected.is_empty(), "{unselected:?}");
    assert_eq!(
        cells(&prices[0], ["status", "quote", "answer_unit", "feed"]),
        ["ok", "USD", "100000000", &item(pool.oracle)]
    );

    let block = only(house.rows("day_block"));
    assert_eq!(
        cells(&block, ["day_hours", "n_blocks", "status", "chain_id"]),
        ["24", "100", "collected", "1"]
    );
    let covered = house.covered(pool.csu, "liquidations");
    assert_eq!(
        cells(&covered, ["status", "blocks_expected", "blocks_scanned", "reason"]),
        ["collected", "100", "100", "null"]
    );
    let path = object(&pool, Dataset::Liquidations, DAY);
    let digest = lake::digest::sha256_hex(&house.read(&path));
    assert_eq!(cells(&covered, ["object", "sha256"]), [path.trim_start_matches("lake/"), &digest]);
    assert_eq!(cell(&legs[0], "bronze_sha256"), digest);

    let csu = only(house.rows_at("lake/silver/csu/part.parquet"));
    let gives = protocols::family("aave_v3").unwrap().gives();
    assert_eq!(
        cells(&csu, ["csu", "has_borrower", "bad_debt_method", "root_contract"]),
        [pool.csu, "true", gives.bad_debt.as_str(), &item(pool.entry)]
    );
    let tokens = house.rows_at("lake/silver/token/part.parquet");
    assert_eq!(
        cells(of_token(&tokens, weth().asset), ["symbol", "decimals", "decimals_source", "pricing"]),
        ["WETH", "18", "onchain", "oracle"]
    );

    let manifest: Manifest = serde_json::from_slice(&house.read("lake/silver/manifest.json")).unwrap();
    assert_eq!((manifest.inputs.len(), manifest.outputs.len()), (3, 8));
    let silver = house.silver();
    assert!(manifest.outputs.iter().all(|(path, sha256)| silver.get(path) == Some(sha256)), "{manifest:?}");
}

#[test]
fn a_token_without_a_price_has_no_value_and_says_why() {
    let mut pool = Pool::one();
    pool.reserves[1].price = None;
    let mut empty = reserve(0x12, "NIL", 18, 0, 1);
    empty.price = Some(0);
    pool.reserves.push(empty.clone());
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    house.build(0);
    let reserves = house.rows("reserve_day");
    let row = of_token(&reserves, weth().asset);
    assert_eq!(
        cells(row, ["supplied", "price_usd", "price_source", "supplied_usd", "status"]),
        ["10", "null", "null", "null", "collected"]
    );
    assert!(cell(row, "flags").contains("no_price:call_failed"), "{row:?}");
    // Nothing is worth nothing, also without a price.
    let row = of_token(&reserves, empty.asset);
    assert_eq!(cells(row, ["supplied_usd", "reserves_usd", "price_usd"]), ["0", "0", "null"]);
    assert!(cell(row, "flags").contains("no_price:not_positive"), "{row:?}");
    let prices = house.rows("price");
    let row = of_token(&prices, weth().asset);
    assert_eq!(
        cells(row, ["status", "answer_raw", "price_usd", "is_selected"]),
        ["call_failed", "null", "null", "false"]
    );
}

#[test]
fn another_csus_oracle_on_the_chain_fills_in_and_is_named() {
    let (mut one, mut two) = (Pool::one(), Pool::two());
    one.reserves[1].price = None;
    two.reserves[1].price = Some(390_000_000_000);
    let house = House::new(&[one.clone(), two.clone()]);
    house.put_day(&one, DAY);
    house.put_day(&two, DAY);
    house.build(0);
    let reserves = house.rows("reserve_day");
    let of = |csu: &str| {
        let is_it = |row: &&Row| cells(row, ["csu", "token"]) == [csu, &item(weth().asset)];
        reserves.iter().find(is_it).unwrap()
    };
    assert_eq!(cells(of(one.csu), ["price_usd", "price_source"]), ["3900", "other_csu_oracle"]);
    assert_eq!(cells(of(two.csu), ["price_usd", "price_source"]), ["3900", "protocol_oracle"]);
}

#[test]
fn two_csus_with_one_oracle_share_rows_and_must_agree() {
    let (one, mut two) = (Pool::one(), Pool::two());
    two.oracle = one.oracle;
    let house = House::new(&[one.clone(), two.clone()]);
    house.put_day(&one, DAY);
    house.put_day(&two, DAY);
    house.build(0);
    assert_eq!(house.rows("price").len(), 2);

    two.reserves[1].price = Some(390_000_000_000);
    house.put_day(&two, DAY);
    let stderr = house.build(1);
    assert!(stderr.contains("gives two answers for token"), "{stderr}");
    let prices = house.rows("price");
    assert_eq!(cells(of_token(&prices, weth().asset), ["status", "price_usd"]), ["conflict", "null"]);
}

#[test]
fn an_event_block_without_a_price_falls_back_to_the_day_s_end_and_says_so() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let mut at_event = pool.clone();
    at_event.reserves[1].price = None;
    let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, 1)];
    house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &at_event));
    house.build(0);
    let leg = only(house.rows("liquidation"));
    assert_eq!(
        cells(&leg, ["debt_usd", "coll_usd", "price_basis", "flags"]),
        ["1485", "2000", "day_end", "coll_price_day_end"]
    );

    // Without the snapshot there is nothing to fall back to.
    std::fs::remove_file(house.path(&object(&pool, Dataset::Tvl, DAY))).unwrap();
    house.build(1);
    let leg = only(house.rows("liquidation"));
    assert_eq!(
        cells(&leg, ["debt_usd", "coll_usd", "coll", "price_basis", "flags"]),
        ["1485", "null", "0.5", "event_block", "no_price:call_failed"]
    );
}

#[test]
fn an_excluded_token_has_no_value_even_if_an_oracle_prices_it() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    let facts =
        "asset_class = \"other\"\nis_stablecoin = false\npricing = \"excluded\"\npricing_reason = \"dead\"";
    house.write("registry/tokens.toml", token_row(weth().asset, facts).as_bytes());
    house.put_day(&pool, DAY);
    house.build(0);
    let reserves = house.rows("reserve_day");
    let row = of_token(&reserves, weth().asset);
    assert_eq!(
        cells(row, ["supplied", "price_usd", "supplied_usd", "reserves_usd", "flags"]),
        ["10", "null", "null", "null", "available_by_balance;excluded"]
    );
    let prices = house.rows("price");
    assert_eq!(cells(of_token(&prices, weth().asset), ["status", "is_selected"]), ["ok", "false"]);
    let tokens = house.rows_at("lake/silver/token/part.parquet");
    let row = of_token(&tokens, weth().asset);
    assert_eq!(cells(row, ["pricing", "pricing_reason"]), ["excluded", "dead"]);
}

/// Spoils one object of a whole lake, and expects it to be refused, named and kept out of silver.
fn refuses(dataset: Dataset, spoil: impl FnOnce(&House, &Pool, &str), words: &str) {
    let pool = Pool::one();
    let house = House::new(&[pool.clone(), Pool::two()]);
    for pool in [&pool, &Pool::two()] {
        house.put_day(pool, DAY);
        let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, u64::from(pool.entry[0]))];
        house.put_logs(pool, DAY, &pool.liquidations(DAY, logs, pool));
    }
    let path = object(&pool, dataset, DAY);
    spoil(&house, &pool, &path);
    let stderr = house.build(1);
    assert!(stderr.contains(path.trim_start_matches("lake/")), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
    assert!(stderr.contains("move it out of the lake and run extract again"), "{stderr}");
    let covered = house.covered(pool.csu, dataset.as_str());
    assert_eq!(
        cells(&covered, ["status", "reason", "object", "calls_ok"]),
        ["failed", "bad_object", "null", "null"]
    );
    assert!(cell(&covered, "message").contains(words), "{covered:?}");
    let table = if dataset == Dataset::Tvl { "reserve_day" } else { "liquidation" };
    let rows = house.rows(table);
    assert!(rows.iter().all(|row| cell(row, "csu") == Pool::two().csu) && !rows.is_empty(), "{rows:?}");
    let neighbour = house.covered(Pool::two().csu, dataset.as_str());
    assert_eq!(cell(&neighbour, "status"), "collected");
}

#[test]
fn a_cut_object_is_refused() {
    for dataset in Dataset::ALL {
        let cut = |house: &House, _: &Pool, path: &str| {
            let bytes = house.read(path);
            house.write(path, &bytes[..bytes.len() / 2]);
        };
        refuses(*dataset, cut, "it is cut off");
    }
}

#[test]
fn an_edited_object_is_refused() {
    let edit = |house: &House, _: &Pool, path: &str| {
        let text = String::from_utf8(house.read(path)).unwrap();
        house.write(path, text.replacen("\"ok\":true", "\"ok\":false", 1).as_bytes());
    };
    refuses(Dataset::Tvl, edit, "it was changed after it was written");
    refuses(Dataset::Liquidations, edit, "it was changed after it was written");
}

#[test]
fn an_object_of_another_csu_is_refused() {
    for dataset in Dataset::ALL {
        let copy = |house: &House, _: &Pool, path: &str| {
            house.write(path, &house.read(&object(&Pool::two(), *dataset, DAY)));
        };
        refuses(*dataset, copy, "it is of CSU `aave_v3_two`; its path and the registry say `aave_v3_one`");
    }
}

#[test]
fn an_object_that_names_other_circumstances_is_refused() {
    type Spoil = fn(&mut lake::bronze::CsuOfDay);
    let spoils: [(Spoil, &str); 6] = [
        (|of| of.family = "compound_v3".into(), "it is of family `compound_v3`"),
        (|of| of.entry = Address::repeat_byte(0x99), "it is of entry contract"),
        (|of| of.day.chain_id = 5, "it is of chain id `5`"),
        (|of| of.day.date = "2024-12-04".parse().unwrap(), "it is of day `2024-12-04`"),
        (|of| of.day.zone = "UTC".into(), "it is of zone `UTC`"),
        (|of| of.day.day_start -= 3600, "it is of a day that starts at"),
    ];
    for (spoil, words) in spoils {
        let rewrite = |house: &House, pool: &Pool, path: &str| {
            let mut record = pool.snapshot(DAY);
            spoil(&mut record.of);
            house.write(path, &record.to_bytes().unwrap());
        };
        refuses(Dataset::Tvl, rewrite, words);
    }
}

#[test]
fn objects_that_contradict_the_day_s_blocks_are_refused() {
    let other_block = |house: &House, pool: &Pool, path: &str| {
        let mut record = pool.snapshot(DAY);
        record.reads.block = header(record.reads.block.number - 1);
        house.write(path, &record.to_bytes().unwrap());
    };
    refuses(Dataset::Tvl, other_block, "it contradicts bronze/blocks/ethereum/2024-12-03.json");
    let other_hash = |house: &House, pool: &Pool, path: &str| {
        let mut record = pool.snapshot(DAY);
        record.reads.block.hash = header(1_000).hash;
        house.write(path, &record.to_bytes().unwrap());
    };
    refuses(Dataset::Tvl, other_hash, "it contradicts bronze/blocks/ethereum/2024-12-03.json");
    let fewer_blocks = |house: &House, pool: &Pool, path: &str| {
        let mut record = pool.liquidations(DAY, Vec::new(), pool);
        let span = record.blocks.unwrap();
        let span = BlockSpan::new(span.first(), span.last() - 1).unwrap();
        record.blocks = Some(span);
        record.scanned = Coverage::try_from(vec![span]).unwrap();
        house.write(path, &record.to_bytes().unwrap());
    };
    refuses(Dataset::Liquidations, fewer_blocks, "it contradicts bronze/blocks/ethereum/2024-12-03.json");
    let other_end = |house: &House, pool: &Pool, path: &str| {
        let logs = vec![pool.log(&liquidation(0xa1), DAY, chain::BLOCKS_A_DAY - 1, 5, 1)];
        let mut record = pool.liquidations(DAY, logs, pool);
        record.logs[0].block_hash = header(1_000).hash;
        record.reads[0].block.hash = header(1_000).hash;
        house.write(path, &record.to_bytes().unwrap());
    };
    refuses(Dataset::Liquidations, other_end, "it contradicts bronze/blocks/ethereum/2024-12-03.json");
}

#[test]
fn numbers_that_no_column_holds_are_refused() {
    let large = |house: &House, pool: &Pool, path: &str| {
        let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, u64::MAX)];
        house.write(path, &pool.liquidations(DAY, logs, pool).to_bytes().unwrap());
    };
    refuses(Dataset::Liquidations, large, "is no number that a column holds");
}

#[test]
fn without_proven_blocks_nothing_of_the_day_is_used() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let key = BronzeKey::Blocks { chain: pool.chain.into(), date: DAY.parse().unwrap() };
    let path = format!("lake/{key}");
    let bytes = house.read(&path);
    house.write(&path, &bytes[..bytes.len() - 10]);
    let stderr = house.build(1);
    // The snapshot itself is sound: only the blocks are to be deleted.
    assert!(stderr.contains("of no use: 1\n"), "{stderr}");
    assert_eq!(cells(&only(house.rows("day_block")), ["status", "last_block"]), ["failed", "null"]);
    assert!(house.rows("reserve_day").is_empty() && house.rows("price").is_empty());

    std::fs::remove_file(house.path(&path)).unwrap();
    house.build(1);
    let covered = house.covered(pool.csu, "tvl");
    assert_eq!(cells(&covered, ["status", "reason"]), ["failed", "bad_object"]);
    assert!(cell(&covered, "message").contains("is not there"), "{covered:?}");
    assert_eq!(cell(&only(house.rows("day_block")), "status"), "not_attempted");
}

#[test]
fn a_reserve_that_reverts_makes_the_day_partial_and_leaves_its_neighbour() {
    let mut pool = Pool::one();
    pool.reserves[0].is_broken = true;
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let stderr = house.build(1);
    assert!(stderr.contains("aave_v3_one 2024-12-03 tvl: partial (call_failed)"), "{stderr}");
    let covered = house.covered(pool.csu, "tvl");
    assert_eq!(cells(&covered, ["status", "reason"]), ["partial", "call_failed"]);
    assert!(
        cell(&covered, "message").starts_with("1 of 2 reserves lack figures: a_token.totalSupply of 0x1010")
    );
    assert_ne!(cell(&covered, "sha256"), "null");
    let reserves = house.rows("reserve_day");
    let row = of_token(&reserves, usdc().asset);
    assert_eq!(
        cells(row, ["status", "supplied_raw", "supplied_usd", "borrowed_usd"]),
        ["partial", "null", "null", "247.5"]
    );
    assert_eq!(cell(of_token(&reserves, weth().asset), "status"), "collected");
}

#[test]
fn a_snapshot_without_a_list_of_reserves_is_a_failed_discovery() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let mut record = pool.snapshot(DAY);
    for call in record.reads.calls.iter_mut().filter(|call| call.key == "pool.getReservesList") {
        call.output = Bytes::new();
    }
    house.write(&object(&pool, Dataset::Tvl, DAY), &record.to_bytes().unwrap());
    house.build(1);
    let covered = house.covered(pool.csu, "tvl");
    assert_eq!(cells(&covered, ["status", "reason"]), ["failed", "discovery_failed"]);
    assert!(house.rows("reserve_day").is_empty());
}

#[test]
fn what_is_not_there_has_the_ledger_s_reason_or_was_not_attempted() {
    let (one, two) = (Pool::one(), Pool::two());
    let house = House::new(&[one.clone(), two.clone()]);
    house.put_blocks(&one, DAY);
    let entry = LedgerEntry {
        csu: one.csu.into(),
        date: DAY.parse().unwrap(),
        dataset: Dataset::Tvl,
        status: Status::ArchiveUnavailable,
        reason: Some(Reason::NoArchive),
        message: "no endpoint has block 5".into(),
        attempts: 3,
        calls_planned: 40,
        calls_ok: 2,
        blocks_expected: None,
        blocks_scanned: None,
        endpoints: vec!["a".into()],
        last_try_at: "2026-01-01T00:00:00Z".into(),
    };
    let path = |dataset, csu| format!("lake/{}", ledger_entry(dataset, csu, entry.date));
    house.write(&path(Dataset::Tvl, one.csu), &serde_json::to_vec(&entry).unwrap());
    // A ledger that promises an object which is not there, and one that is no ledger.
    let promise = LedgerEntry { dataset: Dataset::Liquidations, status: Status::Collected, ..entry.clone() };
    house.write(&path(Dataset::Liquidations, one.csu), &serde_json::to_vec(&promise).unwrap());
    house.write(&path(Dataset::Tvl, two.csu), b"{");

    let stderr = house.build(1);
    assert!(stderr.contains("archive_unavailable (no_archive): no endpoint has block 5"), "{stderr}");
    let covered = house.covered(one.csu, "tvl");
    assert_eq!(
        cells(&covered, ["status", "reason", "message", "calls_planned", "calls_ok"]),
        ["archive_unavailable", "no_archive", "no endpoint has block 5", "40", "2"]
    );
    let covered = house.covered(one.csu, "liquidations");
    assert_eq!(cells(&covered, ["status", "blocks_expected"]), ["not_attempted", "100"]);
    assert!(cell(&covered, "message").contains("the object is not in the lake"), "{covered:?}");
    let covered = house.covered(two.csu, "tvl");
    assert_eq!(cell(&covered, "status"), "not_attempted");
    assert!(cell(&covered, "message").starts_with("its ledger entry cannot be used"), "{covered:?}");
    let covered = house.covered(two.csu, "liquidations");
    assert_eq!(cells(&covered, ["status", "reason", "message"]), ["not_attempted", "null", "null"]);
}

pub(crate) fn ledger_entry_of(pool: &Pool, dataset: Dataset, status: Status) -> LedgerEntry {
    LedgerEntry {
        csu: pool.csu.into(),
        date: DAY.parse().unwrap(),
        dataset,
        status,
        reason: None,
        message: String::new(),
        attempts: 1,
        calls_planned: 0,
        calls_ok: 0,
        blocks_expected: None,
        blocks_scanned: None,
        endpoints: Vec::new(),
        last_try_at: "2026-01-01T00:00:00Z".into(),
    }
}

#[test]
fn a_ledger_closes_no_gap() {
    let pool = Pool::one();
    for status in [Status::NoBlock, Status::NotDeployed, Status::Retired] {
        let house = House::new(std::slice::from_ref(&pool));
        house.put_blocks(&pool, DAY);
        for &dataset in Dataset::ALL {
            let entry = ledger_entry_of(&pool, dataset, status);
            let path = format!("lake/{}", ledger_entry(dataset, pool.csu, entry.date));
            house.write(&path, &serde_json::to_vec(&entry).unwrap());
        }
        let stderr = house.build(1);
        assert!(stderr.contains(&format!("not_attempted: the ledger says {status}, but")), "{stderr}");
        let covered = house.covered(pool.csu, "liquidations");
        assert_eq!(
            cells(&covered, ["status", "blocks_expected", "blocks_scanned"]),
            ["not_attempted", "100", "null"]
        );
    }
}

#[test]
fn when_a_day_was_tried_changes_no_byte_of_silver() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    let entry = LedgerEntry {
        reason: Some(Reason::NotFinal),
        message: "the day is not final\n  an_endpoint: http://somewhere\nhint: run again later".into(),
        ..ledger_entry_of(&pool, Dataset::Tvl, Status::NotAttempted)
    };
    let path = format!("lake/{}", ledger_entry(Dataset::Tvl, pool.csu, entry.date));
    house.write(&path, &serde_json::to_vec(&entry).unwrap());
    let stderr = house.build(1);
    assert!(stderr.contains("(not_final): the day is not final\n"), "{stderr}");
    assert!(!stderr.contains("an_endpoint"), "silver knows no endpoint: {stderr}");
    let first = house.silver();
    let later = LedgerEntry { attempts: 2, last_try_at: "2026-01-02T00:00:00Z".into(), ..entry };
    house.write(&path, &serde_json::to_vec(&later).unwrap());
    house.build(1);
    assert_eq!(house.silver(), first);
}

#[test]
fn a_run_in_another_zone_leaves_silver_as_it_is() {
    let house = large();
    house.build(0);
    let first = house.silver();
    let run = String::from_utf8(house.read("run.toml")).unwrap();
    house.write("run.toml", format!("zone = \"UTC\"\n{run}").as_bytes());
    let stderr = house.build(2);
    assert!(
        stderr.contains("its day is one of America/New_York, the run's days are those of UTC\nhint: "),
        "{stderr}"
    );
    assert_eq!(house.silver(), first);
}

#[test]
fn before_the_deployment_and_after_the_end_nothing_is_missing() {
    let (one, two) = (Pool::one(), Pool::two());
    let house = House::new(&[]);
    let late = format!("deployed_block = {}", chain::first_block(DAY) + 100);
    let rows = [csu_row(&one, 1, &late), csu_row(&two, 2, "retired_date = \"2024-12-02\"")];
    house.write("registry/csus/aave_v3.toml", rows.concat().as_bytes());
    house.put_blocks(&one, DAY);
    house.build(0);
    assert_eq!(cell(&house.covered(one.csu, "tvl"), "status"), "not_deployed");
    let covered = house.covered(one.csu, "liquidations");
    assert_eq!(cells(&covered, ["status", "blocks_expected"]), ["not_deployed", "null"]);
    assert_eq!(cell(&house.covered(two.csu, "tvl"), "status"), "retired");
}

#[test]
fn a_day_without_blocks_is_no_gap() {
    let pool = Pool { chain: "silent", chain_id: 2, ..Pool::one() };
    let house = House::new(std::slice::from_ref(&pool));
    let mut blocks = pool.blocks(DAY);
    let (before, mut after) = (blocks.before.unwrap(), blocks.last.unwrap());
    after = lake::bronze::Header { number: before.number + 1, parent_hash: before.hash, ..after };
    after.timestamp = u64::try_from(blocks.day.day_end).unwrap() + 7;
    (blocks.first, blocks.last, blocks.after) = (None, None, after);
    house.write("lake/bronze/blocks/silent/2024-12-03.json", &blocks.to_bytes().unwrap());
    house.build(0);
    assert_eq!(cell(&house.covered(pool.csu, "tvl"), "status"), "no_block");
    let covered = house.covered(pool.csu, "liquidations");
    assert_eq!(cells(&covered, ["status", "blocks_expected", "blocks_scanned"]), ["no_block", "0", "0"]);
    assert_eq!(cells(&only(house.rows("day_block")), ["status", "n_blocks"]), ["no_block", "0"]);
}

/// Two CSUs, three days over a month's end, liquidations on each.
pub(crate) fn large() -> House {
    let pools = [Pool::one(), Pool::two()];
    let house = House::new(&pools);
    house.write_run("2024-11-30", "2024-12-02");
    for date in ["2024-11-30", "2024-12-01", "2024-12-02"] {
        for pool in &pools {
            house.put_day(pool, date);
            let index = u64::from(pool.entry[0]);
            let logs = (0..5).map(|n| pool.log(&liquidation(0xa0), date, 10 + n, 5, index)).collect();
            house.put_logs(pool, date, &pool.liquidations(date, logs, pool));
        }
    }
    house
}

#[test]
fn the_same_lake_gives_the_same_bytes() {
    let house = large();
    house.build(0);
    let first = house.silver();
    assert_eq!(first.len(), 2 * 6 + 3);
    house.build(0);
    assert_eq!(house.silver(), first, "built again");
    std::fs::remove_dir_all(house.path("lake/silver")).unwrap();
    assert_eq!(house.transform(&["--jobs", "1"]).status.code(), Some(0));
    assert_eq!(house.silver(), first, "built anew by one thread");
    std::fs::remove_dir_all(house.path("lake/silver")).unwrap();
    assert_eq!(house.transform(&["--jobs", "4"]).status.code(), Some(0));
    assert_eq!(house.silver(), first, "built anew by four threads");
    std::fs::remove_file(house.path("lake/silver/price/month=2024-12/part.parquet")).unwrap();
    house.build(0);
    assert_eq!(house.silver(), first, "one file deleted");
}

#[test]
fn every_file_of_silver_is_zstd_in_dictionaries_with_units_and_an_order() {
    use lake::schema::Row;
    use lake::schema::silver;
    use parquet::basic::{Compression, Encoding};
    use parquet::file::reader::{FileReader, SerializedFileReader};

    let house = large();
    house.build(0);
    for table in silver::tables() {
        let name = table.name;
        let file = match name {
            "csu" | "token" => format!("lake/silver/{name}/part.parquet"),
            _ => format!("lake/silver/{name}/month=2024-12/part.parquet"),
        };
        let reader = SerializedFileReader::new(std::fs::File::open(house.path(&file)).unwrap()).unwrap();
        for group in reader.metadata().row_groups() {
            for column in group.columns() {
                let what = format!("{name}.{}", column.column_path());
                assert!(matches!(column.compression(), Compression::ZSTD(_)), "{what}");
                let is_text = column.column_type() == parquet::basic::Type::BYTE_ARRAY;
                let has_dictionary = column.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY);
                assert!(!is_text || has_dictionary, "{what} is text without a dictionary");
            }
        }
        let batch = lake::table_file::read_batch(house.read(&file).into()).unwrap();
        assert_eq!(*batch.schema(), table.arrow_schema(), "{name}");
    }
    let path = "lake/silver/reserve_day/month=2024-12/part.parquet";
    let batch = lake::table_file::read_batch(house.read(path).into()).unwrap();
    let keys: Vec<_> = silver::ReserveDay::from_batch(&batch).unwrap().iter().map(Row::key).collect();
    assert!(keys.is_sorted_by(|one, other| one < other) && keys.len() > 1);
}

#[test]
fn runs_over_one_lake_do_not_undo_each_other() {
    let house = large();
    house.build(0);
    let first = house.silver();
    // One CSU, one day: the month is built again with all that the lake has, the other month is left alone.
    let output = house.transform(&["--csu", "aave_v3_one", "--from", "2024-12-02"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(house.silver(), first);
}

#[test]
fn a_month_left_alone_stays_in_the_manifest_as_long_as_its_files_are_there() {
    let house = large();
    house.build(0);
    std::fs::remove_file(house.path("lake/silver/price/month=2024-11/part.parquet")).unwrap();
    assert_eq!(house.transform(&["--from", "2024-12-02"]).status.code(), Some(0));
    let manifest: Manifest = serde_json::from_slice(&house.read("lake/silver/manifest.json")).unwrap();
    assert!(manifest.outputs.contains_key("silver/reserve_day/month=2024-11/part.parquet"));
    assert!(!manifest.outputs.contains_key("silver/price/month=2024-11/part.parquet"));
}

/// An audit of one scan of these pools, of which the first names chain and day.
pub(crate) fn audit(pools: &[&Pool], date: &str, level: AuditLevel) -> Audit {
    let blocks = pools[0].blocks(date);
    let count = blocks.span().unwrap().count();
    Audit { day: blocks.day, scans: Vec::new() }.with(AuditedScan {
        csus: pools.iter().map(|pool| pool.csu.to_owned()).collect(),
        level,
        operators: vec!["alchemy".into()],
        asked_again: vec!["drpc".into()],
        blocks: count,
        blocks_asked_again: count,
        windows: 10,
        windows_asked_again: 10,
        logs: 0,
        logs_in_receipts: 0,
        witnessed: true,
    })
}

pub(crate) fn manifest(house: &House) -> Manifest {
    serde_json::from_slice(&house.read("lake/silver/manifest.json")).unwrap()
}

#[test]
fn a_day_with_an_audit_carries_its_level_and_a_day_without_does_not() {
    let (one, two) = (Pool::one(), Pool::two());
    let house = House::new(&[one.clone(), two.clone()]);
    house.write_run(DAY, "2024-12-04");
    for date in [DAY, "2024-12-04"] {
        house.put_day(&one, date);
        house.put_day(&two, date);
    }
    // The second CSU came later, in a scan that nobody audited.
    let sampled = audit(&[&one], DAY, AuditLevel::Sampled);
    house.put_audit(&sampled);
    house.build(0);
    let level = |csu: &str, date: &str, dataset: &str| {
        let rows = house.rows("coverage");
        let is_it = |row: &&Row| {
            cells(row, ["csu", "dataset"]) == [csu, dataset] && cell(row, "date").starts_with(date)
        };
        cell(rows.iter().find(is_it).unwrap(), "audit_level").to_owned()
    };
    assert_eq!(level(one.csu, DAY, "liquidations"), "sampled");
    assert_eq!(level(one.csu, DAY, "tvl"), "null");
    assert_eq!(level(one.csu, "2024-12-04", "liquidations"), "null");
    assert_eq!(level(two.csu, DAY, "liquidations"), "null");

    // A better audit in the place of the first changes coverage and what the manifest says of it, and nothing else.
    let before = house.silver();
    let path = audit_path("ethereum", sampled.day.date);
    let digest = |house: &House| Some(lake::digest::sha256_hex(&house.read(&path)));
    assert_eq!(manifest(&house).inputs.get(path.trim_start_matches("lake/")).cloned(), digest(&house));
    house.put_audit(&sampled.with(audit(&[&one, &two], DAY, AuditLevel::Receipts).scans.remove(0)));
    house.build(0);
    assert_eq!(manifest(&house).inputs.get(path.trim_start_matches("lake/")).cloned(), digest(&house));
    for csu in [one.csu, two.csu] {
        assert_eq!(level(csu, DAY, "liquidations"), "receipts");
    }
    let after = house.silver();
    let changed: Vec<_> = after.iter().filter(|(path, sha256)| before.get(*path) != Some(sha256)).collect();
    let changed: Vec<_> = changed.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(changed, ["silver/coverage/month=2024-12/part.parquet", "silver/manifest.json"]);
}

#[test]
fn what_is_not_collected_has_no_level() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    house.put_audit(&audit(&[&pool], DAY, AuditLevel::TwoOperators));
    let path = object(&pool, Dataset::Liquidations, DAY);
    let whole = house.read(&path);
    house.write(&path, &whole[..whole.len() / 2]);
    house.build(1);
    let covered = house.covered(pool.csu, "liquidations");
    assert_eq!(cells(&covered, ["status", "audit_level"]), ["failed", "null"]);
    std::fs::remove_file(house.path(&path)).unwrap();
    house.build(1);
    let covered = house.covered(pool.csu, "liquidations");
    assert_eq!(cells(&covered, ["status", "audit_level"]), ["not_attempted", "null"]);
}

#[test]
fn an_audit_of_no_use_is_named_and_nothing_of_its_day_is_lost() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, 1)];
    house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &pool));
    house.build(0);
    let without = house.silver();

    let sound = audit(&[&pool], DAY, AuditLevel::TwoOperators);
    let bytes = sound.to_bytes().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let respelt = |change: fn(&mut Audit)| {
        let mut audit = sound.clone();
        change(&mut audit);
        audit.to_bytes().unwrap()
    };
    let spoilt: [(Vec<u8>, &str); 8] = [
        (bytes[..bytes.len() / 2].to_vec(), "it is cut off"),
        (text.replace("two_operators", "receipts").into_bytes(), "it was changed after it was written"),
        (pool.blocks(DAY).to_bytes().unwrap(), "its schema is `bronze.blocks/1`"),
        (respelt(|audit| audit.day.chain = "silent".into()), "it is of chain `silent`"),
        (respelt(|audit| audit.day.chain_id = 5), "it is of chain id `5`"),
        (respelt(|audit| audit.day.date = "2024-12-04".parse().unwrap()), "it is of day `2024-12-04`"),
        (respelt(|audit| audit.day.zone = "UTC".into()), "it is of zone `UTC`"),
        (
            respelt(|audit| (audit.scans[0].blocks, audit.scans[0].blocks_asked_again) = (7, 7)),
            "it contradicts bronze/blocks/ethereum/2024-12-03.json: a scan is of 7 blocks, the day has 100",
        ),
    ];
    let path = audit_path("ethereum", sound.day.date);
    for (bytes, words) in spoilt {
        house.write(&path, &bytes);
        let stderr = house.build(1);
        assert!(stderr.contains("of no use: 1\n"), "{stderr}");
        assert!(stderr.contains(path.trim_start_matches("lake/")) && stderr.contains(words), "{stderr}");
        assert!(stderr.contains("its day stands, without audit_level"), "{stderr}");
        assert!(stderr.contains("2 tasks (2 collected)"), "{stderr}");
        let covered = house.covered(pool.csu, "liquidations");
        assert_eq!(cells(&covered, ["status", "reason", "audit_level"]), ["collected", "null", "null"]);
        let mut silver = house.silver();
        silver.insert("silver/manifest.json".into(), without["silver/manifest.json"].clone());
        assert_eq!(silver, without, "{words}");
    }
    house.write(&path, &bytes);
    house.build(0);
    assert_eq!(cell(&house.covered(pool.csu, "liquidations"), "audit_level"), "two_operators");
}

#[test]
fn the_manifest_names_the_audit_that_a_month_was_built_from() {
    let house = large();
    let pool = Pool::one();
    house.put_audit(&audit(&[&pool], "2024-11-30", AuditLevel::OneSource));
    house.build(0);
    let first = house.silver();
    let path = "bronze/audits/ethereum/2024-11-30.json";
    let digest = manifest(&house).inputs[path].clone();
    assert_eq!(digest, lake::digest::sha256_hex(&house.read(&format!("lake/{path}"))));

    // November is left alone, so its coverage and the manifest still go by the audit that it was built from.
    house.put_audit(&audit(&[&pool], "2024-11-30", AuditLevel::Receipts));
    assert_eq!(house.transform(&["--from", "2024-12-01"]).status.code(), Some(0));
    assert_eq!(house.silver(), first);
    assert_eq!(manifest(&house).inputs[path], digest);
    house.build(0);
    assert_ne!(manifest(&house).inputs[path], digest);
}

#[test]
fn decimals_that_change_are_an_error() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.write_run(DAY, "2024-12-04");
    house.put_day(&pool, DAY);
    let mut changed = pool.clone();
    changed.reserves[0].decimals = 8;
    house.put_day(&changed, "2024-12-04");
    let stderr = house.build(1);
    assert!(stderr.contains("has 6 decimals on 2024-12-03 and 8 on 2024-12-04"), "{stderr}");
    let flags: Vec<_> = house.rows("reserve_day").iter().map(|row| cell(row, "flags").to_owned()).collect();
    assert_eq!(flags.iter().filter(|flags| flags.contains("decimals_changed")).count(), 1, "{flags:?}");
    let tokens = house.rows_at("lake/silver/token/part.parquet");
    assert_eq!(cell(of_token(&tokens, usdc().asset), "decimals"), "6");
}

#[test]
fn extreme_amounts_are_numbers() {
    let mut pool = Pool::one();
    pool.reserves[0] = reserve(0x10, "MAX", 0, 1, u64::MAX);
    pool.reserves[0].supply = U256::MAX;
    pool.reserves[1].decimals = 255;
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    house.build(1);
    let reserves = house.rows("reserve_day");
    let row = of_token(&reserves, pool.reserves[0].asset);
    assert_eq!(cell(row, "supplied_raw"), U256::MAX.to_string());
    assert!(cell(row, "supplied_usd").parse::<f64>().unwrap() > 1e77);
    let row = of_token(&reserves, pool.reserves[1].asset);
    assert_eq!(
        cells(row, ["decimals", "supplied", "supplied_usd", "status"]),
        ["null", "null", "null", "partial"]
    );
    assert!(cell(row, "flags").contains("no_decimals"), "{row:?}");
}

#[test]
fn a_reserve_listed_twice_is_a_failed_discovery_and_no_crash() {
    let mut pool = Pool::one();
    pool.reserves = vec![usdc(), weth()];
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let mut record = pool.snapshot(DAY);
    for call in record.reads.calls.iter_mut().filter(|call| call.key == "pool.getReservesList") {
        call.output = alloy_sol_types::SolValue::abi_encode(&vec![usdc().asset, usdc().asset]).into();
    }
    house.write(&object(&pool, Dataset::Tvl, DAY), &record.to_bytes().unwrap());
    house.build(1);
    let covered = house.covered(pool.csu, "tvl");
    assert_eq!(cells(&covered, ["status", "reason"]), ["failed", "discovery_failed"]);
    assert!(cell(&covered, "message").contains("twice"), "{covered:?}");
}

#[test]
fn what_cannot_run_says_why_once_and_writes_nothing() {
    let house = House::new(&[Pool::one()]);
    let refusal = |more: &[&str]| {
        let output = house.transform(more);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
        assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
        stderr
    };
    let stderr = refusal(&["--csu", "aave_v3_ones"]);
    assert!(stderr.starts_with("error: no CSU is called `aave_v3_ones` (did you mean aave_v3_one?)\nhint: "));
    refusal(&["--from", "2024-12-09"]);
    refusal(&["--from", "yesterday"]);
    refusal(&["--lake", "ftp://x/y"]);
    refusal(&["--jobs", "0"]);

    let row = csu_row(&Pool::two(), 9, "");
    house.write("registry/csus/lista.toml", row.as_bytes());
    let stderr = refusal(&[]);
    assert!(stderr.contains("csus/lista.toml: this build knows no family `lista`\nhint: "), "{stderr}");
    assert!(!house.path("lake/silver").exists());
}

#[test]
fn the_summary_is_json() {
    let pool = Pool::one();
    let house = House::new(&[pool.clone(), Pool::two()]);
    house.put_day(&pool, DAY);
    let output = house.transform(&["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["rows"]["reserve_day"], 2);
    assert_eq!(summary["statuses"]["not_attempted"], 2);
    assert_eq!(summary["missing"][0]["csu"], "aave_v3_two");
    assert_eq!(summary["missing"][0]["status"], "not_attempted");
}

#[test]
fn any_cut_and_any_byte_may_be_wrong() {
    let pool = Pool::one();
    let house = House::new(std::slice::from_ref(&pool));
    house.put_day(&pool, DAY);
    let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, 1)];
    house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &pool));
    for dataset in Dataset::ALL {
        let path = object(&pool, *dataset, DAY);
        let sound = house.read(&path);
        for at in (0..sound.len()).step_by(sound.len() / 8) {
            let mut flipped = sound.clone();
            flipped[at] ^= 0x15;
            for spoiled in [&sound[..at], &flipped] {
                house.write(&path, spoiled);
                house.build(1);
            }
        }
        house.write(&path, &sound);
    }
    house.build(0);
}
