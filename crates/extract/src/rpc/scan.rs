//! Scanning a span of blocks for logs, window by window, so that every block is read once or the scan says which is not.
//!
//! A window goes to the endpoint that reads a block at the least cost, at that endpoint's width. Refusals about range cut
//! it; other refusals pass it on. An accepted window is kept in the day's journal before it counts.

use crate::rpc::classify::{self, Verdict};
use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::journal::{Accepted, digest_of};
use crate::rpc::patience::{Patience, may_pass};
use crate::rpc::pool::{Pool, PoolError, bad_answer, read_as};
use crate::rpc::route::Task;
use crate::rpc::tally::Purpose;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use lake::B256;
use lake::bronze::{LogFilter, RawLog};
use lake::span::{BlockSpan, Coverage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Which blocks of a scan are there, and what they hold.
#[derive(Debug, Default)]
pub struct Scan {
    /// Accepted windows, by first block. They do not overlap.
    windows: BTreeMap<u64, Accepted>,
    /// Why the rest was not read, if it was not.
    pub failure: Option<PoolError>,
}

impl Scan {
    /// The accepted windows, in order.
    pub fn windows(&self) -> impl Iterator<Item = &Accepted> {
        self.windows.values()
    }

    /// Logs in order of block and log index.
    pub fn logs(&self) -> Vec<RawLog> {
        let mut logs: Vec<RawLog> =
            self.windows.values().flat_map(|window| window.logs.iter().cloned()).collect();
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        logs
    }

    /// Blocks read.
    pub fn covered(&self) -> Coverage {
        let mut covered = Coverage::default();
        for window in self.windows.values() {
            // `accept` lets no overlap in.
            let added = covered.add(window.span);
            debug_assert!(added.is_ok(), "windows do not overlap");
        }
        covered
    }

    /// Labels of the endpoints whose answers are in it.
    pub fn labels(&self) -> BTreeSet<String> {
        self.windows.values().map(|window| window.label.clone()).collect()
    }

    /// Takes the windows of an endpoint out: they must be read again.
    pub fn forget(&mut self, label: &str) {
        self.windows.retain(|_, window| window.label != label);
    }

    /// Takes all windows out, for a reason.
    pub fn give_up(&mut self, why: PoolError) {
        self.windows.clear();
        self.failure = Some(why);
    }

    /// Takes a window in, unless a block of it is there already.
    fn accept(&mut self, window: Accepted) -> bool {
        let before = self.windows.range(..=window.span.last()).next_back();
        if before.is_some_and(|(_, before)| before.span.last() >= window.span.first()) {
            return false;
        }
        self.windows.insert(window.span.first(), window);
        true
    }
}

/// What became of a window.
enum Step {
    Answered {
        window: Window,
        endpoint: Arc<Endpoint>,
        answer: Result<Vec<RawLog>, Refusal>,
    },
    /// All that stood against it may have passed by now.
    Rested(Window),
}

impl Pool {
    /// Scans the blocks of a span that `scan` does not have yet, `at_once` windows at a time.
    ///
    /// `progress` is told the number of blocks of every accepted window. The scan says what is covered; it is the
    /// caller's to see that nothing is missing.
    pub async fn scan(
        &self,
        scan: &mut Scan,
        filter: &LogFilter,
        span: BlockSpan,
        at_once: usize,
        progress: impl Fn(u64),
    ) {
        let key = digest_of(filter);
        scan.failure = None;
        if let Some(journal) = self.journal() {
            for window in journal.windows(&key) {
                let is_usable = span.contains(window.span.first())
                    && span.contains(window.span.last())
                    && !self.is_distrusted_with(&window.label, "eth_getLogs");
                let blocks = window.span.count();
                if is_usable && scan.accept(window) {
                    progress(blocks);
                }
            }
        }
        let missing = scan.covered().missing_in(span).into_iter();
        let mut waiting: VecDeque<Window> = missing.map(Window::new).collect();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        loop {
            while scan.failure.is_none() && under_way.len() < at_once.max(1) {
                let Some(mut window) = waiting.pop_front() else { break };
                let Some(endpoint) = self.next_for(&key, &window) else {
                    match self.rest(&window.passed_over, &mut window.patience) {
                        Some(rest) => {
                            window.passed_over.retain(|refusal| !may_pass(refusal));
                            under_way.push(tokio::time::sleep(rest).map(|()| Step::Rested(window)).boxed());
                        }
                        None => scan.failure = Some(self.refused_scan(window)),
                    }
                    continue;
                };
                let width = endpoint.log_window(&key);
                if window.span.count() > width {
                    window.cut(width, &mut waiting);
                    continue;
                }
                window.join(width, &mut waiting);
                if let Err(refusal) = window.patience.admit(&endpoint, Purpose::Scan) {
                    window.pass_over(refusal, &mut waiting);
                    continue;
                }
                under_way.push(self.one_window(window, endpoint, filter, &key).boxed());
            }
            let Some(step) = under_way.next().await else { break };
            let (window, endpoint, answer) = match step {
                Step::Rested(window) => {
                    waiting.push_front(window);
                    continue;
                }
                Step::Answered { window, endpoint, answer } => (window, endpoint, answer),
            };
            match answer {
                Ok(logs) => {
                    let (blocks, label) = (window.span.count(), endpoint.label().to_owned());
                    if scan.accept(Accepted { filter: key.clone(), span: window.span, label, logs }) {
                        endpoint.accepted(&key, blocks);
                        progress(blocks);
                    }
                }
                Err(refusal) => match shorter(window.span.count(), &refusal.verdict) {
                    Some((width, lasts)) => {
                        endpoint.narrow(&key, width, lasts);
                        window.cut(width, &mut waiting);
                    }
                    None => {
                        let of_range = matches!(refusal.verdict, Verdict::FewerBlocks { .. });
                        if of_range && window.span.count() == 1 {
                            endpoint.set_lacking("eth_getLogs");
                        }
                        if refusal.verdict == Verdict::NoArchive {
                            endpoint.lacks_block("eth_getLogs", window.span.first());
                        }
                        window.pass_over(refusal, &mut waiting);
                    }
                },
            }
        }
    }

    /// Asks for one window, and keeps the answer before it counts.
    async fn one_window(
        &self,
        window: Window,
        endpoint: Arc<Endpoint>,
        filter: &LogFilter,
        key: &str,
    ) -> Step {
        let answer = logs_of(&endpoint, Purpose::Scan, filter, window.span).await;
        if let (Ok(logs), Some(journal)) = (&answer, self.journal()) {
            let label = endpoint.label().to_owned();
            let accepted = Accepted { filter: key.to_owned(), span: window.span, label, logs: logs.clone() };
            if let Err(error) = journal.keep_window(&accepted).await {
                tracing::warn!("{error}");
            }
        }
        Step::Answered { window, endpoint, answer }
    }

    /// The cheapest endpoint that was not passed over for the window.
    fn next_for(&self, filter: &str, window: &Window) -> Option<Arc<Endpoint>> {
        let task = Task::Scan { filter, block: window.span.first() };
        let not_passed_over = |endpoint: &&Arc<Endpoint>| {
            !window.passed_over.iter().any(|refusal| refusal.label == endpoint.label())
        };
        self.candidates(&task).into_iter().find(not_passed_over).cloned()
    }

    fn refused_scan(&self, window: Window) -> PoolError {
        PoolError::Refused {
            chain: self.chain().to_owned(),
            method: format!("eth_getLogs of blocks {}", window.span),
            refusals: [self.distrusted_with("eth_getLogs"), window.passed_over].concat(),
        }
    }
}

/// A part of a scan, with the endpoints that could not give it.
struct Window {
    span: BlockSpan,
    passed_over: Vec<Refusal>,
    patience: Patience,
}

impl Window {
    fn new(span: BlockSpan) -> Self {
        Self { span, passed_over: Vec::new(), patience: Patience::default() }
    }

    /// Puts its pieces of at most so many blocks to the front, in order, so that the scan runs through the day and not
    /// about it.
    fn cut(self, width: u64, waiting: &mut VecDeque<Window>) {
        let pieces = self.span.windows(width);
        let pieces = pieces.map(|span| Window {
            span,
            passed_over: self.passed_over.clone(),
            patience: self.patience.clone(),
        });
        for (index, piece) in pieces.enumerate() {
            waiting.insert(index, piece);
        }
    }

    /// Takes in what comes right after it, up to so many blocks in all, if the same endpoints are still to be asked for
    /// that: it may have been cut for one that takes less than the one that is asked now.
    fn join(&mut self, width: u64, waiting: &mut VecDeque<Window>) {
        while let Some(next) = waiting.front() {
            let are_neighbours = next.span.first() == self.span.last() + 1
                && self.span.count() + next.span.count() <= width
                && next.passed_over.is_empty()
                && self.passed_over.is_empty();
            let Some(span) =
                BlockSpan::new(self.span.first(), next.span.last()).ok().filter(|_| are_neighbours)
            else {
                return;
            };
            self.span = span;
            waiting.pop_front();
        }
    }

    fn pass_over(mut self, refusal: Refusal, waiting: &mut VecDeque<Window>) {
        self.passed_over.push(refusal);
        waiting.push_front(self);
    }
}

/// The width to cut a refused window of so many blocks to, and whether the endpoint is to be asked for no more than
/// that from now on. None when a shorter window is not what is wanted, or not possible.
fn shorter(refused: u64, verdict: &Verdict) -> Option<(u64, bool)> {
    match *verdict {
        _ if refused <= 1 => None,
        // What was asked for keeps the limit it named, so it is not about the width.
        Verdict::FewerBlocks { at_most: Some(width), lasts: true } if width >= refused => None,
        Verdict::FewerBlocks { at_most, lasts } => {
            let told = at_most.filter(|width| (1..refused).contains(width));
            Some((told.unwrap_or(refused / 2), lasts))
        }
        Verdict::TookTooLong => Some((refused / 2, false)),
        _ => None,
    }
}

/// The logs of a span by the word of one endpoint, checked. Where it takes fewer addresses than the filter has, its parts
/// are asked for one after the other.
pub(crate) async fn logs_of(
    endpoint: &Endpoint,
    purpose: Purpose,
    filter: &LogFilter,
    span: BlockSpan,
) -> Result<Vec<RawLog>, Refusal> {
    let mut logs = Vec::new();
    let mut done = 0;
    while done < filter.addresses.len() {
        let rest = &filter.addresses[done..];
        let part = &rest[..rest.len().min(endpoint.most_addresses())];
        let params = json!([{
            "fromBlock": format!("{:#x}", span.first()),
            "toBlock": format!("{:#x}", span.last()),
            "address": part.iter().map(|address| format!("{address:#x}")).collect::<Vec<_>>(),
            "topics": [filter.topic0],
        }]);
        let answer = match endpoint.request(purpose, "eth_getLogs", &params).await {
            Ok(answer) => answer,
            Err(refusal) if refusal.verdict == Verdict::FewerAddresses && part.len() > 1 => {
                endpoint.cap_addresses(part.len() / 2);
                continue;
            }
            Err(refusal) => return Err(refusal),
        };
        let answer: Vec<Value> = read_as(answer).map_err(|why| bad_answer(endpoint, why))?;
        if let Some(verdict) = classify::verdict_on_count(answer.len()) {
            let text = format!("gave exactly {} logs, where lists are known to be cut off", answer.len());
            return Err(Refusal { label: endpoint.label().to_owned(), verdict, text });
        }
        logs.extend(read_logs(answer, filter, span).map_err(|text| bad_answer(endpoint, text))?);
        done += part.len();
    }
    one_hash_a_block(&logs).map_err(|text| bad_answer(endpoint, text))?;
    Ok(logs)
}

/// Whether all logs of a block name the same hash for it. Windows do not overlap, so no two answers speak of one block;
/// the headers have the last word ([`Pool::hashes_hold`]).
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

#[cfg(test)]
mod tests {
    use super::*;
    use lake::Address;
    use proptest::prelude::*;

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
    fn a_refused_window_is_cut_shorter_or_not_at_all() {
        let fewer = |at_most, lasts| Verdict::FewerBlocks { at_most, lasts };
        for (refused, verdict, expected) in [
            (100, fewer(Some(10), true), Some((10, true))),
            (100, fewer(Some(10), false), Some((10, false))),
            (100, fewer(None, true), Some((50, true))),
            // It had what it asked for, so the width is not the reason (facts/rpc_providers.md §5, code 35).
            (10, fewer(Some(10), true), None),
            // The suggested pair lay elsewhere.
            (10, fewer(Some(1_075), false), Some((5, false))),
            (3, fewer(None, false), Some((1, false))),
            (1, fewer(None, false), None),
            (1, fewer(Some(1), true), None),
            (100, Verdict::TookTooLong, Some((50, false))),
            (1, Verdict::TookTooLong, None),
            (100, Verdict::NotYet, None),
            (100, Verdict::FewerAddresses, None),
        ] {
            assert_eq!(shorter(refused, &verdict), expected, "{refused} {verdict:?}");
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

    proptest! {
        #[test]
        fn no_block_is_accepted_twice(spans in prop::collection::vec((0_u64..200, 0_u64..30), 1..40)) {
            let mut scan = Scan::default();
            for (first, length) in spans {
                let span = BlockSpan::new(first, first + length).unwrap();
                let missing = scan.covered().missing_in(span);
                let window = Accepted { filter: "f".into(), span, label: "e".into(), logs: Vec::new() };
                prop_assert_eq!(scan.accept(window), missing == [span]);
            }
        }
    }
}
