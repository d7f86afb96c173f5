//! The providers of `rpc_budget.md` section 2.1 without Infura: Alchemy's free plan on ten chains, and each chain's own
//! endpoint without a key.
//!
//! Every one of them has all logs. Of old state the chains' own endpoints have none, as far as anybody knows; only where
//! there is no other (Cronos, Flare, Meter) are they taken to have it, or there could be no snapshot at all.

use super::World;
use crate::server::clock::Clock;
use crate::server::dialects::{missing, rate, span};
use crate::server::limits::{Account, Limits, Over, Spent};
use crate::server::policy::{Absent, Archive, SpanCap, Start};
use crate::server::presets::Preset;
use crate::server::{Carrier, Policy, Provider};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long every answer takes. The plan counts on 960,480 calls in 8 to 10 hours with 5 workers, 150 to 190 ms each.
pub const LATENCY: Duration = Duration::from_millis(150);

/// Blocks of which an endpoint that is no archive has the state.
const RECENT: u64 = 1_000;

/// Alchemy's chains.
static ALCHEMY: &[&str] = &[
    "ethereum",
    "arbitrum",
    "base",
    "optimism",
    "polygon",
    "binance",
    "avalanche",
    "linea",
    "xdai",
    "scroll",
];

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// Alchemy, with this key, counted from 1.
    Alchemy {
        /// Which key.
        key: usize,
    },
    /// The chain's own endpoint, without a key.
    Official,
}

/// A provider of the line-up.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Label: `alchemy_<chain>_<key>` or `<chain>_official`, as the registry's rows make them.
    pub label: String,
    /// Chain.
    pub chain: &'static str,
    /// Who answers.
    pub operator: Operator,
    /// The provider.
    pub provider: Arc<Provider>,
}

impl Endpoint {
    /// A way to it.
    pub fn carrier(&self) -> Carrier {
        self.provider.carrier()
    }
}

/// The providers of a world.
#[derive(Debug, Clone)]
pub struct LineUp {
    /// By chain in the world's order; the chain's own after those with keys.
    pub endpoints: Vec<Endpoint>,
    /// Alchemy's keys. Each is good for all of Alchemy's chains.
    pub keys: Vec<Arc<Account>>,
}

impl LineUp {
    /// The line-up in front of a world, with so many keys of Alchemy's free plan.
    pub fn new(world: &World, keys: usize, clock: &Arc<dyn Clock>) -> Self {
        let alchemy = preset("alchemy-free");
        let keys: Vec<_> =
            (0..keys).map(|_| Arc::new(Account::new(alchemy.limits, Arc::clone(clock)))).collect();
        let mut endpoints = Vec::new();
        for of in &world.chains {
            let chain = of.of.name;
            if Self::has_alchemy(chain) {
                for (key, account) in (1..).zip(&keys) {
                    let provider = Provider::new(&of.chain, alchemy.clone(), clock).with_account(account);
                    endpoints.push(Endpoint {
                        label: format!("alchemy_{chain}_{key}"),
                        chain,
                        operator: Operator::Alchemy { key },
                        provider: Arc::new(provider),
                    });
                }
            }
            endpoints.extend(official(chain).map(|policy| Endpoint {
                label: format!("{chain}_official"),
                chain,
                operator: Operator::Official,
                provider: Arc::new(Provider::new(&of.chain, policy, clock)),
            }));
        }
        Self { endpoints, keys }
    }

    /// Whether Alchemy serves a chain.
    pub fn has_alchemy(chain: &str) -> bool {
        ALCHEMY.contains(&chain)
    }

    /// The endpoints of a chain.
    pub fn of_chain(&self, chain: &str) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| endpoint.chain == chain)
    }

    /// What was asked and answered so far.
    pub fn bill(&self) -> Bill {
        let mut bill = Bill { keys: self.keys.iter().map(|key| key.spent()).collect(), ..Bill::default() };
        for endpoint in &self.endpoints {
            let tally = endpoint.provider.tally();
            let is_key = endpoint.operator != Operator::Official;
            let who = if is_key { "alchemy".to_owned() } else { endpoint.label.clone() };
            let (calls, requests) = if is_key {
                (&mut bill.alchemy, tally.requests)
            } else {
                (&mut bill.keyless, tally.requests)
            };
            *calls += requests;
            *bill.by_provider.entry(who).or_default() += requests;
            for (method, number) in tally.methods {
                *bill.by_method.entry(method).or_default() += number;
            }
            for (status, number) in tally.statuses {
                *bill.by_status.entry(status).or_default() += number;
            }
        }
        bill
    }
}

/// What a line-up was asked, by its own count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bill {
    /// Requests to Alchemy, refused ones included.
    pub alchemy: u64,
    /// Requests to endpoints without a key, refused ones included.
    pub keyless: u64,
    /// Requests by provider: `alchemy`, or the label of the chain's own endpoint.
    pub by_provider: BTreeMap<String, u64>,
    /// Calls by method.
    pub by_method: BTreeMap<String, u64>,
    /// Replies by HTTP status.
    pub by_status: BTreeMap<u16, u64>,
    /// What each of Alchemy's keys spent.
    pub keys: Vec<Spent>,
}

