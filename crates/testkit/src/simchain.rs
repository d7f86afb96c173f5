//! A chain in memory: blocks, logs and contract answers, and nothing else.
//!
//! This is the truth. What a provider makes of it (refuses, cuts, forgets, invents) is the business of
//! [`crate::server`], so that every fault can be put in front of the same chain.

pub mod clock;
mod machine;
pub mod rpc;
pub mod view;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::{SolCall, SolError};
use lake::bronze::{Header, RawLog};
use protocols::multicall::IMulticall3;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

pub use clock::{Clock, ClockError};
pub use view::View;

/// Multicall3 has the same address on every chain that has it.
pub const MULTICALL3: Address = protocols::multicall::ADDRESS;

/// What the contracts of a chain answer.
pub trait Contracts: Send + Sync {
    /// Whether there is code at this address in this block.
    fn has_code(&self, to: Address, block: &Header) -> bool;

    /// The return data of a view call, made at the end of this block.
    ///
    /// # Errors
    /// The revert data, which may be empty.
    fn call(&self, to: Address, input: &[u8], block: &Header) -> Result<Bytes, Bytes>;
}

/// A chain without contracts.
#[derive(Debug, Clone, Copy)]
pub struct NoContracts;

impl Contracts for NoContracts {
    fn has_code(&self, _to: Address, _block: &Header) -> bool {
        false
    }

    fn call(&self, _to: Address, _input: &[u8], _block: &Header) -> Result<Bytes, Bytes> {
        Ok(Bytes::new())
    }
}

/// Why a chain cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The clock does not know all the blocks.
    #[error("the clock knows blocks {known_first} to {known_last}, the chain has {first} to {last}")]
    Clock {
        /// First block of the clock.
        known_first: u64,
        /// Last block of the clock.
        known_last: u64,
        /// First block of the chain.
        first: u64,
        /// Last block of the chain.
        last: u64,
    },
    /// A log in a block that the chain does not have.
    #[error("there is a log in block {block}, which is not on the chain")]
    LogOffChain {
        /// Block of the log.
        block: u64,
    },
    /// Two recorded logs disagree about the hash of their block.
    #[error("two logs give different hashes for block {block}")]
    TwoHashes {
        /// The block.
        block: u64,
    },
    /// Two logs with one place.
    #[error("block {block} has two logs with index {log_index}")]
    TwoLogs {
        /// The block.
        block: u64,
        /// The index.
        log_index: u64,
    },
}

/// A log to be put on a simulated chain, which fills in the hashes of its block and transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// Block.
    pub block: u64,
    /// Index of the transaction in its block.
    pub tx_index: u64,
    /// Index of the log in its block.
    pub log_index: u64,
    /// Emitting contract.
    pub address: Address,
    /// Topics.
    pub topics: Vec<B256>,
    /// Unindexed arguments.
    pub data: Bytes,
}

/// A chain in memory.
///
/// Hashes are a function of chain id and number, and end with the number, so that a hash leads back to its block
/// without a table of millions of blocks. Blocks with recorded logs keep their real hash.
pub struct SimChain {
    chain_id: u64,
    first: u64,
    head: AtomicU64,
    finality: u64,
    clock: Clock,
    recorded_hashes: HashMap<u64, B256>,
    numbers_of_recorded: HashMap<B256, u64>,
    logs: BTreeMap<u64, Vec<RawLog>>,
    /// Blocks of the transactions that have a log.
    blocks_of_transactions: HashMap<B256, u64>,
    contracts: Box<dyn Contracts>,
    multicall3_from: Option<u64>,
}

impl std::fmt::Debug for SimChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimChain")
            .field("chain_id", &self.chain_id)
            .field("first", &self.first)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}

impl SimChain {
    /// A chain with these blocks, without logs and contracts, final up to its head, with Multicall3 from its start.
    ///
    /// # Errors
    /// [`ChainError::Clock`] when the clock does not know all the blocks.
    pub fn new(chain_id: u64, blocks: RangeInclusive<u64>, clock: Clock) -> Result<Self, ChainError> {
        let (first, last) = (*blocks.start(), *blocks.end());
        let (known_first, known_last) = (clock.first(), clock.last());
        if first > last || first < known_first || last > known_last {
            return Err(ChainError::Clock { known_first, known_last, first, last });
        }
        Ok(Self {
            chain_id,
            first,
            head: AtomicU64::new(last),
            finality: 0,
            clock,
            recorded_hashes: HashMap::new(),
            numbers_of_recorded: HashMap::new(),
            logs: BTreeMap::new(),
            blocks_of_transactions: HashMap::new(),
            contracts: Box::new(NoContracts),
            multicall3_from: Some(first),
        })
    }

    /// The chain with its last `blocks` blocks not final.
    #[must_use]
    pub fn with_finality(self, blocks: u64) -> Self {
        Self { finality: blocks, ..self }
    }

    /// The chain with these contracts.
    #[must_use]
    pub fn with_contracts(self, contracts: impl Contracts + 'static) -> Self {
        Self { contracts: Box::new(contracts), ..self }
    }

