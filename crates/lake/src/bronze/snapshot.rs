//! The view calls of a CSU's snapshot.

use super::{
    BronzeError, CallRecord, CsuOfDay, DayOfChain, Header, ReadsAtBlock, Record, check_calls, require,
};
use crate::day::Day;
use alloy_primitives::Address;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// `bronze/tvl/<csu>/<date>.json`: every view call of the snapshot, at the day's last block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Flat")]
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

/// The record as it stands in its object, every field on one level. Read through `flatten`, each call would be built twice:
/// half of the time in which silver is built.
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
    block: Header,
    calls: Vec<CallRecord>,
}

impl From<Flat> for TvlSnapshot {
    fn from(flat: Flat) -> Self {
        let Flat {
            csu, family, entry, chain, chain_id, date, zone, day_start, day_end, block, calls, ..
        } = flat;
        let day = DayOfChain { chain, chain_id, date, zone, day_start, day_end };
        Self { of: CsuOfDay { csu, family, entry, day }, reads: ReadsAtBlock { block, calls } }
    }
}
