//! A story of any family: a chain of a few days, on which contracts are deployed and transactions sent at chosen
//! times, and what really happened on it, read header by header and receipt by receipt.

use std::path::Path;

use alloy_primitives::{Address, B256, U256, address, hex, keccak256};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::aave::{DEPLOYER, deploy_multicall3, units};
use super::abi::{self, Value, uint_at};
use super::anvil::Anvil;
use super::artifacts::Artifacts;
use super::driver::Driver;
use super::rpc::{Rpc, number, quantity, text};
use super::solidity::{self, OURS, Settings, Sources};
use super::{BLOCKS_AFTER_THE_END, ChainSpec, Day};

/// A chain with a block exactly at New York's midnight, every 240 s (2024-11-04 12:00:00 UTC and on).
pub static STORY_CHAIN: ChainSpec =
    ChainSpec { name: "storynet", chain_id: 900_003, genesis: 1_730_721_600, block_seconds: 240 };

/// The days of a story, New York's, in standard time: each begins at 05:00 UTC.
pub const STORY_DAYS: [Day; 3] = [
    Day { date: "2024-11-05", start: 1_730_782_800, end: 1_730_869_200 },
    Day { date: "2024-11-06", start: 1_730_869_200, end: 1_730_955_600 },
    Day { date: "2024-11-07", start: 1_730_955_600, end: 1_731_042_000 },
];

/// Decimals of a feed of ours.
const FEED_DECIMALS: u8 = 8;

/// The accounts of anvil's test mnemonic that play: the deployer is another one.
pub const PEOPLE: [Address; 8] = [
    address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    address!("90F79bf6EB2c4f870365E785982E1f101E93b906"),
    address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65"),
    address!("9965507D1a55bcC2695C58ba16FB37d819B0A4dc"),
    address!("976EA74026E726554dB657fA54763abd0C3a0aa9"),
    address!("14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
    address!("23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f"),
];

/// A token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The contract.
    pub address: Address,
    /// Decimals.
    pub decimals: u8,
    /// Symbol.
    pub symbol: &'static str,
}

/// A price feed of ours: dollars with 8 decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The contract.
    pub address: Address,
}

/// A chain while its story is being told.
#[derive(Debug)]
pub struct Story {
    /// The packages.
    pub artifacts: Artifacts,
    /// The chain.
    pub chain: Driver,
    /// The first block with Multicall3.
    pub multicall3_block: u64,
    days: &'static [Day],
    node: Anvil,
    states: Option<TempDir>,
}

/// A chain whose story is told. The node runs until this is dropped.
#[derive(Debug)]
pub struct Told {
    /// Where the node listens.
    pub url: String,
    /// The chain's calendar.
    pub spec: &'static ChainSpec,
    /// The first block with Multicall3.
    pub multicall3_block: u64,
    /// A client of the node, for answers by another road than lendlake's.
    pub rpc: Rpc,
    /// The node.
    pub node: Anvil,
    /// Every contract created by a transaction of the story.
    pub contracts: Vec<Address>,
    headers: Vec<Header>,
    _states: Option<TempDir>,
}

/// A block as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its number.
    pub number: u64,
    /// Its time.
    pub timestamp: u64,
    /// Its hash.
    pub hash: String,
    pub(super) transactions: usize,
}

/// A log as its receipt has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Number and time of its block.
    pub block: Header,
    /// Position among the logs of the block, counted.
    pub index: u64,
    /// Its transaction.
    pub tx: String,
    /// Who sent the transaction.
    pub sender: Address,
    /// Who emitted it.
    pub emitter: Address,
    /// Its topics.
    pub topics: Vec<B256>,
    /// Its data.
    pub data: Vec<u8>,
}

impl Emitted {
    /// A topic as an address.
    ///
    /// # Errors
    /// When there is none, or it is wider.
    pub fn address_topic(&self, index: usize) -> Result<Address> {
        abi::address_at(self.topics.get(index).context("too few topics")?.as_slice(), 0)
    }

