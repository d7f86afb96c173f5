//! Second opinions: whether what one operator says of a day's logs is what others say.
//!
//! An empty list is not evidence. So each endpoint of a scan must show a log that the contracts' state says must exist
//! ([`Pool::have_logs`]), and parts of the scan are asked again of another operator ([`Pool::ask_again`]). Where two
//! differ, the transaction's receipt says which of them is wrong.

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::journal::{Accepted, digest_of};
use crate::rpc::pool::{Pool, PoolError, Question, RESTS, bad_answer, read_as};
use crate::rpc::route::Task;
use crate::rpc::scan::{Scan, logs_of};
use crate::rpc::tally::Purpose;
use lake::bronze::{LogFilter, RawLog};
use lake::digest::sha256_hex;
use lake::span::BlockSpan;
use lake::status::AuditLevel;
use lake::{B256, Bytes};
use serde::Deserialize;
use serde_json::json;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Windows of a chain's day that are asked again at least.
const LEAST_SAMPLES: usize = 3;
/// Of so many windows one is asked again.
const WINDOWS_A_SAMPLE: usize = 100;

/// How far a scan was confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confirmed {
    /// Operators who were asked again.
    pub operators: BTreeSet<String>,
    /// Blocks asked again.
    pub blocks: u64,
    /// Windows asked again, in whole or in part.
    pub windows: u64,
    /// Logs seen in their transaction's receipt.
    pub logs_in_receipts: u64,
    /// The level reached.
    pub level: Option<AuditLevel>,
}

/// Why a scan was not confirmed.
#[derive(Debug)]
pub enum Doubt {
    /// Endpoints that are wrong, by a receipt: they are not asked again, and what they said does not count.
    Caught(Vec<Refusal>),
    /// Two differ, and no receipt says who is wrong.
    Undecided(PoolError),
}

/// How many windows to ask again of so many: one of a hundred, three at least.
pub fn samples(windows: u64) -> u64 {
    windows.div_ceil(WINDOWS_A_SAMPLE as u64).max(LEAST_SAMPLES as u64)
}

