//! The simulated endpoint itself, asked over HTTP as any client would.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolCall;
use protocols::Call;
use protocols::multicall;
use protocols::token::IErc20;
use serde_json::{Value, json};
use std::sync::Arc;
use testkit::contracts::{AaveReserve, AaveV3, Price, Table};
use testkit::server::{Fault, Policy, Server, StrayLog};
use testkit::simchain::{Clock, Contracts, Emitted, MULTICALL3, SimChain};

const EMITTER: Address = Address::repeat_byte(0xaa);
const TOPIC: B256 = B256::repeat_byte(0x11);

fn chain() -> Arc<SimChain> {
    let log = |block, log_index, address| Emitted {
        block,
        tx_index: 1,
        log_index,
        address,
        topics: vec![TOPIC, B256::repeat_byte(2)],
        data: Bytes::from(vec![log_index as u8]),
    };
    let other = Address::repeat_byte(0xbb);
    let token = AaveReserve::new(Address::repeat_byte(5), "TOK", 6, 1_000, 100, Price::Reverts);
    let contracts: Vec<Box<dyn Contracts>> = vec![
        Box::new(AaveV3::named("x", vec![token])),
        Box::new(Table::default().with(other, vec![1, 2, 3, 4], Err(Bytes::from(vec![9, 9])))),
    ];
    let chain = SimChain::new(7, 0..=200, Clock::every(12, 0..=300, 1_700_000_000).unwrap())
        .unwrap()
        .with_finality(64)
        .with_multicall3_from(Some(100))
        .with_contracts(contracts)
        .with_logs([log(20, 0, EMITTER), log(20, 1, other), log(25, 4, EMITTER), log(60, 0, EMITTER)])
        .unwrap();
    Arc::new(chain)
}

async fn post(server: &Server, body: &Value) -> (u16, Value) {
    let response = reqwest::Client::new().post(server.url()).body(body.to_string()).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

async fn ask(server: &Server, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 42, "method": method, "params": params });
    let (status, answer) = post(server, &body).await;
    assert_eq!((status, &answer["id"]), (200, &json!(42)));
    answer
}

fn scan(from: u64, to: u64) -> Value {
    json!([{ "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}"),
        "address": [EMITTER], "topics": [[TOPIC]] }])
}

#[tokio::test]
async fn an_honest_endpoint_answers_as_a_node_does() {
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    assert_eq!(ask(&server, "eth_chainId", json!([])).await["result"], "0x7");
    assert_eq!(ask(&server, "eth_blockNumber", json!([])).await["result"], "0xc8");
    for (tag, number) in [("latest", 200), ("finalized", 136), ("safe", 168), ("earliest", 0), ("0x10", 16)] {
        let block = ask(&server, "eth_getBlockByNumber", json!([tag, false])).await["result"].clone();
        assert_eq!(block["number"], format!("{number:#x}"), "{tag}");
        let again = ask(&server, "eth_getBlockByHash", json!([block["hash"], false])).await;
        assert_eq!(again["result"], block);
    }
    let beyond = ask(&server, "eth_getBlockByNumber", json!(["0xc9", false])).await;
    assert_eq!(beyond.get("result"), Some(&Value::Null));
    let unknown = ask(&server, "eth_sendRawTransaction", json!(["0x"])).await;
    assert_eq!(unknown["error"]["code"], -32601);
    assert_eq!(server.count("eth_getBlockByNumber"), 6);
    assert!(server.bodies()[0].contains("eth_chainId"));
}

#[tokio::test]
async fn logs_come_by_filter_and_range() {
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    let logs = |answer: Value| answer["result"].as_array().unwrap().clone();
    let found = logs(ask(&server, "eth_getLogs", scan(0, 59)).await);
    assert_eq!(found.len(), 2);
    let log: lake::bronze::RawLog = serde_json::from_value(found[0].clone()).unwrap();
    assert_eq!((log.block_number, log.log_index, log.block_hash), (20, 0, server.chain().hash(20)));
    assert_eq!(found[0]["removed"], false);
    assert_eq!(found[0]["blockTimestamp"], format!("{:#x}", 1_700_000_240));

    let any = json!([{ "fromBlock": "0x14", "toBlock": "0x14", "topics": [null, [B256::repeat_byte(2)]] }]);
    assert_eq!(logs(ask(&server, "eth_getLogs", any).await).len(), 2);
    let by_hash = json!([{ "blockHash": server.chain().hash(20), "address": EMITTER }]);
    assert_eq!(logs(ask(&server, "eth_getLogs", by_hash).await).len(), 1);
    let backwards = ask(&server, "eth_getLogs", scan(9, 8)).await;
    assert_eq!(backwards["error"]["code"], -32602);
}

