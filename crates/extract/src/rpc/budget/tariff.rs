//! What an operator charges, and the pace and batches that follow from it.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Share of the allowed rate that is used where whole requests do not fill it exactly.
const RATE_SHARE: f64 = 0.96;
/// Share of a second's units that one JSON-RPC batch may take.
const BATCH_SHARE: f64 = 0.5;

/// What an operator charges. Defaults to one unit a request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Operator that charges it.
    pub operator: String,
    /// Name of the unit: `CU`, `credits`, `requests`.
    pub unit: String,
    /// Units that a key may spend a second.
    pub units_per_second: f64,
    /// Units that a key has a month.
    #[serde(default)]
    pub units_per_month: Option<u64>,
    /// Units that a key has a day, UTC.
    #[serde(default)]
    pub units_per_day: Option<u64>,
    /// Units of each method.
    #[serde(default)]
    pub cost: BTreeMap<String, u32>,
    /// Units of every other method.
    pub other: u32,
    /// Units of a JSON-RPC batch, beside those of its members.
    #[serde(default)]
    pub batch: u32,
    /// Where this is stated.
    pub source: String,
}

impl Tariff {
    /// A tariff of so many requests a second, without a month.
    pub fn by_requests(operator: &str, per_second: f64) -> Self {
        Self {
            operator: operator.to_owned(),
            unit: "requests".to_owned(),
            units_per_second: per_second,
            units_per_month: None,
            units_per_day: None,
            cost: BTreeMap::new(),
            other: 1,
            batch: 0,
            source: String::new(),
        }
    }

    /// Units of one request.
    pub fn cost(&self, method: &str) -> u32 {
        self.cost.get(method).copied().unwrap_or(self.other)
    }

    /// What is wrong with the row, if anything.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(&self) -> Result<(), String> {
        let rate = self.units_per_second;
        if self.source.trim().is_empty() {
            return Err("the tariff has no source: say where it is stated".into());
        }
        if !(rate.is_finite() && rate > 0.0 && rate <= 1e6) {
            return Err("`units_per_second` must be a positive number up to a million".into());
        }
        Ok(())
    }

    /// The part of it that one of several processes on one key may use: rate, month and day by this share.
    #[must_use]
    pub fn scaled(&self, share: f64) -> Self {
        let part = |units: u64| (units as f64 * share) as u64;
        Self {
            units_per_second: self.units_per_second * share,
            units_per_month: self.units_per_month.map(part),
            units_per_day: self.units_per_day.map(part),
            ..self.clone()
        }
    }

    pub(super) fn dearest(&self) -> u32 {
        self.cost.values().copied().chain([self.other, self.batch, 1]).max().unwrap_or(1)
    }

    /// Units a second at which requests are sent: as many whole requests of the dearest kind as the rate holds, so that no
    /// second has one too many, or nearly the rate where that would waste more of it.
    pub fn pace(&self) -> f64 {
        let dearest = f64::from(self.dearest());
        let whole = (self.units_per_second / dearest).floor() * dearest;
        whole.max(self.units_per_second * RATE_SHARE) * 0.9999
    }

    /// Requests of the method in one JSON-RPC batch that the operator lets in at once beside what else is under way: a batch
    /// of more than a second's units would be refused for ever.
    pub fn most_members(&self, method: &str) -> usize {
        let room = self.units_per_second * BATCH_SHARE - f64::from(self.batch);
        match self.cost(method) {
            0 => usize::MAX,
            cost => ((room / f64::from(cost)) as usize).max(1),
        }
    }

    /// Seconds of the pace that one request takes: what units of different operators are compared by.
    pub fn seconds(&self, method: &str) -> f64 {
        f64::from(self.cost(method)) / self.pace()
    }
}
