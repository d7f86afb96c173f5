//! From a day to its blocks: the search for the first block at or after an instant, and its proof.

mod second;

pub use second::DayBounds;

use crate::rpc::pool::{Pool, PoolError};
use crate::rpc::tally::Purpose;
use lake::bronze::{DayBlocks, DayOfChain, Header};
use lake::day::{DayWindow, Zone};
use lake::registry::Chain;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Probes after which the search stops guessing and halves.
const GUESSES: u32 = 16;

/// Why a day's blocks are not known.
#[derive(Debug, thiserror::Error)]
pub enum BoundaryError {
    /// The day is not over, or its end is not final.
    #[error(
        "{day} is not final on {chain}: it ends at {}, the last final block {} is of {}\nhint: run again later",
        utc(*end), head.number, utc(head.timestamp as i64)
    )]
    NotFinal {
        /// Day.
        day: lake::day::Day,
        /// Chain.
        chain: String,
        /// First second of the next day.
        end: i64,
        /// Last final block.
        head: Header,
    },
    /// The chain gave no answer.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Headers that contradict each other.
    #[error("{chain}: {disorder}")]
    Disorder {
        /// Chain.
        chain: String,
        /// The two headers.
        disorder: Disorder,
    },
}

/// Two blocks whose times are out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("block {} has timestamp {}, yet block {} has {}", earlier.0, earlier.1, later.0, later.1)]
pub struct Disorder {
    /// Number and timestamp of the earlier block.
    earlier: (u64, u64),
    /// Number and timestamp of the later block.
    later: (u64, u64),
}

fn utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

/// Two neighbours around an instant: the last block before it, and the first at or after it. The former is `None` when
/// the chain begins at or after the instant.
type Boundary = (Option<Header>, Header);

/// Finds boundaries on one chain. The pool asks for each header once.
///
/// The probes for an instant depend on that instant, the final head and the registry's block time alone, never on what
/// was looked for before: so a recording of one run answers any other.
pub struct Boundaries<'a> {
    pool: &'a Pool,
    chain: &'a Chain,
    head: Header,
    proven: Mutex<HashMap<i64, Boundary>>,
    searched: AtomicU64,
}

impl<'a> Boundaries<'a> {
    /// A search below the final block `head`.
    pub fn new(pool: &'a Pool, chain: &'a Chain, head: Header) -> Self {
        Self { pool, chain, head, proven: Mutex::default(), searched: AtomicU64::new(0) }
    }

    /// Boundaries of days that were searched for so far.
    pub fn searched(&self) -> u64 {
        self.searched.load(Ordering::Relaxed)
    }

    /// Takes up both boundaries of a day whose blocks are known: they need no search.
    pub fn know(&self, blocks: &DayBlocks) {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        proven.insert(blocks.day.day_start, (blocks.before, blocks.first.unwrap_or(blocks.after)));
        proven.insert(blocks.day.day_end, (blocks.last.or(blocks.before), blocks.after));
    }

    /// The blocks of a day, with both neighbours.
    ///
    /// # Errors
    /// [`BoundaryError`].
    pub async fn of_day(&self, window: DayWindow, zone: &Zone) -> Result<DayBlocks, BoundaryError> {
        if time(self.head) < window.end {
            let (day, chain) = (window.day, self.chain.name.clone());
            return Err(BoundaryError::NotFinal { day, chain, end: window.end, head: self.head });
        }
        let ((before, first), (last, after)) =
            futures::try_join!(self.at(window.start), self.at(window.end))?;
        // Both searches meeting in one pair of blocks means that the day has none.
        let is_empty = first == after;
        Ok(DayBlocks {
            day: DayOfChain {
                chain: self.chain.name.clone(),
                chain_id: self.chain.chain_id,
                date: window.day,
                zone: zone.name().to_owned(),
                day_start: window.start,
                day_end: window.end,
            },
            before,
            first: (!is_empty).then_some(first),
            last: if is_empty { None } else { last },
            after,
        })
    }

