//! The devnet: local chains with real contracts, on which a fixed story is played: two with Aave V3.0.2, one with Venus,
//! a Compound III of our own and Morpho Blue.
//!
//! The story fills the four New York days of the demo (2024-11-02 to 2024-11-05, of which 2024-11-03 has 25 hours)
//! with deposits, loans and liquidations at exact times, so that every answer lendlake should give is known, and known
//! by another road than lendlake's own (see [`expected`]).
//!
//! - [`artifacts`] fetches anvil and the contracts from npm, [`anvil`] runs a node, [`driver`] mines.
//! - [`aave`] sets up a market, [`scenario`] plays the story of its two chains.
//! - [`venus`], [`comet`] and [`morpho`] set up the others, [`families`] plays the story of their chain.
//! - [`expected`] writes down the answers, [`registry`] the facts.
//! - [`story`] is the same for any family: a chain of three days, compiled contracts ([`solidity`]), answers from receipts.
//!
//! Everything is pinned: accounts, nonces, order, gas prices and times. Two runs give the same block hashes.

pub mod aave;
pub mod abi;
pub mod anvil;
pub mod artifacts;
pub mod comet;
pub mod decimal;
pub mod driver;
pub mod expected;
pub mod expected_families;
pub mod families;
pub mod morpho;
pub mod registry;
pub mod rpc;
pub mod scenario;
pub mod solidity;
pub mod story;
pub mod venus;

use std::path::Path;

use alloy_primitives::Address;
use anyhow::{Context, Result, anyhow};

use self::aave::Market;
use self::anvil::Anvil;
use self::artifacts::Artifacts;
use self::driver::Driver;
use self::families::Families;

/// The calendar of a chain: block `n` has the timestamp `genesis + n * block_seconds`, without exception.
#[derive(Debug)]
pub struct ChainSpec {
    /// Name in the registry.
    pub name: &'static str,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Timestamp of block 0.
    pub genesis: u64,
    /// Seconds between blocks.
    pub block_seconds: u64,
}

impl ChainSpec {
    /// The first block whose timestamp is `time` or later.
    pub fn first_block_at(&self, time: u64) -> u64 {
        time.saturating_sub(self.genesis).div_ceil(self.block_seconds)
    }

    /// The timestamp of a block.
    pub fn time_of(&self, block: u64) -> u64 {
        self.genesis + block * self.block_seconds
    }
}

/// A chain that has a block exactly at New York's midnight (2024-11-01 12:00:00 UTC, every 180 s).
pub static DEVNET_A: ChainSpec =
    ChainSpec { name: "devnet_a", chain_id: 900_001, genesis: 1_730_462_400, block_seconds: 180 };

/// A chain that has no block at any midnight (2024-11-01 12:01:00 UTC, every 240 s).
pub static DEVNET_B: ChainSpec =
    ChainSpec { name: "devnet_b", chain_id: 900_002, genesis: 1_730_462_460, block_seconds: 240 };

/// A day of the demo in the zone America/New_York.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// Its date.
    pub date: &'static str,
    /// Its first second, as a Unix time.
    pub start: u64,
    /// The first second after it.
    pub end: u64,
}

/// 06:00 to 07:00 UTC on 2024-11-03: the second of the two hours that New York's clocks call 01:00.
pub(crate) const REPEATED_HOUR: std::ops::Range<u64> = 1_730_613_600..1_730_617_200;

/// The days of the demo, written out rather than computed: a fault in lendlake's zones must not hide here.
pub const DAYS: [Day; 4] = [
    // 04:00 UTC to 04:00 UTC (summer time)
    Day { date: "2024-11-02", start: 1_730_520_000, end: 1_730_606_400 },
    // 04:00 UTC to 05:00 UTC: 25 hours
    Day { date: "2024-11-03", start: 1_730_606_400, end: 1_730_696_400 },
    Day { date: "2024-11-04", start: 1_730_696_400, end: 1_730_782_800 },
    Day { date: "2024-11-05", start: 1_730_782_800, end: 1_730_869_200 },
];

/// Blocks mined after the last day. Anvil's `finalized` block is 64 behind the head.
pub const BLOCKS_AFTER_THE_END: u64 = 96;

