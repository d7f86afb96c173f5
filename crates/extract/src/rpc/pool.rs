//! The endpoints of one chain: whom to ask next, and how a span of blocks is scanned for logs.
//!
//! Every answer is checked before it is believed. An endpoint that refuses, or whose answer fails the check, is passed
//! over for that question and the next one is asked; only when all have been is the question given up, with everyone's
//! reason.

use crate::rpc::classify::{self, Verdict};
use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::providers::{EndpointConfig, LeftOut};
use crate::rpc::recording::{Recorder, RecordingError};
use alloy_primitives::U64;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lake::bronze::{Header, LogFilter, RawLog};
use lake::registry::Chain;
use lake::span::{BlockSpan, Coverage};
use lake::status::Reason;
use lake::{Address, B256, Bytes};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a chain gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// There is nobody to ask.
    #[error("chain {chain} has no endpoint{}", left_out_text(left_out))]
    NoEndpoint {
        /// Chain.
        chain: String,
        /// Rows whose variable is not set.
        left_out: Vec<LeftOut>,
    },
    /// Endpoints answer, but serve other chains.
    #[error(
        "chain {chain} has no endpoint that serves it{}\nhint: mend `url` or `chain` in the providers file",
        lines(refusals)
    )]
    WrongChain {
        /// Chain.
        chain: String,
        /// What each said.
        refusals: Vec<Refusal>,
    },
    /// The contract's own answer.
    #[error("the call reverted")]
    Revert(Bytes),
    /// Everyone who could be asked said no.
    #[error("{method} on {chain}: no endpoint gave a usable answer{}", lines(refusals))]
    Refused {
        /// Chain.
        chain: String,
        /// Method, with what it was about.
        method: String,
        /// What each said.
        refusals: Vec<Refusal>,
    },
    /// The endpoint wants a smaller batch.
    #[error("the batch is too large for the node\n  {refusal}")]
    SmallerBatch {
        /// What it said.
        refusal: Refusal,
    },
    /// A recording cannot be read.
    #[error("the endpoint's recording cannot be used\n  {why}")]
    Recording {
        /// Why.
        why: String,
    },
}

impl From<RecordingError> for PoolError {
    fn from(error: RecordingError) -> Self {
        Self::Recording { why: error.to_string() }
    }
}

impl PoolError {
    /// Whether a person must change something before it can work: no other run will fare better.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::NoEndpoint { .. } | Self::WrongChain { .. } | Self::Recording { .. })
    }

    /// The word for the ledger.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint { .. } | Self::Recording { .. } => Reason::Unreachable,
            Self::WrongChain { .. } => Reason::WrongChain,
            Self::Revert(_) => Reason::CallFailed,
            Self::SmallerBatch { .. } => Reason::Unreachable,
            Self::Refused { refusals, .. } => {
                let all = |test: fn(&Verdict) -> bool| refusals.iter().all(|refusal| test(&refusal.verdict));
                let any = |test: fn(&Verdict) -> bool| refusals.iter().any(|refusal| test(&refusal.verdict));
                if any(|v| matches!(v, Verdict::NotRecorded)) {
                    Reason::NotRecorded
                } else if any(|v| matches!(v, Verdict::BadAnswer)) {
                    Reason::BadAnswer
                } else if all(|v| matches!(v, Verdict::NoArchive)) {
                    Reason::NoArchive
                } else if all(is_spent) {
                    Reason::Budget
                } else if all(|v| matches!(v, Verdict::TooFast { .. }) || is_spent(v)) {
                    Reason::RateLimited
                } else {
                    Reason::Unreachable
                }
            }
        }
    }
}

fn left_out_text(left_out: &[LeftOut]) -> String {
    match left_out {
        [] => "\nhint: add an [[endpoint]] for it to the providers file".to_owned(),
        rows => {
            let names: BTreeSet<_> = rows.iter().map(|row| row.variable.as_str()).collect();
            let names: Vec<_> = names.into_iter().collect();
            format!(
                " whose key is set\nhint: set {} to a key, for example: export {}=...",
                names.join(" or "),
                names[0]
            )
        }
    }
}

fn lines(items: &[impl std::fmt::Display]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {item}");
        text
    })
}

