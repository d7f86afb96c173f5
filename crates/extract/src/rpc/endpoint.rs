//! One endpoint: its pace, its retries, what it was asked and what was learned of it.

mod learned;

use crate::rpc::breaker::Breaker;
use crate::rpc::budget::{Purse, QuotaSpent};
use crate::rpc::classify::{self, ParkUntil, Verdict};
use crate::rpc::clock::Clock;
use crate::rpc::hedge::Latencies;
use crate::rpc::profile::Profile;
use crate::rpc::providers::EndpointConfig;
use crate::rpc::recording::{Recorder, RecordingError};
use crate::rpc::retries::Retries;
use crate::rpc::secret::Scrubber;
use crate::rpc::tally::{Asked, Purpose};
use crate::rpc::wire::Wire;
use alloy_rpc_client::RpcClient;
use alloy_transport::TransportError;
use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Tries of one request, one soon after the other. What lasts longer is for [`patience`](crate::rpc::patience).
const TRIES: usize = 5;
/// Tries of the question whether an endpoint is back, and the time between them.
const TRIES_WHETHER_BACK: u32 = 3;
const BETWEEN_THOSE: Duration = Duration::from_secs(1);
/// How long a key is left alone that was too fast and not told for how long.
const TOO_FAST_HOLD: Duration = Duration::from_millis(500);

/// What an endpoint said no with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{label}: {text}")]
pub struct Refusal {
    /// Label of the endpoint.
    pub label: String,
    /// What the refusal asks for.
    pub verdict: Verdict,
    /// The refusal in words, without secrets.
    pub text: String,
}

