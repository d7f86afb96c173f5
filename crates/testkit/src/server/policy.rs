//! What a provider does with requests, as plain data. Each fault can be switched on alone.

use super::dialects::Wording;
use super::faults::{Fault, FaultRate, Latency, Outage};
use super::limits::Limits;

/// A log that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayLog {
    /// Of another contract.
    OtherContract,
    /// Of the block after the range.
    OtherBlock,
    /// Of the range, marked as removed by a reorganisation.
    Removed,
    /// Of the range, with another hash for its block.
    OtherHash,
    /// Of the range, as it should be, in a transaction that there is not.
    Invented,
}

/// A limit on the blocks of an `eth_getLogs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanCap {
    /// Blocks that it grants, as its wording counts them.
    pub limit: u64,
    /// The limit that it tells, if that is another.
    pub told: Option<u64>,
    /// The words.
    pub wording: &'static Wording,
}

impl SpanCap {
    /// A cap that tells the truth.
    pub fn new(limit: u64, wording: &'static Wording) -> Self {
        Self { limit, told: None, wording }
    }
}

/// What a range that "should work" is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hint {
    /// It begins where the request does, and works.
    #[default]
    True,
    /// It begins where the request does, and is refused again if the logs are dense.
    TooWide,
    /// It lies outside the request, as seen at dRPC.
    Outside,
    /// It ends before it begins, as seen at Alchemy.
    Inverted,
}

/// What becomes of an answer with too many logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooManyLogs {
    /// It is refused.
    Refused {
        /// In these words.
        wording: &'static Wording,
        /// With a range, if the words have one.
        hint: Hint,
    },
    /// It is refused, be it of one block or of one contract.
    RefusedAlways {
        /// In these words.
        wording: &'static Wording,
    },
    /// It ends there, and says nothing.
    CutSilently,
}

/// A limit on the logs of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCap {
    /// Most logs of an answer.
    pub logs: usize,
    /// What becomes of more.
    pub more: TooManyLogs,
}

/// Where a provider's history begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At a block.
    Block(u64),
    /// So many blocks before its head.
    Depth(u64),
}

impl Start {
    /// The first block that is there.
    pub fn block(self, head: u64) -> u64 {
        match self {
            Self::Block(block) => block,
            Self::Depth(blocks) => head.saturating_sub(blocks),
        }
    }
}

/// What is said about blocks that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// A refusal.
    Refused(&'static Wording),
    /// Nothing: no logs, or `0x` from a call.
    Empty,
}

/// A history that begins somewhere. Headers are served from the chain's first block on, as nodes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive {
    /// Where.
    pub start: Start,
    /// What is said about what lies before.
    pub before: Absent,
}

/// What becomes of a batch with too many members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BigBatch {
    /// It is refused as a whole.
    Refused(&'static Wording),
    /// The members over the limit get no answer.
    Dropped,
}

/// A limit on the members of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchCap {
    /// Most members.
    pub members: usize,
    /// What becomes of more.
    pub more: BigBatch,
}

/// A provider's behaviour. The default has no fault and no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What the dice are made from.
    pub seed: u64,

    /// Most blocks of an `eth_getLogs`; more is refused in the words of Alchemy's free plan.
    pub log_span: Option<u64>,
    /// Most blocks of an `eth_getLogs`, in any dialect.
    pub span_cap: Option<SpanCap>,
    /// Most logs of an answer.
    pub result_cap: Option<ResultCap>,
    /// Most addresses, or topics in one position, of a filter.
    pub filter_cap: Option<(usize, &'static Wording)>,

    /// Logs of earlier blocks are silently not there.
    pub no_logs_before: Option<u64>,
    /// Where its logs begin.
    pub logs_from: Option<Archive>,
    /// Where its state begins.
    pub state_from: Option<Archive>,
    /// How many blocks it is behind the chain.
    pub head_lag: u64,
    /// A second node behind the same URL, so many blocks behind the chain. Which one answers is left to the dice.
    pub second_head_lag: Option<u64>,
    /// What is said about a range that ends after its head. Without words, what is there is answered.
    pub beyond_head: Option<&'static Wording>,

    /// The chain id it claims.
    pub claims_chain_id: Option<u64>,
    /// Seconds by which the times in its headers are late. Their hashes are the chain's.
    pub late_headers: u64,
    /// Puts a log into every answer that the filter does not ask for.
    pub stray_log: Option<StrayLog>,
    /// Gives the first log of every answer twice.
    pub repeats_log: bool,
    /// Gives logs in any order.
    pub shuffles_logs: bool,
    /// How many of a thousand logs it does not know of. It never knows of them, however it is asked.
    pub missing_logs_per_mille: u32,

    /// Most calls of a Multicall3 batch; more runs out of gas.
    pub batch_calls: Option<usize>,
    /// The same in other words.
    pub call_cap: Option<(usize, &'static Wording)>,
    /// Whether it refuses state overrides.
    pub no_overrides: bool,
    /// Whether it takes state overrides and pays no heed to them.
    pub ignores_overrides: bool,
    /// Whether it refuses calls without `to`.
    pub no_deployless: bool,
    /// Whether it answers `0x` to calls without `to`, as SKALE's nodes did (skalenetwork/skaled issue 2394).
    pub empty_deployless: bool,
    /// Whether it leaves the data out of reverts.
    pub bare_reverts: bool,
    /// Methods that it refuses.
    pub refused_methods: Vec<(&'static str, &'static Wording)>,
    /// It refuses everything.
    pub refuses_all: Option<&'static Wording>,
    /// Most members of a batch.
    pub batch_cap: Option<BatchCap>,
    /// Most bytes of a request, with HTTP 413.
    pub body_cap: Option<usize>,

    /// What its key may spend.
    pub limits: Limits,

    /// Every so many requests one fails.
    pub fail_every: Option<(u64, Fault)>,
    /// Requests that fail at random.
    pub fails: FaultRate,
    /// Times in which all fail.
    pub outages: Vec<Outage>,
    /// How long it takes.
    pub latency: Latency,
}

impl Policy {
    /// A provider without faults.
    pub fn honest() -> Self {
        Self::default()
    }

    /// A provider that refuses log scans of more than `blocks` blocks.
    pub fn capped(blocks: u64) -> Self {
        Self { log_span: Some(blocks), ..Self::default() }
    }

    /// A provider of which every `nth` request fails.
    pub fn failing(nth: u64, fault: Fault) -> Self {
        Self { fail_every: Some((nth, fault)), ..Self::default() }
    }

    /// A provider of which so many of a thousand requests fail, in any of these ways.
    pub fn flaky(per_mille: u32, among: &[Fault]) -> Self {
        Self { fails: FaultRate { per_mille, among: among.to_vec() }, ..Self::default() }
    }

    /// The policy with other dice.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Whether any dice are rolled whose fall depends on how often something was asked before.
    pub(crate) fn remembers(&self) -> bool {
        self.fails.per_mille > 0
            || self.latency.slow_per_mille > 0
            || self.second_head_lag.is_some()
            || self.shuffles_logs
    }
}
