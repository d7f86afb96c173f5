//! Prices from feeds and from outside the chain, from the contracts to the panel: which one a figure uses, and what it
//! says of it.

use crate::stages::{bronze, ends_with, extract, fill_prices, missing_prices, panel, transform};
use crate::table::{Row, rows};
use alloy_primitives::{Address, U256};
use lake::bronze::{Fill, PriceBook, Record};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use testkit::defillama::{Points, PriceServer};
use testkit::feed::Feed;
use testkit::server::{Policy, Server};
use testkit::setting::{Endpoint, Setting};
use testkit::simchain::{Clock, Contracts, SimChain};
use testkit::tree::{Tree, files_with};

const CHAIN: &str = "simnet";
const CSU: &str = "aave_v3_simnet";
const DAY: &str = "2024-12-10";
/// 2024-12-08 00:00 UTC, the time of block 0; a block a minute.
const START: u64 = 1_733_616_000;
/// Midnight in New York, and the last block before the next.
const FIRST: u64 = 53 * 60;
const LAST: u64 = FIRST + 1_439;
const EVENT: u64 = FIRST + 700;

const USDS: Address = Address::repeat_byte(0x51);
const WETH: Address = Address::repeat_byte(0xe7);
const TOK: Address = Address::repeat_byte(0x70);

fn at(block: u64) -> u64 {
    START + 60 * block
}

fn feed(byte: u8, description: &str, decimals: u8, rounds: &[(u64, i128)]) -> Feed {
    let rounds = rounds.iter().map(|(block, answer)| (at(*block), *answer)).collect();
    Feed { address: Address::repeat_byte(byte), description: description.into(), decimals, rounds }
}

/// A market whose oracle prices two of its three tokens, and a liquidation of the third.
fn market() -> AaveV3 {
    let usd = |cents: u64| Price::Always(U256::from(cents * 1_000_000));
    let ether = 1_000_000_000_000_000_000;
    AaveV3::named(
        "prices",
        vec![
            AaveReserve::new(USDS, "USDS", 6, 1_000_000_000_000, 0, usd(100)),
            AaveReserve::new(WETH, "WETH", 18, 100 * ether, 0, usd(300_000)),
            AaveReserve::new(TOK, "TOK", 18, 200 * ether, 0, Price::Reverts),
        ],
    )
}

fn chain(feeds: &[Feed]) -> Arc<SimChain> {
    let market = market();
    let seized = market.liquidation(&Liquidation {
        block: EVENT,
        tx_index: 0,
        log_index: 3,
        collateral: TOK,
        debt: USDS,
        borrower: Address::repeat_byte(0xb0),
        liquidator: Address::repeat_byte(0x11),
        debt_amount: 1_400_000_000,
        collateral_amount: 1_000_000_000_000_000_000,
    });
    let mut contracts: Vec<Box<dyn Contracts>> = vec![Box::new(market)];
    contracts.extend(feeds.iter().cloned().map(|feed| Box::new(feed) as Box<dyn Contracts>));
    let chain = SimChain::new(7_001, 0..=LAST + 200, Clock::every(60, 0..=8_000, START).unwrap())
        .unwrap()
        .with_finality(64)
        .with_contracts(contracts)
        .with_logs([seized])
        .unwrap();
    Arc::new(chain)
}

struct House {
    setting: Setting,
    run: PathBuf,
    server: Server,
}

impl House {
    fn new(feeds: &[Feed], with: impl FnOnce(Setting) -> Setting) -> Self {
        let setting = Setting::new().unwrap().with_chain(CHAIN, 7_001, 60.0).with_aave_v3(
            CSU,
            CHAIN,
            market().provider,
        );
        let setting = with(setting);
        let run = setting.run_file(DAY, DAY).unwrap();
        Self { setting, run, server: Server::spawn(&chain(feeds), Policy::honest()).unwrap() }
    }

