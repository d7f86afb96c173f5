//! When each block of a simulated chain was made.

use std::ops::RangeInclusive;

/// Why anchors are no clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// No anchor at all.
    #[error("a clock needs an anchor")]
    Empty,
    /// Anchors out of order, or closer in time than in blocks.
    #[error(
        "blocks {from:?} and {to:?} (number, time) leave no second for each block between them, or are out of order"
    )]
    TooFast {
        /// The earlier anchor.
        from: (u64, u64),
        /// The later anchor.
        to: (u64, u64),
    },
}

/// Times of blocks: known at anchors, spread evenly and strictly rising between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    anchors: Vec<(u64, u64)>,
}

impl Clock {
    /// A clock through these anchors (number, Unix seconds), in order.
    ///
    /// # Errors
    /// [`ClockError`] when two anchors leave less than a second a block.
    pub fn through(anchors: impl IntoIterator<Item = (u64, u64)>) -> Result<Self, ClockError> {
        let anchors: Vec<_> = anchors.into_iter().collect();
        if anchors.is_empty() {
            return Err(ClockError::Empty);
        }
        for pair in anchors.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let blocks = to.0.checked_sub(from.0).filter(|blocks| *blocks > 0);
            let seconds = to.1.checked_sub(from.1);
            if blocks.zip(seconds).is_none_or(|(blocks, seconds)| seconds < blocks) {
                return Err(ClockError::TooFast { from, to });
            }
        }
        Ok(Self { anchors })
    }

    /// A clock that ticks every `seconds`, with the first of `blocks` at `start`.
    ///
    /// # Errors
    /// [`ClockError::TooFast`] when `seconds` is zero or the blocks are in the wrong order.
    pub fn every(seconds: u64, blocks: RangeInclusive<u64>, start: u64) -> Result<Self, ClockError> {
        let (first, last) = (*blocks.start(), *blocks.end());
        if first == last {
            return Self::through([(first, start)]);
        }
        let end = start + last.saturating_sub(first) * seconds;
        Self::through([(first, start), (last, end)])
    }

    /// First block it knows.
    pub fn first(&self) -> u64 {
        self.anchors.first().map_or(0, |anchor| anchor.0)
    }

    /// Last block it knows.
    pub fn last(&self) -> u64 {
        self.anchors.last().map_or(0, |anchor| anchor.0)
    }

    /// Unix seconds of a block, or `None` outside the anchors.
    pub fn time(&self, number: u64) -> Option<u64> {
        let next = self.anchors.partition_point(|anchor| anchor.0 <= number);
        let (number_0, time_0) = *self.anchors.get(next.checked_sub(1)?)?;
        let Some(&(number_1, time_1)) = self.anchors.get(next) else {
            return (number == number_0).then_some(time_0);
        };
        let (done, blocks) = (u128::from(number - number_0), u128::from(number_1 - number_0));
        let seconds = u128::from(time_1 - time_0) * done / blocks;
        u64::try_from(seconds).ok().map(|seconds| time_0 + seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_pass_through_the_anchors_and_always_rise() {
        let clock = Clock::through([(0, 0), (10, 10), (13, 100), (1_000, 5_000)]).unwrap();
        for (number, time) in [(0, 0), (10, 10), (13, 100), (1_000, 5_000)] {
            assert_eq!(clock.time(number), Some(time));
        }
        for number in 1..=1_000 {
            assert!(clock.time(number) > clock.time(number - 1), "block {number}");
        }
        assert_eq!(clock.time(1_001), None);
    }

    #[test]
    fn anchors_closer_than_a_second_a_block_are_refused() {
        assert!(Clock::through([(0, 0), (10, 9)]).is_err());
        assert!(Clock::through([(5, 0), (5, 9)]).is_err());
        assert!(Clock::through([(5, 10), (6, 9)]).is_err());
        assert_eq!(Clock::through([]), Err(ClockError::Empty));
        assert_eq!(Clock::every(12, 3..=3, 7).unwrap().time(3), Some(7));
    }
}
