//! The ledger: what became of each task, with the reason when it is not done.
//!
//! It lives under `state/`, because it holds what is not the chain's: how often a task was tried, when, and through
//! which endpoints. A day that is whole is proven by its bronze object; the ledger is read for the days that are not.

use crate::day::Day;
use crate::status::{Dataset, Reason, Status};
use serde::{Deserialize, Serialize};

/// The last word on one dataset of one CSU on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// CSU id.
    pub csu: String,
    /// Day.
    pub date: Day,
    /// Dataset.
    pub dataset: Dataset,
    /// What became of it.
    pub status: Status,
    /// Why it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The reason in words, free of URLs and keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Calls that the plan has.
    pub calls_planned: u64,
    /// Calls that were answered.
    pub calls_ok: u64,
    /// Blocks that the day has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_expected: Option<u64>,
    /// Blocks that were scanned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks_scanned: Option<u64>,
    /// Labels of the endpoints that answered, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// When it was last tried, RFC 3339 in UTC.
    pub last_try_at: String,
}

/// The last word on the price book of a chain's day. A missing one makes no CSU-day unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBookEntry {
    /// Chain.
    pub chain: String,
    /// Day.
    pub date: Day,
    /// What became of it.
    pub status: Status,
    /// Why it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The reason in words, free of URLs and keys.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Calls that the plan has.
    pub calls_planned: u64,
    /// Calls that returned data.
    pub calls_ok: u64,
    /// Labels of the endpoints that answered, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// When it was last tried, RFC 3339 in UTC.
    pub last_try_at: String,
}
