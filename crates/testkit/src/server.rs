//! A JSON-RPC endpoint over HTTP on a loopback port, in front of a simulated chain.
//!
//! Three parts that know little of each other: [`SimChain`] is the truth, a [`Provider`] decides what becomes of it
//! in one exchange, and [`Server`] carries bytes, counts and remembers. [`Policy`] is the provider with the simple
//! faults.

pub mod policy;

use crate::simchain::SimChain;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub use policy::{Fault, Policy, StrayLog};

/// One HTTP request to a provider.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The truth.
    pub chain: &'a SimChain,
    /// Which request this is to this server, counted from 1.
    pub nth: u64,
    /// The request's body.
    pub body: &'a [u8],
}

/// What a provider sends back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Content type.
    pub content_type: &'static str,
    /// Body.
    pub body: Vec<u8>,
    /// After how many bytes of the body the connection breaks.
    pub breaks_after: Option<usize>,
}

impl Reply {
    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, content_type: "application/json", body, breaks_after: None }
    }
}

/// What stands between a chain and who asks: it answers, refuses, or lies.
pub trait Provider: Send + Sync {
    /// The reply to one request.
    fn reply(&self, exchange: &Exchange<'_>) -> Reply;
}

/// What a server has seen.
#[derive(Debug, Default)]
struct Seen {
    bodies: Vec<String>,
    methods: BTreeMap<String, u64>,
}

/// A running endpoint. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    port: u16,
    chain: Arc<SimChain>,
    seen: Arc<Mutex<Seen>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    chain: Arc<SimChain>,
    provider: Box<dyn Provider>,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// Starts an endpoint of `chain` on a free loopback port, in a thread of its own.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub fn spawn(chain: &Arc<SimChain>, provider: impl Provider + 'static) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::new(Shared {
            chain: Arc::clone(chain),
            provider: Box::new(provider),
            seen: Arc::clone(&seen),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("testkit-server".into()).spawn(move || {
            runtime.block_on(async {
                // A listener that fails here leaves the port closed, which the test sees at its first request.
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let router = axum::Router::new().fallback(move |body: Bytes| {
                    let shared = Arc::clone(&shared);
                    async move { shared.handle(&body) }
                });
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
            // Kept-alive connections would hold the runtime for as long as their client likes.
            runtime.shutdown_background();
        })?;
        Ok(Self { port, chain: Arc::clone(chain), seen, stop: Some(stop), thread: Some(thread) })
    }

    /// The endpoint's URL.
    pub fn url(&self) -> String {
        self.url_with("/")
    }

    /// The endpoint's URL with a path, such as one with a key in it. Every path is answered alike.
    pub fn url_with(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The chain behind it.
    pub fn chain(&self) -> &SimChain {
        &self.chain
    }

    /// How often each method was asked for, refused requests and the members of batches included.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        lock(&self.seen).methods.clone()
    }

    /// How often one method was asked for.
    pub fn count(&self, method: &str) -> u64 {
        lock(&self.seen).methods.get(method).copied().unwrap_or(0)
    }

    /// The body of every request so far.
    pub fn bodies(&self) -> Vec<String> {
        lock(&self.seen).bodies.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may be gone already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a panicking test left behind is still a good count.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn handle(&self, body: &Bytes) -> Response {
        let nth = self.note(body);
        let reply = self.provider.reply(&Exchange { chain: &self.chain, nth, body });
        response(reply)
    }

    /// Writes down what was asked, and says which request it is.
    fn note(&self, body: &[u8]) -> u64 {
        let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let calls = match &parsed {
            Value::Array(calls) => calls.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut seen = lock(&self.seen);
        for method in calls.iter().filter_map(|call| call["method"].as_str()) {
            *seen.methods.entry(method.to_owned()).or_default() += 1;
        }
        seen.bodies.push(String::from_utf8_lossy(body).into_owned());
        seen.bodies.len() as u64
    }
}

fn response(reply: Reply) -> Response {
    let body = match reply.breaks_after {
        None => Body::from(reply.body),
        Some(length) => {
            let mut sent = Bytes::from(reply.body);
            sent.truncate(length);
            // The break comes after a pause in which what was sent leaves the machine: else nothing would arrive.
            let sent = futures::stream::once(async { Ok(sent) });
            let broken = futures::stream::once(async {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionAborted))
            });
            Body::from_stream(sent.chain(broken))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    response
}
