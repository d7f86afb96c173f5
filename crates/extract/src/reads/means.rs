//! The ways to have many view calls carried out at a block, and what a chain's endpoints have shown of them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Calls in one `eth_call`: within the gas that providers give (facts/protocols.md 1.2). Halved when a node says so.
pub(crate) const CALLS_PER_BATCH: usize = 150;

/// Members of a JSON-RPC batch. Some providers silently drop what is more (facts/rpc_providers.md 2.4).
pub(crate) const MEMBERS_PER_BATCH: usize = 50;

/// Good batches of a reduced size after which twice as many calls are tried.
const GROW_AFTER: u32 = 8;

/// What [`GROW_AFTER`] comes to at most, where growing has failed again and again.
const GROW_AFTER_AT_MOST: u32 = 1_024;

/// Batches after which refused means are tried again: endpoints change, and a refusal may have been a fault in
/// disguise.
const ASK_AGAIN_AFTER: u32 = 64;

/// A way to carry out view calls, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// One `eth_call` to the chain's Multicall3.
    ByAddress,
    /// One `eth_call` to Multicall3's address, with the code lent by a state override.
    ByOverride,
    /// One `eth_call` without `to`, whose init code brings Multicall3 along.
    Deployless,
    /// One HTTP request with one plain `eth_call` for each call.
    JsonBatch,
    /// One request for each call.
    OneByOne,
}

impl Means {
    /// Those that carry out more than one call in a request, the cheapest first.
    pub(crate) const BATCHES: [Self; 4] =
        [Self::ByAddress, Self::ByOverride, Self::Deployless, Self::JsonBatch];

    /// Calls in a batch that no node has refused yet.
    fn most(self) -> usize {
        match self {
            Self::ByAddress | Self::ByOverride | Self::Deployless => CALLS_PER_BATCH,
            Self::JsonBatch => MEMBERS_PER_BATCH,
            Self::OneByOne => 1,
        }
    }
}

/// How many calls a batch may have, after one was refused for its size, gas or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSize {
    /// Calls.
    calls: usize,
    /// Full batches answered since it last changed.
    good: u32,
    /// Full batches after which it grows.
    grow_after: u32,
    /// The size that was good before it last grew, until a batch of the new size is answered.
    grown_from: Option<usize>,
}

/// What a chain's endpoints have shown of the means. It changes how many requests are made, never what they bring, so
/// losing it costs nothing but these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadMemory {
    /// Means that were refused for what they are.
    refused: BTreeSet<Means>,
    /// Batches answered since the last of them was.
    batches_since_refusal: u32,
    /// Sizes below the usual.
    calls_per_batch: BTreeMap<Means, BatchSize>,
}

impl ReadMemory {
    /// The means that were refused for what they are.
    pub fn refused(&self) -> &BTreeSet<Means> {
        &self.refused
    }

    /// Calls of the next batch, at least one.
    pub fn calls_per_batch(&self, means: Means) -> usize {
        // What comes from a file may be anything.
        self.size(means).map_or(means.most(), |size| size.calls.clamp(1, means.most()))
    }

    /// The size of a means, if it is below the usual.
    pub(crate) fn size(&self, means: Means) -> Option<BatchSize> {
        self.calls_per_batch.get(&means).copied()
    }

    /// Puts a size back to what [`ReadMemory::size`] gave.
    pub(crate) fn put_back(&mut self, means: Means, size: Option<BatchSize>) {
        match size {
            Some(size) => drop(self.calls_per_batch.insert(means, size)),
            None => drop(self.calls_per_batch.remove(&means)),
        }
    }

    /// Keeps in mind that these means are not to be had.
    pub(crate) fn refuse(&mut self, means: impl IntoIterator<Item = Means>) {
        for means in means {
            self.refused.insert(means);
            self.batches_since_refusal = 0;
        }
    }

    /// Keeps in mind that a batch of so many calls was answered.
    pub(crate) fn answered(&mut self, means: Means, calls: usize) {
        if !self.refused.is_empty() {
            self.batches_since_refusal = self.batches_since_refusal.saturating_add(1);
            if self.batches_since_refusal >= ASK_AGAIN_AFTER {
                self.refused.clear();
                self.batches_since_refusal = 0;
            }
        }
        let Some(size) = self.calls_per_batch.get_mut(&means) else { return };
        // One that is not full shows nothing of the size.
        if calls < size.calls {
            return;
        }
        if size.grown_from.take().is_some() {
            size.good = 0;
            size.grow_after = GROW_AFTER;
        }
        size.good = size.good.saturating_add(1);
        if size.calls >= means.most() {
            self.calls_per_batch.remove(&means);
        } else if size.good >= size.grow_after {
            size.grown_from = Some(size.calls);
            size.calls = size.calls.saturating_mul(2).min(means.most());
            size.good = 0;
        }
    }

