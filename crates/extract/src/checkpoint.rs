//! `state/checkpoint.json`, for tools that read the checkpoint of the plan: what is done, what failed.
//!
//! It is written from the lake at the end of each run and never read to decide anything. What it says of CSUs and days
//! outside the run stays as it was.

use crate::coverage::Coverage;
use lake::Lake;
use lake::day::Day;
use lake::path;
use lake::run::Run;
use lake::status::{Dataset, Status};
use lake::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// RFC 3339 in UTC.
    pub last_updated: String,
    /// CSU-days of which something is in the lake.
    pub completed_tasks: Vec<CompletedTask>,
    /// CSU-days of which something was tried and is not.
    pub failed_tasks: Vec<FailedTask>,
}

/// A CSU-day of which something is in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedTask {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Whether its snapshot is there.
    pub tvl: bool,
    /// Whether its liquidations are there.
    pub liquidations: bool,
}

/// A CSU-day of which something was tried and is not in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedTask {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Why not, in one line.
    pub error: String,
}

impl Checkpoint {
    /// The checkpoint of what was found.
    pub fn of(coverage: &Coverage) -> Self {
        let mut completed: BTreeMap<(&str, Day), CompletedTask> = BTreeMap::new();
        let mut failed: BTreeMap<(&str, Day), FailedTask> = BTreeMap::new();
        for (row, day) in coverage.tasks() {
            let (csu, date) = (row.csu.as_str(), day.date);
            match day.status {
                Status::Collected => {
                    let task = completed.entry((csu, date)).or_insert_with(|| CompletedTask {
                        csu: csu.to_owned(),
                        date,
                        tvl: false,
                        liquidations: false,
                    });
                    match row.dataset {
                        Dataset::Tvl => task.tvl = true,
                        Dataset::Liquidations => task.liquidations = true,
                    }
                }
                status if status.is_tried_and_missing() => {
                    let line = day.message.lines().next().filter(|line| !line.is_empty());
                    let word = day.reason.map_or(day.status.as_str(), |reason| reason.as_str());
                    let error = format!("{}: {}", row.dataset, line.unwrap_or(word));
                    failed.entry((csu, date)).or_insert(FailedTask { csu: csu.to_owned(), date, error });
                }
                _ => {}
            }
        }
        Self {
            last_updated: jiff::Timestamp::now().to_string(),
            completed_tasks: completed.into_values().collect(),
            failed_tasks: failed.into_values().collect(),
        }
    }

    /// Writes it, together with what stands there of other CSUs and days.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(mut self, run: &Run, lake: &Lake) -> Result<(), StoreError> {
        // One that cannot be read is written anew.
        let kept = lake.get(&path::checkpoint()).await?;
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok()).unwrap_or_default();
        let is_other = |csu: &String, date: Day| !(run.days.contains(date) && run.csus.contains(csu));
        self.completed_tasks
            .extend(kept.completed_tasks.into_iter().filter(|task| is_other(&task.csu, task.date)));
        self.failed_tasks.extend(kept.failed_tasks.into_iter().filter(|task| is_other(&task.csu, task.date)));
        self.completed_tasks.sort_by(|a, b| (&a.csu, a.date).cmp(&(&b.csu, b.date)));
        self.failed_tasks.sort_by(|a, b| (&a.csu, a.date).cmp(&(&b.csu, b.date)));
        lake.replace_json(&path::checkpoint(), &self).await
    }
}