    /// A word of the data.
    ///
    /// # Errors
    /// When the data are shorter.
    pub fn word(&self, index: usize) -> Result<U256> {
        uint_at(&self.data, index)
    }
}

impl Story {
    /// A fresh chain with Multicall3, its node's states below `scratch`, its packages in `cache`.
    ///
    /// # Errors
    /// When npm, or the node, fails.
    pub fn begin(cache: &Path, scratch: &Path) -> Result<Self> {
        let artifacts = Artifacts::fetch(cache)?;
        std::fs::create_dir_all(scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        let states = tempfile::Builder::new().prefix("story-").tempdir_in(scratch)?;
        let story = Self::begin_on(&STORY_CHAIN, &STORY_DAYS, &artifacts, states.path())?;
        Ok(Self { states: Some(states), ..story })
    }

    /// A fresh chain of this calendar with Multicall3, for a story of these days; its node's states are in `states`.
    ///
    /// # Errors
    /// When the node fails.
    pub fn begin_on(
        spec: &'static ChainSpec,
        days: &'static [Day],
        artifacts: &Artifacts,
        states: &Path,
    ) -> Result<Self> {
        let node = Anvil::start(artifacts.anvil(), spec, states)?;
        let mut chain = Driver::new(node.rpc(), spec)?;
        let multicall3_block = deploy_multicall3(&mut chain, artifacts)?;
        Ok(Self { artifacts: artifacts.clone(), chain, multicall3_block, days, node, states: None })
    }

    /// Compiles contracts of one file of our own.
    ///
    /// # Errors
    /// When the compiler refuses it.
    pub fn compile_ours(&self, file: &str, contracts: &[&str]) -> Result<solidity::Compiled> {
        self.compile(&Sources::of(&[file], &[])?, contracts, OURS)
    }

    /// Compiles contracts of these sources.
    ///
    /// # Errors
    /// When the compiler refuses them.
    pub fn compile(
        &self,
        sources: &Sources,
        contracts: &[&str],
        settings: Settings,
    ) -> Result<solidity::Compiled> {
        solidity::compile(self.artifacts.cache(), sources, contracts, settings)
    }

    /// Creation code of a token of ours, which takes a symbol and decimals.
    ///
    /// # Errors
    /// When the compiler refuses it.
    pub fn token_code(&self) -> Result<Vec<u8>> {
        Ok(self.compile_ours("Token.sol", &["Token"])?.code("Token")?.to_vec())
    }

    /// Queues the creation of a token of ours.
    ///
    /// # Errors
    /// When the compiler, or the node, refuses.
    pub fn token(&mut self, symbol: &'static str, decimals: u8) -> Result<Token> {
        let code = self.token_code()?;
        let address = self.create(symbol, &code, &[symbol.into(), u64::from(decimals).into()])?;
        Ok(Token { address, decimals, symbol })
    }

    /// Queues the creation of a feed of ours that says it is `description`, at a price in dollars.
    ///
    /// # Errors
    /// When the compiler, or the node, refuses.
    pub fn feed(&mut self, description: &str, usd: &str) -> Result<Feed> {
        let code = self.compile_ours("Feed.sol", &["Feed"])?.code("Feed")?.to_vec();
        let args = [description.into(), u64::from(FEED_DECIMALS).into(), units(usd, FEED_DECIMALS)?.into()];
        Ok(Feed { address: self.create(description, &code, &args)? })
    }

    /// Moves a feed of ours.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn move_feed(&mut self, feed: Feed, usd: &str) -> Result<()> {
        self.admin(feed.address, "set(int256)", &[units(usd, FEED_DECIMALS)?.into()])
    }

