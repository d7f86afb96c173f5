use super::*;
use crate::rpc::endpoint::Refusal;
use crate::rpc::providers::Providers;
use proptest::prelude::*;
use serde_json::Value;
use testkit::server::dialects::{Wording, missing, size};
use testkit::server::policy::{Absent, Archive, BatchCap, BigBatch, Start};
use testkit::server::{Policy, Provider, Server};
use testkit::simchain::{Clock, Contracts, MULTICALL3, SimChain};

const CONTRACT: Address = Address::repeat_byte(0xc0);
const NOBODY: Address = Address::repeat_byte(0x0b);
/// Multicall3 is there from block 100 on.
const BEFORE: u64 = 50;
const AFTER: u64 = 150;

/// A contract that does what the first byte of its input says; any other byte is a revert with nothing.
struct Obedient;

const RETURNS_NOTHING: u8 = 0;
const RETURNS: u8 = 1;
const REVERTS: u8 = 2;

impl Contracts for Obedient {
    fn has_code(&self, to: Address, _: &lake::bronze::Header) -> bool {
        to == CONTRACT
    }

    fn call(&self, _: Address, input: &[u8], _: &lake::bronze::Header) -> Result<Bytes, Bytes> {
        let rest = || Bytes::copy_from_slice(&input[1..]);
        match input.first() {
            Some(&RETURNS_NOTHING) => Ok(Bytes::new()),
            Some(&RETURNS) => Ok(rest()),
            Some(&REVERTS) => Err(rest()),
            _ => Err(Bytes::new()),
        }
    }
}

fn call(to: Address, input: &[u8]) -> Call {
    Call { key: "k".into(), item: format!("{}", input.len()), to, input: Bytes::copy_from_slice(input) }
}

/// A call that returns so many bytes.
fn returning(length: usize) -> Call {
    call(CONTRACT, &[vec![RETURNS], vec![7; length]].concat())
}

fn small(count: usize) -> Vec<Call> {
    vec![returning(32); count]
}

/// What the contracts say, asked without a node.
fn truth(calls: &[Call]) -> Vec<CallRecord> {
    let chain = sim();
    let header = chain.header(BEFORE).unwrap();
    let answered = |call: &Call| match chain.call(call.to, &call.input, &header) {
        Ok(data) => call.clone().answered(true, data),
        Err(data) => call.clone().answered(false, data),
    };
    calls.iter().map(answered).collect()
}

fn sim() -> SimChain {
    SimChain::new(7, 0..=200, Clock::every(12, 0..=300, 1_700_000_000).unwrap())
        .unwrap()
        .with_multicall3_from(Some(100))
        .with_contracts(Obedient)
}

fn chain(multicall3: Option<Address>) -> Chain {
    Chain {
        name: "sim".into(),
        chain_id: 7,
        native_symbol: "ETH".into(),
        wrapped_native: None,
        is_l2: false,
        launch_date: None,
        block_seconds: 12.0,
        multicall3,
        multicall3_block: 100,
        finality_blocks: 0,
        source: "simulated".into(),
        notes: String::new(),
    }
}

