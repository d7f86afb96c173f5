//! A simulated day through endpoints that refuse, fail and lie: bronze must come out the same, or not at all.

use crate::stages::{bronze, ends_with, extract, loud_extract, same_bronze, transform};
use alloy_primitives::{Address, U256};
use lake::bronze::{LiquidationLogs, Record, TvlSnapshot};
use protocols::aave_v3::IPool;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use testkit::server::{Fault, Policy, Server, StrayLog};
use testkit::setting::{Endpoint, Setting};
use testkit::simchain::{Clock, SimChain};
use testkit::tree::{Tree, files_with};

const CHAIN: &str = "simnet";
const CSU: &str = "aave_v3_simnet";
const CHAIN_ID: u64 = 7_001;
/// 2024-12-08 00:00 UTC, the time of block 0; a block a minute.
const START: u64 = 1_733_616_000;
const DAY: &str = "2024-12-10";
/// 2024-12-10 05:00 UTC is midnight in New York: minute 53 x 60 of the chain.
const FIRST: u64 = 53 * 60;
const LAST: u64 = FIRST + 1_439;
/// The number of logs that lie in the day.
const LOGS_OF_DAY: usize = 8;

fn market() -> AaveV3 {
    let usd = |cents: u64| U256::from(cents * 1_000_000);
    let stable = AaveReserve::new(
        Address::repeat_byte(0x51),
        "USDS",
        6,
        5_000_000_000_000,
        2_000_000_000_000,
        Price::Always(usd(100)),
    );
    let ether_price = (0..200).map(|step| (step * 60, usd(300_000 + step * 7))).collect();
    let ether = AaveReserve::new(
        Address::repeat_byte(0xe7),
        "WETH",
        18,
        900_000_000_000_000_000_000,
        100_000_000_000_000_000_000,
        Price::FromBlock(ether_price),
    );
    AaveV3::named("faults", vec![stable, ether])
}

/// Liquidations at the edges of the day and of ten-block windows, two in one block, one just outside on either side.
fn chain_to(head: u64) -> Arc<SimChain> {
    chain_of(market(), head)
}

fn chain_of(market: AaveV3, head: u64) -> Arc<SimChain> {
    let (stable, ether) = (market.reserves[0].asset, market.reserves[1].asset);
    let liquidation = |block: u64, log_index: u64| {
        market.liquidation(&Liquidation {
            block,
            tx_index: log_index / 2,
            log_index,
            collateral: ether,
            debt: stable,
            borrower: Address::from_word(U256::from(block * 10 + log_index).into()),
            liquidator: Address::repeat_byte(0x11),
            debt_amount: 1_000_000_000 + u128::from(block),
            collateral_amount: 350_000_000_000_000_000,
        })
    };
    let written_off = IPool::DeficitCreated {
        user: Address::repeat_byte(0x99),
        debtAsset: stable,
        amountCreated: U256::from(5_000_000),
    };
    let logs = vec![
        liquidation(FIRST - 1, 0),
        liquidation(FIRST, 0),
        liquidation(FIRST + 9, 2),
        liquidation(FIRST + 10, 2),
        liquidation(FIRST + 700, 4),
        liquidation(FIRST + 700, 7),
        market.emitted(&written_off, FIRST + 701, 0, 3),
        liquidation(LAST - 1, 1),
        liquidation(LAST, 5),
        liquidation(LAST + 1, 0),
    ];
    let chain = SimChain::new(CHAIN_ID, 0..=head, Clock::every(60, 0..=8_000, START).unwrap())
        .unwrap()
        .with_finality(64)
        .with_contracts(market)
        .with_logs(logs)
        .unwrap();
    Arc::new(chain)
}

fn chain() -> Arc<SimChain> {
    chain_to(6_000)
}

struct Case {
    setting: Setting,
    run: PathBuf,
}

impl Case {
    fn new() -> Self {
        let setting = Setting::new().unwrap().with_chain(CHAIN, CHAIN_ID, 60.0).with_aave_v3(
            CSU,
            CHAIN,
            market().provider,
        );
        let run = setting.run_file(DAY, DAY).unwrap();
        Self { setting, run }
    }

    fn lake(&self, name: &str) -> PathBuf {
        self.setting.lake(name)
    }

    fn providers(&self, name: &str, endpoints: &[Endpoint]) -> PathBuf {
        self.setting.providers(name, endpoints).unwrap()
    }

