//! A provider: a policy in front of a chain, with what it remembers.
//!
//! It needs no socket. [`Provider::exchange`] judges one request at the clock's now; [`Provider::carry`] also lets the
//! time pass that the answer takes and fails as a connection does, which is all that a client needs to know of a network.

use super::clock::Clock;
use super::dialects::{Particulars, Refusal, Wording, rate, size};
use super::faults::{Dice, Fault, Matter, digest};
use super::limits::{Account, By, Cost, Over, Prices, Slip, TooMuch};
use super::policy::{Absent, BigBatch, Policy};
use super::scan;
use crate::simchain::rpc::{RpcError, quantity, state_block};
use crate::simchain::{MULTICALL3, SimChain, View};
use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolCall;
use futures::future::BoxFuture;
use protocols::multicall::{self, IMulticall3};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With its last byte.
    Whole,
    /// The connection breaks after so many bytes of the body.
    Broken {
        /// Bytes that arrive.
        after: usize,
    },
    /// The connection is reset before anything came.
    Reset,
    /// Nothing ever comes.
    Never,
}

/// What a provider sends back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers, in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// How long it takes until it comes.
    pub delay: Duration,
    /// How it ends.
    pub end: End,
}

impl Reply {
    fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self { status, headers, body: body.into(), delay: Duration::ZERO, end: End::Whole }
    }

    fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    fn page(status: u16, title: &str) -> Self {
        let page = format!("<!DOCTYPE html><html><head><title>{title}</title></head><body></body></html>");
        Self::new(status, "text/html", page)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }
}

/// What a client gets: status, headers and body, or what became of the connection.
pub type Carried = io::Result<(u16, Vec<(String, String)>, Vec<u8>)>;

/// A way to a provider without a network. It is made of types of the standard library, so that a client can name it
/// without knowing this crate.
pub type Carrier = Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Carried> + Send + Sync>;

/// What a provider has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// HTTP requests.
    pub requests: u64,
    /// How often each method was asked for, refused requests and the members of batches included.
    pub methods: BTreeMap<String, u64>,
    /// Replies by HTTP status. Connections that were reset or never answered are not among them.
    pub statuses: BTreeMap<u16, u64>,
    /// Replies that did not arrive whole.
    pub broken: u64,
}

#[derive(Debug, Default)]
struct Memory {
    tally: Tally,
    bodies: Option<Vec<String>>,
    /// How often each content was asked for, by its digest.
    asked: HashMap<u64, u64>,
}

/// A policy in front of a chain.
#[derive(Debug)]
pub struct Provider {
    chain: Arc<SimChain>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    account: Arc<Account>,
    made: Duration,
    memory: Mutex<Memory>,
}

impl Provider {
    /// A provider with a key of its own.
    pub fn new(chain: &Arc<SimChain>, policy: Policy, clock: &Arc<dyn Clock>) -> Self {
        let account = Arc::new(Account::new(policy.limits, Arc::clone(clock)));
        Self {
            chain: Arc::clone(chain),
            policy,
            made: clock.now(),
            clock: Arc::clone(clock),
            account,
            memory: Mutex::default(),
        }
    }

