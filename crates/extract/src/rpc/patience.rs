//! How long a question waits for better times, and how often it is put to the same endpoint again.
//!
//! A request that is lost is made again at once, a few times ([`endpoint`](crate::rpc::endpoint)); then the next endpoint is
//! asked. When nobody is left, and somebody who has answered before failed only in passing, the question rests until the
//! first of those may be asked again: its rest is over ([`breaker`](crate::rpc::breaker)) and it has not been asked again
//! too often ([`retries`](crate::rpc::retries)). A chain that has been silent for too long is not waited for.

use crate::rpc::classify::Verdict;
use crate::rpc::endpoint::{Endpoint, Refusal, is_passing};
use crate::rpc::pool::Pool;
use crate::rpc::tally::Purpose;
use std::collections::BTreeSet;
use std::time::Duration;

/// No rest is shorter.
pub(crate) const SHORTEST_REST: Duration = Duration::from_secs(5);
/// How long a chain may be silent before nobody waits for it any more.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// Rounds in which a question was put to somebody, and failed in passing, after which it is given up: it seems to be the
/// question.
const MOST_ROUNDS: u32 = 10;

/// Whether who refused so may answer the same question later.
pub(crate) fn may_pass(refusal: &Refusal) -> bool {
    is_passing(&refusal.verdict) || refusal.verdict == Verdict::TookTooLong
}

/// How far a question has got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patience {
    /// Labels of those it was put to.
    asked: BTreeSet<String>,
    /// Rounds in which it was put to somebody, and whether this is one.
    rounds: u32,
    is_put: bool,
}

impl Patience {
    /// Whether the question may be put to the endpoint: always for the first time, again as often as its requests allow.
    ///
    /// # Errors
    /// A passing [`Refusal`].
    pub(crate) fn admit(&mut self, endpoint: &Endpoint, purpose: Purpose) -> Result<(), Refusal> {
        // One that is at rest is not asked, and says so itself.
        if endpoint.is_resting() {
            return Ok(());
        }
        if !self.asked.insert(endpoint.label().to_owned()) {
            endpoint.take_retry(purpose)?;
        }
        self.is_put = true;
        Ok(())
    }

    fn end_round(&mut self) {
        self.rounds += u32::from(std::mem::take(&mut self.is_put));
    }
}

impl Pool {
    /// How long the question has to rest before those who failed in passing are asked again; `None` when it is to be given
    /// up.
    pub(crate) fn rest(&self, refusals: &[Refusal], patience: &mut Patience) -> Option<Duration> {
        patience.end_round();
        if patience.rounds >= MOST_ROUNDS {
            return None;
        }
        let failed_in_passing = |endpoint: &Endpoint| {
            refusals.iter().any(|refusal| refusal.label == endpoint.label() && may_pass(refusal))
        };
        let waited_for = self.endpoints.iter().filter(|endpoint| {
            endpoint.last_answer().is_some() && failed_in_passing(endpoint) && !endpoint.is_retired()
        });
        let rest = waited_for.map(|endpoint| endpoint.back_in()).min()?.max(SHORTEST_REST);
        let last_answer = self.endpoints.iter().filter_map(|endpoint| endpoint.last_answer()).max()?;
        (last_answer.elapsed() + rest <= LONGEST_SILENCE).then_some(rest)
    }
}