/// The endpoints of these servers, in this order of trust.
async fn pool(servers: &[&Server]) -> Pool {
    let row = |(at, server): (usize, &&Server)| {
        format!(
            "[[endpoint]]\nlabel = \"e{at}\"\nchain = \"sim\"\nurl = \"{}\"\nrequests_per_second = 10000.0\nsource = \"a test\"\n",
            server.url()
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("providers.toml");
    std::fs::write(&file, servers.iter().enumerate().map(row).collect::<String>()).unwrap();
    let providers = Providers::load(&file, |_| None).unwrap();
    let lake = lake::Lake::open("memory:///").unwrap();
    Pool::open(&chain(None), &providers, &lake, None).await.unwrap()
}

/// Endpoints that take no batches at all.
struct NoBatches;

impl JsonBatches for NoBatches {
    fn send<'s>(&'s self, _: &'s [Call], _: At) -> BoxFuture<'s, Result<BatchAnswer, PoolError>> {
        let verdict = Verdict::NoMethod;
        let refusals = vec![Refusal { label: "e0".into(), verdict, text: "takes no batches".into() }];
        let refused = PoolError::Refused { chain: "sim".into(), method: "a batch".into(), refusals };
        Box::pin(std::future::ready(Err(refused)))
    }
}

/// A reader that sends no JSON-RPC batches.
fn reader_of<'a>(pool: &'a Pool, chain: &'a Chain) -> Reader<'a> {
    Reader::new(pool, chain).batching(&NoBatches)
}

fn serve(policy: Policy) -> Server {
    Server::spawn(&Arc::new(sim()), policy).unwrap()
}

fn deaf_to_both() -> Policy {
    Policy { no_overrides: true, no_deployless: true, ..Policy::honest() }
}

/// JSON-RPC batches to a provider, read as a pool would.
struct Batches(Arc<Provider>);

impl JsonBatches for Batches {
    fn send<'s>(&'s self, calls: &'s [Call], at: At) -> BoxFuture<'s, Result<BatchAnswer, PoolError>> {
        let member = |(id, call): (usize, &Call)| {
            let params = json!([{ "to": call.to, "data": call.input }, format!("{:#x}", at.block)]);
            json!({ "jsonrpc": "2.0", "id": id, "method": "eth_call", "params": params })
        };
        let body: Value = calls.iter().enumerate().map(member).collect();
        let reply = self.0.exchange(body.to_string().as_bytes());
        let reply: Value = serde_json::from_slice(&reply.body).unwrap();
        Box::pin(std::future::ready(match &reply {
            Value::Array(answers) => {
                let of = |id: usize| answers.iter().find(|answer| answer["id"] == id);
                let bytes = |value: &Value| serde_json::from_value::<Bytes>(value.clone()).unwrap();
                let read = |answer: &Value| match (&answer["result"], &answer["error"]["code"]) {
                    (Value::Null, code) if code == 3 => Some((false, bytes(&answer["error"]["data"]))),
                    (Value::Null, _) => None,
                    (result, _) => Some((true, bytes(result))),
                };
                let members = (0..calls.len()).map(|id| of(id).and_then(read)).collect();
                Ok(BatchAnswer { members, label: "batches".into() })
            }
            whole => {
                let text = whole["error"]["message"].as_str().unwrap().to_owned();
                let told =
                    text.split_once("more than ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                let is_size = told.is_some() || text.contains("too many");
                let verdict = if is_size { Verdict::SmallerBatch { at_most: told } } else { Verdict::Fatal };
                let refusal = Refusal { label: "batches".into(), verdict, text };
                Err(if is_size {
                    PoolError::SmallerBatch { refusal }
                } else {
                    let (chain, method) = ("sim".into(), "eth_call".into());
                    PoolError::Refused { chain, method, refusals: vec![refusal] }
                })
            }
        }))
    }
}

/// Reads and says how many HTTP requests it took.
async fn counted(reader: &Reader<'_>, server: &Server, calls: &[Call], block: u64) -> usize {
    let before = server.bodies().len();
    assert_eq!(reader.read(Purpose::Snapshot, calls.to_vec(), block).await.unwrap(), truth(calls));
    server.bodies().len() - before
}

fn any_call() -> impl Strategy<Value = Call> {
    let input = (0_u8..5, prop_oneof![0_usize..80, 400_usize..700]);
    (prop_oneof![4 => Just(CONTRACT), 1 => Just(NOBODY)], input)
        .prop_map(|(to, (what, length))| call(to, &[vec![what], vec![what; length]].concat()))
}

/// Where a means is the one that is taken.
fn ways() -> Vec<(&'static str, u64, Policy, bool)> {
    let no_override = Policy { no_overrides: true, ..Policy::honest() };
    let unheeding = Policy { ignores_overrides: true, empty_deployless: true, ..Policy::honest() };
    vec![
        ("by address", AFTER, Policy::honest(), false),
        ("by override", BEFORE, Policy::honest(), false),
        ("deployless", BEFORE, no_override, false),
        (
            "deployless, overrides not heeded",
            BEFORE,
            Policy { empty_deployless: false, ..unheeding.clone() },
            false,
        ),
        ("in JSON batches", BEFORE, deaf_to_both(), true),
        ("one by one", BEFORE, deaf_to_both(), false),
        ("one by one, nothing heeded", BEFORE, unheeding, false),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn records_do_not_depend_on_the_means_nor_on_the_size_of_the_batches(
        calls in proptest::collection::vec(any_call(), 1..170),
        cap in proptest::option::of((1_usize..40, proptest::sample::select(vec![&size::GAS, &size::TIME, &size::RETURN]))),
        members in proptest::option::of(1_usize..40),
    ) {
        let cap: Option<(usize, &'static Wording)> = cap;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let truth = truth(&calls);
        runtime.block_on(async {
            for (name, block, policy, in_batches) in ways() {
                let batch_cap =
                    members.map(|members| BatchCap { members, more: BigBatch::Refused(&size::DRPC_BATCH) });
                let server = serve(Policy { call_cap: cap, batch_cap, ..policy });
                let (pool, chain) = (pool(&[&server]).await, chain(Some(MULTICALL3)));
                let batches = Batches(Arc::clone(server.provider()));
                let mut reader = reader_of(&pool, &chain);
                if in_batches {
                    reader = reader.batching(&batches);
                }
                // The second time with what the first has taught; one by one that is nothing, and many requests.
                for _ in 0..if name.starts_with("one by one") { 1 } else { 2 } {
                    assert_eq!(reader.read(Purpose::Snapshot, calls.clone(), block).await.unwrap(), truth, "{name}");
                }
            }
        });
    }
}

/// A contract with a call of its own for each number: it fails the first time with what Multicall3 says of a call within
/// it, as one does that ran out of a batch's gas. Number 0 always fails so.
#[derive(Default)]
struct ShortOfGas(Mutex<BTreeSet<u8>>);

impl Contracts for ShortOfGas {
    fn has_code(&self, to: Address, _: &lake::bronze::Header) -> bool {
        to == CONTRACT
    }

    fn call(&self, _: Address, input: &[u8], _: &lake::bronze::Header) -> Result<Bytes, Bytes> {
        let is_first = self.0.lock().unwrap().insert(input[0]);
        if is_first || input[0] == 0 {
            return Err(call_failed());
        }
        Ok(Bytes::copy_from_slice(input))
    }
}

/// `Error(string)` with the words of Multicall3.
fn call_failed() -> Bytes {
    let reason = b"Multicall3: call failed";
    let mut data = vec![0x08, 0xc3, 0x79, 0xa0];
    for number in [32, reason.len()] {
        data.extend([0; 31]);
        data.push(u8::try_from(number).unwrap());
    }
    data.extend(reason);
    data.resize(4 + 3 * 32, 0);
    data.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_within_a_batch_that_failed_without_a_reason_is_asked_again() {
    let sim = SimChain::new(7, 0..=200, Clock::every(12, 0..=300, 1_700_000_000).unwrap())
        .unwrap()
        .with_multicall3_from(Some(100))
        .with_contracts(ShortOfGas::default());
    let server = Server::spawn(&Arc::new(sim), Policy::honest()).unwrap();
    let pool = pool(&[&server]).await;
    let chain = chain(Some(MULTICALL3));
    // One that answers at once, so that not the whole batch is in doubt.
    let calls = vec![call(NOBODY, &[9]), call(CONTRACT, &[1]), call(CONTRACT, &[0]), call(CONTRACT, &[2])];
    let records = reader_of(&pool, &chain).read(Purpose::Snapshot, calls, AFTER).await.unwrap();
    let found: Vec<(bool, usize)> = records.iter().map(|record| (record.ok, record.output.len())).collect();
    // What fails so by itself is an answer, as the contract gave it.
    assert_eq!(found, [(true, 0), (true, 1), (false, 100), (true, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_means_is_the_one_it_is_called() {
    for (name, block, policy, in_batches) in ways() {
        let server = serve(policy);
        let (pool, chain) = (pool(&[&server]).await, chain(Some(MULTICALL3)));
        let batches = Batches(Arc::clone(server.provider()));
        let mut reader = reader_of(&pool, &chain);
        if in_batches {
            reader = reader.batching(&batches);
        }
        let calls = small(40);
        let first = counted(&reader, &server, &calls, block).await;
        let second = counted(&reader, &server, &calls, block).await;
        let last: Value = serde_json::from_str(server.bodies().last().unwrap()).unwrap();
        let (refused, requests): (usize, usize) = match name {
            "by address" => (0, 1),
            "by override" => (0, 1),
            "in JSON batches" => (2, 1),
            _ if name.starts_with("deployless") => (1, 1),
            _ => (2, 40),
        };
        assert_eq!((first, second), (refused + requests, requests), "{name}");
        // Where nothing else is left, JSON batches were refused as well, by the reader's own hand.
        let all_refused = refused + usize::from(requests == 40);
        assert_eq!(reader.memory().refused().len(), all_refused, "{name}");
        let params = if last.is_array() { &last[0]["params"] } else { &last["params"] };
        let is_plain = params[0]["to"] == json!(CONTRACT);
        assert_eq!(is_plain, requests == 40 || in_batches, "{name}");
        assert_eq!(last.is_array(), in_batches);
        assert_eq!(params[2].is_object(), name == "by override");
        assert_eq!(params[0]["to"].is_null(), name.starts_with("deployless"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learnt_of_a_chain_saves_the_next_reader_the_refusals() {
    let server = serve(Policy { no_overrides: true, batch_calls: Some(40), ..Policy::honest() });
    let (pool, chain) = (pool(&[&server]).await, chain(Some(MULTICALL3)));
    let memory = Arc::default();
    let first = reader_of(&pool, &chain).remembering(&memory);
    // The override, then 150 and 75 calls are refused; 37 fit.
    assert_eq!(counted(&first, &server, &small(150), BEFORE).await, 3 + 5);
    let next = reader_of(&pool, &chain).remembering(&memory);
    assert_eq!(counted(&next, &server, &small(74), BEFORE).await, 2);
    let stored = serde_json::to_string(&*memory.lock().unwrap()).unwrap();
    let restored: ReadMemory = serde_json::from_str(&stored).unwrap();
    let of_another_run = reader_of(&pool, &chain).remembering(&Arc::new(Mutex::new(restored)));
    assert_eq!(counted(&of_another_run, &server, &small(20), BEFORE).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_the_state_teaches_nothing() {
    let archive = |before| Policy {
        state_from: Some(Archive { start: Start::Block(100), before }),
        ..Policy::honest()
    };
    // It says so: nothing else is tried.
    let server = serve(archive(Absent::Refused(&missing::TRIE)));
    let (loud, chain) = (pool(&[&server]).await, chain(None));
    let reader = reader_of(&loud, &chain);
    let error = reader.read(Purpose::Snapshot, small(3), BEFORE).await.unwrap_err();
    assert_eq!(error.reason(), lake::status::Reason::NoArchive);
    assert_eq!(server.count("eth_call"), 1);
    // It answers with nothing: the calls are missing, and the means are not to blame.
    let server = serve(archive(Absent::Empty));
    let silent = pool(&[&server]).await;
    let reader = reader_of(&silent, &chain);
    let records = reader.read(Purpose::Snapshot, small(3), BEFORE).await.unwrap();
    assert!(records.iter().all(|record| record.ok && record.output.is_empty()));
    assert_eq!(*reader.memory(), ReadMemory::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_endpoints_the_one_that_knows_overrides_is_enough() {
    let (without, with) = (serve(deaf_to_both()), serve(Policy::honest()));
    let (pool, chain) = (pool(&[&without, &with]).await, chain(None));
    let reader = reader_of(&pool, &chain);
    counted(&reader, &with, &small(10), BEFORE).await;
    assert_eq!(reader.labels(), BTreeSet::from(["e1".to_owned()]));
    assert_eq!(*reader.memory(), ReadMemory::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_too_large_by_itself_is_an_error_and_no_verdict_on_the_batches() {
    for wording in [&size::GAS, &size::TIME, &size::RETURN] {
        let server = serve(Policy { call_cap: Some((0, wording)), ..Policy::honest() });
        let (pool, chain) = (pool(&[&server]).await, chain(Some(MULTICALL3)));
        for block in [BEFORE, AFTER] {
            let reader = reader_of(&pool, &chain);
            let error = reader.read(Purpose::Snapshot, small(20), block).await.unwrap_err();
            assert!(matches!(error, PoolError::SmallerBatch { .. }), "{error}");
            assert_eq!(*reader.memory(), ReadMemory::default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_multicall3_that_is_none_is_left_for_the_next_means() {
    // The registry names a contract that reverts whatever it is asked.
    let server = serve(Policy::honest());
    let (pool, chain) = (pool(&[&server]).await, chain(Some(CONTRACT)));
    let reader = reader_of(&pool, &chain);
    // 150, 75, 37, 18, 9, 4, 2 and 1 revert; then one call alone and 149 by override.
    assert_eq!(counted(&reader, &server, &small(150), AFTER).await, 8 + 1 + 1);
    assert_eq!(reader.memory().refused(), &BTreeSet::from([Means::ByAddress]));
    assert_eq!(counted(&reader, &server, &small(150), AFTER).await, 1);
}

#[test]
fn a_bad_moment_costs_no_means() {
    let smaller = |verdict| {
        let refusal = Refusal { label: "e".into(), verdict, text: String::new() };
        PoolError::SmallerBatch { refusal }
    };
    let gas = || smaller(Verdict::SmallerBatch { at_most: None });
    let time = || smaller(Verdict::TookTooLong);
    for (means, error, expected) in [
        (Means::ByAddress, PoolError::Revert(Bytes::new()), true),
        (Means::ByAddress, gas(), false),
        (Means::ByAddress, time(), false),
        (Means::Deployless, PoolError::Revert(Bytes::new()), true),
        (Means::Deployless, gas(), true),
        (Means::Deployless, time(), false),
    ] {
        assert_eq!(is_too_much_for_one(means, &error), expected, "{means:?} {error}");
        assert_eq!(asks_for_less(means, &error), Some(None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_comes_back_by_revert_or_in_pieces() {
    let calls = vec![returning(480); 60];
    let chain = chain(None);
    let whole = serve(Policy { no_overrides: true, ..Policy::honest() });
    let reached = pool(&[&whole]).await;
    assert_eq!(counted(&reader_of(&reached, &chain), &whole, &calls, BEFORE).await, 1 + 1);
    // A node that loses the data of reverts: 60 calls are 36,544 bytes, 30 may be returned.
    let losing = serve(Policy { no_overrides: true, bare_reverts: true, ..Policy::honest() });
    let reached = pool(&[&losing]).await;
    assert_eq!(counted(&reader_of(&reached, &chain), &losing, &calls, BEFORE).await, 1 + 1 + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fits_no_init_code_is_made_by_itself() {
    let server = serve(Policy { no_overrides: true, ..Policy::honest() });
    let (pool, chain) = (pool(&[&server]).await, chain(None));
    let reader = reader_of(&pool, &chain);
    // As many as fit before the long one, the long one with what follows, the rest.
    let calls = [small(10), vec![returning(50_000)], small(10)].concat();
    counted(&reader, &server, &calls, BEFORE).await;
    assert!(!reader.memory().refused().contains(&Means::Deployless));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_batch_takes_the_size_that_is_told_and_asks_alone_for_what_was_dropped() {
    let chain = chain(None);
    for (more, requests) in [
        // Two refused means; 50 refused with the number 3; 4 batches.
        (BigBatch::Refused(&size::DRPC_BATCH), 2 + 1 + 4),
        // Two refused means; 3 members answered, 7 asked alone.
        (BigBatch::Dropped, 2 + 1 + 7),
    ] {
        let server = serve(Policy { batch_cap: Some(BatchCap { members: 3, more }), ..deaf_to_both() });
        let (pool, batches) = (pool(&[&server]).await, Batches(Arc::clone(server.provider())));
        let reader = reader_of(&pool, &chain).batching(&batches);
        assert_eq!(counted(&reader, &server, &small(10), BEFORE).await, requests);
    }
    // No batches at all, in words that say so or in words about their size.
    for wording in [&size::GETH_BATCH, &size::PROXYD_BATCH] {
        let none = BatchCap { members: 0, more: BigBatch::Refused(wording) };
        let server = serve(Policy { batch_cap: Some(none), ..deaf_to_both() });
        let (pool, batches) = (pool(&[&server]).await, Batches(Arc::clone(server.provider())));
        let reader = reader_of(&pool, &chain).batching(&batches);
        counted(&reader, &server, &small(10), BEFORE).await;
        assert!(reader.memory().refused().contains(&Means::JsonBatch));
        assert_eq!(counted(&reader, &server, &small(10), BEFORE).await, 10);
    }
}

#[tokio::test]
async fn the_pool_itself_sends_json_batches_in_parts_as_large_as_the_endpoint_takes() {
    for more in [BigBatch::Refused(&size::GETH_BATCH), BigBatch::Dropped] {
        let server = serve(Policy { batch_cap: Some(BatchCap { members: 8, more }), ..deaf_to_both() });
        let (pool, chain) = (pool(&[&server]).await, chain(None));
        let calls = small(20);
        let reader = Reader::new(&pool, &chain);
        let records = reader.read(Purpose::Snapshot, calls.clone(), BEFORE).await.unwrap();
        assert_eq!(records, truth(&calls));
        assert_eq!(reader.labels(), BTreeSet::from(["e0".to_owned()]));
        let members = pool.endpoints[0].most_members("eth_call");
        assert!((5..=8).contains(&members), "{members}");
    }
}
