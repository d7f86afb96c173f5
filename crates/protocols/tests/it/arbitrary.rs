//! Chains that answer anything: calls, logs and layouts made of a tape of choices.
//!
//! What is wholly random is refused at the first length check. So answers are made of words that mean something (small
//! numbers, offsets, addresses that are there, powers of ten, the largest and the smallest), in the forms that contracts
//! return: a word, a few, an array, a text, or cut off.

use lake::bronze::{CallRecord, Header, RawLog, ReadsAtBlock};
use lake::registry::Csu;
use lake::{Address, B256, U256};
use protocols::{Answers, Call, Discovery, Family, Layout, Market};
use std::collections::BTreeMap;

/// Choices. After `left` of them every choice is the first, so that a shorter tape is a simpler chain.
pub struct Tape {
    state: u64,
    left: u32,
}

impl Tape {
    pub fn new(seed: u64, left: u32) -> Self {
        Self { state: seed, left }
    }

    /// SplitMix64 (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        if self.left == 0 {
            return 0;
        }
        self.left -= 1;
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One of so many times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len());
        from.get(at)
    }

    /// One of a few addresses, so that they meet again.
    fn address(&mut self) -> Address {
        match self.below(8) {
            0 => Address::ZERO,
            1 => lake::registry::NATIVE_COIN,
            n => Address::repeat_byte(u8::try_from(n + self.below(6)).unwrap_or(1)),
        }
    }

    fn word(&mut self) -> U256 {
        match self.below(12) {
            0 => U256::ZERO,
            1 => U256::ONE,
            2 => U256::from(self.below(300)),
            3 => U256::from(10).pow(U256::from(self.below(40))),
            4 => U256::from(10).pow(U256::from(27)) + U256::from(self.next()),
            5 => U256::MAX,
            6 => U256::ONE << 255,
            7 => U256::from(self.next()),
            8 => U256::from_limbs([self.next(), self.next(), self.next(), self.next()]),
            9 => U256::from(32 * self.below(8)),
            10 => U256::from(1_733_000_000 + self.below(100_000)),
            _ => self.address().into_word().into(),
        }
    }

    fn words(&mut self, count: usize) -> Vec<u8> {
        (0..count).flat_map(|_| self.word().to_be_bytes::<32>()).collect()
    }

    /// The return data of some function.
    fn output(&mut self) -> Vec<u8> {
        let mut output = match self.below(10) {
            0 | 1 => self.words(1),
            2 => {
                let count = self.below(20);
                self.words(count)
            }
            // An array, of addresses mostly.
            3..=5 => {
                let count = self.below(5);
                let mut bytes = U256::from(32).to_be_bytes::<32>().to_vec();
                bytes.extend(U256::from(count).to_be_bytes::<32>());
                for _ in 0..count {
                    let word: U256 = self.address().into_word().into();
                    bytes.extend(word.to_be_bytes::<32>());
                }
                bytes
            }
            6 => self.address().into_word().to_vec(),
            // A text, of a length that may be a lie.
            7 => {
                let length = self.below(40);
                let mut bytes = U256::from(32).to_be_bytes::<32>().to_vec();
                bytes.extend(U256::from(length + self.below(2)).to_be_bytes::<32>());
                bytes.extend((0..length.div_ceil(32) * 32).map(|_| (self.next() % 256) as u8));
                bytes
            }
            8 => Vec::new(),
            // An array of structs: offsets into itself.
            _ => {
                let (count, width) = (self.below(4), 1 + self.below(24));
                let mut bytes = U256::from(32).to_be_bytes::<32>().to_vec();
                bytes.extend(U256::from(count).to_be_bytes::<32>());
                bytes.extend(self.words(count * width));
                bytes
            }
        };
        if self.once_in(16) {
            let length = self.below(output.len() + 1);
            output.truncate(length);
        }
        output
    }

    pub fn answer(&mut self, call: Call) -> CallRecord {
        let ok = !self.once_in(12);
        let output = self.output();
        call.answered(ok, output.into())
    }

    pub fn header(&mut self) -> Header {
        Header {
            number: self.next() % 50_000_000,
            hash: B256::repeat_byte(1),
            parent_hash: B256::repeat_byte(2),
            timestamp: 1_733_000_000 + self.next() % 100_000,
        }
    }

    /// A layout that no chain gave: as a cache of another version or a cut file might.
    fn layout(&mut self, known: &Layout) -> Layout {
        let mut layout = known.clone();
        if self.once_in(3) {
            layout.roots.clear();
        }
        for market in &mut layout.markets {
            if self.once_in(4) {
                market.contracts.clear();
            }
            if self.once_in(4) {
                market.id = format!("{:#x}", self.word());
            }
        }
        if self.once_in(4) {
            let roles = ["pool", "oracle", "token", "underlying", "base", "collateral", "vault", "asset"];
            let contracts = roles.iter().map(|role| ((*role).to_owned(), self.address()));
            let market = Market { id: "0x01".into(), contracts: contracts.collect::<BTreeMap<_, _>>() };
            layout.markets.push(market);
        }
        layout
    }

    /// A log that the filter asks for, or nearly.
    fn log(&mut self, addresses: &[Address], topics: &[B256], block: u64, log_index: u64) -> RawLog {
        let address = self.pick(addresses).copied().unwrap_or_default();
        let mut of_log: Vec<B256> = self.pick(topics).copied().into_iter().collect();
        if self.once_in(16) {
            of_log.clear();
        }
        for _ in 0..self.below(4) {
            of_log.push(B256::from(self.word()));
        }
        let data = if self.once_in(4) {
            self.output()
        } else {
            let count = self.below(12);
            self.words(count)
        };
        RawLog {
            address: if self.once_in(8) { self.address() } else { address },
            topics: of_log,
            data: data.into(),
            block_number: block,
            block_hash: B256::repeat_byte(1),
            transaction_hash: B256::repeat_byte((self.below(3)) as u8),
            transaction_index: 0,
            log_index,
        }
    }

    pub fn logs(&mut self, addresses: &[Address], topics: &[B256]) -> Vec<RawLog> {
        let (mut block, mut index) = (self.next() % 50_000_000, 0);
        (0..self.below(6))
            .map(|_| {
                block += self.next() % 2;
                index += 1 + self.next() % 3;
                self.log(addresses, topics, block, index)
            })
            .collect()
    }
}

