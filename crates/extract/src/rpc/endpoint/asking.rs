//! Sending requests to an endpoint: at its pace, again at once after passing faults, and after a rest only when it is back.

use super::{Endpoint, Refusal, is_passing, lock};
use crate::rpc::budget::QuotaSpent;
use crate::rpc::classify::{self, Verdict};
use crate::rpc::tally::Purpose;
use alloy_primitives::U64;
use backon::{ExponentialBuilder, Retryable};
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Tries of one request, one soon after the other. What lasts longer is for [`patience`](crate::rpc::patience).
const TRIES: usize = 5;
/// Tries of the question whether an endpoint is back, and the time between them.
const TRIES_WHETHER_BACK: u32 = 3;
const BETWEEN_THOSE: Duration = Duration::from_secs(1);
impl Endpoint {
    /// Whether a request may be sent. After a rest its chain id is asked for first.
    async fn may_ask(&self, method: &str) -> Result<(), Refusal> {
        if let Some(refusal) = self.retirement() {
            return Err(refusal);
        }
        if self.lacks(method) {
            return Err(
                self.refusal(Verdict::NoMethod, format!("does not serve {method}, as it said before"))
            );
        }
        let at_rest = |wait: Duration| {
            let text = format!("lost too many requests and is left alone for {} s", wait.as_secs() + 1);
            self.refusal(Verdict::Again, text)
        };
        let Some(probe) = self.breaker.pass().map_err(at_rest)? else { return Ok(()) };
        match self.is_back().await {
            Ok(()) => probe.came_back(),
            Err(Lost(refusal)) => {
                probe.was_lost();
                return Err(refusal);
            }
        }
        match self.retirement() {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Asks for the chain id after a rest. One that names another than before is not asked again.
    async fn is_back(&self) -> Result<(), Lost> {
        let nothing = Value::Array(Vec::new());
        let mut lost = 0;
        loop {
            self.pay(Purpose::Identity, "eth_chainId").await.map_err(Lost)?;
            let error = match self.client.request::<_, U64>("eth_chainId", nothing.clone()).await {
                Ok(id) => {
                    if let Some(known) = lock(&self.chain_id).filter(|known| *known != id) {
                        let text = format!("came back with chain id {id} in place of {known}");
                        self.retire(self.refusal(Verdict::BadAnswer, text), None);
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            let refusal = self.refused("eth_chainId", &error);
            if !classify::is_fault(&error, &refusal.verdict) {
                return Ok(());
            }
            lost += 1;
            if lost >= TRIES_WHETHER_BACK || self.take_retry(Purpose::Identity).is_err() {
                return Err(Lost(refusal));
            }
            tokio::time::sleep(BETWEEN_THOSE).await;
        }
    }

    async fn pay(&self, purpose: Purpose, method: &'static str) -> Result<(), Refusal> {
        let mut units = 0;
        if let Some(purse) = &self.purse {
            purse.pay(method).await.map_err(|spent| self.is_out_of(spent))?;
            units = u64::from(purse.tariff().cost(method));
        }
        lock(&self.asked).count(purpose, method, units);
        Ok(())
    }

    async fn pay_batch(&self, purpose: Purpose, method: &'static str, members: usize) -> Result<(), Refusal> {
        let (mut units, mut of_batch) = (0, 0);
        if let Some(purse) = &self.purse {
            purse.pay_batch(method, members).await.map_err(|spent| self.is_out_of(spent))?;
            (units, of_batch) = (purse.tariff().cost(method), purse.tariff().batch);
        }
        let mut asked = lock(&self.asked);
        for _ in 0..members {
            asked.count(purpose, method, u64::from(units));
        }
        asked.charge(purpose, method, u64::from(of_batch));
        Ok(())
    }

    fn is_out_of(&self, spent: QuotaSpent) -> Refusal {
        self.refusal(Verdict::MonthSpent, spent.to_string())
    }

    /// Sends a request, at the endpoint's pace and again after passing faults.
    ///
    /// # Errors
    /// The last [`Refusal`].
    pub async fn request(
        &self,
        purpose: Purpose,
        method: &'static str,
        params: &Value,
    ) -> Result<Value, Refusal> {
        self.request_within(TRIES, purpose, method, params).await
    }

    /// As [`Endpoint::request`], with so many tries.
    ///
    /// # Errors
    /// The last [`Refusal`].
    pub async fn request_within(
        &self,
        tries: usize,
        purpose: Purpose,
        method: &'static str,
        params: &Value,
    ) -> Result<Value, Refusal> {
        self.may_ask(method).await?;
        let once = || async {
            self.pay(purpose, method).await?;
            let _paid = self.purse.as_ref().map(|purse| purse.begin());
            let timed = self.latencies.begin(method);
            let outcome = self.client.request::<_, Value>(method, params.clone()).await;
            drop(timed);
            self.took_place(method, &outcome);
            outcome.map_err(|error| self.refused(method, &error))
        };
        let outcome = self.again_after_passing_faults(tries, purpose, once).await;
        self.take_to_heart(method, outcome.as_ref().err());
        outcome
    }

    /// Sends requests of one method in one body, at the endpoint's pace and again after passing faults. Each gets its own
    /// answer; the whole is refused when a member has none.
    ///
    /// # Errors
    /// The last [`Refusal`] of the whole.
    pub async fn batch(
        &self,
        purpose: Purpose,
        method: &'static str,
        all_params: &[Value],
    ) -> Result<Vec<Result<Value, Refusal>>, Refusal> {
        self.batch_within(TRIES, purpose, method, all_params).await
    }

    /// As [`Endpoint::batch`], with so many tries.
    ///
    /// # Errors
    /// The last [`Refusal`] of the whole.
    pub async fn batch_within(
        &self,
        tries: usize,
        purpose: Purpose,
        method: &'static str,
        all_params: &[Value],
    ) -> Result<Vec<Result<Value, Refusal>>, Refusal> {
        self.may_ask(method).await?;
        let once = || async {
            self.pay_batch(purpose, method, all_params.len()).await?;
            let _paid = self.purse.as_ref().map(|purse| purse.begin());
            let mut batch = self.client.new_batch();
            let mut waiting = Vec::with_capacity(all_params.len());
            for params in all_params {
                let member = batch.add_call::<_, Value>(method, params);
                waiting.push(member.map_err(|error| self.refused(method, &error))?);
            }
            let sent = batch.send().await;
            self.took_place(method, &sent);
            sent.map_err(|error| self.refused(method, &error))?;
            let mut answers = Vec::with_capacity(waiting.len());
            for answer in waiting {
                let answer = answer.await;
                if answer.is_err() {
                    self.took_place(method, &answer);
                }
                let answer = answer.map_err(|error| self.refused(method, &error));
                // A member that was dropped, or fails for a passing reason, is asked again with the others.
                if let Err(refusal) = &answer
                    && (is_passing(&refusal.verdict)
                        || matches!(refusal.verdict, Verdict::SmallerBatch { .. }))
                {
                    return Err(refusal.clone());
                }
                answers.push(answer);
            }
            Ok(answers)
        };
        let outcome = self.again_after_passing_faults(tries, purpose, once).await;
        self.take_to_heart(method, outcome.as_ref().err());
        outcome
    }

    async fn again_after_passing_faults<T, F>(
        &self,
        tries: usize,
        purpose: Purpose,
        once: impl FnMut() -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(8))
            .with_factor(3.0)
            .with_max_times(tries.saturating_sub(1))
            .with_jitter()
            .with_jitter_seed(seed_of(&self.label));
        let _under_way = UnderWay::begin(&self.under_way);
        self.retries.sent();
        once.retry(backoff)
            .when(|refusal| is_passing(&refusal.verdict) && !self.is_resting())
            .adjust(|refusal, planned| {
                // One that is planned takes place: the right to it is taken here.
                let planned = planned.filter(|_| self.take_retry(purpose).is_ok())?;
                match refusal.verdict {
                    Verdict::TooFast { wait: Some(wait) } => Some(planned.max(wait)),
                    _ => Some(planned),
                }
            })
            .await
    }
}

/// Why an endpoint is not back.
struct Lost(Refusal);

/// Counts a request for as long as somebody waits for it.
struct UnderWay<'a>(&'a AtomicU32);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits of different endpoints differ, those of one are the same in every run.
fn seed_of(label: &str) -> u64 {
    label
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
