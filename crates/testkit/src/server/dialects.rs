//! The words in which providers refuse. All of them were seen: `facts/rpc_providers.md`, sections 1 and 2.
//!
//! A [`Wording`] is a template; what stands in braces is filled in from the request and the limit:
//!
//! | placeholder | is |
//! |---|---|
//! | `{limit}`, `{limit,}`, `{limit k}` | the limit: `10000`, `10,000`, `10k` |
//! | `{asked}`, `{distance}` | what was asked for: so many, or `to - from` |
//! | `{from}`, `{to}`, `{head}` | first and last block asked for, last block that the node has |
//! | `{fits}`, `{FITS}`, `{fits dec}` | a range that is said to work, as `0x1, 0xa`, `0x1, 0xA` or `1-10` |
//! | `{fits from}`, `{fits to}` | the same in two pieces, as `0x1` and `0xa` |
//! | `{wait}` | how long to wait, as Go writes it: `560.270157ms` |

use crate::simchain::rpc::RpcError;
use serde_json::Value;
use std::time::Duration;

/// How a span is counted against its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Blocks: `to - from + 1 <= limit`.
    Blocks,
    /// The difference: `to - from <= limit`, one block more.
    Difference,
}

/// How a provider words one kind of refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Wording {
    /// Name, for people.
    pub name: &'static str,
    /// HTTP status of a request that is refused alone; a batch with refused members has 200.
    pub status: u16,
    /// Code of the JSON-RPC error.
    pub code: i64,
    /// Its message.
    pub message: &'static str,
    /// Its data: JSON if it begins with a brace, else text.
    pub data: Option<&'static str>,
    /// How a span cap in these words counts.
    pub counts: Counts,
    /// A body that is no JSON-RPC, sent instead when a request is refused alone.
    pub bare: Option<&'static str>,
}

/// What the placeholders stand for in one refusal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Particulars {
    /// The limit.
    pub limit: u64,
    /// What was asked for.
    pub asked: u64,
    /// First and last block asked for.
    pub range: (u64, u64),
    /// A range that is said to work.
    pub fits: (u64, u64),
    /// Last block that the node has.
    pub head: u64,
    /// How long to wait.
    pub wait: Duration,
}

impl Wording {
    const fn new(name: &'static str, status: u16, code: i64, message: &'static str) -> Self {
        Self { name, status, code, message, data: None, counts: Counts::Blocks, bare: None }
    }

    const fn data(self, data: &'static str) -> Self {
        Self { data: Some(data), ..self }
    }

    const fn by_difference(self) -> Self {
        Self { counts: Counts::Difference, ..self }
    }

    const fn bare(self, body: &'static str) -> Self {
        Self { bare: Some(body), ..self }
    }

    /// Whether a span cap of `limit` in these words grants a scan from `from` to `to`.
    pub fn grants(&self, limit: u64, from: u64, to: u64) -> bool {
        let distance = to.saturating_sub(from);
        match self.counts {
            Counts::Blocks => distance < limit,
            Counts::Difference => distance <= limit,
        }
    }

    /// The refusal in these words.
    pub fn refusal(&'static self, of: &Particulars) -> Refusal {
        let data = self.data.map(|data| {
            let text = fill(data, of);
            match serde_json::from_str(&text) {
                Ok(value @ Value::Object(_)) => value,
                _ => Value::String(text),
            }
        });
        let error = RpcError { code: self.code, message: fill(self.message, of), data };
        Refusal { status: self.status, error, bare: self.bare }
    }
}

/// An error answer with the HTTP status that goes with it when it stands alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The error.
    pub error: RpcError,
    /// A body to send instead when it stands alone.
    pub bare: Option<&'static str>,
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self { status: 200, error, bare: None }
    }
}

