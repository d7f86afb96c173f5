//! What an honest node with all of a chain's history answers over JSON-RPC.

use super::{MULTICALL3, SimChain, View, machine};
use alloy_primitives::{Address, B256, Bloom, Bytes};
use lake::bronze::{Header, RawLog};
use protocols::multicall;
use serde_json::{Value, json};

/// An error of JSON-RPC.
#[derive(Debug, Clone, PartialEq)]
pub struct RpcError {
    /// Code.
    pub code: i64,
    /// Message.
    pub message: String,
    /// Data: with a revert, what the contract returned.
    pub data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The error as it stands in an answer.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        error
    }

    fn params(what: &str) -> Self {
        Self::new(-32602, format!("invalid params: {what}"))
    }
}

/// The filter of an `eth_getLogs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogQuery {
    /// First block.
    pub from: u64,
    /// Last block.
    pub to: u64,
    /// Emitters; empty stands for any.
    pub addresses: Vec<Address>,
    /// For each topic the values allowed; empty stands for any.
    pub topics: Vec<Vec<B256>>,
}

impl LogQuery {
    /// Reads the parameters of an `eth_getLogs`.
    ///
    /// # Errors
    /// [`RpcError`] as a node gives it.
    pub fn read(chain: &View<'_>, params: &Value) -> Result<Self, RpcError> {
        let filter = &params[0];
        let block = |name: &str| match &filter[name] {
            Value::Null => Ok(chain.head()),
            tag => number_of_tag(chain, tag).ok_or_else(|| RpcError::params(name)),
        };
        let (from, to) = match &filter["blockHash"] {
            Value::Null => (block("fromBlock")?, block("toBlock")?),
            hash => {
                let header = parse(hash).and_then(|hash| chain.header_by_hash(hash));
                let number = header.ok_or_else(|| RpcError::new(-32000, "unknown block"))?.number;
                (number, number)
            }
        };
        if from > to {
            return Err(RpcError::new(-32602, "invalid block range params"));
        }
        let topics = match &filter["topics"] {
            Value::Null => Vec::new(),
            Value::Array(topics) => {
                topics.iter().map(one_or_many).collect::<Option<_>>().ok_or_else(bad_topics)?
            }
            _ => return Err(bad_topics()),
        };
        let addresses =
            one_or_many(&filter["address"]).ok_or_else(|| RpcError::params("address of the filter"))?;
        Ok(Self { from, to, addresses, topics })
    }

    /// Whether the filter asks for this log, its block aside.
    pub fn matches(&self, log: &RawLog) -> bool {
        let address = self.addresses.is_empty() || self.addresses.contains(&log.address);
        address
            && self.topics.iter().enumerate().all(|(at, allowed)| {
                allowed.is_empty() || log.topics.get(at).is_some_and(|topic| allowed.contains(topic))
            })
    }

    /// Number of blocks asked for.
    pub fn blocks(&self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }
}

fn bad_topics() -> RpcError {
    RpcError::params("topics of the filter")
}

/// `null` is none, a value is one, an array is many.
fn one_or_many<T: std::str::FromStr>(value: &Value) -> Option<Vec<T>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(values) => values.iter().map(parse).collect(),
        one => parse(one).map(|one| vec![one]),
    }
}

fn parse<T: std::str::FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

/// A number as JSON-RPC writes it.
pub fn quantity(number: u64) -> Value {
    Value::String(format!("{number:#x}"))
}

fn number_of_tag(chain: &View<'_>, tag: &Value) -> Option<u64> {
    match tag.as_str()? {
        "latest" | "pending" => Some(chain.head()),
        "finalized" => Some(chain.finalized()),
        // Between the two, as on a beacon chain.
        "safe" => Some(chain.finalized() + (chain.head() - chain.finalized()) / 2),
        "earliest" => Some(chain.chain().first()),
        number => u64::from_str_radix(number.strip_prefix("0x")?, 16).ok(),
    }
}

impl SimChain {
    /// What an honest node answers that has all of the chain.
    ///
    /// # Errors
    /// [`RpcError`] as geth words it.
    pub fn answer(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        self.view().answer(method, params)
    }
}

