//! Every way to make many calls, at a real node: anvil, from npm.

use extract::reads::{At, BatchAnswer, JsonBatches, ReadMemory, Reader};
use extract::rpc::pool::{Pool, PoolError};
use extract::rpc::providers::Providers;
use extract::rpc::tally::Purpose;
use futures::future::BoxFuture;
use lake::bronze::CallRecord;
use lake::registry::Chain;
use lake::{Address, Bytes};
use protocols::{Call, multicall};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use testkit::devnet::DEVNET_A;
use testkit::devnet::anvil::Anvil;
use testkit::devnet::artifacts::Artifacts;

const CONTRACT: Address = Address::repeat_byte(0x77);
const NOBODY: Address = Address::repeat_byte(0x0b);

/// Takes the first byte of its input for an order and the next two for a length. Order 1 returns so many bytes, which
/// begin with the input, 2 reverts with them, 3 is an invalid instruction, and any other returns nothing.
const CODE: &str = concat!(
    "0x",
    "366000600037",   // CALLDATACOPY(0, 0, CALLDATASIZE)
    "60013560f01c",   // the length
    "60003560f81c",   // the order
    "80600114602757", // 1
    "80600214602c57", // 2
    "600314603157",   // 3
    "00",             // STOP
    "5b506000f3",     // RETURN(0, length)
    "5b506000fd",     // REVERT(0, length)
    "5bfe",           // INVALID
);
const RETURN: u8 = 1;
const REVERT: u8 = 2;
const INVALID: u8 = 3;

fn call(to: Address, order: u8, length: u16) -> Call {
    let input = [&[order][..], &length.to_be_bytes(), &[9; 40]].concat();
    Call { key: "k".into(), item: format!("{order} {length}"), to, input: input.into() }
}

/// What `CODE` does, told in Rust.
fn truth(call: &Call) -> CallRecord {
    let length = usize::from(u16::from_be_bytes([call.input[1], call.input[2]]));
    let mut output = call.input.to_vec();
    output.resize(length, 0);
    match call.input[0] {
        _ if call.to == NOBODY => call.clone().answered(true, Bytes::new()),
        RETURN => call.clone().answered(true, output.into()),
        REVERT => call.clone().answered(false, output.into()),
        INVALID => call.clone().answered(false, Bytes::new()),
        _ => call.clone().answered(true, Bytes::new()),
    }
}

struct Batches {
    client: reqwest::Client,
    url: String,
}

