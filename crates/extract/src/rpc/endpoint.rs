//! One endpoint: its pace, its retries, its log window, and what it was asked.

use crate::rpc::classify::{Verdict, verdict};
use crate::rpc::providers::{EndpointConfig, Pace};
use crate::rpc::recording::{Recorder, RecordingError};
use crate::rpc::secret::Scrubber;
use crate::rpc::wire::Wire;
use alloy_rpc_client::RpcClient;
use backon::{ExponentialBuilder, Retryable};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    pace: Option<Arc<Pace>>,
    log_window: AtomicU64,
    lost_in_a_row: AtomicU32,
    asked: Mutex<BTreeMap<String, u64>>,
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
            pace: config.pace.clone(),
            log_window: AtomicU64::new(config.log_window),
            lost_in_a_row: AtomicU32::new(0),
            asked: Mutex::default(),
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

    /// Narrows the log window below `refused` blocks, to `at_most` if the endpoint told that. Returns whether a
    /// narrower request is possible.
    pub fn narrow(&self, refused: u64, at_most: Option<u64>) -> bool {
        if refused <= 1 {
            return false;
        }
        let window = at_most.filter(|width| *width < refused).unwrap_or(refused / 2).max(1);
        self.log_window.fetch_min(window, Ordering::Relaxed);
        true
    }

    /// Whether it lost its last few requests.
    pub fn is_down(&self) -> bool {
        self.lost_in_a_row.load(Ordering::Relaxed) >= LOST_IN_A_ROW
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
        let once = || async {
            if let Some(pace) = &self.pace {
                pace.until_ready().await;
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
                Verdict::TooFast { wait: Some(seconds) } => {
                    planned.map(|planned| planned.max(Duration::from_secs(seconds.min(30))))
                }
                _ => planned,
            })
            .await;
        match &outcome {
            Err(refusal) if matches!(refusal.verdict, Verdict::Again | Verdict::TooFast { .. }) => {
                self.lost_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.lost_in_a_row.store(0, Ordering::Relaxed),
        }
        outcome
    }
}
