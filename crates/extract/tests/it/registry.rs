//! `extract doctor --registry` as a process, before simulated chains on loopback ports.

use crate::said;
use alloy_primitives::{Address, Bytes, U256};
use lake::bronze::Header;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::{Command, Output};
use std::sync::Arc;
use testkit::contracts::{AaveReserve, AaveV3, Price};
use testkit::server::dialects::missing;
use testkit::server::policy::{Absent, Archive, Start};
use testkit::server::{Policy, Server};
use testkit::setting::{Endpoint, Setting};
use testkit::simchain::{Clock, Contracts, SimChain};

/// Block in which the simulated deployments were made.
const DEPLOYED: u64 = 1_000;
/// Midnight of 2024-11-10 in New York.
const FIRST_MIDNIGHT: u64 = 1_731_214_800;
const BLOCKS_A_DAY: u64 = 1_440;
const LAST: u64 = 5 * BLOCKS_A_DAY;
const FINALITY: u64 = 64;

/// Contracts that are there from a block on.
struct Since(u64, AaveV3);

impl Contracts for Since {
    fn has_code(&self, to: Address, block: &Header) -> bool {
        block.number >= self.0 && self.1.has_code(to, block)
    }

    fn call(&self, to: Address, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        self.1.call(to, input, block)
    }
}

fn market() -> AaveV3 {
    let usd = Price::Always(U256::from(100_000_000));
    let token = Address::repeat_byte;
    AaveV3::named(
        "registry",
        vec![
            AaveReserve::new(token(0x51), "USDS", 6, 5_000_000, 2_000_000, usd.clone()),
            AaveReserve::new(token(0xe7), "WETH", 18, 900_000, 1_000, usd),
        ],
    )
}

/// A row of the registry: id, chain, entry contract, block of the deployment.
type Row<'r> = (&'r str, &'r str, Address, u64);

/// A registry with these rows on two chains, the second of which nobody serves.
struct Office {
    setting: Setting,
    servers: Vec<Server>,
    endpoints: Vec<Endpoint>,
}

impl Office {
    fn new(rows: &[Row<'_>], policies: Vec<Policy>) -> Self {
        let clock = Clock::every(60, 0..=LAST, FIRST_MIDNIGHT).unwrap();
        let chain = SimChain::new(7_001, 0..=LAST, clock)
            .unwrap()
            .with_finality(FINALITY)
            .with_contracts(Since(DEPLOYED, market()));
        let chain = Arc::new(chain);
        let setting =
            Setting::new().unwrap().with_chain("simnet", 7_001, 60.0).with_chain("darknet", 7_002, 60.0);
        setting.run_file("2024-11-11", "2024-11-12").unwrap();
        let mut text = String::new();
        for (nth, (id, chain, entry, deployed)) in rows.iter().enumerate() {
            write!(
                text,
                "[[csu]]\nid = \"{id}\"\nnum = {}\nprotocol = \"aave_v3\"\nversion = \"v3\"\nchain = \"{chain}\"\n\
                 market = \"{id}\"\nentry_role = \"pool_addresses_provider\"\nentry = \"{entry}\"\n\
                 deployed_block = {deployed}\nverified = \"no\"\nsource = \"simulated\"\n\n",
                nth + 1
            )
            .unwrap();
        }
        std::fs::write(setting.path().join("registry/csus/aave_v3.toml"), text).unwrap();
        let servers: Vec<Server> =
            policies.into_iter().map(|policy| Server::spawn(&chain, policy).unwrap()).collect();
        let endpoint = |(nth, server): (usize, &Server)| {
            Endpoint::new(&format!("e{nth}"), "simnet", server.url(), 1_000)
        };
        let endpoints = servers.iter().enumerate().map(endpoint).collect();
        Self { setting, servers, endpoints }
    }

    fn doctor(&self, more: &[&str]) -> Output {
        let file = self.setting.path().join("registry/providers.toml");
        std::fs::copy(self.setting.providers("office", &self.endpoints).unwrap(), &file).unwrap();
        let lake = self.setting.lake("checked");
        Command::new(env!("CARGO_BIN_EXE_extract"))
            .args(["doctor", "--registry", "--providers", file.to_str().unwrap()])
            .args(["--lake", lake.to_str().unwrap()])
            .args(more)
            .output()
            .unwrap()
    }

    /// What was found, by CSU, and the exit code.
    fn check(&self, more: &[&str]) -> (Value, Option<i32>) {
        let output = self.doctor(&[&["--json"], more].concat());
        let report: Value = serde_json::from_slice(&output.stdout).expect(&said(&output));
        (report, output.status.code())
    }
}

fn row<'r>(report: &'r Value, csu: &str) -> &'r Value {
    report["rows"].as_array().unwrap().iter().find(|row| row["csu"] == csu).unwrap()
}