    fn lake(&self) -> PathBuf {
        self.setting.lake("prices")
    }

    /// `extract run`; gives what it said.
    fn extract(&self) -> String {
        let endpoint = Endpoint::new("sim", CHAIN, self.server.url(), 1_000);
        let providers = self.setting.providers("sim", &[endpoint]).unwrap();
        let outcome = extract(&self.run, &self.lake(), &providers, &[]);
        ends_with(&outcome, 0);
        outcome.said()
    }

    fn silver_and_gold(&self) {
        ends_with(&transform(&self.run, &self.lake()), 0);
        ends_with(&panel(&self.run, &self.lake()), 0);
    }

    fn rows(&self, table: &str) -> Vec<Row> {
        rows(&self.lake().join("silver").join(table))
    }

    fn reserve(&self, token: Address) -> Row {
        let token = format!("{token:#x}");
        self.rows("reserve_day").into_iter().find(|row| row["token"] == token).unwrap()
    }

    fn gold(&self) -> Row {
        let [row] = <[Row; 1]>::try_from(rows(&self.lake().join("gold/panel_daily.parquet"))).unwrap();
        row
    }
}

fn number(row: &Row, column: &str) -> f64 {
    row.get(column).unwrap_or_else(|| panic!("{column} is null in {row:?}")).parse().unwrap()
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() <= expected.abs() * 1e-12, "{found} is not {expected}");
}

fn book(lake: &Path) -> PathBuf {
    lake.join(format!("bronze/prices/{CHAIN}/{DAY}.json"))
}

/// TOK in ETH with 18 decimals, which moves after the liquidation; ETH and USDS in dollars with 8, the latter 3% below
/// what the protocol says.
fn feeds() -> [Feed; 3] {
    [
        feed(
            0xf1,
            "TOK / ETH",
            18,
            &[(0, 1), (FIRST, 500_000_000_000_000_000), (EVENT + 100, 600_000_000_000_000_000)],
        ),
        feed(0xf2, "ETH / USD", 8, &[(FIRST - 5, 298_000_000_000), (LAST - 20, 299_000_000_000)]),
        feed(0xf3, "USDS / USD", 8, &[(EVENT - 50, 97_000_000)]),
    ]
}

fn with_feeds(setting: Setting) -> Setting {
    let [in_ether, ether, stable] = feeds();
    setting
        .with_feed(CHAIN, &in_ether, &[TOK], &WETH.to_string(), 86_400)
        .with_feed(CHAIN, &ether, &[WETH], "USD", 43_200)
        .with_feed(CHAIN, &stable, &[USDS], "USD", 86_400)
}

