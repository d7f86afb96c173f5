use super::*;
use crate::rpc::secret::Scrubber;
use crate::rpc::wire::Reply;
use alloy_json_rpc::{Id, ResponsePacket, ResponsePayload};
use proptest::prelude::*;
use std::path::Path;

const CALL: &str = "eth_call";
const LOGS: &str = "eth_getLogs";

/// What the wire and the classifier make of a body: the way of every refusal, from bytes to verdict.
fn of_body(method: &str, status: u16, retry_after: Option<Duration>, body: &str) -> Verdict {
    let id = Id::Number(1);
    let reply = Reply::read(status, retry_after, body.as_bytes(), Some(&id), &Scrubber::default());
    let error = match reply.and_then(Reply::with_its_status) {
        Err(error) => TransportErrorKind::custom(error),
        Ok(ResponsePacket::Single(response)) => match response.payload {
            ResponsePayload::Failure(payload) => RpcError::ErrorResp(payload),
            ResponsePayload::Success(result) => panic!("no refusal: {result}"),
        },
        Ok(ResponsePacket::Batch(_)) => panic!("no single response"),
    };
    verdict(method, &error)
}

fn refusal(method: &str, status: u16, code: i64, message: &str, data: Value) -> Verdict {
    let error = match data {
        Value::Null => serde_json::json!({ "code": code, "message": message }),
        data => serde_json::json!({ "code": code, "message": message, "data": data }),
    };
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "error": error });
    of_body(method, status, None, &body.to_string())
}

fn policy(at_most: u64) -> Verdict {
    Verdict::FewerBlocks { at_most: Some(at_most), lasts: true }
}

fn density(at_most: impl Into<Option<u64>>) -> Verdict {
    Verdict::FewerBlocks { at_most: at_most.into(), lasts: false }
}

const BLIND_POLICY: Verdict = Verdict::FewerBlocks { at_most: None, lasts: true };

fn wait(milliseconds: u64) -> Verdict {
    Verdict::TooFast { wait: Some(Duration::from_millis(milliseconds)) }
}

const TOO_FAST: Verdict = Verdict::TooFast { wait: None };

fn park(until: ParkUntil) -> Verdict {
    Verdict::Park { until }
}

const ALCHEMY_10: &str = "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x1180fca, 0x1180fd3]. Upgrade to PAYG for expanded block range.";
const ALCHEMY_OFFERS: &str = "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, or you can request any block range with a cap of 10K logs in the response. Based on your parameters and the response size limit, this block range should work: [0x0, 0xd043b8]";
const ALCHEMY_TIMEOUT: &str = "Query timeout exceeded. Consider reducing your block range. Based on your parameters and the response size limit, this block range should work: [0x5223c98, 0x5223e80]";
const ALCHEMY_RATE: &str = "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can safely ignore this message. If not, check out https://docs.alchemy.com/reference/throughput";
const GNOSIS: &str =
    "Query returned more than 50000 results. Try with this block range [0x1000000, 0x1080000].";
const PUBLICNODE_ARCHIVE: &str =
    "Archive requests require a personal token. Get one at: https://www.allnodes.com/publicnode";

