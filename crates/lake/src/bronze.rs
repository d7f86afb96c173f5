//! Bronze records: what the chain answered, as it answered it.
//!
//! A record holds raw calls and raw logs, never decoded figures, so that a fault in a decoder is mended by running
//! `transform` again. Its bytes are a function of the chain, the registry's contracts and the call plan; endpoint,
//! time and windows are in the ledger. Two are no chain data: [`Audit`] says how well the data was checked, names
//! who gave it, and may be replaced by a later, better one; [`Fill`] holds prices from outside the chain, and a later one
//! adds to it. Every record ends with a seal: `sha256` over the JSON text that comes before it, so that a cut or edited
//! object is noticed from the object alone.
//!
//! ```text
//! {"schema":"bronze.tvl/1", ... ,"sha256":"<64 hex digits>"}
//! ```
//! To check one by hand: drop `,"sha256":"…"`, close the brace, and hash what is left.

mod prices;

pub use prices::{Fill, FillPrice, PriceBook};

use crate::day::Day;
use crate::digest::sha256_hex;
use crate::span::{BlockSpan, Coverage};
use crate::status::AuditLevel;
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;

/// Why a bronze object cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BronzeError {
    /// It does not end with a seal: cut off, or not one of ours.
    #[error("it is cut off, or was not written by lendlake (no seal at its end)")]
    NoSeal,
    /// The seal does not fit the bytes.
    #[error("it was changed after it was written: its bytes give sha256 {computed}, its seal says {sealed}")]
    BrokenSeal {
        /// Digest of the bytes.
        computed: String,
        /// Digest in the seal.
        sealed: String,
    },
    /// It is larger than any record can be, and was not read.
    #[error("it has {size} bytes; no record has more than {LARGEST}")]
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// The seal fits, but the record is of a schema that this build does not read.
    #[error("its schema is `{found}`, this build reads `{expected}`{}", of_version(found, expected))]
    Schema {
        /// Schema in the object.
        found: String,
        /// Schema this build reads.
        expected: &'static str,
    },
    /// The seal fits, but the text is not such a record.
    #[error("it is not a valid record: {why}")]
    Malformed {
        /// The parser's words.
        why: String,
    },
    /// The record contradicts itself: its blocks do not link, a log lies outside its day, and so on.
    #[error("it contradicts itself: {why}")]
    Inconsistent {
        /// What does not fit.
        why: String,
    },
}

/// Largest object that is read, in bytes. A day of a thousand liquidations with forty calls each has about 40 MB; what is
/// larger was not written by lendlake, and would only fill the memory.
pub const LARGEST: u64 = 128 << 20;

/// What to do about a record of another version: which of the two programs is the older.
fn of_version(found: &str, expected: &str) -> String {
    let version = |schema: &str| {
        let (kind, version) = schema.rsplit_once('/')?;
        Some((kind.to_owned(), version.parse::<u32>().ok()?))
    };
    match (version(found), version(expected)) {
        (Some((kind, found)), Some((expected_kind, expected))) if kind == expected_kind => {
            if found < expected {
                ": it was written by an older lendlake and must be collected again".to_owned()
            } else {
                ": it was written by a newer lendlake, which must read it".to_owned()
            }
        }
        _ => String::new(),
    }
}

/// A kind of bronze record.
pub trait Record: Serialize + DeserializeOwned {
    /// Name and version, as it stands in the object.
    const SCHEMA: &'static str;

    /// Checks what the record says against itself.
    ///
    /// # Errors
    /// [`BronzeError::Inconsistent`] with the first contradiction found.
    fn check(&self) -> Result<(), BronzeError>;

    /// The sealed JSON text of the record.
    ///
    /// # Errors
    /// Whatever [`Record::check`] finds: a record that contradicts itself is never written.
    fn to_bytes(&self) -> Result<Vec<u8>, BronzeError> {
        self.check()?;
        let malformed = |error: serde_json::Error| BronzeError::Malformed { why: error.to_string() };
        let body = serde_json::to_string(&Tagged { schema: Self::SCHEMA.into(), record: self })
            .map_err(malformed)?;
        let seal = sha256_hex(body.as_bytes());
        // The body ends with the brace that the seal goes before.
        Ok(format!("{},\"sha256\":\"{seal}\"}}\n", &body[..body.len() - 1]).into_bytes())
    }

