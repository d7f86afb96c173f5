//! The test to which one endpoint is put.

use super::{
    Answer, AtDepth, BLOCK_ONE, Head, Held, Identity, Mark, Measured, NEAR, NEIGHBOURS, Patient, Probe,
};
use crate::reads::MEMBERS_PER_BATCH;
use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::Refusal;
use crate::rpc::log_query::NOBODY;
use crate::rpc::pool::{bad_answer, read_as};
use crate::rpc::providers::EndpointConfig;
use crate::rpc::tally::Purpose;
use alloy_primitives::U64;
use jiff::Timestamp;
use lake::Bytes;
use lake::bronze::RawLog;
use protocols::multicall;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Code that returns 42 as a word, be it called or run as init code: PUSH1 42, PUSH1 0, MSTORE, PUSH1 32, PUSH1 0, RETURN.
const RETURNS_42: [u8; 10] = alloy_primitives::hex!("602a60005260206000f3");

/// Windows that are tried beside the stated one.
const WINDOWS: [u64; 7] = [10, 100, 1_000, 2_000, 5_000, 10_000, 50_000];

/// Sizes of batches that are tried.
const BATCHES: [usize; 5] = [4, 10, 50, 100, 500];

/// Seconds of a key's pace that a batch larger than any that a run sends may take.
const SECONDS_A_BATCH: f64 = 10.0;

/// Tries of a question to which a refusal is as good an answer as any.
const TRIES: usize = 2;

/// What a header says that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) timestamp: u64,
    /// Whether its bloom filter is neither empty nor full, so that the block holds at least one log.
    pub(super) has_logs: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RpcHeader {
    #[serde(with = "alloy_serde::quantity")]
    number: u64,
    #[serde(with = "alloy_serde::quantity")]
    timestamp: u64,
    #[serde(default)]
    logs_bloom: Bytes,
}

impl From<RpcHeader> for Header {
    fn from(header: RpcHeader) -> Self {
        let bits: u32 = header.logs_bloom.iter().map(|byte| byte.count_ones()).sum();
        Self { number: header.number, timestamp: header.timestamp, has_logs: bits > 0 && bits < 8 * 256 }
    }
}

/// Sizes of batches that an endpoint is asked for: those that runs send, and larger ones where its pace allows them soon.
fn batch_sizes(config: &EndpointConfig) -> impl Iterator<Item = usize> + use<> {
    let seconds = config.purse.as_ref().map_or(0.0, |purse| purse.tariff().seconds("eth_chainId"));
    BATCHES
        .into_iter()
        .filter(move |size| *size <= MEMBERS_PER_BATCH || *size as f64 * seconds <= SECONDS_A_BATCH)
}

/// Requests that an examination usually takes, by method.
pub(super) fn usual_requests(config: &EndpointConfig, marks: u64) -> BTreeMap<&'static str, u64> {
    let members: usize = batch_sizes(config).sum();
    let wider = WINDOWS.iter().filter(|width| **width > config.log_window).count().min(2);
    BTreeMap::from([
        ("eth_chainId", 1 + members as u64),
        ("eth_getBlockByNumber", 3),
        ("eth_call", marks + 2),
        ("eth_getLogs", marks + 1 + wider as u64),
    ])
}

fn quantity(number: u64) -> String {
    format!("{number:#x}")
}

/// Whether a refusal says nothing about what was asked, only about the moment or the key.
fn is_beside_the_point(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Again
            | Verdict::TooFast { .. }
            | Verdict::Park { .. }
            | Verdict::Drop
            | Verdict::MonthSpent
            | Verdict::NotRecorded
    )
}

/// What became of one width.
enum Width {
    Taken,
    TooWide { told: Option<u64>, why: String },
    Other { not_held: bool, why: String },
}

