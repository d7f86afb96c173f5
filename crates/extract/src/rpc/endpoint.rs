//! One endpoint: its pace, its retries, what it was asked and what was learned of it.

mod asking;
mod learned;

use crate::rpc::breaker::Breaker;
use crate::rpc::budget::Purse;
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
use alloy_primitives::U64;
use alloy_rpc_client::RpcClient;
use alloy_transport::TransportError;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

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
    chain_id: Mutex<Option<U64>>,
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
    pub fn serves(&self, chain_id: U64) {
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

/// Whether the same question may be answered a little later.
pub(crate) fn is_passing(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Again | Verdict::TooFast { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::providers::Providers;
    use serde_json::Value;
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