    /// What follows happens in the first block at or after this time of a day of the story, told in hours and minutes since
    /// its midnight; day 0 is the day before the first, and there is one after the last.
    ///
    /// # Errors
    /// When that block is in the past, or something queued failed.
    pub fn at(&mut self, day: usize, hour: u64, minute: u64) -> Result<()> {
        let (first, last) = (self.days.first().context("no days")?, self.days.last().context("no days")?);
        let midnight = match day.checked_sub(1) {
            None => first.start - 86_400,
            Some(index) => self.days.get(index).map_or(last.end, |day| day.start),
        };
        self.chain.go_to(midnight + hour * 3_600 + minute * 60)
    }

    /// Queues a creation by the deployer.
    ///
    /// # Errors
    /// When the node refuses it.
    pub fn create(&mut self, what: &str, code: &[u8], args: &[Value]) -> Result<Address> {
        let code = [code, &abi::arguments(args)].concat();
        self.chain.deploy(DEPLOYER, what, &code)
    }

    /// Queues a call, named in errors by its signature.
    ///
    /// # Errors
    /// When the node refuses it.
    pub fn send(&mut self, from: Address, to: Address, signature: &str, args: &[Value]) -> Result<()> {
        self.chain.send_with_gas(from, to, signature, &abi::call(signature, args), 3_000_000)
    }

    /// Queues a call by the deployer.
    ///
    /// # Errors
    /// When the node refuses it.
    pub fn admin(&mut self, to: Address, signature: &str, args: &[Value]) -> Result<()> {
        self.send(DEPLOYER, to, signature, args)
    }

    /// Mines what is queued and reads at the head.
    ///
    /// # Errors
    /// When something queued failed, or the call does.
    pub fn read(&mut self, to: Address, signature: &str, args: &[Value]) -> Result<Vec<u8>> {
        if !self.chain.is_idle() {
            self.chain.mine()?;
        }
        self.chain.read(to, &abi::call(signature, args))
    }

    /// Gives someone tokens of ours, and lets a contract take them.
    ///
    /// # Errors
    /// When the node refuses a transaction.
    pub fn fund(&mut self, who: Address, token: Address, spender: Address, amount: U256) -> Result<()> {
        self.send(who, token, "mint(address,uint256)", &[who.into(), amount.into()])?;
        self.send(who, token, "approve(address,uint256)", &[spender.into(), amount.into()])
    }

    /// Mines to the end of the last day and beyond, and reads every header.
    ///
    /// # Errors
    /// When something queued failed, or the headers are not those that the clock demands.
    pub fn end(mut self) -> Result<Told> {
        let spec = self.chain.spec;
        let end = spec.first_block_at(self.days.last().context("no days")?.end);
        self.chain.mine_to(end.max(self.chain.next_block()) + BLOCKS_AFTER_THE_END)?;
        let mut rpc = self.node.rpc();
        let headers = read_headers(&mut rpc, spec, self.chain.head())?;
        Ok(Told {
            url: self.node.url(),
            spec,
            multicall3_block: self.multicall3_block,
            rpc,
            contracts: self.chain.deployed().to_vec(),
            headers,
            node: self.node,
            _states: self.states,
        })
    }
}

/// Every header of a chain up to `head`, each of the time that the calendar says and the child of the one before.
///
/// # Errors
/// When a call fails, or a header is not so.
pub(super) fn read_headers(rpc: &mut Rpc, spec: &ChainSpec, head: u64) -> Result<Vec<Header>> {
    let mut headers: Vec<Header> = Vec::new();
    for n in 0..=head {
        let block = rpc.call("eth_getBlockByNumber", json!([quantity(n), false]))?;
        ensure!(!block.is_null(), "block {n} is missing");
        let header = Header {
            number: number(&block["number"])?,
            timestamp: number(&block["timestamp"])?,
            hash: text(&block["hash"])?.to_owned(),
            transactions: block["transactions"].as_array().context("a block without transactions")?.len(),
        };
        ensure!(header.number == n, "block {} was given for {n}", header.number);
        ensure!(
            header.timestamp == spec.time_of(n),
            "block {n} has the time {} and not {}: wall-clock time crept in",
            header.timestamp,
            spec.time_of(n)
        );
        if let Some(parent) = headers.last() {
            ensure!(text(&block["parentHash"])? == parent.hash, "block {n} does not follow its parent");
        }
        headers.push(header);
    }
    Ok(headers)
}