    /// The provider with a key that others use too. The key's limits take the place of the policy's.
    #[must_use]
    pub fn with_account(self, account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), ..self }
    }

    /// The provider keeping the body of every request. Not for long runs.
    #[must_use]
    pub fn keeping_bodies(self) -> Self {
        self.lock().bodies = Some(Vec::new());
        self
    }

    /// The chain behind it.
    pub fn chain(&self) -> &SimChain {
        &self.chain
    }

    /// Its policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Its key.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// What it has seen.
    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// The bodies it kept.
    pub fn bodies(&self) -> Vec<String> {
        self.lock().bodies.clone().unwrap_or_default()
    }

    /// What a panicking test left behind is still a good count.
    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to one request that arrives now.
    pub fn exchange(&self, body: &[u8]) -> Reply {
        let request = Request::read(body);
        let (nth, dice) = self.note(&request, body);
        let mut reply = self.judge(&request, nth, dice, body.len());
        reply.delay = dice.delay(&self.policy.latency);
        let mut memory = self.lock();
        match reply.end {
            End::Whole => {}
            End::Broken { .. } | End::Reset | End::Never => memory.tally.broken += 1,
        }
        if !matches!(reply.end, End::Reset | End::Never) {
            *memory.tally.statuses.entry(reply.status).or_default() += 1;
        }
        reply
    }

    /// One request over a connection that may break: judged when it arrives, answered after its delay by tokio's clock.
    ///
    /// # Errors
    /// An error of the kind that a broken connection gives. A reply that never comes is waited for until the caller
    /// gives up.
    pub async fn carry(&self, body: &[u8]) -> Carried {
        let reply = self.exchange(body);
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        match reply.end {
            End::Whole => Ok((reply.status, reply.headers, reply.body)),
            End::Broken { .. } => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body was cut")),
            End::Reset => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")),
            End::Never => std::future::pending().await,
        }
    }

    /// A way to this provider for a client.
    pub fn carrier(self: &Arc<Self>) -> Carrier {
        let provider = Arc::clone(self);
        Arc::new(move |body| {
            let provider = Arc::clone(&provider);
            Box::pin(async move { provider.carry(&body).await })
        })
    }

    /// Writes down what was asked, says which request it is and rolls its dice.
    fn note(&self, request: &Request, body: &[u8]) -> (u64, Dice) {
        // Ids are left out: clients number their requests in the order of their threads.
        let content = if self.policy.remembers() { request.content(body) } else { 0 };
        let mut memory = self.lock();
        memory.tally.requests += 1;
        let nth = memory.tally.requests;
        for method in request.calls.iter().filter_map(|call| call["method"].as_str()) {
            match memory.tally.methods.get_mut(method) {
                Some(count) => *count += 1,
                None => {
                    memory.tally.methods.insert(method.to_owned(), 1);
                }
            }
        }
        if let Some(bodies) = &mut memory.bodies {
            bodies.push(String::from_utf8_lossy(body).into_owned());
        }
        let asked = if self.policy.remembers() {
            let asked = memory.asked.entry(content).or_default();
            *asked += 1;
            *asked
        } else {
            0
        };
        (nth, Dice::new(self.policy.seed, content, asked))
    }

    fn judge(&self, request: &Request, nth: u64, dice: Dice, length: usize) -> Reply {
        let age = self.clock.now().saturating_sub(self.made);
        let outage = self.policy.outages.iter().find(|outage| outage.from <= age && age < outage.to);
        if let Some(outage) = outage {
            // Who is down bills nothing.
            return self.fail(outage.fault, request, dice, &[]);
        }
        if let Some(wording) = self.policy.refuses_all {
            return request.refused(&wording.refusal(&Particulars::default()));
        }
        let scheduled =
            self.policy.fail_every.filter(|(every, _)| nth.is_multiple_of(*every)).map(|(_, fault)| fault);
        let fault = scheduled.or_else(|| dice.fault(&self.policy.fails));
        if fault == Some(Fault::TooManyRequests) {
            return self.fail(Fault::TooManyRequests, request, dice, &[]);
        }
        let (slip, members) = match self.admit(request) {
            Admitted::All(slip) => (slip, Vec::new()),
            Admitted::Members(slip, members) => (slip, members),
            Admitted::None(too_much, over) => return self.over(request, too_much, over),
        };
        let reply = match (self.too_big(request, length), fault) {
            (Some(refusal), _) => request.refused(&refusal),
            (None, Some(fault)) => self.fail(fault, request, dice, &members),
            (None, None) => self.answer(request, dice, &members),
        };
        let charged = self.account.limits().prices.charged(slip.units, reply.status);
        self.account.settle(slip, charged);
        reply
    }

    fn admit(&self, request: &Request) -> Admitted {
        let limits = self.account.limits();
        let costs: Vec<Cost> = request.calls.iter().map(|call| cost(&limits.prices, call)).collect();
        let batch = if request.alone { 0 } else { limits.prices.batch };
        let fee = Cost { units: batch, throughput: batch };
        let rate_over = limits.per_second.map(|rate| rate.over);
        let quota_over = limits.quota.map(|quota| quota.over);
        let by_member = [rate_over, quota_over].into_iter().flatten().any(|over| over.by == By::Member);
        if by_member && !request.alone {
            let mut slip: Option<Slip> = None;
            let mut members = Vec::with_capacity(costs.len());
            for (at, cost) in costs.into_iter().enumerate() {
                // The batch itself is paid with its first member.
                let cost = if at == 0 { cost + fee } else { cost };
                let admitted = self.account.admit(1, cost);
                if let Ok(another) = admitted {
                    slip = Some(slip.map_or(another, |slip| slip.and(another)));
                }
                members.push(admitted.err());
            }
            return Admitted::Members(slip.unwrap_or_default(), members);
        }
        let total = costs.iter().fold(fee, |sum, cost| sum + *cost);
        match self.account.admit(costs.len() as u64, total) {
            Ok(slip) => Admitted::All(slip),
            Err(TooMuch::Rate(wait)) => Admitted::None(TooMuch::Rate(wait), rate_over),
            Err(TooMuch::Quota) => Admitted::None(TooMuch::Quota, quota_over),
        }
    }

    fn over_refusal(&self, too_much: TooMuch, over: Option<Over>) -> Refusal {
        let limits = self.account.limits();
        let of = match too_much {
            TooMuch::Rate(wait) => Particulars {
                limit: limits.per_second.map_or(0, |rate| rate.units),
                wait,
                ..Particulars::default()
            },
            TooMuch::Quota => Particulars::default(),
        };
        over.map_or(&rate::ALCHEMY, |over| over.wording).refusal(&of)
    }

    fn over(&self, request: &Request, too_much: TooMuch, over: Option<Over>) -> Reply {
        let refusal = self.over_refusal(too_much, over);
        if over.is_some_and(|over| over.by == By::Body) {
            return request.refused(&Refusal { status: 200, bare: None, ..refusal });
        }
        let mut reply = request.refused(&refusal);
        if let (TooMuch::Rate(wait), true) = (too_much, over.is_some_and(|over| over.retry_after)) {
            let seconds = wait.as_nanos().div_ceil(1_000_000_000);
            reply.headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        reply
    }

    fn too_big(&self, request: &Request, length: usize) -> Option<Refusal> {
        if self.policy.body_cap.is_some_and(|most| length > most) {
            return Some(size::BODY.refusal(&Particulars::default()));
        }
        let cap = self.policy.batch_cap.filter(|cap| !request.alone && request.calls.len() > cap.members)?;
        match cap.more {
            BigBatch::Refused(wording) => {
                Some(wording.refusal(&Particulars { limit: cap.members as u64, ..Particulars::default() }))
            }
            BigBatch::Dropped => None,
        }
    }

    fn fail(&self, fault: Fault, request: &Request, dice: Dice, members: &[Option<TooMuch>]) -> Reply {
        let lost = |end| Reply { end, ..Reply::new(200, "application/json", "") };
        match fault {
            Fault::TooManyRequests => request.refused(&rate::ALCHEMY.refusal(&Particulars::default())),
            Fault::InternalError => Reply::new(500, "text/plain", "internal error"),
            Fault::BadGateway => Reply::page(502, "502 Bad Gateway"),
            Fault::Unavailable => Reply::page(503, "503 Service Temporarily Unavailable"),
            Fault::GatewayTimeout => Reply::new(504, "text/plain", ""),
            Fault::CutBody => {
                let reply = self.answer(request, dice, members);
                Reply { end: End::Broken { after: reply.body.len() / 2 }, ..reply }
            }
            Fault::HalfBody => {
                let mut reply = self.answer(request, dice, members);
                reply.body.truncate(reply.body.len() / 2);
                reply
            }
            Fault::EmptyBody => lost(End::Whole),
            Fault::Html => Reply::page(200, "Just a moment..."),
            Fault::Nameless => {
                let error = RpcError::new(-32603, "Internal error");
                Reply::json(200, &envelope(&Value::Null, &Err(error)))
            }
            Fault::Reset => lost(End::Reset),
            Fault::Hang => lost(End::Never),
        }
    }

    /// Answers every call; `members` says of a batch's which are over a limit.
    fn answer(&self, request: &Request, dice: Dice, members: &[Option<TooMuch>]) -> Reply {
        let behind = match self.policy.second_head_lag {
            Some(lag) if dice.roll(Matter::Node) % 2 == 1 => lag,
            _ => self.policy.head_lag,
        };
        let view = self.chain.view_at(self.chain.head().saturating_sub(behind));
        if request.alone {
            let [call] = request.calls.as_slice() else {
                let error = RpcError::new(-32700, "parse error");
                return Reply::json(200, &envelope(&Value::Null, &Err(error)));
            };
            return match self.answer_call(&view, dice, call) {
                Ok(result) => Reply::json(200, &envelope(&call["id"], &Ok(result))),
                Err(refusal) => request.refused(&refusal),
            };
        }
        if request.calls.is_empty() {
            return Reply::json(200, &envelope(&Value::Null, &Err(RpcError::new(-32600, "empty batch"))));
        }
        let answered = self.policy.batch_cap.map_or(usize::MAX, |cap| cap.members);
        let member = |(at, call): (usize, &Value)| {
            let over = members.get(at).copied().flatten().map(|too_much| {
                let limits = self.account.limits();
                let over = match too_much {
                    TooMuch::Rate(_) => limits.per_second.map(|rate| rate.over),
                    TooMuch::Quota => limits.quota.map(|quota| quota.over),
                };
                self.over_refusal(too_much, over)
            });
            let answer = match over {
                Some(refusal) => Err(refusal),
                None => self.answer_call(&view, dice, call),
            };
            envelope(&call["id"], &answer.map_err(|refusal| refusal.error))
        };
        // In a batch each member has its own error, and the whole has none.
        Reply::json(200, &request.calls.iter().take(answered).enumerate().map(member).collect())
    }

    fn answer_call(&self, view: &View<'_>, dice: Dice, call: &Value) -> Result<Value, Refusal> {
        let policy = &self.policy;
        let Some(method) = call["method"].as_str() else {
            return Err(RpcError::new(-32600, "invalid request").into());
        };
        let params = &call["params"];
        if let Some((_, wording)) = policy.refused_methods.iter().find(|(refused, _)| *refused == method) {
            return Err(wording.refusal(&Particulars::default()));
        }
        match (method, policy.claims_chain_id) {
            ("eth_chainId", Some(claimed)) => return Ok(quantity(claimed)),
            ("net_version", Some(claimed)) => return Ok(json!(claimed.to_string())),
            ("eth_getLogs", _) => return scan::scan(policy, view, dice, params),
            ("eth_getTransactionReceipt", _) => return scan::receipt(policy, view, params),
            ("eth_getBlockReceipts", _) => return scan::block_receipts(policy, view, params),
            _ => {}
        }
        if let Some(archive) = policy.state_from
            && let Some(block) = state_block(view, method, params)
            && block.number < archive.start.block(view.head())
        {
            return match archive.before {
                Absent::Refused(wording) => Err(wording.refusal(&Particulars::default())),
                Absent::Empty => Ok(json!("0x")),
            };
        }
        if method == "eth_call" {
            return self.answer_eth_call(view, params);
        }
        let mut answer = view.answer(method, params)?;
        let time = answer["timestamp"].as_str().and_then(|time| time.strip_prefix("0x"));
        if let Some(time) = time.and_then(|time| u64::from_str_radix(time, 16).ok()) {
            answer["timestamp"] = quantity(time + policy.late_headers);
        }
        Ok(answer)
    }

    fn answer_eth_call(&self, view: &View<'_>, params: &Value) -> Result<Value, Refusal> {
        self.refuse_call(params)?;
        if self.policy.empty_deployless && params[0]["to"].is_null() {
            return Ok(json!("0x"));
        }
        let answer = if self.policy.ignores_overrides {
            view.answer("eth_call", &json!([params[0], params[1]]))
        } else {
            view.answer("eth_call", params)
        };
        answer.map_err(|error| {
            let data = error.data.filter(|_| !self.policy.bare_reverts);
            RpcError { data, ..error }.into()
        })
    }

    fn refuse_call(&self, params: &Value) -> Result<(), Refusal> {
        if self.policy.no_overrides && !params[2].is_null() {
            return Err(size::NO_OVERRIDES.refusal(&Particulars::default()));
        }
        if self.policy.no_deployless && params[0]["to"].is_null() {
            return Err(size::NO_DEPLOYLESS.refusal(&Particulars::default()));
        }
        let plain = self.policy.batch_calls.map(|most| (most, &size::GAS));
        for (most, wording) in plain.into_iter().chain(self.policy.call_cap) {
            let wording: &'static Wording = wording;
            let calls = calls_in_batch(params);
            if calls > most {
                let (asked, limit) = (calls as u64, most as u64);
                return Err(wording.refusal(&Particulars { asked, limit, ..Particulars::default() }));
            }
        }
        Ok(())
    }
}

