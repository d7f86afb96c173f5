//! A chain of simulated endpoints for the unit tests of this room.

use crate::rpc::budget::{Purse, Tariff};
use crate::rpc::clock::Clock;
use crate::rpc::pool::Pool;
use crate::rpc::providers::{EndpointConfig, Providers, Reach};
use crate::rpc::secret::Scrubber;
use lake::{Address, B256};
use std::sync::Arc;
use testkit::server::{Policy, Provider, TokioClock};
use testkit::simchain::{self, Emitted, SimChain};

/// The emitter and the topic of the chain's usual logs.
pub(super) const EMITTER: Address = Address::repeat_byte(0xaa);
pub(super) const TOPIC: B256 = B256::repeat_byte(0x11);

/// A log of the usual emitter.
pub(super) fn log(block: u64, log_index: u64) -> Emitted {
    Emitted {
        block,
        tx_index: log_index,
        log_index,
        address: EMITTER,
        topics: vec![TOPIC],
        data: lake::Bytes::new(),
    }
}

/// A pool with the providers behind it, which are labelled `e0`, `e1`, ... and each run by somebody else.
pub(super) struct Simulated {
    pub(super) pool: Pool,
    pub(super) providers: Vec<Arc<Provider>>,
}

/// A chain of blocks 0 to `last` with these logs.
pub(super) fn chain(last: u64, logs: impl IntoIterator<Item = Emitted>) -> Arc<SimChain> {
    let clock = simchain::Clock::every(12, 0..=last, 1_700_000_000).unwrap();
    Arc::new(SimChain::new(7, 0..=last, clock).unwrap().with_logs(logs).unwrap())
}

/// The chain's row in the registry.
pub(super) fn registered() -> lake::registry::Chain {
    lake::registry::Chain {
        name: "sim".into(),
        chain_id: 7,
        native_symbol: "ETH".into(),
        wrapped_native: None,
        is_l2: false,
        launch_date: None,
        block_seconds: 12.0,
        multicall3: None,
        multicall3_block: 0,
        finality_blocks: 0,
        source: "simulated".into(),
        notes: String::new(),
    }
}

/// An endpoint that takes 100 blocks of logs and, if it has a tariff, is paid by it.
pub(super) fn config(nth: usize, reach: Reach, tariff: Option<Tariff>) -> EndpointConfig {
    let label = format!("e{nth}");
    EndpointConfig {
        operator: label.clone(),
        purse: tariff.map(|tariff| Arc::new(Purse::new(&label, tariff, Clock::start()))),
        label,
        chain: "sim".into(),
        reach,
        scrubber: Scrubber::default(),
        log_window: 100,
    }
}

/// Opens a pool over providers of a chain. The first is the cheapest, so it is asked first.
pub(super) async fn open(chain: &Arc<SimChain>, policies: Vec<Policy>) -> Simulated {
    let time: Arc<dyn testkit::server::clock::Clock> = Arc::new(TokioClock::of_day());
    let provider = |(nth, policy): (usize, Policy)| {
        let seed = policy.seed + nth as u64;
        Arc::new(Provider::new(chain, policy.with_seed(seed), &time).keeping_bodies())
    };
    let providers: Vec<Arc<Provider>> = policies.into_iter().enumerate().map(provider).collect();
    let endpoint = |(nth, provider): (usize, &Arc<Provider>)| {
        let tariff = Tariff::by_requests("simulated", 10_000.0 / (nth + 1) as f64);
        config(nth, Reach::InProcess(provider.carrier()), Some(tariff))
    };
    let endpoints = providers.iter().enumerate().map(endpoint).collect();
    let file = Providers { endpoints, ..Providers::default() };
    let lake = lake::Lake::open("memory:///").unwrap();
    let pool = Pool::open(&registered(), &file, &lake, None).await.unwrap();
    Simulated { pool, providers }
}