impl Told {
    /// The last block of the chain.
    pub fn head(&self) -> u64 {
        self.headers.last().map_or(0, |header| header.number)
    }

    fn of_day(&self, day: &Day) -> impl DoubleEndedIterator<Item = &Header> {
        let span = day.start..day.end;
        self.headers.iter().filter(move |header| span.contains(&header.timestamp))
    }

    /// The first block of a day.
    ///
    /// # Errors
    /// When the day has none.
    pub fn first_block(&self, day: &Day) -> Result<Header> {
        self.of_day(day).next().cloned().with_context(|| format!("{} has no block", day.date))
    }

    /// The last block of a day.
    ///
    /// # Errors
    /// When the day has none.
    pub fn last_block(&self, day: &Day) -> Result<Header> {
        self.of_day(day).next_back().cloned().with_context(|| format!("{} has no block", day.date))
    }

    /// Blocks of a day.
    pub fn blocks(&self, day: &Day) -> usize {
        self.of_day(day).count()
    }

    /// One call, at the end of a block.
    ///
    /// # Errors
    /// When it reverts.
    pub fn call(&mut self, block: u64, to: Address, signature: &str, args: &[Value]) -> Result<Vec<u8>> {
        self.rpc.eth_call(to, &abi::call(signature, args), block).with_context(|| signature.to_owned())
    }

    /// One call whose answer begins with a number.
    ///
    /// # Errors
    /// When it reverts or answers nothing.
    pub fn uint(&mut self, block: u64, to: Address, signature: &str, args: &[Value]) -> Result<U256> {
        uint_at(&self.call(block, to, signature, args)?, 0)
    }

    /// Every log of a day whose first topic is that of one of these events, from the receipts of every transaction.
    ///
    /// # Errors
    /// When a receipt cannot be read.
    pub fn logs(&mut self, day: &Day, events: &[&str]) -> Result<Vec<Emitted>> {
        let wanted: Vec<B256> = events.iter().map(|event| keccak256(event.as_bytes())).collect();
        let blocks: Vec<Header> =
            self.of_day(day).filter(|header| header.transactions > 0).cloned().collect();
        let mut found = Vec::new();
        for block in blocks {
            let receipts = self.rpc.call("eth_getBlockReceipts", json!([quantity(block.number)]))?;
            let receipts = receipts.as_array().context("eth_getBlockReceipts gave no list")?;
            ensure!(receipts.len() == block.transactions, "not every transaction has a receipt");
            let mut index = 0;
            for receipt in receipts {
                for log in receipt["logs"].as_array().context("a receipt without logs")? {
                    let topics: Vec<B256> = serde_json::from_value(log["topics"].clone())?;
                    if topics.first().is_some_and(|topic| wanted.contains(topic)) {
                        found.push(Emitted {
                            block: block.clone(),
                            index,
                            tx: text(&receipt["transactionHash"])?.to_owned(),
                            sender: serde_json::from_value(receipt["from"].clone())?,
                            emitter: serde_json::from_value(log["address"].clone())?,
                            topics,
                            data: hex::decode(text(&log["data"])?)?,
                        });
                    }
                    index += 1;
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_of_a_story_are_new_yorks_and_join() {
        for day in STORY_DAYS {
            let start = day.date.parse::<jiff::civil::Date>().unwrap().in_tz("America/New_York").unwrap();
            assert_eq!(start.timestamp().as_second(), i64::try_from(day.start).unwrap());
            assert_eq!(STORY_CHAIN.time_of(STORY_CHAIN.first_block_at(day.start)), day.start);
        }
        for pair in STORY_DAYS.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
        }
    }
}