fn code(row: &Value, at: &str) -> String {
    row[at]["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_row_that_is_right_is_seen_at_its_deployment_and_at_the_head_and_every_role_answers() {
    let office = Office::new(&[("good", "simnet", market().provider, DEPLOYED)], vec![Policy::honest()]);
    let (report, exit) = office.check(&[]);
    assert_eq!(exit, Some(0), "{report:#}");
    let good = row(&report, "good");
    assert_eq!(good["soundness"], "sound", "{good:#}");
    let codes = ["before_deployment", "at_deployment", "at_block"].map(|at| code(good, at));
    assert_eq!(codes, ["none", "there", "there"]);
    assert_eq!((&good["block"], &good["markets"]), (&(LAST - FINALITY).into(), &2.into()));
    let roles = good["roles"].as_array().unwrap();
    let answered: Vec<String> =
        roles.iter().map(|role| format!("{} {}", role["role"].as_str().unwrap(), role["shown"])).collect();
    for role in ["pool_addresses_provider", "pool", "oracle", "market.a_token", "market.variable_debt"] {
        assert!(answered.contains(&format!("{role} \"answered\"")), "{role} is not among {answered:?}");
    }
    assert!(
        roles.iter().all(|role| role["shown"] == "answered" || role["shown"] == "has_code"),
        "{roles:#?}"
    );
    let kept = office.setting.lake("checked").join("state/registry.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(kept["rows"], report["rows"]);
    assert_eq!(kept["blocks"]["simnet"], LAST - FINALITY);

    // And at the end of a day.
    let (report, exit) = office.check(&["--day", "2024-11-11"]);
    assert_eq!(exit, Some(0), "{report:#}");
    assert_eq!(row(&report, "good")["block"], 2 * BLOCKS_A_DAY - 1);
    let output = office.doctor(&["--day", "2024-11-11"]);
    for words in [
        "checking 1 of 1 rows on 1 of 1 chains, about 8 requests in all",
        "good: as the registry says",
        "1 row: 1 as the registry says, 0 not, 0 not known",
        "kept in ",
        "state/registry.json",
    ] {
        assert!(said(&output).contains(words), "not said: {words}\n{}", said(&output));
    }
    let (_, exit) = office.check(&["--day", "2024-11-10"]);
    assert_eq!(exit, Some(0), "the deployment is of that day");
    let before = Office::new(&[("late", "simnet", market().provider, 3_000)], vec![Policy::honest()]);
    let (report, exit) = before.check(&["--day", "2024-11-10"]);
    assert_eq!(exit, Some(1));
    let late = row(&report, "late")["findings"][0].as_str().unwrap();
    assert_eq!(late, "is deployed in block 3000 only, and looked at in block 1439");
}

#[test]
fn what_is_wrong_with_a_row_is_told() {
    let market = market();
    let nobody = Address::repeat_byte(0x99);
    let rows = [
        ("too_early", "simnet", market.provider, 500),
        ("too_late", "simnet", market.provider, 1_500),
        ("nobody", "simnet", nobody, DEPLOYED),
        ("a_token", "simnet", market.reserves[0].asset, DEPLOYED),
        ("unserved", "darknet", market.provider, DEPLOYED),
        ("good", "simnet", market.provider, DEPLOYED),
    ];
    let office = Office::new(&rows, vec![Policy::honest()]);
    let (report, exit) = office.check(&[]);
    assert_eq!(exit, Some(1));
    for (csu, soundness, finding) in [
        ("too_early", "wrong", "has no code in block 500, in which the registry says it was deployed"),
        (
            "too_late",
            "wrong",
            "has code in block 1499 already, before that in which the registry says it was deployed",
        ),
        ("nobody", "wrong", "has no code in block 7136"),
        ("a_token", "wrong", "does not answer as one of aave_v3: "),
        ("unserved", "unknown", "chain darknet has no endpoint"),
        ("good", "sound", ""),
    ] {
        let row = row(&report, csu);
        assert_eq!(row["soundness"], soundness, "{row:#}");
        let findings: Vec<String> =
            row["findings"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert!(findings.concat().contains(finding), "{csu}: {findings:?}");
    }
    let output = office.doctor(&[]);
    let text = said(&output);
    assert!(text.contains("6 rows: 1 as the registry says, 4 not, 1 not known"), "{text}");
    assert!(text.contains("nobody: has no code in block 7136"), "{text}");
    assert!(text.contains("checking 5 of 6 rows on 1 of 2 chains"), "{text}");

    // Rows can be chosen; without anybody to ask nothing begins.
    let (report, exit) = office.check(&["--csu", "goo*", "--csu", "nobody"]);
    assert_eq!((report["rows"].as_array().unwrap().len(), exit), (2, Some(1)));
    let output = office.doctor(&["--chain", "darknet"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("no chain of these rows has an endpoint"), "{}", said(&output));
    let output = office.doctor(&["--csu", "bad"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("no CSU is called `bad`"), "{}", said(&output));
}

#[test]
fn an_endpoint_without_old_state_convicts_no_row() {
    let rows = [("good", "simnet", market().provider, DEPLOYED)];
    let start = |before| Some(Archive { start: Start::Block(DEPLOYED + 1_000), before });
    let refuses = Policy { state_from: start(Absent::Refused(&missing::TRIE)), ..Policy::honest() };
    let silent = Policy { state_from: start(Absent::Empty), ..Policy::honest() };

    // Nobody holds the block of the deployment, and says so: not known.
    let (report, exit) = Office::new(&rows, vec![refuses.clone()]).check(&[]);
    let good = row(&report, "good");
    assert_eq!((exit, &good["soundness"]), (Some(1), &"unknown".into()), "{good:#}");
    assert_eq!((code(good, "at_deployment"), code(good, "at_block")), ("unknown".into(), "there".into()));
    assert!(good["findings"][0].as_str().unwrap().contains("missing trie node"), "{good:#}");

    // One that says `0x` of what it does not hold is not believed beside one that shows the code.
    let (report, exit) = Office::new(&rows, vec![silent, Policy::honest()]).check(&[]);
    assert_eq!(exit, Some(0), "{report:#}");
    assert_eq!(code(row(&report, "good"), "at_deployment"), "there");
    let office = Office::new(&rows, vec![refuses, Policy::honest()]);
    assert_eq!(office.check(&[]).1, Some(0));
    assert!(office.servers.iter().all(|server| server.count("eth_getLogs") == 0), "no row needs logs");
}