    /// Reads a record, after checking its seal, its schema and itself.
    ///
    /// # Errors
    /// Every variant of [`BronzeError`].
    fn from_bytes(bytes: &[u8]) -> Result<Self, BronzeError> {
        let record = Self::sealed_in(bytes)?;
        record.check()?;
        Ok(record)
    }

    /// Reads a record whose seal and schema are right, whatever it says: for those who look for what is wrong with it.
    ///
    /// # Errors
    /// Every variant of [`BronzeError`] but [`BronzeError::Inconsistent`].
    fn sealed_in(bytes: &[u8]) -> Result<Self, BronzeError> {
        const OPENING: &str = ",\"sha256\":\"";
        let malformed = |why: String| BronzeError::Malformed { why };
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        let unsealed = text.strip_suffix("\"}\n").ok_or(BronzeError::NoSeal)?;
        let at = unsealed.len().checked_sub(64).ok_or(BronzeError::NoSeal)?;
        let (body, sealed) = unsealed.split_at_checked(at).ok_or(BronzeError::NoSeal)?;
        let body = format!("{}}}", body.strip_suffix(OPENING).ok_or(BronzeError::NoSeal)?);
        let computed = sha256_hex(body.as_bytes());
        if computed != sealed {
            return Err(BronzeError::BrokenSeal { computed, sealed: sealed.to_owned() });
        }
        let SchemaOnly { schema } =
            serde_json::from_str(&body).map_err(|error| malformed(error.to_string()))?;
        if schema != Self::SCHEMA {
            return Err(BronzeError::Schema { found: schema, expected: Self::SCHEMA });
        }
        let tagged: Tagged<Self> =
            serde_json::from_str(&body).map_err(|error| malformed(error.to_string()))?;
        Ok(tagged.record)
    }
}

#[derive(Serialize, Deserialize)]
struct Tagged<R> {
    schema: String,
    #[serde(flatten)]
    record: R,
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: String,
}

/// The part of a block header that places the block in time and in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// Hash of the block before.
    pub parent_hash: B256,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Day, chain and zone: what every record says about itself first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayOfChain {
    /// Chain, as in the registry.
    pub chain: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Calendar day.
    pub date: Day,
    /// IANA zone of the day.
    pub zone: String,
    /// First second of the day, Unix.
    pub day_start: i64,
    /// First second of the next day, Unix.
    pub day_end: i64,
}

/// `bronze/blocks/<chain>/<date>.json`: the day's first and last block, proven by their neighbours' headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayBlocks {
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
    /// Last block before the day; `None` when the chain began on this day or later.
    pub before: Option<Header>,
    /// First block of the day; `None` when the day has no block.
    pub first: Option<Header>,
    /// Last block of the day: the snapshot block. `None` when the day has no block.
    pub last: Option<Header>,
    /// First block after the day.
    pub after: Header,
}

impl DayBlocks {
    /// The day's blocks, or `None` when it has none.
    pub fn span(&self) -> Option<BlockSpan> {
        BlockSpan::new(self.first?.number, self.last?.number).ok()
    }
}

impl Record for DayBlocks {
    const SCHEMA: &'static str = "bronze.blocks/1";

