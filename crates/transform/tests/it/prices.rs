//! Price books and fills as they lie in the lake: what is taken from them, and what is said of those that are of no use.

use crate::chain::{DAY, Pool, day, first_block, header, liquidation, weth};
use crate::house::{House, cell, cells, token_row};
use crate::{of_token, only};
use alloy_sol_types::SolValue;
use lake::bronze::{Fill, FillPrice, PriceBook, ReadsAtBlock, Record};
use lake::path::BronzeKey;
use lake::{Address, I256, U256};
use protocols::oracle::chainlink;
use protocols::token::item;
use std::process::Command;

const FEED: Address = Address::repeat_byte(0xfe);
const LAST: u64 = 99;

/// A feed of WETH in dollars with a heartbeat of an hour.
fn feeds() -> String {
    format!(
        "[[feed]]\nchain = \"ethereum\"\naddress = \"{FEED}\"\ndescription = \"ETH / USD\"\ntokens = [\"NATIVE\", \"{}\"]\n\
         quote = \"USD\"\nheartbeat_s = 3600\nsource = \"a test\"\n",
        weth().asset
    )
}

/// The book of a day in which the feed answered `answer` with 18 decimals, `age` seconds before the block.
fn book(pool: &Pool, block: u64, answer: i128, age: u64) -> PriceBook {
    let block = header(first_block(DAY) + block);
    let [round, decimals, description] = chainlink::calls(FEED);
    let (one, time) = (U256::ONE, U256::from(block.timestamp - age));
    let data = (one, I256::try_from(answer).unwrap(), time, time, one).abi_encode_params();
    let calls = vec![
        round.answered(true, data.into()),
        decimals.answered(true, U256::from(18).abi_encode().into()),
        description.answered(true, ("ETH / USD".to_owned(),).abi_encode_params().into()),
    ];
    PriceBook { day: pool.day_of_chain(DAY), reads: ReadsAtBlock { block, calls } }
}

fn put(house: &House, key: &BronzeKey, record: &impl Record) {
    house.write(&format!("lake/{key}"), &record.to_bytes().unwrap());
}

fn book_key() -> BronzeKey {
    BronzeKey::Prices { chain: "ethereum".into(), date: day(DAY) }
}

fn fill_key() -> BronzeKey {
    BronzeKey::Fill { source: "defillama".into(), date: day(DAY) }
}

fn fill(answers: &[(u64, Address, &str)]) -> Fill {
    let price = |(block, token, answer): &(u64, Address, &str)| FillPrice {
        chain: "ethereum".into(),
        block: first_block(DAY) + block,
        token: *token,
        timestamp: header(first_block(DAY) + block).timestamp,
        coin: String::new(),
        answer: (*answer).to_owned(),
    };
    Fill { source: "defillama".into(), date: day(DAY), zone: "America/New_York".into(), prices: Vec::new() }
        .with(answers.iter().map(price))
}

/// A pool whose oracle has no price of WETH, with a feed in the registry.
fn silent() -> (Pool, House) {
    let mut pool = Pool::one();
    pool.reserves[1].price = None;
    let house = House::new(std::slice::from_ref(&pool));
    house.write("registry/feeds.toml", feeds().as_bytes());
    house.put_day(&pool, DAY);
    (pool, house)
}

#[test]
fn a_price_book_prices_what_no_csu_asked() {
    let (pool, house) = silent();
    put(&house, &book_key(), &book(&pool, LAST, 4_100_500_000_000_000_000_000, 60));
    house.build(0);
    let row =
        house.rows("reserve_day").into_iter().find(|row| cell(row, "token") == item(weth().asset)).unwrap();
    assert_eq!(
        cells(&row, ["price_usd", "price_source", "price_age_s", "supplied_usd"]),
        ["4100.5", "chainlink", "60", "41005"]
    );
    let prices = house.rows("price");
    assert_eq!(prices.len(), 4);
    // The native coin has the feed's price, too, which no figure uses.
    let native = of_token(&prices, lake::registry::NATIVE_COIN);
    assert_eq!(cells(native, ["price_usd", "is_selected", "feed"]), ["4100.5", "false", &item(FEED)]);
}

