//! Carrying out view calls at a block: many in one `eth_call` where the chain has Multicall3.

use crate::rpc::pool::{Pool, PoolError};
use crate::rpc::tally::Purpose;
use futures::FutureExt;
use futures::future::BoxFuture;
use lake::Bytes;
use lake::bronze::CallRecord;
use lake::registry::Chain;
use protocols::{Call, multicall};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Calls in one `eth_call`: within the gas that providers give (facts/protocols.md 1.2). Halved when a node says so.
pub(crate) const CALLS_PER_BATCH: usize = 150;

/// Carries out view calls on one chain and remembers who answered.
pub struct Reader<'a> {
    pool: &'a Pool,
    chain: &'a Chain,
    labels: Mutex<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    /// A reader of a chain.
    pub fn new(pool: &'a Pool, chain: &'a Chain) -> Self {
        Self { pool, chain, labels: Mutex::default() }
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
        let mut answers = self.answers(purpose, &calls, block).await?;
        // A failure without data may be the contract's, or the batch's that ran out of gas. Asked again by themselves,
        // with all the gas for the few, the two come apart.
        let suspects: Vec<usize> =
            (0..calls.len()).filter(|&index| !answers[index].0 && answers[index].1.is_empty()).collect();
        if !suspects.is_empty() && suspects.len() < calls.len() {
            let again: Vec<Call> = suspects.iter().map(|&index| calls[index].clone()).collect();
            for (index, answer) in suspects.into_iter().zip(self.answers(purpose, &again, block).await?) {
                answers[index] = answer;
            }
        }
        Ok(calls.into_iter().zip(answers).map(|(call, (ok, output))| call.answered(ok, output)).collect())
    }

    async fn answers(
        &self,
        purpose: Purpose,
        calls: &[Call],
        block: u64,
    ) -> Result<Vec<(bool, Bytes)>, PoolError> {
        let mut answers = Vec::with_capacity(calls.len());
        for batch in calls.chunks(CALLS_PER_BATCH) {
            answers.extend(self.batch(purpose, batch, block).await?);
        }
        Ok(answers)
    }

    fn batch<'s>(
        &'s self,
        purpose: Purpose,
        calls: &'s [Call],
        block: u64,
    ) -> BoxFuture<'s, Result<Vec<(bool, Bytes)>, PoolError>> {
        async move {
            let Some(multicall3) = self.chain.multicall3.filter(|_| block >= self.chain.multicall3_block)
            else {
                return self.one_by_one(purpose, calls, block).await;
            };
            let input = multicall::encode(calls);
            let read = |data: Bytes| multicall::decode(&data, calls.len()).map_err(|error| error.to_string());
            match self.pool.call(purpose, multicall3, &input, block, read).await {
                Ok((answers, label)) => {
                    self.remember(label);
                    Ok(answers)
                }
                // Every call allows failure, so a batch that fails as a whole was too large for the node.
                Err(PoolError::SmallerBatch { .. } | PoolError::Revert(_)) if calls.len() > 1 => {
                    let (left, right) = calls.split_at(calls.len() / 2);
                    let mut answers = self.batch(purpose, left, block).await?;
                    answers.extend(self.batch(purpose, right, block).await?);
                    Ok(answers)
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    /// For blocks and chains without Multicall3.
    async fn one_by_one(
        &self,
        purpose: Purpose,
        calls: &[Call],
        block: u64,
    ) -> Result<Vec<(bool, Bytes)>, PoolError> {
        let mut answers = Vec::with_capacity(calls.len());
        for call in calls {
            answers.push(match self.pool.call(purpose, call.to, &call.input, block, Ok).await {
                Ok((output, label)) => {
                    self.remember(label);
                    (true, output)
                }
                Err(PoolError::Revert(data)) => (false, data),
                Err(error) => return Err(error),
            });
        }
        Ok(answers)
    }

    fn remember(&self, label: String) {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner).insert(label);
    }
}
