//! The logs of a span by the word of one endpoint, checked, however many queries that takes.
//!
//! Lists that are too long for the endpoint are asked for in parts, and it is remembered how long they may be. One block
//! whose answer is too large cannot be made shorter, so less is asked of it: half of the addresses, half of the topics, and
//! at last its receipts, out of which the logs are picked here.

use crate::rpc::classify::{self, Verdict};
use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::pool::{bad_answer, read_as};
use crate::rpc::tally::Purpose;
use lake::bronze::{LogFilter, RawLog};
use lake::span::BlockSpan;
use lake::{Address, B256};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An address without code and without logs on any chain: nobody has its key.
pub(crate) const NOBODY: Address = alloy_primitives::address!("0x6c656e646c616b65206d61646520746869732075");

/// The logs of a span that a filter asks for, by the word of one endpoint.
///
/// # Errors
/// The [`Refusal`] of the part that it does not give.
pub(crate) async fn logs_of(
    endpoint: &Endpoint,
    purpose: Purpose,
    filter: &LogFilter,
    span: BlockSpan,
) -> Result<Vec<RawLog>, Refusal> {
    let query = Query { endpoint, purpose, span };
    if filter.addresses.is_empty() {
        // Nobody's logs; without the list the query would ask for everybody's.
        return Ok(Vec::new());
    }
    let known = endpoint.most_addresses();
    let mut logs = Vec::new();
    let mut parts = VecDeque::from([filter.clone()]);
    while let Some(part) = parts.pop_front() {
        if let Some(halves) = cut(&part, endpoint.most_addresses(), endpoint.most_topics()) {
            for half in halves.into_iter().rev() {
                parts.push_front(half);
            }
            continue;
        }
        let refusal = match query.logs(&part).await {
            Ok(found) => {
                logs.extend(found);
                continue;
            }
            Err(refusal) => refusal,
        };
        match refusal.verdict {
            Verdict::FewerAddresses { at_most } if shorten(endpoint, &part, at_most, known) => {
                parts.push_front(part);
            }
            Verdict::FewerBlocks { lasts: false, .. } if span.count() == 1 => {
                if !query.are_logs_served().await? {
                    endpoint.set_lacking("eth_getLogs");
                    return Err(refusal);
                }
                let (addresses, topics) = (part.addresses.len(), part.topic0.len());
                match cut(&part, addresses.div_ceil(2), topics)
                    .or_else(|| cut(&part, addresses, topics.div_ceil(2)))
                {
                    Some(halves) => {
                        for half in halves.into_iter().rev() {
                            parts.push_front(half);
                        }
                    }
                    None => {
                        let receipts = query.logs_of_receipts(&refusal).await?;
                        // The refusal says that there are some of this part; of the others nothing is known.
                        let found = query.picked(&receipts, &part)?;
                        if found.is_empty() {
                            let number = span.first();
                            let why = format!(
                                "refuses the logs of block {number} as too many, and its receipts show none"
                            );
                            return Err(bad_answer(endpoint, why));
                        }
                        logs.extend(found);
                        for part in std::mem::take(&mut parts) {
                            logs.extend(query.picked(&receipts, &part)?);
                        }
                    }
                }
            }
            _ => return Err(refusal),
        }
    }
    one_hash_a_block(&logs).map_err(|text| bad_answer(endpoint, text))?;
    Ok(logs)
}

/// A filter as two that have no more than so many addresses or topics in the first; none when it has no more anyway.
fn cut(filter: &LogFilter, addresses: usize, topics: usize) -> Option<[LogFilter; 2]> {
    let with = |addresses: &[Address], topic0: &[B256]| LogFilter {
        addresses: addresses.to_vec(),
        topic0: topic0.to_vec(),
    };
    if let Some((first, rest)) =
        filter.addresses.split_at_checked(addresses).filter(|(_, rest)| !rest.is_empty())
    {
        return Some([with(first, &filter.topic0), with(rest, &filter.topic0)]);
    }
    let (first, rest) = filter.topic0.split_at_checked(topics).filter(|(_, rest)| !rest.is_empty())?;
    Some([with(&filter.addresses, first), with(&filter.addresses, rest)])
}