    async fn at(&self, instant: i64) -> Result<Boundary, BoundaryError> {
        if let Some(boundary) = self.proven.lock().unwrap_or_else(PoisonError::into_inner).get(&instant) {
            return Ok(*boundary);
        }
        self.searched.fetch_add(1, Ordering::Relaxed);
        // The chain's first block says as little of the day as its id does.
        let genesis = self.pool.header(Purpose::Identity, 0).await?;
        if time(genesis) >= instant {
            return Ok((None, genesis));
        }
        let block_seconds = self.chain.block_seconds;
        let mut search = Search { low: genesis, high: self.head, instant, block_seconds, probes: 0 };
        while let Some(number) = search.next() {
            let probe = self.pool.header(Purpose::Boundary, number).await?;
            search
                .narrow(probe)
                .map_err(|disorder| BoundaryError::Disorder { chain: self.chain.name.clone(), disorder })?;
        }
        Ok((Some(search.low), search.high))
    }
}

/// The search for two neighbours around an instant: `low` is before it, `high` is not.
struct Search {
    low: Header,
    high: Header,
    instant: i64,
    block_seconds: f64,
    probes: u32,
}

impl Search {
    /// The block to look at next, or `None` when `low` and `high` are neighbours.
    ///
    /// First by the line between the two; then by the chain's usual block time from whichever end is nearer in time, a
    /// little beyond the instant, so that the other end moves close as well; at last by halves.
    fn next(&self) -> Option<u64> {
        let gap = self.high.number - self.low.number;
        if gap <= 1 {
            return None;
        }
        let to_instant = (self.instant - time(self.low)) as f64;
        let whole = (time(self.high) - time(self.low)) as f64;
        let offset = if self.probes >= GUESSES {
            gap / 2
        } else if self.probes.is_multiple_of(3) || gap <= 4 {
            (to_instant / whole.max(1.0) * gap as f64) as u64
        } else {
            let beyond = |seconds: f64| (seconds / self.block_seconds * 1.02 + 2.0) as u64;
            let from_high = whole - to_instant;
            if to_instant <= from_high { beyond(to_instant) } else { gap.saturating_sub(beyond(from_high)) }
        };
        Some(self.low.number + offset.clamp(1, gap - 1))
    }

    /// Takes a header between the two as the new low or high.
    fn narrow(&mut self, probe: Header) -> Result<(), Disorder> {
        let out_of_order = |earlier: Header, later: Header| Disorder {
            earlier: (earlier.number, earlier.timestamp),
            later: (later.number, later.timestamp),
        };
        if time(probe) < time(self.low) {
            return Err(out_of_order(self.low, probe));
        }
        if time(probe) > time(self.high) {
            return Err(out_of_order(probe, self.high));
        }
        *(if time(probe) < self.instant { &mut self.low } else { &mut self.high }) = probe;
        self.probes += 1;
        Ok(())
    }
}

