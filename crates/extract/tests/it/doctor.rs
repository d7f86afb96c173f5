//! `extract doctor` as a process, before simulated providers on loopback ports.

use crate::said;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use testkit::contracts::{AaveReserve, AaveV3, Liquidation, Price};
use testkit::server::dialects::{entry, missing, size, span};
use testkit::server::policy::{Absent, Archive, BatchCap, BigBatch, SpanCap, Start};
use testkit::server::{Policy, Server};
use testkit::setting::{Endpoint, Setting};
use testkit::simchain::{Clock, SimChain};

const CHAIN_ID: u64 = 7_001;
/// Midnight of 2024-11-10 in New York.
const FIRST_MIDNIGHT: u64 = 1_731_214_800;
const BLOCK_SECONDS: u64 = 60;
const BLOCKS_A_DAY: u64 = 86_400 / BLOCK_SECONDS;
/// Sixty days, so that a block thirty days old is there.
const LAST: u64 = 60 * BLOCKS_A_DAY;
/// The first day of the run, and the block with which it begins.
const FIRST_DAY: &str = "2024-12-10";
const FIRST_OF_DAY: u64 = 30 * BLOCKS_A_DAY;

/// A chain with one market that has a liquidation in every fourth block.
struct Ward {
    setting: Setting,
    run: PathBuf,
    chain: Arc<SimChain>,
    servers: Vec<Server>,
    endpoints: Vec<Endpoint>,
}

impl Ward {
    fn new() -> Self {
        let usd = |dollars: u64| Price::Always(alloy_primitives::U256::from(dollars * 100_000_000));
        let token = alloy_primitives::Address::repeat_byte;
        let reserves = vec![
            AaveReserve::new(token(0x51), "USDS", 6, 5_000_000_000_000, 2_000_000_000_000, usd(1)),
            AaveReserve::new(
                token(0xe7),
                "WETH",
                18,
                900_000_000_000_000_000_000,
                1_000_000_000_000,
                usd(3_700),
            ),
        ];
        let market = AaveV3::named("doctor", reserves);
        let liquidation = |nth: u64| {
            market.liquidation(&Liquidation {
                block: nth * 4,
                tx_index: 0,
                log_index: 0,
                collateral: token(0xe7),
                debt: token(0x51),
                borrower: token(0xb0),
                liquidator: token(0x11),
                debt_amount: 1_000_000,
                collateral_amount: 1_000_000_000_000,
            })
        };
        let clock = Clock::every(BLOCK_SECONDS, 0..=LAST, FIRST_MIDNIGHT).unwrap();
        let chain = SimChain::new(CHAIN_ID, 0..=LAST, clock)
            .unwrap()
            .with_finality(64)
            .with_logs((0..=LAST / 4).map(liquidation))
            .unwrap()
            .with_contracts(market.clone());
        let setting = Setting::new()
            .unwrap()
            .with_chain("simnet", CHAIN_ID, BLOCK_SECONDS as f64)
            .with_aave_v3("aave_v3_simnet", "simnet", market.provider);
        let run = setting.run_file(FIRST_DAY, FIRST_DAY).unwrap();
        Self { setting, run, chain: Arc::new(chain), servers: Vec::new(), endpoints: Vec::new() }
    }

    /// With an endpoint that the providers file says takes 10,000 blocks.
    fn with(mut self, label: &str, policy: Policy) -> Self {
        let server = Server::spawn(&self.chain, policy).unwrap();
        self.endpoints.push(Endpoint::new(label, "simnet", server.url(), 10_000));
        self.servers.push(server);
        self
    }

    fn with_url(mut self, label: &str, url: &str) -> Self {
        self.endpoints.push(Endpoint::new(label, "simnet", url, 10_000));
        self
    }

    fn extract(&self, arguments: &[&str]) -> Output {
        self.extract_with(&self.setting.providers("doctor", &self.endpoints).unwrap(), arguments)
    }