impl Bill {
    /// Requests in all.
    pub fn requests(&self) -> u64 {
        self.alchemy + self.keyless
    }

    /// Alchemy's compute units.
    pub fn units(&self) -> u64 {
        self.keys.iter().map(|key| key.units).sum()
    }

    /// Replies with this status.
    pub fn with_status(&self, status: u16) -> u64 {
        self.by_status.get(&status).copied().unwrap_or(0)
    }
}

/// A named policy, at the pace of a network.
fn preset(name: &str) -> Policy {
    at_pace(Preset::find(name).map(Preset::policy).unwrap_or_default())
}

fn at_pace(mut policy: Policy) -> Policy {
    policy.latency.usual = LATENCY;
    policy
}

/// A cap whose number nobody published, at what `rpc_budget.md` section 2.1 takes for likely.
fn guessed(cap: SpanCap) -> Policy {
    let limits = Limits::requests_per_second(5, Over::by_status(&rate::PROXYD));
    at_pace(Policy { span_cap: Some(cap), limits, ..Policy::default() })
}

/// What a chain's own endpoint does; Ethereum has none, and those of Polygon and BNB serve no old logs.
fn official(chain: &str) -> Option<Policy> {
    let policy = match chain {
        "arbitrum" => preset("arbitrum"),
        "base" | "optimism" => preset("official-10k"),
        "linea" => preset("linea"),
        "xdai" => preset("gnosis"),
        "avalanche" => preset("avalanche-2048"),
        "cronos" => preset("cronos-2000"),
        "flare" => preset("flare-30"),
        "scroll" => guessed(SpanCap::new(10_000, &span::SCROLL)),
        "meter" => guessed(SpanCap::new(1_000, &span::GETH)),
        _ => return None,
    };
    let recent = Archive { start: Start::Depth(RECENT), before: Absent::Refused(&missing::TRIE) };
    Some(Policy { state_from: ALCHEMY.contains(&chain).then_some(recent), ..policy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::december::DecemberChain;
    use crate::server::ManualClock;
    use serde_json::{Value, json};

    fn line_up(chains: &[&str], keys: usize) -> (World, LineUp) {
        let world = World::of(chains.iter().filter_map(|name| DecemberChain::find(name))).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(crate::december::END));
        let line_up = LineUp::new(&world, keys, &clock);
        (world, line_up)
    }

    fn ask(endpoint: &Endpoint, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        serde_json::from_slice(&endpoint.provider.exchange(body.to_string().as_bytes()).body).unwrap()
    }

    #[test]
    fn every_chain_has_someone_to_ask_for_its_logs_and_for_its_old_state() {
        let world = World::whole().unwrap();
        let hands = Arc::new(ManualClock::at(crate::december::END));
        let clock: Arc<dyn Clock> = hands.clone();
        let line_up = LineUp::new(&world, 1, &clock);
        assert_eq!(line_up.endpoints.len(), 10 + 10);
        for chain in &world.chains {
            hands.advance(Duration::from_secs(1));
            let block = format!("{:#x}", chain.of.first + 100);
            let code = json!([chain.markets[0].aave.pool, block]);
            let has_state =
                |endpoint: &&Endpoint| ask(endpoint, "eth_getCode", code.clone())["result"].is_string();
            assert_eq!(line_up.of_chain(chain.of.name).filter(has_state).count(), 1, "{}", chain.of.name);
            let logs = json!([{ "fromBlock": block, "toBlock": block }]);
            for endpoint in line_up.of_chain(chain.of.name) {
                assert!(
                    ask(endpoint, "eth_getLogs", logs.clone())["result"].is_array(),
                    "{}",
                    endpoint.label
                );
            }
        }
    }

    #[test]
    fn a_key_is_one_on_all_chains_and_the_bill_counts_everyone() {
        let (_, line_up) = line_up(&["ethereum", "base"], 2);
        let labels: Vec<&str> = line_up.endpoints.iter().map(|endpoint| endpoint.label.as_str()).collect();
        let all =
            ["alchemy_ethereum_1", "alchemy_ethereum_2", "alchemy_base_1", "alchemy_base_2", "base_official"];
        assert_eq!(labels, all);
        for endpoint in &line_up.endpoints {
            ask(endpoint, "eth_blockNumber", json!([]));
        }
        let bill = line_up.bill();
        assert_eq!((bill.alchemy, bill.keyless, bill.units()), (4, 1, 40));
        assert_eq!(bill.keys.iter().map(|key| key.let_in).collect::<Vec<_>>(), [2, 2]);
        assert_eq!((bill.by_provider["base_official"], bill.by_method["eth_blockNumber"]), (1, 5));
        assert_eq!(bill.with_status(200), 5);
    }
}
