//! From a second of a day to the blocks of one log query that has all blocks of that second.

use super::{Boundaries, BoundaryError, Disorder, GUESSES};
use crate::rpc::tally::Purpose;
use lake::bronze::Header;
use lake::span::BlockSpan;
use std::cmp::Ordering;

/// A day's blocks, by number and time, as a search within it needs them.
#[derive(Debug, Clone, Copy)]
pub struct DayBounds {
    /// The day's blocks.
    pub span: BlockSpan,
    /// A second before the first of them could have been made.
    pub before: u64,
    /// A second after the last of them could have been made.
    pub after: u64,
}

impl Boundaries<'_> {
    /// At most `width` blocks among which are all of one second of a day, if there are any; `None` when it is certain that
    /// there are none. More than `width` only where that many share the second.
    ///
    /// Whoever looks for a log of that second needs no closer place than one query can ask for, so the search ends there:
    /// after two or three headers where a query takes a thousand blocks.
    ///
    /// # Errors
    /// [`BoundaryError`].
    pub async fn around_second(
        &self,
        second: u64,
        day: DayBounds,
        width: u64,
    ) -> Result<Option<BlockSpan>, BoundaryError> {
        let search = self.search_second(second, day, width.max(1)).await?;
        Ok(search.and_then(|search| search.found()))
    }

    /// Whether any block of a day was made in this second.
    ///
    /// # Errors
    /// [`BoundaryError`].
    pub async fn has_second(&self, second: u64, day: DayBounds) -> Result<bool, BoundaryError> {
        Ok(self.search_second(second, day, 0).await?.is_some_and(|search| search.within.is_some()))
    }

    async fn search_second(
        &self,
        second: u64,
        day: DayBounds,
        width: u64,
    ) -> Result<Option<SecondSearch>, BoundaryError> {
        let Some(mut search) = SecondSearch::new(second, day, width) else { return Ok(None) };
        while let Some(number) = search.next() {
            let probe = self.pool.header(Purpose::Witness, number).await?;
            search
                .narrow(probe)
                .map_err(|disorder| BoundaryError::Disorder { chain: self.chain.name.clone(), disorder })?;
        }
        Ok(Some(search))
    }
}

/// The search for the blocks of a second: all of them are among `first..end`, whose neighbours are of other times.
struct SecondSearch {
    second: u64,
    /// So many blocks or fewer are close enough.
    width: u64,
    first: u64,
    end: u64,
    /// Time of the block before `first`, earlier than the second.
    before: u64,
    /// Time of the block `end`, later than the second.
    after: u64,
    /// First and last block that was seen to be of the second.
    within: Option<(u64, u64)>,
    probes: u32,
}

impl SecondSearch {
    /// `None` when the second is not of the day.
    fn new(second: u64, day: DayBounds, width: u64) -> Option<Self> {
        let DayBounds { span, before, after } = day;
        let (first, end) = (span.first(), span.last().saturating_add(1));
        let search = Self { second, width, first, end, before, after, within: None, probes: 0 };
        (before < second && second < after).then_some(search)
    }

    /// The block to look at next, or `None` when all that may be of the second are close enough, or were seen.
    ///
    /// Half the width to one side of where the line between both ends meets the second, on the side with more room: once
    /// both sides are seen, what is between them is close enough. Where that does not help, by halves.
    fn next(&self) -> Option<u64> {
        let room = self.end.saturating_sub(self.first);
        if room <= self.width || self.within == Some((self.first, self.end - 1)) {
            return None;
        }
        // What was seen to be of the second is not looked at again.
        let (left, right, seen) = match self.within {
            Some((left, right)) => (left, right, 1),
            None => (self.guess(), self.guess(), 0),
        };
        let (on_left, on_right) = (left - self.first, self.end - 1 - right);
        let is_left = on_left >= on_right;
        let most = if is_left { on_left } else { on_right };
        let step = if self.probes < GUESSES { self.width.saturating_sub(right - left) / 2 } else { most / 2 };
        let step = step.clamp(seen, most);
        Some(if is_left { left - step } else { right + step })
    }

    /// Where the second is, if blocks are made at an even pace between both ends.
    fn guess(&self) -> u64 {
        let share = (self.second - self.before) as f64 / (self.after - self.before) as f64;
        let steps = (share * (self.end - self.first + 1) as f64) as u64;
        (self.first + steps).saturating_sub(1).clamp(self.first, self.end - 1)
    }

    /// Takes a header of `first..end`.
    fn narrow(&mut self, probe: Header) -> Result<(), Disorder> {
        let seen = (probe.number, probe.timestamp);
        let (left, right) = self.within.unwrap_or((probe.number, probe.number));
        let ends = [
            (self.first.saturating_sub(1), self.before),
            (left, self.second),
            (right, self.second),
            (self.end, self.after),
        ];
        for end in ends {
            let (earlier, later) = if end.0 < seen.0 { (end, seen) } else { (seen, end) };
            if end.0 != seen.0 && earlier.1 > later.1 {
                return Err(Disorder { earlier, later });
            }
        }
        self.probes += 1;
        match probe.timestamp.cmp(&self.second) {
            Ordering::Less => (self.first, self.before) = (probe.number + 1, probe.timestamp),
            Ordering::Greater => (self.end, self.after) = seen,
            Ordering::Equal => self.within = Some((left.min(probe.number), right.max(probe.number))),
        }
        Ok(())
    }

