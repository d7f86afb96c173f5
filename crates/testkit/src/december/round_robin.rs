//! The algorithm that this project started from: each CSU by itself, ten blocks a call, the keys in turn.
//!
//! It is the project's first plan with everything read in its favour, on the same chains and providers as the engine.
//! What the plan says, and what is made of it here:
//!
//! - *Each CSU and day is a task; a day's blocks are read ten at a time, one filter a CSU; one call for the snapshot; five
//!   workers.* So it is here. Pools within pools, 25 workers in all, would only be refused more often.
//! - *A day is found by its date and has 7,200 blocks on every chain.* Here a day is the blocks that it had: the plan's
//!   windows would miss most of every chain but one. The search for them costs nothing here.
//! - *Keys in turn, then the chain's public endpoints in order.* So it is here. Those of the plan's public endpoints that
//!   still serve old logs are the chains' own, as in the engine's line-up.
//! - *`web3.py`'s HTTP provider, as it comes.* Five tries at an endpoint after any HTTP error, with 125 ms, 250 ms, 500 ms
//!   and a second between them (`web3/providers/rpc`, version 7); an error in the body is not tried again there.
//! - *A call that everyone refused raises an exception.* The plan does not say what a chunk's is worth; its predecessor
//!   printed it, dropped the chunk and went on, and that reading loses least: the rest of the day is kept.
//! - *No rate limit of its own, no memory of a key that is spent.*

use super::lineup::Operator;
use super::world::{Market, WorldChain};
use super::{LineUp, Reading, World};
use crate::server::Carrier;
use crate::server::limits::Prices;
use alloy_primitives::{Address, B256};
use alloy_sol_types::{SolCall, SolEvent};
use protocols::aave_v3::IPool;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Blocks of a call.
pub const WINDOW: u64 = 10;
/// Workers, as the plan runs it.
pub const WORKERS: usize = 5;
/// Tries of a call at one endpoint.
const TRIES: u32 = 5;
/// Before the second try; then twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(125);

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was read.
    pub reading: Reading,
    /// Log queries that were to be made.
    pub chunks: u64,
    /// Those that nobody answered.
    pub chunks_lost: u64,
}

/// How many keys of so many units a month the calls of these days cost, if Alchemy answers each at its first try.
pub fn keys_needed(world: &World, days: RangeInclusive<u64>, units_per_month: u64) -> u64 {
    let price = |method| Prices::ALCHEMY.of(method).units;
    let (scan, snapshot) = (price("eth_getLogs"), price("eth_call"));
    let chains = world.chains.iter().filter(|chain| LineUp::has_alchemy(chain.of.name));
    let units = chains.map(|chain| {
        let of_day = |day| chain.of.blocks_of(day..=day).div_ceil(WINDOW) * scan + snapshot;
        days.clone().map(of_day).sum::<u64>() * chain.markets.len() as u64
    });
    units.sum::<u64>().div_ceil(units_per_month)
}

/// Runs it over these days of the month, counted from zero, with so many workers. Needs tokio's clock, paused or not.
pub async fn run(world: &World, line_up: &LineUp, days: RangeInclusive<u64>, workers: usize) -> Outcome {
    let started = Instant::now();
    let mut tasks = Vec::new();
    for chain in &world.chains {
        let pool = Arc::new(Pool::new(line_up, chain));
        for market in &chain.markets {
            let market = Arc::new(market.clone());
            for day in days.clone() {
                tasks.push(Task {
                    pool: Arc::clone(&pool),
                    market: Arc::clone(&market),
                    blocks: chain.of.day(day),
                });
            }
        }
    }
    let (tasks, next) = (Arc::new(tasks), Arc::new(AtomicUsize::new(0)));
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (tasks, next, outcome) = (Arc::clone(&tasks), Arc::clone(&next), Arc::clone(&outcome));
        running.spawn(async move {
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let of_task = task.collect().await;
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                outcome.reading.add(of_task.reading);
                outcome.chunks += of_task.chunks;
                outcome.chunks_lost += of_task.chunks_lost;
            }
        });
    }
    running.join_all().await;
    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
    outcome.reading.took = started.elapsed();
    outcome
}

