//! The simple faults of a provider, each of which can be switched on alone.

use super::{Exchange, Provider, Reply};
use crate::simchain::rpc::{LogQuery, RpcError, log_json, quantity};
use crate::simchain::{MULTICALL3, SimChain};
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolCall;
use lake::bronze::RawLog;
use protocols::multicall::IMulticall3;
use serde_json::{Value, json};

/// How a request fails without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 429.
    TooManyRequests,
    /// HTTP 500.
    InternalError,
    /// HTTP 200 and half of the answer, then the connection breaks.
    CutBody,
    /// HTTP 200 and a web page.
    Html,
}

/// A log that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayLog {
    /// Of another contract.
    OtherContract,
    /// Of the block after the range.
    OtherBlock,
}

/// A provider with simple faults. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Most blocks of an `eth_getLogs`; more is refused in the words of Alchemy's free plan.
    pub log_span: Option<u64>,
    /// Every so many requests one fails.
    pub fail_every: Option<(u64, Fault)>,
    /// The chain id it claims.
    pub claims_chain_id: Option<u64>,
    /// Logs of earlier blocks are silently not there.
    pub no_logs_before: Option<u64>,
    /// Puts a log into every answer that the filter does not ask for.
    pub stray_log: Option<StrayLog>,
    /// Gives the first log of every answer twice.
    pub repeats_log: bool,
    /// Most calls of a Multicall3 batch; more runs out of gas.
    pub batch_calls: Option<usize>,
}

impl Policy {
    /// A provider without faults.
    pub fn honest() -> Self {
        Self::default()
    }

    /// A provider that refuses log scans of more than `blocks` blocks.
    pub fn capped(blocks: u64) -> Self {
        Self { log_span: Some(blocks), ..Self::default() }
    }

    /// A provider of which every `nth` request fails.
    pub fn failing(nth: u64, fault: Fault) -> Self {
        Self { fail_every: Some((nth, fault)), ..Self::default() }
    }

    fn answer(&self, chain: &SimChain, method: &str, params: &Value) -> Result<Value, Refusal> {
        match method {
            "eth_chainId" if self.claims_chain_id.is_some() => Ok(json!(self.claims_chain_id.map(quantity))),
            "eth_getLogs" => self.logs(chain, params),
            "eth_call" => {
                if self.batch_calls.is_some_and(|most| calls_in_batch(params) > most) {
                    return Err(RpcError::new(-32000, "out of gas").into());
                }
                Ok(chain.answer(method, params)?)
            }
            _ => Ok(chain.answer(method, params)?),
        }
    }

    fn logs(&self, chain: &SimChain, params: &Value) -> Result<Value, Refusal> {
        let mut query = LogQuery::read(chain, params)?;
        if let Some(span) = self.log_span
            && query.blocks() > span
        {
            return Err(Refusal { status: 400, error: alchemy_span_refusal(&query, span) });
        }
        let (asked_from, asked_to) = (query.from, query.to);
        query.from = query.from.max(self.no_logs_before.unwrap_or(0));
        let mut logs: Vec<RawLog> = chain.matching(&query).cloned().collect();
        if self.repeats_log && !logs.is_empty() {
            logs.insert(1, logs[0].clone());
        }
        let topic = query.topics.first().and_then(|topics| topics.first()).copied().unwrap_or_default();
        let own = query.addresses.first().copied().unwrap_or_default();
        logs.extend(self.stray_log.map(|stray| match stray {
            StrayLog::OtherContract => invented_log(chain, Address::repeat_byte(0xee), topic, asked_from),
            StrayLog::OtherBlock => invented_log(chain, own, topic, asked_to + 1),
        }));
        Ok(logs.iter().map(|log| log_json(chain, log)).collect())
    }
}

/// An error answer with the HTTP status that goes with it when it stands alone.
struct Refusal {
    status: u16,
    error: RpcError,
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self { status: 200, error }
    }
}

/// As recorded of Alchemy's free plan.
fn alchemy_span_refusal(query: &LogQuery, span: u64) -> RpcError {
    let (from, to) = (query.from, query.from + span.saturating_sub(1));
    RpcError::new(
        -32600,
        format!(
            "Under the Free tier plan, you can make eth_getLogs requests with up to a {span} block range. Based on \
             your parameters, this block range should work: [{from:#x}, {to:#x}]. Upgrade to PAYG for expanded \
             block range."
        ),
    )
}

fn invented_log(chain: &SimChain, address: Address, topic: B256, block_number: u64) -> RawLog {
    RawLog {
        address,
        topics: vec![topic],
        data: Bytes::new(),
        block_number,
        block_hash: chain.hash(block_number),
        transaction_hash: B256::repeat_byte(0xee),
        transaction_index: 0,
        log_index: 0,
    }
}

/// Number of calls in a Multicall3 batch; another call counts as one.
fn calls_in_batch(params: &Value) -> usize {
    let text = |name: &str| params[0][name].as_str();
    if text("to").and_then(|to| to.parse().ok()) != Some(MULTICALL3) {
        return 1;
    }
    text("input")
        .or_else(|| text("data"))
        .and_then(|data| data.parse::<Bytes>().ok())
        .and_then(|data| IMulticall3::aggregate3Call::abi_decode(&data).ok())
        .map_or(1, |batch| batch.calls.len())
}

impl Provider for Policy {
    fn reply(&self, exchange: &Exchange<'_>) -> Reply {
        let fault =
            self.fail_every.filter(|(every, _)| exchange.nth.is_multiple_of(*every)).map(|(_, fault)| fault);
        match fault {
            None => self.answer_body(exchange),
            Some(Fault::TooManyRequests) => {
                let error =
                    RpcError::new(429, "Your app has exceeded its compute units per second capacity.");
                Reply::json(429, &envelope(&Value::Null, &Err(error)))
            }
            Some(Fault::InternalError) => Reply {
                status: 500,
                content_type: "text/plain",
                body: b"internal error".to_vec(),
                breaks_after: None,
            },
            Some(Fault::CutBody) => {
                let reply = self.answer_body(exchange);
                Reply { breaks_after: Some(reply.body.len() / 2), ..reply }
            }
            Some(Fault::Html) => Reply {
                status: 200,
                content_type: "text/html",
                body: b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>".to_vec(),
                breaks_after: None,
            },
        }
    }
}

impl Policy {
    fn answer_body(&self, exchange: &Exchange<'_>) -> Reply {
        let one = |call: &Value| -> (u16, Value) {
            let (status, answer) = match call["method"].as_str() {
                None => (200, Err(RpcError::new(-32600, "invalid request"))),
                Some(method) => match self.answer(exchange.chain, method, &call["params"]) {
                    Ok(result) => (200, Ok(result)),
                    Err(refusal) => (refusal.status, Err(refusal.error)),
                },
            };
            (status, envelope(&call["id"], &answer))
        };
        match serde_json::from_slice::<Value>(exchange.body) {
            // In a batch each member has its own error, and the whole has none.
            Ok(Value::Array(calls)) => Reply::json(200, &calls.iter().map(|call| one(call).1).collect()),
            Ok(call) => {
                let (status, answer) = one(&call);
                Reply::json(status, &answer)
            }
            Err(_) => Reply::json(200, &envelope(&Value::Null, &Err(RpcError::new(-32700, "parse error")))),
        }
    }
}

fn envelope(id: &Value, answer: &Result<Value, RpcError>) -> Value {
    match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() }),
    }
}