impl<'c> View<'c> {
    /// What an honest node answers.
    ///
    /// # Errors
    /// [`RpcError`] as geth words it.
    pub fn answer(&self, method: &str, params: &Value) -> Result<Value, RpcError> {
        match method {
            "eth_chainId" => Ok(quantity(self.chain().chain_id())),
            "net_version" => Ok(json!(self.chain().chain_id().to_string())),
            "eth_syncing" => Ok(json!(false)),
            "eth_blockNumber" => Ok(quantity(self.head())),
            "eth_getBlockByNumber" => {
                let number = number_of_tag(self, &params[0]).ok_or_else(|| RpcError::params("block"))?;
                Ok(self.header(number).map_or(Value::Null, |header| block_json(self, &header)))
            }
            "eth_getBlockByHash" => {
                let hash = parse(&params[0]).ok_or_else(|| RpcError::params("hash"))?;
                Ok(self.header_by_hash(hash).map_or(Value::Null, |header| block_json(self, &header)))
            }
            "eth_getLogs" => {
                let query = LogQuery::read(self, params)?;
                Ok(self.matching(&query).map(|log| log_json(self, log)).collect())
            }
            "eth_getTransactionReceipt" => {
                let hash = transaction_of(params)?;
                let header = self.header_of_transaction(hash);
                Ok(header.map_or(Value::Null, |header| receipt_json(self, &header, hash, |_| true)))
            }
            "eth_getBlockReceipts" => Ok(self
                .header_of_params(params)
                .map_or(Value::Null, |header| block_receipts_json(self, &header, |_| true))),
            "eth_call" => self.eth_call(params),
            "eth_getBalance" => {
                let _: Address = parse(&params[0]).ok_or_else(|| RpcError::params("address"))?;
                // Nobody has anything.
                self.block_of(&params[1]).map(|_| quantity(0))
            }
            "eth_getCode" => {
                let to = parse(&params[0]).ok_or_else(|| RpcError::params("address"))?;
                let block = self.block_of(&params[1])?;
                // Some code: an `INVALID`. Who asks wants to know whether there is any.
                Ok(json!(if self.chain().has_code(to, &block) { "0xfe" } else { "0x" }))
            }
            _ => Err(RpcError::new(-32601, format!("the method {method} does not exist/is not available"))),
        }
    }

    /// The logs that a filter asks for.
    pub fn matching<'q>(&self, query: &'q LogQuery) -> impl Iterator<Item = &'c RawLog> + use<'c, 'q> {
        self.logs(query.from..=query.to).filter(|log| query.matches(log))
    }

    /// Header of the block that the first parameter names by number, tag or hash, if it is there.
    pub fn header_of_params(&self, params: &Value) -> Option<Header> {
        let by_hash = || parse(&params[0]).and_then(|hash| self.header_by_hash(hash));
        number_of_tag(self, &params[0]).and_then(|number| self.header(number)).or_else(by_hash)
    }

    /// The block that a call is pinned to: a number, a tag, or EIP-1898's object.
    fn block_of(&self, block: &Value) -> Result<Header, RpcError> {
        let header = match block {
            Value::Null => self.header(self.head()),
            Value::Object(object) => match (object.get("blockHash"), object.get("blockNumber")) {
                (Some(hash), None) => parse(hash).and_then(|hash| self.header_by_hash(hash)),
                (None, Some(number)) => number_of_tag(self, number).and_then(|number| self.header(number)),
                _ => return Err(RpcError::params("block")),
            },
            tag => {
                let number = number_of_tag(self, tag).ok_or_else(|| RpcError::params("block"))?;
                self.header(number)
            }
        };
        header.ok_or_else(|| RpcError::new(-32000, "header not found"))
    }

    fn eth_call(&self, params: &Value) -> Result<Value, RpcError> {
        let request = &params[0];
        let input = match (&request["input"], &request["data"]) {
            (Value::Null, Value::Null) => Bytes::new(),
            (Value::Null, data) | (data, _) => parse(data).ok_or_else(|| RpcError::params("call data"))?,
        };
        let block = self.block_of(&params[1])?;
        let answer = match &request["to"] {
            Value::Null => self.create(&input, &block)?,
            to => {
                let to = parse(to).ok_or_else(|| RpcError::params("address"))?;
                match lent_code(&params[2], to)? {
                    // Whatever is lent to this address is Multicall3.
                    Some(_) if to == MULTICALL3 => self.chain().multicall(&input, &block),
                    Some(code) => machine::run(&code).ok_or_else(not_simulated)?,
                    None => self.chain().call(to, &input, &block),
                }
            }
        };
        answer.map(|data| json!(data)).map_err(|data| RpcError {
            code: 3,
            message: match alloy_sol_types::decode_revert_reason(&data) {
                Some(reason) => format!("execution reverted: {reason}"),
                None => "execution reverted".to_owned(),
            },
            data: Some(json!(data)),
        })
    }

    /// Runs the init code of a call without `to`: that of [`multicall::deployless`], or what the machine knows.
    fn create(&self, init_code: &[u8], block: &Header) -> Result<Result<Bytes, Bytes>, RpcError> {
        if init_code.len() > multicall::MOST_INIT_CODE {
            let (size, limit) = (init_code.len(), multicall::MOST_INIT_CODE);
            let message = format!("max initcode size exceeded: code size {size} limit {limit}");
            return Err(RpcError::new(-32000, message));
        }
        let Some(call_data) = multicall::deployless_call_data(init_code) else {
            return machine::run(init_code).ok_or_else(not_simulated);
        };
        Ok(match self.chain().multicall(call_data, block) {
            Ok(data) if data.len() <= multicall::MOST_RETURNED => Ok(data),
            Ok(data) => Err(data),
            Err(_) => Err(Bytes::new()),
        })
    }
}