/// One CSU and day.
struct Task {
    pool: Arc<Pool>,
    market: Arc<Market>,
    blocks: RangeInclusive<u64>,
}

impl Task {
    async fn collect(&self) -> Outcome {
        let (first, last) = (*self.blocks.start(), *self.blocks.end());
        let mut outcome = Outcome::default();
        let mut reading = Reading { tasks: 1, blocks: last + 1 - first, ..Reading::default() };
        let pool = self.market.aave.pool;
        if self.pool.call(&snapshot(pool, last)).await.is_none() {
            reading.snapshots_lost = 1;
        }
        let mut from = first;
        while from <= last {
            let to = last.min(from + WINDOW - 1);
            outcome.chunks += 1;
            match self.pool.call(&logs(pool, from, to)).await {
                Some(Answer::Logs(logs)) => {
                    let places = logs.into_iter().filter_map(|log| log.place());
                    reading
                        .found
                        .extend(places.map(|(block, log_index)| (self.market.csu.clone(), block, log_index)));
                }
                Some(Answer::Other(_)) | None => {
                    outcome.chunks_lost += 1;
                    reading.blocks_unread += to + 1 - from;
                }
            }
            from = to + 1;
        }
        reading.whole_tasks = u64::from(outcome.chunks_lost + reading.snapshots_lost == 0);
        Outcome { reading, ..outcome }
    }
}

/// The endpoints of a chain: keys in turn, then the others in order.
struct Pool {
    keys: Vec<Carrier>,
    fallbacks: Vec<Carrier>,
    turn: AtomicUsize,
}

impl Pool {
    fn new(line_up: &LineUp, chain: &WorldChain) -> Self {
        let of = |official: bool| {
            let endpoints = line_up.of_chain(chain.of.name);
            endpoints
                .filter(|endpoint| (endpoint.operator == Operator::Official) == official)
                .map(super::lineup::Endpoint::carrier)
                .collect::<Vec<_>>()
        };
        Self { keys: of(false), fallbacks: of(true), turn: AtomicUsize::new(0) }
    }

    async fn call(&self, body: &str) -> Option<Answer> {
        if !self.keys.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.keys.len();
            if let Some(answer) = send(&self.keys[turn], body).await {
                return Some(answer);
            }
        }
        for endpoint in &self.fallbacks {
            if let Some(answer) = send(endpoint, body).await {
                return Some(answer);
            }
        }
        None
    }
}

/// A call as `web3.py` makes it.
async fn send(endpoint: &Carrier, body: &str) -> Option<Answer> {
    let mut pause = FIRST_PAUSE;
    for tried in 1..=TRIES {
        match endpoint(body.as_bytes().to_vec()).await {
            Ok((status, _, body)) if status < 400 => {
                let reply: Reply = serde_json::from_slice(&body).ok()?;
                return reply.result;
            }
            Ok(_) | Err(_) if tried < TRIES => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Ok(_) | Err(_) => {}
        }
    }
    None
}

#[derive(Deserialize)]
struct Reply {
    result: Option<Answer>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Logs(Vec<Log>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    block_number: String,
    log_index: String,
}

impl Log {
    fn place(&self) -> Option<(u64, u64)> {
        let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
        Some((number(&self.block_number)?, number(&self.log_index)?))
    }
}

fn logs(pool: Address, from: u64, to: u64) -> String {
    let topic: B256 = IPool::LiquidationCall::SIGNATURE_HASH;
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{{"fromBlock":"{from:#x}","toBlock":"{to:#x}","address":"{pool:#x}","topics":["{topic}"]}}]}}"#
    )
}

