//! Which of several prices a figure uses, and which answers are no prices: the rule, as data.

use lake::status::PriceSource;

/// What a source is believed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As its kind.
    Source(PriceSource),
    /// As an oracle that anyone may have named for a market of their own, whatever its kind and whoever asked it.
    Anyones,
}

/// Sources in the order in which they are believed, seen from the CSU of a figure. Of two feeds of one source the one that
/// the CSU asked itself comes first, then the lower address.
pub const PREFERENCE: [Standing; 5] = [
    Standing::Source(PriceSource::ProtocolOracle),
    Standing::Source(PriceSource::Chainlink),
    Standing::Source(PriceSource::OtherCsuOracle),
    Standing::Anyones,
    Standing::Source(PriceSource::OffChain),
];

/// An answer older than so many heartbeats of its feed is no price: the feed has missed one round at least.
pub const HEARTBEATS: i64 = 2;

/// Two prices of one token at one block that differ by more than this, as a fraction of the lower, are flagged.
pub const DISAGREEMENT: f64 = 0.02;

/// Quote currencies that are turned into one another before dollars come out, at most.
pub const STEPS: usize = 4;

/// Place in [`PREFERENCE`] of a source, and of an oracle that is anyone's.
pub fn rank(source: PriceSource, is_anyones: bool) -> usize {
    let standing = if is_anyones { Standing::Anyones } else { Standing::Source(source) };
    PREFERENCE.iter().position(|preferred| *preferred == standing).unwrap_or(PREFERENCE.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_place() {
        let mut ranks: Vec<usize> = PriceSource::ALL.iter().map(|source| rank(*source, false)).collect();
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2, 4]);
        assert!(PriceSource::ALL.iter().all(|source| rank(*source, true) == 3));
    }
}