/// The endpoints of one chain, each confirmed to serve it.
pub struct Pool {
    chain: String,
    endpoints: Vec<Arc<Endpoint>>,
    distrusted: Mutex<Vec<Refusal>>,
    /// Endpoints that were left out after being asked for their chain id, and why.
    pub rejected: Vec<Refusal>,
}

/// Which blocks of a scan are there, and what they hold.
#[derive(Debug, Default)]
pub struct Scan {
    /// Logs in order of block and log index.
    pub logs: Vec<RawLog>,
    /// Blocks read.
    pub covered: Coverage,
    /// Why the rest was not, if it was not.
    pub failure: Option<PoolError>,
    /// Labels of the endpoints whose answers are in it.
    pub endpoints: BTreeSet<String>,
}

impl Pool {
    /// Opens a chain's endpoints and asks each for its chain id.
    ///
    /// # Errors
    /// [`PoolError::NoEndpoint`], [`PoolError::WrongChain`], or a recording that cannot be read.
    pub async fn open(
        chain: &Chain,
        configs: &[EndpointConfig],
        left_out: &[LeftOut],
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Self, PoolError> {
        let client = reqwest::Client::new();
        let mut endpoints = Vec::new();
        for config in configs.iter().filter(|config| config.chain == chain.name) {
            endpoints.push(Arc::new(Endpoint::open(config, &client, recorder.clone())?));
        }
        if endpoints.is_empty() {
            let left_out = left_out.iter().filter(|row| row.chain == chain.name).cloned().collect();
            return Err(PoolError::NoEndpoint { chain: chain.name.clone(), left_out });
        }
        let mut pool = Self {
            chain: chain.name.clone(),
            endpoints: Vec::new(),
            distrusted: Mutex::default(),
            rejected: Vec::new(),
        };
        let mut serves_another = false;
        for endpoint in endpoints {
            match endpoint.request::<U64>("eth_chainId", &json!([])).await {
                Ok(id) if id == U64::from(chain.chain_id) => pool.endpoints.push(endpoint),
                Ok(id) => {
                    serves_another = true;
                    let text = format!(
                        "serves chain id {id}, but {} is {} in the registry",
                        chain.name, chain.chain_id
                    );
                    pool.rejected.push(bad_answer(&endpoint, text));
                }
                Err(refusal) => pool.rejected.push(refusal),
            }
        }
        if pool.endpoints.is_empty() {
            let (chain, refusals) = (pool.chain, pool.rejected);
            return Err(match serves_another {
                true => PoolError::WrongChain { chain, refusals },
                false => PoolError::Refused { chain, method: "eth_chainId".to_owned(), refusals },
            });
        }
        Ok(pool)
    }

    /// The chain's name.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Requests sent, by label and method.
    pub fn asked(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.endpoints.iter().map(|endpoint| (endpoint.label().to_owned(), endpoint.asked())).collect()
    }

    /// What a person should know of the endpoints after a run.
    pub fn warnings(&self) -> Vec<String> {
        let caught = self.distrusted().into_iter().map(|why| format!("endpoint not trusted: {why}"));
        let left_out = self.rejected.iter().map(|why| format!("endpoint left out: {why}"));
        let others = self.endpoints.iter().flat_map(|endpoint| endpoint.warnings());
        caught.chain(left_out).chain(others).collect()
    }

    /// Asks one endpoint after the other until `read` accepts an answer. Returns what it made of the answer, with the
    /// endpoint's label.
    ///
    /// # Errors
    /// [`PoolError`]: a revert and a wish for a smaller batch at once, everything else when all have been asked.
    pub async fn ask<R, T>(
        &self,
        method: &'static str,
        params: Value,
        read: impl Fn(R) -> Result<T, String>,
    ) -> Result<(T, &str), PoolError>
    where
        R: DeserializeOwned + Send + Sync + std::fmt::Debug + Unpin + 'static,
    {
        let mut refusals = self.distrusted();
        let trusted = self.endpoints.iter().filter(|endpoint| !self.is_distrusted(endpoint.label()));
        let (down, up): (Vec<_>, Vec<_>) = trusted.partition(|endpoint| endpoint.is_down());
        for endpoint in up.into_iter().chain(down) {
            match endpoint.request::<R>(method, &params).await {
                Ok(answer) => match read(answer) {
                    Ok(read) => return Ok((read, endpoint.label())),
                    Err(why) => refusals.push(bad_answer(endpoint, why)),
                },
                Err(Refusal { verdict: Verdict::Revert(data), .. }) => return Err(PoolError::Revert(data)),
                Err(refusal) if matches!(refusal.verdict, Verdict::SmallerBatch { .. }) => {
                    return Err(PoolError::SmallerBatch { refusal });
                }
                Err(refusal) => {
                    // One may be slow, two are not.
                    let too_long = |refusal: &Refusal| refusal.verdict == Verdict::TookTooLong;
                    if too_long(&refusal) && refusals.iter().any(too_long) {
                        return Err(PoolError::SmallerBatch { refusal });
                    }
                    refusals.push(refusal);
                    if is_our_fault(&refusals) {
                        break;
                    }
                }
            }
        }
        if let Some(slow) = refusals.iter().position(|refusal| refusal.verdict == Verdict::TookTooLong) {
            return Err(PoolError::SmallerBatch { refusal: refusals.swap_remove(slow) });
        }
        Err(PoolError::Refused { chain: self.chain.clone(), method: method.to_owned(), refusals })
    }

    /// The header of a block.
    ///
    /// # Errors
    /// [`PoolError`], also when no endpoint has the block.
    pub async fn header(&self, number: u64) -> Result<Header, PoolError> {
        let read = |header: Option<RpcHeader>| match header {
            Some(header) if header.number == number => Ok(Header::from(header)),
            Some(header) => Err(format!("answered block {} when asked for {number}", header.number)),
            None => Err(format!("has no block {number}")),
        };
        let params = json!([format!("{number:#x}"), false]);
        Ok(self.ask("eth_getBlockByNumber", params, read).await?.0)
    }

    /// The last final block: that of the `finalized` tag, or where no endpoint knows the tag, the block so many behind
    /// the head.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn finalized(&self, blocks_behind_head: u64) -> Result<Header, PoolError> {
        let by_tag = async |tag: &'static str| {
            let read = |header: Option<RpcHeader>| {
                header.map(Header::from).ok_or_else(|| format!("has no {tag} block"))
            };
            self.ask("eth_getBlockByNumber", json!([tag, false]), read).await.map(|(header, _)| header)
        };
        match by_tag("finalized").await {
            Err(PoolError::Refused { refusals, .. })
                if refusals.iter().any(|refusal| does_not_know_tag(&refusal.verdict)) =>
            {
                let head = by_tag("latest").await?;
                self.header(head.number.saturating_sub(blocks_behind_head)).await
            }
            outcome => outcome,
        }
    }

    /// The return data of a view call at a block, as `read` makes of it.
    ///
    /// # Errors
    /// [`PoolError`]; a revert is [`PoolError::Revert`].
    pub async fn call<T>(
        &self,
        to: Address,
        input: &Bytes,
        block: u64,
        read: impl Fn(Bytes) -> Result<T, String>,
    ) -> Result<(T, &str), PoolError> {
        let params = json!([{ "to": format!("{to:#x}"), "data": input }, format!("{block:#x}")]);
        self.ask("eth_call", params, read).await
    }

    /// Scans a span for logs, `at_once` windows at a time, each through the endpoint that takes the widest.
    ///
    /// `progress` is told the number of blocks of every accepted window. The result says what is covered; it is the
    /// caller's to see that nothing is missing.
    pub async fn scan(
        &self,
        filter: &LogFilter,
        span: BlockSpan,
        at_once: usize,
        progress: impl Fn(u64),
    ) -> Scan {
        let mut scan = Scan::default();
        let mut hashes: HashMap<u64, B256> = HashMap::new();
        let mut waiting = VecDeque::from([Window { span, passed_over: Vec::new() }]);
        let mut under_way = FuturesUnordered::new();
        loop {
            while scan.failure.is_none() && under_way.len() < at_once.max(1) {
                let Some(window) = waiting.pop_front() else { break };
                let Some(endpoint) = self.widest(&window.passed_over) else {
                    scan.failure = Some(self.refused_scan(window));
                    break;
                };
                let width = endpoint.log_window();
                if window.span.count() > width {
                    window.cut(width, &mut waiting);
                    continue;
                }
                let endpoint = Arc::clone(endpoint);
                under_way.push(async move {
                    let answer = logs_of(&endpoint, filter, window.span).await;
                    (window, endpoint, answer)
                });
            }
            let Some((mut window, endpoint, answer)) = under_way.next().await else { break };
            let checked = answer.and_then(|logs| {
                check_hashes(&logs, &mut hashes).map(|()| logs).map_err(|text| bad_answer(&endpoint, text))
            });
            match checked {
                Ok(logs) => match scan.covered.add(window.span) {
                    Ok(()) => {
                        progress(window.span.count());
                        scan.endpoints.insert(endpoint.label().to_owned());
                        scan.logs.extend(logs);
                    }
                    Err(overlap) => {
                        window.pass_over(bad_answer(&endpoint, overlap.to_string()), &mut waiting)
                    }
                },
                Err(refusal) => match shorter(window.span.count(), &refusal.verdict) {
                    Some((width, lasts)) => {
                        if lasts {
                            endpoint.narrow(width);
                        }
                        window.cut(width, &mut waiting);
                    }
                    None => {
                        if matches!(refusal.verdict, Verdict::FewerBlocks { .. }) && window.span.count() == 1
                        {
                            endpoint.set_lacking("eth_getLogs");
                        }
                        window.pass_over(refusal, &mut waiting);
                    }
                },
            }
        }
        scan.logs.sort_by_key(|log| (log.block_number, log.log_index));
        scan
    }

    /// The endpoint with the widest log window that was not passed over; of equals the more trusted; of those that are
    /// up before those that are down.
    fn widest(&self, passed_over: &[Refusal]) -> Option<&Arc<Endpoint>> {
        if is_our_fault(passed_over) {
            return None;
        }
        let candidates = self.endpoints.iter().enumerate();
        candidates
            .filter(|(_, endpoint)| !passed_over.iter().any(|refusal| refusal.label == endpoint.label()))
            .filter(|(_, endpoint)| !self.is_distrusted(endpoint.label()))
            .min_by_key(|(index, endpoint)| {
                let is_last = endpoint.is_down() || endpoint.lacks("eth_getLogs");
                (is_last, std::cmp::Reverse(endpoint.log_window()), *index)
            })
            .map(|(_, endpoint)| endpoint)
    }

    fn refused_scan(&self, window: Window) -> PoolError {
        PoolError::Refused {
            chain: self.chain.clone(),
            method: format!("eth_getLogs of blocks {}", window.span),
            refusals: [self.distrusted(), window.passed_over].concat(),
        }
    }

    /// Endpoints that were caught without what they should hold, and how.
    pub fn distrusted(&self) -> Vec<Refusal> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_distrusted(&self, label: &str) -> bool {
        self.distrusted().iter().any(|refusal| refusal.label == label)
    }

    /// Asks each endpoint of a scan for logs that must exist in `span`. Those that do not have them are not asked again in
    /// this run. Returns whether all had them.
    ///
    /// # Errors
    /// [`PoolError`] when an endpoint gives no answer: nothing is shown then, for or against it.
    pub async fn have_logs(
        &self,
        labels: &BTreeSet<String>,
        filter: &LogFilter,
        span: BlockSpan,
    ) -> Result<bool, PoolError> {
        let mut all_have = true;
        for endpoint in self.endpoints.iter().filter(|endpoint| labels.contains(endpoint.label())) {
            let refusal = match logs_of(endpoint, filter, span).await {
                Ok(logs) if !logs.is_empty() => continue,
                Ok(_) => {
                    let contract = filter.addresses.first().copied().unwrap_or_default();
                    let text = format!(
                        "answers that blocks {span} hold no log of {contract:#x}, yet the contract's state says that it \
                         was touched then: it does not hold these logs"
                    );
                    bad_answer(endpoint, text)
                }
                Err(refusal) if refusal.verdict == Verdict::BadAnswer => refusal,
                Err(refusal) => {
                    let (chain, method) = (self.chain.clone(), format!("eth_getLogs of blocks {span}"));
                    return Err(PoolError::Refused { chain, method, refusals: vec![refusal] });
                }
            };
            all_have = false;
            self.distrusted.lock().unwrap_or_else(PoisonError::into_inner).push(refusal);
        }
        Ok(all_have)
    }
}

