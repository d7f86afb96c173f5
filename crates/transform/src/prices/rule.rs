//! Which of several prices a figure uses, and which answers are no prices: the rule, as data.

use lake::status::PriceSource;

/// Sources in the order in which they are believed, seen from the CSU of a figure. Of two feeds of one source the one that
/// the CSU asked itself comes first, then the lower address.
pub const PREFERENCE: [PriceSource; 4] =
    [PriceSource::ProtocolOracle, PriceSource::Chainlink, PriceSource::OtherCsuOracle, PriceSource::OffChain];

/// An answer older than so many heartbeats of its feed is no price: the feed has missed one round at least.
pub const HEARTBEATS: i64 = 2;

/// Two prices of one token at one block that differ by more than this, as a fraction of the lower, are flagged.
pub const DISAGREEMENT: f64 = 0.02;

/// Quote currencies that are turned into one another before dollars come out, at most.
pub const STEPS: usize = 4;

/// Place of a source in [`PREFERENCE`].
pub fn rank(source: PriceSource) -> usize {
    PREFERENCE.iter().position(|preferred| *preferred == source).unwrap_or(PREFERENCE.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_place() {
        let mut ranks: Vec<usize> = PriceSource::ALL.iter().map(|source| rank(*source)).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2, 3]);
    }
}