#[tokio::test]
async fn calls_answer_revert_or_return_nothing() {
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    let token = Address::repeat_byte(5);
    let decimals = Bytes::from(IErc20::decimalsCall {}.abi_encode());
    let call = |to: Address, input: &Bytes, block: Value| json!([{ "to": to, "input": input }, block]);

    let six = json!(Bytes::from(U256::from(6).to_be_bytes::<32>().to_vec()));
    for block in [json!("0x64"), json!("latest"), json!({ "blockHash": server.chain().hash(100) })] {
        assert_eq!(ask(&server, "eth_call", call(token, &decimals, block)).await["result"], six);
    }
    let nobody = call(Address::repeat_byte(0xcc), &decimals, json!("latest"));
    assert_eq!(ask(&server, "eth_call", nobody).await["result"], "0x");
    let reverts = call(Address::repeat_byte(0xbb), &Bytes::from(vec![1, 2, 3, 4]), json!("latest"));
    let error = ask(&server, "eth_call", reverts).await["error"].clone();
    assert_eq!((&error["code"], &error["data"]), (&json!(3), &json!("0x0909")));
    let bare = Server::spawn(&chain(), Policy { bare_reverts: true, ..Policy::honest() }).unwrap();
    let reverts = call(Address::repeat_byte(0xbb), &Bytes::from(vec![1, 2, 3, 4]), json!("latest"));
    let error = ask(&bare, "eth_call", reverts).await["error"].clone();
    assert_eq!((&error["code"], error.get("data")), (&json!(3), None));
    let beyond = ask(&server, "eth_call", call(token, &decimals, json!("0xc9"))).await;
    assert_eq!(beyond["error"]["message"], "header not found");

    let calls: Vec<Call> = [token, Address::repeat_byte(0xbb), Address::repeat_byte(0xcc)]
        .map(|to| Call { key: "k".into(), item: format!("{to}"), to, input: decimals.clone() })
        .into();
    let batch = multicall::encode(&calls);
    let answer = ask(&server, "eth_call", call(MULTICALL3, &batch, json!("0x64"))).await;
    let data: Bytes = serde_json::from_value(answer["result"].clone()).unwrap();
    let results = multicall::decode(&data, 3).unwrap();
    assert_eq!(json!(results[0].1), six);
    assert_eq!(results[1..], [(false, Bytes::new()), (true, Bytes::new())]);

    // Before Multicall3 was deployed its address is empty, unless the caller lends it code.
    let early = ask(&server, "eth_call", call(MULTICALL3, &batch, json!("0x63"))).await;
    assert_eq!(early["result"], "0x");
    let mut lent = call(MULTICALL3, &batch, json!("0x63"));
    lent.as_array_mut().unwrap().push(json!({ format!("{MULTICALL3}"): { "code": "0x60" } }));
    assert_eq!(ask(&server, "eth_call", lent).await["result"], json!(data));
    let code = |block: &str| json!([MULTICALL3, block]);
    assert_eq!(ask(&server, "eth_getCode", code("0x63")).await["result"], "0x");
    assert_ne!(ask(&server, "eth_getCode", code("0x64")).await["result"], "0x");

    let small = Server::spawn(&chain(), Policy { batch_calls: Some(2), ..Policy::honest() }).unwrap();
    let refused = ask(&small, "eth_call", call(MULTICALL3, &batch, json!("0x64"))).await;
    assert_eq!(refused["error"]["message"], "out of gas");
}

#[tokio::test]
async fn a_call_without_to_runs_a_batch_that_brings_multicall3_along() {
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    let calls = |count: usize, input: Bytes| -> Vec<Call> {
        let call = |at: usize| Call {
            key: "k".into(),
            item: at.to_string(),
            to: Address::repeat_byte(if at.is_multiple_of(2) { 5 } else { 0xbb }),
            input: input.clone(),
        };
        (0..count).map(call).collect()
    };
    let decimals = Bytes::from(IErc20::decimalsCall {}.abi_encode());
    // Block 50 has no Multicall3.
    let deployless = async |calls: &[Call]| {
        let params = json!([{ "data": multicall::deployless(calls) }, "0x32"]);
        ask(&server, "eth_call", params).await
    };
    let bytes = |value: &Value| serde_json::from_value::<Bytes>(value.clone()).unwrap();

    let few = calls(100, decimals.clone());
    let answers = multicall::decode(&bytes(&deployless(&few).await["result"]), 100).unwrap();
    assert_eq!(answers[0], (true, Bytes::from(U256::from(6).to_be_bytes::<32>().to_vec())));
    assert_eq!(answers[1], (false, Bytes::new()));

    // More than may be returned comes with a revert.
    let many = calls(200, decimals.clone());
    let error = deployless(&many).await["error"].clone();
    assert_eq!(error["code"], 3);
    let data = bytes(&error["data"]);
    assert!(data.len() > multicall::MOST_RETURNED);
    assert_eq!(multicall::decode(&data, 200).unwrap()[..100], answers);

    let most = multicall::deployless_fits(&calls(400, decimals.clone()));
    assert_eq!(deployless(&calls(most, decimals.clone())).await["error"]["code"], 3);
    let error = deployless(&calls(most + 1, decimals)).await["error"].clone();
    assert!(error["message"].as_str().unwrap().starts_with("max initcode size exceeded"), "{error}");

    // Code with a jump in it is more than the machine knows.
    let other = ask(&server, "eth_call", json!([{ "data": "0x600056" }, "0x32"])).await;
    assert_eq!(other["error"]["code"], -32602);
}