/// What was let in: everything, some members of a batch, or nothing.
enum Admitted {
    /// With what was set aside for it.
    All(Slip),
    /// With what was set aside, without the members that have a reason here.
    Members(Slip, Vec<Option<TooMuch>>),
    /// For this reason, told so.
    None(TooMuch, Option<Over>),
}

fn cost(prices: &Prices, call: &Value) -> Cost {
    prices.of(call["method"].as_str().unwrap_or_default())
}

/// A request as it was read.
struct Request {
    /// Its calls; none when it is no JSON.
    calls: Vec<Value>,
    /// Whether it is one call, and no batch.
    alone: bool,
}

impl Request {
    fn read(body: &[u8]) -> Self {
        match serde_json::from_slice(body) {
            Ok(Value::Array(calls)) => Self { calls, alone: false },
            Ok(call) => Self { calls: vec![call], alone: true },
            Err(_) => Self { calls: Vec::new(), alone: true },
        }
    }

    /// A digest of what is asked for, without ids.
    fn content(&self, body: &[u8]) -> u64 {
        if self.calls.is_empty() {
            return digest(body);
        }
        let mut text = String::new();
        for call in &self.calls {
            text.push_str(call["method"].as_str().unwrap_or_default());
            text.push_str(&call["params"].to_string());
        }
        digest(text.as_bytes())
    }