#[test]
fn a_feed_in_ether_prices_what_the_protocol_cannot() {
    let house = House::new(&feeds(), with_feeds);
    house.extract();
    house.silver_and_gold();

    // At the day's end: 0.6 ETH at Chainlink's 2,990 dollars, not at the 3,000 of the protocol.
    let tok = house.reserve(TOK);
    assert_eq!((tok["price_source"].as_str(), tok["flags"].as_str()), ("chainlink", "unlisted_token"));
    close(number(&tok, "price_usd"), 0.6 * 2_990.0);
    close(number(&tok, "supplied_usd"), 200.0 * 0.6 * 2_990.0);
    assert_eq!(number(&tok, "price_age_s"), (LAST - EVENT - 100) as f64 * 60.0);
    // The protocol's own oracle comes first where it answers; the other source is told.
    let usds = house.reserve(USDS);
    assert_eq!((usds["price_source"].as_str(), number(&usds, "price_usd")), ("protocol_oracle", 1.0));
    assert_eq!(usds["flags"], "unlisted_token;sources_disagree:3.1%");
    assert!(!house.reserve(WETH)["flags"].contains("sources_disagree"));

    // At the liquidation: 0.5 ETH at 2,980 dollars, all from that block.
    let [leg] = <[Row; 1]>::try_from(house.rows("liquidation")).unwrap();
    assert_eq!(
        (leg["coll_price_source"].as_str(), leg["price_basis"].as_str()),
        ("chainlink", "event_block")
    );
    close(number(&leg, "coll_usd"), 0.5 * 2_980.0);
    assert_eq!((leg["debt_price_source"].as_str(), number(&leg, "debt_usd")), ("protocol_oracle", 1_400.0));
    assert_eq!(leg["flags"], "sources_disagree:3.1%");

    let prices = house.rows("price");
    let tok_rows: Vec<&Row> = prices.iter().filter(|row| row["token"] == format!("{TOK:#x}")).collect();
    let of = |block: u64, source: &str| {
        let is_it = |row: &&Row| row["block_number"] == block.to_string() && row["source"] == source;
        tok_rows.iter().copied().find(is_it).unwrap()
    };
    let priced = of(LAST, "chainlink");
    assert_eq!(priced["quote"], format!("{WETH:#x}"));
    assert_eq!(priced["via"], format!("chainlink:{:#x}", Address::repeat_byte(0xf2)));
    assert_eq!(
        (priced["answer_unit"].as_str(), priced["is_selected"].as_str()),
        ("1000000000000000000", "true")
    );
    let silent = of(LAST, "protocol_oracle");
    assert_eq!((silent["status"].as_str(), silent.get("price_usd")), ("call_failed", None));
    assert_eq!(tok_rows.len(), 4);

    let gold = house.gold();
    assert_eq!((gold["usd_status"].as_str(), number(&gold, "px_cov_share")), ("complete", 1.0));
    let by_feed = 200.0 * 0.6 * 2_990.0;
    let all = by_feed + 1_000_000.0 + 300_000.0;
    close(number(&gold, "tvl_usd"), all);
    close(number(&gold, "px_chainlink_share"), by_feed / all);
    close(number(&gold, "px_protocol_share"), 1.0 - by_feed / all);
    assert_eq!(number(&gold, "px_other_share"), 0.0);
    // Of the protocol's own prices nobody knows the age.
    assert_eq!(number(&gold, "px_max_age_s"), (LAST - EVENT - 100) as f64 * 60.0);
    ends_with(&missing_prices(&house.run, &house.lake(), &[]), 0);
}

#[test]
fn a_price_book_is_collected_once_and_again_when_it_is_gone() {
    let house = House::new(&feeds(), with_feeds);
    house.extract();
    let record = PriceBook::from_bytes(&std::fs::read(book(&house.lake())).unwrap()).unwrap();
    assert_eq!((record.reads.block.number, record.reads.calls.len()), (LAST, 9));
    let whole = bronze(&house.lake());
    let asked = |house: &House| house.server.counts().values().sum::<u64>();

    let before = asked(&house);
    house.extract();
    assert_eq!(asked(&house), before, "a second run asked again");

    std::fs::remove_file(book(&house.lake())).unwrap();
    house.extract();
    assert_eq!(whole.differences(&bronze(&house.lake())), Vec::<String>::new());
    assert!(house.server.count("eth_call") > 0 && asked(&house) > before);

    // A feed that the registry lists later is told to be missing; the day stays done.
    let file = house.setting.path().join("registry/feeds.toml");
    let rows = std::fs::read_to_string(&file).unwrap();
    let late = "[[feed]]\nchain = \"simnet\"\naddress = \"0x0101010101010101010101010101010101010101\"\ndescription = \"LATE / USD\"\n\
                tokens = [\"BTC\"]\nquote = \"USD\"\nheartbeat_s = 60\nsource = \"a test\"\n";
    std::fs::write(&file, format!("{rows}{late}")).unwrap();
    let said = house.extract();
    assert!(
        said.contains("1 price books of simnet were collected before the registry listed LATE / USD\n"),
        "{said}"
    );
    assert_eq!(whole.differences(&bronze(&house.lake())), Vec::<String>::new());
}