#[tokio::test]
async fn a_batch_is_answered_member_by_member() {
    let server = Server::spawn(&chain(), Policy::capped(10)).unwrap();
    let member =
        |id, method, params| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let batch = json!([
        member(1, "eth_chainId", json!([])),
        member(2, "eth_getLogs", scan(0, 50)),
        member(3, "nonsense", json!([])),
    ]);
    let (status, answers) = post(&server, &batch).await;
    assert_eq!(status, 200);
    assert_eq!(answers[0]["result"], "0x7");
    assert_eq!(answers[1]["error"]["code"], -32600);
    assert_eq!(answers[2]["error"]["code"], -32601);
    assert_eq!(server.count("eth_getLogs"), 1);
}

#[tokio::test]
async fn a_span_too_wide_is_refused_as_alchemy_does() {
    let server = Server::spawn(&chain(), Policy::capped(10)).unwrap();
    assert_eq!(ask(&server, "eth_getLogs", scan(16, 25)).await["result"].as_array().unwrap().len(), 2);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": scan(16, 26) });
    let (status, answer) = post(&server, &body).await;
    assert_eq!(status, 400);
    assert_eq!(answer["error"]["code"], -32600);
    assert_eq!(
        answer["error"]["message"],
        "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your \
         parameters, this block range should work: [0x10, 0x19]. Upgrade to PAYG for expanded block range."
    );
}

#[tokio::test]
async fn every_nth_request_fails_in_the_way_chosen() {
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x1", false] });
    for (fault, status) in [
        (Fault::TooManyRequests, 429),
        (Fault::InternalError, 500),
        (Fault::CutBody, 200),
        (Fault::Html, 200),
    ] {
        let server = Server::spawn(&chain(), Policy::failing(3, fault)).unwrap();
        for nth in 1..=6 {
            let sent = reqwest::Client::new().post(server.url()).body(body.to_string()).send().await.unwrap();
            let got = sent.status().as_u16();
            let text = sent.text().await;
            let read = text.as_ref().ok().and_then(|text| serde_json::from_str::<Value>(text).ok());
            let good = got == 200 && read.is_some_and(|answer| answer["result"]["number"] == "0x1");
            assert_eq!(good, nth % 3 != 0, "{fault:?} {nth} {text:?}");
            assert_eq!(got, if nth % 3 == 0 { status } else { 200 });
            assert_eq!(text.is_err(), nth % 3 == 0 && fault == Fault::CutBody, "{fault:?}: {text:?}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_can_lie() {
    let lying = |policy| Server::spawn(&chain(), policy).unwrap();
    let blocks = |answer: Value| -> Vec<String> {
        let logs = answer["result"].as_array().unwrap().clone();
        logs.iter().map(|log| log["blockNumber"].as_str().unwrap().to_owned()).collect()
    };

    let server = lying(Policy { claims_chain_id: Some(8453), ..Policy::honest() });
    assert_eq!(ask(&server, "eth_chainId", json!([])).await["result"], "0x2105");

    let server = lying(Policy { no_logs_before: Some(21), ..Policy::honest() });
    assert_eq!(blocks(ask(&server, "eth_getLogs", scan(0, 30)).await), ["0x19"]);
    assert!(blocks(ask(&server, "eth_getLogs", scan(0, 20)).await).is_empty());

    let server = lying(Policy { repeats_log: true, ..Policy::honest() });
    assert_eq!(blocks(ask(&server, "eth_getLogs", scan(0, 30)).await), ["0x14", "0x14", "0x19"]);

    let server = lying(Policy { stray_log: Some(StrayLog::OtherBlock), ..Policy::honest() });
    assert_eq!(blocks(ask(&server, "eth_getLogs", scan(0, 20)).await), ["0x14", "0x15"]);
    let server = lying(Policy { stray_log: Some(StrayLog::OtherContract), ..Policy::honest() });
    let answer = ask(&server, "eth_getLogs", scan(26, 30)).await;
    assert_eq!(answer["result"][0]["address"], json!(Address::repeat_byte(0xee)));
}

#[test]
fn a_dropped_endpoint_is_gone() {
    let server = Server::spawn(&chain(), Policy::honest()).unwrap();
    let address = server.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    std::net::TcpStream::connect(&address).unwrap();
    drop(server);
    std::net::TcpStream::connect(&address).unwrap_err();
}