impl JsonBatches for Batches {
    fn send<'s>(&'s self, calls: &'s [Call], at: At) -> BoxFuture<'s, Result<BatchAnswer, PoolError>> {
        Box::pin(async move {
            let member = |(id, call): (usize, &Call)| {
                let params = json!([{ "to": call.to, "data": call.input }, format!("{:#x}", at.block)]);
                json!({ "jsonrpc": "2.0", "id": id, "method": "eth_call", "params": params })
            };
            let body: Value = calls.iter().enumerate().map(member).collect();
            let post = self.client.post(&self.url).header("content-type", "application/json");
            let text = post.body(body.to_string()).send().await.unwrap().text().await.unwrap();
            let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
            let read = |id: usize| {
                let answer = answers.iter().find(|answer| answer["id"] == id).unwrap();
                let bytes = |value: &Value| serde_json::from_value::<Bytes>(value.clone()).ok();
                match bytes(&answer["result"]) {
                    Some(result) => Some((true, result)),
                    None => Some((false, bytes(&answer["error"]["data"])?)),
                }
            };
            Ok(BatchAnswer { members: (0..calls.len()).map(read).collect(), label: "anvil".into() })
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes anvil from npm: make test-anvil"]
async fn every_means_gives_the_same_answers_before_multicall3_was_deployed() {
    let npm = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("devnet-npm");
    let artifacts = Artifacts::fetch(&npm).unwrap();
    let states = tempfile::tempdir().unwrap();
    let node = Anvil::start(artifacts.anvil(), &DEVNET_A, states.path()).unwrap();
    let mut rpc = node.rpc();
    let mut ask = |method: &str, params: Value| rpc.call(method, params).unwrap();
    ask("anvil_setCode", json!([CONTRACT, CODE]));
    ask("anvil_mine", json!(["0x3"]));
    let code = Bytes::from_static(&multicall::RUNTIME);
    ask("anvil_setCode", json!([multicall::ADDRESS, code]));
    ask("anvil_mine", json!(["0x3"]));
    let (before, after) = (2, 5);
    assert_eq!(ask("eth_getCode", json!([multicall::ADDRESS, "0x2"])), "0x");
    assert_eq!(ask("eth_getCode", json!([multicall::ADDRESS, "0x5"])), json!(code));

    let chain = Chain {
        name: "anvil".into(),
        chain_id: DEVNET_A.chain_id,
        native_symbol: "ETH".into(),
        wrapped_native: None,
        is_l2: false,
        launch_date: None,
        block_seconds: 180.0,
        multicall3: Some(multicall::ADDRESS),
        multicall3_block: 4,
        finality_blocks: 0,
        source: "a test".into(),
        notes: String::new(),
    };
    let providers = states.path().join("providers.toml");
    let row = format!(
        "[[endpoint]]\nlabel = \"anvil\"\nchain = \"anvil\"\nurl = \"{}\"\nrequests_per_second = 10000.0\nsource = \"a test\"\n",
        node.url()
    );
    std::fs::write(&providers, row).unwrap();
    let providers = Providers::load(&providers, |_| None).unwrap();
    let pool = {
        let lake = lake::Lake::open("memory:///").unwrap();
        Pool::open(&chain, &providers, &lake, None).await.unwrap()
    };
    let batches = Batches { client: reqwest::Client::new(), url: node.url() };

    // Of everything a few; many long answers, 91,264 bytes; and twice what burns all the gas that it is given, so that
    // a batch with both of them fails as a whole.
    let of_everything = || {
        let orders = [(RETURN, 32), (REVERT, 68), (REVERT, 0), (RETURN, 0), (0, 0), (RETURN, 31)];
        let at = |to| orders.map(|(order, length)| call(to, order, length));
        [at(CONTRACT), at(NOBODY)].concat()
    };
    let long = || vec![call(CONTRACT, RETURN, 480); 150];
    let burning = || vec![call(CONTRACT, INVALID, 0); 2];
    let cases = [of_everything(), long(), [of_everything(), burning(), long()].concat()];
    for (case, calls) in cases.iter().enumerate() {
        let truth: Vec<CallRecord> = calls.iter().map(truth).collect();
        // Anvil's words for a plain call that burns its gas say nothing of a contract.
        let plain = case < 2;
        for (block, refused, requests) in [
            (after, json!([]), Some([2, 1, 27])),
            (before, json!([]), Some([2, 1, 27])),
            (before, json!(["by_override"]), Some([2, 1, 27])),
            (before, json!(["by_override", "deployless"]), plain.then_some([0, 0, 0])),
            (before, json!(["by_override", "deployless", "json_batch"]), plain.then_some([12, 150, 0])),
        ] {
            let Some(requests) = requests else { continue };
            let memory: ReadMemory = serde_json::from_value(json!({ "refused": refused })).unwrap();
            let memory = Arc::new(Mutex::new(memory));
            let reader = Reader::new(&pool, &chain).remembering(&memory).batching(&batches);
            let asked = |pool: &Pool| pool.asked()["anvil"].by_method().get("eth_call").copied().unwrap_or(0);
            let asked_before = asked(&pool);
            assert_eq!(
                reader.read(Purpose::Snapshot, calls.clone(), block).await.unwrap(),
                truth,
                "{case} {block} {refused}"
            );
            let asked = asked(&pool) - asked_before;
            assert_eq!(asked, requests[case], "requests of case {case}, block {block}, without {refused}");
        }
    }
}
