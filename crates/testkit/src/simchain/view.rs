//! A chain as one node sees it: up to the node's own head.

use super::SimChain;
use alloy_primitives::B256;
use lake::bronze::{Header, RawLog};
use std::ops::RangeInclusive;

/// A chain up to some head. Nodes differ in nothing but how far they have got.
#[derive(Debug, Clone, Copy)]
pub struct View<'c> {
    chain: &'c SimChain,
    head: u64,
}

impl<'c> View<'c> {
    pub(super) fn new(chain: &'c SimChain, head: u64) -> Self {
        Self { chain, head }
    }

    /// The chain behind it.
    pub fn chain(&self) -> &'c SimChain {
        self.chain
    }

    /// Last block.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Last final block.
    pub fn finalized(&self) -> u64 {
        self.head.saturating_sub(self.chain.finality).max(self.chain.first)
    }

    /// Header of a block, if it is there.
    pub fn header(&self, number: u64) -> Option<Header> {
        if number < self.chain.first || number > self.head {
            return None;
        }
        let parent_hash = number.checked_sub(1).map_or(B256::ZERO, |parent| self.chain.hash(parent));
        let timestamp = self.chain.clock.time(number)?;
        Some(Header { number, hash: self.chain.hash(number), parent_hash, timestamp })
    }

    /// Header of the block with this hash, if it is there.
    pub fn header_by_hash(&self, hash: B256) -> Option<Header> {
        let mut tail = [0_u8; 8];
        tail.copy_from_slice(&hash[24..]);
        let number = self.chain.numbers_of_recorded.get(&hash).copied().unwrap_or(u64::from_be_bytes(tail));
        self.header(number).filter(|header| header.hash == hash)
    }

    /// The logs of these blocks, in order.
    pub fn logs(&self, blocks: RangeInclusive<u64>) -> impl Iterator<Item = &'c RawLog> + use<'c> {
        let (first, last) = (*blocks.start(), (*blocks.end()).min(self.head));
        let range = (first <= last).then(|| self.chain.logs.range(first..=last));
        range.into_iter().flatten().flat_map(|(_, logs)| logs)
    }

    /// Header of the block that holds a transaction, if it is there. Only transactions with a log are known.
    pub fn header_of_transaction(&self, hash: B256) -> Option<Header> {
        self.header(*self.chain.blocks_of_transactions.get(&hash)?)
    }
}
