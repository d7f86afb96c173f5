//! Second opinions: whether what one operator says of a day's logs is what others say.
//!
//! An empty list is not evidence. So each endpoint of a scan must show a log that the contracts' state says must exist
//! ([`Pool::without_logs`]), every log must be of the block that the header says ([`Pool::hashes_hold`]), and parts of the scan
//! are asked again of another operator ([`Pool::ask_again`]). Where two differ, a header or a receipt says which of them is
//! wrong.

mod judge;
mod witness;

pub use witness::AnyLog;

use crate::rpc::endpoint::{Endpoint, Refusal};
use crate::rpc::journal::{Accepted, digest_of};
use crate::rpc::log_query::logs_of;
use crate::rpc::pool::{Pool, PoolError, Question, read_as};
use crate::rpc::route::Task;
use crate::rpc::scan::Scan;
use crate::rpc::tally::Purpose;
use lake::B256;
use lake::bronze::{LogFilter, RawLog};
use lake::digest::sha256_hex;
use lake::span::BlockSpan;
use lake::status::AuditLevel;
use serde_json::json;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

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

/// What an endpoint is not believed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distrust {
    /// Logs and receipts: it does not have all of them, or has some of blocks that are gone. Nodes keep state in another
    /// database, and no answer of it is taken that is not there at all; so what it said of state stands.
    Logs,
    /// Anything: it has shown what never was on the chain, or is on another.
    Everything,
}

impl Distrust {
    /// Whether answers to the method are not believed.
    pub fn covers(self, method: &str) -> bool {
        let of_logs = ["eth_getLogs", "eth_getTransactionReceipt", "eth_getBlockReceipts"];
        self == Self::Everything || of_logs.contains(&method)
    }
}

/// An endpoint that is not believed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// Why.
    pub refusal: Refusal,
    /// What it is not believed.
    pub of: Distrust,
}

/// Why a scan was not confirmed.
#[derive(Debug)]
pub enum Doubt {
    /// An endpoint is wrong, as is shown: it is not asked again for such, and what it said of it does not count.
    Caught(Caught),
    /// Two differ, and nothing says who is wrong.
    Undecided(PoolError),
}

/// How many windows to ask again of so many: one of a hundred, three at least.
pub fn samples(windows: u64) -> u64 {
    windows.div_ceil(WINDOWS_A_SAMPLE as u64).max(LEAST_SAMPLES as u64)
}

impl Pool {
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
                    let Ok((logs, _)) = self.logs_of_transaction(log, &|_| true).await else {
                        return Ok(confirmed);
                    };
                    unseen.insert(logs);
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
        'others: for other in others.filter(|other| !other.is_unfit(&task)) {
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
        // One from each of as many stretches as samples are wanted, so that no window is taken twice while there are enough.
        let (from, to) = (index * windows / wanted, (index + 1) * windows / wanted);
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
    use crate::rpc::simulated::{self, log};
    use proptest::prelude::*;
    use testkit::server::Policy;

    #[test]
    fn one_window_of_a_hundred_is_asked_again_and_three_at_least() {
        assert_eq!([1, 5, 300, 301, 1_516].map(samples), [3, 3, 3, 4, 16]);
    }

    /// A pool over a chain of 300 blocks with logs in the blocks 20 and 60.
    async fn pool(policies: Vec<Policy>) -> Pool {
        simulated::open(&simulated::chain(300, [log(20, 0), log(60, 0)]), policies).await.pool
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
        assert!(
            pool.is_distrusted_with("e1", "eth_getLogs") && !pool.is_distrusted_with("e0", "eth_getLogs")
        );
        assert!(!pool.is_distrusted_with("e1", "eth_call"), "its state is another matter");
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
            prop_assert_eq!(distinct.len(), samples.len().min(windows));
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