/// An open endpoint.
pub struct Endpoint {
    label: String,
    operator: String,
    client: RpcClient,
    scrubber: Scrubber,
    purse: Option<Arc<Purse>>,
    clock: Clock,
    stated_window: u64,
    profile: Mutex<Profile>,
    /// The chain id that it named and that was right, to be named again after a rest.
    chain_id: Mutex<Option<Value>>,
    breaker: Breaker,
    retries: Retries,
    latencies: Latencies,
    last_answer: Mutex<Option<Instant>>,
    has_given_logs: AtomicBool,
    under_way: AtomicU32,
    asked: Mutex<Asked>,
    /// Why it is not asked again, and until when; without a time, to the end of the run.
    retired: Mutex<Option<(Refusal, Option<Timestamp>)>>,
    /// Methods that it does not serve.
    lacks: Mutex<BTreeSet<&'static str>>,
    /// Refusals that no table knows: how many, and the last.
    unknown: Mutex<Option<(u64, String)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Endpoint {
    /// Opens an endpoint. Nothing is sent.
    ///
    /// # Errors
    /// [`RecordingError`] for a replay whose file cannot be read.
    pub fn open(
        config: &EndpointConfig,
        client: &reqwest::Client,
        recorder: Option<Arc<Recorder>>,
        clock: Clock,
    ) -> Result<Self, RecordingError> {
        let wire = Wire::open(&config.chain, &config.reach, config.scrubber.clone(), client, recorder)?;
        Ok(Self {
            label: config.label.clone(),
            operator: config.operator.clone(),
            client: RpcClient::new(wire, true),
            scrubber: config.scrubber.clone(),
            purse: config.purse.clone(),
            clock,
            stated_window: config.log_window,
            profile: Mutex::default(),
            chain_id: Mutex::default(),
            breaker: Breaker::default(),
            retries: Retries::default(),
            latencies: Latencies::default(),
            last_answer: Mutex::default(),
            has_given_logs: AtomicBool::new(false),
            under_way: AtomicU32::new(0),
            asked: Mutex::new(Asked::in_units(
                config.purse.as_ref().map_or("", |purse| purse.tariff().unit.as_str()),
            )),
            retired: Mutex::default(),
            lacks: Mutex::default(),
            unknown: Mutex::default(),
        })
    }

    /// Its label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Who runs it.
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// Seconds of its key's pace that one such request takes. Without a purse nothing is paid.
    pub fn seconds(&self, method: &str) -> f64 {
        self.purse.as_ref().map_or(0.0, |purse| purse.tariff().seconds(method))
    }

    /// Requests under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Whether it is not asked at present: it lost too many requests, its quota is spent, or its key is not accepted.
    pub fn is_down(&self) -> bool {
        self.is_retired() || self.is_resting()
    }

    /// Whether it is not asked any more, or not before its quota is filled again.
    pub fn is_retired(&self) -> bool {
        self.retirement().is_some()
    }

    /// When it last answered in this run, if it has.
    pub fn last_answer(&self) -> Option<Instant> {
        *lock(&self.last_answer)
    }

    /// Whether its rest is not over: a request would not be sent. Once it is over, it is asked in its turn again, if only to
    /// see that it is back.
    pub fn is_resting(&self) -> bool {
        !self.breaker.wait().is_zero()
    }

    /// Whether it has answered a log query in this run.
    pub fn has_given_logs(&self) -> bool {
        self.has_given_logs.load(Ordering::Relaxed)
    }

    /// Takes down the chain id that it named and that was right: after a rest it must name it again.
    pub fn serves(&self, chain_id: Value) {
        *lock(&self.chain_id) = Some(chain_id);
    }

    /// Begins anew with it, as if it had lost nothing.
    pub fn forgive(&self) {
        self.breaker.forgive();
    }

    /// How long to wait until it may be asked again what it failed to answer.
    pub fn back_in(&self) -> Duration {
        self.breaker.wait().max(self.retries.wait())
    }

    /// Takes the right to ask it again what it failed to answer.
    ///
    /// # Errors
    /// A passing [`Refusal`] when it was asked again as often as its requests allow.
    pub fn take_retry(&self, purpose: Purpose) -> Result<(), Refusal> {
        self.retries.take().map_err(|wait| {
            let text = format!(
                "was asked again as often as is allowed, one request in ten; the next may be made again in {} s",
                wait.as_secs() + 1
            );
            self.refusal(Verdict::Again, text)
        })?;
        lock(&self.asked).count_again(purpose);
        Ok(())
    }

    /// Within which time nineteen of twenty answers to the method came of late; none when there were too few of them.
    pub fn usual_latency(&self, method: &str) -> Option<Duration> {
        self.latencies.usual(method)
    }

    /// Whether another request would come out of plenty: its key has more than this share of its quota left, and nobody
    /// waits for its turn.
    pub fn has_to_spare(&self, share: f64) -> bool {
        self.purse.as_ref().is_none_or(|purse| purse.has_left(share) && !purse.is_waited_for())
    }

    /// Whether its key has no room for such a request.
    pub fn is_spent(&self, method: &str) -> bool {
        self.purse.as_ref().is_some_and(|purse| purse.is_spent(method).is_some())
    }

    /// Whether it said that it does not serve the method.
    pub fn lacks(&self, method: &str) -> bool {
        lock(&self.lacks).contains(method)
    }

    /// Keeps in mind for this run that the endpoint does not serve the method.
    pub fn set_lacking(&self, method: &'static str) {
        lock(&self.lacks).insert(method);
    }

    /// What a person should know of it after a run: that it was not asked to the end, or said what nobody understands.
    pub fn warnings(&self) -> Vec<String> {
        let retired = lock(&self.retired).clone();
        let retired = retired.map(|(refusal, _)| format!("endpoint not asked any more: {refusal}"));
        let unknown = lock(&self.unknown).clone().map(|(count, text)| {
            format!("{}: {count} refusals of a kind that is not known, the last: {text}", self.label)
        });
        retired.into_iter().chain(unknown).collect()
    }

    /// How often it was asked for what.
    pub fn asked(&self) -> Asked {
        lock(&self.asked).clone()
    }

    fn retirement(&self) -> Option<Refusal> {
        let mut retired = lock(&self.retired);
        match &*retired {
            Some((_, Some(until))) if *until <= self.clock.timestamp() => {
                *retired = None;
                None
            }
            Some((refusal, _)) => Some(refusal.clone()),
            None => None,
        }
    }

    fn refusal(&self, verdict: Verdict, text: impl Into<String>) -> Refusal {
        Refusal { label: self.label.clone(), verdict, text: text.into() }
    }

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
            let error = match self.client.request::<_, Value>("eth_chainId", nothing.clone()).await {
                Ok(id) => {
                    let known = lock(&self.chain_id).clone().filter(|known| *known != id);
                    if let Some(known) = known {
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

    /// What an error is, in words and for what it asks.
    fn refused(&self, method: &str, error: &TransportError) -> Refusal {
        self.refusal(classify::verdict(method, error), self.scrubber.clean(&error.to_string()))
    }

    /// Takes down what became of one try.
    fn took_place<T>(&self, method: &str, outcome: &Result<T, TransportError>) {
        let Err(error) = outcome else {
            *lock(&self.last_answer) = Some(Instant::now());
            if method == "eth_getLogs" {
                self.has_given_logs.store(true, Ordering::Relaxed);
            }
            return self.breaker.record(false);
        };
        match classify::verdict(method, error) {
            // Neither lost nor answered.
            Verdict::TooFast { wait } => {
                if let Some(purse) = &self.purse {
                    purse.too_fast(wait.unwrap_or(TOO_FAST_HOLD));
                }
            }
            verdict => self.breaker.record(classify::is_fault(error, &verdict)),
        }
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

    /// Remembers what an outcome says of the endpoint itself.
    fn take_to_heart(&self, method: &'static str, refusal: Option<&Refusal>) {
        match refusal.map(|refusal| (refusal, &refusal.verdict)) {
            Some((refusal, Verdict::Park { until })) => {
                let until: ParkUntil = *until;
                let until = until.after(self.clock.timestamp());
                let text = format!("its quota is spent until {until}: {}", refusal.text);
                self.retire(Refusal { text, ..refusal.clone() }, Some(until));
            }
            Some((refusal, Verdict::Drop)) => {
                let text = format!("the key is not accepted here: {}", refusal.text);
                self.retire(Refusal { text, ..refusal.clone() }, None);
            }
            Some((_, Verdict::NoMethod)) => self.set_lacking(method),
            Some((refusal, Verdict::Unknown)) => {
                let mut unknown = lock(&self.unknown);
                let count = unknown.as_ref().map_or(0, |(count, _)| *count);
                *unknown = Some((count + 1, refusal.text.clone()));
            }
            _ => {}
        }
    }

    /// The first reason stays.
    fn retire(&self, refusal: Refusal, until: Option<Timestamp>) {
        lock(&self.retired).get_or_insert((refusal, until));
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

/// Whether the same question may be answered a little later.
pub(crate) fn is_passing(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Again | Verdict::TooFast { .. })
}

/// Waits of different endpoints differ, those of one are the same in every run.
fn seed_of(label: &str) -> u64 {
    label
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::providers::Providers;
    use serde_json::json;

    /// An endpoint that refuses every method in `refusals` with its error.
    fn refusing(refusals: &[(&str, Value)]) -> Endpoint {
        let directory = tempfile::tempdir().unwrap();
        let lines = refusals.iter().map(|(method, error)| {
            format!("{}\n", json!({ "chain": "c", "method": method, "params": [], "error": error }))
        });
        std::fs::write(directory.path().join("refusals.jsonl"), lines.collect::<String>()).unwrap();
        let file = directory.path().join("providers.toml");
        let row = "[[endpoint]]\nlabel = \"e\"\nchain = \"c\"\nurl = \"replay:refusals.jsonl\"\nsource = \"a test\"\n";
        std::fs::write(&file, row).unwrap();
        let providers = Providers::load(&file, |_| None).unwrap();
        Endpoint::open(&providers.endpoints[0], &reqwest::Client::new(), None, Clock::start()).unwrap()
    }

    async fn ask(endpoint: &Endpoint, method: &'static str) -> Refusal {
        endpoint.request(Purpose::Snapshot, method, &json!([])).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_spent_or_bad_key_is_not_asked_again_and_the_summary_says_why() {
        for (code, message, word) in [
            (-32600, "Monthly capacity limit exceeded.", "its quota is spent until"),
            (-32600, "Invalid access key", "the key is not accepted"),
        ] {
            let endpoint = refusing(&[("a", json!({ "code": code, "message": message }))]);
            assert!(!endpoint.is_down() && endpoint.warnings().is_empty());
            ask(&endpoint, "a").await;
            let refusal = ask(&endpoint, "b").await;
            assert!(refusal.text.contains(word) && refusal.text.contains(message), "{refusal}");
            assert_eq!(endpoint.asked().sent(), 1);
            assert!(endpoint.is_down());
            assert!(endpoint.warnings()[0].contains(message), "{:?}", endpoint.warnings());
        }
    }

    #[tokio::test]
    async fn a_method_that_is_not_served_is_asked_for_once() {
        let missing = json!({ "code": -32601, "message": "Method not found" });
        let endpoint = refusing(&[("a", missing), ("b", json!({ "code": -32700, "message": "no" }))]);
        for _ in 0..3 {
            assert_eq!(ask(&endpoint, "a").await.verdict, Verdict::NoMethod);
        }
        assert_eq!(ask(&endpoint, "b").await.verdict, Verdict::Fatal);
        assert_eq!(endpoint.asked().sent(), 2);
    }

    #[tokio::test]
    async fn refusals_that_nobody_knows_are_counted_and_shown() {
        let endpoint = refusing(&[("a", json!({ "code": -1, "message": "something new under the sun" }))]);
        for _ in 0..5 {
            assert_eq!(ask(&endpoint, "a").await.verdict, Verdict::Unknown);
        }
        assert!(endpoint.is_down());
        let warning = endpoint.warnings().concat();
        assert!(warning.contains("e: 5 refusals") && warning.contains("new under the sun"), "{warning}");
    }
}