/// A chain on which the story has been played; the node runs until this is dropped.
#[derive(Debug)]
pub struct Played {
    /// The chain.
    pub spec: &'static ChainSpec,
    /// The node.
    pub node: Anvil,
    /// What was deployed.
    pub market: Market,
    /// The last block.
    pub head: u64,
    /// Every contract of the chain, proxies and tokens included.
    pub contracts: Vec<Address>,
}

/// The demo's chains with their stories played.
#[derive(Debug)]
pub struct Demo {
    /// The two with Aave V3.
    pub aave: [Played; 2],
    /// The one with three other families.
    pub families: Families,
}

/// A chain of the demo as anyone may look at it.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// The chain's calendar.
    pub spec: &'static ChainSpec,
    /// The node.
    pub node: &'a Anvil,
    /// The last block.
    pub head: u64,
    /// The first block with Multicall3.
    pub multicall3_block: u64,
    /// Every contract of the chain, proxies and tokens included.
    pub contracts: &'a [Address],
}

impl Demo {
    /// The chains, in order of name.
    pub fn chains(&self) -> [Chain<'_>; 3] {
        let told = &self.families.told;
        let [a, b] = self.aave.each_ref().map(|played| Chain {
            spec: played.spec,
            node: &played.node,
            head: played.head,
            multicall3_block: played.market.multicall3_block,
            contracts: &played.contracts,
        });
        let c = Chain {
            spec: told.spec,
            node: &told.node,
            head: told.head(),
            multicall3_block: told.multicall3_block,
            contracts: &told.contracts,
        };
        [a, b, c]
    }
}

/// Plays the whole story on all chains, side by side.
///
/// # Errors
/// When a node does not start or a step of the story fails; the message names the chain and the step.
pub fn play(artifacts: &Artifacts, states: &Path) -> Result<Demo> {
    std::thread::scope(|scope| {
        let families =
            scope.spawn(move || families::play(artifacts, states).context("the story of devnet_c"));
        let chains =
            [&DEVNET_A, &DEVNET_B].map(|spec| scope.spawn(move || play_one(spec, artifacts, states)));
        let [a, b] = chains.map(|chain| {
            chain.join().map_err(|_| anyhow!("the thread of a chain panicked")).and_then(|played| played)
        });
        let families = families.join().map_err(|_| anyhow!("the thread of a chain panicked"))??;
        Ok(Demo { aave: [a?, b?], families })
    })
}

fn play_one(spec: &'static ChainSpec, artifacts: &Artifacts, states: &Path) -> Result<Played> {
    let node = Anvil::start(artifacts.anvil(), spec, states)?;
    let mut driver = Driver::new(node.rpc(), spec)?;
    let market = scenario::play(&mut driver, artifacts).with_context(|| {
        format!("the story of {} (anvil's last lines:\n{})", spec.name, node.last_words())
    })?;
    let end = DAYS.iter().map(|d| d.end).max().context("no days")?;
    driver.mine_to(spec.first_block_at(end) + BLOCKS_AFTER_THE_END)?;
    let mut contracts = driver.deployed().to_vec();
    contracts.extend(market.proxies());
    Ok(Played { spec, market, head: driver.head(), contracts, node })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_join_and_the_third_of_november_has_25_hours() {
        for pair in DAYS.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
        assert_eq!(DAYS.map(|d| (d.end - d.start) / 3600), [24, 25, 24, 24]);
    }

    #[test]
    fn the_days_are_new_yorks() {
        for day in DAYS {
            let date: jiff::civil::Date = day.date.parse().unwrap();
            let start = date.in_tz("America/New_York").unwrap();
            assert_eq!(start.timestamp().as_second(), i64::try_from(day.start).unwrap());
        }
    }

    #[test]
    fn only_one_chain_has_blocks_at_midnight() {
        for day in DAYS {
            assert_eq!(DEVNET_A.time_of(DEVNET_A.first_block_at(day.start)), day.start);
            assert_ne!(DEVNET_B.time_of(DEVNET_B.first_block_at(day.start)), day.start);
        }
    }
}