/// What a chain of a tape says of a CSU.
pub struct Said {
    pub layout: Layout,
    pub snapshot: ReadsAtBlock,
    pub logs: Vec<RawLog>,
    pub reads: Vec<ReadsAtBlock>,
}

/// Asks a family's questions of a tape, as `extract` asks a chain.
pub fn ask(family: &dyn Family, csu: &Csu, tape: &mut Tape) -> Said {
    let history = family.history(csu).map(|filter| tape.logs(&filter.addresses, &filter.topic0));
    let history = history.unwrap_or_default();
    let mut records: Vec<CallRecord> = Vec::new();
    let mut layout = Layout::default();
    for _ in 0..8 {
        match family.discover(csu, &Answers::new(&records), &history) {
            Ok(Discovery::Ask(calls)) => {
                records.extend(calls.into_iter().take(200).map(|call| tape.answer(call)));
            }
            Ok(Discovery::Found(found)) => {
                layout = found;
                break;
            }
            Err(_) => break,
        }
    }
    if tape.once_in(3) {
        layout = tape.layout(&layout);
    }
    let plan = family.snapshot(csu, &layout);
    let mut calls: Vec<CallRecord> = plan.into_iter().take(400).map(|call| tape.answer(call)).collect();
    if tape.once_in(3) {
        // The answers of discovery hold for the snapshot, too: lists are read again.
        for call in &mut calls {
            let known = records.iter().find(|known| known.key == call.key && known.item == call.item);
            if let Some(known) = known {
                (call.ok, call.output) = (known.ok, known.output.clone());
            }
        }
    }
    let snapshot = ReadsAtBlock { block: tape.header(), calls };
    let filter = family.filter(csu, &[&layout]);
    let logs = tape.logs(&filter.addresses, &filter.topic0);
    let mut blocks: Vec<u64> = logs.iter().map(|log| log.block_number).collect();
    blocks.dedup();
    let reads = blocks
        .into_iter()
        .map(|number| {
            let of_block: Vec<&RawLog> = logs.iter().filter(|log| log.block_number == number).collect();
            let plan = family.event_reads(csu, &layout, &of_block);
            let calls = plan.into_iter().take(100).map(|call| tape.answer(call)).collect();
            ReadsAtBlock { block: Header { number, ..tape.header() }, calls }
        })
        .collect();
    Said { layout, snapshot, logs, reads }
}