    /// One refusal for all of it. A batch gets one object, as from a gateway that did not look inside.
    fn refused(&self, refusal: &Refusal) -> Reply {
        if let Some(bare) = refusal.bare {
            return Reply::new(refusal.status, "application/json", bare);
        }
        let id = match self.calls.as_slice() {
            [call] if self.alone => call["id"].clone(),
            _ => Value::Null,
        };
        Reply::json(refusal.status, &envelope(&id, &Err(refusal.error.clone())))
    }
}

fn envelope(id: &Value, answer: &Result<Value, RpcError>) -> Value {
    match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() }),
    }
}

/// Number of calls in a Multicall3 batch, deployed or brought along; another call counts as one.
fn calls_in_batch(params: &Value) -> usize {
    let text = |name: &str| params[0][name].as_str();
    let Some(data) = text("input").or_else(|| text("data")).and_then(|data| data.parse::<Bytes>().ok())
    else {
        return 1;
    };
    let call_data = match text("to") {
        None => multicall::deployless_call_data(&data),
        Some(to) => (to.parse::<Address>() == Ok(MULTICALL3)).then_some(&data[..]),
    };
    call_data
        .and_then(|data| IMulticall3::aggregate3Call::abi_decode(data).ok())
        .map_or(1, |batch| batch.calls.len())
}
