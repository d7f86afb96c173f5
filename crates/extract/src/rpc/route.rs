//! Whom to ask first: the endpoint that needs the least of its key for the task.
//!
//! Units of different operators cannot be compared, so they are measured by the time in which a key may spend them: a
//! 10-block query of a key with 8 queries a second takes 125 ms of it, a 10,000-block query of a public endpoint with 3 a
//! second 333 ms for a thousand times the blocks.

use crate::rpc::endpoint::Endpoint;
use std::sync::Arc;

/// What is to be asked.
#[derive(Debug, Clone, Copy)]
pub enum Task<'a> {
    /// One request, about a block if it is known which.
    Request {
        /// Method.
        method: &'static str,
        /// Block.
        block: Option<u64>,
    },
    /// Many requests in one body.
    Batch {
        /// Method of them all.
        method: &'static str,
        /// Block.
        block: Option<u64>,
    },
    /// A scan for logs.
    Scan {
        /// Digest of the filter.
        filter: &'a str,
        /// First block.
        block: u64,
    },
}

impl Task<'_> {
    /// Method, and the block that must be held.
    pub(crate) fn about(&self) -> (&'static str, Option<u64>) {
        match *self {
            Self::Request { method, block } | Self::Batch { method, block } => (method, block),
            Self::Scan { block, .. } => ("eth_getLogs", Some(block)),
        }
    }
}

/// The endpoints, the one to ask first at the front. Those that are down, have spent their key, or said that they lack
/// the method or the block come last, whatever they cost; of equals the least busy, then the more trusted.
pub fn in_order<'e>(
    endpoints: impl Iterator<Item = &'e Arc<Endpoint>>,
    task: &Task<'_>,
) -> Vec<&'e Arc<Endpoint>> {
    let mut order: Vec<_> =
        endpoints.map(|endpoint| (endpoint.is_unfit(task), cost(endpoint, task), endpoint)).collect();
    // Stable: file order is order of trust.
    order.sort_by(|(last, cost, endpoint), (other_last, other_cost, other)| {
        let by_cost = last.cmp(other_last).then(cost.total_cmp(other_cost));
        by_cost.then(endpoint.under_way().cmp(&other.under_way()))
    });
    order.into_iter().map(|(_, _, endpoint)| endpoint).collect()
}

/// How many endpoints are as good for a task as the one to ask first: they share it.
pub fn sharing<'e>(endpoints: impl Iterator<Item = &'e Arc<Endpoint>>, task: &Task<'_>) -> usize {
    let order = in_order(endpoints, task);
    let rank = |endpoint: &Endpoint| (endpoint.is_unfit(task), cost(endpoint, task));
    let Some(best) = order.first().map(|first| rank(first)) else { return 0 };
    order.into_iter().take_while(|endpoint| rank(endpoint) == best).count()
}

impl Endpoint {
    /// Whether it is asked only when nobody else is left.
    pub(crate) fn is_unfit(&self, task: &Task<'_>) -> bool {
        let (method, block) = task.about();
        self.is_down()
            || self.lacks(method)
            || self.is_spent(method)
            || block.is_some_and(|block| self.does_not_hold(method, block))
    }
}

/// Seconds of the key's pace, for one request or for one block of a scan.
fn cost(endpoint: &Endpoint, task: &Task<'_>) -> f64 {
    match *task {
        Task::Request { method, .. } | Task::Batch { method, .. } => endpoint.seconds(method),
        Task::Scan { filter, .. } => {
            seconds_per_block(endpoint.seconds("eth_getLogs"), endpoint.log_window(filter))
        }
    }
}

/// Seconds of a key's pace that one block of a scan takes.
pub(crate) fn seconds_per_block(seconds_per_query: f64, window: u64) -> f64 {
    // An endpoint that costs nothing is still better with a wider window.
    seconds_per_query.max(1e-9) / window.max(1) as f64
}