fn fill(template: &str, of: &Particulars) -> String {
    let (from, to) = of.range;
    let (fits_from, fits_to) = of.fits;
    let parts = [
        ("{limit}", of.limit.to_string()),
        ("{limit,}", with_commas(of.limit)),
        ("{limit k}", format!("{}k", of.limit / 1_000)),
        ("{asked}", of.asked.to_string()),
        ("{distance}", to.saturating_sub(from).to_string()),
        ("{from}", from.to_string()),
        ("{to}", to.to_string()),
        ("{head}", of.head.to_string()),
        ("{fits}", format!("{fits_from:#x}, {fits_to:#x}")),
        ("{FITS}", format!("0x{fits_from:X}, 0x{fits_to:X}")),
        ("{fits dec}", format!("{fits_from}-{fits_to}")),
        ("{fits from}", format!("{fits_from:#x}")),
        ("{fits to}", format!("{fits_to:#x}")),
        ("{wait}", format!("{:.6}ms", of.wait.as_secs_f64() * 1_000.0)),
    ];
    parts.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Too many blocks in one `eth_getLogs`.
pub mod span {
    use super::Wording;

    /// Alchemy, free plan.
    pub static ALCHEMY_FREE: Wording = Wording::new(
        "alchemy free",
        400,
        -32600,
        "Under the Free tier plan, you can make eth_getLogs requests with up to a {limit} block range. Based on your \
         parameters, this block range should work: [{fits}]. Upgrade to PAYG for expanded block range.",
    );
    /// Alchemy in 2025, and its keyless endpoints.
    pub static ALCHEMY_2025: Wording = Wording::new(
        "alchemy 2025",
        400,
        -32600,
        "You can make eth_getLogs requests with up to a {limit} block range. Based on your parameters, this block \
         range should work: [{fits}]",
    );
    /// Infura, Linea's own, mevblocker. The number they name is the difference, so that is what they count.
    pub static INFURA: Wording =
        Wording::new("infura", 200, -32602, "range {distance} exceeds limit of {limit}").by_difference();
    /// QuickNode; Base and Optimism behind it.
    pub static QUICKNODE: Wording =
        Wording::new("quicknode", 413, -32614, "eth_getLogs is limited to a {limit,} range").by_difference();
    /// Ankr, which tells no number.
    pub static ANKR: Wording = Wording::new("ankr", 200, -32600, "block range is too wide");
    /// dRPC in 2025.
    pub static DRPC_2025: Wording =
        Wording::new("drpc 2025", 400, 35, "ranges over {limit} blocks are not supported on freetier");
    /// dRPC in 2026.
    pub static DRPC: Wording =
        Wording::new("drpc", 400, 35, "ranges over {limit} blocks are not supported on free plan");
    /// PublicNode.
    pub static PUBLICNODE: Wording =
        Wording::new("publicnode", 200, -32701, "exceed maximum block range: {limit}").by_difference();
    /// LlamaRPC.
    pub static LLAMA: Wording =
        Wording::new("llama", 200, -32602, "eth_getLogs range is too large, max is {limit k} blocks");
    /// 1RPC.
    pub static ONE_RPC: Wording =
        Wording::new("1rpc", 200, -32602, "eth_getLogs is limited to 0 - {limit} blocks range");
    /// 1RPC before 2026.
    pub static ONE_RPC_2025: Wording =
        Wording::new("1rpc 2025", 200, -32602, "eth_getLogs is limited to a {limit} blocks range");
    /// Cloudflare.
    pub static CLOUDFLARE: Wording = Wording::new(
        "cloudflare",
        200,
        -32047,
        "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: {limit}",
    );
    /// Chainstack, which tells no number.
    pub static CHAINSTACK: Wording = Wording::new("chainstack", 200, -32602, "Block range limit exceeded.");
    /// BlockPI, with its two spaces.
    pub static BLOCKPI: Wording = Wording::new(
        "blockpi",
        200,
        -32602,
        "eth_getLogs is limited to {limit} block range. Please check the parameter requirements at  \
         https://docs.blockpi.io/documentations/api-reference",
    )
    .by_difference();
    /// proxyd in front of Optimism.
    pub static PROXYD: Wording = Wording::new("proxyd", 200, -32602, "block range greater than {limit} max");
    /// Base before it said so: an error about its health.
    pub static BASE_2024: Wording =
        Wording::new("base 2024", 503, -32011, "no backend is currently healthy to serve traffic");
    /// coreth: Avalanche and Flare.
    pub static CORETH: Wording = Wording::new(
        "coreth",
        200,
        -32000,
        "requested too many blocks from {from} to {to}, maximum is set to {limit}",
    );
    /// Scroll, which tells no number.
    pub static SCROLL: Wording = Wording::new("scroll", 200, -32062, "Block range is too large");
    /// Scroll's older nodes.
    pub static SCROLL_L2GETH: Wording =
        Wording::new("scroll l2geth", 200, -32000, "block range is bigger than maxBlockRange");
    /// Sonic.
    pub static SONIC: Wording =
        Wording::new("sonic", 200, -32000, "too wide blocks range, the limit is {limit}");
    /// Ethermint: Cronos and Kava. The words in brackets are literal.
    pub static ETHERMINT: Wording =
        Wording::new("ethermint", 200, -32000, "maximum [from, to] blocks distance: {limit}").by_difference();
    /// Celo's forno.
    pub static CELO: Wording = Wording::new(
        "celo",
        200,
        -32602,
        "query exceeds range, retry smaller (max block range {limit}, got {distance})",
    );
    /// geth's own.
    pub static GETH: Wording =
        Wording::new("geth", 200, -32602, "exceed maximum block range {limit}").by_difference();
    /// reth's own.
    pub static RETH: Wording =
        Wording::new("reth", 200, -32602, "query exceeds max block range {limit}").by_difference();
    /// erigon's own.
    pub static ERIGON: Wording =
        Wording::new("erigon", 200, -32000, "block range too large, max range: {limit}");
    /// A message that says nothing; the reason is in the data.
    pub static IN_DATA: Wording = Wording::new("in data", 200, -32602, "Invalid params")
        .data("requested block range {asked} exceeds the limit of {limit}; narrow your fromBlock/toBlock");

    /// Every one of them.
    pub static ALL: &[&Wording] = &[
        &ALCHEMY_FREE,
        &ALCHEMY_2025,
        &INFURA,
        &QUICKNODE,
        &ANKR,
        &DRPC_2025,
        &DRPC,
        &PUBLICNODE,
        &LLAMA,
        &ONE_RPC,
        &ONE_RPC_2025,
        &CLOUDFLARE,
        &CHAINSTACK,
        &BLOCKPI,
        &PROXYD,
        &BASE_2024,
        &CORETH,
        &SCROLL,
        &SCROLL_L2GETH,
        &SONIC,
        &ETHERMINT,
        &CELO,
        &GETH,
        &RETH,
        &ERIGON,
        &IN_DATA,
    ];
}

/// Too many logs in the answer to one `eth_getLogs`.
pub mod results {
    use super::Wording;

    /// Alchemy, paid: the two numbers in it are offers.
    pub static ALCHEMY: Wording = Wording::new(
        "alchemy size",
        400,
        -32602,
        "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the \
         response size, or you can request any block range with a cap of 10K logs in the response. Based on your \
         parameters and the response size limit, this block range should work: [{fits}]",
    );
    /// Alchemy when it took too long.
    pub static ALCHEMY_TIMEOUT: Wording = Wording::new(
        "alchemy timeout",
        400,
        -32000,
        "Query timeout exceeded. Consider reducing your block range. Based on your parameters and the response size \
         limit, this block range should work: [{fits}]",
    );
    /// Infura.
    pub static INFURA: Wording = Wording::new(
        "infura results",
        200,
        -32005,
        "query returned more than {limit} results. Try with this block range [{FITS}].",
    )
    .data(r#"{"from":"{fits from}","limit":{limit},"to":"{fits to}"}"#);
    /// Infura, older.
    pub static INFURA_OLD: Wording =
        Wording::new("infura results old", 200, -32005, "query returned more than {limit} results");
    /// reth, and dRPC in front of it.
    pub static RETH: Wording = Wording::new(
        "reth results",
        200,
        -32602,
        "query exceeds max results {limit}, retry with the range {fits dec}",
    );
    /// LlamaRPC.
    pub static LLAMA: Wording =
        Wording::new("llama results", 200, -32602, "query exceeds max results {limit}");
    /// Arbitrum's own, which tells no range.
    pub static ARBITRUM: Wording =
        Wording::new("arbitrum results", 200, -32000, "logs matched by query exceeds limit of {limit}");
    /// Nethermind, as at Gnosis: the reason is in the data.
    pub static NETHERMIND: Wording = Wording::new("nethermind results", 200, -32602, "invalid params")
        .data("Query returned more than {limit} results. Try with this block range [{fits}].");
    /// zkSync Era: the same in the message.
    pub static ZKSYNC: Wording = Wording::new(
        "zksync results",
        200,
        -32602,
        "Query returned more than {limit} results. Try with this block range [{fits}].",
    );
    /// Ankr.
    pub static ANKR: Wording = Wording::new("ankr size", 200, -32603, "response exceeds size limit");
    /// proxyd in front of Optimism.
    pub static PROXYD: Wording = Wording::new("proxyd size", 500, -32020, "backend response too large");
    /// jsonrpsee in reth: the size is in the data. Its code is jsonrpsee's own and not in the facts.
    pub static JSONRPSEE: Wording = Wording::new("jsonrpsee size", 200, -32008, "Response is too big")
        .data("Exceeded max limit of 167772160");

    /// Every one of them.
    pub static ALL: &[&Wording] = &[
        &ALCHEMY,
        &ALCHEMY_TIMEOUT,
        &INFURA,
        &INFURA_OLD,
        &RETH,
        &LLAMA,
        &ARBITRUM,
        &NETHERMIND,
        &ZKSYNC,
        &ANKR,
        &PROXYD,
        &JSONRPSEE,
    ];
}

/// Too many addresses or topics in one filter.
pub mod filters {
    use super::Wording;

    /// geth, addresses and topics alike.
    pub static GETH: Wording =
        Wording::new("geth filter", 200, -32000, "exceed max addresses or topics per search position");
    /// PublicNode.
    pub static PUBLICNODE: Wording =
        Wording::new("publicnode filter", 200, -32701, "Please, specify less number of addresses");
    /// Infura.
    pub static INFURA: Wording = Wording::new(
        "infura filter",
        200,
        -32602,
        "This query contains {asked} filters. The current limit is {limit}.",
    );

    /// Every one of them.
    pub static ALL: &[&Wording] = &[&GETH, &PUBLICNODE, &INFURA];
}

/// Blocks that are not there: pruned, or not yet known.
pub mod missing {
    use super::Wording;

    /// PublicNode: logs and state of old blocks are for customers.
    pub static PUBLICNODE: Wording = Wording::new(
        "publicnode archive",
        403,
        -32602,
        "Archive requests require a personal token. Get one at: https://www.allnodes.com/publicnode",
    );
    /// geth below its history cutoff.
    pub static PRUNED: Wording = Wording::new("geth pruned", 200, 4444, "pruned history unavailable");
    /// geth without that state.
    pub static TRIE: Wording = Wording::new(
        "geth state",
        200,
        -32000,
        "missing trie node 4b2c1a5e0f9d8c7b6a59483726150403f2e1d0cfbeadbccbdae9f8071625344f (path ) state is not available",
    );
    /// Nodes that do not know the block.
    pub static HEADER: Wording = Wording::new("header not found", 200, -32000, "header not found");
    /// Ethermint without that version.
    pub static ETHERMINT: Wording = Wording::new(
        "ethermint state",
        200,
        -32000,
        "Version has either been pruned, or is for a future block height",
    );
    /// geth and reth: the range ends after their head.
    pub static BEYOND_HEAD: Wording =
        Wording::new("beyond head", 200, -32602, "block range extends beyond current head block");
    /// coreth: the same.
    pub static CORETH_HEAD: Wording =
        Wording::new("coreth head", 200, -32000, "requested to block {to} after last accepted block {head}");

    /// Every one of them.
    pub static ALL: &[&Wording] =
        &[&PUBLICNODE, &PRUNED, &TRIE, &HEADER, &ETHERMINT, &BEYOND_HEAD, &CORETH_HEAD];
}

/// Too fast.
pub mod rate {
    use super::Wording;

    /// Alchemy.
    pub static ALCHEMY: Wording = Wording::new(
        "alchemy rate",
        429,
        429,
        "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can safely \
         ignore this message. If not, check out https://docs.alchemy.com/reference/throughput",
    );
    /// Infura, whose answer is no JSON-RPC.
    pub static INFURA: Wording = Wording::new("infura rate", 429, -32005, "project ID request rate exceeded").bare(
        r#"{"code":429,"event":-33200,"message":"Too Many Requests","details":"You have surpassed your allowed throughput limit. Reduce the amount of requests per second or contact support to increase your limit."}"#,
    );
    /// QuickNode.
    pub static QUICKNODE: Wording = Wording::new(
        "quicknode rate",
        429,
        -32007,
        "{limit}/second request limit reached - reduce calls per second or upgrade your account at quicknode.com",
    );
    /// Chainstack, which says how long to wait.
    pub static CHAINSTACK: Wording = Wording::new(
        "chainstack rate",
        200,
        -32005,
        "You've exceeded the RPS limit available on the current plan",
    )
    .data(r#"{"try_again_in":"{wait}"}"#);
    /// proxyd in front of Optimism.
    pub static PROXYD: Wording = Wording::new("proxyd rate", 429, -32016, "over rate limit");
    /// TAC's: an error with HTTP 200. The code is recorded, the words are those of its kind.
    pub static TAC: Wording = Wording::new("tac rate", 200, -32090, "Too many requests, try again in 4ms");
    /// BNB's own.
    pub static BSC: Wording = Wording::new("bsc rate", 200, -32005, "limit exceeded");

    /// Every one of them.
    pub static ALL: &[&Wording] = &[&ALCHEMY, &INFURA, &QUICKNODE, &CHAINSTACK, &PROXYD, &TAC, &BSC];
}

/// The month or day is used up.
pub mod quota {
    use super::Wording;

    /// Alchemy.
    pub static ALCHEMY: Wording =
        Wording::new("alchemy month", 403, -32600, "Monthly capacity limit exceeded.");
    /// Alchemy in notes of 2026.
    pub static ALCHEMY_2026: Wording =
        Wording::new("alchemy month 2026", 429, 429, "Your app has exceeded its monthly capacity limit.");
    /// Infura, whose answer is no JSON-RPC.
    pub static INFURA: Wording = Wording::new("infura day", 402, -32005, "daily request count exceeded").bare(
        r#"{"code":402,"event":-33000,"message":"Payment Required","details":"You have reached your daily credit limit."}"#,
    );
    /// Chainstack.
    pub static CHAINSTACK: Wording = Wording::new(
        "chainstack month",
        200,
        -32005,
        "You've reached your monthly quota of Request Units (RUs)",
    );
    /// dRPC. Its status is not in the facts.
    pub static DRPC: Wording = Wording::new(
        "drpc units",
        429,
        42903,
        "There are not enough CUPs left to cover the CU required for current request.",
    );

    /// Every one of them.
    pub static ALL: &[&Wording] = &[&ALCHEMY, &ALCHEMY_2026, &INFURA, &CHAINSTACK, &DRPC];
}

/// Requests that are too big, and calls that do too much.
pub mod size {
    use super::Wording;

    /// dRPC's batches.
    pub static DRPC_BATCH: Wording = Wording::new(
        "drpc batch",
        500,
        31,
        "Batch of more than {limit} requests are not allowed on free plan",
    );
    /// proxyd's batches.
    pub static PROXYD_BATCH: Wording =
        Wording::new("proxyd batch", 413, -32014, "too many RPC calls in batch request");
    /// geth's batches.
    pub static GETH_BATCH: Wording = Wording::new("geth batch", 200, -32600, "batch too large");
    /// Request bodies.
    pub static BODY: Wording = Wording::new("body", 413, -32021, "request body too large");
    /// A call over the gas that the node allows.
    pub static GAS: Wording = Wording::new("gas", 200, -32000, "out of gas");
    /// A call over geth's time.
    pub static TIME: Wording = Wording::new("time", 200, -32000, "execution aborted (timeout = 5s)");
    /// erigon's limit of returned bytes.
    pub static RETURN: Wording = Wording::new(
        "return",
        200,
        -32000,
        "call returned result on length {asked} exceeding --rpc.returndata.limit {limit}",
    );
    /// A third parameter that the node does not know: no state overrides.
    pub static NO_OVERRIDES: Wording =
        Wording::new("no overrides", 200, -32602, "too many arguments, want at most 2");
    /// A call without `to` at a node that knows none (a16z/helios issue 205).
    pub static NO_DEPLOYLESS: Wording =
        Wording::new("no deployless", 200, -32602, "missing field `to` at line 1 column 13365");

    /// Every one of them.
    pub static ALL: &[&Wording] = &[
        &DRPC_BATCH,
        &PROXYD_BATCH,
        &GETH_BATCH,
        &BODY,
        &GAS,
        &TIME,
        &RETURN,
        &NO_OVERRIDES,
        &NO_DEPLOYLESS,
    ];
}

/// No entry, to a method or at all.
pub mod entry {
    use super::Wording;

    /// Ankr without a key.
    pub static ANKR: Wording = Wording::new(
        "ankr keyless",
        200,
        -32000,
        "Unauthorized: You must authenticate your request with an API key. Create an account on \
         https://www.ankr.com/rpc/ and generate your personal API key for free.",
    );
    /// Blast, which is gone.
    pub static BLAST: Wording = Wording::new(
        "blast",
        403,
        -32000,
        "Blast API is no longer available. Please update your integration to use Alchemy's API instead",
    );
    /// Alchemy with a wrong key.
    pub static ALCHEMY: Wording = Wording::new("alchemy key", 401, -32600, "Must be authenticated!");
    /// Alchemy with a key that was switched off.
    pub static ALCHEMY_INACTIVE: Wording = Wording::new("alchemy inactive", 403, -32600, "App is inactive.");
    /// BNB's own: no `eth_getLogs`.
    pub static BSC_LOGS: Wording = Wording::new("bsc logs", 200, -32005, "limit exceeded");
    /// merkle.io and others.
    pub static METHOD: Wording = Wording::new("method", 200, -32601, "Method not found");

    /// Every one of them.
    pub static ALL: &[&Wording] = &[&ANKR, &BLAST, &ALCHEMY, &ALCHEMY_INACTIVE, &BSC_LOGS, &METHOD];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wording, what fills it, and what comes out: status, code, message, data.
    type Row = (&'static Wording, Particulars, u16, i64, &'static str, Option<Value>);

    fn worded(wording: &'static Wording, of: &Particulars) -> (u16, i64, String, Option<Value>) {
        let refusal = wording.refusal(of);
        (refusal.status, refusal.error.code, refusal.error.message, refusal.error.data)
    }

    /// The rows of `facts/rpc_providers.md` section 5 and the examples of section 1, letter by letter.
    #[test]
    fn the_words_are_those_that_were_recorded() {
        let of = |limit, range: (u64, u64), fits| Particulars {
            limit,
            asked: range.1 - range.0 + 1,
            range,
            fits,
            ..Particulars::default()
        };
        let text = Value::from;
        let rows: Vec<Row> = vec![
            (
                &span::ALCHEMY_FREE,
                of(10, (0x118_0fca, 0x118_1fff), (0x118_0fca, 0x118_0fd3)),
                400,
                -32600,
                "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. Based on your parameters, this block range should work: [0x1180fca, 0x1180fd3]. Upgrade to PAYG for expanded block range.",
                None,
            ),
            (
                &span::INFURA,
                of(10_000, (0, 1_000_000), (0, 0)),
                200,
                -32602,
                "range 1000000 exceeds limit of 10000",
                None,
            ),
            (
                &span::QUICKNODE,
                of(10_000, (0, 20_000), (0, 0)),
                413,
                -32614,
                "eth_getLogs is limited to a 10,000 range",
                None,
            ),
            (
                &span::CORETH,
                of(30, (1_048_576, 17_825_792), (0, 0)),
                200,
                -32000,
                "requested too many blocks from 1048576 to 17825792, maximum is set to 30",
                None,
            ),
            (
                &span::LLAMA,
                of(1_000, (0, 2_000), (0, 0)),
                200,
                -32602,
                "eth_getLogs range is too large, max is 1k blocks",
                None,
            ),
            (
                &span::CELO,
                of(5_000, (0, 16_777_216), (0, 0)),
                200,
                -32602,
                "query exceeds range, retry smaller (max block range 5000, got 16777216)",
                None,
            ),
            (
                &span::IN_DATA,
                of(200, (0, 16_777_216), (0, 0)),
                200,
                -32602,
                "Invalid params",
                Some(text(
                    "requested block range 16777217 exceeds the limit of 200; narrow your fromBlock/toBlock",
                )),
            ),
            (
                &results::ALCHEMY,
                of(10_000, (0, 99_999_999), (0, 0xd0_43b8)),
                400,
                -32602,
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, or you can request any block range with a cap of 10K logs in the response. Based on your parameters and the response size limit, this block range should work: [0x0, 0xd043b8]",
                None,
            ),
            (
                &results::INFURA,
                of(10_000, (0xBD_E5F8, 0x200_0000), (0xBD_E5F8, 0x102_DBCC)),
                200,
                -32005,
                "query returned more than 10000 results. Try with this block range [0xBDE5F8, 0x102DBCC].",
                Some(serde_json::json!({ "from": "0xbde5f8", "limit": 10_000, "to": "0x102dbcc" })),
            ),
            (
                &results::RETH,
                of(20_000, (25_684_977, 25_700_000), (25_683_953, 25_685_027)),
                200,
                -32602,
                "query exceeds max results 20000, retry with the range 25683953-25685027",
                None,
            ),
            (
                &results::NETHERMIND,
                of(50_000, (0x100_0000, 0x200_0000), (0x100_0000, 0x108_0000)),
                200,
                -32602,
                "invalid params",
                Some(text(
                    "Query returned more than 50000 results. Try with this block range [0x1000000, 0x1080000].",
                )),
            ),
            (
                &filters::INFURA,
                Particulars { asked: 5_006, limit: 5_000, ..Particulars::default() },
                200,
                -32602,
                "This query contains 5006 filters. The current limit is 5000.",
                None,
            ),
            (
                &rate::CHAINSTACK,
                Particulars { wait: Duration::from_nanos(560_270_157), ..Particulars::default() },
                200,
                -32005,
                "You've exceeded the RPS limit available on the current plan",
                Some(serde_json::json!({ "try_again_in": "560.270157ms" })),
            ),
            (
                &size::DRPC_BATCH,
                Particulars { limit: 3, ..Particulars::default() },
                500,
                31,
                "Batch of more than 3 requests are not allowed on free plan",
                None,
            ),
            (
                &missing::CORETH_HEAD,
                Particulars { range: (1, 50), head: 40, ..Particulars::default() },
                200,
                -32000,
                "requested to block 50 after last accepted block 40",
                None,
            ),
        ];
        for (wording, of, status, code, message, data) in rows {
            assert_eq!(worded(wording, &of), (status, code, message.to_owned(), data), "{}", wording.name);
        }
    }

    #[test]
    fn no_wording_has_an_unknown_placeholder_or_another_s_name() {
        let all = [
            span::ALL,
            results::ALL,
            filters::ALL,
            missing::ALL,
            rate::ALL,
            quota::ALL,
            size::ALL,
            entry::ALL,
        ];
        let mut names = std::collections::BTreeSet::new();
        for wording in all.into_iter().flatten() {
            assert!(names.insert(wording.name), "two are called {}", wording.name);
            let (_, _, message, data) = worded(wording, &Particulars::default());
            assert!(!message.contains(['{', '}']), "{}: {message}", wording.name);
            assert!(!matches!(&data, Some(Value::String(text)) if text.contains(['{', '}'])), "{data:?}");
        }
    }

    #[test]
    fn a_span_is_counted_as_each_provider_counts_it() {
        for wording in span::ALL {
            let most = if wording.counts == Counts::Difference { 10 } else { 9 };
            assert!(wording.grants(10, 100, 100 + most), "{}", wording.name);
            assert!(!wording.grants(10, 100, 101 + most), "{}", wording.name);
        }
    }
}
