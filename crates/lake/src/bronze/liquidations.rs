//! Liquidation logs of a CSU's day, and what was read at their blocks.

use super::{BronzeError, CsuOfDay, DayOfChain, ReadsAtBlock, Record, check_calls, require};
use crate::day::Day;
use crate::span::{BlockSpan, Coverage};
use alloy_primitives::{Address, B256, Bytes};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

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
#[serde(from = "Flat")]
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

/// The record as it stands in its object, every field on one level, as in [`super::TvlSnapshot`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    #[serde(rename = "schema")]
    _schema: IgnoredAny,
    #[serde(rename = "sha256")]
    _sha256: IgnoredAny,
    csu: String,
    family: String,
    entry: Address,
    chain: String,
    chain_id: u64,
    date: Day,
    zone: String,
    day_start: i64,
    day_end: i64,
    blocks: Option<BlockSpan>,
    filter: LogFilter,
    scanned: Coverage,
    logs: Vec<RawLog>,
    reads: Vec<ReadsAtBlock>,
}

impl From<Flat> for LiquidationLogs {
    fn from(flat: Flat) -> Self {
        let Flat { csu, family, entry, chain, chain_id, date, zone, day_start, day_end, .. } = flat;
        let day = DayOfChain { chain, chain_id, date, zone, day_start, day_end };
        let Flat { blocks, filter, scanned, logs, reads, .. } = flat;
        Self { of: CsuOfDay { csu, family, entry, day }, blocks, filter, scanned, logs, reads }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{day_of_chain, header};
    use super::*;

    pub(in super::super) fn liquidations() -> LiquidationLogs {
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

    #[test]
    fn a_union_filter_asks_for_all() {
        let one = LogFilter::new([Address::repeat_byte(2), Address::repeat_byte(1)], [B256::repeat_byte(1)]);
        let two = LogFilter::new([Address::repeat_byte(1)], [B256::repeat_byte(2)]);
        let both = LogFilter::union([&one, &two]);
        assert_eq!(both.addresses, [Address::repeat_byte(1), Address::repeat_byte(2)]);
        assert_eq!(both.topic0.len(), 2);
    }
}