impl Patient<'_> {
    async fn ask(&self, method: &'static str, params: Value) -> Result<Value, Refusal> {
        self.endpoint.request(Purpose::Probe, method, &params).await
    }

    async fn ask_briefly(&self, method: &'static str, params: Value) -> Result<Value, Refusal> {
        self.endpoint.request_within(TRIES, Purpose::Probe, method, &params).await
    }

    /// Which chain it serves, and how far it has got there.
    pub(super) async fn identify(&self) -> Identity {
        let read = |id| read_as::<U64>(id).map_err(|why| bad_answer(&self.endpoint, why));
        let id = match self.ask("eth_chainId", json!([])).await.and_then(read) {
            Ok(id) => id.to::<u64>(),
            Err(refusal) => return Identity { chain_id: None, head: Err(refusal) },
        };
        if id != self.chain.chain_id {
            let (name, right) = (&self.chain.name, self.chain.chain_id);
            let text = format!("serves chain id {id}, but {name} is {right} in the registry");
            return Identity { chain_id: Some(id), head: Err(bad_answer(&self.endpoint, text)) };
        }
        let answer = self.ask("eth_getBlockByNumber", json!(["latest", false])).await;
        let head = answer.and_then(|answer| match read_as::<Option<RpcHeader>>(answer) {
            Ok(Some(header)) => Ok(Header::from(header)),
            Ok(None) => Err(bad_answer(&self.endpoint, "has no latest block".to_owned())),
            Err(why) => Err(bad_answer(&self.endpoint, why)),
        });
        Identity { chain_id: Some(id), head }
    }

    /// The header of a block, if it has the block.
    pub(super) async fn header(&self, number: u64) -> Result<Option<Header>, Refusal> {
        let answer = self.ask("eth_getBlockByNumber", json!([quantity(number), false])).await?;
        let read = read_as::<Option<RpcHeader>>(answer).map_err(|why| bad_answer(&self.endpoint, why))?;
        Ok(read.filter(|header| header.number == number).map(Header::from))
    }

    /// Puts the endpoint to the test; with the refusal that kept it from beginning, if one did.
    pub(super) async fn examine(
        &self,
        at: Timestamp,
        identity: Identity,
        best: u64,
        marks: &[Mark],
    ) -> (Probe, Option<Refusal>) {
        let not_asked = || Answer::Unknown("it was not asked".to_owned());
        let mut probe = Probe {
            at,
            chain_id: identity.chain_id,
            head: None,
            finalized_tag: None,
            state: Vec::new(),
            logs: Vec::new(),
            log_window: Measured::default(),
            batch: Measured::default(),
            overrides: not_asked(),
            deployless: not_asked(),
        };
        let head = match identity.head {
            Ok(head) => head,
            Err(refusal) => return (probe, Some(refusal)),
        };
        let behind = best.saturating_sub(head.number);
        probe.head = Some(Head { number: head.number, timestamp: head.timestamp, behind });
        probe.finalized_tag = self.knows_finalized().await;
        let near = self.near(head).await;
        for mark in
            std::iter::once(&near).chain(marks.iter().filter(|mark| mark.header.number < near.header.number))
        {
            probe.state.push(self.state_at(mark).await);
            probe.logs.push(self.logs_at(mark).await);
        }
        probe.log_window = self.log_window(&probe.logs).await;
        probe.overrides = self.overrides(near.header.number).await;
        probe.deployless = self.deployless(near.header.number).await;
        probe.batch = self.batch().await;
        (probe, None)
    }

    /// The block a little behind its own head, or one soon after it that says that it holds logs.
    async fn near(&self, head: Header) -> Mark {
        let depth = format!("{NEAR} blocks");
        let number = head.number.saturating_sub(NEAR);
        let mut first = None;
        for number in number..=number.saturating_add(NEIGHBOURS) {
            let Ok(Some(header)) = self.header(number).await else { break };
            if header.has_logs {
                return Mark { depth, header };
            }
            first = first.or(Some(header));
        }
        // Without a header it can still be asked for the block.
        let header = first.unwrap_or(Header { number, timestamp: head.timestamp, has_logs: false });
        Mark { depth, header }
    }

    async fn knows_finalized(&self) -> Option<bool> {
        match self.ask_briefly("eth_getBlockByNumber", json!(["finalized", false])).await {
            Ok(answer) => Some(read_as::<RpcHeader>(answer).is_ok()),
            Err(refusal) if is_beside_the_point(&refusal.verdict) => None,
            Err(_) => Some(false),
        }
    }

    fn at(mark: &Mark, held: Held, why: Option<String>) -> AtDepth {
        AtDepth { depth: mark.depth.clone(), block: mark.header.number, held, why }
    }

    fn not_shown(mark: &Mark, refusal: Refusal) -> AtDepth {
        let held = if refusal.verdict == Verdict::NoArchive { Held::Refused } else { Held::Unknown };
        Self::at(mark, held, Some(refusal.text))
    }

    /// State: Multicall3 carries out no calls, and says so in two words. Where it is not deployed yet an account's balance
    /// is asked for, which shows nothing but that the question is taken.
    async fn state_at(&self, mark: &Mark) -> AtDepth {
        let block = quantity(mark.header.number);
        let Some(contract) =
            self.chain.multicall3.filter(|_| mark.header.number >= self.chain.multicall3_block)
        else {
            return match self.ask("eth_getBalance", json!([NOBODY, block])).await {
                Ok(Value::String(balance)) if balance.len() > "0x".len() => {
                    Self::at(mark, Held::Unproven, None)
                }
                Ok(other) => Self::at(mark, Held::SilentlyEmpty, Some(format!("gives {other} as a balance"))),
                Err(refusal) => Self::not_shown(mark, refusal),
            };
        };
        let call = json!([{ "to": format!("{contract:#x}"), "data": multicall::encode(&[]) }, block]);
        let answer = match self.ask("eth_call", call).await {
            Ok(answer) => answer,
            Err(refusal) => return Self::not_shown(mark, refusal),
        };
        match read_as::<Bytes>(answer) {
            Ok(answer) if answer == no_results() => Self::at(mark, Held::Shown, None),
            Ok(answer) if answer.is_empty() => {
                let why = "gives 0x from Multicall3, whose code is there at this block";
                Self::at(mark, Held::SilentlyEmpty, Some(why.to_owned()))
            }
            Ok(_) => Self::at(mark, Held::Unknown, Some("gives a wrong answer from Multicall3".to_owned())),
            Err(why) => Self::at(mark, Held::Unknown, Some(why)),
        }
    }

    /// Logs: all of the block, whoever's they are; of nobody's, where it wants an address.
    async fn logs_at(&self, mark: &Mark) -> AtDepth {
        let (block, number) = (quantity(mark.header.number), mark.header.number);
        let of_all = json!([{ "fromBlock": block, "toBlock": block }]);
        match self.ask("eth_getLogs", of_all).await {
            Ok(answer) => match read_as::<Vec<RawLog>>(answer) {
                Ok(logs) if logs.iter().any(|log| log.block_number != number) => {
                    Self::at(mark, Held::Unknown, Some("gives logs of other blocks".to_owned()))
                }
                Ok(logs) if !logs.is_empty() => Self::at(mark, Held::Shown, None),
                Ok(_) if mark.header.has_logs => {
                    let why = "gives no logs of a block whose header says that it holds some";
                    Self::at(mark, Held::SilentlyEmpty, Some(why.to_owned()))
                }
                Ok(_) => Self::at(mark, Held::Unproven, None),
                Err(why) => Self::at(mark, Held::Unknown, Some(why)),
            },
            Err(refusal)
                if refusal.verdict == Verdict::NoArchive || is_beside_the_point(&refusal.verdict) =>
            {
                Self::not_shown(mark, refusal)
            }
            Err(refusal) => match self.ask("eth_getLogs", logs_of_nobody(number, number)).await {
                Ok(_) => Self::at(mark, Held::Unproven, Some(refusal.text)),
                Err(refusal) => Self::not_shown(mark, refusal),
            },
        }
    }

    /// The widest window that is taken: from the stated one upward to the first refusal, or downward to the first that is
    /// taken. Measured at the oldest block whose logs it may hold, where a run would use it.
    async fn log_window(&self, logs: &[AtDepth]) -> Measured {
        let oldest = logs.iter().rfind(|at| at.depth != BLOCK_ONE && at.held.may_be());
        let Some(last) = oldest.map(|at| at.block) else {
            let why =
                logs.first().and_then(|at| at.why.clone()).unwrap_or_else(|| "it was not asked".to_owned());
            let is_refused = logs.first().is_some_and(|at| at.held == Held::Unknown);
            return Measured { most: None, is_limit: false, why: Some(why).filter(|_| is_refused) };
        };
        let stated = self.config.log_window;
        let mut found = Measured::default();
        match self.width(last, stated).await {
            Width::Taken => {
                found.most = Some(stated);
                for width in WINDOWS.into_iter().filter(|width| *width > stated) {
                    match self.width(last, width).await {
                        Width::Taken => found.most = Some(width),
                        Width::TooWide { told, why } => {
                            (found.is_limit, found.why) = (true, Some(why));
                            let told = told.filter(|told| found.most < Some(*told) && *told < width);
                            if let Some(told) = told
                                && matches!(self.width(last, told).await, Width::Taken)
                            {
                                found.most = Some(told);
                            }
                            return found;
                        }
                        Width::Other { why, .. } => {
                            found.why = Some(why);
                            return found;
                        }
                    }
                }
                found
            }
            refused => self.narrower(last, stated, refused).await,
        }
    }

    /// The widest of the narrower windows that is taken, after one of `refused` blocks was not.
    async fn narrower(&self, last: u64, mut refused: u64, mut outcome: Width) -> Measured {
        let mut found = Measured { most: Some(0), ..Measured::default() };
        loop {
            let told = match outcome {
                Width::Taken => {
                    found.most = Some(refused);
                    return found;
                }
                Width::TooWide { told, why } => {
                    (found.is_limit, found.why) = (true, Some(why));
                    told
                }
                Width::Other { not_held, why } => {
                    // What is said of a block that is not held says nothing of shorter ranges.
                    found.why = Some(why);
                    if !not_held {
                        found.most = None;
                        return found;
                    }
                    found.is_limit = false;
                    None
                }
            };
            let next = WINDOWS.into_iter().rfind(|width| *width < refused).unwrap_or(1);
            let width = told.filter(|told| (1..refused).contains(told)).unwrap_or(next);
            if refused <= 1 {
                found.most = found.most.filter(|_| found.is_limit);
                return found;
            }
            (refused, outcome) = (width, self.width(last, width).await);
        }
    }

    async fn width(&self, last: u64, width: u64) -> Width {
        let Some(first) = last.checked_sub(width.saturating_sub(1)) else {
            let why = format!("there are no {width} blocks before block {last}");
            return Width::Other { not_held: true, why };
        };
        match self.ask_briefly("eth_getLogs", logs_of_nobody(first, last)).await {
            Ok(Value::Array(_)) => Width::Taken,
            Ok(_) => Width::Other { not_held: false, why: "gives no list of logs".to_owned() },
            Err(Refusal { verdict: Verdict::FewerBlocks { at_most, .. }, text, .. }) => {
                Width::TooWide { told: at_most, why: text }
            }
            Err(Refusal { verdict, text, .. }) => {
                Width::Other { not_held: verdict == Verdict::NoArchive, why: text }
            }
        }
    }

    /// Whether code can be lent to an address for one call. Some nodes take the third parameter and pass it over.
    async fn overrides(&self, block: u64) -> Answer {
        let code = Bytes::from_static(&RETURNS_42);
        let lent = json!({ (format!("{NOBODY:#x}")): { "code": code } });
        let call = json!({ "to": format!("{NOBODY:#x}"), "data": "0x" });
        self.answers_42(json!([call, quantity(block), lent])).await
    }

    /// Whether init code is run by a call without `to`.
    async fn deployless(&self, block: u64) -> Answer {
        let code = Bytes::from_static(&RETURNS_42);
        self.answers_42(json!([{ "data": code }, quantity(block)])).await
    }

    async fn answers_42(&self, params: Value) -> Answer {
        match self.ask_briefly("eth_call", params).await.map(read_as::<Bytes>) {
            Ok(Ok(answer)) if answer == word(42) => Answer::Right,
            Ok(Ok(answer)) => {
                let shown: String = answer.to_string().chars().take(20).collect();
                Answer::Wrong(format!("gives {shown} where 42 is the answer"))
            }
            Ok(Err(why)) => Answer::Wrong(why),
            Err(refusal)
                if is_beside_the_point(&refusal.verdict)
                    || matches!(refusal.verdict, Verdict::NoArchive | Verdict::NotYet) =>
            {
                Answer::Unknown(refusal.text)
            }
            Err(refusal) => Answer::Refused(refusal.text),
        }
    }

    /// The largest batch all of whose members are answered. Its members ask for the chain id, which costs the least.
    async fn batch(&self) -> Measured {
        let mut found = Measured { most: Some(0), ..Measured::default() };
        for size in batch_sizes(self.config) {
            match self.batch_of(size).await {
                Ok(()) => found.most = Some(size as u64),
                Err(refusal) => {
                    found.why = Some(refusal.text);
                    match refusal.verdict {
                        // More at once than its rate allows is too much however often it is tried.
                        Verdict::TooFast { .. } => found.is_limit = true,
                        Verdict::SmallerBatch { at_most } => {
                            found.is_limit = true;
                            let told = at_most.and_then(|told| usize::try_from(told).ok());
                            let told = told.filter(|told| found.most < Some(*told as u64) && *told < size);
                            if let Some(told) = told
                                && self.batch_of(told).await.is_ok()
                            {
                                found.most = Some(told as u64);
                            }
                        }
                        ref other if is_beside_the_point(other) => {
                            found.most = found.most.filter(|most| *most > 0);
                        }
                        _ => found.is_limit = true,
                    }
                    return found;
                }
            }
        }
        if found.most < BATCHES.last().map(|size| *size as u64) {
            found.why = Some("its pace is too slow for larger ones".to_owned());
        }
        found
    }

    async fn batch_of(&self, size: usize) -> Result<(), Refusal> {
        let members = vec![json!([]); size];
        let answers = self.endpoint.batch_within(TRIES, Purpose::Probe, "eth_chainId", &members).await?;
        for answer in answers {
            let id = read_as::<U64>(answer?).map_err(|why| bad_answer(&self.endpoint, why))?;
            if id != U64::from(self.chain.chain_id) {
                return Err(bad_answer(&self.endpoint, format!("serves chain id {id} within a batch")));
            }
        }
        Ok(())
    }

    /// Takes to heart what lasts: the next run begins with it.
    pub(super) fn learn(&self, probe: &Probe) {
        for (method, seen) in [("eth_call", &probe.state), ("eth_getLogs", &probe.logs)] {
            for at in seen.iter().filter(|at| at.held == Held::Shown) {
                self.endpoint.holds_block(method, at.block);
            }
            // A balancer's node that lags has not lost its past: only what is older than all that was shown is taken for lost,
            // and never what is new.
            let oldest_shown = seen.iter().rfind(|at| at.held == Held::Shown).map_or(u64::MAX, |at| at.block);
            let mut old = seen.iter().skip(1);
            if let Some(lacking) = old.find(|at| at.held.is_lacking() && at.block < oldest_shown) {
                self.endpoint.lacks_block(method, lacking.block);
            }
        }
        if let Measured { most: Some(most @ 1..), is_limit, .. } = probe.log_window
            && (is_limit || most >= self.config.log_window)
        {
            self.endpoint.measured_window(most);
        }
        if let Some(most) = probe.batch.most.and_then(|most| usize::try_from(most).ok()) {
            if probe.batch.is_limit {
                self.endpoint.measured_members(Some(most.max(1)));
            } else if self.endpoint.most_members("eth_chainId") <= most {
                self.endpoint.measured_members(None);
            }
        }
        // A probe is plain data, so this does not fail.
        if let Ok(probe) = serde_json::to_value(probe) {
            self.endpoint.set_probed(probe);
        }
    }
}

/// What `aggregate3` returns for no calls: where its list begins, and that it is empty.
fn no_results() -> Bytes {
    [word(32), word(0)].concat().into()
}

fn word(last: u8) -> Bytes {
    [&[0; 31][..], &[last]].concat().into()
}

fn logs_of_nobody(first: u64, last: u64) -> Value {
    json!([{ "fromBlock": quantity(first), "toBlock": quantity(last), "address": format!("{NOBODY:#x}") }])
}
