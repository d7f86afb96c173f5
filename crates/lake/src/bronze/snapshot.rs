//! The view calls of a CSU's snapshot.

use super::{BronzeError, CsuOfDay, ReadsAtBlock, Record, check_calls, require};
use serde::{Deserialize, Serialize};

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