    fn check(&self) -> Result<(), BronzeError> {
        let require = |holds: bool, why: &str| require(holds, || why.to_owned());
        let (start, end) = (self.day.day_start, self.day.day_end);
        let time = |header: Header| i64::try_from(header.timestamp).unwrap_or(i64::MAX);
        require(start < end, "the day ends before it starts")?;
        require(time(self.after) >= end, "the block after the day lies before its end")?;
        let links = |parent: Header, child: Header| {
            child.number.checked_sub(1) == Some(parent.number) && child.parent_hash == parent.hash
        };
        match (self.first, self.last) {
            (Some(first), Some(last)) => {
                require(first.number <= last.number, "the first block comes after the last")?;
                require(start <= time(first), "the first block lies before the day")?;
                require(time(last) < end, "the last block lies after the day")?;
                require(links(last, self.after), "the last block is not the parent of the block after")?;
                require(
                    first.number != last.number || first == last,
                    "first and last block share a number but differ",
                )?;
            }
            (None, None) => {}
            _ => {
                return Err(BronzeError::Inconsistent {
                    why: "only one of first and last block is there".into(),
                });
            }
        }
        match self.before {
            Some(before) => {
                require(time(before) < start, "the block before the day lies within it")?;
                require(
                    links(before, self.first.unwrap_or(self.after)),
                    "the block before the day is not the parent of the next",
                )
            }
            None => require(
                self.first.unwrap_or(self.after).number == 0,
                "there is no block before the day, yet its first block is not the chain's first",
            ),
        }
    }
}

/// One view call and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallRecord {
    /// What is asked, in the family's words: `pool.getReserveData`.
    pub key: String,
    /// Of which market, reserve or vault; empty when the question has no object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub item: String,
    /// Contract called.
    pub to: Address,
    /// Call data.
    pub input: Bytes,
    /// Whether the call succeeded. An empty output with `true` means that no code answered.
    pub ok: bool,
    /// What came back: return data, or revert data.
    pub output: Bytes,
}

/// View calls answered at one block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadsAtBlock {
    /// The block.
    pub block: Header,
    /// The calls in plan order.
    pub calls: Vec<CallRecord>,
}

/// Which CSU a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsuOfDay {
    /// CSU id.
    pub csu: String,
    /// Family that planned the calls.
    pub family: String,
    /// Entry contract of the deployment.
    pub entry: Address,
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
}

/// `bronze/tvl/<csu>/<date>.json`: every view call of the snapshot, at the day's last block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TvlSnapshot {
    /// Which CSU and day.
    #[serde(flatten)]
    pub of: CsuOfDay,
    /// Block and calls.
    #[serde(flatten)]
    pub reads: ReadsAtBlock,
}

impl Record for TvlSnapshot {
    const SCHEMA: &'static str = "bronze.tvl/1";

    fn check(&self) -> Result<(), BronzeError> {
        let timestamp = i64::try_from(self.reads.block.timestamp).unwrap_or(i64::MAX);
        require(timestamp < self.of.day.day_end, || "the snapshot block lies after the day".into())?;
        require(!self.reads.calls.is_empty(), || "there is no call".into())?;
        check_calls(&self.reads.calls)
    }
}

/// A log as `eth_getLogs` gives it, without provider-only fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawLog {
    /// Emitting contract.
    pub address: Address,
    /// Topics; the first is the event's signature hash.
    pub topics: Vec<B256>,
    /// Unindexed arguments.
    pub data: Bytes,
    /// Block number.
    #[serde(with = "alloy_serde::quantity")]
    pub block_number: u64,
    /// Block hash.
    pub block_hash: B256,
    /// Transaction hash.
    pub transaction_hash: B256,
    /// Index of the transaction in its block.
    #[serde(with = "alloy_serde::quantity")]
    pub transaction_index: u64,
    /// Index of the log in its block.
    #[serde(with = "alloy_serde::quantity")]
    pub log_index: u64,
}

/// A log filter: any of the addresses, and any of the first topics. Both sorted, without repeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFilter {
    /// Emitters.
    pub addresses: Vec<Address>,
    /// Event signature hashes.
    pub topic0: Vec<B256>,
}

impl LogFilter {
    /// A filter with its parts sorted and free of repeats.
    pub fn new(addresses: impl IntoIterator<Item = Address>, topic0: impl IntoIterator<Item = B256>) -> Self {
        let mut filter =
            Self { addresses: addresses.into_iter().collect(), topic0: topic0.into_iter().collect() };
        filter.addresses.sort();
        filter.addresses.dedup();
        filter.topic0.sort();
        filter.topic0.dedup();
        filter
    }

