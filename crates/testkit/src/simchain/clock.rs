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

/// Times of blocks: known at anchors, spread evenly between them, and strictly rising unless blocks may share a second.
///
/// It takes the same room for ten blocks as for ten million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Number and Unix milliseconds: Arbitrum makes four blocks a second.
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
        Ok(Self::of(anchors))
    }

    /// A clock through these anchors (number, Unix seconds), in order, whose blocks may share a second as those of
    /// Arbitrum do.
    ///
    /// # Errors
    /// [`ClockError`] when there is no anchor or they are out of order.
    pub fn sharing_seconds(anchors: impl IntoIterator<Item = (u64, u64)>) -> Result<Self, ClockError> {
        let anchors: Vec<_> = anchors.into_iter().collect();
        if anchors.is_empty() {
            return Err(ClockError::Empty);
        }
        for pair in anchors.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            if to.0 <= from.0 || to.1 < from.1 {
                return Err(ClockError::TooFast { from, to });
            }
        }
        Ok(Self::of(anchors))
    }

    fn of(anchors: Vec<(u64, u64)>) -> Self {
        Self { anchors: anchors.into_iter().map(|(number, second)| (number, second * 1_000)).collect() }
    }

    /// A clock that ticks every so many milliseconds, with the first of `blocks` at `start` (Unix seconds). Below a
    /// second, blocks share seconds.
    ///
    /// # Errors
    /// [`ClockError::TooFast`] when `milliseconds` is zero or the blocks are in the wrong order.
    pub fn every_ms(milliseconds: u64, blocks: RangeInclusive<u64>, start: u64) -> Result<Self, ClockError> {
        let (first, last) = (*blocks.start(), *blocks.end());
        if first == last {
            return Self::through([(first, start)]);
        }
        let Some(steps) = last.checked_sub(first).filter(|_| milliseconds > 0) else {
            return Err(ClockError::TooFast { from: (first, start), to: (last, start) });
        };
        Ok(Self { anchors: vec![(first, start * 1_000), (last, start * 1_000 + steps * milliseconds)] })
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
        let (number_0, ms_0) = *self.anchors.get(next.checked_sub(1)?)?;
        let Some(&(number_1, ms_1)) = self.anchors.get(next) else {
            return (number == number_0).then_some(ms_0 / 1_000);
        };
        let (done, blocks) = (u128::from(number - number_0), u128::from(number_1 - number_0));
        let ms = u128::from(ms_1 - ms_0) * done / blocks;
        u64::try_from(ms).ok().map(|ms| (ms_0 + ms) / 1_000)
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

    #[test]
    fn blocks_of_a_quarter_second_share_seconds_and_do_not_drift() {
        let clock = Clock::every_ms(250, 100..=10_713_700, 1_733_029_200).unwrap();
        assert_eq!(
            clock,
            Clock::sharing_seconds([(100, 1_733_029_200), (10_713_700, 1_735_707_600)]).unwrap()
        );
        for number in [100_u64, 103, 104, 5_000_001, 10_713_699, 10_713_700] {
            assert_eq!(clock.time(number), Some(1_733_029_200 + (number - 100) / 4), "block {number}");
        }
        assert!(Clock::every_ms(0, 0..=9, 0).is_err());
        assert!(Clock::sharing_seconds([(5, 10), (6, 9)]).is_err());
        assert_eq!(Clock::sharing_seconds([]), Err(ClockError::Empty));
    }
}
