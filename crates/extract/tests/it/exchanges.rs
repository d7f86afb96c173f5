//! What was said to simulated providers, and what they said.

use alloy_primitives::Address;
use extract::rpc::wire::InProcess;
use lake::span::BlockSpan;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// All that was said to the providers of a site, and what they said, in the order of the questions.
pub(crate) type Exchanges = Arc<Mutex<Vec<Exchange>>>;

/// A request with its reply.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) label: String,
    body: Value,
    /// Status and body; none while it is on its way, or when the connection broke.
    reply: Option<(u16, Vec<u8>)>,
    /// Whether nothing is on its way any more.
    pub(crate) ended: bool,
}

impl Exchange {
    /// Whether an error came in place of a result.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = |(status, body): &(u16, Vec<u8>)| {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            *status != 200 || body["result"].is_null()
        };
        self.reply.as_ref().is_some_and(refused)
    }

    /// What it asks for, without its ids: who asks the same twice has the same here.
    pub(crate) fn question(&self) -> String {
        let calls = self.body.as_array().cloned().unwrap_or_else(|| vec![self.body.clone()]);
        let question = |call: &Value| format!("{} {}", call["method"], call["params"]);
        format!("{}: {}", self.label, calls.iter().map(question).collect::<Vec<_>>().join(", "))
    }

    /// The log query that it is.
    pub(crate) fn scan(&self) -> Option<Scanned> {
        Scanned::read(&self.body)
    }
}

/// A provider's carrier that writes down what it carries.
pub(crate) fn overheard(label: String, carrier: InProcess, exchanges: Exchanges) -> InProcess {
    Arc::new(move |body| {
        let (exchanges, carried) = (Arc::clone(&exchanges), carrier(body.clone()));
        let body = serde_json::from_slice(&body).unwrap();
        let asked = Exchange { label: label.clone(), body, reply: None, ended: false };
        Box::pin(async move {
            let nth = {
                let mut exchanges = exchanges.lock().unwrap();
                exchanges.push(asked);
                exchanges.len() - 1
            };
            let carried = carried.await;
            let exchange = &mut exchanges.lock().unwrap()[nth];
            exchange.reply = carried.as_ref().ok().map(|(status, _, body)| (*status, body.clone()));
            exchange.ended = true;
            carried
        })
    })
}

/// A log query as it came to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) span: BlockSpan,
    pub(crate) addresses: Vec<Address>,
}

impl Scanned {
    fn read(call: &Value) -> Option<Self> {
        let filter = &call["params"][0];
        let block =
            |name: &str| u64::from_str_radix(filter[name].as_str().unwrap().trim_start_matches("0x"), 16);
        (call["method"] == "eth_getLogs").then(|| Self {
            span: BlockSpan::new(block("fromBlock").unwrap(), block("toBlock").unwrap()).unwrap(),
            // A witness that asks for any log of a block names no address.
            addresses: serde_json::from_value(filter["address"].clone()).unwrap_or_default(),
        })
    }
}
