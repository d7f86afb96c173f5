//! Spans of blocks, and the proof that a set of spans covers a day exactly once.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Blocks `first` to `last`, both included; never empty. Written in JSON as `[first, last]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "[u64; 2]", try_from = "[u64; 2]")]
pub struct BlockSpan {
    first: u64,
    last: u64,
}

/// A span whose first block comes after its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blocks {first} to {last} are no span: the first comes after the last")]
pub struct EmptySpan {
    first: u64,
    last: u64,
}

impl BlockSpan {
    /// The blocks `first` to `last`.
    ///
    /// # Errors
    /// [`EmptySpan`] when `first > last`.
    pub fn new(first: u64, last: u64) -> Result<Self, EmptySpan> {
        if first > last { Err(EmptySpan { first, last }) } else { Ok(Self { first, last }) }
    }

    /// First block.
    pub fn first(self) -> u64 {
        self.first
    }

    /// Last block.
    pub fn last(self) -> u64 {
        self.last
    }

    /// Number of blocks (saturating for the one span that holds every possible block).
    pub fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether the span holds this block.
    pub fn contains(self, block: u64) -> bool {
        self.first <= block && block <= self.last
    }

    /// Cuts the span into consecutive spans of at most `width` blocks (at least one).
    pub fn windows(self, width: u64) -> impl Iterator<Item = BlockSpan> {
        let width = width.max(1);
        let mut next = Some(self.first);
        std::iter::from_fn(move || {
            let first = next?;
            let last = first.saturating_add(width - 1).min(self.last);
            next = if last == self.last { None } else { Some(last + 1) };
            Some(BlockSpan { first, last })
        })
    }
}

impl From<BlockSpan> for [u64; 2] {
    fn from(span: BlockSpan) -> Self {
        [span.first, span.last]
    }
}

impl TryFrom<[u64; 2]> for BlockSpan {
    type Error = EmptySpan;

    fn try_from([first, last]: [u64; 2]) -> Result<Self, EmptySpan> {
        Self::new(first, last)
    }
}

impl fmt::Display for BlockSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A block that would be covered twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blocks {added} overlap blocks {present} that are covered already")]
pub struct Overlap {
    /// The span that was added.
    pub added: BlockSpan,
    /// The span that is there.
    pub present: BlockSpan,
}

/// A set of blocks as disjoint spans in order, neighbours merged: however it was filled, equal sets are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<BlockSpan>", into = "Vec<BlockSpan>")]
pub struct Coverage {
    spans: Vec<BlockSpan>,
}

impl Coverage {
    /// Adds a span that no earlier span overlaps.
    ///
    /// # Errors
    /// [`Overlap`]; the set is unchanged.
    pub fn add(&mut self, added: BlockSpan) -> Result<(), Overlap> {
        let at = self.spans.partition_point(|span| span.last < added.first);
        if let Some(&present) = self.spans.get(at).filter(|span| span.first <= added.last) {
            return Err(Overlap { added, present });
        }
        self.spans.insert(at, added);
        let joins = |left: BlockSpan, right: BlockSpan| left.last.checked_add(1) == Some(right.first);
        if at + 1 < self.spans.len() && joins(self.spans[at], self.spans[at + 1]) {
            self.spans[at].last = self.spans.remove(at + 1).last;
        }
        if at > 0 && joins(self.spans[at - 1], self.spans[at]) {
            self.spans[at - 1].last = self.spans.remove(at).last;
        }
        Ok(())
    }

    /// The disjoint spans, in order.
    pub fn spans(&self) -> &[BlockSpan] {
        &self.spans
    }

    /// Number of blocks covered.
    pub fn count(&self) -> u64 {
        self.spans.iter().fold(0_u64, |sum, span| sum.saturating_add(span.count()))
    }

    /// Whether exactly the blocks of `span` are covered.
    pub fn is_exactly(&self, span: BlockSpan) -> bool {
        self.spans == [span]
    }

    /// The parts of `span` that are not covered.
    pub fn missing_in(&self, span: BlockSpan) -> Vec<BlockSpan> {
        let mut missing = Vec::new();
        let mut next = span.first;
        for covered in self.spans.iter().filter(|c| c.last >= span.first && c.first <= span.last) {
            if covered.first > next {
                missing.push(BlockSpan { first: next, last: covered.first - 1 });
            }
            if covered.last >= span.last {
                return missing;
            }
            next = covered.last + 1;
        }
        missing.push(BlockSpan { first: next, last: span.last });
        missing
    }
}

impl TryFrom<Vec<BlockSpan>> for Coverage {
    type Error = Overlap;

    fn try_from(spans: Vec<BlockSpan>) -> Result<Self, Overlap> {
        let mut coverage = Self::default();
        for span in spans {
            coverage.add(span)?;
        }
        Ok(coverage)
    }
}

impl From<Coverage> for Vec<BlockSpan> {
    fn from(coverage: Coverage) -> Self {
        coverage.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(first: u64, last: u64) -> BlockSpan {
        BlockSpan::new(first, last).unwrap()
    }

    #[test]
    fn windows_keep_the_last_block_of_a_multiple_of_the_width() {
        let windows: Vec<_> = span(0, 20).windows(10).collect();
        assert_eq!(windows, [span(0, 9), span(10, 19), span(20, 20)]);
    }

    #[test]
    fn a_block_is_never_covered_twice() {
        let mut coverage = Coverage::default();
        coverage.add(span(10, 19)).unwrap();
        let overlap = coverage.add(span(19, 25)).unwrap_err();
        assert_eq!(overlap, Overlap { added: span(19, 25), present: span(10, 19) });
        assert_eq!(coverage.spans(), [span(10, 19)]);
    }

    #[test]
    fn a_span_reads_back_from_json_only_when_it_is_one() {
        assert_eq!(serde_json::from_str::<BlockSpan>("[3,5]").unwrap(), span(3, 5));
        assert!(serde_json::from_str::<BlockSpan>("[5,3]").is_err());
        assert!(serde_json::from_str::<Coverage>("[[1,5],[4,9]]").is_err());
    }

    proptest! {
        #[test]
        fn windows_tile_their_span(first in 0_u64..1_000, length in 1_u64..500, width in 0_u64..600) {
            let whole = span(first, first + length - 1);
            let mut coverage = Coverage::default();
            for window in whole.windows(width) {
                prop_assert!(window.count() <= width.max(1));
                coverage.add(window).unwrap();
            }
            prop_assert!(coverage.is_exactly(whole));
        }

        #[test]
        fn what_is_missing_and_what_is_covered_tile_the_span(cuts in prop::collection::vec((0_u64..200, 0_u64..20), 0..20)) {
            let whole = span(20, 180);
            let mut coverage = Coverage::default();
            for (first, length) in cuts {
                // An overlap is refused; the set stays sound either way.
                if coverage.add(span(first, first + length)).is_err() { continue; }
            }
            for block in 0..=240_u64 {
                let covered = coverage.spans().iter().any(|s| s.contains(block));
                let missing = coverage.missing_in(whole).iter().any(|s| s.contains(block));
                prop_assert_eq!(missing, whole.contains(block) && !covered);
            }
        }

        #[test]
        fn the_order_of_windows_does_not_matter(order in Just((0..30_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let windows: Vec<_> = span(5, 299).windows(10).collect();
            let mut coverage = Coverage::default();
            for index in order { coverage.add(windows[index]).unwrap(); }
            prop_assert!(coverage.is_exactly(span(5, 299)));
        }
    }
}