fn time(header: Header) -> i64 {
    i64::try_from(header.timestamp).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::costs::Costs;
    use lake::B256;
    use proptest::prelude::*;

    fn header(number: usize, times: &[u64]) -> Header {
        Header { number: number as u64, hash: B256::ZERO, parent_hash: B256::ZERO, timestamp: times[number] }
    }

    fn search(times: &[u64], instant: i64, block_seconds: f64) -> (Search, u32) {
        let (low, high) = (header(0, times), header(times.len() - 1, times));
        let mut search = Search { low, high, instant, block_seconds, probes: 0 };
        while let Some(number) = search.next() {
            search.narrow(header(number as usize, times)).unwrap();
        }
        let probes = search.probes;
        (search, probes)
    }

    #[test]
    fn an_even_chain_takes_few_probes() {
        let times: Vec<u64> = (0..1_000_000).map(|n| 1_700_000_000 + 12 * n).collect();
        for instant in [1_700_000_001, 1_703_333_333, 1_706_000_000, 1_711_999_980] {
            let (found, probes) = search(&times, instant, 12.07);
            assert!(time(found.low) < instant && instant <= time(found.high));
            assert!(probes <= 6, "{probes} probes for {instant}");
        }
    }

    #[test]
    fn a_chain_that_changed_its_pace_takes_no_more_than_a_plain_search_would_twice_over() {
        // Slow for half of its blocks, then four times as fast, with a halt of a day in between.
        let slow = (0..500_000).map(|n| 1_600_000_000 + 12 * n);
        let fast = (0..500_000).map(|n| 1_606_000_000 + 86_400 + 3 * n);
        let times: Vec<u64> = slow.chain(fast).collect();
        for instant in [1_600_000_500, 1_605_999_999, 1_606_040_000, 1_606_086_400, 1_607_000_000] {
            let (found, probes) = search(&times, instant, 3.0);
            assert!(time(found.low) < instant && instant <= time(found.high));
            assert!(probes <= 40, "{probes} probes for {instant}");
        }
    }

    /// Times of blocks on a chain like a real one, the same in every run: `slow` blocks, then `fast` ones.
    pub(super) fn chain_like(slow: (usize, fn(f64) -> f64), fast: (usize, fn(f64) -> f64)) -> Vec<u64> {
        let (mut state, mut time) = (7_u64, 1_600_000_000.0);
        let mut dice = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        let mut times = Vec::with_capacity(slow.0 + fast.0);
        for (blocks, gap) in [slow, fast] {
            for _ in 0..blocks {
                times.push(time as u64);
                time += gap(dice());
            }
        }
        times
    }

    /// Headers of a boundary on average, over the later half of a chain.
    fn headers_on_average(times: &[u64], block_seconds: f64) -> f64 {
        let (from, to) = (times[times.len() / 2] as i64, times[times.len() - 1] as i64);
        let instants = (1..60).map(|nth| from + (to - from) * nth / 60);
        let probes: u32 = instants.map(|instant| search(times, instant, block_seconds).1).sum();
        f64::from(probes) / 59.0
    }

    #[test]
    fn a_search_takes_as_many_headers_as_a_plan_takes_for_usual() {
        let usual = |block_seconds| Costs::default().boundary(block_seconds);
        // Before its merge Ethereum drew its block times, since then one slot in a hundred is missed.
        let drawn = |dice: f64| 1.0 - 13.0 * (1.0 - dice).ln();
        let ethereum =
            chain_like((400_000, drawn), (500_000, |dice| if dice < 0.0065 { 24.0 } else { 12.0 }));
        let polygon = chain_like(
            (300_000, |dice| if dice < 0.1 { 5.0 } else { 2.0 }),
            (600_000, |dice| if dice < 0.04 { 5.0 } else { 2.0 }),
        );
        let arbitrum = chain_like((500_000, |dice| 0.35 + 0.1 * dice), (1_500_000, |dice| 0.2 + 0.1 * dice));
        for (chain, times, block_seconds) in [
            ("ethereum", ethereum, 12.07),
            ("polygon", polygon, 2.12),
            ("arbitrum", arbitrum, 0.25),
            ("op stack", chain_like((400_000, |_| 2.0), (500_000, |_| 2.0)), 2.0),
        ] {
            let (found, usual) = (headers_on_average(&times, block_seconds), usual(block_seconds));
            println!("{chain}: {found:.2} headers, a plan takes {usual}");
            assert!((found - usual).abs() <= 0.15 * usual, "{chain}: {found} {usual}");
        }
    }

    #[test]
    fn times_out_of_order_are_noticed() {
        let times = [10, 20, 15, 40, 50];
        let (low, high) = (header(0, &times), header(4, &times));
        let mut search = Search { low, high, instant: 18, block_seconds: 10.0, probes: 0 };
        search.narrow(header(1, &times)).unwrap();
        search.narrow(Header { number: 1, timestamp: 60, ..header(1, &times) }).unwrap_err();
    }

    proptest! {
        #[test]
        fn neighbours_are_found_on_any_chain(
            gaps in prop::collection::vec(prop_oneof![8 => 0_u64..3, 3 => 10_u64..15, 1 => 1_000_u64..100_000], 1..400),
            at in 0.0_f64..1.0,
            block_seconds in 0.25_f64..20.0,
        ) {
            let mut times = vec![1_000_u64];
            for gap in gaps { times.push(times[times.len() - 1] + gap); }
            let last = times[times.len() - 1];
            // The search is for instants after the first block and not after the last.
            prop_assume!(last > 1_000);
            let instant = 1_001 + ((last - 1_001) as f64 * at) as i64;
            let (found, probes) = search(&times, instant, block_seconds);
            prop_assert_eq!(found.low.number + 1, found.high.number);
            prop_assert!(time(found.low) < instant && instant <= time(found.high));
            let plain = times.len().ilog2() + 1;
            prop_assert!(probes <= GUESSES + plain);
        }
    }
}