    /// One endpoint of the chain, whose window is the file's claim and not what the policy grants.
    fn one(&self, name: &str, server: &Server, window: u64) -> PathBuf {
        self.providers(name, &[Endpoint::new(&format!("{name}_endpoint"), CHAIN, server.url(), window)])
    }

    /// The lake that a faultless endpoint with a wide window makes.
    fn faultless(&self) -> PathBuf {
        let server = Server::spawn(&chain(), Policy::honest()).unwrap();
        let lake = self.lake("faultless");
        ends_with(&extract(&self.run, &lake, &self.one("faultless", &server, 2_000), &[]), 0);
        lake
    }
}

fn object(lake: &Path, kind: &str) -> PathBuf {
    lake.join(format!("bronze/{kind}/{CSU}/{DAY}.json"))
}

#[test]
fn a_faultless_day_holds_exactly_its_logs_and_every_call() {
    let case = Case::new();
    let lake = case.faultless();
    let logs = LiquidationLogs::from_bytes(&std::fs::read(object(&lake, "liquidations")).unwrap()).unwrap();
    let span = logs.blocks.unwrap();
    assert_eq!((span.first(), span.last()), (FIRST, LAST));
    assert_eq!(logs.logs.len(), LOGS_OF_DAY);
    assert_eq!(logs.reads.len(), LOGS_OF_DAY - 1, "two logs share a block");
    let tvl = TvlSnapshot::from_bytes(&std::fs::read(object(&lake, "tvl")).unwrap()).unwrap();
    assert_eq!(tvl.reads.block, chain().header(LAST).unwrap());
    assert!(tvl.reads.calls.iter().all(|call| call.ok), "{:?}", tvl.reads.calls);
}

#[test]
fn a_scan_refused_at_one_span_finishes_at_another() {
    let case = Case::new();
    let server = Server::spawn(&chain(), Policy::capped(10)).unwrap();
    let lake = case.lake("refused");
    // The file promises 2,000 blocks; the endpoint grants 10.
    ends_with(&extract(&case.run, &lake, &case.one("refused", &server, 2_000), &[]), 0);
    same_bronze(&case.faultless(), &lake);
    let scans = server.count("eth_getLogs");
    assert!((144..=170).contains(&scans), "{scans} scans for 144 windows of ten blocks");
}

#[test]
fn an_endpoint_of_another_chain_writes_nothing() {
    let case = Case::new();
    let policy = Policy { claims_chain_id: Some(8_453), ..Policy::honest() };
    let server = Server::spawn(&chain(), policy).unwrap();
    let lake = case.lake("other");
    let outcome = extract(&case.run, &lake, &case.one("other", &server, 2_000), &[]);
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:?}");
    for word in ["other_endpoint", "8453", "7001"] {
        assert!(outcome.said().contains(word), "it does not say {word}:\n{}", outcome.said());
    }
    assert!(bronze(&lake).is_empty());
}

#[test]
fn an_endpoint_that_fails_every_third_request_changes_no_byte() {
    let case = Case::new();
    let faultless = case.faultless();
    let faults = [
        ("limits", Fault::TooManyRequests),
        ("fails", Fault::InternalError),
        ("cuts", Fault::CutBody),
        ("html", Fault::Html),
    ];
    // Side by side: most of the time goes into the pauses before another try.
    std::thread::scope(|scope| {
        for (name, fault) in faults {
            let (case, faultless) = (&case, &faultless);
            scope.spawn(move || {
                let server = Server::spawn(&chain(), Policy::failing(3, fault)).unwrap();
                let lake = case.lake(name);
                // One request at a time: the request after a failed one is its second try, which succeeds. With more
                // under way all tries of one request could happen to be third ones.
                let one_by_one = ["--jobs", "1"];
                let outcome = extract(&case.run, &lake, &case.one(name, &server, 100), &one_by_one);
                assert_eq!(outcome.code, Some(0), "{fault:?}:\n{}", outcome.said());
                same_bronze(faultless, &lake);
            });
        }
    });
}

#[test]
fn the_number_of_workers_changes_no_byte() {
    let case = Case::new();
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    let providers = case.one("jobs", &server, 50);
    let lakes = ["1", "8"].map(|jobs| {
        let lake = case.lake(&format!("jobs{jobs}"));
        ends_with(&extract(&case.run, &lake, &providers, &["--jobs", jobs]), 0);
        lake
    });
    same_bronze(&lakes[0], &lakes[1]);
}