impl Pool {
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
            let refusal = match self.patiently(endpoint, filter, span).await {
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
                    let (chain, method) = (self.chain().to_owned(), format!("eth_getLogs of blocks {span}"));
                    return Err(PoolError::Refused { chain, method, refusals: vec![refusal] });
                }
            };
            all_have = false;
            self.distrust(refusal).await;
        }
        Ok(all_have)
    }

    /// The logs of a witness by one endpoint, asked again after rests as long as only passing faults are in the way.
    async fn patiently(
        &self,
        endpoint: &Endpoint,
        filter: &LogFilter,
        span: BlockSpan,
    ) -> Result<Vec<RawLog>, Refusal> {
        for rest in RESTS {
            match self.logs_by(endpoint, Purpose::Witness, filter, span).await {
                Err(refusal) if self.may_pass(std::slice::from_ref(&refusal)) => {
                    tokio::time::sleep(rest).await;
                }
                outcome => return outcome,
            }
        }
        self.logs_by(endpoint, Purpose::Witness, filter, span).await
    }

    /// A block of the span that holds at least one log, by the word of its header: the first of the span's first, middle
    /// and last block whose bloom filter is neither empty nor full. Nodes that have dropped a block's logs still have its
    /// header.
    ///
    /// # Errors
    /// [`PoolError`].
    pub async fn block_with_logs(&self, span: BlockSpan) -> Result<Option<BlockSpan>, PoolError> {
        let middle = span.first() + (span.last() - span.first()) / 2;
        for number in [span.first(), middle, span.last()] {
            let question = Question {
                purpose: Purpose::Witness,
                method: "eth_getBlockByNumber",
                params: json!([format!("{number:#x}"), false]),
                block: Some(number),
            };
            let read =
                |answer| read_as::<Option<Blooming>>(answer)?.ok_or_else(|| format!("has no block {number}"));
            let (header, _) = self.ask(&question, read).await?;
            let bits: u32 = header.logs_bloom.iter().map(|byte| byte.count_ones()).sum();
            if bits > 0 && bits < 8 * 256 {
                return Ok(BlockSpan::new(number, number).ok());
            }
        }
        Ok(None)
    }

    /// Asks each endpoint of a scan for all logs of a block that has some. Those that answer with none are not asked again
    /// in this run. Returns whether all showed logs; one that refuses such a question shows nothing, for or against it.
    pub async fn show_any_log(&self, labels: &BTreeSet<String>, block: BlockSpan) -> AnyLog {
        let mut shown = AnyLog::Shown;
        let number = format!("{:#x}", block.first());
        let params = json!([{ "fromBlock": number, "toBlock": number }]);
        for endpoint in self.endpoints.iter().filter(|endpoint| labels.contains(endpoint.label())) {
            let answer = endpoint.request(Purpose::Witness, "eth_getLogs", &params).await;
            match answer.map(read_as::<Vec<RawLog>>) {
                Ok(Ok(logs)) if !logs.is_empty() => {}
                Ok(Ok(_)) => {
                    let text = format!(
                        "answers that block {} holds no log at all, yet its header says that it does: it does not hold \
                         these logs",
                        block.first()
                    );
                    self.distrust(bad_answer(endpoint, text)).await;
                    shown = AnyLog::Caught;
                }
                Ok(Err(_)) | Err(_) if shown == AnyLog::Shown => shown = AnyLog::Unknown,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        shown
    }

    /// Asks other operators for parts of a scan again, as much of it as `wish` needs, and compares.
    ///
    /// Which parts depends on the day and the filter alone. Where no other operator answers, the level stays
    /// [`AuditLevel::OneSource`]: no second opinion is no fault of the first.
    ///
    /// # Errors
    /// [`Doubt`] when two operators differ.
    pub async fn ask_again(
        &self,
        scan: &Scan,
        filter: &LogFilter,
        wish: AuditLevel,
        day: &str,
    ) -> Result<Confirmed, Doubt> {
        let windows: Vec<&Accepted> = scan.windows().collect();
        let mut confirmed = Confirmed { level: Some(AuditLevel::OneSource), ..Confirmed::default() };
        if wish == AuditLevel::OneSource || windows.is_empty() {
            return Ok(confirmed);
        }
        let samples = if wish == AuditLevel::Sampled {
            sample(windows.len(), &format!("{day} {}", digest_of(filter)))
        } else {
            (0..windows.len()).map(|window| Sample { window, at: None }).collect()
        };
        let mut asked: BTreeSet<usize> = BTreeSet::new();
        for sample in samples {
            let Some(window) = windows.get(sample.window) else { continue };
            let Some((operator, blocks)) = self.second_opinion(window, &sample, filter).await? else {
                return Ok(confirmed);
            };
            confirmed.operators.insert(operator);
            confirmed.blocks += blocks;
            asked.insert(sample.window);
            confirmed.windows = asked.len() as u64;
        }
        confirmed.level = Some(wish.min(AuditLevel::TwoOperators));
        if wish == AuditLevel::Receipts {
            let logs = scan.logs();
            let mut receipts: BTreeMap<B256, Vec<RawLog>> = BTreeMap::new();
            for log in &logs {
                if let Entry::Vacant(unseen) = receipts.entry(log.transaction_hash) {
                    let Ok(receipt) = self.receipt(log, &|_| true).await else { return Ok(confirmed) };
                    unseen.insert(receipt.0);
                }
                confirmed.logs_in_receipts +=
                    u64::from(receipts.get(&log.transaction_hash).is_some_and(|logs| logs.contains(log)));
            }
            if confirmed.logs_in_receipts == logs.len() as u64 {
                confirmed.level = Some(AuditLevel::Receipts);
            }
        }
        Ok(confirmed)
    }

    /// What another operator says of a window, or of a part of it. `None` when none answers; else who, and for how many
    /// blocks.
    async fn second_opinion(
        &self,
        window: &Accepted,
        sample: &Sample,
        filter: &LogFilter,
    ) -> Result<Option<(String, u64)>, Doubt> {
        let first = self.endpoints.iter().find(|endpoint| endpoint.label() == window.label);
        let Some(first) = first else { return Ok(None) };
        let task = Task::Scan { filter: &window.filter, block: window.span.first() };
        let others =
            self.candidates(&task).into_iter().filter(|endpoint| endpoint.operator() != first.operator());
        'others: for other in others.filter(|other| !other.is_down() && !other.lacks("eth_getLogs")) {
            let width = other.log_window(&window.filter);
            let spans: Vec<BlockSpan> = match sample.at {
                Some(at) => part_of(window.span, width, at).into_iter().collect(),
                None => window.span.windows(width).collect(),
            };
            let mut blocks = 0;
            for span in spans {
                let Ok(theirs) = self.logs_by(other, Purpose::Sample, filter, span).await else {
                    continue 'others;
                };
                let ours = || window.logs.iter().filter(|log| span.contains(log.block_number));
                let lacks = |logs: &[RawLog], log: &RawLog| !logs.contains(log);
                if let Some(log) = ours().find(|log| lacks(&theirs, log)) {
                    return Err(self.who_is_wrong(log, first, other).await);
                }
                let all_ours: Vec<RawLog> = ours().cloned().collect();
                if let Some(log) = theirs.iter().find(|log| lacks(&all_ours, log)) {
                    return Err(self.who_is_wrong(log, other, first).await);
                }
                blocks += span.count();
            }
            return Ok(Some((other.operator().to_owned(), blocks)));
        }
        Ok(None)
    }

    /// One has a log that the other lacks: the receipt of its transaction tells which of them is wrong. The word of others
    /// comes first; that of the one that has the log last.
    async fn who_is_wrong(&self, log: &RawLog, has: &Arc<Endpoint>, lacks: &Arc<Endpoint>) -> Doubt {
        let at = format!("log {} of block {}", log.log_index, log.block_number);
        let not_a_party = |endpoint: &Endpoint| ![has.label(), lacks.label()].contains(&endpoint.label());
        let lacks_itself = |endpoint: &Endpoint| endpoint.label() == lacks.label();
        let has_itself = |endpoint: &Endpoint| endpoint.label() == has.label();
        let judges: [&(dyn Fn(&Endpoint) -> bool + Sync); 3] = [&not_a_party, &lacks_itself, &has_itself];
        for judge in judges {
            let Ok((logs, witness)) = self.receipt(log, judge).await else { continue };
            if logs.contains(log) {
                let text = format!(
                    "does not have {at}, which {} has and the receipt by {witness} shows",
                    has.label()
                );
                return Doubt::Caught(vec![bad_answer(lacks, text)]);
            }
            if witness != lacks.label() {
                let text = format!(
                    "has {at}, which {} does not have and the receipt by {witness} does not show",
                    lacks.label()
                );
                return Doubt::Caught(vec![bad_answer(has, text)]);
            }
        }
        let refusals = vec![
            bad_answer(has, format!("has {at}")),
            bad_answer(lacks, format!("does not have {at}, and nobody gives the transaction's receipt")),
        ];
        Doubt::Undecided(PoolError::Refused {
            chain: self.chain().to_owned(),
            method: format!("eth_getLogs of block {}", log.block_number),
            refusals,
        })
    }

    /// The logs in the receipt of a log's transaction, by the first of these endpoints that has it in that block.
    async fn receipt(
        &self,
        log: &RawLog,
        of: &(dyn Fn(&Endpoint) -> bool + Sync),
    ) -> Result<(Vec<RawLog>, String), PoolError> {
        let method = "eth_getTransactionReceipt";
        let params = json!([log.transaction_hash]);
        let mut refusals = Vec::new();
        let task = Task::Request { method, block: Some(log.block_number) };
        for endpoint in self.candidates(&task).into_iter().filter(|endpoint| of(endpoint)) {
            let answer = endpoint.request(Purpose::Sample, method, &params).await;
            let read = answer.and_then(|answer| {
                let receipt = read_as::<Option<Receipt>>(answer).map_err(|why| bad_answer(endpoint, why))?;
                match receipt {
                    Some(receipt) if receipt.block_hash == log.block_hash => Ok(receipt.logs),
                    Some(_) => Err(bad_answer(endpoint, "has the transaction in another block".to_owned())),
                    None => Err(bad_answer(endpoint, "does not have the transaction".to_owned())),
                }
            });
            match read {
                Ok(logs) => return Ok((logs, endpoint.label().to_owned())),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let chain = self.chain().to_owned();
        Err(PoolError::Refused { chain, method: method.to_owned(), refusals })
    }

    /// The logs of a span by the word of one endpoint, or by what it said of it before in this day.
    async fn logs_by(
        &self,
        endpoint: &Endpoint,
        purpose: Purpose,
        filter: &LogFilter,
        span: BlockSpan,
    ) -> Result<Vec<RawLog>, Refusal> {
        let question = Question {
            purpose,
            method: "eth_getLogs",
            params: json!([endpoint.label(), digest_of(filter), span]),
            block: None,
        };
        let journal = self.journal();
        let known = journal.as_ref().and_then(|journal| journal.answer(question.method, &question.params));
        if let Some(logs) = known.and_then(|(answer, _)| read_as::<Vec<RawLog>>(answer).ok()) {
            return Ok(logs);
        }
        let logs = logs_of(endpoint, purpose, filter, span).await?;
        if let Some(journal) = journal
            && let Ok(kept) = serde_json::to_value(&logs)
            && let Err(error) =
                journal.keep_answer(question.method, &question.params, endpoint.label(), &kept).await
        {
            tracing::warn!("{error}");
        }
        Ok(logs)
    }
}

/// What endpoints showed of a block that holds logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyLog {
    /// Each showed some.
    Shown,
    /// At least one did not say.
    Unknown,
    /// At least one showed none.
    Caught,
}

/// A header's part that tells of logs (Ethereum yellow paper, 4.4.3).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blooming {
    #[serde(default)]
    logs_bloom: Bytes,
}

