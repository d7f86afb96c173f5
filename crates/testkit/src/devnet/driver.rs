//! Drives one chain: queues transactions, mines blocks at exact times, refuses anything that reverted.

use std::collections::HashMap;

use alloy_primitives::{Address, U256, hex};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};

use super::ChainSpec;
use super::rpc::{Rpc, number, quantity, text};

/// Gas of a block. Ethereum's of the time, so that what lendlake batches meets realistic limits.
pub const BLOCK_GAS: u64 = 30_000_000;
/// Far above the base fee at every block, and fixed: a price that anvil suggests would be one more thing to move.
const GAS_PRICE: u64 = 20_000_000_000;
/// Blocks asked for in one `anvil_mine`; a longer request could meet a timeout.
const MINE_AT_ONCE: u64 = 200;

/// A chain under construction.
#[derive(Debug)]
pub struct Driver {
    /// The chain's calendar.
    pub spec: &'static ChainSpec,
    rpc: Rpc,
    head: u64,
    queued: Vec<Queued>,
    queued_gas: u64,
    nonces: HashMap<Address, u64>,
    deployed: Vec<Address>,
}

#[derive(Debug)]
struct Queued {
    what: String,
    hash: String,
    request: Json,
}

impl Driver {
    /// Takes hold of a fresh chain and fixes its clock.
    ///
    /// # Errors
    /// When the node is not fresh.
    pub fn new(mut rpc: Rpc, spec: &'static ChainSpec) -> Result<Self> {
        let head = number(&rpc.call("eth_blockNumber", json!([]))?)?;
        ensure!(head == 0, "{}: the node already has {head} blocks", spec.name);
        // Every block from here on is exactly this much later than its parent, without any wall clock in it.
        rpc.call("anvil_setBlockTimestampInterval", json!([spec.block_seconds]))?;
        Ok(Self {
            spec,
            rpc,
            head: 0,
            queued: Vec::new(),
            queued_gas: 0,
            nonces: HashMap::new(),
            deployed: Vec::new(),
        })
    }

    /// The last block mined.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// The number of the block that queued transactions will be in.
    pub fn next_block(&self) -> u64 {
        self.head + 1
    }

    /// Whether nothing is queued.
    pub fn is_idle(&self) -> bool {
        self.queued.is_empty()
    }

    /// The node.
    pub fn rpc(&mut self) -> &mut Rpc {
        &mut self.rpc
    }

    /// Every contract created so far by a transaction of ours.
    pub fn deployed(&self) -> &[Address] {
        &self.deployed
    }

    /// Lets `account` send without a key and gives it money for gas.
    ///
    /// # Errors
    /// When the node refuses.
    pub fn impersonate(&mut self, account: Address) -> Result<()> {
        self.rpc.call("anvil_setBalance", json!([account, quantity(10u64.pow(18))]))?;
        self.rpc.call("anvil_impersonateAccount", json!([account]))?;
        Ok(())
    }