    /// The filter that asks for what any of these ask for (and perhaps more: the cross product).
    pub fn union<'a>(filters: impl IntoIterator<Item = &'a LogFilter>) -> Self {
        let (mut addresses, mut topics) = (Vec::new(), Vec::new());
        for filter in filters {
            addresses.extend_from_slice(&filter.addresses);
            topics.extend_from_slice(&filter.topic0);
        }
        Self::new(addresses, topics)
    }

    /// Whether a log is one that this filter asks for.
    pub fn matches(&self, log: &RawLog) -> bool {
        self.addresses.binary_search(&log.address).is_ok()
            && log.topics.first().is_some_and(|topic| self.topic0.binary_search(topic).is_ok())
    }
}

/// `bronze/liquidations/<csu>/<date>.json`: the liquidation logs of exactly the day's blocks, and what is needed to
/// price them: one group of view calls at each block that holds a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiquidationLogs {
    /// Which CSU and day.
    #[serde(flatten)]
    pub of: CsuOfDay,
    /// First block of the day; `None` with an empty day.
    pub blocks: Option<BlockSpan>,
    /// What was asked for.
    pub filter: LogFilter,
    /// The blocks that were scanned.
    pub scanned: Coverage,
    /// The logs in order of block and log index.
    pub logs: Vec<RawLog>,
    /// Calls at each block with a log, in order of block.
    pub reads: Vec<ReadsAtBlock>,
}

impl Record for LiquidationLogs {
    const SCHEMA: &'static str = "bronze.liquidations/1";

    fn check(&self) -> Result<(), BronzeError> {
        match self.blocks {
            Some(blocks) => require(self.scanned.is_exactly(blocks), || {
                format!("the scanned blocks {:?} do not tile the day's blocks {blocks}", self.scanned.spans())
            })?,
            None => require(self.scanned.count() == 0 && self.logs.is_empty(), || {
                "a day without blocks has scanned blocks or logs".into()
            })?,
        }
        let mut previous: Option<&RawLog> = None;
        for log in &self.logs {
            let at = || format!("log {} of block {}", log.log_index, log.block_number);
            require(self.filter.matches(log), || format!("{} is not one the filter asks for", at()))?;
            require(self.blocks.is_some_and(|blocks| blocks.contains(log.block_number)), || {
                format!("{} lies outside the day", at())
            })?;
            if let Some(previous) = previous {
                require(
                    (previous.block_number, previous.log_index) < (log.block_number, log.log_index),
                    || format!("{} is out of order or there twice", at()),
                )?;
            }
            let read = self.reads.iter().find(|read| read.block.number == log.block_number);
            require(read.is_some_and(|read| read.block.hash == log.block_hash), || {
                format!("{} has no reads at a block of its hash", at())
            })?;
            previous = Some(log);
        }
        for read in &self.reads {
            let timestamp = i64::try_from(read.block.timestamp).unwrap_or(i64::MAX);
            require(self.of.day.day_start <= timestamp && timestamp < self.of.day.day_end, || {
                format!("block {} lies outside the day", read.block.number)
            })?;
            require(self.logs.iter().any(|log| log.block_number == read.block.number), || {
                format!("there are reads at block {}, which has no log", read.block.number)
            })?;
            check_calls(&read.calls)?;
        }
        let in_order = self.reads.windows(2).all(|pair| pair[0].block.number < pair[1].block.number);
        require(in_order, || "the reads are not in order of block".into())
    }
}

/// `bronze/audits/<chain>/<date>.json`: how far the scans of a chain's day were checked, and by whom.
///
/// It is about how well the data was checked, not chain data. So it is the one bronze object that may be replaced, by a
/// later and better audit of the same day, and it is left out of the promise that bronze has the same bytes whatever
/// the endpoints. It may be missing: then nobody says more of the day's logs than that they are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
    /// One entry a log scan, in order of their first CSU. A CSU is in one scan at most.
    pub scans: Vec<AuditedScan>,
}

