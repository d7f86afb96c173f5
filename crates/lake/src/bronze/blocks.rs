//! A day's first and last block, with the proof that they are.

use super::{BronzeError, DayOfChain, Header, Record, require};
use crate::span::BlockSpan;
use serde::{Deserialize, Serialize};

/// `bronze/blocks/<chain>/<date>.json`: the day's first and last block, proven by their neighbours' headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayBlocks {
    /// Which day of which chain.
    #[serde(flatten)]
    pub day: DayOfChain,
    /// Last block before the day; `None` when the chain began on this day or later.
    pub before: Option<Header>,
    /// First block of the day; `None` when the day has no block.
    pub first: Option<Header>,
    /// Last block of the day: the snapshot block. `None` when the day has no block.
    pub last: Option<Header>,
    /// First block after the day.
    pub after: Header,
}

impl DayBlocks {
    /// The day's blocks, or `None` when it has none.
    pub fn span(&self) -> Option<BlockSpan> {
        BlockSpan::new(self.first?.number, self.last?.number).ok()
    }
}

impl Record for DayBlocks {
    const SCHEMA: &'static str = "bronze.blocks/1";

    fn check(&self) -> Result<(), BronzeError> {
        let require = |holds: bool, why: &str| require(holds, || why.to_owned());
        let (start, end) = (self.day.day_start, self.day.day_end);
        let time = |header: Header| i64::try_from(header.timestamp).unwrap_or(i64::MAX);
        require(start < end, "the day ends before it starts")?;
        require(time(self.after) >= end, "the block after the day lies before its end")?;
        let links = |parent: Header, child: Header| {
            child.number.checked_sub(1) == Some(parent.number) && child.parent_hash == parent.hash
        };
        match (self.first, self.last) {
            (Some(first), Some(last)) => {
                require(first.number <= last.number, "the first block comes after the last")?;
                require(start <= time(first), "the first block lies before the day")?;
                require(time(last) < end, "the last block lies after the day")?;
                require(links(last, self.after), "the last block is not the parent of the block after")?;
                require(
                    first.number != last.number || first == last,
                    "first and last block share a number but differ",
                )?;
            }
            (None, None) => {}
            _ => {
                return Err(BronzeError::Inconsistent {
                    why: "only one of first and last block is there".into(),
                });
            }
        }
        match self.before {
            Some(before) => {
                require(time(before) < start, "the block before the day lies within it")?;
                require(
                    links(before, self.first.unwrap_or(self.after)),
                    "the block before the day is not the parent of the next",
                )
            }
            None => require(
                self.first.unwrap_or(self.after).number == 0,
                "there is no block before the day, yet its first block is not the chain's first",
            ),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{day_of_chain, header};
    use super::*;
    use alloy_primitives::B256;

    pub(in super::super) fn blocks() -> DayBlocks {
        DayBlocks {
            day: day_of_chain(),
            before: Some(header(9, 999)),
            first: Some(header(10, 1_000)),
            last: Some(header(20, 1_999)),
            after: header(21, 2_000),
        }
    }

    #[test]
    fn blocks_that_do_not_prove_the_day_are_refused() {
        type Spoil = fn(&mut DayBlocks);
        let spoils: [Spoil; 8] = [
            |b| b.after.timestamp = 1_999,
            |b| b.after.number = 22,
            |b| b.after.parent_hash = B256::ZERO,
            |b| b.before = None,
            |b| b.before = Some(header(8, 990)),
            |b| b.first = None,
            |b| b.first = Some(header(10, 999)),
            |b| b.last = Some(header(20, 2_000)),
        ];
        blocks().check().unwrap();
        for (index, spoil) in spoils.iter().enumerate() {
            let mut spoiled = blocks();
            spoil(&mut spoiled);
            assert!(spoiled.check().is_err(), "spoil {index} was not noticed");
            spoiled.to_bytes().unwrap_err();
        }
    }

    #[test]
    fn a_day_without_blocks_is_proven_by_two_neighbours() {
        let mut empty = DayBlocks { first: None, last: None, before: Some(header(9, 999)), ..blocks() };
        empty.after = header(10, 2_500);
        empty.check().unwrap();
        assert_eq!(empty.span(), None);
    }
}
