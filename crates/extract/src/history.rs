//! The logs since a deployment that list its markets, for contracts that no view function lists (Morpho Blue).
//!
//! They are read once, from the deployment's block on, and kept in `state/history/<csu>.json` with the block that they
//! reach. Afterwards each day's scan carries them on: its filter asks for them beside the liquidations.

use crate::collect::{Collector, DayWork, Unit};
use crate::ledger::Failure;
use crate::liquidation::scan_failure;
use crate::rpc::scan::Scan;
use lake::bronze::{LogFilter, RawLog};
use lake::path;
use lake::span::BlockSpan;
use lake::status::Reason;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Blocks after which what was read is kept: a run that is cut off begins again no further back.
pub(crate) const KEPT_EVERY: u64 = 250_000;

/// Logs of a filter from one block through another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct History {
    filter: LogFilter,
    from: u64,
    through: u64,
    logs: Vec<RawLog>,
    /// Who gave them, by label.
    #[serde(default)]
    logs_from: BTreeSet<String>,
}

impl History {
    /// Whether any of these endpoints gave some of its logs. Of a history from before that was kept, nobody knows.
    fn rests_on(&self, labels: &BTreeSet<&str>) -> bool {
        self.logs_from.is_empty() || self.logs_from.iter().any(|label| labels.contains(label.as_str()))
    }
}

/// How far a CSU's history has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaches {
    /// Through this block.
    Through(u64),
    /// Nowhere yet; it begins with this block.
    Nothing {
        /// The block.
        from: u64,
    },
}

impl Collector<'_> {
    /// How far a CSU's history has been read; none for a family that needs none.
    pub(crate) async fn history_reaches(&self, unit: Unit<'_>) -> Option<Reaches> {
        let filter = unit.family.history(unit.csu)?;
        let from = begins(unit).ok()?;
        let known = self.known_history(unit, &filter, from).await;
        Some(known.map_or(Reaches::Nothing { from }, |known| Reaches::Through(known.through)))
    }

    /// The logs that list a CSU's markets up to the day's last block; none for a family that needs none.
    pub(crate) async fn listing_logs(
        &self,
        work: &DayWork<'_>,
        unit: Unit<'_>,
    ) -> Result<Vec<RawLog>, Failure> {
        let Some(filter) = unit.family.history(unit.csu) else { return Ok(Vec::new()) };
        let from = begins(unit)?;
        let last = work.last.number;
        let mut known = self.known_history(unit, &filter, from).await;
        while known.as_ref().is_none_or(|known| known.through < last) {
            let first = known.as_ref().map_or(from, |known| known.through + 1);
            let Ok(span) = BlockSpan::new(first, last.min(first.saturating_add(KEPT_EVERY - 1))) else {
                // The deployment lies after the day.
                return Ok(Vec::new());
            };
            tracing::info!("{}: reading the logs of blocks {span} that list its markets", unit.csu.id);
            let (scan, _) = self.checked_scan(work, span, &filter, None).await;
            if let Some(failure) = scan_failure(&scan, span) {
                return Err(failure);
            }
            let history = known.get_or_insert_with(|| History {
                filter: filter.clone(),
                from,
                through: 0,
                logs: Vec::new(),
                logs_from: BTreeSet::new(),
            });
            history.through = span.last();
            history.logs.extend(scan.logs());
            history.logs_from.extend(scan.labels());
            self.keep_history(unit, history).await;
        }
        let logs = known.into_iter().flat_map(|known| known.logs);
        Ok(logs.filter(|log| log.block_number <= last).collect())
    }

    /// Carries a CSU's history on with the logs of a day's whole scan, if it reaches to the day.
    pub(crate) async fn carry_on_history(&self, unit: Unit<'_>, day: BlockSpan, scan: &Scan) {
        let Some(filter) = unit.family.history(unit.csu) else { return };
        let Ok(from) = begins(unit) else { return };
        let known = self.known_history(unit, &filter, from).await;
        let mut history = match known {
            Some(known) if known.through + 1 == day.first() => known,
            None if day.contains(from) => {
                let logs_from = BTreeSet::new();
                History { filter: filter.clone(), from, through: 0, logs: Vec::new(), logs_from }
            }
            _ => return,
        };
        history.through = day.last();
        let is_new = |log: &&RawLog| log.block_number >= from && filter.matches(log);
        history.logs.extend(scan.logs().iter().filter(is_new).cloned());
        history.logs_from.extend(scan.labels());
        self.keep_history(unit, &history).await;
    }

    /// Forgets the histories that rest on the logs of these endpoints: they are read again. Returns their CSUs.
    pub(crate) async fn forget_histories_from(
        &self,
        units: &[Unit<'_>],
        labels: &BTreeSet<&str>,
    ) -> BTreeSet<String> {
        let mut forgotten = BTreeSet::new();
        for unit in units {
            let Some(filter) = unit.family.history(unit.csu) else { continue };
            let Ok(from) = begins(*unit) else { continue };
            let Some(known) = self.known_history(*unit, &filter, from).await else { continue };
            if known.rests_on(labels) {
                if let Err(error) = self.lake.delete(&path::market_history(&unit.csu.id)).await {
                    tracing::warn!("{error}");
                }
                forgotten.insert(unit.csu.id.clone());
            }
        }
        forgotten
    }

    async fn known_history(&self, unit: Unit<'_>, filter: &LogFilter, from: u64) -> Option<History> {
        // A memory that cannot be read, or is of other questions, is no memory: the logs are read again.
        let bytes = self.lake.get(&path::market_history(&unit.csu.id)).await.ok().flatten()?;
        let known: History = serde_json::from_slice(&bytes).ok()?;
        (known.filter == *filter && known.from == from).then_some(known)
    }

    async fn keep_history(&self, unit: Unit<'_>, history: &History) {
        if let Err(error) = self.lake.replace_json(&path::market_history(&unit.csu.id), history).await {
            tracing::warn!("{error}");
        }
    }
}

/// The block that a CSU's history begins with.
fn begins(unit: Unit<'_>) -> Result<u64, Failure> {
    unit.csu.deployed_block.ok_or_else(|| {
        let message = format!(
            "the markets of {} are listed by its logs since its deployment, and the registry does not say in which block that \
             was\nhint: put `deployed_block` into its row",
            unit.csu.id
        );
        Failure::new(Reason::DiscoveryFailed, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_rests_on_those_who_gave_its_logs_and_an_old_one_on_anybody() {
        let filter = LogFilter { addresses: Vec::new(), topic0: Vec::new() };
        let logs_from = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let history = History { filter, from: 1, through: 9, logs: Vec::new(), logs_from };
        let rests_on = |history: &History, label: &str| history.rests_on(&BTreeSet::from([label]));
        assert!(rests_on(&history, "b") && !rests_on(&history, "c"));
        let mut kept = serde_json::to_value(&history).unwrap();
        kept.as_object_mut().unwrap().remove("logs_from");
        let old: History = serde_json::from_value(kept).unwrap();
        assert!(rests_on(&old, "c"));
    }
}
