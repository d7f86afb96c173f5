//! The heat map: each CSU's days as runs of equal days, with what became of them and why.

use super::facts::{Fact, Facts, Silver};
use crate::numbers;
use lake::status::{Dataset, Status, UsdStatus};
use std::collections::BTreeSet;

/// What became of a CSU-day, in the words and colours of the map. In the order of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Complete,
    Unpriced,
    Half,
    Archive,
    Untried,
    Failed,
    Away,
}

impl State {
    pub(super) fn of(row: &Fact) -> Self {
        let measured = |status| matches!(status, Status::Collected | Status::NoBlock);
        match (measured(row.snap_status), measured(row.liq_status)) {
            (true, true) if row.snap_status == Status::Collected && row.usd_status != UsdStatus::Complete => {
                Self::Unpriced
            }
            (true, true) => Self::Complete,
            (one, other) if one != other && row.status.is_worth_a_retry() => Self::Half,
            _ => match row.status {
                Status::Partial => Self::Half,
                Status::ArchiveUnavailable => Self::Archive,
                Status::NotAttempted => Self::Untried,
                Status::Failed => Self::Failed,
                _ => Self::Away,
            },
        }
    }

    /// The word in style sheets.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Unpriced => "unpriced",
            Self::Half => "half",
            Self::Archive => "archive",
            Self::Untried => "untried",
            Self::Failed => "failed",
            Self::Away => "away",
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Complete => "measured",
            Self::Unpriced => "measured, a price is missing",
            Self::Half => "measured in part",
            Self::Archive => "no archive",
            Self::Untried => "not attempted",
            Self::Failed => "failed",
            Self::Away => "not deployed, retired or unsupported",
        }
    }
}

/// A line of the map's key.
pub(super) struct StateKey {
    pub(super) key: &'static str,
    pub(super) words: &'static str,
    pub(super) days: String,
}

pub(super) fn key(facts: &Facts) -> Vec<StateKey> {
    let states: Vec<State> = facts.rows.iter().map(State::of).collect();
    let found: BTreeSet<State> = states.iter().copied().collect();
    let days = |state| numbers::whole(states.iter().filter(|other| **other == state).count());
    found
        .into_iter()
        .map(|state| StateKey { key: state.key(), words: state.words(), days: days(state) })
        .collect()
}

/// Consecutive days of a CSU of which the same is to be said.
pub(super) struct RunOfDays {
    pub(super) csu: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) days: usize,
    pub(super) key: &'static str,
    pub(super) words: &'static str,
    pub(super) snap_status: Status,
    pub(super) liq_status: Status,
    pub(super) usd_status: UsdStatus,
    pub(super) reason: String,
}

/// Messages of days that were joined into one run: the first is told in full.
const LONGEST_MESSAGE: usize = 300;

pub(super) fn runs_of_days(facts: &Facts, silver: &Silver) -> Vec<RunOfDays> {
    let mut runs = Vec::new();
    for rows in facts.csus() {
        let same = |one: &Fact, other: &Fact| {
            let told = |row: &Fact| {
                let reason =
                    |dataset| Some(silver.causes.get(&(row.csu.clone(), row.date, dataset))?.0.clone());
                let statuses = (row.snap_status, row.liq_status, row.usd_status);
                (statuses, reason(Dataset::Tvl), reason(Dataset::Liquidations))
            };
            one.date.next() == other.date && told(one) == told(other)
        };
        for run in rows.chunk_by(same) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let state = State::of(first);
            runs.push(RunOfDays {
                csu: first.csu.clone(),
                from: first.date.to_string(),
                to: last.date.to_string(),
                days: run.len(),
                key: state.key(),
                words: state.words(),
                snap_status: first.snap_status,
                liq_status: first.liq_status,
                usd_status: first.usd_status,
                reason: reason(run, silver),
            });
        }
    }
    runs
}

fn reason(run: &[Fact], silver: &Silver) -> String {
    let of = |dataset| cause(run, silver, dataset);
    match (of(Dataset::Tvl), of(Dataset::Liquidations)) {
        (Some(one), Some(other)) if one == other => format!("snapshot and liquidations: {one}"),
        (Some(one), Some(other)) => format!("snapshot: {one}; liquidations: {other}"),
        (Some(one), None) => format!("snapshot: {one}"),
        (None, Some(other)) => format!("liquidations: {other}"),
        (None, None) if run.iter().any(|row| State::of(row) == State::Unpriced) => {
            "a reserve with a balance has no price".to_owned()
        }
        (None, None) => String::new(),
    }
}

/// The word and the first message of a run of days, and how many other messages there are.
fn cause(run: &[Fact], silver: &Silver, dataset: Dataset) -> Option<String> {
    let causes: Vec<_> =
        run.iter().filter_map(|row| silver.causes.get(&(row.csu.clone(), row.date, dataset))).collect();
    let (word, message) = causes.first()?;
    let messages: BTreeSet<&str> = causes.iter().map(|(_, message)| message.as_str()).collect();
    let mut text = word.clone();
    if !message.is_empty() {
        let cut: String = message.chars().take(LONGEST_MESSAGE).collect();
        let dots = if cut.len() < message.len() { "…" } else { "" };
        text.push_str(&format!(" ({}{dots})", cut.trim()));
    }
    if messages.len() > 1 {
        text.push_str(&format!(" and {} other messages", messages.len() - 1));
    }
    Some(text)
}