/// facts/rpc_providers.md §5: every row with a JSON-RPC error, in its order. Where a row says no method, it is tried
/// with the one that it concerns.
#[test]
fn every_row_of_the_fixture_table() {
    let json = serde_json::Value::from;
    let none = Value::Null;
    let infura = serde_json::json!({ "from": "0xBDE5F8", "limit": 10000, "to": "0x102DBCC" });
    let hint = serde_json::json!({ "try_again_in": "560.270157ms" });
    let infura_402 = r#"{"code":402,"event":-33000,"message":"Payment Required"}"#;
    let rows: Vec<(&str, u16, i64, &str, Value, Verdict)> = vec![
        (LOGS, 400, -32600, ALCHEMY_10, none.clone(), policy(10)),
        (LOGS, 400, -32602, ALCHEMY_OFFERS, none.clone(), density(0xd0_43b9)),
        (LOGS, 400, -32000, ALCHEMY_TIMEOUT, none.clone(), density(0x1e9)),
        (LOGS, 200, -32602, "range 1000000 exceeds limit of 10000", none.clone(), policy(10_000)),
        (
            LOGS,
            200,
            -32005,
            "query returned more than 10000 results",
            infura,
            density(0x102_dbcc - 0xbd_e5f8 + 1),
        ),
        (LOGS, 200, -32005, "limit exceeded", none.clone(), density(None)),
        (CALL, 200, -32005, "limit exceeded", none.clone(), TOO_FAST),
        (
            LOGS,
            200,
            -32005,
            "You've exceeded the RPS limit available on the current plan",
            hint.clone(),
            wait(561),
        ),
        (CALL, 429, -32005, "You've exceeded the RPS limit available on the current plan", hint, wait(561)),
        (LOGS, 413, -32614, "eth_getLogs is limited to a 10,000 range", none.clone(), policy(10_000)),
        (LOGS, 200, -32614, "eth_getLogs is limited to a 10,000 range", none.clone(), policy(10_000)),
        (LOGS, 200, -32602, "invalid params", json(GNOSIS), density(0x8_0001)),
        (
            LOGS,
            200,
            -32602,
            "Invalid params",
            json("requested block range 16777217 exceeds the limit of 200; narrow your fromBlock/toBlock"),
            policy(200),
        ),
        (
            LOGS,
            200,
            -32000,
            "requested too many blocks from 1048576 to 17825792, maximum is set to 30",
            none.clone(),
            policy(30),
        ),
        (LOGS, 200, -32000, "too wide blocks range, the limit is 100", none.clone(), policy(100)),
        (LOGS, 200, -32000, "maximum [from, to] blocks distance: 2000", none.clone(), policy(2_000)),
        (LOGS, 200, -32000, "logs matched by query exceeds limit of 10000", none.clone(), density(None)),
        (LOGS, 200, -32602, "eth_getLogs is limited to 0 - 50 blocks range", none.clone(), policy(50)),
        (LOGS, 200, -32701, "exceed maximum block range: 50000", none.clone(), policy(50_000)),
        (
            LOGS,
            200,
            -32602,
            "query exceeds max results 20000, retry with the range 25683953-25685027",
            none.clone(),
            density(1_075),
        ),
        // That a range within it goes elsewhere is the pool's part.
        (
            LOGS,
            400,
            35,
            "ranges over 10000 blocks are not supported on freetier",
            none.clone(),
            policy(10_000),
        ),
        (LOGS, 200, -32602, "block range extends beyond current head block", none.clone(), Verdict::NotYet),
        (LOGS, 403, -32602, PUBLICNODE_ARCHIVE, none.clone(), Verdict::NoArchive),
        (CALL, 403, -32602, PUBLICNODE_ARCHIVE, none.clone(), Verdict::NoArchive),
        (LOGS, 200, 429, ALCHEMY_RATE, none.clone(), TOO_FAST),
        (LOGS, 403, -32600, "Monthly capacity limit exceeded.", none.clone(), park(ParkUntil::NextMonth)),
        (LOGS, 402, 402, "Payment Required", none.clone(), park(ParkUntil::NextDay)),
        (
            CALL,
            500,
            31,
            "Batch of more than 3 requests are not allowed on free plan",
            none.clone(),
            Verdict::SmallerBatch { at_most: Some(3) },
        ),
        (
            LOGS,
            200,
            -32000,
            "exceed max addresses or topics per search position",
            none.clone(),
            Verdict::FewerAddresses { at_most: None },
        ),
        (
            CALL,
            200,
            3,
            "execution reverted: rate limit exceeded",
            json("0x08c379a0"),
            Verdict::Revert(vec![8, 0xc3, 0x79, 0xa0].into()),
        ),
        (CALL, 200, -32015, "VM execution error.", json("Reverted 0x"), Verdict::Revert(Bytes::new())),
        (CALL, 200, 3, "Unknown block", none.clone(), Verdict::Elsewhere),
        (CALL, 200, -32000, "missing trie node 0x7a8d", none.clone(), Verdict::NoArchive),
        (CALL, 200, -32000, "header not found", none.clone(), Verdict::NoArchive),
        (LOGS, 200, 4444, "pruned history unavailable", none, Verdict::NoArchive),
    ];
    for (method, status, code, message, data, expected) in rows {
        let found = refusal(method, status, code, message, data);
        assert_eq!(found, expected, "{method} {status} {code} {message}");
    }
    for method in [CALL, LOGS] {
        // "OTHER, breaker" is `Again`: asked here a few times more, then elsewhere, and counted against the endpoint.
        let page = "<html><title>503</title>rate limit, archive, block range</html>";
        assert_eq!(of_body(method, 503, None, page), Verdict::Again);
        assert_eq!(of_body(method, 200, None, page), Verdict::Again);
        assert_eq!(of_body(method, 200, None, r#"{"jsonrpc":"2.0","id":1,"res"#), Verdict::Again);
        assert_eq!(of_body(method, 402, None, infura_402), park(ParkUntil::NextDay));
    }
    assert_eq!(verdict_on_count(20_000), Some(density(None)));
    assert_eq!(verdict_on_count(19_999), None);
    // The row left out, a result of `[]` without the canary, is no refusal: whoever reads logs judges it.
}

/// facts/rpc_providers.md §1.1-1.4, §2.1-2.4: texts beside those of §5.
#[test]
fn further_texts_of_providers() {
    let logs: &[(u16, i64, &str, Verdict)] = &[
        (
            400,
            -32600,
            "You can make eth_getLogs requests with up to a 500 block range. Based on your parameters, this block range should work: [0x1be4213, 0x1be4406]",
            policy(500),
        ),
        (
            400,
            -32602,
            "Log response size exceeded. You can make eth_getLogs requests with up to a 10,000 block range. Based on your parameters, this block range should work: [0x10, 0x11]",
            density(2),
        ),
        // Inverted pairs were seen from Alchemy: they suggest nothing, and the size words stay.
        (
            400,
            -32602,
            "Log response size exceeded. this block range should work: [0x11, 0x10]",
            density(None),
        ),
        // A pair that does not agree with the number is of this query.
        (400, -32600, "up to a 10 block range. this block range should work: [0x10, 0x12]", density(3)),
        (
            200,
            -32005,
            "query returned more than 10000 results. Try with this block range [0xBDE5F8, 0x102DBCC].",
            density(0x102_dbcc - 0xbd_e5f8 + 1),
        ),
        (
            200,
            -32602,
            "This query contains 5006 filters. The current limit is 5000.",
            Verdict::FewerAddresses { at_most: Some(5_000) },
        ),
        (200, -32614, "eth_getLogs is limited to a 5 range", policy(5)),
        (200, -32600, "block range is too wide", BLIND_POLICY),
        (200, -32603, "response exceeds size limit", density(None)),
        (200, -32062, "Block range is too large", BLIND_POLICY),
        (
            200,
            -32000,
            "Unauthorized: You must authenticate your request with an API key. Create an account on https://www.ankr.com/rpc/ and generate your personal API key for free.",
            Verdict::Drop,
        ),
        (400, 35, "ranges over 10000 blocks are not supported on free plan", policy(10_000)),
        (400, 35, "chain is not available on free plan, please upgrade to paid plan", Verdict::Drop),
        (
            408,
            30,
            "Request timeout on the free tier, please upgrade your tier to the paid one",
            Verdict::TookTooLong,
        ),
        (
            403,
            -32000,
            "Blast API is no longer available. Please update your integration to use Alchemy's API instead",
            Verdict::Drop,
        ),
        (200, -32701, "Please, specify less number of addresses", Verdict::FewerAddresses { at_most: None }),
        (
            200,
            -32701,
            "Please specify address in your request or, to remove restrictions, order a dedicated full node here: https://www.allnodes.com/bnb/host",
            Verdict::Elsewhere,
        ),
        (200, -32602, "query exceeds max results 20000", density(None)),
        (200, -32602, "eth_getLogs range is too large, max is 1k blocks", policy(1_000)),
        (200, -32602, "eth_getLogs is limited to a 1000 blocks range", policy(1_000)),
        (200, -32602, "response size should not greater than 10000000 bytes", density(None)),
        (
            200,
            -32047,
            "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800",
            policy(800),
        ),
        (200, -32046, "Cannot fulfill request", Verdict::Again),
        (200, -32602, "Block range limit exceeded.", BLIND_POLICY),
        (
            200,
            -32602,
            "eth_getLogs is limited to 1024 block range. Please check the parameter requirements at  https://docs.blockpi.io/documentations/api-reference",
            policy(1_024),
        ),
        (200, -32000, "more than 20000 results", density(None)),
        (200, -32000, "Maximum allowed number of requested blocks is 1000", policy(1_000)),
        (200, -32000, "please limit the query to at most 1,000 blocks", policy(1_000)),
        (200, -32602, "block range greater than 10_000 max", policy(10_000)),
        (500, -32020, "backend response too large", density(None)),
        (503, -32011, "no backend is currently healthy to serve traffic", Verdict::Again),
        (200, -32602, "range 16777216 exceeds limit of 10000", policy(10_000)),
        (200, -32000, "block range is bigger than maxBlockRange", BLIND_POLICY),
        (
            200,
            -32602,
            "query exceeds range, retry smaller (max block range 5000, got 16777216)",
            policy(5_000),
        ),
        (200, -32602, "exceed maximum block range 5000", policy(5_000)),
        (200, -32602, "invalid block range params", Verdict::Fatal),
        (200, -32602, "query exceeds max block range 100000", policy(100_000)),
        (
            200,
            -32602,
            "query exceeds max results 20000, retry with the range 26034661-26034819",
            density(159),
        ),
        (200, -32000, "block range too large, max range: 10000", policy(10_000)),
        (200, -32000, "requested to block 9 after last accepted block 8", Verdict::NotYet),
        (200, -32000, "maximum [from, to] blocks distance: 2,000", policy(2_000)),
        (413, -32021, "request body too large", Verdict::FewerAddresses { at_most: None }),
        (429, -32016, "over rate limit", TOO_FAST),
        (504, -32015, "gateway timeout", Verdict::TookTooLong),
        (200, -32601, "Method not found", Verdict::NoMethod),
        (200, -32000, "something new under the sun", Verdict::Unknown),
        (200, -32603, "", Verdict::Unknown),
    ];
    for (status, code, message, expected) in logs {
        assert_eq!(&refusal(LOGS, *status, *code, message, Value::Null), expected, "{message}");
    }
    let too_big = refusal(LOGS, 200, -32602, "Response is too big", "Exceeded max limit of 167772160".into());
    assert_eq!(too_big, density(None));

    let smaller = Verdict::SmallerBatch { at_most: None };
    let calls: &[(u16, i64, &str, Verdict)] = &[
        (200, -32000, "out of gas", smaller.clone()),
        (200, -32003, "EVM error: OutOfGas", smaller.clone()),
        (200, -32000, "invalid opcode: INVALID", Verdict::Revert(Bytes::new())),
        (200, -32000, "call returned result on length 9 exceeding --rpc.returndata.limit 8", smaller.clone()),
        (200, -32003, "response too large", smaller.clone()),
        (413, -32014, "too many RPC calls in batch request", smaller.clone()),
        (200, -32000, "execution aborted (timeout = 5s)", Verdict::TookTooLong),
        (403, -32600, "Invalid access key", Verdict::Drop),
        (401, -32600, "Must be authenticated!", Verdict::Drop),
        (403, -32600, "App is inactive.", Verdict::Drop),
        (403, -32600, "FLARE_MAINNET is not enabled for this app", Verdict::Drop),
        (429, 429, "Your app has exceeded its monthly capacity limit", park(ParkUntil::NextMonth)),
        (200, -32005, "You've reached your monthly quota of Request Units (RUs)", park(ParkUntil::NextMonth)),
        (200, -32005, "daily request count exceeded, request rate limited", park(ParkUntil::NextDay)),
        (
            200,
            -32007,
            "100/second request limit reached - reduce calls per second or upgrade your account at quicknode.com",
            TOO_FAST,
        ),
        (200, -32012, "credits limited to 6000/sec", TOO_FAST),
        (
            200,
            42903,
            "There are not enough CUPs left to cover the CU required for current request.",
            TOO_FAST,
        ),
        (
            400,
            12,
            "Can't route your request to suitable provider, if you specified certain providers revise the list",
            Verdict::Elsewhere,
        ),
        (
            200,
            -32000,
            "Access to archival, debug, or trace data is not included in your current plan",
            Verdict::NoArchive,
        ),
        (200, -32000, "Version has either been pruned, or is for a future block", Verdict::NoArchive),
        (200, -32000, "state 0x12 is not available", Verdict::NoArchive),
        (200, -32000, "Block 9 not processed yet", Verdict::NotYet),
        (200, -32602, "invalid argument 0: hex string without 0x prefix", Verdict::Fatal),
        (200, -32700, "parse error", Verdict::Fatal),
        // Only in the words of a contract do these mean nothing.
        (200, -32000, "429", Verdict::Unknown),
    ];
    for (status, code, message, expected) in calls {
        assert_eq!(&refusal(CALL, *status, *code, message, Value::Null), expected, "{message}");
    }
}

/// What each line of `rpc_errors.jsonl` asks for: line, word of its body, verdict. The file was gathered at explorers
/// and nodes, and many of its lines are an explorer's own form, which is never believed.
#[test]
fn every_recorded_refusal_is_known() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/rpc_errors.jsonl");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("skipped: ../shared/data is not there");
        return;
    };
    let (bad, archive) = (Verdict::BadAnswer, Verdict::NoArchive);
    let revert = |hex: &str| Verdict::Revert(hex.parse().unwrap());
    let expected: Vec<(&str, Verdict)> = vec![
        ("execution reverted", Verdict::Revert(Bytes::new())), // 0; the data of a revert is compared below
        ("execution reverted", Verdict::Revert(Bytes::new())),
        // The code of a revert, but no data: other explorers gave data for the same call, so this one lost the answer.
        ("RPC Request failed", Verdict::Again),
        ("is not supported for this chain", Verdict::Drop),
        ("No transactions found", bad.clone()),
        ("No transactions found", bad.clone()), // 5
        ("No transactions found", bad.clone()),
        ("No transactions found", bad.clone()),
        ("No internal transactions found", bad.clone()),
        ("No token transfers found", bad.clone()),
        ("chain not supported", Verdict::Drop), // 10
        ("is not supported for this chain", Verdict::Drop),
        ("Missed `to` address", Verdict::Fatal),
        ("is not supported for this chain", Verdict::Drop),
        ("execution reverted", Verdict::Revert(Bytes::new())),
        ("not verified", bad.clone()), // 15
        ("No transactions found", bad.clone()),
        ("No transactions found", bad.clone()),
        ("is not supported for this chain", Verdict::Drop),
        ("is temporarily unavailable", Verdict::Elsewhere),
        ("No state available", archive.clone()), // 20
        ("Invalid token ID", Verdict::Revert(Bytes::new())),
        ("missing trie node", archive.clone()),
        ("missing trie node", archive.clone()),
        ("missing trie node", archive.clone()),
        ("execution reverted", Verdict::Revert(Bytes::new())), // 25
        ("No data found", bad.clone()),
        ("missing trie node", archive.clone()),
        ("No state available", archive.clone()),
        ("No state available", archive.clone()),
        ("not verified", bad.clone()), // 30
        ("not verified", bad),
        ("limited to a 1000 blocks range", policy(1_000)),
        ("Invalid token ID", Verdict::Revert(Bytes::new())),
        ("no historical RPC", archive.clone()),
        ("missing trie node", archive.clone()), // 35
        ("missing trie node", archive),
    ];
    assert_eq!(text.lines().count(), expected.len(), "a line without an expectation");
    for (index, (line, (word, expected))) in text.lines().zip(expected).enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (method, body) = (line["method"].as_str().unwrap(), line["body"].as_str().unwrap());
        let status = u16::try_from(line["http_status"].as_u64().unwrap()).unwrap();
        assert!(body.contains(word), "line {index} is not the one that was judged: {body}");
        // Whoever recorded the bodies cut off their ends where a URL was hidden. As they stand they are cut answers.
        let is_whole = |body: &str| serde_json::from_str::<Value>(body).is_ok();
        let whole =
            ["", "}", "\"}"].map(|end| format!("{body}{end}")).into_iter().find(|body| is_whole(body));
        let whole = whole.unwrap_or_else(|| panic!("line {index} cannot be mended: {body}"));
        if !is_whole(body) {
            assert_eq!(of_body(method, status, None, body), Verdict::Again, "line {index}: {body}");
        }
        let expected = match expected {
            Verdict::Revert(_) => {
                let data: Value = serde_json::from_str(&whole).unwrap();
                revert(data["error"]["data"].as_str().unwrap())
            }
            other => other,
        };
        assert_eq!(of_body(method, status, None, &whole), expected, "line {index}: {body}");
    }
}