/// How one log scan of a chain's day was checked.
///
/// Its counts are of the whole scan, also when some of the CSUs it was made for have been scanned again since and stand
/// in another entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditedScan {
    /// CSUs whose logs came from this scan: sorted, at least one.
    pub csus: Vec<String>,
    /// The level that was reached.
    pub level: AuditLevel,
    /// Operators who gave the logs, sorted.
    pub operators: Vec<String>,
    /// Operators who were asked for blocks of the day again, sorted. One who gave logs may be among them, asked for
    /// what another gave.
    pub asked_again: Vec<String>,
    /// Blocks of the day.
    pub blocks: u64,
    /// Blocks that another operator answered alike; at most `blocks`.
    pub blocks_asked_again: u64,
    /// Requests for logs whose replies were accepted.
    pub windows: u64,
    /// Requests for logs that were made again of another operator, whose replies agreed.
    pub windows_asked_again: u64,
    /// Logs that the scan found.
    pub logs: u64,
    /// Logs that stand in the receipt of their transaction; at most `logs`.
    pub logs_in_receipts: u64,
    /// Whether everyone who gave logs showed one that the contracts' state says must exist.
    pub witnessed: bool,
}

impl Audit {
    /// The audit with a new scan in it. CSUs of the new scan leave the entries that they were in, since their logs now
    /// come from it; an entry that has no CSU left goes.
    #[must_use]
    pub fn with(mut self, scan: AuditedScan) -> Self {
        for older in &mut self.scans {
            older.csus.retain(|csu| !scan.csus.contains(csu));
        }
        self.scans.retain(|older| !older.csus.is_empty());
        self.scans.push(scan);
        self.scans.sort_by(|one, other| one.csus.cmp(&other.csus));
        self
    }

    /// The level that the scan of a CSU reached; `None` when no scan of it was audited.
    pub fn level_of(&self, csu: &str) -> Option<AuditLevel> {
        let is_of = |scan: &&AuditedScan| scan.csus.iter().any(|of| of == csu);
        self.scans.iter().find(is_of).map(|scan| scan.level)
    }
}

impl Record for Audit {
    const SCHEMA: &'static str = "bronze.audit/1";

    fn check(&self) -> Result<(), BronzeError> {
        let mut seen = BTreeSet::new();
        for scan in &self.scans {
            scan.check()?;
            if let Some(csu) = scan.csus.iter().find(|csu| !seen.insert(csu.as_str())) {
                return require(false, || format!("{csu} is in two scans"));
            }
        }
        let in_order = self.scans.is_sorted_by(|one, other| one.csus.first() < other.csus.first());
        require(in_order, || "the scans are not in order of their first CSU".into())
    }
}

impl AuditedScan {
    fn check(&self) -> Result<(), BronzeError> {
        let name = || self.csus.first().map_or("a CSU", String::as_str);
        let require = |holds: bool, why: &str| require(holds, || format!("the scan of {}: {why}", name()));
        let is_sorted = |words: &[String]| words.is_sorted_by(|one, other| one < other);
        require(!self.csus.is_empty(), "it is of no CSU")?;
        require(is_sorted(&self.csus), "its CSUs are not in order, or one is there twice")?;
        require(
            is_sorted(&self.operators) && is_sorted(&self.asked_again),
            "its operators are not in order, or one is there twice",
        )?;
        require(self.blocks_asked_again <= self.blocks, "more blocks were asked again than the day has")?;
        require(self.logs_in_receipts <= self.logs, "more logs stand in receipts than there are")?;
        if self.level > AuditLevel::OneSource {
            let operators: BTreeSet<&String> = self.operators.iter().chain(&self.asked_again).collect();
            require(operators.len() > 1, "its level takes two operators")?;
            require(self.blocks_asked_again > 0, "its level takes blocks that were asked again")?;
        }
        if self.level >= AuditLevel::TwoOperators {
            require(
                self.blocks_asked_again == self.blocks,
                "its level takes every block of the day asked again",
            )?;
        }
        if self.level >= AuditLevel::Receipts {
            require(self.logs_in_receipts == self.logs, "its level takes every log in a receipt")?;
        }
        Ok(())
    }
}

fn check_calls(calls: &[CallRecord]) -> Result<(), BronzeError> {
    let mut names: Vec<_> = calls.iter().map(|call| (&call.key, &call.item)).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => require(false, || format!("the call {} {} is there twice", pair[0].0, pair[0].1)),
    }
}

