//! Providers in front of a simulated chain: in process, or over HTTP on a loopback port.
//!
//! Parts that know little of each other: [`SimChain`] is the truth, a [`Policy`] says what becomes of it, a [`Provider`]
//! does that to one request after the other and keeps count, and a [`Server`] carries bytes over a socket. Without a
//! socket, [`Provider::carrier`] gives a client the same answers in process, where time may be paused.
//!
//! Nothing here is random: who asks the same things as often gets the same answers, in any order (see [`faults`]).

pub mod clock;
pub mod dialects;
pub mod faults;
pub mod limits;
pub mod policy;
pub mod presets;
pub mod provider;
mod scan;

use crate::simchain::SimChain;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpStream;

pub use clock::{ManualClock, TokioClock};
pub use faults::Fault;
pub use policy::{Policy, StrayLog};
pub use provider::{Carrier, End, Provider, Reply};

/// A running endpoint. It stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    port: u16,
    provider: Arc<Provider>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts an endpoint of `chain` on a free loopback port, in a thread of its own. It keeps the bodies of all
    /// requests.
    ///
    /// # Errors
    /// When no port or thread is to be had.
    pub fn spawn(chain: &Arc<SimChain>, policy: Policy) -> io::Result<Self> {
        let clock: Arc<dyn clock::Clock> = Arc::new(TokioClock::of_day());
        Self::serve(Arc::new(Provider::new(chain, policy, &clock).keeping_bodies()), 0)
    }

    /// Starts an endpoint of a provider on a loopback port, or on a free one for 0, in a thread of its own.
    ///
    /// # Errors
    /// When the port or a thread is not to be had.
    pub fn serve(provider: Arc<Provider>, port: u16) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let behind = Arc::clone(&provider);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("testkit-server".into()).spawn(move || {
            runtime.block_on(async {
                // A listener that fails here leaves the port closed, which the test sees at its first request.
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(listener, behind) => {}
                    _ = stopped => {}
                }
            });
            // Kept-alive connections would hold the runtime for as long as their client likes.
            runtime.shutdown_background();
        })?;
        Ok(Self { port, provider, stop: Some(stop), thread: Some(thread) })
    }

    /// The endpoint's URL.
    pub fn url(&self) -> String {
        self.url_with("/")
    }

    /// The endpoint's URL with a path, such as one with a key in it. Every path is answered alike.
    pub fn url_with(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The provider behind it.
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    /// The chain behind it.
    pub fn chain(&self) -> &SimChain {
        self.provider.chain()
    }

    /// How often each method was asked for, refused requests and the members of batches included.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.provider.tally().methods
    }

    /// How often one method was asked for.
    pub fn count(&self, method: &str) -> u64 {
        self.counts().get(method).copied().unwrap_or(0)
    }

    /// The body of every request so far.
    pub fn bodies(&self) -> Vec<String> {
        self.provider.bodies()
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

async fn accept(listener: tokio::net::TcpListener, provider: Arc<Provider>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&provider)));
            }
            // Out of file descriptors, most likely: some are given back soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Serves one connection until either side is done with it.
async fn connection(stream: TcpStream, provider: Arc<Provider>) {
    // An answer is one write; waiting for more to send would only be slow.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let resets = Arc::clone(&reset);
    let service = hyper::service::service_fn(move |request| {
        Box::pin(answer(request, Arc::clone(&provider), Arc::clone(&resets)))
    });
    let mut serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // What ended it is of no interest here: the client sees it.
    let _ = std::future::poll_fn(|context| serving.poll_without_shutdown(context)).await;
    if reset.load(Ordering::Relaxed) {
        // As from a machine that died, without a farewell.
        let _ = serving.into_parts().io.inner().set_zero_linger();
    }
}

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

async fn answer(
    request: Request<Incoming>,
    provider: Arc<Provider>,
    reset: Arc<AtomicBool>,
) -> io::Result<Response<Body>> {
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let reply = provider.exchange(&body);
    tokio::time::sleep(reply.delay).await;
    match reply.end {
        End::Whole => Ok(response(&reply, Bytes::from(reply.body.clone()), false)),
        End::Broken { after } => {
            let mut sent = Bytes::from(reply.body.clone());
            sent.truncate(after);
            Ok(response(&reply, sent, true))
        }
        End::Reset => {
            reset.store(true, Ordering::Relaxed);
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
        End::Never => std::future::pending().await,
    }
}

fn response(reply: &Reply, sent: Bytes, breaks: bool) -> Response<Body> {
    let length = sent.len();
    let sent = futures::stream::once(async { Ok(Frame::data(sent)) });
    // The break comes after a pause in which what was sent leaves the machine: else nothing would arrive.
    let broken = futures::stream::iter(breaks.then_some(())).then(|()| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    });
    let mut response = Response::new(StreamBody::new(sent.chain(broken).boxed()));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if !breaks {
        headers.insert(hyper::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
