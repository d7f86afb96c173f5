//! December 2024 as a bench needs it: every chain of the month with its real number of blocks, [`World`] with the markets
//! on them, [`LineUp`] with the providers in front, and [`round_robin`] with the algorithm that the project started from.
//!
//! Block counts are those of `rpc_budget.md` section 2: exact for the OP chains, calibrated for Polygon and Cronos,
//! nominal for the others. Numbers and times of the months before are near the truth and do not matter.

pub mod lineup;
pub mod round_robin;
pub mod world;

use crate::simchain::{ChainError, Clock, ClockError, SimChain};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use lineup::LineUp;
pub use world::{Place, World};

/// Midnight in New York on 2024-12-01, Unix seconds.
pub const START: u64 = 1_733_029_200;
/// Midnight in New York on 2025-01-01.
pub const END: u64 = START + DAYS * DAY;
/// Days of the month. New York changed no clock in it.
pub const DAYS: u64 = 31;
/// Seconds of a day.
pub const DAY: u64 = 86_400;

/// The date of a day of the month, counted from zero.
pub fn date(day: u64) -> String {
    format!("2024-12-{:02}", day + 1)
}

/// What a run over days of the month has read, whoever read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// CSU-days.
    pub tasks: u64,
    /// CSU-days of which everything was read.
    pub whole_tasks: u64,
    /// Blocks that were to be read, once for each CSU.
    pub blocks: u64,
    /// Those that were not.
    pub blocks_unread: u64,
    /// Snapshots that are not there.
    pub snapshots_lost: u64,
    /// Liquidations found.
    pub found: BTreeSet<Place>,
    /// How long it took, by tokio's clock.
    pub took: Duration,
}

impl Reading {
    /// Adds what was read at the same time.
    pub fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.whole_tasks += other.whole_tasks;
        self.blocks += other.blocks;
        self.blocks_unread += other.blocks_unread;
        self.snapshots_lost += other.snapshots_lost;
        self.found.extend(other.found);
        self.took = self.took.max(other.took);
    }
}

/// A chain in that month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecemberChain {
    /// Name, as in the registry.
    pub name: &'static str,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Unix seconds of block 0.
    pub genesis: u64,
    /// First block of the month, at [`START`].
    pub first: u64,
    /// Blocks of the month.
    pub blocks: u64,
    /// CSUs that the plan counted on it.
    pub csus: u64,
}

const fn chain(
    name: &'static str,
    chain_id: u64,
    genesis: u64,
    first: u64,
    blocks: u64,
    csus: u64,
) -> DecemberChain {
    DecemberChain { name, chain_id, genesis, first, blocks, csus }
}

/// The chains of the month.
pub static CHAINS: &[DecemberChain] = &[
    chain("ethereum", 1, 0, 21_306_000, 222_270, 9),
    chain("arbitrum", 42_161, 1_622_240_000, 280_300_000, 10_713_600, 6),
    chain("base", 8_453, 1_686_789_347, 23_119_927, 1_339_200, 7),
    chain("optimism", 10, 1_610_639_500, 128_715_212, 1_339_200, 4),
    chain("polygon", 137, 1_590_824_836, 64_900_000, 1_232_870, 4),
    chain("binance", 56, 1_587_390_414, 44_500_000, 892_180, 3),
    chain("avalanche", 43_114, 0, 53_800_000, 1_373_610, 2),
    chain("linea", 59_144, 1_688_400_000, 12_800_000, 1_164_670, 1),
    chain("xdai", 100, 0, 37_300_000, 522_350, 1),
    chain("scroll", 534_352, 1_696_917_600, 11_700_000, 892_800, 1),
    chain("cronos", 25, 1_636_400_000, 17_000_000, 469_340, 3),
    chain("flare", 14, 0, 33_900_000, 1_409_880, 1),
    chain("meter", 82, 1_593_600_000, 70_000_000, 1_071_360, 1),
];

impl DecemberChain {
    /// The chain of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        CHAINS.iter().find(|chain| chain.name == name)
    }

    /// Last block of the month.
    pub fn last(&self) -> u64 {
        self.first + self.blocks - 1
    }

    /// The blocks of a day of the month, counted from zero.
    pub fn day(&self, day: u64) -> RangeInclusive<u64> {
        let at = |day: u64| self.first + (self.blocks * day).div_ceil(DAYS);
        at(day)..=at(day + 1) - 1
    }

    /// How many blocks these days have.
    pub fn blocks_of(&self, days: RangeInclusive<u64>) -> u64 {
        self.day(*days.end()).end() + 1 - self.day(*days.start()).start()
    }

    /// When its blocks were made, with a day before the month and a day after it at the same pace.
    ///
    /// # Errors
    /// None for the chains here.
    pub fn clock(&self) -> Result<Clock, ClockError> {
        let a_day = self.blocks / DAYS;
        let end = self.first + self.blocks;
        Clock::sharing_seconds([
            (0, self.genesis),
            (self.first - a_day, START - DAY),
            (self.first, START),
            (end, END),
            (end + a_day, END + DAY),
        ])
    }

    /// The chain from its beginning to the day after the month, without logs or contracts. Its size does not depend on its
    /// number of blocks.
    ///
    /// # Errors
    /// None for the chains here.
    pub fn chain(&self) -> Result<SimChain, ChainError> {
        let unknown =
            |_| ChainError::Clock { known_first: 0, known_last: 0, first: self.first, last: self.last() };
        let clock = self.clock().map_err(unknown)?;
        SimChain::new(self.chain_id, clock.first()..=clock.last(), clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_has_the_blocks_of_the_plan() {
        // rpc_budget.md section 2: one filter a chain at 10 and 10,000 blocks, and one filter a CSU at 10.
        let calls = |blocks: u64| CHAINS.iter().map(|chain| chain.blocks.div_ceil(blocks)).sum::<u64>();
        assert_eq!((calls(10), calls(10_000)), (2_264_333, 2_271));
        let by_csu: u64 = CHAINS.iter().map(|chain| chain.csus * chain.blocks.div_ceil(10)).sum();
        assert!((9_780_000..9_790_000).contains(&by_csu), "{by_csu}");
        assert_eq!(CHAINS.iter().map(|chain| chain.csus).sum::<u64>(), 43);
    }

    #[test]
    fn the_month_s_edges_lie_where_they_should_on_every_chain() {
        for december in CHAINS {
            let chain = december.chain().unwrap();
            let time = |number| chain.header(number).unwrap().timestamp;
            assert_eq!(time(december.first), START, "{}", december.name);
            assert!(time(december.first - 1) < START, "{}", december.name);
            assert!(time(december.last()) < END, "{}", december.name);
            assert_eq!(time(december.last() + 1), END, "{}", december.name);
            assert_eq!(DecemberChain::find(december.name), Some(december));
            assert_eq!(time(0), december.genesis, "{}", december.name);
        }
    }

    #[test]
    fn the_days_tile_the_month_and_begin_at_midnight() {
        for december in CHAINS {
            let chain = december.chain().unwrap();
            let time = |number| chain.header(number).unwrap().timestamp;
            let mut next = december.first;
            for day in 0..DAYS {
                let blocks = december.day(day);
                assert_eq!(*blocks.start(), next, "{} day {day}", december.name);
                assert!(time(next) >= START + day * DAY && time(next - 1) < START + day * DAY);
                next = blocks.end() + 1;
            }
            assert_eq!(next, december.last() + 1);
        }
    }
}
