//! The lowest layer: one JSON-RPC body out, one back, with its HTTP status.
//!
//! [`Wire`] is a tower service under alloy's `RpcClient`, which makes ids and envelopes. Over HTTP or from a recording,
//! everything above it is the same.

use crate::rpc::providers::Reach;
use crate::rpc::recording::{Answer, Recorder, Recording, RecordingError};
use crate::rpc::secret::{Scrubber, SecretUrl};
use alloy_json_rpc::{RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// An endpoint that has not answered by then has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What kept an answer from coming. The texts hold no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No connection, or none in time.
    #[error("no answer: {0}")]
    Unreachable(String),
    /// An HTTP status that is no success, without a JSON-RPC body.
    #[error("HTTP {status}: {body}")]
    Http {
        /// Status code.
        status: u16,
        /// Beginning of the body.
        body: String,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// A success whose body is no JSON-RPC response.
    #[error("the body is no JSON-RPC response: {0}")]
    Body(String),
    /// A request that is not in the recording.
    #[error(
        "the request is not in the recording {file}, which fits one version of the call plan \
         (`make record-demo` makes it again): {method} {params}"
    )]
    NotRecorded {
        /// The recording.
        file: String,
        /// Method.
        method: String,
        /// Params, cut.
        params: String,
    },
}

/// Carries requests to one endpoint.
#[derive(Clone)]
pub struct Wire {
    inner: Arc<Inner>,
}

struct Inner {
    chain: String,
    carrier: Carrier,
    scrubber: Scrubber,
    recorder: Option<Arc<Recorder>>,
}

enum Carrier {
    Http { client: reqwest::Client, url: SecretUrl },
    Replay(Recording),
}

impl Wire {
    /// A wire to an endpoint of `chain`, keeping exchanges in `recorder` if there is one.
    ///
    /// # Errors
    /// [`RecordingError`] for a replay whose file cannot be read.
    pub fn open(
        chain: &str,
        reach: &Reach,
        scrubber: Scrubber,
        client: &reqwest::Client,
        recorder: Option<Arc<Recorder>>,
    ) -> Result<Self, RecordingError> {
        let carrier = match reach {
            Reach::Http(url) => Carrier::Http { client: client.clone(), url: url.clone() },
            Reach::Replay(file) => Carrier::Replay(Recording::load(file)?),
        };
        Ok(Self { inner: Arc::new(Inner { chain: chain.to_owned(), carrier, scrubber, recorder }) })
    }
}

impl tower::Service<RequestPacket> for Wire {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.carry(packet).await.map_err(TransportErrorKind::custom) })
    }
}

impl Inner {
    async fn carry(&self, packet: RequestPacket) -> Result<ResponsePacket, WireError> {
        match &self.carrier {
            Carrier::Replay(recording) => self.replay(recording, packet),
            Carrier::Http { client, url } => {
                let asked: Vec<(String, String)> = match &self.recorder {
                    Some(_) => requests(&packet)
                        .iter()
                        .map(|request| (request.method().to_owned(), params(request)))
                        .collect(),
                    None => Vec::new(),
                };
                let response = self.post(client, url, packet).await?;
                if let (Some(recorder), ResponsePacket::Single(response), [(method, params)]) =
                    (&self.recorder, &response, asked.as_slice())
                {
                    recorder.keep(&self.chain, method, params, answer_of(response)?);
                }
                Ok(response)
            }
        }
    }

    async fn post(
        &self,
        client: &reqwest::Client,
        url: &SecretUrl,
        packet: RequestPacket,
    ) -> Result<ResponsePacket, WireError> {
        let unreachable = |error: reqwest::Error| {
            WireError::Unreachable(self.scrubber.clean(&chain_of(&error.without_url())))
        };
        let body = packet.serialize().map_err(|error| WireError::Body(error.to_string()))?;
        let response = client
            .post(url.expose())
            .timeout(TIMEOUT)
            .header("content-type", "application/json")
            .body(body.get().to_owned())
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let body = response.bytes().await.map_err(unreachable)?;
        // A refusal may come with any status, so the body is read first.
        match serde_json::from_slice::<ResponsePacket>(&body) {
            Ok(packet) => Ok(packet),
            Err(error) => {
                let text = self.scrubber.clean(&String::from_utf8_lossy(&body));
                if status.is_success() {
                    Err(WireError::Body(format!("{error}: {text}")))
                } else {
                    Err(WireError::Http { status: status.as_u16(), body: text, retry_after })
                }
            }
        }
    }

    fn replay(&self, recording: &Recording, packet: RequestPacket) -> Result<ResponsePacket, WireError> {
        let answer = |request: &SerializedRequest| -> Result<Response, WireError> {
            let params = params(request);
            let answer = recording.answer(&self.chain, request.method(), &params).ok_or_else(|| {
                WireError::NotRecorded {
                    file: recording.file().display().to_string(),
                    method: request.method().to_owned(),
                    params: params.chars().take(200).collect(),
                }
            })?;
            let payload = match answer.clone() {
                Answer::Result(result) => ResponsePayload::Success(result),
                Answer::Error(error) => ResponsePayload::Failure(
                    serde_json::from_str(error.get()).map_err(|error| WireError::Body(error.to_string()))?,
                ),
            };
            Ok(Response { id: request.id().clone(), payload })
        };
        match &packet {
            RequestPacket::Single(request) => answer(request).map(ResponsePacket::Single),
            RequestPacket::Batch(requests) => {
                requests.iter().map(answer).collect::<Result<Vec<_>, _>>().map(ResponsePacket::Batch)
            }
        }
    }
}

fn requests(packet: &RequestPacket) -> &[SerializedRequest] {
    match packet {
        RequestPacket::Single(request) => std::slice::from_ref(request),
        RequestPacket::Batch(requests) => requests,
    }
}

fn params(request: &SerializedRequest) -> String {
    request.params().map_or_else(|| "[]".to_owned(), |params| params.get().to_owned())
}

fn answer_of(response: &Response) -> Result<Answer, WireError> {
    match &response.payload {
        ResponsePayload::Success(result) => Ok(Answer::Result(result.clone())),
        ResponsePayload::Failure(error) => serde_json::value::to_raw_value(error)
            .map(Answer::Error)
            .map_err(|error| WireError::Body(error.to_string())),
    }
}

/// An error with its causes, on one line.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