/// Takes to heart that an endpoint wants shorter lists than a filter has, and says whether they can be shorter. `known` is
/// how many addresses it took before this query.
///
/// Nodes do not say which of the lists is too long: addresses are cut first, for there are many; where one alone is refused,
/// it was not them.
fn shorten(endpoint: &Endpoint, filter: &LogFilter, at_most: Option<u64>, known: usize) -> bool {
    let told = at_most.and_then(|most| usize::try_from(most).ok());
    let shorter = |length: usize| told.filter(|told| (1..length).contains(told)).unwrap_or(length / 2);
    let (addresses, topics) = (filter.addresses.len(), filter.topic0.len());
    if addresses > 1 && told.is_none_or(|told| told < addresses || topics <= told) {
        endpoint.cap_addresses(Some(shorter(addresses)));
        return true;
    }
    if topics > 1 {
        endpoint.cap_addresses((known < usize::MAX).then_some(known));
        endpoint.cap_topics(shorter(topics));
        return true;
    }
    false
}

/// A question for logs to one endpoint.
#[derive(Clone, Copy)]
struct Query<'e> {
    endpoint: &'e Endpoint,
    purpose: Purpose,
    span: BlockSpan,
}

impl Query<'_> {
    async fn ask(self, addresses: &[Address], topics: &[B256]) -> Result<Vec<Value>, Refusal> {
        let mut filter = json!({
            "fromBlock": format!("{:#x}", self.span.first()),
            "toBlock": format!("{:#x}", self.span.last()),
            "address": addresses.iter().map(|address| format!("{address:#x}")).collect::<Vec<_>>(),
        });
        if !topics.is_empty() {
            filter["topics"] = json!([topics]);
        }
        let answer = self.endpoint.request(self.purpose, "eth_getLogs", &json!([filter])).await?;
        read_as(answer).map_err(|why| bad_answer(self.endpoint, why))
    }

    /// The logs of one query.
    async fn logs(self, filter: &LogFilter) -> Result<Vec<RawLog>, Refusal> {
        let answer = self.ask(&filter.addresses, &filter.topic0).await?;
        if let Some(verdict) = classify::verdict_on_count(answer.len()) {
            let text = format!("gave exactly {} logs, where lists are known to be cut off", answer.len());
            return Err(Refusal { label: self.endpoint.label().to_owned(), verdict, text });
        }
        read_logs(answer, filter, self.span).map_err(|text| bad_answer(self.endpoint, text))
    }

    /// Whether the endpoint gives logs at all. Some refuse any query in words of a limit (BSC's nodes: `limit exceeded`);
    /// then nobody's logs are too many for them, too.
    async fn are_logs_served(self) -> Result<bool, Refusal> {
        if self.endpoint.has_given_logs() {
            return Ok(true);
        }
        match self.ask(&[NOBODY], &[]).await {
            Ok(_) => Ok(true),
            Err(Refusal { verdict: Verdict::FewerBlocks { .. } | Verdict::NoMethod, .. }) => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// All logs in the receipts of a block that was refused as too much.
    async fn logs_of_receipts(self, refusal: &Refusal) -> Result<Vec<Value>, Refusal> {
        let method = "eth_getBlockReceipts";
        let number = json!([format!("{:#x}", self.span.first())]);
        let answer = self.endpoint.request(self.purpose, method, &number).await.map_err(|also| {
            let text = format!("{}; and {method}: {}", refusal.text, also.text);
            Refusal { text, ..refusal.clone() }
        })?;
        let receipts = read_as::<Option<Vec<Receipt>>>(answer)
            .and_then(|receipts| receipts.ok_or_else(|| "has no receipts of it".to_owned()));
        let receipts = receipts.map_err(|why| {
            let number = self.span.first();
            bad_answer(self.endpoint, format!("refuses the logs of block {number} as too many, and {why}"))
        })?;
        Ok(receipts.into_iter().flat_map(|receipt| receipt.logs).collect())
    }

    /// Those among the logs of a block that a filter asks for.
    fn picked(self, all: &[Value], filter: &LogFilter) -> Result<Vec<RawLog>, Refusal> {
        // What cannot be read is kept, to be told by the check.
        let is_asked_for = |log: &&Value| RawLog::deserialize(*log).map_or(true, |log| filter.matches(&log));
        let picked = all.iter().filter(is_asked_for).cloned().collect();
        read_logs(picked, filter, self.span).map_err(|why| bad_answer(self.endpoint, why))
    }
}

/// The part of a receipt that is picked from.
#[derive(Deserialize)]
struct Receipt {
    logs: Vec<Value>,
}

/// The part of a log beside [`RawLog`] that matters: whether it was taken back.
#[derive(Deserialize)]
struct Removed {
    #[serde(default)]
    removed: bool,
}

/// Logs as asked for, or what is wrong with the answer.
fn read_logs(answer: Vec<Value>, filter: &LogFilter, span: BlockSpan) -> Result<Vec<RawLog>, String> {
    let mut logs = Vec::with_capacity(answer.len());
    let mut seen = BTreeSet::new();
    for value in answer {
        let Removed { removed } =
            Removed::deserialize(&value).map_err(|error| format!("bad log: {error}"))?;
        let log: RawLog = serde_json::from_value(value).map_err(|error| format!("bad log: {error}"))?;
        let at = || format!("log {} of block {}", log.log_index, log.block_number);
        if removed {
            return Err(format!("{} was removed by a reorganisation", at()));
        }
        if !span.contains(log.block_number) {
            return Err(format!("{} lies outside blocks {span}", at()));
        }
        if !filter.matches(&log) {
            return Err(format!("{} is not one that was asked for", at()));
        }
        if !seen.insert((log.block_number, log.log_index)) {
            return Err(format!("{} came twice", at()));
        }
        logs.push(log);
    }
    Ok(logs)
}

/// Whether all logs of a block name the same hash for it. Windows do not overlap, so no two answers speak of one block;
/// the headers have the last word ([`hashes_hold`](crate::rpc::pool::Pool::hashes_hold)).
fn one_hash_a_block(logs: &[RawLog]) -> Result<(), String> {
    let mut hashes: BTreeMap<u64, B256> = BTreeMap::new();
    for log in logs {
        let known = *hashes.entry(log.block_number).or_insert(log.block_hash);
        if known != log.block_hash {
            let (number, hash) = (log.block_number, log.block_hash);
            return Err(format!("block {number} has hash {hash} in one log and {known} in another"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::clock::Clock;
    use crate::rpc::providers::Reach;
    use crate::rpc::simulated::{self, Simulated};
    use std::sync::Arc;
    use testkit::server::Policy;
    use testkit::server::dialects::{entry, filters, results};
    use testkit::server::policy::{ResultCap, TooManyLogs};
    use testkit::simchain::Emitted;

    fn log(block: u64, index: u64) -> Value {
        json!({
            "address": Address::repeat_byte(1), "topics": [B256::repeat_byte(2)], "data": "0x",
            "blockNumber": format!("{block:#x}"), "blockHash": B256::repeat_byte(3),
            "transactionHash": B256::repeat_byte(4), "transactionIndex": "0x0",
            "logIndex": format!("{index:#x}"), "removed": false, "blockTimestamp": "0x1",
        })
    }

    #[test]
    fn an_answer_is_checked_before_it_is_believed() {
        let filter = LogFilter::new([Address::repeat_byte(1)], [B256::repeat_byte(2)]);
        let span = BlockSpan::new(10, 19).unwrap();
        let read = |answer| read_logs(answer, &filter, span);
        assert_eq!(read(vec![log(10, 0), log(19, 1)]).unwrap().len(), 2);
        let with = |key: &str, value: Value| {
            let mut log = log(10, 0);
            log[key] = value;
            vec![log]
        };
        for (answer, expected) in [
            (vec![log(20, 0)], "lies outside blocks 10-19"),
            (vec![log(10, 0), log(10, 0)], "came twice"),
            (with("removed", json!(true)), "was removed"),
            (with("address", json!(Address::ZERO)), "not one that was asked for"),
            (with("topics", json!([])), "not one that was asked for"),
            (with("blockNumber", Value::Null), "bad log"),
        ] {
            let error = read(answer).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn one_block_has_one_hash() {
        let filter = LogFilter::new([Address::repeat_byte(1)], [B256::repeat_byte(2)]);
        let span = BlockSpan::new(10, 19).unwrap();
        let mut other = log(10, 1);
        other["blockHash"] = json!(B256::repeat_byte(9));
        let logs = |answer| read_logs(answer, &filter, span).unwrap();
        one_hash_a_block(&logs(vec![log(10, 0), log(10, 2), log(11, 0)])).unwrap();
        one_hash_a_block(&logs(vec![log(10, 0), other])).unwrap_err();
    }

    /// Logs of one block: `each` for every one of these emitters and topics.
    fn crowd(block: u64, emitters: u64, topics: u64, each: u64) -> Vec<Emitted> {
        let place = |nth: u64| {
            let (emitter, topic) = (nth / each / topics, nth / each % topics);
            Emitted {
                address: emitter_of(emitter),
                topics: vec![topic_of(topic)],
                ..simulated::log(block, nth)
            }
        };
        (0..emitters * topics * each).map(place).collect()
    }

    fn emitter_of(nth: u64) -> Address {
        Address::left_padding_from(&(0x1_0000 + nth).to_be_bytes())
    }

    fn topic_of(nth: u64) -> B256 {
        B256::left_padding_from(&(0x2_0000 + nth).to_be_bytes())
    }

    fn of(emitters: u64, topics: u64) -> LogFilter {
        LogFilter::new((0..emitters).map(emitter_of), (0..topics).map(topic_of))
    }

    fn span(first: u64, last: u64) -> BlockSpan {
        BlockSpan::new(first, last).unwrap()
    }

    async fn open(logs: Vec<Emitted>, policy: Policy) -> Simulated {
        simulated::open(&simulated::chain(200, logs), vec![policy]).await
    }

    async fn ask(simulated: &Simulated, filter: &LogFilter, span: BlockSpan) -> Result<Vec<RawLog>, Refusal> {
        let mut logs = logs_of(&simulated.pool.endpoints[0], Purpose::Scan, filter, span).await?;
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        Ok(logs)
    }

    fn queries(simulated: &Simulated) -> u64 {
        simulated.providers[0].tally().methods.get("eth_getLogs").copied().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn lists_of_addresses_are_cut_and_the_range_is_not_and_it_is_remembered() {
        for wording in filters::ALL {
            let policy = Policy { filter_cap: Some((7, wording)), ..Policy::honest() };
            let simulated = open(crowd(50, 40, 2, 1), policy).await;
            let endpoint = &simulated.pool.endpoints[0];
            assert_eq!(ask(&simulated, &of(40, 2), span(0, 200)).await.unwrap().len(), 80);
            // 40, 20 and 10 are refused, or 40 with a limit in words; then 5 or 7 at a time.
            let most = if wording.message.contains("{limit}") { 7 } else { 5 };
            assert_eq!(
                (endpoint.most_addresses(), endpoint.most_topics()),
                (most, usize::MAX),
                "{}",
                wording.name
            );
            assert_eq!(endpoint.log_window("any filter"), 100, "{}", wording.name);
            let first = queries(&simulated);
            let refused = if most == 7 { 1 } else { 3 };
            assert_eq!(first, refused + 40_u64.div_ceil(most as u64), "{}", wording.name);
            assert_eq!(ask(&simulated, &of(40, 2), span(0, 200)).await.unwrap().len(), 80);
            assert_eq!(queries(&simulated) - first, 40_u64.div_ceil(most as u64), "nothing is refused again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_topics_were_too_many_addresses_are_not_asked_for_one_by_one_ever_after() {
        let policy = Policy { filter_cap: Some((4, &filters::GETH)), ..Policy::honest() };
        let simulated = open(crowd(50, 4, 9, 1), policy).await;
        assert_eq!(ask(&simulated, &of(4, 9), span(0, 200)).await.unwrap().len(), 36);
        let endpoint = &simulated.pool.endpoints[0];
        assert_eq!((endpoint.most_addresses(), endpoint.most_topics()), (usize::MAX, 4));
        let before = queries(&simulated);
        assert_eq!(ask(&simulated, &of(4, 9), span(0, 200)).await.unwrap().len(), 36);
        assert_eq!(queries(&simulated) - before, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn one_block_that_is_too_full_is_asked_for_in_parts_and_at_last_by_its_receipts() {
        for wording in results::ALL {
            // Of eight emitters with three topics, each two or one.
            for (cap, each, receipts) in [(6, 2, 0), (2, 2, 0), (1, 1, 0), (1, 2, 1)] {
                let more = TooManyLogs::RefusedAlways { wording };
                let policy = Policy { result_cap: Some(ResultCap { logs: cap, more }), ..Policy::honest() };
                let simulated = open(crowd(50, 8, 3, each), policy).await;
                let logs = ask(&simulated, &of(8, 3), span(50, 50)).await.unwrap();
                let truth: Vec<RawLog> = simulated.providers[0].chain().logs(50..=50).cloned().collect();
                assert_eq!(logs, truth, "{}, at most {cap}", wording.name);
                let asked = simulated.providers[0].tally().methods.get("eth_getBlockReceipts").copied();
                assert_eq!(asked.unwrap_or(0), receipts, "{}, at most {cap}", wording.name);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_refuses_every_log_query_as_too_much_is_found_out_by_one_more() {
        let policy = Policy { refused_methods: vec![("eth_getLogs", &entry::BSC_LOGS)], ..Policy::honest() };
        let simulated = open(crowd(50, 8, 3, 1), policy).await;
        ask(&simulated, &of(8, 3), span(50, 50)).await.unwrap_err();
        assert_eq!(queries(&simulated), 2);
        assert!(simulated.pool.endpoints[0].lacks("eth_getLogs"));
        assert_eq!(simulated.providers[0].tally().methods.get("eth_getBlockReceipts"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn receipts_without_the_logs_that_were_too_many_are_not_believed() {
        // It counts its logs right, and gives receipts without them.
        let strict = ResultCap { logs: 1, more: TooManyLogs::RefusedAlways { wording: &results::LLAMA } };
        let simulated =
            open(crowd(50, 1, 1, 3), Policy { result_cap: Some(strict), ..Policy::honest() }).await;
        let empty =
            open(crowd(50, 1, 1, 3), Policy { missing_logs_per_mille: 1_000, ..Policy::honest() }).await;
        let (counts, gives) = (simulated.providers[0].carrier(), empty.providers[0].carrier());
        let both: crate::rpc::wire::InProcess = Arc::new(move |body| {
            let of_receipts = String::from_utf8_lossy(&body).contains("eth_getBlockReceipts");
            if of_receipts { gives(body) } else { counts(body) }
        });
        let config = simulated::config(0, Reach::InProcess(both), None);
        let endpoint = Endpoint::open(&config, &reqwest::Client::new(), None, Clock::start()).unwrap();
        let refusal = logs_of(&endpoint, Purpose::Scan, &of(1, 1), span(50, 50)).await.unwrap_err();
        assert_eq!(refusal.verdict, Verdict::BadAnswer);
        assert!(refusal.text.contains("its receipts show none"), "{refusal}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_of_nobody_asks_nothing() {
        let simulated = open(crowd(50, 1, 1, 1), Policy::honest()).await;
        assert!(ask(&simulated, &of(0, 1), span(0, 200)).await.unwrap().is_empty());
        assert_eq!(queries(&simulated), 0);
    }
}