    fn found(&self) -> Option<BlockSpan> {
        BlockSpan::new(self.first, self.end.checked_sub(1)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::chain_like;
    use super::*;
    use crate::plan::costs::Costs;
    use lake::B256;
    use proptest::prelude::*;

    fn header(number: u64, times: &[u64]) -> Header {
        Header { number, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: times[number as usize] }
    }

    /// The search for a second among some blocks of a chain, and the headers it took.
    fn search(times: &[u64], span: BlockSpan, second: u64, width: u64) -> Option<SecondSearch> {
        let (before, after) = (times[span.first() as usize] - 1, times[span.last() as usize] + 1);
        let mut search = SecondSearch::new(second, DayBounds { span, before, after }, width)?;
        while let Some(number) = search.next() {
            assert!(span.contains(number));
            search.narrow(header(number, times)).unwrap();
        }
        Some(search)
    }

    #[test]
    fn a_search_takes_as_many_headers_as_a_plan_takes_for_usual() {
        let ethereum = chain_like((0, |_| 0.0), (100_000, |dice| if dice < 0.0065 { 24.0 } else { 12.0 }));
        let polygon = chain_like((0, |_| 0.0), (200_000, |dice| if dice < 0.04 { 5.0 } else { 2.0 }));
        let flare = chain_like((0, |_| 0.0), (200_000, |dice| 1.0 + 1.8 * dice));
        let arbitrum = chain_like((0, |_| 0.0), (1_000_000, |dice| 0.2 + 0.1 * dice));
        let op_stack = chain_like((0, |_| 0.0), (200_000, |_| 2.0));
        for (chain, times, window, blocks, block_seconds) in [
            ("ethereum", &ethereum, 10, 7_160, 12.07),
            ("polygon", &polygon, 10, 39_768, 2.12),
            ("flare", &flare, 30, 45_474, 1.9),
            ("arbitrum", &arbitrum, 10, 345_600, 0.25),
            ("arbitrum", &arbitrum, 1_000, 345_600, 0.25),
            ("op stack", &op_stack, 10, 43_200, 2.0),
            ("op stack", &op_stack, 1_000, 43_200, 2.0),
        ] {
            let span = BlockSpan::new(20_000, 20_000 + blocks - 1).unwrap();
            let seconds = (1..60).map(|nth| times[(span.first() + blocks * nth / 60) as usize]);
            let probes: u32 = seconds.map(|second| search(times, span, second, window).unwrap().probes).sum();
            let (found, usual) = (f64::from(probes) / 59.0, Costs::default().witness(block_seconds));
            println!("{chain} at {window} blocks: {found:.2} headers, a plan takes {usual}");
            assert!((found - usual).abs() <= 0.21 * usual, "{chain}: {found} {usual}");
        }
    }

    proptest! {
        #[test]
        fn all_blocks_of_a_second_are_among_those_found_and_few_others(
            gaps in prop::collection::vec(prop_oneof![6 => Just(0_u64), 8 => 0_u64..3, 3 => 10_u64..15, 1 => 1_000_u64..100_000], 1..400),
            at in 0.0_f64..1.0,
            within in any::<bool>(),
            width in 1_u64..50,
        ) {
            let mut times = vec![1_000_u64];
            for gap in gaps { times.push(times[times.len() - 1] + gap); }
            let last = times.len() as u64 - 1;
            let span = BlockSpan::new(0, last).unwrap();
            let some = times[(last as f64 * at) as usize];
            let second = if within { some } else { some + 1 };
            let of_second: Vec<u64> = (0..=last).filter(|&number| times[number as usize] == second).collect();
            let Some(near) = search(&times, span, second, width) else {
                prop_assert!(of_second.is_empty());
                return Ok(());
            };
            let found = near.found();
            prop_assert!(of_second.iter().all(|&number| found.is_some_and(|found| found.contains(number))));
            prop_assert!(found.is_none_or(|found| found.count() <= width.max(of_second.len() as u64)), "{found:?}");
            let exact = search(&times, span, second, 0).unwrap();
            let seen = exact.within.map(|(first, last)| (first, last));
            prop_assert_eq!(seen, of_second.first().copied().zip(of_second.last().copied()));
            // What shares the second is looked at block by block at last, where it is not more than may be looked at.
            prop_assert!(u64::from(near.probes) <= u64::from(GUESSES) + 2 * u64::from(last.max(1).ilog2() + 1) + 1, "{}", near.probes);
        }
    }
}