#[test]
fn a_revert_keeps_its_data_in_whatever_form_it_comes() {
    let data = Verdict::Revert(vec![0x12, 0x34].into());
    for (code, message, given) in [
        (3, "execution reverted", "0x1234".into()),
        (-32000, "execution reverted: 0x1234", Value::Null),
        (-32015, "VM execution error.", "Reverted 0x1234".into()),
        (-32603, "Internal error", serde_json::json!({ "code": 3, "data": "0x1234" })),
    ] {
        assert_eq!(refusal(CALL, 200, code, message, given), data, "{message}");
    }
    let nothing = Verdict::Revert(Bytes::new());
    assert_eq!(refusal(CALL, 200, -32000, "execution reverted", Value::Null), nothing);
    assert_eq!(refusal(CALL, 200, -32000, "execution reverted: why 0x1", Value::Null), nothing);
    // Without words, empty data is no revert; and what is no call cannot revert.
    assert_eq!(refusal(CALL, 200, -32000, "header not found", "0x".into()), Verdict::NoArchive);
    assert_eq!(refusal(LOGS, 200, 3, "execution reverted", "0x1234".into()), Verdict::Unknown);
}

#[test]
fn hints_of_time_are_understood_and_never_longer_than_half_a_minute() {
    for (message, data, expected) in [
        ("rate limit, try again in 4ms", Value::Null, 4),
        ("rate limit, retry in 10s", Value::Null, 10_000),
        ("rate limit, retry in 10 seconds.", Value::Null, 10_000),
        ("rate limit, try again in 1m30.5s", Value::Null, 30_000),
        ("rate limit", serde_json::json!({ "try_again_in": "1.2µs" }), 1),
        ("rate limit", serde_json::json!({ "try_again_in": "0s" }), 0),
        (
            "daily request count exceeded, request rate limited",
            serde_json::json!({ "rate": { "allowed_rps": 1, "backoff_seconds": 12, "current_rps": 1.1 } }),
            12_000,
        ),
        ("rate limit, retry in 99999999999999999999999999 hours", Value::Null, 30_000),
    ] {
        assert_eq!(refusal(CALL, 200, -32005, message, data), wait(expected), "{message}");
    }
    assert_eq!(refusal(CALL, 200, -32005, "rate limit, retry in a while", Value::Null), TOO_FAST);
    let header = Some(Duration::from_secs(7));
    let too_many = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"slow down"}}"#;
    assert_eq!(of_body(LOGS, 429, header, too_many), wait(7_000));
    assert_eq!(of_body(LOGS, 429, header, "<html>"), wait(7_000));
    assert_eq!(of_body(LOGS, 200, header, too_many), wait(7_000));

    let now: Timestamp = "2024-12-01T10:00:00Z".parse().unwrap();
    for (header, expected) in [
        ("7", Some(7)),
        (" 0 ", Some(0)),
        ("86400", Some(30)),
        ("Sun, 01 Dec 2024 10:00:09 GMT", Some(9)),
        ("Sun, 01 Dec 2024 11:00:00 GMT", Some(30)),
        ("Sun, 01 Dec 2024 09:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
    ] {
        assert_eq!(retry_after(header, now), expected.map(Duration::from_secs), "{header}");
    }
}

