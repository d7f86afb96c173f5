//! Carrying out view calls at a block: many in one `eth_call` where a node can be brought to it.
//!
//! The [`Means`] are tried in order of cost. One that is refused for what it is, such as a state override where the node
//! knows none, is not tried again for a while; a batch that is refused for its size, gas or time is cut, and so are the
//! next. What was learnt is in a [`ReadMemory`] for each chain. The answers do not depend on the means:
//! docs/decisions/snapshot-means.md says why, and where that ends.

mod means;
#[cfg(test)]
mod tests;

use crate::rpc::classify::Verdict;
use crate::rpc::patience::SHORTEST_REST;
use crate::rpc::pool::{Pool, PoolError, Question, read_as};
use crate::rpc::tally::Purpose;
use futures::FutureExt;
use futures::future::BoxFuture;
use lake::bronze::CallRecord;
use lake::registry::Chain;
use lake::{Address, Bytes};
use protocols::{Call, multicall};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use means::{BatchSize, Means, ReadMemory};
pub(crate) use means::{CALLS_PER_BATCH, MEMBERS_PER_BATCH};

/// Rests before a single call that ran out of time is given up.
const RESTS_ALONE: u32 = 3;

/// What calls are for, and the block to which they are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Purpose.
    pub purpose: Purpose,
    /// Block.
    pub block: u64,
}

/// Endpoints that take many requests in one JSON-RPC batch.
pub trait JsonBatches: Send + Sync {
    /// Sends each call as a plain `eth_call` at the block, all in one batch.
    ///
    /// # Errors
    /// [`PoolError::SmallerBatch`] when the batch has too many members, another one when no endpoint takes batches, or
    /// none answers.
    fn send<'s>(&'s self, calls: &'s [Call], at: At) -> BoxFuture<'s, Result<BatchAnswer, PoolError>>;
}

/// The answer to a JSON-RPC batch of plain calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAnswer {
    /// For each call, in order, whether it succeeded and what it returned or reverted with. `None` for a member that
    /// was refused by itself or is missing: it is asked alone.
    pub members: Vec<Option<(bool, Bytes)>>,
    /// Label of the endpoint.
    pub label: String,
}

impl JsonBatches for Pool {
    fn send<'s>(&'s self, calls: &'s [Call], at: At) -> BoxFuture<'s, Result<BatchAnswer, PoolError>> {
        async move {
            let number = format!("{:#x}", at.block);
            let params =
                |call: &Call| json!([{ "to": format!("{:#x}", call.to), "data": call.input }, number]);
            let all_params: Vec<Value> = calls.iter().map(params).collect();
            let (answers, label) = self.call_batch(at.purpose, &all_params, at.block).await?;
            let member = |answer: Result<Bytes, Bytes>| match answer {
                Ok(output) => Some((true, output)),
                Err(revert) => Some((false, revert)),
            };
            Ok(BatchAnswer { members: answers.into_iter().map(member).collect(), label })
        }
        .boxed()
    }
}

/// Carries out view calls on one chain and remembers who answered.
pub struct Reader<'a> {
    pool: &'a Pool,
    chain: &'a Chain,
    batches: &'a dyn JsonBatches,
    memory: Arc<Mutex<ReadMemory>>,
    labels: Mutex<BTreeSet<String>>,
    listings: Arc<AtomicU64>,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    ok: bool,
    output: Bytes,
    /// Whether the call shared its gas with others.
    shared: bool,
}

impl Answer {
    fn plain((ok, output): (bool, Bytes)) -> Self {
        Self { ok, output, shared: false }
    }

    fn of_batch((ok, output): (bool, Bytes)) -> Self {
        Self { ok, output, shared: true }
    }

    /// Whether a contract must have run for it. A node without the block's state answers with nothing, too.
    fn shows_state(&self) -> bool {
        !self.ok || !self.output.is_empty()
    }
}

/// A means with what it takes.
#[derive(Clone, Copy)]
enum Way<'w> {
    ByAddress(Address),
    ByOverride,
    Deployless,
    JsonBatch(&'w dyn JsonBatches),
}

/// What a means brought.
enum Attempt {
    /// Answers to the first calls, at least one.
    Answered(Vec<Answer>),
    /// Nothing: it is not to be had here.
    Refused,
}

impl<'a> Reader<'a> {
    /// A reader of a chain that knows nothing of it yet.
    pub fn new(pool: &'a Pool, chain: &'a Chain) -> Self {
        let (memory, labels, listings) = (Arc::default(), Mutex::default(), Arc::default());
        Self { pool, chain, batches: pool, memory, labels, listings }
    }

    /// The reader with what was learnt of the chain before; it learns on in the same place.
    #[must_use]
    pub fn remembering(self, memory: &Arc<Mutex<ReadMemory>>) -> Self {
        Self { memory: Arc::clone(memory), ..self }
    }

    /// The reader counting here how often contracts were listed.
    #[must_use]
    pub(crate) fn counting(self, listings: &Arc<AtomicU64>) -> Self {
        Self { listings: Arc::clone(listings), ..self }
    }

