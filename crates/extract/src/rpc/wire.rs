//! The lowest layer: one JSON-RPC body out, one back, with its HTTP status.
//!
//! [`Wire`] is a tower service under alloy's `RpcClient`, which makes ids and envelopes. Over HTTP, within the process or
//! from a recording, everything above it is the same.

use crate::rpc::classify;
use crate::rpc::providers::Reach;
use crate::rpc::recording::{Answer, Recorder, Recording, RecordingError};
use crate::rpc::secret::{Scrubber, SecretUrl};
use alloy_json_rpc::{Id, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest};
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use bytes::Bytes;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// An endpoint that has not answered by then has failed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest reply that is held in memory, in bytes as they come out of any compression. A day's logs of all CSUs of a chain
/// are some megabytes; what is longer is asked for in parts.
pub const LONGEST_REPLY: usize = 64 << 20;

/// What kept an answer from coming. The texts hold no URL, unless an endpoint put one into its refusal.
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
        /// The time that `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// A JSON-RPC error whose HTTP status or headers say something, too.
    #[error("HTTP {status}: error code {code}: {message}{}", data.as_ref().map_or(String::new(), |data| format!(", data: {data}")))]
    Refused {
        /// HTTP status code.
        status: u16,
        /// JSON-RPC error code.
        code: i64,
        /// Message of the error.
        message: String,
        /// Data of the error, as JSON.
        data: Option<String>,
        /// The time that `Retry-After` asks for.
        retry_after: Option<Duration>,
    },
    /// More than [`LONGEST_REPLY`]: the rest was not read.
    #[error("the reply is longer than {} MiB; the rest of it was not read", LONGEST_REPLY >> 20)]
    TooLong,
    /// A success whose body is no JSON-RPC response.
    #[error("the body is no JSON-RPC response: {0}")]
    Body(String),
    /// A success in another form than JSON-RPC, such as explorers give. What it holds is not believed, least of all an
    /// empty list.
    #[error("the answer is not in the form of JSON-RPC: {text}")]
    Foreign {
        /// What it says.
        text: String,
    },
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

/// A way to an endpoint without a network: request body in; status, headers and body out.
pub type InProcess = Arc<
    dyn Fn(Vec<u8>) -> BoxFuture<'static, std::io::Result<(u16, Vec<(String, String)>, Vec<u8>)>>
        + Send
        + Sync,
>;

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
    InProcess(InProcess),
    Replay(Recording),
}

/// The one client for all endpoints. It follows no redirect: the URL that it would carry to another host is a key.
///
/// # Errors
/// [`ClientError`] where TLS cannot be set up.
pub fn http_client() -> Result<reqwest::Client, ClientError> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    client.map_err(|error| ClientError(chain_of(&error.without_url())))
}

/// Why no connection can be opened on this machine at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no HTTPS client can be set up on this machine: {0}\nhint: are the system's certificates there (Debian: ca-certificates)?"
)]
pub struct ClientError(String);

