//! The log that must exist: by whose word, and whether the endpoints of a scan show it.

use crate::boundary::{BoundaryError, DayBounds};
use crate::collect::{Collector, DayWork, Unit};
use crate::rpc::pool::PoolError;
use crate::rpc::scan::Scan;
use crate::rpc::trust::{AnyLog, Caught, Distrust};
use lake::bronze::ReadsAtBlock;
use lake::span::BlockSpan;
use protocols::{At, DayStart, Witness};

/// Blocks of one query for a log that must exist, at most: of a busy contract they hold hundreds of logs already.
pub(crate) const WITNESS_BLOCKS: u64 = 1_000;

/// What the endpoints of a scan showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Each of them the log that must exist by a contract's own state.
    Witness,
    /// Nothing against them.
    NothingMissing,
    /// At least one of them does not hold the logs, and is not asked for any again in this run.
    Caught,
}

impl<'a> Collector<'a> {
    /// A log that must exist, by the word of a CSU's own state at the end of the day: an empty answer is no evidence, but an
    /// endpoint that has this one holds the day's logs. `None` when nothing was touched that day, or no snapshot is there.
    pub(crate) async fn witness(
        &self,
        work: &DayWork<'_>,
        units: impl Iterator<Item = Unit<'a>>,
    ) -> Option<Witness> {
        let timestamp = u64::try_from(work.day.day_start).unwrap_or(0);
        let since = DayStart { block: work.span.first(), timestamp };
        for unit in units {
            let calls = self.stored_calls(unit.csu, work.day.date, work.last).await;
            let reads = ReadsAtBlock { block: work.last, calls };
            if let Some(witness) = unit.family.witness(unit.csu, &reads, since) {
                return Some(witness);
            }
        }
        None
    }
}

/// Whether the endpoints of a scan of these blocks hold its logs: they show the witness, or, where no contract's state
/// names one, any log of a block whose header says that it has some.
///
/// # Errors
/// [`PoolError`] when somebody gives no answer: then nothing is shown.
pub(crate) async fn shown(
    work: &DayWork<'_>,
    scan: &Scan,
    span: BlockSpan,
    witness: Option<&Witness>,
) -> Result<Shown, PoolError> {
    let (pool, labels) = (work.open.pool, scan.labels());
    if let Some(witness) = witness
        && let Some(place) = place_of(work, scan, witness).await?
    {
        let without = pool.without_logs(&labels, &witness.filter, place).await?;
        if without.is_empty() {
            return Ok(Shown::Witness);
        }
        // The place is near enough to ask for a log, and says nothing where no block is of that second.
        if is_certain(work, witness).await? {
            for refusal in without {
                pool.distrust(Caught { refusal, of: Distrust::Logs }).await;
            }
            return Ok(Shown::Caught);
        }
    }
    match pool.block_with_logs(span).await? {
        Some(block) if pool.show_any_log(&labels, block).await == AnyLog::Caught => Ok(Shown::Caught),
        _ => Ok(Shown::NothingMissing),
    }
}

/// Blocks among which the witness is, few enough for each endpoint of the scan to give them at once.
async fn place_of(
    work: &DayWork<'_>,
    scan: &Scan,
    witness: &Witness,
) -> Result<Option<BlockSpan>, PoolError> {
    match witness.at {
        At::Block(number) => Ok(BlockSpan::new(number, number).ok()),
        At::Time(second) => {
            let window = work.open.pool.narrowest_window(&scan.labels(), &witness.filter);
            let width = window.min(WITNESS_BLOCKS);
            or_unordered(work.open.boundaries.around_second(second, bounds(work), width).await, None)
        }
    }
}

async fn is_certain(work: &DayWork<'_>, witness: &Witness) -> Result<bool, PoolError> {
    match witness.at {
        At::Block(_) => Ok(true),
        At::Time(second) => or_unordered(work.open.boundaries.has_second(second, bounds(work)).await, false),
    }
}

/// Headers out of order do not show where a log is.
fn or_unordered<T>(found: Result<T, BoundaryError>, unordered: T) -> Result<T, PoolError> {
    match found {
        Err(BoundaryError::Pool(error)) => Err(error),
        Err(BoundaryError::Disorder { .. } | BoundaryError::NotFinal { .. }) => Ok(unordered),
        Ok(found) => Ok(found),
    }
}

fn bounds(work: &DayWork<'_>) -> DayBounds {
    let second = |second: i64| u64::try_from(second).unwrap_or(0);
    DayBounds {
        span: work.span,
        before: second(work.day.day_start.saturating_sub(1)),
        after: second(work.day.day_end),
    }
}