    /// Keeps in mind that a batch of so many calls was too large, and says how many the next may have. `told` is the
    /// number that the node named, if it did.
    pub(crate) fn too_large(&mut self, means: Means, calls: usize, told: Option<u64>) -> usize {
        let most = means.most();
        let size = self.calls_per_batch.entry(means).or_insert(BatchSize {
            calls: most,
            good: 0,
            grow_after: GROW_AFTER,
            grown_from: None,
        });
        let was_good = size.grown_from.take().filter(|good| *good < calls);
        if was_good.is_some() {
            // It is the node's limit, and no passing one: less often from now on.
            size.grow_after = size.grow_after.saturating_mul(2).clamp(GROW_AFTER, GROW_AFTER_AT_MOST);
        }
        let told = told.and_then(|told| usize::try_from(told).ok()).filter(|told| (1..calls).contains(told));
        let next = told.or(was_good).unwrap_or(calls / 2).max(1);
        size.good = 0;
        // Requests overlap: an older one's refusal does not undo what a later one's showed.
        size.calls = size.calls.min(next).max(1);
        size.calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many batches of a node with this limit it takes to read so many calls, and how many of them are refused.
    fn read(memory: &mut ReadMemory, limit: usize, mut calls: usize) -> (u32, u32) {
        let (mut sent, mut refused) = (0, 0);
        while calls > 0 {
            let mut size = memory.calls_per_batch(Means::ByAddress).min(calls);
            sent += 1;
            while size > limit {
                size = memory.too_large(Means::ByAddress, size, None);
                sent += 1;
                refused += 1;
            }
            memory.answered(Means::ByAddress, size);
            calls -= size;
        }
        (sent, refused)
    }

    #[test]
    fn a_smaller_size_is_paid_for_once_and_seldom_again() {
        let mut memory = ReadMemory::default();
        let days: Vec<(u32, u32)> = (0..90).map(|_| read(&mut memory, 40, 540)).collect();
        // 150 and 75 are refused, then 37 fits; the days after that try 74 now and then.
        assert_eq!(days[0].1, 2 + 1);
        let again: u32 = days[1..].iter().map(|(_, refused)| refused).sum();
        assert!(again <= 7, "{days:?}");
        assert!(days[30..].iter().all(|(sent, refused)| *sent == 15 + refused));
    }

    #[test]
    fn a_size_grows_back_to_the_usual_and_is_forgotten_then() {
        let mut memory = ReadMemory::default();
        read(&mut memory, 10, 150);
        assert_eq!(memory.calls_per_batch(Means::ByAddress), 9);
        let sizes: Vec<usize> = (0..60)
            .map(|_| {
                let size = memory.calls_per_batch(Means::ByAddress);
                memory.answered(Means::ByAddress, size);
                size
            })
            .collect();
        assert!(sizes.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == (pair[0] * 2).min(150)));
        assert_eq!(memory, ReadMemory::default());
    }

    #[test]
    fn a_number_that_a_node_names_is_taken_at_once() {
        let mut memory = ReadMemory::default();
        assert_eq!(memory.too_large(Means::JsonBatch, 50, Some(3)), 3);
        assert_eq!(memory.too_large(Means::JsonBatch, 3, Some(3)), 1, "a number that is no help");
        assert_eq!(memory.calls_per_batch(Means::ByAddress), 150, "each means has its own");
    }

    #[test]
    fn batches_that_are_not_full_prove_nothing() {
        let mut memory = ReadMemory::default();
        memory.too_large(Means::ByAddress, 150, None);
        (0..100).for_each(|_| memory.answered(Means::ByAddress, 74));
        assert_eq!(memory.calls_per_batch(Means::ByAddress), 75);
    }

    #[test]
    fn a_refused_means_gets_another_chance_after_many_batches() {
        let mut memory = ReadMemory::default();
        memory.refuse([Means::ByOverride]);
        (1..ASK_AGAIN_AFTER).for_each(|_| memory.answered(Means::Deployless, 150));
        assert_eq!(memory.refused(), &BTreeSet::from([Means::ByOverride]));
        memory.answered(Means::Deployless, 150);
        assert!(memory.refused().is_empty());
    }

    #[test]
    fn a_memory_from_a_file_never_asks_for_nothing() {
        let text = r#"{"refused":["by_override"],"calls_per_batch":
            {"deployless":{"calls":0,"good":0,"grow_after":0,"grown_from":0},
             "json_batch":{"calls":999,"good":4294967295,"grow_after":1,"grown_from":null}},"newer":1}"#;
        let mut memory: ReadMemory = serde_json::from_str(text).unwrap();
        assert_eq!(memory.calls_per_batch(Means::Deployless), 1);
        assert_eq!(memory.calls_per_batch(Means::JsonBatch), 50);
        for means in Means::BATCHES {
            memory.answered(means, 1);
            assert!(memory.too_large(means, 1, Some(0)) >= 1);
        }
        let text = serde_json::to_string(&memory).unwrap();
        assert_eq!(serde_json::from_str::<ReadMemory>(&text).unwrap(), memory);
    }

    proptest! {
        /// However a node refuses, every refusal of more than one call narrows, and nothing goes above the usual.
        #[test]
        fn every_refusal_narrows(
            steps in proptest::collection::vec((any::<bool>(), 1_usize..200, proptest::option::of(0_u64..300)), 1..200)
        ) {
            let mut memory = ReadMemory::default();
            for (good, calls, told) in steps {
                let before = memory.calls_per_batch(Means::ByOverride);
                let calls = calls.min(before);
                if good {
                    memory.answered(Means::ByOverride, calls);
                    prop_assert!(memory.calls_per_batch(Means::ByOverride) >= before);
                } else {
                    let next = memory.too_large(Means::ByOverride, calls, told);
                    prop_assert!(next < calls || calls == 1, "{calls} {next}");
                    prop_assert_eq!(memory.calls_per_batch(Means::ByOverride), next);
                }
                prop_assert!((1..=CALLS_PER_BATCH).contains(&memory.calls_per_batch(Means::ByOverride)));
            }
        }
    }
}
