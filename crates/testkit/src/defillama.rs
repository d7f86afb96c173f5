//! A local server that speaks DefiLlama's historical prices: `GET /prices/historical/{timestamp}/{coins}`.
//!
//! It answers with the last price point at or before the asked time that lies within six hours of it; coins without one
//! are left out, as DefiLlama does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// How far a price point may lie from the asked time, seconds.
const REACH: u64 = 6 * 3_600;

/// Price points of coins: time and price, the price in its very digits.
pub type Points = BTreeMap<String, Vec<(u64, String)>>;

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct PriceServer {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    points: Points,
    refusals: AtomicU32,
    refusal: u16,
    requests: Mutex<Vec<(Instant, String)>>,
    stop: AtomicBool,
}

impl PriceServer {
    /// Starts a server of these prices on a free loopback port. It refuses the first `refusals` requests with status
    /// `refusal`.
    ///
    /// # Errors
    /// When no port is to be had.
    pub fn spawn(points: Points, refusals: u32, refusal: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            points,
            refusals: AtomicU32::new(refusals),
            refusal,
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                // A client that went away is none of the server's business.
                if let Ok(stream) = stream {
                    let _ = shared.serve(stream);
                }
            }
        });
        Ok(Self { port, state, thread: Some(thread) })
    }

    /// Its base URL, with a path that must appear in no output.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/k3y-0f-a-pro-plan", self.port)
    }

    /// Paths of the requests that came, in order, each with its time.
    pub fn requests(&self) -> Vec<(Instant, String)> {
        self.state.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for PriceServer {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is to stop.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl State {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, body) = match self.refusals.load(Ordering::Relaxed) {
            0 => self.answer(&path).map_or((404, "{}".to_owned()), |body| (200, body)),
            left => {
                self.refusals.store(left - 1, Ordering::Relaxed);
                (self.refusal, "{\"message\":\"no\"}".to_owned())
            }
        };
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), path));
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn answer(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix("/k3y-0f-a-pro-plan/prices/historical/")?;
        let (timestamp, coins) = rest.strip_suffix("?searchWidth=6h")?.split_once('/')?;
        let timestamp: u64 = timestamp.parse().ok()?;
        let mut body = String::from("{\"coins\":{");
        for coin in coins.split(',') {
            let mut points = self.points.get(coin).into_iter().flatten().rev();
            let last = points.find(|(time, _)| *time <= timestamp && timestamp - time <= REACH);
            if let Some((time, price)) = last {
                let comma = if body.ends_with('{') { "" } else { "," };
                let fields = "\"decimals\":18,\"symbol\":\"X\",\"confidence\":0.99";
                let written =
                    write!(body, "{comma}\"{coin}\":{{{fields},\"price\":{price},\"timestamp\":{time}}}");
                debug_assert!(written.is_ok(), "writing to a string does not fail");
            }
        }
        body.push_str("}}");
        Some(body)
    }
}