fn snapshot(pool: Address, block: u64) -> String {
    let data = alloy_primitives::hex::encode_prefixed(IPool::getReservesListCall {}.abi_encode());
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{{"to":"{pool:#x}","data":"{data}"}},"{block:#x}"]}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::december::world::Place;
    use crate::december::{DAYS, DecemberChain, END, LineUp};
    use crate::server::TokioClock;
    use crate::server::clock::Clock;
    use crate::server::limits::Cost;
    use std::collections::BTreeSet;

    fn world(chain: &str) -> (World, LineUp) {
        let world = World::of(DecemberChain::find(chain)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::at(END));
        let line_up = LineUp::new(&world, 1, &clock);
        (world, line_up)
    }

    /// The first market's task with so many of the crash day's blocks.
    fn task(world: &World, line_up: &LineUp, blocks: u64) -> Task {
        let chain = &world.chains[0];
        let first = *chain.of.day(8).start();
        Task {
            pool: Arc::new(Pool::new(line_up, chain)),
            market: Arc::new(chain.markets[0].clone()),
            blocks: first..=first + blocks - 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_reads_its_blocks_ten_at_a_time_and_finds_what_is_there() {
        let (world, line_up) = world("ethereum");
        let task = task(&world, &line_up, 7_165);
        let started = Instant::now();
        let outcome = task.collect().await;
        let csu = &world.chains[0].markets[0].csu;
        let truth: BTreeSet<Place> =
            world.liquidations(8..=8).into_iter().filter(|place| place.0 == *csu).collect();
        assert!(truth.len() > 20, "{}", truth.len());
        assert!(outcome.reading.found.is_subset(&truth) && outcome.reading.found.len() + 3 > truth.len());
        assert_eq!((outcome.chunks, outcome.chunks_lost, outcome.reading.whole_tasks), (717, 0, 1));
        // One worker asks for less than the key allows, so nothing is refused.
        let bill = line_up.bill();
        assert_eq!((bill.requests(), bill.units(), bill.with_status(200)), (718, 717 * 60 + 26, 718));
        assert_eq!(started.elapsed(), super::super::lineup::LATENCY * 718);
    }

    #[tokio::test(start_paused = true)]
    async fn five_workers_are_refused_and_try_again() {
        let (world, line_up) = world("cronos");
        let outcome = run(&world, &line_up, 8..=8, WORKERS).await;
        let chunks = 3 * world.chains[0].of.blocks_of(8..=8).div_ceil(WINDOW);
        assert_eq!(
            (outcome.reading.tasks, outcome.chunks, outcome.reading.blocks),
            (3, chunks, world.blocks_by_csu(8..=8))
        );
        let bill = line_up.bill();
        assert_eq!(bill.with_status(200) + outcome.chunks_lost + outcome.reading.snapshots_lost, chunks + 3);
        assert_eq!(bill.with_status(200) + bill.with_status(429), bill.requests());
        // Eight calls a second are let in, whatever is sent.
        assert!(
            bill.with_status(200) <= outcome.reading.took.as_secs() * 8 + 16,
            "{:?}",
            outcome.reading.took
        );
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_spent_key_a_chain_without_another_endpoint_is_not_read() {
        let (world, line_up) = world("ethereum");
        line_up.keys[0].admit(1, Cost { units: 30_000_000 - 26 - 3 * 60, throughput: 0 }).unwrap();
        let outcome = task(&world, &line_up, 95).collect().await;
        assert_eq!((outcome.chunks, outcome.chunks_lost, outcome.reading.blocks_unread), (10, 7, 65));
        assert_eq!((outcome.reading.snapshots_lost, outcome.reading.whole_tasks), (0, 0));
        assert_eq!(line_up.bill().requests(), 1 + 3 + 7 * u64::from(TRIES));

        let (world, line_up) = self::world("avalanche");
        line_up.keys[0].admit(1, Cost { units: 30_000_000, throughput: 0 }).unwrap();
        let outcome = task(&world, &line_up, 95).collect().await;
        // Its own endpoint has the logs, but not the state.
        assert_eq!((outcome.chunks_lost, outcome.reading.snapshots_lost), (0, 1));
    }

    #[test]
    fn keys_are_counted_by_the_price_of_the_calls() {
        let world = World::whole().unwrap();
        // rpc_budget.md section 2: 587.0 M units in all, 23.3 M of which for Cronos, Flare and Meter.
        assert_eq!(keys_needed(&world, 0..=DAYS - 1, 30_000_000), 19);
        assert_eq!(keys_needed(&world, 0..=DAYS - 1, 1_000_000), 564);
    }
}
