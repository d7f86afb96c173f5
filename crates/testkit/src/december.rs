//! December 2024 as a bench needs it: every chain of the month with its real number of blocks, and nothing else.
//!
//! Block counts are those of `rpc_budget.md` section 2: exact for the OP chains, calibrated for Polygon and Cronos,
//! nominal for the others. Where a chain begins is near the truth and does not matter.

use crate::simchain::{ChainError, Clock, ClockError, SimChain};

/// Midnight in New York on 2024-12-01, Unix seconds.
pub const START: u64 = 1_733_029_200;
/// Midnight in New York on 2025-01-01.
pub const END: u64 = START + 31 * DAY;

const DAY: u64 = 86_400;

/// A chain in that month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecemberChain {
    /// Name, as in the registry.
    pub name: &'static str,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// First block of the month, at [`START`].
    pub first: u64,
    /// Blocks of the month.
    pub blocks: u64,
    /// CSUs that the plan counted on it.
    pub csus: u64,
}

const fn chain(name: &'static str, chain_id: u64, first: u64, blocks: u64, csus: u64) -> DecemberChain {
    DecemberChain { name, chain_id, first, blocks, csus }
}

/// The chains of the month.
pub static CHAINS: &[DecemberChain] = &[
    chain("ethereum", 1, 21_306_000, 222_270, 9),
    chain("arbitrum", 42_161, 280_300_000, 10_713_600, 6),
    chain("base", 8_453, 23_119_927, 1_339_200, 7),
    chain("optimism", 10, 128_715_212, 1_339_200, 4),
    chain("polygon", 137, 64_900_000, 1_232_870, 4),
    chain("binance", 56, 44_500_000, 892_180, 3),
    chain("avalanche", 43_114, 53_800_000, 1_373_610, 2),
    chain("linea", 59_144, 12_800_000, 1_164_670, 1),
    chain("xdai", 100, 37_300_000, 522_350, 1),
    chain("scroll", 534_352, 11_700_000, 892_800, 1),
    chain("cronos", 25, 17_000_000, 469_340, 3),
    chain("flare", 14, 33_900_000, 1_409_880, 1),
    chain("meter", 82, 70_000_000, 1_071_360, 1),
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

    /// When its blocks were made, with a day before the month and a day after it at the same pace.
    ///
    /// # Errors
    /// None for the chains here.
    pub fn clock(&self) -> Result<Clock, ClockError> {
        let a_day = self.blocks / 31;
        let end = self.first + self.blocks;
        Clock::sharing_seconds([
            (self.first - a_day, START - DAY),
            (self.first, START),
            (end, END),
            (end + a_day, END + DAY),
        ])
    }

    /// The chain from the day before the month to the day after it, without logs or contracts. Its size does not depend
    /// on its number of blocks.
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
        }
    }
}