#[test]
fn a_price_book_that_cannot_be_had_or_used_leaves_the_day_done() {
    // The registry names feeds that are not on this chain.
    let house = House::new(&[], with_feeds);
    let said = house.extract();
    assert!(said.contains("simnet 2024-12-10: no price book: no feed answered at block 4619"), "{said}");
    assert!(!book(&house.lake()).exists());
    house.silver_and_gold();
    let gold = house.gold();
    assert_eq!((gold["status"].as_str(), gold["usd_status"].as_str()), ("collected", "partial"));
    assert_eq!(house.reserve(TOK)["flags"], "unlisted_token;no_price:call_failed");

    let house = House::new(&feeds(), with_feeds);
    house.extract();
    let text = std::fs::read_to_string(book(&house.lake())).unwrap();
    std::fs::write(book(&house.lake()), text.replace("feed.decimals", "feed.decimal5")).unwrap();
    let said = house.extract();
    assert!(said.contains("it was changed after it was written"), "{said}");
    let outcome = transform(&house.run, &house.lake());
    ends_with(&outcome, 1);
    assert!(outcome.said().contains("its day stands, without these prices"), "{}", outcome.said());
    // The liquidation's own reads hold its feeds; the day's end is without.
    assert_eq!(house.rows("liquidation")[0]["coll_price_source"], "chainlink");
    assert_eq!(house.reserve(TOK)["flags"], "unlisted_token;no_price:call_failed");
}

#[test]
fn an_answer_that_is_no_price_is_a_reason() {
    let cases: [(&str, Feed, u32); 4] = [
        ("not_positive", feed(0xf1, "TOK / USD", 8, &[(0, -5)]), 1_000_000),
        ("not_positive", feed(0xf1, "TOK / USD", 8, &[(0, 0)]), 1_000_000),
        ("stale", feed(0xf1, "TOK / USD", 8, &[(0, 100_000_000)]), 3_600),
        ("quote_unknown", feed(0xf1, "TOK / EUR", 8, &[(0, 100_000_000)]), 1_000_000),
    ];
    for (word, feed, heartbeat) in cases {
        let registered = Feed { description: "TOK / USD".into(), ..feed.clone() };
        let house =
            House::new(&[feed], |setting| setting.with_feed(CHAIN, &registered, &[TOK], "USD", heartbeat));
        house.extract();
        house.silver_and_gold();
        let prices = house.rows("price");
        let row =
            prices.iter().find(|row| row["source"] == "chainlink" && row["block_number"] == LAST.to_string());
        assert_eq!(row.unwrap()["status"], word);
        // The figure's reason is that of the source that comes first: the protocol's oracle, which reverted.
        assert_eq!(house.reserve(TOK)["flags"], "unlisted_token;no_price:call_failed", "{word}");
        assert_eq!(house.gold()["usd_status"], "partial");
    }
}

fn service(points: &[(&str, &[(u64, &str)])], refusals: u32, refusal: u16) -> PriceServer {
    let of_coin =
        |points: &[(u64, &str)]| points.iter().map(|(time, price)| (*time, (*price).to_owned())).collect();
    let points: Points = points.iter().map(|(coin, points)| ((*coin).to_owned(), of_coin(points))).collect();
    PriceServer::spawn(points, refusals, refusal).unwrap()
}

const COIN: &str = "sim-llama:0x7070707070707070707070707070707070707070";

fn fill_of(house: &House) -> PathBuf {
    house.lake().join(format!("bronze/fills/defillama/{DAY}.json"))
}