/// The block that a call or another question about state is pinned to, if it names one that is there.
pub fn state_block(chain: &View<'_>, method: &str, params: &Value) -> Option<Header> {
    let at = match method {
        "eth_call" | "eth_getCode" | "eth_getBalance" => 1,
        "eth_getStorageAt" => 2,
        _ => return None,
    };
    chain.block_of(&params[at]).ok()
}

/// The code that the third parameter of a call lends to an address.
fn lent_code(overrides: &Value, address: Address) -> Result<Option<Bytes>, RpcError> {
    let mut accounts = overrides.as_object().into_iter().flatten();
    let lent =
        accounts.find(|(account, state)| account.parse() == Ok(address) && state.get("code").is_some());
    lent.map(|(_, state)| parse(&state["code"]).ok_or_else(|| RpcError::params("code of an override")))
        .transpose()
}

fn not_simulated() -> RpcError {
    RpcError::params("code with jumps, calls or storage is not simulated, but for Multicall3's")
}

/// A block with every field that clients insist on; what the chain does not simulate is empty or zero.
fn block_json(chain: &View<'_>, header: &Header) -> Value {
    let zero_hash = B256::ZERO;
    let bloom = bloom_of(chain.logs(header.number..=header.number));
    json!({
        "number": quantity(header.number),
        "hash": header.hash,
        "parentHash": header.parent_hash,
        "timestamp": quantity(header.timestamp),
        "nonce": "0x0000000000000000",
        "sha3Uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
        "logsBloom": bloom,
        "transactionsRoot": zero_hash,
        "stateRoot": zero_hash,
        "receiptsRoot": zero_hash,
        "mixHash": zero_hash,
        "miner": Address::ZERO,
        "difficulty": "0x0",
        "extraData": "0x",
        "size": "0x220",
        "gasLimit": "0x1c9c380",
        "gasUsed": "0x0",
        "baseFeePerGas": "0x7",
        "transactions": [],
        "uncles": [],
    })
}

/// The transaction that a receipt is asked of.
///
/// # Errors
/// [`RpcError`] for what is no hash.
pub fn transaction_of(params: &Value) -> Result<B256, RpcError> {
    parse(&params[0]).ok_or_else(|| RpcError::params("hash"))
}

/// The receipt of a transaction in a block, with those of its logs that are `held`. What the chain does not simulate is
/// zero.
pub fn receipt_json(
    chain: &View<'_>,
    header: &Header,
    transaction: B256,
    held: impl Fn(&RawLog) -> bool,
) -> Value {
    let all = chain.logs(header.number..=header.number);
    let logs: Vec<&RawLog> = all.filter(|log| log.transaction_hash == transaction && held(log)).collect();
    json!({
        "transactionHash": transaction,
        "transactionIndex": quantity(logs.first().map_or(0, |log| log.transaction_index)),
        "blockHash": header.hash,
        "blockNumber": quantity(header.number),
        "from": Address::ZERO,
        "to": Address::ZERO,
        "contractAddress": null,
        "status": "0x1",
        "type": "0x2",
        "cumulativeGasUsed": "0x0",
        "gasUsed": "0x0",
        "effectiveGasPrice": "0x7",
        "logs": logs.iter().map(|log| log_json(chain, log)).collect::<Vec<_>>(),
        "logsBloom": bloom_of(logs.iter().copied()),
    })
}

/// The receipts of a block's transactions, as [`receipt_json`] gives each. Only transactions with a log are simulated.
pub fn block_receipts_json(chain: &View<'_>, header: &Header, held: impl Fn(&RawLog) -> bool) -> Value {
    let mut transactions: Vec<(u64, B256)> = chain
        .logs(header.number..=header.number)
        .map(|log| (log.transaction_index, log.transaction_hash))
        .collect();
    transactions.sort_unstable();
    transactions.dedup();
    transactions.into_iter().map(|(_, hash)| receipt_json(chain, header, hash, &held)).collect()
}

fn bloom_of<'l>(logs: impl Iterator<Item = &'l RawLog>) -> Bloom {
    logs.fold(Bloom::ZERO, |mut bloom, log| {
        bloom.accrue_raw_log(log.address, &log.topics);
        bloom
    })
}

/// A log with the fields that nodes add to the recorded ones.
pub fn log_json(chain: &View<'_>, log: &RawLog) -> Value {
    let mut value = json!(log);
    value["removed"] = json!(false);
    if let Some(header) = chain.header(log.block_number) {
        value["blockTimestamp"] = quantity(header.timestamp);
    }
    value
}