/// A receipt's part that matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    block_hash: B256,
    logs: Vec<RawLog>,
}

/// A window to ask again: whole, or from a place in it that is a fraction of what may be left out.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    window: usize,
    at: Option<u64>,
}

/// Windows to ask again of so many, spread over all of them, with a place in each. The same day and filter give the same.
fn sample(windows: usize, seed: &str) -> Vec<Sample> {
    let wanted = usize::try_from(samples(windows as u64)).unwrap_or(LEAST_SAMPLES);
    let number = |what: &str| {
        let digest = sha256_hex(format!("{seed} {what}").as_bytes());
        u64::from_str_radix(&digest[..15], 16).unwrap_or(0)
    };
    let of = |index: usize| {
        // One from each of as many stretches of equal length as samples are wanted.
        let (from, to) = (index * windows / wanted, ((index + 1) * windows).div_ceil(wanted));
        let offset = number(&format!("window {index}")) % (to - from).max(1) as u64;
        let window = (from + usize::try_from(offset).unwrap_or(0)).min(windows.saturating_sub(1));
        Sample { window, at: Some(number(&format!("place {index}"))) }
    };
    (0..wanted).map(of).collect()
}

/// At most `width` blocks of a span, from a place that the number `at` decides.
fn part_of(span: BlockSpan, width: u64, at: u64) -> Option<BlockSpan> {
    let width = width.clamp(1, span.count());
    let room = span.count() - width + 1;
    let first = span.first() + at % room.max(1);
    BlockSpan::new(first, first + width - 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::providers::{EndpointConfig, Providers, Reach};
    use crate::rpc::secret::Scrubber;
    use lake::Address;
    use proptest::prelude::*;
    use testkit::server::{Policy, Provider, TokioClock};
    use testkit::simchain::{Emitted, SimChain};

    #[test]
    fn one_window_of_a_hundred_is_asked_again_and_three_at_least() {
        assert_eq!([1, 5, 300, 301, 1_516].map(samples), [3, 3, 3, 4, 16]);
    }

    /// A pool over simulated endpoints of one chain: 300 blocks with logs in the blocks 20 and 60.
    async fn pool(policies: Vec<Policy>) -> Pool {
        let log = |block| Emitted {
            block,
            tx_index: 0,
            log_index: 0,
            address: Address::repeat_byte(0xaa),
            topics: vec![B256::repeat_byte(0x11)],
            data: lake::Bytes::new(),
        };
        let clock = testkit::simchain::Clock::every(12, 0..=300, 1_700_000_000).unwrap();
        let chain = SimChain::new(7, 0..=300, clock).unwrap().with_logs([log(20), log(60)]).unwrap();
        let (chain, time) = (Arc::new(chain), TokioClock::of_day());
        let time: Arc<dyn testkit::server::clock::Clock> = Arc::new(time);
        let endpoint = |(index, policy): (usize, Policy)| {
            let label = format!("e{index}");
            let provider = Arc::new(Provider::new(&chain, policy.with_seed(index as u64), &time));
            EndpointConfig {
                operator: label.clone(),
                label,
                chain: "sim".into(),
                reach: Reach::InProcess(provider.carrier()),
                scrubber: Scrubber::default(),
                log_window: 100,
                purse: None,
            }
        };
        let endpoints = policies.into_iter().enumerate().map(endpoint).collect();
        let providers = Providers { endpoints, ..Providers::default() };
        let registered = lake::registry::Chain {
            name: "sim".into(),
            chain_id: 7,
            native_symbol: "ETH".into(),
            wrapped_native: None,
            is_l2: false,
            launch_date: None,
            block_seconds: 12.0,
            multicall3: None,
            multicall3_block: 0,
            finality_blocks: 0,
            source: "simulated".into(),
            notes: String::new(),
        };
        Pool::open(&registered, &providers, &lake::Lake::open("memory:///").unwrap(), None).await.unwrap()
    }

    fn span(first: u64, last: u64) -> BlockSpan {
        BlockSpan::new(first, last).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_says_which_block_holds_a_log_and_who_has_none_is_caught() {
        let forgetful = Policy { no_logs_before: Some(100), ..Policy::honest() };
        let pool = pool(vec![Policy::honest(), forgetful]).await;
        assert_eq!(pool.block_with_logs(span(20, 30)).await.unwrap(), Some(span(20, 20)));
        assert_eq!(pool.block_with_logs(span(40, 80)).await.unwrap(), Some(span(60, 60)));
        assert_eq!(pool.block_with_logs(span(21, 40)).await.unwrap(), None);
        let of = |label: &str| BTreeSet::from([label.to_owned()]);
        assert_eq!(pool.show_any_log(&of("e0"), span(20, 20)).await, AnyLog::Shown);
        assert!(pool.distrusted().is_empty());
        assert_eq!(pool.show_any_log(&of("e1"), span(20, 20)).await, AnyLog::Caught);
        assert!(pool.is_distrusted("e1") && !pool.is_distrusted("e0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_will_not_say_shows_nothing_either_way() {
        let mute = Policy {
            refused_methods: vec![("eth_getLogs", &testkit::server::dialects::entry::METHOD)],
            ..Policy::honest()
        };
        let pool = pool(vec![mute]).await;
        let of = BTreeSet::from(["e0".to_owned()]);
        assert_eq!(pool.show_any_log(&of, span(20, 20)).await, AnyLog::Unknown);
        assert!(pool.distrusted().is_empty());
    }

    proptest! {
        #[test]
        fn samples_lie_within_their_windows(windows in 1_usize..3_000, first in 0_u64..1_000_000, count in 1_u64..20_000, width in 0_u64..20_000, seed in ".{0,8}") {
            let samples = sample(windows, &seed);
            prop_assert_eq!(samples.len() as u64, super::samples(windows as u64));
            prop_assert_eq!(&samples, &sample(windows, &seed));
            let distinct: BTreeSet<usize> = samples.iter().map(|sample| sample.window).collect();
            prop_assert!(distinct.len() >= samples.len().min(windows) / 2);
            let span = BlockSpan::new(first, first + count - 1).unwrap();
            for sample in samples {
                prop_assert!(sample.window < windows);
                let part = part_of(span, width, sample.at.unwrap()).unwrap();
                prop_assert!(span.contains(part.first()) && span.contains(part.last()));
                prop_assert_eq!(part.count(), width.clamp(1, count));
            }
        }
    }
}