/// A part of a scan, with the endpoints that could not give it.
struct Window {
    span: BlockSpan,
    passed_over: Vec<Refusal>,
}

impl Window {
    /// Puts its pieces of at most so many blocks to the front, in order, so that the scan runs through the day and not
    /// about it.
    fn cut(self, width: u64, waiting: &mut VecDeque<Window>) {
        let pieces = self.span.windows(width);
        let pieces = pieces.map(|span| Window { span, passed_over: self.passed_over.clone() });
        for (index, piece) in pieces.enumerate() {
            waiting.insert(index, piece);
        }
    }

    fn pass_over(&mut self, refusal: Refusal, waiting: &mut VecDeque<Window>) {
        let mut passed_over = std::mem::take(&mut self.passed_over);
        passed_over.push(refusal);
        waiting.push_front(Window { span: self.span, passed_over });
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
        _ => None,
    }
}

/// Whether a key's quota is spent, by our count or by the endpoint's word.
fn is_spent(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::MonthSpent | Verdict::Park { .. })
}

/// Whether two endpoints agree that the request is wrong.
fn is_our_fault(refusals: &[Refusal]) -> bool {
    refusals.iter().filter(|refusal| refusal.verdict == Verdict::Fatal).count() > 1
}

/// Whether a refusal of a block tag may mean that the node does not know the word.
fn does_not_know_tag(verdict: &Verdict) -> bool {
    use Verdict::{BadAnswer, Elsewhere, Fatal, NotYet, Unknown};
    matches!(verdict, Elsewhere | BadAnswer | Fatal | NotYet | Unknown)
}

