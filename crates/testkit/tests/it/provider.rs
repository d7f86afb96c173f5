//! Every policy shows its behaviour, in process and with time that stands still; a few over HTTP too.

use alloy_primitives::{Address, B256, Bytes};
use protocols::multicall;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use testkit::server::clock::Clock as TimeOfDay;
use testkit::server::dialects::{self, Wording, entry, filters, missing, quota, rate, results, size, span};
use testkit::server::faults::{FaultRate, Latency, Outage};
use testkit::server::limits::{Account, By, Limits, Over, PerSecond, Period, Prices, Quota};
use testkit::server::policy::{
    Absent, Archive, BatchCap, BigBatch, Hint, ResultCap, SpanCap, Start, TooManyLogs,
};
use testkit::server::presets::PRESETS;
use testkit::server::{End, Fault, ManualClock, Policy, Provider, Reply, Server, StrayLog, TokioClock};
use testkit::simchain::{Clock, Emitted, MULTICALL3, SimChain};

const EMITTER: Address = Address::repeat_byte(0xaa);
const TOPIC: B256 = B256::repeat_byte(0x11);
/// 2024-12-31 23:50:00 UTC.
const EVENING: u64 = 1_735_689_000;

/// Blocks 0 to 9999, a log in every tenth, three more in block 5000.
fn chain() -> Arc<SimChain> {
    let log = |block, log_index| Emitted {
        block,
        tx_index: 1,
        log_index,
        address: EMITTER,
        topics: vec![TOPIC],
        data: Bytes::from(vec![7; 3]),
    };
    let logs = (0..1_000).map(|nth| log(nth * 10, 0)).chain((1..4).map(|index| log(5_000, index)));
    let chain = SimChain::new(7, 0..=9_999, Clock::every(12, 0..=9_999, 1_700_000_000).unwrap()).unwrap();
    Arc::new(chain.with_logs(logs).unwrap())
}

/// A provider with a clock that stands.
fn provider(policy: Policy) -> (Arc<Provider>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(EVENING));
    let time: Arc<dyn TimeOfDay> = clock.clone();
    (Arc::new(Provider::new(&chain(), policy, &time)), clock)
}

fn call(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn scan(from: u64, to: u64) -> Value {
    json!([{ "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"), "address": [EMITTER], "topics": [[TOPIC]] }])
}

fn send(provider: &Provider, body: &Value) -> Reply {
    provider.exchange(body.to_string().as_bytes())
}

