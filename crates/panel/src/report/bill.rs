//! The bill of the last `extract run`, from `state/reports/<run>.json`. `state/` may be deleted at any time, so a
//! report without one says so.

use crate::numbers;
use lake::path::run_report;
use lake::run::Run;
use lake::store::{Lake, StoreError};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The bill, or why there is none.
pub(super) enum Bill {
    Some(BillPart),
    None(String),
}

pub(super) struct BillPart {
    pub(super) tasks: String,
    pub(super) made_again: String,
    pub(super) rows: Vec<BillRow>,
    pub(super) warnings: Vec<String>,
}

pub(super) struct BillRow {
    pub(super) purpose: String,
    pub(super) method: String,
    pub(super) planned: String,
    pub(super) sent: String,
    pub(super) units_planned: String,
    pub(super) units: String,
}

/// What this report reads of extract's.
#[derive(Deserialize)]
struct RunReport {
    tasks: BTreeMap<String, u64>,
    bill: Vec<Line>,
    made_again: u64,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    purpose: String,
    method: String,
    planned: Option<u64>,
    sent: u64,
    units_planned: Option<u64>,
    units: u64,
}

impl Bill {
    pub(super) async fn read(run: &Run, lake: &Lake) -> Result<Self, StoreError> {
        let path = run_report(&run.name);
        let Some(bytes) = lake.get(&path).await? else {
            return Ok(Self::None(format!(
                "The lake has no {path}: the days were not collected from here, or state/ was deleted."
            )));
        };
        let report: RunReport = match serde_json::from_slice(&bytes) {
            Ok(report) => report,
            Err(error) => return Ok(Self::None(format!("{path} cannot be read: {error}."))),
        };
        let known = |value: Option<u64>| value.map_or_else(|| numbers::NULL.to_owned(), numbers::whole);
        let tasks: Vec<String> = report
            .tasks
            .iter()
            .map(|(status, count)| format!("{} {status}", numbers::whole(*count)))
            .collect();
        Ok(Self::Some(BillPart {
            tasks: format!("Tasks: {}", if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") }),
            made_again: numbers::whole(report.made_again),
            rows: report
                .bill
                .into_iter()
                .map(|line| BillRow {
                    purpose: line.purpose,
                    method: line.method,
                    planned: known(line.planned),
                    sent: numbers::whole(line.sent),
                    units_planned: known(line.units_planned),
                    units: numbers::whole(line.units),
                })
                .collect(),
            warnings: report.warnings,
        }))
    }
}