fn bad_answer(endpoint: &Endpoint, text: String) -> Refusal {
    Refusal { label: endpoint.label().to_owned(), verdict: Verdict::BadAnswer, text }
}

async fn logs_of(endpoint: &Endpoint, filter: &LogFilter, span: BlockSpan) -> Result<Vec<RawLog>, Refusal> {
    let params = json!([{
        "fromBlock": format!("{:#x}", span.first()),
        "toBlock": format!("{:#x}", span.last()),
        "address": filter.addresses.iter().map(|address| format!("{address:#x}")).collect::<Vec<_>>(),
        "topics": [filter.topic0],
    }]);
    let answer: Vec<Value> = endpoint.request("eth_getLogs", &params).await?;
    if let Some(verdict) = classify::verdict_on_count(answer.len()) {
        let text = format!("gave exactly {} logs, where lists are known to be cut off", answer.len());
        return Err(Refusal { label: endpoint.label().to_owned(), verdict, text });
    }
    read_logs(answer, filter, span).map_err(|text| bad_answer(endpoint, text))
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

/// One block has one hash, whoever answers.
fn check_hashes(logs: &[RawLog], hashes: &mut HashMap<u64, B256>) -> Result<(), String> {
    for log in logs {
        let known = *hashes.entry(log.block_number).or_insert(log.block_hash);
        if known != log.block_hash {
            return Err(format!(
                "block {} has hash {} here and {known} elsewhere",
                log.block_number, log.block_hash
            ));
        }
    }
    Ok(())
}

/// The fields of an RPC block that are kept.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RpcHeader {
    #[serde(with = "alloy_serde::quantity")]
    number: u64,
    hash: B256,
    parent_hash: B256,
    #[serde(with = "alloy_serde::quantity")]
    timestamp: u64,
}

impl From<RpcHeader> for Header {
    fn from(header: RpcHeader) -> Self {
        let RpcHeader { number, hash, parent_hash, timestamp } = header;
        Self { number, hash, parent_hash, timestamp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut hashes = HashMap::new();
        check_hashes(&read_logs(vec![log(10, 0)], &filter, span).unwrap(), &mut hashes).unwrap();
        check_hashes(&read_logs(vec![other], &filter, span).unwrap(), &mut hashes).unwrap_err();
    }

    #[test]
    fn a_chain_without_keys_says_which_variable_to_set() {
        let row = |variable: &str| LeftOut {
            label: "a".into(),
            chain: "ethereum".into(),
            variable: variable.into(),
        };
        let error = PoolError::NoEndpoint {
            chain: "ethereum".into(),
            left_out: vec![row("ALCHEMY_KEY_1"), row("INFURA_KEY_1")],
        };
        assert_eq!(
            error.to_string(),
            "chain ethereum has no endpoint whose key is set\nhint: set ALCHEMY_KEY_1 or INFURA_KEY_1 to a key, for example: export ALCHEMY_KEY_1=..."
        );
    }
}