#[test]
fn the_order_of_endpoints_changes_no_byte() {
    let case = Case::new();
    let narrow = Server::spawn(&chain(), Policy::capped(10)).unwrap();
    let wide = Server::spawn(&chain(), Policy::capped(2_000)).unwrap();
    let rows =
        [Endpoint::new("narrow", CHAIN, narrow.url(), 10), Endpoint::new("wide", CHAIN, wide.url(), 2_000)];
    let one = case.lake("narrow_first");
    ends_with(&extract(&case.run, &one, &case.providers("narrow_first", &rows), &[]), 0);
    let two = case.lake("wide_first");
    let [narrow_row, wide_row] = rows;
    ends_with(&extract(&case.run, &two, &case.providers("wide_first", &[wide_row, narrow_row]), &[]), 0);
    same_bronze(&one, &two);
    same_bronze(&case.faultless(), &one);
    assert!(narrow.count("eth_getLogs") < 20, "the scan went to the endpoint that needs more calls");
}

#[test]
fn a_day_that_is_not_final_is_left_for_later() {
    let case = Case::new();
    // Its last block is there, and 30 after it; the chain counts 64 as not final.
    let chain = chain_to(LAST + 30);
    let server = Server::spawn(&chain, Policy::honest()).unwrap();
    let (lake, providers) = (case.lake("early"), case.one("early", &server, 2_000));
    let outcome = extract(&case.run, &lake, &providers, &[]);
    ends_with(&outcome, 1);
    let last_final = (LAST + 30 - 64).to_string();
    let said = outcome.said().replace([',', '_'], "");
    for word in [DAY, CHAIN, last_final.as_str()] {
        assert!(said.contains(word), "it does not say {word}:\n{}", outcome.said());
    }
    assert!(bronze(&lake).is_empty(), "{:?}", bronze(&lake));

    chain.advance_to(6_000);
    ends_with(&extract(&case.run, &lake, &providers, &[]), 0);
    same_bronze(&case.faultless(), &lake);
}

#[test]
fn a_key_in_a_url_appears_nowhere() {
    const KEY: &str = "sk_planted_0123456789abcdef";
    let case = Case::new();
    let path = format!("/v2/{KEY}");
    // What goes well, what fails, what is refused, what is not there at all, and an endpoint of another chain.
    let gone = Server::spawn(&chain(), Policy::honest()).unwrap().url_with(&path);
    let servers = [
        Policy::capped(10),
        Policy::failing(2, Fault::InternalError),
        Policy::failing(1, Fault::TooManyRequests),
        Policy::failing(1, Fault::Html),
        Policy { claims_chain_id: Some(1), ..Policy::honest() },
    ]
    .map(|policy| Server::spawn(&chain(), policy).unwrap());
    let urls = servers.iter().map(|server| server.url_with(&path)).chain([gone]);
    // Side by side: the endpoints that never answer are given up only after several pauses.
    std::thread::scope(|scope| {
        for (index, url) in urls.enumerate() {
            let case = &case;
            scope.spawn(move || {
                let name = format!("planted{index}");
                let lake = case.lake(&name);
                let providers = case.providers(&name, &[Endpoint::new("planted", CHAIN, url, 2_000)]);
                let outcomes = [
                    loud_extract(&case.run, &lake, &providers, &[]),
                    loud_extract(&case.run, &lake, &providers, &["--json"]),
                ];
                for outcome in outcomes {
                    // Where every second request fails, either end is fair.
                    assert!(index == 1 || (outcome.code == Some(0)) == (index == 0), "{}", outcome.said());
                    assert!(!outcome.said().contains(KEY), "{name}:\n{}", outcome.said());
                }
                assert_eq!(files_with(&lake, KEY).unwrap(), Vec::<String>::new(), "{name}");
            });
        }
    });
    assert!(servers.iter().all(|server| !server.bodies().is_empty()), "an endpoint was never asked");
}