#[test]
fn a_gap_is_filled_from_outside_and_every_figure_says_so() {
    let house = House::new(&[], |setting| setting.with_defillama_name(CHAIN, "sim-llama"));
    house.extract();
    let outcome = fill_prices(&house.run, &house.lake(), "http://127.0.0.1:1/", &[]);
    ends_with(&outcome, 2);
    assert!(outcome.said().contains("transform run builds the month and writes it"), "{}", outcome.said());

    let outcome = transform(&house.run, &house.lake());
    assert!(outcome.said().contains("prices: 2 are missing"), "{}", outcome.said());
    let outcome = missing_prices(&house.run, &house.lake(), &["--json"]);
    ends_with(&outcome, 1);
    let list: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(list[0]["token"], "0x7070707070707070707070707070707070707070");
    assert_eq!(
        (&list[0]["symbol"], &list[0]["blocks"], &list[0]["csu_days"]),
        (&"TOK".into(), &2.into(), &1.into())
    );
    assert_eq!((&list[0]["tokens"], &list[0]["why"]["call_failed"]), (&200.0.into(), &2.into()));
    assert_eq!(list.as_array().unwrap().len(), 1);
    let outcome = missing_prices(&house.run, &house.lake(), &[]);
    assert!(outcome.stdout.contains("call_failed 2"), "{}", outcome.stdout);

    // Twice too fast, then an answer; a price for the event, and an older one that is too old for the day's end.
    let points: [(&str, &[(u64, &str)]); 1] = [(COIN, &[(at(EVENT) - 30, "1401.5000000000001")])];
    let server = service(&points, 2, 429);
    let outcome = fill_prices(&house.run, &house.lake(), &server.url(), &[]);
    ends_with(&outcome, 1);
    assert!(outcome.said().contains("defillama has no price"), "{}", outcome.said());
    assert!(!outcome.said().contains("k3y-0f"), "{}", outcome.said());
    let asked: Vec<String> = server.requests().into_iter().map(|(_, path)| path).collect();
    let path =
        |block: u64| format!("/k3y-0f-a-pro-plan/prices/historical/{}/{COIN}?searchWidth=6h", at(block));
    assert_eq!(asked, [path(EVENT), path(EVENT), path(EVENT), path(LAST)]);
    let first = Fill::from_bytes(&std::fs::read(fill_of(&house)).unwrap()).unwrap();
    assert_eq!((first.prices.len(), first.prices[0].block), (1, EVENT));
    assert!(first.prices[0].answer.contains("\"price\":1401.5000000000001"));

    // What is there is not asked again before silver is built anew, and a service that says otherwise changes nothing.
    let points: [(&str, &[(u64, &str)]); 1] = [(COIN, &[(at(EVENT), "9.9"), (at(LAST) - 600, "1.75e3")])];
    let server = service(&points, 0, 500);
    let outcome = fill_prices(&house.run, &house.lake(), &server.url(), &["--json"]);
    ends_with(&outcome, 0);
    let filled: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&filled["missing"], &filled["there_already"], &filled["added"]),
        (&2.into(), &1.into(), &1.into())
    );
    let second = Fill::from_bytes(&std::fs::read(fill_of(&house)).unwrap()).unwrap();
    assert_eq!((second.prices.len(), &second.prices[0]), (2, &first.prices[0]));
    let tree = Tree::of(&house.lake().join("bronze")).unwrap();

    house.silver_and_gold();
    let tok = house.reserve(TOK);
    assert_eq!((tok["price_source"].as_str(), number(&tok, "price_usd")), ("off_chain", 1_750.0));
    assert_eq!(
        (tok["flags"].as_str(), number(&tok, "price_age_s")),
        ("unlisted_token;off_chain_price", 600.0)
    );
    let [leg] = <[Row; 1]>::try_from(house.rows("liquidation")).unwrap();
    assert_eq!(
        (leg["coll_price_source"].as_str(), number(&leg, "coll_usd")),
        ("off_chain", "1401.5000000000001".parse().unwrap())
    );
    assert_eq!((leg["flags"].as_str(), leg["price_basis"].as_str()), ("off_chain_price", "event_block"));
    let row = house.rows("price").into_iter().find(|row| row["source"] == "off_chain").unwrap();
    assert_eq!((row["feed"].as_str(), row["flags"].as_str()), ("defillama", "confidence:0.99"));
    assert_eq!(
        (row["answer_raw"].as_str(), row["answer_unit"].as_str()),
        ("14015000000000001", "10000000000000")
    );
    let gold = house.gold();
    assert_eq!((gold["usd_status"].as_str(), number(&gold, "px_cov_share")), ("complete", 1.0));
    let all = 350_000.0 + 1_300_000.0;
    close(number(&gold, "px_other_share"), 350_000.0 / all);
    close(number(&gold, "px_protocol_share"), 1.0 - 350_000.0 / all);
    assert_eq!(number(&gold, "px_max_age_s"), 600.0);
    assert!(gold["quality_flags"].contains("off_chain_price"), "{}", gold["quality_flags"]);

    ends_with(&missing_prices(&house.run, &house.lake(), &[]), 0);
    let outcome = fill_prices(&house.run, &house.lake(), &server.url(), &[]);
    ends_with(&outcome, 0);
    assert_eq!(tree.differences(&Tree::of(&house.lake().join("bronze")).unwrap()), Vec::<String>::new());
    assert_eq!(files_with(&house.lake(), "k3y-0f").unwrap(), Vec::<String>::new());
}