#[test]
fn a_price_book_of_another_block_or_chain_gives_nothing() {
    let (pool, house) = silent();
    put(&house, &book_key(), &book(&pool, LAST - 1, 1, 60));
    let stderr = house.build(1);
    assert!(stderr.contains("the price book is of block"), "{stderr}");
    assert!(stderr.contains("its day stands, without these prices"), "{stderr}");
    assert_eq!(house.rows("price").len(), 2);

    let mut foreign = book(&pool, LAST, 1, 60);
    foreign.day.chain_id = 2;
    put(&house, &book_key(), &foreign);
    assert!(house.build(1).contains("it is of chain id `2`"));
    house.write(&format!("lake/{}", book_key()), b"{\"schema\":");
    assert!(house.build(1).contains("it is cut off"));
    assert_eq!(house.rows("coverage").len(), 2);
}

#[test]
fn a_fill_prices_only_its_own_block_and_is_marked() {
    let (pool, house) = silent();
    let logs = vec![pool.log(&liquidation(0xa1), DAY, 10, 5, 1)];
    house.put_logs(&pool, DAY, &pool.liquidations(DAY, logs, &pool));
    let time = header(first_block(DAY) + 10).timestamp;
    let answer = format!("{{\"price\":4000.25,\"timestamp\":{time},\"confidence\":0.5}}");
    put(&house, &fill_key(), &fill(&[(10, weth().asset, &answer)]));
    let stderr = house.build(0);
    assert!(stderr.contains("prices: 1 are missing"), "{stderr}");
    let leg = only(house.rows("liquidation"));
    assert_eq!(
        cells(&leg, ["coll_usd", "coll_price_source", "debt_price_source", "price_basis", "flags"]),
        ["2000.125", "off_chain", "protocol_oracle", "event_block", "off_chain_price"]
    );
    let rows = house.rows("reserve_day");
    assert_eq!(cell(of_token(&rows, weth().asset), "price_usd"), "null");

    // An answer that is none, and an object of another zone.
    put(&house, &fill_key(), &fill(&[(10, weth().asset, "{\"price\":\"x\",\"timestamp\":1}")]));
    house.build(0);
    let prices = house.rows("price");
    let row = prices.iter().find(|row| cell(row, "source") == "off_chain").unwrap();
    assert_eq!(cells(row, ["status", "price_usd", "feed"]), ["call_failed", "null", "defillama"]);
    put(&house, &fill_key(), &Fill { zone: "Europe/Paris".into(), ..fill(&[(10, weth().asset, &answer)]) });
    let stderr = house.build(1);
    assert!(stderr.contains("it is of zone `Europe/Paris`"), "{stderr}");
    assert_eq!(cell(&only(house.rows("liquidation")), "coll_usd"), "null");
}

fn missing(house: &House, more: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_transform"))
        .args(["missing-prices", "--run"])
        .arg(house.path("run.toml"))
        .args(more)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn what_is_missing_is_listed_with_what_is_at_stake() {
    let (_, house) = silent();
    let (code, said) = missing(&house, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no checks/silver/missing_prices/2024-12.json in the lake"), "{said}");
    house.build(0);
    let (code, said) = missing(&house, &["--json"]);
    assert_eq!(code, Some(1), "{said}");
    let list: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list[0]["token"], item(weth().asset));
    assert_eq!((&list[0]["tokens"], &list[0]["about_usd"]), (&10.0.into(), &serde_json::Value::Null));

    // At another block of the month the token has a price: then dollars can be told.
    let later = "2024-12-04";
    house.put_day(&Pool::one(), later);
    house.write_run(DAY, later);
    house.build(0);
    let (_, said) = missing(&house, &["--json"]);
    let list: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&list[0]["about_usd"], &list[0]["csu_days"]), (&40_000.0.into(), &1.into()));
    assert_eq!(missing(&house, &["--from", later]), (Some(0), "no price is missing\n".to_owned()));

    // A token that the registry excludes has no price on purpose.
    let facts =
        "asset_class = \"other\"\nis_stablecoin = false\npricing = \"excluded\"\npricing_reason = \"dead\"";
    house.write("registry/tokens.toml", token_row(weth().asset, facts).as_bytes());
    house.build(0);
    assert_eq!(missing(&house, &[]).0, Some(0));
}