fn require(holds: bool, why: impl FnOnce() -> String) -> Result<(), BronzeError> {
    if holds { Ok(()) } else { Err(BronzeError::Inconsistent { why: why() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn header(number: u64, timestamp: u64) -> Header {
        let hash = |n: u64| B256::from(alloy_primitives::U256::from(n + 1));
        Header { number, hash: hash(number), parent_hash: hash(number.wrapping_sub(1)), timestamp }
    }

    pub(super) fn day_of_chain() -> DayOfChain {
        DayOfChain {
            chain: "ethereum".into(),
            chain_id: 1,
            date: "2024-12-01".parse().unwrap(),
            zone: "America/New_York".into(),
            day_start: 1_000,
            day_end: 2_000,
        }
    }

    fn blocks() -> DayBlocks {
        DayBlocks {
            day: day_of_chain(),
            before: Some(header(9, 999)),
            first: Some(header(10, 1_000)),
            last: Some(header(20, 1_999)),
            after: header(21, 2_000),
        }
    }

    fn liquidations() -> LiquidationLogs {
        let address = Address::repeat_byte(7);
        let topic = B256::repeat_byte(3);
        let log = |block_number, log_index| RawLog {
            address,
            topics: vec![topic],
            data: Bytes::new(),
            block_number,
            block_hash: header(block_number, 0).hash,
            transaction_hash: B256::repeat_byte(5),
            transaction_index: 0,
            log_index,
        };
        let span = BlockSpan::new(10, 20).unwrap();
        LiquidationLogs {
            of: CsuOfDay {
                csu: "aave_v3_ethereum".into(),
                family: "aave_v3".into(),
                entry: Address::repeat_byte(1),
                day: day_of_chain(),
            },
            blocks: Some(span),
            filter: LogFilter::new([address], [topic]),
            scanned: Coverage::try_from(vec![span]).unwrap(),
            logs: vec![log(12, 3), log(12, 4), log(15, 0)],
            reads: [header(12, 1_100), header(15, 1_500)]
                .map(|block| ReadsAtBlock { block, calls: vec![] })
                .into(),
        }
    }

    #[test]
    fn a_record_reads_back_and_its_bytes_do_not_vary() {
        let bytes = blocks().to_bytes().unwrap();
        assert_eq!(DayBlocks::from_bytes(&bytes).unwrap(), blocks());
        assert_eq!(DayBlocks::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);
        let bytes = liquidations().to_bytes().unwrap();
        assert_eq!(LiquidationLogs::from_bytes(&bytes).unwrap(), liquidations());
    }

    #[test]
    fn a_cut_object_is_refused_at_every_length() {
        let bytes = liquidations().to_bytes().unwrap();
        for length in 0..bytes.len() {
            LiquidationLogs::from_bytes(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn an_edited_object_is_refused() {
        let text = String::from_utf8(blocks().to_bytes().unwrap()).unwrap();
        let edited = text.replace("\"timestamp\":1999", "\"timestamp\":1998");
        assert_ne!(edited, text);
        assert!(matches!(DayBlocks::from_bytes(edited.as_bytes()), Err(BronzeError::BrokenSeal { .. })));
    }

    #[test]
    fn an_object_of_another_schema_is_named() {
        let bytes = liquidations().to_bytes().unwrap();
        let error = DayBlocks::from_bytes(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "its schema is `bronze.liquidations/1`, this build reads `bronze.blocks/1`"
        );
    }

    #[test]
    fn blocks_that_do_not_prove_the_day_are_refused() {
        type Spoil = fn(&mut DayBlocks);
        let spoils: [Spoil; 8] = [
            |b| b.after.timestamp = 1_999,
            |b| b.after.number = 22,
            |b| b.after.parent_hash = B256::ZERO,
            |b| b.before = None,
            |b| b.before = Some(header(8, 990)),
            |b| b.first = None,
            |b| b.first = Some(header(10, 999)),
            |b| b.last = Some(header(20, 2_000)),
        ];
        blocks().check().unwrap();
        for (index, spoil) in spoils.iter().enumerate() {
            let mut spoiled = blocks();
            spoil(&mut spoiled);
            assert!(spoiled.check().is_err(), "spoil {index} was not noticed");
            spoiled.to_bytes().unwrap_err();
        }
    }

    #[test]
    fn a_day_without_blocks_is_proven_by_two_neighbours() {
        let mut empty = DayBlocks { first: None, last: None, before: Some(header(9, 999)), ..blocks() };
        empty.after = header(10, 2_500);
        empty.check().unwrap();
        assert_eq!(empty.span(), None);
    }

    #[test]
    fn logs_that_do_not_fit_their_day_are_refused() {
        type Spoil = fn(&mut LiquidationLogs);
        let spoils: [Spoil; 9] = [
            |r| r.logs.swap(0, 1),
            |r| r.logs[1].log_index = 3,
            |r| r.logs[2].block_number = 21,
            |r| r.logs[0].address = Address::ZERO,
            |r| r.logs[0].topics.clear(),
            |r| r.logs[0].block_hash = B256::ZERO,
            |r| r.scanned = Coverage::try_from(vec![BlockSpan::new(10, 19).unwrap()]).unwrap(),
            |r| r.reads.reverse(),
            |r| r.blocks = None,
        ];
        liquidations().check().unwrap();
        for (index, spoil) in spoils.iter().enumerate() {
            let mut spoiled = liquidations();
            spoil(&mut spoiled);
            assert!(spoiled.check().is_err(), "spoil {index} was not noticed");
        }
    }

    fn scan(level: AuditLevel, csus: &[&str]) -> AuditedScan {
        AuditedScan {
            csus: csus.iter().map(|csu| (*csu).to_owned()).collect(),
            level,
            operators: vec!["alchemy".into()],
            asked_again: vec!["drpc".into(), "publicnode".into()],
            blocks: 11,
            blocks_asked_again: 11,
            windows: 4,
            windows_asked_again: 4,
            logs: 3,
            logs_in_receipts: 3,
            witnessed: true,
        }
    }

    fn audit(scans: Vec<AuditedScan>) -> Audit {
        Audit { day: day_of_chain(), scans }
    }

    #[test]
    fn an_audit_reads_back_and_a_cut_one_is_refused() {
        for level in AuditLevel::ALL {
            let audit = audit(vec![scan(*level, &["aave_v3_a", "aave_v3_c"]), scan(*level, &["aave_v3_b"])]);
            let bytes = audit.to_bytes().unwrap();
            assert_eq!(Audit::from_bytes(&bytes).unwrap(), audit);
            assert_eq!(Audit::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);
        }
        let bytes = audit(vec![scan(AuditLevel::Sampled, &["aave_v3_a"])]).to_bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with(r#"{"schema":"bronze.audit/1","chain":"ethereum""#), "{text}");
        assert!(text.contains(r#""level":"sampled""#), "{text}");
        for length in 0..bytes.len() {
            Audit::from_bytes(&bytes[..length]).unwrap_err();
        }
    }

    #[test]
    fn an_audit_that_contradicts_itself_is_refused() {
        type Spoil = fn(&mut Audit);
        let spoils: [(Spoil, &str); 15] = [
            (|a| a.scans.swap(0, 1), "order of their first CSU"),
            (|a| a.scans[1].csus[0] = "a".into(), "a is in two scans"),
            (|a| a.scans[1].csus = vec!["b".into(), "c".into()], "c is in two scans"),
            (|a| a.scans[0].csus.clear(), "no CSU"),
            (|a| a.scans[0].csus.reverse(), "the scan of c: its CSUs are not in order"),
            (|a| a.scans[0].csus[1] = "a".into(), "there twice"),
            (|a| a.scans[0].operators = vec!["z".into(), "y".into()], "operators are not in order"),
            (|a| a.scans[0].asked_again.reverse(), "operators are not in order"),
            (|a| a.scans[0].blocks_asked_again = 12, "more blocks"),
            (|a| a.scans[0].logs_in_receipts = 4, "more logs"),
            (|a| a.scans[0].logs_in_receipts = 2, "the scan of a: its level takes every log in a receipt"),
            (|a| a.scans[0].blocks_asked_again = 10, "every block"),
            (|a| (a.scans[0].blocks, a.scans[0].blocks_asked_again) = (0, 0), "blocks that were asked again"),
            (|a| a.scans[0].asked_again.clear(), "two operators"),
            (|a| a.scans[0].asked_again = vec!["alchemy".into()], "two operators"),
        ];
        let sound =
            audit(vec![scan(AuditLevel::Receipts, &["a", "c"]), scan(AuditLevel::TwoOperators, &["b"])]);
        sound.check().unwrap();
        for (spoil, words) in spoils {
            let mut spoiled = sound.clone();
            spoil(&mut spoiled);
            let error = spoiled.check().unwrap_err().to_string();
            assert!(error.contains(words), "`{error}` does not say `{words}`");
            spoiled.to_bytes().unwrap_err();
        }
    }

    #[test]
    fn a_level_takes_what_it_says_and_no_more() {
        let checked = |level, change: fn(&mut AuditedScan)| {
            let mut scan = scan(level, &["a"]);
            change(&mut scan);
            audit(vec![scan]).check()
        };
        let fewer_logs = |scan: &mut AuditedScan| scan.logs_in_receipts = 0;
        checked(AuditLevel::TwoOperators, fewer_logs).unwrap();
        checked(AuditLevel::Receipts, fewer_logs).unwrap_err();
        let fewer_blocks = |scan: &mut AuditedScan| scan.blocks_asked_again = 3;
        checked(AuditLevel::Sampled, fewer_blocks).unwrap();
        checked(AuditLevel::TwoOperators, fewer_blocks).unwrap_err();
        checked(AuditLevel::Receipts, fewer_blocks).unwrap_err();
        let nobody_else = |scan: &mut AuditedScan| {
            scan.asked_again.clear();
            scan.blocks_asked_again = 0;
        };
        checked(AuditLevel::OneSource, nobody_else).unwrap();
        checked(AuditLevel::Sampled, nobody_else).unwrap_err();
        // Two who gave the logs may have been asked for each other's part.
        let each_other = |scan: &mut AuditedScan| {
            scan.operators = vec!["alchemy".into(), "drpc".into()];
            scan.asked_again = scan.operators.clone();
        };
        checked(AuditLevel::Receipts, each_other).unwrap();
    }

    #[test]
    fn a_new_scan_takes_its_csus_from_the_older_ones() {
        use AuditLevel::{OneSource, Receipts, Sampled, TwoOperators};
        let first = audit(vec![]).with(scan(OneSource, &["b", "c", "d"]));
        let second = first.clone().with(scan(Sampled, &["e"])).with(scan(TwoOperators, &["a", "c"]));
        second.check().unwrap();
        let csus: Vec<_> = second.scans.iter().map(|scan| scan.csus.join(" ")).collect();
        assert_eq!(csus, ["a c", "b d", "e"]);
        let levels = ["a", "b", "c", "d", "e", "f"].map(|csu| second.level_of(csu));
        let expected = [TwoOperators, OneSource, TwoOperators, OneSource, Sampled].map(Some);
        assert_eq!((&levels[..5], levels[5]), (&expected[..], None));

        // The scan that has no CSU left goes; the same scan again changes nothing.
        let third = second.with(scan(Receipts, &["b", "d"])).with(scan(Sampled, &["e"]));
        third.check().unwrap();
        assert_eq!(third.scans.len(), 3);
        assert_eq!(third.clone().with(scan(Sampled, &["e"])), third);
        assert_eq!(third.level_of("d"), Some(Receipts));
        // What counts is the scan that the logs now come from, also when it was checked less.
        assert_eq!(third.with(scan(OneSource, &["d"])).level_of("d"), Some(OneSource));
    }

    #[test]
    fn a_union_filter_asks_for_all() {
        let one = LogFilter::new([Address::repeat_byte(2), Address::repeat_byte(1)], [B256::repeat_byte(1)]);
        let two = LogFilter::new([Address::repeat_byte(1)], [B256::repeat_byte(2)]);
        let both = LogFilter::union([&one, &two]);
        assert_eq!(both.addresses, [Address::repeat_byte(1), Address::repeat_byte(2)]);
        assert_eq!(both.topic0.len(), 2);
    }
}