/// What came back: status, the `Retry-After` header, body.
type Carried = (u16, Option<String>, Bytes);

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
            Reach::InProcess(carrier) => Carrier::InProcess(Arc::clone(carrier)),
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
        let asked: Vec<(String, String)> = match &self.recorder {
            Some(_) => requests(&packet)
                .iter()
                .map(|request| (request.method().to_owned(), params(request)))
                .collect(),
            None => Vec::new(),
        };
        let id = match &packet {
            RequestPacket::Single(request) => Some(request.id().clone()),
            RequestPacket::Batch(_) => None,
        };
        let carried = match &self.carrier {
            Carrier::Replay(recording) => return self.replay(recording, packet),
            Carrier::Http { client, url } => self.in_time(self.post(client, url, body_of(packet)?)).await?,
            Carrier::InProcess(carrier) => {
                let sent = carrier(body_of(packet)?.into_bytes());
                self.in_time(async {
                    let lost = |error: std::io::Error| WireError::Unreachable(error.to_string());
                    let (status, headers, body) = sent.await.map_err(lost)?;
                    let retry_after = headers.into_iter().find(|(name, _)| name == "retry-after");
                    Ok((status, retry_after.map(|(_, value)| value), Bytes::from(body)))
                })
                .await?
            }
        };
        let (status, retry_after, body) = carried;
        let retry_after =
            retry_after.and_then(|header| classify::retry_after(&header, jiff::Timestamp::now()));
        let reply = Reply::read(status, retry_after, &body, id.as_ref(), &self.scrubber)?;
        if let (Some(recorder), ResponsePacket::Single(response), [(method, params)]) =
            (&self.recorder, &reply.packet, asked.as_slice())
        {
            recorder.keep(&self.chain, method, params, answer_of(response)?);
        }
        if id.is_none() { reply.of_a_batch() } else { reply.with_its_status() }
    }

    /// Gives up on what has not come in time, whatever carries it.
    async fn in_time(
        &self,
        carried: impl Future<Output = Result<Carried, WireError>>,
    ) -> Result<Carried, WireError> {
        let late = |_| WireError::Unreachable(format!("nothing came within {} s", TIMEOUT.as_secs()));
        tokio::time::timeout(TIMEOUT, carried).await.map_err(late)?
    }

    async fn post(
        &self,
        client: &reqwest::Client,
        url: &SecretUrl,
        body: String,
    ) -> Result<Carried, WireError> {
        let unreachable = |error: reqwest::Error| {
            WireError::Unreachable(self.scrubber.clean(&chain_of(&error.without_url())))
        };
        let request = client.post(url.expose()).header("content-type", "application/json").body(body);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let mut reply = bytes::BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(unreachable)? {
            if reply.len() + part.len() > LONGEST_REPLY {
                return Err(WireError::TooLong);
            }
            reply.extend_from_slice(&part);
        }
        Ok((status, retry_after, reply.freeze()))
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

/// A JSON-RPC response with what HTTP said of it.
pub(super) struct Reply {
    packet: ResponsePacket,
    status: u16,
    retry_after: Option<Duration>,
}

impl Reply {
    /// Reads a body as the response to a single request with this id, or to a batch. A refusal may come with any
    /// status, so the body is read first.
    pub(super) fn read(
        status: u16,
        retry_after: Option<Duration>,
        body: &[u8],
        asked: Option<&Id>,
        scrubber: &Scrubber,
    ) -> Result<Self, WireError> {
        let why = match serde_json::from_slice::<ResponsePacket>(body) {
            Ok(packet) if answers(&packet, asked) => return Ok(Self { packet, status, retry_after }),
            Ok(_) => "it does not bear the id of the request".to_owned(),
            Err(error) => error.to_string(),
        };
        let text = scrubber.clean(&String::from_utf8_lossy(body));
        Err(if !is_success(status) {
            WireError::Http { status, body: text, retry_after }
        } else if serde_json::from_slice::<serde_json::Value>(body).is_ok_and(|value| value.is_object()) {
            WireError::Foreign { text }
        } else {
            WireError::Body(format!("{why}: {text}"))
        })
    }

    /// The responses to a batch; or, where there is one error in their place, that.
    fn of_a_batch(self) -> Result<ResponsePacket, WireError> {
        let Self { packet, status, retry_after } = self;
        match packet {
            ResponsePacket::Single(Response { payload: ResponsePayload::Failure(error), .. }) => {
                Err(WireError::Refused {
                    status,
                    code: error.code,
                    message: error.message.into_owned(),
                    data: error.data.map(|data| data.get().to_owned()),
                    retry_after,
                })
            }
            packet => Ok(packet),
        }
    }

    /// The response; or, where HTTP adds something to an error, the error with that: alloy's client would lose it.
    pub(super) fn with_its_status(self) -> Result<ResponsePacket, WireError> {
        let Self { packet, status, retry_after } = self;
        match packet {
            ResponsePacket::Single(Response { payload: ResponsePayload::Failure(error), .. })
                if !is_success(status) || retry_after.is_some() =>
            {
                Err(WireError::Refused {
                    status,
                    code: error.code,
                    message: error.message.into_owned(),
                    data: error.data.map(|data| data.get().to_owned()),
                    retry_after,
                })
            }
            packet => Ok(packet),
        }
    }
}

fn body_of(packet: RequestPacket) -> Result<String, WireError> {
    let body = packet.serialize().map_err(|error| WireError::Body(error.to_string()))?;
    Ok(body.get().to_owned())
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Whether a response to a single request is one to this request. An error may come without an id, a result may not:
/// explorers answer `"status": "0"` with an empty list.
fn answers(packet: &ResponsePacket, asked: Option<&Id>) -> bool {
    match (packet, asked) {
        (ResponsePacket::Single(response), Some(id)) => response.payload.is_error() || response.id == *id,
        _ => true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::classify::Verdict;
    use crate::rpc::clock::Clock;
    use crate::rpc::endpoint::{Endpoint, Refusal};
    use crate::rpc::providers::Providers;
    use crate::rpc::tally::Purpose;
    use serde_json::{Value, json};
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Serves for as long as the test lives, and counts the requests.
    fn serve(answer: impl Fn(&mut TcpStream) + Send + 'static) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                read_request(&stream);
                answer(&mut stream);
            }
        });
        (port, count)
    }

    fn read_request(stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
    }

    fn head(stream: &mut TcpStream, status: &str, length: usize, more: &str) {
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n"
        )
        .unwrap();
    }

    fn endpoint(port: u16) -> Endpoint {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("providers.toml");
        let row = format!(
            "[[endpoint]]\nlabel = \"e\"\nchain = \"c\"\nurl = \"http://127.0.0.1:{port}/v2/sk_planted_key\"\n\
             requests_per_second = 100.0\nsource = \"a test\"\n"
        );
        std::fs::write(&file, row).unwrap();
        let providers = Providers::load(&file, |_| None).unwrap();
        Endpoint::open(&providers.endpoints[0], &http_client().unwrap(), None, Clock::start()).unwrap()
    }

    async fn ask(endpoint: &Endpoint, method: &'static str) -> Result<Value, Refusal> {
        endpoint.request(Purpose::Scan, method, &json!([])).await
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_with_a_key() {
        for status in
            ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
        {
            let (other, reached) = serve(|stream| head(stream, "200 OK", 0, ""));
            let (port, asked) = serve(move |stream| {
                head(stream, status, 0, &format!("location: http://127.0.0.1:{other}/v2/sk_planted_key\r\n"));
            });
            let refusal = ask(&endpoint(port), "eth_chainId").await.unwrap_err();
            assert!(refusal.text.contains(&status[..3]) && !refusal.text.contains("planted"), "{refusal}");
            assert_eq!(reached.load(Ordering::SeqCst), 0, "{status}: the key went to another host");
            assert!(asked.load(Ordering::SeqCst) >= 1);
        }
    }

    #[tokio::test]
    async fn a_reply_without_end_is_not_held_and_asks_for_less() {
        for (method, expected) in [
            ("eth_getLogs", Verdict::FewerBlocks { at_most: None, lasts: false }),
            ("eth_call", Verdict::SmallerBatch { at_most: None }),
            ("eth_getBlockReceipts", Verdict::Elsewhere),
        ] {
            let (port, _) = serve(|stream| {
                head(stream, "200 OK", 1 << 40, "");
                let part = vec![b' '; 1 << 20];
                // Until the other side has had enough.
                while stream.write_all(&part).is_ok() {}
            });
            let refusal = ask(&endpoint(port), method).await.unwrap_err();
            assert_eq!(refusal.verdict, expected, "{refusal}");
            assert!(refusal.text.contains("longer than 64 MiB"), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_reply_of_any_depth_is_refused_and_no_stack_ends() {
        let depth = 1_000_000;
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for body in [
            format!(r#"{{"jsonrpc":"2.0","id":0,"result":{nested}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":0,"error":{{"code":-32000,"message":"no","data":{nested}}}}}"#),
            nested,
        ] {
            let (port, _) = serve(move |stream| {
                head(stream, "200 OK", body.len(), "");
                stream.write_all(body.as_bytes()).unwrap();
            });
            ask(&endpoint(port), "eth_call").await.unwrap_err();
        }
    }
}