    /// Counts a listing.
    pub(crate) fn count_listing(&self) {
        self.listings.fetch_add(1, Ordering::Relaxed);
    }

    /// The reader with another way to send JSON-RPC batches than the pool.
    #[must_use]
    pub fn batching(self, batches: &'a dyn JsonBatches) -> Self {
        Self { batches, ..self }
    }

    /// Labels of the endpoints that answered so far.
    pub fn labels(&self) -> BTreeSet<String> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every call with its answer at the block, in order. A call that the contract refuses is answered, too.
    ///
    /// # Errors
    /// [`PoolError`] when a call got no answer at all.
    pub async fn read(
        &self,
        purpose: Purpose,
        calls: Vec<Call>,
        block: u64,
    ) -> Result<Vec<CallRecord>, PoolError> {
        let at = At { purpose, block };
        let mut answers = self.answers(&calls, at).await?;
        // A failure without data may be the contract's, or the batch's that ran out of gas; and Multicall3's own words, of a
        // call that is a batch itself, say no more. Asked again by themselves, with all the gas for the few, the two come
        // apart. A plain call had all the gas.
        let says_nothing = |output: &Bytes| output.is_empty() || multicall::says_call_failed(output);
        let suspect = |answer: &Answer| answer.shared && !answer.ok && says_nothing(&answer.output);
        let suspects: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| suspect(answer))
            .map(|(index, _)| index)
            .collect();
        if !suspects.is_empty() && suspects.len() < calls.len() {
            let again: Vec<Call> = suspects.iter().filter_map(|&index| calls.get(index).cloned()).collect();
            for (index, answer) in suspects.into_iter().zip(self.answers(&again, at).await?) {
                if let Some(place) = answers.get_mut(index) {
                    *place = answer;
                }
            }
        }
        let record = |(call, answer): (Call, Answer)| call.answered(answer.ok, answer.output);
        Ok(calls.into_iter().zip(answers).map(record).collect())
    }

    async fn answers(&self, calls: &[Call], at: At) -> Result<Vec<Answer>, PoolError> {
        let mut answers = Vec::with_capacity(calls.len());
        while let Some(rest) = calls.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            answers.extend(self.first_of(rest, at).await?);
        }
        Ok(answers)
    }

    /// The answers to the first of the calls, as many as the cheapest means that is to be had takes at once.
    async fn first_of(&self, calls: &[Call], at: At) -> Result<Vec<Answer>, PoolError> {
        let mut refused = Vec::new();
        let known = self.memory().refused().clone();
        for means in Means::BATCHES {
            let way = self.way(means, calls, at.block).filter(|_| !known.contains(&means));
            let Some(way) = way else { continue };
            match self.by(means, way, calls, at).await? {
                Attempt::Answered(answers) => {
                    self.learn(&refused, &answers);
                    return Ok(answers);
                }
                Attempt::Refused => refused.push(means),
            }
        }
        let (calls, _) = calls.split_at(calls.len().min(CALLS_PER_BATCH));
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(self.alone(call, at).await?);
        }
        self.memory().answered(Means::OneByOne, 1);
        self.learn(&refused, &answers);
        Ok(answers)
    }

    /// A means for calls at a block, if it is possible at all, whatever the nodes make of it.
    fn way(&self, means: Means, calls: &[Call], block: u64) -> Option<Way<'a>> {
        match means {
            Means::ByAddress => {
                let deployed = self.chain.multicall3.filter(|_| block >= self.chain.multicall3_block);
                deployed.map(Way::ByAddress)
            }
            Means::ByOverride => Some(Way::ByOverride),
            Means::Deployless => (multicall::deployless_fits(calls) > 0).then_some(Way::Deployless),
            Means::JsonBatch => Some(Way::JsonBatch(self.batches)),
            Means::OneByOne => None,
        }
    }

    /// Remembers refusals if another means had an answer from the same state: then it was not the block, nor a node
    /// that was down.
    fn learn(&self, refused: &[Means], answers: &[Answer]) {
        if answers.iter().any(Answer::shows_state) {
            self.memory().refuse(refused.iter().copied());
        }
    }

    /// Carries out the first of the calls by one means, fewer when it takes fewer.
    async fn by(&self, means: Means, way: Way<'_>, calls: &[Call], at: At) -> Result<Attempt, PoolError> {
        let fits = match means {
            Means::Deployless => multicall::deployless_fits(calls),
            _ => calls.len(),
        };
        let (before, most) = {
            let memory = self.memory();
            (memory.size(means), memory.calls_per_batch(means))
        };
        let mut size = most.min(fits).min(calls.len());
        while let Some((first, batch)) = calls.get(..size).and_then(|batch| Some((batch.first()?, batch))) {
            let error = match self.send(way, batch, at).await {
                Ok(answers) => {
                    self.memory().answered(means, size);
                    return Ok(Attempt::Answered(answers));
                }
                Err(error) => error,
            };
            match asks_for_less(means, &error) {
                Some(told) if size > 1 => size = self.memory().too_large(means, size, told),
                Some(_) if means == Means::JsonBatch => break,
                Some(_) => {
                    // Not its number of calls, then. Either this call is too much for the node, which it will say to
                    // the call alone as well, or the means is, however few the calls.
                    self.memory().put_back(means, before);
                    let answer = self.alone(first, at).await?;
                    if is_too_much_for_one(means, &error) {
                        self.memory().refuse([means]);
                    }
                    return Ok(Attempt::Answered(vec![answer]));
                }
                None if means != Means::ByAddress && may_be_of_the_means(&error) => break,
                None => return Err(error),
            }
        }
        Ok(Attempt::Refused)
    }

    /// Carries out all of these calls in one request.
    async fn send(&self, way: Way<'_>, calls: &[Call], at: At) -> Result<Vec<Answer>, PoolError> {
        let read = |data: Bytes| multicall::decode(&data, calls.len()).map_err(|error| error.to_string());
        let At { purpose, block } = at;
        let number = format!("{block:#x}");
        let ask = async |params| {
            let question = Question { purpose, method: "eth_call", params, block: Some(block) };
            self.pool.ask(&question, |answer| read(read_as(answer)?)).await
        };
        let (answers, label) = match way {
            Way::ByAddress(multicall3) => {
                self.pool.call(purpose, multicall3, &multicall::encode(calls), block, read).await?
            }
            Way::ByOverride => {
                let call = json!({ "to": multicall::ADDRESS, "data": multicall::encode(calls) });
                ask(json!([call, number, multicall::state_override()])).await?
            }
            Way::Deployless => {
                let params = json!([{ "data": multicall::deployless(calls) }, number]);
                match ask(params).await {
                    // Too long an answer to be returned comes with a revert.
                    Err(PoolError::Revert(data)) => {
                        let Ok(answers) = multicall::decode(&data, calls.len()) else {
                            return Err(PoolError::Revert(data));
                        };
                        return Ok(answers.into_iter().map(Answer::of_batch).collect());
                    }
                    outcome => outcome?,
                }
            }
            Way::JsonBatch(batches) => return self.send_json(batches, calls, at).await,
        };
        self.remember(label);
        Ok(answers.into_iter().map(Answer::of_batch).collect())
    }

    async fn send_json(
        &self,
        batches: &dyn JsonBatches,
        calls: &[Call],
        at: At,
    ) -> Result<Vec<Answer>, PoolError> {
        let BatchAnswer { members, label } = batches.send(calls, at).await?;
        self.remember(label);
        let mut members = members.into_iter();
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(match members.next().flatten() {
                Some(member) => Answer::plain(member),
                None => self.alone(call, at).await?,
            });
        }
        Ok(answers)
    }

    /// One call by itself. A revert is its answer; running out of gas or time is none. It cannot be made smaller, so where
    /// it ran out of time, which a gateway may say of any request, it is asked again after a rest.
    async fn alone(&self, call: &Call, at: At) -> Result<Answer, PoolError> {
        let mut rests = 0;
        loop {
            match self.pool.call(at.purpose, call.to, &call.input, at.block, Ok).await {
                Ok((output, label)) => {
                    self.remember(label);
                    return Ok(Answer::plain((true, output)));
                }
                Err(PoolError::Revert(data)) => return Ok(Answer::plain((false, data))),
                Err(PoolError::SmallerBatch { refusal })
                    if refusal.verdict == Verdict::TookTooLong && rests < RESTS_ALONE =>
                {
                    rests += 1;
                    tokio::time::sleep(SHORTEST_REST).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, ReadMemory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, label: String) {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).insert(label);
    }
}

/// Whether a batch was refused for its size, gas or time, with the number of calls that the node named.
///
/// In `aggregate3` every call allows failure, so a revert of the whole says that the batch was too large.
fn asks_for_less(means: Means, error: &PoolError) -> Option<Option<u64>> {
    match error {
        PoolError::SmallerBatch { refusal } => Some(match refusal.verdict {
            Verdict::SmallerBatch { at_most } if means == Means::JsonBatch => at_most,
            _ => None,
        }),
        PoolError::Revert(_) if means != Means::JsonBatch => Some(None),
        _ => None,
    }
}

/// Whether a batch of one that was refused so, although the call alone is answered, shows that the means is not to be had.
/// A time-out may be a bad moment; and a Multicall3 that is there fails for good only if it is none.
fn is_too_much_for_one(means: Means, error: &PoolError) -> bool {
    match error {
        PoolError::Revert(_) => true,
        PoolError::SmallerBatch { refusal } => {
            means != Means::ByAddress && refusal.verdict != Verdict::TookTooLong
        }
        _ => false,
    }
}

/// Whether an endpoint may have refused a request for its form: in words that say so, in words that say nothing, or with
/// an answer that is none (SKALE's nodes answered `0x` to a call without `to`). A missing archive, a spent key or too
/// high a rate is of no form.
fn may_be_of_the_means(error: &PoolError) -> bool {
    use Verdict::{Again, BadAnswer, Elsewhere, Fatal, NoMethod, Unknown};
    let PoolError::Refused { refusals, .. } = error else { return false };
    refusals
        .iter()
        .any(|refusal| matches!(refusal.verdict, Again | BadAnswer | Elsewhere | Fatal | NoMethod | Unknown))
}