#[test]
fn a_quota_is_filled_at_a_named_moment() {
    let now: Timestamp = "2024-12-31T23:59:59Z".parse().unwrap();
    assert_eq!(ParkUntil::NextDay.after(now).to_string(), "2025-01-01T00:00:00Z");
    assert_eq!(ParkUntil::NextMonth.after(now).to_string(), "2025-01-01T00:00:00Z");
    let now: Timestamp = "2024-02-01T00:00:00Z".parse().unwrap();
    assert_eq!(ParkUntil::NextDay.after(now).to_string(), "2024-02-02T00:00:00Z");
    assert_eq!(ParkUntil::NextMonth.after(now).to_string(), "2024-03-01T00:00:00Z");
    assert_eq!(ParkUntil::NextMonth.after(Timestamp::MAX), Timestamp::MAX);
}

#[test]
fn what_comes_without_a_body_of_json_rpc() {
    let of = |status| of_body(CALL, status, None, "");
    for (status, expected) in [
        (401, Verdict::Drop),
        (402, park(ParkUntil::NextDay)),
        (403, Verdict::Elsewhere),
        (408, Verdict::TookTooLong),
        (410, Verdict::Elsewhere),
        (413, Verdict::SmallerBatch { at_most: None }),
        (418, Verdict::Unknown),
        (429, TOO_FAST),
        (502, Verdict::Again),
        (504, Verdict::TookTooLong),
        (525, Verdict::Again),
    ] {
        assert_eq!(of(status), expected, "{status}");
    }
    assert_eq!(of_body(LOGS, 413, None, ""), density(None));
    assert_eq!(of_body(LOGS, 504, None, ""), Verdict::TookTooLong);
    assert_eq!(of_body("eth_chainId", 504, None, ""), Verdict::Again);
    assert_eq!(of_body(CALL, 403, None, "App is inactive."), Verdict::Drop);
    let unreachable = TransportErrorKind::custom(WireError::Unreachable("reset".into()));
    assert_eq!(verdict(CALL, &unreachable), Verdict::Again);
    // An explorer's empty list is not an answer without logs, nor is a result to another request.
    assert_eq!(
        of_body(LOGS, 200, None, r#"{"status":"0","message":"No records found","result":[]}"#),
        Verdict::BadAnswer
    );
    assert_eq!(of_body(LOGS, 200, None, r#"{"jsonrpc":"2.0","id":9,"result":[]}"#), Verdict::BadAnswer);
}

#[test]
fn no_row_is_hidden_by_an_earlier_one() {
    for (index, (of, sign, _)) in tables::ROWS.iter().enumerate() {
        let hides = |(earlier_of, earlier, _): &Row| {
            (*earlier_of == Of::Any || earlier_of == of)
                && match (earlier, sign) {
                    (Sign::Text(words), Sign::Text(text)) => speaks(text, words),
                    (Sign::Code(earlier), Sign::Code(code)) => earlier == code,
                    (Sign::Status(a, b), Sign::Status(c, d)) => a <= c && d <= b,
                    _ => false,
                }
        };
        let hiding = tables::ROWS[..index].iter().find(|row| hides(row));
        assert!(hiding.is_none(), "{sign:?} is hidden by {hiding:?}");
        if let Sign::Text(text) = sign {
            assert_eq!(*text, text.to_lowercase());
        }
    }
}

/// Words of refusals, numbers and other text in any mixture.
fn any_text() -> impl Strategy<Value = String> {
    let words: Vec<String> = tables::ROWS
        .iter()
        .filter_map(|(_, sign, _)| if let Sign::Text(text) = sign { Some((*text).to_owned()) } else { None })
        .chain(
            [
                tables::BEFORE_PAIR,
                tables::BEFORE_WIDTH,
                tables::BEFORE_BATCH,
                tables::BEFORE_WAIT,
                tables::FILLERS,
            ]
            .concat()
            .into_iter()
            .map(str::to_owned),
        )
        .collect();
    let word = prop_oneof![
        4 => proptest::sample::select(words),
        2 => "[0-9]{0,22}[,_]?[0-9]{0,3}[kms]?",
        1 => "\\[0x[0-9a-f]{0,17}, 0x[0-9a-f]{0,17}\\]",
        1 => "[0-9]{1,9}-[0-9]{1,9}",
        1 => "(Reverted )?0x[0-9a-f]{0,9}",
        1 => "\\PC{0,12}",
    ];
    proptest::collection::vec(word, 0..6).prop_map(|words| words.join(" "))
}

fn any_data() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any_text().prop_map(Value::from),
        (any_text(), any_text()).prop_map(|(from, to)| serde_json::json!({ "from": from, "to": to, "data": from })),
        (any::<f64>(), any_text())
            .prop_map(|(number, text)| serde_json::json!({ "rate": { "backoff_seconds": number }, "try_again_in": text })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Whatever an endpoint says, the classifier neither panics nor asks for what cannot be done.
    #[test]
    fn any_refusal_gets_a_verdict_that_can_be_followed(
        method in proptest::sample::select(vec![CALL, LOGS, "eth_chainId", "eth_getBlockByNumber"]),
        status in prop_oneof![Just(200_u16), 100_u16..600],
        code in prop_oneof![any::<i64>(), -32800_i64..-32000, proptest::sample::select(vec![3, 31, 35, 429])],
        message in any_text(),
        data in any_data(),
    ) {
        for verdict in [refusal(method, status, code, &message, data), of_body(method, status, None, &message)] {
            match verdict {
                Verdict::FewerBlocks { at_most, .. } => {
                    prop_assert_eq!(method, LOGS);
                    prop_assert_ne!(at_most, Some(0));
                }
                Verdict::SmallerBatch { at_most } => prop_assert_ne!(at_most, Some(0)),
                Verdict::TooFast { wait: Some(wait) } => prop_assert!(wait <= LONGEST_WAIT),
                Verdict::Revert(_) => prop_assert_eq!(method, CALL),
                Verdict::TookTooLong => prop_assert!([CALL, LOGS].contains(&method)),
                Verdict::FewerAddresses { at_most } => {
                    prop_assert_eq!(method, LOGS);
                    prop_assert_ne!(at_most, Some(0));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn any_header_gets_a_wait_or_none(header in "\\PC{0,40}|[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
        prop_assert!(retry_after(&header, Timestamp::UNIX_EPOCH).is_none_or(|wait| wait <= LONGEST_WAIT));
    }
}
