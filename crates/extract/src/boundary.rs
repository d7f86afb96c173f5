//! From a day to its blocks: the search for the first block at or after an instant, and its proof.

use crate::rpc::pool::{Pool, PoolError};
use lake::bronze::{DayBlocks, DayOfChain, Header};
use lake::day::{DayWindow, Zone};
use lake::registry::Chain;
use std::collections::HashMap;
use tokio::sync::Mutex;

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
    #[error("{chain}: block {} has timestamp {}, yet block {} has {}", low.number, low.timestamp, high.number, high.timestamp)]
    Disorder {
        /// Chain.
        chain: String,
        /// Earlier block.
        low: Header,
        /// Later block.
        high: Header,
    },
}

fn utc(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

/// Two neighbours around an instant: the last block before it, and the first at or after it. The former is `None` when
/// the chain begins at or after the instant.
type Boundary = (Option<Header>, Header);

/// Finds boundaries on one chain, asking for each header once.
///
/// The probes for an instant depend on that instant, the final head and the registry's block time alone, never on what
/// was looked for before: so a recording of one run answers any other.
pub struct Boundaries<'a> {
    pool: &'a Pool,
    chain: &'a Chain,
    head: Header,
    headers: Mutex<HashMap<u64, Header>>,
}

impl<'a> Boundaries<'a> {
    /// A search below the final block `head`.
    pub fn new(pool: &'a Pool, chain: &'a Chain, head: Header) -> Self {
        Self { pool, chain, head, headers: Mutex::new(HashMap::from([(head.number, head)])) }
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
        let (before, first) = self.at(window.start).await?;
        let (last, after) = self.at(window.end).await?;
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
        let mut low = self.header(0).await?;
        if time(low) >= instant {
            return Ok((None, low));
        }
        let mut high = self.head;
        let mut probes = 0;
        while high.number - low.number > 1 {
            let probe = self.header(self.next_probe(low, high, instant, probes)).await?;
            if time(probe) < time(low) || time(probe) > time(high) {
                return Err(BoundaryError::Disorder { chain: self.chain.name.clone(), low, high: probe });
            }
            if time(probe) < instant {
                low = probe
            } else {
                high = probe
            }
            probes += 1;
        }
        Ok((Some(low), high))
    }

    /// Where to look next between `low` (before the instant) and `high` (not before it).
    ///
    /// First by the line between the two; then by the chain's usual block time from whichever end is nearer in time,
    /// a little beyond the instant, so that the other end moves close as well; at last by halves.
    fn next_probe(&self, low: Header, high: Header, instant: i64, probes: u32) -> u64 {
        let gap = high.number - low.number;
        let (to_instant, whole) = ((instant - time(low)) as f64, (time(high) - time(low)) as f64);
        let offset = if probes >= GUESSES {
            gap / 2
        } else if probes.is_multiple_of(3) || gap <= 4 {
            (to_instant / whole.max(1.0) * gap as f64) as u64
        } else {
            let from_high = whole - to_instant;
            let blocks = |seconds: f64| seconds / self.chain.block_seconds;
            let beyond = |blocks: f64| (blocks * 1.02 + 2.0) as u64;
            if to_instant <= from_high {
                beyond(blocks(to_instant))
            } else {
                gap.saturating_sub(beyond(blocks(from_high)))
            }
        };
        low.number + offset.clamp(1, gap - 1)
    }

    async fn header(&self, number: u64) -> Result<Header, PoolError> {
        if let Some(header) = self.headers.lock().await.get(&number) {
            return Ok(*header);
        }
        let header = self.pool.header(number).await?;
        self.headers.lock().await.insert(number, header);
        Ok(header)
    }
}

fn time(header: Header) -> i64 {
    i64::try_from(header.timestamp).unwrap_or(i64::MAX)
}