    /// The chain with Multicall3 from this block on, or without it.
    #[must_use]
    pub fn with_multicall3_from(self, block: Option<u64>) -> Self {
        Self { multicall3_from: block, ..self }
    }

    /// The chain with logs of another chain as they are: their blocks take the hashes that the logs name.
    ///
    /// # Errors
    /// [`ChainError`] for a log off the chain, two logs in one place, or hashes that disagree.
    pub fn with_recorded_logs(mut self, logs: impl IntoIterator<Item = RawLog>) -> Result<Self, ChainError> {
        for log in logs {
            let hash = *self.recorded_hashes.entry(log.block_number).or_insert(log.block_hash);
            if hash != log.block_hash {
                return Err(ChainError::TwoHashes { block: log.block_number });
            }
            self.numbers_of_recorded.insert(hash, log.block_number);
            self.add(log)?;
        }
        Ok(self)
    }

    /// The chain with logs of its own.
    ///
    /// # Errors
    /// [`ChainError`] for a log off the chain or two logs in one place.
    pub fn with_logs(mut self, logs: impl IntoIterator<Item = Emitted>) -> Result<Self, ChainError> {
        for log in logs {
            let mut tx = B256::from(self.own_hash(log.block));
            tx[0] = 0x7f;
            tx[1..9].copy_from_slice(&log.tx_index.to_be_bytes());
            self.add(RawLog {
                address: log.address,
                topics: log.topics,
                data: log.data,
                block_number: log.block,
                block_hash: self.hash(log.block),
                transaction_hash: keccak256(tx),
                transaction_index: log.tx_index,
                log_index: log.log_index,
            })?;
        }
        Ok(self)
    }

    fn add(&mut self, log: RawLog) -> Result<(), ChainError> {
        // Beyond today's head is fine: the log appears when the chain gets there.
        if log.block_number < self.first || log.block_number > self.clock.last() {
            return Err(ChainError::LogOffChain { block: log.block_number });
        }
        let (block, log_index) = (log.block_number, log.log_index);
        self.blocks_of_transactions.insert(log.transaction_hash, block);
        let logs = self.logs.entry(block).or_default();
        match logs.binary_search_by_key(&log_index, |log| log.log_index) {
            Ok(_) => Err(ChainError::TwoLogs { block, log_index }),
            Err(at) => {
                logs.insert(at, log);
                Ok(())
            }
        }
    }

    /// EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// First block.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Last block.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// Last final block.
    pub fn finalized(&self) -> u64 {
        self.view().finalized()
    }

