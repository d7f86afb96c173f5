//! What a plan asks for each CSU, or why it asks nothing.

use crate::collect::DayTasks;
use crate::ledger::Outcome;
use crate::plan::Basis;
use lake::registry::Chain;
use lake::status::{Dataset, Status};
use serde::Serialize;
use std::collections::BTreeMap;

/// View calls of a CSU's snapshots in all days of the run, before they are put together into requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SnapshotCalls {
    /// Their number.
    pub calls: u64,
    /// What the number rests on.
    pub basis: Basis,
}

/// One CSU of a plan. Its scans are its chain's: one log query is for all CSUs of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CsuPlan {
    /// CSU.
    pub csu: String,
    /// Chain.
    pub chain: String,
    /// Days to be read, by dataset.
    pub days: BTreeMap<String, usize>,
    /// View calls of its snapshots; none where no snapshot is to be read, or nobody can be asked.
    pub snapshot_calls: Option<SnapshotCalls>,
    /// Days of a dataset that are settled, by status.
    pub settled: BTreeMap<String, usize>,
    /// Why nothing is asked.
    pub nothing_because: Option<String>,
}

impl CsuPlan {
    /// A CSU's tasks on a chain's days, and what is settled of them.
    pub(super) fn of(csu: &str, chain: &Chain, open: &[DayTasks<'_>], settled: &[Outcome]) -> Self {
        let mut days: BTreeMap<String, usize> = BTreeMap::new();
        let of_csu = open.iter().flat_map(|day| &day.tasks).filter(|(unit, _)| unit.csu.id == csu);
        for (_, dataset) in of_csu {
            *days.entry(Dataset::to_string(dataset)).or_default() += 1;
        }
        let settled: Vec<&Outcome> = settled.iter().filter(|outcome| outcome.csu == csu).collect();
        let mut by_status: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in &settled {
            *by_status.entry(outcome.status.to_string()).or_default() += 1;
        }
        let nothing_because = days.is_empty().then(|| why_settled(&settled));
        let (csu, chain) = (csu.to_owned(), chain.name.clone());
        Self { csu, chain, days, snapshot_calls: None, settled: by_status, nothing_because }
    }

    /// Nobody serves its chain.
    pub(super) fn has_nobody_to_ask(&mut self) {
        if self.nothing_because.is_none() {
            self.nothing_because = Some(format!("{} has nobody to ask", self.chain));
        }
    }
}

/// The reasons of outcomes, each once; days that are collected need none.
fn why_settled(settled: &[&Outcome]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    for outcome in settled {
        let reason = match outcome.message.as_str() {
            "" if outcome.status == Status::Collected => "it is collected".to_owned(),
            "" => outcome.status.to_string(),
            message => format!("{}: {message}", outcome.status),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    if reasons.is_empty() { "the run has no day for it".to_owned() } else { reasons.join("; ") }
}
