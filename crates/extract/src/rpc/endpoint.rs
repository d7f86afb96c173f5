//! One endpoint: its pace, its retries, its log window, and what it was asked.

use crate::rpc::budget::Purse;
use crate::rpc::classify::{Verdict, verdict};
use crate::rpc::providers::EndpointConfig;
use crate::rpc::recording::{Recorder, RecordingError};
use crate::rpc::secret::Scrubber;
use crate::rpc::wire::Wire;
use alloy_rpc_client::RpcClient;
use backon::{ExponentialBuilder, Retryable};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Tries of one request at one endpoint.
const TRIES: usize = 5;
/// Requests lost in a row after which an endpoint is asked last.
const LOST_IN_A_ROW: u32 = 3;

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
    client: RpcClient,
    scrubber: Scrubber,
    purse: Option<Arc<Purse>>,
    log_window: AtomicU64,
    lost_in_a_row: AtomicU32,
    asked: Mutex<BTreeMap<String, u64>>,
    /// Why it is not asked again in this run.
    retired: OnceLock<Refusal>,
    /// Methods that it does not serve.
    lacks: Mutex<BTreeSet<&'static str>>,
    /// Refusals that no table knows: how many, and the last.
    unknown: Mutex<Option<(u64, String)>>,
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
    ) -> Result<Self, RecordingError> {
        let wire = Wire::open(&config.chain, &config.reach, config.scrubber.clone(), client, recorder)?;
        Ok(Self {
            label: config.label.clone(),
            client: RpcClient::new(wire, true),
            scrubber: config.scrubber.clone(),
            purse: config.purse.clone(),
            log_window: AtomicU64::new(config.log_window),
            lost_in_a_row: AtomicU32::new(0),
            asked: Mutex::default(),
            retired: OnceLock::new(),
            lacks: Mutex::default(),
            unknown: Mutex::default(),
        })
    }

    /// Its label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Blocks that it takes in one `eth_getLogs`.
    pub fn log_window(&self) -> u64 {
        self.log_window.load(Ordering::Relaxed)
    }

    /// Narrows the log window to so many blocks, for all further requests.
    pub fn narrow(&self, window: u64) {
        self.log_window.fetch_min(window.max(1), Ordering::Relaxed);
    }

    /// Whether it lost its last few requests, or takes none any more.
    pub fn is_down(&self) -> bool {
        self.retired.get().is_some() || self.lost_in_a_row.load(Ordering::Relaxed) >= LOST_IN_A_ROW
    }

    /// Whether it said that it does not serve the method.
    pub fn lacks(&self, method: &str) -> bool {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).contains(method)
    }

    /// Keeps in mind for this run that the endpoint does not serve the method.
    pub fn set_lacking(&self, method: &'static str) {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner).insert(method);
    }

    /// What a person should know of it after a run: that it was not asked to the end, or said what nobody understands.
    pub fn warnings(&self) -> Vec<String> {
        let retired = self.retired.get().map(|refusal| format!("endpoint not asked any more: {refusal}"));
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let unknown = unknown.map(|(count, text)| {
            format!("{}: {count} refusals of a kind that is not known, the last: {text}", self.label)
        });
        retired.into_iter().chain(unknown).collect()
    }

    /// How often each method was sent.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request, at the endpoint's pace and again after passing faults.
    ///
    /// # Errors
    /// The last [`Refusal`].
    pub async fn request<R: DeserializeOwned + Send + Sync + std::fmt::Debug + Unpin + 'static>(
        &self,
        method: &'static str,
        params: &Value,
    ) -> Result<R, Refusal> {
        if let Some(refusal) = self.retired.get() {
            return Err(refusal.clone());
        }
        if self.lacks(method) {
            let text = format!("does not serve {method}, as it said before");
            return Err(Refusal { label: self.label.clone(), verdict: Verdict::NoMethod, text });
        }
        let once = || async {
            if let Some(purse) = &self.purse {
                purse.pay(method).await.map_err(|spent| Refusal {
                    label: self.label.clone(),
                    verdict: Verdict::MonthSpent,
                    text: spent.to_string(),
                })?;
            }
            *self
                .asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(method.to_owned())
                .or_default() += 1;
            self.client.request::<_, R>(method, params.clone()).await.map_err(|error| Refusal {
                label: self.label.clone(),
                verdict: verdict(method, &error),
                text: self.scrubber.clean(&error.to_string()),
            })
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(8))
            .with_factor(3.0)
            .with_max_times(if self.is_down() { 0 } else { TRIES - 1 })
            .with_jitter();
        let outcome = once
            .retry(backoff)
            .when(|refusal| matches!(refusal.verdict, Verdict::Again | Verdict::TooFast { .. }))
            .adjust(|refusal, planned| match refusal.verdict {
                Verdict::TooFast { wait: Some(wait) } => planned.map(|planned| planned.max(wait)),
                _ => planned,
            })
            .await;
        self.take_to_heart(method, outcome.as_ref().err());
        outcome
    }

    /// Remembers what an outcome says of the endpoint itself.
    fn take_to_heart(&self, method: &'static str, refusal: Option<&Refusal>) {
        match refusal.map(|refusal| (refusal, &refusal.verdict)) {
            Some((refusal, Verdict::Park { until })) => {
                let until = until.after(jiff::Timestamp::now());
                let text = format!("its quota is spent until {until}: {}", refusal.text);
                // The first reason stays.
                let _ = self.retired.set(Refusal { text, ..refusal.clone() });
            }
            Some((refusal, Verdict::Drop)) => {
                let text = format!("the key is not accepted here: {}", refusal.text);
                let _ = self.retired.set(Refusal { text, ..refusal.clone() });
            }
            Some((_, Verdict::NoMethod)) => self.set_lacking(method),
            Some((refusal, Verdict::Unknown)) => {
                let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
                let count = unknown.as_ref().map_or(0, |(count, _)| *count);
                *unknown = Some((count + 1, refusal.text.clone()));
            }
            _ => {}
        }
        match refusal.map(|refusal| &refusal.verdict) {
            Some(Verdict::Again | Verdict::TooFast { .. } | Verdict::Unknown) => {
                self.lost_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.lost_in_a_row.store(0, Ordering::Relaxed),
        }
    }
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
        Endpoint::open(&providers.endpoints[0], &reqwest::Client::new(), None).unwrap()
    }

    async fn ask(endpoint: &Endpoint, method: &'static str) -> Refusal {
        endpoint.request::<Value>(method, &json!([])).await.unwrap_err()
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
            assert_eq!(endpoint.asked().values().sum::<u64>(), 1);
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
        assert_eq!(endpoint.asked().values().sum::<u64>(), 2);
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