    /// The chain up to its head.
    pub fn view(&self) -> View<'_> {
        self.view_at(self.head())
    }

    /// The chain as a node sees it that has got as far as `head`, or as the chain itself if that is less.
    pub fn view_at(&self, head: u64) -> View<'_> {
        View::new(self, head.clamp(self.first, self.head()))
    }

    /// Grows the chain up to this block, or up to the last that the clock knows. A chain never shrinks.
    pub fn advance_to(&self, head: u64) {
        self.head.fetch_max(head.min(self.clock.last()), Ordering::Relaxed);
    }

    /// Hash of a block, whether the chain is there yet or not.
    pub fn hash(&self, number: u64) -> B256 {
        self.recorded_hashes.get(&number).copied().unwrap_or_else(|| self.own_hash(number))
    }

    fn own_hash(&self, number: u64) -> B256 {
        let mut seed = [0_u8; 16];
        seed[..8].copy_from_slice(&self.chain_id.to_be_bytes());
        seed[8..].copy_from_slice(&number.to_be_bytes());
        let mut hash = keccak256(seed);
        hash[24..].copy_from_slice(&number.to_be_bytes());
        hash
    }

    /// Header of a block, if the chain has it.
    pub fn header(&self, number: u64) -> Option<Header> {
        self.view().header(number)
    }

    /// Header of the block with this hash, if the chain has it.
    pub fn header_by_hash(&self, hash: B256) -> Option<Header> {
        self.view().header_by_hash(hash)
    }

    /// The logs of these blocks, in order.
    pub fn logs(&self, blocks: RangeInclusive<u64>) -> impl Iterator<Item = &RawLog> {
        self.view().logs(blocks)
    }

    /// Whether there is code at an address.
    pub fn has_code(&self, to: Address, block: &Header) -> bool {
        if to == MULTICALL3 { self.has_multicall3(block) } else { self.contracts.has_code(to, block) }
    }

    fn has_multicall3(&self, block: &Header) -> bool {
        self.multicall3_from.is_some_and(|from| from <= block.number)
    }

    /// The return data of a view call. An address without code returns nothing and succeeds, as on a real chain.
    ///
    /// # Errors
    /// The revert data.
    pub fn call(&self, to: Address, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        if !self.has_code(to, block) {
            Ok(Bytes::new())
        } else if to == MULTICALL3 {
            self.multicall(input, block)
        } else {
            self.contracts.call(to, input, block)
        }
    }

    /// Multicall3's `aggregate3`; its other functions are not simulated and revert.
    fn multicall(&self, input: &[u8], block: &Header) -> Result<Bytes, Bytes> {
        let batch = IMulticall3::aggregate3Call::abi_decode(input).map_err(|_| Bytes::new())?;
        let mut results = Vec::with_capacity(batch.calls.len());
        for call in batch.calls {
            let (success, return_data) = match self.call(call.target, &call.callData, block) {
                Ok(data) => (true, data),
                Err(data) => (false, data),
            };
            if !success && !call.allowFailure {
                let reason = "Multicall3: call failed".to_owned();
                return Err(alloy_sol_types::Revert { reason }.abi_encode().into());
            }
            results.push(IMulticall3::Result { success, returnData: return_data });
        }
        Ok(IMulticall3::aggregate3Call::abi_encode_returns(&results).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> SimChain {
        SimChain::new(7, 10..=50, Clock::every(12, 0..=60, 1_000).unwrap()).unwrap()
    }

    fn recorded(block_number: u64, log_index: u64, hash: u8) -> RawLog {
        RawLog {
            address: Address::repeat_byte(1),
            topics: vec![],
            data: Bytes::new(),
            block_number,
            block_hash: B256::repeat_byte(hash),
            transaction_hash: B256::repeat_byte(9),
            transaction_index: 0,
            log_index,
        }
    }

    #[test]
    fn headers_link_also_around_a_recorded_hash() {
        let chain = chain().with_recorded_logs([recorded(20, 3, 5)]).unwrap();
        assert_eq!(chain.header(20).unwrap().hash, B256::repeat_byte(5));
        for number in 11..=50 {
            let (parent, child) = (chain.header(number - 1).unwrap(), chain.header(number).unwrap());
            assert_eq!(child.parent_hash, parent.hash);
            assert!(child.timestamp > parent.timestamp);
            assert_eq!(chain.header_by_hash(child.hash), Some(child));
        }
        assert_eq!(chain.header(9), None);
        assert_eq!(chain.header(51), None);
        assert_eq!(chain.header_by_hash(chain.own_hash(20)), None, "the recorded hash took its place");
    }

    #[test]
    fn the_chain_grows_up_to_what_its_clock_knows() {
        let chain = chain().with_finality(5);
        assert_eq!((chain.head(), chain.finalized()), (50, 45));
        chain.advance_to(55);
        chain.advance_to(40);
        assert_eq!((chain.head(), chain.finalized()), (55, 50));
        chain.advance_to(1_000);
        assert_eq!(chain.head(), 60);
    }

    #[test]
    fn logs_that_contradict_each_other_are_refused() {
        let add = |logs: Vec<RawLog>| chain().with_recorded_logs(logs).map(drop);
        assert_eq!(add(vec![recorded(9, 0, 1)]), Err(ChainError::LogOffChain { block: 9 }));
        assert_eq!(
            add(vec![recorded(20, 0, 1), recorded(20, 1, 2)]),
            Err(ChainError::TwoHashes { block: 20 })
        );
        assert_eq!(
            add(vec![recorded(20, 1, 1), recorded(20, 1, 1)]),
            Err(ChainError::TwoLogs { block: 20, log_index: 1 })
        );
    }

    #[test]
    fn logs_come_in_order_whatever_the_order_they_were_given_in() {
        let chain =
            chain().with_recorded_logs([recorded(30, 2, 1), recorded(20, 9, 2), recorded(30, 1, 1)]).unwrap();
        let places = |blocks| chain.logs(blocks).map(|l| (l.block_number, l.log_index)).collect::<Vec<_>>();
        assert_eq!(places(0..=100), [(20, 9), (30, 1), (30, 2)]);
        assert_eq!(places(21..=29), []);
        assert_eq!(places(60..=100), []);
    }

    #[test]
    fn a_month_of_arbitrum_takes_no_room_for_its_blocks() {
        let blocks = 260_000_000..=270_713_600_u64;
        let chain =
            SimChain::new(42_161, blocks.clone(), Clock::every_ms(250, blocks, 1_733_029_200).unwrap())
                .unwrap();
        // Every thousandth block with a neighbour, by number and by hash; nothing was kept to know them.
        for number in (260_000_001..=270_713_600).step_by(1_000) {
            let header = chain.header(number).unwrap();
            assert_eq!(header.parent_hash, chain.header(number - 1).unwrap().hash);
            assert_eq!(header.timestamp, 1_733_029_200 + (number - 260_000_000) / 4);
            assert_eq!(chain.header_by_hash(header.hash), Some(header));
        }
        assert!(chain.recorded_hashes.is_empty() && chain.numbers_of_recorded.is_empty());
    }

    #[test]
    fn a_node_that_is_behind_sees_a_shorter_chain() {
        let chain =
            chain().with_finality(5).with_recorded_logs([recorded(30, 0, 1), recorded(45, 0, 2)]).unwrap();
        let behind = chain.view_at(40);
        assert_eq!((behind.head(), behind.finalized()), (40, 35));
        assert_eq!(behind.header(41), None);
        assert_eq!(behind.header_by_hash(chain.hash(41)), None);
        assert_eq!(behind.logs(0..=100).count(), 1);
        assert_eq!(chain.view_at(1_000).head(), 50, "no node is ahead of the chain");
    }
}