#[test]
fn a_service_that_is_down_or_talks_nonsense_fills_nothing() {
    let house = House::new(&[], |setting| setting.with_defillama_name(CHAIN, "sim-llama"));
    house.extract();
    ends_with(&transform(&house.run, &house.lake()), 0);
    let points: [(&str, &[(u64, &str)]); 1] = [(COIN, &[(at(EVENT), "0"), (at(LAST), "null")])];
    let nonsense = service(&points, 0, 500);
    let outcome = fill_prices(&house.run, &house.lake(), &nonsense.url(), &[]);
    ends_with(&outcome, 1);
    assert!(outcome.said().contains("defillama has a price that is none"), "{}", outcome.said());
    let refusing = service(&points, 100, 403);
    let outcome = fill_prices(&house.run, &house.lake(), &refusing.url(), &[]);
    ends_with(&outcome, 1);
    assert!(outcome.said().contains("defillama answered 403"), "{}", outcome.said());
    assert_eq!(refusing.requests().len(), 2, "a refusal for good was asked again");
    assert!(!fill_of(&house).exists());

    let outcome = fill_prices(&house.run, &house.lake(), &refusing.url(), &["--source", "coingecko"]);
    ends_with(&outcome, 2);
    assert!(outcome.said().contains("no off-chain source is called `coingecko`"), "{}", outcome.said());

    // A chain that the service has no name of.
    let house = House::new(&[], |setting| setting);
    house.extract();
    ends_with(&transform(&house.run, &house.lake()), 0);
    let outcome = fill_prices(&house.run, &house.lake(), &nonsense.url(), &[]);
    ends_with(&outcome, 1);
    assert!(outcome.said().contains("fills.toml has no name of simnet at defillama"), "{}", outcome.said());
}

#[test]
fn requests_to_the_service_are_paced() {
    let house = House::new(&[], |setting| setting.with_defillama_name(CHAIN, "sim-llama"));
    house.extract();
    ends_with(&transform(&house.run, &house.lake()), 0);
    let points: [(&str, &[(u64, &str)]); 1] = [(COIN, &[(at(EVENT), "1"), (at(LAST), "1")])];
    let server = service(&points, 0, 500);
    ends_with(&fill_prices(&house.run, &house.lake(), &server.url(), &["--per-second", "2"]), 0);
    let [(first, _), (second, _)] = &server.requests()[..] else { panic!("two times, two requests") };
    assert!(second.duration_since(*first).as_millis() >= 450, "{:?}", second.duration_since(*first));
}