    /// Queues a contract creation and returns the address it will have.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn deploy(&mut self, from: Address, what: &str, code: &[u8]) -> Result<Address> {
        // Measured: code deposit is 200 gas a byte, and constructors are small; 300 and 1.2 million leave room.
        let gas = 1_200_000 + 300 * code.len() as u64;
        let nonce = self.queue(from, None, &format!("deploy {what}"), code, gas, U256::ZERO)?;
        let address = from.create(nonce);
        self.deployed.push(address);
        Ok(address)
    }

    /// Queues a call.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn send(&mut self, from: Address, to: Address, what: &str, data: &[u8]) -> Result<()> {
        self.send_with_gas(from, to, what, data, 1_200_000)
    }

    /// Queues a call with an explicit gas limit.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn send_with_gas(
        &mut self,
        from: Address,
        to: Address,
        what: &str,
        data: &[u8],
        gas: u64,
    ) -> Result<()> {
        self.queue(from, Some(to), what, data, gas, U256::ZERO).map(|_| ())
    }

    /// Queues a call that sends so much of the chain's coin along.
    ///
    /// # Errors
    /// When the node refuses the transaction.
    pub fn send_with_value(
        &mut self,
        from: Address,
        to: Address,
        what: &str,
        data: &[u8],
        value: U256,
    ) -> Result<()> {
        self.queue(from, Some(to), what, data, 3_000_000, value).map(|_| ())
    }

    fn queue(
        &mut self,
        from: Address,
        to: Option<Address>,
        what: &str,
        data: &[u8],
        gas: u64,
        value: U256,
    ) -> Result<u64> {
        // A transaction that does not fit would silently land in a later block, so the block is closed first.
        if self.queued_gas + gas > BLOCK_GAS {
            self.mine()?;
        }
        let nonce = *self.nonces.entry(from).or_insert(0);
        let mut request = json!({
            "from": from,
            "data": hex::encode_prefixed(data),
            "gas": quantity(gas),
            "gasPrice": quantity(GAS_PRICE),
            "nonce": quantity(nonce),
        });
        if let Some(to) = to {
            request["to"] = json!(to);
        }
        if !value.is_zero() {
            request["value"] = json!(value);
        }
        let hash = self
            .rpc
            .call("eth_sendTransaction", json!([request]))
            .with_context(|| format!("{}: cannot send \"{what}\"", self.spec.name))?;
        self.nonces.insert(from, nonce + 1);
        self.queued_gas += gas;
        self.queued.push(Queued { what: what.to_owned(), hash: text(&hash)?.to_owned(), request });
        Ok(nonce)
    }

    /// Mines one block with everything queued, and makes sure that each transaction is in it and succeeded.
    ///
    /// # Errors
    /// When a transaction reverted or is missing; the message says which and why.
    pub fn mine(&mut self) -> Result<()> {
        self.rpc.call("evm_mine", json!([]))?;
        self.head += 1;
        let at = number(&self.rpc.call("eth_blockNumber", json!([]))?)?;
        ensure!(
            at == self.head,
            "{}: expected block {} and found {at}; something else mines",
            self.spec.name,
            self.head
        );
        self.queued_gas = 0;
        for queued in std::mem::take(&mut self.queued) {
            let receipt = self.rpc.call("eth_getTransactionReceipt", json!([queued.hash]))?;
            ensure!(
                !receipt.is_null() && number(&receipt["blockNumber"])? == self.head,
                "{}: \"{}\" is not in block {}",
                self.spec.name,
                queued.what,
                self.head
            );
            if number(&receipt["status"])? != 1 {
                let why = match self.rpc.call("eth_call", json!([queued.request, "latest"])) {
                    Ok(_) => "the same call succeeds now; perhaps out of gas".to_owned(),
                    Err(error) => error.to_string(),
                };
                bail!(
                    "{}: \"{}\" reverted in block {} (gas used {}): {why}",
                    self.spec.name,
                    queued.what,
                    self.head,
                    receipt["gasUsed"]
                );
            }
        }
        Ok(())
    }

    /// Mines what is queued, then empty blocks up to `height`.
    ///
    /// # Errors
    /// When the chain is already higher, or a queued transaction failed.
    pub fn mine_to(&mut self, height: u64) -> Result<()> {
        if !self.queued.is_empty() {
            self.mine()?;
        }
        ensure!(
            self.head <= height,
            "{}: block {height} is in the past, the head is {}; move the step to a later time",
            self.spec.name,
            self.head
        );
        while self.head < height {
            let n = MINE_AT_ONCE.min(height - self.head);
            self.rpc.call("anvil_mine", json!([quantity(n)]))?;
            self.head += n;
        }
        Ok(())
    }

    /// Makes the next block the first one at or after `time`: what is queued next happens there.
    ///
    /// # Errors
    /// When that block is in the past.
    pub fn go_to(&mut self, time: u64) -> Result<()> {
        let block = self.spec.first_block_at(time);
        ensure!(block > 0, "{}: {time} is before the chain's first block", self.spec.name);
        self.mine_to(block - 1)
    }

    /// Reads one word at the head.
    ///
    /// # Errors
    /// When the call fails.
    pub fn read(&mut self, to: Address, data: &[u8]) -> Result<Vec<u8>> {
        ensure!(self.queued.is_empty(), "{}: reading with transactions still queued", self.spec.name);
        let head = self.head;
        self.rpc.eth_call(to, data, head)
    }
}

/// The whole 256-bit range, which contracts take as "everything".
pub const EVERYTHING: U256 = U256::MAX;