    fn extract_with(&self, providers: &Path, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_extract"))
            .args([arguments[0], "--run", self.run.to_str().unwrap()])
            .args(["--providers", providers.to_str().unwrap()])
            .args(&arguments[1..])
            .output()
            .unwrap()
    }

    /// The report as JSON, and the exit code.
    fn report(&self) -> (Value, Option<i32>) {
        let output = self.extract(&["doctor", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect(&said(&output));
        (report["report"].clone(), output.status.code())
    }

    fn profile(&self, label: &str) -> Value {
        let file = self.setting.lake("default").join(format!("state/endpoints/{label}.json"));
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

/// What was found of an endpoint.
fn of<'r>(report: &'r Value, label: &str) -> &'r Value {
    report["endpoints"].as_array().unwrap().iter().find(|one| one["label"] == label).unwrap()
}

fn findings(report: &Value, label: &str) -> String {
    let findings = of(report, label)["findings"].as_array().unwrap().clone();
    findings.iter().map(|one| format!("{}: {}\n", one["what"], one["hint"])).collect()
}

/// The table's cells of an endpoint.
fn row(text: &str, label: &str) -> Vec<String> {
    let cells = |line: &str| line.split(['│', '┆']).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let row = text.lines().map(cells).find(|cells| cells.get(2).is_some_and(|cell| cell == label));
    row.unwrap_or_else(|| panic!("{label} is not in the table: {text}"))[3..12].to_vec()
}

#[test]
fn what_is_found_stands_in_the_table_and_what_is_wrong_below_it_with_what_to_do() {
    let days = |days: u64| Start::Depth(days * BLOCKS_A_DAY);
    let pruned = Archive { start: days(10), before: Absent::Refused(&missing::PUBLICNODE) };
    let silent = Archive { start: days(10), before: Absent::Empty };
    let batch_cap = |members, more| Some(BatchCap { members, more });
    let honest = Policy::honest;
    let ward = Ward::new()
        .with("honest", honest())
        .with("other_chain", Policy { claims_chain_id: Some(8_453), ..honest() })
        .with("lagging", Policy { head_lag: 2_000, ..honest() })
        .with("pruned", Policy { state_from: Some(pruned), logs_from: Some(pruned), ..honest() })
        .with("silent", Policy { logs_from: Some(silent), state_from: Some(silent), ..honest() })
        .with("no_overrides", Policy { no_overrides: true, ..honest() })
        .with("ignores_them", Policy { ignores_overrides: true, no_deployless: true, ..honest() })
        .with("threes", Policy { batch_cap: batch_cap(3, BigBatch::Refused(&size::DRPC_BATCH)), ..honest() })
        .with("drops", Policy { batch_cap: batch_cap(12, BigBatch::Dropped), ..honest() })
        .with("bad_key", Policy { refuses_all: Some(&entry::ALCHEMY), ..honest() })
        .with_url("dead_port", "http://127.0.0.1:9/")
        .with_url("keyed", "https://simnet.example/v2/${LENDLAKE_TEST_UNSET_KEY_*}");
    let output = ward.extract(&["doctor"]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (label, cells) in [
        // chain id, newest block, state, logs, window, override, init code, batch
        ("honest", "right; 86,400; block 1; 2024-12-10, block 1?; 10,000+; yes; yes; 500+"),
        ("other_chain", "8453; -; -; -; -; -; -; -"),
        ("lagging", "right; 84,400 (-2,000); block 1; 2024-12-10, block 1?; 10,000+; yes; yes; 500+"),
        ("pruned", "right; 86,400; 1 day ago; 1 day ago; 10,000+; yes; yes; 500+"),
        ("silent", "right; 86,400; 1 day ago; 1 day ago; 50,000+; yes; yes; 500+"),
        ("no_overrides", "right; 86,400; block 1; 2024-12-10, block 1?; 10,000+; no; yes; 500+"),
        ("ignores_them", "right; 86,400; block 1; 2024-12-10, block 1?; 10,000+; ignored; no; 500+"),
        ("threes", "right; 86,400; block 1; 2024-12-10, block 1?; 10,000+; yes; yes; 3"),
        // Nothing says how many are too many: the largest of those tried that came back whole.
        ("drops", "right; 86,400; block 1; 2024-12-10, block 1?; 10,000+; yes; yes; 10"),
        ("bad_key", "no answer; -; -; -; -; -; -; -"),
        ("dead_port", "no answer; -; -; -; -; -; -; -"),
    ] {
        assert_eq!(row(&said, label)[..8].join("; "), cells, "{label}");
    }
    for words in [
        "6 of 11 endpoints can be used",
        "other_chain (cannot be used): serves chain id 8453, but simnet is 7001 in the registry\n  mend `url` or `chain`",
        "lagging: is 2,000 blocks behind\n",
        "pruned (cannot be used): does not give the state of 2024-12-10 (block 43200): HTTP 403",
        "pruned (cannot be used): does not give the logs of 2024-12-10 (block 43200): HTTP 403",
        "silent (cannot be used): does not hold the state of block 43200 (30 days) and does not say so",
        "silent (cannot be used): does not hold the logs of block 43200 (30 days) and does not say so",
        "ignores_them: takes state overrides and passes them over: gives 0x where 42 is the answer\n  before Multicall3 \
         was deployed, its snapshots take JSON-RPC batches",
        "bad_key (cannot be used): HTTP 401: error code -32600: Must be authenticated!\n  is the key of bad_key right",
        "dead_port (cannot be used): no answer: ",
        "  is it up, and is `url` in the providers file right? else take its row out\n",
        "LENDLAKE_TEST_UNSET_KEY_1 is not set: it would open keyed\n  export LENDLAKE_TEST_UNSET_KEY_1=...",
        "of many who write an object at once one does, and all see it",
        "asking 11 endpoints, about ",
        "simnet other_chain: 1 question\n",
    ] {
        assert!(said.contains(words), "not said: {words}\n{said}");
    }
    // An endpoint that answers [] for anything takes any window.
    assert!(!said.contains("log_window = 50000"), "{said}");
    assert!(!said.contains("127.0.0.1:9"), "the URL is not told: {said}");
}

#[test]
fn the_log_window_is_measured_in_every_dialect_and_the_next_run_begins_with_it() {
    let cap = |wording| Policy { span_cap: Some(SpanCap::new(1_000, wording)), ..Policy::honest() };
    let mut ward = Ward::new();
    for (nth, wording) in span::ALL.iter().enumerate() {
        ward = ward.with(&format!("e{nth:02}"), cap(wording));
    }
    let (report, code) = ward.report();
    assert_eq!(code, Some(0), "{report:#}");
    for (nth, wording) in span::ALL.iter().enumerate() {
        let label = format!("e{nth:02}");
        let found = &of(&report, &label)["probe"]["log_window"];
        if wording.name == "base 2024" {
            // It speaks of its health, and shorter windows are not tried for that: it may be the truth.
            assert!(found["most"].is_null(), "{found}");
            continue;
        }
        assert_eq!(found["most"], 1_000, "{}: {found}", wording.name);
        assert_eq!(found["is_limit"], true, "{}: {found}", wording.name);
        let told = findings(&report, &label);
        assert!(
            told.contains("runs will use 1,000; put `log_window = 1000` there"),
            "{}: {told}",
            wording.name
        );
        assert_eq!(ward.profile(&label)["log_window"]["value"], 1_000, "{}", wording.name);
    }

    // A run on the lake that kept it asks for no window that is refused. Refusals of QuickNode come with HTTP 413.
    let nth = span::ALL.iter().position(|wording| wording.name == "quicknode").unwrap();
    let alone = Endpoint { ..ward.endpoints[nth].clone() };
    let refused = || ward.servers[nth].provider().tally().statuses.get(&413).copied().unwrap_or(0);
    assert!(refused() > 0, "the doctor met some");
    let before = refused();
    let quicknode = ward.setting.providers("quicknode", &[alone]).unwrap();
    let output = ward.extract_with(&quicknode, &["run"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(refused(), before, "{}", said(&output));
}

#[test]
fn what_an_endpoint_does_not_hold_is_kept_and_a_run_asks_somebody_else() {
    let archive =
        Archive { start: Start::Block(FIRST_OF_DAY + 5_000), before: Absent::Refused(&missing::TRIE) };
    let pruned = Policy { state_from: Some(archive), logs_from: Some(archive), ..Policy::honest() };
    let ward = Ward::new().with("pruned", pruned).with("honest", Policy::honest());
    let (report, code) = ward.report();
    assert_eq!(code, Some(1), "one cannot be used: {report:#}");
    assert_eq!(
        (&of(&report, "pruned")["usable"], &of(&report, "honest")["usable"]),
        (&false.into(), &true.into())
    );
    let profile = ward.profile("pruned");
    // The newest block that it was found not to hold is that of the first day: nothing older is asked for.
    assert_eq!(profile["no_logs_at"]["value"], FIRST_OF_DAY, "{profile:#}");
    assert_eq!(profile["no_state_at"]["value"], FIRST_OF_DAY, "{profile:#}");
    assert!(profile["probed"]["at"].is_string(), "{profile:#}");
    assert!(ward.profile("honest")["no_logs_at"].is_null());

    let asked = |method: &str| ward.servers[0].count(method);
    let before = (asked("eth_getLogs"), asked("eth_call"));
    let output = ward.extract(&["run", "--to", FIRST_DAY]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // The scan begins with the day's first block, which it lacks; the snapshot at its last is another block.
    assert_eq!(asked("eth_getLogs"), before.0, "{}", said(&output));
    assert!(asked("eth_call") <= before.1 + 1, "{}", said(&output));
}

#[test]
fn a_healthy_ward_is_well_and_without_a_lake_nothing_is_kept() {
    let ward = Ward::new().with("honest", Policy::honest());
    let registry = ward.setting.path().join("registry");
    let file = registry.join("providers.toml");
    std::fs::copy(ward.setting.providers("doctor", &ward.endpoints).unwrap(), &file).unwrap();
    let doctor = |more: &[&str]| {
        let arguments = ["doctor", "--providers", file.to_str().unwrap()];
        Command::new(env!("CARGO_BIN_EXE_extract")).args(arguments).args(more).output().unwrap()
    };
    let output = doctor(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    // Without a run no day is looked for, and the default depths are.
    assert_eq!(row(&said(&output), "honest")[2..4].join("; "), "block 1; 30 days ago, block 1?");
    assert!(
        said(&output).contains("nothing was kept for later runs: name a lake with --lake"),
        "{}",
        said(&output)
    );
    assert!(!ward.setting.lake("default").exists());

    let lake = ward.setting.lake("named");
    let output = doctor(&["--lake", lake.to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept = &report["report"]["lake"];
    assert_eq!(kept["broken"], serde_json::json!([]), "{kept:#}");
    assert!(lake.join("state/endpoints/honest.json").exists());
    let bill = &report["bill"]["rows"][0];
    let (planned, sent) =
        (bill["requests"].as_u64().unwrap(), of(&report["report"], "honest")["requests"].as_u64());
    assert!(sent.unwrap().abs_diff(planned) * 10 <= planned, "{planned} planned, {sent:?} sent");

    for (arguments, words) in [
        (["--chain", "nowhere"].as_slice(), "no chain is called `nowhere`"),
        (&["--lake", "ftp://nowhere/"], "cannot open the lake at `ftp://nowhere/`"),
    ] {
        let output = doctor(arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(words), "{}", said(&output));
    }
    std::fs::write(&file, "endpoint = []\n").unwrap();
    let output = doctor(&["--chain", "simnet"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("there is no endpoint to ask"), "{}", said(&output));
}
