//! One endpoint: its pace, its retries, what it was asked and what was learned of it.

use crate::rpc::budget::Purse;
use crate::rpc::classify::{ParkUntil, Verdict, verdict};
use crate::rpc::clock::Clock;
use crate::rpc::profile::{Learned, Profile};
use crate::rpc::providers::EndpointConfig;
use crate::rpc::recording::{Recorder, RecordingError};
use crate::rpc::secret::Scrubber;
use crate::rpc::tally::{Asked, Purpose};
use crate::rpc::wire::Wire;
use alloy_rpc_client::RpcClient;
use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use lake::Lake;
use lake::store::StoreError;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tries of one request at an endpoint that has not answered anything yet.
const TRIES: usize = 5;
/// Tries of one request at an endpoint that has answered before: it is there, and what fails passes.
const TRIES_ONCE_KNOWN: usize = 8;
/// Requests lost in a row after which an endpoint is asked last.
const LOST_IN_A_ROW: u32 = 3;
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
    lost_in_a_row: AtomicU32,
    has_answered: AtomicBool,
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
            lost_in_a_row: AtomicU32::new(0),
            has_answered: AtomicBool::new(false),
            under_way: AtomicU32::new(0),
            asked: Mutex::default(),
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

    /// Takes up what earlier runs learned of it.
    pub async fn take_up(&self, lake: &Lake) {
        // A memory that cannot be read is none: it is learned again.
        if let Ok(Some(bytes)) = lake.get(&lake::path::endpoint_profile(&self.label)).await
            && let Ok(profile) = serde_json::from_slice::<Profile>(&bytes)
        {
            *lock(&self.profile) = profile.without_stale_limits(self.clock.timestamp());
        }
    }

    /// Keeps what was learned of it, if there is anything.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self, lake: &Lake) -> Result<(), StoreError> {
        let profile = lock(&self.profile).clone();
        if profile == Profile::default() {
            return Ok(());
        }
        lake.replace_json(&lake::path::endpoint_profile(&self.label), &profile).await
    }

    /// What is known of it.
    pub fn profile(&self) -> Profile {
        lock(&self.profile).clone()
    }

    /// Blocks to ask for in one `eth_getLogs` with this filter.
    pub fn log_window(&self, filter: &str) -> u64 {
        lock(&self.profile).window(filter, self.stated_window)
    }

    /// Takes to heart that it wants fewer blocks: of this filter's logs, or, where that lasts, of any.
    pub fn narrow(&self, filter: &str, width: u64, lasts: bool) {
        let mut profile = lock(&self.profile);
        if lasts {
            profile.cap_window(width, self.clock.timestamp());
        } else {
            profile.narrow(filter, width);
        }
    }

    /// Takes to heart the widest window that it takes, as measured just now, whatever it said before.
    pub fn measured_window(&self, width: u64) {
        lock(&self.profile).measured_window(width, self.stated_window, self.clock.timestamp());
    }

    /// Takes to heart that it gave the logs of so many blocks.
    pub fn accepted(&self, filter: &str, width: u64) {
        lock(&self.profile).accepted(filter, width, self.stated_window);
    }

    /// Addresses that it takes in one filter.
    pub fn most_addresses(&self) -> usize {
        let most = lock(&self.profile).addresses.map(|learned| learned.value);
        most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX).max(1)
    }

    /// Takes to heart that it wants no more than so many addresses in one filter.
    pub fn cap_addresses(&self, most: usize) {
        let value = u64::try_from(most.max(1)).unwrap_or(u64::MAX);
        lock(&self.profile).addresses = Some(Learned { value, at: self.clock.timestamp() });
    }

    /// Members that it takes in one batch.
    pub fn most_members(&self) -> usize {
        let most = lock(&self.profile).batch.map(|learned| learned.value);
        most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX).max(1)
    }

    /// Takes to heart that it wants no more than so many members in one batch.
    pub fn cap_members(&self, most: usize) {
        let value = u64::try_from(most.max(1)).unwrap_or(u64::MAX);
        lock(&self.profile).batch = Some(Learned { value, at: self.clock.timestamp() });
    }

    /// Takes to heart the size of batch that it takes, as measured just now, whatever it said before; none when no limit
    /// was met.
    pub fn measured_members(&self, most: Option<usize>) {
        lock(&self.profile).batch = None;
        if let Some(most) = most {
            self.cap_members(most);
        }
    }

    /// Whether it said that it does not hold the block for such a request: its state for calls, its logs for scans.
    pub fn does_not_hold(&self, method: &str, block: u64) -> bool {
        let profile = lock(&self.profile);
        let newest = if method == "eth_getLogs" { profile.no_logs_at } else { profile.no_state_at };
        newest.is_some_and(|newest| block <= newest.value)
    }

    /// Takes to heart that it does not hold a block.
    pub fn lacks_block(&self, method: &str, block: u64) {
        let mut profile = lock(&self.profile);
        let at = self.clock.timestamp();
        let newest = if method == "eth_getLogs" { &mut profile.no_logs_at } else { &mut profile.no_state_at };
        let value = newest.map_or(block, |known| known.value.max(block));
        *newest = Some(Learned { value, at });
    }

    /// Takes to heart that it does hold a block: what it said of this or a newer one before is not true any more.
    pub fn holds_block(&self, method: &str, block: u64) {
        let mut profile = lock(&self.profile);
        let newest = if method == "eth_getLogs" { &mut profile.no_logs_at } else { &mut profile.no_state_at };
        *newest = newest.filter(|known| known.value < block);
    }

    /// Keeps what `extract doctor` found, beside what was learned.
    pub fn set_probed(&self, probe: serde_json::Value) {
        lock(&self.profile).probed = Some(probe);
    }

    /// Seconds of its key's pace that one such request takes. Without a purse nothing is paid.
    pub fn seconds(&self, method: &str) -> f64 {
        self.purse.as_ref().map_or(0.0, |purse| purse.tariff().seconds(method))
    }

    /// Requests under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Whether it lost its last few requests, or takes none at present.
    pub fn is_down(&self) -> bool {
        self.retirement().is_some() || self.lost_in_a_row.load(Ordering::Relaxed) >= LOST_IN_A_ROW
    }

    /// Whether it has answered anything in this run.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
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

    fn may_ask(&self, method: &str) -> Result<(), Refusal> {
        if let Some(refusal) = self.retirement() {
            return Err(refusal);
        }
        if self.lacks(method) {
            return Err(
                self.refusal(Verdict::NoMethod, format!("does not serve {method}, as it said before"))
            );
        }
        Ok(())
    }

    async fn pay(&self, purpose: Purpose, method: &'static str) -> Result<(), Refusal> {
        let mut units = 0;
        if let Some(purse) = &self.purse {
            purse.pay(method).await.map_err(|spent| self.refusal(Verdict::MonthSpent, spent.to_string()))?;
            units = u64::from(purse.tariff().cost(method));
        }
        lock(&self.asked).count(purpose, method, units);
        Ok(())
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
        self.request_within(self.tries(), purpose, method, params).await
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
        self.may_ask(method)?;
        let once = || async {
            self.pay(purpose, method).await?;
            let _paid = self.purse.as_ref().map(|purse| purse.begin());
            self.client.request::<_, Value>(method, params.clone()).await.map_err(|error| {
                self.refusal(verdict(method, &error), self.scrubber.clean(&error.to_string()))
            })
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
        self.batch_within(self.tries(), purpose, method, all_params).await
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
        self.may_ask(method)?;
        let once = || async {
            for _ in all_params {
                self.pay(purpose, method).await?;
            }
            let _paid = self.purse.as_ref().map(|purse| purse.begin());
            let refuse = |error: &alloy_transport::TransportError| {
                self.refusal(verdict(method, error), self.scrubber.clean(&error.to_string()))
            };
            let mut batch = self.client.new_batch();
            let mut waiting = Vec::with_capacity(all_params.len());
            for params in all_params {
                waiting.push(batch.add_call::<_, Value>(method, params).map_err(|error| refuse(&error))?);
            }
            batch.send().await.map_err(|error| refuse(&error))?;
            let mut answers = Vec::with_capacity(waiting.len());
            for answer in waiting {
                let answer = answer.await.map_err(|error| refuse(&error));
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

    /// Tries that a request is worth at present.
    fn tries(&self) -> usize {
        match (self.is_down(), self.has_answered()) {
            (true, _) => 1,
            (false, false) => TRIES,
            (false, true) => TRIES_ONCE_KNOWN,
        }
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
        once.retry(backoff)
            .when(|refusal| is_passing(&refusal.verdict))
            .notify(|refusal, _| {
                lock(&self.asked).count_again(purpose);
                if let (Verdict::TooFast { wait }, Some(purse)) = (&refusal.verdict, &self.purse) {
                    purse.hold(wait.unwrap_or(TOO_FAST_HOLD));
                }
            })
            .adjust(|refusal, planned| match refusal.verdict {
                Verdict::TooFast { wait: Some(wait) } => planned.map(|planned| planned.max(wait)),
                _ => planned,
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
        match refusal.map(|refusal| &refusal.verdict) {
            Some(Verdict::Again | Verdict::TooFast { .. } | Verdict::Unknown) => {
                self.lost_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            other => {
                self.lost_in_a_row.store(0, Ordering::Relaxed);
                if other.is_none() {
                    self.has_answered.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// The first reason stays.
    fn retire(&self, refusal: Refusal, until: Option<Timestamp>) {
        lock(&self.retired).get_or_insert((refusal, until));
    }
}

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
        for _ in 0..LOST_IN_A_ROW {
            assert_eq!(ask(&endpoint, "a").await.verdict, Verdict::Unknown);
        }
        assert!(endpoint.is_down());
        let warning = endpoint.warnings().concat();
        assert!(warning.contains("e: 3 refusals") && warning.contains("new under the sun"), "{warning}");
    }
}