fn read(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn ask(provider: &Provider, method: &str, params: Value) -> Value {
    read(&send(provider, &call(42, method, params)))
}

fn logs(provider: &Provider, from: u64, to: u64) -> Reply {
    send(provider, &call(1, "eth_getLogs", scan(from, to)))
}

/// Blocks and indices of the logs of an answer.
fn places(reply: &Reply) -> Vec<(u64, u64)> {
    let number = |value: &Value| u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    let answer = read(reply);
    let logs = answer["result"].as_array().unwrap_or_else(|| panic!("no logs: {answer}"));
    logs.iter().map(|log| (number(&log["blockNumber"]), number(&log["logIndex"]))).collect()
}

/// Insists on a refusal in these words, and gives its text.
#[track_caller]
fn refused(reply: &Reply, wording: &Wording) -> String {
    let answer = read(reply);
    assert_eq!((reply.status, &answer["error"]["code"]), (wording.status, &json!(wording.code)), "{answer}");
    assert_eq!(answer["result"], Value::Null);
    let error = &answer["error"];
    let text = format!("{} {}", error["message"].as_str().unwrap(), error["data"]);
    let start = wording.message.split('{').next().unwrap();
    assert!(text.starts_with(start), "{text}");
    text
}

#[test]
fn a_span_cap_speaks_every_dialect() {
    for wording in span::ALL {
        let cap = SpanCap { limit: 2_000, told: None, wording };
        let (provider, _) = provider(Policy { span_cap: Some(cap), ..Policy::honest() });
        let most = if wording.counts == dialects::Counts::Difference { 2_000 } else { 1_999 };
        assert_eq!(places(&logs(&provider, 100, 100 + most)).len(), usize::try_from(most / 10 + 1).unwrap());
        let text = refused(&logs(&provider, 100, 101 + most), wording);
        if wording.message.contains("{fits}") {
            assert!(text.contains("[0x64, 0x833]"), "{text}");
        }
        if wording.message.contains("{limit}") {
            assert!(text.contains("2000"), "{text}");
        }
    }
}

#[test]
fn a_span_cap_may_be_narrower_than_it_says() {
    let cap = SpanCap { limit: 100, told: Some(10_000), wording: &span::DRPC };
    let (provider, _) = provider(Policy { span_cap: Some(cap), ..Policy::honest() });
    assert!(refused(&logs(&provider, 0, 100), &span::DRPC).contains("ranges over 10000 blocks"));
    assert_eq!(places(&logs(&provider, 0, 99)).len(), 10);
}

#[test]
fn a_result_cap_is_told_in_every_dialect() {
    for wording in results::ALL {
        let cap = ResultCap { logs: 20, more: TooManyLogs::Refused { wording, hint: Hint::True } };
        let (provider, _) = provider(Policy { result_cap: Some(cap), ..Policy::honest() });
        assert_eq!(places(&logs(&provider, 100, 299)).len(), 20);
        let text = refused(&logs(&provider, 100, 300), wording);
        // The twenty-first log is in block 300.
        for (form, range) in
            [("{fits}", "[0x64, 0x12b]"), ("{FITS}", "[0x64, 0x12B]"), ("{fits dec}", "100-299")]
        {
            let words = format!("{}{}", wording.message, wording.data.unwrap_or_default());
            assert!(!words.contains(form) || text.contains(range), "{}: {text}", wording.name);
        }
    }
}

#[test]
fn the_range_that_should_work_works_or_lies() {
    let range = |hint| {
        let cap = ResultCap { logs: 2, more: TooManyLogs::Refused { wording: &results::RETH, hint } };
        let (provider, _) = provider(Policy { result_cap: Some(cap), ..Policy::honest() });
        let text = refused(&logs(&provider, 4_980, 5_100), &results::RETH);
        let range = text.split("the range ").nth(1).unwrap().split(' ').next().unwrap();
        let (from, to) = range.split_once('-').unwrap();
        (provider, from.parse::<u64>().unwrap(), to.parse::<u64>().unwrap())
    };
    let (provider, from, to) = range(Hint::True);
    assert_eq!((from, to, places(&logs(&provider, from, to)).len()), (4_980, 4_999, 2));
    // A block with more logs than the cap can only be had alone, and is.
    assert_eq!(places(&logs(&provider, 5_000, 5_000)).len(), 4);
    let (provider, from, to) = range(Hint::TooWide);
    assert_eq!((from, to), (4_980, 5_099));
    refused(&logs(&provider, from, to), &results::RETH);
    let (_, from, to) = range(Hint::Outside);
    assert!(from < to && to < 4_980, "{from}-{to}");
    let (_, from, to) = range(Hint::Inverted);
    assert!(to < from, "{from}-{to}");
}

#[test]
fn an_answer_may_end_at_the_cap_without_a_word() {
    let cap = ResultCap { logs: 20, more: TooManyLogs::CutSilently };
    let (provider, _) = provider(Policy { result_cap: Some(cap), ..Policy::honest() });
    let cut = places(&logs(&provider, 0, 999));
    assert_eq!((cut.len(), cut[19]), (20, (190, 0)));
}

#[test]
fn a_filter_may_have_too_many_addresses_or_topics() {
    for wording in filters::ALL {
        let (provider, _) = provider(Policy { filter_cap: Some((2, wording)), ..Policy::honest() });
        let filter = |addresses: usize, topics: usize| {
            let params = json!([{ "fromBlock": "0x0", "toBlock": "0x9", "address": vec![EMITTER; addresses],
                "topics": [null, vec![TOPIC; topics]] }]);
            send(&provider, &call(1, "eth_getLogs", params))
        };
        assert_eq!(read(&filter(2, 2))["result"], json!([]));
        refused(&filter(3, 1), wording);
        refused(&filter(1, 3), wording);
    }
}

#[test]
fn logs_before_the_archive_are_refused_or_silently_not_there() {
    for wording in [&missing::PUBLICNODE, &missing::PRUNED] {
        let archive = Archive { start: Start::Block(500), before: Absent::Refused(wording) };
        let (provider, _) = provider(Policy { logs_from: Some(archive), ..Policy::honest() });
        refused(&logs(&provider, 499, 600), wording);
        assert_eq!(places(&logs(&provider, 500, 509)), [(500, 0)]);
    }
    let archive = Archive { start: Start::Depth(1_000), before: Absent::Empty };
    let (silent, _) = provider(Policy { logs_from: Some(archive), ..Policy::honest() });
    assert!(places(&logs(&silent, 0, 8_998)).is_empty());
    assert_eq!(places(&logs(&silent, 0, 9_005)), [(9_000, 0)]);
    // Headers are there all the same, as at a node that took a snapshot.
    assert_eq!(ask(&silent, "eth_getBlockByNumber", json!(["0x1", false]))["result"]["number"], "0x1");
}

#[test]
fn state_before_the_archive_is_refused_or_empty() {
    let code = |provider: &Provider, block: u64| {
        send(provider, &call(1, "eth_getCode", json!([MULTICALL3, format!("{block:#x}")])))
    };
    for wording in [&missing::TRIE, &missing::HEADER, &missing::ETHERMINT, &missing::PUBLICNODE] {
        let archive = Archive { start: Start::Block(500), before: Absent::Refused(wording) };
        let (provider, _) = provider(Policy { state_from: Some(archive), ..Policy::honest() });
        refused(&code(&provider, 499), wording);
        assert_ne!(read(&code(&provider, 500))["result"], "0x");
    }
    let archive = Archive { start: Start::Block(500), before: Absent::Empty };
    let (silent, _) = provider(Policy { state_from: Some(archive), ..Policy::honest() });
    assert_eq!(read(&code(&silent, 499))["result"], "0x");
    let call = json!([{ "to": MULTICALL3, "input": "0x01020304" }, { "blockHash": chain().hash(499) }]);
    assert_eq!(ask(&silent, "eth_call", call)["result"], "0x");
    assert_eq!(places(&logs(&silent, 0, 9)), [(0, 0)], "logs are another matter");
}

#[test]
fn a_lagging_head_hides_what_is_new() {
    let (quiet, _) = provider(Policy { head_lag: 100, ..Policy::honest() });
    assert_eq!(ask(&quiet, "eth_blockNumber", json!([]))["result"], "0x26ab");
    assert_eq!(ask(&quiet, "eth_getBlockByNumber", json!(["0x26ac", false]))["result"], Value::Null);
    assert_eq!(places(&logs(&quiet, 9_890, 9_999)), [(9_890, 0)]);
    for wording in [&missing::BEYOND_HEAD, &missing::CORETH_HEAD] {
        let policy = Policy { head_lag: 100, beyond_head: Some(wording), ..Policy::honest() };
        let (loud, _) = provider(policy);
        assert_eq!(places(&logs(&loud, 9_890, 9_899)).len(), 1);
        refused(&logs(&loud, 9_890, 9_900), wording);
    }
}

#[test]
fn a_balancer_has_two_heads() {
    let (provider, _) = provider(Policy { second_head_lag: Some(50), ..Policy::honest() });
    let heads: Vec<Value> =
        (0..40).map(|_| ask(&provider, "eth_blockNumber", json!([]))["result"].clone()).collect();
    let seen: BTreeSet<&str> = heads.iter().map(|head| head.as_str().unwrap()).collect();
    assert_eq!(seen, BTreeSet::from(["0x26dd", "0x270f"]), "it jumps between the two");
}

#[test]
fn an_id_may_be_another_chain_s() {
    let (provider, _) = provider(Policy { claims_chain_id: Some(8_453), ..Policy::honest() });
    assert_eq!(ask(&provider, "eth_chainId", json!([]))["result"], "0x2105");
    assert_eq!(ask(&provider, "net_version", json!([]))["result"], "8453");
}

#[test]
fn logs_come_twice_unordered_altered_or_not_at_all() {
    let all = places(&logs(&provider(Policy::honest()).0, 0, 9_999));
    let with = |policy| logs(&provider(policy).0, 0, 9_999);

    let repeated = places(&with(Policy { repeats_log: true, ..Policy::honest() }));
    assert_eq!((repeated.len(), repeated[0]), (all.len() + 1, repeated[1]));

    let shuffled = places(&with(Policy { shuffles_logs: true, ..Policy::honest() }));
    assert_ne!(shuffled, all);
    let mut sorted = shuffled;
    sorted.sort_unstable();
    assert_eq!(sorted, all, "all are there");
    let (two, _) = provider(Policy { shuffles_logs: true, ..Policy::honest() });
    assert_eq!(places(&logs(&two, 0, 15)), [(10, 0), (0, 0)], "two are out of order too");

    let removed = read(&with(Policy { stray_log: Some(StrayLog::Removed), ..Policy::honest() }));
    assert_eq!(removed["result"].as_array().unwrap().last().unwrap()["removed"], true);
    let hash = read(&with(Policy { stray_log: Some(StrayLog::OtherHash), ..Policy::honest() }));
    assert_eq!(
        hash["result"].as_array().unwrap().last().unwrap()["blockHash"],
        json!(B256::repeat_byte(0xee))
    );
    let invented = read(&with(Policy { stray_log: Some(StrayLog::Invented), ..Policy::honest() }));
    let invented = invented["result"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(invented["blockHash"], json!(chain().hash(9_999)));
    let (honest, _) = provider(Policy::honest());
    let of_it = json!([invented["transactionHash"]]);
    assert!(ask(&honest, "eth_getTransactionReceipt", of_it)["result"].is_null());
}

#[test]
fn a_missing_log_is_missing_however_it_is_asked_for() {
    let (provider, _) = provider(Policy { missing_logs_per_mille: 20, seed: 3, ..Policy::honest() });
    let wide = places(&logs(&provider, 0, 9_999));
    assert!((960..1_000).contains(&wide.len()), "{} of 1003", wide.len());
    let narrow: Vec<_> = (0..200).flat_map(|nth| places(&logs(&provider, nth * 50, nth * 50 + 49))).collect();
    assert_eq!(wide, narrow);
}

#[test]
fn a_receipt_holds_the_logs_that_its_provider_knows_of() {
    let of_block = |block: u64| chain().logs(block..=block).next().unwrap().transaction_hash;
    let receipt = |provider: &Provider, block: u64| {
        ask(provider, "eth_getTransactionReceipt", json!([of_block(block)]))["result"].clone()
    };
    let logs = |receipt: &Value| receipt["logs"].as_array().unwrap().len();
    let (honest, _) = provider(Policy::honest());
    let whole = receipt(&honest, 5_000);
    assert_eq!((logs(&whole), &whole["blockHash"]), (4, &json!(chain().hash(5_000))));
    assert_eq!(whole["logs"][3]["logIndex"], "0x3");
    let unknown = ask(&honest, "eth_getTransactionReceipt", json!([B256::repeat_byte(9)]));
    assert!(unknown["error"].is_null() && unknown["result"].is_null(), "{unknown}");
    assert_eq!(ask(&honest, "eth_getTransactionReceipt", json!(["0x12"]))["error"]["code"], json!(-32602));

    let (careless, _) = provider(Policy { missing_logs_per_mille: 1_000, ..Policy::honest() });
    assert_eq!(logs(&receipt(&careless, 5_000)), 0, "the transaction is there, its logs are not");
    let empty = Archive { start: Start::Block(500), before: Absent::Empty };
    for silent in [
        Policy { logs_from: Some(empty), ..Policy::honest() },
        Policy { no_logs_before: Some(500), ..Policy::honest() },
    ] {
        let (silent, _) = provider(silent);
        assert!(receipt(&silent, 490).is_null());
        assert_eq!(logs(&receipt(&silent, 500)), 1);
    }
    let loud = Archive { start: Start::Block(500), before: Absent::Refused(&missing::PRUNED) };
    let (loud, _) = provider(Policy { logs_from: Some(loud), ..Policy::honest() });
    refused(&send(&loud, &call(1, "eth_getTransactionReceipt", json!([of_block(490)]))), &missing::PRUNED);
    let (behind, _) = provider(Policy { head_lag: 100, ..Policy::honest() });
    assert!(receipt(&behind, 9_990).is_null(), "it has not got that far");
}

#[test]
fn the_receipts_of_a_block_are_those_of_its_transactions() {
    let all = |policy: Policy, block: Value| {
        ask(&provider(policy).0, "eth_getBlockReceipts", json!([block]))["result"].clone()
    };
    let whole = all(Policy::honest(), json!("0x1388"));
    let mut hashes: Vec<&Value> = Vec::new();
    let mut logs = Vec::new();
    for receipt in whole.as_array().unwrap() {
        assert_eq!(&receipt["blockHash"], &json!(chain().hash(5_000)));
        hashes.push(&receipt["transactionHash"]);
        logs.extend(receipt["logs"].as_array().unwrap().iter().map(|log| log["logIndex"].clone()));
    }
    let of_chain: Vec<Value> =
        chain().logs(5_000..=5_000).map(|log| json!(format!("{:#x}", log.log_index))).collect();
    assert_eq!(logs, of_chain);
    assert!(!hashes.is_empty());
    assert_eq!(all(Policy::honest(), json!(chain().hash(5_000))), whole, "by hash as by number");
    assert_eq!(
        all(Policy::honest(), json!("0x7")),
        json!([]),
        "a block without transactions that have a log"
    );
    assert!(all(Policy { head_lag: 5_000, ..Policy::honest() }, json!("0x1388")).is_null());
    assert!(all(Policy { no_logs_before: Some(5_001), ..Policy::honest() }, json!("0x1388")).is_null());
}

#[test]
fn one_block_may_be_too_much_as_well() {
    let cap = |more| Policy { result_cap: Some(ResultCap { logs: 3, more }), ..Policy::honest() };
    let (lenient, _) = provider(cap(TooManyLogs::Refused { wording: &results::LLAMA, hint: Hint::True }));
    assert_eq!(places(&logs(&lenient, 5_000, 5_000)).len(), 4);
    let (strict, _) = provider(cap(TooManyLogs::RefusedAlways { wording: &results::LLAMA }));
    refused(&logs(&strict, 5_000, 5_000), &results::LLAMA);
    assert_eq!(places(&logs(&strict, 4_999, 4_999)).len(), places(&logs(&lenient, 4_999, 4_999)).len());
}

#[test]
fn a_batch_may_have_too_many_members() {
    let batch = |members: u64| {
        Value::from((0..members).map(|id| call(id, "eth_chainId", json!([]))).collect::<Vec<_>>())
    };
    for wording in [&size::DRPC_BATCH, &size::PROXYD_BATCH, &size::GETH_BATCH] {
        let cap = BatchCap { members: 3, more: BigBatch::Refused(wording) };
        let (provider, _) = provider(Policy { batch_cap: Some(cap), ..Policy::honest() });
        assert_eq!(read(&send(&provider, &batch(3))).as_array().unwrap().len(), 3);
        refused(&send(&provider, &batch(4)), wording);
    }
    let cap = BatchCap { members: 3, more: BigBatch::Dropped };
    let (dropping, _) = provider(Policy { batch_cap: Some(cap), ..Policy::honest() });
    let answer = read(&send(&dropping, &batch(5)));
    let ids: Vec<&Value> = answer.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [0, 1, 2]);
    let (provider, _) = provider(Policy { body_cap: Some(200), ..Policy::honest() });
    assert_eq!(send(&provider, &batch(1)).status, 200);
    refused(&send(&provider, &batch(4)), &size::BODY);
    assert_eq!(read(&send(&provider, &json!([])))["error"]["message"], "empty batch");
}

#[test]
fn methods_overrides_or_everything_may_be_refused() {
    let policy = Policy {
        refused_methods: vec![("eth_getLogs", &entry::BSC_LOGS), ("eth_blockNumber", &entry::METHOD)],
        no_overrides: true,
        ..Policy::honest()
    };
    let (partial, _) = provider(policy);
    refused(&logs(&partial, 0, 9), &entry::BSC_LOGS);
    refused(&send(&partial, &call(1, "eth_blockNumber", json!([]))), &entry::METHOD);
    assert_eq!(ask(&partial, "eth_chainId", json!([]))["result"], "0x7");
    let lent =
        json!([{ "to": EMITTER, "input": "0x" }, "latest", { format!("{EMITTER}"): { "code": "0x00" } }]);
    refused(&send(&partial, &call(1, "eth_call", lent)), &size::NO_OVERRIDES);
    assert_eq!(
        ask(&partial, "eth_call", json!([{ "to": EMITTER, "input": "0x" }, "latest"]))["result"],
        "0x"
    );
    for wording in entry::ALL {
        let (closed, _) = provider(Policy { refuses_all: Some(wording), ..Policy::honest() });
        refused(&send(&closed, &call(1, "eth_chainId", json!([]))), wording);
    }
}

#[test]
fn calls_with_lent_code_or_without_to_may_be_refused_or_not_heeded() {
    let calls =
        vec![protocols::Call { key: "k".into(), item: String::new(), to: EMITTER, input: Bytes::new() }; 2];
    let lent = json!([
        { "to": MULTICALL3, "data": multicall::encode(&calls) },
        "latest",
        multicall::state_override()
    ]);
    let bare = json!([{ "data": multicall::deployless(&calls) }, "latest"]);
    let with = |policy: Policy| {
        let chain = SimChain::new(7, 0..=9, Clock::every(12, 0..=9, 1_700_000_000).unwrap()).unwrap();
        let clock: Arc<dyn TimeOfDay> = Arc::new(ManualClock::at(EVENING));
        Provider::new(&Arc::new(chain.with_multicall3_from(None)), policy, &clock)
    };
    let asked = |policy: Policy, params: &Value| send(&with(policy), &call(1, "eth_call", params.clone()));
    let answered = |reply: &Reply| {
        let data: Bytes = serde_json::from_value(read(reply)["result"].clone()).unwrap();
        multicall::decode(&data, 2).map(|answers| answers == [(true, Bytes::new()), (true, Bytes::new())])
    };
    for params in [&lent, &bare] {
        assert_eq!(answered(&asked(Policy::honest(), params)), Ok(true));
        for wording in [&size::GAS, &size::TIME, &size::RETURN] {
            refused(&asked(Policy { call_cap: Some((1, wording)), ..Policy::honest() }, params), wording);
            let enough = Policy { call_cap: Some((2, wording)), ..Policy::honest() };
            assert_eq!(answered(&asked(enough, params)), Ok(true));
        }
    }
    let no_deployless = Policy { no_deployless: true, ..Policy::honest() };
    refused(&asked(no_deployless.clone(), &bare), &size::NO_DEPLOYLESS);
    assert_eq!(answered(&asked(no_deployless, &lent)), Ok(true));
    let empty = asked(Policy { empty_deployless: true, ..Policy::honest() }, &bare);
    assert_eq!(read(&empty)["result"], "0x");
    let deaf = asked(Policy { ignores_overrides: true, ..Policy::honest() }, &lent);
    assert_eq!(read(&deaf)["result"], "0x");
}

fn limited(per_second: u64, over: Over) -> Policy {
    let per_second = Some(PerSecond { units: per_second, burst: per_second, over });
    Policy { limits: Limits { prices: Prices::ALCHEMY, per_second, quota: None }, ..Policy::honest() }
}

#[test]
fn a_rate_limit_is_told_by_status_by_body_or_inside_a_batch() {
    for wording in rate::ALL {
        let (provider, clock) = provider(limited(100, Over::by_status(wording)));
        assert_eq!(logs(&provider, 0, 9).status, 200);
        let over = logs(&provider, 0, 9);
        assert_eq!(over.status, wording.status, "{}", wording.name);
        match wording.bare {
            Some(bare) => assert_eq!(String::from_utf8(over.body).unwrap(), bare),
            None => drop(refused(&over, wording)),
        }
        // 40 units are left and 60 needed.
        clock.advance(Duration::from_millis(200));
        assert_eq!(places(&logs(&provider, 0, 9)), [(0, 0)], "{}", wording.name);
    }

    let hinting = Over { wording: &rate::ALCHEMY, by: By::Status, retry_after: true };
    let (hinted, _) = provider(limited(60, hinting));
    assert_eq!(logs(&hinted, 0, 9).header("retry-after"), None);
    assert_eq!(logs(&hinted, 0, 9).header("retry-after"), Some("1"));

    let by_body = Over { wording: &rate::ALCHEMY, by: By::Body, retry_after: false };
    let (quiet, _) = provider(limited(60, by_body));
    assert_eq!(logs(&quiet, 0, 9).status, 200);
    let over = logs(&quiet, 0, 9);
    assert_eq!((over.status, read(&over)["error"]["code"].clone()), (200, json!(429)));

    let batch = Value::from((0..4).map(|id| call(id, "eth_getLogs", scan(0, 9))).collect::<Vec<_>>());
    let (whole, _) = provider(limited(180, Over::by_status(&rate::ALCHEMY)));
    let over = send(&whole, &batch);
    assert_eq!(
        (over.status, read(&over)["id"].clone()),
        (429, Value::Null),
        "one object for all of the batch"
    );
    assert_eq!(whole.account().spent().units, 0);

    let by_member = Over { wording: &rate::ALCHEMY, by: By::Member, retry_after: false };
    let (partly, _) = provider(limited(180, by_member));
    let reply = send(&partly, &batch);
    let answers = read(&reply);
    assert_eq!(reply.status, 200);
    assert!((0..3).all(|at| answers[at]["result"].is_array()));
    assert_eq!((&answers[3]["error"]["code"], &answers[3]["id"]), (&json!(429), &json!(3)));
    assert_eq!(partly.account().spent().units, 180);
    assert_eq!(logs(&partly, 0, 9).status, 429, "alone it is the status");
}

#[test]
fn a_month_that_is_used_up_stays_so_until_the_next() {
    for wording in quota::ALL {
        for by in [By::Status, By::Body] {
            let over = Over { wording, by, retry_after: false };
            let month = Some(Quota { units: 150, period: Period::Month, over });
            let limits = Limits { prices: Prices::ALCHEMY, per_second: None, quota: month };
            let (provider, clock) = provider(Policy { limits, ..Policy::honest() });
            assert_eq!([logs(&provider, 0, 9).status, logs(&provider, 0, 9).status], [200, 200]);
            let over = logs(&provider, 0, 9);
            assert_eq!(over.status, if by == By::Body { 200 } else { wording.status });
            if by == By::Body {
                assert_eq!(read(&over)["error"]["code"], wording.code);
            }
            assert_eq!(
                ask(&provider, "eth_chainId", json!([]))["result"],
                "0x7",
                "what costs nothing goes on"
            );
            clock.advance(Duration::from_secs(599));
            assert_ne!(read(&logs(&provider, 0, 9))["result"], json!([]));
            assert_eq!(provider.account().spent().units_of_period, 120);
            clock.advance(Duration::from_secs(1));
            assert_eq!(places(&logs(&provider, 0, 9)), [(0, 0)], "it is January");
        }
    }
}

#[test]
fn what_is_charged_is_what_the_price_list_says() {
    let cap = Some(SpanCap { limit: 10, told: None, wording: &span::ALCHEMY_FREE });
    let charged = |prices, fault, to| {
        let limits = Limits { prices, ..Limits::default() };
        let policy = Policy { span_cap: cap, limits, fail_every: fault, ..Policy::honest() };
        let (provider, _) = provider(policy);
        logs(&provider, 0, to);
        provider.account().spent().units
    };
    for (what, fault, to, alchemy, infura) in [
        ("an answer", None, 9, 60, 255),
        ("a refused window", None, 99, 60, 5),
        ("a 429", Some((1, Fault::TooManyRequests)), 9, 0, 0),
        ("a 500", Some((1, Fault::InternalError)), 9, 60, 0),
        ("a cut body", Some((1, Fault::CutBody)), 9, 60, 255),
    ] {
        assert_eq!(charged(Prices::ALCHEMY, fault, to), alchemy, "{what}");
        assert_eq!(charged(Prices::INFURA, fault, to), infura, "{what}");
    }
    let (batched, _) = provider(Policy {
        limits: Limits { prices: Prices::INFURA, ..Limits::default() },
        ..Policy::honest()
    });
    send(&batched, &json!([call(1, "eth_getLogs", scan(0, 9)), call(2, "eth_chainId", json!([]))]));
    assert_eq!(batched.account().spent().units, 255 + 80 + 80, "the members and the batch");
}

#[test]
fn providers_of_one_key_share_what_it_has() {
    let clock: Arc<dyn TimeOfDay> = Arc::new(ManualClock::at(EVENING));
    let over = Over::by_status(&quota::ALCHEMY);
    let quota = Some(Quota { units: 120, period: Period::Month, over });
    let limits = Limits { prices: Prices::ALCHEMY, per_second: None, quota };
    let key = Arc::new(Account::new(limits, Arc::clone(&clock)));
    let chains: Vec<Provider> =
        (0..3).map(|_| Provider::new(&chain(), Policy::honest(), &clock).with_account(&key)).collect();
    let statuses: Vec<u16> = chains.iter().map(|provider| logs(provider, 0, 9).status).collect();
    assert_eq!(statuses, [200, 200, 403]);
    assert_eq!(key.spent().units, 120);
}

#[test]
fn every_fault_looks_like_itself() {
    let whole = logs(&provider(Policy::honest()).0, 0, 999);
    for fault in Fault::ALL {
        let (provider, _) = provider(Policy::failing(1, fault));
        let reply = logs(&provider, 0, 999);
        let (status, end) = match fault {
            Fault::TooManyRequests => (429, End::Whole),
            Fault::InternalError => (500, End::Whole),
            Fault::BadGateway => (502, End::Whole),
            Fault::Unavailable => (503, End::Whole),
            Fault::GatewayTimeout => (504, End::Whole),
            Fault::CutBody => (200, End::Broken { after: whole.body.len() / 2 }),
            Fault::HalfBody | Fault::EmptyBody | Fault::Html | Fault::Nameless => (200, End::Whole),
            Fault::Reset => (200, End::Reset),
            Fault::Hang => (200, End::Never),
        };
        assert_eq!((reply.status, reply.end), (status, end), "{fault:?}");
        let answer = serde_json::from_slice::<Value>(&reply.body).ok();
        let good = answer.as_ref().is_some_and(|answer| answer["result"].is_array());
        assert_eq!(good, fault == Fault::CutBody, "{fault:?}");
        match fault {
            Fault::HalfBody => assert!(whole.body.starts_with(&reply.body)),
            Fault::Html => assert_eq!(reply.header("content-type"), Some("text/html")),
            Fault::Nameless => assert_eq!(answer.unwrap()["id"], Value::Null),
            _ => {}
        }
    }
}

#[test]
fn an_outage_begins_and_ends() {
    let outage =
        Outage { from: Duration::from_secs(10), to: Duration::from_secs(20), fault: Fault::Unavailable };
    let (provider, clock) = provider(Policy { outages: vec![outage], ..Policy::honest() });
    let statuses: Vec<u16> = (0..5)
        .map(|_| {
            let status = logs(&provider, 0, 9).status;
            clock.advance(Duration::from_secs(5));
            status
        })
        .collect();
    assert_eq!(statuses, [200, 200, 503, 503, 200]);
}

#[test]
fn most_answers_are_quick_and_a_few_are_not() {
    let latency =
        Latency { usual: Duration::from_millis(80), slow_per_mille: 50, slow: Duration::from_secs(20) };
    let (provider, _) = provider(Policy { latency, ..Policy::honest() });
    let delays: Vec<Duration> = (0..1_000).map(|block| logs(&provider, block, block).delay).collect();
    let slow = delays.iter().filter(|delay| **delay == latency.slow).count();
    assert!((25..80).contains(&slow), "{slow} of 1000");
    assert_eq!(delays.iter().filter(|delay| **delay == latency.usual).count(), 1_000 - slow);
}

/// A provider with all the chance there is.
fn moody(seed: u64) -> Policy {
    Policy {
        fails: FaultRate { per_mille: 300, among: Fault::ALL.to_vec() },
        latency: Latency {
            usual: Duration::from_millis(80),
            slow_per_mille: 100,
            slow: Duration::from_secs(9),
        },
        second_head_lag: Some(50),
        shuffles_logs: true,
        missing_logs_per_mille: 50,
        ..Policy::honest()
    }
    .with_seed(seed)
}

#[test]
fn one_seed_gives_one_set_of_answers_in_any_order_and_with_any_ids() {
    let windows: Vec<u64> = (0..200).collect();
    let answers = |seed, order: &[u64], first_id: u64| {
        let (provider, _) = provider(moody(seed));
        let mut answers: Vec<(u64, u32, Reply)> = Vec::new();
        for (nth, window) in order.iter().enumerate() {
            for attempt in 0..3 {
                let id = first_id + nth as u64;
                let body = call(id, "eth_getLogs", scan(window * 50, window * 50 + 49));
                let mut reply = send(&provider, &body);
                let text = String::from_utf8(reply.body).unwrap();
                // A cut body may or may not reach its id; where it does the id is all that differs.
                reply.body = text.replace(&format!("\"id\":{id},"), "").into_bytes();
                if matches!(reply.end, End::Broken { .. }) {
                    reply.end = End::Broken { after: 0 };
                }
                answers.push((*window, attempt, reply));
            }
        }
        answers.sort_by_key(|(window, attempt, _)| (*window, *attempt));
        answers
    };
    let once = answers(1, &windows, 1_000);
    assert_eq!(once, answers(1, &windows, 1_000));
    let backwards: Vec<u64> = windows.iter().rev().copied().collect();
    assert_eq!(once, answers(1, &backwards, 5_000));
    assert_ne!(once, answers(2, &windows, 1_000));
    let attempts = |window| once.iter().filter(move |(of, ..)| *of == window).map(|(.., reply)| reply);
    assert!(
        windows.iter().any(|window| attempts(*window).any(|reply| reply.status != 200)
            && attempts(*window).any(|reply| reply.status == 200)),
        "a retry may succeed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_carrier_takes_its_time_and_breaks_as_connections_do() {
    let clock: Arc<dyn TimeOfDay> = Arc::new(TokioClock::at(EVENING));
    let body = || call(1, "eth_getLogs", scan(0, 9)).to_string().into_bytes();
    let carrier = |policy| Arc::new(Provider::new(&chain(), policy, &clock)).carrier();

    let latency = Latency { usual: Duration::from_secs(3_600), ..Latency::default() };
    let before = tokio::time::Instant::now();
    let (status, headers, bytes) = carrier(Policy { latency, ..Policy::honest() })(body()).await.unwrap();
    assert_eq!((status, before.elapsed()), (200, Duration::from_secs(3_600)));
    assert_eq!(headers, [("content-type".to_owned(), "application/json".to_owned())]);
    assert!(serde_json::from_slice::<Value>(&bytes).unwrap()["result"].is_array());

    let kind = |fault| {
        let carrier = carrier(Policy::failing(1, fault));
        async move { carrier(body()).await.unwrap_err().kind() }
    };
    assert_eq!(kind(Fault::CutBody).await, std::io::ErrorKind::UnexpectedEof);
    assert_eq!(kind(Fault::Reset).await, std::io::ErrorKind::ConnectionReset);
    let hanging = carrier(Policy::failing(1, Fault::Hang));
    tokio::time::timeout(Duration::from_secs(86_400), hanging(body())).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_month_at_the_full_rate_passes_in_a_moment_and_is_counted_to_the_unit() {
    let clock: Arc<dyn TimeOfDay> = Arc::new(TokioClock::at(1_733_029_200));
    let provider = Arc::new(Provider::new(&chain(), limited(500, Over::by_status(&rate::ALCHEMY)), &clock));
    let carrier = provider.carrier();
    let began = tokio::time::Instant::now();
    for nth in 0..20_000_u64 {
        let from = nth % 999 * 10;
        let body = call(nth, "eth_getLogs", scan(from, from + 9)).to_string().into_bytes();
        let (status, ..) = carrier(body).await.unwrap();
        assert_eq!(status, 200, "request {nth}: exactly the rate is never too fast");
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    assert_eq!(began.elapsed(), Duration::from_secs(2_400));
    let (spent, tally) = (provider.account().spent(), provider.tally());
    assert_eq!((spent.units, spent.let_in, spent.too_fast), (1_200_000, 20_000, 0));
    assert_eq!((tally.methods["eth_getLogs"], tally.statuses[&200]), (20_000, 20_000));
}

#[test]
fn every_preset_answers_or_refuses_but_never_says_nothing() {
    for preset in PRESETS {
        let (provider, _) = provider(preset.policy());
        for (from, to) in [(0, 9), (0, 9_999), (9_990, 9_999), (9_990, 10_500)] {
            let reply = logs(&provider, from, to);
            assert!(reply.status >= 200 && !matches!(reply.end, End::Never), "{} {from}", preset.name);
        }
    }
}

// Over HTTP: what only a socket can show.

async fn post(server: &Server, body: &Value) -> Result<(reqwest::StatusCode, String), reqwest::Error> {
    let client = reqwest::Client::builder().timeout(Duration::from_millis(500)).build()?;
    let response = client.post(server.url()).body(body.to_string()).send().await?;
    let status = response.status();
    Ok((status, response.text().await?))
}

#[tokio::test]
async fn over_http_connections_break_hang_and_take_their_time() {
    let body = call(1, "eth_getLogs", scan(0, 999));
    let with = |policy| Server::spawn(&chain(), policy).unwrap();

    let reset = post(&with(Policy::failing(1, Fault::Reset)), &body).await.unwrap_err();
    assert!(!reset.is_timeout() && reset.is_request(), "{reset:?}");
    let hang = post(&with(Policy::failing(1, Fault::Hang)), &body).await.unwrap_err();
    assert!(hang.is_timeout(), "{hang:?}");
    let (status, half) = post(&with(Policy::failing(1, Fault::HalfBody)), &body).await.unwrap();
    assert_eq!(status, 200);
    assert!(half.starts_with('{') && serde_json::from_str::<Value>(&half).is_err());
    let cut = post(&with(Policy::failing(1, Fault::CutBody)), &body).await.unwrap_err();
    assert!(cut.is_body() || cut.is_decode(), "{cut:?}");

    let latency = Latency { usual: Duration::from_millis(120), ..Latency::default() };
    let before = std::time::Instant::now();
    post(&with(Policy { latency, ..Policy::honest() }), &body).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn over_http_a_rate_limit_has_its_header_and_the_server_its_port() {
    let over = Over { wording: &rate::ALCHEMY, by: By::Status, retry_after: true };
    let clock: Arc<dyn TimeOfDay> = Arc::new(ManualClock::at(EVENING));
    let provider = Arc::new(Provider::new(&chain(), limited(60, over), &clock));
    let server = Server::serve(Arc::clone(&provider), 0).unwrap();
    let client = reqwest::Client::new();
    let send = || client.post(server.url()).body(call(1, "eth_getLogs", scan(0, 9)).to_string()).send();
    assert_eq!(send().await.unwrap().status(), 200);
    let refused = send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(provider.tally().requests, 2);
    assert!(server.bodies().is_empty(), "nobody asked to keep them");

    let port: u16 = server.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    assert!(Server::serve(provider, port).is_err(), "the port is taken");
}
