//! What a chain's searches and listings have cost, kept from run to run in the lake's `state/costs`, for plans alone.
//!
//! How many headers the search for a boundary reads depends on how even the chain's pace is, which nobody knows before it
//! was asked. Losing this memory makes a plan's estimates rougher and nothing else.

use lake::Lake;
use lake::path;
use lake::store::StoreError;
use serde::{Deserialize, Serialize};

/// Headers of one boundary on a chain that nothing is known of (measured in [`boundary`](crate::boundary)'s tests on chains
/// like Ethereum and Polygon).
const HEADERS_PER_BOUNDARY: f64 = 6.0;
/// The same on a chain that keeps its pace, as those of the OP stack do: the registry has whole seconds for it, where it has
/// an average with a fraction for others.
const HEADERS_PER_BOUNDARY_AT_EVEN_PACE: f64 = 3.0;
/// The same where several blocks share a second, as on Arbitrum.
const HEADERS_PER_BOUNDARY_WITHIN_SECONDS: f64 = 7.0;
/// Headers by which the log that must exist is found within a day (measured as above).
const HEADERS_PER_WITNESS: f64 = 2.7;
/// The same at an even pace.
const HEADERS_PER_WITNESS_AT_EVEN_PACE: f64 = 2.0;
/// Requests in which a family's contracts are listed.
const REQUESTS_PER_LISTING: f64 = 3.0;
/// Of so many things the older half is forgotten: chains change their pace.
const REMEMBERED: u64 = 400;

/// How many requests so many things of a kind took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    /// Things.
    pub of: u64,
    /// Requests that they took.
    pub requests: u64,
}

impl Mean {
    /// Requests of one, or what is usual.
    fn or(self, usual: f64) -> f64 {
        if self.of == 0 { usual } else { self.requests as f64 / self.of as f64 }
    }

    /// With so many more.
    pub fn add(&mut self, of: u64, requests: u64) {
        if of == 0 {
            return;
        }
        (self.of, self.requests) = (self.of.saturating_add(of), self.requests.saturating_add(requests));
        if self.of > REMEMBERED {
            (self.of, self.requests) = (self.of.div_ceil(2), self.requests.div_ceil(2));
        }
    }
}

/// What a chain's searches and listings have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Headers of the search for a day's boundary.
    pub boundary: Mean,
    /// Headers by which the log that must exist was found, for each scanned day.
    pub witness: Mean,
    /// Requests in which a CSU's contracts were listed for the first time.
    pub listing: Mean,
}

impl Costs {
    /// What the lake remembers of a chain. What cannot be read is not remembered.
    pub async fn of(lake: &Lake, chain: &str) -> Self {
        let kept = lake.get(&path::search_costs(chain)).await.ok().flatten();
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self, lake: &Lake, chain: &str) -> Result<(), StoreError> {
        lake.replace_json(&path::search_costs(chain), self).await
    }

    /// Headers of one boundary.
    pub(crate) fn boundary(&self, block_seconds: f64) -> f64 {
        self.boundary.or(if block_seconds < 1.0 {
            HEADERS_PER_BOUNDARY_WITHIN_SECONDS
        } else if block_seconds.fract() == 0.0 {
            HEADERS_PER_BOUNDARY_AT_EVEN_PACE
        } else {
            HEADERS_PER_BOUNDARY
        })
    }

    /// Headers of the log that must exist.
    pub(crate) fn witness(&self, block_seconds: f64) -> f64 {
        self.witness.or(if block_seconds.fract() == 0.0 {
            HEADERS_PER_WITNESS_AT_EVEN_PACE
        } else {
            HEADERS_PER_WITNESS
        })
    }

    /// Requests of one listing.
    pub(super) fn listing(&self) -> f64 {
        self.listing.or(REQUESTS_PER_LISTING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_takes_the_place_of_what_is_usual_and_the_old_is_forgotten() {
        let mut costs = Costs::default();
        assert_eq!((costs.boundary(12.07), costs.boundary(2.0), costs.boundary(0.25)), (6.0, 3.0, 7.0));
        assert_eq!((costs.witness(12.07), costs.witness(2.0)), (2.7, 2.0));
        costs.boundary.add(10, 31);
        assert_eq!((costs.boundary(12.0), costs.listing()), (3.1, 3.0));
        costs.boundary.add(0, 5);
        assert_eq!(costs.boundary.of, 10);
        for _ in 0..100 {
            costs.boundary.add(10, 60);
        }
        assert!(costs.boundary.of <= REMEMBERED && (5.9..6.1).contains(&costs.boundary(12.0)), "{costs:?}");
    }

    #[tokio::test]
    async fn costs_are_kept_in_the_lake() {
        let lake = Lake::open("memory:///").unwrap();
        assert_eq!(Costs::of(&lake, "c").await, Costs::default());
        let costs = Costs { boundary: Mean { of: 2, requests: 6 }, ..Costs::default() };
        costs.keep(&lake, "c").await.unwrap();
        assert_eq!(Costs::of(&lake, "c").await, costs);
        lake.overwrite(&path::search_costs("c"), "not JSON").await.unwrap();
        assert_eq!(Costs::of(&lake, "c").await, Costs::default());
    }
}