#[test]
fn a_second_run_changes_no_byte_and_costs_nothing() {
    let case = Case::new();
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    let (lake, providers) = (case.lake("twice"), case.one("twice", &server, 2_000));
    ends_with(&extract(&case.run, &lake, &providers, &[]), 0);
    let (before, asked) = (Tree::of(&lake.join("bronze")).unwrap(), server.counts());
    assert!(!before.is_empty());
    ends_with(&extract(&case.run, &lake, &providers, &[]), 0);
    assert_eq!(before, Tree::of(&lake.join("bronze")).unwrap());
    for method in ["eth_getLogs", "eth_call"] {
        assert_eq!(asked.get(method).copied().unwrap_or(0), server.count(method), "{method}");
    }
}

#[test]
fn a_truncated_bronze_object_is_noticed() {
    for kind in ["liquidations", "tvl"] {
        let case = Case::new();
        let lake = case.faultless();
        let file = object(&lake, kind);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let outcome = transform(&case.run, &lake);
        ends_with(&outcome, 1);
        let name = format!("bronze/{kind}/{CSU}/{DAY}.json");
        assert!(outcome.said().contains(&name), "it does not name {name}:\n{}", outcome.said());
    }
}

#[test]
fn logs_that_nobody_asked_for_and_repeated_logs_never_reach_bronze() {
    let case = Case::new();
    let faultless = case.faultless();
    for (name, policy) in [
        ("stray_contract", Policy { stray_log: Some(StrayLog::OtherContract), ..Policy::honest() }),
        ("stray_block", Policy { stray_log: Some(StrayLog::OtherBlock), ..Policy::honest() }),
        ("repeats", Policy { repeats_log: true, ..Policy::honest() }),
    ] {
        let server = Server::spawn(&chain(), policy).unwrap();
        let lake = case.lake(name);
        let outcome = extract(&case.run, &lake, &case.one(name, &server, 2_000), &[]);
        // Refused or mended are both honest; wrong is not.
        if object(&lake, "liquidations").exists() {
            same_bronze(&faultless, &lake);
        } else {
            assert_eq!(outcome.code, Some(1), "{name}:\n{}", outcome.said());
            assert!(outcome.said().contains(&format!("{name}_endpoint")), "{name}:\n{}", outcome.said());
        }
    }
}

#[test]
fn a_batch_that_runs_out_of_gas_is_split() {
    let case = Case::new();
    let server = Server::spawn(&chain(), Policy { batch_calls: Some(6), ..Policy::honest() }).unwrap();
    let lake = case.lake("gas");
    ends_with(&extract(&case.run, &lake, &case.one("gas", &server, 2_000), &[]), 0);
    same_bronze(&case.faultless(), &lake);
}

/// The chain whose state says that a reserve was touched in the block of a liquidation.
fn chain_with_a_witness() -> Arc<SimChain> {
    let mut market = market();
    market.reserves[0].touched_at = START + 60 * (FIRST + 700);
    chain_of(market, 6_000)
}

#[test]
fn an_endpoint_that_holds_no_logs_is_caught_by_one_that_must_exist() {
    let case = Case::new();
    let silent = Policy { no_logs_before: Some(LAST + 1), ..Policy::honest() };
    let silent = Server::spawn(&chain_with_a_witness(), silent).unwrap();
    let honest = Server::spawn(&chain_with_a_witness(), Policy::honest()).unwrap();

    let lake = case.lake("silent");
    let outcome = extract(&case.run, &lake, &case.one("silent", &silent, 2_000), &[]);
    ends_with(&outcome, 1);
    assert!(outcome.said().contains("it does not hold these logs"), "{}", outcome.said());
    assert!(!object(&lake, "liquidations").exists(), "an empty answer was taken for evidence");

    // The silent one has the wider window and is asked first; what it said does not count.
    let both = [
        Endpoint::new("silent", CHAIN, silent.url(), 5_000),
        Endpoint::new("honest", CHAIN, honest.url(), 500),
    ];
    let lake = case.lake("both");
    let outcome = extract(&case.run, &lake, &case.providers("both", &both), &[]);
    ends_with(&outcome, 0);
    assert!(outcome.said().contains("endpoint not trusted with logs: silent"), "{}", outcome.said());
    let logs = LiquidationLogs::from_bytes(&std::fs::read(object(&lake, "liquidations")).unwrap()).unwrap();
    assert_eq!(logs.logs.len(), LOGS_OF_DAY);

    let lake_of_honest = case.lake("honest");
    ends_with(&extract(&case.run, &lake_of_honest, &case.one("honest", &honest, 500), &[]), 0);
    same_bronze(&lake_of_honest, &lake);
}
