//! What was asked, and what for: the bill of a run, by purpose.

use serde::Serialize;
use std::collections::BTreeMap;

/// What a request is for. A plan of a run foresees all of them but [`Purpose::Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To know whom one speaks to: chain id, last final block.
    Identity,
    /// To find a day's blocks.
    Boundary,
    /// To list a deployment's contracts.
    Discovery,
    /// To read the state at the day's end.
    Snapshot,
    /// To read the day's logs.
    Scan,
    /// To see a log that must exist.
    Witness,
    /// To ask another operator the same.
    Sample,
    /// To read prices at the blocks with a liquidation: nobody knows beforehand how many there are.
    Event,
    /// To see what an endpoint can do. No part of a run.
    Probe,
}

impl Purpose {
    /// The word in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Boundary => "boundary",
            Self::Discovery => "discovery",
            Self::Snapshot => "snapshot",
            Self::Scan => "scan",
            Self::Witness => "witness",
            Self::Sample => "sample",
            Self::Event => "event",
            Self::Probe => "probe",
        }
    }
}

/// Requests of one purpose and method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Requests sent, those sent again included.
    pub sent: u64,
    /// Units they cost.
    pub units: u64,
}

/// What one endpoint was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    unit: String,
    counts: BTreeMap<(Purpose, &'static str), Count>,
    again: BTreeMap<Purpose, u64>,
}

impl Asked {
    /// Of an endpoint that charges in this unit.
    pub fn in_units(unit: &str) -> Self {
        Self { unit: unit.to_owned(), ..Self::default() }
    }

    /// The unit; empty for an endpoint that charges nothing.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Counts a request.
    pub fn count(&mut self, purpose: Purpose, method: &'static str, units: u64) {
        let count = self.counts.entry((purpose, method)).or_default();
        count.sent += 1;
        count.units = count.units.saturating_add(units);
    }

    /// Adds units that were paid beside those of the requests.
    pub fn charge(&mut self, purpose: Purpose, method: &'static str, units: u64) {
        let count = self.counts.entry((purpose, method)).or_default();
        count.units = count.units.saturating_add(units);
    }

    /// Counts a request that failed in passing, and is made again.
    pub fn count_again(&mut self, purpose: Purpose) {
        *self.again.entry(purpose).or_default() += 1;
    }

    /// Requests by purpose and method.
    pub fn counts(&self) -> &BTreeMap<(Purpose, &'static str), Count> {
        &self.counts
    }

    /// Requests by method.
    pub fn by_method(&self) -> BTreeMap<String, u64> {
        let mut methods = BTreeMap::new();
        for ((_, method), count) in &self.counts {
            *methods.entry((*method).to_owned()).or_default() += count.sent;
        }
        methods
    }

    /// All requests.
    pub fn sent(&self) -> u64 {
        self.counts.values().map(|count| count.sent).sum()
    }

    /// All units.
    pub fn units(&self) -> u64 {
        self.counts.values().map(|count| count.units).sum()
    }

    /// Requests of a purpose that failed in passing.
    pub fn again_for(&self, purpose: Purpose) -> u64 {
        self.again.get(&purpose).copied().unwrap_or(0)
    }

    /// Requests that failed in passing.
    pub fn again(&self) -> u64 {
        self.again.values().sum()
    }
}
