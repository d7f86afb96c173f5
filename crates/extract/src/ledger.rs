//! Outcomes of tasks, and their entries in the lake's ledger.

use lake::Lake;
use lake::day::Day;
use lake::ledger::LedgerEntry;
use lake::path;
use lake::status::{Dataset, Reason, Status};
use lake::store::StoreError;
use std::collections::BTreeSet;

/// What became of one dataset of one CSU on one day in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// CSU.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Dataset.
    pub dataset: Dataset,
    /// Status.
    pub status: Status,
    /// Why it is not done.
    pub reason: Option<Reason>,
    /// The reason in words.
    pub message: String,
    /// What was spent on it; `None` when it was not tried in this run.
    pub effort: Option<Effort>,
}

/// What was spent on a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effort {
    /// Calls that the plan has.
    pub calls_planned: u64,
    /// Calls that returned data.
    pub calls_ok: u64,
    /// Blocks of the day.
    pub blocks_expected: Option<u64>,
    /// Blocks scanned.
    pub blocks_scanned: Option<u64>,
    /// Labels of the endpoints that answered.
    pub endpoints: BTreeSet<String>,
    /// Labels of those among them that gave logs.
    pub logs_from: BTreeSet<String>,
}

impl Outcome {
    /// A task that needs nothing more: its object is there, or there can be none.
    pub fn settled(csu: &str, date: Day, dataset: Dataset, status: Status) -> Self {
        Self {
            csu: csu.to_owned(),
            date,
            dataset,
            status,
            reason: None,
            message: String::new(),
            effort: None,
        }
    }

    /// A task that was tried and not done.
    pub fn unfinished(csu: &str, date: Day, dataset: Dataset, failure: &Failure, effort: Effort) -> Self {
        let Failure { status, reason, message } = failure.clone();
        Self {
            csu: csu.to_owned(),
            date,
            dataset,
            status,
            reason: Some(reason),
            message,
            effort: Some(effort),
        }
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        !self.status.is_worth_a_retry()
    }
}

/// Why a task was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Status it gets.
    pub status: Status,
    /// The word.
    pub reason: Reason,
    /// The words.
    pub message: String,
}

impl Failure {
    /// A failure for this reason; missing history and waiting for finality have statuses of their own.
    pub fn new(reason: Reason, message: impl ToString) -> Self {
        let status = match reason {
            Reason::NoArchive => Status::ArchiveUnavailable,
            Reason::NotFinal | Reason::Budget => Status::NotAttempted,
            Reason::BlocksMissing => Status::Partial,
            _ => Status::Failed,
        };
        Self { status, reason, message: message.to_string() }
    }
}

impl From<&crate::rpc::pool::PoolError> for Failure {
    fn from(error: &crate::rpc::pool::PoolError) -> Self {
        Self::new(error.reason(), error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(Reason::Store, error)
    }
}

/// What the ledger remembers of a task. An entry that cannot be read counts as none: the ledger is a memory, not the truth.
///
/// # Errors
/// [`StoreError`].
pub async fn entry(
    lake: &Lake,
    dataset: Dataset,
    csu: &str,
    date: Day,
) -> Result<Option<LedgerEntry>, StoreError> {
    let bytes = lake.get(&path::ledger_entry(dataset, csu, date)).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Writes a tried task's outcome into the ledger, counting attempts. Settled tasks leave the ledger as it is.
///
/// # Errors
/// [`StoreError`].
pub async fn record(lake: &Lake, outcome: &Outcome) -> Result<(), StoreError> {
    let Some(effort) = &outcome.effort else { return Ok(()) };
    let at = path::ledger_entry(outcome.dataset, &outcome.csu, outcome.date);
    let earlier = entry(lake, outcome.dataset, &outcome.csu, outcome.date).await?;
    let entry = LedgerEntry {
        csu: outcome.csu.clone(),
        date: outcome.date,
        dataset: outcome.dataset,
        status: outcome.status,
        reason: outcome.reason,
        message: outcome.message.clone(),
        attempts: earlier.map_or(1, |entry| entry.attempts.saturating_add(1)),
        calls_planned: effort.calls_planned,
        calls_ok: effort.calls_ok,
        blocks_expected: effort.blocks_expected,
        blocks_scanned: effort.blocks_scanned,
        endpoints: effort.endpoints.iter().cloned().collect(),
        last_try_at: jiff::Timestamp::now().to_string(),
    };
    lake.replace_json(&at, &entry).await
}
